/*
 * grpc_frame.h - the length-prefixed messages of gRPC, as a pure state machine over bytes.
 *
 *     0      1              5              5+len
 *     +------+--------------+--------------+
 *     | flag | len, big-end | message      |   flag 0: plain, 1: compressed
 *     +------+--------------+--------------+
 *
 *            5 bytes in           bytes in          len bytes in
 *     IDLE ---- HEAD ----> BODY ---- PIECE ----> BODY ---- END ----> IDLE
 *
 * The bytes may be cut anywhere. HEAD is reported as soon as the prefix is in, before one byte of
 * the message is kept, so that the caller can refuse its length.
 */
#ifndef VARVE_SERVER_GRPC_FRAME_H
#define VARVE_SERVER_GRPC_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "varve/slice.h"

#define GRPC_PREFIX_LEN 5u

typedef enum grpc_event {
    GRPC_MORE,  /* the input is used up */
    GRPC_HEAD,  /* f->compressed and f->length are known */
    GRPC_PIECE, /* some bytes of the message, never zero */
    GRPC_END,   /* the message is whole; follows HEAD at once when its length is 0 */
    GRPC_BAD,   /* the flag byte is neither 0 nor 1; latched */
} grpc_event;

typedef struct grpc_frame {
    uint8_t prefix[GRPC_PREFIX_LEN];
    uint8_t prefix_have;
    bool in_body;
    bool bad;
    bool compressed;
    uint32_t length;
    uint32_t left; /* bytes of the message still to come */
} grpc_frame;

/** Take bytes off the front of *in and say what they mean. *piece is set for GRPC_PIECE and borrows
 * from in. Call again until GRPC_MORE or GRPC_BAD. A zero-filled grpc_frame is a fresh one. */
grpc_event grpc_frame_next(grpc_frame *f, vv_slice *in, vv_slice *piece);

/** True between messages: the sender may end here. */
static inline bool grpc_frame_is_clean(const grpc_frame *f)
{
    return f->prefix_have == 0 && !f->in_body && !f->bad;
}

/** Write the prefix of an uncompressed message. */
void grpc_prefix_write(uint8_t out[GRPC_PREFIX_LEN], uint32_t length);

#endif
