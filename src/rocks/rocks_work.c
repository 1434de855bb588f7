/*
 * rocks_work.c - who does the next piece of background work, and what a failure means.
 *
 * One piece at a time: a flush before a piece of a sweep. RocksDB compacts beside it, on threads of
 * its own. Failures. Short memory: the piece is given up and begun again by a later call. A full
 * disk: the same, and prepare answers VV_NO_SPACE until a piece succeeds. Anything else is latched:
 * the disk or the data is not what it should be, and a reopen has to look at it. Nothing is in
 * RocksDB before it is ingested, so that a piece can always be begun again.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "rocks/rocks_int.h"

typedef enum task { TASK_NONE, TASK_FLUSH, TASK_SWEEP } task;

/* What to do next; false when another thread is at it. */
static bool take_turn(rocks_engine *e, task *what, rocks_request *manual)
{
    vv_mutex_lock(&e->lock);
    bool mine = !e->is_busy;
    *what = TASK_NONE;
    if (mine) {
        e->is_busy = true;
        if (atomic_load_explicit(&e->view, memory_order_relaxed)->mem_count > 1) {
            *what = TASK_FLUSH;
        } else if (e->manual.bytes != NULL) {
            *what = TASK_SWEEP;
            *manual = e->manual;
            e->manual = (rocks_request){0};
        }
    }
    vv_mutex_unlock(&e->lock);
    return mine;
}

static vv_status make_request(vv_slice lower, vv_slice upper, rocks_request *out, vv_error *err)
{
    uint8_t *bytes = vv_alloc(lower.len + upper.len);
    if (bytes == NULL)
        return vv_fail(err, VV_NO_MEMORY, "compaction: no memory for the range");
    if (lower.len > 0)
        memcpy(bytes, lower.data, lower.len);
    if (upper.len > 0)
        memcpy(bytes + lower.len, upper.data, upper.len);
    *out = (rocks_request){bytes, vv_slice_of(bytes, lower.len),
                           vv_slice_of(bytes + lower.len, upper.len)};
    return VV_OK;
}

/* A request that has not begun and this one become one that covers both. Takes what is in r. */
static vv_status add_request(rocks_engine *e, rocks_request *r, vv_error *err) VV_REQUIRES(e->lock)
{
    rocks_request both = *r;
    rocks_request *m = &e->manual;
    vv_status st = VV_OK;
    if (m->bytes != NULL)
        st = make_request(vv_slice_cmp(m->lower, r->lower) < 0 ? m->lower : r->lower,
                          vv_slice_cmp(m->upper, r->upper) > 0 ? m->upper : r->upper, &both, err);
    if (m->bytes != NULL)
        vv_free(r->bytes);
    *r = (rocks_request){0};
    if (st != VV_OK)
        return st;
    vv_free(m->bytes);
    *m = both;
    return VV_OK;
}

/* One piece; what is left of the range is in *manual afterwards, all of it after a failure. */
static vv_status sweep_piece(rocks_engine *e, rocks_request *manual, vv_error *err)
{
    uint8_t next[ENGINE_KEY_MAX];
    size_t next_len = 0;
    vv_status st = rocks_sweep(e, manual->lower, manual->upper, next, &next_len, err);
    if (st != VV_OK)
        return st;
    if (next_len == 0) {
        vv_free(manual->bytes);
        *manual = (rocks_request){0};
        return VV_OK;
    }
    rocks_request rest = {0};
    if (make_request(vv_slice_of(next, next_len), manual->upper, &rest, NULL) == VV_OK) {
        vv_free(manual->bytes); /* otherwise the piece is done again */
        *manual = rest;
    }
    return VV_OK;
}

vv_status rocks_work(engine *base, vv_error *err)
{
    rocks_engine *e = rocks_engine_of(base);
    vv_error why = {0};
    task what = TASK_NONE;
    rocks_request manual = {0};
    if (e->opt.read_only)
        return VV_NOT_FOUND;
    vv_status st = engine_health_latched(&e->health, err);
    if (st != VV_OK)
        return st;
    if (!take_turn(e, &what, &manual))
        return VV_NOT_FOUND;
    st = what == TASK_FLUSH   ? rocks_flush(e, &why)
         : what == TASK_SWEEP ? sweep_piece(e, &manual, &why)
                              : VV_NOT_FOUND;
    vv_mutex_lock(&e->lock);
    engine_health_note(&e->health, st, st == VV_NOT_FOUND, &why);
    if (manual.bytes != NULL && add_request(e, &manual, NULL) != VV_OK && st == VV_OK)
        st = VV_NO_MEMORY; /* what was asked for since stays; this range must be asked for again */
    e->is_busy = false;
    vv_mutex_unlock(&e->lock);
    if (st != VV_OK && st != VV_NOT_FOUND && err != NULL)
        *err = why;
    return st;
}

vv_status rocks_compact_range(engine *base, vv_slice lower, vv_slice upper, vv_error *err)
{
    rocks_engine *e = rocks_engine_of(base);
    rocks_request r = {0};
    if (e->opt.read_only || vv_slice_cmp(lower, upper) >= 0)
        return VV_OK;
    vv_status st = make_request(lower, upper, &r, err);
    if (st != VV_OK)
        return st;
    vv_mutex_lock(&e->lock);
    st = add_request(e, &r, err);
    vv_mutex_unlock(&e->lock);
    if (st == VV_OK && e->opt.hooks.on_work != NULL)
        e->opt.hooks.on_work(e->opt.hooks.ctx);
    return st;
}
