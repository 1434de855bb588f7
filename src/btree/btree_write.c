/*
 * btree_write.c - the writer: pages into data files, ids into the mapping.
 *
 * Pages are collected in a buffer and written in one piece. A data file that a job leaves half full
 * goes on with the next job, from the end of what was committed; after a failure it is left as it
 * is and a new file is begun, because nobody knows what lies behind its committed end.
 */
#include "btree/btree_write.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "base/util.h"

#define BUFFER_BYTES (1 * VV_MIB)

void btree_active_close(btree_active *a)
{
    vio_close(a->out);
    btree_file_unref(a->file);
    *a = (btree_active){0};
}

/* ---- life ---- */

vv_status btree_writer_open(btree_writer *w, btree_store *store, btree_manifest *manifest,
                            const btree_state *base, btree_file *const *files, uint32_t file_count,
                            btree_active *active, btree_ids *ids, vv_error *err)
{
    *w = (btree_writer){
        .store = store, .manifest = manifest, .ids = ids, .cls = VIO_CLASS_COMPACTION};
    btree_state_share(base, &w->next);
    uint64_t pages = vv_min_u64(BUFFER_BYTES / store->page_size, UINT64_C(1) << store->shift);
    w->buffer_pages = (uint32_t)pages;
    w->file_cap = file_count + 8;
    w->files = vv_calloc(w->file_cap, sizeof(btree_file *));
    w->live = vv_calloc(w->file_cap, sizeof *w->live);
    w->buffer = vv_alloc_aligned(VV_BLOCK, vv_align_up(pages * store->page_size, VV_BLOCK));
    if (w->files == NULL || w->live == NULL || w->buffer == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory to write pages");
    for (uint32_t i = 0; i < file_count; i++) {
        w->files[i] = files[i];
        btree_file_ref(files[i]);
        w->live[i] = files[i]->live;
    }
    w->file_count = file_count;
    w->active = *active;
    *active = (btree_active){0};
    return VV_OK;
}

static void drop_prefill(btree_writer *w)
{
    for (uint32_t i = 0; i < w->prefill_count; i++)
        pgc_unpin(w->prefill[i].frame);
    w->prefill_count = 0;
}

/* A new file without a committed page is of no use. */
static void drop_new_file(btree_file *f)
{
    if (f->used == 0)
        atomic_store_explicit(&f->doomed, true, memory_order_relaxed);
}

void btree_writer_close(btree_writer *w)
{
    if (w->store == NULL)
        return;
    drop_prefill(w);
    for (uint32_t i = 0; i < w->file_count; i++) {
        if (!w->keeps_files)
            drop_new_file(w->files[i]);
        btree_file_unref(w->files[i]);
    }
    btree_active_close(&w->active);
    btree_state_fini(&w->next);
    vv_free(w->files);
    vv_free(w->live);
    vv_free(w->buffer);
    vv_free(w->freed);
    vv_free(w->prefill);
    *w = (btree_writer){0};
}

/* ---- ids ---- */

vv_status btree_writer_new_id(btree_writer *w, uint32_t *out, vv_error *err)
{
    if (w->ids_taken < w->ids->count) {
        *out = w->ids->free[w->ids->count - ++w->ids_taken];
        return VV_OK;
    }
    if (w->next.page_limit >= BTREE_NO_PAGE - 1)
        return vv_fail(err, VV_NO_SPACE, "the tree has as many pages as ids");
    *out = w->next.page_limit++;
    return VV_OK;
}

static uint32_t index_of_file(const btree_writer *w, uint64_t at)
{
    uint64_t id = btree_store_file_of(w->store, at);
    uint32_t lo = 0;
    uint32_t hi = w->file_count;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (w->files[mid]->id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Change the place of an id and count the pages of files. */
static vv_status place_page(btree_writer *w, uint32_t id, btree_place place, vv_error *err)
{
    btree_place old = btree_map_get(&w->next.map, id);
    vv_status st = btree_map_set(&w->next.map, id, place, err);
    if (st != VV_OK)
        return st;
    if (old.at != BTREE_NOWHERE)
        w->live[index_of_file(w, old.at)]--;
    if (place.at != BTREE_NOWHERE)
        w->live[index_of_file(w, place.at)]++;
    return VV_OK;
}

vv_status btree_writer_free(btree_writer *w, uint32_t id, vv_error *err)
{
    if (w->freed_count == w->freed_cap) {
        uint32_t cap = w->freed_cap == 0 ? 64 : w->freed_cap * 2;
        uint32_t *freed = vv_realloc(w->freed, cap * sizeof *freed);
        if (freed == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for %u free pages", cap);
        w->freed = freed;
        w->freed_cap = cap;
    }
    /* Room for them in the list of free ids, so that nothing can fail after the commit. */
    uint32_t need = w->ids->count + w->freed_count + 1;
    if (need > w->ids->cap) {
        uint32_t cap = need + need / 2 + 64;
        uint32_t *grown = vv_realloc(w->ids->free, cap * sizeof *grown);
        if (grown == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for %u free pages", cap);
        w->ids->free = grown;
        w->ids->cap = cap;
    }
    vv_status st = place_page(w, id, (btree_place){.at = BTREE_NOWHERE}, err);
    if (st == VV_OK)
        w->freed[w->freed_count++] = id;
    return st;
}

/* ---- pages ---- */

vv_status btree_writer_flush(btree_writer *w, vv_error *err)
{
    if (w->buffered == 0)
        return VV_OK;
    uint64_t size = w->store->page_size;
    uint64_t from = w->active.used - w->buffered;
    vv_status st = vio_write_ranked(w->store->env->io, w->cls, w->active.out, from * size,
                                    w->buffer, w->buffered * size, err);
    VV_POINT("btree.pages.written");
    if (st == VV_OK)
        w->buffered = 0;
    return st;
}

static vv_status sync_active(btree_writer *w, vv_error *err)
{
    vv_status st = btree_writer_flush(w, err);
    if (st == VV_OK && w->active.out != NULL && !VV_BUG(44))
        st = vio_sync(w->active.out, err);
    return st;
}

static vv_status add_file(btree_writer *w, btree_file *f, vv_error *err)
{
    if (w->file_count == w->file_cap) {
        uint32_t cap = w->file_cap * 2;
        btree_file **files = vv_realloc(w->files, cap * sizeof(btree_file *));
        if (files != NULL)
            w->files = files;
        uint32_t *live = vv_realloc(w->live, cap * sizeof *live);
        if (live != NULL)
            w->live = live;
        if (files == NULL || live == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for %u data files", cap);
        w->file_cap = cap;
    }
    w->files[w->file_count] = f; /* ids ascend */
    w->live[w->file_count++] = 0;
    btree_file_ref(f);
    return VV_OK;
}

/* The active file is full or there is none: begin the next. */
static vv_status next_file(btree_writer *w, vv_error *err)
{
    vv_status st = sync_active(w, err);
    if (st != VV_OK)
        return st;
    btree_active_close(&w->active);
    uint64_t id = 0;
    btree_file *f = NULL;
    st = btree_manifest_new_id(w->manifest, &id, err);
    if (st == VV_OK)
        st = btree_file_open(w->store, id, true, &f, err);
    if (st != VV_OK)
        return st;
    w->dir_dirty = true;
    char path[VIO_PATH_MAX];
    btree_file_path(path, w->store->dir, id);
    unsigned direct = w->store->page_size >= VV_BLOCK ? VIO_DIRECT : 0;
    st = vio_open(w->store->env->io, path, VIO_READ | VIO_WRITE | direct, &w->active.out, err);
    if (st == VV_OK)
        st = add_file(w, f, err);
    if (st != VV_OK) {
        drop_new_file(f);
        btree_file_unref(f);
        btree_active_close(&w->active);
        return st;
    }
    w->active.file = f;
    w->active.used = 0;
    return VV_OK;
}

vv_status btree_writer_put(btree_writer *w, uint32_t id, const uint8_t *page, btree_child *out,
                           vv_error *err)
{
    vv_status st = VV_OK;
    if (w->active.file == NULL || w->active.used == UINT32_C(1) << w->store->shift)
        st = next_file(w, err);
    else if (w->buffered == w->buffer_pages)
        st = btree_writer_flush(w, err);
    if (st != VV_OK)
        return st;
    btree_file *f = w->active.file;
    if (w->first_active == 0)
        w->first_active = f->id;
    /* The file of the last job may not be among those of its tree when all its pages are gone. */
    uint32_t i = index_of_file(w, btree_place_at(w->store, f->id, 0));
    if (i == w->file_count)
        st = add_file(w, f, err);
    uint32_t number = w->active.used;
    uint32_t sum = (uint32_t)btree_page_stored_sum(page);
    if (st == VV_OK)
        st = place_page(
            w, id, (btree_place){.at = btree_place_at(w->store, f->id, number), .sum = sum}, err);
    if (st != VV_OK)
        return st;
    memcpy(w->buffer + (size_t)w->buffered * w->store->page_size, page, w->store->page_size);
    w->buffered++;
    w->active.used++;
    w->written++;
    if (out != NULL)
        *out = (btree_child){.u.file = f, .page = number, .sum = sum, .id = id};
    return VV_OK;
}

vv_status btree_writer_sync(btree_writer *w, vv_error *err)
{
    vv_status st = sync_active(w, err);
    if (st == VV_OK && w->dir_dirty) {
        st = vio_sync_dir(w->store->env->io, w->store->dir, err);
        if (st == VV_OK)
            w->dir_dirty = false;
    }
    VV_POINT("btree.pages.synced");
    return st;
}

void btree_writer_done(btree_writer *w, btree_active *active)
{
    btree_ids *ids = w->ids;
    ids->count -= w->ids_taken;
    w->ids_taken = 0;
    for (uint32_t i = 0; i < w->freed_count; i++)
        ids->free[ids->count++] = w->freed[i];
    w->freed_count = 0;
    for (uint32_t i = 0; i < w->file_count; i++) {
        w->files[i]->live = w->live[i];
        if (w->files[i] == w->active.file)
            w->files[i]->used = w->active.used;
        else if (w->first_active != 0 && w->files[i]->id >= w->first_active)
            w->files[i]->used = UINT32_C(1) << w->store->shift; /* filled by this job */
    }
    for (uint32_t i = 0; i < w->prefill_count; i++)
        pgc_publish(w->prefill[i].file->pages, w->prefill[i].page, w->prefill[i].frame);
    drop_prefill(w);
    btree_active_close(active);
    *active = w->active;
    w->active = (btree_active){0};
}

/* ---- values in pages of their own ---- */

vv_status btree_writer_put_value(btree_writer *w, vv_slice value, uint8_t ids[4 * BTREE_POINTERS],
                                 size_t *len, vv_error *err)
{
    const uint32_t size = w->store->page_size;
    uint32_t group[BTREE_POINTERS] = {0};
    uint32_t count = 0;
    uint8_t *page = NULL;
    vv_status st = btree_store_take_page(w->store, &page, err);
    *len = 0;
    while (st == VV_OK && value.len > 0) {
        /* The ids of this group: they stand in what came before it. */
        if (*len == 0) {
            uint64_t rest = value.len;
            for (count = 0; rest > 0 && count < BTREE_POINTERS && st == VV_OK; count++) {
                rest -= vv_min_u64(rest, btree_overflow_capacity(size, BTREE_POINTERS,
                                                                 count + 1 == BTREE_POINTERS));
                st = btree_writer_new_id(w, &group[count], err);
            }
            for (uint32_t i = 0; i < count; i++)
                vv_put_le32(ids + 4 * (size_t)i, group[i]);
            *len = 4 * (size_t)count;
        }
        uint32_t next[BTREE_POINTERS] = {0};
        uint32_t next_count = 0;
        for (uint32_t i = 0; st == VV_OK && i < count; i++) {
            bool ends = i + 1 == BTREE_POINTERS;
            vv_slice part = vv_slice_of(
                value.data,
                vv_min_u64(value.len, btree_overflow_capacity(size, BTREE_POINTERS, ends)));
            value = vv_slice_of(value.data + part.len, value.len - part.len);
            uint64_t rest = ends ? value.len : 0;
            for (next_count = 0; rest > 0 && next_count < BTREE_POINTERS && st == VV_OK;
                 next_count++) {
                rest -= vv_min_u64(rest, btree_overflow_capacity(size, BTREE_POINTERS,
                                                                 next_count + 1 == BTREE_POINTERS));
                st = btree_writer_new_id(w, &next[next_count], err);
            }
            if (st != VV_OK)
                break;
            btree_overflow_encode(page, size, part, next, next_count);
            st = btree_writer_put(w, group[i], page, NULL, err);
        }
        memcpy(group, next, sizeof group);
        count = next_count;
    }
    btree_store_give_page(w->store, page);
    return st;
}

vv_status btree_writer_free_value(btree_writer *w, vv_slice ids, vv_error *err)
{
    uint8_t *page = NULL;
    uint32_t group[BTREE_POINTERS_MAX];
    uint32_t count = (uint32_t)(ids.len / 4);
    memcpy(group, ids.data, 4 * (size_t)count);
    vv_status st = btree_store_take_page(w->store, &page, err);
    while (st == VV_OK && count > 0) {
        vv_slice part;
        const uint8_t *next = NULL;
        uint32_t next_count = 0;
        /* Only the last page of a full group can name a further one. */
        if (count >= BTREE_POINTERS) {
            st = btree_store_read_id(w->store, &w->next.map, w->files, w->file_count,
                                     group[count - 1], page, err);
            if (st == VV_OK)
                st = btree_overflow_decode(page, w->store->page_size, &part, &next, &next_count,
                                           err);
        }
        for (uint32_t i = 0; st == VV_OK && i < count; i++)
            st = btree_writer_free(w, group[i], err);
        if (st == VV_OK && next != NULL)
            memcpy(group, next, 4 * (size_t)next_count);
        count = next_count;
    }
    btree_store_give_page(w->store, page);
    return st;
}
