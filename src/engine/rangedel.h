/*
 * rangedel.h - a set of range deletions: [start, end) at a version.
 *
 * Immutable once built and shared by reference count, so that a memtable can publish a new set
 * while readers hold the old one. Look-up is O(log n) for ranges that follow one another or nest,
 * and never worse than a look at each; memory is linear.
 */
#ifndef VARVE_ENGINE_RANGEDEL_H
#define VARVE_ENGINE_RANGEDEL_H

#include "engine/source.h"

typedef struct engine_range {
    vv_slice start;
    vv_slice end; /* exclusive */
    int64_t version;
} engine_range;

/** Build from count ranges in any order (copied). VV_OK with *out NULL when count is 0. */
VV_MUST_CHECK vv_status engine_rangedels_build(const engine_range *ranges, size_t count,
                                               engine_rangedels **out, vv_error *err);
void engine_rangedels_ref(engine_rangedels *set);
/** Frees with the last reference. Accepts NULL. */
void engine_rangedels_unref(engine_rangedels *set);

/** The newest version <= snapshot of a range that covers key; -1 when none does. NULL set: -1. */
int64_t engine_rangedels_cover(const engine_rangedels *set, vv_slice key, int64_t snapshot);

/** The original ranges, sorted by start then version descending: what a flush writes. */
size_t engine_rangedels_count(const engine_rangedels *set);
const engine_range *engine_rangedels_at(const engine_rangedels *set, size_t index);

#endif
