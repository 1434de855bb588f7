/*
 * btree_fold.c - merges in a flush: pages hold values, so a chain of operands ends here.
 *
 *   newest   merge    a reader sees it: folded down to the next value, which is the put below
 *            merge    nobody sees it: its steps are in the one above, and it is let go
 *            merge    a pin sees it: folded down to the tree's value
 *   oldest   put      in the tree, or none
 *
 * From the oldest to the newest, so that each chain ends at the value that was worked out before:
 * the work is that of one chain, however many readers look into it.
 *
 * A value that has expired may go only when no merge that is not in the tree yet was committed
 * before it expired: that merge still builds on it. Merges still to come are committed after the
 * time of the floor (engine.h), and so find it expired.
 */
#include "base/error.h"
#include "base/point.h"
#include "btree/btree_job_int.h"

/* A chain that nobody looks into for so long becomes a value on the way: it has to fit in memory.
 */
#define CHAIN_MAX ENGINE_VALUE_MAX
#define STEP_BYTES 64u

/* The earliest commit time of a merge in a memtable as they are now; INT64_MAX: none. */
static int64_t first_merge_time(btree_engine *e)
{
    int64_t first = INT64_MAX;
    btree_view *view = btree_view_acquire(e);
    for (uint32_t i = 0; i < view->mem_count; i++) {
        int64_t t = engine_memtable_merge_time(view->mem[i]);
        first = t < first ? t : first;
    }
    btree_view_release(e, view);
    return first;
}

vv_status btree_job_enter_table(btree_job *job, uint32_t table, vv_error *err)
{
    if (job->readers.has_table && job->readers.table == table)
        return VV_OK;
    vv_status st = engine_readers_enter(&job->readers, table, err);
    /* After the floor was asked: what is committed from now on is later than its time. */
    job->merge_time = first_merge_time(job->e);
    return st;
}

/* The next older version, its value whole. */
static vv_status push(btree_job *job, const btree_candidate *c, vv_error *err)
{
    if (!c->in_tree || (c->flags & BTREE_VALUE_APART) == 0)
        return engine_fold_push(&job->fold, &c->item, err);
    const btree_found found = {.value = c->item.value,
                               .version = c->item.version,
                               .expires_ns = c->item.expires_ns,
                               .flags = c->flags};
    engine_item whole = c->item;
    pgc_frame *frame = NULL;
    vv_status st = btree_value_load(job->view->tree, &found, &frame, &whole.value, err);
    if (st != VV_OK)
        return st;
    st = engine_fold_push(&job->fold, &whole, err);
    pgc_unpin(frame);
    return st;
}

/* The candidate, a merge, becomes the put it comes to. */
static vv_status fold_from(btree_job *job, uint32_t i, vv_error *err)
{
    engine_item *item = &job->candidates[i].item;
    int64_t cover =
        job->cover == NULL ? -1 : engine_rangedels_cover(job->cover, item->key, item->version);
    vv_status st = engine_fold_begin(&job->fold, item, err);
    for (uint32_t j = i + 1; st == VV_OK && j < job->candidate_count && !job->fold.is_done; j++) {
        if (job->candidates[j].item.version < cover)
            break; /* what lies beneath is deleted */
        if (!VV_BUG(48))
            st = push(job, &job->candidates[j], err);
    }
    vv_buf_reset(&job->folded);
    if (st == VV_OK)
        st = engine_fold_value(&job->fold, &job->folded, err);
    if (st != VV_OK)
        return st;
    item->value = vv_arena_dup(&job->fold_values, vv_buf_slice(&job->folded));
    item->kind = ENGINE_PUT;
    return item->value.data != NULL ? VV_OK
                                    : vv_fail(err, VV_NO_MEMORY, "merge: no memory for a value");
}

/* A version that its own entry's merge stood on: both are of a memtable, nothing has to be freed.
 */
static void drop_same_versions(btree_job *job)
{
    btree_candidate *all = job->candidates;
    uint32_t kept = 1;
    for (uint32_t i = 1; i < job->candidate_count; i++)
        if (all[i].item.version != all[kept - 1].item.version)
            all[kept++] = all[i];
    job->candidate_count = kept;
}

vv_status btree_fold_key(btree_job *job, vv_error *err)
{
    const btree_candidate *all = job->candidates;
    vv_status st = VV_OK;
    size_t chain = 0; /* bytes of operands since the last value, about */
    vv_arena_reset(&job->fold_values);
    for (uint32_t i = job->candidate_count; st == VV_OK && i-- > 0;) {
        const engine_item *item = &all[i].item;
        if (item->kind != ENGINE_MERGE)
            continue;
        int64_t newer = i == 0 ? -1 : all[i - 1].item.version;
        chain += item->value.len + STEP_BYTES;
        if (chain >= CHAIN_MAX ||
            (newer != item->version && btree_job_is_needed(job, item->key, item->version, newer))) {
            st = fold_from(job, i, err);
            chain = 0;
        }
    }
    drop_same_versions(job);
    return st;
}
