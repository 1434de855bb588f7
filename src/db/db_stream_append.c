/*
 * db_stream_append.c - messages become an entry of the log, and get their offsets.
 *
 *   messages --encode, no lock--> blocks in a payload, with holes where only the log can tell
 *      commit lock: producer judged, holes filled (reserve) --> logged, or put back (cancel)
 *
 * Why the holes are filled under the commit lock and not before: offsets are dense and in the order
 * of the log, so they can only be known there; and what is logged is unconditional, so they must be
 * known then. It costs some hundred nanoseconds: the checksum of the payload is not taken again but
 * corrected by what the changed bytes make of it.
 *
 * What is reserved counts at once for whoever comes next under the lock, so a group may hold many
 * appends to one partition, of one producer too. What cannot be logged is put back, the last first.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/options.h"
#include "base/point.h"
#include "base/varint.h"
#include "db/db_stream_int.h"

#define CRC_WHOLE_BELOW 2048u /* a payload that is summed anew rather than corrected */
#define ENTRY_ABOUT 256u      /* bytes of an entry beside its messages */
#define MESSAGE_ABOUT 4u      /* of a message beside its key and value */
#define EXPECT_MAX (1024u * 1024)
#define APPEND_SCRATCH 1024u /* a small append takes no memory for its payload */
/* Of a block's key and value in a payload: its offset, and what lies up to the end of the place. */
#define HOLE_BEFORE 8u
#define HOLE_SIZE (HOLE_BEFORE + STREAM_PLACE_AT + STREAM_PLACE_SIZE)

/* ---- reserve: under the commit lock -----------------------------------------------------------
 */

static void change(vv_batch *batch, size_t at, const uint8_t *bytes, size_t len)
{
    uint8_t *p = batch->payload.data + at;
    assert(at + len <= batch->payload.len);
    if (batch->payload.len >= CRC_WHOLE_BELOW) {
        uint32_t difference = vv_crc32c(0, p, len) ^ vv_crc32c(0, bytes, len);
        batch->crc ^= vv_crc32c_zeros(difference, batch->payload.len - at - len);
    }
    memcpy(p, bytes, len);
}

static void fill_block(vv_batch *batch, const db_stream_piece *piece, uint64_t offset,
                       const stream_place *place)
{
    uint8_t hole[HOLE_SIZE];
    size_t at = piece->value_at - HOLE_BEFORE;
    memcpy(hole, batch->payload.data + at, sizeof hole);
    vv_put_be64(hole, offset);
    stream_block_place(hole + HOLE_BEFORE + STREAM_PLACE_AT, place);
    change(batch, at, hole, sizeof hole);
}

static int64_t newest_of(const db_stream_piece *piece, int64_t receive_ns)
{
    return piece->has_untimed && receive_ns > piece->event_max ? receive_ns : piece->event_max;
}

/* Is the append new, known, or out of turn? one: the producer as it is known; NULL: it is not. */
static vv_status judge(const db_stream_append *sa, const db_producer *one, bool *duplicate,
                       vv_error *err)
{
    *duplicate = false;
    if (one == NULL || sa->sequence == one->at.next)
        return VV_OK;
    uint64_t end = sa->sequence + sa->count;
    unsigned long long next = one->at.next;
    *duplicate =
        end <= one->at.next && !VV_BUG(102); /* the bug: what is sent twice is written twice */
    if (*duplicate || VV_BUG(102))
        return VV_OK;
    if (sa->sequence < one->at.next)
        return vv_fail(err, VV_CONFLICT,
                       "producer '%.*s': of sequences %llu to %llu those below %llu were written: "
                       "send again what was sent, in the same pieces",
                       (int)sa->producer.len, (const char *)sa->producer.data,
                       (unsigned long long)sa->sequence, (unsigned long long)end - 1, next);
    return vv_fail(err, VV_CONFLICT,
                   "producer '%.*s': sequence %llu leaves a gap, %llu is expected: send what lies "
                   "between first",
                   (int)sa->producer.len, (const char *)sa->producer.data,
                   (unsigned long long)sa->sequence, next);
}

/* A producer that is new here, or that was forgotten: *out. */
static vv_status enter_producer(vv_db *db, db_stream_append *sa, const cat_table *cat,
                                db_producer **out, int64_t forget_ns, vv_error *err)
{
    db_producers *p = &sa->stream->part[sa->partition].producers;
    if (p->count >= cat->producers_max)
        db_producers_age(db, p, forget_ns);
    if (p->count >= cat->producers_max)
        return vv_fail(err, VV_NO_SPACE,
                       "stream '%s' remembers producers_max of %u producers in partition %u, and "
                       "none was silent for producer_retention_ns",
                       cat->name, cat->producers_max, sa->partition);
    *out = db_producers_add(db, p, sa->producer, sa->hash);
    return *out != NULL ? VV_OK : vv_fail(err, VV_NO_MEMORY, "no memory for a producer");
}

/* The producer's turn is this. */
static vv_status take_turn(vv_db *db, vv_batch *batch, int64_t now_ns, db_producer **out,
                           bool *duplicate, vv_error *err)
{
    db_stream_append *sa = batch->stream;
    const cat_table *cat = batch->tables[0];
    int64_t forget_ns = now_ns - cat->producer_retention_ns;
    db_producers *p = &sa->stream->part[sa->partition].producers;
    db_producer *one = db_producers_find(p, sa->producer, sa->hash);
    if (one != NULL && one->at.used_ns <= forget_ns) {
        db_producers_remove(db, p, one);
        one = NULL;
    }
    vv_status st = judge(sa, one, duplicate, err);
    if (st != VV_OK || *duplicate) {
        if (one != NULL)
            sa->duplicate_from = one->at.previous;
        return st;
    }
    sa->before.is_new = one == NULL;
    if (one == NULL) {
        st = enter_producer(db, sa, cat, &one, forget_ns, err);
        if (st != VV_OK)
            return st;
        assert(one != NULL);
        one->at = (stream_producer){sa->sequence, STREAM_NO_OFFSET, now_ns};
    }
    sa->before.producer = one->at;
    db_producers_touch(p, one);
    *out = one;
    return VV_OK;
}

static void fill_producer(vv_batch *batch, db_producer *one)
{
    uint8_t bytes[STREAM_PRODUCER_SIZE];
    stream_producer_encode(&one->at, bytes);
    change(batch, batch->stream->producer_at, bytes, sizeof bytes);
}

/* Receive times of a partition never fall. */
static int64_t receive_time(const db_stream_append *sa, int64_t now_ns)
{
    int64_t newest = sa->stream->part[sa->partition].receive_ns;
    return now_ns < newest ? newest : now_ns;
}

/* The blocks get their places; one: their producer, NULL: they have none. */
static void reserve_blocks(vv_batch *batch, db_stream_append *sa, int64_t now, db_producer *one)
{
    db_stream_part *part = &sa->stream->part[sa->partition];
    uint64_t next = atomic_load_explicit(&part->next, memory_order_relaxed);
    sa->before.next = next;
    sa->before.bytes = part->bytes;
    sa->before.receive_ns = part->receive_ns;
    sa->before.event_max = part->event_max;
    sa->first = next;
    sa->receive_ns = now;
    part->receive_ns = now;
    for (size_t i = 0; i < sa->piece_count; i++) {
        const db_stream_piece *piece = &sa->piece[i];
        int64_t newest = newest_of(piece, now);
        if (newest > part->event_max)
            part->event_max = newest;
        fill_block(batch, piece, VV_BUG(101) ? sa->first : next, /* all blocks begin at the first */
                   &(stream_place){now, part->bytes, part->event_max,
                                   one == NULL ? STREAM_NO_OFFSET : one->at.previous});
        if (one != NULL)
            one->at.previous = next;
        next += piece->count;
        part->bytes += piece->value_len;
    }
    atomic_store_explicit(&part->next, next, memory_order_release);
    if (batch->db->tier != NULL && sa->piece_count > 0)
        db_tier_note_append(batch->db, sa->cat, &part->tier, part->bytes - sa->before.bytes,
                            next - sa->first, now);
}

/* Where it is followed to an object. */
static void note_trace(vv_db *db, const db_stream_append *sa)
{
    const uint64_t next =
        atomic_load_explicit(&sa->stream->part[sa->partition].next, memory_order_relaxed);
    if (sa->trace[0] == '\0' || db->tier == NULL || sa->first == next)
        return;
    vv_mutex_lock(&db->tier->lock);
    db_traces_note(&db->tier->traces, sa->cat->id, sa->partition, sa->first, next, sa->trace);
    vv_mutex_unlock(&db->tier->lock);
}

static void forget_trace(vv_db *db, const db_stream_append *sa)
{
    if (sa->trace[0] == '\0' || db->tier == NULL)
        return;
    vv_mutex_lock(&db->tier->lock);
    db_traces_forget(&db->tier->traces, sa->cat->id, sa->partition, sa->first);
    vv_mutex_unlock(&db->tier->lock);
}

vv_status db_stream_reserve(vv_db *db, vv_batch *batch, bool *duplicate, vv_error *err)
{
    db_stream_append *sa = batch->stream;
    db_producer *one = NULL;
    int64_t wall = vv_clock_wall(db->env->clock);
    int64_t now = receive_time(sa, wall);
    *duplicate = false;
    vv_status st = VV_OK;
    if (sa->producer.len > 0)
        st = take_turn(db, batch, now, &one, duplicate, err);
    sa->is_duplicate = *duplicate;
    if (st != VV_OK || *duplicate)
        return st;
    reserve_blocks(batch, sa, now, one);
    note_trace(db, sa);
    VV_POINT("stream.reserved");
    if (sa->dead != NULL)
        reserve_blocks(batch, sa->dead, receive_time(sa->dead, wall), NULL);
    if (one != NULL) {
        one->at.next = sa->sequence + sa->count; /* dead letters are written, too */
        one->at.used_ns = now;
        fill_producer(batch, one);
    }
    if (batch->payload.len < CRC_WHOLE_BELOW)
        batch->crc = vv_crc32c(0, batch->payload.data, batch->payload.len);
    return VV_OK;
}

static void cancel_blocks(const db_stream_append *sa)
{
    db_stream_part *part = &sa->stream->part[sa->partition];
    if (sa->stream->db->tier != NULL)
        db_tier_note_cancel(sa->stream->db, &part->tier, part->bytes - sa->before.bytes,
                            atomic_load_explicit(&part->next, memory_order_relaxed) -
                                sa->before.next);
    part->bytes = sa->before.bytes;
    part->receive_ns = sa->before.receive_ns;
    part->event_max = sa->before.event_max;
    atomic_store_explicit(&part->next, sa->before.next, memory_order_release);
}

void db_stream_cancel(vv_db *db, vv_batch *batch)
{
    db_stream_append *sa = batch->stream;
    db_stream_part *part = &sa->stream->part[sa->partition];
    if (sa->dead != NULL)
        cancel_blocks(sa->dead);
    cancel_blocks(sa);
    forget_trace(db, sa);
    if (sa->producer.len == 0)
        return;
    db_producer *one = db_producers_find(&part->producers, sa->producer, sa->hash);
    assert(one != NULL);
    if (sa->before.is_new)
        db_producers_remove(db, &part->producers, one);
    else
        one->at = sa->before.producer;
}

vv_status db_append_stream(vv_db *db, vv_batch *batch, bool *duplicate, vv_error *err)
{
    vv_status st = db_stream_reserve(db, batch, duplicate, err);
    if (st != VV_OK || *duplicate)
        return st;
    st = db_append(db, &batch, 1, err);
    if (st != VV_OK)
        db_stream_cancel(db, batch);
    return st;
}

/* ---- encoding: no lock ------------------------------------------------------------------------
 */

static vv_status add_piece_slot(db_stream_append *sa, vv_error *err)
{
    if (sa->piece_count < sa->piece_cap)
        return VV_OK;
    size_t cap = sa->piece_cap * 4;
    db_stream_piece *more = vv_alloc(cap * sizeof *more);
    if (more == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for the blocks of an append");
    memcpy(more, sa->piece, sa->piece_count * sizeof *more);
    if (sa->piece != sa->few)
        vv_free(sa->piece);
    sa->piece = more;
    sa->piece_cap = cap;
    return VV_OK;
}

static vv_status fail_large(vv_status st, vv_error *err)
{
    if (st == VV_BUSY)
        return vv_fail(err, VV_INVALID,
                       "the messages take more than the %u bytes of one entry: append fewer at "
                       "once",
                       VV_BATCH_MAX);
    return vv_fail(err, st, "no memory for the messages of an append");
}

/* How many of the messages from begin on make a block, and how large it is. */
static size_t measure_block(const db_stream_append *sa, const vv_message *messages, size_t begin,
                            size_t end, size_t *bytes)
{
    size_t i = begin;
    uint64_t size = stream_message_size(&messages[i]);
    *bytes = stream_block_head(sa->producer);
    do {
        *bytes += vv_varint_len(size) + size;
        i++;
        size = i < end ? stream_message_size(&messages[i]) : 0;
    } while (i < end && *bytes + size <= STREAM_BLOCK_TARGET);
    return i - begin;
}

/* A block of count messages, whose sequences follow each other, where it is to lie. */
static vv_status add_block(vv_batch *batch, db_stream_append *sa, const vv_message *messages,
                           size_t begin, size_t count, size_t bytes, vv_error *err)
{
    static const uint8_t key[STREAM_BLOCK_KEY] = {STREAM_KEY_BLOCK};
    stream_writer w;
    uint8_t *place = NULL;
    vv_status st = add_piece_slot(sa, err);
    if (st != VV_OK)
        return st;
    st = db_batch_add_place(batch, ENGINE_PUT, sa->cat->id, vv_slice_of(key, sizeof key), bytes, 0,
                            &place, NULL);
    if (st != VV_OK)
        return fail_large(st, err);
    vv_buf out = {.data = place, .cap = bytes, .max = bytes}; /* it never grows */
    stream_block_begin(&w, &out, sa->producer, sa->sequence + begin);
    for (size_t i = begin; i < begin + count; i++)
        stream_block_add(&w, &messages[i]);
    stream_block_end(&w);
    assert(out.status == VV_OK && out.len == bytes);
    sa->piece[sa->piece_count++] = (db_stream_piece){.value_at = batch->payload.len - bytes,
                                                     .value_len = bytes,
                                                     .count = w.count,
                                                     .has_untimed = w.has_untimed,
                                                     .event_max = w.event_max};
    return VV_OK;
}

/* Until the table forgets it the producer's record is there. */
static vv_status add_producer(vv_batch *batch, vv_error *err)
{
    uint8_t key[STREAM_NAMED_KEY_MAX];
    uint8_t value[STREAM_PRODUCER_SIZE] = {0};
    int64_t expires = 0;
    db_stream_append *sa = batch->stream;
    const cat_table *cat = batch->tables[0];
    if (__builtin_add_overflow(vv_clock_wall(batch->db->env->clock), cat->producer_retention_ns,
                               &expires))
        expires = 0;
    size_t len = stream_named_key(STREAM_KEY_PRODUCER, sa->producer, key);
    vv_status st = db_batch_add(batch, ENGINE_PUT, cat->id, vv_slice_of(key, len),
                                vv_slice_of(value, sizeof value), expires, NULL);
    if (st != VV_OK)
        return fail_large(st, err);
    sa->producer_at = batch->payload.len - sizeof value;
    return VV_OK;
}

/* Messages [begin, end), whose sequences follow each other. */
static vv_status encode_row(vv_batch *batch, db_stream_append *sa, const vv_message *messages,
                            size_t begin, size_t end, vv_error *err)
{
    vv_status st = VV_OK;
    for (size_t i = begin, count = 0; st == VV_OK && i < end; i += count) {
        size_t bytes = 0;
        count = measure_block(sa, messages, i, end, &bytes);
        st = add_block(batch, sa, messages, i, count, bytes, err);
    }
    return st;
}

/* The messages but for those that are dead (NULL: none is), which leave a gap in the sequences. */
static vv_status encode(vv_batch *batch, db_stream_append *sa, const vv_message *messages,
                        size_t count, const uint8_t *is_dead, vv_error *err)
{
    vv_status st = VV_OK;
    for (size_t i = 0, end; st == VV_OK && i < count; i = end + 1) {
        for (end = i; end < count && (is_dead == NULL || is_dead[end] == 0); end++)
            ;
        st = encode_row(batch, sa, messages, i, end, err);
    }
    return st;
}

/* ---- which partition --------------------------------------------------------------------------
 */

static vv_status choose_by_key(db_stream *s, const vv_table *table, const vv_message *messages,
                               size_t count, const vv_stream_append_options *opt, uint32_t *out,
                               vv_error *err)
{
    size_t first = count;
    for (size_t i = 0; i < count; i++) {
        if (messages[i].key.len == 0)
            continue;
        uint32_t p = vv_stream_partition_of(table, messages[i].key);
        if (first != count && p != *out)
            return vv_fail(err, VV_INVALID,
                           "the key of message %zu belongs to partition %u, that of message %zu "
                           "to %u: an append is of one partition",
                           first, *out, i, p);
        if (first == count) {
            first = i;
            *out = p;
        }
    }
    if (first != count)
        return VV_OK;
    *out = opt->producer.len > 0
               ? vv_stream_partition_of(table, opt->producer)
               : atomic_fetch_add_explicit(&s->turn, 1, memory_order_relaxed) % s->partition_count;
    return VV_OK;
}

static vv_status choose_partition(db_stream *s, const vv_table *table, const vv_message *messages,
                                  size_t count, const vv_stream_append_options *opt, uint32_t *out,
                                  vv_error *err)
{
    *out = 0;
    if (opt->partition != VV_STREAM_BY_KEY) {
        *out = opt->partition;
        return db_stream_check_part(table, opt->partition, err);
    }
    if (s->partition_count == 1)
        return VV_OK;
    return choose_by_key(s, table, messages, count, opt, out, err);
}

/* ---- an append --------------------------------------------------------------------------------
 */

static vv_status check_options(const vv_stream_append_options *opt, size_t count, vv_error *err)
{
    if (count == 0 || count > VV_STREAM_MESSAGES_MAX)
        return vv_fail(err, VV_INVALID, "an append has 1 to %u messages, not %zu",
                       VV_STREAM_MESSAGES_MAX, count);
    if (opt->producer.len > VV_STREAM_PRODUCER_MAX)
        return vv_fail(err, VV_INVALID,
                       "the id of the producer has %zu bytes, at most %u are "
                       "allowed",
                       opt->producer.len, VV_STREAM_PRODUCER_MAX);
    if (opt->producer.len > 0 && opt->sequence > UINT64_MAX - VV_STREAM_MESSAGES_MAX)
        return vv_fail(err, VV_INVALID, "sequence %llu is too close to its end",
                       (unsigned long long)opt->sequence);
    if (opt->trace.len > VV_STREAM_TRACE_MAX)
        return vv_fail(err, VV_INVALID, "the trace has %zu bytes, at most %u are allowed",
                       opt->trace.len, VV_STREAM_TRACE_MAX);
    return VV_OK;
}

/* *bytes: those of keys and values, and about what an entry takes beside them. */
static vv_status check_messages(const vv_table *table, const vv_message *messages, size_t count,
                                size_t *bytes, vv_error *err)
{
    *bytes = ENTRY_ABOUT;
    for (size_t i = 0; i < count; i++) {
        vv_status st = stream_message_check(&messages[i], table->cat->message_size_max, err);
        if (st != VV_OK)
            return vv_wrap(err, st, "message %zu", i);
        *bytes += MESSAGE_ABOUT + messages[i].key.len + messages[i].value.len;
    }
    return VV_OK;
}

static void init_pieces(db_stream_append *sa)
{
    sa->piece = sa->few;
    sa->piece_cap = DB_STREAM_PIECES;
}

/* What rules refused becomes blocks of the dead letters, in the same entry. */
static vv_status encode_dead(const vv_table *table, vv_batch *batch,
                             const db_stream_applied *applied, vv_error *err)
{
    vv_table *letters = NULL;
    db_stream_append *sa = batch->stream;
    vv_status st = db_stream_open_dead(table, true, &letters, err);
    if (st != VV_OK)
        return st;
    db_stream_append *dead = vv_calloc(1, sizeof *dead);
    sa->dead = dead; /* append_fini frees it */
    if (dead == NULL) {
        vv_table_close(letters);
        return vv_fail(err, VV_NO_MEMORY, "no memory for dead letters");
    }
    init_pieces(dead);
    dead->partition = sa->partition;
    dead->count = applied->dead_count;
    dead->cat = letters->cat;
    st = db_stream_of(letters, &dead->stream, err);
    if (st == VV_OK) {
        vv_table part = db_part_at(letters, sa->partition);
        st = db_batch_bind(batch, &part, err); /* refers to the table from here on */
    }
    if (st == VV_OK)
        st = encode(batch, dead, applied->dead, applied->dead_count, NULL, err);
    vv_table_close(letters);
    return st;
}

/* For who follows messages on their way: a line an append. */
static void log_extracted(const vv_table *table, const db_stream_append *sa,
                          const db_stream_applied *applied)
{
    vv_log *log = table->db->env->log;
    if (!vv_log_wants(log, VV_LOG_DEBUG, "extract"))
        return;
    vv_kv kvs[] = {VV_KV_S("tenant", table->cat->tenant), VV_KV_S("table", table->cat->name),
                   VV_KV_U("messages", sa->count),        VV_KV_U("dead", applied->dead_count),
                   VV_KV_U("errors", applied->errors),    VV_KV_S("trace_id", sa->trace)};
    const size_t count = ARRAY_LEN(kvs) - (sa->trace[0] == '\0');
    vv_log_line(log, VV_LOG_DEBUG, "extract", "extracted", kvs, count);
}

/* The messages of a table with rules. */
static vv_status encode_applied(const vv_table *table, vv_batch *batch, db_stream_rules *rules,
                                const vv_message *messages, vv_error *err)
{
    db_stream_applied applied;
    db_stream_append *sa = batch->stream;
    vv_status st = db_stream_apply(table, sa, rules, messages, &applied, err);
    if (st == VV_OK) {
        sa->dead_count = applied.dead_count;
        st = encode(batch, sa, applied.message, sa->count, applied.is_dead, err);
    }
    if (st == VV_OK)
        log_extracted(table, sa, &applied);
    VV_POINT("stream.extracted");
    if (st == VV_OK && applied.dead_count > 0 && !VV_BUG(145)) /* the bug: letters are lost */
        st = encode_dead(table, batch, &applied, err);
    db_stream_applied_fini(rules, &applied);
    return st;
}

/* Everything before the commit path: the batch is ready, or not. */
static vv_status prepare(vv_table *table, const vv_message *messages, size_t count,
                         const vv_stream_append_options *opt, bool may_wait, vv_batch *batch,
                         vv_error *err)
{
    db_stream_append *sa = batch->stream;
    size_t bytes = 0;
    vv_status st = db_stream_of(table, &sa->stream, err);
    if (st == VV_OK)
        st = db_tier_admit(table, may_wait, err);
    if (st == VV_OK)
        st = check_options(opt, count, err);
    if (st == VV_OK)
        st = check_messages(table, messages, count, &bytes, err);
    if (st == VV_OK)
        st = choose_partition(sa->stream, table, messages, count, opt, &sa->partition, err);
    if (st != VV_OK)
        return st;
    vv_table part = db_part_at(table, sa->partition);
    sa->count = count;
    sa->sequence = opt->sequence;
    if (opt->trace.len > 0)
        memcpy(sa->trace, opt->trace.data, opt->trace.len);
    sa->trace[opt->trace.len] = '\0';
    sa->cat = table->cat;
    init_pieces(sa);
    sa->hash = sa->producer.len == 0 ? 0 : vv_hash64(sa->producer.data, sa->producer.len);
    db_stream_rules *rules = db_stream_rules_hold(sa->stream);
    st = db_batch_bind(batch, &part, err);
    db_batch_expect(batch, vv_min_u64(bytes, EXPECT_MAX));
    if (st == VV_OK)
        st = rules != NULL ? encode_applied(table, batch, rules, messages, err)
                           : encode(batch, sa, messages, count, NULL, err);
    db_stream_rules_drop(rules);
    if (st == VV_OK && sa->producer.len > 0)
        st = add_producer(batch, err);
    for (size_t i = 0; st == VV_OK && i < count; i++)
        batch->user_bytes += messages[i].key.len + messages[i].value.len;
    return st;
}

static void append_fini(db_stream_append *sa)
{
    if (sa->piece != sa->few)
        vv_free(sa->piece);
    if (sa->dead != NULL) {
        if (sa->dead->piece != sa->dead->few)
            vv_free(sa->dead->piece);
        vv_free(sa->dead);
    }
}

/* The answer of the first time. The rules may be others than they were then, so it is told by what
 * is there; where that is archived or gone, by what they say now. */
static vv_status answer_again(vv_table *table, const db_stream_append *sa,
                              vv_stream_append_result *out, vv_error *err)
{
    db_stream_sent sent;
    vv_status st = db_stream_find_sent(table, sa->partition, sa->producer, sa->sequence, sa->count,
                                       sa->duplicate_from, &sent, err);
    if (st != VV_OK)
        return st;
    out->receive_time_ns = 0;
    if (sent.is_whole) {
        out->count = sent.count;
        out->dead = sa->count - sent.count;
    }
    out->first_offset = sent.count == out->count ? sent.first_offset : VV_STREAM_OFFSET_GONE;
    return VV_OK;
}

/* What the written append is answered. A duplicate is looked up: its first offset may lie far back.
 */
static vv_status answer(vv_table *table, const db_stream_append *sa, const vv_write_result *write,
                        vv_stream_append_result *out, vv_error *err)
{
    *out = (vv_stream_append_result){.write = *write,
                                     .partition = sa->partition,
                                     .first_offset = sa->first,
                                     .count = sa->count - sa->dead_count,
                                     .receive_time_ns = sa->receive_ns,
                                     .duplicate = sa->is_duplicate,
                                     .dead = sa->dead_count};
    if (sa->is_duplicate)
        return answer_again(table, sa, out, err);
    if (sa->dead_count > 0)
        db_stream_count_dead(sa->stream, sa->dead_count);
    if (out->count == 0)
        out->first_offset = VV_STREAM_OFFSET_GONE;
    return VV_OK;
}

static vv_status options_take(const vv_stream_append_options *opt, vv_stream_append_options *out,
                              vv_error *err)
{
    *out = (vv_stream_append_options)VV_STREAM_APPEND_OPTIONS_INIT;
    if (opt == NULL)
        return VV_OK;
    return vv_options_take(out, sizeof *out, opt, sizeof *out, "vv_stream_append_options", err);
}

vv_status vv_stream_append(vv_table *table, const vv_message *messages, size_t count,
                           const vv_stream_append_options *opt, vv_stream_append_result *result,
                           vv_error *err)
{
    uint8_t scratch[APPEND_SCRATCH];
    vv_batch batch;
    vv_write_result written = {0};
    vv_stream_append_options full;
    db_stream_append sa = {.piece = sa.few};
    vv_status st = options_take(opt, &full, err);
    if (st != VV_OK)
        return st;
    db_batch_init(&batch, table->db, scratch, sizeof scratch);
    sa.producer = full.producer;
    batch.stream = &sa;
    st = prepare(table, messages, count, &full, true, &batch, err);
    if (st == VV_OK)
        st = vv_write(table->db, &batch, full.durability, &written, err);
    vv_stream_append_result out = {.count = 0};
    if (st == VV_OK)
        st = answer(table, &sa, &written, &out, err);
    if (st == VV_OK && result != NULL)
        *result = out;
    db_batch_fini(&batch);
    append_fini(&sa);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "append to stream '%s'", table->cat->name);
}

vv_status db_stream_append_replayed(vv_table *table, vv_table *dead, uint32_t partition,
                                    const vv_message *letters, size_t count, uint64_t next,
                                    vv_durability durability, vv_stream_append_result *out,
                                    vv_error *err)
{
    vv_batch batch;
    vv_write_result written = {0};
    db_stream_append sa = {.piece = sa.few};
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    opt.partition = partition;
    db_batch_init(&batch, table->db, NULL, 0);
    batch.stream = &sa;
    vv_status st = prepare(table, letters, count, &opt, true, &batch, err);
    if (st == VV_OK)
        st = vv_batch_stream_commit(&batch, dead, partition, vv_slice_str(DB_STREAM_REPLAY), next,
                                    err);
    if (st == VV_OK)
        st = vv_write(table->db, &batch, durability, &written, err);
    if (st == VV_OK)
        st = answer(table, &sa, &written, out, err);
    db_batch_fini(&batch);
    append_fini(&sa);
    return st;
}

/* ---- without waiting --------------------------------------------------------------------------
 */

typedef struct job {
    db_stream_lookup lookup; /* of a duplicate */
    vv_write_result written;
    vv_batch batch;
    db_stream_append append;
    vv_table table; /* the reference is the batch's */
    uint8_t producer[VV_STREAM_PRODUCER_MAX];
    vv_stream_append_done done;
    void *done_ctx;
} job;

static void job_free(job *j)
{
    db_batch_fini(&j->batch);
    append_fini(&j->append);
    vv_free(j);
}

static void finish(job *j, vv_status status, const vv_error *err)
{
    vv_error why = {0};
    VV_POINT("stream.written");
    vv_stream_append_result out = {.count = 0};
    if (status == VV_OK)
        status = answer(&j->table, &j->append, &j->written, &out, &why);
    else if (err != NULL)
        why = *err;
    if (status != VV_OK)
        (void)vv_wrap(&why, status, "append to stream '%s'", j->table.cat->name);
    j->done(j->done_ctx, status, status == VV_OK ? &out : NULL, status == VV_OK ? NULL : &why);
    job_free(j);
}

static void looked_up(db_stream_lookup *lookup, const vv_error *why)
{
    finish(VV_CONTAINER_OF(lookup, job, lookup), why == NULL ? VV_OK : why->status, why);
}

/* On the commit thread, which reads nothing: a duplicate is looked up elsewhere. */
static void written(void *ctx, vv_status status, const vv_write_result *result, const vv_error *err)
{
    job *j = ctx;
    if (status == VV_OK)
        j->written = *result;
    if (status != VV_OK || !j->append.is_duplicate) {
        finish(j, status, err);
        return;
    }
    vv_buf_fini(&j->batch.payload); /* it may wait for long */
    vv_buf_init(&j->batch.payload, VV_BATCH_MAX);
    j->lookup.run = looked_up;
    db_stream_lookup_submit(j->table.db, &j->lookup);
}

vv_status vv_stream_append_async(vv_table *table, const vv_message *messages, size_t count,
                                 const vv_stream_append_options *opt, vv_stream_append_done done,
                                 void *ctx, vv_error *err)
{
    vv_stream_append_options full;
    VV_POINT("stream.decoded");
    vv_status st = options_take(opt, &full, err);
    if (st != VV_OK)
        return st;
    job *j = vv_alloc(sizeof *j);
    if (j == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for an append");
    j->append = (db_stream_append){.piece = j->append.few};
    j->done = done;
    j->done_ctx = ctx;
    j->table = *table;
    db_batch_init(&j->batch, table->db, NULL, 0);
    j->batch.stream = &j->append;
    if (full.producer.len > 0 && full.producer.len <= VV_STREAM_PRODUCER_MAX)
        memcpy(j->producer, full.producer.data, full.producer.len);
    j->append.producer = vv_slice_of(j->producer, full.producer.len);
    st = prepare(table, messages, count, &full, false, &j->batch, err);
    if (st == VV_OK)
        st = vv_write_async(table->db, &j->batch, full.durability, written, j, err);
    if (st == VV_OK)
        return VV_OK;
    job_free(j);
    return vv_wrap(err, st, "append to stream '%s'", table->cat->name);
}
