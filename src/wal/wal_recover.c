/*
 * wal_recover.c - where does the log end, what is delivered, and how it goes on from there.
 *
 *    segments                                       ring
 *    |--- whole, chained batches ---| P   bad |     |-- from P mod size, same chain --| E
 *                                   ^ scan_end                                        ^ end
 *
 * K is the highest position that any header found anywhere says was synced: the headers behind P in
 * the last segment, those in the ring, the next segment's batches. E < K is damage: VV_CORRUPT, and
 * nothing is changed. Else what lies behind E is an unfinished write and is cut, even if later
 * parts of it look whole, because disks reorder inside a write. K <= E with P < K means that the
 * ring still holds what the segment lost: the log goes on in a new segment from P.
 *
 * Then, in wal_finish and in this order: the last segment is synced (what was read may be in a
 * volatile cache), the ring's tail is written and synced with filler of a new epoch behind it, and
 * only then are appends taken. A log that ends inside a block or before an unfinished write goes
 * on in a new segment, whose header says at which byte: the old block may hold bytes that were
 * acknowledged and is not written again, and what is left of the unfinished write can never be
 * read as a part of the log.
 */
#include <inttypes.h>

#include "base/error.h"
#include "base/point.h"
#include "wal/wal_int.h"

/* ---- the end of the log; changes nothing ---- */

typedef struct evidence {
    uint64_t synced; /* highest known-synced position seen */
    uint64_t high;   /* highest end of a batch that stands behind P */
} evidence;

static void add_evidence(evidence *e, const wal_batch *batch)
{
    e->synced = vv_max_u64(e->synced, batch->synced);
    e->high = vv_max_u64(e->high, batch->position + batch->length);
}

static wal_segment *last_segment(const wal *log)
{
    return log->segs[log->seg_count - 1];
}

/* Every write begins at a block boundary with a batch header: look at all of them behind P. */
static vv_status probe_segment(wal_reader *r, uint64_t from, evidence *e, vv_error *err)
{
    for (uint64_t at = vv_align_up(from, VV_BLOCK); at < r->limit; at += VV_BLOCK) {
        wal_batch batch;
        bool found;
        vv_status st = wal_reader_probe(r, at, &batch, &found, err);
        if (st != VV_OK)
            return st;
        if (found)
            add_evidence(e, &batch);
    }
    return VV_OK;
}

static vv_status probe_ring(const wal *log, evidence *e, vv_error *err)
{
    if (log->ring.data == NULL)
        return VV_OK;
    wal_reader r;
    wal_reader_init(&r, log, NULL, 0, UINT64_MAX);
    vv_status st = VV_OK;
    for (uint64_t off = 0; off < log->ring.size && st == VV_OK; off += VV_BLOCK) {
        wal_batch batch;
        bool found = false;
        wal_batch_get(log->ring.data + off, &batch);
        if (batch.position % log->ring.size == off && batch.position < INT64_MAX)
            st = wal_reader_probe(&r, batch.position, &batch, &found, err);
        if (found)
            e->synced = vv_max_u64(e->synced, batch.synced);
    }
    wal_reader_fini(&r);
    return st;
}

/* A spare with batches at the place where the log would go on has lost its header. */
static vv_status check_next_file(wal *log, vv_error *err)
{
    const wal_reserve *next = log->reserves;
    uint64_t number = last_segment(log)->number + 1;
    if (log->reserve_count == 0 || next->number != number || next->size < 2 * VV_BLOCK)
        return VV_OK;
    vio_file *file = NULL;
    vv_status st = wal_segment_open(log, number, VIO_READ | VIO_DIRECT, &file, err);
    if (st != VV_OK)
        return st;
    uint64_t base = wal_floor(log->scan_end);
    wal_reader r;
    wal_batch batch;
    bool found = false;
    wal_reader_init(&r, log, file, base, base + wal_floor(next->size) - VV_BLOCK);
    st = wal_reader_probe(&r, log->scan_end, &batch, &found, err);
    wal_reader_fini(&r);
    vio_close(file);
    if (st == VV_OK && found && !VV_BUG(3))
        st = vv_fail(err, VV_CORRUPT,
                     "log '%s': the header of segment %" PRIu64
                     " is damaged: restore the file from a backup",
                     log->dir, number);
    return st;
}

static void learn_epoch(wal *log, const wal_batch *batch, const uint8_t *p)
{
    if (batch->count == 0)
        log->epoch = vv_max_u64(log->epoch, wal_filler_epoch(p));
}

/* Whole batches of the last segment; leaves the reader, the reason of the stop and a torn length.
 */
static vv_status walk_last(wal *log, wal_reader *r, uint64_t *torn, vv_error *reason)
{
    uint64_t at = last_segment(log)->first;
    uint32_t chain = last_segment(log)->prev_crc;
    vv_status st;
    log->epoch = last_segment(log)->epoch;
    for (;;) {
        wal_batch batch;
        const uint8_t *p;
        st = wal_reader_batch(r, at, chain, &batch, &p, torn, reason);
        if (st != VV_OK)
            break;
        learn_epoch(log, &batch, p);
        at += batch.length;
        chain = batch.crc;
    }
    log->scan_end = at;
    log->scan_chain = chain;
    return st == VV_CORRUPT ? VV_OK : st;
}

static vv_status walk_ring(wal *log, evidence *e, vv_error *err)
{
    uint64_t at = log->scan_end;
    uint32_t chain = log->scan_chain;
    vv_status st = VV_OK;
    if (log->ring.data != NULL) {
        wal_reader r;
        wal_reader_init(&r, log, NULL, 0, log->scan_end + log->ring.size);
        for (;;) {
            wal_batch batch;
            const uint8_t *p;
            uint64_t torn;
            st = wal_reader_batch(&r, at, chain, &batch, &p, &torn, err);
            /* An unaligned end leaves room for its filler; no writer of ours fills more. */
            if (st != VV_OK || wal_padded(at + batch.length) > r.limit)
                break;
            learn_epoch(log, &batch, p);
            at += batch.length;
            chain = batch.crc;
            add_evidence(e, &batch);
        }
        wal_reader_fini(&r);
    }
    log->end = at;
    log->chain = chain;
    return st == VV_CORRUPT ? VV_OK : st;
}

static vv_status judge(wal *log, const evidence *e, uint64_t torn, const vv_error *reason,
                       vv_error *err)
{
    uint64_t high = vv_max_u64(e->high, log->scan_end + torn);
    log->recovery.cut_bytes = high > log->end ? high - log->end : 0;
    log->recovery.end = log->end;
    log->recovery.ring_bytes = log->end - log->scan_end;
    log->recovery.segments = log->seg_count;
    log->scan_repair = e->synced > log->scan_end;
    if (log->end >= e->synced || VV_BUG(3))
        return VV_OK;
    const wal_segment *seg = last_segment(log);
    return vv_fail(err, VV_CORRUPT,
                   "log '%s': segment %" PRIu64 ": offset %" PRIu64 ": %s; bytes up to position "
                   "%" PRIu64 " were synced: restore the file from a backup",
                   log->dir, seg->number, wal_file_offset(seg->base, log->scan_end), reason->msg,
                   e->synced);
}

static vv_status walk_and_judge(wal *log, wal_reader *r, vv_error *err)
{
    evidence e = {0};
    uint64_t torn = 0;
    vv_error reason = {0};
    vv_status st = walk_last(log, r, &torn, &reason);
    if (st != VV_OK) {
        if (err != NULL)
            *err = reason;
        return vv_wrap(err, st, "log '%s': segment %" PRIu64, log->dir, last_segment(log)->number);
    }
    st = probe_segment(r, log->scan_end + 1, &e, err);
    if (st == VV_OK)
        st = probe_ring(log, &e, err);
    if (st == VV_OK)
        st = walk_ring(log, &e, err);
    if (st == VV_OK)
        st = check_next_file(log, err);
    return st == VV_OK ? judge(log, &e, torn, &reason, err) : st;
}

vv_status wal_find_end(wal *log, vv_error *err)
{
    wal_segment *seg = last_segment(log);
    vio_file *file = NULL;
    vv_status st = wal_segment_open(log, seg->number, VIO_READ | VIO_DIRECT, &file, err);
    if (st != VV_OK)
        return st;
    wal_reader r;
    wal_reader_init(&r, log, file, seg->base, seg->base + seg->capacity);
    st = walk_and_judge(log, &r, err);
    wal_reader_fini(&r);
    vio_close(file);
    return st;
}

/* ---- replay ---- */

/* What the log itself learns from the records that pass. */
static void learn(wal *log, wal_segment *seg, const wal_record *rec)
{
    vv_mutex_lock(&log->lock);
    if (seg != NULL)
        wal_note(log, seg, rec);
    if (rec->kind == WAL_CHECKPOINT) {
        uint64_t bit = UINT64_C(1) << rec->shard;
        if ((log->released_shards & bit) == 0 || log->released[rec->shard] < rec->index)
            log->released[rec->shard] = rec->index;
        log->released_shards |= bit;
    }
    vv_mutex_unlock(&log->lock);
}

static vv_status deliver(wal *log, wal_segment *seg, const wal_batch *batch, const uint8_t *p,
                         wal_each each, void *ctx, vv_error *err)
{
    size_t at = 0;
    for (uint32_t i = 0; i < batch->count; i++) {
        wal_record rec;
        wal_batch_record(p, batch, i, &at, &rec);
        learn(log, seg, &rec);
        log->recovery.entries += rec.kind == WAL_ENTRY;
        vv_status st = each == NULL ? VV_OK : each(ctx, &rec, batch->position, err);
        if (st != VV_OK)
            return st;
    }
    return VV_OK;
}

/* Batches from (at, chain) up to `to`, where the next must follow *chain. *bad tells a record that
 * does not check from a failure of each(). */
static vv_status deliver_range(wal *log, wal_reader *r, wal_segment *seg, uint64_t *at, uint64_t to,
                               uint32_t *chain, wal_each each, void *ctx, bool *bad, vv_error *err)
{
    *bad = false;
    while (*at < to) {
        wal_batch batch;
        const uint8_t *p;
        uint64_t torn;
        vv_status st = wal_reader_batch(r, *at, *chain, &batch, &p, &torn, err);
        *bad = st == VV_CORRUPT;
        if (st == VV_OK && batch.length > to - *at) {
            *bad = true;
            st = vv_fail(err, VV_CORRUPT, "the batch ends behind the start of the next segment");
        }
        if (st == VV_OK)
            st = deliver(log, seg, &batch, p, each, ctx, err);
        if (st != VV_OK)
            return st;
        log->recovery.bytes += batch.length;
        *at += batch.length;
        *chain = batch.crc;
    }
    return VV_OK;
}

/* The position and the checksum at which the segment must end. */
static void segment_goal(const wal *log, size_t i, uint64_t *to, uint32_t *chain)
{
    bool last = i + 1 == log->seg_count;
    *to = last ? log->scan_end : log->segs[i + 1]->first;
    *chain = last ? log->scan_chain : log->segs[i + 1]->prev_crc;
}

vv_status wal_scan_segment(wal *log, size_t i, wal_each each, void *ctx, vv_error *err)
{
    wal_segment *seg = log->segs[i];
    vio_file *file = NULL;
    vv_status st = wal_segment_open(log, seg->number, VIO_READ | VIO_DIRECT, &file, err);
    if (st != VV_OK)
        return st;
    uint64_t to;
    uint32_t goal;
    segment_goal(log, i, &to, &goal);
    uint64_t at = seg->first;
    uint32_t chain = seg->prev_crc;
    bool bad = false;
    wal_reader r;
    wal_reader_init(&r, log, file, seg->base, seg->base + seg->capacity);
    st = deliver_range(log, &r, seg, &at, to, &chain, each, ctx, &bad, err);
    wal_reader_fini(&r);
    vio_close(file);
    if (st == VV_OK && chain != goal) {
        bad = true;
        st = vv_fail(err, VV_CORRUPT,
                     "the next segment follows a batch of crc32c %08" PRIx32
                     ", here it is %08" PRIx32,
                     goal, chain);
    }
    if (bad)
        return vv_wrap(err, st,
                       "log '%s': segment %" PRIu64 ": offset %" PRIu64
                       " (synced bytes: restore the file from a backup)",
                       log->dir, seg->number, wal_file_offset(seg->base, at));
    return st;
}

static vv_status scan_ring(wal *log, wal_each each, void *ctx, vv_error *err)
{
    if (log->end == log->scan_end)
        return VV_OK;
    uint64_t at = log->scan_end;
    uint32_t chain = log->scan_chain;
    bool bad;
    wal_reader r;
    wal_reader_init(&r, log, NULL, 0, log->scan_end + log->ring.size);
    /* Which segment takes a batch of the tail is known only in wal_finish: no segment here. */
    vv_status st = deliver_range(log, &r, NULL, &at, log->end, &chain, each, ctx, &bad, err);
    wal_reader_fini(&r);
    return st;
}

vv_status wal_scan_end(wal *log, wal_each each, void *ctx, vv_error *err)
{
    vv_status st = wal_scan_segment(log, log->seg_count - 1, each, ctx, err);
    return st == VV_OK ? scan_ring(log, each, ctx, err) : st;
}

/* ---- make it durable and go on ---- */

static vv_status sync_last(wal *log, vv_error *err)
{
    wal_segment *seg = last_segment(log);
    unsigned flags = VIO_READ | VIO_WRITE | VIO_DIRECT | VIO_DSYNC;
    vv_status st = wal_segment_open(log, seg->number, flags, &seg->file, err);
    if (st == VV_OK)
        st = vio_sync(seg->file, err);
    return st;
}

static vv_status remove_if_there(wal *log, const char *name, bool *any, vv_error *err)
{
    char path[VIO_PATH_MAX];
    wal_path(log, name, path);
    vv_status st = vio_remove(log->env->io, path, err);
    *any = *any || st == VV_OK;
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* Spares that fit are taken over; files of another size and half-made ones go. */
static vv_status take_spares(wal *log, vv_error *err)
{
    bool removed = false;
    vv_status st = remove_if_there(log, "spare.new", &removed, err);
    if (st == VV_OK)
        st = remove_if_there(log, "ring.new", &removed, err);
    for (size_t i = 0; i < log->reserve_count && st == VV_OK; i++) {
        const wal_reserve *r = &log->reserves[i];
        if (r->number == log->next_number && r->size == log->opt.segment_size &&
            log->spare_count < log->opt.spare_segments) {
            st = wal_spare_adopt(log, r->number, &log->spares[log->spare_count], err);
            if (st == VV_OK) {
                log->spare_count++;
                log->next_number++;
            }
        } else {
            char name[32];
            wal_segment_name(r->number, name);
            st = remove_if_there(log, name, &removed, err);
        }
    }
    if (st == VV_OK && removed)
        st = vio_sync_dir(log->env->io, log->dir, err);
    return st;
}

/* Begin a new segment at the end, with room for a batch of len bytes. */
static vv_status tail_switch(wal *log, uint64_t len, vv_error *err) VV_REQUIRES(log->lock)
{
    uint64_t need = wal_padded(log->end + len) - wal_floor(log->end);
    for (bool done = false; !done;) {
        vv_status st;
        if (log->seg_count - log->write_index > WAL_PENDING_MAX)
            st = wal_write_out(log, err);
        else
            st = wal_switch(log, need, &done, err);
        if (st != VV_OK)
            return st;
    }
    return VV_OK;
}

static vv_status tail_batch(wal *log, const wal_batch *batch, const uint8_t *p, vv_error *err)
    VV_REQUIRES(log->lock)
{
    if (wal_padded(log->end + batch->length) > log->limit) {
        vv_status st = tail_switch(log, batch->length, err);
        if (st != VV_OK)
            return st;
    }
    size_t at = 0;
    for (uint32_t i = 0; i < batch->count; i++) {
        wal_record rec;
        wal_batch_record(p, batch, i, &at, &rec);
        wal_note(log, last_segment(log), &rec);
    }
    log->end += batch->length;
    log->chain = batch->crc;
    return VV_OK;
}

/* Filler of the new epoch, so that nothing from before can follow what comes now. */
static vv_status write_mark(wal *log, vv_error *err) VV_REQUIRES(log->lock)
{
    if (log->end % VV_BLOCK != 0) {
        wal_pad(log);
        return wal_write_out(log, err);
    }
    vv_status st = VV_OK;
    if (log->end + VV_BLOCK - log->scan_end > log->ring.size)
        st = wal_write_out(log, err); /* the tail fills the whole ring */
    if (st == VV_OK && log->end + VV_BLOCK > log->limit)
        st = tail_switch(log, VV_BLOCK, err);
    if (st != VV_OK)
        return st;
    wal_mark(log);
    return wal_write_out(log, err);
}

/* The ring's batches [scan_end, to) into segments. */
static vv_status write_tail(wal *log, uint64_t to, vv_error *err) VV_REQUIRES(log->lock)
{
    vv_status st = VV_OK;
    log->end = log->scan_end;
    log->chain = log->scan_chain;
    log->write_index = log->seg_count - 1;
    log->limit = last_segment(log)->base + last_segment(log)->capacity;
    atomic_store_explicit(&log->durable, log->scan_end, memory_order_release);
    if (log->end % VV_BLOCK != 0 || log->scan_repair || log->recovery.cut_bytes > 0)
        st = tail_switch(log, 0, err);
    wal_reader r;
    wal_reader_init(&r, log, NULL, 0, log->scan_end + log->ring.size);
    while (st == VV_OK && log->end < to) {
        wal_batch batch;
        const uint8_t *p;
        uint64_t torn;
        st = wal_reader_batch(&r, log->end, log->chain, &batch, &p, &torn, err);
        if (st == VV_OK)
            st = tail_batch(log, &batch, p, err);
    }
    wal_reader_fini(&r);
    if (st != VV_OK)
        return st;
    return write_mark(log, err);
}

vv_status wal_finish(wal *log, vv_error *err)
{
    log->next_number = last_segment(log)->number + 1;
    log->epoch++;
    uint64_t to = log->end;
    vv_status st = sync_last(log, err);
    if (st == VV_OK)
        st = take_spares(log, err);
    if (st == VV_OK && log->ring_lost) {
        st = wal_ring_create(log, log->opt.ring_size, err);
        if (st == VV_OK)
            st = wal_ring_open(log, err);
    }
    VV_POINT("wal.recovered");
    if (st == VV_OK) {
        vv_mutex_lock(&log->lock);
        st = write_tail(log, to, err);
        vv_mutex_unlock(&log->lock);
    }
    if (st == VV_OK && log->ring.size != log->opt.ring_size) {
        wal_ring_close(log); /* everything is in segments now */
        st = wal_ring_create(log, log->opt.ring_size, err);
        if (st == VV_OK)
            st = wal_ring_open(log, err);
    }
    if (st == VV_OK)
        log->state = WAL_READY;
    return st;
}
