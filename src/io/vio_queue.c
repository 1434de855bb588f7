/*
 * vio_queue.c - what all queues share: waiting by class, starting, answering; whose queue it is.
 *
 *   waiting --(the schedule admits it)--> started --(the backend answers)--> answered --> done()
 *      |                                                                        ^
 *      +--------------------(the queue is closed: VV_CLOSED)--------------------+
 *
 * A thread keeps its queues in a list of its own; each entry also stands in the list of its vio.
 * Either may go first: the thread (a key's destructor closes the queues) or the vio (it closes
 * them and leaves the empty entry to the thread). One lock for all guards both kinds of list; it
 * is taken when a queue is made or goes, never to use one.
 */
#include "io/vio_queue.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "io/vio_aside.h"

void vio_queue_init(vio_queue *q, const vio_queue_ops *ops, vio *io, unsigned depth)
{
    assert(depth > 0 && depth <= VIO_QUEUE_DEPTH);
    *q = (vio_queue){.ops = ops, .io = io, .depth = depth, .wake_fd = -1};
}

vv_status vio_submit(vio_queue *q, vio_req *const *reqs, unsigned count, vv_error *err)
{
    assert(q != NULL);
    if (count > vio_queue_room(q))
        return vv_fail(err, VV_BUSY, "I/O queue: %u requests do not fit, %u of %u are in flight",
                       count, q->held, q->depth);
    for (unsigned i = 0; i < count; i++) {
        vio_req *req = reqs[i];
        assert(req->done != NULL && req->file != NULL && (unsigned)req->cls < VIO_CLASSES);
        req->status = VV_OK;
        req->got = 0;
        req->queue = q;
        req->moved = 0;
        req->idle = 0;
        req->ran = false;
        vio_req_push(req->file->ops->is_aside ? &q->aside_waiting : &q->waiting[req->cls], req);
    }
    q->held += count;
    return VV_OK;
}

void vio_queue_answer(vio_queue *q, vio_req *req)
{
    assert(q->started > 0);
    q->started--;
    vio_sched_leave(q->io->sched, req->cls);
    vio_req_push(&q->answered, req);
}

/* Start what the schedule admits, higher classes first. */
static void start_waiting(vio_queue *q)
{
    vio_req *req;
    while ((req = vio_req_pop(&q->aside_waiting)) != NULL)
        vio_aside_start(q, req);
    for (unsigned cls = 0; cls < VIO_CLASSES; cls++) {
        while (q->waiting[cls].head != NULL && vio_sched_try(q->io->sched, (vio_class)cls)) {
            q->started++;
            q->ops->start(q, vio_req_pop(&q->waiting[cls]));
        }
    }
}

/* Nothing of ours is in flight and the schedule holds us back: wait for our turn. */
static void start_one_blocking(vio_queue *q)
{
    for (unsigned cls = 0; cls < VIO_CLASSES; cls++) {
        if (q->waiting[cls].head == NULL)
            continue;
        vio_sched_enter(q->io->sched, (vio_class)cls);
        q->started++;
        q->ops->start(q, vio_req_pop(&q->waiting[cls]));
        return;
    }
}

/* done() may submit: what it submits is for the next turn. */
static unsigned run_answered(vio_queue *q)
{
    unsigned count = 0;
    vio_req_list list = q->answered;
    q->answered = (vio_req_list){0};
    vio_req *req;
    while ((req = vio_req_pop(&list)) != NULL) {
        q->held--;
        count++;
        req->done(req);
    }
    return count;
}

unsigned vio_poll(vio_queue *q, unsigned wait_count)
{
    unsigned count = 0;
    do {
        start_waiting(q);
        bool wait = count < wait_count && q->answered.head == NULL;
        if (wait && q->started == 0 && q->held > q->aside)
            start_one_blocking(q);
        vio_aside_hush(q);
        q->ops->reap(q, wait && q->started > 0);
        /* Where the backend has something in flight its next answer is near. */
        vio_aside_reap(q, wait && q->started == 0 && q->answered.head == NULL);
        count += run_answered(q);
    } while (count < wait_count && q->held > 0);
    return count;
}

int vio_queue_fd(vio_queue *q)
{
    if (q->ops->fd == NULL)
        return -1;
    q->wake_fd = q->ops->fd(q);
    vio_aside_tell_by(q, q->wake_fd);
    return q->wake_fd;
}

void vio_drain(vio_queue *q)
{
    while (q->held > 0)
        (void)vio_poll(q, q->held);
}

static void note_done(vio_req *req)
{
    *(bool *)req->ctx = true;
}

/* One request through the queue of this thread, waited for. */
static vv_status run_one(vio *io, vio_req *req, vv_error *err)
{
    vio_queue *q = NULL;
    vv_status st = vio_queue_of_thread(io, &q, err);
    bool done = false;
    req->done = note_done;
    req->ctx = &done;
    if (st == VV_OK)
        st = vio_submit(q, &req, 1, err);
    while (st == VV_OK && !done)
        (void)vio_poll(q, 1);
    req->ctx = NULL; /* it ends with this call */
    if (st != VV_OK)
        return st;
    if (req->status != VV_OK && err != NULL)
        *err = req->err;
    return req->status;
}

vv_status vio_read_ranked(vio *io, vio_class cls, vio_file *file, uint64_t offset, void *buf,
                          size_t len, size_t *got, vv_error *err)
{
    vio_req req = {
        .op = VIO_OP_READ, .cls = cls, .file = file, .offset = offset, .buf = buf, .len = len};
    vv_status st = run_one(io, &req, err);
    *got = st == VV_OK ? req.got : 0;
    return st;
}

vv_status vio_write_ranked(vio *io, vio_class cls, vio_file *file, uint64_t offset, const void *buf,
                           size_t len, vv_error *err)
{
    vio_req req = {.op = VIO_OP_WRITE,
                   .cls = cls,
                   .file = file,
                   .offset = offset,
                   .buf = (void *)(uintptr_t)buf, /* only read from */
                   .len = len};
    return run_one(io, &req, err);
}

static void cancel_list(vio_queue *q, vio_req_list *list)
{
    vio_req *req;
    while ((req = vio_req_pop(list)) != NULL) {
        req->status = vv_fail(&req->err, VV_CLOSED, "the I/O queue was closed");
        vio_req_push(&q->answered, req);
    }
}

static void cancel_waiting(vio_queue *q)
{
    cancel_list(q, &q->aside_waiting);
    for (unsigned cls = 0; cls < VIO_CLASSES; cls++)
        cancel_list(q, &q->waiting[cls]);
}

void vio_queue_close(vio_queue *q)
{
    if (q == NULL)
        return;
    while (q->held > 0) {
        cancel_waiting(q);
        q->ops->reap(q, q->started > 0 && q->answered.head == NULL);
        vio_aside_reap(q, q->started == 0 && q->answered.head == NULL);
        (void)run_answered(q);
    }
    for (unsigned w = 0; w < VIO_BUFFER_COUNT / 64; w++)
        assert(q->buffers_taken[w] == 0);
    uint8_t *buffers = q->buffers;
    vio_aside_close(q);
    q->ops->close(q); /* frees q, and lets go of the buffers */
    vv_free(buffers);
}

/* ---- buffers ---- */

static bool make_buffers(vio_queue *q)
{
    if (q->buffers != NULL || q->buffers_refused)
        return q->buffers != NULL;
    q->buffers = vv_alloc_aligned(VV_BLOCK, (size_t)VIO_BUFFER_COUNT * VIO_BUFFER_SIZE);
    q->buffers_refused = q->buffers == NULL;
    if (q->buffers != NULL && q->ops->register_buffers != NULL)
        q->ops->register_buffers(q);
    return q->buffers != NULL;
}

uint8_t *vio_buffer_take(vio_queue *q)
{
    _Static_assert(VIO_BUFFER_COUNT % 64 == 0, "words of 64 say which are taken");
    if (!make_buffers(q))
        return NULL;
    for (unsigned w = 0; w < VIO_BUFFER_COUNT / 64; w++) {
        if (q->buffers_taken[w] == UINT64_MAX)
            continue;
        unsigned bit = (unsigned)__builtin_ctzll(~q->buffers_taken[w]);
        q->buffers_taken[w] |= UINT64_C(1) << bit;
        return q->buffers + (size_t)(64 * w + bit) * VIO_BUFFER_SIZE;
    }
    return NULL;
}

void vio_buffer_give(vio_queue *q, uint8_t *buffer)
{
    size_t i = (size_t)(buffer - q->buffers) / VIO_BUFFER_SIZE;
    assert(i < VIO_BUFFER_COUNT && (q->buffers_taken[i / 64] >> i % 64 & 1) != 0);
    q->buffers_taken[i / 64] &= ~(UINT64_C(1) << i % 64);
}

/* ---- the queue of a backend that only blocks ---- */

typedef struct inline_queue {
    vio_queue base;
    void (*run)(vio_req *req);
    vio_req_list ready;
} inline_queue;

static inline_queue *inline_of(vio_queue *q)
{
    return VV_CONTAINER_OF(q, inline_queue, base);
}

static void inline_start(vio_queue *q, vio_req *req)
{
    vio_req_push(&inline_of(q)->ready, req);
}

static void inline_reap(vio_queue *q, bool wait)
{
    (void)wait;
    vio_req *req;
    while ((req = vio_req_pop(&inline_of(q)->ready)) != NULL) {
        inline_of(q)->run(req);
        vio_queue_answer(q, req);
    }
}

static void inline_close(vio_queue *q)
{
    vv_free(inline_of(q));
}

vv_status vio_queue_inline_open(vio *io, unsigned depth, void (*run)(vio_req *req), vio_queue **out,
                                vv_error *err)
{
    static const vio_queue_ops ops = {
        .name = "posix", .start = inline_start, .reap = inline_reap, .close = inline_close};
    inline_queue *q = vv_alloc(sizeof *q);
    if (q == NULL)
        return vv_fail(err, VV_NO_MEMORY, "I/O queue: no memory");
    *q = (inline_queue){.run = run};
    vio_queue_init(&q->base, &ops, io, depth);
    *out = &q->base;
    return VV_OK;
}

void vio_req_run(vio_req *req)
{
    switch (req->op) {
    case VIO_OP_READ:
        req->status = vio_pread(req->file, req->offset, req->buf, req->len, &req->got, &req->err);
        break;
    case VIO_OP_WRITE:
        req->status = vio_pwrite(req->file, req->offset, req->buf, req->len, &req->err);
        break;
    case VIO_OP_SYNC:
        req->status = vio_sync(req->file, &req->err);
        break;
    }
}

vv_status vio_queue_open(vio *io, unsigned depth, vio_queue **out, vv_error *err)
{
    if (io->ops->queue_open == NULL)
        return vio_queue_inline_open(io, depth, vio_req_run, out, err);
    return io->ops->queue_open(io, depth, out, err);
}

/* ---- whose queue it is ---- */

typedef struct vio_queue_entry {
    struct vio_queue_entry *thread_next; /* of its thread alone */
    struct vio_queue_entry *vio_next;    /* under registry_lock */
    _Atomic(vio *) io; /* changed under registry_lock; NULL: the vio is gone, and so is the queue */
    vio_queue *queue;  /* its thread, or whoever destroys the vio */
} vio_queue_entry;

static vv_mutex registry_lock = {PTHREAD_MUTEX_INITIALIZER, VV_RANK_LEAF};
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* only for its destructor */
static bool has_key;
static _Thread_local vio_queue_entry *my_entries;

static void unlink_from_vio(vio_queue_entry *entry)
{
    vio_queue_entry **at = &atomic_load(&entry->io)->queues;
    while (*at != entry)
        at = &(*at)->vio_next;
    *at = entry->vio_next;
}

static void close_mine(void *unused)
{
    (void)unused;
    while (my_entries != NULL) {
        vio_queue_entry *entry = my_entries;
        my_entries = entry->thread_next;
        vv_mutex_lock(&registry_lock);
        if (atomic_load(&entry->io) != NULL)
            unlink_from_vio(entry);
        vv_mutex_unlock(&registry_lock);
        vio_queue_close(entry->queue);
        vv_free(entry);
    }
}

static void make_key(void)
{
    has_key = pthread_key_create(&key, close_mine) == 0;
}

/* Free this thread's entries whose vio is gone. */
static void drop_dead_entries(void)
{
    vio_queue_entry **at = &my_entries;
    while (*at != NULL) {
        vio_queue_entry *entry = *at;
        if (atomic_load(&entry->io) == NULL) {
            *at = entry->thread_next;
            vv_free(entry);
        } else {
            at = &entry->thread_next;
        }
    }
}

vv_status vio_queue_of_thread(vio *io, vio_queue **out, vv_error *err)
{
    /* An entry of a vio that is gone has no io: a new vio at the same address finds no old queue.
     */
    for (vio_queue_entry *e = my_entries; e != NULL; e = e->thread_next) {
        if (atomic_load_explicit(&e->io, memory_order_relaxed) == io) {
            *out = e->queue;
            return VV_OK;
        }
    }
    drop_dead_entries();
    (void)pthread_once(&key_once, make_key);
    vio_queue_entry *entry = vv_alloc(sizeof *entry);
    if (entry == NULL)
        return vv_fail(err, VV_NO_MEMORY, "I/O queue: no memory");
    vv_status st = vio_queue_open(io, VIO_QUEUE_DEPTH, &entry->queue, err);
    if (st == VV_OK && (!has_key || pthread_setspecific(key, entry) != 0)) {
        vio_queue_close(entry->queue);
        st = vv_fail(err, VV_NO_MEMORY, "I/O queue: no key for this thread");
    }
    if (st != VV_OK) {
        vv_free(entry);
        return st;
    }
    atomic_init(&entry->io, io);
    entry->thread_next = my_entries;
    my_entries = entry;
    vv_mutex_lock(&registry_lock);
    entry->vio_next = io->queues;
    io->queues = entry;
    vv_mutex_unlock(&registry_lock);
    *out = entry->queue;
    return VV_OK;
}

void vio_queues_close_all(vio *io)
{
    for (;;) {
        vv_mutex_lock(&registry_lock);
        vio_queue_entry *entry = io->queues;
        vio_queue *queue = NULL;
        if (entry != NULL) {
            queue = entry->queue;
            entry->queue = NULL;
            io->queues = entry->vio_next;
            atomic_store(&entry->io, NULL); /* from here on its thread may free it */
        }
        vv_mutex_unlock(&registry_lock);
        if (entry == NULL)
            break;
        assert(queue->held == 0);
        vio_queue_close(queue);
    }
    drop_dead_entries();
    vio_aside_destroy(io);
}
