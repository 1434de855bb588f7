/*
 * svc_http_series_test.c - series over HTTP: parameters, every format, sensors, and answers that
 * are longer than a client wants at once.
 */
#include "server/svc_http_series.h"

#include <math.h>
#include <unistd.h>

#include "server/svc_suite_http.h"

#define S VV_NS_PER_S
#define T0 (INT64_C(1700000000) * S)

static const vv_slice no_body;

static void expect(svc_suite *s, const char *path, int status, const char *words)
{
    svc_suite_expect_http(s, "GET", path, no_body, status, words);
}

static void put_samples(svc_suite *s, const char *table, const char *name, const char *sensor,
                        int count)
{
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    vv_table *t = NULL;
    opt.kind = VV_TABLE_SERIES;
    opt.if_not_exists = true;
    assert_ok(vv_table_create(s->n.db, "default", table, &opt, &t, &s->err), s->err);
    vv_samples *samples = vv_samples_create(t);
    assert_non_null(samples);
    const vv_label labels[] = {{vv_slice_str("__name__"), vv_slice_str(name)},
                               {vv_slice_str("sensor"), vv_slice_str(sensor)}};
    assert_ok(vv_samples_series(samples, labels, 2, VV_F64, &s->err), s->err);
    for (int i = 0; i < count; i++) {
        int64_t time_ns = T0 + i * S + (i == 1 ? 500 : 0);
        double value = i + 0.5;
        uint32_t quality = i == 2 ? VV_QUALITY_BAD : VV_QUALITY_GOOD;
        assert_ok(vv_samples_f64(samples, &time_ns, &value, &quality, 1, &s->err), s->err);
    }
    assert_ok(vv_series_append(samples, VV_DURABLE_SYNC, NULL, &s->err), s->err);
    vv_samples_destroy(samples);
    vv_table_close(t);
}

static void test_numbers(void **state)
{
    (void)state;
    const struct {
        double value;
        const char *want;
    } cases[] = {{0, "0"},
                 {-0.0, "-0"},
                 {1, "1"},
                 {-2.5, "-2.5"},
                 {0.001, "0.001"},
                 {123456.789, "123456.789"},
                 {1e12, "1000000000000"},
                 {0.1 + 0.2, "0.30000000000000004"},
                 {NAN, "\"NaN\""},
                 {-INFINITY, "\"-Infinity\""}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_buf out;
        vv_buf_init(&out, 64);
        svc_put_f64(&out, cases[i].value, true);
        vv_buf_append_u8(&out, 0);
        assert_string_equal((const char *)out.data, cases[i].want);
        vv_buf_fini(&out);
    }
    const struct {
        int64_t ns;
        const char *want;
    } times[] = {{0, "0"},
                 {1500, "0.0015"},
                 {-1, "-0.000001"},
                 {T0, "1700000000000"},
                 {INT64_MIN, "-9223372036854.775808"}};
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        vv_buf out;
        vv_buf_init(&out, 64);
        svc_put_ms(&out, times[i].ns);
        vv_buf_append_u8(&out, 0);
        assert_string_equal((const char *)out.data, times[i].want);
        vv_buf_fini(&out);
    }
}

#define QUERY "/api/v1/series/query?table=plant&match=temp"
#define RANGE "&start=1700000000&end=1700000004"

static void test_query_in_each_format(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    put_samples(&s, "plant", "temp", "a", 60);
    put_samples(&s, "plant", "temp", "b", 60);
    expect(&s, QUERY RANGE, 200,
           "{\"series\":[{\"labels\":{\"__name__\":\"temp\",\"sensor\":\"a\"},\"points\":["
           "[1700000000000,0.5],[1700000001000.0005,1.5],[1700000003000,3.5]]},{\"labels\":");
    expect(&s, QUERY RANGE "&all_quality=true&format=csv", 200,
           "series,timestamp_ms,value,quality\n"
           "\"temp{sensor=\"\"a\"\"}\",1700000000000,0.5,0\n"
           "\"temp{sensor=\"\"a\"\"}\",1700000001000.0005,1.5,0\n"
           "\"temp{sensor=\"\"a\"\"}\",1700000002000,2.5,2147483648\n");
    expect(&s, QUERY "%7Bsensor=%22b%22%7D" RANGE "&format=jsonl", 200,
           "{\"labels\":{\"__name__\":\"temp\",\"sensor\":\"b\"},\"timestamps_ms\":[1700000000000,"
           "1700000001000.0005,1700000003000],\"values\":[0.5,1.5,3.5]}\n");
    expect(&s, QUERY RANGE "&format=arrow", 200, "application/vnd.apache.arrow.stream");
    expect(&s,
           QUERY "&start=2023-11-14T22:13:20Z&end=1700000060000ms&step=30s&aggregate=count"
                 "&group_by=__name__&across=sum",
           200,
           "[{\"labels\":{\"__name__\":\"temp\"},\"points\":[[1699999980000,18],[1700000010000,60],"
           "[1700000040000,40]]}]");
    expect(&s, QUERY RANGE "&step=1&aggregate=max&fill=null", 200, "[1700000002000,null]");
    expect(&s, QUERY "&start=1700000000&end=1700000060&points=10&all_quality=1", 200, "points");
    expect(&s, QUERY "&start=0&end=5", 200, "{\"series\":[]}");
    expect(&s, QUERY, 200, "{\"series\":[]}"); /* the last hour */
    svc_suite_expect_http(&s, "POST", "/api/v1/series/query",
                          vv_slice_str("table=plant&match=temp" RANGE), 200, "[1700000000000,0.5]");
    svc_suite_stop(&s);
}

static void test_lists(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    put_samples(&s, "plant", "temp", "a", 3);
    put_samples(&s, "plant", "load", "b", 2);
    expect(&s, "/api/v1/series/latest?table=plant", 200,
           "{\"series\":[{\"labels\":{\"__name__\":\"load\",\"sensor\":\"b\"},\"points\":"
           "[[1700000001000.0005,1.5]]},{\"labels\":{\"__name__\":\"temp\",\"sensor\":\"a\"},"
           "\"points\":[[1700000002000,2.5,2147483648]]}]}");
    expect(&s, "/api/v1/series/latest?table=plant&match=temp&format=csv", 200, ",2.5,2147483648\n");
    expect(&s, "/api/v1/series/list?table=plant&match=temp", 200, "\"type\":\"f64\",\"labels\":{");
    expect(&s, "/api/v1/series/labels?table=plant", 200, "{\"labels\":[\"__name__\",\"sensor\"]}");
    expect(&s, "/api/v1/series/labels/sensor/values?table=plant", 200,
           "{\"values\":[\"a\",\"b\"]}");
    expect(&s, "/api/v1/series/labels/sensor/values?table=plant&limit=1", 200,
           "{\"values\":[\"a\"]}");
    svc_suite_expect_http(&s, "DELETE",
                          "/api/v1/series?table=plant&match=temp&start=1700000002&end=1700000003",
                          no_body, 200, "{\"series\":1}");
    expect(&s, "/api/v1/series/latest?table=plant&match=temp", 200, "[1700000001000.0005,1.5]");
    svc_suite_expect_http(&s, "DELETE", "/api/v1/series?table=plant&match=temp&drop=true", no_body,
                          200, "{\"series\":1}");
    expect(&s, "/api/v1/series/list?table=plant&match=temp", 200, "{\"series\":[]}");
    svc_suite_stop(&s);
}

static void test_refusals(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    put_samples(&s, "plant", "temp", "a", 3);
    assert_ok(vv_table_create(s.n.db, "default", "keys", NULL, NULL, &s.err), s.err);
    const struct {
        const char *path;
        int status;
        const char *words;
    } rows[] = {
        {"/api/v1/series/query?table=plant", 400, "match is missing"},
        {QUERY "&format=xml", 400, "json, csv, jsonl or arrow"},
        {QUERY "&start=soon", 400, "parameter start: 'soon'"},
        {QUERY "&step=-1", 400, "step"},
        {QUERY "&aggregate=median", 400, "one of: none count sum"},
        {QUERY "&percentile=x", 400, "percentile"},
        {QUERY "&reduce=lttb", 400, "1 or more"},
        {QUERY "&group_by=,", 400, "group_by"},
        {QUERY "&points=99999999999", 400, "points"},
        {"/api/v1/series/query?table=nowhere&match=temp", 404, "nowhere"},
        {"/api/v1/series/query?table=keys&match=temp", 400, "holds no series"},
        {"/api/v1/series/query?table=plant&match=rate(temp[5m])", 400, "selector"},
        {"/api/v1/series/labels/sensor", 404, "NAME/values"},
        {"/api/v1/export", 400, "sensor is missing"},
        {"/api/v1/query?sensor=a&start=x", 400, "start"},
        {"/api/v1/query?sensor=nobody", 404, "sensors"},
        {QUERY "&aggregate=percentile&step=1", 400, "percentile=P"},
        {QUERY "&stat=1", 400, "stat: there is no such parameter here; did you mean start=...?"},
        {QUERY "&start=1&end=2&start=3", 400, "start is given twice"},
        {QUERY "&limit=5", 400, "limit: there is no such parameter"},
        {"/api/v1/series/list?tabel=plant", 400, "did you mean table"},
        {"/api/v1/series/latest?table=plant&start=1", 400, "start: there is no such parameter"},
        {"/api/v1/query?sensor=a&maxpoints=3", 400, "did you mean max_points"},
        {"/api/v1/query?sensor=a&sensor=b", 400, "sensor is given twice"},
        {"/api/v1/query?sensor=a&table=plant", 400, "table: there is no such parameter"},
        {"/api/v1/export?sensor=a&max_points=3", 400, "max_points: there is no such parameter"},
        {"/api/v1/query?sensor=a&step=1h&points=3", 400, "exclude each other"},
        {"/api/v1/query?sensor=a&aggregate=max", 400, "aggregate needs windows"},
        {"/api/v1/query?sensor=a&aggregate=percentile&step=1h", 400,
         "series/query has percentiles"},
        {"/api/v1/query?sensor=a&step=0", 400, "above 0"},
        {"/api/v1/query?sensor=a&points=0", 400, "1 or more"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect(&s, rows[i].path, rows[i].status, rows[i].words);
    svc_suite_expect_http(&s, "DELETE", "/api/v1/series?table=plant&match=temp", no_body, 400,
                          "start and end");
    svc_suite_expect_http(&s, "DELETE", "/api/v1/series?table=plant&drop=1", no_body, 400,
                          "at least one matcher");
    svc_suite_stop(&s);
}

static void test_sensors(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    put_samples(&s, "sensors", "sensor", "s1", 2000);
    put_samples(&s, "sensors", "another", "s1", 5);
    expect(&s, "/api/v1/query?sensor=s1&start=1700000000000&end=1700000003000", 200,
           "{\"sensor_id\":\"s1\",\"samples\":[{\"timestamp_ms\":1700000000000,\"value\":0.5,"
           "\"quality\":1},{\"timestamp_ms\":1700000001000.0005,\"value\":1.5,\"quality\":1},"
           "{\"timestamp_ms\":1700000002000,\"value\":2.5,\"quality\":0}]}");
    expect(&s, "/api/v1/export?sensor=s1&start=1700000000000&end=1700000003000&format=csv", 200,
           "timestamp_ms,value,quality\n1700000000000,0.5,1\n1700000001000.0005,1.5,1\n"
           "1700000002000,2.5,0\n");
    expect(&s, "/api/v1/export?sensor=s1&start=1700000000000&end=1700000001000&format=jsonl", 200,
           "{\"timestamp_ms\":1700000000000,\"value\":0.5,\"quality\":1}\n");
    expect(&s, "/api/v1/export?sensor=s1&start=5&end=6&format=csv", 200,
           "timestamp_ms,value,quality\n");
    expect(&s, "/api/v1/query?sensor=s2", 404, "sensor 's2' is not known");
    /* Windows of good samples: the one at 2 s is bad. */
    expect(&s, "/api/v1/query?sensor=s1&start=1700000000000&end=1700000010000&step=5&aggregate=max",
           200,
           "[{\"timestamp_ms\":1700000000000,\"value\":4.5,\"quality\":1},"
           "{\"timestamp_ms\":1700000005000,\"value\":9.5,\"quality\":1}]");
    expect(&s, "/api/v1/query?sensor=s1&start=1700000000000&end=1700000010000&points=2", 200,
           "[{\"timestamp_ms\":1700000000000,\"value\":2.5,\"quality\":1},"
           "{\"timestamp_ms\":1700000005000,\"value\":7.5,\"quality\":1}]");
    expect(&s, "/api/v1/query?sensor=s1&start=1700000000000&end=1700000002000&step=1h&format=arrow",
           200, "application/vnd.apache.arrow.stream");
    svc_suite_answer a;
    size_t count = 0;
    svc_suite_ask(&s, "GET",
                  "/api/v1/query?sensor=s1&start=1700000000000&end=1700009999000&max_points=100",
                  no_body, &a);
    for (const char *at = (const char *)a.all.data; (at = strstr(at, "timestamp_ms")) != NULL; at++)
        count++;
    assert_int_equal(count, 100);
    svc_suite_done(&a);
    svc_suite_stop(&s);
}

/* An answer of many pieces: whole with chunks and, for who speaks HTTP/1.0, without; a client that
 * goes away or never reads costs nothing but its queue. */
static void test_long_answers(void **state)
{
    (void)state;
    enum { N = 100000 };
    static const char ask[] = "GET /api/v1/export?sensor=s1&start=0&end=1800000000000&format=csv ";
    svc_suite s;
    svc_suite_start(&s, NULL);
    put_samples(&s, "sensors", "sensor", "s1", N);
    svc_suite_answer a;
    svc_suite_ask(&s, "GET", "/api/v1/export?sensor=s1&start=0&end=1800000000000&format=csv",
                  no_body, &a);
    assert_non_null(strstr(a.head, "Transfer-Encoding: chunked"));
    assert_int_equal(memcmp(a.all.data + a.all.len - 1 - 5, "0\r\n\r\n", 5), 0);
    svc_suite_done(&a);
    for (int round = 0; round < 2; round++) {
        char text[256];
        uint8_t in[65536];
        int fd = svc_suite_dial(&s);
        (void)snprintf(text, sizeof text, "%sHTTP/1.%d\r\nHost: x\r\n\r\n", ask, round);
        svc_suite_send(fd, vv_slice_str(text));
        size_t lines = 0;
        ssize_t n;
        for (size_t got = 0; (n = svc_suite_recv(fd, in, sizeof in)) > 0; got += (size_t)n) {
            for (ssize_t i = 0; i < n; i++)
                lines += in[i] == '\n';
            if (round == 1 && got > 1000)
                break; /* and leaves */
        }
        (void)close(fd);
        assert_true(round == 1 || lines >= N);
    }
    svc_suite_expect_http(&s, "HEAD", "/api/v1/export?sensor=s1&start=0&end=1800000000000", no_body,
                          200, NULL);
    svc_suite_stop(&s);
}

/* Of any type, exactly; what cannot be thinned out is exported all the same. */
static void test_sensors_of_other_types(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    svc_suite_expect_http(&s, "POST", "/write?db=sensors&precision=s",
                          vv_slice_str("m,sensor=whole v=9007199254740993i 1700000000\n"
                                       "m,sensor=text v=\"on, \\\"high\\\"\" 1700000000\n"
                                       "m,sensor=switch v=true 1700000000\n"),
                          204, NULL);
#define EXPORT "/api/v1/export?start=1700000000000&end=1700000001000&sensor="
    expect(&s, EXPORT "whole&format=csv", 200, "\n1700000000000,9007199254740993,1\n");
    expect(&s, EXPORT "text&format=csv", 200, "\n1700000000000,\"on, \"\"high\"\"\",1\n");
    expect(&s, EXPORT "text&format=json", 200, "\"value\":\"on, \\\"high\\\"\"");
    expect(&s, EXPORT "text&format=arrow", 200, "application/vnd.apache.arrow.stream");
    expect(&s, EXPORT "switch&format=jsonl", 200, "\"value\":true");
    expect(&s, "/api/v1/query?sensor=text", 400, "has texts, no numbers: export them");
    expect(&s, "/api/v1/query?sensor=text&points=3", 400, "has texts, no numbers: export them");
    expect(&s, "/api/v1/query?start=1700000000000&end=1700000001000&sensor=whole&format=arrow", 200,
           "application/vnd.apache.arrow.stream"); /* points are numbers of float64 */
#undef EXPORT
    svc_suite_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sensors_of_other_types),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_query_in_each_format),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_sensors),
        cmocka_unit_test(test_long_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
