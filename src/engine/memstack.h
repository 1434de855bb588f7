/*
 * memstack.h - the memtables of an engine's view, newest first: what all of them say of a key, and
 * what was prepared into the newest.
 *
 * Looked at in an epoch section, or with references. A range deletion of a newer one hides all that
 * is older, so a look ends at the first memtable that has the key or covers it.
 */
#ifndef VARVE_ENGINE_MEMSTACK_H
#define VARVE_ENGINE_MEMSTACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/util.h"
#include "engine/engine.h"
#include "engine/memtable.h"
#include "engine/rangedel.h"

/* *cover: the version of the newest range deletion over the key so far; -1: none. */
static inline void engine_cover_note(int64_t *cover, const engine_rangedels *set, vv_slice key,
                                     int64_t snapshot)
{
    if (VV_LIKELY(set == NULL))
        return;
    int64_t v = engine_rangedels_cover(set, key, snapshot);
    *cover = v > *cover ? v : *cover;
}

/** The memtable that has the key at the snapshot, and its item; NULL when none has, or *cover
 * hides what is older. */
static inline engine_memtable *engine_memstack_get(engine_memtable *const *mem, uint32_t count,
                                                   vv_slice key, int64_t snapshot,
                                                   engine_item *item, int64_t *cover)
{
    for (uint32_t i = 0; i < count; i++) {
        engine_rangedels *set = engine_memtable_rangedels(mem[i]);
        engine_cover_note(cover, set, key, snapshot);
        engine_rangedels_unref(set);
        if (engine_memtable_get(mem[i], key, snapshot, item) == VV_OK)
            return mem[i];
        if (*cover >= 0)
            break; /* everything older is hidden */
    }
    return NULL;
}

/* What was prepared and is perhaps not applied yet. Under the engine's lock. */
typedef struct engine_prepared {
    size_t bytes;
    uint64_t ops;
    bool is_applied; /* an apply came since the last prepare */
} engine_prepared;

/** What was prepared before and is applied counts no more. Before each add. */
void engine_prepared_begin(engine_prepared *p);
/** Room for an entry in the newest memtable, which is not full. */
VV_MUST_CHECK vv_status engine_prepared_add(engine_prepared *p, engine_memtable *newest,
                                            size_t payload_len, uint32_t op_count, vv_error *err);
/** A memtable comes that is to be the newest: what is not applied yet will go into it. */
VV_MUST_CHECK vv_status engine_prepared_move(const engine_prepared *p, engine_memtable *next,
                                             vv_error *err);
/** Nothing that was prepared will come. */
void engine_prepared_cancel(engine_prepared *p);
/** VV_BUSY when as many memtables as there may be wait to be flushed. A store that is read only
 * never flushes, and takes as many as its log fills. */
VV_MUST_CHECK vv_status engine_memstack_may_grow(uint32_t count, const engine_options *opt,
                                                 vv_error *err);

#endif
