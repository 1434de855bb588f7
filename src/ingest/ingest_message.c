/*
 * ingest_message.c - see ingest_message.h.
 *
 *   submit --> queue --------> run --> VV_OK, or refused: the next behind it is due at once
 *                 |             |  ^
 *     its order   |     VV_BUSY |  | due: after a pause by how often it was tried
 *     is aside    v             v  |
 *              behind <-------- set aside: at most one task of an order
 *
 * What is set aside lies in one queue for each pause, so that each queue is in the order of when
 * its tasks are due, and in buckets by order, where newer ones of that order are put behind it. It
 * takes no room meanwhile.
 *
 * One lock for all queues: it is held for some instructions a request, and requests hold many
 * messages. It is a leaf, because requests leave from the commit thread.
 */
#include "ingest/ingest_message.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/lock.h"
#include "base/point.h"
#include "base/util.h"

#define WORKERS_DEFAULT 2u
#define QUEUE_BYTES_DEFAULT (64 * VV_MIB)
#define GIVE_UP_NS (10 * VV_NS_PER_S)
#define PAUSE_NS (2 * VV_NS_PER_MS)
#define BUSY_IN_ROW 4u /* then the store is busy for all, and the worker pauses */
#define BUCKETS 64u

/* By how often a task was tried: the first pauses are those of a store that is busy for a moment.
 */
static const uint32_t pause_ms[] = {0, 2, 2, 2, 2, 4, 8, 16, 32, 64, 128, 256};

typedef struct queue {
    ingest_task *head;
    ingest_task *tail;
} queue;

typedef struct worker {
    ingest_messages *p;
    vv_thread *thread;
    vv_cond wake;         /* a task came, or the end */
    queue ready;          /* under lock, like all below but the next */
    uint32_t busy_in_row; /* tasks; the worker's own */
    queue aside[ARRAY_LEN(pause_ms)];
    uint32_t aside_count;
    bool aside_next; /* whose turn it is when both are due */
    ingest_task *bucket[BUCKETS];
} worker;

struct ingest_messages {
    ingest_messages_options opt; /* with the defaults filled in */
    vv_mutex lock;               /* rank VV_RANK_LEAF */
    vv_cond room;                /* bytes left */
    bool is_stopping;            /* under lock, like all down to the workers */
    uint32_t room_waiters;
    uint64_t waiting;
    uint64_t waiting_bytes;
    uint64_t inside;
    uint64_t inside_bytes;
    uint64_t taken;
    uint64_t refused;
    uint64_t retried;
    worker workers[INGEST_MESSAGE_WORKERS_MAX];
    vv_hist run_time;
    vv_hist latency;
};

/* ---- queues: all under lock ---- */

static bool has_room(const ingest_messages *p, const ingest_task *task)
{
    return p->inside == 0 || p->inside_bytes + task->bytes <= p->opt.queue_bytes;
}

static void add(queue *q, ingest_task *task)
{
    task->next = NULL;
    if (q->tail == NULL)
        q->head = task;
    else
        q->tail->next = task;
    q->tail = task;
}

static ingest_task *take(queue *q)
{
    ingest_task *task = q->head;
    q->head = task->next;
    if (q->head == NULL)
        q->tail = NULL;
    return task;
}

static ingest_task **bucket_of(worker *w, uint64_t order)
{
    return &w->bucket[(order ^ order >> 32) % BUCKETS]; /* the rest of order chose the worker */
}

static void set_aside(worker *w, ingest_task *task, int64_t now)
{
    const uint32_t level = (uint32_t)vv_min_u64(task->tries, ARRAY_LEN(pause_ms) - 1);
    ingest_task **at = bucket_of(w, task->order);
    task->due_ns = now + pause_ms[level] * VV_NS_PER_MS;
    task->next_aside = *at;
    *at = task;
    add(&w->aside[level], task);
    w->aside_count++;
}

/* True: an older one of its order is set aside, and the first that is ready lies behind that now.
 */
static bool put_behind(worker *w)
{
    ingest_task *task = w->ready.head;
    ingest_task *first = *bucket_of(w, task->order);
    while (first != NULL && first->order != task->order)
        first = first->next_aside;
    if (first == NULL)
        return false;
    queue q = {first->behind, first->behind_last};
    (void)take(&w->ready);
    add(&q, task);
    first->behind = q.head;
    first->behind_last = q.tail;
    return true;
}

/* The queue of the task that is due next of those set aside; NULL: there is none. */
static queue *first_aside(worker *w)
{
    queue *first = NULL;
    for (size_t i = 0; w->aside_count > 0 && i < ARRAY_LEN(pause_ms); i++)
        if (w->aside[i].head != NULL &&
            (first == NULL || w->aside[i].head->due_ns < first->head->due_ns))
            first = &w->aside[i];
    return first;
}

/* The queue whose head is to be run now. NULL: none; *wait_ns is when one may be, 0: nobody knows.
 */
static queue *choose(ingest_messages *p, worker *w, int64_t *wait_ns)
{
    *wait_ns = 0;
    while (w->aside_count > 0 && w->ready.head != NULL && put_behind(w))
        ;
    queue *aside = first_aside(w);
    if (aside != NULL && !p->is_stopping) {
        *wait_ns = aside->head->due_ns - vv_clock_mono(p->opt.clock);
        if (*wait_ns > 0)
            aside = NULL;
    }
    if (aside != NULL && (w->ready.head == NULL || w->aside_next))
        return aside;
    return w->ready.head != NULL ? &w->ready : NULL;
}

/* The head of a queue goes to the worker. What lies behind it stays with it. */
static ingest_task *pop(ingest_messages *p, worker *w, queue *q)
{
    ingest_task *task = take(q);
    w->aside_next = q == &w->ready;
    if (q != &w->ready) {
        ingest_task **at = bucket_of(w, task->order);
        while (*at != task)
            at = &(*at)->next_aside;
        *at = task->next_aside;
        w->aside_count--;
    }
    p->waiting--;
    p->waiting_bytes -= task->bytes;
    p->inside++;
    p->inside_bytes += task->bytes;
    p->taken += task->tries == 0;
    return task;
}

static void subtract(ingest_messages *p, uint64_t bytes)
{
    assert(p->inside > 0 && p->inside_bytes >= bytes);
    p->inside--;
    p->inside_bytes -= bytes;
    if (p->room_waiters > 0)
        vv_cond_broadcast(&p->room);
}

static void wait_for_room(ingest_messages *p) VV_REQUIRES(p->lock)
{
    p->room_waiters++;
    vv_cond_wait(&p->room, &p->lock);
    p->room_waiters--;
}

/* ---- a task ---- */

static void refuse(ingest_messages *p, ingest_task *task, uint64_t bytes, vv_status st,
                   const vv_error *err)
{
    task->refuse(task, st, err);
    vv_mutex_lock(&p->lock);
    p->refused++;
    subtract(p, bytes);
    vv_mutex_unlock(&p->lock);
}

/* It waits again, and takes no room. */
static void put_back(ingest_messages *p, worker *w, ingest_task *task, int64_t now)
{
    vv_mutex_lock(&p->lock);
    p->retried++;
    subtract(p, task->bytes);
    p->waiting++;
    p->waiting_bytes += task->bytes;
    task->tries++;
    set_aside(w, task, now);
    w->busy_in_row++;
    vv_mutex_unlock(&p->lock);
}

/* What waited behind a task that is done is due. */
static void go_on(ingest_messages *p, worker *w, queue behind, int64_t now)
{
    if (behind.head == NULL)
        return;
    ingest_task *task = take(&behind);
    task->behind = behind.head;
    task->behind_last = behind.tail;
    vv_mutex_lock(&p->lock);
    set_aside(w, task, now);
    vv_mutex_unlock(&p->lock);
}

/* The task may be gone when its run answers VV_OK. */
static void run_task(ingest_messages *p, worker *w, ingest_task *task, bool is_last)
{
    const queue behind = {task->behind, task->behind_last};
    const uint64_t bytes = task->bytes;
    const int64_t arrival = task->arrival_ns; /* who waited behind others has one try left */
    vv_error err = {0};
    int64_t begin = vv_clock_mono(p->opt.clock);
    vv_status st = task->run(task, &err);
    int64_t end = vv_clock_mono(p->opt.clock);
    vv_hist_add(&p->run_time, (uint64_t)(end - begin));
    if (st == VV_BUSY && !is_last && end - arrival < GIVE_UP_NS) {
        put_back(p, w, task, end);
        return;
    }
    w->busy_in_row = 0;
    if (st != VV_OK)
        refuse(p, task, bytes, st, &err);
    go_on(p, w, behind, end);
}

static void wait_for_work(ingest_messages *p, worker *w, int64_t wait_ns) VV_REQUIRES(p->lock)
{
    if (wait_ns > 0)
        (void)vv_cond_wait_for(&w->wake, &p->lock, wait_ns);
    else
        vv_cond_wait(&w->wake, &p->lock);
}

static void worker_main(void *arg)
{
    worker *w = arg;
    ingest_messages *p = w->p;
    vv_mutex_lock(&p->lock);
    for (;;) {
        int64_t wait_ns = 0;
        if (w->busy_in_row >= BUSY_IN_ROW && !p->is_stopping) {
            (void)vv_cond_wait_for(&w->wake, &p->lock, PAUSE_NS);
            w->busy_in_row = 0;
        }
        queue *q = choose(p, w, &wait_ns);
        if (q == NULL && p->is_stopping)
            break;
        if (q == NULL) {
            wait_for_work(p, w, wait_ns);
        } else if (!has_room(p, q->head)) {
            wait_for_room(p);
        } else {
            ingest_task *task = pop(p, w, q);
            const bool is_last = p->is_stopping;
            vv_mutex_unlock(&p->lock);
            run_task(p, w, task, is_last);
            vv_mutex_lock(&p->lock);
        }
    }
    vv_mutex_unlock(&p->lock);
}

bool ingest_messages_step(ingest_messages *p)
{
    bool any = false;
    for (uint32_t i = 0; i < p->opt.workers; i++) {
        worker *w = &p->workers[i];
        ingest_task *task = NULL;
        int64_t wait_ns = 0;
        vv_mutex_lock(&p->lock);
        queue *q = choose(p, w, &wait_ns);
        if (q != NULL && has_room(p, q->head))
            task = pop(p, w, q);
        const bool is_last = p->is_stopping;
        vv_mutex_unlock(&p->lock);
        if (task != NULL)
            run_task(p, w, task, is_last);
        any |= task != NULL;
    }
    return any;
}

void ingest_messages_submit(ingest_messages *p, ingest_task *task)
{
    uint64_t turn = VV_BUG(144) ? p->waiting : task->order; /* the bug: whoever is free takes it */
    worker *w = &p->workers[turn % p->opt.workers];
    task->arrival_ns = vv_clock_mono(p->opt.clock);
    task->behind = NULL;
    task->behind_last = NULL;
    task->tries = 0;
    vv_mutex_lock(&p->lock);
    assert(!p->is_stopping);
    add(&w->ready, task);
    p->waiting++;
    p->waiting_bytes += task->bytes;
    vv_cond_signal(&w->wake);
    vv_mutex_unlock(&p->lock);
}

void ingest_messages_leave(ingest_messages *p, const ingest_task *task)
{
    int64_t now = vv_clock_mono(p->opt.clock);
    vv_hist_add(&p->latency, (uint64_t)(now - task->arrival_ns));
    vv_mutex_lock(&p->lock);
    subtract(p, task->bytes);
    vv_mutex_unlock(&p->lock);
}

/* ---- life ---- */

vv_status ingest_messages_create(const ingest_messages_options *opt, ingest_messages **out,
                                 vv_error *err)
{
    ingest_messages *p = vv_calloc(1, sizeof *p);
    if (p == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a pipeline of messages");
    p->opt = *opt;
    if (p->opt.workers == 0)
        p->opt.workers = WORKERS_DEFAULT;
    p->opt.workers = (uint32_t)vv_min_u64(p->opt.workers, INGEST_MESSAGE_WORKERS_MAX);
    if (p->opt.queue_bytes == 0)
        p->opt.queue_bytes = QUEUE_BYTES_DEFAULT;
    vv_mutex_init(&p->lock, VV_RANK_LEAF);
    vv_cond_init(&p->room);
    vv_status st = VV_OK;
    for (uint32_t i = 0; i < p->opt.workers; i++) {
        p->workers[i].p = p;
        vv_cond_init(&p->workers[i].wake);
    }
    for (uint32_t i = 0; st == VV_OK && opt->threads != NULL && i < p->opt.workers; i++)
        st = opt->threads->create("vv-message", VV_THREAD_NORMAL, worker_main, &p->workers[i],
                                  &p->workers[i].thread, err);
    if (st != VV_OK) {
        ingest_messages_destroy(p);
        return st;
    }
    *out = p;
    return VV_OK;
}

void ingest_messages_destroy(ingest_messages *p)
{
    if (p == NULL)
        return;
    vv_mutex_lock(&p->lock);
    p->is_stopping = true;
    for (uint32_t i = 0; i < p->opt.workers; i++)
        vv_cond_signal(&p->workers[i].wake);
    vv_mutex_unlock(&p->lock);
    if (p->opt.threads == NULL)
        while (ingest_messages_step(p))
            ;
    for (uint32_t i = 0; i < p->opt.workers; i++)
        if (p->workers[i].thread != NULL)
            p->opt.threads->join(p->workers[i].thread);
    vv_mutex_lock(&p->lock);
    while (p->inside > 0)
        wait_for_room(p);
    vv_mutex_unlock(&p->lock);
    for (uint32_t i = 0; i < p->opt.workers; i++)
        vv_cond_fini(&p->workers[i].wake);
    vv_cond_fini(&p->room);
    vv_mutex_fini(&p->lock);
    vv_free(p);
}

/* ---- figures ---- */

static void look_at_age(int64_t now, const ingest_task *task, int64_t *oldest_ns)
{
    if (task != NULL && now - task->arrival_ns > *oldest_ns)
        *oldest_ns = now - task->arrival_ns;
}

void ingest_messages_stats_read(ingest_messages *p, ingest_messages_stats *out)
{
    int64_t now = vv_clock_mono(p->opt.clock);
    vv_mutex_lock(&p->lock);
    *out = (ingest_messages_stats){.waiting = p->waiting,
                                   .waiting_bytes = p->waiting_bytes,
                                   .inside = p->inside,
                                   .inside_bytes = p->inside_bytes,
                                   .limit_bytes = p->opt.queue_bytes,
                                   .taken = p->taken,
                                   .refused = p->refused,
                                   .retried = p->retried};
    for (uint32_t i = 0; i < p->opt.workers; i++) {
        const worker *w = &p->workers[i];
        look_at_age(now, w->ready.head, &out->oldest_ns);
        for (size_t k = 0; w->aside_count > 0 && k < ARRAY_LEN(pause_ms); k++)
            for (const ingest_task *task = w->aside[k].head; task != NULL; task = task->next)
                look_at_age(now, task, &out->oldest_ns);
    }
    vv_mutex_unlock(&p->lock);
}

const vv_hist *ingest_messages_run_time(const ingest_messages *p)
{
    return &p->run_time;
}

const vv_hist *ingest_messages_latency(const ingest_messages *p)
{
    return &p->latency;
}
