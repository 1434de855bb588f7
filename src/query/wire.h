/*
 * wire.h - protobuf's wire form, read field by field and written field by field, without a schema.
 *
 * The reader trusts nothing: each step checks its bounds, and groups (never used by proto3) are
 * malformed. It accepts what protobuf accepts: non-minimal varints, unknown fields, repeats of a
 * singular field. The writers append to a vv_buf, whose status latches.
 */
#ifndef VARVE_QUERY_WIRE_H
#define VARVE_QUERY_WIRE_H

#include "base/buf.h"
#include "base/bytes.h"
#include "base/varint.h"

typedef enum wire_type {
    WIRE_VARINT = 0,
    WIRE_FIXED64 = 1,
    WIRE_BYTES = 2,
    WIRE_FIXED32 = 5,
} wire_type;

typedef struct wire_reader {
    const uint8_t *next;
    const uint8_t *end;
} wire_reader;

typedef struct wire_field {
    uint32_t number;
    wire_type type;
    uint64_t value; /* of WIRE_VARINT, WIRE_FIXED64, WIRE_FIXED32 */
    vv_slice bytes; /* of WIRE_BYTES: borrowed from the message */
} wire_field;

static inline wire_reader wire_reader_of(vv_slice message)
{
    /* An empty message may come as a NULL pointer, to which nothing may be added. */
    return (wire_reader){message.data,
                         message.len == 0 ? message.data : message.data + message.len};
}

/* A varint of at most ten bytes; bits above the 64th are dropped, as protobuf does. */
static inline const uint8_t *wire_read_varint(const uint8_t *p, const uint8_t *end, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70 && p < end; shift += 7) {
        uint64_t byte = *p++;
        v |= (byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = v;
            return p;
        }
    }
    return NULL;
}

static inline const uint8_t *wire_read_value(const uint8_t *p, const uint8_t *end, wire_field *out)
{
    uint64_t len;
    switch (out->type) {
    case WIRE_VARINT:
        return wire_read_varint(p, end, &out->value);
    case WIRE_FIXED64:
        if (end - p < 8)
            return NULL;
        out->value = vv_get_le64(p);
        return p + 8;
    case WIRE_FIXED32:
        if (end - p < 4)
            return NULL;
        out->value = vv_get_le32(p);
        return p + 4;
    case WIRE_BYTES:
        p = vv_varint_get(p, end, &len);
        if (p == NULL || len > (uint64_t)(end - p))
            return NULL;
        out->bytes = vv_slice_of(p, (size_t)len);
        return p + len;
    }
    return NULL; /* a group, or a type that does not exist */
}

/* 1: *out is the next field. 0: the end of the message. -1: malformed. */
static inline int wire_next(wire_reader *r, wire_field *out)
{
    uint64_t tag;
    if (r->next == r->end)
        return 0;
    const uint8_t *p = vv_varint_get(r->next, r->end, &tag);
    if (p == NULL || tag > UINT32_MAX || (tag >> 3) == 0)
        return -1;
    out->number = (uint32_t)(tag >> 3);
    out->type = (wire_type)(tag & 7);
    p = wire_read_value(p, r->end, out);
    if (p == NULL)
        return -1;
    r->next = p;
    return 1;
}

static inline double wire_double(uint64_t bits)
{
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

static inline void wire_put_tag(vv_buf *b, uint32_t number, wire_type type)
{
    vv_buf_append_varint(b, (uint64_t)number << 3 | (uint64_t)type);
}

static inline void wire_put_bytes(vv_buf *b, uint32_t number, vv_slice bytes)
{
    wire_put_tag(b, number, WIRE_BYTES);
    vv_buf_append_varint(b, bytes.len);
    vv_buf_append_slice(b, bytes);
}

/* proto3 leaves out a field that holds its default: these do as well. */
static inline void wire_put_string(vv_buf *b, uint32_t number, vv_slice text)
{
    if (text.len > 0)
        wire_put_bytes(b, number, text);
}

static inline void wire_put_uint(vv_buf *b, uint32_t number, uint64_t value)
{
    if (value != 0) {
        wire_put_tag(b, number, WIRE_VARINT);
        vv_buf_append_varint(b, value);
    }
}

static inline void wire_put_int(vv_buf *b, uint32_t number, int64_t value)
{
    wire_put_uint(b, number, (uint64_t)value);
}

static inline void wire_put_double_always(vv_buf *b, uint32_t number, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    wire_put_tag(b, number, WIRE_FIXED64);
    vv_buf_append_le64(b, bits);
}

static inline void wire_put_double(vv_buf *b, uint32_t number, double value)
{
    if (value != 0)
        wire_put_double_always(b, number, value);
}

/* Begin a nested message: gives the place to hand to wire_end. */
static inline size_t wire_begin(vv_buf *b, uint32_t number)
{
    wire_put_tag(b, number, WIRE_BYTES);
    vv_buf_append_u8(b, 0);
    return b->len;
}

/* End a nested message: writes its length in front, moving it when that takes over one byte. */
static inline void wire_end(vv_buf *b, size_t begin)
{
    if (b->status != VV_OK)
        return;
    size_t len = b->len - begin;
    size_t extra = vv_varint_len(len) - 1;
    if (extra > 0) {
        if (vv_buf_reserve(b, extra) == NULL)
            return;
        memmove(b->data + begin + extra, b->data + begin, len);
        vv_buf_advance(b, extra);
    }
    vv_varint_put(b->data + begin - 1, len);
}

/* google.protobuf.Timestamp: nanos count up from seconds, also before 1970. */
static inline void wire_put_time(vv_buf *b, uint32_t number, int64_t ns)
{
    int64_t seconds = ns / 1000000000;
    int64_t nanos = ns % 1000000000;
    if (nanos < 0) {
        nanos += 1000000000;
        seconds--;
    }
    size_t begin = wire_begin(b, number);
    wire_put_int(b, 1, seconds);
    wire_put_int(b, 2, nanos);
    wire_end(b, begin);
}

#endif
