/*
 * feed_columns.c - see feed_columns.h.
 *
 * A column is an iterator over one field of the series: over its packed pieces, and its single
 * values. All columns of a series go forward together, a block at a time:
 *
 *     time    | 1 4 9 ...        -> time_ns[256]  \
 *     f64     | 0.5 0.25 ...     -> values[256]    >  feed_sink_samples
 *     quality | 0                -> quality[256]  /
 */
#include "feeds/feed_columns.h"

#include <string.h>

#include "base/error.h"
#include "base/util.h"
#include "codec/protowire.h"
#include "feeds/feed_number.h"

#define BLOCK 256u

enum {
    REQUEST_TENANT = 1,
    REQUEST_TABLE = 2,
    REQUEST_DURABILITY = 3,
    REQUEST_SERIES = 4,
    SERIES_LABELS = 1,
    SERIES_TYPE = 2,
    SERIES_UNIT = 3,
    SERIES_TIME_DELTA = 4,
    SERIES_TIME = 5,
    SERIES_QUALITY = 10,
    SERIES_FIELDS = 11, /* numbers below it are known */
};

/* The fields that hold columns; those of the values lie at 5 + their feed_type. */
static const wire_type type_of[SERIES_FIELDS] = {
    [4] = WIRE_VARINT, [5] = WIRE_FIXED64, [6] = WIRE_FIXED64, [7] = WIRE_VARINT,
    [8] = WIRE_VARINT, [9] = WIRE_BYTES,   [10] = WIRE_FIXED32};

typedef struct column {
    wire_reader series;
    wire_reader piece;
    uint32_t number;
} column;

typedef struct columns_walk {
    feed_sink *sink;
    feed_result *result;
    feed_label_set labels;
    const char *fault; /* of the labels */
    feed_type type;
    int64_t unit_ns;
    uint64_t count[SERIES_FIELDS]; /* elements of each column */
    int64_t last;                  /* time before, in units */
    int64_t time_ns[BLOCK];
    uint32_t quality[BLOCK];
    union {
        double f64[BLOCK];
        int64_t i64[BLOCK];
        bool boolean[BLOCK];
        vv_slice string[BLOCK];
    } value;
} columns_walk;

/* ---- what a series has ---- */

/* Elements in a packed piece; false when the last is cut off. */
static bool count_piece(wire_type type, vv_slice piece, uint64_t *count)
{
    size_t width = type == WIRE_FIXED64 ? 8 : 4;
    uint64_t n = 0;
    if (type != WIRE_VARINT) {
        *count += piece.len / width;
        return piece.len % width == 0;
    }
    for (size_t i = 0; i < piece.len; i++)
        n += piece.data[i] < 0x80;
    *count += n;
    return piece.len == 0 || piece.data[piece.len - 1] < 0x80;
}

/* One field of the series: a label, a setting, or a part of a column to count. */
static bool look_at(columns_walk *w, const wire_field *f)
{
    if (f->number == SERIES_LABELS && f->type == WIRE_BYTES)
        return feed_labels_read(&w->labels, f->bytes, &w->fault);
    if (f->number == SERIES_TYPE && f->type == WIRE_VARINT) {
        w->type = f->value == 0 ? FEED_F64 : (feed_type)vv_min_u64(f->value, FEED_STRING + 1);
    } else if (f->number == SERIES_UNIT && f->type == WIRE_VARINT) {
        w->unit_ns = f->value == 0 ? 1 : (int64_t)f->value;
    } else if (f->number >= SERIES_TIME_DELTA && f->number < SERIES_FIELDS) {
        wire_type want = type_of[f->number];
        if (f->type == want)
            w->count[f->number]++;
        else if (f->type == WIRE_BYTES)
            return count_piece(want, f->bytes, &w->count[f->number]);
    }
    return true;
}

static uint32_t value_field(feed_type type)
{
    return SERIES_TIME + (uint32_t)type;
}

/* Everything but the samples. False when malformed; w->fault says what else is wrong. */
static bool look_over(columns_walk *w, vv_slice series)
{
    wire_reader r = wire_reader_of(series);
    wire_field f = {0};
    w->labels.count = 0;
    w->fault = NULL;
    w->type = FEED_F64;
    w->unit_ns = 1;
    memset(w->count, 0, sizeof w->count);
    while (wire_next(&r, &f) > 0)
        if (!look_at(w, &f))
            return false;
    if (r.fault != WIRE_GOOD)
        return false;
    if (w->fault == NULL && feed_labels_name(&w->labels).len == 0)
        w->fault = "it has no __name__";
    if (w->fault == NULL && w->type > FEED_STRING)
        w->fault = "its type is none of SampleType";
    if (w->fault == NULL && w->unit_ns < 1)
        w->fault = "time_unit_ns is negative";
    if (w->fault == NULL && w->count[SERIES_TIME] > 0 && w->count[SERIES_TIME_DELTA] > 0)
        w->fault = "it has both time and time_delta";
    return true;
}

/* Samples of the series, or what is wrong with the lengths of its columns. */
static uint64_t sample_count(columns_walk *w)
{
    uint64_t times = w->count[SERIES_TIME] + w->count[SERIES_TIME_DELTA];
    uint64_t values = w->type > FEED_STRING ? times : w->count[value_field(w->type)];
    uint64_t qualities = w->count[SERIES_QUALITY];
    if (w->fault == NULL && values != times)
        w->fault = "it has not as many times as values of its type";
    if (w->fault == NULL && qualities > 1 && qualities != times)
        w->fault = "it has not as many qualities as samples";
    return vv_max_u64(times, values);
}

/* ---- the samples ---- */

static column column_of(vv_slice series, uint32_t number)
{
    return (column){.series = wire_reader_of(series), .number = number};
}

/* The next element: its value, or its bytes. False when malformed (there are enough). */
static bool column_next(column *c, uint64_t *value, vv_slice *bytes)
{
    wire_type want = type_of[c->number];
    wire_field f = {0};
    while (c->piece.next == c->piece.end) {
        if (wire_next(&c->series, &f) <= 0)
            return false;
        if (f.number != c->number)
            continue;
        if (f.type == want) {
            *value = f.value;
            *bytes = f.bytes;
            return true;
        }
        if (f.type == WIRE_BYTES)
            c->piece = wire_reader_of(f.bytes);
    }
    return wire_value(&c->piece, want, value);
}

static int64_t zigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

/* Times of a block. *fits: how many, until one is out of range. */
static bool read_times(columns_walk *w, column *c, size_t n, size_t *fits)
{
    uint64_t v;
    vv_slice none;
    for (*fits = 0; *fits < n; ++*fits) {
        if (!column_next(c, &v, &none))
            return false;
        int64_t units = (int64_t)v;
        if (c->number == SERIES_TIME_DELTA && __builtin_add_overflow(w->last, zigzag(v), &units))
            return true;
        w->last = units;
        if (!feed_scale(units, w->unit_ns, &w->time_ns[*fits]))
            return true;
    }
    return true;
}

static bool read_values(columns_walk *w, column *c, size_t n)
{
    uint64_t v = 0;
    vv_slice bytes = {0};
    for (size_t i = 0; i < n; i++) {
        if (!column_next(c, &v, &bytes))
            return false;
        if (w->type == FEED_F64)
            w->value.f64[i] = wire_double(v);
        else if (w->type == FEED_I64)
            w->value.i64[i] = zigzag(v);
        else if (w->type == FEED_BOOL)
            w->value.boolean[i] = v != 0;
        else if (utf8_is_valid(bytes))
            w->value.string[i] = bytes;
        else
            return false;
    }
    return true;
}

static bool read_qualities(columns_walk *w, column *c, size_t n)
{
    uint64_t v = 0;
    vv_slice none;
    for (size_t i = 0; i < n; i++) {
        if (!column_next(c, &v, &none))
            return false;
        w->quality[i] = (uint32_t)v;
    }
    return true;
}

static feed_values values_of(const columns_walk *w)
{
    switch (w->type) {
    case FEED_I64:
        return (feed_values){.i64 = w->value.i64};
    case FEED_BOOL:
        return (feed_values){.boolean = w->value.boolean};
    case FEED_STRING:
        return (feed_values){.string = w->value.string};
    case FEED_F64:
    default:
        return (feed_values){.f64 = w->value.f64};
    }
}

static vv_status malformed(vv_error *err)
{
    return vv_fail(err, VV_INVALID, "the message is no varve.v1.IngestSamplesRequest");
}

static vv_status give(columns_walk *w, bool has_quality, size_t n, vv_error *err)
{
    vv_error why;
    vv_status st = feed_sink_samples(w->sink, w->time_ns, values_of(w),
                                     has_quality ? w->quality : NULL, n, &why);
    if (st == VV_OK)
        w->result->samples += n;
    else if (st == VV_INVALID)
        feed_refuse(w->result, n, "%s", why.msg);
    else if (err != NULL)
        *err = why;
    return st == VV_INVALID ? VV_OK : st;
}

static vv_status walk_samples(columns_walk *w, vv_slice series, uint64_t count, vv_error *err)
{
    column times = column_of(series, w->count[SERIES_TIME] > 0 ? SERIES_TIME : SERIES_TIME_DELTA);
    column values = column_of(series, value_field(w->type));
    column qualities = column_of(series, SERIES_QUALITY);
    bool has_quality = w->count[SERIES_QUALITY] > 0, has_many = w->count[SERIES_QUALITY] > 1;
    w->last = 0;
    if (has_quality && !has_many) { /* one for all */
        if (!read_qualities(w, &qualities, 1))
            return malformed(err);
        for (size_t i = 1; i < BLOCK; i++)
            w->quality[i] = w->quality[0];
    }
    while (count > 0) {
        size_t n = (size_t)vv_min_u64(count, BLOCK), fits;
        if (!read_times(w, &times, n, &fits) || !read_values(w, &values, fits) ||
            (has_many && !read_qualities(w, &qualities, fits)))
            return malformed(err);
        vv_status st = fits == 0 ? VV_OK : give(w, has_quality, fits, err);
        if (st != VV_OK)
            return st;
        count -= fits;
        if (fits < n) {
            feed_refuse(w->result, count, "series '%.*s': a time is out of range",
                        (int)feed_labels_name(&w->labels).len,
                        (const char *)feed_labels_name(&w->labels).data);
            return VV_OK;
        }
    }
    return VV_OK;
}

static vv_status walk_series(columns_walk *w, vv_slice series, vv_error *err)
{
    vv_error why;
    if (!look_over(w, series))
        return malformed(err);
    uint64_t count = sample_count(w);
    if (w->fault != NULL) {
        vv_slice name = feed_labels_name(&w->labels);
        feed_refuse(w->result, vv_max_u64(count, 1), "series '%.*s': %s", (int)name.len,
                    name.len == 0 ? "" : (const char *)name.data, w->fault);
        return VV_OK;
    }
    if (count == 0)
        return VV_OK;
    vv_status st = feed_sink_series(w->sink, w->labels.items, w->labels.count, w->type, &why);
    if (st == VV_OK)
        return walk_samples(w, series, count, err);
    if (st == VV_INVALID)
        feed_refuse(w->result, count, "%s", why.msg);
    else if (err != NULL)
        *err = why;
    return st == VV_INVALID ? VV_OK : st;
}

vv_status feed_columns_open(vv_slice message, feed_columns *out, vv_error *err)
{
    feed_columns c = {.message = message};
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    while (wire_next(&r, &f) > 0) {
        if (f.type != WIRE_BYTES)
            continue;
        if (f.number == REQUEST_TENANT)
            c.tenant = f.bytes;
        else if (f.number == REQUEST_TABLE)
            c.table = f.bytes;
        else if (f.number == REQUEST_DURABILITY)
            c.durability = f.bytes;
        c.series_count += f.number == REQUEST_SERIES;
    }
    if (r.fault != WIRE_GOOD)
        return malformed(err);
    *out = c;
    return VV_OK;
}

vv_status feed_columns_decode(const feed_columns *columns, feed_sink *sink, feed_result *result,
                              vv_error *err)
{
    columns_walk w = {.sink = sink, .result = result};
    wire_reader r = wire_reader_of(columns->message);
    wire_field f = {0};
    *result = (feed_result){0};
    while (wire_next(&r, &f) > 0) {
        if (f.number != REQUEST_SERIES || f.type != WIRE_BYTES)
            continue;
        vv_status st = walk_series(&w, f.bytes, err);
        if (st != VV_OK)
            return st;
    }
    return r.fault == WIRE_GOOD ? VV_OK : malformed(err);
}
