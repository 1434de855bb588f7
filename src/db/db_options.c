/*
 * db_options.c - fill in the defaults of vv_options and refuse what cannot be.
 */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "db/db_int.h"

#define MEMORY_DEFAULT (512 * VV_MIB)
#define MEMORY_MIN (16 * VV_MIB)
#define MEMTABLE_DEFAULT (64 * VV_MIB)
#define MEMTABLE_MIN (16 * VV_KIB)
#define CACHE_MIN (64 * VV_KIB)
#define LOG_LIMIT_DEFAULT VV_GIB
#define SEGMENT_DEFAULT (64 * VV_MIB)
#define SEGMENT_MIN (64 * VV_KIB)
#define RING_DEFAULT (8 * VV_MIB)
#define RING_MIN (64 * VV_KIB)
#define GROUP_MAX_BYTES VV_MIB

static uint64_t or_default(uint64_t value, uint64_t fallback)
{
    return value == 0 ? fallback : value;
}

static vv_status check_range(const char *name, uint64_t value, uint64_t min, uint64_t max,
                             vv_error *err)
{
    if (value >= min && value <= max)
        return VV_OK;
    return vv_fail(err, VV_INVALID,
                   "%s is %" PRIu64 ": it must lie between %" PRIu64 " and %" PRIu64, name, value,
                   min, max);
}

static void fill(vv_options *o)
{
    o->shard_count = (uint32_t)or_default(o->shard_count, 1);
    if (o->durability == VV_DURABLE_DEFAULT)
        o->durability = VV_DURABLE_SYNC;
    o->memory_limit = or_default(o->memory_limit, MEMORY_DEFAULT);
    o->memtable_size = or_default(o->memtable_size, MEMTABLE_DEFAULT);
    o->cache_size = or_default(o->cache_size, o->memory_limit / 4);
    o->log_limit = or_default(o->log_limit, LOG_LIMIT_DEFAULT);
    o->log_segment_size = (uint32_t)or_default(o->log_segment_size, SEGMENT_DEFAULT);
    o->log_ring_size = (uint32_t)or_default(o->log_ring_size, RING_DEFAULT);
    o->background_threads = (uint32_t)or_default(o->background_threads, 1);
}

static vv_status check(const vv_options *o, vv_error *err)
{
    vv_status st = check_range("shard_count", o->shard_count, 1, WAL_SHARD_MAX, err);
    if (st == VV_OK)
        st = check_range("durability", o->durability, VV_DURABLE_SYNC, VV_DURABLE_NONE, err);
    if (st == VV_OK)
        st = check_range("memory_limit", o->memory_limit, MEMORY_MIN, UINT64_MAX / 2, err);
    if (st == VV_OK)
        st = check_range("memtable_size", o->memtable_size, MEMTABLE_MIN, UINT64_MAX / 2, err);
    if (st == VV_OK)
        st = check_range("cache_size", o->cache_size, CACHE_MIN, o->memory_limit, err);
    if (st == VV_OK)
        st = check_range("log_limit", o->log_limit, 2 * SEGMENT_MIN, UINT64_MAX / 2, err);
    if (st == VV_OK)
        st = check_range("log_segment_size", o->log_segment_size, SEGMENT_MIN, VV_GIB, err);
    if (st == VV_OK)
        st = check_range("log_ring_size", o->log_ring_size, RING_MIN, VV_GIB, err);
    if (st == VV_OK)
        st = check_range("background_threads", o->background_threads, 1, DB_WORKERS_MAX, err);
    return st;
}

vv_status db_options_resolve(const vv_options *opt, vv_options *out, vv_error *err)
{
    *out = (vv_options)VV_OPTIONS_INIT;
    if (opt != NULL) {
        /* A program built against an older header leaves the newer fields at their defaults. */
        if (opt->size < offsetof(vv_options, create_if_missing) + sizeof(bool))
            return vv_fail(err, VV_INVALID, "vv_options.size is %zu: use VV_OPTIONS_INIT",
                           opt->size);
        memcpy(out, opt, opt->size < sizeof *out ? opt->size : sizeof *out);
        out->size = sizeof *out;
    }
    fill(out);
    vv_status st = check(out, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "options");
    out->log_segment_size = (uint32_t)vv_align_up(out->log_segment_size, VV_BLOCK);
    /* The log holds the segment being filled and the one before: less would be pressure for ever.
     */
    out->log_limit = vv_max_u64(out->log_limit, 2 * (uint64_t)out->log_segment_size);
    out->log_ring_size = (uint32_t)vv_align_up(out->log_ring_size, VV_BLOCK);
    return VV_OK;
}

/* What depends on the number of shards, which an existing store decides. */
void db_options_scale(vv_db *db)
{
    uint64_t share = db->opt.memory_limit / 8 / db->shard_count;
    db->opt.memtable_size = vv_min_u64(db->opt.memtable_size, vv_max_u64(share, MEMTABLE_MIN));
    db->group_bytes_max = vv_min_u64(
        GROUP_MAX_BYTES, vv_min_u64(db->opt.log_ring_size / 8, db->opt.memtable_size / 4));
    db->queue.bytes_max = db->opt.memory_limit / 8;
    db->queue.chain_max = vv_max_u64(db->opt.log_ring_size / 4, db->group_bytes_max);
}
