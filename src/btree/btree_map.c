/*
 * btree_map.c - the copy-on-write radix behind btree_map.h.
 *
 * A node may be changed in place when every node on the way to it has one reference: then no
 * snapshot reaches it. Otherwise it is copied, and its children get a reference more.
 */
#include "btree/btree_map.h"

#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"

#define WAYS 256u
#define BITS 8u

struct btree_map_node {
    _Atomic uint32_t refs;
    uint32_t level; /* 0: holds places */
    vv_budget *budget;
    union {
        btree_map_node *child[WAYS];
        struct {
            uint64_t at[WAYS];
            uint32_t sum[WAYS];
        } leaf;
    } u;
};

static size_t size_of(uint32_t level)
{
    return offsetof(btree_map_node, u) + (level == 0 ? WAYS * 12 : WAYS * sizeof(btree_map_node *));
}

static btree_map_node *new_node(vv_budget *budget, uint32_t level)
{
    btree_map_node *n = vv_alloc(size_of(level));
    if (n == NULL)
        return NULL;
    atomic_init(&n->refs, 1);
    n->level = level;
    n->budget = budget;
    if (level == 0) {
        memset(n->u.leaf.at, 0xff, sizeof n->u.leaf.at);
        memset(n->u.leaf.sum, 0, sizeof n->u.leaf.sum);
    } else {
        memset(n->u.child, 0, sizeof n->u.child);
    }
    vv_budget_take(budget, VV_BUDGET_CACHE, size_of(level));
    return n;
}

static void unref(btree_map_node *n)
{
    if (n == NULL || atomic_fetch_sub_explicit(&n->refs, 1, memory_order_acq_rel) > 1)
        return;
    for (uint32_t i = 0; n->level > 0 && i < WAYS; i++)
        unref(n->u.child[i]);
    vv_budget_release(n->budget, VV_BUDGET_CACHE, size_of(n->level));
    vv_free(n);
}

static void ref(btree_map_node *n)
{
    if (n != NULL)
        atomic_fetch_add_explicit(&n->refs, 1, memory_order_relaxed);
}

void btree_map_fini(btree_map *m)
{
    unref(m->root);
    btree_map_init(m, m->budget);
}

void btree_map_share(const btree_map *m, btree_map *out)
{
    *out = *m;
    ref(m->root);
}

static bool reaches(const btree_map *m, uint32_t id)
{
    return m->depth * BITS >= 32 || id >> (m->depth * BITS) == 0;
}

btree_place btree_map_get(const btree_map *m, uint32_t id)
{
    const btree_place none = {.at = BTREE_NOWHERE};
    const btree_map_node *n = m->root;
    if (n == NULL || !reaches(m, id))
        return none;
    while (n->level > 0) {
        n = n->u.child[id >> (n->level * BITS) & (WAYS - 1)];
        if (n == NULL)
            return none;
    }
    uint32_t i = id & (WAYS - 1);
    return (btree_place){.at = n->u.leaf.at[i], .sum = n->u.leaf.sum[i]};
}

/* Make *slot a node that only we reach. */
static vv_status make_own(btree_map_node **slot, vv_error *err)
{
    btree_map_node *old = *slot;
    assert(old != NULL);
    if (atomic_load_explicit(&old->refs, memory_order_acquire) == 1)
        return VV_OK;
    btree_map_node *n = vv_alloc(size_of(old->level));
    if (n == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for the mapping of pages");
    memcpy(n, old, size_of(old->level));
    atomic_init(&n->refs, 1);
    for (uint32_t i = 0; n->level > 0 && i < WAYS; i++)
        ref(n->u.child[i]);
    vv_budget_take(n->budget, VV_BUDGET_CACHE, size_of(n->level));
    *slot = n;
    unref(old);
    return VV_OK;
}

/* More levels on top until id is in reach. */
static vv_status grow(btree_map *m, uint32_t id, vv_error *err)
{
    while (m->root == NULL || !reaches(m, id)) {
        btree_map_node *top = new_node(m->budget, m->depth);
        if (top == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for the mapping of pages");
        if (m->root != NULL)
            top->u.child[0] = m->root;
        m->root = top;
        m->depth++;
    }
    return VV_OK;
}

vv_status btree_map_set(btree_map *m, uint32_t id, btree_place place, vv_error *err)
{
    vv_status st = VV_OK;
    if (place.at == BTREE_NOWHERE && btree_map_get(m, id).at == BTREE_NOWHERE)
        return VV_OK;
    st = grow(m, id, err);
    btree_map_node **slot = &m->root;
    while (st == VV_OK) {
        st = make_own(slot, err);
        btree_map_node *n = *slot;
        if (st != VV_OK || n->level == 0)
            break;
        slot = &n->u.child[id >> (n->level * BITS) & (WAYS - 1)];
        if (*slot == NULL && (*slot = new_node(m->budget, n->level - 1)) == NULL)
            st = vv_fail(err, VV_NO_MEMORY, "no memory for the mapping of pages");
    }
    if (st != VV_OK)
        return st;
    btree_map_node *n = *slot;
    assert(n != NULL);
    uint32_t i = id & (WAYS - 1);
    m->count += (place.at != BTREE_NOWHERE) - (n->u.leaf.at[i] != BTREE_NOWHERE);
    n->u.leaf.at[i] = place.at;
    n->u.leaf.sum[i] = place.at == BTREE_NOWHERE ? 0 : place.sum;
    return VV_OK;
}

/* ---- differences ---- */

typedef struct walk {
    vv_status (*each)(void *ctx, uint32_t id, btree_place place);
    void *ctx;
} walk;

static vv_status diff_leaf(const walk *w, const btree_map_node *old, const btree_map_node *now,
                           uint32_t base)
{
    for (uint32_t i = 0; i < WAYS; i++) {
        btree_place a = {.at = BTREE_NOWHERE};
        btree_place b = a;
        if (old != NULL)
            a = (btree_place){old->u.leaf.at[i], old->u.leaf.sum[i]};
        if (now != NULL)
            b = (btree_place){now->u.leaf.at[i], now->u.leaf.sum[i]};
        if (a.at == b.at && a.sum == b.sum)
            continue;
        vv_status st = w->each(w->ctx, base + i, b);
        if (st != VV_OK)
            return st;
    }
    return VV_OK;
}

static vv_status diff_node(const walk *w, const btree_map_node *old, const btree_map_node *now,
                           uint32_t level, uint32_t base)
{
    if (old == now)
        return VV_OK;
    if (level == 0)
        return diff_leaf(w, old, now, base);
    for (uint32_t i = 0; i < WAYS; i++) {
        /* The older map may have fewer levels: then it hangs below child 0 of the newer one's. */
        const btree_map_node *a = old == NULL           ? NULL
                                  : old->level == level ? old->u.child[i]
                                  : i == 0              ? old
                                                        : NULL;
        const btree_map_node *b = now == NULL           ? NULL
                                  : now->level == level ? now->u.child[i]
                                  : i == 0              ? now
                                                        : NULL;
        vv_status st = diff_node(w, a, b, level - 1, base | i << (level * BITS));
        if (st != VV_OK)
            return st;
    }
    return VV_OK;
}

vv_status btree_map_diff(const btree_map *old, const btree_map *now,
                         vv_status (*each)(void *ctx, uint32_t id, btree_place place), void *ctx)
{
    walk w = {each, ctx};
    const btree_map_node *a = old == NULL ? NULL : old->root;
    uint32_t depth = now->depth;
    if (old != NULL && old->depth > depth)
        depth = old->depth;
    return depth == 0 ? VV_OK : diff_node(&w, a, now->root, depth - 1, 0);
}
