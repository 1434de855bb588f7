/*
 * merge.h - every version of every key of several sources in one order: what a flush reads. Unlike
 * a cursor it hides nothing.
 */
#ifndef VARVE_ENGINE_MERGE_H
#define VARVE_ENGINE_MERGE_H

#include "engine/source.h"

typedef struct engine_merge {
    engine_source **heap; /* the smallest first */
    uint32_t *rank;       /* newest source first, moves with the heap */
    uint32_t count;       /* sources that are not at their end */
    uint32_t total;
} engine_merge;

/** Over sources, newest first, each positioned by the call at its first item. Takes them, also on
 * failure. */
VV_MUST_CHECK vv_status engine_merge_init(engine_merge *m, engine_source **sources, uint32_t count,
                                          vv_error *err);
/** Accepts a zeroed one. */
void engine_merge_fini(engine_merge *m);
/** The smallest item by (key, version descending), or NULL at the end. */
static inline const engine_item *engine_merge_item(const engine_merge *m)
{
    return m->count == 0 ? NULL : &m->heap[0]->item;
}
VV_MUST_CHECK vv_status engine_merge_next(engine_merge *m, vv_error *err);

#endif
