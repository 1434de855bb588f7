/*
 * btree_manifest.h - which root and which mapping are in force: a log of states, one file at a
 * time.
 *
 *     CURRENT           names the manifest in force; replaced atomically
 *     manifest-<n>      header | state | change | change | ...
 *     archive-<id>      header | state: a tree that was kept under a name
 *
 * A change is durable when commit returns; it is the commit of a flush: pages written before it are
 * nothing without it. After a crash the last whole change wins; a broken record below a position
 * that a later record knows to be synced is damage: VV_CORRUPT. Bytes:
 * docs/format/btree-manifest.md.
 */
#ifndef VARVE_BTREE_MANIFEST_H
#define VARVE_BTREE_MANIFEST_H

#include "base/buf.h"
#include "base/lock.h"
#include "btree/btree_map.h"
#include "btree/btree_page.h"
#include "io/env.h"

#define BTREE_MANIFEST_FORMAT 1u
#define BTREE_MANIFEST_HEAD 64u
#define BTREE_MANIFEST_MAX (UINT32_C(1) << 30)
#define BTREE_ARCHIVE_NAME_MAX 64u
#define BTREE_ARCHIVES_MAX 1024u
#define BTREE_DICT_MAX (64u * 1024)

/* A tree of pages. */
typedef struct btree_root {
    uint32_t id;    /* of an index page; BTREE_NO_PAGE: empty */
    uint32_t level; /* of that page: 1 above data pages */
} btree_root;

typedef struct btree_archive_meta {
    uint64_t id;
    int64_t version; /* what it shows */
    int64_t time_ns; /* when it was made */
    bool periodic;   /* made by the clock: the oldest go first */
    char name[BTREE_ARCHIVE_NAME_MAX];
} btree_archive_meta;

/* Bytes shared by count: the archive list and the dictionary of a state. */
typedef struct btree_blob {
    _Atomic uint32_t refs;
    uint32_t count; /* archives, or bytes */
    _Alignas(16) uint8_t bytes[];
} btree_blob;

/* What the records add up to. A value: btree_state_share makes another holder of its parts. */
typedef struct btree_state {
    btree_map map;
    btree_root main;
    btree_root history;
    int64_t checkpoint;
    int64_t history_version; /* reads at or above it need no history */
    uint32_t page_size;
    uint32_t shift;       /* pages of a data file, as a power of two */
    uint32_t page_limit;  /* page ids at or above it were never used */
    uint64_t id_limit;    /* file ids below it may be in use */
    btree_blob *archives; /* btree_archive_meta, oldest first; NULL: none */
    btree_blob *dict;     /* NULL: none */
} btree_state;

void btree_state_init(btree_state *s, vv_budget *budget);
void btree_state_fini(btree_state *s);
void btree_state_share(const btree_state *s, btree_state *out);
static inline uint32_t btree_archive_count(const btree_state *s)
{
    return s->archives == NULL ? 0 : s->archives->count;
}
static inline const btree_archive_meta *btree_archives(const btree_state *s)
{
    return s->archives == NULL ? NULL
                               : (const btree_archive_meta *)(const void *)s->archives->bytes;
}
/** A blob of len bytes for count things, or NULL. One reference. */
btree_blob *btree_blob_create(size_t len, uint32_t count);
void btree_blob_unref(btree_blob *b); /* accepts NULL */
static inline void btree_blob_ref(btree_blob *b)
{
    if (b != NULL)
        atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
}

typedef struct btree_manifest {
    vv_env *env;
    const char *dir; /* outlives the manifest */
    uint32_t shard;
    uint64_t limit; /* bytes past which a new file is begun */
    vv_mutex lock;  /* VV_RANK_LSM; held during the I/O of a commit */
    /* Under the lock: */
    btree_state state;
    uint64_t next_id;
    vio_file *file;
    uint64_t number;
    uint64_t start;  /* bytes of the file's first state */
    uint64_t end;    /* where the next record goes */
    uint64_t synced; /* everything below is known to be durable */
    uint32_t chain;  /* sum of the last record */
    bool broken;     /* the file's tail is unknown: the next commit starts a new file */
    vv_buf scratch;
} btree_manifest;

typedef struct btree_manifest_options {
    vv_env *env;
    const char *dir;
    uint32_t shard;
    uint32_t page_size; /* of a new store */
    uint32_t shift;
    uint64_t limit; /* 0: 8 MiB */
    bool read_only;
    vv_budget *budget;
} btree_manifest_options;

/**
 * Open the store's manifest, or make one in an empty directory. Writable: a new manifest file is
 * begun, other manifest files and archives that no state names are removed. VV_CORRUPT,
 * VV_UNSUPPORTED for a newer format or another engine's directory. m is to be closed also after a
 * failure.
 */
VV_MUST_CHECK vv_status btree_manifest_open(btree_manifest *m, const btree_manifest_options *opt,
                                            vv_error *err);
/** Accepts a zeroed one. */
void btree_manifest_close(btree_manifest *m);

/** Make next the state in force, durably. On failure it is unknown which of the two is: keep every
 * file that either names until a later commit succeeded. Shares next. */
VV_MUST_CHECK vv_status btree_manifest_commit(btree_manifest *m, const btree_state *next,
                                              vv_error *err);

#define BTREE_CURRENT_MAX 64u

/** A manifest of the state of this moment, as an open would begin it, appended to out, and the text
 * of the CURRENT that names it. *state shares the state: btree_state_fini. */
VV_MUST_CHECK vv_status btree_manifest_image(btree_manifest *m, vv_buf *out,
                                             char current[BTREE_CURRENT_MAX], uint64_t *number,
                                             btree_state *state, vv_error *err);

/** A file id never used before, not even by a file that a crash took. */
VV_MUST_CHECK vv_status btree_manifest_new_id(btree_manifest *m, uint64_t *out, vv_error *err);

/** Write a state as archive-<id>, durably; remove it; read it into a state made by init. */
VV_MUST_CHECK vv_status btree_archive_write(btree_manifest *m, uint64_t id, const btree_state *s,
                                            vv_error *err);
void btree_archive_remove(vv_env *env, const char *dir, uint64_t id);
VV_MUST_CHECK vv_status btree_archive_read(vv_env *env, const char *dir, uint32_t shard,
                                           uint64_t id, btree_state *out, vv_error *err);

/* ---- bytes (btree_manifest_format.c) ---- */

typedef enum btree_record_kind {
    BTREE_RECORD_STATE = 1, /* the first record: a change to nothing */
    BTREE_RECORD_CHANGE = 2,
    BTREE_RECORD_SEAL = 3, /* no content: its head tells what is synced */
} btree_record_kind;

typedef struct btree_manifest_info {
    uint64_t number;
    uint32_t shard;
    uint32_t chain; /* sum of the last whole record */
    uint64_t end;   /* where it ends */
    uint32_t records;
} btree_manifest_info;

/** Append a header; returns its sum, the start of the chain. */
uint32_t btree_manifest_put_header(vv_buf *out, uint64_t number, uint32_t shard);
/** Append the record that leads from old (NULL: nothing) to now; returns its sum. The buffer
 * latches. */
uint32_t btree_manifest_put_record(vv_buf *out, btree_record_kind kind, const btree_state *old,
                                   const btree_state *now, uint32_t chain, uint64_t synced);
/** Read a manifest's bytes into state, made by btree_state_init. each, if any, is told of every
 * record. Bytes behind the last whole record are an unfinished write unless a later record says
 * otherwise. */
VV_MUST_CHECK vv_status btree_manifest_parse(
    vv_slice bytes, btree_manifest_info *info, btree_state *state,
    void (*each)(void *ctx, uint64_t offset, btree_record_kind kind, const btree_state *state),
    void *ctx, vv_error *err);

#endif
