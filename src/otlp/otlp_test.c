/*
 * otlp_test.c - Exports as messages and samples: what is kept is what came, byte for byte, what
 * cannot be kept is told, and no bytes do harm.
 */
#include "otlp/otlp.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "feeds/feed_test_sink.h"
#include "opentelemetry/proto/collector/logs/v1/logs_service.pb-c.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.pb-c.h"
#include "otlp/otlp_test_request.h"
#include "vv_test.h"

typedef Opentelemetry__Proto__Collector__Trace__V1__ExportTraceServiceRequest trace_request;
typedef Opentelemetry__Proto__Trace__V1__Span otlp_span;

static trace_request *unpack(vv_slice bytes)
{
    trace_request *r =
        opentelemetry__proto__collector__trace__v1__export_trace_service_request__unpack(
            NULL, bytes.len, bytes.data);
    assert_non_null(r);
    return r;
}

static void free_request(trace_request *r)
{
    protobuf_c_message_free_unpacked(&r->base, NULL);
}

/* The attribute; fails the test when it is not there. */
static const vv_attribute *attribute(const vv_message *m, const char *name)
{
    for (size_t i = 0; i < m->attribute_count; i++)
        if (vv_slice_eq(m->attributes[i].name, vv_slice_str(name)))
            return &m->attributes[i];
    fail_msg("there is no attribute %s", name);
    return NULL;
}

static bool has(const vv_message *m, const char *name)
{
    for (size_t i = 0; i < m->attribute_count; i++)
        if (vv_slice_eq(m->attributes[i].name, vv_slice_str(name)))
            return true;
    return false;
}

static void expect_text(const vv_message *m, const char *name, const char *text)
{
    const vv_attribute *a = attribute(m, name);
    if (a->type != VV_ATTRIBUTE_STRING || !vv_slice_eq(a->bytes, vv_slice_str(text)))
        fail_msg("%s is '%.*s' instead of '%s'", name, (int)a->bytes.len,
                 (const char *)a->bytes.data, text);
}

static void expect_int(const vv_message *m, const char *name, int64_t value)
{
    const vv_attribute *a = attribute(m, name);
    assert_int_equal(a->type, VV_ATTRIBUTE_I64);
    assert_int_equal(a->i64, value);
}

typedef struct taken {
    vv_arena arena;
    vv_message *messages;
    size_t count;
    feed_result read;
    vv_error err;
} taken;

/* All messages of a request, in one piece. */
static void take_all(taken *t, otlp_signal signal, vv_slice request)
{
    otlp_summary sum;
    otlp_walk w;
    *t = (taken){.count = 0};
    vv_arena_init(&t->arena, 256u << 20);
    assert_ok(otlp_check(signal, request, &sum, &t->err), t->err);
    otlp_walk_begin(&w, signal, request, VV_STREAM_MESSAGE_MAX);
    assert_ok(otlp_walk_next(&w, &t->arena, sum.records + 1, SIZE_MAX, &t->messages, &t->count,
                             &t->read, &t->err),
              t->err);
    assert_int_equal(t->read.samples, t->count);
    assert_int_equal(t->read.samples + t->read.refused, sum.records);
}

/* ---- spans ---- */

static void test_spans_become_messages(void **state)
{
    (void)state;
    vv_buf b;
    taken t;
    vv_buf_init(&b, 1 << 20);
    otlp_test_spans(&b, 8, 3);
    take_all(&t, OTLP_TRACES, vv_buf_slice(&b));
    assert_int_equal(t.count, 3);
    const vv_message *m = &t.messages[1];
    expect_text(m, "trace_id", "abcd0000000000000000000000000003");
    expect_text(m, "span_id", "0000000000000013");
    expect_text(m, "parent_span_id", "0000000000000011");
    expect_text(m, "name", "GET /cart/:id");
    expect_text(m, "kind", "server");
    expect_text(m, "status", "ok");
    expect_text(m, "service.name", "shop");
    expect_text(m, "host.name", "node-3.example.org");
    expect_text(m, "url.path", "/cart/23984234");
    expect_int(m, "http.response.status_code", 200);
    expect_int(m, "duration_ns", 250000);
    expect_int(m, "process.pid", 4711);
    assert_int_equal(m->event_time_ns, OTLP_TEST_T0 + 9000);
    assert_true(vv_slice_eq(m->source, vv_slice_str("shop")));
    assert_non_null(strstr((const char *)m->content_type.data, "TracesData"));
    trace_request *r = unpack(m->value);
    assert_int_equal(r->n_resource_spans, 1);
    assert_int_equal(r->resource_spans[0]->resource->n_attributes, 5);
    assert_int_equal(r->resource_spans[0]->n_scope_spans, 1);
    assert_string_equal(r->resource_spans[0]->scope_spans[0]->scope->name, "shop.http");
    assert_string_equal(r->resource_spans[0]->scope_spans[0]->schema_url,
                        "https://opentelemetry.io/schemas/1.26.0");
    assert_int_equal(r->resource_spans[0]->scope_spans[0]->n_spans, 1);
    const otlp_span *s = r->resource_spans[0]->scope_spans[0]->spans[0];
    assert_int_equal(s->n_attributes, 6);
    assert_int_equal(s->start_time_unix_nano, OTLP_TEST_T0 + 9000);
    free_request(r);
    vv_arena_fini(&t.arena);
    vv_buf_fini(&b);
}

/* A span that has not ended, or ended before it began, or began at no time. */
static void test_a_span_without_an_end_has_no_duration(void **state)
{
    (void)state;
    static const uint64_t times[][2] = {
        {OTLP_TEST_T0, 0}, {OTLP_TEST_T0, OTLP_TEST_T0 - 1}, {0, OTLP_TEST_T0}};
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        vv_buf b;
        taken t;
        vv_buf_init(&b, 1u << 20);
        size_t group = wire_begin(&b, 1);
        size_t scope = wire_begin(&b, 2);
        size_t span = wire_begin(&b, 2);
        otlp_test_id(&b, 1, 1, 16);
        otlp_test_id(&b, 2, 1, 8);
        wire_put_fixed64(&b, 7, times[i][0]);
        wire_put_fixed64(&b, 8, times[i][1]);
        wire_end(&b, span);
        wire_end(&b, scope);
        wire_end(&b, group);
        take_all(&t, OTLP_TRACES, vv_buf_slice(&b));
        assert_int_equal(t.count, 1);
        assert_true(t.messages[0].attribute_count > 0);
        for (size_t k = 0; k < t.messages[0].attribute_count; k++)
            assert_false(
                vv_slice_eq(t.messages[0].attributes[k].name, vv_slice_str("duration_ns")));
        vv_arena_fini(&t.arena);
        vv_buf_fini(&b);
    }
}

/* Values one behind the other are a request: what was taken can be exported again. */
static void prop_values_joined_are_the_request(void **state)
{
    (void)state;
    vv_buf b;
    vv_buf joined;
    taken t;
    taken again;
    vv_buf_init(&b, 1 << 20);
    vv_buf_init(&joined, 1 << 20);
    otlp_test_spans(&b, 0, 40);
    otlp_test_spans(&b, 100, 2);
    take_all(&t, OTLP_TRACES, vv_buf_slice(&b));
    for (size_t i = 0; i < t.count; i++)
        vv_buf_append_slice(&joined, t.messages[i].value);
    take_all(&again, OTLP_TRACES, vv_buf_slice(&joined));
    assert_int_equal(again.count, 42);
    for (size_t i = 0; i < t.count; i++) {
        assert_true(vv_slice_eq(t.messages[i].value, again.messages[i].value));
        assert_int_equal(t.messages[i].attribute_count, again.messages[i].attribute_count);
    }
    trace_request *r = unpack(vv_buf_slice(&joined));
    assert_int_equal(r->n_resource_spans, 42);
    free_request(r);
    vv_arena_fini(&t.arena);
    vv_arena_fini(&again.arena);
    vv_buf_fini(&b);
    vv_buf_fini(&joined);
}

static void prop_pieces_are_the_whole(void **state)
{
    (void)state;
    static const size_t bounds[] = {1, 300, 700, 5000, 1u << 20};
    vv_buf b;
    taken t;
    vv_buf_init(&b, 1 << 20);
    otlp_test_spans(&b, 0, 30);
    otlp_test_spans(&b, 100, 1);
    take_all(&t, OTLP_TRACES, vv_buf_slice(&b));
    for (size_t k = 0; k < ARRAY_LEN(bounds); k++) {
        otlp_walk w;
        feed_result read = {0};
        size_t n = 0;
        otlp_walk_begin(&w, OTLP_TRACES, vv_buf_slice(&b), VV_STREAM_MESSAGE_MAX);
        for (size_t count = 1; count > 0;) {
            vv_arena arena;
            vv_message *m = NULL;
            size_t bytes = 0;
            vv_arena_init(&arena, 1u << 20);
            assert_ok(otlp_walk_next(&w, &arena, 7, bounds[k], &m, &count, &read, &t.err), t.err);
            for (size_t i = 0; i < count; i++, n++) {
                bytes += m[i].value.len;
                assert_true(vv_slice_eq(m[i].value, t.messages[n].value));
            }
            assert_true(count <= 1 || bytes <= bounds[k]);
            vv_arena_fini(&arena);
        }
        assert_int_equal(n, 31);
        assert_int_equal(read.samples, 31);
    }
    vv_arena_fini(&t.arena);
    vv_buf_fini(&b);
}

/* A span whose fields `number` are replaced by len bytes. */
static void put_bad_span(vv_buf *b, size_t trace_len, size_t span_len, uint64_t start)
{
    static const uint8_t id[32] = {1};
    size_t mark = wire_begin(b, 2);
    wire_put_bytes(b, 1, vv_slice_of(id, trace_len));
    wire_put_bytes(b, 2, vv_slice_of(id, span_len));
    wire_put_string(b, 5, vv_slice_str("bad"));
    wire_put_fixed64(b, 7, start);
    wire_end(b, mark);
}

static void test_what_cannot_be_kept_is_told(void **state)
{
    (void)state;
    static const struct {
        size_t trace_len, span_len;
        uint64_t start;
        const char *why;
    } cases[] = {{16, 8, 1, NULL},           {0, 8, 1, "trace_id"}, {15, 8, 1, "trace_id"},
                 {17, 8, 1, "trace_id"},     {16, 0, 1, "span_id"}, {16, 16, 1, "span_id"},
                 {16, 8, UINT64_MAX, "2262"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_buf b;
        taken t;
        vv_buf_init(&b, 65536);
        size_t group = wire_begin(&b, 1);
        size_t scope = wire_begin(&b, 2);
        put_bad_span(&b, cases[i].trace_len, cases[i].span_len, cases[i].start);
        otlp_test_span(&b, 5);
        wire_end(&b, scope);
        wire_end(&b, group);
        take_all(&t, OTLP_TRACES, vv_buf_slice(&b));
        assert_int_equal(t.read.refused, cases[i].why != NULL);
        assert_int_equal(t.count, cases[i].why == NULL ? 2 : 1);
        if (cases[i].why != NULL && strstr(t.read.first_refusal, cases[i].why) == NULL)
            fail_msg("%s: %s", cases[i].why, t.read.first_refusal);
        vv_arena_fini(&t.arena);
        vv_buf_fini(&b);
    }
}

/* The table's own limit costs the one that is over it. */
static void test_a_large_span_costs_itself(void **state)
{
    (void)state;
    vv_buf b;
    taken t = {.count = 0};
    otlp_walk w;
    char text[1000] = {0};
    memset(text, 'x', sizeof text - 1);
    vv_buf_init(&b, 65536);
    size_t group = wire_begin(&b, 1);
    size_t scope = wire_begin(&b, 2);
    otlp_test_span(&b, 1);
    size_t span = wire_begin(&b, 2);
    otlp_test_id(&b, 1, 1, 16);
    otlp_test_id(&b, 2, 1, 8);
    wire_put_string(&b, 5, vv_slice_str("large"));
    otlp_test_text(&b, 9, "text", text);
    wire_end(&b, span);
    otlp_test_span(&b, 2);
    wire_end(&b, scope);
    wire_end(&b, group);
    vv_arena_init(&t.arena, 1u << 20);
    otlp_walk_begin(&w, OTLP_TRACES, vv_buf_slice(&b), 1500);
    assert_ok(otlp_walk_next(&w, &t.arena, 9, SIZE_MAX, &t.messages, &t.count, &t.read, &t.err),
              t.err);
    assert_int_equal(t.count, 2);
    assert_int_equal(t.read.refused, 1);
    assert_non_null(strstr(t.read.first_refusal, "span 'large': it takes"));
    vv_arena_fini(&t.arena);
    vv_buf_fini(&b);
}

static void test_attributes_are_bounded(void **state)
{
    (void)state;
    vv_buf b;
    taken t;
    char name[32];
    char *longest = calloc(1, 4000);
    assert_non_null(longest);
    memset(longest, 'x', 3999);
    vv_buf_init(&b, 1 << 20);
    size_t group = wire_begin(&b, 1);
    otlp_test_resource(&b, "shop");
    size_t scope = wire_begin(&b, 2);
    size_t mark = wire_begin(&b, 2);
    otlp_test_id(&b, 1, 1, 16);
    otlp_test_id(&b, 2, 1, 8);
    otlp_test_text(&b, 9, "too long", longest);
    otlp_test_text(&b, 9, "", "no name");
    otlp_test_text(&b, 9, "name", "not the span's");
    otlp_test_text(&b, 9, "service.name", "not the resource's");
    for (int i = 0; i < 200; i++) {
        (void)snprintf(name, sizeof name, "a%d", i);
        otlp_test_int(&b, 9, name, i);
    }
    wire_end(&b, mark);
    wire_end(&b, scope);
    wire_end(&b, group);
    take_all(&t, OTLP_TRACES, vv_buf_slice(&b));
    assert_int_equal(t.count, 1);
    const vv_message *m = &t.messages[0];
    assert_int_equal(m->attribute_count, OTLP_ATTRIBUTES_MAX);
    assert_false(has(m, "too long"));
    assert_false(has(m, ""));
    expect_text(m, "service.name", "shop");
    expect_text(m, "trace_id", "abcd0000000000000000000000000003");
    expect_int(m, "a0", 0);
    for (size_t i = 0; i < m->attribute_count; i++)
        for (size_t k = 0; k < i; k++)
            assert_false(vv_slice_eq(m->attributes[i].name, m->attributes[k].name));
    assert_true(m->value.len > 4000); /* which has them all */
    vv_arena_fini(&t.arena);
    vv_buf_fini(&b);
    free(longest);
}

/* ---- logs ---- */

static void test_log_records_become_messages(void **state)
{
    (void)state;
    vv_buf b;
    taken t;
    vv_buf_init(&b, 65536);
    otlp_test_logs(&b, 3, 2);
    take_all(&t, OTLP_LOGS, vv_buf_slice(&b));
    assert_int_equal(t.count, 2);
    const vv_message *m = &t.messages[0];
    expect_text(m, "severity", "ERROR");
    expect_int(m, "severity_number", 17);
    expect_text(m, "body", "the cart is empty");
    expect_int(m, "line", 3);
    expect_text(m, "trace_id", "abcd0000000000000000000000000007");
    expect_text(m, "service.name", "shop");
    assert_int_equal(attribute(m, "observed_time")->type, VV_ATTRIBUTE_TIME);
    assert_int_equal(attribute(m, "observed_time")->i64, OTLP_TEST_T0 + 8);
    assert_int_equal(m->event_time_ns, OTLP_TEST_T0 + 3);
    Opentelemetry__Proto__Collector__Logs__V1__ExportLogsServiceRequest *r =
        opentelemetry__proto__collector__logs__v1__export_logs_service_request__unpack(
            NULL, m->value.len, m->value.data);
    assert_non_null(r);
    assert_int_equal(r->resource_logs[0]->scope_logs[0]->n_log_records, 1);
    assert_string_equal(r->resource_logs[0]->scope_logs[0]->log_records[0]->body->string_value,
                        "the cart is empty");
    protobuf_c_message_free_unpacked(&r->base, NULL);
    vv_arena_fini(&t.arena);
    vv_buf_fini(&b);
}

/* ---- hostile bytes ---- */

static void put_nested(vv_buf *b, unsigned depth)
{
    size_t any = wire_begin(b, depth == 0 ? 2 : 1);
    if (depth < 2 * OTLP_DEPTH_MAX) {
        size_t list = wire_begin(b, 5);
        put_nested(b, depth + 1);
        wire_end(b, list);
    }
    wire_end(b, any);
}

static void test_deep_values_are_refused(void **state)
{
    (void)state;
    vv_buf b;
    otlp_summary sum;
    vv_error err = {0};
    vv_buf_init(&b, 65536);
    size_t group = wire_begin(&b, 1);
    size_t resource = wire_begin(&b, 1);
    size_t kv = wire_begin(&b, 1);
    put_nested(&b, 0);
    wire_end(&b, kv);
    wire_end(&b, resource);
    wire_end(&b, group);
    for (int s = 0; s < OTLP_SIGNALS; s++) {
        assert_status(VV_INVALID, otlp_check((otlp_signal)s, vv_buf_slice(&b), &sum, &err));
        assert_non_null(strstr(err.msg, "nest deeper"));
    }
    vv_buf_fini(&b);
}

/* A large resource and many small spans: a few bytes that would become many. */
static void test_growth_is_bounded(void **state)
{
    (void)state;
    vv_buf b;
    otlp_summary sum;
    vv_error err = {0};
    char *text = calloc(1, 65536);
    assert_non_null(text);
    memset(text, 'x', 65535);
    vv_buf_init(&b, 4 << 20);
    size_t group = wire_begin(&b, 1);
    size_t resource = wire_begin(&b, 1);
    otlp_test_text(&b, 1, "x", text);
    wire_end(&b, resource);
    size_t scope = wire_begin(&b, 2);
    for (int i = 0; i < 5000; i++)
        put_bad_span(&b, 16, 8, 1);
    wire_end(&b, scope);
    wire_end(&b, group);
    assert_status(VV_INVALID, otlp_check(OTLP_TRACES, vv_buf_slice(&b), &sum, &err));
    assert_non_null(strstr(err.msg, "send fewer at a time"));
    vv_buf_fini(&b);
    free(text);
}

static void take_hostile(otlp_signal signal, vv_slice bytes)
{
    otlp_summary sum;
    if (otlp_check(signal, bytes, &sum, NULL) != VV_OK)
        return;
    if (signal == OTLP_METRICS) {
        feed_test_sink *t = feed_test_sink_create();
        feed_result r;
        t->is_quiet = true;
        assert_status(VV_OK, otlp_metrics_decode(bytes, &t->sink, &r, NULL));
        feed_test_sink_destroy(t);
        return;
    }
    taken t;
    take_all(&t, signal, bytes);
    vv_arena_fini(&t.arena);
}

static void prop_no_bytes_do_harm(void **state)
{
    (void)state;
    vv_buf b[OTLP_SIGNALS];
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(77));
    for (int s = 0; s < OTLP_SIGNALS; s++)
        vv_buf_init(&b[s], 65536);
    otlp_test_spans(&b[OTLP_TRACES], 0, 3);
    otlp_test_logs(&b[OTLP_LOGS], 0, 3);
    otlp_test_metrics(&b[OTLP_METRICS], 5000);
    otlp_test_put_metric(&b[OTLP_METRICS], 9, "h", otlp_test_put_histogram);
    otlp_test_put_metric(&b[OTLP_METRICS], 11, "s", otlp_test_put_summary);
    otlp_test_put_metric(&b[OTLP_METRICS], 10, "e", otlp_test_put_exponential);
    for (int s = 0; s < OTLP_SIGNALS; s++)
        for (int as = 0; as < OTLP_SIGNALS; as++)
            for (size_t len = 0; len <= b[s].len; len++)
                take_hostile((otlp_signal)as, vv_slice_of(b[s].data, len));
    for (int i = 0; i < 20000; i++) {
        const size_t s = (size_t)vv_rng_below(&rng, OTLP_SIGNALS);
        uint8_t *at = &b[s].data[vv_rng_below(&rng, b[s].len)];
        const uint8_t was = *at;
        *at = (uint8_t)vv_rng_below(&rng, 256);
        take_hostile((otlp_signal)s, vv_buf_slice(&b[s]));
        *at = was;
    }
    for (int s = 0; s < OTLP_SIGNALS; s++)
        vv_buf_fini(&b[s]);
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    vv_buf b;
    vv_buf m;
    vv_buf_init(&b, 65536);
    vv_buf_init(&m, 65536);
    otlp_test_spans(&b, 0, 50);
    otlp_test_metrics(&m, 5000);
    bool failed = true;
    for (int n = 0; failed; n++) {
        otlp_walk w;
        vv_arena arena;
        vv_message *messages = NULL;
        size_t count = 0;
        feed_result read = {0};
        vv_error err = {0};
        feed_test_sink *t = feed_test_sink_create();
        t->is_quiet = true;
        vv_arena_init(&arena, 1u << 20);
        otlp_walk_begin(&w, OTLP_TRACES, vv_buf_slice(&b), VV_STREAM_MESSAGE_MAX);
        vv_alloc_fail_after(n, 1);
        vv_status st = otlp_walk_next(&w, &arena, 50, SIZE_MAX, &messages, &count, &read, &err);
        if (st == VV_OK)
            st = otlp_metrics_decode(vv_buf_slice(&m), &t->sink, &read, &err);
        vv_alloc_fail_after(-1, 0);
        failed = st != VV_OK;
        if (failed)
            assert_int_equal(st, VV_NO_MEMORY);
        vv_arena_fini(&arena);
        feed_test_sink_destroy(t);
        assert_true(n < 100);
    }
    vv_buf_fini(&b);
    vv_buf_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spans_become_messages),
        cmocka_unit_test(test_a_span_without_an_end_has_no_duration),
        cmocka_unit_test(prop_values_joined_are_the_request),
        cmocka_unit_test(prop_pieces_are_the_whole),
        cmocka_unit_test(test_what_cannot_be_kept_is_told),
        cmocka_unit_test(test_a_large_span_costs_itself),
        cmocka_unit_test(test_attributes_are_bounded),
        cmocka_unit_test(test_log_records_become_messages),
        cmocka_unit_test(test_deep_values_are_refused),
        cmocka_unit_test(test_growth_is_bounded),
        cmocka_unit_test(prop_no_bytes_do_harm),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
