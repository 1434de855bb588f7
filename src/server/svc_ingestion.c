/*
 * svc_ingestion.c - storage.IngestionService: single records, batches, the state of ingestion.
 *
 *   loop: message --> a producer of one message --> pipeline ... writer: settled --> answer
 *
 * A call holds nothing but its producer: the message goes back to the transport when the pipeline
 * lets it go, and an answer to a call that has gone is a no-op.
 */
#include "server/svc_ingest.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "codec/protowire.h"
#include "db/db.h"
#include "server/svc_util.h"
#include "storage/ingestion.pb-c.h"

/* ---- who, and which tables ------------------------------------------------------------------- */

vv_status svc_ingest_who_init(svc_ingest_who *who, const srv_call *call, vv_error *err)
{
    vv_slice token = srv_call_header(call, "authorization");
    *who = (svc_ingest_who){.loopback = srv_call_from_loopback(call)};
    if (token.len == 0)
        return VV_OK;
    who->token = vv_alloc(token.len);
    if (who->token == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a call");
    memcpy(who->token, token.data, token.len);
    who->token_len = token.len;
    return VV_OK;
}

void svc_ingest_who_fini(svc_ingest_who *who)
{
    vv_free(who->token);
    *who = (svc_ingest_who){0};
}

vv_status svc_ingest_open(node *n, const svc_ingest_who *who, const ingest_producer_ops *ops,
                          void *ctx, ingest_producer **out, vv_error *err)
{
    vv_buf identity;
    vv_buf_init(&identity, who->token_len + 1);
    vv_buf_append_u8(&identity, who->loopback);
    vv_buf_append(&identity, who->token, who->token_len);
    vv_status st = identity.status;
    if (st == VV_OK)
        st = ingest_producer_open(n->pipeline, ops, ctx, vv_buf_slice(&identity), out, err);
    else
        (void)vv_fail(err, st, "no memory for a call");
    vv_buf_fini(&identity);
    return st;
}

vv_status svc_ingest_resolve(node *n, const svc_ingest_who *who, vv_slice tenant, vv_slice table,
                             vv_table **out, vv_error *err)
{
    gate_identity identity = {.loopback = who->loopback,
                              .token = vv_slice_of(who->token, who->token_len)};
    gate_op op = {.kind = GATE_WRITE, .tenant = tenant, .table = table};
    gate_grant grant;
    vv_status st = gate_authorize(n->gate, &identity, &op, 1, &grant, err);
    if (st == VV_OK)
        st = gate_open_table(&grant, 0, VV_TABLE_RECORD, out, err);
    return st;
}

static void release(ingest_message *message)
{
    srv_message msg = {.data = message->data, .owner = {message->owner[0], message->owner[1]}};
    srv_message_release(&msg);
}

ingest_message svc_ingest_message(const srv_message *msg)
{
    return (ingest_message){.data = msg->data,
                            .counted = true, /* with srv_method.copies */
                            .owner = {msg->owner[0], msg->owner[1]},
                            .release = release};
}

/* ---- answers ---- */

void svc_ingest_put_time(vv_buf *out, uint32_t number, int64_t wall_ns)
{
    size_t mark = wire_begin(out, number);
    wire_put_varint(out, 1, (uint64_t)(wall_ns / VV_NS_PER_S));
    wire_put_varint(out, 2, (uint64_t)(wall_ns % VV_NS_PER_S));
    wire_end(out, mark);
}

void svc_ingest_put_status(vv_buf *out, uint32_t number, vv_status status, const char *message)
{
    size_t mark = wire_begin(out, number);
    if (status != VV_OK) {
        wire_put_varint(out, 1, (uint64_t)vv_status_grpc(status));
        wire_put_text(out, 2, vv_slice_str(message == NULL ? vv_status_name(status) : message));
    }
    wire_end(out, mark);
}

void svc_ingest_put_record_answer(vv_buf *out, const ingest_item *item, int64_t wall_ns)
{
    const ingest_result *r = ingest_item_result(item, 0);
    svc_ingest_put_status(out, 1, r->status, r->message);
    wire_put_bytes(out, 2, r->id);
    wire_put_varint(out, 3, (uint64_t)r->version);
    svc_ingest_put_time(out, 4, wall_ns);
}

static void put_result(vv_buf *out, const ingest_result *r)
{
    size_t mark = wire_begin(out, 4);
    svc_ingest_put_status(out, 1, r->status, r->message);
    wire_put_bytes(out, 2, r->id);
    if (r->status == VV_OK)
        wire_put_varint(out, 3, (uint64_t)r->version);
    else
        wire_put_text(out, 4,
                      vv_slice_str(r->message == NULL ? vv_status_name(r->status) : r->message));
    wire_end(out, mark);
}

/* The status of the whole: that of the first record that was refused, if one was. */
static void put_batch_status(vv_buf *out, const ingest_item *item, const ingest_outcome *o)
{
    char text[128];
    uint32_t i = 0;
    if (o->failed == 0) {
        svc_ingest_put_status(out, 1, VV_OK, NULL);
        return;
    }
    while (ingest_item_result(item, i)->status == VV_OK)
        i++;
    (void)snprintf(text, sizeof text, "%u of %u records were refused: see their results", o->failed,
                   o->count);
    svc_ingest_put_status(out, 1, ingest_item_result(item, i)->status, text);
}

void svc_ingest_put_batch_answer(vv_buf *out, const ingest_item *item, int64_t wall_ns)
{
    ingest_outcome o;
    ingest_item_outcome(item, &o);
    put_batch_status(out, item, &o);
    wire_put_varint(out, 2, o.count - o.failed);
    wire_put_varint(out, 3, o.failed);
    for (uint32_t i = 0; i < o.count; i++)
        put_result(out, ingest_item_result(item, i));
    svc_ingest_put_time(out, 5, wall_ns);
}

void svc_ingest_note(node *n, const ingest_item *item, const ingest_outcome *o)
{
    if (o->status == VV_OK && o->failed > 0)
        node_note_write(n, ingest_item_result(item, 0)->status);
    else if (o->status != VV_OK || o->count > 0)
        node_note_write(n, o->status);
}

const char *svc_ingest_given(const node *n, vv_durability given)
{
    return ingest_durability_name(db_durability(n->db, given));
}

/* ---- one message, one answer ---- */

typedef struct unary {
    node *n;
    srv_call *call; /* referenced */
    svc_ingest_who who;
    void (*put)(vv_buf *out, const ingest_item *item, int64_t wall_ns);
} unary;

static vv_status unary_resolve(void *ctx, vv_slice tenant, vv_slice table, vv_table **out,
                               vv_error *err)
{
    unary *u = ctx;
    return svc_ingest_resolve(u->n, &u->who, tenant, table, out, err);
}

static void unary_settled(void *ctx, const ingest_item *item)
{
    unary *u = ctx;
    ingest_outcome o;
    ingest_item_outcome(item, &o);
    svc_ingest_note(u->n, item, &o);
    if (o.status != VV_OK) {
        srv_call_finish(u->call, o.status, o.message);
        return;
    }
    vv_buf out;
    vv_buf_init(&out, SVC_INGEST_ANSWER_MAX);
    u->put(&out, item, vv_clock_wall(u->n->env.clock));
    if (out.status != VV_OK) {
        srv_call_finish(u->call, out.status, "the records are stored, their results have no room");
    } else {
        srv_call_trailer(u->call, "varve-durability", svc_ingest_given(u->n, o.durability));
        srv_call_send(u->call, &out);
        srv_call_finish(u->call, VV_OK, NULL);
    }
    vv_buf_fini(&out);
}

static void unary_closed(void *ctx)
{
    unary *u = ctx;
    srv_call_unref(u->call);
    svc_ingest_who_fini(&u->who);
    vv_free(u);
}

static const ingest_producer_ops unary_ops = {
    .resolve = unary_resolve, .settled = unary_settled, .closed = unary_closed};

static vv_status begin_unary(srv_call *call, ingest_kind kind, const srv_message *msg,
                             vv_error *err)
{
    node *n = srv_call_ctx(call);
    ingest_producer *producer = NULL;
    ingest_message message = svc_ingest_message(msg);
    unary *u = vv_alloc(sizeof *u);
    vv_status st = u == NULL ? vv_fail(err, VV_NO_MEMORY, "no memory for a call") : VV_OK;
    if (u != NULL) {
        srv_call_ref(call);
        *u = (unary){.n = n,
                     .call = call,
                     .put = kind == INGEST_RECORD ? svc_ingest_put_record_answer
                                                  : svc_ingest_put_batch_answer};
        st = svc_ingest_who_init(&u->who, call, err);
        if (st == VV_OK)
            st = svc_ingest_open(n, &u->who, &unary_ops, u, &producer, err);
        if (st != VV_OK)
            unary_closed(u);
    }
    if (st != VV_OK) {
        message.release(&message);
        return st;
    }
    st = ingest_submit(producer, kind, &message, err);
    ingest_producer_close(producer);
    return st;
}

static void unary_message(srv_call *call, ingest_kind kind, const srv_message *msg)
{
    vv_error err;
    vv_status st = begin_unary(call, kind, msg, &err);
    if (st != VV_OK)
        srv_call_finish(call, st, err.msg);
}

static void record_message(srv_call *call, srv_message msg)
{
    unary_message(call, INGEST_RECORD, &msg);
}

static void batch_message(srv_call *call, srv_message msg)
{
    unary_message(call, INGEST_BATCH, &msg);
}

/* ---- state ---- */

void svc_ingest_put_metrics(vv_buf *out, uint32_t number, node *n, vv_slice tenant)
{
    ingest_stats s;
    vv_stats store = {.size = sizeof store};
    const vv_hist *latency = ingest_latency(n->pipeline);
    uint64_t count = vv_hist_count(latency);
    ingest_stats_read(n->pipeline, tenant, &s);
    vv_stats_read(n->db, &store);
    size_t mark = wire_begin(out, number);
    wire_put_varint(out, 1, s.records);
    wire_put_varint(out, 2, (uint64_t)s.records_per_s);
    wire_put_varint(out, 3, (uint64_t)s.bytes_per_s);
    wire_put_varint(out, 4, s.streams);
    wire_put_varint(out, 5, s.pending);
    wire_put_varint(out, 6, s.failed);
    wire_put_double_always(out, 7,
                           count == 0 ? 0 : (double)vv_hist_sum(latency) / (double)count / 1e6);
    wire_put_double_always(out, 8, (double)vv_hist_percentile(latency, 0.99) / 1e6);
    wire_put_varint(out, 9, store.log_retained_bytes);
    wire_put_varint(out, 10, store.memtable_count);
    wire_end(out, mark);
}

/* tenant_id.id of an IngestionStatusRequest. False: malformed. */
static bool read_tenant(vv_slice request, vv_slice *out)
{
    wire_reader r = wire_reader_of(request);
    wire_field f = {0};
    wire_field inner = {0};
    *out = vv_slice_of(NULL, 0);
    while (wire_next(&r, &f) > 0) {
        if (f.number != 1 || f.type != WIRE_BYTES)
            continue;
        wire_reader id = wire_reader_of(f.bytes);
        while (wire_next(&id, &inner) > 0)
            if (inner.number == 1 && inner.type == WIRE_BYTES)
                *out = inner.bytes;
        if (id.fault != WIRE_GOOD)
            r.fault = id.fault;
    }
    return r.fault == WIRE_GOOD;
}

static void status_message(srv_call *call, srv_message msg)
{
    node *n = srv_call_ctx(call);
    vv_error err = {0};
    vv_slice tenant;
    gate_identity who = svc_identity(call);
    gate_grant grant;
    vv_status st = VV_OK;
    if (!read_tenant(msg.data, &tenant))
        st = vv_fail(&err, VV_INVALID, "the bytes are not an IngestionStatusRequest");
    gate_op op = {.kind = GATE_STATUS, .tenant = tenant};
    if (st == VV_OK)
        st = gate_authorize(n->gate, &who, &op, 1, &grant, &err);
    if (st == VV_OK) {
        vv_buf out;
        vv_buf_init(&out, 4096);
        svc_ingest_put_status(&out, 1, VV_OK, NULL);
        svc_ingest_put_metrics(&out, 2, n, tenant);
        svc_ingest_put_time(&out, 3, vv_clock_wall(n->env.clock));
        st = out.status;
        if (st == VV_OK)
            srv_call_send(call, &out);
        vv_buf_fini(&out);
    }
    srv_call_finish(call, st, err.msg);
    srv_message_release(&msg);
}

static void health_message(srv_call *call, srv_message msg)
{
    node *n = srv_call_ctx(call);
    char why[NODE_WHY_MAX];
    vv_slice service = vv_slice_of(NULL, 0);
    wire_reader r = wire_reader_of(msg.data);
    wire_field f = {0};
    while (wire_next(&r, &f) > 0)
        if (f.number == 1 && f.type == WIRE_BYTES)
            service = f.bytes;
    if (r.fault != WIRE_GOOD) {
        srv_call_finish(call, VV_INVALID, "the bytes are not a HealthCheckRequest");
        srv_message_release(&msg);
        return;
    }
    bool known = service.len == 0 || vv_slice_eq(service, vv_slice_str("storage.IngestionService"));
    int status = STORAGE__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN;
    (void)snprintf(why, sizeof why, "no such service here");
    if (known)
        status = node_is_ready(n, why, sizeof why)
                     ? STORAGE__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
                     : STORAGE__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
    srv_message_release(&msg);
    vv_buf out;
    vv_buf_init(&out, 1024);
    wire_put_varint(&out, 1, (uint64_t)status);
    wire_put_text(&out, 2, vv_slice_str(why));
    svc_ingest_put_time(&out, 3, vv_clock_wall(n->env.clock));
    vv_status st = out.status;
    if (st == VV_OK)
        srv_call_send(call, &out);
    srv_call_finish(call, st, NULL);
    vv_buf_fini(&out);
}

#define INGESTION_METHOD(name, handler, more)                                                      \
    {                                                                                              \
        .kind = SRV_GRPC_UNARY, .path = "/storage.IngestionService/" name,                         \
        .ports = SVC_INGEST_PORTS, .message = (handler), .copies = (more)                          \
    }

size_t svc_ingestion_methods(node *n, srv_method *out, size_t max)
{
    static const srv_method methods[] = {
        INGESTION_METHOD("IngestRecord", record_message, 0),
        INGESTION_METHOD("IngestBatch", batch_message, SVC_BATCH_COPIES),
        INGESTION_METHOD("GetIngestionStatus", status_message, 0),
        INGESTION_METHOD("HealthCheck", health_message, 0),
        {.kind = SRV_GRPC_STREAM,
         .path = "/storage.IngestionService/IngestStream",
         .ports = SVC_INGEST_PORTS,
         .start = svc_ingest_stream_start,
         .message = svc_ingest_stream_message,
         .half_close = svc_ingest_stream_half_close,
         .drained = svc_ingest_stream_drained,
         .closed = svc_ingest_stream_closed},
    };
    return svc_add_methods(methods, ARRAY_LEN(methods), n, out, max);
}
