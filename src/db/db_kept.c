/*
 * db_kept.c - which contents of bulk loads stay beside the log, and for how long.
 *
 * As long as a replay may want one: until the shard's checkpoint has passed its version. Then, with
 * archive_log, until a backup that archives the log has it, or the log has let go of its entry, or
 * the contents together are more than the log may keep; the newest stays in that case, so that one
 * load of any size can be archived. Without archive_log, no longer.
 *
 * After a replay the directory is put in order: what no entry of the log names was never logged, or
 * has done its service.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_capture.h"
#include "db/db_int.h"

struct db_kept_item {
    db_kept_item *next;
    db_load load;
    int64_t version;
    uint64_t position; /* in the log, at or just before the entry */
};

void db_kept_init(vv_db *db)
{
    vv_mutex_init(&db->kept.lock, VV_RANK_LEAF);
}

static void free_items(db_kept_item *item)
{
    while (item != NULL) {
        db_kept_item *next = item->next;
        vv_free(item);
        item = next;
    }
}

void db_kept_fini(vv_db *db)
{
    free_items(db->kept.first);
    vv_mutex_fini(&db->kept.lock);
}

db_kept_item *db_kept_new(const db_load *load, vv_error *err)
{
    db_kept_item *item = vv_calloc(1, sizeof *item);
    if (item != NULL)
        item->load = *load;
    else
        (void)vv_fail(err, VV_NO_MEMORY, "no memory to keep the content of a bulk load");
    return item;
}

void db_kept_free(db_kept_item *item)
{
    vv_free(item);
}

void db_kept_add(vv_db *db, db_kept_item *item, int64_t version, uint64_t position)
{
    db_kept *kept = &db->kept;
    item->version = version;
    item->position = position;
    vv_mutex_lock(&kept->lock);
    *(kept->last == NULL ? &kept->first : &kept->last->next) = item;
    kept->last = item;
    atomic_fetch_add_explicit(&kept->bytes, item->load.size, memory_order_relaxed);
    vv_mutex_unlock(&kept->lock);
}

vv_status db_kept_found(vv_db *db, const db_load *load, int64_t version, uint64_t position,
                        vv_error *err)
{
    char path[DB_LOAD_PATH_SIZE];
    vio_file *file = NULL;
    db_load_path(load, path);
    vv_status st = vio_open(db->env->io, path, VIO_READ, &file, err);
    vio_close(file);
    if (st == VV_NOT_FOUND)
        return VV_OK; /* a backup has it; if a replay needs it, that says so */
    if (st != VV_OK)
        return st;
    db_kept_item *item = db_kept_new(load, err);
    if (item == NULL)
        return VV_NO_MEMORY;
    db_kept_add(db, item, version, position);
    return VV_OK;
}

/* ---- letting go ------------------------------------------------------------------------------ */

typedef struct limits {
    int64_t checkpoint[WAL_SHARD_MAX];
    uint64_t begin; /* of the log */
    uint64_t bytes_max;
} limits;

static bool may_go(const vv_db *db, const limits *l, const db_kept_item *item)
    VV_REQUIRES(db->kept.lock)
{
    const db_kept *kept = &db->kept;
    if (item->version > l->checkpoint[item->load.shard])
        return false;
    return !db->opt.archive_log || item->position < kept->archived || item->position < l->begin ||
           (atomic_load_explicit(&kept->bytes, memory_order_relaxed) > l->bytes_max &&
            item->next != NULL);
}

/* Take out what may go. */
static db_kept_item *take_gone(vv_db *db, const limits *l)
{
    db_kept_item *gone = NULL;
    db_kept_item *last = NULL;
    vv_mutex_lock(&db->kept.lock);
    for (db_kept_item **at = &db->kept.first; *at != NULL && db->kept.holds == 0;) {
        db_kept_item *item = *at;
        if (may_go(db, l, item)) {
            *at = item->next;
            item->next = gone;
            gone = item;
            atomic_fetch_sub_explicit(&db->kept.bytes, item->load.size, memory_order_relaxed);
        } else {
            last = item;
            at = &item->next;
        }
    }
    if (db->kept.holds == 0)
        db->kept.last = last;
    vv_mutex_unlock(&db->kept.lock);
    return gone;
}

void db_kept_trim(vv_db *db)
{
    limits l = {.bytes_max = DB_LOG_KEPT * db->opt.log_limit};
    if (VV_LIKELY(atomic_load_explicit(&db->kept.bytes, memory_order_relaxed) == 0) ||
        db->opt.read_only)
        return;
    for (uint32_t i = 0; i < db->shard_count; i++)
        l.checkpoint[i] = db->ops->checkpoint(db->shards[i].eng);
    l.begin = wal_begin_position(db->log);
    db_kept_item *gone = take_gone(db, &l);
    for (const db_kept_item *item = gone; item != NULL; item = item->next) {
        char path[DB_LOAD_PATH_SIZE];
        db_load_path(&item->load, path);
        (void)!vio_remove(db->env->io, path,
                          NULL); /* the next open removes it, or keeps it again */
    }
    free_items(gone);
}

void db_kept_hold(vv_db *db)
{
    vv_mutex_lock(&db->kept.lock);
    db->kept.holds++;
    vv_mutex_unlock(&db->kept.lock);
}

void db_kept_unhold(vv_db *db)
{
    vv_mutex_lock(&db->kept.lock);
    assert(db->kept.holds > 0);
    db->kept.holds--;
    vv_mutex_unlock(&db->kept.lock);
    db_kept_trim(db);
}

void db_kept_archived(vv_db *db, uint64_t position)
{
    vv_mutex_lock(&db->kept.lock);
    db->kept.archived = vv_max_u64(db->kept.archived, position);
    vv_mutex_unlock(&db->kept.lock);
}

/* ---- the directory --------------------------------------------------------------------------- */

static void remove_unnamed(void *ctx, const char *name)
{
    vv_db *db = ctx;
    char path[VIO_PATH_MAX];
    char known[DB_LOAD_PATH_SIZE];
    int n = snprintf(path, sizeof path, DB_LOAD_DIR "/%s", name);
    if (n < 0 || (size_t)n >= sizeof path)
        return;
    for (const db_kept_item *item = db->kept.first; item != NULL; item = item->next) {
        db_load_path(&item->load, known);
        if (strcmp(path, known) == 0)
            return;
    }
    (void)!vio_remove(db->env->io, path, NULL);
}

vv_status db_kept_sweep(vv_db *db, vv_error *err)
{
    vv_status st = vio_list(db->env->io, DB_LOAD_DIR, remove_unnamed, db, err);
    return st == VV_NOT_FOUND ? VV_OK : st;
}
