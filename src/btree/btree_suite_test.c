/*
 * btree_suite_test.c - the conformance suite on btree: on the simulated disk with tiny memtables,
 * files and caches, so that flushes and moves are everywhere, and on real files with threads.
 */
#include "vv_test.h"

#include <unistd.h>

#include "base/rng.h"
#include "btree/btree.h"
#include "engine/engine_suite.h"
#include "io/env.h"
#include "io/vio_sim.h"

typedef struct sim_world {
    vv_env env;
    vio_sim_disk *disk;
} sim_world;

static vv_env *make_sim(void *ctx)
{
    sim_world *w = ctx;
    vv_error err;
    w->disk = vio_sim_disk_create();
    assert_non_null(w->disk);
    assert_ok(vio_sim_open(w->disk, &(vio_sim_options){.seed = 1}, &w->env.io, &err), err);
    w->env.clock = vio_sim_clock(w->disk);
    w->env.seed = 1;
    return &w->env;
}

static void drop_sim(void *ctx, vv_env *env)
{
    sim_world *w = ctx;
    vio_destroy(env->io);
    vio_sim_disk_destroy(w->disk);
}

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

static char posix_dir[64];

static vv_env *make_posix(void *ctx)
{
    vv_env *env = ctx;
    vv_error err;
    /* In memory where that is possible: the suite syncs some ten thousand times. */
    (void)snprintf(posix_dir, sizeof posix_dir, "/dev/shm/btree-suite-XXXXXX");
    if (mkdtemp(posix_dir) == NULL) {
        (void)snprintf(posix_dir, sizeof posix_dir, "/tmp/btree-suite-XXXXXX");
        assert_non_null(mkdtemp(posix_dir));
    }
    assert_ok(env_posix_init(env, posix_dir, NULL, &err), err);
    return env;
}

static void remove_file(void *ctx, const char *name)
{
    vv_env *env = ctx;
    char path[VIO_PATH_MAX];
    (void)snprintf(path, sizeof path, "shard-0/%s", name);
    (void)!vio_remove(env->io, path, NULL);
}

static void drop_posix(void *ctx, vv_env *env)
{
    (void)ctx;
    (void)!vio_list(env->io, "shard-0", remove_file, env, NULL);
    (void)!vio_remove(env->io, "shard-0", NULL);
    vio_destroy(env->io);
    (void)rmdir(posix_dir);
}

int main(int argc, char **argv)
{
    sim_world world;
    vv_env env;
    const engine_suite_subject sim = {
        .name = "engine_suite on btree, simulated disk",
        .ops = &btree_ops,
        .env_create = make_sim,
        .env_destroy = drop_sim,
        .ctx = &world,
        .tune = tune_tiny,
        .touched_forgets = true,
        .model_ops = 1000000,
    };
    const engine_suite_subject real = {
        .name = "engine_suite on btree, real files",
        .ops = &btree_ops,
        .env_create = make_posix,
        .env_destroy = drop_posix,
        .ctx = &env,
        .touched_forgets = true,
        .model_ops = 50000,
    };
    bool is_real = argc > 1 && strcmp(argv[1], "real") == 0;
    return engine_suite_run(is_real ? &real : &sim);
}
