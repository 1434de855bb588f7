/*
 * lsm_prefill.c - the blocks a writer has just made, kept for the cache.
 *
 * A flushed memtable was in memory a moment ago, and a compaction's inputs may have been in the
 * cache: without this the first reads of every new run would go to the device. Blocks are kept only
 * while the cache has room that nobody uses, so they never push out what is read.
 *
 * A large value is a block of its own, which a compaction writes as it was but for its sum. Such a
 * block needs no second frame: the input's becomes that of the new run when readers find the new
 * run and no longer the input. Nothing is pinned until then; what was evicted meanwhile is read
 * again.
 */
#include "base/alloc.h"
#include "base/epoch.h"
#include "base/util.h"
#include "lsm/lsm_run.h"

#define SUM_SIZE                                                                                   \
    8u /* of a block: names its run and number, and nobody looks at it in the cache                \
        */

static lsm_prefill_block *place_of(lsm_prefill *p, uint32_t block)
{
    if (block >= p->cap) {
        uint32_t cap = block < 64 ? 64 : block * 2;
        lsm_prefill_block *blocks = vv_realloc(p->blocks, cap * sizeof *blocks);
        if (blocks == NULL)
            return NULL;
        p->blocks = blocks;
        p->cap = cap;
    }
    while (p->count <= block)
        p->blocks[p->count++] = (lsm_prefill_block){0};
    return &p->blocks[block];
}

void lsm_prefill_add(lsm_prefill *p, pgc_cache *cache, uint32_t block, vv_slice raw)
{
    if (p->is_over)
        return;
    lsm_prefill_block *at = place_of(p, block);
    if (at == NULL)
        return;
    pgc_frame *frame = NULL;
    /* Once the cache is full the rest of the run stays out of it. */
    p->is_over =
        !pgc_has_room(cache, raw.len) || pgc_frame_create(cache, raw.len, &frame, NULL) != VV_OK;
    if (p->is_over)
        return;
    memcpy(pgc_data(frame), raw.data, raw.len);
    at->frame = frame;
}

bool lsm_prefill_borrow(lsm_prefill *p, uint32_t block, vv_slice raw, pgc_file *from,
                        uint32_t from_block)
{
    vv_epoch_enter();
    pgc_frame *frame = atomic_load_explicit(&from->ref[from_block], memory_order_acquire);
    bool same = frame != NULL && frame->len == raw.len &&
                memcmp(pgc_data(frame) + SUM_SIZE, raw.data + SUM_SIZE, raw.len - SUM_SIZE) == 0;
    vv_epoch_exit();
    lsm_prefill_block *at = same ? place_of(p, block) : NULL;
    if (at == NULL)
        return false;
    at->from = from;
    at->from_block = from_block;
    return true;
}

void lsm_prefill_publish(lsm_prefill *p, lsm_run *run)
{
    for (uint32_t i = 0; i < p->count && i < run->block_count; i++) {
        lsm_prefill_block *at = &p->blocks[i];
        if (at->frame == NULL)
            continue;
        pgc_publish(run->pages, i, at->frame);
        pgc_unpin(at->frame);
        at->frame = NULL;
    }
}

void lsm_prefill_take_over(lsm_prefill *p, lsm_run *run)
{
    for (uint32_t i = 0; i < p->count && i < run->block_count; i++)
        if (p->blocks[i].from != NULL)
            pgc_move(p->blocks[i].from, p->blocks[i].from_block, run->pages, i);
}

void lsm_prefill_fini(lsm_prefill *p)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (p->blocks[i].frame != NULL)
            pgc_unpin(p->blocks[i].frame);
    vv_free(p->blocks);
    *p = (lsm_prefill){0};
}
