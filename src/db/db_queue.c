/*
 * db_queue.c - vv_write_async: a bounded queue of batches and the thread that commits them.
 *
 *   any thread --lock, link--> queue --cut a chain--> commit thread: db_chain.c, then done() for
 *                                                     each that was committed or refused
 *
 * The list runs through the batches themselves, so queueing takes no memory. While one chain is
 * synced the next gathers: the deeper the queue, the larger the groups, up to a part of the log's
 * ring, so that the first of a long queue are not answered with its last. The bound counts bytes
 * from queueing to done(); a refused batch costs the caller nothing but the answer.
 */
#include "base/error.h"
#include "db/db_int.h"

#define BLOCKED_WAIT_NS (50 * VV_NS_PER_MS)

/* Take what fits one sync off the front of the queue. */
static void cut_chain(db_queue *q, db_list *chain) VV_REQUIRES(q->lock)
{
    uint64_t bytes = 0;
    while (q->list.head != NULL) {
        bytes += db_queue_cost(q->list.head);
        if (chain->head != NULL && bytes > q->chain_max)
            return;
        db_list_push(chain, db_list_pop(&q->list));
    }
}

void db_queue_turn(vv_db *db)
{
    db_list chain = {0};
    vv_mutex_lock(&db->queue.lock);
    cut_chain(&db->queue, &chain);
    vv_mutex_unlock(&db->queue.lock);
    db_chain_commit(db, &chain);
}

/* Sleep until there is something to do: false when that is to end. While a shard is blocked, at
 * most until it is time to look at it again. */
static bool wait_for_turn(vv_db *db)
{
    db_queue *q = &db->queue;
    vv_mutex_lock(&q->lock);
    bool blocked = db_queue_is_blocked(db);
    q->is_waiting = true;
    if (blocked && q->list.head == NULL && !q->room_made)
        (void)vv_cond_wait_for(&q->wake, &q->lock, BLOCKED_WAIT_NS);
    while (!blocked && q->list.head == NULL && !q->stop)
        vv_cond_wait(&q->wake, &q->lock);
    q->is_waiting = false;
    q->room_made = false;
    bool go_on = blocked || q->list.head != NULL;
    vv_mutex_unlock(&q->lock);
    return go_on;
}

void db_queue_room_made(vv_db *db)
{
    db_queue *q = &db->queue;
    if (!db_queue_is_blocked(db))
        return;
    vv_mutex_lock(&q->lock);
    q->room_made = true;
    vv_cond_signal(&q->wake);
    vv_mutex_unlock(&q->lock);
}

static void commit_main(void *arg)
{
    vv_db *db = arg;
    while (wait_for_turn(db))
        db_queue_turn(db);
}

vv_status db_queue_start(vv_db *db, vv_error *err)
{
    if (db->env->threads == NULL || db->opt.read_only)
        return VV_OK;
    db->queue.gathers = true;
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
    uint64_t bytes = db_queue_cost(batch);
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
        if (q->gathers)
            db_list_push(&q->list, batch);
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
    if (!db->queue.gathers)
        db_chain_commit_alone(db, batch);
    else if (wake)
        vv_cond_signal(&db->queue.wake);
    return VV_OK;
}
