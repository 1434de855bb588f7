/*
 * db_bulk.c - a bulk load: from sorted keys to one version of the shard.
 *
 *   put ... put        files nobody knows of (the engine's)
 *   finish   seal      they are complete and durable                             no lock
 *            clear     memtables hold nothing of its range                       no lock, at best
 *            log       an entry that gives the version, durable                  commit_lock
 *            install   the manifest has them at that version: the one step       commit_lock
 *            publish   and everybody sees it                                     commit_lock
 *
 * Why under the lock: a version is seen when everything of it is there, so nothing later may be
 * published between the entry and the manifest. That is two syncs, however much is loaded.
 *
 * The entry deletes a key of the system table that was never there. It stands in the log so that
 * versions have no gap, and goes through the memtable so that a checkpoint passes it. It says that
 * the version belongs to a load of that table, not that the load came to be: the manifest says
 * that.
 *
 * With archive_log the entry also names a file with the content (db_load.c), durable before it, and
 * then it does say that the load came to be: what the log has, a backup may have, and a restore
 * would bring. So when the installing fails the store is latched, and the reopening installs it.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_int.h"
#include "varve/bulk.h"

#define CLEAR_UNLOCKED_MAX 3u /* flushes before writers are held off for one */
#define NAMED_KEY_MAX 32u     /* bytes of a key in a sentence */

struct vv_bulk {
    vv_table table; /* a reference of its own */
    engine_bulk *run;
    const engine_bulk_ops *ops;
    db_load_writer *keep; /* its content for the archive; NULL: none is kept */
    db_load content;      /* size 0: none */
    db_kept_item *kept;   /* until the entry is in the log */
    bool is_logged;       /* the entry names the content */
    uint64_t count;
    uint64_t bytes;
    uint8_t key[ENGINE_KEY_MAX]; /* the last one, with the table prefix */
    size_t key_len;
    vv_error failed; /* the failure that ended it */
};

/* ---- beginning and filling ----------------------------------------------------------------- */

static vv_status check_kind(const vv_table *table, vv_error *err)
{
    const engine_ops *ops = engine_route_of(table->shard->eng, table->cat->id)->ops;
    if (table->partition_count > 1)
        return vv_fail(err, VV_UNSUPPORTED,
                       "table '%s' lies on %u shards, and a load is one version of one: write in "
                       "batches",
                       table->cat->name, table->partition_count);
    if (ops->bulk == NULL)
        return vv_fail(err, VV_UNSUPPORTED,
                       "engine %s takes no bulk load: write in batches, or use a table of engine "
                       "lsm",
                       ops->name);
    if (table->cat->kind != VV_TABLE_KV)
        return vv_fail(err, VV_UNSUPPORTED,
                       "table '%s' holds records, whose index by time is not sorted as they are: "
                       "write them in batches",
                       table->cat->name);
    return VV_OK;
}

vv_status vv_bulk_begin(vv_table *table, vv_bulk **out, vv_error *err)
{
    vv_db *db = table->db;
    vv_status st = db_check_table(table, err);
    if (st == VV_OK)
        st = db_check_writable(db, err);
    if (st == VV_OK)
        st = check_kind(table, err);
    if (st != VV_OK)
        return st;
    vv_bulk *load = vv_calloc(1, sizeof *load);
    if (load == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a bulk load");
    load->table = *table;
    cat_table_ref(table->cat);
    engine *eng = engine_route_of(table->shard->eng, table->cat->id);
    load->ops = eng->ops->bulk;
    vv_put_be32(load->key, table->cat->id);
    load->key_len = ENGINE_TABLE_PREFIX;
    st = load->ops->begin(eng, &load->run, err);
    if (st == VV_OK && db->opt.archive_log)
        st = db_load_begin(db, table->shard->id, table->cat->id, &load->keep, err);
    if (st != VV_OK) {
        vv_bulk_abort(load);
        return st;
    }
    *out = load;
    return VV_OK;
}

/* A key as a sentence has it: what is no plain text as '.', and not too much of it. */
static const char *name_key(char out[NAMED_KEY_MAX + 4], vv_slice key)
{
    size_t n = key.len < NAMED_KEY_MAX ? key.len : NAMED_KEY_MAX;
    for (size_t i = 0; i < n; i++)
        out[i] = key.data[i] >= 0x20 && key.data[i] < 0x7f ? (char)key.data[i] : '.';
    (void)snprintf(out + n, 4, "%s", key.len > n ? "..." : "");
    return out;
}

static vv_status check_order(const vv_bulk *load, vv_slice key, vv_error *err)
{
    vv_slice last =
        vv_slice_of(load->key + ENGINE_TABLE_PREFIX, load->key_len - ENGINE_TABLE_PREFIX);
    int c = load->count == 0 ? 1 : vv_slice_cmp(key, last);
    if (c > 0)
        return VV_OK;
    char now[NAMED_KEY_MAX + 4];
    char before[NAMED_KEY_MAX + 4];
    if (c == 0)
        return vv_fail(err, VV_INVALID, "key %llu, '%s', stands twice: a load takes a key once",
                       (unsigned long long)load->count + 1, name_key(now, key));
    return vv_fail(err, VV_INVALID,
                   "key %llu, '%s', is below the one before it, '%s': a load takes keys in "
                   "ascending order of their bytes",
                   (unsigned long long)load->count + 1, name_key(now, key), name_key(before, last));
}

static vv_status answer_failed(const vv_bulk *load, vv_error *err)
{
    if (err != NULL)
        *err = load->failed;
    return load->failed.status;
}

vv_status vv_bulk_put(vv_bulk *load, vv_slice key, vv_slice value, int64_t expires_ns,
                      vv_error *err)
{
    if (VV_UNLIKELY(load->failed.status != VV_OK))
        return answer_failed(load, err);
    vv_status st = db_check_put(&load->table, key, value, expires_ns, err);
    if (st == VV_OK)
        st = check_order(load, key, err);
    if (st != VV_OK)
        return st;
    memcpy(load->key + ENGINE_TABLE_PREFIX, key.data, key.len);
    load->key_len = ENGINE_TABLE_PREFIX + key.len;
    vv_error why = {0};
    st = load->ops->put(load->run, vv_slice_of(load->key, load->key_len), value, expires_ns, &why);
    if (st == VV_OK && load->keep != NULL)
        st = db_load_put(load->keep, key, value, expires_ns, &why);
    if (st != VV_OK) {
        load->failed = why;
        load->failed.status = st;
        return answer_failed(load, err);
    }
    load->count++;
    load->bytes += key.len + value.len;
    return VV_OK;
}

uint64_t vv_bulk_count(const vv_bulk *load)
{
    return load->count;
}

uint64_t vv_bulk_bytes(const vv_bulk *load)
{
    return load->bytes;
}

/* ---- finishing ----------------------------------------------------------------------------- */

/* The entry that gives the version. */
static vv_status make_entry(const vv_bulk *load, vv_batch *batch, vv_error *err)
{
    uint8_t key[DB_LOAD_KEY_MAX];
    size_t key_len = db_load_key(&load->content, key);
    batch->shard = load->table.shard;
    batch->is_internal = true;
    vv_status st = db_batch_add(batch, ENGINE_DELETE, CAT_TABLE_SYSTEM, vv_slice_of(key, key_len),
                                vv_slice_of(NULL, 0), 0, err);
    if (st == VV_OK)
        db_commit_begin(load->table.db, batch, VV_DURABLE_SYNC);
    return st;
}

/* Its place in the log, durable but not yet visible. */
static vv_status log_entry(vv_db *db, vv_batch *batch, vv_error *err) VV_REQUIRES(db->commit_lock)
{
    db_shard *shard = batch->shard;
    int64_t now = vv_clock_wall(db->env->clock);
    int64_t least = atomic_load_explicit(&shard->floor_time_ns, memory_order_acquire);
    if (shard->last_commit_time_ns > least)
        least = shard->last_commit_time_ns;
    batch->result.commit_time_ns = now > least ? now : least;
    batch->result.version = atomic_load_explicit(&shard->last_index, memory_order_relaxed) + 1;
    vv_status st = db->ops->prepare(shard->eng, batch->payload.len, batch->op_count, err);
    if (st != VV_OK)
        return st;
    const wal_record rec = {.kind = WAL_ENTRY,
                            .shard = shard->id,
                            .index = (uint64_t)batch->result.version,
                            .commit_time_ns = batch->result.commit_time_ns,
                            .payload = vv_buf_slice(&batch->payload),
                            .payload_crc = batch->crc};
    uint64_t end = 0;
    st = wal_append(db->log, &rec, 1, &end, err);
    bool is_logged = st == VV_OK;
    VV_POINT("db.bulk.appended");
    if (is_logged)
        st = wal_sync(db->log, end, err);
    if (st == VV_OK)
        return VV_OK;
    if (db->ops->cancel != NULL)
        db->ops->cancel(shard->eng);
    return is_logged || st == VV_IO || st == VV_CORRUPT ? db_latch(db, st, err) : st;
}

/* Everything logged before is durable, so all of it may be seen, and then this. */
static void publish(vv_db *db, const vv_batch *batch) VV_REQUIRES(db->commit_lock)
{
    db_publish(db, wal_durable_position(db->log));
    db->ops->publish(batch->shard->eng, batch->result.version);
}

static vv_status apply_entry(vv_db *db, vv_batch *batch, vv_error *err) VV_REQUIRES(db->commit_lock)
{
    db_shard *shard = batch->shard;
    vv_error why = {0};
    vv_status st = db->ops->apply(shard->eng, batch->result.version, batch->result.commit_time_ns,
                                  vv_buf_slice(&batch->payload), &why);
    if (st != VV_OK) {
        (void)vv_wrap(&why, VV_IO, "logged but not applied: reopen the store");
        if (err != NULL)
            *err = why;
        return db_latch(db, VV_IO, &why);
    }
    txn_recent_forget(&shard->recent, batch->result.version);
    shard->last_commit_time_ns = batch->result.commit_time_ns;
    atomic_store_explicit(&shard->last_index, batch->result.version, memory_order_release);
    return VV_OK;
}

/* The entry and the content are the load, whatever became of its files: a replay makes them. */
static vv_status leave_to_replay(vv_db *db, const vv_batch *batch, vv_status st, vv_error *err)
    VV_REQUIRES(db->commit_lock)
{
    vv_error why = {0};
    if (err == NULL)
        err = &why;
    if (db->ops->cancel != NULL)
        db->ops->cancel(batch->shard->eng);
    (void)vv_wrap(err, st, "logged but not installed: reopening the store brings it");
    return db_latch(db, st, err);
}

static vv_status commit_clear(vv_db *db, vv_bulk *load, vv_batch *batch, vv_error *err)
    VV_REQUIRES(db->commit_lock)
{
    uint64_t position = wal_end_position(db->log);
    vv_status st = log_entry(db, batch, err);
    if (st != VV_OK)
        return st;
    VV_POINT("db.bulk.logged");
    db->bulk_count++;
    if (load->kept != NULL)
        db_kept_add(db, load->kept, batch->result.version, position);
    load->kept = NULL;
    load->is_logged = true;
    st = load->ops->install(load->run, batch->result.version, err);
    VV_POINT("db.bulk.installed");
    if (st != VV_OK && load->content.size > 0)
        return leave_to_replay(db, batch, st, err);
    /* With the load or without it the version is the log's and has its entry. */
    vv_status applied = apply_entry(db, batch, st == VV_OK ? err : NULL);
    if (applied == VV_OK)
        publish(db, batch);
    return st == VV_OK ? applied : st;
}

/* One try. *flush: memtables hold something of the range, nothing was done. */
static vv_status commit_once(vv_bulk *load, vv_batch *batch, bool hold, bool *flush, vv_error *err)
{
    vv_db *db = load->table.db;
    const cat_table *cat = load->table.cat;
    vv_mutex_lock(&db->commit_lock);
    vv_status st = VV_OK;
    if (atomic_load_explicit(&cat->is_dropping, memory_order_acquire))
        st = vv_fail(err, VV_NOT_FOUND, "table '%s' of tenant '%s' was dropped", cat->name,
                     cat->tenant);
    *flush = st == VV_OK && !load->ops->is_clear(load->run);
    if (*flush && hold) {
        st = db_flush_held(db, load->table.shard, err);
        *flush = st == VV_OK && !load->ops->is_clear(load->run);
    }
    if (st == VV_OK && !*flush)
        st = commit_clear(db, load, batch, err);
    vv_mutex_unlock(&db->commit_lock);
    return st;
}

static vv_status commit(vv_bulk *load, vv_batch *batch, vv_error *err)
{
    vv_db *db = load->table.db;
    int64_t deadline = vv_clock_mono(db->env->clock) + DB_ROOM_TIMEOUT_NS;
    for (unsigned tries = 0;; tries++) {
        bool flush = false;
        uint64_t room = db_background_room(db);
        vv_status st = commit_once(load, batch, tries >= CLEAR_UNLOCKED_MAX, &flush, err);
        if (st == VV_BUSY) {
            vv_error why = {0};
            st = db_background_make_room(db, load->table.shard, room, deadline, &why);
            if (st == VV_OK)
                continue;
            if (err != NULL && st != VV_BUSY)
                *err = why;
            return st;
        }
        if (st != VV_OK || !flush)
            return st;
        st = db_await(db, wal_end_position(db->log), err);
        if (st == VV_OK)
            st = db_flush_shard(db, load->table.shard, err);
        if (st != VV_OK)
            return st;
    }
}

/* The content under its name, and what remembers it. */
static vv_status end_content(vv_bulk *load, vv_error *err)
{
    vv_db *db = load->table.db;
    load->content = (db_load){.table_id = load->table.cat->id, .count = load->count};
    if (load->keep == NULL)
        return VV_OK;
    vv_status st = db_load_end(load->keep, &load->content, err);
    if (st != VV_OK)
        return st;
    atomic_fetch_add_explicit(&db->kept.written, load->content.size, memory_order_relaxed);
    load->kept = db_kept_new(&load->content, err);
    return load->kept == NULL ? VV_NO_MEMORY : VV_OK;
}

/* It stays when its entry is in the log, or may be: a store whose log failed does not know. */
static void let_content_go(vv_bulk *load)
{
    if (load->is_logged ||
        (load->kept != NULL && atomic_load_explicit(&load->table.db->failed, memory_order_acquire)))
        db_load_free(load->keep);
    else
        db_load_abort(load->keep);
    db_kept_free(load->kept);
}

static vv_status finish(vv_bulk *load, vv_write_result *result, vv_error *err)
{
    vv_db *db = load->table.db;
    vv_batch batch;
    uint8_t scratch[128];
    if (load->failed.status != VV_OK)
        return answer_failed(load, err);
    vv_status st = db_check_writable(db, err);
    if (st != VV_OK || load->count == 0)
        return st;
    st = load->ops->seal(load->run, err);
    if (st != VV_OK)
        return st;
    VV_POINT("db.bulk.sealed");
    st = end_content(load, err);
    if (st != VV_OK)
        return st;
    VV_POINT("db.bulk.kept");
    db_batch_init(&batch, db, scratch, sizeof scratch);
    st = make_entry(load, &batch, err);
    if (st == VV_OK)
        st = commit(load, &batch, err);
    if (st == VV_OK) {
        *result = batch.result;
        db_counters *c = &db->counters;
        atomic_fetch_add_explicit(&c->entries, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&c->operations, load->count, memory_order_relaxed);
        atomic_fetch_add_explicit(&c->user_bytes, load->bytes, memory_order_relaxed);
        db_marks_write_due(db, batch.shard);
        db_kept_trim(db);
    }
    db_batch_fini(&batch);
    return st;
}

vv_status vv_bulk_finish(vv_bulk *load, vv_write_result *result, vv_error *err)
{
    vv_write_result done = {.durability = VV_DURABLE_SYNC};
    vv_status st = finish(load, &done, err);
    if (st == VV_OK && result != NULL)
        *result = done;
    if (st != VV_OK)
        (void)vv_wrap(err, st, "bulk load into '%s'", load->table.cat->name);
    vv_bulk_abort(load);
    return st;
}

void vv_bulk_abort(vv_bulk *load)
{
    if (load == NULL)
        return;
    load->ops->destroy(load->run);
    let_content_go(load);
    cat_table_unref(load->table.cat);
    vv_free(load);
}
