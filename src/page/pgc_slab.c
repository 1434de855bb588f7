/*
 * pgc_slab.c - slabs of equal slots with a free list each.
 *
 *     taken slot --put, any thread--> inbox --take, under the lock--> free list of its slab
 *
 * Slots come back from epoch callbacks and from whoever drops the last pin, where no lock may be
 * taken: so they are pushed on one list, which the next taker empties as a whole (nobody pops
 * single slots, so a slot that goes and comes back cannot confuse the push).
 *
 * A slab whose slots are all free is kept for the next that is needed, of whichever size: the pages
 * of fresh memory cost more to clear than what is put into them. It stays counted, and is inside of
 * what the budget keeps for the cache, so nobody else could have it. The cache gives the empty ones
 * back when it needs memory outside of slabs.
 *
 * When one size has no room and another has half-empty slabs, the emptiest of those is drained, so
 * a workload that changes its block size does not keep the memory of the one before.
 */
#include "page/pgc_slab.h"

#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "page/pgc.h"

struct pgc_slot {
    pgc_slot *next;
};

struct pgc_slab {
    pgc_slab *prev, *next; /* among the partial ones of its class */
    pgc_slot *free;
    uint32_t used;
    uint32_t class_index;
    size_t fresh; /* bytes from the start that have been handed out at least once */
};

#define SLAB_HEAD ((size_t)64)
_Static_assert(sizeof(pgc_slab) <= SLAB_HEAD, "slots begin on a cache line");

/* Behind each power of two from 4 KiB on stands one for a value of that size with its key and the
 * block around it. */
static const uint32_t class_bytes[PGC_SLAB_CLASSES] = {
    512,  1024,  2048,  3072,  4096,  4608,  6656,  8192,
    9216, 13312, 16384, 18432, 26624, 36864, 53248, 73728,
};

static size_t slot_size_of(unsigned class_index)
{
    return vv_align_up(sizeof(pgc_frame) + class_bytes[class_index] + PGC_PAD, 64);
}

static unsigned class_of(size_t len)
{
    unsigned c = 0;
    while (c < PGC_SLAB_CLASSES && class_bytes[c] < len)
        c++;
    return c;
}

size_t pgc_slot_size(size_t len)
{
    unsigned c = class_of(len);
    return c == PGC_SLAB_CLASSES ? 0 : slot_size_of(c);
}

static pgc_slab *slab_of(void *slot)
{
    return (pgc_slab *)((uintptr_t)slot & ~(uintptr_t)(PGC_SLAB_SIZE - 1));
}

static bool is_full(const pgc_slab *slab)
{
    return slab->free == NULL && slab->fresh + slot_size_of(slab->class_index) > PGC_SLAB_SIZE;
}

static void link_partial(pgc_slabs *s, pgc_slab *slab)
{
    pgc_slab **head = &s->partial[slab->class_index];
    slab->prev = NULL;
    slab->next = *head;
    if (*head != NULL)
        (*head)->prev = slab;
    *head = slab;
}

static void unlink_partial(pgc_slabs *s, pgc_slab *slab)
{
    if (slab->prev != NULL)
        slab->prev->next = slab->next;
    else
        s->partial[slab->class_index] = slab->next;
    if (slab->next != NULL)
        slab->next->prev = slab->prev;
}

void pgc_slabs_init(pgc_slabs *s, uint64_t max, vv_budget *budget)
{
    memset(s, 0, sizeof *s);
    s->max = max;
    s->budget = budget;
}

static void keep_slab(pgc_slabs *s, pgc_slab *slab)
{
    if (s->draining == slab)
        s->draining = NULL;
    slab->next = s->empty;
    s->empty = slab;
}

pgc_slab *pgc_slabs_give_up(pgc_slabs *s)
{
    pgc_slab *slabs = s->empty;
    s->empty = NULL;
    for (pgc_slab *slab = slabs; slab != NULL; slab = slab->next) {
        s->bytes -= PGC_SLAB_SIZE;
        vv_budget_release(s->budget, VV_BUDGET_CACHE, PGC_SLAB_SIZE);
    }
    return slabs;
}

void pgc_slabs_free(pgc_slab *slabs)
{
    while (slabs != NULL) {
        pgc_slab *next = slabs->next;
        vv_free(slabs);
        slabs = next;
    }
}

/* A slot of a slab is free again. */
static void sort_in(pgc_slabs *s, pgc_slot *slot)
{
    pgc_slab *slab = slab_of(slot);
    bool was_full = is_full(slab);
    slot->next = slab->free;
    slab->free = slot;
    assert(slab->used > 0);
    slab->used--;
    if (slab->used > 0) {
        if (was_full)
            link_partial(s, slab);
        return;
    }
    if (!was_full)
        unlink_partial(s, slab);
    keep_slab(s, slab);
}

static void empty_inbox(pgc_slabs *s)
{
    pgc_slot *slot = atomic_exchange_explicit(&s->inbox, NULL, memory_order_acquire);
    while (slot != NULL) {
        pgc_slot *next = slot->next;
        sort_in(s, slot);
        slot = next;
    }
}

void pgc_slabs_fini(pgc_slabs *s)
{
    empty_inbox(s);
    pgc_slabs_free(pgc_slabs_give_up(s));
    assert(s->bytes == 0); /* a slot was not put back */
}

static pgc_slab *new_slab(pgc_slabs *s, unsigned class_index)
{
    pgc_slab *slab = s->empty;
    if (slab != NULL) {
        s->empty = slab->next;
    } else {
        if (s->bytes + PGC_SLAB_SIZE > s->max)
            return NULL;
        slab = vv_alloc_aligned(PGC_SLAB_SIZE, PGC_SLAB_SIZE);
        if (slab == NULL)
            return NULL;
        s->bytes += PGC_SLAB_SIZE;
        vv_budget_take(s->budget, VV_BUDGET_CACHE, PGC_SLAB_SIZE);
    }
    *slab = (pgc_slab){.class_index = class_index, .fresh = SLAB_HEAD};
    link_partial(s, slab);
    return slab;
}

void *pgc_slabs_take(pgc_slabs *s, size_t len)
{
    unsigned c = class_of(len);
    if (c == PGC_SLAB_CLASSES || s->max == 0)
        return NULL;
    if (s->partial[c] == NULL || s->partial[c]->free == NULL)
        empty_inbox(s);
    pgc_slab *slab = s->partial[c];
    if (slab == NULL)
        slab = new_slab(s, c);
    if (slab == NULL)
        return NULL;
    void *slot = slab->free;
    if (slot != NULL) {
        slab->free = slab->free->next;
    } else { /* slots are cut off as they are needed: untouched memory stays untouched */
        slot = (uint8_t *)slab + slab->fresh;
        slab->fresh += slot_size_of(c);
    }
    slab->used++;
    if (is_full(slab))
        unlink_partial(s, slab);
    return slot;
}

pgc_slab *pgc_slabs_drain(pgc_slabs *s, size_t len)
{
    unsigned own = class_of(len);
    pgc_slab *best = NULL;
    empty_inbox(s); /* may empty whole slabs */
    if (s->draining != NULL || s->empty != NULL)
        return NULL;
    for (unsigned c = 0; c < PGC_SLAB_CLASSES; c++)
        for (pgc_slab *slab = c == own ? NULL : s->partial[c]; slab != NULL; slab = slab->next)
            if (best == NULL ||
                slab->used * slot_size_of(c) < best->used * slot_size_of(best->class_index))
                best = slab;
    s->draining = best;
    return best;
}

void *pgc_slab_slot(pgc_slab *slab, size_t index)
{
    size_t at = SLAB_HEAD + index * slot_size_of(slab->class_index);
    return at < slab->fresh ? (uint8_t *)slab + at : NULL;
}

void pgc_slabs_put(pgc_slabs *s, void *ptr)
{
    pgc_slot *slot = ptr;
    pgc_slot *head = atomic_load_explicit(&s->inbox, memory_order_relaxed);
    do
        slot->next = head;
    while (!atomic_compare_exchange_weak_explicit(&s->inbox, &head, slot, memory_order_release,
                                                  memory_order_relaxed));
}
