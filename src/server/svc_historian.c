/*
 * svc_historian.c - see svc_historian.h.
 *
 * A sensor is the series of the sensors' table whose label `sensor` is its id; where several have
 * it, the one that is named "sensor", as the feeds name it, or else the first. Times are
 * milliseconds since 1970; quality is 1 good, 0 anything else, and both are given. A sensor that is
 * not there is VV_NOT_FOUND, a range without samples an empty answer.
 */
#include "server/svc_historian.h"

#include <limits.h>

#include "base/error.h"
#include "base/util.h"
#include "query/struct_json.h"
#include "server/svc_kv.h"

#define POINTS_DEFAULT 1000u

/* ---- which series ---- */

/* A millisecond as nanoseconds; far ones are the first and the last there is. */
static int64_t ns_of_ms(int64_t ms)
{
    int64_t ns;
    if (__builtin_mul_overflow(ms, VV_NS_PER_MS, &ns))
        return ms < 0 ? INT64_MIN : INT64_MAX;
    return ns;
}

static vv_status ask_sensor(svc_series_ask *a, vv_slice id, int64_t start_ms, int64_t end_ms,
                            vv_error *err)
{
    a->kind = SVC_SERIES_QUERY;
    if (id.len == 0)
        return vv_fail(err, VV_INVALID, "which sensor? its id is missing");
    a->matchers = svc_series_alloc(a, sizeof *a->matchers);
    if (a->matchers == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a question");
    a->matchers[0] = (vv_matcher){VV_MATCH_EQ, vv_slice_str("sensor"), id};
    a->matcher_count = 1;
    a->ref =
        (svc_table_ref){vv_slice_str(a->n->historian_tenant), vv_slice_str(a->n->historian_table)};
    a->query.start_ns = ns_of_ms(start_ms);
    a->query.end_ns = ns_of_ms(end_ms);
    a->query.all_quality = true;
    return VV_OK;
}

static void reduce_to(svc_series_ask *a, uint32_t points)
{
    a->query.reduce = VV_REDUCE_LTTB;
    a->query.points = points;
}

static int see_series(void *ctx, const vv_series_info *series)
{
    svc_series_ask *a = ctx;
    bool is_named = false;
    for (size_t i = 0; i < series->label_count; i++)
        is_named |= vv_slice_eq(series->labels[i].name, vv_slice_str("__name__")) &&
                    vv_slice_eq(series->labels[i].value, vv_slice_str("sensor"));
    if (a->only_id == 0 || is_named) {
        a->only_id = series->id;
        a->column = series->type;
    }
    return is_named;
}

static vv_status find_sensor(svc_series_ask *a, vv_error *err)
{
    vv_slice id = a->matchers[0].value;
    vv_status st = vv_series_list(a->table, a->matchers, 1, 0, see_series, a, err);
    if (st == VV_OK && a->only_id == 0)
        return vv_fail(err, VV_NOT_FOUND, "sensor '%.*s' is not known", (int)vv_min_u64(id.len, 80),
                       (const char *)id.data);
    const bool are_points = a->query.reduce != VV_REDUCE_NONE || a->query.aggregate != VV_AGG_NONE;
    if (st == VV_OK && a->column == VV_STRING && are_points)
        return vv_fail(err, VV_INVALID, "sensor '%.*s' has texts, no numbers: export them",
                       (int)vv_min_u64(id.len, 80), (const char *)id.data);
    if (are_points)
        a->column = VV_F64;
    return st;
}

static double value_of(const vv_series_block *b, size_t i)
{
    return b->type == VV_F64 ? b->f64[i] : (double)b->i64[i];
}

static bool is_good(const vv_series_block *b, size_t i)
{
    return b->quality == NULL || vv_quality_is_good(b->quality[i]);
}

static int64_t ms_of(const vv_series_block *b, size_t i)
{
    int64_t ns = b->time_ns[i];
    return ns / VV_NS_PER_MS - (ns % VV_NS_PER_MS < 0);
}

/* ---- gRPC ---- */

static vv_status read_request(svc_series_ask *a, vv_error *err)
{
    wire_reader r = wire_reader_of(a->msg.data);
    wire_field f = {0};
    vv_slice id = {0};
    int64_t start_ms = 0, end_ms = 0, points = 0;
    bool ok = true;
    while (ok && wire_next(&r, &f) > 0) {
        if (f.number == 1)
            ok = svc_kv_take_bytes(&f, &id);
        else if (f.number == 2)
            ok = svc_kv_take_int(&f, &start_ms);
        else if (f.number == 3)
            ok = svc_kv_take_int(&f, &end_ms);
        else if (f.number == 4)
            ok = svc_kv_take_int(&f, &points);
    }
    if (!ok || r.fault != WIRE_GOOD)
        return svc_kv_fail_malformed("QueryRequest", err);
    points = (int32_t)points; /* as the field's type has it */
    if (points < 0)
        return vv_fail(err, VV_INVALID, "max_points is %lld: it is 0 or more", (long long)points);
    reduce_to(a, points == 0 ? POINTS_DEFAULT : (uint32_t)points);
    return ask_sensor(a, id, start_ms, end_ms, err);
}

/* SensorData, a message each. */
static vv_status put_samples(svc_series_ask *a, const vv_series_block *b, vv_buf *out,
                             vv_error *err)
{
    vv_slice id = a->matchers[0].value;
    vv_status st = VV_OK;
    for (size_t i = 0; st == VV_OK && b->series_id == a->only_id && i < b->count; i++) {
        wire_put_string(out, 1, id);
        wire_put_double(out, 2, value_of(b, i));
        wire_put_int(out, 3, ms_of(b, i));
        wire_put_int(out, 4, is_good(b, i));
        st = svc_series_cut(a, err);
    }
    return st;
}

void svc_historian_message(srv_call *call, srv_message msg)
{
    static const svc_series_form form = {
        .each_apart = true, .read = read_request, .opened = find_sensor, .block = put_samples};
    svc_series_ask_begin(call, msg, &form);
}

/* ---- HTTP ---- */

static vv_status read_sensor(svc_series_ask *a, const char *const names[], prom_params *params,
                             vv_error *err)
{
    int64_t now_ms = vv_clock_wall(a->n->env.clock) / VV_NS_PER_MS;
    int64_t start = now_ms - 3600000;
    int64_t end = now_ms;
    vv_status st = svc_series_params(a, params, err);
    if (st == VV_OK)
        st = prom_params_check(params, names, err);
    if (st == VV_OK && prom_param_get(params, "sensor").len == 0)
        return vv_fail(err, VV_INVALID, "parameter sensor is missing");
    if (st == VV_OK)
        st = svc_series_int(params, "start", &start, err);
    if (st == VV_OK)
        st = svc_series_int(params, "end", &end, err);
    return st == VV_OK ? ask_sensor(a, prom_param_get(params, "sensor"), start, end, err) : st;
}

/* Windows of which so many cover the range: from a minute on whole minutes, from an hour on whole
 * hours, which are what rollups answer. */
static int64_t step_of_points(const vv_series_query *q, uint64_t points)
{
    static const int64_t units[] = {3600 * VV_NS_PER_S, 60 * VV_NS_PER_S, VV_NS_PER_MS};
    if (q->end_ns <= q->start_ns)
        return VV_NS_PER_S;
    const uint64_t range = (uint64_t)q->end_ns - (uint64_t)q->start_ns;
    const uint64_t step = range / points + (range % points != 0);
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        const uint64_t unit = (uint64_t)units[i];
        if (step > unit || i == ARRAY_LEN(units) - 1)
            return (int64_t)((step + unit - 1) / unit * unit);
    }
    return VV_NS_PER_MS;
}

/* `step`, or `points` windows: values of good samples by window. */
static vv_status read_windows(svc_series_ask *a, const prom_params *params, vv_error *err)
{
    vv_series_query *q = &a->query;
    uint64_t points = 0;
    const bool has_step = prom_param_get(params, "step").data != NULL;
    const bool has_points = prom_param_get(params, "points").data != NULL;
    if (has_step && has_points)
        return vv_fail(err, VV_INVALID, "step and points exclude each other");
    if (!has_step && !has_points && prom_param_get(params, "aggregate").data != NULL)
        return vv_fail(err, VV_INVALID, "aggregate needs windows: step=1h, or points=1000 of them");
    if (!has_step && !has_points)
        return VV_OK;
    q->aggregate = VV_AGG_AVG;
    q->all_quality = false;
    vv_status st = svc_series_duration(params, "step", &q->step_ns, err);
    if (st == VV_OK)
        st = svc_series_uint(params, "points", INT32_MAX, &points, err);
    if (st == VV_OK)
        st = svc_series_aggregate(params, "aggregate", &q->aggregate, err);
    if (st != VV_OK)
        return st;
    if (q->aggregate == VV_AGG_NONE || q->aggregate == VV_AGG_PERCENTILE)
        return vv_fail(err, VV_INVALID,
                       "parameter aggregate: a window of a sensor has one value, as avg or max; "
                       "/api/v1/series/query has percentiles and samples");
    if (has_points && points == 0)
        return vv_fail(err, VV_INVALID, "parameter points: 1 or more");
    if (has_step && q->step_ns <= 0)
        return vv_fail(err, VV_INVALID, "parameter step: a duration above 0, as 60 or 1h");
    if (has_points)
        q->step_ns = step_of_points(q, points);
    return VV_OK;
}

static vv_status read_query(svc_series_ask *a, vv_error *err)
{
    static const char *const names[] = {"sensor", "start",     "end",    "max_points", "step",
                                        "points", "aggregate", "format", NULL};
    prom_params params;
    uint64_t points = POINTS_DEFAULT;
    vv_status st = read_sensor(a, names, &params, err);
    if (st == VV_OK)
        st = read_windows(a, &params, err);
    if (st == VV_OK)
        st = svc_series_uint(&params, "max_points", INT32_MAX, &points, err);
    reduce_to(a, points == 0 ? POINTS_DEFAULT : (uint32_t)points);
    if (st == VV_OK && prom_param_get(&params, "points").data != NULL &&
        prom_param_get(&params, "max_points").data == NULL)
        a->query.reduce = VV_REDUCE_NONE; /* the windows are the points */
    return st;
}

static vv_status read_export(svc_series_ask *a, vv_error *err)
{
    static const char *const names[] = {"sensor", "start", "end", "format", NULL};
    prom_params params;
    return read_sensor(a, names, &params, err);
}

/* {"timestamp_ms":1,"value":2.5,"quality":1} */
static void put_object(vv_buf *out, const vv_series_block *b, size_t i)
{
    vv_buf_append_str(out, "{\"timestamp_ms\":");
    svc_put_ms(out, b->time_ns[i]);
    vv_buf_append_str(out, ",\"value\":");
    svc_put_point(out, b, i, true);
    vv_buf_append_str(out, is_good(b, i) ? ",\"quality\":1}" : ",\"quality\":0}");
}

static void json_head(svc_series_ask *a, vv_buf *out)
{
    vv_buf_append_str(out, "{\"sensor_id\":");
    json_put_string(out, a->matchers[0].value);
    vv_buf_append_str(out, ",\"samples\":[");
}

static vv_status json_block(svc_series_ask *a, const vv_series_block *b, vv_buf *out, vv_error *err)
{
    (void)err;
    for (size_t i = 0; b->series_id == a->only_id && i < b->count; i++) {
        if (a->written++ > 0)
            vv_buf_append_u8(out, ',');
        put_object(out, b, i);
    }
    return VV_OK;
}

static void json_tail(svc_series_ask *a, vv_buf *out)
{
    (void)a;
    vv_buf_append_str(out, "]}\n");
}

static void csv_head(svc_series_ask *a, vv_buf *out)
{
    (void)a;
    vv_buf_append_str(out, "timestamp_ms,value,quality\n");
}

static vv_status csv_block(svc_series_ask *a, const vv_series_block *b, vv_buf *out, vv_error *err)
{
    (void)err;
    for (size_t i = 0; b->series_id == a->only_id && i < b->count; i++) {
        svc_put_ms(out, b->time_ns[i]);
        vv_buf_append_u8(out, ',');
        svc_put_point(out, b, i, false);
        vv_buf_append_str(out, is_good(b, i) ? ",1\n" : ",0\n");
    }
    return VV_OK;
}

static vv_status jsonl_block(svc_series_ask *a, const vv_series_block *b, vv_buf *out,
                             vv_error *err)
{
    (void)err;
    for (size_t i = 0; b->series_id == a->only_id && i < b->count; i++) {
        put_object(out, b, i);
        vv_buf_append_u8(out, '\n');
    }
    return VV_OK;
}

#define ARROW_FIELDS 3u

typedef struct batch {
    svc_arrow_scratch values;
    uint32_t quality[VV_SERIES_BLOCK_MAX];
} batch;

/* Values as the sensor has them: an int64 has more digits than a double. */
static void arrow_fields(const svc_series_ask *a, arrow_field out[ARROW_FIELDS])
{
    out[0] = (arrow_field){"timestamp", ARROW_TIMESTAMP};
    out[1] = (arrow_field){"value", svc_arrow_type_of(a->column)};
    out[2] = (arrow_field){"quality", ARROW_U32};
}

static void arrow_head(svc_series_ask *a, vv_buf *out)
{
    arrow_field fields[ARROW_FIELDS];
    arrow_fields(a, fields);
    arrow_append_schema(out, fields, ARROW_FIELDS);
}

static vv_status arrow_block(svc_series_ask *a, const vv_series_block *b, vv_buf *out,
                             vv_error *err)
{
    arrow_field fields[ARROW_FIELDS];
    arrow_column columns[ARROW_FIELDS] = {{b->time_ns, NULL}};
    batch *m = a->look != NULL ? (batch *)(uintptr_t)a->look : svc_series_alloc(a, sizeof *m);
    if (m == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a batch");
    a->look = m;
    if (b->series_id != a->only_id)
        return VV_OK;
    vv_status st = svc_arrow_values(a->column, b, &m->values, &columns[1], err);
    for (size_t i = 0; i < b->count; i++)
        m->quality[i] = is_good(b, i);
    columns[2].values = m->quality;
    arrow_fields(a, fields);
    if (st == VV_OK)
        arrow_append_batch(out, fields, columns, ARROW_FIELDS, (uint32_t)b->count);
    return st;
}

static void arrow_tail(svc_series_ask *a, vv_buf *out)
{
    (void)a;
    arrow_append_end(out);
}

#define FORM(content, reads, heads, blocks, tails)                                                 \
    {                                                                                              \
        .is_http = true, .type = (content), .read = (reads), .opened = find_sensor,                \
        .head = (heads), .block = (blocks), .tail = (tails)                                        \
    }
#define FORMS(reads)                                                                               \
    {                                                                                              \
        FORM("application/json", reads, json_head, json_block, json_tail),                         \
            FORM("text/csv; charset=utf-8", reads, csv_head, csv_block, NULL),                     \
            FORM("application/x-ndjson", reads, NULL, jsonl_block, NULL),                          \
            FORM("application/vnd.apache.arrow.stream", reads, arrow_head, arrow_block,            \
                 arrow_tail)                                                                       \
    }

const svc_series_form svc_sensor_query_form[SVC_SERIES_FORMATS] = FORMS(read_query);
const svc_series_form svc_sensor_export_form[SVC_SERIES_FORMATS] = FORMS(read_export);
