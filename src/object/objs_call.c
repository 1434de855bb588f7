/*
 * objs_call.c - one call: a place at the store, tries, and the waits between them.
 *
 *        +---- refused: breaker open, cancelled, no place within the budget
 *        |
 *   enter --> try --> leave --> answered, or not worth another try: the end
 *     ^                 |
 *     +--- wait <-------+ retryable, tries and budget left
 *
 * A wait is random between nothing and the bound that doubles from initial_backoff_ms to
 * max_backoff_ms ("full jitter": M. Brooker, "Exponential Backoff And Jitter", 2015), and at least
 * what the store asked for. The place is given back over a wait, so that a few calls that wait do
 * not keep the others out.
 *
 * The breaker counts calls, not tries, that ended without an answer worth the name. Once open it
 * refuses at once until breaker_open_ms have passed; then one call is let through, and its end
 * closes or opens the breaker again.
 */
#include "object/object_int.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/point.h"
#include "base/util.h"

static int64_t now_ns(vv_object_store *s)
{
    return vv_clock_mono(s->opt.env.clock);
}

/* Sleep with the lock held, until about then or a wake. Without threads nobody could wake us. */
static void wait_until(vv_object_store *s, int64_t until) VV_REQUIRES(s->lock)
{
    int64_t left = until - now_ns(s);
    if (left <= 0)
        return;
    if (s->opt.env.threads != NULL) {
        (void)vv_cond_wait_for(&s->wake, &s->lock, left);
    } else {
        vv_mutex_unlock(&s->lock);
        vv_clock_sleep(s->opt.env.clock, left);
        vv_mutex_lock(&s->lock);
    }
}

static vv_status cancelled(objs_call *call, vv_error *err)
{
    return objs_fault(&call->oc, VV_OBJECT_FAULT_LOCAL, false,
                      vv_fail(err, VV_CLOSED, "the store was cancelled"));
}

/* VV_BUSY while the breaker is open. Lets one call through when its time has come. */
static vv_status pass_breaker(vv_object_store *s, objs_call *call, int64_t now, vv_error *err)
    VV_REQUIRES(s->lock)
{
    if (s->breaker == OBJS_BREAKER_OPEN && now >= s->breaker_until) {
        s->breaker = OBJS_BREAKER_TRYING;
        s->breaker_until = now + (int64_t)s->opt.opt.budget_ms * VV_NS_PER_MS;
        return VV_OK;
    }
    if (s->breaker == OBJS_BREAKER_TRYING && now >= s->breaker_until) {
        s->breaker_until = now + (int64_t)s->opt.opt.budget_ms * VV_NS_PER_MS;
        return VV_OK; /* the one before never came back: another tries */
    }
    if (s->breaker == OBJS_BREAKER_CLOSED || VV_BUG(151)) /* the bug: it is asked all the same */
        return VV_OK;
    atomic_fetch_add_explicit(&s->figures.breaker_refused, 1, memory_order_relaxed);
    int64_t left = s->breaker_until - now;
    call->oc.retry_after_ms =
        s->breaker == OBJS_BREAKER_OPEN ? (left + VV_NS_PER_MS - 1) / VV_NS_PER_MS : 0;
    return objs_fault(&call->oc, VV_OBJECT_FAULT_LOCAL, true,
                      vv_fail(err, VV_BUSY,
                              "not asked: %" PRIu32 " calls in a row got no answer; the circuit "
                              "breaker lets one try in %" PRId64 " ms",
                              s->lost_in_row, call->oc.retry_after_ms));
}

/* Take a place at the store. */
static vv_status enter(objs_call *call, bool first, int64_t deadline, vv_error *err)
{
    vv_object_store *s = call->store;
    vv_status st = VV_OK;
    vv_mutex_lock(&s->lock);
    if (first && !s->cancelled)
        st = pass_breaker(s, call, now_ns(s), err);
    s->waiting++;
    while (st == VV_OK && !s->cancelled && s->in_flight >= s->opt.opt.concurrency) {
        if (now_ns(s) >= deadline)
            st = objs_fault(&call->oc, VV_OBJECT_FAULT_LOCAL, true,
                            vv_fail(err, VV_BUSY,
                                    "%" PRIu32 " calls are at the store: no place within "
                                    "budget_ms; raise concurrency, or send less at once",
                                    s->in_flight));
        else
            wait_until(s, deadline);
    }
    s->waiting--;
    if (st == VV_OK && s->cancelled)
        st = cancelled(call, err);
    if (st == VV_OK)
        s->in_flight++;
    vv_mutex_unlock(&s->lock);
    return st;
}

bool objs_place_try(vv_object_store *s)
{
    vv_mutex_lock(&s->lock);
    bool free = !s->cancelled && s->in_flight < s->opt.opt.concurrency;
    s->in_flight += free;
    vv_mutex_unlock(&s->lock);
    return free;
}

void objs_place_leave(vv_object_store *s)
{
    vv_mutex_lock(&s->lock);
    assert(s->in_flight > 0);
    s->in_flight--;
    if (s->waiting > 0)
        vv_cond_broadcast(&s->wake);
    vv_mutex_unlock(&s->lock);
}

/* One try, with its figures. */
static vv_status try_once(objs_call *call, objs_try fn, void *ctx, vv_error *err)
{
    vv_object_store *s = call->store;
    objs_op_figures *f = &s->figures.op[call->op];
    uint32_t attempts = call->oc.attempts + 1;
    call->oc = (vv_object_outcome){.attempts = attempts};
    call->bytes = 0;
    int64_t start = now_ns(s);
    vv_status st = fn(call, ctx, err);
    vv_hist_add(&f->request_ns, (uint64_t)(now_ns(s) - start));
    if (st == VV_OK) {
        bool settled = call->oc.settled;
        call->oc.fault = VV_OBJECT_FAULT_NONE;
        call->oc.retryable = false;
        call->oc.unknown = false;
        call->oc.settled = settled;
        atomic_fetch_add_explicit(&f->bytes, call->bytes, memory_order_relaxed);
        return VV_OK;
    }
    if ((unsigned)call->oc.fault >= VV_OBJECT_FAULT_COUNT ||
        call->oc.fault == VV_OBJECT_FAULT_NONE) /* a backend that does not say */
        call->oc.fault = st == VV_NOT_FOUND  ? VV_OBJECT_FAULT_MISSING
                         : st == VV_CONFLICT ? VV_OBJECT_FAULT_EXISTS
                         : st == VV_TIMEOUT  ? VV_OBJECT_FAULT_TIMEOUT
                                             : VV_OBJECT_FAULT_LOCAL;
    atomic_fetch_add_explicit(&s->figures.faults[call->oc.fault], 1, memory_order_relaxed);
    return st;
}

/* When the next try may start: now + a random wait. */
static int64_t next_try(objs_call *call, uint32_t retry)
{
    vv_object_store *s = call->store;
    uint64_t bound = s->opt.opt.initial_backoff_ms;
    for (uint32_t i = 0; i < retry && bound < s->opt.opt.max_backoff_ms; i++)
        bound *= 2;
    bound = vv_min_u64(bound, s->opt.opt.max_backoff_ms) * VV_NS_PER_MS;
    vv_mutex_lock(&s->lock);
    uint64_t wait = bound == 0 ? 0 : vv_rng_below(&s->rng, bound + 1);
    vv_mutex_unlock(&s->lock);
    if (call->oc.retry_after_ms > 0)
        wait = vv_max_u64(wait, (uint64_t)call->oc.retry_after_ms * VV_NS_PER_MS);
    return now_ns(s) + (int64_t)wait;
}

static vv_status backoff(objs_call *call, int64_t until, vv_error *err)
{
    vv_object_store *s = call->store;
    vv_mutex_lock(&s->lock);
    while (!s->cancelled && now_ns(s) < until)
        wait_until(s, until);
    bool gone = s->cancelled;
    vv_mutex_unlock(&s->lock);
    return gone ? cancelled(call, err) : VV_OK;
}

/* Whether the store itself failed us: what the breaker counts. */
static bool is_lost(const vv_object_outcome *oc)
{
    return oc->fault == VV_OBJECT_FAULT_THROTTLED || oc->fault == VV_OBJECT_FAULT_SERVER ||
           oc->fault == VV_OBJECT_FAULT_TIMEOUT || oc->fault == VV_OBJECT_FAULT_NETWORK;
}

static bool is_failure(vv_status st)
{
    return st != VV_OK && st != VV_NOT_FOUND && st != VV_CONFLICT && st != VV_UNSUPPORTED;
}

/* The end of a call that was at the store. */
static void judge(objs_call *call, vv_status st)
{
    vv_object_store *s = call->store;
    int64_t now = now_ns(s);
    if (!is_failure(st))
        atomic_store_explicit(&s->figures.last_success_ns, vv_clock_wall(s->opt.env.clock),
                              memory_order_relaxed);
    vv_mutex_lock(&s->lock);
    if (!is_failure(st))
        s->failed_in_row = 0;
    else if (s->failed_in_row < UINT32_MAX)
        s->failed_in_row++;
    if (st != VV_OK && is_lost(&call->oc)) {
        if (s->lost_in_row < UINT32_MAX)
            s->lost_in_row++;
        if (s->opt.opt.breaker_failures != 0 && s->lost_in_row >= s->opt.opt.breaker_failures) {
            if (s->breaker == OBJS_BREAKER_CLOSED)
                atomic_fetch_add_explicit(&s->figures.breaker_opens, 1, memory_order_relaxed);
            s->breaker = OBJS_BREAKER_OPEN;
            s->breaker_until = now + (int64_t)s->opt.opt.breaker_open_ms * VV_NS_PER_MS;
        }
    } else if (call->oc.fault != VV_OBJECT_FAULT_LOCAL) {
        s->lost_in_row = 0;
        s->breaker = OBJS_BREAKER_CLOSED;
    } else if (s->breaker == OBJS_BREAKER_TRYING) {
        s->breaker = OBJS_BREAKER_OPEN; /* it learned nothing of the store: the next one tries */
        s->breaker_until = now;
    }
    vv_mutex_unlock(&s->lock);
}

static vv_status run(objs_call *call, objs_try fn, void *ctx, vv_error *err)
{
    vv_object_store *s = call->store;
    int64_t deadline = now_ns(s) + (int64_t)s->opt.opt.budget_ms * VV_NS_PER_MS;
    vv_status st;
    bool asked = false;
    for (uint32_t retry = 0;; retry++) {
        st = enter(call, retry == 0, deadline, err);
        if (st != VV_OK)
            break;
        asked = true;
        st = try_once(call, fn, ctx, err);
        objs_place_leave(s);
        call->unknown = call->unknown || (st != VV_OK && call->oc.unknown);
        if (st == VV_OK || !call->oc.retryable || retry >= s->opt.opt.max_retries)
            break;
        int64_t until = next_try(call, retry);
        if (until >= deadline)
            break; /* the budget ends before: what was said last is the answer */
        vv_status wait = backoff(call, until, err);
        if (wait != VV_OK) {
            st = wait;
            break;
        }
        atomic_fetch_add_explicit(&s->figures.retries, 1, memory_order_relaxed);
    }
    if (asked)
        judge(call, st);
    return st;
}

vv_status objs_call_run(vv_object_store *store, vv_object_op op, const char *name, objs_try fn,
                        void *ctx, vv_object_outcome *outcome, vv_error *err)
{
    objs_call call = {.store = store, .op = op, .name = name};
    objs_op_figures *f = &store->figures.op[op];
    vv_status st = run(&call, fn, ctx, err);
    /* An answer that says what is there settles earlier doubts: 'not found' of a remove, 'exists'
     * of a create. Anything else leaves them. */
    if (st != VV_OK && st != VV_CONFLICT && st != VV_NOT_FOUND)
        call.oc.unknown = call.oc.unknown || call.unknown;
    atomic_fetch_add_explicit(&f->calls, 1, memory_order_relaxed);
    if (is_failure(st))
        atomic_fetch_add_explicit(&f->failures, 1, memory_order_relaxed);
    if (outcome != NULL)
        *outcome = call.oc;
    if (st == VV_OK)
        return VV_OK;
    if (call.oc.attempts > 1)
        (void)vv_wrap(err, st, "%s: %s '%s': try %" PRIu32, store->label, vv_object_op_name(op),
                      name, call.oc.attempts);
    else
        (void)vv_wrap(err, st, "%s: %s '%s'", store->label, vv_object_op_name(op), name);
    return st;
}
