/*
 * cpu.h - which of the instruction sets that we compile kernels for this machine has.
 *
 * Every level gives the same bytes and results; VARVE_CPU=baseline|avx2|avx512 in the environment
 * lowers it, for tests and to look for a fault. It never raises it above what the machine has.
 */
#ifndef VARVE_BASE_CPU_H
#define VARVE_BASE_CPU_H

typedef enum vv_cpu {
    VV_CPU_BASELINE, /* what the build is for: SSE2 on x86-64 */
    VV_CPU_AVX2,     /* AVX2, FMA, BMI, LZCNT */
    VV_CPU_AVX512,   /* F, DQ, BW, VL on top */
    VV_CPU_COUNT
} vv_cpu;

/** The highest level of the machine, whatever the environment says. */
vv_cpu vv_cpu_best(void);

/** The level to use. Looked up once. Any thread. */
vv_cpu vv_cpu_level(void);

/** "avx2" */
const char *vv_cpu_name(vv_cpu cpu);

#endif
