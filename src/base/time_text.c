/*
 * time_text.c - see time_text.h.
 */
#include "base/time_text.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/civil.h"
#include "base/util.h"

#define NS_PER_S INT64_C(1000000000)
#define DAY_S INT64_C(86400)

static int64_t month_days(int64_t y, int64_t m)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    return m == 2 && leap ? 29 : days[m - 1];
}

/* Exactly n digits at *p. */
static bool read_digits(const uint8_t **p, const uint8_t *end, int n, int64_t *out)
{
    int64_t v = 0;
    if (end - *p < n)
        return false;
    for (int i = 0; i < n; i++, ++*p) {
        if (**p < '0' || **p > '9')
            return false;
        v = v * 10 + (**p - '0');
    }
    *out = v;
    return true;
}

static bool read_char(const uint8_t **p, const uint8_t *end, const char *any_of)
{
    if (*p == end || **p == 0 || strchr(any_of, **p) == NULL)
        return false;
    ++*p;
    return true;
}

static bool read_date(const uint8_t **p, const uint8_t *end, int64_t *days)
{
    int64_t y;
    int64_t m;
    int64_t d;
    if (!read_digits(p, end, 4, &y) || !read_char(p, end, "-") || !read_digits(p, end, 2, &m) ||
        !read_char(p, end, "-") || !read_digits(p, end, 2, &d))
        return false;
    if (m < 1 || m > 12 || d < 1 || d > month_days(y, m))
        return false;
    *days = vv_days_of_civil(y, m, d);
    return true;
}

/* ".123": at least one digit, those past the ninth are cut. */
static bool read_fraction(const uint8_t **p, const uint8_t *end, int64_t *nanos)
{
    int64_t scale = NS_PER_S / 10;
    if (*p == end || **p < '0' || **p > '9')
        return false;
    for (; *p < end && **p >= '0' && **p <= '9'; ++*p, scale /= 10)
        *nanos += (**p - '0') * scale;
    return true;
}

static bool read_offset(const uint8_t **p, const uint8_t *end, int64_t *offset_s)
{
    int64_t h;
    int64_t m;
    if (read_char(p, end, "Zz"))
        return true;
    bool west = *p < end && **p == '-';
    if (!read_char(p, end, "+-") || !read_digits(p, end, 2, &h) || !read_char(p, end, ":") ||
        !read_digits(p, end, 2, &m) || h > 23 || m > 59)
        return false;
    *offset_s = (h * 3600 + m * 60) * (west ? -1 : 1);
    return true;
}

static bool read_clock(const uint8_t **p, const uint8_t *end, int64_t *seconds, int64_t *nanos)
{
    int64_t h;
    int64_t m;
    int64_t s;
    if (!read_digits(p, end, 2, &h) || !read_char(p, end, ":") || !read_digits(p, end, 2, &m) ||
        !read_char(p, end, ":") || !read_digits(p, end, 2, &s))
        return false;
    if (h > 23 || m > 59 || s > 60)
        return false;
    *seconds = h * 3600 + m * 60 + s;
    return !read_char(p, end, ".") || read_fraction(p, end, nanos);
}

bool time_from_parts(int64_t seconds, int64_t nanos, int64_t *out_ns)
{
    int64_t ns;
    if (nanos < 0 || nanos >= NS_PER_S)
        return false;
    if (seconds < 0 && nanos > 0) { /* towards zero, so that the lowest second can be reached */
        seconds++;
        nanos -= NS_PER_S;
    }
    if (__builtin_mul_overflow(seconds, NS_PER_S, &ns) || __builtin_add_overflow(ns, nanos, &ns))
        return false;
    *out_ns = ns;
    return true;
}

bool time_text_parse(vv_slice text, int64_t *out_ns)
{
    const uint8_t *p = text.data;
    const uint8_t *end = text.len == 0 ? p : p + text.len;
    int64_t days;
    int64_t seconds = 0;
    int64_t nanos = 0;
    int64_t offset_s = 0;
    if (p == end || !read_date(&p, end, &days))
        return false;
    if (p != end && (!read_char(&p, end, "Tt ") || !read_clock(&p, end, &seconds, &nanos) ||
                     !read_offset(&p, end, &offset_s) || p != end))
        return false;
    return time_from_parts(days * DAY_S + seconds - offset_s, nanos, out_ns);
}

/* "UTC", "GMT", "Z", "+02", "+02:00", "+0200", or nothing. */
static bool read_loose_offset(const uint8_t *p, const uint8_t *end, int64_t *offset_s)
{
    int64_t h;
    int64_t m = 0;
    if (p < end && *p == ' ')
        p++;
    if (p == end || (end - p == 1 && (*p | 0x20) == 'z'))
        return true;
    if (end - p == 3 && (memcmp(p, "UTC", 3) == 0 || memcmp(p, "GMT", 3) == 0))
        return true;
    bool west = *p == '-';
    if (!read_char(&p, end, "+-") || !read_digits(&p, end, 2, &h) || h > 23)
        return false;
    if (p != end && ((void)read_char(&p, end, ":"), !read_digits(&p, end, 2, &m) || p != end))
        return false;
    *offset_s = (h * 3600 + m * 60) * (west ? -1 : 1);
    return m < 60;
}

/* HH:MM, HH:MM:SS, HH:MM:SS.fraction */
static bool read_loose_clock(const uint8_t **p, const uint8_t *end, int64_t *seconds,
                             int64_t *nanos)
{
    int64_t h;
    int64_t m;
    int64_t s = 0;
    if (!read_digits(p, end, 2, &h) || !read_char(p, end, ":") || !read_digits(p, end, 2, &m) ||
        (read_char(p, end, ":") && (!read_digits(p, end, 2, &s) ||
                                    (read_char(p, end, ".,") && !read_fraction(p, end, nanos)))))
        return false;
    *seconds = h * 3600 + m * 60 + s;
    return h <= 23 && m <= 59 && s <= 60;
}

bool time_text_parse_loose(vv_slice text, int64_t *out_ns)
{
    uint8_t date[10];
    int64_t days;
    int64_t seconds = 0;
    int64_t nanos = 0;
    int64_t offset_s = 0;
    if (text.len < sizeof date)
        return false;
    memcpy(date, text.data, sizeof date);
    if (date[4] == '/' && date[7] == '/')
        date[4] = date[7] = '-';
    const uint8_t *p = date;
    const uint8_t *end = text.data + text.len;
    if (!read_date(&p, date + sizeof date, &days))
        return false;
    p = text.data + sizeof date;
    if (p != end && (!read_char(&p, end, "Tt ") || !read_loose_clock(&p, end, &seconds, &nanos) ||
                     !read_loose_offset(p, end, &offset_s)))
        return false;
    return time_from_parts(days * DAY_S + seconds - offset_s, nanos, out_ns);
}

void time_text_format(int64_t ns, char out[TIME_TEXT_MAX])
{
    int64_t seconds = ns / NS_PER_S;
    int64_t nanos = ns % NS_PER_S;
    if (nanos < 0) {
        nanos += NS_PER_S;
        seconds--;
    }
    int64_t days = seconds / DAY_S;
    int64_t rest = seconds % DAY_S;
    if (rest < 0) {
        rest += DAY_S;
        days--;
    }
    const vv_civil date = vv_civil_of_days(days);
    int n = snprintf(out, TIME_TEXT_MAX, "%04d-%02d-%02dT%02d:%02d:%02d", (int)date.year,
                     (int)date.month, (int)date.day, (int)(rest / 3600), (int)(rest / 60 % 60),
                     (int)(rest % 60));
    size_t at = (size_t)n;
    if (nanos % 1000000 == 0 && nanos != 0)
        n = snprintf(out + at, TIME_TEXT_MAX - at, ".%03dZ", (int)(nanos / 1000000));
    else if (nanos % 1000 == 0 && nanos != 0)
        n = snprintf(out + at, TIME_TEXT_MAX - at, ".%06dZ", (int)(nanos / 1000));
    else if (nanos != 0)
        n = snprintf(out + at, TIME_TEXT_MAX - at, ".%09dZ", (int)nanos);
    else
        n = snprintf(out + at, TIME_TEXT_MAX - at, "Z");
    (void)n;
}

bool time_text_parse_number(vv_slice text, int64_t unit_ns, int64_t *out_ns)
{
    const uint8_t *p = text.data;
    const uint8_t *end = text.len == 0 ? p : p + text.len;
    bool negative = read_char(&p, end, "-");
    int64_t whole = 0;
    int64_t nanos = 0;
    if (p == end || *p < '0' || *p > '9')
        return false;
    for (; p < end && *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(whole, 10, &whole) ||
            __builtin_add_overflow(whole, *p - '0', &whole))
            return false;
    if (p != end && (!read_char(&p, end, ".") || !read_fraction(&p, end, &nanos) || p != end))
        return false;
    nanos /= NS_PER_S / unit_ns;
    if (__builtin_mul_overflow(whole, unit_ns, &whole) ||
        __builtin_add_overflow(whole, nanos, &whole))
        return false;
    *out_ns = negative ? -whole : whole;
    return true;
}

/* The unit of a number without one, by its size: 1e11 seconds lie in the year 5138, as many
 * milliseconds in 1973. */
static int64_t unit_of(vv_slice number)
{
    static const struct {
        size_t digits;
        int64_t unit_ns;
    } steps[] = {{11, VV_NS_PER_S}, {14, VV_NS_PER_MS}, {17, VV_NS_PER_US}};
    size_t digits = 0;
    for (size_t i = 0; i < number.len && number.data[i] != '.'; i++)
        digits += number.data[i] >= '0' && number.data[i] <= '9';
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        if (digits <= steps[i].digits)
            return steps[i].unit_ns;
    return 1;
}

bool time_text_parse_any(vv_slice text, int64_t *out_ns)
{
    static const struct {
        const char *name;
        int64_t unit_ns;
    } units[] = {{"ms", VV_NS_PER_MS}, {"us", VV_NS_PER_US}, {"ns", 1}, {"s", VV_NS_PER_S}};
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        size_t len = strlen(units[i].name);
        if (text.len > len && memcmp(text.data + text.len - len, units[i].name, len) == 0)
            return time_text_parse_number(vv_slice_of(text.data, text.len - len), units[i].unit_ns,
                                          out_ns);
    }
    return time_text_parse_number(text, unit_of(text), out_ns) || time_text_parse(text, out_ns);
}

bool time_from_seconds(double seconds, int64_t *out_ns)
{
    double whole = floor(seconds);
    if (!(whole >= -9.3e9 && whole <= 9.3e9)) /* also NaN */
        return false;
    double nanos = floor((seconds - whole) * 1e9 + 0.5);
    if (nanos >= 1e9) {
        whole += 1;
        nanos = 0;
    }
    return time_from_parts((int64_t)whole, (int64_t)nanos, out_ns);
}
