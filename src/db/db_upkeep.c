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

/* A range of one table id, with the prefix. */
typedef struct id_range {
    uint8_t bytes[2 * ENGINE_KEY_MAX];
    vv_slice lower;
    vv_slice upper;
} id_range;

static void make_range(id_range *r, uint32_t id, vv_slice begin, vv_slice end)
{
    uint8_t *upper = r->bytes + ENGINE_KEY_MAX;
    vv_put_be32(r->bytes, id);
    vv_put_be32(upper, end.len == 0 ? id + 1 : id);
    if (begin.len > 0)
        memcpy(r->bytes + ENGINE_TABLE_PREFIX, begin.data, begin.len);
    if (end.len > 0)
        memcpy(upper + ENGINE_TABLE_PREFIX, end.data, end.len);
    r->lower = vv_slice_of(r->bytes, ENGINE_TABLE_PREFIX + begin.len);
    r->upper = vv_slice_of(upper, ENGINE_TABLE_PREFIX + end.len);
}

static vv_status compact_id(vv_table *table, uint32_t id, vv_slice begin, vv_slice end,
                            vv_error *err)
{
    id_range r;
    make_range(&r, id, begin, end);
    engine *eng = engine_route_of(table->shard->eng, id);
    return eng->ops->compact_range(eng, r.lower, r.upper, err);
}

static vv_status check_bounds(const vv_table *table, vv_slice begin, vv_slice end, vv_error *err)
{
    vv_status st = db_check_table(table, err);
    if (st == VV_OK && (begin.len > VV_KEY_MAX || end.len > VV_KEY_MAX))
        st = vv_fail(err, VV_INVALID, "a bound is longer than %u bytes", VV_KEY_MAX);
    return st;
}

/* Flush the shard and ask its engine for the range. */
static vv_status ask_for_range(vv_table *table, vv_slice begin, vv_slice end, vv_error *err)
{
    vv_db *db = table->db;
    const cat_table *cat = table->cat;
    vv_status st = check_bounds(table, begin, end, err);
    if (st == VV_OK)
        st = db_check_writable(db, err);
    if (st == VV_OK)
        st = db_await(db, wal_end_position(db->log), err);
    if (st == VV_OK)
        st = db_flush_shard(db, table->shard, err);
    if (st == VV_OK)
        st = compact_id(table, cat->id, begin, end, err);
    if (st == VV_OK && cat->index_id != 0 && begin.len + end.len == 0)
        st = compact_id(table, cat->index_id, begin, end, err);
    return st;
}

/* Until the range is done; where the engine does not tell, until nothing is left to do at all. */
static bool is_range_done(db_shard *shard, int64_t table_id)
{
    engine_stats s;
    engine *eng = engine_route_of(shard->eng, (uint32_t)table_id);
    if (!eng->ops->tells_ranges)
        return false;
    eng->ops->stats(eng, &s);
    return !s.range_pending;
}

static vv_status compact_part(vv_table *table, vv_slice begin, vv_slice end, vv_error *err)
{
    vv_status st = ask_for_range(table, begin, end, err);
    if (st == VV_OK) {
        st = db_background_run(table->db, table->shard, is_range_done, table->cat->id, err);
        if (st == VV_NOT_FOUND) /* no piece of work is left */
            st = VV_OK;
    }
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "compact '%s'", table->cat->name);
}

vv_status vv_compact(vv_table *table, vv_slice begin, vv_slice end, vv_error *err)
{
    vv_status st = VV_OK;
    for (uint32_t p = 0; st == VV_OK && p < table->partition_count; p++) {
        vv_table part = db_part_at(table, p);
        st = compact_part(&part, begin, end, err);
    }
    return st;
}

vv_status vv_compact_begin(vv_table *table, vv_slice begin, vv_slice end, vv_error *err)
{
    if (!engine_route_of(table->shard->eng, table->cat->id)->ops->tells_ranges ||
        table->db->bg.worker_count == 0)
        return vv_compact(table, begin, end, err); /* nobody would do it, or tell */
    vv_status st = VV_OK;
    for (uint32_t p = 0; st == VV_OK && p < table->partition_count; p++) {
        vv_table part = db_part_at(table, p);
        st = ask_for_range(&part, begin, end, err);
    }
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "compact '%s'", table->cat->name);
}

static vv_status look_at_part(vv_table *table, const id_range *r, vv_compact_state *all,
                              vv_error *err)
{
    engine *eng = engine_route_of(table->shard->eng, table->cat->id);
    engine_stats s = {0};
    eng->ops->stats(eng, &s);
    if (s.range_pending && s.failed)
        return vv_fail(err, VV_IO, "compact '%s': background work fails, the log says why",
                       table->cat->name);
    all->is_pending |= s.range_pending;
    all->read_bytes += s.compaction_read_bytes;
    all->range_bytes += eng->ops->approximate_size(eng, r->lower, r->upper);
    return VV_OK;
}

vv_status vv_compact_look(vv_table *table, vv_slice begin, vv_slice end, vv_compact_state *out,
                          vv_error *err)
{
    vv_compact_state all = {.size = sizeof all};
    id_range r;
    vv_status st = check_bounds(table, begin, end, err);
    if (st != VV_OK)
        return st;
    make_range(&r, table->cat->id, begin, end);
    for (uint32_t p = 0; st == VV_OK && p < table->partition_count; p++) {
        vv_table part = db_part_at(table, p);
        st = look_at_part(&part, &r, &all, err);
    }
    if (st != VV_OK)
        return st;
    size_t size = out->size < sizeof all ? out->size : sizeof all;
    all.size = size;
    memcpy(out, &all, size);
    return VV_OK;
}
