/*
 * svc_stream_wire.c - messages of a stream as protobuf: read where they lie, written as they come
 * out of a cursor.
 */
#include <string.h>

#include "base/error.h"
#include "server/svc_stream.h"

static int64_t unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1 ^ (0 - (v & 1)));
}

static uint64_t zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0);
}

static bool take_value(const wire_field *f, vv_attribute *a)
{
    uint64_t number = 0;
    bool flag = false;
    bool ok = true;
    switch (f->number) {
    case 1:
        return svc_kv_take_bytes(f, &a->name);
    case 2:
        a->type = VV_ATTRIBUTE_STRING;
        return svc_kv_take_bytes(f, &a->bytes);
    case 3:
        a->type = VV_ATTRIBUTE_BYTES;
        return svc_kv_take_bytes(f, &a->bytes);
    case 4:
        a->type = VV_ATTRIBUTE_I64;
        ok = svc_kv_take_uint(f, &number);
        a->i64 = unzigzag(number);
        return ok;
    case 5:
        a->type = VV_ATTRIBUTE_F64;
        a->f64 = wire_double(f->value);
        return f->type == WIRE_FIXED64;
    case 6:
        a->type = VV_ATTRIBUTE_BOOL;
        ok = svc_kv_take_bool(f, &flag);
        a->i64 = flag;
        return ok;
    case 7:
        a->type = VV_ATTRIBUTE_TIME;
        return svc_kv_take_int(f, &a->i64);
    default:
        return true;
    }
}

static bool read_attribute(vv_slice bytes, vv_attribute *out)
{
    wire_reader r = wire_reader_of(bytes);
    wire_field f = {0};
    bool ok = true;
    assert(out != NULL);
    *out = (vv_attribute){.type = VV_ATTRIBUTE_STRING};
    while (ok && wire_next(&r, &f) > 0)
        ok = take_value(&f, out);
    return ok && r.fault == WIRE_GOOD;
}

static size_t count_field(vv_slice bytes, uint32_t number)
{
    wire_reader r = wire_reader_of(bytes);
    wire_field f = {0};
    size_t n = 0;
    while (wire_next(&r, &f) > 0)
        n += f.number == number && f.type == WIRE_BYTES;
    return n;
}

/* attributes: as many as there are fields 6. */
static bool take_message(const wire_field *f, vv_message *m, vv_attribute *attributes)
{
    switch (f->number) {
    case 1:
        return svc_kv_take_bytes(f, &m->key);
    case 2:
        return svc_kv_take_bytes(f, &m->value);
    case 3:
        return svc_kv_take_bytes(f, &m->content_type);
    case 4:
        return svc_kv_take_bytes(f, &m->source);
    case 5:
        return svc_kv_take_int(f, &m->event_time_ns);
    case 6:
        return f->type == WIRE_BYTES && read_attribute(f->bytes, &attributes[m->attribute_count++]);
    default:
        return true;
    }
}

/* VV_INVALID without a sentence: the bytes are no message. */
static vv_status read_message(vv_slice bytes, vv_arena *arena, vv_message *m, vv_error *err)
{
    wire_reader r = wire_reader_of(bytes);
    wire_field f = {0};
    bool ok = true;
    vv_attribute *attributes = NULL;
    size_t count = count_field(bytes, 6);
    *m = (vv_message){.attribute_count = 0};
    if (count > VV_STREAM_ATTRIBUTES_MAX)
        return vv_fail(
            err, VV_INVALID,
            "a message has %zu attributes, at most %u are allowed: put the others into its value",
            count, VV_STREAM_ATTRIBUTES_MAX);
    if (count > 0) {
        attributes = vv_arena_alloc(arena, count * sizeof *attributes);
        if (attributes == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for %zu attributes", count);
        m->attributes = attributes;
    }
    while (ok && wire_next(&r, &f) > 0)
        ok = take_message(&f, m, attributes);
    return ok && r.fault == WIRE_GOOD ? VV_OK : svc_kv_fail_malformed("StreamMessage", err);
}

typedef struct append {
    vv_arena *arena;
    svc_table_ref *ref;
    vv_message *message;
    size_t count;
    size_t max;
    vv_stream_append_options *opt;
    uint32_t durability;
} append;

static vv_status take_append(append *a, const wire_field *f, vv_error *err)
{
    bool ok = true;
    switch (f->number) {
    case 1:
        ok = svc_kv_take_table(f, a->ref);
        break;
    case 2:
        if (f->type == WIRE_BYTES)
            return read_message(f->bytes, a->arena, &a->message[a->count++], err);
        ok = false;
        break;
    case 3:
        ok = svc_kv_take_u32(f, &a->opt->partition);
        break;
    case 4:
        ok = svc_kv_take_bytes(f, &a->opt->producer);
        break;
    case 5:
        ok = svc_kv_take_uint(f, &a->opt->sequence);
        break;
    case 6:
        ok = svc_kv_take_u32(f, &a->durability);
        break;
    default:
        break;
    }
    return ok ? VV_OK : svc_kv_fail_malformed("AppendRequest", err);
}

vv_status svc_stream_read_append(vv_slice bytes, vv_arena *arena, svc_table_ref *ref,
                                 vv_message **messages, size_t *count,
                                 vv_stream_append_options *opt, vv_error *err)
{
    wire_reader r = wire_reader_of(bytes);
    wire_field f = {0};
    append a = {.arena = arena, .ref = ref, .max = count_field(bytes, 2), .opt = opt};
    if (a.max == 0 || a.max > VV_STREAM_MESSAGES_MAX)
        return vv_fail(err, VV_INVALID, "AppendRequest: 1 to %u messages, not %zu",
                       VV_STREAM_MESSAGES_MAX, a.max);
    a.message = vv_arena_alloc(arena, a.max * sizeof *a.message);
    if (a.message == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %zu messages", a.max);
    vv_status st = VV_OK;
    while (st == VV_OK && wire_next(&r, &f) > 0)
        st = take_append(&a, &f, err);
    if (st == VV_OK && r.fault != WIRE_GOOD)
        st = svc_kv_fail_malformed("AppendRequest", err);
    if (st == VV_OK)
        st = svc_kv_durability(a.durability, &opt->durability, err);
    *messages = a.message;
    *count = a.count;
    return st;
}

bool svc_stream_take_start(const wire_field *f, vv_stream_start *out)
{
    wire_reader r = wire_reader_of(f->bytes);
    wire_field in = {0};
    uint32_t from = (uint32_t)out->from;
    bool ok = f->type == WIRE_BYTES;
    while (ok && wire_next(&r, &in) > 0) {
        if (in.number == 1)
            ok = svc_kv_take_u32(&in, &from);
        else if (in.number == 2)
            ok = svc_kv_take_uint(&in, &out->offset);
        else if (in.number == 3)
            ok = svc_kv_take_int(&in, &out->time_ns);
        else if (in.number == 4)
            ok = svc_kv_take_bytes(&in, &out->position);
    }
    out->from = (vv_stream_from)from; /* the store refuses what it does not know */
    return ok && r.fault == WIRE_GOOD;
}

/* ---- writing ---- */

static void put_attribute(vv_buf *out, const vv_attribute *a)
{
    size_t mark = wire_begin(out, 6);
    wire_put_text(out, 1, a->name);
    switch (a->type) { /* members of a oneof: also an empty one is there */
    case VV_ATTRIBUTE_I64:
        wire_put_varint(out, 4, zigzag(a->i64));
        break;
    case VV_ATTRIBUTE_F64:
        wire_put_double_always(out, 5, a->f64);
        break;
    case VV_ATTRIBUTE_BOOL:
        wire_put_varint(out, 6, a->i64 != 0);
        break;
    case VV_ATTRIBUTE_TIME:
        wire_put_varint(out, 7, (uint64_t)a->i64);
        break;
    case VV_ATTRIBUTE_BYTES:
        wire_put_bytes(out, 3, a->bytes);
        break;
    case VV_ATTRIBUTE_STRING:
    default:
        if (a->bytes.len == 0)
            wire_put_bytes(out, 2, a->bytes);
        else
            wire_put_text(out, 2, a->bytes);
        break;
    }
    wire_end(out, mark);
}

void svc_stream_put_message(vv_buf *out, const vv_message *m)
{
    size_t mark = wire_begin(out, 1);
    if (m->key.len > 0)
        wire_put_bytes(out, 1, m->key);
    if (m->value.len > 0)
        wire_put_bytes(out, 2, m->value);
    if (m->content_type.len > 0)
        wire_put_text(out, 3, m->content_type);
    if (m->source.len > 0)
        wire_put_text(out, 4, m->source);
    wire_put_int(out, 5, m->event_time_ns);
    for (size_t i = 0; i < m->attribute_count; i++)
        put_attribute(out, &m->attributes[i]);
    wire_put_uint(out, 7, m->offset);
    wire_put_int(out, 8, m->receive_time_ns);
    wire_put_uint(out, 9, m->partition);
    wire_end(out, mark);
}
