/*
 * btree_update.c - replacing runs of leaves, left to right, and rebuilding the index above them.
 *
 *     leaves      . . [a b c] . . . [m] . .         runs: adjacent leaves of one parent
 *     level 1         P             Q               open on the parent of the current run
 *     level 2               R                       open on its parent, and so on to the root
 *
 * A run's entries are staged and cut into pages. The pages take the ids of the leaves they replace,
 * in order, so the parent's page changes only when there are more or fewer of them, or when a
 * separator does. A page that came out small takes in the next leaf of its parent. A node is closed
 * when the walk leaves it, and what became of it goes into its parent's list.
 *
 * Links between leaves are written as they will be if the neighbours keep their ids, which is
 * nearly always so; where it turns out otherwise the neighbour's page is patched at the end.
 */
#include "btree/btree_write.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "base/util.h"

#define FILL_LIMIT 4u /* pages of staged bytes at which one is cut off the front */

vv_status btree_update_begin(btree_update *u, btree_writer *w, btree_inode *root, vv_error *err)
{
    memset(u, 0, sizeof *u);
    u->w = w;
    u->root = root;
    u->tail = u->expect_next = u->last_read = BTREE_NO_PAGE;
    vv_buf_init(&u->bytes, UINT32_MAX);
    for (size_t i = 0; i < ARRAY_LEN(u->level); i++)
        btree_list_init(&u->level[i].list);
    vv_status st = btree_store_take_page(w->store, &u->held, err);
    return st == VV_OK ? btree_store_take_page(w->store, &u->page, err) : st;
}

void btree_update_fini(btree_update *u)
{
    if (u->w == NULL)
        return;
    for (uint32_t i = 0; i < ARRAY_LEN(u->level); i++)
        btree_list_fini(&u->level[i].list, i);
    btree_store_give_page(u->w->store, u->held);
    btree_store_give_page(u->w->store, u->page);
    vv_buf_fini(&u->bytes);
    vv_free(u->staged);
    vv_free(u->patches);
    *u = (btree_update){0};
}

/* ---- links ---- */

static vv_status patch(btree_update *u, uint32_t id, bool next, uint32_t value, vv_error *err)
{
    if (id == BTREE_NO_PAGE)
        return VV_OK;
    if (u->patch_count == u->patch_cap) {
        uint32_t cap = u->patch_cap == 0 ? 16 : u->patch_cap * 2;
        btree_patch *patches = vv_realloc(u->patches, cap * sizeof *patches);
        if (patches == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for %u links", cap);
        u->patches = patches;
        u->patch_cap = cap;
    }
    u->patches[u->patch_count++] = (btree_patch){id, next, value};
    return VV_OK;
}

/* The next leaf of the chain is not taken in: join what was written to it. */
static vv_status close_cluster(btree_update *u, vv_error *err)
{
    vv_status st = VV_OK;
    if (u->in_cluster && u->tail_next != u->expect_next)
        st = patch(u, u->tail, true, u->expect_next, err);
    if (st == VV_OK && u->in_cluster && u->tail != u->last_read)
        st = patch(u, u->expect_next, false, u->tail, err);
    u->in_cluster = false;
    return st;
}

/* A leaf is taken in: where it stands in the chain. */
static vv_status note_leaf(btree_update *u, uint32_t id, const uint8_t *leaf, vv_error *err)
{
    if (u->in_cluster && id != u->expect_next) {
        vv_status st = close_cluster(u, err);
        if (st != VV_OK)
            return st;
    }
    if (!u->in_cluster) {
        u->in_cluster = true;
        u->tail = btree_leaf_prev(leaf);
        u->tail_next = id;
    }
    u->last_read = id;
    u->expect_next = btree_leaf_next(leaf);
    u->leaves++;
    return VV_OK;
}

/* ---- pages of a run ---- */

static vv_slice staged_key(const btree_update *u, uint32_t i)
{
    return vv_slice_of(u->bytes.data + u->staged[i].at, u->staged[i].key_len);
}

static size_t staged_size(const btree_staged *s)
{
    return (size_t)s->key_len + s->value_len + 8;
}

/* The held page is final: its next link is known. */
static vv_status write_held(btree_update *u, uint32_t next, vv_error *err)
{
    if (!u->has_held)
        return VV_OK;
    btree_data_set_links(u->held, btree_data_prev(u->held), next);
    btree_page_seal(u->held, u->w->store->page_size);
    btree_child *child = &u->level[1].list.child[u->held_at];
    vv_status st = btree_writer_put(u->w, u->held_id, u->held, child, err);
    if (st != VV_OK)
        return st;
    u->has_held = false;
    u->tail_next = next;
    /* For the cache, while it has room that nobody uses. */
    btree_writer *w = u->w;
    if (w->prefill_over)
        return VV_OK;
    if (w->prefill_count == w->prefill_cap) {
        uint32_t cap = w->prefill_cap == 0 ? 64 : w->prefill_cap * 2;
        btree_prefill *more = vv_realloc(w->prefill, cap * sizeof *more);
        if (more == NULL)
            return VV_OK;
        w->prefill = more;
        w->prefill_cap = cap;
    }
    pgc_frame *frame = NULL;
    w->prefill_over =
        !pgc_has_room(w->store->cache, w->store->page_size + 64) ||
        btree_leaf_load(u->held, w->store->page_size, w->store->cache, &frame, NULL) != VV_OK;
    if (frame != NULL)
        w->prefill[w->prefill_count++] = (btree_prefill){child->u.file, child->page, frame};
    return VV_OK;
}

/* Build a page from the front of the staged entries, of at most max bytes of them. Returns how many
 * went in: at least one. */
static uint32_t fill_page(btree_update *u, size_t max)
{
    uint32_t size = u->w->store->page_size;
    btree_builder_begin(&u->builder, BTREE_DATA, u->page, size, BTREE_RESTART_INTERVAL);
    btree_leaf_sizes sizes = {0};
    size_t used = 0;
    uint32_t i = u->staged_from;
    for (; i < u->staged_count; i++) {
        const btree_staged *s = &u->staged[i];
        btree_entry e = {.key = staged_key(u, i),
                         .value = vv_slice_of(u->bytes.data + s->at + s->key_len, s->value_len),
                         .timestamp = s->timestamp,
                         .expires = s->expires,
                         .flags = s->flags};
        if (i > u->staged_from && used >= max)
            break;
        btree_leaf_sizes_add(&sizes, staged_key(u, u->staged_from), &e);
        if (i > u->staged_from && btree_leaf_size(&sizes) > size)
            break; /* its form in the cache would not fit a frame of the page size */
        if (!btree_builder_add(&u->builder, &e))
            break;
        used += staged_size(s);
    }
    assert(i > u->staged_from);
    return i - u->staged_from;
}

/* The shortest key above a that is at most b; a < b. Its length within b. */
static size_t shortest_between(vv_slice a, vv_slice b)
{
    size_t n = 0;
    while (n < a.len && n < b.len && a.data[n] == b.data[n])
        n++;
    return n + 1 <= b.len ? n + 1 : b.len;
}

/* The page that was filled from `count` staged entries becomes the next of the run. */
static vv_status emit_page(btree_update *u, uint32_t count, vv_error *err)
{
    btree_level *l = &u->level[1];
    uint32_t id = BTREE_NO_PAGE;
    vv_status st = VV_OK;
    if (l->old != NULL && u->run_from + u->run_reused < u->run_to)
        id = l->old->child[u->run_from + u->run_reused++].id;
    else
        st = btree_writer_new_id(u->w, &id, err);
    if (st != VV_OK)
        return st;
    st = write_held(u, id, err);
    if (st == VV_OK && u->run_out == 0 && u->tail_next != id && u->in_cluster)
        st = patch(u, u->tail, true, id, err);
    /* The separator in front: the old one before the first, else what parts it from the last. */
    vv_slice first = staged_key(u, u->staged_from);
    vv_slice separator = {0};
    if (u->run_out > 0)
        separator = vv_slice_of(first.data,
                                shortest_between(vv_slice_of(u->last_key, u->last_key_len), first));
    else if (l->old != NULL && u->run_from > 0)
        separator = btree_inode_separator(l->old, u->run_from);
    if (st == VV_OK)
        st = btree_list_add(&l->list, &(btree_child){.id = id}, separator, err);
    if (st != VV_OK)
        return st;
    l->reshaped |= u->run_out > 0;
    btree_builder_set_links(&u->builder, u->in_cluster ? u->tail : BTREE_NO_PAGE, BTREE_NO_PAGE);
    btree_builder_finish(&u->builder);
    uint8_t *page = u->held;
    u->held = u->page;
    u->page = page;
    u->has_held = true;
    u->held_id = id;
    u->held_at = l->list.count - 1;
    u->tail = id;
    u->in_cluster = true;
    u->run_out++;
    vv_slice last = staged_key(u, u->staged_from + count - 1);
    memcpy(u->last_key, last.data, last.len);
    u->last_key_len = last.len;
    for (uint32_t i = 0; i < count; i++)
        u->staged_bytes -= staged_size(&u->staged[u->staged_from + i]);
    u->staged_from += count;
    return VV_OK;
}

/* Forget the staged entries that are in pages. */
static void shift_staged(btree_update *u)
{
    size_t from = u->staged_from == u->staged_count ? u->bytes.len : u->staged[u->staged_from].at;
    if (from < u->bytes.len)
        memmove(u->bytes.data, u->bytes.data + from, u->bytes.len - from);
    u->bytes.len -= from;
    uint32_t left = u->staged_count - u->staged_from;
    for (uint32_t i = 0; i < left; i++) {
        u->staged[i] = u->staged[u->staged_from + i];
        u->staged[i].at -= from;
    }
    u->staged_count = left;
    u->staged_from = 0;
}

vv_status btree_update_put(btree_update *u, const btree_entry *e, vv_error *err)
{
    if (u->staged_count == u->staged_cap) {
        uint32_t cap = u->staged_cap == 0 ? 256 : u->staged_cap * 2;
        btree_staged *staged = vv_realloc(u->staged, cap * sizeof *staged);
        if (staged == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for %u entries", cap);
        u->staged = staged;
        u->staged_cap = cap;
    }
    btree_staged *s = &u->staged[u->staged_count];
    *s = (btree_staged){.at = u->bytes.len,
                        .key_len = (uint32_t)e->key.len,
                        .value_len = (uint32_t)e->value.len,
                        .timestamp = e->timestamp,
                        .expires = e->expires,
                        .flags = e->flags};
    vv_buf_append_slice(&u->bytes, e->key);
    vv_buf_append_slice(&u->bytes, e->value);
    if (u->bytes.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "no memory for an entry");
    u->staged_count++;
    u->staged_bytes += staged_size(s);
    if (u->staged_bytes <= (size_t)FILL_LIMIT * u->w->store->page_size)
        return VV_OK;
    vv_status st = emit_page(u, fill_page(u, SIZE_MAX), err);
    shift_staged(u);
    return st;
}

/* All staged entries into pages; two that share the rest share it evenly. */
static vv_status emit_rest(btree_update *u, vv_error *err)
{
    vv_status st = VV_OK;
    while (st == VV_OK && u->staged_from < u->staged_count) {
        uint32_t left = u->staged_count - u->staged_from;
        uint32_t count = fill_page(u, SIZE_MAX);
        if (count < left) {
            size_t in_page = 0;
            for (uint32_t i = 0; i < count; i++)
                in_page += staged_size(&u->staged[u->staged_from + i]);
            if (u->staged_bytes <= 2 * in_page)
                count = fill_page(u, u->staged_bytes / 2);
        }
        st = emit_page(u, count, err);
    }
    shift_staged(u);
    return st;
}

/* ---- levels ---- */

/* Children of the old node before `until` go into the list as they are. */
static vv_status copy_children(btree_update *u, uint32_t level, uint32_t until, vv_error *err)
{
    btree_level *l = &u->level[level];
    for (; l->next < until; l->next++) {
        vv_slice separator = {0};
        if (l->next > 0)
            separator = btree_inode_separator(l->old, l->next);
        vv_status st = btree_list_add(&l->list, &l->old->child[l->next], separator, err);
        if (st != VV_OK)
            return st;
        if (level > 1)
            btree_inode_ref(l->old->child[l->next].u.node);
    }
    return VV_OK;
}

static bool is_small(const btree_update *u)
{
    return u->run_out == 0 && u->staged_bytes < u->w->store->page_size / 4;
}

static vv_status read_leaf(btree_update *u, const btree_inode *parent, uint32_t index,
                           pgc_frame **frame, vv_error *err)
{
    const btree_child *c = &parent->child[index];
    vv_status st = btree_store_scan_leaf(u->w->store, c->u.file, c->page, c->sum, frame, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "leaf %u", c->id);
    st = note_leaf(u, c->id, pgc_data(*frame), err);
    if (st != VV_OK)
        pgc_unpin(*frame);
    return st;
}

/* Stage all entries of a leaf. */
static vv_status stage_leaf(btree_update *u, pgc_frame *frame, vv_error *err)
{
    uint8_t key[BTREE_KEY_BUF];
    btree_leaf leaf;
    btree_leaf_lay_out(pgc_data(frame), &leaf);
    btree_leaf_load_prefix(&leaf, key);
    vv_status st = VV_OK;
    for (uint32_t i = 0; st == VV_OK && i < leaf.n; i++) {
        btree_found f;
        btree_entry e = {.key = btree_leaf_at(&leaf, i, key, &f)};
        e.value = f.value;
        e.timestamp = (uint64_t)f.version;
        e.expires = (uint64_t)f.expires_ns;
        e.flags = (uint8_t)f.flags;
        st = btree_update_put(u, &e, err);
    }
    return st;
}

/* A run that came out small takes in the next leaf of its parent. */
static vv_status take_next(btree_update *u, vv_error *err)
{
    const btree_inode *parent = u->level[1].old;
    pgc_frame *frame = NULL;
    vv_status st = read_leaf(u, parent, u->run_to, &frame, err);
    if (st != VV_OK)
        return st;
    u->run_to++;
    st = stage_leaf(u, frame, err);
    pgc_unpin(frame);
    return st;
}

/* The run is complete: its last pages, and the ids it does not need any more. */
static vv_status end_run(btree_update *u, vv_error *err)
{
    btree_level *l = &u->level[1];
    vv_status st = emit_rest(u, err);
    if (st == VV_OK)
        st = write_held(u, u->expect_next, err);
    for (uint32_t i = u->run_from + u->run_reused; st == VV_OK && i < u->run_to; i++)
        st = btree_writer_free(u->w, l->old->child[i].id, err);
    uint32_t replaced = u->run_to - u->run_from;
    l->reshaped |= u->run_out != replaced;
    l->next = u->run_to;
    u->in_run = false;
    return st;
}

static uint32_t index_page_type(uint32_t level)
{
    return level == 1 ? BTREE_LEAF_INDEX : BTREE_INDEX;
}

/* Children from .. of the list that fit one index page of at most max separator bytes; builds it.
 */
static uint32_t fill_index(btree_update *u, const btree_list *l, uint32_t level, uint32_t from,
                           size_t max)
{
    btree_builder_begin(&u->builder, index_page_type(level), u->page, u->w->store->page_size,
                        BTREE_RESTART_INTERVAL);
    btree_builder_set_leftmost(&u->builder, l->child[from].id);
    uint32_t i = from + 1;
    size_t used = 0;
    for (; i < l->count && used < max; i++) {
        if (!btree_builder_add_child(&u->builder, btree_list_separator(l, i), l->child[i].id))
            break;
        used += l->key_len[i] + 8;
    }
    return i - from;
}

/* Pages and nodes from a level's list; they go into `out` with their separators. */
static vv_status build_nodes(btree_update *u, uint32_t level, uint32_t first_id, btree_list *out,
                             vv_error *err)
{
    btree_list *l = &u->level[level].list;
    vv_status st = VV_OK;
    uint32_t from = 0;
    while (st == VV_OK && from < l->count) {
        uint32_t count = fill_index(u, l, level, from, SIZE_MAX);
        if (count < l->count - from) {
            size_t total = 0;
            size_t in_page = 0;
            for (uint32_t i = from; i < l->count; i++) {
                total += l->key_len[i] + 8;
                in_page += i < from + count ? l->key_len[i] + 8 : 0;
            }
            if (total <= 2 * in_page)
                count = fill_index(u, l, level, from, total / 2);
        }
        uint32_t id = first_id;
        if (from > 0 || first_id == BTREE_NO_PAGE)
            st = btree_writer_new_id(u->w, &id, err);
        btree_builder_finish(&u->builder);
        if (st == VV_OK)
            st = btree_writer_put(u->w, id, u->page, NULL, err);
        btree_child child = {.id = id};
        if (st == VV_OK)
            st = btree_inode_create(l, from, from + count, id, level, u->w->store->budget,
                                    &child.u.node, err);
        if (st != VV_OK)
            break;
        /* The node has the references of its children: they leave the list. */
        for (uint32_t i = from; level > 1 && i < from + count; i++)
            l->child[i].u.node = NULL;
        st = btree_list_add(out, &child, btree_list_separator(l, from), err);
        if (st != VV_OK)
            btree_inode_unref(child.u.node);
        from += count;
    }
    return st;
}

/* Nothing but places changed: a node of the same page. */
static vv_status same_shape(btree_update *u, uint32_t level, btree_list *out, vv_error *err)
{
    btree_level *l = &u->level[level];
    btree_child child = {.id = l->old->id};
    vv_status st = btree_inode_create(&l->list, 0, l->list.count, l->old->id, level,
                                      u->w->store->budget, &child.u.node, err);
    if (st != VV_OK)
        return st;
    l->list.count = 0;
    vv_slice separator = {0};
    st = btree_list_add(out, &child, separator, err);
    if (st != VV_OK)
        btree_inode_unref(child.u.node);
    return st;
}

/* The walk leaves the node that a level is open on: what became of it goes to its parent. */
static vv_status close_level(btree_update *u, uint32_t level, vv_error *err)
{
    btree_level *l = &u->level[level];
    btree_level *up = &u->level[level + 1];
    bool is_root = l->old == NULL || level == u->path.levels;
    vv_status st = l->old == NULL ? VV_OK : copy_children(u, level, l->old->count, err);
    if (st == VV_OK && !is_root)
        st = copy_children(u, level + 1, l->in_parent, err);
    if (st != VV_OK)
        return st;
    uint32_t before = up->list.count;
    if (l->old != NULL && !l->reshaped)
        st = same_shape(u, level, &up->list, err);
    else
        st = build_nodes(u, level, l->old == NULL ? BTREE_NO_PAGE : l->old->id, &up->list, err);
    uint32_t made = up->list.count - before;
    if (st == VV_OK && l->old != NULL && made == 0)
        st = btree_writer_free(u->w, l->old->id, err);
    if (st == VV_OK && !is_root) {
        /* The first keeps the separator of the node it replaces. */
        if (made > 0 && l->in_parent > 0) {
            vv_slice separator = btree_inode_separator(up->old, l->in_parent);
            size_t at = up->list.keys.len;
            vv_buf_append_slice(&up->list.keys, separator);
            if (up->list.keys.status != VV_OK)
                st = vv_fail(err, VV_NO_MEMORY, "index: no memory for a separator");
            up->list.key_at[before] = (uint32_t)at;
            up->list.key_len[before] = (uint32_t)separator.len;
        }
        up->next = l->in_parent + 1;
        up->reshaped |= made != 1;
    }
    btree_list_reset(&l->list, level);
    l->open = false;
    return st;
}

static void open_level(btree_update *u, uint32_t level, const btree_inode *node, uint32_t in_parent)
{
    btree_level *l = &u->level[level];
    l->old = node;
    l->open = true;
    l->reshaped = false;
    l->next = 0;
    l->in_parent = in_parent;
}

/* Make every level stand open on the path's nodes, closing what the walk has left. */
static vv_status open_path(btree_update *u, vv_error *err)
{
    uint32_t top = u->path.levels;
    uint32_t same = top + 1; /* levels from here up stand open on the right node */
    while (same > 1 && u->level[same - 1].open && u->level[same - 1].old == u->path.node[same - 1])
        same--;
    vv_status st = VV_OK;
    for (uint32_t level = 1; st == VV_OK && level < same; level++)
        if (u->level[level].open)
            st = close_level(u, level, err);
    for (uint32_t level = same - 1; st == VV_OK && level >= 1; level--)
        open_level(u, level, u->path.node[level], level == top ? 0 : u->path.index[level + 1]);
    return st;
}

/* ---- the way along the leaves ---- */

static void begin_run(btree_update *u, uint32_t index)
{
    u->in_run = true;
    u->run_from = u->run_to = index;
    u->run_out = 0;
    u->run_reused = 0;
}

vv_status btree_update_open_leaf(btree_update *u, vv_slice key, pgc_frame **frame, vv_error *err)
{
    vv_status st = VV_OK;
    *frame = NULL;
    if (u->root == NULL) {
        if (!u->in_run) {
            u->path.levels = 1;
            open_level(u, 1, NULL, 0);
            begin_run(u, 0);
        }
        return VV_OK;
    }
    btree_path_seek(&u->path, u->root, key);
    u->started = true;
    const btree_inode *parent = u->path.node[1];
    uint32_t index = u->path.index[1];
    while (st == VV_OK && u->in_run && parent == u->level[1].old && index > u->run_to &&
           is_small(u))
        st = take_next(u, err);
    if (st != VV_OK)
        return st;
    assert(!u->in_run || parent != u->level[1].old || index >= u->run_to);
    if (!u->in_run || parent != u->level[1].old || index != u->run_to) {
        while (st == VV_OK && u->in_run && is_small(u) && u->run_to < u->level[1].old->count &&
               parent != u->level[1].old)
            st = take_next(u, err);
        if (st == VV_OK && u->in_run)
            st = end_run(u, err);
        if (st == VV_OK)
            st = open_path(u, err);
        if (st == VV_OK)
            st = copy_children(u, 1, index, err);
        if (st != VV_OK)
            return st;
        begin_run(u, index);
    }
    st = read_leaf(u, parent, index, frame, err);
    if (st == VV_OK)
        u->run_to = index + 1;
    return st;
}

bool btree_update_upper(const btree_update *u, vv_slice *upper)
{
    return u->root != NULL && btree_path_upper(&u->path, upper);
}

/* Everything above the leaves is closed: the lists lie on the level above the root's. Nodes on top
 * until there is one. */
static vv_status make_root(btree_update *u, btree_inode **out, btree_root *root, vv_error *err)
{
    uint32_t level = u->path.levels + 1;
    vv_status st = VV_OK;
    while (st == VV_OK && u->level[level].list.count > 1) {
        if (level > BTREE_LEVELS_MAX)
            return vv_fail(err, VV_NO_SPACE, "the tree has too many levels");
        st = build_nodes(u, level, BTREE_NO_PAGE, &u->level[level + 1].list, err);
        btree_list_reset(&u->level[level].list, level);
        level++;
    }
    if (st != VV_OK)
        return st;
    *out = NULL;
    *root = (btree_root){.id = BTREE_NO_PAGE};
    btree_list *l = &u->level[level].list;
    if (l->count == 0)
        return VV_OK;
    btree_inode *n = l->child[0].u.node;
    l->count = 0;
    while (st == VV_OK && n->level > 1 && n->count == 1) { /* a root of one child is no use */
        btree_inode *only = n->child[0].u.node;
        btree_inode_ref(only);
        st = btree_writer_free(u->w, n->id, err);
        btree_inode_unref(n);
        n = only;
    }
    if (st != VV_OK) {
        btree_inode_unref(n);
        return st;
    }
    *out = n;
    *root = btree_inode_root(n);
    return VV_OK;
}

/* Read a page that was written, by this job or before, and change its links. */
static vv_status apply_patch(btree_update *u, const btree_patch *p, btree_inode **root,
                             vv_error *err)
{
    btree_writer *w = u->w;
    btree_iter *it = vv_alloc(sizeof *it);
    if (it == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory to join leaves");
    vv_status st = btree_writer_flush(w, err);
    if (st == VV_OK)
        st = btree_store_read_id(w->store, &w->next.map, w->files, w->file_count, p->id, u->page,
                                 err);
    if (st == VV_OK)
        st = btree_iter_open(it, u->page, w->store->page_size, err);
    btree_entry first;
    if (st == VV_OK)
        st = btree_iter_next(it, &first, err);
    btree_child child;
    if (st == VV_OK) {
        uint32_t prev = p->next ? btree_data_prev(u->page) : p->value;
        uint32_t next = p->next ? p->value : btree_data_next(u->page);
        btree_data_set_links(u->page, prev, next);
        btree_page_seal(u->page, w->store->page_size);
        st = btree_writer_put(w, p->id, u->page, &child, err);
    }
    if (st == VV_OK)
        st = btree_move_leaf(root, first.key, &child, err);
    vv_free(it);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "links of leaf %u", p->id);
}

vv_status btree_update_finish(btree_update *u, btree_inode **out, btree_root *root, vv_error *err)
{
    vv_status st = VV_OK;
    if (!u->in_run) { /* no leaf was opened */
        btree_inode_ref(u->root);
        *out = u->root;
        *root = btree_inode_root(u->root);
        return VV_OK;
    }
    while (st == VV_OK && is_small(u) && u->level[1].old != NULL &&
           u->run_to < u->level[1].old->count)
        st = take_next(u, err);
    if (st == VV_OK)
        st = end_run(u, err);
    if (st == VV_OK)
        st = close_cluster(u, err);
    for (uint32_t level = 1; st == VV_OK && level <= u->path.levels; level++)
        st = close_level(u, level, err);
    btree_inode *made = NULL;
    if (st == VV_OK)
        st = make_root(u, &made, root, err);
    for (uint32_t i = 0; st == VV_OK && i < u->patch_count; i++)
        st = apply_patch(u, &u->patches[i], &made, err);
    if (st != VV_OK) {
        btree_inode_unref(made);
        return st;
    }
    *out = made;
    return VV_OK;
}

vv_status btree_move_leaf(btree_inode **root, vv_slice key, const btree_child *child, vv_error *err)
{
    btree_inode **slot = root;
    while (*slot != NULL) {
        btree_inode *n = *slot;
        if (atomic_load_explicit(&n->refs, memory_order_acquire) > 1) {
            btree_inode *own = NULL;
            vv_status st = btree_inode_clone(n, &own, err);
            if (st != VV_OK)
                return st;
            *slot = own;
            btree_inode_unref(n);
            n = own;
        }
        uint32_t i = btree_inode_find(n, key);
        if (n->level == 1) {
            if (n->child[i].id != child->id)
                break;
            n->child[i] = *child;
            return VV_OK;
        }
        slot = &n->child[i].u.node;
    }
    return vv_fail(err, VV_CORRUPT, "leaf %u is not where its keys belong", child->id);
}
