/*
 * vio_posix_ring.c - queues that are io_uring rings, one a thread.
 *
 * SINGLE_ISSUER and DEFER_TASKRUN: only the thread that made the ring uses it, and the kernel's
 * part of a completion runs when that thread asks for answers, not in the middle of its other work.
 * Kernels before 6.1 know neither: they get a plain ring. One system call submits and waits.
 *
 * The queue's own buffers are registered: the kernel then need not look up and pin their pages for
 * each read: a tenth of its CPU at 4 KiB, a fifth at 12 KiB (docs/PERFORMANCE.md). Files are not
 * registered: it made no measurable difference and would cost an update for each run that comes
 * and goes.
 *
 * A kernel or a sandbox may refuse rings altogether (seccomp: EPERM, a disabled sysctl: EPERM, an
 * old kernel: ENOSYS, locked memory: ENOMEM). posix_ring_probe finds out when the vio is made.
 */
#include "io/vio_posix_int.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"

#ifdef VARVE_HAVE_URING
#include <liburing.h>

typedef struct ring_queue {
    vio_queue base;
    struct io_uring ring;
    bool has_buffers;  /* registered as buffer 0 */
    vio_req *to_start; /* started, and no place in the submission queue yet */
    vio_req *to_end;
    int event; /* readable when a completion came outside of ring_reap; -1: nobody asked for it */
    unsigned in_kernel; /* submitted to the kernel or prepared for it, and not answered */
} ring_queue;

static ring_queue *queue_of(vio_queue *q)
{
    return VV_CONTAINER_OF(q, ring_queue, base);
}

static int init_ring(struct io_uring *ring, unsigned depth)
{
    static const unsigned flags[] = {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                         IORING_SETUP_TASKRUN_FLAG,
                                     IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, 0};
    int rc = -EINVAL;
    for (size_t i = 0; i < ARRAY_LEN(flags) && rc == -EINVAL; i++)
        rc = io_uring_queue_init(depth, ring, flags[i]);
    return rc;
}

static vv_status refuse(int rc, vv_error *err)
{
    const char *why = rc == -EPERM    ? " (a sandbox or kernel.io_uring_disabled forbids it)"
                      : rc == -ENOSYS ? " (the kernel has none)"
                      : rc == -ENOMEM ? " (raise the limit on locked memory)"
                                      : "";
    return vv_fail_sys(err, VV_UNSUPPORTED, -rc, "io_uring%s", why);
}

vv_status posix_ring_probe(vv_error *err)
{
    static const int needed[] = {IORING_OP_READ, IORING_OP_WRITE, IORING_OP_FSYNC,
                                 IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED};
    struct io_uring ring;
    int rc = init_ring(&ring, 2);
    if (rc < 0)
        return refuse(rc, err);
    vv_status st = VV_OK;
    struct io_uring_probe *probe = io_uring_get_probe_ring(&ring);
    for (size_t i = 0; probe != NULL && i < ARRAY_LEN(needed); i++)
        if (!io_uring_opcode_supported(probe, needed[i]))
            st = vv_fail(err, VV_UNSUPPORTED, "io_uring: the kernel lacks operation %d", needed[i]);
    if (probe == NULL)
        st = vv_fail(err, VV_UNSUPPORTED, "io_uring: the kernel does not say what it can do");
    io_uring_free_probe(probe);
    io_uring_queue_exit(&ring);
    return st;
}

/* The next call of a request, into the submission queue. False: that one is full. */
static bool prepare(ring_queue *r, vio_req *req)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);
    if (sqe == NULL)
        return false;
    posix_transfer t = posix_transfer_of(req);
    uint8_t *at = posix_transfer_at(&t);
    unsigned len = (unsigned)posix_transfer_size(&t);
    uint64_t offset = req->offset + req->moved;
    const uint8_t *own = r->base.buffers;
    bool fixed =
        r->has_buffers && at >= own && at + len <= own + (size_t)VIO_BUFFER_COUNT * VIO_BUFFER_SIZE;
    int fd = posix_fd_of(t.file);
    switch (req->op) {
    case VIO_OP_READ:
        if (fixed)
            io_uring_prep_read_fixed(sqe, fd, at, len, offset, 0);
        else
            io_uring_prep_read(sqe, fd, at, len, offset);
        break;
    case VIO_OP_WRITE:
        if (fixed)
            io_uring_prep_write_fixed(sqe, fd, at, len, offset, 0);
        else
            io_uring_prep_write(sqe, fd, at, len, offset);
        break;
    case VIO_OP_SYNC:
        io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
        break;
    }
    io_uring_sqe_set_data(sqe, req);
    r->in_kernel++;
    return true;
}

static void push(ring_queue *r, vio_req *req)
{
    req->next = NULL;
    if (r->to_start == NULL)
        r->to_start = req;
    else
        r->to_end->next = req;
    r->to_end = req;
}

static void ring_start(vio_queue *q, vio_req *req)
{
    posix_transfer t = posix_transfer_of(req);
    req->status = posix_transfer_begin(&t, &req->err);
    if (req->status == VV_OK && (req->len != 0 || req->op == VIO_OP_SYNC)) {
        push(queue_of(q), req);
        return;
    }
    if (req->status == VV_OK)
        posix_transfer_end(&t);
    vio_queue_answer(q, req);
}

static void prepare_all(ring_queue *r)
{
    while (r->to_start != NULL && prepare(r, r->to_start))
        r->to_start = r->to_start->next;
}

/* One answer of the kernel: the request has its own, or goes on where it stands. */
static void take_answer(ring_queue *r, vio_req *req, int res)
{
    posix_transfer t = posix_transfer_of(req);
    posix_step step = posix_transfer_answered(&t, res);
    r->in_kernel--;
    req->moved = t.moved;
    req->idle = t.idle;
    if (step == POSIX_MORE) {
        push(r, req);
        return;
    }
    posix_transfer_end(&t);
    req->status = step == POSIX_DONE ? VV_OK : posix_transfer_fail(&t, &req->err);
    req->got = req->op == VIO_OP_READ ? t.moved : 0;
    vio_queue_answer(&r->base, req);
}

static void take_answers(ring_queue *r)
{
    struct io_uring_cqe *cqe;
    unsigned head;
    unsigned count = 0;
    io_uring_for_each_cqe(&r->ring, head, cqe)
    {
        take_answer(r, io_uring_cqe_get_data(cqe), cqe->res);
        count++;
    }
    io_uring_cq_advance(&r->ring, count);
}

static bool has_answered(const ring_queue *r)
{
    return r->base.answered.head != NULL;
}

/* The ring itself fails (which no kernel should do): what it never took is done by blocking calls,
 * what it took is waited for. */
static void run_rest_blocking(ring_queue *r)
{
    while (r->to_start != NULL) {
        vio_req *req = r->to_start;
        r->to_start = req->next;
        posix_run_request(req);
        posix_fd_release(posix_file_of(req->file)); /* of ring_start */
        vio_queue_answer(&r->base, req);
    }
}

/* Quiet while we take answers ourselves: what the kernel then posts needs no telling. */
static void hush_event(ring_queue *r)
{
    if (r->event >= 0)
        (void)io_uring_cq_eventfd_toggle(&r->ring, false);
}

/* From here on the event is told again; what came while it was hushed is told by us. */
static void arm_event(ring_queue *r)
{
    if (r->event < 0)
        return;
    eventfd_t count;
    (void)!eventfd_read(r->event, &count);
    (void)io_uring_cq_eventfd_toggle(&r->ring, true);
    atomic_thread_fence(
        memory_order_seq_cst); /* the kernel leaves work, then looks at the toggle */
    bool has_work = (IO_URING_READ_ONCE(*r->ring.sq.kflags) & IORING_SQ_TASKRUN) != 0;
    if (has_work || io_uring_cq_ready(&r->ring) > 0)
        (void)!eventfd_write(r->event, 1);
}

static void ring_reap(vio_queue *q, bool wait)
{
    ring_queue *r = queue_of(q);
    hush_event(r);
    while (r->base.started > 0) {
        prepare_all(r);
        bool block = wait && !has_answered(r) && r->in_kernel > 0;
        int rc = block ? io_uring_submit_and_wait(&r->ring, 1)
                       : io_uring_submit_and_get_events(&r->ring);
        take_answers(r);
        if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY && r->in_kernel == 0)
            run_rest_blocking(r);
        /* A request that goes on after a short answer has its next call before we return. */
        if (r->to_start == NULL && (!wait || has_answered(r)))
            break;
    }
    arm_event(r);
}

/* An event of its own: to poll the ring itself does not wake on completions that run only when
 * they are asked for. */
static int ring_fd(vio_queue *q)
{
    ring_queue *r = queue_of(q);
    if (r->event >= 0)
        return r->event;
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd >= 0 && io_uring_register_eventfd(&r->ring, fd) != 0) {
        (void)close(fd);
        fd = -1;
    }
    r->event = fd;
    arm_event(r);
    return fd;
}

static void ring_close(vio_queue *q)
{
    ring_queue *r = queue_of(q);
    io_uring_queue_exit(&r->ring);
    if (r->event >= 0)
        (void)close(r->event);
    vv_free(r);
}

/* Refused (an old kernel counts them as locked memory): they are only slower. */
static void ring_register(vio_queue *q)
{
    ring_queue *r = queue_of(q);
    struct iovec all = {q->buffers, (size_t)VIO_BUFFER_COUNT * VIO_BUFFER_SIZE};
    r->has_buffers = io_uring_register_buffers(&r->ring, &all, 1) == 0;
}

vv_status posix_ring_queue_open(vio *io, unsigned depth, vio_queue **out, vv_error *err)
{
    static const vio_queue_ops ops = {.name = "io_uring",
                                      .start = ring_start,
                                      .reap = ring_reap,
                                      .close = ring_close,
                                      .register_buffers = ring_register,
                                      .fd = ring_fd};
    ring_queue *r = vv_alloc(sizeof *r);
    if (r == NULL)
        return vv_fail(err, VV_NO_MEMORY, "I/O queue: no memory");
    *r = (ring_queue){.event = -1};
    vio_queue_init(&r->base, &ops, io, depth);
    int rc = init_ring(&r->ring, depth);
    if (rc < 0) {
        vv_free(r);
        return refuse(rc, err);
    }
    *out = &r->base;
    return VV_OK;
}

#else

vv_status posix_ring_probe(vv_error *err)
{
    return vv_fail(err, VV_UNSUPPORTED, "io_uring: this build is without liburing");
}

vv_status posix_ring_queue_open(vio *io, unsigned depth, vio_queue **out, vv_error *err)
{
    (void)io;
    (void)depth;
    (void)out;
    return posix_ring_probe(err);
}

#endif
