/*
 * db_tier_int.h - the tier of object stores inside db/: which messages of a stream table lie in
 * objects, who puts them there, who may still read them.
 *
 * The truth is in each partition's keys (docs/format/stream.md), so log, snapshots and backups have
 * it as they have the messages:
 *
 *      first            local              archived                next
 *        |-- objects only --|-- objects and blocks --|-- blocks only --|
 *        'H'               'L'                 end of the last 'A'
 *
 *   'A' first offset   an object that holds [first, next): entries follow each other without a gap
 *   'I' intent         an object that is being made
 *   'D' intent         an object that nothing refers to any more
 *
 * Entries below `first` are gone for readers; the background takes them away. One partition is
 * worked on by one thread at a time (db_tier_claim), so nobody but trims changes what it read.
 */
#ifndef VARVE_DB_DB_TIER_INT_H
#define VARVE_DB_DB_TIER_INT_H

#include "archive/archive.h"
#include "base/rng.h"
#include "db/db_int.h"
#include "db/db_trace.h"

struct db_stream_reader;
struct db_tier_job;
struct db_tier_cache; /* db_tier_cache.c */

#define DB_TIER_DIR "tier" /* part files, and what the cache keeps */
#define DB_TIER_UPLOADS_MAX 16u
#define DB_TIER_GRACE_NS (3600 * VV_NS_PER_S) /* where vv_tier_options does not say */
#define DB_TIER_CLAIMS 64u
#define DB_TIER_PINS 16u
#define DB_TIER_REMOVALS_TRIED 8u /* that fail in a row, before the next pause */
#define DB_TIER_WHOLE UINT32_MAX  /* all partitions of a table */

/* ---- db_tier.c: the state ----------------------------------------------------------------------
 */

/* Where the removal of objects is, so that one that fails holds up no other. By who claims the
 * partition. */
typedef struct db_tier_sweep {
    uint64_t from;    /* intent to go on at */
    uint32_t failed;  /* since it began, or paused */
    uint32_t pauses;  /* in a row */
    int64_t retry_ns; /* monotonic */
} db_tier_sweep;

/* Of a partition of a stream: what an append tells the archiver, and the other way. */
typedef struct db_tier_part {
    _Atomic uint64_t waiting;          /* bytes of blocks whose messages are in no object; about */
    _Atomic uint64_t waiting_messages; /* as of the last look */
    _Atomic uint64_t cut_at;           /* so many are an object, by those before; 0: not known */
    _Atomic int64_t oldest_ns;         /* receive time of the first that waits; 0: none does */
    _Atomic bool wanted;               /* look at it, whatever look_ns says */
    _Atomic int64_t look_ns;           /* monotonic: something may be due then */
    int64_t retry_ns;                  /* monotonic; by who claims the partition, like the next */
    uint32_t failures;                 /* in a row */
    uint32_t looks;                    /* for a piece of work */
    uint64_t merged_to;                /* objects below this offset are as large as they will be */
    db_tier_sweep sweep;
} db_tier_part;

/* As db_tier_sweep, for the objects of dropped tables of a shard. */
typedef struct db_tier_dropped {
    uint8_t from[24]; /* key to go on at */
    uint8_t from_len; /* 0: at the first */
    uint32_t failed;
    uint32_t pauses;
    int64_t retry_ns;
} db_tier_dropped;

/* Versions of each shard from which on a repository of backups may lead to objects. */
typedef struct db_tier_pin {
    uint8_t repo[16];
    int64_t time_ns; /* wall time of the last backup to it */
    int64_t version[WAL_SHARD_MAX];
} db_tier_pin;

/* One partition that a thread works on. */
typedef struct db_tier_claim {
    uint32_t table;
    uint32_t partition;
} db_tier_claim;

/* What failed last: for stats and for sentences. */
typedef struct db_tier_health {
    uint32_t failures_in_row;
    int64_t since_ns; /* wall time of the first of them */
    int64_t last_error_ns;
    int64_t last_success_ns;
    char last_error[256];
    uint32_t work_failures_in_row; /* of another cause than an upload */
    int64_t last_work_error_ns;
    char last_work_error[256];
} db_tier_health;

typedef struct db_tier_counters {
    _Atomic uint64_t intents;
    _Atomic uint64_t stored;
    _Atomic uint64_t stored_messages;
    _Atomic uint64_t stored_bytes;
    _Atomic uint64_t raw_bytes;
    _Atomic uint64_t failed;      /* uploads */
    _Atomic uint64_t work_failed; /* anything else */
    _Atomic uint64_t merged;
    _Atomic uint64_t removed;
    _Atomic uint64_t unremoved; /* tries that failed */
    _Atomic uint64_t conflicts; /* a name was taken by something else */
    _Atomic uint64_t settled;   /* the object was there already, and it was ours */
    _Atomic uint32_t uploading;
    vv_hist upload_ns;    /* under db_tier.lock, like the next */
    vv_hist batch_age_ns; /* of the oldest message when its batch was stored */
} db_tier_counters;

typedef struct db_tier {
    vv_db *db;
    vv_object_store *objects; /* borrowed until the close */
    vv_tier_options opt;      /* with every default filled in; opt.rule too */
    char key[ARCH_TEMPLATE_MAX + 1];
    vv_object_limits limits;
    _Atomic bool no_condition; /* the store answered that it has no conditional put */
    uint64_t buffer;           /* bytes of an upload that are in memory at once */

    vv_mutex lock; /* rank VV_RANK_LEAF: guards what follows */
    vv_cond work;  /* something may be due */
    vv_cond done;  /* a claim was given back */
    db_tier_hold holds;
    db_tier_pin pin[DB_TIER_PINS];
    uint32_t pin_count;
    const struct db_tier_job *passing; /* who may pass memory_limit; NULL: nobody does */
    db_tier_claim claim[DB_TIER_CLAIMS];
    uint32_t claim_count;
    vv_rng rng;
    db_tier_health health;
    uint64_t requests; /* counts wakes */
    bool stop;
    uint32_t next_table;                    /* to look at */
    db_tier_dropped dropped[WAL_SHARD_MAX]; /* by who claims the shard's system table */
    db_traces traces;

    _Atomic uint64_t waiting_bytes;  /* of blocks whose messages are in no object; about */
    _Atomic bool is_full;            /* appends are refused, and the threads know */
    _Atomic bool wanted;             /* a batch may be due */
    _Atomic int64_t look_ns;         /* monotonic: look all the same */
    _Atomic int64_t dropped_look_ns; /* likewise for objects of dropped tables */
    db_tier_counters counters;
    struct db_tier_cache *cache; /* NULL: none was opened */
    uint32_t thread_count;
    vv_thread *thread[DB_TIER_UPLOADS_MAX];
} db_tier;

/* opt->tier, if there is one, after the shards are counted and before anything is read. */
VV_MUST_CHECK vv_status db_tier_open(vv_db *db, vv_error *err);
/* The background ended before. */
void db_tier_close(vv_db *db);
/* The rule that a table is archived by: its own, the store's, the defaults. key is never NULL;
 * `off` also without a store. */
void db_tier_rule(const vv_db *db, const cat_table *cat, vv_archive_rule *out);

/* ---- db_tier_run.c ------------------------------------------------------------------------------
 */

VV_MUST_CHECK vv_status db_tier_start(vv_db *db, vv_error *err);
void db_tier_stop(vv_db *db);
/* Something may be due. Takes only a leaf lock. */
void db_tier_wake(vv_db *db);
/* Look at this moment of the monotonic clock, if nothing asks for an earlier one. */
void db_tier_look_at(db_tier *t, int64_t mono_ns);
/* A pass over what is due. VV_NOT_FOUND: nothing was. */
vv_status db_tier_step(vv_db *db);
bool db_tier_claim_try(db_tier *t, uint32_t table, uint32_t partition);
void db_tier_claim_wait(db_tier *t, uint32_t table, uint32_t partition);
void db_tier_unclaim(db_tier *t, uint32_t table, uint32_t partition);

/* ---- db_tier_pin.c: objects that backups lead to (db_capture.h: db_repo_pin) --------------------
 */

VV_MUST_CHECK vv_status db_tier_pins_load(db_tier *t, vv_error *err);
/* The lowest pinned version of a shard; INT64_MAX: none is. */
int64_t db_tier_pinned(db_tier *t, const db_shard *shard) VV_REQUIRES(t->lock);

/* ---- db_tier_drop.c -----------------------------------------------------------------------------
 */

/* Before a table is dropped, and after, whether it was or not. */
VV_MUST_CHECK vv_status db_tier_drop_begin(vv_db *db, const char *tenant, const char *name,
                                           uint32_t *id, vv_error *err);
void db_tier_drop_end(vv_db *db, uint32_t id);
/* Remove an object of a dropped table. VV_NOT_FOUND: none is due, or can be removed; *unremoved
 * says what one that can not was answered, with err, and stays as it is otherwise. forced: pauses
 * do not count. */
vv_status db_tier_dig_dropped(db_tier *t, db_shard *shard, bool forced, vv_status *unremoved,
                              vv_error *err);

/* ---- db_tier_admit.c ----------------------------------------------------------------------------
 */

/* May messages of a table be appended? VV_BUSY when too many wait for the store. may_wait: slow the
 * caller down before. No lock held. */
VV_MUST_CHECK vv_status db_tier_admit(const vv_table *table, bool may_wait, vv_error *err);
/* What waits in a partition counts no longer: it is dropped, or not archived any more. */
void db_tier_forget_waiting(vv_db *db, db_tier_part *part);
/* Blocks of so many bytes were reserved in a partition. Under the commit lock. */
void db_tier_note_append(vv_db *db, const cat_table *cat, db_tier_part *part, uint64_t bytes,
                         uint64_t count, int64_t receive_ns);
/* They were not logged. */
void db_tier_note_cancel(vv_db *db, db_tier_part *part, uint64_t bytes, uint64_t count);

/* ---- db_tier_retain.c ---------------------------------------------------------------------------
 */

/* What of the archived messages of a partition is to be kept: from *out on. *all: what follows is
 * for the blocks to say. */
VV_MUST_CHECK vv_status db_tier_find_kept(struct db_stream_reader *r, int64_t now_ns, uint64_t *out,
                                          bool *all, vv_error *err);

/* ---- db_tier_check.c ----------------------------------------------------------------------------
 */

/* Of db_stream_check: keys as they come. */
typedef struct db_tier_checker {
    uint64_t first; /* of the partition */
    bool has_entry;
    uint64_t next; /* where the next entry is to begin */
    uint64_t begin;
} db_tier_checker;

/* One of the kinds of archive.h. find() gets a sentence. */
void db_tier_check_key(db_tier_checker *c, vv_slice key, vv_slice value,
                       void (*find)(void *ctx, const char *text), void *ctx);
/* All keys were seen. */
void db_tier_check_end(const db_tier_checker *c, uint64_t local, uint64_t next,
                       void (*find)(void *ctx, const char *text), void *ctx);

/* ---- db_tier_entry.c: a partition's entries at a reader's moment -------------------------------
 *
 * All of them move the reader's cursor: who walks blocks seeks again (db_stream_load).
 */

/* The entry whose object holds offset. VV_NOT_FOUND: none does, it lies in blocks or nowhere. */
VV_MUST_CHECK vv_status db_tier_entry_of(struct db_stream_reader *r, uint64_t offset,
                                         arch_entry *out, vv_error *err);
/* The first entry that ends behind offset. VV_NOT_FOUND: there is none. */
VV_MUST_CHECK vv_status db_tier_entry_from(struct db_stream_reader *r, uint64_t offset,
                                           arch_entry *out, vv_error *err);
/* The last one. VV_NOT_FOUND: nothing is archived. */
VV_MUST_CHECK vv_status db_tier_entry_last(struct db_stream_reader *r, arch_entry *out,
                                           vv_error *err);

/* ---- db_tier_store.c: an object at its store ----------------------------------------------------
 */

/* Range by range, with nothing kept. For merges and for proofs that an object is ours. */
typedef struct db_tier_source {
    vv_object_store *objects;
    const char *name;
} db_tier_source;

arch_source db_tier_source_of(db_tier_source *s, uint64_t size);

#endif
