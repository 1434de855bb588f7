/*
 * db_settle.c - what is left to do for a shard that nobody writes to.
 *
 *   written -- SETTLE_NS without a write --> a large memtable is flushed --> level 0 goes down
 *      ^                                                                          |
 *      +---------------------------------- a write -------------------------------+
 *
 * While somebody writes, compaction waits until it pays. At rest nothing more comes that would let
 * it: the pieces that the last writes left behind would be joined by every read of them, and their
 * bytes stay spread. A small memtable stays: it is read as fast, and a store that is written to now
 * and then would get a file each time.
 */
#include "db/db_int.h"

#define SETTLE_NS (5 * VV_NS_PER_S)
#define MEMTABLE_PART 16u /* of a memtable's size: it is flushed from there on */

static void look(vv_db *db, db_shard *shard, int64_t now_ns)
{
    db_rest *r = &shard->rest;
    int64_t version = db->ops->visible(shard->eng);
    engine_stats stats;
    if (version != r->version) {
        *r = (db_rest){.version = version, .since_ns = now_ns};
        return;
    }
    if (r->is_done || now_ns - r->since_ns < SETTLE_NS)
        return;
    db->ops->stats(shard->eng, &stats);
    if (stats.memtable_count > 1) /* a flush is under way */
        return;
    if (!r->is_flushed && stats.memtable_bytes >= db->opt.memtable_size / MEMTABLE_PART) {
        r->is_flushed = true;
        db_freeze_only_one(db, shard);
        return;
    }
    r->is_done = true;
    if (db->ops->settle != NULL)
        db->ops->settle(shard->eng);
}

void db_settle(vv_db *db)
{
    db_background *bg = &db->bg;
    if (db->opt.read_only || atomic_load_explicit(&bg->failed, memory_order_acquire) ||
        atomic_exchange_explicit(&bg->settling, true, memory_order_acquire))
        return;
    int64_t now_ns = vv_clock_mono(db->env->clock);
    for (uint32_t i = 0; i < db->shard_count; i++)
        look(db, &db->shards[i], now_ns);
    atomic_store_explicit(&bg->settling, false, memory_order_release);
}
