/*
 * svc_series_ask.c - see svc_series_ask.h.
 *
 * A turn runs on the pool until the output queue is high; then it parks, holding no thread, and the
 * loop's drained() starts the next turn. A turn that has sent its share goes to the end of the
 * pool's queue. The cursor, and with it the snapshot, stays open between turns; who may touch the
 * question is in svc_turn.h. Lists of series are walked by the store in one go: what a slow client
 * has not read of them is held, and counted in the budget.
 */
#include "server/svc_series_ask.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"

#define OUT_MAX (64u * 1024 * 1024)
#define TURN_BYTES (4u * 1024 * 1024)
#define LIST_DEFAULT 10000u

struct svc_series_piece {
    svc_series_piece *next;
    vv_buf body;
    uint64_t held;
};

void *svc_series_alloc(svc_series_ask *a, size_t size)
{
    return vv_arena_alloc(&a->arena, size == 0 ? 1 : size);
}

/* ---- pieces ---- */

static vv_status fail_answer(vv_error *err)
{
    return vv_fail(err, VV_NO_MEMORY, "no memory for the answer: ask for less");
}

/* What was written becomes a piece. */
static vv_status cut_piece(svc_series_ask *a, bool is_held, vv_error *err)
{
    svc_series_piece *p = a->out.status == VV_OK ? vv_calloc(1, sizeof *p) : NULL;
    if (p == NULL)
        return fail_answer(err);
    if (is_held) {
        p->held = sizeof *p + a->out.cap;
        if (!vv_budget_reserve(a->n->budget, VV_BUDGET_QUERY, p->held)) {
            vv_free(p);
            return vv_fail(err, VV_BUSY,
                           "storage.memory_limit is used up: retry after a pause, or ask for less");
        }
    }
    p->body = a->out;
    vv_buf_init(&a->out, OUT_MAX);
    if (a->last != NULL)
        a->last->next = p;
    else
        a->first = p;
    a->last = p;
    return VV_OK;
}

vv_status svc_series_cut(svc_series_ask *a, vv_error *err)
{
    return cut_piece(a, false, err);
}

static void drop_piece(svc_series_ask *a)
{
    svc_series_piece *p = a->first;
    a->first = p->next;
    if (a->first == NULL)
        a->last = NULL;
    vv_buf_fini(&p->body);
    vv_budget_release(a->n->budget, VV_BUDGET_QUERY, p->held);
    vv_free(p);
}

/* After something was written. The one message of a unary answer is never cut. */
static vv_status wrote(svc_series_ask *a, bool is_held, vv_error *err)
{
    if (a->out.status != VV_OK)
        return fail_answer(err);
    if (a->form->is_http ? a->out.len >= SVC_SERIES_PIECE : a->form->each_apart && a->out.len > 0)
        return cut_piece(a, is_held, err);
    return VV_OK;
}

/* ---- asking ---- */

static vv_status open_table(svc_series_ask *a, vv_error *err)
{
    const gate_identity who = svc_identity(a->call);
    return svc_find_series(a->n, &who, a->kind == SVC_SERIES_DELETE ? GATE_WRITE : GATE_READ,
                           a->ref.tenant, a->ref.table, &a->table, err);
}

/* End the walk where the answer cannot grow, or has all that was asked for. */
static int went_on(svc_series_ask *a)
{
    if (a->failed == VV_OK)
        a->failed = wrote(a, true, &a->why);
    return a->failed != VV_OK || ++a->count == a->limit || !srv_call_is_open(a->call);
}

static int on_sample(void *ctx, const vv_series_info *series, const vv_sample *sample)
{
    svc_series_ask *a = ctx;
    a->form->sample(a, series, sample, &a->out);
    return went_on(a);
}

static int on_series(void *ctx, const vv_series_info *series)
{
    svc_series_ask *a = ctx;
    a->form->series(a, series, &a->out);
    return went_on(a);
}

static int on_text(void *ctx, vv_slice text)
{
    svc_series_ask *a = ctx;
    a->form->text(a, text, &a->out);
    return went_on(a);
}

static vv_status delete_samples(svc_series_ask *a, vv_error *err)
{
    uint64_t touched = 0;
    const vv_series_query *q = &a->query;
    if (a->matcher_count == 0)
        return vv_fail(err, VV_INVALID, "which series? at least one matcher is needed");
    vv_status st = a->drops ? vv_series_drop(a->table, a->matchers, a->matcher_count, &touched, err)
                            : vv_series_delete(a->table, a->matchers, a->matcher_count, q->start_ns,
                                               q->end_ns, &touched, err);
    node_note_write(a->n, st);
    if (st == VV_OK)
        a->form->deleted(a, touched, &a->out);
    return st;
}

static vv_status walk(svc_series_ask *a, vv_error *err)
{
    const vv_matcher *m = a->matchers;
    const size_t count = a->matcher_count;
    vv_status st = VV_OK;
    if (a->limit == 0)
        a->limit = a->kind == SVC_SERIES_LATEST ? UINT64_MAX : LIST_DEFAULT;
    switch (a->kind) {
    case SVC_SERIES_LATEST:
        st = vv_series_latest(a->table, m, count, on_sample, a, err);
        break;
    case SVC_SERIES_LIST:
        st = vv_series_list(a->table, m, count, 0, on_series, a, err);
        break;
    case SVC_SERIES_NAMES:
        st = vv_series_label_names(a->table, m, count, on_text, a, err);
        break;
    case SVC_SERIES_VALUES:
        st = vv_series_label_values(a->table, a->name, m, count, on_text, a, err);
        break;
    case SVC_SERIES_DELETE:
    default:
        st = delete_samples(a, err);
        break;
    }
    if (st == VV_OK && a->failed != VV_OK) {
        st = a->failed;
        *err = a->why;
    }
    return st;
}

static bool call_is_gone(void *ctx)
{
    return !srv_call_is_open(ctx);
}

static vv_status ask(svc_series_ask *a, vv_error *err)
{
    vv_status st = a->form->read(a, err);
    if (st == VV_OK)
        st = open_table(a, err);
    if (st == VV_OK && a->form->opened != NULL)
        st = a->form->opened(a, err);
    if (st != VV_OK)
        return st;
    a->is_asked = true;
    if (a->form->head != NULL)
        a->form->head(a, &a->out);
    a->query.matchers = a->matchers;
    a->query.matcher_count = a->matcher_count;
    a->query.cancelled = call_is_gone;
    a->query.cancelled_ctx = a->call;
    if (a->kind == SVC_SERIES_QUERY)
        return vv_series_query_open(a->table, &a->query, &a->cursor, err);
    return walk(a, err);
}

/* The next block, or what ends the answer, into pieces. */
static vv_status make_more(svc_series_ask *a, vv_error *err)
{
    vv_series_block block;
    vv_status st = a->cursor == NULL ? VV_NOT_FOUND : vv_series_query_next(a->cursor, &block, err);
    if (st == VV_OK) {
        st = a->form->block(a, &block, &a->out, err);
        return st == VV_OK ? wrote(a, false, err) : st;
    }
    if (st != VV_NOT_FOUND)
        return st;
    a->is_over = true;
    if (a->form->tail != NULL)
        a->form->tail(a, &a->out);
    return a->out.status == VV_OK ? VV_OK : fail_answer(err);
}

/* ---- answering ---- */

static void note(svc_series_ask *a)
{
    int64_t ns = vv_clock_mono(a->n->env.clock) - a->begin_ns;
    vv_hist_add(&a->n->query_ns, (uint64_t)(ns > 0 ? ns : 0));
    atomic_fetch_add_explicit(&a->n->queries_total, 1, memory_order_relaxed);
}

static void finish(svc_series_ask *a, vv_status st, const vv_error *err)
{
    const bool is_reply = a->form->is_http && !a->is_begun;
    note(a);
    if (st == VV_OK && is_reply) {
        srv_call_reply(a->call, 200, a->form->type, &a->out, NULL);
    } else if (is_reply) {
        svc_reply_error(a->call, st, err->msg);
    } else {
        if (st == VV_OK && (a->out.len > 0 || (!a->form->is_http && !a->form->each_apart)))
            srv_call_send(a->call, &a->out);
        srv_call_finish(a->call, st, st == VV_OK ? NULL : err->msg);
    }
    svc_turn_end(&a->turn);
}

static void send_piece(svc_series_ask *a, size_t *sent)
{
    if (a->form->is_http && !a->is_begun)
        srv_call_begin(a->call, 200, a->form->type, NULL);
    a->is_begun = true;
    *sent += a->first->body.len;
    srv_call_send(a->call, &a->first->body);
    drop_piece(a);
}

static void ask_unref(svc_series_ask *a)
{
    if (a == NULL || atomic_fetch_sub_explicit(&a->refs, 1, memory_order_acq_rel) != 1)
        return;
    while (a->first != NULL)
        drop_piece(a);
    vv_series_query_close(a->cursor);
    vv_table_close(a->table);
    vv_buf_fini(&a->out);
    vv_arena_fini(&a->arena);
    if (a->has_msg)
        srv_message_release(&a->msg);
    srv_call_unref(a->call);
    vv_free(a);
}

static void turn(void *arg);

/* Begin another turn, which owns a reference. False when the pool has no room. */
static bool submit(svc_series_ask *a)
{
    atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
    if (srv_pool_submit(a->n->pool, turn, a) == VV_OK)
        return true;
    ask_unref(a);
    return false;
}

static void turn(void *arg)
{
    svc_series_ask *a = arg;
    vv_error err = {0};
    vv_status st = VV_OK;
    size_t sent = 0;
    bool handed_on = false; /* to the next turn, which may run already */
    if (!a->is_asked && srv_call_is_open(a->call))
        st = ask(a, &err);
    while (st == VV_OK && !handed_on && srv_call_is_open(a->call)) {
        if (a->first == NULL && a->is_over)
            break;
        if (a->first == NULL) {
            st = make_more(a, &err);
            continue;
        }
        send_piece(a, &sent);
        handed_on = svc_turn_park(&a->turn, a->call);
        if (!handed_on && sent >= TURN_BYTES) {
            handed_on = submit(a);
            sent = 0;
        }
    }
    if (!handed_on)
        finish(a, st, &err);
    ask_unref(a);
}

static void begin_turn(svc_series_ask *a)
{
    vv_error err;
    if (submit(a))
        return;
    vv_status st =
        vv_fail(&err, VV_BUSY, "too many queries wait for a thread: retry after a pause");
    finish(a, st, &err);
}

static void refuse(srv_call *call, const svc_series_form *form, vv_status st, const char *message)
{
    if (form->is_http)
        svc_reply_error(call, st, message);
    else
        srv_call_finish(call, st, message);
}

void svc_series_ask_begin(srv_call *call, srv_message msg, const svc_series_form *form)
{
    svc_series_ask *a = srv_call_user(call) == NULL ? vv_calloc(1, sizeof *a) : NULL;
    if (a == NULL) {
        bool second = srv_call_user(call) != NULL;
        srv_message_release(&msg);
        refuse(call, form, second ? VV_INVALID : VV_NO_MEMORY,
               second ? "the method takes one request" : "no memory for a query");
        return;
    }
    a->n = srv_call_ctx(call);
    a->call = call;
    srv_call_ref(call);
    a->msg = msg;
    a->has_msg = true;
    a->form = form;
    a->query = (vv_series_query)VV_SERIES_QUERY_INIT;
    a->begin_ns = vv_clock_mono(a->n->env.clock);
    vv_arena_init(&a->arena, SVC_SERIES_ARENA_MAX);
    vv_buf_init(&a->out, OUT_MAX);
    atomic_init(&a->refs, 1);
    atomic_init(&a->turn, SVC_TURN_RUNNING);
    srv_call_set_user(call, a);
    begin_turn(a);
}

void svc_series_ask_half_close(srv_call *call)
{
    if (srv_call_user(call) == NULL)
        srv_call_finish(call, VV_INVALID, "the method needs one request");
}

void svc_series_ask_drained(srv_call *call)
{
    svc_series_ask *a = srv_call_user(call);
    if (a != NULL && svc_turn_wake(&a->turn))
        begin_turn(a);
}

void svc_series_ask_closed(srv_call *call)
{
    svc_series_ask *a = srv_call_user(call);
    srv_call_set_user(call, NULL);
    ask_unref(a);
}
