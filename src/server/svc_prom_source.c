/*
 * svc_prom_source.c - a series table beneath PromQL.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "server/svc_prom.h"

/* The samples of the series that is being read, until it ends and they go into the arena. */
typedef struct gathering {
    int64_t *time_ns;
    double *value;
    size_t count;
    size_t cap;
    promql_series *series; /* [series_count] */
    size_t series_count;
    size_t series_cap;
    vv_arena *arena;
    vv_budget *budget;
    uint64_t held; /* of it, for the arrays here */
} gathering;

static vv_status no_room(const gathering *g, vv_error *err)
{
    return vv_fail(err, VV_BUSY,
                   "query: its samples take more than its memory limit of %zu bytes: ask for fewer "
                   "series or a shorter time",
                   g->arena->max);
}

/* Count what is about to be taken; the arena's bytes are counted by its owner. */
static vv_status hold(gathering *g, uint64_t more, vv_error *err)
{
    if (!vv_budget_reserve(g->budget, VV_BUDGET_QUERY, more))
        return vv_fail(err, VV_BUSY,
                       "storage.memory_limit is used up: retry after a pause, or ask for less");
    g->held += more;
    return VV_OK;
}

static vv_status grow(gathering *g, size_t more, vv_error *err)
{
    if (g->count + more <= g->cap)
        return VV_OK;
    size_t cap = (g->count + more) * 2;
    if (cap > g->arena->max / sizeof(int64_t))
        return no_room(g, err);
    vv_status st = hold(g, (cap - g->cap) * (sizeof *g->time_ns + sizeof *g->value), err);
    if (st != VV_OK)
        return st;
    int64_t *time_ns = vv_realloc(g->time_ns, cap * sizeof *time_ns);
    if (time_ns != NULL)
        g->time_ns = time_ns;
    double *value = vv_realloc(g->value, cap * sizeof *value);
    if (value != NULL)
        g->value = value;
    if (time_ns == NULL || value == NULL)
        return vv_fail(err, VV_NO_MEMORY, "query: no memory for its samples");
    g->cap = cap;
    return VV_OK;
}

static vv_status take_block(gathering *g, const vv_series_block *block, vv_error *err)
{
    vv_status st = block->count == 0 ? VV_OK : grow(g, block->count, err);
    if (st != VV_OK || block->count == 0)
        return st;
    assert(g->time_ns != NULL && g->value != NULL);
    memcpy(g->time_ns + g->count, block->time_ns, block->count * sizeof *g->time_ns);
    for (size_t i = 0; i < block->count; i++)
        g->value[g->count + i] = block->f64 != NULL ? block->f64[i] : (double)block->i64[i];
    g->count += block->count;
    return VV_OK;
}

static vv_status copy_labels(gathering *g, const vv_series_block *block, promql_series *out,
                             vv_error *err)
{
    vv_label *labels = vv_arena_alloc(g->arena, (block->label_count + 1) * sizeof *labels);
    if (labels == NULL)
        return no_room(g, err);
    for (size_t i = 0; i < block->label_count; i++) {
        labels[i].name = vv_arena_dup(g->arena, block->labels[i].name);
        labels[i].value = vv_arena_dup(g->arena, block->labels[i].value);
        if (labels[i].name.data == NULL || labels[i].value.data == NULL)
            return no_room(g, err);
    }
    out->labels = labels;
    out->label_count = block->label_count;
    return VV_OK;
}

static vv_status end_series(gathering *g, const vv_series_block *block, vv_error *err)
{
    if (g->series_count == g->series_cap) {
        size_t cap = g->series_cap == 0 ? 64 : g->series_cap * 2;
        vv_status st = hold(g, (cap - g->series_cap) * sizeof *g->series, err);
        if (st != VV_OK)
            return st;
        promql_series *series = vv_realloc(g->series, cap * sizeof *series);
        if (series == NULL)
            return vv_fail(err, VV_NO_MEMORY, "query: no memory for its series");
        g->series = series;
        g->series_cap = cap;
    }
    promql_series *out = &g->series[g->series_count];
    int64_t *time_ns = vv_arena_alloc(g->arena, g->count * sizeof *time_ns);
    double *value = vv_arena_alloc(g->arena, g->count * sizeof *value);
    if (time_ns == NULL || value == NULL)
        return no_room(g, err);
    memcpy(time_ns, g->time_ns, g->count * sizeof *time_ns);
    memcpy(value, g->value, g->count * sizeof *value);
    vv_status st = copy_labels(g, block, out, err);
    out->time_ns = time_ns;
    out->value = value;
    out->count = g->count;
    g->series_count += st == VV_OK;
    g->count = 0;
    return st;
}

static vv_status read_all(gathering *g, vv_series_cursor *cursor, vv_error *err)
{
    vv_status st = VV_OK;
    for (;;) {
        vv_series_block block;
        st = vv_series_query_next(cursor, &block, err);
        if (st != VV_OK)
            return st == VV_NOT_FOUND ? VV_OK : st;
        if (block.type == VV_STRING)
            continue;
        st = take_block(g, &block, err);
        if (st == VV_OK && block.is_last_of_series && g->count > 0)
            st = end_series(g, &block, err);
        if (st != VV_OK)
            return st;
    }
}

static vv_status select_series(void *ctx, const vv_matcher *matchers, size_t matcher_count,
                               int64_t start_ns, int64_t end_ns, vv_arena *arena,
                               const promql_series **out, size_t *count, vv_error *err)
{
    vv_series_query q = VV_SERIES_QUERY_INIT;
    q.matchers = matchers;
    q.matcher_count = matcher_count;
    q.start_ns = start_ns;
    q.end_ns = end_ns == INT64_MAX ? INT64_MAX : end_ns + 1;
    q.samples_max = arena->max / (2 * sizeof(int64_t)) + 1;
    const prom_table *from = ctx;
    q.cancelled = from->cancelled;
    q.cancelled_ctx = from->cancelled_ctx;
    gathering g = {.arena = arena, .budget = from->budget};
    vv_series_cursor *cursor = NULL;
    vv_status st = vv_series_query_open(from->table, &q, &cursor, err);
    if (st == VV_OK)
        st = read_all(&g, cursor, err);
    vv_series_query_close(cursor);
    promql_series *all =
        st == VV_OK ? vv_arena_alloc(arena, (g.series_count + 1) * sizeof *all) : NULL;
    if (st == VV_OK && all == NULL)
        st = no_room(&g, err);
    if (st == VV_OK) {
        assert(all != NULL);
        if (g.series_count > 0)
            memcpy(all, g.series, g.series_count * sizeof *all);
        *out = all;
        *count = g.series_count;
    }
    vv_free(g.time_ns);
    vv_free(g.value);
    vv_free(g.series);
    vv_budget_release(g.budget, VV_BUDGET_QUERY, g.held);
    return st;
}

promql_source prom_source_of(prom_table *from)
{
    return (promql_source){.ctx = from, .select = select_series};
}
