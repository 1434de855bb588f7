/*
 * vio_posix_int.h - an open file of the posix backend, shared by vio_posix.c (names, locks) and
 * vio_posix_file.c (bytes, syncs, maps).
 */
#ifndef VARVE_IO_VIO_POSIX_INT_H
#define VARVE_IO_VIO_POSIX_INT_H

#include <stdatomic.h>

#include "base/lock.h"
#include "base/util.h"
#include "io/vio.h"

typedef struct posix_file {
    vio_file base;
    int fd;
    unsigned flags;
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
