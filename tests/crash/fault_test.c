/*
 * fault_test.c - every call that can fail, failed once: the disk's, six ways, and the allocator's.
 *
 * The law: an error is an answer. Nothing crashes, a write that was refused is not there, reads
 * that succeed are right, and after the fault has gone the store opens with everything
 * acknowledged.
 */
#include "crash/crash_model.h"

#include <string.h>

#include "base/alloc.h"

#define STEPS 60u
#define ALLOC_STEPS 25u

typedef struct fault_kind {
    vio_sim_fault fault;
    const char *name;
} fault_kind;

static const fault_kind kinds[] = {
    {VIO_SIM_EIO, "EIO once"},
    {VIO_SIM_EIO_STICKY, "EIO from then on"},
    {VIO_SIM_ENOSPC, "no space from then on"},
    {VIO_SIM_SHORT, "short transfer"},
    {VIO_SIM_SYNC_LIES, "a sync fails, later ones lie"},
    {VIO_SIM_FLIP, "a read with one flipped bit"},
};

/* After the fault: heal, open, and hold the store to its word. */
static void judge(model *m, bool image_is_damaged)
{
    vv_error err = {0};
    vio_sim_options sim = {.seed = vv_rng_next(&m->rng)};
    vv_status st = model_open(m, &sim, &err);
    if (image_is_damaged && (st == VV_CORRUPT || st == VV_UNSUPPORTED))
        return; /* it says so: that is all one copy can do */
    assert_ok(st, err);
    model_verify(m, false);
    if (image_is_damaged) { /* what is damaged on disk stays so: no base to go on from */
        model_abandon(m);
        return;
    }
    (void)model_run(m, 10);
    assert_ok(model_close(m, &err), err);
    model_check_clean(m);
}

/* A store that has lived and was killed: its recovery has work to do. */
static void live_before(model *m)
{
    vv_error err = {0};
    assert_ok(model_open(m, &(vio_sim_options){.seed = vv_rng_next(&m->rng)}, &err), err);
    assert_int_equal(model_run(m, STEPS), MODEL_DONE);
    model_abandon(m);
    vio_sim_disk_kill(m->world.disk);
}

/* True when the fault was reached. */
static bool one_fault(uint64_t seed, const fault_kind *kind, bool old_store, uint64_t at,
                      uint64_t *sites)
{
    model m;
    vv_error err = {0};
    model_init(&m, seed);
    if (old_store)
        live_before(&m);
    m.expect_damage = kind->fault == VIO_SIM_FLIP;
    vio_sim_options sim = {.seed = vv_rng_next(&m.rng), .fault = kind->fault, .fault_at = at};
    vv_status st = model_open(&m, &sim, &err);
    if (st == VV_OK) {
        (void)model_run(&m, STEPS);
        *sites = vio_sim_fault_sites(m.world.disk, kind->fault);
        if (vv_rng_one_in(&m.rng, 2)) {
            if (model_close(&m, &err) == VV_OK && !m.last_unknown)
                m.synced = m.os = m.last;
        } else {
            model_abandon(&m);
        }
    } else {
        *sites = vio_sim_fault_sites(m.world.disk, kind->fault);
    }
    bool reached = *sites >= at;
    vio_sim_heal(m.world.disk);
    vio_sim_cut(m.world.disk); /* what was not synced is not owed either */
    vio_sim_disk_settle(m.world.disk);
    judge(&m, kind->fault == VIO_SIM_FLIP);
    model_fini(&m);
    return reached;
}

/* With tables of different engines: the first seed whose workload ends with some of both. */
static uint64_t useful_seed(uint64_t seed)
{
    for (; getenv("VV_ENGINE_MIXED") != NULL; seed++) {
        model m;
        vv_error err = {0};
        model_init(&m, seed);
        vio_sim_options sim = {.seed = vv_rng_next(&m.rng)};
        assert_ok(model_open(&m, &sim, &err), err);
        assert_int_equal(model_run(&m, STEPS), MODEL_DONE);
        unsigned engines = 0;
        for (unsigned t = 0; t < MODEL_TABLES; t++)
            engines |= m.history[m.last].born[t] != 0 ? 1u << t % 2 : 0;
        model_abandon(&m);
        model_fini(&m);
        if (engines == 3)
            return seed;
    }
    return seed;
}

static void law_holds_at_every_fault(void **state)
{
    (void)state;
    uint64_t seed = useful_seed(vv_test_seed(0xfa17));
    uint64_t step = vv_test_count("VV_FAULT_STEP", 1);
    for (size_t i = 0; i < 2 * ARRAY_LEN(kinds); i++) {
        const fault_kind *kind = &kinds[i / 2];
        const char *store = i % 2 == 0 ? "new" : "old";
        uint64_t sites = 0;
        uint64_t ran = 0;
        uint64_t n = 1;
        do {
            print_message("\r%s, %s store: VV_SEED=0x%llx site %llu of about %llu ", kind->name,
                          store, (unsigned long long)seed, (unsigned long long)n,
                          (unsigned long long)sites);
            ran++;
            n += step;
        } while (one_fault(seed, kind, i % 2 == 1, n - step, &sites));
        print_message("\n%s, %s store: %llu sites\n", kind->name, store, (unsigned long long)ran);
    }
}

static bool one_allocation(uint64_t seed, int64_t n, bool sticky)
{
    model m;
    vv_error err = {0};
    model_init(&m, seed);
    vio_sim_options sim = {.seed = vv_rng_next(&m.rng)};
    uint64_t before = vv_alloc_count();
    vv_alloc_fail_after(n, sticky);
    vv_status st = model_open(&m, &sim, &err);
    if (st == VV_OK)
        (void)model_run(&m, ALLOC_STEPS);
    bool reached = vv_alloc_count() - before > (uint64_t)n;
    vv_alloc_fail_after(-1, 0);
    if (st == VV_OK) {
        if (model_close(&m, &err) == VV_OK && !m.last_unknown)
            m.synced = m.os = m.last;
    } else if (st != VV_NO_MEMORY && st != VV_BUSY) {
        fail_msg("open: %s: %s", vv_status_name(st), err.msg);
    }
    vio_sim_disk_kill(m.world.disk);
    judge(&m, false);
    model_fini(&m);
    return reached;
}

static void law_holds_at_every_allocation(void **state)
{
    (void)state;
    uint64_t seed = vv_test_seed(0xa110c);
    int64_t step = (int64_t)vv_test_count("VV_ALLOC_STEP", 1);
    for (int sticky = 0; sticky < 2; sticky++) {
        int64_t n = 0;
        while (one_allocation(seed, n, sticky)) {
            n += sticky ? 7 * step : step;
            print_message("\rallocation: VV_SEED=0x%llx site %lld ", (unsigned long long)seed,
                          (long long)n);
        }
        print_message("\nallocations%s: %lld sites\n", sticky ? ", all from then on" : "",
                      (long long)n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(law_holds_at_every_fault),
        cmocka_unit_test(law_holds_at_every_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
