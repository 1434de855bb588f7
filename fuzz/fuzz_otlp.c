/*
 * fuzz_otlp.c - Exports of all three signals: no crash on any bytes; what was taken as messages,
 * their values one behind the other, is taken as the same messages; what was taken as samples comes
 * in whole series.
 */
#include <stdlib.h>
#include <string.h>

#include "feeds/feed_test_sink.h"
#include "otlp/otlp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* All messages of a checked request, one behind the other in out. */
static size_t join(otlp_signal signal, vv_slice request, uint64_t records, vv_buf *out)
{
    otlp_walk w;
    vv_arena arena;
    feed_result read = {0};
    vv_message *m = NULL;
    size_t count = 0;
    vv_arena_init(&arena, 512u << 20);
    otlp_walk_begin(&w, signal, request, VV_STREAM_MESSAGE_MAX);
    check(otlp_walk_next(&w, &arena, records + 1, SIZE_MAX, &m, &count, &read, NULL) == VV_OK);
    check(read.samples == count && read.samples + read.refused == records);
    for (size_t i = 0; i < count; i++) {
        check(m[i].attribute_count <= OTLP_ATTRIBUTES_MAX && m[i].value.len <= OTLP_VALUE_MAX);
        check(m[i].event_time_ns >= 0);
        for (size_t k = 0; k < m[i].attribute_count; k++)
            check(m[i].attributes[k].name.len > 0);
        vv_buf_append_slice(out, m[i].value);
    }
    vv_arena_fini(&arena);
    return count;
}

static void check_records(otlp_signal signal, vv_slice request, uint64_t records)
{
    otlp_summary sum;
    vv_buf once;
    vv_buf twice;
    vv_buf_init(&once, 512u << 20);
    vv_buf_init(&twice, 512u << 20);
    size_t count = join(signal, request, records, &once);
    check(once.status == VV_OK);
    check(otlp_check(signal, vv_buf_slice(&once), &sum, NULL) == VV_OK);
    check(sum.records == count);
    check(join(signal, vv_buf_slice(&once), count, &twice) == count);
    check(vv_slice_eq(vv_buf_slice(&once), vv_buf_slice(&twice)));
    vv_buf_fini(&once);
    vv_buf_fini(&twice);
}

static vv_status check_series(feed_sink *sink, const feed_label *labels, size_t count,
                              feed_type type, vv_error *err)
{
    (void)sink;
    (void)err;
    check(type == FEED_F64 && count > 0 && count <= FEED_LABELS_MAX);
    for (size_t i = 0; i < count; i++) {
        check(labels[i].name.len > 0 && labels[i].value.len > 0);
        check(feed_label_is_text(labels[i].name) && feed_label_is_text(labels[i].value));
        for (size_t k = 0; k < i; k++)
            check(!vv_slice_eq(labels[i].name, labels[k].name));
    }
    return VV_OK;
}

static vv_status check_samples(feed_sink *sink, const int64_t *time_ns, feed_values values,
                               const uint32_t *quality, size_t count, vv_error *err)
{
    (void)sink;
    (void)values;
    (void)err;
    check(count == 1 && quality == NULL && time_ns[0] > 0);
    return VV_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const feed_sink_ops ops = {check_series, check_samples};
    otlp_summary sum;
    if (size == 0)
        return 0;
    const otlp_signal signal = (otlp_signal)(data[0] % OTLP_SIGNALS);
    vv_slice request = vv_slice_of(data + 1, size - 1);
    if (otlp_check(signal, request, &sum, NULL) != VV_OK)
        return 0;
    if (signal == OTLP_METRICS) {
        feed_sink sink = {&ops};
        feed_result read;
        check(otlp_metrics_decode(request, &sink, &read, NULL) == VV_OK);
    } else if (sum.bytes < 64u << 20) {
        check_records(signal, request, sum.records);
    }
    return 0;
}
