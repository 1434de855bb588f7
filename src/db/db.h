/*
 * db.h - the door for those who know the inside: a store in a given world (the simulator, the
 * tests, the server), on top of include/varve/db.h.
 */
#ifndef VARVE_DB_DB_H
#define VARVE_DB_DB_H

#include "base/budget.h"
#include "engine/engine.h"
#include "io/env.h"
#include "varve/tier.h"
#include "varve/varve.h"

/** As vv_db_open, in env (borrowed until vv_db_close; env->io is rooted at the store's directory).
 * Without env->threads the store runs no thread: writes commit on the caller's, vv_write_async
 * calls done before it returns, and background work happens in db_step. */
VV_MUST_CHECK vv_status db_open_env(vv_env *env, const vv_options *opt, vv_db **out, vv_error *err);

/** The same with an engine of the caller's choice: the tests run on the memory model too. */
VV_MUST_CHECK vv_status db_open_engine(vv_env *env, const vv_options *opt, const engine_ops *ops,
                                       vv_db **out, vv_error *err);

/** As vv_get, or as vv_get_at when version is not 0, but it reads no file and so never waits.
 * VV_BUSY, and only then *would_wait: the answer is in a file; ask again where that may be. */
VV_MUST_CHECK vv_status db_get_from_memory(vv_table *table, int64_t version, vv_slice key,
                                           vv_value *out, bool *would_wait, vv_error *err);

/** As vv_version_as_of, of the shard that a key lies on: in a partitioned table too. */
VV_MUST_CHECK vv_status db_version_of_key_as_of(vv_table *table, vv_slice key, int64_t time_ns,
                                                int64_t *out, vv_error *err);

/** The store that a table is of. */
vv_db *db_of_table(const vv_table *table);
/** The shard that a key of the table lies on. Of one table it never changes. */
uint32_t db_shard_of_key(const vv_table *table, vv_slice key);
/** 1, or the shards that a partitioned table lies on. */
uint32_t db_partition_count(const vv_table *table);
/** VV_UNSUPPORTED for a table that has no version of its own: it lies on several shards. */
VV_MUST_CHECK vv_status db_check_has_version(const vv_table *table, vv_error *err);
/** The deletion of a range that spans the partitions of a table: an entry of its own, written and
 * waited for, for each but the last, which is added to the batch. Of any other table: as
 * vv_batch_delete_range, and nothing is written. */
VV_MUST_CHECK vv_status db_delete_range_spread(vv_batch *batch, vv_table *table, vv_slice begin,
                                               vv_slice end, vv_durability durability,
                                               vv_error *err);

/** One piece of background work. VV_NOT_FOUND when there was none. For stores without threads. */
VV_MUST_CHECK vv_status db_step(vv_db *db, vv_error *err);

/** For vv_options.log, with a vv_log as log_ctx: the store's lines go to that log as what they say,
 * with its levels and its form; log_level and log_json do not count. The log outlives the store. */
void db_log_direct(void *ctx, int level, const char *line, size_t len);

/** Stop as a crash would: nothing more is written, memory is freed. Accepts NULL. */
void db_abandon(vv_db *db);

/** The node's memory budget, for the queues of the server. */
vv_budget *db_budget(vv_db *db);

/** VV_INVALID for what is no kind of engine, VV_UNSUPPORTED for one that this build has not. */
VV_MUST_CHECK vv_status db_engine_check_kind(vv_engine_kind kind, vv_error *err);

/** What a write gets at least that asks for this. */
vv_durability db_durability(const vv_db *db, vv_durability asked);

/** Bytes of memory_limit that are nobody's share with these options: for requests and queries. */
uint64_t db_memory_free(const vv_options *opt);
/** As vv_txn_commit, on the commit thread: done runs exactly once when it answers VV_OK. Ends the
 * transaction whatever it answers; done runs after that. */
VV_MUST_CHECK vv_status db_txn_commit_async(vv_txn *txn, vv_write_done done, void *ctx,
                                            vv_error *err);

/** Wait until what is logged now is visible: after a VV_CONFLICT of db_txn_commit_async, before the
 * transaction is begun again. vv_txn_commit does it by itself. */
void db_await_visible(vv_db *db);

/** As vv_tier_attach, on an env. finding (may be NULL) gets a sentence for each object that is
 * passed over and for each hole. */
VV_MUST_CHECK vv_status db_tier_attach(vv_env *env, vv_object_store *objects,
                                       void (*finding)(void *ctx, const char *text), void *ctx,
                                       vv_error *err);

/* Where a walk over a stream table's objects stands, between calls. All zero: before the first. */
typedef struct db_tier_place {
    uint32_t partition;
    uint32_t kind; /* of a list: stored, announced, dying */
    uint64_t at;
} db_tier_place;

/** As vv_tier_list from a place on. *place is then behind the last object that each() took: one it
 * returns nonzero for is given again. */
VV_MUST_CHECK vv_status db_tier_list_from(vv_table *table, db_tier_place *place,
                                          int (*each)(void *ctx, const vv_tier_object *object),
                                          void *ctx, vv_error *err);

/** What vv_tier_run does for a table, a piece of work a call. VV_NOT_FOUND: nothing is left;
 * another failure is of one partition, and the next call goes on with the next. */
VV_MUST_CHECK vv_status db_tier_run_piece(vv_table *table, db_tier_place *place, vv_error *err);

/** As vv_tier_verify, an object a call; *found counts findings. VV_NOT_FOUND: there is no other. */
VV_MUST_CHECK vv_status db_tier_verify_one(vv_table *table, bool whole, db_tier_place *place,
                                           void (*finding)(void *ctx, const char *text), void *ctx,
                                           uint64_t *found, vv_error *err);

/* What vv_tier_restore is to bring back, and has: begins with first and at the same. */
typedef struct db_tier_range {
    uint64_t first; /* offsets */
    uint64_t at;
    uint64_t next;
    uint64_t restored; /* messages */
} db_tier_range;

/** One entry of the log of what vv_tier_restore does. VV_NOT_FOUND: nothing is left. */
VV_MUST_CHECK vv_status db_tier_restore_piece(vv_table *table, uint32_t partition,
                                              db_tier_range *range, vv_error *err);

/** As vv_check, on an env. */
VV_MUST_CHECK vv_status db_check_env(vv_env *env, void (*finding)(void *ctx, const char *text),
                                     void *ctx, vv_error *err);
/** As vv_check_tier. objects may be NULL. */
VV_MUST_CHECK vv_status db_check_env_tier(vv_env *env, vv_object_store *objects, bool whole,
                                          void (*finding)(void *ctx, const char *text), void *ctx,
                                          vv_error *err);

#endif
