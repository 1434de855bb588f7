/*
 * db_tier_restore.c - archived messages back into blocks of their partition.
 *
 *      first        restored        local            next
 *        |--objects--|--blocks--|--objects--|--blocks--|
 *
 * Their blocks lie below where the partition's own begin, at the offsets they always had; a reader
 * looks for a block before it looks for an object. Nothing else changes: their object stays what
 * holds them. A message is the same for ever, so what moves meanwhile does no harm.
 *
 * A record ('R', with the first of them) tells how far they reach and since when. By it they leave
 * again, as local messages do: when the table's rule says so, or the partition begins behind them.
 */
#include "base/error.h"
#include "db/db_tier_job.h"
#include "db/db_tier_read.h"

#define WRITE_BYTES (1024u * 1024) /* of blocks in one entry, and one more */

/* A block that is being made. */
typedef struct maker {
    vv_batch batch;
    vv_buf bytes;
    stream_writer writer;
    bool is_open;
    uint64_t first; /* offset */
    stream_place place;
    uint64_t messages; /* in the batch */
    uint64_t size;     /* bytes in it */
} maker;

/* The block is whole. */
static vv_status end_block(maker *m, const db_stream_reader *r, vv_error *err)
{
    uint8_t key[STREAM_BLOCK_KEY];
    if (!m->is_open)
        return VV_OK;
    m->is_open = false;
    stream_block_end(&m->writer);
    if (m->bytes.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a block of messages");
    stream_block_place(m->bytes.data + STREAM_PLACE_AT, &m->place);
    stream_block_key(m->first, key);
    vv_status st = db_batch_add(&m->batch, ENGINE_PUT, r->part.cat->id,
                                vv_slice_of(key, sizeof key), vv_buf_slice(&m->bytes), 0, err);
    m->place.bytes_before += m->bytes.len;
    m->size += m->bytes.len;
    return st;
}

static vv_status add(maker *m, const db_stream_reader *r, const vv_message *message, uint64_t size,
                     vv_error *err)
{
    vv_status st = VV_OK;
    if (m->is_open &&
        (m->place.receive_ns != message->receive_time_ns ||
         m->writer.count == VV_STREAM_MESSAGES_MAX || m->bytes.len + size > STREAM_BLOCK_TARGET))
        st = end_block(m, r, err);
    if (st != VV_OK)
        return st;
    if (!m->is_open) {
        vv_buf_reset(&m->bytes);
        stream_block_begin(&m->writer, &m->bytes, vv_slice_of(NULL, 0), 0);
        m->is_open = true;
        m->first = message->offset;
        m->place.receive_ns = message->receive_time_ns;
    }
    stream_block_add(&m->writer, message);
    int64_t event = message->event_time_ns == 0 ? message->receive_time_ns : message->event_time_ns;
    if (event > m->place.event_max)
        m->place.event_max = event;
    m->messages++;
    return VV_OK;
}

/* Where the next block begins that was brought back before; `end` when there is none. */
static vv_status find_own(db_stream_reader *r, uint64_t at, uint64_t end, uint64_t *out,
                          vv_error *err)
{
    uint8_t key[STREAM_BLOCK_KEY];
    *out = end;
    r->is_at_block = false;
    stream_block_key(at, key);
    vv_status st = vv_cursor_seek(r->at, vv_slice_of(key, sizeof key), err);
    if (st != VV_OK || !vv_cursor_valid(r->at))
        return st;
    vv_slice found = vv_cursor_key(r->at);
    if (found.len == STREAM_BLOCK_KEY && found.data[0] == STREAM_KEY_BLOCK)
        *out = vv_min_u64(end, vv_get_be64(found.data + 1));
    return VV_OK;
}

/* The messages of the loaded block of an object from *at on, which is behind them then. */
static vv_status gather_block(maker *m, db_stream_reader *r, uint64_t *at, uint64_t end,
                              vv_error *err)
{
    vv_message message;
    uint64_t size = 0;
    vv_status st = find_own(r, *at, end, &end, err);
    if (st == VV_OK)
        st = db_stream_skip_to(r, *at, err);
    while (st == VV_OK && *at < end && m->size < WRITE_BYTES &&
           (st = db_stream_next(r, &message, &size, err)) == VV_OK) {
        st = add(m, r, &message, size, err);
        *at = message.offset + 1;
    }
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* Blocks of what lies in objects from *at on, until there are enough of them; *at is behind them.
 */
static vv_status gather(maker *m, db_stream_reader *r, uint64_t *at, uint64_t end, vv_error *err)
{
    vv_status st = VV_OK;
    while (st == VV_OK && *at < end && m->size < WRITE_BYTES) {
        st = db_stream_load(r, *at, err);
        if (st == VV_OK && r->is_archived) {
            st = gather_block(m, r, at, end, err);
        } else if (st == VV_OK) { /* it was brought back before */
            st = end_block(m, r, err);
            *at = vv_min_u64(r->end, end);
        }
    }
    return st == VV_OK ? end_block(m, r, err) : st;
}

static vv_status put_record(maker *m, const db_stream_reader *r, uint64_t first, uint64_t next,
                            vv_error *err)
{
    uint8_t key[ARCH_KEY_SIZE];
    arch_restored record = {next, vv_clock_wall(r->part.db->env->clock)};
    arch_key(ARCH_KEY_RESTORED, first, key);
    vv_buf_reset(&m->bytes);
    arch_restored_encode(&record, &m->bytes);
    if (m->bytes.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a record");
    return db_batch_add(&m->batch, ENGINE_PUT, r->part.cat->id, vv_slice_of(key, sizeof key),
                        vv_buf_slice(&m->bytes), 0, err);
}

/* One entry of the log from range->at on, which is range->next when nothing is left. */
static vv_status restore_some(const vv_table *table, uint32_t partition, db_tier_range *w,
                              vv_error *err)
{
    db_stream_reader r;
    maker m = {.place = {.event_max = STREAM_NO_TIME, .previous = STREAM_NO_OFFSET}};
    vv_db *db = table->db;
    db_batch_init(&m.batch, db, NULL, 0);
    vv_buf_init(&m.bytes, VV_BATCH_MAX);
    vv_status st = db_stream_reader_open(&r, table, partition, NULL, NULL, err);
    uint64_t last = vv_min_u64(w->next, r.local);
    uint64_t at = vv_max_u64(w->at, r.first);
    w->first = vv_max_u64(w->first, r.first);
    m.place.bytes_before = r.head.bytes_before;
    if (st == VV_OK)
        st = db_batch_bind(&m.batch, &r.part, err);
    if (st == VV_OK)
        st = gather(&m, &r, &at, last, err);
    if (st == VV_OK && m.messages > 0)
        st = put_record(&m, &r, w->first, at, err);
    db_stream_reader_close(&r);
    if (st == VV_OK && m.messages > 0)
        st = vv_write(db, &m.batch, VV_DURABLE_SYNC, NULL, err);
    if (st == VV_OK) {
        w->restored += m.messages;
        w->at = at >= last ? w->next : at;
    }
    vv_buf_fini(&m.bytes);
    db_batch_fini(&m.batch);
    return st;
}

/* The same, with the partition claimed: another restore of it that wrote between what this one read
 * and wrote would have its record shortened, and blocks that no record tells of stay for ever. The
 * archiver, and who drops the table, have their turn between two entries. */
static vv_status restore_claimed(const vv_table *table, uint32_t partition, db_tier_range *w,
                                 vv_error *err)
{
    db_tier *t = table->db->tier;
    if (t == NULL) /* nothing is claimed without one: what lies in objects is not read either */
        return restore_some(table, partition, w, err);
    db_tier_claim_wait(t, table->cat->id, partition);
    vv_status st = db_check_table(table, err);
    if (st == VV_OK)
        st = restore_some(table, partition, w, err);
    db_tier_unclaim(t, table->cat->id, partition);
    return st;
}

vv_status db_tier_restore_piece(vv_table *table, uint32_t partition, db_tier_range *range,
                                vv_error *err)
{
    vv_status st = db_stream_check_part(table, partition, err);
    if (st == VV_OK)
        st = db_check_writable(table->db, err);
    if (st == VV_OK && range->at >= range->next)
        return VV_NOT_FOUND;
    if (st == VV_OK)
        st = restore_claimed(table, partition, range, err);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "restore stream '%s'", table->cat->name);
}

vv_status vv_tier_restore(vv_table *table, uint32_t partition, uint64_t first, uint64_t next,
                          uint64_t *restored, vv_error *err)
{
    db_tier_range w = {.first = first, .at = first, .next = next};
    vv_status st = VV_OK;
    while (st == VV_OK)
        st = db_tier_restore_piece(table, partition, &w, err);
    if (restored != NULL)
        *restored = w.restored;
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* ---- when they leave ----------------------------------------------------------------------------
 */

/* The record under the cursor. VV_NOT_FOUND: it stands on none. */
static vv_status take_record(const vv_cursor *c, uint64_t *first, arch_restored *out, vv_error *err)
{
    if (!vv_cursor_valid(c))
        return VV_NOT_FOUND;
    vv_slice key = vv_cursor_key(c);
    if (key.len != ARCH_KEY_SIZE || key.data[0] != ARCH_KEY_RESTORED)
        return VV_NOT_FOUND;
    *first = vv_get_be64(key.data + 1);
    return arch_restored_decode(vv_cursor_value(c), out, err);
}

static vv_status find_record(db_stream_reader *r, int64_t local_ns, int64_t now_ns, uint64_t *first,
                             arch_restored *out, vv_error *err)
{
    static const uint8_t kind = ARCH_KEY_RESTORED;
    r->is_at_block = false;
    vv_status st = vv_cursor_seek(r->at, vv_slice_of(&kind, 1), err);
    while (st == VV_OK && (st = take_record(r->at, first, out, err)) == VV_OK) {
        if (out->next <= r->first || local_ns < 0 || now_ns - out->restored_ns >= local_ns)
            return VV_OK;
        st = vv_cursor_next(r->at, err);
    }
    return st;
}

static vv_status add_leave(vv_batch *batch, db_stream_reader *r, uint64_t first,
                           const arch_restored *record, vv_error *err)
{
    uint8_t key[ARCH_KEY_SIZE];
    uint8_t lower[STREAM_BLOCK_KEY];
    uint8_t upper[ENGINE_TABLE_PREFIX + STREAM_BLOCK_KEY];
    uint32_t id = r->part.cat->id;
    uint64_t end = vv_min_u64(record->next, r->local);
    txn_condition *cond = NULL;
    arch_key(ARCH_KEY_RESTORED, first, key);
    stream_block_key(first, lower);
    vv_put_be32(upper, id);
    stream_block_key(end, upper + ENGINE_TABLE_PREFIX);
    vv_status st = db_batch_bind(batch, &r->part, err);
    if (st == VV_OK) /* it was not brought back once more meanwhile */
        st = db_batch_add_condition(batch, TXN_VALUE, id, vv_slice_of(key, sizeof key),
                                    vv_cursor_value(r->at), &cond, err);
    if (cond != NULL)
        cond->present = true;
    if (st == VV_OK && first < end)
        st = db_batch_add(batch, ENGINE_RANGE_DELETE, id, vv_slice_of(lower, sizeof lower),
                          vv_slice_of(upper, sizeof upper), 0, err);
    if (st == VV_OK)
        st = db_batch_add(batch, ENGINE_DELETE, id, vv_slice_of(key, sizeof key),
                          vv_slice_of(NULL, 0), 0, err);
    return st;
}

vv_status db_tier_restored_leave(db_stream_reader *r, int64_t local_ns, int64_t now_ns,
                                 vv_error *err)
{
    arch_restored record;
    uint64_t first = 0;
    vv_batch batch;
    vv_db *db = r->part.db;
    vv_status st = find_record(r, local_ns, now_ns, &first, &record, err);
    if (st != VV_OK)
        return st;
    db_batch_init(&batch, db, NULL, 0);
    st = add_leave(&batch, r, first, &record, err);
    db_stream_reader_close(r);
    if (st == VV_OK)
        st = vv_write(db, &batch, VV_DURABLE_SYNC, NULL, err);
    db_batch_fini(&batch);
    if (st == VV_CONFLICT)
        db_await_visible(db);
    return st;
}

vv_status db_tier_leave(db_tier_job *j, db_stream_reader *r, vv_error *err)
{
    return db_tier_restored_leave(r, j->rule.local_ns, j->now_ns, err);
}
