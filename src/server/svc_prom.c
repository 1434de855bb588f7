/*
 * svc_prom.c - the part of Prometheus' HTTP API that dashboards ask, over series tables: below
 * /prometheus/api/v1, query, query_range, series, labels, label/NAME/values, metadata and
 * status/buildinfo.
 * https://prometheus.io/docs/prometheus/latest/querying/api/
 *
 * All of it runs on the pool. A query holds query.memory_limit of the node's budget while it runs,
 * and the bytes of its answer besides. Two parameters are ours: `tenant` and `table` name the
 * series table, else it is `series.table`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "query/struct_json.h"
#include "server/svc_prom.h"
#include "server/svc_util.h"

#define PREFIX "/prometheus/api/v1/"
#define JSON_TYPE "application/json"
#define FORM_MAX (1024u * 1024)
#define LIST_MAX (64u * 1024 * 1024) /* bytes of an answer that lists names, values or series */
#define LIST_COUNT_MAX 1000000u

typedef struct prom_ask prom_ask;

typedef struct prom_path {
    const char *name;         /* behind the prefix */
    const char *const *takes; /* its parameters, NULL at the end; NULL: none are looked at */
    vv_status (*answer)(prom_ask *a, vv_error *err);
} prom_path;

struct prom_ask {
    node *n;
    srv_call *call; /* referenced */
    srv_message form;
    const prom_path *path;
    vv_arena arena;
    prom_params params;
    vv_table *table;
    bool is_admitted; /* by the gate */
    vv_buf json;      /* the answer */
    uint64_t held;    /* of the budget */
};

/* ---- help ---- */

static vv_status hold(prom_ask *a, uint64_t more, vv_error *err)
{
    if (!vv_budget_reserve(a->n->budget, VV_BUDGET_QUERY, more))
        return vv_fail(err, VV_BUSY,
                       "storage.memory_limit is used up: retry after a pause, or ask for less");
    a->held += more;
    return VV_OK;
}

/* Begin the answer: what follows is its data, of so many bytes at most. */
static void begin_data(prom_ask *a, uint64_t size_max)
{
    static const char head[] = "{\"status\":\"success\",\"data\":";
    vv_buf_init(&a->json, (size_t)size_max + sizeof head + 1);
    vv_buf_append_str(&a->json, head);
}

/* The table, or none: nothing was written to it yet. */
static vv_status open_table(prom_ask *a, vv_error *err)
{
    const gate_identity who = svc_identity(a->call);
    const vv_slice table = prom_param_get(&a->params, "table");
    vv_status st = svc_find_series(a->n, &who, GATE_READ, prom_param_get(&a->params, "tenant"),
                                   table, &a->table, err);
    return st == VV_NOT_FOUND && table.len == 0 ? VV_OK : st;
}

static vv_status no_samples(void *ctx, const vv_matcher *matchers, size_t matcher_count,
                            int64_t start_ns, int64_t end_ns, vv_arena *arena,
                            const promql_series **out, size_t *count, vv_error *err)
{
    (void)ctx, (void)matchers, (void)matcher_count, (void)start_ns, (void)end_ns;
    *count = 0;
    *out = vv_arena_alloc(arena, 1);
    return *out == NULL ? vv_fail(err, VV_NO_MEMORY, "query: no memory") : VV_OK;
}

static promql_source source_of(prom_table *from)
{
    if (from->table != NULL)
        return prom_source_of(from);
    return (promql_source){.select = no_samples};
}

static bool call_is_gone(void *ctx)
{
    return !srv_call_is_open(ctx);
}

/* ---- query, query_range ---- */

static vv_status evaluate(prom_ask *a, const promql_options *opt, vv_error *err)
{
    vv_slice text = prom_param_get(&a->params, "query");
    if (text.data == NULL)
        return vv_fail(err, VV_INVALID, "parameter query is missing");
    promql_expr *expr = NULL;
    promql_result result;
    vv_status st = promql_parse(text, &expr, err);
    if (st != VV_OK)
        return st;
    prom_table from = {.table = a->table,
                       .budget = a->n->budget,
                       .cancelled = call_is_gone,
                       .cancelled_ctx = a->call};
    const promql_source source = source_of(&from);
    st = promql_eval(expr, &source, opt, &a->arena, &result, err);
    uint64_t size = st == VV_OK ? prom_result_size(&result) : 0;
    if (st == VV_OK)
        st = hold(a, size, err);
    if (st == VV_OK) {
        begin_data(a, size);
        prom_put_result(&a->json, &result, opt);
    }
    promql_free(expr);
    return st;
}

static vv_status answer_query(prom_ask *a, vv_error *err)
{
    promql_options opt = {.start_ns = vv_clock_wall(a->n->env.clock)};
    vv_status st = prom_param_time(&a->params, "time", &opt.start_ns, err);
    if (st == VV_OK)
        st = prom_param_duration(&a->params, "lookback_delta", &opt.lookback_ns, err);
    return st == VV_OK ? evaluate(a, &opt, err) : st;
}

static vv_status answer_query_range(prom_ask *a, vv_error *err)
{
    static const char *const needed[] = {"start", "end", "step"};
    promql_options opt = {.start_ns = 0};
    for (size_t i = 0; i < ARRAY_LEN(needed); i++)
        if (prom_param_get(&a->params, needed[i]).data == NULL)
            return vv_fail(err, VV_INVALID, "parameter %s is missing", needed[i]);
    vv_status st = prom_param_time(&a->params, "start", &opt.start_ns, err);
    if (st == VV_OK)
        st = prom_param_time(&a->params, "end", &opt.end_ns, err);
    if (st == VV_OK)
        st = prom_param_duration(&a->params, "step", &opt.step_ns, err);
    if (st == VV_OK)
        st = prom_param_duration(&a->params, "lookback_delta", &opt.lookback_ns, err);
    return st == VV_OK ? evaluate(a, &opt, err) : st;
}

/* ---- what there is: series, labels, values ---- */

/* A list while it is written, for each selector in turn. */
typedef struct listing {
    prom_ask *a;
    vv_slice label; /* whose values are asked for; NULL data: names */
    uint64_t *seen; /* ids of series that are in it, when there are several selectors; ascending */
    size_t seen_count;
    size_t seen_cap;
    vv_slice *text; /* names or values, in the arena */
    size_t text_count;
    size_t text_cap;
    size_t count_max;
    size_t count;
    vv_status status;
} listing;

/* Room for one more item of so many bytes behind count of them. */
static bool make_room(listing *l, void **items, size_t count, size_t *cap, size_t item_size)
{
    if (count < *cap)
        return true;
    size_t more = *cap == 0 ? 64 : *cap * 2;
    void *grown = vv_realloc(*items, more * item_size);
    if (grown == NULL) {
        l->status = VV_NO_MEMORY;
        return false;
    }
    *items = grown;
    *cap = more;
    return true;
}

static int add_series(void *ctx, const vv_series_info *info)
{
    listing *l = ctx;
    size_t lower = 0;
    for (size_t upper = l->seen_count; lower < upper;) {
        size_t middle = (lower + upper) / 2;
        if (l->seen[middle] < info->id)
            lower = middle + 1;
        else
            upper = middle;
    }
    if (lower < l->seen_count && l->seen[lower] == info->id)
        return 0;
    if (l->count == l->count_max)
        return 1;
    void *seen = l->seen;
    if (!make_room(l, &seen, l->seen_count, &l->seen_cap, sizeof *l->seen))
        return 1;
    l->seen = seen;
    memmove(l->seen + lower + 1, l->seen + lower, (l->seen_count - lower) * sizeof *l->seen);
    l->seen[lower] = info->id;
    l->seen_count++;
    if (l->count++ > 0)
        vv_buf_append_u8(&l->a->json, ',');
    prom_put_labels(&l->a->json, info->labels, info->label_count);
    l->status = l->a->json.status;
    return l->status != VV_OK;
}

static int add_text(void *ctx, vv_slice text)
{
    listing *l = ctx;
    void *texts = l->text;
    if (!make_room(l, &texts, l->text_count, &l->text_cap, sizeof *l->text))
        return 1;
    l->text = texts;
    vv_slice copy = vv_arena_dup(&l->a->arena, text);
    l->status = copy.data == NULL ? VV_BUSY : l->status;
    if (copy.data != NULL)
        l->text[l->text_count++] = copy;
    return l->status != VV_OK;
}

static int by_text(const void *a, const void *b)
{
    return vv_slice_cmp(*(const vv_slice *)a, *(const vv_slice *)b);
}

static void put_texts(listing *l)
{
    if (l->text_count > 0)
        qsort(l->text, l->text_count, sizeof *l->text, by_text);
    for (size_t i = 0; i < l->text_count && l->count < l->count_max; i++) {
        if (i > 0 && vv_slice_eq(l->text[i], l->text[i - 1]))
            continue;
        if (l->count++ > 0)
            vv_buf_append_u8(&l->a->json, ',');
        json_put_string(&l->a->json, l->text[i]);
    }
}

typedef enum list_kind { LISTED_SERIES, LISTED_NAMES, LISTED_VALUES } list_kind;

static vv_status list_matching(listing *l, list_kind kind, const vv_matcher *matchers, size_t count,
                               vv_error *err)
{
    vv_table *table = l->a->table;
    vv_status st = VV_OK;
    if (table == NULL)
        return VV_OK;
    if (kind == LISTED_SERIES)
        st = vv_series_list(table, matchers, count, 0, add_series, l, err);
    else if (kind == LISTED_NAMES)
        st = vv_series_label_names(table, matchers, count, add_text, l, err);
    else
        st = vv_series_label_values(table, l->label, matchers, count, add_text, l, err);
    if (st == VV_OK && l->status != VV_OK)
        st =
            vv_fail(err, l->status, "the list is too long for the memory of a query: ask for less");
    return st;
}

/* For each match[] parameter; without any for all series, where that may be. */
static vv_status list_each(listing *l, list_kind kind, vv_error *err)
{
    const prom_params *params = &l->a->params;
    bool any = false;
    vv_status st = VV_OK;
    for (size_t i = 0; st == VV_OK && i < params->count; i++) {
        if (!vv_slice_eq(params->items[i].name, vv_slice_str("match[]")))
            continue;
        promql_expr *expr = NULL;
        const vv_matcher *matchers = NULL;
        size_t count = 0;
        any = true;
        st = promql_parse(params->items[i].value, &expr, err);
        if (st == VV_OK)
            st = promql_selector_of(expr, &matchers, &count, err);
        if (st == VV_OK)
            st = list_matching(l, kind, matchers, count, err);
        promql_free(expr);
    }
    if (st == VV_OK && !any)
        st = kind == LISTED_SERIES ? vv_fail(err, VV_INVALID, "parameter match[] is missing")
                                   : list_matching(l, kind, NULL, 0, err);
    return st;
}

static vv_status answer_list(prom_ask *a, list_kind kind, vv_slice label, vv_error *err)
{
    listing l = {.a = a, .label = label, .count_max = LIST_COUNT_MAX};
    vv_slice limit = prom_param_get(&a->params, "limit");
    uint64_t asked = 0;
    if (limit.data != NULL && !svc_parse_uint(limit, &asked))
        return vv_fail(err, VV_INVALID, "parameter limit: '%.*s' is no number",
                       (int)vv_min_u64(limit.len, 40), (const char *)limit.data);
    if (asked > 0)
        l.count_max = (size_t)vv_min_u64(asked, LIST_COUNT_MAX);
    vv_status st = hold(a, LIST_MAX / 16, err);
    if (st != VV_OK)
        return st;
    begin_data(a, LIST_MAX);
    vv_buf_append_u8(&a->json, '[');
    st = list_each(&l, kind, err);
    put_texts(&l);
    vv_buf_append_u8(&a->json, ']');
    vv_free(l.seen);
    vv_free(l.text);
    return st;
}

static vv_status answer_series(prom_ask *a, vv_error *err)
{
    return answer_list(a, LISTED_SERIES, (vv_slice){0}, err);
}

static vv_status answer_labels(prom_ask *a, vv_error *err)
{
    return answer_list(a, LISTED_NAMES, (vv_slice){0}, err);
}

static vv_status answer_values(prom_ask *a, vv_error *err)
{
    vv_slice name;
    vv_status st =
        prom_label_of_path(srv_call_path(a->call), PREFIX "label/", &a->arena, &name, err);
    return st == VV_OK ? answer_list(a, LISTED_VALUES, name, err) : st;
}

/* Types and help texts are not kept. */
static vv_status answer_metadata(prom_ask *a, vv_error *err)
{
    (void)err;
    begin_data(a, 16);
    vv_buf_append_str(&a->json, "{}");
    return VV_OK;
}

static vv_status answer_buildinfo(prom_ask *a, vv_error *err)
{
    (void)err;
    begin_data(a, 256);
    vv_buf_printf(&a->json,
                  "{\"version\":\"2.42.0\",\"revision\":\"varve %s\",\"branch\":\"\",\"buildUser\":"
                  "\"\",\"buildDate\":\"\",\"goVersion\":\"\"}",
                  vv_version());
    return VV_OK;
}

static vv_status answer_unknown(prom_ask *a, vv_error *err)
{
    (void)a;
    return vv_fail(err, VV_NOT_FOUND, "this part of Prometheus' API is not served");
}

/* ---- the call ---- */

static const char *error_type(vv_status st)
{
    switch (st) {
    case VV_INVALID:
        return "bad_data";
    case VV_NOT_FOUND:
        return "not_found";
    case VV_TIMEOUT:
        return "timeout";
    case VV_BUSY:
    case VV_NO_MEMORY:
    case VV_CLOSED:
        return "unavailable";
    case VV_UNSUPPORTED:
        return "execution";
    default:
        return "internal";
    }
}

static int error_code(vv_status st)
{
    switch (st) {
    case VV_INVALID:
        return 400;
    case VV_NOT_FOUND:
        return 404;
    case VV_UNSUPPORTED:
        return 422;
    case VV_BUSY:
    case VV_NO_MEMORY:
    case VV_CLOSED:
    case VV_TIMEOUT:
        return 503;
    default:
        return 500;
    }
}

static void reply_error(srv_call *call, vv_status st, const char *message)
{
    vv_buf out;
    if (st == VV_CORRUPT)
        node_note_corrupt(srv_call_ctx(call), message);
    vv_buf_init(&out, 4096);
    vv_buf_printf(&out, "{\"status\":\"error\",\"errorType\":\"%s\",\"error\":", error_type(st));
    json_put_string(&out, vv_slice_str(message));
    vv_buf_append_str(&out, "}");
    srv_call_reply(call, error_code(st), JSON_TYPE, &out, NULL);
    vv_buf_fini(&out);
}

/* Give back what the query held, then answer: who has the answer may ask the next one. */
static void reply(prom_ask *a, vv_status st, const vv_error *err)
{
    vv_arena_fini(&a->arena);
    vv_budget_release(a->n->budget, VV_BUDGET_QUERY, a->held);
    a->held = 0;
    vv_buf_append_str(&a->json, "}");
    if (st == VV_UNSUPPORTED && !a->is_admitted)
        svc_reply_error(a->call, st, err->msg); /* as the gate refuses everywhere */
    else if (st != VV_OK)
        reply_error(a->call, st, err->msg);
    else if (a->json.status != VV_OK)
        reply_error(a->call, VV_BUSY, "no memory for the answer: ask for less");
    else
        srv_call_reply(a->call, 200, JSON_TYPE, &a->json, NULL);
}

static void ask_free(prom_ask *a)
{
    vv_buf_fini(&a->json);
    vv_arena_fini(&a->arena);
    vv_table_close(a->table);
    vv_budget_release(a->n->budget, VV_BUDGET_QUERY, a->held);
    srv_message_release(&a->form);
    srv_call_unref(a->call);
    vv_free(a);
}

static vv_status run(prom_ask *a, vv_error *err)
{
    vv_status st = hold(a, a->n->query_memory_limit, err);
    vv_arena_init(&a->arena, (size_t)a->n->query_memory_limit);
    if (st == VV_OK)
        st = prom_params_add(&a->params, srv_call_query(a->call), &a->arena, err);
    if (st == VV_OK && a->form.data.len > 0)
        st = prom_params_add(&a->params, a->form.data, &a->arena, err);
    if (st == VV_OK && a->path->takes != NULL)
        st = prom_params_check(&a->params, a->path->takes, err);
    if (st == VV_OK)
        st = open_table(a, err);
    a->is_admitted = st == VV_OK;
    return st == VV_OK ? a->path->answer(a, err) : st;
}

static void run_ask(void *arg)
{
    prom_ask *a = arg;
    vv_error err = {0};
    if (srv_call_is_open(a->call)) {
        atomic_fetch_add_explicit(&a->n->queries_total, 1, memory_order_relaxed);
        vv_status st = run(a, &err);
        reply(a, st, &err);
    }
    ask_free(a);
}

static const prom_path *path_of(vv_slice path)
{
    /* Those of Prometheus that change no answer here are taken, too: timeout, limit, stats. */
    static const char *const instant[] = {"query",          "time",   "timeout", "limit", "stats",
                                          "lookback_delta", "tenant", "table",   NULL};
    static const char *const range[] = {"query",   "start", "end",   "step",
                                        "timeout", "limit", "stats", "lookback_delta",
                                        "tenant",  "table", NULL};
    static const char *const list[] = {"match[]", "start", "end", "limit", "tenant", "table", NULL};
    static const char *const about[] = {"metric", "limit", "limit_per_metric",
                                        "tenant", "table", NULL};
    static const prom_path paths[] = {
        {"query", instant, answer_query},     {"query_range", range, answer_query_range},
        {"series", list, answer_series},      {"labels", list, answer_labels},
        {"metadata", about, answer_metadata}, {"status/buildinfo", about, answer_buildinfo},
    };
    static const prom_path values = {"label/", list, answer_values};
    static const prom_path unknown = {"", NULL, answer_unknown};
    size_t skip = strlen(PREFIX);
    vv_slice name = vv_slice_of(path.data + skip, path.len - skip);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        if (vv_slice_eq(name, vv_slice_str(paths[i].name)))
            return &paths[i];
    return vv_slice_has_prefix(name, vv_slice_str(values.name)) ? &values : &unknown;
}

static void prom_message(srv_call *call, srv_message msg)
{
    prom_ask *a = vv_calloc(1, sizeof *a);
    if (a == NULL) {
        srv_message_release(&msg);
        reply_error(call, VV_NO_MEMORY, "no memory for a call");
        return;
    }
    srv_call_ref(call);
    *a = (prom_ask){
        .n = srv_call_ctx(call), .call = call, .form = msg, .path = path_of(srv_call_path(call))};
    if (srv_pool_submit(a->n->pool, run_ask, a) == VV_OK)
        return;
    reply_error(call, VV_BUSY, "too many queries wait for a thread: retry after a pause");
    ask_free(a);
}

size_t svc_prom_methods(node *n, srv_method *out, size_t max)
{
    static const srv_method methods[] = {
        {.kind = SRV_HTTP, .verb = "GET", .path = PREFIX "*", .message = prom_message},
        {.kind = SRV_HTTP,
         .verb = "POST",
         .path = PREFIX "*",
         .message_max = FORM_MAX,
         .message = prom_message},
    };
    return svc_add_methods(methods, ARRAY_LEN(methods), n, out, max);
}
