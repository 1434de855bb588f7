/*
 * wal.c - the log's life: options, open, replay, close.
 *
 *    wal_open --(files there)--> WAL_OPENED --wal_replay: deliver, wal_finish--> WAL_READY
 *        \------(none: made)-----------------------------------------------------^
 *
 * Nothing on disk changes before wal_finish, so a log that is found damaged stays as it is.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/rng.h"
#include "wal/wal_int.h"

#define SEGMENT_DEFAULT (64u << 20)
#define RING_DEFAULT (8u << 20)
#define LOG_LIMIT_DEFAULT (UINT64_C(1) << 30)

void wal_path(const wal *log, const char *name, char out[VIO_PATH_MAX])
{
    (void)snprintf(out, VIO_PATH_MAX, "%s%s%s", log->dir, log->dir[0] == '\0' ? "" : "/", name);
}

void wal_latch(wal *log, const vv_error *err)
{
    if (atomic_load_explicit(&log->failed, memory_order_relaxed))
        return;
    log->first_error = *err;
    atomic_store_explicit(&log->failed, true, memory_order_release);
    vv_cond_broadcast(&log->group[0]);
    vv_cond_broadcast(&log->group[1]);
    vv_cond_broadcast(&log->leader);
    vv_cond_broadcast(&log->idle);
    vv_log_to(log->env->log, VV_LOG_ERROR, "wal", "the log failed: reopen the store to recover it",
              VV_KV_S("cause", log->first_error.msg));
}

vv_status wal_latched(wal *log, vv_error *err)
{
    if (!atomic_load_explicit(&log->failed, memory_order_acquire))
        return VV_OK;
    if (err != NULL)
        *err = log->first_error;
    return log->first_error.status;
}

vv_status wal_segments_reserve(wal *log, size_t count, vv_error *err)
{
    if (count <= log->seg_cap)
        return VV_OK;
    size_t cap = (size_t)vv_max_u64(count, 8);
    wal_segment **segs = vv_realloc(log->segs, cap * sizeof(wal_segment *));
    if (segs == NULL)
        return vv_fail(err, VV_NO_MEMORY, "log '%s': table of %zu segments", log->dir, cap);
    log->segs = segs;
    log->seg_cap = cap;
    return VV_OK;
}

static vv_status check_options(const wal_options *opt, vv_error *err)
{
    if (strlen(opt->dir) > VIO_PATH_MAX - 32)
        return vv_fail(err, VV_INVALID, "log directory '%.60s...': the name is too long", opt->dir);
    if (opt->segment_size % VV_BLOCK != 0 || opt->segment_size < WAL_SEGMENT_MIN)
        return vv_fail(err, VV_INVALID,
                       "log segment size %" PRIu32 ": a multiple of %u, from %u up",
                       opt->segment_size, VV_BLOCK, WAL_SEGMENT_MIN);
    if (opt->ring_size % VV_BLOCK != 0 || opt->ring_size < WAL_RING_MIN)
        return vv_fail(err, VV_INVALID, "log ring size %" PRIu32 ": a multiple of %u, from %u up",
                       opt->ring_size, VV_BLOCK, WAL_RING_MIN);
    if (opt->spare_segments > WAL_SPARE_MAX)
        return vv_fail(err, VV_INVALID, "%" PRIu32 " spare log segments, at most %u",
                       opt->spare_segments, WAL_SPARE_MAX);
    return VV_OK;
}

vv_status wal_create(const wal_options *given, wal **out, vv_error *err)
{
    wal_options opt = *given;
    if (opt.segment_size == 0)
        opt.segment_size = SEGMENT_DEFAULT;
    if (opt.ring_size == 0)
        opt.ring_size = RING_DEFAULT;
    if (opt.log_limit == 0)
        opt.log_limit = LOG_LIMIT_DEFAULT;
    if (opt.spare_segments == 0)
        opt.spare_segments = 1;
    vv_status st = check_options(&opt, err);
    if (st != VV_OK)
        return st;
    wal *log = vv_calloc(1, sizeof *log);
    uint8_t *block = vv_alloc_aligned(VV_BLOCK, VV_BLOCK);
    if (log == NULL || block == NULL) {
        vv_free(log);
        vv_free(block);
        return vv_fail(err, VV_NO_MEMORY, "log '%s'", opt.dir);
    }
    log->env = opt.env;
    log->block = block;
    (void)snprintf(log->dir, sizeof log->dir, "%s", opt.dir);
    opt.dir = log->dir;
    log->opt = opt;
    log->keep = UINT64_MAX;
    vv_mutex_init(&log->lock, VV_RANK_WAL);
    vv_cond_init(&log->group[0]);
    vv_cond_init(&log->group[1]);
    vv_cond_init(&log->leader);
    vv_cond_init(&log->idle);
    *out = log;
    return VV_OK;
}

static void destroy_object(wal *log)
{
    if (log->build != NULL)
        vio_close(log->build); /* its file is removed by the next open */
    for (size_t i = 0; i < log->seg_count; i++)
        wal_segment_destroy(log->segs[i]);
    for (unsigned i = 0; i < log->spare_count; i++)
        wal_segment_destroy(log->spares[i]);
    wal_ring_close(log);
    vv_free(log->segs);
    vv_free(log->reserves);
    vv_free(log->block);
    vv_cond_fini(&log->group[0]);
    vv_cond_fini(&log->group[1]);
    vv_cond_fini(&log->leader);
    vv_cond_fini(&log->idle);
    vv_mutex_fini(&log->lock);
    vv_free(log);
}

static uint64_t new_log_id(wal *log)
{
    vv_rng rng;
    vv_rng_init(&rng, log->env->seed ^ (uint64_t)vv_clock_wall(log->env->clock));
    return vv_rng_next(&rng);
}

/* The name of the log's own directory is durable before anything in it is acknowledged. */
static vv_status sync_parent(wal *log, vv_error *err)
{
    char parent[VIO_PATH_MAX];
    (void)snprintf(parent, sizeof parent, "%s", log->dir);
    char *slash = strrchr(parent, '/');
    if (slash == NULL)
        slash = parent;
    *slash = '\0';
    return log->dir[0] == '\0' ? VV_OK : vio_sync_dir(log->env->io, parent, err);
}

/* The first segment of a new log. What an interrupted creation left behind is written over. */
static vv_status create_files(wal *log, vv_error *err)
{
    wal_ring_close(log);
    vv_status st = sync_parent(log, err);
    if (st != VV_OK)
        return st;
    log->log_id = log->opt.log_id != 0 ? log->opt.log_id : new_log_id(log);
    log->seed = wal_seed(log->log_id);
    log->epoch = 1;
    st = wal_ring_create(log, log->opt.ring_size, err);
    if (st == VV_OK)
        st = wal_ring_open(log, err);
    if (st == VV_OK)
        st = wal_segments_reserve(log, 1, err);
    wal_segment *seg = NULL;
    bool fatal;
    log->build_prewrites = true;
    if (st == VV_OK)
        st = wal_spare_build(log, 1, log->opt.segment_size, &seg, &fatal, err);
    if (st != VV_OK)
        return st;
    seg->epoch = log->epoch;
    log->segs[log->seg_count++] = seg;
    log->limit = seg->capacity;
    log->next_number = 2;
    st = wal_segment_start(log, seg, err);
    if (st != VV_OK)
        return st;
    log->recovery.segments = 1;
    log->fresh = true;
    log->state = WAL_READY;
    return VV_OK;
}

static vv_status open_files(wal *log, vv_error *err)
{
    vv_status st = VV_OK;
    if (!log->opt.read_only)
        st = vio_mkdir(log->env->io, log->dir, err);
    bool fresh = false;
    if (st == VV_OK)
        st = wal_load(log, &fresh, err);
    if (st != VV_OK)
        return st;
    if (!fresh && log->opt.log_id != 0 && log->opt.log_id != log->log_id)
        return vv_fail(err, VV_CONFLICT,
                       "log '%s' belongs to another store (it is %016" PRIx64 ", this store's is "
                       "%016" PRIx64 "): give each store a log directory of its own",
                       log->dir, log->log_id, log->opt.log_id);
    if (!fresh)
        return wal_find_end(log, err);
    if (log->opt.must_exist)
        return vv_fail(err, VV_CORRUPT,
                       "there is no log in '%s', and the store had one: is its disk mounted? "
                       "otherwise restore it from a backup",
                       log->dir);
    if (log->opt.read_only)
        return vv_fail(err, VV_NOT_FOUND, "there is no log in '%s'", log->dir);
    return create_files(log, err);
}

vv_status wal_open(const wal_options *opt, wal **out, vv_error *err)
{
    wal *log = NULL;
    vv_status st = wal_create(opt, &log, err);
    if (st != VV_OK)
        return st;
    assert(log != NULL);
    int64_t start = vv_clock_mono(log->env->clock);
    st = open_files(log, err);
    if (st != VV_OK) {
        wal_abandon(log);
        return st;
    }
    log->recovery.duration_ns = vv_clock_mono(log->env->clock) - start;
    *out = log;
    return VV_OK;
}

static void tell(const wal *log)
{
    const wal_recovery *r = &log->recovery;
    vv_log_to(log->env->log, r->cut_bytes > 0 || log->scan_repair ? VV_LOG_WARN : VV_LOG_INFO,
              "wal",
              log->scan_repair ? "recovered; the ring made damage of a segment good" : "recovered",
              VV_KV_S("dir", log->dir), VV_KV_U("entries", r->entries), VV_KV_U("end", r->end),
              VV_KV_U("cut_bytes", r->cut_bytes), VV_KV_U("ring_bytes", r->ring_bytes),
              VV_KV_I("ns", r->duration_ns));
}

vv_status wal_replay(wal *log,
                     vv_status (*each)(void *ctx, const wal_record *rec, uint64_t position,
                                       vv_error *err),
                     void *ctx, vv_error *err)
{
    if (log->replayed)
        return vv_fail(err, VV_INVALID, "log '%s' was replayed already", log->dir);
    log->replayed = true;
    if (log->fresh)
        return VV_OK;
    int64_t start = vv_clock_mono(log->env->clock);
    vv_status st = VV_OK;
    for (size_t i = 0; i + 1 < log->seg_count && st == VV_OK; i++)
        st = wal_scan_segment(log, i, each, ctx, err);
    if (st == VV_OK)
        st = wal_scan_end(log, each, ctx, err);
    if (st == VV_OK && !log->opt.read_only)
        st = wal_finish(log, err);
    log->recovery.duration_ns += vv_clock_mono(log->env->clock) - start;
    if (st == VV_OK)
        tell(log);
    return st;
}

const wal_recovery *wal_recovery_stats(const wal *log)
{
    return &log->recovery;
}

vv_status wal_close(wal *log, vv_error *err)
{
    if (log == NULL)
        return VV_OK;
    vv_status st = wal_latched(log, err);
    if (st == VV_OK && log->state == WAL_READY)
        st = wal_sync(log, wal_end_position(log), err);
    wal_abandon(log);
    return st;
}

void wal_abandon(wal *log)
{
    if (log != NULL)
        destroy_object(log);
}
