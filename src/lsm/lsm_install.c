/*
 * lsm_install.c - from a committed change to the view that readers find.
 *
 * New levels are made outside the lock (a large one takes a while), one thread at a time; the
 * writer may freeze a memtable meanwhile, so the memtables are taken over under the lock at the
 * end.
 */
#include "base/alloc.h"
#include "base/epoch.h"
#include "base/error.h"
#include "base/util.h"
#include "lsm/lsm_int.h"

typedef struct change {
    lsm_run *const *remove;
    uint32_t remove_count;
    lsm_run *const *add;
    uint32_t add_count;
    uint32_t level;
    uint64_t group;
} change;

static bool goes_to(const change *c, const lsm_run *run, uint32_t number)
{
    return (c->level == LSM_OWN_LEVEL ? run->meta.level : c->level) == number;
}

/* The added runs of one level; returns how many. */
static uint32_t added(const change *c, uint32_t number, lsm_run **out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < c->add_count; i++)
        if (goes_to(c, c->add[i], number))
            out[count++] = c->add[i];
    return count;
}

static bool contains(lsm_run *const *runs, uint32_t count, const lsm_run *run)
{
    for (uint32_t i = 0; i < count; i++)
        if (runs[i] == run)
            return true;
    return false;
}

/* What becomes of one level: *out is a new reference, or NULL when nothing is left of it. */
static vv_status change_level(const change *c, lsm_level *old, uint32_t number, lsm_level **out,
                              vv_error *err)
{
    uint32_t old_count = old == NULL ? 0 : old->run_count;
    uint32_t kept = 0;
    *out = NULL;
    lsm_run **runs = vv_calloc((size_t)old_count + c->add_count, sizeof(lsm_run *));
    if (runs == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for level %u", number);
    for (uint32_t i = 0; i < old_count; i++)
        if (!contains(c->remove, c->remove_count, old->run[i]))
            runs[kept++] = old->run[i];
    vv_status st = VV_OK;
    uint32_t adds = number == 0 ? 0 : added(c, number, runs + kept);
    if (kept == old_count && adds == 0) {
        if (old != NULL)
            lsm_level_ref(old);
        *out = old;
    } else {
        if (kept + adds > 0)
            st =
                lsm_level_create(number, old == NULL ? 0 : old->group, runs, kept + adds, out, err);
    }
    vv_free(runs);
    return st;
}

static lsm_level *find_level(const lsm_view *view, uint32_t number)
{
    for (uint32_t i = view->level0_count; i < view->level_count; i++)
        if (view->level[i]->number == number)
            return view->level[i];
    return NULL;
}

/* Add the level, or nothing when it became empty, to a view whose arrays have room. */
static vv_status append(lsm_view *view, const change *c, lsm_level *old, uint32_t number,
                        vv_error *err)
{
    lsm_level *level = NULL;
    vv_status st = change_level(c, old, number, &level, err);
    if (st == VV_OK && level != NULL)
        view->level[view->level_count++] = level;
    return st;
}

/* The levels of old after the change; no memtables yet. */
static vv_status make_levels(const lsm_view *old, const change *c, lsm_view *view, vv_error *err)
{
    vv_status st = VV_OK;
    view->level_count = 0;
    lsm_run **set = vv_calloc(c->add_count, sizeof(lsm_run *));
    if (set == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %u runs", c->add_count);
    uint32_t count = added(c, 0, set);
    if (count > 0) { /* of a flush: newer than all that is there */
        st = lsm_level_create(0, c->group, set, count, &view->level[0], err);
        view->level_count += st == VV_OK;
    }
    vv_free(set);
    for (uint32_t i = 0; st == VV_OK && i < old->level0_count; i++)
        st = append(view, c, old->level[i], 0, err);
    view->level0_count = view->level_count;
    for (uint32_t n = 1; st == VV_OK && n < LSM_LEVELS; n++)
        st = append(view, c, find_level(old, n), n, err);
    return st;
}

static void take_memtables(const lsm_view *now, uint32_t flushed, lsm_view *view)
{
    view->mem_count = now->mem_count - flushed;
    for (uint32_t i = 0; i < view->mem_count; i++) {
        view->mem[i] = now->mem[i];
        engine_memtable_ref(view->mem[i]);
    }
}

static bool begin(lsm_engine *e)
{
    vv_mutex_lock(&e->lock);
    bool was_busy = e->install_busy;
    e->install_busy = true;
    vv_mutex_unlock(&e->lock);
    return !was_busy;
}

vv_status lsm_install(lsm_engine *e, uint32_t mem_count, lsm_run *const *remove,
                      uint32_t remove_count, lsm_run *const *add, uint32_t add_count,
                      uint32_t add_level, uint64_t group, bool *busy, vv_error *err)
{
    change c = {remove, remove_count, add, add_count, add_level, group};
    *busy = !begin(e);
    if (*busy)
        return VV_OK;
    lsm_view *old = lsm_view_acquire(e); /* nobody else changes its levels now */
    lsm_view *view = NULL;
    /* Room for memtables frozen meanwhile: there is a bound on them but in a read-only store. */
    uint32_t mem_room = old->mem_count + e->opt.memtable_count + 1;
    vv_status st = lsm_view_create(mem_room, old->level_count + 2, &view, err);
    if (st == VV_OK) {
        view->mem_count = 0;
        st = make_levels(old, &c, view, err);
    }
    vv_mutex_lock(&e->lock);
    e->install_busy = false;
    lsm_view *now = atomic_load_explicit(&e->view, memory_order_relaxed);
    if (st == VV_OK && now->mem_count - mem_count > mem_room) {
        *busy = true;
    } else if (st == VV_OK) {
        take_memtables(now, mem_count, view);
        lsm_view_publish(e, view);
        view = NULL;
    } else {
        now = NULL;
    }
    bool published = st == VV_OK && view == NULL;
    vv_mutex_unlock(&e->lock);
    lsm_view_unref(view);
    lsm_view_release(e, old);
    if (published)
        lsm_view_retire(now);
    return st;
}
