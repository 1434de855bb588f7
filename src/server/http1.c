/*
 * http1.c - one HTTP/1.1 connection: a request at a time, answers in order.
 *
 *            head whole            body whole           answer written
 *     HEAD -------------> BODY ----------------> WAIT ------------------> HEAD or DONE
 *       |                   | refused early        ^
 *       | malformed         +----------------------+  then DONE: the rest of the body is not read
 *       +--> DONE
 *
 * While a request is being answered the socket is not read: a client that pipelines is held back by
 * TCP, and at most one read's worth of its bytes is kept.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "server/http1_parse.h"
#include "server/srv_int.h"

#define HEAD_READ (16u * 1024u)
#define CHUNK_READ (64u * 1024u)
#define UNTIL_CLOSE SIZE_MAX /* the length of an answer that the end of the connection ends */

typedef enum http1_phase { HEAD, BODY, CHUNKS, WAIT, DONE } http1_phase;

typedef struct http1 {
    http1_phase phase;
    bool keep_alive;   /* as the client wishes */
    bool minor_zero;   /* it speaks HTTP/1.0 */
    bool draining;     /* no request after this one */
    bool continue_due; /* 100 Continue is to be sent */
    bool head_sent;
    bool is_chunked; /* the answer being sent */
    int error;       /* a status to send without a call */
    vv_buf kept;     /* input that could not be used yet */
    size_t scan;     /* of kept: searched for the end of the head */
    uint64_t left;   /* of the body */
    http1_chunks chunks;
    srv_call *call; /* while attached */
} http1;

static http1 *state_of(const srv_conn *conn)
{
    return conn->proto_state;
}

/* ---- requests in ---- */

/* Answer status without a call, then close. */
static void refuse(srv_conn *conn, int status)
{
    http1 *h = state_of(conn);
    h->error = status;
    h->phase = DONE;
    conn->head_since_ns = 0;
    srv_count(&conn->loop->counters.protocol_errors, 1);
    srv_count(&conn->loop->counters.http_status[status / 100 % 6], 1);
    srv_conn_dirty(conn);
}

static bool add_lowered(srv_call *call, vv_slice name, vv_slice value)
{
    if (!srv_call_header_add(call, name, value))
        return false;
    uint8_t *p = call->headers + call->headers_len - value.len - name.len;
    for (size_t i = 0; i < name.len; i++)
        if (p[i] >= 'A' && p[i] <= 'Z')
            p[i] = (uint8_t)(p[i] + 32);
    return true;
}

static bool add_headers(srv_call *call, const http1_head *head)
{
    vv_slice target = head->path;
    if (head->query.data != NULL)
        target.len = (size_t)(head->query.data + head->query.len - target.data);
    if (!srv_call_header_add(call, vv_slice_str(":method"), head->verb) ||
        !srv_call_header_add(call, vv_slice_str(":path"), target))
        return false;
    for (uint32_t i = 0; i < head->header_count; i++)
        if (!add_lowered(call, head->headers[i].name, head->headers[i].value))
            return false;
    return true;
}

static void end_request(srv_conn *conn)
{
    http1 *h = state_of(conn);
    h->phase = WAIT;
    srv_request_end(h->call);
}

static void begin_request(srv_conn *conn, const http1_head *head)
{
    http1 *h = state_of(conn);
    srv_call *call = srv_call_create(conn, 0);
    if (call == NULL) {
        refuse(conn, 507);
        return;
    }
    h->call = call;
    h->keep_alive = head->keep_alive;
    h->minor_zero = head->minor == 0;
    h->head_sent = h->is_chunked = false;
    h->left = head->content_length;
    h->chunks = (http1_chunks){0};
    h->phase = head->chunked ? CHUNKS : BODY;
    conn->proto_ready = true;
    if (!add_headers(call, head)) {
        call->is_http = true;
        srv_call_abort(call, GRPC_RESOURCE_EXHAUSTED, 507, NULL);
    } else {
        srv_request_begin(call, false);
    }
    if (!head->chunked && h->left == 0) {
        end_request(conn);
    } else if (call->ended) {
        h->phase = WAIT; /* the body is not wanted: answer, then close */
    } else if (head->expect_continue) {
        h->continue_due = true;
        srv_conn_dirty(conn);
    }
}

/* False when more input is needed. */
static bool take_head(srv_conn *conn, vv_slice *in)
{
    http1 *h = state_of(conn);
    uint32_t max = conn->server->opt.header_max;
    size_t len = http1_head_end(*in, &h->scan);
    if (len == 0 && in->len <= max) {
        if (in->len > 0 && conn->head_since_ns == 0)
            conn->head_since_ns = conn->loop->now_ns;
        return false;
    }
    if (len == 0 || len > max) {
        bool in_line = memchr(in->data, '\n', vv_min_u64(in->len, HTTP1_LINE_MAX)) == NULL;
        refuse(conn, in_line ? 414 : 431);
        return false;
    }
    h->scan = 0;
    conn->head_since_ns = 0;
    http1_head head;
    int status;
    if (http1_parse_head(vv_slice_of(in->data, len), &head, &status) == HTTP1_BAD) {
        refuse(conn, status);
        return false;
    }
    begin_request(conn, &head);
    in->data += len;
    in->len -= len;
    return true;
}

static void take_body(srv_conn *conn, vv_slice *in)
{
    http1 *h = state_of(conn);
    size_t n = vv_min_u64(in->len, h->left);
    h->left -= n;
    srv_request_data(h->call, vv_slice_of(in->data, n));
    in->data += n;
    in->len -= n;
    if (h->call->ended && h->left > 0)
        h->phase = WAIT;
    else if (h->left == 0)
        end_request(conn);
}

static void take_chunks(srv_conn *conn, vv_slice *in)
{
    http1 *h = state_of(conn);
    vv_slice piece;
    switch (http1_chunk_next(&h->chunks, in, &piece)) {
    case HTTP1_CHUNK_MORE:
        break;
    case HTTP1_CHUNK_PIECE:
        srv_request_data(h->call, piece);
        if (h->call->ended)
            h->phase = WAIT;
        break;
    case HTTP1_CHUNK_END:
        end_request(conn);
        break;
    case HTTP1_CHUNK_BAD:
        srv_count(&conn->loop->counters.protocol_errors, 1);
        srv_call_abort(h->call, GRPC_INVALID_ARGUMENT, 400, "the chunked body is malformed");
        h->phase = WAIT;
        break;
    }
}

/* Use as much of in as the phase allows. */
static void advance(srv_conn *conn, vv_slice *in)
{
    http1 *h = state_of(conn);
    while (in->len > 0 && conn->state == SRV_CONN_OPEN) {
        switch (h->phase) {
        case HEAD:
            if (!take_head(conn, in))
                return;
            break;
        case BODY:
            take_body(conn, in);
            break;
        case CHUNKS:
            take_chunks(conn, in);
            break;
        case WAIT:
            return;
        case DONE:
            in->len = 0;
            return;
        }
    }
}

/* Keep what was not used. rest may lie inside kept. */
static bool keep(http1 *h, vv_slice rest)
{
    if (rest.len == 0) {
        vv_buf_fini(&h->kept); /* an idle connection holds nothing */
        return true;
    }
    if (h->kept.len > 0) {
        memmove(h->kept.data, rest.data, rest.len);
        h->kept.len = rest.len;
        return true;
    }
    vv_buf_append_slice(&h->kept, rest);
    return h->kept.status == VV_OK;
}

static bool use_input(srv_conn *conn, vv_slice in)
{
    http1 *h = state_of(conn);
    if (h->kept.len > 0) {
        vv_buf_append_slice(&h->kept, in);
        if (h->kept.status != VV_OK)
            return false;
        in = vv_buf_slice(&h->kept);
    }
    advance(conn, &in);
    return keep(h, in);
}

static bool input(srv_conn *conn, vv_slice in)
{
    return use_input(conn, in);
}

static void input_end(srv_conn *conn)
{
    http1 *h = state_of(conn);
    if (h->phase == BODY || h->phase == CHUNKS)
        srv_conn_kill(conn); /* the request will never be whole */
    else if (h->phase == HEAD)
        h->phase = DONE;
    h->draining = true;
    srv_conn_dirty(conn);
}

static size_t want_input(const srv_conn *conn)
{
    const http1 *h = state_of(conn);
    if (conn->waiting > 0)
        return 0;
    switch (h->phase) {
    case HEAD:
        return HEAD_READ;
    case BODY:
        return vv_min_u64(h->left, SRV_READ_SIZE);
    case CHUNKS:
        return CHUNK_READ;
    default:
        return 0;
    }
}

/* ---- answers out ---- */

static void write_head(srv_conn *conn, vv_buf *out, int status, const char *type, size_t len,
                       const char *extra, bool keep_alive)
{
    const http1 *h = state_of(conn);
    vv_buf_printf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\n", status, http_reason(status),
                  srv_loop_date(conn->loop));
    if (h->is_chunked)
        vv_buf_append_str(out, "Transfer-Encoding: chunked\r\n");
    else if (status != 204 && status != 304 && len != UNTIL_CLOSE)
        vv_buf_printf(out, "Content-Length: %zu\r\n", len);
    if (type != NULL)
        vv_buf_printf(out, "Content-Type: %s\r\n", type);
    if (extra != NULL)
        vv_buf_printf(out, "%s\r\n", extra);
    if (!keep_alive)
        vv_buf_append_str(out, "Connection: close\r\n");
    else if (state_of(conn)->minor_zero)
        vv_buf_append_str(out, "Connection: keep-alive\r\n");
    vv_buf_append_str(out, "\r\n");
}

static void write_error(srv_conn *conn, vv_buf *out)
{
    http1 *h = state_of(conn);
    vv_buf body;
    vv_buf_init(&body, 512);
    srv_error_body(&body, http_grpc_code(h->error), NULL, http_reason(h->error));
    write_head(conn, out, h->error, "application/json", body.len, NULL, false);
    vv_buf_append_slice(out, vv_buf_slice(&body));
    vv_buf_fini(&body);
    h->error = 0;
}

static void begin_answer(srv_conn *conn, vv_buf *out)
{
    http1 *h = state_of(conn);
    srv_call *call = h->call;
    const bool has_length = !call->is_streamed;
    h->is_chunked = !has_length && !h->minor_zero;
    h->keep_alive =
        h->keep_alive && !h->draining && call->request_ended && (has_length || h->is_chunked);
    write_head(conn, out, call->reply_status, call->reply_type,
               has_length ? call->reply_len : UNTIL_CLOSE, call->reply_extra, h->keep_alive);
    h->head_sent = call->response_begun = true;
}

/* Up to a write's size of the body, as one chunk where it has chunks. */
static bool write_body(srv_conn *conn, vv_buf *out)
{
    const http1 *h = state_of(conn);
    srv_call *call = h->call;
    size_t n = vv_min_u64(call->out_bytes, SRV_WRITE_SIZE - out->len);
    if (h->is_chunked)
        vv_buf_printf(out, "%zx\r\n", n);
    uint8_t *to = vv_buf_reserve(out, n);
    if (to == NULL)
        return false;
    srv_call_out_take(call, to, n);
    vv_buf_advance(out, n);
    if (h->is_chunked)
        vv_buf_append_str(out, "\r\n");
    return true;
}

/* The answer is out: next request, or the end. */
static bool end_answer(srv_conn *conn)
{
    http1 *h = state_of(conn);
    srv_call *call = h->call;
    h->call = NULL;
    h->is_chunked = false;
    call->response_ended = true;
    srv_call_detach(call);
    if (!h->keep_alive) {
        h->phase = DONE;
        return true;
    }
    h->phase = HEAD;
    h->scan = 0;
    return h->kept.len == 0 || use_input(conn, vv_slice_of(NULL, 0));
}

static bool output(srv_conn *conn, vv_buf *out)
{
    http1 *h = state_of(conn);
    srv_call *call = h->call;
    if (h->continue_due && conn->waiting == 0) {
        h->continue_due = false;
        if (call != NULL && !call->ended)
            vv_buf_append_str(out, "HTTP/1.1 100 Continue\r\n\r\n");
    }
    if (call != NULL && (call->ended || call->is_streamed)) {
        if (!h->head_sent)
            begin_answer(conn, out);
        if (call->out_bytes > 0 && out->len < SRV_WRITE_SIZE && !write_body(conn, out))
            return false;
        if (call->out_bytes == 0 && call->ended) {
            if (h->is_chunked && !call->verb_head)
                vv_buf_append_str(out, "0\r\n\r\n");
            if (!end_answer(conn))
                return false;
        }
    }
    if (h->error != 0)
        write_error(conn, out);
    return out->status == VV_OK;
}

static void call_ready(srv_call *call)
{
    if (call->ended || call->is_streamed)
        srv_conn_dirty(call->conn);
}

static void reset(srv_call *call)
{
    srv_conn_kill(call->conn);
}

static void drain(srv_conn *conn, bool final)
{
    (void) final;
    http1 *h = state_of(conn);
    h->draining = true;
    if (h->phase == HEAD && h->kept.len == 0)
        h->phase = DONE;
    srv_conn_dirty(conn);
}

static void ping(srv_conn *conn)
{
    conn->ping_sent = false; /* there is none */
}

static void head_timeout(srv_conn *conn)
{
    if (state_of(conn)->kept.len > 0)
        refuse(conn, 408);
    else
        srv_conn_kill(conn);
}

static bool is_done(const srv_conn *conn)
{
    const http1 *h = state_of(conn);
    return h->phase == DONE && h->error == 0;
}

static void fini(srv_conn *conn)
{
    http1 *h = state_of(conn);
    vv_buf_fini(&h->kept);
    vv_free(h);
    conn->proto_state = NULL;
}

static const srv_proto http1_proto = {
    .input = input,
    .input_end = input_end,
    .want_input = want_input,
    .output = output,
    .call_ready = call_ready,
    .reset = reset,
    .drain = drain,
    .ping = ping,
    .head_timeout = head_timeout,
    .is_done = is_done,
    .fini = fini,
};

bool http1_attach(srv_conn *conn)
{
    http1 *h = vv_calloc(1, sizeof *h);
    if (h == NULL)
        return false;
    vv_buf_init(&h->kept, conn->server->opt.header_max + CHUNK_READ + HEAD_READ);
    conn->proto = &http1_proto;
    conn->proto_state = h;
    return true;
}
