/*
 * engine_get.c - gets in steps, for engines that have none; and many of them together.
 */
#include "engine/engine_get.h"

#include "base/alloc.h"
#include "base/error.h"

engine_step engine_get_step(engine *e, engine_get *g, vio_queue *q)
{
    if (e->ops->get_step != NULL)
        return (engine_step)e->ops->get_step(e, g, q);
    g->status = e->ops->get(e, g->key, &g->read, &g->value, &g->err);
    return ENGINE_ANSWERED;
}

void engine_get_drop(engine *e, engine_get *g)
{
    if (g->state != NULL)
        e->ops->get_drop(e, g);
}

/* ---- many together ---- */

#define WINDOW (VIO_QUEUE_DEPTH + VIO_QUEUE_DEPTH / 2) /* gets that are under way at once */

typedef struct window window;

typedef struct slot {
    engine_get get;
    window *w;
    size_t index; /* of the key */
    struct slot *next;
} slot;

typedef struct slot_list {
    slot *head;
    slot *tail;
} slot_list;

struct window {
    engine *e;
    vio *io;
    vio_queue *q; /* taken when the first get waits */
    slot_list free;
    slot_list waiting; /* for room in the queue */
    slot_list arrived; /* read, and not stepped yet */
    engine_value *out;
    vv_status *status;
    size_t failed; /* index of the first failed key; SIZE_MAX: none */
    vv_error error;
    slot slots[WINDOW];
};

static void push(slot_list *l, slot *s)
{
    s->next = NULL;
    if (l->head == NULL)
        l->head = s;
    else
        l->tail->next = s;
    l->tail = s;
}

static slot *pop(slot_list *l)
{
    slot *s = l->head;
    if (s != NULL)
        l->head = s->next;
    return s;
}

static void note_arrival(vio_req *req)
{
    slot *s = req->ctx;
    push(&s->w->arrived, s);
}

static void take_answer(window *w, slot *s)
{
    vv_status st = s->get.status;
    w->status[s->index] = st;
    if (st == VV_OK)
        w->out[s->index] = s->get.value;
    if (st != VV_OK && st != VV_NOT_FOUND && s->index < w->failed) {
        w->failed = s->index;
        w->error = s->get.err;
        w->error.status = st;
    }
    push(&w->free, s);
}

/* It waits for the disk, or has its answer: no queue. */
static void take_waiting(window *w, slot *s)
{
    vv_status st = w->q != NULL ? VV_OK : vio_queue_of_thread(w->io, &w->q, &s->get.err);
    if (st == VV_OK) {
        push(&w->waiting, s);
        return;
    }
    engine_get_drop(w->e, &s->get);
    s->get.status = st;
    take_answer(w, s);
}

static void step(window *w, slot *s)
{
    vio_req *req;
    bool has_room = w->q != NULL && vio_queue_room(w->q) > 0;
    switch (engine_get_step(w->e, &s->get, has_room ? w->q : NULL)) {
    case ENGINE_ANSWERED:
        take_answer(w, s);
        break;
    case ENGINE_WAITS:
        take_waiting(w, s);
        break;
    case ENGINE_READS:
        req = s->get.req;
        req->done = note_arrival;
        req->ctx = s;
        if (vio_submit(w->q, &req, 1, &s->get.err) != VV_OK) { /* there was room */
            engine_get_drop(w->e, &s->get);
            s->get.status = VV_BUSY;
            take_answer(w, s);
        }
        break;
    }
}

/* Room that was left is used before what arrived is unpacked, so that the disk has work. */
static void turn(window *w)
{
    while (w->waiting.head != NULL && vio_queue_room(w->q) > 0)
        step(w, pop(&w->waiting));
    (void)vio_poll(w->q, w->arrived.head == NULL ? 1 : 0);
    slot_list ready = w->arrived;
    w->arrived = (slot_list){0};
    slot *s;
    while ((s = pop(&ready)) != NULL)
        step(w, s);
}

static void run_all(window *w, const vv_slice *keys, size_t count, const engine_read *read)
{
    for (size_t i = 0; i < count; i++) {
        slot *s;
        while ((s = pop(&w->free)) == NULL)
            turn(w);
        *s = (slot){.w = w, .index = i, .get = {.key = keys[i], .read = *read}};
        step(w, s);
    }
    unsigned left = WINDOW;
    while (left > 0) { /* each slot comes back free once more */
        while (pop(&w->free) != NULL)
            left--;
        if (left > 0)
            turn(w);
    }
}

vv_status engine_multi_get_by_steps(engine *e, vio *io, const vv_slice *keys, size_t count,
                                    const engine_read *read, engine_value *out, vv_status *status,
                                    vv_error *err)
{
    window *w = vv_alloc(sizeof *w);
    if (w == NULL) {
        for (size_t i = 0; i < count; i++)
            status[i] = VV_NO_MEMORY;
        return vv_fail(err, VV_NO_MEMORY, "multi get: no memory for %zu keys", count);
    }
    w->e = e;
    w->io = io;
    w->q = NULL;
    w->free = w->waiting = w->arrived = (slot_list){0};
    w->out = out;
    w->status = status;
    w->failed = SIZE_MAX;
    for (unsigned i = 0; i < WINDOW; i++)
        push(&w->free, &w->slots[i]);
    run_all(w, keys, count, read);
    bool is_good = w->failed == SIZE_MAX;
    vv_status st = is_good ? VV_OK : w->error.status;
    if (!is_good && err != NULL)
        *err = w->error;
    vv_free(w);
    return st;
}
