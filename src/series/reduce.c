/*
 * reduce.c - fewer points that look the same.
 *
 * Both cut what lies between the ends into buckets of as many points each, whatever their times, so
 * that a gap takes no budget.
 */
#include <math.h>

#include "series/points.h"
#include "series/series_int.h"

/* Where bucket i of `buckets` over the points 1..n-2 begins. */
static uint32_t bucket_begin(uint32_t i, uint32_t buckets, uint32_t n)
{
    return 1 + (uint32_t)((uint64_t)i * (n - 2) / buckets);
}

static uint32_t take_all(uint32_t n, uint32_t *out)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = i;
    return n;
}

/* Too few to have a bucket: the ends, as far as they go. */
static uint32_t take_ends(uint32_t n, uint32_t budget, uint32_t *out)
{
    if (budget > 0)
        out[0] = 0;
    if (budget > 1)
        out[1] = n - 1;
    return budget < 2 ? budget : 2;
}

/* The mean of the points [from, to), without NaN; times as distances from t0. */
static void mean_point(const int64_t *time, const double *value, uint32_t from, uint32_t to,
                       int64_t t0, double *x, double *y)
{
    double sum_x = 0;
    double sum_y = 0;
    uint32_t n = 0;
    for (uint32_t i = from; i < to; i++) {
        sum_x += (double)time[i] - (double)t0;
        if (!isnan(value[i])) {
            sum_y += value[i];
            n++;
        }
    }
    *x = sum_x / (to - from);
    *y = n > 0 ? sum_y / n : 0;
}

/* The point of [from, to) that spans the largest triangle with the point a and (cx, cy). */
static uint32_t largest(const int64_t *time, const double *value, uint32_t from, uint32_t to,
                        uint32_t a, double cx, double cy)
{
    double ay = isnan(value[a]) ? 0 : value[a];
    double best = -1;
    uint32_t picked = from;
    for (uint32_t i = from; i < to; i++) {
        double bx = (double)time[i] - (double)time[a];
        double area = fabs(bx * (cy - ay) - cx * (value[i] - ay));
        if (area > best || (isnan(area) && !isnan(value[i]) && best < 0)) {
            best = isnan(area) ? 0 : area;
            picked = i;
        }
    }
    return picked;
}

uint32_t series_pick_lttb(const int64_t *time, const double *value, uint32_t n, uint32_t budget,
                          uint32_t *out)
{
    if (n <= budget)
        return take_all(n, out);
    if (budget < 3)
        return take_ends(n, budget, out);
    uint32_t buckets = budget - 2;
    uint32_t count = 0;
    out[count++] = 0;
    for (uint32_t b = 0; b < buckets; b++) {
        uint32_t from = bucket_begin(b, buckets, n);
        uint32_t to = bucket_begin(b + 1, buckets, n);
        uint32_t next = b + 1 < buckets ? bucket_begin(b + 2, buckets, n) : n;
        double cx = 0;
        double cy = 0;
        mean_point(time, value, to, next, time[out[count - 1]], &cx, &cy);
        out[count] = largest(time, value, from, to, out[count - 1], cx, cy);
        count++;
    }
    out[count++] = n - 1;
    return count;
}

uint32_t series_pick_min_max(const int64_t *time, const double *value, uint32_t n, uint32_t budget,
                             uint32_t *out)
{
    (void)time;
    if (n <= budget)
        return take_all(n, out);
    if (budget < 4)
        return take_ends(n, budget, out);
    uint32_t buckets = (budget - 2) / 2;
    uint32_t count = 0;
    out[count++] = 0;
    for (uint32_t b = 0; b < buckets; b++) {
        uint32_t from = bucket_begin(b, buckets, n);
        uint32_t to = bucket_begin(b + 1, buckets, n);
        uint32_t low = from;
        uint32_t high = from;
        for (uint32_t i = from + 1; i < to; i++) {
            if (value[i] < value[low] || (isnan(value[low]) && !isnan(value[i])))
                low = i;
            if (value[i] > value[high] || (isnan(value[high]) && !isnan(value[i])))
                high = i;
        }
        out[count++] = low < high ? low : high;
        if (low != high)
            out[count++] = low < high ? high : low;
    }
    out[count++] = n - 1;
    return count;
}
