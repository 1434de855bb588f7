/*
 * btree_store.h - the data files of a tree: places, reading and verifying pages, the page cache.
 *
 * A data file is 2^shift pages long at most and is only ever appended to: a place is written once,
 * so a frame never changes, old trees stay readable, and a crash can damage nothing that was
 * committed. A file goes when the last tree that has a page in it is gone.
 */
#ifndef VARVE_BTREE_STORE_H
#define VARVE_BTREE_STORE_H

#include "btree/btree_leaf.h"
#include "btree/btree_manifest.h"
#include "codec/codec_dict.h"
#include "io/env.h"

typedef struct btree_store btree_store;

typedef struct btree_file {
    _Atomic uint32_t refs;
    _Atomic bool doomed; /* remove the file with the last reference */
    btree_store *store;
    uint64_t id;
    vio_file *file;
    pgc_file *pages;       /* a leaf's frame, or the assembled value of a first overflow page */
    uint32_t live;         /* pages of the newest tree in it; the job's */
    _Atomic uint32_t used; /* pages written and committed; changed by the job */
    struct btree_file *trash_next;
} btree_file;

struct btree_store {
    vv_env *env;
    char dir[VIO_PATH_MAX];
    uint32_t shard;
    uint32_t page_size;
    uint32_t shift;
    pgc_cache *cache;
    vv_budget *budget;
    _Atomic(btree_file *) trash; /* without a reference: to be closed by sweep */
    _Atomic uint32_t holds;      /* nothing is removed while there are any (btree_files.c) */
    vv_mutex lock;               /* VV_RANK_LEAF */
    uint8_t *idle[4];            /* page buffers, under lock */
    codec_dict_ctx *codecs[4];   /* idle contexts, under lock */
    _Atomic(codec_dict *) dict;  /* NULL until there is one; never changes then */
    btree_blob *dict_bytes;      /* of dict; open, then the job's */
};

VV_MUST_CHECK vv_status btree_store_init(btree_store *s, vv_env *env, const char *dir,
                                         uint32_t shard, uint64_t cache_size, vv_budget *budget,
                                         vv_error *err);
/** All files are released. Closes what waits in the trash. */
void btree_store_fini(btree_store *s);
/** Close the files that lost their last reference; remove the doomed ones. Returns how many. */
unsigned btree_store_sweep(btree_store *s);

/** An aligned buffer of one page. */
VV_MUST_CHECK vv_status btree_store_take_page(btree_store *s, uint8_t **out, vv_error *err);
void btree_store_give_page(btree_store *s, uint8_t *page); /* accepts NULL */

static inline uint32_t btree_store_page_of(const btree_store *s, uint64_t at)
{
    return (uint32_t)(at & ((UINT64_C(1) << s->shift) - 1));
}
static inline uint64_t btree_store_file_of(const btree_store *s, uint64_t at)
{
    return at >> s->shift;
}
static inline uint64_t btree_place_at(const btree_store *s, uint64_t file, uint32_t page)
{
    return file << s->shift | page;
}

void btree_file_path(char out[VIO_PATH_MAX], const char *dir, uint64_t id);
/** Open a data file for reading; create: a new one. One reference. */
VV_MUST_CHECK vv_status btree_file_open(btree_store *s, uint64_t id, bool create, btree_file **out,
                                        vv_error *err);
static inline void btree_file_ref(btree_file *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
}
/** The last one puts it into the trash. Takes no lock. Accepts NULL. */
void btree_file_unref(btree_file *f);

/** The file of a place among files sorted by id, or NULL. */
btree_file *btree_store_find_file(const btree_store *s, btree_file *const *files, uint32_t count,
                                  uint64_t at);

/** Read a page and verify it: its own sum, and that of the mapping. */
VV_MUST_CHECK vv_status btree_store_read(btree_store *s, btree_file *file, uint32_t page,
                                         uint32_t sum, uint8_t *out, vv_error *err);
VV_MUST_CHECK vv_status btree_store_read_id(btree_store *s, const btree_map *map,
                                            btree_file *const *files, uint32_t count, uint32_t id,
                                            uint8_t *out, vv_error *err);

/** The same for a page that the caller has read: verified, and taken apart into a pinned frame. */
VV_MUST_CHECK vv_status btree_store_load_leaf(btree_store *s, const btree_file *file, uint32_t page,
                                              uint32_t sum, const uint8_t *raw, pgc_frame **out,
                                              vv_error *err);
/** The frame of a leaf, pinned: from the cache, or read and put there. */
VV_MUST_CHECK vv_status btree_store_get_leaf(btree_store *s, btree_file *file, uint32_t page,
                                             uint32_t sum, pgc_frame **out, vv_error *err);
/** The same past the cache, unless it is there: for flush and check. */
VV_MUST_CHECK vv_status btree_store_scan_leaf(btree_store *s, btree_file *file, uint32_t page,
                                              uint32_t sum, pgc_frame **out, vv_error *err);

#endif
