/*
 * fuzz_remote.c - remote write: no crash on any message or snappy block, and what was accepted,
 * written out as a WriteRequest, is read as the same samples.
 */
#include "codec/protowire.h"
#include "feeds/feed_remote.h"
#include "feeds/feed_test_sink.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* Writes each call of samples() as a TimeSeries. */
typedef struct remote_writer {
    feed_sink sink;
    vv_buf out;
    vv_buf labels;
    uint64_t samples;
} remote_writer;

static vv_status write_series(feed_sink *sink, const feed_label *labels, size_t count,
                              feed_type type, vv_error *err)
{
    remote_writer *w = VV_CONTAINER_OF(sink, remote_writer, sink);
    (void)err;
    check(type == FEED_F64);
    vv_buf_reset(&w->labels);
    for (size_t i = 0; i < count; i++) {
        size_t mark = wire_begin(&w->labels, 1);
        wire_put_string(&w->labels, 1, labels[i].name);
        wire_put_string(&w->labels, 2, labels[i].value);
        wire_end(&w->labels, mark);
    }
    return VV_OK;
}

static vv_status write_samples(feed_sink *sink, const int64_t *time_ns, feed_values v,
                               const uint32_t *quality, size_t count, vv_error *err)
{
    remote_writer *w = VV_CONTAINER_OF(sink, remote_writer, sink);
    (void)err;
    check(count > 0 && quality == NULL);
    size_t series = wire_begin(&w->out, 1);
    vv_buf_append_slice(&w->out, vv_buf_slice(&w->labels));
    for (size_t i = 0; i < count; i++) {
        size_t mark = wire_begin(&w->out, 2);
        wire_put_double_always(&w->out, 1, v.f64[i]);
        wire_put_int(&w->out, 2, time_ns[i] / 1000000);
        wire_end(&w->out, mark);
    }
    wire_end(&w->out, series);
    w->samples += count;
    return VV_OK;
}

static void check_message(vv_slice message)
{
    static const feed_sink_ops ops = {write_series, write_samples};
    remote_writer w = {.sink = {&ops}};
    feed_result a, b;
    vv_buf_init(&w.out, 64 << 20);
    vv_buf_init(&w.labels, 1 << 20);
    feed_test_sink *first = feed_test_sink_create(), *second = feed_test_sink_create();
    if (feed_remote_decode(message, &w.sink, &a, NULL) == VV_OK) {
        check(w.samples == a.samples && w.out.status == VV_OK);
        check(feed_remote_decode(message, &first->sink, &b, NULL) == VV_OK);
        check(feed_remote_decode(vv_buf_slice(&w.out), &second->sink, &b, NULL) == VV_OK);
        check(b.refused == 0 && b.samples == a.samples);
        check(vv_slice_eq(vv_buf_slice(&first->text), vv_buf_slice(&second->text)));
    }
    feed_test_sink_destroy(first);
    feed_test_sink_destroy(second);
    vv_buf_fini(&w.out);
    vv_buf_fini(&w.labels);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vv_buf plain;
    vv_slice in = vv_slice_of(data, size);
    check_message(in);
    vv_buf_init(&plain, 1 << 20);
    if (feed_snappy_decode(in, 1 << 20, &plain, NULL) == VV_OK)
        check_message(vv_buf_slice(&plain));
    vv_buf_fini(&plain);
    return 0;
}
