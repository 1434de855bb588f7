/*
 * column_chimp.c - Chimp128 (Liakos et al., VLDB 2022): the exclusive or with one of the last 128
 * values, found by the low 14 bits.
 *
 *     8 bytes first value | bits, most significant first, for each further value
 *     00 distance                       the value of so many back, less one (7 bits)
 *     01 distance lead size bits        more than 13 zeros behind: lead's code (3), size (6)
 *     10 bits                           from the one before, lead as in the last 10 or 11
 *     11 lead bits                      likewise, with its own lead
 *
 * A lead of zeros is rounded down to one of eight. The index of the last position of each key is
 * never cleared: an entry counts only if it lies in front of the value and has its key, and any
 * such was written by this column.
 */
#include "codec/column_bits.h"
#include "codec/column_int.h"

#define KEY_MASK (CODEC_CHIMP_KEYS - 1)
#define PAST 128u
#define NO_LEAD 65u

static const uint8_t lead_of[8] = {0, 8, 12, 16, 18, 20, 22, 24};

static inline unsigned lead_code(uint64_t x)
{
    static const uint8_t code[64] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2,
                                     3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7,
                                     7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
                                     7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7};
    return code[__builtin_clzll(x | 1)] & 7;
}

/* The position of a value that x is shortest against, and whether it is worth its distance. */
static inline bool find_past(const uint64_t *v, uint32_t i, const uint16_t *index, uint32_t *at)
{
    uint32_t past = index[v[i] & KEY_MASK];
    *at = past;
    if (past >= i || i - past > PAST || ((v[past] ^ v[i]) & KEY_MASK) != 0)
        return false;
    return true; /* equal in 14 bits: more than 13 zeros */
}

uint8_t *codec_chimp_put(const uint64_t *v, uint32_t n, codec_scratch *s, uint8_t *p)
{
    if (n == 0)
        return NULL;
    vv_put_le64(p, v[0]);
    s->chimp_index[v[0] & KEY_MASK] = 0;
    codec_bit_writer w = {.p = p + 8};
    bool has_code = false;  /* whether the last was a 10 or 11, */
    unsigned last_code = 0; /* and its code */
    for (uint32_t i = 1; i < n; i++) {
        uint32_t at;
        if (find_past(v, i, s->chimp_index, &at)) {
            uint64_t x = v[i] ^ v[at];
            uint64_t distance = i - at - 1;
            has_code = false;
            if (x == 0) {
                codec_bits_put(&w, distance, 9);
            } else {
                unsigned code = lead_code(x);
                unsigned trail = (unsigned)__builtin_ctzll(x);
                unsigned size = 64 - lead_of[code] - trail;
                codec_bits_put(&w, UINT64_C(1) << 16 | distance << 9 | code << 6 | size, 18);
                codec_bits_put(&w, x >> trail, size);
            }
        } else {
            uint64_t x = v[i] ^ v[i - 1];
            unsigned code = lead_code(x);
            if (has_code && code == last_code)
                codec_bits_put(&w, 2, 2);
            else
                codec_bits_put(&w, 3u << 3 | code, 5);
            codec_bits_put(&w, x, 64 - lead_of[code]);
            has_code = true;
            last_code = code;
        }
        s->chimp_index[v[i] & KEY_MASK] = (uint16_t)i;
    }
    return codec_bits_finish(&w);
}

vv_status codec_chimp_get(codec_in in, uint32_t n, uint64_t *out, vv_error *err)
{
    if (n == 0 || codec_in_left(&in) < 8)
        return codec_column_bad(err, CODEC_COL_CHIMP128, "its head");
    codec_bit_reader r = {.data = in.p + 8, .len = codec_in_left(&in) - 8};
    unsigned lead = NO_LEAD;
    out[0] = vv_get_le64(in.p);
    for (uint32_t i = 1; i < n; i++) {
        uint64_t word = codec_bits_peek(&r);
        if (word >> 63 != 0) {
            bool own = word >> 62 == 3;
            lead = own ? lead_of[word >> 59 & 7] : lead;
            if (lead == NO_LEAD)
                return codec_column_bad(err, CODEC_COL_CHIMP128, "a lead that is not there");
            r.pos += own ? 5 : 2;
            out[i] = out[i - 1] ^ codec_bits_get(&r, 64 - lead);
            continue;
        }
        uint32_t distance = (uint32_t)(word >> 55 & 127);
        if (distance >= i)
            return codec_column_bad(err, CODEC_COL_CHIMP128, "a distance");
        uint64_t value = out[i - distance - 1];
        r.pos += 9;
        lead = NO_LEAD;
        if (word >> 62 == 1) {
            unsigned front = lead_of[word >> 52 & 7];
            unsigned size = word >> 46 & 63;
            if (size == 0 || front + size > 64)
                return codec_column_bad(err, CODEC_COL_CHIMP128, "a size");
            r.pos += 9;
            value ^= codec_bits_get(&r, size) << (64 - front - size);
        }
        out[i] = value;
    }
    if (!codec_bits_ended(&r))
        return codec_column_bad(err, CODEC_COL_CHIMP128, "its length");
    return VV_OK;
}
