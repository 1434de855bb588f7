/*
 * wal_writer.c - append, and group commit led by the callers.
 *
 *              wal_append                    wal_sync: no write in flight, no leader waiting
 *                  |                              |
 *                  v                              v
 *    [ring: the open group fills] --wal_lead--> pad, fix target --unlock--> pwrite segment(s)
 *                  ^                                                          |
 *                  |                                     on_durable, lock, durable = target
 *                  |                                                          |
 *           next leader waits <---- then it is woken <---- its group is woken first
 *
 * One write is in flight at a time: more of them only make the groups smaller. The group is woken
 * before the next leader, because the commits its threads make next still reach the group that the
 * leader is about to close. Nobody waits on a timer.
 *
 * A write ends at a block boundary behind filler, so no block that holds synced bytes is written
 * again, and the next write's first batch stands at a block boundary, where recovery looks for it.
 *
 * A batch larger than a quarter of the ring is passed through the ring's memory piece by piece with
 * the appenders kept out: the same pwrites, no buffer of its own.
 */
#include <inttypes.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/error.h"
#include "base/point.h"
#include "wal/wal_int.h"

static uint64_t durable_of(const wal *log)
{
    return atomic_load_explicit(&log->durable, memory_order_acquire);
}

static wal_segment *last_segment(const wal *log) VV_REQUIRES(log->lock)
{
    return log->segs[log->seg_count - 1];
}

/* ---- the ring's side: bytes in, under the lock ---- */

static wal_batch next_batch(const wal *log, size_t len, size_t count) VV_REQUIRES(log->lock)
{
    return (wal_batch){.length = (uint32_t)len,
                       .position = log->end,
                       .prev_crc = log->chain,
                       .count = (uint32_t)count,
                       .synced = durable_of(log)};
}

static void put_filler(wal *log, uint32_t len) VV_REQUIRES(log->lock)
{
    assert(log->end + len - durable_of(log) <= log->ring.size);
    assert(log->end + len <= log->limit);
    uint8_t front[WAL_FILLER_MIN];
    wal_batch filler = next_batch(log, len, 0);
    log->chain = wal_filler_put(front, &filler, log->seed, log->epoch);
    wal_ring_put(&log->ring, log->end, front, sizeof front);
    wal_ring_zero(&log->ring, log->end + sizeof front, len - sizeof front);
    log->end += len;
}

void wal_pad(wal *log)
{
    uint32_t len = wal_filler(log->end);
    if (len > 0)
        put_filler(log, len);
}

void wal_mark(wal *log)
{
    assert(log->end % VV_BLOCK == 0);
    put_filler(log, VV_BLOCK);
}

void wal_note(wal *log, wal_segment *seg, const wal_record *rec)
{
    (void)log;
    if (rec->kind != WAL_ENTRY)
        return;
    uint64_t bit = UINT64_C(1) << rec->shard;
    if ((seg->shards & bit) == 0 || seg->last_index[rec->shard] < rec->index)
        seg->last_index[rec->shard] = rec->index;
    seg->shards |= bit;
}

static void note_batch(wal *log, const wal_record *recs, size_t count, size_t len)
    VV_REQUIRES(log->lock)
{
    for (size_t i = 0; i < count; i++)
        wal_note(log, last_segment(log), &recs[i]);
    log->stats.appended_bytes += len;
    log->stats.appended_records += count;
}

static void put_batch(wal *log, const wal_record *recs, size_t count, size_t len,
                      uint32_t directory_crc) VV_REQUIRES(log->lock)
{
    uint8_t header[WAL_RECORD_HEADER];
    wal_batch batch = next_batch(log, len, count);
    log->chain = wal_batch_put(header, &batch, directory_crc);
    uint64_t at = log->end;
    wal_ring_put(&log->ring, at, header, WAL_BATCH_HEADER);
    VV_POINT("wal.ring_header");
    at += WAL_BATCH_HEADER;
    for (size_t i = 0; i < count; i++, at += WAL_RECORD_HEADER) {
        wal_record_put(header, &recs[i]);
        wal_ring_put(&log->ring, at, header, WAL_RECORD_HEADER);
    }
    for (size_t i = 0; i < count; at += recs[i].payload.len, i++)
        wal_ring_put(&log->ring, at, recs[i].payload.data, recs[i].payload.len);
    assert(at == log->end + len);
    VV_POINT("wal.ring_batch");
    log->end = at;
    note_batch(log, recs, count, len);
}

/* ---- the disk's side: without the lock, one thread at a time ---- */

/* The log cannot go on behind a write that failed, whatever for: a status that says "later" (no
 * space, on a file system that copies on write) would have callers try for ever. */
static vv_status final_status(vv_status st)
{
    return st == VV_OK || st == VV_CORRUPT ? st : VV_IO;
}

/* Write the blocks of [from, to) out of the ring. The last block may hold bytes behind `to`. */
static vv_status write_range(wal *log, const wal_piece *piece, uint64_t *written, vv_error *err)
{
    if (piece->from == piece->to)
        return VV_OK; /* an unaligned end that the next segment takes up */
    uint64_t at = wal_floor(piece->from);
    uint64_t to = vv_align_up(piece->to, VV_BLOCK);
    assert(at >= piece->seg->base);
    assert(to <= piece->seg->base + piece->seg->capacity);
    while (at < to) {
        uint64_t off = at % log->ring.size;
        uint64_t n = vv_min_u64(to - at, log->ring.size - off);
        vv_status st = vio_pwrite(piece->seg->file, wal_file_offset(piece->seg->base, at),
                                  log->ring.data + off, (size_t)n, err);
        if (st != VV_OK)
            return vv_wrap(err, final_status(st), "log segment %" PRIu64 " at position %" PRIu64,
                           piece->seg->number, at);
        at += n;
        *written += n;
    }
    return VV_OK;
}

static vv_status run_plan(wal *log, const wal_plan *plan, uint64_t *written, vv_error *err)
{
    if (VV_BUG(1) || (VV_BUG(2) && ++log->write_count % 50 == 0))
        return VV_OK;
    for (unsigned i = 0; i < plan->count; i++) {
        const wal_piece *piece = &plan->piece[i];
        if (i > 0) { /* what lies before is durable: the old segment is complete */
            vio_close(plan->piece[i - 1].seg->file);
            plan->piece[i - 1].seg->file = NULL;
        }
        vv_status st = VV_OK;
        if (!piece->seg->started)
            st = wal_segment_start(log, piece->seg, err);
        if (st != VV_OK)
            return vv_wrap(err, final_status(st), "log segment %" PRIu64, piece->seg->number);
        VV_POINT("wal.before_write");
        st = write_range(log, piece, written, err);
        if (st != VV_OK)
            return st;
        VV_POINT("wal.after_write");
    }
    return VV_OK;
}

/* Cut [durable, end) at the segments' first batches. */
static void make_plan(const wal *log, wal_plan *plan) VV_REQUIRES(log->lock)
{
    *plan = (wal_plan){0};
    uint64_t from = durable_of(log);
    for (size_t i = log->write_index; i < log->seg_count; i++) {
        uint64_t to = i + 1 < log->seg_count ? log->segs[i + 1]->first : log->end;
        assert(plan->count < ARRAY_LEN(plan->piece));
        plan->piece[plan->count++] = (wal_piece){log->segs[i], from, to};
        from = to;
    }
}

static void begin_flight(wal *log, wal_plan *plan) VV_REQUIRES(log->lock)
{
    assert(!log->writing);
    log->writing = true;
    log->flight_gen = log->open_gen++;
    log->target = log->end;
    make_plan(log, plan);
}

/* Everything below target is durable, or the log is latched. */
static void end_flight(wal *log, const wal_plan *plan, vv_status st, uint64_t written,
                       const vv_error *why) VV_REQUIRES(log->lock)
{
    if (st == VV_OK) {
        log->write_index += plan->count - 1;
        atomic_store_explicit(&log->durable, log->target, memory_order_release);
        log->stats.syncs++;
        log->stats.written_bytes += written;
    } else {
        wal_latch(log, why);
    }
    log->writing = false;
}

static vv_status fly(wal *log, const wal_plan *plan, uint64_t *written, vv_error *why)
{
    vv_status st = run_plan(log, plan, written, why);
    if (st == VV_OK && log->opt.on_durable != NULL)
        log->opt.on_durable(log->opt.ctx, log->target);
    return st;
}

vv_status wal_lead(wal *log, vv_error *err)
{
    if (log->end == durable_of(log)) { /* nothing to write; do not burn a group on it */
        vv_mutex_unlock(&log->lock);
        return VV_OK;
    }
    wal_plan plan;
    uint64_t written = 0;
    vv_error why = {0};
    wal_pad(log);
    begin_flight(log, &plan);
    unsigned gen = log->flight_gen;
    vv_mutex_unlock(&log->lock);

    vv_status st = fly(log, &plan, &written, &why);

    vv_mutex_lock(&log->lock);
    end_flight(log, &plan, st, written, &why);
    bool next = log->has_leader;
    vv_mutex_unlock(&log->lock);
    vv_cond_broadcast(&log->group[gen & 1]); /* the group first: see the top of the file */
    if (next)
        vv_cond_signal(&log->leader);
    if (st != VV_OK && err != NULL)
        *err = why;
    return st;
}

vv_status wal_write_out(wal *log, vv_error *err)
{
    wal_plan plan;
    uint64_t written = 0;
    vv_error why = {0};
    begin_flight(log, &plan);
    vv_mutex_unlock(&log->lock);
    vv_status st = run_plan(log, &plan, &written, &why);
    vv_mutex_lock(&log->lock);
    end_flight(log, &plan, st, written, &why);
    if (st != VV_OK && err != NULL)
        *err = why;
    return st;
}

/* Wait until the write in flight ended, or lead one: either frees the ring. */
static vv_status drain_some(wal *log, vv_error *err) VV_REQUIRES(log->lock)
{
    if (log->writing) {
        vv_cond_wait(&log->group[log->flight_gen & 1], &log->lock);
        return VV_OK;
    }
    vv_status st = wal_lead(log, err);
    vv_mutex_lock(&log->lock);
    return st;
}

/* ---- room for a batch ---- */

static vv_status grow_segments(wal *log, vv_error *err) VV_REQUIRES(log->lock)
{
    if (log->seg_count < log->seg_cap)
        return VV_OK;
    return wal_segments_reserve(log, log->seg_cap * 2, err);
}

/* Extend the next spare for a batch that no ordinary segment holds. Unlocks. */
static vv_status extend_spare(wal *log, uint64_t need, vv_error *err) VV_REQUIRES(log->lock)
{
    wal_segment *spare = log->spares[0];
    log->upkeep = true;
    vv_mutex_unlock(&log->lock);
    vv_status st = wal_segment_extend(spare, need, err);
    vv_mutex_lock(&log->lock);
    log->upkeep = false;
    vv_cond_broadcast(&log->idle);
    return st;
}

vv_status wal_switch(wal *log, uint64_t need, bool *done, vv_error *err)
{
    *done = false;
    if (log->upkeep) {
        vv_cond_wait(&log->idle, &log->lock);
        return VV_OK;
    }
    if (log->spare_count == 0)
        return wal_spare_step(log, 1, log->opt.segment_size, err);
    if (log->spares[0]->capacity < need)
        return extend_spare(log, vv_align_up(need, VV_BLOCK), err);
    vv_status st = grow_segments(log, err);
    if (st != VV_OK)
        return st;
    wal_segment *seg = log->spares[0];
    log->spare_count--;
    memmove(log->spares, log->spares + 1, log->spare_count * sizeof(wal_segment *));
    seg->first = log->end;
    seg->base = wal_floor(log->end);
    seg->prev_crc = log->chain;
    seg->epoch = log->epoch;
    seg->started = false;
    seg->shards = 0;
    log->segs[log->seg_count++] = seg;
    log->limit = seg->base + seg->capacity;
    *done = true;
    return VV_OK;
}

/* Begin the next segment behind filler. May unlock; the caller looks again. */
static vv_status next_segment(wal *log, size_t len, vv_error *err) VV_REQUIRES(log->lock)
{
    if (log->seg_count - log->write_index > WAL_PENDING_MAX)
        return drain_some(log, err);
    if (log->spare_count > 0 && !log->upkeep)
        wal_pad(log);
    bool done;
    return wal_switch(log, wal_padded(len), &done, err);
}

static bool fits_segment(const wal *log, size_t len) VV_REQUIRES(log->lock)
{
    return wal_padded(log->end + len) <= log->limit;
}

/* Until the batch fits the last segment and the ring. Unlocks and waits in the uncommon cases. */
static vv_status make_room(wal *log, size_t len, vv_error *err) VV_REQUIRES(log->lock)
{
    for (;;) {
        vv_status st = VV_OK;
        if (atomic_load_explicit(&log->failed, memory_order_relaxed))
            return wal_latched(log, err);
        if (VV_UNLIKELY(log->exclusive))
            vv_cond_wait(&log->idle, &log->lock);
        else if (VV_UNLIKELY(!fits_segment(log, len)))
            st = next_segment(log, len, err);
        else if (VV_UNLIKELY(log->end + len + WAL_RESERVE - durable_of(log) > log->ring.size))
            st = drain_some(log, err);
        else
            return VV_OK;
        if (st != VV_OK)
            return st;
    }
}

/* ---- a batch written through ---- */

/* A stream into the ring's memory that writes each ringful to the segment. */
typedef struct through {
    wal *log;
    wal_segment *seg;
    uint64_t filled, flushed; /* positions */
    uint64_t written;
    vv_status st;
    vv_error *err;
} through;

static void through_flush(through *t)
{
    wal_piece piece = {t->seg, t->flushed, t->filled};
    if (t->st == VV_OK && t->flushed < t->filled && !VV_BUG(1))
        t->st = write_range(t->log, &piece, &t->written, t->err);
    t->flushed = t->filled;
}

static void through_put(through *t, const void *data, size_t len)
{
    const uint8_t *p = data;
    while (len > 0) {
        size_t n = (size_t)vv_min_u64(len, t->log->ring.size - (t->filled - t->flushed));
        if (p != NULL)
            wal_ring_put(&t->log->ring, t->filled, p, n);
        else
            wal_ring_zero(&t->log->ring, t->filled, n);
        p = p == NULL ? NULL : p + n;
        t->filled += n;
        len -= n;
        if (t->filled - t->flushed == t->log->ring.size)
            through_flush(t);
    }
}

static void through_batch(through *t, const wal_batch *batch, const wal_record *recs,
                          uint32_t directory_crc, uint32_t *chain)
{
    uint8_t header[WAL_RECORD_HEADER];
    static_assert(WAL_FILLER_MIN <= WAL_RECORD_HEADER && WAL_BATCH_HEADER <= WAL_RECORD_HEADER,
                  "one buffer for each of them");
    *chain = wal_batch_put(header, batch, directory_crc);
    through_put(t, header, WAL_BATCH_HEADER);
    for (size_t i = 0; i < batch->count; i++) {
        wal_record_put(header, &recs[i]);
        through_put(t, header, WAL_RECORD_HEADER);
    }
    for (size_t i = 0; i < batch->count; i++)
        through_put(t, recs[i].payload.data, recs[i].payload.len);
    uint32_t fill = wal_filler(t->filled);
    if (fill == 0)
        return;
    wal_batch filler = {
        .length = fill, .position = t->filled, .prev_crc = *chain, .synced = batch->synced};
    *chain = wal_filler_put(header, &filler, t->log->seed, t->log->epoch);
    through_put(t, header, WAL_FILLER_MIN);
    through_put(t, NULL, fill - WAL_FILLER_MIN);
}

/* Keep other appenders out, empty the ring, begin a segment if needed. */
static vv_status enter_exclusive(wal *log, size_t len, vv_error *err) VV_REQUIRES(log->lock)
{
    while (log->exclusive)
        vv_cond_wait(&log->idle, &log->lock);
    log->exclusive = true;
    for (;;) {
        vv_status st = VV_OK;
        if (atomic_load_explicit(&log->failed, memory_order_relaxed))
            return wal_latched(log, err);
        if (log->writing || log->end != durable_of(log))
            st = drain_some(log, err);
        else if (!fits_segment(log, len))
            st = next_segment(log, len, err);
        else
            return VV_OK;
        if (st != VV_OK)
            return st;
    }
}

static void leave_exclusive(wal *log) VV_REQUIRES(log->lock)
{
    log->exclusive = false;
    vv_cond_broadcast(&log->idle);
}

/* The batch and its filler, from the durable end. Called and returns with the lock held. */
static vv_status write_through(wal *log, const wal_record *recs, size_t count, size_t len,
                               uint32_t directory_crc, uint64_t *end, vv_error *err)
    VV_REQUIRES(log->lock)
{
    vv_error why = {0};
    wal_plan plan;
    wal_batch batch = next_batch(log, len, count);
    through t = {.log = log, .filled = log->end, .flushed = log->end, .err = &why};
    uint32_t chain = log->chain;
    begin_flight(log, &plan); /* covers nothing: it may start a segment */
    log->target = wal_padded(log->end + len);
    unsigned gen = log->flight_gen;
    t.seg = last_segment(log);
    vv_mutex_unlock(&log->lock);

    t.st = run_plan(log, &plan, &t.written, &why);
    through_batch(&t, &batch, recs, directory_crc, &chain);
    through_flush(&t);
    assert(t.filled == log->target);
    if (t.st == VV_OK && log->opt.on_durable != NULL)
        log->opt.on_durable(log->opt.ctx, log->target);

    vv_mutex_lock(&log->lock);
    if (t.st == VV_OK) {
        log->end = t.filled;
        log->chain = chain;
        note_batch(log, recs, count, len);
        *end = batch.position + len;
    }
    end_flight(log, &plan, t.st, t.written, &why);
    vv_cond_broadcast(&log->group[gen & 1]);
    if (log->has_leader)
        vv_cond_signal(&log->leader);
    if (t.st != VV_OK && err != NULL)
        *err = why;
    return t.st;
}

static vv_status append_through(wal *log, const wal_record *recs, size_t count, size_t len,
                                uint32_t directory_crc, uint64_t *end, vv_error *err)
{
    vv_mutex_lock(&log->lock);
    vv_status st = enter_exclusive(log, len, err);
    if (st == VV_OK)
        st = write_through(log, recs, count, len, directory_crc, end, err);
    leave_exclusive(log);
    vv_mutex_unlock(&log->lock);
    return st;
}

/* ---- the door ---- */

static vv_status check_ready(const wal *log, vv_error *err)
{
    if (log->opt.read_only)
        return vv_fail(err, VV_UNSUPPORTED, "log '%s' is open read-only", log->dir);
    if (log->state != WAL_READY)
        return vv_fail(err, VV_INVALID, "log '%s': replay it before the first append", log->dir);
    return VV_OK;
}

vv_status wal_append(wal *log, const wal_record *recs, size_t count, uint64_t *end, vv_error *err)
{
    size_t len = 0;
    vv_status st = check_ready(log, err);
    if (st == VV_OK)
        st = wal_batch_measure(recs, count, &len, err);
    if (st != VV_OK)
        return st;
#ifndef NDEBUG
    for (size_t i = 0; i < count; i++)
        assert(recs[i].payload_crc == vv_crc32c(0, recs[i].payload.data, recs[i].payload.len));
#endif
    uint32_t directory_crc = wal_directory_crc(log->seed, recs, count);
    if (VV_UNLIKELY(len > log->ring.size / 4))
        return append_through(log, recs, count, len, directory_crc, end, err);
    vv_mutex_lock(&log->lock);
    st = make_room(log, len, err);
    if (VV_LIKELY(st == VV_OK)) {
        put_batch(log, recs, count, len, directory_crc);
        *end = log->end;
    }
    vv_mutex_unlock(&log->lock);
    return st;
}

vv_status wal_sync(wal *log, uint64_t position, vv_error *err)
{
    if (durable_of(log) >= position)
        return VV_OK;
    vv_status st = check_ready(log, err);
    if (st != VV_OK)
        return st;
    vv_mutex_lock(&log->lock);
    while (durable_of(log) < position) {
        if (atomic_load_explicit(&log->failed, memory_order_relaxed)) {
            st = wal_latched(log, err);
            break;
        }
        if (log->writing && position <= log->target) {
            vv_cond_wait(&log->group[log->flight_gen & 1], &log->lock);
        } else if (log->has_leader) {
            vv_cond_wait(&log->group[log->open_gen & 1], &log->lock);
        } else if (log->writing) { /* the first of the open group will lead it */
            log->has_leader = true;
            while (log->writing)
                vv_cond_wait(&log->leader, &log->lock);
            log->has_leader = false;
            if (durable_of(log) >= position) /* a drain covered it: the group needs another */
                vv_cond_broadcast(&log->group[log->open_gen & 1]);
        } else if (position > log->end) {
            st = vv_fail(err, VV_INVALID, "log '%s' ends at %" PRIu64 ", before position %" PRIu64,
                         log->dir, log->end, position);
            break;
        } else {
            return wal_lead(log, err); /* covers position: it writes all that was appended */
        }
    }
    vv_mutex_unlock(&log->lock);
    return st;
}

uint64_t wal_durable_position(const wal *log)
{
    return durable_of(log);
}

uint64_t wal_end_position(wal *log)
{
    vv_mutex_lock(&log->lock);
    uint64_t end = log->end;
    vv_mutex_unlock(&log->lock);
    return end;
}
