/*
 * window.c - aggregates by windows.
 *
 * Most aggregates are worked out of summaries, and a run of samples inside of one window is summed
 * up first; so a chunk's own summary and its samples take one way. Increase, rate, the averages
 * over time and the percentile look at each sample, but an increase over values that never fall is
 * their ends.
 *
 * The average with straight lines needs the sample behind a window: the line from the last sample
 * to the next is divided where the window ends, and so a window is closed when the next comes.
 */
#include "series/window.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "series/series_int.h"
#include "series/set.h"

/* ---- points ---- */

void series_points_init(series_points *p)
{
    *p = (series_points){0};
}

void series_points_fini(series_points *p)
{
    vv_free(p->time);
    vv_free(p->value);
    vv_free(p->is_null);
    series_points_init(p);
}

static vv_status points_grow(series_points *p, vv_error *err)
{
    uint32_t cap = p->cap == 0 ? 64 : p->cap * 2;
    int64_t *time = cap > p->cap ? vv_realloc(p->time, cap * sizeof *time) : NULL;
    if (time != NULL)
        p->time = time;
    double *value = time == NULL ? NULL : vv_realloc(p->value, cap * sizeof *value);
    if (value != NULL)
        p->value = value;
    uint8_t *is_null = value == NULL ? NULL : vv_realloc(p->is_null, cap);
    if (is_null == NULL)
        return vv_fail(err, VV_NO_MEMORY, "series: no memory for %u points", cap);
    p->is_null = is_null;
    p->cap = cap;
    return VV_OK;
}

vv_status series_points_add(series_points *p, int64_t time, double value, bool is_null,
                            vv_error *err)
{
    vv_status st = p->count == p->cap ? points_grow(p, err) : VV_OK;
    if (st != VV_OK)
        return st;
    p->time[p->count] = time;
    p->value[p->count] = value;
    p->is_null[p->count++] = is_null;
    return VV_OK;
}

/* ---- life ---- */

bool series_aggregate_takes(series_aggregate aggregate, series_type type)
{
    return type != SERIES_STRING || aggregate == SERIES_AGG_COUNT ||
           aggregate == SERIES_AGG_PERCENT_GOOD;
}

vv_status series_window_check(const series_window_options *opt, vv_error *err)
{
    if ((unsigned)opt->aggregate > SERIES_AGG_PERCENT_GOOD || opt->aggregate == SERIES_AGG_NONE)
        return vv_fail(err, VV_INVALID, "series: no aggregate has the number %u",
                       (unsigned)opt->aggregate);
    if (opt->aggregate == SERIES_AGG_PERCENTILE &&
        !(opt->percentile >= 0 && opt->percentile <= 100))
        return vv_fail(err, VV_INVALID, "series: a percentile of %g: give 0 to 100",
                       opt->percentile);
    if (opt->step < 0)
        return vv_fail(err, VV_INVALID, "series: a step below 0");
    if (opt->end < opt->start)
        return vv_fail(err, VV_INVALID, "series: the range ends before it begins");
    return VV_OK;
}

void series_window_init(series_window *w, const series_window_options *opt, series_points *out)
{
    *w = (series_window){.opt = *opt, .out = out};
    series_columns_init(&w->columns);
}

void series_window_fini(series_window *w)
{
    series_columns_fini(&w->columns);
    vv_free(w->value);
    w->value = NULL;
}

void series_window_restart(series_window *w)
{
    w->is_open = false;
    w->has_previous = false;
    w->value_count = 0;
}

void series_window_of(int64_t t, int64_t step, int64_t offset, int64_t *begin, int64_t *end)
{
    /* The remainder is worked out in two, because t - offset may not fit. */
    int64_t into = t % step - offset % step;
    into %= step;
    into += into < 0 ? step : 0;
    *begin = t >= INT64_MIN + into ? t - into : INT64_MIN;
    int64_t left = step - into;
    *end = t <= INT64_MAX - left ? t + left : INT64_MAX;
}

/* Where what the window says begins and ends. */
static int64_t clipped_begin(const series_window *w)
{
    return w->begin > w->opt.start ? w->begin : w->opt.start;
}

static int64_t clipped_end(const series_window *w)
{
    return w->end < w->opt.end ? w->end : w->opt.end;
}

/* ---- one window ---- */

static bool leans_on_neighbours(series_aggregate a)
{
    return a == SERIES_AGG_RATE || a == SERIES_AGG_INCREASE || a == SERIES_AGG_TIME_AVG_STEP ||
           a == SERIES_AGG_TIME_AVG_LINEAR;
}

static double span(int64_t from, int64_t to)
{
    return (double)to - (double)from;
}

/* Between two samples; exact at its ends. */
static double on_line(int64_t t0, double v0, int64_t t1, double v1, int64_t t)
{
    if (t == t0 || v0 == v1)
        return v0;
    return v0 + (v1 - v0) * (span(t0, t) / span(t0, t1));
}

static void add_area(series_tally *t, double mean, double ns)
{
    t->area += mean * ns;
    t->covered += ns;
}

/* A counter that fell began again at 0. */
static double rise(double from, double to)
{
    return to < from ? to : to - from;
}

/* The window that t lies in becomes the one to fill. */
static void open_window(series_window *w, int64_t t, double next)
{
    if (w->opt.step == 0) {
        w->begin = w->opt.start;
        w->end = w->opt.end;
    } else {
        series_window_of(t, w->opt.step, w->opt.offset, &w->begin, &w->end);
    }
    w->is_open = true;
    w->value_count = 0;
    w->tally = (series_tally){.from_time = t, .last_time = t};
    if (!w->has_previous)
        return;
    int64_t begin = clipped_begin(w);
    if (w->opt.aggregate == SERIES_AGG_TIME_AVG_STEP) {
        add_area(&w->tally, w->previous, span(begin, t));
    } else if (w->opt.aggregate == SERIES_AGG_TIME_AVG_LINEAR) {
        double edge = on_line(w->previous_time, w->previous, t, next, begin);
        add_area(&w->tally, edge / 2 + next / 2, span(begin, t));
    } else {
        w->tally.from_time = w->previous_time;
        w->tally.increase = rise(w->previous, next);
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Put the k-th smallest of v[0..n) at its place: what lies before is not larger. */
static void select_kth(double *v, uint32_t n, uint32_t k)
{
    uint32_t lo = 0;
    uint32_t hi = n;
    for (unsigned turns = 0; hi - lo > 16; turns++) {
        if (turns == 64) { /* unlucky: fall back on sorting */
            qsort(v + lo, hi - lo, sizeof *v, compare);
            return;
        }
        double a = v[lo];
        double b = v[lo + (hi - lo) / 2];
        double c = v[hi - 1];
        double pivot = a < b ? (b < c ? b : (a < c ? c : a)) : (a < c ? a : (b < c ? c : b));
        uint32_t i = lo;
        uint32_t j = hi - 1;
        for (;;) {
            while (v[i] < pivot)
                i++;
            while (v[j] > pivot)
                j--;
            if (i >= j)
                break;
            double swap = v[i];
            v[i++] = v[j];
            v[j--] = swap;
        }
        if (k <= j)
            hi = j + 1;
        else
            lo = j + 1;
    }
    qsort(v + lo, hi - lo, sizeof *v, compare);
}

static double percentile_of(double *v, uint32_t n, double percentile)
{
    uint32_t kept = 0;
    double nan = v[0];
    for (uint32_t i = 0; i < n; i++) {
        double x = v[i];
        if (!isnan(x))
            v[kept++] = x;
    }
    if (kept == 0)
        return nan;
    double rank = percentile / 100 * (kept - 1);
    uint32_t k = (uint32_t)rank;
    select_kth(v, kept, k);
    double low = v[k];
    if (k + 1 >= kept || rank == k)
        return low;
    double high = v[k + 1];
    for (uint32_t i = k + 2; i < kept; i++)
        high = v[i] < high ? v[i] : high;
    return low == high ? low : low + (high - low) * (rank - k);
}

/* What the window comes to. False: nothing. */
static bool result(series_window *w, double *out)
{
    const series_tally *t = &w->tally;
    if (w->opt.aggregate == SERIES_AGG_PERCENT_GOOD) {
        *out = t->count == 0 ? 0 : 100.0 * (double)t->good / (double)t->count;
        return t->count > 0;
    }
    if (t->good == 0)
        return false;
    double n = (double)t->good;
    switch (w->opt.aggregate) {
    case SERIES_AGG_COUNT:
        *out = n;
        break;
    case SERIES_AGG_SUM:
        *out = t->sum;
        break;
    case SERIES_AGG_AVG:
        *out = t->sum / n;
        break;
    case SERIES_AGG_MIN:
        *out = t->min;
        break;
    case SERIES_AGG_MAX:
        *out = t->max;
        break;
    case SERIES_AGG_FIRST:
        *out = t->first;
        break;
    case SERIES_AGG_LAST:
        *out = t->last;
        break;
    case SERIES_AGG_STDDEV:
        *out = sqrt(t->m2 < 0 ? 0 : t->m2 / n);
        break;
    case SERIES_AGG_RANGE:
        *out = t->max - t->min;
        break;
    case SERIES_AGG_RATE:
        *out = t->increase / (span(t->from_time, t->last_time) / (double)VV_NS_PER_S);
        return t->from_time != t->last_time;
    case SERIES_AGG_INCREASE:
        *out = t->increase;
        break;
    case SERIES_AGG_TIME_AVG_STEP:
    case SERIES_AGG_TIME_AVG_LINEAR:
        *out = t->covered > 0 ? t->area / t->covered : t->last;
        break;
    case SERIES_AGG_PERCENTILE:
        *out = percentile_of(w->value, w->value_count, w->opt.percentile);
        break;
    case SERIES_AGG_NONE:
    case SERIES_AGG_PERCENT_GOOD:
        return false;
    }
    return true;
}

/* The next sample that counts is `next` at t, or there is none (has_next false). */
static vv_status close_window(series_window *w, bool has_next, int64_t t, double next,
                              vv_error *err)
{
    double value = 0;
    if (!w->is_open)
        return VV_OK;
    w->is_open = false;
    int64_t end = clipped_end(w);
    if (w->tally.good > 0 && w->opt.aggregate == SERIES_AGG_TIME_AVG_STEP) {
        add_area(&w->tally, w->previous, span(w->previous_time, end));
    } else if (w->tally.good > 0 && w->opt.aggregate == SERIES_AGG_TIME_AVG_LINEAR && has_next) {
        double edge = on_line(w->previous_time, w->previous, t, next, end);
        add_area(&w->tally, w->previous / 2 + edge / 2, span(w->previous_time, end));
    }
    return result(w, &value) ? series_points_add(w->out, w->begin, value, false, err) : VV_OK;
}

/* ---- summaries ---- */

/* Two populations become one (Chan, Golub and LeVeque, 1979). */
static void join_means(series_tally *t, const series_summary *s)
{
    double n = (double)t->good;
    double m = (double)s->good;
    double from_first = s->sum - m * s->first;
    double mean = s->first + from_first / m;
    double m2 = s->sum_sq - from_first * from_first / m;
    double d = mean - t->mean;
    t->m2 += (m2 < 0 ? 0 : m2) + (n > 0 ? d * d * (n * m / (n + m)) : 0);
    t->mean = n > 0 ? t->mean + d * (m / (n + m)) : mean;
}

static double lesser(double a, double b)
{
    return b < a || isnan(a) ? b : a;
}

static double greater(double a, double b)
{
    return b > a || isnan(a) ? b : a;
}

/* Into the open window. */
static void take_summary(series_window *w, const series_summary *s)
{
    series_tally *t = &w->tally;
    t->count += s->count;
    if (s->good == 0)
        return;
    if (t->good == 0) {
        t->first = s->first;
        t->min = s->min;
        t->max = s->max;
    }
    join_means(t, s);
    t->min = lesser(t->min, s->min);
    t->max = greater(t->max, s->max);
    t->sum += s->sum;
    t->last = s->last;
    t->last_time = s->last_time;
    t->good += s->good;
}

/* As increase sees values that never fall. The step to the first was taken when the window was
 * opened or is taken here. */
static void take_rise(series_window *w, const series_summary *s, bool opened)
{
    if (!opened)
        w->tally.increase += rise(w->previous, s->first);
    w->tally.increase += s->last - s->first;
}

static void note_previous(series_window *w, int64_t time, double value)
{
    w->has_previous = true;
    w->previous_time = time;
    w->previous = value;
}

static bool in_order(const series_window *w, int64_t t)
{
    return (!w->has_previous || t > w->previous_time) && (!w->is_open || t >= w->begin);
}

static vv_status out_of_order(vv_error *err)
{
    return vv_fail(err, VV_INVALID, "series: samples for a window come out of order");
}

/* Make the window that t lies in the open one. *opened: it was not. */
static vv_status enter(series_window *w, int64_t t, double value, bool *opened, vv_error *err)
{
    *opened = false;
    if (!in_order(w, t))
        return out_of_order(err);
    if (w->is_open && t < w->end)
        return VV_OK;
    vv_status st = close_window(w, true, t, value, err);
    open_window(w, t, value);
    *opened = true;
    return st;
}

bool series_window_takes_summary(const series_window *w, int64_t first_time, int64_t last_time)
{
    const series_window_options *o = &w->opt;
    int64_t begin = o->start;
    int64_t end = o->end;
    if (o->without_summaries || o->aggregate == SERIES_AGG_TIME_AVG_STEP ||
        o->aggregate == SERIES_AGG_TIME_AVG_LINEAR || o->aggregate == SERIES_AGG_PERCENTILE)
        return false;
    if (first_time < o->start || last_time >= o->end)
        return false;
    if (o->step > 0)
        series_window_of(first_time, o->step, o->offset, &begin, &end);
    return last_time < end;
}

/* Of what the summary says nothing: samples that are not good are asked for, or falls. */
static bool says_enough(const series_window *w, const series_summary *s)
{
    series_aggregate a = w->opt.aggregate;
    if (VV_BUG(84)) /* a summary of good samples answers for all of them, and for falls */
        return true;
    if (w->opt.all_quality && s->good != s->count && a != SERIES_AGG_PERCENT_GOOD)
        return false;
    return (a != SERIES_AGG_RATE && a != SERIES_AGG_INCREASE) || s->is_monotone || s->good <= 1;
}

vv_status series_window_summary(series_window *w, const series_summary *s, vv_error *err)
{
    bool opened = false;
    if (s->count == 0 || (s->good == 0 && w->opt.aggregate != SERIES_AGG_PERCENT_GOOD))
        return VV_OK;
    vv_status st = enter(w, s->first_time, s->first, &opened, err);
    if (st != VV_OK)
        return st;
    if (s->good > 0)
        take_rise(w, s, opened);
    take_summary(w, s);
    if (s->good > 0)
        note_previous(w, s->last_time, s->last);
    return VV_OK;
}

/* ---- samples ---- */

static bool counts(const series_window *w, const series_samples *in, uint32_t i)
{
    return w->opt.all_quality || in->quality == NULL || series_quality_is_good(in->quality[i]);
}

/* The step from the sample before to this one, both in the open window. */
static void take_step(series_window *w, int64_t t, double v)
{
    series_tally *y = &w->tally;
    double ns = span(w->previous_time, t);
    if (w->opt.aggregate == SERIES_AGG_TIME_AVG_STEP)
        add_area(y, w->previous, ns);
    else if (w->opt.aggregate == SERIES_AGG_TIME_AVG_LINEAR)
        add_area(y, w->previous / 2 + v / 2, ns);
    else
        y->increase += rise(w->previous, v);
}

/* Samples one by one, for what leans on the one before. */
static vv_status take_each(series_window *w, const series_samples *in, vv_error *err)
{
    vv_status st = VV_OK;
    for (uint32_t i = 0; st == VV_OK && i < in->count; i++) {
        bool opened = false;
        if (!counts(w, in, i))
            continue;
        double v = series_samples_number(in, i);
        int64_t t = in->time[i];
        st = enter(w, t, v, &opened, err);
        if (st != VV_OK)
            break;
        if (!opened)
            take_step(w, t, v);
        w->tally.count++;
        w->tally.good++;
        w->tally.last = v;
        w->tally.last_time = t;
        note_previous(w, t, v);
    }
    return st;
}

static vv_status keep_values(series_window *w, const series_samples *in, vv_error *err)
{
    if (in->count > w->value_cap - w->value_count) {
        uint32_t cap = w->value_cap < 1024 ? 1024 : w->value_cap;
        while (cap - w->value_count < in->count && cap < UINT32_MAX / 2)
            cap *= 2;
        double *grown = vv_realloc(w->value, (size_t)cap * sizeof *grown);
        if (grown == NULL || cap - w->value_count < in->count) {
            w->value = grown == NULL ? w->value : grown;
            return vv_fail(err, VV_NO_MEMORY, "series: no memory for a percentile of %u values",
                           w->value_count);
        }
        w->value = grown;
        w->value_cap = cap;
    }
    for (uint32_t i = 0; i < in->count; i++)
        if (counts(w, in, i))
            w->value[w->value_count++] = series_samples_number(in, i);
    return VV_OK;
}

/* What else a summary says is not looked at in its result. */
static bool needs_only_sum(series_aggregate a)
{
    return a == SERIES_AGG_COUNT || a == SERIES_AGG_SUM || a == SERIES_AGG_AVG ||
           a == SERIES_AGG_FIRST || a == SERIES_AGG_LAST || a == SERIES_AGG_PERCENT_GOOD;
}

/* Samples of one window, at most a chunk of them, as a summary. */
static vv_status take_run(series_window *w, const series_samples *in, vv_error *err)
{
    series_summary s;
    series_samples all = *in;
    if (w->opt.all_quality && w->opt.aggregate != SERIES_AGG_PERCENT_GOOD)
        all.quality = NULL;
    if (needs_only_sum(w->opt.aggregate))
        series_sum_up(&all, &s);
    else
        series_summarise(&all, &s);
    if (s.good == 0) {
        s.first_time = in->time[0];
        s.last_time = in->time[in->count - 1];
    }
    vv_status st = series_window_summary(w, &s, err);
    if (st == VV_OK && w->opt.aggregate == SERIES_AGG_PERCENTILE && s.good > 0)
        st = keep_values(w, in, err);
    return st;
}

/* How many from `from` on lie before `end`, at most a chunk. */
static uint32_t run_length(const series_samples *in, uint32_t from, int64_t end)
{
    uint32_t left = in->count - from;
    series_samples rest =
        series_samples_part(in, from, left < SERIES_CHUNK_MAX ? left : SERIES_CHUNK_MAX);
    if (rest.time[rest.count - 1] < end)
        return rest.count;
    return series_samples_find(&rest, end);
}

static vv_status take_inside(series_window *w, const series_samples *in, vv_error *err)
{
    vv_status st = VV_OK;
    if (leans_on_neighbours(w->opt.aggregate))
        return take_each(w, in, err);
    for (uint32_t at = 0; st == VV_OK && at < in->count;) {
        int64_t begin = w->opt.start;
        int64_t end = w->opt.end;
        if (w->opt.step > 0)
            series_window_of(in->time[at], w->opt.step, w->opt.offset, &begin, &end);
        uint32_t n = run_length(in, at, end);
        series_samples run = series_samples_part(in, at, n);
        st = take_run(w, &run, err);
        at += n;
    }
    return st;
}

/* The last that counts before the range, and the first behind it. */
static vv_status take_edges(series_window *w, const series_samples *before,
                            const series_samples *behind, vv_error *err)
{
    if (!leans_on_neighbours(w->opt.aggregate))
        return VV_OK;
    for (uint32_t i = before->count; i-- > 0;)
        if (counts(w, before, i)) {
            note_previous(w, before->time[i], series_samples_number(before, i));
            break;
        }
    for (uint32_t i = 0; i < behind->count; i++)
        if (counts(w, behind, i)) {
            vv_status st =
                close_window(w, true, behind->time[i], series_samples_number(behind, i), err);
            return st;
        }
    return VV_OK;
}

vv_status series_window_add(series_window *w, const series_samples *in, vv_error *err)
{
    if (in->count == 0)
        return VV_OK;
    if (!series_aggregate_takes(w->opt.aggregate, in->type))
        return vv_fail(err, VV_INVALID, "series: strings can be counted, not added up");
    uint32_t lo = series_samples_find(in, w->opt.start);
    uint32_t hi = series_samples_find(in, w->opt.end);
    series_samples before = series_samples_part(in, 0, lo);
    series_samples inside = series_samples_part(in, lo, hi > lo ? hi - lo : 0);
    series_samples behind = series_samples_part(in, hi, in->count - hi);
    const series_samples none = {.type = in->type};
    vv_status st = take_edges(w, &before, &none, err);
    if (st == VV_OK && inside.count > 0) {
        w->stats.samples += inside.count;
        st = take_inside(w, &inside, err);
    }
    return st == VV_OK ? take_edges(w, &none, &behind, err) : st;
}

vv_status series_window_chunk(series_window *w, vv_slice chunk, vv_error *err)
{
    series_head head;
    series_summary sum;
    vv_status st = series_chunk_head(chunk, &head, err);
    if (st != VV_OK)
        return st;
    if (!series_aggregate_takes(w->opt.aggregate, head.type))
        return vv_fail(err, VV_INVALID, "series: strings can be counted, not added up");
    if (!leans_on_neighbours(w->opt.aggregate) &&
        (head.last_time < w->opt.start || head.first_time >= w->opt.end))
        return VV_OK;
    if (head.form == SERIES_COMPACT &&
        series_window_takes_summary(w, head.first_time, head.last_time)) {
        st = series_chunk_summary(chunk, &sum, NULL, err);
        if (st != VV_OK)
            return st;
        if (sum.good == 0) {
            sum.first_time = head.first_time;
            sum.last_time = head.last_time;
        }
        if (says_enough(w, &sum)) {
            w->stats.chunks_summed++;
            return series_window_summary(w, &sum, err);
        }
    }
    w->stats.chunks_decoded++;
    series_columns_clear(&w->columns);
    st = series_chunk_decode(chunk, &w->columns, err);
    if (st != VV_OK)
        return st;
    series_samples all = series_columns_view(&w->columns);
    return series_window_add(w, &all, err);
}

vv_status series_window_set(series_window *w, vv_slice bytes, int64_t from, vv_error *err)
{
    series_set set;
    vv_slice chunk;
    series_head head = {0};
    vv_status st = series_set_open(bytes, &set, err);
    while (st == VV_OK && (st = series_set_next(&set, &chunk, &head, err)) == VV_OK)
        if (head.last_time >= from)
            st = series_window_chunk(w, chunk, err);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

vv_status series_window_finish(series_window *w, vv_error *err)
{
    return close_window(w, false, 0, 0, err);
}
