/*
 * db_open.c - open and close a store.
 *
 *   lock --> identity --> log --> engines --> replay --> catalog --> identity of a new store
 *        --> threads --> finish half-made tables
 *
 * The replay applies what the log holds beyond each shard's checkpoint. Entries of a shard are
 * consecutive: a gap, or a log that says more was flushed than the runs hold, means that
 * acknowledged writes are gone, and the store is refused instead of served with a hole.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/rng.h"
#include "db/db_int.h"
#include "db/db_tier_int.h"

#define DB_STRANGER_SIZE 100u

vv_status db_latch(vv_db *db, vv_status st, const vv_error *err)
{
    vv_mutex_lock(&db->error_lock);
    if (db->first_error.status == VV_OK) {
        if (err != NULL)
            db->first_error = *err;
        db->first_error.status = st;
        atomic_store_explicit(&db->failed, true, memory_order_release);
    }
    vv_mutex_unlock(&db->error_lock);
    return st;
}

vv_status db_check_writable(vv_db *db, vv_error *err)
{
    if (VV_UNLIKELY(db->opt.read_only))
        return vv_fail(err, VV_UNSUPPORTED, "the store is open read-only");
    if (VV_LIKELY(!atomic_load_explicit(&db->failed, memory_order_acquire)))
        return VV_OK;
    vv_error first;
    vv_mutex_lock(&db->error_lock);
    first = db->first_error;
    vv_mutex_unlock(&db->error_lock);
    if (err != NULL)
        *err = first;
    return vv_wrap(err, first.status, "the store failed earlier: reopen it");
}

static void on_durable(void *ctx, uint64_t position)
{
    vv_db *db = ctx;
    db_publish(db, position);
}

/* ---- parts, in the order they are opened ---- */

static void note_stranger(void *ctx, const char *name)
{
    static const char *const own[] = {DB_LOCK_FILE, DB_LOG_DIR,       DB_LOAD_DIR,
                                      DB_TIER_DIR,  DB_IDENTITY_FILE, "lost+found"};
    char *found = ctx;
    bool is_own = strncmp(name, "shard-", 6) == 0 ||
                  strncmp(name, DB_IDENTITY_NEW, sizeof DB_IDENTITY_NEW - 1) == 0;
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        is_own |= strcmp(name, own[i]) == 0;
    if (!is_own)
        (void)snprintf(found, DB_STRANGER_SIZE, "%s", name);
}

/* A new store is made in an empty directory, or where a creation was interrupted: in one that
 * holds something else it was hardly meant to be. */
static vv_status check_place(vv_db *db, vv_error *err)
{
    db_identity id;
    char found[DB_STRANGER_SIZE] = "";
    if (db_identity_read(db->env->io, &id, NULL) != VV_NOT_FOUND)
        return VV_OK;
    vv_status st = vio_list(db->env->io, "", note_stranger, found, err);
    if (st != VV_OK || found[0] == '\0')
        return st;
    return vv_fail(
        err, VV_INVALID,
        "the directory is not a Varve store and not empty (it holds '%s'): name an empty "
        "or a new one",
        found);
}

static vv_status open_lock(vv_db *db, vv_error *err)
{
    vio *io = db->env->io;
    vv_status st = VV_OK;
    if (db->opt.create_if_missing && !db->opt.read_only)
        st = vio_mkdir(io, "", err);
    if (st == VV_OK && db->opt.create_if_missing && !db->opt.read_only)
        st = check_place(db, err);
    if (st == VV_OK && (db->opt.read_only || !db->opt.create_if_missing)) {
        db_identity id; /* not even a lock file in a directory that holds no store */
        st = db_identity_read(io, &id, err);
        if (st == VV_NOT_FOUND)
            return vv_fail(err, VV_NOT_FOUND, "the directory holds no store");
    }
    if (st != VV_OK)
        return st;
    vv_error why = {0};
    st = vio_lock(io, DB_LOCK_FILE, &db->lock_file, &why);
    if (st != VV_OK && db->opt.read_only && why.sys == EROFS)
        return VV_OK; /* nobody can write there, so there is nobody to keep out */
    if (st != VV_OK && err != NULL)
        *err = why;
    return st;
}

static vv_status open_identity(vv_db *db, bool *is_new, vv_error *err)
{
    vv_status st = db_identity_read(db->env->io, &db->identity, err);
    *is_new = st == VV_NOT_FOUND;
    if (st == VV_NOT_FOUND) {
        vv_rng rng;
        vv_rng_init(&rng, db->env->seed ^ (uint64_t)vv_clock_wall(db->env->clock));
        vv_rng_bytes(&rng, db->identity.uuid, sizeof db->identity.uuid);
        db->identity.shard_count = db->opt.shard_count;
        st = db_identity_begin(db->env->io, &db->identity, err);
    } else if (st == VV_OK && db->shards_asked > 0 &&
               db->shards_asked != db->identity.shard_count) {
        vv_log_to(db->env->log, VV_LOG_WARN, "db", "the store keeps its number of shards",
                  VV_KV_U("shards", db->identity.shard_count), VV_KV_U("asked", db->shards_asked));
    }
    db->shard_count = db->identity.shard_count;
    if (st == VV_OK && db->identity.is_attached && !db->opt.read_only)
        st = vv_fail(err, VV_UNSUPPORTED,
                     "the store was made of another one's objects (attach) and is read-only: varve "
                     "reads it with --data, --backend and --bucket, a program with "
                     "vv_options.read_only");
    return st;
}

static void note_name(void *ctx, const char *name)
{
    uint64_t *seen = ctx; /* [0] the log, [1] a bit for each shard */
    char dir[DB_SHARD_DIR_SIZE];
    if (strcmp(name, DB_LOG_DIR) == 0)
        seen[0] = 1;
    for (uint32_t i = 0; i < WAL_SHARD_MAX; i++) {
        db_shard_dir(i, dir);
        if (strcmp(name, dir) == 0)
            seen[1] |= UINT64_C(1) << i;
    }
}

/* A store that is complete has all its directories: an empty one in place of a lost one would hide
 * the loss. */
static vv_status check_dirs(vv_db *db, vv_error *err)
{
    uint64_t seen[2] = {0, 0};
    vv_status st = vio_list(db->env->io, "", note_name, seen, err);
    if (st != VV_OK)
        return st;
    if (seen[0] == 0)
        return vv_fail(err, VV_CORRUPT, "directory '" DB_LOG_DIR "' is missing");
    for (uint32_t i = 0; i < db->shard_count; i++)
        if ((seen[1] >> i & 1) == 0)
            return vv_fail(err, VV_CORRUPT, "directory 'shard-%03u' is missing", i);
    return VV_OK;
}

/* Nobody else may write where this store's log lies, whatever way leads there. */
static vv_status lock_log(vv_db *db, vv_error *err)
{
    vv_error why = {0};
    vv_status st = db->opt.read_only ? VV_OK : vio_mkdir(db->env->io, DB_LOG_DIR, err);
    if (st != VV_OK)
        return st;
    st = vio_lock(db->env->io, DB_LOG_DIR "/" DB_LOCK_FILE, &db->log_lock_file, &why);
    if (st != VV_OK && db->opt.read_only && why.sys == EROFS)
        return VV_OK; /* nobody can write there, so there is nobody to keep out */
    if (st != VV_OK && err != NULL)
        *err = why;
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "the log's directory");
}

static vv_status open_log(vv_db *db, bool is_new, vv_error *err)
{
    wal_options opt = {.env = db->env,
                       .dir = DB_LOG_DIR,
                       .segment_size = db->opt.log_segment_size,
                       .ring_size = db->opt.log_ring_size,
                       .log_limit = db->opt.log_limit,
                       .log_id = db_identity_log_id(&db->identity),
                       .must_exist = !is_new,
                       .read_only = db->opt.read_only,
                       .budget = &db->budget,
                       .on_durable = on_durable,
                       .ctx = db};
    vv_status st = lock_log(db, err);
    if (st != VV_OK)
        return st;
    st = wal_open(&opt, &db->log, err);
    if (st == VV_CONFLICT && is_new)
        return vv_fail(err, VV_CORRUPT,
                       "the log in '" DB_LOG_DIR "' belongs to another store, or this one's file "
                       "'" DB_IDENTITY_FILE "' is missing: give each store a log directory of its "
                       "own, or put the file back from a backup");
    if (st == VV_OK && db->opt.archive_log)
        wal_keep(db->log, 0, DB_LOG_KEPT * db->opt.log_limit);
    for (uint32_t i = 0; st == VV_OK && i < db->shard_count; i++)
        wal_shard_open(db->log, i);
    return st;
}

static vv_status open_shard(vv_db *db, uint32_t i, vv_error *err)
{
    db_shard *shard = &db->shards[i];
    char dir[DB_SHARD_DIR_SIZE];
    db_shard_dir(i, dir);
    shard->db = db;
    shard->id = i;
    vv_status st = db->opt.read_only ? VV_OK : vio_mkdir(db->env->io, dir, err);
    if (st != VV_OK)
        return st;
    engine_options opt = {.env = db->env,
                          .dir = dir,
                          .shard = i,
                          .memtable_size = db->opt.memtable_size,
                          .direct_io = db->opt.direct_io,
                          .compaction_budget = db->opt.compaction_budget,
                          .cache_size = vv_max_u64(db->opt.cache_size / db->shard_count, VV_KIB),
                          .work_size = db->work_size,
                          .target_file_size = db->file_size,
                          .compress = db->opt.compress,
                          .value_compression = db->opt.value_compression,
                          .archive_interval_ns = db->opt.archive_interval_ns,
                          .archives_max = db->opt.archives_max,
                          .max_open_files = db->opt.max_open_files / db->shard_count,
                          .file_amplify_factor = db->opt.file_amplify_factor,
                          .read_only = db->opt.read_only,
                          .budget = &db->budget,
                          .tier = db_tier_runs_of(db),
                          .hooks = db_hooks(shard)};
    if (db->opt.read_only)
        opt.memtable_count =
            UINT32_MAX; /* nothing can be flushed: all of the log stays in memory */
    engine_route_options route;
    db_engine_route(db->home, &route);
    st = engine_route_open(&route, &opt, &shard->eng, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "shard %u", i);
    shard->replay_index = db->ops->checkpoint(shard->eng);
    return VV_OK;
}

/* ---- replay ---- */

/* In the engines that the entry touches. */
static vv_status prepare_replay(db_shard *shard, const wal_record *rec, uint32_t op_count,
                                vv_error *err)
{
    return engine_route_prepare(shard->eng, engine_route_slots(shard->eng, rec->payload),
                                rec->payload.len, op_count, err);
}

static vv_status replay_entry(vv_db *db, db_shard *shard, const wal_record *rec, uint64_t position,
                              vv_error *err)
{
    int64_t version = (int64_t)rec->index;
    db_load load;
    bool is_load = db_load_of(rec, &load);
    if (is_load && load.size > 0) {
        vv_status found = db_kept_found(db, &load, version, position, err);
        if (found != VV_OK)
            return found;
    }
    if (rec->commit_time_ns > shard->last_commit_time_ns)
        shard->last_commit_time_ns = rec->commit_time_ns;
    if (version <= shard->replay_index && version <= db->ops->checkpoint(shard->eng))
        return VV_OK;
    if (version != shard->replay_index + 1)
        return vv_fail(err, VV_CORRUPT,
                       "shard %u: the log goes on at version %" PRId64 ", but %" PRId64
                       " is the last one known: entries are missing, restore from a backup",
                       shard->id, version, shard->replay_index);
    engine_entry_iter it;
    vv_status st = is_load ? db_load_replay(db, shard, &load, version, err) : VV_OK;
    if (st != VV_OK)
        return vv_wrap(err, st, "replay version %" PRId64 " of shard %u", version, shard->id);
    st = engine_entry_open(rec->payload, &it, err);
    if (st == VV_OK)
        st = prepare_replay(shard, rec, it.left, err);
    while (st == VV_BUSY) {
        st = db->opt.read_only ? VV_BUSY : db_background_make_room(db, shard, 0, 0, err);
        if (st == VV_BUSY)
            return vv_fail(err, VV_BUSY, "shard %u: no room to replay the log: raise memory_limit",
                           shard->id);
        if (st == VV_OK)
            st = prepare_replay(shard, rec, it.left, err);
    }
    if (st == VV_OK)
        st = db->ops->apply(shard->eng, version, rec->commit_time_ns, rec->payload, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "replay version %" PRId64 " of shard %u", version, shard->id);
    db->ops->publish(shard->eng, version);
    shard->replay_index = version;
    db->replayed_entries++;
    return VV_OK;
}

static vv_status replay_one(void *ctx, const wal_record *rec, uint64_t position, vv_error *err)
{
    vv_db *db = ctx;
    if (rec->shard >= db->shard_count)
        return vv_fail(err, VV_CORRUPT, "the log has a record of shard %u of %u", rec->shard,
                       db->shard_count);
    db_shard *shard = &db->shards[rec->shard];
    switch (rec->kind) {
    case WAL_ENTRY:
        return replay_entry(db, shard, rec, position, err);
    case WAL_CHECKPOINT:
        if (rec->index <= (uint64_t)db->ops->checkpoint(shard->eng))
            return VV_OK;
        return vv_fail(err, VV_CORRUPT,
                       "shard %u: the log let entries up to version %" PRIu64
                       " go, but the runs end at %" PRId64 ": restore from a backup",
                       rec->shard, rec->index, db->ops->checkpoint(shard->eng));
    case WAL_TRUNCATE:
    case WAL_HARDSTATE:
    case WAL_COMMIT:
        break;
    }
    return vv_fail(err, VV_UNSUPPORTED,
                   "the log has a record of kind %d, of a replicated node: open it as one",
                   (int)rec->kind);
}

static vv_status replay(vv_db *db, vv_error *err)
{
    db->is_replaying = true;
    vv_status st = wal_replay(db->log, replay_one, db, err);
    db->is_replaying = false;
    for (uint32_t i = 0; st == VV_OK && i < db->shard_count; i++) {
        db_shard *shard = &db->shards[i];
        int64_t version = shard->replay_index;
        if (db->ops->visible(shard->eng) < version)
            db->ops->publish(shard->eng, version);
        atomic_store(&shard->last_index, version);
        /* What an earlier process told its flushes is not known: old versions may be gone. */
        atomic_store(&shard->floor_now, version);
        atomic_store(&shard->floor_given, version);
    }
    return st;
}

/* Nothing can be flushed: all of the log stays in memory, however long it is, and memory_limit is
 * for the rest. */
static vv_status replay_read_only(vv_db *db, vv_error *err)
{
    uint64_t limit = db->budget.limit;
    db->budget.limit = 0;
    vv_status st = replay(db, err);
    uint64_t held = vv_budget_part_used(&db->budget, VV_BUDGET_MEMTABLE);
    db->budget.limit = limit + held;
    db->opt.memory_limit += held;
    return st;
}

static vv_status open_catalog(vv_db *db, vv_error *err)
{
    cat_options opt = {.door = {.ctx = db, .commit = db_door_commit, .engine = db_door_engine},
                       .clock = db->env->clock,
                       .budget = &db->budget,
                       .shard_count = db->shard_count};
    engine_route_options route;
    db_engine_route(db->home, &route);
    for (uint32_t slot = 0; slot < ENGINE_ROUTE_SLOTS; slot++)
        opt.engine[slot] = route.kind[slot] == NULL ? NULL : route.kind[slot]->name;
    catalog *cat = NULL;
    vv_status st = cat_open(&opt, &cat, err);
    if (st == VV_OK)
        st = cat_load(cat, db->shards[0].eng, err);
    if (st != VV_OK) {
        cat_close(cat);
        return st;
    }
    db->cat = cat;
    st = db_engine_check_tables(db, err);
    for (uint32_t i = 0; st == VV_OK && i < db->shard_count; i++) {
        st = db_marks_load(db, &db->shards[i], err);
        db_marks_retune(db, &db->shards[i]);
    }
    return st;
}

/* The log may be told now what was flushed during the replay. */
static vv_status release_flushed(vv_db *db, vv_error *err)
{
    vv_status st = VV_OK;
    for (uint32_t i = 0; st == VV_OK && i < db->shard_count; i++) {
        int64_t version = atomic_exchange(&db->shards[i].release_index, 0);
        if (version > 0)
            st = wal_release(db->log, i, (uint64_t)version, err);
    }
    return st;
}

static vv_status finish_new(vv_db *db, vv_error *err)
{
    if (db->replayed_entries > 0)
        return vv_fail(err, VV_CORRUPT,
                       "file '" DB_IDENTITY_FILE "' is missing, but the log holds "
                       "entries: put the file back from a backup");
    VV_POINT("db.before_identity");
    return db_identity_end(db->env->io, err);
}

static vv_status open_parts(vv_db *db, vv_error *err)
{
    bool is_new = false;
    vv_status st = open_lock(db, err);
    if (st == VV_OK)
        st = open_identity(db, &is_new, err);
    if (st != VV_OK)
        return st;
    db_options_scale(db);
    db->shards = vv_calloc(db->shard_count, sizeof *db->shards);
    if (db->shards == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %u shards", db->shard_count);
    for (uint32_t i = 0; i < db->shard_count; i++) {
        db_marks_init(&db->shards[i].marks);
        vv_mutex_init(&db->shards[i].watch_lock, VV_RANK_WATCH);
    }
    if (!is_new)
        st = check_dirs(db, err);
    int64_t start = vv_clock_mono(db->env->clock);
    db_tier_runs_options(db);
    if (st == VV_OK)
        st = db_tier_open(db, err);
    if (st == VV_OK)
        st = open_log(db, is_new, err); /* reads the end of the log: a part of the recovery */
    for (uint32_t i = 0; st == VV_OK && i < db->shard_count; i++)
        st = open_shard(db, i, err);
    if (st == VV_OK)
        st = db->opt.read_only ? replay_read_only(db, err) : replay(db, err);
    if (st == VV_OK)
        st = open_catalog(db, err);
    db->recovery_ns = vv_clock_mono(db->env->clock) - start;
    if (st == VV_OK && is_new)
        st = finish_new(db, err);
    if (st != VV_OK || db->opt.read_only)
        return st;
    st = release_flushed(db, err);
    if (st == VV_OK)
        st = db_kept_sweep(db, err);
    if (st == VV_OK)
        st = db_background_start(db, err);
    if (st == VV_OK)
        st = db_apply_start(db, err);
    if (st == VV_OK)
        st = db_queue_start(db, err);
    if (st == VV_OK)
        st = db_tier_runs_start(db, err);
    if (st == VV_OK)
        st = cat_resume(db->cat, err);
    if (st == VV_OK)
        st = db_tier_start(db, err);
    return st;
}

/* ---- life ---- */

static void init(vv_db *db)
{
    vv_mutex_init(&db->series_lock, VV_RANK_SERIES);
    vv_mutex_init(&db->series_tables_lock, VV_RANK_SERIES_TABLES);
    vv_mutex_init(&db->commit_lock, VV_RANK_TXN);
    vv_mutex_init(&db->publish_lock, VV_RANK_PUBLISH);
    vv_mutex_init(&db->error_lock, VV_RANK_LEAF);
    vv_mutex_init(&db->queue.lock, VV_RANK_LEAF);
    vv_cond_init(&db->queue.wake);
    vv_hist_reset(&db->counters.commit_ns);
    db_background_init(db);
    db_kept_init(db);
    db_tier_runs_init(db);
    db_stream_lookups_init(db);
    db_apply_init(db);
}

/* Frees whatever of the store exists. crash: write nothing more. */
static vv_status destroy(vv_db *db, bool crash, vv_error *err)
{
    vv_status st = VV_OK;
    db_tier_stop(db);
    db_queue_stop(db);
    db_stream_lookups_stop(db);
    db_tier_runs_stop(db);
    db_background_stop(db);
    db_apply_stop(db);
    if (crash)
        wal_abandon(db->log);
    else
        st = wal_close(db->log, err); /* may publish: the engines are still there */
    for (uint32_t i = 0; db->shards != NULL && i < db->shard_count; i++) {
        if (db->shards[i].eng != NULL)
            db->ops->close(db->shards[i].eng);
        db_marks_fini(&db->shards[i].marks);
        vv_mutex_fini(&db->shards[i].watch_lock);
        txn_recent_fini(&db->shards[i].recent);
    }
    cat_close(db->cat);
    db_tier_close(db);
    vio_close(db->log_lock_file);
    vio_close(db->lock_file);
    db_fifo_fini(&db->fifo);
    db_background_fini(db);
    db_kept_fini(db);
    db_tier_runs_fini(db);
    db_stream_lookups_fini(db);
    db_apply_fini(db);
    vv_cond_fini(&db->queue.wake);
    vv_mutex_fini(&db->queue.lock);
    vv_mutex_fini(&db->error_lock);
    vv_mutex_fini(&db->publish_lock);
    vv_mutex_fini(&db->commit_lock);
    vv_mutex_fini(&db->series_tables_lock);
    vv_mutex_fini(&db->series_lock);
    vv_free(db->shards);
    vv_free(db);
    return st;
}

vv_status db_open_engine(vv_env *env, const vv_options *opt, const engine_ops *ops, vv_db **out,
                         vv_error *err)
{
    vv_db *db = vv_calloc(1, sizeof *db);
    if (db == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a store");
    init(db);
    db->env = env;
    db->ops = &engine_route_ops;
    db->home = ops;
    db->shards_asked = opt == NULL ? 0 : opt->shard_count;
    vv_status st = db_options_resolve(opt, &db->opt, err);
    if (st == VV_OK)
        st = db_fifo_init(&db->fifo, err);
    if (st == VV_OK) {
        db_options_divide(db);
        st = open_parts(db, err);
    }
    if (st != VV_OK) {
        (void)destroy(db, true, NULL);
        return st;
    }
    vv_log_to(env->log, VV_LOG_INFO, "db", "store open", VV_KV_U("shards", db->shard_count),
              VV_KV_U("tables", cat_count(db->cat)), VV_KV_U("replayed", db->replayed_entries),
              VV_KV_I("recovery_ms", db->recovery_ns / VV_NS_PER_MS));
    *out = db;
    return VV_OK;
}

vv_status db_open_env(vv_env *env, const vv_options *opt, vv_db **out, vv_error *err)
{
    const engine_ops *ops = NULL;
    vv_status st = db_engine_choose(env, opt, &ops, err);
    if (st == VV_OK)
        st = db_open_engine(env, opt, ops, out, err);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "open");
}

void db_abandon(vv_db *db)
{
    if (db != NULL)
        (void)destroy(db, true, NULL);
}

vv_budget *db_budget(vv_db *db)
{
    return &db->budget;
}

vv_status db_close(vv_db *db, vv_error *err)
{
    vv_error first = {0};
    vv_status failed = VV_OK;
    if (atomic_load_explicit(&db->failed, memory_order_acquire))
        first = db->first_error;
    else if (atomic_load_explicit(&db->bg.failed, memory_order_acquire))
        first = db->bg.error;
    failed = first.status;
    if (failed == VV_OK)
        db_series_count_step(db);
    vv_status st = destroy(db, false, err);
    if (failed == VV_OK)
        return st;
    if (err != NULL)
        *err = first;
    return failed;
}
