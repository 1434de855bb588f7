/*
 * rocks_int.h - the engine's state, shared by the files of this folder.
 *
 *     writer      prepare -> apply    active memtable, under `lock`
 *       | full: rotate (new view)
 *     work()      flush               frozen memtables + what RocksDB has of their keys -> one
 *       |                             sorted file -> ingested with the checkpoint, all or nothing
 *       | then a new view with a new RocksDB snapshot
 *     readers     epoch section -> view   no lock of ours
 *
 * What a flush writes is exact: it sees every version of a key at once, so that what no reader can
 * ask for is deleted there and then, and a deletion stays only above what somebody may still read.
 *
 *     key     table prefix and key | be64 of INT64_MAX - version    newest first
 *     value   u8 kind | le64 expires_ns | value
 *
 * The comparator takes the eight bytes of the version off first: keys have any length.
 *
 * RocksDB's own memtable and log stay empty: nothing is ever put, only ingested. A view's snapshot
 * makes a flush appear to readers at one moment, together with the memtables it took away.
 */
#ifndef VARVE_ROCKS_ROCKS_INT_H
#define VARVE_ROCKS_ROCKS_INT_H

#include <rocksdb/c.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "base/lock.h"
#include "base/util.h"
#include "engine/chain.h"
#include "engine/health.h"
#include "engine/memstack.h"
#include "engine/merge.h"
#include "engine/readers.h"
#include "rocks/rocks.h"

#define ROCKS_SUFFIX 8u
#define ROCKS_KEY_MAX (ENGINE_KEY_MAX + ROCKS_SUFFIX)
#define ROCKS_HEAD 9u /* of a value: kind and expiry */

/* RocksDB itself, and the two small files of ours beside its directory. */
typedef struct rocks_store {
    vv_env *env;
    char dir[VIO_PATH_MAX];
    uint32_t shard;
    bool read_only;
    char *path;    /* of dir, as RocksDB opens it */
    rocksdb_t *db; /* NULL: opened read-only before anything was made */
    rocksdb_options_t *options;
    rocksdb_comparator_t *comparator;
    rocksdb_block_based_table_options_t *table;
    rocksdb_cache_t *cache;
    rocksdb_envoptions_t *env_options;
    rocksdb_ingestexternalfileoptions_t *ingest;
    int64_t checkpoint; /* as it was found */
} rocks_store;

/** Open or create. VV_UNSUPPORTED: not on real files. rocks_store_close also after a failure. */
VV_MUST_CHECK vv_status rocks_store_open(rocks_store *s, const engine_options *opt, vv_error *err);
void rocks_store_close(rocks_store *s);

#define ROCKS_IDENTITY_SIZE 28u
#define ROCKS_CURRENT_MAX 64u
/** The bytes of the two small files; of CURRENT their count is returned. */
void rocks_store_identity(const rocks_store *s, int64_t checkpoint,
                          uint8_t out[ROCKS_IDENTITY_SIZE]);
size_t rocks_store_current(char out[ROCKS_CURRENT_MAX]);

/** Write down that RocksDB holds everything up to a checkpoint, before the log lets it go. */
VV_MUST_CHECK vv_status rocks_store_note(const rocks_store *s, int64_t checkpoint, vv_error *err);

/** The status behind a message of RocksDB's, which is freed; VV_OK for NULL. */
VV_MUST_CHECK vv_status rocks_fail(char *message, const char *what, vv_error *err);
/** The same for an iterator that is not valid. */
VV_MUST_CHECK vv_status rocks_iter_status(rocksdb_iterator_t *it, vv_error *err);

/* ---- keys and values: rocks_key.c ---- */

rocksdb_comparator_t *rocks_comparator_create(void);
rocksdb_slicetransform_t *rocks_prefix_create(void); /* the key without its version */

/** The stored form of (key, version); out has ROCKS_KEY_MAX bytes. Returns its length. */
size_t rocks_key_put(uint8_t *out, vv_slice key, int64_t version);
/** False when it is the form of nothing but the checkpoint, or of nothing at all. */
bool rocks_key_parse(vv_slice stored, vv_slice *key, int64_t *version);
/** Where the checkpoint is kept: before every key. */
#define ROCKS_CHECKPOINT_KEY "\0\0\0\0\0\0\0\0"
#define ROCKS_CHECKPOINT_SIZE 16u /* le32 form (1) | le64 version | le32 crc32c of both */

/** The stored value, appended to out. */
void rocks_value_put(vv_buf *out, engine_kind kind, int64_t expires_ns, vv_slice value);
/** False when it is none; *item borrows it. */
bool rocks_value_parse(vv_slice stored, engine_item *item);

static inline vv_slice rocks_iter_key(const rocksdb_iterator_t *it)
{
    size_t len = 0;
    const char *p = rocksdb_iter_key(it, &len);
    return vv_slice_of(p, len);
}

static inline vv_slice rocks_iter_value(const rocksdb_iterator_t *it)
{
    size_t len = 0;
    const char *p = rocksdb_iter_value(it, &len);
    return vv_slice_of(p, len);
}

/** What the iterator stands on. VV_CORRUPT when it is no record. */
VV_MUST_CHECK vv_status rocks_iter_item(const rocksdb_iterator_t *it, engine_item *item,
                                        vv_error *err);
/** To the newest version <= version of key, or what follows. */
void rocks_iter_seek(rocksdb_iterator_t *it, vv_slice key, int64_t version);

/* ---- the engine ---- */

/* RocksDB at one moment, and how to read it. Shared by the views between two flushes. */
typedef struct rocks_look {
    _Atomic uint32_t refs;
    rocksdb_t *db; /* NULL: there is nothing */
    const rocksdb_snapshot_t *snapshot;
    rocksdb_readoptions_t *point;  /* versions of one key: filters help */
    rocksdb_readoptions_t *memory; /* the same from RocksDB's cache alone */
    rocksdb_readoptions_t *scan;
} rocks_look;

/* What a reader sees. */
typedef struct rocks_view {
    _Atomic uint32_t refs;
    uint32_t mem_count;
    rocks_look *look;
    engine_memtable *mem[]; /* [0] active, the others frozen, newest first */
} rocks_view;

/* A range to compact; bytes hold lower, then upper. NULL: none. */
typedef struct rocks_request {
    uint8_t *bytes;
    vv_slice lower;
    vv_slice upper;
} rocks_request;

typedef struct rocks_engine {
    engine base;
    engine_options opt; /* with the defaults filled in */
    rocks_store store;
    engine_memtable_pool *pool;
    engine_pins pins;
    _Atomic(rocks_view *) view; /* readers: epoch section; changed under lock */
    _Atomic int64_t visible;    /* release in publish */
    _Atomic int64_t checkpoint; /* any thread */
    engine_health health;

    vv_mutex lock; /* VV_RANK_ENGINE; never held during I/O */
    /* Under lock: */
    engine_prepared prepared;
    bool is_busy;         /* a thread is at a piece of work */
    uint32_t mem_room;    /* memtables that the view a flush is about to install can hold */
    rocks_request manual; /* a range asked for by compact_range */

    uint64_t next_file; /* of who has is_busy */

    vv_mutex copy_lock; /* VV_RANK_LEAF */
    /* Under copy_lock: */
    uint32_t holds;      /* of files */
    uint64_t copy_first; /* directories of linked files: this one and those up to copy_last */
    uint64_t copy_last;

    /* Statistics: any thread, relaxed. */
    _Atomic uint64_t flushes, flush_bytes, compactions, compaction_read_bytes,
        compaction_write_bytes;
} rocks_engine;

static inline rocks_engine *rocks_engine_of(engine *e)
{
    return VV_CONTAINER_OF(e, rocks_engine, base);
}

/* ---- rocks_view.c ---- */

/** The current view with a reference. Any thread. */
rocks_view *rocks_view_acquire(rocks_engine *e);
VV_MUST_CHECK vv_status rocks_view_create(uint32_t mem_room, rocks_look *look, rocks_view **out,
                                          vv_error *err);
/** Memory for a look; rocks_look_take fills it. Accepts a NULL db. */
VV_MUST_CHECK vv_status rocks_look_create(rocksdb_t *db, rocks_look **out, vv_error *err);
void rocks_look_take(rocks_look *look);
void rocks_look_unref(rocks_look *look); /* accepts NULL */
void rocks_view_unref(void *view);       /* accepts NULL; the form fits vv_epoch_retire */
/** Freeze the active memtable. *old is the view to retire once the lock is released. */
VV_MUST_CHECK vv_status rocks_view_rotate(rocks_engine *e, rocks_view **old, vv_error *err)
    VV_REQUIRES(e->lock);
/** Publish a view made for it, with its look taken now and without the flushed memtables. */
void rocks_view_install(rocks_engine *e, rocks_view *view, uint32_t flushed_count);

/* ---- rocks_read.c ---- */

vv_status rocks_get(engine *base, vv_slice key, const engine_read *read, engine_value *out,
                    vv_error *err);
vv_status rocks_cursor(engine *base, const engine_cursor_options *opt, engine_cursor **out,
                       vv_error *err);

/* ---- rocks_flush.c ---- */

/** Merge frozen memtables (all but the active one) into RocksDB, and take them out of the view. */
VV_MUST_CHECK vv_status rocks_flush(rocks_engine *e, vv_error *err);
/** Drop what nobody can ask for any more from one piece of a range, and compact that piece.
 * *next, of ENGINE_KEY_MAX bytes, is where the rest begins; *next_len 0 when there is none. */
VV_MUST_CHECK vv_status rocks_sweep(rocks_engine *e, vv_slice lower, vv_slice upper, uint8_t *next,
                                    size_t *next_len, vv_error *err);

/* ---- rocks_fold.c ---- */

/* One version of the key a flush is at. */
typedef struct rocks_event {
    int64_t version;
    int64_t expires_ns;
    engine_kind kind;
    bool is_stored;
    bool is_changed; /* a stored one that is to be written again */
    bool keep;
    vv_slice value; /* of a new one; of a stored one where the key has merges */
} rocks_event;

typedef struct rocks_fold {
    engine_fold chain;
    vv_arena values; /* of the key at hand: what chains came to, and stored values beneath them */
    vv_buf value;
} rocks_fold;

void rocks_fold_init(rocks_fold *f);
void rocks_fold_fini(rocks_fold *f);
/** The earliest commit time of a merge in a memtable as they are now; INT64_MAX: none. */
int64_t rocks_first_merge_time(rocks_engine *e);
/** Make puts of the merges that somebody reads; of versions that stand twice only the newest is
 * left in *count. events are those of key, newest first. */
VV_MUST_CHECK vv_status rocks_fold_key(rocks_fold *f, const engine_readers *readers,
                                       const engine_rangedels *ranges, vv_slice key,
                                       rocks_event *events, size_t *count, vv_error *err);

/* ---- rocks_files.c ---- */

void rocks_hold_files(engine *base);
void rocks_release_files(engine *base);
vv_status rocks_list_files(engine *base,
                           vv_status (*each)(void *ctx, const engine_file *file, vv_error *err),
                           void *ctx, int64_t *checkpoint, vv_error *err);
/** Remove a directory of linked files; what is not there is no failure. */
void rocks_remove_copy(vio *io, const char *dir);
#define ROCKS_COPY_PREFIX "copy-"

/* ---- rocks_work.c, rocks_check.c ---- */

vv_status rocks_work(engine *base, vv_error *err);
vv_status rocks_compact_range(engine *base, vv_slice lower, vv_slice upper, vv_error *err);
vv_status rocks_check(engine *base, void (*finding)(void *ctx, const char *text), void *ctx,
                      vv_error *err);

#endif
