/*
 * memtable_arena.h - the memory of one memtable: a large block in huge pages that the next memtable
 * takes over populated, and further blocks for what one entry needs past its end.
 *
 * Memory is taken from the system and from the budget by mt_arena_reserve alone, before an entry is
 * logged; handing it out cannot fail. One writer.
 */
#ifndef VARVE_ENGINE_MEMTABLE_ARENA_H
#define VARVE_ENGINE_MEMTABLE_ARENA_H

#include "base/util.h"
#include "engine/memtable.h"

#define MT_NODE_ALIGN 64u
#define MT_SIZE_MIN (4 * VV_KIB) /* of a memtable */

typedef struct mt_block mt_block;

typedef struct mt_arena {
    uint8_t *next;
    uint8_t *limit; /* counted in the budget up to here */
    uint8_t *end;
    mt_block *block;            /* the one being filled; the older ones behind it */
    mt_block *spare;            /* takes over when the block is at its end; may be NULL */
    size_t full;                /* bytes used in older blocks */
    engine_memtable_pool *pool; /* may be NULL */
    vv_budget *budget;
    bool is_logged; /* what is reserved is for an entry in the log: the budget cannot refuse it */
} mt_arena;

/** An arena whose first block holds size bytes and something over. Takes a reference on the pool.
 */
VV_MUST_CHECK vv_status mt_arena_init(mt_arena *a, uint64_t size, vv_budget *budget,
                                      engine_memtable_pool *pool, vv_error *err);
/** Give back what was reserved and is not needed: nothing more is handed out. */
void mt_arena_seal(mt_arena *a);
/** Gives the first block to the pool when it has room. */
void mt_arena_fini(mt_arena *a);

VV_MUST_CHECK vv_status mt_arena_more(mt_arena *a, size_t bytes, vv_error *err);

/** From now on bytes can be handed out without a failure, in pieces of any size and alignment. */
static inline vv_status mt_arena_reserve(mt_arena *a, size_t bytes, vv_error *err)
{
    if ((size_t)(a->limit - a->next) >= bytes)
        return VV_OK;
    return mt_arena_more(a, bytes, err);
}

/** Uninitialised bytes at a multiple of align (8 or MT_NODE_ALIGN). Never NULL after a reserve that
 * covers size + align - 1. */
void *mt_arena_alloc(mt_arena *a, size_t size, size_t align);

/** Bytes handed out, with what was lost at the ends of blocks. */
size_t mt_arena_used(const mt_arena *a);

/* What a memtable learns from the one before it. */
vv_budget *mt_pool_budget(const engine_memtable_pool *pool);
uint64_t mt_pool_seed(const engine_memtable_pool *pool);
uint64_t mt_pool_keys_per_mib(const engine_memtable_pool *pool);
void mt_pool_learn(engine_memtable_pool *pool, uint64_t keys, uint64_t bytes);

#endif
