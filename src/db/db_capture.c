/*
 * db_capture.c - the state of a store at one position of its log, while it is used.
 *
 * The order makes it whole: the log is held before the files are listed, so that what follows each
 * shard's checkpoint is still in it; each engine's files are held before they are listed; the log's
 * end is taken last and under the commit lock, so it lies at or behind every checkpoint, and the
 * versions of all shards belong to one prefix of the log. When a bulk load or a new engine came
 * between the list and the end, the list is made again.
 */
#include "db/db_capture.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_int.h"
#include "engine/route.h"

#define LIST_TRIES 100u

static vv_status add_file(void *ctx, const engine_file *file, vv_error *err)
{
    db_capture *c = ctx;
    if (c->count == c->cap) {
        size_t cap = c->cap * 2 + 32;
        db_captured_file *files = vv_realloc(c->files, cap * sizeof *files);
        if (files == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory to list %zu files", cap);
        c->files = files;
        c->cap = cap;
    }
    db_captured_file *f = &c->files[c->count];
    *f = (db_captured_file){.path = vv_strdup(file->path), .remote = file->remote_of};
    if (file->source != NULL)
        f->source = vv_strdup(file->source);
    if (f->path != NULL && file->content.data != NULL) {
        f->content = vv_alloc(file->content.len);
        if (f->content != NULL)
            memcpy(f->content, file->content.data, file->content.len);
        f->content_len = file->content.len;
    }
    if (f->path == NULL || (file->source != NULL && f->source == NULL) ||
        (file->content.data != NULL && f->content == NULL)) {
        vv_free(f->path);
        vv_free(f->source);
        vv_free(f->content);
        return vv_fail(err, VV_NO_MEMORY, "no memory for the name of a file");
    }
    c->count++;
    return VV_OK;
}

static void forget_files(db_capture *c)
{
    for (size_t i = 0; i < c->count; i++) {
        vv_free(c->files[i].path);
        vv_free(c->files[i].source);
        vv_free(c->files[i].content);
    }
    c->count = 0;
}

static void release(db_capture *c)
{
    for (uint32_t i = 0; i < c->shard_count; i++)
        c->db->ops->release_files(c->db->shards[i].eng);
    wal_unhold(c->db->log);
    db_kept_unhold(c->db);
    db_background_wake_log(c->db);
    forget_files(c);
    vv_free(c->files);
    vv_free(c);
}

/* What the log alone cannot bring to files that were listed before: a bulk load, whose data is in
 * files, and an engine that came for a new kind of table. */
typedef struct epoch {
    uint64_t bulk_count;
    uint32_t engines[WAL_SHARD_MAX];
} epoch;

static epoch epoch_of(const vv_db *db) VV_REQUIRES(db->commit_lock)
{
    epoch now = {.bulk_count = db->bulk_count};
    for (uint32_t i = 0; db->ops == &engine_route_ops && i < db->shard_count; i++)
        for (uint32_t slot = 0; slot < ENGINE_ROUTE_SLOTS; slot++)
            if (engine_route_member(db->shards[i].eng, slot) != NULL)
                now.engines[i] |= UINT32_C(1) << slot;
    return now;
}

/* Note the end of the log; false when the files that were listed are not enough to reach it. */
static bool note_end(db_capture *c, const epoch *listed)
{
    vv_db *db = c->db;
    vv_mutex_lock(&db->commit_lock);
    epoch now = epoch_of(db);
    for (uint32_t i = 0; i < c->shard_count; i++) {
        c->shard[i].version = atomic_load(&db->shards[i].last_index);
        c->shard[i].commit_time_ns = db->shards[i].last_commit_time_ns;
    }
    c->end = wal_end_position(db->log);
    vv_mutex_unlock(&db->commit_lock);
    return memcmp(&now, listed, sizeof now) == 0;
}

static vv_status list_and_note(db_capture *c, vv_error *err)
{
    vv_db *db = c->db;
    for (unsigned tries = 0; tries < LIST_TRIES; tries++) {
        vv_status st = VV_OK;
        forget_files(c);
        vv_mutex_lock(&db->commit_lock);
        epoch listed = epoch_of(db);
        vv_mutex_unlock(&db->commit_lock);
        for (uint32_t i = 0; st == VV_OK && i < c->shard_count; i++)
            st = db->ops->list_files(db->shards[i].eng, add_file, c, &c->shard[i].checkpoint, err);
        if (st != VV_OK || note_end(c, &listed))
            return st;
    }
    return vv_fail(err, VV_BUSY, "bulk loads follow each other too fast: try again");
}

vv_status db_capture_begin(vv_db *db, db_capture **out, vv_error *err)
{
    vv_status st = db_check_writable(db, err);
    if (st != VV_OK)
        return st;
    if (db->ops->list_files == NULL)
        return vv_fail(err, VV_UNSUPPORTED, "the engine '%s' keeps no files", db->ops->name);
    db_capture *c = vv_calloc(1, sizeof *c);
    if (c == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory to take the state of the store");
    c->db = db;
    c->shard_count = db->shard_count;
    c->time_ns = vv_clock_wall(db->env->clock);
    memcpy(c->uuid, db->identity.uuid, sizeof c->uuid);
    wal_hold(db->log);
    db_kept_hold(db);
    for (uint32_t i = 0; i < c->shard_count; i++)
        db->ops->hold_files(db->shards[i].eng);
    st = list_and_note(c, err);
    if (st == VV_OK)
        st = wal_sync(db->log, c->end, err);
    if (st != VV_OK) {
        release(c);
        return st;
    }
    *out = c;
    return VV_OK;
}

typedef struct delivery {
    const db_capture *c;
    db_entry_fn each;
    void *ctx;
} delivery;

static vv_status deliver(void *ctx, const wal_record *rec, uint64_t position, vv_error *err)
{
    const delivery *d = ctx;
    if (rec->shard >= d->c->shard_count)
        return vv_fail(err, VV_CORRUPT, "the log has a record of shard %u of %u", rec->shard,
                       d->c->shard_count);
    return d->each(d->ctx, rec, position, err);
}

vv_status db_capture_entries(db_capture *c, const int64_t *above, db_entry_fn each, void *ctx,
                             vv_error *err)
{
    uint64_t from[WAL_SHARD_MAX] = {0};
    for (uint32_t i = 0; i < c->shard_count; i++)
        from[i] = (uint64_t)(above == NULL ? c->shard[i].checkpoint : above[i]);
    delivery d = {c, each, ctx};
    return wal_scan(c->db->log, c->end, from, deliver, &d, err);
}

vv_status db_capture_open_load(const db_capture *c, const db_load *load, vio_file **out,
                               vv_error *err)
{
    char path[DB_LOAD_PATH_SIZE];
    db_load_path(load, path);
    return vio_open(c->db->env->io, path, VIO_READ, out, err);
}

vv_status db_capture_open(const db_capture *c, const db_captured_file *file, vio_file **out,
                          vv_error *err)
{
    if (file->remote != NULL)
        return file->remote->ops->open_remote(file->remote, file->path, out, err);
    return vio_open(c->db->env->io, file->source != NULL ? file->source : file->path,
                    VIO_READ | VIO_BEHIND, out, err);
}

void db_capture_archived(db_capture *c)
{
    if (!c->db->opt.archive_log)
        return;
    wal_keep(c->db->log, c->end, DB_LOG_KEPT * c->db->opt.log_limit);
    db_kept_archived(c->db, c->end);
}

void db_capture_end(db_capture *c)
{
    if (c != NULL)
        release(c);
}
