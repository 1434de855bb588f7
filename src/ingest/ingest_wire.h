/*
 * ingest_wire.h - one field of the wire form, bounds checked, as protobuf-c reads it: tags and
 * lengths of at most five bytes, varints of at most ten whose surplus bits are dropped.
 */
#ifndef VARVE_INGEST_INGEST_WIRE_H
#define VARVE_INGEST_INGEST_WIRE_H

#include "base/bytes.h"
#include "base/util.h"
#include "ingest/ingest_walk.h"

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

typedef struct wire_cursor {
    const uint8_t *next;
    const uint8_t *end;
    ingest_fault fault; /* latched by wire_more, wire_is and wire_note: ends the walk */
} wire_cursor;

typedef struct wire_field {
    uint32_t number;
    uint32_t wire;
    uint64_t value; /* WIRE_VARINT only */
    vv_slice bytes; /* WIRE_BYTES only */
} wire_field;

static inline wire_cursor wire_cursor_of(vv_slice s)
{
    /* An empty message may come as a NULL pointer, to which nothing may be added. */
    return (wire_cursor){s.data, s.len == 0 ? s.data : s.data + s.len, INGEST_GOOD};
}

static inline bool wire_varint(wire_cursor *c, uint64_t *out)
{
    const uint8_t *p = c->next, *end = c->end;
    if (VV_LIKELY(p < end && *p < 0x80)) {
        *out = *p;
        c->next = p + 1;
        return true;
    }
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70 && p < end; shift += 7) {
        uint64_t byte = *p++;
        v |= (byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = v;
            c->next = p;
            return true;
        }
    }
    return false;
}

/* A tag or a length: at most five bytes. */
static inline bool wire_short(wire_cursor *c, uint64_t *out)
{
    const uint8_t *begin = c->next;
    return wire_varint(c, out) && c->next - begin <= 5;
}

/* The next field; the cursor must not be at its end. */
static inline ingest_fault wire_next(wire_cursor *c, wire_field *out)
{
    uint64_t tag, len;
    if (VV_UNLIKELY(!wire_short(c, &tag)))
        return INGEST_MALFORMED;
    out->number = (uint32_t)(tag >> 3);
    out->wire = (uint32_t)(tag & 7);
    switch (out->wire) {
    case WIRE_BYTES:
        if (VV_UNLIKELY(!wire_short(c, &len) || len > (uint64_t)(c->end - c->next)))
            return INGEST_MALFORMED;
        out->bytes = vv_slice_of(c->next, (size_t)len);
        c->next += len;
        break;
    case WIRE_VARINT:
        if (VV_UNLIKELY(!wire_varint(c, &out->value)))
            return INGEST_MALFORMED;
        break;
    case WIRE_FIXED64:
        if (VV_UNLIKELY(c->end - c->next < 8))
            return INGEST_MALFORMED;
        c->next += 8;
        break;
    case WIRE_FIXED32:
        if (VV_UNLIKELY(c->end - c->next < 4))
            return INGEST_MALFORMED;
        c->next += 4;
        break;
    default:
        return INGEST_MALFORMED;
    }
    /* protobuf-c lets a number of zero pass when it is spelled in two bytes, and cuts large ones.
     */
    return VV_UNLIKELY(tag < 8 || tag > UINT32_MAX) ? INGEST_STRICT : INGEST_GOOD;
}

/* Walk: while (wire_more(&c, &f)) ...; return c.fault. */
static inline bool wire_more(wire_cursor *c, wire_field *out)
{
    if (c->fault != INGEST_GOOD || c->next == c->end)
        return false;
    c->fault = wire_next(c, out);
    return c->fault == INGEST_GOOD;
}

/* A known field must have its wire type. */
static inline bool wire_is(wire_cursor *c, const wire_field *f, uint32_t wanted)
{
    if (VV_LIKELY(f->wire == wanted))
        return true;
    c->fault = INGEST_MALFORMED;
    return false;
}

/* protobuf-c does not look at the wire type of a bool. */
static inline bool wire_is_bool(wire_cursor *c, const wire_field *f)
{
    if (VV_LIKELY(f->wire == WIRE_VARINT))
        return true;
    c->fault = INGEST_STRICT;
    return false;
}

static inline void wire_note(wire_cursor *c, ingest_fault inner)
{
    if (VV_UNLIKELY(inner != INGEST_GOOD))
        c->fault = inner;
}

#endif
