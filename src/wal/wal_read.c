/*
 * wal_read.c - reading batches back, one at a time, out of a segment file or the ring.
 *
 * What is believed of a header, and when: its position and the checksum before it are compared
 * first, because stale bytes of a recycled segment fail there; then header and directory are
 * summed, so that a length is trusted before that many bytes are read; the payloads come last.
 * Memory is bounded by one batch.
 */
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "wal/wal_int.h"

#define READ_CHUNK ((uint64_t)1 << 20)

void wal_reader_init(wal_reader *r, const wal *log, vio_file *file, uint64_t base, uint64_t limit)
{
    *r = (wal_reader){.log = log, .file = file, .base = base, .limit = limit};
}

void wal_reader_fini(wal_reader *r)
{
    vv_free(r->buf);
    r->buf = NULL;
}

static vv_status grow(wal_reader *r, size_t need, vv_error *err)
{
    if (need <= r->cap)
        return VV_OK;
    vv_free(r->buf);
    r->cap = 0;
    r->len = 0;
    r->buf = vv_alloc_aligned(VV_BLOCK, need);
    if (r->buf == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory to read %zu bytes of log", need);
    r->cap = need;
    return VV_OK;
}

static vv_status view_ring(wal_reader *r, uint64_t position, size_t len, const uint8_t **out,
                           vv_error *err)
{
    const wal_ring *ring = &r->log->ring;
    if (len > ring->size)
        return VV_NOT_FOUND;
    uint64_t at = position % ring->size;
    if (at + len <= ring->size) {
        *out = ring->data + at;
        return VV_OK;
    }
    vv_status st = grow(r, len, err);
    if (st != VV_OK)
        return st;
    wal_ring_get(ring, position, r->buf, len);
    *out = r->buf;
    return VV_OK;
}

static vv_status fill(wal_reader *r, uint64_t position, size_t len, vv_error *err)
{
    uint64_t from = wal_floor(position);
    uint64_t need = vv_align_up(position + len, VV_BLOCK) - from;
    uint64_t want = vv_min_u64(vv_max_u64(need, READ_CHUNK), r->limit - from);
    r->len = 0;
    vv_status st = grow(r, (size_t)want, err);
    if (st == VV_OK)
        st = vio_pread_full(r->file, wal_file_offset(r->base, from), r->buf, (size_t)want, err);
    if (st != VV_OK)
        return st;
    r->start = from;
    r->len = (size_t)want;
    return VV_OK;
}

vv_status wal_reader_view(wal_reader *r, uint64_t position, size_t len, const uint8_t **out,
                          vv_error *err)
{
    if (position > r->limit || len > r->limit - position)
        return VV_NOT_FOUND;
    if (r->file == NULL)
        return view_ring(r, position, len, out, err);
    if (position < r->start || position + len > r->start + r->len) {
        vv_status st = fill(r, position, len, err);
        if (st != VV_OK)
            return st;
    }
    *out = r->buf + (position - r->start);
    return VV_OK;
}

static vv_status check_place(const wal_batch *batch, uint64_t position, uint32_t chain,
                             vv_error *err)
{
    if (VV_BUG(5))
        return VV_OK;
    if (batch->position != position)
        return vv_fail(err, VV_CORRUPT, "no batch of position %" PRIu64 " stands there", position);
    if (batch->prev_crc != chain)
        return vv_fail(err, VV_CORRUPT,
                       "the batch follows one of crc32c %08" PRIx32
                       ", the one before has %08" PRIx32,
                       batch->prev_crc, chain);
    return VV_OK;
}

/* A view that must lie before the limit, or else the batch is not whole. */
static vv_status view_whole(wal_reader *r, uint64_t position, size_t len, const uint8_t **out,
                            vv_error *err)
{
    vv_status st = wal_reader_view(r, position, len, out, err);
    if (st == VV_NOT_FOUND)
        return vv_fail(err, VV_CORRUPT, "a batch of %zu bytes does not end where it could", len);
    return st;
}

/* The length of an unfinished write whose header stands here, or 0: for the report of a cut. One
 * field that fits is enough, for the rest may be what was torn. */
static uint64_t torn_length(const wal_batch *batch, uint64_t position, uint32_t chain)
{
    bool zero = batch->length == 0 && batch->crc == 0 && batch->prev_crc == 0;
    if (zero || (batch->position != position && batch->prev_crc != chain))
        return 0;
    return wal_batch_front(batch) == 0 ? WAL_BATCH_HEADER : batch->length;
}

vv_status wal_reader_batch(wal_reader *r, uint64_t position, uint32_t chain, wal_batch *batch,
                           const uint8_t **out, uint64_t *torn, vv_error *err)
{
    *torn = 0;
    const uint8_t *p = NULL;
    vv_status st = view_whole(r, position, WAL_BATCH_HEADER, &p, err);
    if (st != VV_OK)
        return st;
    wal_batch_get(p, batch);
    *torn = torn_length(batch, position, chain);
    st = check_place(batch, position, chain, err);
    if (st != VV_OK)
        return st;
    size_t front = wal_batch_front(batch);
    if (front == 0)
        return vv_fail(err, VV_CORRUPT, "length %" PRIu32 " and count %" PRIu32 " cannot be",
                       batch->length, batch->count);
    st = view_whole(r, position, front, &p, err);
    if (st != VV_OK)
        return st;
    if (!wal_batch_front_fits(p, batch, r->log->seed) && !VV_BUG(4))
        return vv_fail(err, VV_CORRUPT, "the batch header does not match its crc32c %08" PRIx32,
                       batch->crc);
    st = view_whole(r, position, batch->length, &p, err);
    if (st == VV_OK)
        st = wal_batch_check(p, batch, r->log->seed, err);
    if (st == VV_OK)
        *out = p;
    return st;
}

vv_status wal_reader_probe(wal_reader *r, uint64_t position, wal_batch *batch, bool *found,
                           vv_error *err)
{
    *found = false;
    const uint8_t *p = NULL;
    vv_status st = wal_reader_view(r, position, WAL_BATCH_HEADER, &p, err);
    if (st != VV_OK)
        return st == VV_NOT_FOUND ? VV_OK : st;
    wal_batch_get(p, batch);
    size_t front = wal_batch_front(batch);
    if (batch->position != position || front == 0)
        return VV_OK;
    st = wal_reader_view(r, position, front, &p, err);
    if (st != VV_OK)
        return st == VV_NOT_FOUND ? VV_OK : st;
    *found = wal_batch_front_fits(p, batch, r->log->seed);
    return VV_OK;
}
