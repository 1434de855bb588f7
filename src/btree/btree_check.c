/*
 * btree_check.c - every byte and every invariant of a tree, each fault a sentence.
 *
 *   a page     its sum, the mapping's sum, its structure
 *   a leaf     keys ascend, and lie between the separators around it; links name the neighbours
 *   a value    every page of it, as long as the chain says
 *   the whole  every page of the mapping is reached exactly once, and no other
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "btree/btree_int.h"
#include "engine/report.h"

/* A check under way. seen: the pages reached so far, as a mapping of them. */
typedef struct checker {
    engine_report *r;
    btree_tree *tree;
    btree_map seen;
    uint8_t *page;
    btree_iter *it;
    uint64_t pages;
    uint32_t before; /* the leaf before, in the order of keys */
    uint32_t next;   /* what its page says is behind it */
    bool history;
} checker;

/* Count a page; false (and a finding) when it was reached before. */
static vv_status reach(checker *c, uint32_t id, bool *again, vv_error *err)
{
    *again = btree_map_get(&c->seen, id).at != BTREE_NOWHERE;
    if (*again) {
        engine_report_say(c->r, "page %u is reached twice", id);
        return VV_OK;
    }
    c->pages++;
    return btree_map_set(&c->seen, id, (btree_place){.at = 0}, err);
}

static vv_status read_page(checker *c, uint32_t id, vv_error *err)
{
    btree_tree *t = c->tree;
    return btree_store_read_id(t->store, &t->state.map, t->files, t->file_count, id, c->page, err);
}

static vv_status check_value(checker *c, vv_slice ids, vv_error *err)
{
    uint32_t group[BTREE_POINTERS_MAX];
    uint32_t count = (uint32_t)(ids.len / 4);
    memcpy(group, ids.data, ids.len);
    while (count > 0) {
        uint32_t next_count = 0;
        const uint8_t *next = NULL;
        for (uint32_t i = 0; i < count; i++) {
            bool again = false;
            vv_slice part;
            vv_error why;
            vv_status st = reach(c, group[i], &again, err);
            if (st != VV_OK)
                return st;
            st = again ? VV_CORRUPT : read_page(c, group[i], &why);
            if (st == VV_OK)
                st = btree_overflow_decode(c->page, c->tree->store->page_size, &part, &next,
                                           &next_count, &why);
            if (st == VV_OK && next_count > 0 && i + 1 < count)
                st = vv_fail(&why, VV_CORRUPT, "page %u names pages inside a group", group[i]);
            if (st != VV_OK)
                return again ? VV_OK : engine_report_absorb(c->r, st, &why, err);
        }
        if (next_count > 0)
            memcpy(group, next, 4 * (size_t)next_count);
        count = next_count;
    }
    return VV_OK;
}

static void check_entry(checker *c, uint32_t id, const btree_entry *e)
{
    if (!c->history) {
        if (e->key.len < ENGINE_TABLE_PREFIX || e->key.len > ENGINE_KEY_MAX)
            engine_report_say(c->r, "leaf %u: a key of %zu bytes", id, e->key.len);
        if (e->timestamp > (uint64_t)c->tree->state.checkpoint)
            engine_report_say(c->r, "leaf %u: version %" PRIu64 " above the checkpoint", id,
                              e->timestamp);
        return;
    }
    uint8_t key[ENGINE_KEY_MAX];
    size_t len = 0;
    int64_t version = 0;
    engine_kind kind;
    if (!btree_history_parse(e->key, key, &len, &version, &kind))
        engine_report_say(c->r, "leaf %u of the history: a key that is none", id);
    else if (version != (int64_t)e->timestamp || version > c->tree->state.history_version)
        engine_report_say(c->r, "leaf %u of the history: version %" PRId64, id, version);
}

/* Values of a leaf are looked at after its entries: they need the page buffer. */
static vv_status check_entries(checker *c, const btree_path *path, vv_buf *values, vv_error *err)
{
    uint32_t id = btree_path_leaf(path)->id;
    vv_slice upper = {0};
    bool bounded = btree_path_upper(path, &upper);
    uint32_t i = path->index[1];
    bool first = true;
    vv_status st = btree_iter_open(c->it, c->page, c->tree->store->page_size, err);
    btree_entry e;
    while (st == VV_OK && (st = btree_iter_next(c->it, &e, err)) == VV_OK) {
        if (first && i > 0 && vv_slice_cmp(e.key, btree_inode_separator(path->node[1], i)) < 0)
            engine_report_say(c->r, "leaf %u: a key below its separator", id);
        if (bounded && vv_slice_cmp(e.key, upper) >= 0)
            engine_report_say(c->r, "leaf %u: a key above its separator", id);
        check_entry(c, id, &e);
        if ((e.flags & BTREE_IS_OVERFLOW) != 0) {
            vv_buf_append_le32(values, (uint32_t)e.value.len);
            vv_buf_append_slice(values, e.value);
        }
        first = false;
    }
    if (st == VV_NOT_FOUND && first)
        engine_report_say(c->r, "leaf %u is empty", id);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static void check_links(checker *c, uint32_t id)
{
    uint32_t prev = btree_data_prev(c->page);
    if (prev != c->before)
        engine_report_say(c->r, "leaf %u: the leaf before it is %u, not %u", id, c->before, prev);
    if (c->before != BTREE_NO_PAGE && c->next != id)
        engine_report_say(c->r, "leaf %u: the leaf behind it is %u, not %u", c->before, id,
                          c->next);
    c->before = id;
    c->next = btree_data_next(c->page);
}

static vv_status check_leaf(checker *c, const btree_path *path, vv_buf *values, vv_error *err)
{
    const btree_child *child = btree_path_leaf(path);
    bool again = false;
    vv_error why;
    vv_status st = reach(c, child->id, &again, err);
    if (st != VV_OK || again)
        return st;
    btree_place place = btree_map_get(&c->tree->state.map, child->id);
    if (place.at != btree_place_at(c->tree->store, child->u.file->id, child->page))
        engine_report_say(c->r, "leaf %u: the index and the mapping have it in different places",
                          child->id);
    st = read_page(c, child->id, &why);
    if (st == VV_OK)
        check_links(c, child->id);
    vv_buf_reset(values);
    if (st == VV_OK)
        st = check_entries(c, path, values, &why);
    if (st != VV_OK)
        return engine_report_absorb(c->r, st, &why, err);
    if (values->status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "check: no memory");
    for (size_t at = 0; st == VV_OK && at < values->len;) {
        uint32_t len = vv_get_le32(values->data + at);
        st = check_value(c, vv_slice_of(values->data + at + 4, len), err);
        at += 4 + (size_t)len;
    }
    return st;
}

static vv_status check_index(checker *c, const btree_inode *n, vv_error *err)
{
    bool again = false;
    vv_status st = reach(c, n->id, &again, err);
    if (st != VV_OK || again)
        return st;
    vv_error why;
    st = read_page(c, n->id, &why);
    if (st == VV_OK)
        st = btree_iter_open(c->it, c->page, c->tree->store->page_size, &why);
    vv_slice key;
    uint32_t id = 0;
    uint32_t i = 1;
    if (st == VV_OK && btree_index_leftmost(c->page) != n->child[0].id)
        engine_report_say(c->r, "index page %u: not what is in memory", n->id);
    for (; st == VV_OK && (st = btree_iter_next_child(c->it, &key, &id, &why)) == VV_OK; i++)
        if (i >= n->count || id != n->child[i].id || !vv_slice_eq(key, btree_inode_separator(n, i)))
            engine_report_say(c->r, "index page %u: not what is in memory", n->id);
    if (st != VV_NOT_FOUND)
        st = engine_report_absorb(c->r, st, &why, err);
    else if (i != n->count)
        engine_report_say(c->r, "index page %u: %u children, %u in memory", n->id, i, n->count);
    for (uint32_t j = 0; n->level > 1 && j < n->count; j++) {
        st = check_index(c, n->child[j].u.node, err);
        if (st != VV_OK)
            return st;
    }
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static vv_status check_root(checker *c, const btree_inode *root, bool history, vv_error *err)
{
    if (root == NULL)
        return VV_OK;
    vv_buf values;
    vv_buf_init(&values, 64 * VV_MIB);
    c->history = history;
    c->before = c->next = BTREE_NO_PAGE;
    btree_path path;
    vv_status st = check_index(c, root, err);
    btree_path_first(&path, root);
    bool more = true;
    while (st == VV_OK && more) {
        st = check_leaf(c, &path, &values, err);
        more = btree_path_next(&path);
    }
    if (st == VV_OK && c->next != BTREE_NO_PAGE && c->r->count == 0)
        engine_report_say(c->r, "leaf %u: it says %u is behind it, but it is the last", c->before,
                          c->next);
    vv_buf_fini(&values);
    return st;
}

/* A page of the mapping that the walk did not come to. */
static vv_status note_lost(void *ctx, uint32_t id, btree_place place)
{
    checker *c = ctx;
    (void)place;
    if (btree_map_get(&c->seen, id).at != BTREE_NOWHERE)
        return VV_OK;
    bool readable = read_page(c, id, NULL) == VV_OK;
    engine_report_say(c->r, "page %u (type %d) belongs to nothing", id, readable ? c->page[8] : -1);
    return VV_OK;
}

static vv_status check_tree(engine_report *r, btree_tree *tree, vv_error *err)
{
    checker c = {.r = r, .tree = tree};
    uint64_t before = r->count;
    btree_map_init(&c.seen, NULL);
    c.it = vv_alloc(sizeof *c.it);
    vv_status st = c.it == NULL ? vv_fail(err, VV_NO_MEMORY, "check: no memory")
                                : btree_store_take_page(tree->store, &c.page, err);
    if (st == VV_OK)
        st = check_root(&c, tree->main, false, err);
    if (st == VV_OK)
        st = check_root(&c, tree->history, true, err);
    if (st == VV_OK && r->count == before && c.pages != tree->state.map.count)
        st = btree_map_diff(NULL, &tree->state.map, note_lost, &c);
    btree_map_fini(&c.seen);
    btree_store_give_page(tree->store, c.page);
    vv_free(c.it);
    return st;
}

static vv_status verdict(const engine_report *r, vv_status st, vv_error *err)
{
    if (st != VV_OK || r->count == 0)
        return st;
    return vv_fail(err, VV_CORRUPT, "%" PRIu64 " findings", r->count);
}

vv_status btree_check(engine *base, void (*finding)(void *ctx, const char *text), void *ctx,
                      vv_error *err)
{
    btree_engine *e = btree_engine_of(base);
    engine_report r = {.finding = finding, .ctx = ctx};
    btree_view *view = btree_view_acquire(e);
    vv_status st = check_tree(&r, view->tree, err);
    btree_view_release(e, view);
    return verdict(&r, st, err);
}

vv_status btree_check_dir(vv_env *env, const char *dir, uint32_t shard,
                          void (*finding)(void *ctx, const char *text), void *ctx, vv_error *err)
{
    engine_report r = {.finding = finding, .ctx = ctx};
    engine_options opt = {.env = env,
                          .dir = dir,
                          .shard = shard,
                          .memtable_size = VV_MIB,
                          .cache_size = VV_MIB,
                          .read_only = true};
    vv_error why;
    engine *e = NULL;
    vv_status st = btree_ops.open(&opt, &e, &why);
    if (st != VV_OK) {
        st = engine_report_absorb(&r, st, &why, err);
        return verdict(&r, st, err);
    }
    st = btree_check(e, finding, ctx, err);
    btree_ops.close(e);
    return st;
}
