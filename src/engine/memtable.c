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
#include "base/point.h"

#define NEW_TABLES_MAX 64u     /* in one entry, that prepare provides for */
#define RANGE_DELETES_MAX 4096 /* more, and building sets and looking them up takes over */
#define SIZE_MIN (4 * VV_KIB)

/* -- life -- */

static vv_status create(uint64_t size, vv_budget *budget, engine_memtable_pool *pool,
                        engine_memtable **out, vv_error *err)
{
    size = vv_max_u64(size, SIZE_MIN);
    engine_memtable *mt = vv_calloc(1, sizeof *mt);
    if (mt == NULL)
        return vv_fail(err, VV_NO_MEMORY, "memtable: no memory");
    atomic_init(&mt->refs, 1);
    mt->size = size;
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

static vv_status reserve(engine_memtable *mt, size_t payload_len, size_t op_count, size_t tables,
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
    return reserve(mt, payload_len, op_count, vv_min_u64(op_count, NEW_TABLES_MAX), err);
}

/* -- tables -- */

const mt_table *mt_find_table(const engine_memtable *mt, uint32_t id)
{
    uint8_t key[ENGINE_TABLE_PREFIX];
    vv_put_be32(key, id);
    mt_leaf_copy copy;
    uint32_t at;
    if (!mt_tree_seek(&mt->directory, vv_slice_of(key, sizeof key), &copy, &at) ||
        at == copy.count || engine_key_table(mt_key(copy.record[at])) != id)
        return NULL;
    return mt_table_of(copy.record[at]);
}

static inline mt_table **recent_table(engine_memtable *mt, uint32_t id)
{
    return &mt->recent[id % MT_RECENT_TABLES];
}

/* The writer's way: NULL when the table is not there. */
static inline mt_table *known_table(engine_memtable *mt, uint32_t id)
{
    mt_table **recent = recent_table(mt, id);
    if (VV_LIKELY(*recent != NULL && vv_get_be32((*recent)->id) == id))
        return *recent;
    mt_table *table = (mt_table *)(uintptr_t)mt_find_table(mt, id);
    if (table != NULL)
        *recent = table;
    return table;
}

static mt_tree *tree_for(engine_memtable *mt, vv_slice key)
{
    uint32_t id = engine_key_table(key);
    mt_table *table = known_table(mt, id);
    if (VV_UNLIKELY(table == NULL)) {
        table = mt_arena_alloc(&mt->arena, sizeof *table, 8);
        *table = (mt_table){.record = {.key_len = ENGINE_TABLE_PREFIX, .flags = MT_FIRST}};
        vv_put_be32(table->id, id);
        mt_tree_insert(&mt->directory, &mt->nodes, &table->record);
        *recent_table(mt, id) = table;
    }
    return &table->tree;
}

/* -- apply -- */

/* What a first pass over a payload finds. */
typedef struct survey {
    uint32_t op_count;
    size_t range_count;
    size_t new_tables; /* exact up to NEW_TABLES_MAX, no fewer than there are above it */
    uint32_t new_ids[NEW_TABLES_MAX];
} survey;

static void note_new_table(survey *found, uint32_t id)
{
    for (size_t i = vv_min_u64(found->new_tables, NEW_TABLES_MAX); i-- > 0;)
        if (found->new_ids[i] == id)
            return;
    if (found->new_tables < NEW_TABLES_MAX)
        found->new_ids[found->new_tables] = id;
    found->new_tables++;
}

static vv_status look_through(engine_memtable *mt, vv_slice payload, engine_entry_iter *it,
                              survey *out, vv_error *err)
{
    vv_status st = engine_entry_open(payload, it, err);
    if (st != VV_OK)
        return st;
    engine_entry_iter check = *it;
    engine_op op;
    out->op_count = it->left;
    out->range_count = 0;
    out->new_tables = 0;
    while ((st = engine_entry_next(&check, &op, err)) == VV_OK) {
        uint32_t id = engine_key_table(op.key);
        out->range_count += op.kind == ENGINE_RANGE_DELETE;
        if (VV_UNLIKELY(known_table(mt, id) == NULL))
            note_new_table(out, id);
    }
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static mt_record *record_create(mt_arena *a, int64_t version, const engine_op *op)
{
    size_t expires_len = op->expires_ns != 0 ? sizeof(int64_t) : 0;
    size_t len = sizeof(mt_record) + op->key.len + expires_len + op->value.len;
    mt_record *r = mt_arena_alloc(a, vv_align_up(len, 8), 8);
    *r = (mt_record){.version = version,
                     .value_len = (uint32_t)op->value.len,
                     .key_len = (uint16_t)op->key.len,
                     .kind = (uint8_t)op->kind,
                     .flags = expires_len != 0 ? MT_EXPIRES : 0};
    uint8_t *p = (uint8_t *)(r + 1);
    memcpy(p, op->key.data, op->key.len);
    p += op->key.len;
    if (expires_len != 0) {
        vv_put_le64(p, (uint64_t)op->expires_ns);
        p += expires_len;
    }
    if (op->value.len > 0)
        memcpy(p, op->value.data, op->value.len);
    return r;
}

static void chain(mt_slot *slot, uint64_t hash, mt_record *newest, mt_record *r)
{
    mt_record *first = newest->flags & MT_FIRST ? newest : mt_load(&newest->link);
    mt_record *older = newest->version == r->version ? mt_load(&newest->older) : newest;
    atomic_store_explicit(&r->older, older, memory_order_relaxed);
    atomic_store_explicit(&r->link, first, memory_order_relaxed);
    atomic_store_explicit(&first->link, r, memory_order_release);
    mt_hash_store(slot, hash, r);
}

/* Returns whether the key has one version more. */
static bool write_op(engine_memtable *mt, int64_t version, const engine_op *op)
{
    uint64_t hash = mt_hash_of(&mt->hash, op->key);
    mt_hash_prefetch(&mt->hash, hash);
    mt_record *r = record_create(&mt->arena, version, op);
    mt_record *newest;
    mt_slot *slot = mt_hash_probe(&mt->hash, &mt->arena, hash, op->key, &newest);
    if (newest != NULL) {
        chain(slot, hash, newest, r);
        return newest->version != version;
    }
    r->flags |= MT_FIRST;
    atomic_store_explicit(&r->link, r, memory_order_relaxed);
    mt_hash_store(slot, hash, r);
    mt_hash_added(&mt->hash, hash);
    mt_tree_insert(tree_for(mt, op->key), &mt->nodes, r);
    mt->key_count++;
    return true;
}

static void note_state(engine_memtable *mt, int64_t version, uint64_t added)
{
    uint64_t bytes = mt_arena_used(&mt->arena);
    const engine_rangedels *ranges = atomic_load_explicit(&mt->ranges, memory_order_relaxed);
    if (atomic_load_explicit(&mt->version_max, memory_order_relaxed) == 0)
        atomic_store_explicit(&mt->version_min, version, memory_order_relaxed);
    atomic_store_explicit(&mt->version_max, version, memory_order_relaxed);
    atomic_store_explicit(&mt->bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&mt->items,
                          atomic_load_explicit(&mt->items, memory_order_relaxed) + added,
                          memory_order_relaxed);
    if (bytes >= mt->size || engine_rangedels_count(ranges) >= RANGE_DELETES_MAX)
        atomic_store_explicit(&mt->is_full, true, memory_order_relaxed);
}

vv_status engine_memtable_apply(engine_memtable *mt, int64_t version, vv_slice payload,
                                vv_error *err)
{
    engine_entry_iter it;
    survey found;
    vv_status st = look_through(mt, payload, &it, &found, err);
    if (st == VV_OK)
        st = reserve(mt, payload.len, found.op_count, found.new_tables, err);
    if (st != VV_OK)
        return st;
    assert(version > engine_memtable_max_version(mt) || VV_BUG(14));
    mt_entry_ranges ranges;
    mt_ranges_collect(mt, payload, found.range_count, &ranges);
    uint64_t added = 0;
    engine_op op;
    for (uint32_t i = 0; engine_entry_next(&it, &op, NULL) == VV_OK; i++) {
        if (op.kind == ENGINE_RANGE_DELETE || mt_ranges_kill(&ranges, i, op.key))
            continue;
        bool published_each = VV_BUG(14) && i + 1 < found.op_count;
        added += write_op(mt, published_each ? version - 1 : version, &op);
    }
    mt_ranges_publish(mt, &ranges, version);
    note_state(mt, version, added + ranges.count);
    return VV_OK;
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

engine_rangedels *engine_memtable_rangedels(const engine_memtable *mt)
{
    engine_rangedels *set = atomic_load_explicit(&mt->ranges, memory_order_acquire);
    if (set != NULL)
        engine_rangedels_ref(set);
    return set;
}

int64_t engine_memtable_min_version(const engine_memtable *mt)
{
    return atomic_load_explicit(&mt->version_min, memory_order_relaxed);
}

int64_t engine_memtable_max_version(const engine_memtable *mt)
{
    return atomic_load_explicit(&mt->version_max, memory_order_relaxed);
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
