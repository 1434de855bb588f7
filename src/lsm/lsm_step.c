/*
 * lsm_step.c - a point read in steps, for a caller that must not wait for the disk.
 *
 *     WALK --(a block is missing)--> BLOCK --(answered)--> WALK
 *       +----(a value lies apart)--> VALUE --(answered)--> answer
 *       +----(found, or absent)--------------------------> answer
 *
 * The state, with a reference on the view, is made when a get first stops: what memory answers
 * costs no allocation. While it waits for room in the queue it holds no buffer, and looks again
 * into the cache before it reads.
 *
 * Merges are put together by blocking reads: their operands lie in parts of the view that only a
 * cursor finds, and compaction keeps chains short.
 */
#include "base/alloc.h"
#include "base/epoch.h"
#include "base/error.h"
#include "base/util.h"
#include "engine/engine_get.h"
#include "lsm/lsm_walk.h"

typedef struct step_state {
    lsm_walker at;
    lsm_walk walk;
    lsm_walk_end end; /* what the walk stopped at: LSM_WALK_MISSES, or _FOUND with a value apart */
    bool is_reading;
    lsm_fetch fetch; /* req is used for values too */
} step_state;

static void count(const lsm_engine *e, uint64_t hits, uint64_t misses)
{
    pgc_counter *c = pgc_my_counter(pgc_cache_counters(e->store.cache));
    atomic_fetch_add_explicit(&c->hits, hits, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->misses, misses, memory_order_relaxed);
}

/* The get has its answer; what it held goes. */
static engine_step answer(lsm_engine *e, engine_get *g, vv_status st)
{
    step_state *s = g->state;
    g->status = st;
    g->state = NULL;
    if (s != NULL) {
        lsm_view_release(e, s->at.view);
        vv_free(s);
    }
    return ENGINE_ANSWERED;
}

static engine_step answer_merge(lsm_engine *e, engine_get *g, lsm_view *view)
{
    const lsm_found found = {.kind = ENGINE_MERGE, .key = g->key};
    return answer(e, g, lsm_give_resolved(e, view, &found, &g->read, &g->value, &g->err));
}

/* Ask for what the walk stopped at. */
static engine_step begin_read(lsm_engine *e, engine_get *g, vio_queue *q)
{
    step_state *s = g->state;
    if (q == NULL)
        return ENGINE_WAITS;
    vv_status st = s->end == LSM_WALK_MISSES
                       ? lsm_fetch_prepare(&s->fetch, s->walk.run, s->walk.block, q, &g->err)
                       : lsm_value_begin(&e->store, vv_slice_of(s->walk.ref, LSM_VALUE_REF),
                                         &s->fetch.req, &g->err);
    if (st != VV_OK)
        return answer(e, g, st);
    s->is_reading = true;
    g->req = &s->fetch.req;
    return ENGINE_READS;
}

/* The walk of a get with a state stopped at s->end. */
static engine_step go_on(lsm_engine *e, engine_get *g, vio_queue *q)
{
    step_state *s = g->state;
    if (s->end == LSM_WALK_ABSENT)
        return answer(e, g, VV_NOT_FOUND);
    if (s->end == LSM_WALK_FOUND && s->walk.kind == ENGINE_PUT)
        return answer(e, g, VV_OK);
    if (s->end == LSM_WALK_FOUND && s->walk.kind == ENGINE_MERGE)
        return answer_merge(e, g, s->at.view);
    return begin_read(e, g, q);
}

static const vv_error in_file = {.status = VV_BUSY, .msg = "the answer must be read from a file"};

/* The first step: most gets end here. */
static engine_step begin(lsm_engine *e, engine_get *g, vio_queue *q)
{
    lsm_walker at = {.read = &g->read};
    lsm_walk walk = lsm_walk_of(g->key);
    vv_epoch_enter();
    at.view = atomic_load_explicit(&e->view, memory_order_acquire);
    lsm_walk_end end = lsm_walk_start(&at, &walk, &g->value);
    bool is_over = end == LSM_WALK_ABSENT || (end == LSM_WALK_FOUND && walk.kind == ENGINE_PUT);
    if (!is_over)
        lsm_view_ref(at.view);
    vv_epoch_exit();
    count(e, at.hits, 0);
    at.hits = 0;
    if (is_over)
        return answer(e, g, end == LSM_WALK_FOUND ? VV_OK : VV_NOT_FOUND);
    bool is_merge = end == LSM_WALK_FOUND && walk.kind == ENGINE_MERGE;
    if (g->read.from_memory && !is_merge) {
        lsm_view_release(e, at.view);
        g->err = in_file;
        return answer(e, g, VV_BUSY);
    }
    step_state *s = vv_alloc(sizeof *s);
    if (s == NULL) {
        lsm_view_release(e, at.view);
        return answer(e, g, vv_fail(&g->err, VV_NO_MEMORY, "get: no memory"));
    }
    s->at = at;
    s->walk = walk;
    s->end = end;
    s->is_reading = false;
    g->state = s;
    return go_on(e, g, q);
}

/* The block that was read, or the reason why not. */
static engine_step take_block(lsm_engine *e, engine_get *g, vio_queue *q)
{
    step_state *s = g->state;
    pgc_frame *frame = NULL;
    vv_status st = lsm_fetch_finish(&s->fetch, &frame, &g->err);
    count(e, s->at.hits, 1);
    s->at.hits = 0;
    if (st != VV_OK)
        return answer(e, g, st);
    assert(frame != NULL);
    pgc_publish(s->walk.run->pages, s->walk.block, frame);
    vv_epoch_enter();
    s->end = lsm_walk_with(&s->at, &s->walk, frame, &g->value);
    vv_epoch_exit();
    pgc_unpin(frame);
    return go_on(e, g, q);
}

static engine_step take_value(lsm_engine *e, engine_get *g)
{
    step_state *s = g->state;
    uint8_t *memory = NULL;
    vv_status st = lsm_value_end(&e->store, vv_slice_of(s->walk.ref, LSM_VALUE_REF), &s->fetch.req,
                                 &memory, &g->value.data, &g->err);
    g->value.pin = memory;
    g->value.unpin = st == VV_OK ? vv_free : NULL;
    return answer(e, g, st);
}

/* It waited for room; another get may have brought the block meanwhile. */
static engine_step look_again(lsm_engine *e, engine_get *g, vio_queue *q)
{
    step_state *s = g->state;
    if (s->end == LSM_WALK_MISSES) {
        vv_epoch_enter();
        if (lsm_walk_has_block(&s->walk))
            s->end = lsm_walk_on(&s->at, &s->walk, &g->value);
        vv_epoch_exit();
    }
    return go_on(e, g, q);
}

int lsm_get_step(engine *base, engine_get *g, vio_queue *q)
{
    lsm_engine *e = lsm_engine_of(base);
    step_state *s = g->state;
    if (s == NULL)
        return (int)begin(e, g, q);
    if (!s->is_reading)
        return (int)look_again(e, g, q);
    s->is_reading = false;
    return (int)(s->end == LSM_WALK_MISSES ? take_block(e, g, q) : take_value(e, g));
}

void lsm_get_drop(engine *base, engine_get *g)
{
    step_state *s = g->state;
    if (s->is_reading && s->end == LSM_WALK_MISSES)
        lsm_fetch_drop(&s->fetch);
    else if (s->is_reading)
        lsm_value_drop(&lsm_engine_of(base)->store, vv_slice_of(s->walk.ref, LSM_VALUE_REF),
                       &s->fetch.req);
    (void)answer(lsm_engine_of(base), g, VV_CLOSED);
}
