/*
 * rocks_view.c - what a reader sees: memtables and a snapshot of RocksDB, released by the last
 * reader.
 *
 * A view that only has one memtable more shares the look of the one before: a flush may have been
 * ingested since, and what it flushed is still in the memtables.
 */
#include "base/alloc.h"
#include "base/epoch.h"
#include "base/error.h"
#include "rocks/rocks_int.h"

vv_status rocks_look_create(rocksdb_t *db, rocks_look **out, vv_error *err)
{
    rocks_look *look = vv_calloc(1, sizeof *look);
    if (look == NULL)
        return vv_fail(err, VV_NO_MEMORY, "view: no memory");
    atomic_init(&look->refs, 1);
    look->db = db;
    *out = look;
    return VV_OK;
}

static rocksdb_readoptions_t *make_read(const rocks_look *look)
{
    rocksdb_readoptions_t *read = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(read, 1);
    rocksdb_readoptions_set_snapshot(read, look->snapshot);
    /* There are none. And where RocksDB 7.8 looks for them, a walk from one file of a level into
     * the next passes over a first block there that is damaged, and says nothing. */
    rocksdb_readoptions_set_ignore_range_deletions(read, 1);
    return read;
}

void rocks_look_take(rocks_look *look)
{
    if (look->db == NULL)
        return;
    look->snapshot = rocksdb_create_snapshot(look->db);
    look->point = make_read(look);
    rocksdb_readoptions_set_prefix_same_as_start(look->point, 1);
    look->memory = make_read(look);
    rocksdb_readoptions_set_prefix_same_as_start(look->memory, 1);
    rocksdb_readoptions_set_read_tier(look->memory, 1); /* the block cache */
    look->scan = make_read(look);
    rocksdb_readoptions_set_total_order_seek(look->scan, 1);
}

void rocks_look_unref(rocks_look *look)
{
    if (look == NULL || atomic_fetch_sub_explicit(&look->refs, 1, memory_order_acq_rel) > 1)
        return;
    if (look->snapshot != NULL) {
        rocksdb_readoptions_destroy(look->point);
        rocksdb_readoptions_destroy(look->memory);
        rocksdb_readoptions_destroy(look->scan);
        rocksdb_release_snapshot(look->db, look->snapshot);
    }
    vv_free(look);
}

rocks_view *rocks_view_acquire(rocks_engine *e)
{
    vv_epoch_enter();
    rocks_view *view = atomic_load_explicit(&e->view, memory_order_acquire);
    atomic_fetch_add_explicit(&view->refs, 1, memory_order_relaxed);
    vv_epoch_exit();
    return view;
}

vv_status rocks_view_create(uint32_t mem_room, rocks_look *look, rocks_view **out, vv_error *err)
{
    rocks_view *view = vv_calloc(1, sizeof *view + mem_room * sizeof(engine_memtable *));
    if (view == NULL)
        return vv_fail(err, VV_NO_MEMORY, "view: no memory");
    atomic_init(&view->refs, 1);
    atomic_fetch_add_explicit(&look->refs, 1, memory_order_relaxed);
    view->look = look;
    *out = view;
    return VV_OK;
}

void rocks_view_unref(void *ptr)
{
    rocks_view *view = ptr;
    if (view == NULL || atomic_fetch_sub_explicit(&view->refs, 1, memory_order_acq_rel) > 1)
        return;
    for (uint32_t i = 0; i < view->mem_count; i++)
        engine_memtable_unref(view->mem[i]);
    rocks_look_unref(view->look);
    vv_free(view);
}

vv_status rocks_view_rotate(rocks_engine *e, rocks_view **old, vv_error *err)
{
    rocks_view *now = atomic_load_explicit(&e->view, memory_order_relaxed);
    engine_memtable *mem = NULL;
    rocks_view *view = NULL;
    if (e->mem_room <= now->mem_count)
        return vv_fail(err, VV_BUSY, "memtables are frozen faster than they are flushed");
    vv_status st = engine_memtable_create_in(e->pool, e->opt.memtable_size, &mem, err);
    if (st == VV_OK)
        st = engine_prepared_move(&e->prepared, mem, err);
    if (st == VV_OK)
        st = rocks_view_create(now->mem_count + 1, now->look, &view, err);
    if (st != VV_OK || view == NULL) {
        engine_memtable_unref(mem);
        return st;
    }
    view->mem[0] = mem;
    for (uint32_t i = 0; i < now->mem_count; i++) {
        view->mem[i + 1] = now->mem[i];
        engine_memtable_ref(now->mem[i]);
    }
    view->mem_count = now->mem_count + 1;
    engine_memtable_seal(now->mem[0]);
    /* Pairs with the acquire loads of readers. */
    atomic_store_explicit(&e->view, view, memory_order_release);
    *old = now;
    return VV_OK;
}

void rocks_view_install(rocks_engine *e, rocks_view *view, uint32_t flushed_count)
{
    rocks_look_take(view->look);
    vv_mutex_lock(&e->lock);
    rocks_view *now = atomic_load_explicit(&e->view, memory_order_relaxed);
    view->mem_count = now->mem_count - flushed_count;
    for (uint32_t i = 0; i < view->mem_count; i++) {
        view->mem[i] = now->mem[i];
        engine_memtable_ref(view->mem[i]);
    }
    e->mem_room = UINT32_MAX;
    atomic_store_explicit(&e->view, view, memory_order_release);
    vv_mutex_unlock(&e->lock);
    vv_epoch_retire(now, rocks_view_unref);
}
