/*
 * lsm_walk.h - the way of one key through a view, which can stop where a block is missing.
 *
 *     start --> memtables --> level by level --> found, or absent
 *                                  |   ^
 *                 a block is missing   lsm_walk_on: it is in the cache now
 *                                      lsm_walk_with: here it is
 *
 * lsm_get reads the block on the spot; who has many keys, or must not wait, walks so.
 */
#ifndef VARVE_LSM_LSM_WALK_H
#define VARVE_LSM_LSM_WALK_H

#include "lsm/lsm_int.h"
#include "lsm/lsm_value.h"

/* What the keys of one call share. */
typedef struct lsm_walker {
    const engine_read *read;
    lsm_view *view; /* alive while it is walked: by the section, or by a reference */
    uint64_t hits;  /* blocks found in the cache */
} lsm_walker;

typedef struct lsm_walk {
    vv_slice key;
    uint64_t hash;
    int64_t cover;    /* newest range deletion at or below the snapshot over the key so far */
    uint32_t level;   /* of the view: the next to ask, or the one whose block is missing */
    uint32_t block;   /* the missing block */
    lsm_run *run;     /* and its run */
    engine_kind kind; /* of what was found: not ENGINE_PUT, then it is to be resolved */
    uint8_t ref[LSM_VALUE_REF]; /* of ENGINE_APART */
} lsm_walk;

typedef enum lsm_walk_end {
    LSM_WALK_FOUND,  /* *out is filled; a value of ENGINE_PUT is pinned */
    LSM_WALK_ABSENT, /* nothing, or it is deleted or expired */
    LSM_WALK_MISSES, /* run and block: go on with lsm_walk_on or lsm_walk_with */
} lsm_walk_end;

static inline lsm_walk lsm_walk_of(vv_slice key)
{
    return (lsm_walk){.key = key, .cover = -1, .kind = ENGINE_PUT};
}

/** From the newest memtable on. Each of the three is called in an epoch section. */
lsm_walk_end lsm_walk_start(lsm_walker *at, lsm_walk *w, engine_value *out);
/** Once more from the level that lacked a block. */
lsm_walk_end lsm_walk_on(lsm_walker *at, lsm_walk *w, engine_value *out);
/** With the missing block, which the caller has pinned. */
lsm_walk_end lsm_walk_with(lsm_walker *at, lsm_walk *w, pgc_frame *frame, engine_value *out);

/** The block that a walk lacks has come into the cache meanwhile. In a section. */
static inline bool lsm_walk_has_block(const lsm_walk *w)
{
    return pgc_lookup(w->run->pages, w->block) != NULL;
}

#endif
