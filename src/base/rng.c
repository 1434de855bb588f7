#include "base/rng.h"

#include <string.h>

#include "base/util.h"

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

void vv_rng_init(vv_rng *rng, uint64_t seed)
{
    for (size_t i = 0; i < ARRAY_LEN(rng->s); i++)
        rng->s[i] = splitmix64(&seed);
}

uint64_t vv_rng_next(vv_rng *rng)
{
    uint64_t *s = rng->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t vv_rng_below(vv_rng *rng, uint64_t bound)
{
    assert(bound > 0);
    /* Lemire 2019: multiply, reject the few values that would bias. */
    uint64_t floor = -bound % bound;
    for (;;) {
        __uint128_t m = (__uint128_t)vv_rng_next(rng) * bound;
        if ((uint64_t)m >= floor)
            return (uint64_t)(m >> 64);
    }
}

void vv_rng_bytes(vv_rng *rng, void *out, size_t len)
{
    uint8_t *p = out;
    while (len > 0) {
        uint64_t v = vv_rng_next(rng);
        size_t n = len < sizeof v ? len : sizeof v;
        memcpy(p, &v, n);
        p += n;
        len -= n;
    }
}
