/*
 * db_queue.c - vv_write_async: a bounded queue of batches and the thread that commits them.
 *
 *   any thread --lock, link--> queue --take a chain--> commit thread: append groups, one sync,
 *                                                      publish, then done() for each in order
 *
 * The list runs through the batches themselves, so queueing takes no memory. While one chain is
 * synced the next gathers: the deeper the queue, the larger the groups, up to a part of the log's
 * ring, so that the first of a long queue are not answered with its last. The bound counts bytes
 * from queueing to done(); a refused batch costs the caller nothing but the answer.
 */
#include "base/error.h"
#include "db/db_int.h"

#define QUEUE_OVERHEAD 256u /* counted for each batch beside its payload */

static uint64_t cost(const vv_batch *batch)
{
    return batch->payload.len + QUEUE_OVERHEAD;
}

/* Answer a chain in order. A batch is the caller's again once done was called: read next before. */
static void finish_chain(vv_db *db, vv_batch *head)
{
    db_queue *q = &db->queue;
    uint64_t bytes = 0;
    int64_t now = vv_clock_mono(db->env->clock);
    for (vv_batch *b = head; b != NULL;) {
        vv_batch *next = b->next;
        bytes += cost(b);
        b->next = NULL;
        if (b->status == VV_OK)
            vv_hist_add(&db->counters.commit_ns, (uint64_t)(now - b->start_ns));
        vv_write_done done = b->done;
        done(b->done_ctx, b->status, b->status == VV_OK ? &b->result : NULL,
             b->status == VV_OK ? NULL : &b->error);
        b = next;
    }
    vv_mutex_lock(&q->lock);
    q->bytes -= bytes;
    vv_mutex_unlock(&q->lock);
    vv_budget_release(&db->budget, VV_BUDGET_QUEUE, bytes);
}

/* Take head, the front of the queue, and what fits behind it out of the queue. */
static void cut_chain(db_queue *q, vv_batch *head) VV_REQUIRES(q->lock)
{
    vv_batch *last = head;
    uint64_t bytes = cost(head);
    for (vv_batch *b = head->next; b != NULL && bytes + cost(b) <= q->chain_max; b = b->next) {
        bytes += cost(b);
        last = b;
    }
    q->head = last->next;
    if (q->head == NULL)
        q->tail = NULL;
    last->next = NULL;
}

/* The front of the queue, some chain_max bytes of it; NULL: stopped and empty. */
static vv_batch *take_chain(db_queue *q)
{
    vv_mutex_lock(&q->lock);
    while (q->head == NULL && !q->stop) {
        q->is_waiting = true;
        vv_cond_wait(&q->wake, &q->lock);
        q->is_waiting = false;
    }
    vv_batch *head = q->head;
    if (head != NULL)
        cut_chain(q, head);
    vv_mutex_unlock(&q->lock);
    return head;
}

static void commit_main(void *arg)
{
    vv_db *db = arg;
    for (;;) {
        vv_batch *head = take_chain(&db->queue);
        if (head == NULL)
            return;
        db_commit_chain(db, head);
        finish_chain(db, head);
    }
}

vv_status db_queue_start(vv_db *db, vv_error *err)
{
    if (db->env->threads == NULL || db->opt.read_only)
        return VV_OK;
    return db->env->threads->create("varve-commit", VV_THREAD_NORMAL, commit_main, db,
                                    &db->queue.thread, err);
}

void db_queue_stop(vv_db *db)
{
    db_queue *q = &db->queue;
    if (q->thread == NULL)
        return;
    vv_mutex_lock(&q->lock);
    q->stop = true;
    vv_cond_signal(&q->wake);
    vv_mutex_unlock(&q->lock);
    db->env->threads->join(q->thread);
    q->thread = NULL;
}

static vv_status admit(vv_db *db, vv_batch *batch, bool *wake, vv_error *err)
{
    db_queue *q = &db->queue;
    uint64_t bytes = cost(batch);
    vv_status st = VV_OK;
    vv_mutex_lock(&q->lock);
    /* An empty queue takes any one batch: else what others hold could stop writes for ever. */
    if (q->stop)
        st = vv_fail(err, VV_CLOSED, "the store is closing");
    else if (q->bytes == 0)
        vv_budget_take(&db->budget, VV_BUDGET_QUEUE, bytes);
    else if (q->bytes + bytes > q->bytes_max)
        st = vv_fail(err, VV_BUSY, "the commit queue holds %llu bytes, its bound is %llu",
                     (unsigned long long)q->bytes, (unsigned long long)q->bytes_max);
    else if (!vv_budget_reserve(&db->budget, VV_BUDGET_QUEUE, bytes))
        st = vv_fail(err, VV_BUSY, "memory_limit of %llu bytes is reached",
                     (unsigned long long)db->opt.memory_limit);
    if (st == VV_OK) {
        q->bytes += bytes;
        if (q->thread != NULL) {
            if (q->tail == NULL)
                q->head = batch;
            else
                q->tail->next = batch;
            q->tail = batch;
        }
        *wake = q->is_waiting;
    }
    vv_mutex_unlock(&q->lock);
    return st;
}

vv_status vv_write_async(vv_db *db, vv_batch *batch, vv_durability durability, vv_write_done done,
                         void *ctx, vv_error *err)
{
    assert(batch->db == db && done != NULL);
    bool wake = false;
    vv_status st = db_check_writable(db, err);
    if (st != VV_OK)
        return st;
    db_commit_begin(db, batch, durability);
    batch->done = done;
    batch->done_ctx = ctx;
    batch->next = NULL;
    batch->start_ns = vv_clock_mono(db->env->clock);
    st = admit(db, batch, &wake, err);
    if (st != VV_OK)
        return st;
    if (db->queue.thread == NULL) {
        db_commit_chain(db, batch);
        finish_chain(db, batch);
    } else if (wake) {
        vv_cond_signal(&db->queue.wake);
    }
    return VV_OK;
}
