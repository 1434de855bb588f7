/*
 * memtable_tree.c - the writer of the memtable's B+trees.
 *
 *                     [ sep | sep | ... ]                 inner: heads, separators, children
 *                    /      |      \
 *     leaf <-> leaf <-> leaf <-> leaf                     heads, first records; linked both ways
 *
 * Nodes are searched by heads: 8 bytes of each key as an integer, behind `skip` bytes that all keys
 * here have in common. Between two fences (the separators around a node, further up for its outer
 * children) what the fences share is shared by every key that can come, so it is never compared. A
 * node at the edge of the tree lacks a fence: it goes by the keys it has, keeps their prefix, and
 * is re-headed when a key breaks it. Re-heading touches every key, so between fences it happens
 * only at a split, and only when the heads are about used up.
 *
 * One writer, no reader's lock: a node is changed between two steps of its sequence number. New
 * nodes are built aside. A split locks the node, then each inner node up to the first with room,
 * and works downwards: a node is unlocked only when its new sibling hangs in its parent. Unlocking
 * it earlier would let a reader pass through a parent that does not know the sibling yet, into a
 * node that no longer has the key.
 *
 * Ascending keys go to the tail without a descent, and a full tail is left full.
 */
#include "engine/memtable_tree_int.h"

#include "base/point.h"

/* Heads whose first and last agree in this many bits are about used up: 5 of 8 bytes. */
#define CROWDED_SHIFT 24
#define FIND_MAX 16u /* keys looked for together */

static_assert(MT_LEAF_KEYS % 2 == 0 && MT_INNER_KEYS % 2 == 0, "heads are searched by halves");

typedef struct path {
    mt_inner *inner[MT_LEVELS_MAX];
    uint32_t index[MT_LEVELS_MAX];     /* of the child taken */
    mt_record *low[MT_LEVELS_MAX + 1]; /* fences of inner[i]; those of the leaf at depth */
    mt_record *high[MT_LEVELS_MAX + 1];
    unsigned depth;
    mt_leaf *leaf;
} path;

/* How a node's heads are taken. */
typedef struct heading {
    size_t skip;
    bool is_edge;
    bool is_new; /* the heads at hand do not fit it */
} heading;

#define RELAXED(p) atomic_load_explicit(&(p), memory_order_relaxed)
/* Release, so that no reader sees it without the odd sequence number before it. */
#define PUBLISH(p, v) atomic_store_explicit(&(p), (v), memory_order_release)

static inline void lock_node(mt_node *n)
{
    atomic_store_explicit(&n->seq, RELAXED(n->seq) + 1, memory_order_relaxed);
}

static inline void unlock_node(mt_node *n)
{
    atomic_store_explicit(&n->seq, RELAXED(n->seq) + 1, memory_order_release);
}

/* -- keys and heads -- */

int mt_prefix_cmp(const mt_node *n, vv_slice key, size_t skip)
{
    uint64_t words[MT_PREFIX_MAX / 8];
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        words[i] = atomic_load_explicit(&n->prefix[i], memory_order_acquire);
    size_t len = skip < sizeof words ? skip : sizeof words;
    size_t common = key.len < len ? key.len : len;
    int c = common == 0 ? 0 : memcmp(key.data, words, common);
    return c != 0 ? c : key.len < len ? -1 : 0;
}

static size_t common_len(vv_slice a, vv_slice b)
{
    size_t max = a.len < b.len ? a.len : b.len;
    size_t n = 0;
    while (n < max && a.data[n] == b.data[n])
        n++;
    return n;
}

static inline bool is_crowded(uint64_t first, uint64_t last)
{
    return (first ^ last) >> CROWDED_SHIFT == 0;
}

/* Under the node's lock or before it is published. */
static void set_heading(mt_node *n, const heading *h, vv_slice any_key)
{
    PUBLISH(n->skip, (uint16_t)h->skip);
    PUBLISH(n->is_edge, h->is_edge);
    if (!h->is_edge)
        return;
    uint64_t words[MT_PREFIX_MAX / 8] = {0};
    if (h->skip > 0)
        memcpy(words, any_key.data, h->skip);
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        PUBLISH(n->prefix[i], words[i]);
}

/*
 * The heading of one half of a split node, whose keys had old's: sorted keys[0 .. count), heads as
 * they are, the half's fences (NULL: none).
 */
static heading plan_heading(const mt_node *old, mt_record *const *keys, const uint64_t *heads,
                            size_t count, const mt_record *low, const mt_record *high)
{
    heading h = {.skip = RELAXED(old->skip), .is_edge = RELAXED(old->is_edge)};
    bool crowded = count > 1 && is_crowded(heads[0], heads[count - 1]);
    if (!h.is_edge && !crowded)
        return h;
    size_t shared;
    if (low != NULL && high != NULL) {
        shared = common_len(mt_key(low), mt_key(high));
        h.is_edge = h.skip > shared;
    } else {
        shared = count == 0 ? 0 : common_len(mt_key(keys[0]), mt_key(keys[count - 1]));
        shared = shared < MT_PREFIX_MAX ? shared : MT_PREFIX_MAX;
        h.is_edge = true;
    }
    if (crowded && shared > h.skip) {
        h.skip = shared;
        h.is_new = true;
    }
    return h;
}

static void take_heads(const heading *h, mt_record *const *keys, uint64_t *heads, size_t count)
{
    if (h->is_new)
        for (size_t i = 0; i < count; i++)
            heads[i] = engine_key_head(mt_key(keys[i]), h->skip);
}

/* An edge node about to get key: shorten its prefix to what key shares, or, when the heads are used
 * up, lengthen it to what all of them share. */
static void fit_edge(mt_node *n, _Atomic uint64_t *head, _Atomic(mt_record *) *keys, vv_slice key)
{
    size_t count = RELAXED(n->count);
    heading h = {.skip = RELAXED(n->skip), .is_edge = true};
    if (count == 0)
        return;
    vv_slice first = mt_key(RELAXED(keys[0]));
    if (mt_prefix_cmp(n, key, h.skip) != 0) {
        h.skip = common_len(first, key);
    } else {
        bool due =
            n->level > 0 ? count > 1 : count == MT_LEAF_KEYS / 4 || count == MT_LEAF_KEYS / 2;
        if (!due || !is_crowded(RELAXED(head[0]), RELAXED(head[count - 1])))
            return;
        size_t shared = common_len(first, mt_key(RELAXED(keys[count - 1])));
        size_t with_key = common_len(first, key);
        shared = shared < with_key ? shared : with_key;
        shared = shared < MT_PREFIX_MAX ? shared : MT_PREFIX_MAX;
        if (shared <= h.skip)
            return;
        h.skip = shared;
    }
    uint64_t heads[MT_LEAF_KEYS];
    for (size_t i = 0; i < count; i++)
        heads[i] = engine_key_head(mt_key(RELAXED(keys[i])), h.skip);
    lock_node(n);
    set_heading(n, &h, first);
    for (size_t i = 0; i < count; i++)
        PUBLISH(head[i], heads[i]);
    unlock_node(n);
}

/* -- nodes -- */

static mt_leaf *leaf_create(mt_nodes *nodes)
{
    mt_leaf *leaf = mt_arena_alloc(nodes->arena, sizeof *leaf, MT_NODE_ALIGN);
    memset((void *)leaf, 0, sizeof *leaf);
    memset((void *)leaf->head, 0xff, sizeof leaf->head);
    nodes->leaf_count++;
    return leaf;
}

static mt_inner *inner_create(mt_nodes *nodes, uint8_t level)
{
    mt_inner *inner = mt_arena_alloc(nodes->arena, sizeof *inner, MT_NODE_ALIGN);
    memset((void *)inner, 0, sizeof *inner);
    memset((void *)inner->head, 0xff, sizeof inner->head);
    inner->node.level = level;
    nodes->inner_count++;
    return inner;
}

size_t mt_tree_need(const mt_nodes *nodes, size_t key_count, size_t tree_count)
{
    /* A split leaves halves of at least 32 and 32, so beyond those that are full now one more
     * splits only after that many keys; every split may make a root, and as many splits above it.
     */
    size_t keys = key_count + tree_count; /* the directory has a key a tree */
    size_t splits = vv_min_u64(keys, nodes->leaf_count + keys / 31 + 1);
    size_t above =
        vv_min_u64(splits * (MT_LEVELS_MAX - 1), nodes->inner_count + splits / 15 + MT_LEVELS_MAX);
    return (splits + tree_count + 1) * (sizeof(mt_leaf) + MT_NODE_ALIGN) +
           (splits + above) * (sizeof(mt_inner) + MT_NODE_ALIGN);
}

/* The way to the leaf of key, for a split. */
static void find_path(const mt_tree *t, vv_slice key, path *p)
{
    mt_node *n = RELAXED(t->root);
    mt_record *low = NULL;
    mt_record *high = NULL;
    p->depth = 0;
    while (n->level > 0) {
        mt_inner *inner = (mt_inner *)n;
        uint32_t at = mt_child_index(inner, key);
        p->inner[p->depth] = inner;
        p->index[p->depth] = at;
        p->low[p->depth] = low;
        p->high[p->depth] = high;
        p->depth++;
        if (at > 0)
            low = RELAXED(inner->separator[at - 1]);
        if (at < RELAXED(n->count))
            high = RELAXED(inner->separator[at]);
        n = RELAXED(inner->child[at]);
    }
    p->low[p->depth] = low;
    p->high[p->depth] = high;
    p->leaf = (mt_leaf *)n;
}

/* -- one key more -- */

/* Shift up from at on and put the head in. Under the node's lock. */
static void put_head(_Atomic uint64_t *head, uint32_t count, uint32_t at, uint64_t x)
{
    for (uint32_t i = count; i > at; i--)
        PUBLISH(head[i], RELAXED(head[i - 1]));
    PUBLISH(head[at], x);
}

static void put_key(_Atomic(mt_record *) *keys, uint32_t count, uint32_t at, mt_record *r)
{
    for (uint32_t i = count; i > at; i--)
        PUBLISH(keys[i], RELAXED(keys[i - 1]));
    PUBLISH(keys[at], r);
}

static void leaf_put(mt_leaf *leaf, uint32_t at, mt_record *r)
{
    mt_node *n = &leaf->node;
    uint32_t count = RELAXED(n->count);
    uint64_t x = engine_key_head(mt_key(r), RELAXED(n->skip));
    lock_node(n);
    put_head(leaf->head, count, at, x);
    put_key(leaf->record, count, at, r);
    PUBLISH(n->count, (uint16_t)(count + 1));
    unlock_node(n);
}

/* Separator at, and the child behind it. Under the node's lock. */
static void inner_put(mt_inner *inner, uint32_t at, mt_record *separator, mt_node *child)
{
    uint32_t count = RELAXED(inner->node.count);
    put_head(inner->head, count, at, engine_key_head(mt_key(separator), RELAXED(inner->node.skip)));
    put_key(inner->separator, count, at, separator);
    for (uint32_t i = count + 1; i > at + 1; i--)
        PUBLISH(inner->child[i], RELAXED(inner->child[i - 1]));
    PUBLISH(inner->child[at + 1], child);
    PUBLISH(inner->node.count, (uint16_t)(count + 1));
}

/* -- splits -- */

/* Heads and keys of a node that is to hold count of them. */
static void fill_node(mt_node *n, _Atomic uint64_t *head, _Atomic(mt_record *) *keys,
                      const heading *h, const uint64_t *from_heads, mt_record *const *from_keys,
                      uint32_t count, uint32_t key_max)
{
    set_heading(n, h, count == 0 ? vv_slice_of(NULL, 0) : mt_key(from_keys[0]));
    for (uint32_t i = 0; i < count; i++) {
        PUBLISH(head[i], from_heads[i]);
        PUBLISH(keys[i], from_keys[i]);
    }
    for (uint32_t i = count; i < key_max; i++)
        PUBLISH(head[i], UINT64_MAX);
    PUBLISH(n->count, (uint16_t)count);
}

static void grow_root(mt_tree *t, mt_nodes *nodes, mt_record *separator, mt_node *left,
                      mt_node *right)
{
    mt_inner *root = inner_create(nodes, (uint8_t)(left->level + 1));
    heading h = {.skip = vv_min_u64(ENGINE_TABLE_PREFIX, separator->key_len), .is_edge = true};
    uint64_t head = engine_key_head(mt_key(separator), h.skip);
    fill_node(&root->node, root->head, root->separator, &h, &head, &separator, 1, MT_INNER_KEYS);
    PUBLISH(root->child[0], left);
    PUBLISH(root->child[1], right);
    PUBLISH(t->root, &root->node);
}

static void split_inner(mt_tree *t, mt_nodes *nodes, const path *p, unsigned depth,
                        mt_record *separator, mt_node *right);

/* Hang right, which begins at separator, behind the child taken at depth - 1. That child is locked
 * and stays so. */
static void hang(mt_tree *t, mt_nodes *nodes, const path *p, unsigned depth, mt_record *separator,
                 mt_node *left, mt_node *right)
{
    if (depth == 0) {
        grow_root(t, nodes, separator, left, right);
        return;
    }
    mt_inner *inner = p->inner[depth - 1];
    if (RELAXED(inner->node.is_edge))
        fit_edge(&inner->node, inner->head, inner->separator, mt_key(separator));
    if (RELAXED(inner->node.count) == MT_INNER_KEYS) {
        split_inner(t, nodes, p, depth - 1, separator, right);
        return;
    }
    lock_node(&inner->node);
    inner_put(inner, p->index[depth - 1], separator, right);
    unlock_node(&inner->node);
}

/* The full inner node at depth gets one child more: all its separators and the new one in order,
 * the one at cut goes up, those behind it to a new sibling. */
static void split_inner(mt_tree *t, mt_nodes *nodes, const path *p, unsigned depth,
                        mt_record *separator, mt_node *right)
{
    mt_inner *inner = p->inner[depth];
    uint32_t at = p->index[depth];
    uint64_t heads[MT_INNER_KEYS + 1];
    mt_record *keys[MT_INNER_KEYS + 1];
    mt_node *children[MT_INNER_KEYS + 2];
    for (uint32_t i = 0, from = 0; i <= MT_INNER_KEYS; i++) {
        bool is_new = i == at;
        keys[i] = is_new ? separator : RELAXED(inner->separator[from]);
        heads[i] = is_new ? engine_key_head(mt_key(separator), RELAXED(inner->node.skip))
                          : RELAXED(inner->head[from]);
        from += !is_new;
    }
    for (uint32_t i = 0, from = 0; i <= MT_INNER_KEYS + 1; i++) {
        bool is_new = i == at + 1;
        children[i] = is_new ? right : RELAXED(inner->child[from]);
        from += !is_new;
    }
    bool at_tail = at == MT_INNER_KEYS && p->high[depth] == NULL;
    uint32_t cut = at_tail ? MT_INNER_KEYS : MT_INNER_KEYS / 2;
    mt_record *up = keys[cut];
    uint32_t right_count = MT_INNER_KEYS - cut;

    mt_inner *sibling = inner_create(nodes, inner->node.level);
    heading hr = plan_heading(&inner->node, keys + cut + 1, heads + cut + 1, right_count, up,
                              p->high[depth]);
    if (right_count == 0)
        hr = (heading){.is_edge = true}; /* no key to take a prefix from */
    take_heads(&hr, keys + cut + 1, heads + cut + 1, right_count);
    fill_node(&sibling->node, sibling->head, sibling->separator, &hr, heads + cut + 1,
              keys + cut + 1, right_count, MT_INNER_KEYS);
    for (uint32_t i = 0; i <= right_count; i++)
        PUBLISH(sibling->child[i], children[cut + 1 + i]);
    heading hl = plan_heading(&inner->node, keys, heads, cut, p->low[depth], up);
    take_heads(&hl, keys, heads, cut);

    lock_node(&inner->node);
    hang(t, nodes, p, depth, up, &inner->node, &sibling->node);
    VV_POINT("memtable.split_inner");
    fill_node(&inner->node, inner->head, inner->separator, &hl, heads, keys, cut, MT_INNER_KEYS);
    for (uint32_t i = 0; i <= cut; i++)
        PUBLISH(inner->child[i], children[i]);
    unlock_node(&inner->node);
}

/* A new tail with its first key: skip what it shares with the one before, less some bytes that will
 * count up as ascending keys go on. */
static heading tail_heading(const mt_record *before, const mt_record *r)
{
    size_t shared = common_len(mt_key(before), mt_key(r));
    shared = shared < MT_PREFIX_MAX ? shared : MT_PREFIX_MAX;
    return (heading){.skip = shared > 4 ? shared - 4 : 0, .is_edge = true, .is_new = true};
}

/* The full leaf gets one key more: the first cut of the 65 stay. */
static void split_leaf(mt_tree *t, mt_nodes *nodes, const path *p, uint32_t at, mt_record *r,
                       uint32_t cut)
{
    mt_leaf *leaf = p->leaf;
    uint64_t heads[MT_LEAF_KEYS + 1];
    mt_record *keys[MT_LEAF_KEYS + 1];
    for (uint32_t i = 0, from = 0; i <= MT_LEAF_KEYS; i++) {
        bool is_new = i == at;
        keys[i] = is_new ? r : RELAXED(leaf->record[from]);
        heads[i] = is_new ? engine_key_head(mt_key(r), RELAXED(leaf->node.skip))
                          : RELAXED(leaf->head[from]);
        from += !is_new;
    }
    mt_record *separator = keys[cut];
    uint32_t right_count = MT_LEAF_KEYS + 1 - cut;
    mt_record *low = p->low[p->depth];
    mt_record *high = p->high[p->depth];

    mt_leaf *sibling = leaf_create(nodes);
    heading hr = cut == MT_LEAF_KEYS ? tail_heading(keys[cut - 1], r)
                                     : plan_heading(&leaf->node, keys + cut, heads + cut,
                                                    right_count, separator, high);
    heading hl = plan_heading(&leaf->node, keys, heads, cut, low, separator);
    take_heads(&hr, keys + cut, heads + cut, right_count);
    fill_node(&sibling->node, sibling->head, sibling->record, &hr, heads + cut, keys + cut,
              right_count, MT_LEAF_KEYS);
    take_heads(&hl, keys, heads, cut);
    mt_node *next = RELAXED(leaf->node.next);
    PUBLISH(sibling->node.next, next);
    PUBLISH(sibling->node.prev, &leaf->node);

    lock_node(&leaf->node);
    hang(t, nodes, p, p->depth, separator, &leaf->node, &sibling->node);
    VV_POINT("memtable.split_leaf");
    fill_node(&leaf->node, leaf->head, leaf->record, &hl, heads, keys, cut, MT_LEAF_KEYS);
    PUBLISH(leaf->node.next, &sibling->node);
    unlock_node(&leaf->node);
    leaf->node.splits++;
    if (next != NULL)
        PUBLISH(next->prev, &sibling->node);
    else
        t->tail = sibling;
}

/* -- insert -- */

static void plant(mt_tree *t, mt_nodes *nodes, mt_record *r)
{
    mt_leaf *leaf = leaf_create(nodes);
    heading h = {.skip = r->key_len > ENGINE_TABLE_PREFIX ? ENGINE_TABLE_PREFIX : 0,
                 .is_edge = true};
    uint64_t head = engine_key_head(mt_key(r), h.skip);
    fill_node(&leaf->node, leaf->head, leaf->record, &h, &head, &r, 1, MT_LEAF_KEYS);
    t->tail = leaf;
    PUBLISH(t->root, &leaf->node);
}

static inline bool is_behind_tail(const mt_tree *t, vv_slice key)
{
    uint32_t count = RELAXED(t->tail->node.count);
    return vv_slice_cmp(key, mt_key(RELAXED(t->tail->record[count - 1]))) > 0;
}

static inline mt_node *step_down(const mt_node *n, vv_slice key)
{
    const mt_inner *inner = (const mt_inner *)n;
    mt_node *child = RELAXED(inner->child[mt_child_index(inner, key)]);
    mt_prefetch_node(child, n->level - 1u);
    return child;
}

void mt_tree_find_leaves(mt_tree *const *trees, const vv_slice *keys, mt_tree_hint *const *hints,
                         size_t count)
{
    mt_node *at[FIND_MAX];
    assert(count <= FIND_MAX);
    for (size_t i = 0; i < count; i++) {
        mt_tree *t = trees[i];
        at[i] = t->tail == NULL              ? NULL
                : is_behind_tail(t, keys[i]) ? &t->tail->node
                                             : RELAXED(t->root);
    }
    for (bool on_the_way = true; on_the_way;) {
        on_the_way = false;
        for (size_t i = 0; i < count; i++) {
            if (at[i] == NULL || at[i]->level == 0)
                continue;
            at[i] = step_down(at[i], keys[i]);
            on_the_way = true;
        }
    }
    for (size_t i = 0; i < count; i++)
        if (at[i] != NULL)
            *hints[i] = (mt_tree_hint){.leaf = (mt_leaf *)at[i], .splits = at[i]->splits};
}

void mt_tree_insert(mt_tree *t, mt_nodes *nodes, mt_record *r, const mt_tree_hint *hint)
{
    vv_slice key = mt_key(r);
    if (t->tail == NULL) {
        plant(t, nodes, r);
        return;
    }
    bool at_tail = is_behind_tail(t, key);
    mt_leaf *leaf = at_tail ? t->tail : hint->leaf;
    if (leaf == NULL || (!at_tail && leaf->node.splits != hint->splits)) {
        mt_node *n = RELAXED(t->root);
        while (n->level > 0)
            n = step_down(n, key);
        leaf = (mt_leaf *)n;
    }
    uint32_t count = RELAXED(leaf->node.count);
    bool new_tail = at_tail && count == MT_LEAF_KEYS; /* the key goes to a leaf of its own */
    if (RELAXED(leaf->node.is_edge) && !new_tail)
        fit_edge(&leaf->node, leaf->head, leaf->record, key);
    uint32_t at = at_tail ? count : mt_leaf_index(leaf, key);
    if (count < MT_LEAF_KEYS) {
        leaf_put(leaf, at, r);
        return;
    }
    path p;
    find_path(t, key, &p);
    assert(p.leaf == leaf);
    split_leaf(t, nodes, &p, at, r, new_tail ? MT_LEAF_KEYS : MT_LEAF_KEYS / 2);
}
