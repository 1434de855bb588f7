/*
 * srv_answer.c - the loop's side of a call: carrying out its items, its final status, its end.
 *
 *   OPEN --finish--> ENDED --last byte written--> CLOSED     the usual way
 *   OPEN --abort---> CLOSED and ENDED                        deadline, bad input: handler told
 * first OPEN --reset, connection lost--> CLOSED                  no status can be sent
 */
#include <string.h>

#include "base/alloc.h"
#include "server/srv_int.h"

/* ---- the end --------------------------------------------------------------------------------- */

/* The last callback of the handler. */
static void close_for_handler(srv_call *call)
{
    if (!atomic_exchange(&call->open, false))
        return;
    srv_timer_cancel(&call->conn->loop->timers, &call->after_timer);
    if (call->started && call->method->closed != NULL)
        call->method->closed(call);
}

static void on_after(srv_timer *timer)
{
    srv_call *call = VV_CONTAINER_OF(timer, srv_call, after_timer);
    call->after_fn(call, call->after_arg);
}

void srv_call_after(srv_call *call, int64_t delay_ns, void (*fn)(srv_call *call, void *arg),
                    void *arg)
{
    srv_loop *loop = call->conn->loop;
    assert(srv_loop_is_here(loop));
    if (!srv_call_is_open(call))
        return;
    call->after_timer.fn = on_after;
    call->after_fn = fn;
    call->after_arg = arg;
    /* The present, not the turn's start; and never now: the timers of this turn are running. */
    int64_t at = vv_clock_mono(call->conn->server->opt.clock);
    if (__builtin_add_overflow(at, delay_ns > 0 ? delay_ns : 1, &at))
        at = INT64_MAX;
    if (!srv_timer_set(&loop->timers, &call->after_timer, at))
        srv_call_finish(call, VV_NO_MEMORY, "no memory for a timer");
}

static void drop_output(srv_call *call)
{
    srv_item *first = call->out_first;
    call->out_first = call->out_last = NULL;
    call->out_bytes = 0;
    srv_items_free(call, first);
}

static void drop_input(srv_call *call)
{
    call->request_ignored = true;
    srv_block_drop(call, &call->block);
    srv_block_drop(call, &call->unary);
    srv_admit_cancel(call);
    if (call->uncredited > 0) {
        call->owed += call->uncredited;
        call->uncredited = 0;
    }
}

static void count_status(srv_call *call)
{
    if (call->counted)
        return;
    call->counted = true;
    srv_counters *c = &call->conn->loop->counters;
    if (call->is_http)
        srv_count(&c->http_status[call->reply_status / 100 % 6], 1);
    else
        srv_count(&c->status[call->code], 1);
}

/* The body of an HTTP answer that is a refusal. */
static void reply_with_error(srv_call *call, const char *message)
{
    call->reply_type = vv_strdup("application/json");
    srv_item *item = &call->first_item; /* an HTTP call never sends messages */
    if (atomic_exchange(&call->first_used, true) || call->verb_head)
        return;
    item->kind = SRV_ITEM_REPLY;
    vv_buf_init(&item->body, 8192);
    srv_error_body(&item->body, call->code, NULL,
                   message == NULL ? http_reason(call->reply_status) : message);
    if (item->body.status != VV_OK) {
        vv_buf_fini(&item->body);
        return;
    }
    call->reply_len = call->out_bytes = item->body.len;
    call->out_first = call->out_last = item;
}

void srv_call_end(srv_call *call, int grpc_code, int http_status, const char *message)
{
    if (call->ended)
        return;
    call->ended = true;
    drop_input(call);
    call->code = grpc_code;
    if (call->is_http) {
        call->reply_status = http_status;
        reply_with_error(call, message);
    } else if (message != NULL && message[0] != '\0') {
        vv_buf text;
        vv_buf_init(&text, 8192);
        grpc_message_encode(&text, message);
        vv_buf_append_u8(&text, 0);
        if (text.status == VV_OK)
            call->message = (char *)text.data;
        else
            vv_buf_fini(&text);
    }
    count_status(call);
    srv_call_schedule(call); /* the protocol must see it, outside its own callbacks */
}

void srv_call_abort(srv_call *call, int grpc_code, int http_status, const char *message)
{
    if (!call->attached)
        return;
    drop_input(call);
    if (call->ended || call->is_streamed) { /* what was promised cannot be taken back: cut it off */
        if (!call->ended)
            drop_output(call);
        call->ended = true;
        count_status(call);
        call->conn->proto->reset(call);
    } else {
        drop_output(call);
        srv_call_end(call, grpc_code, http_status, message);
    }
    close_for_handler(call);
}

void srv_call_detach(srv_call *call)
{
    if (!call->attached)
        return;
    srv_conn *conn = call->conn;
    call->attached = false;
    if (call->prev != NULL)
        call->prev->next = call->next;
    else
        conn->calls = call->next;
    if (call->next != NULL)
        call->next->prev = call->prev;
    conn->call_count--;
    conn->partial -= sizeof *call;
    conn->last_use_ns = conn->loop->now_ns;
    srv_timer_cancel(&conn->loop->timers, &call->deadline_timer);
    drop_input(call);
    drop_output(call);
    srv_count(&conn->loop->counters.calls_closed, 1);
    close_for_handler(call);
    srv_call_unref(call);
}

/* ---- carrying out items ---- */

static void append_output(srv_call *call, srv_item *item)
{
    item->next = NULL;
    if (call->out_last != NULL)
        call->out_last->next = item;
    else
        call->out_first = item;
    call->out_last = item;
    if (call->out_bytes == 0)
        call->last_output_ns = call->conn->loop->now_ns;
    call->out_bytes += item->prefix_len + item->body.len;
}

static void apply_reply(srv_call *call, srv_item *item)
{
    call->ended = true;
    drop_input(call);
    call->reply_status = item->http;
    call->reply_type = item->type;
    call->reply_extra = item->extra;
    item->type = item->extra = NULL;
    call->reply_len = item->body.len;
    count_status(call);
    if (call->verb_head || item->body.len == 0)
        srv_item_free(call, item);
    else
        append_output(call, item);
}

static void after_output(srv_call *call);

static void apply_begin(srv_call *call, srv_item *item)
{
    call->is_streamed = true;
    call->reply_status = item->http;
    call->reply_type = item->type;
    call->reply_extra = item->extra;
    item->type = item->extra = NULL;
    srv_item_free(call, item);
}

static void apply_send(srv_call *call, srv_item *item)
{
    if (!call->verb_head && item->prefix_len + item->body.len > 0) {
        append_output(call, item);
        return;
    }
    srv_item_free(call, item);
    after_output(call);
}

static void apply_finish(srv_call *call, const srv_item *item)
{
    const char *message = (const char *)item->body.data;
    if (item->at_once || (call->is_streamed && item->code != GRPC_OK)) {
        srv_call_abort(call, item->code, item->http, message);
    } else if (call->is_streamed) {
        call->ended = true;
        drop_input(call);
        count_status(call);
    } else {
        srv_call_end(call, item->code, item->http, message);
    }
}

static void apply(srv_call *call, srv_item *item)
{
    if (item->kind == SRV_ITEM_POST) {
        srv_item_post(call, item);
        return;
    }
    if (call->ended || !call->attached) {
        srv_item_free(call, item);
        return;
    }
    switch (item->kind) {
    case SRV_ITEM_SEND:
        apply_send(call, item);
        break;
    case SRV_ITEM_BEGIN:
        apply_begin(call, item);
        break;
    case SRV_ITEM_TRAILER:
        item->next = call->trailers;
        call->trailers = item;
        break;
    case SRV_ITEM_FINISH:
        apply_finish(call, item);
        srv_item_free(call, item);
        break;
    default:
        apply_reply(call, item);
        break;
    }
}

void srv_call_run(srv_loop *loop, srv_post *post)
{
    (void)loop;
    srv_call *call = VV_CONTAINER_OF(post, srv_call, post);
    atomic_store(&call->scheduled, false); /* before the inbox is taken: later items come again */
    srv_item *item = srv_call_inbox(call);
    while (item != NULL) {
        srv_item *next = item->next;
        apply(call, item);
        item = next;
    }
    if (call->attached && call->conn->state == SRV_CONN_OPEN) {
        srv_admit_resume(call);
        srv_call_credit(call);
        if (call->out_bytes > 0 || call->ended || call->is_streamed)
            call->conn->proto->call_ready(call);
    }
    srv_call_unref(call);
}

/* ---- credit and output ---- */

void srv_call_credit(srv_call *call)
{
    if (!call->attached)
        return;
    if (call->conn->proto->credit == NULL) { /* no windows: the socket is the only brake */
        call->owed = 0;
        return;
    }
    uint64_t returned = atomic_load_explicit(&call->returned, memory_order_acquire);
    call->owed += (size_t)(returned - call->credited);
    call->credited = returned;
    if (call->uncredited > 0 && call->frame.length > SRV_LARGE_MESSAGE && call->wait == NULL) {
        /* The mark first: a release that this reading misses sees it and comes back. */
        atomic_store(&call->held_back, true);
        if (call->delivered - atomic_load(&call->released) <= SRV_LARGE_HELD_MAX) {
            atomic_store(&call->held_back, false);
            call->owed += call->uncredited;
            call->uncredited = 0;
        }
    }
    if (call->owed == 0 || (srv_call_queued(call) >= SRV_OUTPUT_HIGH && !call->request_ignored))
        return; /* the client does not read its answers: take no more from it */
    size_t bytes = call->owed;
    call->owed = 0;
    call->conn->proto->credit(call, bytes);
    srv_conn_dirty(call->conn);
}

/* An item is out: a handler that waits for room may go on, and so may the sender. */
static void after_output(srv_call *call)
{
    if (srv_call_queued(call) >= SRV_OUTPUT_HIGH / 2 || !atomic_load(&call->was_high) ||
        !atomic_exchange(&call->was_high, false))
        return;
    srv_call_schedule(call); /* for the credit it owes */
    if (srv_call_is_open(call) && call->started && call->method->drained != NULL)
        call->method->drained(call);
}

/* Copy up to n bytes from one item; returns how many. */
static size_t take_from(srv_item *item, uint8_t *to, size_t n)
{
    size_t made = 0;
    while (made < n && item->done < item->prefix_len)
        to[made++] = item->prefix[item->done++];
    if (made == n)
        return made;
    size_t at = item->done - item->prefix_len;
    size_t k = vv_min_u64(item->body.len - at, n - made);
    if (k > 0)
        memcpy(to + made, item->body.data + at, k);
    item->done += k;
    return made + k;
}

void srv_call_out_take(srv_call *call, uint8_t *to, size_t n)
{
    assert(n <= call->out_bytes);
    call->last_output_ns = call->conn->loop->now_ns;
    call->out_bytes -= n;
    while (call->out_first != NULL) {
        srv_item *item = call->out_first;
        size_t k = take_from(item, to, n);
        to += k;
        n -= k;
        if (item->done < item->prefix_len + item->body.len)
            break;
        call->out_first = item->next;
        if (call->out_first == NULL)
            call->out_last = NULL;
        srv_item_free(call, item);
        after_output(call);
    }
}
