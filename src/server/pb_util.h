/*
 * pb_util.h - what the services share to read and write protobuf: bounded memory for protobuf-c, a
 * bound on nesting before it recurses, a reader and a writer of raw wire bytes.
 *
 * protobuf-c unpacks by recursion without any limit, and keeps unknown fields by allocating what
 * the peer chose. So every message from outside goes through pb_unpack: first the nesting is
 * counted without recursion, then it is unpacked into an arena that has a cap. Nothing is freed one
 * by one.
 */
#ifndef VARVE_SERVER_PB_UTIL_H
#define VARVE_SERVER_PB_UTIL_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "varve/slice.h"
#include "varve/status.h"

#define PB_VALUE_DEPTH_MAX 64u /* google.protobuf.Value inside Value */

/* ---- unpacking with protobuf-c ------------------------------------------------------------- */

/* Does not move once initialised: allocator points into it. One thread at a time. */
typedef struct pb_arena {
    vv_arena arena;
    ProtobufCAllocator allocator;
    bool refused; /* an allocation since the last reset found no room */
} pb_arena;

/** Memory for unpacked messages, at most max bytes. Allocates nothing. */
void pb_arena_init(pb_arena *a, size_t max);
void pb_arena_fini(pb_arena *a);
/** Every message unpacked into it is gone; one block is kept. */
void pb_arena_reset(pb_arena *a);

/**
 * Check that bytes is well-formed wire data as far as desc knows its fields, and that Value nests
 * at most PB_VALUE_DEPTH_MAX deep. No recursion, no allocation, O(bytes). VV_INVALID otherwise.
 */
VV_MUST_CHECK vv_status pb_depth_check(const ProtobufCMessageDescriptor *desc, vv_slice bytes,
                                       vv_error *err);

/**
 * pb_depth_check, then unpack. *out lives in the arena until its reset: do not free it. Copies, so
 * bytes may go afterwards. VV_INVALID when the bytes are no such message; VV_BUSY when the arena's
 * cap is reached. Cast *out to the generated type of desc.
 */
VV_MUST_CHECK vv_status pb_unpack(const ProtobufCMessageDescriptor *desc, vv_slice bytes,
                                  pb_arena *arena, ProtobufCMessage **out, vv_error *err);

/** Append the packed message. A failure latches in buf. */
void pb_pack(vv_buf *buf, const ProtobufCMessage *message);

/* ---- reading raw wire bytes ------------------------------------------------------------------ */

typedef enum pb_wire {
    PB_VARINT = 0,
    PB_FIXED64 = 1,
    PB_BYTES = 2,
    PB_FIXED32 = 5,
} pb_wire;

typedef struct pb_field {
    uint32_t number;
    pb_wire wire;
    uint64_t value; /* PB_VARINT, PB_FIXED64, PB_FIXED32 */
    vv_slice bytes; /* PB_BYTES: borrowed from the reader's input */
} pb_field;

typedef struct pb_reader {
    const uint8_t *next;
    const uint8_t *end;
    bool bad; /* latched: the bytes are not wire data */
} pb_reader;

static inline pb_reader pb_reader_of(vv_slice bytes)
{
    return (pb_reader){bytes.data, bytes.len == 0 ? bytes.data : bytes.data + bytes.len, false};
}

/** The next field; false at the end and on bad input, which r->bad tells apart. Groups are bad. */
bool pb_next(pb_reader *r, pb_field *out);

/* ---- writing raw wire bytes ------------------------------------------------------------------ */

/* Each appends one field, also when it holds the default value. Failures latch in buf. */
void pb_put_varint(vv_buf *buf, uint32_t number, uint64_t value);
void pb_put_bytes(vv_buf *buf, uint32_t number, vv_slice bytes);
void pb_put_str(vv_buf *buf, uint32_t number, const char *text);
void pb_put_fixed64(vv_buf *buf, uint32_t number, uint64_t value);
void pb_put_fixed32(vv_buf *buf, uint32_t number, uint32_t value);
void pb_put_double(vv_buf *buf, uint32_t number, double value);
/** The tag and length of a bytes field whose len bytes the caller appends next. */
void pb_put_head(vv_buf *buf, uint32_t number, size_t len);

/** Open a nested message; what is appended until pb_end is its content. Nests freely. */
size_t pb_begin(vv_buf *buf, uint32_t number);
/** mark is what pb_begin gave. Moves the content when its length needs more than one byte. */
void pb_end(vv_buf *buf, size_t mark);

#endif
