/*
 * feed_number.h - decimal text to numbers, exactly: the hot path of text protocols.
 *
 * A decimal of at most 19 digits whose power of ten is at most 22 is one exact product or quotient
 * (Clinger, "How to read floating point numbers accurately", 1990); what is longer goes to strtod.
 */
#ifndef VARVE_FEEDS_FEED_NUMBER_H
#define VARVE_FEEDS_FEED_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

#include "varve/slice.h"

/** [+-]digits[.digits][e[+-]digits], at least one digit before the exponent, no blanks, no names
 * such as nan. False when text is none, or too large for a finite double. */
bool feed_parse_double(vv_slice text, double *out);

/** [+-]digits that fit an int64. */
bool feed_parse_int(vv_slice text, int64_t *out);

/** value * unit; false when it does not fit. unit > 0. */
static inline bool feed_scale(int64_t value, int64_t unit, int64_t *out)
{
    return !__builtin_mul_overflow(value, unit, out);
}

#endif
