/*
 * query_message.c - a message as a query sees it: its columns, and its body, which is to a message
 * what data is to a record.
 *
 *   partition offset received event key size content_type source     its own
 *   attributes.NAME       a typed attribute; everything behind the first dot is the name
 *   value  value.a.b      the payload: text, or what is in it where it is JSON
 *   key_base64 value_base64    bytes that are no text
 *
 * The body is made of a message when a column asks for it that cannot be read off the message, or
 * when the message is answered: most of what a filter refuses is never made.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/base64.h"
#include "base/error.h"
#include "base/json_text.h"
#include "base/nearest.h"
#include "base/time_text.h"
#include "base/utf8.h"
#include "base/util.h"
#include "query/query_int.h"
#include "query/struct_json.h"

#define BODY_MAX (48u * 1024 * 1024) /* a payload of JSON that becomes more is text */
#define BODY_KEPT (256u * 1024)      /* memory that goes on to the next message */
#define EXACT_MAX (INT64_C(1) << 53) /* of integers that are numbers */

static const struct {
    const char *name;
    column_kind kind;
} own[] = {
    {"partition", COLUMN_PARTITION},
    {"offset", COLUMN_OFFSET},
    {"received", COLUMN_TIMESTAMP},
    {"event", COLUMN_EVENT},
    {"key", COLUMN_KEY},
    {"size", COLUMN_SIZE},
    {"content_type", COLUMN_CONTENT_TYPE},
    {"source", COLUMN_SOURCE},
    {"attributes", COLUMN_FIELD}, /* alone, and with a name in message_column_parse */
    {"value", COLUMN_FIELD},
    {"key_base64", COLUMN_FIELD},
    {"value_base64", COLUMN_FIELD},
};

/* ---- names ---- */

static vv_status refuse_name(vv_slice text, vv_slice name, vv_error *err)
{
    const char *best = own[0].name;
    unsigned best_distance = VV_NEAREST_MAX;
    for (size_t i = 0; i < ARRAY_LEN(own); i++) {
        unsigned d = vv_name_distance(name, vv_slice_str(own[i].name), best_distance);
        if (d < best_distance) {
            best_distance = d;
            best = own[i].name;
        }
    }
    return vv_fail(err, VV_INVALID,
                   "column '%.*s': a message has no '%.*s': did you mean '%s'? What is in it is "
                   "attributes.NAME, and value.NAME where it is JSON",
                   (int)vv_min_u64(text.len, 60), (const char *)text.data,
                   (int)vv_min_u64(name.len, 60), (const char *)name.data, best);
}

/* Where it stands in the body; the bytes of the steps are those of the name. */
static vv_status take_steps(vv_slice first, vv_slice second, vv_arena *arena, column *out,
                            vv_error *err)
{
    out->step = vv_arena_alloc(arena, 2 * sizeof *out->step);
    if (out->step == NULL)
        return vv_fail(err, VV_NO_MEMORY, "column '%.*s'", (int)vv_min_u64(first.len, 60),
                       (const char *)first.data);
    out->step[0] = first;
    out->step[1] = second;
    out->step_count = second.len > 0 ? 2 : 1;
    return VV_OK;
}

vv_status message_column_parse(vv_slice text, vv_arena *arena, column *out, vv_error *err)
{
    const uint8_t *dot = memchr(text.data, '.', text.len);
    vv_slice name = vv_slice_of(text.data, dot == NULL ? text.len : (size_t)(dot - text.data));
    vv_slice rest = vv_slice_of(NULL, 0);
    size_t i = 0;
    if (dot != NULL)
        rest = vv_slice_of(dot + 1, text.len - name.len - 1);
    while (i < ARRAY_LEN(own) && !vv_slice_eq(name, vv_slice_str(own[i].name)))
        i++;
    if (i == ARRAY_LEN(own))
        return refuse_name(text, name, err);
    out->kind = own[i].kind;
    if (dot != NULL && vv_slice_eq(name, vv_slice_str("value")))
        return column_split(text, arena, out, err);
    if (dot != NULL && !vv_slice_eq(name, vv_slice_str("attributes")))
        return column_refuse(text, err, "nothing is in it: only attributes and value have parts");
    if (dot != NULL && rest.len == 0)
        return column_refuse(text, err, "needs a name: attributes.NAME");
    if (dot != NULL)
        out->kind = COLUMN_ATTRIBUTE;
    return take_steps(name, rest, arena, out, err);
}

bool message_id_parse(vv_slice text, uint32_t *partition, uint64_t *offset)
{
    uint64_t number[2] = {0, 0};
    size_t part = 0;
    bool has_digit = false;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '/' && part == 0 && has_digit) {
            part = 1;
            has_digit = false;
            continue;
        }
        if (c < '0' || c > '9' || __builtin_mul_overflow(number[part], 10, &number[part]) ||
            __builtin_add_overflow(number[part], (uint64_t)(c - '0'), &number[part]))
            return false;
        has_digit = true;
    }
    *partition = (uint32_t)number[0];
    *offset = number[1];
    return part == 1 && has_digit && number[0] < UINT32_MAX;
}

/* ---- the body ---- */

static void put_entry(vv_buf *out, vv_slice name, const struct_value *value)
{
    size_t entry = wire_begin(out, STRUCT_FIELDS);
    wire_put_text(out, STRUCT_ENTRY_KEY, name);
    struct_value_put(out, STRUCT_ENTRY_VALUE, value);
    wire_end(out, entry);
}

static void put_number(vv_buf *out, const char *name, uint64_t number)
{
    const struct_value v = {.type = STRUCT_NUMBER, .number = (double)number};
    put_entry(out, vv_slice_str(name), &v);
}

static void put_time(vv_buf *out, vv_slice name, int64_t ns)
{
    const struct_value v = {.type = STRUCT_TIME, .time_ns = ns};
    put_entry(out, name, &v);
}

static void put_base64(vv_buf *out, vv_slice name, vv_slice bytes)
{
    size_t entry = wire_begin(out, STRUCT_FIELDS);
    wire_put_text(out, STRUCT_ENTRY_KEY, name);
    size_t value = wire_begin(out, STRUCT_ENTRY_VALUE);
    size_t text = wire_begin(out, VALUE_STRING);
    vv_base64_put(out, bytes);
    wire_end(out, text);
    wire_end(out, value);
    wire_end(out, entry);
}

/* Under name, or name_base64. */
static void put_bytes(vv_buf *out, const char *name, const char *name_base64, vv_slice bytes)
{
    const struct_value v = {.type = STRUCT_STRING, .bytes = bytes};
    if (utf8_is_valid(bytes))
        put_entry(out, vv_slice_str(name), &v);
    else
        put_base64(out, vv_slice_str(name_base64), bytes);
}

static void put_attribute(vv_buf *out, const vv_attribute *a)
{
    char text[32];
    struct_value v = {.type = STRUCT_STRING, .bytes = a->bytes};
    switch (a->type) {
    case VV_ATTRIBUTE_I64:
        v = (struct_value){.type = STRUCT_NUMBER, .number = (double)a->i64};
        if (a->i64 > EXACT_MAX || a->i64 < -EXACT_MAX) {
            (void)snprintf(text, sizeof text, "%" PRId64, a->i64);
            v = (struct_value){.type = STRUCT_STRING, .bytes = vv_slice_str(text)};
        }
        break;
    case VV_ATTRIBUTE_F64:
        v = (struct_value){.type = STRUCT_NUMBER, .number = a->f64};
        break;
    case VV_ATTRIBUTE_BOOL:
        v = (struct_value){.type = STRUCT_BOOL, .boolean = a->i64 != 0};
        break;
    case VV_ATTRIBUTE_TIME:
        put_time(out, a->name, a->i64);
        return;
    default:
        if (a->type == VV_ATTRIBUTE_BYTES || !utf8_is_valid(a->bytes)) {
            put_base64(out, a->name, a->bytes);
            return;
        }
        break;
    }
    put_entry(out, a->name, &v);
}

static void put_attributes(vv_buf *out, const vv_message *m)
{
    if (m->attribute_count == 0)
        return;
    size_t entry = wire_begin(out, STRUCT_FIELDS);
    wire_put_bytes(out, STRUCT_ENTRY_KEY, vv_slice_str("attributes"));
    size_t value = wire_begin(out, STRUCT_ENTRY_VALUE);
    size_t all = wire_begin(out, VALUE_STRUCT);
    for (size_t i = 0; i < m->attribute_count; i++)
        put_attribute(out, &m->attributes[i]);
    wire_end(out, all);
    wire_end(out, value);
    wire_end(out, entry);
}

static bool may_be_json(const vv_message *m)
{
    size_t i = 0;
    if (m->content_type.len > 0 &&
        memmem(m->content_type.data, m->content_type.len, "json", 4) != NULL)
        return m->value.len > 0;
    while (i < m->value.len && (m->value.data[i] == ' ' || m->value.data[i] == '\t' ||
                                m->value.data[i] == '\n' || m->value.data[i] == '\r'))
        i++;
    return i < m->value.len && (m->value.data[i] == '{' || m->value.data[i] == '[');
}

/* False, and out is as it was, where it is none. */
static bool put_json(vv_buf *out, vv_slice text)
{
    uint64_t big = 0;
    const size_t before = out->len;
    size_t entry = wire_begin(out, STRUCT_FIELDS);
    wire_put_bytes(out, STRUCT_ENTRY_KEY, vv_slice_str("value"));
    size_t value = wire_begin(out, STRUCT_ENTRY_VALUE);
    vv_status st = out->status;
    if (st == VV_OK)
        st = json_read_value_big(text, out, &big, NULL);
    if (st == VV_OK) {
        wire_end(out, value);
        wire_end(out, entry);
    }
    if (st == VV_OK || st == VV_NO_MEMORY)
        return true; /* out tells */
    out->len = before;
    out->status = VV_OK;
    return false;
}

static void make_body(message_view *view)
{
    vv_buf *out = &view->body;
    const vv_message *m = &view->m;
    vv_buf_reset(out);
    put_number(out, "partition", m->partition);
    put_number(out, "offset", m->offset);
    put_time(out, vv_slice_str("received"), m->receive_time_ns);
    if (m->event_time_ns != 0)
        put_time(out, vv_slice_str("event"), m->event_time_ns);
    if (m->key.len > 0)
        put_bytes(out, "key", "key_base64", m->key);
    put_number(out, "size", m->value.len);
    if (m->content_type.len > 0)
        put_bytes(out, "content_type", "content_type", m->content_type);
    if (m->source.len > 0)
        put_bytes(out, "source", "source", m->source);
    put_attributes(out, m);
    if (!may_be_json(m) || !put_json(out, m->value))
        put_bytes(out, "value", "value_base64", m->value);
}

void message_view_init(message_view *view, vv_budget *budget)
{
    *view = (message_view){.budget = budget};
    vv_buf_init(&view->body, BODY_MAX);
}

void message_body_drop(message_view *view)
{
    view->is_made = false;
    if (view->body.cap > BODY_KEPT)
        vv_buf_fini(&view->body);
    vv_budget_release(view->budget, VV_BUDGET_QUERY, view->held);
    view->held = 0;
}

void message_view_fini(message_view *view)
{
    message_body_drop(view);
    vv_buf_fini(&view->body);
}

vv_status message_body_fail(const message_view *view, vv_error *err)
{
    assert(view->body.status != VV_OK);
    if (view->body.status == VV_BUSY)
        return vv_fail(err, VV_BUSY,
                       "storage.memory_limit leaves no room to look into message %s: retry after a "
                       "pause",
                       view->id);
    return vv_fail(err, view->body.status, "no memory to look into message %s", view->id);
}

/* A small body is as the scratch of a projection. */
static void count_body(message_view *view)
{
    if (view->body.cap <= BODY_KEPT || view->body.status != VV_OK)
        return;
    if (vv_budget_reserve(view->budget, VV_BUDGET_QUERY, view->body.cap))
        view->held = view->body.cap;
    else
        view->body.status = VV_BUSY;
}

vv_slice message_body(message_view *view)
{
    if (!view->is_made) {
        make_body(view);
        count_body(view);
        view->is_made = true;
    }
    return view->body.status == VV_OK ? vv_buf_slice(&view->body) : vv_slice_of(NULL, 0);
}

/* ---- values ---- */

static bool read_text(vv_slice text, struct_value *out)
{
    *out = (struct_value){.type = STRUCT_STRING, .bytes = text};
    return text.len > 0 && utf8_is_valid(text);
}

static bool read_number(uint64_t number, struct_value *out)
{
    *out = (struct_value){.type = STRUCT_NUMBER, .number = (double)number};
    return true;
}

static bool read_field(const column *c, message_view *view, struct_value *out)
{
    vv_slice body = message_body(view);
    return body.len > 0 && struct_find(body, c->step, c->step_count, out) == VV_OK;
}

/* What has no form of its own is read where it stands in the body. */
static bool read_attribute(const column *c, message_view *view, struct_value *out)
{
    const vv_message *m = &view->m;
    for (size_t i = 0; i < m->attribute_count; i++) {
        const vv_attribute *a = &m->attributes[i];
        if (!vv_slice_eq(a->name, c->step[1]))
            continue;
        if (a->type == VV_ATTRIBUTE_STRING && utf8_is_valid(a->bytes))
            *out = (struct_value){.type = STRUCT_STRING, .bytes = a->bytes};
        else if (a->type == VV_ATTRIBUTE_I64 && a->i64 <= EXACT_MAX && a->i64 >= -EXACT_MAX)
            *out = (struct_value){.type = STRUCT_NUMBER, .number = (double)a->i64};
        else if (a->type == VV_ATTRIBUTE_F64)
            *out = (struct_value){.type = STRUCT_NUMBER, .number = a->f64};
        else if (a->type == VV_ATTRIBUTE_BOOL)
            *out = (struct_value){.type = STRUCT_BOOL, .boolean = a->i64 != 0};
        else if (a->type == VV_ATTRIBUTE_TIME)
            *out = (struct_value){.type = STRUCT_TIME, .time_ns = a->i64};
        else
            return read_field(c, view, out);
        return true;
    }
    return false;
}

bool message_column_read(const column *c, message_view *view, struct_value *out)
{
    const vv_message *m = &view->m;
    switch (c->kind) {
    case COLUMN_PARTITION:
        return read_number(m->partition, out);
    case COLUMN_OFFSET:
        return read_number(m->offset, out);
    case COLUMN_SIZE:
        return read_number(m->value.len, out);
    case COLUMN_EVENT:
        *out = (struct_value){.type = STRUCT_TIME,
                              .time_ns =
                                  m->event_time_ns != 0 ? m->event_time_ns : m->receive_time_ns};
        return true;
    case COLUMN_KEY:
        return read_text(m->key, out);
    case COLUMN_CONTENT_TYPE:
        return read_text(m->content_type, out);
    case COLUMN_SOURCE:
        return read_text(m->source, out);
    case COLUMN_ATTRIBUTE:
        return read_attribute(c, view, out);
    default:
        return read_field(c, view, out);
    }
}
