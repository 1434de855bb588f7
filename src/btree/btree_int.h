/*
 * btree_int.h - the engine's state, shared by the files of this folder.
 *
 *     writer      prepare -> apply        active memtable, under `lock`
 *       | full: rotate (new view)
 *     work()      one job                 frozen memtables -> leaves, copied on write; or pages of
 *                                         thin data files -> the active one
 *       | manifest change durable, then a new view
 *     readers     epoch section -> view   no lock
 *
 * Lock order: lock (ENGINE) < manifest.lock (LSM) < cache < io. lock is never held during I/O.
 */
#ifndef VARVE_BTREE_BTREE_INT_H
#define VARVE_BTREE_BTREE_INT_H

#include "base/util.h"
#include "btree/btree.h"
#include "btree/btree_write.h"
#include "engine/health.h"
#include "engine/memstack.h"
#include "engine/merge.h"
#include "engine/readers.h"
#include "io/vio_queue.h"

/* One state of the tree with everything to read it. Immutable, shared by count. */
typedef struct btree_tree {
    _Atomic uint32_t refs;
    btree_store *store;
    btree_state state;
    btree_inode *main; /* NULL: empty */
    btree_inode *history;
    uint32_t file_count;
    btree_file *files[]; /* that have pages of it, sorted by id */
} btree_tree;

/** Read a state's index. Gives *out with one reference. shared: open files to use where they are
 * the same (sorted by id). */
VV_MUST_CHECK vv_status btree_tree_load(btree_store *store, const btree_state *state,
                                        btree_file *const *shared, uint32_t shared_count,
                                        btree_tree **out, vv_error *err);
/** From what a writer made; takes the nodes over on success. Files without live pages are left out.
 */
VV_MUST_CHECK vv_status btree_tree_create(btree_writer *w, btree_inode *main, btree_inode *history,
                                          btree_tree **out, vv_error *err);
static inline void btree_tree_ref(btree_tree *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
}
void btree_tree_unref(btree_tree *t); /* accepts NULL; takes no lock */
bool btree_tree_has_file(const btree_tree *t, const btree_file *file);

/* Range deletions that were flushed and that a pin is older than. Immutable, shared by count. */
typedef struct btree_cuts {
    engine_rangedels *set; /* NULL: none */
    int64_t known_from;    /* of what was written above it nothing is forgotten */
} btree_cuts;

/* What a reader sees: memtables and the tree, at one moment. */
typedef struct btree_view {
    _Atomic uint32_t refs;
    uint32_t mem_count;
    btree_tree *tree;
    btree_cuts cuts;        /* holds the set */
    engine_memtable *mem[]; /* [0] active, the others frozen, newest first */
} btree_view;

typedef struct btree_job btree_job;

/* An archive and the tree it shows. */
typedef struct btree_kept {
    btree_archive_meta meta;
    btree_tree *tree; /* holds its files */
} btree_kept;

/* A range to compact; bytes hold lower, then upper. NULL: none. */
typedef struct btree_request {
    uint8_t *bytes;
    vv_slice lower;
    vv_slice upper;
} btree_request;

typedef struct btree_engine {
    engine base;
    engine_options opt; /* with the defaults filled in; dir is store.dir */
    btree_store store;
    btree_manifest manifest;
    engine_memtable_pool *pool;
    engine_pins pins;
    _Atomic(btree_view *) view; /* readers: epoch section; changed under lock */
    _Atomic int64_t visible;    /* release in publish */
    _Atomic int64_t checkpoint; /* any thread */
    engine_health health;

    vv_mutex lock; /* VV_RANK_ENGINE */
    /* Under lock: */
    engine_prepared prepared;
    bool is_warm;            /* the next memtable's arena was asked for: once a memtable */
    _Atomic bool wants_warm; /* for work(): populate it. Set under lock, taken without */
    bool job_busy;           /* a thread is in a step, or changes archives */
    btree_request manual;    /* a range asked for by compact_range */
    bool tighten; /* after a manual compaction: data files are to hold little that is dead */

    /* Of the thread that has job_busy: */
    btree_job *job;       /* in progress, or NULL */
    btree_active active;  /* the data file that is appended to */
    btree_ids ids;        /* free page ids */
    uint64_t swept_pages; /* leaves of the history after its last sweep */
    int64_t archived_ns;  /* wall time of the last periodic archive; 0: not known yet */

    /* Under lock; changed by who has job_busy: */
    btree_kept *kept; /* in the order of the state's archives */
    uint32_t kept_count;

    /* Statistics: any thread, relaxed. */
    _Atomic uint64_t flushes, flush_bytes;
    _Atomic uint64_t compactions, compaction_read_bytes, compaction_write_bytes;
} btree_engine;

static inline btree_engine *btree_engine_of(engine *e)
{
    return VV_CONTAINER_OF(e, btree_engine, base);
}

/* ---- btree_view.c ---- */

/** The current view with a reference. Any thread. */
btree_view *btree_view_acquire(btree_engine *e);
/** Drop a reference; tells the owner when that left files to remove. */
void btree_view_release(btree_engine *e, btree_view *view);
VV_MUST_CHECK vv_status btree_view_create(uint32_t mem_count, btree_view **out, vv_error *err);
static inline void btree_view_ref(btree_view *v)
{
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
}
void btree_view_unref(void *view); /* accepts NULL; the form fits vv_epoch_retire */
/** The old view's tree and memtables behind a new active one. */
VV_MUST_CHECK vv_status btree_view_with_memtable(const btree_view *old, engine_memtable *mem,
                                                 btree_view **out, vv_error *err);
/** Replace the tree and the cuts, and drop the oldest mem_count memtables. Takes the references of
 * tree and cuts on success. */
VV_MUST_CHECK vv_status btree_install(btree_engine *e, uint32_t mem_count, btree_tree *tree,
                                      const btree_cuts *cuts, vv_error *err);

/* ---- btree_read.c ---- */

vv_status btree_get(engine *base, vv_slice key, const engine_read *read, engine_value *out,
                    vv_error *err);
/* A leaf that a read needs and the cache does not have. */
typedef struct btree_missing {
    btree_file *file;
    uint32_t page;
    uint32_t sum;
    uint32_t id;
} btree_missing;

/** The same in a view that the caller holds. leaf: the one that was missing, pinned, or NULL.
 * missing (may be NULL): where it is when VV_BUSY, of a read from memory, means a leaf. */
vv_status btree_get_in(btree_engine *e, btree_view *view, vv_slice key, const engine_read *read,
                       pgc_frame *leaf, btree_missing *missing, engine_value *out, vv_error *err);
vv_status btree_cursor(engine *base, const engine_cursor_options *opt, engine_cursor **out,
                       vv_error *err);

/* ---- btree_step.c ---- */

int btree_get_step(engine *base, engine_get *g, vio_queue *q);
void btree_get_drop(engine *base, engine_get *g);
vv_status btree_multi_get(engine *base, const vv_slice *keys, size_t count, const engine_read *read,
                          engine_value *out, vv_status *status, vv_error *err);

/* ---- btree_source.c ---- */

/** A tree's newest versions, or its history, as a source. The tree must outlive it. scan: past the
 * cache. */
VV_MUST_CHECK vv_status btree_source_create(btree_tree *tree, bool history, bool scan,
                                            engine_source **out, vv_error *err);
/** Items have their values as the leaf holds them: for who asks for keys and versions. */
void btree_source_leave_values(engine_source *src);

/* ---- btree_touch.c ---- */

vv_status btree_touched(engine *base, vv_slice lower, vv_slice upper, int64_t since,
                        engine_touch *out, vv_error *err);

/* ---- btree_value.c ---- */

/** A value that is not in its leaf as it is: from overflow pages, decompressed. *frame is pinned
 * and holds it. */
VV_MUST_CHECK vv_status btree_value_load(btree_tree *tree, const btree_found *found,
                                         pgc_frame **frame, vv_slice *value, vv_error *err);
#define BTREE_VALUE_APART (BTREE_IS_OVERFLOW | BTREE_CODEC_MASK) /* flags that need it */

/* ---- btree_compress.c ---- */

/** The dictionary of the store from now on. Takes a reference. */
VV_MUST_CHECK vv_status btree_dict_adopt(btree_store *s, btree_blob *bytes, vv_error *err);
/** A compressed value into a frame of its own, pinned. */
VV_MUST_CHECK vv_status btree_decompress_value(btree_store *s, uint32_t flags, vv_slice stored,
                                               pgc_frame **frame, vv_error *err);

/* ---- btree_files.c ---- */

void btree_hold_files(engine *base);
void btree_release_files(engine *base);
vv_status btree_list_files(engine *base,
                           vv_status (*each)(void *ctx, const engine_file *file, vv_error *err),
                           void *ctx, int64_t *checkpoint, vv_error *err);

/* ---- btree_history.c ---- */

/** The history key of a version; out has BTREE_KEY_MAX bytes. Returns its length. */
size_t btree_history_key(uint8_t *out, vv_slice key, int64_t version, engine_kind kind);
/** The least history key of a key (with all its versions above it). */
size_t btree_history_floor(uint8_t *out, vv_slice key);
/** Take one apart; key has ENGINE_KEY_MAX bytes. False when it is none. */
bool btree_history_parse(vv_slice in, uint8_t *key, size_t *key_len, int64_t *version,
                         engine_kind *kind);

/* ---- btree_job.c ---- */

/** Merge frozen memtables (all but the active one) into the tree. */
VV_MUST_CHECK vv_status btree_job_flush(btree_engine *e, btree_job **out, vv_error *err);
/** Rewrite the leaves of a range. Takes over what is in request on success. */
VV_MUST_CHECK vv_status btree_job_compact(btree_engine *e, btree_request *request, btree_job **out,
                                          vv_error *err);
/** The request of a job that failed, back into an empty *out; it stays empty if there was none. */
void btree_job_take_request(btree_job *job, btree_request *out);
bool btree_job_is_compaction(const btree_job *job);
/** Move the live pages of thin data files; *out NULL when there is nothing worth it. */
VV_MUST_CHECK vv_status btree_job_move(btree_engine *e, bool tighten, btree_job **out,
                                       vv_error *err);
/** One bounded piece. VV_OK and *done when the job has ended and can be destroyed. */
VV_MUST_CHECK vv_status btree_job_step(btree_job *job, bool *done, vv_error *err);
/** True when a failed step may be tried again as it is: its pages may be committed. */
bool btree_job_is_committing(const btree_job *job);
/** Gives up what is not committed. Accepts NULL. */
void btree_job_destroy(btree_job *job);

/* ---- btree_archive.c ---- */

/** Load the archives that the manifest names. current: the newest tree, whose files they share. */
VV_MUST_CHECK vv_status btree_archives_open(btree_engine *e, btree_tree *current, vv_error *err);
void btree_archives_close(btree_engine *e);
/** Does an archive have pages in the file? By who has job_busy. */
bool btree_archives_have(const btree_engine *e, const btree_file *file);
/** Make a periodic archive when it is time; VV_NOT_FOUND when it is not. By who has job_busy. */
VV_MUST_CHECK vv_status btree_archive_tick(btree_engine *e, vv_error *err);

/* ---- btree_work.c, btree_check.c ---- */

vv_status btree_work(engine *base, vv_error *err);
vv_status btree_compact_range(engine *base, vv_slice lower, vv_slice upper, vv_error *err);
int64_t btree_throttle_ns(engine *base, size_t bytes);
vv_status btree_check(engine *base, void (*finding)(void *ctx, const char *text), void *ctx,
                      vv_error *err);

#endif
