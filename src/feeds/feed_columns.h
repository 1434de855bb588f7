/*
 * feed_columns.h - varve.v1.IngestSamplesRequest: series once, then their samples by columns.
 *
 * The hot path of gRPC: packed fields are read in place, in blocks, straight into the sink.
 * proto/varve/v1/series.proto says what the fields mean. A series is refused whole, and the rest
 * goes in, when its columns are not equally long or its labels are wrong; refusals are counted in
 * samples. Fields that are repeated unpacked or in several pieces are read as protobuf demands.
 */
#ifndef VARVE_FEEDS_FEED_COLUMNS_H
#define VARVE_FEEDS_FEED_COLUMNS_H

#include "feeds/feed_sink.h"

/* Slices borrow the message. */
typedef struct feed_columns {
    vv_slice message;
    vv_slice tenant;
    vv_slice table;
    vv_slice durability;
    size_t series_count;
} feed_columns;

/** Read what says where the samples go. VV_INVALID when the bytes are no such message. */
VV_MUST_CHECK vv_status feed_columns_open(vv_slice message, feed_columns *out, vv_error *err);

/**
 * Read the samples into sink. Allocates nothing.
 *
 * @return VV_OK, also when series were refused; VV_INVALID when the bytes of a series are
 * malformed: what the sink has of the message is to be forgotten; or what the sink answered.
 */
VV_MUST_CHECK vv_status feed_columns_decode(const feed_columns *columns, feed_sink *sink,
                                            feed_result *result, vv_error *err);

#endif
