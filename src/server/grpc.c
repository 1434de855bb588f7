/*
 * grpc.c - a gRPC request: its headers, its messages, its end.
 *
 *   headers -> method, deadline, encoding        or a status at once
 *   bytes   -> prefix: length checked before one byte is kept -> block -> inflate -> message()
 *   end     -> the message of a unary call, half_close()
 *
 * A unary message is handed over only when the client has ended: then a second message, which the
 * protocol forbids, is refused before anything was done.
 */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "server/grpc_inflate.h"
#include "server/srv_int.h"

#define INFLATE_RATIO 8u

static void fail(srv_call *call, int code, const char *message)
{
    srv_call_abort(call, code, 500, message);
}

static void on_deadline(srv_timer *timer)
{
    srv_call *call = VV_CONTAINER_OF(timer, srv_call, deadline_timer);
    srv_count(&call->conn->loop->counters.deadline_exceeded, 1);
    fail(call, GRPC_DEADLINE_EXCEEDED, "the deadline passed before the answer was known");
}

/* False when the call was refused. */
static bool read_timeout(srv_call *call)
{
    vv_slice text = srv_call_header(call, "grpc-timeout");
    if (text.data == NULL)
        return true;
    srv_loop *loop = call->conn->loop;
    int64_t ns;
    if (!grpc_timeout_parse(text, &ns)) {
        fail(call, GRPC_INVALID_ARGUMENT, "grpc-timeout is malformed");
        return false;
    }
    if (__builtin_add_overflow(loop->now_ns, ns, &call->deadline_ns))
        call->deadline_ns = INT64_MAX;
    call->deadline_timer.fn = on_deadline;
    if (!srv_timer_set(&loop->timers, &call->deadline_timer, call->deadline_ns)) {
        fail(call, GRPC_RESOURCE_EXHAUSTED, "no memory for the deadline");
        return false;
    }
    return true;
}

void grpc_request_begin(srv_call *call)
{
    srv *s = call->conn->server;
    call->message_max = s->opt.message_max;
    if (!vv_slice_eq(call->verb, vv_slice_str("POST"))) {
        fail(call, GRPC_UNIMPLEMENTED, "a gRPC request is a POST");
        return;
    }
    const srv_method *m = srv_route_grpc(s->routes, call->path, call->conn->port_index);
    if (m == NULL) {
        char text[192];
        const uint16_t other = srv_other_port(call);
        int len = snprintf(text, sizeof text, "unknown method %.*s",
                           (int)vv_min_u64(call->path.len, 120), (const char *)call->path.data);
        if (other != 0 && len > 0 && (size_t)len < sizeof text)
            (void)snprintf(text + len, sizeof text - (size_t)len,
                           " on this port: port %u serves it", other);
        fail(call, GRPC_UNIMPLEMENTED, text);
        return;
    }
    call->method = m;
    if (m->message_max > 0)
        call->message_max = m->message_max;
    call->encoding = grpc_encoding_parse(srv_call_header(call, "grpc-encoding"));
    if (call->encoding == GRPC_ENCODING_UNKNOWN) {
        fail(call, GRPC_UNIMPLEMENTED, "grpc-encoding is none of " GRPC_ACCEPT_ENCODING);
        return;
    }
    if (!read_timeout(call))
        return;
    call->started = true;
    if (m->start != NULL)
        m->start(call);
}

/* What a compressed message inflates to, most likely. What is more is counted before it is made. */
static uint64_t inflated_guess(const srv_call *call)
{
    return vv_min_u64(INFLATE_RATIO * (uint64_t)call->frame.length, call->message_max);
}

/* A prefix is in: may the message come? */
static bool accept_head(srv_call *call)
{
    const grpc_frame *f = &call->frame;
    char text[128];
    if (f->length > call->message_max) {
        (void)snprintf(text, sizeof text, "a message of %u bytes is over the limit of %u",
                       f->length, call->message_max);
        fail(call, GRPC_RESOURCE_EXHAUSTED, text);
        return false;
    }
    if (f->compressed && call->encoding == GRPC_IDENTITY) {
        fail(call, GRPC_INTERNAL, "a compressed message without grpc-encoding");
        return false;
    }
    if (call->unary != NULL) {
        fail(call, GRPC_UNIMPLEMENTED, "a second message on a unary call");
        return false;
    }
    if (!srv_admit(call, f->length + (f->compressed ? inflated_guess(call) : 0))) {
        fail(call, GRPC_RESOURCE_EXHAUSTED, "no memory for the message");
        return false;
    }
    return true;
}

static bool keep_piece(srv_call *call, vv_slice piece)
{
    size_t limit = vv_max_u64(SRV_CONN_PARTIAL_MAX, 2ull * call->message_max);
    if (call->conn->partial > limit ||
        !srv_block_reserve(call, &call->block, piece.len, call->frame.length)) {
        fail(call, GRPC_RESOURCE_EXHAUSTED, "no memory for the message");
        return false;
    }
    memcpy(call->block->bytes + call->block->len, piece.data, piece.len);
    call->block->len += piece.len;
    return true;
}

/* The message behind room for its block's header. VV_BUSY: it is larger than max. */
static vv_status inflate_to(const srv_call *call, uint64_t max, vv_buf *out, vv_error *err)
{
    vv_buf_init(out, sizeof(srv_block) + max);
    if (vv_buf_reserve(out, sizeof(srv_block)) == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for the message");
    vv_buf_advance(out, sizeof(srv_block));
    vv_slice in = vv_slice_of(call->block->bytes, call->block->len);
    vv_status st = grpc_inflate(call->encoding, in, out, err);
    if (st != VV_OK)
        vv_buf_fini(out);
    return st;
}

/* Within what was counted when it was announced; else with as much more as a message may have. */
static vv_status inflate_counted(const srv_call *call, vv_buf *out, vv_error *err)
{
    uint64_t guess = inflated_guess(call);
    vv_status st = inflate_to(call, guess, out, err);
    if (st != VV_BUSY)
        return st;
    uint64_t more = call->message_max - guess;
    vv_budget *budget = call->conn->server->opt.budget;
    if (!vv_budget_reserve(budget, VV_BUDGET_NETWORK, more))
        return vv_fail(err, VV_NO_MEMORY,
                       "the message inflates to more than %u times its size, for which "
                       "storage.memory_limit has no room now: retry, or send it as it is",
                       INFLATE_RATIO);
    if (more > 0)
        st = inflate_to(call, call->message_max, out, err);
    vv_budget_release(budget, VV_BUDGET_NETWORK, more); /* what it took is counted as its block's */
    if (st == VV_BUSY)
        (void)vv_fail(err, st, "the message inflates to more than the limit of %u bytes",
                      call->message_max);
    return st;
}

/* Replace the block by what it inflates to. Its header goes first, so that no byte is copied. */
static bool inflate_block(srv_call *call)
{
    vv_buf out;
    vv_error err = {0};
    vv_status st = inflate_counted(call, &out, &err);
    if (st != VV_OK) {
        fail(call, st == VV_INVALID ? GRPC_INTERNAL : GRPC_RESOURCE_EXHAUSTED, err.msg);
        return false;
    }
    srv_block_drop(call, &call->block);
    srv_block *b = (srv_block *)(void *)out.data;
    *b = (srv_block){.len = out.len - sizeof *b, .cap = out.cap - sizeof *b, .charge = out.cap};
    srv_admit_charge(call, b->charge);
    call->conn->partial += b->charge;
    call->block = b;
    return true;
}

static bool is_answered(const srv_call *call)
{
    return call->ended || atomic_load_explicit(&call->finishing, memory_order_relaxed);
}

/* The message is whole. */
static bool end_message(srv_call *call)
{
    if (!srv_block_reserve(call, &call->block, 0, 0)) { /* an empty message has no piece */
        fail(call, GRPC_RESOURCE_EXHAUSTED, "no memory for the message");
        return false;
    }
    if (call->frame.compressed && call->frame.length > 0 && !inflate_block(call))
        return false;
    call->block->wire = call->wire;
    call->block->credit = call->uncredited;
    call->wire = call->uncredited = 0;
    if (call->method->kind == SRV_GRPC_UNARY) {
        call->unary = call->block;
        call->block = NULL;
    } else if (is_answered(call)) {
        call->owed += call->block->credit;
        srv_block_drop(call, &call->block);
        srv_admit_cancel(call);
    } else {
        srv_block_deliver(call, &call->block);
    }
    return true;
}

void grpc_request_data(srv_call *call, vv_slice data)
{
    vv_slice piece;
    for (;;) {
        size_t before = data.len;
        grpc_event event = grpc_frame_next(&call->frame, &data, &piece);
        call->wire += before - data.len;
        call->uncredited += before - data.len;
        bool go_on = true;
        switch (event) {
        case GRPC_MORE:
            return;
        case GRPC_HEAD:
            go_on = accept_head(call);
            break;
        case GRPC_PIECE:
            go_on = keep_piece(call, piece);
            break;
        case GRPC_END:
            go_on = end_message(call);
            break;
        case GRPC_BAD:
            fail(call, GRPC_INTERNAL, "a message prefix has an unknown flag");
            go_on = false;
            break;
        }
        if (!go_on || call->request_ignored) {
            call->owed += data.len + call->uncredited;
            call->uncredited = 0;
            return;
        }
    }
}

void grpc_request_end(srv_call *call)
{
    if (!grpc_frame_is_clean(&call->frame)) {
        fail(call, GRPC_INTERNAL, "the request ends inside a message");
        return;
    }
    if (call->method->kind == SRV_GRPC_UNARY) {
        if (call->unary == NULL) {
            fail(call, GRPC_UNIMPLEMENTED, "a unary call without a message");
            return;
        }
        if (!is_answered(call))
            srv_block_deliver(call, &call->unary);
    }
    if (!is_answered(call) && call->method->half_close != NULL)
        call->method->half_close(call);
}
