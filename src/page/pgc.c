/*
 * pgc.c - frames, eviction and the accounting of the page cache.
 *
 *   published   linked in a queue, its word points to it         refs = 1 + pins
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
 * Which block goes (after S3-FIFO: Yang et al., "FIFO queues are all you need for cache eviction",
 * SOSP 2023):
 *
 *     new block ----------------> trial (a tenth) --not used again--> evicted, its name remembered
 *                                   |                                          |
 *                                   | looked up PGC_HOT times                  | loaded again
 *                                   v                                          v
 *                                  kept <--------------------------------------'
 *                                   '--oldest first; each lookup buys it one more round
 *
 * Why not one clock: a scan of more than the cache clears every mark and then evicts everything,
 * also what is asked for all the time. Here what a scan brings comes and goes through the trial; a
 * page of a scan that begins where the last one ended looks a block up twice and still goes. The
 * names (a hash of file and block each, four bytes, as many as the cache has pages) let a set that
 * is larger than the trial in all the same: the second load of a block finds its name.
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
#define TRIAL_PART 10u
#define NAMES_MIN 64u
#define NAMES_MAX (UINT32_C(1) << 22)

enum { UNLINKED = 0, TRIAL, KEPT };

/* Oldest at the head. */
typedef struct pgc_queue {
    pgc_frame *head;
    pgc_frame *tail;
    uint64_t bytes;
    uint64_t count;
} pgc_queue;

struct pgc_cache {
    uint64_t size;              /* fixed */
    vv_budget *budget;          /* fixed, may be NULL */
    vv_mutex lock;              /* VV_RANK_CACHE */
    pgc_queue queue[KEPT + 1];  /* under lock; the first is not used */
    pgc_slabs slabs;            /* under lock */
    uint32_t name_mask;         /* fixed */
    _Atomic uint32_t last_id;   /* of files */
    _Atomic uint64_t loose;     /* of frames outside of the slabs; any thread, relaxed */
    _Atomic uint64_t bytes;     /* of all frames, by charge; any thread, relaxed */
    _Atomic uint64_t evictions; /* statistics */
    pgc_counter counters[PGC_COUNTERS];
    uint32_t names[]; /* of blocks evicted from the trial; under lock */
};

/* The memory a frame takes: its slot's, or what it has by itself. */
static uint64_t charge_of(const pgc_frame *frame)
{
    return frame->is_slot ? pgc_slot_size(frame->len) : sizeof(pgc_frame) + frame->len + PGC_PAD;
}

/* A power of two: one for each page the cache may hold. */
static uint32_t names_of(uint64_t size)
{
    uint32_t names = NAMES_MIN;
    while (names < NAMES_MAX && names < size / VV_BLOCK)
        names *= 2;
    return names;
}

vv_status pgc_cache_create(uint64_t size, vv_budget *budget, pgc_cache **out, vv_error *err)
{
    uint32_t names = names_of(size);
    size_t memory = sizeof(pgc_cache) + names * sizeof(uint32_t);
    pgc_cache *cache = vv_alloc_aligned(64, memory);
    if (cache == NULL)
        return vv_fail(err, VV_NO_MEMORY, "page cache: no memory");
    memset(cache, 0, memory);
    cache->name_mask = names - 1;
    vv_budget_take(budget, VV_BUDGET_INDEX, memory);
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
    assert(cache->queue[TRIAL].head == NULL && cache->queue[KEPT].head == NULL);
    vv_epoch_drain();
    assert(atomic_load(&cache->bytes) == 0); /* a frame is still pinned */
    pgc_slabs_fini(&cache->slabs);
    vv_mutex_fini(&cache->lock);
    vv_budget_release(cache->budget, VV_BUDGET_INDEX,
                      sizeof *cache + ((size_t)cache->name_mask + 1) * sizeof(uint32_t));
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

/* ---- the two queues ---- */

static void push(pgc_cache *cache, pgc_frame *frame, uint8_t which) VV_REQUIRES(cache->lock)
{
    pgc_queue *q = &cache->queue[which];
    frame->next = NULL;
    frame->prev = q->tail;
    if (q->tail != NULL)
        q->tail->next = frame;
    else
        q->head = frame;
    q->tail = frame;
    q->bytes += charge_of(frame);
    q->count++;
    frame->linked = which;
}

static void drop(pgc_cache *cache, pgc_frame *frame) VV_REQUIRES(cache->lock)
{
    pgc_queue *q = &cache->queue[frame->linked];
    if (frame->prev != NULL)
        frame->prev->next = frame->next;
    else
        q->head = frame->next;
    if (frame->next != NULL)
        frame->next->prev = frame->prev;
    else
        q->tail = frame->prev;
    q->bytes -= charge_of(frame);
    q->count--;
    frame->linked = UNLINKED;
}

static uint64_t linked_bytes(const pgc_cache *cache) VV_REQUIRES(cache->lock)
{
    return cache->queue[TRIAL].bytes + cache->queue[KEPT].bytes;
}

/* Where the name of a block stands, and what stands there (never 0). */
static uint32_t *name_of(pgc_cache *cache, const pgc_file *file, uint32_t block, uint32_t *name)
    VV_REQUIRES(cache->lock)
{
    uint64_t h = ((uint64_t)file->id << 32 | block) * UINT64_C(0x9e3779b97f4a7c15);
    h ^= h >> 29;
    h *= UINT64_C(0xbf58476d1ce4e5b9);
    *name = (uint32_t)(h >> 32) | 1;
    return &cache->names[h & cache->name_mask];
}

/* Its word is in the array of its file. */
static void remember(pgc_cache *cache, const pgc_frame *frame) VV_REQUIRES(cache->lock)
{
    uint32_t name;
    uint32_t *at = name_of(cache, frame->file, (uint32_t)(frame->slot - frame->file->ref), &name);
    *at = name;
}

/* Was it evicted from the trial not long ago? Then it is no longer known. */
static bool recall(pgc_cache *cache, const pgc_file *file, uint32_t block) VV_REQUIRES(cache->lock)
{
    uint32_t name;
    uint32_t *at = name_of(cache, file, block, &name);
    if (*at != name)
        return false;
    *at = 0;
    return true;
}

/* Empty its word and take it out of its queue; its reference is now the caller's to retire. */
static void unpublish(pgc_cache *cache, pgc_frame *frame) VV_REQUIRES(cache->lock)
{
    assert(atomic_load(frame->slot) == frame);
    atomic_store(frame->slot, NULL);
    frame->slot = NULL;
    frame->file = NULL;
    drop(cache, frame);
}

/* The oldest of a queue goes, or moves on: NULL. */
static pgc_frame *try_oldest(pgc_cache *cache, uint8_t which) VV_REQUIRES(cache->lock)
{
    pgc_frame *frame = cache->queue[which].head;
    bool pinned = atomic_load_explicit(&frame->refs, memory_order_relaxed) > 1;
    uint8_t hot = atomic_load_explicit(&frame->hot, memory_order_relaxed);
    bool stays = which == KEPT ? hot > 0 : hot >= PGC_HOT;
    if (!pinned && !stays)
        return frame;
    drop(cache, frame);
    push(cache, frame, stays ? KEPT : which);
    if (which == TRIAL && stays)
        atomic_store_explicit(&frame->hot, 0, memory_order_relaxed);
    else if (!pinned)
        atomic_store_explicit(&frame->hot, (uint8_t)(hot - 1), memory_order_relaxed);
    return NULL;
}

/* Cold and not pinned, or NULL after enough rounds without one. */
static pgc_frame *pick_victim(pgc_cache *cache, uint64_t *steps_left) VV_REQUIRES(cache->lock)
{
    const pgc_queue *trial = &cache->queue[TRIAL];
    const pgc_queue *kept = &cache->queue[KEPT];
    while (trial->count + kept->count > 0 && *steps_left > 0) {
        --*steps_left;
        bool from_trial = trial->count > 0 && (trial->bytes > cache->size / TRIAL_PART ||
                                               kept->count == 0 || *steps_left < trial->count);
        pgc_frame *frame = try_oldest(cache, from_trial ? TRIAL : KEPT);
        if (frame != NULL)
            return frame;
    }
    return NULL;
}

/* Evict up to a batch so that `need` bytes more fit. Returns how many stand in victims. */
static unsigned evict_batch(pgc_cache *cache, uint64_t need, pgc_frame *victims[EVICT_BATCH])
    VV_REQUIRES(cache->lock)
{
    unsigned count = 0;
    /* PGC_HOT rounds clear the marks, one more finds what stayed cold: bounded work under the lock.
     */
    uint64_t steps = (PGC_HOT + 2) * (cache->queue[TRIAL].count + cache->queue[KEPT].count);
    while (count < EVICT_BATCH && linked_bytes(cache) + need > cache->size) {
        pgc_frame *frame = pick_victim(cache, &steps);
        if (frame == NULL)
            break;
        if (frame->linked == TRIAL)
            remember(cache, frame);
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
        if (frame->linked == UNLINKED)
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
        frame->file = file;
        push(cache, frame, recall(cache, file, block) ? KEPT : TRIAL);
        /* Publishes the frame's bytes; pairs with the acquire load in pgc_lookup. */
        atomic_store_explicit(&file->ref[block], frame, memory_order_release);
    }
    vv_mutex_unlock(&cache->lock);
}

void pgc_move(pgc_file *from, uint32_t from_block, pgc_file *to, uint32_t to_block)
{
    pgc_cache *cache = from->cache;
    assert(to->cache == cache && from_block < from->block_count && to_block < to->block_count);
    vv_mutex_lock(&cache->lock);
    pgc_frame *frame = atomic_load_explicit(&from->ref[from_block], memory_order_relaxed);
    pgc_frame *there = atomic_load_explicit(&to->ref[to_block], memory_order_relaxed);
    if (frame != NULL && there == NULL) { /* its queue and the word's reference go along */
        atomic_store(frame->slot, NULL);
        frame->slot = &to->ref[to_block];
        frame->file = to;
        atomic_store_explicit(frame->slot, frame, memory_order_release);
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
    file->id = atomic_fetch_add_explicit(&cache->last_id, 1, memory_order_relaxed) + 1;
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
