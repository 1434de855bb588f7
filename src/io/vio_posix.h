/*
 * vio_posix.h - real files, and how many requests at once reach the disk.
 */
#ifndef VARVE_IO_VIO_POSIX_H
#define VARVE_IO_VIO_POSIX_H

#include "base/clock.h"
#include "base/log.h"
#include "io/vio.h"

/* How the requests of a vio_queue are carried out. Blocking calls are the same in all. */
typedef enum vio_backend {
    VIO_BACKEND_AUTO,    /* io_uring where the kernel allows it, threads otherwise */
    VIO_BACKEND_POSIX,   /* one after the other, by the caller */
    VIO_BACKEND_THREADS, /* blocking calls of a pool of threads */
    VIO_BACKEND_RING,    /* io_uring, one ring a thread; threads where the kernel refuses */
} vio_backend;

#define VIO_FILES_LEAST 16u

typedef struct vio_posix_options {
    vio_backend backend;
    unsigned files_max; /* descriptors of files opened with VIO_IDLE, at least VIO_FILES_LEAST;
                           0: half of what the process may have */
    vv_log *log;        /* says once why a ring could not be had; NULL: silence */
} vio_posix_options;

/** Real files under root, which vio_mkdir(io, "") creates. opt NULL: VIO_BACKEND_AUTO, no log.
 * Gives *out: vio_destroy. */
VV_MUST_CHECK vv_status vio_posix_open(const char *root, const vio_posix_options *opt, vio **out,
                                       vv_error *err);

typedef struct vio_posix_file_stats {
    unsigned held; /* descriptors of files opened with VIO_IDLE */
    unsigned max;
    uint64_t given_up; /* closed to make room, since the vio was made */
} vio_posix_file_stats;
void vio_posix_files(vio *io, vio_posix_file_stats *out);

/** The backend in use: never VIO_BACKEND_AUTO. io is one of vio_posix_open. */
vio_backend vio_posix_backend(vio *io);
/** The name of a path beneath the root for the system, for a library that opens files itself.
 * VV_UNSUPPORTED when io is not one of vio_posix_open; VV_INVALID when it does not fit. */
VV_MUST_CHECK vv_status vio_posix_real_path(vio *io, const char *path, char *out, size_t size,
                                            vv_error *err);
/** "posix", "threads", "io_uring", "auto". */
const char *vio_backend_name(vio_backend backend);

#endif
