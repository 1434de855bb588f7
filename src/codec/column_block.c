/*
 * column_block.c - the integer block: differences to something near, packed to one width.
 *
 *     u8 transform 0..2, bit 2: divisor, bit 3: patches | u8 width | zigzag origin
 *     | [varint divisor] | [zigzag base] | [varint patches | u8 bytes of each] | packed
 *     | [u16 positions] | [high parts]
 *
 *     FOR     value[i] = origin + g * u[i]
 *     DELTA   value[i] - value[i - 1] = g * (base + unzigzag(u[i])), value[0] = origin
 *     DELTA2  as DELTA with base + the sum of unzigzag(u[0..i]) in the bracket
 *
 * all modulo 2^64. A value whose u is wider than the rest leaves its low bits among the packed ones
 * and the others in a patch: what jitters costs three bytes where it is out of line, not a column's
 * width. The width is that of the least size, from a histogram; the transform is chosen on a part.
 *
 * Packed: ceil(n / 16) rows of 16 lanes, each lane with 64-bit words of its own
 * (column_kernel.h); of the last words only the bytes that hold bits.
 */
#include <string.h>

#include "codec/column_int.h"

#define TRANSFORM_MASK 3u
#define HAS_DIVISOR 4u
#define HAS_PATCHES 8u
#define FLAGS_MAX 15u

#define RUN 64u        /* neighbours looked at together when a transform is chosen */
#define RUNS 4u        /* such runs */
#define GCD_PROBES 12u /* differences that a divisor is guessed from */
#define GCD_ROUNDS 4u  /* guesses that may fail */
#define MEDIAN_PROBES 15u

enum { FOR, DELTA, DELTA2, TRANSFORMS };

typedef struct block_plan {
    unsigned transform;
    unsigned width;
    unsigned patch_bytes; /* of each high part */
    uint32_t patches;
    uint64_t divisor;
    uint64_t origin;
    uint64_t base;
} block_plan;

static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static codec_divisor divisor_of(uint64_t g)
{
    unsigned shift = (unsigned)__builtin_ctzll(g);
    uint64_t odd = g >> shift;
    uint64_t x = odd; /* right in its low 3 bits; each step doubles them */
    for (unsigned i = 0; i < 5; i++)
        x *= 2 - odd * x;
    return (codec_divisor){.inverse = x, .shift = shift};
}

/* The divisor of all v[i] - least, and (v[i] - least) / divisor in out when it is above 1. */
static uint64_t find_divisor(const codec_kernels *k, const uint64_t *v, uint32_t n, uint64_t least,
                             uint64_t *out)
{
    uint64_t g = 0;
    for (uint32_t i = 0; i < GCD_PROBES && g != 1; i++) {
        uint64_t d = v[(uint64_t)i * (n - 1) / (GCD_PROBES - 1)] - least;
        if (d != 0)
            g = g == 0 ? d : gcd(g, d);
    }
    for (unsigned round = 0; round < GCD_ROUNDS && g > 1; round++) {
        uint64_t most = k->divide(v, n, least, divisor_of(g), out);
        if (most <= UINT64_MAX / g)
            return g;
        for (uint32_t i = 0; i < n && g > 1; i++)
            if (out[i] > UINT64_MAX / g) {
                g = gcd(g, v[i] - least);
                break;
            }
    }
    return 1;
}

static uint64_t median_delta(const uint64_t *v, uint32_t n)
{
    uint64_t d[MEDIAN_PROBES] = {0};
    for (uint32_t i = 0; i < MEDIAN_PROBES; i++) {
        uint32_t at = 1 + (uint32_t)((uint64_t)i * (n - 2) / (MEDIAN_PROBES - 1));
        uint64_t x = v[at] - v[at - 1];
        uint32_t to = i;
        for (; to > 0 && (int64_t)d[to - 1] > (int64_t)x; to--)
            d[to] = d[to - 1];
        d[to] = x;
    }
    return d[MEDIAN_PROBES / 2];
}

/* The width of the least bits in all, with the patches that it leaves. */
static uint64_t best_width(const uint32_t hist[65], uint32_t n, block_plan *p)
{
    unsigned most = 64;
    while (most > 0 && hist[most] == 0)
        most--;
    uint64_t best = (uint64_t)n * most;
    uint32_t above = 0;
    p->width = most;
    p->patches = 0;
    for (unsigned w = most; w-- > 0;) {
        above += hist[w + 1];
        uint64_t bits = (uint64_t)n * w + (uint64_t)above * (16 + 8 * ((most - w + 7) / 8));
        if (bits < best) {
            best = bits;
            p->width = w;
            p->patches = above;
        }
    }
    p->patch_bytes = (most - p->width + 7) / 8;
    return best;
}

/* The u of n values that begin at v. */
static void transform_to(const codec_kernels *k, const block_plan *p, unsigned transform,
                         const uint64_t *v, uint32_t n, uint64_t least, uint64_t *out)
{
    if (transform == FOR)
        k->subtract(v, n, least, out);
    else if (transform == DELTA)
        k->delta(v, n, p->base, out);
    else
        k->delta2(v, n, out);
}

static unsigned choose_transform(const codec_kernels *k, block_plan *p, const uint64_t *v,
                                 uint32_t n, uint64_t least, uint64_t *out)
{
    uint64_t best = UINT64_MAX;
    unsigned chosen = FOR;
    uint32_t run = n <= RUN * RUNS ? n : RUN;
    for (unsigned t = 0; t < TRANSFORMS; t++) {
        uint32_t hist[65] = {0};
        for (uint32_t at = 0; at + run <= n; at += run == n ? n : (n - RUN) / (RUNS - 1)) {
            transform_to(k, p, t, v + at, run, least, out);
            k->histogram(out, run, hist);
        }
        uint64_t bits = best_width(hist, run == n ? n : RUN * RUNS, p);
        if (bits < best) {
            best = bits;
            chosen = t;
        }
    }
    return chosen;
}

static size_t packed_size(uint32_t n, unsigned width)
{
    size_t bits = (size_t)((n + CODEC_LANES - 1) / CODEC_LANES) * width; /* of a lane */
    return bits / 64 * 8 * CODEC_LANES + (bits % 64 + 7) / 8 * CODEC_LANES;
}

static uint8_t *put_packed(const codec_kernels *k, const uint64_t *u, uint32_t n, unsigned width,
                           uint8_t *p)
{
    unsigned rows = (n + CODEC_LANES - 1) / CODEC_LANES;
    size_t bits = (size_t)rows * width;
    unsigned tail = (unsigned)(bits % 64 + 7) / 8;
    if (width == 0)
        return p;
    k->pack(u, rows, width, p);
    p += bits / 64 * 8 * CODEC_LANES;
    for (unsigned l = 0; l < CODEC_LANES; l++)
        memmove(p + (size_t)l * tail, p + (size_t)l * 8, tail);
    return p + (size_t)tail * CODEC_LANES;
}

/* Every value is written and kept only if it has a patch: nobody could predict a branch. */
static uint8_t *put_patches(const uint64_t *u, uint32_t n, const block_plan *plan, uint8_t *p)
{
    uint16_t position[CODEC_COLUMN_MAX + 1] = {0};
    uint8_t *high = p + (size_t)plan->patches * 2;
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t rest = u[i] >> plan->width; /* the width is below 64 when there are patches */
        position[count] = (uint16_t)i;
        vv_put_le64(high + (size_t)count * plan->patch_bytes, rest);
        count += rest != 0;
    }
    assert(count == plan->patches);
    memcpy(p, position, count * sizeof *position);
    return high + (size_t)count * plan->patch_bytes;
}

static uint8_t *put_head(const block_plan *plan, uint8_t *p)
{
    *p++ = (uint8_t)(plan->transform | (plan->divisor > 1 ? HAS_DIVISOR : 0) |
                     (plan->patches > 0 ? HAS_PATCHES : 0));
    *p++ = (uint8_t)plan->width;
    p = codec_put_zigzag(p, plan->origin);
    if (plan->divisor > 1)
        p += vv_varint_put(p, plan->divisor);
    if (plan->transform != FOR)
        p = codec_put_zigzag(p, plan->base);
    if (plan->patches > 0) {
        p += vv_varint_put(p, plan->patches);
        *p++ = (uint8_t)plan->patch_bytes;
    }
    return p;
}

uint8_t *codec_block_put(const uint64_t *v, uint32_t n, codec_scratch *s, uint8_t *p)
{
    const codec_kernels *k = codec_kernels_get();
    block_plan plan = {.divisor = 1};
    if (n == 0)
        return NULL;
    if (k->is_regular(v, n)) { /* one value too */
        plan.transform = DELTA;
        plan.origin = v[0];
        plan.base = n > 1 ? v[1] - v[0] : 0;
        return put_head(&plan, p);
    }
    uint64_t least = (uint64_t)k->min(v, n);
    const uint64_t *x = v;
    uint64_t x_least = least;
    plan.divisor = find_divisor(k, v, n, least, s->work);
    if (plan.divisor > 1) {
        x = s->work;
        x_least = 0;
    }
    plan.base = median_delta(x, n);
    plan.transform = choose_transform(k, &plan, x, n, x_least, s->trial);
    transform_to(k, &plan, plan.transform, x, n, x_least, s->trial);
    uint32_t hist[65] = {0};
    k->histogram(s->trial, n, hist);
    (void)best_width(hist, n, &plan);
    plan.origin = plan.transform == FOR ? least : v[0];
    if (plan.transform == DELTA2)
        plan.base = x[1] - x[0];
    p = put_head(&plan, p);
    if (n % CODEC_LANES != 0)
        memset(s->trial + n, 0, (CODEC_LANES - n % CODEC_LANES) * sizeof *v);
    if (plan.patches == 0)
        return put_packed(k, s->trial, n, plan.width, p);
    uint64_t mask = (UINT64_C(1) << plan.width) - 1;
    for (uint32_t i = 0; i < n; i++)
        s->low[i] = s->trial[i] & mask;
    memset(s->low + n, 0, -n % CODEC_LANES * sizeof *v);
    p = put_packed(k, s->low, n, plan.width, p);
    return put_patches(s->trial, n, &plan, p);
}

static bool get_head(codec_in *in, uint32_t n, block_plan *plan)
{
    uint8_t flags;
    uint8_t width;
    uint8_t bytes = 0;
    uint64_t patches = 0;
    if (!codec_in_u8(in, &flags) || flags > FLAGS_MAX || (flags & TRANSFORM_MASK) >= TRANSFORMS ||
        !codec_in_u8(in, &width) || width > 64 || !codec_in_zigzag(in, &plan->origin))
        return false;
    if ((flags & HAS_DIVISOR) != 0 && (!codec_in_varint(in, &plan->divisor) || plan->divisor < 2))
        return false;
    plan->transform = flags & TRANSFORM_MASK;
    if (plan->transform != FOR && !codec_in_zigzag(in, &plan->base))
        return false;
    if ((flags & HAS_PATCHES) != 0 &&
        (!codec_in_varint(in, &patches) || patches == 0 || patches > n ||
         !codec_in_u8(in, &bytes) || bytes == 0 || bytes > 8 || width == 64))
        return false;
    plan->width = width;
    plan->patches = (uint32_t)patches;
    plan->patch_bytes = bytes;
    return true;
}

static void get_packed(const codec_kernels *k, const uint8_t *p, uint32_t n, unsigned width,
                       uint64_t *u)
{
    unsigned rows = (n + CODEC_LANES - 1) / CODEC_LANES;
    size_t bits = (size_t)rows * width;
    unsigned tail = (unsigned)(bits % 64 + 7) / 8;
    uint8_t whole[(CODEC_COLUMN_MAX + CODEC_LANES) * 8];
    if (width == 0) {
        memset(u, 0, rows * CODEC_LANES * sizeof *u);
        return;
    }
    if (tail % 8 != 0) {
        size_t full = bits / 64 * 8 * CODEC_LANES;
        memcpy(whole, p, full);
        memset(whole + full, 0, (size_t)CODEC_LANES * 8);
        for (unsigned l = 0; l < CODEC_LANES; l++)
            memcpy(whole + full + (size_t)l * 8, p + full + (size_t)l * tail, tail);
        p = whole;
    }
    k->unpack(p, rows, width, u);
}

static bool get_patches(const block_plan *plan, const uint8_t *p, uint32_t n, uint64_t *u)
{
    const uint8_t *high = p + (size_t)plan->patches * 2;
    uint32_t next = 0;
    for (uint32_t i = 0; i < plan->patches; i++, p += 2, high += plan->patch_bytes) {
        uint32_t at = vv_get_le16(p);
        if (at < next || at >= n)
            return false;
        uint64_t rest = 0;
        memcpy(&rest, high, plan->patch_bytes);
        u[at] |= rest << plan->width;
        next = at + 1;
    }
    return true;
}

static void restore(const codec_kernels *k, const block_plan *plan, unsigned rows, uint64_t *u)
{
    uint64_t g = plan->divisor;
    uint64_t step = g * plan->base;
    if (plan->transform == FOR) {
        k->scale(u, rows, g, plan->origin);
    } else if (plan->transform == DELTA) {
        k->sum_zigzag(u, rows, g, step, plan->origin - step);
    } else {
        k->sum_zigzag(u, rows, g, 0, step);
        k->sum(u, rows, plan->origin - step);
    }
}

vv_status codec_block_get(codec_in in, uint32_t n, uint64_t *out, vv_error *err)
{
    const codec_kernels *k = codec_kernels_get();
    block_plan plan = {.divisor = 1};
    _Alignas(64) uint64_t rows_of[CODEC_COLUMN_MAX];
    if (n == 0 || n > CODEC_COLUMN_MAX || !get_head(&in, n, &plan))
        return codec_column_bad(err, CODEC_COL_INT, "its head");
    size_t packed = packed_size(n, plan.width);
    if (codec_in_left(&in) != packed + (size_t)plan.patches * (2 + plan.patch_bytes))
        return codec_column_bad(err, CODEC_COL_INT, "its length");
    if (plan.width == 0 && plan.patches == 0) { /* all differences are equal, to the last bit */
        k->line(out, n, plan.origin, plan.transform == FOR ? 0 : plan.divisor * plan.base);
        return VV_OK;
    }
    uint64_t *u = n % CODEC_LANES == 0 ? out : rows_of;
    get_packed(k, in.p, n, plan.width, u);
    if (plan.patches > 0 && !get_patches(&plan, in.p + packed, n, u))
        return codec_column_bad(err, CODEC_COL_INT, "the position of a patch");
    restore(k, &plan, (n + CODEC_LANES - 1) / CODEC_LANES, u);
    if (u != out)
        memcpy(out, u, n * sizeof *out);
    return VV_OK;
}
