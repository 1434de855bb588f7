/*
 * fault_request.c - see fault_request.h. HTTP is sent from memory that is there before, so that
 * what fails is the server's; the client of gRPC allocates, and its own failures are no answer.
 */
#include "server/fault_request.h"

#include <errno.h>
#include <snappy-c.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "codec/protowire.h"
#include "otlp/otlp_test_request.h"
#include "varve/stream.h"

#define BODY_MAX (1u << 20)
#define SAMPLES 3000 /* an answer of several pieces */
#define STEP_NS (200 * VV_NS_PER_MS)

/* ---- bodies ---- */

/* A series of its own each time. */
static void new_line_body(vv_buf *out, int64_t time_s)
{
    vv_buf_printf(out, "new,host=h%lld v=1 %lld\n", (long long)time_s, (long long)time_s);
}

static void put_label(vv_buf *out, uint32_t number, const char *name, const char *value)
{
    size_t mark = wire_begin(out, number);
    wire_put_string(out, 1, vv_slice_str(name));
    wire_put_string(out, 2, vv_slice_str(value));
    wire_end(out, mark);
}

static void line_body(vv_buf *out, int64_t time_s)
{
    vv_buf_printf(out, "line,host=a v=1 %lld\n", (long long)time_s);
}

static void remote_body(vv_buf *out, int64_t time_s)
{
    char packed[512];
    size_t len = sizeof packed;
    size_t series = wire_begin(out, 1);
    put_label(out, 1, "__name__", "remote");
    size_t sample = wire_begin(out, 2);
    wire_put_double_always(out, 1, 2.5);
    wire_put_int(out, 2, time_s * 1000);
    wire_end(out, sample);
    wire_end(out, series);
    assert_int_equal(snappy_compress((const char *)out->data, out->len, packed, &len), SNAPPY_OK);
    vv_buf_reset(out);
    vv_buf_append(out, packed, len);
}

static void samples_of(vv_buf *out, const char *name, int64_t time_s)
{
    wire_put_string(out, 2, vv_slice_str("grow"));
    size_t series = wire_begin(out, 4);
    put_label(out, 1, "__name__", name);
    wire_put_fixed64(out, 5, (uint64_t)(time_s * VV_NS_PER_S));
    wire_put_double_always(out, 6, 3.5);
    wire_end(out, series);
}

static void columns_body(vv_buf *out, int64_t time_s)
{
    samples_of(out, "columns", time_s);
}

static void stream_body(vv_buf *out, int64_t time_s)
{
    samples_of(out, "stream", time_s);
}

static void put_ref(vv_buf *out, const char *table)
{
    size_t mark = wire_begin(out, 1);
    wire_put_string(out, 2, vv_slice_str(table));
    wire_end(out, mark);
}

static void put_matcher(vv_buf *out, uint32_t number, const char *name, const char *value)
{
    size_t mark = wire_begin(out, number);
    wire_put_string(out, 1, vv_slice_str(name));
    wire_put_uint(out, 2, VV_MATCH_RE);
    wire_put_string(out, 3, vv_slice_str(value));
    wire_end(out, mark);
}

static void list_body(vv_buf *out, int64_t time_s)
{
    (void)time_s;
    put_ref(out, "metrics");
    put_matcher(out, 2, "__name__", "hi.*");
}

static void values_body(vv_buf *out, int64_t time_s)
{
    (void)time_s;
    put_ref(out, "metrics");
    wire_put_string(out, 2, vv_slice_str("host"));
}

static void query_body(vv_buf *out, int64_t time_s)
{
    list_body(out, time_s);
    wire_put_int(out, 3, FAULT_T0 * VV_NS_PER_S);
    wire_put_int(out, 4, (FAULT_T0 + 10000) * VV_NS_PER_S);
}

static void windows_body(vv_buf *out, int64_t time_s)
{
    query_body(out, time_s);
    wire_put_int(out, 5, 7 * VV_NS_PER_S);
    wire_put_uint(out, 7, VV_AGG_RATE);
    wire_put_string(out, 9, vv_slice_str("host"));
    wire_put_uint(out, 11, VV_AGG_SUM);
    wire_put_uint(out, 12, VV_FILL_NULL);
}

/* Of a name that nothing has: it deletes nothing. */
static void delete_body(vv_buf *out, int64_t time_s)
{
    (void)time_s;
    put_ref(out, "metrics");
    put_matcher(out, 2, "__name__", "nobody");
    wire_put_int(out, 4, INT64_MAX);
}

/* A table of its own each time. */
static void create_body(vv_buf *out, int64_t time_s)
{
    char name[32];
    (void)snprintf(name, sizeof name, "made-%lld", (long long)time_s);
    put_ref(out, name);
    wire_put_uint(out, 2, VV_TABLE_SERIES);
    size_t options = wire_begin(out, 10);
    wire_put_int(out, 1, 3650 * 86400 * VV_NS_PER_S);
    wire_end(out, options);
}

static void sensor_body(vv_buf *out, int64_t time_s)
{
    (void)time_s;
    wire_put_string(out, 1, vv_slice_str("a"));
    wire_put_int(out, 2, FAULT_T0 * 1000);
    wire_put_int(out, 3, (FAULT_T0 + 1000) * 1000);
}

static void spans_body(vv_buf *out, int64_t time_s)
{
    otlp_test_spans(out, (uint64_t)(time_s - FAULT_T0) * 4, 4);
}

static void process_body(vv_buf *out, int64_t time_s)
{
    char id[32];
    (void)snprintf(id, sizeof id, "id-%lld", (long long)time_s);
    wire_put_string(out, 1, vv_slice_str(id));
    wire_put_string(out, 2, vv_slice_str("some text"));
}

static void json_body(vv_buf *out, int64_t time_s)
{
    vv_buf_printf(out, "{\"key\":\"k\",\"value\":{\"n\":%lld},\"attributes\":{\"a\":1}}\n",
                  (long long)time_s);
}

#define RANGE "start=1700000000&end=1700000700"
#define PUT(request_name, request_path, request_body, series_name, ...)                            \
    {                                                                                              \
        .name = (request_name), .path = (request_path), .body = (request_body),                    \
        .series = (series_name), .writes = true, __VA_ARGS__                                       \
    }
#define CALL(request_name, request_path, request_body, ...)                                        \
    {                                                                                              \
        .name = (request_name), .path = (request_path), .body = (request_body), __VA_ARGS__        \
    }
#define SERIES "/varve.v1.Series/"
#define OTLP "/opentelemetry.proto.collector."
#define ASK(request_name, request_path)                                                            \
    {                                                                                              \
        .name = (request_name), .verb = "GET", .path = (request_path)                              \
    }

const fault_request fault_requests[] = {
    PUT("line", "/write?db=grow&precision=s", line_body, "line_v", .verb = "POST"),
    PUT("new series", "/write?db=grow&precision=s", new_line_body, "new_v", .verb = "POST"),
    PUT("remote write", "/api/v1/write?table=grow", remote_body, "remote", .verb = "POST"),
    PUT("IngestSamples", SERIES "IngestSamples", columns_body, "columns", .is_stream = false),
    PUT("IngestSamplesStream", SERIES "IngestSamplesStream", stream_body, "stream",
        .is_stream = true),
    CALL("QuerySeries", SERIES "QuerySeries", query_body, .is_stream = true),
    CALL("QuerySeries, windows", SERIES "QuerySeries", windows_body, .is_stream = true),
    CALL("Latest", SERIES "Latest", list_body, .is_stream = true),
    CALL("ListSeries", SERIES "ListSeries", list_body, .is_stream = true),
    CALL("LabelValues", SERIES "LabelValues", values_body, .is_stream = false),
    CALL("DeleteSamples", SERIES "DeleteSamples", delete_body, .is_any = true),
    CALL("CreateTable", "/varve.v1.Admin/CreateTable", create_body, .is_any = true),
    CALL("HistorianQuery", "/historian.v1.HistorianQuery/Query", sensor_body, .is_stream = true),
    ASK("series/query", "/api/v1/series/query?match=hits&" RANGE),
    ASK("series/query csv", "/api/v1/series/query?match=hits&format=csv&" RANGE),
    ASK("series/query jsonl", "/api/v1/series/query?match=hits&format=jsonl&" RANGE),
    ASK("series/query arrow", "/api/v1/series/query?match=hits&format=arrow&" RANGE),
    ASK("series/query windows",
        "/api/v1/series/query?match=hits&aggregate=avg&step=60&group_by=host"
        "&across=sum&fill=linear&" RANGE),
    ASK("series/query points", "/api/v1/series/query?match=hits&reduce=lttb&points=10&" RANGE),
    ASK("series/latest", "/api/v1/series/latest?match=hits"),
    ASK("series/list", "/api/v1/series/list?match=hits"),
    ASK("series/labels", "/api/v1/series/labels"),
    ASK("series/labels values", "/api/v1/series/labels/host/values"),
    ASK("sensor query", "/api/v1/query?sensor=a&start=1700000000000&end=1700000700000"),
    ASK("sensor export", "/api/v1/export?sensor=a&start=1700000000000&end=1700000700000"
                         "&format=csv"),
    ASK("prom query", "/prometheus/api/v1/query?query=sum%20by%20(host)(rate(hits%5B1m%5D))"
                      "&time=1700000300"),
    ASK("prom query_range", "/prometheus/api/v1/query_range?query=hits%2B1&step=30&" RANGE),
    ASK("prom series", "/prometheus/api/v1/series?match%5B%5D=hits&match%5B%5D=temp"),
    ASK("prom labels", "/prometheus/api/v1/labels"),
    ASK("prom values", "/prometheus/api/v1/label/host/values"),
    CALL("OTLP traces", OTLP "trace.v1.TraceService/Export", spans_body, .is_any = true),
    CALL("ProcessMessage", "/storage_engine.StorageEngine/ProcessMessage", process_body,
         .is_any = true),
    CALL("stream/append", "/api/v1/stream/append", json_body, .verb = "POST", .is_any = true),
    CALL("stream/read", "/api/v1/stream/read?table=steady", NULL, .verb = "GET", .is_any = true),
    CALL("stream/status", "/api/v1/stream/status?table=steady", NULL, .verb = "GET",
         .is_any = true),
    ASK("stream/positions", "/api/v1/stream/positions?table=steady"),
};
const size_t fault_request_count = ARRAY_LEN(fault_requests);

/* ---- a node ---- */

static void put_series(svc_suite *s, const char *table, const char *name, const char *label,
                       const char *value)
{
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    vv_table *t = NULL;
    opt.kind = VV_TABLE_SERIES;
    opt.if_not_exists = true;
    assert_ok(vv_table_create(s->n.db, "default", table, &opt, &t, &s->err), s->err);
    vv_samples *samples = vv_samples_create(t);
    assert_non_null(samples);
    const vv_label labels[] = {{vv_slice_str("__name__"), vv_slice_str(name)},
                               {vv_slice_str(label), vv_slice_str(value)}};
    assert_ok(vv_samples_series(samples, labels, 2, VV_F64, &s->err), s->err);
    for (int i = 0; i < SAMPLES; i++) {
        int64_t time_ns = FAULT_T0 * VV_NS_PER_S + i * STEP_NS;
        double v = i * (double)strlen(name);
        assert_ok(vv_samples_f64(samples, &time_ns, &v, NULL, 1, &s->err), s->err);
    }
    assert_ok(vv_series_append(samples, VV_DURABLE_SYNC, NULL, &s->err), s->err);
    vv_samples_destroy(samples);
    vv_table_close(t);
}

static void put_messages(svc_suite *s)
{
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    vv_table *t = NULL;
    opt.kind = VV_TABLE_STREAM;
    opt.if_not_exists = true;
    assert_ok(vv_table_create(s->n.db, "default", "steady", &opt, &t, &s->err), s->err);
    for (int i = 0; i < 10; i++) {
        const vv_message m = {.value = vv_slice_str("some text")};
        assert_ok(vv_stream_append(t, &m, 1, NULL, NULL, &s->err), s->err);
    }
    vv_table_close(t);
}

void fault_start(fault_node *f, const svc_suite_options *opt)
{
    f->acked_count = 0;
    f->time_s = FAULT_T0;
    vv_buf_init(&f->body, BODY_MAX);
    svc_suite_start(&f->s, opt);
    put_series(&f->s, "metrics", "hits", "host", "a");
    put_series(&f->s, "metrics", "hits", "host", "b");
    put_series(&f->s, "metrics", "temp", "host", "a");
    put_series(&f->s, "sensors", "sensor", "sensor", "a");
    put_messages(&f->s);
}

void fault_stop(fault_node *f)
{
    svc_suite_stop(&f->s);
    vv_buf_fini(&f->body);
}

/* ---- asking ---- */

void fault_prepare(fault_node *f, const fault_request *r)
{
    f->last = r;
    vv_buf_reset(&f->body);
    assert_non_null(vv_buf_reserve(&f->body, 4096)); /* for the head of HTTP too */
    if (r->body != NULL)
        r->body(&f->body, ++f->time_s);
    assert_int_equal(f->body.status, VV_OK);
}

/* The sizes of chunks are as time has it. */
static void join_chunks(fault_answer *out)
{
    char *to = out->bytes + out->body_at;
    const char *from = to;
    for (size_t n; (n = strtoull(from, NULL, 16)) > 0; from += n + 2) {
        from = strstr(from, "\r\n");
        assert_non_null(from);
        from += 2;
        assert_true(n + 2 <= (size_t)(out->bytes + out->len - from));
        memmove(to, from, n);
        to += n;
    }
    out->len = (size_t)(to - out->bytes);
}

static void take_http(const fault_request *r, fault_answer *out)
{
    int status = 0;
    static const char chunked[] = "transfer-encoding: chunked";
    static const char end[] = "\r\n0\r\n\r\n";
    out->bytes[out->len] = '\0';
    const char *head_end = strstr(out->bytes, "\r\n\r\n");
    if (head_end == NULL || sscanf(out->bytes, "HTTP/1.1 %d", &status) != 1)
        return; /* the connection was closed */
    out->is_refused = status >= 300;
    /* Come again later: not every sender does after a 429. */
    out->blames_request = status < 500 && (r->writes || status != 429);
    const char *length = strcasestr(out->bytes, "content-length:");
    const char *chunks = strcasestr(out->bytes, chunked);
    out->body_at = (size_t)(head_end + 4 - out->bytes);
    const size_t body = out->len - out->body_at;
    bool is_complete = status == 204;
    if (length != NULL && length < head_end)
        is_complete = strtoull(length + 15, NULL, 10) == body;
    else if (chunks != NULL && chunks < head_end)
        is_complete = body >= sizeof end - 1 &&
                      memcmp(out->bytes + out->len - (sizeof end - 1), end, sizeof end - 1) == 0;
    out->is_whole = !out->is_refused && is_complete;
    if (out->is_whole && (length == NULL || length > head_end) && status != 204)
        join_chunks(out);
}

static void send_http(fault_node *f, const fault_request *r, fault_answer *out)
{
    char head[512];
    int fd = svc_suite_dial(&f->s);
    int n =
        snprintf(head, sizeof head,
                 "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
                 r->verb, r->path, f->body.len);
    assert_true(n > 0 && (size_t)n < sizeof head);
    svc_suite_send(fd, vv_slice_of(head, (size_t)n));
    svc_suite_send(fd, vv_buf_slice(&f->body));
    ssize_t got = 1;
    while (got > 0 && out->len < sizeof out->bytes - 1) {
        got = svc_suite_recv(fd, out->bytes + out->len, sizeof out->bytes - 1 - out->len);
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            fail_msg("%s: left waiting", r->name);
        out->len += got > 0 ? (size_t)got : 0;
    }
    (void)close(fd);
    take_http(r, out);
}

static void add(fault_answer *out, const void *bytes, size_t len)
{
    len = vv_min_u64(len, sizeof out->bytes - 1 - out->len);
    if (len > 0)
        memcpy(out->bytes + out->len, bytes, len);
    out->len += len;
}

/* A sample that is counted as refused was not written. */
static bool is_written(vv_slice reply)
{
    wire_reader r = wire_reader_of(reply);
    wire_field f = {0};
    uint64_t v[9] = {0};
    while (wire_next(&r, &f) > 0)
        if (f.number < 9 && f.type == WIRE_VARINT)
            v[f.number] = f.value;
    return v[1] == 1 && v[8] == 0;
}

static bool blames_request(vv_status st)
{
    return st == VV_INVALID || st == VV_NOT_FOUND || st == VV_CONFLICT || st == VV_UNSUPPORTED;
}

static void take_failure(fault_node *f, const fault_request *r, vv_status st, fault_answer *out)
{
    if (st == VV_TIMEOUT)
        fail_msg("%s: left waiting: %s", r->name, f->s.err.msg);
    out->is_refused = true;
    out->blames_request = blames_request(st);
    out->len = 0;
    add(out, f->s.err.msg, strlen(f->s.err.msg));
}

static void send_unary(fault_node *f, const fault_request *r, fault_answer *out)
{
    svc_suite *s = &f->s;
    vv_status st = cli_unary(s->conn, r->path, vv_buf_slice(&f->body), SUITE_TIMEOUT_NS, &s->reply,
                             &s->result, &s->err);
    if (st != VV_OK) {
        take_failure(f, r, st, out);
        return;
    }
    add(out, s->reply.data, s->reply.len);
    out->is_whole = !r->writes || is_written(vv_buf_slice(&s->reply));
    out->is_refused = out->blames_request = !out->is_whole;
}

static void send_stream(fault_node *f, const fault_request *r, fault_answer *out)
{
    svc_suite *s = &f->s;
    cli_stream *stream = NULL;
    bool is_good = true;
    int code = -1;
    vv_status st = cli_stream_open(s->conn, r->path, SUITE_TIMEOUT_NS, &stream, &s->err);
    if (st == VV_OK)
        st = cli_stream_send(stream, vv_buf_slice(&f->body), &s->err);
    if (st == VV_OK)
        cli_stream_half_close(stream);
    while (st == VV_OK && (st = cli_stream_receive(stream, true, &s->reply, &s->err)) == VV_OK) {
        is_good &= !r->writes || is_written(vv_buf_slice(&s->reply));
        add(out, s->reply.data, s->reply.len);
    }
    if (st == VV_NOT_FOUND)
        code = cli_stream_result(stream)->code;
    cli_stream_close(stream);
    if (code != 0)
        take_failure(f, r, st, out);
    else
        out->is_whole = is_good && (!r->writes || out->len > 0);
}

void fault_send(fault_node *f, const fault_request *r, fault_answer *out)
{
    out->len = out->body_at = 0;
    out->is_whole = out->is_refused = out->blames_request = false;
    f->s.err = (vv_error){0};
    if (r->verb != NULL)
        send_http(f, r, out);
    else if (r->is_stream)
        send_stream(f, r, out);
    else
        send_unary(f, r, out);
}

void fault_ask(fault_node *f, const fault_request *r, fault_answer *out)
{
    fault_prepare(f, r);
    fault_send(f, r, out);
}

bool fault_same(const fault_answer *a, const fault_answer *b)
{
    const size_t len = a->len - a->body_at;
    return len == b->len - b->body_at &&
           memcmp(a->bytes + a->body_at, b->bytes + b->body_at, len) == 0;
}

/* ---- what was acknowledged ---- */

void fault_note_acked(fault_node *f)
{
    assert_true(f->acked_count < FAULT_WRITES_MAX);
    f->acked[f->acked_count].series = f->last->series;
    f->acked[f->acked_count++].time_s = f->time_s;
}

/* Marks the times of the samples of a series. */
static void see_series(vv_table *table, const char *name, uint8_t *seen, size_t count)
{
    vv_error err;
    vv_series_cursor *c = NULL;
    vv_series_block b;
    vv_series_query q = VV_SERIES_QUERY_INIT;
    const vv_matcher m = {VV_MATCH_EQ, vv_slice_str("__name__"), vv_slice_str(name)};
    q.matchers = &m;
    q.matcher_count = 1;
    q.start_ns = INT64_MIN;
    q.end_ns = INT64_MAX;
    memset(seen, 0, count);
    assert_ok(vv_series_query_open(table, &q, &c, &err), err);
    vv_status st;
    while ((st = vv_series_query_next(c, &b, &err)) == VV_OK)
        for (size_t i = 0; i < b.count; i++) {
            int64_t at = b.time_ns[i] / VV_NS_PER_S - FAULT_T0;
            if (at >= 0 && (size_t)at < count)
                seen[at] = 1;
        }
    assert_int_equal(st, VV_NOT_FOUND);
    vv_series_query_close(c);
}

void fault_expect_acked(fault_node *f, vv_db *db)
{
    static uint8_t seen[2 * FAULT_WRITES_MAX];
    vv_error err;
    vv_table *table = NULL;
    assert_true((uint64_t)(f->time_s - FAULT_T0) < sizeof seen);
    if (f->acked_count == 0)
        return;
    assert_ok(vv_table_open(db, "default", "grow", &table, &err), err);
    for (size_t k = 0; k < fault_request_count; k++) {
        const fault_request *r = &fault_requests[k];
        if (!r->writes)
            continue;
        see_series(table, r->series, seen, sizeof seen);
        for (size_t i = 0; i < f->acked_count; i++)
            if (f->acked[i].series == r->series && !seen[f->acked[i].time_s - FAULT_T0])
                fail_msg("%s: sample %zu was acknowledged and is gone", r->name, i);
    }
    vv_table_close(table);
}
