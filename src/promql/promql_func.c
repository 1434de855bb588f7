/*
 * promql_func.c - what the functions make of the samples of a range, and of one value.
 *
 * rate, increase and delta are extrapolated as Prometheus does: the samples hardly ever lie at the
 * range's ends, so the change between the first and the last is stretched to the ends, but at most
 * by half the mean distance of samples, and for a counter not below zero.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/util.h"
#include "promql/promql_int.h"

#define STALE_BITS UINT64_C(0x7ff0000000000002)

bool promql_is_stale(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits == STALE_BITS;
}

static double seconds(int64_t ns)
{
    return (double)ns / (double)VV_NS_PER_S;
}

/* ---- change over a range ---- */

/* The rise of a counter, which began anew where it fell. */
static double counter_rise(const promql_window *w)
{
    double rise = w->value[w->count - 1] - w->value[0];
    for (size_t i = 1; i < w->count; i++)
        if (w->value[i] < w->value[i - 1])
            rise += w->value[i - 1];
    return rise;
}

static bool extrapolate(const promql_window *w, bool is_counter, bool is_rate, double *out)
{
    if (w->count < 2)
        return false;
    double change = is_counter ? counter_rise(w) : w->value[w->count - 1] - w->value[0];
    double sampled = seconds(w->time_ns[w->count - 1] - w->time_ns[0]);
    double to_start = seconds(w->time_ns[0] - w->start_ns);
    double to_end = seconds(w->end_ns - w->time_ns[w->count - 1]);
    double mean = sampled / (double)(w->count - 1);
    if (is_counter && change > 0 && w->value[0] >= 0) {
        double to_zero = sampled * (w->value[0] / change);
        to_start = to_zero < to_start ? to_zero : to_start;
    }
    double threshold = mean * 1.1;
    double stretched = sampled;
    stretched += to_start < threshold ? to_start : mean / 2;
    stretched += to_end < threshold ? to_end : mean / 2;
    double factor = stretched / sampled;
    if (is_rate)
        factor /= seconds(w->end_ns - w->start_ns);
    *out = change * factor;
    return true;
}

static bool f_rate(const promql_window *w, double unused, double *out)
{
    (void)unused;
    return extrapolate(w, true, true, out);
}

static bool f_increase(const promql_window *w, double unused, double *out)
{
    (void)unused;
    return extrapolate(w, true, false, out);
}

static bool f_delta(const promql_window *w, double unused, double *out)
{
    (void)unused;
    return extrapolate(w, false, false, out);
}

/* Of the last two samples. */
static bool f_irate(const promql_window *w, double unused, double *out)
{
    (void)unused;
    if (w->count < 2)
        return false;
    double last = w->value[w->count - 1];
    double before = w->value[w->count - 2];
    int64_t between = w->time_ns[w->count - 1] - w->time_ns[w->count - 2];
    *out = (last < before ? last : last - before) / seconds(between);
    return true;
}

static bool f_idelta(const promql_window *w, double unused, double *out)
{
    (void)unused;
    if (w->count < 2)
        return false;
    *out = w->value[w->count - 1] - w->value[w->count - 2];
    return true;
}

/* ---- over time ---- */

/* Neumaier's sum: what is rounded off is kept beside it. */
typedef struct exact_sum {
    double sum;
    double rest;
} exact_sum;

static void add(exact_sum *s, double v)
{
    double t = s->sum + v;
    if (isinf(t))
        s->rest = 0;
    else if (fabs(s->sum) >= fabs(v))
        s->rest += (s->sum - t) + v;
    else
        s->rest += (v - t) + s->sum;
    s->sum = t;
}

static double sum_of(const promql_window *w)
{
    exact_sum s = {0};
    for (size_t i = 0; i < w->count; i++)
        add(&s, w->value[i]);
    return s.sum + s.rest;
}

static bool f_sum(const promql_window *w, double unused, double *out)
{
    (void)unused;
    *out = sum_of(w);
    return true;
}

static bool f_avg(const promql_window *w, double unused, double *out)
{
    (void)unused;
    *out = sum_of(w) / (double)w->count;
    return true;
}

static bool f_count(const promql_window *w, double unused, double *out)
{
    (void)unused;
    *out = (double)w->count;
    return true;
}

static bool f_last(const promql_window *w, double unused, double *out)
{
    (void)unused;
    *out = w->value[w->count - 1];
    return true;
}

static bool f_present(const promql_window *w, double unused, double *out)
{
    (void)w;
    (void)unused;
    *out = 1;
    return true;
}

static bool f_min(const promql_window *w, double unused, double *out)
{
    (void)unused;
    *out = w->value[0];
    for (size_t i = 1; i < w->count; i++)
        if (w->value[i] < *out || isnan(*out))
            *out = w->value[i];
    return true;
}

static bool f_max(const promql_window *w, double unused, double *out)
{
    (void)unused;
    *out = w->value[0];
    for (size_t i = 1; i < w->count; i++)
        if (w->value[i] > *out || isnan(*out))
            *out = w->value[i];
    return true;
}

/* Welford's recurrence. */
static double variance_of(const promql_window *w)
{
    double mean = 0;
    double squares = 0;
    for (size_t i = 0; i < w->count; i++) {
        double delta = w->value[i] - mean;
        mean += delta / (double)(i + 1);
        squares += delta * (w->value[i] - mean);
    }
    return squares / (double)w->count;
}

static bool f_stdvar(const promql_window *w, double unused, double *out)
{
    (void)unused;
    *out = variance_of(w);
    return true;
}

static bool f_stddev(const promql_window *w, double unused, double *out)
{
    (void)unused;
    *out = sqrt(variance_of(w));
    return true;
}

/* NaN before all numbers, as Prometheus sorts. */
static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    if (isnan(x) || isnan(y))
        return isnan(y) - isnan(x);
    return (x > y) - (x < y);
}

static bool f_quantile(const promql_window *w, double q, double *out)
{
    if (isnan(q) || q < 0 || q > 1) {
        *out = isnan(q) ? q : q < 0 ? -INFINITY : INFINITY;
        return true;
    }
    memcpy(w->sorted, w->value, w->count * sizeof *w->value);
    qsort(w->sorted, w->count, sizeof *w->sorted, by_value);
    double rank = q * (double)(w->count - 1);
    size_t lower = (size_t)rank;
    size_t upper = lower + 1 < w->count ? lower + 1 : lower;
    double weight = rank - floor(rank);
    *out = w->sorted[lower] * (1 - weight) + w->sorted[upper] * weight;
    return true;
}

static bool f_changes(const promql_window *w, double unused, double *out)
{
    (void)unused;
    *out = 0;
    for (size_t i = 1; i < w->count; i++)
        if (w->value[i] != w->value[i - 1] && !(isnan(w->value[i]) && isnan(w->value[i - 1])))
            *out += 1;
    return true;
}

static bool f_resets(const promql_window *w, double unused, double *out)
{
    (void)unused;
    *out = 0;
    for (size_t i = 1; i < w->count; i++)
        *out += w->value[i] < w->value[i - 1];
    return true;
}

static const promql_range_function range_functions[] = {
    {"rate", false, false, f_rate},
    {"increase", false, false, f_increase},
    {"delta", false, false, f_delta},
    {"irate", false, false, f_irate},
    {"idelta", false, false, f_idelta},
    {"sum_over_time", false, false, f_sum},
    {"avg_over_time", false, false, f_avg},
    {"min_over_time", false, false, f_min},
    {"max_over_time", false, false, f_max},
    {"count_over_time", false, false, f_count},
    {"last_over_time", false, true, f_last},
    {"present_over_time", false, false, f_present},
    {"stddev_over_time", false, false, f_stddev},
    {"stdvar_over_time", false, false, f_stdvar},
    {"quantile_over_time", true, false, f_quantile},
    {"changes", false, false, f_changes},
    {"resets", false, false, f_resets},
};

const promql_range_function *promql_range_function_of(vv_slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(range_functions); i++)
        if (vv_slice_eq(name, vv_slice_str(range_functions[i].name)))
            return &range_functions[i];
    return NULL;
}

/* ---- of one value ---- */

static double f_sgn(double v)
{
    return v > 0 ? 1 : v < 0 ? -1 : v;
}

static const promql_math_function math_functions[] = {
    {"abs", fabs},  {"ceil", ceil},   {"floor", floor}, {"exp", exp},   {"ln", log},
    {"log2", log2}, {"log10", log10}, {"sqrt", sqrt},   {"sgn", f_sgn},
};

const promql_math_function *promql_math_function_of(vv_slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(math_functions); i++)
        if (vv_slice_eq(name, vv_slice_str(math_functions[i].name)))
            return &math_functions[i];
    return NULL;
}

bool promql_is_known_elsewhere(vv_slice name)
{
    static const char *const names[] = {"absent",
                                        "absent_over_time",
                                        "acos",
                                        "acosh",
                                        "asin",
                                        "asinh",
                                        "atan",
                                        "atanh",
                                        "bottomk",
                                        "clamp",
                                        "clamp_max",
                                        "clamp_min",
                                        "cos",
                                        "cosh",
                                        "count_values",
                                        "day_of_month",
                                        "day_of_week",
                                        "day_of_year",
                                        "days_in_month",
                                        "deg",
                                        "deriv",
                                        "group",
                                        "histogram_quantile",
                                        "holt_winters",
                                        "hour",
                                        "label_join",
                                        "label_replace",
                                        "minute",
                                        "month",
                                        "pi",
                                        "predict_linear",
                                        "quantile",
                                        "rad",
                                        "round",
                                        "scalar",
                                        "sin",
                                        "sinh",
                                        "sort",
                                        "sort_desc",
                                        "stddev",
                                        "stdvar",
                                        "tan",
                                        "tanh",
                                        "timestamp",
                                        "topk",
                                        "year"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (vv_slice_eq(name, vv_slice_str(names[i])))
            return true;
    return false;
}
