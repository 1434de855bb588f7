/*
 * vio_posix_pool.c - queues whose requests are blocking calls of a pool of threads.
 *
 *   queue --start--> pool's list (by class) --a thread--> blocking calls --> queue's finished list
 *
 * For kernels and sandboxes without io_uring: each request costs two hand-overs between threads,
 * some 10 us of CPU, and still keeps the disk's queue full. The pool grows by a thread whenever a
 * request finds none idle, up to POOL_THREADS_MAX, and keeps them: they sleep and cost a stack.
 */
#include "io/vio_posix_int.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "io/env.h"

#define POOL_THREADS_MAX 32u

typedef struct pool_queue {
    vio_queue base;
    posix_pool *pool;
    vv_cond answer;    /* with pool->lock */
    vio_req *finished; /* newest first; under pool->lock */
    bool is_waiting;   /* its thread sleeps for an answer; under pool->lock */
    int event; /* readable while something is finished; -1: nobody asked. Under pool->lock */
} pool_queue;

struct posix_pool {
    vv_mutex lock; /* VV_RANK_LEAF */
    vv_cond work;
    vio_req *head[VIO_CLASSES]; /* under lock, as all below */
    vio_req *tail[VIO_CLASSES];
    unsigned pending; /* in the lists */
    unsigned idle;    /* threads that wait for work */
    unsigned thread_count;
    bool is_stopping;
    vv_thread *threads[POOL_THREADS_MAX];
};

static pool_queue *queue_of(vio_queue *q)
{
    return VV_CONTAINER_OF(q, pool_queue, base);
}

vv_status posix_pool_create(posix_pool **out, vv_error *err)
{
    posix_pool *pool = vv_calloc(1, sizeof *pool);
    if (pool == NULL)
        return vv_fail(err, VV_NO_MEMORY, "I/O threads: no memory");
    vv_mutex_init(&pool->lock, VV_RANK_LEAF);
    vv_cond_init(&pool->work);
    *out = pool;
    return VV_OK;
}

void posix_pool_destroy(posix_pool *pool)
{
    if (pool == NULL)
        return;
    vv_mutex_lock(&pool->lock);
    assert(pool->pending == 0);
    pool->is_stopping = true;
    vv_cond_broadcast(&pool->work);
    vv_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->thread_count; i++)
        vv_threads_real()->join(pool->threads[i]);
    vv_cond_fini(&pool->work);
    vv_mutex_fini(&pool->lock);
    vv_free(pool);
}

static vio_req *pop(posix_pool *pool) VV_REQUIRES(pool->lock)
{
    for (unsigned cls = 0; cls < VIO_CLASSES; cls++) {
        vio_req *req = pool->head[cls];
        if (req == NULL)
            continue;
        pool->head[cls] = req->next;
        if (req->next == NULL)
            pool->tail[cls] = NULL;
        pool->pending--;
        return req;
    }
    return NULL;
}

static void finish(posix_pool *pool, vio_req *req) VV_REQUIRES(pool->lock)
{
    (void)pool;
    pool_queue *q = queue_of(req->queue);
    if (q->finished == NULL && q->event >= 0)
        (void)!eventfd_write(q->event, 1);
    req->next = q->finished;
    q->finished = req;
    if (q->is_waiting)
        vv_cond_signal(&q->answer);
}

static void pool_thread(void *arg)
{
    posix_pool *pool = arg;
    vv_mutex_lock(&pool->lock);
    for (;;) {
        vio_req *req = pop(pool);
        if (req != NULL) {
            vv_mutex_unlock(&pool->lock);
            posix_run_request(req);
            vv_mutex_lock(&pool->lock);
            finish(pool, req);
        } else if (pool->is_stopping) {
            break;
        } else {
            pool->idle++;
            vv_cond_wait(&pool->work, &pool->lock);
            pool->idle--;
        }
    }
    vv_mutex_unlock(&pool->lock);
}

/* One more thread if the work asks for it. False: there is none at all, and none can be had. */
static bool grow(posix_pool *pool) VV_REQUIRES(pool->lock)
{
    if (pool->pending <= pool->idle || pool->thread_count == POOL_THREADS_MAX)
        return true;
    vv_thread *thread = NULL;
    vv_status st =
        vv_threads_real()->create("io", VV_THREAD_NORMAL, pool_thread, pool, &thread, NULL);
    if (st != VV_OK)
        return pool->thread_count > 0;
    pool->threads[pool->thread_count++] = thread;
    return true;
}

static void pool_start(vio_queue *q, vio_req *req)
{
    posix_pool *pool = queue_of(q)->pool;
    req->next = NULL;
    vv_mutex_lock(&pool->lock);
    if (pool->tail[req->cls] == NULL)
        pool->head[req->cls] = req;
    else
        pool->tail[req->cls]->next = req;
    pool->tail[req->cls] = req;
    pool->pending++;
    if (grow(pool)) {
        vv_cond_signal(&pool->work);
    } else { /* without a thread the caller does the work */
        vio_req *mine = pop(pool);
        vv_mutex_unlock(&pool->lock);
        posix_run_request(mine);
        vv_mutex_lock(&pool->lock);
        finish(pool, mine);
    }
    vv_mutex_unlock(&pool->lock);
}

static void pool_reap(vio_queue *q, bool wait)
{
    pool_queue *p = queue_of(q);
    vv_mutex_lock(&p->pool->lock);
    while (wait && p->finished == NULL) {
        p->is_waiting = true;
        vv_cond_wait(&p->answer, &p->pool->lock);
        p->is_waiting = false;
    }
    vio_req *req = p->finished;
    p->finished = NULL;
    eventfd_t count;
    if (req != NULL && p->event >= 0)
        (void)!eventfd_read(p->event, &count);
    vv_mutex_unlock(&p->pool->lock);
    while (req != NULL) {
        vio_req *next = req->next;
        vio_queue_answer(q, req);
        req = next;
    }
}

/* Made when it is asked for: most queues have a thread that waits in vio_poll. */
static int pool_fd(vio_queue *q)
{
    pool_queue *p = queue_of(q);
    vv_mutex_lock(&p->pool->lock);
    if (p->event < 0)
        p->event = eventfd(p->finished != NULL, EFD_NONBLOCK | EFD_CLOEXEC);
    int fd = p->event;
    vv_mutex_unlock(&p->pool->lock);
    return fd;
}

static void pool_queue_close(vio_queue *q)
{
    vv_cond_fini(&queue_of(q)->answer);
    if (queue_of(q)->event >= 0)
        (void)close(queue_of(q)->event);
    vv_free(queue_of(q));
}

vv_status posix_pool_queue_open(vio *io, unsigned depth, vio_queue **out, vv_error *err)
{
    static const vio_queue_ops ops = {.name = "threads",
                                      .start = pool_start,
                                      .reap = pool_reap,
                                      .close = pool_queue_close,
                                      .fd = pool_fd};
    pool_queue *q = vv_alloc(sizeof *q);
    if (q == NULL)
        return vv_fail(err, VV_NO_MEMORY, "I/O queue: no memory");
    *q = (pool_queue){.pool = posix_io_of(io)->pool, .event = -1};
    vio_queue_init(&q->base, &ops, io, depth);
    vv_cond_init(&q->answer);
    *out = &q->base;
    return VV_OK;
}
