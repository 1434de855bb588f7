/*
 * svc_otlp_test.c - OTLP over a whole node: what exporters send is stored before they are answered,
 * what cannot be kept is told, and what they are to send again says so.
 */
#include <poll.h>
#include <string.h>
#include <zlib.h>

#include "base/alloc.h"
#include "otlp/otlp_test_request.h"
#include "server/svc_suite_http.h"
#include "varve/series.h"
#include "varve/stream.h"

#define GRPC_PATH "/opentelemetry.proto.collector."
#define TRACES GRPC_PATH "trace.v1.TraceService/Export"
#define LOGS GRPC_PATH "logs.v1.LogsService/Export"
#define METRICS GRPC_PATH "metrics.v1.MetricsService/Export"
#define PROTOBUF "\r\nContent-Type: application/x-protobuf"
#define JSON "\r\nContent-Type: application/json"

static vv_status export(svc_suite *s, const char *method, const vv_buf *request)
{
    assert_int_equal(request->status, VV_OK);
    return cli_unary(s->conn, method, vv_buf_slice(request), SUITE_TIMEOUT_NS, &s->reply,
                     &s->result, &s->err);
}

static uint64_t count_messages(svc_suite *s, const char *tenant, const char *table)
{
    vv_table *t = NULL;
    vv_stream_stats stats = {.size = sizeof stats};
    if (vv_table_open(s->n.db, tenant, table, &t, &s->err) == VV_NOT_FOUND)
        return 0;
    assert_ok(vv_stream_stats_read(t, 0, NULL, &stats, &s->err), s->err);
    vv_table_close(t);
    return stats.messages;
}

/* HTTP text: the target, then " HTTP/1.1" comes behind the path; so headers follow a whole line. */
static void post(svc_suite *s, const char *path, const char *headers, vv_slice body, int status,
                 const char *words)
{
    char text[256];
    svc_suite_answer a;
    (void)snprintf(text, sizeof text, "%s HTTP/1.1%s\r\nX-Rest:", path, headers);
    svc_suite_ask(s, "POST", text, body, &a);
    if (a.status != status)
        fail_msg("%s: %d instead of %d: %s", path, a.status, status, a.all.data);
    if (words != NULL && memmem(a.all.data, a.all.len, words, strlen(words)) == NULL)
        fail_msg("%s: '%s' is not in: %s", path, words, a.all.data);
    svc_suite_done(&a);
}

static void test_spans_are_stored_when_answered(void **state)
{
    (void)state;
    svc_suite s;
    vv_buf b;
    svc_suite_start(&s, NULL);
    vv_buf_init(&b, 1 << 20);
    assert_ok(export(&s, TRACES, &b), s.err); /* nothing: nothing is made */
    assert_int_equal(count_messages(&s, "default", "traces"), 0);
    otlp_test_spans(&b, 0, 512);
    assert_ok(export(&s, TRACES, &b), s.err);
    assert_int_equal(s.reply.len, 0); /* all of it */
    assert_int_equal(count_messages(&s, "default", "traces"), 512);
    vv_buf_reset(&b);
    otlp_test_logs(&b, 0, 30);
    assert_ok(export(&s, LOGS, &b), s.err);
    assert_int_equal(count_messages(&s, "default", "logs"), 30);
    vv_buf_fini(&b);
    svc_suite_stop(&s);
}

/* More than one append takes: in pieces, each once and in order. */
static void test_a_large_request_is_stored_in_pieces(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    svc_suite s;
    vv_buf b;
    vv_table *t = NULL;
    vv_stream_cursor *c = NULL;
    vv_message m;
    svc_suite_start(&s, NULL);
    vv_buf_init(&b, 16 << 20);
    otlp_test_spans(&b, 0, COUNT);
    assert_ok(export(&s, TRACES, &b), s.err);
    assert_ok(vv_table_open(s.n.db, "default", "traces", &t, &s.err), s.err);
    assert_ok(vv_stream_cursor_open(t, NULL, &c, &s.err), s.err);
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_ok(vv_stream_cursor_next(c, &m, &s.err), s.err);
        assert_int_equal(m.event_time_ns, OTLP_TEST_T0 + i * 1000);
    }
    assert_status(VV_NOT_FOUND, vv_stream_cursor_next(c, &m, &s.err));
    vv_stream_cursor_close(c);
    vv_table_close(t);
    vv_buf_fini(&b);
    svc_suite_stop(&s);
}

/* A request of one good span and one without an id. */
static void put_half_good(vv_buf *b)
{
    size_t group = wire_begin(b, 1);
    size_t scope = wire_begin(b, 2);
    size_t span = wire_begin(b, 2);
    wire_put_string(b, 5, vv_slice_str("lost"));
    wire_end(b, span);
    otlp_test_span(b, 1);
    wire_end(b, scope);
    wire_end(b, group);
}

static void test_partial_success_is_told(void **state)
{
    (void)state;
    svc_suite s;
    vv_buf b;
    svc_suite_start(&s, NULL);
    vv_buf_init(&b, 65536);
    put_half_good(&b);
    assert_ok(export(&s, TRACES, &b), s.err);
    wire_reader r = wire_reader_of(vv_buf_slice(&s.reply));
    wire_field f = {0};
    assert_int_equal(wire_next(&r, &f), 1);
    assert_int_equal(f.number, 1);
    r = wire_reader_of(f.bytes);
    assert_int_equal(wire_next(&r, &f), 1);
    assert_true(f.number == 1 && f.value == 1);
    assert_int_equal(wire_next(&r, &f), 1);
    assert_non_null(memmem(f.bytes.data, f.bytes.len, "span 'lost': trace_id", 21));
    post(&s, "/v1/traces", PROTOBUF, vv_buf_slice(&b), 200, "span 'lost': trace_id");
    assert_int_equal(count_messages(&s, "default", "traces"), 2);
    vv_buf_fini(&b);
    svc_suite_stop(&s);
}

static const char spans_json[] =
    "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":"
    "{\"stringValue\":\"shop\"}}],\"unknownField\":[1,{\"a\":null}]},\"scopeSpans\":[{\"scope\":"
    "{\"name\":\"s\"},\"spans\":[{\"traceId\":\"5B8EFFF798038103D269B633813FC60C\",\"spanId\":"
    "\"eee19b7ec3c1b174\",\"parentSpanId\":\"\",\"name\":\"I'm a server span\","
    "\"startTimeUnixNano\":\"1544712660000000000\",\"endTimeUnixNano\":1544712661000000000,"
    "\"kind\":\"SPAN_KIND_SERVER\",\"status\":{\"code\":2,\"message\":\"m\"},\"attributes\":[{"
    "\"key\":\"n\",\"value\":{\"intValue\":\"-5\"}}]}]}]}]}";

static const char metrics_json[] =
    "{\"resourceMetrics\":[{\"scopeMetrics\":[{\"metrics\":[{\"name\":\"m\",\"gauge\":{"
    "\"dataPoints\":[{\"timeUnixNano\":\"1700000000000000000\",\"asDouble\":1.5}]}},{\"name\":"
    "\"e\",\"exponentialHistogram\":{\"dataPoints\":[{\"timeUnixNano\":\"1700000000000000000\","
    "\"count\":\"6\",\"scale\":-1,\"zeroCount\":\"1\",\"positive\":{\"offset\":-1,\"bucketCounts\":"
    "[\"2\",3]}},{\"timeUnixNano\":1,\"zeroThreshold\":-1}]}}]}]}]}";

static void expect_text(const vv_message *m, const char *name, const char *text)
{
    for (size_t i = 0; i < m->attribute_count; i++)
        if (vv_slice_eq(m->attributes[i].name, vv_slice_str(name))) {
            assert_true(vv_slice_eq(m->attributes[i].bytes, vv_slice_str(text)));
            return;
        }
    fail_msg("there is no attribute %s", name);
}

static int add_up(void *ctx, const vv_series_info *series, const vv_sample *sample)
{
    double *sum = ctx;
    (void)series;
    *sum += sample->f64;
    return 0;
}

static void test_json_is_read_as_otlp_writes_it(void **state)
{
    (void)state;
    svc_suite s;
    vv_table *t = NULL;
    vv_stream_cursor *c = NULL;
    vv_message m;
    svc_suite_start(&s, NULL);
    post(&s, "/v1/traces", JSON, vv_slice_str(spans_json), 200, "\r\n\r\n{}");
    assert_ok(vv_table_open(s.n.db, "default", "traces", &t, &s.err), s.err);
    assert_ok(vv_stream_cursor_open(t, NULL, &c, &s.err), s.err);
    assert_ok(vv_stream_cursor_next(c, &m, &s.err), s.err);
    expect_text(&m, "trace_id", "5b8efff798038103d269b633813fc60c");
    expect_text(&m, "span_id", "eee19b7ec3c1b174");
    expect_text(&m, "kind", "server");
    expect_text(&m, "status", "error");
    expect_text(&m, "name", "I'm a server span");
    assert_int_equal(m.event_time_ns, INT64_C(1544712660000000000));
    vv_stream_cursor_close(c);
    vv_table_close(t);
    post(&s, "/v1/traces", JSON, vv_slice_str("{}"), 200, "\r\n\r\n{}");
    post(&s, "/v1/metrics", JSON, vv_slice_str(metrics_json), 200,
         "{\"partialSuccess\":{\"rejectedDataPoints\":\"1\",\"errorMessage\":\"metric 'e': "
         "its zero threshold");
    /* At and below 0, 0.25, 1, 4, +Inf: 1, 1, 3, 6, 6; and a count of 6. */
    const vv_matcher all = {VV_MATCH_RE, vv_slice_str("__name__"), vv_slice_str("e_.*")};
    double sum = 0;
    assert_ok(vv_table_open(s.n.db, "default", "metrics", &t, &s.err), s.err);
    assert_ok(vv_series_latest(t, &all, 1, add_up, &sum, &s.err), s.err);
    vv_table_close(t);
    assert_true(sum == 23);
    post(&s, "/v1/metrics", JSON, vv_slice_str("{}"), 200, "\r\n\r\n{}");
    svc_suite_stop(&s);
}

static void test_bodies_may_be_gzip(void **state)
{
    (void)state;
    svc_suite s;
    vv_buf b;
    uint8_t packed[65536];
    z_stream z = {0};
    svc_suite_start(&s, NULL);
    vv_buf_init(&b, 1 << 20);
    otlp_test_spans(&b, 0, 100);
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = b.data;
    z.avail_in = (unsigned)b.len;
    z.next_out = packed;
    z.avail_out = sizeof packed;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    vv_slice body = vv_slice_of(packed, z.total_out);
    (void)deflateEnd(&z);
    post(&s, "/v1/traces", PROTOBUF "\r\nContent-Encoding: gzip", body, 200, NULL);
    assert_int_equal(count_messages(&s, "default", "traces"), 100);
    post(&s, "/v1/traces", PROTOBUF "\r\nContent-Encoding: gzip", vv_slice_of(packed, body.len - 9),
         400, NULL);
    post(&s, "/v1/traces", PROTOBUF "\r\nContent-Encoding: br", body, 400, "gzip or none");
    assert_int_equal(count_messages(&s, "default", "traces"), 100);
    while (vv_budget_part_used(s.n.budget, VV_BUDGET_NETWORK) != 0)
        (void)poll(NULL, 0, 1); /* a moment after the answer */
    vv_buf_fini(&b);
    svc_suite_stop(&s);
}

/* A few kilobytes that would be hundreds of megabytes, and a text that nests without end. */
static void test_bodies_that_explode(void **state)
{
    (void)state;
    enum { ZEROS = 64 << 20, DEPTH = 200000 };
    svc_suite s;
    vv_buf packed;
    vv_buf deep;
    z_stream z = {0};
    svc_suite_start(&s, NULL);
    uint8_t *zeros = calloc(1, ZEROS);
    assert_non_null(zeros);
    vv_buf_init(&packed, 1 << 20);
    vv_buf_init(&deep, 1 << 20);
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = zeros;
    z.avail_in = ZEROS;
    z.next_out = vv_buf_reserve(&packed, 1 << 20);
    z.avail_out = 1 << 20;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    vv_buf_advance(&packed, z.total_out);
    (void)deflateEnd(&z);
    post(&s, "/v1/traces", PROTOBUF "\r\nContent-Encoding: gzip", vv_buf_slice(&packed), 400, NULL);
    post(&s, "/v1/traces", JSON "\r\nContent-Encoding: gzip", vv_buf_slice(&packed), 400, NULL);
    vv_buf_append_str(&deep, "{\"resourceSpans\":");
    for (int i = 0; i < DEPTH; i++)
        vv_buf_append_u8(&deep, '[');
    post(&s, "/v1/traces", JSON, vv_buf_slice(&deep), 400, NULL);
    vv_buf_reset(&deep);
    vv_buf_append_str(&deep, "{\"unknown\":");
    for (int i = 0; i < DEPTH; i++)
        vv_buf_append_u8(&deep, '[');
    post(&s, "/v1/traces", JSON, vv_buf_slice(&deep), 400, "nest too deep");
    while (vv_budget_part_used(s.n.budget, VV_BUDGET_NETWORK) != 0)
        (void)poll(NULL, 0, 1); /* a moment after the answer */
    free(zeros);
    vv_buf_fini(&packed);
    vv_buf_fini(&deep);
    svc_suite_stop(&s);
}

static void test_tenants_by_header(void **state)
{
    (void)state;
    svc_suite s;
    vv_buf b;
    svc_suite_start(&s, NULL);
    vv_buf_init(&b, 65536);
    otlp_test_spans(&b, 0, 2);
    post(&s, "/v1/traces", PROTOBUF "\r\nX-Tenant: plant", vv_buf_slice(&b), 200, NULL);
    assert_int_equal(count_messages(&s, "plant", "traces"), 2);
    assert_int_equal(count_messages(&s, "default", "traces"), 0);
    vv_buf_fini(&b);
    svc_suite_stop(&s);
}

static int count_one(void *ctx, const vv_series_info *series, const vv_sample *sample)
{
    double *sum = ctx;
    assert_true(series->label_count >= 6);
    *sum += sample->f64;
    return 0;
}

static void test_metrics_become_series(void **state)
{
    (void)state;
    svc_suite s;
    vv_buf b;
    vv_table *t = NULL;
    double sum = 0;
    vv_matcher m = {VV_MATCH_EQ, vv_slice_str("service.name"), vv_slice_str("shop")};
    svc_suite_start(&s, NULL);
    vv_buf_init(&b, 65536);
    otlp_test_metrics(&b, OTLP_TEST_T0);
    assert_ok(export(&s, METRICS, &b), s.err);
    assert_int_equal(s.reply.len, 0);
    assert_ok(vv_table_open(s.n.db, "default", "metrics", &t, &s.err), s.err);
    assert_ok(vv_series_latest(t, &m, 1, count_one, &sum, &s.err), s.err);
    assert_true(sum == 7 + 1234);
    vv_table_close(t);
    vv_buf_fini(&b);
    svc_suite_stop(&s);
}

/* Memory that fails once is no fault of the request, and what was answered is there. */
static void test_metrics_while_memory_fails(void **state)
{
    (void)state;
    svc_suite s;
    vv_buf b;
    svc_suite_start(&s, NULL);
    vv_buf_init(&b, 65536);
    assert_non_null(vv_buf_reserve(&b, 8192));
    bool failed = true;
    for (int n = 0; failed; n++) {
        vv_buf_reset(&b);
        otlp_test_metrics(&b, OTLP_TEST_T0 + (uint64_t)n * 1000000);
        const uint64_t before = vv_alloc_count();
        vv_alloc_fail_after(n, 0);
        vv_status st = export(&s, METRICS, &b);
        vv_alloc_fail_after(-1, 0);
        failed = vv_alloc_count() - before > (uint64_t)n;
        if (st == VV_INVALID || st == VV_TIMEOUT || st == VV_UNSUPPORTED)
            fail_msg("allocation %d: %s", n, s.err.msg);
        if (st == VV_OK && s.reply.len > 0)
            fail_msg("allocation %d: a partial success", n);
        assert_true(n < 2000);
    }
    if (export(&s, METRICS, &b) != VV_OK) /* a connection may have been the price */
        assert_ok(export(&s, METRICS, &b), s.err);
    vv_buf_fini(&b);
    svc_suite_stop(&s);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    static const char *const methods[] = {TRACES, LOGS, METRICS};
    static const char *const paths[] = {"/v1/traces", "/v1/logs", "/v1/metrics"};
    static const uint8_t junk[] = {0x0a, 5, 1};
    svc_suite s;
    vv_buf b;
    svc_suite_start(&s, NULL);
    vv_buf_init(&b, 64);
    vv_buf_append(&b, junk, sizeof junk);
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        assert_status(VV_INVALID, export(&s, methods[i], &b));
        assert_non_null(strstr(s.err.msg, "the bytes are no Export"));
        /* google.rpc.Status: code 3 in field 1, then the sentence */
        post(&s, paths[i], PROTOBUF, vv_buf_slice(&b), 400, "\r\n\r\n\x08\x03\x12");
        post(&s, paths[i], JSON, vv_slice_str("{\"x\":"), 400, "{\"code\":3,\"message\":\"JSON at");
        post(&s, paths[i], "\r\nContent-Type: text/plain", vv_buf_slice(&b), 415,
             "application/x-protobuf or application/json");
    }
    post(
        &s, "/v1/traces", JSON,
        vv_slice_str("{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"traceId\":\"5g\"}]}]}]}"),
        400, "is not hexadecimal");
    assert_int_equal(count_messages(&s, "default", "traces"), 0);
    vv_buf_fini(&b);
    svc_suite_stop(&s);
}

static void test_what_is_to_be_sent_again(void **state)
{
    (void)state;
    svc_suite s;
    vv_buf b;
    svc_suite_start(&s, NULL);
    vv_buf_init(&b, 1 << 20);
    otlp_test_spans(&b, 0, 100);
    assert_ok(export(&s, TRACES, &b), s.err);
    const uint64_t rest = s.n.budget->limit;
    vv_budget_take(s.n.budget, VV_BUDGET_QUERY, rest);
    assert_status(VV_CLOSED, export(&s, TRACES, &b)); /* UNAVAILABLE */
    assert_int_equal(s.result.code, 14);
    const char *details = svc_suite_trailer(&s, "grpc-status-details-bin");
    assert_non_null(details);
    assert_true(strlen(details) > 20);
    post(&s, "/v1/traces", PROTOBUF, vv_buf_slice(&b), 429, "Retry-After: 1");
    vv_budget_release(s.n.budget, VV_BUDGET_QUERY, rest);
    assert_ok(export(&s, TRACES, &b), s.err);
    assert_int_equal(count_messages(&s, "default", "traces"), 200);
    vv_buf_fini(&b);
    svc_suite_stop(&s);
}

static void test_a_table_may_not_be_made(void **state)
{
    (void)state;
    svc_suite s;
    vv_buf b;
    svc_suite_start(&s, &(svc_suite_options){.no_auto_create = true});
    vv_buf_init(&b, 65536);
    otlp_test_spans(&b, 0, 1);
    assert_status(VV_NOT_FOUND, export(&s, TRACES, &b));
    post(&s, "/v1/traces", PROTOBUF, vv_buf_slice(&b), 404, NULL);
    vv_buf_fini(&b);
    svc_suite_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spans_are_stored_when_answered),
        cmocka_unit_test(test_a_large_request_is_stored_in_pieces),
        cmocka_unit_test(test_partial_success_is_told),
        cmocka_unit_test(test_json_is_read_as_otlp_writes_it),
        cmocka_unit_test(test_bodies_may_be_gzip),
        cmocka_unit_test(test_bodies_that_explode),
        cmocka_unit_test(test_tenants_by_header),
        cmocka_unit_test(test_metrics_become_series),
        cmocka_unit_test(test_metrics_while_memory_fails),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_what_is_to_be_sent_again),
        cmocka_unit_test(test_a_table_may_not_be_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
