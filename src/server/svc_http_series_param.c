/*
 * svc_http_series_param.c - questions to series tables as query strings.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/time_text.h"
#include "base/util.h"
#include "promql/promql.h"
#include "server/svc_http_series.h"

#define GROUPS_MAX 128u

static const char *const aggregates[] = {
    "none",       "count",       "sum",   "avg",  "min",      "max",           "first",
    "last",       "stddev",      "range", "rate", "increase", "time_avg_step", "time_avg_linear",
    "percentile", "percent_good"};
static const char *const fills[] = {"none", "null", "previous", "linear", "value"};
static const char *const reductions[] = {"none", "lttb", "min_max"};

vv_status svc_series_params(svc_series_ask *a, prom_params *out, vv_error *err)
{
    *out = (prom_params){0};
    vv_status st = prom_params_add(out, srv_call_query(a->call), &a->arena, err);
    if (st == VV_OK && a->msg.data.len > 0)
        st = prom_params_add(out, a->msg.data, &a->arena, err);
    return st;
}

static vv_status fail_text(const char *name, vv_slice text, const char *wanted, vv_error *err)
{
    return vv_fail(err, VV_INVALID, "parameter %s: '%.*s' is not %s", name,
                   (int)vv_min_u64(text.len, 60), (const char *)text.data, wanted);
}

vv_status svc_series_time(const prom_params *params, const char *name, int64_t *out, vv_error *err)
{
    vv_slice text = prom_param_get(params, name);
    if (text.data == NULL || time_text_parse_any(text, out))
        return VV_OK;
    return fail_text(name, text, "a time, as 2026-01-02T03:04:05Z, 1767323045 or 1767323045000ms",
                     err);
}

vv_status svc_series_uint(const prom_params *params, const char *name, uint64_t max, uint64_t *out,
                          vv_error *err)
{
    vv_slice text = prom_param_get(params, name);
    uint64_t value = 0;
    if (text.data == NULL)
        return VV_OK;
    if (!svc_parse_uint(text, &value) || value > max)
        return fail_text(name, text, "a whole number in its range", err);
    *out = value;
    return VV_OK;
}

vv_status svc_series_int(const prom_params *params, const char *name, int64_t *out, vv_error *err)
{
    vv_slice text = prom_param_get(params, name);
    bool is_negative = text.len > 0 && text.data[0] == '-';
    uint64_t value = 0;
    if (text.data == NULL)
        return VV_OK;
    vv_slice digits = vv_slice_of(text.data + is_negative, text.len - is_negative);
    if (!svc_parse_uint(digits, &value) || value > (uint64_t)INT64_MAX + is_negative)
        return fail_text(name, text, "a whole number in its range", err);
    *out = is_negative ? (int64_t)(0 - value) : (int64_t)value;
    return VV_OK;
}

vv_status svc_series_choice(const prom_params *params, const char *name, const char *const *names,
                            size_t count, unsigned *out, vv_error *err)
{
    char all[256] = "one of:";
    vv_slice text = prom_param_get(params, name);
    if (text.data == NULL)
        return VV_OK;
    for (unsigned i = 0; i < count; i++) {
        if (vv_slice_eq(text, vv_slice_str(names[i]))) {
            *out = i;
            return VV_OK;
        }
        size_t len = strlen(all);
        (void)snprintf(all + len, sizeof all - len, " %s", names[i]);
    }
    return fail_text(name, text, all, err);
}

static vv_status take_bool(const prom_params *params, const char *name, bool *out, vv_error *err)
{
    static const char *const names[] = {"false", "true", "0", "1"};
    unsigned i = *out;
    vv_status st = svc_series_choice(params, name, names, ARRAY_LEN(names), &i, err);
    *out = i % 2 == 1;
    return st;
}

static vv_status take_number(const prom_params *params, const char *name, double *out,
                             vv_error *err)
{
    char copy[64];
    char *end = copy;
    vv_slice text = prom_param_get(params, name);
    if (text.data == NULL)
        return VV_OK;
    if (text.len > 0 && text.len < sizeof copy) {
        memcpy(copy, text.data, text.len);
        copy[text.len] = '\0';
        *out = strtod(copy, &end);
    }
    return end == copy || *end != '\0' ? fail_text(name, text, "a number", err) : VV_OK;
}

/* A duration that may be 0, and an offset that may be negative. */
vv_status svc_series_duration(const prom_params *params, const char *name, int64_t *out,
                              vv_error *err)
{
    vv_slice text = prom_param_get(params, name);
    int64_t ns = 0;
    if (text.data == NULL)
        return VV_OK;
    bool is_negative = text.len > 1 && text.data[0] == '-';
    vv_slice rest = is_negative ? vv_slice_of(text.data + 1, text.len - 1) : text;
    if (rest.len == 0 || rest.data[0] == '-' ||
        !(time_text_parse_number(rest, VV_NS_PER_S, &ns) || promql_duration(rest, &ns)))
        return fail_text(name, text, "a duration, as 15 (seconds) or 1h30m", err);
    *out = is_negative ? -ns : ns;
    return VV_OK;
}

vv_status svc_series_aggregate(const prom_params *params, const char *name, vv_aggregate *out,
                               vv_error *err)
{
    unsigned i = *out;
    vv_status st = svc_series_choice(params, name, aggregates, ARRAY_LEN(aggregates), &i, err);
    *out = (vv_aggregate)i;
    return st;
}

/* The matchers of `match`, a selector as Prometheus has it. */
static vv_status take_matchers(svc_series_ask *a, const prom_params *params, vv_error *err)
{
    promql_expr *expr = NULL;
    const vv_matcher *matchers = NULL;
    size_t count = 0;
    vv_slice text = prom_param_get(params, "match");
    if (text.data == NULL)
        text = prom_param_get(params, "match[]");
    if (text.data == NULL && a->kind == SVC_SERIES_QUERY)
        return vv_fail(err, VV_INVALID,
                       "parameter match is missing: a selector, as temp{host=\"a\"}");
    if (text.data == NULL)
        return VV_OK;
    vv_status st = promql_parse(text, &expr, err);
    if (st == VV_OK)
        st = promql_selector_of(expr, &matchers, &count, err);
    if (st == VV_OK)
        a->matchers = svc_series_alloc(a, count * sizeof *a->matchers);
    if (st == VV_OK && a->matchers == NULL)
        st = vv_fail(err, VV_NO_MEMORY, "no memory for a question");
    for (size_t i = 0; st == VV_OK && i < count; i++) {
        vv_slice name = vv_arena_dup(&a->arena, matchers[i].name);
        vv_slice value = vv_arena_dup(&a->arena, matchers[i].value);
        if ((name.data == NULL && matchers[i].name.len > 0) ||
            (value.data == NULL && matchers[i].value.len > 0))
            st = vv_fail(err, VV_NO_MEMORY, "no memory for a question");
        a->matchers[a->matcher_count++] = (vv_matcher){matchers[i].op, name, value};
    }
    promql_free(expr);
    return st;
}

static vv_status take_groups(svc_series_ask *a, const prom_params *params, vv_error *err)
{
    vv_slice text = prom_param_get(params, "group_by");
    vv_status st = take_bool(params, "grouped", &a->query.is_grouped, err);
    if (text.data == NULL || st != VV_OK)
        return st;
    a->query.is_grouped = true;
    vv_slice *groups = svc_series_alloc(a, GROUPS_MAX * sizeof *groups);
    if (groups == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a question");
    while (text.len > 0) {
        const uint8_t *comma = memchr(text.data, ',', text.len);
        size_t len = comma == NULL ? text.len : (size_t)(comma - text.data);
        if (len == 0 || a->query.group_count == GROUPS_MAX)
            return fail_text("group_by", text, "a list of labels, as host,job", err);
        groups[a->query.group_count++] = vv_slice_of(text.data, len);
        size_t used = len + (comma != NULL);
        text = vv_slice_of(text.data + used, text.len - used);
    }
    a->query.group_by = groups;
    return VV_OK;
}

static vv_status take_range(svc_series_ask *a, const prom_params *params, vv_error *err)
{
    vv_series_query *q = &a->query;
    q->end_ns = vv_clock_wall(a->n->env.clock);
    vv_status st = svc_series_time(params, "end", &q->end_ns, err);
    if (__builtin_sub_overflow(q->end_ns, 3600 * VV_NS_PER_S, &q->start_ns))
        q->start_ns = INT64_MIN;
    return st == VV_OK ? svc_series_time(params, "start", &q->start_ns, err) : st;
}

static vv_status take_windows(svc_series_ask *a, const prom_params *params, vv_error *err)
{
    vv_series_query *q = &a->query;
    unsigned fill = 0;
    vv_status st = svc_series_duration(params, "step", &q->step_ns, err);
    if (st == VV_OK)
        st = svc_series_duration(params, "offset", &q->offset_ns, err);
    if (st == VV_OK)
        st = svc_series_aggregate(params, "aggregate", &q->aggregate, err);
    if (st == VV_OK)
        st = take_number(params, "percentile", &q->percentile, err);
    if (st == VV_OK && q->aggregate == VV_AGG_PERCENTILE &&
        prom_param_get(params, "percentile").data == NULL)
        return vv_fail(err, VV_INVALID, "aggregate=percentile needs percentile=P, 0 to 100");
    if (st == VV_OK)
        st = take_groups(a, params, err);
    if (st == VV_OK)
        st = svc_series_aggregate(params, "across", &q->across, err);
    if (st == VV_OK)
        st = svc_series_choice(params, "fill", fills, ARRAY_LEN(fills), &fill, err);
    if (st == VV_OK)
        st = take_number(params, "fill_value", &q->fill_value, err);
    if (st == VV_OK)
        st = svc_series_duration(params, "max_gap", &q->max_gap_ns, err);
    q->fill = (vv_fill)fill;
    return st;
}

static vv_status take_query(svc_series_ask *a, const prom_params *params, vv_error *err)
{
    uint64_t points = 0;
    unsigned reduce = 0;
    vv_status st = take_range(a, params, err);
    if (st == VV_OK)
        st = take_windows(a, params, err);
    if (st == VV_OK)
        st = svc_series_choice(params, "reduce", reductions, ARRAY_LEN(reductions), &reduce, err);
    if (st == VV_OK)
        st = svc_series_uint(params, "points", UINT32_MAX, &points, err);
    if (st == VV_OK)
        st = take_bool(params, "all_quality", &a->query.all_quality, err);
    if (reduce == VV_REDUCE_NONE && points > 0)
        reduce = VV_REDUCE_LTTB;
    a->query.reduce = (vv_reduce)reduce;
    a->query.points = (uint32_t)points;
    return st;
}

static vv_status take_delete(svc_series_ask *a, const prom_params *params, vv_error *err)
{
    vv_status st = take_bool(params, "drop", &a->drops, err);
    if (st == VV_OK && !a->drops &&
        (prom_param_get(params, "start").data == NULL ||
         prom_param_get(params, "end").data == NULL))
        return vv_fail(err, VV_INVALID,
                       "start and end are needed to delete samples, or drop=true for all of them "
                       "and the series");
    return st == VV_OK ? take_range(a, params, err) : st;
}

vv_status svc_series_take_params(svc_series_ask *a, svc_series_kind kind, const prom_params *params,
                                 vv_error *err)
{
    static const char *const query[] = {
        "match",      "start",      "end",    "step",   "aggregate", "points",      "group_by",
        "across",     "percentile", "fill",   "reduce", "offset",    "all_quality", "grouped",
        "fill_value", "max_gap",    "format", "tenant", "table",     "match[]",     NULL};
    static const char *const list[] = {"match", "limit",   "format", "tenant",
                                       "table", "match[]", NULL};
    static const char *const deletion[] = {"match",  "start", "end",     "drop",
                                           "tenant", "table", "match[]", NULL};
    a->kind = kind;
    a->ref.tenant = prom_param_get(params, "tenant");
    a->ref.table = prom_param_get(params, "table");
    vv_status st = prom_params_check(params,
                                     kind == SVC_SERIES_QUERY    ? query
                                     : kind == SVC_SERIES_DELETE ? deletion
                                                                 : list,
                                     err);
    if (st == VV_OK)
        st = take_matchers(a, params, err);
    if (st == VV_OK && kind == SVC_SERIES_QUERY)
        st = take_query(a, params, err);
    if (st == VV_OK && kind == SVC_SERIES_DELETE)
        st = take_delete(a, params, err);
    if (st == VV_OK && kind != SVC_SERIES_QUERY && kind != SVC_SERIES_DELETE)
        st = svc_series_uint(params, "limit", UINT64_MAX, &a->limit, err);
    return st;
}

vv_status svc_series_read_http(svc_series_ask *a, svc_series_kind kind, vv_error *err)
{
    prom_params params;
    a->kind = kind;
    vv_status st = svc_series_params(a, &params, err);
    return st == VV_OK ? svc_series_take_params(a, kind, &params, err) : st;
}
