/*
 * btree_tree.c - one state of the tree as readers hold it: mapping, index nodes, open files.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "btree/btree_int.h"

static btree_tree *new_tree(btree_store *store, uint32_t file_count)
{
    btree_tree *t = vv_calloc(1, sizeof *t + file_count * sizeof(btree_file *));
    if (t == NULL)
        return NULL;
    atomic_init(&t->refs, 1);
    t->store = store;
    btree_state_init(&t->state, store->budget);
    return t;
}

void btree_tree_unref(btree_tree *t)
{
    if (t == NULL || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) > 1)
        return;
    btree_inode_unref(t->main);
    btree_inode_unref(t->history);
    for (uint32_t i = 0; i < t->file_count; i++)
        btree_file_unref(t->files[i]);
    btree_state_fini(&t->state);
    vv_free(t);
}

bool btree_tree_has_file(const btree_tree *t, const btree_file *file)
{
    uint32_t lo = 0;
    uint32_t hi = t->file_count;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (t->files[mid]->id < file->id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < t->file_count && t->files[lo] == file;
}

vv_status btree_tree_create(btree_writer *w, btree_inode *main, btree_inode *history,
                            btree_tree **out, vv_error *err)
{
    btree_tree *t = new_tree(w->store, w->file_count);
    if (t == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a tree of %u files", w->file_count);
    for (uint32_t i = 0; i < w->file_count; i++) {
        if (w->live[i] == 0)
            continue;
        t->files[t->file_count++] = w->files[i];
        btree_file_ref(w->files[i]);
    }
    btree_state_fini(&t->state);
    btree_state_share(&w->next, &t->state);
    t->main = main;
    t->history = history;
    *out = t;
    return VV_OK;
}

/* ---- loading ---- */

typedef struct file_count {
    uint64_t id;
    uint32_t live;
} file_count;

typedef struct counting {
    const btree_store *store;
    file_count *files; /* sorted by id */
    uint32_t count;
    uint32_t cap;
} counting;

static vv_status count_page(void *ctx, uint32_t id, btree_place place)
{
    counting *c = ctx;
    (void)id;
    uint64_t file = btree_store_file_of(c->store, place.at);
    uint32_t i = c->count;
    if (i > 0 && c->files[i - 1].id >= file) { /* not behind the last: look */
        uint32_t lo = 0;
        while (lo < i) {
            uint32_t mid = (lo + i) / 2;
            if (c->files[mid].id < file)
                lo = mid + 1;
            else
                i = mid;
        }
    }
    if (i < c->count && c->files[i].id == file) {
        c->files[i].live++;
        return VV_OK;
    }
    if (c->count == c->cap) {
        uint32_t cap = c->cap == 0 ? 64 : c->cap * 2;
        file_count *files = vv_realloc(c->files, cap * sizeof *files);
        if (files == NULL)
            return VV_NO_MEMORY;
        c->files = files;
        c->cap = cap;
    }
    memmove(c->files + i + 1, c->files + i, (c->count - i) * sizeof *c->files);
    c->files[i] = (file_count){file, 1};
    c->count++;
    return VV_OK;
}

static vv_status open_file(btree_tree *t, const file_count *want, btree_file *const *shared,
                           uint32_t shared_count, vv_error *err)
{
    uint64_t at = btree_place_at(t->store, want->id, 0);
    btree_file *f = btree_store_find_file(t->store, shared, shared_count, at);
    if (f != NULL) {
        btree_file_ref(f);
        t->files[t->file_count++] = f;
        return VV_OK;
    }
    vv_status st = btree_file_open(t->store, want->id, false, &f, err);
    if (st != VV_OK)
        return st;
    t->files[t->file_count++] = f;
    uint64_t size = 0;
    st = vio_size(f->file, &size, err);
    f->live = want->live;
    f->used = (uint32_t)vv_min_u64(size / t->store->page_size, UINT64_C(1) << t->store->shift);
    return st;
}

vv_status btree_tree_load(btree_store *store, const btree_state *state, btree_file *const *shared,
                          uint32_t shared_count, btree_tree **out, vv_error *err)
{
    counting c = {.store = store};
    btree_tree *t = NULL;
    vv_status st = btree_map_diff(NULL, &state->map, count_page, &c);
    if (st == VV_OK && (t = new_tree(store, c.count)) == NULL)
        st = VV_NO_MEMORY;
    if (st != VV_OK) {
        vv_free(c.files);
        return vv_fail(err, st, "no memory for a tree of %u files", c.count);
    }
    btree_state_fini(&t->state);
    btree_state_share(state, &t->state);
    for (uint32_t i = 0; st == VV_OK && i < c.count; i++)
        st = open_file(t, &c.files[i], shared, shared_count, err);
    vv_free(c.files);
    if (st == VV_OK)
        st = btree_index_load(store, &state->map, t->files, t->file_count, state->main, &t->main,
                              err);
    if (st == VV_OK)
        st = btree_index_load(store, &state->map, t->files, t->file_count, state->history,
                              &t->history, err);
    if (st != VV_OK) {
        btree_tree_unref(t);
        return st;
    }
    *out = t;
    return VV_OK;
}
