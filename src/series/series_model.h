/*
 * series_model.h - what windows, fills, groups and reductions come to, worked out the plain way for
 * tests: one window at a time over all samples of a series, without summaries, chunks or state.
 */
#ifndef VARVE_SERIES_SERIES_MODEL_H
#define VARVE_SERIES_SERIES_MODEL_H

#include <math.h>
#include <stdlib.h>

#include "series/points.h"
#include "vv_test.h"

#define MODEL_SAMPLES_MAX 4096u
#define MODEL_POINTS_MAX 8192u

typedef struct model_points {
    uint32_t count;
    int64_t time[MODEL_POINTS_MAX];
    double value[MODEL_POINTS_MAX];
    bool is_null[MODEL_POINTS_MAX];
} model_points;

static inline bool model_is_close(double a, double b, double share)
{
    if (isnan(a) || isnan(b))
        return isnan(a) && isnan(b);
    if (a == b)
        return true;
    double scale = fabs(a) > fabs(b) ? fabs(a) : fabs(b);
    return fabs(a - b) <= share * (scale > 1 ? scale : 1);
}

static inline void model_put(model_points *p, int64_t time, double value, bool is_null)
{
    assert_true(p->count < MODEL_POINTS_MAX);
    p->time[p->count] = time;
    p->value[p->count] = value;
    p->is_null[p->count++] = is_null;
}

/* ---- windows ---- */

static inline int64_t model_floor(int64_t t, int64_t step, int64_t offset)
{
    int64_t n = (t - offset) / step;
    if ((t - offset) % step < 0)
        n--;
    return n * step + offset;
}

static inline bool model_is_good(const series_samples *s, uint32_t i)
{
    return s->quality == NULL || s->quality[i] < UINT32_C(0x40000000);
}

/* Indices of the samples that count. */
static inline uint32_t model_pick(const series_samples *s, bool all_quality, uint32_t *out)
{
    uint32_t n = 0;
    assert_true(s->count <= MODEL_SAMPLES_MAX);
    for (uint32_t i = 0; i < s->count; i++)
        if (all_quality || model_is_good(s, i))
            out[n++] = i;
    return n;
}

static inline double model_number(const series_samples *s, uint32_t i)
{
    return s->type == SERIES_F64   ? s->value.f64[i]
           : s->type == SERIES_I64 ? (double)s->value.i64[i]
                                   : (double)s->value.b[i];
}

/* A window and the samples that count: of all[0..n), all[first..first + count) lie in it. */
typedef struct model_window {
    const series_samples *s;
    const uint32_t *all;
    uint32_t n, first, count;
    int64_t from, to;
} model_window;

static inline double model_value(const model_window *w, uint32_t i)
{
    return model_number(w->s, w->all[i]);
}

static inline int64_t model_time(const model_window *w, uint32_t i)
{
    return w->s->time[w->all[i]];
}

static inline double model_time_avg(const model_window *w, bool linear)
{
    double area = 0;
    double covered = 0;
    int64_t begin = w->first > 0 ? w->from : model_time(w, w->first);
    int64_t end = linear && w->first + w->count == w->n ? model_time(w, w->n - 1) : w->to;
    for (uint32_t i = w->first > 0 ? w->first - 1 : 0; i < w->first + w->count; i++) {
        int64_t t0 = model_time(w, i);
        double v0 = model_value(w, i);
        bool last = i + 1 == w->n;
        int64_t t1 = last ? end : model_time(w, i + 1);
        double v1 = linear && !last ? model_value(w, i + 1) : v0;
        int64_t a = t0 > begin ? t0 : begin;
        int64_t b = t1 < end ? t1 : end;
        if (b <= a)
            continue;
        double va = linear ? v0 + (v1 - v0) * ((double)(a - t0) / (double)(t1 - t0)) : v0;
        double vb = linear ? v0 + (v1 - v0) * ((double)(b - t0) / (double)(t1 - t0)) : v0;
        area += (va + vb) / 2 * (double)(b - a);
        covered += (double)(b - a);
    }
    return covered > 0 ? area / covered : model_value(w, w->first + w->count - 1);
}

static inline double model_spread(const model_window *w)
{
    double mean = 0;
    double m2 = 0;
    for (uint32_t i = 0; i < w->count; i++)
        mean += model_value(w, w->first + i) / w->count;
    for (uint32_t i = 0; i < w->count; i++)
        m2 += pow(model_value(w, w->first + i) - mean, 2);
    return sqrt(m2 / w->count);
}

static inline int model_by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static inline double model_percentile(const model_window *w, double p)
{
    static double v[MODEL_SAMPLES_MAX];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->count; i++)
        if (!isnan(model_value(w, w->first + i)))
            v[kept++] = model_value(w, w->first + i);
    if (kept == 0)
        return NAN;
    qsort(v, kept, sizeof *v, model_by_value);
    double rank = p / 100 * (kept - 1);
    uint32_t k = (uint32_t)rank;
    return k + 1 >= kept || rank == k || v[k] == v[k + 1] ? v[k]
                                                          : v[k] + (v[k + 1] - v[k]) * (rank - k);
}

static inline double model_extreme(const model_window *w, bool max)
{
    double x = NAN;
    for (uint32_t i = 0; i < w->count; i++) {
        double v = model_value(w, w->first + i);
        if (isnan(x) || (max ? v > x : v < x))
            x = v;
    }
    return x;
}

static inline double model_sum(const model_window *w)
{
    double sum = 0;
    for (uint32_t i = 0; i < w->count; i++)
        sum += model_value(w, w->first + i);
    return sum;
}

/* From the sample before the window, where there is one. */
static inline double model_increase(const model_window *w)
{
    double sum = 0;
    for (uint32_t i = w->first > 0 ? w->first : 1; i < w->first + w->count; i++) {
        double a = model_value(w, i - 1);
        double b = model_value(w, i);
        sum += b < a ? b : b - a;
    }
    return sum;
}

static inline bool model_percent_good(const model_window *w, double *out)
{
    uint32_t good = 0;
    uint32_t total = 0;
    for (uint32_t i = 0; i < w->s->count; i++)
        if (w->s->time[i] >= w->from && w->s->time[i] < w->to) {
            total++;
            good += model_is_good(w->s, i);
        }
    *out = 100.0 * good / (total > 0 ? total : 1);
    return total > 0;
}

static inline bool model_aggregate(const model_window *w, const series_window_options *o,
                                   double *out)
{
    if (o->aggregate == SERIES_AGG_PERCENT_GOOD)
        return model_percent_good(w, out);
    if (w->count == 0)
        return false;
    uint32_t base = w->first > 0 ? w->first - 1 : 0;
    uint32_t last = w->first + w->count - 1;
    switch (o->aggregate) {
    case SERIES_AGG_COUNT:
        *out = w->count;
        break;
    case SERIES_AGG_SUM:
        *out = model_sum(w);
        break;
    case SERIES_AGG_AVG:
        *out = model_sum(w) / w->count;
        break;
    case SERIES_AGG_MIN:
    case SERIES_AGG_MAX:
        *out = model_extreme(w, o->aggregate == SERIES_AGG_MAX);
        break;
    case SERIES_AGG_RANGE:
        *out = model_extreme(w, true) - model_extreme(w, false);
        break;
    case SERIES_AGG_FIRST:
        *out = model_value(w, w->first);
        break;
    case SERIES_AGG_LAST:
        *out = model_value(w, last);
        break;
    case SERIES_AGG_STDDEV:
        *out = model_spread(w);
        break;
    case SERIES_AGG_INCREASE:
        *out = model_increase(w);
        break;
    case SERIES_AGG_RATE:
        *out = model_increase(w) * 1e9 / (double)(model_time(w, last) - model_time(w, base));
        return last != base;
    case SERIES_AGG_PERCENTILE:
        *out = model_percentile(w, o->percentile);
        break;
    default:
        *out = model_time_avg(w, o->aggregate == SERIES_AGG_TIME_AVG_LINEAR);
        break;
    }
    return true;
}

/* The points of a whole series. */
static inline void model_windows(const series_samples *s, const series_window_options *o,
                                 model_points *out)
{
    static uint32_t all[MODEL_SAMPLES_MAX];
    uint32_t n = model_pick(s, o->all_quality, all);
    int64_t step = o->step > 0 ? o->step : o->end - o->start;
    int64_t begin = o->step > 0 ? model_floor(o->start, o->step, o->offset) : o->start;
    out->count = 0;
    for (int64_t t = begin; t < o->end; t += step) {
        double value = 0;
        model_window w = {.s = s, .all = all, .n = n};
        w.from = t > o->start ? t : o->start;
        w.to = t + step < o->end ? t + step : o->end;
        while (w.first < n && model_time(&w, w.first) < w.from)
            w.first++;
        while (w.first + w.count < n && model_time(&w, w.first + w.count) < w.to)
            w.count++;
        if (model_aggregate(&w, o, &value))
            model_put(out, t, value, false);
    }
}

/* ---- fills ---- */

/* The nearest point that is no null before (by < 0) or behind t; else the edge. */
static inline series_edge model_nearest(const model_points *p, int64_t t, int by,
                                        const series_edge *edge)
{
    series_edge found = {.is_there = false};
    for (uint32_t i = 0; i < p->count; i++) {
        bool is_near = by < 0 ? p->time[i] < t && (!found.is_there || p->time[i] > found.time)
                              : p->time[i] > t && (!found.is_there || p->time[i] < found.time);
        if (!p->is_null[i] && is_near)
            found = (series_edge){true, p->time[i], p->value[i]};
    }
    return found.is_there ? found : *edge;
}

static inline bool model_is_within(int64_t a, int64_t b, int64_t max_gap)
{
    return max_gap == 0 || b - a <= max_gap;
}

static inline void model_fill(const model_points *in, const series_fill_options *o,
                              model_points *out)
{
    uint32_t at = 0;
    out->count = 0;
    for (int64_t t = model_floor(o->start, o->step, o->offset); t < o->end; t += o->step) {
        if (at < in->count && in->time[at] == t) {
            model_put(out, t, in->value[at], in->is_null[at]);
            at++;
            continue;
        }
        series_edge left = model_nearest(in, t, -1, &o->before);
        series_edge right = model_nearest(in, t, 1, &o->behind);
        int64_t p = left.is_there && left.time >= t ? o->start : t; /* of a window cut at start */
        if (o->fill == SERIES_FILL_NULL)
            model_put(out, t, 0, true);
        if (o->fill == SERIES_FILL_VALUE)
            model_put(out, t, o->value, false);
        if (o->fill == SERIES_FILL_PREVIOUS && left.is_there &&
            model_is_within(left.time, p, o->max_gap))
            model_put(out, t, left.value, false);
        if (o->fill == SERIES_FILL_LINEAR && left.is_there && right.is_there &&
            model_is_within(left.time, right.time, o->max_gap)) {
            double part = (double)(p - left.time) / (double)(right.time - left.time);
            bool is_flat = left.value == right.value;
            model_put(out, t, is_flat ? left.value : left.value + (right.value - left.value) * part,
                      false);
        }
    }
}

/* ---- groups ---- */

static inline double model_join(series_aggregate a, double x, double y, uint32_t n)
{
    switch (a) {
    case SERIES_AGG_MIN:
        return n == 0 || isnan(x) || y < x ? y : x;
    case SERIES_AGG_MAX:
        return n == 0 || isnan(x) || y > x ? y : x;
    case SERIES_AGG_COUNT:
        return n + 1;
    default:
        return x + y;
    }
}

/* Points of several series at each of their times. */
static inline void model_across(const model_points *in, uint32_t count, series_aggregate a,
                                model_points *out)
{
    uint32_t at[16] = {0};
    assert_true(count <= ARRAY_LEN(at));
    out->count = 0;
    for (;;) {
        int64_t t = INT64_MAX;
        double v = 0;
        uint32_t n = 0;
        for (uint32_t i = 0; i < count; i++)
            if (at[i] < in[i].count && in[i].time[at[i]] < t)
                t = in[i].time[at[i]];
        if (t == INT64_MAX)
            return;
        for (uint32_t i = 0; i < count; i++) {
            if (at[i] == in[i].count || in[i].time[at[i]] != t)
                continue;
            if (!in[i].is_null[at[i]]) {
                v = model_join(a, v, in[i].value[at[i]], n);
                n++;
            }
            at[i]++;
        }
        if (n > 0)
            model_put(out, t, a == SERIES_AGG_AVG ? v / n : v, false);
    }
}

/* ---- reductions ---- */

static inline uint32_t model_bucket(uint32_t i, uint32_t buckets, uint32_t n)
{
    return 1 + (uint32_t)floorl((long double)i * (n - 2) / buckets);
}

/* Steinarsson, 2013, section 4.2: in each bucket the point that makes the largest triangle with the
 * one picked before and the mean of the next bucket. Of the picks, because of rounding: is each of
 * them as large as any? */
static inline void model_expect_lttb(const int64_t *time, const double *value, uint32_t n,
                                     uint32_t budget, const uint32_t *pick)
{
    uint32_t buckets = budget - 2;
    for (uint32_t b = 0; b < buckets; b++) {
        uint32_t from = model_bucket(b, buckets, n);
        uint32_t to = model_bucket(b + 1, buckets, n);
        uint32_t next = b + 2 <= buckets ? model_bucket(b + 2, buckets, n) : n;
        uint32_t a = pick[b];
        long double x = 0, y = 0, most = 0, mine = 0;
        for (uint32_t i = to; i < next; i++) {
            x += (long double)(time[i] - time[a]) / (next - to);
            y += (long double)value[i] / (next - to);
        }
        if (pick[b + 1] < from || pick[b + 1] >= to)
            fail_msg("bucket %u: %u is outside of [%u, %u)", b, pick[b + 1], from, to);
        for (uint32_t i = from; i < to; i++) {
            long double area =
                fabsl((long double)(time[i] - time[a]) * (y - (long double)value[a]) -
                      x * ((long double)value[i] - (long double)value[a]));
            most = area > most ? area : most;
            mine = i == pick[b + 1] ? area : mine;
        }
        if (mine < most * (1 - 1e-9L))
            fail_msg("bucket %u: a triangle of %Lg, there is one of %Lg", b, mine, most);
    }
}

/* The first lowest and the first highest point of each bucket, in the order of time. */
static inline uint32_t model_min_max(const double *value, uint32_t n, uint32_t budget,
                                     uint32_t *out)
{
    uint32_t buckets = (budget - 2) / 2;
    uint32_t count = 0;
    out[count++] = 0;
    for (uint32_t b = 0; b < buckets; b++) {
        uint32_t from = model_bucket(b, buckets, n);
        uint32_t low = from;
        uint32_t high = from;
        for (uint32_t i = from; i < model_bucket(b + 1, buckets, n); i++) {
            low = value[i] < value[low] ? i : low;
            high = value[i] > value[high] ? i : high;
        }
        out[count++] = low < high ? low : high;
        if (low != high)
            out[count++] = low < high ? high : low;
    }
    out[count++] = n - 1;
    return count;
}

#endif
