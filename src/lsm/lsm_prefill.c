/*
 * lsm_prefill.c - the blocks a writer has just made, kept for the cache.
 *
 * A flushed memtable was in memory a moment ago, and a compaction's inputs may have been in the
 * cache: without this the first reads of every new run would go to the device. Blocks are kept only
 * while the cache has room that nobody uses, so they never push out what is read.
 */
#include "base/alloc.h"
#include "base/util.h"
#include "lsm/lsm_run.h"

void lsm_prefill_add(lsm_prefill *p, pgc_cache *cache, uint32_t block, vv_slice raw)
{
    if (p->is_over)
        return;
    if (block >= p->cap) {
        uint32_t cap = block < 64 ? 64 : block * 2;
        pgc_frame **frames = vv_realloc(p->frames, cap * sizeof(pgc_frame *));
        if (frames == NULL)
            return;
        p->frames = frames;
        p->cap = cap;
    }
    while (p->count <= block)
        p->frames[p->count++] = NULL;
    pgc_frame *frame = NULL;
    /* Once the cache is full the rest of the run stays out of it. */
    p->is_over =
        !pgc_has_room(cache, raw.len) || pgc_frame_create(cache, raw.len, &frame, NULL) != VV_OK;
    if (p->is_over)
        return;
    memcpy(pgc_data(frame), raw.data, raw.len);
    p->frames[block] = frame;
}

void lsm_prefill_publish(lsm_prefill *p, lsm_run *run)
{
    for (uint32_t i = 0; i < p->count && i < run->block_count; i++)
        if (p->frames[i] != NULL)
            pgc_publish(run->pages, i, p->frames[i]);
    lsm_prefill_fini(p);
}

void lsm_prefill_fini(lsm_prefill *p)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (p->frames[i] != NULL)
            pgc_unpin(p->frames[i]);
    vv_free(p->frames);
    *p = (lsm_prefill){0};
}
