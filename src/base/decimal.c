/*
 * decimal.c - see decimal.h.
 */
#include "base/decimal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define LONG_MAX_TEXT 511u /* bytes of a decimal that strtod is asked about */

static const double ten_to[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static bool is_digit(uint8_t c)
{
    return (uint8_t)(c - '0') < 10;
}

/* A decimal taken apart. Digits behind the nineteenth are not in mantissa: then it is not exact. */
typedef struct decimal {
    uint64_t mantissa;
    int32_t exponent;
    bool negative;
    bool exact;
} decimal;

static const uint8_t *read_digits(const uint8_t *p, const uint8_t *end, uint64_t *mantissa)
{
    uint64_t m = *mantissa;
    for (; p < end && is_digit(*p); p++)
        m = m * 10 + (uint64_t)(*p - '0');
    *mantissa = m;
    return p;
}

/* The number behind an 'e'; false when there is none. Clipped far outside of what doubles have. */
static bool read_exponent(const uint8_t *p, const uint8_t *end, int32_t *out)
{
    bool negative = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    if (p == end)
        return false;
    int32_t v = 0;
    for (; p < end; p++) {
        if (!is_digit(*p))
            return false;
        if (v < 100000)
            v = v * 10 + (*p - '0');
    }
    *out = negative ? -v : v;
    return true;
}

static bool read_decimal(vv_slice text, decimal *d)
{
    const uint8_t *p = text.data, *end = text.data + text.len;
    *d = (decimal){.negative = *p == '-'};
    if (*p == '-' || *p == '+')
        p++;
    const uint8_t *whole = p;
    p = read_digits(p, end, &d->mantissa);
    size_t digits = (size_t)(p - whole);
    int32_t shift = 0;
    if (p < end && *p == '.') {
        const uint8_t *fraction = ++p;
        p = read_digits(p, end, &d->mantissa);
        shift = (int32_t)(p - fraction);
        digits += (size_t)shift;
    }
    if (digits == 0)
        return false;
    if (p < end && (*p | 0x20) == 'e') {
        if (!read_exponent(p + 1, end, &d->exponent))
            return false;
        p = end;
    }
    d->exponent -= shift;
    d->exact =
        digits <= 19 && d->mantissa <= UINT64_C(1) << 53 && d->exponent >= -22 && d->exponent <= 22;
    return p == end;
}

static bool parse_long(vv_slice text, double *out)
{
    char copy[LONG_MAX_TEXT + 1];
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    char *stop = copy;
    double v = strtod(copy, &stop);
    if (stop != copy + text.len || !isfinite(v))
        return false;
    *out = v;
    return true;
}

bool vv_decimal_double(vv_slice text, double *out)
{
    decimal d;
    if (text.len == 0 || text.len > LONG_MAX_TEXT || !read_decimal(text, &d))
        return false;
    if (!d.exact)
        return parse_long(text, out);
    double v = (double)d.mantissa;
    v = d.exponent < 0 ? v / ten_to[-d.exponent] : v * ten_to[d.exponent];
    *out = d.negative ? -v : v;
    return true;
}

bool vv_decimal_int(vv_slice text, int64_t *out)
{
    const uint8_t *p = text.data, *end = text.len == 0 ? p : p + text.len;
    bool negative = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    if (p == end)
        return false;
    while (end - p > 1 && *p == '0')
        p++;
    if (end - p > 19)
        return false;
    const uint8_t *digits = p;
    uint64_t v = 0;
    p = read_digits(digits, end, &v);
    uint64_t limit = (uint64_t)INT64_MAX + (negative ? 1u : 0u);
    if (p != end || v > limit)
        return false;
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}
