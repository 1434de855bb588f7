/*
 * stream.h - what a stream table stores, as bytes: blocks of messages, and the few records beside
 * them. Byte by byte in docs/format/stream.md.
 *
 * A block is what one append brought, or 64 KiB of it. It is encoded before the append has its
 * place in the log; what only the log can tell (offset, receive time, sums along the partition)
 * lies at fixed places, in the key and in STREAM_PLACED, and is filled in at that moment.
 *
 * Pure functions over bytes: no files, no table. Everything that decodes takes bytes from anywhere.
 */
#ifndef VARVE_STREAM_STREAM_H
#define VARVE_STREAM_STREAM_H

#include <assert.h>

#include "base/buf.h"
#include "varve/stream.h"

#define STREAM_BLOCK_TARGET                                                                        \
    (64u * 1024) /* a block ends before it passes this, unless it is one message */
#define STREAM_NO_OFFSET UINT64_MAX
#define STREAM_NO_TIME INT64_MIN

/* First byte of a key. Frozen: on disk. */
#define STREAM_KEY_POSITION 'C' /* then the name */
#define STREAM_KEY_HEAD 'H'
#define STREAM_KEY_LOCAL 'L' /* a head too: where the blocks begin, once archived messages left */
#define STREAM_KEY_BLOCK 'M' /* then the offset of its first message, big-endian */
#define STREAM_KEY_PRODUCER 'P' /* then the id */
#define STREAM_BLOCK_KEY 9u     /* bytes of a block's key */
#define STREAM_NAMED_KEY_MAX 129u

static_assert(1 + VV_STREAM_POSITION_MAX <= STREAM_NAMED_KEY_MAX &&
                  1 + VV_STREAM_PRODUCER_MAX <= STREAM_NAMED_KEY_MAX,
              "names fit keys");

void stream_block_key(uint64_t offset, uint8_t out[STREAM_BLOCK_KEY]);
/** Of a position or a producer; the name fits. Returns the length. */
size_t stream_named_key(char kind, vv_slice name, uint8_t out[STREAM_NAMED_KEY_MAX]);

/* ---- messages (message.c) ---------------------------------------------------------------------
 */

/** VV_INVALID names what is over its limit or malformed. size_max: of stream_message_size. */
VV_MUST_CHECK vv_status stream_message_check(const vv_message *m, uint64_t size_max, vv_error *err);
/** Bytes of the message as it is stored, without its length in front. */
uint64_t stream_message_size(const vv_message *m);
/** Append the message to out, its length in front. It was checked. */
void stream_message_encode(const vv_message *m, vv_buf *out);
/** The same when its size is known: what stream_message_size says. */
void stream_message_encode_sized(const vv_message *m, uint64_t size, vv_buf *out);

/* Attributes of a decoded message. All zero at first. */
typedef struct stream_scratch {
    vv_attribute *attribute;
    size_t cap;
} stream_scratch;

void stream_scratch_fini(stream_scratch *s);
/** The message in bytes (without the length); borrows them, and scratch until its next use. Offset,
 * partition and receive time are the caller's to fill. VV_CORRUPT; VV_NO_MEMORY. */
VV_MUST_CHECK vv_status stream_message_decode(vv_slice bytes, stream_scratch *scratch,
                                              vv_message *out, vv_error *err);

/* ---- blocks (block.c) --------------------------------------------------------------------------
 */

typedef struct stream_writer {
    vv_buf *out;
    size_t begin;
    uint32_t count;
    int64_t event_max; /* of the event times given; STREAM_NO_TIME: none */
    bool has_untimed;  /* a message without one */
    bool has_producer;
} stream_writer;

/** Bytes of a block before its first message. */
size_t stream_block_head(vv_slice producer);
/** Begin a block behind what out holds; producer empty: none. */
void stream_block_begin(stream_writer *w, vv_buf *out, vv_slice producer, uint64_t sequence);
void stream_block_add(stream_writer *w, const vv_message *m);
/** The block is whole, but for what stream_block_place fills in. */
void stream_block_end(stream_writer *w);

/* What the log tells of a block. */
typedef struct stream_place {
    int64_t receive_ns;
    uint64_t bytes_before; /* of the partition's blocks before this one, deleted ones included */
    int64_t event_max;     /* highest event time up to this block's end, deleted ones included */
    uint64_t previous;     /* first offset of the producer's block before; STREAM_NO_OFFSET: none */
} stream_place;

#define STREAM_PLACE_AT 16u   /* in a block */
#define STREAM_PLACE_SIZE 32u /* bytes from there on */

void stream_block_place(uint8_t *place, const stream_place *p);

/* A block being read. */
typedef struct stream_block {
    uint32_t count;
    int64_t event_max; /* its own; STREAM_NO_TIME: none was given */
    bool has_untimed;
    stream_place place;
    vv_slice producer; /* empty: none */
    uint64_t sequence; /* of its first message, with a producer */
    const uint8_t *next;
    const uint8_t *end;
    uint32_t left; /* messages that stream_block_next has still to give */
} stream_block;

/** VV_CORRUPT; VV_UNSUPPORTED for a format of later versions. Borrows bytes. */
VV_MUST_CHECK vv_status stream_block_open(vv_slice bytes, stream_block *out, vv_error *err);
/** The bytes of the next message. VV_NOT_FOUND behind the last; VV_CORRUPT. */
VV_MUST_CHECK vv_status stream_block_next(stream_block *b, vv_slice *message, vv_error *err);
/** The highest event time in it, the receive time for messages without one. */
int64_t stream_block_newest(const stream_block *b);

/* ---- records beside the blocks (record.c) ------------------------------------------------------
 */

/* Where a partition begins, once something was trimmed, and what the trimmed told. */
typedef struct stream_head {
    uint64_t first;        /* offset */
    uint64_t bytes_before; /* of the blocks before the one that holds it */
    int64_t receive_ns;    /* newest of what was trimmed */
    int64_t event_max;     /* highest of what was trimmed */
} stream_head;

typedef struct stream_producer {
    uint64_t next;     /* sequence that is expected */
    uint64_t previous; /* first offset of its newest block */
    int64_t used_ns;   /* receive time of that */
} stream_producer;

typedef struct stream_position {
    uint64_t offset;
    int64_t committed_ns;
} stream_position;

#define STREAM_HEAD_SIZE 33u
#define STREAM_PRODUCER_SIZE 25u
#define STREAM_POSITION_SIZE 17u

void stream_head_encode(const stream_head *h, uint8_t out[STREAM_HEAD_SIZE]);
void stream_producer_encode(const stream_producer *p, uint8_t out[STREAM_PRODUCER_SIZE]);
void stream_position_encode(const stream_position *p, uint8_t out[STREAM_POSITION_SIZE]);
/* VV_CORRUPT; VV_UNSUPPORTED for a format of later versions. */
VV_MUST_CHECK vv_status stream_head_decode(vv_slice bytes, stream_head *out, vv_error *err);
VV_MUST_CHECK vv_status stream_producer_decode(vv_slice bytes, stream_producer *out, vv_error *err);
VV_MUST_CHECK vv_status stream_position_decode(vv_slice bytes, stream_position *out, vv_error *err);

/** VV_INVALID for a name that no position has. */
VV_MUST_CHECK vv_status stream_position_check(vv_slice name, vv_error *err);

#endif
