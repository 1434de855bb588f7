/*
 * wal_ring.c - the ring: the `os` copy of the log's end, and the memory the writer writes from.
 *
 *      0        4096                                  4096 + size
 *      +--------+-------------------------------------+
 *      | header | position p is at p mod size         |   mapped shared: a store survives SIGKILL
 *      +--------+-------------------------------------+
 *
 * A batch may wrap; a header or a payload may be cut anywhere by the end of the ring. The file is
 * pre-written and populated when it is mapped: on a full disk a sparse mapped file kills the
 * process at the store. It is never written by pwrite once it is mapped, and segments are never
 * mapped: a direct write over pages that are dirty in the cache waits for their write-back.
 */
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "wal/wal_int.h"

#define RING_NAME "ring"
#define RING_NEW "ring.new"

static vv_status write_ring_file(wal *log, vio_file *file, uint64_t size, vv_error *err)
{
    vv_status st = vio_truncate(file, 0, err);
    if (st == VV_OK)
        st = vio_allocate(file, VV_BLOCK + size, err);
    if (st == VV_OK)
        st = wal_prewrite(file, VV_BLOCK, VV_BLOCK + size, err);
    if (st == VV_OK) {
        wal_file_header h = {.log_id = log->log_id, .capacity = size};
        wal_header_put(log->block, WAL_MAGIC_RING, &h);
        st = vio_pwrite(file, 0, log->block, VV_BLOCK, err);
    }
    if (st == VV_OK)
        st = vio_sync(file, err);
    return st;
}

vv_status wal_ring_create(wal *log, uint64_t size, vv_error *err)
{
    char tmp[VIO_PATH_MAX];
    char path[VIO_PATH_MAX];
    wal_path(log, RING_NEW, tmp);
    wal_path(log, RING_NAME, path);
    vio *io = log->env->io;
    vio_file *file = NULL;
    vv_status st = vio_open(io, tmp, VIO_READ | VIO_WRITE | VIO_CREATE, &file, err);
    if (st == VV_OK)
        st = write_ring_file(log, file, size, err);
    vio_close(file);
    if (st == VV_OK)
        st = vio_rename(io, tmp, path, err);
    VV_POINT("wal.ring_renamed");
    if (st == VV_OK)
        st = vio_sync_dir(io, log->dir, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "make the ring of log '%s'", log->dir);
    return VV_OK;
}

static vv_status map_ring(wal *log, vv_error *err)
{
    size_t len = (size_t)(VV_BLOCK + log->ring.size);
    vv_status st = vio_map(log->ring.file, len, &log->ring.map, err);
    if (st == VV_OK)
        log->ring.data = log->ring.map + VV_BLOCK;
    return st;
}

static vv_status copy_ring(wal *log, vv_error *err)
{
    log->ring.data = vv_alloc_aligned(VV_BLOCK, (size_t)log->ring.size);
    if (log->ring.data == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %" PRIu64 " bytes", log->ring.size);
    return vio_pread_full(log->ring.file, VV_BLOCK, log->ring.data, (size_t)log->ring.size, err);
}

vv_status wal_ring_header(wal *log, vio_file *file, wal_file_header *h, vv_error *err)
{
    vv_status st = vio_pread_full(file, 0, log->block, VV_BLOCK, err);
    if (st == VV_OK)
        st = wal_header_get(log->block, WAL_MAGIC_RING, h, err);
    uint64_t size = 0;
    if (st == VV_OK)
        st = vio_size(file, &size, err);
    if (st == VV_OK && size < VV_BLOCK + h->capacity)
        st =
            vv_fail(err, VV_CORRUPT, "%" PRIu64 " bytes of %" PRIu64, size, VV_BLOCK + h->capacity);
    if (st == VV_OK && h->capacity < WAL_RING_MIN)
        st = vv_fail(err, VV_CORRUPT, "a size of %" PRIu64, h->capacity);
    return st == VV_NOT_FOUND ? VV_CORRUPT : st; /* the name is given to whole files only */
}

vv_status wal_ring_open(wal *log, vv_error *err)
{
    char path[VIO_PATH_MAX];
    wal_path(log, RING_NAME, path);
    unsigned flags = log->opt.read_only ? VIO_READ : VIO_READ | VIO_WRITE;
    vv_status st = vio_open(log->env->io, path, flags, &log->ring.file, err);
    if (st != VV_OK)
        return st;
    wal_file_header h = {0};
    st = wal_ring_header(log, log->ring.file, &h, err);
    if (st == VV_OK) {
        log->log_id = h.log_id;
        log->ring.size = h.capacity;
        st = log->opt.read_only ? copy_ring(log, err) : map_ring(log, err);
    }
    if (st == VV_CORRUPT)
        return vv_wrap(err, st,
                       "ring '%s' (remove it to open the log without the writes that were never "
                       "synced)",
                       path);
    if (st != VV_OK)
        return vv_wrap(err, st, "ring '%s'", path);
    vv_budget_take(log->opt.budget, VV_BUDGET_LOG, log->ring.size);
    log->ring.counted = true;
    return VV_OK;
}

void wal_ring_close(wal *log)
{
    wal_ring *ring = &log->ring;
    if (ring->counted)
        vv_budget_release(log->opt.budget, VV_BUDGET_LOG, ring->size);
    if (ring->map != NULL)
        vio_unmap(ring->file, ring->map, (size_t)(VV_BLOCK + ring->size));
    else
        vv_free(ring->data);
    vio_close(ring->file);
    *ring = (wal_ring){0};
}

void wal_ring_put(wal_ring *ring, uint64_t position, const void *data, size_t len)
{
    assert(len <= ring->size);
    if (len == 0)
        return;
    uint64_t at = position % ring->size;
    size_t n = (size_t)vv_min_u64(len, ring->size - at);
    memcpy(ring->data + at, data, n);
    if (n < len)
        memcpy(ring->data, (const uint8_t *)data + n, len - n);
}

void wal_ring_zero(wal_ring *ring, uint64_t position, size_t len)
{
    assert(len <= ring->size);
    uint64_t at = position % ring->size;
    size_t n = (size_t)vv_min_u64(len, ring->size - at);
    memset(ring->data + at, 0, n);
    memset(ring->data, 0, len - n);
}

void wal_ring_get(const wal_ring *ring, uint64_t position, void *out, size_t len)
{
    assert(len <= ring->size);
    uint64_t at = position % ring->size;
    size_t n = (size_t)vv_min_u64(len, ring->size - at);
    memcpy(out, ring->data + at, n);
    memcpy((uint8_t *)out + n, ring->data, len - n);
}
