/*
 * lsm_source.c - a level as an ordered stream of versions.
 *
 * It stands on entry `index` of block `block` of run `run` and keeps that block pinned, so a step
 * inside a block touches nothing shared. A cursor reads blocks through the cache; a scan
 * (compaction, check) reads the file in pieces of a given size into memory of its own and leaves
 * the cache alone.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "io/vio_queue.h"
#include "lsm/lsm_remote.h"
#include "lsm/lsm_view.h"

#define STEPS_BEFORE_SEEK 8u /* versions of one key to step over */

typedef struct level_source {
    engine_source base;
    lsm_level *level;
    uint32_t run_from, run_end; /* runs of the level that it looks at */
    uint32_t run;
    uint32_t block;
    unsigned index;
    lsm_block_layout at; /* of the block */
    pgc_frame *frame;    /* pinned, or NULL */
    size_t scan_size;    /* 0: blocks come through the cache */
    /* A scan's window over the current run's file. */
    vio_file *file; /* its own handle, past the page cache */
    uint64_t file_id;
    uint8_t *window;
    uint64_t window_at; /* offset of window in the file */
    uint64_t window_len;
    uint64_t window_cap;
    uint8_t key[LSM_KEY_BUF];
} level_source;

static level_source *source_of(engine_source *src)
{
    return VV_CONTAINER_OF(src, level_source, base);
}

static void drop_block(level_source *s)
{
    if (s->frame != NULL)
        pgc_unpin(s->frame);
    s->frame = NULL;
    s->base.valid = false;
}

/* ---- reading a block in a scan ---- */

static void free_window(level_source *s)
{
    if (s->window != NULL)
        vv_budget_release(s->level->run[0]->store->budget, VV_BUDGET_WORK, s->window_cap);
    vv_free(s->window);
    s->window = NULL;
    s->window_cap = 0;
    s->window_len = 0;
}

static vv_status open_window(level_source *s, const lsm_run *run, uint64_t need, vv_error *err)
{
    if (s->file == NULL || s->file_id != run->meta.id) {
        vio_close(s->file);
        s->file = NULL;
        s->window_len = 0;
        vv_status st = lsm_store_open_file(run->store, false, run->meta.id, VIO_READ | VIO_DIRECT,
                                           &s->file, err);
        if (st != VV_OK)
            return st;
        s->file_id = run->meta.id;
    }
    uint64_t cap = vv_align_up(vv_max_u64(s->scan_size, need), VV_BLOCK);
    if (cap > s->window_cap) {
        free_window(s);
        s->window = vv_alloc_aligned(VV_BLOCK, cap);
        if (s->window == NULL)
            return vv_fail(err, VV_NO_MEMORY, "scan: no memory for %llu bytes",
                           (unsigned long long)cap);
        s->window_cap = cap;
        vv_budget_take(run->store->budget, VV_BUDGET_WORK, cap);
    }
    return VV_OK;
}

static vv_status scan_window(level_source *s, lsm_run *run, uint32_t block, pgc_frame **out,
                             vv_error *err)
{
    uint64_t offset = lsm_run_block_offset(run, block);
    uint64_t end = offset + lsm_run_block_stored(run, block);
    uint64_t from = offset & ~(uint64_t)(VV_BLOCK - 1);
    vv_status st = open_window(s, run, end - from, err);
    if (st != VV_OK)
        return st;
    if (s->window_len == 0 || offset < s->window_at || end > s->window_at + s->window_len) {
        s->window_len = 0;
        size_t want = (size_t)vv_min_u64(s->window_cap, run->meta.size - from);
        size_t got = 0;
        st = vio_read_ranked(run->store->env->io, VIO_CLASS_COMPACTION, s->file, from, s->window,
                             want, &got, err);
        if (st == VV_OK && end > from + got)
            st = vv_fail(err, VV_CORRUPT, "run %llu ends inside block %u",
                         (unsigned long long)run->meta.id, block);
        if (st != VV_OK)
            return st;
        s->window_at = from;
        s->window_len = got;
    }
    return lsm_run_decode_block(run, block, s->window + (offset - s->window_at), out, err);
}

/* A bit that a network turned is not one that a disk did: what came from an object is asked for
 * once more before it is called damaged. */
static vv_status scan_block(level_source *s, lsm_run *run, uint32_t block, pgc_frame **out,
                            vv_error *err)
{
    vv_status st = scan_window(s, run, block, out, err);
    if (st == VV_CORRUPT && s->file != NULL && lsm_file_is_remote(s->file)) {
        s->window_len = 0;
        st = scan_window(s, run, block, out, err);
    }
    return st;
}

/* ---- moving ---- */

/* Stand on a block, at no entry yet. */
static vv_status enter_block(level_source *s, uint32_t run_index, uint32_t block, vv_error *err)
{
    lsm_run *run = s->level->run[run_index];
    if (s->frame != NULL && s->run == run_index && s->block == block)
        return VV_OK;
    drop_block(s);
    pgc_frame *frame = NULL;
    vv_status st = s->scan_size > 0 ? scan_block(s, run, block, &frame, err)
                                    : lsm_run_get_block(run, block, &frame, err);
    if (st != VV_OK)
        return st;
    s->frame = frame;
    s->run = run_index;
    s->block = block;
    lsm_block_lay_out(pgc_data(frame), &s->at);
    lsm_block_load_prefix(pgc_data(frame), s->key);
    return VV_OK;
}

static void show(level_source *s, unsigned index)
{
    s->index = index;
    lsm_block_item_at(&s->at, index, s->key, &s->base.item);
    s->base.valid = true;
}

/* The first entry of the first block at or after (run, block). */
static vv_status show_first_from(level_source *s, uint32_t run, uint64_t block, vv_error *err)
{
    while (run < s->run_end && block >= s->level->run[run]->block_count) {
        run++; /* also over runs that hold only range deletions */
        block = 0;
    }
    if (run >= s->run_end) {
        drop_block(s);
        return VV_OK;
    }
    vv_status st = enter_block(s, run, (uint32_t)block, err);
    if (st == VV_OK)
        show(s, 0);
    return st;
}

/* The last entry of the last block before (run, block). */
static vv_status show_last_before(level_source *s, uint32_t run, uint32_t block, vv_error *err)
{
    while (block == 0 && run > s->run_from) {
        run--;
        block = s->level->run[run]->block_count;
    }
    if (block == 0) {
        drop_block(s);
        return VV_OK;
    }
    vv_status st = enter_block(s, run, block - 1, err);
    if (st == VV_OK)
        show(s, s->at.n - 1);
    return st;
}

static vv_status level_seek(engine_source *src, vv_slice key, int64_t version, vv_error *err)
{
    level_source *s = source_of(src);
    s->base.valid = false;
    uint32_t run_index = lsm_level_first(s->level, key);
    if (run_index < s->run_from)
        return show_first_from(s, s->run_from, 0, err);
    if (run_index >= s->run_end) {
        drop_block(s);
        return VV_OK;
    }
    lsm_run *run = s->level->run[run_index];
    if (run->block_count == 0 || vv_slice_cmp(key, run->meta.lower) < 0)
        return show_first_from(s, run_index, 0, err);
    uint32_t block = lsm_fence_find(&run->fence, key, version);
    vv_status st = enter_block(s, run_index, block, err);
    if (st != VV_OK)
        return st;
    unsigned i = lsm_block_seek(pgc_data(s->frame), key, version);
    if (i == s->at.n)
        return show_first_from(s, run_index, (uint64_t)block + 1, err);
    show(s, i);
    return VV_OK;
}

static vv_status level_seek_below(engine_source *src, vv_slice key, vv_error *err)
{
    level_source *s = source_of(src);
    assert(key.data != NULL || key.len == 0);
    s->base.valid = false;
    uint32_t run_index = s->run_end;
    if (key.data != NULL || key.len > 0)
        run_index = lsm_level_first(s->level, key);
    if (run_index >= s->run_end)
        return show_last_before(s, s->run_end, 0, err);
    if (run_index < s->run_from) {
        drop_block(s);
        return VV_OK;
    }
    lsm_run *run = s->level->run[run_index];
    if (run->block_count == 0 || vv_slice_cmp(key, run->meta.lower) <= 0)
        return show_last_before(s, run_index, 0, err);
    uint32_t block = lsm_fence_find(&run->fence, key, INT64_MAX);
    vv_status st = enter_block(s, run_index, block, err);
    if (st != VV_OK)
        return st;
    unsigned i = lsm_block_seek(pgc_data(s->frame), key, INT64_MAX);
    if (i == 0)
        return show_last_before(s, run_index, block, err);
    show(s, i - 1);
    return VV_OK;
}

/* A cursor that came here from the block before will want the next one: ask for its frame's head
 * and what a step into it reads first. Nothing is looked at but the reference, so the frame may go
 * meanwhile. */
static void prefetch_next(const level_source *s)
{
    const lsm_run *run = s->level->run[s->run];
    if (s->scan_size > 0 || s->block + 1 >= run->block_count)
        return;
    pgc_frame *next = pgc_peek(run->pages, s->block + 1);
    if (next == NULL)
        return;
    __builtin_prefetch(next, 1);
    lsm_block_prefetch(pgc_data(next));
}

static vv_status level_next(engine_source *src, vv_error *err)
{
    level_source *s = source_of(src);
    assert(s->base.valid);
    if (VV_LIKELY(s->index + 1 < s->at.n)) {
        show(s, s->index + 1);
        return VV_OK;
    }
    s->base.valid = false;
    vv_status st = show_first_from(s, s->run, (uint64_t)s->block + 1, err);
    if (st == VV_OK && s->base.valid)
        prefetch_next(s);
    return st;
}

static vv_status level_prev(engine_source *src, vv_error *err)
{
    level_source *s = source_of(src);
    assert(s->base.valid);
    if (VV_LIKELY(s->index > 0)) {
        show(s, s->index - 1);
        return VV_OK;
    }
    s->base.valid = false;
    return show_last_before(s, s->run, s->block, err);
}

/* ---- whole keys, as a snapshot sees them ---- */

/* From single versions to the newest one at or below version of this or a later key. */
static vv_status skip_newer(level_source *s, int64_t version, vv_error *err)
{
    vv_status st = VV_OK;
    for (unsigned steps = 1; st == VV_OK && s->base.valid && s->base.item.version > version;
         steps++) {
        if (steps % STEPS_BEFORE_SEEK == 0) {
            uint8_t key[ENGINE_KEY_MAX];
            vv_slice at = s->base.item.key;
            memcpy(key, at.data, at.len);
            st = level_seek(&s->base, vv_slice_of(key, at.len), version, err);
        } else {
            st = level_next(&s->base, err);
        }
    }
    return st;
}

/* Leave a key that has, or may have, further versions behind the current one. */
static vv_status leave_key(level_source *s, vv_error *err)
{
    uint8_t key[ENGINE_KEY_MAX];
    vv_slice left = vv_slice_of(key, s->base.item.key.len);
    memcpy(key, s->base.item.key.data, left.len);
    vv_status st = VV_OK;
    unsigned steps = 0;
    do
        st = ++steps % STEPS_BEFORE_SEEK == 0 ? level_seek(&s->base, left, -1, err)
                                              : level_next(&s->base, err);
    while (st == VV_OK && s->base.valid && vv_slice_eq(s->base.item.key, left));
    return st;
}

static vv_status level_next_key(engine_source *src, int64_t version, vv_error *err)
{
    level_source *s = source_of(src);
    assert(s->base.valid);
    /* In a block that is not multi every entry is another key than the one before it. */
    if (VV_LIKELY(s->index + 1 < s->at.n && !(s->at.flags & LSM_BLOCK_MULTI))) {
        show(s, s->index + 1);
        return VV_LIKELY(s->base.item.version <= version) ? VV_OK : skip_newer(s, version, err);
    }
    vv_status st = leave_key(s, err);
    return st == VV_OK ? skip_newer(s, version, err) : st;
}

/* On the oldest version of some key: to the newest one at or below version of it or of a key before
 * it. */
static vv_status settle_back(level_source *s, int64_t version, vv_error *err)
{
    vv_status st = VV_OK;
    while (st == VV_OK && s->base.valid) {
        bool seen = s->base.item.version <= version;
        bool alone = s->index > 0 && !(s->at.flags & LSM_BLOCK_MULTI);
        if (alone && seen)
            return VV_OK;
        if (alone) {
            show(s, s->index - 1);
            continue;
        }
        uint8_t key[ENGINE_KEY_MAX];
        vv_slice at = vv_slice_of(key, s->base.item.key.len);
        memcpy(key, s->base.item.key.data, at.len);
        if (seen)
            return level_seek(&s->base, at, version, err);
        st = level_seek_below(&s->base, at, err);
    }
    return st;
}

static vv_status level_prev_key(engine_source *src, int64_t version, vv_error *err)
{
    level_source *s = source_of(src);
    assert(s->base.valid);
    vv_status st = VV_OK;
    if (VV_LIKELY(s->index > 0 && !(s->at.flags & LSM_BLOCK_MULTI))) {
        show(s, s->index - 1);
    } else { /* newer versions may stand before this one */
        uint8_t key[ENGINE_KEY_MAX];
        vv_slice at = vv_slice_of(key, s->base.item.key.len);
        memcpy(key, s->base.item.key.data, at.len);
        st = level_seek_below(src, at, err);
    }
    return st == VV_OK ? settle_back(s, version, err) : st;
}

static vv_status level_seek_below_at(engine_source *src, vv_slice key, int64_t version,
                                     vv_error *err)
{
    vv_status st = level_seek_below(src, key, err);
    return st == VV_OK ? settle_back(source_of(src), version, err) : st;
}

static void level_close(engine_source *src)
{
    level_source *s = source_of(src);
    drop_block(s);
    vio_close(s->file);
    free_window(s);
    vv_free(s);
}

static const engine_source_ops level_source_ops = {
    .seek = level_seek,
    .seek_below = level_seek_below,
    .next = level_next,
    .prev = level_prev,
    .close = level_close,
    .next_key = level_next_key,
    .prev_key = level_prev_key,
    .seek_below_at = level_seek_below_at,
};

bool lsm_source_block(engine_source *src, pgc_file **file, uint32_t *block)
{
    if (src->ops != &level_source_ops || !src->valid)
        return false;
    const level_source *s = source_of(src);
    *file = s->level->run[s->run]->pages;
    *block = s->block;
    return (s->at.flags & LSM_BLOCK_WIDE) != 0;
}

vv_status lsm_source_create(lsm_level *level, size_t scan_size, engine_source **out, vv_error *err)
{
    level_source *s = vv_alloc(sizeof *s);
    if (s == NULL)
        return vv_fail(err, VV_NO_MEMORY, "cursor: no memory for level %u", level->number);
    memset(s, 0, offsetof(level_source, key));
    s->base.ops = &level_source_ops;
    s->base.rangedels = level->rangedels;
    s->level = level;
    s->run_end = level->run_count;
    s->scan_size = scan_size;
    *out = &s->base;
    return VV_OK;
}

void lsm_source_bound(engine_source *src, vv_slice lower, vv_slice upper)
{
    level_source *s = source_of(src);
    const lsm_level *level = s->level;
    s->run_from = lsm_level_first(level, lower);
    s->run_end = lsm_level_first(level, upper);
    if (s->run_end < level->run_count &&
        vv_slice_cmp(level->run[s->run_end]->meta.lower, upper) < 0)
        s->run_end++;
}
