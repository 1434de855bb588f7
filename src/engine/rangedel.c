/*
 * rangedel.c - which range deletion covers a key: an implicit interval tree.
 *
 *     ranges sorted by start     a   b   c   d   e   f   g
 *     tree of middles                        d             each middle knows of its subarray
 *                                    b               f     the highest end and the newest and
 *                                  a   c           e   g   oldest version
 *
 * A look-up skips a subarray that ends before the key, holds nothing newer than what was found, or
 * nothing as old as the snapshot. That is O(log n) for ranges that follow one another and for those
 * that nest (queues that trim their head delete [0, n) for a growing n), and never worse than
 * looking at each range. Memory is linear, which a set of cut fragments is not.
 */
#include "engine/rangedel_int.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "base/util.h"

int rangedel_cmp(const engine_range *a, const engine_range *b)
{
    int c = vv_slice_cmp(a->start, b->start);
    if (c == 0)
        c = (a->version < b->version) - (a->version > b->version);
    return c != 0 ? c : vv_slice_cmp(a->end, b->end);
}

/* Heap sort: no memory of its own, no bad input. */
static void sift_down(rangedel_node *nodes, size_t at, size_t count)
{
    rangedel_node moving = nodes[at];
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && rangedel_cmp(&nodes[child].range, &nodes[child + 1].range) < 0)
            child++;
        if (rangedel_cmp(&moving.range, &nodes[child].range) >= 0)
            break;
        nodes[at] = nodes[child];
    }
    nodes[at] = moving;
}

void rangedel_nodes_sort(rangedel_node *nodes, size_t count)
{
    size_t sorted = 1;
    while (sorted < count && rangedel_cmp(&nodes[sorted - 1].range, &nodes[sorted].range) <= 0)
        sorted++;
    if (sorted >= count)
        return; /* runs and memtables hand them over in order */
    for (size_t i = count / 2; i-- > 0;)
        sift_down(nodes, i, count);
    for (size_t last = count; last-- > 1;) {
        rangedel_node top = nodes[0];
        nodes[0] = nodes[last];
        nodes[last] = top;
        sift_down(nodes, 0, last);
    }
}

static void take_child(rangedel_node *node, const rangedel_node *child)
{
    if (vv_slice_cmp(child->end_max, node->end_max) > 0)
        node->end_max = child->end_max;
    if (child->version_max > node->version_max)
        node->version_max = child->version_max;
    if (child->version_min < node->version_min)
        node->version_min = child->version_min;
}

static inline size_t middle(size_t lo, size_t hi)
{
    return lo + (hi - lo) / 2;
}

/* Depth is log2 of the count. */
static void index_part(rangedel_node *nodes, size_t lo, size_t hi)
{
    size_t mid = middle(lo, hi);
    rangedel_node *node = &nodes[mid];
    node->end_max = node->range.end;
    node->version_max = node->version_min = node->range.version;
    if (lo < mid) {
        index_part(nodes, lo, mid);
        take_child(node, &nodes[middle(lo, mid)]);
    }
    if (mid + 1 < hi) {
        index_part(nodes, mid + 1, hi);
        take_child(node, &nodes[middle(mid + 1, hi)]);
    }
}

void rangedel_nodes_index(rangedel_node *nodes, size_t count)
{
    if (count > 0)
        index_part(nodes, 0, count);
}

static vv_slice copy_bytes(uint8_t **to, vv_slice s)
{
    uint8_t *at = *to;
    if (s.len > 0)
        memcpy(at, s.data, s.len);
    *to += s.len;
    return vv_slice_of(at, s.len);
}

vv_status engine_rangedels_build(const engine_range *ranges, size_t count, engine_rangedels **out,
                                 vv_error *err)
{
    if (count == 0) {
        *out = NULL;
        return VV_OK;
    }
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += ranges[i].start.len + ranges[i].end.len;
    engine_rangedels *set = vv_alloc(sizeof *set + count * sizeof(rangedel_node) + bytes);
    if (set == NULL)
        return vv_fail(err, VV_NO_MEMORY, "range deletions: no memory for %zu", count);
    rangedel_node *nodes = (rangedel_node *)(void *)(set + 1);
    uint8_t *to = (uint8_t *)(nodes + count);
    for (size_t i = 0; i < count; i++)
        nodes[i] = (rangedel_node){.range = {.start = copy_bytes(&to, ranges[i].start),
                                             .end = copy_bytes(&to, ranges[i].end),
                                             .version = ranges[i].version}};
    rangedel_nodes_sort(nodes, count);
    rangedel_nodes_index(nodes, count);
    *set = (engine_rangedels){.refs = 1, .nodes = nodes, .node_count = count};
    *out = set;
    return VV_OK;
}

void engine_rangedels_ref(engine_rangedels *set)
{
    if (set->owner != NULL)
        engine_memtable_ref(set->owner);
    else
        atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
}

void engine_rangedels_unref(engine_rangedels *set)
{
    if (set == NULL)
        return;
    if (set->owner != NULL)
        engine_memtable_unref(set->owner);
    else if (atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) == 1)
        vv_free(set);
}

static inline void look_at(const engine_range *range, vv_slice key, int64_t snapshot, int64_t *best)
{
    VV_POINT("engine.rangedel.look"); /* counted by tests: what a look-up costs */
    if (range->version > *best && range->version <= snapshot &&
        vv_slice_cmp(range->start, key) <= 0 && vv_slice_cmp(key, range->end) < 0)
        *best = range->version;
}

static void look_in(const rangedel_node *nodes, size_t lo, size_t hi, vv_slice key,
                    int64_t snapshot, int64_t *best)
{
    while (lo < hi) {
        size_t mid = middle(lo, hi);
        const rangedel_node *node = &nodes[mid];
        if (node->version_max <= *best || node->version_min > snapshot ||
            vv_slice_cmp(key, node->end_max) >= 0)
            return;
        if (vv_slice_cmp(key, node->range.start) < 0) {
            hi = mid;
            continue;
        }
        look_at(&node->range, key, snapshot, best);
        /* The half with the newer versions first: it may make the other one needless. */
        bool left_first = lo < mid && (mid + 1 == hi || nodes[middle(lo, mid)].version_max >=
                                                            nodes[middle(mid + 1, hi)].version_max);
        if (left_first) {
            look_in(nodes, lo, mid, key, snapshot, best);
            lo = mid + 1;
        } else {
            look_in(nodes, mid + 1, hi, key, snapshot, best);
            hi = mid;
        }
    }
}

int64_t engine_rangedels_cover(const engine_rangedels *set, vv_slice key, int64_t snapshot)
{
    if (set == NULL)
        return -1;
    int64_t best = -1;
    for (size_t i = 0; i < set->recent_count; i++)
        look_at(set->recent[i], key, snapshot, &best);
    look_in(set->nodes, 0, set->node_count, key, snapshot, &best);
    if (VV_BUG(16) && best >= 0)
        return INT64_MAX;
    return best;
}

size_t engine_rangedels_count(const engine_rangedels *set)
{
    return set == NULL ? 0 : set->node_count + set->recent_count;
}

/* The index-th of two sorted arrays: the first `ahead` of the recent ones stand before it. */
const engine_range *engine_rangedels_at(const engine_rangedels *set, size_t index)
{
    assert(index < engine_rangedels_count(set));
    size_t ahead = index > set->node_count ? index - set->node_count : 0;
    while (ahead < set->recent_count && ahead < index &&
           rangedel_cmp(set->recent[ahead], &set->nodes[index - ahead - 1].range) < 0)
        ahead++;
    size_t in_nodes = index - ahead;
    if (ahead < set->recent_count &&
        (in_nodes == set->node_count ||
         rangedel_cmp(set->recent[ahead], &set->nodes[in_nodes].range) < 0))
        return set->recent[ahead];
    return &set->nodes[in_nodes].range;
}
