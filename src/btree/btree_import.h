/*
 * btree_import.h - read a partition of a store that EloqStore wrote, without changing it.
 *
 *     DIR/manifest                 generation 1 (to October 2025): data_<file>
 *     DIR/manifest_<branch>_<term> generation 6 (from June 2026): data_<file>_<branch>_<term>
 *
 * The files do not say how they are laid out: page size, pages of a file and the padding of the
 * manifest come from whoever made the store, and so do their defaults here. Bytes:
 * docs/format/eloqstore.md.
 *
 * Nothing read is believed: sums, lengths, the order of keys over the whole tree, and that no page
 * is reached twice. One thread at a time.
 */
#ifndef VARVE_BTREE_BTREE_IMPORT_H
#define VARVE_BTREE_BTREE_IMPORT_H

#include <stdbool.h>

#include "io/vio.h"

#define BTREE_IMPORT_PAGE_SIZE 4096u
#define BTREE_IMPORT_FILE_SHIFT 18u /* 2^18 pages of 4 KiB: files of 1 GiB */
#define BTREE_IMPORT_VALUE_MAX (64u * 1024 * 1024)

typedef struct btree_import_options {
    uint32_t page_size;    /* bytes of a page; 0: 4096. A power of two, 512 to 32768 */
    uint32_t file_shift;   /* log2 of the pages of a data file, 1 to 31; 0: 18 */
    uint32_t record_align; /* what manifest records are padded to in generation 6: the page size of
                              the machine that wrote them; 0: 4096 */
    const char *manifest;  /* a file of the directory, an archive for instance; NULL: the newest */
    const char *branch;    /* of generation 6; NULL: "main" */
    int64_t now_ms;        /* wall time: entries that expire at or before it are skipped */
} btree_import_options;

typedef struct btree_import_entry {
    vv_slice key;
    vv_slice value;
    uint64_t timestamp;
    int64_t expires_ns; /* 0: never */
} btree_import_entry;

typedef struct btree_import_info {
    char manifest[128];
    int generation;
    uint64_t pages;         /* that the manifest maps */
    uint64_t pages_read;    /* so far */
    uint64_t entries;       /* given so far */
    uint64_t expired;       /* skipped so far */
    uint64_t dropped_bytes; /* of a damaged last record of the manifest: EloqStore ignores it too */
} btree_import_info;

typedef struct btree_import btree_import;

/**
 * Open the partition in the root directory of io.
 * @return VV_NOT_FOUND when there is no manifest; VV_UNSUPPORTED when it is of another generation;
 *         VV_CORRUPT with file, place and reason.
 *
 * Borrows io, opt's strings only for the call. Gives *out: btree_import_close.
 */
VV_MUST_CHECK vv_status btree_import_open(vio *io, const btree_import_options *opt,
                                          btree_import **out, vv_error *err);

/** The next entry in the order of keys; VV_NOT_FOUND behind the last. Slices live until the next
 * call. After a failure every call repeats it. */
VV_MUST_CHECK vv_status btree_import_next(btree_import *im, btree_import_entry *out, vv_error *err);

void btree_import_info_read(const btree_import *im, btree_import_info *out);
void btree_import_close(btree_import *im); /* accepts NULL */

/* ---- btree_import_manifest.c ---- */

enum {
    BTREE_IMPORT_FILE_PAGE = 1, /* tags of mapping values: the rest is a page of the data files */
    BTREE_IMPORT_FREE = 2,
    BTREE_IMPORT_INVALID = 7,
};

/* What a manifest says, all records applied. */
typedef struct btree_import_state {
    uint32_t root; /* page id, or none */
    uint64_t *map; /* [count] tagged, by page id */
    size_t count;
    vv_slice dict; /* lies in the manifest's bytes */
    uint64_t dropped_bytes;
} btree_import_state;

/** Apply every record. Borrows bytes, also afterwards. Gives out->map: vv_free. */
VV_MUST_CHECK vv_status btree_import_parse(vv_slice bytes, int generation, uint32_t align,
                                           btree_import_state *out, vv_error *err);
/** The sum of a record's bytes behind the sum itself. */
uint64_t btree_import_sum(vv_slice bytes, int generation);

#endif
