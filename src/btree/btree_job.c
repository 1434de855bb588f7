/*
 * btree_job.c - one flush, compaction or move, a piece at a time.
 *
 *   MERGE AGE MOVE   pages are appended to data files, the mapping moves along in writer.next
 *   SYNC             they are durable, file names included
 *   DURABLE          the log holds everything the tree will hold (flush)
 *   COMMIT           one manifest record: from here on it is the tree
 *   INSTALL          the new view; data files that nobody needs go with their last reader
 *
 * Up to DURABLE a failed job is thrown away and begun again: nothing that is committed was touched.
 * From COMMIT on its pages may be part of the manifest, so the step itself is tried again.
 */
#include "btree/btree_job_int.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"

/* ---- making one ---- */

static vv_status new_job(btree_engine *e, bool flush, btree_job **out, vv_error *err)
{
    btree_job *job = vv_calloc(1, sizeof *job);
    if (job == NULL)
        return vv_fail(err, VV_NO_MEMORY, "background work: no memory");
    job->e = e;
    job->view = btree_view_acquire(e);
    job->mem_count = flush ? job->view->mem_count - 1 : 0;
    vv_buf_init(&job->aged, UINT32_MAX);
    vv_buf_init(&job->packed, UINT32_MAX);
    engine_fold_init(&job->fold);
    job->fold.is_compact = true;
    vv_buf_init(&job->folded, ENGINE_VALUE_MAX);
    vv_arena_init(&job->fold_values, SIZE_MAX / 2);
    engine_readers_init(&job->readers, &e->pins, &e->opt.hooks, &e->visible);
    btree_tree *tree = job->view->tree;
    vv_status st = btree_writer_open(&job->writer, &e->store, &e->manifest, &e->manifest.state,
                                     tree->files, tree->file_count, &e->active, &e->ids, err);
    if (st != VV_OK) {
        btree_job_destroy(job);
        return st;
    }
    if (flush)
        job->writer.cls = VIO_CLASS_FLUSH;
    *out = job;
    return VV_OK;
}

void btree_job_destroy(btree_job *job)
{
    if (job == NULL)
        return;
    if (job->merging)
        engine_merge_fini(&job->merge);
    btree_update_fini(&job->main);
    btree_update_fini(&job->history);
    btree_inode_unref(job->new_main);
    btree_inode_unref(job->new_history);
    btree_tree_unref(job->tree);
    engine_rangedels_unref(job->cuts.set);
    btree_writer_close(&job->writer);
    engine_readers_fini(&job->readers);
    engine_rangedels_unref(job->cover);
    vv_buf_fini(&job->aged);
    vv_buf_fini(&job->packed);
    engine_fold_fini(&job->fold);
    vv_buf_fini(&job->folded);
    vv_arena_fini(&job->fold_values);
    vv_free(job->request.bytes);
    vv_free(job->spans);
    vv_free(job->candidates);
    vv_free(job->moved);
    btree_view_release(job->e, job->view);
    vv_free(job);
}

/* request: NULL for a flush. */
static vv_status begin_merge(btree_engine *e, btree_request *request, btree_job **out,
                             vv_error *err)
{
    btree_job *job = NULL;
    vv_status st = new_job(e, request == NULL, &job, err);
    if (st != VV_OK || job == NULL)
        return st;
    if (request != NULL)
        job->request = *request;
    st = btree_flush_begin(job, err);
    if (st != VV_OK) {
        job->request = (btree_request){0};
        btree_job_destroy(job);
        return st;
    }
    if (request != NULL)
        *request = (btree_request){0};
    *out = job;
    return VV_OK;
}

vv_status btree_job_flush(btree_engine *e, btree_job **out, vv_error *err)
{
    vv_status st = begin_merge(e, NULL, out, err);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "flush");
}

vv_status btree_job_compact(btree_engine *e, btree_request *request, btree_job **out, vv_error *err)
{
    vv_status st = begin_merge(e, request, out, err);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "compaction");
}

void btree_job_take_request(btree_job *job, btree_request *out)
{
    *out = job->request;
    job->request = (btree_request){0};
}

bool btree_job_is_compaction(const btree_job *job)
{
    return job->request.bytes != NULL;
}

vv_status btree_job_move(btree_engine *e, bool tighten, btree_job **out, vv_error *err)
{
    btree_job *job = NULL;
    *out = NULL;
    vv_status st = new_job(e, false, &job, err);
    if (st != VV_OK || job == NULL)
        return st;
    job->moves = true;
    job->phase = BTREE_MOVE;
    st = btree_move_begin(job, tighten, err);
    if (st == VV_OK && job->move_count > 0) {
        *out = job;
        return VV_OK;
    }
    /* Nothing was written: the active file goes on. */
    e->active = job->writer.active;
    job->writer.active = (btree_active){0};
    btree_job_destroy(job);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "moving pages");
}

/* ---- the phases ---- */

/* The parts of the tree that were not changed stay. */
static void keep_unchanged(btree_job *job)
{
    btree_tree *tree = job->view->tree;
    if (!job->has_main) {
        btree_inode_ref(tree->main);
        job->new_main = tree->main;
        job->has_main = true;
    }
    if (!job->has_history) {
        btree_inode_ref(tree->history);
        job->new_history = tree->history;
        job->has_history = true;
    }
}

static vv_status sync_pages(btree_job *job, vv_error *err)
{
    keep_unchanged(job);
    btree_state *next = &job->writer.next;
    next->main = btree_inode_root(job->new_main);
    next->history = btree_inode_root(job->new_history);
    if (job->mem_count > 0)
        next->checkpoint = job->version_max;
    if (job->new_history == NULL)
        next->history_version = 0;
    else if (job->aged.len > 0)
        next->history_version = next->checkpoint;
    job->aged_leaves = btree_inode_leaves(job->new_history);
    vv_status st = btree_writer_sync(&job->writer, err);
    if (st != VV_OK || job->tree != NULL)
        return st;
    st = btree_tree_create(&job->writer, job->new_main, job->new_history, &job->tree, err);
    if (st == VV_OK)
        job->new_main = job->new_history = NULL; /* the tree has them */
    return st;
}

static vv_status make_durable(btree_job *job, vv_error *err)
{
    const engine_hooks *hooks = &job->e->opt.hooks;
    if (job->mem_count == 0 || hooks->ensure_durable == NULL)
        return VV_OK;
    return hooks->ensure_durable(hooks->ctx, job->version_max, err);
}

static vv_status commit(btree_job *job, vv_error *err)
{
    btree_engine *e = job->e;
    job->commit_tried = true;
    job->writer.keeps_files = true;
    vv_status st = btree_manifest_commit(&e->manifest, &job->writer.next, err);
    if (st != VV_OK)
        return st;
    btree_writer_done(&job->writer, &e->active);
    /* Before the view without the memtables is published: see last_version. */
    if (job->mem_count > 0)
        atomic_store_explicit(&e->checkpoint, job->version_max, memory_order_release);
    return VV_OK;
}

static vv_status install(btree_job *job, vv_error *err)
{
    btree_engine *e = job->e;
    btree_tree *tree = job->tree;
    vv_status st = job->has_cuts ? VV_OK : btree_cuts_make(job, err);
    if (st == VV_OK)
        st = btree_install(e, job->mem_count, tree, &job->cuts, err);
    if (st != VV_OK)
        return st;
    job->tree = NULL;
    job->cuts.set = NULL;
    /* What the tree has no page in any more goes, and an active file without one. */
    for (uint32_t i = 0; i < job->writer.file_count; i++) {
        btree_file *f = job->writer.files[i];
        if (!btree_tree_has_file(tree, f)) {
            if (e->active.file == f)
                btree_active_close(&e->active);
            if (!btree_archives_have(e, f))
                atomic_store_explicit(&f->doomed, true, memory_order_relaxed);
        }
    }
    return VV_OK;
}

static void finish(btree_job *job)
{
    btree_engine *e = job->e;
    uint64_t bytes = job->writer.written * e->store.page_size;
    if (job->sweeps)
        e->swept_pages = job->aged_leaves;
    if (job->mem_count > 0) {
        atomic_fetch_add_explicit(&e->flushes, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&e->flush_bytes, bytes, memory_order_relaxed);
        if (e->opt.hooks.on_checkpoint != NULL)
            e->opt.hooks.on_checkpoint(e->opt.hooks.ctx, job->version_max);
        return;
    }
    atomic_fetch_add_explicit(&e->compactions, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->compaction_write_bytes, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->compaction_read_bytes, job->read_bytes, memory_order_relaxed);
}

static vv_status run_phase(btree_job *job, bool *stay, vv_error *err)
{
    bool end = false;
    vv_status st = VV_OK;
    switch (job->phase) {
    case BTREE_MERGE:
        st = btree_flush_piece(job, &end, err);
        *stay = !end;
        return st;
    case BTREE_AGE:
        st = btree_age_piece(job, &end, err);
        *stay = !end;
        return st;
    case BTREE_MOVE:
        end = !job->moves;
        if (job->moves)
            st = btree_move_piece(job, &end, err);
        *stay = !end;
        return st;
    case BTREE_SYNC:
        return sync_pages(job, err);
    case BTREE_DURABLE:
        return make_durable(job, err);
    case BTREE_COMMIT:
        return commit(job, err);
    case BTREE_INSTALL:
        return install(job, err);
    case BTREE_DONE:
        break;
    }
    return VV_OK;
}

bool btree_job_is_committing(const btree_job *job)
{
    return job->commit_tried;
}

vv_status btree_job_step(btree_job *job, bool *done, vv_error *err)
{
    bool stay = false;
    while (!stay && job->phase != BTREE_DONE) {
        vv_status st = run_phase(job, &stay, err);
        if (st != VV_OK)
            return vv_wrap(err, st, "%s",
                           job->mem_count > 0 ? "flush"
                           : job->moves       ? "moving pages"
                                              : "compaction");
        if (!stay)
            job->phase++;
    }
    if (job->phase == BTREE_DONE)
        finish(job);
    *done = job->phase == BTREE_DONE;
    return VV_OK;
}
