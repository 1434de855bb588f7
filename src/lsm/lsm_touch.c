/*
 * lsm_touch.c - did anything write to a key range since a version? The resolver's question when the
 * memtables alone cannot answer it.
 *
 * Memtables and runs with no version above `since` are left alone. In a run that has some, the keys
 * of the range are walked: what the transaction read once is read once more at worst. A pin at
 * `since` keeps every deletion above it from being merged away, so nothing that was written can
 * have vanished.
 */
#include "base/error.h"
#include "base/util.h"
#include "lsm/lsm_int.h"

typedef struct question {
    vv_slice lower;
    vv_slice upper;
    int64_t since;
} question;

static vv_slice later(vv_slice a, vv_slice b)
{
    return vv_slice_cmp(a, b) < 0 ? b : a;
}

static vv_slice earlier(vv_slice a, vv_slice b)
{
    return vv_slice_cmp(a, b) < 0 ? a : b;
}

static vv_status ask_memtables(const lsm_view *view, const question *q, engine_touch *out,
                               vv_error *err)
{
    vv_status st = VV_NOT_FOUND;
    for (uint32_t i = 0; st == VV_NOT_FOUND && i < view->mem_count; i++)
        if (i == 0 || engine_memtable_max_version(view->mem[i]) > q->since)
            st = engine_memtable_touched(view->mem[i], q->lower, q->upper, q->since, out, err);
    return st;
}

/* Runs of a level from the first that overlaps; the source is made for the first that is new. */
static vv_status ask_level(lsm_level *level, const question *q, engine_touch *out, vv_error *err)
{
    if (engine_touch_ranges(level->rangedels, q->lower, q->upper, q->since, out))
        return VV_OK;
    engine_source *src = NULL;
    vv_status st = VV_NOT_FOUND;
    for (uint32_t i = lsm_level_first(level, q->lower); st == VV_NOT_FOUND && i < level->run_count;
         i++) {
        const lsm_meta *meta = &level->run[i]->meta;
        if (vv_slice_cmp(meta->lower, q->upper) >= 0)
            break;
        if (meta->version_max <= q->since)
            continue;
        vv_status made = src == NULL ? lsm_source_create(level, false, &src, err) : VV_OK;
        st = made != VV_OK
                 ? made
                 : engine_touch_source(src, later(q->lower, meta->lower),
                                       earlier(q->upper, meta->upper), q->since, out, err);
    }
    engine_source_close(src);
    return st;
}

vv_status lsm_touched(engine *base, vv_slice lower, vv_slice upper, int64_t since,
                      engine_touch *out, vv_error *err)
{
    lsm_engine *e = lsm_engine_of(base);
    const question q = {.lower = lower, .upper = upper, .since = since};
    lsm_view *view = lsm_view_acquire(e);
    vv_status st = ask_memtables(view, &q, out, err);
    for (uint32_t i = 0; st == VV_NOT_FOUND && i < view->level_count; i++)
        if (lsm_level_overlaps(view->level[i], lower, upper))
            st = ask_level(view->level[i], &q, out, err);
    lsm_view_release(e, view);
    return st;
}
