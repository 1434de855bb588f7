/*
 * query_plan.c - from what is asked to how the records are found.
 *
 * Conditions on _timestamp join the time range; those on _id become keys or a key range. Then the
 * first that applies:
 *
 *   _id = or in          look the keys up                                 "primary"
 *   time bounded twice   the time index                                   "time"
 *   _id bounded twice    a key range                                      "primary"
 *   time bounded once    the time index                                   "time"
 *   _id bounded once     a key range                                      "primary"
 *   order_by _timestamp  the time index, all of it: saves the sort
 *   otherwise            all keys
 *
 * The rest of the conditions is asked of each record. Without statistics about values this order
 * is a guess about which condition narrows most; it never changes the answer.
 */
#include "base/error.h"
#include "db/db.h"
#include "query/query_int.h"

/* Conditions on _id, gathered. */
typedef struct key_bounds {
    bool has_lower;
    bool has_upper;
    vv_slice lower;     /* inclusive */
    vv_slice upper;     /* exclusive */
    const filter *keys; /* the first = or in */
    bool empty;         /* no key can satisfy them */
} key_bounds;

/* key followed by a zero byte: the first key above it. */
static bool key_above(vv_slice key, vv_arena *arena, vv_slice *out)
{
    uint8_t *bytes = vv_arena_alloc(arena, key.len + 1);
    if (bytes == NULL)
        return false;
    if (key.len > 0)
        memcpy(bytes, key.data, key.len);
    bytes[key.len] = 0;
    *out = vv_slice_of(bytes, key.len + 1);
    return true;
}

static bool bound_key(key_bounds *b, const filter *f, vv_arena *arena)
{
    vv_slice key = f->value.bytes;
    if (f->op == OP_IN || f->op == OP_EQ) {
        if (b->keys == NULL || b->keys->op == OP_IN)
            b->keys = f;
        b->empty |= f->op == OP_EQ && f->value.type != STRUCT_STRING;
        return true;
    }
    if (f->op < OP_LT || f->op > OP_GE)
        return true;
    if (f->value.type != STRUCT_STRING) {
        b->empty = true;
        return true;
    }
    if ((f->op == OP_GT || f->op == OP_LE) && !key_above(key, arena, &key))
        return false;
    if (f->op == OP_GT || f->op == OP_GE) {
        if (!b->has_lower || vv_slice_cmp(key, b->lower) > 0)
            b->lower = key;
        b->has_lower = true;
    } else {
        if (!b->has_upper || vv_slice_cmp(key, b->upper) < 0)
            b->upper = key;
        b->has_upper = true;
    }
    return true;
}

/* A bound longer than any key: a little wider, and the filter itself does the rest. */
static void cut_bounds(key_bounds *b)
{
    if (b->has_lower && b->has_upper && vv_slice_cmp(b->lower, b->upper) >= 0)
        b->empty = true;
    if (b->has_upper && b->upper.len == 0)
        b->empty = true;
    if (b->lower.len > VV_KEY_MAX)
        b->lower.len = VV_KEY_MAX;
    if (b->upper.len > VV_KEY_MAX)
        b->has_upper = false;
}

/* Narrow [start, end) by a condition on _timestamp. INT64_MAX as end is no end. */
static void bound_time(path *p, const filter *f)
{
    int64_t t = f->value.time_ns;
    int64_t after = t == INT64_MAX ? INT64_MAX : t + 1;
    if ((f->op == OP_GE || f->op == OP_EQ) && t > p->start_ns)
        p->start_ns = t;
    if (f->op == OP_GT && after > p->start_ns)
        p->start_ns = after;
    if (f->op == OP_LT && t < p->end_ns)
        p->end_ns = t;
    if ((f->op == OP_LE || f->op == OP_EQ) && after < p->end_ns)
        p->end_ns = after;
}

static bool is_time_bound(const filter *f)
{
    return f->column.kind == COLUMN_TIMESTAMP && f->op != OP_NE && f->op != OP_IN;
}

static void choose_keys(path *p, const filter *f)
{
    p->kind = PATH_KEYS;
    p->narrowed = true;
    p->keys = f->op == OP_EQ ? &f->value : f->set;
    p->key_count = f->op == OP_EQ ? 1 : f->set_count;
    while (p->key_count > 0 && p->keys[0].type < STRUCT_STRING) { /* numbers equal no key */
        p->keys++;
        p->key_count--;
    }
    while (p->key_count > 0 && p->keys[p->key_count - 1].type > STRUCT_STRING)
        p->key_count--;
}

static bool orders_by_time(const plan *p)
{
    return p->order_count > 0 && p->order[0].kind == COLUMN_TIMESTAMP &&
           (p->order_count == 1 ||
            (p->order[1].kind == COLUMN_ID && p->descending[1] == p->descending[0]));
}

static void choose_path(plan *p, const key_bounds *b)
{
    path *w = &p->path;
    int time_bounds = (w->start_ns != INT64_MIN) + (w->end_ns != INT64_MAX);
    int key_bounds_count = b->has_lower + b->has_upper;
    if (b->empty || w->start_ns >= w->end_ns) {
        w->kind = PATH_EMPTY;
        w->narrowed = true;
    } else if (b->keys != NULL) {
        choose_keys(w, b->keys);
    } else if (time_bounds > 0 && time_bounds >= key_bounds_count) {
        w->kind = PATH_TIME;
        w->narrowed = true;
    } else if (key_bounds_count > 0) {
        w->kind = PATH_RANGE;
        w->narrowed = true;
        w->lower = b->lower;
        w->upper = b->has_upper ? b->upper : (vv_slice){0};
    } else {
        w->kind = orders_by_time(p) ? PATH_TIME : PATH_RANGE;
    }
    bool by_id = p->order_count > 0 && p->order[0].kind == COLUMN_ID;
    w->ordered = p->order_count == 0 || w->kind == PATH_EMPTY ||
                 (w->kind == PATH_TIME ? orders_by_time(p) : by_id);
    w->reverse = w->ordered && p->order_count > 0 && p->descending[0];
}

static vv_status compile_filters(const query_ask *ask, row_kind rows, vv_arena *arena, plan *p,
                                 key_bounds *b, vv_error *err)
{
    if (ask->filter_count > QUERY_FILTERS_MAX)
        return vv_fail(err, VV_INVALID, "%zu filters, at most %u are allowed", ask->filter_count,
                       QUERY_FILTERS_MAX);
    p->filters = vv_arena_alloc(arena, (ask->filter_count + 1) * sizeof *p->filters);
    if (p->filters == NULL)
        return vv_fail(err, VV_NO_MEMORY, "%zu filters", ask->filter_count);
    for (size_t i = 0; i < ask->filter_count; i++) {
        filter *f = &p->filters[p->filter_count];
        vv_status st = filter_compile(&ask->filters[i], rows, arena, f, err);
        if (st != VV_OK)
            return st;
        if (is_time_bound(f)) {
            bound_time(&p->path, f); /* exact: nothing is left to ask of a record */
            continue;
        }
        if (f->column.kind == COLUMN_ID && !bound_key(b, f, arena))
            return vv_fail(err, VV_NO_MEMORY, "a filter on _id");
        p->filter_count++;
    }
    cut_bounds(b);
    return VV_OK;
}

static vv_status compile_order(const query_ask *ask, row_kind rows, vv_arena *arena, plan *p,
                               vv_error *err)
{
    if (ask->order_count > QUERY_ORDER_MAX)
        return vv_fail(err, VV_INVALID, "order_by: %zu columns, at most %u are allowed",
                       ask->order_count, QUERY_ORDER_MAX);
    p->order = vv_arena_alloc(arena, (ask->order_count + 2) * sizeof *p->order);
    p->descending = vv_arena_alloc(arena, ask->order_count + 2);
    if (p->order == NULL || p->descending == NULL)
        return vv_fail(err, VV_NO_MEMORY, "order_by: %zu columns", ask->order_count);
    for (size_t i = 0; i < ask->order_count; i++) {
        vv_status st = column_parse(ask->order[i].column, rows, arena, &p->order[i], err);
        if (st != VV_OK)
            return vv_wrap(err, st, "order_by");
        if (p->order[i].kind == COLUMN_ALL || p->order[i].kind == COLUMN_METADATA_ALL)
            return vv_fail(err, VV_INVALID, "order_by: '%.*s' is no single column",
                           (int)p->order[i].text.len, (const char *)p->order[i].text.data);
        p->descending[i] = ask->order[i].descending;
    }
    p->order_count = ask->order_count;
    return VV_OK;
}

vv_status plan_source_of(vv_table *table, plan_source *out, vv_error *err)
{
    const vv_table_kind kind = vv_table_kind_of(table);
    *out = (plan_source){kind == VV_TABLE_STREAM ? ROWS_MESSAGES : ROWS_RECORDS,
                         db_partition_count(table)};
    if (kind == VV_TABLE_RECORD || kind == VV_TABLE_STREAM)
        return VV_OK;
    return vv_fail(err, VV_INVALID, "the table holds %s",
                   kind == VV_TABLE_SERIES
                       ? "samples of time series, not records: ask /api/v1/series/query, "
                         "varve.v1.Series or varve series query"
                       : "keys and values, not records: get or scan them");
}

vv_status plan_make(const query_ask *ask, const plan_source *source, vv_arena *arena, plan *out,
                    vv_error *err)
{
    key_bounds bounds = {0};
    *out = (plan){.path = {.start_ns = ask->has_start ? ask->start_ns : INT64_MIN,
                           .end_ns = ask->has_end ? ask->end_ns : INT64_MAX},
                  .version = ask->version};
    if (ask->limit < 0 || ask->offset < 0)
        return vv_fail(err, VV_INVALID, "%s is negative", ask->limit < 0 ? "limit" : "offset");
    if (ask->version < 0)
        return vv_fail(err, VV_INVALID, "version %lld is negative", (long long)ask->version);
    if (ask->has_start && ask->has_end && ask->start_ns > ask->end_ns)
        return vv_fail(err, VV_INVALID, "time_range: start lies after end");
    out->limit =
        ask->limit == 0 || ask->limit == QUERY_NO_LIMIT ? UINT64_MAX : (uint64_t)ask->limit;
    out->offset = (uint64_t)ask->offset;
    vv_status st = compile_filters(ask, source->rows, arena, out, &bounds, err);
    if (st == VV_OK)
        st = compile_order(ask, source->rows, arena, out, err);
    if (st == VV_OK)
        st = projection_compile(ask->projection, ask->projection_count, source->rows, arena,
                                &out->projection, err);
    if (st == VV_OK && source->rows == ROWS_MESSAGES)
        message_path_choose(out, source);
    else if (st == VV_OK)
        choose_path(out, &bounds);
    return st;
}
