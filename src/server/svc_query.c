/*
 * svc_query.c - storage.QueryService: its methods, and point reads.
 *
 * A point read is answered on the loop that received it while memory has what it needs; a read of a
 * file, and everything that may walk many tables or records, goes to the pool.
 *
 * A RecordID names no table. The records of a tenant are looked for in the table of the request
 * header "varve-schema" when there is one, else in "records", else in the tenant's other record
 * tables by name.
 */
#include "server/svc_query.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/utf8.h"
#include "base/util.h"
#include "server/svc_read.h"

#define GET_ARENA_MAX (1024u * 1024)
#define ANSWER_STEP (256u * 1024)
#define GETS_MAX 10000u /* record ids of one GetRecords */
#define TABLES_MAX 256u /* record tables of a tenant that are looked through */

/* ---- answers made on the pool ---- */

typedef struct pool_job {
    svc_ask *ask;
    vv_status (*answer)(svc_ask *a, vv_buf *out, vv_error *err);
} pool_job;

static void run_job(void *arg)
{
    pool_job *job = arg;
    svc_ask *a = job->ask;
    vv_error err = {0};
    vv_buf out;
    vv_buf_init(&out, SVC_ANSWER_MAX);
    vv_status st = job->answer(a, &out, &err);
    svc_ask_count(a);
    if (st == VV_OK)
        srv_call_send(a->call, &out);
    vv_buf_fini(&out);
    srv_call_finish(a->call, st, st == VV_OK ? NULL : err.msg);
    svc_ask_unref(a);
    vv_free(job);
}

static void start_job(srv_call *call, srv_message msg, svc_ask_parser parser,
                      vv_status (*answer)(svc_ask *a, vv_buf *out, vv_error *err))
{
    vv_error err = {0};
    svc_ask *a = NULL;
    pool_job *job = NULL;
    vv_status st = svc_ask_create(call, &msg, NULL, parser, &a, &err);
    if (st != VV_OK)
        goto fail;
    job = vv_alloc(sizeof *job);
    if (job == NULL) {
        st = vv_fail(&err, VV_NO_MEMORY, "query");
        goto fail;
    }
    *job = (pool_job){a, answer};
    st = srv_pool_submit(a->node->pool, run_job, job);
    if (st == VV_OK)
        return;
    vv_fail(&err, st, "query: too many queries wait for a thread; retry after a pause");
fail:
    srv_call_finish(call, st, err.msg);
    vv_free(job);
    svc_ask_unref(a);
}

static void query_message(srv_call *call, srv_message msg)
{
    start_job(call, msg, query_request_parse, svc_query_answer);
}

static void aggregate_message(srv_call *call, srv_message msg)
{
    start_job(call, msg, query_aggregate_parse, svc_aggregate_answer);
}

static void explain_message(srv_call *call, srv_message msg)
{
    start_job(call, msg, query_request_parse, svc_explain_answer);
}

/* ---- point reads ---- */

typedef struct record_id {
    vv_slice tenant;
    vv_slice entity;
    int64_t version;
} record_id;

/* GetRecordRequest and GetRecordsRequest have the same fields. */
typedef struct get_request {
    record_id *ids;
    size_t id_count;
    vv_slice *projection;
    size_t projection_count;
    int64_t version;
    vv_slice schema; /* the header */
} get_request;

/* string id = 1 of TenantID and EntityID. */
static bool read_id(vv_slice message, vv_slice *out)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    int more;
    while ((more = wire_next(&r, &f)) > 0) {
        if (f.number == 1 && f.type != WIRE_BYTES)
            return false;
        if (f.number == 1)
            *out = f.bytes;
    }
    return more == 0;
}

static bool read_record_id(vv_slice message, record_id *out)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    int more;
    *out = (record_id){0};
    while ((more = wire_next(&r, &f)) > 0) {
        bool ok = true;
        if (f.number == 1)
            ok = f.type == WIRE_BYTES && read_id(f.bytes, &out->tenant);
        else if (f.number == 2)
            ok = f.type == WIRE_BYTES && read_id(f.bytes, &out->entity);
        else if (f.number == 3 && f.type == WIRE_VARINT)
            out->version = (int64_t)f.value;
        else if (f.number == 3)
            ok = false;
        if (!ok)
            return false;
    }
    if (out->tenant.len == 0)
        out->tenant = vv_slice_str("default");
    return more == 0;
}

static vv_status count_lists(vv_slice bytes, get_request *out, vv_error *err)
{
    wire_reader r = wire_reader_of(bytes);
    wire_field f = {0};
    int more;
    while ((more = wire_next(&r, &f)) > 0) {
        out->id_count += f.number == 1;
        out->projection_count += f.number == 2;
        if (f.number <= 3 && f.type != (f.number == 3 ? WIRE_VARINT : WIRE_BYTES))
            more = -1;
        if (more < 0)
            break;
        if (f.number == 3)
            out->version = (int64_t)f.value;
    }
    if (more < 0)
        return vv_fail(err, VV_INVALID, "request: its bytes are no protobuf message of this type");
    if (out->id_count > GETS_MAX || out->projection_count > QUERY_PROJECTION_MAX)
        return vv_fail(err, VV_INVALID,
                       "request: at most %u record ids and %u projection columns are allowed",
                       GETS_MAX, QUERY_PROJECTION_MAX);
    return VV_OK;
}

static vv_status parse_get(vv_slice bytes, vv_arena *arena, get_request *out, vv_error *err)
{
    vv_status st = count_lists(bytes, out, err);
    if (st != VV_OK)
        return st;
    out->ids = vv_arena_alloc(arena, (out->id_count + 1) * sizeof *out->ids);
    out->projection = vv_arena_alloc(arena, (out->projection_count + 1) * sizeof *out->projection);
    if (out->ids == NULL || out->projection == NULL)
        return vv_fail(err, VV_NO_MEMORY, "request: %zu record ids", out->id_count);
    size_t ids = 0;
    size_t columns = 0;
    wire_reader r = wire_reader_of(bytes);
    wire_field f = {0};
    while (wire_next(&r, &f) > 0) {
        if (f.number == 1 && !read_record_id(f.bytes, &out->ids[ids++]))
            return vv_fail(err, VV_INVALID, "request: record id %zu is malformed", ids);
        if (f.number == 2)
            out->projection[columns++] = f.bytes;
    }
    return VV_OK;
}

/* What the reads of one request share. */
typedef struct getter {
    srv_call *call;
    node *node;
    get_request req;
    vv_arena arena;
    vv_buf scratch;
    uint64_t held; /* of the answer, counted in the budget */
    bool no_table; /* the table that was asked for by name is not there */
    bool may_wait;
    bool would_wait; /* without may_wait: VV_BUSY says nothing but this */
} getter;

/* Count an answer of len bytes, the first step excepted: a small one is always given. */
static vv_status count_answer(getter *g, size_t len, vv_error *err)
{
    while (len > g->held + ANSWER_STEP) {
        if (!vv_budget_reserve(g->node->budget, VV_BUDGET_QUERY, ANSWER_STEP))
            return vv_fail(err, VV_BUSY,
                           "storage.memory_limit is used up: retry after a pause, or ask for fewer "
                           "records at a time");
        g->held += ANSWER_STEP;
    }
    return VV_OK;
}

static vv_status get_from(getter *g, const record_id *id, vv_slice table_name, vv_buf *out,
                          vv_error *err)
{
    gate_op op = {
        .kind = GATE_READ, .tenant = id->tenant, .table = table_name, .key_begin = id->entity};
    gate_identity who = svc_identity(g->call);
    gate_grant grant;
    vv_table *table = NULL;
    vv_value value = {0};
    query_row row;
    int64_t version = id->version != 0 ? id->version : g->req.version;
    vv_status st = gate_authorize(g->node->gate, &who, &op, 1, &grant, err);
    if (st == VV_OK) {
        st = gate_open_table(&grant, 0, VV_TABLE_RECORD, &table, err);
        g->no_table = st == VV_NOT_FOUND;
    }
    if (st == VV_OK)
        st = svc_read_value(table, version, id->entity, g->may_wait, &value, &g->would_wait, err);
    if (st == VV_OK) {
        st = count_answer(g, out->len + value.data.len, err);
        if (st == VV_OK)
            st = query_row_read(id->entity, value.data, value.version, g->req.projection,
                                g->req.projection_count, &g->arena, &g->scratch, &row, err);
        if (st == VV_OK) {
            size_t begin = wire_begin(out, 2);
            query_row_put(out, id->tenant, table_name, &row);
            wire_end(out, begin);
        }
        vv_value_release(&value);
    }
    vv_table_close(table);
    return st;
}

/* The names of a tenant's record tables, but "records". */
typedef struct names {
    vv_arena *arena;
    vv_slice name[TABLES_MAX];
    size_t count;
} names;

static int take_name(void *ctx, const vv_table_info *info)
{
    names *n = ctx;
    if (info->kind != VV_TABLE_RECORD || strcmp(info->name, "records") == 0)
        return 0;
    vv_slice copy = vv_arena_dup(n->arena, vv_slice_str(info->name));
    if (copy.data == NULL)
        return 1;
    n->name[n->count++] = copy;
    return n->count == TABLES_MAX;
}

static vv_status get_elsewhere(getter *g, const record_id *id, vv_buf *out, vv_error *err)
{
    if (!g->may_wait) { /* up to TABLES_MAX tables: too much for a turn of the loop */
        g->would_wait = true;
        return VV_BUSY;
    }
    names n = {.arena = &g->arena};
    gate_op op = {.kind = GATE_LIST, .tenant = id->tenant};
    gate_identity who = svc_identity(g->call);
    gate_grant grant;
    char tenant[VV_NAME_MAX + 1];
    if (id->tenant.len > VV_NAME_MAX)
        return VV_NOT_FOUND;
    memcpy(tenant, id->tenant.data, id->tenant.len);
    tenant[id->tenant.len] = 0;
    vv_status st = gate_authorize(g->node->gate, &who, &op, 1, &grant, err);
    if (st == VV_OK)
        st = vv_table_list_names(gate_db(&grant), tenant, take_name, &n, err);
    if (st != VV_OK)
        return st;
    st = VV_NOT_FOUND;
    for (size_t i = 0; i < n.count && st == VV_NOT_FOUND; i++)
        st = get_from(g, id, n.name[i], out, err);
    return st;
}

/* Append the record as field 2 of out; VV_NOT_FOUND when no table has it. */
static vv_status get_one(getter *g, const record_id *id, vv_buf *out, vv_error *err)
{
    if (id->entity.len == 0)
        return vv_fail(err, VV_INVALID, "record_id: entity_id is empty");
    if (!utf8_is_valid(id->entity) || !utf8_is_valid(id->tenant))
        return vv_fail(err, VV_INVALID, "record_id: the %s id must be UTF-8",
                       utf8_is_valid(id->entity) ? "tenant" : "entity");
    if (g->req.schema.len > 0)
        return get_from(g, id, g->req.schema, out, err);
    vv_status st = get_from(g, id, vv_slice_str("records"), out, err);
    return st == VV_NOT_FOUND ? get_elsewhere(g, id, out, err) : st;
}

static void put_status(vv_buf *out, uint32_t number, vv_status st, const char *message)
{
    size_t begin = wire_begin(out, number);
    wire_put_int(out, 1, vv_status_grpc(st));
    wire_put_text(out, 2, vv_slice_str(message));
    wire_end(out, begin);
}

/* GetRecordResponse. */
static vv_status answer_one(getter *g, vv_buf *out, vv_error *err)
{
    if (g->req.id_count == 0)
        return vv_fail(err, VV_INVALID, "request: record_id is missing");
    wire_put_bytes(out, 1, (vv_slice){0});
    vv_status st = get_one(g, &g->req.ids[g->req.id_count - 1], out, err);
    if (st != VV_OK && (st != VV_NOT_FOUND || (g->no_table && g->req.schema.len > 0)))
        return st;
    wire_put_uint(out, 3, st == VV_OK);
    wire_put_time(out, 4, vv_clock_wall(g->node->env.clock));
    return VV_OK;
}

/* The RecordID that was asked for, so that an answer says whose it is. */
static void put_id(vv_buf *out, const record_id *id)
{
    size_t begin = wire_begin(out, 1);
    size_t inner = wire_begin(out, 1);
    wire_put_text(out, 1, id->tenant);
    wire_end(out, inner);
    inner = wire_begin(out, 2);
    wire_put_text(out, 1, id->entity);
    wire_end(out, inner);
    wire_put_int(out, 3, id->version);
    wire_end(out, begin);
}

/* GetRecordsResponse: the fault of one record is in its result. */
static vv_status answer_many(getter *g, vv_buf *out, vv_error *err)
{
    wire_put_bytes(out, 1, (vv_slice){0});
    for (size_t i = 0; i < g->req.id_count; i++) {
        vv_error why = {0};
        size_t begin = wire_begin(out, 2);
        put_id(out, &g->req.ids[i]);
        vv_status st = get_one(g, &g->req.ids[i], out, &why);
        wire_put_uint(out, 3, st == VV_OK);
        put_status(out, 4, st, st == VV_OK ? "" : why.msg);
        if (st == VV_CORRUPT)
            node_note_corrupt(g->node, why.msg);
        wire_end(out, begin);
    }
    wire_put_time(out, 3, vv_clock_wall(g->node->env.clock));
    return out->status == VV_OK
               ? VV_OK
               : vv_fail(err, out->status, "GetRecords: an answer over %u bytes; ask for fewer",
                         SVC_ANSWER_MAX);
}

static bool answer_get(srv_call *call, vv_slice request, bool may_wait, int64_t begin_ns,
                       vv_status (*answer)(getter *g, vv_buf *out, vv_error *err))
{
    getter g = {.call = call,
                .node = srv_call_ctx(call),
                .req.schema = srv_call_header(call, "varve-schema"),
                .may_wait = may_wait};
    vv_error err = {0};
    vv_buf out;
    vv_buf_init(&out, SVC_ANSWER_MAX);
    vv_buf_init(&g.scratch, VV_VALUE_MAX * 2);
    vv_arena_init(&g.arena, GET_ARENA_MAX);
    vv_status st = parse_get(request, &g.arena, &g.req, &err);
    if (st == VV_OK)
        st = answer(&g, &out, &err);
    if (!g.would_wait)
        svc_read_count(call, begin_ns);
    if (st == VV_OK)
        srv_call_send(call, &out);
    if (!g.would_wait)
        srv_call_finish(call, st, st == VV_OK ? NULL : err.msg);
    vv_budget_release(g.node->budget, VV_BUDGET_QUERY, g.held);
    vv_buf_fini(&out);
    vv_buf_fini(&g.scratch);
    vv_arena_fini(&g.arena);
    return !g.would_wait;
}

static bool get_record(srv_call *call, vv_slice message, bool may_wait, int64_t begin_ns)
{
    return answer_get(call, message, may_wait, begin_ns, answer_one);
}

static bool get_records(srv_call *call, vv_slice message, bool may_wait, int64_t begin_ns)
{
    return answer_get(call, message, may_wait, begin_ns, answer_many);
}

static void refuse_get(srv_call *call, vv_status st, const char *message)
{
    srv_call_finish(call, st, message);
}

static void get_record_message(srv_call *call, srv_message msg)
{
    static const svc_read_ops ops = {.answer = get_record, .refuse = refuse_get};
    svc_read_begin(call, msg, &ops);
}

static void get_records_message(srv_call *call, srv_message msg)
{
    static const svc_read_ops ops = {.answer = get_records, .refuse = refuse_get};
    svc_read_on_pool(call, msg, &ops);
}

/* ---- health ---- */

enum { HEALTH_SERVING = 1, HEALTH_NOT_SERVING = 2, HEALTH_SERVICE_UNKNOWN = 3 };

static void health_message(srv_call *call, srv_message msg)
{
    node *n = srv_call_ctx(call);
    vv_slice service = {0};
    char why[NODE_WHY_MAX];
    vv_buf out;
    vv_buf_init(&out, 1024);
    bool parsed = read_id(msg.data, &service); /* string service = 1 */
    bool known = service.len == 0 || vv_slice_eq(service, vv_slice_str("storage.QueryService"));
    bool ready = node_is_ready(n, why, sizeof why);
    wire_put_int(&out, 1,
                 !known  ? HEALTH_SERVICE_UNKNOWN
                 : ready ? HEALTH_SERVING
                         : HEALTH_NOT_SERVING);
    wire_put_string(&out, 2, vv_slice_str(known ? why : "there is no such service here"));
    wire_put_time(&out, 3, vv_clock_wall(n->env.clock));
    srv_message_release(&msg);
    if (parsed)
        srv_call_send(call, &out);
    srv_call_finish(call, parsed ? VV_OK : VV_INVALID, parsed ? NULL : "request: malformed");
    vv_buf_fini(&out);
}

/* ---- the table ---- */

#define QUERY_METHOD(name, what, on_message)                                                       \
    {                                                                                              \
        .kind = (what), .path = "/storage.QueryService/" name, .message = (on_message)             \
    }

size_t svc_query_methods(node *n, srv_method *out, size_t max)
{
    static const srv_method methods[] = {
        QUERY_METHOD("Query", SRV_GRPC_UNARY, query_message),
        QUERY_METHOD("GetRecord", SRV_GRPC_UNARY, get_record_message),
        QUERY_METHOD("GetRecords", SRV_GRPC_UNARY, get_records_message),
        QUERY_METHOD("Aggregate", SRV_GRPC_UNARY, aggregate_message),
        QUERY_METHOD("ExplainQuery", SRV_GRPC_UNARY, explain_message),
        QUERY_METHOD("HealthCheck", SRV_GRPC_UNARY, health_message),
        {.kind = SRV_GRPC_STREAM,
         .path = "/storage.QueryService/QueryStream",
         .message = svc_stream_message,
         .half_close = svc_stream_half_close,
         .drained = svc_stream_drained,
         .closed = svc_stream_closed},
    };
    return svc_add_methods(methods, ARRAY_LEN(methods), n, out, max);
}
