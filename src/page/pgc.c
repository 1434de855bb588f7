/*
 * pgc.c - frames, the clock hand and the accounting of the page cache.
 *
 *   published   linked in the ring, its word points to it        refs = 1 + pins
 *     | evict or file destroyed: word emptied, unlinked (under the lock)
 *     v
 *   limbo       waits for the sections that may have seen it     refs = 1 + pins
 *     | epoch passed: the word's reference goes
 *     v
 *   pinned      only its pins keep it                            refs = pins
 *     | last unpin
 *     v
 *   freed
 *
 * Why a pin is safe without a lock: inside a section a frame found through its word still has the
 * word's reference, because that one goes only after every section open at the eviction has ended.
 *
 * The lock is taken on a miss and on an eviction, never on a hit, and never while waiting for I/O.
 * Memory is freed outside it, and retiring runs outside it too: what the epoch frees takes no lock.
 */
#include "page/pgc.h"

#include "base/alloc.h"
#include "base/epoch.h"
#include "base/error.h"
#include "base/lock.h"
#include "base/util.h"
#include "page/pgc_slab.h"

#define EVICT_BATCH 32u

struct pgc_cache {
    uint64_t size;              /* fixed */
    vv_budget *budget;          /* fixed, may be NULL */
    vv_mutex lock;              /* VV_RANK_CACHE */
    pgc_frame *hand;            /* under lock; NULL: the ring is empty */
    uint64_t linked;            /* bytes of the frames in the ring, under lock */
    uint64_t count;             /* frames in the ring, under lock */
    pgc_slabs slabs;            /* under lock */
    _Atomic uint64_t loose;     /* of frames outside of the slabs; any thread, relaxed */
    _Atomic uint64_t bytes;     /* of all frames, by charge; any thread, relaxed */
    _Atomic uint64_t evictions; /* statistics */
    pgc_counter counters[PGC_COUNTERS];
};

/* The memory a frame takes: its slot's, or what it has by itself. */
static uint64_t charge_of(const pgc_frame *frame)
{
    return frame->is_slot ? pgc_slot_size(frame->len) : sizeof(pgc_frame) + frame->len + PGC_PAD;
}

vv_status pgc_cache_create(uint64_t size, vv_budget *budget, pgc_cache **out, vv_error *err)
{
    pgc_cache *cache = vv_alloc_aligned(64, sizeof *cache);
    if (cache == NULL)
        return vv_fail(err, VV_NO_MEMORY, "page cache: no memory");
    memset(cache, 0, sizeof *cache);
    cache->size = size;
    cache->budget = budget;
    vv_mutex_init(&cache->lock, VV_RANK_CACHE);
    /* Slabs are for caches that fill many of them. A sixteenth more than the frames may take, so
     * that two block sizes can share them without pushing each other around. */
    pgc_slabs_init(&cache->slabs, size < 8 * PGC_SLAB_SIZE ? 0 : size + size / 16, budget);
    *out = cache;
    return VV_OK;
}

void pgc_cache_destroy(pgc_cache *cache)
{
    if (cache == NULL)
        return;
    assert(cache->hand == NULL);
    vv_epoch_drain();
    assert(atomic_load(&cache->bytes) == 0); /* a frame is still pinned */
    pgc_slabs_fini(&cache->slabs);
    vv_mutex_fini(&cache->lock);
    vv_free(cache);
}

void pgc_cache_stats(const pgc_cache *cache, pgc_stats *out)
{
    *out = (pgc_stats){
        .bytes = atomic_load_explicit(&cache->bytes, memory_order_relaxed),
        .evictions = atomic_load_explicit(&cache->evictions, memory_order_relaxed),
    };
    for (size_t i = 0; i < PGC_COUNTERS; i++) {
        out->hits += atomic_load_explicit(&cache->counters[i].hits, memory_order_relaxed);
        out->misses += atomic_load_explicit(&cache->counters[i].misses, memory_order_relaxed);
    }
}

pgc_counter *pgc_cache_counters(pgc_cache *cache)
{
    return cache->counters;
}

void pgc_unpin(void *ptr)
{
    pgc_frame *frame = ptr;
    /* Release: what this holder read happened before the memory is reused. */
    uint32_t before = atomic_fetch_sub_explicit(&frame->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before > 1)
        return;
    pgc_cache *cache = frame->cache;
    uint64_t charge = charge_of(frame);
    if (frame->is_slot) {
        pgc_slabs_put(&cache->slabs, frame);
    } else {
        vv_budget_release(cache->budget, VV_BUDGET_CACHE, charge);
        atomic_fetch_sub_explicit(&cache->loose, charge, memory_order_relaxed);
        vv_free(frame);
    }
    atomic_fetch_sub_explicit(&cache->bytes, charge, memory_order_relaxed);
}

static void ring_insert(pgc_cache *cache, pgc_frame *frame) VV_REQUIRES(cache->lock)
{
    if (cache->hand == NULL) {
        frame->prev = frame->next = frame;
        cache->hand = frame;
    } else { /* behind the hand: it has a whole round to be used again */
        frame->next = cache->hand;
        frame->prev = cache->hand->prev;
        frame->prev->next = frame;
        frame->next->prev = frame;
    }
    frame->linked = 1;
    cache->linked += charge_of(frame);
    cache->count++;
}

/* Empty its word and take it out of the ring; its reference is now the caller's to retire. */
static void unpublish(pgc_cache *cache, pgc_frame *frame) VV_REQUIRES(cache->lock)
{
    assert(atomic_load(frame->slot) == frame);
    atomic_store(frame->slot, NULL);
    frame->slot = NULL;
    frame->linked = 0;
    if (frame->next == frame) {
        cache->hand = NULL;
    } else {
        frame->prev->next = frame->next;
        frame->next->prev = frame->prev;
        if (cache->hand == frame)
            cache->hand = frame->next;
    }
    cache->linked -= charge_of(frame);
    cache->count--;
}

/* One turn of the hand's choice: cold and not pinned, or NULL after two rounds without one. */
static pgc_frame *pick_victim(pgc_cache *cache, uint64_t *steps_left) VV_REQUIRES(cache->lock)
{
    while (cache->hand != NULL && *steps_left > 0) {
        pgc_frame *frame = cache->hand;
        --*steps_left;
        bool pinned = atomic_load_explicit(&frame->refs, memory_order_relaxed) > 1;
        if (!pinned && !atomic_load_explicit(&frame->hot, memory_order_relaxed))
            return frame;
        atomic_store_explicit(&frame->hot, 0, memory_order_relaxed);
        cache->hand = frame->next;
    }
    return NULL;
}

/* Evict up to a batch so that `need` bytes more fit. Returns how many stand in victims. */
static unsigned evict_batch(pgc_cache *cache, uint64_t need, pgc_frame *victims[EVICT_BATCH])
    VV_REQUIRES(cache->lock)
{
    unsigned count = 0;
    /* A full round clears the marks, a second finds what stayed cold: bounded work under the lock.
     */
    uint64_t steps = 2 * cache->count;
    while (count < EVICT_BATCH && cache->linked + need > cache->size) {
        pgc_frame *frame = pick_victim(cache, &steps);
        if (frame == NULL)
            break;
        unpublish(cache, frame);
        victims[count++] = frame;
    }
    return count;
}

static void make_room(pgc_cache *cache, uint64_t need)
{
    for (;;) {
        pgc_frame *victims[EVICT_BATCH];
        vv_mutex_lock(&cache->lock);
        unsigned count = evict_batch(cache, need, victims);
        vv_mutex_unlock(&cache->lock);
        for (unsigned i = 0; i < count; i++)
            vv_epoch_retire(victims[i], pgc_unpin);
        atomic_fetch_add_explicit(&cache->evictions, count, memory_order_relaxed);
        if (count < EVICT_BATCH)
            break;
    }
    /* Evicted frames in limbo are memory too: hurry when they are an eighth of the cache. */
    uint64_t bytes = atomic_load_explicit(&cache->bytes, memory_order_relaxed);
    if (bytes > cache->size + cache->size / 8)
        (void)vv_epoch_collect();
}

/* No slot of this size is left: evict what lies in a slab of another. Pinned frames keep the slab
 * until their last unpin. Returns the evicted ones, linked by next. */
static pgc_frame *drain_slab(pgc_cache *cache, size_t len) VV_REQUIRES(cache->lock)
{
    pgc_frame *evicted = NULL;
    pgc_slab *slab = pgc_slabs_drain(&cache->slabs, len);
    pgc_frame *frame;
    for (size_t i = 0; slab != NULL && (frame = pgc_slab_slot(slab, i)) != NULL; i++) {
        if (!frame->linked)
            continue;
        unpublish(cache, frame);
        frame->next = evicted;
        evicted = frame;
    }
    return evicted;
}

static void retire_all(pgc_cache *cache, pgc_frame *evicted)
{
    while (evicted != NULL) {
        pgc_frame *next = evicted->next;
        vv_epoch_retire(evicted, pgc_unpin);
        atomic_fetch_add_explicit(&cache->evictions, 1, memory_order_relaxed);
        evicted = next;
    }
}

/* A slot of a slab; or NULL, after making room for memory outside of them. */
static pgc_frame *take_slot(pgc_cache *cache, size_t len)
{
    if (cache->slabs.max == 0)
        return NULL;
    pgc_frame *evicted = NULL;
    pgc_slab *empty = NULL;
    vv_mutex_lock(&cache->lock);
    pgc_frame *frame = pgc_slabs_take(&cache->slabs, len);
    uint64_t loose = atomic_load_explicit(&cache->loose, memory_order_relaxed);
    if (frame == NULL && cache->slabs.bytes + loose + len > cache->size) {
        empty = pgc_slabs_give_up(&cache->slabs);
        if (empty == NULL)
            evicted = drain_slab(cache, len);
    }
    if (frame != NULL) { /* under the lock: drain_slab looks at every slot */
        memset(frame, 0, sizeof *frame);
        frame->is_slot = 1;
    }
    vv_mutex_unlock(&cache->lock);
    pgc_slabs_free(empty);
    retire_all(cache, evicted);
    return frame;
}

static pgc_frame *take_memory(pgc_cache *cache, size_t len)
{
    pgc_frame *slot = take_slot(cache, len);
    if (slot != NULL)
        return slot;
    size_t size = sizeof(pgc_frame) + len + PGC_PAD;
    pgc_frame *frame = len > UINT32_MAX ? NULL : vv_alloc_aligned(64, size);
    if (frame == NULL)
        return NULL;
    memset(frame, 0, sizeof *frame);
    vv_budget_take(cache->budget, VV_BUDGET_CACHE, size);
    atomic_fetch_add_explicit(&cache->loose, size, memory_order_relaxed);
    return frame;
}

vv_status pgc_frame_create(pgc_cache *cache, size_t len, pgc_frame **out, vv_error *err)
{
    pgc_frame *frame = take_memory(cache, len);
    if (frame == NULL)
        return vv_fail(err, VV_NO_MEMORY, "page cache: no memory for a block of %zu bytes", len);
    memset(pgc_data(frame) + len, 0, PGC_PAD);
    atomic_init(&frame->refs, 1);
    frame->len = (uint32_t)len;
    frame->cache = cache;
    atomic_fetch_add_explicit(&cache->bytes, charge_of(frame), memory_order_relaxed);
    *out = frame;
    return VV_OK;
}

bool pgc_has_room(const pgc_cache *cache, size_t len)
{
    uint64_t bytes = atomic_load_explicit(&cache->bytes, memory_order_relaxed);
    uint64_t charge = sizeof(pgc_frame) + len + PGC_PAD;
    return bytes + charge <= cache->size &&
           !vv_budget_is_short(cache->budget, VV_BUDGET_CACHE, charge);
}

void pgc_publish(pgc_file *file, uint32_t block, pgc_frame *frame)
{
    pgc_cache *cache = file->cache;
    assert(block < file->block_count && frame->slot == NULL);
    uint64_t charge = charge_of(frame);
    if (charge > cache->size / 2)
        return; /* one huge block would empty the cache: it stays private */
    make_room(cache, charge);
    vv_mutex_lock(&cache->lock);
    if (atomic_load_explicit(&file->ref[block], memory_order_relaxed) == NULL) {
        pgc_pin(frame); /* the word's reference */
        frame->slot = &file->ref[block];
        ring_insert(cache, frame);
        /* Publishes the frame's bytes; pairs with the acquire load in pgc_lookup. */
        atomic_store_explicit(&file->ref[block], frame, memory_order_release);
    }
    vv_mutex_unlock(&cache->lock);
}

vv_status pgc_file_create(pgc_cache *cache, uint32_t block_count, pgc_file **out, vv_error *err)
{
    size_t size = sizeof(pgc_file) + (size_t)block_count * sizeof(pgc_frame *);
    pgc_file *file = vv_calloc(1, size);
    if (file == NULL)
        return vv_fail(err, VV_NO_MEMORY, "page cache: no memory for %u references", block_count);
    file->cache = cache;
    file->block_count = block_count;
    vv_budget_take(cache->budget, VV_BUDGET_INDEX, size);
    *out = file;
    return VV_OK;
}

void pgc_file_destroy(pgc_file *file)
{
    if (file == NULL)
        return;
    pgc_cache *cache = file->cache;
    uint32_t block = 0;
    while (block < file->block_count) {
        pgc_frame *dropped[EVICT_BATCH];
        unsigned count = 0;
        vv_mutex_lock(&cache->lock);
        for (; block < file->block_count && count < EVICT_BATCH; block++) {
            pgc_frame *frame = atomic_load_explicit(&file->ref[block], memory_order_relaxed);
            if (frame == NULL)
                continue;
            unpublish(cache, frame);
            dropped[count++] = frame;
        }
        vv_mutex_unlock(&cache->lock);
        for (unsigned i = 0; i < count; i++)
            pgc_unpin(dropped[i]); /* nobody can find the file: no section can hold the word */
    }
    vv_budget_release(cache->budget, VV_BUDGET_INDEX,
                      sizeof(pgc_file) + (size_t)file->block_count * sizeof(pgc_frame *));
    vv_free(file);
}
