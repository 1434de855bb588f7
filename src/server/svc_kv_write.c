/*
 * svc_kv_write.c - a write on its way: from the loop, perhaps over the pool, to the commit thread
 * and back.
 *
 * Each write needs an object and a batch. They are recycled in lanes, one for each loop: the loop
 * takes from its own list without any lock, whoever ends a write pushes it on a stack beside the
 * list, and an empty list takes the whole stack. Taking everything at once is what makes the stack
 * safe from the ABA problem.
 */
#include "server/svc_kv.h"
#include "server/svc_util.h"

#include <stdatomic.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "ingest/ingest.h"

#define LANES 64u
#define IDLE_MAX 256u              /* writes kept in a lane */
#define IDLE_BYTES_MAX 4096u       /* of a request whose batch is kept */
#define LARGE_MESSAGE (256 * 1024) /* parsed on the pool, so that the loop goes on */

typedef struct lane {
    svc_kv_write *idle;               /* the loop's own */
    _Atomic(svc_kv_write *) returned; /* any thread pushes, the loop takes all */
    _Atomic uint32_t idle_count;      /* in both; about right is enough */
    char apart[40];                   /* lanes of two loops share no cache line */
} lane;

struct svc_kv_lanes {
    lane lane[LANES];
};

bool svc_kv_start(node *n)
{
    if (n->kv_lanes == NULL)
        n->kv_lanes = vv_calloc(1, sizeof *n->kv_lanes);
    return n->kv_lanes != NULL;
}

static void destroy(svc_kv_write *w)
{
    vv_batch_destroy(w->batch);
    vv_buf_fini(&w->scratch);
    vv_free(w);
}

static void destroy_all(svc_kv_write *w)
{
    while (w != NULL) {
        svc_kv_write *next = w->next;
        destroy(w);
        w = next;
    }
}

void svc_kv_stop(node *n)
{
    if (n->kv_lanes == NULL)
        return;
    for (size_t i = 0; i < LANES; i++) {
        destroy_all(n->kv_lanes->lane[i].idle);
        destroy_all(atomic_load(&n->kv_lanes->lane[i].returned));
    }
    vv_free(n->kv_lanes);
    n->kv_lanes = NULL;
}

/* ---- taking and giving back ---- */

static lane *lane_of(node *n, uint32_t index)
{
    return n->kv_lanes == NULL || index >= LANES ? NULL : &n->kv_lanes->lane[index];
}

static svc_kv_write *take_idle(lane *l)
{
    if (l == NULL)
        return NULL;
    if (l->idle == NULL)
        l->idle = atomic_exchange_explicit(&l->returned, NULL, memory_order_acquire);
    svc_kv_write *w = l->idle;
    if (w != NULL) {
        l->idle = w->next;
        atomic_fetch_sub_explicit(&l->idle_count, 1, memory_order_relaxed);
    }
    return w;
}

/* Loop thread. */
static svc_kv_write *take(node *n, srv_call *call)
{
    uint32_t index = srv_call_loop(call);
    svc_kv_write *w = take_idle(lane_of(n, index));
    if (w == NULL) {
        w = vv_calloc(1, sizeof *w);
        if (w == NULL)
            return NULL;
        vv_buf_init(&w->scratch, UINT16_MAX);
        w->batch = vv_batch_create(n->db);
        if (w->batch == NULL) {
            destroy(w);
            return NULL;
        }
    }
    w->lane = index;
    return w;
}

static void release_message(svc_kv_write *w)
{
    if (w->has_msg)
        srv_message_release(&w->msg);
    w->has_msg = false;
}

static void give_back(svc_kv_write *w)
{
    lane *l = lane_of(w->n, w->lane);
    release_message(w);
    srv_call_unref(w->call);
    w->call = NULL;
    if (l == NULL || w->request_len > IDLE_BYTES_MAX ||
        atomic_load_explicit(&l->idle_count, memory_order_relaxed) >= IDLE_MAX) {
        destroy(w);
        return;
    }
    vv_batch_clear(w->batch); /* lets go of its tables */
    atomic_fetch_add_explicit(&l->idle_count, 1, memory_order_relaxed);
    svc_kv_write *head = atomic_load_explicit(&l->returned, memory_order_relaxed);
    do {
        w->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&l->returned, &head, w, memory_order_release,
                                                    memory_order_relaxed));
}

/* ---- the way of a write ---- */

static void finish(svc_kv_write *w, vv_status st, const char *message)
{
    if (st != VV_OK)
        w->ops->refuse(w->call, st, message);
    give_back(w);
}

static void start(svc_kv_write *w, bool may_wait);

static void start_again(srv_call *call, void *arg)
{
    svc_kv_write *w = arg;
    if (srv_call_is_open(call))
        start(w, false);
    else
        give_back(w);
}

/* On the commit thread, mostly. */
static void on_written(void *ctx, vv_status st, const vv_write_result *result, const vv_error *err)
{
    svc_kv_write *w = ctx;
    if (st == VV_CONFLICT && w->tries < w->ops->retries) {
        w->tries++;
        vv_batch_clear(w->batch);
        srv_call_post(w->call, start_again, w);
        return;
    }
    node_note_write(w->n, st);
    if (st == VV_OK && w->ops->is_put) { /* before the answer: who has it finds it counted */
        int64_t ns = vv_clock_mono(w->n->env.clock) - w->begin_ns;
        vv_hist_add(&w->n->put_ns, (uint64_t)ns);
    }
    if (st == VV_OK)
        w->ops->answer(w, result);
    finish(w, st, st == VV_OK ? NULL : err->msg);
}

static void start_on_pool(void *arg)
{
    start(arg, true);
}

static void hand_to_pool(svc_kv_write *w)
{
    vv_status st = srv_pool_submit_point(w->n->pool, start_on_pool, w);
    if (st != VV_OK)
        finish(w, st, SVC_NO_THREAD);
}

static void start(svc_kv_write *w, bool may_wait)
{
    vv_error err = {0};
    w->would_wait = false;
    vv_status st = w->ops->fill(w, may_wait, &err);
    if (st != VV_OK && w->would_wait && !may_wait) {
        vv_batch_clear(w->batch);
        hand_to_pool(w);
        return;
    }
    if (st != VV_OK || w->is_settled) {
        finish(w, st, err.msg);
        return;
    }
    if (!w->ops->keeps_message)
        release_message(w);
    st = vv_write_async(w->n->db, w->batch, w->durability, on_written, w, &err);
    if (st == VV_BUSY)
        (void)vv_wrap(&err, st, "retry after a pause");
    if (st != VV_OK)
        finish(w, st, err.msg);
}

void svc_kv_write_begin(srv_call *call, srv_message msg, const svc_kv_write_ops *ops)
{
    node *n = srv_call_ctx(call);
    svc_kv_write *w = take(n, call);
    if (w == NULL) {
        srv_message_release(&msg);
        ops->refuse(call, VV_NO_MEMORY, "no memory for a write");
        return;
    }
    srv_call_ref(call);
    w->n = n;
    w->call = call;
    w->ops = ops;
    w->msg = msg;
    w->has_msg = true;
    w->request_len = msg.data.len + srv_call_path(call).len;
    w->is_settled = false;
    w->durability = VV_DURABLE_DEFAULT;
    w->tries = 0;
    w->begin_ns = ops->is_put ? vv_clock_mono(n->env.clock) : 0;
    if (msg.data.len > LARGE_MESSAGE)
        hand_to_pool(w);
    else
        start(w, false);
}

/* ---- what fills and answers have in common ---- */

vv_status svc_kv_write_open(svc_kv_write *w, const gate_op *op, bool creates, bool may_wait,
                            vv_table **out, vv_error *err)
{
    gate_identity who = svc_identity(w->call);
    gate_grant grant;
    vv_status st = gate_authorize(w->n->gate, &who, op, 1, &grant, err);
    if (st != VV_OK)
        return st;
    if (creates && may_wait)
        return gate_open_table(&grant, 0, VV_TABLE_KV, out, err);
    st = gate_find_table(&grant, 0, VV_TABLE_KV, out, err);
    if (st == VV_NOT_FOUND && creates && gate_may_create(&grant, 0))
        w->would_wait = true;
    return st;
}

void svc_kv_answer(srv_call *call, vv_durability durability, vv_buf *out)
{
    srv_call_trailer(call, "varve-durability", ingest_durability_name(durability));
    srv_call_send(call, out);
    srv_call_finish(call, VV_OK, NULL);
}
