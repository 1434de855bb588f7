/*
 * promql_eval.c - an expression's value at every instant at once.
 *
 * A node comes to rows: labels, and for each instant a value or none. Every selector is read once,
 * for the whole of the query; what a row does at one instant does not depend on other instants, so
 * each node is one pass over its children's rows. All of it lies in the caller's arena.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/util.h"
#include "promql/promql_int.h"

#define LOOKBACK_NS (5 * 60 * VV_NS_PER_S)

/* As promql_row, while it is made. */
typedef struct row {
    const vv_label *labels;
    size_t label_count;
    double *value;
    uint8_t *is_present;
} row;

typedef struct frame {
    row *rows;
    size_t count;
} frame;

typedef struct evaluation {
    const promql_source *source;
    vv_arena *arena;
    int64_t start_ns;
    int64_t step_ns;
    int64_t lookback_ns;
    size_t steps;
} evaluation;

static vv_status eval_node(evaluation *e, const promql_node *node, frame *out, vv_error *err);

/* ---- memory ---- */

static vv_status no_room(const evaluation *e, vv_error *err)
{
    return vv_fail(err, VV_BUSY,
                   "query: it needs more than its memory limit of %zu bytes: ask for fewer series, "
                   "a shorter time or a longer step",
                   e->arena->max);
}

static vv_status new_rows(evaluation *e, size_t count, frame *out, vv_error *err)
{
    out->count = count;
    out->rows = vv_arena_alloc(e->arena, (count + 1) * sizeof *out->rows);
    return out->rows == NULL ? no_room(e, err) : VV_OK;
}

/* A row in which nothing is present. */
static vv_status new_row(evaluation *e, const vv_label *labels, size_t label_count, row *out,
                         vv_error *err)
{
    *out = (row){.labels = labels, .label_count = label_count};
    out->value = vv_arena_alloc(e->arena, e->steps * sizeof *out->value);
    out->is_present = vv_arena_alloc(e->arena, e->steps);
    if (out->value == NULL || out->is_present == NULL)
        return no_room(e, err);
    memset(out->is_present, 0, e->steps);
    return VV_OK;
}

static int64_t instant(const evaluation *e, size_t i)
{
    return e->start_ns + (int64_t)i * e->step_ns;
}

/* ---- labels ---- */

static bool is_name(const vv_label *label)
{
    return vv_slice_eq(label->name, vv_slice_str(PROMQL_LABEL_NAME));
}

/* What is calculated is no longer the metric of the name. */
static vv_status drop_name(evaluation *e, row *r, vv_error *err)
{
    size_t at = 0;
    while (at < r->label_count && !is_name(&r->labels[at]))
        at++;
    if (at == r->label_count)
        return VV_OK;
    vv_label *labels = vv_arena_alloc(e->arena, r->label_count * sizeof *labels);
    if (labels == NULL)
        return no_room(e, err);
    memcpy(labels, r->labels, at * sizeof *labels);
    memcpy(labels + at, r->labels + at + 1, (r->label_count - at - 1) * sizeof *labels);
    r->labels = labels;
    r->label_count--;
    return VV_OK;
}

static int compare_labels(const vv_label *a, size_t a_count, const vv_label *b, size_t b_count)
{
    for (size_t i = 0; i < a_count && i < b_count; i++) {
        int order = vv_slice_cmp(a[i].name, b[i].name);
        order = order != 0 ? order : vv_slice_cmp(a[i].value, b[i].value);
        if (order != 0)
            return order;
    }
    return (a_count > b_count) - (a_count < b_count);
}

static int by_labels(const void *a, const void *b)
{
    const row *x = *(const row *const *)a;
    const row *y = *(const row *const *)b;
    return compare_labels(x->labels, x->label_count, y->labels, y->label_count);
}

/* Pointers to the rows, ascending by labels; NULL: no room. */
static const row **sorted_rows(evaluation *e, const frame *f)
{
    const row **sorted = vv_arena_alloc(e->arena, (f->count + 1) * sizeof(const row *));
    if (sorted == NULL)
        return NULL;
    for (size_t i = 0; i < f->count; i++)
        sorted[i] = &f->rows[i];
    qsort(sorted, f->count, sizeof(const row *), by_labels);
    return sorted;
}

/* Without their names two rows may be the same: which of them is meant, nobody can say. */
static vv_status check_distinct(evaluation *e, const promql_node *node, const frame *f,
                                vv_error *err)
{
    const row **sorted = sorted_rows(e, f);
    if (sorted == NULL)
        return no_room(e, err);
    for (size_t i = 1; i < f->count; i++)
        if (by_labels(&sorted[i - 1], &sorted[i]) == 0)
            return vv_fail(err, VV_INVALID,
                           "character %zu: two series have the same labels without their names",
                           node->at);
    return VV_OK;
}

static vv_status drop_names(evaluation *e, const promql_node *node, frame *f, vv_error *err)
{
    for (size_t i = 0; i < f->count; i++) {
        vv_status st = drop_name(e, &f->rows[i], err);
        if (st != VV_OK)
            return st;
    }
    return check_distinct(e, node, f, err);
}

/* ---- selectors ---- */

/* The samples that any instant may ask for: from back_ns before the first to the last. */
static vv_status select_series(evaluation *e, const promql_node *node, int64_t back_ns,
                               const promql_series **out, size_t *count, vv_error *err)
{
    int64_t first = 0;
    int64_t last = 0;
    if (__builtin_sub_overflow(e->start_ns, node->offset_ns, &first) ||
        __builtin_sub_overflow(first, back_ns, &first) ||
        __builtin_sub_overflow(instant(e, e->steps - 1), node->offset_ns, &last))
        return vv_fail(err, VV_INVALID, "character %zu: range and offset leave the times there are",
                       node->at);
    return e->source->select(e->source->ctx, node->matchers, node->matcher_count, first, last,
                             e->arena, out, count, err);
}

static vv_status eval_instant(evaluation *e, const promql_node *node, frame *out, vv_error *err)
{
    const promql_series *series = NULL;
    size_t count = 0;
    vv_status st = select_series(e, node, e->lookback_ns, &series, &count, err);
    if (st == VV_OK)
        st = new_rows(e, count, out, err);
    for (size_t i = 0; st == VV_OK && i < count; i++) {
        const promql_series *s = &series[i];
        row *r = &out->rows[i];
        st = new_row(e, s->labels, s->label_count, r, err);
        size_t next = 0; /* the first sample after the instant */
        for (size_t k = 0; st == VV_OK && k < e->steps; k++) {
            int64_t t = instant(e, k) - node->offset_ns;
            while (next < s->count && s->time_ns[next] <= t)
                next++;
            if (next == 0 || s->time_ns[next - 1] < t - e->lookback_ns ||
                promql_is_stale(s->value[next - 1]))
                continue;
            r->value[k] = s->value[next - 1];
            r->is_present[k] = 1;
        }
    }
    return st;
}

/* The samples that are no stale markers: often all of them. */
static vv_status without_stale(evaluation *e, const promql_series *s, promql_series *out,
                               vv_error *err)
{
    size_t stale = 0;
    for (size_t i = 0; i < s->count; i++)
        stale += promql_is_stale(s->value[i]);
    *out = *s;
    if (stale == 0)
        return VV_OK;
    int64_t *time = vv_arena_alloc(e->arena, s->count * sizeof *time);
    double *value = vv_arena_alloc(e->arena, s->count * sizeof *value);
    if (time == NULL || value == NULL)
        return no_room(e, err);
    size_t kept = 0;
    for (size_t i = 0; i < s->count; i++)
        if (!promql_is_stale(s->value[i])) {
            time[kept] = s->time_ns[i];
            value[kept++] = s->value[i];
        }
    out->time_ns = time;
    out->value = value;
    out->count = kept;
    return VV_OK;
}

/* One series' function at each instant. parameter: a row of scalars, or NULL. */
static void apply_over_range(const evaluation *e, const promql_node *node,
                             const promql_series *series, const row *parameter, double *sorted,
                             row *out)
{
    const promql_node *selector = node->child[0];
    size_t from = 0;
    size_t to = 0;
    for (size_t k = 0; k < e->steps; k++) {
        int64_t end = instant(e, k) - selector->offset_ns;
        int64_t start = end - selector->range_ns;
        while (to < series->count && series->time_ns[to] <= end)
            to++;
        while (from < to && series->time_ns[from] < start)
            from++;
        if (from == to)
            continue;
        promql_window w = {.time_ns = series->time_ns + from,
                           .value = series->value + from,
                           .count = to - from,
                           .start_ns = start,
                           .end_ns = end,
                           .sorted = sorted};
        out->is_present[k] =
            node->over->apply(&w, parameter == NULL ? 0 : parameter->value[k], &out->value[k]);
    }
}

static vv_status eval_over_range(evaluation *e, const promql_node *node, frame *out, vv_error *err)
{
    const promql_series *series = NULL;
    size_t count = 0;
    frame parameter = {0};
    vv_status st = select_series(e, node->child[0], node->child[0]->range_ns, &series, &count, err);
    if (st == VV_OK && node->child[1] != NULL)
        st = eval_node(e, node->child[1], &parameter, err);
    if (st == VV_OK)
        st = new_rows(e, count, out, err);
    for (size_t i = 0; st == VV_OK && i < count; i++) {
        promql_series clean;
        double *sorted = NULL;
        st = without_stale(e, &series[i], &clean, err);
        if (st == VV_OK)
            st = new_row(e, clean.labels, clean.label_count, &out->rows[i], err);
        if (st == VV_OK && node->over->has_parameter) {
            sorted = vv_arena_alloc(e->arena, (clean.count + 1) * sizeof *sorted);
            st = sorted == NULL ? no_room(e, err) : VV_OK;
        }
        if (st == VV_OK)
            apply_over_range(e, node, &clean, parameter.rows, sorted, &out->rows[i]);
    }
    return st == VV_OK && !node->over->keeps_name ? drop_names(e, node, out, err) : st;
}

/* ---- calculating ---- */

static double calculate(promql_sign op, double a, double b)
{
    switch (op) {
    case PROMQL_ADD:
        return a + b;
    case PROMQL_SUB:
        return a - b;
    case PROMQL_MUL:
        return a * b;
    case PROMQL_DIV:
        return a / b;
    case PROMQL_MOD:
        return fmod(a, b);
    case PROMQL_POW:
        return pow(a, b);
    case PROMQL_EQ:
        return a == b;
    case PROMQL_NE:
        return a != b;
    case PROMQL_GT:
        return a > b;
    case PROMQL_LT:
        return a < b;
    case PROMQL_GE:
        return a >= b;
    default:
        return a <= b;
    }
}

static vv_status eval_binary(evaluation *e, const promql_node *node, frame *out, vv_error *err)
{
    frame side[2];
    vv_status st = eval_node(e, node->child[0], &side[0], err);
    if (st == VV_OK)
        st = eval_node(e, node->child[1], &side[1], err);
    if (st != VV_OK)
        return st;
    bool is_right_vector = node->child[1]->type == PROMQL_VECTOR;
    bool is_filter = node->op >= PROMQL_EQ && !node->is_bool;
    const frame *vector = &side[is_right_vector];
    const row *scalar = &side[!is_right_vector].rows[0];
    for (size_t i = 0; i < vector->count; i++) {
        row *r = &vector->rows[i];
        for (size_t k = 0; k < e->steps; k++) {
            if (!r->is_present[k])
                continue;
            double a = is_right_vector ? scalar->value[k] : r->value[k];
            double b = is_right_vector ? r->value[k] : scalar->value[k];
            double result = calculate(node->op, a, b);
            if (is_filter)
                r->is_present[k] = result != 0;
            else
                r->value[k] = result;
        }
    }
    *out = *vector;
    return node->type == PROMQL_VECTOR && !is_filter ? drop_names(e, node, out, err) : VV_OK;
}

static vv_status eval_math(evaluation *e, const promql_node *node, frame *out, vv_error *err)
{
    vv_status st = eval_node(e, node->child[0], out, err);
    for (size_t i = 0; st == VV_OK && i < out->count; i++)
        for (size_t k = 0; k < e->steps; k++)
            if (out->rows[i].is_present[k])
                out->rows[i].value[k] = node->math->apply(out->rows[i].value[k]);
    return st == VV_OK ? drop_names(e, node, out, err) : st;
}

/* A number, or the time of each instant. */
static vv_status eval_scalar(evaluation *e, const promql_node *node, frame *out, vv_error *err)
{
    vv_status st = new_rows(e, 1, out, err);
    if (st == VV_OK)
        st = new_row(e, NULL, 0, &out->rows[0], err);
    for (size_t k = 0; st == VV_OK && k < e->steps; k++) {
        out->rows[0].is_present[k] = 1;
        out->rows[0].value[k] = node->kind == PROMQL_NODE_TIME
                                    ? (double)instant(e, k) / (double)VV_NS_PER_S
                                    : node->number;
    }
    return st;
}

/* ---- aggregating ---- */

static bool is_listed(const promql_node *node, vv_slice name)
{
    for (size_t i = 0; i < node->label_count; i++)
        if (vv_slice_eq(node->labels[i], name))
            return true;
    return false;
}

/* Leave each row the labels that its group has. */
static vv_status reduce_labels(evaluation *e, const promql_node *node, frame *f, vv_error *err)
{
    for (size_t i = 0; i < f->count; i++) {
        row *r = &f->rows[i];
        vv_label *labels = vv_arena_alloc(e->arena, (r->label_count + 1) * sizeof *labels);
        if (labels == NULL)
            return no_room(e, err);
        size_t kept = 0;
        for (size_t j = 0; j < r->label_count; j++) {
            bool listed = is_listed(node, r->labels[j].name);
            if (node->is_without ? !listed && !is_name(&r->labels[j]) : listed)
                labels[kept++] = r->labels[j];
        }
        r->labels = labels;
        r->label_count = kept;
    }
    return VV_OK;
}

static double join(vv_aggregate aggregate, double a, double b)
{
    if (aggregate == VV_AGG_MIN)
        return b < a || isnan(a) ? b : a;
    if (aggregate == VV_AGG_MAX)
        return b > a || isnan(a) ? b : a;
    return a + b;
}

/* The value of the rows of one group at one instant. */
static void aggregate_at(const promql_node *node, const row *const *group, size_t count, size_t k,
                         row *out)
{
    double value = 0;
    uint64_t present = 0;
    for (size_t i = 0; i < count; i++) {
        if (!group[i]->is_present[k])
            continue;
        double v = group[i]->value[k];
        value = present == 0 ? v : join(node->aggregate, value, v);
        present++;
    }
    out->is_present[k] = present > 0;
    if (node->aggregate == VV_AGG_COUNT)
        value = (double)present;
    else if (node->aggregate == VV_AGG_AVG && present > 0)
        value /= (double)present;
    out->value[k] = value;
}

static vv_status eval_aggregate(evaluation *e, const promql_node *node, frame *out, vv_error *err)
{
    frame in;
    vv_status st = eval_node(e, node->child[0], &in, err);
    if (st == VV_OK)
        st = reduce_labels(e, node, &in, err);
    if (st == VV_OK)
        st = new_rows(e, in.count, out, err);
    if (st != VV_OK)
        return st;
    const row **sorted = sorted_rows(e, &in);
    if (sorted == NULL)
        return no_room(e, err);
    out->count = 0;
    for (size_t from = 0, to; from < in.count; from = to) {
        for (to = from + 1; to < in.count && by_labels(&sorted[from], &sorted[to]) == 0; to++) {
        }
        row *r = &out->rows[out->count++];
        st = new_row(e, sorted[from]->labels, sorted[from]->label_count, r, err);
        if (st != VV_OK)
            return st;
        for (size_t k = 0; k < e->steps; k++)
            aggregate_at(node, sorted + from, to - from, k, r);
    }
    return VV_OK;
}

/* ---- the door ---- */

static vv_status eval_node(evaluation *e, const promql_node *node, frame *out, vv_error *err)
{
    switch (node->kind) {
    case PROMQL_NODE_NUMBER:
    case PROMQL_NODE_TIME:
        return eval_scalar(e, node, out, err);
    case PROMQL_NODE_VECTOR:
        return eval_node(e, node->child[0], out, err);
    case PROMQL_NODE_SELECTOR:
        return eval_instant(e, node, out, err);
    case PROMQL_NODE_OVER_RANGE:
        return eval_over_range(e, node, out, err);
    case PROMQL_NODE_MATH:
        return eval_math(e, node, out, err);
    case PROMQL_NODE_AGGREGATE:
        return eval_aggregate(e, node, out, err);
    case PROMQL_NODE_BINARY:
        break;
    }
    return eval_binary(e, node, out, err);
}

static vv_status begin(const promql_source *source, const promql_options *opt, vv_arena *arena,
                       evaluation *e, vv_error *err)
{
    *e = (evaluation){.source = source,
                      .arena = arena,
                      .start_ns = opt->start_ns,
                      .step_ns = opt->step_ns,
                      .lookback_ns = opt->lookback_ns == 0 ? LOOKBACK_NS : opt->lookback_ns,
                      .steps = 1};
    if (opt->step_ns < 0 || (opt->step_ns > 0 && opt->end_ns < opt->start_ns))
        return vv_fail(err, VV_INVALID, "query: the end lies before the start");
    if (opt->step_ns > 0) {
        uint64_t span = (uint64_t)opt->end_ns - (uint64_t)opt->start_ns;
        uint64_t more = span / (uint64_t)opt->step_ns; /* after the first */
        if (more >= PROMQL_STEPS_MAX)
            return vv_fail(err, VV_INVALID,
                           "query: over %" PRIu64
                           " points a series, at most %u are answered: take a "
                           "longer step",
                           more, PROMQL_STEPS_MAX);
        e->steps = (size_t)more + 1;
    }
    return VV_OK;
}

/* A range selector by itself: the samples as they are. */
static vv_status give_ranges(evaluation *e, const promql_node *node, promql_result *out,
                             vv_error *err)
{
    const promql_series *series = NULL;
    size_t count = 0;
    if (e->steps > 1)
        return vv_fail(err, VV_INVALID, "query: a range has a value at one instant only");
    vv_status st = select_series(e, node, node->range_ns, &series, &count, err);
    promql_series *clean =
        st == VV_OK ? vv_arena_alloc(e->arena, (count + 1) * sizeof *clean) : NULL;
    if (st == VV_OK && clean == NULL)
        st = no_room(e, err);
    for (size_t i = 0; st == VV_OK && i < count; i++)
        st = without_stale(e, &series[i], &clean[i], err);
    if (st != VV_OK)
        return st;
    *out = (promql_result){.type = PROMQL_RANGE, .steps = 1, .ranges = clean, .range_count = count};
    return VV_OK;
}

vv_status promql_eval(const promql_expr *expr, const promql_source *source,
                      const promql_options *opt, vv_arena *arena, promql_result *out, vv_error *err)
{
    evaluation e;
    vv_status st = begin(source, opt, arena, &e, err);
    if (st != VV_OK)
        return st;
    if (expr->root->type == PROMQL_RANGE)
        return give_ranges(&e, expr->root, out, err);
    frame f;
    st = eval_node(&e, expr->root, &f, err);
    promql_row *rows = st == VV_OK ? vv_arena_alloc(arena, (f.count + 1) * sizeof *rows) : NULL;
    if (st == VV_OK && rows == NULL)
        st = no_room(&e, err);
    if (st != VV_OK)
        return st;
    for (size_t i = 0; i < f.count; i++)
        rows[i] = (promql_row){.labels = f.rows[i].labels,
                               .label_count = f.rows[i].label_count,
                               .value = f.rows[i].value,
                               .is_present = f.rows[i].is_present};
    *out = (promql_result){
        .type = expr->root->type, .rows = rows, .row_count = f.count, .steps = e.steps};
    return VV_OK;
}
