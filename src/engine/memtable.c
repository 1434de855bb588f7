/*
 * memtable.c - the life of a memtable, the writer's way in and the point read.
 *
 *     prepare   reserves memory for the worst that so many bytes and operations can need
 *     apply     checks the payload; then for each operation
 *                 record -> hash probe -+- hit:  chain it in front, point link and slot at it
 *                                       +- miss: store the slot, insert it into its table's tree
 *
 * Only prepare takes memory, so that a logged entry can always be applied. What it reserves is a
 * bound; what is not used stays for the next entry.
 *
 * A key written twice by one entry: both records have the same version, and the later one takes
 * over what is beneath the earlier, which is then reachable for nobody but the tree (when it is the
 * key's first record, it keeps its place there).
 */
#include "engine/memtable_int.h"

#include "base/alloc.h"
#include "base/error.h"

/* -- life -- */

static vv_status create(uint64_t size, vv_budget *budget, engine_memtable_pool *pool,
                        engine_memtable **out, vv_error *err)
{
    size = vv_max_u64(size, MT_SIZE_MIN);
    engine_memtable *mt = vv_calloc(1, sizeof *mt);
    if (mt == NULL)
        return vv_fail(err, VV_NO_MEMORY, "memtable: no memory");
    atomic_init(&mt->refs, 1);
    mt->size = size;
    atomic_init(&mt->merge_time, INT64_MAX);
    mt->nodes.arena = &mt->arena;
    uint64_t keys = size / VV_MIB * mt_pool_keys_per_mib(pool);
    vv_status st = mt_hash_init(&mt->hash, size, keys, mt_pool_seed(pool), err);
    if (st == VV_OK)
        st = mt_arena_init(&mt->arena, size, budget, pool, err);
    if (st != VV_OK) {
        mt_hash_fini(&mt->hash);
        vv_free(mt);
        return st;
    }
    *out = mt;
    return VV_OK;
}

vv_status engine_memtable_create(uint64_t size, vv_budget *budget, engine_memtable **out,
                                 vv_error *err)
{
    return create(size, budget, NULL, out, err);
}

vv_status engine_memtable_create_in(engine_memtable_pool *pool, uint64_t size,
                                    engine_memtable **out, vv_error *err)
{
    return create(size, mt_pool_budget(pool), pool, out, err);
}

void engine_memtable_ref(engine_memtable *mt)
{
    atomic_fetch_add_explicit(&mt->refs, 1, memory_order_relaxed);
}

void engine_memtable_seal(engine_memtable *mt)
{
    mt_arena_seal(&mt->arena);
}

void engine_memtable_unref(engine_memtable *mt)
{
    if (mt == NULL || atomic_fetch_sub_explicit(&mt->refs, 1, memory_order_acq_rel) != 1)
        return;
    mt_pool_learn(mt->arena.pool, mt->key_count, mt_arena_used(&mt->arena));
    mt_arena_fini(&mt->arena);
    mt_hash_fini(&mt->hash);
    vv_free(mt);
}

/* -- prepare -- */

vv_status mt_reserve(engine_memtable *mt, size_t payload_len, size_t op_count, size_t tables,
                     vv_error *err)
{
    if (VV_UNLIKELY(mt->hash.due_count > 0)) {
        vv_status st = mt_arena_reserve(&mt->arena, mt_hash_due_need(&mt->hash), err);
        if (st != VV_OK)
            return st;
        mt_hash_grow_due(&mt->hash, &mt->arena);
    }
    size_t records = payload_len + op_count * (sizeof(mt_record) + 2 * sizeof(uint64_t));
    size_t need = records + mt_hash_need(&mt->hash, op_count) +
                  mt_tree_need(&mt->nodes, op_count, tables) + tables * sizeof(mt_table) +
                  mt_ranges_need(mt, op_count);
    return mt_arena_reserve(&mt->arena, need, err);
}

vv_status engine_memtable_prepare(engine_memtable *mt, size_t payload_len, uint32_t op_count,
                                  vv_error *err)
{
    return mt_reserve(mt, payload_len, op_count, vv_min_u64(op_count, MT_NEW_TABLES_MAX), err);
}

/* -- reads -- */

vv_status engine_memtable_get(const engine_memtable *mt, vv_slice key, int64_t snapshot,
                              engine_item *item)
{
    mt_record *r = mt_hash_get(&mt->hash, mt_hash_of(&mt->hash, key), key);
    r = mt_version_at(r, snapshot);
    if (r == NULL)
        return VV_NOT_FOUND;
    mt_record_item(r, item);
    return VV_OK;
}

int64_t engine_memtable_last_version(const engine_memtable *mt, vv_slice key)
{
    const mt_record *r = mt_hash_get(&mt->hash, mt_hash_of(&mt->hash, key), key);
    const engine_rangedels *ranges = atomic_load_explicit(&mt->ranges, memory_order_acquire);
    int64_t cover = engine_rangedels_cover(ranges, key, INT64_MAX);
    return r != NULL && r->version > cover ? r->version : cover;
}

vv_status engine_memtable_touched(engine_memtable *mt, vv_slice lower, vv_slice upper,
                                  int64_t since, engine_touch *out, vv_error *err)
{
    engine_source *src = NULL;
    vv_status st = engine_memtable_source(mt, &src, err);
    if (st != VV_OK)
        return st;
    st = engine_touch_ranges(src->rangedels, lower, upper, since, out)
             ? VV_OK
             : engine_touch_source(src, lower, upper, since, out, err);
    engine_source_close(src);
    return st;
}

engine_rangedels *engine_memtable_rangedels(const engine_memtable *mt)
{
    engine_rangedels *set = atomic_load_explicit(&mt->ranges, memory_order_acquire);
    if (set != NULL)
        engine_rangedels_ref(set);
    return set;
}

int64_t engine_memtable_max_version(const engine_memtable *mt)
{
    return atomic_load_explicit(&mt->version_max, memory_order_relaxed);
}

int64_t engine_memtable_merge_time(const engine_memtable *mt)
{
    return atomic_load_explicit(&mt->merge_time, memory_order_relaxed);
}

uint64_t engine_memtable_bytes(const engine_memtable *mt)
{
    return atomic_load_explicit(&mt->bytes, memory_order_relaxed);
}

uint64_t engine_memtable_items(const engine_memtable *mt)
{
    return atomic_load_explicit(&mt->items, memory_order_relaxed);
}

bool engine_memtable_is_full(const engine_memtable *mt)
{
    return atomic_load_explicit(&mt->is_full, memory_order_relaxed);
}
