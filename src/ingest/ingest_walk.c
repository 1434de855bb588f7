#include "ingest/ingest_walk.h"

#include <string.h>

#include "base/error.h"
#include "codec/protowire.h"

vv_status ingest_fault_fail(ingest_fault fault, vv_error *err)
{
    switch (fault) {
    case INGEST_GOOD:
        return VV_OK;
    case INGEST_DEEP:
        return vv_fail(err, VV_INVALID, "data: values nest deeper than %u", INGEST_DEPTH_MAX);
    case INGEST_NOT_UTF8:
        return vv_fail(err, VV_INVALID, "a string is not UTF-8");
    case INGEST_NO_ROOM:
        return vv_fail(err, VV_NO_MEMORY, "no memory to join a message that came in pieces");
    default:
        return vv_fail(err, VV_INVALID, "the bytes are not a message of this type");
    }
}

/* A known field must have its wire type. */
static inline bool is_type(wire_reader *c, const wire_field *f, wire_type wanted)
{
    if (VV_LIKELY(f->type == wanted))
        return true;
    c->fault = WIRE_MALFORMED;
    return false;
}

/* protobuf-c does not look at the wire type of a bool. */
static inline bool is_bool(wire_reader *c, const wire_field *f)
{
    if (VV_LIKELY(f->type == WIRE_VARINT))
        return true;
    c->fault = WIRE_STRICT;
    return false;
}

/* The fault of a message inside is one of the message. */
static inline void note(wire_reader *c, ingest_fault inner)
{
    if (VV_UNLIKELY(inner != INGEST_GOOD))
        c->fault = (int)inner;
}

/* TenantID and EntityID: string id = 1. */
static ingest_fault walk_id(vv_slice bytes, vv_slice *out, bool *utf8)
{
    wire_reader c = wire_reader_of(bytes);
    wire_field f = {0};
    while (wire_next(&c, &f) > 0)
        if (f.number == 1 && is_type(&c, &f, WIRE_BYTES)) {
            *out = f.bytes;
            *utf8 &= ingest_is_utf8(f.bytes);
        }
    return (ingest_fault)c.fault;
}

static ingest_fault walk_record_id(vv_slice bytes, ingest_view *v, bool *utf8)
{
    wire_reader c = wire_reader_of(bytes);
    wire_field f = {0};
    while (wire_next(&c, &f) > 0)
        if (f.number == 3)
            (void)is_type(&c, &f, WIRE_VARINT);
        else if ((f.number == 1 || f.number == 2) && is_type(&c, &f, WIRE_BYTES))
            note(&c, walk_id(f.bytes, f.number == 1 ? &v->tenant : &v->entity, utf8));
    return (ingest_fault)c.fault;
}

static ingest_fault walk_schema(vv_slice bytes, ingest_schema *s, bool *utf8)
{
    wire_reader c = wire_reader_of(bytes);
    wire_field f = {0};
    while (wire_next(&c, &f) > 0)
        if (f.number == 1 && is_type(&c, &f, WIRE_BYTES)) {
            note(&c, walk_id(f.bytes, &s->tenant, utf8));
        } else if (f.number == 2 && is_type(&c, &f, WIRE_BYTES)) {
            s->name = f.bytes;
            *utf8 &= ingest_is_utf8(f.bytes);
        } else if (f.number == 3 && is_type(&c, &f, WIRE_VARINT)) {
            s->version = (int32_t)f.value;
        }
    return (ingest_fault)c.fault;
}

static ingest_fault walk_timestamp(vv_slice bytes, ingest_view *v)
{
    wire_reader c = wire_reader_of(bytes);
    wire_field f = {0};
    v->has_timestamp = true;
    while (wire_next(&c, &f) > 0)
        if (f.number == 1 && is_type(&c, &f, WIRE_VARINT))
            v->seconds = (int64_t)f.value;
        else if (f.number == 2 && is_type(&c, &f, WIRE_VARINT))
            v->nanos = (int32_t)f.value;
    return (ingest_fault)c.fault;
}

/* An entry of map<string, string>. */
static ingest_fault walk_pair(vv_slice bytes, vv_slice *key, vv_slice *value, bool *utf8)
{
    wire_reader c = wire_reader_of(bytes);
    wire_field f = {0};
    *key = *value = vv_slice_of("", 0);
    while (wire_next(&c, &f) > 0)
        if ((f.number == 1 || f.number == 2) && is_type(&c, &f, WIRE_BYTES)) {
            *(f.number == 1 ? key : value) = f.bytes;
            *utf8 &= ingest_is_utf8(f.bytes);
        }
    return (ingest_fault)c.fault;
}

static ingest_fault walk_data(vv_slice bytes, ingest_view *v)
{
    ingest_fault fault = ingest_check_struct(bytes);
    v->body = bytes;
    v->body_pieces++;
    if (VV_UNLIKELY(fault == INGEST_DEEP || fault == INGEST_NOT_UTF8)) {
        v->content = fault;
        return INGEST_GOOD;
    }
    return fault;
}

static ingest_fault walk_metadata_entry(vv_slice bytes, ingest_view *v, bool *utf8)
{
    vv_slice key, value;
    v->metadata_count++;
    v->metadata_bytes += (uint32_t)bytes.len;
    return walk_pair(bytes, &key, &value, utf8);
}

ingest_fault ingest_walk_record(vv_slice raw, ingest_view *out)
{
    wire_reader c = wire_reader_of(raw);
    wire_field f = {0};
    bool utf8 = true;
    *out = (ingest_view){.raw = raw};
    while (wire_next(&c, &f) > 0) {
        if (f.number > 6 || !is_type(&c, &f, f.number == 5 ? WIRE_VARINT : WIRE_BYTES))
            continue;
        switch (f.number) {
        case 1:
            note(&c, walk_record_id(f.bytes, out, &utf8));
            break;
        case 2:
            note(&c, walk_data(f.bytes, out));
            break;
        case 3:
            note(&c, walk_schema(f.bytes, &out->schema, &utf8));
            break;
        case 4:
            note(&c, walk_timestamp(f.bytes, out));
            break;
        case 6:
            note(&c, walk_metadata_entry(f.bytes, out, &utf8));
            break;
        default: /* version: what is asked for is given by the commit */
            break;
        }
    }
    if (VV_UNLIKELY(!utf8 && out->content == INGEST_GOOD))
        out->content = INGEST_NOT_UTF8;
    return (ingest_fault)c.fault;
}

ingest_fault ingest_walk_body(const ingest_view *view, vv_arena *arena, vv_slice *out)
{
    *out = view->body;
    if (VV_LIKELY(view->body_pieces <= 1))
        return INGEST_GOOD;
    /* Serialized messages merge by being put one behind the other. */
    uint8_t *joined = vv_arena_alloc(arena, view->raw.len);
    size_t len = 0;
    if (joined == NULL)
        return INGEST_NO_ROOM;
    wire_reader c = wire_reader_of(view->raw);
    wire_field f = {0};
    while (wire_next(&c, &f) > 0)
        if (f.number == 2 && f.bytes.len > 0) {
            memcpy(joined + len, f.bytes.data, f.bytes.len);
            len += f.bytes.len;
        }
    *out = vv_slice_of(joined, len);
    return (ingest_fault)c.fault;
}

/* The next field with this number, of bytes already accepted. */
static bool next_accepted(vv_slice *rest, uint32_t number, vv_slice *out)
{
    wire_reader c = wire_reader_of(*rest);
    wire_field f = {0};
    bool found = false;
    while (!found && wire_next(&c, &f) > 0)
        if (f.number == number) {
            *out = f.bytes;
            found = true;
        }
    *rest = vv_slice_of(c.next, (size_t)(c.end - c.next));
    return found;
}

bool ingest_walk_metadata(vv_slice *rest, vv_slice *key, vv_slice *value)
{
    vv_slice pair;
    bool utf8 = true;
    return next_accepted(rest, 6, &pair) && walk_pair(pair, key, value, &utf8) == INGEST_GOOD;
}

bool ingest_walk_next_record(vv_slice *rest, vv_slice *record)
{
    return next_accepted(rest, 1, record);
}

/* One entry of `options`. A name or value that is not UTF-8 equals nothing we know. */
static ingest_fault walk_option(vv_slice bytes, ingest_asked *asked)
{
    vv_slice key, value;
    bool utf8 = true;
    ingest_fault fault = walk_pair(bytes, &key, &value, &utf8);
    if (fault != INGEST_GOOD)
        return fault;
    if (vv_slice_eq(key, vv_slice_str("durability")))
        asked->durability = value;
    else if (vv_slice_eq(key, vv_slice_str("ack")))
        asked->ack = value;
    else if (vv_slice_eq(key, vv_slice_str("producer")))
        asked->producer = value;
    else if (vv_slice_eq(key, vv_slice_str("sequence")))
        asked->sequence = value;
    else if (asked->unknown.data == NULL)
        asked->unknown = key;
    return INGEST_GOOD;
}

/* Put a second occurrence of the record behind the first. Each must be a message by itself: joined,
 * the end of one could complete the other. */
static ingest_fault merge_record(vv_arena *arena, vv_slice *whole, vv_slice piece)
{
    ingest_view unused;
    ingest_fault fault = ingest_walk_record(*whole, &unused);
    if (fault == INGEST_GOOD)
        fault = ingest_walk_record(piece, &unused);
    if (fault != INGEST_GOOD)
        return fault;
    uint8_t *joined = vv_arena_alloc(arena, whole->len + piece.len);
    if (joined == NULL)
        return INGEST_NO_ROOM;
    if (whole->len > 0)
        memcpy(joined, whole->data, whole->len);
    if (piece.len > 0)
        memcpy(joined + whole->len, piece.data, piece.len);
    *whole = vv_slice_of(joined, whole->len + piece.len);
    return INGEST_GOOD;
}

ingest_fault ingest_walk_record_request(vv_slice raw, vv_arena *arena, ingest_request *out)
{
    wire_reader c = wire_reader_of(raw);
    wire_field f = {0};
    *out = (ingest_request){.raw = raw};
    while (wire_next(&c, &f) > 0) {
        if (f.number > 2 || !is_type(&c, &f, WIRE_BYTES))
            continue;
        if (f.number == 2)
            note(&c, walk_option(f.bytes, &out->asked));
        else if (out->record_count++ == 0)
            out->record = f.bytes;
        else
            note(&c, merge_record(arena, &out->record, f.bytes));
    }
    out->record_count = out->record_count > 0;
    return (ingest_fault)c.fault;
}

ingest_fault ingest_walk_batch_request(vv_slice raw, ingest_request *out)
{
    wire_reader c = wire_reader_of(raw);
    wire_field f = {0};
    *out = (ingest_request){.raw = raw};
    while (wire_next(&c, &f) > 0) {
        if (VV_LIKELY(f.number == 1))
            out->record_count += is_type(&c, &f, WIRE_BYTES);
        else if (f.number == 2 && is_type(&c, &f, WIRE_BYTES))
            note(&c, walk_option(f.bytes, &out->asked));
        else if (f.number == 3 && is_bool(&c, &f))
            out->transactional = f.value != 0;
    }
    return (ingest_fault)c.fault;
}

/* StreamInit: tenant_id = 1, schema = 2, options = 3. Strings that are not UTF-8 are refused where
 * they are used, as names. */
static ingest_fault walk_init(vv_slice bytes, ingest_stream_request *out)
{
    wire_reader c = wire_reader_of(bytes);
    wire_field f = {0};
    bool utf8 = true;
    while (wire_next(&c, &f) > 0) {
        if (f.number > 3 || !is_type(&c, &f, WIRE_BYTES))
            continue;
        if (f.number == 1)
            note(&c, walk_id(f.bytes, &out->tenant, &utf8));
        else if (f.number == 2)
            note(&c, walk_schema(f.bytes, &out->schema, &utf8));
        else
            note(&c, walk_option(f.bytes, &out->asked));
    }
    return (ingest_fault)c.fault;
}

static ingest_fault walk_commit(vv_slice bytes, ingest_stream_request *out)
{
    wire_reader c = wire_reader_of(bytes);
    wire_field f = {0};
    while (wire_next(&c, &f) > 0)
        if (f.number == 1 && is_bool(&c, &f))
            out->force_flush = f.value != 0;
    return (ingest_fault)c.fault;
}

ingest_fault ingest_walk_stream_request(vv_slice raw, ingest_stream_request *out)
{
    wire_reader c = wire_reader_of(raw);
    wire_field f = {0};
    *out = (ingest_stream_request){.kind = INGEST_STREAM_NOTHING};
    while (wire_next(&c, &f) > 0) {
        if (f.number > 3 || !is_type(&c, &f, WIRE_BYTES))
            continue;
        if (VV_UNLIKELY(out->kind != INGEST_STREAM_NOTHING)) /* the last member wins */
            *out = (ingest_stream_request){.kind = INGEST_STREAM_NOTHING};
        if (VV_LIKELY(f.number == 2)) {
            out->kind = INGEST_STREAM_RECORD;
            note(&c, ingest_walk_record(f.bytes, &out->view));
        } else if (f.number == 1) {
            out->kind = INGEST_STREAM_INIT;
            note(&c, walk_init(f.bytes, out));
        } else {
            out->kind = INGEST_STREAM_COMMIT;
            note(&c, walk_commit(f.bytes, out));
        }
    }
    return (ingest_fault)c.fault;
}
