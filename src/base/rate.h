/*
 * rate.h - how many a second of late: the sum of the last whole seconds in a ring of slots, each of
 * which says which second it holds, so that what is quiet needs no sweeping.
 *
 * One thread adds, any reads. A reader may miss what is added meanwhile, never more. All zero is a
 * rate that nothing was added to.
 */
#ifndef VARVE_BASE_RATE_H
#define VARVE_BASE_RATE_H

#include <stdatomic.h>
#include <stddef.h>

#include "base/util.h"

#define VV_RATE_SECONDS 10u /* the window */
#define VV_RATE_SLOTS 16u   /* seconds kept; a power of two over the window and the running one */

typedef struct vv_rate {
    _Atomic uint64_t second[VV_RATE_SLOTS]; /* which second a slot holds; 0: none */
    _Atomic uint64_t count[VV_RATE_SLOTS];
} vv_rate;

/* Seconds of a monotonic clock; 0 is before all of them. */
static inline uint64_t vv_rate_second(int64_t mono_ns)
{
    return (uint64_t)(mono_ns / VV_NS_PER_S) + 1;
}

static inline void vv_rate_add(vv_rate *r, int64_t mono_ns, uint64_t count)
{
    static_assert(VV_RATE_SLOTS > VV_RATE_SECONDS + 1, "the window and the running second");
    uint64_t second = vv_rate_second(mono_ns);
    size_t i = second % VV_RATE_SLOTS;
    if (atomic_load_explicit(&r->second[i], memory_order_relaxed) != second) {
        atomic_store_explicit(&r->count[i], 0, memory_order_relaxed);
        atomic_store_explicit(&r->second[i], second, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&r->count[i], count, memory_order_relaxed);
}

/** A second, on the average of the last VV_RATE_SECONDS whole ones. */
static inline double vv_rate_read(const vv_rate *r, int64_t mono_ns)
{
    uint64_t now = vv_rate_second(mono_ns), sum = 0;
    for (size_t i = 0; i < VV_RATE_SLOTS; i++) {
        uint64_t second = atomic_load_explicit(&r->second[i], memory_order_relaxed);
        if (second != 0 && second < now && second + VV_RATE_SECONDS >= now)
            sum += atomic_load_explicit(&r->count[i], memory_order_relaxed);
    }
    return (double)sum / VV_RATE_SECONDS;
}

#endif
