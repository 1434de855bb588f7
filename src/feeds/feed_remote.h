/*
 * feed_remote.h - Prometheus remote write, version 1: a prometheus.WriteRequest in a snappy block.
 *
 *     WriteRequest { repeated TimeSeries timeseries = 1; repeated MetricMetadata metadata = 3; }
 *     TimeSeries   { repeated Label labels = 1; repeated Sample samples = 2; ... }
 *     Label        { string name = 1; string value = 2; }
 *     Sample       { double value = 1; int64 timestamp = 2; }       timestamp in milliseconds
 *
 * Values are kept bit for bit, the stale marker (a NaN of its own) included. Metadata and exemplars
 * are skipped. Native histograms are not kept: each counts as refused. A label with an empty value
 * is as if it were not there. Refusals are counted in samples.
 */
#ifndef VARVE_FEEDS_FEED_REMOTE_H
#define VARVE_FEEDS_FEED_REMOTE_H

#include "base/buf.h"
#include "feeds/feed_sink.h"

/**
 * Decompress a snappy block into out, which is reset first.
 *
 * @return VV_OK; VV_INVALID when it is none; VV_BUSY when it declares more than size_max bytes,
 *         which is looked at before memory is taken; VV_NO_MEMORY.
 */
VV_MUST_CHECK vv_status feed_snappy_decode(vv_slice block, size_t size_max, vv_buf *out,
                                           vv_error *err);

/**
 * Read a WriteRequest into sink. Allocates nothing.
 *
 * @return VV_OK, also when series or samples were refused; VV_INVALID when the bytes are no such
 *         message: what the sink has of it is to be forgotten; or what the sink answered.
 */
VV_MUST_CHECK vv_status feed_remote_decode(vv_slice message, feed_sink *sink, feed_result *result,
                                           vv_error *err);

#endif
