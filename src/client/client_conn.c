/*
 * client_conn.c - the HTTP/2 session of a connection: bytes in, bytes out, and losing it.
 *
 * nghttp2 calls back while cli_step feeds it. A call ends in on_stream_close, so handlers run with
 * the session on the stack: they may start and cancel calls, and must not close the connection.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/util.h"
#include "client/client_int.h"

#define READ_SIZE (256u * 1024)
#define WRITE_MAX (256u * 1024) /* bytes gathered before a write */
#define STREAM_WINDOW (4 * 1024 * 1024)
#define CONNECTION_WINDOW (64 * 1024 * 1024)
#define FRAME_MAX (1024u * 1024)
#define PREFIX 5u

static bool name_is(const uint8_t *name, size_t len, const char *want)
{
    return len == strlen(want) && memcmp(name, want, len) == 0;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* grpc-message is percent-encoded UTF-8; what is malformed stands as it came. */
static void decode_message(char *out, size_t size, const uint8_t *value, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len && n + 1 < size; i++) {
        if (value[i] == '%' && i + 2 < len && hex_digit(value[i + 1]) >= 0 &&
            hex_digit(value[i + 2]) >= 0) {
            out[n++] = (char)(hex_digit(value[i + 1]) * 16 + hex_digit(value[i + 2]));
            i += 2;
        } else {
            out[n++] = (char)value[i];
        }
    }
    out[n] = '\0';
}

static void keep_trailer(cli_result *r, const uint8_t *name, size_t name_len, const uint8_t *value,
                         size_t value_len)
{
    if (r->trailer_count == CLI_TRAILERS_MAX || name_len >= sizeof r->trailers[0].name ||
        value_len >= sizeof r->trailers[0].value)
        return;
    memcpy(r->trailers[r->trailer_count].name, name, name_len);
    r->trailers[r->trailer_count].name[name_len] = '\0';
    memcpy(r->trailers[r->trailer_count].value, value, value_len);
    r->trailers[r->trailer_count].value[value_len] = '\0';
    r->trailer_count++;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user)
{
    (void)flags;
    (void)user;
    cli_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (call == NULL)
        return 0;
    char number[8] = "";
    memcpy(number, value, value_len < sizeof number ? value_len : 0);
    if (name_is(name, name_len, ":status")) {
        call->http_status = atoi(number);
    } else if (name_is(name, name_len, "grpc-status")) {
        call->have_status = true;
        call->result.code = atoi(number);
    } else if (name_is(name, name_len, "grpc-message")) {
        decode_message(call->result.message, sizeof call->result.message, value, value_len);
    } else if (name[0] != ':' && !name_is(name, name_len, "content-type") &&
               !name_is(name, name_len, "grpc-accept-encoding")) {
        keep_trailer(&call->result, name, name_len, value, value_len);
    }
    return 0;
}

/* Hand out every whole message in call->in; false when it announces more than we take. */
static bool take_messages(cli_call *call)
{
    size_t at = 0;
    while (call->in.len - at >= PREFIX) {
        size_t len = vv_get_be32(call->in.data + at + 1);
        if (call->in.data[at] != 0 || len > call->conn->opt.message_max)
            return false; /* we offer no encoding but identity */
        if (call->in.len - at - PREFIX < len)
            break;
        if (call->handler.message != NULL)
            call->handler.message(call->handler.ctx, call,
                                  vv_slice_of(call->in.data + at + PREFIX, len));
        at += PREFIX + len;
    }
    memmove(call->in.data, call->in.data + at, call->in.len - at);
    call->in.len -= at;
    return true;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data,
                   size_t len, void *user)
{
    (void)flags;
    (void)user;
    cli_call *call = nghttp2_session_get_stream_user_data(session, stream_id);
    if (call == NULL || len == 0)
        return 0;
    vv_buf_append(&call->in, data, len);
    if (call->in.status != VV_OK || !take_messages(call)) {
        (void)snprintf(call->result.message, sizeof call->result.message,
                       "received a message that is malformed or over %zu bytes",
                       call->conn->opt.message_max);
        call->result.code = 13;
        call->have_status = true;
        (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_CANCEL);
    }
    return 0;
}

static void finish_result(cli_call *call, uint32_t error_code)
{
    cli_result *r = &call->result;
    if (call->timed_out) {
        r->code = 4;
        (void)snprintf(r->message, sizeof r->message, "the deadline passed");
    } else if (call->cancelled) {
        r->code = 1;
        (void)snprintf(r->message, sizeof r->message, "cancelled");
    } else if (!call->have_status && error_code == NGHTTP2_REFUSED_STREAM) {
        r->code = 14;
        (void)snprintf(r->message, sizeof r->message, "the server refused the call: try again");
    } else if (!call->have_status) {
        r->code = 2;
        (void)snprintf(r->message, sizeof r->message,
                       "no grpc-status in the answer (HTTP %d, stream error %u)", call->http_status,
                       error_code);
    }
    r->status = r->code == 0 ? VV_OK : r->code == 1 ? VV_CLOSED : vv_status_of_grpc(r->code);
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                           void *user)
{
    cli_conn *conn = user;
    cli_call *call = nghttp2_session_get_stream_user_data(session, stream_id);
    conn->progress = true;
    if (call != NULL) {
        finish_result(call, error_code);
        cli_call_end(call, true);
    }
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)session;
    cli_conn *conn = user;
    conn->progress = true;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        conn->draining = true;
    return 0;
}

vv_status cli_session_create(cli_conn *conn, vv_error *err)
{
    nghttp2_session_callbacks *cbs = NULL;
    if (nghttp2_session_callbacks_new(&cbs) != 0)
        return vv_fail(err, VV_NO_MEMORY, "HTTP/2 session");
    nghttp2_session_callbacks_set_on_header_callback(cbs, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cbs, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cbs, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cbs, on_frame);
    int rc = nghttp2_session_client_new(&conn->session, cbs, conn);
    nghttp2_session_callbacks_del(cbs);
    if (rc != 0)
        return vv_fail(err, VV_NO_MEMORY, "HTTP/2 session: %s", nghttp2_strerror(rc));
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, FRAME_MAX},
    };
    rc = nghttp2_submit_settings(conn->session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings));
    if (rc == 0)
        rc = nghttp2_session_set_local_window_size(conn->session, NGHTTP2_FLAG_NONE, 0,
                                                   CONNECTION_WINDOW);
    return rc == 0 ? VV_OK : vv_fail(err, VV_NO_MEMORY, "HTTP/2 session: %s", nghttp2_strerror(rc));
}

void cli_conn_lose(cli_conn *conn, bool callbacks)
{
    if (conn->fd >= 0)
        (void)close(conn->fd);
    conn->fd = -1;
    vv_buf_reset(&conn->out); /* also when memory was short for it */
    conn->out_at = 0;
    conn->draining = false;
    conn->pinged = false;
    /* A handler may start a new call, which connects again: take this connection's calls off first.
     */
    cli_call *calls = conn->calls;
    conn->calls = NULL;
    conn->call_count = 0;
    nghttp2_session_del(conn->session);
    conn->session = NULL;
    while (calls != NULL) {
        cli_call *call = calls;
        calls = call->next;
        call->result.code = -1;
        call->result.status = VV_CLOSED;
        (void)snprintf(call->result.message, sizeof call->result.message, "%s", conn->lost.msg);
        if (callbacks)
            call->handler.closed(call->handler.ctx, call, &call->result);
        vv_buf_fini(&call->out);
        vv_buf_fini(&call->in);
        vv_free(call);
    }
}

/* Gather frames and write them; 1 wrote or nothing to do, 0 the socket is full, -1 lost. */
static int flush_out(cli_conn *conn)
{
    for (;;) {
        while (conn->out.len - conn->out_at < WRITE_MAX) {
            const uint8_t *data;
            ssize_t n = nghttp2_session_mem_send(conn->session, &data);
            if (n < 0) {
                (void)vv_fail(&conn->lost, VV_CLOSED, "%s: HTTP/2: %s", conn->address,
                              nghttp2_strerror((int)n));
                return -1;
            }
            if (n == 0)
                break;
            vv_buf_append(&conn->out, data, (size_t)n);
            if (conn->out.status != VV_OK) {
                (void)vv_fail(&conn->lost, VV_NO_MEMORY, "%s: output buffer", conn->address);
                return -1;
            }
        }
        if (conn->out_at == conn->out.len)
            return 1;
        ssize_t n = send(conn->fd, conn->out.data + conn->out_at, conn->out.len - conn->out_at,
                         MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN || errno == EINTR)
                return 0;
            (void)vv_fail_sys(&conn->lost, VV_CLOSED, errno, "%s: connection lost", conn->address);
            return -1;
        }
        conn->progress = true;
        conn->out_at += (size_t)n;
        if (conn->out_at == conn->out.len) {
            conn->out.len = 0;
            conn->out_at = 0;
        }
    }
}

static int read_in(cli_conn *conn)
{
    ssize_t n = recv(conn->fd, conn->read_buf, READ_SIZE, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n < 0) {
        (void)vv_fail_sys(&conn->lost, VV_CLOSED, errno, "%s: connection lost", conn->address);
        return -1;
    }
    if (n == 0) {
        (void)vv_fail(&conn->lost, VV_CLOSED, "%s: the server closed the connection",
                      conn->address);
        return -1;
    }
    conn->last_byte_ns = cli_now_ns();
    conn->pinged = false;
    ssize_t used = nghttp2_session_mem_recv(conn->session, conn->read_buf, (size_t)n);
    if (used < 0) {
        (void)vv_fail(&conn->lost, VV_CLOSED, "%s: HTTP/2: %s", conn->address,
                      nghttp2_strerror((int)used));
        return -1;
    }
    return 1;
}

/* Reset calls whose deadline passed; returns the nearest deadline that is left. */
static int64_t expire_calls(cli_conn *conn, int64_t now)
{
    int64_t nearest = INT64_MAX;
    for (cli_call *call = conn->calls; call != NULL; call = call->next) {
        if (call->deadline_ns <= now && !call->timed_out) {
            call->timed_out = true;
            (void)nghttp2_submit_rst_stream(conn->session, NGHTTP2_FLAG_NONE, call->stream_id,
                                            NGHTTP2_CANCEL);
        } else if (!call->timed_out && call->deadline_ns < nearest) {
            nearest = call->deadline_ns;
        }
    }
    return nearest;
}

/* The next moment keepalive has something to do; false when the peer stayed silent too long. */
static bool keep_alive(cli_conn *conn, int64_t now, int64_t *wake)
{
    if (conn->call_count == 0)
        return true;
    int64_t due = conn->last_byte_ns + conn->opt.keepalive_ns * (conn->pinged ? 2 : 1);
    if (now < due) {
        *wake = *wake < due ? *wake : due;
        return true;
    }
    if (conn->pinged) {
        (void)vv_fail(&conn->lost, VV_CLOSED, "%s: no answer to a keepalive ping", conn->address);
        return false;
    }
    conn->pinged = true;
    (void)nghttp2_submit_ping(conn->session, NGHTTP2_FLAG_NONE, NULL);
    *wake = *wake < now + conn->opt.keepalive_ns ? *wake : now + conn->opt.keepalive_ns;
    return true;
}

static vv_status lose(cli_conn *conn, vv_error *err)
{
    vv_error lost = conn->lost;
    cli_conn_lose(conn, true);
    return vv_fail(err, VV_CLOSED, "%s", lost.msg);
}

vv_status cli_step(cli_conn *conn, int64_t timeout_ns, vv_error *err)
{
    if (conn->fd < 0)
        return vv_fail(err, VV_CLOSED, "%s: not connected", conn->address);
    int64_t end = cli_now_ns() + timeout_ns;
    conn->progress = false;
    for (bool first = true;; first = false) {
        int64_t now = cli_now_ns();
        int64_t wake = expire_calls(conn, now);
        if (!keep_alive(conn, now, &wake))
            return lose(conn, err);
        int flushed = flush_out(conn);
        if (flushed < 0)
            return lose(conn, err);
        if (conn->progress && !first)
            return VV_OK;
        wake = wake < end ? wake : end;
        int64_t wait = wake - now;
        int ms = wait <= 0 ? 0 : (int)vv_min_u64((uint64_t)(wait + 999999) / 1000000, 60000);
        struct pollfd p = {.fd = conn->fd,
                           .events = (short)(POLLIN | (flushed == 0 ? POLLOUT : 0))};
        int n = poll(&p, 1, conn->progress ? 0 : ms);
        if (n > 0 && (p.revents & (POLLIN | POLLERR | POLLHUP)) != 0 && read_in(conn) < 0)
            return lose(conn, err);
        if (n == 0 && !conn->progress && cli_now_ns() >= end)
            return vv_fail(err, VV_TIMEOUT, "%s: nothing happened in time", conn->address);
    }
}
