/*
 * db_series_room.c - whether a bucket has room for more samples.
 *
 * A bucket is one key, and what is under one key is folded as a whole: so its weight is bounded.
 * How dense the samples of a time are is known when they have come, and its bucket is fixed by
 * then. A bucket that would pass the bound is full for ever: later samples of its time go to
 * buckets of a finer class, which may become full too.
 *
 *     class 1 d    |............... full ...............|      older
 *     class 1 h    |....|    |....| full |....|                newer, where there is one
 *     class 1 min            |.|.|.|.|.|.|.|.|                 newer still
 *
 * So of two samples of one time that lie in different classes the finer one was written later: what
 * was written before a bucket became full lies in it, what comes after lies below.
 *
 * The bound holds because what is known of a bucket is never too little: the weight the store has,
 * and all that was in flight of the series when it was looked at; what was given a place since is
 * added, and a look that others overtook is repeated. That a bucket is full is remembered while
 * anything of the series is in flight, then the store knows it. A weight counts repeats, so before
 * a bucket is taken for full the store is asked.
 *
 * The finest class holds a microsecond: a thousand times at most, which have room.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_series_int.h"

/* What is remembered of a bucket, moved to the front; NULL. */
static db_series_fill *find(db_series_entry *e, unsigned class, int64_t bucket)
{
    for (unsigned i = 0; i < DB_SERIES_FILLS; i++) {
        db_series_fill f = e->fill[i];
        if (!f.is_known || f.bucket != bucket || f.class != class)
            continue;
        memmove(e->fill + 1, e->fill, i * sizeof f);
        e->fill[0] = f;
        return &e->fill[0];
    }
    return NULL;
}

static void remember(db_series_entry *e, unsigned class, int64_t bucket, uint64_t weight,
                     bool is_full)
{
    db_series_fill *f = find(e, class, bucket);
    if (f == NULL)
        memmove(e->fill + 1, e->fill, (DB_SERIES_FILLS - 1) * sizeof *f);
    e->fill[0] = (db_series_fill){.bucket = bucket,
                                  .class = class,
                                  .weight = (uint32_t)weight,
                                  .is_known = true,
                                  .is_full = is_full};
}

static bool is_closing(const db_series_entry *e, unsigned class, int64_t bucket)
{
    for (uint32_t i = 0; i < e->closing_count; i++)
        if (e->closing[i].bucket == bucket && e->closing[i].class == class)
            return true;
    return false;
}

/* From here on samples of the bucket's time go to the next class. */
static vv_status close_bucket(db_series_entry *e, unsigned class, int64_t bucket, vv_error *err)
{
    db_series_fill *more = vv_realloc(e->closing, (e->closing_count + 1) * sizeof *more);
    if (more == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for samples");
    e->closing = more;
    more[e->closing_count++] = (db_series_fill){.bucket = bucket, .class = class};
    remember(e, class, bucket, 0, true);
    atomic_fetch_or_explicit(&e->overflow, UINT32_C(1) << db_series_finer[class],
                             memory_order_release);
    return VV_OK;
}

void db_series_closed(db_series_entry *e)
{
    vv_free(e->closing);
    e->closing = NULL;
    e->closing_count = 0;
}

/* Has it room by what is remembered? Then that is taken. */
static bool take_room(const db_series *s, db_series_entry *e, unsigned class, int64_t bucket,
                      uint64_t weight, bool *is_full)
{
    db_series_fill *f = find(e, class, bucket);
    *is_full = f != NULL ? f->is_full : is_closing(e, class, bucket);
    if (*is_full)
        return true;
    if (f == NULL || f->weight + weight > s->fill_max)
        return false;
    f->weight += (uint32_t)weight;
    return true;
}

/* No sample of the series has reached the bucket, in the store or in flight. */
static bool is_untouched(const db_series_entry *e, const db_series_place *place, unsigned class,
                         int64_t bucket)
{
    return e->newest_known && e->places == place->places &&
           (place->newest_before == INT64_MIN ||
            db_series_bucket_begin(class, bucket) > place->newest_before);
}

bool db_series_find_room_fast(db_series *s, db_series_entry *e, const db_series_place *place,
                              int64_t first, int64_t last)
{
    uint32_t parts = atomic_load_explicit(&e->part_count, memory_order_relaxed);
    uint32_t part = db_series_part_of(e, parts, last);
    unsigned class = e->part[part].class;
    int64_t bucket = db_series_bucket(class, last);
    bool is_full;
    if (first < e->part[part].from || db_series_bucket(class, first) != bucket ||
        atomic_load_explicit(&e->overflow, memory_order_relaxed) != 0)
        return false;
    if (!take_room(s, e, class, bucket, place->own, &is_full)) {
        if (!is_untouched(e, place, class, bucket))
            return false;
        remember(e, class, bucket, place->own, false);
    }
    e->places += !is_full;
    return !is_full;
}

/* What the store has of a bucket. */
static vv_status look(vv_table *table, const db_series_entry *e, unsigned class, int64_t bucket,
                      uint64_t *weight, bool *is_full, vv_error *err)
{
    uint8_t key[DB_SERIES_DATA_KEY];
    vv_table part = db_series_part_at(table, e->id);
    vv_value value = {0};
    series_measure m = {0};
    *weight = 0;
    *is_full = false;
    size_t len = db_series_bucket_key(DB_SERIES_FULL, e->id, class, bucket, key);
    vv_status st = vv_get(&part, NULL, vv_slice_of(key, len), &value, err);
    vv_value_release(&value);
    *is_full = st == VV_OK;
    if (st != VV_NOT_FOUND)
        return st;
    len = db_series_data_key(e->id, class, bucket, key);
    st = vv_get(&part, NULL, vv_slice_of(key, len), &value, err);
    if (st == VV_OK && !series_set_measure(value.data, &m))
        st = vv_fail(err, VV_CORRUPT, "series %llu: a bucket of samples is malformed",
                     (unsigned long long)e->id);
    vv_value_release(&value);
    *weight = m.weight;
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* Decide by what the store had, and what was in flight then. */
static vv_status decide(const db_series *s, db_series_entry *e, unsigned class, int64_t bucket,
                        uint64_t base, uint64_t weight, bool *is_full, vv_error *err)
{
    bool is_finest = db_series_finer[class] == DB_SERIES_NO_CLASS;
    uint64_t max = is_finest ? SERIES_SET_WEIGHT_MAX : s->fill_max;
    if (*is_full || base == 0 || base + weight <= max) {
        remember(e, class, bucket, *is_full ? 0 : base + weight, *is_full);
        return VV_OK;
    }
    *is_full = true;
    return is_finest ? VV_OK : close_bucket(e, class, bucket, err);
}

vv_status db_series_find_room(db_series *s, vv_table *table, db_series_entry *e,
                              db_series_place *place, unsigned class, int64_t bucket, int64_t last,
                              uint64_t weight, bool *is_full, vv_error *err)
{
    vv_status st = VV_OK;
    bool is_done = db_series_finer[class] == DB_SERIES_NO_CLASS && e->type != VV_STRING;
    *is_full = false;
    vv_mutex_lock(&s->lock);
    is_done = is_done || take_room(s, e, class, bucket, weight, is_full);
    while (st == VV_OK && !is_done) {
        uint64_t places = e->places;
        uint64_t base = e->flying - place->own;
        uint64_t stored = 0;
        if (db_series_bucket_begin(class, bucket) <= place->placed_last)
            base += place->placed;
        if (!is_untouched(e, place, class, bucket)) {
            vv_mutex_unlock(&s->lock);
            st = look(table, e, class, bucket, &stored, is_full, err);
            vv_mutex_lock(&s->lock);
        }
        is_done = e->places == places;
        if (st == VV_OK && is_done)
            st = decide(s, e, class, bucket, base + stored, weight, is_full, err);
        else if (st == VV_OK) /* others were given places meanwhile */
            is_done = take_room(s, e, class, bucket, weight, is_full);
    }
    if (st == VV_OK) {
        bool was_first = e->places == place->places;
        e->places++;
        place->places = was_first ? e->places : UINT64_MAX;
    }
    vv_mutex_unlock(&s->lock);
    if (st == VV_OK && !*is_full) {
        place->placed += weight;
        place->placed_last = last;
    }
    return st;
}
