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

#define SHORT_TIMES 32u /* up to here an append writes varints rather than bits */
#define SHORT_ONLY 16u  /* up to here varints are shorter than a block for certain */
#define SHORT_MAX 120u  /* from here on a block is */
#define RAW_DOUBLES 3u  /* up to here nothing is shorter than the values for certain */
/* Sizes in tenths of a byte a value: up to which a column of decimals is taken at once, up to which
 * only a dictionary is tried beside it, and up to which one of few digits is (what has them and is
 * longer may have few distinct bits). */
#define GOOD_TENTHS 12u
#define FAIR_TENTHS 21u
#define DIGITS_TENTHS 48u
#define DIGITS_MAX 8u

static const codec_put_fn put_of[CODEC_COL_COUNT];

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

static uint8_t *raw_put(const uint64_t *v, uint32_t n, codec_scratch *s, uint8_t *p)
{
    (void)s;
    if (n > 0)
        memcpy(p, v, n * sizeof *v);
    return p + n * sizeof *v;
}

static uint8_t *const_put(const uint64_t *v, uint32_t n, codec_scratch *s, uint8_t *p)
{
    if (n == 0)
        return NULL;
    for (uint32_t i = 1; i < n; i++)
        if (v[i] != v[0])
            return NULL;
    return raw_put(v, 1, s, p);
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

/* The column in one form: the end of it, or NULL when that cannot hold the values. */
static uint8_t *put_as(codec_column kind, const uint64_t *v, uint32_t n, codec_scratch *s,
                       uint8_t *p)
{
    *p = (uint8_t)kind;
    return put_of[kind] == NULL ? NULL : put_of[kind](v, n, s, p + 1);
}

/* The same, or raw where the form cannot hold the values or is longer than they are. */
static uint8_t *put_or_raw(codec_column kind, const uint64_t *v, uint32_t n, codec_scratch *s,
                           uint8_t *p)
{
    uint8_t *end = put_as(kind, v, n, s, p);
    if (end == NULL || (size_t)(end - p) > 1 + n * sizeof *v)
        end = put_as(CODEC_COL_RAW, v, n, s, p);
    return end;
}

uint8_t *codec_inner_put(const uint64_t *v, uint32_t n, codec_scratch *s, uint8_t *p)
{
    if (n <= SHORT_ONLY)
        return put_or_raw(CODEC_COL_INT_SHORT, v, n, s, p);
    uint8_t *end = put_or_raw(CODEC_COL_INT, v, n, s, p);
    if (n >= SHORT_MAX)
        return end;
    uint8_t few[1 + SHORT_MAX * VV_VARINT_MAX + 2 * VV_VARINT_MAX];
    size_t size = (size_t)(put_as(CODEC_COL_INT_SHORT, v, n, s, few) - few);
    if (size >= (size_t)(end - p))
        return end;
    memcpy(p, few, size);
    return p + size;
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
    case CODEC_COL_INT:
        return codec_block_get(in, n, out, err);
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
    uint8_t *end = effort == CODEC_FAST && n > SHORT_TIMES
                       ? put_or_raw(CODEC_COL_GORILLA_TIME, u, n, s, s->best)
                       : codec_inner_put(u, n, s, s->best);
    vv_buf_append(out, s->best, (size_t)(end - s->best));
}

void codec_i64_encode(const int64_t *v, uint32_t n, codec_effort effort, codec_scratch *s,
                      vv_buf *out)
{
    assert(n <= CODEC_COLUMN_MAX);
    assert(s != NULL);
    (void)effort; /* there is nothing faster than what is best */
    uint8_t *end = codec_inner_put((const uint64_t *)v, n, s, s->best);
    vv_buf_append(out, s->best, (size_t)(end - s->best));
}

/* The shortest of the forms so far, and room for the next. */
typedef struct contest {
    uint8_t *best;
    uint8_t *other;
    size_t size; /* of the best */
} contest;

/* Let a form replace the best when it has at most percent of its size. */
static void challenge(contest *c, codec_column kind, const uint64_t *v, uint32_t n,
                      codec_scratch *s, unsigned percent)
{
    uint8_t *end = put_as(kind, v, n, s, c->other);
    if (end == NULL || (size_t)(end - c->other) * 100 >= c->size * percent)
        return;
    uint8_t *swap = c->best;
    c->best = c->other;
    c->other = swap;
    c->size = (size_t)(end - c->best);
}

/* Which form is best: decimals where they are short, else the least, with a bias to the forms that
 * are read eight values at a time. */
static contest choose(const uint64_t *v, uint32_t n, codec_scratch *s)
{
    contest c = {.best = s->best, .other = s->other};
    c.size = (size_t)(put_as(CODEC_COL_RAW, v, n, s, c.best) - c.best);
    challenge(&c, CODEC_COL_DECIMAL, v, n, s, 100);
    bool decimal = c.best[0] == CODEC_COL_DECIMAL;
    bool digits = decimal && c.best[1] <= DIGITS_MAX;
    size_t tenths = c.size * 10 / n;
    if (decimal && tenths < GOOD_TENTHS)
        return c;
    s->size_to_beat = c.size;
    challenge(&c, CODEC_COL_DICT, v, n, s, 100);
    if (decimal && (tenths < FAIR_TENTHS || (digits && tenths < DIGITS_TENTHS)))
        return c;
    if (!decimal)
        challenge(&c, CODEC_COL_ORDERED_INT, v, n, s, 100);
    challenge(&c, CODEC_COL_CHIMP128, v, n, s, 88);
    return c;
}

void codec_f64_encode(const double *v, uint32_t n, codec_effort effort, codec_scratch *s,
                      vv_buf *out)
{
    assert(n <= CODEC_COLUMN_MAX);
    assert(s != NULL);
    const uint64_t *bits = (const uint64_t *)(const void *)v;
    const uint8_t *column = s->best;
    uint8_t *end = n > 1 ? put_as(CODEC_COL_CONST, bits, n, s, s->best) : NULL;
    if (end == NULL && n > RAW_DOUBLES && effort == CODEC_BEST) {
        contest c = choose(bits, n, s);
        column = c.best;
        end = c.best + c.size;
    }
    if (end == NULL)
        end = put_or_raw(n > RAW_DOUBLES ? CODEC_COL_GORILLA : CODEC_COL_RAW, bits, n, s, s->best);
    vv_buf_append(out, column, (size_t)(end - column));
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
    static const codec_get_fn get_of[CODEC_COL_COUNT] = {
        [CODEC_COL_RAW] = codec_raw_get,
        [CODEC_COL_CONST] = codec_const_get,
        [CODEC_COL_GORILLA] = codec_gorilla_get,
        [CODEC_COL_CHIMP128] = codec_chimp_get,
        [CODEC_COL_DECIMAL] = codec_decimal_get,
        [CODEC_COL_DICT] = codec_dict_get,
        [CODEC_COL_ORDERED_INT] = codec_ordered_get,
    };
    if (n > CODEC_COLUMN_MAX || in.len == 0)
        return vv_fail(err, VV_CORRUPT, "a column of %zu bytes for %u doubles", in.len, n);
    unsigned kind = in.data[0];
    codec_in r = {in.data + 1, in.data + in.len};
    if (kind >= CODEC_COL_COUNT || get_of[kind] == NULL)
        return vv_fail(err, VV_CORRUPT, "a column of %u doubles: codec %u", n, kind);
    return get_of[kind](r, n, (uint64_t *)(void *)out, err);
}

static const codec_put_fn put_of[CODEC_COL_COUNT] = {
    [CODEC_COL_RAW] = raw_put,
    [CODEC_COL_CONST] = const_put,
    [CODEC_COL_INT] = codec_block_put,
    [CODEC_COL_INT_SHORT] = codec_short_put,
    [CODEC_COL_GORILLA_TIME] = codec_gorilla_time_put,
    [CODEC_COL_GORILLA] = codec_gorilla_put,
    [CODEC_COL_CHIMP128] = codec_chimp_put,
    [CODEC_COL_DECIMAL] = codec_decimal_put,
    [CODEC_COL_DICT] = codec_dict_put,
    [CODEC_COL_ORDERED_INT] = codec_ordered_put,
};

/* RAW and CONST hold either type, the kinds from first to last the one that is asked for. */
static vv_status append_as(codec_column kind, codec_column first, codec_column last,
                           const uint64_t *v, uint32_t n, codec_scratch *s, vv_buf *out)
{
    s->size_to_beat = SIZE_MAX;
    bool fits = kind <= CODEC_COL_CONST || (kind >= first && kind <= last);
    uint8_t *end = !fits || n > CODEC_COLUMN_MAX ? NULL : put_as(kind, v, n, s, s->best);
    if (end == NULL)
        return VV_UNSUPPORTED;
    vv_buf_append(out, s->best, (size_t)(end - s->best));
    return out->status;
}

vv_status codec_i64_encode_as(codec_column kind, const int64_t *v, uint32_t n, codec_scratch *s,
                              vv_buf *out)
{
    return append_as(kind, CODEC_COL_INT, CODEC_COL_GORILLA_TIME, (const uint64_t *)v, n, s, out);
}

vv_status codec_f64_encode_as(codec_column kind, const double *v, uint32_t n, codec_scratch *s,
                              vv_buf *out)
{
    return append_as(kind, CODEC_COL_GORILLA, CODEC_COL_ORDERED_INT,
                     (const uint64_t *)(const void *)v, n, s, out);
}
