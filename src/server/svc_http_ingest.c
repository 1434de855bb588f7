/*
 * svc_http_ingest.c - POST /api/v1/ingest/record and /batch, GET /api/v1/status.
 *
 * JSON becomes wire bytes, on the pool when it is long, and goes the way of every message; the
 * answer's bytes become JSON. What is a fault of the whole request over gRPC is an HTTP status
 * here, and so is the fault of the one record of /record.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "codec/protowire.h"
#include "query/struct_json.h"
#include "server/svc_ingest.h"
#include "server/svc_json.h"
#include "server/svc_nats.h"
#include "server/svc_util.h"
#include "storage/ingestion.pb-c.h"

#define JSON_MAX (64u * 1024 * 1024)
#define LOOP_BODY_MAX (64u * 1024) /* more is parsed on the pool: the loop has others to serve */
#define STATUS_MAX (64u * 1024)
#define JSON_TYPE "application/json"

/* ---- ingest ---- */

typedef struct post {
    node *n;
    srv_call *call; /* referenced */
    svc_ingest_who who;
    ingest_kind kind;
    srv_message body;
    vv_buf wire;     /* the request */
    uint64_t charge; /* of wire and the copy that is written, in the budget until both are gone */
} post;

static vv_status post_resolve(void *ctx, vv_slice tenant, vv_slice table, vv_table **out,
                              vv_error *err)
{
    post *p = ctx;
    return svc_ingest_resolve(p->n, &p->who, tenant, table, out, err);
}

static vv_status put_answer(const post *p, const ingest_item *item, vv_buf *json, vv_error *err)
{
    int64_t now = vv_clock_wall(p->n->env.clock);
    const ProtobufCMessageDescriptor *desc = &storage__ingest_record_response__descriptor;
    vv_buf wire;
    vv_buf_init(&wire, SVC_INGEST_ANSWER_MAX);
    if (p->kind == INGEST_RECORD) {
        svc_ingest_put_record_answer(&wire, item, now);
    } else {
        svc_ingest_put_batch_answer(&wire, item, now);
        desc = &storage__ingest_batch_response__descriptor;
    }
    vv_status st = wire.status;
    if (st == VV_OK)
        st = svc_json_from_wire(desc, vv_buf_slice(&wire), json, err);
    else
        (void)vv_fail(err, st, "the records are stored, their results have no room");
    vv_buf_fini(&wire);
    return st;
}

static void post_settled(void *ctx, const ingest_item *item)
{
    const post *p = ctx;
    vv_error err;
    vv_buf json;
    char header[64];
    ingest_outcome o;
    ingest_item_outcome(item, &o);
    svc_ingest_note(p->n, item, &o);
    if (o.status != VV_OK) {
        svc_reply_error(p->call, o.status, o.message);
        return;
    }
    if (p->kind == INGEST_RECORD && o.failed > 0) {
        const ingest_result *r = ingest_item_result(item, 0);
        svc_reply_error(p->call, r->status, r->message);
        return;
    }
    vv_buf_init(&json, JSON_MAX);
    vv_status st = put_answer(p, item, &json, &err);
    if (st != VV_OK) {
        svc_reply_error(p->call, st, err.msg);
    } else {
        vv_buf_append_u8(&json, '\n');
        (void)snprintf(header, sizeof header, "Varve-Durability: %s",
                       svc_ingest_given(p->n, o.durability));
        srv_call_reply(p->call, 200, JSON_TYPE, &json, header);
    }
    vv_buf_fini(&json);
}

static void post_closed(void *ctx)
{
    post *p = ctx;
    srv_call_unref(p->call);
    svc_ingest_who_fini(&p->who);
    vv_buf_fini(&p->wire);
    vv_budget_release(p->n->budget, VV_BUDGET_NETWORK, p->charge);
    srv_message_release(&p->body);
    vv_free(p);
}

static const ingest_producer_ops post_ops = {
    .resolve = post_resolve, .settled = post_settled, .closed = post_closed};

/* The body becomes wire bytes, counted before the body is given back: the sum of both was reserved
 * with the body (srv_method.copies). */
static vv_status parse_body(post *p, vv_error *err)
{
    const bool is_batch = p->kind == INGEST_BATCH;
    vv_status st = svc_json_to_wire(is_batch ? &storage__ingest_batch_request__descriptor
                                             : &storage__ingest_record_request__descriptor,
                                    p->body.data, &p->wire, err);
    p->charge = p->wire.cap + (is_batch ? SVC_BATCH_COPIES * p->wire.len : 0);
    vv_budget_take(p->n->budget, VV_BUDGET_NETWORK, p->charge);
    srv_message_release(&p->body);
    return st;
}

/* Takes p. */
static vv_status submit_post(post *p, vv_error *err)
{
    ingest_producer *producer = NULL;
    const ingest_kind kind = p->kind;
    vv_status st = parse_body(p, err);
    if (st == VV_OK)
        st = svc_ingest_open(p->n, &p->who, &post_ops, p, &producer, err);
    if (st != VV_OK) {
        post_closed(p);
        return st;
    }
    ingest_message message = {.data = vv_buf_slice(&p->wire), .counted = true};
    st = ingest_submit(producer, kind, &message, err);
    ingest_producer_close(producer);
    return st;
}

static void run_post(void *arg)
{
    post *p = arg;
    srv_call *call = p->call;
    vv_error err = {0};
    srv_call_ref(call);
    if (!srv_call_is_open(call)) { /* nobody waits for it any more, and nothing of it is written */
        post_closed(p);
    } else {
        vv_status st = submit_post(p, &err);
        if (st != VV_OK)
            svc_reply_error(call, st, err.msg);
    }
    srv_call_unref(call);
}

/* Takes msg. */
static vv_status begin_post(srv_call *call, ingest_kind kind, srv_message msg, vv_error *err)
{
    post *p = vv_alloc(sizeof *p);
    if (p == NULL) {
        srv_message_release(&msg);
        return vv_fail(err, VV_NO_MEMORY, "no memory for a call");
    }
    srv_call_ref(call);
    *p = (post){.n = srv_call_ctx(call), .call = call, .kind = kind, .body = msg};
    vv_buf_init(&p->wire, JSON_MAX);
    vv_status st = svc_ingest_who_init(&p->who, call, err);
    if (st == VV_OK && msg.data.len <= LOOP_BODY_MAX)
        return submit_post(p, err);
    if (st == VV_OK)
        st = srv_pool_submit(p->n->pool, run_post, p);
    if (st == VV_OK)
        return VV_OK;
    if (st == VV_BUSY)
        (void)vv_fail(err, st, SVC_NO_THREAD);
    post_closed(p);
    return st;
}

static void post_message(srv_call *call, ingest_kind kind, srv_message msg)
{
    vv_error err;
    vv_status st = begin_post(call, kind, msg, &err);
    if (st != VV_OK)
        svc_reply_error(call, st, err.msg);
}

static void record_message(srv_call *call, srv_message msg)
{
    post_message(call, INGEST_RECORD, msg);
}

static void batch_message(srv_call *call, srv_message msg)
{
    post_message(call, INGEST_BATCH, msg);
}

/* ---- status ---- */

/* What the levels hold and what writing them cost. */
static void put_levels(vv_buf *json, const vv_stats *s)
{
    vv_buf_printf(json,
                  ",\"writeAmplification\":%.3f,\"throttledSeconds\":%.3f,"
                  "\"stalledSeconds\":%.3f,\"rangeDeletes\":%llu,\"levels\":[",
                  s->write_amplification, (double)s->throttled_ns / 1e9,
                  (double)s->stalled_ns / 1e9, (unsigned long long)s->range_deletes);
    for (size_t i = 0; i < ARRAY_LEN(s->level_files); i++)
        vv_buf_printf(json,
                      "%s{\"level\":%zu,\"files\":%llu,\"bytes\":%llu,\"reads\":%llu,"
                      "\"compactionReadBytes\":%llu,\"compactionWriteBytes\":%llu}",
                      i == 0 ? "" : ",", i, (unsigned long long)s->level_files[i],
                      (unsigned long long)s->level_bytes[i], (unsigned long long)s->level_reads[i],
                      (unsigned long long)s->level_compaction_read_bytes[i],
                      (unsigned long long)s->level_compaction_write_bytes[i]);
    vv_buf_append_str(json, "]");
}

static vv_status put_node(vv_buf *json, node *n, vv_error *err)
{
    char why[NODE_WHY_MAX];
    vv_buf wire;
    vv_stats s = {.size = sizeof s};
    bool ready = node_is_ready(n, why, sizeof why);
    int64_t up_ns = vv_clock_mono(n->env.clock) - n->started_mono_ns;
    vv_stats_read(n->db, &s);
    vv_buf_printf(json, "{\"version\":\"%s\",\"uptimeSeconds\":%.3f,\"ready\":%s,\"reason\":",
                  vv_version(), (double)up_ns / 1e9, ready ? "true" : "false");
    json_put_string(json, vv_slice_str(why));
    vv_buf_append_str(json, ",\"ingestion\":");
    vv_buf_init(&wire, STATUS_MAX);
    svc_ingest_put_metrics(&wire, 2, n, vv_slice_of(NULL, 0));
    wire_reader r = wire_reader_of(vv_buf_slice(&wire));
    wire_field metrics = {0};
    vv_status st = wire.status;
    if (st == VV_OK && wire_next(&r, &metrics) > 0)
        st = svc_json_from_wire(&storage__ingestion_metrics__descriptor, metrics.bytes, json, err);
    vv_buf_fini(&wire);
    vv_buf_printf(json,
                  ",\"storage\":{\"tables\":%llu,\"diskBytes\":%llu,\"logBytes\":%llu,"
                  "\"memtableBytes\":%llu,\"memoryUsed\":%llu,\"memoryLimit\":%llu",
                  (unsigned long long)s.tables, (unsigned long long)s.disk_bytes,
                  (unsigned long long)s.log_retained_bytes, (unsigned long long)s.memtable_bytes,
                  (unsigned long long)s.memory_used, (unsigned long long)s.memory_limit);
    put_levels(json, &s);
    vv_buf_append_u8(json, '}');
    svc_nats_put_status(n, json);
    vv_buf_append_str(json, "}\n");
    if (st == VV_OK && json->status != VV_OK)
        st = vv_fail(err, json->status, "no memory for the status");
    return st;
}

static void status_message(srv_call *call, srv_message msg)
{
    node *n = srv_call_ctx(call);
    vv_error err = {0};
    vv_buf json;
    gate_identity who = svc_identity(call);
    gate_op op = {.kind = GATE_STATUS};
    gate_grant grant;
    srv_message_release(&msg);
    vv_buf_init(&json, STATUS_MAX);
    vv_status st = gate_authorize(n->gate, &who, &op, 1, &grant, &err);
    if (st == VV_OK)
        st = put_node(&json, n, &err);
    if (st == VV_OK)
        srv_call_reply(call, 200, JSON_TYPE, &json, NULL);
    else
        svc_reply_error(call, st, err.msg);
    vv_buf_fini(&json);
}

size_t svc_http_ingest_methods(node *n, srv_method *out, size_t max)
{
    static const srv_method methods[] = {
        {.kind = SRV_HTTP,
         .verb = "POST",
         .path = "/api/v1/ingest/record",
         .ports = SVC_INGEST_PORTS,
         .copies = 1, /* as wire bytes */
         .message = record_message},
        {.kind = SRV_HTTP,
         .verb = "POST",
         .path = "/api/v1/ingest/batch",
         .ports = SVC_INGEST_PORTS,
         .copies = 1, /* likewise; then those, and as many in the batch that is written */
         .message = batch_message},
        {.kind = SRV_HTTP, .verb = "GET", .path = "/api/v1/status", .message = status_message},
    };
    return svc_add_methods(methods, ARRAY_LEN(methods), n, out, max);
}
