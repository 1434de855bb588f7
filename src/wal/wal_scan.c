/*
 * wal_scan.c - reading a log that is being written: for checkpoints and backups.
 *
 *   wal_hold --> no segment goes --> wal_scan, as often as needed --> wal_unhold
 *
 * Only what is durable is read, out of the segment files: nothing below the durable position ever
 * changes, so the reader needs no lock. A chunk that reaches past the position may hold bytes of a
 * write in flight; they are never looked at, for the walk ends at the position.
 */
#include <inttypes.h>

#include "base/alloc.h"
#include "base/error.h"
#include "wal/wal_int.h"

/* What a scan needs to know of a segment. */
typedef struct span {
    uint64_t number, base, capacity, from, to;
    uint32_t chain;
} span;

typedef struct scan {
    wal *log;
    const uint64_t *above;
    wal_each each;
    void *ctx;
} scan;

void wal_hold(wal *log)
{
    vv_mutex_lock(&log->lock);
    log->holds++;
    vv_mutex_unlock(&log->lock);
}

void wal_unhold(wal *log)
{
    vv_mutex_lock(&log->lock);
    assert(log->holds > 0);
    log->holds--;
    vv_mutex_unlock(&log->lock);
}

void wal_keep(wal *log, uint64_t position, uint64_t bytes_max)
{
    vv_mutex_lock(&log->lock);
    log->keep = position;
    log->keep_max = bytes_max;
    vv_mutex_unlock(&log->lock);
}

uint64_t wal_begin_position(wal *log)
{
    vv_mutex_lock(&log->lock);
    uint64_t begin = log->seg_count == 0 ? log->end : log->segs[0]->first;
    vv_mutex_unlock(&log->lock);
    return begin;
}

static bool is_wanted(const wal_segment *seg, const uint64_t *above)
{
    for (uint64_t left = seg->shards; left != 0; left &= left - 1) {
        unsigned shard = (unsigned)__builtin_ctzll(left);
        if (seg->last_index[shard] > above[shard])
            return true;
    }
    return false;
}

/* The segments below a position that hold something above. Gives *out: vv_free. */
static vv_status take_spans(wal *log, uint64_t to, const uint64_t *above, span **out, size_t *count,
                            vv_error *err)
{
    *count = 0;
    vv_mutex_lock(&log->lock);
    span *spans = vv_calloc(log->seg_count + 1, sizeof *spans);
    for (size_t i = 0; spans != NULL && i < log->seg_count; i++) {
        const wal_segment *seg = log->segs[i];
        bool last = i + 1 == log->seg_count;
        uint64_t end = last ? to : vv_min_u64(to, log->segs[i + 1]->first);
        if (seg->first < end && is_wanted(seg, above))
            spans[(*count)++] =
                (span){seg->number, seg->base, seg->capacity, seg->first, end, seg->prev_crc};
    }
    vv_mutex_unlock(&log->lock);
    if (spans == NULL)
        return vv_fail(err, VV_NO_MEMORY, "log '%s': no memory to read it", log->dir);
    *out = spans;
    return VV_OK;
}

static vv_status deliver(const scan *s, const wal_batch *batch, const uint8_t *p, vv_error *err)
{
    size_t at = 0;
    vv_status st = VV_OK;
    for (uint32_t i = 0; st == VV_OK && i < batch->count; i++) {
        wal_record rec;
        wal_batch_record(p, batch, i, &at, &rec);
        if (rec.kind == WAL_ENTRY && rec.index > s->above[rec.shard])
            st = s->each(s->ctx, &rec, batch->position, err);
    }
    return st;
}

static vv_status scan_span(const scan *s, const span *sp, vv_error *err)
{
    vio_file *file = NULL;
    vv_status st = wal_segment_open(s->log, sp->number, VIO_READ | VIO_DIRECT, &file, err);
    if (st != VV_OK)
        return st;
    wal_reader r;
    uint64_t at = sp->from;
    uint32_t chain = sp->chain;
    wal_reader_init(&r, s->log, file, sp->base, sp->base + sp->capacity);
    while (st == VV_OK && at < sp->to) {
        wal_batch batch;
        const uint8_t *p = NULL;
        uint64_t torn;
        st = wal_reader_batch(&r, at, chain, &batch, &p, &torn, err);
        if (st != VV_OK) {
            (void)vv_wrap(err, st, "log '%s': segment %" PRIu64 ": offset %" PRIu64, s->log->dir,
                          sp->number, wal_file_offset(sp->base, at));
            break;
        }
        st = deliver(s, &batch, p, err);
        at += batch.length;
        chain = batch.crc;
    }
    wal_reader_fini(&r);
    vio_close(file);
    return st;
}

vv_status wal_scan(wal *log, uint64_t to, const uint64_t above[WAL_SHARD_MAX], wal_each each,
                   void *ctx, vv_error *err)
{
    assert(above != NULL && each != NULL);
    if (log->opt.read_only)
        return vv_fail(err, VV_UNSUPPORTED, "log '%s': it is open read-only", log->dir);
    if (to > wal_durable_position(log))
        return vv_fail(err, VV_INVALID, "log '%s': position %" PRIu64 " is not durable yet",
                       log->dir, to);
    scan s = {log, above, each, ctx};
    span *spans = NULL;
    size_t count = 0;
    vv_status st = take_spans(log, to, above, &spans, &count, err);
    for (size_t i = 0; st == VV_OK && i < count; i++)
        st = scan_span(&s, &spans[i], err);
    vv_free(spans);
    return st;
}
