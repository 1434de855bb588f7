/*
 * db_series_read.c - the samples of one series in time order, chunk by chunk.
 *
 *   parts of the series, each with its class --> buckets of that class in the range --> chunks
 *
 * What a cursor shows of a bucket is settled: its chunks ascend and do not touch. Two parts of one
 * class may meet in a bucket, so each is read within its own times. Where buckets of a part were
 * full, db_series_levels.c joins them with the finer ones.
 */
#include <string.h>

#include "base/error.h"
#include "base/point.h"
#include "db/db_series_int.h"

vv_status db_series_open_cursor(const db_series_reader *r, vv_cursor **at, vv_error *err)
{
    static const uint8_t kind = DB_SERIES_DATA;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    if (*at != NULL)
        return VV_OK;
    vv_table part = db_part_at(r->table, r->partition);
    opt.snapshot = r->snapshot;
    opt.prefix = vv_slice_of(&kind, 1);
    return vv_cursor_open(&part, &opt, at, err);
}

vv_status db_series_reader_open(db_series_reader *r, vv_table *table, const vv_snapshot *at,
                                vv_error *err)
{
    *r = (db_series_reader){.is_done = true, .table = table, .snapshot = at};
    series_columns_init(&r->joined);
    vv_buf_init(&r->chunk, SERIES_SET_WEIGHT_MAX);
    return db_series_open_cursor(r, &r->at, err);
}

static void close_cursors(db_series_reader *r)
{
    for (unsigned i = 0; i < DB_SERIES_LEVELS_MAX; i++) {
        vv_cursor_close(r->level[i].at);
        r->level[i].at = NULL;
    }
    vv_cursor_close(r->at);
    r->at = NULL;
}

void db_series_reader_close(db_series_reader *r)
{
    close_cursors(r);
    series_columns_fini(&r->joined);
    vv_buf_fini(&r->chunk);
    *r = (db_series_reader){.is_done = true};
}

/* Narrow the range to a part. False when nothing of it is there. */
static bool enter_part(db_series_reader *r, uint32_t part)
{
    int64_t last = db_series_part_last(r->entry, r->part_count, part);
    int64_t from = r->entry->part[part].from;
    r->part = part;
    r->class = r->entry->part[part].class;
    r->level_count = 0;
    r->low = r->first > from ? r->first : from;
    r->high = r->last < last ? r->last : last;
    r->is_begun = false;
    r->has_set = false;
    return r->low <= r->high;
}

static bool begin_part(db_series_reader *r, uint32_t part)
{
    bool is_there = enter_part(r, part);
    db_series_levels_enter(r);
    return is_there;
}

void db_series_reader_begin(db_series_reader *r, const db_series_entry *e, int64_t first,
                            int64_t last)
{
    uint32_t partition = db_series_partition(r->table, e->id);
    if (partition != r->partition)
        close_cursors(r);
    r->partition = partition;
    r->entry = e;
    r->first = first;
    r->last = last;
    r->part_count = atomic_load_explicit(&e->part_count, memory_order_acquire);
    r->is_done = r->part_count == 0 || first > last;
    if (!r->is_done)
        (void)begin_part(r, db_series_part_of(e, r->part_count, first));
}

/* Does the cursor stand on a bucket of the part that may hold times from low to high? */
static bool is_in_part(const db_series_reader *r)
{
    uint8_t key[DB_SERIES_DATA_KEY];
    if (!vv_cursor_valid(r->at))
        return false;
    vv_slice k = vv_cursor_key(r->at);
    (void)db_series_data_key(r->entry->id, r->class, db_series_bucket(r->class, r->low), key);
    if (k.len != DB_SERIES_DATA_KEY || memcmp(k.data, key, DB_SERIES_DATA_KEY) < 0)
        return false;
    (void)db_series_data_key(r->entry->id, r->class, db_series_bucket(r->class, r->high), key);
    return memcmp(k.data, key, DB_SERIES_DATA_KEY) <= 0;
}

vv_status db_series_open_set(db_series_reader *r, const vv_cursor *at, vv_error *err)
{
    vv_status st = series_set_open(vv_cursor_value(at), &r->set, err);
    r->has_set = st == VV_OK;
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "series %llu", (unsigned long long)r->entry->id);
}

static void next_part(db_series_reader *r)
{
    r->is_done = r->part + 1 >= r->part_count || !begin_part(r, r->part + 1);
}

/* To the next bucket of the range, perhaps of a later part. VV_NOT_FOUND at the end, and where the
 * next part has levels. */
static vv_status next_bucket(db_series_reader *r, vv_error *err)
{
    uint8_t key[DB_SERIES_DATA_KEY];
    vv_status st = db_series_open_cursor(r, &r->at, err);
    r->has_set = false;
    while (st == VV_OK && !r->is_done && r->level_count == 0) {
        if (r->is_begun) {
            st = vv_cursor_next(r->at, err);
        } else {
            int64_t bucket = db_series_bucket(r->class, r->low);
            if (VV_BUG(82)) /* a bucket that begins before the range is passed over */
                bucket += db_series_bucket_begin(r->class, bucket) < r->low;
            size_t len = db_series_data_key(r->entry->id, r->class, bucket, key);
            st = vv_cursor_seek(r->at, vv_slice_of(key, len), err);
        }
        r->is_begun = true;
        if (st != VV_OK || is_in_part(r))
            break;
        next_part(r);
    }
    if (st != VV_OK)
        return st;
    return r->is_done || r->level_count > 0 ? VV_NOT_FOUND : db_series_open_set(r, r->at, err);
}

vv_status db_series_set_piece(db_series_reader *r, db_series_piece *out, vv_error *err)
{
    while (r->has_set) {
        vv_status st = series_set_next(&r->set, &out->chunk, &out->head, err);
        r->has_set = st == VV_OK && out->head.first_time <= r->high;
        if (st != VV_OK && st != VV_NOT_FOUND)
            return vv_wrap(err, st, "series %llu", (unsigned long long)r->entry->id);
        if (!r->has_set || out->head.last_time < r->low)
            continue;
        out->is_whole = out->head.first_time >= r->low && out->head.last_time <= r->high;
        return VV_OK;
    }
    return VV_NOT_FOUND;
}

vv_status db_series_reader_next(db_series_reader *r, db_series_piece *out, vv_error *err)
{
    vv_status st = VV_NOT_FOUND;
    while (st == VV_NOT_FOUND && !r->is_done) {
        if (r->level_count > 0) {
            st = db_series_levels_next(r, out, err);
            if (st == VV_NOT_FOUND)
                next_part(r);
            continue;
        }
        st = r->has_set ? VV_OK : next_bucket(r, err);
        if (st == VV_OK)
            st = db_series_set_piece(r, out, err);
    }
    return st;
}

/* Strings that lie in the cursor's value go with it. */
static vv_status keep_strings(series_columns *c, uint32_t from, vv_error *err)
{
    vv_slice *value = c->value;
    for (uint32_t i = from; c->type == SERIES_STRING && i < c->count; i++) {
        if (value[i].len == 0)
            continue;
        value[i] = vv_arena_dup(&c->text, value[i]);
        if (value[i].data == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for strings of a series");
    }
    return VV_OK;
}

vv_status db_series_take_chunk(vv_slice chunk, int64_t low, int64_t high, series_columns *out,
                               vv_error *err)
{
    uint32_t from = out->count;
    series_range outside[2];
    uint32_t n = 0;
    vv_status st = series_chunk_decode(chunk, out, err);
    if (st != VV_OK)
        return st;
    if (low > INT64_MIN)
        outside[n++] = (series_range){INT64_MIN, low};
    if (high < INT64_MAX)
        outside[n++] = (series_range){high + 1, INT64_MAX};
    series_columns_erase(out, from, outside, n);
    if (out->count > from && high < INT64_MAX && out->time[out->count - 1] == INT64_MAX)
        out->count--; /* a range has no end behind the last time there is */
    return VV_OK;
}

vv_status db_series_reader_take(const db_series_reader *r, const db_series_piece *piece,
                                series_columns *out, vv_error *err)
{
    uint32_t from = out->count;
    vv_status st = piece->is_whole ? series_chunk_decode(piece->chunk, out, err)
                                   : db_series_take_chunk(piece->chunk, r->low, r->high, out, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "series %llu", (unsigned long long)r->entry->id);
    return keep_strings(out, from, err);
}

/* The last sample of the bucket from low to high. VV_NOT_FOUND. */
static vv_status last_of_bucket(db_series_reader *r, series_columns *out, vv_error *err)
{
    db_series_piece piece = {.is_whole = false};
    db_series_piece best = {.is_whole = false};
    vv_slice chunk;
    series_head head;
    vv_status st = db_series_open_set(r, r->at, err);
    while (st == VV_OK) {
        st = series_set_next(&r->set, &chunk, &head, err);
        if (st == VV_OK && head.first_time <= r->high && head.last_time >= r->low) {
            piece.chunk = chunk;
            piece.head = head;
            best = piece;
        }
    }
    r->has_set = false;
    if (st != VV_NOT_FOUND || best.chunk.data == NULL)
        return st;
    uint32_t from = out->count;
    st = db_series_reader_take(r, &best, out, err);
    if (st != VV_OK)
        return st;
    if (out->count == from) /* a gap inside the chunk */
        return VV_NOT_FOUND;
    const series_range rest = {INT64_MIN, out->time[out->count - 1]};
    if (rest.to > INT64_MIN)
        series_columns_erase(out, from, &rest, 1);
    return VV_OK;
}

/* The last sample of the part in buckets of r->class. */
static vv_status last_of_part(db_series_reader *r, series_columns *out, vv_error *err)
{
    uint8_t key[DB_SERIES_DATA_KEY + 1];
    size_t len =
        db_series_data_key(r->entry->id, r->class, db_series_bucket(r->class, r->high), key);
    key[len++] = 0; /* behind the bucket */
    vv_status st = db_series_open_cursor(r, &r->at, err);
    if (st == VV_OK)
        st = vv_cursor_seek_below(r->at, vv_slice_of(key, len), err);
    while (st == VV_OK) {
        if (!is_in_part(r))
            return VV_NOT_FOUND;
        st = last_of_bucket(r, out, err);
        if (st != VV_NOT_FOUND)
            return st;
        st = vv_cursor_prev(r->at, err);
    }
    return st;
}

/* The last sample of the part: of those that its classes have, the last, of one time the finest. */
static vv_status last_of_levels(db_series_reader *r, series_columns *out, vv_error *err)
{
    while (r->class != DB_SERIES_NO_CLASS) {
        vv_status st = last_of_part(r, out, err);
        if (st != VV_OK && st != VV_NOT_FOUND)
            return st;
        r->class = db_series_finer_used(r->entry, r->class);
    }
    if (out->count == 0)
        return VV_NOT_FOUND;
    vv_status st = out->count == 1 ? VV_OK : series_columns_sort(out, err);
    if (st == VV_OK)
        series_columns_drop(out, out->count - 1);
    return st;
}

vv_status db_series_reader_last(db_series_reader *r, const db_series_entry *e, int64_t first,
                                int64_t last, series_columns *out, vv_error *err)
{
    assert(out->count == 0);
    db_series_reader_begin(r, e, first, last);
    vv_status st = VV_NOT_FOUND;
    if (r->is_done)
        return st;
    for (uint32_t part = r->part_count; st == VV_NOT_FOUND && part-- > 0;)
        if (enter_part(r, part))
            st = last_of_levels(r, out, err);
    r->is_done = true;
    return st;
}
