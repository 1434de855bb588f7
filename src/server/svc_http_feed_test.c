/*
 * svc_http_feed_test.c - line protocol and remote write over HTTP: what is stored, what senders are
 * told.
 */
#include <snappy-c.h>

#include "codec/protowire.h"
#include "server/svc_series_write.h"
#include <unistd.h>

#include "server/svc_suite_http.h"

#define T0 INT64_C(1700000000)

static void post(svc_suite *s, const char *path, const char *body, int status, const char *words)
{
    svc_suite_expect_http(s, "POST", path, vv_slice_str(body), status, words);
}

typedef struct seen {
    vv_sample sample[16];
    char text[16][64];
    size_t count;
} seen;

static int see(void *ctx, const vv_series_info *series, const vv_sample *sample)
{
    seen *all = ctx;
    assert_true(all->count < 16);
    all->sample[all->count] = *sample;
    if (sample->type == VV_STRING)
        (void)snprintf(all->text[all->count], 64, "%.*s", (int)sample->string.len,
                       (const char *)sample->string.data);
    assert_true(series->label_count > 0);
    all->count++;
    return 0;
}

/* The newest samples of a name, in the order of their labels. */
static void latest(svc_suite *s, const char *table, const char *name, seen *out)
{
    vv_table *t = NULL;
    vv_matcher m = {VV_MATCH_EQ, vv_slice_str("__name__"), vv_slice_str(name)};
    *out = (seen){0};
    assert_ok(vv_table_open(s->n.db, "default", table, &t, &s->err), s->err);
    assert_ok(vv_series_latest(t, &m, 1, see, out, &s->err), s->err);
    vv_table_close(t);
}

static void test_lines_become_series(void **state)
{
    (void)state;
    svc_suite s;
    seen got;
    svc_suite_start(&s, NULL);
    post(&s, "/write?db=plant&precision=s",
         "oven,site=a temp=21.5,count=3i,on=true,note=\"hot\" 1700000000\n"
         "oven,site=b temp=22 1700000001\n",
         204, NULL);
    latest(&s, "plant", "oven_temp", &got);
    assert_int_equal(got.count, 2);
    assert_true(got.sample[0].f64 == 21.5 && got.sample[1].f64 == 22);
    assert_int_equal(got.sample[1].time_ns, (T0 + 1) * VV_NS_PER_S);
    latest(&s, "plant", "oven_count", &got);
    assert_int_equal(got.sample[0].type, VV_I64);
    latest(&s, "plant", "oven_on", &got);
    assert_int_equal(got.sample[0].type, VV_BOOL);
    latest(&s, "plant", "oven_note", &got);
    assert_string_equal(got.text[0], "hot");
    post(&s, "/api/v2/write?org=o&bucket=second%2Dplant/autogen&precision=ms",
         "a v=1 1700000000000", 204, NULL);
    latest(&s, "second-plant", "a_v", &got);
    assert_int_equal(got.sample[0].time_ns, T0 * VV_NS_PER_S);
    post(&s, "/write?db=plant", "", 204, NULL);
    svc_suite_expect_http(&s, "GET", "/ping", (vv_slice){0}, 204, "X-Influxdb-Version");
    svc_series_figures f;
    svc_series_figures_read(&s.n, &f);
    assert_int_equal(f.accepted, 6);
    assert_int_equal(f.created, 6);
    svc_suite_stop(&s);
}

static void test_lines_refused(void **state)
{
    (void)state;
    svc_suite s;
    seen got;
    svc_suite_start(&s, NULL);
    post(&s, "/write?db=p", "good v=1 1\nbad line here\ngood v=2 2\n", 400, "partial write: ");
    post(&s, "/write?db=p", "good v=1 1\nbad\n", 400, "dropped=1");
    latest(&s, "p", "good_v", &got);
    assert_true(got.sample[0].f64 == 2);
    post(&s, "/write?db=p", "good v=7i 3\nother v=8 3\n", 400, "is of type float64");
    latest(&s, "p", "good_v", &got);
    assert_true(got.sample[0].f64 == 2);
    latest(&s, "p", "other_v", &got);
    assert_true(got.sample[0].f64 == 8);
    post(&s, "/write?db=p", "good v=9 4\n", 204, NULL); /* the right type goes in afterwards */
    post(&s, "/write", "a v=1", 400, "{\"error\":\"database is required: db=TABLE names the table");
    post(&s, "/api/v2/write", "a v=1", 400, "\"code\":\"invalid\"");
    post(&s, "/api/v2/write", "a v=1", 400, "bucket=TABLE");
    post(&s, "/write?db=bad/name", "a v=1", 400, "table name has byte 0x2f at 3: letters");
    post(&s, "/write?db=p&presicion=s", "a v=1", 400, "did you mean precision");
    post(&s, "/write?db=p&db=q", "a v=1", 400, "db is given twice");
    post(&s, "/api/v2/write?bucket=p&rp=x", "a v=1", 400, "rp: there is no such parameter");
    post(&s, "/write?db=p&u=me&p=&rp=autogen&consistency=one&precision=s", "good v=10 5\n", 204,
         NULL);
    post(&s, "/write?db=p&precision=week", "a v=1", 400, "invalid precision");
    post(&s, "/write?db=p&durability=maybe", "a v=1", 400, "durability");
    post(&s, "/write?db=no%20name", "a v=1", 400, "name");
    post(&s, "/write?db=p%zz", "a v=1", 400, "two digits");
    post(&s, "/write?db=p HTTP/1.1\r\nContent-Encoding: gzip\r\nX-A: b", "no gzip", 400, "damaged");
    assert_ok(vv_table_create(s.n.db, "default", "keys", NULL, NULL, &s.err), s.err);
    post(&s, "/write?db=keys", "a v=1", 400, "holds keys and values");
    svc_suite_stop(&s);
}

/* Whatever the tenant of series.table is: a table that is named without one is of "default", for
 * every way in and out. */
static void test_a_named_table_is_of_the_default_tenant(void **state)
{
    (void)state;
    static const char *const questions[] = {
        "/api/v1/series/list?table=plant&match=oven_temp", "/api/v1/series/latest?table=plant",
        "/prometheus/api/v1/series?table=plant&match%5B%5D=oven_temp"};
    svc_suite s;
    seen got;
    svc_suite_start(&s, NULL);
    s.n.series_tenant = "acme";
    post(&s, "/write?db=plant&precision=s", "oven temp=21.5 1700000000\n", 204, NULL);
    latest(&s, "plant", "oven_temp", &got);
    assert_int_equal(got.count, 1);
    for (size_t i = 0; i < ARRAY_LEN(questions); i++)
        svc_suite_expect_http(&s, "GET", questions[i], (vv_slice){0}, 200, "oven_temp");
    svc_suite_expect_http(&s, "GET", "/api/v1/series/list", (vv_slice){0}, 404, "acme");
    svc_suite_stop(&s);
}

static void expect_no_table(svc_suite *s, const char *name)
{
    vv_table *t = NULL;
    assert_status(VV_NOT_FOUND, vv_table_open(s->n.db, "default", name, &t, NULL));
}

/* A body of which nothing is to be written leaves nothing behind, and says what is wrong with it.
 */
static void test_a_refused_body_makes_no_table(void **state)
{
    (void)state;
    svc_suite s;
    seen got;
    svc_suite_start(&s, NULL);
    post(&s, "/write?db=fresh", "bad line here\nworse\n", 400, "dropped=2");
    post(&s, "/write?db=fresh", "", 204, NULL);
    post(&s, "/write?db=fresh HTTP/1.1\r\nContent-Encoding: gzip\r\nX-A: b", "no gzip", 400,
         "damaged");
    expect_no_table(&s, "fresh");
    post(&s, "/api/v1/write?table=fresh", "\x05\x10hello", 400, "WriteRequest");
    post(&s, "/api/v1/write?table=fresh", "", 400, "snappy");
    expect_no_table(&s, "fresh");
    post(&s, "/write?db=fresh", "a v=1 1\nbad\n", 400, "dropped=1"); /* one is to be written */
    latest(&s, "fresh", "a_v", &got);
    assert_int_equal(got.count, 1);
    while (vv_budget_part_used(s.n.budget, VV_BUDGET_NETWORK) != 0)
        (void)usleep(1000);
    svc_suite_stop(&s);
}

static void test_a_table_is_made_only_where_it_may_be(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, &(svc_suite_options){.no_auto_create = true});
    post(&s, "/write?db=p", "a v=1", 404, "auto_create");
    post(&s, "/api/v2/write?bucket=p", "a v=1", 404, "not found");
    svc_suite_stop(&s);
}

/* ---- remote write ---- */

static void put_series(vv_buf *out, const char *name, double value, int64_t ms)
{
    size_t series = wire_begin(out, 1);
    const char *labels[][2] = {{"__name__", name}, {"job", "test"}};
    for (size_t i = 0; i < 2; i++) {
        size_t label = wire_begin(out, 1);
        wire_put_string(out, 1, vv_slice_str(labels[i][0]));
        wire_put_string(out, 2, vv_slice_str(labels[i][1]));
        wire_end(out, label);
    }
    size_t sample = wire_begin(out, 2);
    wire_put_double_always(out, 1, value);
    wire_put_int(out, 2, ms);
    wire_end(out, sample);
    wire_end(out, series);
}

static void remote(svc_suite *s, const char *path, vv_slice message, int status, const char *words)
{
    char packed[4096];
    size_t len = sizeof packed;
    assert_int_equal(snappy_compress((const char *)message.data, message.len, packed, &len),
                     SNAPPY_OK);
    svc_suite_expect_http(s, "POST", path, vv_slice_of(packed, len), status, words);
}

static void test_remote_write(void **state)
{
    (void)state;
    svc_suite s;
    seen got;
    vv_buf m;
    svc_suite_start(&s, NULL);
    vv_buf_init(&m, 4096);
    put_series(&m, "up", 1, T0 * 1000);
    put_series(&m, "load", 0.25, T0 * 1000);
    remote(&s, "/api/v1/write", vv_buf_slice(&m), 204, NULL);
    latest(&s, "metrics", "up", &got);
    assert_true(got.count == 1 && got.sample[0].f64 == 1);
    assert_int_equal(got.sample[0].time_ns, T0 * VV_NS_PER_S);
    remote(&s, "/prometheus/api/v1/write?table=other", vv_buf_slice(&m), 204, NULL);
    latest(&s, "other", "load", &got);
    assert_true(got.count == 1 && got.sample[0].f64 == 0.25);
    vv_buf_reset(&m);
    put_series(&m, "up", 2, T0 * 1000 + 1000);
    put_series(&m, "up", 3, INT64_C(4000000000000)); /* far ahead */
    remote(&s, "/api/v1/write", vv_buf_slice(&m), 400, "too far in the future");
    latest(&s, "metrics", "up", &got);
    assert_true(got.sample[0].f64 == 2);
    vv_buf_fini(&m);
    svc_suite_stop(&s);
}

static void test_remote_write_refused(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    post(&s, "/api/v1/write", "", 400, "snappy");
    post(&s, "/api/v1/write", "\xff\xff\xff\xff\x0f", 400, "snappy");
    post(&s, "/api/v1/write", "\x05\x10hello", 400, "WriteRequest");
    post(&s, "/api/v1/write HTTP/1.1\r\nContent-Encoding: gzip\r\nX-A: b", "x", 400, "snappy");
    post(&s,
         "/api/v1/write HTTP/1.1\r\nContent-Type: "
         "application/x-protobuf;proto=io.prometheus.write.v2.Request\r\nX-A: b",
         "x", 415, "2.0");
    /* A request is let go a moment after its answer. */
    while (vv_budget_part_used(s.n.budget, VV_BUDGET_NETWORK) != 0)
        (void)usleep(1000);
    svc_suite_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_become_series),
        cmocka_unit_test(test_lines_refused),
        cmocka_unit_test(test_a_named_table_is_of_the_default_tenant),
        cmocka_unit_test(test_a_refused_body_makes_no_table),
        cmocka_unit_test(test_a_table_is_made_only_where_it_may_be),
        cmocka_unit_test(test_remote_write),
        cmocka_unit_test(test_remote_write_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
