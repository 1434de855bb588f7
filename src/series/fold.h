/*
 * fold.h - what the sets of one bucket come to, given from the newest to the oldest.
 *
 * Union by time; of samples with one time the newest set's stays. A set's erased ranges take out
 * what is older than the set. Chunks that nothing else touches are passed on as they are, small
 * neighbours are joined.
 *
 * Total and associative but for two limits: what is of another type than the newest chunk is left
 * out, and so are the last samples in time that would pass SERIES_SET_WEIGHT_MAX. Writers keep to
 * one type a series and to buckets far below the limit.
 */
#ifndef VARVE_SERIES_FOLD_H
#define VARVE_SERIES_FOLD_H

#include "series/set.h"

typedef struct series_fold series_fold;

typedef struct series_fold_stats {
    uint64_t chunks_in;
    uint64_t chunks_passed; /* as they were */
    uint64_t chunks_decoded;
    uint64_t samples_cut; /* left out for the limit */
} series_fold_stats;

/** NULL when memory is short. One thread at a time. */
series_fold *series_fold_create(void);
void series_fold_destroy(series_fold *f); /* accepts NULL */
/** Begin anew; the memory is kept. */
void series_fold_reset(series_fold *f);
/** The next older set. Borrows it until the fold is reset or destroyed. VV_CORRUPT, VV_NO_MEMORY:
 * then only reset and destroy are left. */
VV_MUST_CHECK vv_status series_fold_push(series_fold *f, vv_slice set, vv_error *err);
/** Append what was pushed as one operand: erased ranges stay. SERIES_RAW: cheap, for a reader;
 * SERIES_COMPACT: for a file. */
VV_MUST_CHECK vv_status series_fold_operand(series_fold *f, series_form form, vv_buf *out,
                                            vv_error *err);
/** Append it as a settled set, when nothing older is to come. */
VV_MUST_CHECK vv_status series_fold_value(series_fold *f, series_form form, vv_buf *out,
                                          vv_error *err);
/** Since it was created. */
series_fold_stats series_fold_get_stats(const series_fold *f);

#endif
