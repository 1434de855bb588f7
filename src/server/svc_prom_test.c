/*
 * svc_prom_test.c - Prometheus' questions over HTTP to a series table, and how its numbers look.
 */
#include "server/svc_prom.h"

#include <float.h>
#include <math.h>

#include "server/svc_suite_http.h"

#define S VV_NS_PER_S
#define T0 (1700000000 * S)
#define API "/prometheus/api/v1/"

static const vv_slice no_body;

/* ---- text ---- */

static void test_values_as_go_writes_them(void **state)
{
    (void)state;
    const struct {
        double value;
        const char *want;
    } cases[] = {
        {0, "\"0\""},
        {-0.0, "\"-0\""},
        {1, "\"1\""},
        {-123456, "\"-123456\""},
        {0.1, "\"0.1\""},
        {1.0 / 3, "\"0.3333333333333333\""},
        {123.456, "\"123.456\""},
        {1e15, "\"1000000000000000\""},
        {123456789012345678.0, "\"123456789012345680\""},
        {1e20, "\"100000000000000000000\""},
        {1e21, "\"1e+21\""},
        {1.5e300, "\"1.5e+300\""},
        {1e-6, "\"0.000001\""},
        {9.5e-7, "\"9.5e-07\""},
        {5e-324, "\"5e-324\""},
        {DBL_MAX, "\"1.7976931348623157e+308\""},
        {NAN, "\"NaN\""},
        {INFINITY, "\"+Inf\""},
        {-INFINITY, "\"-Inf\""},
        {2.5, "\"2.5\""},
        {1234567.875, "\"1234567.875\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_buf out;
        vv_buf_init(&out, 64);
        prom_put_value(&out, cases[i].value);
        vv_buf_append_u8(&out, 0);
        assert_string_equal((const char *)out.data, cases[i].want);
        vv_buf_fini(&out);
    }
}

static void test_times(void **state)
{
    (void)state;
    const struct {
        int64_t ns;
        const char *want;
    } cases[] = {{0, "0"},
                 {1435781451781 * VV_NS_PER_MS, "1435781451.781"},
                 {1435781451 * S, "1435781451"},
                 {50 * VV_NS_PER_MS, "0.050"},
                 {-1500 * VV_NS_PER_MS, "-1.500"},
                 {-500 * VV_NS_PER_MS, "-0.500"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_buf out;
        vv_buf_init(&out, 64);
        prom_put_time(&out, cases[i].ns);
        vv_buf_append_u8(&out, 0);
        assert_string_equal((const char *)out.data, cases[i].want);
        vv_buf_fini(&out);
    }
}

/* ---- a node with samples ---- */

static void put(svc_suite *s, const char *host, const char *name, double first, double step)
{
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    vv_table *t = NULL;
    opt.kind = VV_TABLE_SERIES;
    opt.if_not_exists = true;
    assert_ok(vv_table_create(s->n.db, "default", "metrics", &opt, &t, &s->err), s->err);
    vv_samples *samples = vv_samples_create(t);
    assert_non_null(samples);
    const vv_label labels[] = {{vv_slice_str("__name__"), vv_slice_str(name)},
                               {vv_slice_str("host"), vv_slice_str(host)}};
    assert_ok(vv_samples_series(samples, labels, 2, VV_F64, &s->err), s->err);
    for (int i = 0; i < 61; i++) {
        int64_t time_ns = T0 + i * 10 * S;
        double value = first + i * step;
        assert_ok(vv_samples_f64(samples, &time_ns, &value, NULL, 1, &s->err), s->err);
    }
    assert_ok(vv_series_append(samples, VV_DURABLE_SYNC, NULL, &s->err), s->err);
    vv_samples_destroy(samples);
    vv_table_close(t);
}

static void start(svc_suite *s, bool with_samples)
{
    svc_suite_start(s, NULL);
    if (!with_samples)
        return;
    put(s, "a", "hits", 0, 10);
    put(s, "b", "hits", 100, 1);
    put(s, "a", "temp", 20.5, -0.25);
}

static void test_questions(void **state)
{
    (void)state;
    svc_suite s;
    start(&s, true);
    const struct {
        const char *verb;
        const char *path;
        const char *form;
        const char *want;
    } rows[] = {
        {"GET", "query?query=1%2B1&time=5", NULL,
         "{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[5,\"2\"]}}"},
        {"GET", "query?query=hits&time=1700000600", NULL,
         "{\"resultType\":\"vector\",\"result\":[{\"metric\":{\"__name__\":\"hits\",\"host\":\"a\"}"
         ","
         "\"value\":[1700000600,\"600\"]},{\"metric\":{\"__name__\":\"hits\",\"host\":\"b\"},"
         "\"value\":[1700000600,\"160\"]}]}"},
        {"GET", "query?query=sum+by+(host)+(rate(hits%5B1m%5D))&time=1700000600", NULL,
         "[{\"metric\":{\"host\":\"a\"},\"value\":[1700000600,\"1\"]},{\"metric\":{\"host\":\"b\"},"
         "\"value\":[1700000600,\"0.1\"]}]"},
        {"GET", "query?query=temp%5B25s%5D&time=2023-11-14T22:13:41Z", NULL,
         "{\"resultType\":\"matrix\",\"result\":[{\"metric\":{\"__name__\":\"temp\",\"host\":\"a\"}"
         ","
         "\"values\":[[1700000000,\"20.5\"],[1700000010,\"20.25\"],[1700000020,\"20\"]]}]}"},
        {"GET", "query?query=time()&time=5.0004999", NULL, "[5,\"5\"]"},
        {"GET", "query?query=time()&time=5.0005", NULL, "[5.001,\"5.001\"]"},
        {"GET", "query?query=time()&time=-1.0006", NULL, "[-1.001,\"-1.001\"]"},
        {"GET", "query?query=time()&time=1970-01-01T00:00:05.0009Z", NULL, "[5,\"5\"]"},
        {"GET", "query_range?query=temp&start=1699999999.9996&end=1700000040.5&step=20", NULL,
         "\"values\":[[1700000000,\"20.5\"],[1700000020,\"20\"],[1700000040,\"19.5\"]]}]}"},
        {"POST", "query_range", "query=temp%20*%202&start=1700000000&end=1700000020&step=20s",
         "{\"metric\":{\"host\":\"a\"},\"values\":[[1700000000,\"41\"],[1700000020,\"40\"]]}"},
        {"GET", "query?query=absent_metric", NULL, "{\"resultType\":\"vector\",\"result\":[]}"},
        {"GET", "series?match%5B%5D=hits&match[]=%7Bhost=%22a%22%7D", NULL,
         "\"data\":[{\"__name__\":\"hits\",\"host\":\"a\"},{\"__name__\":\"hits\",\"host\":\"b\"},"
         "{\"__name__\":\"temp\",\"host\":\"a\"}]"},
        {"POST", "series", "match%5B%5D=hits&limit=1",
         "\"data\":[{\"__name__\":\"hits\",\"host\":\"a\"}]"},
        {"GET", "labels", NULL, "\"data\":[\"__name__\",\"host\"]"},
        {"POST", "labels", "match[]=temp", "\"data\":[\"__name__\",\"host\"]"},
        {"GET", "label/host/values", NULL, "\"data\":[\"a\",\"b\"]"},
        {"GET", "label/__name__/values?match[]=%7Bhost=%22b%22%7D", NULL, "\"data\":[\"hits\"]"},
        {"GET", "label/nowhere/values", NULL, "\"data\":[]"},
        {"GET", "metadata", NULL, "\"data\":{}"},
        {"GET", "status/buildinfo", NULL, "\"version\":"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char path[512];
        (void)snprintf(path, sizeof path, API "%s", rows[i].path);
        svc_suite_expect_http(&s, rows[i].verb, path,
                              rows[i].form == NULL ? no_body : vv_slice_str(rows[i].form), 200,
                              rows[i].want);
    }
    svc_suite_stop(&s);
}

static void test_refusals(void **state)
{
    (void)state;
    svc_suite s;
    start(&s, true);
    const struct {
        const char *path;
        int status;
        const char *words;
    } rows[] = {
        {"query", 400, "parameter query is missing"},
        {"query?query=", 400, "the query ends"},
        {"query?query=topk(1,hits)", 422, "topk"},
        {"query?query=hits/hits", 422, "\"errorType\":\"execution\""},
        {"query?query=hits&time=soon", 400, "parameter time: 'soon'"},
        {"query?query=hits%", 400, "two digits"},
        {"query_range?query=hits", 400, "parameter start is missing"},
        {"query_range?query=hits&start=1&end=2&step=0", 400, "parameter step"},
        {"query_range?query=hits&start=2&end=1&step=1", 400, "before the start"},
        {"query_range?query=hits&start=0&end=1700000000&step=1", 400, "take a longer step"},
        {"series", 400, "match[] is missing"},
        {"series?match[]=rate(hits[5m])", 400, "is no selector"},
        {"series?match[]=hits&limit=x", 400, "parameter limit"},
        {"labels?match[]=%7B%7D", 400, "needs a matcher"},
        {"label/host", 404, "label/NAME/values"},
        {"rules", 404, "not served"},
        {"query?query=hits&table=nowhere", 404, "nowhere"},
        {"query?query=hits&tiem=5", 400,
         "tiem: there is no such parameter here; did you mean time"},
        {"query?query=hits&query=temp", 400, "query is given twice"},
        {"labels?tabel=x", 400, "did you mean table"},
        {"query?query=hits&match[]=a", 400, "there is no such parameter here"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char path[512];
        (void)snprintf(path, sizeof path, API "%s", rows[i].path);
        svc_suite_expect_http(&s, "GET", path, no_body, rows[i].status, rows[i].words);
    }
    svc_suite_expect_http(&s, "GET", API "query?query=hits&table=nowhere", no_body, 404,
                          "\"status\":\"error\"");
    svc_suite_stop(&s);
}

/* Nothing was written yet: an empty answer, as a new Prometheus gives. */
static void test_before_the_first_sample(void **state)
{
    (void)state;
    svc_suite s;
    start(&s, false);
    svc_suite_expect_http(&s, "GET", API "query?query=up", no_body, 200, "\"result\":[]");
    svc_suite_expect_http(&s, "GET", API "labels", no_body, 200, "\"data\":[]");
    svc_suite_expect_http(&s, "GET", API "query?query=1%2B1", no_body, 200, "\"2\"");
    svc_suite_stop(&s);
}

static void test_a_query_keeps_to_its_memory(void **state)
{
    (void)state;
    svc_suite s;
    start(&s, true);
    uint64_t limit = s.n.query_memory_limit;
    s.n.query_memory_limit = 64 * 1024;
    svc_suite_expect_http(&s, "GET",
                          API "query_range?query=hits&start=1700000000&end=1700010000&step=1",
                          no_body, 503, "memory limit of 65536 bytes");
    s.n.query_memory_limit = limit;
    svc_suite_expect_http(&s, "GET",
                          API "query_range?query=hits&start=1700000000&end=1700010000&step=1",
                          no_body, 200, "matrix");
    assert_int_equal(vv_budget_part_used(s.n.budget, VV_BUDGET_QUERY), 0);
    svc_suite_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_as_go_writes_them),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_questions),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_before_the_first_sample),
        cmocka_unit_test(test_a_query_keeps_to_its_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
