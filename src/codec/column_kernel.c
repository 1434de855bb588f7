/*
 * column_kernel.c - the loops of column_kernel.h, compiled for each level under its own name.
 *
 * Division by a power of ten b without dividing (Markstein): y is 1/b correctly rounded, q = a*y,
 * r = a - b*q, and the quotient is q + r*y, the last two by fused operations. r is exact: it is a
 * multiple of 2^p * ulp(q) and at most 5^p * 2 of them. The sum before its one rounding is off the
 * true quotient by 2^-105 of it at most, while a quotient of an integer below 2^51 and 10^p, p <=
 * 15, that is no tie is 2^-89 of it away from every tie, and none is a tie. So it rounds as a
 * division.
 */
#include "codec/column_kernel.h"

#include <stddef.h>
#include <string.h>

#include "base/util.h"

#ifndef CODEC_KERNELS
#define CODEC_KERNELS codec_kernels_baseline
#endif

extern const codec_kernels CODEC_KERNELS;

#define MAGIC 6755399441055744.0 /* 1.5 * 2^52: the last bit of a sum with it is worth one */
#define MAGIC_BITS UINT64_C(0x4338000000000000)

/* A vector as wide as the machine's registers; the prefix sum is the one loop that no compiler
 * makes of plain C. */
#if defined(__AVX512F__)
#define WIDE 8u
#elif defined(__AVX2__)
#define WIDE 4u
#else
#define WIDE 2u
#endif
#define ROW_BYTES (CODEC_LANES * sizeof(uint64_t))
typedef uint64_t wide __attribute__((vector_size(WIDE * 8)));

static inline wide load(const uint64_t *p)
{
    wide v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store(uint64_t *p, wide v)
{
    memcpy(p, &v, sizeof v);
}

/* Lane l is the sum of lanes 0..l. */
static inline wide prefix(wide v)
{
    const wide zero = {0};
#if WIDE == 8
    v += __builtin_shufflevector(zero, v, 7, 8, 9, 10, 11, 12, 13, 14);
    v += __builtin_shufflevector(zero, v, 6, 7, 8, 9, 10, 11, 12, 13);
    v += __builtin_shufflevector(zero, v, 4, 5, 6, 7, 8, 9, 10, 11);
#elif WIDE == 4
    v += __builtin_shufflevector(zero, v, 3, 4, 5, 6);
    v += __builtin_shufflevector(zero, v, 2, 3, 4, 5);
#else
    v += __builtin_shufflevector(zero, v, 1, 2);
#endif
    return v;
}

/* The last lane in all lanes. */
static inline wide last_lane(wide v)
{
#if WIDE == 8
    return __builtin_shufflevector(v, v, 7, 7, 7, 7, 7, 7, 7, 7);
#elif WIDE == 4
    return __builtin_shufflevector(v, v, 3, 3, 3, 3);
#else
    return __builtin_shufflevector(v, v, 1, 1);
#endif
}

static inline uint64_t zigzag(uint64_t v)
{
    return v << 1 ^ (0 - (v >> 63));
}

/* One register of lanes at a time: its words are filled row by row. */
static void pack(const uint64_t *restrict u, unsigned rows, unsigned width, uint8_t *restrict p)
{
    for (unsigned l = 0; l < CODEC_LANES; l += WIDE) {
        uint8_t *to = p + l * sizeof *u;
        wide word = {0};
        unsigned used = 0;
        for (unsigned i = 0; i < rows; i++) {
            wide x = load(u + i * CODEC_LANES + l);
            word |= x << used;
            used += width;
            if (used < 64)
                continue;
            memcpy(to, &word, sizeof word);
            to += ROW_BYTES;
            used -= 64;
            word = x >> (width - used - 1) >> 1; /* the bits that did not fit, maybe none */
        }
        if (used > 0)
            memcpy(to, &word, sizeof word);
    }
}

/* Without a branch: a value is looked for in its word and in the next one, or in the last twice. */
static void unpack(const uint8_t *restrict p, unsigned rows, unsigned width, uint64_t *restrict u)
{
    const wide mask = (wide){0} + (~UINT64_C(0) >> (64 - width));
    const unsigned last = (rows * width - 1) / 64;
    for (unsigned i = 0, bit = 0; i < rows; i++, bit += width, u += CODEC_LANES) {
        unsigned k = bit / 64;
        unsigned shift = bit % 64;
        const uint8_t *low = p + (size_t)k * ROW_BYTES;
        const uint8_t *high = k < last ? low + ROW_BYTES : low;
        for (unsigned l = 0; l < CODEC_LANES; l += WIDE) {
            wide a;
            wide b;
            memcpy(&a, low + l * sizeof *u, sizeof a);
            memcpy(&b, high + l * sizeof *u, sizeof b);
            store(u + l, (a >> shift | b << 1 << (63 - shift)) & mask);
        }
    }
}

static void scale(uint64_t *v, unsigned rows, uint64_t g, uint64_t add)
{
    if (g == 1) {
        for (unsigned i = 0; i < rows * CODEC_LANES; i++)
            v[i] += add;
        return;
    }
    for (unsigned i = 0; i < rows * CODEC_LANES; i++)
        v[i] = add + g * v[i];
}

static void line(uint64_t *v, uint32_t n, uint64_t origin, uint64_t step)
{
    for (uint32_t i = 0; i < n; i++)
        v[i] = origin + i * step;
}

static inline wide unzigzag(wide u)
{
    return u >> 1 ^ (0 - (u & 1));
}

static inline void sum_by(uint64_t *v, unsigned rows, bool scaled, uint64_t g, uint64_t add,
                          uint64_t carry)
{
    const wide zero = {0};
    wide factor = zero + g;
    wide plus = zero + add;
    wide before = zero + carry;
    for (unsigned i = 0; i < rows * CODEC_LANES; i += WIDE) {
        wide d = unzigzag(load(v + i));
        if (scaled)
            d *= factor;
        d = prefix(d + plus);
        store(v + i, d + before);
        before += last_lane(d);
    }
}

static void sum_zigzag(uint64_t *v, unsigned rows, uint64_t g, uint64_t add, uint64_t carry)
{
    if (g == 1)
        sum_by(v, rows, false, 1, add, carry);
    else
        sum_by(v, rows, true, g, add, carry);
}

static void sum(uint64_t *v, unsigned rows, uint64_t carry)
{
    wide before = (wide){0} + carry;
    for (unsigned i = 0; i < rows * CODEC_LANES; i += WIDE) {
        wide d = prefix(load(v + i));
        store(v + i, d + before);
        before += last_lane(d);
    }
}

static int64_t min(const uint64_t *v, uint32_t n)
{
    int64_t least = (int64_t)v[0];
    for (uint32_t i = 1; i < n; i++)
        least = (int64_t)v[i] < least ? (int64_t)v[i] : least;
    return least;
}

static bool is_regular(const uint64_t *v, uint32_t n)
{
    uint64_t other = 0;
    uint32_t i = 1;
    for (; i + 64 < n && other == 0; i += 64)
        for (uint32_t k = i; k < i + 64; k++)
            other |= (v[k] - v[k - 1]) ^ (v[k + 1] - v[k]);
    for (; i + 1 < n && other == 0; i++)
        other |= (v[i] - v[i - 1]) ^ (v[i + 1] - v[i]);
    return other == 0;
}

static void subtract(const uint64_t *v, uint32_t n, uint64_t base, uint64_t *restrict out)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = v[i] - base;
}

static uint64_t divide(const uint64_t *v, uint32_t n, uint64_t base, codec_divisor by,
                       uint64_t *restrict out)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t x = (v[i] - base) * by.inverse;
        x = x >> by.shift | x << (-by.shift & 63);
        out[i] = x;
        most = x > most ? x : most;
    }
    return most;
}

static void delta(const uint64_t *v, uint32_t n, uint64_t base, uint64_t *restrict out)
{
    out[0] = 0;
    for (uint32_t i = 1; i < n; i++)
        out[i] = zigzag(v[i] - v[i - 1] - base);
}

static void delta2(const uint64_t *v, uint32_t n, uint64_t *restrict out)
{
    out[0] = 0;
    out[n > 1] = 0;
    for (uint32_t i = 2; i < n; i++)
        out[i] = zigzag(v[i] - 2 * v[i - 1] + v[i - 2]);
}

static inline unsigned width_of(uint64_t u)
{
    return u == 0 ? 0 : 64 - (unsigned)__builtin_clzll(u);
}

/* Four counts, so that equal widths in a row do not wait for each other. */
static void histogram(const uint64_t *u, uint32_t n, uint32_t hist[65])
{
    uint32_t part[4][65] = {{0}};
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        unsigned a = width_of(u[i]);
        unsigned b = width_of(u[i + 1]);
        unsigned c = width_of(u[i + 2]);
        unsigned d = width_of(u[i + 3]);
        part[0][a]++;
        part[1][b]++;
        part[2][c]++;
        part[3][d]++;
    }
    for (; i < n; i++)
        part[0][width_of(u[i])]++;
    for (unsigned b = 0; b < 65; b++)
        hist[b] += part[0][b] + part[1][b] + part[2][b] + part[3][b];
}

static void order(const uint64_t *v, uint32_t n, uint64_t *out)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = v[i] ^ ((0 - (v[i] >> 63)) >> 1);
}

static inline double as_double(uint64_t bits)
{
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

static inline uint64_t as_bits(double d)
{
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    return bits;
}

/* a / 10^p for an integer a below the limit. */
static inline double divide_by_ten(double a, double power, double inverse)
{
#if defined(__FMA__)
    double q = a * inverse;
    return __builtin_fma(__builtin_fma(-q, power, a), inverse, q);
#else
    (void)inverse;
    return a / power;
#endif
}

static uint32_t to_decimal(const uint64_t *v, uint32_t n, unsigned exponent, uint64_t *restrict d,
                           uint64_t *restrict miss)
{
    const double power = codec_power_of_ten[exponent];
    const double inverse = codec_inverse_of_ten[exponent];
    const double limit = (double)CODEC_DECIMAL_LIMIT;
    uint64_t misses = 0;
    for (uint32_t i = 0; i < n; i++) {
        double x = as_double(v[i]) * power;
        double shifted = x + MAGIC;
        double whole = shifted - MAGIC;
        uint64_t differs = as_bits(divide_by_ten(whole, power, inverse)) ^ v[i];
        uint64_t is_miss = !(__builtin_fabs(whole) < limit) | (differs != 0);
        d[i] = (as_bits(shifted) - MAGIC_BITS) & (is_miss - 1);
        miss[i] = is_miss;
        misses += is_miss;
    }
    return (uint32_t)misses;
}

static bool from_decimal(uint64_t *v, uint32_t n, unsigned exponent)
{
    const double power = codec_power_of_ten[exponent];
    const double inverse = codec_inverse_of_ten[exponent];
    const uint64_t limit = CODEC_DECIMAL_LIMIT;
    uint64_t past = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t d = v[i];
        past |= d + limit;
        double whole = as_double(d + MAGIC_BITS) - MAGIC;
        v[i] = as_bits(divide_by_ten(whole, power, inverse));
    }
    return past < 2 * limit;
}

const codec_kernels CODEC_KERNELS = {
    .pack = pack,
    .unpack = unpack,
    .scale = scale,
    .line = line,
    .sum_zigzag = sum_zigzag,
    .sum = sum,
    .min = min,
    .is_regular = is_regular,
    .subtract = subtract,
    .divide = divide,
    .delta = delta,
    .delta2 = delta2,
    .histogram = histogram,
    .order = order,
    .to_decimal = to_decimal,
    .from_decimal = from_decimal,
};
