/*
 * budget.h - one count of bytes for everything that memory_limit covers.
 *
 *     |<- log ring ->|<- cache ->|<- memtables, at least ->|<- work ->|<- whoever comes first ->|
 *                    '------------- shares, vv_budget_keep -----------'
 *
 * vv_budget_reserve refuses over the limit; vv_budget_take does not, for bytes that exist already
 * and must be counted. Parts hold a pointer to the node's budget; a NULL budget counts nothing.
 *
 * Why shares: requests that wait for a write hold memory until it is done. If they could hold all
 * of it, the write would wait for memory and they for the write. What a part is short of its share
 * is refused to the others; within its share a part is never refused.
 */
#ifndef VARVE_BASE_BUDGET_H
#define VARVE_BASE_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum vv_budget_part {
    VV_BUDGET_MEMTABLE,
    VV_BUDGET_CACHE,
    VV_BUDGET_QUEUE,
    VV_BUDGET_LOG,
    VV_BUDGET_QUERY,
    VV_BUDGET_NETWORK,
    VV_BUDGET_INDEX,   /* indexes and filters of open runs, tables of the catalog */
    VV_BUDGET_WORK,    /* buffers of flush and compaction */
    VV_BUDGET_TXN,     /* writes and reads of open transactions */
    VV_BUDGET_PROCESS, /* what nobody counts: code, stacks, the allocator's loss; from the start */
    VV_BUDGET_PARTS,
} vv_budget_part;

typedef struct vv_budget {
    uint64_t limit;                         /* fixed before use by threads; 0 is no limit */
    uint64_t share[VV_BUDGET_PARTS];        /* fixed before use: bytes kept for this part */
    _Atomic uint64_t used;                  /* any thread, relaxed */
    _Atomic uint64_t part[VV_BUDGET_PARTS]; /* any thread, relaxed: statistics */
} vv_budget;

static inline void vv_budget_init(vv_budget *b, uint64_t limit)
{
    *b = (vv_budget){.limit = limit};
}

static inline void vv_budget_take(vv_budget *b, vv_budget_part part, uint64_t bytes)
{
    if (b == NULL)
        return;
    atomic_fetch_add_explicit(&b->used, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&b->part[part], bytes, memory_order_relaxed);
}

static inline void vv_budget_release(vv_budget *b, vv_budget_part part, uint64_t bytes)
{
    if (b == NULL)
        return;
    atomic_fetch_sub_explicit(&b->used, bytes, memory_order_relaxed);
    atomic_fetch_sub_explicit(&b->part[part], bytes, memory_order_relaxed);
}

static inline uint64_t vv_budget_used(const vv_budget *b)
{
    return b == NULL ? 0 : atomic_load_explicit(&b->used, memory_order_relaxed);
}

static inline uint64_t vv_budget_part_used(const vv_budget *b, vv_budget_part part)
{
    return b == NULL ? 0 : atomic_load_explicit(&b->part[part], memory_order_relaxed);
}

/** Keep bytes of the limit for one part. Before anybody uses the budget. */
static inline void vv_budget_keep(vv_budget *b, vv_budget_part part, uint64_t bytes)
{
    b->share[part] = bytes;
}

/** Bytes that the other parts are short of their shares. */
static inline uint64_t vv_budget_kept_from(const vv_budget *b, vv_budget_part part)
{
    uint64_t kept = 0;
    for (vv_budget_part p = 0; p < VV_BUDGET_PARTS; p++) {
        uint64_t has = atomic_load_explicit(&b->part[p], memory_order_relaxed);
        if (p != part && has < b->share[p])
            kept += b->share[p] - has;
    }
    return kept;
}

/** True when bytes more, with `used` counted, pass the limit or cut into a share of another. */
static inline bool vv_budget_refuses(const vv_budget *b, vv_budget_part part, uint64_t used,
                                     uint64_t bytes)
{
    if (b->limit == 0 || used + bytes + vv_budget_kept_from(b, part) <= b->limit)
        return false;
    return atomic_load_explicit(&b->part[part], memory_order_relaxed) + bytes > b->share[part];
}

/** True when vv_budget_reserve would refuse as things are. */
static inline bool vv_budget_is_short(const vv_budget *b, vv_budget_part part, uint64_t bytes)
{
    return b != NULL && vv_budget_refuses(b, part, vv_budget_used(b), bytes);
}

/** False, and nothing counted, when it must be refused. */
static inline bool vv_budget_reserve(vv_budget *b, vv_budget_part part, uint64_t bytes)
{
    if (b == NULL)
        return true;
    uint64_t used = vv_budget_used(b);
    do {
        if (vv_budget_refuses(b, part, used, bytes))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&b->used, &used, used + bytes,
                                                    memory_order_relaxed, memory_order_relaxed));
    atomic_fetch_add_explicit(&b->part[part], bytes, memory_order_relaxed);
    return true;
}

/** "memtable", "cache", ...: for metrics and messages. */
const char *vv_budget_part_name(vv_budget_part part);

#endif
