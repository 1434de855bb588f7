/*
 * db_apply.c - what was logged goes to the engines: a group of one shard on its appender's thread,
 * a large one of several shards on several threads.
 *
 *   appender (holds commit_lock):  log the group --> offer its shards --> take one, apply it --+
 *                                                         |                 ^----- again ------+
 *   varve-apply-n:                                        +--> take one, apply it, again       |
 *   appender:                      hand over <-- all that were taken are done <----------------+
 *
 * A shard's entries are applied by whoever took it, in the order of the log; entries of different
 * shards have nothing in common. The appender keeps commit_lock from before the log to the end of
 * the last shard, so that for everybody else nothing has changed: one group at a time is applied,
 * and nothing of it becomes visible before all of it is there.
 *
 * A thread that sleeps takes some microseconds to come: less work than that stays where it is.
 */
#include <stdio.h>

#include "base/error.h"
#include "db/db_int.h"

#define APART_OPS_MIN 256u /* beside those of the largest shard: 50 us of work, about */

/* ---- one entry, one shard -------------------------------------------------------------------- */

/* What was logged cannot be refused any more: a failure here latches the store. */
static vv_status apply_one(vv_db *db, vv_batch *b, uint64_t end, vv_error *err)
{
    db_shard *shard = b->shard;
    vv_status st = db->ops->apply(shard->eng, b->result.version, b->result.commit_time_ns,
                                  vv_buf_slice(&b->payload), err);
    if (st != VV_OK)
        return vv_wrap(err, st, "apply version %lld", (long long)b->result.version);
    if (VV_UNLIKELY(shard->recent.watchers > 0))
        txn_recent_add(&shard->recent, b->result.version, vv_buf_slice(&b->payload));
    if (b->mark_time_ns != 0)
        db_marks_note(shard, b->mark_time_ns, b->result.version, end);
    if (b->dropping != NULL)
        atomic_store_explicit(&b->dropping->is_dropping, true, memory_order_release);
    shard->last_commit_time_ns = b->result.commit_time_ns;
    atomic_store_explicit(&shard->last_index, b->result.version, memory_order_release);
    return VV_OK;
}

static vv_status apply_in_order(vv_db *db, const db_group *g, vv_error *err)
{
    vv_status st = VV_OK;
    for (size_t i = 0; st == VV_OK && i < g->count; i++)
        st = apply_one(db, g->batch[i], g->end, err);
    return st;
}

static vv_status apply_shard(vv_db *db, const db_group *g, uint32_t shard, vv_error *err)
{
    vv_status st = VV_OK;
    for (size_t i = 0; st == VV_OK && i < g->count; i++) {
        vv_batch *b = g->batch[VV_BUG(92) ? g->count - 1 - i : i];
        if (b->shard->id == shard)
            st = apply_one(db, b, g->end, err);
    }
    return st;
}

/* ---- sharing a group ------------------------------------------------------------------------- */

/* Take the largest shard that is left; WAL_SHARD_MAX: there is none. */
static uint32_t take_shard(db_apply *a) VV_REQUIRES(a->lock)
{
    uint32_t best = WAL_SHARD_MAX;
    for (uint64_t left = a->todo; left != 0; left &= left - 1) {
        uint32_t s = (uint32_t)__builtin_ctzll(left);
        if (best == WAL_SHARD_MAX || a->group->ops[s] > a->group->ops[best])
            best = s;
    }
    if (best == WAL_SHARD_MAX)
        return best;
    a->todo &= ~(UINT64_C(1) << best);
    a->under_way++;
    return best;
}

/* Apply shards of the group until none is left to take. */
static void apply_taken(vv_db *db, db_apply *a) VV_REQUIRES(a->lock)
{
    uint32_t shard;
    while ((shard = take_shard(a)) != WAL_SHARD_MAX) {
        const db_group *g = a->group;
        vv_error why = {0};
        vv_mutex_unlock(&a->lock);
        VV_POINT("db.apply.taken");
        vv_status st = apply_shard(db, g, shard, &why);
        vv_mutex_lock(&a->lock);
        if (st != VV_OK && a->status == VV_OK) {
            a->status = st;
            a->error = why;
        }
        if (--a->under_way == 0 && a->todo == 0)
            vv_cond_signal(&a->done);
    }
}

static vv_status apply_apart(vv_db *db, const db_group *g, vv_error *err)
{
    db_apply *a = &db->apply;
    vv_mutex_lock(&a->lock);
    a->group = g;
    a->todo = g->shards;
    a->status = VV_OK;
    vv_cond_broadcast(&a->work);
    apply_taken(db, a);
    while (a->under_way > 0)
        vv_cond_wait(&a->done, &a->lock);
    vv_status st = a->status;
    if (st != VV_OK && err != NULL)
        *err = a->error;
    vv_mutex_unlock(&a->lock);
    atomic_fetch_add_explicit(&db->counters.groups_apart, 1, memory_order_relaxed);
    return st;
}

static bool is_worth_it(const db_apply *a, const db_group *g)
{
    uint32_t all = 0;
    uint32_t largest = 0;
    for (uint64_t left = g->shards; left != 0; left &= left - 1) {
        uint32_t ops = g->ops[__builtin_ctzll(left)];
        all += ops;
        largest = ops > largest ? ops : largest;
    }
    return all - largest >= a->least_ops;
}

vv_status db_apply_group(vv_db *db, const db_group *g, vv_error *err)
{
    bool has_one = (g->shards & (g->shards - 1)) == 0;
    if (VV_LIKELY(has_one) || db->apply.thread_count == 0 || !is_worth_it(&db->apply, g))
        return apply_in_order(db, g, err);
    return apply_apart(db, g, err);
}

/* ---- threads --------------------------------------------------------------------------------- */

static void apply_main(void *arg)
{
    vv_db *db = arg;
    db_apply *a = &db->apply;
    vv_mutex_lock(&a->lock);
    while (!a->stop) {
        apply_taken(db, a);
        if (a->todo == 0 && !a->stop)
            vv_cond_wait(&a->work, &a->lock);
    }
    vv_mutex_unlock(&a->lock);
}

void db_apply_init(vv_db *db)
{
    vv_mutex_init(&db->apply.lock, VV_RANK_LEAF);
    vv_cond_init(&db->apply.work);
    vv_cond_init(&db->apply.done);
    db->apply.least_ops = APART_OPS_MIN;
}

void db_apply_fini(vv_db *db)
{
    vv_cond_fini(&db->apply.done);
    vv_cond_fini(&db->apply.work);
    vv_mutex_fini(&db->apply.lock);
}

vv_status db_apply_start(vv_db *db, vv_error *err)
{
    db_apply *a = &db->apply;
    const vv_threads *threads = db->env->threads;
    uint32_t want = db->opt.apply_threads;
    if (threads == NULL || db->opt.read_only)
        return VV_OK;
    if (want == 0)
        want = (uint32_t)vv_min_u64(db->shard_count, env_cores());
    /* The appender is one of them. */
    want = (uint32_t)vv_min_u64(want, db->shard_count) - 1;
    vv_status st = VV_OK;
    while (st == VV_OK && a->thread_count < want) {
        char name[16];
        (void)snprintf(name, sizeof name, "varve-apply-%u", a->thread_count % 100);
        st = threads->create(name, VV_THREAD_NORMAL, apply_main, db, &a->thread[a->thread_count],
                             err);
        a->thread_count += st == VV_OK; /* read by nobody yet */
    }
    return st;
}

void db_apply_stop(vv_db *db)
{
    db_apply *a = &db->apply;
    vv_mutex_lock(&a->lock);
    a->stop = true;
    vv_cond_broadcast(&a->work);
    vv_mutex_unlock(&a->lock);
    for (uint32_t i = 0; i < a->thread_count; i++)
        db->env->threads->join(a->thread[i]);
    a->thread_count = 0;
}
