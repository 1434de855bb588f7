/*
 * btree_page.h - the bytes of tree pages: EloqStore's data, index and overflow pages.
 *
 *     data      sum 8 | type 1 | content length 2 | previous leaf 4 | next leaf 4 | entries |
 *               restart offsets u16 each | restart count u16 | zeros
 *     index     sum 8 | type 1 | content length 2 | left-most child 4 | entries | restarts | zeros
 *     overflow  sum 8 | type 1 | value length 2 | value ... | next pages u32 each | their count u8
 *
 * The sum is XXH3-64 of every byte behind it. A page does not name itself: that a page is the one
 * that was asked for, the mapping knows (btree_map.h). Bytes: docs/format/btree-page.md.
 *
 * Pure functions over memory; no page here is trusted before btree_page_verify, and none is
 * believed to be well formed after it: iterators check every step.
 */
#ifndef VARVE_BTREE_PAGE_H
#define VARVE_BTREE_PAGE_H

#include <stdbool.h>

#include "base/bytes.h"
#include "varve/slice.h"
#include "varve/status.h"

#define BTREE_NO_PAGE UINT32_MAX
#define BTREE_PAGE_SIZE 4096u
#define BTREE_PAGE_SIZE_MAX 32768u
#define BTREE_RESTART_INTERVAL 16u
#define BTREE_POINTERS 16u /* overflow page ids in a leaf entry or behind a group */
#define BTREE_POINTERS_MAX 128u
#define BTREE_KEY_MAX 2112u /* of any tree; the keys of history are escaped and carry a version */

typedef enum btree_page_type {
    BTREE_INDEX = 0,
    BTREE_LEAF_INDEX = 1, /* its children are data pages */
    BTREE_DATA = 2,
    BTREE_OVERFLOW = 3,
} btree_page_type;

/* The low bits of a value field. */
enum {
    BTREE_IS_OVERFLOW = 1, /* the value is page ids, four bytes each */
    BTREE_HAS_EXPIRY = 2,
    BTREE_CODEC_MASK = 12,
    BTREE_CODEC_DICT = 4,     /* varint of the raw length, then a zstd frame with the dictionary */
    BTREE_CODEC_ZSTD = 8,     /* the same without one */
    BTREE_CODEC_SEGMENT = 12, /* a very large value in a segment file: not written here */
};

typedef struct btree_entry {
    vv_slice key;
    vv_slice value; /* as stored */
    uint64_t timestamp;
    uint64_t expires; /* with BTREE_HAS_EXPIRY */
    uint8_t flags;
} btree_entry;

/** The sum that the page's bytes should begin with, and whether they do. */
uint64_t btree_page_sum(const uint8_t *page, size_t size);
static inline uint64_t btree_page_stored_sum(const uint8_t *page)
{
    return vv_get_le64(page);
}
static inline btree_page_type btree_page_type_of(const uint8_t *page)
{
    return (btree_page_type)page[8];
}
/** VV_CORRUPT when the sum does not match. */
VV_MUST_CHECK vv_status btree_page_verify(const uint8_t *page, size_t size, vv_error *err);
/** Store the sum of a page that was changed in place. */
void btree_page_seal(uint8_t *page, size_t size);

/* ---- building data and index pages ---- */

typedef struct btree_builder {
    uint8_t *page; /* size bytes, the caller's */
    uint32_t size;
    uint32_t interval;
    uint32_t at; /* where the next entry goes */
    uint32_t head;
    uint32_t count;
    uint32_t restarts; /* offsets collected downward from the page's end until finish */
    uint32_t since;    /* entries since the last restart */
    uint64_t base;     /* what the next timestamp or child id is a delta to */
    size_t key_len;
    uint8_t key[BTREE_KEY_MAX];
} btree_builder;

/** Begin a page in memory of size bytes (borrowed until the next begin). */
void btree_builder_begin(btree_builder *b, btree_page_type type, uint8_t *page, uint32_t size,
                         uint32_t interval);
/** Append an entry with a key above the last; false when it does not fit: nothing has changed. */
VV_MUST_CHECK bool btree_builder_add(btree_builder *b, const btree_entry *e);
VV_MUST_CHECK bool btree_builder_add_child(btree_builder *b, vv_slice key, uint32_t child);
void btree_builder_set_links(btree_builder *b, uint32_t prev, uint32_t next);
void btree_builder_set_leftmost(btree_builder *b, uint32_t child);
/** Bytes the page would have as content if it ended here. */
uint32_t btree_builder_content(const btree_builder *b);
/** Write restarts, length, padding and sum. */
void btree_builder_finish(btree_builder *b);

/** Links of a data page, in place; btree_page_seal afterwards. */
static inline void btree_data_set_links(uint8_t *page, uint32_t prev, uint32_t next)
{
    vv_put_le32(page + 11, prev);
    vv_put_le32(page + 15, next);
}
static inline uint32_t btree_data_prev(const uint8_t *page)
{
    return vv_get_le32(page + 11);
}
static inline uint32_t btree_data_next(const uint8_t *page)
{
    return vv_get_le32(page + 15);
}
static inline uint32_t btree_index_leftmost(const uint8_t *page)
{
    return vv_get_le32(page + 11);
}

/* ---- reading them ---- */

typedef struct btree_iter {
    const uint8_t *page;
    uint32_t at;
    uint32_t end;      /* of the entries: the restart array */
    uint32_t restarts; /* how many there are */
    uint32_t next_restart;
    uint64_t base;
    bool is_data;
    bool started;
    size_t key_len;
    uint8_t key[BTREE_KEY_MAX];
} btree_iter;

/** Begin over a page of size bytes. VV_CORRUPT when it is no data or index page or its lengths
 * cannot be. Borrows page. */
VV_MUST_CHECK vv_status btree_iter_open(btree_iter *it, const uint8_t *page, uint32_t size,
                                        vv_error *err);
/** VV_NOT_FOUND at the end; VV_CORRUPT. Slices live until the next call (key) and with the page
 * (value). */
VV_MUST_CHECK vv_status btree_iter_next(btree_iter *it, btree_entry *out, vv_error *err);
/** The same for an index page. */
VV_MUST_CHECK vv_status btree_iter_next_child(btree_iter *it, vv_slice *key, uint32_t *child,
                                              vv_error *err);

/* ---- overflow pages ---- */

/** Bytes of value that fit: the last page of a group of pointers keeps room for the next group. */
static inline uint32_t btree_overflow_capacity(uint32_t size, uint32_t pointers, bool ends_group)
{
    return size - 11 - 1 - (ends_group ? 4 * pointers : 0);
}
/** Write a page with part of a value and the ids of the next group (none: next_count 0). */
void btree_overflow_encode(uint8_t *page, uint32_t size, vv_slice part, const uint32_t *next,
                           uint32_t next_count);
/** *next points at next_count ids of four bytes each. VV_CORRUPT. */
VV_MUST_CHECK vv_status btree_overflow_decode(const uint8_t *page, uint32_t size, vv_slice *part,
                                              const uint8_t **next, uint32_t *next_count,
                                              vv_error *err);

#endif
