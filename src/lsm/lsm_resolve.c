/*
 * lsm_resolve.c - what a key comes to whose newest version is a merge.
 *
 * The parts of the view are asked from the newest to the oldest, as a point read does, but through
 * sources: the chain of operands goes on from version to version and from part to part, until a
 * put, a deletion or a range deletion ends it. Flush and compaction shorten chains, so this is long
 * only for what was merged lately.
 */
#include "base/epoch.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/util.h"
#include "engine/chain.h"
#include "lsm/lsm_filter.h"
#include "lsm/lsm_int.h"
#include "lsm/lsm_value.h"

static vv_status take_memtable(engine_chain *c, engine_memtable *mem, vv_error *err)
{
    engine_source *src = NULL;
    engine_rangedels *set = engine_memtable_rangedels(mem);
    engine_chain_cover(c, set);
    engine_rangedels_unref(set);
    engine_item item;
    if (engine_memtable_get(mem, c->key, c->read->version, &item) != VV_OK)
        return VV_OK; /* a source would only find that out later */
    vv_status st = engine_memtable_source(mem, &src, err);
    return st == VV_OK ? engine_chain_take(c, src, err) : st;
}

static bool is_cached(const engine_chain *c, const lsm_run *run)
{
    uint32_t block = lsm_fence_find(&run->fence, c->key, c->read->version);
    vv_epoch_enter();
    bool there = pgc_lookup(run->pages, block) != NULL;
    vv_epoch_exit();
    return there;
}

static vv_status take_level(engine_chain *c, lsm_level *level, vv_error *err)
{
    lsm_run *run = lsm_level_find(level, c->key);
    if (run == NULL)
        return VV_OK;
    engine_chain_cover(c, run->rangedels);
    uint64_t hash = vv_hash64(c->key.data, c->key.len);
    if (run->filter == NULL ||
        !lsm_filter_test(lsm_filter_line(run->filter, run->filter_lines, hash), hash))
        return VV_OK;
    if (c->read->from_memory && !is_cached(c, run))
        return VV_BUSY;
    engine_source *src = NULL;
    vv_status st = lsm_source_create(level, 0, &src, err);
    return st == VV_OK ? engine_chain_take(c, src, err) : st;
}

static vv_status load_value(void *ctx, vv_slice reference, vv_buf *out, vv_error *err)
{
    return lsm_value_load(ctx, reference, out, err);
}

vv_status lsm_resolve(lsm_store *store, const lsm_view *view, vv_slice key, const engine_read *read,
                      vv_buf *out, int64_t *version, int64_t *expires_ns, vv_error *err)
{
    engine_chain c;
    vv_status st = VV_OK;
    engine_chain_init(&c, key, read);
    c.load = load_value;
    c.load_ctx = store;
    for (uint32_t i = 0; st == VV_OK && !c.ended && i < view->mem_count; i++)
        st = take_memtable(&c, view->mem[i], err);
    for (uint32_t i = 0; st == VV_OK && !c.ended && i < view->level_count; i++)
        st = take_level(&c, view->level[i], err);
    if (st == VV_OK)
        st = engine_chain_value(&c, out, version, expires_ns, err);
    engine_chain_fini(&c);
    return st;
}
