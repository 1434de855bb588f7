/*
 * btree_index.h - index pages in memory: resident, immutable, shared between trees.
 *
 * A node holds what its page holds, laid out for searching, and beyond it where its children are:
 * nodes, or the file and page of a leaf. So a read goes from the root to the frame of its leaf
 * without asking the mapping. A flush makes new nodes for what it changes and shares the rest.
 */
#ifndef VARVE_BTREE_INDEX_H
#define VARVE_BTREE_INDEX_H

#include "btree/btree_store.h"

#define BTREE_LEVELS_MAX 24u

typedef struct btree_inode btree_inode;

typedef struct btree_child {
    union {
        btree_inode *node; /* above level 1; holds a reference */
        btree_file *file;  /* on level 1; the tree holds the reference */
    } u;
    uint32_t page; /* of a leaf, in its file */
    uint32_t sum;  /* of a leaf */
    uint32_t id;
} btree_child;

struct btree_inode {
    _Atomic uint32_t refs;
    uint32_t id;    /* of its page */
    uint32_t level; /* 1: children are leaves */
    uint32_t count; /* children, at least one */
    uint32_t plen;  /* bytes that all separators begin with */
    uint32_t size;  /* bytes of memory */
    vv_budget *budget;
    btree_child *child;    /* [count] */
    const uint64_t *heads; /* [count - 1]: 8 bytes of separator i behind plen, as an integer */
    const uint32_t *offs;  /* [count]: separator i lies at keys[offs[i] .. offs[i + 1]) */
    const uint8_t *keys;
};

/* Separator i (1 .. count - 1) is the least key of child i. */
static inline vv_slice btree_inode_separator(const btree_inode *n, uint32_t i)
{
    return vv_slice_of(n->keys + n->offs[i - 1], n->offs[i] - n->offs[i - 1]);
}

/* A node in the making: children with the separator before each. */
typedef struct btree_list {
    btree_child *child;
    uint32_t *key_at; /* of the separator in keys; that of the first child is not used by a node */
    uint32_t *key_len;
    uint32_t count;
    uint32_t cap;
    vv_buf keys;
} btree_list;

void btree_list_init(btree_list *l);
/** Releases the children's references when level is above 1. */
void btree_list_reset(btree_list *l, uint32_t level);
void btree_list_fini(btree_list *l, uint32_t level);
/** Append a child (its reference is taken over, also on failure not). VV_NO_MEMORY. */
VV_MUST_CHECK vv_status btree_list_add(btree_list *l, const btree_child *child, vv_slice separator,
                                       vv_error *err);
static inline vv_slice btree_list_separator(const btree_list *l, uint32_t i)
{
    if (l->key_len[i] == 0) /* in front of the first child */
        return (vv_slice){0};
    return vv_slice_of(l->keys.data + l->key_at[i], l->key_len[i]);
}

/** A node over children from .. to - 1 of the list. Takes over their references on success. */
VV_MUST_CHECK vv_status btree_inode_create(const btree_list *l, uint32_t from, uint32_t to,
                                           uint32_t id, uint32_t level, vv_budget *budget,
                                           btree_inode **out, vv_error *err);
static inline void btree_inode_ref(btree_inode *n)
{
    if (n != NULL)
        atomic_fetch_add_explicit(&n->refs, 1, memory_order_relaxed);
}
/** Accepts NULL. Takes no lock. */
void btree_inode_unref(btree_inode *n);

/** The page of a node as a tree's root; NULL: of an empty tree. */
static inline btree_root btree_inode_root(const btree_inode *n)
{
    btree_root root = {.id = BTREE_NO_PAGE};
    if (n != NULL) {
        root.id = n->id;
        root.level = n->level;
    }
    return root;
}

/** The child whose keys include key. */
uint32_t btree_inode_find(const btree_inode *n, vv_slice key);

/** A copy with its own children array, which may be changed: for a leaf that moved. */
VV_MUST_CHECK vv_status btree_inode_clone(const btree_inode *n, btree_inode **out, vv_error *err);

/** Read the index pages below root, all of them. VV_CORRUPT, VV_NO_MEMORY. */
VV_MUST_CHECK vv_status btree_index_load(btree_store *store, const btree_map *map,
                                         btree_file *const *files, uint32_t file_count,
                                         btree_root root, btree_inode **out, vv_error *err);

/** Leaves below a node. */
uint64_t btree_inode_leaves(const btree_inode *n);

/* Where a walk over leaves stands: the node and child on each level, [1] is above the leaves. */
typedef struct btree_path {
    const btree_inode *node[BTREE_LEVELS_MAX + 1];
    uint32_t index[BTREE_LEVELS_MAX + 1];
    uint32_t levels;
} btree_path;

/** To the leaf of key; to the first and last leaf. */
void btree_path_seek(btree_path *p, const btree_inode *root, vv_slice key);
void btree_path_first(btree_path *p, const btree_inode *root);
void btree_path_last(btree_path *p, const btree_inode *root);
/** To the neighbour; false, and nothing changed, at the end. */
bool btree_path_next(btree_path *p);
bool btree_path_prev(btree_path *p);
static inline const btree_child *btree_path_leaf(const btree_path *p)
{
    return &p->node[1]->child[p->index[1]];
}
/** The separator behind the leaf: its keys are below it; false behind the last leaf. */
bool btree_path_upper(const btree_path *p, vv_slice *out);

#endif
