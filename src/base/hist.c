#include "base/hist.h"

#include "base/util.h"

/* Values below 16 have a bucket each; above, the top five bits choose it. */
static unsigned bucket_of(uint64_t value)
{
    if (value < VV_HIST_STEPS)
        return (unsigned)value;
    unsigned top = 63 - (unsigned)__builtin_clzll(value);
    unsigned step = (unsigned)(value >> (top - 4)) & (VV_HIST_STEPS - 1);
    return (top - 3) * VV_HIST_STEPS + step;
}

/* The largest value that falls into a bucket. */
static uint64_t bucket_top(unsigned bucket)
{
    if (bucket < VV_HIST_STEPS)
        return bucket;
    unsigned shift = bucket / VV_HIST_STEPS - 1;
    uint64_t low = (uint64_t)(VV_HIST_STEPS + bucket % VV_HIST_STEPS) << shift;
    return low + ((UINT64_C(1) << shift) - 1);
}

void vv_hist_reset(vv_hist *h)
{
    for (unsigned i = 0; i < VV_HIST_BUCKETS; i++)
        atomic_store_explicit(&h->bucket[i], 0, memory_order_relaxed);
    atomic_store_explicit(&h->count, 0, memory_order_relaxed);
    atomic_store_explicit(&h->sum, 0, memory_order_relaxed);
    atomic_store_explicit(&h->max, 0, memory_order_relaxed);
}

static void raise_max(vv_hist *h, uint64_t value)
{
    uint64_t seen = atomic_load_explicit(&h->max, memory_order_relaxed);
    while (value > seen && !atomic_compare_exchange_weak_explicit(
                               &h->max, &seen, value, memory_order_relaxed, memory_order_relaxed))
        continue;
}

void vv_hist_add(vv_hist *h, uint64_t value)
{
    atomic_fetch_add_explicit(&h->bucket[bucket_of(value)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum, value, memory_order_relaxed);
    raise_max(h, value);
}

void vv_hist_merge(vv_hist *h, const vv_hist *from)
{
    for (unsigned i = 0; i < VV_HIST_BUCKETS; i++) {
        uint64_t n = atomic_load_explicit(&from->bucket[i], memory_order_relaxed);
        if (n != 0)
            atomic_fetch_add_explicit(&h->bucket[i], n, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&h->count, vv_hist_count(from), memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum, vv_hist_sum(from), memory_order_relaxed);
    raise_max(h, vv_hist_max(from));
}

uint64_t vv_hist_percentile(const vv_hist *h, double fraction)
{
    uint64_t count = vv_hist_count(h);
    if (count == 0)
        return 0;
    uint64_t rank = (uint64_t)(fraction * (double)count);
    if (rank >= count)
        return vv_hist_max(h);
    uint64_t seen = 0;
    for (unsigned i = 0; i < VV_HIST_BUCKETS; i++) {
        seen += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
        if (seen > rank)
            return vv_min_u64(bucket_top(i), vv_hist_max(h));
    }
    return vv_hist_max(h);
}

uint64_t vv_hist_count_below(const vv_hist *h, uint64_t bound)
{
    uint64_t seen = 0;
    unsigned last = bucket_of(bound);
    for (unsigned i = 0; i <= last && i < VV_HIST_BUCKETS; i++)
        seen += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
    return seen;
}
