/*
 * otlp_metrics_test.c - data points as samples: of every kind, what is refused by itself, and what
 * a few bytes may cost.
 */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "feeds/feed_test_sink.h"
#include "otlp/otlp_int.h"
#include "otlp/otlp_test_request.h"
#include "vv_test.h"

static feed_result decode(const vv_buf *b, feed_test_sink *t)
{
    feed_result r;
    otlp_summary sum;
    vv_error err;
    assert_int_equal(b->status, VV_OK);
    assert_ok(otlp_check(OTLP_METRICS, vv_buf_slice(b), &sum, &err), err);
    assert_ok(otlp_metrics_decode(vv_buf_slice(b), &t->sink, &r, &err), err);
    return r;
}

static void test_gauges_and_sums(void **state)
{
    (void)state;
    vv_buf b;
    feed_test_sink *t = feed_test_sink_create();
    vv_buf_init(&b, 65536);
    otlp_test_metrics(&b, 5000);
    feed_result r = decode(&b, t);
    assert_int_equal(r.samples, 2);
    assert_int_equal(r.refused, 0);
    assert_string_equal(feed_test_text(t),
                        "queue.size{route=/cart,service.name=shop,service.instance.id=shop-7f9c,"
                        "host.name=node-3.example.org,telemetry.sdk.language=c,process.pid=4711,"
                        "otel.scope.name=shop.http} f64 5000 7 0\n"
                        "http.requests{route=/cart,service.name=shop,service.instance.id=shop-"
                        "7f9c,host.name=node-3.example.org,telemetry.sdk.language=c,"
                        "process.pid=4711,otel.scope.name=shop.http} f64 5000 1234 0\n");
    feed_test_sink_destroy(t);
    vv_buf_fini(&b);
}

static void test_histograms_are_cumulative(void **state)
{
    (void)state;
    vv_buf b;
    feed_test_sink *t = feed_test_sink_create();
    vv_buf_init(&b, 65536);
    otlp_test_put_metric(&b, 9, "latency", otlp_test_put_histogram);
    feed_result r = decode(&b, t);
    assert_int_equal(r.samples, 7);
    assert_string_equal(feed_test_text(t), "latency_bucket{code=200,le=0.5} f64 9000 3 0\n"
                                           "latency_bucket{code=200,le=10} f64 9000 3 0\n"
                                           "latency_bucket{code=200,le=+Inf} f64 9000 7 0\n"
                                           "latency_count{code=200} f64 9000 7 0\n"
                                           "latency_sum{code=200} f64 9000 12.5 0\n"
                                           "latency_min{code=200} f64 9000 0.25 0\n"
                                           "latency_max{code=200} f64 9000 8 0\n");
    feed_test_sink_destroy(t);
    vv_buf_fini(&b);
}

/* As Prometheus has them: each side begins with a bound of nothing, which tells where its first
 * bucket begins. */
static void test_exponential_histograms_have_bounds(void **state)
{
    (void)state;
    vv_buf b;
    feed_test_sink *t = feed_test_sink_create();
    vv_buf_init(&b, 65536);
    otlp_test_put_metric(&b, 10, "size", otlp_test_put_exponential);
    feed_result r = decode(&b, t);
    assert_int_equal(r.refused, 0);
    assert_int_equal(r.samples, 13);
    assert_string_equal(feed_test_text(t), "size_bucket{code=200,le=-4} f64 9000 0 0\n"
                                           "size_bucket{code=200,le=-2} f64 9000 2 0\n"
                                           "size_bucket{code=200,le=-1} f64 9000 3 0\n"
                                           "size_bucket{code=200,le=0} f64 9000 6 0\n"
                                           "size_bucket{code=200,le=1} f64 9000 6 0\n"
                                           "size_bucket{code=200,le=2} f64 9000 10 0\n"
                                           "size_bucket{code=200,le=4} f64 9000 10 0\n"
                                           "size_bucket{code=200,le=8} f64 9000 15 0\n"
                                           "size_bucket{code=200,le=+Inf} f64 9000 16 0\n"
                                           "size_count{code=200} f64 9000 16 0\n"
                                           "size_sum{code=200} f64 9000 22.5 0\n"
                                           "size_min{code=200} f64 9000 -3.5 0\n"
                                           "size_max{code=200} f64 9000 7 0\n");
    feed_test_sink_destroy(t);
    vv_buf_fini(&b);
}

/* A point of its own, of one side above zero. */
static void read_buckets(int32_t scale, int32_t offset, const uint64_t *counts, size_t count,
                         otlp_buckets *out)
{
    vv_buf b;
    vv_buf_init(&b, 1u << 20);
    wire_put_varint(&b, 6, (uint32_t)scale << 1 ^ (uint32_t)(scale >> 31));
    otlp_test_put_side(&b, 8, offset, counts, count);
    assert_null(otlp_buckets_exponential(vv_buf_slice(&b), 0, out));
    vv_buf_fini(&b);
}

/* Whatever came: bounds ascend to +Inf, totals do not fall, the last has all. */
static void check_buckets(const otlp_buckets *b, uint64_t all)
{
    assert_true(b->count > 0 && b->item[b->count - 1].le == INFINITY);
    assert_true(b->item[b->count - 1].total == (double)all);
    for (size_t i = 1; i < b->count; i++) {
        assert_true(b->item[i].le > b->item[i - 1].le);
        assert_true(b->item[i].total >= b->item[i - 1].total);
    }
}

/* A histogram whose scale falls by one: the bounds that are left are bit for bit those that were
 * there, with the same totals, so that their series go on. */
static void prop_bounds_outlive_a_scale(void **state)
{
    (void)state;
    vv_rng rng;
    uint64_t fine[160];
    uint64_t coarse[80];
    otlp_buckets *a = calloc(1, sizeof *a);
    otlp_buckets *b = calloc(1, sizeof *b);
    vv_rng_init(&rng, vv_test_seed(4711));
    assert_true(a != NULL && b != NULL);
    for (int round = 0; round < 200; round++) {
        const int32_t scale = (int32_t)vv_rng_below(&rng, 24) - 3;
        const int32_t offset = 2 * ((int32_t)vv_rng_below(&rng, 2000) - 1000);
        uint64_t all = 0;
        for (size_t i = 0; i < ARRAY_LEN(fine); i++)
            all += fine[i] = vv_rng_below(&rng, 10);
        for (size_t i = 0; i < ARRAY_LEN(coarse); i++)
            coarse[i] = fine[2 * i] + fine[2 * i + 1];
        read_buckets(scale, offset, fine, ARRAY_LEN(fine), a);
        read_buckets(scale - 1, offset / 2, coarse, ARRAY_LEN(coarse), b);
        check_buckets(a, all);
        check_buckets(b, all);
        for (size_t i = 0, k = 0; i < b->count; i++) {
            while (a->item[k].le < b->item[i].le)
                k++;
            /* What is too small for double is 0, and there the coarser one has more. */
            assert_true(a->item[k].le == b->item[i].le);
            assert_true(a->item[k].total == b->item[i].total || b->item[i].le == 0);
        }
    }
    free(a);
    free(b);
}

/* Scales and offsets of which double has no bounds. */
static void test_bounds_that_no_double_has(void **state)
{
    (void)state;
    static const uint64_t counts[] = {1, 2, 3};
    static const int32_t ends[] = {INT32_MIN, -5000, -12, -1, 0, 1, 20, 5000, INT32_MAX};
    otlp_buckets *b = calloc(1, sizeof *b);
    assert_non_null(b);
    for (size_t s = 0; s < ARRAY_LEN(ends); s++)
        for (size_t o = 0; o < ARRAY_LEN(ends); o++) {
            read_buckets(ends[s], ends[o], counts, ARRAY_LEN(counts), b);
            check_buckets(b, 6);
        }
    free(b);
}

/* A histogram without buckets is one bucket; values that no bucket holds are below +Inf. */
static void test_the_last_bucket_has_all(void **state)
{
    (void)state;
    otlp_buckets *b = calloc(1, sizeof *b);
    assert_non_null(b);
    vv_slice none = {0};
    assert_null(otlp_buckets_explicit(none, 5, b));
    check_buckets(b, 5);
    assert_int_equal(b->count, 1);
    assert_null(otlp_buckets_exponential(none, 5, b));
    check_buckets(b, 5);
    assert_int_equal(b->count, 1);
    free(b);
}

static void put_delta(vv_buf *b)
{
    size_t point = wire_begin(b, 1);
    wire_put_fixed64(b, 3, 9000);
    wire_put_fixed64(b, 6, (uint64_t)INT64_C(-3));
    wire_end(b, point);
    wire_put_varint(b, 2, 1);
}

/* A list as a label is JSON; and a point that says that there is no value. */
static void put_odd(vv_buf *b)
{
    size_t point = wire_begin(b, 1);
    wire_put_fixed64(b, 3, 9000);
    size_t kv = wire_begin(b, 7);
    wire_put_string(b, 1, vv_slice_str("list"));
    size_t any = wire_begin(b, 2);
    size_t array = wire_begin(b, 5);
    size_t one = wire_begin(b, 1);
    wire_put_string(b, 1, vv_slice_str("a\"b"));
    wire_end(b, one);
    one = wire_begin(b, 1);
    wire_put_double_always(b, 4, 1.5);
    wire_end(b, one);
    wire_end(b, array);
    wire_end(b, any);
    wire_end(b, kv);
    wire_put_varint(b, 8, 1);
    wire_end(b, point);
}

static void test_summaries_deltas_and_odd_points(void **state)
{
    (void)state;
    vv_buf b;
    feed_test_sink *t = feed_test_sink_create();
    vv_buf_init(&b, 65536);
    otlp_test_put_metric(&b, 11, "rpc", otlp_test_put_summary);
    otlp_test_put_metric(&b, 7, "d", put_delta);
    otlp_test_put_metric(&b, 5, "odd", put_odd);
    feed_result r = decode(&b, t);
    assert_int_equal(r.refused, 0);
    assert_string_equal(feed_test_text(t), "rpc{quantile=0.99} f64 9000 42 0\n"
                                           "rpc_count{} f64 9000 10 0\n"
                                           "rpc_sum{} f64 9000 99 0\n"
                                           "d{otel.temporality=delta} f64 9000 -3 0\n"
                                           "odd{list=[\"a\\\"b\",1.5]} f64 9000 nan 0\n");
    feed_test_sink_destroy(t);
    vv_buf_fini(&b);
}

static void put_two_points(vv_buf *b)
{
    for (int i = 0; i < 2; i++) {
        size_t point = wire_begin(b, 1);
        wire_put_fixed64(b, 3, 9000);
        wire_end(b, point);
    }
}

static void put_bad_buckets(vv_buf *b)
{
    size_t point = wire_begin(b, 1);
    wire_put_fixed64(b, 3, 9000);
    wire_put_fixed64(b, 6, 1);
    wire_put_fixed64(b, 6, 1);
    wire_put_double_always(b, 7, 1);
    wire_put_double_always(b, 7, 2);
    wire_end(b, point);
}

static void put_named_le(vv_buf *b)
{
    size_t point = wire_begin(b, 1);
    wire_put_fixed64(b, 3, 9000);
    otlp_test_text(b, 9, "le", "5");
    wire_end(b, point);
}

static void put_many_buckets(vv_buf *b)
{
    static const uint64_t counts[OTLP_BUCKETS_MAX + 1] = {1};
    size_t point = wire_begin(b, 1);
    wire_put_fixed64(b, 3, 9000);
    otlp_test_put_side(b, 9, 0, counts, ARRAY_LEN(counts));
    wire_end(b, point);
}

static void put_bad_threshold(vv_buf *b)
{
    size_t point = wire_begin(b, 1);
    wire_put_fixed64(b, 3, 9000);
    wire_put_double_always(b, 14, -0.5);
    wire_end(b, point);
}

static void put_le_of_exponential(vv_buf *b)
{
    size_t point = wire_begin(b, 1);
    otlp_test_text(b, 1, "le", "5");
    wire_put_fixed64(b, 3, 9000);
    wire_end(b, point);
}

static void put_many_bounds(vv_buf *b)
{
    size_t point = wire_begin(b, 1);
    wire_put_fixed64(b, 3, 9000);
    for (uint32_t i = 0; i < OTLP_BUCKETS_MAX + 1; i++) {
        wire_put_double_always(b, 7, i);
        wire_put_fixed64(b, 6, 0);
    }
    wire_put_fixed64(b, 6, 0);
    wire_end(b, point);
}

static void put_bad_quantile(vv_buf *b)
{
    size_t point = wire_begin(b, 1);
    wire_put_fixed64(b, 3, 9000);
    size_t q = wire_begin(b, 6);
    wire_put_double_always(b, 1, 1.5);
    wire_end(b, q);
    wire_end(b, point);
}

static void test_metrics_that_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t kind;
        const char *name;
        void (*put)(vv_buf *b);
        uint64_t refused;
        const char *why;
    } cases[] = {
        {10, "exp", put_many_buckets, 1, "metric 'exp': it has more than 4,096 buckets"},
        {10, "exp", put_bad_threshold, 1, "its zero threshold is no number of 0 or more"},
        {10, "exp", put_le_of_exponential, 1, "as the label of a bucket"},
        {9, "h", put_many_bounds, 1, "it has more than 4,096 buckets"},
        {11, "s", put_bad_quantile, 1, "a quantile does not lie between 0 and 1"},
        {5, "no value", put_two_points, 2, "has no value"},
        {7, "", put_delta, 1, "a name has 1 to 512 bytes"},
        {9, "h", put_bad_buckets, 1, "not one bucket count more"},
        {9, "h", put_named_le, 1, "as the label of a bucket"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_buf b;
        feed_test_sink *t = feed_test_sink_create();
        vv_buf_init(&b, 1u << 20);
        otlp_test_put_metric(&b, cases[i].kind, cases[i].name, cases[i].put);
        otlp_test_put_metric(&b, 7, "good", put_delta);
        feed_result r = decode(&b, t);
        assert_int_equal(r.refused, cases[i].refused);
        assert_int_equal(r.samples, 1);
        if (strstr(r.first_refusal, cases[i].why) == NULL)
            fail_msg("%s: %s", cases[i].why, r.first_refusal);
        feed_test_sink_destroy(t);
        vv_buf_fini(&b);
    }
}

/* A few bytes of a resource, or of buckets, that would cost much for many points. */
static void expect_bounded(size_t resource_len, int points, uint32_t kind, void (*put)(vv_buf *b),
                           const char *why)
{
    vv_buf b;
    feed_test_sink *t = feed_test_sink_create();
    t->is_quiet = true;
    vv_buf_init(&b, 64u << 20);
    size_t group = wire_begin(&b, 1);
    size_t resource = wire_begin(&b, 1);
    char *text = calloc(1, resource_len + 1);
    assert_non_null(text);
    memset(text, 'x', resource_len);
    size_t entity = wire_begin(&b, 3); /* no label is made of it */
    wire_put_string(&b, 1, vv_slice_str(kind == 5 ? text : ""));
    wire_end(&b, entity);
    for (char name[] = "a"; kind != 5 && name[0] < 'i'; name[0]++)
        otlp_test_text(&b, 1, name, text);
    wire_end(&b, resource);
    size_t scope = wire_begin(&b, 2);
    size_t metric = wire_begin(&b, 2);
    wire_put_string(&b, 1, vv_slice_str("m"));
    size_t data = wire_begin(&b, kind);
    for (int i = 0; i < points; i++)
        put(&b);
    wire_end(&b, data);
    wire_end(&b, metric);
    wire_end(&b, scope);
    wire_end(&b, group);
    feed_result r = decode(&b, t);
    assert_true(r.refused > 0 && r.refused < (uint64_t)points);
    if (strstr(r.first_refusal, why) == NULL)
        fail_msg("%s", r.first_refusal);
    free(text);
    vv_buf_fini(&b);
    feed_test_sink_destroy(t);
}

static void put_bare_point(vv_buf *b)
{
    size_t point = wire_begin(b, 1);
    wire_put_fixed64(b, 3, 9000);
    wire_put_double_always(b, 4, 1);
    wire_end(b, point);
}

static void put_wide_point(vv_buf *b)
{
    static const uint64_t counts[OTLP_BUCKETS_MAX] = {1};
    size_t point = wire_begin(b, 1);
    wire_put_fixed64(b, 3, 9000);
    wire_put_varint(b, 6, 18); /* 7 */
    otlp_test_put_side(b, 8, 0, counts, ARRAY_LEN(counts));
    wire_end(b, point);
}

static void test_what_a_few_bytes_cost_is_bounded(void **state)
{
    (void)state;
    expect_bounded(1u << 20, 300, 5, put_bare_point,
                   "its resource is too large for so many data points");
    expect_bounded(990, 70, 10, put_wide_point,
                   "its labels are too long for so many series: send fewer data points");
}

static void test_what_the_sink_refuses(void **state)
{
    (void)state;
    vv_buf b;
    feed_result r;
    vv_error err = {0};
    feed_test_sink *t = feed_test_sink_create();
    vv_buf_init(&b, 65536);
    otlp_test_metrics(&b, 5000);
    t->refuse = "queue.size";
    r = decode(&b, t);
    assert_int_equal(r.samples, 1);
    assert_int_equal(r.refused, 1);
    assert_non_null(strstr(r.first_refusal, "of another type"));
    t->refuse = NULL;
    t->calls = 0;
    t->fail_after = 2;
    assert_status(VV_NO_MEMORY, otlp_metrics_decode(vv_buf_slice(&b), &t->sink, &r, &err));
    assert_string_equal(err.msg, "the sink is full");
    feed_test_sink_destroy(t);
    vv_buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gauges_and_sums),
        cmocka_unit_test(test_histograms_are_cumulative),
        cmocka_unit_test(test_exponential_histograms_have_bounds),
        cmocka_unit_test(prop_bounds_outlive_a_scale),
        cmocka_unit_test(test_bounds_that_no_double_has),
        cmocka_unit_test(test_the_last_bucket_has_all),
        cmocka_unit_test(test_summaries_deltas_and_odd_points),
        cmocka_unit_test(test_metrics_that_are_refused),
        cmocka_unit_test(test_what_a_few_bytes_cost_is_bounded),
        cmocka_unit_test(test_what_the_sink_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
