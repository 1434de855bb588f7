/*
 * vio_queue.h - many reads and writes at once: submit requests, go on, collect the answers.
 *
 *     caller                       queue (one thread's)                     device
 *     vio_submit  ----------->  waiting, first in first out by class
 *     vio_poll    ----------->  what the schedule admits is started  ----->  in flight
 *                 <-- done() --  answered                            <-----
 *
 * A blocking read keeps one request in flight; a disk answers ten times as many when it has 32. The
 * blocking calls of vio.h stay the simple front for everything that waits for one answer.
 *
 * Backends: blocking calls inside vio_poll (posix), a pool of threads, io_uring, and the simulated
 * disk, which lets requests take effect and finish in any order its seed says.
 *
 * Rules: a queue belongs to the thread that opened it; every call and every done() runs there.
 * done() may submit, it must not poll. Requests in flight are ordered by nothing: who needs one
 * write before another waits for it.
 */
#ifndef VARVE_IO_VIO_QUEUE_H
#define VARVE_IO_VIO_QUEUE_H

#include "io/vio.h"
#include "io/vio_sched.h"

#define VIO_QUEUE_DEPTH 128u             /* requests a thread's queue holds */
#define VIO_BUFFER_SIZE (16u * 1024)     /* bytes of a queue's own buffer */
#define VIO_BUFFER_COUNT VIO_QUEUE_DEPTH /* buffers a queue has */

typedef enum vio_op {
    VIO_OP_READ,  /* got is less than len only at the end of the file */
    VIO_OP_WRITE, /* all len bytes or a failure */
    VIO_OP_SYNC,  /* vio_sync; offset, buf and len are not used */
} vio_op;

typedef struct vio_req vio_req;

/* One transfer. The caller fills the first part and leaves all of it, the file and the buffer alone
 * until done(). The rules of the file hold: direct files want aligned offsets, lengths, buffers. */
struct vio_req {
    vio_op op;
    vio_class cls;
    vio_file *file;
    uint64_t offset;
    void *buf; /* written from by VIO_OP_WRITE */
    size_t len;
    void (*done)(vio_req *req);
    void *ctx;

    /* The answer, valid in done() and after it. */
    vv_status status; /* VV_CLOSED: the queue was closed before it was started */
    size_t got;       /* bytes read */
    vv_error err;     /* filled when status is not VV_OK */

    /* The queue's own. */
    vio_req *next;
    struct vio_queue *queue;
    size_t moved; /* bytes transferred so far, when the kernel answered short */
    unsigned idle;
    bool ran;
};

typedef struct vio_queue vio_queue;

/* A backend. Everything is called from the queue's thread. */
typedef struct vio_queue_ops {
    const char *name;
    /* Begin one request. What fails is an answer: vio_queue_answer. */
    void (*start)(vio_queue *q, vio_req *req);
    /* Pass to the device what was started, then answer what is finished; block until one is when
     * wait is true and something was started. */
    void (*reap)(vio_queue *q, bool wait);
    void (*close)(vio_queue *q); /* nothing is started */
    /* q->buffers was made: NULL where the device gains nothing by knowing. */
    void (*register_buffers)(vio_queue *q);
    /* A descriptor that is readable once what was started has an answer; -1. NULL: there is none.
     */
    int (*fd)(vio_queue *q);
} vio_queue_ops;

typedef struct vio_req_list {
    vio_req *head;
    vio_req *tail;
} vio_req_list;

struct vio_queue {
    const vio_queue_ops *ops;
    vio *io;
    unsigned depth;
    unsigned held;              /* submitted, done() not yet run */
    unsigned started;           /* begun by the backend, not yet answered */
    unsigned aside;             /* begun on threads of vio_aside.c, not yet answered */
    int wake_fd;                /* what vio_queue_fd gave; -1: nobody asked */
    struct vio_aside_box *box;  /* of vio_aside.c; NULL: none yet */
    vio_req_list aside_waiting; /* on files that no backend knows */
    vio_req_list waiting[VIO_CLASSES];
    vio_req_list answered;
    uint8_t *buffers; /* VIO_BUFFER_COUNT of them, made with the first; NULL: none yet */
    uint64_t buffers_taken[VIO_BUFFER_COUNT / 64]; /* a bit each */
    bool buffers_refused;                          /* no memory for them: not asked for again */
};

/**
 * The calling thread's queue of io, opened at the first call. *out belongs to the thread: it is
 * closed when the thread ends or the vio is destroyed, whichever comes first. Who uses it leaves it
 * empty (vio_drain) before another part of the program may rely on its whole depth.
 *
 * @return VV_NO_MEMORY. A kernel that refuses a ring is no failure: the queue is a slower one.
 */
VV_MUST_CHECK vv_status vio_queue_of_thread(vio *io, vio_queue **out, vv_error *err);

/** A queue of depth requests (1..VIO_QUEUE_DEPTH) for this thread alone. Gives *out:
 * vio_queue_close, from the same thread. */
VV_MUST_CHECK vv_status vio_queue_open(vio *io, unsigned depth, vio_queue **out, vv_error *err);

/** Answers what waits with VV_CLOSED, waits for what was started, runs every done(). Accepts NULL.
 */
void vio_queue_close(vio_queue *q);

/**
 * Hand over count requests. All or nothing: VV_BUSY when they do not fit beside those held (poll,
 * then try again), and none was taken. Costs no system call: the next vio_poll starts them.
 */
VV_MUST_CHECK vv_status vio_submit(vio_queue *q, vio_req *const *reqs, unsigned count,
                                   vv_error *err);

/**
 * Start what may start, run done() of what is finished. Blocks until at least wait_count requests
 * are done, or all that are held; 0 never waits for the device (the blocking backend does its work
 * here). Returns how many were done.
 */
unsigned vio_poll(vio_queue *q, unsigned wait_count);

/**
 * For a thread that sleeps in poll or epoll: a descriptor that becomes readable when a request that
 * is in flight has an answer, which the next vio_poll takes. Belongs to the queue. -1 where there
 * is none: what is not done by a vio_poll then never is without another one.
 */
int vio_queue_fd(vio_queue *q);

/** True when requests wait and none is in flight: only a vio_poll that waits goes on. */
static inline bool vio_queue_is_stalled(const vio_queue *q)
{
    return q->held > q->aside && q->started == 0 && q->answered.head == NULL;
}

/** Poll until nothing is held. */
void vio_drain(vio_queue *q);

/** Requests that fit now. */
static inline unsigned vio_queue_room(const vio_queue *q)
{
    return q->depth - q->held;
}

/** One read, ranked as cls, through the queue of this thread: for a thread that has other requests
 * there, which go on meanwhile. As vio_pread otherwise. */
VV_MUST_CHECK vv_status vio_read_ranked(vio *io, vio_class cls, vio_file *file, uint64_t offset,
                                        void *buf, size_t len, size_t *got, vv_error *err);

/** One write, likewise: for background work, whose bytes shall not stand before a read. As
 * vio_pwrite otherwise. */
VV_MUST_CHECK vv_status vio_write_ranked(vio *io, vio_class cls, vio_file *file, uint64_t offset,
                                         const void *buf, size_t len, vv_error *err);

/**
 * One of the queue's own buffers: VIO_BUFFER_SIZE bytes at a multiple of VV_BLOCK, which the ring
 * has registered (a read into one costs the kernel a fifth less). NULL when all are taken or memory
 * is short: use memory of your own. The first call takes 2 MiB until the queue is closed.
 */
uint8_t *vio_buffer_take(vio_queue *q);
void vio_buffer_give(vio_queue *q, uint8_t *buffer);

/* ---- for backends ---- */

static inline void vio_req_push(vio_req_list *l, vio_req *req)
{
    req->next = NULL;
    if (l->tail == NULL)
        l->head = req;
    else
        l->tail->next = req;
    l->tail = req;
}

static inline vio_req *vio_req_pop(vio_req_list *l)
{
    vio_req *req = l->head;
    if (req == NULL)
        return NULL;
    l->head = req->next;
    if (l->head == NULL)
        l->tail = NULL;
    return req;
}

/** The request as the blocking call it is. */
void vio_req_run(vio_req *req);

/** A request has its answer: status, got, err are filled. */
void vio_queue_answer(vio_queue *q, vio_req *req);
/** Close every queue of a vio: its destroy calls it. No thread may be in a call. */
void vio_queues_close_all(vio *io);
/** A queue that runs each request in vio_poll by run(), which fills the answer. */
VV_MUST_CHECK vv_status vio_queue_inline_open(vio *io, unsigned depth, void (*run)(vio_req *req),
                                              vio_queue **out, vv_error *err);
/** Initialise the common part. */
void vio_queue_init(vio_queue *q, const vio_queue_ops *ops, vio *io, unsigned depth);

#endif
