/*
 * entry.h - the payload of a log ENTRY: operations on keys, ready to apply. Bytes:
 * docs/format/entry.md.
 *
 *   payload   u8 format (1) | varint op count, five bytes | ops
 *   op        u8 kind | flags << 4 | varint key length | varint value length | [i64 expires_ns] |
 *             key | value
 *
 * A key is 4 bytes of table id, big-endian, then the user's key, so that one order serves every
 * table of a shard. Operations of one entry apply in order and share its version: the last write of
 * a key wins. Logged operations are unconditional: apply never decides anything.
 */
#ifndef VARVE_ENGINE_ENTRY_H
#define VARVE_ENGINE_ENTRY_H

#include "base/buf.h"
#include "base/bytes.h"
#include "base/util.h"
#include "varve/slice.h"
#include "varve/status.h"

#define ENGINE_TABLE_PREFIX 4u /* bytes of table id in front of each key */
/* The key limit of users, what an index or a system table puts before it, and the prefix. */
#define ENGINE_KEY_MAX (1024u + 12u + ENGINE_TABLE_PREFIX)
#define ENGINE_VALUE_MAX (15u * 1024 * 1024)

/* Frozen: on disk in the log and in runs. */
typedef enum engine_kind {
    ENGINE_PUT = 0,
    ENGINE_DELETE = 1,
    ENGINE_MERGE = 2,        /* value is what operand.h calls steps */
    ENGINE_RANGE_DELETE = 3, /* key is the start, value the exclusive end */
    ENGINE_APART = 4,        /* of runs alone: a put whose value is a reference, the engine's own */
} engine_kind;

typedef struct engine_op {
    engine_kind kind;
    vv_slice key;       /* with the table prefix */
    vv_slice value;     /* the exclusive end key for ENGINE_RANGE_DELETE */
    int64_t expires_ns; /* wall time from which a put or merge counts as deleted; 0: never */
} engine_op;

/** Begin a payload in buf (kept as is up to here); returns the offset to hand to entry_finish. */
size_t engine_entry_begin(vv_buf *buf);
/** Append one operation. Limits are the caller's to check; a full buf latches. */
void engine_entry_add(vv_buf *buf, const engine_op *op);
/** Same, for a key given in two parts and a value that the caller writes: [value_len] bytes at what
 * is returned, before anything else is done with buf. NULL: it has latched. */
uint8_t *engine_entry_add_place(vv_buf *buf, engine_kind kind, uint32_t table_id, vv_slice user_key,
                                size_t value_len, int64_t expires_ns);
/** Same, for a key given in two parts. */
void engine_entry_add_key(vv_buf *buf, engine_kind kind, uint32_t table_id, vv_slice user_key,
                          vv_slice value, int64_t expires_ns);
/** Patch the operation count (fixed width of 5 bytes, a legal long varint). */
void engine_entry_finish(vv_buf *buf, size_t begin, uint32_t op_count);

typedef struct engine_entry_iter {
    const uint8_t *next;
    const uint8_t *end;
    uint32_t left;
} engine_entry_iter;

/** VV_CORRUPT when the head is malformed. Borrows payload while iterating. */
VV_MUST_CHECK vv_status engine_entry_open(vv_slice payload, engine_entry_iter *it, vv_error *err);
/** VV_NOT_FOUND at the end; VV_CORRUPT on bytes that are no operation. op borrows the payload. */
VV_MUST_CHECK vv_status engine_entry_next(engine_entry_iter *it, engine_op *op, vv_error *err);

static inline uint32_t engine_key_table(vv_slice key)
{
    return key.len < ENGINE_TABLE_PREFIX ? 0 : vv_get_be32(key.data);
}

/** 8 key bytes behind skip as a number, zeros behind the end: compares as the keys do. */
static inline uint64_t engine_key_head(vv_slice key, size_t skip)
{
    if (VV_LIKELY(key.len >= skip + 8))
        return vv_get_be64(key.data + skip);
    uint64_t head = 0;
    for (size_t i = 0; i < 8; i++)
        head = head << 8 | (skip + i < key.len ? key.data[skip + i] : 0);
    return head;
}

#endif
