/*
 * svc_http_series_put.c - samples as JSON, CSV, JSON lines and Arrow.
 *
 *   JSON   {"series":[{"labels":{...},"points":[[ms,value],[ms,value,quality],...]},...]}
 *   CSV    series,timestamp_ms,value,quality
 *   JSONL  {"labels":{...},"timestamps_ms":[...],"values":[...],"quality":[...]}, a piece a line
 *   Arrow  series, time, value, quality; the type of value is that of the first series
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/util.h"
#include "query/struct_json.h"
#include "server/svc_http_series.h"

#define WHOLE_MAX 1e13 /* below it a value with three decimals is exact as a whole number */

const char *const svc_series_format_name[SVC_SERIES_FORMATS] = {"json", "csv", "jsonl", "arrow"};
const char *const svc_series_format_type[SVC_SERIES_FORMATS] = {
    "application/json", "text/csv; charset=utf-8", "application/x-ndjson",
    "application/vnd.apache.arrow.stream"};

/* ---- numbers ---- */

/* value / 10^decimals in decimal, without zeros at the end of its fraction. */
static void put_decimal(vv_buf *out, bool is_negative, uint64_t value, unsigned decimals)
{
    char text[32];
    size_t at = sizeof text;
    while (decimals > 0 && value % 10 == 0) {
        value /= 10;
        decimals--;
    }
    for (unsigned i = 0; i < decimals; i++) {
        text[--at] = (char)('0' + value % 10);
        value /= 10;
    }
    if (decimals > 0)
        text[--at] = '.';
    do {
        text[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    if (is_negative)
        text[--at] = '-';
    vv_buf_append(out, text + at, sizeof text - at);
}

static void put_i64(vv_buf *out, int64_t value)
{
    put_decimal(out, value < 0, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 0);
}

void svc_put_ms(vv_buf *out, int64_t time_ns)
{
    put_decimal(out, time_ns < 0, time_ns < 0 ? 0 - (uint64_t)time_ns : (uint64_t)time_ns, 6);
}

static void put_special(vv_buf *out, double value, bool is_json)
{
    const char *text = isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
    if (is_json)
        vv_buf_append_u8(out, '"');
    vv_buf_append_str(out, text);
    if (is_json)
        vv_buf_append_u8(out, '"');
}

void svc_put_f64(vv_buf *out, double value, bool is_json)
{
    static const double scale[] = {1, 10, 100, 1000};
    const double size = fabs(value);
    if (!isfinite(value)) {
        put_special(out, value, is_json);
        return;
    }
    for (unsigned d = 0; size < WHOLE_MAX && d < ARRAY_LEN(scale); d++) {
        const double whole = nearbyint(size * scale[d]);
        if (whole / scale[d] == size) { /* both exact, so this reads back the same */
            put_decimal(out, signbit(value), (uint64_t)whole, d);
            return;
        }
    }
    json_put_number(out, value);
}

/* A field of CSV: in quotes where it has to be. */
static void put_csv_text(vv_buf *out, vv_slice text)
{
    bool is_plain = true;
    for (size_t i = 0; i < text.len; i++)
        is_plain &= strchr("\",\r\n", text.data[i]) == NULL;
    if (is_plain) {
        vv_buf_append_slice(out, text);
        return;
    }
    vv_buf_append_u8(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '"')
            vv_buf_append_u8(out, '"');
        vv_buf_append_u8(out, text.data[i]);
    }
    vv_buf_append_u8(out, '"');
}

void svc_put_point(vv_buf *out, const vv_series_block *b, size_t i, bool is_json)
{
    if (b->is_null != NULL && b->is_null[i]) {
        vv_buf_append_str(out, is_json ? "null" : "");
        return;
    }
    switch (b->type) {
    case VV_F64:
        svc_put_f64(out, b->f64[i], is_json);
        break;
    case VV_I64:
        put_i64(out, b->i64[i]);
        break;
    case VV_BOOL:
        vv_buf_append_str(out, b->i64[i] != 0 ? "true" : "false");
        break;
    case VV_STRING:
    default:
        if (is_json)
            json_put_string(out, b->string[i]);
        else
            put_csv_text(out, b->string[i]);
        break;
    }
}

static uint32_t quality_of(const vv_series_block *b, size_t i)
{
    return b->quality == NULL ? VV_QUALITY_GOOD : b->quality[i];
}

/* ---- labels ---- */

void svc_put_series_text(vv_buf *out, const vv_label *labels, size_t count)
{
    size_t written = 0;
    for (size_t i = 0; i < count; i++)
        if (vv_slice_eq(labels[i].name, vv_slice_str("__name__")))
            vv_buf_append_slice(out, labels[i].value);
    for (size_t i = 0; i < count; i++) {
        if (vv_slice_eq(labels[i].name, vv_slice_str("__name__")))
            continue;
        vv_buf_append_u8(out, written++ == 0 ? '{' : ',');
        vv_buf_append_slice(out, labels[i].name);
        vv_buf_append_u8(out, '=');
        json_put_string(out, labels[i].value);
    }
    if (written > 0)
        vv_buf_append_u8(out, '}');
}

/* ---- JSON ---- */

static void json_head(svc_series_ask *a, vv_buf *out)
{
    (void)a;
    vv_buf_append_str(out, "{\"series\":[");
}

static void json_tail(svc_series_ask *a, vv_buf *out)
{
    (void)a;
    vv_buf_append_str(out, "]}\n");
}

static vv_status json_block(svc_series_ask *a, const vv_series_block *b, vv_buf *out, vv_error *err)
{
    (void)err;
    bool is_first = !a->is_in_series;
    if (is_first) {
        vv_buf_append_str(out, a->written++ > 0 ? ",{\"labels\":" : "{\"labels\":");
        prom_put_labels(out, b->labels, b->label_count);
        vv_buf_append_str(out, ",\"points\":[");
    }
    for (size_t i = 0; i < b->count; i++) {
        vv_buf_append_str(out, is_first ? "[" : ",[");
        is_first = false;
        svc_put_ms(out, b->time_ns[i]);
        vv_buf_append_u8(out, ',');
        svc_put_point(out, b, i, true);
        if (quality_of(b, i) != VV_QUALITY_GOOD)
            vv_buf_printf(out, ",%u", quality_of(b, i));
        vv_buf_append_u8(out, ']');
    }
    a->is_in_series = !b->is_last_of_series;
    if (b->is_last_of_series)
        vv_buf_append_str(out, "]}");
    return VV_OK;
}

/* ---- CSV ---- */

static void csv_head(svc_series_ask *a, vv_buf *out)
{
    (void)a;
    vv_buf_append_str(out, "series,timestamp_ms,value,quality\n");
}

static vv_status csv_block(svc_series_ask *a, const vv_series_block *b, vv_buf *out, vv_error *err)
{
    (void)a;
    vv_buf series;
    vv_buf field;
    vv_buf_init(&series, 16 * VV_LABELS_BYTES_MAX);
    vv_buf_init(&field, 32 * VV_LABELS_BYTES_MAX);
    svc_put_series_text(&series, b->labels, b->label_count);
    put_csv_text(&field, vv_buf_slice(&series));
    vv_status st = series.status != VV_OK ? series.status : field.status;
    for (size_t i = 0; st == VV_OK && i < b->count; i++) {
        vv_buf_append_slice(out, vv_buf_slice(&field));
        vv_buf_append_u8(out, ',');
        svc_put_ms(out, b->time_ns[i]);
        vv_buf_append_u8(out, ',');
        svc_put_point(out, b, i, false);
        vv_buf_append_u8(out, ',');
        put_i64(out, quality_of(b, i));
        vv_buf_append_u8(out, '\n');
    }
    vv_buf_fini(&series);
    vv_buf_fini(&field);
    return st == VV_OK ? st : vv_fail(err, st, "no memory for labels");
}

/* ---- JSON lines ---- */

static vv_status jsonl_block(svc_series_ask *a, const vv_series_block *b, vv_buf *out,
                             vv_error *err)
{
    (void)a;
    (void)err;
    vv_buf_append_str(out, "{\"labels\":");
    prom_put_labels(out, b->labels, b->label_count);
    vv_buf_append_str(out, ",\"timestamps_ms\":[");
    for (size_t i = 0; i < b->count; i++) {
        if (i > 0)
            vv_buf_append_u8(out, ',');
        svc_put_ms(out, b->time_ns[i]);
    }
    vv_buf_append_str(out, "],\"values\":[");
    for (size_t i = 0; i < b->count; i++) {
        if (i > 0)
            vv_buf_append_u8(out, ',');
        svc_put_point(out, b, i, true);
    }
    vv_buf_append_u8(out, ']');
    bool is_good = true;
    for (size_t i = 0; i < b->count; i++)
        is_good &= quality_of(b, i) == VV_QUALITY_GOOD;
    for (size_t i = 0; !is_good && i < b->count; i++) {
        vv_buf_append_str(out, i == 0 ? ",\"quality\":[" : ",");
        put_i64(out, b->quality[i]);
    }
    if (!is_good)
        vv_buf_append_u8(out, ']');
    vv_buf_append_str(out, "}\n");
    return VV_OK;
}

/* ---- Arrow ---- */

arrow_type svc_arrow_type_of(vv_sample_type type)
{
    static const arrow_type types[] = {[VV_F64] = ARROW_F64,
                                       [VV_I64] = ARROW_I64,
                                       [VV_BOOL] = ARROW_BOOL,
                                       [VV_STRING] = ARROW_UTF8};
    return types[type];
}

vv_status svc_arrow_values(vv_sample_type type, const vv_series_block *b, svc_arrow_scratch *m,
                           arrow_column *out, vv_error *err)
{
    out->is_null = b->is_null;
    if (b->type != type && (type != VV_F64 || b->type == VV_STRING))
        return vv_fail(
            err, VV_INVALID,
            "the series have values of several types, and a column has one: ask for them "
            "apart, or in another format");
    if (type == VV_BOOL) {
        for (size_t i = 0; i < b->count; i++)
            m->boolean[i] = b->i64[i] != 0;
        out->values = m->boolean;
    } else if (type == VV_F64 && b->type != VV_F64) {
        for (size_t i = 0; i < b->count; i++)
            m->f64[i] = (double)b->i64[i];
        out->values = m->f64;
    } else {
        out->values = b->type == VV_F64   ? (const void *)b->f64
                      : b->type == VV_I64 ? (const void *)b->i64
                                          : (const void *)b->string;
    }
    return VV_OK;
}

/* What a batch is made of, on the heap: a block is 8,192 points. */
typedef struct batch {
    vv_slice series[VV_SERIES_BLOCK_MAX];
    uint32_t quality[VV_SERIES_BLOCK_MAX];
    svc_arrow_scratch values;
} batch;

static void arrow_fields(const svc_series_ask *a, arrow_field out[4])
{
    out[0] = (arrow_field){"series", ARROW_UTF8};
    out[1] = (arrow_field){"time", ARROW_TIMESTAMP};
    out[2] = (arrow_field){"value", svc_arrow_type_of(a->column)};
    out[3] = (arrow_field){"quality", ARROW_U32};
}

static vv_status arrow_block(svc_series_ask *a, const vv_series_block *b, vv_buf *out,
                             vv_error *err)
{
    arrow_field fields[4];
    arrow_column columns[4] = {{0}};
    vv_buf series;
    if (a->column == 0)
        a->column = b->type;
    arrow_fields(a, fields);
    if (a->written++ == 0)
        arrow_append_schema(out, fields, 4);
    batch *m = a->look != NULL ? (batch *)(uintptr_t)a->look : svc_series_alloc(a, sizeof *m);
    if (m == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a batch");
    a->look = m;
    vv_buf_init(&series, 16 * VV_LABELS_BYTES_MAX);
    svc_put_series_text(&series, b->labels, b->label_count);
    vv_status st = series.status == VV_OK
                       ? svc_arrow_values(a->column, b, &m->values, &columns[2], err)
                       : vv_fail(err, series.status, "no memory for labels");
    for (size_t i = 0; i < b->count; i++) {
        m->series[i] = vv_buf_slice(&series);
        m->quality[i] = quality_of(b, i);
    }
    columns[0].values = m->series;
    columns[1].values = b->time_ns;
    columns[3].values = m->quality;
    if (st == VV_OK)
        arrow_append_batch(out, fields, columns, 4, (uint32_t)b->count);
    vv_buf_fini(&series);
    return st;
}

static void arrow_tail(svc_series_ask *a, vv_buf *out)
{
    arrow_field fields[4];
    if (a->column == 0)
        a->column = VV_F64;
    arrow_fields(a, fields);
    if (a->written == 0)
        arrow_append_schema(out, fields, 4);
    arrow_append_end(out);
}

/* ---- the newest samples: a block of one each ---- */

static vv_status put_one(svc_series_ask *a, const vv_series_info *series, const vv_sample *s,
                         vv_buf *out, vv_error *err)
{
    const vv_series_block b = {.labels = series->labels,
                               .label_count = series->label_count,
                               .series_id = series->id,
                               .type = s->type,
                               .count = 1,
                               .time_ns = &s->time_ns,
                               .f64 = s->type == VV_F64 ? &s->f64 : NULL,
                               .i64 = s->type == VV_STRING ? NULL : &s->i64,
                               .string = s->type == VV_STRING ? &s->string : NULL,
                               .quality = &s->quality,
                               .is_last_of_series = true};
    const svc_series_form *form = a->form;
    return form->block(a, &b, out, err);
}

static void put_latest(svc_series_ask *a, const vv_series_info *series, const vv_sample *s,
                       vv_buf *out)
{
    if (a->failed == VV_OK)
        a->failed = put_one(a, series, s, out, &a->why);
}

static vv_status read_query(svc_series_ask *a, vv_error *err)
{
    return svc_series_read_http(a, SVC_SERIES_QUERY, err);
}

static vv_status read_latest(svc_series_ask *a, vv_error *err)
{
    return svc_series_read_http(a, SVC_SERIES_LATEST, err);
}

#define FORM(content, reads, heads, blocks, tails)                                                 \
    {                                                                                              \
        .is_http = true, .type = (content), .read = (reads), .head = (heads), .block = (blocks),   \
        .sample = put_latest, .tail = (tails)                                                      \
    }
#define FORMS(reads)                                                                               \
    {                                                                                              \
        FORM("application/json", reads, json_head, json_block, json_tail),                         \
            FORM("text/csv; charset=utf-8", reads, csv_head, csv_block, NULL),                     \
            FORM("application/x-ndjson", reads, NULL, jsonl_block, NULL),                          \
            FORM("application/vnd.apache.arrow.stream", reads, NULL, arrow_block, arrow_tail)      \
    }

const svc_series_form svc_series_query_form[SVC_SERIES_FORMATS] = FORMS(read_query);
const svc_series_form svc_series_latest_form[SVC_SERIES_FORMATS] = FORMS(read_latest);
