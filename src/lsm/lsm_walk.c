/*
 * lsm_walk.c - the way of one key through a view, from its newest part to its oldest.
 *
 * The first part that knows the key answers: a version at or below the snapshot, or a range
 * deletion that covers it, because everything in later parts is older.
 */
#include "lsm/lsm_walk.h"

#include "base/hash.h"
#include "base/util.h"
#include "engine/memstack.h"
#include "lsm/lsm_filter.h"

/* Takes a pin of the frame, or none of the memtable. */
static lsm_walk_end give(const lsm_walker *at, lsm_walk *w, const engine_item *item,
                         pgc_frame *frame, engine_memtable *holder, engine_value *out)
{
    if (!engine_item_is_live(item, w->cover, at->read))
        return LSM_WALK_ABSENT;
    *out = (engine_value){.version = item->version, .expires_ns = item->expires_ns};
    w->kind = item->kind;
    if (VV_UNLIKELY(item->kind != ENGINE_PUT)) { /* resolved outside of the section */
        if (item->kind == ENGINE_APART)
            memcpy(w->ref, item->value.data, LSM_VALUE_REF);
    } else if (holder != NULL) {
        lsm_value_of_memtable(item, holder, out);
    } else {
        pgc_pin(frame);
        out->data = item->value;
        out->pin = frame;
        out->unpin = pgc_unpin;
    }
    return LSM_WALK_FOUND;
}

lsm_walk_end lsm_walk_start(lsm_walker *at, lsm_walk *w, engine_value *out)
{
    engine_item item;
    engine_memtable *mem = engine_memstack_get(at->view->mem, at->view->mem_count, w->key,
                                               at->read->version, &item, &w->cover);
    if (mem != NULL)
        return give(at, w, &item, NULL, mem, out);
    if (w->cover >= 0)
        return LSM_WALK_ABSENT;
    w->hash = vv_hash64(w->key.data, w->key.len);
    return lsm_walk_on(at, w, out);
}

/* What a block that is in memory knows of the key. True: that ends the walk. */
static bool look_in_block(const lsm_walker *at, lsm_walk *w, pgc_frame *frame, engine_value *out,
                          lsm_walk_end *end)
{
    engine_item item;
    if (!lsm_block_get(pgc_data(frame), w->key, at->read->version, &item))
        return false;
    *end = give(at, w, &item, frame, NULL, out);
    return true;
}

/* What a level knows of the key. True: the walk ends or stops. */
static bool look_in_level(lsm_walker *at, lsm_walk *w, const lsm_level *level, engine_value *out,
                          lsm_walk_end *end)
{
    lsm_run *run = lsm_level_find(level, w->key);
    if (run == NULL)
        return false;
    engine_cover_note(&w->cover, run->rangedels, w->key, at->read->version);
    if (run->filter != NULL &&
        lsm_filter_test(lsm_filter_line(run->filter, run->filter_lines, w->hash), w->hash)) {
        w->run = run;
        w->block = lsm_fence_find(&run->fence, w->key, at->read->version);
        pgc_frame *frame = pgc_lookup(run->pages, w->block);
        if (frame == NULL) {
            *end = LSM_WALK_MISSES;
            return true;
        }
        at->hits++;
        if (look_in_block(at, w, frame, out, end))
            return true;
    }
    *end = LSM_WALK_ABSENT;
    return w->cover >= 0;
}

lsm_walk_end lsm_walk_on(lsm_walker *at, lsm_walk *w, engine_value *out)
{
    lsm_walk_end end = LSM_WALK_ABSENT;
    for (; w->level < at->view->level_count; w->level++)
        if (look_in_level(at, w, at->view->level[w->level], out, &end))
            return end;
    return LSM_WALK_ABSENT;
}

lsm_walk_end lsm_walk_with(lsm_walker *at, lsm_walk *w, pgc_frame *frame, engine_value *out)
{
    lsm_walk_end end;
    if (look_in_block(at, w, frame, out, &end))
        return end;
    if (w->cover >= 0)
        return LSM_WALK_ABSENT;
    w->level++;
    return lsm_walk_on(at, w, out);
}
