/*
 * column_string.c - strings and bools.
 *
 *     STRINGS        varint size | lengths, an integer column of that size | all bytes
 *     STRING_DICT    varint count | varint size | STRINGS of the distinct ones, of that size
 *                    | their numbers, an integer column
 *     BITS           n bits, the first the lowest of its byte; zeros up to a whole byte
 *
 * The distinct strings stand in the order in which they appear first.
 */
#include <string.h>

#include "base/hash.h"
#include "codec/column_int.h"

#define SLOTS (2 * CODEC_COLUMN_MAX)

static size_t total_len(const vv_slice *v, uint32_t n)
{
    size_t total = 0;
    for (uint32_t i = 0; i < n; i++)
        total += v[i].len;
    return total;
}

/* The part before the bytes, to p. */
static uint8_t *put_lengths(const vv_slice *v, uint32_t n, codec_scratch *s, uint8_t *p)
{
    uint8_t *lengths = s->other;
    for (uint32_t i = 0; i < n; i++)
        s->view[i] = v[i].len;
    size_t size = (size_t)(codec_inner_put(s->view, n, s, lengths) - lengths);
    p += vv_varint_put(p, size);
    memcpy(p, lengths, size);
    return p + size;
}

/* The distinct ones of v to first[], and for each of v its number among them. */
static uint32_t number_strings(const vv_slice *v, uint32_t n, vv_slice *first, uint64_t *number)
{
    uint16_t slot[SLOTS] = {0}; /* a number plus one */
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = (uint32_t)vv_hash64(v[i].data, v[i].len) % SLOTS;
        while (slot[at] != 0 && !vv_slice_eq(first[slot[at] - 1], v[i]))
            at = (at + 1) % SLOTS;
        if (slot[at] == 0) {
            first[count++] = v[i];
            slot[at] = (uint16_t)count;
        }
        number[i] = slot[at] - 1u;
    }
    return count;
}

static void append_strings(const vv_slice *v, uint32_t n, codec_scratch *s, vv_buf *out)
{
    uint8_t *end = put_lengths(v, n, s, s->best);
    vv_buf_append(out, s->best, (size_t)(end - s->best));
    for (uint32_t i = 0; i < n; i++)
        vv_buf_append_slice(out, v[i]);
}

static void append_dict(const vv_slice *first, uint32_t count, const uint64_t *number, uint32_t n,
                        codec_scratch *s, vv_buf *out)
{
    uint8_t *p = put_lengths(first, count, s, s->best);
    size_t head = (size_t)(p - s->best);
    vv_buf_append_u8(out, CODEC_COL_STRING_DICT);
    vv_buf_append_varint(out, count);
    vv_buf_append_varint(out, head + total_len(first, count));
    vv_buf_append(out, s->best, head);
    for (uint32_t i = 0; i < count; i++)
        vv_buf_append_slice(out, first[i]);
    p = codec_inner_put(number, n, s, s->best);
    vv_buf_append(out, s->best, (size_t)(p - s->best));
}

void codec_string_encode(const vv_slice *v, uint32_t n, codec_effort effort, codec_scratch *s,
                         vv_buf *out)
{
    assert(n <= CODEC_COLUMN_MAX);
    assert(s != NULL);
    vv_slice first[CODEC_COLUMN_MAX];
    uint64_t number[CODEC_COLUMN_MAX];
    if (effort == CODEC_BEST && n > 1) {
        uint32_t count = number_strings(v, n, first, number);
        /* a number costs a byte or so more than its share of the lengths */
        if (total_len(first, count) + count + n < total_len(v, n) + n) {
            append_dict(first, count, number, n, s, out);
            return;
        }
    }
    vv_buf_append_u8(out, CODEC_COL_STRINGS);
    if (n > 0)
        append_strings(v, n, s, out);
}

/* The n strings that are the whole of in: out[i] borrows from it. */
static vv_status get_strings(codec_in in, uint32_t n, vv_slice *out, vv_error *err)
{
    uint64_t size;
    uint64_t len[CODEC_COLUMN_MAX];
    codec_in lengths;
    if (!codec_in_varint(&in, &size) || !codec_in_part(&in, size, &lengths))
        return codec_column_bad(err, CODEC_COL_STRINGS, "the size of its lengths");
    vv_status st = codec_inner_get(lengths, n, len, err);
    if (st != VV_OK)
        return st;
    for (uint32_t i = 0; i < n; i++) {
        codec_in text;
        if (!codec_in_part(&in, len[i], &text))
            return codec_column_bad(err, CODEC_COL_STRINGS, "a length");
        out[i] = vv_slice_of(text.p, codec_in_left(&text));
    }
    return in.p == in.end ? VV_OK : codec_column_bad(err, CODEC_COL_STRINGS, "its length");
}

static vv_status get_dict(codec_in in, uint32_t n, vv_slice *out, vv_error *err)
{
    uint64_t count;
    uint64_t size;
    codec_in part;
    vv_slice first[CODEC_COLUMN_MAX];
    uint64_t number[CODEC_COLUMN_MAX];
    if (!codec_in_varint(&in, &count) || count == 0 || count > n || !codec_in_varint(&in, &size) ||
        !codec_in_part(&in, size, &part))
        return codec_column_bad(err, CODEC_COL_STRING_DICT, "its head");
    vv_status st = get_strings(part, (uint32_t)count, first, err);
    if (st == VV_OK)
        st = codec_inner_get(in, n, number, err);
    if (st != VV_OK)
        return st;
    for (uint32_t i = 0; i < n; i++) {
        if (number[i] >= count)
            return codec_column_bad(err, CODEC_COL_STRING_DICT, "a number");
        out[i] = first[number[i]];
    }
    return VV_OK;
}

vv_status codec_string_decode(vv_slice in, uint32_t n, vv_arena *arena, vv_slice *out,
                              vv_error *err)
{
    if (n > CODEC_COLUMN_MAX || in.len == 0)
        return vv_fail(err, VV_CORRUPT, "a column of %zu bytes for %u strings", in.len, n);
    uint8_t kind = in.data[0];
    codec_in r = {in.data + 1, in.data + in.len};
    if (n == 0 && kind == CODEC_COL_STRINGS && r.p == r.end)
        return VV_OK;
    if (n == 0 || (kind != CODEC_COL_STRINGS && kind != CODEC_COL_STRING_DICT))
        return vv_fail(err, VV_CORRUPT, "a column of %u strings: codec %u", n, kind);
    vv_slice copy = vv_arena_dup(arena, vv_slice_of(r.p, codec_in_left(&r)));
    if (copy.data == NULL)
        return vv_fail(err, VV_NO_MEMORY, "a column of %zu bytes for %u strings", in.len, n);
    r = (codec_in){copy.data, copy.data + copy.len};
    return kind == CODEC_COL_STRINGS ? get_strings(r, n, out, err) : get_dict(r, n, out, err);
}

void codec_bool_encode(const uint8_t *v, uint32_t n, vv_buf *out)
{
    assert(n <= CODEC_COLUMN_MAX);
    uint8_t bits[CODEC_COLUMN_MAX / 8] = {0};
    uint32_t ones = 0;
    for (uint32_t i = 0; i < n; i++) {
        bits[i / 8] |= (uint8_t)((v[i] != 0) << i % 8);
        ones += v[i] != 0;
    }
    bool same = n > 8 && (ones == 0 || ones == n);
    vv_buf_append_u8(out, same ? CODEC_COL_CONST : CODEC_COL_BITS);
    if (same)
        vv_buf_append_u8(out, ones != 0);
    else
        vv_buf_append(out, bits, (n + 7) / 8);
}

vv_status codec_bool_decode(vv_slice in, uint32_t n, uint8_t *out, vv_error *err)
{
    if (n > CODEC_COLUMN_MAX || in.len == 0)
        return vv_fail(err, VV_CORRUPT, "a column of %zu bytes for %u bools", in.len, n);
    if (in.data[0] == CODEC_COL_CONST && in.len == 2 && in.data[1] <= 1) {
        memset(out, in.data[1], n);
        return VV_OK;
    }
    if (in.data[0] != CODEC_COL_BITS || in.len != 1 + (n + 7) / 8)
        return codec_column_bad(err, CODEC_COL_BITS, "its length");
    if (n % 8 != 0 && in.data[in.len - 1] >> n % 8 != 0)
        return codec_column_bad(err, CODEC_COL_BITS, "bits behind the last");
    for (uint32_t i = 0; i < n; i++)
        out[i] = in.data[1 + i / 8] >> i % 8 & 1;
    return VV_OK;
}
