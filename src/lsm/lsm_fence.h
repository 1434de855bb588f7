/*
 * lsm_fence.h - from a key to the block of a run, or to the run of a level: a small read-only
 * B+tree of separators in memory.
 *
 * A node has 64 heads of 8 bytes behind a prefix of its own, so keys with long shared prefixes cost
 * no more than random ones. Whole separators are read only when heads tie.
 *
 * Separator i is at or before everything in part i and after everything in part i - 1, in the order
 * key ascending, version descending. Where one key's versions cross a border it carries a version.
 */
#ifndef VARVE_LSM_LSM_FENCE_H
#define VARVE_LSM_LSM_FENCE_H

#include <stdbool.h>

#include "base/buf.h"
#include "varve/slice.h"
#include "varve/status.h"

#define LSM_FENCE_FANOUT 64u
#define LSM_FENCE_LEVELS 6u /* 64^6 parts are more than 2^32 */

typedef struct lsm_fence_node lsm_fence_node;

typedef struct lsm_fence {
    uint32_t count;
    uint32_t level_count;
    lsm_fence_node *level[LSM_FENCE_LEVELS]; /* level[0]: over the separators themselves */
    uint32_t *offset;                        /* [count + 1] into bytes */
    uint8_t *bytes;                          /* the separators, back to back */
    int64_t *version;                        /* [count], or NULL when no separator has one */
    size_t memory;                           /* bytes held, for the budget */
} lsm_fence;

/** The separators while they are collected; a zeroed one is empty, vv_buf_init'ed by init. */
typedef struct lsm_fence_builder {
    vv_buf bytes;    /* back to back */
    vv_buf offsets;  /* u32 each, the start of every separator */
    vv_buf versions; /* i64 each; INT64_MAX: none */
    uint32_t count;
    bool has_versions;
} lsm_fence_builder;

void lsm_fence_builder_init(lsm_fence_builder *b);
void lsm_fence_builder_fini(lsm_fence_builder *b);
/** Ascending. version INT64_MAX for a border between keys. Failure latches: see build. */
void lsm_fence_builder_add(lsm_fence_builder *b, vv_slice key, int64_t version);
/** Make the tree (copies). VV_NO_MEMORY. */
VV_MUST_CHECK vv_status lsm_fence_build(const lsm_fence_builder *b, lsm_fence *out, vv_error *err);
/** Accepts a zeroed fence. */
void lsm_fence_fini(lsm_fence *f);

/** The last part whose separator is at or before (key, version); 0 when there is none. */
uint32_t lsm_fence_find(const lsm_fence *f, vv_slice key, int64_t version);

static inline vv_slice lsm_fence_separator(const lsm_fence *f, uint32_t i)
{
    return vv_slice_of(f->bytes + f->offset[i], f->offset[i + 1] - f->offset[i]);
}

/** The shortest key s with last < s <= first, as a length of first's prefix. last < first. */
size_t lsm_fence_shortest(vv_slice last, vv_slice first);

#endif
