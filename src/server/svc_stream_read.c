/*
 * svc_stream_read.c - Stream.Read: pages of messages, and with follow what comes later.
 *
 *   turn on the pool --> page --> page --> output queue high: parked, drained() begins the next
 * turn ^                          | |                          +--> nothing more, follow: a watch,
 * parked
 *        +-- begin_turn on the loop <-- posted by the watch, from the thread of an append
 *
 * Who waits holds no thread, no cursor and no snapshot. A watch may fire before the turn that made
 * it has parked; then nobody would wake it, so it looks at has_fired once it has.
 */
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "server/svc_stream.h"
#include "server/svc_turn.h"

#define PAGE_BYTES (64u * 1024)
#define PAGE_MAX (32u * 1024 * 1024)
#define TURN_PAGES 32u
#define BUSY_PAUSE_NS (20 * VV_NS_PER_MS)

typedef struct reader {
    node *n;
    srv_call *call; /* referenced */
    srv_message msg;
    svc_table_ref ref;
    vv_stream_read_options opt;
    vv_table *table; /* NULL until the first turn */
    vv_stream_cursor *cursor;
    vv_stream_watch *watch;
    uint64_t next;
    uint64_t left; /* messages; UINT64_MAX: no limit */
    bool follows;
    _Atomic bool has_fired;
    _Atomic int refs; /* of the call, of a turn, of a post */
    svc_turn turn;
} reader;

static void reader_unref(reader *r)
{
    if (atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    vv_stream_unwatch(r->watch);
    vv_stream_cursor_close(r->cursor);
    vv_table_close(r->table);
    srv_message_release(&r->msg);
    srv_call_unref(r->call);
    vv_free(r);
}

/* ---- turns ---- */

static void run_turn(void *arg);

static void retry_turn(srv_call *call, void *arg);

/* Loop thread; owns a reference for the turn. */
static void begin_turn(reader *r)
{
    if (srv_pool_submit(r->n->pool, run_turn, r) == VV_OK)
        return;
    atomic_store(&r->turn, SVC_TURN_PARKED); /* too many wait for a thread: a little later */
    srv_call_after(r->call, BUSY_PAUSE_NS, retry_turn, r);
    reader_unref(r);
}

static void wake(reader *r)
{
    if (!svc_turn_wake(&r->turn))
        return;
    atomic_fetch_add(&r->refs, 1);
    begin_turn(r);
}

/* The call is open, so its reference is there. */
static void retry_turn(srv_call *call, void *arg)
{
    (void)call;
    wake(arg);
}

static void posted(srv_call *call, void *arg)
{
    reader *r = arg;
    if (srv_call_is_open(call))
        wake(r);
    reader_unref(r);
}

/* On the thread of an append: takes no lock. */
static void fired(void *ctx)
{
    reader *r = ctx;
    atomic_store(&r->has_fired, true);
    atomic_fetch_add(&r->refs, 1);
    srv_call_post(r->call, posted, r);
}

/* Nothing more is there. True: the turn ends, and the watch begins the next. */
static bool park_until_more(reader *r, vv_status *st, vv_error *err)
{
    vv_stream_unwatch(r->watch);
    r->watch = NULL;
    atomic_store(&r->has_fired, false);
    *st = vv_stream_watch_open(r->table, r->opt.partition, r->next, fired, r, &r->watch, err);
    if (*st != VV_OK)
        return false;
    atomic_store(&r->turn, SVC_TURN_PARKED);
    return !(atomic_load(&r->has_fired) && svc_turn_wake(&r->turn));
}

/* ---- pages ---- */

static vv_status open_cursor(reader *r, uint64_t *skipped, vv_error *err)
{
    vv_status st = vv_stream_cursor_open(r->table, &r->opt, &r->cursor, err);
    if (st != VV_OK)
        return st;
    r->next = vv_stream_cursor_offset(r->cursor);
    *skipped = vv_stream_cursor_skipped(r->cursor);
    return VV_OK;
}

/* Messages for a page. *at_end: nothing more is there now, or is wanted. */
static vv_status fill_page(reader *r, vv_buf *out, bool *at_end, vv_error *err)
{
    vv_message m;
    vv_status st = VV_OK;
    while (st == VV_OK && r->left > 0 && out->len < PAGE_BYTES) {
        st = vv_stream_cursor_next(r->cursor, &m, err);
        if (st != VV_OK)
            break;
        svc_stream_put_message(out, &m);
        r->next = m.offset + 1;
        if (r->left != UINT64_MAX)
            r->left--;
    }
    *at_end = st == VV_NOT_FOUND || r->left == 0;
    if (out->status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a page of messages");
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static vv_status send_page(reader *r, bool *at_end, vv_error *err)
{
    vv_buf out;
    uint64_t skipped = 0;
    vv_status st = VV_OK;
    vv_buf_init(&out, PAGE_MAX);
    if (r->cursor == NULL)
        st = open_cursor(r, &skipped, err);
    if (st == VV_OK)
        st = fill_page(r, &out, at_end, err);
    if (st == VV_OK && out.len > 0) {
        wire_put_uint(&out, 2, r->next);
        wire_put_uint(&out, 3, skipped);
        srv_call_send(r->call, &out);
    }
    vv_buf_fini(&out);
    if (*at_end) { /* who waits holds no snapshot */
        vv_stream_cursor_close(r->cursor);
        r->cursor = NULL;
        r->opt.start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = r->next};
    }
    return st;
}

static bool take_field(reader *r, const wire_field *f)
{
    switch (f->number) {
    case 1:
        return svc_kv_take_table(f, &r->ref);
    case 2:
        return svc_kv_take_u32(f, &r->opt.partition);
    case 3:
        return svc_stream_take_start(f, &r->opt.start);
    case 4:
        return svc_kv_take_uint(f, &r->left);
    case 5:
        return svc_kv_take_bool(f, &r->follows);
    default:
        return true;
    }
}

static vv_status read_request(reader *r, vv_error *err)
{
    wire_reader in = wire_reader_of(r->msg.data);
    wire_field f = {0};
    bool ok = true;
    while (ok && wire_next(&in, &f) > 0)
        ok = take_field(r, &f);
    if (r->left == 0)
        r->left = UINT64_MAX;
    return ok && in.fault == WIRE_GOOD ? VV_OK : svc_kv_fail_malformed("ReadStreamRequest", err);
}

static vv_status begin_reading(reader *r, vv_error *err)
{
    vv_status st = read_request(r, err);
    return st == VV_OK ? svc_message_open(r->call, &r->ref, GATE_READ, false, &r->table, err) : st;
}

/* After a page. True: the turn ends, another will come. */
static bool park(reader *r, unsigned pages)
{
    if (svc_turn_park(&r->turn, r->call))
        return true;
    if (pages % TURN_PAGES != TURN_PAGES - 1)
        return false;
    atomic_fetch_add(&r->refs, 1); /* to the end of the queue; where it is full, go on */
    if (srv_pool_submit(r->n->pool, run_turn, r) == VV_OK)
        return true;
    atomic_fetch_sub(&r->refs, 1);
    return false;
}

/* Owns a reference. */
static void run_turn(void *arg)
{
    reader *r = arg;
    vv_error err = {0};
    vv_status st = VV_OK;
    bool is_over = false;
    if (r->table == NULL)
        st = begin_reading(r, &err);
    for (unsigned pages = 0; st == VV_OK && !is_over && srv_call_is_open(r->call); pages++) {
        bool at_end = false;
        bool is_parked = false;
        st = send_page(r, &at_end, &err);
        is_over = at_end && (!r->follows || r->left == 0);
        if (st == VV_OK && !is_over)
            is_parked = at_end ? park_until_more(r, &st, &err) : park(r, pages);
        if (is_parked) {
            reader_unref(r);
            return;
        }
    }
    svc_turn_end(&r->turn);
    srv_call_finish(r->call, st, st == VV_OK ? NULL : err.msg);
    reader_unref(r);
}

/* ---- the method ---- */

void svc_stream_read_message(srv_call *call, srv_message msg)
{
    reader *r = srv_call_user(call) == NULL ? vv_calloc(1, sizeof *r) : NULL;
    if (r == NULL) {
        bool is_second = srv_call_user(call) != NULL;
        srv_message_release(&msg);
        srv_call_finish(call, is_second ? VV_INVALID : VV_NO_MEMORY,
                        is_second ? "one request is enough" : "no memory for a request");
        return;
    }
    r->n = srv_call_ctx(call);
    r->call = call;
    r->msg = msg;
    r->opt = (vv_stream_read_options)VV_STREAM_READ_OPTIONS_INIT;
    atomic_store(&r->refs, 2); /* of the call, of the first turn */
    srv_call_ref(call);
    srv_call_set_user(call, r);
    begin_turn(r);
}

void svc_stream_read_drained(srv_call *call)
{
    reader *r = srv_call_user(call);
    if (r != NULL)
        wake(r);
}

void svc_stream_read_closed(srv_call *call)
{
    reader *r = srv_call_user(call);
    srv_call_set_user(call, NULL);
    if (r != NULL)
        reader_unref(r);
}
