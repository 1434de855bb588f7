/*
 * svc_historian_test.c - historian.v1.HistorianQuery and its form over HTTP, over a whole node:
 * requests packed by protobuf-c, and the named faults of the historian that came before as a client
 * of it would see them.
 */
#include <string.h>

#include "historian/v1/historian.pb-c.h"
#include "series/points.h"
#include "server/svc_suite_http.h"

#define T0_MS INT64_C(1700000000000)
#define SAMPLES 10000u

/* What an answer had. */
typedef struct seen {
    vv_status status;
    size_t count;
    int64_t time_ms[SAMPLES];
    double value[SAMPLES];
    int quality[SAMPLES];
} seen;

/* Of every ten samples the fourth is bad. */
static bool is_bad(int64_t time_ms)
{
    return time_ms / 1000 % 10 == 3;
}

/* A walk that a maximum of buckets and LTTB see differently. */
static double value_of(size_t i)
{
    return (double)(i * 7919 % 1000) - (double)(i % 3) * 400;
}

/* A sensor's samples, a second apart from `from_ms` on, straight into the store. */
static void put_sensor(svc_suite *s, const char *id, int64_t from_ms, size_t count)
{
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    vv_table *t = NULL;
    opt.kind = VV_TABLE_SERIES;
    opt.if_not_exists = true;
    assert_ok(vv_table_create(s->n.db, "default", "sensors", &opt, &t, &s->err), s->err);
    vv_samples *samples = vv_samples_create(t);
    assert_non_null(samples);
    const vv_label labels[] = {{vv_slice_str("__name__"), vv_slice_str("sensor")},
                               {vv_slice_str("sensor"), vv_slice_str(id)}};
    assert_ok(vv_samples_series(samples, labels, 2, VV_F64, &s->err), s->err);
    for (size_t i = 0; i < count; i++) {
        const int64_t ms = from_ms + (int64_t)i * 1000;
        const int64_t ns = ms * VV_NS_PER_MS;
        const double value = value_of(i);
        const uint32_t quality = is_bad(ms) ? VV_QUALITY_BAD : VV_QUALITY_GOOD;
        assert_ok(vv_samples_f64(samples, &ns, &value, &quality, 1, &s->err), s->err);
    }
    assert_ok(vv_series_append(samples, VV_DURABLE_SYNC, NULL, &s->err), s->err);
    vv_samples_destroy(samples);
    vv_table_close(t);
}

static void query(svc_suite *s, const char *id, int64_t start, int64_t end, int32_t points,
                  seen *out)
{
    uint8_t bytes[512];
    cli_stream *stream = NULL;
    Historian__V1__QueryRequest q = HISTORIAN__V1__QUERY_REQUEST__INIT;
    q.sensor_id = (char *)(uintptr_t)id;
    q.start_ts = start;
    q.end_ts = end;
    q.max_points = points;
    size_t len = historian__v1__query_request__pack(&q, bytes);
    assert_ok(cli_stream_open(s->conn, "/historian.v1.HistorianQuery/Query", SUITE_TIMEOUT_NS,
                              &stream, &s->err),
              s->err);
    assert_ok(cli_stream_send(stream, vv_slice_of(bytes, len), &s->err), s->err);
    cli_stream_half_close(stream);
    out->count = 0;
    while ((out->status = cli_stream_receive(stream, true, &s->reply, &s->err)) == VV_OK) {
        Historian__V1__SensorData *d = svc_suite_reply(s, &historian__v1__sensor_data__descriptor);
        assert_string_equal(d->sensor_id, id);
        assert_true(out->count < SAMPLES);
        out->time_ms[out->count] = d->timestamp_ms;
        out->value[out->count] = d->value;
        out->quality[out->count++] = d->quality;
        protobuf_c_message_free_unpacked(&d->base, NULL);
    }
    if (out->status == VV_NOT_FOUND && cli_stream_result(stream)->code == 0)
        out->status = VV_OK; /* the end */
    cli_stream_close(stream);
}

static void expect_count(svc_suite *s, const char *id, int64_t start, int64_t end, int32_t points,
                         size_t count)
{
    static seen got;
    query(s, id, start, end, points, &got);
    assert_int_equal(got.status, VV_OK);
    assert_int_equal(got.count, count);
    for (size_t i = 0; i < count; i++) {
        assert_true(got.time_ms[i] >= start && got.time_ms[i] < end); /* half-open */
        assert_true(i == 0 || got.time_ms[i] > got.time_ms[i - 1]);
    }
}

static void expect_status(svc_suite *s, const char *id, int64_t start, int64_t end, int32_t points,
                          vv_status status)
{
    static seen got;
    query(s, id, start, end, points, &got);
    assert_int_equal(got.status, status);
    assert_int_equal(got.count, 0);
}

static void the_question_as_it_is_specified(void **state)
{
    svc_suite *s = *state;
    expect_status(s, "a", T0_MS, T0_MS + 1000, 0, VV_NOT_FOUND); /* no table yet */
    put_sensor(s, "a", T0_MS, SAMPLES);
    expect_count(s, "a", T0_MS, T0_MS + 500000, 0, 500);
    expect_count(s, "a", T0_MS + 1, T0_MS + 1000, 0, 0);
    expect_count(s, "a", T0_MS + 1000, T0_MS + 1001, 0, 1);
    expect_count(s, "a", T0_MS, T0_MS + 10000000, 0, 1000); /* by default */
    expect_count(s, "a", T0_MS, T0_MS + 1000000, 1000, 1000);
    const int32_t points[] = {1, 2, 3, 4, 77, 9999};
    for (size_t i = 0; i < ARRAY_LEN(points); i++)
        expect_count(s, "a", T0_MS, T0_MS + 10000000, points[i], (size_t)points[i]);
    expect_count(s, "a", T0_MS, T0_MS + 10000000, INT32_MAX, SAMPLES);
    expect_count(s, "a", INT64_MIN, INT64_MAX, 5, 5);
    expect_status(s, "b", T0_MS, T0_MS + 1000, 0, VV_NOT_FOUND);
    expect_status(s, "", T0_MS, T0_MS + 1000, 0, VV_INVALID);
    expect_status(s, "a", T0_MS, T0_MS + 1000, -1, VV_INVALID);
}

/* ---- the named faults of the historian that came before ---- */

static void fault_quality_is_kept(void **state)
{
    static seen got;
    svc_suite *s = *state;
    put_sensor(s, "a", T0_MS, 100);
    query(s, "a", T0_MS, T0_MS + 100000, 0, &got);
    assert_int_equal(got.count, 100);
    for (size_t i = 0; i < got.count; i++) {
        assert_int_equal(got.quality[i], is_bad(got.time_ms[i]) ? 0 : 1);
        assert_true(got.value[i] == value_of(i)); /* a bad sample keeps its value */
    }
    svc_suite_expect_http(
        s, "GET", "/api/v1/export?sensor=a&start=1700000002000&end=1700000004000&format=csv",
        (vv_slice){0}, 200,
        "timestamp_ms,value,quality\n1700000002000,38,1\n1700000003000,757,0\n");
}

static void fault_an_empty_range_is_an_empty_answer(void **state)
{
    svc_suite *s = *state;
    put_sensor(s, "a", T0_MS, 10);
    expect_count(s, "a", 0, 1000, 0, 0);
    expect_count(s, "a", T0_MS + 1000, T0_MS + 1000, 0, 0);
    expect_count(s, "a", T0_MS + 2000, T0_MS, 0, 0);
    svc_suite_expect_http(s, "GET", "/api/v1/query?sensor=a&start=0&end=1000", (vv_slice){0}, 200,
                          "{\"sensor_id\":\"a\",\"samples\":[]}");
    svc_suite_expect_http(s, "GET", "/api/v1/query?sensor=b&start=0&end=1000", (vv_slice){0}, 404,
                          "'b'");
}

static void fault_a_range_that_begins_inside_a_block(void **state)
{
    static seen got;
    svc_suite *s = *state;
    put_sensor(s, "a", T0_MS, 3000);
    for (int64_t from = 1; from < 3000; from += 271) {
        query(s, "a", T0_MS + from * 1000, T0_MS + from * 1000 + 3000, 0, &got);
        assert_int_equal(got.count, from + 3 <= 3000 ? 3 : 3000 - from);
        assert_int_equal(got.time_ms[0], T0_MS + from * 1000);
    }
}

static void fault_late_and_negative_times_come_in_order(void **state)
{
    static seen got;
    svc_suite *s = *state;
    put_sensor(s, "a", T0_MS, 10);
    put_sensor(s, "a", -5000, 10); /* from five seconds before 1970 on, and late */
    query(s, "a", -10000, T0_MS + 10000, 0, &got);
    assert_int_equal(got.count, 20);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(got.time_ms[i], -5000 + (int64_t)i * 1000);
        assert_int_equal(got.time_ms[10 + i], T0_MS + (int64_t)i * 1000);
    }
    svc_suite_expect_http(s, "GET", "/api/v1/export?sensor=a&start=-5000&end=-3000&format=csv",
                          (vv_slice){0}, 200,
                          "timestamp_ms,value,quality\n-5000,0,1\n-4000,519,1\n");
    svc_suite_expect_http(s, "GET", "/api/v1/query?sensor=a&start=-&end=1", (vv_slice){0}, 400,
                          "start");
}

/* Over gRPC and over HTTP the points are those that LTTB picks, not the largest of each bucket. */
static void fault_fewer_points_are_those_of_lttb(void **state)
{
    static seen got;
    static int64_t time[SAMPLES];
    static double value[SAMPLES];
    static uint32_t pick[SAMPLES];
    svc_suite *s = *state;
    svc_suite_answer a;
    put_sensor(s, "a", T0_MS, SAMPLES);
    for (size_t i = 0; i < SAMPLES; i++) {
        time[i] = (T0_MS + (int64_t)i * 1000) * VV_NS_PER_MS;
        value[i] = value_of(i);
    }
    assert_int_equal(series_pick_lttb(time, value, SAMPLES, 50, pick), 50);
    query(s, "a", T0_MS, T0_MS + 10000000, 50, &got);
    assert_int_equal(got.count, 50);
    svc_suite_ask(s, "GET",
                  "/api/v1/query?sensor=a&start=1700000000000&end=1700010000000&max_points=50",
                  (vv_slice){0}, &a);
    const char *at = (const char *)a.body.data;
    for (size_t i = 0; i < got.count; i++) {
        char text[64];
        assert_int_equal(got.time_ms[i], time[pick[i]] / VV_NS_PER_MS);
        assert_true(got.value[i] == value[pick[i]]);
        (void)snprintf(text, sizeof text, "\"timestamp_ms\":%lld,\"value\":%.17g,",
                       (long long)got.time_ms[i], got.value[i]);
        at = strstr(at, text);
        if (at == NULL)
            fail_msg("point %zu, %s is not in the answer over HTTP", i, text);
    }
    svc_suite_done(&a);
}

static int setup(void **state)
{
    svc_suite *s = calloc(1, sizeof *s);
    assert_non_null(s);
    svc_suite_start(s, NULL);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    svc_suite_stop(*state);
    free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(the_question_as_it_is_specified),
        T(fault_quality_is_kept),
        T(fault_an_empty_range_is_an_empty_answer),
        T(fault_a_range_that_begins_inside_a_block),
        T(fault_late_and_negative_times_come_in_order),
        T(fault_fewer_points_are_those_of_lttb),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
