/*
 * lsm_view.c - levels and views: built once, shared, released by the last reader.
 */
#include "lsm/lsm_view.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"

static void sort_runs(lsm_run **runs, uint32_t count)
{
    for (uint32_t gap = count / 2; gap > 0; gap /= 2) /* Shell: nearly sorted most of the time */
        for (uint32_t i = gap; i < count; i++) {
            lsm_run *run = runs[i];
            uint32_t j = i;
            for (; j >= gap && vv_slice_cmp(runs[j - gap]->meta.lower, run->meta.lower) > 0;
                 j -= gap)
                runs[j] = runs[j - gap];
            runs[j] = run;
        }
}

static vv_status build_fence(lsm_level *level, vv_error *err)
{
    if (level->run_count < 2)
        return VV_OK;
    lsm_fence_builder b;
    lsm_fence_builder_init(&b);
    for (uint32_t i = 0; i < level->run_count; i++)
        lsm_fence_builder_add(&b, level->run[i]->meta.lower, INT64_MAX);
    vv_status st = lsm_fence_build(&b, &level->fence, err);
    lsm_fence_builder_fini(&b);
    return st;
}

static vv_status gather_rangedels(lsm_level *level, vv_error *err)
{
    size_t total = 0;
    uint32_t holders = 0;
    lsm_run *holder = NULL;
    for (uint32_t i = 0; i < level->run_count; i++) {
        size_t n = engine_rangedels_count(level->run[i]->rangedels);
        total += n;
        if (n > 0) {
            holders++;
            holder = level->run[i];
        }
    }
    if (holders == 0)
        return VV_OK;
    if (holders == 1) {
        engine_rangedels_ref(holder->rangedels);
        level->rangedels = holder->rangedels;
        return VV_OK;
    }
    engine_range *all = vv_calloc(total, sizeof *all);
    if (all == NULL)
        return vv_fail(err, VV_NO_MEMORY, "level %u: no memory for %zu ranges", level->number,
                       total);
    size_t at = 0;
    for (uint32_t i = 0; i < level->run_count; i++) {
        const engine_rangedels *set = level->run[i]->rangedels;
        for (size_t j = 0; j < engine_rangedels_count(set); j++)
            all[at++] = *engine_rangedels_at(set, j);
    }
    vv_status st = engine_rangedels_build(all, total, &level->rangedels, err);
    vv_free(all);
    return st;
}

vv_status lsm_level_create(uint32_t number, uint64_t group, lsm_run *const *runs, uint32_t count,
                           lsm_level **out, vv_error *err)
{
    assert(count > 0);
    lsm_level *level = vv_calloc(1, sizeof *level + count * sizeof(lsm_run *));
    if (level == NULL)
        return vv_fail(err, VV_NO_MEMORY, "level %u: no memory for %u runs", number, count);
    atomic_init(&level->refs, 1);
    level->number = number;
    level->group = group;
    level->run_count = count;
    for (uint32_t i = 0; i < count; i++) {
        level->run[i] = runs[i];
        lsm_run_ref(runs[i]);
        level->bytes += runs[i]->meta.size;
    }
    sort_runs(level->run, count);
    vv_status st = VV_OK;
    for (uint32_t i = 1; st == VV_OK && i < count; i++)
        if (vv_slice_cmp(level->run[i - 1]->meta.upper, level->run[i]->meta.lower) > 0)
            st = vv_fail(err, VV_CORRUPT, "level %u: runs %" PRIu64 " and %" PRIu64 " overlap",
                         number, level->run[i - 1]->meta.id, level->run[i]->meta.id);
    if (st == VV_OK)
        st = build_fence(level, err);
    if (st == VV_OK)
        st = gather_rangedels(level, err);
    if (st != VV_OK) {
        lsm_level_unref(level);
        return st;
    }
    *out = level;
    return VV_OK;
}

void lsm_level_ref(lsm_level *level)
{
    atomic_fetch_add_explicit(&level->refs, 1, memory_order_relaxed);
}

void lsm_level_unref(lsm_level *level)
{
    if (level == NULL || atomic_fetch_sub_explicit(&level->refs, 1, memory_order_acq_rel) > 1)
        return;
    for (uint32_t i = 0; i < level->run_count; i++)
        lsm_run_unref(level->run[i]);
    lsm_fence_fini(&level->fence);
    engine_rangedels_unref(level->rangedels);
    vv_free(level);
}

lsm_run *lsm_level_find(const lsm_level *level, vv_slice key)
{
    uint32_t i = level->run_count == 1 ? 0 : lsm_fence_find(&level->fence, key, INT64_MAX);
    lsm_run *run = level->run[i];
    bool inside = vv_slice_cmp(run->meta.lower, key) <= 0 && vv_slice_cmp(key, run->meta.upper) < 0;
    return inside ? run : NULL;
}

uint32_t lsm_level_first(const lsm_level *level, vv_slice key)
{
    uint32_t i = level->run_count == 1 ? 0 : lsm_fence_find(&level->fence, key, INT64_MAX);
    return vv_slice_cmp(key, level->run[i]->meta.upper) < 0 ? i : i + 1;
}

bool lsm_level_overlaps(const lsm_level *level, vv_slice lower, vv_slice upper)
{
    uint32_t i = lsm_level_first(level, lower);
    return i < level->run_count && lsm_meta_overlaps(&level->run[i]->meta, lower, upper);
}

vv_status lsm_view_create(uint32_t mem_count, uint32_t level_count, lsm_view **out, vv_error *err)
{
    size_t size = sizeof(lsm_view) + ((size_t)mem_count + level_count) * sizeof(void *);
    lsm_view *view = vv_calloc(1, size);
    if (view == NULL)
        return vv_fail(err, VV_NO_MEMORY, "view: no memory for %u levels", level_count);
    atomic_init(&view->refs, 1);
    view->mem = (engine_memtable **)(void *)(view + 1);
    view->level = (lsm_level **)(void *)(view->mem + mem_count);
    view->mem_count = mem_count;
    view->level_count = level_count;
    *out = view;
    return VV_OK;
}

void lsm_view_unref(void *ptr)
{
    lsm_view *view = ptr;
    if (view == NULL || atomic_fetch_sub_explicit(&view->refs, 1, memory_order_acq_rel) > 1)
        return;
    for (uint32_t i = 0; i < view->mem_count; i++)
        if (view->mem[i] != NULL)
            engine_memtable_unref(view->mem[i]);
    for (uint32_t i = 0; i < view->level_count; i++)
        lsm_level_unref(view->level[i]);
    vv_free(view);
}
