/*
 * btree_read.c - a point read and a cursor over the current view.
 *
 * A point read looks at the memtables from the newest to the oldest, then into the one leaf of the
 * tree that can have the key. Only a reader that is older than what the history is about looks
 * there too, and only when the tree has nothing at or below its version.
 *
 * A merge is found in a memtable alone: pages hold values. What it comes to is worked out from the
 * memtables' versions of the key and, where those do not end the chain, the tree's newest, which is
 * older than all of them.
 *
 * Everything happens in one epoch section while the leaf is in the cache. For a leaf that is not,
 * it takes a reference on the view, leaves the section, reads, and goes on where it was.
 */
#include "base/alloc.h"
#include "base/epoch.h"
#include "base/error.h"
#include "base/point.h"
#include "base/util.h"
#include "btree/btree_int.h"
#include "engine/chain.h"
#include "engine/memstack.h"

#define COPY_MAX                                                                                   \
    1024u /* values of a memtable up to here are copied out: a reference on the                    \
             memtable is one word that all readers would write */

typedef struct lookup {
    btree_engine *e;
    vv_slice key;
    const engine_read *read;
    const btree_view *view;
    bool view_held;   /* a reference was taken to do I/O */
    pgc_frame *frame; /* pinned: holds item.value */
    engine_item item;
    int64_t cover;          /* newest range deletion at or below the snapshot over the key so far */
    pgc_frame *leaf;        /* the caller's, pinned: the leaf that was missing; or NULL */
    btree_missing *missing; /* where to say which leaf is; or NULL */
} lookup;

static void hold_view(lookup *l)
{
    if (!l->view_held)
        btree_view_ref((btree_view *)(uintptr_t)l->view);
    l->view_held = true;
}

/* The leaf's frame. *pinned: it was read for us; else it lives until the section ends. */
static vv_status find_leaf(lookup *l, const btree_child *c, pgc_frame **frame, bool *pinned,
                           vv_error *err)
{
    *pinned = false;
    *frame = l->leaf != NULL ? l->leaf : pgc_lookup(c->u.file->pages, c->page);
    btree_store *store = &l->e->store;
    if (VV_LIKELY(*frame != NULL)) {
        pgc_count(&pgc_my_counter(pgc_cache_counters(store->cache))->hits);
        return VV_OK;
    }
    if (l->read->from_memory) {
        if (l->missing != NULL)
            *l->missing = (btree_missing){c->u.file, c->page, c->sum, c->id};
        return VV_BUSY;
    }
    hold_view(l);
    vv_epoch_exit();
    vv_status st = btree_store_get_leaf(store, c->u.file, c->page, c->sum, frame, err);
    vv_epoch_enter();
    *pinned = st == VV_OK;
    return st;
}

/* Put a value together that is apart; the frame of the leaf gives way to its own. */
static vv_status load_value(lookup *l, const btree_found *found, vv_error *err)
{
    pgc_frame *leaf = l->frame;
    if (l->read->from_memory)
        return VV_BUSY; /* its pages may have to be read */
    hold_view(l);
    vv_epoch_exit();
    vv_status st = btree_value_load(l->view->tree, found, &l->frame, &l->item.value, err);
    vv_epoch_enter();
    pgc_unpin(leaf);
    if (st != VV_OK)
        l->frame = NULL;
    return st;
}

static vv_status look_in_main(lookup *l, vv_error *err)
{
    const btree_inode *n = l->view->tree->main;
    if (n == NULL)
        return VV_NOT_FOUND;
    uint32_t i = btree_inode_find(n, l->key);
    while (n->level > 1) {
        n = n->child[i].u.node;
        i = btree_inode_find(n, l->key);
    }
    pgc_frame *frame = NULL;
    bool pinned = false;
    vv_status st = find_leaf(l, &n->child[i], &frame, &pinned, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "leaf %u", n->child[i].id);
    btree_leaf_prefetch(pgc_data(frame));
    btree_leaf leaf;
    btree_leaf_lay_out(pgc_data(frame), &leaf);
    btree_found found;
    if (!btree_leaf_get(&leaf, l->key, &found) || found.version > l->read->version) {
        if (pinned)
            pgc_unpin(frame);
        return VV_NOT_FOUND;
    }
    if (!pinned)
        pgc_pin(frame);
    l->frame = frame;
    l->item = (engine_item){.key = l->key,
                            .value = found.value,
                            .version = found.version,
                            .expires_ns = found.expires_ns,
                            .kind = ENGINE_PUT};
    if (VV_UNLIKELY(found.flags & BTREE_VALUE_APART))
        return load_value(l, &found, err);
    return VV_OK;
}

/* Rare: a reader of an older version. */
static vv_status look_in_history(lookup *l, vv_error *err)
{
    btree_tree *tree = l->view->tree;
    engine_source *src = NULL;
    if (l->read->from_memory)
        return VV_BUSY;
    hold_view(l);
    vv_epoch_exit();
    vv_status st = btree_source_create(tree, true, false, &src, err);
    if (st == VV_OK)
        st = engine_source_seek(src, l->key, l->read->version, err);
    if (st == VV_OK && (!src->valid || !vv_slice_eq(src->item.key, l->key)))
        st = VV_NOT_FOUND;
    if (st == VV_OK) { /* its value in a frame of its own, so that it outlives the source */
        l->item = src->item;
        st = pgc_frame_create(l->e->store.cache, src->item.value.len, &l->frame, err);
        if (st == VV_OK && src->item.value.len > 0)
            memcpy(pgc_data(l->frame), src->item.value.data, src->item.value.len);
        if (st == VV_OK)
            l->item.value.data = pgc_data(l->frame);
        l->item.key = l->key;
    }
    engine_source_close(src);
    vv_epoch_enter();
    return st;
}

static vv_status look_in_tree(lookup *l, vv_error *err)
{
    vv_status st = look_in_main(l, err);
    const btree_tree *tree = l->view->tree;
    if (st == VV_NOT_FOUND && VV_UNLIKELY(tree->history != NULL) &&
        l->read->version < tree->state.history_version)
        st = look_in_history(l, err);
    return st;
}

static void unpin_memtable(void *pin)
{
    engine_memtable_unref(pin);
}

/* The value of an item in a memtable, so that it outlives the section. */
static void give_from_memtable(const engine_item *item, engine_memtable *holder, engine_value *out)
{
    uint8_t *copy = item->value.len <= COPY_MAX ? vv_alloc(item->value.len) : NULL;
    if (copy != NULL) {
        if (item->value.len > 0)
            memcpy(copy, item->value.data, item->value.len);
        out->data = vv_slice_of(copy, item->value.len);
        out->pin = copy;
        out->unpin = vv_free;
        return;
    }
    engine_memtable_ref(holder);
    out->data = item->value;
    out->pin = holder;
    out->unpin = unpin_memtable;
}

/* ---- merges ---- */

static vv_status chain_memtable(const lookup *l, engine_chain *c, engine_memtable *mem,
                                vv_error *err)
{
    engine_source *src = NULL;
    engine_item item;
    engine_rangedels *set = engine_memtable_rangedels(mem);
    engine_chain_cover(c, set);
    engine_rangedels_unref(set);
    if (engine_memtable_get(mem, l->key, l->read->version, &item) != VV_OK)
        return VV_OK; /* a source would only find that out later */
    vv_status st = engine_memtable_source(mem, &src, err);
    return st == VV_OK ? engine_chain_take(c, src, err) : st;
}

/* The tree's version under those of the memtables. In a section. */
static vv_status chain_tree(lookup *l, engine_chain *c, vv_error *err)
{
    vv_status st = look_in_main(l, err);
    if (st == VV_OK)
        st = engine_chain_push(c, &l->item, err);
    if (l->frame != NULL)
        pgc_unpin(l->frame);
    l->frame = NULL;
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* What the key comes to, whose newest version is a merge; appended to out. In a section, which it
 * leaves for a while. */
static vv_status look_for_merged(lookup *l, vv_buf *out, int64_t *version, int64_t *expires_ns,
                                 vv_error *err)
{
    engine_chain c;
    vv_status st = VV_OK;
    engine_chain_init(&c, l->key, l->read);
    hold_view(l);
    vv_epoch_exit();
    for (uint32_t i = 0; st == VV_OK && !c.ended && i < l->view->mem_count; i++)
        st = chain_memtable(l, &c, l->view->mem[i], err);
    vv_epoch_enter();
    if (st == VV_OK && !c.ended && c.cover < 0)
        st = chain_tree(l, &c, err);
    if (st == VV_OK)
        st = engine_chain_value(&c, out, version, expires_ns, err);
    engine_chain_fini(&c);
    return st;
}

static vv_status give_merged(lookup *l, engine_value *out, vv_error *err)
{
    vv_buf value;
    vv_buf_init(&value, ENGINE_VALUE_MAX);
    vv_status st = look_for_merged(l, &value, &out->version, &out->expires_ns, err);
    if (st != VV_OK) {
        vv_buf_fini(&value);
        return st;
    }
    out->data = vv_buf_slice(&value);
    out->pin = value.data; /* the buffer's memory is the value's now */
    out->unpin = vv_free;
    return VV_OK;
}

/* In a section. On failure l->frame may be left pinned. */
static vv_status look(lookup *l, engine_value *out, vv_error *err)
{
    engine_memtable *holder = engine_memstack_get(l->view->mem, l->view->mem_count, l->key,
                                                  l->read->version, &l->item, &l->cover);
    vv_status st = holder != NULL ? VV_OK : VV_NOT_FOUND;
    if (st == VV_NOT_FOUND && l->cover < 0)
        st = look_in_tree(l, err);
    if (st == VV_OK && !engine_item_is_live(&l->item, l->cover, l->read))
        st = VV_NOT_FOUND;
    if (st != VV_OK)
        return st;
    *out = (engine_value){.version = l->item.version, .expires_ns = l->item.expires_ns};
    if (VV_UNLIKELY(l->item.kind == ENGINE_MERGE))
        return give_merged(l, out, err);
    if (holder != NULL) {
        give_from_memtable(&l->item, holder, out);
    } else {
        out->data = l->item.value;
        out->pin = l->frame;
        out->unpin = pgc_unpin;
    }
    return VV_OK;
}

vv_status btree_get_in(btree_engine *e, btree_view *view, vv_slice key, const engine_read *read,
                       pgc_frame *leaf, btree_missing *missing, engine_value *out, vv_error *err)
{
    lookup l = {.e = e,
                .key = key,
                .read = read,
                .view = view,
                .view_held = true, /* by the caller */
                .cover = -1,
                .leaf = leaf,
                .missing = missing};
    vv_epoch_enter();
    vv_status st = look(&l, out, err);
    vv_epoch_exit();
    if (l.frame != NULL && st != VV_OK)
        pgc_unpin(l.frame);
    return st;
}

vv_status btree_get(engine *base, vv_slice key, const engine_read *read, engine_value *out,
                    vv_error *err)
{
    btree_engine *e = btree_engine_of(base);
    lookup l = {.e = e, .key = key, .read = read, .cover = -1};
    vv_epoch_enter();
    l.view = atomic_load_explicit(&e->view, memory_order_acquire);
    vv_status st = look(&l, out, err);
    vv_epoch_exit();
    if (l.frame != NULL && st != VV_OK)
        pgc_unpin(l.frame);
    if (l.view_held)
        btree_view_release(e, (btree_view *)(uintptr_t)l.view);
    return st;
}

/* ---- cursors ---- */

typedef struct cursor_hold {
    btree_engine *e;
    btree_view *view;
} cursor_hold;

/* The cursor's view is held as long as it is open. */
static vv_status resolve_held(void *ctx, const engine_item *item, const engine_read *read,
                              vv_buf *out, vv_error *err)
{
    const cursor_hold *hold = ctx;
    lookup l = {.e = hold->e,
                .key = item->key,
                .read = read,
                .view = hold->view,
                .view_held = true,
                .cover = -1};
    int64_t version = 0;
    int64_t expires_ns = 0;
    vv_epoch_enter();
    vv_status st = look_for_merged(&l, out, &version, &expires_ns, err);
    vv_epoch_exit();
    return st;
}

static void release_hold(void *ctx)
{
    cursor_hold *hold = ctx;
    btree_view_release(hold->e, hold->view);
    vv_free(hold);
}

/* The memtables, the tree, and for an older reader the history. */
static vv_status make_sources(const btree_view *view, const engine_cursor_options *opt,
                              engine_source **sources, size_t *count, vv_error *err)
{
    vv_status st = VV_OK;
    size_t n = 0;
    for (uint32_t i = 0; st == VV_OK && i < view->mem_count; i++) {
        st = engine_memtable_source(view->mem[i], &sources[n], err);
        n += st == VV_OK;
    }
    btree_tree *tree = view->tree;
    if (st == VV_OK && tree->main != NULL) {
        st = btree_source_create(tree, false, false, &sources[n], err);
        n += st == VV_OK;
    }
    if (st == VV_OK && tree->history != NULL && opt->read.version < tree->state.history_version) {
        st = btree_source_create(tree, true, false, &sources[n], err);
        n += st == VV_OK;
    }
    *count = n;
    return st;
}

vv_status btree_cursor(engine *base, const engine_cursor_options *opt, engine_cursor **out,
                       vv_error *err)
{
    btree_engine *e = btree_engine_of(base);
    btree_view *view = btree_view_acquire(e);
    cursor_hold *hold = vv_alloc(sizeof *hold);
    engine_source **sources = vv_calloc((size_t)view->mem_count + 2, sizeof(engine_source *));
    if (hold == NULL || sources == NULL) {
        vv_free(sources);
        vv_free(hold);
        btree_view_release(e, view);
        return vv_fail(err, VV_NO_MEMORY, "cursor: no memory");
    }
    *hold = (cursor_hold){e, view};
    size_t count = 0;
    vv_status st = make_sources(view, opt, sources, &count, err);
    if (st == VV_OK) {
        engine_cursor_options with = *opt;
        with.resolver = (engine_resolver){resolve_held, hold};
        st = engine_cursor_create(sources, count, &with, release_hold, hold, out, err);
        count = 0; /* taken */
    }
    for (size_t i = 0; i < count; i++)
        engine_source_close(sources[i]);
    vv_free(sources);
    if (st != VV_OK)
        release_hold(hold);
    return st;
}
