/*
 * lsm_tier_test_util.h - the small store of the crash and fault tests beside a bucket in memory.
 */
#ifndef VARVE_LSM_LSM_TIER_TEST_UTIL_H
#define VARVE_LSM_LSM_TIER_TEST_UTIL_H

#include "lsm/lsm_test_util.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "lsm/lsm_int.h"
#include "lsm/lsm_remote.h"
#include "object/object.h"

#define GRACE_NS (INT64_C(3600) * VV_NS_PER_S)
#define AGE_NS VV_NS_PER_S

#define TIER_KEYS 200u

static inline void tier_tune(engine_options *opt, vv_rng *rng)
{
    lsm_small_tune(opt, rng);
    opt->target_file_size = 4 * VV_KIB; /* many runs */
}

static const tw_subject tier_small = {
    .name = "tier",
    .ops = &lsm_ops,
    .keys = TIER_KEYS,
    .tune = tier_tune,
    .is_data = lsm_small_is_data,
    .data_files = lsm_small_data_files,
    .has_compacted = lsm_small_has_compacted,
};

typedef struct bed {
    tw w;
    objs_bucket *bucket;
    vv_object_store *objects;
    engine_tier tier;
} bed;

static inline void connect(bed *b)
{
    vv_error err;
    vv_object_options opt = VV_OBJECT_OPTIONS_INIT;
    opt.max_retries = 0; /* each fault is seen */
    opt.breaker_failures = 0;
    opt.budget_ms = 1000;
    vv_env env = {.clock = vio_sim_clock(b->w.disk), .seed = b->w.seed};
    assert_ok(objs_open_bucket(&env, b->bucket, &opt, &b->objects, &err), err);
    b->tier.objects = b->objects;
}

static inline void init(bed *b, uint64_t seed)
{
    *b = (bed){0};
    tw_init(&b->w, &tier_small, seed);
    b->bucket = objs_bucket_create();
    assert_non_null(b->bucket);
    b->tier = (engine_tier){.run_age_ns = AGE_NS, .grace_ns = GRACE_NS, .part_size = 6000};
    memset(b->tier.store_id, 0xab, sizeof b->tier.store_id);
    b->tier.check_whole = true;
    b->w.opt.tier = &b->tier;
    connect(b);
}

static inline void fini(bed *b)
{
    vv_object_store_close(b->objects);
    objs_bucket_destroy(b->bucket);
    tw_fini(&b->w);
}

static inline void power_on(bed *b, const vio_sim_options *opt)
{
    vv_error err;
    assert_ok(tw_power_on(&b->w, opt, &err), err);
}

static inline void open_store(bed *b)
{
    vv_error err;
    assert_ok(lsm_ops.open(&b->w.opt, &b->w.e, &err), err);
}

static inline void close_store(bed *b)
{
    lsm_ops.close(b->w.e);
    b->w.e = NULL;
    tw_power_off(&b->w);
}

static inline void reopen(bed *b, const char *what)
{
    vv_error err;
    close_store(b);
    vio_sim_disk_settle(b->w.disk);
    power_on(b, &(vio_sim_options){.seed = b->w.seed});
    vv_status st = lsm_ops.open(&b->w.opt, &b->w.e, &err);
    if (st != VV_OK)
        fail_msg("%s: reopen: %s", what, err.msg);
    assert_ok(tw_replay(&b->w, b->w.version, &err), err);
}

static inline void write_some(bed *b, unsigned batches)
{
    vv_error err;
    for (unsigned i = 0; i < batches; i++)
        assert_ok(tw_write(&b->w, b->w.version + 1, &err), err);
}

/* Everything in runs of level 1 and deeper. */
static inline void sink(bed *b)
{
    vv_error err;
    assert_ok(lsm_ops.freeze(b->w.e, &err), err);
    assert_ok(tw_work_all(&b->w, &err), err);
    assert_ok(lsm_ops.compact_range(b->w.e, vv_slice_of("", 1), vv_slice_of("\xff", 1), &err), err);
    assert_ok(tw_work_all(&b->w, &err), err);
}

/* Pieces until there are none. */
static inline vv_status tier_all(bed *b, vv_error *err)
{
    for (unsigned i = 0; i < 1000; i++) {
        vv_status st = lsm_ops.tier_work(b->w.e, err);
        if (st != VV_OK)
            return st == VV_NOT_FOUND ? VV_OK : st;
    }
    fail_msg("the tier finds no end");
    return VV_OK;
}

/* Age everything, and let it go. */
static inline void move_all(bed *b)
{
    vv_error err;
    vio_sim_advance(b->w.disk, 2 * AGE_NS);
    assert_ok(tier_all(b, &err), err);
    assert_ok(tw_work_all(&b->w, &err), err);
}

static inline engine_stats stats_of(bed *b)
{
    engine_stats stats;
    lsm_ops.stats(b->w.e, &stats);
    return stats;
}

static inline void verify(bed *b, const char *what)
{
    (void)tw_verify(&b->w, false, what);
    (void)tw_verify_scan(&b->w, false, what);
}

static inline void print_finding(void *ctx, const char *text)
{
    (void)ctx;
    print_error("finding: %s\n", text);
}

/* Whole, and the bucket has what the manifest names and nothing else. */
static inline void expect_whole(bed *b, const char *what)
{
    vv_error err;
    verify(b, what);
    vv_status st = lsm_ops.check(b->w.e, print_finding, NULL, &err);
    if (st != VV_OK)
        fail_msg("%s: check: %s", what, err.msg);
    for (int round = 0; round < 4; round++) { /* what goes lets others go */
        vio_sim_advance(b->w.disk, 2 * GRACE_NS);
        assert_ok(tw_work_all(&b->w, &err), err);
        assert_ok(tier_all(b, &err), err);
    }
    engine_stats stats = stats_of(b);
    size_t objects = objs_bucket_objects(b->bucket);
    if (objects != stats.remote_files)
        fail_msg("%s: %zu objects, the manifest names %llu", what, objects,
                 (unsigned long long)stats.remote_files);
    verify(b, what);
}

typedef struct names {
    unsigned runs, values, sides;
} names;

static inline void count_name(void *ctx, const char *name)
{
    names *n = ctx;
    n->runs += strncmp(name, "run-", 4) == 0;
    n->values += strncmp(name, "val-", 4) == 0;
    n->sides += strncmp(name, "side-", 5) == 0;
}

static inline names list_names(bed *b)
{
    vv_error err;
    names n = {0};
    assert_ok(vio_list(b->w.env.io, b->w.opt.dir, count_name, &n, &err), err);
    return n;
}

/* A store all of whose runs are objects. */
static inline void start_remote(bed *b, uint64_t seed, unsigned batches)
{
    init(b, seed);
    power_on(b, &(vio_sim_options){.seed = seed});
    open_store(b);
    write_some(b, batches);
    sink(b);
    move_all(b);
}

static inline void stop(bed *b)
{
    close_store(b);
    fini(b);
}

#endif
