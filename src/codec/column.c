/*
 * column.c - the door: which form a column takes, and which reader its first byte asks for.
 *
 * A column whose form would be longer than the values themselves is RAW, so that no input costs
 * more than 8 bytes a value and one.
 */
#include "codec/column.h"

#include <string.h>

#include "base/alloc.h"
#include "codec/column_int.h"

#define RAW_VALUES 3u   /* up to here nothing is shorter than the values for certain */
#define SHORT_TIMES 32u /* up to here an append writes varints rather than bits */

typedef uint8_t *(*put_fn)(const uint64_t *v, uint32_t n, uint8_t *p);

codec_scratch *codec_scratch_create(void)
{
    codec_scratch *s = vv_alloc_aligned(64, sizeof *s);
    if (s != NULL)
        memset(s, 0, sizeof *s);
    return s;
}

void codec_scratch_destroy(codec_scratch *s)
{
    vv_free(s);
}

const char *codec_column_name(unsigned kind)
{
    static const char *const name[CODEC_COL_COUNT] = {
        "raw",     "const", "int",         "int_short", "gorilla_time", "gorilla",     "chimp128",
        "decimal", "dict",  "ordered_int", "bits",      "strings",      "string_dict",
    };
    return kind < CODEC_COL_COUNT ? name[kind] : "unknown";
}

vv_status codec_column_bad(vv_error *err, codec_column kind, const char *what)
{
    return vv_fail(err, VV_CORRUPT, "a column of codec %s: %s", codec_column_name(kind), what);
}

static uint8_t *raw_put(const uint64_t *v, uint32_t n, uint8_t *p)
{
    if (n > 0)
        memcpy(p, v, n * sizeof *v);
    return p + n * sizeof *v;
}

static uint8_t *const_put(const uint64_t *v, uint32_t n, uint8_t *p)
{
    if (n == 0)
        return NULL;
    for (uint32_t i = 1; i < n; i++)
        if (v[i] != v[0])
            return NULL;
    return raw_put(v, 1, p);
}

vv_status codec_raw_get(codec_in in, uint32_t n, uint64_t *out, vv_error *err)
{
    if (codec_in_left(&in) != n * sizeof *out)
        return codec_column_bad(err, CODEC_COL_RAW, "its length");
    if (n > 0)
        memcpy(out, in.p, n * sizeof *out);
    return VV_OK;
}

vv_status codec_const_get(codec_in in, uint32_t n, uint64_t *out, vv_error *err)
{
    if (n == 0 || codec_in_left(&in) != sizeof *out)
        return codec_column_bad(err, CODEC_COL_CONST, "its length");
    uint64_t value = vv_get_le64(in.p);
    for (uint32_t i = 0; i < n; i++)
        out[i] = value;
    return VV_OK;
}

/* The column in one form, if that holds it and is not longer than the values: then the end of it.
 */
static uint8_t *try_put(codec_column kind, put_fn put, const uint64_t *v, uint32_t n, uint8_t *p)
{
    p[0] = (uint8_t)kind;
    uint8_t *end = put(v, n, p + 1);
    return end == NULL || (size_t)(end - p) > 1 + n * sizeof *v ? NULL : end;
}

static uint8_t *put_raw(const uint64_t *v, uint32_t n, uint8_t *p)
{
    p[0] = CODEC_COL_RAW;
    return raw_put(v, n, p + 1);
}

uint8_t *codec_inner_put(const uint64_t *v, uint32_t n, codec_effort effort, codec_scratch *s,
                         uint8_t *p)
{
    (void)effort;
    (void)s;
    uint8_t *end = n > RAW_VALUES ? try_put(CODEC_COL_CONST, const_put, v, n, p) : NULL;
    if (end == NULL)
        end = try_put(CODEC_COL_INT_SHORT, codec_short_put, v, n, p);
    return end != NULL ? end : put_raw(v, n, p);
}

vv_status codec_inner_get(codec_in in, uint32_t n, uint64_t *out, vv_error *err)
{
    uint8_t kind;
    if (!codec_in_u8(&in, &kind))
        return vv_fail(err, VV_CORRUPT, "a column of no bytes for %u integers", n);
    switch (kind) {
    case CODEC_COL_RAW:
        return codec_raw_get(in, n, out, err);
    case CODEC_COL_CONST:
        return codec_const_get(in, n, out, err);
    case CODEC_COL_INT_SHORT:
        return codec_short_get(in, n, out, err);
    default:
        return vv_fail(err, VV_CORRUPT, "a column of %u integers: codec %u", n, kind);
    }
}

void codec_time_encode(const int64_t *v, uint32_t n, codec_effort effort, codec_scratch *s,
                       vv_buf *out)
{
    assert(n <= CODEC_COLUMN_MAX);
    assert(s != NULL);
    const uint64_t *u = (const uint64_t *)v;
    uint8_t *end = NULL;
    if (effort == CODEC_FAST && n > SHORT_TIMES)
        end = try_put(CODEC_COL_GORILLA_TIME, codec_gorilla_time_put, u, n, s->best);
    if (end == NULL)
        end = codec_inner_put(u, n, effort, s, s->best);
    vv_buf_append(out, s->best, (size_t)(end - s->best));
}

void codec_i64_encode(const int64_t *v, uint32_t n, codec_effort effort, codec_scratch *s,
                      vv_buf *out)
{
    assert(n <= CODEC_COLUMN_MAX);
    assert(s != NULL);
    uint8_t *end = codec_inner_put((const uint64_t *)v, n, effort, s, s->best);
    vv_buf_append(out, s->best, (size_t)(end - s->best));
}

void codec_f64_encode(const double *v, uint32_t n, codec_effort effort, codec_scratch *s,
                      vv_buf *out)
{
    assert(n <= CODEC_COLUMN_MAX);
    assert(s != NULL);
    (void)effort;
    const uint64_t *bits = (const uint64_t *)(const void *)v;
    uint8_t *end = NULL;
    if (n > 1)
        end = try_put(CODEC_COL_CONST, const_put, bits, n, s->best);
    if (end == NULL && n > RAW_VALUES)
        end = try_put(CODEC_COL_GORILLA, codec_gorilla_put, bits, n, s->best);
    if (end == NULL)
        end = put_raw(bits, n, s->best);
    vv_buf_append(out, s->best, (size_t)(end - s->best));
}

vv_status codec_i64_decode(vv_slice in, uint32_t n, int64_t *out, vv_error *err)
{
    if (n > CODEC_COLUMN_MAX || in.len == 0)
        return vv_fail(err, VV_CORRUPT, "a column of %zu bytes for %u integers", in.len, n);
    codec_in r = {in.data + 1, in.data + in.len};
    if (in.data[0] == CODEC_COL_GORILLA_TIME)
        return codec_gorilla_time_get(r, n, (uint64_t *)out, err);
    r.p--;
    return codec_inner_get(r, n, (uint64_t *)out, err);
}

vv_status codec_f64_decode(vv_slice in, uint32_t n, double *out, vv_error *err)
{
    if (n > CODEC_COLUMN_MAX || in.len == 0)
        return vv_fail(err, VV_CORRUPT, "a column of %zu bytes for %u doubles", in.len, n);
    codec_in r = {in.data + 1, in.data + in.len};
    uint64_t *bits = (uint64_t *)(void *)out;
    switch (in.data[0]) {
    case CODEC_COL_RAW:
        return codec_raw_get(r, n, bits, err);
    case CODEC_COL_CONST:
        return codec_const_get(r, n, bits, err);
    case CODEC_COL_GORILLA:
        return codec_gorilla_get(r, n, bits, err);
    default:
        return vv_fail(err, VV_CORRUPT, "a column of %u doubles: codec %u", n, in.data[0]);
    }
}

static vv_status append_as(codec_column kind, put_fn put, const uint64_t *v, uint32_t n,
                           codec_scratch *s, vv_buf *out)
{
    s->best[0] = (uint8_t)kind;
    uint8_t *end = put == NULL || n > CODEC_COLUMN_MAX ? NULL : put(v, n, s->best + 1);
    if (end == NULL)
        return VV_UNSUPPORTED;
    vv_buf_append(out, s->best, (size_t)(end - s->best));
    return out->status;
}

vv_status codec_i64_encode_as(codec_column kind, const int64_t *v, uint32_t n, codec_scratch *s,
                              vv_buf *out)
{
    static const put_fn put[CODEC_COL_COUNT] = {
        [CODEC_COL_RAW] = raw_put,
        [CODEC_COL_CONST] = const_put,
        [CODEC_COL_INT_SHORT] = codec_short_put,
        [CODEC_COL_GORILLA_TIME] = codec_gorilla_time_put,
    };
    return append_as(kind, put[kind], (const uint64_t *)v, n, s, out);
}

vv_status codec_f64_encode_as(codec_column kind, const double *v, uint32_t n, codec_scratch *s,
                              vv_buf *out)
{
    static const put_fn put[CODEC_COL_COUNT] = {
        [CODEC_COL_RAW] = raw_put,
        [CODEC_COL_CONST] = const_put,
        [CODEC_COL_GORILLA] = codec_gorilla_put,
    };
    return append_as(kind, put[kind], (const uint64_t *)(const void *)v, n, s, out);
}
