/*
 * svc_otlp.c - Export of traces and logs: spans and log records as messages of the stream tables
 * "traces" and "logs", and the rows of all of OTLP.
 *
 *   loop --> pool: authorize, unwrap, check the whole request
 *               +-> pool: some MiB of messages --> svc_message_append ... commit thread --+
 *               |                                                                         |
 *               +---- by way of the loop, while there are more <--------------------------+
 *                                                     \ answered with the last of them
 *
 * A request of usual size is one append: all of it or nothing. One that becomes more than
 * PIECE_BYTES is several, one behind the other, so that its memory has a bound; when a later one
 * fails the exporter sends all of it again, and what was written is there twice.
 */
#include "server/svc_otlp.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "server/svc_ingest.h"
#include "server/svc_message.h"
#include "server/svc_util.h"

#define PIECE_BYTES (4u * 1024 * 1024)
#define PIECE_MESSAGES 8192u
#define ARENA_MAX (64u * 1024 * 1024)

typedef struct export
{
    node *n;
    srv_call *call; /* referenced */
    srv_message msg;
    vv_buf plain;
    uint64_t charge; /* of plain */
    otlp_signal signal;
    otlp_summary summary;
    otlp_walk walk;
    feed_result read;
    vv_arena arena; /* of one piece */
    uint64_t arena_charge;
    svc_messages what;
}
export;

static void release_arena(export *e)
{
    vv_arena_fini(&e->arena);
    vv_budget_release(e->n->budget, VV_BUDGET_NETWORK, e->arena_charge);
    e->arena_charge = 0;
}

static void export_destroy(export *e)
{
    release_arena(e);
    srv_message_release(&e->msg);
    vv_buf_fini(&e->plain);
    vv_budget_release(e->n->budget, VV_BUDGET_NETWORK, e->charge);
    srv_call_unref(e->call);
    vv_free(e);
}

static void refuse(export *e, vv_status st, const vv_error *why)
{
    svc_otlp_refuse(e->call, st, why->msg);
    export_destroy(e);
}

static void answer(export *e)
{
    svc_otlp_answer(e->call, e->read.refused, e->read.first_refusal);
    export_destroy(e);
}

static void run_piece(void *arg);

static void begin_on_pool(export *e, void (*run)(void *arg))
{
    static const vv_error busy = {.status = VV_BUSY, .msg = SVC_NO_THREAD};
    if (srv_pool_submit_point(e->n->pool, run, e) != VV_OK)
        refuse(e, VV_BUSY, &busy);
}

static void posted(srv_call *call, void *arg)
{
    static const vv_error gone = {.status = VV_CLOSED, .msg = "the client is gone"};
    if (srv_call_is_open(call))
        begin_on_pool(arg, run_piece);
    else /* the pool may be gone, too */
        refuse(arg, VV_CLOSED, &gone);
}

/* On the commit thread. */
static void on_appended(void *ctx, vv_status st, const vv_stream_append_result *result,
                        const vv_error *err)
{
    export *e = ctx;
    (void)result;
    if (st != VV_OK) {
        refuse(e, st, err);
        return;
    }
    if (e->read.samples + e->read.refused == e->summary.records) {
        answer(e);
        return;
    }
    release_arena(e);
    srv_call_post(e->call, posted, e);
}

static vv_status read_piece(export *e, vv_error *err)
{
    vv_message *messages = NULL;
    vv_status st =
        otlp_walk_next(&e->walk, &e->arena, vv_min_u64(e->summary.records, PIECE_MESSAGES),
                       PIECE_BYTES, &messages, &e->what.count, &e->read, err);
    e->what.messages = messages;
    if (st != VV_OK)
        return st;
    if (!vv_budget_reserve(e->n->budget, VV_BUDGET_NETWORK, e->arena.used))
        return vv_fail(err, VV_BUSY,
                       "storage.memory_limit is used up: retry after a pause, or send less at a "
                       "time");
    e->arena_charge = e->arena.used;
    return VV_OK;
}

static void run_piece(void *arg)
{
    export *e = arg;
    vv_error err = {0};
    vv_status st = srv_call_is_open(e->call) ? read_piece(e, &err)
                                             : vv_fail(&err, VV_CLOSED, "the client is gone");
    if (st == VV_OK && e->what.count == 0) {
        answer(e);
        return;
    }
    if (st == VV_OK)
        st = svc_message_append(e->call, &e->what, on_appended, e, &err);
    if (st != VV_OK)
        refuse(e, st, &err);
}

static void run_export(void *arg)
{
    static const char *const tables[] = {[OTLP_TRACES] = "traces", [OTLP_LOGS] = "logs"};
    export *e = arg;
    vv_slice request;
    uint64_t message_max = 0;
    vv_error err = {0};
    e->what.table.tenant = srv_call_header(e->call, SVC_OTLP_TENANT);
    e->what.table.table = vv_slice_str(tables[e->signal]);
    vv_status st = svc_message_authorize(e->call, &e->what.table, GATE_WRITE, &err);
    if (st == VV_OK)
        st = svc_otlp_unwrap(e->call, e->msg.data, &e->plain, &e->charge, &request, &err);
    if (st == VV_OK)
        st = otlp_check(e->signal, request, &e->summary, &err);
    if (st == VV_OK)
        st = svc_message_limit(e->call, &e->what.table, &message_max, &err);
    if (st != VV_OK) {
        refuse(e, st, &err);
        return;
    }
    otlp_walk_begin(&e->walk, e->signal, request, message_max);
    if (e->summary.records == 0)
        answer(e);
    else
        run_piece(e);
}

static void records_message(srv_call *call, srv_message msg)
{
    export *e = vv_calloc(1, sizeof *e);
    if (e == NULL) {
        srv_message_release(&msg);
        svc_otlp_refuse(call, VV_NO_MEMORY, "no memory for a request");
        return;
    }
    e->n = srv_call_ctx(call);
    e->call = call;
    e->msg = msg;
    e->signal = svc_otlp_signal_of(call);
    e->what.options = (vv_stream_append_options)VV_STREAM_APPEND_OPTIONS_INIT;
    e->what.options.durability = VV_DURABLE_SYNC;
    vv_buf_init(&e->plain, 0);
    vv_arena_init(&e->arena, ARENA_MAX);
    srv_call_ref(call);
    begin_on_pool(e, run_export);
}

#define EXPORT(service) "/opentelemetry.proto.collector." service "/Export"

#define OTLP_GRPC(service, on_message)                                                             \
    {                                                                                              \
        .kind = SRV_GRPC_UNARY, .path = EXPORT(service), .ports = SVC_INGEST_PORTS, .copies = 1,   \
        .message_max = SVC_OTLP_BODY_MAX, .message = (on_message)                                  \
    }
#define OTLP_HTTP(where, on_message)                                                               \
    {                                                                                              \
        .kind = SRV_HTTP, .verb = "POST", .path = (where), .ports = SVC_INGEST_PORTS, .copies = 1, \
        .message_max = SVC_OTLP_BODY_MAX, .message = (on_message)                                  \
    }

size_t svc_otlp_methods(node *n, srv_method *out, size_t max)
{
    static const srv_method methods[] = {
        OTLP_GRPC("trace.v1.TraceService", records_message),
        OTLP_GRPC("logs.v1.LogsService", records_message),
        OTLP_GRPC("metrics.v1.MetricsService", svc_otlp_metrics_message),
        OTLP_HTTP("/v1/traces", records_message),
        OTLP_HTTP("/v1/logs", records_message),
        OTLP_HTTP("/v1/metrics", svc_otlp_metrics_message),
    };
    return svc_add_methods(methods, ARRAY_LEN(methods), n, out, max);
}
