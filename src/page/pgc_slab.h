/*
 * pgc_slab.h - memory for frames: slots of a few sizes in 2 MiB regions, so that a cached block is
 * reached through a huge page and not through a miss of the address translation (a fifth to a third
 * of a cached read).
 */
#ifndef VARVE_PAGE_PGC_SLAB_H
#define VARVE_PAGE_PGC_SLAB_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/budget.h"

#define PGC_SLAB_SIZE ((size_t)2 * 1024 * 1024)
#define PGC_SLAB_CLASSES 16u /* slots for 512 .. 73728 bytes of data */

typedef struct pgc_slab pgc_slab;
typedef struct pgc_slot pgc_slot;

/* One thread at a time (the cache's lock), but for pgc_slabs_put. */
typedef struct pgc_slabs {
    vv_budget *budget;
    uint64_t max; /* bytes of all slabs; 0: none are made */
    uint64_t bytes;
    pgc_slab *partial[PGC_SLAB_CLASSES]; /* slabs with a free slot */
    pgc_slab *empty;                     /* in no class, their pages kept; linked by next */
    pgc_slab *draining;                  /* is being emptied for another class, or NULL */
    _Atomic(pgc_slot *) inbox;           /* slots put back and not yet sorted in; any thread */
} pgc_slabs;

void pgc_slabs_init(pgc_slabs *s, uint64_t max, vv_budget *budget);
/** Every slot has been put back. */
void pgc_slabs_fini(pgc_slabs *s);

/** Bytes that a slot for a frame of len bytes takes; 0: no slot is that large. */
size_t pgc_slot_size(size_t len);
/** A slot for a frame of len bytes, or NULL: no class, no room or no memory. */
void *pgc_slabs_take(pgc_slabs *s, size_t len);
/**
 * There is no slot or no room for a frame of len bytes: the slab of another size that gives up the
 * least. Its frames are for the caller to evict, slot by slot; it can take the other size when they
 * are. NULL when there is none, or one is being emptied already.
 */
pgc_slab *pgc_slabs_drain(pgc_slabs *s, size_t len);
/** The index-th slot of a slab that was ever taken, or NULL behind the last. */
void *pgc_slab_slot(pgc_slab *slab, size_t index);
/** Take out the empty slabs, which are no more counted, for pgc_slabs_free outside of the lock. */
pgc_slab *pgc_slabs_give_up(pgc_slabs *s);
/** Give them back to the system. Accepts NULL. */
void pgc_slabs_free(pgc_slab *slabs);
/** Any thread, takes no lock. */
void pgc_slabs_put(pgc_slabs *s, void *slot);

#endif
