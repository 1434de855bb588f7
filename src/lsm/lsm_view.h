/*
 * lsm_view.h - what a reader sees: the memtables and the levels of runs at one moment.
 *
 *     view -> mem[0] active, mem[1..] frozen, newest first
 *          -> level[0..]: sorted sets of runs, newest first: the flushed sets of level 0,
 *                         then levels 1..7 that hold something
 *
 * For each key everything in an earlier part is newer than everything in a later one. Views and
 * levels never change once published and are shared by reference count; a change makes a new view.
 * A reader finds the current view inside an epoch section and takes a reference to keep it.
 */
#ifndef VARVE_LSM_LSM_VIEW_H
#define VARVE_LSM_LSM_VIEW_H

#include "engine/memtable.h"
#include "lsm/lsm_run.h"

/* Disjoint runs in key order. */
typedef struct lsm_level {
    _Atomic uint32_t refs;
    uint32_t number; /* 0..7 */
    uint64_t group;  /* of level 0: the flush */
    uint64_t bytes;  /* of the files */
    uint32_t run_count;
    lsm_fence fence;             /* over the lower bounds; empty with one run */
    engine_rangedels *rangedels; /* of all its runs; NULL: none */
    lsm_run *run[];
} lsm_level;

/** From runs in any order, each of which gets a reference more. VV_NO_MEMORY; VV_CORRUPT when they
 * overlap. Gives *out with one reference. */
VV_MUST_CHECK vv_status lsm_level_create(uint32_t number, uint64_t group, lsm_run *const *runs,
                                         uint32_t count, lsm_level **out, vv_error *err);
void lsm_level_ref(lsm_level *level);
void lsm_level_unref(lsm_level *level); /* accepts NULL */

/** The run whose bounds hold key, or NULL. */
lsm_run *lsm_level_find(const lsm_level *level, vv_slice key);
/** Index of the first run whose upper bound is above key; run_count when there is none. */
uint32_t lsm_level_first(const lsm_level *level, vv_slice key);
bool lsm_level_overlaps(const lsm_level *level, vv_slice lower, vv_slice upper);

typedef struct lsm_view {
    _Atomic uint32_t refs;
    uint32_t mem_count;
    uint32_t level_count;
    uint32_t level0_count; /* of them, the flushed sets */
    engine_memtable **mem;
    lsm_level **level;
} lsm_view;

/** Room for so many parts, all empty. VV_NO_MEMORY. Gives *out with one reference. */
VV_MUST_CHECK vv_status lsm_view_create(uint32_t mem_count, uint32_t level_count, lsm_view **out,
                                        vv_error *err);
static inline void lsm_view_ref(lsm_view *view)
{
    atomic_fetch_add_explicit(&view->refs, 1, memory_order_relaxed);
}
/** The last one releases the parts. Accepts NULL. Takes no lock; the form fits vv_epoch_retire. */
void lsm_view_unref(void *view);

/* ---- sources (lsm_source.c) ---- */

#define LSM_SCAN_SIZE (512 * VV_KIB)

/** An ordered source over a level, which must outlive it. scan_size: read the files in pieces of so
 * many bytes past the cache (compaction, check); 0: blocks through the cache. Takes nothing. */
VV_MUST_CHECK vv_status lsm_source_create(lsm_level *level, size_t scan_size, engine_source **out,
                                          vv_error *err);
/** Look at no run of the level that has nothing in [lower, upper): what a step behind the bounds
 * would find there nobody asks for, and it may be far away. Before the first seek. */
void lsm_source_bound(engine_source *src, vv_slice lower, vv_slice upper);
/** True when src is such a source and its item is alone in its block, a large value: which one. */
bool lsm_source_block(engine_source *src, pgc_file **file, uint32_t *block);

#endif
