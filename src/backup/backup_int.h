/*
 * backup_int.h - shared inside backup/.
 */
#ifndef VARVE_BACKUP_INT_H
#define VARVE_BACKUP_INT_H

#include "backup/backup.h"
#include "base/buf.h"
#include "base/util.h"
#include "db/db_capture.h"

#define BACKUP_NAME_MAX 120u /* bytes of a file's name within the store */
#define BACKUP_LOG_NAME "log"
#define BACKUP_FILES_DIR "files"
#define BACKUP_PART BACKUP_FILES_DIR "/part" /* being written */
#define BACKUP_MANIFEST_MAX (256u << 20)
#define BACKUP_CHUNK (1u << 20)

struct backup_repo {
    vv_env *env;
    vio_file *lock; /* NULL: reading */
};

/* ---- backup_manifest.c ---- */

typedef struct backup_file {
    char *name; /* relative to the store's directory; BACKUP_LOG_NAME: the log */
    uint64_t size;
    uint64_t sum; /* XXH3-64 */
} backup_file;

typedef struct backup_manifest {
    backup_info info;
    backup_file *files;
    size_t count, cap;
} backup_manifest;

void backup_manifest_fini(backup_manifest *m);
/** Copies the name. VV_UNSUPPORTED for one that a manifest cannot have. */
VV_MUST_CHECK vv_status backup_manifest_add(backup_manifest *m, const char *name, uint64_t size,
                                            uint64_t sum, vv_error *err);
const backup_file *backup_manifest_find(const backup_manifest *m, const char *name);
/** Whether the log lacks entries behind these versions of the shards; *shard is one where. */
bool backup_info_has_gap(const backup_info *info, const int64_t above[WAL_SHARD_MAX],
                         uint32_t *shard);
/** Append the bytes to out, which latches. */
void backup_manifest_encode(const backup_manifest *m, vv_buf *out);
/** VV_CORRUPT, VV_UNSUPPORTED for a newer version. m is to be finished also after a failure. */
VV_MUST_CHECK vv_status backup_manifest_decode(vv_slice bytes, backup_manifest *m, vv_error *err);

/* ---- backup_repo.c ---- */

/** What tells this repository from others; made when it is asked for first. uuid: of any store, for
 * the seed. */
VV_MUST_CHECK vv_status backup_repo_id(backup_repo *repo, const uint8_t uuid[16],
                                       uint8_t out[DB_REPO_ID_SIZE], vv_error *err);
/** The ids of the manifests that are there, ascending. Gives *out: vv_free. */
VV_MUST_CHECK vv_status backup_ids(backup_repo *repo, uint64_t **out, size_t *count, vv_error *err);
/** VV_NOT_FOUND names the id. */
VV_MUST_CHECK vv_status backup_load(backup_repo *repo, uint64_t id, backup_manifest *m,
                                    vv_error *err);
VV_MUST_CHECK vv_status backup_save(backup_repo *repo, const backup_manifest *m, vv_error *err);
/** What a backup of the log alone goes on from: of the backups in ids, which come before it, the
 * newest of the same store. VV_CORRUPT tells that there is none, or that entries between the two
 * are missing; VV_OK for a full one, which stands alone. */
VV_MUST_CHECK vv_status backup_check_joined(backup_repo *repo, const backup_info *info,
                                            const uint64_t *ids, size_t count, vv_error *err);
/** Where the content of a file is stored. */
void backup_stored_path(const backup_file *file, char out[VIO_PATH_MAX]);
/** Remove content that no manifest names. */
void backup_collect(backup_repo *repo);

/* ---- backup_copy.c ---- */

typedef struct backup_meter {
    const backup_progress *progress;
    const char *what;
    uint64_t done, total;
} backup_meter;

void backup_meter_add(backup_meter *meter, uint64_t bytes);

/** Read the first size bytes of `from` and sum them; copy them to `to` unless that is NULL. */
VV_MUST_CHECK vv_status backup_copy(vio_file *from, uint64_t size, vio_file *to, uint64_t *sum,
                                    backup_meter *meter, vv_error *err);
/** Check the stored content of a file against its length and sum; copy it to `to` unless that is
 * NULL. VV_CORRUPT names the file. */
VV_MUST_CHECK vv_status backup_read_stored(backup_repo *repo, const backup_file *file, vio_file *to,
                                           backup_meter *meter, vv_error *err);
/** Its presence and length alone. */
VV_MUST_CHECK vv_status backup_check_stored(backup_repo *repo, const backup_file *file,
                                            vv_error *err);
/** Store size bytes of `from` under their content. known: the file as the last backup has it, or
 * NULL. Fills sum; *is_new when they were not there. */
VV_MUST_CHECK vv_status backup_store(backup_repo *repo, const char *name, vio_file *from,
                                     uint64_t size, const backup_file *known, uint64_t *sum,
                                     bool *is_new, backup_meter *meter, vv_error *err);
/** The part file, complete, becomes content. */
VV_MUST_CHECK vv_status backup_adopt_part(backup_repo *repo, vio_file *part,
                                          const backup_file *file, bool *is_new, vv_error *err);

/* ---- backup_log.c ---- */

typedef struct backup_log_writer {
    vio_file *file;
    vv_buf buf;
    uint64_t size; /* with what is in buf */
    uint64_t written;
    void *sum; /* state of the sum */
} backup_log_writer;

VV_MUST_CHECK vv_status backup_log_begin(backup_log_writer *w, vio_file *file, uint32_t shard_count,
                                         vv_error *err);
VV_MUST_CHECK vv_status backup_log_put(backup_log_writer *w, const wal_record *rec, vv_error *err);
VV_MUST_CHECK vv_status backup_log_end(backup_log_writer *w, uint64_t *sum, vv_error *err);
void backup_log_fini(backup_log_writer *w);

typedef enum backup_more { BACKUP_GO_ON, BACKUP_STOP } backup_more;

/** Deliver the entries of a log of size bytes in order until each() stops. VV_CORRUPT, which names
 * path. */
VV_MUST_CHECK vv_status backup_log_walk(vio_file *in, uint64_t size, const char *path,
                                        vv_status (*each)(void *ctx, const wal_record *rec,
                                                          backup_more *more, vv_error *err),
                                        void *ctx, vv_error *err);
/** The same of a stored one. */
VV_MUST_CHECK vv_status backup_log_read(backup_repo *repo, const backup_file *file,
                                        vv_status (*each)(void *ctx, const wal_record *rec,
                                                          backup_more *more, vv_error *err),
                                        void *ctx, vv_error *err);

#endif
