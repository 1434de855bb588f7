/*
 * lsm_manifest.h - which runs make the store: a log of edits, one file at a time.
 *
 *     CURRENT           names the manifest in force; replaced atomically
 *     manifest-<n>      header | state | edit | edit | ...
 *
 * An edit is durable when commit returns. After a crash the last whole edit wins; a broken record
 * below a position that a later record knows to be synced is damage: VV_CORRUPT. Bytes:
 * docs/format/manifest.md.
 */
#ifndef VARVE_LSM_LSM_MANIFEST_H
#define VARVE_LSM_LSM_MANIFEST_H

#include "base/lock.h"
#include "lsm/lsm_run.h"

#define LSM_MANIFEST_FORMAT 1u
#define LSM_MANIFEST_HEAD 64u
#define LSM_MANIFEST_MAX (UINT32_C(1) << 30)

/* ---- files in the object store (README.md: "Runs in an object store") ---- */

typedef enum lsm_object_state {
    LSM_OBJECT_INTENT = 1, /* it is about to be stored; the local file is what counts */
    LSM_OBJECT_REMOTE = 2, /* it is what counts; a local file beside it is a leftover */
    LSM_OBJECT_DYING = 3,  /* no run names its file any more; it goes after the grace period */
} lsm_object_state;

#define LSM_OBJECT_NAME_MAX 95u

/* What the manifest says of one. Ids are those of files: a run and a value file never share one. */
typedef struct lsm_object {
    uint64_t id;
    bool is_values; /* of a value file, else of a run */
    bool is_named;  /* by a run of the state; not on disk */
    lsm_object_state state;
    uint64_t size;
    int64_t time_ns; /* wall time at which it got its state */
    uint32_t crc;    /* CRC-32C of all bytes */
    char name[LSM_OBJECT_NAME_MAX + 1];
} lsm_object;

/* What the records add up to. */
typedef struct lsm_state {
    lsm_meta *runs; /* in the order they came */
    uint32_t count;
    uint32_t cap;
    lsm_object *objects;
    uint32_t object_count;
    uint64_t id_limit; /* ids below it may be in use: a new one is at or above what was used */
    int64_t checkpoint;
} lsm_state;

void lsm_state_fini(lsm_state *state);

/* One change: removals first, then additions, so that a move is a removal and an addition. */
typedef struct lsm_edit {
    const uint64_t *remove; /* run ids */
    uint32_t remove_count;
    const lsm_meta *add;
    uint32_t add_count;
    const lsm_object *objects; /* each replaces the one of the same id */
    uint32_t object_count;
    const uint64_t *forget; /* ids of objects */
    uint32_t forget_count;
    int64_t checkpoint; /* -1: as it was */
} lsm_edit;

typedef struct lsm_manifest {
    vv_env *env;
    const char *dir; /* the store's, outlives the manifest */
    uint32_t shard;
    vv_mutex lock; /* VV_RANK_LSM; held during the I/O of a commit */
    /* Under the lock: */
    lsm_state state;
    uint64_t next_id;
    vio_file *file;
    uint64_t number;
    uint64_t end;    /* where the next record goes */
    uint64_t synced; /* everything below is known to be durable */
    uint32_t chain;  /* sum of the last record */
    bool broken;     /* the file's tail is unknown: the next commit starts a new file */
    vv_buf scratch;
} lsm_manifest;

/**
 * Open the store's manifest, or make one in an empty directory. Writable: a new manifest file is
 * begun, everything the directory holds beside it and its runs is removed. VV_CORRUPT,
 * VV_UNSUPPORTED for a newer format. m is to be closed also after a failure.
 */
VV_MUST_CHECK vv_status lsm_manifest_open(lsm_manifest *m, vv_env *env, const char *dir,
                                          uint32_t shard, bool read_only, vv_error *err);
/** Accepts a zeroed one. */
void lsm_manifest_close(lsm_manifest *m);

/** Make an edit durable and part of the state. On failure it is unknown whether it is durable:
 * keep every file that it names, old and new, until a later commit succeeded. */
VV_MUST_CHECK vv_status lsm_manifest_commit(lsm_manifest *m, const lsm_edit *edit, vv_error *err);

/** A copy of what is known of objects, with is_named filled in. Gives *out: vv_free. */
VV_MUST_CHECK vv_status lsm_manifest_objects(lsm_manifest *m, lsm_object **out, uint32_t *count,
                                             vv_error *err);

/** Runs whose age is not known were born now. Durable unless the store is read-only. */
VV_MUST_CHECK vv_status lsm_manifest_note_births(lsm_manifest *m, bool read_only, vv_error *err);

/** A file id never used before, not even by a run that a crash took. */
VV_MUST_CHECK vv_status lsm_manifest_new_id(lsm_manifest *m, uint64_t *out, vv_error *err);

#define LSM_CURRENT_MAX 64u

/** A manifest of the state of this moment, as an open would begin it, appended to out, and the text
 * of the CURRENT that names it. For copies: it knows of no objects, all files are in the copy. */
VV_MUST_CHECK vv_status lsm_manifest_image(lsm_manifest *m, vv_buf *out,
                                           char current[LSM_CURRENT_MAX], vv_error *err);

/* ---- bytes (lsm_manifest_format.c) ---- */

typedef enum lsm_record_kind {
    LSM_RECORD_STATE = 1, /* the first record: an edit to nothing */
    LSM_RECORD_EDIT = 2,
    LSM_RECORD_SEAL = 3, /* no content: its head tells what is synced */
} lsm_record_kind;

/** Append a manifest header; returns its sum, the start of the chain. */
uint32_t lsm_manifest_put_header(vv_buf *out, uint64_t number, uint32_t shard);
/** Append a record whose payload is kind and edit; returns its sum. The buffer latches. */
uint32_t lsm_manifest_put_record(vv_buf *out, lsm_record_kind kind, const lsm_edit *edit,
                                 uint64_t id_limit, uint32_t chain, uint64_t synced);

/** What a reader of records is told of each. */
typedef struct lsm_record {
    uint64_t offset;
    lsm_record_kind kind;
    uint64_t synced;
    uint32_t sum;
    lsm_edit edit; /* its arrays live until the next record */
    uint64_t id_limit;
} lsm_record;

typedef struct lsm_manifest_info {
    uint64_t number;
    uint32_t shard;
    uint32_t chain; /* sum of the last whole record */
    uint64_t end;   /* where it ends */
} lsm_manifest_info;

/** Read a manifest's bytes record by record; each may stop it with an error. Bytes behind the last
 * whole record are an unfinished write unless a later record says otherwise. */
VV_MUST_CHECK vv_status lsm_manifest_parse(vv_slice bytes, lsm_manifest_info *info,
                                           vv_status (*each)(void *ctx, const lsm_record *record,
                                                             vv_error *err),
                                           void *ctx, vv_error *err);

/** The objects after an edit. Gives *out: vv_free. */
VV_MUST_CHECK vv_status lsm_state_merge_objects(const lsm_state *state, const lsm_edit *edit,
                                                lsm_object **out, uint32_t *count, vv_error *err);

/** Apply an edit (copies what it adds). VV_CORRUPT when it removes what is not there or adds what
 * is; nothing has changed after a failure. */
VV_MUST_CHECK vv_status lsm_state_apply(lsm_state *state, const lsm_edit *edit, vv_error *err);

#endif
