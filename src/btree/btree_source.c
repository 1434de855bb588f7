/*
 * btree_source.c - a tree as an ordered stream of versions.
 *
 * It stands on entry `index` of the leaf that `path` leads to and keeps that leaf's frame pinned,
 * so a step inside a leaf touches nothing shared. The main tree has one version of each key; the
 * history has the others, its keys taken apart on the way out.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "btree/btree_int.h"

typedef struct tree_source {
    engine_source base;
    btree_tree *tree;
    const btree_inode *root;
    bool history;
    bool scan;
    bool leaves_values;
    btree_path path;
    bool placed;      /* path stands on a leaf */
    pgc_frame *frame; /* of that leaf, pinned; or NULL */
    btree_leaf leaf;
    uint32_t index;
    pgc_frame *value;                 /* pinned: of a value that is apart */
    uint8_t user_key[ENGINE_KEY_MAX]; /* of the history */
    uint8_t key[BTREE_KEY_BUF];
} tree_source;

static tree_source *source_of(engine_source *src)
{
    return VV_CONTAINER_OF(src, tree_source, base);
}

static void drop_value(tree_source *s)
{
    if (s->value != NULL)
        pgc_unpin(s->value);
    s->value = NULL;
}

static void drop_leaf(tree_source *s)
{
    if (s->frame != NULL)
        pgc_unpin(s->frame);
    s->frame = NULL;
}

/* Pin the leaf that the path leads to. */
static vv_status enter_leaf(tree_source *s, vv_error *err)
{
    const btree_child *c = btree_path_leaf(&s->path);
    btree_store *store = s->tree->store;
    drop_leaf(s);
    s->placed = false;
    vv_status st = s->scan
                       ? btree_store_scan_leaf(store, c->u.file, c->page, c->sum, &s->frame, err)
                       : btree_store_get_leaf(store, c->u.file, c->page, c->sum, &s->frame, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "leaf %u", c->id);
    btree_leaf_lay_out(pgc_data(s->frame), &s->leaf);
    btree_leaf_load_prefix(&s->leaf, s->key);
    s->placed = true;
    return VV_OK;
}

/* A new seek into the leaf that is pinned already needs no look at the cache. */
static vv_status enter_leaf_of(tree_source *s, vv_slice key, vv_error *err)
{
    const btree_child *was = s->placed ? btree_path_leaf(&s->path) : NULL;
    btree_path_seek(&s->path, s->root, key);
    if (was != NULL && was == btree_path_leaf(&s->path))
        return VV_OK;
    return enter_leaf(s, err);
}

static vv_status show_apart(tree_source *s, const btree_found *found, vv_error *err)
{
    return btree_value_load(s->tree, found, &s->value, &s->base.item.value, err);
}

static vv_status show(tree_source *s, uint32_t index, vv_error *err)
{
    btree_found found;
    engine_item *item = &s->base.item;
    s->index = index;
    item->key = btree_leaf_at(&s->leaf, index, s->key, &found);
    item->value = found.value;
    item->version = found.version;
    item->expires_ns = found.expires_ns;
    item->kind = ENGINE_PUT;
    if (s->history) {
        size_t len = 0;
        if (!btree_history_parse(item->key, s->user_key, &len, &item->version, &item->kind))
            return vv_fail(err, VV_CORRUPT, "leaf %u: entry %u is no version of a key",
                           btree_path_leaf(&s->path)->id, index);
        item->key = vv_slice_of(s->user_key, len);
    }
    if (VV_UNLIKELY(s->value != NULL))
        drop_value(s);
    if (VV_UNLIKELY(found.flags & BTREE_VALUE_APART) && !s->leaves_values) {
        vv_status st = show_apart(s, &found, err);
        if (st != VV_OK)
            return st;
    }
    s->base.valid = true;
    return VV_OK;
}

static vv_status tree_next(engine_source *src, vv_error *err)
{
    tree_source *s = source_of(src);
    s->base.valid = false;
    uint32_t index = s->index + 1;
    while (index >= s->leaf.n) {
        if (!btree_path_next(&s->path))
            return VV_OK;
        vv_status st = enter_leaf(s, err);
        if (st != VV_OK)
            return st;
        index = 0;
    }
    return show(s, index, err);
}

static vv_status tree_prev(engine_source *src, vv_error *err)
{
    tree_source *s = source_of(src);
    s->base.valid = false;
    uint32_t index = s->index;
    while (index == 0) {
        if (!btree_path_prev(&s->path))
            return VV_OK;
        vv_status st = enter_leaf(s, err);
        if (st != VV_OK)
            return st;
        index = s->leaf.n;
    }
    return show(s, index - 1, err);
}

/* The first entry at or after a key of the tree. */
static vv_status seek_entry(tree_source *s, vv_slice key, vv_error *err)
{
    s->base.valid = false;
    if (s->root == NULL)
        return VV_OK;
    vv_status st = enter_leaf_of(s, key, err);
    if (st != VV_OK)
        return st;
    uint32_t i = btree_leaf_seek(&s->leaf, key);
    if (i < s->leaf.n)
        return show(s, i, err);
    s->index = s->leaf.n;
    return tree_next(&s->base, err);
}

static vv_status seek_entry_below(tree_source *s, vv_slice key, vv_error *err)
{
    s->base.valid = false;
    if (s->root == NULL)
        return VV_OK;
    vv_status st;
    if (key.data == NULL && key.len == 0) {
        btree_path_last(&s->path, s->root);
        st = enter_leaf(s, err);
        s->index = st == VV_OK ? s->leaf.n : 0;
    } else {
        st = enter_leaf_of(s, key, err);
        s->index = st == VV_OK ? btree_leaf_seek(&s->leaf, key) : 0;
    }
    return st == VV_OK ? tree_prev(&s->base, err) : st;
}

/* ---- the main tree: one version a key ---- */

static vv_status main_seek(engine_source *src, vv_slice key, int64_t version, vv_error *err)
{
    tree_source *s = source_of(src);
    vv_status st = seek_entry(s, key, err);
    if (st == VV_OK && s->base.valid && s->base.item.version > version &&
        vv_slice_eq(s->base.item.key, key))
        st = tree_next(src, err);
    return st;
}

static vv_status main_seek_below(engine_source *src, vv_slice key, vv_error *err)
{
    return seek_entry_below(source_of(src), key, err);
}

static vv_status main_next_key(engine_source *src, int64_t version, vv_error *err)
{
    vv_status st;
    do
        st = tree_next(src, err);
    while (st == VV_OK && src->valid && VV_UNLIKELY(src->item.version > version));
    return st;
}

static vv_status main_prev_key(engine_source *src, int64_t version, vv_error *err)
{
    vv_status st;
    do
        st = tree_prev(src, err);
    while (st == VV_OK && src->valid && VV_UNLIKELY(src->item.version > version));
    return st;
}

static vv_status main_seek_below_at(engine_source *src, vv_slice key, int64_t version,
                                    vv_error *err)
{
    vv_status st = main_seek_below(src, key, err);
    if (st == VV_OK && src->valid && src->item.version > version)
        st = main_prev_key(src, version, err);
    return st;
}

/* ---- the history ---- */

static vv_status history_seek(engine_source *src, vv_slice key, int64_t version, vv_error *err)
{
    uint8_t target[BTREE_KEY_MAX];
    size_t len = 0;
    if (version >= 0)
        len = btree_history_key(target, key, version, ENGINE_PUT);
    else { /* behind all versions of key */
        len = btree_history_key(target, key, 0, ENGINE_DELETE);
        target[len - 1] = 2;
    }
    return seek_entry(source_of(src), vv_slice_of(target, len), err);
}

static vv_status history_seek_below(engine_source *src, vv_slice key, vv_error *err)
{
    uint8_t target[BTREE_KEY_MAX];
    if (key.data == NULL && key.len == 0)
        return seek_entry_below(source_of(src), key, err);
    size_t len = btree_history_floor(target, key);
    return seek_entry_below(source_of(src), vv_slice_of(target, len), err);
}

static void tree_close(engine_source *src)
{
    tree_source *s = source_of(src);
    drop_value(s);
    drop_leaf(s);
    vv_free(s);
}

static const engine_source_ops main_ops = {
    .seek = main_seek,
    .seek_below = main_seek_below,
    .next = tree_next,
    .prev = tree_prev,
    .close = tree_close,
    .next_key = main_next_key,
    .prev_key = main_prev_key,
    .seek_below_at = main_seek_below_at,
};

static const engine_source_ops history_ops = {
    .seek = history_seek,
    .seek_below = history_seek_below,
    .next = tree_next,
    .prev = tree_prev,
    .close = tree_close,
};

vv_status btree_source_create(btree_tree *tree, bool history, bool scan, engine_source **out,
                              vv_error *err)
{
    tree_source *s = vv_alloc(sizeof *s);
    if (s == NULL)
        return vv_fail(err, VV_NO_MEMORY, "cursor: no memory for a tree");
    memset(s, 0, offsetof(tree_source, user_key));
    s->base.ops = history ? &history_ops : &main_ops;
    s->tree = tree;
    s->root = history ? tree->history : tree->main;
    s->history = history;
    s->scan = scan;
    *out = &s->base;
    return VV_OK;
}

void btree_source_leave_values(engine_source *src)
{
    source_of(src)->leaves_values = true;
}
