/*
 * db_int.h - what the files of db/ call of each other, file by file. The store itself is
 * db_state.h.
 */
#ifndef VARVE_DB_DB_INT_H
#define VARVE_DB_DB_INT_H

#include "db/db_state.h"

/* ---- db_tier_runs.c ---- */

void db_tier_runs_init(vv_db *db);
void db_tier_runs_fini(vv_db *db);
/* vv_options.tier, once the store's identity is known and before an engine is opened. */
void db_tier_runs_options(vv_db *db);
/* What the engines are opened with; NULL: no tier was given. */
const engine_tier *db_tier_runs_of(const vv_db *db);
VV_MUST_CHECK vv_status db_tier_runs_start(vv_db *db, vv_error *err);
void db_tier_runs_stop(vv_db *db);
/* All that is due now, in the caller's thread; the first failure ends it. */
VV_MUST_CHECK vv_status db_tier_runs(vv_db *db, vv_error *err);
/* Runs and value files in the object store. */
void db_tier_runs_count(vv_db *db, uint64_t *files, uint64_t *bytes);

/* ---- db_stream_repeat.c ---- */

void db_stream_lookups_init(vv_db *db);
void db_stream_lookups_fini(vv_db *db);
/* No append is on its way any more. What waits is told VV_CLOSED. */
void db_stream_lookups_stop(vv_db *db);

/* ---- db_open.c ---- */

/* Remember that the log failed; the first sentence stays. Returns st. */
vv_status db_latch(vv_db *db, vv_status st, const vv_error *err);
/* VV_OK, or why no write can be accepted. */
VV_MUST_CHECK vv_status db_check_writable(vv_db *db, vv_error *err);
/* Close and free. Returns the first failure of the store's life. */
vv_status db_close(vv_db *db, vv_error *err);

/* ---- db_engine.c ---- */

/* VV_UNSUPPORTED for how the files of a table are to look, where its engine knows one way alone. */
VV_MUST_CHECK vv_status db_engine_check_form(const vv_db *db, vv_engine_kind kind,
                                             const vv_table_options *opt, vv_error *err);
/* The engine that an existing store was made with, or the one that the options ask for. */
VV_MUST_CHECK vv_status db_engine_choose(vv_env *env, const vv_options *opt, const engine_ops **out,
                                         vv_error *err);
/* The engines of a shard with this home. */
void db_engine_route(const engine_ops *home, engine_route_options *out);
/* Where the tables of a kind of engine lie; the default is the home's slot. */
uint32_t db_engine_slot(const vv_db *db, vv_engine_kind kind);
/* VV_CORRUPT when a table's engine is missing on its shard. */
VV_MUST_CHECK vv_status db_engine_check_tables(vv_db *db, vv_error *err);
/* lsm_check_dir or btree_check_dir, as the directory is, of each engine of a shard. */
VV_MUST_CHECK vv_status db_engine_check_dir(vv_env *env, const char *dir, uint32_t shard,
                                            const engine_tier *tier,
                                            void (*finding)(void *ctx, const char *text), void *ctx,
                                            vv_error *err);

/* lsm_list_leftovers, of each engine of a shard. */
VV_MUST_CHECK vv_status db_engine_list_leftovers(vv_env *env, const char *dir, uint32_t shard,
                                                 void (*each)(void *ctx, const char *text),
                                                 void *ctx, vv_error *err);

/* ---- db_options.c ---- */

VV_MUST_CHECK vv_status db_options_resolve(const vv_options *opt, vv_options *out, vv_error *err);
void db_options_divide(vv_db *db); /* memory_limit, among the parts of the budget */
void db_options_scale(vv_db *db);

/* ---- db_posix.c: the world of a store that was opened by its directory's name ---- */

VV_MUST_CHECK vv_status db_world_create(const char *dir, const vv_options *opt, db_world **out,
                                        vv_error *err);
void db_world_destroy(db_world *world); /* accepts NULL */
vv_env *db_world_env(db_world *world);

/* ---- db_partition.c: tables over several shards ---- */

typedef struct db_part_cursor db_part_cursor;

/* The shard of what has this hash, of a table of any number of partitions. */
static inline db_shard *db_table_shard(vv_db *db, const cat_table *cat, uint64_t hash)
{
    return &db->shards[cat_table_shard(cat, hash)];
}
/* A handle without a reference of its own. */
vv_table db_table_of(vv_db *db, cat_table *cat);
/* Partition p as a table: borrows the reference. Of a table without partitions, itself. */
vv_table db_part_at(const vv_table *table, uint32_t partition);
vv_table *db_part_of_key(const vv_table *table, vv_slice key, vv_table *part);
/* Where a key of the table is: table itself, or *part. */
static inline vv_table *db_part_of(vv_table *table, vv_slice key, vv_table *part)
{
    if (VV_LIKELY(table->partition_count == 1))
        return table;
    return db_part_of_key(table, key, part);
}
/* As vv_multi_get, of keys that were checked. */
VV_MUST_CHECK vv_status db_parts_multi_get(const vv_table *table, const vv_snapshot *snapshot,
                                           const vv_slice *keys, size_t count, vv_value *values,
                                           vv_status *status, vv_error *err);

/* ---- db_batch.c ---- */

/* An empty batch whose payload starts in scratch (may be NULL), which must outlive it. */
void db_batch_init(vv_batch *batch, vv_db *db, uint8_t *scratch, size_t scratch_len);
void db_batch_fini(vv_batch *batch);
/* Add an operation on one of the store's own tables, or on the index of a table. Checks the size of
 * the batch alone. */
VV_MUST_CHECK vv_status db_batch_add(vv_batch *batch, engine_kind kind, uint32_t table_id,
                                     vv_slice key, vv_slice value, int64_t expires_ns,
                                     vv_error *err);
/* The same with a value that the caller writes: *value is its place, until the batch is touched. */
VV_MUST_CHECK vv_status db_batch_add_place(vv_batch *batch, engine_kind kind, uint32_t table_id,
                                           vv_slice key, size_t value_len, int64_t expires_ns,
                                           uint8_t **value, vv_error *err);
/* About so many bytes will be added: memory for them at once, where there is some. */
void db_batch_expect(vv_batch *batch, size_t bytes);
/* Choose the batch's shard and remember the table. */
VV_MUST_CHECK vv_status db_batch_bind(vv_batch *batch, vv_table *table, vv_error *err);
VV_MUST_CHECK vv_status db_batch_add_condition(vv_batch *batch, txn_kind kind, uint32_t table_id,
                                               vv_slice key, vv_slice value, txn_condition **out,
                                               vv_error *err);
/* VV_INVALID for a table of series or of messages: keys are its own. */
VV_MUST_CHECK vv_status db_check_no_series(const vv_table *table, vv_error *err);
VV_MUST_CHECK vv_status db_check_key(vv_slice key, size_t max, vv_error *err);
/* Finish the payload and take its checksum: outside every lock. */
void db_batch_seal(vv_batch *batch);

/* What vv_batch_put checks of a put, but for the size of the batch. */
VV_MUST_CHECK vv_status db_check_put(const vv_table *table, vv_slice key, vv_slice value,
                                     int64_t expires_ns, vv_error *err);

/* ---- db_txn_commit.c ---- */

/* One try to append a batch that comes from a transaction. *again: something moved, judge anew. */
VV_MUST_CHECK vv_status db_append_txn(vv_db *db, vv_batch *batch, bool judge_locked, bool *again,
                                      vv_error *err);
void db_txn_count(vv_db *db, vv_status st);

/* ---- db_write.c, db_append.c: the commit path ---- */

/* Reset what the commit path fills, resolve the durability and seal the payload: outside locks. */
void db_commit_begin(vv_db *db, vv_batch *batch, vv_durability durability);
/* VV_NOT_FOUND when a table of the batch was dropped. */
VV_MUST_CHECK vv_status db_check_tables(const vv_batch *batch, vv_error *err);
/* Commit one batch: its status, result and error are filled. Waits for its durability. */
vv_status db_commit(vv_db *db, vv_batch *batch, vv_durability durability, vv_error *err);
/* Its steps. Append with everything that may have to be waited for, but for room and the disk:
 * VV_BUSY when there is no room. */
VV_MUST_CHECK vv_status db_append_once(vv_db *db, vv_batch *batch, vv_error *err);
/* The same, and wait for room. */
VV_MUST_CHECK vv_status db_append_waiting(vv_db *db, vv_batch *batch, vv_error *err);
VV_MUST_CHECK vv_status db_check_tables(const vv_batch *batch, vv_error *err);
/* Nothing to write: with sync it still makes durable what was written before. */
void db_answer_empty(vv_db *db, vv_batch *batch);
/* Slow the caller by what the engine asks, in sleeps long enough to be honest. */
void db_throttle(vv_db *db, const vv_batch *batch);
void db_count_commit(vv_db *db, const vv_batch *batch);
static inline bool db_batch_is_empty(const vv_batch *batch)
{
    return batch->op_count + batch->cond_count == 0;
}
#define DB_ROOM_TIMEOUT_NS (10 * VV_NS_PER_S) /* to wait for room in which nothing was accepted */
/* Log and apply batches (no conditions), which become visible in their turn. On failure none is
 * logged. Fills result and need of each. */
VV_MUST_CHECK vv_status db_append(vv_db *db, vv_batch *const *group, size_t count, vv_error *err)
    VV_REQUIRES(db->commit_lock);
#define DB_GROUP_MAX 128u
/* Make everything visible whose need is durable. */
void db_publish(vv_db *db, uint64_t durable);
/* Wait until need is durable and everything up to it is visible. */
VV_MUST_CHECK vv_status db_await(vv_db *db, uint64_t need, vv_error *err);
/* The commit path for the catalog. */
vv_status db_door_commit(void *ctx, uint32_t shard, vv_slice payload, uint32_t op_count,
                         cat_table *dropped, vv_error *err);
/* Have an engine for each of these slots in a shard's directory that nobody has open. */
VV_MUST_CHECK vv_status db_engine_add_to_dir(vv_env *env, const char *dir, uint32_t shard,
                                             uint32_t slots, vv_error *err);
/* Have an engine on a shard, for the catalog. */
vv_status db_door_engine(void *ctx, uint32_t shard, uint32_t slot, vv_error *err);

/* ---- db_apply.c ---- */

void db_apply_init(vv_db *db);
void db_apply_fini(vv_db *db);
VV_MUST_CHECK vv_status db_apply_start(vv_db *db, vv_error *err);
void db_apply_stop(vv_db *db);
/* Apply what was logged, each shard's entries in order. All of it is done on return. */
VV_MUST_CHECK vv_status db_apply_group(vv_db *db, const db_group *g, vv_error *err)
    VV_REQUIRES(db->commit_lock);

VV_MUST_CHECK vv_status db_fifo_init(db_fifo *fifo, vv_error *err);
void db_fifo_fini(db_fifo *fifo);
/* Room for count more. Under commit_lock and publish_lock. */
VV_MUST_CHECK vv_status db_fifo_reserve(db_fifo *fifo, size_t count, vv_error *err);

/* ---- db_queue.c ---- */

VV_MUST_CHECK vv_status db_queue_start(vv_db *db, vv_error *err);
void db_queue_stop(vv_db *db); /* commits what is queued first */
/* One turn of the commit thread: commit and answer the front of the queue and what was blocked and
 * is not any more. */
void db_queue_turn(vv_db *db);
/* Room may be there for what is blocked. Takes only a leaf lock. */
void db_queue_room_made(vv_db *db);
/* Does the commit thread keep batches aside because a shard had no room? */
static inline bool db_queue_is_blocked(const vv_db *db)
{
    return atomic_load_explicit(&db->queue.blocked_shards, memory_order_relaxed) != 0;
}

static inline void db_list_push(db_list *list, vv_batch *batch)
{
    batch->next = NULL;
    if (list->tail == NULL)
        list->head = batch;
    else
        list->tail->next = batch;
    list->tail = batch;
}

static inline vv_batch *db_list_pop(db_list *list)
{
    vv_batch *batch = list->head;
    if (batch == NULL)
        return NULL;
    list->head = batch->next;
    if (list->head == NULL)
        list->tail = NULL;
    batch->next = NULL;
    return batch;
}

/* Put all of other behind list, and leave other empty. */
static inline void db_list_join(db_list *list, db_list *other)
{
    if (other->head == NULL)
        return;
    if (list->tail == NULL)
        list->head = other->head;
    else
        list->tail->next = other->head;
    list->tail = other->tail;
    *other = (db_list){0};
}

/* ---- db_chain.c ---- */

/* Bytes a batch counts for in the queue. */
uint64_t db_queue_cost(const vv_batch *batch);
/* Commit the batches of chain and answer them, and those that were blocked: what finds no room
 * stays with its shard until the next call. Waits for no room. */
void db_chain_commit(vv_db *db, db_list *chain);
/* The same for one, on its caller's thread: waits for room. */
void db_chain_commit_alone(vv_db *db, vv_batch *batch);

/* ---- db_read.c ---- */

/* Wall time, but never earlier (by more than a millisecond) than what another read was given. */
int64_t db_read_time(vv_db *db);
/** An engine's value as the caller's: vv_value_release gives it back. */
void db_hand_out(const engine_value *from, vv_value *out);
/* VV_NOT_FOUND when the table was dropped. */
VV_MUST_CHECK vv_status db_check_table(const vv_table *table, vv_error *err);
/* May a read at version, without a pin, still be trusted? VV_UNSUPPORTED when not. Ask after the
 * structures that answer it were taken. */
VV_MUST_CHECK vv_status db_check_floor(vv_db *db, db_shard *shard, uint32_t table_id,
                                       int64_t version, vv_error *err);
VV_MUST_CHECK vv_status db_check_as_of(vv_table *table, int64_t version, vv_error *err);

/* ---- db_marks.c ---- */

void db_marks_init(db_marks *marks);
void db_marks_fini(db_marks *marks);
VV_MUST_CHECK vv_status db_marks_load(vv_db *db, db_shard *shard, vv_error *err);
/* The retentions of the shard's tables changed. */
void db_marks_retune(vv_db *db, db_shard *shard);
/* Write a mark when one is due: a small entry of its own, not waited for. */
void db_marks_write_due(vv_db *db, db_shard *shard);
/* Note that the mark's entry is logged. Under commit_lock; room was made before. */
void db_marks_note(db_shard *shard, int64_t time_ns, int64_t version, uint64_t position);
/* A version that everything up to was committed by time_ns; false: none is known. */
bool db_marks_version_at(db_shard *shard, int64_t time_ns, int64_t *out);
/* The oldest version a table with this retention still answers for. */
int64_t db_marks_floor(vv_db *db, db_shard *shard, int64_t retention_ns);
/* A version that has all that was committed before a time; false when none is known. */
bool db_marks_version_from(db_shard *shard, int64_t time_ns, int64_t *out);

/* ---- db_archive.c ---- */

/* An engine cursor over an archive; *read is its version and time. Bounds are with the prefix. */
VV_MUST_CHECK vv_status db_archive_cursor(vv_table *table, const char *name, vv_slice lower,
                                          vv_slice upper, engine_read *read, engine_cursor **out,
                                          vv_error *err);

/* ---- db_background.c ---- */

void db_background_init(vv_db *db);
VV_MUST_CHECK vv_status db_background_start(vv_db *db, vv_error *err);
void db_background_stop(vv_db *db);
void db_background_fini(vv_db *db);
/* Something to do may have come. Takes only a leaf lock. */
void db_background_wake(vv_db *db);
void db_background_wake_log(vv_db *db);
/* Somebody has no room in the memtables: wake those who make some. The failure of the background
 * work if there is none to come. */
VV_MUST_CHECK vv_status db_background_want_room(vv_db *db, vv_error *err);
/* The shard's memtables are full, or there is no memory for more in them: let work be done, at most
 * until deadline (monotonic). Does not wait when room came since seen, db_background_room of before
 * the refusal. */
VV_MUST_CHECK vv_status db_background_make_room(vv_db *db, db_shard *shard, uint64_t seen,
                                                int64_t deadline_ns, vv_error *err);
static inline uint64_t db_background_room(const vv_db *db)
{
    return atomic_load_explicit(&db->bg.room_seq, memory_order_acquire);
}
/* Freeze the shard's active memtable, not while a writer is between prepare and apply. */
VV_MUST_CHECK vv_status db_freeze(vv_db *db, db_shard *shard, vv_error *err);
/* The same if it is the only one: several would be over their bound. */
void db_freeze_only_one(vv_db *db, db_shard *shard);
/* Do background work of one shard until done(shard) or nothing is left; VV_NOT_FOUND then. */
VV_MUST_CHECK vv_status db_background_run(vv_db *db, db_shard *shard,
                                          bool (*done)(db_shard *shard, int64_t arg), int64_t arg,
                                          vv_error *err);
/* The engine's hooks for a shard. */
engine_hooks db_hooks(db_shard *shard);

/* ---- db_series_count.c ---- */

/* Write down how many series a table has, where that is due. It never waits for room. */
void db_series_count_step(vv_db *db);

/* ---- db_series_roll.c ---- */

/* Roll up a day of a series. VV_NOT_FOUND: there was nothing to do, or it did not work now and will
 * be tried again. */
vv_status db_rollup_step(vv_db *db);

/* ---- db_settle.c ---- */

/* Look whether shards are at rest, and what is left to do there. When there is no other work. */
void db_settle(vv_db *db);
void db_rollup_fini(vv_db *db);
/* Days that wait for their repair, and for how long the first of them has. */
void db_rollup_waiting(vv_db *db, uint64_t *days, uint64_t *lag_ns);

/* ---- db_stream_append.c: see db_stream_int.h ---- */

/* Append a batch of messages, after its tables were checked. *duplicate: nothing was appended, it
 * was before. */
VV_MUST_CHECK vv_status db_append_stream(vv_db *db, vv_batch *batch, bool *duplicate, vv_error *err)
    VV_REQUIRES(db->commit_lock);

/* ---- db_stream_tail.c ---- */

/* Something became visible on the shard, or one of its tables was dropped: tell who waits for that.
 */
void db_watch_fire(db_shard *shard);
static inline void db_watch_look(db_shard *shard)
{
    /* Pairs with the fence of who begins to watch: one of the two sees the other. */
    atomic_thread_fence(memory_order_seq_cst);
    if (VV_UNLIKELY(atomic_load_explicit(&shard->watch_count, memory_order_relaxed) > 0))
        db_watch_fire(shard);
}

/* ---- db_stream_retain.c ---- */

/* Let go what streams keep no longer, when it is time to look. VV_NOT_FOUND: nothing was. */
vv_status db_stream_step(vv_db *db);

/* ---- db_upkeep.c ---- */

/* Flush what the shard's memtables hold now. */
VV_MUST_CHECK vv_status db_flush_shard(vv_db *db, db_shard *shard, vv_error *err);
/* The same while the caller holds commit_lock: nothing comes meanwhile. */
VV_MUST_CHECK vv_status db_flush_held(vv_db *db, db_shard *shard, vv_error *err)
    VV_REQUIRES(db->commit_lock);

/* ---- db_cursor.c, db_time_cursor.c ---- */

typedef struct db_time_cursor db_time_cursor;

/* Bounds with the table prefix. */
typedef struct db_bounds {
    uint8_t lower[ENGINE_KEY_MAX];
    uint8_t upper[ENGINE_KEY_MAX];
    size_t lower_len;
    size_t upper_len;
} db_bounds;

/* From the bounds or the prefix of opt. VV_INVALID. */
/** *opt over the defaults, whatever form of the struct it is. */
VV_MUST_CHECK vv_status db_cursor_options_take(const vv_cursor_options *opt, vv_cursor_options *out,
                                               vv_error *err);
VV_MUST_CHECK vv_status db_bounds_make(const vv_table *table, const vv_cursor_options *opt,
                                       db_bounds *out, vv_error *err);

typedef struct db_txn_cursor db_txn_cursor;

struct vv_cursor {
    vv_table table;    /* a reference of its own */
    engine_cursor *at; /* NULL when closed half-built */
    engine_read read;
    db_time_cursor *by_time; /* NULL: by key */
    db_txn_cursor *by_txn;   /* NULL: not of a transaction */
    db_part_cursor *by_part; /* NULL: not over partitions */
    bool is_composed;        /* by_txn or by_part: there is more to it than `at` */
};

#define DB_INDEX_TIME_SIZE 8u

/* The stored form of a record, behind what out holds: docs/format/record.md. */
void db_record_encode(vv_buf *out, const vv_record *record);
void db_time_encode(int64_t timestamp_ns, uint8_t out[DB_INDEX_TIME_SIZE]);
int64_t db_time_decode(const uint8_t *bytes);

/* Open an engine cursor at what opt asks for (or now); fills read. pin: also keep the version for
 * look-ups beside the cursor: *pinned says that the caller must unpin read. Bounds are with the
 * table prefix. */
VV_MUST_CHECK vv_status db_cursor_begin(vv_table *table, const vv_cursor_options *opt,
                                        vv_slice lower, vv_slice upper, bool pin, bool *pinned,
                                        engine_read *read, engine_cursor **out, vv_error *err);

/* The calls of include/varve/db.h on a cursor of a transaction: db_txn_cursor.c. */
vv_status db_txn_cursor_seek(vv_cursor *cursor, vv_slice key, vv_error *err);
vv_status db_txn_cursor_seek_below(vv_cursor *cursor, vv_slice key, vv_error *err);
vv_status db_txn_cursor_step(vv_cursor *cursor, bool forward, vv_error *err);
bool db_txn_cursor_valid(const vv_cursor *cursor);
const engine_item *db_txn_cursor_item(const vv_cursor *cursor);
uint64_t db_txn_cursor_scanned(const vv_cursor *cursor);
void db_txn_cursor_close(vv_cursor *cursor);

vv_status db_time_cursor_seek(vv_cursor *cursor, vv_error *err);
vv_status db_time_cursor_seek_last(vv_cursor *cursor, vv_error *err);
vv_status db_time_cursor_step(vv_cursor *cursor, bool forward, vv_error *err);
void db_time_cursor_close(vv_cursor *cursor);
uint64_t db_time_cursor_scanned(const vv_cursor *cursor);
bool db_time_cursor_valid(const vv_cursor *cursor);
vv_slice db_time_cursor_key(const vv_cursor *cursor);
const engine_value *db_time_cursor_value(const vv_cursor *cursor);
/* What the order is by: timestamp and key, until the cursor moves. */
vv_slice db_time_cursor_order(const vv_cursor *cursor);
/* The snapshot it was opened at is of this moment. */
void db_time_cursor_set_newest(vv_cursor *cursor);

/* The same over a partitioned table: db_part_cursor.c. */
VV_MUST_CHECK vv_status db_part_cursor_open(vv_table *table, const vv_cursor_options *opt,
                                            vv_cursor **out, vv_error *err);
VV_MUST_CHECK vv_status db_part_cursor_open_by_time(vv_table *table, const vv_cursor_options *opt,
                                                    int64_t start_ns, int64_t end_ns,
                                                    vv_cursor **out, vv_error *err);
VV_MUST_CHECK vv_status db_part_cursor_open_txn(vv_txn *txn, vv_table *table,
                                                const vv_cursor_options *opt, vv_cursor **out,
                                                vv_error *err);
vv_status db_part_cursor_seek(vv_cursor *cursor, vv_slice key, vv_error *err);
vv_status db_part_cursor_seek_below(vv_cursor *cursor, vv_slice key, vv_error *err);
vv_status db_part_cursor_step(vv_cursor *cursor, bool forward, vv_error *err);
bool db_part_cursor_valid(const vv_cursor *cursor);
const vv_cursor *db_part_cursor_at(const vv_cursor *cursor); /* of the partition it stands in */
uint64_t db_part_cursor_scanned(const vv_cursor *cursor);
void db_part_cursor_close(vv_cursor *cursor);

#endif
