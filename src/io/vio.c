/*
 * vio.c - what every caller of vio needs and no backend should write twice.
 */
#include "io/vio.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"

vv_status vio_pread_full(vio_file *file, uint64_t offset, void *buf, size_t len, vv_error *err)
{
    size_t got = 0;
    vv_status st = vio_pread(file, offset, buf, len, &got, err);
    if (st != VV_OK)
        return st;
    if (got < len)
        return vv_fail(err, VV_CORRUPT,
                       "the file ends at offset %" PRIu64 ", %zu bytes before the end of a read",
                       offset + got, len - got);
    return VV_OK;
}

/* One byte more than the file is allocated and set to 0, so that text may be used as a string. */
static vv_status read_all(vio_file *file, size_t max, uint8_t **out, size_t *out_len, vv_error *err)
{
    uint64_t size = 0;
    vv_status st = vio_size(file, &size, err);
    if (st != VV_OK)
        return st;
    if (size > max)
        return vv_fail(err, VV_CORRUPT, "%" PRIu64 " bytes, where at most %zu are expected", size,
                       max);
    size_t len = (size_t)size;
    uint8_t *data = vv_alloc(len + 1);
    if (data == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %zu bytes", len);
    st = vio_pread_full(file, 0, data, len, err);
    if (st != VV_OK) {
        vv_free(data);
        return st;
    }
    data[len] = '\0';
    *out = data;
    *out_len = len;
    return VV_OK;
}

vv_status vio_read_file(vio *io, const char *path, size_t max, uint8_t **out, size_t *out_len,
                        vv_error *err)
{
    vio_file *file = NULL;
    vv_status st = vio_open(io, path, VIO_READ, &file, err);
    if (st != VV_OK)
        return st; /* names the path */
    st = read_all(file, max, out, out_len, err);
    if (st != VV_OK)
        vv_wrap(err, st, "read '%s'", path);
    vio_close(file);
    return st;
}

/* The bytes of a temporary file, durable. An older temporary of the same name is overwritten. */
static vv_status write_temporary(vio *io, const char *path, vv_slice content, vv_error *err)
{
    vio_file *file = NULL;
    vv_status st = vio_open(io, path, VIO_WRITE | VIO_CREATE, &file, err);
    if (st != VV_OK)
        return st;
    st = vio_truncate(file, 0, err);
    if (st == VV_OK)
        st = vio_pwrite(file, 0, content.data, content.len, err);
    if (st == VV_OK)
        st = vio_sync(file, err);
    vio_close(file);
    return st;
}

vv_status vio_write_file_atomic(vio *io, const char *path, vv_slice content, vv_error *err)
{
    char tmp[VIO_PATH_MAX];
    int n = snprintf(tmp, sizeof tmp, "%s.tmp", path);
    if (n < 0 || (size_t)n >= sizeof tmp)
        return vv_fail(err, VV_INVALID, "write '%.80s...': the path is too long", path);
    char dir[VIO_PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t dir_len = slash == NULL ? 0 : (size_t)(slash - path);
    memcpy(dir, path, dir_len);
    dir[dir_len] = '\0';

    vv_status st = write_temporary(io, tmp, content, err);
    VV_POINT("io.atomic.written");
    if (st == VV_OK)
        st = vio_rename(io, tmp, path, err);
    if (st != VV_OK) {
        (void)!vio_remove(io, tmp, NULL); /* the first error is the one to tell */
        return st;
    }
    VV_POINT("io.atomic.renamed");
    return vio_sync_dir(io, dir, err);
}
