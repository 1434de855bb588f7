/*
 * db_upkeep.c - checkpoint and compaction on request: both block until the work is done.
 */
#include <string.h>

#include "base/error.h"
#include "db/db_int.h"

static bool is_checkpointed(db_shard *shard, int64_t version)
{
    return shard->db->ops->checkpoint(shard->eng) >= version;
}

static bool never(db_shard *shard, int64_t arg)
{
    (void)shard;
    (void)arg;
    return false;
}

/* Freeze what the shard's active memtable holds; flushes first when too many are frozen. */
static vv_status freeze(vv_db *db, db_shard *shard, vv_error *err)
{
    vv_status st;
    int64_t deadline = vv_clock_mono(db->env->clock) + 60 * VV_NS_PER_S;
    for (;;) {
        uint64_t room = db_background_room(db);
        st = db_freeze(db, shard, err);
        if (st != VV_BUSY)
            return st;
        st = db_background_make_room(db, shard, room, deadline, err);
        if (st != VV_OK)
            return st;
    }
}

vv_status db_flush_shard(vv_db *db, db_shard *shard, vv_error *err)
{
    int64_t version = atomic_load_explicit(&shard->last_index, memory_order_acquire);
    if (is_checkpointed(shard, version))
        return VV_OK;
    vv_status st = freeze(db, shard, err);
    if (st == VV_OK)
        st = db_background_run(db, shard, is_checkpointed, version, err);
    if (st == VV_NOT_FOUND)
        return db->home == &engine_memory_ops
                   ? VV_OK /* nothing of it is ever in runs */
                   : vv_fail(err, VV_IO,
                             "shard %u: nothing left to flush, but the checkpoint is "
                             "below version %lld",
                             shard->id, (long long)version);
    return st;
}

vv_status db_flush_held(vv_db *db, db_shard *shard, vv_error *err)
{
    int64_t version = atomic_load_explicit(&shard->last_index, memory_order_relaxed);
    vv_status st = is_checkpointed(shard, version) ? VV_OK : db->ops->freeze(shard->eng, err);
    if (st == VV_OK)
        st = db_background_run(db, shard, is_checkpointed, version, err);
    return st;
}

vv_status vv_checkpoint(vv_db *db, vv_error *err)
{
    vv_status st = db_check_writable(db, err);
    if (st == VV_OK)
        st = db_await(db, wal_end_position(db->log), err);
    for (uint32_t i = 0; st == VV_OK && i < db->shard_count; i++)
        st = db_flush_shard(db, &db->shards[i], err);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "checkpoint");
}

static vv_status compact_ids(vv_db *db, db_shard *shard, uint32_t id, vv_slice begin, vv_slice end,
                             vv_error *err)
{
    uint8_t lower[ENGINE_KEY_MAX];
    uint8_t upper[ENGINE_KEY_MAX];
    vv_put_be32(lower, id);
    vv_put_be32(upper, end.len == 0 ? id + 1 : id);
    if (begin.len > 0)
        memcpy(lower + ENGINE_TABLE_PREFIX, begin.data, begin.len);
    if (end.len > 0)
        memcpy(upper + ENGINE_TABLE_PREFIX, end.data, end.len);
    return db->ops->compact_range(shard->eng, vv_slice_of(lower, ENGINE_TABLE_PREFIX + begin.len),
                                  vv_slice_of(upper, ENGINE_TABLE_PREFIX + end.len), err);
}

vv_status vv_compact(vv_table *table, vv_slice begin, vv_slice end, vv_error *err)
{
    vv_db *db = table->db;
    vv_status st = db_check_table(table, err);
    if (st == VV_OK && (begin.len > VV_KEY_MAX || end.len > VV_KEY_MAX))
        st = vv_fail(err, VV_INVALID, "a bound is longer than %u bytes", VV_KEY_MAX);
    if (st == VV_OK)
        st = db_check_writable(db, err);
    if (st == VV_OK)
        st = db_await(db, wal_end_position(db->log), err);
    if (st == VV_OK)
        st = db_flush_shard(db, table->shard, err);
    if (st == VV_OK)
        st = compact_ids(db, table->shard, table->cat->id, begin, end, err);
    if (st == VV_OK && table->cat->index_id != 0 && begin.len + end.len == 0)
        st = compact_ids(db, table->shard, table->cat->index_id, begin, end, err);
    if (st == VV_OK)
        st = db_background_run(db, table->shard, never, 0, err);
    return st == VV_OK || st == VV_NOT_FOUND ? VV_OK
                                             : vv_wrap(err, st, "compact '%s'", table->cat->name);
}
