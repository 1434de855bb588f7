/*
 * client_call.c - opening connections and calls, and the bytes a call sends.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/util.h"
#include "client/client_int.h"

#define PREFIX 5u
#define READ_SIZE (256u * 1024)
#define OUT_MAX (256u * 1024 * 1024)

vv_status cli_open(const char *address, const cli_options *opt, cli_conn **out, vv_error *err)
{
    cli_conn *conn = vv_calloc(1, sizeof *conn);
    if (conn == NULL)
        return vv_fail(err, VV_NO_MEMORY, "connection to %s", address);
    conn->fd = -1;
    if (opt != NULL)
        conn->opt = *opt;
    if (conn->opt.connect_timeout_ns == 0)
        conn->opt.connect_timeout_ns = 5 * VV_NS_PER_S;
    if (conn->opt.keepalive_ns == 0)
        conn->opt.keepalive_ns = 20 * VV_NS_PER_S;
    if (conn->opt.message_max == 0)
        conn->opt.message_max = 64 * VV_MIB;
    vv_buf_init(&conn->out, OUT_MAX);
    vv_status st = cli_parse_target(address, &conn->target, err);
    if (st == VV_OK)
        (void)snprintf(conn->address, sizeof conn->address,
                       strchr(conn->target.host, ':') != NULL ? "[%s]:%s" : "%s:%s",
                       conn->target.host, conn->target.port);
    conn->read_buf = vv_alloc(READ_SIZE);
    if (st == VV_OK && conn->read_buf == NULL)
        st = vv_fail(err, VV_NO_MEMORY, "connection to %s", address);
    if (st != VV_OK) {
        cli_close(conn);
        return st;
    }
    *out = conn;
    return VV_OK;
}

void cli_close(cli_conn *conn)
{
    if (conn == NULL)
        return;
    (void)vv_fail(&conn->lost, VV_CLOSED, "closed");
    cli_conn_lose(conn, false);
    vv_buf_fini(&conn->out);
    vv_free(conn->read_buf);
    vv_free(conn);
}

const char *cli_address(const cli_conn *conn)
{
    return conn->address;
}

size_t cli_open_calls(const cli_conn *conn)
{
    return conn->call_count;
}

static vv_status connect_if_needed(cli_conn *conn, vv_error *err)
{
    if (conn->fd >= 0 && conn->draining && conn->call_count == 0) {
        (void)vv_fail(&conn->lost, VV_CLOSED, "%s: the server is draining", conn->address);
        cli_conn_lose(conn, false);
    }
    if (conn->fd >= 0)
        return conn->draining
                   ? vv_fail(err, VV_CLOSED, "%s: the server is draining: try again", conn->address)
                   : VV_OK;
    vv_status st = cli_connect(&conn->target, cli_now_ns() + conn->opt.connect_timeout_ns,
                               !conn->opt.refusal_is_final, &conn->fd, err);
    if (st != VV_OK)
        return st;
    conn->last_byte_ns = cli_now_ns();
    st = cli_session_create(conn, err);
    if (st != VV_OK)
        cli_conn_lose(conn, false);
    return st;
}

static ssize_t read_body(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t len,
                         uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)stream_id;
    (void)user;
    cli_call *call = source->ptr;
    size_t left = call->out.len - call->out_at;
    if (left == 0 && !call->half_closed) {
        call->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    size_t n = left < len ? left : len;
    if (n > 0)
        memcpy(buf, call->out.data + call->out_at, n);
    call->out_at += n;
    if (call->out_at == call->out.len) {
        call->out.len = 0;
        call->out_at = 0;
        if (call->half_closed)
            *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return (ssize_t)n;
}

static nghttp2_nv header(const char *name, const char *value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .namelen = strlen(name),
                        .value = (uint8_t *)(uintptr_t)value,
                        .valuelen = strlen(value),
                        .flags = NGHTTP2_NV_FLAG_NONE};
}

vv_status cli_call_start(cli_conn *conn, const char *method, int64_t timeout_ns,
                         const cli_handler *handler, cli_call **out, vv_error *err)
{
    vv_status st = connect_if_needed(conn, err);
    if (st != VV_OK)
        return st;
    cli_call *call = vv_calloc(1, sizeof *call);
    if (call == NULL)
        return vv_fail(err, VV_NO_MEMORY, "call of %s", method);
    call->conn = conn;
    call->handler = *handler;
    call->deadline_ns = timeout_ns == 0 ? INT64_MAX : cli_now_ns() + timeout_ns;
    vv_buf_init(&call->out, OUT_MAX);
    vv_buf_init(&call->in, conn->opt.message_max + PREFIX + READ_SIZE);

    /* grpc-timeout has at most eight digits: microseconds when they fit, else milliseconds. */
    char timeout[32];
    int64_t us = timeout_ns / VV_NS_PER_US;
    if (us <= 99999999)
        (void)snprintf(timeout, sizeof timeout, "%" PRId64 "u", us < 1 ? 1 : us);
    else
        (void)snprintf(timeout, sizeof timeout, "%" PRId64 "m",
                       us / 1000 > 99999999 ? 99999999 : us / 1000);
    const nghttp2_nv nv[] = {
        header(":method", "POST"),     header(":scheme", "http"),
        header(":path", method),       header(":authority", conn->address),
        header("te", "trailers"),      header("content-type", "application/grpc"),
        header("user-agent", "varve"), header("grpc-timeout", timeout),
    };
    nghttp2_data_provider body = {.source.ptr = call, .read_callback = read_body};
    int32_t id = nghttp2_submit_request(conn->session, NULL, nv,
                                        ARRAY_LEN(nv) - (timeout_ns == 0 ? 1 : 0), &body, call);
    if (id < 0) {
        vv_free(call);
        return vv_fail(err, VV_NO_MEMORY, "call of %s: %s", method, nghttp2_strerror(id));
    }
    call->stream_id = id;
    call->next = conn->calls;
    conn->calls = call;
    conn->call_count++;
    *out = call;
    return VV_OK;
}

static void resume(cli_call *call)
{
    if (call->deferred) {
        call->deferred = false;
        (void)nghttp2_session_resume_data(call->conn->session, call->stream_id);
    }
}

vv_status cli_call_send(cli_call *call, vv_slice message, vv_error *err)
{
    if (call->out_at > 0 && call->out_at >= call->out.len / 2) { /* keep the queue near its start */
        memmove(call->out.data, call->out.data + call->out_at, call->out.len - call->out_at);
        call->out.len -= call->out_at;
        call->out_at = 0;
    }
    uint8_t *to = vv_buf_reserve(&call->out, PREFIX + message.len);
    if (to == NULL) {
        call->out.status = VV_OK; /* the queue is whole: the caller may try again */
        return vv_fail(err, VV_NO_MEMORY, "a message of %zu bytes", message.len);
    }
    to[0] = 0;
    vv_put_be32(to + 1, (uint32_t)message.len);
    if (message.len > 0)
        memcpy(to + PREFIX, message.data, message.len);
    vv_buf_advance(&call->out, PREFIX + message.len);
    resume(call);
    return VV_OK;
}

void cli_call_half_close(cli_call *call)
{
    call->half_closed = true;
    resume(call);
}

void cli_call_cancel(cli_call *call)
{
    call->cancelled = true;
    (void)nghttp2_submit_rst_stream(call->conn->session, NGHTTP2_FLAG_NONE, call->stream_id,
                                    NGHTTP2_CANCEL);
}

size_t cli_call_queued(const cli_call *call)
{
    return call->out.len - call->out_at;
}

void cli_call_end(cli_call *call, bool callback)
{
    cli_conn *conn = call->conn;
    for (cli_call **at = &conn->calls; *at != NULL; at = &(*at)->next)
        if (*at == call) {
            *at = call->next;
            conn->call_count--;
            break;
        }
    if (callback)
        call->handler.closed(call->handler.ctx, call, &call->result);
    vv_buf_fini(&call->out);
    vv_buf_fini(&call->in);
    vv_free(call);
}
