/*
 * lsm_compact.c - which runs to merge next.
 *
 *   level 0     as many flushed sets as level0_runs_max: the oldest one's first run, with all of
 *               level 0 that overlaps it, goes into level 1
 *   level n     over its target (memtable_size * level0_runs_max * 10^(n-1)): the run that overlaps
 *               least of level n+1 for its size goes down; alone, it is only moved
 *   cursors     level 0 while it is quiet, when as many cursors went over two sets and more as
 * would have paid for it: a cursor looks into every set, where filters spare a get most on demand
 * settle      level 0 while nobody writes, where that merges no more than some times its bytes
 * compact_range: every level that the range touches, down to the last garbage     a run half of
 * whose entries are deletions, or whose range deletions cover more below than merging it would
 * read, goes down though no level is over its size
 *
 *   values      a run that refers to a value file less than half of which is referred to
 *
 * In this order; among sizes the highest score first. Runs in an object store cost REMOTE_COST
 * times their bytes to read, so that of two that could go down the one goes that meets fewer of
 * them; while the store does not answer, nothing that would read one is begun. Sizes are of files,
 * so compression counts.
 *
 * With LSM_SETS_MAX times level0_runs_max sets in level 0 flushing itself waits, so that readers
 * never face more. Writers are slowed long before: lsm_pace.c.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "lsm/lsm_int.h"
#include "lsm/lsm_value.h"

#define RANGES_LOOKED_AT 64u
/* A cursor over several sets is worth the merging of so many bytes, as a seek is to LevelDB. */
#define SEEK_PAYS (16 * VV_KIB)
#define SEEKS_MIN 1024u
#define REMOTE_COST 4u
#define REST_PAYS 8u /* at rest level 0 is merged with so many times its bytes */

typedef struct selection {
    lsm_run **runs;
    uint32_t count;
    uint32_t cap;
    vv_slice lower; /* hull of the bounds; borrows the runs */
    vv_slice upper;
} selection;

static vv_status take(selection *s, lsm_run *run, vv_error *err)
{
    if (s->count == s->cap) {
        uint32_t cap = s->cap == 0 ? 16 : s->cap * 2;
        lsm_run **runs = vv_realloc(s->runs, cap * sizeof(lsm_run *));
        if (runs == NULL)
            return vv_fail(err, VV_NO_MEMORY, "compaction: no memory for %u runs", cap);
        s->runs = runs;
        s->cap = cap;
    }
    if (s->count == 0 || vv_slice_cmp(run->meta.lower, s->lower) < 0)
        s->lower = run->meta.lower;
    if (s->count == 0 || vv_slice_cmp(run->meta.upper, s->upper) > 0)
        s->upper = run->meta.upper;
    s->runs[s->count++] = run;
    return VV_OK;
}

static bool is_taken(const selection *s, const lsm_run *run)
{
    for (uint32_t i = 0; i < s->count; i++)
        if (s->runs[i] == run)
            return true;
    return false;
}

static const lsm_level *level_of(const lsm_view *view, uint32_t number)
{
    for (uint32_t i = view->level0_count; i < view->level_count; i++)
        if (view->level[i]->number == number)
            return view->level[i];
    return NULL;
}

/* All runs of a level that overlap the hull. */
static vv_status take_overlapping(selection *s, const lsm_level *level, vv_error *err)
{
    if (level == NULL)
        return VV_OK;
    vv_slice lower = s->lower;
    vv_slice upper = s->upper;
    for (uint32_t i = lsm_level_first(level, lower); i < level->run_count; i++) {
        if (!lsm_meta_overlaps(&level->run[i]->meta, lower, upper))
            break;
        vv_status st = take(s, level->run[i], err);
        if (st != VV_OK)
            return st;
    }
    return VV_OK;
}

/* Close the selection over level 0: what overlaps it there must move with it. */
static vv_status close_level0(selection *s, const lsm_view *view, vv_error *err)
{
    for (bool grew = true; grew;) {
        grew = false;
        for (uint32_t i = 0; i < view->level0_count; i++)
            for (uint32_t j = 0; j < view->level[i]->run_count; j++) {
                lsm_run *run = view->level[i]->run[j];
                if (is_taken(s, run) || !lsm_meta_overlaps(&run->meta, s->lower, s->upper))
                    continue;
                vv_status st = take(s, run, err);
                if (st != VV_OK)
                    return st;
                grew = true;
            }
    }
    return VV_OK;
}

/* False while the object store does not answer and a run would have to be read from there. */
static bool may_read(const lsm_engine *e, lsm_run *const *runs, uint32_t count)
{
    int64_t pause = atomic_load_explicit(&e->remote_pause, memory_order_relaxed);
    if (pause == 0 || vv_clock_mono(e->opt.env->clock) >= pause)
        return true;
    for (uint32_t i = 0; i < count; i++)
        if (runs[i]->is_remote)
            return false;
    return true;
}

static vv_status compact_in_place(lsm_engine *e, lsm_view *view, lsm_run *run, uint32_t level,
                                  lsm_job **out, vv_error *err)
{
    return may_read(e, &run, 1) ? lsm_job_compact(e, view, &run, 1, level, out, err) : VV_OK;
}

/* Make the job for the chosen runs of `level` and what they meet in the next. */
static vv_status start(lsm_engine *e, lsm_view *view, selection *s, uint32_t level, bool may_move,
                       lsm_job **out, vv_error *err)
{
    uint32_t chosen = s->count;
    vv_status st = take_overlapping(s, level_of(view, level + 1), err);
    if (st != VV_OK)
        return st;
    if (may_move && chosen == 1 && s->count == 1 &&
        (level > 0 || lsm_form_stays(e, s->runs[0], level + 1)))
        return lsm_job_move(e, view, s->runs[0], level + 1, out, err);
    if (!may_read(e, s->runs, s->count))
        return VV_OK;
    return lsm_job_compact(e, view, s->runs, s->count, level + 1, out, err);
}

static vv_status start_level0(lsm_engine *e, lsm_view *view, lsm_run *seed, bool may_move,
                              lsm_job **out, vv_error *err)
{
    selection s = {0};
    vv_status st = take(&s, seed, err);
    if (st == VV_OK)
        st = close_level0(&s, view, err);
    if (st == VV_OK)
        st = start(e, view, &s, 0, may_move, out, err);
    vv_free(s.runs);
    return st;
}

static vv_status start_run(lsm_engine *e, lsm_view *view, lsm_run *run, uint32_t level,
                           bool may_move, lsm_job **out, vv_error *err)
{
    selection s = {0};
    vv_status st = take(&s, run, err);
    if (st == VV_OK)
        st = start(e, view, &s, level, may_move, out, err);
    vv_free(s.runs);
    return st;
}

static uint64_t overlap_bytes(const lsm_run *run, const lsm_level *below)
{
    uint64_t bytes = 0;
    if (below != NULL)
        for (uint32_t i = lsm_level_first(below, run->meta.lower);
             i < below->run_count &&
             lsm_meta_overlaps(&below->run[i]->meta, run->meta.lower, run->meta.upper);
             i++)
            bytes += below->run[i]->meta.size;
    return bytes;
}

/* Bytes that merging a run would read beside those that overlap_bytes counts. */
static uint64_t remote_cost(const lsm_run *run, const lsm_level *below)
{
    uint64_t bytes = 0;
    bool overlaps = false;
    if (below != NULL)
        for (uint32_t i = lsm_level_first(below, run->meta.lower);
             i < below->run_count &&
             lsm_meta_overlaps(&below->run[i]->meta, run->meta.lower, run->meta.upper);
             i++) {
            overlaps = true;
            bytes += below->run[i]->is_remote ? below->run[i]->meta.size * (REMOTE_COST - 1) : 0;
        }
    return bytes + (overlaps && run->is_remote ? run->meta.size * REMOTE_COST : 0);
}

/* What a run overlaps of the next level, for each MiB of its own. */
static uint64_t overlap_cost(const lsm_run *run, const lsm_level *below)
{
    double bytes = (double)overlap_bytes(run, below) + (double)remote_cost(run, below);
    return (uint64_t)(bytes * (double)VV_MIB / (double)run->meta.size);
}

static lsm_run *cheapest(const lsm_level *level, const lsm_level *below)
{
    lsm_run *best = level->run[0];
    uint64_t best_cost = UINT64_MAX;
    for (uint32_t i = 0; i < level->run_count; i++) {
        uint64_t cost = overlap_cost(level->run[i], below);
        if (cost < best_cost || (cost == best_cost && level->run[i]->meta.id < best->meta.id)) {
            best = level->run[i];
            best_cost = cost;
        }
    }
    return best;
}

/* ---- on demand ---- */

vv_status lsm_compact_range(engine *base, vv_slice lower, vv_slice upper, vv_error *err)
{
    lsm_engine *e = lsm_engine_of(base);
    lower.len = vv_min_u64(lower.len, LSM_BOUND_MAX); /* no key is longer: the same keys */
    upper.len = vv_min_u64(upper.len, LSM_BOUND_MAX);
    if (vv_slice_cmp(lower, upper) >= 0 || e->opt.read_only)
        return VV_OK;
    uint64_t id = 0;
    vv_status st = lsm_manifest_new_id(&e->manifest, &id, err);
    if (st != VV_OK)
        return st;
    uint8_t *bytes = vv_alloc(lower.len + upper.len);
    if (bytes == NULL)
        return vv_fail(err, VV_NO_MEMORY, "compaction of a range: no memory");
    if (lower.len > 0)
        memcpy(bytes, lower.data, lower.len);
    memcpy(bytes + lower.len, upper.data, upper.len);
    vv_mutex_lock(&e->lock);
    if (e->manual != NULL) { /* one range that holds both */
        bool below = vv_slice_cmp(e->manual_lower, lower) < 0;
        bool above = vv_slice_cmp(e->manual_upper, upper) > 0;
        vv_slice lo = below ? e->manual_lower : lower;
        vv_slice hi = above ? e->manual_upper : upper;
        uint8_t *both = vv_alloc(lo.len + hi.len);
        if (both != NULL) {
            memcpy(both, lo.data, lo.len);
            memcpy(both + lo.len, hi.data, hi.len);
            lower.len = lo.len;
            upper.len = hi.len;
        }
        vv_free(bytes);
        bytes = both;
        if (both == NULL)
            st = vv_fail(err, VV_NO_MEMORY, "compaction of a range: no memory");
    }
    if (st == VV_OK) {
        vv_free(e->manual);
        e->manual = bytes;
        e->manual_lower = vv_slice_of(bytes, lower.len);
        e->manual_upper = vv_slice_of(bytes + lower.len, upper.len);
        e->manual_id = id;
    }
    vv_mutex_unlock(&e->lock);
    if (st == VV_OK && e->opt.hooks.on_work != NULL)
        e->opt.hooks.on_work(e->opt.hooks.ctx);
    return st;
}

/* The range asked for, in memory of the caller; false when there is none. */
typedef struct manual_range {
    uint8_t bytes[2 * LSM_BOUND_MAX];
    vv_slice lower;
    vv_slice upper;
    uint64_t id;
} manual_range;

static bool copy_manual(lsm_engine *e, manual_range *m)
{
    vv_mutex_lock(&e->lock);
    bool there = e->manual != NULL;
    if (there) {
        memcpy(m->bytes, e->manual, e->manual_lower.len + e->manual_upper.len);
        m->lower = vv_slice_of(m->bytes, e->manual_lower.len);
        m->upper = vv_slice_of(m->bytes + e->manual_lower.len, e->manual_upper.len);
        m->id = e->manual_id;
    }
    vv_mutex_unlock(&e->lock);
    return there;
}

/* The range is done, unless it was asked for again. */
static void end_manual(lsm_engine *e, uint64_t id)
{
    vv_mutex_lock(&e->lock);
    if (e->manual_id == id) {
        vv_free(e->manual);
        e->manual = NULL;
    }
    vv_mutex_unlock(&e->lock);
}

/* The first run of a level in the range that is older than the request. */
static lsm_run *first_in_range(const lsm_level *level, const manual_range *m, uint64_t below_id)
{
    for (uint32_t i = lsm_level_first(level, m->lower);
         i < level->run_count && lsm_meta_overlaps(&level->run[i]->meta, m->lower, m->upper); i++)
        if (level->run[i]->meta.id < below_id)
            return level->run[i];
    return NULL;
}

static vv_status pick_manual(lsm_engine *e, lsm_view *view, lsm_job **out, vv_error *err)
{
    manual_range m;
    if (!copy_manual(e, &m))
        return VV_OK;
    uint32_t last = 0; /* the deepest level the range touches */
    for (uint32_t i = 0; i < view->level_count; i++)
        if (lsm_level_overlaps(view->level[i], m.lower, m.upper))
            last = view->level[i]->number;
    for (uint32_t i = 0; i < view->level_count; i++) {
        lsm_level *level = view->level[i];
        bool is_last = level->number == last && last > 0;
        lsm_run *run = first_in_range(level, &m, is_last ? m.id : UINT64_MAX);
        if (run == NULL)
            continue;
        if (level->number == 0)
            return start_level0(e, view, run, false, out, err);
        if (!is_last)
            return start_run(e, view, run, level->number, false, out, err);
        /* Rewritten where it is: what only its own past kept alive goes. */
        return compact_in_place(e, view, run, last, out, err);
    }
    end_manual(e, m.id);
    return VV_OK;
}

/* ---- by size ---- */

static double score_level0(const lsm_engine *e, const lsm_view *view)
{
    return (double)view->level0_count / (double)e->opt.level0_runs_max;
}

static double score_level(const lsm_engine *e, const lsm_level *level)
{
    if (level->number + 1 >= LSM_LEVELS)
        return 0;
    return (double)level->bytes / (double)lsm_level_target(e, level->number);
}

static vv_status pick_by_size(lsm_engine *e, lsm_view *view, lsm_job **out, vv_error *err)
{
    double best = score_level0(e, view);
    lsm_level *level = best < 1 ? NULL : view->level[view->level0_count - 1];
    for (uint32_t i = view->level0_count; i < view->level_count; i++) {
        double score = score_level(e, view->level[i]);
        if (score > 1 && score > best) {
            best = score;
            level = view->level[i];
        }
    }
    if (level == NULL)
        return VV_OK;
    if (level->number == 0)
        return start_level0(e, view, level->run[0], true, out, err);
    lsm_run *run = cheapest(level, level_of(view, level->number + 1));
    return start_run(e, view, run, level->number, true, out, err);
}

/* ---- by cursors ---- */

void lsm_compact_note_cursor(lsm_engine *e, const lsm_view *view)
{
    if (view->level0_count < 2 || e->opt.read_only)
        return;
    uint64_t before = atomic_fetch_add_explicit(&e->level0_seeks, 1, memory_order_relaxed);
    if (before % SEEKS_MIN == SEEKS_MIN - 1 && e->opt.hooks.on_work != NULL)
        e->opt.hooks.on_work(e->opt.hooks.ctx);
}

static vv_status pick_by_cursors(lsm_engine *e, lsm_view *view, lsm_job **out, vv_error *err)
{
    uint64_t seeks = atomic_load_explicit(&e->level0_seeks, memory_order_relaxed);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < view->level0_count; i++)
        bytes += view->level[i]->bytes;
    bool is_quiet = view->mem_count == 1; /* what is written now makes new sets soon */
    if (!is_quiet || view->level0_count < 2 || seeks < SEEKS_MIN || seeks < bytes / SEEK_PAYS)
        return VV_OK;
    atomic_store_explicit(&e->level0_seeks, 0, memory_order_relaxed);
    return start_level0(e, view, view->level[view->level0_count - 1]->run[0], true, out, err);
}

/* ---- at rest ---- */

void lsm_settle(engine *base)
{
    lsm_engine *e = lsm_engine_of(base);
    if (e->opt.read_only)
        return;
    atomic_store_explicit(&e->settles, true, memory_order_relaxed);
    if (e->opt.hooks.on_work != NULL)
        e->opt.hooks.on_work(e->opt.hooks.ctx);
}

static vv_status pick_at_rest(lsm_engine *e, lsm_view *view, lsm_job **out, vv_error *err)
{
    if (!atomic_load_explicit(&e->settles, memory_order_relaxed))
        return VV_OK;
    uint64_t bytes = 0;
    const lsm_level *below = level_of(view, 1);
    for (uint32_t i = 0; i < view->level0_count; i++)
        bytes += view->level[i]->bytes;
    bool pays = below == NULL || below->bytes / REST_PAYS <= bytes;
    if (view->mem_count > 1 || view->level0_count == 0 || !pays) { /* done, or somebody writes */
        atomic_store_explicit(&e->settles, false, memory_order_relaxed);
        return VV_OK;
    }
    return start_level0(e, view, view->level[view->level0_count - 1]->run[0], true, out, err);
}

/* ---- garbage ---- */

/* Bytes in deeper levels that the run's range deletions cover, about. Looks at the first few. */
static uint64_t covered_below(const lsm_view *view, uint32_t from, const lsm_run *run)
{
    uint64_t bytes = 0;
    size_t count = vv_min_u64(engine_rangedels_count(run->rangedels), RANGES_LOOKED_AT);
    for (size_t i = 0; i < count; i++) {
        const engine_range *r = engine_rangedels_at(run->rangedels, i);
        for (uint32_t j = from; j < view->level_count; j++) {
            const lsm_level *level = view->level[j];
            for (uint32_t k = lsm_level_first(level, r->start);
                 k < level->run_count && lsm_meta_overlaps(&level->run[k]->meta, r->start, r->end);
                 k++)
                bytes += lsm_run_size_between(level->run[k], r->start, r->end);
        }
    }
    return bytes;
}

/* Bytes in deeper levels that the run's deletions hide: as many entries of the size usual there. */
static uint64_t hidden_below(const lsm_view *view, uint32_t from, const lsm_run *run)
{
    uint64_t bytes = 0;
    uint64_t entries = 0;
    for (uint32_t j = from; j < view->level_count; j++) {
        const lsm_level *level = view->level[j];
        for (uint32_t k = lsm_level_first(level, run->meta.lower);
             k < level->run_count &&
             lsm_meta_overlaps(&level->run[k]->meta, run->meta.lower, run->meta.upper);
             k++) {
            bytes += level->run[k]->meta.size;
            entries += level->run[k]->meta.entries;
        }
    }
    uint64_t hidden = vv_min_u64(run->meta.deletes, entries);
    return entries == 0 ? 0 : (uint64_t)((double)hidden * (double)bytes / (double)entries);
}

/* Would merging the run into the next level free half of what it reads? Nothing beneath: then what
 * deletions are still here are those some reader needs. */
static bool is_garbage(const lsm_view *view, uint32_t level_index, const lsm_run *run)
{
    const lsm_level *level = view->level[level_index];
    uint32_t below = level->number == 0 ? view->level0_count : level_index + 1;
    if (level->number + 1 >= LSM_LEVELS)
        return false;
    uint64_t frees = hidden_below(view, below, run) + covered_below(view, below, run);
    uint64_t reads = run->meta.size + overlap_bytes(run, level_of(view, level->number + 1));
    return frees > reads / 2;
}

static vv_status pick_garbage(lsm_engine *e, lsm_view *view, lsm_job **out, vv_error *err)
{
    for (uint32_t i = 0; i < view->level_count; i++)
        for (uint32_t j = 0; j < view->level[i]->run_count; j++) {
            lsm_run *run = view->level[i]->run[j];
            if ((run->meta.deletes == 0 && run->rangedels == NULL) || !is_garbage(view, i, run))
                continue;
            return view->level[i]->number == 0
                       ? start_level0(e, view, run, false, out, err)
                       : start_run(e, view, run, view->level[i]->number, false, out, err);
        }
    return VV_OK;
}

/* ---- value files ---- */

static bool refers_to_garbage(lsm_engine *e, const lsm_run *run)
{
    vv_slice uses = run->meta.values;
    lsm_value_use use;
    while (lsm_value_use_next(&uses, &use))
        if (lsm_value_is_garbage(&e->store, use.file))
            return true;
    return false;
}

/* A run that refers to a value file most of which is garbage is rewritten where it is, and its
 * values with it: the file goes when the last such run is done. */
static vv_status pick_values(lsm_engine *e, lsm_view *view, lsm_job **out, vv_error *err)
{
    for (uint32_t i = 0; i < view->level_count; i++)
        for (uint32_t j = 0; j < view->level[i]->run_count; j++) {
            lsm_run *run = view->level[i]->run[j];
            if (run->meta.values.len == 0 || !refers_to_garbage(e, run))
                continue;
            uint32_t number = view->level[i]->number;
            return number == 0 ? start_level0(e, view, run, false, out, err)
                               : compact_in_place(e, view, run, number, out, err);
        }
    return VV_OK;
}

vv_status lsm_compact_pick(lsm_engine *e, lsm_job **out, vv_error *err)
{
    *out = NULL;
    lsm_view *view = lsm_view_acquire(e);
    vv_status st = pick_by_size(e, view, out, err);
    if (st == VV_OK && *out == NULL)
        st = pick_by_cursors(e, view, out, err);
    if (st == VV_OK && *out == NULL)
        st = pick_at_rest(e, view, out, err);
    if (st == VV_OK && *out == NULL)
        st = pick_manual(e, view, out, err);
    if (st == VV_OK && *out == NULL)
        st = pick_garbage(e, view, out, err);
    if (st == VV_OK && *out == NULL)
        st = pick_values(e, view, out, err);
    lsm_view_release(e, view);
    return st;
}

bool lsm_is_flush_held(lsm_engine *e)
{
    lsm_view *view = lsm_view_acquire(e);
    bool held = view->level0_count >= e->opt.level0_runs_max * LSM_SETS_MAX;
    lsm_view_release(e, view);
    return held;
}
