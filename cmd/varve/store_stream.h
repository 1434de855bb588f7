/*
 * store_stream.h - what `varve stream` does to a store: the part of store.h that knows messages.
 *
 * Filled by a directory (store_local_stream.c) and by a server (store_remote_stream.c). Messages
 * and positions are those of varve/stream.h, valid during the call that gives them; a nonzero
 * return of each() ends the walk.
 */
#ifndef VARVE_CMD_VARVE_STORE_STREAM_H
#define VARVE_CMD_VARVE_STORE_STREAM_H

#include "varve/stream.h"

struct store;

typedef struct store_stream_ops {
    /* *dead: messages that rules of the table refused. */
    vv_status (*append)(struct store *s, const vv_message *messages, size_t count,
                        const vv_stream_append_options *opt, uint64_t *dead, vv_error *err);
    /* Where a producer goes on whose messages have this key; 0: it is not known. partition as an
     * append has it. */
    vv_status (*producer_next)(struct store *s, uint32_t partition, vv_slice key, vv_slice producer,
                               uint64_t *sequence, vv_error *err);
    /* *end: where the reading stopped. With follows it goes on until it is broken off: a server's
     * alone. */
    vv_status (*read)(struct store *s, const vv_stream_read_options *opt, bool follows,
                      int (*each)(void *ctx, const vv_message *m), void *ctx, uint64_t *end,
                      vv_error *err);
    vv_status (*commit)(struct store *s, uint32_t partition, vv_slice name, uint64_t offset,
                        vv_error *err);
    vv_status (*positions)(struct store *s, int (*each)(void *ctx, const vv_stream_position *p),
                           void *ctx, vv_error *err);
    vv_status (*reset)(struct store *s, uint32_t partition, vv_slice name,
                       const vv_stream_start *start, uint64_t *offset, vv_error *err);
    /* Partition by partition. A server does not tell newest_event_ns. */
    vv_status (*status)(struct store *s,
                        int (*each)(void *ctx, uint32_t partition, const vv_stream_stats *stats),
                        void *ctx, vv_error *err);
    vv_status (*replay)(struct store *s, vv_stream_replay_result *out, vv_error *err);
    /* What became of each rule of the table since it was opened. */
    vv_status (*rules)(struct store *s, int (*each)(void *ctx, const vv_stream_rule_stats *rule),
                       void *ctx, vv_error *err);
} store_stream_ops;

#endif
