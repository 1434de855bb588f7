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
#define FILES_MIN VIO_FILES_LEAST
#define DB_ARCHIVES_MAX 1000u
#define DB_AMPLIFY_MAX 100u
#define SERIES_DEFAULT 1000000u
#define FILE_MIN (8 * VV_MIB)
#define FILE_MAX (32 * VV_MIB)
/* What others may not take of memory_limit: see docs/memory.md. */
#define MEMTABLE_SHARE 4u
#define WORK_SHARE 16u
#define INDEX_SHARE 32u
#define HEADROOM 32u
#define WORK_MIN (64 * VV_KIB)

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
    o->log_ring_size =
        (uint32_t)or_default(o->log_ring_size, vv_min_u64(RING_DEFAULT, o->memory_limit / 8));
    o->background_threads = (uint32_t)or_default(o->background_threads, 1);
    o->series_max = or_default(o->series_max, SERIES_DEFAULT);
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
    if (st == VV_OK)
        st = check_range("apply_threads", o->apply_threads, 0, WAL_SHARD_MAX, err);
    if (st == VV_OK)
        st = check_range("max_open_files", o->max_open_files == 0 ? FILES_MIN : o->max_open_files,
                         FILES_MIN, UINT32_MAX / 2, err);
    if (st == VV_OK)
        st = check_range("archives_max", o->archives_max, 0, DB_ARCHIVES_MAX, err);
    if (st == VV_OK)
        st = check_range("file_amplify_factor", o->file_amplify_factor, 0, DB_AMPLIFY_MAX, err);
    if (st == VV_OK && o->archive_interval_ns < 0)
        st = vv_fail(err, VV_INVALID, "archive_interval_ns is negative");
    if (st == VV_OK)
        st = check_range("io_backend", o->io_backend, VV_IO_AUTO, VV_IO_URING, err);
    if (st == VV_OK && (o->log_level < VV_LOG_ERROR || o->log_level > VV_LOG_DEBUG))
        st = vv_fail(err, VV_INVALID,
                     "log_level is %d: it must lie between 0 (error) and 3 (debug)", o->log_level);
    return st;
}

/* With what blocks lose at the ends of their slabs, and evicted ones that somebody still reads. */
static uint64_t cache_share(const vv_options *o)
{
    return o->cache_size + o->cache_size / 8;
}

/* Of memory_limit, what is left of the shares that go by it. */
static uint64_t unshared(const vv_options *o)
{
    uint64_t limit = o->memory_limit;
    uint64_t rest = limit - limit / MEMTABLE_SHARE - limit / WORK_SHARE - limit / INDEX_SHARE -
                    limit / HEADROOM;
    return o->process_memory < rest ? rest - o->process_memory : 0;
}

/* The parts that do not give way leave what writes need to go on. */
static vv_status check_shares(const vv_options *o, vv_error *err)
{
    uint64_t rest = unshared(o);
    if (cache_share(o) + o->log_ring_size <= rest)
        return VV_OK;
    vv_options alone = *o;
    alone.process_memory = 0;
    uint64_t most = unshared(&alone); /* of process_memory, with the smallest cache */
    most -= vv_min_u64(most, o->log_ring_size + CACHE_MIN + CACHE_MIN / 8);
    if (o->process_memory > most)
        return vv_fail(err, VV_INVALID,
                       "process_memory (%" PRIu64 ") leaves no room in memory_limit (%" PRIu64
                       "): at most %" PRIu64 " fits, so raise memory_limit",
                       o->process_memory, o->memory_limit, most);
    return vv_fail(err, VV_INVALID,
                   "cache_size (%" PRIu64 ", and an eighth) and log_ring_size (%" PRIu64
                   ") take more than the %" PRIu64 " bytes that memory_limit has for them beside "
                   "process_memory: a cache_size of %" PRIu64 " at most fits",
                   o->cache_size, (uint64_t)o->log_ring_size, rest,
                   o->log_ring_size < rest ? (rest - o->log_ring_size) / 9 * 8 : 0);
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
    if (st == VV_OK)
        st = check_shares(out, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "options");
    out->log_segment_size = (uint32_t)vv_align_up(out->log_segment_size, VV_BLOCK);
    /* The log holds the segment being filled and the one before: less would be pressure for ever.
     */
    out->log_limit = vv_max_u64(out->log_limit, 2 * (uint64_t)out->log_segment_size);
    out->log_ring_size = (uint32_t)vv_align_up(out->log_ring_size, VV_BLOCK);
    return VV_OK;
}

uint64_t db_memory_free(const vv_options *opt)
{
    vv_options o = *opt;
    fill(&o);
    uint64_t rest = unshared(&o);
    uint64_t taken = cache_share(&o) + o.log_ring_size;
    return taken < rest ? rest - taken : 0;
}

void db_options_divide(vv_db *db)
{
    uint64_t limit = db->opt.memory_limit;
    /* A little is left for what cannot be refused: indexes of new runs, the start of a memtable. */
    vv_budget_init(&db->budget, limit - limit / HEADROOM);
    vv_budget_take(&db->budget, VV_BUDGET_PROCESS, db->opt.process_memory);
    vv_budget_keep(&db->budget, VV_BUDGET_CACHE, cache_share(&db->opt));
    vv_budget_keep(&db->budget, VV_BUDGET_MEMTABLE, limit / MEMTABLE_SHARE);
    vv_budget_keep(&db->budget, VV_BUDGET_WORK, limit / WORK_SHARE);
    vv_budget_keep(&db->budget, VV_BUDGET_INDEX, limit / INDEX_SHARE);
}

/* What depends on the number of shards, which an existing store decides. */
void db_options_scale(vv_db *db)
{
    uint64_t share = db->opt.memory_limit / 8 / db->shard_count;
    db->opt.memtable_size = vv_min_u64(db->opt.memtable_size, vv_max_u64(share, MEMTABLE_MIN));
    db->group_bytes_max = vv_min_u64(
        GROUP_MAX_BYTES, vv_min_u64(db->opt.log_ring_size / 8, db->opt.memtable_size / 4));
    /* A flush and a compaction of each shard, and what grows with their files: half of the share.
     */
    db->work_size = vv_max_u64(db->opt.memory_limit / WORK_SHARE / 2 / db->shard_count, WORK_MIN);
    /* The memory of a merge grows with its file. */
    db->file_size = vv_min_u64(vv_max_u64(db->opt.memtable_size, FILE_MIN), FILE_MAX);
    db->queue.bytes_max = db->opt.memory_limit / 8;
    db->queue.chain_max = vv_max_u64(db->opt.log_ring_size / 4, db->group_bytes_max);
}
