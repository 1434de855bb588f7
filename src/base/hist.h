/*
 * hist.h - a log-linear histogram of durations or sizes (the shape of HdrHistogram): 64 ranges,
 * 16 linear steps each, so a percentile is off by at most 6.25 %.
 *
 * Recording is one relaxed add: any thread. Reading beside writers gives some recent state.
 */
#ifndef VARVE_BASE_HIST_H
#define VARVE_BASE_HIST_H

#include <stdatomic.h>
#include <stdint.h>

#define VV_HIST_STEPS 16
#define VV_HIST_BUCKETS (61 * VV_HIST_STEPS)

typedef struct vv_hist {
    _Atomic uint64_t bucket[VV_HIST_BUCKETS];
    _Atomic uint64_t count;
    _Atomic uint64_t sum;
    _Atomic uint64_t max;
} vv_hist;

/** All zero. A zero-filled vv_hist is also valid. */
void vv_hist_reset(vv_hist *h);
void vv_hist_add(vv_hist *h, uint64_t value);
/** Add the counts of from to h. */
void vv_hist_merge(vv_hist *h, const vv_hist *from);
/** The value at or below which fraction (0..1) of the values lie; 0 when empty. */
uint64_t vv_hist_percentile(const vv_hist *h, double fraction);
/** Values at or below bound, within the width of a bucket. For Prometheus bucket lines. */
uint64_t vv_hist_count_below(const vv_hist *h, uint64_t bound);

static inline uint64_t vv_hist_count(const vv_hist *h)
{
    return atomic_load_explicit(&h->count, memory_order_relaxed);
}

static inline uint64_t vv_hist_sum(const vv_hist *h)
{
    return atomic_load_explicit(&h->sum, memory_order_relaxed);
}

static inline uint64_t vv_hist_max(const vv_hist *h)
{
    return atomic_load_explicit(&h->max, memory_order_relaxed);
}

#endif
