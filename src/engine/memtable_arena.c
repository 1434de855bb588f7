/*
 * memtable_arena.c - blocks, their place in the budget, and the pool that keeps some for reuse.
 *
 * Why a pool: the page faults of fresh memory cost more than the inserts they serve. A block that
 * comes back keeps its pages, and keeps its bytes counted in the budget for them. The pool keeps
 * one while the budget is not short, and more only inside of what the budget keeps for memtables
 * anyway, so that nobody else is refused for them. When the budget is short it keeps nothing:
 * entries go before speed.
 *
 * The first bytes of a memtable are counted but never refused: a new one is what lets a full one be
 * flushed, and so what gives memory back.
 */
#include "engine/memtable_arena.h"

#include <stdatomic.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/lock.h"
#include "base/util.h"

#define HUGE_PAGE (2 * VV_MIB)
#define COUNT_STEP (64 * VV_KIB) /* the budget is asked for this much at a time */
#define SHORT_PART 8u            /* of a block: with so much room left it is kept */
#define OVER_MIN (128 * VV_KIB)
#define OVER_MAX (8 * VV_MIB)

struct mt_block {
    mt_block *older;
    size_t size;    /* all of it, this head included */
    size_t counted; /* bytes from its start that the budget knows */
};

struct engine_memtable_pool {
    _Atomic uint32_t refs;
    _Atomic uint64_t keys_per_mib; /* of the last memtable that filled up; relaxed: a hint */
    vv_mutex lock;                 /* rank leaf */
    mt_block *kept;                /* under lock */
    uint32_t kept_count;           /* under lock */
    uint32_t keep_max;             /* fixed */
    uint64_t seed;                 /* fixed */
    vv_budget *budget;             /* fixed */
};

static void block_free(mt_block *b, vv_budget *budget)
{
    vv_budget_release(budget, VV_BUDGET_MEMTABLE, b->counted);
    vv_free(b);
}

vv_status engine_memtable_pool_create(vv_budget *budget, uint64_t seed, uint32_t keep_max,
                                      engine_memtable_pool **out, vv_error *err)
{
    engine_memtable_pool *pool = vv_alloc(sizeof *pool);
    if (pool == NULL)
        return vv_fail(err, VV_NO_MEMORY, "memtable pool: no memory");
    *pool = (engine_memtable_pool){.refs = 1, .keep_max = keep_max, .seed = seed, .budget = budget};
    vv_mutex_init(&pool->lock, VV_RANK_LEAF);
    *out = pool;
    return VV_OK;
}

static void pool_ref(engine_memtable_pool *pool)
{
    atomic_fetch_add_explicit(&pool->refs, 1, memory_order_relaxed);
}

bool engine_memtable_pool_trim(engine_memtable_pool *pool)
{
    vv_mutex_lock(&pool->lock);
    mt_block *kept = pool->kept;
    pool->kept = NULL;
    pool->kept_count = 0;
    vv_mutex_unlock(&pool->lock);
    bool any = kept != NULL;
    while (kept != NULL) {
        mt_block *b = kept;
        kept = b->older;
        block_free(b, pool->budget);
    }
    return any;
}

void engine_memtable_pool_unref(engine_memtable_pool *pool)
{
    if (pool == NULL || atomic_fetch_sub_explicit(&pool->refs, 1, memory_order_acq_rel) != 1)
        return;
    (void)engine_memtable_pool_trim(pool);
    vv_mutex_fini(&pool->lock);
    vv_free(pool);
}

vv_budget *mt_pool_budget(const engine_memtable_pool *pool)
{
    return pool->budget;
}

uint64_t mt_pool_seed(const engine_memtable_pool *pool)
{
    return pool == NULL ? 0 : pool->seed;
}

uint64_t mt_pool_keys_per_mib(const engine_memtable_pool *pool)
{
    return pool == NULL ? 0 : atomic_load_explicit(&pool->keys_per_mib, memory_order_relaxed);
}

void mt_pool_learn(engine_memtable_pool *pool, uint64_t keys, uint64_t bytes)
{
    if (pool != NULL && bytes >= VV_MIB)
        atomic_store_explicit(&pool->keys_per_mib, keys / (bytes / VV_MIB), memory_order_relaxed);
}

/* A kept block of exactly this size, or NULL. */
static mt_block *pool_take(engine_memtable_pool *pool, size_t size)
{
    vv_mutex_lock(&pool->lock);
    mt_block **at = &pool->kept;
    while (*at != NULL && (*at)->size != size)
        at = &(*at)->older;
    mt_block *b = *at;
    if (b != NULL) {
        *at = b->older;
        pool->kept_count--;
    }
    vv_mutex_unlock(&pool->lock);
    return b;
}

/* Are all memtables, and what is kept, inside of their share? Of the blocks given b is counted. */
static bool is_in_share(const engine_memtable_pool *pool)
{
    const vv_budget *budget = pool->budget;
    return budget == NULL || budget->limit == 0 ||
           vv_budget_part_used(budget, VV_BUDGET_MEMTABLE) <= budget->share[VV_BUDGET_MEMTABLE];
}

static bool pool_give(engine_memtable_pool *pool, mt_block *b)
{
    if (vv_budget_is_short(pool->budget, VV_BUDGET_MEMTABLE, b->size / SHORT_PART))
        return false;
    uint32_t keep_max =
        is_in_share(pool) ? pool->keep_max : (uint32_t)vv_min_u64(pool->keep_max, 1);
    vv_mutex_lock(&pool->lock);
    bool kept = pool->kept_count < keep_max;
    if (kept) {
        b->older = pool->kept;
        pool->kept = b;
        pool->kept_count++;
    }
    vv_mutex_unlock(&pool->lock);
    return kept;
}

/* Count the block up to `upto` bytes, in steps. */
static bool count_block(mt_block *b, size_t upto, vv_budget *budget)
{
    size_t want = vv_min_u64(vv_align_up(upto, COUNT_STEP), b->size);
    if (want <= b->counted)
        return true;
    if (!vv_budget_reserve(budget, VV_BUDGET_MEMTABLE, want - b->counted))
        return false;
    b->counted = want;
    return true;
}

/* For an entry: with what the pool keeps given up where that helps. */
static bool count_in(mt_arena *a, mt_block *b, size_t upto)
{
    if (count_block(b, upto, a->budget))
        return true;
    if (a->pool != NULL && engine_memtable_pool_trim(a->pool) && count_block(b, upto, a->budget))
        return true;
    if (!a->is_logged)
        return false;
    vv_budget_take(a->budget, VV_BUDGET_MEMTABLE, b->size - b->counted);
    b->counted = b->size;
    return true;
}

static mt_block *block_create(size_t size, size_t align)
{
    mt_block *b = vv_alloc_aligned(align, size);
    if (b != NULL)
        *b = (mt_block){.size = size};
    return b;
}

/* A first block, all of which will be used. */
static mt_block *first_block_create(size_t size)
{
    return block_create(size, size >= 2 * HUGE_PAGE ? HUGE_PAGE : MT_NODE_ALIGN);
}

/* The size of the first block of a memtable of so many bytes, with something over for the entry
 * that fills it. */
static size_t first_block_size(uint64_t memtable_size)
{
    uint64_t over = vv_min_u64(vv_max_u64(memtable_size / 8, OVER_MIN), OVER_MAX);
    return vv_align_up(memtable_size + over, COUNT_STEP);
}

/* Has the next memtable a block? */
static bool has_one(engine_memtable_pool *pool)
{
    vv_mutex_lock(&pool->lock);
    bool has = pool->kept_count > 0 || pool->keep_max == 0;
    vv_mutex_unlock(&pool->lock);
    return has;
}

vv_status engine_memtable_pool_warm(engine_memtable_pool *pool, uint64_t size, vv_error *err)
{
    if (has_one(pool))
        return VV_OK;
    mt_block *b = first_block_create(first_block_size(vv_max_u64(size, MT_SIZE_MIN)));
    if (b == NULL)
        return vv_fail(err, VV_NO_MEMORY, "memtable pool: no memory");
    if (!count_block(b, b->size, pool->budget)) {
        block_free(b, pool->budget);
        return vv_fail(err, VV_NO_MEMORY, "memtable pool: memory_limit is reached");
    }
    for (volatile uint8_t *p = (uint8_t *)(b + 1); p < (uint8_t *)b + b->size; p += VV_BLOCK)
        *p = 0;
    if (!pool_give(pool, b))
        block_free(b, pool->budget);
    return VV_OK;
}

static void fill_block(mt_arena *a, mt_block *b)
{
    b->older = a->block;
    a->block = b;
    a->next = (uint8_t *)(b + 1);
    a->limit = (uint8_t *)b + b->counted;
    a->end = (uint8_t *)b + b->size;
}

vv_status mt_arena_init(mt_arena *a, uint64_t size, vv_budget *budget, engine_memtable_pool *pool,
                        vv_error *err)
{
    *a = (mt_arena){.budget = budget, .pool = pool};
    if (size > SIZE_MAX / 2)
        return vv_fail(err, VV_INVALID, "memtable: the size is absurd");
    size_t want = first_block_size(size);
    mt_block *b = pool == NULL ? NULL : pool_take(pool, want);
    if (b == NULL)
        b = first_block_create(want);
    if (b == NULL)
        return vv_fail(err, VV_NO_MEMORY, "memtable: no memory for %zu bytes", want);
    if (b->counted == 0) {
        b->counted = COUNT_STEP;
        vv_budget_take(budget, VV_BUDGET_MEMTABLE, b->counted);
    }
    if (pool != NULL)
        pool_ref(pool);
    fill_block(a, b);
    return VV_OK;
}

void mt_arena_seal(mt_arena *a)
{
    if (a->spare != NULL)
        block_free(a->spare, a->budget);
    a->spare = NULL;
}

void mt_arena_fini(mt_arena *a)
{
    mt_arena_seal(a);
    while (a->block != NULL) {
        mt_block *b = a->block;
        a->block = b->older;
        bool first = b->older == NULL;
        if (!first || a->pool == NULL || !pool_give(a->pool, b))
            block_free(b, a->budget);
    }
    engine_memtable_pool_unref(a->pool);
    *a = (mt_arena){0};
}

vv_status mt_arena_more(mt_arena *a, size_t bytes, vv_error *err)
{
    size_t size = vv_align_up(sizeof(mt_block) + bytes, COUNT_STEP);
    if (a->spare != NULL && a->spare->size >= size)
        return VV_OK; /* first, so that a second and smaller request never counts anything */
    if ((size_t)(a->end - a->next) >= bytes) {
        if (!count_in(a, a->block, (size_t)(a->next - (uint8_t *)a->block) + bytes))
            return vv_fail(err, VV_BUSY, "memtable: memory_limit is reached");
        a->limit = (uint8_t *)a->block + a->block->counted;
        return VV_OK;
    }
    /* The block is at its end: have one beside it that takes all of it. Of most of them little but
     * the head is used: no huge pages. */
    mt_block *b = block_create(size, MT_NODE_ALIGN);
    if (b == NULL)
        return vv_fail(err, VV_NO_MEMORY, "memtable: no memory for %zu bytes", size);
    if (!count_in(a, b, size)) {
        block_free(b, a->budget);
        return vv_fail(err, VV_BUSY, "memtable: memory_limit is reached");
    }
    if (a->spare != NULL)
        block_free(a->spare, a->budget);
    a->spare = b;
    /* Use up what is left of this one before. */
    if (count_block(a->block, a->block->size, a->budget))
        a->limit = a->end;
    return VV_OK;
}

void *mt_arena_alloc(mt_arena *a, size_t size, size_t align)
{
    size_t skip = -(uintptr_t)a->next & (align - 1);
    if (VV_UNLIKELY((size_t)(a->limit - a->next) < skip + size)) {
        assert(a->spare != NULL); /* reserve was not called for this much */
        a->full += (size_t)(a->end - (uint8_t *)a->block);
        mt_block *b = a->spare;
        a->spare = NULL;
        fill_block(a, b);
        skip = -(uintptr_t)a->next & (align - 1);
        assert((size_t)(a->limit - a->next) >= skip + size);
    }
    uint8_t *p = a->next + skip;
    a->next = p + size;
    return p;
}

size_t mt_arena_used(const mt_arena *a)
{
    return a->full + (size_t)(a->next - (uint8_t *)a->block);
}
