/*
 * db_tier_runs.c - old runs of the engines go to the object store: who asks for it, and when.
 *
 *   tier thread:  a piece of each shard in turn (engine_ops.tier_work) --> none left --> LOOK_NS
 *                                                                    \--> a failure --> a pause
 *                                                                         that doubles
 *
 * A thread of its own, because a piece takes as long as the object store does: compactions, flushes
 * and uploads of messages go on meanwhile. A failure latches nothing; it is logged once, and once
 * more when it has passed. Without threads db_tier_runs does the work for its caller.
 */
#include <string.h>

#include "base/error.h"
#include "db/db_tier_int.h"
#include "varve/tier.h"

#define LOOK_NS (5 * VV_NS_PER_S)
#define PAUSE_MIN_NS (1 * VV_NS_PER_S)
#define PAUSE_MAX_NS (60 * VV_NS_PER_S)

void db_tier_runs_init(vv_db *db)
{
    vv_mutex_init(&db->runs.lock, VV_RANK_LEAF);
    vv_cond_init(&db->runs.wake);
}

void db_tier_runs_fini(vv_db *db)
{
    vv_cond_fini(&db->runs.wake);
    vv_mutex_fini(&db->runs.lock);
}

void db_tier_runs_options(vv_db *db)
{
    vv_tier_options opt = {0};
    const vv_tier_options *given = db->opt.tier;
    if (given == NULL)
        return;
    memcpy(&opt, given, given->size < sizeof opt ? given->size : sizeof opt);
    db->runs.tier = (engine_tier){.objects = opt.objects,
                                  .run_age_ns = opt.run_age_ns,
                                  .run_local_bytes = opt.run_local_bytes,
                                  .first_table = CAT_TABLE_FIRST,
                                  .grace_ns = opt.grace_ns == 0 ? DB_TIER_GRACE_NS : opt.grace_ns};
    memcpy(db->runs.tier.store_id, db->identity.uuid, sizeof db->runs.tier.store_id);
    db->runs.is_given = true;
    db->runs.is_stopped = opt.stopped;
}

const engine_tier *db_tier_runs_of(const vv_db *db)
{
    return db->runs.is_given ? &db->runs.tier : NULL;
}

/* A piece of some shard's work, beginning with shard first. VV_NOT_FOUND: none has any. Shards go
 * on after one that failed. */
static vv_status one_piece(vv_db *db, uint32_t first, vv_error *err)
{
    vv_status worst = VV_NOT_FOUND;
    if (db->ops->tier_work == NULL || !db->runs.is_given)
        return VV_NOT_FOUND;
    for (uint32_t i = 0; i < db->shard_count; i++) {
        vv_error why = {0};
        vv_status st = db->ops->tier_work(db->shards[(first + i) % db->shard_count].eng, &why);
        if (st == VV_OK)
            return VV_OK;
        if (worst == VV_NOT_FOUND && st != VV_NOT_FOUND) {
            worst = st;
            if (err != NULL)
                *err = why;
        }
    }
    return worst;
}

vv_status db_tier_runs(vv_db *db, vv_error *err)
{
    for (uint32_t first = 0;; first++) {
        vv_status st = one_piece(db, first, err);
        if (st != VV_OK)
            return st == VV_NOT_FOUND ? VV_OK : st;
    }
}

void db_tier_runs_count(vv_db *db, uint64_t *files, uint64_t *bytes)
{
    *files = 0;
    *bytes = 0;
    for (uint32_t i = 0; i < db->shard_count; i++) {
        engine_stats stats = {0};
        db->ops->stats(db->shards[i].eng, &stats);
        *files += stats.remote_files;
        *bytes += stats.remote_bytes;
    }
}

/* ---- the thread ---- */

/* True: the store is being closed. */
static bool wait_for(db_tier_runs_state *r, int64_t ns)
{
    vv_mutex_lock(&r->lock);
    if (!r->stop)
        (void)vv_cond_wait_for(&r->wake, &r->lock, ns);
    bool stop = r->stop;
    vv_mutex_unlock(&r->lock);
    return stop;
}

static bool is_stopped(db_tier_runs_state *r)
{
    vv_mutex_lock(&r->lock);
    bool stop = r->stop;
    vv_mutex_unlock(&r->lock);
    return stop;
}

static void runs_main(void *arg)
{
    vv_db *db = arg;
    db_tier_runs_state *r = &db->runs;
    int64_t pause = 0;
    uint32_t first = 0;
    while (!is_stopped(r)) {
        vv_error why = {0};
        vv_status st = one_piece(db, first++, &why);
        if (st != VV_OK && st != VV_NOT_FOUND && st != VV_BUSY) {
            if (pause == 0)
                vv_log_to(db->env->log, VV_LOG_WARN, "db", "runs stay local: it is tried again",
                          VV_KV_S("status", vv_status_name(st)), VV_KV_S("error", why.msg));
            pause = pause == 0 ? PAUSE_MIN_NS : pause * 2;
            pause = pause > PAUSE_MAX_NS ? PAUSE_MAX_NS : pause;
            if (wait_for(r, pause))
                return;
            continue;
        }
        if (st == VV_OK && pause > 0)
            vv_log_to(db->env->log, VV_LOG_INFO, "db", "runs go to the object store again");
        pause = st == VV_OK ? 0 : pause;
        if (st != VV_OK && wait_for(r, st == VV_BUSY ? PAUSE_MIN_NS : LOOK_NS))
            return;
    }
}

vv_status db_tier_runs_start(vv_db *db, vv_error *err)
{
    db_tier_runs_state *r = &db->runs;
    const vv_threads *threads = db->env->threads;
    bool is_wanted = r->is_given && r->tier.objects != NULL && !r->is_stopped && !db->opt.read_only;
    if (threads == NULL || !is_wanted || db->ops->tier_work == NULL)
        return VV_OK;
    return threads->create("varve-runs", VV_THREAD_BACKGROUND, runs_main, db, &r->thread, err);
}

void db_tier_runs_stop(vv_db *db)
{
    db_tier_runs_state *r = &db->runs;
    vv_mutex_lock(&r->lock);
    r->stop = true;
    vv_cond_broadcast(&r->wake);
    vv_mutex_unlock(&r->lock);
    if (r->thread != NULL)
        db->env->threads->join(r->thread);
    r->thread = NULL;
}
