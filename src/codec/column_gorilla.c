/*
 * column_gorilla.c - Pelkonen et al., "Gorilla" (VLDB 2015), section 4.1: bits for the open chunk.
 *
 * Times are differences of differences in classes of 0, 7, 14, 20, 32 and 64 bits. The paper's 32
 * bits at most would lose a gap of weeks in nanoseconds; the last class holds any int64, and sums
 * wrap, so that times before 1970 and out of order come back as they were. Times that are whole
 * microseconds, milliseconds or seconds are counted in those: the classes fit such jitter.
 *
 * Values are the exclusive or with the one before: one bit when equal, the bits of the last window
 * when they lie in it, else a window of its own.
 */
#include <string.h>

#include "codec/column_bits.h"
#include "codec/column_int.h"

#define UNIT_COUNT 4u
#define LEAD_MAX 31u /* five bits */

static const int64_t unit_ns[UNIT_COUNT] = {1, 1000, 1000000, 1000000000};

static const struct {
    unsigned head_bits;
    unsigned bits;
    uint64_t head;
} dod_class[] = {{2, 7, 0x2}, {3, 14, 0x6}, {4, 20, 0xe}, {5, 32, 0x1e}, {5, 64, 0x1f}};

/* v in units of ns, a constant where this is inlined; false when one is no whole number of them. */
static VV_ALWAYS_INLINE bool scale_by(const uint64_t *v, uint32_t n, int64_t ns, uint64_t *out)
{
    for (uint32_t i = 0; i < n; i++) {
        int64_t whole = (int64_t)v[i] / ns;
        if (whole * ns != (int64_t)v[i])
            return false;
        out[i] = (uint64_t)whole;
    }
    return true;
}

/* The times in the largest unit that all are whole numbers of; returns the unit. */
static unsigned scale_down(const uint64_t *v, uint32_t n, uint64_t *out)
{
    if (scale_by(v, n, 1000000000, out))
        return 3;
    if (scale_by(v, n, 1000000, out))
        return 2;
    if (scale_by(v, n, 1000, out))
        return 1;
    memcpy(out, v, n * sizeof *v);
    return 0;
}

static void put_dod(codec_bit_writer *w, uint64_t dod)
{
    if (dod == 0) {
        codec_bits_put(w, 0, 1);
        return;
    }
    uint64_t size = codec_zigzag(dod);
    unsigned c = 0;
    while (c < ARRAY_LEN(dod_class) - 1 && size >> dod_class[c].bits != 0)
        c++;
    codec_bits_put(w, dod_class[c].head, dod_class[c].head_bits);
    uint64_t mask = ~UINT64_C(0) >> (64 - dod_class[c].bits);
    codec_bits_put(w, dod & mask, dod_class[c].bits);
}

uint8_t *codec_gorilla_time_put(const uint64_t *v, uint32_t n, codec_scratch *s, uint8_t *p)
{
    if (n == 0)
        return NULL;
    const uint64_t *time = s->work;
    *p++ = (uint8_t)scale_down(v, n, s->work);
    uint64_t delta = 0;
    p = codec_put_zigzag(p, time[0]);
    codec_bit_writer w = {.p = p};
    for (uint32_t i = 1; i < n; i++) {
        uint64_t d = time[i] - time[i - 1];
        put_dod(&w, d - delta);
        delta = d;
    }
    return codec_bits_finish(&w);
}

static uint64_t get_dod(codec_bit_reader *r)
{
    uint64_t word = codec_bits_peek(r);
    if (word >> 63 == 0) {
        r->pos++;
        return 0;
    }
    /* ones in front name the class, up to five of them */
    unsigned ones = (unsigned)__builtin_clzll(~word | UINT64_C(1) << 58);
    unsigned c = ones - 1;
    r->pos += dod_class[c].head_bits;
    unsigned bits = dod_class[c].bits;
    uint64_t low = codec_bits_get(r, bits);
    return (uint64_t)((int64_t)(low << (64 - bits)) >> (64 - bits));
}

vv_status codec_gorilla_time_get(codec_in in, uint32_t n, uint64_t *out, vv_error *err)
{
    uint8_t unit;
    uint64_t time;
    if (n == 0 || !codec_in_u8(&in, &unit) || unit >= UNIT_COUNT || !codec_in_zigzag(&in, &time))
        return codec_column_bad(err, CODEC_COL_GORILLA_TIME, "its head");
    codec_bit_reader r = {.data = in.p, .len = codec_in_left(&in)};
    uint64_t ns = (uint64_t)unit_ns[unit];
    uint64_t delta = 0;
    out[0] = time * ns;
    for (uint32_t i = 1; i < n; i++) {
        delta += get_dod(&r);
        time += delta;
        out[i] = time * ns;
    }
    if (!codec_bits_ended(&r))
        return codec_column_bad(err, CODEC_COL_GORILLA_TIME, "its length");
    return VV_OK;
}

uint8_t *codec_gorilla_put(const uint64_t *v, uint32_t n, codec_scratch *s, uint8_t *p)
{
    (void)s;
    if (n == 0)
        return NULL;
    vv_put_le64(p, v[0]);
    codec_bit_writer w = {.p = p + 8};
    unsigned lead = 64; /* no window yet: nothing lies in it */
    unsigned trail = 64;
    for (uint32_t i = 1; i < n; i++) {
        uint64_t x = v[i] ^ v[i - 1];
        if (x == 0) {
            codec_bits_put(&w, 0, 1);
            continue;
        }
        unsigned x_lead = (unsigned)__builtin_clzll(x);
        unsigned x_trail = (unsigned)__builtin_ctzll(x);
        if (x_lead >= lead && x_trail >= trail) {
            codec_bits_put(&w, 2, 2);
            codec_bits_put(&w, x >> trail, 64 - lead - trail);
            continue;
        }
        lead = x_lead > LEAD_MAX ? LEAD_MAX : x_lead;
        trail = x_trail;
        unsigned size = 64 - lead - trail;
        codec_bits_put(&w, UINT64_C(3) << 11 | lead << 6 | (size & 63), 13);
        codec_bits_put(&w, x >> trail, size);
    }
    return codec_bits_finish(&w);
}

vv_status codec_gorilla_get(codec_in in, uint32_t n, uint64_t *out, vv_error *err)
{
    if (n == 0 || codec_in_left(&in) < 8)
        return codec_column_bad(err, CODEC_COL_GORILLA, "its head");
    uint64_t value = vv_get_le64(in.p);
    codec_bit_reader r = {.data = in.p + 8, .len = codec_in_left(&in) - 8};
    unsigned size = 0; /* no window yet */
    unsigned trail = 0;
    out[0] = value;
    for (uint32_t i = 1; i < n; i++) {
        uint64_t word = codec_bits_peek(&r);
        if (word >> 63 == 0) {
            r.pos++;
            out[i] = value;
            continue;
        }
        if (word >> 62 == 3) {
            unsigned lead = word >> 57 & 31;
            size = word >> 51 & 63;
            size = size == 0 ? 64 : size;
            if (lead + size > 64)
                return codec_column_bad(err, CODEC_COL_GORILLA, "a window");
            trail = 64 - lead - size;
            r.pos += 13;
        } else {
            if (size == 0)
                return codec_column_bad(err, CODEC_COL_GORILLA, "a window that is not there");
            r.pos += 2;
        }
        value ^= codec_bits_get(&r, size) << trail;
        out[i] = value;
    }
    if (!codec_bits_ended(&r))
        return codec_column_bad(err, CODEC_COL_GORILLA, "its length");
    return VV_OK;
}
