/*
 * lsm_suite_test.c - the conformance suite on lsm: on the simulated disk with tiny memtables, files
 * and caches, so that every kind of background work is everywhere, and on real files with threads.
 */
#include "vv_test.h"

#include "base/rng.h"
#include "engine/engine_suite.h"
#include "lsm/lsm.h"

/* Each table in another form. */
static engine_form form_of(void *ctx, uint32_t table_id)
{
    (void)ctx;
    return (engine_form){.compression = (engine_compression)(table_id % 4),
                         .value_threshold = table_id % 4 == 1   ? 50
                                            : table_id % 4 == 2 ? 2000
                                                                : 0};
}

/* Silly sizes: every rare path becomes common. */
static void tune_tiny(engine_options *opt, uint64_t seed)
{
    vv_rng rng;
    vv_rng_init(&rng, seed);
    opt->memtable_size = 16 * VV_KIB << vv_rng_below(&rng, 4);
    opt->target_file_size = 4 * VV_KIB << vv_rng_below(&rng, 6);
    opt->cache_size = 16 * VV_KIB << vv_rng_below(&rng, 8);
    opt->block_size = vv_rng_one_in(&rng, 4) ? 0 : 256u << vv_rng_below(&rng, 6);
    opt->level0_runs_max = 1 + (uint32_t)vv_rng_below(&rng, 5);
    opt->memtable_count = 2 + (uint32_t)vv_rng_below(&rng, 3);
    opt->compress = vv_rng_one_in(&rng, 2);
    opt->dictionary_sample = 2 * VV_KIB;
    opt->dictionary_gain = UINT32_MAX;
    opt->hooks.form = form_of;
    opt->direct_io = vv_rng_one_in(&rng, 2);
}

static void tune_real(engine_options *opt, uint64_t seed)
{
    opt->direct_io = seed % 2 != 0;
    opt->cache_size = 256 * VV_KIB; /* reads reach the files */
}

int main(int argc, char **argv)
{
    const engine_suite_subject subject = {
        .name = "lsm",
        .ops = &lsm_ops,
        .tune = tune_tiny,
        .model_ops = 1000000,
    };
    return engine_suite_main(argc, argv, &subject, tune_real);
}
