/*
 * rocks_suite_test.c - the conformance suite on rocksdb, with tiny memtables and files so that
 * flushes are everywhere; with "threads" its readers, writer and background thread.
 */
#include <string.h>

#include "base/rng.h"
#include "engine/engine_suite.h"
#include "rocks/rocks.h"
#include "rocks/rocks_test_util.h"

static void tune_tiny(engine_options *opt, uint64_t seed)
{
    vv_rng rng;
    vv_rng_init(&rng, seed);
    opt->memtable_size = 32 * VV_KIB << vv_rng_below(&rng, 4);
    opt->target_file_size = 16 * VV_KIB << vv_rng_below(&rng, 6);
    opt->cache_size = 16 * VV_KIB << vv_rng_below(&rng, 8);
    opt->block_size = 512u << vv_rng_below(&rng, 4);
    opt->memtable_count = 2 + (uint32_t)vv_rng_below(&rng, 3);
}

int main(int argc, char **argv)
{
    rocks_world world;
    const engine_suite_subject subject = {
        .name = "engine_suite on rocksdb",
        .ops = &rocks_ops,
        .env_create = rocks_world_begin,
        .env_destroy = rocks_world_end,
        .ctx = &world,
        .tune = tune_tiny,
        .touched_forgets = true,
        .model_ops = 10000,
    };
    if (argc > 1 && strcmp(argv[1], "threads") == 0)
        return engine_suite_run_threads(&rocks_ops);
    return engine_suite_run(&subject);
}
