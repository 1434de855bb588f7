/*
 * db_read.c - point reads, and what makes a read without a pin safe.
 *
 * A read takes the newest visible version, then asks the engine, which looks at its current view.
 * Between the two a flush may put a view in place that lacks what this version needs: it was told a
 * floor above it. So every such read looks afterwards whether a higher floor was given away, and
 * if so begins again. Pinned snapshots need none of this: the engine keeps what they need.
 */
#include <string.h>

#include "base/error.h"
#include "db/db_int.h"

/* The newest reading is shared only once a millisecond: readers on many cores would otherwise pass
 * its cache line around with every get. A clock that is set back is so noticed to the millisecond.
 */
#define READ_CLOCK_STEP_NS VV_NS_PER_MS

int64_t db_read_time(vv_db *db)
{
    int64_t now = vv_clock_wall(db->env->clock);
    int64_t last = atomic_load_explicit(&db->read_clock_ns, memory_order_relaxed);
    if (VV_UNLIKELY(now < last))
        return last;
    if (VV_UNLIKELY(now - last >= READ_CLOCK_STEP_NS))
        (void)atomic_compare_exchange_strong_explicit(&db->read_clock_ns, &last, now,
                                                      memory_order_relaxed, memory_order_relaxed);
    return now;
}

vv_status db_check_table(const vv_table *table, vv_error *err)
{
    if (VV_LIKELY(!atomic_load_explicit(&table->cat->is_dropped, memory_order_acquire)))
        return VV_OK;
    return vv_fail(err, VV_NOT_FOUND, "table '%s' of tenant '%s' was dropped", table->cat->name,
                   table->cat->tenant);
}

vv_status db_check_floor(vv_db *db, db_shard *shard, uint32_t table_id, int64_t version,
                         vv_error *err)
{
    if (VV_LIKELY(atomic_load_explicit(&shard->floor_given, memory_order_acquire) <= version))
        return VV_OK;
    int64_t retention = cat_retention(db->cat, table_id);
    int64_t floor = retention == 0 ? atomic_load_explicit(&shard->floor_now, memory_order_acquire)
                                   : db_marks_floor(db, shard, retention);
    int64_t from_ns = retention == 0 ? 0 : cat_kept_from(db->cat, table_id);
    if (from_ns != 0) { /* what was kept for less long before may be gone behind that time */
        int64_t least = atomic_load_explicit(&shard->floor_given, memory_order_acquire);
        (void)db_marks_version_from(shard, from_ns, &least);
        floor = least > floor ? least : floor;
    }
    if (version >= floor)
        return VV_OK;
    return vv_fail(err, VV_UNSUPPORTED,
                   "version %lld is no longer kept: the table answers from version %lld on",
                   (long long)version, (long long)floor);
}

vv_status db_check_as_of(vv_table *table, int64_t version, vv_error *err)
{
    int64_t newest = table->db->ops->visible(table->shard->eng);
    if (version < 0)
        return vv_fail(err, VV_INVALID, "version %lld is none: they begin at 1",
                       (long long)version);
    if (version > newest)
        return vv_fail(err, VV_INVALID, "version %lld is not written yet: %lld is the newest",
                       (long long)version, (long long)newest);
    return VV_OK;
}

static vv_slice full_key(const vv_table *table, vv_slice key, uint8_t out[ENGINE_KEY_MAX])
{
    vv_put_be32(out, table->cat->id);
    memcpy(out + ENGINE_TABLE_PREFIX, key.data, key.len);
    return vv_slice_of(out, ENGINE_TABLE_PREFIX + key.len);
}

void db_hand_out(const engine_value *from, vv_value *out)
{
    out->data = from->data;
    out->version = from->version;
    out->expires_ns = from->expires_ns;
    out->pin[0] = from->pin;
    static_assert(sizeof(void *) == sizeof from->unpin, "a function fits a pointer");
    memcpy(&out->pin[1], &from->unpin, sizeof from->unpin);
}

static void take_back(const vv_value *from, engine_value *out)
{
    out->pin = from->pin[0];
    memcpy(&out->unpin, &from->pin[1], sizeof out->unpin);
}

void vv_value_release(vv_value *value)
{
    engine_value v = {0};
    take_back(value, &v);
    engine_value_release(&v);
    value->pin[1] = NULL;
    value->data = vv_slice_of(NULL, 0);
}

/* A read at a version that nothing pins: valid only if no higher floor was given away meanwhile. */
static vv_status get_unpinned(vv_table *table, vv_slice key, engine_read read, engine_value *out,
                              vv_status *floor_status, vv_error *err)
{
    read.now_ns = db_read_time(table->db);
    vv_status st = table->db->ops->get(table->shard->eng, key, &read, out, err);
    vv_error why;
    *floor_status = db_check_floor(table->db, table->shard, table->cat->id, read.version, &why);
    if (VV_UNLIKELY(*floor_status != VV_OK)) {
        if (st == VV_OK)
            engine_value_release(out);
        if (err != NULL)
            *err = why;
        return *floor_status;
    }
    return st;
}

static vv_status get_now(vv_table *table, vv_slice key, bool from_memory, engine_value *out,
                         vv_error *err)
{
    engine_read read = {.from_memory = from_memory};
    vv_status floor_status;
    vv_status st;
    do {
        read.version = table->db->ops->visible(table->shard->eng);
        st = get_unpinned(table, key, read, out, &floor_status, err);
    } while (VV_UNLIKELY(floor_status != VV_OK));
    return st;
}

/* key is the engine's. */
static vv_status get_as_of(vv_table *table, vv_slice key, int64_t version, bool from_memory,
                           engine_value *out, vv_error *err)
{
    engine_read read = {.version = version, .from_memory = from_memory};
    vv_status floor_status;
    return get_unpinned(table, key, read, out, &floor_status, err);
}

static vv_status check_get(const vv_table *table, vv_slice key, vv_error *err)
{
    vv_status st = db_check_table(table, err);
    return st == VV_OK ? db_check_key(key, VV_KEY_MAX, err) : st;
}

static vv_status finish_get(vv_status st, const engine_value *found, vv_value *out, vv_error *err)
{
    /* An answer more than a fault, and often wanted by the million: no formatting. */
    static const vv_error absent = {.status = VV_NOT_FOUND, .msg = "the key is not in the table"};
    if (st == VV_OK)
        db_hand_out(found, out);
    else if (st == VV_NOT_FOUND && err != NULL)
        *err = absent;
    return st;
}

vv_status vv_get(vv_table *table, const vv_snapshot *snapshot, vv_slice key, vv_value *out,
                 vv_error *err)
{
    vv_status st = check_get(table, key, err);
    if (st != VV_OK)
        return st;
    vv_table part;
    uint8_t bytes[ENGINE_KEY_MAX];
    engine_value found = {0};
    table = db_part_of(table, key, &part);
    key = full_key(table, key, bytes);
    if (snapshot == NULL) {
        st = get_now(table, key, false, &found, err);
    } else {
        assert(snapshot->db == table->db);
        engine_read read = {.version = snapshot->version[table->shard->id],
                            .now_ns = snapshot->time_ns};
        st = table->db->ops->get(table->shard->eng, key, &read, &found, err);
    }
    return finish_get(st, &found, out, err);
}

vv_status vv_get_at(vv_table *table, int64_t version, vv_slice key, vv_value *out, vv_error *err)
{
    vv_table part;
    table = db_part_of(table, key, &part);
    vv_status st = check_get(table, key, err);
    if (st == VV_OK)
        st = db_check_as_of(table, version, err);
    if (st != VV_OK)
        return st;
    uint8_t bytes[ENGINE_KEY_MAX];
    engine_value found = {0};
    st = get_as_of(table, full_key(table, key, bytes), version, false, &found, err);
    return finish_get(st, &found, out, err);
}

vv_status db_get_from_memory(vv_table *table, int64_t version, vv_slice key, vv_value *out,
                             bool *would_wait, vv_error *err)
{
    static const vv_error in_a_file = {.status = VV_BUSY, .msg = "the answer is in a file"};
    vv_table part;
    table = db_part_of(table, key, &part);
    vv_status st = check_get(table, key, err);
    *would_wait = false;
    if (st == VV_OK && version != 0)
        st = db_check_as_of(table, version, err);
    if (st != VV_OK)
        return st;
    uint8_t bytes[ENGINE_KEY_MAX];
    engine_value found = {0};
    key = full_key(table, key, bytes);
    st = version == 0 ? get_now(table, key, true, &found, err)
                      : get_as_of(table, key, version, true, &found, err);
    *would_wait = st == VV_BUSY;
    if (st == VV_BUSY && err != NULL)
        *err = in_a_file;
    return finish_get(st, &found, out, err);
}
