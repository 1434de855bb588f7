/*
 * rng.h - seeded pseudo-random numbers: xoshiro256** (Blackman and Vigna, 2018), one generator per
 * component, seeded by splitmix64 from a root seed. Not for secrets: those have their own door.
 */
#ifndef VARVE_BASE_RNG_H
#define VARVE_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

typedef struct vv_rng {
    uint64_t s[4];
} vv_rng;

/** Same seed, same sequence, on every machine. */
void vv_rng_init(vv_rng *rng, uint64_t seed);

uint64_t vv_rng_next(vv_rng *rng);

/** Uniform in [0, bound); bound > 0. */
uint64_t vv_rng_below(vv_rng *rng, uint64_t bound);

/** True once in n on average; n > 0. */
static inline int vv_rng_one_in(vv_rng *rng, uint64_t n)
{
    return vv_rng_below(rng, n) == 0;
}

/** Fill with pseudo-random bytes. */
void vv_rng_bytes(vv_rng *rng, void *out, size_t len);

#endif
