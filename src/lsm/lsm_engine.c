/*
 * lsm_engine.c - opening and closing a shard's store, and the way of a write into its memtable.
 *
 * A write is prepared (memory taken, memtable rotated when it is full), logged by the caller,
 * applied, and published when it is durable. Rotation and application exclude each other by `lock`,
 * so a frozen memtable never changes and a flush misses nothing.
 */
#include <inttypes.h>

#include "base/alloc.h"
#include "base/epoch.h"
#include "base/error.h"
#include "base/util.h"
#include "lsm/lsm_int.h"
#include "lsm/lsm_remote.h"
#include "lsm/lsm_value.h"

#define WORK_MIN (64 * VV_KIB)

/* ---- views ---- */

lsm_view *lsm_view_acquire(lsm_engine *e)
{
    vv_epoch_enter();
    lsm_view *view = atomic_load_explicit(&e->view, memory_order_acquire);
    lsm_view_ref(view);
    vv_epoch_exit();
    return view;
}

void lsm_view_release(lsm_engine *e, lsm_view *view)
{
    lsm_view_unref(view);
    bool trash = atomic_load_explicit(&e->store.trash, memory_order_relaxed) != NULL;
    if (trash && e->opt.hooks.on_work != NULL)
        e->opt.hooks.on_work(e->opt.hooks.ctx);
}

void lsm_view_publish(lsm_engine *e, lsm_view *view)
{
    /* Pairs with the acquire loads of readers. */
    atomic_store_explicit(&e->view, view, memory_order_release);
    lsm_pace_note_view(e, view);
}

void lsm_view_retire(lsm_view *old)
{
    vv_epoch_retire(old, lsm_view_unref);
}

/* The same levels, and a new active memtable in front of the others. */
static vv_status view_with_memtable(const lsm_view *old, engine_memtable *mem, lsm_view **out,
                                    vv_error *err)
{
    uint32_t old_mems = old == NULL ? 0 : old->mem_count;
    uint32_t levels = old == NULL ? 0 : old->level_count;
    lsm_view *view = NULL;
    vv_status st = lsm_view_create(old_mems + 1, levels, &view, err);
    if (st != VV_OK)
        return st;
    view->mem[0] = mem;
    engine_memtable_ref(mem);
    for (uint32_t i = 0; i < old_mems; i++) {
        view->mem[i + 1] = old->mem[i];
        engine_memtable_ref(old->mem[i]);
    }
    for (uint32_t i = 0; i < levels; i++) {
        view->level[i] = old->level[i];
        lsm_level_ref(old->level[i]);
    }
    view->level0_count = old == NULL ? 0 : old->level0_count;
    *out = view;
    return VV_OK;
}

/* ---- writing ---- */

static engine_memtable *active_of(lsm_engine *e) VV_REQUIRES(e->lock)
{
    return atomic_load_explicit(&e->view, memory_order_relaxed)->mem[0];
}

/* Freeze the active memtable. *old is the view to retire once the lock is released. */
static vv_status rotate(lsm_engine *e, lsm_view **old, vv_error *err) VV_REQUIRES(e->lock)
{
    lsm_view *now = atomic_load_explicit(&e->view, memory_order_relaxed);
    engine_memtable *mem = NULL;
    lsm_view *view = NULL;
    vv_status st = engine_memtable_create_in(e->pool, e->opt.memtable_size, &mem, err);
    if (st == VV_OK)
        st = engine_prepared_move(&e->prepared, mem, err);
    if (st == VV_OK)
        st = view_with_memtable(now, mem, &view, err);
    if (mem != NULL)
        engine_memtable_unref(mem); /* the view holds it */
    if (st != VV_OK)
        return st;
    engine_memtable_seal(now->mem[0]);
    lsm_view_publish(e, view);
    e->is_warm = false;
    *old = now;
    return VV_OK;
}

static void after_rotate(lsm_engine *e, lsm_view *old)
{
    if (old == NULL)
        return;
    lsm_view_retire(old);
    if (e->opt.hooks.on_work != NULL)
        e->opt.hooks.on_work(e->opt.hooks.ctx);
}

static vv_status prepare_locked(lsm_engine *e, size_t payload_len, uint32_t op_count,
                                lsm_view **old, vv_error *err) VV_REQUIRES(e->lock)
{
    const lsm_view *view = atomic_load_explicit(&e->view, memory_order_relaxed);
    vv_status st = VV_OK;
    engine_prepared_begin(&e->prepared);
    if (engine_memtable_is_full(view->mem[0])) {
        st = engine_memstack_may_grow(view->mem_count, &e->opt, err);
        if (st == VV_OK)
            st = rotate(e, old, err);
    }
    if (st == VV_OK)
        st = engine_prepared_add(&e->prepared, active_of(e), payload_len, op_count, err);
    return st;
}

static vv_status lsm_prepare(engine *base, size_t payload_len, uint32_t op_count, vv_error *err)
{
    lsm_engine *e = lsm_engine_of(base);
    if (VV_UNLIKELY(!engine_health_is_good(&e->health)))
        return engine_health_refuse(&e->health, err);
    lsm_view *old = NULL;
    vv_mutex_lock(&e->lock);
    vv_status st = prepare_locked(e, payload_len, op_count, &old, err);
    vv_mutex_unlock(&e->lock);
    after_rotate(e, old);
    return st;
}

static void lsm_cancel(engine *base)
{
    lsm_engine *e = lsm_engine_of(base);
    vv_mutex_lock(&e->lock);
    engine_prepared_cancel(&e->prepared);
    vv_mutex_unlock(&e->lock);
}

static vv_status lsm_apply(engine *base, int64_t version, int64_t commit_time_ns, vv_slice payload,
                           vv_error *err)
{
    lsm_engine *e = lsm_engine_of(base);
    if (version <= atomic_load_explicit(&e->checkpoint, memory_order_relaxed))
        return VV_OK; /* replay overlaps what is in runs */
    vv_mutex_lock(&e->lock);
    engine_memtable *mem = active_of(e);
    vv_status st = engine_memtable_apply_at(mem, version, commit_time_ns, payload, err);
    e->prepared.is_applied = true;
    /* Half full: time for a background thread to touch the memory of the next one. Where one is
     * being flushed its memory will do: fresh memory costs more than what is put into it. */
    uint64_t bytes = engine_memtable_bytes(mem);
    atomic_store_explicit(&e->pace.active_bytes, bytes, memory_order_relaxed);
    bool warm = !e->is_warm && bytes > e->opt.memtable_size / 2 &&
                atomic_load_explicit(&e->view, memory_order_relaxed)->mem_count == 1;
    if (warm) {
        e->is_warm = true;
        atomic_store_explicit(&e->wants_warm, true, memory_order_relaxed);
    }
    vv_mutex_unlock(&e->lock);
    if (warm && e->opt.hooks.on_work != NULL)
        e->opt.hooks.on_work(e->opt.hooks.ctx);
    return st;
}

static void lsm_publish(engine *base, int64_t version)
{
    lsm_engine *e = lsm_engine_of(base);
    if (version > atomic_load_explicit(&e->visible, memory_order_relaxed))
        atomic_store_explicit(&e->visible, version, memory_order_release);
}

static int64_t lsm_visible(engine *base)
{
    return atomic_load_explicit(&lsm_engine_of(base)->visible, memory_order_acquire);
}

static int64_t lsm_checkpoint(engine *base)
{
    return atomic_load_explicit(&lsm_engine_of(base)->checkpoint, memory_order_acquire);
}

static int64_t lsm_last_version(engine *base, vv_slice key, int64_t *floor)
{
    lsm_engine *e = lsm_engine_of(base);
    int64_t last = -1;
    vv_epoch_enter();
    const lsm_view *view = atomic_load_explicit(&e->view, memory_order_acquire);
    for (uint32_t i = 0; i < view->mem_count; i++) {
        int64_t v = engine_memtable_last_version(view->mem[i], key);
        last = v > last ? v : last;
    }
    vv_epoch_exit();
    /* After the view, and raised before a view without the flushed memtables is published: this
     * view's memtables know everything above it. */
    int64_t checkpoint = atomic_load_explicit(&e->checkpoint, memory_order_acquire);
    int64_t bulk = atomic_load_explicit(&e->bulk_version, memory_order_acquire);
    *floor = (checkpoint > bulk ? checkpoint : bulk) + 1;
    return last;
}

static vv_status lsm_pin_version(engine *base, int64_t version, int64_t time_ns, vv_error *err)
{
    return engine_pins_add(&lsm_engine_of(base)->pins, version, time_ns, err);
}

static void lsm_unpin_version(engine *base, int64_t version, int64_t time_ns)
{
    engine_pins_remove(&lsm_engine_of(base)->pins, version, time_ns);
}

static vv_status lsm_freeze(engine *base, vv_error *err)
{
    lsm_engine *e = lsm_engine_of(base);
    lsm_view *old = NULL;
    vv_status st = VV_OK;
    vv_mutex_lock(&e->lock);
    if (engine_memtable_max_version(active_of(e)) > 0)
        st = rotate(e, &old, err);
    vv_mutex_unlock(&e->lock);
    after_rotate(e, old);
    return st;
}

/* ---- opening ---- */

static void set_defaults(engine_options *opt)
{
    if (opt->memtable_size == 0)
        opt->memtable_size = 64 * VV_MIB;
    if (opt->memtable_count < 2)
        opt->memtable_count = opt->memtable_count == 0 ? 3 : 2;
    if (opt->cache_size == 0)
        opt->cache_size = 64 * VV_MIB;
    opt->work_size = vv_max_u64(opt->work_size == 0 ? 4 * VV_MIB : opt->work_size, WORK_MIN);
    if (opt->target_file_size == 0)
        opt->target_file_size = 32 * VV_MIB;
    if (opt->dictionary_sample == 0)
        opt->dictionary_sample = (uint32_t)vv_min_u64(512 * VV_KIB, opt->work_size / 8);
    if (opt->dictionary_gain == 0)
        opt->dictionary_gain = 25;
    if (opt->level0_runs_max == 0)
        opt->level0_runs_max = 4;
}

static vv_status make_directory(const engine_options *opt, vv_error *err)
{
    vio *io = opt->env->io;
    vv_status st = vio_mkdir(io, opt->dir, err);
    if (st != VV_OK || opt->dir[0] == '\0')
        return st;
    char parent[VIO_PATH_MAX];
    const char *slash = strrchr(opt->dir, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - opt->dir);
    if (len >= sizeof parent)
        return vv_fail(err, VV_INVALID, "directory '%.60s...': the path is too long", opt->dir);
    memcpy(parent, opt->dir, len);
    parent[len] = '\0';
    return vio_sync_dir(io, parent, err);
}

/* The runs of one level of the manifest (of one set of level 0), as a level. */
static vv_status load_level(lsm_engine *e, lsm_run **runs, uint32_t number, uint64_t group,
                            lsm_view *view, vv_error *err)
{
    const lsm_state *state = &e->manifest.state;
    lsm_run **chosen = vv_calloc(state->count, sizeof(lsm_run *));
    if (chosen == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %u runs", state->count);
    uint32_t n = 0;
    for (uint32_t i = 0; i < state->count; i++)
        if (state->runs[i].level == number && (number > 0 || state->runs[i].group == group))
            chosen[n++] = runs[i];
    vv_status st = VV_OK;
    if (n > 0) {
        st = lsm_level_create(number, group, chosen, n, &view->level[view->level_count], err);
        view->level_count += st == VV_OK;
    }
    vv_free(chosen);
    return st;
}

/* The next older set of level 0 below `below`, or 0. */
static uint64_t next_group(const lsm_state *state, uint64_t below)
{
    uint64_t best = 0;
    for (uint32_t i = 0; i < state->count; i++) {
        const lsm_meta *m = &state->runs[i];
        if (m->level == 0 && m->group < below && m->group > best)
            best = m->group;
    }
    return best;
}

static vv_status load_levels(lsm_engine *e, lsm_run **runs, lsm_view *view, vv_error *err)
{
    vv_status st = VV_OK;
    uint64_t group = UINT64_MAX;
    view->level_count = 0;
    while (st == VV_OK && (group = next_group(&e->manifest.state, group)) > 0)
        st = load_level(e, runs, 0, group, view, err);
    view->level0_count = view->level_count;
    for (uint32_t n = 1; st == VV_OK && n < LSM_LEVELS; n++)
        st = load_level(e, runs, n, 0, view, err);
    return st;
}

static vv_status open_runs(lsm_engine *e, lsm_run **runs, vv_error *err)
{
    const lsm_state *state = &e->manifest.state;
    vv_status st = VV_OK;
    for (uint32_t i = 0; st == VV_OK && i < state->count; i++)
        st = lsm_run_open(&e->store, state->runs[i].id, &state->runs[i], &runs[i], err);
    return st;
}

static vv_status load_view(lsm_engine *e, vv_error *err)
{
    const lsm_state *state = &e->manifest.state;
    engine_memtable *mem = NULL;
    lsm_view *levels = NULL;
    lsm_view *view = NULL;
    lsm_run **runs = vv_calloc(state->count, sizeof(lsm_run *));
    if (runs == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %u runs", state->count);
    vv_status st = open_runs(e, runs, err);
    if (st == VV_OK)
        st = lsm_view_create(0, state->count + LSM_LEVELS, &levels, err);
    if (st == VV_OK)
        st = load_levels(e, runs, levels, err);
    if (st == VV_OK)
        st = engine_memtable_create_in(e->pool, e->opt.memtable_size, &mem, err);
    if (st == VV_OK)
        st = view_with_memtable(levels, mem, &view, err);
    if (st == VV_OK) {
        atomic_store_explicit(&e->view, view, memory_order_release);
        lsm_pace_note_view(e, view);
    }
    if (mem != NULL)
        engine_memtable_unref(mem);
    lsm_view_unref(levels);
    for (uint32_t i = 0; i < state->count; i++)
        lsm_run_unref(runs[i]);
    vv_free(runs);
    return st;
}

static void lsm_close(engine *base)
{
    if (base == NULL)
        return;
    lsm_engine *e = lsm_engine_of(base);
    lsm_job_destroy(e->flush);
    lsm_job_destroy(e->compaction);
    lsm_job_destroy(atomic_load_explicit(&e->doubtful, memory_order_relaxed));
    lsm_view_unref(atomic_load_explicit(&e->view, memory_order_relaxed));
    lsm_store_fini(&e->store); /* waits for views that are on their way out */
    lsm_manifest_close(&e->manifest);
    engine_memtable_pool_unref(e->pool);
    engine_pins_fini(&e->pins);
    vv_mutex_fini(&e->lock);
    engine_health_fini(&e->health);
    vv_free(e->manual);
    vv_free(e);
}

static vv_status open_store(lsm_engine *e, vv_error *err)
{
    const engine_options *opt = &e->opt;
    vv_status st = opt->read_only ? VV_OK : make_directory(opt, err);
    if (st == VV_OK)
        st = lsm_store_init(&e->store, opt->env, opt->dir, opt->shard, opt->cache_size, opt->budget,
                            err);
    e->store.direct = opt->direct_io;
    if (st == VV_OK)
        st = engine_memtable_pool_create(opt->budget, opt->env->seed ^ opt->shard,
                                         opt->memtable_count - 1, &e->pool, err);
    if (st == VV_OK)
        st = lsm_manifest_open(&e->manifest, opt->env, e->store.dir, opt->shard, opt->read_only,
                               err);
    if (st == VV_OK && lsm_has_policy(e))
        st = lsm_manifest_note_births(&e->manifest, opt->read_only, err);
    /* A store that never had a tier has nothing to look up. */
    if (st == VV_OK && (opt->tier != NULL || e->manifest.state.object_count > 0))
        st = lsm_remote_init(&e->store, opt->tier, opt->read_only, &e->manifest.state, err);
    if (st == VV_OK)
        st = load_view(e, err);
    return st;
}

static vv_status lsm_open(const engine_options *opt, engine **out, vv_error *err)
{
    lsm_engine *e = vv_alloc_aligned(64, sizeof *e); /* counters have lines of their own */
    if (e == NULL)
        return vv_fail(err, VV_NO_MEMORY, "store '%s': no memory", opt->dir);
    memset(e, 0, sizeof *e);
    e->base.ops = &lsm_ops;
    e->opt = *opt;
    set_defaults(&e->opt);
    vv_mutex_init(&e->lock, VV_RANK_ENGINE);
    engine_health_init(&e->health);
    engine_pins_init(&e->pins);
    vv_status st = open_store(e, err);
    if (st != VV_OK) {
        lsm_close(&e->base);
        return vv_wrap(err, st, "store '%s'", opt->dir);
    }
    e->opt.dir = e->store.dir;
    int64_t checkpoint = e->manifest.state.checkpoint;
    atomic_store(&e->checkpoint, checkpoint);
    atomic_store(&e->visible, checkpoint);
    for (uint32_t i = 0; i < e->manifest.state.count; i++) {
        int64_t newest = e->manifest.state.runs[i].version_max;
        if (newest > atomic_load(&e->bulk_version))
            atomic_store(&e->bulk_version, newest);
    }
    *out = &e->base;
    return VV_OK;
}

/* ---- figures ---- */

static void count_memtables(const lsm_view *view, engine_stats *out)
{
    out->memtable_count = view->mem_count;
    for (uint32_t i = 0; i < view->mem_count; i++) {
        out->memtable_bytes += engine_memtable_bytes(view->mem[i]);
        out->memtable_items += engine_memtable_items(view->mem[i]);
        engine_rangedels *set = engine_memtable_rangedels(view->mem[i]);
        out->range_deletes += engine_rangedels_count(set);
        engine_rangedels_unref(set);
    }
}

static void add_read_counters(lsm_engine *e, engine_stats *out)
{
    for (size_t i = 0; i < PGC_COUNTERS; i++) {
        const lsm_counter *c = &e->store.counters[i];
        out->filter_skips += atomic_load_explicit(&c->filter_skips, memory_order_relaxed);
        out->filter_fails += atomic_load_explicit(&c->filter_fails, memory_order_relaxed);
        for (size_t n = 0; n < LSM_LEVELS; n++)
            out->level_reads[n] += atomic_load_explicit(&c->level_reads[n], memory_order_relaxed);
    }
}

static void count_remote(lsm_engine *e, const lsm_view *view, engine_stats *out)
{
    for (uint32_t i = 0; i < view->level_count; i++)
        for (uint32_t j = 0; j < view->level[i]->run_count; j++) {
            const lsm_run *run = view->level[i]->run[j];
            if (!run->is_remote)
                continue;
            out->remote_files++;
            out->remote_bytes += run->meta.size;
            out->disk_bytes -= run->meta.size;
        }
    out->remote_reads = lsm_remote_reads(&e->store);
}

static void lsm_stats(engine *base, engine_stats *out)
{
    lsm_engine *e = lsm_engine_of(base);
    *out = (engine_stats){0};
    lsm_view *view = lsm_view_acquire(e);
    count_memtables(view, out);
    for (uint32_t i = 0; i < view->level_count; i++) {
        const lsm_level *level = view->level[i];
        out->level_runs[level->number] += level->run_count;
        out->level_bytes[level->number] += level->bytes;
        out->disk_bytes += level->bytes;
        out->range_deletes += engine_rangedels_count(level->rangedels);
        if (level->number + 1 > out->level_count)
            out->level_count = level->number + 1;
    }
    count_remote(e, view, out);
    lsm_view_release(e, view);
    lsm_value_stats values;
    lsm_value_count(&e->store, &values);
    out->value_files = values.files;
    out->value_bytes = values.bytes;
    out->value_garbage = values.garbage;
    out->disk_bytes += values.bytes - values.remote_bytes;
    out->remote_files += values.remote_files;
    out->remote_bytes += values.remote_bytes;
    pgc_stats cache;
    pgc_cache_stats(e->store.cache, &cache);
    out->cache_hits = cache.hits;
    out->cache_misses = cache.misses;
    out->cache_bytes = cache.bytes;
    out->index_bytes = atomic_load_explicit(&e->store.index_bytes, memory_order_relaxed);
    add_read_counters(e, out);
    for (size_t n = 0; n < LSM_LEVELS; n++) {
        out->level_compaction_read[n] =
            atomic_load_explicit(&e->level_read_bytes[n], memory_order_relaxed);
        out->level_compaction_write[n] =
            atomic_load_explicit(&e->level_write_bytes[n], memory_order_relaxed);
    }
    out->bulk_loads = atomic_load_explicit(&e->bulk_loads, memory_order_relaxed);
    out->bulk_bytes = atomic_load_explicit(&e->bulk_bytes, memory_order_relaxed);
    out->flushes = atomic_load_explicit(&e->flushes, memory_order_relaxed);
    out->flush_bytes = atomic_load_explicit(&e->flush_bytes, memory_order_relaxed);
    out->compactions = atomic_load_explicit(&e->compactions, memory_order_relaxed);
    out->compaction_read_bytes =
        atomic_load_explicit(&e->compaction_read_bytes, memory_order_relaxed);
    out->compaction_write_bytes =
        atomic_load_explicit(&e->compaction_write_bytes, memory_order_relaxed);
    out->compaction_debt = atomic_load_explicit(&e->pace.debt, memory_order_relaxed);
    out->write_delay_ps = (uint64_t)lsm_pace_delay_now(e);
    out->checkpoint = lsm_checkpoint(base);
    vv_mutex_lock(&e->lock);
    out->range_pending = e->manual != NULL;
    vv_mutex_unlock(&e->lock);
    out->failed = !engine_health_is_good(&e->health);
}

/* A memtable knows no positions to estimate from: the tables the range touches count whole. */
static uint64_t memtable_size_between(const engine_memtable *mem, vv_slice lower, vv_slice upper)
{
    uint8_t from[ENGINE_TABLE_PREFIX] = {0};
    uint8_t to[ENGINE_TABLE_PREFIX] = {0};
    if (lower.len > 0)
        memcpy(from, lower.data, vv_min_u64(lower.len, sizeof from));
    if (upper.len > 0)
        memcpy(to, upper.data, vv_min_u64(upper.len, sizeof to));
    uint64_t end = (uint64_t)vv_get_be32(to) + (upper.len > sizeof to);
    return engine_memtable_table_bytes(mem, vv_get_be32(from), end);
}

static uint64_t lsm_approximate_size(engine *base, vv_slice lower, vv_slice upper)
{
    lsm_engine *e = lsm_engine_of(base);
    lsm_view *view = lsm_view_acquire(e);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < view->mem_count; i++)
        bytes += memtable_size_between(view->mem[i], lower, upper);
    for (uint32_t i = 0; i < view->level_count; i++) {
        const lsm_level *level = view->level[i];
        for (uint32_t j = lsm_level_first(level, lower);
             j < level->run_count && lsm_meta_overlaps(&level->run[j]->meta, lower, upper); j++)
            bytes += lsm_run_size_between(level->run[j], lower, upper);
    }
    lsm_view_release(e, view);
    return bytes;
}

const engine_ops lsm_ops = {
    .name = "lsm",
    .tells_ranges = true,
    .open = lsm_open,
    .close = lsm_close,
    .prepare = lsm_prepare,
    .cancel = lsm_cancel,
    .apply = lsm_apply,
    .publish = lsm_publish,
    .visible = lsm_visible,
    .checkpoint = lsm_checkpoint,
    .last_version = lsm_last_version,
    .touched = lsm_touched,
    .get = lsm_get,
    .multi_get = lsm_multi_get,
    .get_step = lsm_get_step,
    .get_drop = lsm_get_drop,
    .cursor = lsm_cursor,
    .pin = lsm_pin_version,
    .unpin = lsm_unpin_version,
    .freeze = lsm_freeze,
    .work = lsm_work,
    .work_on = lsm_work_on,
    .compact_range = lsm_compact_range,
    .settle = lsm_settle,
    .throttle_ns = lsm_throttle_ns,
    .stats = lsm_stats,
    .check = lsm_check,
    .hold_files = lsm_hold_files,
    .release_files = lsm_release_files,
    .list_files = lsm_list_files,
    .open_remote = lsm_open_remote,
    .tier_work = lsm_tier_work,
    .approximate_size = lsm_approximate_size,
    .bulk = &lsm_bulk_ops,
};
