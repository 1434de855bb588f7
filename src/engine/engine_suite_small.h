/*
 * engine_suite_small.h - a small store on the simulated disk whose log is a function of a seed:
 * batch v can be made again at any time, so that crash and fault tests know what must be there
 * without keeping it.
 *
 * Keys lie in two tables; a third takes merges where the engine can. The power cuts and faults that
 * every engine is put through are engine_suite_run_crash and engine_suite_run_fault.
 */
#ifndef VARVE_ENGINE_ENGINE_SUITE_SMALL_H
#define VARVE_ENGINE_ENGINE_SUITE_SMALL_H

#include "vv_test.h"

#include "base/buf.h"
#include "base/rng.h"
#include "engine/engine.h"
#include "io/vio_sim.h"

#define TW_KEYS_MAX 320u
#define TW_VALUE_MAX 3000u

/* What is an engine's own in these tests. */
typedef struct tw_subject {
    const char *name;
    const engine_ops *ops;
    unsigned keys; /* at most TW_KEYS_MAX: as many as make its structures deep */
    /* Sizes and forms small enough to meet everything; the memtable's and the cache's are set. */
    void (*tune)(engine_options *opt, vv_rng *rng);
    bool (*is_data)(const char *name);                 /* a file that the manifest must name */
    uint64_t (*data_files)(const engine_stats *stats); /* and how many it does */
    bool (*has_compacted)(const engine_stats *stats);  /* the workload reached what it is about */
    unsigned crash_batches, fault_batches;
    unsigned sites_min; /* any walk meets more sites */
} tw_subject;

typedef struct tw_value {
    int64_t version; /* 0: absent */
    uint32_t len;
} tw_value;

typedef struct tw {
    const tw_subject *subject;
    const engine_ops *ops;
    uint64_t seed;
    vio_sim_disk *disk;
    vv_env env;
    engine_options opt;
    engine *e;            /* the test opens and closes it */
    int64_t version;      /* last applied */
    int64_t durable;      /* what ensure_durable was asked for */
    int64_t checkpointed; /* what on_checkpoint said */
    vv_buf buf;
} tw;

/* An empty disk, switched off; options by the seed. */
void tw_init(tw *w, const tw_subject *subject, uint64_t seed);
void tw_fini(tw *w);
vv_status tw_power_on(tw *w, const vio_sim_options *opt, vv_error *err);
void tw_power_off(tw *w);

vv_slice tw_key(unsigned index, uint8_t buf[32]);
/* Apply batch `version`, doing background work when the engine is busy. */
vv_status tw_write(tw *w, int64_t version, vv_error *err);
/* Open, and write again what the log has from the checkpoint to upto. w->version is upto then. */
vv_status tw_replay(tw *w, int64_t upto, vv_error *err);
vv_status tw_work_all(tw *w, vv_error *err);
/* Compare every key with the model at w->version, one by one and all in one call. A read may fail
 * where errors are allowed, but never answer wrongly. The number of reads that failed. */
unsigned tw_verify(tw *w, bool may_fail, const char *what);
/* The same by a scan of everything; false when it failed where that is allowed. */
bool tw_verify_scan(tw *w, bool may_fail, const char *what);

/** The power fails at each state-changing call. The number of tests that failed. */
int engine_suite_run_crash(const tw_subject *subject);
/** One fault of each kind at each site, and failing allocations. */
int engine_suite_run_fault(const tw_subject *subject);

#endif
