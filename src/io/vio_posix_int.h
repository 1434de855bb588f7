/*
 * vio_posix_int.h - real files, shared by
 *
 *   vio_posix.c       names, locks, directories; the vio and its choice of backend
 *   vio_posix_fds.c   the descriptors of files opened with VIO_IDLE
 *   vio_posix_file.c  bytes, syncs, maps; one transfer and what its answer means
 *   vio_posix_pool.c  queues whose requests are blocking calls of a pool of threads
 *   vio_posix_ring.c  queues that are io_uring rings
 */
#ifndef VARVE_IO_VIO_POSIX_INT_H
#define VARVE_IO_VIO_POSIX_INT_H

#include <stdatomic.h>
#include <sys/types.h>

#include "base/lock.h"
#include "base/util.h"
#include "io/vio_posix.h"
#include "io/vio_queue.h"

struct posix_file;

/* Files opened with VIO_IDLE that have a descriptor now: a ring that a clock hand goes round. */
typedef struct posix_fds {
    vv_mutex lock; /* VV_RANK_LEAF */
    unsigned max;  /* fixed */
    unsigned held; /* under lock, as the hand */
    struct posix_file *hand;
    _Atomic uint64_t given_up; /* statistics */
} posix_fds;

typedef struct posix_file {
    vio_file base;
    _Atomic int fd; /* with fds it may be -1 unless users say otherwise */
    unsigned flags;
    posix_fds *fds;                 /* NULL: fd stays until the close */
    _Atomic uint32_t users;         /* calls under way, with fds */
    _Atomic bool was_used;          /* since the hand's last pass; relaxed */
    struct posix_file *prev, *next; /* under fds->lock */
    struct posix_io *io;            /* to open it again */
    dev_t dev;                      /* which file it was at the first open, with fds */
    ino_t ino;
    size_t name_at;       /* in path: the name beneath the root */
    vio_sched *sched;     /* of its vio */
    bool direct;          /* the file system took O_DIRECT */
    vv_mutex lock;        /* VV_RANK_LEAF: who latches first */
    _Atomic bool latched; /* release store after `first` is filled, never cleared */
    vv_error first;       /* the failure every later write and sync repeats */
    char path[];          /* for messages */
} posix_file;

static inline posix_file *posix_file_of(vio_file *file)
{
    return VV_CONTAINER_OF(file, posix_file, base);
}

/** The failure of `verb` on a path beneath root ("" when path stands alone), with what an operator
 * can do about it. */
vv_status posix_fail_path(vv_error *err, int sys, const char *verb, const char *root,
                          const char *path);
vv_status posix_fail_file(vv_error *err, int sys, const char *verb, const posix_file *f);

/* vio_posix_fds.c */
void posix_fds_init(posix_fds *p, unsigned max);
void posix_fds_fini(posix_fds *p);
/** f has a descriptor from now on; others over the bound are closed. */
void posix_fds_hold(posix_fds *p, posix_file *f, int fd);
/** Take f out, which nobody uses. Its descriptor, or -1. */
int posix_fds_forget(posix_fds *p, posix_file *f);
/** Close one that is idle, for somebody who got EMFILE or ENFILE. False: there is none. */
bool posix_fds_relieve(posix_fds *p);
/** Keep the descriptor until the release, opened again if need be. Any thread; no lock when it is
 * there. */
VV_MUST_CHECK vv_status posix_fd_acquire(posix_file *f, vv_error *err);
void posix_fd_release(posix_file *f);
/** The descriptor of a file that is acquired; f->fd itself may be out for a moment. */
int posix_fd_of(posix_file *f);
/** Open by the name it was opened with: a descriptor, or -errno. */
int posix_reopen(const posix_file *f);

/* One read, write or sync, from the first system call to the last. */
typedef struct posix_transfer {
    posix_file *file;
    vio_op op;
    uint64_t offset;
    void *buf;
    size_t len;
    size_t moved;  /* so far */
    unsigned idle; /* answers in a row that moved nothing */
    int sys;       /* errno of POSIX_FAILED */
} posix_transfer;

typedef enum posix_step {
    POSIX_MORE,   /* another call at offset + moved */
    POSIX_DONE,   /* moved bytes are there */
    POSIX_FAILED, /* posix_transfer_fail */
} posix_step;

/** Where the next call reads or writes; a sync has no buffer. */
static inline void *posix_transfer_at(const posix_transfer *t)
{
    return t->op == VIO_OP_SYNC ? NULL : (uint8_t *)t->buf + t->moved;
}

/** Refused by the file's latch, or no descriptor to be had? What began ends: posix_transfer_end. */
VV_MUST_CHECK vv_status posix_transfer_begin(posix_transfer *t, vv_error *err);
static inline void posix_transfer_end(const posix_transfer *t)
{
    posix_fd_release(t->file);
}
/** How many bytes the next call asks for. */
size_t posix_transfer_size(const posix_transfer *t);
/** Take in what a call answered: bytes, or -errno. */
posix_step posix_transfer_answered(posix_transfer *t, int64_t answer);
/** The failure in words; latches the file when it was one of a sync. */
vv_status posix_transfer_fail(const posix_transfer *t, vv_error *err);
/** All of it with blocking calls. */
vv_status posix_transfer_run(posix_transfer *t, vv_error *err);

static inline posix_transfer posix_transfer_of(const vio_req *req)
{
    return (posix_transfer){.file = posix_file_of(req->file),
                            .op = req->op,
                            .offset = req->offset,
                            .buf = req->buf,
                            .len = req->len,
                            .moved = req->moved,
                            .idle = req->idle};
}

#ifdef VV_TEST_HOOKS
/** Test door: every answer of the kernel goes through hook (NULL: none), whatever the backend. It
 * may run in any thread that does I/O. */
void posix_hook_answers(int64_t (*hook)(void *ctx, const posix_transfer *t, int64_t answer),
                        void *ctx);
#endif

typedef struct posix_pool posix_pool;

/* A vio of real files. */
typedef struct posix_io {
    vio base;
    vio_sched sched;
    vio_backend backend; /* fixed after create: never VIO_BACKEND_AUTO */
    vv_log *log;
    _Atomic bool ring_refused; /* a thread could not have one: said once */
    posix_pool *pool;          /* of VIO_BACKEND_THREADS */
    posix_fds fds;
    _Atomic int root_fd; /* -1 until the root was opened */
    char *root;
} posix_io;

static inline posix_io *posix_io_of(vio *io)
{
    return VV_CONTAINER_OF(io, posix_io, base);
}

/** Run a request whole, in blocking calls, and fill its answer. */
void posix_run_request(vio_req *req);

/* vio_posix_pool.c */
vv_status posix_pool_create(posix_pool **out, vv_error *err);
/** No request is held. Joins the threads. Accepts NULL. */
void posix_pool_destroy(posix_pool *pool);
vv_status posix_pool_queue_open(vio *io, unsigned depth, vio_queue **out, vv_error *err);

/* vio_posix_ring.c */
/** Whether the kernel gives this process a ring: VV_UNSUPPORTED with the reason. */
vv_status posix_ring_probe(vv_error *err);
vv_status posix_ring_queue_open(vio *io, unsigned depth, vio_queue **out, vv_error *err);

vv_status posix_file_pread(vio_file *file, uint64_t offset, void *buf, size_t len, size_t *got,
                           vv_error *err);
vv_status posix_file_pwrite(vio_file *file, uint64_t offset, const void *buf, size_t len,
                            vv_error *err);
vv_status posix_file_sync(vio_file *file, vv_error *err);
vv_status posix_file_size(vio_file *file, uint64_t *out, vv_error *err);
vv_status posix_file_truncate(vio_file *file, uint64_t size, vv_error *err);
vv_status posix_file_allocate(vio_file *file, uint64_t size, vv_error *err);
vv_status posix_file_map(vio_file *file, size_t len, uint8_t **out, vv_error *err);
void posix_file_unmap(vio_file *file, uint8_t *map, size_t len);

#endif
