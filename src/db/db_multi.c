/*
 * db_multi.c - many keys of one table at one version.
 *
 * One allocation holds the keys with their table's prefix and the engine's answers. As in db_read.c
 * a read without a snapshot looks afterwards whether a higher floor was given away meanwhile; then
 * the values of all keys are dropped and read again, so that they are of one version.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_int.h"

typedef struct multi {
    vv_table *table;
    size_t count;
    vv_slice *keys; /* with prefixes; owns the memory of all three */
    engine_value *found;
    uint8_t *bytes;
    vv_status *status; /* the caller's */
} multi;

static vv_status fail_all(vv_status *status, size_t count, vv_status st)
{
    for (size_t i = 0; i < count; i++)
        status[i] = st;
    return st;
}

static vv_status check(const vv_table *table, const vv_slice *keys, size_t count, vv_error *err)
{
    vv_status st = db_check_table(table, err);
    if (st == VV_OK && count > VV_MULTI_GET_MAX)
        st = vv_fail(err, VV_INVALID, "multi get: %zu keys, the limit is %u", count,
                     VV_MULTI_GET_MAX);
    for (size_t i = 0; st == VV_OK && i < count; i++) {
        st = db_check_key(keys[i], VV_KEY_MAX, err);
        if (st != VV_OK)
            vv_wrap(err, st, "key %zu", i);
    }
    return st;
}

static vv_status take_keys(multi *m, const vv_slice *keys, vv_error *err)
{
    size_t n = m->count;
    size_t len = n * ENGINE_TABLE_PREFIX;
    for (size_t i = 0; i < n; i++)
        len += keys[i].len;
    m->keys = vv_alloc(n * (sizeof *m->keys + sizeof *m->found) + len);
    if (m->keys == NULL)
        return vv_fail(err, VV_NO_MEMORY, "multi get: no memory for %zu keys", n);
    m->found = (engine_value *)(void *)(m->keys + n);
    m->bytes = (uint8_t *)(m->found + n);
    uint8_t *at = m->bytes;
    for (size_t i = 0; i < n; i++) {
        vv_put_be32(at, m->table->cat->id);
        memcpy(at + ENGINE_TABLE_PREFIX, keys[i].data, keys[i].len);
        m->keys[i] = vv_slice_of(at, ENGINE_TABLE_PREFIX + keys[i].len);
        at += m->keys[i].len;
    }
    return VV_OK;
}

static vv_status read_at(const multi *m, const engine_read *read, vv_error *err)
{
    assert(m->found != NULL);
    return engine_multi_get(m->table->shard->eng, m->keys, m->count, read, m->found, m->status,
                            err);
}

static void drop_found(const multi *m)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->status[i] == VV_OK)
            engine_value_release(&m->found[i]);
}

static vv_status read_now(const multi *m, vv_error *err)
{
    vv_db *db = m->table->db;
    db_shard *shard = m->table->shard;
    for (;;) {
        engine_read read = {.version = db->ops->visible(shard->eng), .now_ns = db_read_time(db)};
        vv_status st = read_at(m, &read, err);
        if (VV_LIKELY(db_check_floor(db, shard, m->table->cat->id, read.version, NULL) == VV_OK))
            return st;
        drop_found(m);
    }
}

vv_status vv_multi_get(vv_table *table, const vv_snapshot *snapshot, const vv_slice *keys,
                       size_t count, vv_value *values, vv_status *status, vv_error *err)
{
    multi m = {.table = table, .count = count, .status = status};
    vv_status st = check(table, keys, count, err);
    if (st == VV_OK && table->partition_count > 1)
        return db_parts_multi_get(table, snapshot, keys, count, values, status, err);
    if (st == VV_OK && count > 0)
        st = take_keys(&m, keys, err);
    if (st != VV_OK)
        return fail_all(status, count, st);
    if (count == 0)
        return VV_OK;
    if (snapshot == NULL) {
        st = read_now(&m, err);
    } else {
        assert(snapshot->db == table->db);
        engine_read read = {.version = snapshot->version[table->shard->id],
                            .now_ns = snapshot->time_ns};
        st = read_at(&m, &read, err);
    }
    for (size_t i = 0; i < count; i++)
        if (status[i] == VV_OK)
            db_hand_out(&m.found[i], &values[i]);
    vv_free(m.keys);
    return st;
}
