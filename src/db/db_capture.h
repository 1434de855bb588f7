/*
 * db_capture.h - a store's state taken while it is used, and a store made from such parts: what
 * checkpoints, backups and restores have in common.
 *
 *   db_capture_begin      hold log and files -> list the files of each shard -> note the log's end
 *   db_capture_entries    what the log holds between the files and that end, in log order
 *   db_capture_end        let go
 *
 * The state is that of one position of the log: each shard's files hold everything up to its
 * checkpoint, the entries bring every shard from there to the position.
 */
#ifndef VARVE_DB_DB_CAPTURE_H
#define VARVE_DB_DB_CAPTURE_H

#include "io/env.h"
#include "varve/db.h"
#include "wal/wal.h"

/* ---- bulk loads (db_load.c) ---- */

#define DB_LOAD_DIR "bulk"
#define DB_LOAD_PATH_SIZE 40
#define DB_LOAD_KEY_MAX 29u

/* What the entry of a bulk load says. */
typedef struct db_load {
    uint32_t shard;
    uint32_t table_id;
    uint64_t count; /* of keys */
    uint64_t size;  /* of the file with its content; 0: none was kept */
    uint64_t sum;   /* XXH3-64 of that file */
} db_load;

/** Whether the entry is that of a bulk load, and what it says. */
bool db_load_of(const wal_record *rec, db_load *out);
/** Where the content lies, relative to the store's directory. */
void db_load_path(const db_load *load, char out[DB_LOAD_PATH_SIZE]);

/* ---- objects that backups lead to (db_tier_pin.c) ---- */

#define DB_REPO_ID_SIZE 16u

/** Does the store have tables whose messages may lie in objects? */
bool db_repo_needs_pin(vv_db *db);
/** From now on objects stay that what is restored from this repository may lead to: versions[shard]
 * and what comes behind; NULL: the store as it is now. Before the state is taken. Durable. */
VV_MUST_CHECK vv_status db_repo_pin(vv_db *db, const uint8_t repo[DB_REPO_ID_SIZE],
                                    const int64_t *versions, vv_error *err);
/** [16] */
const uint8_t *db_store_uuid(const vv_db *db);

/* ---- the state of a store ---- */

typedef struct db_captured_file {
    char *path;            /* relative to the store's directory */
    char *source;          /* where its bytes are now; NULL: at path */
    struct engine *remote; /* whose object has its bytes; NULL: a file has them */
    uint8_t *content;      /* what the copy is to hold; NULL: the bytes of the file */
    size_t content_len;
} db_captured_file;

typedef struct db_captured_shard {
    int64_t checkpoint;     /* the files hold everything up to it */
    int64_t version;        /* the state's */
    int64_t commit_time_ns; /* of its newest entry; 0: not known */
} db_captured_shard;

typedef struct db_capture {
    vv_db *db;
    uint32_t shard_count;
    uint8_t uuid[16]; /* of the store */
    int64_t time_ns;  /* wall time */
    uint64_t end;     /* position of the log */
    db_captured_file *files;
    size_t count, cap;
    db_captured_shard shard[WAL_SHARD_MAX];
} db_capture;

typedef vv_status (*db_entry_fn)(void *ctx, const wal_record *rec, uint64_t position,
                                 vv_error *err);

/** Take the state of now. Writers go on; files and log that belong to it stay until
 * db_capture_end, so the disk may fill meanwhile. VV_UNSUPPORTED for a read-only store. Gives
 * *out. */
VV_MUST_CHECK vv_status db_capture_begin(vv_db *db, db_capture **out, vv_error *err);
/** Deliver the entries of each shard above above[shard] (NULL: above its checkpoint) and up to the
 * state, in log order. What the log no longer holds is not delivered. */
VV_MUST_CHECK vv_status db_capture_entries(db_capture *c, const int64_t *above, db_entry_fn each,
                                           void *ctx, vv_error *err);
/** Open the content of a load whose entry was delivered. VV_NOT_FOUND: the store has let go of it,
 * which it does not above the shard's checkpoint. */
VV_MUST_CHECK vv_status db_capture_open_load(const db_capture *c, const db_load *load,
                                             vio_file **out, vv_error *err);
/** Open a captured file for reading. */
VV_MUST_CHECK vv_status db_capture_open(const db_capture *c, const db_captured_file *file,
                                        vio_file **out, vv_error *err);
/** What the capture holds of the log, contents of loads included, is kept elsewhere now:
 * options.archive_log. */
void db_capture_archived(db_capture *c);
/** Accepts NULL. */
void db_capture_end(db_capture *c);

/* ---- a store from parts ---- */

/* A directory becomes a store with the last step of db_build_finish and not before: until then the
 * file that says what it is has another name, and an open refuses it. */
typedef struct db_build db_build;

/** Begin in an empty directory `root` of env->io ("": the root of it), which is made if it is
 * absent. The store gets an identity of its own. VV_INVALID when something is in it; VV_BUSY while
 * another build is under way there. Borrows env. */
VV_MUST_CHECK vv_status db_build_begin(vv_env *env, const char *root, uint32_t shard_count,
                                       db_build **out, vv_error *err);
/** The place of a file of the store in env->io; its directory is there afterwards. */
VV_MUST_CHECK vv_status db_build_path(db_build *b, const char *path, char out[VIO_PATH_MAX],
                                      vv_error *err);
/** A file with this content, durable. */
VV_MUST_CHECK vv_status db_build_file(db_build *b, const char *path, vv_slice content,
                                      vv_error *err);
/** The next entry of the store's log. An engine that a table in it is of, and that the files do not
 * have, is added at the end. */
VV_MUST_CHECK vv_status db_build_entry(db_build *b, const wal_record *rec, vv_error *err);
/** Make everything durable, then a store of it. Frees b whatever it answers; on failure the
 * directory is emptied as far as that is possible. */
VV_MUST_CHECK vv_status db_build_finish(db_build *b, vv_error *err);
/** Give up and empty the directory; the file it is locked by stays. Accepts NULL. */
void db_build_abort(db_build *b);

/** Remove what a build that did not end left in root, and root. */
void db_build_discard(vio *io, const char *root);

/** As vv_checkpoint_to; dir begins with '/'. */
VV_MUST_CHECK vv_status db_checkpoint_at(vv_db *db, const char *dir, vv_error *err);

#endif
