/*
 * srv_request.c - from the bytes of a request, by whichever protocol, to its handler's callbacks.
 *
 * HTTP requests are handled here: route, collect the body, hand it over. grpc.c has the gRPC ones.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "server/srv_int.h"

static void split_query(srv_call *call, vv_slice target)
{
    const uint8_t *mark = target.len == 0 ? NULL : memchr(target.data, '?', target.len);
    call->path = target;
    if (mark == NULL)
        return;
    call->path.len = (size_t)(mark - target.data);
    call->query = vv_slice_of(mark + 1, target.len - call->path.len - 1);
}

/* The body is larger than the method takes. */
static void refuse_length(srv_call *call)
{
    char text[80];
    (void)snprintf(text, sizeof text, "the body is over the limit of %" PRIu64 " bytes",
                   (uint64_t)call->message_max);
    srv_call_abort(call, GRPC_RESOURCE_EXHAUSTED, 413, text);
}

static bool parse_length(vv_slice text, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || i >= 18)
            return false;
        *out = *out * 10 + (uint64_t)(text.data[i] - '0');
    }
    return true;
}

uint16_t srv_other_port(const srv_call *call)
{
    const srv *s = call->conn->server;
    for (size_t i = 0; i < s->opt.port_count; i++)
        if (i != call->conn->port_index && srv_routes_has(s->routes, call->path, i))
            return srv_port_bound(s, i);
    return 0;
}

/* No method serves it: 404, 405 with the verbs that would do, or 415 where gRPC lives. */
static void refuse_http(srv_call *call, vv_buf *allow)
{
    if (allow->len > 0) {
        vv_buf extra;
        vv_buf_init(&extra, 512);
        vv_buf_append_str(&extra, "Allow: ");
        vv_buf_append_slice(&extra, vv_buf_slice(allow));
        vv_buf_append_u8(&extra, 0);
        if (extra.status == VV_OK)
            call->reply_extra = (char *)extra.data;
        else
            vv_buf_fini(&extra);
        srv_call_abort(call, GRPC_UNIMPLEMENTED, 405, NULL);
    } else if (srv_route_grpc(call->conn->server->routes, call->path, call->conn->port_index) !=
               NULL) {
        srv_call_abort(call, GRPC_UNIMPLEMENTED, 415,
                       "this path speaks gRPC: HTTP/2 and content-type application/grpc");
    } else {
        char text[96];
        const uint16_t other = srv_other_port(call);
        if (other == 0)
            (void)snprintf(text, sizeof text, "nothing is served at this path");
        else
            (void)snprintf(text, sizeof text, "this path is served on port %u", other);
        srv_call_abort(call, GRPC_NOT_FOUND, 404, text);
    }
}

/* "127.0.0.1:8080", "[::1]:80", "localhost": the ways to name this machine over loopback. */
static bool names_loopback(vv_slice authority)
{
    static const char *const names[] = {"localhost", "127.", "[::1]"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        vv_slice name = vv_slice_str(names[i]);
        if (!vv_slice_has_prefix(authority, name))
            continue;
        vv_slice rest = vv_slice_of(authority.data + name.len, authority.len - name.len);
        if (i == 1) /* the rest of a dotted quad */
            while (rest.len > 0 &&
                   ((rest.data[0] >= '0' && rest.data[0] <= '9') || rest.data[0] == '.'))
                rest = vv_slice_of(rest.data + 1, rest.len - 1);
        return rest.len == 0 || rest.data[0] == ':';
    }
    return false;
}

/*
 * A page that a browser on this machine shows can send requests to loopback, credentials or not.
 * Its Origin gives it away; a name that was rebound to 127.0.0.1 gives itself away in Host.
 * Programs send no Origin.
 */
static bool is_foreign_page(const srv_call *call)
{
    vv_slice host = srv_call_header(call, ":authority");
    if (host.len == 0)
        host = srv_call_header(call, "host");
    if (call->conn->server->opt.loopback_names_only && host.len > 0 && !names_loopback(host))
        return true;
    vv_slice origin = srv_call_header(call, "origin");
    if (origin.len == 0)
        return false;
    vv_slice scheme = vv_slice_str("http://");
    return !vv_slice_has_prefix(origin, scheme) ||
           !vv_slice_eq(vv_slice_of(origin.data + scheme.len, origin.len - scheme.len), host);
}

static void begin_http(srv_call *call)
{
    if (is_foreign_page(call)) {
        srv_call_abort(call, GRPC_INVALID_ARGUMENT, 403, NULL);
        return;
    }
    call->verb_head = vv_slice_eq(call->verb, vv_slice_str("HEAD"));
    if (call->header_overflow) {
        srv_call_abort(call, GRPC_RESOURCE_EXHAUSTED, 431, NULL);
        return;
    }
    vv_buf allow;
    vv_buf_init(&allow, 256);
    const srv_method *m = srv_route_http(call->conn->server->routes, call->verb, call->path,
                                         call->conn->port_index, &allow);
    if (m == NULL) {
        refuse_http(call, &allow);
        vv_buf_fini(&allow);
        return;
    }
    vv_buf_fini(&allow);
    call->method = m;
    call->message_max = m->message_max > 0 ? m->message_max : call->conn->server->opt.message_max;
    uint64_t length;
    if (!parse_length(srv_call_header(call, "content-length"), &length)) {
        srv_call_abort(call, GRPC_INVALID_ARGUMENT, 400, NULL);
        return;
    }
    if (length > call->message_max) {
        refuse_length(call);
        return;
    }
    call->frame.length = (uint32_t)length;
    if (length > 0 && !srv_admit(call, length)) {
        srv_call_abort(call, GRPC_RESOURCE_EXHAUSTED, 507, NULL);
        return;
    }
    call->started = true;
    if (m->start != NULL)
        m->start(call);
}

void srv_request_begin(srv_call *call, bool http2)
{
    call->verb = srv_call_header(call, ":method");
    split_query(call, srv_call_header(call, ":path"));
    call->is_http = !http2 || call->header_overflow ||
                    !grpc_content_type(srv_call_header(call, "content-type"));
    if (atomic_load_explicit(&call->conn->queued, memory_order_relaxed) >= SRV_CONN_OUT_REFUSE)
        srv_call_abort(call, GRPC_RESOURCE_EXHAUSTED, 429, "read the answers before asking more");
    else if (call->is_http)
        begin_http(call);
    else
        grpc_request_begin(call);
}

/* A body of unknown length has no limit but the largest: once it is not small, that is what it
 * waits for. */
static bool admit_unannounced(srv_call *call, size_t len)
{
    if (call->frame.length > 0 || call->wait != NULL)
        return true;
    if (!call->going)
        return srv_admit(call, vv_min_u64(SRV_PARK_HELD / 4, call->message_max));
    if (call->paid > 0 || len <= SRV_PARK_HELD / 4)
        return true;
    srv_admit_cancel(call);
    return srv_admit(call, call->message_max);
}

static void http_data(srv_call *call, vv_slice data)
{
    size_t have = call->block == NULL ? 0 : call->block->len;
    if (data.len > call->message_max - have) {
        refuse_length(call);
        return;
    }
    if (!admit_unannounced(call, have + data.len)) {
        srv_call_abort(call, GRPC_RESOURCE_EXHAUSTED, 507, NULL);
        return;
    }
    if (call->wait != NULL)
        call->uncredited += data.len;
    else
        call->owed += data.len; /* it is paid for: no need to hold the sender back */
    if (call->conn->partial > vv_max_u64(SRV_CONN_PARTIAL_MAX, 2ull * call->message_max) ||
        !srv_block_reserve(call, &call->block, data.len, call->frame.length)) {
        srv_call_abort(call, GRPC_RESOURCE_EXHAUSTED, 507, NULL);
        return;
    }
    memcpy(call->block->bytes + have, data.data, data.len);
    call->block->len += data.len;
}

void srv_request_data(srv_call *call, vv_slice data)
{
    if (data.len == 0)
        return;
    call->last_input_ns = call->conn->loop->now_ns;
    if (call->request_ignored)
        call->owed += data.len;
    else if (call->is_http)
        http_data(call, data);
    else
        grpc_request_data(call, data);
    srv_call_credit(call);
}

static void end_http(srv_call *call)
{
    if (!srv_block_reserve(call, &call->block, 0, 0)) {
        srv_call_abort(call, GRPC_RESOURCE_EXHAUSTED, 507, NULL);
        return;
    }
    srv_block_deliver(call, &call->block);
    if (!call->request_ignored && call->method->half_close != NULL)
        call->method->half_close(call);
}

void srv_request_end(srv_call *call)
{
    if (call->request_ended)
        return;
    call->request_ended = true;
    if (call->request_ignored)
        return;
    if (call->is_http)
        end_http(call);
    else
        grpc_request_end(call);
}
