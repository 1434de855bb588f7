/*
 * srv_call.c - a call: what any thread may do with it, and how its loop carries that out.
 *
 *   any thread                              loop thread
 *     item -> inbox (atomic push)
 *     first one: call -> loop's posts  ->   srv_call_run: the inbox, in order
 *                                             send, reply -> output queue
 *                                             finish      -> final status
 *                                             post        -> fn(call)
 *                                           credit released bytes, tell the protocol
 *
 * Several actions between two turns cost one wake-up. Nothing here blocks or takes a lock, so a
 * handler may answer from under any lock of its own.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "server/srv_int.h"

/* ---- creation and references ----------------------------------------------------------------- */

srv_call *srv_call_create(srv_conn *conn, int32_t stream_id)
{
    srv_call *call = vv_alloc(sizeof *call);
    if (call == NULL)
        return NULL;
    memset(call, 0, offsetof(srv_call, headers_inline));
    call->post.fn = srv_call_run;
    atomic_init(&call->refs, 1);
    call->conn = conn;
    atomic_fetch_add_explicit(&conn->refs, 1, memory_order_relaxed);
    call->stream_id = stream_id;
    call->headers = call->headers_inline;
    call->headers_cap = SRV_HEADERS_INLINE;
    call->deadline_ns = INT64_MAX;
    call->last_input_ns = call->last_output_ns = conn->loop->now_ns;
    call->first_item.embedded = call->finish_item.embedded = call->post_item.embedded = true;
    atomic_init(&call->open, true);

    call->attached = true;
    call->next = conn->calls;
    if (conn->calls != NULL)
        conn->calls->prev = call;
    conn->calls = call;
    conn->call_count++;
    conn->partial += sizeof *call;
    conn->last_use_ns = conn->loop->now_ns;
    srv_count(&conn->loop->counters.calls_opened, 1);
    srv_conn_arm(conn, conn->loop->now_ns + conn->server->check_period_ns);
    return call;
}

void srv_call_ref(srv_call *call)
{
    atomic_fetch_add_explicit(&call->refs, 1, memory_order_relaxed);
}

void srv_item_free(srv_call *call, srv_item *item)
{
    if (item->charge > 0) {
        vv_budget_release(call->conn->server->opt.budget, VV_BUDGET_NETWORK, item->charge);
        atomic_fetch_sub_explicit(&call->conn->queued, item->charge, memory_order_relaxed);
        atomic_fetch_sub_explicit(&call->queued, item->charge, memory_order_relaxed);
    }
    vv_buf_fini(&item->body);
    if (item->kind == SRV_ITEM_REPLY || item->kind == SRV_ITEM_BEGIN) {
        vv_free(item->type);
        vv_free(item->extra);
    }
    if (!item->embedded)
        vv_free(item);
}

/* Free the item first: fn may post again. */
void srv_item_post(srv_call *call, srv_item *item)
{
    void (*fn)(srv_call * call, void *arg) = item->fn;
    void *arg = item->arg;
    if (item == &call->post_item)
        atomic_store(&call->post_used, false);
    srv_item_free(call, item);
    fn(call, arg);
}

void srv_items_free(srv_call *call, srv_item *item)
{
    while (item != NULL) {
        srv_item *next = item->next;
        srv_item_free(call, item);
        item = next;
    }
}

void srv_call_unref(srv_call *call)
{
    if (atomic_fetch_sub_explicit(&call->refs, 1, memory_order_acq_rel) != 1)
        return;
    srv_items_free(call, atomic_load(&call->inbox));
    srv_items_free(call, call->out_first);
    srv_items_free(call, call->trailers);
    if (call->headers != call->headers_inline)
        vv_free(call->headers);
    vv_free(call->message);
    vv_free(call->reply_type);
    vv_free(call->reply_extra);
    srv_conn *conn = call->conn;
    vv_free(call);
    srv_conn_unref(conn);
}

/* ---- request headers ------------------------------------------------------------------------ */

#define HEADER_LEN_MAX 65535u

bool srv_call_header_add(srv_call *call, vv_slice name, vv_slice value)
{
    if (name.len > HEADER_LEN_MAX || value.len > HEADER_LEN_MAX)
        return false;
    uint32_t need = call->headers_len + 4 + (uint32_t)name.len + (uint32_t)value.len;
    if (need > call->headers_cap) {
        uint32_t cap = call->headers_cap * 2 < need ? need : call->headers_cap * 2;
        bool is_inline = call->headers == call->headers_inline;
        uint8_t *grown = vv_realloc(is_inline ? NULL : call->headers, cap);
        if (grown == NULL)
            return false;
        if (is_inline)
            memcpy(grown, call->headers, call->headers_len);
        call->headers = grown;
        call->headers_cap = cap;
    }
    uint8_t *p = call->headers + call->headers_len;
    const uint16_t lens[2] = {(uint16_t)name.len, (uint16_t)value.len};
    memcpy(p, lens, sizeof lens);
    if (name.len > 0)
        memcpy(p + 4, name.data, name.len);
    if (value.len > 0)
        memcpy(p + 4 + name.len, value.data, value.len);
    call->headers_len = need;
    return true;
}

vv_slice srv_call_header(const srv_call *call, const char *name)
{
    vv_slice want = vv_slice_str(name);
    for (uint32_t at = 0; at < call->headers_len;) {
        const uint8_t *p = call->headers + at;
        uint16_t lens[2];
        memcpy(lens, p, sizeof lens);
        if (vv_slice_eq(vv_slice_of(p + 4, lens[0]), want))
            return vv_slice_of(p + 4 + lens[0], lens[1]);
        at += 4u + lens[0] + lens[1];
    }
    return vv_slice_of(NULL, 0);
}

/* ---- plain questions ---- */

void *srv_call_ctx(const srv_call *call)
{
    return call->method->ctx;
}

void srv_call_set_user(srv_call *call, void *user)
{
    call->user = user;
}

void *srv_call_user(const srv_call *call)
{
    return call->user;
}

vv_slice srv_call_path(const srv_call *call)
{
    return call->path;
}

vv_slice srv_call_query(const srv_call *call)
{
    return call->query;
}

bool srv_call_from_loopback(const srv_call *call)
{
    return call->conn->loopback;
}

int64_t srv_call_deadline_ns(const srv_call *call)
{
    return call->deadline_ns;
}

bool srv_call_is_open(const srv_call *call)
{
    return atomic_load_explicit(&call->open, memory_order_acquire);
}

uint32_t srv_call_loop(const srv_call *call)
{
    return call->conn->loop->index;
}

uint64_t srv_call_connection(const srv_call *call)
{
    return call->conn->id;
}

size_t srv_call_queued(const srv_call *call)
{
    return atomic_load_explicit(&call->queued, memory_order_relaxed);
}

/* ---- actions from any thread ---- */

srv_item *srv_call_inbox(srv_call *call)
{
    srv_item *newest = atomic_exchange_explicit(&call->inbox, NULL, memory_order_acquire);
    srv_item *oldest = NULL;
    while (newest != NULL) {
        srv_item *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

/* The loop has ended: nobody will carry items out. What must run, runs here. */
static void run_orphans(srv_call *call)
{
    atomic_store(&call->scheduled, false);
    srv_item *item = srv_call_inbox(call);
    while (item != NULL) {
        srv_item *next = item->next;
        if (item->kind == SRV_ITEM_POST)
            srv_item_post(call, item);
        else
            srv_item_free(call, item);
        item = next;
    }
}

void srv_call_schedule(srv_call *call)
{
    if (atomic_exchange(&call->scheduled, true))
        return;
    srv_call_ref(call);
    if (!srv_loop_post(call->conn->loop, &call->post)) {
        run_orphans(call);
        srv_call_unref(call);
    }
}

static void push_item(srv_call *call, srv_item *item)
{
    srv_item *head = atomic_load_explicit(&call->inbox, memory_order_relaxed);
    do {
        item->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&call->inbox, &head, item, memory_order_release,
                                                    memory_order_relaxed));
    srv_call_schedule(call);
}

static srv_item *new_item(srv_item_kind kind)
{
    srv_item *item = vv_calloc(1, sizeof *item);
    if (item != NULL)
        item->kind = kind;
    return item;
}

static void take_body(srv_item *item, vv_buf *body)
{
    item->body = *body;
    *body = (vv_buf){.max = body->max};
}

/* Count the bytes of a message to be sent. False when they are too many to keep. */
static bool charge_item(srv_call *call, srv_item *item)
{
    srv_conn *conn = call->conn;
    vv_budget *budget = conn->server->opt.budget;
    size_t bytes = sizeof *item + item->body.cap;
    size_t before = atomic_load_explicit(&conn->queued, memory_order_relaxed);
    if (before >= SRV_CONN_OUT_MAX)
        return false;
    if (!vv_budget_reserve(budget, VV_BUDGET_NETWORK, bytes)) {
        if (before >= SRV_OUTPUT_HIGH)
            return false; /* memory is short and this peer already has its share */
        vv_budget_take(budget, VV_BUDGET_NETWORK, bytes);
    }
    item->charge = bytes;
    atomic_fetch_add_explicit(&conn->queued, bytes, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&call->queued, bytes, memory_order_relaxed) + bytes >=
        SRV_OUTPUT_HIGH)
        atomic_store(&call->was_high, true);
    return true;
}

static bool is_over(srv_call *call)
{
    return !srv_call_is_open(call) || atomic_load_explicit(&call->finishing, memory_order_acquire);
}

static void finish(srv_call *call, int grpc_code, int http_status, const char *message,
                   bool at_once)
{
    if (!srv_call_is_open(call) || atomic_exchange(&call->finishing, true))
        return;
    srv_item *item = &call->finish_item;
    item->kind = SRV_ITEM_FINISH;
    item->code = grpc_code >= 0 && grpc_code <= GRPC_CODE_MAX ? grpc_code : 2;
    item->http = http_status;
    item->at_once = at_once;
    vv_buf_init(&item->body, 4096);
    if (message != NULL) /* without memory the code goes alone */
        vv_buf_append(&item->body, message, strlen(message) + 1);
    push_item(call, item);
}

void srv_call_send(srv_call *call, vv_buf *body)
{
    if (is_over(call) || (call->is_http && !atomic_load(&call->begun))) {
        vv_buf_fini(body);
        return;
    }
    if (body->status != VV_OK || body->len > UINT32_MAX) {
        vv_buf_fini(body);
        srv_call_finish(call, VV_BUSY, "the answer is too large for its buffer");
        return;
    }
    srv_item *item = &call->first_item;
    if (atomic_exchange(&call->first_used, true))
        item = new_item(SRV_ITEM_SEND);
    if (item == NULL) {
        vv_buf_fini(body);
        srv_call_finish(call, VV_NO_MEMORY, "no memory for the answer");
        return;
    }
    item->kind = SRV_ITEM_SEND;
    take_body(item, body);
    if (!call->is_http) {
        grpc_prefix_write(item->prefix, (uint32_t)item->body.len);
        item->prefix_len = GRPC_PREFIX_LEN;
    }
    if (!charge_item(call, item)) {
        srv_item_free(call, item);
        finish(call, GRPC_RESOURCE_EXHAUSTED, 429, "the client does not read its answers", true);
        return;
    }
    push_item(call, item);
}

void srv_call_trailer(srv_call *call, const char *name, const char *value)
{
    srv_item *item = is_over(call) || call->is_http ? NULL : new_item(SRV_ITEM_TRAILER);
    if (item == NULL)
        return;
    vv_buf_init(&item->body, HEADER_LEN_MAX);
    vv_buf_append(&item->body, name, strlen(name) + 1);
    vv_buf_append_str(&item->body, value);
    if (item->body.status == VV_OK)
        push_item(call, item);
    else
        srv_item_free(call, item);
}

void srv_call_finish(srv_call *call, vv_status status, const char *message)
{
    const srv_options *opt = &call->conn->server->opt;
    if (status == VV_CORRUPT && opt->corrupt != NULL)
        opt->corrupt(opt->corrupt_ctx, message);
    finish(call, vv_status_grpc(status), vv_status_http(status), message, false);
}

/* google.rpc.Code as HTTP has it, for codes that no vv_status gives. */
static int http_of_grpc(int code)
{
    static const uint16_t map[GRPC_CODE_MAX + 1] = {200, 499, 500, 400, 504, 404, 409, 403, 429,
                                                    400, 409, 400, 501, 500, 503, 500, 401};
    return code >= 0 && code <= GRPC_CODE_MAX ? map[code] : 500;
}

void srv_call_finish_grpc(srv_call *call, int code, const char *message)
{
    finish(call, code, http_of_grpc(code), message, false);
}

void srv_call_reply(srv_call *call, int http_status, const char *content_type, vv_buf *body,
                    const char *extra_header)
{
    if (!call->is_http || body->status != VV_OK) {
        vv_buf_fini(body);
        srv_call_finish(call, call->is_http ? VV_NO_MEMORY : VV_IO,
                        call->is_http ? "the answer does not fit into memory"
                                      : "an HTTP answer to a gRPC call");
        return;
    }
    if (!srv_call_is_open(call) || atomic_exchange(&call->finishing, true)) {
        vv_buf_fini(body);
        return;
    }
    srv_item *item = &call->finish_item;
    item->kind = SRV_ITEM_REPLY;
    item->http = http_status;
    item->type = item->extra = NULL;
    take_body(item, body);
    if (content_type != NULL)
        item->type = vv_strdup(content_type);
    if (extra_header != NULL)
        item->extra = vv_strdup(extra_header);
    bool lost = (content_type != NULL && item->type == NULL) ||
                (extra_header != NULL && item->extra == NULL);
    if (lost || !charge_item(call, item)) {
        vv_buf_fini(&item->body);
        vv_free(item->type);
        vv_free(item->extra);
        item->kind = SRV_ITEM_FINISH;
        item->http = 507;
    }
    push_item(call, item);
}

void srv_call_begin(srv_call *call, int http_status, const char *content_type,
                    const char *extra_header)
{
    if (is_over(call) || !call->is_http || atomic_exchange(&call->begun, true))
        return;
    srv_item *item = new_item(SRV_ITEM_BEGIN);
    if (item != NULL) {
        item->http = http_status;
        item->type = vv_strdup(content_type);
        item->extra = extra_header == NULL ? NULL : vv_strdup(extra_header);
    }
    if (item != NULL && item->type != NULL && (extra_header == NULL || item->extra != NULL)) {
        push_item(call, item);
        return;
    }
    if (item != NULL)
        srv_item_free(call, item);
    atomic_store(&call->begun, false);
    srv_call_finish(call, VV_NO_MEMORY, "no memory for the answer");
}

void srv_call_post(srv_call *call, void (*fn)(srv_call *call, void *arg), void *arg)
{
    srv_item *item = new_item(SRV_ITEM_POST);
    if (item == NULL && srv_loop_is_here(call->conn->loop)) {
        fn(call, arg); /* it must run, and this is its thread */
        return;
    }
    if (item == NULL) { /* the call has one to spare; the loop gives it back soon */
        while (atomic_exchange(&call->post_used, true))
            vv_clock_sleep(call->conn->server->opt.clock, VV_NS_PER_MS);
        item = &call->post_item;
        item->kind = SRV_ITEM_POST;
    }
    item->fn = fn;
    item->arg = arg;
    push_item(call, item);
}
