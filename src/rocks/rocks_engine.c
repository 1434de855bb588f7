/*
 * rocks_engine.c - opening and closing a shard's store, and the way of a write into its memtable.
 *
 * A write is prepared (memory taken, memtable rotated when it is full), logged by the caller,
 * applied, and published when it is durable. Rotation and application exclude each other by `lock`,
 * so a frozen memtable never changes and a flush misses nothing. RocksDB hears of it at the flush.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/epoch.h"
#include "base/error.h"
#include "rocks/rocks_int.h"

/* ---- writing ---- */

static void after_rotate(rocks_engine *e, rocks_view *old)
{
    if (old == NULL)
        return;
    vv_epoch_retire(old, rocks_view_unref);
    if (e->opt.hooks.on_work != NULL)
        e->opt.hooks.on_work(e->opt.hooks.ctx);
}

static vv_status prepare_locked(rocks_engine *e, size_t payload_len, uint32_t op_count,
                                rocks_view **old, vv_error *err) VV_REQUIRES(e->lock)
{
    const rocks_view *view = atomic_load_explicit(&e->view, memory_order_relaxed);
    vv_status st = VV_OK;
    engine_prepared_begin(&e->prepared);
    if (engine_memtable_is_full(view->mem[0])) {
        st = engine_memstack_may_grow(view->mem_count, &e->opt, err);
        if (st == VV_OK)
            st = rocks_view_rotate(e, old, err);
    }
    view = atomic_load_explicit(&e->view, memory_order_relaxed);
    if (st == VV_OK)
        st = engine_prepared_add(&e->prepared, view->mem[0], payload_len, op_count, err);
    return st;
}

static vv_status rocks_prepare(engine *base, size_t payload_len, uint32_t op_count, vv_error *err)
{
    rocks_engine *e = rocks_engine_of(base);
    if (VV_UNLIKELY(!engine_health_is_good(&e->health)))
        return engine_health_refuse(&e->health, err);
    rocks_view *old = NULL;
    vv_mutex_lock(&e->lock);
    vv_status st = prepare_locked(e, payload_len, op_count, &old, err);
    vv_mutex_unlock(&e->lock);
    after_rotate(e, old);
    return st;
}

static void rocks_cancel(engine *base)
{
    rocks_engine *e = rocks_engine_of(base);
    vv_mutex_lock(&e->lock);
    engine_prepared_cancel(&e->prepared);
    vv_mutex_unlock(&e->lock);
}

static vv_status rocks_apply(engine *base, int64_t version, int64_t commit_time_ns,
                             vv_slice payload, vv_error *err)
{
    rocks_engine *e = rocks_engine_of(base);
    if (version <= atomic_load_explicit(&e->checkpoint, memory_order_relaxed))
        return VV_OK; /* replay overlaps what is in RocksDB */
    vv_mutex_lock(&e->lock);
    const rocks_view *view = atomic_load_explicit(&e->view, memory_order_relaxed);
    vv_status st = engine_memtable_apply_at(view->mem[0], version, commit_time_ns, payload, err);
    e->prepared.is_applied = true;
    vv_mutex_unlock(&e->lock);
    return st;
}

static void rocks_publish(engine *base, int64_t version)
{
    rocks_engine *e = rocks_engine_of(base);
    if (version > atomic_load_explicit(&e->visible, memory_order_relaxed))
        atomic_store_explicit(&e->visible, version, memory_order_release);
}

static int64_t rocks_visible(engine *base)
{
    return atomic_load_explicit(&rocks_engine_of(base)->visible, memory_order_acquire);
}

static int64_t rocks_checkpoint(engine *base)
{
    return atomic_load_explicit(&rocks_engine_of(base)->checkpoint, memory_order_acquire);
}

static int64_t rocks_last_version(engine *base, vv_slice key, int64_t *floor)
{
    rocks_engine *e = rocks_engine_of(base);
    int64_t last = -1;
    vv_epoch_enter();
    const rocks_view *view = atomic_load_explicit(&e->view, memory_order_acquire);
    for (uint32_t i = 0; i < view->mem_count; i++) {
        int64_t v = engine_memtable_last_version(view->mem[i], key);
        last = v > last ? v : last;
    }
    vv_epoch_exit();
    /* After the view, and raised before a view without the flushed memtables is published: this
     * view's memtables know everything above it. */
    *floor = atomic_load_explicit(&e->checkpoint, memory_order_acquire) + 1;
    return last;
}

/* Exact above what was flushed; below it a deletion may have gone with what it deleted. */
static vv_status rocks_touched(engine *base, vv_slice lower, vv_slice upper, int64_t since,
                               engine_touch *out, vv_error *err)
{
    rocks_engine *e = rocks_engine_of(base);
    rocks_view *view = rocks_view_acquire(e);
    vv_status st = VV_NOT_FOUND;
    for (uint32_t i = 0; st == VV_NOT_FOUND && i < view->mem_count; i++)
        if (i == 0 || engine_memtable_max_version(view->mem[i]) > since)
            st = engine_memtable_touched(view->mem[i], lower, upper, since, out, err);
    /* After the view, as in rocks_last_version. */
    if (st == VV_NOT_FOUND && since < rocks_checkpoint(base))
        st = VV_UNSUPPORTED;
    rocks_view_unref(view);
    return st;
}

static vv_status rocks_pin(engine *base, int64_t version, int64_t time_ns, vv_error *err)
{
    return engine_pins_add(&rocks_engine_of(base)->pins, version, time_ns, err);
}

static void rocks_unpin(engine *base, int64_t version, int64_t time_ns)
{
    engine_pins_remove(&rocks_engine_of(base)->pins, version, time_ns);
}

static vv_status rocks_freeze(engine *base, vv_error *err)
{
    rocks_engine *e = rocks_engine_of(base);
    rocks_view *old = NULL;
    vv_status st = VV_OK;
    vv_mutex_lock(&e->lock);
    const rocks_view *view = atomic_load_explicit(&e->view, memory_order_relaxed);
    if (engine_memtable_max_version(view->mem[0]) > 0)
        st = rocks_view_rotate(e, &old, err);
    vv_mutex_unlock(&e->lock);
    after_rotate(e, old);
    return st;
}

/* Writers are slowed when the next memtable would have to wait: from half of the last one on, up to
 * 40 ns a byte. */
static int64_t rocks_throttle_ns(engine *base, size_t bytes)
{
    rocks_engine *e = rocks_engine_of(base);
    int64_t ns = 0;
    vv_epoch_enter();
    const rocks_view *view = atomic_load_explicit(&e->view, memory_order_acquire);
    if (view->mem_count >= e->opt.memtable_count) {
        uint64_t half = e->opt.memtable_size / 2;
        uint64_t used = engine_memtable_bytes(view->mem[0]);
        if (used > half)
            ns = (int64_t)((double)bytes * 40.0 * (double)(used - half) / (double)half);
    }
    vv_epoch_exit();
    return ns < VV_NS_PER_S ? ns : VV_NS_PER_S;
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
    if (opt->target_file_size == 0)
        opt->target_file_size = 32 * VV_MIB;
    if (opt->level0_runs_max == 0)
        opt->level0_runs_max = 4;
    if (opt->max_open_files == 0)
        opt->max_open_files = 512;
}

static vv_status first_view(rocks_engine *e, vv_error *err)
{
    engine_memtable *mem = NULL;
    rocks_look *look = NULL;
    rocks_view *view = NULL;
    vv_status st = engine_memtable_create_in(e->pool, e->opt.memtable_size, &mem, err);
    if (st == VV_OK)
        st = rocks_look_create(e->store.db, &look, err);
    if (st == VV_OK)
        st = rocks_view_create(1, look, &view, err);
    if (st == VV_OK && view != NULL) {
        rocks_look_take(look);
        view->mem[0] = mem;
        view->mem_count = 1;
        atomic_store_explicit(&e->view, view, memory_order_release);
    } else {
        engine_memtable_unref(mem);
    }
    rocks_look_unref(look); /* the view holds it */
    return st;
}

static void rocks_close(engine *base)
{
    if (base == NULL)
        return;
    rocks_engine *e = rocks_engine_of(base);
    rocks_view_unref(atomic_load_explicit(&e->view, memory_order_relaxed));
    vv_epoch_drain(); /* views on their way out hold snapshots */
    rocks_store_close(&e->store);
    engine_memtable_pool_unref(e->pool);
    engine_pins_fini(&e->pins);
    vv_mutex_fini(&e->lock);
    vv_mutex_fini(&e->copy_lock);
    engine_health_fini(&e->health);
    vv_free(e->manual.bytes);
    vv_free(e);
}

static vv_status rocks_open(const engine_options *opt, engine **out, vv_error *err)
{
    rocks_engine *e = vv_calloc(1, sizeof *e);
    if (e == NULL)
        return vv_fail(err, VV_NO_MEMORY, "store '%s': no memory", opt->dir);
    e->base.ops = &rocks_ops;
    e->opt = *opt;
    e->mem_room = UINT32_MAX;
    e->copy_first = 1;
    set_defaults(&e->opt);
    vv_mutex_init(&e->lock, VV_RANK_ENGINE);
    vv_mutex_init(&e->copy_lock, VV_RANK_LEAF);
    engine_health_init(&e->health);
    engine_pins_init(&e->pins);
    vv_status st =
        engine_memtable_pool_create(opt->budget, opt->env->seed ^ opt->shard, 1, &e->pool, err);
    if (st == VV_OK)
        st = rocks_store_open(&e->store, &e->opt, err);
    if (st == VV_OK)
        st = first_view(e, err);
    if (st != VV_OK) {
        rocks_close(&e->base);
        return vv_wrap(err, st, "store '%s'", opt->dir);
    }
    e->opt.dir = e->store.dir;
    atomic_store(&e->checkpoint, e->store.checkpoint);
    atomic_store(&e->visible, e->store.checkpoint);
    *out = &e->base;
    return VV_OK;
}

/* ---- figures ---- */

static uint64_t property(rocksdb_t *db, const char *name)
{
    uint64_t value = 0;
    return db != NULL && rocksdb_property_int(db, name, &value) == 0 ? value : 0;
}

static void count_memtables(rocks_engine *e, engine_stats *out)
{
    rocks_view *view = rocks_view_acquire(e);
    out->memtable_count = view->mem_count;
    for (uint32_t i = 0; i < view->mem_count; i++) {
        out->memtable_bytes += engine_memtable_bytes(view->mem[i]);
        out->memtable_items += engine_memtable_items(view->mem[i]);
        engine_rangedels *set = engine_memtable_rangedels(view->mem[i]);
        out->range_deletes += engine_rangedels_count(set);
        engine_rangedels_unref(set);
    }
    rocks_view_unref(view);
}

static void rocks_stats(engine *base, engine_stats *out)
{
    rocks_engine *e = rocks_engine_of(base);
    rocksdb_t *db = e->store.db;
    *out = (engine_stats){0};
    count_memtables(e, out);
    for (uint32_t i = 0; i < ARRAY_LEN(out->level_runs); i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "rocksdb.num-files-at-level%u", i);
        char *text = db == NULL ? NULL : rocksdb_property_value(db, name);
        if (text == NULL)
            break;
        for (const char *p = text; *p >= '0' && *p <= '9'; p++)
            out->level_runs[i] = out->level_runs[i] * 10 + (uint64_t)(*p - '0');
        rocksdb_free(text);
        if (out->level_runs[i] > 0)
            out->level_count = i + 1;
    }
    out->disk_bytes = property(db, "rocksdb.live-sst-files-size");
    out->index_bytes = property(db, "rocksdb.estimate-table-readers-mem");
    out->cache_bytes = property(db, "rocksdb.block-cache-usage");
    out->flushes = atomic_load_explicit(&e->flushes, memory_order_relaxed);
    out->flush_bytes = atomic_load_explicit(&e->flush_bytes, memory_order_relaxed);
    out->compactions = atomic_load_explicit(&e->compactions, memory_order_relaxed);
    out->compaction_read_bytes =
        atomic_load_explicit(&e->compaction_read_bytes, memory_order_relaxed);
    out->compaction_write_bytes =
        atomic_load_explicit(&e->compaction_write_bytes, memory_order_relaxed);
    out->checkpoint = rocks_checkpoint(base);
    out->failed = !engine_health_is_good(&e->health);
}

static uint64_t rocks_approximate_size(engine *base, vv_slice lower, vv_slice upper)
{
    rocks_engine *e = rocks_engine_of(base);
    uint64_t size = 0;
    if (vv_slice_cmp(lower, upper) >= 0)
        return 0;
    rocks_view *view = rocks_view_acquire(e);
    uint64_t above = engine_key_table(upper) + (upper.len > ENGINE_TABLE_PREFIX ? UINT64_C(1) : 0);
    for (uint32_t i = 0; i < view->mem_count; i++)
        size += engine_memtable_table_bytes(view->mem[i], engine_key_table(lower), above);
    rocks_view_unref(view);
    if (e->store.db == NULL)
        return size;
    uint8_t from[ROCKS_KEY_MAX];
    uint8_t to[ROCKS_KEY_MAX];
    size_t from_len = rocks_key_put(from, lower, INT64_MAX);
    size_t to_len = rocks_key_put(to, upper, INT64_MAX);
    const char *starts[] = {(const char *)from};
    const char *limits[] = {(const char *)to};
    uint64_t disk = 0;
    char *message = NULL;
    rocksdb_approximate_sizes(e->store.db, 1, starts, &from_len, limits, &to_len, &disk, &message);
    rocksdb_free(message);
    return size + disk;
}

const engine_ops rocks_ops = {
    .name = "rocksdb",
    .open = rocks_open,
    .close = rocks_close,
    .prepare = rocks_prepare,
    .cancel = rocks_cancel,
    .apply = rocks_apply,
    .publish = rocks_publish,
    .visible = rocks_visible,
    .checkpoint = rocks_checkpoint,
    .last_version = rocks_last_version,
    .touched = rocks_touched,
    .get = rocks_get,
    .cursor = rocks_cursor,
    .pin = rocks_pin,
    .unpin = rocks_unpin,
    .freeze = rocks_freeze,
    .work = rocks_work,
    .compact_range = rocks_compact_range,
    .throttle_ns = rocks_throttle_ns,
    .stats = rocks_stats,
    .check = rocks_check,
    .hold_files = rocks_hold_files,
    .release_files = rocks_release_files,
    .list_files = rocks_list_files,
    .approximate_size = rocks_approximate_size,
};
