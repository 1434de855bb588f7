/*
 * engine.h - the storage of one shard behind one const table: lsm (the default), btree and memory
 * (the reference model of the tests) fill it; one conformance suite runs on all (engine_suite.h).
 *
 * Life of a write: prepare (may refuse) -> the caller logs it -> apply (cannot fail) -> durable ->
 * publish; or cancel, when it could not be logged. prepare, cancel and apply of one engine come
 * from one thread at a time, under the commit lock (apply perhaps from another thread than its
 * holder, who waits for it), with ascending versions; so does publish, but beside a prepare or an
 * apply of later versions. Everything else may come from any thread. A read at a version above
 * visible() sees what is applied so far: the resolver asks so.
 */
#ifndef VARVE_ENGINE_ENGINE_H
#define VARVE_ENGINE_ENGINE_H

#include "base/budget.h"
#include "engine/cursor.h"
#include "engine/entry.h"
#include "engine/touch.h"
#include "io/env.h"
#include "varve/object.h"

typedef struct engine_floor {
    int64_t version; /* reads below it are refused: their versions may be gone */
    int64_t
        time_ns; /* what expired at or before it may be gone; no later entry is committed before */
} engine_floor;

/* How the blocks of a table are compressed. Frozen: in the catalog's records. */
typedef enum engine_compression {
    ENGINE_COMPRESSION_AUTO =
        0, /* lz4 on levels 0 and 1, below them zstd with a dictionary where it pays */
    ENGINE_COMPRESSION_NONE = 1,
    ENGINE_COMPRESSION_LZ4 = 2,
    ENGINE_COMPRESSION_ZSTD = 3, /* lz4 on level 0 */
} engine_compression;

/* What files of a table look like. All zero is the default. */
typedef struct engine_form {
    engine_compression compression;
    uint32_t value_threshold; /* values of so many bytes lie apart; 0: 256 KiB; UINT32_MAX: none */
    bool is_packed; /* values are columns that a fast codec saves nothing of: auto is zstd */
} engine_form;

/* Where files that are old may lie: an object store, and which ones it is to have. The caller's,
 * for as long as the engine is open. */
typedef struct engine_tier {
    vv_object_store *objects; /* NULL: none is given; what lies in one cannot be read */
    uint8_t store_id[16];     /* in the names of objects */
    int64_t run_age_ns;       /* runs whose newest data is older go; 0: none by age */
    uint64_t run_local_bytes; /* the oldest runs go while there are more bytes; 0: none by size */
    int64_t grace_ns;         /* objects that nothing names stay for so long */
    uint64_t part_size;       /* of uploads; larger files go part by part; 0: 8 MiB */
    uint32_t first_table;     /* tables with lower ids stay: what an open needs */
    bool check_whole;         /* check reads every byte of every object */
} engine_tier;

typedef struct engine_hooks {
    void *ctx;
    /* Everything up to version is durable in the log when this returns. Before a flush becomes part
     * of the manifest, so that runs never hold what the log could lose. */
    vv_status (*ensure_durable)(void *ctx, int64_t version, vv_error *err);
    /* Entries up to version are durable in runs: the log may let them go. */
    void (*on_checkpoint)(void *ctx, int64_t version);
    /* There is background work now (a frozen memtable, a level over its size). Calls nothing back.
     */
    void (*on_work)(void *ctx);
    /* The oldest version reads of this table may still ask for. Ask it before looking at the pins:
     * a pin that comes later is at or above it. */
    engine_floor (*floor)(void *ctx, uint32_t table_id);
    /* The form that a table's data is to have from now on. */
    engine_form (*form)(void *ctx, uint32_t table_id);
} engine_hooks;

typedef struct engine_options {
    vv_env *env;
    const char *dir; /* relative to env->io; made if absent */
    uint32_t shard;
    uint64_t memtable_size; /* bytes at which the active memtable is frozen; default 64 MiB */
    uint32_t
        memtable_count;  /* active and frozen together before prepare answers VV_BUSY; default 3 */
    uint64_t cache_size; /* bytes of the block cache; default 64 MiB */
    uint64_t work_size;  /* bytes of the buffers of flush and compaction, about; default 4 MiB */
    uint64_t target_file_size;  /* default 32 MiB */
    uint32_t block_size;        /* raw bytes; default 4096 plain, 16384 where compressed */
    uint64_t compaction_budget; /* bytes a second that compaction may merge; 0: as the debt needs */
    uint32_t level0_runs_max;   /* overlapping runs that start a compaction; default 4 */
    /* zstd dictionaries: bytes of blocks to train from, default 512 KiB; used where they save one
     * part in so many, default 25 (UINT32_MAX: always). */
    uint32_t dictionary_sample, dictionary_gain;
    bool compress;                /* tables without a choice of their own; default true */
    int64_t archive_interval_ns;  /* of a tree: keep an archive each time it passes; 0: never */
    uint32_t archives_max;        /* periodic archives kept; default 100 */
    uint32_t max_open_files;      /* of an engine that opens its files itself; default 512 */
    uint32_t file_amplify_factor; /* of a tree: pages of its files over live ones; default 2 */
    bool value_compression;       /* of a tree: values by zstd with a trained dictionary */
    bool read_only;
    bool direct_io; /* read blocks past the system's page cache; default false */
    vv_budget *budget;
    const engine_tier *tier; /* NULL: as one without a store */
    engine_hooks hooks;      /* any may be NULL */
} engine_options;

/* A value handed out in place. Valid until engine_value_release. */
typedef struct engine_value {
    vv_slice data;
    int64_t version;
    int64_t expires_ns;
    void *pin;
    void (*unpin)(void *pin); /* NULL: nothing to release */
} engine_value;

static inline void engine_value_release(engine_value *v)
{
    if (v->unpin != NULL)
        v->unpin(v->pin);
    v->unpin = NULL;
}

typedef struct engine_stats {
    uint64_t memtable_bytes;
    uint64_t memtable_count;
    uint64_t memtable_items;
    uint64_t level_count;
    uint64_t level_runs[8]; /* files */
    uint64_t level_bytes[8];
    uint64_t disk_bytes;
    uint64_t index_bytes; /* pinned indexes and filters */
    uint64_t flushes;
    uint64_t flush_bytes;
    uint64_t compactions;
    uint64_t compaction_read_bytes;
    uint64_t compaction_write_bytes;
    uint64_t cache_hits;
    uint64_t cache_misses;
    uint64_t cache_bytes;
    uint64_t filter_skips;              /* runs not opened thanks to a filter */
    uint64_t filter_fails;              /* runs opened in vain: the filter did not know better */
    uint64_t level_reads[8];            /* runs of a level that point reads opened */
    uint64_t level_compaction_read[8];  /* bytes, by the level they were read from */
    uint64_t level_compaction_write[8]; /* bytes, by the level they were written to */
    uint64_t bulk_loads;
    uint64_t bulk_bytes;
    uint64_t range_deletes;
    uint64_t value_files; /* large values apart; in disk_bytes */
    uint64_t value_bytes;
    uint64_t value_garbage;   /* of them no run refers to */
    uint64_t compaction_debt; /* bytes to move until every level has its size */
    uint64_t write_delay_ps;  /* picoseconds a byte that throttle_ns asks for now */
    int64_t checkpoint;       /* version up to which everything is in runs */
    bool failed;              /* background work hit an error and latched it */
    bool range_pending;       /* a range asked for by compact_range is not done yet */
    uint64_t remote_files;    /* runs and value files in the object store; not in disk_bytes */
    uint64_t remote_bytes;
    uint64_t remote_reads; /* range reads of them since the open */
} engine_stats;

typedef struct engine engine;

/* A file of an engine's durable state, as list_files names it. */
typedef struct engine_file {
    const char *path;   /* in the store, relative to env->io */
    const char *source; /* where its bytes are until release_files; NULL: at path */
    /* Not NULL: no local file has its bytes; remote_of->ops->open_remote opens them. */
    engine *remote_of;
    /* What a copy of it is to hold, for the few that say which files are in force; data NULL: the
     * file's own bytes. Those are never written over, so a link serves as well as a copy; bytes may
     * still be added behind those that the state refers to. */
    vv_slice content;
} engine_file;

typedef struct engine_get engine_get; /* engine_get.h */

/* Which work a thread is for. */
typedef enum engine_work {
    ENGINE_WORK_ANY,
    ENGINE_WORK_FLUSH, /* what writers wait for */
    ENGINE_WORK_REST,
} engine_work;

/* Sorted keys on their way into files past log and memtable, to become visible all at once. One
 * thread at a time; several of them may be under way. */
typedef struct engine_bulk engine_bulk;

typedef struct engine_bulk_ops {
    vv_status (*begin)(engine *e, engine_bulk **out, vv_error *err);
    /* The next key, above the one before, of the same table; nothing is checked here. */
    vv_status (*put)(engine_bulk *b, vv_slice key, vv_slice value, int64_t expires_ns,
                     vv_error *err);
    /* No more keys: the files are complete, durable, and read back. Once. */
    vv_status (*seal)(engine_bulk *b, vv_error *err);
    /* True when no memtable holds anything in its range. Under the commit lock. */
    bool (*is_clear)(engine_bulk *b);
    /* Make it part of the store at version, which is durable in the log and newer than everything
     * applied. Under the commit lock, clear. What fails here has left nothing behind that a read of
     * this process sees; only a crash before the next work() may bring it back, whole. */
    vv_status (*install)(engine_bulk *b, int64_t version, vv_error *err);
    /* The files know this version: a load that was logged with it is among them, or what became of
     * it since. False of a version that is newer than all in them. */
    bool (*is_past)(engine *e, int64_t version);
    /* Gives up what is not installed. Accepts NULL. */
    void (*destroy)(engine_bulk *b);
    uint64_t (*file_count)(const engine_bulk *b);
    uint64_t (*file_bytes)(const engine_bulk *b);
} engine_bulk_ops;

typedef struct engine_ops {
    const char *name;
    bool tells_ranges; /* engine_stats.range_pending is kept */
    /* Open or create. The engine holds everything up to checkpoint(); the caller replays the rest
     * of the log through prepare and apply, then publishes. */
    vv_status (*open)(const engine_options *opt, engine **out, vv_error *err);
    /* Flushes nothing: what is only in memtables is in the log. Accepts NULL. No reader, cursor or
     * value may be outstanding. */
    void (*close)(engine *e);
    /* VV_BUSY: too many frozen memtables or no memory in the budget, let work() run and try again;
     * VV_NO_MEMORY: the machine has none. */
    vv_status (*prepare)(engine *e, size_t payload_len, uint32_t op_count, vv_error *err);
    /* What was prepared since the last apply will not come: it was not logged. NULL where a prepare
     * leaves nothing to undo. */
    void (*cancel)(engine *e);
    /* A payload at or below checkpoint() is skipped, so that replay may overlap. */
    vv_status (*apply)(engine *e, int64_t version, int64_t commit_time_ns, vv_slice payload,
                       vv_error *err);
    void (*publish)(engine *e, int64_t version);
    int64_t (*visible)(engine *e);    /* the newest published version */
    int64_t (*checkpoint)(engine *e); /* entries up to it are in runs */
    /* The resolver: the newest version that touched key (unpublished included), or -1 with *floor
     * the version below which the memtables know nothing: older writes must be looked up. */
    int64_t (*last_version)(engine *e, vv_slice key, int64_t *floor);
    /* The resolver: was a key of [lower, upper) written, deleted or range-deleted above since,
     * unpublished entries included? VV_OK with *out, one such write; VV_NOT_FOUND when there is
     * none; VV_UNSUPPORTED when the engine no longer knows all writes above since. since is pinned
     * meanwhile, or deletions may be forgotten. May read from disk. */
    vv_status (*touched)(engine *e, vv_slice lower, vv_slice upper, int64_t since,
                         engine_touch *out, vv_error *err);

    /* VV_NOT_FOUND when absent at the snapshot. Never waits with read->from_memory; VV_BUSY then
     * says that a file would have to be read. Gives *out: engine_value_release. */
    vv_status (*get)(engine *e, vv_slice key, const engine_read *read, engine_value *out,
                     vv_error *err);
    /* Many keys at one snapshot, in any order, reading what is not in memory together. Fills
     * status[i] and, where that is VV_OK, out[i]: engine_value_release. VV_OK when each is VV_OK or
     * VV_NOT_FOUND; else the first failure by i (with read->from_memory: VV_BUSY where the answer
     * lies in a file). NULL: one get after the other. Call it through
     * engine_multi_get. */
    vv_status (*multi_get)(engine *e, const vv_slice *keys, size_t count, const engine_read *read,
                           engine_value *out, vv_status *status, vv_error *err);
    /* One get that stops where a file must be read (engine_get.h, which has the door to both):
     * an enum engine_step. Sees the structures of the moment of its first step. NULL: gets wait. */
    int (*get_step)(engine *e, engine_get *g, struct vio_queue *q);
    void (*get_drop)(engine *e, engine_get *g);
    /* Pins the current structures until engine_cursor_close. */
    vv_status (*cursor)(engine *e, const engine_cursor_options *opt, engine_cursor **out,
                        vv_error *err);
    /* Keep what a read at version needs until unpin. Pins of one version count. time_ns is its
     * fixed read time. VV_NO_MEMORY. */
    vv_status (*pin)(engine *e, int64_t version, int64_t time_ns, vv_error *err);
    void (*unpin)(engine *e, int64_t version, int64_t time_ns);

    /* Freeze the active memtable if it holds anything. */
    vv_status (*freeze)(engine *e, vv_error *err);
    /* One bounded piece of flush or compaction; flushes go first. VV_NOT_FOUND: nothing to do.
     * Several threads may call it; one flush and one compaction run at a time. */
    vv_status (*work)(engine *e, vv_error *err);
    /* The same for threads of their own for flushes. NULL: the engine has no such division. */
    vv_status (*work_on)(engine *e, engine_work kind, vv_error *err);
    /* Mark a key range for compaction down to the last level, whatever the sizes say. */
    vv_status (*compact_range)(engine *e, vv_slice lower, vv_slice upper, vv_error *err);
    /* Nobody writes, and has not for a while: what reads would pay for may be merged whatever the
     * sizes say, until somebody does. NULL: there is nothing that this would change. */
    void (*settle)(engine *e);
    /* Nanoseconds from a write of bytes to the next one, of all writers together, from the distance
     * to the stall: 0 while background work keeps up, rising smoothly. */
    int64_t (*throttle_ns)(engine *e, size_t bytes);
    void (*stats)(engine *e, engine_stats *out);
    /* Verify every stored byte and every invariant; finding() gets a sentence each. VV_CORRUPT when
     * there was one. */
    vv_status (*check)(engine *e, void (*finding)(void *ctx, const char *text), void *ctx,
                       vv_error *err);
    /* Checkpoints and backups. Between hold_files and release_files, which nest, no file that
     * belonged to the state at any moment between is removed. Both NULL: nothing lies on disk. */
    void (*hold_files)(engine *e);
    void (*release_files)(engine *e);
    /* Under a hold: name each file of the durable state of one moment, once; what names the others
     * comes last. *checkpoint: everything up to it is in them. VV_UNSUPPORTED: it cannot. each()
     * may be called with locks of the engine held: it does no I/O. */
    vv_status (*list_files)(engine *e,
                            vv_status (*each)(void *ctx, const engine_file *file, vv_error *err),
                            void *ctx, int64_t *checkpoint, vv_error *err);
    /* Under the same hold: the bytes of a file that was listed with remote_of. NULL: there are none
     * such. Gives *out: vio_close, before the release. */
    vv_status (*open_remote)(engine *e, const char *path, vio_file **out, vv_error *err);
    /* One piece of what the tier asks for: a file goes to the object store, or an object that
     * nothing names goes. VV_NOT_FOUND: there is nothing to do; VV_BUSY: not now. A failure is of
     * the store or the disk and passes with it: call again later. One thread does it at a time;
     * may take as long as the store does. NULL: everything stays local. */
    vv_status (*tier_work)(engine *e, vv_error *err);
    /* Bytes between two keys: in memtables those of the tables it touches, on disk estimated from
     * the indexes. No I/O, and no look at entries. */
    uint64_t (*approximate_size)(engine *e, vv_slice lower, vv_slice upper);
    const engine_bulk_ops *bulk; /* NULL: it takes no sorted input */
} engine_ops;

struct engine {
    const engine_ops *ops;
};

/** As ops->multi_get, by a loop of gets for engines that have none. */
VV_MUST_CHECK vv_status engine_multi_get(engine *e, const vv_slice *keys, size_t count,
                                         const engine_read *read, engine_value *out,
                                         vv_status *status, vv_error *err);

/** The reference model: a sorted array, nothing on disk. checkpoint() is always 0. */
extern const engine_ops engine_memory_ops;

#endif
