/*
 * lsm_job.c - one flush or compaction, a piece at a time.
 *
 *   MERGE    read the inputs in order, drop what no reader needs, write runs    (many pieces)
 *   OPEN     sync the directory, open the new runs: what was written is read back and verified
 *   DURABLE  the log holds everything the runs hold (flush)
 *   COMMIT   the manifest edit
 *   INSTALL  the new view; inputs lose their reference and go with the last reader
 *   DONE
 *
 * Up to DURABLE a failed job is thrown away, its files with it, and begun again. From COMMIT on its
 * files may be part of the manifest, so they are kept and the step itself is tried again.
 */
#include <inttypes.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "base/util.h"
#include "lsm/lsm_job_int.h"

/* ---- making one ---- */

lsm_job *lsm_job_new(lsm_engine *e, lsm_view *view, uint32_t output, vv_error *err)
{
    lsm_job *job = vv_calloc(1, sizeof *job);
    if (job == NULL) {
        (void)vv_fail(err, VV_NO_MEMORY, "background work: no memory");
        return NULL;
    }
    job->e = e;
    job->view = view;
    if (view != NULL)
        lsm_view_ref(view);
    job->output = output;
    job->begin_ns = vv_clock_mono(e->opt.env->clock);
    job->newer = -1;
    engine_readers_init(&job->readers, &e->pins, &e->opt.hooks, &e->visible);
    engine_fold_init(&job->waiting.fold);
    job->waiting.fold.is_compact = true;
    vv_buf_init(&job->waiting.key, ENGINE_KEY_MAX);
    vv_buf_init(&job->waiting.out, LSM_BLOCK_RAW_MAX);
    vv_buf_init(&job->value, ENGINE_VALUE_MAX + 64u);
    lsm_trainer_init(&job->trainer, e->opt.dictionary_sample, e->opt.dictionary_gain);
    return job;
}

static void discard_file(lsm_job *job, uint64_t id)
{
    char path[VIO_PATH_MAX];
    lsm_run_path(path, job->e->store.dir, id);
    (void)!vio_remove(job->e->store.env->io, path, NULL); /* else the next open removes it */
}

void lsm_job_destroy(lsm_job *job)
{
    if (job == NULL)
        return;
    lsm_job_let_compact(job);
    if (job->merging)
        engine_merge_fini(&job->merge);
    if (job->writer != NULL) {
        lsm_writer_close(job->writer);
        discard_file(job, job->writer_id);
    }
    /* Never remove what the manifest may name. */
    bool discard = job->phase != LSM_DONE && !job->commit_tried;
    for (uint32_t i = 0; i < job->file_count; i++) {
        if (i < job->opened) {
            if (discard)
                atomic_store_explicit(&job->runs[i]->doomed, true, memory_order_relaxed);
            lsm_run_unref(job->runs[i]);
        } else if (discard) {
            discard_file(job, job->metas[i].id);
        }
        lsm_meta_fini(&job->metas[i]);
        lsm_prefill_fini(&job->prefills[i]);
    }
    lsm_job_close_values(job, discard);
    for (uint32_t i = 0; i < job->level_count; i++)
        lsm_level_unref(job->levels[i]);
    engine_readers_fini(&job->readers);
    lsm_trainer_fini(&job->trainer);
    engine_fold_fini(&job->waiting.fold);
    vv_buf_fini(&job->waiting.key);
    vv_buf_fini(&job->waiting.out);
    vv_buf_fini(&job->value);
    engine_rangedels_unref(job->cover);
    vv_free(job->ranges);
    vv_free(job->inputs);
    vv_free(job->levels);
    vv_free(job->sizes);
    vv_free(job->metas);
    vv_free(job->prefills);
    vv_free(job->runs);
    lsm_view_release(job->e, job->view);
    vv_free(job);
}

/* ---- compaction ---- */

/* The inputs as levels of their own, in the order of the view: newest first. */
static vv_status gather_levels(lsm_job *job, vv_error *err)
{
    lsm_view *view = job->view;
    lsm_run **runs = vv_calloc(job->input_count, sizeof(lsm_run *));
    job->levels = vv_calloc(view->level_count, sizeof(lsm_level *));
    if (runs == NULL || job->levels == NULL) {
        vv_free(runs);
        return vv_fail(err, VV_NO_MEMORY, "no memory for %u runs", job->input_count);
    }
    vv_status st = VV_OK;
    for (uint32_t i = 0; st == VV_OK && i < view->level_count; i++) {
        lsm_level *level = view->level[i];
        uint32_t n = 0;
        for (uint32_t j = 0; j < job->input_count; j++)
            for (uint32_t k = 0; k < level->run_count; k++)
                if (level->run[k] == job->inputs[j])
                    runs[n++] = level->run[k];
        if (n == 0)
            continue;
        st = lsm_level_create(level->number, level->group, runs, n, &job->levels[job->level_count],
                              err);
        job->level_count += st == VV_OK;
    }
    vv_free(runs);
    return st;
}

static vv_status begin_compaction(lsm_job *job, vv_error *err)
{
    vv_status st = gather_levels(job, err);
    if (st != VV_OK)
        return st;
    engine_source **sources = vv_calloc(job->level_count, sizeof(engine_source *));
    if (sources == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory");
    /* Half of what the shard's background work may hold is for reading. */
    uint64_t scan_size = vv_min_u64(LSM_SCAN_SIZE, job->e->opt.work_size / 2 / job->level_count);
    uint32_t made = 0;
    for (; st == VV_OK && made < job->level_count; made += st == VV_OK)
        st = lsm_source_create(job->levels[made], scan_size, &sources[made], err);
    if (st == VV_OK) {
        st = lsm_job_begin_merge(job, sources, job->level_count, err);
        made = 0;
    }
    for (uint32_t i = 0; i < made; i++)
        engine_source_close(sources[i]);
    vv_free(sources);
    return st;
}

static vv_status copy_inputs(lsm_job *job, lsm_run *const *inputs, uint32_t count, vv_error *err)
{
    job->inputs = vv_calloc(count, sizeof(lsm_run *));
    if (job->inputs == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %u runs", count);
    memcpy(job->inputs, inputs, count * sizeof(lsm_run *));
    job->input_count = count;
    return VV_OK;
}

vv_status lsm_job_compact(lsm_engine *e, lsm_view *view, lsm_run *const *inputs, uint32_t count,
                          uint32_t output, lsm_job **out, vv_error *err)
{
    assert(output > 0 && output < LSM_LEVELS && count > 0);
    lsm_job *job = lsm_job_new(e, view, output, err);
    if (job == NULL)
        return VV_NO_MEMORY;
    vv_status st = copy_inputs(job, inputs, count, err);
    if (st == VV_OK)
        st = begin_compaction(job, err);
    if (st != VV_OK) {
        lsm_job_destroy(job);
        return vv_wrap(err, st, "compaction to level %u", output);
    }
    *out = job;
    return VV_OK;
}

vv_status lsm_job_move(lsm_engine *e, lsm_view *view, lsm_run *run, uint32_t output, lsm_job **out,
                       vv_error *err)
{
    lsm_job *job = lsm_job_new(e, view, output, err);
    if (job == NULL)
        return VV_NO_MEMORY;
    vv_status st = copy_inputs(job, &run, 1, err);
    if (st != VV_OK) {
        lsm_job_destroy(job);
        return st;
    }
    job->is_move = true;
    job->phase = LSM_COMMIT;
    *out = job;
    return VV_OK;
}

vv_status lsm_job_bulk(lsm_engine *e, uint32_t output, lsm_job **out, vv_error *err)
{
    lsm_job *job = lsm_job_new(e, NULL, output, err);
    if (job == NULL)
        return VV_NO_MEMORY;
    job->is_bulk = true;
    *out = job;
    return VV_OK;
}

bool lsm_job_has_input(const lsm_job *job, const lsm_run *run)
{
    for (uint32_t i = 0; i < job->input_count; i++)
        if (job->inputs[i] == run)
            return true;
    return false;
}

/* ---- the phases ---- */

vv_status lsm_job_open_runs(lsm_job *job, vv_error *err)
{
    lsm_store *store = &job->e->store;
    vv_status st = VV_OK;
    if (job->opened == 0 && job->file_count > 0)
        st = vio_sync_dir(store->env->io, store->dir, err);
    for (; st == VV_OK && job->opened < job->file_count; job->opened += st == VV_OK) {
        const lsm_meta *meta = &job->metas[job->opened];
        st = lsm_run_open(store, meta->id, meta, &job->runs[job->opened], err);
        if (st == VV_OK)
            lsm_prefill_publish(&job->prefills[job->opened], job->runs[job->opened]);
    }
    VV_POINT("lsm.run.opened");
    return st;
}

static vv_status make_durable(lsm_job *job, vv_error *err)
{
    const engine_hooks *hooks = &job->e->opt.hooks;
    if (job->mem_count == 0 || hooks->ensure_durable == NULL)
        return VV_OK;
    return hooks->ensure_durable(hooks->ctx, job->version_max, err);
}

static void doom_inputs(lsm_job *job)
{
    for (uint32_t i = 0; i < job->input_count && !job->is_move; i++)
        atomic_store_explicit(&job->inputs[i]->doomed, true, memory_order_relaxed);
}

static vv_status commit(lsm_job *job, vv_error *err)
{
    uint64_t *ids = vv_calloc(job->input_count, sizeof *ids);
    if (ids == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %u runs", job->input_count);
    for (uint32_t i = 0; i < job->input_count; i++) {
        ids[i] = job->inputs[i]->meta.id;
        if (VV_BUG(12) && !job->is_move)
            discard_file(job, ids[i]);
    }
    lsm_meta moved;
    lsm_edit edit = {.remove = ids,
                     .remove_count = job->input_count,
                     .add = job->metas,
                     .add_count = job->file_count,
                     .checkpoint = job->mem_count > 0 ? job->version_max : -1};
    if (job->is_move) {
        moved = job->inputs[0]->meta;
        moved.level = job->output;
        moved.group = 0;
        edit.add = &moved;
        edit.add_count = 1;
    }
    job->commit_tried = true;
    vv_status st = lsm_manifest_commit(&job->e->manifest, &edit, err);
    vv_free(ids);
    /* Before the view without the memtables is published: see last_version. */
    if (st == VV_OK && job->mem_count > 0)
        atomic_store_explicit(&job->e->checkpoint, job->version_max, memory_order_release);
    return st;
}

static vv_status install(lsm_job *job, bool *busy, vv_error *err)
{
    lsm_run *const *add = job->is_move ? job->inputs : job->runs;
    uint32_t add_count = job->is_move ? 1 : job->file_count;
    return lsm_install(job->e, job->mem_count, job->inputs, job->input_count, add, add_count,
                       job->mem_count > 0 ? LSM_OWN_LEVEL : job->output, job->group, busy, err);
}

static uint64_t level0_bytes(const lsm_job *job, uint64_t *all)
{
    uint64_t bytes = 0;
    *all = 0;
    for (uint32_t i = 0; i < job->input_count; i++) {
        *all += job->inputs[i]->meta.size;
        bytes += job->inputs[i]->meta.level == 0 ? job->inputs[i]->meta.size : 0;
    }
    return bytes;
}

static void finish(lsm_job *job)
{
    lsm_engine *e = job->e;
    int64_t took_ns = vv_clock_mono(e->opt.env->clock) - job->begin_ns;
    for (uint32_t i = 0; i < job->file_count; i++)
        lsm_prefill_take_over(&job->prefills[i], job->runs[i]);
    doom_inputs(job);
    lsm_job_let_compact(job);
    if (job->mem_count > 0) {
        lsm_pace_note_flush(e, job->read_bytes, took_ns);
        atomic_fetch_add_explicit(&e->flushes, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&e->flush_bytes, job->written_bytes, memory_order_relaxed);
        if (e->opt.hooks.on_checkpoint != NULL)
            e->opt.hooks.on_checkpoint(e->opt.hooks.ctx, job->version_max);
        return;
    }
    if (e->opt.hooks.on_work != NULL) /* a flush may have waited for it */
        e->opt.hooks.on_work(e->opt.hooks.ctx);
    atomic_fetch_add_explicit(&e->compactions, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->compaction_write_bytes, job->written_bytes, memory_order_relaxed);
    uint64_t all = 0;
    uint64_t bytes = job->is_move ? 0 : level0_bytes(job, &all);
    atomic_fetch_add_explicit(&e->compaction_read_bytes, all, memory_order_relaxed);
    lsm_pace_note_compaction(e, bytes, took_ns);
    atomic_fetch_add_explicit(&e->level_write_bytes[job->output], job->written_bytes,
                              memory_order_relaxed);
    for (uint32_t i = 0; !job->is_move && i < job->input_count; i++)
        atomic_fetch_add_explicit(&e->level_read_bytes[job->inputs[i]->meta.level],
                                  job->inputs[i]->meta.size, memory_order_relaxed);
}

static vv_status run_phase(lsm_job *job, bool *stay, vv_error *err)
{
    bool end = false;
    vv_status st = VV_OK;
    switch (job->phase) {
    case LSM_MERGE:
        st = lsm_job_merge_piece(job, &end, err);
        *stay = !end;
        return st;
    case LSM_OPEN:
        return lsm_job_open_runs(job, err);
    case LSM_DURABLE:
        return make_durable(job, err);
    case LSM_COMMIT:
        return commit(job, err);
    case LSM_INSTALL:
        return install(job, stay, err);
    case LSM_DONE:
        break;
    }
    return VV_OK;
}

lsm_progress lsm_job_progress(const lsm_job *job)
{
    uint64_t all;
    uint64_t bytes = level0_bytes(job, &all);
    return (lsm_progress){.merged = job->read_bytes,
                          .level0_share = all == 0 ? 0 : (double)bytes / (double)all,
                          .begin_ns = job->begin_ns};
}

bool lsm_job_is_committing(const lsm_job *job)
{
    return job->commit_tried;
}

/* The next step may be another thread's: what this one has in flight ends with it. */
vv_status lsm_job_settle(lsm_job *job, vv_status st, vv_error *err)
{
    vv_status settled = VV_OK;
    if (job->values != NULL)
        settled = lsm_value_writer_settle(job->values, st == VV_OK ? err : NULL);
    st = st == VV_OK ? settled : st;
    if (job->writer != NULL)
        settled = lsm_writer_settle(job->writer, st == VV_OK ? err : NULL);
    return st == VV_OK ? settled : st;
}

vv_status lsm_job_step(lsm_job *job, bool *done, vv_error *err)
{
    bool stay = false;
    while (!stay && job->phase != LSM_DONE) {
        vv_status st = lsm_job_settle(job, run_phase(job, &stay, err), err);
        if (st != VV_OK)
            return vv_wrap(err, st, job->mem_count > 0 ? "flush" : "compaction to level %u",
                           job->output);
        job->phase += stay ? 0 : 1;
    }
    if (job->phase == LSM_DONE)
        finish(job);
    *done = job->phase == LSM_DONE;
    return VV_OK;
}
