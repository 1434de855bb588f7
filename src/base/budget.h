/*
 * budget.h - one count of bytes for everything that memory_limit covers.
 *
 * vv_budget_reserve refuses over the limit; vv_budget_take does not, for bytes that exist already
 * and must be counted. Parts hold a pointer to the node's budget; a NULL budget counts nothing.
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
    VV_BUDGET_PARTS,
} vv_budget_part;

typedef struct vv_budget {
    uint64_t limit;                         /* fixed after init; 0 is no limit */
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

/** False, and nothing counted, when bytes more would pass the limit. */
static inline bool vv_budget_reserve(vv_budget *b, vv_budget_part part, uint64_t bytes)
{
    if (b == NULL)
        return true;
    vv_budget_take(b, part, bytes);
    if (b->limit == 0 || atomic_load_explicit(&b->used, memory_order_relaxed) <= b->limit)
        return true;
    vv_budget_release(b, part, bytes);
    return false;
}

static inline uint64_t vv_budget_used(const vv_budget *b)
{
    return b == NULL ? 0 : atomic_load_explicit(&b->used, memory_order_relaxed);
}

static inline uint64_t vv_budget_part_used(const vv_budget *b, vv_budget_part part)
{
    return b == NULL ? 0 : atomic_load_explicit(&b->part[part], memory_order_relaxed);
}

/** "memtable", "cache", ...: for metrics and messages. */
const char *vv_budget_part_name(vv_budget_part part);

#endif
