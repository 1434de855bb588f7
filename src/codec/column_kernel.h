/*
 * column_kernel.h - the loops over whole columns, compiled once for each level of base/cpu.h.
 *
 * column_kernel.c is plain C that the compiler vectorises; the build compiles it three times with
 * other flags. All tables give the same bytes and results for every input: integers wrap, and the
 * one floating-point division is correctly rounded in either of its forms. Arrays hold whole rows
 * of CODEC_LANES values where a function says rows; memory of packed bits may have any alignment.
 */
#ifndef VARVE_CODEC_COLUMN_KERNEL_H
#define VARVE_CODEC_COLUMN_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cpu.h"

#define CODEC_LANES 16u
#define CODEC_DECIMALS 16u /* exponents 0..15: powers of ten that divide exactly as below */
/* A whole number behind a decimal lies strictly between the negative of this and this: below it the
 * conversion by adding 1.5 * 2^52 is exact. */
#define CODEC_DECIMAL_LIMIT (INT64_C(1) << 51)

/* How v is divided: v - base is x = odd << shift | ..., x / g by the inverse of g's odd part. */
typedef struct codec_divisor {
    uint64_t inverse; /* of the odd part, modulo 2^64 */
    unsigned shift;   /* zero bits of g at its end */
} codec_divisor;

typedef struct codec_kernels {
    /* Lane l of row i is u[16 i + l], width 1..63 bits; the bits of a lane fill its own words, word
     * k of lane l is the (16 k + l)-th of p. Words that are begun are written whole. */
    void (*pack)(const uint64_t *u, unsigned rows, unsigned width, uint8_t *p);
    void (*unpack)(const uint8_t *p, unsigned rows, unsigned width, uint64_t *u);

    /* v[i] = add + g * v[i]. */
    void (*scale)(uint64_t *v, unsigned rows, uint64_t g, uint64_t add);
    /* v[i] = origin + i * step. */
    void (*line)(uint64_t *v, uint32_t n, uint64_t origin, uint64_t step);
    /* v[i] = carry + the sum over 0..i of (add + g * unzigzag(v[j])). */
    void (*sum_zigzag)(uint64_t *v, unsigned rows, uint64_t g, uint64_t add, uint64_t carry);
    /* v[i] = carry + the sum over 0..i of v[j]. */
    void (*sum)(uint64_t *v, unsigned rows, uint64_t carry);

    int64_t (*min)(const uint64_t *v, uint32_t n);     /* as signed; n > 0 */
    bool (*is_regular)(const uint64_t *v, uint32_t n); /* all differences equal */
    void (*subtract)(const uint64_t *v, uint32_t n, uint64_t base, uint64_t *out);
    /* out[i] = (v[i] - base) / g; returns the largest, which tells whether g divides them all. */
    uint64_t (*divide)(const uint64_t *v, uint32_t n, uint64_t base, codec_divisor by,
                       uint64_t *out);
    /* out[i] = zigzag(v[i] - v[i - 1] - base), out[0] = 0. */
    void (*delta)(const uint64_t *v, uint32_t n, uint64_t base, uint64_t *out);
    /* Zigzag of the differences of differences; out[0] = out[1] = 0. */
    void (*delta2)(const uint64_t *v, uint32_t n, uint64_t *out);
    /* hist[b] += how many of u need b bits, 0..64. */
    void (*histogram)(const uint64_t *u, uint32_t n, uint32_t hist[65]);

    /* Bits of doubles as integers in the doubles' order, and back: the same function. */
    void (*order)(const uint64_t *v, uint32_t n, uint64_t *out);
    /* d[i] = round(v[i] * 10^exponent), miss[i] = 0, where that and no other integer below the
     * limit gives back v[i] bit for bit; else d[i] = 0 and miss[i] = 1. Returns the misses. */
    uint32_t (*to_decimal)(const uint64_t *v, uint32_t n, unsigned exponent, uint64_t *d,
                           uint64_t *miss);
    /* v[i] = the bits of v[i] / 10^exponent; false when an integer is not below the limit. */
    bool (*from_decimal)(uint64_t *v, uint32_t n, unsigned exponent);
} codec_kernels;

extern const double codec_power_of_ten[CODEC_DECIMALS];
extern const double codec_inverse_of_ten[CODEC_DECIMALS]; /* 1 / 10^p, correctly rounded */

/* The table of a level, or NULL where this build has none. */
const codec_kernels *codec_kernels_of(vv_cpu level);
/* The table to use. Looked up once, at the first call. */
const codec_kernels *codec_kernels_get(void);
/* Test door: use the table of this level from now on. Not while another thread works. */
void codec_kernels_set(vv_cpu level);

#endif
