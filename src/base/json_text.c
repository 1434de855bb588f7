/*
 * json_text.c - see json_text.h.
 */
#include "base/json_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/shortest.h"
#include "base/utf8.h"

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
    default:
        return NULL;
    }
}

void json_put_string(vv_buf *out, vv_slice text)
{
    static const char hex[] = "0123456789abcdef";
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
        if (n > 1) {
            vv_buf_append(out, p, n);
            p += n;
            continue;
        }
        if (n == 0) {
            vv_buf_append_str(out, "\xef\xbf\xbd");
        } else if (*p == '"' || *p == '\\') {
            vv_buf_append(out, (const uint8_t[]){'\\', *p}, 2);
        } else if (short_escape(*p) != NULL) {
            vv_buf_append_str(out, short_escape(*p));
        } else if (*p == 0x7f) {
            vv_buf_append_u8(out, *p);
        } else {
            vv_buf_append_str(out, "\\u00");
            vv_buf_append_u8(out, (uint8_t)hex[*p >> 4]);
            vv_buf_append_u8(out, (uint8_t)hex[*p & 15]);
        }
        p++;
    }
    vv_buf_append_u8(out, '"');
}

void json_put_number(vv_buf *out, double number)
{
    char text[40];
    vv_digits digits;
    if (isnan(number)) {
        vv_buf_append_str(out, "\"NaN\"");
        return;
    }
    if (isinf(number)) {
        vv_buf_append_str(out, number > 0 ? "\"Infinity\"" : "\"-Infinity\"");
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
    if (json_is_big_integer(vv_slice_str(text)))
        vv_buf_append_str(out, ".0");
}

void json_put_base64(vv_buf *out, vv_slice bytes)
{
    vv_buf_append_u8(out, '"');
    vv_base64_put(out, bytes);
    vv_buf_append_u8(out, '"');
}

bool json_is_big_integer(vv_slice text)
{
    static const char limit[] = "9007199254740992"; /* 2^53 */
    size_t sign = text.len > 0 && text.data[0] == '-';
    size_t digits = text.len - sign;
    if (digits < sizeof limit - 1)
        return false;
    for (size_t i = sign; i < text.len; i++)
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
    return digits > sizeof limit - 1 || memcmp(text.data + sign, limit, digits) > 0;
}
