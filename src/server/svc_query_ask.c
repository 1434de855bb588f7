/*
 * svc_query_ask.c - a question in hand: parsed, authorized, answered as one message.
 *
 * Rows go from the store into the answer as bytes: the stored Struct is copied once, into its
 * place. An answer is a page: it ends early, with has_more, when its records reach page_bytes, so
 * that no client meets a message over its limit by asking for many records.
 */
#include "server/svc_query.h"

#include "base/alloc.h"
#include "base/error.h"

#define PAGE_BYTES_DEFAULT (4u * 1024 * 1024 - 64u * 1024) /* under the usual limit of clients */
#define LIMIT_DEFAULT 1000
#define ARENA_MAX (16u * 1024 * 1024)
#define RESERVE_STEP (256u * 1024)

void svc_ask_ref(svc_ask *a)
{
    atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
}

void svc_ask_unref(svc_ask *a)
{
    if (a == NULL || atomic_fetch_sub_explicit(&a->refs, 1, memory_order_acq_rel) != 1)
        return;
    query_close(a->query);
    vv_table_close(a->handle);
    if (a->has_msg)
        srv_message_release(&a->msg);
    vv_buf_fini(&a->wire);
    vv_arena_fini(&a->arena);
    srv_call_unref(a->call);
    vv_free(a);
}

vv_status svc_ask_create(srv_call *call, srv_message *msg, vv_buf *wire, svc_ask_parser parser,
                         svc_ask **out, vv_error *err)
{
    node *n = srv_call_ctx(call);
    svc_ask *a = vv_calloc(1, sizeof *a);
    if (a == NULL) {
        if (msg != NULL)
            srv_message_release(msg);
        return vv_fail(err, VV_NO_MEMORY, "query");
    }
    a->node = n;
    a->call = call;
    srv_call_ref(call);
    a->begin_ns = vv_clock_mono(n->env.clock);
    atomic_init(&a->refs, 1);
    vv_arena_init(&a->arena, ARENA_MAX);
    vv_buf_init(&a->wire, 0);
    if (msg != NULL) {
        a->msg = *msg;
        a->has_msg = true;
    } else {
        a->wire = *wire;
        *wire = (vv_buf){.max = wire->max};
    }
    vv_status st =
        parser(msg != NULL ? a->msg.data : vv_buf_slice(&a->wire), &a->arena, &a->ask, err);
    if (st == VV_OK) {
        a->tenant = a->ask.tenant.len > 0 ? a->ask.tenant : vv_slice_str("default");
        a->table = a->ask.table.len > 0 ? a->ask.table : vv_slice_str("records");
        a->op = (gate_op){.kind = GATE_READ, .tenant = a->tenant, .table = a->table};
        gate_identity who = svc_identity(call);
        st = gate_authorize(n->gate, &who, &a->op, 1, &a->grant, err);
    }
    if (st != VV_OK) {
        svc_ask_unref(a);
        return st;
    }
    *out = a;
    return VV_OK;
}

static bool call_is_gone(void *ctx)
{
    return !srv_call_is_open(ctx);
}

vv_status svc_ask_open(svc_ask *a, query_env *out, vv_error *err)
{
    vv_status st = gate_open_table(&a->grant, 0, VV_TABLE_RECORD, &a->handle, err);
    if (st != VV_OK)
        return st;
    *out = (query_env){.table = a->handle,
                       .memory_limit = a->node->query_memory_limit,
                       .budget = a->node->budget,
                       .clock = a->node->env.clock,
                       .deadline_ns = srv_call_deadline_ns(a->call),
                       .cancelled = call_is_gone,
                       .ctx = a->call};
    return VV_OK;
}

void svc_ask_count(const svc_ask *a)
{
    int64_t ns = vv_clock_mono(a->node->env.clock) - a->begin_ns;
    vv_hist_add(&a->node->query_ns, (uint64_t)ns);
    atomic_fetch_add_explicit(&a->node->queries_total, 1, memory_order_relaxed);
}

/* Count what the answer holds against the memory limit, in steps. */
static vv_status reserve(svc_ask *a, const vv_buf *out, size_t more, uint64_t *held, vv_error *err)
{
    while (out->len + more > *held) {
        if (!vv_budget_reserve(a->node->budget, VV_BUDGET_QUERY, RESERVE_STEP))
            return vv_fail(err, VV_BUSY,
                           "query: memory_limit is reached; retry after a pause or ask for less");
        *held += RESERVE_STEP;
    }
    return VV_OK;
}

static void put_status_ok(vv_buf *out)
{
    wire_put_bytes(out, 1, (vv_slice){0});
}

/* The rows of one page. *count: how many. *cut: another row was at hand and did not fit. */
static vv_status put_page(svc_ask *a, query *q, vv_buf *out, uint64_t *held, uint64_t *count,
                          bool *cut, vv_error *err)
{
    uint64_t page = a->ask.page_bytes > 0 ? (uint64_t)a->ask.page_bytes : PAGE_BYTES_DEFAULT;
    vv_status st;
    query_row row;
    while ((st = query_next(q, &row, err)) == VV_OK) {
        size_t size = row.body.len + row.metadata.len * 2 + row.key.len + a->tenant.len * 2 +
                      a->table.len + 64;
        if (*count > 0 && out->len + size > page) {
            *cut = true;
            return VV_OK;
        }
        st = reserve(a, out, size, held, err);
        if (st != VV_OK)
            return st;
        size_t begin = wire_begin(out, 2);
        query_row_put(out, a->tenant, a->table, &row);
        wire_end(out, begin);
        ++*count;
    }
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static vv_status put_answer(svc_ask *a, query *q, vv_buf *out, uint64_t *held, vv_error *err)
{
    uint64_t count = 0;
    bool more = false;
    query_stats stats;
    put_status_ok(out);
    vv_status st = put_page(a, q, out, held, &count, &more, err);
    if (st == VV_OK && !more)
        st = query_has_more(q, &more, err);
    if (st != VV_OK)
        return st;
    query_stats_read(q, &stats);
    stats.returned_rows = count;
    wire_put_uint(out, 3, stats.matched_rows);
    wire_put_uint(out, 4, more);
    size_t begin = wire_begin(out, 5);
    query_stats_put(out, &stats);
    wire_end(out, begin);
    wire_put_time(out, 6, vv_clock_wall(a->node->env.clock));
    return out->status == VV_OK
               ? VV_OK
               : vv_fail(err, out->status, "query: an answer over %u bytes", SVC_ANSWER_MAX);
}

vv_status svc_query_answer(svc_ask *a, vv_buf *out, vv_error *err)
{
    query_env env;
    query *q = NULL;
    uint64_t held = 0;
    if (a->ask.limit == 0)
        a->ask.limit = LIMIT_DEFAULT;
    vv_status st = svc_ask_open(a, &env, err);
    if (st == VV_OK)
        st = query_open(&a->ask, &env, &q, err);
    if (st == VV_OK)
        st = put_answer(a, q, out, &held, err);
    query_close(q);
    vv_budget_release(a->node->budget, VV_BUDGET_QUERY, held);
    return st;
}

/* ---- aggregates ---- */

typedef struct groups {
    svc_ask *ask;
    vv_buf *out;
} groups;

static void put_map_value(vv_buf *out, uint32_t map, vv_slice key, const struct_value *value)
{
    size_t begin = wire_begin(out, map);
    wire_put_text(out, 1, key);
    struct_value_put(out, 2, value);
    wire_end(out, begin);
}

static int put_group(void *ctx, const struct_value *values)
{
    const groups *g = ctx;
    const query_ask *ask = &g->ask->ask;
    char name[160];
    size_t begin = wire_begin(g->out, 2);
    for (size_t i = 0; i < ask->group_count; i++)
        put_map_value(g->out, 1, ask->group_by[i], &values[i]);
    for (size_t i = 0; i < ask->aggregate_count; i++)
        put_map_value(g->out, 2, query_aggregate_name(&ask->aggregates[i], name, sizeof name),
                      &values[ask->group_count + i]);
    wire_end(g->out, begin);
    return g->out->status != VV_OK;
}

vv_status svc_aggregate_answer(svc_ask *a, vv_buf *out, vv_error *err)
{
    query_env env;
    query_stats stats;
    groups g = {a, out};
    vv_status st = svc_ask_open(a, &env, err);
    put_status_ok(out);
    if (st == VV_OK)
        st = query_aggregate_run(&a->ask, &env, put_group, &g, &stats, err);
    if (st != VV_OK)
        return st;
    size_t begin = wire_begin(out, 3);
    query_stats_put(out, &stats);
    wire_end(out, begin);
    wire_put_time(out, 4, vv_clock_wall(a->node->env.clock));
    return out->status == VV_OK
               ? VV_OK
               : vv_fail(err, out->status, "aggregate: an answer over %u bytes", SVC_ANSWER_MAX);
}

/* ---- the plan in words ---- */

static void put_plan_node(vv_buf *out, uint32_t number, const query_plan_step *steps, size_t count)
{
    size_t begin = wire_begin(out, number);
    wire_put_string(out, 1, vv_slice_str(steps[0].node));
    wire_put_text(out, 2, vv_slice_str(steps[0].description));
    if (count > 1)
        put_plan_node(out, 5, steps + 1, count - 1);
    wire_end(out, begin);
}

static void put_plan_text(vv_buf *out, const query_plan_step *steps, size_t count)
{
    size_t begin = wire_begin(out, 1);
    for (size_t i = 0; i < count; i++)
        vv_buf_printf(out, "%*s%s: %s\n", (int)(2 * i), "", steps[i].node, steps[i].description);
    wire_end(out, begin);
}

vv_status svc_explain_answer(svc_ask *a, vv_buf *out, vv_error *err)
{
    query_env env;
    query *q = NULL;
    query_stats stats;
    query_plan_step steps[QUERY_PLAN_STEPS_MAX];
    vv_status st = svc_ask_open(a, &env, err);
    if (st == VV_OK)
        st = query_open(&a->ask, &env, &q, err);
    if (st != VV_OK)
        return st;
    size_t count = query_explain(q, steps);
    query_stats_read(q, &stats);
    query_close(q);
    put_status_ok(out);
    size_t begin = wire_begin(out, 2);
    put_plan_text(out, steps, count);
    put_plan_node(out, 2, steps, count);
    wire_end(out, begin);
    begin = wire_begin(out, 3);
    query_stats_put(out, &stats);
    wire_end(out, begin);
    return VV_OK;
}
