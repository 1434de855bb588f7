/*
 * feed_remote_test.c - remote write messages as Prometheus makes them, in any order of their
 * fields, cut anywhere; snappy blocks that lie about their size.
 */
#include "feeds/feed_remote.h"

#include <snappy-c.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "codec/protowire.h"
#include "feeds/feed_test_sink.h"
#include "vv_test.h"

static void put_label(vv_buf *b, const char *name, const char *value)
{
    size_t mark = wire_begin(b, 1);
    wire_put_string(b, 1, vv_slice_str(name));
    wire_put_string(b, 2, vv_slice_str(value));
    wire_end(b, mark);
}

static void put_sample(vv_buf *b, double value, int64_t time_ms)
{
    size_t mark = wire_begin(b, 2);
    wire_put_double(b, 1, value);
    wire_put_int(b, 2, time_ms);
    wire_end(b, mark);
}

static feed_result decode(const vv_buf *b, feed_test_sink *t)
{
    feed_result r;
    vv_error err;
    assert_int_equal(b->status, VV_OK);
    assert_ok(feed_remote_decode(vv_buf_slice(b), &t->sink, &r, &err), err);
    return r;
}

/* Two series, one with its samples before its labels, metadata and exemplars between. */
static void put_request(vv_buf *b)
{
    size_t mark = wire_begin(b, 1);
    put_label(b, "__name__", "up");
    put_label(b, "job", "node");
    put_label(b, "empty", "");
    put_sample(b, 1, 1000);
    put_sample(b, -0.0, -2000);
    wire_end(b, mark);
    mark = wire_begin(b, 3);
    wire_put_string(b, 2, vv_slice_str("metadata"));
    wire_end(b, mark);
    mark = wire_begin(b, 1);
    put_sample(b, 2.5, 3000);
    wire_put_bytes(b, 3, vv_slice_str(""));
    put_label(b, "z", "1");
    put_label(b, "__name__", "load");
    wire_end(b, mark);
}

static void test_request(void **state)
{
    (void)state;
    vv_buf b;
    vv_buf_init(&b, 1 << 20);
    feed_test_sink *t = feed_test_sink_create();
    put_request(&b);
    feed_result r = decode(&b, t);
    assert_int_equal(r.refused, 0);
    assert_int_equal(r.samples, 3);
    assert_string_equal(feed_test_text(t),
                        "up{job=node} f64 1000000000 1 0\nup{job=node} f64 -2000000000 0 0\n"
                        "load{z=1} f64 3000000000 2.5 0\n");
    feed_test_sink_destroy(t);
    vv_buf_fini(&b);
}

/* A sink that keeps the bits of the last value. */
static vv_status keep_bits(feed_sink *sink, const int64_t *time_ns, feed_values v,
                           const uint32_t *quality, size_t count, vv_error *err)
{
    feed_test_sink *t = VV_CONTAINER_OF(sink, feed_test_sink, sink);
    (void)time_ns, (void)quality, (void)err;
    memcpy(&t->samples, &v.f64[count - 1], sizeof t->samples);
    return VV_OK;
}

static void test_the_stale_marker_stays(void **state)
{
    (void)state;
    const feed_sink_ops ops = {feed_test_series, keep_bits};
    const uint64_t stale = 0x7ff0000000000002;
    vv_buf b;
    vv_buf_init(&b, 1 << 20);
    feed_test_sink *t = feed_test_sink_create();
    t->sink.ops = &ops;
    size_t mark = wire_begin(&b, 1), sample;
    put_label(&b, "__name__", "up");
    sample = wire_begin(&b, 2);
    wire_put_fixed64(&b, 1, stale);
    wire_end(&b, sample);
    wire_end(&b, mark);
    decode(&b, t);
    assert_true(t->samples == stale);
    feed_test_sink_destroy(t);
    vv_buf_fini(&b);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    vv_buf b;
    vv_buf_init(&b, 1 << 20);
    feed_test_sink *t = feed_test_sink_create();
    size_t mark = wire_begin(&b, 1); /* no name: 2 */
    put_label(&b, "job", "x");
    put_sample(&b, 1, 1);
    put_sample(&b, 1, 2);
    wire_end(&b, mark);
    mark = wire_begin(&b, 1); /* a label twice: 1 */
    put_label(&b, "__name__", "a");
    put_label(&b, "__name__", "b");
    put_sample(&b, 1, 1);
    wire_end(&b, mark);
    mark = wire_begin(&b, 1); /* a histogram and a time out of range: 2, and one good */
    put_label(&b, "__name__", "h");
    put_sample(&b, 1, INT64_MAX / 1000);
    put_sample(&b, 5, 5);
    wire_put_bytes(&b, 4, vv_slice_str(""));
    wire_end(&b, mark);
    mark = wire_begin(&b, 1); /* the sink does not want it: 1 */
    put_label(&b, "__name__", "odd");
    put_sample(&b, 1, 1);
    wire_end(&b, mark);
    mark = wire_begin(&b, 1); /* not UTF-8: 1 */
    put_label(&b, "__name__", "n");
    put_label(&b, "x", "\xff");
    put_sample(&b, 1, 1);
    wire_end(&b, mark);
    t->refuse = "odd";
    feed_result r = decode(&b, t);
    assert_int_equal(r.refused, 7);
    assert_int_equal(r.samples, 1);
    assert_string_equal(r.first_refusal, "series '': it has no __name__");
    assert_string_equal(feed_test_text(t), "h{} f64 5000000 5 0\n");
    feed_test_sink_destroy(t);
    vv_buf_fini(&b);
}

/* More samples than one block, and a sink that fails at each of its calls. */
static void test_a_failing_sink_ends_the_walk(void **state)
{
    (void)state;
    vv_buf b;
    vv_buf_init(&b, 1 << 20);
    put_request(&b);
    size_t mark = wire_begin(&b, 1);
    put_label(&b, "__name__", "many");
    for (int i = 0; i < 600; i++)
        put_sample(&b, i, i);
    wire_end(&b, mark);
    vv_status st = VV_BUSY;
    for (uint64_t n = 1; st != VV_OK; n++) {
        feed_test_sink *t = feed_test_sink_create();
        feed_result r;
        t->fail_after = n;
        st = feed_remote_decode(vv_buf_slice(&b), &t->sink, &r, NULL);
        assert_true(st == VV_OK || st == VV_NO_MEMORY);
        assert_true(st != VV_OK || (r.samples == 603 && n == 9));
        feed_test_sink_destroy(t);
    }
    vv_buf_fini(&b);
}

static void prop_a_cut_message_is_refused_or_shorter(void **state)
{
    (void)state;
    vv_buf b;
    vv_buf_init(&b, 1 << 20);
    put_request(&b);
    for (size_t n = 0; n < b.len; n++) {
        feed_test_sink *t = feed_test_sink_create();
        feed_result r;
        uint8_t *copy = malloc(n == 0 ? 1 : n);
        memcpy(copy, b.data, n);
        vv_status st = feed_remote_decode(vv_slice_of(copy, n), &t->sink, &r, NULL);
        assert_true(st == VV_OK ? r.samples < 3 : st == VV_INVALID);
        free(copy);
        feed_test_sink_destroy(t);
    }
    vv_buf_fini(&b);
}

static void test_snappy(void **state)
{
    (void)state;
    char text[5000], block[8000];
    size_t len = sizeof block;
    vv_buf out;
    vv_error err;
    memset(text, 'x', sizeof text);
    assert_int_equal(snappy_compress(text, sizeof text, block, &len), SNAPPY_OK);
    vv_buf_init(&out, 1 << 20);
    assert_ok(feed_snappy_decode(vv_slice_of(block, len), 5000, &out, &err), err);
    assert_int_equal(out.len, 5000);
    assert_memory_equal(out.data, text, 5000);
    assert_status(VV_BUSY, feed_snappy_decode(vv_slice_of(block, len), 4999, &out, &err));
    assert_non_null(strstr(err.msg, "limit is 4999"));
    assert_status(VV_INVALID, feed_snappy_decode(vv_slice_of(block, len - 1), 5000, &out, NULL));
    assert_status(VV_INVALID, feed_snappy_decode(vv_slice_of(NULL, 0), 5000, &out, NULL));
    /* 2^28 bytes in five: refused before memory is taken. */
    assert_status(VV_INVALID, feed_snappy_decode(BYTES(0x80, 0x80, 0x80, 0x80, 1), (size_t)1 << 30,
                                                 &out, &err));
    assert_non_null(strstr(err.msg, "cannot hold"));
    assert_status(VV_INVALID,
                  feed_snappy_decode(BYTES(0xff, 0xff, 0xff, 0xff, 0xff, 0xff), 5000, &out, NULL));
    assert_ok(feed_snappy_decode(BYTES(0), 5000, &out, &err), err);
    assert_int_equal(out.len, 0);
    vv_buf_fini(&out);
    vv_alloc_fail_after(0, 0);
    assert_status(VV_NO_MEMORY, feed_snappy_decode(vv_slice_of(block, len), 5000, &out, NULL));
    vv_alloc_fail_after(-1, 0);
    vv_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request),
        cmocka_unit_test(test_the_stale_marker_stays),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_a_failing_sink_ends_the_walk),
        cmocka_unit_test(prop_a_cut_message_is_refused_or_shorter),
        cmocka_unit_test(test_snappy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
