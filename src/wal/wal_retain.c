/*
 * wal_retain.c - which segments are kept, which are recycled, and the work done in the background.
 *
 * A segment is let go when it is the oldest, the writer has left it, and every shard with entries
 * in it has released the highest of them. Segments go strictly in order, and each rename or removal
 * is synced before the next one: after any crash the numbers that are left have no gap.
 *
 * Only one thread at a time makes, extends or recycles files (`upkeep`), because spares must take
 * their numbers in order: the log's numbers have no gap either.
 */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/point.h"
#include "wal/wal_int.h"

#define BUILD_STEP (4u << 20)    /* zeros written by one wal_work */
#define LARGE_WRITE (256u << 10) /* bytes of a write, on average since the last spare */

static uint64_t bit_of(uint32_t shard)
{
    return UINT64_C(1) << shard;
}

static void begin_upkeep(wal *log) VV_RELEASE(log->lock)
{
    assert(!log->upkeep);
    log->upkeep = true;
    vv_mutex_unlock(&log->lock);
}

static void end_upkeep(wal *log) VV_ACQUIRE(log->lock)
{
    vv_mutex_lock(&log->lock);
    log->upkeep = false;
    log->has_build = log->build != NULL;
    vv_cond_broadcast(&log->idle);
}

/* Writing zeros ahead spares each synced write a commit of the file system's journal, for as many
 * bytes again. Large writes, of commits that nobody waits for, do not need that. */
static void plan_build(wal *log) VV_REQUIRES(log->lock)
{
    uint64_t writes = log->stats.syncs - log->build_stats.syncs;
    uint64_t bytes = log->stats.written_bytes - log->build_stats.written_bytes;
    log->build_prewrites = writes == 0 || bytes / writes < LARGE_WRITE;
    log->build_stats = log->stats;
}

vv_status wal_spare_step(wal *log, unsigned want, uint64_t step, vv_error *err)
{
    if (log->upkeep || log->spare_count >= want)
        return VV_NOT_FOUND;
    wal_segment *seg = NULL;
    bool fatal = false;
    vv_error why = {0};
    if (log->build == NULL)
        plan_build(log);
    begin_upkeep(log);
    vv_status st = wal_spare_build(log, log->next_number, step, &seg, &fatal, &why);
    end_upkeep(log);
    if (seg != NULL) {
        log->spares[log->spare_count++] = seg;
        log->next_number++;
    }
    if (fatal)
        wal_latch(log, &why);
    if (st != VV_OK && err != NULL)
        *err = why;
    return st;
}

void wal_shard_open(wal *log, uint32_t shard)
{
    assert(shard < WAL_SHARD_MAX);
    vv_mutex_lock(&log->lock);
    log->open_shards |= bit_of(shard);
    vv_mutex_unlock(&log->lock);
}

/* The shards that still need a segment. */
static uint64_t holders(const wal *log, const wal_segment *seg) VV_REQUIRES(log->lock)
{
    uint64_t need = 0;
    for (uint64_t left = seg->shards; left != 0; left &= left - 1) {
        unsigned shard = (unsigned)__builtin_ctzll(left);
        bool done = (log->released_shards & bit_of(shard)) != 0 &&
                    seg->last_index[shard] <= log->released[shard];
        if (!done)
            need |= bit_of(shard);
    }
    return need;
}

/* Of the disk: a segment that recovery left early takes its whole file. */
static uint64_t retained(const wal *log) VV_REQUIRES(log->lock)
{
    uint64_t sum = 0;
    for (size_t i = 0; i + 1 < log->seg_count; i++)
        sum += log->segs[i]->capacity;
    return log->seg_count == 0 ? 0 : sum + log->end - log->segs[log->seg_count - 1]->first;
}

/* What a flush can shorten begins at the oldest segment that a shard needs. Those before it are
 * kept for somebody who reads the log or is to fetch it, and are no work for a replay. */
uint64_t wal_pressure(wal *log)
{
    vv_mutex_lock(&log->lock);
    uint64_t set = 0;
    uint64_t let_go = 0;
    for (size_t i = 0; set == 0 && i < log->seg_count; i++) {
        set = holders(log, log->segs[i]);
        let_go += set == 0 ? log->segs[i]->capacity : 0;
    }
    if (set != 0 && retained(log) - let_go <= log->opt.log_limit)
        set = 0;
    vv_mutex_unlock(&log->lock);
    return set;
}

/* The file of a segment that no one needs: a spare under a new number, or gone. */
static vv_status recycle_file(wal *log, uint64_t number, bool keep, uint64_t new_number,
                              bool *fatal, vv_error *err)
{
    char name[32];
    char path[VIO_PATH_MAX];
    wal_segment_name(number, name);
    wal_path(log, name, path);
    vio *io = log->env->io;
    vv_status st;
    if (keep) {
        char to[VIO_PATH_MAX];
        wal_segment_name(new_number, name);
        wal_path(log, name, to);
        st = vio_rename(io, path, to, err);
    } else {
        st = vio_remove(io, path, err);
    }
    VV_POINT("wal.recycled");
    if (st == VV_OK) {
        st = vio_sync_dir(io, log->dir, err);
        *fatal = st != VV_OK;
    }
    if (st != VV_OK)
        return vv_wrap(err, st, "let log segment %" PRIu64 " go", number);
    return VV_OK;
}

/* Somebody reads it, or is to fetch what the oldest segment holds. */
static bool is_kept(const wal *log) VV_REQUIRES(log->lock)
{
    return log->holds > 0 || (log->seg_count > 1 && log->segs[1]->first > log->keep &&
                              retained(log) <= log->keep_max);
}

/* Let the oldest segment go if it may. *done is false when it may not. */
static vv_status release_oldest(wal *log, bool *done, vv_error *err) VV_REQUIRES(log->lock)
{
    *done = false;
    while (log->upkeep)
        vv_cond_wait(&log->idle, &log->lock);
    if (log->write_index == 0 || is_kept(log) || holders(log, log->segs[0]) != 0)
        return VV_OK;
    wal_segment *seg = log->segs[0];
    bool keep = log->spare_count < log->opt.spare_segments &&
                seg->capacity == log->opt.segment_size - VV_BLOCK;
    uint64_t new_number = log->next_number;
    wal_segment *spare = NULL;
    bool fatal = false;
    vv_error why = {0};
    begin_upkeep(log);
    if (keep)
        wal_spare_drop_build(log); /* this one is ready sooner */
    vv_status st = recycle_file(log, seg->number, keep, new_number, &fatal, &why);
    bool gone = st == VV_OK;
    if (gone && keep)
        st = wal_spare_adopt(log, new_number, &spare, &why);
    end_upkeep(log);
    if (fatal)
        wal_latch(log, &why);
    if (gone) {
        log->seg_count--;
        log->write_index--;
        memmove(log->segs, log->segs + 1, log->seg_count * sizeof(wal_segment *));
        wal_segment_destroy(seg);
        *done = true;
    }
    if (spare != NULL) {
        log->spares[log->spare_count++] = spare;
        log->next_number++;
    }
    if (st != VV_OK && err != NULL)
        *err = why;
    return st;
}

/* The record only says what the manifest says already, so a disk too full for it is no failure:
 * the release that relieves the disk may be that of another shard. */
static vv_status append_checkpoint(wal *log, uint32_t shard, uint64_t index, vv_error *err)
{
    wal_record rec = {.kind = WAL_CHECKPOINT, .shard = shard, .index = index};
    uint64_t end;
    vv_status st = wal_append(log, &rec, 1, &end, err);
    if (st == VV_NO_SPACE && wal_latched(log, NULL) == VV_OK)
        return VV_OK;
    return st;
}

/* Segments first, record second: a full disk is relieved by the one before the other needs room. */
vv_status wal_release(wal *log, uint32_t shard, uint64_t index, vv_error *err)
{
    if (shard >= WAL_SHARD_MAX)
        return vv_fail(err, VV_INVALID, "log: shard %" PRIu32 ", at most %u", shard,
                       WAL_SHARD_MAX - 1);
    if (log->opt.read_only || log->state != WAL_READY)
        return append_checkpoint(log, shard, index, err); /* says why not */
    vv_mutex_lock(&log->lock);
    bool known = (log->released_shards & bit_of(shard)) != 0;
    bool news = !known || log->released[shard] < index;
    if (news) {
        log->released[shard] = index;
        log->released_shards |= bit_of(shard);
    }
    vv_status st = VV_OK;
    for (bool more = true; more && st == VV_OK;) {
        if (atomic_load_explicit(&log->failed, memory_order_relaxed))
            st = wal_latched(log, err);
        else
            st = release_oldest(log, &more, err);
    }
    vv_mutex_unlock(&log->lock);
    if (st != VV_OK || !news)
        return st;
    return append_checkpoint(log, shard, index, err);
}

vv_status wal_work(wal *log, vv_error *err)
{
    vv_mutex_lock(&log->lock);
    vv_status st = VV_NOT_FOUND;
    bool gone = false;
    uint64_t waiting = log->end - atomic_load_explicit(&log->durable, memory_order_relaxed);
    if (atomic_load_explicit(&log->failed, memory_order_relaxed)) {
        st = wal_latched(log, err);
    } else if (log->state != WAL_READY) {
        st = VV_NOT_FOUND;
    } else if (waiting >= log->ring.size / 4 && !log->writing) {
        return wal_lead(log, err);
    } else {
        if (!log->upkeep) /* what a replay found released, or holds no entry */
            st = release_oldest(log, &gone, err);
        if ((st == VV_OK || st == VV_NOT_FOUND) && !gone)
            st = wal_spare_step(log, log->opt.spare_segments, BUILD_STEP, err);
    }
    vv_mutex_unlock(&log->lock);
    return st;
}

void wal_stats_read(wal *log, wal_stats *out)
{
    vv_mutex_lock(&log->lock);
    *out = log->stats;
    out->retained_bytes = retained(log);
    out->segments = log->seg_count;
    out->spares = log->spare_count + log->has_build;
    out->end = log->end;
    out->durable = atomic_load_explicit(&log->durable, memory_order_relaxed);
    out->failed = atomic_load_explicit(&log->failed, memory_order_relaxed);
    vv_mutex_unlock(&log->lock);
}
