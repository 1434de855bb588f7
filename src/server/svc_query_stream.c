/*
 * svc_query_stream.c - QueryStream: one record a message, as fast as the client reads.
 *
 * A turn runs on the pool until the output queue is high; then it parks, holding no thread, and the
 * loop's drained() starts the next turn. A turn that has looked at its share of records, or sent
 * its share of bytes, goes to the end of the pool's queue, so that a long question leaves room for
 * others. The cursor, and with it the snapshot, stays open between turns.
 * Who may touch the query is in svc_turn.h.
 */
#include "base/error.h"
#include "server/svc_query.h"

#define TURN_BYTES (4u * 1024u * 1024u)

static void put_error(vv_buf *out, vv_status st, const char *message)
{
    size_t begin = wire_begin(out, 3);
    wire_put_int(out, 1, vv_status_grpc(st));
    wire_put_text(out, 2, vv_slice_str(message));
    wire_end(out, begin);
}

/* The last message and the status. */
static void stream_finish(svc_ask *a, vv_status st, const vv_error *err)
{
    vv_buf out;
    vv_buf_init(&out, SVC_ANSWER_MAX);
    if (st == VV_OK) {
        query_stats stats;
        query_stats_read(a->query, &stats);
        size_t begin = wire_begin(&out, 2);
        query_stats_put(&out, &stats);
        wire_end(&out, begin);
        srv_call_send(a->call, &out);
    } else if (a->query != NULL) {
        put_error(&out, st, err->msg);
        srv_call_send(a->call, &out);
    }
    vv_buf_fini(&out);
    svc_ask_count(a);
    srv_call_finish(a->call, st, st == VV_OK ? NULL : err->msg);
    svc_turn_end(&a->turn);
}

/* Rows until a turn is over or nobody takes them. *parked: drained() begins the next turn; *paused:
 * there is more to do. */
static vv_status send_rows(svc_ask *a, bool *parked, bool *paused, vv_error *err)
{
    query_row row;
    vv_status st;
    size_t sent = 0;
    query_begin_turn(a->query, TURN_BYTES);
    while ((st = query_next(a->query, &row, err)) == VV_OK) {
        vv_buf out;
        vv_buf_init(&out, SVC_ANSWER_MAX);
        if (vv_buf_reserve(&out, row.body.len + row.metadata.len + row.key.len + 160) == NULL)
            return vv_fail(err, VV_NO_MEMORY, "query: a record of %zu bytes", row.body.len);
        size_t begin = wire_begin(&out, 1);
        query_row_put(&out, a->tenant, a->table, &row);
        wire_end(&out, begin);
        sent += out.len;
        srv_call_send(a->call, &out);
        *parked = svc_turn_park(&a->turn, a->call);
        *paused = sent >= TURN_BYTES;
        if (*parked || *paused)
            return VV_OK;
    }
    *paused = st == VV_NOT_FOUND && query_is_paused(a->query);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static void turn(void *arg);

/* Begin another turn, which owns a reference. False when the pool has no room. */
static bool submit(svc_ask *a)
{
    svc_ask_ref(a);
    if (srv_pool_submit(a->node->pool, turn, a) == VV_OK)
        return true;
    svc_ask_unref(a);
    return false;
}

static void turn(void *arg)
{
    svc_ask *a = arg;
    vv_error err = {0};
    vv_status st = VV_OK;
    bool parked = false;
    bool paused = true;
    if (a->query == NULL) {
        query_env env;
        st = svc_ask_open(a, &env, &err);
        if (st == VV_OK)
            st = query_open(&a->ask, &env, &a->query, &err);
    }
    /* Handed on by either, the query may be another thread's already. */
    bool handed_on = false;
    while (st == VV_OK && paused && !handed_on) {
        st = send_rows(a, &parked, &paused, &err);
        handed_on = parked || (st == VV_OK && paused && submit(a));
    }
    if (!handed_on)
        stream_finish(a, st, &err);
    svc_ask_unref(a);
}

static void begin_turn(svc_ask *a)
{
    vv_error err = {0};
    if (submit(a))
        return;
    vv_fail(&err, VV_BUSY, "query: too many queries wait for a thread; retry after a pause");
    stream_finish(a, VV_BUSY, &err);
}

void svc_stream_message(srv_call *call, srv_message msg)
{
    vv_error err = {0};
    svc_ask *a = NULL;
    if (srv_call_user(call) != NULL) {
        srv_message_release(&msg);
        srv_call_finish(call, VV_INVALID, "QueryStream takes one request");
        return;
    }
    vv_status st = svc_ask_create(call, &msg, NULL, query_request_parse, &a, &err);
    if (st != VV_OK) {
        srv_call_finish(call, st, err.msg);
        return;
    }
    atomic_init(&a->turn, SVC_TURN_RUNNING);
    srv_call_set_user(call, a);
    begin_turn(a);
}

void svc_stream_half_close(srv_call *call)
{
    if (srv_call_user(call) == NULL)
        srv_call_finish(call, VV_INVALID, "QueryStream needs one request");
}

void svc_stream_drained(srv_call *call)
{
    svc_ask *a = srv_call_user(call);
    if (a != NULL && svc_turn_wake(&a->turn))
        begin_turn(a);
}

void svc_stream_closed(srv_call *call)
{
    svc_ask *a = srv_call_user(call);
    srv_call_set_user(call, NULL);
    svc_ask_unref(a);
}
