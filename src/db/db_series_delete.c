/*
 * db_series_delete.c - delete samples of a range of time, and whole series.
 *
 * Buckets that lie in the range go by a range delete; at its ends a set that erases a part is
 * merged in. Both are entries like any write: what was logged before is gone, what comes later
 * stays. A series goes with everything that names it, when no append of it is in flight.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/point.h"
#include "db/db_series_rollup.h"
#include "engine/operand.h"

#define BATCH_BYTES (512u * 1024)

typedef struct deletion {
    vv_table *table;
    vv_table part; /* of the series at hand; an entry is of one partition */
    db_series *series;
    vv_batch *batch;
    db_series_set set;
    size_t begin; /* entries from here on are in the batch */
    int64_t first;
    int64_t last;
    vv_buf operand;
    uint64_t touched;
} deletion;

static int by_partition(const void *a, const void *b, void *ctx)
{
    uint32_t x = db_series_partition(ctx, (*(db_series_entry *const *)a)->id);
    uint32_t y = db_series_partition(ctx, (*(db_series_entry *const *)b)->id);
    return (x > y) - (x < y);
}

static vv_status enter(deletion *d, const db_series_entry *e, vv_error *err)
{
    d->part = db_series_part_at(d->table, e->id);
    return db_batch_bind(d->batch, &d->part, err);
}

/* The series are in the order of their partitions. */
static bool is_last_of_part(const deletion *d, size_t i)
{
    return i + 1 == d->set.count ||
           by_partition(&d->set.entry[i], &d->set.entry[i + 1], d->table) != 0;
}

static vv_status add(deletion *d, engine_kind kind, const uint8_t *key, size_t len, vv_slice value,
                     int64_t expires_ns, vv_error *err)
{
    return db_batch_add(d->batch, kind, d->table->cat->id, vv_slice_of(key, len), value, expires_ns,
                        err);
}

/* Everything from one key up to another. */
static vv_status add_range(deletion *d, const uint8_t *from, const uint8_t *to, size_t len,
                           vv_error *err)
{
    uint8_t end[ENGINE_TABLE_PREFIX + DB_SERIES_KEY_MAX];
    vv_put_be32(end, d->table->cat->id);
    memcpy(end + ENGINE_TABLE_PREFIX, to, len);
    return add(d, ENGINE_RANGE_DELETE, from, len, vv_slice_of(end, ENGINE_TABLE_PREFIX + len), 0,
               err);
}

/* ---- samples ---- */

/* A bucket that lies in the range in part. */
static vv_status erase_part(deletion *d, const db_series_entry *e, unsigned class, int64_t bucket,
                            vv_error *err)
{
    uint8_t key[DB_SERIES_DATA_KEY];
    uint8_t head[6];
    vv_value value = {0};
    size_t len = db_series_data_key(e->id, class, bucket, key);
    vv_status st = vv_get(&d->part, NULL, vv_slice_of(key, len), &value, err);
    vv_value_release(&value);
    if (st != VV_OK)
        return st == VV_NOT_FOUND ? VV_OK : st;
    vv_buf_reset(&d->operand);
    series_set_erase(d->first, d->last == INT64_MAX ? INT64_MAX : d->last + 1, &d->operand);
    vv_slice set = vv_buf_slice(&d->operand);
    vv_buf *b = &d->batch->scratch;
    vv_buf_reset(b);
    vv_buf_append(b, head, engine_step_head(ENGINE_SAMPLES, set.len, head));
    vv_buf_append_slice(b, set);
    if (b->status != VV_OK || d->operand.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a deletion");
    return add(d, ENGINE_MERGE, key, len, vv_buf_slice(b),
               db_series_expiry(class, bucket, e->retention_ns), err);
}

/* The buckets of one part of a series. */
static vv_status erase_buckets(deletion *d, const db_series_entry *e, unsigned class, int64_t low,
                               int64_t high, vv_error *err)
{
    uint8_t from[DB_SERIES_DATA_KEY];
    uint8_t to[DB_SERIES_DATA_KEY];
    int64_t head = db_series_bucket(class, low);
    int64_t tail = db_series_bucket(class, high);
    bool head_whole = db_series_bucket_begin(class, head) >= d->first &&
                      db_series_bucket_last(class, head) <= d->last;
    bool tail_whole = db_series_bucket_begin(class, tail) >= d->first &&
                      db_series_bucket_last(class, tail) <= d->last;
    vv_status st = VV_OK;
    if (!head_whole)
        st = erase_part(d, e, class, head, err);
    if (st == VV_OK && !tail_whole && tail != head)
        st = erase_part(d, e, class, tail, err);
    int64_t whole = head_whole ? head : head + 1;
    int64_t end = tail_whole ? tail + 1 : tail;
    if (st != VV_OK || whole >= end)
        return st;
    (void)db_series_data_key(e->id, class, whole, from);
    (void)db_series_data_key(e->id, class, end, to);
    return add_range(d, from, to, DB_SERIES_DATA_KEY, err);
}

static vv_status erase_series(deletion *d, const db_series_entry *e, vv_error *err)
{
    uint32_t parts = atomic_load_explicit(&e->part_count, memory_order_acquire);
    vv_status st = VV_OK;
    for (uint32_t i = 0; st == VV_OK && i < parts; i++) {
        int64_t last = db_series_part_last(e, parts, i);
        int64_t low = d->first > e->part[i].from ? d->first : e->part[i].from;
        int64_t high = d->last < last ? d->last : last;
        unsigned class = e->part[i].class;
        while (st == VV_OK && low <= high && class != DB_SERIES_NO_CLASS) {
            st = erase_buckets(d, e, class, low, high, err);
            class = db_series_finer_used(e, class);
        }
    }
    if (st == VV_OK)
        st = db_series_rollup_erase(d->batch, &d->part, e, d->first, d->last, err);
    return st;
}

/* Commit what is in the batch, and forget what was known of those series. */
static vv_status flush(deletion *d, size_t end, vv_error *err)
{
    vv_status st = VV_OK;
    vv_write_result result = {0};
    if (d->batch->op_count > 0)
        st = vv_write(d->table->db, d->batch, VV_DURABLE_SYNC, &result, err);
    vv_mutex_lock(&d->series->lock);
    if (VV_BUG(87)) /* a deleted sample stays the newest */
        d->begin = end;
    for (size_t i = d->begin; i < end; i++) /* after a failure nobody knows */
        db_series_latest_forget(d->set.entry[i], st == VV_OK ? result.version : INT64_MAX);
    vv_mutex_unlock(&d->series->lock);
    vv_batch_clear(d->batch);
    d->touched += st == VV_OK ? end - d->begin : 0;
    d->begin = end;
    return st;
}

static vv_status erase_all(deletion *d, vv_error *err)
{
    vv_status st = VV_OK;
    for (size_t i = 0; st == VV_OK && i < d->set.count; i++) {
        st = enter(d, d->set.entry[i], err);
        if (st == VV_OK)
            st = erase_series(d, d->set.entry[i], err);
        if (st == VV_OK && (d->batch->payload.len > BATCH_BYTES || is_last_of_part(d, i)))
            st = flush(d, i + 1, err);
    }
    return st;
}

static vv_status begin(deletion *d, const vv_matcher *matchers, size_t count, vv_error *err)
{
    vv_status st = db_series_of(d->table, &d->series, err);
    if (st == VV_OK)
        st = db_check_writable(d->table->db, err);
    if (st != VV_OK)
        return st;
    vv_buf_init(&d->operand, 4096);
    d->batch = vv_batch_create(d->table->db);
    if (d->batch == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a deletion");
    st = db_series_select(d->series, d->table, NULL, matchers, count, DB_SERIES_LIST_MAX, &d->set,
                          err);
    if (d->table->partition_count > 1 && d->set.count > 1)
        qsort_r(d->set.entry, d->set.count, sizeof(db_series_entry *), by_partition, d->table);
    return st;
}

static void end(deletion *d)
{
    if (d->series != NULL)
        db_series_set_fini(d->series, &d->set);
    vv_batch_destroy(d->batch);
    vv_buf_fini(&d->operand);
}

vv_status vv_series_delete(vv_table *table, const vv_matcher *matchers, size_t count,
                           int64_t start_ns, int64_t end_ns, uint64_t *series_touched,
                           vv_error *err)
{
    deletion d = {.table = table, .first = start_ns, .last = end_ns - (end_ns > INT64_MIN)};
    db_series *s = NULL;
    vv_status st = start_ns < end_ns ? db_series_of(table, &s, err) : VV_OK;
    if (st == VV_OK && s != NULL) {
        db_series_erase_begin(s);
        st = begin(&d, matchers, count, err);
        if (st == VV_OK)
            st = erase_all(&d, err);
        db_series_erase_end(s, true);
    }
    if (series_touched != NULL)
        *series_touched = d.touched;
    end(&d);
    return st;
}

/* ---- series ---- */

/* Everything that names the series. */
static vv_status add_drop(deletion *d, const db_series_entry *e, vv_error *err)
{
    static const uint8_t kinds[] = {DB_SERIES_DATA, DB_SERIES_FULL, DB_SERIES_CLASS};
    uint8_t key[DB_SERIES_KEY_MAX];
    uint8_t to[9];
    vv_slice none = vv_slice_of(NULL, 0);
    vv_status st =
        add(d, ENGINE_DELETE, key, db_series_id_key(DB_SERIES_RECORD, e->id, key), none, 0, err);
    if (st == VV_OK)
        st = add(d, ENGINE_DELETE, key, db_series_hash_key(db_series_labels(e), key), none, 0, err);
    for (size_t i = 0; st == VV_OK && i < sizeof kinds; i++) {
        (void)db_series_id_key(kinds[i], e->id, key);
        (void)db_series_id_key(kinds[i], e->id + 1, to);
        st = add_range(d, key, to, 9, err);
    }
    vv_slice rest = db_series_labels(e);
    vv_label l;
    while (st == VV_OK && db_series_label_next(&rest, &l)) {
        size_t len = db_series_posting_prefix(l.name, &l.value, key);
        vv_put_be64(key + len, e->id);
        st = add(d, ENGINE_DELETE, key, len + 8, none, 0, err);
    }
    if (st == VV_OK)
        st = db_series_rollup_drop(d->batch, &d->part, e->id, err);
    return st;
}

/* Let no new append take the series, and wait for those that have it. */
static void hold(deletion *d)
{
    vv_mutex_lock(&d->series->lock);
    for (size_t i = 0; i < d->set.count; i++)
        d->set.entry[i]->is_dropping = true;
    for (size_t i = 0; i < d->set.count; i++)
        while (d->set.entry[i]->in_flight > 0)
            vv_cond_wait(&d->series->idle, &d->series->lock);
    vv_mutex_unlock(&d->series->lock);
}

/* The first `dropped` of them are gone; the others stay. */
static void let_go(deletion *d, size_t dropped) VV_REQUIRES(d->table->db->series_lock)
{
    vv_mutex_lock(&d->series->lock);
    d->series->drops++;
    for (size_t i = 0; i < d->set.count; i++) {
        db_series_entry *e = d->set.entry[i];
        e->is_dropping = false;
        if (i < dropped && e->is_cached)
            db_series_uncache(d->series, e);
    }
    vv_mutex_unlock(&d->series->lock);
}

/* Commit the drop of the series from d->begin up to end, all of one partition. */
static vv_status flush_drop(deletion *d, size_t end, vv_error *err)
    VV_REQUIRES(d->table->db->series_lock)
{
    uint32_t p = db_series_partition(d->table, d->set.entry[d->begin]->id);
    uint64_t below = 0;
    for (size_t i = d->begin; i < end; i++)
        below += d->set.entry[i]->id < d->series->tally[p].below;
    vv_status st = db_series_count_add_drop(d->series, d->batch, d->table->cat, p, below, err);
    if (st == VV_OK)
        st = vv_write(d->table->db, d->batch, VV_DURABLE_SYNC, NULL, err);
    vv_batch_clear(d->batch);
    if (st != VV_OK)
        return st;
    vv_mutex_lock(&d->series->lock);
    db_series_count_dropped(d->series, p, end - d->begin, below);
    vv_mutex_unlock(&d->series->lock);
    d->begin = end;
    return st;
}

static vv_status drop_all(deletion *d, vv_error *err) VV_REQUIRES(d->table->db->series_lock)
{
    vv_status st = VV_OK;
    hold(d);
    for (size_t i = 0; st == VV_OK && i < d->set.count; i++) {
        st = enter(d, d->set.entry[i], err);
        if (st == VV_OK)
            st = add_drop(d, d->set.entry[i], err);
        if (st == VV_OK && (d->batch->payload.len > BATCH_BYTES || is_last_of_part(d, i)))
            st = flush_drop(d, i + 1, err);
    }
    let_go(d, d->begin);
    d->touched = d->begin;
    return st;
}

static vv_status check_drop(vv_table *table, const vv_matcher *matchers, size_t count,
                            vv_error *err)
{
    bool narrows = false;
    for (size_t i = 0; i < count; i++) {
        bool fits_empty = false;
        vv_status st = db_series_fits_empty(&matchers[i], table, &fits_empty, err);
        if (st != VV_OK)
            return st;
        narrows |= !fits_empty;
    }
    if (narrows)
        return VV_OK;
    return vv_fail(err, VV_INVALID,
                   "no matcher names the series to drop: to drop all, drop the table");
}

vv_status vv_series_drop(vv_table *table, const vv_matcher *matchers, size_t count,
                         uint64_t *dropped, vv_error *err)
{
    deletion d = {.table = table};
    db_series *s = NULL;
    vv_status st = check_drop(table, matchers, count, err);
    if (st == VV_OK)
        st = db_series_of(table, &s, err);
    if (st != VV_OK)
        return st;
    db_series_erase_begin(s); /* a step of rollups may wait for the lock that is taken next */
    vv_mutex_lock(&d.table->db->series_lock);
    st = begin(&d, matchers, count, err);
    if (st == VV_OK)
        st = drop_all(&d, err);
    vv_mutex_unlock(&d.table->db->series_lock);
    db_series_erase_end(s, false);
    if (dropped != NULL)
        *dropped = d.touched;
    end(&d);
    return st;
}
