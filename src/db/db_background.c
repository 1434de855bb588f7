/*
 * db_background.c - flush, compaction and the log's upkeep: who runs them, and who waits for them.
 *
 *   worker x n:  wait for work --> log over its limit? freeze the shards that hold it
 *                              --> a writer out of memory? freeze the largest memtable
 *                              --> a piece of engine work of some shard --> tell those who wait
 *                              --> none, and nobody has written for a while? db_settle.c
 *   flusher:     the same with flushes alone; one a shard, at most n
 *   log thread:  drain the ring when a quarter of it waits; keep a spare segment ready
 *
 * Why flushers: compaction runs when nothing else wants the CPU, but writers wait for flushes. On a
 * busy machine a flush at low priority is a second's pause for every writer, and a thread cannot
 * raise its own priority again. A flush cannot take over the machine: it does work once for each
 * byte written.
 *
 * A writer that waits is told when a memtable or memory came back, not at each piece of work.
 *
 * Without threads nothing runs by itself: db_step does one piece, and a writer that needs room does
 * the work itself.
 *
 * Failures: a full disk or short memory goes away, so the work is tried again after a pause; while
 * a full disk lasts the shard's engine refuses writes with VV_NO_SPACE. Any other error is kept: no
 * work is done any more, the engine of the shard that failed refuses every write from then on with
 * VV_IO and the first sentence, other shards take writes until their memtables are full, reads go
 * on.
 */
#include <stdio.h>
#include <string.h>

#include "base/epoch.h"
#include "base/error.h"
#include "db/db_int.h"
#include "db/db_tier_int.h"

#define TICK_NS (200 * VV_NS_PER_MS)
#define RETRY_PAUSE_NS (500 * VV_NS_PER_MS)
#define EXPIRY_PAUSE_NS (1 * VV_NS_PER_S) /* what has expired is dropped so much later */
#define ROOM_WAIT_NS (50 * VV_NS_PER_MS)

void db_background_init(vv_db *db)
{
    db_background *bg = &db->bg;
    vv_mutex_init(&bg->lock, VV_RANK_LEAF);
    vv_cond_init(&bg->work);
    vv_cond_init(&bg->log_work);
    vv_cond_init(&bg->progress);
    vv_cond_init(&bg->room);
}

void db_background_fini(vv_db *db)
{
    db_background *bg = &db->bg;
    vv_cond_fini(&bg->work);
    vv_cond_fini(&bg->log_work);
    vv_cond_fini(&bg->progress);
    vv_cond_fini(&bg->room);
    db_rollup_fini(db);
    vv_mutex_fini(&bg->lock);
}

/* ---- hooks of the engine ---- */

static vv_status hook_ensure_durable(void *ctx, int64_t version, vv_error *err)
{
    db_shard *shard = ctx;
    vv_db *db = shard->db;
    (void)version; /* what is logged so far covers it */
    if (db->is_replaying)
        return VV_OK; /* it came from the log */
    return db_await(db, wal_end_position(db->log), err);
}

static void tell_room(db_background *bg) VV_REQUIRES(bg->lock)
{
    atomic_fetch_add_explicit(&bg->room_seq, 1, memory_order_release);
    vv_cond_broadcast(&bg->room);
}

/* A memtable is free; what was flushed may want a compaction. */
static void note_flush(vv_db *db)
{
    db_background *bg = &db->bg;
    vv_mutex_lock(&bg->lock);
    tell_room(bg);
    bg->requests++;
    vv_cond_broadcast(&bg->work);
    vv_mutex_unlock(&bg->lock);
    db_queue_room_made(db);
}

static void hook_on_checkpoint(void *ctx, int64_t version)
{
    db_shard *shard = ctx;
    vv_db *db = shard->db;
    if (VV_BUG(18))
        version++;
    if (db->is_replaying) { /* the log takes appends after the replay */
        atomic_store_explicit(&shard->release_index, version, memory_order_relaxed);
        return;
    }
    note_flush(db);
    vv_error why = {0};
    vv_status st = wal_release(db->log, shard->id, (uint64_t)version, &why);
    if (st == VV_IO || st == VV_CORRUPT)
        (void)db_latch(db, st, &why);
    /* Anything else: the log keeps more than it must until the next checkpoint. */
}

static void hook_on_work(void *ctx)
{
    db_shard *shard = ctx;
    db_background_wake(shard->db);
}

static void raise_to(_Atomic int64_t *at, int64_t value)
{
    int64_t old = atomic_load_explicit(at, memory_order_relaxed);
    while (old < value && !atomic_compare_exchange_weak_explicit(
                              at, &old, value, memory_order_release, memory_order_relaxed)) {
    }
}

static engine_floor hook_floor(void *ctx, uint32_t table_id)
{
    db_shard *shard = ctx;
    vv_db *db = shard->db;
    if (db->is_replaying || db->cat == NULL)
        return (engine_floor){0}; /* retentions are not known yet: keep everything */
    int64_t visible = db->ops->visible(shard->eng);
    int64_t retention = cat_retention(db->cat, table_id);
    int64_t version = retention == 0 ? visible : db_marks_floor(db, shard, retention);
    if (version > visible)
        version = visible;
    if (retention == 0)
        raise_to(&shard->floor_now, version);
    raise_to(&shard->floor_given, version);
    /* The pause covers entries that have their commit time and are not applied yet. */
    int64_t time_ns = db_read_time(db) - EXPIRY_PAUSE_NS;
    raise_to(&shard->floor_time_ns, time_ns);
    return (engine_floor){.version = version, .time_ns = time_ns};
}

static engine_form hook_form(void *ctx, uint32_t table_id)
{
    db_shard *shard = ctx;
    engine_form form = {0};
    if (shard->db->cat != NULL)
        form = cat_form(shard->db->cat, table_id);
    return form;
}

engine_hooks db_hooks(db_shard *shard)
{
    return (engine_hooks){.ctx = shard,
                          .ensure_durable = hook_ensure_durable,
                          .on_checkpoint = hook_on_checkpoint,
                          .on_work = hook_on_work,
                          .floor = hook_floor,
                          .form = hook_form};
}

/* ---- one piece of work ---- */

void db_background_wake(vv_db *db)
{
    db_background *bg = &db->bg;
    vv_mutex_lock(&bg->lock);
    bg->requests++;
    vv_cond_broadcast(&bg->work);
    vv_mutex_unlock(&bg->lock);
}

void db_background_wake_log(vv_db *db)
{
    db_background *bg = &db->bg;
    vv_mutex_lock(&bg->lock);
    if (!bg->log_wanted) {
        bg->log_wanted = true;
        vv_cond_signal(&bg->log_work);
    }
    vv_mutex_unlock(&bg->lock);
}

static void begin_piece(db_background *bg)
{
    vv_mutex_lock(&bg->lock);
    bg->working++;
    vv_mutex_unlock(&bg->lock);
}

/* Every flush moves the checkpoint, so that note_flush hears of it: not where it is that of several
 * engines, nor where an engine flushes as it works. */
static bool hears_of_flushes(vv_db *db)
{
    for (uint32_t i = 0; i < db->shard_count; i++) {
        engine *eng = db->shards[i].eng;
        if (engine_route_is_split(eng) || engine_route_member(eng, 0)->ops->work_on == NULL)
            return false;
    }
    return true;
}

/* Whoever waits for memory is told when some came back; of memtables note_flush tells. */
static void end_piece(vv_db *db, vv_status st)
{
    db_background *bg = &db->bg;
    vv_mutex_lock(&bg->lock);
    bg->working--;
    bg->pieces += st == VV_OK;
    if (bg->watchers > 0)
        vv_cond_broadcast(&bg->progress);
    bool wanted = st == VV_OK && (bg->starved > 0 || db_queue_is_blocked(db));
    bool came = wanted && (!hears_of_flushes(db) || vv_budget_used(&db->budget) < bg->room_used);
    if (came)
        tell_room(bg);
    vv_mutex_unlock(&bg->lock);
    if (came)
        db_queue_room_made(db);
    if (st == VV_OK)
        db_kept_trim(db);
}

static bool goes_away(vv_status st)
{
    return st == VV_NO_SPACE || st == VV_NO_MEMORY || st == VV_BUSY;
}

static void note_failure(vv_db *db, vv_status st, const vv_error *why)
{
    db_background *bg = &db->bg;
    vv_log_to(db->env->log, goes_away(st) ? VV_LOG_WARN : VV_LOG_ERROR, "db",
              "background work failed", VV_KV_S("status", vv_status_name(st)),
              VV_KV_S("error", why->msg));
    vv_mutex_lock(&bg->lock);
    if (!goes_away(st) && bg->error.status == VV_OK) {
        bg->error = *why;
        bg->error.status = st;
        atomic_store_explicit(&bg->failed, true, memory_order_release);
    }
    vv_cond_broadcast(&bg->progress);
    tell_room(bg);
    vv_mutex_unlock(&bg->lock);
}

static vv_status failure_of(vv_db *db, vv_error *err)
{
    db_background *bg = &db->bg;
    if (!atomic_load_explicit(&bg->failed, memory_order_acquire))
        return VV_OK;
    vv_mutex_lock(&bg->lock);
    vv_status st = bg->error.status;
    if (err != NULL)
        *err = bg->error;
    vv_mutex_unlock(&bg->lock);
    return vv_wrap(err, st, "background work failed: reopen the store");
}

vv_status db_freeze(vv_db *db, db_shard *shard, vv_error *err)
{
    vv_mutex_lock(&db->commit_lock);
    vv_status st = db->ops->freeze(shard->eng, err);
    vv_mutex_unlock(&db->commit_lock);
    return st;
}

/* Freeze the active memtable if it is the only one. Whether it is can change until the lock is
 * held: writers rotate too, and one more memtable would be over their bound. */
void db_freeze_only_one(vv_db *db, db_shard *shard)
{
    VV_POINT("db.before_relief");
    engine_stats stats;
    vv_status st = VV_OK;
    vv_mutex_lock(&db->commit_lock);
    db->ops->stats(shard->eng, &stats);
    if (stats.memtable_count <= 1)
        st = db->ops->freeze(shard->eng, NULL);
    vv_mutex_unlock(&db->commit_lock);
    (void)st; /* no memory for a new memtable: who wanted it asks again */
}

/* Flush the shards that keep the log over its limit. A shard with a frozen memtable is being
 * flushed already, and what it holds is older than the active one: freezing again at every piece of
 * work would only make many small memtables. */
static void relieve_log(vv_db *db)
{
    uint64_t shards = wal_pressure(db->log);
    for (; shards != 0; shards &= shards - 1) {
        uint32_t s = (uint32_t)__builtin_ctzll(shards);
        if (s >= db->shard_count)
            continue;
        engine_stats stats;
        db->ops->stats(db->shards[s].eng, &stats);
        if (stats.memtable_count <= 1)
            db_freeze_only_one(db, &db->shards[s]);
    }
}

/* A writer found no memory: flush the largest memtable, so that its memory comes back. Not while a
 * flush is under way, which gives some back, and not for a small one: then others hold the memory.
 */
static void relieve_memory(vv_db *db)
{
    vv_mutex_lock(&db->bg.lock);
    bool wanted = db->bg.room_wanted;
    db->bg.room_wanted = false;
    vv_mutex_unlock(&db->bg.lock);
    db_shard *largest = NULL;
    uint64_t bytes = db->opt.memtable_size / 8;
    for (uint32_t i = 0; wanted && i < db->shard_count; i++) {
        engine_stats stats;
        db->ops->stats(db->shards[i].eng, &stats);
        if (stats.memtable_count > 1)
            return;
        if (stats.memtable_bytes >= bytes) {
            bytes = stats.memtable_bytes;
            largest = &db->shards[i];
        }
    }
    if (largest != NULL)
        db_freeze_only_one(db, largest);
}

/* A piece of some shard's work, beginning with shard first. VV_NOT_FOUND: nobody has any. */
static vv_status work_of_any(vv_db *db, engine_work kind, uint32_t first, vv_error *err)
{
    for (uint32_t i = 0; i < db->shard_count; i++) {
        engine *eng = db->shards[(first + i) % db->shard_count].eng;
        vv_status st =
            kind == ENGINE_WORK_ANY ? db->ops->work(eng, err) : db->ops->work_on(eng, kind, err);
        if (st != VV_NOT_FOUND)
            return st;
    }
    return VV_NOT_FOUND;
}

vv_status db_step(vv_db *db, vv_error *err)
{
    vv_error why = {0};
    vv_status st = failure_of(db, err);
    if (st != VV_OK)
        return st;
    if (!db->opt.read_only) {
        relieve_log(db);
        relieve_memory(db);
        db_series_count_step(db);
    }
    st = work_of_any(db, ENGINE_WORK_ANY, db->bg.next_shard++, &why);
    if (st == VV_NOT_FOUND && !db->opt.read_only)
        st = wal_work(db->log, &why);
    if (st == VV_NOT_FOUND && !db->opt.read_only)
        st = db_rollup_step(db);
    if (st == VV_NOT_FOUND && !db->opt.read_only)
        st = db_stream_step(db);
    if (st == VV_NOT_FOUND && db->env->threads == NULL)
        st = db_tier_step(db); /* else the tier has threads of its own */
    if (st == VV_OK)
        db_kept_trim(db);
    if (st != VV_OK && st != VV_NOT_FOUND) {
        note_failure(db, st, &why);
        if (err != NULL)
            *err = why;
    }
    return st;
}

/* ---- threads ---- */

/* Sleep until woken, stopped or the tick; false when stopped. */
static bool wait_for_work(db_background *bg, uint64_t *seen, int64_t at_most_ns)
{
    vv_mutex_lock(&bg->lock);
    if (!bg->stop && *seen == bg->requests)
        (void)vv_cond_wait_for(&bg->work, &bg->lock, at_most_ns);
    *seen = bg->requests;
    bool go_on = !bg->stop;
    vv_mutex_unlock(&bg->lock);
    return go_on;
}

static bool pause_stopped(db_background *bg, int64_t ns)
{
    vv_mutex_lock(&bg->lock);
    if (!bg->stop)
        (void)vv_cond_wait_for(&bg->work, &bg->lock, ns);
    bool stop = bg->stop;
    vv_mutex_unlock(&bg->lock);
    return stop;
}

static bool is_stopped(db_background *bg)
{
    vv_mutex_lock(&bg->lock);
    bool stop = bg->stop;
    vv_mutex_unlock(&bg->lock);
    return stop;
}

static void run_worker(vv_db *db, engine_work kind)
{
    db_background *bg = &db->bg;
    uint64_t seen = 0;
    uint32_t first = 0;
    while (!is_stopped(bg)) {
        vv_error why = {0};
        vv_status st = VV_NOT_FOUND;
        relieve_log(db);
        relieve_memory(db);
        if (kind != ENGINE_WORK_FLUSH)
            db_series_count_step(db);
        if (failure_of(db, NULL) == VV_OK) {
            begin_piece(bg);
            st = work_of_any(db, kind, first++, &why);
            end_piece(db, st);
        }
        if (st == VV_NOT_FOUND && kind != ENGINE_WORK_FLUSH)
            st = db_rollup_step(db);
        if (st == VV_NOT_FOUND && kind != ENGINE_WORK_FLUSH)
            st = db_stream_step(db);
        if (st == VV_NOT_FOUND && kind != ENGINE_WORK_FLUSH)
            db_settle(db);
        if (st == VV_NOT_FOUND) {
            if (!wait_for_work(bg, &seen, TICK_NS))
                return;
        } else if (st != VV_OK) {
            note_failure(db, st, &why);
            if (pause_stopped(bg, RETRY_PAUSE_NS))
                return;
        }
    }
}

static void worker_main(void *arg)
{
    vv_db *db = arg;
    run_worker(db, db->bg.has_flushers ? ENGINE_WORK_REST : ENGINE_WORK_ANY);
}

static void flusher_main(void *arg)
{
    run_worker(arg, ENGINE_WORK_FLUSH);
}

static void log_main(void *arg)
{
    vv_db *db = arg;
    db_background *bg = &db->bg;
    bool stop = false;
    while (!stop) {
        vv_error why = {0};
        vv_status st = wal_work(db->log, &why);
        if (st == VV_OK)
            continue;
        if (st != VV_NOT_FOUND) {
            if (st == VV_IO || st == VV_CORRUPT)
                (void)db_latch(db, st, &why);
            if (pause_stopped(bg, RETRY_PAUSE_NS))
                return;
        }
        vv_mutex_lock(&bg->lock);
        if (!bg->log_wanted && !bg->stop)
            (void)vv_cond_wait_for(&bg->log_work, &bg->lock, TICK_NS);
        bg->log_wanted = false;
        stop = bg->stop;
        vv_mutex_unlock(&bg->lock);
    }
}

vv_status db_background_start(vv_db *db, vv_error *err)
{
    db_background *bg = &db->bg;
    const vv_threads *threads = db->env->threads;
    if (threads == NULL || db->opt.read_only)
        return VV_OK;
    uint32_t workers = db->opt.background_threads;
    uint32_t flushers =
        db->ops->work_on == NULL ? 0 : (uint32_t)vv_min_u64(workers, db->shard_count);
    bg->has_flushers = flushers > 0;
    vv_status st = VV_OK;
    for (uint32_t i = 0; st == VV_OK && i < workers + flushers; i++) {
        bool flushes = i < flushers;
        char name[16];
        (void)snprintf(name, sizeof name, flushes ? "varve-flush-%u" : "varve-work-%u",
                       (flushes ? i : i - flushers) % 100);
        st = threads->create(name, flushes ? VV_THREAD_NORMAL : VV_THREAD_BACKGROUND,
                             flushes ? flusher_main : worker_main, db, &bg->worker[i], err);
        bg->worker_count += st == VV_OK; /* read by no worker */
    }
    if (st == VV_OK)
        st = threads->create("varve-log", VV_THREAD_NORMAL, log_main, db, &bg->log_thread, err);
    if (st == VV_OK)
        db->log_wake_bytes = db->opt.log_ring_size / 4;
    return st;
}

void db_background_stop(vv_db *db)
{
    db_background *bg = &db->bg;
    vv_mutex_lock(&bg->lock);
    bg->stop = true;
    vv_cond_broadcast(&bg->work);
    vv_cond_broadcast(&bg->log_work);
    vv_cond_broadcast(&bg->progress);
    tell_room(bg);
    vv_mutex_unlock(&bg->lock);
    for (uint32_t i = 0; i < bg->worker_count; i++)
        db->env->threads->join(bg->worker[i]);
    bg->worker_count = 0;
    if (bg->log_thread != NULL)
        db->env->threads->join(bg->log_thread);
    bg->log_thread = NULL;
}

/* ---- those who wait ---- */

/* Without threads the caller does the work. */
static vv_status make_room_alone(vv_db *db, db_shard *shard, vv_error *err)
{
    uint64_t used = vv_budget_used(&db->budget);
    vv_status st = db->ops->work(shard->eng, err);
    if (st == VV_NOT_FOUND) {
        st = db_freeze(db, shard, err);
        if (st == VV_OK)
            st = db->ops->work(shard->eng, err);
    }
    if (st == VV_NOT_FOUND) {
        vv_epoch_drain(); /* what the last piece let go comes back only now */
        if (vv_budget_used(&db->budget) < used)
            return VV_OK;
    }
    if (st == VV_NOT_FOUND || st == VV_NO_MEMORY)
        return vv_fail(err, VV_BUSY, "no background work is left that would make room");
    return st;
}

vv_status db_background_want_room(vv_db *db, vv_error *err)
{
    db_background *bg = &db->bg;
    vv_mutex_lock(&bg->lock);
    bg->requests++;
    bg->room_wanted = true;
    bg->room_used = vv_budget_used(&db->budget);
    vv_cond_broadcast(&bg->work);
    vv_mutex_unlock(&bg->lock);
    return failure_of(db, err);
}

/* Wake the workers and wait until one says that there is room, or not for long. */
static void wait_for_room(db_background *bg, uint64_t seen, uint64_t used)
{
    vv_mutex_lock(&bg->lock);
    bg->room_wanted = true;
    bool came = atomic_load_explicit(&bg->room_seq, memory_order_relaxed) != seen;
    if (!came && !bg->stop) {
        bg->requests++;
        vv_cond_broadcast(&bg->work);
        bg->room_used = used;
        bg->starved++;
        (void)vv_cond_wait_for(&bg->room, &bg->lock, ROOM_WAIT_NS);
        bg->starved--;
    }
    vv_mutex_unlock(&bg->lock);
}

vv_status db_background_make_room(vv_db *db, db_shard *shard, uint64_t seen, int64_t deadline_ns,
                                  vv_error *err)
{
    db_background *bg = &db->bg;
    vv_status st = failure_of(db, err);
    if (st != VV_OK)
        return st;
    if (bg->worker_count == 0) {
        st = make_room_alone(db, shard, err);
        if (st != VV_OK && st != VV_BUSY)
            note_failure(db, st, err);
        return st;
    }
    int64_t begin = vv_clock_mono(db->env->clock);
    if (begin >= deadline_ns)
        return vv_fail(err, VV_BUSY, "background work makes no room");
    wait_for_room(bg, seen, vv_budget_used(&db->budget));
    atomic_fetch_add_explicit(&db->counters.throttled_ns,
                              (uint64_t)(vv_clock_mono(db->env->clock) - begin),
                              memory_order_relaxed);
    return VV_OK;
}

/* Did anybody do anything since `seen`, or is about to? Waits a little for those who are. */
static bool is_moving(db_background *bg, uint64_t seen)
{
    vv_mutex_lock(&bg->lock);
    bool moving = bg->working > 0 || bg->pieces != seen;
    if (bg->working > 0 && bg->pieces == seen) {
        bg->watchers++;
        (void)vv_cond_wait_for(&bg->progress, &bg->lock, ROOM_WAIT_NS);
        bg->watchers--;
    }
    vv_mutex_unlock(&bg->lock);
    return moving;
}

vv_status db_background_run(vv_db *db, db_shard *shard, bool (*done)(db_shard *shard, int64_t arg),
                            int64_t arg, vv_error *err)
{
    db_background *bg = &db->bg;
    while (!done(shard, arg)) {
        vv_error why = {0};
        vv_status st = failure_of(db, err);
        if (st != VV_OK)
            return st;
        vv_mutex_lock(&bg->lock);
        uint64_t seen = bg->pieces;
        vv_mutex_unlock(&bg->lock);
        begin_piece(bg);
        st = db->ops->work(shard->eng, &why);
        end_piece(db, st);
        if (st == VV_NOT_FOUND && !is_moving(bg, seen)) /* nobody has the piece we wait for */
            return done(shard, arg) ? VV_OK : VV_NOT_FOUND;
        if (st != VV_OK && st != VV_NOT_FOUND) {
            note_failure(db, st, &why);
            if (err != NULL)
                *err = why;
            return st;
        }
    }
    return VV_OK;
}
