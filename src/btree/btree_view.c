/*
 * btree_view.c - what a reader sees: built once, shared, released by the last reader.
 */
#include "base/alloc.h"
#include "base/epoch.h"
#include "base/error.h"
#include "base/util.h"
#include "btree/btree_int.h"

btree_view *btree_view_acquire(btree_engine *e)
{
    vv_epoch_enter();
    btree_view *view = atomic_load_explicit(&e->view, memory_order_acquire);
    btree_view_ref(view);
    vv_epoch_exit();
    return view;
}

void btree_view_release(btree_engine *e, btree_view *view)
{
    btree_view_unref(view);
    bool trash = atomic_load_explicit(&e->store.trash, memory_order_relaxed) != NULL;
    if (trash && e->opt.hooks.on_work != NULL)
        e->opt.hooks.on_work(e->opt.hooks.ctx);
}

vv_status btree_view_create(uint32_t mem_count, btree_view **out, vv_error *err)
{
    btree_view *view = vv_calloc(1, sizeof *view + mem_count * sizeof(engine_memtable *));
    if (view == NULL)
        return vv_fail(err, VV_NO_MEMORY, "view: no memory");
    atomic_init(&view->refs, 1);
    view->mem_count = mem_count;
    *out = view;
    return VV_OK;
}

void btree_view_unref(void *ptr)
{
    btree_view *view = ptr;
    if (view == NULL || atomic_fetch_sub_explicit(&view->refs, 1, memory_order_acq_rel) > 1)
        return;
    for (uint32_t i = 0; i < view->mem_count; i++)
        if (view->mem[i] != NULL)
            engine_memtable_unref(view->mem[i]);
    btree_tree_unref(view->tree);
    engine_rangedels_unref(view->cuts.set);
    vv_free(view);
}

vv_status btree_view_with_memtable(const btree_view *old, engine_memtable *mem, btree_view **out,
                                   vv_error *err)
{
    btree_view *view = NULL;
    vv_status st = btree_view_create(old->mem_count + 1, &view, err);
    if (st != VV_OK || view == NULL)
        return st;
    view->mem[0] = mem;
    engine_memtable_ref(mem);
    for (uint32_t i = 0; i < old->mem_count; i++) {
        view->mem[i + 1] = old->mem[i];
        engine_memtable_ref(old->mem[i]);
    }
    view->tree = old->tree;
    btree_tree_ref(old->tree);
    view->cuts = old->cuts;
    if (view->cuts.set != NULL)
        engine_rangedels_ref(view->cuts.set);
    *out = view;
    return VV_OK;
}

vv_status btree_install(btree_engine *e, uint32_t mem_count, btree_tree *tree,
                        const btree_cuts *cuts, vv_error *err)
{
    btree_view *old = btree_view_acquire(e);
    /* Room for memtables that are frozen meanwhile: there is a bound on them but in replay. */
    uint32_t room = old->mem_count + e->opt.memtable_count + 1;
    btree_view_release(e, old);
    btree_view *view = NULL;
    vv_status st = btree_view_create(room, &view, err);
    if (st != VV_OK || view == NULL)
        return st;
    vv_mutex_lock(&e->lock);
    btree_view *now = atomic_load_explicit(&e->view, memory_order_relaxed);
    bool fits = now->mem_count - mem_count <= room;
    view->mem_count = fits ? now->mem_count - mem_count : 0;
    for (uint32_t i = 0; i < view->mem_count; i++) {
        view->mem[i] = now->mem[i];
        engine_memtable_ref(view->mem[i]);
    }
    if (fits) {
        view->tree = tree;
        view->cuts = *cuts;
        /* Pairs with the acquire loads of readers. */
        atomic_store_explicit(&e->view, view, memory_order_release);
    }
    vv_mutex_unlock(&e->lock);
    if (!fits) {
        btree_view_unref(view);
        return vv_fail(err, VV_BUSY, "memtables are frozen faster than a view is made: try again");
    }
    vv_epoch_retire(now, btree_view_unref);
    return VV_OK;
}
