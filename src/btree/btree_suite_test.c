/*
 * btree_suite_test.c - the conformance suite on btree: on the simulated disk with tiny memtables,
 * files and caches, so that every kind of background work is everywhere, and on real files with
 * threads.
 */
#include "vv_test.h"

#include "base/rng.h"
#include "btree/btree.h"
#include "engine/engine_suite.h"

/* Silly sizes: every rare path becomes common. */
static void tune_tiny(engine_options *opt, uint64_t seed)
{
    vv_rng rng;
    vv_rng_init(&rng, seed);
    opt->memtable_size = 16 * VV_KIB << vv_rng_below(&rng, 4);
    opt->target_file_size = 4 * VV_KIB << vv_rng_below(&rng, 6);
    opt->cache_size = 16 * VV_KIB << vv_rng_below(&rng, 8);
    opt->block_size = 4096u << vv_rng_below(&rng, 3);
    opt->memtable_count = 2 + (uint32_t)vv_rng_below(&rng, 3);
}

int main(int argc, char **argv)
{
    const engine_suite_subject subject = {
        .name = "btree",
        .ops = &btree_ops,
        .tune = tune_tiny,
        .model_ops = 1000000,
    };
    return engine_suite_main(argc, argv, &subject, NULL);
}
