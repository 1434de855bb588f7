/*
 * feed_number.h - numbers of text protocols: decimals as base/decimal.h reads them, and times in
 * units.
 */
#ifndef VARVE_FEEDS_FEED_NUMBER_H
#define VARVE_FEEDS_FEED_NUMBER_H

#include "base/decimal.h"

static inline bool feed_parse_double(vv_slice text, double *out)
{
    return vv_decimal_double(text, out);
}

static inline bool feed_parse_int(vv_slice text, int64_t *out)
{
    return vv_decimal_int(text, out);
}

/** value * unit; false when it does not fit. unit > 0. */
static inline bool feed_scale(int64_t value, int64_t unit, int64_t *out)
{
    return !__builtin_mul_overflow(value, unit, out);
}

#endif
