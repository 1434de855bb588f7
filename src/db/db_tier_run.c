/*
 * db_tier_run.c - whose turn it is at the store: threads that look at partitions one after another,
 * by event and by timer.
 *
 *   append, enough waits --wake--> a thread --claims a partition--> resume | cut | local | bury |
 *                                                                   merge | dig
 *   timer: the oldest message that waits, a try again, an object whose grace is over
 *
 * The threads are the tier's own: an upload waits for a network, and compaction must not. Without
 * env->threads db_step does a pass. A failure belongs to its partition, which is tried again after
 * a pause that doubles, up to a minute, with jitter; the store above this one has its own retries
 * and a circuit breaker, so a store that is away costs little to ask.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "db/db_tier_job.h"

#define LOOK_NS (60 * VV_NS_PER_S)
#define PAUSE_MIN_NS VV_NS_PER_S
#define PAUSE_MAX_NS (60 * VV_NS_PER_S)
#define KINDS 7u           /* kinds of work */
#define PIECES_MAX 100000u /* of one partition in vv_tier_run */

/* ---- claims -----------------------------------------------------------------------------------
 */

static bool is_free(const db_tier *t, uint32_t table, uint32_t partition)
{
    if (t->claim_count == ARRAY_LEN(t->claim))
        return false;
    for (uint32_t i = 0; i < t->claim_count; i++)
        if (t->claim[i].table == table &&
            (t->claim[i].partition == partition || t->claim[i].partition == DB_TIER_WHOLE ||
             partition == DB_TIER_WHOLE))
            return false;
    return true;
}

bool db_tier_claim_try(db_tier *t, uint32_t table, uint32_t partition)
{
    vv_mutex_lock(&t->lock);
    bool free = is_free(t, table, partition);
    if (free)
        t->claim[t->claim_count++] = (db_tier_claim){table, partition};
    vv_mutex_unlock(&t->lock);
    return free;
}

void db_tier_claim_wait(db_tier *t, uint32_t table, uint32_t partition)
{
    vv_mutex_lock(&t->lock);
    while (!is_free(t, table, partition))
        vv_cond_wait(&t->done, &t->lock);
    t->claim[t->claim_count++] = (db_tier_claim){table, partition};
    vv_mutex_unlock(&t->lock);
}

void db_tier_unclaim(db_tier *t, uint32_t table, uint32_t partition)
{
    vv_mutex_lock(&t->lock);
    for (uint32_t i = 0; i < t->claim_count; i++)
        if (t->claim[i].table == table && t->claim[i].partition == partition) {
            t->claim[i] = t->claim[--t->claim_count];
            break;
        }
    vv_cond_broadcast(&t->done);
    vv_mutex_unlock(&t->lock);
}

/* ---- health -----------------------------------------------------------------------------------
 */

void db_tier_note_success(db_tier *t)
{
    vv_mutex_lock(&t->lock);
    t->health.failures_in_row = 0;
    t->health.work_failures_in_row = 0;
    t->health.last_success_ns = vv_clock_wall(t->db->env->clock);
    vv_mutex_unlock(&t->lock);
}

static void note_failure(const db_tier_job *j, vv_status st, const vv_error *why)
{
    db_tier *t = j->t;
    int64_t now = vv_clock_wall(t->db->env->clock);
    atomic_fetch_add_explicit(&t->counters.failed, 1, memory_order_relaxed);
    vv_mutex_lock(&t->lock);
    if (t->health.failures_in_row++ == 0)
        t->health.since_ns = now;
    t->health.last_error_ns = now;
    (void)snprintf(t->health.last_error, sizeof t->health.last_error, "%s", why->msg);
    vv_mutex_unlock(&t->lock);
    db_tier_log(j, VV_LOG_WARN, "failed", st, why);
}

/* The disk here, an object that cannot be read: whoever looks at the uploads for it
 * looks at the wrong end. */
static void note_work_failure(db_tier *t, const char *table, vv_status st, const vv_error *why)
{
    int64_t now = vv_clock_wall(t->db->env->clock);
    atomic_fetch_add_explicit(&t->counters.work_failed, 1, memory_order_relaxed);
    vv_mutex_lock(&t->lock);
    t->health.work_failures_in_row++;
    t->health.last_work_error_ns = now;
    (void)snprintf(t->health.last_work_error, sizeof t->health.last_work_error, "%s", why->msg);
    vv_mutex_unlock(&t->lock);
    vv_log_to(t->db->env->log, VV_LOG_WARN, "tier",
              "work on archived messages failed, no upload: it is tried again",
              VV_KV_S("table", table), VV_KV_S("status", vv_status_name(st)),
              VV_KV_S("error", why->msg));
}

int64_t db_tier_pause(db_tier *t, uint32_t failures)
{
    int64_t most = failures > 6 ? PAUSE_MAX_NS : PAUSE_MIN_NS << failures;
    most = most > PAUSE_MAX_NS ? PAUSE_MAX_NS : most;
    vv_mutex_lock(&t->lock);
    int64_t pause = most / 2 + (int64_t)vv_rng_below(&t->rng, (uint64_t)(most / 2));
    vv_mutex_unlock(&t->lock);
    return pause;
}

/* ---- one partition ----------------------------------------------------------------------------
 */

void db_tier_look_in(db_tier_job *j, int64_t ns)
{
    int64_t at = 0;
    if (__builtin_add_overflow(vv_clock_mono(j->t->db->env->clock), ns < 0 ? 0 : ns, &at))
        return;
    j->look_ns = at < j->look_ns ? at : j->look_ns;
}

typedef vv_status piece_fn(db_tier_job *j, db_stream_reader *r, vv_error *err);

/* What is begun is ended first. Every fourth time what goes is looked for before what comes: where
 * batches are due as fast as they are stored, objects go all the same. */
static piece_fn *const *pieces_of(db_tier_part *part)
{
    static piece_fn *const usual[KINDS] = {db_tier_resume, db_tier_cut,  db_tier_local,
                                           db_tier_leave,  db_tier_bury, db_tier_dig,
                                           db_tier_merge};
    static piece_fn *const fourth[KINDS] = {db_tier_resume, db_tier_bury,  db_tier_dig,
                                            db_tier_cut,    db_tier_local, db_tier_leave,
                                            db_tier_merge};
    return part->looks++ % 4 == 3 ? fourth : usual;
}

/* A piece of work, whichever there is. VV_NOT_FOUND: none. */
static vv_status piece(db_tier_job *j, vv_error *err)
{
    piece_fn *const *all = pieces_of(j->part);
    db_stream_reader r;
    j->now_ns = vv_clock_wall(j->t->db->env->clock);
    if (j->rule.off)
        db_tier_forget_waiting(j->t->db, j->part);
    j->line.object[0] = '\0';
    j->line.traces.count = 0;
    vv_status st = db_stream_reader_open(&r, j->table, j->partition, NULL, NULL, err);
    if (st == VV_OK)
        st = VV_NOT_FOUND;
    /* A piece that wrote closed the reader. */
    for (size_t i = 0; st == VV_NOT_FOUND && r.at != NULL && i < KINDS; i++) {
        j->store_failed = false;
        j->put_failed = false;
        if (j->rule.off && (all[i] == db_tier_cut || all[i] == db_tier_merge))
            continue;
        st = all[i](j, &r, err);
    }
    db_stream_reader_close(&r);
    db_tier_memory_end(j);
    return st;
}

/* What became of a piece. */
static void settle(db_tier_job *j, vv_status st, const vv_error *why)
{
    db_tier *t = j->t;
    int64_t now = vv_clock_mono(t->db->env->clock);
    if (st == VV_OK || st == VV_NOT_FOUND || st == VV_CONFLICT) {
        j->part->failures = 0;
        j->part->retry_ns = 0;
        if (st != VV_NOT_FOUND)
            atomic_store_explicit(&j->part->wanted, true, memory_order_relaxed);
        return;
    }
    if (j->put_failed && st != VV_CLOSED)
        note_failure(j, st, why);
    else if (st != VV_CLOSED && (st != VV_BUSY || j->store_failed))
        note_work_failure(t, j->table->cat->name, st, why);
    j->part->retry_ns = now + db_tier_pause(t, j->part->failures++);
    atomic_store_explicit(&j->part->wanted, true, memory_order_relaxed);
}

/* Is there something to look at? */
static bool is_due(db_tier_job *j, int64_t now)
{
    bool wanted = atomic_load_explicit(&j->part->wanted, memory_order_relaxed);
    int64_t look = atomic_load_explicit(&j->part->look_ns, memory_order_relaxed);
    if (wanted)
        look = 0;
    if (j->part->retry_ns > look)
        look = j->part->retry_ns;
    j->look_ns = look < j->look_ns ? look : j->look_ns;
    return look <= now;
}

/* Of a background pass: at most one piece. *look_ns is lowered to when it wants to be asked again.
 */
static vv_status pass_part(db_tier *t, vv_table *table, db_stream *s, uint32_t p, int64_t *look_ns)
{
    vv_error why = {0};
    int64_t now = vv_clock_mono(t->db->env->clock);
    db_tier_job j = {
        .t = t, .table = table, .partition = p, .part = &s->part[p].tier, .next = &s->part[p].next};
    j.look_ns = now + LOOK_NS;
    if (!db_tier_claim_try(t, table->cat->id, p))
        return VV_NOT_FOUND; /* who has it looks again */
    vv_status st = VV_NOT_FOUND;
    if (is_due(&j, now)) {
        db_tier_rule(t->db, table->cat, &j.rule);
        j.look_ns = now + LOOK_NS;
        atomic_store_explicit(&j.part->wanted, false, memory_order_relaxed);
        st = piece(&j, &why);
        settle(&j, st, &why);
        atomic_store_explicit(&j.part->look_ns, j.look_ns, memory_order_relaxed);
        if (j.part->retry_ns > now)
            j.look_ns = j.part->retry_ns;
    }
    db_tier_unclaim(t, table->cat->id, p);
    *look_ns = j.look_ns < *look_ns ? j.look_ns : *look_ns;
    return st == VV_CONFLICT ? VV_OK : st;
}

static vv_status pass_table(db_tier *t, cat_table *cat, int64_t *look_ns)
{
    db_stream *s = NULL;
    vv_table table = db_table_of(t->db, cat);
    vv_status all = VV_NOT_FOUND;
    if (cat->kind != VV_TABLE_STREAM ||
        atomic_load_explicit(&cat->is_dropping, memory_order_acquire) ||
        db_stream_of(&table, &s, NULL) != VV_OK)
        return VV_NOT_FOUND;
    for (uint32_t p = 0; p < s->partition_count; p++)
        if (pass_part(t, &table, s, p, look_ns) == VV_OK)
            all = VV_OK;
    return all;
}

static vv_status pass_dropped(db_tier *t, int64_t *look_ns)
{
    vv_status all = VV_NOT_FOUND;
    int64_t now = vv_clock_mono(t->db->env->clock);
    int64_t look = atomic_load_explicit(&t->dropped_look_ns, memory_order_relaxed);
    if (look <= now)
        atomic_store_explicit(&t->dropped_look_ns, now + LOOK_NS, memory_order_relaxed);
    for (uint32_t i = 0; look <= now && i < t->db->shard_count; i++) {
        vv_status unremoved = VV_OK;
        if (!db_tier_claim_try(t, CAT_TABLE_SYSTEM, i))
            continue;
        vv_status st = db_tier_dig_dropped(t, &t->db->shards[i], false, &unremoved, NULL);
        db_tier_unclaim(t, CAT_TABLE_SYSTEM, i);
        if (st == VV_OK) {
            all = VV_OK;
            atomic_store_explicit(&t->dropped_look_ns, 0, memory_order_relaxed);
        }
    }
    look = atomic_load_explicit(&t->dropped_look_ns, memory_order_relaxed);
    *look_ns = look < *look_ns ? look : *look_ns;
    return all;
}

static vv_status pass(db_tier *t, int64_t *look_ns)
{
    cat_table **tables = NULL;
    size_t count = 0;
    vv_status all = pass_dropped(t, look_ns);
    if (cat_list(t->db->cat, NULL, &tables, &count, NULL) != VV_OK)
        return all;
    vv_mutex_lock(&t->lock);
    size_t first = count == 0 ? 0 : t->next_table++ % count;
    vv_mutex_unlock(&t->lock);
    for (size_t i = 0; i < count; i++)
        if (pass_table(t, tables[(first + i) % count], look_ns) == VV_OK)
            all = VV_OK;
    if (tables != NULL)
        cat_list_free(tables, count);
    return all;
}

static bool can_work(const db_tier *t)
{
    return t != NULL && t->objects != NULL && !t->db->opt.read_only;
}

void db_tier_look_at(db_tier *t, int64_t mono_ns)
{
    int64_t was = atomic_load_explicit(&t->look_ns, memory_order_relaxed);
    while (mono_ns < was &&
           !atomic_compare_exchange_weak_explicit(&t->look_ns, &was, mono_ns, memory_order_relaxed,
                                                  memory_order_relaxed))
        ;
}

vv_status db_tier_step(vv_db *db)
{
    db_tier *t = db->tier;
    if (!can_work(t) || t->opt.stopped)
        return VV_NOT_FOUND;
    int64_t now = vv_clock_mono(db->env->clock);
    if (!atomic_exchange_explicit(&t->wanted, false, memory_order_acquire) &&
        now < atomic_load_explicit(&t->look_ns, memory_order_relaxed))
        return VV_NOT_FOUND;
    /* Before the pass: another thread may come to an earlier look meanwhile, and it counts. */
    atomic_store_explicit(&t->look_ns, now + LOOK_NS, memory_order_relaxed);
    if (db_check_writable(db, NULL) != VV_OK)
        return VV_NOT_FOUND;
    int64_t look = now + LOOK_NS;
    vv_status st = pass(t, &look);
    if (st == VV_OK)
        atomic_store_explicit(&t->wanted, true, memory_order_release);
    db_tier_look_at(t, look);
    return st;
}

/* ---- threads ----------------------------------------------------------------------------------
 */

void db_tier_wake(vv_db *db)
{
    db_tier *t = db->tier;
    if (t == NULL)
        return;
    atomic_store_explicit(&t->wanted, true, memory_order_release);
    vv_mutex_lock(&t->lock);
    t->requests++;
    vv_cond_broadcast(&t->work);
    vv_mutex_unlock(&t->lock);
}

static void run_thread(void *arg)
{
    db_tier *t = arg;
    uint64_t seen = 0;
    bool stop = false;
    while (!stop) {
        vv_status st = db_tier_step(t->db);
        vv_mutex_lock(&t->lock);
        int64_t wait = atomic_load_explicit(&t->look_ns, memory_order_relaxed) -
                       vv_clock_mono(t->db->env->clock);
        if (st != VV_OK && !t->stop && seen == t->requests && wait > 0)
            (void)vv_cond_wait_for(&t->work, &t->lock, wait < LOOK_NS ? wait : LOOK_NS);
        seen = t->requests;
        stop = t->stop;
        vv_mutex_unlock(&t->lock);
    }
}

vv_status db_tier_start(vv_db *db, vv_error *err)
{
    db_tier *t = db->tier;
    if (!can_work(t))
        return VV_OK;
    vv_status st = db_tier_files_sweep(t, err);
    if (st == VV_OK)
        st = db_tier_pins_load(t, err);
    vv_rng_init(&t->rng, db->env->seed ^ (uint64_t)vv_clock_wall(db->env->clock) ^
                             vv_hash64(&db->identity, sizeof db->identity.uuid) ^
                             wal_end_position(db->log) << 20);
    bool has_threads = db->env->threads != NULL && !t->opt.stopped;
    for (uint32_t i = 0; st == VV_OK && has_threads && i < t->opt.uploads; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "varve-tier-%u", i);
        st =
            db->env->threads->create(name, VV_THREAD_BACKGROUND, run_thread, t, &t->thread[i], err);
        t->thread_count += st == VV_OK;
    }
    return st;
}

void db_tier_stop(vv_db *db)
{
    db_tier *t = db->tier;
    if (t == NULL)
        return;
    vv_mutex_lock(&t->lock);
    t->stop = true;
    vv_cond_broadcast(&t->work);
    vv_mutex_unlock(&t->lock);
    for (uint32_t i = 0; i < t->thread_count; i++)
        db->env->threads->join(t->thread[i]);
    t->thread_count = 0;
}

/* ---- by hand ----------------------------------------------------------------------------------
 */

static vv_status run_part(db_tier *t, vv_table *table, db_stream *s, uint32_t p, vv_error *err)
{
    vv_error why = {0};
    db_tier_job j = {
        .t = t, .table = table, .partition = p, .part = &s->part[p].tier, .next = &s->part[p].next};
    j.forced = true;
    j.look_ns = INT64_MAX;
    db_tier_rule(t->db, table->cat, &j.rule);
    db_tier_claim_wait(t, table->cat->id, p);
    j.part->sweep = (db_tier_sweep){.from = 0};
    vv_status st = VV_OK;
    for (uint32_t i = 0; (st == VV_OK || st == VV_CONFLICT) && i < PIECES_MAX; i++) {
        st = db_check_table(table, &why);
        if (st == VV_OK)
            st = piece(&j, &why);
        settle(&j, st, &why);
    }
    db_tier_unclaim(t, table->cat->id, p);
    if (st == VV_OK || st == VV_NOT_FOUND) {
        st = j.unremoved;
        why = j.unremoved_why;
    }
    if (st == VV_OK)
        return VV_OK;
    if (err != NULL)
        *err = why;
    return vv_wrap(err, st, "archive stream '%s' partition %u", table->cat->name, p);
}

static vv_status run_table(db_tier *t, cat_table *cat, vv_error *err)
{
    db_stream *s = NULL;
    vv_table table = db_table_of(t->db, cat);
    vv_status first = VV_OK;
    if (cat->kind != VV_TABLE_STREAM)
        return VV_OK;
    vv_status st = db_stream_of(&table, &s, err);
    for (uint32_t p = 0; st == VV_OK && p < s->partition_count; p++) {
        vv_error why = {0};
        vv_status one = run_part(t, &table, s, p, &why);
        if (one != VV_OK && first == VV_OK) {
            first = one;
            if (err != NULL)
                *err = why;
        }
    }
    return st == VV_OK ? first : st;
}

static vv_status run_all(db_tier *t, vv_error *err)
{
    cat_table **tables = NULL;
    size_t count = 0;
    vv_status first = cat_list(t->db->cat, NULL, &tables, &count, err);
    for (size_t i = 0; i < count; i++) {
        vv_error why = {0};
        vv_status st = run_table(t, tables[i], &why);
        if (st == VV_NOT_FOUND) /* it was dropped meanwhile */
            st = VV_OK;
        if (st != VV_OK && first == VV_OK) {
            first = st;
            if (err != NULL)
                *err = why;
        }
    }
    if (tables != NULL)
        cat_list_free(tables, count);
    return first;
}

static vv_status run_dropped(db_tier *t, vv_error *err)
{
    vv_status unremoved = VV_OK;
    vv_status st = VV_OK;
    for (uint32_t i = 0; st == VV_OK && i < t->db->shard_count; i++) {
        db_tier_claim_wait(t, CAT_TABLE_SYSTEM, i);
        t->dropped[i].from_len = 0;
        while (st == VV_OK)
            st = db_tier_dig_dropped(t, &t->db->shards[i], true, &unremoved, err);
        db_tier_unclaim(t, CAT_TABLE_SYSTEM, i);
        st = st == VV_NOT_FOUND ? VV_OK : st;
    }
    return st == VV_OK ? unremoved : st;
}

vv_status vv_tier_run(vv_db *db, vv_table *table, vv_error *err)
{
    vv_status st = db_check_writable(db, err);
    if (st == VV_OK && !can_work(db->tier))
        st = vv_fail(err, VV_UNSUPPORTED,
                     "no object store is there to archive to: name one with storage.backend, "
                     "varve's --backend, or vv_options.tier");
    if (st == VV_OK && table != NULL)
        st = db_stream_check_part(table, 0, err);
    if (st != VV_OK)
        return st;
    if (table != NULL)
        return run_table(db->tier, table->cat, err);
    vv_error why = {0};
    st = run_all(db->tier, err);
    vv_status dropped = run_dropped(db->tier, &why);
    if (dropped == VV_OK)
        dropped = db_tier_runs(db, &why);
    if (st == VV_OK && dropped != VV_OK) {
        st = dropped;
        if (err != NULL)
            *err = why;
    }
    return st;
}

vv_status db_tier_run_piece(vv_table *table, db_tier_place *place, vv_error *err)
{
    vv_error why = {0};
    db_stream *s = NULL;
    const uint32_t p = place->partition;
    db_tier *t = table->db->tier;
    vv_status st = db_check_writable(table->db, err);
    if (st == VV_OK && !can_work(t))
        st = vv_fail(err, VV_UNSUPPORTED,
                     "no object store is there to archive to: name one with storage.backend, "
                     "varve's --backend, or vv_options.tier");
    if (st == VV_OK)
        st = db_stream_check_part(table, 0, err);
    if (st == VV_OK && p >= table->cat->partition_count)
        return VV_NOT_FOUND;
    if (st == VV_OK)
        st = db_stream_of(table, &s, err);
    if (st != VV_OK) { /* of no partition: it ends the walk */
        place->partition = UINT32_MAX;
        return st;
    }
    db_tier_job j = {
        .t = t, .table = table, .partition = p, .part = &s->part[p].tier, .next = &s->part[p].next};
    j.forced = true;
    j.look_ns = INT64_MAX;
    db_tier_rule(t->db, table->cat, &j.rule);
    db_tier_claim_wait(t, table->cat->id, p);
    st = db_check_table(table, &why);
    if (st == VV_OK)
        st = piece(&j, &why);
    settle(&j, st, &why);
    db_tier_unclaim(t, table->cat->id, p);
    if ((st == VV_OK || st == VV_CONFLICT) && ++place->at < PIECES_MAX)
        return VV_OK;
    *place = (db_tier_place){.partition = p + 1};
    if (st == VV_OK || st == VV_CONFLICT || st == VV_NOT_FOUND)
        return VV_OK;
    if (err != NULL)
        *err = why;
    return vv_wrap(err, st, "archive stream '%s' partition %u", table->cat->name, p);
}
