/*
 * svc_stream_read.c - Stream.Read and its forms over HTTP: pages of messages, and with follow what
 * comes later.
 *
 *   turn on the pool --> page --> page --> output queue high: parked until drained()
 *        ^                          |
 *        |                          +--> nothing more, but follow: a watch, parked
 *        |                                                            |
 *        +-- begin_turn on the loop <-- posted, from an append's thread
 *
 * A turn begins where it waits for no object store. When what it reads lies in objects alone it
 * goes on with turns of the lane for that, up to the end of what is there: however long the store
 * does not answer, fresh messages are read.
 *
 * Who waits holds no thread, no cursor and no snapshot. A watch may fire before the turn that made
 * it has parked; then nobody would wake it, so it looks at has_fired once it has.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "server/svc_stream.h"
#include "server/svc_turn.h"

#define PAGE_BYTES (64u * 1024)
/* A message as JSON: six bytes for one at worst. */
#define PAGE_MAX (6u * VV_STREAM_MESSAGE_MAX + 1024u * 1024)
#define TURN_PAGES 32u
#define ARENA_MAX (64u * 1024)
#define BUSY_PAUSE_NS (20 * VV_NS_PER_MS)

typedef struct reader {
    node *n;
    srv_call *call; /* referenced */
    srv_message msg;
    const svc_stream_form *form;
    svc_stream_asked asked;
    vv_arena arena;  /* of what was asked */
    vv_table *table; /* NULL until the first turn */
    vv_stream_cursor *cursor;
    vv_stream_watch *watch;
    uint64_t next;
    uint64_t skipped;     /* not told yet */
    int64_t deadline_ns;  /* monotonic; 0: none */
    bool has_begun;       /* HTTP: the head is on its way */
    bool is_far;          /* its turns may wait for an object store */
    _Atomic bool is_over; /* the deadline came */
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
    vv_arena_fini(&r->arena);
    srv_call_unref(r->call);
    vv_free(r);
}

/* ---- turns ---- */

static void run_turn(void *arg);

static void retry_turn(srv_call *call, void *arg);

static vv_status submit_turn(reader *r)
{
    return r->is_far ? srv_pool_submit_far(r->n->pool, run_turn, r)
                     : srv_pool_submit(r->n->pool, run_turn, r);
}

/* Loop thread; owns a reference for the turn. */
static void begin_turn(reader *r)
{
    if (submit_turn(r) == VV_OK)
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

static void expired(srv_call *call, void *arg);

/* A call has one timer: after a pause it is the deadline's again. Loop thread. */
static void set_deadline(reader *r)
{
    if (r->deadline_ns == 0)
        return;
    const int64_t left = r->deadline_ns - vv_clock_mono(r->n->env.clock);
    srv_call_after(r->call, left > 0 ? left : 0, expired, r);
}

/* The call is open, so its reference is there. */
static void retry_turn(srv_call *call, void *arg)
{
    (void)call;
    set_deadline(arg);
    wake(arg);
}

/* Who waits has waited long enough: a clean end. A turn that runs sees the flag. */
static void expired(srv_call *call, void *arg)
{
    reader *r = arg;
    atomic_store(&r->is_over, true);
    if (!svc_turn_wake(&r->turn))
        return;
    svc_turn_end(&r->turn);
    srv_call_finish(call, VV_OK, NULL);
}

static void deadline_posted(srv_call *call, void *arg)
{
    if (srv_call_is_open(call))
        set_deadline(arg);
    reader_unref(arg);
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
    *st = vv_stream_watch_open(r->table, r->asked.opt.partition, r->next, fired, r, &r->watch, err);
    if (*st != VV_OK)
        return false;
    atomic_store(&r->turn, SVC_TURN_PARKED);
    const bool is_due = atomic_load(&r->has_fired) || atomic_load(&r->is_over);
    return !(is_due && svc_turn_wake(&r->turn));
}

/* ---- pages ---- */

static vv_status open_cursor(reader *r, vv_error *err)
{
    r->asked.opt.local = !r->is_far;
    vv_status st = vv_stream_cursor_open(r->table, &r->asked.opt, &r->cursor, err);
    if (st != VV_OK)
        return st;
    r->next = vv_stream_cursor_offset(r->cursor);
    r->skipped += vv_stream_cursor_skipped(r->cursor);
    return VV_OK;
}

/* The next one goes on where this was. */
static void close_cursor(reader *r)
{
    if (r->cursor == NULL)
        return;
    vv_stream_cursor_close(r->cursor);
    r->cursor = NULL;
    r->asked.opt.start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = r->next};
}

/* The head of an answer over HTTP, once. */
static void begin_answer(reader *r)
{
    char skipped[64];
    if (!r->form->is_http || r->has_begun)
        return;
    r->has_begun = true;
    (void)snprintf(skipped, sizeof skipped, "Varve-Skipped: %llu", (unsigned long long)r->skipped);
    srv_call_begin(r->call, 200, r->asked.type, skipped);
}

/* Messages for a page. *at_end: nothing more is there now, or is wanted. */
static vv_status fill_page(reader *r, vv_buf *out, bool *at_end, vv_error *err)
{
    vv_message m;
    vv_status st = VV_OK;
    while (st == VV_OK && r->asked.left > 0 && out->len < PAGE_BYTES) {
        st = vv_stream_cursor_next(r->cursor, &m, err);
        if (st != VV_OK)
            break;
        r->asked.put(out, &m);
        r->next = m.offset + 1;
        if (r->asked.left != UINT64_MAX)
            r->asked.left--;
    }
    *at_end = st == VV_NOT_FOUND || r->asked.left == 0;
    if (st == VV_BUSY && out->len > 0) /* the next page meets it again */
        st = VV_OK;
    if (out->status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a page of messages");
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static vv_status send_page(reader *r, bool *at_end, vv_error *err)
{
    vv_buf out;
    vv_status st = VV_OK;
    vv_buf_init(&out, PAGE_MAX);
    if (r->cursor == NULL)
        st = open_cursor(r, err);
    if (st == VV_OK)
        st = fill_page(r, &out, at_end, err);
    if (st == VV_OK)
        begin_answer(r);
    if (st == VV_OK && out.len > 0) {
        if (!r->form->is_http) {
            wire_put_uint(&out, 2, r->next);
            wire_put_uint(&out, 3, r->skipped);
            r->skipped = 0;
        }
        srv_call_send(r->call, &out);
    }
    vv_buf_fini(&out);
    if (*at_end) { /* who waits holds no snapshot */
        close_cursor(r);
        r->is_far = false;
    }
    return st;
}

/* What comes next may lie in objects alone: the next turn is of the lane for that. */
static void go_far(reader *r)
{
    close_cursor(r);
    r->is_far = true;
    atomic_fetch_add(&r->refs, 1);
    atomic_store(&r->turn, SVC_TURN_PARKED);
    srv_call_post(r->call, posted, r);
}

static bool take_field(svc_stream_asked *a, const wire_field *f)
{
    switch (f->number) {
    case 1:
        return svc_kv_take_table(f, &a->table);
    case 2:
        return svc_kv_take_u32(f, &a->opt.partition);
    case 3:
        return svc_stream_take_start(f, &a->opt.start);
    case 4:
        return svc_kv_take_uint(f, &a->left);
    case 5:
        return svc_kv_take_bool(f, &a->follows);
    default:
        return true;
    }
}

static vv_status read_grpc(srv_call *call, vv_slice message, vv_arena *arena, svc_stream_asked *out,
                           vv_error *err)
{
    wire_reader in = wire_reader_of(message);
    wire_field f = {0};
    bool ok = true;
    (void)call;
    (void)arena;
    out->put = svc_stream_put_message;
    while (ok && wire_next(&in, &f) > 0)
        ok = take_field(out, &f);
    return ok && in.fault == WIRE_GOOD ? VV_OK : svc_kv_fail_malformed("ReadStreamRequest", err);
}

static vv_status begin_reading(reader *r, vv_error *err)
{
    vv_status st = r->form->read(r->call, r->msg.data, &r->arena, &r->asked, err);
    if (r->asked.left == 0)
        r->asked.left = UINT64_MAX;
    if (st == VV_OK)
        st = svc_message_open(r->call, &r->asked.table, GATE_READ, false, &r->table, err);
    if (st == VV_OK && r->asked.follows && r->asked.timeout_ns > 0) {
        r->deadline_ns = vv_clock_mono(r->n->env.clock) + r->asked.timeout_ns;
        atomic_fetch_add(&r->refs, 1);
        srv_call_post(r->call, deadline_posted, r);
    }
    return st;
}

/* After a page. True: the turn ends, another will come. */
static bool park(reader *r, unsigned pages)
{
    if (svc_turn_park(&r->turn, r->call))
        return true;
    if (pages % TURN_PAGES != TURN_PAGES - 1)
        return false;
    atomic_fetch_add(&r->refs, 1); /* to the end of the queue; where it is full, go on */
    if (submit_turn(r) == VV_OK)
        return true;
    atomic_fetch_sub(&r->refs, 1);
    return false;
}

static void end_answer(reader *r, vv_status st, const vv_error *err)
{
    svc_turn_end(&r->turn);
    if (r->form->is_http && !r->has_begun && st != VV_OK) {
        svc_reply_error(r->call, st, err->msg);
        return;
    }
    begin_answer(r);
    srv_call_finish(r->call, st, st == VV_OK ? NULL : err->msg);
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
        is_over = atomic_load(&r->is_over) || (at_end && (!r->asked.follows || r->asked.left == 0));
        if (st == VV_OK && !is_over)
            is_parked = at_end ? park_until_more(r, &st, &err) : park(r, pages);
        if (st == VV_BUSY && !r->is_far && !is_over) {
            go_far(r);
            is_parked = true;
        }
        if (is_parked) {
            reader_unref(r);
            return;
        }
    }
    end_answer(r, st, &err);
    reader_unref(r);
}

/* ---- the methods ---- */

void svc_stream_read_begin(srv_call *call, srv_message msg, const svc_stream_form *form)
{
    reader *r = vv_calloc(1, sizeof *r);
    if (r == NULL) {
        srv_message_release(&msg);
        if (form->is_http)
            svc_reply_error(call, VV_NO_MEMORY, "no memory for a request");
        else
            srv_call_finish(call, VV_NO_MEMORY, "no memory for a request");
        return;
    }
    r->n = srv_call_ctx(call);
    r->call = call;
    r->msg = msg;
    r->form = form;
    r->asked.opt = (vv_stream_read_options)VV_STREAM_READ_OPTIONS_INIT;
    vv_arena_init(&r->arena, ARENA_MAX);
    atomic_store(&r->refs, 2); /* of the call, of the first turn */
    srv_call_ref(call);
    srv_call_set_user(call, r);
    begin_turn(r);
}

void svc_stream_read_message(srv_call *call, srv_message msg)
{
    static const svc_stream_form form = {.read = read_grpc};
    if (srv_call_user(call) == NULL) {
        svc_stream_read_begin(call, msg, &form);
        return;
    }
    srv_message_release(&msg);
    srv_call_finish(call, VV_INVALID, "one request is enough");
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
