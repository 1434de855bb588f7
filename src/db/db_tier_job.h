/*
 * db_tier_job.h - the archiver: what it does for one partition, piece by piece.
 *
 *   db_tier_cut.c     a batch: due? --> built in a part file --> INTENT --> stored --> DONE
 *   db_tier_merge.c   small objects --> one, by the same way
 *   db_tier_local.c   archived messages leave the blocks; db_tier_restore.c: restored ones again
 *   db_tier_dying.c   entries below the first offset --> dying --> removed, after the grace period
 *   db_tier_store.c   an object to the store, exactly once; proof that what lies there is ours
 *   db_tier_commit.c  the entries of the log that all of them write
 *   db_tier_memory.c  what they hold of memory_limit
 *   db_tier_run.c     whose turn it is; threads, timer, tries again
 */
#ifndef VARVE_DB_DB_TIER_JOB_H
#define VARVE_DB_DB_TIER_JOB_H

#include "db/db_stream_int.h"
#include "db/db_tier_int.h"

#define DB_TIER_SUFFIX ".varve"
#define DB_TIER_MERGE_MAX 64u /* objects that become one */

/* What lines of the event log say of a batch. */
typedef struct db_tier_line {
    uint64_t first;
    uint64_t next;
    uint64_t bytes;
    char object[VV_OBJECT_NAME_MAX + 1];
    db_trace_list traces;
} db_tier_line;

/* One partition, by the thread that has claimed it. */
typedef struct db_tier_job {
    db_tier *t;
    const vv_table *table;
    uint32_t partition;
    db_tier_part *part;
    const _Atomic uint64_t *next; /* offset that was given out last, and one */
    vv_archive_rule rule;
    bool forced; /* whatever its size */
    int64_t now_ns;
    int64_t look_ns;   /* monotonic: when there may be something to do again; who waits lowers it */
    bool store_failed; /* what failed is the store, or the way there */
    db_tier_line line; /* the batch at hand; object "": none */
    uint64_t held;     /* of the budget */
    vv_status unremoved; /* of the last object that could not be removed; VV_OK: all could */
    vv_error unremoved_why;
    bool put_failed; /* it was an upload that failed so */
} db_tier_job;

/* In so many nanoseconds of wall time there may be something to do. */
void db_tier_look_in(db_tier_job *j, int64_t ns);

void db_tier_note_success(db_tier *t); /* of the store */

/* A line a batch and stage, for who follows messages on their way. why: it failed. */
void db_tier_log(const db_tier_job *j, vv_log_level level, const char *stage, vv_status st,
                 const vv_error *why);
/* The pause before the next try, after so many in a row. */
int64_t db_tier_pause(db_tier *t, uint32_t failures);
/* The store did not remove an object: log and figures. */
void db_tier_note_unremoved(db_tier *t, const char *name, vv_status st, const vv_error *why);

/* ---- db_tier_memory.c: all as 'work' -----------------------------------------------------------
 */

/* VV_BUSY: there is no room for it, and it is not this job's turn to pass the limit. what: "make an
 * object". */
VV_MUST_CHECK vv_status db_tier_memory_take(db_tier_job *j, uint64_t bytes, const char *what,
                                            vv_error *err);
/* Bytes that exist already. */
void db_tier_memory_count(db_tier_job *j, uint64_t bytes);
void db_tier_memory_give(db_tier_job *j, uint64_t bytes);
/* A piece of work is over, and holds nothing any more. */
void db_tier_memory_end(db_tier_job *j);

/* ---- db_tier_part.c: an object while it is made, in a file -------------------------------------
 */

#define DB_TIER_PATH_SIZE 48u

typedef struct db_tier_file {
    db_tier *t;
    vio_file *file;
    char path[DB_TIER_PATH_SIZE]; /* "": none was made */
    vv_buf buf;
    uint64_t at; /* bytes that are in the file */
} db_tier_file;

/* kind: of the intent's files, 'o' the object, 'f' its other form. */
VV_MUST_CHECK vv_status db_tier_file_open(db_tier *t, uint64_t intent, char kind, db_tier_file *out,
                                          vv_error *err);
arch_sink db_tier_file_sink(db_tier_file *f);
VV_MUST_CHECK vv_status db_tier_file_flush(db_tier_file *f, vv_error *err);
/* Close and remove it; also of one that failed to open, or all zero. */
void db_tier_file_close(db_tier_file *f);
/* Remove what an earlier process left behind. */
VV_MUST_CHECK vv_status db_tier_files_sweep(db_tier *t, vv_error *err);

/* ---- db_tier_build.c: messages into an object --------------------------------------------------
 */

typedef struct db_tier_build {
    db_tier_job *job; /* NULL: closed */
    db_tier *t;
    arch_identity who;
    arch_intent intent; /* next is 0 until the object is finished, unless it was said before */
    bool is_known;      /* an intent that was announced: its range and its name are as they are */
    db_tier_file file;
    db_tier_file also_file;
    arch_writer *writer;
    arch_form *form;
    uint64_t held; /* of the budget */
    arch_summary holds;
    uint64_t bytes_before;
    uint32_t looked_at; /* messages, for their traces */
    db_trace_list traces;
} db_tier_build;

/* in: of a new object kind, codec, also, first and made_ns; of one that was announced all of it. */
VV_MUST_CHECK vv_status db_tier_build_open(db_tier_job *j, const arch_intent *in, bool is_known,
                                           db_tier_build *b, vv_error *err);
VV_MUST_CHECK vv_status db_tier_build_add(db_tier_job *j, db_tier_build *b, const vv_message *m,
                                          vv_error *err);
VV_MUST_CHECK vv_status db_tier_build_finish(db_tier_build *b, vv_error *err);
void db_tier_build_close(db_tier_build *b);

/* ---- db_tier_store.c ---------------------------------------------------------------------------
 */

/* Store a finished object, and its other form. VV_CONFLICT: something else has its name; *is_ours:
 * but it is of this store, from a try whose bytes were others. VV_CLOSED: the store is closing. */
VV_MUST_CHECK vv_status db_tier_put(db_tier_job *j, db_tier_build *b, bool *is_ours, vv_error *err);
/* Remove an object and its other form, if this store made it; else it is left. */
VV_MUST_CHECK vv_status db_tier_remove(db_tier *t, const char *name, vv_tier_form also,
                                       vv_error *err);
/* Of its other form. VV_INVALID: too long. */
VV_MUST_CHECK vv_status db_tier_also_name(const char *name, vv_tier_form also,
                                          char out[VV_OBJECT_NAME_MAX + 1], vv_error *err);

/* ---- db_tier_commit.c --------------------------------------------------------------------------
 */

/* Each is one entry of the log, synced. VV_CONFLICT: what it goes from is not so any more. */
VV_MUST_CHECK vv_status db_tier_commit_intent(db_tier_job *j, const arch_intent *in, vv_error *err);
/* old: entries that it replaces, which die. */
VV_MUST_CHECK vv_status db_tier_commit_done(db_tier_job *j, const arch_intent *in,
                                            const arch_entry *entry, const arch_entry *old,
                                            size_t old_count, vv_error *err);
/* The intent is given up. dies: its object may be there, and is removed after the grace period. */
VV_MUST_CHECK vv_status db_tier_commit_give_up(db_tier_job *j, const arch_intent *in, bool dies,
                                               vv_error *err);
/* Entries of objects that nobody reads any more. */
VV_MUST_CHECK vv_status db_tier_commit_dying(db_tier_job *j, const arch_entry *old,
                                             size_t old_count, vv_error *err);

/* ---- the pieces --------------------------------------------------------------------------------
 *
 * Each does one and answers VV_OK, or VV_NOT_FOUND: there was none to do. The reader is at the
 * partition's newest moment, and is closed by a piece that writes.
 */

vv_status db_tier_resume(db_tier_job *j, db_stream_reader *r, vv_error *err);
vv_status db_tier_cut(db_tier_job *j, db_stream_reader *r, vv_error *err);
vv_status db_tier_merge(db_tier_job *j, db_stream_reader *r, vv_error *err);
/* Go on with an intent to merge. */
vv_status db_tier_merge_resume(db_tier_job *j, db_stream_reader *r, const arch_intent *in,
                               vv_error *err);
vv_status db_tier_local(db_tier_job *j, db_stream_reader *r, vv_error *err);
/* Restored messages whose time as local ones is over: db_tier_restore.c. */
vv_status db_tier_leave(db_tier_job *j, db_stream_reader *r, vv_error *err);
vv_status db_tier_bury(db_tier_job *j, db_stream_reader *r, vv_error *err);
vv_status db_tier_dig(db_tier_job *j, db_stream_reader *r, vv_error *err);

/* A finished build --> INTENT, unless it is announced --> stored --> DONE. */
VV_MUST_CHECK vv_status db_tier_deliver(db_tier_job *j, db_tier_build *b, const arch_entry *old,
                                        size_t old_count, int64_t oldest_ns, vv_error *err);

#endif
