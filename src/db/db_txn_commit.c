/*
 * db_txn_commit.c - from a transaction to a batch, and the question whether it may be written.
 *
 *   footprint: keys written (and read), ranges deleted (and seen)
 *        |
 *   commit_lock: keys alone, and memory knows --- touched --> VV_CONFLICT
 *        |                     | clear
 *        | it does not know    +--> append
 *   watch, unlock, look at memtables and runs, lock, look at what was appended meanwhile
 *                                                          | clear --> append
 *                                                          | overflowed --> again
 *
 * The entry that is logged is unconditional: a replay judges nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "db/db_txn_int.h"

/* ---- the batch ---- */

static vv_slice user_key(vv_slice key)
{
    return vv_slice_of(key.data + ENGINE_TABLE_PREFIX, key.len - ENGINE_TABLE_PREFIX);
}

static vv_status fill_batch(vv_txn *txn, vv_error *err)
{
    txn_buffer *b = &txn->buffer;
    vv_batch *batch = &txn->batch;
    vv_status st = VV_OK;
    for (size_t i = 0; st == VV_OK && i < b->wipe_count; i++) {
        const txn_span *span = &b->wipes[i].span;
        st = db_batch_add(batch, ENGINE_RANGE_DELETE, engine_key_table(span->lower),
                          user_key(span->lower), span->upper, 0, err);
        batch->user_bytes += span->lower.len + span->upper.len;
    }
    for (txn_node *n = b->head[0]; st == VV_OK && n != NULL; n = n->next[0]) {
        const txn_op *op = n->newest;
        if (op == NULL || op->by_range)
            continue;
        st = db_batch_add(batch, op->kind, engine_key_table(n->key), user_key(n->key), op->value,
                          op->expires_ns, err);
        batch->user_bytes += n->key.len - ENGINE_TABLE_PREFIX + op->value.len;
    }
    return st;
}

/* ---- the footprint ---- */

static vv_status gather_keys(vv_txn *txn, vv_error *err)
{
    txn_buffer *b = &txn->buffer;
    bool reads = txn_checks_reads(txn);
    size_t count = 0;
    for (txn_node *n = b->head[0]; n != NULL; n = n->next[0])
        count += (n->newest != NULL && !n->newest->by_range) || (reads && n->was_read);
    if (count == 0)
        return VV_OK;
    vv_status st;
    vv_slice *keys = txn_alloc(txn, count * sizeof *keys, &st, err);
    if (keys == NULL)
        return st;
    txn->footprint.keys = keys;
    for (txn_node *n = b->head[0]; n != NULL; n = n->next[0])
        if ((n->newest != NULL && !n->newest->by_range) || (reads && n->was_read))
            keys[txn->footprint.key_count++] = n->key;
    return VV_OK;
}

static int by_lower(const void *a, const void *b)
{
    const txn_span *x = a;
    const txn_span *y = b;
    return vv_slice_cmp(x->lower, y->lower);
}

/* Sorted spans made disjoint; returns how many are left. */
static size_t join_spans(txn_span *spans, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (vv_slice_cmp(spans[i].lower, spans[i].upper) >= 0)
            continue; /* nothing was seen */
        if (kept > 0 && vv_slice_cmp(spans[i].lower, spans[kept - 1].upper) <= 0) {
            if (vv_slice_cmp(spans[i].upper, spans[kept - 1].upper) > 0)
                spans[kept - 1].upper = spans[i].upper;
        } else {
            spans[kept++] = spans[i];
        }
    }
    return kept;
}

static vv_status gather_spans(vv_txn *txn, vv_error *err)
{
    const txn_buffer *b = &txn->buffer;
    size_t count = b->cover_count + txn->seen_count;
    if (count == 0)
        return VV_OK;
    vv_status st;
    txn_span *spans = txn_alloc(txn, count * sizeof *spans, &st, err);
    if (spans == NULL)
        return st;
    size_t n = 0;
    for (size_t i = 0; i < b->cover_count; i++)
        spans[n++] = b->cover[i];
    for (const txn_seen *s = txn->seen; s != NULL; s = s->next)
        spans[n++] = (txn_span){.lower = vv_slice_of(s->bound[0], s->len[0]),
                                .upper = vv_slice_of(s->bound[1], s->len[1])};
    qsort(spans, n, sizeof *spans, by_lower);
    txn->footprint.spans = spans;
    txn->footprint.span_count = join_spans(spans, n);
    return VV_OK;
}

/* ---- the verdict ---- */

#define KEY_TEXT 48u /* bytes of a key that a sentence shows */

/* Bytes as text: what cannot be printed as \xNN. */
static const char *key_text(vv_slice key, char out[4 * KEY_TEXT + 4])
{
    static const char hex[] = "0123456789abcdef";
    char *p = out;
    for (size_t i = 0; i < key.len && i < KEY_TEXT; i++) {
        uint8_t c = key.data[i];
        if (c >= 0x20 && c < 0x7f && c != '\'' && c != '\\') {
            *p++ = (char)c;
            continue;
        }
        *p++ = '\\';
        *p++ = 'x';
        *p++ = hex[c >> 4];
        *p++ = hex[c & 15];
    }
    memcpy(p, key.len > KEY_TEXT ? "..." : "", key.len > KEY_TEXT ? 4 : 1);
    return out;
}

static const char *table_name(const vv_batch *batch, uint32_t id)
{
    for (uint32_t i = 0; i < batch->table_count; i++)
        if (batch->tables[i]->id == id)
            return batch->tables[i]->name;
    return "?";
}

static vv_status fail_touched(const vv_batch *batch, const engine_touch *touch, vv_error *err)
{
    char text[4 * KEY_TEXT + 4];
    vv_slice key = vv_slice_of(touch->key, touch->key_len);
    atomic_fetch_add_explicit(&batch->db->counters.conflicts, 1, memory_order_relaxed);
    return vv_fail(err, VV_CONFLICT,
                   "%s '%s' of table '%s' was %s at version %lld, the transaction reads version "
                   "%lld: begin again",
                   touch->is_range ? "a range at" : "key",
                   key_text(key.len < ENGINE_TABLE_PREFIX ? key : user_key(key), text),
                   table_name(batch, engine_key_table(key)),
                   touch->is_range ? "deleted" : "written", (long long)touch->version,
                   (long long)batch->footprint->since);
}

static vv_status fail_too_old(const vv_batch *batch, vv_error *err)
{
    atomic_fetch_add_explicit(&batch->db->counters.conflicts, 1, memory_order_relaxed);
    return vv_fail(err, VV_CONFLICT,
                   "the transaction reads version %lld, older than what the store remembers the "
                   "writes of: begin again",
                   (long long)batch->footprint->since);
}

static vv_status tell(const vv_batch *batch, txn_answer answer, const engine_touch *touch,
                      vv_error *err)
{
    if (answer == TXN_CLEAR)
        return VV_OK;
    return answer == TXN_TOUCHED ? fail_touched(batch, touch, err) : fail_too_old(batch, err);
}

static vv_status place(vv_db *db, vv_batch *batch, vv_error *err) VV_REQUIRES(db->commit_lock)
{
    vv_status st = db_check_tables(batch, err);
    return st == VV_OK ? db_append(db, &batch, 1, err) : st;
}

/* Under the lock from first to last: when others are always faster. */
static vv_status append_locked(vv_db *db, vv_batch *batch, vv_error *err)
{
    engine_touch touch = {0};
    txn_answer answer = TXN_UNKNOWN;
    vv_mutex_lock(&db->commit_lock);
    vv_status st = txn_check_all(batch->shard->eng, batch->footprint, &answer, &touch, err);
    if (st == VV_OK)
        st = tell(batch, answer, &touch, err);
    if (st == VV_OK)
        st = place(db, batch, err);
    vv_mutex_unlock(&db->commit_lock);
    return st;
}

/* Keys alone, and memory knows them all. *done: the status is the answer. */
static vv_status append_quick(vv_db *db, vv_batch *batch, bool *done, vv_error *err)
{
    engine_touch touch = {0};
    vv_status st = VV_OK;
    vv_mutex_lock(&db->commit_lock);
    txn_answer answer = txn_check_keys(batch->shard->eng, batch->footprint, &touch);
    *done = answer != TXN_UNKNOWN;
    if (*done)
        st = tell(batch, answer, &touch, err);
    if (*done && st == VV_OK)
        st = place(db, batch, err);
    vv_mutex_unlock(&db->commit_lock);
    return st;
}

vv_status db_append_txn(vv_db *db, vv_batch *batch, bool judge_locked, bool *again, vv_error *err)
{
    db_shard *shard = batch->shard;
    const txn_footprint *fp = batch->footprint;
    engine_touch touch = {0};
    txn_answer answer = TXN_UNKNOWN;
    bool done = false;
    vv_status st = VV_OK;
    if (fp->span_count == 0)
        st = append_quick(db, batch, &done, err);
    if (done)
        return st;
    if (judge_locked)
        return append_locked(db, batch, err);
    vv_mutex_lock(&db->commit_lock);
    int64_t as_of = atomic_load_explicit(&shard->last_index, memory_order_relaxed);
    txn_recent_watch(&shard->recent, as_of);
    vv_mutex_unlock(&db->commit_lock);
    st = txn_check_all(shard->eng, fp, &answer, &touch, err);
    VV_POINT("txn.judged");
    vv_mutex_lock(&db->commit_lock);
    if (st == VV_OK && answer == TXN_CLEAR) {
        answer = txn_recent_check(&shard->recent, fp, as_of, &touch);
        *again = answer == TXN_UNKNOWN;
    }
    txn_recent_unwatch(&shard->recent);
    if (st == VV_OK && !*again)
        st = tell(batch, answer, &touch, err);
    if (st == VV_OK && !*again)
        st = place(db, batch, err);
    vv_mutex_unlock(&db->commit_lock);
    return st;
}

/* ---- commit ---- */

static bool has_writes(const vv_txn *txn)
{
    return txn->buffer.live_count + txn->buffer.wipe_count > 0;
}

static vv_status make_ready(vv_txn *txn, vv_error *err)
{
    if (!has_writes(txn))
        return VV_OK;
    txn->is_ending = true;
    txn->arena.max = SIZE_MAX / 2;
    txn->footprint.since = txn->version[txn->shard->id];
    vv_status st = fill_batch(txn, err);
    if (st == VV_OK)
        st = gather_keys(txn, err);
    if (st == VV_OK)
        st = gather_spans(txn, err);
    txn->batch.footprint = &txn->footprint;
    return st;
}

/* Lost to somebody whose entry is not visible yet: who begins again before it is would read the
 * same snapshot and lose again, over and over. */
void db_await_visible(vv_db *db)
{
    vv_mutex_lock(&db->commit_lock);
    bool is_pending = atomic_load_explicit(&db->fifo.count, memory_order_acquire) > 0;
    uint64_t need = is_pending ? db->fifo.tail_need : 0;
    vv_mutex_unlock(&db->commit_lock);
    vv_status st = db_await(db, need, NULL);
    (void)st; /* a log that failed answers the next write */
}

vv_status vv_txn_commit(vv_txn *txn, vv_write_result *result, vv_error *err)
{
    vv_write_result none = {0};
    if (result == NULL)
        result = &none;
    *result = none;
    if (txn == NULL)
        return VV_OK;
    vv_status st = make_ready(txn, err);
    result->durability = db_durability(txn->db, txn->opt.durability);
    if (st == VV_OK && has_writes(txn))
        st = vv_write(txn->db, &txn->batch, txn->opt.durability, result, err);
    if (st == VV_CONFLICT)
        db_await_visible(txn->db);
    db_txn_count(txn->db, st);
    txn_end(txn);
    return st;
}

/* On the commit thread. */
static void on_written(void *ctx, vv_status st, const vv_write_result *result, const vv_error *err)
{
    vv_txn *txn = ctx;
    vv_write_done done = txn->done;
    void *done_ctx = txn->done_ctx;
    vv_write_result kept = {0};
    vv_error why = {0};
    if (result != NULL)
        kept = *result;
    if (err != NULL)
        why = *err;
    db_txn_count(txn->db, st);
    txn_end(txn);
    done(done_ctx, st, st == VV_OK ? &kept : NULL, st == VV_OK ? NULL : &why);
}

vv_status db_txn_commit_async(vv_txn *txn, vv_write_done done, void *ctx, vv_error *err)
{
    vv_db *db = txn->db;
    vv_status st = make_ready(txn, err);
    if (st == VV_OK && !has_writes(txn)) {
        vv_write_result none = {.durability = db_durability(db, txn->opt.durability)};
        db_txn_count(db, VV_OK);
        txn_end(txn);
        done(ctx, VV_OK, &none, NULL);
        return VV_OK;
    }
    txn->done = done;
    txn->done_ctx = ctx;
    if (st == VV_OK)
        st = vv_write_async(db, &txn->batch, txn->opt.durability, on_written, txn, err);
    if (st != VV_OK)
        txn_end(txn);
    return st;
}

void db_txn_count(vv_db *db, vv_status st)
{
    _Atomic uint64_t *counter =
        st == VV_OK ? &db->counters.txn_commits : &db->counters.txn_failures;
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}
