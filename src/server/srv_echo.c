#include "server/srv_echo.h"

#include <string.h>

#include "base/alloc.h"
#include "base/util.h"

#define ANSWER_MAX (128u * 1024u * 1024u)

static void note(srv_call *call, const srv_message *msg)
{
    srv_echo *echo = srv_call_ctx(call);
    atomic_fetch_add_explicit(&echo->messages, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&echo->bytes, msg->data.len, memory_order_relaxed);
}

static void send_slice(srv_call *call, vv_slice s)
{
    vv_buf body;
    vv_buf_init(&body, ANSWER_MAX);
    vv_buf_append_slice(&body, s);
    srv_call_send(call, &body);
}

static void count_closed(srv_call *call)
{
    srv_echo *echo = srv_call_ctx(call);
    atomic_fetch_add(&echo->closed, 1);
}

static void unary_message(srv_call *call, srv_message msg)
{
    note(call, &msg);
    send_slice(call, msg.data);
    srv_message_release(&msg);
    srv_call_finish(call, VV_OK, NULL);
}

static void stream_message(srv_call *call, srv_message msg)
{
    note(call, &msg);
    send_slice(call, msg.data);
    srv_message_release(&msg);
}

static void stream_half_close(srv_call *call)
{
    srv_echo *echo = srv_call_ctx(call);
    atomic_fetch_add(&echo->half_closed, 1);
    srv_call_finish(call, VV_OK, NULL);
}

/* ---- from another thread --------------------------------------------------------------------- */

typedef struct pool_job {
    srv_call *call;
    srv_message msg;
} pool_job;

static void pool_answer(void *arg)
{
    pool_job *job = arg;
    send_slice(job->call, job->msg.data);
    srv_message_release(&job->msg);
    srv_call_finish(job->call, VV_OK, NULL);
    srv_call_unref(job->call);
    vv_free(job);
}

static void pool_message(srv_call *call, srv_message msg)
{
    srv_echo *echo = srv_call_ctx(call);
    note(call, &msg);
    pool_job *job = vv_alloc(sizeof *job);
    if (job == NULL) {
        srv_message_release(&msg);
        srv_call_finish(call, VV_NO_MEMORY, NULL);
        return;
    }
    *job = (pool_job){call, msg};
    srv_call_ref(call);
    if (srv_pool_submit(echo->pool, pool_answer, job) != VV_OK) {
        srv_message_release(&msg);
        srv_call_finish(call, VV_BUSY, "the pool is full");
        srv_call_unref(call);
        vv_free(job);
    }
}

static void pool_release(void *arg)
{
    pool_job *job = arg;
    srv_message_release(&job->msg);
    vv_free(job);
}

static void sink_message(srv_call *call, srv_message msg)
{
    srv_echo *echo = srv_call_ctx(call);
    note(call, &msg);
    pool_job *job = vv_alloc(sizeof *job);
    if (job != NULL)
        *job = (pool_job){call, msg};
    if (job == NULL || srv_pool_submit(echo->pool, pool_release, job) != VV_OK) {
        srv_message_release(&msg);
        vv_free(job);
    }
}

static void drop_message(srv_call *call, srv_message msg)
{
    note(call, &msg);
    srv_message_release(&msg);
}

/* ---- keeping messages ------------------------------------------------------------------------ */

typedef struct keeper {
    size_t count;
    size_t cap;
    srv_message *msgs;
} keeper;

static void keep_start(srv_call *call)
{
    srv_echo *echo = srv_call_ctx(call);
    srv_call_set_user(call, vv_calloc(1, sizeof(keeper)));
    srv_call_ref(call);
    srv_call *old = atomic_exchange(&echo->keeper, call);
    if (old != NULL)
        srv_call_unref(old);
}

static void keep_message(srv_call *call, srv_message msg)
{
    srv_echo *echo = srv_call_ctx(call);
    keeper *k = srv_call_user(call);
    note(call, &msg);
    if (k != NULL && k->count == k->cap) {
        size_t cap = k->cap == 0 ? 64 : k->cap * 2;
        srv_message *msgs = vv_realloc(k->msgs, cap * sizeof *msgs);
        if (msgs != NULL) {
            k->msgs = msgs;
            k->cap = cap;
        }
    }
    if (k == NULL || k->count == k->cap) {
        srv_message_release(&msg);
        srv_call_finish(call, VV_NO_MEMORY, NULL);
        return;
    }
    k->msgs[k->count++] = msg;
    atomic_fetch_add(&echo->kept, 1);
}

static void let_go(srv_call *call)
{
    srv_echo *echo = srv_call_ctx(call);
    keeper *k = srv_call_user(call);
    if (k == NULL)
        return;
    for (size_t i = 0; i < k->count; i++)
        srv_message_release(&k->msgs[i]);
    atomic_fetch_sub(&echo->kept, k->count);
    k->count = 0;
}

static void keep_half_close(srv_call *call)
{
    keeper *k = srv_call_user(call);
    vv_buf body;
    vv_buf_init(&body, 64);
    vv_buf_printf(&body, "%zu", k == NULL ? 0 : k->count);
    let_go(call);
    srv_call_send(call, &body);
    srv_call_finish(call, VV_OK, NULL);
}

static void let_go_posted(srv_call *call, void *arg)
{
    (void)arg;
    if (srv_call_is_open(call))
        let_go(call);
}

void srv_echo_let_go(srv_echo *echo)
{
    srv_call *call = atomic_load(&echo->keeper);
    if (call != NULL)
        srv_call_post(call, let_go_posted, NULL);
}

static void keep_closed(srv_call *call)
{
    keeper *k = srv_call_user(call);
    let_go(call);
    if (k != NULL)
        vv_free(k->msgs);
    vv_free(k);
    count_closed(call);
}

/* ---- talking without end ---- */

#define FLOOD_PIECE (16u * 1024u)

static void flood_piece(srv_call *call)
{
    static const uint8_t zeros[FLOOD_PIECE];
    srv_echo *echo = srv_call_ctx(call);
    send_slice(call, vv_slice_of(zeros, sizeof zeros));
    atomic_fetch_add(&echo->flood_bytes, sizeof zeros);
}

static void flood_more(srv_call *call)
{
    while (srv_call_queued(call) < SRV_OUTPUT_HIGH)
        flood_piece(call);
}

static void flood_message(srv_call *call, srv_message msg)
{
    drop_message(call, msg);
    flood_more(call);
}

static void reckless_message(srv_call *call, srv_message msg)
{
    drop_message(call, msg);
    for (unsigned i = 0; i < 16384; i++) /* 256 MiB */
        flood_piece(call);
}

static void fail_message(srv_call *call, srv_message msg)
{
    drop_message(call, msg);
    srv_call_trailer(call, "x-why", "because");
    srv_call_finish_grpc(call, 9, "not now: 100% of \xc3\xa9");
}

/* ---- HTTP ---- */

static void reply_slice(srv_call *call, int status, vv_slice s, const char *extra)
{
    vv_buf body;
    vv_buf_init(&body, ANSWER_MAX);
    vv_buf_append_slice(&body, s);
    srv_call_reply(call, status, "text/plain", &body, extra);
}

static void hello_message(srv_call *call, srv_message msg)
{
    drop_message(call, msg);
    reply_slice(call, 200, vv_slice_str("hello\n"), "X-Extra: yes");
}

static void post_message(srv_call *call, srv_message msg)
{
    note(call, &msg);
    reply_slice(call, 200, msg.data, NULL);
    srv_message_release(&msg);
}

static void path_message(srv_call *call, srv_message msg)
{
    drop_message(call, msg);
    reply_slice(call, 201, srv_call_path(call), NULL);
}

static void large_message(srv_call *call, srv_message msg)
{
    static uint8_t filler[3000000];
    drop_message(call, msg);
    reply_slice(call, 200, vv_slice_of(filler, sizeof filler), NULL);
}

size_t srv_echo_methods(srv_echo *echo, srv_method out[SRV_ECHO_METHODS])
{
    const srv_method methods[] = {
        {.kind = SRV_GRPC_UNARY, .path = "/test.Echo/Unary", .message = unary_message},
        {.kind = SRV_GRPC_UNARY, .path = "/test.Echo/Pool", .message = pool_message},
        {.kind = SRV_GRPC_STREAM,
         .path = "/test.Echo/Stream",
         .message = stream_message,
         .half_close = stream_half_close},
        {.kind = SRV_GRPC_STREAM,
         .path = "/test.Echo/Sink",
         .message = sink_message,
         .half_close = stream_half_close},
        {.kind = SRV_GRPC_STREAM, .path = "/test.Echo/Never", .message = drop_message},
        {.kind = SRV_GRPC_STREAM,
         .path = "/test.Echo/Keep",
         .start = keep_start,
         .message = keep_message,
         .half_close = keep_half_close,
         .closed = keep_closed},
        {.kind = SRV_GRPC_STREAM,
         .path = "/test.Echo/Flood",
         .message = flood_message,
         .drained = flood_more},
        {.kind = SRV_GRPC_STREAM, .path = "/test.Echo/Reckless", .message = reckless_message},
        {.kind = SRV_GRPC_UNARY, .path = "/test.Echo/Fail", .message = fail_message},
        {.kind = SRV_HTTP, .verb = "GET", .path = "/hello", .message = hello_message},
        {.kind = SRV_HTTP, .verb = "POST", .path = "/echo", .message = post_message},
        {.kind = SRV_HTTP, .verb = "PUT", .path = "/kv/*", .message = path_message},
        {.kind = SRV_HTTP, .verb = "POST", .path = "/large", .message = large_message},
    };
    static_assert(ARRAY_LEN(methods) == SRV_ECHO_METHODS, "every method has a row");
    for (size_t i = 0; i < SRV_ECHO_METHODS; i++) {
        out[i] = methods[i];
        out[i].ctx = echo;
        if (out[i].closed == NULL)
            out[i].closed = count_closed;
    }
    return SRV_ECHO_METHODS;
}
