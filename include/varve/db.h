/*
 * db.h - a store: open it, make tables, write batches, read at snapshots.
 *
 * A store is a directory that one process has open. It holds tables; each belongs to a tenant and
 * lives on one shard, or is partitioned over several by the hash of its keys. A batch is atomic
 * within its shard: after any crash it is wholly there or wholly gone. Every write gets a version,
 * the log index of its entry, and a read at version v sees the newest write at or below v.
 *
 * Threads: every function may be called from any thread unless it says otherwise; a batch, a cursor
 * and an error belong to one thread at a time.
 */
#ifndef VARVE_DB_H
#define VARVE_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "varve/slice.h"
#include "varve/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vv_db vv_db;
typedef struct vv_table vv_table;
typedef struct vv_batch vv_batch;
typedef struct vv_snapshot vv_snapshot;
typedef struct vv_cursor vv_cursor;

#define VV_KEY_MAX 1024u                 /* bytes of a key */
#define VV_VALUE_MAX (15u * 1024 * 1024) /* bytes of a value */
#define VV_BATCH_MAX (16u * 1024 * 1024) /* bytes of an encoded batch */
#define VV_NAME_MAX 128u                 /* bytes of a tenant or table name */

/** What must have happened before a write is answered. */
typedef enum vv_durability {
    VV_DURABLE_DEFAULT = 0, /* the store's: vv_options.durability */
    VV_DURABLE_SYNC,        /* on the disk: survives power loss */
    VV_DURABLE_OS,          /* in the page cache: survives SIGKILL of the process */
    VV_DURABLE_NONE,        /* may not survive the process */
} vv_durability;

/** How many reads at once reach the disk (vv_multi_get), and how flush and compaction write. */
typedef enum vv_io_backend {
    VV_IO_AUTO = 0, /* io_uring where the kernel allows it, threads otherwise */
    VV_IO_POSIX,    /* one blocking call after the other */
    VV_IO_THREADS,  /* blocking calls of a pool of threads */
    VV_IO_URING,    /* io_uring; threads, and a line in the log, where the kernel refuses it */
} vv_io_backend;

/** What keeps the data of a table; docs/ARCHITECTURE.md tells them apart. Tables of one store may
 * have different ones, and one batch, transaction or snapshot spans them all. */
typedef enum vv_engine_kind {
    VV_ENGINE_DEFAULT = 0, /* of a table: the store's; of a store: what it was made with, or lsm */
    VV_ENGINE_LSM,         /* runs in levels: writes are cheap */
    VV_ENGINE_BTREE,       /* a copy-on-write tree: reads are one page */
    VV_ENGINE_ROCKSDB,     /* RocksDB, in builds that have it; VV_UNSUPPORTED in others */
} vv_engine_kind;

struct vv_tier_options; /* tier.h */

typedef struct vv_options {
    size_t size;              /* sizeof(vv_options): set by VV_OPTIONS_INIT */
    bool create_if_missing;   /* default true; otherwise VV_NOT_FOUND */
    bool read_only;           /* default false: replays the log into memory, writes nothing; what
                                 that takes comes on top of memory_limit */
    uint32_t shard_count;     /* default 1, at most 64; fixed when the store is created */
    vv_durability durability; /* default VV_DURABLE_SYNC */
    uint64_t memory_limit;    /* bytes for memtables, cache, queues; default 512 MiB, min 16 MiB */
    uint64_t memtable_size;   /* bytes a shard; default 64 MiB, at most an eighth of memory_limit */
    uint64_t cache_size;      /* bytes of all block caches; default a quarter of memory_limit */
    uint64_t log_limit;       /* retained log bytes before shards are flushed; default 1 GiB,
                                 at least two segments */
    uint32_t log_segment_size;   /* default 64 MiB, rounded to 4 KiB, min 64 KiB */
    uint32_t log_ring_size;      /* default 8 MiB, at most an eighth of memory_limit; min 64 KiB */
    uint32_t background_threads; /* for compaction, and for flushes; default 1 each */
    bool compress;               /* tables that leave it to the store; default true */
    void (*log)(void *ctx, int level, const char *line, size_t len); /* may be NULL: silence */
    void *log_ctx;
    int log_level;            /* 0 error .. 3 debug; default 1 */
    vv_io_backend io_backend; /* default VV_IO_AUTO */
    bool direct_io;           /* lsm, rocksdb: read runs past the page cache of the system: their
                                 blocks are in cache_size or nowhere; default false. Pages of btree
                                 are read through it in either case */
    vv_engine_kind engine;    /* of new tables that name none; of a new store, what keeps its
                                 own tables too */
    bool value_compression;   /* btree: values of 100 bytes and more by zstd, with a dictionary the
                                 store learns from them; each read of one decompresses it */
    bool log_json;            /* lines for log are JSON objects; default false: logfmt */
    uint64_t compaction_budget; /* lsm: bytes a second that compaction may merge, per shard; where
                                   that is less than the writes need, they are slowed smoothly to
                                   what it takes. Default 0: as many as the debt needs */
    uint32_t max_open_files; /* descriptors for runs, value files and files of pages, min 16; what
                                is read besides is opened for the read. Default: half of what the
                                process may have. RocksDB holds as many again, at least 20 a shard;
                                by default 512 a shard */
    int64_t archive_interval_ns; /* keep an archive so often by itself; default 0: never */
    uint32_t archives_max;       /* of those the newest so many stay, on each shard; default 100 */
    bool archive_log; /* keep the log until a backup that archives it has it, up to four times
                         log_limit; beyond, the oldest goes. Bulk loads keep what they brought for
                         as long, up to as much again and the newest load. Default false */
    uint32_t file_amplify_factor; /* btree: files take at most so many times their live pages, 1 to
                                     100; less space is paid with more writing. Default 2 */
    uint64_t process_memory; /* bytes of memory_limit left to what the store does not count: code,
                                stacks, what malloc loses. Default 0: they come on top */
    uint64_t series_max;     /* series of a tenant, over all its tables: more are refused, by name.
                                Default 1,000,000 */
    uint32_t apply_threads;  /* that a group of writes to several shards is applied by, that of its
                                committer included; default: one a shard, as far as there are
                                cores */
    const struct vv_tier_options *tier; /* tier.h: where what is old lies. Copied, but for the store
                                           of objects in it. Default NULL: here */
} vv_options;

#ifndef __cplusplus
#define VV_OPTIONS_INIT                                                                            \
    {                                                                                              \
        .size = sizeof(vv_options), .create_if_missing = true, .compress = true, .log_level = 1    \
    }
#else
#define VV_OPTIONS_INIT vv_options_init()
static inline vv_options vv_options_init()
{
    vv_options o = {};
    o.size = sizeof o;
    o.create_if_missing = true;
    o.compress = true;
    o.log_level = 1;
    return o;
}
#endif

/**
 * Open the store in dir, recovering what the log holds beyond the last checkpoint.
 *
 * @param opt  NULL for the defaults; a 0 in a field means its default.
 * @return VV_BUSY when another process has it open; VV_UNSUPPORTED when a newer version wrote it;
 *         VV_CORRUPT when acknowledged bytes are damaged (nothing is changed: run `varve check`).
 *
 * Gives *out: vv_db_close. Recovery time and memory are bounded by log_limit; with archive_log what
 * is kept for a backup is read besides, and not applied.
 */
VV_API VV_MUST_CHECK vv_status vv_db_open(const char *dir, const vv_options *opt, vv_db **out,
                                          vv_error *err);

/** Flush nothing, sync the log, stop the background. No call may be in progress; tables, cursors
 * and snapshots must be closed. Accepts NULL. Returns the first background error, if any. */
VV_API vv_status vv_db_close(vv_db *db, vv_error *err);

/* ---- tables ------------------------------------------------------------------------------- */

typedef enum vv_table_kind {
    VV_TABLE_KV = 1,     /* bytes to bytes */
    VV_TABLE_RECORD = 2, /* typed records (record.h), indexed by their timestamp */
    VV_TABLE_SERIES = 3, /* samples of time series (series.h) */
    VV_TABLE_STREAM = 4, /* messages with offsets (stream.h) */
} vv_table_kind;

/* How the files of a table are compressed. */
typedef enum vv_compression {
    VV_COMPRESSION_AUTO = 0, /* lz4 on levels 0 and 1, zstd below; zstd for series; nothing where
                                vv_options.compress is off */
    VV_COMPRESSION_NONE = 1,
    VV_COMPRESSION_LZ4 = 2,
    VV_COMPRESSION_ZSTD = 3, /* with a dictionary where it pays; lz4 on level 0 */
} vv_compression;

struct vv_keep_rule;    /* series.h */
struct vv_archive_rule; /* tier.h */

typedef struct vv_table_options {
    size_t size;
    vv_table_kind kind;           /* default VV_TABLE_KV */
    int64_t version_retention_ns; /* how long old versions can be read without a snapshot;
                                     -1: the default of the kind (0 for kv, 1 h for records) */
    bool if_not_exists;           /* VV_OK with the existing table instead of VV_CONFLICT */
    uint64_t value_threshold;   /* values of so many bytes and more lie in files of their own, which
                                   compaction does not rewrite; 0: 256 KiB; VV_VALUES_INLINE: none.
                                   lsm alone has it: with another engine VV_UNSUPPORTED unless 0 */
    vv_compression compression; /* default VV_COMPRESSION_AUTO; of lsm alone, likewise */
    vv_engine_kind engine;      /* fixed when the table is made */
    uint32_t partitions; /* shards that the keys are spread over by their hash, each with a part of
                            the table; at most the store's shard_count. Default 1: the table lies
                            whole on the shard of its tenant, and its batches and transactions span
                            all keys. Fixed when the table is made */
    /* Of series tables, retention_ns of stream tables too; otherwise VV_INVALID unless 0. */
    int64_t retention_ns;           /* samples older than now minus this are gone, and messages
                                       received before; 0: none ever */
    int64_t out_of_order_ns;        /* samples behind the newest by more count as late; 0: 1 h */
    int64_t future_ns;              /* samples ahead of now by more are refused; 0: 1 day */
    bool no_rollups;                /* aggregates are worked out of samples alone */
    int64_t rollup_retention_ns[2]; /* of minutes and of hours; 0: as retention_ns; INT64_MAX: they
                                       are kept for ever; else more than out_of_order_ns */
    /* Of stream tables alone, likewise. */
    uint64_t retention_bytes;      /* of each partition: the oldest messages beyond go; 0: none */
    uint64_t message_size_max;     /* bytes of a message; 0: VV_STREAM_MESSAGE_MAX */
    int64_t producer_retention_ns; /* a producer that was silent for so long is forgotten, and what
                                      it sends again then is new; 0: 1 day */
    uint32_t producers_max;        /* remembered in each partition; 0: 10,000 */
    /* Of series tables alone: which series are kept for how long, in series.h. Copied. */
    const struct vv_keep_rule *keep_rules; /* [keep_rule_count] NULL: retention_ns is of all */
    size_t keep_rule_count;                /* up to VV_KEEP_RULES_MAX */
    /* Of stream tables alone: how its messages are archived, in tier.h. Copied. */
    const struct vv_archive_rule *archive; /* NULL: as vv_tier_options.rule says */
    /* Of stream tables alone: attributes that are made of messages as they are appended, in
       docs/extract.md. Copied. */
    const char *extract_rules; /* a rule a line, up to VV_EXTRACT_TEXT_MAX bytes; NULL: none */
    vv_slice extract_schema;   /* FileDescriptorSet for rules of protobuf, up to
                                  VV_EXTRACT_SCHEMA_MAX bytes */
} vv_table_options;

#define VV_VALUES_INLINE UINT64_MAX

#ifndef __cplusplus
#define VV_TABLE_OPTIONS_INIT                                                                      \
    {                                                                                              \
        .size = sizeof(vv_table_options), .kind = VV_TABLE_KV, .version_retention_ns = -1          \
    }
#else
#define VV_TABLE_OPTIONS_INIT vv_table_options_init()
static inline vv_table_options vv_table_options_init()
{
    vv_table_options o = {};
    o.size = sizeof o;
    o.kind = VV_TABLE_KV;
    o.version_retention_ns = -1;
    return o;
}
#endif

typedef struct vv_table_info {
    char tenant[VV_NAME_MAX + 1];
    char name[VV_NAME_MAX + 1];
    char engine[16];
    uint32_t id;
    uint32_t shard;
    vv_table_kind kind;
    int64_t version_retention_ns;
    int64_t created_ns;      /* wall time */
    uint64_t bytes_estimate; /* on disk and in memtables */
    vv_compression compression;
    uint64_t value_threshold; /* as it was created: 0 is the default */
    uint32_t partitions;      /* 1: all of it lies on `shard`; more: the first of them does */
    int64_t retention_ns;     /* of series and stream tables, in force */
    int64_t out_of_order_ns;
    int64_t future_ns;
    bool no_rollups;
    int64_t rollup_retention_ns[2]; /* of minutes and hours; 0: for ever */
    uint64_t retention_bytes;       /* of stream tables, like the next three, in force */
    uint64_t message_size_max;
    int64_t producer_retention_ns;
    uint32_t producers_max;
    const struct vv_keep_rule *keep_rules; /* [keep_rule_count] of series tables: borrowed of the
                                              handle, and in a list during each() */
    size_t keep_rule_count;
    const struct vv_archive_rule *archive; /* of stream tables: as it was created, NULL: left to the
                                              store; borrowed as keep_rules */
    const char *extract_rules; /* of stream tables, "" without any; borrowed like these */
    vv_slice extract_schema;
} vv_table_info;

/**
 * Create a table; its tenant comes into being with its first table. Names are 1..VV_NAME_MAX bytes
 * of letters, digits, '_', '-', '.', starting with a letter, digit or '_'. Durable on return;
 * idempotent over a crash in the middle. VV_CONFLICT when it exists; VV_UNSUPPORTED for an option
 * that its engine does not have. Gives *out (may be NULL).
 */
VV_API VV_MUST_CHECK vv_status vv_table_create(vv_db *db, const char *tenant, const char *name,
                                               const vv_table_options *opt, vv_table **out,
                                               vv_error *err);

/** VV_NOT_FOUND names the nearest existing table. Gives *out: vv_table_close. Cheap: a hash
 * look-up. */
VV_API VV_MUST_CHECK vv_status vv_table_open(vv_db *db, const char *tenant, const char *name,
                                             vv_table **out, vv_error *err);
VV_API void vv_table_close(vv_table *table); /* accepts NULL */

/* What vv_table_alter is to change; together with |. The first bits are of what can be changed,
 * those from 32 on of what is fixed when a table is made, and is refused by name. */
typedef uint64_t vv_table_change;
#define VV_CHANGE_VERSION_RETENTION (UINT64_C(1) << 0)  /* kv, record: version_retention_ns */
#define VV_CHANGE_RETENTION (UINT64_C(1) << 1)          /* series, stream: retention_ns */
#define VV_CHANGE_KEEP_RULES (UINT64_C(1) << 2)         /* series: all of keep_rules */
#define VV_CHANGE_ROLLUP_MINUTES (UINT64_C(1) << 3)     /* series: rollup_retention_ns[0] */
#define VV_CHANGE_ROLLUP_HOURS (UINT64_C(1) << 4)       /* series: rollup_retention_ns[1] */
#define VV_CHANGE_FUTURE (UINT64_C(1) << 5)             /* series: future_ns */
#define VV_CHANGE_RETENTION_BYTES (UINT64_C(1) << 6)    /* stream, like those that follow */
#define VV_CHANGE_MESSAGE_SIZE (UINT64_C(1) << 7)       /* message_size_max */
#define VV_CHANGE_PRODUCER_RETENTION (UINT64_C(1) << 8) /* producer_retention_ns */
#define VV_CHANGE_PRODUCERS (UINT64_C(1) << 9)          /* producers_max */
#define VV_CHANGE_ARCHIVE (UINT64_C(1) << 10)           /* archive, as a whole */
#define VV_CHANGE_EXTRACT (UINT64_C(1) << 11)           /* extract_rules and extract_schema */
#define VV_CHANGE_KIND (UINT64_C(1) << 32)
#define VV_CHANGE_ENGINE (UINT64_C(1) << 33)
#define VV_CHANGE_PARTITIONS (UINT64_C(1) << 34)
#define VV_CHANGE_COMPRESSION (UINT64_C(1) << 35)
#define VV_CHANGE_VALUE_THRESHOLD (UINT64_C(1) << 36)
#define VV_CHANGE_OUT_OF_ORDER (UINT64_C(1) << 37)
#define VV_CHANGE_NO_ROLLUPS (UINT64_C(1) << 38)

/**
 * Change what a table keeps. Of `to` the fields that `changes` names count, and mean what they mean
 * in vv_table_create, 0 its default included. One entry: durable on return, after a crash all of it
 * or nothing. Open handles see it at once.
 *
 * What is to be kept for less long is not read any more at once; its space comes back with
 * compaction. What is to be kept for longer is what is there yet: samples that were written before
 * go no later than was said then, and old versions are read from now, less what was kept so far,
 * on.
 *
 * @return VV_NOT_FOUND; VV_INVALID naming a field that is fixed, or that tables of the kind do not
 *         have, and for values that vv_table_create refuses.
 */
VV_API VV_MUST_CHECK vv_status vv_table_alter(vv_db *db, const char *tenant, const char *name,
                                              const vv_table_options *to, vv_table_change changes,
                                              vv_error *err);

/** Drop a table and its data; open handles answer VV_NOT_FOUND from then on. */
VV_API VV_MUST_CHECK vv_status vv_table_drop(vv_db *db, const char *tenant, const char *name,
                                             vv_error *err);
VV_API VV_MUST_CHECK vv_status vv_table_describe(vv_table *table, vv_table_info *out,
                                                 vv_error *err);
/** The same but for the size: bytes_estimate is 0, and nothing the table holds is looked at. */
VV_API VV_MUST_CHECK vv_status vv_table_identify(vv_table *table, vv_table_info *out,
                                                 vv_error *err);
/** What the table was created as; it never changes. */
VV_API vv_table_kind vv_table_kind_of(const vv_table *table);

/** Call each() for every table of tenant (NULL: of all), sorted; a nonzero return ends the walk. */
VV_API VV_MUST_CHECK vv_status vv_table_list(vv_db *db, const char *tenant,
                                             int (*each)(void *ctx, const vv_table_info *info),
                                             void *ctx, vv_error *err);
/** The same as vv_table_identify tells it, so that many tables cost little. */
VV_API VV_MUST_CHECK vv_status vv_table_list_names(vv_db *db, const char *tenant,
                                                   int (*each)(void *ctx,
                                                               const vv_table_info *info),
                                                   void *ctx, vv_error *err);

/* ---- writes ------------------------------------------------------------------------------- */

/** An empty batch for tables of one shard. Gives it: vv_batch_destroy. NULL when memory is short.
 */
VV_API vv_batch *vv_batch_create(vv_db *db);
VV_API void vv_batch_destroy(vv_batch *batch); /* accepts NULL */
VV_API void vv_batch_clear(vv_batch *batch);   /* keeps the memory */
VV_API size_t vv_batch_count(const vv_batch *batch);
VV_API size_t vv_batch_bytes(const vv_batch *batch); /* encoded size, compared with VV_BATCH_MAX */

/**
 * Add one operation. Copies key and value. Operations apply in order.
 * @param expires_ns  wall time in nanoseconds since 1970 from which the key is gone; 0: never.
 * @return VV_INVALID when the key is empty or over VV_KEY_MAX or the value over VV_VALUE_MAX;
 *         VV_BUSY when the batch would pass VV_BATCH_MAX; VV_UNSUPPORTED when the table, or the key
 *         of a partitioned one, lies on another shard than the batch's first. The batch is
 *         unchanged on failure.
 */
VV_API VV_MUST_CHECK vv_status vv_batch_put(vv_batch *batch, vv_table *table, vv_slice key,
                                            vv_slice value, int64_t expires_ns, vv_error *err);

/* How a merge changes a value. Frozen: on disk. */
typedef enum vv_operator {
    VV_ADD = 1,    /* int64, 8 bytes little-endian; wraps around */
    VV_MAX = 2,    /* likewise: the larger of the two */
    VV_APPEND = 3, /* bytes behind the value; cut off at VV_VALUE_MAX */
} vv_operator;

/**
 * Change a value without reading it: a counter, a high-water mark, a list. An absent value, and for
 * VV_ADD and VV_MAX one of other than 8 bytes, gives the operand itself. Like a put it replaces the
 * expiry. Never conflicts. Reads, snapshots and conditions see the value that it comes to.
 * @return as vv_batch_put; VV_INVALID for an unknown operator and an operand of a wrong size;
 *         VV_UNSUPPORTED in a table of an engine without merges.
 */
VV_API VV_MUST_CHECK vv_status vv_batch_merge(vv_batch *batch, vv_table *table, vv_slice key,
                                              vv_operator op, vv_slice operand, int64_t expires_ns,
                                              vv_error *err);
VV_API VV_MUST_CHECK vv_status vv_batch_delete(vv_batch *batch, vv_table *table, vv_slice key,
                                               vv_error *err);
/** Delete every key in [begin, end): constant cost. An empty end means to the end of the table.
 * VV_UNSUPPORTED in a partitioned table, whose range lies on several shards: vv_delete_range. */
VV_API VV_MUST_CHECK vv_status vv_batch_delete_range(vv_batch *batch, vv_table *table,
                                                     vv_slice begin, vv_slice end, vv_error *err);

/** The batch applies only if the newest version of key, not yet acknowledged writes included, is
 * `version` (0: the key is absent); otherwise VV_CONFLICT and nothing is written. */
VV_API VV_MUST_CHECK vv_status vv_batch_require(vv_batch *batch, vv_table *table, vv_slice key,
                                                int64_t version, vv_error *err);

/** Idempotent retries: the batch applies only if sequence is above the last one this producer
 * wrote (on this shard); otherwise the write answers VV_OK with duplicate set and changes nothing.
 * producer is 1..VV_KEY_MAX bytes. The position is stored in the same entry. */
VV_API VV_MUST_CHECK vv_status vv_batch_producer(vv_batch *batch, vv_slice producer,
                                                 uint64_t sequence, vv_error *err);

typedef struct vv_write_result {
    int64_t version; /* of all its operations; 0 for an empty batch */
    int64_t commit_time_ns;
    vv_durability durability; /* what was given: never less than asked */
    bool duplicate;           /* a producer's retry: nothing was written */
} vv_write_result;

/**
 * Commit a batch. @param result may be NULL. The batch can be cleared and reused afterwards. An
 * empty batch writes nothing; with VV_DURABLE_SYNC it makes every earlier write durable.
 * @return VV_CONFLICT (a vv_batch_require failed), VV_BUSY (waited 10 s for memory in vain: retry
 *         after a pause), VV_NO_MEMORY (it never fits memory_limit: write less at once),
 *         VV_NO_SPACE (refused whole; reads go on), VV_IO (the log failed: reopen the store;
 *         whether this batch is there is unknown until then), VV_NOT_FOUND (a table was dropped).
 */
VV_API VV_MUST_CHECK vv_status vv_write(vv_db *db, vv_batch *batch, vv_durability durability,
                                        vv_write_result *result, vv_error *err);

/** Called exactly once for each accepted vv_write_async, from the commit thread: return quickly. */
typedef void (*vv_write_done)(void *ctx, vv_status status, const vv_write_result *result,
                              const vv_error *err);

/**
 * Queue a batch for the commit thread, which commits everything queued with one sync. Takes
 * nothing: the batch stays the caller's but must not be touched until done runs. Batches of one
 * shard commit and are answered in the order they were queued; a shard that waits for memory keeps
 * none of another waiting. An empty batch comes after all queued before it. VV_BUSY when the queue
 * is over its bound (done is not called then).
 */
VV_API VV_MUST_CHECK vv_status vv_write_async(vv_db *db, vv_batch *batch, vv_durability durability,
                                              vv_write_done done, void *ctx, vv_error *err);

/** One-operation forms of the above, with the store's durability. */
VV_API VV_MUST_CHECK vv_status vv_put(vv_table *table, vv_slice key, vv_slice value, vv_error *err);
VV_API VV_MUST_CHECK vv_status vv_delete(vv_table *table, vv_slice key, vv_error *err);
VV_API VV_MUST_CHECK vv_status vv_merge(vv_table *table, vv_slice key, vv_operator op,
                                        vv_slice operand, vv_error *err);

/** Delete every key in [begin, end), as vv_batch_delete_range, of any table. In a partitioned one
 * each partition gets an entry, one after the other: who reads meanwhile, or after a crash in the
 * middle, may find the range gone from some of them; calling again finishes it. The result is the
 * last entry's. */
VV_API VV_MUST_CHECK vv_status vv_delete_range(vv_table *table, vv_slice begin, vv_slice end,
                                               vv_durability durability, vv_write_result *result,
                                               vv_error *err);

/**
 * Put value if the key's present value equals expected (present == false: if the key is absent).
 * VV_CONFLICT otherwise. Linearizable with every other write of the key.
 */
VV_API VV_MUST_CHECK vv_status vv_compare_and_swap(vv_table *table, vv_slice key, bool present,
                                                   vv_slice expected, vv_slice value,
                                                   int64_t expires_ns, vv_durability durability,
                                                   vv_write_result *result, vv_error *err);

/* ---- reads -------------------------------------------------------------------------------- */

typedef struct vv_value {
    vv_slice data;
    int64_t version;
    int64_t expires_ns; /* 0: never */
    void *pin[2];       /* private */
} vv_value;

/**
 * The value of a key at a snapshot (NULL: now). VV_NOT_FOUND when it is absent, deleted or expired.
 * Fills *out, whose bytes stay valid until vv_value_release: no copy is made.
 */
VV_API VV_MUST_CHECK vv_status vv_get(vv_table *table, const vv_snapshot *snapshot, vv_slice key,
                                      vv_value *out, vv_error *err);
/** The newest value at or below version, within the table's version_retention: VV_UNSUPPORTED when
 * that version is no longer kept; VV_INVALID when it is not yet written. In a partitioned table the
 * version is of the key's shard. */
VV_API VV_MUST_CHECK vv_status vv_get_at(vv_table *table, int64_t version, vv_slice key,
                                         vv_value *out, vv_error *err);
VV_API void vv_value_release(vv_value *value);

#define VV_MULTI_GET_MAX 65536u /* keys of one vv_multi_get */

/**
 * The values of many keys at one version: those that are not in memory are read from the disk
 * together, as many at a time as it serves well (vv_options.io_backend): on a cold store several
 * times as fast as one vv_get after the other (docs/PERFORMANCE.md); in memory it is a loop.
 *
 * @param snapshot  as vv_get: NULL reads the newest version, the same for all keys.
 * @param keys      [count] in any order, the same key twice if you like; count may be 0.
 * @param values    [count] values[i] is filled where status[i] is VV_OK, each of them to be given
 *                  to vv_value_release: also when the call fails.
 * @param status    [count] VV_OK, VV_NOT_FOUND, or why this key could not be read. Always filled.
 * @param err       optional; the sentence of the failure that is returned.
 * @return VV_OK when every status is VV_OK or VV_NOT_FOUND; VV_INVALID when a key is empty or over
 *         VV_KEY_MAX or count over VV_MULTI_GET_MAX (nothing is read); else the first failure in
 *         the order of keys. One damaged block fails its own keys and no others.
 *
 * Borrows keys for the call. Any thread. O(count log count). Values pin their blocks in the cache,
 * which passes cache_size by what is pinned: release them soon.
 */
VV_API VV_MUST_CHECK vv_status vv_multi_get(vv_table *table, const vv_snapshot *snapshot,
                                            const vv_slice *keys, size_t count, vv_value *values,
                                            vv_status *status, vv_error *err);

/** What a read sees. At most one of the three is set; none: now. */
typedef struct vv_read_options {
    size_t size; /* sizeof(vv_read_options): set by VV_READ_OPTIONS_INIT */
    const vv_snapshot *snapshot;
    int64_t as_of_version; /* the newest value at or below it, as vv_get_at */
    int64_t as_of_time_ns; /* the state at that wall time, as vv_version_as_of */
} vv_read_options;

#ifndef __cplusplus
#define VV_READ_OPTIONS_INIT                                                                       \
    {                                                                                              \
        .size = sizeof(vv_read_options)                                                            \
    }
#else
#define VV_READ_OPTIONS_INIT vv_read_options_init()
static inline vv_read_options vv_read_options_init()
{
    vv_read_options o = {};
    o.size = sizeof o;
    return o;
}
#endif

/** As vv_get, at what opt says. @param opt  NULL: now. VV_INVALID when it says two things;
 * otherwise as vv_get, vv_get_at and vv_version_as_of. */
VV_API VV_MUST_CHECK vv_status vv_get_with(vv_table *table, const vv_read_options *opt,
                                           vv_slice key, vv_value *out, vv_error *err);

/**
 * The version that was the newest of a table at a wall time, for vv_get_at,
 * vv_cursor_options.version and vv_read_options.
 *
 * @param time_ns  nanoseconds since 1970, not in the future.
 * @return VV_UNSUPPORTED outside of the table's version_retention, and for a table that keeps no
 *         versions unless nothing was written since, and for a partitioned table, which has a
 *         version for each of its shards (vv_get_with answers for a key); VV_INVALID for a time to
 *         come.
 *
 * Everything it shows was committed by then. What was committed in the last moments before may be
 * missing: times are kept at a distance of 1/2048 of the longest retention of the shard's tables,
 * at most a minute (2 s for the hour of record tables). What has expired since is not there.
 */
VV_API VV_MUST_CHECK vv_status vv_version_as_of(vv_table *table, int64_t time_ns, int64_t *out,
                                                vv_error *err);

/** The state of the store now, over all shards at one log position. Cheap; long-lived snapshots
 * hold old versions on disk. Gives *out: vv_snapshot_release. */
VV_API VV_MUST_CHECK vv_status vv_snapshot_create(vv_db *db, vv_snapshot **out, vv_error *err);
VV_API void vv_snapshot_release(vv_snapshot *snapshot); /* accepts NULL */
/** The version a snapshot reads of a table's shard, a partitioned one's first. */
VV_API int64_t vv_snapshot_version(const vv_snapshot *snapshot, const vv_table *table);
/** The newest visible version of a table's shard, likewise. */
VV_API int64_t vv_table_version(const vv_table *table);

typedef struct vv_cursor_options {
    size_t size;
    const vv_snapshot *snapshot; /* NULL: a snapshot of its own, now */
    int64_t version;             /* as of this version when not 0, as vv_get_at; VV_UNSUPPORTED
                                    for a partitioned table, which is read at snapshots */
    vv_slice lower;              /* inclusive; empty: from the first key */
    vv_slice upper;              /* exclusive; empty: to the last key */
    vv_slice prefix;             /* instead of bounds; empty: no prefix */
    const char *archive;         /* read this archive instead of a snapshot or version; NULL: none.
                                    What expired after its making is there */
} vv_cursor_options;

#ifndef __cplusplus
#define VV_CURSOR_OPTIONS_INIT                                                                     \
    {                                                                                              \
        .size = sizeof(vv_cursor_options)                                                          \
    }
#else
#define VV_CURSOR_OPTIONS_INIT vv_cursor_options_init()
static inline vv_cursor_options vv_cursor_options_init()
{
    vv_cursor_options o = {};
    o.size = sizeof o;
    return o;
}
#endif

/** A cursor, not yet positioned. opt may be NULL. Gives *out: vv_cursor_close. */
VV_API VV_MUST_CHECK vv_status vv_cursor_open(vv_table *table, const vv_cursor_options *opt,
                                              vv_cursor **out, vv_error *err);
VV_API void vv_cursor_close(vv_cursor *cursor); /* accepts NULL */

/** First key >= key; an empty key: the first of all. Past the end the cursor is invalid. */
VV_API VV_MUST_CHECK vv_status vv_cursor_seek(vv_cursor *cursor, vv_slice key, vv_error *err);
/** Last key < key; an empty key: the last of all. */
VV_API VV_MUST_CHECK vv_status vv_cursor_seek_below(vv_cursor *cursor, vv_slice key, vv_error *err);
/** Only on a valid cursor; the direction may change at any step. */
VV_API VV_MUST_CHECK vv_status vv_cursor_next(vv_cursor *cursor, vv_error *err);
VV_API VV_MUST_CHECK vv_status vv_cursor_prev(vv_cursor *cursor, vv_error *err);
VV_API bool vv_cursor_valid(const vv_cursor *cursor);
/** Under vv_cursor_valid; borrowed until the cursor moves. */
VV_API vv_slice vv_cursor_key(const vv_cursor *cursor);
VV_API vv_slice vv_cursor_value(const vv_cursor *cursor);
VV_API int64_t vv_cursor_version(const vv_cursor *cursor);
VV_API int64_t vv_cursor_expires_ns(const vv_cursor *cursor);
/** Stored versions looked at so far. */
VV_API uint64_t vv_cursor_scanned(const vv_cursor *cursor);

/* ---- archives -------------------------------------------------------------------------------
 *
 * States of the tables of the engine btree that are kept under a name, however long: all such
 * tables of the store, each shard as it was at one version. They cost the space of what changed
 * since. Periodic ones come and go by vv_options.archive_interval_ns and archives_max.
 */

typedef struct vv_archive_info {
    char name[64];
    uint32_t shard;  /* an archive has an entry for each shard with such tables */
    int64_t version; /* what it shows of the shard */
    int64_t time_ns; /* wall time of its making */
    bool periodic;
} vv_archive_info;

/**
 * Keep what is there now. name is 1 to 63 bytes of letters, digits and signs. Flushes what it keeps
 * and is durable on return. With several shards each is kept at its own moment, and after a crash
 * in the middle some may have the archive: drop it then.
 *
 * @return VV_CONFLICT when the name is taken; VV_UNSUPPORTED when no table is of the engine btree;
 *         VV_BUSY when background work did not let it in for a minute.
 */
VV_API VV_MUST_CHECK vv_status vv_archive_create(vv_db *db, const char *name, vv_error *err);
/** Each archive of each shard, the oldest first; a nonzero return of each() ends it. each() calls
 * nothing of this store. */
VV_API VV_MUST_CHECK vv_status vv_archive_list(vv_db *db,
                                               int (*each)(void *ctx, const vv_archive_info *info),
                                               void *ctx, vv_error *err);
/** Let it go; its space comes back with later background work. Cursors over it go on. VV_NOT_FOUND;
 * VV_BUSY as above. */
VV_API VV_MUST_CHECK vv_status vv_archive_drop(vv_db *db, const char *name, vv_error *err);
/**
 * Bring a table back to an archive, by writing what differs: O(table), little when little changed.
 * In batches of 256 KiB, so not at once: who reads meanwhile sees some of it, and what is broken
 * off is finished by calling again. What had expired by now comes back expired.
 *
 * @param changed  keys that were written or deleted; may be NULL
 * @return VV_NOT_FOUND when there is no such archive, or the table is younger; VV_UNSUPPORTED when
 *         it is not of the engine btree, or holds series: restore a backup of the store for those.
 */
VV_API VV_MUST_CHECK vv_status vv_archive_restore(vv_table *table, const char *name,
                                                  uint64_t *changed, vv_error *err);

/* ---- upkeep ------------------------------------------------------------------------------- */

/** Write every memtable out and let the log go: afterwards a restart replays nothing. Blocks. */
VV_API VV_MUST_CHECK vv_status vv_checkpoint(vv_db *db, vv_error *err);

/**
 * Make a second store in `dir`, which must not be there yet (its parent must): the state of now, at
 * one version of each shard, while writers go on. On the same file system the files are hard links:
 * no data is copied but the end of the log. On another one they are copied. The directory has its
 * name only when it is whole; the copy can be opened, and goes its own way.
 *
 * @return VV_OK; VV_CONFLICT if dir exists; VV_INVALID for a path that cannot be; VV_UNSUPPORTED on
 *         a store opened read-only; VV_NO_SPACE, VV_IO: nothing of the name is left behind.
 *
 * Any thread. Takes the time of writing the log's end anew. What compaction lets go meanwhile stays
 * on the disk until it returns.
 */
VV_API VV_MUST_CHECK vv_status vv_checkpoint_to(vv_db *db, const char *dir, vv_error *err);

/** Compact a key range of a table down to its last level. Blocks. Empty bounds: all of it. */
VV_API VV_MUST_CHECK vv_status vv_compact(vv_table *table, vv_slice begin, vv_slice end,
                                          vv_error *err);

/** The same by the background threads, beside everything else: flushes what memtables hold of the
 * table and returns. vv_compact_look tells when it is done. Ranges asked for before the last one is
 * done become one that holds all. In a store of the engine btree it is done on return. */
VV_API VV_MUST_CHECK vv_status vv_compact_begin(vv_table *table, vv_slice begin, vv_slice end,
                                                vv_error *err);

typedef struct vv_compact_state {
    size_t size;
    bool is_pending;      /* a range of the table's shard is not done */
    uint64_t range_bytes; /* that the range holds now, about */
    uint64_t read_bytes;  /* that compactions of the shard have read since the open */
} vv_compact_state;

/** How far compaction of [begin, end) is: set out->size first. What read_bytes grew by since the
 * beginning, beside range_bytes as it was then, is about the part that is done. */
VV_API VV_MUST_CHECK vv_status vv_compact_look(vv_table *table, vv_slice begin, vv_slice end,
                                               vv_compact_state *out, vv_error *err);

typedef struct vv_stats {
    size_t size;
    uint64_t entries_committed; /* batches */
    uint64_t operations;
    uint64_t user_bytes; /* key and value bytes written */
    uint64_t log_appended_bytes;
    uint64_t log_written_bytes;
    uint64_t log_retained_bytes;
    uint64_t log_segments;
    uint64_t log_syncs;
    uint64_t memory_used; /* of memory_limit */
    uint64_t memory_limit;
    uint64_t memory_part[12]; /* memtable, cache, queue, log, query, network, index, work,
                                 transactions, process */
    uint64_t memtable_bytes;
    uint64_t memtable_count;
    uint64_t level_files[8];
    uint64_t level_bytes[8];
    uint64_t disk_bytes; /* runs, values apart, files of pages; the log's segments and its ring;
                            contents of bulk loads that wait for a backup */
    uint64_t flushes;
    uint64_t flush_bytes;
    uint64_t compactions;
    uint64_t compaction_read_bytes;
    uint64_t compaction_write_bytes;
    uint64_t cache_hits;
    uint64_t cache_misses;
    uint64_t filter_skips;
    uint64_t conflicts;
    uint64_t duplicates;
    uint64_t throttled_ns;  /* time writers were slowed */
    uint64_t commit_p50_ns; /* from vv_write to its answer */
    uint64_t commit_p99_ns;
    uint64_t recovery_entries; /* replayed at open */
    uint64_t recovery_ns;
    uint64_t recovery_cut_bytes; /* unfinished log tail dropped at open */
    uint64_t tables;
    uint32_t shards;
    bool failed;        /* the log or the background latched an error: reopen */
    uint64_t txns_open; /* transactions begun and not ended */
    uint64_t txn_commits;
    uint64_t txn_failures;    /* commits refused: conflicts and the rest */
    uint64_t compaction_debt; /* lsm: bytes to move down until every level has its size */
    uint64_t write_delay_ps;  /* picoseconds from one byte written to the next that writers of the
                                 slowest shard are held to now; 0: they go as fast as they can */
    uint64_t stalled_ns;      /* time writers waited for room in memtables */
    uint64_t filter_fails;    /* runs opened in vain: the filter did not know better */
    uint64_t index_bytes;     /* indexes and filters of runs, in memory */
    uint64_t range_deletes;   /* that memtables and runs hold */
    uint64_t value_files;     /* of large values apart */
    uint64_t value_bytes;
    uint64_t value_garbage_bytes; /* of them no run refers to */
    uint64_t bulk_loads;
    uint64_t bulk_bytes;                      /* files written by them */
    uint64_t level_reads[8];                  /* runs of a level that point reads opened */
    uint64_t level_compaction_read_bytes[8];  /* by the level they were read from */
    uint64_t level_compaction_write_bytes[8]; /* by the level they were written to */
    double write_amplification; /* bytes written to log and files for each of user_bytes; 0: none */
    bool huge_pages;            /* the system gives them to the block cache, where it has any */
    uint64_t groups_apart;     /* groups of writes to several shards that several threads applied */
    uint64_t io_started[4];    /* transfers by rank: log, read, flush, compaction; of real files */
    uint64_t io_held_back[4];  /* of them, those that had to wait for higher ones */
    uint64_t rollup_days;      /* of series, rolled up into minutes and hours */
    uint64_t rollup_repairs;   /* of them those that were rolled up before and changed since */
    uint64_t rollup_failures;  /* tries that will be made again */
    uint64_t rollup_dirty;     /* days known to wait: until then they are told by samples */
    uint64_t rollup_lag_ns;    /* how long the first of them has waited */
    uint64_t rollup_reads;     /* days of series that queries took from rows */
    uint64_t samples_repeated; /* late ones that were there as they were, and not written again */
    uint64_t series_queries;   /* closed, of all kinds */
    uint64_t chunks_decoded;   /* of samples, by them */
    uint64_t chunks_summed;    /* that answered by what they say of themselves in front */
} vv_stats;
VV_API void vv_stats_read(vv_db *db, vv_stats *out); /* set out->size first */

/** Verify every byte of a closed store. finding() gets one sentence for each problem, in order, and
 * for what a crash left that the next open removes (an unfinished log tail, files that no manifest
 * names); may be NULL. VV_CORRUPT when there was a problem. Writes nothing. */
VV_API VV_MUST_CHECK vv_status vv_check(const char *dir,
                                        void (*finding)(void *ctx, const char *text), void *ctx,
                                        vv_error *err);

/** Print a file of a store (log segment, ring, run, manifest, catalog) as text, line by line; the
 * kind is told from its magic. */
VV_API VV_MUST_CHECK vv_status vv_dump(const char *path, void (*line)(void *ctx, const char *text),
                                       void *ctx, vv_error *err);

/** "0.1.0". */
VV_API const char *vv_version(void);

#ifdef __cplusplus
}
#endif

#endif
