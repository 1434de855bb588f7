/*
 * db_write.c - commit a batch: judge its conditions, get room, append, wait for its durability.
 *
 *   judge conditions as of the newest version  <--+   (no lock; may read the disk)
 *        |                                        |
 *   commit_lock: still current? --- no -----------+
 *        | yes
 *   db_append  --- VV_BUSY --> let background work make room, bounded --> again
 *        |
 *   unlock, wait for the position it needs (lead the log's write, or wait for the leader)
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_int.h"

#define JUDGE_UNLOCKED_MAX 8u /* after so many lost races, judge under the lock */
#define THROTTLE_SLEEP_MIN_NS VV_NS_PER_MS
#define THROTTLE_SLEEP_MAX_NS (100 * VV_NS_PER_MS)
#define THROTTLE_AHEAD_MAX_NS VV_NS_PER_S
#define ONE_SCRATCH 2048u /* a one-operation batch up to this size takes no memory */
#define LATENCY_SAMPLE 16u

vv_durability db_durability(const vv_db *db, vv_durability asked)
{
    return asked == VV_DURABLE_DEFAULT ? db->opt.durability : asked;
}

/* Take the shard's next gap of so long: when it begins. All writers together keep the pace. */
static int64_t take_gap(db_shard *shard, int64_t now, int64_t gap_ns)
{
    int64_t next = atomic_load_explicit(&shard->next_write_ns, memory_order_relaxed);
    int64_t begin;
    int64_t end;
    do {
        begin = next > now ? next : now;
        end = begin + gap_ns;
        if (end > now + THROTTLE_AHEAD_MAX_NS)
            end = now + THROTTLE_AHEAD_MAX_NS;
    } while (!atomic_compare_exchange_weak_explicit(&shard->next_write_ns, &next, end,
                                                    memory_order_relaxed, memory_order_relaxed));
    return begin;
}

void db_throttle(vv_db *db, const vv_batch *batch)
{
    int64_t gap = db->ops->throttle_ns(batch->shard->eng, batch->payload.len);
    if (VV_LIKELY(gap <= 0))
        return;
    int64_t now = vv_clock_mono(db->env->clock);
    int64_t wait = take_gap(batch->shard, now, gap) - now;
    if (wait < THROTTLE_SLEEP_MIN_NS)
        return;
    if (wait > THROTTLE_SLEEP_MAX_NS)
        wait = THROTTLE_SLEEP_MAX_NS;
    vv_clock_sleep(db->env->clock, wait);
    atomic_fetch_add_explicit(&db->counters.throttled_ns, (uint64_t)wait, memory_order_relaxed);
}

vv_status db_check_tables(const vv_batch *batch, vv_error *err)
{
    for (uint32_t i = 0; i < batch->table_count; i++)
        if (atomic_load_explicit(&batch->tables[i]->is_dropping, memory_order_acquire))
            return vv_fail(err, VV_NOT_FOUND, "table '%s' of tenant '%s' was dropped",
                           batch->tables[i]->name, batch->tables[i]->tenant);
    return VV_OK;
}

void db_answer_empty(vv_db *db, vv_batch *batch)
{
    if (batch->durability == VV_DURABLE_SYNC)
        batch->need = wal_end_position(db->log);
}

/* A producer's retry: the first try may not be durable yet, and must be before we say yes. */
static void answer_duplicate(vv_db *db, vv_batch *batch, const txn_verdict *verdict)
{
    vv_mutex_lock(&db->commit_lock);
    bool is_pending = atomic_load_explicit(&db->fifo.count, memory_order_acquire) > 0;
    batch->need = is_pending ? db->fifo.tail_need : 0;
    vv_mutex_unlock(&db->commit_lock);
    db_answer_empty(db, batch);
    batch->result.version = verdict->version;
    batch->result.duplicate = true;
    atomic_fetch_add_explicit(&db->counters.duplicates, 1, memory_order_relaxed);
}

/* Judge as of a version. *is_stale: a flush that was told a higher floor may have dropped what the
 * judgement needed, so it means nothing. */
static vv_status judge(vv_db *db, vv_batch *batch, int64_t as_of, txn_verdict *verdict,
                       bool *is_stale, vv_error *err)
{
    db_shard *shard = batch->shard;
    vv_status st = txn_judge(shard->eng, batch->conds, batch->cond_count, as_of, db_read_time(db),
                             verdict, err);
    *is_stale = atomic_load_explicit(&shard->floor_given, memory_order_acquire) > as_of;
    if (*is_stale)
        return VV_OK;
    if (st == VV_CONFLICT)
        atomic_fetch_add_explicit(&db->counters.conflicts, 1, memory_order_relaxed);
    return st;
}

static vv_status append_locked(vv_db *db, vv_batch *batch, bool *duplicate, vv_error *err)
    VV_REQUIRES(db->commit_lock)
{
    *duplicate = false;
    return batch->stream != NULL ? db_append_stream(db, batch, duplicate, err)
                                 : db_append(db, &batch, 1, err);
}

/* One try to append a batch that has conditions. *again: something moved, judge anew. */
static vv_status append_judged(vv_db *db, vv_batch *batch, bool judge_locked, bool *again,
                               vv_error *err)
{
    db_shard *shard = batch->shard;
    txn_verdict verdict = {0};
    vv_status st = VV_OK;
    *again = false;
    int64_t as_of = atomic_load_explicit(&shard->last_index, memory_order_acquire);
    if (!judge_locked)
        st = judge(db, batch, as_of, &verdict, again, err);
    if (st != VV_OK || *again)
        return st;
    vv_mutex_lock(&db->commit_lock);
    if (judge_locked) {
        as_of = atomic_load_explicit(&shard->last_index, memory_order_relaxed);
        st = judge(db, batch, as_of, &verdict, again, err);
    } else {
        *again = !txn_is_current(shard->eng, batch->conds, batch->cond_count, as_of);
    }
    bool is_judged = st == VV_OK && !*again;
    if (is_judged && !verdict.is_duplicate)
        st = db_check_tables(batch, err);
    if (is_judged && st == VV_OK && !verdict.is_duplicate && batch->op_count > 0)
        st = append_locked(db, batch, &verdict.is_duplicate, err);
    vv_mutex_unlock(&db->commit_lock);
    if (is_judged && verdict.is_duplicate)
        answer_duplicate(db, batch, &verdict);
    else if (is_judged && st == VV_OK && batch->op_count == 0)
        db_answer_empty(db, batch);
    return st;
}

static vv_status append_plain(vv_db *db, vv_batch *batch, vv_error *err)
{
    bool is_duplicate = false;
    vv_mutex_lock(&db->commit_lock);
    vv_status st = db_check_tables(batch, err);
    if (st == VV_OK)
        st = append_locked(db, batch, &is_duplicate, err);
    vv_mutex_unlock(&db->commit_lock);
    if (VV_UNLIKELY(is_duplicate))
        answer_duplicate(db, batch, &(txn_verdict){.is_duplicate = true});
    return st;
}

vv_status db_append_once(vv_db *db, vv_batch *batch, vv_error *err)
{
    if (VV_LIKELY(batch->cond_count == 0 && batch->footprint == NULL))
        return append_plain(db, batch, err);
    for (unsigned tries = 0;; tries++) {
        bool again = false;
        bool judge_locked = tries % (2 * JUDGE_UNLOCKED_MAX) >= JUDGE_UNLOCKED_MAX;
        vv_status st = batch->cond_count > 0 ? append_judged(db, batch, judge_locked, &again, err)
                                             : db_append_txn(db, batch, judge_locked, &again, err);
        if (!again)
            return st;
    }
}

vv_status db_append_waiting(vv_db *db, vv_batch *batch, vv_error *err)
{
    int64_t deadline = 0;
    for (bool is_first = true;; is_first = false) {
        uint64_t room = db_background_room(db);
        vv_status st = db_append_once(db, batch, err);
        if (VV_UNLIKELY(st == VV_NO_SPACE) && is_first && db->bg.worker_count == 0) {
            /* Nobody but the caller finds out that space returned: the engine refuses until a
             * piece of its work succeeds. */
            if (db_background_make_room(db, batch->shard, room, 0, err) == VV_OK)
                continue;
            return VV_NO_SPACE;
        }
        if (st != VV_BUSY)
            return st;
        if (deadline == 0)
            deadline = vv_clock_mono(db->env->clock) + DB_ROOM_TIMEOUT_NS;
        vv_error why = {0};
        int64_t start = vv_clock_mono(db->env->clock);
        st = db_background_make_room(db, batch->shard, room, deadline, &why);
        atomic_fetch_add_explicit(&db->counters.stalled_ns,
                                  (uint64_t)(vv_clock_mono(db->env->clock) - start),
                                  memory_order_relaxed);
        if (st == VV_BUSY)
            return VV_BUSY; /* with the sentence of who refused */
        if (st != VV_OK) {
            if (err != NULL)
                *err = why;
            return st;
        }
    }
}

void db_count_commit(vv_db *db, const vv_batch *batch)
{
    if (batch->is_internal || batch->result.duplicate || batch->op_count == 0)
        return;
    db_counters *c = &db->counters;
    atomic_fetch_add_explicit(&c->entries, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->operations, batch->op_count, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->user_bytes, batch->user_bytes, memory_order_relaxed);
}

void db_commit_begin(vv_db *db, vv_batch *batch, vv_durability durability)
{
    batch->durability = db_durability(db, durability);
    batch->need = 0;
    batch->status = VV_OK;
    batch->error = (vv_error){0};
    batch->result = (vv_write_result){.durability = batch->durability};
    if (batch->shard == NULL)
        batch->shard = &db->shards[0]; /* a producer alone, or nothing at all */
    db_batch_seal(batch);
}

vv_status db_commit(vv_db *db, vv_batch *batch, vv_durability durability, vv_error *err)
{
    db_commit_begin(db, batch, durability);
    vv_status st = db_check_writable(db, err);
    if (st == VV_OK) {
        if (!batch->is_internal)
            db_throttle(db, batch);
        if (!db_batch_is_empty(batch))
            st = db_append_waiting(db, batch, err);
        else
            db_answer_empty(db, batch);
        if (st == VV_OK)
            st = db_await(db, batch->need, err);
        if (st == VV_OK)
            db_count_commit(db, batch);
        db_marks_write_due(db, batch->shard);
    }
    batch->status = st;
    return st;
}

vv_status db_door_commit(void *ctx, uint32_t shard, vv_slice payload, uint32_t op_count,
                         cat_table *dropped, vv_error *err)
{
    vv_db *db = ctx;
    vv_batch batch;
    db_batch_init(&batch, db, NULL, 0);
    vv_buf_append_slice(&batch.payload, payload);
    batch.op_count = op_count;
    batch.shard = &db->shards[shard];
    batch.is_internal = true;
    batch.has_range_delete = true; /* perhaps: then it goes alone */
    batch.dropping = dropped;
    vv_status st = batch.payload.status == VV_OK
                       ? db_commit(db, &batch, VV_DURABLE_SYNC, err)
                       : vv_fail(err, VV_NO_MEMORY, "no memory for a catalog entry");
    if (st == VV_OK && dropped != NULL) {
        atomic_store_explicit(&dropped->is_dropped, true, memory_order_release);
        for (uint32_t i = 0; i < db->shard_count; i++)
            db_watch_look(&db->shards[i]);
    }
    db_batch_fini(&batch);
    return st;
}

/* Every durable commit is timed; of the fast ones a sample, so that the clock costs little. */
static bool is_timed(const vv_db *db, vv_durability durability)
{
    static _Thread_local unsigned calls;
    return db_durability(db, durability) == VV_DURABLE_SYNC || ++calls % LATENCY_SAMPLE == 0;
}

static vv_status commit_timed(vv_db *db, vv_batch *batch, vv_durability durability, vv_error *err)
{
    if (!is_timed(db, durability))
        return db_commit(db, batch, durability, err);
    int64_t start = vv_clock_mono(db->env->clock);
    vv_status st = db_commit(db, batch, durability, err);
    if (st == VV_OK)
        vv_hist_add(&db->counters.commit_ns, (uint64_t)(vv_clock_mono(db->env->clock) - start));
    return st;
}

vv_status vv_write(vv_db *db, vv_batch *batch, vv_durability durability, vv_write_result *result,
                   vv_error *err)
{
    assert(batch->db == db);
    vv_status st = commit_timed(db, batch, durability, err);
    if (st == VV_OK && result != NULL)
        *result = batch->result;
    return st;
}

vv_status vv_put(vv_table *table, vv_slice key, vv_slice value, vv_error *err)
{
    uint8_t scratch[ONE_SCRATCH];
    vv_batch batch;
    db_batch_init(&batch, table->db, scratch, sizeof scratch);
    vv_status st = vv_batch_put(&batch, table, key, value, 0, err);
    if (st == VV_OK)
        st = commit_timed(table->db, &batch, VV_DURABLE_DEFAULT, err);
    db_batch_fini(&batch);
    return st;
}

vv_status vv_merge(vv_table *table, vv_slice key, vv_operator op, vv_slice operand, vv_error *err)
{
    uint8_t scratch[ONE_SCRATCH];
    vv_batch batch;
    db_batch_init(&batch, table->db, scratch, sizeof scratch);
    vv_status st = vv_batch_merge(&batch, table, key, op, operand, 0, err);
    if (st == VV_OK)
        st = commit_timed(table->db, &batch, VV_DURABLE_DEFAULT, err);
    db_batch_fini(&batch);
    return st;
}

vv_status vv_delete(vv_table *table, vv_slice key, vv_error *err)
{
    uint8_t scratch[ONE_SCRATCH];
    vv_batch batch;
    db_batch_init(&batch, table->db, scratch, sizeof scratch);
    vv_status st = vv_batch_delete(&batch, table, key, err);
    if (st == VV_OK)
        st = commit_timed(table->db, &batch, VV_DURABLE_DEFAULT, err);
    db_batch_fini(&batch);
    return st;
}

vv_status vv_compare_and_swap(vv_table *table, vv_slice key, bool present, vv_slice expected,
                              vv_slice value, int64_t expires_ns, vv_durability durability,
                              vv_write_result *result, vv_error *err)
{
    uint8_t scratch[ONE_SCRATCH];
    vv_batch batch;
    db_batch_init(&batch, table->db, scratch, sizeof scratch);
    txn_condition *cond = NULL;
    vv_status st = vv_batch_put(&batch, table, key, value, expires_ns, err);
    if (st == VV_OK)
        st = db_batch_add_condition(&batch, TXN_VALUE, table->cat->id, key,
                                    present ? expected : vv_slice_of(NULL, 0), &cond, err);
    if (st == VV_OK) {
        cond->present = present;
        st = commit_timed(table->db, &batch, durability, err);
    }
    if (st == VV_OK && result != NULL)
        *result = batch.result;
    db_batch_fini(&batch);
    return st;
}
