/*
 * vio.h - the one door to files. Everything above io/ that touches storage goes through a vio.
 *
 * Backends: vio_posix.c (real files), vio_sim.c (the simulated disk of the tests). Calls block;
 * vio_queue.h has the asynchronous front of the same files.
 * Paths are relative to the root the vio was made with, '/' separated, without "." or "..". A path
 * that begins with '/' lies outside the root, for checkpoints: never one that a client chose.
 *
 * What is durable when: written bytes after vio_sync of the file (or at once with VIO_DSYNC); a
 * created, renamed or removed name after vio_sync_dir of its directory; a length change after
 * vio_sync. A failed sync is final: the file is latched and later writes and syncs of it return the
 * first error (the kernel may drop dirty pages and answer yes the second time). A failed write of a
 * VIO_DSYNC file counts as a failed sync.
 */
#ifndef VARVE_IO_VIO_H
#define VARVE_IO_VIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "varve/slice.h"
#include "varve/status.h"

typedef struct vio vio;
typedef struct vio_file vio_file;
struct vio_queue;
struct vio_queue_entry;
struct vio_sched;

#define VIO_PATH_MAX 512 /* bytes of a relative path, NUL included */

typedef enum vio_flags {
    VIO_READ = 1,
    VIO_WRITE = 2,
    VIO_CREATE = 4,   /* make it if it is not there */
    VIO_EXCL = 8,     /* with VIO_CREATE: VV_CONFLICT if it is there */
    VIO_DIRECT = 16,  /* offsets, lengths and buffers are multiples of VV_BLOCK; ignored where the
                         file system refuses it (tmpfs): the same bytes, through the page cache */
    VIO_DSYNC = 32,   /* each write is durable when it returns */
    VIO_IDLE = 64,    /* to be read only, immutable, and its name stays until the close: it may be
                         closed while nobody reads it and opened again by the next read */
    VIO_BEHIND = 128, /* its blocking transfers rank with compaction: nobody waits for them */
} vio_flags;

typedef struct vio_ops {
    const char *name;
    /* Of files alone: their reads may take long and are no call to a disk of ours (an object in a
     * store). Queues run them aside, on threads of their own: vio_aside.c. */
    bool is_aside;
    vv_status (*open)(vio *io, const char *path, unsigned flags, vio_file **out, vv_error *err);
    vv_status (*rename)(vio *io, const char *from, const char *to, vv_error *err);
    vv_status (*remove)(vio *io, const char *path, vv_error *err);
    vv_status (*link)(vio *io, const char *from, const char *to, vv_error *err);
    vv_status (*mkdir)(vio *io, const char *path, vv_error *err);
    vv_status (*list)(vio *io, const char *path, void (*each)(void *ctx, const char *name),
                      void *ctx, vv_error *err);
    vv_status (*sync_dir)(vio *io, const char *path, vv_error *err);
    vv_status (*lock)(vio *io, const char *path, vio_file **out, vv_error *err);
    /* A queue for the calling thread (vio_queue.h). NULL: its requests run as blocking calls. */
    vv_status (*queue_open)(vio *io, unsigned depth, struct vio_queue **out, vv_error *err);
    void (*destroy)(vio *io);

    void (*close)(vio_file *file);
    vv_status (*pread)(vio_file *file, uint64_t offset, void *buf, size_t len, size_t *got,
                       vv_error *err);
    vv_status (*pwrite)(vio_file *file, uint64_t offset, const void *buf, size_t len,
                        vv_error *err);
    vv_status (*sync)(vio_file *file, vv_error *err);
    vv_status (*size)(vio_file *file, uint64_t *out, vv_error *err);
    vv_status (*truncate)(vio_file *file, uint64_t size, vv_error *err);
    vv_status (*allocate)(vio_file *file, uint64_t size, vv_error *err);
    vv_status (*map)(vio_file *file, size_t len, uint8_t **out, vv_error *err);
    void (*unmap)(vio_file *file, uint8_t *map, size_t len);
} vio_ops;

struct vio {
    const vio_ops *ops;
    struct vio_sched *sched;         /* fixed; NULL: transfers are not ranked */
    struct vio_queue_entry *queues;  /* of threads; vio_queue.c */
    struct vio_aside *_Atomic aside; /* made with the first request that needs it; vio_aside.c */
};

struct vio_file {
    const vio_ops *ops;
};

/** Open a file. VV_NOT_FOUND without VIO_CREATE when it is absent. Gives *out: vio_close. */
static inline VV_MUST_CHECK vv_status vio_open(vio *io, const char *path, unsigned flags,
                                               vio_file **out, vv_error *err)
{
    return io->ops->open(io, path, flags, out, err);
}

/** Replace `to` by `from` atomically. Durable after vio_sync_dir of the directory. */
static inline VV_MUST_CHECK vv_status vio_rename(vio *io, const char *from, const char *to,
                                                 vv_error *err)
{
    return io->ops->rename(io, from, to, err);
}

/** A file or an empty directory; VV_NOT_FOUND when it is absent. Open files stay readable until
 * closed. */
static inline VV_MUST_CHECK vv_status vio_remove(vio *io, const char *path, vv_error *err)
{
    return io->ops->remove(io, path, err);
}

/** A second name for a file, for checkpoints by hard link; copies where links are not possible.
 * VV_CONFLICT when `to` is there already. */
static inline VV_MUST_CHECK vv_status vio_link(vio *io, const char *from, const char *to,
                                               vv_error *err)
{
    return io->ops->link(io, from, to, err);
}

/** Make a directory; VV_OK when it is there already. "" is the root itself (made with parents). */
static inline VV_MUST_CHECK vv_status vio_mkdir(vio *io, const char *path, vv_error *err)
{
    return io->ops->mkdir(io, path, err);
}

/** Call each(ctx, name) for every entry but "." and "..", in sorted order. */
static inline VV_MUST_CHECK vv_status vio_list(vio *io, const char *path,
                                               void (*each)(void *ctx, const char *name), void *ctx,
                                               vv_error *err)
{
    return io->ops->list(io, path, each, ctx, err);
}

/** Make creations, renames and removals in a directory durable. */
static inline VV_MUST_CHECK vv_status vio_sync_dir(vio *io, const char *path, vv_error *err)
{
    return io->ops->sync_dir(io, path, err);
}

/** Take an exclusive lock that ends with vio_close or the process. VV_BUSY when held elsewhere:
 * the message names the holder's pid where it is known. */
static inline VV_MUST_CHECK vv_status vio_lock(vio *io, const char *path, vio_file **out,
                                               vv_error *err)
{
    return io->ops->lock(io, path, out, err);
}

/** Waits for nothing: no call may be in progress. Accepts NULL. Open files must be closed first. */
static inline void vio_destroy(vio *io)
{
    if (io != NULL)
        io->ops->destroy(io);
}

/** Accepts NULL. Syncs nothing. */
static inline void vio_close(vio_file *file)
{
    if (file != NULL)
        file->ops->close(file);
}

/** Read len bytes at offset; *got is less only at the end of the file. Any thread. */
static inline VV_MUST_CHECK vv_status vio_pread(vio_file *file, uint64_t offset, void *buf,
                                                size_t len, size_t *got, vv_error *err)
{
    return file->ops->pread(file, offset, buf, len, got, err);
}

/** As vio_pread; VV_CORRUPT when the file ends before len bytes. */
VV_MUST_CHECK vv_status vio_pread_full(vio_file *file, uint64_t offset, void *buf, size_t len,
                                       vv_error *err);

/** Write all len bytes at offset, or fail: how many bytes of a failed write are there is unknown.
 * Short transfers are continued inside. Any thread, on parts that do not overlap. */
static inline VV_MUST_CHECK vv_status vio_pwrite(vio_file *file, uint64_t offset, const void *buf,
                                                 size_t len, vv_error *err)
{
    return file->ops->pwrite(file, offset, buf, len, err);
}

/** Make the written bytes and the length durable (fdatasync). */
static inline VV_MUST_CHECK vv_status vio_sync(vio_file *file, vv_error *err)
{
    return file->ops->sync(file, err);
}

static inline VV_MUST_CHECK vv_status vio_size(vio_file *file, uint64_t *out, vv_error *err)
{
    return file->ops->size(file, out, err);
}

static inline VV_MUST_CHECK vv_status vio_truncate(vio_file *file, uint64_t size, vv_error *err)
{
    return file->ops->truncate(file, size, err);
}

/** Reserve blocks up to size and make the file that long; new bytes read as zero. VV_NO_SPACE comes
 * here and not at a later write. The blocks are unwritten extents: pre-write them for speed. */
static inline VV_MUST_CHECK vv_status vio_allocate(vio_file *file, uint64_t size, vv_error *err)
{
    return file->ops->allocate(file, size, err);
}

/**
 * Map the first len bytes, which must be allocated and written, shared and populated. Stores into
 * the map survive the death of the process at once and a power cut only by chance, page by page.
 * Never write a mapped file with vio_pwrite.
 */
static inline VV_MUST_CHECK vv_status vio_map(vio_file *file, size_t len, uint8_t **out,
                                              vv_error *err)
{
    return file->ops->map(file, len, out, err);
}

static inline void vio_unmap(vio_file *file, uint8_t *map, size_t len)
{
    file->ops->unmap(file, map, len);
}

/** Read a whole file; VV_CORRUPT when it is longer than max bytes. Gives *out, a vv_alloc block:
 * vv_free. A NUL, not counted in *out_len, stands behind the bytes. */
VV_MUST_CHECK vv_status vio_read_file(vio *io, const char *path, size_t max, uint8_t **out,
                                      size_t *out_len, vv_error *err);

/** Replace a file's content so that a crash leaves the old or the new whole: temporary, sync,
 * rename, directory sync. `path` has at most one directory. */
VV_MUST_CHECK vv_status vio_write_file_atomic(vio *io, const char *path, vv_slice content,
                                              vv_error *err);

/** Real files under root, which vio_mkdir(io, "") creates. Gives *out: vio_destroy. */
VV_MUST_CHECK vv_status vio_posix_create(const char *root, vio **out, vv_error *err);

#endif
