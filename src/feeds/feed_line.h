/*
 * feed_line.h - InfluxDB line protocol, as clients and Telegraf write it:
 *
 *     measurement,tag=value field=1.5,other=3i,on=true,text="a b" 1719835200000000000
 *
 * A field is a series: its name is measurement_field, its labels are the tags. Floats are F64,
 * integers (i, u) I64, then booleans and strings; an unsigned value above 2^63 - 1 is refused.
 * A line is syntactically all or nothing; a bad one is refused with its number and the rest goes
 * in, as InfluxDB's partial write does. A field whose series has another type is refused by itself.
 *
 * Escapes: backslash before comma, blank (and, but for a measurement, equals sign) is that byte; a
 * backslash before anything else is itself. In a quoted string \" and \\ are escapes, and line ends
 * belong to the string.
 */
#ifndef VARVE_FEEDS_FEED_LINE_H
#define VARVE_FEEDS_FEED_LINE_H

#include "feeds/feed_sink.h"

#define FEED_LINE_FIELDS_MAX 1024u
#define FEED_LINE_SCRATCH                                                                          \
    (256u * 1024) /* of one line: names with escapes, strings with escapes                         \
                   */

/* The memory of a decoder, about 300 KiB, for one thread at a time. */
typedef struct feed_line feed_line;

/** NULL when memory is short. Gives it: feed_line_destroy. */
feed_line *feed_line_create(void);
/** Accepts NULL. */
void feed_line_destroy(feed_line *decoder);

typedef struct feed_line_options {
    int64_t unit_ns; /* of timestamps: 1 for nanoseconds; > 0 */
    int64_t now_ns;  /* of lines without one */
} feed_line_options;

/** The values of `precision`: n ns u us ms s m h, and none (nanoseconds). False for another. */
bool feed_line_precision(vv_slice text, int64_t *out_unit_ns);

/**
 * Read all lines of body into sink. Allocates nothing.
 *
 * @return VV_OK, also when lines were refused (result tells how many and the first one's number
 *         and fault); or what the sink answered, at which the walk ended.
 */
VV_MUST_CHECK vv_status feed_line_decode(feed_line *decoder, vv_slice body,
                                         const feed_line_options *options, feed_sink *sink,
                                         feed_result *result, vv_error *err);

#endif
