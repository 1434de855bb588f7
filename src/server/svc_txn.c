/*
 * svc_txn.c - varve.v1.Txn and POST /api/v1/txn/{method}: from a request to its transaction.
 *
 * Both forms are one: JSON becomes the wire bytes of the request, and the answer's wire bytes
 * become JSON. Everything runs on the pool, because a read may wait for the disk and a write for
 * memory; a commit is queued for the commit thread, so that many share one sync, and answered
 * there.
 */
#include "server/svc_txn.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "db/db.h"
#include "ingest/ingest.h"
#include "server/svc_json.h"
#include "server/svc_util.h"

#define HTTP_PREFIX "/api/v1/txn/"
#define REQUEST_MAX (17u * 1024u * 1024u) /* one batch, and what is around it */
#define ANSWER_MAX (64u * 1024u * 1024u)
#define JSON_MAX (2u * ANSWER_MAX)
#define SMALL_REQUEST_MAX (64u * 1024u)

/* ---- answers ---- */

static void destroy(svc_txn_job *job)
{
    node *n = job->n;
    if (job->has_msg)
        srv_message_release(&job->msg);
    svc_txn_unpacked_fini(&job->arena);
    vv_buf_fini(&job->out);
    vv_free(job->own);
    srv_call_unref(job->call);
    vv_free(job);
    svc_txn_leave(n);
}

static void answer_http(svc_txn_job *job)
{
    vv_error err = {0};
    vv_buf json;
    char header[64] = "";
    vv_buf_init(&json, JSON_MAX);
    vv_status st = svc_json_from_wire(job->method->response, vv_buf_slice(&job->out), &json, &err);
    vv_buf_append_u8(&json, '\n');
    if (st == VV_OK)
        st = json.status;
    if (job->tells_durability)
        (void)snprintf(header, sizeof header, "Varve-Durability: %s",
                       ingest_durability_name(job->durability));
    if (st == VV_OK)
        srv_call_reply(job->call, 200, "application/json", &json,
                       header[0] == '\0' ? NULL : header);
    else
        svc_reply_error(job->call, st, err.msg);
    vv_buf_fini(&json);
}

void svc_txn_answer(svc_txn_job *job, vv_status st, const vv_error *err)
{
    if (st == VV_OK)
        st = job->out.status;
    if (st != VV_OK && job->is_http) {
        svc_reply_error(job->call, st, err->msg);
    } else if (st != VV_OK) {
        srv_call_finish(job->call, st, err->msg[0] == '\0' ? NULL : err->msg);
    } else if (job->is_http) {
        answer_http(job);
    } else {
        if (job->tells_durability)
            srv_call_trailer(job->call, "varve-durability",
                             ingest_durability_name(job->durability));
        srv_call_send(job->call, &job->out);
        srv_call_finish(job->call, VV_OK, NULL);
    }
    destroy(job);
}

/* ---- methods of a session ---- */

static vv_status run_begin(svc_txn_job *job, const ProtobufCMessage *message, bool *later,
                           vv_error *err)
{
    const Varve__V1__TxnBeginRequest *req = (const Varve__V1__TxnBeginRequest *)message;
    node *n = job->n;
    vv_txn_options opt = VV_TXN_OPTIONS_INIT;
    gate_identity who = svc_identity(job->call);
    gate_grant grant;
    gate_op op = {.kind = GATE_TXN};
    svc_txn_session *s = NULL;
    char text[40];
    vv_buf name;
    (void)later;
    int64_t idle_ns = n->txn_limits.idle_ns;
    if (req->idle_timeout_ms != 0 && req->idle_timeout_ms < (uint64_t)(idle_ns / VV_NS_PER_MS))
        idle_ns = (int64_t)req->idle_timeout_ms * VV_NS_PER_MS;
    opt.isolation = (vv_isolation)req->isolation;
    opt.read_only = req->read_only;
    vv_buf_init(&name, sizeof text);
    vv_status st = svc_kv_durability((uint32_t)req->durability, &opt.durability, err);
    if (st == VV_OK)
        st = gate_authorize(n->gate, &who, &op, 1, &grant, err);
    if (st == VV_OK)
        st = svc_txn_session_create(n, job->call, idle_ns, &s, &name, err);
    if (st == VV_OK) {
        vv_buf_append_u8(&name, 0);
        st = name.status == VV_OK ? vv_txn_begin(gate_db(&grant), &opt, &s->txn, err)
                                  : vv_fail(err, VV_NO_MEMORY, "no memory for a transaction");
        if (st == VV_OK) {
            wire_put_bytes(&job->out, 1, vv_slice_str((const char *)name.data));
            wire_put_varint(&job->out, 2, (uint64_t)(idle_ns / VV_NS_PER_MS));
            svc_txn_session_release(n, s);
        } else {
            svc_txn_session_end(n, s);
        }
    }
    vv_buf_fini(&name);
    return st;
}

/* Run one operation inside its session. */
#define SESSION_METHOD(function, type, operation)                                                  \
    static vv_status function(svc_txn_job *job, const ProtobufCMessage *message, bool *later,      \
                              vv_error *err)                                                       \
    {                                                                                              \
        const type *req = (const type *)message;                                                   \
        svc_txn_session *s = NULL;                                                                 \
        (void)later;                                                                               \
        vv_status st = svc_txn_session_acquire(job->n, job->call, req->txn, &s, err);              \
        if (st != VV_OK)                                                                           \
            return st;                                                                             \
        svc_txn_ctx c = {.n = job->n, .call = job->call, .txn = s->txn, .session = s};             \
        st = operation(&c, req, &job->out, err);                                                   \
        svc_txn_session_release(job->n, s);                                                        \
        return st;                                                                                 \
    }

SESSION_METHOD(run_get, Varve__V1__TxnGetRequest, svc_txn_get)
SESSION_METHOD(run_put, Varve__V1__TxnPutRequest, svc_txn_put)
SESSION_METHOD(run_delete, Varve__V1__TxnDeleteRequest, svc_txn_delete)
SESSION_METHOD(run_scan, Varve__V1__TxnScanRequest, svc_txn_scan)

static vv_status do_savepoint(svc_txn_ctx *c, const Varve__V1__TxnSavepointRequest *req,
                              vv_buf *out, vv_error *err)
{
    uint64_t id = req->savepoint;
    vv_status st;
    switch (req->action) {
    case VARVE__V1__TXN_SAVEPOINT_REQUEST__ACTION__SET:
        st = vv_txn_savepoint(c->txn, &id, err);
        break;
    case VARVE__V1__TXN_SAVEPOINT_REQUEST__ACTION__ROLL_BACK_TO:
        st = vv_txn_rollback_to(c->txn, id, err);
        break;
    case VARVE__V1__TXN_SAVEPOINT_REQUEST__ACTION__RELEASE:
        st = vv_txn_release(c->txn, id, err);
        break;
    default:
        return vv_fail(err, VV_INVALID,
                       "action %d is none: 0 (set), 1 (roll back to) and 2 (release) are allowed",
                       (int)req->action);
    }
    wire_put_varint(out, 1, id);
    return st;
}

SESSION_METHOD(run_savepoint, Varve__V1__TxnSavepointRequest, do_savepoint)

/* On the commit thread, mostly. */
static void on_committed(void *ctx, vv_status st, const vv_write_result *result,
                         const vv_error *err)
{
    svc_txn_job *job = ctx;
    if (st == VV_OK) {
        wire_put_varint(&job->out, 1, (uint64_t)result->version);
        job->durability = result->durability;
        job->tells_durability = true;
    }
    svc_txn_session_end(job->n, job->session);
    svc_txn_answer(job, st, err);
}

static vv_status run_commit(svc_txn_job *job, const ProtobufCMessage *message, bool *later,
                            vv_error *err)
{
    const Varve__V1__TxnCommitRequest *req = (const Varve__V1__TxnCommitRequest *)message;
    node *n = job->n;
    vv_status st = svc_txn_session_acquire(n, job->call, req->txn, &job->session, err);
    if (st != VV_OK)
        return st;
    svc_txn_session *s = job->session;
    svc_txn_ctx c = {.n = n, .call = job->call, .txn = s->txn, .session = s};
    st = svc_txn_authorize_commit(&c, err);
    if (st != VV_OK) {
        svc_txn_session_release(n, s);
        return st;
    }
    vv_txn *txn = s->txn;
    s->txn = NULL; /* the commit takes it */
    *later = true;
    st = db_txn_commit_async(txn, on_committed, job, err);
    if (st != VV_OK) {
        *later = false;
        svc_txn_session_end(n, s);
    }
    return st;
}

static vv_status run_abort(svc_txn_job *job, const ProtobufCMessage *message, bool *later,
                           vv_error *err)
{
    const Varve__V1__TxnAbortRequest *req = (const Varve__V1__TxnAbortRequest *)message;
    svc_txn_session *s = NULL;
    (void)later;
    vv_status st = svc_txn_session_acquire(job->n, job->call, req->txn, &s, err);
    if (st == VV_OK)
        svc_txn_session_end(job->n, s);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* ---- on the pool ---- */

static vv_status read_request(svc_txn_job *job, ProtobufCMessage **req, vv_error *err)
{
    vv_slice bytes = job->msg.data;
    vv_buf wire;
    vv_buf_init(&wire, REQUEST_MAX);
    vv_status st = VV_OK;
    if (job->is_http) {
        st = svc_json_to_wire(job->method->request, bytes, &wire, err);
        bytes = vv_buf_slice(&wire);
    }
    if (st == VV_OK)
        st = svc_txn_unpack(&job->arena, job->method->request, bytes, req, err);
    vv_buf_fini(&wire);
    srv_message_release(&job->msg);
    job->has_msg = false;
    return st;
}

/* Before anything is looked up: what a request touches is authorized once more, by itself. */
static vv_status authorize(const svc_txn_job *job, vv_error *err)
{
    gate_identity who = svc_identity(job->call);
    gate_grant grant;
    gate_op op = {.kind = GATE_TXN};
    return gate_authorize(job->n->gate, &who, &op, 1, &grant, err);
}

static void run_job(void *arg)
{
    svc_txn_job *job = arg;
    vv_error err = {0};
    ProtobufCMessage *req = NULL;
    bool later = false;
    vv_status st = authorize(job, &err);
    if (st == VV_OK)
        st = read_request(job, &req, &err);
    if (st == VV_OK)
        st = job->method->run(job, req, &later, &err);
    if (!later)
        svc_txn_answer(job, st, &err);
}

static void refuse(srv_call *call, bool is_http, vv_status st, const char *message)
{
    if (is_http)
        svc_reply_error(call, st, message);
    else
        srv_call_finish(call, st, message);
}

static void begin_job(srv_call *call, srv_message msg, const svc_txn_method *method, bool is_http)
{
    node *n = srv_call_ctx(call);
    svc_txn_job *job = NULL;
    if (n->txns == NULL || !svc_txn_enter(n)) {
        srv_message_release(&msg);
        refuse(call, is_http, VV_CLOSED, "the server is stopping");
        return;
    }
    job = vv_calloc(1, sizeof *job);
    if (job == NULL) {
        svc_txn_leave(n);
        srv_message_release(&msg);
        refuse(call, is_http, VV_NO_MEMORY, "no memory for a request");
        return;
    }
    srv_call_ref(call);
    job->n = n;
    job->call = call;
    job->method = method;
    job->is_http = is_http;
    job->msg = msg;
    job->has_msg = true;
    svc_txn_unpacked_init(&job->arena);
    vv_buf_init(&job->out, ANSWER_MAX);
    vv_status st = srv_pool_submit(n->pool, run_job, job);
    if (st != VV_OK) {
        vv_error err = {0};
        (void)vv_fail(&err, st, SVC_NO_THREAD);
        svc_txn_answer(job, st, &err);
    }
}

/* ---- the tables ---- */

static const svc_txn_method txn_methods[] = {
    {"Begin", &varve__v1__txn_begin_request__descriptor, &varve__v1__txn_begin_response__descriptor,
     SMALL_REQUEST_MAX, run_begin},
    {"Get", &varve__v1__txn_get_request__descriptor, &varve__v1__get_response__descriptor,
     SMALL_REQUEST_MAX, run_get},
    {"Put", &varve__v1__txn_put_request__descriptor, &varve__v1__txn_write_response__descriptor,
     REQUEST_MAX, run_put},
    {"Delete", &varve__v1__txn_delete_request__descriptor,
     &varve__v1__txn_write_response__descriptor, SMALL_REQUEST_MAX, run_delete},
    {"Scan", &varve__v1__txn_scan_request__descriptor, &varve__v1__txn_scan_response__descriptor,
     SMALL_REQUEST_MAX, run_scan},
    {"Savepoint", &varve__v1__txn_savepoint_request__descriptor,
     &varve__v1__txn_savepoint_response__descriptor, SMALL_REQUEST_MAX, run_savepoint},
    {"Commit", &varve__v1__txn_commit_request__descriptor,
     &varve__v1__txn_commit_response__descriptor, SMALL_REQUEST_MAX, run_commit},
    {"Abort", &varve__v1__txn_abort_request__descriptor, &varve__v1__txn_abort_response__descriptor,
     SMALL_REQUEST_MAX, run_abort},
    {"Run", &varve__v1__txn_run_request__descriptor, &varve__v1__txn_run_response__descriptor,
     REQUEST_MAX, svc_txn_run},
};

/* The last part of a path names the method, whatever the case of its first letter. */
static const svc_txn_method *method_of(const srv_call *call)
{
    vv_slice path = srv_call_path(call);
    size_t at = path.len;
    while (at > 0 && path.data[at - 1] != '/')
        at--;
    for (size_t i = 0; i < ARRAY_LEN(txn_methods); i++) {
        const char *name = txn_methods[i].name;
        size_t len = strlen(name);
        if (path.len - at == len && (path.data[at] | 0x20) == (name[0] | 0x20) &&
            memcmp(path.data + at + 1, name + 1, len - 1) == 0)
            return &txn_methods[i];
    }
    return NULL;
}

static void grpc_message(srv_call *call, srv_message msg)
{
    begin_job(call, msg, method_of(call), false);
}

static void http_message(srv_call *call, srv_message msg)
{
    begin_job(call, msg, method_of(call), true);
}

size_t svc_txn_methods(node *n, srv_method *out, size_t max)
{
    static char grpc_path[ARRAY_LEN(txn_methods)][40];
    static char http_path[ARRAY_LEN(txn_methods)][40];
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(txn_methods) && count + 2 <= max; i++) {
        const svc_txn_method *m = &txn_methods[i];
        (void)snprintf(grpc_path[i], sizeof grpc_path[i], "/varve.v1.Txn/%s", m->name);
        (void)snprintf(http_path[i], sizeof http_path[i], HTTP_PREFIX "%s", m->name);
        http_path[i][strlen(HTTP_PREFIX)] |= 0x20;
        out[count++] = (srv_method){.kind = SRV_GRPC_UNARY,
                                    .path = grpc_path[i],
                                    .message_max = m->message_max,
                                    .ctx = n,
                                    .message = grpc_message};
        out[count++] = (srv_method){.kind = SRV_HTTP,
                                    .verb = "POST",
                                    .path = http_path[i],
                                    .message_max = m->message_max,
                                    .ctx = n,
                                    .message = http_message};
    }
    return count;
}
