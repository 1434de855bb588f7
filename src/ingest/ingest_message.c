/*
 * ingest_message.c - see ingest_message.h.
 *
 * One lock for all queues: it is held for some instructions a request, and requests hold many
 * messages. It is a leaf, because requests leave from the commit thread.
 */
#include "ingest/ingest_message.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/lock.h"
#include "base/util.h"

#define WORKERS_DEFAULT 2u
#define QUEUE_BYTES_DEFAULT (64 * VV_MIB)
#define GIVE_UP_NS (10 * VV_NS_PER_S)
#define PAUSE_NS (2 * VV_NS_PER_MS)

typedef struct worker {
    ingest_messages *p;
    vv_thread *thread;
    vv_cond wake;      /* a task came, or the end */
    ingest_task *head; /* under lock, like the tail */
    ingest_task *tail;
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

static void push(ingest_messages *p, worker *w, ingest_task *task)
{
    task->next = NULL;
    if (w->tail == NULL)
        w->head = task;
    else
        w->tail->next = task;
    w->tail = task;
    p->waiting++;
    p->waiting_bytes += task->bytes;
}

static ingest_task *pop(ingest_messages *p, worker *w)
{
    ingest_task *task = w->head;
    w->head = task->next;
    if (w->head == NULL)
        w->tail = NULL;
    p->waiting--;
    p->waiting_bytes -= task->bytes;
    p->inside++;
    p->inside_bytes += task->bytes;
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

/* The store is full for a while: something that leaves may make it less so. */
static void pause_a_little(ingest_messages *p)
{
    vv_mutex_lock(&p->lock);
    p->retried++;
    p->room_waiters++;
    (void)vv_cond_wait_for(&p->room, &p->lock, PAUSE_NS);
    p->room_waiters--;
    vv_mutex_unlock(&p->lock);
}

/* The task may be gone when its run answers VV_OK. */
static void run_task(ingest_messages *p, ingest_task *task)
{
    uint64_t bytes = task->bytes;
    vv_error err = {0};
    int64_t begin = vv_clock_mono(p->opt.clock);
    const int64_t arrival = task->arrival_ns; /* who waited behind others has one try left */
    vv_status st = task->run(task, &err);
    while (st == VV_BUSY && p->opt.threads != NULL &&
           vv_clock_mono(p->opt.clock) - arrival < GIVE_UP_NS) {
        pause_a_little(p);
        st = task->run(task, &err);
    }
    int64_t end = vv_clock_mono(p->opt.clock);
    vv_hist_add(&p->run_time, (uint64_t)(end - begin));
    if (st != VV_OK)
        refuse(p, task, bytes, st, &err);
}

static void worker_main(void *arg)
{
    worker *w = arg;
    ingest_messages *p = w->p;
    vv_mutex_lock(&p->lock);
    for (;;) {
        while (w->head == NULL && !p->is_stopping)
            vv_cond_wait(&w->wake, &p->lock);
        if (w->head == NULL)
            break;
        while (!has_room(p, w->head))
            wait_for_room(p);
        ingest_task *task = pop(p, w);
        p->taken++;
        vv_mutex_unlock(&p->lock);
        run_task(p, task);
        vv_mutex_lock(&p->lock);
    }
    vv_mutex_unlock(&p->lock);
}

bool ingest_messages_step(ingest_messages *p)
{
    bool any = false;
    for (uint32_t i = 0; i < p->opt.workers; i++) {
        worker *w = &p->workers[i];
        ingest_task *task = NULL;
        vv_mutex_lock(&p->lock);
        if (w->head != NULL && has_room(p, w->head)) {
            task = pop(p, w);
            p->taken++;
        }
        vv_mutex_unlock(&p->lock);
        if (task != NULL)
            run_task(p, task);
        any |= task != NULL;
    }
    return any;
}

void ingest_messages_submit(ingest_messages *p, ingest_task *task)
{
    worker *w = &p->workers[task->order % p->opt.workers];
    task->arrival_ns = vv_clock_mono(p->opt.clock);
    vv_mutex_lock(&p->lock);
    assert(!p->is_stopping);
    push(p, w, task);
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
    if (p->opt.threads == NULL)
        while (ingest_messages_step(p))
            ;
    vv_mutex_lock(&p->lock);
    p->is_stopping = true;
    for (uint32_t i = 0; i < p->opt.workers; i++)
        vv_cond_signal(&p->workers[i].wake);
    vv_mutex_unlock(&p->lock);
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
        const ingest_task *first = p->workers[i].head;
        if (first != NULL && now - first->arrival_ns > out->oldest_ns)
            out->oldest_ns = now - first->arrival_ns;
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
