/*
 * arch_thrift.h - Thrift's compact protocol, the part that writes: what Parquet's headers are made
 * of (thrift/doc/specs/thrift-compact-protocol.md).
 *
 * Fields go out in the order of their ids; a struct inside another one keeps its own last id, which
 * the caller holds in a thrift_struct.
 */
#ifndef VARVE_ARCHIVE_ARCH_THRIFT_H
#define VARVE_ARCHIVE_ARCH_THRIFT_H

#include <stdint.h>

#include "base/buf.h"
#include "base/util.h"

typedef enum thrift_type {
    THRIFT_TRUE = 1,
    THRIFT_FALSE = 2,
    THRIFT_I8 = 3,
    THRIFT_I16 = 4,
    THRIFT_I32 = 5,
    THRIFT_I64 = 6,
    THRIFT_BINARY = 8,
    THRIFT_LIST = 9,
    THRIFT_STRUCT = 12,
} thrift_type;

typedef struct thrift_struct {
    vv_buf *out;
    int last; /* id of the field before */
} thrift_struct;

static inline uint64_t thrift_zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (v < 0 ? UINT64_MAX : 0);
}

static inline thrift_struct thrift_begin(vv_buf *out)
{
    return (thrift_struct){.out = out, .last = 0};
}

static inline void thrift_end(thrift_struct *s)
{
    vv_buf_append_u8(s->out, 0);
}

/* The head of a field; its value follows. */
static inline void thrift_field(thrift_struct *s, int id, thrift_type type)
{
    int delta = id - s->last;
    assert(delta > 0 && delta <= 15);
    vv_buf_append_u8(s->out, (uint8_t)(delta << 4 | (int)type));
    s->last = id;
}

static inline void thrift_i32(thrift_struct *s, int id, int32_t v)
{
    thrift_field(s, id, THRIFT_I32);
    vv_buf_append_varint(s->out, thrift_zigzag(v));
}

static inline void thrift_i64(thrift_struct *s, int id, int64_t v)
{
    thrift_field(s, id, THRIFT_I64);
    vv_buf_append_varint(s->out, thrift_zigzag(v));
}

static inline void thrift_bool(thrift_struct *s, int id, bool v)
{
    thrift_field(s, id, v ? THRIFT_TRUE : THRIFT_FALSE);
}

static inline void thrift_put_binary(vv_buf *out, vv_slice v)
{
    vv_buf_append_varint(out, v.len);
    vv_buf_append_slice(out, v);
}

static inline void thrift_binary(thrift_struct *s, int id, vv_slice v)
{
    thrift_field(s, id, THRIFT_BINARY);
    thrift_put_binary(s->out, v);
}

/* The head of a list; count elements follow. */
static inline void thrift_list(thrift_struct *s, int id, thrift_type element, uint32_t count)
{
    thrift_field(s, id, THRIFT_LIST);
    if (count < 15) {
        vv_buf_append_u8(s->out, (uint8_t)(count << 4 | (uint32_t)element));
        return;
    }
    vv_buf_append_u8(s->out, (uint8_t)(0xf0u | (uint32_t)element));
    vv_buf_append_varint(s->out, count);
}

#endif
