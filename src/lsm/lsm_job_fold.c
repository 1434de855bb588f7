/*
 * lsm_job_fold.c - merges in a flush or compaction: chains made shorter, or resolved.
 *
 *   newest ... oldest of one key, `needed` as for any version:
 *     merge            waits: the next older one may go into it
 *     older, needed    the waiting merge is written as it is, and this one looked at for itself
 *     older, else      folded into the waiting merge; a put or deletion resolves that to a put
 *     hidden by a range deletion, or nothing beneath the output: resolved without a base
 *
 * So of a chain that no snapshot looks into one operand is left, and at the bottom a value.
 *
 * A put that has expired may become a deletion only if no merge above it was committed before it
 * expired: that merge still builds on it. Merges still to come are committed after the time of the
 * floor (engine.h), and so find it expired.
 */
#include "base/error.h"
#include "base/point.h"
#include "base/util.h"
#include "lsm/lsm_job_int.h"

/* One operand does not grow past this; then what is older stays a version of its own. */
#define OPERAND_MAX ENGINE_VALUE_MAX

/* The earliest commit time of a merge in the store as it is now; INT64_MAX: none. */
static int64_t first_merge_time(lsm_engine *e)
{
    int64_t first = INT64_MAX;
    lsm_view *view = lsm_view_acquire(e);
    for (uint32_t i = 0; i < view->mem_count; i++) {
        int64_t t = engine_memtable_merge_time(view->mem[i]);
        first = t < first ? t : first;
    }
    for (uint32_t i = 0; i < view->level_count; i++)
        for (uint32_t j = 0; j < view->level[i]->run_count; j++) {
            int64_t t = view->level[i]->run[j]->meta.merge_time;
            first = t < first ? t : first;
        }
    lsm_view_release(e, view);
    return first;
}

vv_status lsm_job_enter_table(lsm_job *job, uint32_t table, vv_error *err)
{
    if (job->readers.has_table && job->readers.table == table)
        return VV_OK;
    vv_status st = engine_readers_enter(&job->readers, table, err);
    /* After the floor was asked: what is committed from now on is later than its time. */
    job->merge_time = first_merge_time(job->e);
    return st;
}

static vv_status write_waiting(lsm_job *job, bool resolved, vv_error *err)
{
    lsm_waiting *w = &job->waiting;
    vv_buf_reset(&w->out);
    vv_status st = resolved ? engine_fold_value(&w->fold, &w->out, err)
                            : engine_fold_operand(&w->fold, &w->out, err);
    w->is_there = false;
    if (st != VV_OK)
        return st;
    engine_item item = {.key = vv_buf_slice(&w->key),
                        .value = vv_buf_slice(&w->out),
                        .version = w->fold.version,
                        .expires_ns = w->fold.expires_ns,
                        .kind = resolved ? ENGINE_PUT : ENGINE_MERGE};
    return lsm_job_write(job, &item, w->is_first, err);
}

vv_status lsm_job_fold_begin(lsm_job *job, const engine_item *item, bool is_first, vv_error *err)
{
    lsm_waiting *w = &job->waiting;
    vv_buf_reset(&w->key);
    vv_buf_append_slice(&w->key, item->key);
    if (w->key.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "merge: no memory for a key");
    w->is_there = true;
    w->is_first = is_first;
    w->cover =
        job->cover == NULL ? -1 : engine_rangedels_cover(job->cover, item->key, item->version);
    return engine_fold_begin(&w->fold, item, err);
}

vv_status lsm_job_fold_older(lsm_job *job, const engine_item *item, bool needed, bool *taken,
                             vv_error *err)
{
    lsm_waiting *w = &job->waiting;
    *taken = false;
    if (item->version < w->cover)
        return write_waiting(job, true, err); /* what lies beneath is deleted */
    bool full = engine_fold_size(&w->fold) + item->value.len > OPERAND_MAX &&
                item->version != w->fold.version;
    if (needed || full) {
        job->is_merged_above = true;
        return write_waiting(job, false, err);
    }
    *taken = true;
    engine_item base = *item;
    vv_status st = VV_OK;
    if (item->kind == ENGINE_APART) {
        vv_buf_reset(&job->value);
        st = lsm_value_load(&job->e->store, item->value, &job->value, err);
        base.kind = ENGINE_PUT;
        base.value = vv_buf_slice(&job->value);
    }
    if (st == VV_OK && !VV_BUG(61))
        st = engine_fold_push(&w->fold, &base, err);
    return st == VV_OK && w->fold.is_done ? write_waiting(job, true, err) : st;
}

vv_status lsm_job_fold_end(lsm_job *job, vv_error *err)
{
    if (!job->waiting.is_there)
        return VV_OK;
    bool bottom = lsm_job_is_key_bottom(job, vv_buf_slice(&job->waiting.key));
    return write_waiting(job, bottom, err);
}
