/*
 * db_as_of.c - reads of the past: which version stands for a time, and reads that name either.
 *
 * A mark says that every entry up to its version was committed by its time (db_marks.c), so the
 * newest mark at or before a time never shows anything that came later. After the last commit of
 * the shard the newest version is the answer, without any mark.
 */
#include "base/error.h"
#include "base/options.h"
#include "db/db_int.h"

vv_status vv_version_as_of(vv_table *table, int64_t time_ns, int64_t *out, vv_error *err)
{
    vv_db *db = table->db;
    db_shard *shard = table->shard;
    vv_status st = db_check_table(table, err);
    if (st == VV_OK)
        st = db_check_has_version(table, err);
    if (st != VV_OK)
        return st;
    if (time_ns > db_read_time(db))
        return vv_fail(err, VV_INVALID, "the time lies in the future");
    int64_t version = db->ops->visible(shard->eng);
    vv_mutex_lock(&db->commit_lock);
    bool is_newest = time_ns >= shard->last_commit_time_ns;
    vv_mutex_unlock(&db->commit_lock);
    if (!is_newest && !db_marks_version_at(shard, time_ns, &version))
        return vv_fail(
            err, VV_UNSUPPORTED, "the time lies before what is kept: table '%s' answers for %lld s",
            table->cat->name, (long long)(table->cat->version_retention_ns / VV_NS_PER_S));
    st = db_check_floor(db, shard, table->cat->id, version, err);
    if (st == VV_OK)
        *out = version;
    return st;
}

vv_status db_version_of_key_as_of(vv_table *table, vv_slice key, int64_t time_ns, int64_t *out,
                                  vv_error *err)
{
    vv_table part;
    return vv_version_as_of(db_part_of(table, key, &part), time_ns, out, err);
}

vv_status vv_get_with(vv_table *table, const vv_read_options *opt, vv_slice key, vv_value *out,
                      vv_error *err)
{
    static const vv_read_options now = VV_READ_OPTIONS_INIT;
    vv_read_options full = VV_READ_OPTIONS_INIT;
    vv_status st =
        vv_options_take(&full, sizeof full, opt == NULL ? &now : opt,
                        offsetof(vv_read_options, as_of_time_ns), "vv_read_options", err);
    if (st != VV_OK)
        return st;
    vv_table part;
    table = db_part_of(table, key, &part);
    int64_t version = full.as_of_version;
    if ((full.snapshot != NULL) + (version != 0) + (full.as_of_time_ns != 0) > 1)
        return vv_fail(err, VV_INVALID,
                       "a read takes a snapshot, a version or a time, and no two of them");
    if (full.as_of_time_ns != 0)
        st = vv_version_as_of(table, full.as_of_time_ns, &version, err);
    if (st != VV_OK)
        return st;
    return version != 0 ? vv_get_at(table, version, key, out, err)
                        : vv_get(table, full.snapshot, key, out, err);
}
