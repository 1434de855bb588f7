/*
 * lsm_test_util.h - lsm in the small store of the crash and fault tests.
 */
#ifndef VARVE_LSM_LSM_TEST_UTIL_H
#define VARVE_LSM_LSM_TEST_UTIL_H

#include "engine/engine_suite_small.h"
#include "lsm/lsm.h"

#define LSM_SMALL_KEYS 40u

/* One table as the store has it, the other with zstd and, mostly, a dictionary. */
static inline engine_form lsm_small_form(void *ctx, uint32_t table_id)
{
    (void)ctx;
    return (engine_form){.compression =
                             table_id == 1 ? ENGINE_COMPRESSION_AUTO : ENGINE_COMPRESSION_ZSTD,
                         .value_threshold = table_id == 2 ? 60 : 0};
}

static inline void lsm_small_tune(engine_options *opt, vv_rng *rng)
{
    opt->target_file_size = 4 * VV_KIB << vv_rng_below(rng, 3);
    opt->block_size = 512u << vv_rng_below(rng, 3);
    opt->level0_runs_max = 2;
    opt->compress = vv_rng_one_in(rng, 2);
    opt->dictionary_sample = 2 * VV_KIB;
    opt->dictionary_gain = UINT32_MAX;
    opt->direct_io = vv_rng_one_in(rng, 2);
    opt->hooks.form = lsm_small_form;
}

static inline bool lsm_small_is_data(const char *name)
{
    return strncmp(name, "run-", 4) == 0 || strncmp(name, "val-", 4) == 0;
}

static inline uint64_t lsm_small_data_files(const engine_stats *stats)
{
    uint64_t count = stats->value_files;
    for (size_t i = 0; i < ARRAY_LEN(stats->level_runs); i++)
        count += stats->level_runs[i];
    return count;
}

static inline bool lsm_small_has_compacted(const engine_stats *stats)
{
    return stats->level_runs[1] > 0;
}

static const tw_subject lsm_small = {
    .name = "lsm",
    .ops = &lsm_ops,
    .keys = LSM_SMALL_KEYS,
    .tune = lsm_small_tune,
    .is_data = lsm_small_is_data,
    .data_files = lsm_small_data_files,
    .has_compacted = lsm_small_has_compacted,
    .crash_batches = 260,
    .fault_batches = 220,
    .sites_min = 30,
};

#endif
