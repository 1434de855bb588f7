/*
 * btree_test_util.h - the tree in the small store of the crash and fault tests.
 */
#ifndef VARVE_BTREE_BTREE_TEST_UTIL_H
#define VARVE_BTREE_BTREE_TEST_UTIL_H

#include "btree/btree.h"
#include "engine/engine_suite_small.h"

static inline void btree_small_tune(engine_options *opt, vv_rng *rng)
{
    opt->target_file_size = 4 * VV_KIB << vv_rng_below(rng, 4);
    opt->block_size = 512u << vv_rng_below(rng, 2); /* deep trees of few keys */
    opt->value_compression = vv_rng_one_in(rng, 2);
}

static inline bool btree_small_is_data(const char *name)
{
    return strncmp(name, "data-", 5) == 0;
}

static inline uint64_t btree_small_data_files(const engine_stats *stats)
{
    return stats->level_runs[0];
}

static inline bool btree_small_has_compacted(const engine_stats *stats)
{
    return stats->level_runs[0] > 0;
}

static const tw_subject btree_small = {
    .name = "btree",
    .ops = &btree_ops,
    .keys = TW_KEYS_MAX, /* of two tables: enough for three levels of small pages */
    .tune = btree_small_tune,
    .is_data = btree_small_is_data,
    .data_files = btree_small_data_files,
    .has_compacted = btree_small_has_compacted,
    .crash_batches = 260,
    .fault_batches = 160,
    .sites_min = 4, /* few writes: a flush writes its pages in one piece */
};

#endif
