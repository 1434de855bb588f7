/*
 * feed_remote.c - see feed_remote.h.
 *
 * protobuf lets the fields of a series come in any order, so each is walked twice: for its labels,
 * then for its samples.
 */
#include "feeds/feed_remote.h"

#include "base/error.h"
#include "base/util.h"
#include "codec/protowire.h"
#include "feeds/feed_number.h"

#define BLOCK 256u /* samples given to the sink at once */

typedef struct remote_walk {
    feed_sink *sink;
    feed_result *result;
    feed_label_set labels;
    const char *fault;           /* of the series: the first thing wrong with its labels */
    const uint8_t *first_sample; /* of the series */
    size_t count;                /* of the block */
    int64_t time_ns[BLOCK];
    double value[BLOCK];
} remote_walk;

/* The labels, how many samples and histograms there are, and where the first sample is. False when
 * malformed. */
static bool read_labels(remote_walk *w, vv_slice series, uint64_t *samples, uint64_t *histograms)
{
    wire_reader r = wire_reader_of(series);
    wire_field f = {0};
    w->labels.count = 0;
    w->fault = NULL;
    *samples = *histograms = 0;
    for (const uint8_t *at = r.next; wire_next(&r, &f) > 0; at = r.next) {
        if (f.type != WIRE_BYTES)
            continue;
        if (f.number == 2 && *samples == 0)
            w->first_sample = at;
        if (f.number == 1 && !feed_labels_read(&w->labels, f.bytes, &w->fault))
            return false;
        *samples += f.number == 2;
        *histograms += f.number == 4;
    }
    if (w->fault == NULL && feed_labels_name(&w->labels).len == 0)
        w->fault = "it has no __name__";
    return r.fault == WIRE_GOOD;
}

static vv_status flush(remote_walk *w, vv_error *err)
{
    vv_error why;
    size_t n = w->count;
    if (n == 0)
        return VV_OK;
    w->count = 0;
    vv_status st =
        feed_sink_samples(w->sink, w->time_ns, (feed_values){.f64 = w->value}, NULL, n, &why);
    if (st == VV_OK)
        w->result->samples += n;
    else if (st == VV_INVALID)
        feed_refuse(w->result, n, "%s", why.msg);
    else if (err != NULL)
        *err = why;
    return st == VV_INVALID ? VV_OK : st;
}

/* One sample to the block. False when malformed. */
static bool read_sample(remote_walk *w, vv_slice bytes)
{
    wire_reader r = wire_reader_of(bytes);
    wire_field f = {0};
    uint64_t value = 0, time_ms = 0;
    /* As everybody writes them: the value, then the time. */
    if (VV_LIKELY(bytes.len > 10 && bytes.data[0] == 0x09 && bytes.data[9] == 0x10)) {
        value = vv_get_le64(bytes.data + 1);
        r.next += 10;
        if (!wire_varint(&r, &time_ms))
            return false;
    }
    while (wire_next(&r, &f) > 0) {
        if (f.number == 1 && f.type == WIRE_FIXED64)
            value = f.value;
        else if (f.number == 2 && f.type == WIRE_VARINT)
            time_ms = f.value;
    }
    if (r.fault != WIRE_GOOD)
        return false;
    if (!feed_scale((int64_t)time_ms, VV_NS_PER_MS, &w->time_ns[w->count])) {
        feed_refuse(w->result, 1, "%.*s: a timestamp is out of range",
                    (int)feed_labels_name(&w->labels).len,
                    (const char *)feed_labels_name(&w->labels).data);
        return true;
    }
    w->value[w->count++] = wire_double(value);
    return true;
}

static vv_status malformed(vv_error *err)
{
    return vv_fail(err, VV_INVALID, "the body is no prometheus.WriteRequest");
}

static vv_status walk_samples(remote_walk *w, vv_slice series, vv_error *err)
{
    wire_reader r = wire_reader_of(series);
    wire_field f = {0};
    r.next = w->first_sample;
    while (wire_next(&r, &f) > 0) {
        if (f.number != 2 || f.type != WIRE_BYTES)
            continue;
        if (!read_sample(w, f.bytes))
            return malformed(err);
        vv_status st = w->count == BLOCK ? flush(w, err) : VV_OK;
        if (st != VV_OK)
            return st;
    }
    return flush(w, err);
}

static vv_status walk_series(remote_walk *w, vv_slice series, vv_error *err)
{
    uint64_t samples, histograms;
    vv_error why;
    if (!read_labels(w, series, &samples, &histograms))
        return malformed(err);
    vv_slice name = feed_labels_name(&w->labels);
    int name_len = (int)name.len;
    const char *name_text = name.len == 0 ? "" : (const char *)name.data;
    if (w->fault != NULL) {
        feed_refuse(w->result, samples + histograms, "series '%.*s': %s", name_len, name_text,
                    w->fault);
        return VV_OK;
    }
    if (histograms > 0)
        feed_refuse(w->result, histograms, "series '%.*s': native histograms are not kept",
                    name_len, name_text);
    if (samples == 0)
        return VV_OK;
    vv_status st = feed_sink_series(w->sink, w->labels.items, w->labels.count, FEED_F64, &why);
    w->count = 0;
    if (st == VV_OK)
        return walk_samples(w, series, err);
    if (st == VV_INVALID)
        feed_refuse(w->result, samples, "%s", why.msg);
    else if (err != NULL)
        *err = why;
    return st == VV_INVALID ? VV_OK : st;
}

vv_status feed_remote_decode(vv_slice message, feed_sink *sink, feed_result *result, vv_error *err)
{
    remote_walk w = {.sink = sink, .result = result};
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    *result = (feed_result){0};
    while (wire_next(&r, &f) > 0) {
        if (f.number != 1 || f.type != WIRE_BYTES)
            continue;
        vv_status st = walk_series(&w, f.bytes, err);
        if (st != VV_OK)
            return st;
    }
    return r.fault == WIRE_GOOD ? VV_OK : malformed(err);
}
