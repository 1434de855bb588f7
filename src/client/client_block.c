/*
 * client_block.c - the blocking forms: step the connection until the answer is there.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/util.h"
#include "client/client_int.h"

#define STEP_NS VV_NS_PER_S
#define SEND_QUEUE_MAX (1024u * 1024)
#define RECEIVED_MAX (1024u * 1024 * 1024)

/* Received messages wait as length-prefixed bytes until they are asked for. */
struct cli_stream {
    cli_conn *conn;
    cli_call *call; /* NULL once closed */
    vv_buf received;
    size_t received_at;
    bool is_cut; /* no memory for a message: it and those behind it are lost, and that is told */
    cli_result result;
};

static void on_message(void *ctx, cli_call *call, vv_slice message)
{
    cli_stream *s = ctx;
    (void)call;
    if (s->is_cut || vv_buf_reserve(&s->received, 4 + message.len) == NULL) {
        s->is_cut = true;
        return;
    }
    vv_buf_append_le32(&s->received, (uint32_t)message.len);
    vv_buf_append_slice(&s->received, message);
}

static void on_closed(void *ctx, cli_call *call, const cli_result *result)
{
    cli_stream *s = ctx;
    (void)call;
    s->call = NULL;
    s->result = *result;
}

static void ignore_closed(void *ctx, cli_call *call, const cli_result *result)
{
    (void)ctx;
    (void)call;
    (void)result;
}

vv_status cli_stream_open(cli_conn *conn, const char *method, int64_t timeout_ns, cli_stream **out,
                          vv_error *err)
{
    cli_stream *s = vv_calloc(1, sizeof *s);
    if (s == NULL)
        return vv_fail(err, VV_NO_MEMORY, "call of %s", method);
    s->conn = conn;
    vv_buf_init(&s->received, RECEIVED_MAX);
    cli_handler handler = {.message = on_message, .closed = on_closed, .ctx = s};
    vv_status st = cli_call_start(conn, method, timeout_ns, &handler, &s->call, err);
    if (st != VV_OK) {
        vv_free(s);
        return st;
    }
    *out = s;
    return VV_OK;
}

/* The failure of a call that has ended; OK calls give st_ok. */
static vv_status ended(const cli_stream *s, vv_status st_ok, vv_error *err)
{
    if (s->is_cut)
        return vv_fail(err, VV_NO_MEMORY, "messages received and not yet read");
    if (s->result.status == VV_OK)
        return st_ok;
    return vv_fail(err, s->result.status, "%s", s->result.message);
}

/* A lost connection ends the call through on_closed, so only other failures matter here. */
static vv_status step(cli_stream *s, int64_t ns, vv_error *err)
{
    vv_status st = cli_step(s->conn, ns, err);
    return st == VV_TIMEOUT || s->call == NULL ? VV_OK : st;
}

vv_status cli_stream_send(cli_stream *s, vv_slice message, vv_error *err)
{
    while (s->call != NULL && cli_call_queued(s->call) > SEND_QUEUE_MAX) {
        vv_status st = step(s, STEP_NS, err);
        if (st != VV_OK)
            return st;
    }
    if (s->call == NULL)
        return ended(s, vv_fail(err, VV_CLOSED, "the server ended the call"), err);
    return cli_call_send(s->call, message, err);
}

void cli_stream_half_close(cli_stream *s)
{
    if (s->call != NULL)
        cli_call_half_close(s->call);
}

vv_status cli_stream_receive(cli_stream *s, bool wait, vv_buf *out, vv_error *err)
{
    if (!wait && s->call != NULL && s->received_at == s->received.len) {
        vv_status st = step(s, 0, err);
        if (st != VV_OK)
            return st;
    }
    while (wait && s->call != NULL && !s->is_cut && s->received_at == s->received.len) {
        vv_status st = step(s, STEP_NS, err);
        if (st != VV_OK)
            return st;
    }
    if (s->received_at == s->received.len) {
        if (s->call == NULL || s->is_cut)
            return ended(s, VV_NOT_FOUND, err);
        return vv_fail(err, VV_TIMEOUT, "no message yet");
    }
    const uint8_t *at = s->received.data + s->received_at;
    size_t len = vv_get_le32(at);
    vv_buf_reset(out);
    vv_buf_append(out, at + 4, len);
    if (out->status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "a message of %zu bytes", len);
    s->received_at += 4 + len;
    if (s->received_at == s->received.len) {
        vv_buf_reset(&s->received);
        s->received_at = 0;
    }
    return VV_OK;
}

const cli_result *cli_stream_result(const cli_stream *s)
{
    return &s->result;
}

void cli_stream_close(cli_stream *s)
{
    if (s == NULL)
        return;
    if (s->call != NULL) {
        cli_call_cancel(s->call);
        while (s->call != NULL && step(s, STEP_NS, NULL) == VV_OK)
            continue;
    }
    if (s->call != NULL) /* its end comes when the stream is gone */
        s->call->handler = (cli_handler){.closed = ignore_closed};
    vv_buf_fini(&s->received);
    vv_free(s);
}

vv_status cli_unary(cli_conn *conn, const char *method, vv_slice request, int64_t timeout_ns,
                    vv_buf *reply, cli_result *result, vv_error *err)
{
    cli_stream *s = NULL;
    vv_status st = cli_stream_open(conn, method, timeout_ns, &s, err);
    if (st != VV_OK)
        return st;
    assert(s != NULL);
    st = cli_call_send(s->call, request, err);
    cli_stream_half_close(s);
    if (st == VV_OK)
        st = cli_stream_receive(s, true, reply, err);
    if (st == VV_NOT_FOUND && s->call == NULL && s->result.status == VV_OK)
        st = vv_fail(err, VV_IO, "%s: an answer without a message", method);
    while (st == VV_OK && s->call != NULL) /* the status comes after the message */
        st = step(s, STEP_NS, err);
    if (st == VV_OK)
        st = ended(s, VV_OK, err);
    if (result != NULL)
        *result = s->result;
    cli_stream_close(s);
    return st;
}
