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
        return " (raise the limit on open files of this process)";
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

vv_status posix_file_pread(vio_file *file, uint64_t offset, void *buf, size_t len, size_t *got,
                           vv_error *err)
{
    posix_file *f = posix_file_of(file);
    size_t done = 0;
    while (done < len) {
        size_t want = len - done < TRANSFER_MAX ? len - done : TRANSFER_MAX;
        ssize_t n = pread(f->fd, (uint8_t *)buf + done, want, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return posix_fail_file(err, errno, "read", f);
        if (n == 0)
            break;
        size_t reached = done + (size_t)n;
        done = progress(f, reached);
        if (done != reached) {
            /* Part of a block: the end of the file, or a transfer to take up at the block. */
            struct stat info;
            if (fstat(f->fd, &info) != 0)
                return posix_fail_file(err, errno, "read", f);
            if (offset + reached >= (uint64_t)info.st_size) {
                done = reached;
                break;
            }
        }
    }
    *got = done;
    return VV_OK;
}

vv_status posix_file_pwrite(vio_file *file, uint64_t offset, const void *buf, size_t len,
                            vv_error *err)
{
    posix_file *f = posix_file_of(file);
    vv_status st = check_latch(f, err);
    if (st != VV_OK)
        return st;
    int idle = 0; /* direct transfers in a row that moved less than a block */
    for (size_t done = 0; done < len;) {
        size_t want = len - done < TRANSFER_MAX ? len - done : TRANSFER_MAX;
        ssize_t n = pwrite(f->fd, (const uint8_t *)buf + done, want, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        int sys = n < 0 ? errno : 0;
        if (n >= 0) {
            size_t reached = progress(f, done + (size_t)n);
            idle = reached == done && done + (size_t)n < len ? idle + 1 : 0;
            done = (size_t)n == want ? done + want : reached;
        }
        if (idle > 3)
            sys = EIO;
        if (sys != 0)
            return f->flags & VIO_DSYNC ? latch(f, sys, "write", err)
                                        : posix_fail_file(err, sys, "write", f);
    }
    return VV_OK;
}

vv_status posix_file_sync(vio_file *file, vv_error *err)
{
    posix_file *f = posix_file_of(file);
    vv_status st = check_latch(f, err);
    if (st != VV_OK)
        return st;
    int rc;
    do
        rc = fdatasync(f->fd);
    while (rc != 0 && errno == EINTR);
    return rc == 0 ? VV_OK : latch(f, errno, "sync", err);
}

vv_status posix_file_size(vio_file *file, uint64_t *out, vv_error *err)
{
    posix_file *f = posix_file_of(file);
    struct stat info;
    if (fstat(f->fd, &info) != 0)
        return posix_fail_file(err, errno, "size of", f);
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
    int prot = f->flags & VIO_WRITE ? PROT_READ | PROT_WRITE : PROT_READ;
    void *map = mmap(NULL, len, prot, MAP_SHARED | MAP_POPULATE, f->fd, 0);
    if (map == MAP_FAILED)
        return posix_fail_file(err, errno, "map", f);
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
