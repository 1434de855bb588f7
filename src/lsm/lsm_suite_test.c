/*
 * lsm_suite_test.c - the conformance suite on lsm: on the simulated disk with tiny memtables, files
 * and caches, so that flushes and compactions are everywhere, and on real files with threads.
 */
#include "vv_test.h"

#include <unistd.h>

#include "base/rng.h"
#include "engine/engine_suite.h"
#include "io/env.h"
#include "io/vio_sim.h"
#include "lsm/lsm.h"

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

static vio_backend posix_backend;

static char posix_dir[64];

static vv_env *make_posix(void *ctx)
{
    vv_env *env = ctx;
    vv_error err;
    /* In memory where that is possible: the suite syncs some ten thousand times. */
    (void)snprintf(posix_dir, sizeof posix_dir, "/dev/shm/lsm-suite-XXXXXX");
    if (mkdtemp(posix_dir) == NULL) {
        (void)snprintf(posix_dir, sizeof posix_dir, "/tmp/lsm-suite-XXXXXX");
        assert_non_null(mkdtemp(posix_dir));
    }
    assert_ok(env_posix_open(env, posix_dir, &(vio_posix_options){.backend = posix_backend}, &err),
              err);
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
        .name = "engine_suite on lsm, simulated disk",
        .ops = &lsm_ops,
        .env_create = make_sim,
        .env_destroy = drop_sim,
        .ctx = &world,
        .tune = tune_tiny,
        .model_ops = 1000000,
    };
    const engine_suite_subject real = {
        .name = "engine_suite on lsm, real files",
        .ops = &lsm_ops,
        .env_create = make_posix,
        .env_destroy = drop_posix,
        .ctx = &env,
        .tune = tune_real,
        .model_ops = 50000,
    };
    bool is_real = argc > 1;
    for (int b = VIO_BACKEND_POSIX; is_real && b <= VIO_BACKEND_RING; b++)
        if (strcmp(argv[1], vio_backend_name((vio_backend)b)) == 0)
            posix_backend = (vio_backend)b;
    return engine_suite_run(is_real ? &real : &sim);
}
