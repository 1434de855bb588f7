/*
 * btree_leaf.h - a data page as it lies in the cache: laid out for searching.
 *
 * Prefix compression makes a page small and a search slow: each entry needs the ones before it. So
 * a page is taken apart once, when it is loaded, into a form that a search reads in two memory
 * latencies and a cursor hands out in place.
 *
 *     0     2      4      5      6     8          16       20      24     28     32
 *     | n   | plen | flags| width|  -  | base i64 | offs   | prefix| prev | next | heads u32 x n
 *     | offsets u16 or u32 x (n+1) | prefix | entries ...
 *     entry   slen u8 (255: u16 follows) | flags u8 if special | version - base (width bytes) |
 *             expiry 8 if flagged | key bytes plen+4 .. | value .. next offset
 *
 * A head is the four key bytes behind the common prefix, zero padded, as an integer. The builder
 * of pages keeps them such that this form fits a frame of the page size too (btree_leaf_size).
 */
#ifndef VARVE_BTREE_LEAF_H
#define VARVE_BTREE_LEAF_H

#include "btree/btree_page.h"
#include "page/pgc.h"

#define BTREE_LEAF_HEAD 32u
#define BTREE_KEY_BUF (BTREE_KEY_MAX + PGC_PAD)

enum { BTREE_LEAF_WIDE = 1, BTREE_LEAF_SPECIAL = 2 };

/* Where things are in one leaf. */
typedef struct btree_leaf {
    const uint8_t *p;
    const uint8_t *offs;
    const uint8_t *prefix;
    uint32_t n;
    uint32_t plen;
    uint32_t flags;
    uint32_t width;
    int64_t base;
} btree_leaf;

/* An entry as a search finds it. */
typedef struct btree_found {
    vv_slice value; /* as stored */
    int64_t version;
    int64_t expires_ns;
    uint32_t flags;
} btree_found;

/* Sizes of a leaf that is being collected: what its cached form will take. */
typedef struct btree_leaf_sizes {
    uint32_t n;
    uint32_t plen;
    bool special;
    uint64_t key_bytes;
    uint64_t rest_bytes; /* values and expiries */
    uint64_t version_min;
    uint64_t version_max;
} btree_leaf_sizes;

/** Add an entry to the sizes; first is the first key of the leaf. */
void btree_leaf_sizes_add(btree_leaf_sizes *s, vv_slice first, const btree_entry *e);
/** Bytes of the cached form, at most. */
size_t btree_leaf_size(const btree_leaf_sizes *s);

/** Take apart a verified data page into a new frame, pinned once. VV_CORRUPT, VV_UNSUPPORTED. */
VV_MUST_CHECK vv_status btree_leaf_load(const uint8_t *page, uint32_t size, pgc_cache *cache,
                                        pgc_frame **out, vv_error *err);

static inline void btree_leaf_prefetch(const uint8_t *p)
{
    for (unsigned i = 0; i < 5; i++)
        __builtin_prefetch(p + i * 64);
}

static inline void btree_leaf_lay_out(const uint8_t *p, btree_leaf *out)
{
    *out = (btree_leaf){.p = p,
                        .n = vv_get_le16(p),
                        .plen = vv_get_le16(p + 2),
                        .flags = p[4],
                        .width = p[5],
                        .base = (int64_t)vv_get_le64(p + 8),
                        .offs = p + vv_get_le32(p + 16),
                        .prefix = p + vv_get_le32(p + 20)};
}
static inline uint32_t btree_leaf_prev(const uint8_t *p)
{
    return vv_get_le32(p + 24);
}
static inline uint32_t btree_leaf_next(const uint8_t *p)
{
    return vv_get_le32(p + 28);
}

/** Index of the first entry at or after key. */
uint32_t btree_leaf_seek(const btree_leaf *l, vv_slice key);
/** The entry of key, or false. */
bool btree_leaf_get(const btree_leaf *l, vv_slice key, btree_found *out);
/** Copy the common prefix to key_buf: once a leaf, before btree_leaf_at. */
void btree_leaf_load_prefix(const btree_leaf *l, uint8_t key_buf[BTREE_KEY_BUF]);
/** Entry i: the key is assembled in key_buf, the value borrows the leaf. Reads up to PGC_PAD bytes
 * behind the leaf. Returns the key. */
vv_slice btree_leaf_at(const btree_leaf *l, uint32_t i, uint8_t key_buf[BTREE_KEY_BUF],
                       btree_found *out);

#endif
