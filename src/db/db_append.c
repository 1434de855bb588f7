/*
 * db_append.c - the moment a batch gets its place: log, apply, and visibility in log order.
 *
 *                 commit_lock                                publish_lock
 *   db_append --> index, time --> wal_append --> apply --> [fifo: need, shard, version] --> publish
 *                                                             ^
 *                             wal leader: on_durable ---------+   (everything whose need is
 * reached)
 *
 * A version becomes visible when the durability asked for every entry before it and for itself is
 * reached. So an `os` entry is visible at once unless a `sync` entry waits before it; then it waits
 * for that one's position too. Needs never fall along the fifo: its head is always the next.
 *
 * Why a lock apart for publishing: the leader of a write publishes while an appender may hold
 * commit_lock and wait for that same write to free the ring.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "db/db_int.h"

#define FIFO_MIN 256u
#define ENTRY_OP_MIN 32u /* memory of an operation beside its bytes, about */

vv_status db_fifo_init(db_fifo *fifo, vv_error *err)
{
    *fifo = (db_fifo){.cap = FIFO_MIN};
    fifo->slot = vv_alloc(FIFO_MIN * sizeof *fifo->slot);
    return fifo->slot != NULL ? VV_OK : vv_fail(err, VV_NO_MEMORY, "no memory");
}

void db_fifo_fini(db_fifo *fifo)
{
    vv_free(fifo->slot);
    *fifo = (db_fifo){0};
}

vv_status db_fifo_reserve(db_fifo *fifo, size_t count, vv_error *err)
{
    size_t used = fifo->tail - fifo->head;
    if (used + count <= fifo->cap)
        return VV_OK;
    size_t cap = fifo->cap * 2;
    while (cap < used + count)
        cap *= 2;
    db_pending *bigger = vv_alloc(cap * sizeof *bigger);
    if (bigger == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %zu pending commits", cap);
    for (size_t i = 0; i < used; i++)
        bigger[i] = fifo->slot[(fifo->head + i) & (fifo->cap - 1)];
    vv_free(fifo->slot);
    fifo->slot = bigger;
    fifo->cap = cap;
    fifo->head = 0;
    fifo->tail = used;
    return VV_OK;
}

static void publish_one(vv_db *db, uint32_t shard, int64_t version)
{
    db->ops->publish(db->shards[shard].eng, version);
    db_watch_look(&db->shards[shard]);
}

static void publish_ready(vv_db *db, uint64_t durable) VV_REQUIRES(db->publish_lock)
{
    db_fifo *f = &db->fifo;
    size_t done = 0;
    while (f->head != f->tail && f->slot[f->head & (f->cap - 1)].need <= durable) {
        const db_pending *p = &f->slot[f->head & (f->cap - 1)];
        publish_one(db, p->shard, p->version);
        f->head++;
        done++;
    }
    /* After the engine knows: who sees 0 under commit_lock may publish without this lock. */
    if (done > 0)
        atomic_fetch_sub_explicit(&f->count, done, memory_order_release);
    if (durable > atomic_load_explicit(&f->published, memory_order_relaxed))
        atomic_store_explicit(&f->published, durable, memory_order_release);
}

void db_publish(vv_db *db, uint64_t durable)
{
    vv_mutex_lock(&db->publish_lock);
    publish_ready(db, durable);
    vv_mutex_unlock(&db->publish_lock);
}

vv_status db_await(vv_db *db, uint64_t need, vv_error *err)
{
    if (need == 0)
        return VV_OK;
    if (need > wal_durable_position(db->log)) {
        vv_error why = {0};
        vv_status st = wal_sync(db->log, need, &why);
        if (st != VV_OK) {
            (void)db_latch(db, st, &why);
            if (err != NULL)
                *err = why;
            return st;
        }
    }
    if (atomic_load_explicit(&db->fifo.published, memory_order_acquire) < need)
        db_publish(db, wal_durable_position(db->log));
    return VV_OK;
}

/* Memory that no write can have, however much is flushed. */
static uint64_t held_by_others(const vv_db *db)
{
    const vv_budget *b = &db->budget;
    uint64_t held = b->share[VV_BUDGET_CACHE] + b->share[VV_BUDGET_WORK];
    held += vv_max_u64(b->share[VV_BUDGET_INDEX], vv_budget_part_used(b, VV_BUDGET_INDEX));
    return held + vv_budget_part_used(b, VV_BUDGET_LOG);
}

/* The engine has no room now. Will it have some when everything before is flushed? */
static vv_status name_limit(const vv_db *db, vv_status st, uint64_t bytes, uint32_t ops,
                            vv_error *err)
{
    uint64_t at_least = bytes + (uint64_t)ops * ENTRY_OP_MIN;
    if (st != VV_BUSY || at_least + held_by_others(db) <= db->opt.memory_limit)
        return st;
    return vv_fail(err, VV_NO_MEMORY,
                   "a write of %llu bytes never fits a memory_limit of %llu: write less at once",
                   (unsigned long long)bytes, (unsigned long long)db->opt.memory_limit);
}

/* Sums for each shard of a group. */
typedef struct group_plan {
    uint64_t bytes[WAL_SHARD_MAX];
    uint32_t ops[WAL_SHARD_MAX];
    uint32_t slots[WAL_SHARD_MAX]; /* of engines that the shard's batches write to */
    int64_t next_index[WAL_SHARD_MAX];
    int64_t time_ns[WAL_SHARD_MAX];
    uint64_t shards; /* bit set */
    size_t shard_count;
    bool has_sync;
} group_plan;

/* Indexes, times and sums of the group. */
static void make_plan(vv_db *db, vv_batch *const *group, size_t count, group_plan *plan)
    VV_REQUIRES(db->commit_lock)
{
    plan->shards = 0;
    plan->shard_count = 0;
    plan->has_sync = false;
    int64_t now = vv_clock_wall(db->env->clock);
    for (size_t i = 0; i < count; i++) {
        const db_shard *shard = group[i]->shard;
        uint32_t s = shard->id;
        if ((plan->shards >> s & 1) == 0) {
            plan->shards |= UINT64_C(1) << s;
            plan->shard_count++;
            plan->bytes[s] = 0;
            plan->ops[s] = 0;
            plan->slots[s] = 0;
            plan->next_index[s] =
                atomic_load_explicit(&shard->last_index, memory_order_relaxed) + 1;
            int64_t least = atomic_load_explicit(&shard->floor_time_ns, memory_order_acquire);
            if (shard->last_commit_time_ns > least)
                least = shard->last_commit_time_ns;
            plan->time_ns[s] = now > least ? now : least;
        }
        plan->bytes[s] += group[i]->payload.len;
        plan->ops[s] += group[i]->op_count;
        uint32_t slots = 0;
        if (engine_route_is_split(shard->eng))
            slots = engine_route_slots(shard->eng, vv_buf_slice(&group[i]->payload));
        plan->slots[s] |= slots != 0 ? slots : ENGINE_ROUTE_HOME;
        plan->has_sync |= group[i]->durability == VV_DURABLE_SYNC;
    }
}

/* The group is not logged: what engines hold ready for it would grow with every refusal. */
static void cancel(vv_db *db, uint64_t shards) VV_REQUIRES(db->commit_lock)
{
    for (; db->ops->cancel != NULL && shards != 0; shards &= shards - 1)
        db->ops->cancel(db->shards[__builtin_ctzll(shards)].eng);
}

static vv_status prepare(vv_db *db, const group_plan *plan, vv_error *err)
    VV_REQUIRES(db->commit_lock)
{
    vv_status st = VV_OK;
    for (uint64_t left = plan->shards; st == VV_OK && left != 0; left &= left - 1) {
        uint32_t s = (uint32_t)__builtin_ctzll(left);
        st = engine_route_prepare(db->shards[s].eng, plan->slots[s], plan->bytes[s], plan->ops[s],
                                  err);
        if (st != VV_OK)
            st = name_limit(db, st, plan->bytes[s], plan->ops[s], err);
    }
    if (st == VV_OK) {
        vv_mutex_lock(&db->publish_lock);
        st = db_fifo_reserve(&db->fifo, plan->shard_count, err);
        vv_mutex_unlock(&db->publish_lock);
    }
    if (st != VV_OK)
        cancel(db, plan->shards);
    return st;
}

/* Let the group become visible in its turn; returns the position its callers wait for. */
static uint64_t hand_over(vv_db *db, const group_plan *plan, uint64_t end)
    VV_REQUIRES(db->commit_lock)
{
    db_fifo *f = &db->fifo;
    bool is_first = atomic_load_explicit(&f->count, memory_order_acquire) == 0;
    uint64_t need = plan->has_sync ? end : (is_first ? 0 : f->tail_need);
    if (need == 0) {
        for (uint64_t left = plan->shards; left != 0; left &= left - 1) {
            uint32_t s = (uint32_t)__builtin_ctzll(left);
            publish_one(db, s, plan->next_index[s] - 1);
        }
        return 0;
    }
    f->tail_need = need;
    vv_mutex_lock(&db->publish_lock);
    for (uint64_t left = plan->shards; left != 0; left &= left - 1) {
        uint32_t s = (uint32_t)__builtin_ctzll(left);
        f->slot[f->tail++ & (f->cap - 1)] =
            (db_pending){.need = need, .version = plan->next_index[s] - 1, .shard = s};
    }
    atomic_fetch_add_explicit(&f->count, plan->shard_count, memory_order_relaxed);
    /* Another leader may have carried it to the disk since it was appended. */
    uint64_t durable = wal_durable_position(db->log);
    uint64_t published = atomic_load_explicit(&f->published, memory_order_relaxed);
    publish_ready(db, durable > published ? durable : published);
    vv_mutex_unlock(&db->publish_lock);
    return need;
}

vv_status db_append(vv_db *db, vv_batch *const *group, size_t count, vv_error *err)
{
    assert(count >= 1 && count <= DB_GROUP_MAX);
    wal_record recs[DB_GROUP_MAX];
    group_plan plan;
    make_plan(db, group, count, &plan);
    vv_status st = prepare(db, &plan, err);
    if (st != VV_OK)
        return st;
    for (size_t i = 0; i < count; i++) {
        vv_batch *b = group[i];
        uint32_t s = b->shard->id;
        b->result.version = plan.next_index[s]++;
        b->result.commit_time_ns = plan.time_ns[s];
        b->result.durability = plan.has_sync ? VV_DURABLE_SYNC : b->durability;
        b->result.duplicate = false;
        recs[i] = (wal_record){.kind = WAL_ENTRY,
                               .shard = s,
                               .index = (uint64_t)b->result.version,
                               .commit_time_ns = b->result.commit_time_ns,
                               .payload = vv_buf_slice(&b->payload),
                               .payload_crc = b->crc};
    }
    uint64_t end = 0;
    VV_POINT("db.before_append");
    st = wal_append(db->log, recs, count, &end, err);
    if (st != VV_OK) {
        cancel(db, plan.shards);
        /* A full disk refuses this entry; a failed one is the end of the log. */
        return st == VV_IO || st == VV_CORRUPT ? db_latch(db, st, err) : st;
    }
    VV_POINT("db.after_append");
    vv_error why = {0};
    db_group g = {
        .batch = group, .count = count, .shards = plan.shards, .ops = plan.ops, .end = end};
    if (VV_BUG(93))
        (void)hand_over(db, &plan, end);
    st = db_apply_group(db, &g, &why);
    if (st != VV_OK) { /* it is in the log: no status that says "not written" */
        (void)vv_wrap(&why, VV_IO, "logged but not applied: reopen the store");
        if (err != NULL)
            *err = why;
        return db_latch(db, VV_IO, &why);
    }
    uint64_t need = hand_over(db, &plan, end);
    for (size_t i = 0; i < count; i++)
        group[i]->need = need;
    if (db->log_wake_bytes != 0 && end - wal_durable_position(db->log) > db->log_wake_bytes)
        db_background_wake_log(db);
    return VV_OK;
}
