/*
 * feed_test_sink.h - a sink for tests and fuzz targets: every sample as one line of text in the
 * order it came, and faults on request.
 *
 *     name{a=b,c=d} f64 1000 1.5 0        labels as given, then type, time, value, quality
 */
#ifndef VARVE_FEEDS_FEED_TEST_SINK_H
#define VARVE_FEEDS_FEED_TEST_SINK_H

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/util.h"
#include "feeds/feed_sink.h"

typedef struct feed_test_sink {
    feed_sink sink;
    vv_buf text;
    char head[65536]; /* "name{...} type" of the series */
    feed_type type;
    const char *refuse;  /* series with this in their head are VV_INVALID */
    uint64_t fail_after; /* calls until VV_NO_MEMORY; 0: never */
    uint64_t calls;
    bool is_quiet; /* only counts */
    uint64_t samples;
} feed_test_sink;

static inline vv_status feed_test_call(feed_test_sink *t, vv_error *err)
{
    t->calls++;
    if (t->fail_after > 0 && t->calls >= t->fail_after)
        return vv_fail(err, VV_NO_MEMORY, "the sink is full");
    return VV_OK;
}

static inline vv_status feed_test_series(feed_sink *sink, const feed_label *labels, size_t count,
                                         feed_type type, vv_error *err)
{
    static const char *const types[] = {"?", "f64", "i64", "bool", "string"};
    feed_test_sink *t = VV_CONTAINER_OF(sink, feed_test_sink, sink);
    vv_status st = feed_test_call(t, err);
    t->type = type;
    if (st != VV_OK || t->is_quiet)
        return st;
    vv_buf b;
    vv_buf_init(&b, sizeof t->head - 1);
    for (size_t i = 0; i < count; i++)
        if (vv_slice_eq(labels[i].name, vv_slice_str(FEED_NAME_LABEL)))
            vv_buf_append_slice(&b, labels[i].value);
    vv_buf_append_str(&b, "{");
    const char *comma = "";
    for (size_t i = 0; i < count; i++) {
        if (vv_slice_eq(labels[i].name, vv_slice_str(FEED_NAME_LABEL)))
            continue;
        vv_buf_append_str(&b, comma);
        vv_buf_append_slice(&b, labels[i].name);
        vv_buf_append_str(&b, "=");
        vv_buf_append_slice(&b, labels[i].value);
        comma = ",";
    }
    vv_buf_printf(&b, "} %s", types[type]);
    if (b.len > 0) /* names may hold NULs: only a fuzz target sees them */
        memcpy(t->head, b.data, b.len);
    t->head[b.len] = '\0';
    vv_buf_fini(&b);
    if (t->refuse != NULL && strstr(t->head, t->refuse) != NULL)
        return vv_fail(err, VV_INVALID, "the series is of another type");
    return VV_OK;
}

static inline vv_status feed_test_samples(feed_sink *sink, const int64_t *time_ns, feed_values v,
                                          const uint32_t *quality, size_t count, vv_error *err)
{
    feed_test_sink *t = VV_CONTAINER_OF(sink, feed_test_sink, sink);
    vv_status st = feed_test_call(t, err);
    t->samples += st == VV_OK ? count : 0;
    if (st != VV_OK || t->is_quiet)
        return st;
    for (size_t i = 0; i < count; i++) {
        vv_buf_printf(&t->text, "%s %" PRId64 " ", t->head, time_ns[i]);
        if (t->type == FEED_F64)
            vv_buf_printf(&t->text, "%.17g", v.f64[i]);
        else if (t->type == FEED_I64)
            vv_buf_printf(&t->text, "%" PRId64, v.i64[i]);
        else if (t->type == FEED_BOOL)
            vv_buf_append_str(&t->text, v.boolean[i] ? "true" : "false");
        else
            vv_buf_append_slice(&t->text, v.string[i]);
        vv_buf_printf(&t->text, " %x\n", quality == NULL ? 0 : quality[i]);
    }
    return VV_OK;
}

static inline feed_test_sink *feed_test_sink_create(void)
{
    static const feed_sink_ops ops = {feed_test_series, feed_test_samples};
    feed_test_sink *t = calloc(1, sizeof *t);
    if (t == NULL)
        abort();
    t->sink.ops = &ops;
    vv_buf_init(&t->text, 64 << 20);
    return t;
}

static inline void feed_test_sink_destroy(feed_test_sink *t)
{
    vv_buf_fini(&t->text);
    free(t);
}

/* What came so far, NUL-terminated, and forgotten by the next call that adds. */
static inline const char *feed_test_text(feed_test_sink *t)
{
    vv_buf_append_u8(&t->text, 0);
    t->text.len--;
    return (const char *)t->text.data;
}

#endif
