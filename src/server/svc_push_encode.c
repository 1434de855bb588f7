/*
 * svc_push_encode.c - Prometheus' text as OTLP metrics: each family becomes a Metric.
 *
 *     # TYPE f counter     f{a="b"} 7                            Sum, monotonic, cumulative
 *     # TYPE f gauge       f 7                                   Gauge
 *     # TYPE f histogram   f_bucket{le="1"} .. f_sum .. f_count   Histogram; counts of buckets are
 *                                                                differences of theirs
 *     # TYPE f summary     f{quantile="0.5"} .. f_sum .. f_count  Summary
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/util.h"
#include "codec/protowire.h"
#include "server/evlog_sink.h"
#include "server/svc_push.h"
#include "varve/varve.h"

#define LABELS_MAX 8u
#define TEXT_MAX 256u
#define BUCKETS_MAX 64u
#define CUMULATIVE 2u

typedef enum family_type { GAUGE, COUNTER, HISTOGRAM, SUMMARY } family_type;

typedef struct label {
    char name[TEXT_MAX];
    char value[TEXT_MAX];
} label;

typedef struct sample {
    char name[TEXT_MAX];
    size_t label_count;
    label label[LABELS_MAX];
    double value;
} sample;

/* A point of a histogram or a summary, as its lines come. */
typedef struct point {
    bool is_open;
    size_t label_count;
    label label[LABELS_MAX];
    size_t count; /* of at and value */
    double at[BUCKETS_MAX];
    double value[BUCKETS_MAX];
    double sum;
    double total;
} point;

typedef struct encoder {
    vv_buf *out;
    int64_t start_ns;
    int64_t now_ns;
    char name[TEXT_MAX];
    char help[TEXT_MAX];
    family_type type;
    bool is_open; /* the marks below are */
    size_t metric;
    size_t data;
    point point;
} encoder;

/* ---- reading a line ------------------------------------------------------------------------ */

static bool copy(const char *from, size_t len, char out[TEXT_MAX])
{
    if (len >= TEXT_MAX)
        return false;
    memcpy(out, from, len);
    out[len] = '\0';
    return true;
}

static const char *read_label(const char *at, label *l)
{
    size_t len = strcspn(at, "=");
    if (at[len] != '=' || at[len + 1] != '"' || !copy(at, len, l->name))
        return NULL;
    at += len + 2;
    size_t n = 0;
    for (; *at != '\0' && *at != '"'; at++) {
        if (*at == '\\' && at[1] != '\0')
            at++;
        if (n + 1 >= TEXT_MAX)
            return NULL;
        l->value[n++] = *at;
    }
    l->value[n] = '\0';
    return *at == '"' ? at + 1 : NULL;
}

static bool read_sample(const char *line, sample *s)
{
    size_t len = strcspn(line, "{ ");
    const char *at = line + len;
    s->label_count = 0;
    if (len == 0 || !copy(line, len, s->name))
        return false;
    if (*at == '{') {
        at++;
        while (*at != '}') {
            if (s->label_count == LABELS_MAX)
                return false;
            at = read_label(at, &s->label[s->label_count++]);
            if (at == NULL || (*at != ',' && *at != '}'))
                return false;
            at += *at == ',';
        }
        at++;
    }
    char *end = NULL;
    if (*at != ' ')
        return false;
    s->value = strtod(at + 1, &end);
    return end != at + 1 && *end == '\0';
}

/* ---- points -------------------------------------------------------------------------------- */

static void put_labels(vv_buf *out, uint32_t number, const label *labels, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const vv_kv kv = VV_KV_S(labels[i].name, labels[i].value);
        evlog_otlp_put_attribute(out, number, &kv);
    }
}

static void put_times(const encoder *e)
{
    wire_put_fixed64(e->out, 2, (uint64_t)e->start_ns);
    wire_put_fixed64(e->out, 3, (uint64_t)e->now_ns);
}

static void put_number(encoder *e, const sample *s)
{
    size_t mark = wire_begin(e->out, 1);
    put_times(e);
    wire_put_double_always(e->out, 4, s->value);
    put_labels(e->out, 7, s->label, s->label_count);
    wire_end(e->out, mark);
}

static void put_histogram(encoder *e)
{
    const point *p = &e->point;
    size_t mark = wire_begin(e->out, 1);
    double before = 0;
    put_times(e);
    wire_put_fixed64(e->out, 4, (uint64_t)p->total);
    wire_put_double_always(e->out, 5, p->sum);
    size_t counts = wire_begin(e->out, 6);
    for (size_t i = 0; i < p->count; i++) {
        vv_buf_append_le64(e->out, (uint64_t)(p->value[i] > before ? p->value[i] - before : 0));
        before = p->value[i];
    }
    vv_buf_append_le64(e->out, (uint64_t)(p->total > before ? p->total - before : 0));
    wire_end(e->out, counts);
    size_t bounds = wire_begin(e->out, 7);
    for (size_t i = 0; i < p->count; i++)
        vv_buf_append_le64(e->out, wire_double_bits(p->at[i]));
    wire_end(e->out, bounds);
    put_labels(e->out, 9, p->label, p->label_count);
    wire_end(e->out, mark);
}

static void put_summary(encoder *e)
{
    const point *p = &e->point;
    size_t mark = wire_begin(e->out, 1);
    put_times(e);
    wire_put_fixed64(e->out, 4, (uint64_t)p->total);
    wire_put_double_always(e->out, 5, p->sum);
    for (size_t i = 0; i < p->count; i++) {
        size_t quantile = wire_begin(e->out, 6);
        wire_put_double_always(e->out, 1, p->at[i]);
        wire_put_double_always(e->out, 2, p->value[i]);
        wire_end(e->out, quantile);
    }
    put_labels(e->out, 7, p->label, p->label_count);
    wire_end(e->out, mark);
}

static void end_point(encoder *e)
{
    if (!e->point.is_open)
        return;
    if (e->type == HISTOGRAM)
        put_histogram(e);
    else
        put_summary(e);
    e->point.is_open = false;
}

static bool ends_in(const char *name, const char *family, const char *suffix)
{
    size_t len = strlen(family);
    return strncmp(name, family, len) == 0 && strcmp(name + len, suffix) == 0;
}

/* Add a line to the point that is under way; its count is its last. */
static bool add_to_point(encoder *e, sample *s)
{
    point *p = &e->point;
    const char *inner = e->type == HISTOGRAM ? "le" : "quantile";
    double at = 0;
    bool is_inner = false;
    size_t kept = 0;
    for (size_t i = 0; i < s->label_count; i++) {
        if (strcmp(s->label[i].name, inner) == 0) {
            at = strtod(s->label[i].value, NULL);
            is_inner = true;
        } else {
            s->label[kept++] = s->label[i];
        }
    }
    if (!p->is_open) {
        *p = (point){.is_open = true, .label_count = kept};
        memcpy(p->label, s->label, sizeof p->label);
    }
    if (is_inner && at <= 1e308) { /* the bucket without a bound is what the count has beyond */
        if (p->count == BUCKETS_MAX)
            return false;
        p->at[p->count] = at;
        p->value[p->count++] = s->value;
    } else if (ends_in(s->name, e->name, "_sum")) {
        p->sum = s->value;
    } else if (ends_in(s->name, e->name, "_count")) {
        p->total = s->value;
        end_point(e);
    }
    return true;
}

/* ---- families ------------------------------------------------------------------------------ */

static void end_family(encoder *e)
{
    if (!e->is_open)
        return;
    end_point(e);
    if (e->type != GAUGE && e->type != SUMMARY)
        wire_put_varint(e->out, 2, CUMULATIVE);
    if (e->type == COUNTER)
        wire_put_varint(e->out, 3, 1);
    wire_end(e->out, e->data);
    wire_end(e->out, e->metric);
    e->is_open = false;
}

static bool begin_family(encoder *e, const char *type)
{
    static const struct {
        const char *name;
        uint32_t field;
    } types[] = {{"gauge", 5}, {"counter", 7}, {"histogram", 9}, {"summary", 11}};
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (strcmp(types[i].name, type) == 0) {
            e->type = (family_type)i;
            e->metric = wire_begin(e->out, 2);
            wire_put_text(e->out, 1, vv_slice_str(e->name));
            wire_put_text(e->out, 2, vv_slice_str(e->help));
            e->data = wire_begin(e->out, types[i].field);
            e->is_open = true;
            return true;
        }
    return false;
}

/* "# HELP name text" and "# TYPE name type". */
static bool read_comment(encoder *e, const char *line)
{
    bool is_help = strncmp(line, "# HELP ", 7) == 0;
    if (!is_help && strncmp(line, "# TYPE ", 7) != 0)
        return true;
    const char *name = line + 7;
    size_t len = strcspn(name, " ");
    char given[TEXT_MAX];
    if (name[len] != ' ' || !copy(name, len, given))
        return false;
    if (is_help) {
        end_family(e);
        memcpy(e->name, given, sizeof e->name);
        return copy(name + len + 1, vv_min_u64(strlen(name + len + 1), TEXT_MAX - 1), e->help);
    }
    return strcmp(given, e->name) == 0 && !e->is_open && begin_family(e, name + len + 1);
}

static bool read_line(encoder *e, const char *line)
{
    sample s;
    if (line[0] == '\0')
        return true;
    if (line[0] == '#')
        return read_comment(e, line);
    if (!e->is_open || !read_sample(line, &s))
        return false;
    if (e->type == HISTOGRAM || e->type == SUMMARY)
        return strncmp(s.name, e->name, strlen(e->name)) == 0 && add_to_point(e, &s);
    if (strcmp(s.name, e->name) != 0)
        return false;
    put_number(e, &s);
    return true;
}

static vv_status read_lines(encoder *e, vv_slice text, vv_error *err)
{
    char line[2048];
    size_t number = 0;
    for (size_t at = 0; at < text.len; number++) {
        const uint8_t *end = memchr(text.data + at, '\n', text.len - at);
        size_t len = end == NULL ? text.len - at : (size_t)(end - text.data) - at;
        bool is_good = len < sizeof line;
        if (is_good) {
            memcpy(line, text.data + at, len);
            line[len] = '\0';
            is_good = read_line(e, line);
        }
        if (!is_good)
            return vv_fail(err, VV_INVALID, "figures: line %zu is no sample of its family",
                           number + 1);
        at += len + 1;
    }
    return VV_OK;
}

vv_status svc_push_encode(vv_slice text, int64_t start_ns, int64_t now_ns, vv_buf *out,
                          vv_error *err)
{
    encoder e = {.out = out, .start_ns = start_ns, .now_ns = now_ns};
    size_t resource_metrics = wire_begin(out, 1);
    size_t resource = wire_begin(out, 1);
    evlog_otlp_put_resource(out);
    wire_end(out, resource);
    size_t scope_metrics = wire_begin(out, 2);
    size_t scope = wire_begin(out, 1);
    wire_put_string(out, 1, vv_slice_str("varve"));
    wire_put_string(out, 2, vv_slice_str(vv_version()));
    wire_end(out, scope);
    vv_status st = read_lines(&e, text, err);
    end_family(&e);
    wire_end(out, scope_metrics);
    wire_end(out, resource_metrics);
    if (st == VV_OK && out->status != VV_OK)
        st = vv_fail(err, VV_NO_MEMORY, "figures for the collector");
    return st;
}
