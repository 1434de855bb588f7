/*
 * srv_block.c - received bytes, from the first piece of a message to its release by the handler.
 *
 * Memory is taken as bytes arrive, never by what a prefix announces; what is announced is counted
 * in the budget, though (srv_admit.c). While a message is unfinished
 * its block counts in conn->partial, once delivered in conn->held; both count in the budget.
 */
#include <string.h>

#include "base/alloc.h"
#include "server/srv_int.h"

#define FIRST_CAP (64u * 1024u)

bool srv_block_reserve(srv_call *call, srv_block **block, size_t more, size_t expect)
{
    srv_block *b = *block;
    size_t have = b == NULL ? 0 : b->len;
    size_t need = have + more;
    if (b != NULL && need <= b->cap)
        return true;
    size_t cap = need;
    if (need < expect) { /* more will come: grow by doubling, not beyond what is expected */
        cap = need < FIRST_CAP / 2 ? FIRST_CAP : need * 2;
        cap = cap < expect ? cap : expect;
    }
    srv_conn *conn = call->conn;
    srv_block *grown = vv_realloc(b, sizeof *b + cap);
    if (grown == NULL)
        return false;
    if (b == NULL)
        *grown = (srv_block){0};
    size_t charge = sizeof *grown + cap;
    srv_admit_charge(call, charge - grown->charge);
    conn->partial += charge - grown->charge;
    grown->charge = charge;
    grown->cap = cap;
    *block = grown;
    return true;
}

void srv_block_drop(srv_call *call, srv_block **block)
{
    srv_block *b = *block;
    if (b == NULL)
        return;
    *block = NULL;
    call->conn->partial -= b->charge;
    vv_budget_release(call->conn->server->opt.budget, VV_BUDGET_NETWORK, b->charge);
    vv_free(b);
}

void srv_block_deliver(srv_call *call, srv_block **block)
{
    srv_block *b = *block;
    *block = NULL;
    srv_conn *conn = call->conn;
    conn->partial -= b->charge;
    srv_admit_deliver(call, b);
    atomic_fetch_add_explicit(&conn->held, b->charge, memory_order_relaxed);
    call->delivered += b->wire;
    srv_call_ref(call);
    b->call = call;
    call->method->message(call, (srv_message){vv_slice_of(b->bytes, b->len), {b, NULL}});
}

static void credit_conn(srv_loop *loop, srv_post *post)
{
    (void)loop;
    srv_conn *conn = VV_CONTAINER_OF(post, srv_conn, credit_post);
    atomic_store(&conn->credit_posted, false);
    size_t bytes = conn->withheld;
    if (conn->state == SRV_CONN_OPEN && bytes > 0 && conn->proto->credit_conn != NULL) {
        conn->withheld = 0;
        conn->proto->credit_conn(conn, bytes);
        srv_conn_dirty(conn);
    }
    srv_conn_unref(conn);
}

/* Handlers have let go of enough: the connection's window may grow again. */
static void post_credit(srv_conn *conn)
{
    if (atomic_exchange(&conn->credit_posted, true))
        return;
    atomic_fetch_add_explicit(&conn->refs, 1, memory_order_relaxed);
    conn->credit_post.fn = credit_conn;
    if (!srv_loop_post(conn->loop, &conn->credit_post))
        srv_conn_unref(conn);
}

void srv_message_release(srv_message *msg)
{
    srv_block *b = msg->owner[0];
    if (b == NULL)
        return;
    *msg = (srv_message){0};
    srv_call *call = b->call;
    srv_conn *conn = call->conn;
    size_t wire = b->wire, credit = b->credit, charge = b->charge, paid = b->paid;
    vv_budget_release(conn->server->opt.budget, VV_BUDGET_NETWORK, charge);
    vv_free(b);
    if (paid > 0)
        srv_admit_settled(conn->server, paid);

    size_t held = atomic_fetch_sub_explicit(&conn->held, charge, memory_order_acq_rel);
    if (held >= SRV_CONN_HELD_MAX && held - charge < SRV_CONN_HELD_MAX)
        post_credit(conn);
    if (credit > 0)
        atomic_fetch_add_explicit(&call->returned, credit, memory_order_relaxed);
    uint64_t before = atomic_fetch_add(&call->released, wire);
    bool step = before >> SRV_CREDIT_STEP_SHIFT != (before + wire) >> SRV_CREDIT_STEP_SHIFT;
    if ((step || atomic_load(&call->held_back)) && srv_call_is_open(call))
        srv_call_schedule(call);
    srv_call_unref(call);
}
