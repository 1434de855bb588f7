/*
 * route_test_util.h - a pair of engines as one, for the suites: table 2 lies in the second, all
 * others in the home, so that entries, ranges and cursors cross from one to the other.
 */
#ifndef VARVE_DB_ROUTE_TEST_UTIL_H
#define VARVE_DB_ROUTE_TEST_UTIL_H

#include "vv_test.h"

#include "btree/btree.h"
#include "engine/engine_suite.h"
#include "engine/engine_suite_small.h"
#include "engine/route.h"
#include "lsm/lsm.h"

#define PAIR_SLOT 2u

static inline vv_status pair_open(const engine_ops *home, const engine_ops *other,
                                  const engine_options *opt, engine **out, vv_error *err)
{
    engine_route_options route = {.kind = {[0] = home, [PAIR_SLOT] = other}, .shift = 0};
    engine *e = NULL;
    vv_status st = engine_route_open(&route, opt, &e, err);
    if (st == VV_OK && !opt->read_only)
        st = engine_route_add(e, PAIR_SLOT, err);
    if (st == VV_OK)
        *out = e;
    else
        engine_route_ops.close(e);
    return st;
}

static inline vv_status pair_open_lsm_home(const engine_options *opt, engine **out, vv_error *err)
{
    return pair_open(&lsm_ops, &btree_ops, opt, out, err);
}

static inline vv_status pair_open_btree_home(const engine_options *opt, engine **out, vv_error *err)
{
    return pair_open(&btree_ops, &lsm_ops, opt, out, err);
}

static inline engine_ops pair_ops(bool btree_home)
{
    engine_ops ops = engine_route_ops;
    ops.open = btree_home ? pair_open_btree_home : pair_open_lsm_home;
    return ops;
}

/* Silly sizes: every rare path becomes common. */
static inline void pair_tune(engine_options *opt, vv_rng *rng)
{
    opt->target_file_size = 4 * VV_KIB << vv_rng_below(rng, 4);
    opt->block_size = 512u << vv_rng_below(rng, 2);
    opt->value_compression = vv_rng_one_in(rng, 2);
    opt->dictionary_sample = 2 * VV_KIB;
}

/* Their directories hold other things too: each engine looks for leftovers in its own tests. */
static inline bool pair_is_data(const char *name)
{
    (void)name;
    return false;
}

static inline uint64_t pair_data_files(const engine_stats *stats)
{
    (void)stats;
    return 0;
}

static inline bool pair_has_compacted(const engine_stats *stats)
{
    return stats->checkpoint > 0;
}

static inline tw_subject pair_small(const char *name, const engine_ops *ops)
{
    return (tw_subject){.name = name,
                        .ops = ops,
                        .keys = TW_KEYS_MAX,
                        .tune = pair_tune,
                        .is_data = pair_is_data,
                        .data_files = pair_data_files,
                        .has_compacted = pair_has_compacted,
                        .crash_batches = 260,
                        .fault_batches = 40,
                        .sites_min = 4};
}

#endif
