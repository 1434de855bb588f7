/*
 * srv_admit.c - memory for messages, all of it before the first large piece is kept.
 *
 *   announced --small, on a connection that holds little--------------> GOING, counted as it comes
 *       |------nobody waits and the budget has room-------------------> GOING, paid
 *       '------WAITING, first come first served------its turn---------> GOING, paid
 *                 |
 *                 '--nobody was let in for body_timeout--> RESOURCE_EXHAUSTED, 507
 *
 * Why at the announcement: senders that each hold half of a message and wait for memory for the
 * other half wait for ever. A message that is GOING needs nothing more, neither to arrive nor to be
 * worked on (srv_method.copies), so what it holds comes back.
 *
 * Why it never stops: while nothing is paid for, the first that waits is let in whatever the budget
 * says; what is GOING is read though the budget is short (srv_conn.c).
 */
#include "base/alloc.h"
#include "server/srv_int.h"

static const char starved_text[] =
    "storage.memory_limit is used up and nothing was given back for a while: retry after a pause";

void srv_admission_init(srv_admission *a)
{
    vv_mutex_init(&a->lock, VV_RANK_LEAF);
}

void srv_admission_fini(srv_admission *a)
{
    assert(a->first == NULL);
    vv_mutex_fini(&a->lock);
}

/* True: need bytes are counted. */
static bool pay(srv *s, size_t need)
{
    srv_admission *a = &s->admission;
    if (atomic_fetch_add(&a->paid, need) == 0) {
        vv_budget_take(s->opt.budget, VV_BUDGET_NETWORK, need);
        return true;
    }
    if (vv_budget_reserve(s->opt.budget, VV_BUDGET_NETWORK, need))
        return true;
    atomic_fetch_sub(&a->paid, need);
    return false;
}

void srv_admit_poll(srv *s, int64_t now_ns)
{
    srv_admission *a = &s->admission;
    if (atomic_load(&a->waiting) == 0)
        return;
    vv_mutex_lock(&a->lock);
    while (a->first != NULL && pay(s, a->first->need)) {
        srv_wait *w = a->first;
        a->first = w->next;
        if (a->first == NULL)
            a->last = NULL;
        else
            a->first->prev = NULL;
        atomic_fetch_sub(&a->waiting, 1);
        atomic_store(&a->last_ns, now_ns);
        atomic_store(&w->granted, true);
        srv_call_schedule(w->call); /* attached, so its loop lives; no lock is taken */
    }
    vv_mutex_unlock(&a->lock);
}

static void begin_going(srv_call *call, size_t paid)
{
    call->going = true;
    call->conn->going++;
    call->paid = call->unspent = paid;
    const srv_block *b = call->block != NULL ? call->block : call->unary;
    if (b != NULL) { /* pieces that came before were counted one by one */
        size_t counted = vv_min_u64(b->charge, paid);
        vv_budget_release(call->conn->server->opt.budget, VV_BUDGET_NETWORK, counted);
        call->unspent -= counted;
    }
    if (call->conn->proto->open_window != NULL)
        call->conn->proto->open_window(call);
}

static bool begin_waiting(srv_call *call, size_t need)
{
    srv *s = call->conn->server;
    srv_admission *a = &s->admission;
    int64_t now = call->conn->loop->now_ns;
    srv_wait *w = vv_alloc(sizeof *w);
    if (w == NULL)
        return false;
    *w = (srv_wait){.call = call, .need = need, .since_ns = now};
    call->wait = w;
    call->conn->waiting++;
    vv_mutex_lock(&a->lock);
    w->prev = a->last;
    if (a->last != NULL)
        a->last->next = w;
    else
        a->first = w;
    a->last = w;
    atomic_fetch_add(&a->waiting, 1);
    vv_mutex_unlock(&a->lock);
    srv_admit_poll(s, now); /* memory may have come back in between */
    srv_conn_arm(call->conn, now + SRV_PARK_RETRY_NS);
    return true;
}

bool srv_admit(srv_call *call, uint64_t bytes)
{
    srv_conn *conn = call->conn;
    srv *s = conn->server;
    size_t holds = conn->partial + atomic_load_explicit(&conn->held, memory_order_relaxed);
    size_t need = sizeof(srv_block) + (size_t)bytes * (1u + call->method->copies);
    bool small = need <= SRV_PARK_HELD && holds <= SRV_PARK_HELD;
    assert(!call->going && call->wait == NULL);
    if (small) {
        begin_going(call, 0);
        return true;
    }
    if (atomic_load(&s->admission.waiting) == 0 && pay(s, need)) {
        begin_going(call, need);
        return true;
    }
    return begin_waiting(call, need);
}

/* Off the queue, unless it was let in. True when it was. */
static bool leave_queue(srv_call *call)
{
    srv_admission *a = &call->conn->server->admission;
    srv_wait *w = call->wait;
    vv_mutex_lock(&a->lock);
    bool granted = atomic_load(&w->granted);
    if (!granted) {
        if (w->prev != NULL)
            w->prev->next = w->next;
        else
            a->first = w->next;
        if (w->next != NULL)
            w->next->prev = w->prev;
        else
            a->last = w->prev;
        atomic_fetch_sub(&a->waiting, 1);
    }
    vv_mutex_unlock(&a->lock);
    return granted;
}

/* Count what is unspent of a payment as free again, and the payment as over by `over` bytes. */
static void give_back(srv *s, size_t unspent, size_t over)
{
    vv_budget_release(s->opt.budget, VV_BUDGET_NETWORK, unspent);
    if (over > 0)
        srv_admit_settled(s, over);
}

void srv_admit_settled(srv *s, size_t paid)
{
    atomic_fetch_sub(&s->admission.paid, paid);
    if (atomic_load(&s->admission.waiting) > 0)
        srv_admit_poll(s, vv_clock_mono(s->opt.clock));
}

void srv_admit_resume(srv_call *call)
{
    srv_wait *w = call->wait;
    srv_conn *conn = call->conn;
    if (w == NULL || !atomic_load(&w->granted))
        return;
    call->wait = NULL;
    conn->waiting--;
    begin_going(call, w->need);
    vv_free(w);
    if (call->is_http) {
        call->owed += call->uncredited;
        call->uncredited = 0;
    }
    call->last_input_ns = conn->loop->now_ns;
    srv_conn_unpark(conn);
    srv_conn_dirty(conn);
}

void srv_admit_charge(srv_call *call, size_t bytes)
{
    size_t from = vv_min_u64(bytes, call->unspent);
    call->unspent -= from;
    vv_budget_take(call->conn->server->opt.budget, VV_BUDGET_NETWORK, bytes - from);
}

void srv_admit_cancel(srv_call *call)
{
    srv_conn *conn = call->conn;
    if (call->wait != NULL) {
        size_t need = leave_queue(call) ? call->wait->need : 0;
        vv_free(call->wait);
        call->wait = NULL;
        conn->waiting--;
        if (need > 0)
            give_back(conn->server, need, need);
    }
    if (call->going) {
        call->going = false;
        conn->going--;
        size_t paid = call->paid, unspent = call->unspent;
        call->paid = call->unspent = 0;
        give_back(conn->server, unspent, paid);
    }
}

void srv_admit_deliver(srv_call *call, srv_block *block)
{
    if (call->wait != NULL) /* all of it came before its turn did */
        srv_admit_cancel(call);
    size_t copies = block->len * call->method->copies;
    srv_admit_charge(call, copies);
    block->charge += copies;
    if (!call->going)
        return;
    block->paid = call->paid; /* over when the handler lets go */
    call->paid = 0;
    srv_admit_cancel(call);
}

void srv_admit_check(srv_call *call, int64_t now_ns)
{
    const srv_wait *w = call->wait;
    srv *s = call->conn->server;
    if (w == NULL)
        return;
    int64_t last = atomic_load(&s->admission.last_ns);
    int64_t since = last > w->since_ns ? last : w->since_ns;
    if (now_ns - since >= s->opt.body_timeout_ns)
        srv_call_abort(call, GRPC_RESOURCE_EXHAUSTED, 507, starved_text);
    else
        srv_admit_poll(s, now_ns);
}

void srv_admit_give_up(srv_conn *conn)
{
    srv_call *next;
    for (srv_call *call = conn->calls; call != NULL; call = next) {
        next = call->next;
        if (!call->request_ended && !call->ended)
            srv_call_abort(call, GRPC_RESOURCE_EXHAUSTED, 507, starved_text);
    }
}
