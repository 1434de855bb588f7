/*
 * objs_stats.c - the figures of a store, gathered from counters that no call waits for.
 */
#include "object/object_int.h"

#include <string.h>

#include "base/util.h"

static uint64_t load(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void op_stats(const objs_op_figures *f, vv_object_op_stats *out)
{
    *out = (vv_object_op_stats){.calls = load(&f->calls),
                                .failures = load(&f->failures),
                                .bytes = load(&f->bytes),
                                .requests = vv_hist_count(&f->request_ns),
                                .p50_ns = vv_hist_percentile(&f->request_ns, 0.5),
                                .p99_ns = vv_hist_percentile(&f->request_ns, 0.99),
                                .max_ns = vv_hist_max(&f->request_ns),
                                .sum_ns = vv_hist_sum(&f->request_ns)};
}

void vv_object_store_stats(vv_object_store *s, vv_object_stats *out)
{
    vv_object_stats all = {.size = out->size,
                           .retries = load(&s->figures.retries),
                           .hedges = load(&s->figures.hedges),
                           .hedges_won = load(&s->figures.hedges_won),
                           .breaker_opens = load(&s->figures.breaker_opens),
                           .breaker_refused = load(&s->figures.breaker_refused)};
    for (int i = 0; i < VV_OBJECT_OP_COUNT; i++)
        op_stats(&s->figures.op[i], &all.op[i]);
    for (int i = 0; i < VV_OBJECT_FAULT_COUNT; i++)
        all.faults[i] = load(&s->figures.faults[i]);
    all.last_success_ns = atomic_load_explicit(&s->figures.last_success_ns, memory_order_relaxed);
    vv_mutex_lock(&s->lock);
    all.breaker_state = (uint32_t)s->breaker;
    all.in_flight = s->in_flight;
    all.waiting = s->waiting;
    all.consecutive_failures = s->failed_in_row;
    vv_mutex_unlock(&s->lock);
    memcpy(out, &all, out->size < sizeof all ? out->size : sizeof all);
}
