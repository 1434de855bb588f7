/*
 * touch.h - the resolver's question to memtables and runs: did anything write here since?
 *
 * A source is walked key by key and only each key's newest version is looked at: what is older
 * cannot be above `since` when the newest is not. Range deletions are asked apart, as a set.
 */
#ifndef VARVE_ENGINE_TOUCH_H
#define VARVE_ENGINE_TOUCH_H

#include "engine/rangedel.h"

/* A write that was found. */
typedef struct engine_touch {
    int64_t version;
    bool is_range; /* a range deletion: key is its start, or the lower bound asked for if above */
    size_t key_len;
    uint8_t key[ENGINE_KEY_MAX]; /* with the table prefix */
} engine_touch;

/** The first key of [lower, upper) in src whose newest version is above since: VV_OK and *out, or
 * VV_NOT_FOUND. Moves the source. lower must not be one of its items. */
VV_MUST_CHECK vv_status engine_touch_source(engine_source *src, vv_slice lower, vv_slice upper,
                                            int64_t since, engine_touch *out, vv_error *err);

/** A range deletion above since that overlaps [lower, upper). NULL set: none. */
bool engine_touch_ranges(const engine_rangedels *set, vv_slice lower, vv_slice upper, int64_t since,
                         engine_touch *out);

#endif
