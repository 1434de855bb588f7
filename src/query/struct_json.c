/*
 * struct_json.c - the writer's half of struct_json.h: Struct bytes to JSON text.
 */
#include "query/struct_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/shortest.h"
#include "base/time_text.h"
#include "codec/utf8.h"

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

static vv_status put_struct(vv_buf *out, vv_slice structure, unsigned depth);

static vv_status put_list(vv_buf *out, vv_slice list, unsigned depth);

static vv_status put_value(vv_buf *out, const struct_value *v, unsigned depth)
{
    char text[TIME_TEXT_MAX];
    switch (v->type) {
    case STRUCT_NUMBER:
        json_put_number(out, v->number);
        return VV_OK;
    case STRUCT_STRING:
        json_put_string(out, v->bytes);
        return VV_OK;
    case STRUCT_BOOL:
        vv_buf_append_str(out, v->boolean ? "true" : "false");
        return VV_OK;
    case STRUCT_TIME:
        time_text_format(v->time_ns, text);
        json_put_string(out, vv_slice_str(text));
        return VV_OK;
    case STRUCT_LIST:
        return depth == 0 ? VV_INVALID : put_list(out, v->bytes, depth - 1);
    case STRUCT_STRUCT:
        return depth == 0 ? VV_INVALID : put_struct(out, v->bytes, depth - 1);
    case STRUCT_NULL:
        break;
    }
    vv_buf_append_str(out, "null");
    return VV_OK;
}

static vv_status put_list(vv_buf *out, vv_slice list, unsigned depth)
{
    wire_reader r = wire_reader_of(list);
    vv_slice bytes;
    int more;
    bool first = true;
    vv_buf_append_u8(out, '[');
    while ((more = struct_next_element(&r, &bytes)) > 0) {
        struct_value v;
        vv_status st = struct_value_parse(bytes, &v);
        if (!first)
            vv_buf_append_u8(out, ',');
        first = false;
        if (st == VV_OK)
            st = put_value(out, &v, depth);
        if (st != VV_OK)
            return st;
    }
    vv_buf_append_u8(out, ']');
    return more < 0 ? VV_CORRUPT : VV_OK;
}

#define REPEAT_LOOK_AHEAD 256 /* entries behind one in which its key is looked for again */

/* True when one of the next entries has the same key: then this one is not the last. The look
 * ahead is bounded so that a hostile struct costs no more than linear time; a repeat further away
 * prints twice, and readers of JSON take the last as well. */
static bool comes_again(wire_reader r, vv_slice key)
{
    vv_slice name;
    vv_slice value;
    for (int i = 0; i < REPEAT_LOOK_AHEAD && struct_next_entry(&r, &name, &value) > 0; i++)
        if (vv_slice_eq(name, key))
            return true;
    return false;
}

static vv_status put_struct(vv_buf *out, vv_slice structure, unsigned depth)
{
    wire_reader r = wire_reader_of(structure);
    vv_slice key;
    vv_slice bytes;
    int more;
    bool first = true;
    vv_buf_append_u8(out, '{');
    while ((more = struct_next_entry(&r, &key, &bytes)) > 0) {
        struct_value v;
        if (comes_again(r, key))
            continue;
        vv_status st = struct_value_parse(bytes, &v);
        if (!first)
            vv_buf_append_u8(out, ',');
        first = false;
        json_put_string(out, key);
        vv_buf_append_u8(out, ':');
        if (st == VV_OK)
            st = put_value(out, &v, depth);
        if (st != VV_OK)
            return st;
    }
    vv_buf_append_u8(out, '}');
    return more < 0 ? VV_CORRUPT : VV_OK;
}

vv_status json_put_struct(vv_buf *out, vv_slice structure)
{
    return put_struct(out, structure, STRUCT_DEPTH_MAX);
}

vv_status json_put_value(vv_buf *out, const struct_value *value)
{
    return put_value(out, value, STRUCT_DEPTH_MAX);
}
