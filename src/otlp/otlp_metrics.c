/*
 * otlp_metrics.c - data points as samples. The buckets of histograms are otlp_buckets.c's.
 *
 * A data point is a series of its own, or several: so its labels are put together once, and the
 * last two places of the set are those that differ between its series, __name__ and le or quantile.
 */
#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "otlp/otlp_int.h"

#define SCRATCH_MAX 65536u /* bytes of the labels of one point that are no strings */
#define NAME_MAX_LEN 512u
#define NUMBER_TEXT 64u /* bytes of any bound */
/* What a few bytes of a request may cost: its resources, once for each point, and the labels of all
 * series. */
#define LOOKED_AT_MAX OTLP_WRITTEN_MAX
#define LABELS_MAX (UINT64_C(2) << 30)
#define NO_RECORDED_VALUE 1u
/* What Prometheus calls the stale marker: from here on there is no value. */
#define STALE_BITS UINT64_C(0x7ff0000000000002)

enum { GAUGE = 5, SUM = 7, HISTOGRAM = 9, EXPONENTIAL = 10, SUMMARY = 11 }; /* fields of Metric */
enum { DELTA = 1 };

typedef struct metrics_walk {
    feed_sink *sink;
    feed_result *result;
    vv_slice resource;
    vv_slice scope_name;
    vv_slice name; /* of the metric */
    uint32_t kind;
    bool is_delta;
    feed_label_set labels;
    size_t base; /* labels besides __name__ and the one of a bucket */
    vv_buf scratch;
    char text[NAME_MAX_LEN + 16]; /* a name with its suffix */
    uint64_t looked_at;           /* bytes of resources */
    uint64_t label_bytes;         /* of all series */
    size_t own_series;            /* that the point at hand makes */
    otlp_buckets buckets;         /* of the point at hand */
    vv_error *err;
} metrics_walk;

/* What the points of all kinds have. */
typedef struct point {
    vv_slice raw;
    uint32_t attributes; /* field number */
    uint64_t time;
    uint64_t flags;
    uint64_t count;
    double value;
    double sum;
    double min;
    double max;
    bool has_value;
    bool has_sum;
    bool has_min;
    bool has_max;
} point;

/* A refusal of one point; NULL is none. */
typedef const char *refusal;

/* ---- labels ---- */

static bool has_label(const feed_label_set *set, vv_slice name)
{
    for (size_t i = 0; i < set->count; i++)
        if (vv_slice_eq(set->items[i].name, name))
            return true;
    return false;
}

/* Two places are kept for what differs between the series of a point. */
static refusal add_label(metrics_walk *w, vv_slice name, vv_slice value)
{
    if (has_label(&w->labels, name))
        return NULL; /* the nearer one counts */
    if (w->labels.count + 2 >= FEED_LABELS_MAX)
        return "more than 126 labels";
    return feed_labels_add(&w->labels, name, value);
}

static refusal add_attributes(metrics_walk *w, vv_slice message, uint32_t number)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    refusal why = NULL;
    while (why == NULL && wire_next(&r, &f) > 0) {
        vv_slice key;
        if (f.number != number)
            continue;
        otlp_value v = otlp_attribute_read(f.bytes, &key);
        why = add_label(w, key, otlp_value_text(&v, &w->scratch));
        if (w->scratch.status != VV_OK)
            why = "its labels are too long";
    }
    return why;
}

static bool has_buckets(const metrics_walk *w)
{
    return w->kind == HISTOGRAM || w->kind == EXPONENTIAL;
}

/* Each series of a point has all its labels. */
static refusal count_labels(metrics_walk *w)
{
    uint64_t bytes = w->name.len;
    for (size_t i = 0; i < w->labels.count; i++)
        bytes += w->labels.items[i].name.len + w->labels.items[i].value.len;
    if (bytes * w->own_series > LABELS_MAX - w->label_bytes)
        return "its labels are too long for so many series: send fewer data points at a time";
    w->label_bytes += bytes * w->own_series;
    return NULL;
}

/* Memory for scratch is there before the first label borrows from it. */
static refusal put_labels(metrics_walk *w, const point *p)
{
    w->labels.count = 0;
    w->labels.is_unsorted = false;
    vv_buf_reset(&w->scratch);
    refusal why = add_attributes(w, p->raw, p->attributes);
    w->looked_at += w->resource.len;
    if (why == NULL && w->looked_at > LOOKED_AT_MAX)
        why = "its resource is too large for so many data points: send fewer at a time";
    if (why == NULL)
        why = add_attributes(w, w->resource, 1);
    if (why == NULL && w->scope_name.len > 0)
        why = add_label(w, vv_slice_str("otel.scope.name"), w->scope_name);
    if (why == NULL && w->is_delta)
        why = add_label(w, vv_slice_str("otel.temporality"), vv_slice_str("delta"));
    if (why == NULL && has_label(&w->labels, vv_slice_str(FEED_NAME_LABEL)))
        why = "an attribute is called __name__";
    if (why == NULL && has_buckets(w) && has_label(&w->labels, vv_slice_str("le")))
        why = "an attribute is called as the label of a bucket";
    if (why == NULL && w->kind == SUMMARY && has_label(&w->labels, vv_slice_str("quantile")))
        why = "an attribute is called as the label of a quantile";
    if (why == NULL && w->scratch.len > SCRATCH_MAX - NUMBER_TEXT)
        why = "its labels are too long";
    w->base = w->labels.count;
    return why != NULL ? why : count_labels(w);
}

/* ---- samples ---- */

static vv_status put_sample(metrics_walk *w, const point *p, const char *suffix, const char *label,
                            double at, double value)
{
    const int64_t time_ns = (int64_t)p->time;
    feed_label_set *set = &w->labels;
    int len = snprintf(w->text, sizeof w->text, "%.*s%s", (int)w->name.len,
                       (const char *)w->name.data, suffix);
    set->count = w->base;
    set->items[set->count++] =
        (feed_label){vv_slice_str(FEED_NAME_LABEL), vv_slice_of(w->text, (size_t)len)};
    if (label != NULL) {
        const otlp_value v = {.kind = OTLP_DOUBLE, .real = at};
        const size_t keep = w->scratch.len;
        set->items[set->count++] =
            (feed_label){vv_slice_str(label), otlp_value_text(&v, &w->scratch)};
        w->scratch.len = keep; /* the next bucket writes over it: it is of this series alone */
    }
    if ((p->flags & NO_RECORDED_VALUE) != 0)
        value = wire_double(STALE_BITS);
    vv_status st = feed_sink_series(w->sink, set->items, set->count, FEED_F64, w->err);
    if (st == VV_OK)
        st = feed_sink_samples(w->sink, &time_ns, (feed_values){.f64 = &value}, NULL, 1, w->err);
    if (st == VV_OK)
        w->result->samples++;
    return st;
}

/* ---- points ---- */

/* The fields of a point whose numbers its kind has. */
typedef struct point_fields {
    uint8_t attributes, count, sum, flags, min, max;
} point_fields;

static const point_fields *fields_of(uint32_t kind)
{
    static const point_fields number = {.attributes = 7, .flags = 8};
    static const point_fields histogram = {
        .attributes = 9, .count = 4, .sum = 5, .flags = 10, .min = 11, .max = 12};
    static const point_fields exponential = {
        .attributes = 1, .count = 4, .sum = 5, .flags = 10, .min = 12, .max = 13};
    static const point_fields summary = {.attributes = 7, .count = 4, .sum = 5, .flags = 8};
    return kind == HISTOGRAM     ? &histogram
           : kind == EXPONENTIAL ? &exponential
           : kind == SUMMARY     ? &summary
                                 : &number;
}

static void take_field(const wire_field *f, const point_fields *at, point *p)
{
    if (f->number == 3)
        p->time = f->value;
    else if (f->number == at->flags)
        p->flags = f->value;
    else if (f->number == at->count)
        p->count = f->value;
    else if (f->number == at->sum) {
        p->sum = wire_double(f->value);
        p->has_sum = true;
    } else if (f->number == at->min) {
        p->min = wire_double(f->value);
        p->has_min = true;
    } else if (f->number == at->max) {
        p->max = wire_double(f->value);
        p->has_max = true;
    }
}

static void read_point(const metrics_walk *w, vv_slice raw, point *p)
{
    const point_fields *at = fields_of(w->kind);
    wire_reader r = wire_reader_of(raw);
    wire_field f = {0};
    *p = (point){.raw = raw, .attributes = at->attributes};
    while (wire_next(&r, &f) > 0) {
        const bool is_number = at->count == 0 && (f.number == 4 || f.number == 6);
        if (is_number) {
            p->value = f.number == 4 ? wire_double(f.value) : (double)(int64_t)f.value;
            p->has_value = true;
        } else {
            take_field(&f, at, p);
        }
    }
    if (w->kind == SUMMARY)
        p->has_sum = true; /* not optional there */
}

static vv_status put_buckets(metrics_walk *w, const point *p)
{
    vv_status st = VV_OK;
    for (size_t i = 0; st == VV_OK && i < w->buckets.count; i++)
        st = put_sample(w, p, "_bucket", "le", w->buckets.item[i].le, w->buckets.item[i].total);
    return st;
}

static void read_quantile(vv_slice message, double *at, double *value)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    *at = 0;
    *value = 0;
    while (wire_next(&r, &f) > 0) {
        if (f.number == 1)
            *at = wire_double(f.value);
        else if (f.number == 2)
            *value = wire_double(f.value);
    }
}

static refusal check_quantiles(metrics_walk *w, const point *p)
{
    wire_reader r = wire_reader_of(p->raw);
    wire_field f = {0};
    w->own_series = 2;
    while (wire_next(&r, &f) > 0) {
        double q = 0;
        double value = 0;
        if (f.number != 6)
            continue;
        read_quantile(f.bytes, &q, &value);
        if (!(q >= 0 && q <= 1))
            return "a quantile does not lie between 0 and 1";
        w->own_series++;
    }
    return NULL;
}

static vv_status put_quantiles(metrics_walk *w, const point *p)
{
    wire_reader r = wire_reader_of(p->raw);
    wire_field f = {0};
    vv_status st = VV_OK;
    while (st == VV_OK && wire_next(&r, &f) > 0) {
        double q = 0;
        double value = 0;
        if (f.number != 6)
            continue;
        read_quantile(f.bytes, &q, &value);
        st = put_sample(w, p, "", "quantile", q, value);
    }
    return st;
}

static vv_status put_series(metrics_walk *w, const point *p)
{
    if (w->kind == GAUGE || w->kind == SUM)
        return put_sample(w, p, "", NULL, 0, p->value);
    vv_status st = has_buckets(w) ? put_buckets(w, p) : put_quantiles(w, p);
    if (st == VV_OK)
        st = put_sample(w, p, "_count", NULL, 0, (double)p->count);
    if (st == VV_OK && p->has_sum)
        st = put_sample(w, p, "_sum", NULL, 0, p->sum);
    if (st == VV_OK && p->has_min)
        st = put_sample(w, p, "_min", NULL, 0, p->min);
    if (st == VV_OK && p->has_max)
        st = put_sample(w, p, "_max", NULL, 0, p->max);
    return st;
}

/* And what it makes. */
static refusal check_point(metrics_walk *w, const point *p)
{
    refusal why = NULL;
    if (p->time == 0 || p->time > INT64_MAX)
        return "a data point has no time, or one past the year 2262";
    const bool is_number = w->kind == GAUGE || w->kind == SUM;
    if (is_number && !p->has_value && (p->flags & NO_RECORDED_VALUE) == 0)
        return "a data point has no value";
    w->own_series = 1;
    if (w->kind == SUMMARY)
        return check_quantiles(w, p);
    if (!has_buckets(w))
        return NULL;
    why = w->kind == HISTOGRAM ? otlp_buckets_explicit(p->raw, p->count, &w->buckets)
                               : otlp_buckets_exponential(p->raw, p->count, &w->buckets);
    w->own_series = w->buckets.count + 4;
    return why;
}

static void refuse(metrics_walk *w, uint64_t count, const char *why)
{
    feed_refuse(w->result, count, "metric '%.*s': %s", (int)vv_min_u64(w->name.len, 80),
                (const char *)w->name.data, why);
}

/* VV_INVALID of the sink is of this point; what its other series have got stays. */
static vv_status take_point(metrics_walk *w, vv_slice raw)
{
    point p;
    vv_error why = {0};
    vv_error *err = w->err;
    read_point(w, raw, &p);
    refusal bad = check_point(w, &p);
    if (bad == NULL)
        bad = put_labels(w, &p);
    if (bad != NULL) {
        refuse(w, 1, bad);
        return VV_OK;
    }
    w->err = &why;
    vv_status st = put_series(w, &p);
    w->err = err;
    if (st == VV_INVALID)
        refuse(w, 1, why.msg);
    else if (st != VV_OK && err != NULL)
        *err = why;
    return st == VV_INVALID ? VV_OK : st;
}

/* ---- metrics ---- */

static uint64_t count_points(vv_slice data)
{
    wire_reader r = wire_reader_of(data);
    wire_field f = {0};
    uint64_t n = 0;
    while (wire_next(&r, &f) > 0)
        n += f.number == 1;
    return n;
}

static vv_status walk_points(metrics_walk *w, vv_slice data)
{
    wire_reader r = wire_reader_of(data);
    wire_field f = {0};
    refusal why = NULL;
    w->is_delta = false;
    while (wire_next(&r, &f) > 0)
        if (f.number == 2 && f.type == WIRE_VARINT && w->kind != GAUGE)
            w->is_delta = f.value == DELTA;
    if (w->name.len == 0 || w->name.len > NAME_MAX_LEN || !feed_label_is_text(w->name))
        why = "a name has 1 to 512 bytes of UTF-8";
    if (why != NULL) {
        refuse(w, count_points(data), why);
        return VV_OK;
    }
    vv_status st = VV_OK;
    r = wire_reader_of(data);
    while (st == VV_OK && wire_next(&r, &f) > 0)
        if (f.number == 1)
            st = take_point(w, f.bytes);
    return st;
}

/* The members of the oneof; the last that was given counts, as protobuf has it. */
static vv_status walk_metric(metrics_walk *w, vv_slice metric)
{
    wire_reader r = wire_reader_of(metric);
    wire_field f = {0};
    vv_slice data = {0};
    w->name = (vv_slice){0};
    w->kind = 0;
    while (wire_next(&r, &f) > 0) {
        if (f.number == 1) {
            w->name = f.bytes;
        } else if (f.number == GAUGE || f.number == SUM || f.number == HISTOGRAM ||
                   f.number == EXPONENTIAL || f.number == SUMMARY) {
            w->kind = f.number;
            data = f.bytes;
        }
    }
    return w->kind == 0 ? VV_OK : walk_points(w, data);
}

/* The bytes of the last field `number` of a message. */
static vv_slice last_of(vv_slice message, uint32_t number)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    vv_slice out = {0};
    while (wire_next(&r, &f) > 0)
        if (f.number == number && f.type == WIRE_BYTES)
            out = f.bytes;
    return out;
}

static vv_status walk_scope(metrics_walk *w, vv_slice scope)
{
    wire_reader r = wire_reader_of(scope);
    wire_field f = {0};
    vv_status st = VV_OK;
    w->scope_name = last_of(last_of(scope, 1), 1);
    while (st == VV_OK && wire_next(&r, &f) > 0)
        if (f.number == 2)
            st = walk_metric(w, f.bytes);
    return st;
}

static vv_status walk_group(metrics_walk *w, vv_slice group)
{
    wire_reader r = wire_reader_of(group);
    wire_field f = {0};
    vv_status st = VV_OK;
    w->resource = last_of(group, 1);
    while (st == VV_OK && wire_next(&r, &f) > 0)
        if (f.number == 2)
            st = walk_scope(w, f.bytes);
    return st;
}

vv_status otlp_metrics_decode(vv_slice request, feed_sink *sink, feed_result *result, vv_error *err)
{
    metrics_walk *w = vv_calloc(1, sizeof *w);
    wire_reader r = wire_reader_of(request);
    wire_field f = {0};
    vv_status st = VV_OK;
    *result = (feed_result){0};
    if (w == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for metrics");
    w->sink = sink;
    w->result = result;
    w->err = err;
    vv_buf_init(&w->scratch, SCRATCH_MAX);
    if (vv_buf_reserve(&w->scratch, SCRATCH_MAX) == NULL)
        st = vv_fail(err, VV_NO_MEMORY, "no memory for labels");
    while (st == VV_OK && wire_next(&r, &f) > 0)
        if (f.number == 1)
            st = walk_group(w, f.bytes);
    vv_buf_fini(&w->scratch);
    vv_free(w);
    return st;
}
