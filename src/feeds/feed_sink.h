/*
 * feed_sink.h - where decoders put the samples they read: a table of two functions.
 *
 * A decoder walks bytes of one protocol and knows no store; the store's side (feed_store.c) fills
 * this table with vv_samples. Types have the values and the layout of varve/series.h.
 *
 *     bytes -> feed_line_decode, feed_remote_decode, ... -> series(), samples(), samples(), ...
 *
 * What a sink answers decides what the decoder does: VV_INVALID refuses this series or these
 * samples, which are counted, and the rest goes in; any other failure ends the walk, and what the
 * sink has of the message is for its owner to forget.
 */
#ifndef VARVE_FEEDS_FEED_SINK_H
#define VARVE_FEEDS_FEED_SINK_H

#include <stdbool.h>
#include <stdint.h>

#include "varve/slice.h"
#include "varve/status.h"

#define FEED_LABELS_MAX 128u       /* of one series, __name__ included: VV_LABELS_MAX */
#define FEED_LABEL_BYTES_MAX 1000u /* of a label's name and value: VV_LABEL_BYTES_MAX */
#define FEED_NAME_LABEL "__name__"

typedef enum feed_type { FEED_F64 = 1, FEED_I64 = 2, FEED_BOOL = 3, FEED_STRING = 4 } feed_type;

typedef struct feed_label {
    vv_slice name;
    vv_slice value;
} feed_label;

/* Values of the type of the series they belong to. */
typedef union feed_values {
    const double *f64;
    const int64_t *i64;
    const bool *boolean;
    const vv_slice *string;
} feed_values;

typedef struct feed_sink feed_sink;

/* All arguments are borrowed for the call. One thread at a time. */
typedef struct feed_sink_ops {
    /* What follows belongs to this series: labels in any order, no name twice, __name__ among them,
     * no value empty. They stay valid until the last of its samples was given. */
    vv_status (*series)(feed_sink *sink, const feed_label *labels, size_t count, feed_type type,
                        vv_error *err);
    /* [count] each, in any order of time; quality NULL: all good. */
    vv_status (*samples)(feed_sink *sink, const int64_t *time_ns, feed_values values,
                         const uint32_t *quality, size_t count, vv_error *err);
} feed_sink_ops;

struct feed_sink {
    const feed_sink_ops *ops;
};

static inline vv_status feed_sink_series(feed_sink *sink, const feed_label *labels, size_t count,
                                         feed_type type, vv_error *err)
{
    return sink->ops->series(sink, labels, count, type, err);
}

static inline vv_status feed_sink_samples(feed_sink *sink, const int64_t *time_ns,
                                          feed_values values, const uint32_t *quality, size_t count,
                                          vv_error *err)
{
    return sink->ops->samples(sink, time_ns, values, quality, count, err);
}

/* What became of one message. */
typedef struct feed_result {
    uint64_t samples;        /* given to the sink */
    uint64_t refused;        /* lines, series or samples left out, as the decoder counts them */
    char first_refusal[240]; /* why the first of them; empty when there is none */
} feed_result;

/** Count refusals, and keep the sentence when they are the first. */
void feed_refuse(feed_result *result, uint64_t count, const char *fmt, ...) VV_PRINTF(3, 4);

/* The labels of one series while they are read. */
typedef struct feed_label_set {
    feed_label items[FEED_LABELS_MAX];
    size_t count;     /* 0: the set is empty */
    bool is_unsorted; /* a name came that was not behind all before it */
} feed_label_set;

/** Add a label; one without a value is as if it were not there. NULL, or what is wrong: a name
 * twice or empty, too long, too many, not UTF-8, a NUL. */
const char *feed_labels_add(feed_label_set *set, vv_slice name, vv_slice value);

/** Add a label that stands in protobuf: name = 1, value = 2. What feed_labels_add says of it goes
 * to *fault, unless something is there. False when the bytes are malformed. */
bool feed_labels_read(feed_label_set *set, vv_slice bytes, const char **fault);

/** The value of __name__; empty when there is none. */
vv_slice feed_labels_name(const feed_label_set *set);

/** Whether text may be in a label: UTF-8 without NUL, which separates the keys of the index. */
bool feed_label_is_text(vv_slice text);

#endif
