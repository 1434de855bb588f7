/*
 * points.h - what is done with the points of windows: gaps filled, series joined, fewer picked.
 */
#ifndef VARVE_SERIES_POINTS_H
#define VARVE_SERIES_POINTS_H

#include "series/window.h"

typedef enum series_fill { /* in the order of the public enum */
                           SERIES_FILL_NONE,
                           SERIES_FILL_NULL,
                           SERIES_FILL_PREVIOUS,
                           SERIES_FILL_LINEAR,
                           SERIES_FILL_VALUE,
} series_fill;

/* A point outside of the range that a fill may lean on. */
typedef struct series_edge {
    bool is_there;
    int64_t time;
    double value;
} series_edge;

typedef struct series_fill_options {
    series_fill fill;
    double value;
    int64_t max_gap; /* ns between the points that a fill leans on and (previous) what is filled, or
                        (linear) each other; 0: any. What is farther is left out. */
    int64_t start, end, step, offset; /* of the windows; step > 0 */
    series_edge before, behind;       /* before start, at or behind end */
    uint32_t points_max;
} series_fill_options;

/** Append in, and a point for each window without one, to out. VV_INVALID: more than points_max
 * windows (the message names it), an unknown fill; VV_NO_MEMORY. */
VV_MUST_CHECK vv_status series_fill_points(const series_points *in, const series_fill_options *opt,
                                           series_points *out, vv_error *err);

/* Points of several series at the same times become one: count, sum, average, min or max. */
typedef struct series_across {
    series_aggregate aggregate;
    series_points sum; /* or min, or max */
    uint32_t *joined;  /* [sum.cap] series that had a point */
    uint32_t joined_cap;
    series_points other; /* what is merged into next */
    uint32_t *other_joined;
} series_across;

/** Can series be joined so? */
bool series_across_takes(series_aggregate aggregate);
void series_across_init(series_across *a, series_aggregate aggregate);
void series_across_fini(series_across *a);
/** One series' points, by time; nulls are passed over. VV_NO_MEMORY. O(points so far). */
VV_MUST_CHECK vv_status series_across_add(series_across *a, const series_points *in, vv_error *err);
/** Append the result to out and begin anew. */
VV_MUST_CHECK vv_status series_across_finish(series_across *a, series_points *out, vv_error *err);

/**
 * Pick points that look like all of them: largest triangle, three buckets (Steinarsson, 2013). The
 * ends stay. A NaN is picked only where its bucket has nothing else.
 *
 * @param out  [budget] the numbers of the picked, ascending.
 * @return how many: all, where n <= budget; else budget, at least 2 where budget is.
 */
uint32_t series_pick_lttb(const int64_t *time, const double *value, uint32_t n, uint32_t budget,
                          uint32_t *out);
/** The lowest and the highest of each of (budget - 2) / 2 buckets, and the ends. As above, but it
 * may be fewer than budget. */
uint32_t series_pick_min_max(const int64_t *time, const double *value, uint32_t n, uint32_t budget,
                             uint32_t *out);

#endif
