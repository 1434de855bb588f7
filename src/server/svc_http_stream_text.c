/*
 * svc_http_stream_text.c - messages as JSON, both ways: what is read can be appended again.
 *
 *   {"offset":7,"partition":0,"received":"2026-...Z","event":"2026-...Z","key":"k","value":"v",
 *    "content_type":"text/plain","source":"line 1",
 *    "attributes":{"n":5,"ratio":0.5,"on":true,"name":"x","raw":{"base64":"AAE="},
 *                  "at":{"time":"2026-...Z"}}}
 *
 * Bytes that are not UTF-8 stand as "key_base64" and "value_base64". Of an appended message, value
 * may be any JSON: a string is its text, anything else its JSON, and then content_type is
 * application/json where none is said. "offset", "partition" and "received" are not looked at.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/attribute_json.h"
#include "base/base64.h"
#include "base/error.h"
#include "base/time_text.h"
#include "base/utf8.h"
#include "base/util.h"
#include "query/struct_json.h"
#include "server/svc_http_stream.h"
#include "server/svc_json_scan.h"

#define NUMBER_TEXT_MAX 64u

/* ---- writing ---- */

static void put_bytes(vv_buf *out, const char *name, vv_slice bytes)
{
    const bool is_text = utf8_is_valid(bytes);
    vv_buf_printf(out, ",\"%s%s\":", name, is_text ? "" : "_base64");
    if (is_text)
        json_put_string(out, bytes);
    else
        json_put_base64(out, bytes);
}

static void put_time(vv_buf *out, int64_t ns)
{
    char text[TIME_TEXT_MAX];
    time_text_format(ns, text);
    vv_buf_append_u8(out, '"');
    vv_buf_append_str(out, text);
    vv_buf_append_u8(out, '"');
}

static void put_object(vv_buf *out, const vv_message *m)
{
    vv_buf_printf(out, "{\"offset\":%" PRIu64 ",\"partition\":%u,\"received\":", m->offset,
                  m->partition);
    put_time(out, m->receive_time_ns);
    if (m->event_time_ns != 0) {
        vv_buf_append_str(out, ",\"event\":");
        put_time(out, m->event_time_ns);
    }
    if (m->key.len > 0)
        put_bytes(out, "key", m->key);
    put_bytes(out, "value", m->value);
    if (m->content_type.len > 0)
        put_bytes(out, "content_type", m->content_type);
    if (m->source.len > 0)
        put_bytes(out, "source", m->source);
    for (size_t i = 0; i < m->attribute_count; i++) {
        vv_buf_append_str(out, i == 0 ? ",\"attributes\":{" : ",");
        json_put_attribute(out, &m->attributes[i]);
    }
    vv_buf_append_str(out, m->attribute_count > 0 ? "}}" : "}");
}

void svc_stream_put_json(vv_buf *out, const vv_message *m)
{
    put_object(out, m);
    vv_buf_append_u8(out, '\n');
}

void svc_stream_put_event(vv_buf *out, const vv_message *m)
{
    vv_buf_printf(out, "id: %" PRIu64 "\ndata: ", m->offset);
    put_object(out, m);
    vv_buf_append_str(out, "\n\n");
}

/* ---- reading ---- */

typedef struct body_reader {
    vv_arena *arena;
    vv_message *messages;
    size_t count;
    size_t max; /* that messages has room for */
    vv_error *err;
} body_reader;

static vv_status bad(body_reader *b, const char *name, const char *what)
{
    return vv_fail(b->err, VV_INVALID, "message %zu: %s %s", b->count, name, what);
}

static vv_status no_memory(body_reader *b)
{
    return vv_fail(b->err, VV_NO_MEMORY, "no memory for messages");
}

static vv_status take_text(body_reader *b, const char *name, const svc_scan_value *v, vv_slice *out)
{
    if (v->kind != SVC_SCAN_STRING)
        return bad(b, name, "is a string");
    *out = svc_scan_text(v, b->arena);
    return out->data == NULL ? no_memory(b) : VV_OK;
}

static vv_status take_base64(body_reader *b, const char *name, const svc_scan_value *v,
                             vv_slice *out)
{
    vv_slice text = {0};
    uint32_t bits = 0;
    unsigned have = 0;
    size_t len = 0;
    vv_status st = take_text(b, name, v, &text);
    if (st != VV_OK)
        return st;
    for (unsigned pads = 0; pads < 2 && text.len > 0 && text.data[text.len - 1] == '='; pads++)
        text.len--;
    uint8_t *to = vv_arena_alloc(b->arena, text.len + 1);
    if (to == NULL)
        return no_memory(b);
    for (size_t i = 0; i < text.len; i++) {
        const int digit = vv_base64_digit(text.data[i]);
        if (digit < 0 || text.len % 4 == 1)
            return bad(b, name, "is base64");
        bits = bits << 6 | (uint32_t)digit;
        have += 6;
        if (have >= 8) {
            have -= 8;
            to[len++] = (uint8_t)(bits >> have);
        }
    }
    *out = vv_slice_of(to, len);
    return VV_OK;
}

static vv_status take_time(body_reader *b, const char *name, const svc_scan_value *v, int64_t *out)
{
    vv_slice text;
    vv_status st = take_text(b, name, v, &text);
    if (st == VV_OK && !time_text_parse(text, out))
        st = bad(b, name, "is a time such as 2026-07-01T12:30:00.25Z");
    return st;
}

/* The digits behind a NUL, for the library. */
static bool copy_number(vv_slice text, char out[NUMBER_TEXT_MAX])
{
    if (text.len >= NUMBER_TEXT_MAX)
        return false;
    memcpy(out, text.data, text.len);
    out[text.len] = '\0';
    return true;
}

static vv_status take_integer(body_reader *b, const char *name, const svc_scan_value *v,
                              int64_t *out)
{
    const bool is_negative = v->text.data[0] == '-';
    uint64_t size = 0;
    vv_slice digits = vv_slice_of(v->text.data + is_negative, v->text.len - is_negative);
    if (!svc_parse_uint(digits, &size) || size > (uint64_t)INT64_MAX + is_negative)
        return bad(b, name, "is out of the range of int64");
    *out = is_negative ? (int64_t)(0 - size) : (int64_t)size;
    return VV_OK;
}

static vv_status take_special(body_reader *b, const svc_scan_value *v, double *out)
{
    vv_slice text = {0};
    vv_status st = take_text(b, "an attribute's f64", v, &text);
    if (st != VV_OK)
        return st;
    if (vv_slice_eq(text, vv_slice_str("NaN")))
        *out = NAN;
    else if (vv_slice_eq(text, vv_slice_str("Infinity")))
        *out = INFINITY;
    else if (vv_slice_eq(text, vv_slice_str("-Infinity")))
        *out = -INFINITY;
    else
        return bad(b, "an attribute's f64", "is NaN, Infinity or -Infinity");
    return VV_OK;
}

/* {"base64":...}, {"time":...}, {"f64":"NaN"}: types that JSON has not. */
static vv_status take_typed(body_reader *b, svc_scan_value *v, vv_attribute *a)
{
    svc_scan_value name;
    svc_scan_value value;
    svc_scan_value more;
    const bool has_one = svc_scan_member(v, &name, &value) && !svc_scan_member(v, &more, &more);
    if (has_one && vv_slice_eq(name.text, vv_slice_str("\"base64\""))) {
        a->type = VV_ATTRIBUTE_BYTES;
        return take_base64(b, "an attribute's base64", &value, &a->bytes);
    }
    if (has_one && vv_slice_eq(name.text, vv_slice_str("\"time\""))) {
        a->type = VV_ATTRIBUTE_TIME;
        return take_time(b, "an attribute's time", &value, &a->i64);
    }
    if (has_one && vv_slice_eq(name.text, vv_slice_str("\"f64\""))) {
        a->type = VV_ATTRIBUTE_F64;
        return take_special(b, &value, &a->f64);
    }
    return bad(b, "an attribute", "that is an object has one member: base64, time or f64");
}

static vv_status take_attribute(body_reader *b, const svc_scan_value *name, svc_scan_value *v,
                                vv_attribute *a)
{
    char digits[NUMBER_TEXT_MAX];
    *a = (vv_attribute){.name = svc_scan_text(name, b->arena)};
    if (a->name.data == NULL)
        return no_memory(b);
    switch (v->kind) {
    case SVC_SCAN_STRING:
        a->type = VV_ATTRIBUTE_STRING;
        return take_text(b, "an attribute", v, &a->bytes);
    case SVC_SCAN_TRUE:
    case SVC_SCAN_FALSE:
        a->type = VV_ATTRIBUTE_BOOL;
        a->i64 = v->kind == SVC_SCAN_TRUE;
        return VV_OK;
    case SVC_SCAN_INTEGER:
        a->type = VV_ATTRIBUTE_I64;
        return take_integer(b, "an attribute", v, &a->i64);
    case SVC_SCAN_NUMBER:
        a->type = VV_ATTRIBUTE_F64;
        if (!copy_number(v->text, digits))
            return bad(b, "an attribute", "has too many digits");
        a->f64 = strtod(digits, NULL);
        return isfinite(a->f64) ? VV_OK : bad(b, "an attribute", "is out of the range of a double");
    case SVC_SCAN_OBJECT:
        return take_typed(b, v, a);
    default:
        return bad(b, "an attribute", "is a string, a number, true, false, or an object");
    }
}

static vv_status take_attributes(body_reader *b, svc_scan_value *object, vv_message *m)
{
    svc_scan_value name;
    svc_scan_value value;
    svc_scan_value count = *object;
    size_t n = 0;
    if (object->kind != SVC_SCAN_OBJECT)
        return bad(b, "attributes", "is an object");
    while (svc_scan_member(&count, &name, &value))
        n++;
    if (n > VV_STREAM_ATTRIBUTES_MAX)
        return bad(b, "attributes", "has more than 256 members");
    vv_attribute *items = vv_arena_alloc(b->arena, (n + 1) * sizeof *items);
    if (items == NULL)
        return no_memory(b);
    vv_status st = VV_OK;
    for (size_t i = 0; st == VV_OK && svc_scan_member(object, &name, &value); i++)
        st = take_attribute(b, &name, &value, &items[i]);
    m->attributes = items;
    m->attribute_count = n;
    return st;
}

static vv_status take_value(body_reader *b, const svc_scan_value *v, vv_message *m)
{
    if (v->kind == SVC_SCAN_STRING)
        return take_text(b, "value", v, &m->value);
    m->value = v->text;
    if (m->content_type.len == 0)
        m->content_type = vv_slice_str("application/json");
    return VV_OK;
}

typedef enum member {
    KEY,
    KEY_BASE64,
    VALUE,
    VALUE_BASE64,
    CONTENT_TYPE,
    SOURCE,
    EVENT,
    ATTRIBUTES,
    IGNORED,
} member;

/* -1: none. */
static int member_of(vv_slice name)
{
    static const struct {
        const char *name;
        member is;
    } rows[] = {{"\"key\"", KEY},
                {"\"key_base64\"", KEY_BASE64},
                {"\"value\"", VALUE},
                {"\"value_base64\"", VALUE_BASE64},
                {"\"content_type\"", CONTENT_TYPE},
                {"\"source\"", SOURCE},
                {"\"event\"", EVENT},
                {"\"attributes\"", ATTRIBUTES},
                {"\"offset\"", IGNORED},
                {"\"partition\"", IGNORED},
                {"\"received\"", IGNORED}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (vv_slice_eq(name, vv_slice_str(rows[i].name)))
            return (int)rows[i].is;
    return -1;
}

static vv_status take_member(body_reader *b, const svc_scan_value *name, svc_scan_value *value,
                             vv_message *m)
{
    switch (member_of(name->text)) {
    case KEY:
        return take_text(b, "key", value, &m->key);
    case KEY_BASE64:
        return take_base64(b, "key_base64", value, &m->key);
    case VALUE:
        return take_value(b, value, m);
    case VALUE_BASE64:
        return take_base64(b, "value_base64", value, &m->value);
    case CONTENT_TYPE:
        return take_text(b, "content_type", value, &m->content_type);
    case SOURCE:
        return take_text(b, "source", value, &m->source);
    case EVENT:
        return take_time(b, "event", value, &m->event_time_ns);
    case ATTRIBUTES:
        return take_attributes(b, value, m);
    case IGNORED:
        return VV_OK;
    default:
        return vv_fail(b->err, VV_INVALID,
                       "message %zu: there is no member %.*s: key, value, content_type, source, "
                       "event and attributes are known",
                       b->count, (int)vv_min_u64(name->text.len, 64),
                       (const char *)name->text.data);
    }
}

/* Room for one more message; those before move. */
static vv_message *add_message(body_reader *b)
{
    if (b->count == b->max) {
        const size_t max = b->max == 0 ? 16 : 2 * b->max;
        vv_message *more = vv_arena_alloc(b->arena, max * sizeof *more);
        if (more == NULL)
            return NULL;
        if (b->count > 0)
            memcpy(more, b->messages, b->count * sizeof *more);
        b->messages = more;
        b->max = max;
    }
    b->messages[b->count] = (vv_message){.attribute_count = 0};
    return &b->messages[b->count];
}

static vv_status take_message(body_reader *b, svc_scan_value *object)
{
    svc_scan_value name;
    svc_scan_value value;
    vv_message *m = add_message(b);
    vv_status st = VV_OK;
    if (m == NULL)
        return no_memory(b);
    if (object->kind != SVC_SCAN_OBJECT)
        return bad(b, "it", "is a JSON object");
    if (b->count == VV_STREAM_MESSAGES_MAX)
        return vv_fail(b->err, VV_INVALID, "more than %u messages: append fewer at once",
                       VV_STREAM_MESSAGES_MAX);
    while (st == VV_OK && svc_scan_member(object, &name, &value))
        st = take_member(b, &name, &value, m);
    b->count++;
    return st;
}

static vv_status take_array(body_reader *b, svc_scan_value *array)
{
    svc_scan_value item;
    vv_status st = VV_OK;
    while (st == VV_OK && svc_scan_item(array, &item))
        st = take_message(b, &item);
    return st;
}

/* A value at the top of the body. */
static vv_status take_top(body_reader *b, svc_scan_value *v)
{
    svc_scan_value first = *v;
    svc_scan_value name;
    svc_scan_value value;
    if (v->kind == SVC_SCAN_ARRAY)
        return take_array(b, v);
    if (v->kind == SVC_SCAN_OBJECT && svc_scan_member(&first, &name, &value) &&
        vv_slice_eq(name.text, vv_slice_str("\"messages\"")) && value.kind == SVC_SCAN_ARRAY &&
        !svc_scan_member(&first, &name, &name))
        return take_array(b, &value);
    return take_message(b, v);
}

static vv_status take_lines(body_reader *b, vv_slice body)
{
    while (body.len > 0) {
        const uint8_t *stop = memchr(body.data, '\n', body.len);
        const size_t len = stop == NULL ? body.len : (size_t)(stop - body.data);
        const size_t used = stop == NULL ? len : len + 1;
        vv_message *m = b->count < VV_STREAM_MESSAGES_MAX ? add_message(b) : NULL;
        if (m == NULL && b->count < VV_STREAM_MESSAGES_MAX)
            return no_memory(b);
        if (m == NULL)
            return vv_fail(b->err, VV_INVALID, "more than %u lines: append fewer at once",
                           VV_STREAM_MESSAGES_MAX);
        m->value = vv_slice_of(body.data, len - (len > 0 && body.data[len - 1] == '\r'));
        b->count++;
        body = vv_slice_of(body.data + used, body.len - used);
    }
    return VV_OK;
}

vv_status svc_stream_read_body(vv_slice body, bool is_text, vv_arena *arena, vv_message **messages,
                               size_t *count, vv_error *err)
{
    body_reader b = {.arena = arena, .err = err};
    svc_scan s = svc_scan_of(body);
    svc_scan_value v;
    vv_status st = VV_OK;
    if (is_text)
        st = take_lines(&b, body);
    while (!is_text && st == VV_OK && (st = svc_scan_next(&s, &v, err)) == VV_OK)
        st = take_top(&b, &v);
    if (st == VV_NOT_FOUND)
        st = VV_OK;
    if (st == VV_OK && b.count == 0)
        st = vv_fail(err, VV_INVALID, "the body has no message");
    *messages = b.messages;
    *count = b.count;
    return st;
}
