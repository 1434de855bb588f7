/*
 * store_local_tier.c - a directory's messages in an object store, through the public library.
 */
#include "store_local.h"

static vv_status tier_run(store *s, uint64_t *messages, uint64_t *objects, vv_error *err)
{
    local *l = local_of(s);
    vv_tier_stats stats = {.size = sizeof stats};
    vv_status st = local_open_stream(l, err);
    if (st == VV_OK)
        st = vv_tier_run(l->db, l->table, err);
    vv_tier_stats_read(l->db, &stats);
    *messages = stats.stored_messages;
    *objects = stats.stored;
    return st;
}

static vv_status tier_list(store *s, int (*each)(void *ctx, const vv_tier_object *o), void *ctx,
                           vv_error *err)
{
    local *l = local_of(s);
    vv_status st = local_open_stream(l, err);
    return st == VV_OK ? vv_tier_list(l->table, each, ctx, err) : st;
}

static vv_status tier_verify(store *s, bool whole, void (*finding)(void *ctx, const char *text),
                             void *ctx, vv_error *err)
{
    local *l = local_of(s);
    vv_status st = local_open_stream(l, err);
    return st == VV_OK ? vv_tier_verify(l->table, whole, finding, ctx, err) : st;
}

static vv_status tier_restore(store *s, uint32_t partition, uint64_t first, uint64_t next,
                              uint64_t *restored, vv_error *err)
{
    local *l = local_of(s);
    *restored = 0;
    vv_status st = local_open_stream(l, err);
    return st == VV_OK ? vv_tier_restore(l->table, partition, first, next, restored, err) : st;
}

const store_tier_ops local_tier_ops = {
    .run = tier_run, .list = tier_list, .verify = tier_verify, .restore = tier_restore};
