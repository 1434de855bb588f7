/*
 * promql.h - a subset of PromQL: what dashboards ask most, evaluated over any source of samples.
 *
 *   name{l="v",l!="v",l=~"re",l!~"re"}[5m] offset 1h    selectors; the name may be a matcher too
 *   rate increase delta irate idelta, *_over_time       over ranges
 *   sum avg min max count, by (...) or without (...)    over series
 *   + - * / % ^, == != > < >= <= with or without bool   between numbers, and a vector and a number
 *   abs ceil floor exp ln log2 log10 sqrt sgn, time() vector(1)
 *
 * What is not in it is refused by its name. Meaning follows Prometheus 2: an instant looks back
 * over promql_options.lookback_ns to the newest sample, a stale marker ends a series, ranges are
 * closed on both sides, rates are extrapolated to the range's ends.
 * https://prometheus.io/docs/prometheus/latest/querying/basics/
 *
 * Threads: none. An expression can be evaluated by several threads at a time.
 */
#ifndef VARVE_PROMQL_PROMQL_H
#define VARVE_PROMQL_PROMQL_H

#include <stdbool.h>

#include "base/arena.h"
#include "varve/series.h"
#include "varve/status.h"

#define PROMQL_TEXT_MAX 16384u  /* bytes of a query */
#define PROMQL_STEPS_MAX 11000u /* points of a series that an evaluation answers */
#define PROMQL_LABEL_NAME "__name__"

typedef struct promql_expr promql_expr;

/** Labels, ascending by name, and samples, ascending by time. */
typedef struct promql_series {
    const vv_label *labels;
    size_t label_count;
    const int64_t *time_ns;
    const double *value;
    size_t count;
} promql_series;

/* Where samples come from. */
typedef struct promql_source {
    void *ctx;
    /* Every series that the matchers select with its samples in [start_ns, end_ns]: *out, [*count],
     * all of it in the arena. Fails with VV_BUSY where that is over a limit, naming it. */
    vv_status (*select)(void *ctx, const vv_matcher *matchers, size_t matcher_count,
                        int64_t start_ns, int64_t end_ns, vv_arena *arena,
                        const promql_series **out, size_t *count, vv_error *err);
} promql_source;

typedef struct promql_options {
    int64_t start_ns;
    int64_t end_ns;      /* the last instant is not after it */
    int64_t step_ns;     /* 0: one instant, at start_ns */
    int64_t lookback_ns; /* 0: 5 minutes */
} promql_options;

typedef enum promql_type { PROMQL_SCALAR, PROMQL_VECTOR, PROMQL_RANGE } promql_type;

/* What an evaluation came to: a value for each series and instant that has one. */
typedef struct promql_row {
    const vv_label *labels; /* ascending by name */
    size_t label_count;
    const double *value;       /* [steps] */
    const uint8_t *is_present; /* [steps] 0 or 1 */
} promql_row;

typedef struct promql_result {
    promql_type type; /* PROMQL_RANGE: only of a range selector at one instant, see ranges */
    const promql_row *rows;
    size_t row_count;
    size_t steps;                /* instants: start_ns + i * step_ns */
    const promql_series *ranges; /* of PROMQL_RANGE: the samples themselves */
    size_t range_count;
} promql_result;

/**
 * Read an expression. Gives *out: promql_free. VV_INVALID names what is wrong and at which
 * character; VV_UNSUPPORTED names what PromQL has and this subset has not.
 */
VV_MUST_CHECK vv_status promql_parse(vv_slice text, promql_expr **out, vv_error *err);
void promql_free(promql_expr *expr); /* accepts NULL */

promql_type promql_type_of(const promql_expr *expr);

/** Matchers of a selector alone, as series and label questions have them: borrowed from expr.
 * VV_INVALID when it is anything else. */
VV_MUST_CHECK vv_status promql_selector_of(const promql_expr *expr, const vv_matcher **out,
                                           size_t *count, vv_error *err);

/** All of text as a duration like 1h30m. False when it is none, or too long. */
bool promql_duration(vv_slice text, int64_t *out_ns);

/**
 * Evaluate. Everything *out refers to lies in arena, whose maximum bounds the memory: VV_BUSY says
 * when it is reached. VV_INVALID for more than PROMQL_STEPS_MAX instants.
 */
VV_MUST_CHECK vv_status promql_eval(const promql_expr *expr, const promql_source *source,
                                    const promql_options *opt, vv_arena *arena, promql_result *out,
                                    vv_error *err);

#endif
