/*
 * db_state.h - the store and its parts: what there is while it is open. Each part says who may
 * touch it; the files of db/ include db_int.h, which has what they call of each other too.
 *
 * Lock order (docs/lock-order.md): catalog < commit_lock < publish_lock < engine < wal < leaf
 * locks.
 */
#ifndef VARVE_DB_DB_STATE_H
#define VARVE_DB_DB_STATE_H

#include <stdatomic.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/hist.h"
#include "base/lock.h"
#include "base/point.h"
#include "base/util.h"
#include "btree/btree.h"
#include "catalog/catalog.h"
#include "db/db.h"
#include "db/db_capture.h"
#include "engine/engine.h"
#include "engine/route.h"
#include "lsm/lsm.h"
#ifdef VV_HAS_ROCKSDB
#include "rocks/rocks.h"
#endif
#include "txn/txn.h"
#include "wal/wal.h"

struct db_tier; /* db_tier_int.h */

#define DB_LOG_DIR "wal"
#define DB_LOG_KEPT 4u /* times log_limit, for a backup that is to archive it */
#define DB_LOCK_FILE "LOCK"
#define DB_IDENTITY_FILE "VARVE"
#define DB_IDENTITY_NEW "VARVE.new" /* the same while the store is being made */
#define DB_SHARD_DIR_SIZE 16        /* "shard-000" and NUL */

/* ---- db_identity.c: the file that says what this directory is -------------------------------- */

typedef struct db_identity {
    uint8_t uuid[16];
    uint32_t shard_count;
    bool is_attached; /* made of the objects of another store: it is read, never written */
} db_identity;

#define DB_IDENTITY_SIZE 72u
VV_MUST_CHECK vv_status db_identity_decode(const uint8_t *p, size_t len, db_identity *out,
                                           vv_error *err);
void db_identity_encode(const db_identity *id, uint8_t out[DB_IDENTITY_SIZE]);
/* Of DB_IDENTITY_FILE. VV_NOT_FOUND when there is none; VV_UNSUPPORTED when a newer version made
 * it.
 */
VV_MUST_CHECK vv_status db_identity_read(vio *io, db_identity *out, vv_error *err);
VV_MUST_CHECK vv_status db_identity_write_at(vio *io, const char *path, const db_identity *id,
                                             vv_error *err);
VV_MUST_CHECK vv_status db_identity_write(vio *io, const db_identity *id, vv_error *err);
/* A store is made in two steps, so that what an interrupted making left behind is known as its own:
 * begin (nothing is there yet; takes over the uuid of an interrupted one), then end (all is). */
VV_MUST_CHECK vv_status db_identity_begin(vio *io, db_identity *id, vv_error *err);
VV_MUST_CHECK vv_status db_identity_end(vio *io, vv_error *err);
/* The log's id: a log with another one is another store's. Never 0. */
uint64_t db_identity_log_id(const db_identity *id);
void db_shard_dir(uint32_t shard, char out[DB_SHARD_DIR_SIZE]);

/* ---- db_marks.c: which version was the newest at what time ---- */

typedef struct db_mark {
    int64_t time_ns; /* entries above version are not older */
    int64_t version;
    uint64_t position; /* durable in the log from here on */
} db_mark;

typedef struct db_marks {
    vv_mutex lock; /* rank VV_RANK_LEAF */
    db_mark *mark; /* [count], ascending; under lock */
    size_t count;
    size_t cap;
    size_t pruning;              /* the oldest so many go with the mark being written; under lock */
    _Atomic int64_t longest_ns;  /* retention of any table of the shard */
    _Atomic int64_t interval_ns; /* between marks; 0: no table of the shard keeps versions */
    _Atomic int64_t last_ns;     /* time of the newest mark */
} db_marks;

/* ---- db_fifo.c: what is logged and not yet visible ---- */

typedef struct db_pending {
    uint64_t need; /* log position that must be durable first */
    int64_t version;
    uint32_t shard;
} db_pending;

typedef struct db_fifo {
    db_pending *slot;           /* ring of cap entries; under publish_lock */
    size_t cap;                 /* a power of two; grows under commit_lock and publish_lock */
    size_t head;                /* oldest; under publish_lock */
    size_t tail;                /* under publish_lock */
    uint64_t tail_need;         /* of the newest entry; under commit_lock */
    _Atomic size_t count;       /* changes under publish_lock; 0 seen under commit_lock stays 0 */
    _Atomic uint64_t published; /* every entry with need at or below it is visible */
} db_fifo;

/* ---- shards ---------------------------------------------------------------------------------- */

/* How long nobody has written to a shard: db_settle.c. */
typedef struct db_rest {
    int64_t version;  /* the newest there was at the last look */
    int64_t since_ns; /* monotonic: since then */
    bool is_flushed;
    bool is_done;
} db_rest;

typedef struct db_shard {
    struct vv_db *db;
    engine *eng; /* a route: all engines of the shard */
    uint32_t id;
    _Atomic int64_t last_index;    /* newest logged version; written under commit_lock */
    int64_t last_commit_time_ns;   /* under commit_lock */
    int64_t replay_index;          /* newest entry seen by the replay; recovery only */
    _Atomic int64_t release_index; /* checkpoint reached while replaying; recovery only */
    _Atomic int64_t floor_given;   /* highest floor any flush was told: any thread */
    _Atomic int64_t floor_now;     /* the same for tables that keep no versions */
    _Atomic int64_t floor_time_ns; /* latest time any flush was told: commits are not before it */
    _Atomic int64_t
        next_write_ns; /* monotonic: where writers are slowed, when the next may write */
    db_marks marks;
    txn_recent recent;            /* under commit_lock */
    vv_mutex watch_lock;          /* rank VV_RANK_WATCH */
    struct db_watch *watches;     /* who waits for messages; under watch_lock */
    _Atomic uint32_t watch_count; /* of them; changes under watch_lock */
    db_rest rest;
} db_shard;

/* ---- db_queue.c: batches waiting for the commit thread ---- */

typedef struct db_list {
    vv_batch *head; /* through vv_batch.next */
    vv_batch *tail;
} db_list;

/* What waits for room in a shard's memtables, in order, and until when. */
typedef struct db_blocked {
    db_list list;
    int64_t deadline_ns;
} db_blocked;

typedef struct db_queue {
    vv_mutex lock; /* rank VV_RANK_LEAF */
    vv_cond wake;
    db_list list;   /* under lock, oldest first */
    uint64_t bytes; /* under lock: payload bytes queued or being committed */
    uint64_t bytes_max;
    uint64_t chain_max; /* bytes committed with one sync */
    bool is_waiting;    /* the thread sleeps; under lock */
    bool room_made;     /* background work ended while a shard was blocked; under lock */
    bool stop;          /* under lock */
    bool gathers;       /* batches wait for db_queue_turn; else their callers commit them */
    vv_thread *thread;
    _Atomic uint64_t blocked_shards;   /* bit set; written by the commit thread */
    db_blocked blocked[WAL_SHARD_MAX]; /* the commit thread's */
} db_queue;

/* ---- db_apply.c: a group's shards on several threads ---- */

/* A group that was logged. */
typedef struct db_group {
    vv_batch *const *batch; /* [count], in the order of the log */
    size_t count;
    uint64_t shards;     /* bit set */
    const uint32_t *ops; /* by shard, of those in the set */
    uint64_t end;        /* position in the log */
} db_group;

typedef struct db_apply {
    vv_mutex lock;         /* rank VV_RANK_LEAF */
    vv_cond work;          /* a group was offered, or stop */
    vv_cond done;          /* nothing is under way any more */
    const db_group *group; /* under lock while todo or under_way is set; its appender's */
    uint64_t todo;         /* bit set of shards that nobody has taken; under lock */
    uint32_t under_way;    /* shards that were taken and are not done; under lock */
    vv_status status;      /* of the group: the first failure; under lock */
    vv_error error;        /* likewise */
    bool stop;             /* under lock */
    uint32_t least_ops;    /* beside the largest shard's, for threads to be called; fixed at open */
    uint32_t thread_count; /* fixed at open */
    vv_thread *thread[WAL_SHARD_MAX];
} db_apply;

/* ---- db_background.c ---- */

#define DB_WORKERS_MAX 16u

typedef struct db_background {
    vv_mutex lock; /* rank VV_RANK_LEAF */
    vv_cond work;  /* there may be something to do */
    vv_cond log_work;
    vv_cond progress;   /* a piece of work was done, or the workers went to sleep */
    vv_cond room;       /* memory or a memtable came back, or it failed: for writers */
    uint64_t requests;  /* under lock: counts calls of on_work */
    uint64_t pieces;    /* under lock: work done */
    uint32_t working;   /* under lock: threads in a piece of work */
    uint32_t watchers;  /* under lock: waiting for progress */
    uint32_t starved;   /* under lock: waiting for room */
    uint64_t room_used; /* under lock: of the budget, when the newest of them began to wait */
    _Atomic uint64_t room_seq; /* counts what room tells; changes under lock */
    bool stop;                 /* under lock */
    bool log_wanted;           /* under lock */
    bool room_wanted;          /* under lock: a writer waits for memory */
    vv_error error;            /* under lock: the first that will not go away by itself */
    _Atomic bool failed;
    _Atomic bool settling;                 /* by who sets it: db_shard.rest of all */
    vv_thread *worker[2 * DB_WORKERS_MAX]; /* those that only flush included */
    uint32_t worker_count;
    bool has_flushers;
    vv_thread *log_thread;
    uint32_t next_shard; /* db_step only */
} db_background;

/* ---- db_series_roll.c: rollups of series, a piece at a time ---- */

typedef struct db_rollup {
    _Atomic bool wanted; /* some table may have something to do */
    _Atomic bool busy;   /* by who sets it: one step at a time; the rest is theirs */
    int64_t look_at_ns;  /* monotonic: look all the same */
    uint32_t next_table;
    struct db_rollup_work *work; /* NULL: none was done yet */
} db_rollup;

/* ---- db_tier_runs.c: old runs in the object store ---- */

typedef struct db_tier_runs_state {
    engine_tier tier; /* fixed while open; the engines have a pointer to it */
    bool is_given;    /* vv_options.tier was not NULL */
    bool is_stopped;  /* nothing goes by itself */
    vv_mutex lock;    /* rank VV_RANK_LEAF: guards stop */
    vv_cond wake;
    bool stop;
    vv_thread *thread; /* NULL: nothing goes by itself */
} db_tier_runs_state;

/* ---- db_stream_repeat.c: repeated appends are looked up ---- */

typedef struct db_stream_lookups {
    vv_mutex lock; /* rank VV_RANK_LEAF: guards all down to stop */
    vv_cond wake;
    struct db_stream_lookup *head;
    struct db_stream_lookup *tail;
    uint32_t count;
    bool stop;
    vv_thread *thread; /* the commit thread's; NULL: nothing was repeated yet */
} db_stream_lookups;

typedef struct db_counters {
    _Atomic uint64_t entries;
    _Atomic uint64_t groups_apart; /* applied by several threads */
    _Atomic uint64_t rollup_days;
    _Atomic uint64_t rollup_repairs;
    _Atomic uint64_t rollup_failures;
    _Atomic uint64_t rollup_reads;
    _Atomic uint64_t samples_repeated;
    _Atomic uint64_t series_queries;
    _Atomic uint64_t chunks_decoded;
    _Atomic uint64_t chunks_summed;
    _Atomic uint64_t operations;
    _Atomic uint64_t user_bytes;
    _Atomic uint64_t conflicts;
    _Atomic uint64_t duplicates;
    _Atomic uint64_t throttled_ns;
    _Atomic uint64_t stalled_ns;
    _Atomic uint64_t stale_index_drops;
    _Atomic uint64_t txns_open;
    _Atomic uint64_t txn_commits;
    _Atomic uint64_t txn_failures; /* commits that were refused */
    vv_hist commit_ns;
} db_counters;

/* ---- db_load.c: contents of bulk loads ---- */

typedef struct db_load_writer db_load_writer;

/* The key of the load's entry in the system table; its length. */
size_t db_load_key(const db_load *load, uint8_t out[DB_LOAD_KEY_MAX]);
/* Begin to keep the content of a load. Gives *out: db_load_end and db_load_free, or
 * db_load_abort. */
VV_MUST_CHECK vv_status db_load_begin(vv_db *db, uint32_t shard, uint32_t table_id,
                                      db_load_writer **out, vv_error *err);
/* Keys ascending, without the table prefix. */
VV_MUST_CHECK vv_status db_load_put(db_load_writer *w, vv_slice key, vv_slice value,
                                    int64_t expires_ns, vv_error *err);
/* The content is durable under its name. */
VV_MUST_CHECK vv_status db_load_end(db_load_writer *w, db_load *out, vv_error *err);
/* Remove what there is of the file. Accepts NULL. */
void db_load_abort(db_load_writer *w);
/* The file stays. Accepts NULL. */
void db_load_free(db_load_writer *w);
/* Before an entry is replayed that is of a load: install it, unless the engine has it already.
 * VV_BUSY in a store that is open read-only. */
VV_MUST_CHECK vv_status db_load_replay(vv_db *db, db_shard *shard, const db_load *load,
                                       int64_t version, vv_error *err);
/* Verify each content in a closed store: finding() gets a sentence for one that is damaged. */
VV_MUST_CHECK vv_status db_load_check_dir(vio *io, void (*finding)(void *ctx, const char *text),
                                          void *ctx, vv_error *err);

/* ---- db_kept.c: how long contents stay ---- */

typedef struct db_kept_item db_kept_item;

typedef struct db_kept {
    vv_mutex lock;              /* rank VV_RANK_LEAF */
    db_kept_item *first, *last; /* in the order of the log */
    unsigned holds;             /* nothing goes */
    uint64_t archived;          /* a backup has what lies below this position */
    _Atomic uint64_t bytes;     /* of all their files */
    _Atomic uint64_t written;   /* since the opening */
    _Atomic uint64_t begun;     /* names part files */
} db_kept;

void db_kept_init(vv_db *db);
void db_kept_fini(vv_db *db);
/* NULL: no memory. Gives it to db_kept_add or db_kept_free. */
db_kept_item *db_kept_new(const db_load *load, vv_error *err);
void db_kept_free(db_kept_item *item);
/* Its entry is in the log, at or just behind position. Cannot fail. */
void db_kept_add(vv_db *db, db_kept_item *item, int64_t version, uint64_t position);
/* The replay met the entry of a load. */
VV_MUST_CHECK vv_status db_kept_found(vv_db *db, const db_load *load, int64_t version,
                                      uint64_t position, vv_error *err);
/* After the replay: remove what none of its entries names. */
VV_MUST_CHECK vv_status db_kept_sweep(vv_db *db, vv_error *err);
/* Remove what need not stay. No lock held. */
void db_kept_trim(vv_db *db);
void db_kept_hold(vv_db *db);
void db_kept_unhold(vv_db *db);
void db_kept_archived(vv_db *db, uint64_t position);

typedef struct db_world db_world;

struct vv_db {
    vv_env *env;
    db_world *world; /* of vv_db_open; NULL: env is the caller's */
    vv_options opt;  /* with every default filled in */
    vv_budget budget;
    vio_file *lock_file;
    vio_file *log_lock_file; /* the log may lie elsewhere, and be reached by two stores */
    const engine_ops *ops;   /* of the shards' engines */
    const engine_ops *home;  /* what the store was made with */
    wal *log;
    catalog *cat;
    db_identity identity;
    uint32_t shards_asked; /* by who opened it; 0: no number */
    uint32_t shard_count;
    db_shard *shards;

    vv_mutex series_lock;        /* rank VV_RANK_SERIES: series that come and go, of all tables */
    vv_mutex series_tables_lock; /* rank VV_RANK_SERIES_TABLES */
    struct db_series *series_tables; /* ring, under it: the next to lose some of its cache */
    uint32_t series_table_count;     /* under it */
    _Atomic uint64_t series_cached;  /* bytes of series in memory, of all tables */
    _Atomic bool series_uncounted;   /* some table's number of series may be due */
    vv_mutex commit_lock;  /* rank VV_RANK_TXN: order of the log, engine prepare and apply */
    uint64_t bulk_count;   /* under commit_lock: bulk loads that were logged */
    vv_mutex publish_lock; /* rank VV_RANK_PUBLISH: engine publish */
    db_fifo fifo;
    _Atomic bool failed;           /* the log failed: set once, after first_error */
    vv_mutex error_lock;           /* rank VV_RANK_LEAF */
    vv_error first_error;          /* under error_lock */
    _Atomic int64_t read_clock_ns; /* newest time a read was given: never goes back */
    bool is_replaying;             /* open only, one thread */

    db_queue queue;
    db_apply apply;
    db_background bg;
    db_counters counters;
    db_kept kept;
    db_rollup rollup;
    struct db_tier *tier; /* NULL: no store of objects; fixed while open */
    db_tier_runs_state runs;
    db_stream_lookups lookups;
    _Atomic bool retain_busy;       /* by who sets it: one look at streams at a time */
    _Atomic int64_t retain_look_ns; /* monotonic: when to look next */
    uint64_t work_size;             /* a shard's part of the buffers of background work */
    uint64_t file_size;             /* of a run, about */
    uint64_t group_bytes_max;       /* payload bytes the commit thread logs in one piece */
    uint64_t log_wake_bytes; /* unwritten log bytes that wake the log thread; 0: there is none */
    uint64_t replayed_entries;
    int64_t recovery_ns;
};

struct vv_table {
    vv_db *db;
    cat_table *cat; /* a reference */
    db_shard *shard;
    uint32_t partition_count; /* of the table; 1 where the handle means one of its partitions */
};

#define DB_BATCH_TABLES 4u

struct vv_batch {
    vv_db *db;
    vv_buf payload;
    size_t begin;
    uint32_t op_count;
    uint32_t crc;       /* of the payload, once sealed */
    db_shard *shard;    /* NULL: nothing added yet */
    cat_table **tables; /* references to each table written or asked; few or allocated */
    cat_table *few[DB_BATCH_TABLES];
    uint32_t table_count;
    uint32_t table_cap;
    bool has_range_delete;
    bool has_producer;
    bool is_internal; /* of the store itself: not counted as a user's */
    txn_condition *conds;
    size_t cond_count;
    size_t cond_cap;
    vv_arena cond_bytes; /* keys and values of conds */
    vv_buf scratch;      /* encodes one record */
    uint64_t user_bytes;
    const txn_footprint *footprint;  /* of a transaction; NULL: a plain batch */
    struct db_stream_append *stream; /* of messages, whose places the log gives; NULL: none */
    int64_t mark_time_ns; /* of db_marks.c: time of the mark this batch writes; 0: none */

    /* On its way through the commit path; the commit path's alone. */
    vv_durability durability;
    vv_status status;
    vv_write_result result;
    uint64_t need; /* position that must be durable before the answer */
    vv_error error;
    cat_table *dropping; /* set its is_dropping with this entry */
    vv_write_done done;
    void *done_ctx;
    int64_t start_ns;
    vv_batch *next; /* in the queue */
};

/* ---- db_tier_hold.c: who may still read objects ------------------------------------------------
 */

/* Somebody reads a shard, or all, at a version or later. In a ring while it does. */
typedef struct db_tier_hold {
    struct db_tier_hold *next; /* under db_tier.lock, like all but is_held */
    struct db_tier_hold *previous;
    bool is_held;            /* its owner's: the neighbours are others' */
    const db_shard *shard;   /* NULL: all of them */
    int64_t version;         /* with a shard */
    const int64_t *versions; /* [shard_count] without; NULL: any version at all */
} db_tier_hold;

struct vv_snapshot {
    vv_db *db;
    int64_t time_ns;
    uint32_t shard_count;
    db_tier_hold hold; /* objects that may be read at it stay */
    int64_t version[]; /* of each shard */
};

/* From before the moment that is read at. Nothing where no store of objects is. */
void db_tier_hold_begin(vv_db *db, db_tier_hold *hold, const db_shard *shard);
/* The same of all shards, at versions from then on; until that is called at any. */
void db_tier_hold_at(vv_db *db, db_tier_hold *hold, const int64_t *versions);
void db_tier_hold_end(vv_db *db, db_tier_hold *hold); /* also of one that did not begin */
/* Nobody reads the shard at a version below this one, and nobody will. *pinned, where it is not
 * NULL: what backups alone ask for. */
int64_t db_tier_held(vv_db *db, const db_shard *shard, int64_t *pinned);

#endif
