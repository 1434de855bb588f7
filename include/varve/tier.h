/*
 * tier.h - what is old lies in an object store: batches of messages of stream tables, and runs of
 * kv, record and series tables. Written in the background, read through the same calls as what is
 * fresh.
 *
 * The way of a batch: it is cut by output bytes, count or age; an INTENT with its name is committed
 * to the table's log; the object is stored, create-once where the store can; DONE is committed with
 * its checksum. Whoever takes over after a crash executes the same intent, and a name that is taken
 * is accepted only when the object under it is this intent's, by its footer. So each message lies
 * in exactly one object. Messages leave the local files only after DONE.
 *
 * Threads: every function may be called from any thread.
 */
#ifndef VARVE_TIER_H
#define VARVE_TIER_H

#include "varve/db.h"
#include "varve/object.h"
#include "varve/stream.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Frozen: on disk. */
typedef enum vv_tier_codec {
    VV_TIER_ZSTD = 1, /* with a dictionary where it pays */
    VV_TIER_LZ4 = 2,
    VV_TIER_PLAIN = 3,
} vv_tier_codec;

/* Written beside each object for other tools to read. Frozen: on disk. */
typedef enum vv_tier_form {
    VV_TIER_ALONE = 0,
    VV_TIER_JSONL = 1, /* JSON lines, zstd */
    VV_TIER_PARQUET = 2,
} vv_tier_form;

/* Fields of vv_archive_rule that are said although they are 0: such a table is archived though the
 * store's rule is `off`, has no other form, batches of any count, no bound of local bytes. Frozen:
 * on disk. */
#define VV_ARCHIVE_SAYS_OFF 1u
#define VV_ARCHIVE_SAYS_ALSO 2u
#define VV_ARCHIVE_SAYS_MESSAGES 4u
#define VV_ARCHIVE_SAYS_LOCAL_BYTES 8u

/* How a table is archived. All zero: as the store's default says; a field that is 0 likewise. It
 * has room at its end and no size, because it lies in other structs. */
typedef struct vv_archive_rule {
    bool off;            /* messages of this table stay local */
    uint32_t said;       /* VV_ARCHIVE_SAYS_..: of these also 0 counts */
    vv_tier_codec codec; /* 0: VV_TIER_ZSTD */
    vv_tier_form also;
    uint64_t batch_bytes;    /* of an object, as stored; 0: 64 MiB */
    uint64_t batch_messages; /* 0: no bound */
    int64_t batch_age_ns;    /* of the oldest message that waits; 0: 5 minutes */
    int64_t local_ns;        /* archived messages stay in local files too for so long; 0: 1 hour;
                                -1: they leave at once */
    uint64_t local_bytes;    /* of each partition, likewise; 0: no bound */
    const char *key;         /* template of names; NULL:
                                "{tenant}/{table}/{yyyy}/{mm}/{dd}/{hh}/{partition}-{first}-{intent}" */
    uint64_t reserved[4];    /* 0 */
} vv_archive_rule;

/* Of a store, in vv_options.tier. */
typedef struct vv_tier_options {
    size_t size;              /* sizeof(vv_tier_options) */
    vv_object_store *objects; /* borrowed until vv_db_close; NULL: nothing is archived, and what is
                                 can not be read */
    vv_archive_rule rule;     /* for tables that leave it to the store */
    uint32_t uploads;         /* at once; 0: 2 */
    uint64_t cache_bytes;     /* of the disk, for blocks that were read; 0: 1 GiB */
    int64_t grace_ns;      /* objects that nothing refers to any more stay for so long; 0: 1 hour */
    uint32_t failures_max; /* uploads failed in a row that make vv_tier_stats unhealthy; 0: 5 */
    int64_t run_age_ns;    /* lsm: runs older than this go to the store; 0: none by age */
    uint64_t run_local_bytes; /* lsm: the oldest runs beyond go; 0: none by size */
    uint64_t waiting_max; /* bytes of messages that wait for the store, over all tables, from which
                             appends are refused with VV_BUSY; those that wait for their answer are
                             slowed from seven eighths on. 0: the disk is the bound */
    int64_t backup_keep_ns; /* objects that backups lead to stay until no backup was made to the
                               same repository for so long; 0: 30 days */
    bool stopped; /* the background stores, merges and removes nothing, whatever the tables' rules
                     say; what is called does: vv_tier_run, vv_tier_restore */
} vv_tier_options;

/** Archive what waits, now and whatever its size, and wait for it. table NULL: every one. Also
 * merges small objects, removes what nothing refers to, lets local copies go as the rules say.
 * VV_UNSUPPORTED without a store; else the first failure, after all was tried. */
VV_API VV_MUST_CHECK vv_status vv_tier_run(vv_db *db, vv_table *table, vv_error *err);

typedef enum vv_tier_state {
    VV_TIER_INTENT = 1, /* announced; the store may have it or not */
    VV_TIER_STORED = 2,
    VV_TIER_DYING = 3, /* replaced or out of retention; removed after the grace period */
} vv_tier_state;

typedef struct vv_tier_object {
    size_t size;      /* of this struct, as the library has it: what lies behind is not there */
    const char *name; /* borrowed during each() */
    uint32_t partition;
    vv_tier_state state;
    vv_tier_codec codec;
    vv_tier_form also;
    uint64_t first; /* offsets */
    uint64_t next;
    uint64_t bytes; /* stored; 0: not yet */
    uint64_t raw_bytes;
    uint32_t crc32c;
    int64_t made_ns;
    int64_t receive_first_ns;
    int64_t receive_last_ns;
} vv_tier_object;

/** The objects of a stream table by partition and offset; a nonzero return ends the walk, with
 * VV_OK. Asks no store. VV_INVALID: the table is of another kind; VV_NOT_FOUND: it was dropped;
 * VV_CORRUPT: a record of an object is damaged; VV_NO_MEMORY, VV_IO. each() ran for those before.
 */
VV_API VV_MUST_CHECK vv_status vv_tier_list(vv_table *table,
                                            int (*each)(void *ctx, const vv_tier_object *object),
                                            void *ctx, vv_error *err);

/** Hold every object of a table against what the table knows of it: there, its size and footer;
 * `whole`: every byte. finding() gets a sentence each, borrowed for its call.
 *
 * @return VV_OK: all were looked at, and there was nothing to find. VV_CORRUPT: all were looked at,
 *         and there was. Any other status ends the walk, findings up to there were told:
 *         VV_UNSUPPORTED without a store; VV_INVALID and VV_NOT_FOUND as vv_tier_list; VV_IO,
 *         VV_TIMEOUT, VV_BUSY and VV_CLOSED of a store that does not answer; VV_BUSY also where
 *         memory_limit leaves no room for an index; VV_NO_MEMORY. */
VV_API VV_MUST_CHECK vv_status vv_tier_verify(vv_table *table, bool whole,
                                              void (*finding)(void *ctx, const char *text),
                                              void *ctx, vv_error *err);

/** Bring archived messages [first, next) of a partition back into local files. They count as local
 * from now on for the table's rule: with its local_ns of -1 they leave again at the next pass.
 *
 * @param restored  messages that are local again, also with a failure: those stay, and a second
 *                  call goes on behind them. What was local already does not count.
 * @return VV_OK also where nothing of the range is in objects alone. VV_INVALID: no such partition,
 *         or no stream table; VV_UNSUPPORTED: the store is read-only, or knows no object store;
 *         VV_IO, VV_TIMEOUT, VV_CORRUPT, VV_BUSY of a read from it; VV_NO_SPACE, VV_NO_MEMORY. */
VV_API VV_MUST_CHECK vv_status vv_tier_restore(vv_table *table, uint32_t partition, uint64_t first,
                                               uint64_t next, uint64_t *restored, vv_error *err);

/** Make a store in an empty directory out of the objects alone: its stream tables with what is
 * archived of them, to be read. Of tables that had one name, one after the other, the newest.
 *
 * @param finding  may be NULL; gets a sentence for each object that is passed over, for offsets
 * that no object holds, and for a table of which several stores wrote objects. Borrowed for its
 * call, which the calling thread makes.
 * @return VV_CONFLICT: the directory is not empty; VV_NOT_FOUND: there is no object of messages;
 *         VV_INVALID: dir is empty, or objects NULL; VV_IO, VV_TIMEOUT, VV_BUSY: the store does not
 *         answer, or the directory cannot be written; VV_NO_SPACE, VV_NO_MEMORY. With any of them
 *         the directory holds no store. */
VV_API VV_MUST_CHECK vv_status vv_tier_attach(const char *dir, vv_object_store *objects,
                                              void (*finding)(void *ctx, const char *text),
                                              void *ctx, vv_error *err);

/** As vv_check, with the runs that lie in the object store: each object there, of its size and sum;
 * `whole`: every byte of them. vv_check itself looks at what of them is local, and fails with VV_IO
 * where it would have to read one. Statuses as vv_check, and those of vv_object_head and
 * vv_object_get where the store does not answer. */
VV_API VV_MUST_CHECK vv_status vv_check_tier(const char *dir, vv_object_store *objects, bool whole,
                                             void (*finding)(void *ctx, const char *text),
                                             void *ctx, vv_error *err);

/* ---- messages in forms that other tools read: as the archiver writes them beside its objects ----
 */

typedef struct vv_tier_writer vv_tier_writer;

/* Whose messages: the file says it. */
typedef struct vv_tier_origin {
    const char *tenant;
    const char *table;
    uint32_t partition;
    uint32_t partition_count; /* of the table */
} vv_tier_origin;

/** Begin a file.
 *
 * @param form   VV_TIER_JSONL (in a zstd frame) or VV_TIER_PARQUET.
 * @param write  gets the bytes in their order; what it fails with ends the writer.
 * @return VV_INVALID: another form, or an origin that cannot be; VV_NO_MEMORY.
 *
 * Gives *out: vv_tier_writer_close. Copies the origin. One thread at a time. Holds up to 8 MiB. */
VV_API VV_MUST_CHECK vv_status vv_tier_writer_open(vv_tier_form form, const vv_tier_origin *of,
                                                   vv_status (*write)(void *ctx, const void *bytes,
                                                                      size_t len, vv_error *err),
                                                   void *ctx, vv_tier_writer **out, vv_error *err);

/** The next message, in the order of offsets. Borrows it for the call. VV_NO_MEMORY, or what write
 * failed with: the writer is of no use then. */
VV_API VV_MUST_CHECK vv_status vv_tier_writer_add(vv_tier_writer *w, const vv_message *m,
                                                  vv_error *err);

/** Write what is left: then the file is whole. *size (may be NULL): its bytes. Once. */
VV_API VV_MUST_CHECK vv_status vv_tier_writer_finish(vv_tier_writer *w, uint64_t *size,
                                                     vv_error *err);

VV_API void vv_tier_writer_close(vv_tier_writer *w); /* accepts NULL */

typedef struct vv_tier_stats {
    size_t size; /* sizeof(vv_tier_stats): set before the call */
    bool has_store;
    bool healthy; /* fewer than failures_max uploads failed in a row */
    uint32_t consecutive_failures;
    char last_error[256]; /* "" */
    int64_t last_error_ns;
    int64_t last_success_ns;   /* 0: none yet */
    uint64_t waiting_messages; /* appended, not archived */
    uint64_t waiting_bytes;
    int64_t oldest_waiting_ns; /* receive time; 0: none */
    uint32_t uploading;        /* now */
    uint64_t intents;          /* since the open, like what follows */
    uint64_t stored;
    uint64_t stored_messages;
    uint64_t stored_bytes;
    uint64_t raw_bytes;
    uint64_t failed; /* uploads: tries */
    uint64_t merged; /* objects that became part of a larger one */
    uint64_t removed;
    uint64_t upload_p50_ns;
    uint64_t upload_p99_ns;
    uint64_t batch_age_p99_ns; /* of the oldest message when its batch was stored */
    uint64_t cache_hits;
    uint64_t cache_misses;
    uint64_t cache_bytes;
    uint64_t remote_runs;
    uint64_t remote_run_bytes;
    uint64_t conflicts;       /* names that something else had: the batch got another one */
    uint64_t settled;         /* objects that were there already, and were proved to be ours */
    uint64_t removals_failed; /* tries to remove an object that nothing refers to any more */
    uint64_t work_failed; /* tries that failed for another cause than an upload: the local disk, an
                             object that a merge cannot read; not in `failed` and `healthy` */
    int64_t last_work_error_ns;
    char last_work_error[256]; /* "" */
} vv_tier_stats;

VV_API void vv_tier_stats_read(vv_db *db, vv_tier_stats *out);

#ifdef __cplusplus
}
#endif

#endif
