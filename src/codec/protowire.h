/*
 * protowire.h - protobuf's wire form, read field by field and written field by field, without a
 * schema: the one reader for every message that comes from outside.
 *
 *     wire_reader r = wire_reader_of(message);
 *     wire_field f = {0};
 *     while (wire_next(&r, &f) > 0)
 *         if (f.number == 1 && f.type == WIRE_BYTES) ...
 *     return r.fault == WIRE_GOOD;
 *
 * The reader trusts nothing and never reads past its message. It accepts what protobuf accepts:
 * varints in more bytes than they need, unknown fields, repeats of a singular field, and it drops
 * the bits of a varint above the 64th. Tags and lengths have at most five bytes; groups, which
 * proto3 has not, are malformed. What only some readers let pass, a field number of zero or above
 * 2^29 - 1, is told apart as WIRE_STRICT, for those who compare themselves with another reader.
 *
 * The writers append to a vv_buf, whose status latches.
 */
#ifndef VARVE_CODEC_PROTOWIRE_H
#define VARVE_CODEC_PROTOWIRE_H

#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/utf8.h"
#include "base/util.h"
#include "base/varint.h"

typedef enum wire_type {
    WIRE_VARINT = 0,
    WIRE_FIXED64 = 1,
    WIRE_BYTES = 2,
    WIRE_FIXED32 = 5,
} wire_type;

enum {
    WIRE_GOOD = 0,
    WIRE_MALFORMED = 1,
    WIRE_STRICT = 2, /* refused here, though not by every reader */
    WIRE_OWN = 3,    /* faults of a reader's user begin here */
};

typedef struct wire_reader {
    const uint8_t *next;
    const uint8_t *end;
    int fault; /* latched: ends the walk */
} wire_reader;

typedef struct wire_field {
    uint32_t number; /* 1..2^29 - 1 */
    wire_type type;
    uint64_t value; /* of WIRE_VARINT, WIRE_FIXED64, WIRE_FIXED32; else 0 */
    vv_slice bytes; /* of WIRE_BYTES: borrowed from the message; else empty */
} wire_field;

/* ---- reading ---- */

static inline wire_reader wire_reader_of(vv_slice message)
{
    /* An empty message may come as a NULL pointer, to which nothing may be added. */
    return (wire_reader){message.data, message.len == 0 ? message.data : message.data + message.len,
                         WIRE_GOOD};
}

/** A varint of at most ten bytes at the reader's place, as packed fields have them. False, and the
 * place stays, when there is none. */
static inline bool wire_varint(wire_reader *r, uint64_t *out)
{
    const uint8_t *p = r->next;
    if (VV_LIKELY(p < r->end && *p < 0x80)) {
        *out = *p;
        r->next = p + 1;
        return true;
    }
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70 && p < r->end; shift += 7) {
        uint64_t byte = *p++;
        v |= (byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = v;
            r->next = p;
            return true;
        }
    }
    return false;
}

/* A tag or a length: at most five bytes. */
static inline bool wire_read_short(wire_reader *r, uint64_t *out)
{
    const uint8_t *begin = r->next;
    return wire_varint(r, out) && r->next - begin <= 5;
}

/** One element of a packed field at the reader's place: its value as wire_field has it. False when
 * it is cut off, and for WIRE_BYTES, which is never packed. */
static inline bool wire_value(wire_reader *r, wire_type type, uint64_t *out)
{
    size_t width = type == WIRE_FIXED64 ? 8 : 4;
    if (type == WIRE_VARINT)
        return wire_varint(r, out);
    if (type == WIRE_BYTES || VV_UNLIKELY((size_t)(r->end - r->next) < width))
        return false;
    *out = type == WIRE_FIXED64 ? vv_get_le64(r->next) : vv_get_le32(r->next);
    r->next += width;
    return true;
}

static inline int wire_read_field(wire_reader *r, wire_field *out)
{
    uint64_t tag;
    uint64_t len;
    if (VV_UNLIKELY(!wire_read_short(r, &tag)))
        return WIRE_MALFORMED;
    *out = (wire_field){.number = (uint32_t)(tag >> 3), .type = (wire_type)(tag & 7)};
    switch (out->type) {
    case WIRE_BYTES:
        if (VV_UNLIKELY(!wire_read_short(r, &len) || len > (uint64_t)(r->end - r->next)))
            return WIRE_MALFORMED;
        out->bytes = vv_slice_of(r->next, (size_t)len);
        r->next += len;
        break;
    case WIRE_VARINT:
    case WIRE_FIXED64:
    case WIRE_FIXED32:
        if (VV_UNLIKELY(!wire_value(r, out->type, &out->value)))
            return WIRE_MALFORMED;
        break;
    default: /* a group, or a type that does not exist */
        return WIRE_MALFORMED;
    }
    return VV_UNLIKELY(tag < 8 || tag > UINT32_MAX) ? WIRE_STRICT : WIRE_GOOD;
}

/** 1: *out is the next field. 0: the end of the message. -1: r->fault is set, now or before. */
static inline int wire_next(wire_reader *r, wire_field *out)
{
    if (r->fault != WIRE_GOOD)
        return -1;
    if (r->next == r->end)
        return 0;
    r->fault = wire_read_field(r, out);
    return r->fault == WIRE_GOOD ? 1 : -1;
}

static inline double wire_double(uint64_t bits)
{
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

static inline uint64_t wire_double_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* ---- writing: these append a field whatever it holds ---- */

static inline void wire_put_tag(vv_buf *b, uint32_t number, wire_type type)
{
    vv_buf_append_varint(b, (uint64_t)number << 3 | (uint64_t)type);
}

/** The tag and length of a bytes field whose len bytes the caller appends next. */
static inline void wire_put_head(vv_buf *b, uint32_t number, size_t len)
{
    wire_put_tag(b, number, WIRE_BYTES);
    vv_buf_append_varint(b, len);
}

static inline void wire_put_bytes(vv_buf *b, uint32_t number, vv_slice bytes)
{
    wire_put_head(b, number, bytes.len);
    vv_buf_append_slice(b, bytes);
}

static inline void wire_put_varint(vv_buf *b, uint32_t number, uint64_t value)
{
    wire_put_tag(b, number, WIRE_VARINT);
    vv_buf_append_varint(b, value);
}

static inline void wire_put_fixed64(vv_buf *b, uint32_t number, uint64_t value)
{
    wire_put_tag(b, number, WIRE_FIXED64);
    vv_buf_append_le64(b, value);
}

static inline void wire_put_fixed32(vv_buf *b, uint32_t number, uint32_t value)
{
    wire_put_tag(b, number, WIRE_FIXED32);
    vv_buf_append_le32(b, value);
}

static inline void wire_put_double_always(vv_buf *b, uint32_t number, double value)
{
    wire_put_fixed64(b, number, wire_double_bits(value));
}

/* ---- writing: these leave a field out that holds its default, as proto3 does ---- */

static inline void wire_put_string(vv_buf *b, uint32_t number, vv_slice text)
{
    if (text.len > 0)
        wire_put_bytes(b, number, text);
}

/* Text that may hold any bytes, as what a user gave or a sentence that quotes it. A reader of
 * proto3 refuses a whole message for one string that is not UTF-8: bytes that are none become '?'.
 */
static inline void wire_put_text(vv_buf *b, uint32_t number, vv_slice text)
{
    if (text.len == 0)
        return;
    const uint8_t *p = text.data, *end = text.data + text.len;
    wire_put_head(b, number, text.len);
    while (p != end) {
        size_t n = utf8_length(p, end);
        if (n == 0)
            vv_buf_append_u8(b, '?');
        else
            vv_buf_append(b, p, n);
        p += n == 0 ? 1 : n;
    }
}

static inline void wire_put_uint(vv_buf *b, uint32_t number, uint64_t value)
{
    if (value != 0)
        wire_put_varint(b, number, value);
}

static inline void wire_put_int(vv_buf *b, uint32_t number, int64_t value)
{
    wire_put_uint(b, number, (uint64_t)value);
}

static inline void wire_put_double(vv_buf *b, uint32_t number, double value)
{
    if (value != 0)
        wire_put_double_always(b, number, value);
}

/* ---- writing: messages inside messages ---- */

/** Open a nested message; what is appended until wire_end is its content. Gives the mark for it. */
static inline size_t wire_begin(vv_buf *b, uint32_t number)
{
    wire_put_tag(b, number, WIRE_BYTES);
    vv_buf_append_u8(b, 0); /* room for the length while it is short, the common case */
    return b->len;
}

/** Write the length in front, moving the content when that takes over one byte. */
static inline void wire_end(vv_buf *b, size_t mark)
{
    if (b->status != VV_OK)
        return;
    size_t len = b->len - mark;
    size_t extra = vv_varint_len(len) - 1;
    if (extra > 0) {
        if (vv_buf_reserve(b, extra) == NULL)
            return;
        memmove(b->data + mark + extra, b->data + mark, len);
        vv_buf_advance(b, extra);
    }
    vv_varint_put(b->data + mark - 1, len);
}

/** google.protobuf.Timestamp: nanos count up from seconds, also before 1970. */
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
