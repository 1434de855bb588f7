#include "base/cpu.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const char *const name[VV_CPU_COUNT] = {"baseline", "avx2", "avx512"};
static pthread_once_t once = PTHREAD_ONCE_INIT;
static vv_cpu level;

const char *vv_cpu_name(vv_cpu cpu)
{
    return name[cpu];
}

#if defined(__x86_64__)
static int has_lzcnt(void)
{
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    return __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & bit_LZCNT) != 0;
}
#endif

vv_cpu vv_cpu_best(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
        !__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2") || !has_lzcnt())
        return VV_CPU_BASELINE;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512dq") ||
        !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl"))
        return VV_CPU_AVX2;
    return VV_CPU_AVX512;
#else
    return VV_CPU_BASELINE;
#endif
}

static void init_once(void)
{
    level = vv_cpu_best();
    const char *text = getenv("VARVE_CPU");
    for (vv_cpu c = VV_CPU_BASELINE; text != NULL && c < level; c++)
        if (strcmp(text, name[c]) == 0)
            level = c;
}

vv_cpu vv_cpu_level(void)
{
    (void)pthread_once(&once, init_once);
    return level;
}
