/*
 * db_async.c - gets of a thread that does not wait for them.
 *
 *     vv_get_async --> step --(memory knows)--------------------------> answered --> done()
 *                       |                                                   ^
 *                       +--> waiting --(room)--> flying --> arrived --step--+
 *                               ^                                   |
 *                               +---------(another block)-----------+
 *
 * Each get is stepped by the engine (engine_get.h) and is on one of the lists above. The queue is
 * one of its own: the thread's other reads (vv_multi_get, a flush on its caller's thread) rely on
 * the whole depth of theirs.
 *
 * A get without a snapshot looks at once whether a higher floor was given away than its version, as
 * db_read.c explains: what it stopped at is of the moment of its first step, so once is enough.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_int.h"
#include "engine/engine_get.h"
#include "varve/async.h"

typedef struct held_get {
    engine_get get;
    vv_async *async;
    engine *eng;
    vv_get_done done;
    void *ctx;
    bool is_cancelled; /* in flight, and nobody waits for it */
    struct held_get *prev, *next;
    uint8_t key[];
} held_get;

typedef struct get_list {
    held_get *head;
    held_get *tail;
} get_list;

struct vv_async {
    vv_db *db;
    vio_queue *queue;
    unsigned limit;
    unsigned held;   /* neither answered nor cancelled */
    bool has_unsent; /* submitted since the last vio_poll */
    bool is_closing;
    get_list waiting; /* for room in the queue */
    get_list flying;
    get_list arrived;
    get_list answered;
};

static void push(get_list *l, held_get *h)
{
    h->next = NULL;
    h->prev = l->tail;
    if (l->tail == NULL)
        l->head = h;
    else
        l->tail->next = h;
    l->tail = h;
}

static void take_out(get_list *l, held_get *h)
{
    if (h->prev == NULL)
        l->head = h->next;
    else
        h->prev->next = h->next;
    if (h->next == NULL)
        l->tail = h->prev;
    else
        h->next->prev = h->prev;
}

static held_get *pop(get_list *l)
{
    held_get *h = l->head;
    if (h != NULL)
        take_out(l, h);
    return h;
}

/* Nobody wants it: give up what it has, or has found. */
static void discard(held_get *h, bool is_answered)
{
    if (!is_answered)
        engine_get_drop(h->eng, &h->get);
    else if (h->get.status == VV_OK)
        engine_value_release(&h->get.value);
    vv_free(h);
}

static void note_arrival(vio_req *req)
{
    held_get *h = req->ctx;
    take_out(&h->async->flying, h);
    if (h->is_cancelled)
        discard(h, false);
    else
        push(&h->async->arrived, h);
}

static void submit(vv_async *a, held_get *h)
{
    vio_req *req = h->get.req;
    req->done = note_arrival;
    req->ctx = h;
    vv_status st = vio_submit(a->queue, &req, 1, NULL);
    assert(st == VV_OK); /* there was room */
    (void)st;
    push(&a->flying, h);
    a->has_unsent = true;
}

/* A get goes on, with a read of its own if there is room for one. */
static void step(vv_async *a, held_get *h)
{
    bool has_room = vio_queue_room(a->queue) > 0;
    switch (engine_get_step(h->eng, &h->get, has_room ? a->queue : NULL)) {
    case ENGINE_ANSWERED:
        push(&a->answered, h);
        break;
    case ENGINE_WAITS:
        push(&a->waiting, h);
        break;
    case ENGINE_READS:
        submit(a, h);
        break;
    }
}

static void start_waiting(vv_async *a)
{
    while (a->waiting.head != NULL && vio_queue_room(a->queue) > 0)
        step(a, pop(&a->waiting));
}

static void poll_queue(vv_async *a, bool wait)
{
    a->has_unsent = false;
    if (a->queue->held == 0)
        return;
    (void)vio_poll(a->queue, wait ? 1 : 0);
    /* The store's other transfers have the disk: without one in flight nothing would tell when it
     * is our turn. */
    if (vio_queue_is_stalled(a->queue))
        (void)vio_poll(a->queue, 1);
}

/* Unpack what has arrived. The room it left is used first, so that the disk has work meanwhile. */
static void step_arrived(vv_async *a)
{
    get_list ready = a->arrived;
    if (ready.head == NULL)
        return;
    a->arrived = (get_list){0};
    start_waiting(a);
    if (a->has_unsent)
        poll_queue(a, false);
    held_get *h;
    while ((h = pop(&ready)) != NULL)
        step(a, h);
}

/* ---- answers ---- */

static void run_done(held_get *h, vv_status st)
{
    static const vv_error absent = {.status = VV_NOT_FOUND, .msg = "the key is not in the table"};
    static const vv_error closed = {.status = VV_CLOSED, .msg = "get: closed before its answer"};
    vv_value value = {0};
    if (st == VV_OK)
        db_hand_out(&h->get.value, &value);
    h->async->held--;
    const vv_error *why = st == VV_NOT_FOUND ? &absent : st == VV_CLOSED ? &closed : &h->get.err;
    h->done(h->ctx, st, st == VV_OK ? &value : NULL, st == VV_OK ? NULL : why);
    vv_free(h);
}

/* As many as were held when it began: done() may hand over more, and cancel any. */
static unsigned run_answered(vv_async *a)
{
    unsigned count = 0;
    unsigned most = a->held;
    while (a->answered.head != NULL && count < most) {
        held_get *h = pop(&a->answered);
        run_done(h, h->get.status);
        count++;
    }
    return count;
}

static bool is_idle(const vv_async *a)
{
    bool can_start = a->waiting.head != NULL && vio_queue_room(a->queue) > 0;
    return a->arrived.head == NULL && !a->has_unsent && !can_start;
}

unsigned vv_async_poll(vv_async *a, unsigned wait_count)
{
    unsigned count = 0;
    for (;;) {
        start_waiting(a);
        bool wait = count < wait_count && a->answered.head == NULL && a->arrived.head == NULL;
        poll_queue(a, wait);
        step_arrived(a);
        count += run_answered(a);
        if (wait_count == 0 ? count > 0 || is_idle(a) : count >= wait_count || a->held == 0)
            return count;
    }
}

unsigned vv_async_held(const vv_async *a)
{
    return a->held;
}

int vv_async_fd(vv_async *a)
{
    return vio_queue_fd(a->queue);
}

/* ---- handing over ---- */

static vv_status check(const vv_async *a, const vv_table *table, vv_slice key, vv_error *err)
{
    assert(table->db == a->db);
    if (a->is_closing)
        return vv_fail(err, VV_CLOSED, "get: the queue of gets is being closed");
    if (a->held == a->limit)
        return vv_fail(err, VV_BUSY, "get: %u are held, which is the limit: poll first", a->held);
    vv_status st = db_check_table(table, err);
    return st == VV_OK ? db_check_key(key, VV_KEY_MAX, err) : st;
}

/* True: the get is to begin anew, at a later version. */
static bool was_overtaken(vv_table *table, held_get *h, engine_step s)
{
    if (VV_LIKELY(db_check_floor(table->db, table->shard, table->cat->id, h->get.read.version,
                                 NULL) == VV_OK))
        return false;
    if (s != ENGINE_ANSWERED)
        engine_get_drop(h->eng, &h->get);
    else if (h->get.status == VV_OK)
        engine_value_release(&h->get.value);
    return true;
}

static engine_step begin_now(vv_table *table, held_get *h)
{
    vv_db *db = table->db;
    for (;;) {
        h->get.read = (engine_read){.version = db->ops->visible(table->shard->eng),
                                    .now_ns = db_read_time(db)};
        engine_step s = engine_get_step(h->eng, &h->get, NULL);
        if (!was_overtaken(table, h, s))
            return s;
    }
}

static engine_step begin_at(vv_table *table, const vv_snapshot *snapshot, held_get *h)
{
    assert(snapshot->db == table->db);
    h->get.read =
        (engine_read){.version = snapshot->version[table->shard->id], .now_ns = snapshot->time_ns};
    return engine_get_step(h->eng, &h->get, NULL);
}

vv_status vv_get_async(vv_async *a, vv_table *table, const vv_snapshot *snapshot, vv_slice key,
                       vv_get_done done, void *ctx, vv_error *err)
{
    vv_table part;
    vv_status st = check(a, table, key, err);
    if (st != VV_OK)
        return st;
    table = db_part_of(table, key, &part);
    held_get *h = vv_alloc(sizeof *h + ENGINE_TABLE_PREFIX + key.len);
    if (h == NULL)
        return vv_fail(err, VV_NO_MEMORY, "get: no memory");
    memset(h, 0, sizeof *h);
    vv_put_be32(h->key, table->cat->id);
    memcpy(h->key + ENGINE_TABLE_PREFIX, key.data, key.len);
    h->get.key = vv_slice_of(h->key, ENGINE_TABLE_PREFIX + key.len);
    h->async = a;
    /* The table's own: what a get stopped at is that engine's. */
    h->eng = engine_route_of(table->shard->eng, table->cat->id);
    h->done = done;
    h->ctx = ctx;
    engine_step s = snapshot == NULL ? begin_now(table, h) : begin_at(table, snapshot, h);
    assert(s != ENGINE_READS);
    push(s == ENGINE_ANSWERED ? &a->answered : &a->waiting, h);
    a->held++;
    return VV_OK;
}

/* ---- the end ---- */

static unsigned cancel_in(vv_async *a, get_list *l, const void *ctx)
{
    unsigned count = 0;
    for (held_get *h = l->head, *next; h != NULL; h = next) {
        next = h->next;
        if (h->ctx != ctx || h->is_cancelled)
            continue;
        count++;
        h->is_cancelled = true;
        if (l == &a->flying)
            continue; /* its buffer is the disk's until the answer */
        take_out(l, h);
        discard(h, l == &a->answered);
    }
    a->held -= count;
    return count;
}

unsigned vv_async_cancel(vv_async *a, const void *ctx)
{
    return cancel_in(a, &a->waiting, ctx) + cancel_in(a, &a->flying, ctx) +
           cancel_in(a, &a->arrived, ctx) + cancel_in(a, &a->answered, ctx);
}

vv_status vv_async_open(vv_db *db, unsigned limit, vv_async **out, vv_error *err)
{
    if (limit == 0 || limit > VV_ASYNC_MAX)
        return vv_fail(err, VV_INVALID, "async: a limit of %u gets, it is 1 to %u", limit,
                       VV_ASYNC_MAX);
    vv_async *a = vv_calloc(1, sizeof *a);
    if (a == NULL)
        return vv_fail(err, VV_NO_MEMORY, "async: no memory");
    a->db = db;
    a->limit = limit;
    vv_status st = vio_queue_open(db->env->io, VIO_QUEUE_DEPTH, &a->queue, err);
    if (st != VV_OK) {
        vv_free(a);
        return st;
    }
    *out = a;
    return VV_OK;
}

void vv_async_close(vv_async *a)
{
    if (a == NULL)
        return;
    a->is_closing = true;
    vio_drain(a->queue);
    held_get *h;
    while ((h = pop(&a->answered)) != NULL)
        run_done(h, h->get.status);
    while ((h = pop(&a->arrived)) != NULL || (h = pop(&a->waiting)) != NULL) {
        engine_get_drop(h->eng, &h->get);
        run_done(h, VV_CLOSED);
    }
    assert(a->held == 0 && a->flying.head == NULL);
    vio_queue_close(a->queue);
    vv_free(a);
}
