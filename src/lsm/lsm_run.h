/*
 * lsm_run.h - runs: immutable sorted files. Writing one, opening one, asking one.
 *
 *     | block 0 | block 1 | ... | index | ranges | properties | filter | footer 4 KiB |
 *
 * The footer names the sections with their sums; the manifest names the run with the sum of its
 * footer, so every byte hangs on the manifest. Bytes: docs/format/run.md.
 */
#ifndef VARVE_LSM_LSM_RUN_H
#define VARVE_LSM_LSM_RUN_H

#include <stdatomic.h>

#include "base/lock.h"
#include "base/util.h"
#include "codec/codec_block_dict.h"
#include "engine/rangedel.h"
#include "io/env.h"
#include "io/vio_queue.h"
#include "lsm/lsm_block.h"
#include "lsm/lsm_fence.h"
#include "page/pgc.h"

#define LSM_RUN_FORMAT 1u
#define LSM_FOOTER_SIZE 4096u
#define LSM_LEVELS 8u /* 0: flushed sets that overlap; 1..7 sorted */
#define LSM_BOUND_MAX (ENGINE_KEY_MAX + 1u)

/* What the manifest says of a run. The bounds are one block of memory: lsm_meta_fini. */
typedef struct lsm_meta {
    uint64_t id;
    uint32_t level;
    uint32_t table_count; /* tables with entries in it */
    uint64_t group;       /* level 0: the flush it came from, newer is larger; else 0 */
    uint64_t size;        /* bytes of the file */
    uint64_t footer_sum;
    uint64_t entries;
    uint64_t deletes;   /* of the entries */
    uint64_t ranges;    /* range deletions */
    uint64_t raw_bytes; /* of keys and values */
    int64_t version_min;
    int64_t version_max;
    uint64_t merges;    /* of the entries; from here on known from the footer alone */
    int64_t merge_time; /* the earliest commit time of one; INT64_MAX: none */
    int64_t born_ns;    /* wall time at which its newest data was flushed; 0: not known. Known from
                           the manifest alone */
    vv_slice lower;     /* inclusive */
    vv_slice upper;     /* exclusive */
    vv_slice values; /* uses of value files (lsm_value.h), encoded; known from the manifest alone */
    uint8_t *bounds; /* owns lower, upper and values */
} lsm_meta;

/** Copy with bounds of its own. VV_NO_MEMORY. */
VV_MUST_CHECK vv_status lsm_meta_copy(const lsm_meta *from, lsm_meta *out, vv_error *err);
void lsm_meta_fini(lsm_meta *meta);
static inline bool lsm_meta_overlaps(const lsm_meta *m, vv_slice lower, vv_slice upper)
{
    return vv_slice_cmp(m->lower, upper) < 0 && vv_slice_cmp(lower, m->upper) < 0;
}

/** "<dir>/run-<id>". */
void lsm_run_path(char out[VIO_PATH_MAX], const char *dir, uint64_t id);

/* ---- the world of a shard's runs ---- */

typedef struct lsm_run lsm_run;
typedef struct lsm_value_file lsm_value_file;

#define LSM_VALUE_BUCKETS 64u

typedef struct lsm_counter {
    _Alignas(64) _Atomic uint64_t filter_skips;
    _Atomic uint64_t filter_fails;
    _Atomic uint64_t level_reads[LSM_LEVELS];
} lsm_counter;

typedef struct lsm_store {
    vv_env *env;
    char dir[VIO_PATH_MAX];
    uint32_t shard;
    bool direct; /* read blocks past the system's page cache; set before the first run is opened */
    pgc_cache *cache;
    vv_budget *budget;
    vv_mutex codec_lock;          /* VV_RANK_LEAF */
    codec_block_ctx *codecs[4];   /* idle contexts, under codec_lock */
    _Atomic(lsm_run *) trash;     /* runs without a reference, to be closed by lsm_store_sweep */
    _Atomic uint64_t index_bytes; /* indexes, filters, reference arrays */
    vv_mutex value_lock;          /* VV_RANK_LEAF */
    lsm_value_file *value_files[LSM_VALUE_BUCKETS]; /* those open, under value_lock */
    bool is_closing;           /* one thread: what goes now is only forgotten */
    _Atomic uint32_t holds;    /* nothing is removed while there are any (lsm_files.c) */
    struct lsm_remote *remote; /* files that lie in an object store; NULL: there cannot be any */
    lsm_counter counters[PGC_COUNTERS];
} lsm_store;

VV_MUST_CHECK vv_status lsm_store_init(lsm_store *s, vv_env *env, const char *dir, uint32_t shard,
                                       uint64_t cache_size, vv_budget *budget, vv_error *err);
/** All runs are released. Closes what waits in the trash. */
void lsm_store_fini(lsm_store *s);
/** Close the runs that lost their last reference; remove the files of the doomed ones. Returns how
 * many. Not in an epoch section, no lock held. */
unsigned lsm_store_sweep(lsm_store *s);

/** An idle context, or a new one. */
VV_MUST_CHECK vv_status lsm_store_take_codec(lsm_store *s, codec_block_ctx **out, vv_error *err);
void lsm_store_give_codec(lsm_store *s, codec_block_ctx *ctx);

/* ---- writing ---- */

typedef struct lsm_writer lsm_writer;

typedef struct lsm_writer_options {
    lsm_store *store;
    uint64_t id;
    uint64_t group;
    uint32_t level;
    bool is_flush;       /* of a memtable: before compactions at the disk */
    uint32_t block_size; /* raw bytes */
    codec_kind codec;
    struct lsm_trainer *trainer; /* of dictionaries, outlives the writer; NULL: none */
    unsigned filter_bits;
    size_t buffer_size; /* bytes on their way to the file */
    bool is_bulk;       /* all entries at version 0, which the manifest replaces by one for all */
} lsm_writer_options;

#define LSM_PACK_GAIN 8u

/* What a writer needs to know of a table; lsm_form.c chooses. */
typedef struct lsm_form {
    codec_kind codec;
    uint32_t block_size;
    uint32_t value_threshold; /* values of so many bytes lie apart */
    uint32_t gain;            /* a block is stored packed where that saves 1 / gain of it */
} lsm_form;

/** A new file; it must not exist. */
VV_MUST_CHECK vv_status lsm_writer_open(const lsm_writer_options *opt, lsm_writer **out,
                                        vv_error *err);
/** The form of what follows: a table begins. */
VV_MUST_CHECK vv_status lsm_writer_enter_table(lsm_writer *w, uint32_t table, const lsm_form *form,
                                               vv_error *err);
/** The next entry: key ascending, version descending. */
VV_MUST_CHECK vv_status lsm_writer_add(lsm_writer *w, const engine_item *item, vv_error *err);
/** The entry to be added next came from this block of an input, alone in it. */
void lsm_writer_lend(lsm_writer *w, pgc_file *from, uint32_t block);
/** A range deletion, in any order; start < end. */
VV_MUST_CHECK vv_status lsm_writer_add_range(lsm_writer *w, const engine_range *range,
                                             vv_error *err);
/** Bytes of the file so far, about. */
uint64_t lsm_writer_size(const lsm_writer *w);
bool lsm_writer_is_empty(const lsm_writer *w);
/** Wait for the writes in flight. A thread that added entries does it before another one goes on,
 * or before it does so itself after other work. */
VV_MUST_CHECK vv_status lsm_writer_settle(lsm_writer *w, vv_error *err);
/** Write what is left, index to footer. Not synced yet. Gives *meta: lsm_meta_fini. */
VV_MUST_CHECK vv_status lsm_writer_finish(lsm_writer *w, lsm_meta *meta, vv_error *err);
VV_MUST_CHECK vv_status lsm_writer_sync(lsm_writer *w, vv_error *err);
/** Frees it and closes the file, which stays. Accepts NULL. */
void lsm_writer_close(lsm_writer *w);

/* ---- the blocks of a new run, for the cache (lsm_prefill.c) ---- */

typedef struct lsm_prefill_block {
    pgc_frame *frame; /* made for it, or NULL */
    pgc_file *from;   /* else whose frame of block from_block it takes over, or NULL */
    uint32_t from_block;
} lsm_prefill_block;

typedef struct lsm_prefill {
    lsm_prefill_block *blocks; /* by number */
    uint32_t count;
    uint32_t cap;
    bool is_over; /* the cache was full */
} lsm_prefill;

/** Keep a block if the cache has room. A failure is only a block less. */
void lsm_prefill_add(lsm_prefill *p, pgc_cache *cache, uint32_t block, vv_slice raw);
/** Where the cache has the same bytes as a block of an input, note that they will be taken over.
 * The input must stay open until then. False: it has not. */
bool lsm_prefill_borrow(lsm_prefill *p, uint32_t block, vv_slice raw, pgc_file *from,
                        uint32_t from_block);
/** Give the blocks made to the cache as those of the run, which is not yet in any view. */
void lsm_prefill_publish(lsm_prefill *p, lsm_run *run);
/** Take over what was borrowed, once readers find the run in a view. */
void lsm_prefill_take_over(lsm_prefill *p, lsm_run *run);
void lsm_prefill_fini(lsm_prefill *p);

/** What a finished writer kept. */
void lsm_writer_take_prefill(lsm_writer *w, lsm_prefill *out);

/* ---- reading ---- */

struct lsm_run {
    _Atomic uint32_t refs;
    _Atomic bool doomed; /* its file goes with the last reference */
    lsm_store *store;
    lsm_meta meta;
    vio_file *file;
    bool is_remote; /* file is an object */
    pgc_file *pages;
    lsm_fence fence;
    uint64_t *place; /* per block: offset / 512 << 24 | stored length */
    uint8_t *codec;  /* per block: codec_kind, or LSM_CODEC_DICTIONARY */
    uint32_t features;
    codec_block_dict *dict; /* with LSM_FEATURE_DICTIONARY */
    uint32_t block_count;
    uint32_t block_size;
    uint64_t data_size; /* bytes of all blocks */
    uint8_t *filter;    /* 64-byte lines; NULL in a run without entries */
    uint32_t filter_lines;
    engine_rangedels *rangedels; /* NULL: none */
    bool holds_values;           /* its value files are open */
    uint64_t memory;             /* bytes counted in the budget */
    lsm_run *trash_next;
};

/** Open, verify footer and sections, load index and filter. expect: what the manifest says, or NULL
 * when nothing is known (dump). VV_UNSUPPORTED for a newer format. Gives *out with one reference.
 */
VV_MUST_CHECK vv_status lsm_run_open(lsm_store *store, uint64_t id, const lsm_meta *expect,
                                     lsm_run **out, vv_error *err);
static inline void lsm_run_ref(lsm_run *run)
{
    atomic_fetch_add_explicit(&run->refs, 1, memory_order_relaxed);
}
/** The last one puts it into the store's trash. Takes no lock, does no I/O. Accepts NULL. */
void lsm_run_unref(lsm_run *run);

static inline uint64_t lsm_run_block_offset(const lsm_run *run, uint32_t block)
{
    return (run->place[block] >> 24) * VV_SECTOR;
}
static inline uint32_t lsm_run_block_stored(const lsm_run *run, uint32_t block)
{
    return (uint32_t)(run->place[block] & 0xffffff);
}

/** Read, decompress and verify a block into a private pinned frame. Not in a section. */
VV_MUST_CHECK vv_status lsm_run_read_block(lsm_run *run, uint32_t block, pgc_frame **out,
                                           vv_error *err);
/** The same, from bytes of the file that the caller has read. */
VV_MUST_CHECK vv_status lsm_run_decode_block(lsm_run *run, uint32_t block, const uint8_t *stored,
                                             pgc_frame **out, vv_error *err);
/** A pinned frame of a block, from the cache or from the file. Not in a section. */
VV_MUST_CHECK vv_status lsm_run_get_block(lsm_run *run, uint32_t block, pgc_frame **out,
                                          vv_error *err);

/* ---- fetching blocks, one or many at once (lsm_fetch.c) ---- */

/* The stored bytes of a block on their way into memory, whole device blocks where the file is
 * direct. */
typedef struct lsm_fetch {
    vio_req req; /* the caller sets cls, done and ctx */
    lsm_run *run;
    uint32_t block;
    uint32_t skip;    /* bytes in front of the block in req.buf */
    vio_queue *owner; /* whose buffer req.buf is; NULL: an allocation */
} lsm_fetch;

/** Fill f for a block, with a buffer of q where it has one (q may be NULL). VV_NO_MEMORY. Ends with
 * lsm_fetch_finish or lsm_fetch_drop. */
VV_MUST_CHECK vv_status lsm_fetch_prepare(lsm_fetch *f, lsm_run *run, uint32_t block, vio_queue *q,
                                          vv_error *err);
/** The request has its answer: decompress and verify into a private pinned frame. Not in a section.
 */
VV_MUST_CHECK vv_status lsm_fetch_finish(lsm_fetch *f, pgc_frame **out, vv_error *err);
void lsm_fetch_drop(lsm_fetch *f);
/** Prepare, read and finish one. */
VV_MUST_CHECK vv_status lsm_fetch_now(lsm_run *run, uint32_t block, pgc_frame **out, vv_error *err);

/** Bytes of its blocks that lie between two keys, from the index. */
uint64_t lsm_run_size_between(const lsm_run *run, vv_slice lower, vv_slice upper);

#endif
