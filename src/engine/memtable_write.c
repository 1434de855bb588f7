/*
 * memtable_write.c - apply an entry.
 *
 *     look through    every operation is checked before the first one is applied
 *     in groups       hash and record -> leaf or slot, whichever comes first -> slot
 *                       hit:  chain the record in front, point link and slot at it
 *                       miss: store the slot, insert the record into its table's tree
 *     range deletions, published as one set
 *
 * A group goes through each step together and prefetches for the next, because nearly all the time
 * of a put is waiting for two or three lines of memory. Also a group of one gains: the leaf is
 * looked for while the hash slot is on its way.
 *
 * A key written twice by one entry: both records have the same version. A merge stands in front of
 * the earlier one, which it builds on; anything else takes
 * over what is beneath the earlier, which is then reachable for nobody but the tree (when it is the
 * key's first record, it keeps its place there).
 */
#include "engine/memtable_int.h"

#include "base/error.h"
#include "base/point.h"
#include "engine/operand.h"

#define GROUP_MAX 16u
#define RANGE_DELETES_MAX 4096 /* more, and building sets and looking them up takes over */

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
        mt_tree_insert(&mt->directory, &mt->nodes, &table->record, &(mt_tree_hint){0});
        *recent_table(mt, id) = table;
    }
    return &table->tree;
}

/* -- apply -- */

/* What a first pass over a payload finds. */
typedef struct survey {
    uint32_t op_count;
    size_t range_count;
    size_t new_tables; /* exact up to MT_NEW_TABLES_MAX, no fewer than there are above it */
    uint32_t new_ids[MT_NEW_TABLES_MAX];
} survey;

static void note_new_table(survey *found, uint32_t id)
{
    for (size_t i = vv_min_u64(found->new_tables, MT_NEW_TABLES_MAX); i-- > 0;)
        if (found->new_ids[i] == id)
            return;
    if (found->new_tables < MT_NEW_TABLES_MAX)
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

static mt_record *record_create(mt_arena *a, int64_t version, int64_t commit_time_ns,
                                const engine_op *op)
{
    size_t time_len = op->kind == ENGINE_MERGE ? ENGINE_OPERAND_TIME : 0;
    size_t expires_len = op->expires_ns != 0 ? sizeof(int64_t) : 0;
    size_t len = sizeof(mt_record) + op->key.len + expires_len + time_len + op->value.len;
    mt_record *r = mt_arena_alloc(a, vv_align_up(len, 8), 8);
    *r = (mt_record){.version = version,
                     .value_len = (uint32_t)(time_len + op->value.len),
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
    if (VV_UNLIKELY(time_len != 0)) {
        vv_put_le64(p, (uint64_t)commit_time_ns);
        p += time_len;
    }
    if (op->value.len > 0)
        memcpy(p, op->value.data, op->value.len);
    return r;
}

static void chain(mt_slot *slot, uint64_t hash, mt_record *newest, mt_record *r)
{
    mt_record *first = newest->flags & MT_FIRST ? newest : mt_load(&newest->link);
    mt_record *older = newest;
    if (VV_LIKELY(r->kind != ENGINE_MERGE))
        while (older != NULL && older->version == r->version) /* a merge may stand on others */
            older = mt_load(&older->older);
    atomic_store_explicit(&r->older, older, memory_order_relaxed);
    atomic_store_explicit(&r->link, first, memory_order_relaxed);
    atomic_store_explicit(&first->link, r, memory_order_release);
    mt_hash_store(slot, hash, r);
}

/* -- a group of operations -- */

/* In one step for all of a group, so that their cache misses overlap. */
typedef struct pending {
    engine_op op;
    uint64_t hash;
    mt_record *record;
    mt_tree *tree; /* of a new key, or of one that may be; NULL: its table is not there */
    mt_tree_hint hint;
    bool is_new;
} pending;

static void find_leaves(engine_memtable *mt, pending *group, size_t count, bool new_only)
{
    mt_tree *trees[GROUP_MAX];
    vv_slice keys[GROUP_MAX];
    mt_tree_hint *hints[GROUP_MAX];
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        pending *p = &group[i];
        if (new_only && !p->is_new)
            continue;
        mt_table *table = known_table(mt, engine_key_table(p->op.key));
        p->hint = (mt_tree_hint){0};
        if (table == NULL)
            continue;
        trees[n] = &table->tree;
        keys[n] = p->op.key;
        hints[n++] = &p->hint;
    }
    mt_tree_find_leaves(trees, keys, hints, n);
}

/* Put the record into the hash; false when its entry had written the key before. */
static bool index_record(engine_memtable *mt, pending *p)
{
    mt_record *newest;
    mt_slot *slot = mt_hash_probe(&mt->hash, &mt->arena, p->hash, p->op.key, &newest);
    p->is_new = newest == NULL;
    if (newest != NULL) {
        chain(slot, p->hash, newest, p->record);
        return newest->version != p->record->version || p->record->kind == ENGINE_MERGE;
    }
    p->record->flags |= MT_FIRST;
    atomic_store_explicit(&p->record->link, p->record, memory_order_relaxed);
    mt_hash_store(slot, p->hash, p->record);
    mt_hash_added(&mt->hash, p->hash);
    return true;
}

static void count_bytes(mt_table *table, uint64_t bytes)
{
    if (table != NULL && bytes > 0) /* one writer: no need for a locked addition */
        atomic_store_explicit(&table->bytes,
                              atomic_load_explicit(&table->bytes, memory_order_relaxed) + bytes,
                              memory_order_relaxed);
}

/* Add what the group wrote to its tables' counters, at once for neighbours of one table. */
static void count_group(engine_memtable *mt, const pending *group, size_t count)
{
    mt_table *table = NULL;
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t id = engine_key_table(group[i].op.key);
        if (table == NULL || vv_get_be32(table->id) != id) {
            count_bytes(table, bytes);
            table = known_table(mt, id);
            bytes = 0;
        }
        bytes += group[i].op.key.len + group[i].op.value.len;
    }
    count_bytes(table, bytes);
}

/* Returns how many versions it added. */
static uint64_t write_group(engine_memtable *mt, pending *group, size_t count)
{
    /* Where keys were new lately, look for their leaves while the hash is on its way. */
    bool early = mt->keys_are_new;
    if (early)
        find_leaves(mt, group, count, false);
    uint64_t added = 0;
    size_t new_count = 0;
    for (size_t i = 0; i < count; i++) {
        added += index_record(mt, &group[i]);
        new_count += group[i].is_new;
    }
    if (!early && new_count > 0)
        find_leaves(mt, group, count, true);
    for (size_t i = 0; i < count; i++)
        if (group[i].is_new)
            mt_tree_insert(tree_for(mt, group[i].op.key), &mt->nodes, group[i].record,
                           &group[i].hint);
    count_group(mt, group, count);
    mt->key_count += new_count;
    mt->keys_are_new = 2 * new_count >= count;
    return added;
}

static void note_state(engine_memtable *mt, int64_t version, uint64_t added)
{
    uint64_t bytes = mt_arena_used(&mt->arena);
    const engine_rangedels *ranges = atomic_load_explicit(&mt->ranges, memory_order_relaxed);
    atomic_store_explicit(&mt->version_max, version, memory_order_relaxed);
    atomic_store_explicit(&mt->bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&mt->items,
                          atomic_load_explicit(&mt->items, memory_order_relaxed) + added,
                          memory_order_relaxed);
    if (bytes >= mt->size || engine_rangedels_count(ranges) >= RANGE_DELETES_MAX)
        atomic_store_explicit(&mt->is_full, true, memory_order_relaxed);
}

static void note_merge(engine_memtable *mt, int64_t commit_time_ns)
{
    if (commit_time_ns < atomic_load_explicit(&mt->merge_time, memory_order_relaxed))
        atomic_store_explicit(&mt->merge_time, commit_time_ns, memory_order_relaxed);
}

vv_status engine_memtable_apply_at(engine_memtable *mt, int64_t version, int64_t commit_time_ns,
                                   vv_slice payload, vv_error *err)
{
    engine_entry_iter it;
    survey found;
    vv_status st = look_through(mt, payload, &it, &found, err);
    mt->arena.is_logged = true;
    if (st == VV_OK)
        st = mt_reserve(mt, payload.len, found.op_count, found.new_tables, err);
    mt->arena.is_logged = false;
    if (st != VV_OK)
        return st;
    assert(version > engine_memtable_max_version(mt) || VV_BUG(14));
    mt_entry_ranges ranges;
    mt_ranges_collect(mt, payload, found.range_count, &ranges);
    uint64_t added = 0;
    pending group[GROUP_MAX];
    size_t count = 0;
    for (uint32_t i = 0; i < found.op_count; i++) {
        pending *p = &group[count];
        if (engine_entry_next(&it, &p->op, NULL) != VV_OK)
            break; /* was checked */
        if (p->op.kind == ENGINE_RANGE_DELETE || mt_ranges_kill(&ranges, i, p->op.key))
            continue;
        p->hash = mt_hash_of(&mt->hash, p->op.key);
        mt_hash_prefetch(&mt->hash, p->hash);
        bool published_each = VV_BUG(14) && i + 1 < found.op_count;
        if (VV_UNLIKELY(p->op.kind == ENGINE_MERGE))
            note_merge(mt, commit_time_ns);
        p->record = record_create(&mt->arena, published_each ? version - 1 : version,
                                  commit_time_ns, &p->op);
        if (++count == GROUP_MAX) {
            added += write_group(mt, group, count);
            count = 0;
        }
    }
    added += write_group(mt, group, count);
    mt_ranges_publish(mt, &ranges, version);
    note_state(mt, version, added + ranges.count);
    return VV_OK;
}
