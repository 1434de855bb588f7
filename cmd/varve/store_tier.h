/*
 * store_tier.h - what `varve archive` does to the messages of a store that lie in an object store:
 * the part of store.h that knows them. The command's table, which is of kind stream.
 *
 * Filled by a directory (store_local_tier.c) and by a server (store_remote_tier.c).
 */
#ifndef VARVE_CMD_VARVE_STORE_TIER_H
#define VARVE_CMD_VARVE_STORE_TIER_H

#include "varve/tier.h"

struct store;

typedef struct store_tier_ops {
    /* Archive what waits. Messages and objects that were stored meanwhile. */
    vv_status (*run)(struct store *s, uint64_t *messages, uint64_t *objects, vv_error *err);
    vv_status (*list)(struct store *s, int (*each)(void *ctx, const vv_tier_object *o), void *ctx,
                      vv_error *err);
    vv_status (*verify)(struct store *s, bool whole, void (*finding)(void *ctx, const char *text),
                        void *ctx, vv_error *err);
    /* *restored counts also when it fails in the middle. */
    vv_status (*restore)(struct store *s, uint32_t partition, uint64_t first, uint64_t next,
                         uint64_t *restored, vv_error *err);
} store_tier_ops;

#endif
