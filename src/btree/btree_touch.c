/*
 * btree_touch.c - did anything write to a key range since a version? The resolver's question when
 * the memtables alone cannot answer it.
 *
 *   the newest write to a key is     its trace
 *     a put, a merge                 the entry of the main tree, with its version
 *     a deletion, or one of a range  a note in the history: the flush writes it while a reader is
 *     that had the key, or a put     older than the write, and a sweep drops it when none is
 *     that has expired
 *     a deletion of a range without  one of the view's cuts: in memory, for pins do not outlive the
 *     the key                        process
 *
 * So the answer is exact for whoever held a pin at `since` all the time. For others something may
 * be forgotten: below known_from "nothing" becomes VV_UNSUPPORTED. That is where the tree stood
 * when it was opened, or the newest range deletion that was let go: because no reader was older, or
 * because there were more than CUTS_MAX.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "btree/btree_job_int.h"

#define CUTS_MAX 65536u

/* ---- asking ---- */

static vv_status ask_tree(btree_tree *tree, bool history, vv_slice lower, vv_slice upper,
                          int64_t since, engine_touch *out, vv_error *err)
{
    engine_source *src = NULL;
    vv_status st = btree_source_create(tree, history, false, &src, err);
    if (st != VV_OK)
        return st;
    btree_source_leave_values(src);
    st = engine_touch_source(src, lower, upper, since, out, err);
    engine_source_close(src);
    return st;
}

static vv_status ask_flushed(const btree_view *view, vv_slice lower, vv_slice upper, int64_t since,
                             engine_touch *out, vv_error *err)
{
    btree_tree *tree = view->tree;
    if (engine_touch_ranges(view->cuts.set, lower, upper, since, out))
        return VV_OK;
    vv_status st = ask_tree(tree, false, lower, upper, since, out, err);
    if (st == VV_NOT_FOUND && tree->history != NULL && since < tree->state.history_version)
        st = ask_tree(tree, true, lower, upper, since, out, err);
    if (st == VV_NOT_FOUND && since < view->cuts.known_from)
        return VV_UNSUPPORTED;
    return st;
}

vv_status btree_touched(engine *base, vv_slice lower, vv_slice upper, int64_t since,
                        engine_touch *out, vv_error *err)
{
    btree_engine *e = btree_engine_of(base);
    btree_view *view = btree_view_acquire(e);
    vv_status st = VV_NOT_FOUND;
    for (uint32_t i = 0; st == VV_NOT_FOUND && i < view->mem_count; i++)
        if (i == 0 || engine_memtable_max_version(view->mem[i]) > since)
            st = engine_memtable_touched(view->mem[i], lower, upper, since, out, err);
    if (st == VV_NOT_FOUND && since < view->tree->state.checkpoint)
        st = ask_flushed(view, lower, upper, since, out, err);
    btree_view_release(e, view);
    return st;
}

/* ---- what a flush leaves behind ---- */

/* Those that a reader is older than; of the others only that they are forgotten. */
static vv_status keep_cuts(btree_job *job, const engine_rangedels *set, engine_range *kept,
                           size_t *count, vv_error *err)
{
    for (size_t i = 0; i < engine_rangedels_count(set); i++) {
        const engine_range *r = engine_rangedels_at(set, i);
        vv_status st = engine_readers_enter(&job->readers, engine_key_table(r->start), err);
        if (st != VV_OK)
            return st;
        if (!engine_readers_are_above(&job->readers, r->version))
            kept[(*count)++] = *r;
        else if (r->version > job->cuts.known_from)
            job->cuts.known_from = r->version;
    }
    return VV_OK;
}

vv_status btree_cuts_make(btree_job *job, vv_error *err)
{
    const btree_cuts *old = &job->view->cuts;
    const engine_rangedels *flushed = job->mem_count > 0 ? job->cover : NULL;
    size_t count = engine_rangedels_count(old->set) + engine_rangedels_count(flushed);
    job->cuts = (btree_cuts){.known_from = old->known_from};
    job->has_cuts = count == 0;
    if (job->has_cuts)
        return VV_OK;
    engine_range *kept = vv_calloc(count, sizeof *kept);
    if (kept == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %zu range deletions", count);
    count = 0;
    job->readers.has_table = false; /* the pins of now */
    vv_status st = keep_cuts(job, old->set, kept, &count, err);
    if (st == VV_OK)
        st = keep_cuts(job, flushed, kept, &count, err);
    if (count > CUTS_MAX) {
        count = 0;
        job->cuts.known_from = job->writer.next.checkpoint;
    }
    if (st == VV_OK && !VV_BUG(49))
        st = engine_rangedels_build(kept, count, &job->cuts.set, err);
    vv_free(kept);
    job->has_cuts = st == VV_OK;
    return st;
}
