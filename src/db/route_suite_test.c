/*
 * route_suite_test.c - the conformance suite on a pair of engines, each in its turn at home.
 */
#include "db/route_test_util.h"

static void tune_tiny(engine_options *opt, uint64_t seed)
{
    vv_rng rng;
    vv_rng_init(&rng, seed);
    opt->memtable_size = 16 * VV_KIB << vv_rng_below(&rng, 4);
    opt->target_file_size = 4 * VV_KIB << vv_rng_below(&rng, 6);
    opt->cache_size = 32 * VV_KIB << vv_rng_below(&rng, 8);
    opt->memtable_count = 2 + (uint32_t)vv_rng_below(&rng, 3);
    opt->compress = vv_rng_one_in(&rng, 2);
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int btree_home = 0; btree_home < 2; btree_home++) {
        engine_ops ops = pair_ops(btree_home != 0);
        const engine_suite_subject subject = {
            .name = btree_home != 0 ? "btree with lsm beside it" : "lsm with btree beside it",
            .ops = &ops,
            .tune = tune_tiny,
            .engines = 2,
            .model_ops = 200000,
        };
        failed += engine_suite_main(argc, argv, &subject, NULL);
    }
    return failed;
}
