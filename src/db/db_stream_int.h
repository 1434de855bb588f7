/*
 * db_stream_int.h - stream tables inside db/: what is kept in memory of one, how an append gets its
 * offsets, how a partition is read.
 *
 * The truth is in the table's keys (docs/format/stream.md). In memory lies, for each partition,
 * what the next append needs at once, under the commit lock: the next offset, the sums along the
 * partition, and where each producer stands. It is read from the table once, when the table is
 * first used for writing, and from then on it is what was logged, seen or not.
 *
 *   encode the blocks            no lock          db_stream_append.c
 *   reserve: judge the producer, give offsets, fill them in     commit lock, memory alone
 *   db_append                    commit lock      as every entry
 *   cancel                       commit lock      when it was not logged
 */
#ifndef VARVE_DB_DB_STREAM_INT_H
#define VARVE_DB_DB_STREAM_INT_H

#include "db/db_int.h"
#include "db/db_tier_int.h"
#include "extract/extract.h"
#include "stream/stream.h"

/* ---- db_stream_producer.c: who sends to a partition. All under the commit lock. ---------------
 */

typedef struct db_producer {
    struct db_producer *next; /* in its bucket */
    struct db_producer *newer;
    struct db_producer *older;
    uint64_t hash;
    stream_producer at;
    uint8_t len;
    uint8_t id[];
} db_producer;

typedef struct db_producers {
    db_producer **bucket; /* NULL: none was ever there */
    size_t bucket_count;
    size_t count;
    db_producer *newest; /* by use */
    db_producer *oldest;
    uint64_t bytes; /* in the budget */
} db_producers;

void db_producers_fini(vv_db *db, db_producers *p);
db_producer *db_producers_find(const db_producers *p, vv_slice id, uint64_t hash);
/* A new one, as the newest. NULL: no memory. */
db_producer *db_producers_add(vv_db *db, db_producers *p, vv_slice id, uint64_t hash);
void db_producers_remove(vv_db *db, db_producers *p, db_producer *one);
void db_producers_touch(db_producers *p, db_producer *one);
/* Forget those that were last used at or before this time. */
void db_producers_age(vv_db *db, db_producers *p, int64_t used_ns);

/* ---- db_stream.c: a table's state -------------------------------------------------------------
 */

typedef struct db_stream_part {
    _Atomic uint64_t next; /* offset; written under the commit lock */
    uint64_t bytes;        /* of all blocks ever; under the commit lock, like what follows */
    int64_t receive_ns;    /* newest */
    int64_t event_max;     /* highest; STREAM_NO_TIME: none */
    db_producers producers;
    db_tier_part tier;
} db_stream_part;

typedef struct db_stream_rules db_stream_rules;

typedef struct db_stream {
    cat_extra extra;
    vv_db *db;
    vv_mutex rules_lock;            /* rank VV_RANK_LEAF */
    db_stream_rules *_Atomic rules; /* NULL: the table has none; changes under rules_lock */
    uint64_t rule_errors_before;    /* of rules that the table had; likewise */
    _Atomic uint64_t dead_letters;
    _Atomic uint32_t turn; /* whose it is among partitions, for messages without a key */
    uint32_t partition_count;
    db_stream_part part[];
} db_stream;

/* VV_INVALID for a table of another kind. */
VV_MUST_CHECK vv_status db_stream_check_kind(const vv_table *table, vv_error *err);
/* The same, a dropped table, and a partition that it has not. */
VV_MUST_CHECK vv_status db_stream_check_part(const vv_table *table, uint32_t partition,
                                             vv_error *err);
/* The table's state, read from it when it is not there yet. */
VV_MUST_CHECK vv_status db_stream_of(vv_table *table, db_stream **out, vv_error *err);
/* The same, if it is there; else NULL. */
db_stream *db_stream_attached(const cat_table *cat);

/* ---- db_stream_append.c ------------------------------------------------------------------------
 */

/* A block in the payload. */
typedef struct db_stream_piece {
    size_t value_at;
    size_t value_len;
    uint32_t count;
    bool has_untimed;
    int64_t event_max;
} db_stream_piece;

#define DB_STREAM_PIECES 4u

typedef struct db_stream_append {
    db_stream *stream;
    struct db_stream_append *dead; /* what rules refused, to the dead letters; NULL: nothing */
    const cat_table *cat;          /* referenced by the batch */
    uint32_t partition;
    size_t count;      /* messages, those that rules refused among them */
    size_t dead_count; /* of those */
    uint64_t sequence;
    uint64_t hash; /* of the producer */
    vv_slice producer;
    char trace[VV_STREAM_TRACE_MAX + 1]; /* "": none */
    size_t producer_at;                  /* its record's value in the payload */
    db_stream_piece few[DB_STREAM_PIECES];
    db_stream_piece *piece;
    size_t piece_count;
    size_t piece_cap;

    /* What reserve found, and what cancel puts back. */
    bool is_duplicate;
    uint64_t duplicate_from; /* the producer's newest block */
    uint64_t first;
    int64_t receive_ns;
    struct {
        uint64_t next, bytes;
        int64_t receive_ns, event_max;
        stream_producer producer;
        bool is_new;
    } before;
} db_stream_append;

/* Give the batch's messages their offsets and fill them into its payload; VV_OK and *duplicate when
 * its producer sent them before. Otherwise VV_CONFLICT, VV_NO_SPACE, VV_NO_MEMORY: nothing changed.
 * Memory alone. */
VV_MUST_CHECK vv_status db_stream_reserve(vv_db *db, vv_batch *batch, bool *duplicate,
                                          vv_error *err) VV_REQUIRES(db->commit_lock);
/* It was not logged. What was reserved after it was cancelled before. */
void db_stream_cancel(vv_db *db, vv_batch *batch) VV_REQUIRES(db->commit_lock);

/* ---- db_stream_repeat.c: where a repeated append lies -------------------------------------------
 */

typedef struct db_stream_lookup {
    struct db_stream_lookup *next;
    /* Exactly once. why: it is not to be looked up, but refused with this; NULL: look. */
    void (*run)(struct db_stream_lookup *lookup, const vv_error *why);
} db_stream_lookup;

/* On the commit thread. Without threads it runs at once. */
void db_stream_lookup_submit(vv_db *db, db_stream_lookup *lookup);

/* ---- db_stream_rules.c: attributes made of messages, and dead letters --------------------------
 */

#define DB_STREAM_APPLIED_FEW 4u

/* Messages with what rules made of them. */
typedef struct db_stream_applied {
    const vv_message *message; /* [count of the append] */
    const uint8_t *is_dead;    /* [the same] NULL: none is */
    vv_message *dead;          /* [dead_count] as they came, with why */
    size_t dead_count;
    size_t dead_cap;
    uint64_t errors; /* of rules */
    extract_runner *runner;
    uint8_t *flags;   /* owned */
    vv_message *many; /* owned, where few is too little */
    vv_arena arena;   /* of dead letters */
    vv_message few[DB_STREAM_APPLIED_FEW];
} db_stream_applied;

/* The rules of a table that is opened for writing; *out NULL where it has none. Gives *out, a
 * reference: db_stream_rules_drop. */
VV_MUST_CHECK vv_status db_stream_rules_open(vv_db *db, const cat_table *cat, db_stream_rules **out,
                                             vv_error *err);
/* The same of rules that a table called name is to have; *out NULL of "". VV_INVALID says what is
 * wrong with them. */
VV_MUST_CHECK vv_status db_stream_rules_make(vv_db *db, const char *name, const char *text,
                                             vv_slice schema, db_stream_rules **out, vv_error *err);
void db_stream_rules_drop(db_stream_rules *rules); /* accepts NULL */
/* Those of a table at this moment, a reference; NULL: it has none. */
db_stream_rules *db_stream_rules_hold(db_stream *stream);
/* From here on the table has these: takes the reference. Who holds others goes on with them. */
void db_stream_rules_change(db_stream *stream, db_stream_rules *rules);
/* The rules that a table is to be made with, and its name. */
VV_MUST_CHECK vv_status db_stream_check_rules(const char *name, const vv_table_options *opt,
                                              vv_error *err);
/* What lies where the dead letters of a table are to be that gets these rules: VV_CONFLICT when it
 * cannot have them. */
VV_MUST_CHECK vv_status db_stream_check_own_letters(vv_db *db, const char *tenant, const char *name,
                                                    uint32_t partitions,
                                                    const vv_table_options *opt, vv_error *err);
/* A table that is to be made does not take the place of another's dead letters, and its own have
 * one: VV_CONFLICT. */
VV_MUST_CHECK vv_status db_stream_check_letters(vv_db *db, const char *tenant, const char *name,
                                                const vv_table_options *opt, vv_error *err);
/* Apply rules to the messages of sa. Gives *out, also on failure: db_stream_applied_fini. No lock
 * is held. */
VV_MUST_CHECK vv_status db_stream_apply(const vv_table *table, const db_stream_append *sa,
                                        db_stream_rules *rules, const vv_message *messages,
                                        db_stream_applied *out, vv_error *err);
void db_stream_applied_fini(db_stream_rules *rules, db_stream_applied *applied);
/* The dead letters of a table, made when they are missing and creates is set. Waits for the disk
 * then. Gives *out: vv_table_close. */
VV_MUST_CHECK vv_status db_stream_open_dead(const vv_table *table, bool creates, vv_table **out,
                                            vv_error *err);
/* Dead letters that are in the log now. */
void db_stream_count_dead(db_stream *stream, size_t count);
/* For vv_stream_stats; 0 without rules. */
uint64_t db_stream_rule_errors(db_stream *stream);
uint64_t db_stream_dead_letters(const db_stream *stream);

#define DB_STREAM_REPLAY "replay" /* position of dead letters */

/* ---- db_stream_append.c, for db_stream_replay.c ------------------------------------------------
 */

/* Append letters to the partition of table that they came from, through its rules, and put the
 * position of the dead letters to `next`: one entry. */
VV_MUST_CHECK vv_status db_stream_append_replayed(vv_table *table, vv_table *dead,
                                                  uint32_t partition, const vv_message *letters,
                                                  size_t count, uint64_t next,
                                                  vv_durability durability,
                                                  vv_stream_append_result *out, vv_error *err);

/* ---- db_stream_read.c --------------------------------------------------------------------------
 */

/* One partition at one moment: [first, local) lies in objects alone (db_tier_read.h),
 * [local, next) in blocks. */
typedef struct db_stream_reader {
    vv_table part;
    uint32_t partition;
    bool stays_local; /* VV_BUSY where it would wait for the object store */
    vv_cursor *at;
    bool has_head;
    bool has_local;
    stream_head head;         /* all zero without one */
    stream_head stored_local; /* as it is in the table; with has_local */
    stream_head local_head; /* where the blocks begin: as head, or behind what is archived alone */
    uint64_t first;         /* offset; `next` when there is nothing */
    uint64_t local;         /* from `first` to here messages lie in objects alone */
    uint64_t next;          /* offset behind the last message */
    stream_place sums;      /* at the end: of the last block, with its own bytes */
    uint64_t bytes;         /* of all blocks that are kept, archived ones as they were */
    db_tier_hold hold;      /* objects that it may still read stay */

    /* The block that was loaded last. */
    uint64_t begin; /* offset of its first message */
    uint64_t end;   /* behind its last one */
    bool is_archived;
    bool is_at_block;          /* `at` stands on it */
    uint64_t block_len;        /* bytes */
    stream_block block;        /* where it is not archived */
    struct db_tier_view *view; /* of the object that something was loaded from; NULL: none */
    stream_scratch scratch;
} db_stream_reader;

/* archive NULL: none. */
VV_MUST_CHECK vv_status db_stream_reader_open(db_stream_reader *r, const vv_table *table,
                                              uint32_t partition, const vv_snapshot *snapshot,
                                              const char *archive, vv_error *err);
void db_stream_reader_close(db_stream_reader *r); /* also of one that failed to open */
/* The block that holds offset, which is below next and not below first. Below local it may wait for
 * the object store; what that answers is no VV_NOT_FOUND and no VV_TIMEOUT. */
VV_MUST_CHECK vv_status db_stream_load(db_stream_reader *r, uint64_t offset, vv_error *err);
/* The next message of the loaded block but for its partition, and its bytes as stream_message_size
 * counts them. VV_NOT_FOUND behind the last. Borrows the reader until it is used again. */
VV_MUST_CHECK vv_status db_stream_next(db_stream_reader *r, vv_message *out, uint64_t *size,
                                       vv_error *err);
/* Go to an offset of the loaded block, of which nothing was taken yet. */
VV_MUST_CHECK vv_status db_stream_skip_to(db_stream_reader *r, uint64_t offset, vv_error *err);
/* The offset from local on where what is_there() says of blocks becomes true; it stays so from then
 * on. */
VV_MUST_CHECK vv_status db_stream_search(db_stream_reader *r,
                                         bool (*is_there)(const db_stream_reader *r, int64_t arg),
                                         int64_t arg, uint64_t *out, vv_error *err);
/* The first message from local on that was received at time or later; of whole blocks. */
VV_MUST_CHECK vv_status db_stream_search_received(db_stream_reader *r, int64_t time_ns,
                                                  uint64_t *out, vv_error *err);
/* The first message of the loaded block, of which nothing was taken yet, from *offset on with such
 * an event time; the block's end when there is none. */
VV_MUST_CHECK vv_status db_stream_search_block(db_stream_reader *r, uint64_t *offset,
                                               int64_t time_ns, vv_error *err);
/* What vv_stream_find answers; *asked is the offset before it was put within what is kept. */
VV_MUST_CHECK vv_status db_stream_resolve(db_stream_reader *r, const vv_stream_start *start,
                                          uint64_t *out, uint64_t *asked, vv_error *err);
/* What became of messages that a producer sent before. */
typedef struct db_stream_sent {
    bool is_whole;         /* all of them were looked for: the rest is dead */
    uint64_t first_offset; /* of those found; VV_STREAM_OFFSET_GONE: none */
    uint64_t count;        /* likewise */
} db_stream_sent;
/* `count` sequences of a producer whose newest block begins at from (STREAM_NO_OFFSET: it has none)
 * are looked for, up to where its blocks are gone or archived alone. */
VV_MUST_CHECK vv_status db_stream_find_sent(const vv_table *table, uint32_t partition,
                                            vv_slice producer, uint64_t sequence, size_t count,
                                            uint64_t from, db_stream_sent *out, vv_error *err);
/* *opt over the defaults, whatever form of the struct it is; NULL: the defaults. */
VV_MUST_CHECK vv_status db_stream_read_options_take(const vv_stream_read_options *opt,
                                                    vv_stream_read_options *out, vv_error *err);

/* ---- db_stream_retain.c ------------------------------------------------------------------------
 */

/* The partition's own head, or that of its blocks, is as it was read. */
VV_MUST_CHECK vv_status db_stream_add_condition(vv_batch *batch, uint32_t id, uint8_t kind,
                                                bool is_there, const stream_head *head,
                                                vv_error *err);

/* ---- db_stream_position.c ----------------------------------------------------------------------
 */

/* Read the position under name at the reader's moment. VV_NOT_FOUND. */
VV_MUST_CHECK vv_status db_stream_read_position(db_stream_reader *r, vv_slice name,
                                                stream_position *out, vv_error *err);
VV_MUST_CHECK vv_status db_stream_count_positions(db_stream_reader *r, uint64_t *out,
                                                  vv_error *err);

/* ---- db_stream_check.c -------------------------------------------------------------------------
 */

/* Verify one partition of a stream; finding() gets a sentence each. */
VV_MUST_CHECK vv_status db_stream_check(const vv_table *table, uint32_t partition,
                                        void (*finding)(void *ctx, const char *text), void *ctx,
                                        vv_error *err);
/* A line for each partition and position. */
VV_MUST_CHECK vv_status db_stream_dump(vv_table *table, void (*line)(void *ctx, const char *text),
                                       void *ctx, vv_error *err);

#endif
