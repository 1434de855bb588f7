/*
 * query_aggregate.c - count, sum, avg, min and max, over groups.
 *
 * Groups live in a hash table keyed by their encoded group values; each holds one accumulator per
 * aggregate. Everything counts against the memory limit. At the end the groups are sorted by their
 * values, having is asked of each, and they are handed out.
 *
 * Sums are compensated (Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher
 * Summen", 1974): a million readings of 0.1 add up to 100000, not to 100000.00000133288.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/util.h"
#include "query/query_int.h"

#define PLAN_MEMORY_MAX (16u * 1024 * 1024)
#define MEMORY_LIMIT_DEFAULT (64u * 1024 * 1024)
#define BLOCK_COST 32u        /* of the allocator, for each block */
#define GROUP_VALUE_MAX 4096u /* bytes of one group value */

typedef enum agg_function { AGG_COUNT, AGG_SUM, AGG_AVG, AGG_MIN, AGG_MAX } agg_function;

typedef struct aggregate {
    agg_function function;
    bool all; /* count of records */
    column column;
    vv_slice name;
} aggregate;

typedef struct accumulator {
    uint64_t count; /* values taken */
    double sum;
    double lost;       /* what rounding took from sum */
    struct_value best; /* min, max; a string's bytes are its own */
} accumulator;

typedef struct group {
    uint64_t hash;
    size_t key_len;
    accumulator *acc;
    struct_value *value; /* group values, then, at the end, results */
    uint8_t key[];
} group;

typedef struct having {
    filter filter;
    size_t index; /* into the values */
} having;

typedef struct runner {
    const query_ask *ask;
    plan_source source;
    vv_arena arena;
    plan plan;
    scan scan;
    aggregate *aggs;
    column *group_columns;
    having *having;
    group **table; /* open addressing, a power of two */
    size_t cap;
    size_t count;
    uint64_t memory_limit;
    vv_budget *budget;
    uint64_t held;
    uint64_t peak;
    vv_buf key;            /* of the record at hand */
    struct_value *present; /* its group values */
} runner;

static const char *const function_names[] = {"count", "sum", "avg", "min", "max"};

vv_slice query_aggregate_name(const query_aggregate *a, char *buf, size_t buf_len)
{
    if (a->alias.len > 0)
        return a->alias;
    vv_slice c = a->column.len > 0 ? a->column : vv_slice_str("*");
    (void)snprintf(buf, buf_len, "%.*s(%.*s)", (int)(a->function.len < 16 ? a->function.len : 16),
                   (const char *)a->function.data, (int)(c.len < 100 ? c.len : 100),
                   (const char *)c.data);
    return vv_slice_str(buf);
}

/* ---- compiling ------------------------------------------------------------------------------ */

static vv_status compile_aggregate(runner *r, const query_aggregate *spec, aggregate *out,
                                   vv_error *err)
{
    char name[160];
    size_t f = 0;
    while (f < ARRAY_LEN(function_names) &&
           !vv_slice_eq(spec->function, vv_slice_str(function_names[f])))
        f++;
    if (f == ARRAY_LEN(function_names))
        return vv_fail(err, VV_INVALID,
                       "unknown aggregate '%.*s'; use one of count sum avg min max",
                       (int)(spec->function.len < 40 ? spec->function.len : 40),
                       (const char *)spec->function.data);
    out->function = (agg_function)f;
    out->all = spec->column.len == 0 || vv_slice_eq(spec->column, vv_slice_str("*"));
    out->name = vv_arena_dup(&r->arena, query_aggregate_name(spec, name, sizeof name));
    if (out->name.data == NULL)
        return vv_fail(err, VV_NO_MEMORY, "aggregate");
    if (out->all)
        return out->function == AGG_COUNT
                   ? VV_OK
                   : vv_fail(err, VV_INVALID, "aggregate '%s' needs a column", function_names[f]);
    vv_status st = column_parse(spec->column, r->source.rows, &r->arena, &out->column, err);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "aggregate");
}

static vv_status compile_having(runner *r, const query_filter *spec, having *out, vv_error *err)
{
    const query_ask *ask = r->ask;
    query_filter local = *spec;
    size_t i = 0;
    column_kind kind = COLUMN_FIELD;
    while (i < ask->group_count && !vv_slice_eq(spec->column, ask->group_by[i]))
        i++;
    if (i < ask->group_count) {
        kind = r->group_columns[i].kind;
    } else {
        size_t a = 0;
        while (a < ask->aggregate_count && !vv_slice_eq(spec->column, r->aggs[a].name))
            a++;
        if (a == ask->aggregate_count)
            return vv_fail(err, VV_INVALID,
                           "having: '%.*s' is no aggregate's name and no group_by column",
                           (int)(spec->column.len < 80 ? spec->column.len : 80),
                           (const char *)spec->column.data);
        i = ask->group_count + a;
        if (r->aggs[a].function >= AGG_MIN)
            kind = r->aggs[a].column.kind;
    }
    /* The literal is read as one for a column of the same kind; a name may be no column at all. */
    local.column = vv_slice_str(column_is_time(kind)       ? "_timestamp"
                                : kind == COLUMN_ATTRIBUTE ? "attributes.x"
                                                           : "value");
    out->index = i;
    vv_status st = filter_compile(&local, r->source.rows, &r->arena, &out->filter, err);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "having");
}

static vv_status compile_groups(runner *r, vv_error *err)
{
    const query_ask *ask = r->ask;
    for (size_t i = 0; i < ask->group_count; i++) {
        column *c = &r->group_columns[i];
        vv_status st = column_parse(ask->group_by[i], r->source.rows, &r->arena, c, err);
        if (st == VV_OK && (c->kind == COLUMN_ALL || c->kind == COLUMN_METADATA_ALL))
            st = vv_fail(err, VV_INVALID, "'%.*s' is no single column", (int)c->text.len,
                         (const char *)c->text.data);
        if (st != VV_OK)
            return vv_wrap(err, st, "group_by");
    }
    return VV_OK;
}

static vv_status compile(runner *r, vv_error *err)
{
    const query_ask *ask = r->ask;
    if (ask->aggregate_count == 0 || ask->aggregate_count > QUERY_AGGREGATES_MAX)
        return vv_fail(err, VV_INVALID, "%zu aggregates; ask for 1 to %u", ask->aggregate_count,
                       QUERY_AGGREGATES_MAX);
    if (ask->group_count > QUERY_GROUP_MAX || ask->having_count > QUERY_FILTERS_MAX)
        return vv_fail(err, VV_INVALID, "at most %u group_by columns and %u having filters",
                       QUERY_GROUP_MAX, QUERY_FILTERS_MAX);
    r->aggs = vv_arena_alloc(&r->arena, ask->aggregate_count * sizeof *r->aggs);
    r->group_columns = vv_arena_alloc(&r->arena, (ask->group_count + 1) * sizeof *r->group_columns);
    r->present = vv_arena_alloc(&r->arena, (ask->group_count + 1) * sizeof *r->present);
    r->having = vv_arena_alloc(&r->arena, (ask->having_count + 1) * sizeof *r->having);
    if (r->aggs == NULL || r->group_columns == NULL || r->present == NULL || r->having == NULL)
        return vv_fail(err, VV_NO_MEMORY, "aggregate");
    vv_status st = plan_make(ask, &r->source, &r->arena, &r->plan, err);
    if (st == VV_OK)
        st = compile_groups(r, err);
    for (size_t i = 0; i < ask->aggregate_count && st == VV_OK; i++)
        st = compile_aggregate(r, &ask->aggregates[i], &r->aggs[i], err);
    for (size_t i = 0; i < ask->having_count && st == VV_OK; i++)
        st = compile_having(r, &ask->having[i], &r->having[i], err);
    return st;
}

/* ---- memory --------------------------------------------------------------------------------- */

static vv_status take(runner *r, size_t bytes, vv_error *err)
{
    if (bytes > r->memory_limit - r->held)
        return vv_fail(err, VV_BUSY,
                       "group_by needs more than query.memory_limit (%llu bytes) after %zu groups; "
                       "narrow the filters, group by fewer values, or raise it",
                       (unsigned long long)r->memory_limit, r->count);
    if (!vv_budget_reserve(r->budget, VV_BUDGET_QUERY, bytes))
        return vv_fail(err, VV_BUSY,
                       "group_by: memory_limit is reached after %zu groups; retry after a pause",
                       r->count);
    r->held += bytes;
    r->peak = r->held > r->peak ? r->held : r->peak;
    return VV_OK;
}

static void give_back(runner *r, size_t bytes)
{
    r->held -= bytes;
    vv_budget_release(r->budget, VV_BUDGET_QUERY, bytes);
}

static void destroy_group(const runner *r, group *g)
{
    for (size_t i = 0; g != NULL && i < r->ask->aggregate_count; i++)
        if (r->aggs[i].function >= AGG_MIN && g->acc[i].best.type == STRUCT_STRING)
            vv_free((void *)(uintptr_t)g->acc[i].best.bytes.data);
    vv_free(g);
}

static void runner_fini(runner *r)
{
    for (size_t i = 0; i < r->cap; i++)
        destroy_group(r, r->table[i]);
    vv_free(r->table);
    give_back(r, r->held);
    scan_close(&r->scan);
    vv_buf_fini(&r->key);
    vv_arena_fini(&r->arena);
}

/* ---- groups --------------------------------------------------------------------------------- */

static vv_status grow(runner *r, vv_error *err)
{
    size_t cap = r->cap == 0 ? 64 : r->cap * 2;
    vv_status st = take(r, cap * sizeof(void *), err);
    if (st != VV_OK)
        return st;
    group **table = vv_calloc(cap, sizeof(void *));
    if (table == NULL) {
        give_back(r, cap * sizeof(void *));
        return vv_fail(err, VV_NO_MEMORY, "group_by: %zu groups", r->count);
    }
    for (size_t i = 0; i < r->cap; i++) {
        if (r->table[i] == NULL)
            continue;
        size_t at = r->table[i]->hash & (cap - 1);
        while (table[at] != NULL)
            at = (at + 1) & (cap - 1);
        table[at] = r->table[i];
    }
    vv_free(r->table);
    give_back(r, r->cap * sizeof(void *));
    r->table = table;
    r->cap = cap;
    return VV_OK;
}

/* The record's group values, and their bytes as a key. A list or a struct is no group: null. */
static vv_status read_key(runner *r, const row_view *view, vv_error *err)
{
    vv_buf_reset(&r->key);
    for (size_t i = 0; i < r->ask->group_count; i++) {
        struct_value *v = &r->present[i];
        if (!column_read(&r->group_columns[i], view, v) || v->type >= STRUCT_LIST)
            *v = (struct_value){.type = STRUCT_NULL};
        if (v->type == STRUCT_STRING && v->bytes.len > GROUP_VALUE_MAX)
            return vv_fail(err, VV_INVALID, "group_by '%.*s': a value of %zu bytes, at most %u",
                           (int)(r->ask->group_by[i].len < 60 ? r->ask->group_by[i].len : 60),
                           (const char *)r->ask->group_by[i].data, v->bytes.len, GROUP_VALUE_MAX);
        if (v->type == STRUCT_NUMBER && v->number == 0)
            v->number = 0; /* -0 and 0 are one group */
        struct_value_put(&r->key, 1, v);
    }
    if (r->key.status != VV_OK)
        return vv_fail(err, r->key.status, "group_by");
    return VV_OK;
}

/* Point the group's string values into its own copy of the key. */
static void own_values(const runner *r, group *g)
{
    wire_reader reader = wire_reader_of(vv_slice_of(g->key, g->key_len));
    wire_field f = {0};
    for (size_t i = 0; i < r->ask->group_count && wire_next(&reader, &f) > 0; i++) {
        struct_value v;
        g->value[i] = r->present[i];
        if (g->value[i].type == STRUCT_STRING && struct_value_parse(f.bytes, &v) == VV_OK)
            g->value[i].bytes = v.bytes;
    }
}

static vv_status add_group(runner *r, uint64_t hash, group **out, vv_error *err)
{
    size_t accs = r->ask->aggregate_count * sizeof(accumulator);
    size_t values = (r->ask->group_count + r->ask->aggregate_count) * sizeof(struct_value);
    size_t head = vv_align_up(sizeof(group) + r->key.len, 16);
    vv_status st = take(r, head + accs + values + BLOCK_COST, err);
    if (st != VV_OK)
        return st;
    uint8_t *block = vv_calloc(1, head + accs + values);
    if (block == NULL) {
        give_back(r, head + accs + values + BLOCK_COST);
        return vv_fail(err, VV_NO_MEMORY, "group_by: %zu groups", r->count);
    }
    group *g = (group *)(void *)block;
    g->hash = hash;
    g->key_len = r->key.len;
    if (r->key.len > 0)
        memcpy(g->key, r->key.data, r->key.len);
    g->acc = (accumulator *)(void *)(block + head);
    g->value = (struct_value *)(void *)(block + head + accs);
    for (size_t i = 0; i < r->ask->aggregate_count; i++)
        g->acc[i].best.type = STRUCT_NULL;
    own_values(r, g);
    *out = g;
    return VV_OK;
}

static vv_status find_group(runner *r, group **out, vv_error *err)
{
    uint64_t hash = vv_hash64(r->key.len == 0 ? (const void *)"" : r->key.data, r->key.len);
    if (r->count + 1 > r->cap / 4 * 3) {
        vv_status st = grow(r, err);
        if (st != VV_OK)
            return st;
    }
    size_t at = hash & (r->cap - 1);
    for (; r->table[at] != NULL; at = (at + 1) & (r->cap - 1)) {
        group *g = r->table[at];
        if (g->hash == hash && g->key_len == r->key.len &&
            (r->key.len == 0 || memcmp(g->key, r->key.data, r->key.len) == 0)) {
            *out = g;
            return VV_OK;
        }
    }
    vv_status st = add_group(r, hash, out, err);
    if (st == VV_OK) {
        r->table[at] = *out;
        r->count++;
    }
    return st;
}

/* ---- accumulating --------------------------------------------------------------------------- */

static vv_status take_best(runner *r, accumulator *acc, const struct_value *v, vv_error *err)
{
    uint8_t *bytes = NULL;
    if (v->type == STRUCT_STRING) {
        vv_status st = take(r, v->bytes.len + BLOCK_COST, err);
        if (st != VV_OK)
            return st;
        bytes = vv_alloc(v->bytes.len);
        if (bytes == NULL) {
            give_back(r, v->bytes.len + BLOCK_COST);
            return vv_fail(err, VV_NO_MEMORY, "aggregate: a string");
        }
        if (v->bytes.len > 0)
            memcpy(bytes, v->bytes.data, v->bytes.len);
    }
    if (acc->best.type == STRUCT_STRING) {
        give_back(r, acc->best.bytes.len + BLOCK_COST);
        vv_free((void *)(uintptr_t)acc->best.bytes.data);
    }
    acc->best = *v;
    if (bytes != NULL)
        acc->best.bytes.data = bytes;
    return VV_OK;
}

static void add_number(accumulator *acc, double v)
{
    double sum = acc->sum + v;
    acc->lost += fabs(acc->sum) >= fabs(v) ? (acc->sum - sum) + v : (v - sum) + acc->sum;
    acc->sum = sum;
    acc->count++;
}

static vv_status accumulate(runner *r, const aggregate *a, accumulator *acc, const row_view *view,
                            vv_error *err)
{
    struct_value v;
    if (a->all) {
        acc->count++;
        return VV_OK;
    }
    if (!column_read(&a->column, view, &v) || v.type == STRUCT_NULL)
        return VV_OK;
    if (a->function == AGG_COUNT) {
        acc->count++;
        return VV_OK;
    }
    if (a->function == AGG_SUM || a->function == AGG_AVG) {
        if (v.type == STRUCT_NUMBER)
            add_number(acc, v.number);
        return VV_OK;
    }
    if (v.type >= STRUCT_LIST || (v.type == STRUCT_NUMBER && isnan(v.number)))
        return VV_OK;
    int c = acc->count == 0 ? 0 : struct_value_compare(&v, &acc->best);
    if (acc->count++ > 0 && (a->function == AGG_MIN ? c >= 0 : c <= 0))
        return VV_OK;
    return take_best(r, acc, &v, err);
}

static vv_status scan_all(runner *r, vv_error *err)
{
    row_view view;
    vv_status st;
    while ((st = scan_next(&r->scan, &view, err)) == VV_OK) {
        group *g = NULL;
        st = read_key(r, &view, err);
        if (st == VV_OK)
            st = find_group(r, &g, err);
        for (size_t i = 0; i < r->ask->aggregate_count && st == VV_OK; i++)
            st = accumulate(r, &r->aggs[i], &g->acc[i], &view, err);
        if (st != VV_OK)
            return st;
    }
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* ---- answering ------------------------------------------------------------------------------ */

static void compute(const runner *r, group *g)
{
    for (size_t i = 0; i < r->ask->aggregate_count; i++) {
        const accumulator *acc = &g->acc[i];
        struct_value *out = &g->value[r->ask->group_count + i];
        double sum = acc->sum + (isfinite(acc->sum) ? acc->lost : 0);
        *out = (struct_value){.type = STRUCT_NULL};
        if (r->aggs[i].function == AGG_COUNT)
            *out = (struct_value){.type = STRUCT_NUMBER, .number = (double)acc->count};
        else if (r->aggs[i].function >= AGG_MIN)
            *out = acc->best;
        else if (acc->count > 0)
            *out = (struct_value){
                .type = STRUCT_NUMBER,
                .number = r->aggs[i].function == AGG_SUM ? sum : sum / (double)acc->count};
    }
}

static int compare_groups(const void *a, const void *b, void *ctx)
{
    const group *x = *(group *const *)a;
    const group *y = *(group *const *)b;
    const size_t *n = ctx;
    for (size_t i = 0; i < *n; i++) {
        int c = struct_value_compare(&x->value[i], &y->value[i]);
        if (c != 0)
            return c;
    }
    return 0;
}

static bool has_all(const runner *r, const group *g)
{
    for (size_t i = 0; i < r->ask->having_count; i++)
        if (!filter_holds(&r->having[i].filter, &g->value[r->having[i].index]))
            return false;
    return true;
}

/* Pack the table, sort it, hand it out. */
static uint64_t hand_out(runner *r, int (*each)(void *ctx, const struct_value *values), void *ctx)
{
    size_t n = 0;
    uint64_t returned = 0;
    size_t columns = r->ask->group_count;
    for (size_t i = 0; i < r->cap; i++)
        if (r->table[i] != NULL)
            r->table[n++] = r->table[i];
    for (size_t i = n; i < r->cap; i++)
        r->table[i] = NULL;
    if (n > 1)
        qsort_r(r->table, n, sizeof(void *), compare_groups, &columns);
    for (size_t i = 0; i < n; i++) {
        compute(r, r->table[i]);
        if (!has_all(r, r->table[i]))
            continue;
        returned++;
        if (each(ctx, r->table[i]->value) != 0)
            break;
    }
    return returned;
}

vv_status query_aggregate_run(const query_ask *ask, const query_env *env,
                              int (*each)(void *ctx, const struct_value *values), void *ctx,
                              query_stats *stats, vv_error *err)
{
    int64_t begin = vv_clock_mono(env->clock);
    runner r = {.ask = ask,
                .memory_limit = env->memory_limit == 0 ? MEMORY_LIMIT_DEFAULT : env->memory_limit,
                .budget = env->budget};
    vv_arena_init(&r.arena, PLAN_MEMORY_MAX);
    vv_buf_init(&r.key, QUERY_GROUP_MAX * (GROUP_VALUE_MAX + 16));
    *stats = (query_stats){.index = ""};
    vv_status st = plan_source_of(env->table, &r.source, err);
    if (st == VV_OK)
        st = compile(&r, err);
    if (st == VV_OK)
        st = scan_open(&r.scan, &r.plan, env, err);
    int64_t planned = vv_clock_mono(env->clock);
    if (st == VV_OK)
        st = scan_all(&r, err);
    /* Without group_by there is one answer, also over no record. */
    group *only = NULL;
    if (st == VV_OK && ask->group_count == 0)
        st = find_group(&r, &only, err);
    if (st == VV_OK) {
        *stats = r.scan.stats;
        stats->returned_rows = hand_out(&r, each, ctx);
        stats->memory_peak = r.peak;
        stats->planning_ns = planned - begin;
        stats->execution_ns = vv_clock_mono(env->clock) - planned;
    } else {
        vv_wrap(err, st, "aggregate");
    }
    runner_fini(&r);
    return st;
}
