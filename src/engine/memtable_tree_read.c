/*
 * memtable_tree_read.c - walk the tree while it is being written.
 *
 * Node by node: read the child's sequence number (wait while it is odd), and only then check the
 * parent's again. If the parent still is what was searched, the child was the right one at that
 * moment, and whatever happens to it later shows in its own number. The root has no parent: the
 * tree's pointer to it is what is checked.
 *
 * Nodes live as long as the memtable. A leaf is copied whole: keys that come later are above every
 * published version, and its right neighbour at the time of the copy stays the successor of what
 * was copied, because splits move keys to the right only. To the left the pointer may be old: then
 * the leaf in front of ours is found from there to the right.
 */
#include "engine/memtable_tree_int.h"

#include "base/lock.h"

static inline uint32_t read_begin(const mt_node *n)
{
    unsigned turns = 0;
    for (;;) {
        uint32_t seq = atomic_load_explicit(&n->seq, memory_order_acquire);
        if (VV_LIKELY((seq & 1) == 0))
            return seq;
        vv_spin_wait(&turns);
    }
}

/* All loads in between were acquire loads, so this one comes after them. */
static inline bool read_holds(const mt_node *n, uint32_t seq)
{
    return VV_LIKELY(atomic_load_explicit(&n->seq, memory_order_relaxed) == seq);
}

static inline mt_node *load_node(const _Atomic(mt_node *) *p)
{
    return atomic_load_explicit(p, memory_order_acquire);
}

/* The leaf for key, or the last one when to_last; NULL when the tree is empty, and *again set when
 * the writer was faster. */
static const mt_leaf *try_descend(const mt_tree *t, vv_slice key, bool to_last, uint32_t *leaf_seq,
                                  bool *again)
{
    const mt_node *n = load_node(&t->root);
    if (n == NULL)
        return NULL;
    uint32_t seq = read_begin(n);
    *again = load_node(&t->root) != n;
    while (n->level > 0 && !*again) {
        const mt_inner *inner = (const mt_inner *)n;
        uint32_t at = to_last ? atomic_load_explicit(&n->count, memory_order_acquire)
                              : mt_child_index(inner, key);
        const mt_node *child = load_node(&inner->child[at]);
        *again = true;
        if (child == NULL)
            return NULL;
        mt_prefetch_node(child, n->level - 1u);
        uint32_t child_seq = read_begin(child);
        *again = !read_holds(n, seq);
        n = child;
        seq = child_seq;
    }
    *leaf_seq = seq;
    return (const mt_leaf *)n;
}

/* False when the leaf has changed since seq. */
static bool copy_leaf(const mt_leaf *leaf, uint32_t seq, mt_leaf_copy *copy)
{
    copy->leaf = leaf;
    copy->next = load_node(&leaf->node.next);
    copy->prev = load_node(&leaf->node.prev);
    copy->count = atomic_load_explicit(&leaf->node.count, memory_order_acquire);
    for (uint32_t i = 0; i < copy->count; i++)
        copy->record[i] = mt_load(&leaf->record[i]);
    return read_holds(&leaf->node, seq);
}

bool mt_tree_seek(const mt_tree *t, vv_slice key, mt_leaf_copy *copy, uint32_t *index)
{
    for (;;) {
        uint32_t seq;
        bool again = false;
        const mt_leaf *leaf = try_descend(t, key, false, &seq, &again);
        if (again)
            continue;
        if (leaf == NULL)
            return false;
        *index = mt_leaf_index(leaf, key);
        if (copy_leaf(leaf, seq, copy))
            return true;
    }
}

bool mt_tree_last(const mt_tree *t, mt_leaf_copy *copy)
{
    for (;;) {
        uint32_t seq;
        bool again = false;
        const mt_leaf *leaf = try_descend(t, vv_slice_of(NULL, 0), true, &seq, &again);
        if (again)
            continue;
        if (leaf == NULL)
            return false;
        if (copy_leaf(leaf, seq, copy))
            return true;
    }
}

/* A leaf never loses its first key, so it is the right one whenever it is read. */
static void copy_now(const mt_node *n, mt_leaf_copy *copy)
{
    while (!copy_leaf((const mt_leaf *)n, read_begin(n), copy))
        continue;
}

bool mt_tree_next_leaf(mt_leaf_copy *copy)
{
    if (copy->next == NULL)
        return false;
    copy_now(copy->next, copy);
    return true;
}

bool mt_tree_prev_leaf(mt_leaf_copy *copy)
{
    const mt_node *own = &copy->leaf->node;
    const mt_node *n = copy->prev;
    if (n == NULL)
        return false;
    for (;;) {
        copy_now(n, copy);
        if (copy->next == own)
            return true;
        n = copy->next;
    }
}
