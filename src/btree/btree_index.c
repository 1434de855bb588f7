/*
 * btree_index.c - nodes: making, searching, loading from index pages, walking.
 */
#include "btree/btree_index.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"

/* ---- lists ---- */

void btree_list_init(btree_list *l)
{
    *l = (btree_list){0};
    vv_buf_init(&l->keys, UINT32_MAX);
}

void btree_list_reset(btree_list *l, uint32_t level)
{
    for (uint32_t i = 0; level > 1 && i < l->count; i++)
        btree_inode_unref(l->child[i].u.node);
    l->count = 0;
    vv_buf_reset(&l->keys);
}

void btree_list_fini(btree_list *l, uint32_t level)
{
    btree_list_reset(l, level);
    vv_free(l->child);
    vv_free(l->key_at);
    vv_free(l->key_len);
    vv_buf_fini(&l->keys);
    btree_list_init(l);
}

static vv_status grow_list(btree_list *l, vv_error *err)
{
    uint32_t cap = l->cap == 0 ? 64 : l->cap * 2;
    btree_child *child = vv_realloc(l->child, cap * sizeof *child);
    if (child != NULL)
        l->child = child;
    uint32_t *at = vv_realloc(l->key_at, cap * sizeof *at);
    if (at != NULL)
        l->key_at = at;
    uint32_t *len = vv_realloc(l->key_len, cap * sizeof *len);
    if (len != NULL)
        l->key_len = len;
    if (child == NULL || at == NULL || len == NULL)
        return vv_fail(err, VV_NO_MEMORY, "index: no memory for %u children", cap);
    l->cap = cap;
    return VV_OK;
}

vv_status btree_list_add(btree_list *l, const btree_child *child, vv_slice separator, vv_error *err)
{
    vv_status st = l->count < l->cap ? VV_OK : grow_list(l, err);
    if (st != VV_OK)
        return st;
    size_t at = l->keys.len;
    vv_buf_append_slice(&l->keys, separator);
    if (l->keys.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "index: no memory for a separator");
    l->child[l->count] = *child;
    l->key_at[l->count] = (uint32_t)at;
    l->key_len[l->count] = (uint32_t)separator.len;
    l->count++;
    return VV_OK;
}

/* ---- nodes ---- */

static uint64_t head_of(vv_slice key, size_t from)
{
    if (VV_LIKELY(key.len >= from + 8))
        return vv_get_be64(key.data + from);
    uint8_t padded[8] = {0};
    if (key.len > from)
        memcpy(padded, key.data + from, key.len - from);
    return vv_get_be64(padded);
}

static uint32_t common_prefix(vv_slice a, vv_slice b)
{
    size_t max = a.len < b.len ? a.len : b.len;
    size_t n = 0;
    while (n < max && a.data[n] == b.data[n])
        n++;
    return (uint32_t)n;
}

static btree_inode *new_node(uint32_t count, size_t key_bytes, vv_budget *budget)
{
    size_t size = sizeof(btree_inode) + count * sizeof(btree_child) +
                  (count - 1) * sizeof(uint64_t) + count * sizeof(uint32_t) + key_bytes;
    btree_inode *n = vv_alloc(size);
    if (n == NULL)
        return NULL;
    memset(n, 0, sizeof *n);
    atomic_init(&n->refs, 1);
    n->count = count;
    n->size = (uint32_t)size;
    n->budget = budget;
    uint64_t *heads = (uint64_t *)(void *)(n + 1);
    n->heads = heads;
    n->child = (btree_child *)(void *)(heads + count - 1);
    uint32_t *offs = (uint32_t *)(void *)(n->child + count);
    n->offs = offs;
    n->keys = (uint8_t *)(offs + count);
    vv_budget_take(budget, VV_BUDGET_CACHE, size);
    return n;
}

vv_status btree_inode_create(const btree_list *l, uint32_t from, uint32_t to, uint32_t id,
                             uint32_t level, vv_budget *budget, btree_inode **out, vv_error *err)
{
    assert(to > from && l->child != NULL);
    uint32_t count = to - from;
    size_t bytes = 0;
    for (uint32_t i = from + 1; i < to; i++)
        bytes += l->key_len[i];
    btree_inode *n = new_node(count, bytes, budget);
    if (n == NULL)
        return vv_fail(err, VV_NO_MEMORY, "index: no memory for a node of %u children", count);
    n->id = id;
    n->level = level;
    memcpy(n->child, l->child + from, count * sizeof *n->child);
    uint32_t *offs = (uint32_t *)(uintptr_t)n->offs;
    uint64_t *heads = (uint64_t *)(uintptr_t)n->heads;
    uint8_t *keys = (uint8_t *)(uintptr_t)n->keys;
    offs[0] = 0;
    if (count > 1)
        n->plen = common_prefix(btree_list_separator(l, from + 1), btree_list_separator(l, to - 1));
    for (uint32_t i = 1; i < count; i++) {
        vv_slice key = btree_list_separator(l, from + i);
        if (key.len > 0)
            memcpy(keys + offs[i - 1], key.data, key.len);
        offs[i] = offs[i - 1] + (uint32_t)key.len;
        heads[i - 1] = head_of(key, n->plen);
    }
    *out = n;
    return VV_OK;
}

void btree_inode_unref(btree_inode *n)
{
    if (n == NULL || atomic_fetch_sub_explicit(&n->refs, 1, memory_order_acq_rel) > 1)
        return;
    for (uint32_t i = 0; n->level > 1 && i < n->count; i++)
        btree_inode_unref(n->child[i].u.node);
    vv_budget_release(n->budget, VV_BUDGET_CACHE, n->size);
    vv_free(n);
}

vv_status btree_inode_clone(const btree_inode *n, btree_inode **out, vv_error *err)
{
    btree_inode *c = new_node(n->count, n->offs[n->count - 1], n->budget);
    if (c == NULL)
        return vv_fail(err, VV_NO_MEMORY, "index: no memory for a node of %u children", n->count);
    c->id = n->id;
    c->level = n->level;
    c->plen = n->plen;
    memcpy((uint8_t *)(c + 1), (const uint8_t *)(n + 1), n->size - sizeof *n);
    for (uint32_t i = 0; c->level > 1 && i < c->count; i++)
        btree_inode_ref(c->child[i].u.node);
    *out = c;
    return VV_OK;
}

uint32_t btree_inode_find(const btree_inode *n, vv_slice key)
{
    uint32_t count = n->count - 1;
    if (count == 0)
        return 0;
    if (n->plen > 0) {
        size_t min = key.len < n->plen ? key.len : n->plen;
        int c = min == 0 ? 0 : memcmp(key.data, n->keys, min);
        if (c != 0 || key.len < n->plen)
            return c > 0 ? count : 0;
    }
    uint64_t head = head_of(key, n->plen);
    uint32_t lo = 0; /* separators below the head: branchless */
    for (uint32_t left = count; left > 0;) {
        uint32_t half = (left + 1) / 2;
        lo += n->heads[lo + half - 1] < head ? half : 0;
        left -= half;
    }
    if (lo == count || n->heads[lo] != head)
        return lo;
    uint32_t hi = lo + 1;
    while (hi < count && n->heads[hi] == head)
        hi++;
    while (lo < hi) { /* equal heads: whole keys */
        uint32_t mid = (lo + hi) / 2;
        if (vv_slice_cmp(btree_inode_separator(n, mid + 1), key) <= 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

uint64_t btree_inode_leaves(const btree_inode *n)
{
    if (n == NULL)
        return 0;
    if (n->level == 1)
        return n->count;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n->count; i++)
        sum += btree_inode_leaves(n->child[i].u.node);
    return sum;
}

/* ---- loading ---- */

typedef struct loader {
    btree_store *store;
    const btree_map *map;
    btree_file *const *files;
    uint32_t file_count;
    vv_budget *budget;
    uint64_t *left; /* nodes that may still come: index pages that name each other end here */
} loader;

static vv_status load_node(const loader *ld, uint32_t id, uint32_t level, btree_inode **out,
                           vv_error *err);

/* The child's node or place; then into the list. */
static vv_status add_child(const loader *ld, btree_list *l, uint32_t id, uint32_t level,
                           vv_slice separator, vv_error *err)
{
    btree_child child = {.id = id};
    vv_status st = VV_OK;
    if (level > 1) {
        st = load_node(ld, id, level - 1, &child.u.node, err);
    } else {
        btree_place place = btree_map_get(ld->map, id);
        child.u.file = btree_store_find_file(ld->store, ld->files, ld->file_count, place.at);
        child.page = btree_store_page_of(ld->store, place.at);
        child.sum = place.sum;
        if (child.u.file == NULL)
            st = vv_fail(err, VV_CORRUPT, "page %u: the mapping has no place for it", id);
    }
    if (st == VV_OK) {
        st = btree_list_add(l, &child, separator, err);
        if (st != VV_OK && level > 1)
            btree_inode_unref(child.u.node);
    }
    return st;
}

static vv_status load_children(const loader *ld, const uint8_t *page, uint32_t level, btree_list *l,
                               vv_error *err)
{
    btree_iter *it = vv_alloc(sizeof *it);
    if (it == NULL)
        return vv_fail(err, VV_NO_MEMORY, "index: no memory");
    vv_status st = btree_iter_open(it, page, ld->store->page_size, err);
    btree_page_type want = level == 1 ? BTREE_LEAF_INDEX : BTREE_INDEX;
    if (st == VV_OK && btree_page_type_of(page) != want)
        st = vv_fail(err, VV_CORRUPT, "page type %u on level %u", page[8], level);
    if (st == VV_OK)
        st = add_child(ld, l, btree_index_leftmost(page), level, (vv_slice){0}, err);
    vv_slice key;
    uint32_t id;
    while (st == VV_OK && (st = btree_iter_next_child(it, &key, &id, err)) == VV_OK)
        st = add_child(ld, l, id, level, key, err);
    vv_free(it);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static vv_status load_node(const loader *ld, uint32_t id, uint32_t level, btree_inode **out,
                           vv_error *err)
{
    btree_store *store = ld->store;
    if ((*ld->left)-- == 0)
        return vv_fail(err, VV_CORRUPT, "the index has more pages than the mapping");
    btree_list l;
    btree_list_init(&l);
    uint8_t *page = NULL;
    vv_status st = btree_store_take_page(store, &page, err);
    if (st == VV_OK)
        st = btree_store_read_id(store, ld->map, ld->files, ld->file_count, id, page, err);
    if (st == VV_OK && page != NULL)
        st = load_children(ld, page, level, &l, err);
    btree_store_give_page(store, page);
    if (st == VV_OK)
        st = btree_inode_create(&l, 0, l.count, id, level, ld->budget, out, err);
    if (st == VV_OK)
        l.count = 0; /* the node has the references */
    btree_list_fini(&l, level);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "index page %u", id);
}

vv_status btree_index_load(btree_store *store, const btree_map *map, btree_file *const *files,
                           uint32_t file_count, btree_root root, btree_inode **out, vv_error *err)
{
    *out = NULL;
    if (root.id == BTREE_NO_PAGE)
        return VV_OK;
    if (root.level == 0 || root.level > BTREE_LEVELS_MAX)
        return vv_fail(err, VV_CORRUPT, "a tree of %u levels", root.level);
    uint64_t left = map->count;
    loader ld = {store, map, files, file_count, store->budget, &left};
    return load_node(&ld, root.id, root.level, out, err);
}

/* ---- walking ---- */

/* From the node on a level down, always to the first or always to the last child. */
static void descend(btree_path *p, uint32_t level, bool last)
{
    for (; level > 1; level--) {
        const btree_inode *n = p->node[level]->child[p->index[level]].u.node;
        p->node[level - 1] = n;
        p->index[level - 1] = last ? n->count - 1 : 0;
    }
}

void btree_path_seek(btree_path *p, const btree_inode *root, vv_slice key)
{
    const btree_inode *n = root;
    p->levels = root->level;
    for (;;) {
        uint32_t i = btree_inode_find(n, key);
        p->node[n->level] = n;
        p->index[n->level] = i;
        if (n->level == 1)
            return;
        n = n->child[i].u.node;
    }
}

void btree_path_first(btree_path *p, const btree_inode *root)
{
    p->levels = root->level;
    p->node[root->level] = root;
    p->index[root->level] = 0;
    descend(p, root->level, false);
}

void btree_path_last(btree_path *p, const btree_inode *root)
{
    p->levels = root->level;
    p->node[root->level] = root;
    p->index[root->level] = root->count - 1;
    descend(p, root->level, true);
}

bool btree_path_next(btree_path *p)
{
    uint32_t level = 1;
    while (level <= p->levels && p->index[level] + 1 == p->node[level]->count)
        level++;
    if (level > p->levels)
        return false;
    p->index[level]++;
    descend(p, level, false);
    return true;
}

bool btree_path_prev(btree_path *p)
{
    uint32_t level = 1;
    while (level <= p->levels && p->index[level] == 0)
        level++;
    if (level > p->levels)
        return false;
    p->index[level]--;
    descend(p, level, true);
    return true;
}

bool btree_path_upper(const btree_path *p, vv_slice *out)
{
    for (uint32_t level = 1; level <= p->levels; level++) {
        const btree_inode *n = p->node[level];
        if (p->index[level] + 1 < n->count) {
            *out = btree_inode_separator(n, p->index[level] + 1);
            return true;
        }
    }
    return false;
}
