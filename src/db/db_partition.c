/*
 * db_partition.c - tables whose keys are spread over shards by their hash.
 *
 * The handle of such a table stands for all of it, and a copy of it with another shard for one
 * partition: what knows one shard works on that copy as on any table. So a call that has a key
 * goes to the key's partition at its very top (db_part_of), and a call about all of the table
 * goes through its partitions one by one, here or in db_part_cursor.c.
 *
 * What is promised over partitions is what shards have together: snapshots, and nothing that is
 * written. Versions are a shard's own.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "db/db_int.h"

vv_table db_table_of(vv_db *db, cat_table *cat)
{
    return (vv_table){.db = db,
                      .cat = cat,
                      .shard = &db->shards[cat->shard],
                      .partition_count = cat->partition_count};
}

vv_table db_part_at(const vv_table *table, uint32_t partition)
{
    vv_table part = *table;
    if (table->partition_count > 1)
        part.shard = &table->db->shards[cat_partition_shard(table->cat, partition)];
    part.partition_count = 1;
    return part;
}

vv_table *db_part_of_key(const vv_table *table, vv_slice key, vv_table *part)
{
    assert(table->partition_count > 1);
    uint64_t hash = vv_hash64(key.data, key.len);
    *part = *table;
    part->shard = db_table_shard(table->db, table->cat, hash);
    part->partition_count = 1;
    return part;
}

uint32_t db_shard_of_key(const vv_table *table, vv_slice key)
{
    vv_table part;
    return db_part_of((vv_table *)table, key, &part)->shard->id;
}

vv_db *db_of_table(const vv_table *table)
{
    return table->db;
}

uint32_t db_partition_count(const vv_table *table)
{
    return table->partition_count;
}

vv_status db_check_has_version(const vv_table *table, vv_error *err)
{
    if (VV_LIKELY(table->partition_count == 1))
        return VV_OK;
    return vv_fail(err, VV_UNSUPPORTED,
                   "table '%s' lies on %u shards, and a version is of one: read at a snapshot",
                   table->cat->name, table->partition_count);
}

/* ---- many keys ------------------------------------------------------------------------------- */

/* The keys of one partition, gathered, and where their answers go. */
typedef struct share {
    size_t count;
    vv_slice *keys; /* owns the memory of all four */
    vv_value *values;
    vv_status *status;
    uint32_t *place;
} share;

static vv_status share_make(share *s, size_t count, vv_error *err)
{
    size_t each = sizeof *s->keys + sizeof *s->values + sizeof *s->status + sizeof *s->place;
    s->keys = vv_alloc(count * each);
    if (s->keys == NULL)
        return vv_fail(err, VV_NO_MEMORY, "multi get: no memory for %zu keys", count);
    s->values = (vv_value *)(void *)(s->keys + count);
    s->status = (vv_status *)(void *)(s->values + count);
    s->place = (uint32_t *)(void *)(s->status + count);
    return VV_OK;
}

static void share_gather(share *s, const vv_table *table, const vv_table *part,
                         const vv_slice *keys, size_t count)
{
    s->count = 0;
    for (size_t i = 0; i < count; i++) {
        vv_table at;
        if (db_part_of_key(table, keys[i], &at)->shard != part->shard)
            continue;
        s->keys[s->count] = keys[i];
        s->place[s->count++] = (uint32_t)i;
    }
}

static void share_hand_out(const share *s, vv_value *values, vv_status *status)
{
    for (size_t i = 0; i < s->count; i++) {
        status[s->place[i]] = s->status[i];
        if (s->status[i] == VV_OK)
            values[s->place[i]] = s->values[i];
    }
}

static vv_status first_failure(const vv_status *status, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (status[i] != VV_OK && status[i] != VV_NOT_FOUND)
            return status[i];
    return VV_OK;
}

/* One partition after the other, each with as many of its reads at the disk as that serves well. */
static vv_status get_shares(const vv_table *table, const vv_snapshot *snapshot,
                            const vv_slice *keys, size_t count, vv_value *values, vv_status *status,
                            vv_error *err)
{
    share s = {.count = 0};
    vv_error why = {0};
    vv_status st = share_make(&s, count, err);
    if (st != VV_OK)
        return st;
    for (uint32_t p = 0; p < table->partition_count; p++) {
        vv_table part = db_part_at(table, p);
        vv_error here = {0};
        share_gather(&s, table, &part, keys, count);
        if (vv_multi_get(&part, snapshot, s.keys, s.count, s.values, s.status, &here) != VV_OK &&
            why.status == VV_OK)
            why = here;
        share_hand_out(&s, values, status);
    }
    vv_free(s.keys);
    st = first_failure(status, count);
    if (st != VV_OK && err != NULL)
        *err = why;
    return st;
}

vv_status db_parts_multi_get(const vv_table *table, const vv_snapshot *snapshot,
                             const vv_slice *keys, size_t count, vv_value *values,
                             vv_status *status, vv_error *err)
{
    vv_snapshot *now = NULL;
    vv_status st = VV_OK;
    for (size_t i = 0; i < count; i++)
        status[i] = VV_NO_MEMORY; /* until its partition was read */
    if (snapshot == NULL)
        st = vv_snapshot_create(table->db, &now, err);
    if (st == VV_OK)
        st = get_shares(table, snapshot == NULL ? now : snapshot, keys, count, values, status, err);
    else
        for (size_t i = 0; i < count; i++)
            status[i] = st;
    vv_snapshot_release(now);
    return st;
}

/* ---- ranges of keys -------------------------------------------------------------------------- */

vv_status db_delete_range_spread(vv_batch *batch, vv_table *table, vv_slice begin, vv_slice end,
                                 vv_durability durability, vv_error *err)
{
    uint32_t last = table->partition_count - 1;
    vv_status st = VV_OK;
    for (uint32_t p = 0; st == VV_OK && p < last; p++) {
        vv_table part = db_part_at(table, p);
        vv_batch one;
        db_batch_init(&one, table->db, NULL, 0);
        st = vv_batch_delete_range(&one, &part, begin, end, err);
        if (st == VV_OK)
            st = vv_write(table->db, &one, durability, NULL, err);
        db_batch_fini(&one);
        VV_POINT("db.after_part_of_range");
    }
    vv_table part = db_part_at(table, last);
    return st == VV_OK ? vv_batch_delete_range(batch, &part, begin, end, err) : st;
}

vv_status vv_delete_range(vv_table *table, vv_slice begin, vv_slice end, vv_durability durability,
                          vv_write_result *result, vv_error *err)
{
    vv_batch batch;
    db_batch_init(&batch, table->db, NULL, 0);
    vv_status st = db_delete_range_spread(&batch, table, begin, end, durability, err);
    if (st == VV_OK)
        st = vv_write(table->db, &batch, durability, result, err);
    db_batch_fini(&batch);
    return st;
}
