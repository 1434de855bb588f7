/*
 * lsm_bulk.c - sorted input becomes runs at once: no log, no memtable, no compaction on the way.
 *
 *   put      -> runs that no manifest names, all entries at version 0
 *   seal     -> complete, synced, opened: read back and verified
 *   install  -> one manifest edit that gives them level and version, then a new view
 *
 * The version of a load is known when it is logged, long after its blocks were written. So the
 * blocks say 0, the run says that it is one of these (LSM_FEATURE_BULK), the manifest has the
 * version, and a block gets it when it is read (lsm_run_place_version): what searches a block sees
 * no difference, and a compaction writes it like any other.
 *
 * The manifest edit decides. Before it the files are leftovers that an open removes. The version is
 * durable in the log by then, so no other entry will ever have it. When the edit fails twice
 * nobody knows whether it is there: the files stay, writes are refused, and the next work() commits
 * a manifest without them before they go.
 *
 * Where it goes: a reader believes the first part of a view that knows a key, so the load must lie
 * above everything older in its range. Memtables hold nothing of it (is_clear); it takes the
 * deepest level with nothing in its range there or above, or a level between that has room for it,
 * or else it is a new set of level 0. A compaction under way writes only where its inputs lie, so
 * what does not overlap an input does not overlap its output.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "base/util.h"
#include "lsm/lsm_job_int.h"

#define FORM_LEVEL 1u /* files have the form of this level, wherever they go: quick to write */
#define INSTALL_TRIES 1000u
#define INSTALL_PAUSE_NS (100 * VV_NS_PER_US)

struct engine_bulk {
    lsm_engine *e;
    lsm_job *job;
    uint64_t entries;
    uint8_t lower[ENGINE_KEY_MAX];
    size_t lower_len;
    uint8_t upper[ENGINE_KEY_MAX + 1]; /* the smallest key behind the last one */
    size_t upper_len;
};

static vv_slice lower_of(const engine_bulk *b)
{
    return vv_slice_of(b->lower, b->lower_len);
}

static vv_slice upper_of(const engine_bulk *b)
{
    return vv_slice_of(b->upper, b->upper_len);
}

/* ---- writing ---- */

static vv_status bulk_begin(engine *base, engine_bulk **out, vv_error *err)
{
    lsm_engine *e = lsm_engine_of(base);
    engine_bulk *b = vv_calloc(1, sizeof *b);
    if (b == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a bulk load");
    b->e = e;
    vv_status st = lsm_job_bulk(e, FORM_LEVEL, &b->job, err);
    if (st != VV_OK) {
        vv_free(b);
        return st;
    }
    *out = b;
    return VV_OK;
}

static vv_status bulk_put(engine_bulk *b, vv_slice key, vv_slice value, int64_t expires_ns,
                          vv_error *err)
{
    const engine_item item = {
        .key = key, .value = value, .expires_ns = expires_ns, .kind = ENGINE_PUT};
    vv_status st = lsm_job_settle(b->job, lsm_job_write(b->job, &item, true, err), err);
    if (st != VV_OK)
        return vv_wrap(err, st, "bulk load");
    if (b->entries++ == 0) {
        memcpy(b->lower, key.data, key.len);
        b->lower_len = key.len;
    }
    memcpy(b->upper, key.data, key.len);
    b->upper[key.len] = 0;
    b->upper_len = key.len + 1;
    return VV_OK;
}

static vv_status bulk_seal(engine_bulk *b, vv_error *err)
{
    lsm_job *job = b->job;
    vv_status st = lsm_job_finish_file(job, NULL, err);
    if (st == VV_OK)
        st = lsm_job_finish_values(job, err);
    st = lsm_job_settle(job, st, err);
    if (st == VV_OK)
        st = lsm_job_open_runs(job, err);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "bulk load");
}

/* ---- installing ---- */

static bool bulk_is_clear(engine_bulk *b)
{
    lsm_view *view = lsm_view_acquire(b->e);
    vv_status st = VV_NOT_FOUND;
    for (uint32_t i = 0; st == VV_NOT_FOUND && i < view->mem_count; i++) {
        engine_touch touch;
        st = engine_memtable_touched(view->mem[i], lower_of(b), upper_of(b), 0, &touch, NULL);
    }
    lsm_view_release(b->e, view);
    return st == VV_NOT_FOUND;
}

static uint64_t bytes_of_level(const lsm_view *view, uint32_t number)
{
    for (uint32_t i = view->level0_count; i < view->level_count; i++)
        if (view->level[i]->number == number)
            return view->level[i]->bytes;
    return 0;
}

static uint32_t choose_level(const engine_bulk *b, const lsm_view *view)
{
    uint32_t deepest = LSM_LEVELS - 1;
    for (uint32_t i = 0; i < view->level_count; i++) {
        const lsm_level *level = view->level[i];
        if (!lsm_level_overlaps(level, lower_of(b), upper_of(b)))
            continue;
        deepest = level->number == 0 ? 0 : level->number - 1;
        break; /* they come from the newest */
    }
    for (uint32_t n = 1; n < deepest; n++)
        if (bytes_of_level(view, n) + b->job->written_bytes <= lsm_level_target(b->e, n))
            return n;
    return deepest;
}

/* From here until end_placing no flush begins to write past level 0. False: one does, where the
 * load is, so that the load goes to level 0. */
static bool begin_placing(engine_bulk *b)
{
    lsm_engine *e = b->e;
    vv_mutex_lock(&e->lock);
    e->bulk_placing++;
    bool is_apart = !e->flush_is_past || vv_slice_cmp(upper_of(b), e->past_first) <= 0 ||
                    vv_slice_cmp(lower_of(b), e->past_last) > 0;
    vv_mutex_unlock(&e->lock);
    return is_apart;
}

static void end_placing(lsm_engine *e)
{
    vv_mutex_lock(&e->lock);
    e->bulk_placing--;
    vv_mutex_unlock(&e->lock);
}

static void place_runs(engine_bulk *b, uint32_t level, uint64_t group, int64_t version)
{
    lsm_job *job = b->job;
    for (uint32_t i = 0; i < job->file_count; i++) {
        lsm_meta *both[] = {&job->metas[i], &job->runs[i]->meta};
        for (size_t j = 0; j < ARRAY_LEN(both); j++) {
            both[j]->level = level;
            both[j]->group = level == 0 ? group : 0;
            both[j]->version_min = version;
            both[j]->version_max = version;
        }
    }
}

/* The edit failed: the manifest may have it or not. Short memory is told as a full disk, because
 * writes must wait here too. */
static void doubt(engine_bulk *b, vv_status st, const vv_error *why)
{
    lsm_engine *e = b->e;
    vv_mutex_lock(&e->lock);
    lsm_note_outcome(e, st == VV_NO_MEMORY ? VV_NO_SPACE : st, why);
    atomic_store_explicit(&e->doubtful, b->job,
                          memory_order_release); /* who settles it notes later */
    vv_mutex_unlock(&e->lock);
    b->job = NULL;
}

vv_status lsm_bulk_settle_doubt(lsm_engine *e, vv_error *err)
{
    if (VV_LIKELY(atomic_load_explicit(&e->doubtful, memory_order_relaxed) == NULL))
        return VV_OK;
    lsm_job *job = atomic_exchange_explicit(&e->doubtful, NULL, memory_order_acquire);
    if (job == NULL)
        return VV_OK; /* another thread is at it */
    const lsm_edit nothing = {.checkpoint = -1};
    vv_error why = {0};
    vv_status st = lsm_manifest_commit(&e->manifest, &nothing, &why);
    if (st == VV_OK) {
        job->commit_tried = false; /* no manifest names its files */
        lsm_job_destroy(job);
    } else {
        atomic_store_explicit(&e->doubtful, job, memory_order_release);
    }
    vv_mutex_lock(&e->lock);
    lsm_note_outcome(e, st, &why);
    vv_mutex_unlock(&e->lock);
    if (st != VV_OK && err != NULL)
        *err = why;
    return st;
}

static vv_status commit(engine_bulk *b, vv_error *err)
{
    lsm_job *job = b->job;
    const lsm_edit edit = {.add = job->metas, .add_count = job->file_count, .checkpoint = -1};
    job->commit_tried = true;
    vv_error why = {0};
    vv_status st = lsm_manifest_commit(&b->e->manifest, &edit, &why);
    VV_POINT("lsm.bulk.committed");
    if (st != VV_OK)
        st = lsm_manifest_commit(&b->e->manifest, &edit, &why); /* in a file of its own */
    if (st == VV_OK)
        return VV_OK;
    if (err != NULL)
        *err = why;
    doubt(b, st, &why);
    return st;
}

/* The edit is durable, so this must come: what is short is waited for. */
static vv_status show(engine_bulk *b, uint32_t level, uint64_t group, vv_error *err)
{
    lsm_job *job = b->job;
    vv_status st = VV_OK;
    bool busy = true;
    for (unsigned i = 0; i < INSTALL_TRIES && busy; i++) {
        st = lsm_install(b->e, 0, NULL, 0, job->runs, job->file_count, level, group, &busy, err);
        busy = busy || st == VV_NO_MEMORY;
        if (busy)
            vv_clock_sleep(b->e->opt.env->clock, INSTALL_PAUSE_NS);
    }
    if (!busy)
        return st;
    vv_error why = {0};
    st = vv_fail(&why, VV_IO, "a bulk load is durable, but there is no memory to show it: reopen");
    vv_mutex_lock(&b->e->lock);
    lsm_note_outcome(b->e, st, &why);
    vv_mutex_unlock(&b->e->lock);
    if (err != NULL)
        *err = why;
    return st;
}

static vv_status bulk_install(engine_bulk *b, int64_t version, vv_error *err)
{
    lsm_engine *e = b->e;
    uint64_t group = 0;
    vv_status st = lsm_manifest_new_id(&e->manifest, &group, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "bulk load");
    bool is_apart = begin_placing(b);
    lsm_view *view = lsm_view_acquire(e);
    uint32_t level = is_apart ? choose_level(b, view) : 0;
    lsm_view_release(e, view);
    place_runs(b, level, group, version);
    /* Before a reader can find the load: see last_version. */
    atomic_store_explicit(&e->bulk_version, version, memory_order_release);
    uint64_t bytes = b->job->written_bytes;
    st = commit(b, err);
    if (st == VV_OK)
        st = show(b, level, group, err);
    end_placing(e);
    if (st != VV_OK)
        return vv_wrap(err, st, "bulk load");
    b->job->phase = LSM_DONE;
    atomic_fetch_add_explicit(&e->bulk_loads, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->bulk_bytes, bytes, memory_order_relaxed);
    if (e->opt.hooks.on_work != NULL)
        e->opt.hooks.on_work(e->opt.hooks.ctx);
    return VV_OK;
}

/* bulk_version is at least that of the newest run at the opening. */
static bool bulk_is_past(engine *base, int64_t version)
{
    lsm_engine *e = lsm_engine_of(base);
    return atomic_load_explicit(&e->checkpoint, memory_order_acquire) >= version ||
           atomic_load_explicit(&e->bulk_version, memory_order_acquire) >= version;
}

static void bulk_destroy(engine_bulk *b)
{
    if (b == NULL)
        return;
    lsm_job_destroy(b->job);
    vv_free(b);
}

static uint64_t bulk_file_count(const engine_bulk *b)
{
    return b->job == NULL ? 0 : b->job->file_count;
}

static uint64_t bulk_file_bytes(const engine_bulk *b)
{
    return b->job == NULL ? 0 : b->job->written_bytes;
}

const engine_bulk_ops lsm_bulk_ops = {
    .begin = bulk_begin,
    .put = bulk_put,
    .seal = bulk_seal,
    .is_clear = bulk_is_clear,
    .install = bulk_install,
    .is_past = bulk_is_past,
    .destroy = bulk_destroy,
    .file_count = bulk_file_count,
    .file_bytes = bulk_file_bytes,
};
