/*
 * memtable_tree_int.h - records, and the B+tree that orders them: memtable_tree.c writes,
 * memtable_tree_read.c reads beside it.
 */
#ifndef VARVE_ENGINE_MEMTABLE_TREE_INT_H
#define VARVE_ENGINE_MEMTABLE_TREE_INT_H

#include <stdatomic.h>

#include "base/bytes.h"
#include "base/util.h"
#include "engine/memtable_arena.h"
#include "engine/source.h"

/* -- records -- */

#define MT_FIRST 1u   /* the key's first record: the tree points here */
#define MT_EXPIRES 2u /* an i64 stands between key and value */

typedef struct mt_record mt_record;

/* In the arena, 8-byte aligned, never moves. All but the links is fixed before it is published. */
struct mt_record {
    _Atomic(mt_record *) older; /* next older version of the key */
    _Atomic(mt_record *) link;  /* first record: the newest one; later ones: the first */
    int64_t version;
    uint32_t value_len;
    uint16_t key_len;
    uint8_t kind; /* engine_kind */
    uint8_t flags;
    /* key, expiry, value */
};

static inline const uint8_t *mt_key_bytes(const mt_record *r)
{
    return (const uint8_t *)(r + 1);
}

static inline vv_slice mt_key(const mt_record *r)
{
    return vv_slice_of(mt_key_bytes(r), r->key_len);
}

static inline void mt_record_item(const mt_record *r, engine_item *item)
{
    const uint8_t *p = mt_key_bytes(r) + r->key_len;
    item->key = mt_key(r);
    item->version = r->version;
    item->kind = (engine_kind)r->kind;
    item->expires_ns = 0;
    if (r->flags & MT_EXPIRES) {
        item->expires_ns = (int64_t)vv_get_le64(p);
        p += sizeof(int64_t);
    }
    item->value = vv_slice_of(p, r->value_len);
}

/* Pairs with the writer's release stores: what it points to is complete. */
static inline mt_record *mt_load(const _Atomic(mt_record *) *p)
{
    return atomic_load_explicit(p, memory_order_acquire);
}

/* The newest version <= version in the chain from r on, or NULL. */
static inline mt_record *mt_version_at(mt_record *r, int64_t version)
{
    while (r != NULL && r->version > version)
        r = mt_load(&r->older);
    return r;
}

/* -- the tree -- */

#define MT_LEAF_KEYS 64u
#define MT_INNER_KEYS 32u
#define MT_PREFIX_MAX 32u
#define MT_LEVELS_MAX 12u /* 32 * 16^11 keys do not fit any memory */

typedef struct mt_node mt_node;

/* Shared words are relaxed or acquire/release atomics; seq tells whether what was read belongs
 * together: odd while the writer changes the node, another value afterwards. */
struct mt_node {
    _Atomic uint32_t seq;
    uint8_t level;           /* 0: a leaf; fixed */
    _Atomic uint8_t is_edge; /* keys may come that lack the prefix: compare it */
    _Atomic uint16_t skip;   /* bytes in front of the heads, common to every key here */
    _Atomic uint16_t count;  /* keys of a leaf, separators of an inner node */
    uint32_t splits;         /* writer: so far */
    _Atomic(mt_node *) next; /* leaves: right neighbour */
    _Atomic(mt_node *) prev; /* leaves: left neighbour, or one further left (see the reader) */
    _Atomic uint64_t prefix[MT_PREFIX_MAX / 8]; /* of an edge node: the skipped bytes */
};
static_assert(sizeof(mt_node) == 64, "a node's head is one cache line");

/* Heads: 8 key bytes behind skip as an integer; unused ones are all ones. */
typedef struct mt_leaf {
    mt_node node;
    _Atomic uint64_t head[MT_LEAF_KEYS];
    _Atomic(mt_record *) record[MT_LEAF_KEYS]; /* the first record of each key */
} mt_leaf;

typedef struct mt_inner {
    mt_node node;
    _Atomic uint64_t head[MT_INNER_KEYS];
    _Atomic(mt_record *) separator[MT_INNER_KEYS]; /* smallest key that may be in child i + 1 */
    _Atomic(mt_node *) child[MT_INNER_KEYS + 1];
} mt_inner;

typedef struct mt_tree {
    _Atomic(mt_node *) root; /* NULL: empty */
    mt_leaf *tail;           /* writer: the right-most leaf */
} mt_tree;

/* Where nodes come from; the writer's. */
typedef struct mt_nodes {
    mt_arena *arena;
    size_t leaf_count; /* over all trees of the memtable */
    size_t inner_count;
} mt_nodes;

/* The leaf of a key as it was found some inserts ago. */
typedef struct mt_tree_hint {
    mt_leaf *leaf; /* NULL: not looked for */
    uint32_t splits;
} mt_tree_hint;

/** Insert a key that is not there. The arena has mt_tree_need bytes. Writer. */
void mt_tree_insert(mt_tree *t, mt_nodes *nodes, mt_record *r, const mt_tree_hint *hint);
/** Look for the leaves of count keys, all at the same pace, and prefetch them. Writer. */
void mt_tree_find_leaves(mt_tree *const *trees, const vv_slice *keys, mt_tree_hint *const *hints,
                         size_t count);
/** Bytes for key_count new keys, tree_count of them the first of their trees. */
size_t mt_tree_need(const mt_nodes *nodes, size_t key_count, size_t tree_count);

/* A leaf as it was at one moment. */
typedef struct mt_leaf_copy {
    const mt_tree *tree;
    const mt_leaf *leaf;
    mt_node *next;
    mt_node *prev;
    uint32_t count;
    mt_record *record[MT_LEAF_KEYS];
} mt_leaf_copy;

/** Copy the leaf where key is or would be; *index: the first key there >= key, count when none is.
 * False when the tree is empty. Any thread, as all below. */
bool mt_tree_seek(const mt_tree *t, vv_slice key, mt_leaf_copy *copy, uint32_t *index);
/** Copy the last leaf. False when the tree is empty. */
bool mt_tree_last(const mt_tree *t, mt_leaf_copy *copy);
/** Replace the copy by its neighbour's; false at the end, the copy is untouched then. */
bool mt_tree_next_leaf(mt_leaf_copy *copy);
bool mt_tree_prev_leaf(mt_leaf_copy *copy);

/* -- search in a node -- */

/** How many of 64 (or 32) ascending heads are below x; unused ones are not below anything. */
static inline uint32_t mt_count_below(const _Atomic uint64_t *head, uint32_t size, uint64_t x)
{
    uint32_t at = 0;
    for (uint32_t step = size / 2; step > 0; step /= 2)
        at += atomic_load_explicit(&head[at + step - 1], memory_order_acquire) < x ? step : 0;
    return at + (atomic_load_explicit(&head[at], memory_order_acquire) < x);
}

/** Key against the stored prefix of an edge node: < 0, 0 (has it) or > 0. */
int mt_prefix_cmp(const mt_node *n, vv_slice key, size_t skip);

/* Where key stands among the count sorted keys: in front of those >= it, or, when `after`, behind
 * one that equals it. What is read beside a writer may not belong together: then the answer is any
 * number up to size, and the sequence number tells. */
static inline uint32_t mt_find(const mt_node *n, const _Atomic uint64_t *head,
                               const _Atomic(mt_record *) *keys, uint32_t size, vv_slice key,
                               bool after)
{
    uint32_t count = atomic_load_explicit(&n->count, memory_order_acquire);
    size_t skip = atomic_load_explicit(&n->skip, memory_order_acquire);
    if (atomic_load_explicit(&n->is_edge, memory_order_acquire)) {
        int c = mt_prefix_cmp(n, key, skip);
        if (c != 0)
            return c < 0 ? 0 : count;
    }
    uint64_t x = engine_key_head(key, skip);
    uint32_t lo = mt_count_below(head, size, x);
    if (lo >= count || atomic_load_explicit(&head[lo], memory_order_acquire) != x)
        return lo;
    uint32_t hi = x == UINT64_MAX ? count : mt_count_below(head, size, x + 1);
    while (lo < hi) { /* heads are equal: whole keys */
        uint32_t mid = (lo + hi) / 2;
        const mt_record *r = mt_load(&keys[mid]);
        if (r == NULL)
            break;
        int c = vv_slice_cmp(mt_key(r), key);
        if (c < 0 || (after && c == 0))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/** The first key of the leaf that is >= key. */
static inline uint32_t mt_leaf_index(const mt_leaf *leaf, vv_slice key)
{
    return mt_find(&leaf->node, leaf->head, leaf->record, MT_LEAF_KEYS, key, false);
}

/** The child that key belongs to. */
static inline uint32_t mt_child_index(const mt_inner *n, vv_slice key)
{
    return mt_find(&n->node, n->head, n->separator, MT_INNER_KEYS, key, true);
}

/** Ask for what a search in this node reads. */
static VV_ALWAYS_INLINE void mt_prefetch_node(const mt_node *n, uint32_t level)
{
    const char *p = (const char *)n;
    size_t len = level == 0 ? sizeof(mt_leaf) : offsetof(mt_inner, separator);
    for (size_t at = 0; at < len; at += 64)
        __builtin_prefetch(p + at);
}

#endif
