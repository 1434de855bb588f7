/*
 * db_series_repeat.c - samples that come again: are they in the store as they are?
 *
 * Asked of late samples whose day is rolled up, where writing them would have the day made anew.
 * The answer holds while no other append of the series is in flight: nothing then stands between
 * what is read here and what would be written.
 */
#include <string.h>

#include "db/db_series_samples.h"

static bool is_same(const series_samples *a, uint32_t i, const series_samples *b, uint32_t k)
{
    uint32_t qa = a->quality == NULL ? VV_QUALITY_GOOD : a->quality[i];
    uint32_t qb = b->quality == NULL ? VV_QUALITY_GOOD : b->quality[k];
    size_t size = series_value_size(a->type);
    if (a->type != b->type || a->time[i] != b->time[k] || qa != qb)
        return false;
    if (a->type == SERIES_STRING)
        return vv_slice_eq(a->value.string[i], b->value.string[k]);
    return memcmp((const uint8_t *)a->value.any + i * size,
                  (const uint8_t *)b->value.any + k * size, size) == 0;
}

/* Those that lie in a piece, from *n on, which moves behind them. */
static bool is_in_piece(const series_samples *in, uint32_t *n, const series_columns *piece)
{
    series_samples v = series_columns_view(piece);
    for (uint32_t k = 0; k < v.count && *n < in->count; k++) {
        if (v.time[k] < in->time[*n])
            continue;
        if (!is_same(in, *n, &v, k))
            return false;
        ++*n;
    }
    return true;
}

bool db_series_is_repeat(vv_samples *s, const db_series_slot *slot, const series_samples *in)
{
    db_series_reader r;
    db_series_piece piece;
    series_columns columns;
    uint32_t n = 0;
    if (db_series_reader_open(&r, &s->table, NULL, NULL) != VV_OK)
        return false;
    series_columns_init(&columns);
    db_series_reader_begin(&r, slot->entry, in->time[0], in->time[in->count - 1]);
    bool is_there = true;
    while (is_there && n < in->count) {
        is_there = db_series_reader_next(&r, &piece, NULL) == VV_OK &&
                   piece.head.first_time <= in->time[n];
        if (!is_there || piece.head.last_time < in->time[n])
            continue;
        series_columns_clear(&columns);
        is_there = db_series_reader_take(&r, &piece, &columns, NULL) == VV_OK &&
                   is_in_piece(in, &n, &columns);
    }
    db_series_reader_close(&r);
    series_columns_fini(&columns);
    return is_there;
}
