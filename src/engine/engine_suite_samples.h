/*
 * engine_suite_samples.h - sets of samples for the suites: made without the heap, so that a walk of
 * failing allocations meets the engine's own, and compared by what they hold, because a set has
 * many forms of bytes.
 */
#ifndef VARVE_ENGINE_ENGINE_SUITE_SAMPLES_H
#define VARVE_ENGINE_ENGINE_SUITE_SAMPLES_H

#include "base/rng.h"
#include "series/set.h"

#define SUITE_SET_ROOM 2600u /* bytes that suite_set_make may write */
#define SUITE_SET_SAMPLES 120u
#define SUITE_SET_SPAN 400 /* times are 0..399 */

/** A set of up to SUITE_SET_SAMPLES samples, or an erased range, at out; returns its bytes. */
size_t suite_set_make(vv_rng *rng, bool may_erase, uint8_t *out);
/** A step that merges it, likewise; out has 6 bytes more. */
size_t suite_set_step(vv_rng *rng, uint8_t *out);
/** The same samples: both settled sets with the same content, or the same bytes. */
bool suite_set_same(vv_slice a, vv_slice b);
/** A set of one value and quality a time, as suite_set_apply makes it out of nothing. */
typedef struct suite_series {
    bool present[SUITE_SET_SPAN];
    double value[SUITE_SET_SPAN];
    uint32_t quality[SUITE_SET_SPAN];
} suite_series;
/** What a set does to what lies beneath it. */
void suite_set_apply(suite_series *s, vv_slice set);
bool suite_set_holds(const suite_series *s, vv_slice value);

#endif
