/*
 * memtable_ranges.c - the range deletions of a memtable: a new set for each entry that has some.
 *
 * Sets live in the arena and are never freed before it, so readers take them with one load. Copying
 * all ranges for each new one would fill the arena; so a set is a sorted, indexed array that is
 * rebuilt once in RECENT_MAX ranges, and a short sorted list of those that came since.
 *
 * Operations of one entry share their version, and a range deletion only reaches below its own. So
 * an operation that a later range deletion of its entry covers is not applied at all: what is older
 * is hidden by the range, and the operation itself must be.
 */
#include "engine/memtable_int.h"

#include "base/error.h"

#define RECENT_MAX 64u

static const engine_rangedels *current_set(const engine_memtable *mt)
{
    return atomic_load_explicit(&mt->ranges, memory_order_relaxed);
}

size_t mt_ranges_need(const engine_memtable *mt, size_t count)
{
    size_t all = engine_rangedels_count(current_set(mt)) + count;
    return (all + count) * sizeof(rangedel_node) + (RECENT_MAX + count) * sizeof(void *) +
           count * 16 + /* keys are padded */
           sizeof(engine_rangedels) + MT_NODE_ALIGN;
}

static vv_slice keep_bytes(engine_memtable *mt, vv_slice s)
{
    uint8_t *copy = mt_arena_alloc(&mt->arena, vv_align_up(s.len, 8), 8);
    if (s.len > 0)
        memcpy(copy, s.data, s.len);
    return vv_slice_of(copy, s.len);
}

void mt_ranges_collect(engine_memtable *mt, vv_slice payload, size_t count, mt_entry_ranges *out)
{
    *out = (mt_entry_ranges){0};
    if (count == 0)
        return;
    out->nodes = mt_arena_alloc(&mt->arena, count * sizeof *out->nodes, 8);
    engine_entry_iter it;
    engine_op op;
    if (engine_entry_open(payload, &it, NULL) != VV_OK)
        return; /* was checked */
    for (uint32_t i = 0; engine_entry_next(&it, &op, NULL) == VV_OK; i++) {
        if (op.kind != ENGINE_RANGE_DELETE || vv_slice_cmp(op.key, op.value) >= 0)
            continue; /* an empty range deletes nothing */
        out->nodes[out->count++] = (rangedel_node){.range = {.start = keep_bytes(mt, op.key),
                                                             .end = keep_bytes(mt, op.value),
                                                             .version = i}};
        out->last_op = i;
    }
    assert(out->count <= count);
    rangedel_nodes_sort(out->nodes, out->count);
    rangedel_nodes_index(out->nodes, out->count);
}

bool mt_ranges_kill(const mt_entry_ranges *ranges, uint32_t op_index, vv_slice key)
{
    if (ranges->count == 0 || op_index > ranges->last_op)
        return false;
    const engine_rangedels set = {.nodes = ranges->nodes, .node_count = ranges->count};
    return engine_rangedels_cover(&set, key, INT64_MAX) > op_index;
}

/* Sorted list of the old recent ones and the new ones. */
static void extend_recent(engine_memtable *mt, engine_rangedels *set, const mt_entry_ranges *add)
{
    const engine_range **recent =
        mt_arena_alloc(&mt->arena, (set->recent_count + add->count) * sizeof(void *), 8);
    size_t old = 0;
    size_t n = 0;
    for (size_t i = 0; i < add->count; i++) {
        const engine_range *range = &add->nodes[i].range;
        while (old < set->recent_count && rangedel_cmp(set->recent[old], range) <= 0)
            recent[n++] = set->recent[old++];
        recent[n++] = range;
    }
    while (old < set->recent_count)
        recent[n++] = set->recent[old++];
    set->recent = recent;
    set->recent_count = n;
}

/* The list has grown too long to look at one by one: merge it into the array. */
static void merge_recent(engine_memtable *mt, engine_rangedels *set)
{
    size_t count = set->node_count + set->recent_count;
    rangedel_node *nodes = mt_arena_alloc(&mt->arena, count * sizeof *nodes, 8);
    size_t old = 0;
    size_t n = 0;
    for (size_t i = 0; i < set->recent_count; i++) {
        while (old < set->node_count && rangedel_cmp(&set->nodes[old].range, set->recent[i]) <= 0)
            nodes[n++].range = set->nodes[old++].range;
        nodes[n++].range = *set->recent[i];
    }
    while (old < set->node_count)
        nodes[n++].range = set->nodes[old++].range;
    rangedel_nodes_index(nodes, n);
    set->nodes = nodes;
    set->node_count = n;
    set->recent = NULL;
    set->recent_count = 0;
}

void mt_ranges_publish(engine_memtable *mt, const mt_entry_ranges *ranges, int64_t version)
{
    if (ranges->count == 0)
        return;
    for (size_t i = 0; i < ranges->count; i++)
        ranges->nodes[i].range.version = version;
    rangedel_nodes_sort(ranges->nodes, ranges->count);
    engine_rangedels *set = mt_arena_alloc(&mt->arena, sizeof *set, 8);
    const engine_rangedels *old = current_set(mt);
    *set = old != NULL ? *old : (engine_rangedels){.owner = mt};
    extend_recent(mt, set, ranges);
    if (set->recent_count > RECENT_MAX)
        merge_recent(mt, set);
    atomic_store_explicit(&mt->ranges, set, memory_order_release);
}
