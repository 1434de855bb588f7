/*
 * rangedel_int.h - how a set of range deletions looks inside: for the memtable, which builds its
 * sets in its own arena and publishes a new one after each entry that deletes a range.
 */
#ifndef VARVE_ENGINE_RANGEDEL_INT_H
#define VARVE_ENGINE_RANGEDEL_INT_H

#include <stdatomic.h>

#include "engine/memtable.h"
#include "engine/rangedel.h"

/* A range and, over the subarray of which it is the middle, what allows to skip all of it. */
typedef struct rangedel_node {
    engine_range range;
    vv_slice end_max;
    int64_t version_max;
    int64_t version_min;
} rangedel_node;

struct engine_rangedels {
    _Atomic uint32_t refs;      /* of a set on the heap; unused under an owner */
    engine_memtable *owner;     /* a set in a memtable's arena lives and is counted with it */
    const rangedel_node *nodes; /* sorted and indexed */
    size_t node_count;
    const engine_range *const *recent; /* few, sorted, looked at one by one */
    size_t recent_count;
};

/* Order of engine_rangedels_at: start, then the newest version, then end. */
int rangedel_cmp(const engine_range *a, const engine_range *b);
void rangedel_nodes_sort(rangedel_node *nodes, size_t count);
/* Fill the skip fields of a sorted array. */
void rangedel_nodes_index(rangedel_node *nodes, size_t count);

#endif
