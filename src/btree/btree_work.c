/*
 * btree_work.c - who does the next piece of background work, and what a failure means.
 *
 * One job at a time: a flush before a compaction before moving pages out of thin files. Any thread
 * may come; one that finds another at it has nothing to do.
 *
 * Failures. Short memory: the job is given up and begun again by a later call. A full disk: the
 * same, and prepare answers VV_NO_SPACE until a piece succeeds. Anything else is latched: the disk
 * or the data is not what it should be, and a reopen has to look at it. A job whose change may be
 * in the manifest is never given up, only tried again.
 */
#include "base/alloc.h"
#include "base/epoch.h"
#include "base/error.h"
#include "base/util.h"
#include "btree/btree_int.h"

typedef enum task { TASK_GO_ON, TASK_FLUSH, TASK_COMPACT, TASK_MOVE } task;

/* What to do next. */
typedef struct turn {
    task task;
    btree_request manual; /* taken from the engine; goes to the job, or back */
    bool tighten;
    bool compacted; /* a compaction that was asked for is complete */
} turn;

static bool take_turn(btree_engine *e, turn *t)
{
    vv_mutex_lock(&e->lock);
    bool mine = !e->job_busy;
    if (mine) {
        e->job_busy = true;
        t->tighten = e->tighten;
        if (e->job != NULL) {
            t->task = TASK_GO_ON;
        } else if (atomic_load_explicit(&e->view, memory_order_relaxed)->mem_count > 1) {
            t->task = TASK_FLUSH;
        } else if (e->manual.bytes != NULL) {
            t->task = TASK_COMPACT;
            t->manual = e->manual;
            e->manual = (btree_request){0};
        } else {
            t->task = TASK_MOVE;
        }
    }
    vv_mutex_unlock(&e->lock);
    return mine;
}

static vv_status begin_job(btree_engine *e, turn *t, vv_error *err)
{
    switch (t->task) {
    case TASK_FLUSH:
        return btree_job_flush(e, &e->job, err);
    case TASK_COMPACT:
        return btree_job_compact(e, &t->manual, &e->job, err);
    case TASK_MOVE:
        return btree_job_move(e, t->tighten, &e->job, err);
    case TASK_GO_ON:
        break;
    }
    return VV_OK;
}

/* A piece of the job, which is begun when there is none. VV_NOT_FOUND: nothing to do. */
static vv_status do_piece(btree_engine *e, turn *t, vv_error *err)
{
    vv_status st = begin_job(e, t, err);
    if (st != VV_OK)
        return st;
    if (e->job == NULL)
        return btree_archive_tick(e, err);
    bool done = false;
    st = btree_job_step(e->job, &done, err);
    bool keep = st == VV_OK ? !done : btree_job_is_committing(e->job) || st == VV_BUSY;
    if (!keep) {
        if (st != VV_OK)
            btree_job_take_request(e->job, &t->manual);
        else
            t->compacted = btree_job_is_compaction(e->job);
        btree_job_destroy(e->job);
        e->job = NULL;
    }
    return st;
}

/* A range whose compaction failed goes back, unless another was asked for. */
static void settle_requests(btree_engine *e, turn *t, vv_status st) VV_REQUIRES(e->lock)
{
    if (e->manual.bytes == NULL)
        e->manual = t->manual;
    else
        vv_free(t->manual.bytes);
    if (t->compacted)
        e->tighten = true;
    else if (t->task == TASK_MOVE && st == VV_NOT_FOUND)
        e->tighten = false;
}

vv_status btree_work(engine *base, vv_error *err)
{
    btree_engine *e = btree_engine_of(base);
    if (e->opt.read_only)
        return VV_NOT_FOUND;
    vv_status st = engine_health_latched(&e->health, err);
    if (st != VV_OK)
        return st;
    (void)vv_epoch_collect();
    bool swept = btree_store_sweep(&e->store) > 0;
    if (atomic_exchange_explicit(&e->wants_warm, false, memory_order_relaxed))
        (void)!engine_memtable_pool_warm(e->pool, e->opt.memtable_size, NULL); /* only for speed */
    turn t = {0};
    if (!take_turn(e, &t))
        return swept ? VV_OK : VV_NOT_FOUND;
    vv_error why = {0};
    st = do_piece(e, &t, &why);
    vv_mutex_lock(&e->lock);
    settle_requests(e, &t, st);
    e->job_busy = false;
    engine_health_note(&e->health, st, st == VV_NOT_FOUND, &why);
    vv_mutex_unlock(&e->lock);
    if (st != VV_OK && st != VV_NOT_FOUND && err != NULL)
        *err = why;
    return st == VV_NOT_FOUND && swept ? VV_OK : st;
}

vv_status btree_compact_range(engine *base, vv_slice lower, vv_slice upper, vv_error *err)
{
    btree_engine *e = btree_engine_of(base);
    if (vv_slice_cmp(lower, upper) >= 0)
        return VV_OK;
    vv_mutex_lock(&e->lock);
    /* A request that has not begun and this one become one that covers both. */
    btree_request *m = &e->manual;
    if (m->bytes != NULL && vv_slice_cmp(m->lower, lower) < 0)
        lower = m->lower;
    if (m->bytes != NULL && vv_slice_cmp(m->upper, upper) > 0)
        upper = m->upper;
    uint8_t *bytes = vv_alloc(lower.len + upper.len);
    if (bytes != NULL) {
        memcpy(bytes, lower.data, lower.len);
        memcpy(bytes + lower.len, upper.data, upper.len);
        vv_free(m->bytes);
        *m = (btree_request){bytes, vv_slice_of(bytes, lower.len),
                             vv_slice_of(bytes + lower.len, upper.len)};
    }
    vv_mutex_unlock(&e->lock);
    if (bytes == NULL)
        return vv_fail(err, VV_NO_MEMORY, "compaction: no memory for the range");
    if (e->opt.hooks.on_work != NULL)
        e->opt.hooks.on_work(e->opt.hooks.ctx);
    return VV_OK;
}

/* Writers are slowed when the next memtable would have to wait: from half of the last one on, up to
 * 40 ns a byte. */
int64_t btree_throttle_ns(engine *base, size_t bytes)
{
    btree_engine *e = btree_engine_of(base);
    vv_epoch_enter();
    const btree_view *view = atomic_load_explicit(&e->view, memory_order_acquire);
    int64_t ns = 0;
    if (view->mem_count >= e->opt.memtable_count) {
        uint64_t half = e->opt.memtable_size / 2;
        uint64_t used = engine_memtable_bytes(view->mem[0]);
        if (used > half)
            ns = (int64_t)((double)bytes * 40.0 * (double)(used - half) / (double)half);
    }
    vv_epoch_exit();
    return ns < VV_NS_PER_S ? ns : VV_NS_PER_S;
}
