/*
 * db_series_count.c - how many series a table has, known without a walk over all of them.
 *
 *     ids of a partition   1 ... [N: so many of those below X are series] ... X ... next
 *                                                                          '- walked at first use
 *
 * Opening reads 'N' and counts the records from X on. 'N' is written in the background, once some
 * thousand series came that it does not count, at a moment when no series is between its making
 * and the log: then every id below the next one is a series in the log, or none for ever. It is
 * written under series_lock, as drops are, and a drop of series below X writes it, too, in its own
 * entry. So at every position of the log 'N' is true.
 */
#include "base/error.h"
#include "db/db_series_rollup.h"

#define FORMAT 1u
#define COUNT_SIZE 17u

/* ---- at first use ---- */

/* Ids are never given twice, also when the last series was dropped. */
static vv_status read_next_id(db_series_tally *y, vv_table *part, uint32_t p, uint32_t count,
                              vv_error *err)
{
    static const uint8_t key = DB_SERIES_COUNTER;
    vv_value value = {0};
    vv_status st = vv_get(part, NULL, vv_slice_of(&key, 1), &value, err);
    if (st == VV_NOT_FOUND)
        return VV_OK;
    if (st != VV_OK)
        return st;
    uint64_t next = value.data.len == 8 ? vv_get_le64(value.data.data) : 0;
    vv_value_release(&value);
    if (next == 0 || next % count != p)
        return vv_fail(err, VV_CORRUPT, "the counter of series is malformed");
    y->next_id = next > y->next_id ? next : y->next_id;
    return VV_OK;
}

vv_status db_series_count_parse(db_series_tally *y, vv_slice value, vv_error *err)
{
    if (value.len > 0 && value.data[0] > FORMAT)
        return vv_fail(err, VV_UNSUPPORTED, "a newer varve wrote the count of series");
    if (value.len != COUNT_SIZE)
        return vv_fail(err, VV_CORRUPT, "the count of series is malformed");
    y->below = vv_get_le64(value.data + 1);
    y->counted = vv_get_le64(value.data + 9);
    return y->below == 0 || y->counted > y->below
               ? vv_fail(err, VV_CORRUPT, "the count of series is malformed")
               : VV_OK;
}

static vv_status parse_count(db_series_tally *y, vv_slice value, uint32_t p, uint32_t count,
                             vv_error *err)
{
    vv_status st = db_series_count_parse(y, value, err);
    if (st == VV_OK && y->below % count != p)
        st = vv_fail(err, VV_CORRUPT, "the count of series is malformed");
    if (st != VV_OK)
        return st;
    y->next_id = y->below > y->next_id ? y->below : y->next_id;
    y->count = y->counted;
    return VV_OK;
}

static vv_status read_count(db_series_tally *y, vv_table *part, uint32_t p, uint32_t count,
                            vv_error *err)
{
    static const uint8_t key = DB_SERIES_COUNT;
    vv_value value = {0};
    vv_status st = vv_get(part, NULL, vv_slice_of(&key, 1), &value, err);
    if (st == VV_NOT_FOUND)
        return VV_OK;
    if (st == VV_OK)
        st = parse_count(y, value.data, p, count, err);
    vv_value_release(&value);
    return st;
}

/* The series that 'N' does not count. */
static vv_status count_rest(db_series_tally *y, vv_table *part, uint32_t count, vv_error *err)
{
    static const uint8_t kind = DB_SERIES_RECORD;
    uint8_t from[9];
    vv_cursor *c = NULL;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.prefix = vv_slice_of(&kind, 1);
    (void)db_series_id_key(DB_SERIES_RECORD, y->below, from);
    vv_status st = vv_cursor_open(part, &opt, &c, err);
    if (st == VV_OK)
        st = vv_cursor_seek(c, vv_slice_of(from, sizeof from), err);
    while (st == VV_OK && vv_cursor_valid(c)) {
        vv_slice key = vv_cursor_key(c);
        uint64_t id = key.len == 9 ? vv_get_be64(key.data + 1) : 0;
        y->count++;
        y->next_id = id >= y->next_id ? id + count : y->next_id;
        st = vv_cursor_next(c, err);
    }
    vv_cursor_close(c);
    return st;
}

vv_status db_series_count_open(db_series *s, vv_table *table, vv_error *err)
{
    uint32_t count = s->partition_count;
    vv_status st = VV_OK;
    for (uint32_t p = 0; st == VV_OK && p < count; p++) {
        db_series_tally *y = &s->tally[p];
        vv_table part = db_part_at(table, p);
        *y = (db_series_tally){.next_id = p == 0 ? count : p}; /* 0 is no id */
        st = read_count(y, &part, p, count, err);
        if (st == VV_OK)
            st = count_rest(y, &part, count, err);
        if (st == VV_OK)
            st = read_next_id(y, &part, p, count, err);
        s->series_count += y->count;
        s->uncounted += y->count - y->counted;
    }
    return st;
}

/* ---- kept ---- */

static vv_status add_count(vv_batch *batch, uint32_t table_id, const db_series_tally *y,
                           vv_error *err)
{
    static const uint8_t key = DB_SERIES_COUNT;
    uint8_t value[COUNT_SIZE];
    value[0] = FORMAT;
    vv_put_le64(value + 1, y->below);
    vv_put_le64(value + 9, y->counted);
    return db_batch_add(batch, ENGINE_PUT, table_id, vv_slice_of(&key, 1),
                        vv_slice_of(value, sizeof value), 0, err);
}

/* It never waits for room: what finds none is tried again. *need grows to what is to be awaited. */
static vv_status keep_one(vv_db *db, vv_table *table, db_series_tally *y, uint32_t p,
                          uint64_t *need) VV_REQUIRES(db->series_lock)
{
    vv_batch batch;
    vv_table part = db_part_at(table, p);
    db_series_tally now = *y;
    now.below = y->next_id;
    now.counted = y->count;
    db_batch_init(&batch, db, NULL, 0);
    vv_status st = db_batch_bind(&batch, &part, NULL);
    if (st == VV_OK)
        st = add_count(&batch, table->cat->id, &now, NULL);
    if (st == VV_OK) {
        batch.is_internal = true;
        db_commit_begin(db, &batch, VV_DURABLE_NONE);
        st = db_append_once(db, &batch, NULL);
    }
    if (st == VV_OK) { /* what is logged from now on comes after it */
        *y = now;
        *need = batch.need > *need ? batch.need : *need;
    }
    db_batch_fini(&batch);
    return st;
}

static vv_status keep_all(vv_db *db, vv_table *table, db_series *s, uint64_t *need)
    VV_REQUIRES(db->series_lock)
{
    vv_status st = VV_OK;
    for (uint32_t p = 0; st == VV_OK && p < s->partition_count; p++)
        if (s->tally[p].below != s->tally[p].next_id)
            st = keep_one(db, table, &s->tally[p], p, need);
    if (st == VV_OK)
        s->uncounted = 0;
    return st;
}

/* False: it has to be tried again. */
static bool keep(vv_db *db, vv_table *table, db_series *s)
{
    uint64_t need = 0;
    vv_status st = VV_OK;
    vv_mutex_lock(&db->series_lock);
    vv_mutex_lock(&s->lock);
    bool is_settled = s->unlogged == 0;
    vv_mutex_unlock(&s->lock);
    bool is_due = s->uncounted >= s->count_every;
    if (is_due && is_settled)
        st = keep_all(db, table, s, &need);
    vv_mutex_unlock(&db->series_lock);
    return db_await(db, need, NULL) == VV_OK && st == VV_OK && (is_settled || !is_due);
}

void db_series_count_step(vv_db *db)
{
    cat_table **tables = NULL;
    size_t count = 0;
    bool is_done = true;
    if (!atomic_exchange_explicit(&db->series_uncounted, false, memory_order_acquire) ||
        db_check_writable(db, NULL) != VV_OK)
        return;
    if (cat_list(db->cat, NULL, &tables, &count, NULL) != VV_OK)
        is_done = false;
    for (size_t i = 0; i < count; i++) {
        vv_table table = db_table_of(db, tables[i]);
        db_series *s = tables[i]->kind == VV_TABLE_SERIES ? db_series_attached(tables[i]) : NULL;
        if (s != NULL && !atomic_load_explicit(&tables[i]->is_dropping, memory_order_acquire))
            is_done &= keep(db, &table, s);
    }
    if (tables != NULL)
        cat_list_free(tables, count);
    if (!is_done)
        atomic_store_explicit(&db->series_uncounted, true, memory_order_release);
}

/* ---- drops ---- */

vv_status db_series_count_add_drop(const db_series *s, vv_batch *batch, const cat_table *cat,
                                   uint32_t p, uint64_t below, vv_error *err)
{
    db_series_tally now = s->tally[p];
    if (below == 0)
        return VV_OK;
    now.counted -= below < now.counted ? below : now.counted;
    return add_count(batch, cat->id, &now, err);
}

void db_series_count_dropped(db_series *s, uint32_t p, uint64_t dropped, uint64_t below)
{
    db_series_tally *y = &s->tally[p];
    y->count -= dropped;
    y->counted -= below < y->counted ? below : y->counted;
    s->series_count -= dropped;
}
