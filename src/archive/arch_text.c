/*
 * arch_text.c - times, numbers and bytes as text, for names and for JSON.
 *
 * The JSON is that of queries (query/struct_json.c), so that a tool reads both alike: the same
 * escapes, the same digits of a number.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "archive/arch_int.h"
#include "base/shortest.h"
#include "base/util.h"
#include "codec/utf8.h"

/* ---- times ---- */

/* H. Hinnant, "chrono-compatible low-level date algorithms": days since 1970 to the calendar. */
void arch_date_of(int64_t ns, arch_date *out)
{
    int64_t seconds = ns / VV_NS_PER_S - (ns % VV_NS_PER_S < 0);
    int64_t days = seconds / 86400 - (seconds % 86400 < 0);
    unsigned of_day = (unsigned)(seconds - days * 86400);
    int64_t shifted = days + 719468; /* from 0000-03-01 on */
    int64_t era = shifted / 146097;  /* positive for every int64 of nanoseconds */
    unsigned doe = (unsigned)(shifted - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    unsigned mp = (5 * doy + 2) / 153;
    out->day = doy - (153 * mp + 2) / 5 + 1;
    out->month = mp < 10 ? mp + 3 : mp - 9;
    out->year = yoe + (unsigned)era * 400 + (out->month <= 2);
    out->hour = of_day / 3600;
    out->minute = of_day / 60 % 60;
    out->second = of_day % 60;
    out->ns = (unsigned)((ns % VV_NS_PER_S + VV_NS_PER_S) % VV_NS_PER_S);
}

void arch_time_text(int64_t ns, char out[ARCH_TIME_TEXT])
{
    arch_date d;
    arch_date_of(ns, &d);
    int n = snprintf(out, ARCH_TIME_TEXT, "%04u-%02u-%02uT%02u:%02u:%02u", d.year, d.month, d.day,
                     d.hour, d.minute, d.second);
    size_t at = (size_t)n;
    if (d.ns == 0)
        (void)snprintf(out + at, ARCH_TIME_TEXT - at, "Z");
    else if (d.ns % 1000000 == 0)
        (void)snprintf(out + at, ARCH_TIME_TEXT - at, ".%03uZ", d.ns / 1000000);
    else if (d.ns % 1000 == 0)
        (void)snprintf(out + at, ARCH_TIME_TEXT - at, ".%06uZ", d.ns / 1000);
    else
        (void)snprintf(out + at, ARCH_TIME_TEXT - at, ".%09uZ", d.ns);
}

/* ---- JSON ---- */

static const char *short_escape(uint8_t c)
{
    switch (c) {
    case '\n':
        return "\\n";
    case '\t':
        return "\\t";
    case '\r':
        return "\\r";
    case '\b':
        return "\\b";
    case '\f':
        return "\\f";
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    default:
        return NULL;
    }
}

static void put_escaped(vv_buf *out, uint8_t c)
{
    static const char hex[] = "0123456789abcdef";
    if (short_escape(c) != NULL) {
        vv_buf_append_str(out, short_escape(c));
        return;
    }
    if (c == 0x7f) {
        vv_buf_append_u8(out, c);
        return;
    }
    vv_buf_append_str(out, "\\u00");
    vv_buf_append_u8(out, (uint8_t)hex[c >> 4]);
    vv_buf_append_u8(out, (uint8_t)hex[c & 15]);
}

void arch_json_string(vv_buf *out, vv_slice text)
{
    const uint8_t *p = text.data;
    const uint8_t *end = text.len == 0 ? p : p + text.len;
    vv_buf_append_u8(out, '"');
    while (p < end) {
        const uint8_t *plain = p;
        while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\')
            p++;
        vv_buf_append(out, plain, (size_t)(p - plain));
        if (p == end)
            break;
        size_t n = utf8_length(p, end);
        if (n > 1)
            vv_buf_append(out, p, n);
        else if (n == 1)
            put_escaped(out, *p);
        else
            vv_buf_append_str(out, "\xef\xbf\xbd");
        p += n == 0 ? 1 : n;
    }
    vv_buf_append_u8(out, '"');
}

void arch_json_number(vv_buf *out, double number)
{
    char text[40];
    vv_digits digits;
    if (isnan(number) || isinf(number)) {
        vv_buf_append_str(out, isnan(number) ? "\"NaN\""
                               : number > 0  ? "\"Infinity\""
                                             : "\"-Infinity\"");
        return;
    }
    if (vv_shortest(number, &digits)) {
        vv_buf_append(out, text, vv_digits_text(&digits, number < 0, text));
        return;
    }
    if (number == floor(number) && fabs(number) <= 9007199254740992.0) {
        (void)snprintf(text, sizeof text, "%.0f", number);
        vv_buf_append_str(out, text);
        return;
    }
    for (int n = 15; n <= 17; n++) {
        (void)snprintf(text, sizeof text, "%.*g", n, number);
        if (strtod(text, NULL) == number)
            break;
    }
    vv_buf_append_str(out, text);
}

void arch_json_base64(vv_buf *out, vv_slice bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = (bytes.len + 2) / 3 * 4 + 2;
    uint8_t *to = vv_buf_reserve(out, len);
    if (to == NULL)
        return;
    *to++ = '"';
    for (size_t i = 0; i < bytes.len; i += 3) {
        const uint8_t *p = bytes.data + i;
        size_t left = bytes.len - i;
        uint32_t v =
            (uint32_t)p[0] << 16 | (left > 1 ? (uint32_t)p[1] << 8 : 0) | (left > 2 ? p[2] : 0);
        *to++ = (uint8_t)digits[v >> 18];
        *to++ = (uint8_t)digits[v >> 12 & 63];
        *to++ = left > 1 ? (uint8_t)digits[v >> 6 & 63] : '=';
        *to++ = left > 2 ? (uint8_t)digits[v & 63] : '=';
    }
    *to = '"';
    vv_buf_advance(out, len);
}

void arch_json_attribute(vv_buf *out, const vv_attribute *a)
{
    char time[ARCH_TIME_TEXT];
    switch (a->type) {
    case VV_ATTRIBUTE_STRING:
    case VV_ATTRIBUTE_BYTES:
        if (a->type == VV_ATTRIBUTE_STRING && utf8_is_valid(a->bytes)) {
            arch_json_string(out, a->bytes);
            return;
        }
        vv_buf_append_str(out, "{\"base64\":");
        arch_json_base64(out, a->bytes);
        vv_buf_append_u8(out, '}');
        return;
    case VV_ATTRIBUTE_I64:
        vv_buf_printf(out, "%" PRId64, a->i64);
        return;
    case VV_ATTRIBUTE_F64:
        arch_json_number(out, a->f64);
        return;
    case VV_ATTRIBUTE_BOOL:
        vv_buf_append_str(out, a->i64 != 0 ? "true" : "false");
        return;
    case VV_ATTRIBUTE_TIME:
        arch_time_text(a->i64, time);
        vv_buf_printf(out, "\"%s\"", time);
        return;
    }
}
