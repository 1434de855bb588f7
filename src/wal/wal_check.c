/*
 * wal_check.c - reading a closed log as an examiner: every byte checked, every batch printed.
 *
 * The check goes on behind a damaged segment: the header of the next one says where the log goes on
 * and which checksum it follows, so one damaged place does not hide another.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "wal/wal_int.h"

#define LINE_SIZE 400

/* ---- check ---- */

typedef struct checker {
    void (*finding)(void *ctx, const char *text);
    void *ctx;
    vv_status worst;
    vv_error first; /* what made it so */
} checker;

static void say(const checker *c, const char *text)
{
    if (c->finding != NULL)
        c->finding(c->ctx, text);
}

/* Damage is a finding and the check goes on; anything else ends it. */
static vv_status note(checker *c, vv_status st, const vv_error *why)
{
    if (st != VV_CORRUPT)
        return st;
    say(c, why->msg);
    if (c->worst == VV_OK) {
        c->worst = VV_CORRUPT;
        c->first = *why;
    }
    return VV_OK;
}

static void tell_end(wal *log, checker *c)
{
    const wal_recovery *r = &log->recovery;
    char text[LINE_SIZE];
    vv_error why;
    if (log->scan_repair) {
        vv_fail(&why, VV_CORRUPT,
                "log '%s': segment %" PRIu64 " lost synced bytes at position %" PRIu64
                "; the ring still has them: open the store to write them anew",
                log->dir, log->segs[log->seg_count - 1]->number, log->scan_end);
        (void)note(c, VV_CORRUPT, &why);
    }
    if (log->ring_lost) {
        (void)snprintf(text, sizeof text, "log '%s': the ring file is missing", log->dir);
        say(c, text);
    }
    if (r->cut_bytes > 0) {
        (void)snprintf(text, sizeof text,
                       "log '%s': an unfinished write of %" PRIu64
                       " bytes follows position %" PRIu64 "; opening the store cuts it",
                       log->dir, r->cut_bytes, r->end);
        say(c, text);
    }
    if (r->ring_bytes > 0) {
        (void)snprintf(text, sizeof text,
                       "log '%s': %" PRIu64 " bytes before position %" PRIu64
                       " are in the ring alone; opening the store makes them durable",
                       log->dir, r->ring_bytes, r->end);
        say(c, text);
    }
}

static vv_status check_all(wal *log, checker *c, vv_error *err)
{
    bool fresh = false;
    vv_error why = {0};
    vv_status st = wal_load(log, &fresh, &why);
    if (st == VV_OK && fresh)
        st = vv_fail(&why, VV_NOT_FOUND, "there is no log in '%s'", log->dir);
    bool loaded = st == VV_OK;
    st = note(c, st, &why);
    for (size_t i = 0; loaded && st == VV_OK && i + 1 < log->seg_count; i++)
        st = note(c, wal_scan_segment(log, i, NULL, NULL, &why), &why);
    if (loaded && st == VV_OK) {
        st = wal_find_end(log, &why);
        bool found = st == VV_OK;
        st = note(c, st, &why);
        if (found)
            st = note(c, wal_scan_end(log, NULL, NULL, &why), &why);
        if (found && st == VV_OK)
            tell_end(log, c);
    }
    if (st != VV_OK && err != NULL)
        *err = why;
    return st;
}

vv_status wal_check(vv_env *env, const char *dir, void (*finding)(void *ctx, const char *text),
                    void *ctx, wal_recovery *out, vv_error *err)
{
    wal_options opt = {.env = env, .dir = dir, .read_only = true};
    wal *log = NULL;
    vv_status st = wal_create(&opt, &log, err);
    if (st != VV_OK)
        return st;
    checker c = {.finding = finding, .ctx = ctx};
    int64_t start = vv_clock_mono(env->clock);
    st = check_all(log, &c, err);
    log->recovery.segments = log->seg_count;
    log->recovery.duration_ns = vv_clock_mono(env->clock) - start;
    if (out != NULL)
        *out = log->recovery;
    wal_abandon(log);
    if (st == VV_OK && c.worst != VV_OK) {
        st = c.worst;
        if (err != NULL)
            *err = c.first;
    }
    return st;
}

/* ---- dump ---- */

typedef struct printer {
    void (*line)(void *ctx, const char *text);
    void *ctx;
} printer;

VV_PRINTF(2, 3) static void print(const printer *p, const char *fmt, ...)
{
    char text[LINE_SIZE];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (p->line != NULL)
        p->line(p->ctx, text);
}

static void print_batch(const printer *out, const wal_batch *b, const uint8_t *p)
{
    print(out,
          "%s position %" PRIu64 " length %" PRIu32 " records %" PRIu32 " synced %" PRIu64
          " crc %08" PRIx32 " after %08" PRIx32,
          b->count == 0 ? "filler" : "batch", b->position, b->length, b->count, b->synced, b->crc,
          b->prev_crc);
    if (b->count == 0)
        print(out, "  epoch %" PRIu64, wal_filler_epoch(p));
    size_t at = 0;
    for (uint32_t i = 0; i < b->count; i++) {
        wal_record rec;
        wal_batch_record(p, b, i, &at, &rec);
        print(out,
              "  %s shard %" PRIu32 " index %" PRIu64 " term %" PRIu64 " time %" PRId64
              " payload %zu bytes crc %08" PRIx32,
              wal_kind_name(rec.kind), rec.shard, rec.index, rec.term, rec.commit_time_ns,
              rec.payload.len, rec.payload_crc);
    }
}

/* Batches from *at while they chain; *at is then where that ends, *why says the reason. */
static vv_status print_chain(const printer *out, wal_reader *r, uint64_t *at, uint32_t chain,
                             vv_error *why)
{
    for (;;) {
        wal_batch batch;
        const uint8_t *p;
        uint64_t torn;
        vv_status st = wal_reader_batch(r, *at, chain, &batch, &p, &torn, why);
        if (st != VV_OK)
            return st == VV_CORRUPT ? VV_OK : st;
        print_batch(out, &batch, p);
        *at += batch.length;
        chain = batch.crc;
    }
}

static vv_status dump_segment(const printer *out, wal *log, vio_file *file,
                              const wal_file_header *h, vv_error *err)
{
    print(out,
          "segment %" PRIu64 " of log %016" PRIx64 ": base %" PRIu64 " first %" PRIu64
          " capacity %" PRIu64 " after crc %08" PRIx32,
          h->number, h->log_id, h->base, h->first, h->capacity, h->prev_crc);
    wal_reader r;
    wal_reader_init(&r, log, file, h->base, h->base + h->capacity);
    uint64_t at = h->first;
    vv_error why = {0};
    vv_status st = print_chain(out, &r, &at, h->prev_crc, &why);
    wal_reader_fini(&r);
    print(out, "end at position %" PRIu64 ", offset %" PRIu64 ": %s", at,
          wal_file_offset(h->base, at), why.msg);
    if (st != VV_OK && err != NULL)
        *err = why;
    return st;
}

/* The lowest batch at a block boundary of the ring from a position on. */
static vv_status next_in_ring(wal *log, wal_reader *r, uint64_t from, wal_batch *out, bool *found,
                              vv_error *err)
{
    *found = false;
    for (uint64_t off = 0; off < log->ring.size; off += VV_BLOCK) {
        wal_batch b;
        bool is_batch = false;
        wal_batch_get(log->ring.data + off, &b);
        if (b.position < from || b.position > INT64_MAX || b.position % log->ring.size != off ||
            (*found && b.position >= out->position))
            continue;
        vv_status st = wal_reader_probe(r, b.position, &b, &is_batch, err);
        if (st != VV_OK)
            return st;
        if (is_batch) {
            *out = b;
            *found = true;
        }
    }
    return VV_OK;
}

static vv_status dump_ring(const printer *out, wal *log, vio_file *file, vv_error *err)
{
    wal_file_header h = {0};
    vv_status st = wal_ring_header(log, file, &h, err);
    if (st != VV_OK)
        return st;
    print(out, "ring of log %016" PRIx64 ": size %" PRIu64, h.log_id, h.capacity);
    log->seed = wal_seed(h.log_id);
    log->ring.size = h.capacity;
    log->ring.data = vv_alloc_aligned(VV_BLOCK, (size_t)h.capacity);
    if (log->ring.data == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %" PRIu64 " bytes", h.capacity);
    st = vio_pread_full(file, VV_BLOCK, log->ring.data, (size_t)h.capacity, err);
    wal_reader r;
    wal_reader_init(&r, log, NULL, 0, UINT64_MAX);
    uint64_t at = 0;
    while (st == VV_OK) {
        wal_batch batch;
        bool found = false;
        vv_error why = {0};
        st = next_in_ring(log, &r, at, &batch, &found, err);
        if (st != VV_OK || !found)
            break;
        at = batch.position;
        st = print_chain(out, &r, &at, batch.prev_crc, &why);
        print(out, "end at position %" PRIu64 ": %s", at, why.msg);
        if (st != VV_OK && err != NULL)
            *err = why;
        at = vv_max_u64(at, batch.position + 1); /* its payload may be of an older lap */
    }
    wal_reader_fini(&r);
    return st;
}

static vv_status dump_file(const printer *out, wal *log, vio_file *file, vv_error *err)
{
    wal_file_header h = {0};
    vv_status st = vio_pread_full(file, 0, log->block, VV_BLOCK, err);
    if (st != VV_OK)
        return st;
    if (memcmp(log->block, WAL_MAGIC_RING, 8) == 0)
        return dump_ring(out, log, file, err);
    st = wal_header_get(log->block, WAL_MAGIC_SEGMENT, &h, err);
    if (st == VV_NOT_FOUND) {
        print(out, "a spare segment: never used");
        return VV_OK;
    }
    if (st != VV_OK)
        return st;
    log->seed = wal_seed(h.log_id);
    return dump_segment(out, log, file, &h, err);
}

vv_status wal_dump_file(vv_env *env, const char *path, void (*line)(void *ctx, const char *text),
                        void *ctx, vv_error *err)
{
    wal_options opt = {.env = env, .dir = "", .read_only = true};
    wal *log = NULL;
    vv_status st = wal_create(&opt, &log, err);
    if (st != VV_OK)
        return st;
    printer out = {line, ctx};
    vio_file *file = NULL;
    st = vio_open(env->io, path, VIO_READ, &file, err);
    if (st == VV_OK) {
        st = dump_file(&out, log, file, err);
        if (st != VV_OK)
            vv_wrap(err, st, "dump '%s'", path);
    }
    vio_close(file);
    wal_abandon(log);
    return st;
}
