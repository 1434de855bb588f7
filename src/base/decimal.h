/*
 * decimal.h - decimal text to numbers, exactly: the hot path of text protocols.
 *
 * A decimal of at most 19 digits whose power of ten is at most 22 is one exact product or quotient
 * (Clinger, "How to read floating point numbers accurately", 1990); what is longer goes to strtod.
 */
#ifndef VARVE_BASE_DECIMAL_H
#define VARVE_BASE_DECIMAL_H

#include <stdbool.h>
#include <stdint.h>

#include "varve/slice.h"

/** [+-]digits[.digits][e[+-]digits], at least one digit before the exponent, no blanks, no names
 * such as nan. False when text is none, or too large for a finite double. */
bool vv_decimal_double(vv_slice text, double *out);

/** [+-]digits that fit an int64. */
bool vv_decimal_int(vv_slice text, int64_t *out);

#endif
