/*
 * btree_engine.c - opening and closing a shard's store, and the way of a write into its memtable.
 *
 * A write is prepared (memory taken, memtable rotated when it is full), logged by the caller,
 * applied, and published when it is durable. Rotation and application exclude each other by `lock`,
 * so a frozen memtable never changes and a flush misses nothing.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/epoch.h"
#include "base/error.h"
#include "base/util.h"
#include "btree/btree_int.h"

/* ---- writing ---- */

static engine_memtable *active_of(btree_engine *e) VV_REQUIRES(e->lock)
{
    return atomic_load_explicit(&e->view, memory_order_relaxed)->mem[0];
}

/* Freeze the active memtable. *old is the view to retire once the lock is released. */
static vv_status rotate(btree_engine *e, btree_view **old, vv_error *err) VV_REQUIRES(e->lock)
{
    btree_view *now = atomic_load_explicit(&e->view, memory_order_relaxed);
    engine_memtable *mem = NULL;
    btree_view *view = NULL;
    vv_status st = engine_memtable_create_in(e->pool, e->opt.memtable_size, &mem, err);
    if (st == VV_OK)
        st = engine_prepared_move(&e->prepared, mem, err);
    if (st == VV_OK)
        st = btree_view_with_memtable(now, mem, &view, err);
    if (mem != NULL)
        engine_memtable_unref(mem); /* the view holds it */
    if (st != VV_OK)
        return st;
    engine_memtable_seal(now->mem[0]);
    /* Pairs with the acquire loads of readers. */
    atomic_store_explicit(&e->view, view, memory_order_release);
    e->is_warm = false;
    *old = now;
    return VV_OK;
}

static void after_rotate(btree_engine *e, btree_view *old)
{
    if (old == NULL)
        return;
    vv_epoch_retire(old, btree_view_unref);
    if (e->opt.hooks.on_work != NULL)
        e->opt.hooks.on_work(e->opt.hooks.ctx);
}

static vv_status prepare_locked(btree_engine *e, size_t payload_len, uint32_t op_count,
                                btree_view **old, vv_error *err) VV_REQUIRES(e->lock)
{
    const btree_view *view = atomic_load_explicit(&e->view, memory_order_relaxed);
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

static vv_status btree_prepare(engine *base, size_t payload_len, uint32_t op_count, vv_error *err)
{
    btree_engine *e = btree_engine_of(base);
    if (VV_UNLIKELY(!engine_health_is_good(&e->health)))
        return engine_health_refuse(&e->health, err);
    btree_view *old = NULL;
    vv_mutex_lock(&e->lock);
    vv_status st = prepare_locked(e, payload_len, op_count, &old, err);
    vv_mutex_unlock(&e->lock);
    after_rotate(e, old);
    return st;
}

static void btree_cancel(engine *base)
{
    btree_engine *e = btree_engine_of(base);
    vv_mutex_lock(&e->lock);
    engine_prepared_cancel(&e->prepared);
    vv_mutex_unlock(&e->lock);
}

static vv_status btree_apply(engine *base, int64_t version, int64_t commit_time_ns,
                             vv_slice payload, vv_error *err)
{
    btree_engine *e = btree_engine_of(base);
    if (version <= atomic_load_explicit(&e->checkpoint, memory_order_relaxed))
        return VV_OK; /* replay overlaps what is in the tree */
    vv_mutex_lock(&e->lock);
    engine_memtable *mem = active_of(e);
    vv_status st = engine_memtable_apply_at(mem, version, commit_time_ns, payload, err);
    e->prepared.is_applied = true;
    /* Half full: time for a background thread to touch the memory of the next one. */
    bool warm = !e->is_warm && engine_memtable_bytes(mem) > e->opt.memtable_size / 2;
    if (warm) {
        e->is_warm = true;
        atomic_store_explicit(&e->wants_warm, true, memory_order_relaxed);
    }
    vv_mutex_unlock(&e->lock);
    if (warm && e->opt.hooks.on_work != NULL)
        e->opt.hooks.on_work(e->opt.hooks.ctx);
    return st;
}

static void btree_publish(engine *base, int64_t version)
{
    btree_engine *e = btree_engine_of(base);
    if (version > atomic_load_explicit(&e->visible, memory_order_relaxed))
        atomic_store_explicit(&e->visible, version, memory_order_release);
}

static int64_t btree_visible(engine *base)
{
    return atomic_load_explicit(&btree_engine_of(base)->visible, memory_order_acquire);
}

static int64_t btree_checkpoint(engine *base)
{
    return atomic_load_explicit(&btree_engine_of(base)->checkpoint, memory_order_acquire);
}

static int64_t btree_last_version(engine *base, vv_slice key, int64_t *floor)
{
    btree_engine *e = btree_engine_of(base);
    int64_t last = -1;
    vv_epoch_enter();
    const btree_view *view = atomic_load_explicit(&e->view, memory_order_acquire);
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

static vv_status btree_pin_version(engine *base, int64_t version, int64_t time_ns, vv_error *err)
{
    return engine_pins_add(&btree_engine_of(base)->pins, version, time_ns, err);
}

static void btree_unpin_version(engine *base, int64_t version, int64_t time_ns)
{
    engine_pins_remove(&btree_engine_of(base)->pins, version, time_ns);
}

static vv_status btree_freeze(engine *base, vv_error *err)
{
    btree_engine *e = btree_engine_of(base);
    btree_view *old = NULL;
    vv_status st = VV_OK;
    vv_mutex_lock(&e->lock);
    if (engine_memtable_max_version(active_of(e)) > 0)
        st = rotate(e, &old, err);
    vv_mutex_unlock(&e->lock);
    after_rotate(e, old);
    return st;
}

/* ---- opening ---- */

#ifdef VV_TEST_HOOKS
#define PAGE_SIZE_MIN 512u /* for tests with short keys: deep trees of few entries */
#else
#define PAGE_SIZE_MIN 4096u /* the longest key of the history fits */
#endif

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
    if (opt->file_amplify_factor == 0)
        opt->file_amplify_factor = 2;
    if (opt->archives_max == 0)
        opt->archives_max = 100;
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

/* Files that no tree and no archive has: what a crash or a failed removal left behind. */
typedef struct orphans {
    btree_engine *e;
    const btree_tree *tree;
} orphans;

static void remove_orphan(void *ctx, const char *name)
{
    const orphans *o = ctx;
    btree_store *store = &o->e->store;
    if (strncmp(name, "data-", 5) != 0 || name[5] < '0' || name[5] > '9')
        return;
    char *end = NULL;
    uint64_t id = strtoull(name + 5, &end, 10);
    if (*end != '\0' || btree_store_find_file(store, o->tree->files, o->tree->file_count,
                                              btree_place_at(store, id, 0)) != NULL)
        return;
    for (uint32_t i = 0; i < o->e->kept_count; i++) {
        const btree_tree *kept = o->e->kept[i].tree;
        if (btree_store_find_file(store, kept->files, kept->file_count,
                                  btree_place_at(store, id, 0)) != NULL)
            return;
    }
    char path[VIO_PATH_MAX];
    btree_file_path(path, store->dir, id);
    (void)!vio_remove(store->env->io, path, NULL);
}

typedef struct id_gaps {
    btree_ids *ids;
    uint32_t next;
} id_gaps;

static vv_status add_free_ids(id_gaps *g, uint32_t until)
{
    uint64_t need = (uint64_t)g->ids->count + (until - g->next);
    if (need > g->ids->cap) {
        uint64_t cap = need + need / 2 + 64;
        uint32_t *ids = vv_realloc(g->ids->free, cap * sizeof *ids);
        if (ids == NULL)
            return VV_NO_MEMORY;
        g->ids->free = ids;
        g->ids->cap = (uint32_t)vv_min_u64(cap, UINT32_MAX);
    }
    for (; g->next < until; g->next++)
        g->ids->free[g->ids->count++] = g->next;
    return VV_OK;
}

static vv_status see_page(void *ctx, uint32_t id, btree_place place)
{
    id_gaps *g = ctx;
    (void)place;
    vv_status st = add_free_ids(g, id);
    g->next = id + 1;
    return st;
}

/* Page ids below the limit that the mapping does not have. */
static vv_status find_free_ids(btree_engine *e, const btree_state *state, vv_error *err)
{
    id_gaps g = {.ids = &e->ids};
    vv_status st = btree_map_diff(NULL, &state->map, see_page, &g);
    if (st == VV_OK && g.next < state->page_limit)
        st = add_free_ids(&g, state->page_limit);
    if (st == VV_OK && g.next > state->page_limit)
        return vv_fail(err, VV_CORRUPT, "page %u lies above the limit of %u", g.next - 1,
                       state->page_limit);
    return st == VV_OK ? VV_OK : vv_fail(err, st, "no memory for free page ids");
}

static vv_status first_view(btree_engine *e, btree_tree *tree, btree_view **out, vv_error *err)
{
    engine_memtable *mem = NULL;
    vv_status st = engine_memtable_create_in(e->pool, e->opt.memtable_size, &mem, err);
    if (st == VV_OK)
        st = btree_view_create(1, out, err);
    if (st != VV_OK) {
        if (mem != NULL)
            engine_memtable_unref(mem);
        return st;
    }
    (*out)->mem[0] = mem;
    (*out)->tree = tree;
    btree_tree_ref(tree);
    /* Pins end with the process: nobody asks for what was written before. */
    (*out)->cuts.known_from = tree->state.checkpoint;
    return VV_OK;
}

static vv_status load_view(btree_engine *e, vv_error *err)
{
    const btree_state *state = &e->manifest.state;
    btree_tree *tree = NULL;
    btree_view *view = NULL;
    vv_status st = btree_tree_load(&e->store, state, NULL, 0, &tree, err);
    if (st == VV_OK)
        st = find_free_ids(e, state, err);
    if (st == VV_OK)
        st = first_view(e, tree, &view, err);
    if (st == VV_OK)
        atomic_store_explicit(&e->view, view, memory_order_release);
    if (st == VV_OK)
        st = btree_archives_open(e, tree, err);
    if (st == VV_OK && !e->opt.read_only) {
        orphans o = {e, tree};
        st = vio_list(e->opt.env->io, e->store.dir, remove_orphan, &o, err);
    }
    e->swept_pages = st == VV_OK ? btree_inode_leaves(tree->history) : 0;
    btree_tree_unref(tree);
    return st;
}

static void btree_close(engine *base)
{
    if (base == NULL)
        return;
    btree_engine *e = btree_engine_of(base);
    btree_job_destroy(e->job);
    btree_archives_close(e);
    btree_active_close(&e->active);
    btree_view_unref(atomic_load_explicit(&e->view, memory_order_relaxed));
    btree_store_fini(&e->store); /* waits for views that are on their way out */
    btree_manifest_close(&e->manifest);
    engine_memtable_pool_unref(e->pool);
    engine_pins_fini(&e->pins);
    vv_mutex_fini(&e->lock);
    engine_health_fini(&e->health);
    vv_free(e->manual.bytes);
    vv_free(e->ids.free);
    vv_free(e);
}

static vv_status open_manifest(btree_engine *e, vv_error *err)
{
    const engine_options *opt = &e->opt;
    uint32_t page_size = opt->block_size == 0 ? BTREE_PAGE_SIZE : opt->block_size;
    if (page_size < PAGE_SIZE_MIN || page_size > BTREE_PAGE_SIZE_MAX ||
        (page_size & (page_size - 1)) != 0)
        return vv_fail(err, VV_INVALID, "page size %u: a power of two from %u to %u is possible",
                       page_size, PAGE_SIZE_MIN, BTREE_PAGE_SIZE_MAX);
    /* A file's references in the cache, 8 bytes a page, stay small beside the memtable. */
    uint32_t shift = 2;
    while (shift < 20 && (uint64_t)page_size << shift < opt->target_file_size &&
           UINT64_C(8) << shift < opt->memtable_size / 4)
        shift++;
    btree_manifest_options m = {.env = opt->env,
                                .dir = e->store.dir,
                                .shard = opt->shard,
                                .page_size = page_size,
                                .shift = shift,
                                .limit = opt->memtable_size / 8,
                                .read_only = opt->read_only,
                                .budget = opt->budget};
    vv_status st = btree_manifest_open(&e->manifest, &m, err);
    /* An existing store keeps what it was made with. */
    e->store.page_size = e->manifest.state.page_size;
    e->store.shift = e->manifest.state.shift;
    if (st == VV_OK && e->manifest.state.dict != NULL)
        st = btree_dict_adopt(&e->store, e->manifest.state.dict, err);
    return st;
}

static vv_status open_store(btree_engine *e, vv_error *err)
{
    const engine_options *opt = &e->opt;
    vv_status st = opt->read_only ? VV_OK : make_directory(opt, err);
    if (st == VV_OK)
        st = btree_store_init(&e->store, opt->env, opt->dir, opt->shard, opt->cache_size,
                              opt->budget, err);
    if (st == VV_OK)
        st =
            engine_memtable_pool_create(opt->budget, opt->env->seed ^ opt->shard, 1, &e->pool, err);
    if (st == VV_OK)
        st = open_manifest(e, err);
    if (st == VV_OK)
        st = load_view(e, err);
    return st;
}

static vv_status btree_open(const engine_options *opt, engine **out, vv_error *err)
{
    btree_engine *e = vv_alloc_aligned(64, sizeof *e); /* counters have lines of their own */
    if (e == NULL)
        return vv_fail(err, VV_NO_MEMORY, "store '%s': no memory", opt->dir);
    memset(e, 0, sizeof *e);
    e->base.ops = &btree_ops;
    e->opt = *opt;
    set_defaults(&e->opt);
    vv_mutex_init(&e->lock, VV_RANK_ENGINE);
    engine_health_init(&e->health);
    engine_pins_init(&e->pins);
    vv_status st = open_store(e, err);
    if (st != VV_OK) {
        btree_close(&e->base);
        return vv_wrap(err, st, "store '%s'", opt->dir);
    }
    e->opt.dir = e->store.dir;
    int64_t checkpoint = e->manifest.state.checkpoint;
    atomic_store(&e->checkpoint, checkpoint);
    atomic_store(&e->visible, checkpoint);
    *out = &e->base;
    return VV_OK;
}

/* ---- figures ---- */

static void count_memtables(const btree_view *view, engine_stats *out)
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

static void btree_stats(engine *base, engine_stats *out)
{
    btree_engine *e = btree_engine_of(base);
    *out = (engine_stats){0};
    btree_view *view = btree_view_acquire(e);
    count_memtables(view, out);
    const btree_tree *tree = view->tree;
    for (uint32_t i = 0; i < tree->file_count; i++)
        out->disk_bytes += (uint64_t)tree->files[i]->used * e->store.page_size;
    out->level_count = tree->main == NULL ? 0 : 1;
    out->level_runs[0] = tree->file_count;
    out->level_bytes[0] = tree->state.map.count * e->store.page_size;
    btree_view_release(e, view);
    pgc_stats cache;
    pgc_cache_stats(e->store.cache, &cache);
    out->cache_hits = cache.hits;
    out->cache_misses = cache.misses;
    out->cache_bytes = cache.bytes;
    out->flushes = atomic_load_explicit(&e->flushes, memory_order_relaxed);
    out->flush_bytes = atomic_load_explicit(&e->flush_bytes, memory_order_relaxed);
    out->compactions = atomic_load_explicit(&e->compactions, memory_order_relaxed);
    out->compaction_read_bytes =
        atomic_load_explicit(&e->compaction_read_bytes, memory_order_relaxed);
    out->compaction_write_bytes =
        atomic_load_explicit(&e->compaction_write_bytes, memory_order_relaxed);
    out->checkpoint = btree_checkpoint(base);
    out->failed = !engine_health_is_good(&e->health);
}

/* Leaves before the one of key. */
static uint64_t rank_of(const btree_inode *n, vv_slice key)
{
    uint64_t rank = 0;
    for (;;) {
        uint32_t i = btree_inode_find(n, key);
        if (n->level == 1)
            return rank + i;
        for (uint32_t j = 0; j < i; j++)
            rank += btree_inode_leaves(n->child[j].u.node);
        n = n->child[i].u.node;
    }
}

static uint64_t btree_approximate_size(engine *base, vv_slice lower, vv_slice upper)
{
    btree_engine *e = btree_engine_of(base);
    btree_view *view = btree_view_acquire(e);
    const btree_inode *root = view->tree->main;
    uint64_t leaves = 0;
    if (root != NULL && vv_slice_cmp(lower, upper) < 0)
        leaves = rank_of(root, upper) - rank_of(root, lower) + 1;
    btree_view_release(e, view);
    return leaves * e->store.page_size;
}

const engine_ops btree_ops = {
    .name = "btree",
    .open = btree_open,
    .close = btree_close,
    .prepare = btree_prepare,
    .cancel = btree_cancel,
    .apply = btree_apply,
    .publish = btree_publish,
    .visible = btree_visible,
    .checkpoint = btree_checkpoint,
    .last_version = btree_last_version,
    .touched = btree_touched,
    .get = btree_get,
    .multi_get = btree_multi_get,
    .get_step = btree_get_step,
    .get_drop = btree_get_drop,
    .cursor = btree_cursor,
    .pin = btree_pin_version,
    .unpin = btree_unpin_version,
    .freeze = btree_freeze,
    .work = btree_work,
    .compact_range = btree_compact_range,
    .throttle_ns = btree_throttle_ns,
    .stats = btree_stats,
    .check = btree_check,
    .hold_files = btree_hold_files,
    .release_files = btree_release_files,
    .list_files = btree_list_files,
    .approximate_size = btree_approximate_size,
};
