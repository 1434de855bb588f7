/*
 * column_dict.c - doubles by what they are as bits: few distinct ones, or integers in their order.
 *
 *     DICT          varint count | varint size | the distinct ones, an integer column of that size
 *                   | their numbers, an integer column
 *     ORDERED_INT   an integer column
 *
 * Both hold doubles as integers that sort as the doubles do: the bits themselves, or, with the sign
 * set, the other 63 bits flipped. The distinct ones stand in that order, so that near values have
 * near numbers.
 */
#include <string.h>

#include "codec/column_int.h"

#define DISTINCT_MAX 640u
#define SLOT_BITS 11u /* twice CODEC_COLUMN_MAX */
#define EARLY 256u    /* values after which a column of hardly any repeats is given up */
#define EARLY_MAX 200u
#define ENTRY_MIN 2u     /* bytes of a distinct value */
#define NUMBER_SHARE 12u /* two thirds of the bits of a number, in bytes */

uint8_t *codec_ordered_put(const uint64_t *v, uint32_t n, codec_scratch *s, uint8_t *p)
{
    if (n == 0)
        return NULL;
    codec_kernels_get()->order(v, n, s->view);
    return codec_inner_put(s->view, n, s, p);
}

vv_status codec_ordered_get(codec_in in, uint32_t n, uint64_t *out, vv_error *err)
{
    vv_status st = codec_inner_get(in, n, out, err);
    if (st == VV_OK)
        codec_kernels_get()->order(out, n, out);
    return st;
}

/* The distinct ones of v in the order of appearance to s->trial, the number of each v to s->number;
 * 0 when there are too many. */
static uint32_t number_values(const uint64_t *v, uint32_t n, codec_scratch *s)
{
    uint16_t slot[1u << SLOT_BITS] = {0}; /* a number plus one */
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = (uint32_t)(v[i] * UINT64_C(0x9e3779b97f4a7c15) >> (64 - SLOT_BITS));
        while (slot[at] != 0 && s->trial[slot[at] - 1] != v[i])
            at = (at + 1) & ((1u << SLOT_BITS) - 1);
        if (slot[at] == 0) {
            if (count == DISTINCT_MAX || (i < EARLY && count > EARLY_MAX))
                return 0;
            s->trial[count++] = v[i];
            slot[at] = (uint16_t)count;
        }
        s->number[i] = (uint16_t)(slot[at] - 1);
    }
    return count;
}

/* Numbers of the keys in their order, least digit first (radix 256; digits that all share cost
 * nothing). Keys are taken as unsigned. */
static void sort_numbers(const uint64_t *key, uint32_t count, uint16_t *number)
{
    uint16_t other[DISTINCT_MAX];
    uint16_t *from = number;
    uint16_t *to = other;
    for (uint32_t i = 0; i < count; i++)
        from[i] = (uint16_t)i;
    for (unsigned shift = 0; shift < 64; shift += 8) {
        uint32_t begin[257] = {0};
        for (uint32_t i = 0; i < count; i++)
            begin[(key[i] >> shift & 255) + 1]++;
        if (begin[(key[0] >> shift & 255) + 1] == count)
            continue;
        for (unsigned d = 1; d < 257; d++)
            begin[d] += begin[d - 1];
        for (uint32_t i = 0; i < count; i++)
            to[begin[key[from[i]] >> shift & 255]++] = from[i];
        uint16_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != number)
        memcpy(number, from, count * sizeof *number);
}

/* About the least that a dictionary can come to, so that most that would lose are not sorted. */
static size_t least_size(uint32_t count, uint32_t n)
{
    unsigned bits = count < 2 ? 0 : 32 - (unsigned)__builtin_clz(count - 1);
    return (size_t)count * ENTRY_MIN + (size_t)n * bits / NUMBER_SHARE;
}

uint8_t *codec_dict_put(const uint64_t *v, uint32_t n, codec_scratch *s, uint8_t *p)
{
    uint32_t count = n == 0 ? 0 : number_values(v, n, s);
    if (count == 0 || least_size(count, n) >= s->size_to_beat)
        return NULL;
    uint64_t key[DISTINCT_MAX];
    uint16_t sorted[DISTINCT_MAX];
    uint16_t rank[DISTINCT_MAX] = {0};
    codec_kernels_get()->order(s->trial, count, key);
    for (uint32_t i = 0; i < count; i++)
        key[i] ^= UINT64_C(1) << 63;
    sort_numbers(key, count, sorted);
    for (uint32_t i = 0; i < count; i++) {
        rank[sorted[i]] = (uint16_t)i;
        s->view[i] = key[sorted[i]] ^ UINT64_C(1) << 63;
    }
    uint8_t *values = p + VV_VARINT_MAX * 2; /* moved down behind the lengths */
    size_t size = (size_t)(codec_inner_put(s->view, count, s, values) - values);
    p += vv_varint_put(p, count);
    p += vv_varint_put(p, size);
    memmove(p, values, size);
    for (uint32_t i = 0; i < n; i++)
        s->view[i] = rank[s->number[i]];
    return codec_inner_put(s->view, n, s, p + size);
}

vv_status codec_dict_get(codec_in in, uint32_t n, uint64_t *out, vv_error *err)
{
    uint64_t count;
    uint64_t size;
    codec_in values;
    uint64_t value[DISTINCT_MAX];
    if (!codec_in_varint(&in, &count) || count == 0 || count > DISTINCT_MAX || count > n ||
        !codec_in_varint(&in, &size) || !codec_in_part(&in, size, &values))
        return codec_column_bad(err, CODEC_COL_DICT, "its head");
    vv_status st = codec_inner_get(values, (uint32_t)count, value, err);
    if (st == VV_OK)
        st = codec_inner_get(in, n, out, err);
    if (st != VV_OK)
        return st;
    codec_kernels_get()->order(value, (uint32_t)count, value);
    uint64_t most = 0;
    for (uint32_t i = 0; i < n; i++)
        most = out[i] > most ? out[i] : most;
    if (most >= count)
        return codec_column_bad(err, CODEC_COL_DICT, "a number");
    for (uint32_t i = 0; i < n; i++)
        out[i] = value[out[i]];
    return VV_OK;
}
