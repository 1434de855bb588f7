/*
 * svc_query_stream.c - QueryStream: one record a message, as fast as the client reads.
 *
 * A turn runs on the pool until the output queue is high; then it parks, holding no thread, and the
 * loop's drained() starts the next turn. The cursor, and with it the snapshot, stays open between
 * turns.
 *
 *   message() --submit--> RUNNING --queue high--> PARKED --drained()--> RUNNING (submitted again)
 *                            |                       |
 *                       end or failure           closed(): nobody runs, the last
 *                       -> OVER                  reference goes with the call
 *
 * Only the thread that moves the state to RUNNING touches the query.
 */
#include "base/error.h"
#include "server/svc_query.h"

enum { STREAM_RUNNING, STREAM_PARKED, STREAM_OVER };

static void put_error(vv_buf *out, vv_status st, const char *message)
{
    size_t begin = wire_begin(out, 3);
    wire_put_int(out, 1, vv_status_grpc(st));
    wire_put_string(out, 2, vv_slice_str(message));
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
    srv_call_finish(a->call, st, st == VV_OK ? NULL : err->msg);
    svc_ask_count(a);
    atomic_store(&a->state, STREAM_OVER);
}

/* True when the turn ends here and drained() begins the next. */
static bool park(svc_ask *a)
{
    if (srv_call_queued(a->call) < SRV_OUTPUT_HIGH || !srv_call_is_open(a->call))
        return false;
    atomic_store(&a->state, STREAM_PARKED);
    /* It may have drained before the state was seen; then nobody else will wake us. */
    if (srv_call_queued(a->call) >= SRV_OUTPUT_HIGH / 2)
        return true;
    int parked = STREAM_PARKED;
    return !atomic_compare_exchange_strong(&a->state, &parked, STREAM_RUNNING);
}

static vv_status send_rows(svc_ask *a, bool *parked, vv_error *err)
{
    query_row row;
    vv_status st;
    while ((st = query_next(a->query, &row, err)) == VV_OK) {
        vv_buf out;
        vv_buf_init(&out, SVC_ANSWER_MAX);
        if (vv_buf_reserve(&out, row.body.len + row.metadata.len + row.key.len + 160) == NULL)
            return vv_fail(err, VV_NO_MEMORY, "query: a record of %zu bytes", row.body.len);
        size_t begin = wire_begin(&out, 1);
        query_row_put(&out, a->tenant, a->table, &row);
        wire_end(&out, begin);
        srv_call_send(a->call, &out);
        if (park(a)) {
            *parked = true;
            return VV_OK;
        }
    }
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static void turn(void *arg)
{
    svc_ask *a = arg;
    vv_error err = {0};
    vv_status st = VV_OK;
    bool parked = false;
    if (a->query == NULL) {
        query_env env;
        st = svc_ask_open(a, &env, &err);
        if (st == VV_OK)
            st = query_open(&a->ask, &env, &a->query, &err);
    }
    if (st == VV_OK)
        st = send_rows(a, &parked, &err);
    if (!parked) /* after parking another thread may own the query already */
        stream_finish(a, st, &err);
    svc_ask_unref(a);
}

/* Start a turn, which owns a reference. */
static void submit(svc_ask *a)
{
    vv_error err = {0};
    svc_ask_ref(a);
    vv_status st = srv_pool_submit(a->node->pool, turn, a);
    if (st == VV_OK)
        return;
    vv_fail(&err, st, "query: too many queries wait for a thread; retry after a pause");
    stream_finish(a, st, &err);
    svc_ask_unref(a);
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
    atomic_init(&a->state, STREAM_RUNNING);
    srv_call_set_user(call, a);
    submit(a);
}

void svc_stream_half_close(srv_call *call)
{
    if (srv_call_user(call) == NULL)
        srv_call_finish(call, VV_INVALID, "QueryStream needs one request");
}

void svc_stream_drained(srv_call *call)
{
    svc_ask *a = srv_call_user(call);
    int parked = STREAM_PARKED;
    if (a != NULL && atomic_compare_exchange_strong(&a->state, &parked, STREAM_RUNNING))
        submit(a);
}

void svc_stream_closed(srv_call *call)
{
    svc_ask *a = srv_call_user(call);
    srv_call_set_user(call, NULL);
    svc_ask_unref(a);
}
