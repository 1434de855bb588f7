/*
 * btree_map.h - where each page lies: from page id to place in the data files and the low half of
 * the page's sum.
 *
 * Pages do not name themselves, so a page that was written to the wrong place, or a write that
 * never happened, would pass its own sum; the mapping's copy of the sum finds it.
 *
 * A radix tree of 256-way nodes, copied on write: a snapshot is a reference on the root and shares
 * every node that has not changed since. One thread changes a map; snapshots are read by any.
 */
#ifndef VARVE_BTREE_MAP_H
#define VARVE_BTREE_MAP_H

#include <stdbool.h>

#include "base/budget.h"
#include "varve/status.h"

#define BTREE_NOWHERE UINT64_MAX

typedef struct btree_place {
    uint64_t at;  /* file id << shift | page in the file; BTREE_NOWHERE: no such page */
    uint32_t sum; /* low half of the page's sum */
} btree_place;

typedef struct btree_map_node btree_map_node;

typedef struct btree_map {
    btree_map_node *root; /* NULL: empty */
    uint32_t depth;       /* levels */
    uint64_t count;       /* pages that are somewhere */
    vv_budget *budget;
} btree_map;

static inline void btree_map_init(btree_map *m, vv_budget *budget)
{
    *m = (btree_map){.budget = budget};
}
/** Drops the reference; the map is as after init. Takes no lock. */
void btree_map_fini(btree_map *m);
/** out, which holds nothing, becomes a snapshot of m: changes to either do not show in the other.
 */
void btree_map_share(const btree_map *m, btree_map *out);

btree_place btree_map_get(const btree_map *m, uint32_t id);
/** place.at BTREE_NOWHERE removes. VV_NO_MEMORY: the map is as it was. */
VV_MUST_CHECK vv_status btree_map_set(btree_map *m, uint32_t id, btree_place place, vv_error *err);

/**
 * Call each(ctx, id, place) for every id whose place in now is another than in old, ascending
 * (BTREE_NOWHERE: removed). Shared nodes are skipped. old NULL: for every page of now. Stops at and
 * returns the first status that is not VV_OK.
 */
vv_status btree_map_diff(const btree_map *old, const btree_map *now,
                         vv_status (*each)(void *ctx, uint32_t id, btree_place place), void *ctx);

#endif
