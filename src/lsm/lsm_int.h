/*
 * lsm_int.h - the engine's state, shared by the files of this folder.
 *
 *     writer          prepare -> apply          active memtable, under `lock`
 *       | full: rotate (new view)
 *     work()          flush job                 frozen memtables -> a set of level 0
 *                     compaction job            runs of level n and n+1 -> level n+1
 *       | manifest edit durable, then a new view
 *     readers         epoch section -> view     no lock
 *
 * Lock order: lock (ENGINE) < manifest.lock (LSM) < cache < io. lock is never held during I/O.
 */
#ifndef VARVE_LSM_LSM_INT_H
#define VARVE_LSM_LSM_INT_H

#include "engine/engine.h"
#include "engine/health.h"
#include "engine/memstack.h"
#include "engine/merge.h"
#include "engine/readers.h"
#include "lsm/lsm.h"
#include "lsm/lsm_manifest.h"
#include "lsm/lsm_pace.h"
#include "lsm/lsm_view.h"

typedef struct lsm_job lsm_job;

typedef struct lsm_engine {
    engine base;
    engine_options opt; /* with the defaults filled in; dir is store.dir */
    lsm_store store;
    lsm_manifest manifest;
    engine_memtable_pool *pool;
    engine_pins pins;
    _Atomic(lsm_view *) view;   /* readers: epoch section; changed under lock */
    _Atomic int64_t visible;    /* release in publish */
    _Atomic int64_t checkpoint; /* any thread */
    engine_health health;
    _Atomic int64_t
        bulk_version; /* memtables know nothing of what runs got up to here: lsm_bulk.c */
    _Atomic(lsm_job *) doubtful; /* a bulk load that the manifest may have or not: lsm_bulk.c */

    vv_mutex lock; /* VV_RANK_ENGINE */
    /* Under lock: */
    engine_prepared prepared;
    bool is_warm;            /* the next memtable's arena was asked for: once a memtable */
    _Atomic bool wants_warm; /* for work(): populate it. Set under lock, taken without */
    lsm_job *flush;          /* in progress, or NULL */
    lsm_job *compaction;
    bool flush_busy; /* a thread is in a step of it */
    bool compaction_busy;
    bool install_busy;     /* a thread is making new levels */
    uint32_t bulk_placing; /* bulk loads that chose a level and are not in the view yet */
    bool flush_is_past; /* a flush is writing runs of level 1 between these keys, which it owns */
    vv_slice past_first, past_last;
    uint8_t *manual; /* a range asked for by compact_range: lower, then upper; or NULL */
    vv_slice manual_lower, manual_upper;
    uint64_t manual_id; /* runs below it have not been rewritten for it yet */

    lsm_pace pace;
    bool tier_busy;               /* a thread is in lsm_tier_work; under lock */
    bool tier_is_half;            /* by that thread: some file may be remote and still read here */
    uint32_t tier_turn;           /* by that thread: among objects, the first to look after */
    _Atomic int64_t remote_pause; /* monotonic: until then no job reads objects (lsm_work.c) */

    /* Statistics: any thread, relaxed. */
    _Atomic uint64_t flushes, flush_bytes;
    _Atomic uint64_t compactions, compaction_read_bytes, compaction_write_bytes;
    _Atomic uint64_t level_read_bytes[LSM_LEVELS], level_write_bytes[LSM_LEVELS];
    _Atomic uint64_t bulk_loads, bulk_bytes;
    _Atomic bool settles;          /* nobody writes: level 0 may go down */
    _Atomic uint64_t level0_seeks; /* cursors over several sets since those were merged */
} lsm_engine;

/* Some runs are to go to an object store: then their age matters. */
static inline bool lsm_has_policy(const lsm_engine *e)
{
    const engine_tier *t = e->opt.tier;
    return t != NULL && (t->run_age_ns > 0 || t->run_local_bytes > 0);
}

static inline lsm_engine *lsm_engine_of(engine *e)
{
    return VV_CONTAINER_OF(e, lsm_engine, base);
}

/* ---- lsm_engine.c ---- */

/** The current view with a reference. Any thread. */
lsm_view *lsm_view_acquire(lsm_engine *e);
/** Drop a reference; tells the owner when that left files to remove. */
void lsm_view_release(lsm_engine *e, lsm_view *view);
/** Make view the current one and retire the old one. Takes view. */
void lsm_view_publish(lsm_engine *e, lsm_view *view) VV_REQUIRES(e->lock);
void lsm_view_retire(lsm_view *old);
static inline uint64_t lsm_level_target(const lsm_engine *e, uint32_t level)
{
    uint64_t target = e->opt.memtable_size * e->opt.level0_runs_max;
    for (uint32_t i = 1; i < level; i++)
        target *= 10;
    return target;
}

/* ---- lsm_files.c ---- */

void lsm_hold_files(engine *base);
void lsm_release_files(engine *base);
vv_status lsm_list_files(engine *base,
                         vv_status (*each)(void *ctx, const engine_file *file, vv_error *err),
                         void *ctx, int64_t *checkpoint, vv_error *err);

vv_status lsm_open_remote(engine *base, const char *path, vio_file **out, vv_error *err);

/* ---- lsm_tier.c ---- */

vv_status lsm_tier_work(engine *base, vv_error *err);

/* ---- lsm_form.c ---- */

/** The form of a table's blocks in a run of this level. */
lsm_form lsm_form_of(const lsm_engine *e, uint32_t table, uint32_t level);
/** True when a run of level 0 may go to `level` as it is: it has the form it would get there. */
bool lsm_form_stays(const lsm_engine *e, const lsm_run *run, uint32_t level);

/* ---- lsm_read.c ---- */

vv_status lsm_get(engine *base, vv_slice key, const engine_read *read, engine_value *out,
                  vv_error *err);
/** The value of an item that lies in a memtable, so that it outlives the section. */
void lsm_value_of_memtable(const engine_item *item, engine_memtable *holder, engine_value *out);
vv_status lsm_cursor(engine *base, const engine_cursor_options *opt, engine_cursor **out,
                     vv_error *err);

/* ---- lsm_resolve.c ---- */

/** The value of a key whose newest version is a merge, appended to out. The caller holds the view
 * and is in no epoch section. VV_BUSY as lsm_get. */
VV_MUST_CHECK vv_status lsm_resolve(lsm_store *store, const lsm_view *view, vv_slice key,
                                    const engine_read *read, vv_buf *out, int64_t *version,
                                    int64_t *expires_ns, vv_error *err);

/* What a point read found that is not the value itself: a merge, or a reference. */
typedef struct lsm_found {
    engine_kind kind; /* ENGINE_MERGE or ENGINE_APART */
    vv_slice key;
    vv_slice reference; /* of ENGINE_APART */
} lsm_found;

/** Its value, in memory of its own; version and expiry stay but for a merge. The caller holds the
 * view and is in no epoch section. VV_BUSY as lsm_get. */
VV_MUST_CHECK vv_status lsm_give_resolved(lsm_engine *e, const lsm_view *view,
                                          const lsm_found *found, const engine_read *read,
                                          engine_value *out, vv_error *err);

/* ---- lsm_multi.c ---- */

vv_status lsm_multi_get(engine *base, const vv_slice *keys, size_t count, const engine_read *read,
                        engine_value *out, vv_status *status, vv_error *err);

/* ---- lsm_step.c ---- */

int lsm_get_step(engine *base, engine_get *g, vio_queue *q);
void lsm_get_drop(engine *base, engine_get *g);

/* ---- lsm_touch.c ---- */

vv_status lsm_touched(engine *base, vv_slice lower, vv_slice upper, int64_t since,
                      engine_touch *out, vv_error *err);

/* ---- lsm_ranges.c ---- */

/** What is left to write of the range deletions of a job: overlapping ones cut into fragments, one
 * for each version that some reader can tell apart. Borrows the keys of in. Gives *out: vv_free. */
VV_MUST_CHECK vv_status lsm_ranges_reduce(engine_readers *readers, const engine_range *in,
                                          size_t count, engine_range **out, size_t *out_count,
                                          vv_error *err);

/** A range that several tables' floors would have to agree on: it is never dropped. */
bool lsm_range_spans_tables(const engine_range *r);

/* ---- lsm_job.c: the work a flush and a compaction share ---- */

/** Merge frozen memtables (the last mem_count of the view) into a set of level 0. */
VV_MUST_CHECK vv_status lsm_job_flush(lsm_engine *e, lsm_job **out, vv_error *err);
/** Merge runs into level output. Inputs are of view, which the job takes a reference on. */
VV_MUST_CHECK vv_status lsm_job_compact(lsm_engine *e, lsm_view *view, lsm_run *const *inputs,
                                        uint32_t count, uint32_t output, lsm_job **out,
                                        vv_error *err);
/** Change the level of a run without rewriting it. */
VV_MUST_CHECK vv_status lsm_job_move(lsm_engine *e, lsm_view *view, lsm_run *run, uint32_t output,
                                     lsm_job **out, vv_error *err);
/** True when a run is among the inputs. */
bool lsm_job_has_input(const lsm_job *job, const lsm_run *run);
/** One bounded piece: about a MiB merged, or what follows the last of them. VV_OK and *done when
 * the job has ended and can be destroyed. */
VV_MUST_CHECK vv_status lsm_job_step(lsm_job *job, bool *done, vv_error *err);
/* How far a job is. */
typedef struct lsm_progress {
    uint64_t merged;     /* bytes so far */
    double level0_share; /* of its input that is of level 0 */
    int64_t begin_ns;    /* monotonic */
} lsm_progress;
lsm_progress lsm_job_progress(const lsm_job *job);
/** True when a failed step may be tried again as it is: its files are complete. */
bool lsm_job_is_committing(const lsm_job *job);
/** Gives up what is not committed. Accepts NULL. */
void lsm_job_destroy(lsm_job *job);

/* ---- lsm_install.c ---- */

#define LSM_OWN_LEVEL UINT32_MAX /* each added run goes where its meta says */

/** Put a committed change into a new view: mem_count memtables gone, runs gone, runs there.
 * *busy: another thread is at it, try again. VV_NO_MEMORY: nothing changed. */
VV_MUST_CHECK vv_status lsm_install(lsm_engine *e, uint32_t mem_count, lsm_run *const *remove,
                                    uint32_t remove_count, lsm_run *const *add, uint32_t add_count,
                                    uint32_t add_level, uint64_t group, bool *busy, vv_error *err);

/* ---- lsm_compact.c ---- */

/** The next compaction worth doing, or NULL. */
/** A cursor was opened over view. Enough of them over several sets of level 0 have those merged.
 * Any thread. */
void lsm_compact_note_cursor(lsm_engine *e, const lsm_view *view);
VV_MUST_CHECK vv_status lsm_compact_pick(lsm_engine *e, lsm_job **out, vv_error *err);
void lsm_settle(engine *base);
vv_status lsm_compact_range(engine *base, vv_slice lower, vv_slice upper, vv_error *err);
#define LSM_SETS_MAX 8u /* times level0_runs_max */
/** Too many flushed sets: flushing waits for a compaction. */
bool lsm_is_flush_held(lsm_engine *e);

/* ---- lsm_work.c ---- */

vv_status lsm_work(engine *base, vv_error *err);
vv_status lsm_work_on(engine *base, engine_work kind, vv_error *err);

/** What happened to background work, for prepare and stats: VV_NO_SPACE passes, others stay. */
void lsm_note_outcome(lsm_engine *e, vv_status st, const vv_error *err) VV_REQUIRES(e->lock);

/* ---- lsm_bulk.c ---- */

extern const engine_bulk_ops lsm_bulk_ops;
/** Make sure that a load whose commit failed is not in the manifest, and remove its files. VV_OK
 * also when there is none. */
VV_MUST_CHECK vv_status lsm_bulk_settle_doubt(lsm_engine *e, vv_error *err);

/* ---- lsm_check.c ---- */

vv_status lsm_check(engine *base, void (*finding)(void *ctx, const char *text), void *ctx,
                    vv_error *err);

/* ---- lsm_dump_samples.c ---- */

/* What an item has of samples of a series, line by line; nothing of any other item. */
void lsm_dump_samples(const engine_item *item, void (*line)(void *ctx, const char *text),
                      void *ctx);

#endif
