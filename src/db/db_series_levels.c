/*
 * db_series_levels.c - a part whose samples lie in buckets of several classes, in time order.
 *
 *     level 0   |............................|        coarse, written first
 *     level 1          |......|      |......|
 *     level 2          |.|  |.|                       fine, written last
 *               |  0   |J| 1|J|  0   |   J  |         segments: where a level's bucket begins or
 * ends
 *
 * Each class walks over its own buckets. A segment that only one level has is read as it lies; one
 * that several have (J) is decoded, the coarsest first, so that of one time the finest stays, and
 * given as raw chunks. A segment is never longer than its finest bucket, which bounds the memory.
 */
#include <string.h>

#include "base/error.h"
#include "db/db_series_int.h"

#define JOINED_CHUNK SERIES_CHUNK_MAX

void db_series_levels_enter(db_series_reader *r)
{
    unsigned class = r->class;
    uint32_t n = 0;
    r->part_high = r->high;
    r->joined_given = 0;
    series_columns_clear(&r->joined);
    while (class != DB_SERIES_NO_CLASS && n < DB_SERIES_LEVELS_MAX) {
        r->level[n] = (db_series_level){.at = r->level[n].at, .class = class, .last = INT64_MIN};
        class = db_series_finer_used(r->entry, class);
        n++;
    }
    r->level_count = n > 1 ? n : 0;
}

/* The level's bucket that has pos, or the next one behind it. */
static vv_status seek(db_series_reader *r, db_series_level *l, int64_t pos, vv_error *err)
{
    uint8_t key[DB_SERIES_DATA_KEY];
    vv_status st = db_series_open_cursor(r, &l->at, err);
    if (st != VV_OK)
        return st;
    size_t len = db_series_data_key(r->entry->id, l->class, db_series_bucket(l->class, pos), key);
    st = vv_cursor_seek(l->at, vv_slice_of(key, len), err);
    if (st != VV_OK)
        return st;
    l->is_there = false;
    l->last = INT64_MAX;
    if (!vv_cursor_valid(l->at))
        return VV_OK;
    vv_slice k = vv_cursor_key(l->at);
    if (k.len != DB_SERIES_DATA_KEY || memcmp(k.data, key, 10) != 0)
        return VV_OK;
    int64_t bucket = db_time_decode(k.data + 10);
    l->is_there = true;
    l->begin = db_series_bucket_begin(l->class, bucket);
    l->last = db_series_bucket_last(l->class, bucket);
    return VV_OK;
}

/* The samples of the segment that a level has, behind those of coarser ones. */
static vv_status join(db_series_reader *r, const db_series_level *l, vv_error *err)
{
    db_series_piece piece;
    vv_status st = db_series_open_set(r, l->at, err);
    while (st == VV_OK && (st = db_series_set_piece(r, &piece, err)) == VV_OK)
        st = db_series_take_chunk(piece.chunk, r->low, r->high, &r->joined, err);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* Read the segment: r->set, or r->joined where `count` levels have it. */
static vv_status open_segment(db_series_reader *r, unsigned count, vv_error *err)
{
    vv_status st = VV_OK;
    series_columns_clear(&r->joined);
    r->joined_given = 0;
    for (uint32_t i = 0; st == VV_OK && i < r->level_count; i++) {
        const db_series_level *l = &r->level[i];
        if (!l->is_there || l->begin > r->low)
            continue;
        if (count == 1)
            return db_series_open_set(r, l->at, err);
        st = join(r, l, err);
    }
    if (st == VV_OK)
        st = series_columns_sort(&r->joined, err);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "series %llu", (unsigned long long)r->entry->id);
}

/* To the next segment that some level has. VV_NOT_FOUND behind the part. */
static vv_status next_segment(db_series_reader *r, vv_error *err)
{
    while (!r->is_begun || r->high < r->part_high) {
        int64_t low = r->is_begun ? r->high + 1 : r->low;
        int64_t high = r->part_high;
        unsigned count = 0;
        for (uint32_t i = 0; i < r->level_count; i++) {
            db_series_level *l = &r->level[i];
            vv_status st = r->is_begun && l->last >= low ? VV_OK : seek(r, l, low, err);
            if (st != VV_OK)
                return st;
            bool has_it = l->is_there && l->begin <= low;
            int64_t end = !l->is_there ? INT64_MAX : has_it ? l->last : l->begin - 1;
            high = end < high ? end : high;
            count += has_it;
        }
        r->is_begun = true;
        r->low = low;
        r->high = high;
        if (count > 0)
            return open_segment(r, count, err);
    }
    return VV_NOT_FOUND;
}

/* The next samples that were joined, as a chunk. */
static vv_status give_joined(db_series_reader *r, db_series_piece *out, vv_error *err)
{
    uint32_t left = r->joined.count - r->joined_given;
    series_samples all = series_columns_view(&r->joined);
    series_samples part =
        series_samples_part(&all, r->joined_given, left < JOINED_CHUNK ? left : JOINED_CHUNK);
    vv_buf_reset(&r->chunk);
    series_chunk_encode(&part, SERIES_RAW, NULL, &r->chunk);
    if (r->chunk.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "no memory to read samples");
    r->joined_given += part.count;
    out->chunk = vv_buf_slice(&r->chunk);
    out->is_whole = true;
    return series_chunk_head(out->chunk, &out->head, err);
}

vv_status db_series_levels_next(db_series_reader *r, db_series_piece *out, vv_error *err)
{
    for (;;) {
        if (r->joined_given < r->joined.count)
            return give_joined(r, out, err);
        vv_status st = db_series_set_piece(r, out, err);
        if (st != VV_NOT_FOUND)
            return st;
        st = next_segment(r, err);
        if (st != VV_OK)
            return st;
    }
}
