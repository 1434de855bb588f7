/*
 * sort.c - a stable merge sort that takes the runs it finds.
 *
 * Samples come sorted, or nearly: a few late ones, a few producers one behind the other. So the
 * sort looks for rising runs (and strictly falling ones, which it turns round), lengthens short
 * ones to RUN_MIN by insertion, and merges neighbours until one is left: O(n) for one run, O(n log
 * runs) else, at most O(n log n).
 */
#include <string.h>

#include "series/series_int.h"

#define RUN_MIN 16u

/* work:  n places | n places | ends of runs, u32 each */
size_t series_sort_work(uint32_t n)
{
    return 2 * (size_t)n * sizeof(series_place) + ((size_t)n / RUN_MIN + 2) * sizeof(uint32_t);
}

series_place *series_sort_places(void *work)
{
    return work;
}

static void reverse(series_place *p, uint32_t from, uint32_t to)
{
    while (from + 1 < to) {
        series_place swap = p[from];
        p[from++] = p[--to];
        p[to] = swap;
    }
}

/* The end of the run that begins at from, made rising. */
static uint32_t find_run(series_place *p, uint32_t from, uint32_t n)
{
    uint32_t end = from + 1;
    if (end < n && p[end].time < p[from].time) {
        while (end < n && p[end].time < p[end - 1].time)
            end++;
        reverse(p, from, end);
    }
    while (end < n && p[end].time >= p[end - 1].time)
        end++;
    return end;
}

static void insert(series_place *p, uint32_t from, uint32_t sorted, uint32_t end)
{
    for (uint32_t i = sorted; i < end; i++) {
        series_place x = p[i];
        uint32_t j = i;
        for (; j > from && p[j - 1].time > x.time; j--)
            p[j] = p[j - 1];
        p[j] = x;
    }
}

static void merge(const series_place *a, uint32_t from, uint32_t mid, uint32_t end,
                  series_place *out)
{
    uint32_t i = from;
    uint32_t j = mid;
    uint32_t at = from;
    if (mid < end && mid > from && a[mid].time < a[mid - 1].time) {
        while (i < mid && j < end) {
            bool right = a[j].time < a[i].time; /* equal: the left one was there first */
            out[at++] = right ? a[j] : a[i];
            j += right;
            i += !right;
        }
    }
    memcpy(out + at, a + i, (mid - i) * sizeof *a);
    at += mid - i;
    memcpy(out + at, a + j, (end - j) * sizeof *a);
}

series_place *series_sort(void *work, uint32_t n)
{
    series_place *a = work;
    series_place *b = a + n;
    uint32_t *end = (uint32_t *)(void *)(b + n); /* of run i */
    uint32_t runs = 0;
    for (uint32_t at = 0; at < n;) {
        uint32_t sorted = find_run(a, at, n);
        uint32_t stop = at + RUN_MIN < n ? at + RUN_MIN : n;
        if (sorted < stop) {
            insert(a, at, sorted, stop);
            sorted = stop;
        }
        end[runs++] = at = sorted;
    }
    while (runs > 1) {
        uint32_t kept = 0;
        uint32_t from = 0;
        for (uint32_t r = 0; r < runs; r += 2) {
            uint32_t mid = end[r];
            uint32_t stop = r + 1 < runs ? end[r + 1] : mid;
            merge(a, from, mid, stop, b);
            end[kept++] = from = stop;
        }
        runs = kept;
        series_place *swap = a;
        a = b;
        b = swap;
    }
    return a;
}
