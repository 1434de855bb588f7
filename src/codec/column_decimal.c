/*
 * column_decimal.c - doubles that were decimals: integers and a power of ten.
 *
 *     u8 exponent 0..15 | varint exceptions | [u16 positions] | [8 bytes each] | integer column
 *
 * value[i] = d[i] / 10^exponent, correctly rounded; |d[i]| < 2^51. The quotient is what a reader of
 * the decimal text gets, so that no value of up to 15 digits is an exception. NaN, infinities, -0.0
 * and what has more digits are kept as they are; their d repeats the one before.
 *
 * The exponent is the least that holds a sample of the column; if exceptions remain, one that holds
 * a sample of them may replace it, when its digits cost less than they do.
 */
#include <string.h>

#include "base/point.h"
#include "codec/column_int.h"

#define PROBES 32u
#define EXCEPTION_BITS 80u
#define DIGIT_BITS_16 53u /* 16 * log2(10) */
#define NONE CODEC_DECIMALS
#define ROUNDS 3u

/* The exponent from least on that holds values[0..n), n <= PROBES, at the least cost; NONE when
 * most are no decimals. */
static unsigned find_exponent(const codec_kernels *k, const uint64_t *values, uint32_t n,
                              unsigned least, uint32_t *misses)
{
    uint64_t d[PROBES];
    uint64_t miss[PROBES];
    unsigned found = NONE;
    uint32_t best = UINT32_MAX;
    for (unsigned p = least; p < CODEC_DECIMALS; p++) {
        uint32_t count = k->to_decimal(values, n, p, d, miss);
        uint32_t cost = count * EXCEPTION_BITS * 16 + (n - count) * (p - least) * DIGIT_BITS_16;
        if (count * 2 <= n && cost < best) {
            best = cost;
            found = p;
            *misses = count;
        }
        if (count == 0)
            break;
    }
    return found;
}

/* Up to PROBES of the values: all of them evenly, or of those that miss marks. */
static uint32_t take_probes(const uint64_t *v, uint32_t n, const uint64_t *miss, uint64_t *probe)
{
    uint32_t count = 0;
    if (miss == NULL) {
        count = n < PROBES ? n : PROBES;
        for (uint32_t i = 0; i < count; i++)
            probe[i] = v[(uint64_t)i * n / count];
        return count;
    }
    for (uint32_t i = 0; i < n && count < PROBES; i++)
        if (miss[i] != 0)
            probe[count++] = v[i];
    return count;
}

/* d and miss for the exponent of the column; NONE when it has none. */
static unsigned to_decimal(const codec_kernels *k, const uint64_t *v, uint32_t n, codec_scratch *s,
                           uint32_t *misses)
{
    uint64_t probe[PROBES];
    uint32_t probe_misses = 0;
    uint32_t probes = take_probes(v, n, NULL, probe);
    unsigned p = find_exponent(k, probe, probes, 0, &probe_misses);
    if (p == NONE)
        return NONE;
    *misses = k->to_decimal(v, n, p, s->view, s->miss);
    for (unsigned round = 0; round < ROUNDS && (*misses) > 0; round++) {
        probes = take_probes(v, n, s->miss, probe);
        unsigned more = find_exponent(k, probe, probes, p + 1, &probe_misses);
        if (more == NONE || probes == 0)
            break;
        uint64_t saved = (uint64_t)*misses * (probes - probe_misses) / probes * EXCEPTION_BITS;
        if (saved * 16 <= (uint64_t)n * (more - p) * DIGIT_BITS_16)
            break;
        p = more;
        *misses = k->to_decimal(v, n, p, s->view, s->miss);
    }
    return p;
}

uint8_t *codec_decimal_put(const uint64_t *v, uint32_t n, codec_scratch *s, uint8_t *p)
{
    uint32_t misses = 0;
    if (n == 0)
        return NULL;
    unsigned exponent = to_decimal(codec_kernels_get(), v, n, s, &misses);
    if (exponent == NONE || misses > n / 2)
        return NULL;
    *p++ = (uint8_t)exponent;
    p += vv_varint_put(p, misses);
    if (misses > 0) {
        uint8_t *value = p + (size_t)misses * 2;
        uint64_t last = 0;
        for (uint32_t i = 0; i < n; i++) {
            if (s->miss[i] == 0) {
                last = s->view[i];
                continue;
            }
            vv_put_le16(p, (uint16_t)i);
            bool is_dropped = VV_BUG(86) && v[i] == UINT64_C(1) << 63; /* the sign of -0.0 */
            vv_put_le64(value, is_dropped ? 0 : v[i]);
            p += 2;
            value += 8;
            s->view[i] = last;
        }
        p = value;
    }
    return codec_inner_put(s->view, n, s, p);
}

vv_status codec_decimal_get(codec_in in, uint32_t n, uint64_t *out, vv_error *err)
{
    uint8_t exponent;
    uint64_t count;
    codec_in position;
    codec_in value;
    if (!codec_in_u8(&in, &exponent) || exponent >= CODEC_DECIMALS ||
        !codec_in_varint(&in, &count) || count > n || !codec_in_part(&in, count * 2, &position) ||
        !codec_in_part(&in, count * 8, &value))
        return codec_column_bad(err, CODEC_COL_DECIMAL, "its head");
    vv_status st = codec_inner_get(in, n, out, err);
    if (st != VV_OK)
        return st;
    if (!codec_kernels_get()->from_decimal(out, n, exponent))
        return codec_column_bad(err, CODEC_COL_DECIMAL, "a number past the limit");
    uint32_t next = 0;
    for (; position.p < position.end; position.p += 2, value.p += 8) {
        uint32_t at = vv_get_le16(position.p);
        if (at < next || at >= n)
            return codec_column_bad(err, CODEC_COL_DECIMAL, "the position of an exception");
        out[at] = vv_get_le64(value.p);
        next = at + 1;
    }
    return VV_OK;
}
