/*
 * otlp_value.c - values and attributes: what messages and labels take of them.
 */
#include "base/base64.h"
#include "base/json_text.h"
#include "base/shortest.h"
#include "otlp/otlp_int.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

otlp_value otlp_value_read(vv_slice any)
{
    wire_reader r = wire_reader_of(any);
    wire_field f = {0};
    otlp_value v = {.kind = OTLP_NONE};
    while (wire_next(&r, &f) > 0) {
        switch (f.number) {
        case OTLP_STRING:
        case OTLP_ARRAY:
        case OTLP_KVLIST:
        case OTLP_BYTES:
            v = (otlp_value){.kind = (otlp_kind)f.number, .bytes = f.bytes};
            break;
        case OTLP_BOOL:
            v = (otlp_value){.kind = OTLP_BOOL, .number = f.value != 0};
            break;
        case OTLP_INT:
            v = (otlp_value){.kind = OTLP_INT, .number = (int64_t)f.value};
            break;
        case OTLP_DOUBLE:
            v = (otlp_value){.kind = OTLP_DOUBLE, .real = wire_double(f.value)};
            break;
        default:
            break;
        }
    }
    return v;
}

otlp_value otlp_attribute_read(vv_slice key_value, vv_slice *key)
{
    wire_reader r = wire_reader_of(key_value);
    wire_field f = {0};
    otlp_value v = {.kind = OTLP_NONE};
    *key = (vv_slice){0};
    while (wire_next(&r, &f) > 0) {
        if (f.number == 1)
            *key = f.bytes;
        else if (f.number == 2)
            v = otlp_value_read(f.bytes);
    }
    return v;
}

/* ---- attributes of messages ---- */

static uint64_t bit_of(vv_slice name)
{
    unsigned sum = (unsigned)name.len * 7u + name.data[0] * 3u + name.data[name.len - 1] +
                   name.data[name.len / 2] * 5u;
    return UINT64_C(1) << sum % 64;
}

static bool has_name(const otlp_attributes *a, vv_slice name, uint64_t bit)
{
    for (size_t i = 0; (a->seen & bit) != 0 && i < a->count; i++)
        if (vv_slice_eq(a->item[i].name, name))
            return true;
    return false;
}

void otlp_attributes_add(otlp_attributes *a, const vv_attribute *one)
{
    const size_t bytes = one->name.len + one->bytes.len;
    if (a->count == OTLP_ATTRIBUTES_MAX || one->name.len == 0 ||
        one->name.len > VV_STREAM_ATTRIBUTE_NAME_MAX || one->bytes.len > OTLP_ATTRIBUTE_BYTES ||
        bytes > OTLP_ATTRIBUTES_BYTES - a->bytes)
        return;
    const uint64_t bit = bit_of(one->name);
    if (has_name(a, one->name, bit))
        return;
    a->seen |= bit;
    a->bytes += bytes;
    a->item[a->count++] = *one;
}

void otlp_attributes_text(otlp_attributes *a, const char *name, vv_slice text)
{
    if (text.len > 0)
        otlp_attributes_add(a, &(vv_attribute){.name = vv_slice_str(name),
                                               .type = VV_ATTRIBUTE_STRING,
                                               .bytes = text});
}

void otlp_attributes_int(otlp_attributes *a, const char *name, int64_t number)
{
    otlp_attributes_add(
        a, &(vv_attribute){.name = vv_slice_str(name), .type = VV_ATTRIBUTE_I64, .i64 = number});
}

void otlp_attributes_from(otlp_attributes *a, vv_slice message, uint32_t number)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    while (wire_next(&r, &f) > 0) {
        vv_attribute one = {0};
        if (f.number != number)
            continue;
        otlp_value v = otlp_attribute_read(f.bytes, &one.name);
        one.bytes = v.bytes;
        one.i64 = v.number;
        one.f64 = v.real;
        switch (v.kind) {
        case OTLP_STRING:
            one.type = VV_ATTRIBUTE_STRING;
            break;
        case OTLP_BOOL:
            one.type = VV_ATTRIBUTE_BOOL;
            break;
        case OTLP_INT:
            one.type = VV_ATTRIBUTE_I64;
            break;
        case OTLP_DOUBLE:
            one.type = VV_ATTRIBUTE_F64;
            break;
        case OTLP_BYTES:
            one.type = VV_ATTRIBUTE_BYTES;
            break;
        default:
            continue;
        }
        otlp_attributes_add(a, &one);
    }
}

/* ---- text ---- */

static void put_double(vv_buf *out, double value, bool is_json)
{
    char text[VV_DIGITS_TEXT];
    vv_digits digits;
    if (!isfinite(value)) {
        const char *name = isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
        vv_buf_append_str(out, is_json ? "\"" : "");
        vv_buf_append_str(out, name);
        vv_buf_append_str(out, is_json ? "\"" : "");
    } else if (value == 0) {
        vv_buf_append_str(out, "0");
    } else if (vv_shortest(value, &digits)) {
        vv_buf_append(out, text, vv_digits_text(&digits, signbit(value), text));
    } else {
        vv_buf_printf(out, "%.17g", value);
    }
}

/* Bytes that are not UTF-8 stay: whoever takes the text looks. */
static void put_string(vv_buf *out, vv_slice text)
{
    vv_buf_append_u8(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        const uint8_t c = text.data[i];
        if (c < 0x20) {
            vv_buf_printf(out, "\\u%04x", c);
            continue;
        }
        if (c == '"' || c == '\\')
            vv_buf_append_u8(out, '\\');
        vv_buf_append_u8(out, c);
    }
    vv_buf_append_u8(out, '"');
}

static void put_json(vv_buf *out, const otlp_value *value);

/* The members of an ArrayValue or a KeyValueList. otlp_check bounds the depth. */
static void put_list(vv_buf *out, const otlp_value *list)
{
    const bool is_map = list->kind == OTLP_KVLIST;
    wire_reader r = wire_reader_of(list->bytes);
    wire_field f = {0};
    const char *comma = "";
    vv_buf_append_u8(out, is_map ? '{' : '[');
    while (wire_next(&r, &f) > 0 && out->status == VV_OK) {
        vv_slice key;
        if (f.number != 1)
            continue;
        otlp_value v = is_map ? otlp_attribute_read(f.bytes, &key) : otlp_value_read(f.bytes);
        vv_buf_append_str(out, comma);
        comma = ",";
        if (is_map) {
            put_string(out, key);
            vv_buf_append_u8(out, ':');
        }
        put_json(out, &v);
    }
    vv_buf_append_u8(out, is_map ? '}' : ']');
}

static void put_json(vv_buf *out, const otlp_value *value)
{
    switch (value->kind) {
    case OTLP_STRING:
        put_string(out, value->bytes);
        break;
    case OTLP_BYTES:
        json_put_base64(out, value->bytes);
        break;
    case OTLP_BOOL:
        vv_buf_append_str(out, value->number != 0 ? "true" : "false");
        break;
    case OTLP_INT:
        vv_buf_printf(out, "%" PRId64, value->number);
        break;
    case OTLP_DOUBLE:
        put_double(out, value->real, true);
        break;
    case OTLP_ARRAY:
    case OTLP_KVLIST:
        put_list(out, value);
        break;
    case OTLP_NONE:
    default:
        vv_buf_append_str(out, "null");
        break;
    }
}

vv_slice otlp_value_text(const otlp_value *value, vv_buf *scratch)
{
    const size_t from = scratch->len;
    switch (value->kind) {
    case OTLP_STRING:
        return value->bytes;
    case OTLP_NONE:
        return (vv_slice){0};
    case OTLP_BYTES:
        vv_base64_put(scratch, value->bytes);
        break;
    case OTLP_DOUBLE:
        put_double(scratch, value->real, false);
        break;
    default:
        put_json(scratch, value);
        break;
    }
    return vv_slice_of(scratch->data + from, scratch->len - from);
}
