/*
 * pgc.h - the page cache: immutable blocks of files in memory, reached without a lock.
 *
 * The door of page/. Each open file owns a reference array with one word a block: NULL, or the
 * frame that holds it. A reader looks inside an epoch section and may use the frame until it
 * leaves; what it keeps longer it pins.
 *
 *     hit    vv_epoch_enter -> pgc_lookup -> use it, or pgc_pin -> vv_epoch_exit ... pgc_unpin
 *     miss   leave the section; pgc_frame_create; fill and verify; pgc_publish; pgc_unpin later
 *     evict  the word is emptied, then the frame waits for the readers (epoch)
 *
 * Blocks never change, so two frames of one block are harmless: of two loaders the first publishes,
 * the other uses its own copy. A frame holds one reference for its word and one for each pin; it is
 * freed with the last of them, so a pinned frame outlives its eviction and its file.
 */
#ifndef VARVE_PAGE_PGC_H
#define VARVE_PAGE_PGC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/budget.h"
#include "varve/slice.h"
#include "varve/status.h"

#define PGC_COUNTERS 16u
#define PGC_HOT 2u  /* lookups that make a newcomer stay */
#define PGC_PAD 32u /* readable bytes behind a frame's data, for copies in fixed steps */

typedef struct pgc_cache pgc_cache;

/* The header of a frame; its data follows at once. */
typedef struct pgc_frame {
    _Atomic uint32_t refs;             /* its word in a reference array, and each pin */
    _Atomic uint8_t hot;               /* lookups, up to PGC_HOT; relaxed: one may be lost */
    uint8_t is_slot;                   /* lies in a slab; fixed */
    uint32_t len;                      /* bytes of data; fixed */
    pgc_cache *cache;                  /* fixed */
    _Atomic(struct pgc_frame *) *slot; /* the word; NULL when not published; under the lock */
    struct pgc_frame *prev, *next;     /* its queue, under the lock */
    uint8_t linked;                    /* which queue, 0: none; under the lock */
    uint8_t unused[7];
    const struct pgc_file *file; /* of the word; under the lock */
} pgc_frame;
_Static_assert(sizeof(pgc_frame) == 64, "data starts on a cache line");

/* The reference array of one open file. */
typedef struct pgc_file {
    pgc_cache *cache;
    uint32_t block_count;
    uint32_t id; /* of this cache, for the memory of what was evicted */
    _Atomic(pgc_frame *) ref[];
} pgc_file;

/** Statistics, one line each for threads that do not share it. */
typedef struct pgc_counter {
    _Alignas(64) _Atomic uint64_t hits;
    _Atomic uint64_t misses;
} pgc_counter;

typedef struct pgc_stats {
    uint64_t hits;
    uint64_t misses;
    uint64_t bytes; /* of frames, evicted ones that are still in use included */
    uint64_t evictions;
} pgc_stats;

/** A cache of at most size bytes (pinned frames can pass it), counted under VV_BUDGET_CACHE. */
VV_MUST_CHECK vv_status pgc_cache_create(uint64_t size, vv_budget *budget, pgc_cache **out,
                                         vv_error *err);
/** All files are closed and all pins released. Waits for readers' sections. Accepts NULL. */
void pgc_cache_destroy(pgc_cache *cache);
void pgc_cache_stats(const pgc_cache *cache, pgc_stats *out);
pgc_counter *pgc_cache_counters(pgc_cache *cache);

/** An empty reference array, counted under VV_BUDGET_INDEX. Gives *out: pgc_file_destroy. */
VV_MUST_CHECK vv_status pgc_file_create(pgc_cache *cache, uint32_t block_count, pgc_file **out,
                                        vv_error *err);
/** Forget all its blocks. No reader may reach the file any more. Accepts NULL. Not in a section. */
void pgc_file_destroy(pgc_file *file);

static inline uint8_t *pgc_data(pgc_frame *frame)
{
    return (uint8_t *)(frame + 1);
}

/** The counter line of this thread: threads have their stacks apart. */
static inline pgc_counter *pgc_my_counter(pgc_counter *counters)
{
    uintptr_t stack = (uintptr_t)__builtin_frame_address(0) >> 16;
    return &counters[(stack ^ stack >> 4 ^ stack >> 8) % PGC_COUNTERS];
}

/** Add one without a locked instruction: a count may be lost between two threads. */
static inline void pgc_count(_Atomic uint64_t *counter)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/** The frame of a block or NULL. Inside an epoch section, valid until it ends unless pinned. */
static inline pgc_frame *pgc_lookup(const pgc_file *file, uint32_t block)
{
    pgc_frame *frame = atomic_load_explicit(&file->ref[block], memory_order_acquire);
    if (frame == NULL)
        return NULL;
    uint8_t hot = atomic_load_explicit(&frame->hot, memory_order_relaxed);
    if (hot < PGC_HOT)
        atomic_store_explicit(&frame->hot, (uint8_t)(hot + 1), memory_order_relaxed);
    return frame;
}

/** The same for an address alone, to prefetch: not to be looked into. Anywhere. */
static inline pgc_frame *pgc_peek(const pgc_file *file, uint32_t block)
{
    return atomic_load_explicit(&file->ref[block], memory_order_relaxed);
}

/** Keep a frame that is published (inside a section) or pinned already. */
static inline void pgc_pin(pgc_frame *frame)
{
    atomic_fetch_add_explicit(&frame->refs, 1, memory_order_relaxed);
}

/** frame is a pgc_frame; the form fits a release callback. Any thread, takes no lock. */
void pgc_unpin(void *frame);

/** A private frame of len bytes, pinned once, its pad zeroed. Not in a section. */
VV_MUST_CHECK vv_status pgc_frame_create(pgc_cache *cache, size_t len, pgc_frame **out,
                                         vv_error *err);

/** True while len bytes more fit without evicting anything, and the budget has room for them. */
bool pgc_has_room(const pgc_cache *cache, size_t len);

/** Offer a filled frame as the copy of a block; it stays pinned by the caller. When another thread
 * was faster nothing happens: the frame stays private. Makes room first. Not in a section. */
void pgc_publish(pgc_file *file, uint32_t block, pgc_frame *frame);

/** The frame of a block, if it has one, becomes that of a block of another file of the same cache,
 * which the caller knows to hold the same bytes and which has none yet. Who found it before keeps
 * it; the next who asks under the old name loads a copy. Both files live at least until the
 * sections open now have ended. */
void pgc_move(pgc_file *from, uint32_t from_block, pgc_file *to, uint32_t to_block);

#endif
