/*
 * column_dispatch.c - which table of kernels runs, chosen once from what the machine has.
 */
#include <stdatomic.h>
#include <stddef.h>

#include "codec/column_kernel.h"

extern const codec_kernels codec_kernels_baseline;
#ifdef CODEC_HAVE_X86
extern const codec_kernels codec_kernels_avx2;
extern const codec_kernels codec_kernels_avx512;
#endif

const double codec_power_of_ten[CODEC_DECIMALS] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                   1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
const double codec_inverse_of_ten[CODEC_DECIMALS] = {1e0,   1e-1,  1e-2,  1e-3, 1e-4,  1e-5,
                                                     1e-6,  1e-7,  1e-8,  1e-9, 1e-10, 1e-11,
                                                     1e-12, 1e-13, 1e-14, 1e-15};

static const codec_kernels *const table[VV_CPU_COUNT] = {
    [VV_CPU_BASELINE] = &codec_kernels_baseline,
#ifdef CODEC_HAVE_X86
    [VV_CPU_AVX2] = &codec_kernels_avx2,
    [VV_CPU_AVX512] = &codec_kernels_avx512,
#endif
};

static _Atomic(const codec_kernels *) chosen;

const codec_kernels *codec_kernels_of(vv_cpu level)
{
    return level <= vv_cpu_best() ? table[level] : NULL;
}

void codec_kernels_set(vv_cpu level)
{
    const codec_kernels *k = codec_kernels_of(level);
    atomic_store_explicit(&chosen, k == NULL ? &codec_kernels_baseline : k, memory_order_relaxed);
}

const codec_kernels *codec_kernels_get(void)
{
    const codec_kernels *k = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (k != NULL)
        return k;
    codec_kernels_set(vv_cpu_level()); /* whoever comes first: all find the same */
    return atomic_load_explicit(&chosen, memory_order_relaxed);
}
