/*
 * db_tier_cut.c - a batch of messages that lie in blocks alone: when it is due, where it ends, how
 * it becomes an object.
 *
 *   look --due?--> build, to batch_bytes as stored, batch_messages or the end
 *        --not large enough, and neither age nor count asked for it--> thrown away, seldom: the
 * next look waits for as many bytes as this one's ratio says
 *        --> INTENT --> stored --> DONE
 *
 * Why the object is built before the intent is committed: its end is told by its size as stored,
 * and the intent has to say the end. Nothing has left this machine by then.
 */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/point.h"
#include "db/db_tier_job.h"

/* What waits, at a reader's moment. */
typedef struct waiting {
    uint64_t from; /* offset; the partition's next when nothing does */
    uint64_t count;
    uint64_t bytes;    /* of blocks, from the one that holds it */
    int64_t oldest_ns; /* receive time */
    uint64_t bytes_before;
} waiting;

static vv_status find_waiting(db_stream_reader *r, waiting *out, vv_error *err)
{
    arch_entry last;
    *out = (waiting){.from = r->first};
    vv_status st = db_tier_entry_last(r, &last, err);
    if (st == VV_OK && last.holds.next > out->from)
        out->from = last.holds.next;
    if (st != VV_OK && st != VV_NOT_FOUND)
        return st;
    if (out->from < r->local)
        return vv_fail(err, VV_CORRUPT,
                       "offsets %llu to %llu lie neither in blocks nor in an object",
                       (unsigned long long)out->from, (unsigned long long)r->local);
    if (out->from >= r->next)
        return VV_OK;
    st = db_stream_load(r, out->from, err);
    if (st != VV_OK)
        return st;
    out->count = r->next - out->from;
    out->bytes_before = r->block.place.bytes_before;
    out->bytes = r->sums.bytes_before - out->bytes_before;
    out->oldest_ns = r->block.place.receive_ns;
    return VV_OK;
}

/* ---- building ---------------------------------------------------------------------------------
 */

/* Is the object as large as it is to be? */
static bool is_full(const db_tier_job *j, const db_tier_build *b)
{
    if (b->is_known)
        return false;
    return arch_writer_size(b->writer) >= j->rule.batch_bytes ||
           (j->rule.batch_messages != 0 && arch_writer_count(b->writer) >= j->rule.batch_messages);
}

static vv_status add_block(db_tier_job *j, db_stream_reader *r, db_tier_build *b, uint64_t *at,
                           uint64_t end, stream_scratch *scratch, bool *full, vv_error *err)
{
    vv_slice bytes;
    vv_message m = {.attribute_count = 0};
    vv_status st = db_stream_load(r, *at, err);
    for (uint64_t offset = r->begin; st == VV_OK && *at < end && !*full; offset++) {
        st = stream_block_next(&r->block, &bytes, err);
        if (st == VV_NOT_FOUND) /* the next block */
            return VV_OK;
        if (st != VV_OK || offset < *at)
            continue;
        st = stream_message_decode(bytes, scratch, &m, err);
        if (st != VV_OK)
            break;
        m.offset = offset;
        m.partition = j->partition;
        m.receive_time_ns = r->block.place.receive_ns;
        st = db_tier_build_add(j, b, &m, err);
        *at = offset + 1;
        *full = is_full(j, b);
    }
    return st;
}

/* Messages from the intent's first on; *full: they reached the size that is asked for. */
static vv_status build(db_tier_job *j, db_stream_reader *r, const arch_intent *in, bool is_known,
                       db_tier_build *b, bool *full, vv_error *err)
{
    stream_scratch scratch = {0};
    uint64_t at = in->first;
    uint64_t end = is_known ? in->next : r->next;
    *full = false;
    vv_status st = db_tier_build_open(j, in, is_known, b, err);
    if (st == VV_OK)
        st = db_stream_load(r, at, err);
    if (st == VV_OK)
        b->bytes_before = r->block.place.bytes_before;
    while (st == VV_OK && at < end && !*full)
        st = add_block(j, r, b, &at, end, &scratch, full, err);
    stream_scratch_fini(&scratch);
    if (st == VV_OK)
        st = db_tier_build_finish(b, err);
    if (st != VV_OK)
        db_tier_build_close(b);
    return st;
}

/* ---- to the store -----------------------------------------------------------------------------
 */

static void count_stored(db_tier_job *j, const db_tier_build *b, int64_t oldest_ns)
{
    db_tier *t = j->t;
    db_tier_counters *c = &t->counters;
    atomic_fetch_add_explicit(&c->stored, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->stored_bytes, b->holds.size, memory_order_relaxed);
    if (b->intent.kind != ARCH_CUT)
        return;
    atomic_fetch_add_explicit(&c->stored_messages, b->holds.next - b->holds.first,
                              memory_order_relaxed);
    atomic_fetch_add_explicit(&c->raw_bytes, b->holds.raw_bytes, memory_order_relaxed);
    int64_t age = vv_clock_wall(t->db->env->clock) - oldest_ns;
    vv_mutex_lock(&t->lock);
    vv_hist_add(&c->batch_age_ns, age > 0 ? (uint64_t)age : 0);
    vv_mutex_unlock(&t->lock);
}

/* Another object has the name. It is not ours to remove, unless it is. */
static vv_status yield_name(db_tier_job *j, const db_tier_build *b, bool is_ours,
                            const vv_error *why, vv_error *err)
{
    db_tier *t = j->t;
    atomic_fetch_add_explicit(&t->counters.conflicts, 1, memory_order_relaxed);
    vv_log_to(t->db->env->log, VV_LOG_WARN, "tier",
              "the name of an object is taken: the batch gets another one",
              VV_KV_S("table", j->table->cat->name), VV_KV_U("partition", j->partition),
              VV_KV_S("object", b->intent.name), VV_KV_S("error", why->msg));
    return db_tier_commit_give_up(j, &b->intent, is_ours, err);
}

/* What the lines of a batch say. */
static void set_line(db_tier_job *j, const db_tier_build *b)
{
    db_tier_line *line = &j->line;
    db_tier *t = j->t;
    *line = (db_tier_line){.first = b->intent.first,
                           .next = b->intent.next,
                           .bytes = b->holds.size,
                           .traces = b->traces};
    (void)snprintf(line->object, sizeof line->object, "%s", b->intent.name);
    if (b->intent.kind != ARCH_CUT)
        return;
    vv_mutex_lock(&t->lock);
    db_trace_list_range(&line->traces, &t->traces, j->table->cat->id, j->partition, line->first,
                        line->next);
    vv_mutex_unlock(&t->lock);
}

void db_tier_log(const db_tier_job *j, vv_log_level level, const char *stage, vv_status st,
                 const vv_error *why)
{
    const db_tier_line *line = &j->line;
    vv_log *log = j->t->db->env->log;
    char text[DB_TRACE_TEXT];
    vv_kv kvs[10 + DB_TRACE_KVS];
    size_t n = 0;
    if (!vv_log_wants(log, level, "tier"))
        return;
    kvs[n++] = VV_KV_S("tenant", j->table->cat->tenant);
    kvs[n++] = VV_KV_S("table", j->table->cat->name);
    kvs[n++] = VV_KV_U("partition", j->partition);
    if (line->object[0] != '\0') {
        kvs[n++] = VV_KV_U("first_offset", line->first);
        kvs[n++] = VV_KV_U("next_offset", line->next);
        kvs[n++] = VV_KV_U("bytes", line->bytes);
        kvs[n++] = VV_KV_S("object", line->object);
    }
    if (why != NULL) {
        kvs[n++] = VV_KV_U("failures", j->part->failures + 1);
        kvs[n++] = VV_KV_S("status", vv_status_name(st));
        kvs[n++] = VV_KV_S("error", why->msg);
    }
    n += db_trace_list_kvs(&line->traces, text, kvs + n);
    vv_log_line(log, level, "tier", stage, kvs, n);
}

vv_status db_tier_deliver(db_tier_job *j, db_tier_build *b, const arch_entry *old, size_t old_count,
                          int64_t oldest_ns, vv_error *err)
{
    vv_error why = {0};
    bool is_ours = false;
    vv_status st = VV_OK;
    set_line(j, b);
    if (!b->is_known)
        st = db_tier_commit_intent(j, &b->intent, err);
    if (st != VV_OK)
        return st;
    db_tier_log(j, VV_LOG_DEBUG, "batched", VV_OK, NULL);
    st = db_tier_put(j, b, &is_ours, &why);
    if (VV_BUG(140) && st != VV_CONFLICT) /* DONE whatever became of the upload */
        st = VV_OK;
    if (st == VV_CONFLICT) {
        j->store_failed = false;
        return yield_name(j, b, is_ours, &why, err);
    }
    j->put_failed = st != VV_OK && j->store_failed;
    if (st != VV_OK) {
        if (err != NULL)
            *err = why;
        return vv_wrap(err, st, "store '%s'", b->intent.name);
    }
    const arch_entry entry = {.intent = b->intent.intent,
                              .codec = b->intent.codec,
                              .also = b->intent.also,
                              .made_ns = b->intent.made_ns,
                              .stored_ns = vv_clock_wall(j->t->db->env->clock),
                              .holds = b->holds,
                              .bytes_before = b->bytes_before};
    arch_entry full = entry;
    memcpy(full.name, b->intent.name, sizeof full.name);
    st = db_tier_commit_done(j, &b->intent, &full, old, old_count, err);
    if (st == VV_OK) {
        count_stored(j, b, oldest_ns);
        db_tier_log(j, VV_LOG_DEBUG, "uploaded", VV_OK, NULL);
    }
    return st == VV_NOT_FOUND ? VV_CLOSED : st; /* the table was dropped */
}

/* ---- a new batch ------------------------------------------------------------------------------
 */

/* Why a batch is cut. */
typedef enum reason { NOT_DUE, BY_SIZE, BY_COUNT, BY_AGE, BY_HAND } reason;

static reason why_due(db_tier_job *j, const waiting *w)
{
    if (w->count == 0)
        return NOT_DUE;
    if (j->forced)
        return BY_HAND;
    if (j->rule.batch_messages != 0 && w->count >= j->rule.batch_messages)
        return BY_COUNT;
    int64_t age = j->now_ns - w->oldest_ns;
    if (age >= j->rule.batch_age_ns)
        return BY_AGE;
    if (w->bytes >= atomic_load_explicit(&j->part->cut_at, memory_order_relaxed))
        return BY_SIZE;
    db_tier_look_in(j, j->rule.batch_age_ns - age);
    return NOT_DUE;
}

/* How many bytes of blocks make an object, by one that was built of so many. */
static void learn(db_tier_job *j, uint64_t raw, uint64_t stored)
{
    uint64_t target = j->rule.batch_bytes;
    double ratio = stored == 0 ? 1 : (double)raw / (double)stored;
    double at = (double)target * (ratio < 0.5 ? 0.5 : ratio > 1000 ? 1000 : ratio);
    atomic_store_explicit(&j->part->cut_at, (uint64_t)at, memory_order_relaxed);
}

/* What an append adds to from here on. */
static void set_waiting(db_tier_job *j, const waiting *w)
{
    uint64_t old = atomic_exchange_explicit(&j->part->waiting, w->bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&j->t->waiting_bytes, w->bytes - old, memory_order_relaxed);
    atomic_store_explicit(&j->part->oldest_ns, w->count == 0 ? 0 : w->oldest_ns,
                          memory_order_relaxed);
    atomic_store_explicit(&j->part->waiting_messages, w->count, memory_order_relaxed);
}

vv_status db_tier_cut(db_tier_job *j, db_stream_reader *r, vv_error *err)
{
    db_tier_build b = {.job = NULL};
    waiting w;
    bool full = false;
    if (atomic_load_explicit(&j->part->cut_at, memory_order_relaxed) == 0)
        learn(j, 1, 1);
    vv_status st = find_waiting(r, &w, err);
    if (st != VV_OK)
        return st;
    set_waiting(j, &w);
    if (atomic_load_explicit(j->next, memory_order_relaxed) != r->next)
        db_tier_look_in(j, (int64_t)vv_min_u64((uint64_t)j->rule.batch_age_ns / 8,
                                               VV_NS_PER_S)); /* more has come */
    reason why = why_due(j, &w);
    if (why == NOT_DUE)
        return VV_NOT_FOUND;
    const arch_intent in = {.kind = ARCH_CUT,
                            .first = w.from,
                            .codec = j->rule.codec,
                            .also = j->rule.also,
                            .made_ns = j->now_ns};
    VV_POINT("tier.cut");
    st = build(j, r, &in, false, &b, &full, err);
    uint64_t end = b.holds.next;
    uint64_t used = w.bytes;
    if (st == VV_OK && end < r->next) {
        st = db_stream_load(r, end, err);
        used = r->block.place.bytes_before - w.bytes_before;
    }
    if (st == VV_OK)
        learn(j, used, b.holds.size);
    if (st == VV_OK && why == BY_SIZE && !full) { /* it compresses better than what came before */
        db_tier_look_in(j, j->rule.batch_age_ns - (j->now_ns - w.oldest_ns));
        st = VV_NOT_FOUND;
    }
    if (st == VV_OK) {
        db_stream_reader_close(r);
        st = db_tier_deliver(j, &b, NULL, 0, w.oldest_ns, err);
    }
    db_tier_build_close(&b);
    return st;
}

/* ---- a batch that was announced ---------------------------------------------------------------
 */

/* An intent of the partition. VV_NOT_FOUND: there is none. */
static vv_status find_intent(db_stream_reader *r, arch_intent *out, vv_error *err)
{
    uint8_t key[ARCH_KEY_SIZE];
    arch_key(ARCH_KEY_INTENT, 0, key);
    vv_status st = vv_cursor_seek(r->at, vv_slice_of(key, sizeof key), err);
    if (st != VV_OK)
        return st;
    if (!vv_cursor_valid(r->at) || vv_cursor_key(r->at).data[0] != ARCH_KEY_INTENT)
        return VV_NOT_FOUND;
    return arch_intent_decode(vv_cursor_value(r->at), out, err);
}

/* Its messages are there as they were, and in no object: it can be executed as it is. */
static bool is_open(const db_stream_reader *r, const arch_intent *in, const waiting *w)
{
    return in->first == w->from && in->first >= r->local && in->next <= r->next;
}

vv_status db_tier_resume(db_tier_job *j, db_stream_reader *r, vv_error *err)
{
    arch_intent in;
    db_tier_build b = {.job = NULL};
    bool full = false;
    waiting w;
    vv_status st = find_intent(r, &in, err);
    if (st == VV_OK && VV_BUG(141)) /* the bug: what was announced is not taken up again */
        return VV_NOT_FOUND;
    if (st == VV_OK) /* also while it fails: appends go by it */
        st = find_waiting(r, &w, err);
    if (st != VV_OK)
        return st;
    set_waiting(j, &w);
    if (in.kind == ARCH_MERGE)
        return db_tier_merge_resume(j, r, &in, err);
    const bool open = is_open(r, &in, &w);
    if (open)
        st = build(j, r, &in, true, &b, &full, err);
    db_stream_reader_close(r);
    if (st == VV_OK)
        st = open ? db_tier_deliver(j, &b, NULL, 0, w.oldest_ns, err)
                  : db_tier_commit_give_up(j, &in, true, err);
    db_tier_build_close(&b);
    return st;
}
