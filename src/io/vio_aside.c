/*
 * vio_aside.c - requests on files that are none of their vio: an object in a store that looks like
 * a file (vio_ops.is_aside).
 *
 *   vio_poll --start--> list of the vio --a thread--> blocking call --> box of the queue --> answer
 *                                                          |
 *                                                          +--> the descriptor of the queue
 *
 * No ring can read such a file, and a read of it may take a second: a thread that has other
 * requests in its queue, or sleeps on its descriptor, must not wait for one. They are not ranked
 * with transfers of the disk, which they do not use. The threads are made as requests find none
 * idle, up to THREADS_MAX, and stay.
 *
 * The descriptor belongs to the backend, which empties it whenever it is asked for answers. So
 * what is written here is emptied before that (hush), and the box is looked at after it: an answer
 * that comes in between is taken though the descriptor may tell of it once more.
 */
#include "io/vio_aside.h"

#include <assert.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "base/alloc.h"
#include "base/lock.h"
#include "base/util.h"
#include "io/env.h"

#define THREADS_MAX 16u

typedef struct vio_aside {
    vv_mutex lock; /* VV_RANK_LEAF */
    vv_cond work;
    vio_req_list waiting; /* under lock, as all below */
    unsigned pending;     /* in the list */
    unsigned idle;        /* threads that wait for work */
    unsigned thread_count;
    bool is_stopping;
    vv_thread *threads[THREADS_MAX];
} vio_aside;

/* Of a queue. */
typedef struct vio_aside_box {
    vio_aside *aside;
    vv_cond answer;        /* with aside->lock */
    vio_req_list finished; /* under aside->lock, as all below */
    bool is_waiting;       /* the queue's thread sleeps for an answer */
    bool has_told;         /* fd was written to since the last hush */
    int fd;                /* -1: nobody asked */
} vio_aside_box;

static void finish(vio_aside *a, vio_req *req) VV_REQUIRES(a->lock)
{
    (void)a;
    vio_aside_box *box = req->queue->box;
    vio_req_push(&box->finished, req);
    if (box->fd >= 0) { /* each time: the backend may have emptied it since */
        box->has_told = true;
        (void)!eventfd_write(box->fd, 1);
    }
    if (box->is_waiting)
        vv_cond_signal(&box->answer);
}

static void run_requests(void *arg)
{
    vio_aside *a = arg;
    vv_mutex_lock(&a->lock);
    for (;;) {
        vio_req *req = vio_req_pop(&a->waiting);
        if (req != NULL) {
            a->pending--;
            vv_mutex_unlock(&a->lock);
            vio_req_run(req);
            vv_mutex_lock(&a->lock);
            finish(a, req);
        } else if (a->is_stopping) {
            break;
        } else {
            a->idle++;
            vv_cond_wait(&a->work, &a->lock);
            a->idle--;
        }
    }
    vv_mutex_unlock(&a->lock);
}

/* One more thread if the work asks for it. False: there is none, and none can be had. */
static bool grow(vio_aside *a) VV_REQUIRES(a->lock)
{
    if (a->pending < a->idle || a->thread_count == THREADS_MAX)
        return true;
    vv_thread *thread = NULL;
    vv_status st =
        vv_threads_real()->create("io-aside", VV_THREAD_NORMAL, run_requests, a, &thread, NULL);
    if (st != VV_OK)
        return a->thread_count > 0;
    a->threads[a->thread_count++] = thread;
    return true;
}

static void free_aside(vio_aside *a)
{
    vv_cond_fini(&a->work);
    vv_mutex_fini(&a->lock);
    vv_free(a);
}

/* The threads of a vio, made by whoever needs them first. NULL: no memory. */
static vio_aside *aside_of(vio *io)
{
    vio_aside *a = atomic_load_explicit(&io->aside, memory_order_acquire);
    if (a != NULL)
        return a;
    vio_aside *mine = vv_calloc(1, sizeof *mine);
    if (mine == NULL)
        return NULL;
    vv_mutex_init(&mine->lock, VV_RANK_LEAF);
    vv_cond_init(&mine->work);
    if (atomic_compare_exchange_strong_explicit(&io->aside, &a, mine, memory_order_acq_rel,
                                                memory_order_acquire))
        return mine;
    free_aside(mine);
    return a;
}

static bool make_box(vio_queue *q)
{
    if (q->box != NULL)
        return true;
    vio_aside *a = aside_of(q->io);
    vio_aside_box *box = a == NULL ? NULL : vv_calloc(1, sizeof *box);
    if (box == NULL)
        return false;
    box->aside = a;
    box->fd = q->wake_fd;
    vv_cond_init(&box->answer);
    q->box = box;
    return true;
}

void vio_aside_start(vio_queue *q, vio_req *req)
{
    bool is_taken = false;
    if (q->ops->fd != NULL && make_box(q)) {
        vio_aside *a = q->box->aside;
        vv_mutex_lock(&a->lock);
        is_taken = grow(a);
        if (is_taken) {
            vio_req_push(&a->waiting, req);
            a->pending++;
            vv_cond_signal(&a->work);
        }
        vv_mutex_unlock(&a->lock);
    }
    if (is_taken) {
        q->aside++;
        return;
    }
    vio_req_run(req);
    vio_req_push(&q->answered, req);
}

void vio_aside_hush(vio_queue *q)
{
    vio_aside_box *box = q->box;
    if (box == NULL)
        return;
    eventfd_t count;
    vv_mutex_lock(&box->aside->lock);
    if (box->has_told)
        (void)!eventfd_read(box->fd, &count);
    box->has_told = false;
    vv_mutex_unlock(&box->aside->lock);
}

void vio_aside_reap(vio_queue *q, bool wait)
{
    vio_aside_box *box = q->box;
    if (q->aside == 0)
        return;
    assert(box != NULL);
    vv_mutex_lock(&box->aside->lock);
    while (wait && box->finished.head == NULL) {
        box->is_waiting = true;
        vv_cond_wait(&box->answer, &box->aside->lock);
        box->is_waiting = false;
    }
    vio_req_list list = box->finished;
    box->finished = (vio_req_list){0};
    vv_mutex_unlock(&box->aside->lock);
    vio_req *req;
    while ((req = vio_req_pop(&list)) != NULL) {
        q->aside--;
        vio_req_push(&q->answered, req);
    }
}

void vio_aside_tell_by(vio_queue *q, int fd)
{
    if (q->box == NULL)
        return;
    vv_mutex_lock(&q->box->aside->lock);
    q->box->fd = fd;
    if (fd >= 0 && q->box->finished.head != NULL) { /* answered before anybody could sleep on it */
        q->box->has_told = true;
        (void)!eventfd_write(fd, 1);
    }
    vv_mutex_unlock(&q->box->aside->lock);
}

void vio_aside_close(vio_queue *q)
{
    if (q->box == NULL)
        return;
    assert(q->aside == 0);
    vv_cond_fini(&q->box->answer);
    vv_free(q->box);
    q->box = NULL;
}

void vio_aside_destroy(vio *io)
{
    vio_aside *a = atomic_exchange_explicit(&io->aside, NULL, memory_order_acq_rel);
    if (a == NULL)
        return;
    vv_mutex_lock(&a->lock);
    assert(a->pending == 0);
    a->is_stopping = true;
    vv_cond_broadcast(&a->work);
    vv_mutex_unlock(&a->lock);
    for (unsigned i = 0; i < a->thread_count; i++)
        vv_threads_real()->join(a->threads[i]);
    free_aside(a);
}
