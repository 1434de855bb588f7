/*
 * svc_health.c - grpc.health.v1 (Check, Watch) and, over HTTP, /health and /ready.
 *
 * /health says that the process answers, and to who asks for JSON how it is; everything else says
 * whether it can take work, which node_is_ready decides. A watcher is told at once and then
 * whenever the answer changes; each watching call looks once a second, on its own loop.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "codec/protowire.h"
#include "server/descriptors.h"
#include "server/grpc_text.h"
#include "server/node.h"
#include "server/svc_pipeline.h"
#include "server/svc_util.h"

#define REQUEST_MAX (64u * 1024u)
#define LOOK_NS VV_NS_PER_S

/* HealthCheckResponse.ServingStatus */
enum { SERVING = 1, NOT_SERVING = 2, SERVICE_UNKNOWN = 3 };

/* The service the request names; the last occurrence counts. False: malformed. */
static bool read_service(vv_slice request, vv_slice *out)
{
    wire_reader r = wire_reader_of(request);
    wire_field f = {0};
    *out = vv_slice_of(NULL, 0);
    while (wire_next(&r, &f) > 0)
        if (f.number == 1 && f.type == WIRE_BYTES)
            *out = f.bytes;
    return r.fault == WIRE_GOOD;
}

static bool is_known(vv_slice service)
{
    return service.len == 0 || descriptors_has_service(descriptors_builtin(), service);
}

static int serving(node *n)
{
    char why[NODE_WHY_MAX];
    return node_is_ready(n, why, sizeof why) ? SERVING : NOT_SERVING;
}

static void send_status(srv_call *call, int status)
{
    vv_buf out;
    vv_buf_init(&out, 16);
    wire_put_varint(&out, 1, (uint64_t)status);
    srv_call_send(call, &out);
}

static void check_message(srv_call *call, srv_message msg)
{
    vv_slice service;
    if (!read_service(msg.data, &service)) {
        srv_call_finish(call, VV_INVALID, "the bytes are not a HealthCheckRequest");
    } else if (!is_known(service)) {
        srv_call_finish_grpc(call, GRPC_NOT_FOUND, "unknown service");
    } else {
        send_status(call, serving(srv_call_ctx(call)));
        srv_call_finish(call, VV_OK, NULL);
    }
    srv_message_release(&msg);
}

/* What a watcher was told last travels as the timer's argument: a small number, not a pointer. */
static void look_again(srv_call *call, void *last)
{
    int now = serving(srv_call_ctx(call));
    if ((uintptr_t)now != (uintptr_t)last)
        send_status(call, now);
    const node *n = srv_call_ctx(call);
    if (atomic_load(&n->draining)) { /* a watcher must not hold up the end */
        srv_call_finish(call, VV_CLOSED, "the server is stopping");
        return;
    }
    srv_call_after(call, LOOK_NS, look_again, (void *)(uintptr_t)now);
}

static void watch_message(srv_call *call, srv_message msg)
{
    vv_slice service;
    if (!read_service(msg.data, &service)) {
        srv_call_finish(call, VV_INVALID, "the bytes are not a HealthCheckRequest");
    } else if (srv_call_user(call) != NULL) {
        srv_call_finish_grpc(call, 12, "a second request on Watch");
    } else if (!is_known(service)) {
        send_status(call, SERVICE_UNKNOWN); /* and the call stays: no service is added later */
    } else {
        look_again(call, (void *)(uintptr_t)0);
    }
    srv_call_set_user(call, srv_call_ctx(call)); /* only a mark: a request was seen */
    srv_message_release(&msg);
}

/* ---- HTTP ---- */

static void reply(srv_call *call, int status, const char *text)
{
    vv_buf body;
    vv_buf_init(&body, 1024);
    vv_buf_printf(&body, "%s\n", text);
    srv_call_reply(call, status, "text/plain; charset=utf-8", &body, "Cache-Control: no-store");
}

/* "Accept: application/json", somewhere in its list. */
static bool wants_json(const srv_call *call)
{
    static const char type[] = "application/json";
    vv_slice accept = srv_call_header(call, "accept");
    return accept.len > 0 && memmem(accept.data, accept.len, type, sizeof type - 1) != NULL;
}

/* Figures are for those who may see the status; that it lives is for all. */
static void reply_health(srv_call *call)
{
    node *n = srv_call_ctx(call);
    const gate_identity who = svc_identity(call);
    const gate_op op = {.kind = GATE_STATUS};
    gate_grant grant;
    vv_buf body;
    vv_buf_init(&body, 4096);
    bool may_see = gate_authorize(n->gate, &who, &op, 1, &grant, NULL) == VV_OK;
    svc_pipeline_put_health(n, may_see, &body);
    srv_call_reply(call, 200, "application/json", &body, "Cache-Control: no-store");
    vv_buf_fini(&body);
}

static void health_message(srv_call *call, srv_message msg)
{
    srv_message_release(&msg);
    if (wants_json(call))
        reply_health(call);
    else
        reply(call, 200, "ok");
}

static void ready_message(srv_call *call, srv_message msg)
{
    char why[NODE_WHY_MAX];
    srv_message_release(&msg);
    if (node_is_ready(srv_call_ctx(call), why, sizeof why))
        reply(call, 200, "ready");
    else
        reply(call, 503, why);
}

size_t svc_health_methods(node *n, srv_method *out, size_t max)
{
    static const srv_method methods[] = {
        {.kind = SRV_GRPC_UNARY, .path = "/grpc.health.v1.Health/Check", .message = check_message},
        {.kind = SRV_GRPC_STREAM, .path = "/grpc.health.v1.Health/Watch", .message = watch_message},
        {.kind = SRV_HTTP, .verb = "GET", .path = "/health", .message = health_message},
        {.kind = SRV_HTTP, .verb = "GET", .path = "/ready", .message = ready_message},
    };
    size_t count = svc_add_methods(methods, ARRAY_LEN(methods), n, out, max);
    for (size_t i = 0; i < count; i++)
        out[i].message_max = REQUEST_MAX;
    return count;
}
