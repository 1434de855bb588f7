/*
 * lsm_block.h - one block of a run: sorted entries behind a column of 4-byte heads.
 *
 *  0        8    10     12     14      16           24        28      32
 *  | sum u64| n  | plen | flags| ppos  | min version| span u32| used  | heads | offs | vers |
 * prefix | entries
 *
 *  sum    XXH3-64 of bytes 8..used, seeded with run id and block number: a block names its own
 * address plen   bytes of prefix common to all keys; ppos: where it lies heads  u32 x n: key bytes
 * plen..plen+3, zero padded, as a host integer, ascending offs   u16 x (n+1), or u32 with
 * LSM_BLOCK_WIDE; offs[n] is the end of the last entry vers   w bytes x n above min version; w = 0,
 * 2, 4 or 8 span   newest version - min version, saturated at 2^32-1 (then look at the versions)
 *  entry  slen u8 (255: u16 follows) | flag u8 if special | expiry i64 if flagged | key bytes
 * plen+4.. | zeros to a multiple of 8 if wide | value up to the next offset; slen = key length -
 * plen
 *
 * Order: key ascending, then version descending. All bytes: docs/format/run.md.
 *
 * A block is searched only after lsm_block_check: then every offset in it is in bounds, whatever
 * its bytes were.
 */
#ifndef VARVE_LSM_LSM_BLOCK_H
#define VARVE_LSM_LSM_BLOCK_H

#include "base/buf.h"
#include "engine/source.h"

#define LSM_BLOCK_HEAD 32u
#define LSM_BLOCK_VERSION_AT 16u                       /* of the lowest version */
#define LSM_BLOCK_RAW_MAX (UINT32_C(16) * 1024 * 1024) /* the largest value with key and head */
#define LSM_BLOCK_PLAIN_MAX 65535u                     /* raw bytes with u16 offsets */
#define LSM_KEY_BUF (ENGINE_KEY_MAX + 64u)             /* room to assemble a key in 16-byte steps */

/* Bits of `flags` above the width code in bits 0-1. */
enum {
    LSM_BLOCK_SPECIAL = 4, /* entries have a flag byte */
    LSM_BLOCK_MULTI = 8,   /* some key has several versions here or goes on in a neighbour */
    LSM_BLOCK_WIDE = 16,   /* u32 offsets: one entry, its value 8-byte aligned */
    LSM_BLOCK_FLAGS = 31,
};

/* Bits of an entry's flag byte above its kind. */
enum { LSM_ENTRY_EXPIRES = 16 };

static inline unsigned lsm_block_count(const uint8_t *p)
{
    return vv_get_le16(p + 8);
}

static inline uint32_t lsm_block_used(const uint8_t *p)
{
    return vv_get_le32(p + 28);
}

/* Where the columns of a checked block lie: computed once for many reads of one block. */
typedef struct lsm_block_layout {
    const uint8_t *p;
    const uint8_t *offs;
    const uint8_t *vers;
    unsigned n;
    unsigned plen;
    unsigned width; /* bytes of a version */
    unsigned flags;
    int64_t version_min;
} lsm_block_layout;

void lsm_block_lay_out(const uint8_t *p, lsm_block_layout *out);

/** The sum that a block at this address must carry. */
uint64_t lsm_block_sum(const uint8_t *p, uint32_t used, uint64_t run_id, uint32_t number);

/** Every structural rule that a search relies on, O(n). VV_CORRUPT with the broken rule;
 * VV_UNSUPPORTED for flag bits or kinds of a newer version. */
VV_MUST_CHECK vv_status lsm_block_check(const uint8_t *p, size_t len, vv_error *err);

/** Index of the first entry at or after (key, version); the count when there is none. */
unsigned lsm_block_seek(const uint8_t *p, vv_slice key, int64_t version);

/** The newest version <= version of key in this block: fills item (value borrows the block, key is
 * the caller's) and answers true. */
bool lsm_block_get(const uint8_t *p, vv_slice key, int64_t version, engine_item *item);

/** Copy the common prefix to key_buf; once a block, before lsm_block_item. */
void lsm_block_load_prefix(const uint8_t *p, uint8_t key_buf[LSM_KEY_BUF]);

/** Entry `index`: the key is assembled in key_buf (prefix loaded), the value borrows the block.
 * Reads up to PGC_PAD bytes behind the block. */
void lsm_block_item(const uint8_t *p, unsigned index, uint8_t key_buf[LSM_KEY_BUF],
                    engine_item *item);

/** The same with the layout at hand. */
void lsm_block_item_at(const lsm_block_layout *l, unsigned index, uint8_t key_buf[LSM_KEY_BUF],
                       engine_item *item);

/** Ask the memory for the lines a search will touch first. */
static inline void lsm_block_prefetch(const uint8_t *p)
{
    for (unsigned i = 0; i < 5; i++)
        __builtin_prefetch(p + i * 64);
}

/* Collects entries and lays them out. The caller owns the sizes: it asks before each add. */
typedef struct lsm_block_builder {
    vv_buf bytes; /* keys and values of the entries, one after the other */
    struct lsm_block_entry *entries;
    uint32_t count;
    uint32_t cap;
    uint32_t plen;    /* common prefix of the keys so far */
    uint32_t key_min; /* shortest key */
    uint32_t key_max; /* longest key */
    uint64_t key_sum; /* bytes of all keys */
    uint64_t value_sum;
    int64_t version_min;
    int64_t version_max;
    uint32_t expiring; /* entries with an expiry */
    bool special;
    bool multi;
} lsm_block_builder;

void lsm_block_builder_init(lsm_block_builder *b);
void lsm_block_builder_fini(lsm_block_builder *b);
void lsm_block_builder_reset(lsm_block_builder *b);

/** Bytes of the block if item were added: exact but for keys of 255 bytes and more, where it may be
 * a little high. */
size_t lsm_block_builder_size_with(const lsm_block_builder *b, const engine_item *item);

/** Add the next entry in order (copied). VV_NO_MEMORY. multi: another version of the same key
 * stands beside it, here or in the neighbouring block. */
VV_MUST_CHECK vv_status lsm_block_builder_add(lsm_block_builder *b, const engine_item *item,
                                              bool multi, vv_error *err);

/** Lay the block out at the end of out (appended) with its sum. wide: one entry, u32 offsets.
 * VV_NO_MEMORY. */
VV_MUST_CHECK vv_status lsm_block_builder_finish(lsm_block_builder *b, bool wide, uint64_t run_id,
                                                 uint32_t number, vv_buf *out, vv_error *err);

#endif
