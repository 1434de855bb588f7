/*
 * points.c - fills, and joining series.
 */
#include "series/points.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "series/series_int.h"

/* ---- fills ---- */

/* to - from, at most INT64_MAX. */
static int64_t gap(int64_t from, int64_t to)
{
    uint64_t d = (uint64_t)to - (uint64_t)from;
    return d > INT64_MAX ? INT64_MAX : (int64_t)d;
}

static vv_status fill_one(const series_fill_options *o, int64_t t, const series_edge *left,
                          const series_edge *right, series_points *out, vv_error *err)
{
    bool is_far = o->max_gap > 0;
    /* The first window begins before the range; what it leans on may lie in between. */
    int64_t at = left->is_there && left->time >= t ? o->start : t;
    switch (o->fill) {
    case SERIES_FILL_NONE:
        break;
    case SERIES_FILL_NULL:
        return series_points_add(out, t, 0, true, err);
    case SERIES_FILL_VALUE:
        return series_points_add(out, t, o->value, false, err);
    case SERIES_FILL_PREVIOUS:
        if (!left->is_there || (is_far && gap(left->time, at) > o->max_gap))
            break;
        return series_points_add(out, t, left->value, false, err);
    case SERIES_FILL_LINEAR:
        if (!left->is_there || !right->is_there ||
            (is_far && gap(left->time, right->time) > o->max_gap))
            break;
        double part = (double)gap(left->time, at) / (double)gap(left->time, right->time);
        double rise = (right->value - left->value) * part;
        return series_points_add(
            out, t, left->value == right->value ? left->value : left->value + rise, false, err);
    }
    return VV_OK;
}

static series_edge edge_at(const series_points *p, uint32_t i)
{
    return (series_edge){.is_there = true, .time = p->time[i], .value = p->value[i]};
}

/* The first from i on that is no null. */
static series_edge next_edge(const series_points *p, uint32_t i, const series_edge *behind)
{
    while (i < p->count && p->is_null[i])
        i++;
    return i < p->count ? edge_at(p, i) : *behind;
}

static vv_status check_fill(const series_fill_options *o, vv_error *err)
{
    if ((unsigned)o->fill > SERIES_FILL_VALUE)
        return vv_fail(err, VV_INVALID, "series: no fill has the number %u", (unsigned)o->fill);
    if (o->fill == SERIES_FILL_NONE || o->end <= o->start)
        return VV_OK;
    if (o->step <= 0)
        return vv_fail(err, VV_INVALID, "series: a fill needs a step");
    uint64_t windows = ((uint64_t)o->end - (uint64_t)o->start) / (uint64_t)o->step;
    if (windows > UINT64_MAX - 2 || windows + 2 > o->points_max)
        return vv_fail(err, VV_INVALID,
                       "series: a fill of up to %llu points, at most %u are made: take a longer "
                       "step or a shorter range",
                       (unsigned long long)windows + 2, o->points_max);
    return VV_OK;
}

vv_status series_fill_points(const series_points *in, const series_fill_options *o,
                             series_points *out, vv_error *err)
{
    vv_status st = check_fill(o, err);
    uint32_t at = 0;
    if (st == VV_OK && o->fill != SERIES_FILL_NONE && o->end > o->start) {
        series_edge left = o->before;
        int64_t t = 0;
        int64_t end = 0;
        series_window_of(o->start, o->step, o->offset, &t, &end);
        series_edge right = next_edge(in, 0, &o->behind);
        while (st == VV_OK && t < o->end) {
            if (at < in->count && in->time[at] <= t) {
                st = series_points_add(out, in->time[at], in->value[at], in->is_null[at], err);
                left = in->is_null[at] ? left : edge_at(in, at);
                at++;
                right = next_edge(in, at, &o->behind);
                if (in->time[at - 1] < t)
                    continue; /* not of this grid */
            } else {
                st = fill_one(o, t, &left, &right, out, err);
            }
            if (end == INT64_MAX)
                break;
            t = end;
            end = t <= INT64_MAX - o->step ? t + o->step : INT64_MAX;
        }
    }
    for (; st == VV_OK && at < in->count; at++)
        st = series_points_add(out, in->time[at], in->value[at], in->is_null[at], err);
    return st;
}

/* ---- across series ---- */

bool series_across_takes(series_aggregate a)
{
    return a == SERIES_AGG_COUNT || a == SERIES_AGG_SUM || a == SERIES_AGG_AVG ||
           a == SERIES_AGG_MIN || a == SERIES_AGG_MAX;
}

void series_across_init(series_across *a, series_aggregate aggregate)
{
    assert(series_across_takes(aggregate));
    *a = (series_across){.aggregate = aggregate};
    series_points_init(&a->sum);
    series_points_init(&a->other);
}

void series_across_fini(series_across *a)
{
    series_points_fini(&a->sum);
    series_points_fini(&a->other);
    vv_free(a->joined);
    vv_free(a->other_joined);
    a->joined = NULL;
    a->other_joined = NULL;
    a->joined_cap = 0;
}

static double join(series_aggregate a, double x, double y)
{
    if (a == SERIES_AGG_MIN)
        return y < x || isnan(x) ? y : x;
    if (a == SERIES_AGG_MAX)
        return y > x || isnan(x) ? y : x;
    return x + y;
}

static vv_status grow_joined(series_across *a, uint32_t need, vv_error *err)
{
    if (need <= a->joined_cap)
        return VV_OK;
    uint32_t cap = need < UINT32_MAX / 2 ? need * 2 : need;
    uint32_t *joined = vv_realloc(a->joined, (size_t)cap * sizeof *joined);
    if (joined != NULL)
        a->joined = joined;
    uint32_t *other =
        joined == NULL ? NULL : vv_realloc(a->other_joined, (size_t)cap * sizeof *other);
    if (other == NULL)
        return vv_fail(err, VV_NO_MEMORY, "series: no memory to join %u points", need);
    a->other_joined = other;
    a->joined_cap = cap;
    return VV_OK;
}

/* All times of in are there already: nothing moves. */
static bool joins_in_place(series_across *a, const series_points *in)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < in->count; i++) {
        while (at < a->sum.count && a->sum.time[at] < in->time[i])
            at++;
        if (at == a->sum.count || a->sum.time[at] != in->time[i])
            return false;
    }
    at = 0;
    for (uint32_t i = 0; i < in->count; i++) {
        while (a->sum.time[at] < in->time[i])
            at++;
        if (in->is_null[i])
            continue;
        a->sum.value[at] = join(a->aggregate, a->sum.value[at], in->value[i]);
        a->joined[at]++;
    }
    return true;
}

vv_status series_across_add(series_across *a, const series_points *in, vv_error *err)
{
    vv_status st = grow_joined(a, a->sum.count + in->count, err);
    if (st != VV_OK || joins_in_place(a, in))
        return st;
    uint32_t i = 0;
    uint32_t k = 0;
    series_points_clear(&a->other);
    while (st == VV_OK && (i < a->sum.count || k < in->count)) {
        bool mine = k == in->count || (i < a->sum.count && a->sum.time[i] <= in->time[k]);
        bool theirs = i == a->sum.count || (k < in->count && in->time[k] <= a->sum.time[i]);
        uint32_t to = a->other.count;
        if (theirs && in->is_null[k]) {
            k++;
            if (!mine)
                continue;
            theirs = false;
        }
        double v = mine ? a->sum.value[i] : in->value[k];
        if (mine && theirs)
            v = join(a->aggregate, v, in->value[k]);
        st = series_points_add(&a->other, mine ? a->sum.time[i] : in->time[k], v, false, err);
        a->other_joined[to] = (mine ? a->joined[i] : 0) + theirs;
        i += mine;
        k += theirs;
    }
    if (st != VV_OK)
        return st;
    series_points points = a->sum;
    uint32_t *joined = a->joined;
    a->sum = a->other;
    a->joined = a->other_joined;
    a->other = points;
    a->other_joined = joined;
    return VV_OK;
}

vv_status series_across_finish(series_across *a, series_points *out, vv_error *err)
{
    vv_status st = VV_OK;
    for (uint32_t i = 0; st == VV_OK && i < a->sum.count; i++) {
        double v = a->sum.value[i];
        if (a->aggregate == SERIES_AGG_COUNT)
            v = a->joined[i];
        else if (a->aggregate == SERIES_AGG_AVG)
            v /= a->joined[i];
        st = series_points_add(out, a->sum.time[i], v, false, err);
    }
    series_points_clear(&a->sum);
    return st;
}
