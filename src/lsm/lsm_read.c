/*
 * lsm_read.c - a point read and a cursor over the current view.
 *
 * A point read looks at the parts of the view from the newest to the oldest and stops at the first
 * that knows the key: a version at or below the snapshot, or a range deletion that covers it,
 * because everything in later parts is older. It finds the candidate run of each level first and
 * asks the memory for all their filter lines at once; then it opens what the filters leave.
 *
 * Everything happens in one epoch section while blocks are in the cache. For a block that is not,
 * it takes a reference on the view, leaves the section, reads, and goes on where it was. A read
 * from memory alone ends there instead: its caller asks again on a thread that may wait.
 */
#include "base/alloc.h"
#include "base/epoch.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/point.h"
#include "base/util.h"
#include "engine/memstack.h"
#include "lsm/lsm_filter.h"
#include "lsm/lsm_int.h"
#include "lsm/lsm_value.h"

#define CANDIDATES 16u /* runs whose filters are asked in one go */
#define COPY_MAX                                                                                   \
    1024u /* values of a memtable up to here are copied out: a reference on the                    \
             memtable is one word that all readers would write */

typedef struct lookup {
    lsm_engine *e;
    vv_slice key;
    const engine_read *read;
    uint64_t hash;
    const lsm_view *view;
    bool view_held;   /* a reference was taken to do I/O */
    pgc_frame *frame; /* pinned: holds item.value */
    engine_item item;
    int64_t cover; /* newest range deletion at or below the snapshot over the key so far */
} lookup;

static void hold_view(lookup *l)
{
    if (!l->view_held)
        lsm_view_ref((lsm_view *)(uintptr_t)l->view);
    l->view_held = true;
}

/* The key's version in one run, read from the cache or the file. *found: item and frame are set.
 * VV_BUSY: only the file has it, and the read is from memory. */
static vv_status look_in_run(lookup *l, lsm_run *run, bool *found, vv_error *err)
{
    uint32_t block = lsm_fence_find(&run->fence, l->key, l->read->version);
    pgc_frame *frame = pgc_lookup(run->pages, block);
    if (VV_LIKELY(frame != NULL)) {
        pgc_count(&pgc_my_counter(pgc_cache_counters(run->store->cache))->hits);
        lsm_block_prefetch(pgc_data(frame));
        *found = lsm_block_get(pgc_data(frame), l->key, l->read->version, &l->item);
        if (*found) {
            pgc_pin(frame);
            l->frame = frame;
        }
        return VV_OK;
    }
    if (l->read->from_memory)
        return VV_BUSY;
    hold_view(l);
    vv_epoch_exit();
    vv_status st = lsm_run_get_block(run, block, &frame, err);
    vv_epoch_enter();
    if (st != VV_OK)
        return st;
    *found = lsm_block_get(pgc_data(frame), l->key, l->read->version, &l->item);
    if (*found)
        l->frame = frame;
    else
        pgc_unpin(frame);
    return VV_OK;
}

static lsm_counter *counter_of(const lookup *l)
{
    lsm_store *store = &l->e->store;
    const pgc_counter *all = pgc_cache_counters(store->cache);
    return &store->counters[pgc_my_counter(pgc_cache_counters(store->cache)) - all];
}

/* Ask a few runs, newest first. */
static vv_status look_in_runs(lookup *l, lsm_run *const *runs, const uint8_t *const *lines,
                              const uint32_t *levels, uint32_t count, vv_error *err)
{
    for (uint32_t i = 0; i < count; i++) {
        engine_cover_note(&l->cover, runs[i]->rangedels, l->key, l->read->version);
        if (lines[i] == NULL)
            continue;
        if (!lsm_filter_test(lines[i], l->hash)) {
            pgc_count(&counter_of(l)->filter_skips);
        } else {
            bool found = false;
            vv_status st = look_in_run(l, runs[i], &found, err);
            pgc_count(&counter_of(l)->level_reads[levels[i]]);
            if (st != VV_OK || found)
                return st;
            pgc_count(&counter_of(l)->filter_fails);
        }
        if (l->cover >= 0)
            return VV_NOT_FOUND;
    }
    return VV_NOT_FOUND;
}

static vv_status look_in_levels(lookup *l, vv_error *err)
{
    l->hash = vv_hash64(l->key.data, l->key.len);
    for (uint32_t i = 0; i < l->view->level_count && l->cover < 0;) {
        lsm_run *runs[CANDIDATES];
        const uint8_t *lines[CANDIDATES];
        uint32_t levels[CANDIDATES]; /* a run that was moved does not know its own */
        uint32_t count = 0;
        for (; i < l->view->level_count && count < CANDIDATES; i++) {
            lsm_run *run = lsm_level_find(l->view->level[i], l->key);
            if (run == NULL)
                continue;
            runs[count] = run;
            levels[count] = l->view->level[i]->number;
            lines[count] = NULL;
            if (run->filter != NULL) {
                lines[count] = lsm_filter_line(run->filter, run->filter_lines, l->hash);
                __builtin_prefetch(lines[count]);
            }
            count++;
        }
        vv_status st = look_in_runs(l, runs, lines, levels, count, err);
        if (st != VV_NOT_FOUND)
            return st;
    }
    return VV_NOT_FOUND;
}

static void unpin_memtable(void *pin)
{
    engine_memtable_unref(pin);
}

void lsm_value_of_memtable(const engine_item *item, engine_memtable *holder, engine_value *out)
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

static vv_status give_merged(lsm_engine *e, const lsm_view *view, vv_slice key,
                             const engine_read *read, engine_value *out, vv_error *err)
{
    vv_buf value;
    vv_buf_init(&value, ENGINE_VALUE_MAX);
    vv_status st =
        lsm_resolve(&e->store, view, key, read, &value, &out->version, &out->expires_ns, err);
    if (st != VV_OK) {
        vv_buf_fini(&value);
        return st;
    }
    out->data = vv_buf_slice(&value);
    out->pin = value.data; /* the buffer's memory is the value's now */
    out->unpin = vv_free;
    return VV_OK;
}

vv_status lsm_give_resolved(lsm_engine *e, const lsm_view *view, const lsm_found *found,
                            const engine_read *read, engine_value *out, vv_error *err)
{
    if (found->kind == ENGINE_MERGE)
        return give_merged(e, view, found->key, read, out, err);
    if (read->from_memory)
        return VV_BUSY;
    uint8_t *memory = NULL;
    vv_status st = lsm_value_read(&e->store, found->reference, &memory, &out->data, err);
    out->pin = memory;
    out->unpin = st == VV_OK ? vv_free : NULL;
    return st;
}

/* What was found is not the value itself. Leaves the section for a while. */
static vv_status get_resolved(lookup *l, engine_value *out, vv_error *err)
{
    const lsm_found found = {.kind = l->item.kind, .key = l->key, .reference = l->item.value};
    hold_view(l);
    vv_epoch_exit();
    vv_status st = lsm_give_resolved(l->e, l->view, &found, l->read, out, err);
    vv_epoch_enter();
    return st;
}

vv_status lsm_get(engine *base, vv_slice key, const engine_read *read, engine_value *out,
                  vv_error *err)
{
    lsm_engine *e = lsm_engine_of(base);
    lookup l = {.e = e, .key = key, .read = read, .cover = -1};
    vv_epoch_enter();
    l.view = atomic_load_explicit(&e->view, memory_order_acquire);
    engine_memtable *holder =
        engine_memstack_get(l.view->mem, l.view->mem_count, key, read->version, &l.item, &l.cover);
    vv_status st = holder != NULL ? VV_OK : VV_NOT_FOUND;
    if (st == VV_NOT_FOUND && l.cover < 0)
        st = look_in_levels(&l, err);
    if (st == VV_OK && !engine_item_is_live(&l.item, l.cover, read))
        st = VV_NOT_FOUND;
    if (st == VV_OK) {
        *out = (engine_value){.version = l.item.version, .expires_ns = l.item.expires_ns};
        if (VV_UNLIKELY(l.item.kind != ENGINE_PUT)) {
            st = get_resolved(&l, out, err);
        } else if (holder != NULL) {
            lsm_value_of_memtable(&l.item, holder, out);
        } else {
            out->data = l.item.value;
            out->pin = l.frame;
            out->unpin = pgc_unpin;
        }
    }
    vv_epoch_exit();
    if (l.frame != NULL && (st != VV_OK || l.item.kind != ENGINE_PUT))
        pgc_unpin(l.frame);
    if (l.view_held)
        lsm_view_release(e, (lsm_view *)(uintptr_t)l.view);
    return st;
}

/* ---- cursors ---- */

typedef struct cursor_hold {
    lsm_engine *e;
    lsm_view *view;
} cursor_hold;

static void release_hold(void *ctx)
{
    cursor_hold *hold = ctx;
    lsm_view_release(hold->e, hold->view);
    vv_free(hold);
}

static vv_status resolve_held(void *ctx, const engine_item *item, const engine_read *read,
                              vv_buf *out, vv_error *err)
{
    const cursor_hold *hold = ctx;
    int64_t version = 0;
    int64_t expires_ns = 0;
    if (item->kind == ENGINE_APART)
        return lsm_value_load(&hold->e->store, item->value, out, err);
    return lsm_resolve(&hold->e->store, hold->view, item->key, read, out, &version, &expires_ns,
                       err);
}

/* Sources over all parts of the view that the bounds touch, newest first. */
static vv_status make_sources(const lsm_view *view, const engine_cursor_options *opt,
                              engine_source **sources, size_t *count, vv_error *err)
{
    vv_status st = VV_OK;
    size_t n = 0;
    for (uint32_t i = 0; st == VV_OK && i < view->mem_count; i++) {
        if (VV_BUG(15) && i > 0)
            continue;
        st = engine_memtable_source(view->mem[i], &sources[n], err);
        n += st == VV_OK;
    }
    for (uint32_t i = 0; st == VV_OK && i < view->level_count; i++) {
        if (!lsm_level_overlaps(view->level[i], opt->lower, opt->upper))
            continue;
        st = lsm_source_create(view->level[i], 0, &sources[n], err);
        if (st == VV_OK)
            lsm_source_bound(sources[n++], opt->lower, opt->upper);
    }
    *count = n;
    return st;
}

vv_status lsm_cursor(engine *base, const engine_cursor_options *opt, engine_cursor **out,
                     vv_error *err)
{
    lsm_engine *e = lsm_engine_of(base);
    lsm_view *view = lsm_view_acquire(e);
    cursor_hold *hold = vv_alloc(sizeof *hold);
    engine_source **sources =
        vv_calloc((size_t)view->mem_count + view->level_count, sizeof(engine_source *));
    if (hold == NULL || sources == NULL) {
        vv_free(sources);
        vv_free(hold);
        lsm_view_release(e, view);
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
    else
        lsm_compact_note_cursor(e, view);
    return st;
}
