/*
 * db_chain.c - what the commit thread does with a chain of batches: groups, one sync, the answers.
 *
 *   chain --> group, append --- VV_BUSY ---> blocked list of the shard --- next call: room? --+
 *      ^         |                                |                                           |
 *      |         v                                +--- deadline passed: VV_BUSY               |
 *      |       done list --one sync--> done()                                                 |
 *      +--------------------------------------------------------------------------------------+
 *
 * Why nobody waits for room here: what was appended before has acknowledgements to give, and other
 * shards have room. A shard that has none keeps its batches aside, in order; the thread comes back
 * when background work was done. Batches of one shard are committed and answered in the order they
 * were queued. An empty batch speaks for all queued before it, so it waits for blocked ones.
 */
#include "base/error.h"
#include "db/db_stream_int.h"

#define QUEUE_OVERHEAD 256u /* counted for each batch beside its payload */

uint64_t db_queue_cost(const vv_batch *batch)
{
    return batch->payload.len + QUEUE_OVERHEAD;
}

/* What was committed or refused and is not answered yet. */
typedef struct outcome {
    db_list list;
    uint64_t bytes;
} outcome;

static void settle(outcome *out, vv_batch *batch, vv_status st, const vv_error *why)
{
    batch->status = st;
    if (st != VV_OK)
        batch->error = *why;
    out->bytes += db_queue_cost(batch);
    db_list_push(&out->list, batch);
}

/* One sync for all, and the answers in order. A batch is the caller's again once done was called.
 */
static void answer(vv_db *db, outcome *out)
{
    db_queue *q = &db->queue;
    vv_error why = {0};
    uint64_t need = 0;
    uint64_t marked = 0;
    if (out->list.head == NULL)
        return;
    for (const vv_batch *b = out->list.head; b != NULL; b = b->next)
        if (b->status == VV_OK && b->need > need)
            need = b->need;
    vv_status st = db_await(db, need, &why);
    int64_t now = vv_clock_mono(db->env->clock);
    for (vv_batch *b; (b = db_list_pop(&out->list)) != NULL;) {
        if ((marked >> b->shard->id & 1) == 0)
            db_marks_write_due(db, b->shard);
        marked |= UINT64_C(1) << b->shard->id;
        bool is_lost = b->status == VV_OK && b->need > 0 && st != VV_OK;
        vv_status is = is_lost ? st : b->status;
        if (is == VV_OK) {
            db_count_commit(db, b);
            vv_hist_add(&db->counters.commit_ns, (uint64_t)(now - b->start_ns));
        }
        b->done(b->done_ctx, is, is == VV_OK ? &b->result : NULL,
                is == VV_OK ? NULL : (is_lost ? &why : &b->error));
    }
    vv_mutex_lock(&q->lock);
    q->bytes -= out->bytes;
    vv_mutex_unlock(&q->lock);
    vv_budget_release(&db->budget, VV_BUDGET_QUEUE, out->bytes);
    out->bytes = 0;
}

/* ---- blocked shards ---- */

static uint64_t blocked_shards(const vv_db *db)
{
    return atomic_load_explicit(&db->queue.blocked_shards, memory_order_relaxed);
}

static void block(vv_db *db, vv_batch *batch)
{
    db_blocked *at = &db->queue.blocked[batch->shard->id];
    *at = (db_blocked){.deadline_ns = vv_clock_mono(db->env->clock) + DB_ROOM_TIMEOUT_NS};
    db_list_push(&at->list, batch);
    atomic_fetch_or_explicit(&db->queue.blocked_shards, UINT64_C(1) << batch->shard->id,
                             memory_order_relaxed);
}

/* Whom the batch has to wait behind, if anybody. */
static db_blocked *blocked_of(vv_db *db, const vv_batch *batch)
{
    uint64_t shards = blocked_shards(db);
    if (VV_LIKELY(shards == 0))
        return NULL;
    if (db_batch_is_empty(batch))
        return &db->queue.blocked[__builtin_ctzll(shards)];
    return (shards >> batch->shard->id & 1) != 0 ? &db->queue.blocked[batch->shard->id] : NULL;
}

/* Commit one, or put it aside when that may be. */
static void place(vv_db *db, vv_batch *batch, bool may_block, outcome *out)
{
    db_blocked *behind = blocked_of(db, batch);
    if (behind != NULL) {
        db_list_push(&behind->list, batch);
        return;
    }
    vv_error why = {0};
    vv_status st = db_check_writable(db, &why);
    if (st == VV_OK && db_batch_is_empty(batch))
        db_answer_empty(db, batch);
    else if (st == VV_OK)
        st = db_append_once(db, batch, &why);
    if (st == VV_BUSY && may_block) {
        vv_error failed = {0};
        st = db_background_want_room(db, &failed);
        if (st == VV_OK) {
            block(db, batch);
            return;
        }
        why = failed;
    }
    settle(out, batch, st, &why);
}

/* Try the shard's first batch again. Where it finds room, the others go in front of the chain; past
 * the deadline each is tried once more and then refused. */
static void retry(vv_db *db, uint32_t shard, db_list *chain, outcome *out)
{
    db_blocked *at = &db->queue.blocked[shard];
    db_list waiting = at->list;
    int64_t deadline = at->deadline_ns;
    *at = (db_blocked){0};
    atomic_fetch_and_explicit(&db->queue.blocked_shards, ~(UINT64_C(1) << shard),
                              memory_order_relaxed);
    bool is_late = vv_clock_mono(db->env->clock) >= deadline;
    do {
        place(db, db_list_pop(&waiting), !is_late, out);
    } while (is_late && waiting.head != NULL);
    if ((blocked_shards(db) >> shard & 1) != 0) {
        at->deadline_ns = deadline;
        db_list_join(&at->list, &waiting);
    } else {
        db_list_join(&waiting, chain);
        *chain = waiting;
    }
}

/* ---- groups ---- */

static bool goes_alone(const vv_batch *b)
{
    return b->cond_count > 0 || b->footprint != NULL || b->op_count == 0 || b->has_range_delete;
}

/* Batches that can be logged in one piece, from the front of the chain: at least one. */
static size_t take_group(vv_db *db, db_list *chain, vv_batch **group)
{
    size_t count = 0;
    uint64_t bytes = 0;
    while (chain->head != NULL && count < DB_GROUP_MAX) {
        const vv_batch *b = chain->head;
        bool is_alone = goes_alone(b) || blocked_of(db, b) != NULL;
        if (count > 0 && (is_alone || bytes + b->payload.len > db->group_bytes_max))
            break;
        bytes += b->payload.len;
        group[count++] = db_list_pop(chain);
        if (is_alone)
            break;
    }
    return count;
}

/* Messages get their places; what was sent before, or out of turn, is answered by itself. */
static bool may_join(vv_db *db, vv_batch *batch) VV_REQUIRES(db->commit_lock)
{
    bool is_duplicate = false;
    return batch->stream == NULL ||
           (db_stream_reserve(db, batch, &is_duplicate, NULL) == VV_OK && !is_duplicate);
}

/* Append a group of plain batches whole; VV_BUSY and the like make it go one by one. */
static void append_group(vv_db *db, vv_batch **group, size_t count, outcome *out)
{
    vv_batch *kept[DB_GROUP_MAX];
    size_t kept_count = 0;
    vv_error why = {0};
    vv_status st = db_check_writable(db, &why);
    vv_mutex_lock(&db->commit_lock);
    for (size_t i = 0; st == VV_OK && i < count; i++)
        if (db_check_tables(group[i], NULL) == VV_OK && may_join(db, group[i]))
            kept[kept_count++] = group[i];
    if (st == VV_OK && kept_count > 0)
        st = db_append(db, kept, kept_count, &why);
    for (size_t i = kept_count; st != VV_OK && i-- > 0;)
        if (kept[i]->stream != NULL)
            db_stream_cancel(db, kept[i]);
    vv_mutex_unlock(&db->commit_lock);
    size_t k = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_in = st == VV_OK && k < kept_count && group[i] == kept[k];
        k += is_in;
        if (is_in)
            settle(out, group[i], VV_OK, &why);
        else
            place(db, group[i], true, out); /* which says what is wrong with it */
    }
}

void db_chain_commit(vv_db *db, db_list *chain)
{
    outcome out = {0};
    vv_batch *group[DB_GROUP_MAX];
    for (const vv_batch *b = chain->head; b != NULL; b = b->next)
        db_throttle(db, b);
    for (uint64_t left = blocked_shards(db); left != 0; left &= left - 1)
        retry(db, (uint32_t)__builtin_ctzll(left), chain, &out);
    while (chain->head != NULL) {
        size_t count = take_group(db, chain, group);
        if (count == 1)
            place(db, group[0], true, &out);
        else
            append_group(db, group, count, &out);
        if (out.bytes >= db->queue.chain_max)
            answer(db, &out);
    }
    answer(db, &out);
}

void db_chain_commit_alone(vv_db *db, vv_batch *batch)
{
    outcome out = {0};
    vv_error why = {0};
    vv_status st = db_check_writable(db, &why);
    if (st == VV_OK)
        db_throttle(db, batch);
    if (st == VV_OK && db_batch_is_empty(batch))
        db_answer_empty(db, batch);
    else if (st == VV_OK)
        st = db_append_waiting(db, batch, &why);
    settle(&out, batch, st, &why);
    answer(db, &out);
}
