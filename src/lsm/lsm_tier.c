/*
 * lsm_tier.c - old runs, and the value files that they alone refer to, go to an object store.
 *
 *   local --INTENT--> local --upload, verify--> local --side file--> local --REMOTE--> object
 *           manifest            object store            disk                 manifest      |
 *                                                                     no run names it any more
 *                                                                                          v
 *                                                       forgotten <--object removed-- DYING, grace
 *                                                       manifest      object store     manifest
 *
 * One piece a call: one file moved, or one object on its way out. Each step can be taken again:
 * who finds an INTENT looks whether the object is there already, who finds a DYING one removes it
 * once more. The local file goes when REMOTE is durable and the last reader of the old handle has
 * ended; what a crash leaves beside REMOTE the next open removes (lsm_manifest.c).
 *
 * Which: runs of level 1 and deeper whose newest data is older than run_age_ns, and while more
 * bytes are local than run_local_bytes the oldest of them. Level 0 stays: it is merged soon. So do
 * the tables that an open reads, below first_table: runs end before those of users. A value file
 * follows when every run that refers to it has gone.
 *
 * An upload takes as long as the store does, so nothing is held meanwhile but a view. Only the
 * change from one handle to the other excludes compactions, whose inputs are run objects: it takes
 * their place for the length of a manifest edit.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "base/util.h"
#include "lsm/lsm_int.h"
#include "lsm/lsm_remote.h"
#include "lsm/lsm_value.h"

#define TURN_TRIES 200u
#define REMOVALS_TRIED 4u /* that fail, in one piece */
#define TURN_PAUSE_NS (10 * VV_NS_PER_MS)

/* ---- edits ---- */

static vv_status commit_state(lsm_engine *e, lsm_object *o, lsm_object_state state, vv_error *err)
{
    o->state = state;
    o->time_ns = vv_clock_wall(e->opt.env->clock);
    lsm_edit edit = {.objects = o, .object_count = 1, .checkpoint = -1};
    return lsm_manifest_commit(&e->manifest, &edit, err);
}

/* ---- from local to remote ---- */

static void name_of(const lsm_engine *e, lsm_object *o)
{
    char id[33];
    for (size_t i = 0; i < 16; i++)
        (void)snprintf(id + 2 * i, 3, "%02x", e->opt.tier->store_id[i]);
    (void)snprintf(o->name, sizeof o->name, "runs/%s/%u/%s-%012" PRIu64 "-%08x", id, e->store.shard,
                   o->is_values ? "val" : "run", o->id, o->crc);
}

static void local_path(const lsm_engine *e, const lsm_object *o, char out[VIO_PATH_MAX])
{
    if (o->is_values)
        lsm_value_path(out, e->store.dir, o->id);
    else
        lsm_run_path(out, e->store.dir, o->id);
}

/* Only what a planted bug does: the file goes with its last reader. */
static void remove_local(lsm_engine *e, const lsm_object *o)
{
    char path[VIO_PATH_MAX];
    local_path(e, o, path);
    (void)!vio_remove(e->opt.env->io, path, NULL);
}

/* The object of a file that has none yet, announced. */
static vv_status announce(lsm_engine *e, vio_file *file, lsm_object *o, vv_error *err)
{
    vv_status st = vio_size(file, &o->size, err);
    if (st == VV_OK)
        st = lsm_upload_sum(&e->store, file, o->size, &o->crc, err);
    if (st != VV_OK)
        return st;
    name_of(e, o);
    st = commit_state(e, o, LSM_OBJECT_INTENT, err);
    VV_POINT("lsm.tier.intent");
    return st;
}

/* Everything that may be done while readers and compactions go on. o->state 0: from the start. */
static vv_status store_object(lsm_engine *e, lsm_object *o, vv_error *err)
{
    char path[VIO_PATH_MAX];
    vio_file *file = NULL;
    bool is_begun = o->state == LSM_OBJECT_INTENT;
    local_path(e, o, path);
    vv_status st = vio_open(e->opt.env->io, path, VIO_READ | VIO_BEHIND, &file, err);
    if (st != VV_OK)
        return st;
    if (!is_begun)
        st = announce(e, file, o, err);
    if (st == VV_OK && !VV_BUG(131))
        st = lsm_upload(&e->store, file, o, e->opt.tier, is_begun, err);
    VV_POINT("lsm.tier.stored");
    if (st == VV_OK && !o->is_values)
        st = lsm_side_write(&e->store, o, file, err);
    if (st == VV_NO_SPACE) /* to make room is what this is for: the next open writes it */
        st = VV_OK;
    VV_POINT("lsm.tier.side");
    vio_close(file);
    return st;
}

static vv_status commit_remote(lsm_engine *e, lsm_object *o, vv_error *err)
{
    vv_status st = VV_OK;
    if (o->state != LSM_OBJECT_REMOTE)
        st = commit_state(e, o, LSM_OBJECT_REMOTE, err);
    VV_POINT("lsm.tier.remote");
    return st == VV_OK ? lsm_remote_add(&e->store, o, err) : st;
}

/* ---- runs ---- */

/* The level of a view that holds the run of this id; *out is that run. NULL: none does. */
static const lsm_level *find_run(const lsm_view *view, uint64_t id, lsm_run **out)
{
    for (uint32_t i = 0; i < view->level_count; i++)
        for (uint32_t j = 0; j < view->level[i]->run_count; j++)
            if (view->level[i]->run[j]->meta.id == id) {
                *out = view->level[i]->run[j];
                return view->level[i];
            }
    return NULL;
}

/* As far as it can be told: a job that a thread is in is that thread's. */
static bool is_being_merged(lsm_engine *e, const lsm_run *run) VV_REQUIRES(e->lock)
{
    return !e->compaction_busy && e->compaction != NULL && lsm_job_has_input(e->compaction, run);
}

/* Take the place of compactions. VV_BUSY: not to be had now; VV_NOT_FOUND: the run is on its way
 * into others. */
static vv_status take_place(lsm_engine *e, const lsm_run *run, vv_error *err)
{
    for (unsigned tries = 0; tries < TURN_TRIES; tries++) {
        vv_mutex_lock(&e->lock);
        bool is_free = !e->compaction_busy;
        bool is_input = is_free && is_being_merged(e, run);
        if (is_free && !is_input)
            e->compaction_busy = true;
        vv_mutex_unlock(&e->lock);
        if (is_free)
            return is_input ? VV_NOT_FOUND : VV_OK;
        vv_clock_sleep(e->opt.env->clock, TURN_PAUSE_NS);
    }
    return vv_fail(err, VV_BUSY, "compactions leave no room between them");
}

static void give_place(lsm_engine *e)
{
    vv_mutex_lock(&e->lock);
    e->compaction_busy = false;
    vv_mutex_unlock(&e->lock);
    if (e->opt.hooks.on_work != NULL) /* a compaction may have come by */
        e->opt.hooks.on_work(e->opt.hooks.ctx);
}

/* Readers that come from now on read the object. In the place of compactions. */
static vv_status exchange_run(lsm_engine *e, lsm_run *run, uint32_t level, vv_error *err)
{
    lsm_run *remote = NULL;
    lsm_meta meta = run->meta; /* borrows; a run that was only moved keeps its first level there */
    meta.level = level;
    meta.group = 0;
    vv_status st = lsm_run_open(&e->store, meta.id, &meta, &remote, err);
    bool busy = true;
    while (st == VV_OK && busy) {
        st = lsm_install(e, 0, &run, 1, &remote, 1, level, 0, &busy, err);
        if (st == VV_OK && busy)
            vv_clock_sleep(e->opt.env->clock, VV_NS_PER_MS);
    }
    if (st == VV_OK) /* its local file goes with its last reader */
        atomic_store_explicit(&run->doomed, true, memory_order_relaxed);
    lsm_run_unref(remote);
    return st;
}

static vv_status finish_run(lsm_engine *e, lsm_object *o, vv_error *err)
{
    lsm_run *run = NULL;
    lsm_view *view = lsm_view_acquire(e);
    const lsm_level *level = find_run(view, o->id, &run);
    vv_status st = level == NULL ? VV_NOT_FOUND : take_place(e, run, err);
    lsm_view_release(e, view);
    if (st != VV_OK)
        return st;
    view = lsm_view_acquire(e); /* from here on no compaction changes it */
    level = find_run(view, o->id, &run);
    if (level == NULL || level->number == 0)
        st = VV_NOT_FOUND;
    if (st == VV_OK && VV_BUG(132))
        remove_local(e, o);
    if (st == VV_OK)
        st = commit_remote(e, o, err);
    if (st == VV_OK && !run->is_remote)
        st = exchange_run(e, run, level->number, err);
    lsm_view_release(e, view);
    give_place(e);
    return st;
}

/* ---- one file ---- */

/* Take it from where it stands to where reads go to the object. */
static vv_status move(lsm_engine *e, lsm_object *o, vv_error *err)
{
    vv_status st = o->state == LSM_OBJECT_REMOTE ? VV_OK : store_object(e, o, err);
    e->tier_is_half = true; /* until a piece finds that nothing is */
    if (st == VV_OK && o->is_values) {
        st = commit_remote(e, o, err);
        if (st == VV_OK)
            st = lsm_value_go_remote(&e->store, o->id, err);
    } else if (st == VV_OK) {
        st = finish_run(e, o, err);
    }
    return st == VV_OK || st == VV_NOT_FOUND
               ? st
               : vv_wrap(err, st, "%s %" PRIu64 " to the object store",
                         o->is_values ? "value file" : "run", o->id);
}

/* ---- which ---- */

static const lsm_object *object_of(const lsm_object *objects, uint32_t count, uint64_t id)
{
    for (uint32_t i = 0; i < count; i++)
        if (objects[i].id == id)
            return &objects[i];
    return NULL;
}

static bool is_older(const lsm_run *a, uint32_t a_level, const lsm_run *b, uint32_t b_level)
{
    if (a->meta.born_ns != b->meta.born_ns)
        return a->meta.born_ns < b->meta.born_ns;
    if (a_level != b_level)
        return a_level > b_level;
    return a->meta.id < b->meta.id;
}

static uint64_t local_bytes(lsm_engine *e, const lsm_view *view)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < view->level_count; i++)
        for (uint32_t j = 0; j < view->level[i]->run_count; j++)
            bytes += view->level[i]->run[j]->is_remote ? 0 : view->level[i]->run[j]->meta.size;
    lsm_value_stats values;
    lsm_value_count(&e->store, &values);
    return bytes + values.bytes - values.remote_bytes;
}

/* It has what the store needs to be opened. */
static bool must_stay(const lsm_engine *e, const lsm_run *run)
{
    vv_slice lower = run->meta.lower;
    uint32_t first = lower.len < ENGINE_TABLE_PREFIX ? 0 : vv_get_be32(lower.data);
    return first < e->opt.tier->first_table;
}

/* The oldest run that is to go, or NULL. Those with an object are looked after elsewhere. */
static const lsm_run *choose_run(lsm_engine *e, const lsm_view *view, const lsm_object *objects,
                                 uint32_t count)
{
    const engine_tier *t = e->opt.tier;
    const lsm_run *best = NULL;
    uint32_t best_level = 0;
    int64_t now = vv_clock_wall(e->opt.env->clock);
    bool is_over = t->run_local_bytes > 0 && local_bytes(e, view) > t->run_local_bytes;
    vv_mutex_lock(&e->lock);
    for (uint32_t i = view->level0_count; i < view->level_count; i++) {
        const lsm_level *level = view->level[i];
        for (uint32_t j = 0; j < level->run_count; j++) {
            const lsm_run *run = level->run[j];
            bool is_aged = t->run_age_ns > 0 && now - run->meta.born_ns >= t->run_age_ns;
            if (run->is_remote || !(is_aged || is_over) || must_stay(e, run) ||
                is_being_merged(e, run) || object_of(objects, count, run->meta.id) != NULL)
                continue;
            if (best == NULL || is_older(run, level->number, best, best_level)) {
                best = run;
                best_level = level->number;
            }
        }
    }
    vv_mutex_unlock(&e->lock);
    return best;
}

static bool local_run_uses(const lsm_view *view, uint64_t file)
{
    for (uint32_t i = 0; i < view->level_count; i++)
        for (uint32_t j = 0; j < view->level[i]->run_count; j++) {
            const lsm_run *run = view->level[i]->run[j];
            vv_slice uses = run->meta.values;
            lsm_value_use use;
            while (!run->is_remote && lsm_value_use_next(&uses, &use))
                if (use.file == file)
                    return true;
        }
    return false;
}

/* A value file that only remote runs refer to; 0: none. */
static uint64_t choose_values(const lsm_view *view, const lsm_object *objects, uint32_t count)
{
    for (uint32_t i = 0; i < view->level_count; i++)
        for (uint32_t j = 0; j < view->level[i]->run_count; j++) {
            const lsm_run *run = view->level[i]->run[j];
            vv_slice uses = run->meta.values;
            lsm_value_use use;
            while (run->is_remote && lsm_value_use_next(&uses, &use))
                if (object_of(objects, count, use.file) == NULL && !local_run_uses(view, use.file))
                    return use.file;
        }
    return 0;
}

static vv_status move_next(lsm_engine *e, const lsm_object *objects, uint32_t count, vv_error *err)
{
    lsm_object o = {0};
    lsm_view *view = lsm_view_acquire(e);
    o.id = choose_values(view, objects, count);
    o.is_values = o.id != 0;
    const lsm_run *run = o.is_values ? NULL : choose_run(e, view, objects, count);
    if (run != NULL)
        o.id = run->meta.id;
    vv_status st = o.id == 0 ? VV_NOT_FOUND : move(e, &o, err); /* the view keeps the file */
    lsm_view_release(e, view);
    return st;
}

/* ---- objects that are there ---- */

static vv_status remove_object(lsm_engine *e, const lsm_object *o, vv_error *err)
{
    char path[VIO_PATH_MAX];
    lsm_edit edit = {.forget = &o->id, .forget_count = 1, .checkpoint = -1};
    vv_status st = vv_object_remove(e->opt.tier->objects, o->name, NULL, err);
    VV_POINT("lsm.tier.removed");
    if (st == VV_OK)
        st = lsm_manifest_commit(&e->manifest, &edit, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "object '%s', which nothing names any more", o->name);
    lsm_remote_drop(&e->store, o->id);
    lsm_side_path(path, e->store.dir, o->id);
    (void)!vio_remove(e->opt.env->io, path, NULL); /* else the next open does it */
    return VV_OK;
}

/* A copy that is being made, or a reader of an old view, may still need it. */
static bool may_go(lsm_engine *e, const lsm_object *o)
{
    int64_t age = vv_clock_wall(e->opt.env->clock) - o->time_ns;
    return age >= e->opt.tier->grace_ns && atomic_load(&e->store.holds) == 0 &&
           lsm_remote_users(&e->store, o->id) == 0;
}

/* The local file of an object that counts is still what readers use. */
static bool is_half_moved(lsm_engine *e, const lsm_object *o)
{
    lsm_run *run = NULL;
    if (o->is_values)
        return lsm_value_is_local(&e->store, o->id);
    lsm_view *view = lsm_view_acquire(e);
    bool is_local = find_run(view, o->id, &run) != NULL && !run->is_remote;
    lsm_view_release(e, view);
    return is_local;
}

/* What an object asks for next. VV_NOT_FOUND: nothing. */
static vv_status tend(lsm_engine *e, const lsm_object *object, vv_error *err)
{
    lsm_object o = *object;
    if (o.state == LSM_OBJECT_DYING)
        return may_go(e, &o) ? remove_object(e, &o, err) : VV_NOT_FOUND;
    if (!o.is_named)
        return commit_state(e, &o, LSM_OBJECT_DYING, err);
    if (o.state == LSM_OBJECT_INTENT || (e->tier_is_half && is_half_moved(e, &o)))
        return move(e, &o, err);
    return VV_NOT_FOUND;
}

static vv_status one_piece(lsm_engine *e, vv_error *err)
{
    lsm_object *objects = NULL;
    uint32_t count = 0;
    vv_status st = lsm_manifest_objects(&e->manifest, &objects, &count, err);
    if (st != VV_OK)
        return st;
    vv_status failed = VV_OK; /* a removal: the rest goes on */
    vv_error why = {.status = VV_OK};
    unsigned failures = 0;
    uint32_t first = e->tier_turn;
    st = VV_NOT_FOUND;
    for (uint32_t i = 0; st == VV_NOT_FOUND && i < count; i++) {
        const lsm_object *o = &objects[(first + i) % count];
        const bool dies = o->state == LSM_OBJECT_DYING;
        if (dies && failures == REMOVALS_TRIED)
            continue;
        st = tend(e, o, dies ? &why : err);
        if (dies && st != VV_OK && st != VV_NOT_FOUND) {
            failed = st;
            st = VV_NOT_FOUND;
            if (++failures == REMOVALS_TRIED) /* others are next */
                e->tier_turn = (first + i + 1) % count;
        }
    }
    if (st == VV_NOT_FOUND) {
        e->tier_is_half = false;
        st = move_next(e, objects, count, err);
    }
    if (st == VV_NOT_FOUND && failed != VV_OK) {
        st = failed;
        if (err != NULL)
            *err = why;
    }
    vv_free(objects);
    return st;
}

vv_status lsm_tier_work(engine *base, vv_error *err)
{
    lsm_engine *e = lsm_engine_of(base);
    if (e->opt.tier == NULL || e->opt.tier->objects == NULL || e->opt.read_only)
        return VV_NOT_FOUND;
    vv_status st = engine_health_latched(&e->health, err);
    if (st != VV_OK)
        return st;
    vv_mutex_lock(&e->lock);
    bool was_busy = e->tier_busy;
    e->tier_busy = true;
    vv_mutex_unlock(&e->lock);
    if (was_busy)
        return VV_NOT_FOUND;
    st = one_piece(e, err);
    vv_mutex_lock(&e->lock);
    e->tier_busy = false;
    vv_mutex_unlock(&e->lock);
    return st;
}
