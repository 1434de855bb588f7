/*
 * series_int.h - shared inside src/series.
 */
#ifndef VARVE_SERIES_SERIES_INT_H
#define VARVE_SERIES_SERIES_INT_H

#include "base/util.h"
#include "series/samples.h"

/* A time and where its sample stands: what is sorted in place of the columns. */
typedef struct series_place {
    int64_t time;
    uint32_t index;
    uint32_t pad;
} series_place;

/** Bytes of work that sorting n places takes. */
size_t series_sort_work(uint32_t n);
/** Sort stably by time. work has series_sort_work(n) bytes, aligned to 16; the result is one of its
 * two halves. place(i) is filled by the caller into the first half: series_sort_places. */
series_place *series_sort_places(void *work);
series_place *series_sort(void *work, uint32_t n);

/** True when [first, last] touches one of the ranges; *whole: it lies in one of them. */
bool series_ranges_touch(const series_range *range, uint32_t n, int64_t first, int64_t last,
                         bool *whole);

#endif
