/*
 * otlp.h - what OpenTelemetry exporters send, as messages of stream tables and samples of series.
 *
 * Pure: bytes in, messages or samples out. A request is first checked whole (otlp_check), so a
 * malformed one writes nothing. What is well formed but cannot be kept, a span without a trace id
 * or a histogram whose bounds do not ascend, is refused by itself, counted, and told as a partial
 * success.
 *
 * https://opentelemetry.io/docs/specs/otlp/
 */
#ifndef VARVE_OTLP_OTLP_H
#define VARVE_OTLP_OTLP_H

#include "base/arena.h"
#include "codec/protowire.h"
#include "feeds/feed_sink.h"
#include "varve/stream.h"

typedef enum otlp_signal { OTLP_TRACES, OTLP_LOGS, OTLP_METRICS, OTLP_SIGNALS } otlp_signal;

#define OTLP_DEPTH_MAX 32u            /* values inside values; a deeper request is malformed */
#define OTLP_WRITTEN_MAX (256u << 20) /* bytes of messages that one request may become */
/* Of a message: what does not fit is in its value alone. */
#define OTLP_ATTRIBUTES_MAX 64u
#define OTLP_ATTRIBUTES_BYTES 8192u                         /* names and values together */
#define OTLP_ATTRIBUTE_BYTES 1024u                          /* of one value */
#define OTLP_VALUE_MAX (VV_STREAM_MESSAGE_MAX - 64u * 1024) /* of a record with its resource */

/* What a checked request holds. */
typedef struct otlp_summary {
    uint64_t records; /* spans, log records; metrics, not their data points */
    uint64_t bytes;   /* of the values of all messages */
} otlp_summary;

/**
 * Check an Export*ServiceRequest: every known field has its wire type, lengths hold, values do not
 * nest deeper than OTLP_DEPTH_MAX. O(bytes), allocates nothing.
 *
 * @return VV_INVALID: it is malformed, or its messages would be larger than OTLP_WRITTEN_MAX,
 *         because every span is kept with its resource.
 */
VV_MUST_CHECK vv_status otlp_check(otlp_signal signal, vv_slice request, otlp_summary *out,
                                   vv_error *err);

/* ---- spans and log records ---- */

/* The attributes of a message while they are put together; borrowed from the request. */
typedef struct otlp_attributes {
    vv_attribute item[OTLP_ATTRIBUTES_MAX];
    size_t count;
    size_t bytes;
    uint64_t seen; /* a bit for each name that may be there */
} otlp_attributes;

/* A walk over the records of a checked request: private. */
typedef struct otlp_walk {
    otlp_signal signal;
    uint64_t message_max;
    wire_reader groups;  /* ResourceSpans, ResourceLogs */
    wire_reader scopes;  /* ScopeSpans, ScopeLogs of one */
    wire_reader records; /* Spans, LogRecords of one */
    vv_slice group;
    vv_slice scope;
    vv_slice resource;
    vv_slice service;    /* service.name; empty: none */
    vv_slice group_head; /* the bytes besides the records, in the arena */
    vv_slice scope_head;
    vv_slice pending; /* a record that did not fit the messages before; NULL data: none */
    otlp_attributes attributes;
} otlp_walk;

/** signal is OTLP_TRACES or OTLP_LOGS; the request is borrowed, and was checked. message_max: bytes
 * of a message, as a table allows them. */
void otlp_walk_begin(otlp_walk *w, otlp_signal signal, vv_slice request, uint64_t message_max);

/**
 * The next messages, in arena; they borrow from it and from the request. Ends before the message
 * that would pass bytes_max, but gives one at least.
 *
 * Each is one span or log record. Its value is a TracesData or LogsData with that record alone and
 * its resource and scope, byte for byte: the values of several messages one behind the other are a
 * request again.
 *
 * @param result  counts what was given (samples) and refused; the caller zeroes it once.
 * @return *count of 0: the end. VV_NO_MEMORY: the arena is full.
 */
VV_MUST_CHECK vv_status otlp_walk_next(otlp_walk *w, vv_arena *arena, size_t count_max,
                                       size_t bytes_max, vv_message **out, size_t *count,
                                       feed_result *result, vv_error *err);

/* ---- metrics ---- */

/**
 * The data points of a checked ExportMetricsServiceRequest as samples of doubles. Gauges and sums
 * keep their name; a histogram, also an exponential one, becomes _bucket (cumulative, with label
 * le), _count, _sum, _min and _max, a summary the name with label quantile, _count and _sum. Labels
 * are the attributes of the data point, then those of the resource and otel.scope.name; sums and
 * histograms of deltas have otel.temporality="delta", for they are not to be mixed with totals.
 *
 * @param result  refused counts data points.
 * @return what the sink answered, at which the walk ended.
 */
VV_MUST_CHECK vv_status otlp_metrics_decode(vv_slice request, feed_sink *sink, feed_result *result,
                                            vv_error *err);

#endif
