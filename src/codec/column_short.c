/*
 * column_short.c - few integers as varints: themselves, their deltas, or the deltas of those.
 *
 *     u8 order 0..2, bit 2: a divisor follows | [varint divisor] | zigzag first | n - 1 zigzags
 *
 * value[i] = first + divisor * k[i] modulo 2^64, k[0] = 0, and the zigzags are k, its differences,
 * or the differences of those. Below a hundred values or so this beats the head of an integer
 * block.
 */
#include "codec/column_int.h"

#define ORDER_MASK 3u
#define HAS_DIVISOR 4u

/* The largest divisor of all differences to the first, 1 when one of them is alone. */
static uint64_t find_divisor(const uint64_t *v, uint32_t n)
{
    uint64_t g = 0;
    for (uint32_t i = 1; i < n && g != 1; i++) {
        int64_t d = (int64_t)(v[i] - v[i - 1]);
        uint64_t a = d < 0 ? 0 - (uint64_t)d : (uint64_t)d;
        if (g != 0 && a % g == 0)
            continue;
        while (a != 0) {
            uint64_t rest = g % a;
            g = a;
            a = rest;
        }
    }
    return g == 0 || g > INT64_MAX ? 1 : g;
}

/* Bytes of the zigzags by order. */
static void measure(const uint64_t *v, uint32_t n, uint64_t g, size_t size[3])
{
    uint64_t last = 0;
    uint64_t delta = 0;
    for (uint32_t i = 1; i < n; i++) {
        uint64_t k = (uint64_t)((int64_t)(v[i] - v[i - 1]) / (int64_t)g) + last;
        size[0] += vv_varint_len(codec_zigzag(k));
        size[1] += vv_varint_len(codec_zigzag(k - last));
        size[2] += vv_varint_len(codec_zigzag(k - last - delta));
        delta = k - last;
        last = k;
    }
}

uint8_t *codec_short_put(const uint64_t *v, uint32_t n, codec_scratch *s, uint8_t *p)
{
    (void)s;
    if (n == 0)
        return NULL;
    size_t size[3] = {0};
    uint64_t g = find_divisor(v, n);
    measure(v, n, g, size);
    unsigned order = size[1] < size[0] ? 1 : 0;
    order = size[2] < size[order] ? 2 : order;
    *p++ = (uint8_t)(order | (g > 1 ? HAS_DIVISOR : 0));
    if (g > 1)
        p += vv_varint_put(p, g);
    p = codec_put_zigzag(p, v[0]);
    uint64_t last = 0;
    uint64_t delta = 0;
    for (uint32_t i = 1; i < n; i++) {
        uint64_t d = (uint64_t)((int64_t)(v[i] - v[i - 1]) / (int64_t)g);
        last += d;
        p = codec_put_zigzag(p, order == 0 ? last : order == 1 ? d : d - delta);
        delta = d;
    }
    return p;
}

vv_status codec_short_get(codec_in in, uint32_t n, uint64_t *out, vv_error *err)
{
    uint8_t flags;
    uint64_t g = 1;
    uint64_t first;
    if (n == 0 || !codec_in_u8(&in, &flags) || flags > (HAS_DIVISOR | 2) ||
        (flags & ORDER_MASK) == 3)
        return codec_column_bad(err, CODEC_COL_INT_SHORT, "its order");
    if ((flags & HAS_DIVISOR) != 0 && (!codec_in_varint(&in, &g) || g < 2))
        return codec_column_bad(err, CODEC_COL_INT_SHORT, "its divisor");
    if (!codec_in_zigzag(&in, &first) || codec_in_left(&in) < n - 1)
        return codec_column_bad(err, CODEC_COL_INT_SHORT, "its length");
    unsigned order = flags & ORDER_MASK;
    uint64_t k = 0;
    uint64_t delta = 0;
    out[0] = first;
    for (uint32_t i = 1; i < n; i++) {
        uint64_t d;
        if (!codec_in_zigzag(&in, &d))
            return codec_column_bad(err, CODEC_COL_INT_SHORT, "a value");
        delta = order == 2 ? delta + d : d;
        k = order == 0 ? d : k + delta;
        out[i] = first + g * k;
    }
    if (in.p != in.end)
        return codec_column_bad(err, CODEC_COL_INT_SHORT, "its length");
    return VV_OK;
}
