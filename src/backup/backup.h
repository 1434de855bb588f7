/*
 * backup.h - backups of a store in a repository: create, list, verify, restore, drop.
 *
 *   VARVE-BACKUPS          what this directory is
 *   LOCK                   held by who writes
 *   backup-<id>            one manifest a backup: written last, removed first
 *   files/<sum>-<size>-<name>   content, stored once for all backups that hold it
 *
 * A backup is whole or not there: its manifest is written, atomically, when everything it names is
 * durable. Files are shared by content: name, length and XXH3-64 of the bytes. Bytes on disk:
 * docs/format/backup.md.
 *
 * Threads: one call of an open repository at a time. Nothing of it is kept in memory between calls.
 */
#ifndef VARVE_BACKUP_BACKUP_H
#define VARVE_BACKUP_BACKUP_H

#include "io/env.h"
#include "varve/db.h"
#include "wal/wal.h"

typedef struct backup_repo backup_repo;

typedef enum backup_kind {
    BACKUP_FULL = 1, /* files and log */
    BACKUP_LOG = 2,  /* log alone, since the backup before */
} backup_kind;

typedef struct backup_shard {
    int64_t checkpoint;     /* the files hold everything up to it; BACKUP_LOG: 0 */
    int64_t log_first;      /* first entry of the shard in the log; 0: none */
    int64_t version;        /* the backup's state */
    int64_t commit_time_ns; /* of the entry with that version; 0: not known */
} backup_shard;

typedef struct backup_info {
    uint64_t id;
    backup_kind kind;
    int64_t time_ns;    /* wall time at its beginning */
    uint8_t uuid[16];   /* of the store */
    uint64_t bytes;     /* of all it holds */
    uint64_t new_bytes; /* of them those no earlier backup had stored */
    uint64_t file_count;
    uint32_t shard_count;
    backup_shard shard[WAL_SHARD_MAX];
} backup_info;

/* Told now and then; may be NULL. `what` is a word, done and total count bytes. */
typedef struct backup_progress {
    void (*step)(void *ctx, const char *what, uint64_t done, uint64_t total);
    void *ctx;
} backup_progress;

/** A file of a repository as lines of text: the manifest of a backup, the log of one. *is_one: it
 * is one of them; otherwise nothing was printed and VV_OK. path is beneath env->io. VV_CORRUPT;
 * what was printed before a fault stays printed. */
VV_MUST_CHECK vv_status backup_dump(vv_env *env, const char *path,
                                    void (*line)(void *ctx, const char *text), void *ctx,
                                    bool *is_one, vv_error *err);

/** Open the repository that is the root of env->io. write: for create and drop, which lock it
 * (VV_BUSY); an empty or absent directory becomes one. VV_NOT_FOUND when there is none, VV_INVALID
 * in a directory that holds something else. Borrows env. Gives *out: backup_repo_close. */
VV_MUST_CHECK vv_status backup_repo_open(vv_env *env, bool write, backup_repo **out, vv_error *err);
/** Accepts NULL. */
void backup_repo_close(backup_repo *repo);

typedef struct backup_create_options {
    /* Also keep the log since the backup before, so that each version between can be restored. When
     * the store has let go of some of it, the backup stands alone. */
    bool archive_log;
    /* A backup of kind BACKUP_LOG; needs one before it of the same store, and all of the log since:
     * else VV_NOT_FOUND. */
    bool log_only;
    const backup_progress *progress;
} backup_create_options;

/** Back up a store while it is used. VV_NO_SPACE and others: nothing is listed, what was written is
 * removed, the store is as it was. Fills *out (may be NULL). */
VV_MUST_CHECK vv_status backup_create(backup_repo *repo, vv_db *db,
                                      const backup_create_options *opt, backup_info *out,
                                      vv_error *err);

/** Each backup, oldest first. A manifest that cannot be read is told with its status and sentence
 * and only its id in info; one of the log alone that lacks entries behind the backup before, with
 * VV_CORRUPT and a sentence. */
VV_MUST_CHECK vv_status backup_list(backup_repo *repo,
                                    void (*each)(void *ctx, const backup_info *info, vv_status st,
                                                 const char *why),
                                    void *ctx, vv_error *err);

/** Read every byte of a backup (id 0: of all); finding() gets a sentence for each file that is
 * damaged or missing. VV_CORRUPT when there was one. */
VV_MUST_CHECK vv_status backup_verify(backup_repo *repo, uint64_t id,
                                      const backup_progress *progress,
                                      void (*finding)(void *ctx, const char *text), void *ctx,
                                      vv_error *err);

typedef enum backup_goal {
    BACKUP_WHOLE,      /* the state of the backup */
    BACKUP_AT_VERSION, /* behind the entry `version` of `shard` */
    BACKUP_AT_TIME,    /* all that was committed at or before time_ns */
} backup_goal;

typedef struct backup_restore_options {
    uint64_t id; /* 0: the newest; with another goal than BACKUP_WHOLE: the newest that fits */
    backup_goal goal;
    uint32_t shard;
    int64_t version;
    int64_t time_ns;
    const backup_progress *progress;
} backup_restore_options;

/** Make a store at the root of to->io, which is empty or absent. VV_CORRUPT names the damaged or
 * missing file; VV_NOT_FOUND when no backup, or no log, reaches the goal: the sentence says what
 * can be restored. Whatever fails, no store is there afterwards. Fills *out (may be NULL) with the
 * backup it began from. */
VV_MUST_CHECK vv_status backup_restore(backup_repo *repo, const backup_restore_options *opt,
                                       vv_env *to, backup_info *out, vv_error *err);

/** Remove a backup and what only it holds. VV_NOT_FOUND. A damaged one can be removed; while
 * another manifest is damaged no content is. */
VV_MUST_CHECK vv_status backup_drop(backup_repo *repo, uint64_t id, vv_error *err);
/** Remove the oldest full backups until `keep` are left (at least 1), and the log before them.
 * *dropped counts. */
VV_MUST_CHECK vv_status backup_prune(backup_repo *repo, uint32_t keep, uint32_t *dropped,
                                     vv_error *err);

#endif
