/*
 * btree_step.c - a point read in steps, for a caller that must not wait for the disk; and many at
 * once, which are steps through the thread's I/O queue.
 *
 *     look, in memory --(the leaf is missing)--> READS it --(answered)--> look, with it --> answer
 *
 * A value in overflow pages, a compressed one and a version in the history are put together by
 * blocking reads, in a step that may use the queue.
 */
#include "base/alloc.h"
#include "base/epoch.h"
#include "base/error.h"
#include "btree/btree_int.h"
#include "engine/engine_get.h"

typedef struct step_state {
    btree_view *view;      /* held */
    btree_missing missing; /* file NULL: it is not a leaf that is missing */
    bool is_reading;
    vio_queue *owner; /* whose buffer req.buf is; NULL: an allocation */
    vio_req req;
} step_state;

static void give_buffer(step_state *s)
{
    if (s->owner != NULL)
        vio_buffer_give(s->owner, s->req.buf);
    else
        vv_free(s->req.buf);
    s->is_reading = false;
}

static engine_step answer(btree_engine *e, engine_get *g, vv_status st)
{
    step_state *s = g->state;
    g->status = st;
    g->state = NULL;
    btree_view_release(e, s->view);
    vv_free(s);
    return ENGINE_ANSWERED;
}

/* In memory, and the leaf if there is one. VV_BUSY: s->missing says what for. */
static vv_status look(btree_engine *e, engine_get *g, step_state *s, pgc_frame *leaf)
{
    engine_read read = g->read;
    read.from_memory = true;
    s->missing = (btree_missing){0};
    return btree_get_in(e, s->view, g->key, &read, leaf, &s->missing, &g->value, &g->err);
}

static engine_step begin_read(btree_engine *e, engine_get *g, vio_queue *q)
{
    step_state *s = g->state;
    size_t size = e->store.page_size;
    uint8_t *buf = size <= VIO_BUFFER_SIZE ? vio_buffer_take(q) : NULL;
    s->owner = buf != NULL ? q : NULL;
    if (buf == NULL)
        buf = vv_alloc_aligned(VV_BLOCK, vv_align_up(size, VV_BLOCK));
    if (buf == NULL)
        return answer(e, g, vv_fail(&g->err, VV_NO_MEMORY, "no memory for a page"));
    s->req = (vio_req){.op = VIO_OP_READ,
                       .cls = VIO_CLASS_READ,
                       .file = s->missing.file->file,
                       .offset = (uint64_t)s->missing.page * size,
                       .buf = buf,
                       .len = size};
    s->is_reading = true;
    g->req = &s->req;
    return ENGINE_READS;
}

/* What memory lacks is a leaf, or something that only a blocking read puts together. */
static engine_step go_on(btree_engine *e, engine_get *g, vio_queue *q)
{
    step_state *s = g->state;
    if (q == NULL)
        return ENGINE_WAITS;
    if (s->missing.file != NULL)
        return begin_read(e, g, q);
    return answer(e, g, btree_get_in(e, s->view, g->key, &g->read, NULL, NULL, &g->value, &g->err));
}

static engine_step begin(btree_engine *e, engine_get *g, vio_queue *q)
{
    static const vv_error in_file = {.status = VV_BUSY,
                                     .msg = "the answer must be read from a file"};
    step_state first = {.view = btree_view_acquire(e)};
    vv_status st = look(e, g, &first, NULL);
    step_state *s = st == VV_BUSY && !g->read.from_memory ? vv_alloc(sizeof *s) : NULL;
    if (s == NULL) {
        btree_view_release(e, first.view);
        if (st == VV_BUSY && !g->read.from_memory)
            st = vv_fail(&g->err, VV_NO_MEMORY, "get: no memory");
        else if (st == VV_BUSY)
            g->err = in_file;
        g->status = st;
        return ENGINE_ANSWERED;
    }
    *s = first;
    g->state = s;
    return go_on(e, g, q);
}

/* It waited for room; another get may have brought the leaf meanwhile. */
static engine_step look_again(btree_engine *e, engine_get *g, vio_queue *q)
{
    vv_status st = look(e, g, g->state, NULL);
    return st == VV_BUSY ? go_on(e, g, q) : answer(e, g, st);
}

static vv_status load(btree_engine *e, step_state *s, pgc_frame **out, vv_error *err)
{
    vv_status st = s->req.status;
    const btree_missing *m = &s->missing;
    if (st != VV_OK && err != NULL)
        *err = s->req.err;
    else if (st == VV_OK && s->req.got < s->req.len)
        st = vv_fail(err, VV_CORRUPT, "the file ends inside of page %u", m->page);
    if (st == VV_OK)
        st = btree_store_load_leaf(&e->store, m->file, m->page, m->sum, s->req.buf, out, err);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "leaf %u", m->id);
}

static engine_step take_leaf(btree_engine *e, engine_get *g, vio_queue *q)
{
    step_state *s = g->state;
    pgc_frame *leaf = NULL;
    vv_status st = load(e, s, &leaf, &g->err);
    give_buffer(s);
    pgc_count(&pgc_my_counter(pgc_cache_counters(e->store.cache))->misses);
    if (st != VV_OK)
        return answer(e, g, st);
    assert(leaf != NULL);
    pgc_publish(s->missing.file->pages, s->missing.page, leaf);
    st = look(e, g, s, leaf);
    pgc_unpin(leaf);
    return st == VV_BUSY ? go_on(e, g, q) : answer(e, g, st);
}

int btree_get_step(engine *base, engine_get *g, vio_queue *q)
{
    btree_engine *e = btree_engine_of(base);
    const step_state *s = g->state;
    if (s == NULL)
        return (int)begin(e, g, q);
    return (int)(s->is_reading ? take_leaf(e, g, q) : look_again(e, g, q));
}

void btree_get_drop(engine *base, engine_get *g)
{
    step_state *s = g->state;
    if (s->is_reading)
        give_buffer(s);
    (void)answer(btree_engine_of(base), g, VV_CLOSED);
}

vv_status btree_multi_get(engine *base, const vv_slice *keys, size_t count, const engine_read *read,
                          engine_value *out, vv_status *status, vv_error *err)
{
    vio *io = btree_engine_of(base)->store.env->io;
    return engine_multi_get_by_steps(base, io, keys, count, read, out, status, err);
}
