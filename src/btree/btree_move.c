/*
 * btree_move.c - thin data files: their live pages move to the active file, so that they can go.
 *
 * A page keeps its id when it moves, so nothing that points to it changes but the mapping and the
 * node above a leaf. Files are chosen by how little of them is live, until what is left takes no
 * more than file_amplify_factor allows.
 */
#include "btree/btree_job_int.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"

#define SLACK 16u            /* pages: a small tree may be as thin as it likes */
#define TIGHT_SLACK 4u       /* after a compaction that was asked for */
#define MOVE_PAGES_MAX 2048u /* in one job, but for the first file */

typedef struct chooser {
    btree_job *job;
    bool *chosen; /* by index in the writer's files */
    vv_status st;
} chooser;

/* The file with the smallest part of its pages live, of those not chosen; file_count: none. */
static uint32_t thinnest(const btree_writer *w, const bool *chosen)
{
    uint32_t best = w->file_count;
    for (uint32_t i = 0; i < w->file_count; i++) {
        uint64_t used = w->files[i]->used;
        if (chosen[i] || used == 0 || w->live[i] == used)
            continue;
        if (best == w->file_count ||
            (uint64_t)w->live[i] * w->files[best]->used < (uint64_t)w->live[best] * used)
            best = i;
    }
    return best;
}

static void choose(btree_job *job, bool tighten, bool *chosen)
{
    btree_writer *w = &job->writer;
    uint64_t live = w->next.map.count;
    uint64_t total = 0;
    for (uint32_t i = 0; i < w->file_count; i++)
        total += w->files[i]->used;
    uint64_t target =
        tighten ? live + live / 4 + TIGHT_SLACK : job->e->opt.file_amplify_factor * live + SLACK;
    uint64_t moved = 0;
    while (total > target) {
        uint32_t i = thinnest(w, chosen);
        if (i == w->file_count || (moved > 0 && moved + w->live[i] > MOVE_PAGES_MAX))
            return;
        chosen[i] = true;
        moved += w->live[i];
        total -= w->files[i]->used - w->live[i];
    }
}

static vv_status note_page(void *ctx, uint32_t id, btree_place place)
{
    chooser *c = ctx;
    btree_job *job = c->job;
    btree_writer *w = &job->writer;
    uint64_t file = btree_store_file_of(w->store, place.at);
    uint32_t lo = 0;
    uint32_t hi = w->file_count;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (w->files[mid]->id < file)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == w->file_count || !c->chosen[lo])
        return VV_OK;
    if (job->move_count == job->move_cap) {
        uint32_t cap = job->move_cap == 0 ? 256 : job->move_cap * 2;
        uint32_t *moved = vv_realloc(job->moved, cap * sizeof *moved);
        if (moved == NULL)
            return VV_NO_MEMORY;
        job->moved = moved;
        job->move_cap = cap;
    }
    job->moved[job->move_count++] = id;
    return VV_OK;
}

vv_status btree_move_begin(btree_job *job, bool tighten, vv_error *err)
{
    btree_writer *w = &job->writer;
    bool *chosen = vv_calloc(w->file_count + 1, sizeof *chosen);
    if (chosen == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %u files", w->file_count);
    choose(job, tighten, chosen);
    bool any = false;
    for (uint32_t i = 0; i < w->file_count; i++)
        any |= chosen[i];
    vv_status st = VV_OK;
    if (any) {
        chooser c = {.job = job, .chosen = chosen};
        st = btree_map_diff(NULL, &w->next.map, note_page, &c);
        if (st != VV_OK)
            (void)vv_fail(err, st, "no memory for pages to move");
    }
    /* Pages do not move within a file: the active one ends when it is to go. */
    for (uint32_t i = 0; st == VV_OK && job->move_count > 0 && i < w->file_count; i++)
        if (chosen[i] && w->files[i] == w->active.file)
            btree_active_close(&w->active);
    vv_free(chosen);
    if (st == VV_OK && job->move_count > 0) {
        btree_tree *tree = job->view->tree;
        btree_inode_ref(tree->main);
        btree_inode_ref(tree->history);
        job->new_main = tree->main;
        job->new_history = tree->history;
        job->has_main = job->has_history = true;
    }
    return st;
}

static bool is_leaf_of(const btree_inode *n, vv_slice key, uint32_t id)
{
    while (n != NULL) {
        uint32_t i = btree_inode_find(n, key);
        if (n->level == 1)
            return n->child[i].id == id;
        n = n->child[i].u.node;
    }
    return false;
}

static vv_status move_page(btree_job *job, uint32_t id, uint8_t *page, btree_iter *it,
                           vv_error *err)
{
    assert(page != NULL);
    btree_writer *w = &job->writer;
    vv_status st =
        btree_store_read_id(w->store, &w->next.map, w->files, w->file_count, id, page, err);
    btree_child child;
    if (st == VV_OK)
        st = btree_writer_put(w, id, page, &child, err);
    if (st != VV_OK || btree_page_type_of(page) != BTREE_DATA)
        return st;
    btree_entry first;
    st = btree_iter_open(it, page, w->store->page_size, err);
    if (st == VV_OK)
        st = btree_iter_next(it, &first, err);
    if (st != VV_OK)
        return st == VV_NOT_FOUND ? vv_fail(err, VV_CORRUPT, "leaf %u is empty", id) : st;
    bool in_main = is_leaf_of(job->new_main, first.key, id);
    return btree_move_leaf(in_main ? &job->new_main : &job->new_history, first.key, &child, err);
}

vv_status btree_move_piece(btree_job *job, bool *end, vv_error *err)
{
    btree_store *store = &job->e->store;
    uint8_t *page = NULL;
    btree_iter *it = vv_alloc(sizeof *it);
    vv_status st = it == NULL ? vv_fail(err, VV_NO_MEMORY, "moving pages: no memory")
                              : btree_store_take_page(store, &page, err);
    uint64_t bytes = 0;
    while (st == VV_OK && job->move_from < job->move_count && bytes <= btree_job_piece(job)) {
        st = move_page(job, job->moved[job->move_from], page, it, err);
        job->move_from += st == VV_OK;
        bytes += store->page_size;
    }
    job->read_bytes += bytes;
    btree_store_give_page(store, page);
    vv_free(it);
    *end = job->move_from == job->move_count;
    return st;
}
