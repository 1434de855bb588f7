/*
 * route_suite_test.c - the conformance suite on a pair of engines: table 2 lies in one, the others
 * in the home, so that entries, ranges and cursors cross from one to the other.
 */
#include "vv_test.h"

#include "base/rng.h"
#include "btree/btree.h"
#include "engine/engine_suite.h"
#include "engine/route.h"
#include "io/env.h"
#include "io/vio_sim.h"
#include "lsm/lsm.h"

#define SLOT 2u /* of table 2 */

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
    opt->cache_size = 32 * VV_KIB << vv_rng_below(&rng, 8);
    opt->memtable_count = 2 + (uint32_t)vv_rng_below(&rng, 3);
    opt->compress = vv_rng_one_in(&rng, 2);
}

static vv_status open_pair(const engine_ops *home, const engine_ops *other,
                           const engine_options *opt, engine **out, vv_error *err)
{
    engine_route_options route = {.kind = {[0] = home, [SLOT] = other}, .shift = 0};
    engine *e = NULL;
    vv_status st = engine_route_open(&route, opt, &e, err);
    if (st == VV_OK && !opt->read_only)
        st = engine_route_add(e, SLOT, err);
    if (st == VV_OK)
        *out = e;
    else
        engine_route_ops.close(e);
    return st;
}

static vv_status open_lsm_home(const engine_options *opt, engine **out, vv_error *err)
{
    return open_pair(&lsm_ops, &btree_ops, opt, out, err);
}

static vv_status open_btree_home(const engine_options *opt, engine **out, vv_error *err)
{
    return open_pair(&btree_ops, &lsm_ops, opt, out, err);
}

static int run(const char *name,
               vv_status (*open)(const engine_options *opt, engine **out, vv_error *err))
{
    sim_world world;
    engine_ops ops = engine_route_ops;
    ops.open = open;
    const engine_suite_subject sim = {
        .name = name,
        .ops = &ops,
        .env_create = make_sim,
        .env_destroy = drop_sim,
        .ctx = &world,
        .tune = tune_tiny,
        .touched_forgets = true,
        .engines = 2,
        .model_ops = 300000,
    };
    return engine_suite_run(&sim);
}

int main(void)
{
    return run("engine_suite on lsm with btree beside it", open_lsm_home) +
           run("engine_suite on btree with lsm beside it", open_btree_home);
}
