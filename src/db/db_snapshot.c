/*
 * db_snapshot.c - the state of every shard at one position of the log.
 *
 * Taken with the commit lock and the publish lock held: nothing becomes visible meanwhile, so the
 * visible versions of all shards belong to one prefix of the log. The engines keep what is pinned.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "db/db_int.h"

static vv_status pin_all(vv_db *db, vv_snapshot *snap, vv_error *err)
{
    vv_status st = VV_OK;
    uint32_t pinned = 0;
    vv_mutex_lock(&db->commit_lock);
    vv_mutex_lock(&db->publish_lock);
    for (; st == VV_OK && pinned < db->shard_count; pinned += st == VV_OK) {
        engine *eng = db->shards[pinned].eng;
        snap->version[pinned] = db->ops->visible(eng);
        st = db->ops->pin(eng, snap->version[pinned], snap->time_ns, err);
    }
    vv_mutex_unlock(&db->publish_lock);
    vv_mutex_unlock(&db->commit_lock);
    for (; st != VV_OK && pinned > 0; pinned--)
        db->ops->unpin(db->shards[pinned - 1].eng, snap->version[pinned - 1], snap->time_ns);
    return st;
}

vv_status vv_snapshot_create(vv_db *db, vv_snapshot **out, vv_error *err)
{
    vv_snapshot *snap = vv_alloc(sizeof *snap + db->shard_count * sizeof snap->version[0]);
    if (snap == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a snapshot");
    snap->db = db;
    snap->shard_count = db->shard_count;
    snap->time_ns = db_read_time(db);
    db_tier_hold_begin(db, &snap->hold, NULL);
    vv_status st = pin_all(db, snap, err);
    if (st != VV_OK) {
        db_tier_hold_end(db, &snap->hold);
        vv_free(snap);
        return vv_wrap(err, st, "snapshot");
    }
    db_tier_hold_at(db, &snap->hold, snap->version);
    *out = snap;
    return VV_OK;
}

void vv_snapshot_release(vv_snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    vv_db *db = snapshot->db;
    db_tier_hold_end(db, &snapshot->hold);
    for (uint32_t i = 0; i < snapshot->shard_count; i++)
        db->ops->unpin(db->shards[i].eng, snapshot->version[i], snapshot->time_ns);
    vv_free(snapshot);
}

int64_t vv_snapshot_version(const vv_snapshot *snapshot, const vv_table *table)
{
    return snapshot->version[table->shard->id];
}

int64_t vv_table_version(const vv_table *table)
{
    return table->db->ops->visible(table->shard->eng);
}
