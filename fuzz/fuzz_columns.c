/*
 * fuzz_columns.c - columnar samples and SensorData: no crash, and what was accepted, written out
 * with other columns (absolute times, one quality each), is read as the same samples.
 */
#include "codec/protowire.h"
#include "feeds/feed_columns.h"
#include "feeds/feed_sensor.h"
#include "feeds/feed_test_sink.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

typedef struct columns_writer {
    feed_sink sink;
    vv_buf out;
    vv_buf labels;
    feed_type type;
    uint64_t samples;
} columns_writer;

static vv_status write_series(feed_sink *sink, const feed_label *labels, size_t count,
                              feed_type type, vv_error *err)
{
    columns_writer *w = VV_CONTAINER_OF(sink, columns_writer, sink);
    (void)err;
    w->type = type;
    vv_buf_reset(&w->labels);
    for (size_t i = 0; i < count; i++) {
        size_t mark = wire_begin(&w->labels, 1);
        wire_put_string(&w->labels, 1, labels[i].name);
        wire_put_string(&w->labels, 2, labels[i].value);
        wire_end(&w->labels, mark);
    }
    wire_put_varint(&w->labels, 2, (uint64_t)type);
    return VV_OK;
}

static vv_status write_samples(feed_sink *sink, const int64_t *time_ns, feed_values v,
                               const uint32_t *quality, size_t count, vv_error *err)
{
    columns_writer *w = VV_CONTAINER_OF(sink, columns_writer, sink);
    (void)err;
    size_t series = wire_begin(&w->out, 4);
    vv_buf_append_slice(&w->out, vv_buf_slice(&w->labels));
    for (size_t i = 0; i < count; i++) {
        wire_put_fixed64(&w->out, 5, (uint64_t)time_ns[i]);
        wire_put_fixed32(&w->out, 10, quality == NULL ? 0 : quality[i]);
        if (w->type == FEED_F64)
            wire_put_double_always(&w->out, 6, v.f64[i]);
        else if (w->type == FEED_I64)
            wire_put_varint(&w->out, 7,
                            (uint64_t)v.i64[i] << 1 ^ (uint64_t) - (int64_t)(v.i64[i] < 0));
        else if (w->type == FEED_BOOL)
            wire_put_varint(&w->out, 8, v.boolean[i]);
        else
            wire_put_bytes(&w->out, 9, v.string[i]);
    }
    wire_end(&w->out, series);
    w->samples += count;
    return VV_OK;
}

static vv_status decode(vv_slice message, feed_sink *sink, feed_result *r)
{
    feed_columns c;
    vv_status st = feed_columns_open(message, &c, NULL);
    return st == VV_OK ? feed_columns_decode(&c, sink, r, NULL) : st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const feed_sink_ops ops = {write_series, write_samples};
    columns_writer w = {.sink = {&ops}};
    feed_result a, b;
    feed_sensor sensor;
    vv_slice in = vv_slice_of(data, size);
    vv_buf_init(&w.out, 64 << 20);
    vv_buf_init(&w.labels, 1 << 20);
    feed_test_sink *first = feed_test_sink_create(), *second = feed_test_sink_create();
    if (decode(in, &w.sink, &a) == VV_OK) {
        check(w.samples == a.samples && w.out.status == VV_OK);
        check(decode(in, &first->sink, &b) == VV_OK);
        check(decode(vv_buf_slice(&w.out), &second->sink, &b) == VV_OK);
        check(b.refused == 0 && b.samples == a.samples);
        check(vv_slice_eq(vv_buf_slice(&first->text), vv_buf_slice(&second->text)));
    }
    if (feed_sensor_read(in, &sensor) == NULL)
        check(sensor.id.len > 0 && feed_sensor_give(&sensor, &second->sink, NULL) == VV_OK);
    feed_test_sink_destroy(first);
    feed_test_sink_destroy(second);
    vv_buf_fini(&w.out);
    vv_buf_fini(&w.labels);
    return 0;
}
