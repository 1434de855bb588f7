/*
 * chain.h - what a key comes to whose newest version is a merge: its versions followed from part to
 * part, from the newest to the oldest, until one ends the chain.
 */
#ifndef VARVE_ENGINE_CHAIN_H
#define VARVE_ENGINE_CHAIN_H

#include "engine/cursor.h"
#include "engine/operand.h"

typedef struct engine_chain {
    vv_slice key;
    const engine_read *read;
    int64_t cover; /* newest range deletion at or below the snapshot over the key so far */
    bool begun;
    bool ended; /* older parts do not matter */
    engine_fold fold;
    /* The value of an ENGINE_APART item, appended to out; NULL where there are none. */
    vv_status (*load)(void *ctx, vv_slice reference, vv_buf *out, vv_error *err);
    void *load_ctx;
} engine_chain;

/** Borrows key and read. */
void engine_chain_init(engine_chain *c, vv_slice key, const engine_read *read);
void engine_chain_fini(engine_chain *c);
/** The range deletions of the next part, before its versions. set may be NULL. */
void engine_chain_cover(engine_chain *c, const engine_rangedels *set);
/** The next older version of the key. Not once ended. */
VV_MUST_CHECK vv_status engine_chain_push(engine_chain *c, const engine_item *item, vv_error *err);
/** All versions of the key in the next part. Takes src, also on failure. */
VV_MUST_CHECK vv_status engine_chain_take(engine_chain *c, engine_source *src, vv_error *err);
/** The value, appended to out. VV_NOT_FOUND when there was no merge to begin with. */
VV_MUST_CHECK vv_status engine_chain_value(engine_chain *c, vv_buf *out, int64_t *version,
                                           int64_t *expires_ns, vv_error *err);

#endif
