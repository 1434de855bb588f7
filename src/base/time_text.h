/*
 * time_text.h - moments as people write them: RFC 3339 (2026-07-01T12:30:00.25Z) and plain numbers,
 * to and from nanoseconds since 1970.
 *
 * The int64 of nanoseconds reaches from 1677-09-21 to 2262-04-11; what lies outside is refused.
 * Leap seconds (:60) are read as the second that follows.
 */
#ifndef VARVE_BASE_TIME_TEXT_H
#define VARVE_BASE_TIME_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "varve/slice.h"

#define TIME_TEXT_MAX 36 /* bytes of the longest text time_text_format writes, with its NUL */

/** RFC 3339: date, 'T', 't' or a space, time, up to nine digits of fraction (more are cut), 'Z' or
 * an offset. A bare date is its midnight in UTC. False when it is none or out of range. */
bool time_text_parse(vv_slice text, int64_t *out_ns);

/** What data files hold, besides: "2026-01-02 10:00:00" without a zone (UTC), without seconds, with
 * slashes (2026/01/02), a comma before the fraction, and the zones UTC, GMT, +hh and +hhmm, also
 * behind a blank. */
bool time_text_parse_loose(vv_slice text, int64_t *out_ns);

/** UTC, with as many digits of fraction as the value has: 0, 3, 6 or 9. */
void time_text_format(int64_t ns, char out[TIME_TEXT_MAX]);

/** A number of units, possibly with a fraction ("1719835200.25"), as nanoseconds; exact for up to
 * nine digits of fraction of a second. unit_ns is 1, 1000, 1000000 or 1000000000. */
bool time_text_parse_number(vv_slice text, int64_t unit_ns, int64_t *out_ns);

/** A moment as a question about series or a line of CSV has it: RFC 3339, a number with s, ms, us
 * or ns behind it, or a number alone, whose digits before the point tell its unit: up to 11 are
 * seconds, up to 14 milliseconds, up to 17 microseconds, more nanoseconds. */
bool time_text_parse_any(vv_slice text, int64_t *out_ns);

/** Seconds as a double to nanoseconds; false for NaN and what does not fit. */
bool time_from_seconds(double seconds, int64_t *out_ns);

/** google.protobuf.Timestamp fields to nanoseconds; false when out of range or nanos is not in
 * [0, 1e9). */
bool time_from_parts(int64_t seconds, int64_t nanos, int64_t *out_ns);

#endif
