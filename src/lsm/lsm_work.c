/*
 * lsm_work.c - who does the next piece of background work, and what a failure means.
 *
 * Any thread may come; each takes one piece of the flush or of the compaction that no other thread
 * is in. Flushes go first, unless level 0 is so full that readers would suffer: then they wait for
 * the compaction that makes room, and writers wait for them.
 *
 * Failures. Short memory: the job is given up and begun again by a later call. A full disk: the
 * same, and prepare answers VV_NO_SPACE until a piece succeeds or none is left to do. What an
 * object store could not do: the job is given up, and for a while none is begun that would read
 * from there. Anything else is latched: the disk or the data is not what it should be, and a reopen
 * has to look at it. A job whose edit may be in the manifest is never given up, only tried again.
 */
#include "base/epoch.h"
#include "base/error.h"
#include "base/util.h"
#include "lsm/lsm_int.h"
#include "lsm/lsm_remote.h"

#define REMOTE_PAUSE_NS (5 * VV_NS_PER_S)

typedef enum turn { TURN_NONE, TURN_FLUSH, TURN_COMPACTION } turn;

static bool has_frozen(lsm_engine *e) VV_REQUIRES(e->lock)
{
    return atomic_load_explicit(&e->view, memory_order_relaxed)->mem_count > 1;
}

/* Take a slot that is free. */
static turn take_turn(lsm_engine *e, engine_work kind, bool flush_held)
{
    turn t = TURN_NONE;
    vv_mutex_lock(&e->lock);
    bool may_flush = kind != ENGINE_WORK_REST && !e->flush_busy &&
                     (e->flush != NULL || (has_frozen(e) && !flush_held));
    if (may_flush) {
        e->flush_busy = true;
        t = TURN_FLUSH;
    } else if (kind != ENGINE_WORK_FLUSH && !e->compaction_busy) {
        e->compaction_busy = true;
        t = TURN_COMPACTION;
    }
    vv_mutex_unlock(&e->lock);
    return t;
}

/* A failure that came with one of the object store: not ours to latch. VV_BUSY then. */
static vv_status excuse(lsm_engine *e, uint64_t failures, vv_status st, vv_error *err)
{
    bool is_ours = st == VV_OK || st == VV_BUSY || st == VV_NOT_FOUND || st == VV_NO_MEMORY ||
                   st == VV_NO_SPACE;
    if (is_ours || lsm_remote_failures(&e->store) == failures)
        return st;
    atomic_store_explicit(&e->remote_pause, vv_clock_mono(e->opt.env->clock) + REMOTE_PAUSE_NS,
                          memory_order_relaxed);
    return vv_wrap(err, VV_BUSY, "compaction waits for the object store");
}

/* A piece of the job in *slot, which is begun when there is none. VV_NOT_FOUND: nothing to do. */
static vv_status do_piece(lsm_engine *e, turn t, engine_work kind, lsm_job **slot, vv_error *err)
{
    uint64_t failures = lsm_remote_failures(&e->store);
    if (*slot == NULL) {
        vv_status st =
            t == TURN_FLUSH ? lsm_job_flush(e, slot, err) : lsm_compact_pick(e, slot, err);
        if (st != VV_OK)
            return excuse(e, failures, st, err);
        if (*slot == NULL)
            return VV_NOT_FOUND;
    }
    if (t == TURN_COMPACTION && !lsm_pace_may_compact(e))
        return VV_OK; /* whoever called may have other things to do */
    bool done = false;
    int64_t begin_ns = vv_clock_mono(e->opt.env->clock);
    uint64_t merged = lsm_job_progress(*slot).merged;
    vv_status st = lsm_job_step(*slot, &done, err);
    if (t == TURN_COMPACTION) {
        lsm_progress now = lsm_job_progress(*slot);
        lsm_pace_note_piece(e, done ? NULL : &now, now.merged - merged, begin_ns,
                            kind == ENGINE_WORK_REST);
    }
    bool is_committing = lsm_job_is_committing(*slot);
    bool keep = st == VV_OK ? !done : is_committing || st == VV_BUSY;
    if (!is_committing)
        st = excuse(e, failures, st, err);
    if (!keep) {
        lsm_job_destroy(*slot);
        *slot = NULL;
    }
    return st;
}

void lsm_note_outcome(lsm_engine *e, vv_status st, const vv_error *err)
{
    /* A busy slot belongs to the thread that works on it. */
    bool is_idle = st == VV_NOT_FOUND && !e->flush_busy && e->flush == NULL &&
                   !e->compaction_busy && e->compaction == NULL && !has_frozen(e);
    engine_health_note(&e->health, st, is_idle, err);
}

/* The memory of the next memtable. Touching it takes a while: not while a flush waits for this
 * thread. */
static void tend_pool(lsm_engine *e, engine_work kind)
{
    if (vv_budget_is_short(e->opt.budget, VV_BUDGET_MEMTABLE, e->opt.memtable_size / 8))
        (void)engine_memtable_pool_trim(e->pool);
    else if (kind != ENGINE_WORK_FLUSH &&
             atomic_exchange_explicit(&e->wants_warm, false, memory_order_relaxed))
        (void)!engine_memtable_pool_warm(e->pool, e->opt.memtable_size, NULL); /* only for speed */
}

vv_status lsm_work(engine *base, vv_error *err)
{
    return lsm_work_on(base, ENGINE_WORK_ANY, err);
}

vv_status lsm_work_on(engine *base, engine_work kind, vv_error *err)
{
    lsm_engine *e = lsm_engine_of(base);
    if (e->opt.read_only)
        return VV_NOT_FOUND;
    vv_status st = engine_health_latched(&e->health, err);
    if (st != VV_OK)
        return st;
    st = lsm_bulk_settle_doubt(e, err);
    if (st != VV_OK)
        return st;
    (void)vv_epoch_collect();
    bool swept = lsm_store_sweep(&e->store) > 0;
    tend_pool(e, kind);
    turn t = take_turn(e, kind, lsm_is_flush_held(e));
    if (t == TURN_NONE)
        return swept ? VV_OK : VV_NOT_FOUND;
    vv_error why = {0};
    st = do_piece(e, t, kind, t == TURN_FLUSH ? &e->flush : &e->compaction, &why);
    vv_mutex_lock(&e->lock);
    if (t == TURN_FLUSH)
        e->flush_busy = false;
    else
        e->compaction_busy = false;
    lsm_note_outcome(e, st, &why);
    vv_mutex_unlock(&e->lock);
    if (st != VV_OK && st != VV_NOT_FOUND && err != NULL)
        *err = why;
    return st == VV_NOT_FOUND && swept ? VV_OK : st;
}
