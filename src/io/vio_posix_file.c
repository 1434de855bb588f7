/*
 * vio_posix_file.c - the bytes of real files: transfers, syncs, space and maps.
 *
 * Why a failed sync is remembered: after a failed fdatasync Linux marks the dirty pages clean, and
 * the next fdatasync says yes although the bytes never reached the disk. So the first failure is
 * kept in the file and every later write and sync answers with it. A failed VIO_DSYNC write is a
 * failed sync too: it cannot be told which half of it failed.
 */
#include "io/vio_posix_int.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/point.h"

/* One transfer of the kernel moves at most 2 GiB - 4 KiB; stay below and aligned. */
#define TRANSFER_MAX ((size_t)1 << 30)

/* What the operator can do about an errno, to stand behind the path. */
static const char *hint(int sys)
{
    switch (sys) {
    case ENOSPC:
        return " (the disk is full: free some space)";
    case EDQUOT:
        return " (the quota is used up: raise it or free some space)";
    case EROFS:
        return " (the file system is mounted read-only)";
    case EACCES:
    case EPERM:
        return " (check the owner and the rights of the directory)";
    case EMFILE:
        return " (raise the limit on open files of this process, or lower max_open_files)";
    case ENFILE:
        return " (raise the limit on open files of the system)";
    case EFBIG:
        return " (over the file size limit of the process or the file system)";
    default:
        return "";
    }
}

vv_status posix_fail_path(vv_error *err, int sys, const char *verb, const char *root,
                          const char *path)
{
    bool alone = path[0] == '/' || root[0] == '\0';
    const char *sep = alone || path[0] == '\0' ? "" : "/";
    return vv_fail_sys(err, vv_status_of_errno(sys), sys, "%s '%s%s%s'%s", verb, alone ? "" : root,
                       sep, path, hint(sys));
}

vv_status posix_fail_file(vv_error *err, int sys, const char *verb, const posix_file *f)
{
    return posix_fail_path(err, sys, verb, "", f->path);
}

/* Remember the first failure of a sync and answer it. */
static vv_status latch(posix_file *f, int sys, const char *verb, vv_error *err)
{
    vv_error now;
    vv_status st = posix_fail_file(&now, sys, verb, f);
    if (err != NULL)
        *err = now;
    if (VV_BUG(7))
        return st;
    vv_mutex_lock(&f->lock);
    if (!atomic_load_explicit(&f->latched, memory_order_relaxed)) {
        f->first = now;
        atomic_store_explicit(&f->latched, true, memory_order_release);
    }
    vv_mutex_unlock(&f->lock);
    return st;
}

/* VV_OK, or the failure this file was latched with. Pairs with the release store in latch(). */
static vv_status check_latch(posix_file *f, vv_error *err)
{
    if (!atomic_load_explicit(&f->latched, memory_order_acquire))
        return VV_OK;
    if (err != NULL)
        *err = f->first;
    return f->first.status;
}

/* After a short transfer: how far the next one may begin. A direct transfer must begin at a block.
 */
static size_t progress(const posix_file *f, size_t done)
{
    return f->direct ? done & ~((size_t)VV_BLOCK - 1) : done;
}

#ifdef VV_TEST_HOOKS
static int64_t (*answer_hook)(void *ctx, const posix_transfer *t, int64_t answer);
static void *answer_ctx;

void posix_hook_answers(int64_t (*hook)(void *ctx, const posix_transfer *t, int64_t answer),
                        void *ctx)
{
    answer_hook = hook;
    answer_ctx = ctx;
}

static int64_t hooked(const posix_transfer *t, int64_t answer)
{
    return answer_hook == NULL ? answer : answer_hook(answer_ctx, t, answer);
}
#else
static int64_t hooked(const posix_transfer *t, int64_t answer)
{
    (void)t;
    return answer;
}
#endif

size_t posix_transfer_size(const posix_transfer *t)
{
    return t->len - t->moved < TRANSFER_MAX ? t->len - t->moved : TRANSFER_MAX;
}

static posix_step read_moved(posix_transfer *t, size_t n)
{
    size_t reached = t->moved + n;
    t->moved = progress(t->file, reached);
    if (n == 0 || reached == t->len) {
        t->moved = reached;
        return POSIX_DONE;
    }
    if (t->moved == reached)
        return POSIX_MORE;
    /* Part of a block: the end of the file, or a transfer to take up at the block. */
    struct stat info;
    if (fstat(posix_fd_of(t->file), &info) != 0) {
        t->sys = errno;
        return POSIX_FAILED;
    }
    if (t->offset + reached < (uint64_t)info.st_size)
        return POSIX_MORE;
    t->moved = reached;
    return POSIX_DONE;
}

static posix_step write_moved(posix_transfer *t, size_t n)
{
    size_t want = posix_transfer_size(t);
    size_t reached = n == want ? t->moved + n : progress(t->file, t->moved + n);
    if (VV_BUG(21))
        reached = t->moved + want;
    /* Direct transfers in a row that move less than a block would go on for ever. */
    t->idle = reached == t->moved && n < want ? t->idle + 1 : 0;
    t->moved = reached;
    if (t->idle > 3) {
        t->sys = EIO;
        return POSIX_FAILED;
    }
    return t->moved == t->len ? POSIX_DONE : POSIX_MORE;
}

posix_step posix_transfer_answered(posix_transfer *t, int64_t answer)
{
    answer = hooked(t, answer);
    if (answer == -EINTR || answer == -EAGAIN)
        return POSIX_MORE;
    if (answer < 0) {
        t->sys = (int)-answer;
        return POSIX_FAILED;
    }
    switch (t->op) {
    case VIO_OP_READ:
        return read_moved(t, (size_t)answer);
    case VIO_OP_WRITE:
        return write_moved(t, (size_t)answer);
    case VIO_OP_SYNC:
        break;
    }
    return POSIX_DONE;
}

vv_status posix_transfer_begin(posix_transfer *t, vv_error *err)
{
    vv_status st = t->op == VIO_OP_READ ? VV_OK : check_latch(t->file, err);
    return st == VV_OK ? posix_fd_acquire(t->file, err) : st;
}

vv_status posix_transfer_fail(const posix_transfer *t, vv_error *err)
{
    static const char *const verbs[] = {
        [VIO_OP_READ] = "read", [VIO_OP_WRITE] = "write", [VIO_OP_SYNC] = "sync"};
    posix_file *f = t->file;
    bool is_sync = t->op == VIO_OP_SYNC || (t->op == VIO_OP_WRITE && (f->flags & VIO_DSYNC) != 0);
    return is_sync ? latch(f, t->sys, verbs[t->op], err)
                   : posix_fail_file(err, t->sys, verbs[t->op], f);
}

static int64_t call_once(const posix_transfer *t)
{
    void *at = posix_transfer_at(t);
    off_t offset = (off_t)(t->offset + t->moved);
    int64_t n = -1;
    switch (t->op) {
    case VIO_OP_READ:
        n = pread(posix_fd_of(t->file), at, posix_transfer_size(t), offset);
        break;
    case VIO_OP_WRITE:
        n = pwrite(posix_fd_of(t->file), at, posix_transfer_size(t), offset);
        break;
    case VIO_OP_SYNC:
        n = fdatasync(posix_fd_of(t->file));
        break;
    }
    return n < 0 ? -errno : n;
}

vv_status posix_transfer_run(posix_transfer *t, vv_error *err)
{
    vv_status st = posix_transfer_begin(t, err);
    if (st != VV_OK)
        return st;
    posix_step step = t->len == 0 && t->op != VIO_OP_SYNC ? POSIX_DONE : POSIX_MORE;
    while (step == POSIX_MORE)
        step = posix_transfer_answered(t, call_once(t));
    posix_transfer_end(t);
    return step == POSIX_DONE ? VV_OK : posix_transfer_fail(t, err);
}

/* A blocking call: ranked as the log's, whose files are synced by each write, or as one that
 * somebody waits for unless the file is said to be of background work. */
static vv_status run_ranked(posix_transfer *t, vv_error *err)
{
    posix_file *f = t->file;
    vio_class cls = (f->flags & VIO_DSYNC) != 0    ? VIO_CLASS_LOG
                    : (f->flags & VIO_BEHIND) != 0 ? VIO_CLASS_COMPACTION
                                                   : VIO_CLASS_READ;
    vio_sched_enter(f->sched, cls);
    vv_status st = posix_transfer_run(t, err);
    vio_sched_leave(f->sched, cls);
    return st;
}

vv_status posix_file_pread(vio_file *file, uint64_t offset, void *buf, size_t len, size_t *got,
                           vv_error *err)
{
    posix_transfer t = {posix_file_of(file), VIO_OP_READ, offset, buf, len, 0, 0, 0};
    vv_status st = run_ranked(&t, err);
    if (st == VV_OK)
        *got = t.moved;
    return st;
}

vv_status posix_file_pwrite(vio_file *file, uint64_t offset, const void *buf, size_t len,
                            vv_error *err)
{
    /* One shape for both directions: a write only reads from the buffer. */
    void *from = (void *)(uintptr_t)buf;
    posix_transfer t = {posix_file_of(file), VIO_OP_WRITE, offset, from, len, 0, 0, 0};
    return run_ranked(&t, err);
}

vv_status posix_file_sync(vio_file *file, vv_error *err)
{
    posix_transfer t = {posix_file_of(file), VIO_OP_SYNC, 0, NULL, 0, 0, 0, 0};
    return run_ranked(&t, err);
}

vv_status posix_file_size(vio_file *file, uint64_t *out, vv_error *err)
{
    posix_file *f = posix_file_of(file);
    struct stat info;
    vv_status st = posix_fd_acquire(f, err);
    if (st != VV_OK)
        return st;
    int sys = fstat(posix_fd_of(f), &info) == 0 ? 0 : errno;
    posix_fd_release(f);
    if (sys != 0)
        return posix_fail_file(err, sys, "size of", f);
    *out = (uint64_t)info.st_size;
    return VV_OK;
}

vv_status posix_file_truncate(vio_file *file, uint64_t size, vv_error *err)
{
    posix_file *f = posix_file_of(file);
    vv_status st = check_latch(f, err);
    if (st != VV_OK)
        return st;
    int rc;
    do
        rc = ftruncate(f->fd, (off_t)size);
    while (rc != 0 && errno == EINTR);
    return rc == 0 ? VV_OK : posix_fail_file(err, errno, "truncate", f);
}

vv_status posix_file_allocate(vio_file *file, uint64_t size, vv_error *err)
{
    posix_file *f = posix_file_of(file);
    vv_status st = check_latch(f, err);
    if (st != VV_OK)
        return st;
    if (size == 0)
        return VV_OK;
    int sys;
    do
        sys = posix_fallocate(f->fd, 0, (off_t)size);
    while (sys == EINTR);
    return sys == 0 ? VV_OK : posix_fail_file(err, sys, "allocate", f);
}

vv_status posix_file_map(vio_file *file, size_t len, uint8_t **out, vv_error *err)
{
    posix_file *f = posix_file_of(file);
    uint64_t size = 0;
    vv_status st = posix_file_size(file, &size, err);
    if (st != VV_OK)
        return st;
    if (len == 0 || size < len)
        return vv_fail(err, VV_INVALID, "map %zu bytes of '%s', which has %llu", len, f->path,
                       (unsigned long long)size);
    st = posix_fd_acquire(f, err);
    if (st != VV_OK)
        return st;
    int prot = f->flags & VIO_WRITE ? PROT_READ | PROT_WRITE : PROT_READ;
    void *map = mmap(NULL, len, prot, MAP_SHARED | MAP_POPULATE, posix_fd_of(f), 0);
    int sys = map == MAP_FAILED ? errno : 0;
    posix_fd_release(f);
    if (sys != 0)
        return posix_fail_file(err, sys, "map", f);
#ifdef MADV_POPULATE_WRITE
    /* MAP_POPULATE keeps quiet when a page cannot be had; a store to it would be a SIGBUS. */
    if ((prot & PROT_WRITE) && madvise(map, len, MADV_POPULATE_WRITE) != 0 && errno != EINVAL) {
        st = posix_fail_file(err, errno, "populate the map of", f);
        (void)munmap(map, len);
        return st;
    }
#endif
    *out = map;
    return VV_OK;
}

void posix_file_unmap(vio_file *file, uint8_t *map, size_t len)
{
    (void)file;
    if (map != NULL)
        (void)munmap(map, len);
}
