/*
 * crash_test.c - power cuts and kills at every write of a whole store, also during recovery.
 *
 * The law: what was acknowledged is there, what was not is there whole or not at all, operations
 * are kept in the order of the log, and vv_check finds nothing. Two ways through it:
 *
 *   walk     one fixed workload on a fresh store, cut at its 1st, 2nd, ... state-changing call
 *   chains   a store that lives through many cuts: each continues on what the last one left
 *
 * VV_CUTS sets how many cuts, VV_CRASH_SECONDS how long at most; the run prints what it did. A
 * failure prints the seed that repeats it. "crash_test 1 2" is the second half of the work.
 */
#include "crash/crash_model.h"

#include <string.h>
#include <time.h>

#define CHAIN_CUTS 40u
#define WALK_STEPS 40u

static uint64_t part;
static uint64_t parts = 1;
static uint64_t cuts;
static uint64_t kills;
static uint64_t recovery_cuts;
static uint64_t operations;

static double seconds(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* Open again after a crash, itself cut now and then; what it finds must be allowed. */
static void recover(model *m, bool was_kill)
{
    vv_error err = {0};
    while (vv_rng_one_in(&m->rng, 4)) {
        vio_sim_options sim = {.seed = vv_rng_next(&m->rng),
                               .cut_after_writes = 1 + vv_rng_below(&m->rng, 30),
                               .tear = true};
        vv_status st = model_open(m, &sim, &err);
        if (st == VV_OK) /* it needed fewer writes than that */
            model_abandon(m);
        else if (!vio_sim_is_off(m->world.disk))
            fail_msg("recovery: %s: %s", vv_status_name(st), err.msg);
        bool is_cut = vio_sim_is_off(m->world.disk);
        if (is_cut)
            vio_sim_disk_settle(m->world.disk);
        else
            vio_sim_disk_kill(m->world.disk);
        recovery_cuts += is_cut;
        was_kill &= !is_cut; /* what lived in the page cache alone may be gone now */
    }
    vio_sim_options sim = {.seed = vv_rng_next(&m->rng)};
    vv_status st = model_open(m, &sim, &err);
    if (st != VV_OK)
        fail_msg("recovery: %s: %s\n%s", vv_status_name(st), err.msg, vio_sim_trace(m->world.disk));
    model_verify(m, was_kill);
}

/* Run until the power goes (or a kill after some steps), then recover and judge. */
static void one_crash(model *m, uint64_t cut_after, unsigned steps, bool kill)
{
    vv_error err = {0};
    vio_sim_options sim = {
        .seed = vv_rng_next(&m->rng), .cut_after_writes = cut_after, .tear = true};
    if (model_open(m, &sim, &err) == VV_OK) {
        (void)model_run(m, steps);
        model_abandon(m);
    } else if (!vio_sim_is_off(m->world.disk)) {
        fail_msg("open: %s", err.msg);
    }
    bool is_cut = vio_sim_is_off(m->world.disk);
    if (!is_cut && !kill)
        vio_sim_cut(m->world.disk);
    if (is_cut || !kill)
        vio_sim_disk_settle(m->world.disk);
    else
        vio_sim_disk_kill(m->world.disk);
    bool was_kill = kill && !is_cut;
    cuts += !was_kill;
    kills += was_kill;
    recover(m, was_kill);
}

static void end_of_store(model *m)
{
    vv_error err = {0};
    if (m->world.db != NULL)
        assert_ok(model_close(m, &err), err);
    model_check_clean(m);
    operations += m->operations;
    model_fini(m);
}

static void walk_one(uint64_t seed, uint64_t cut_after)
{
    model m;
    model_init(&m, seed);
    one_crash(&m, cut_after, WALK_STEPS, false);
    end_of_store(&m);
}

static uint64_t count_sites(uint64_t seed)
{
    model m;
    vv_error err = {0};
    model_init(&m, seed);
    vio_sim_options sim = {.seed = vv_rng_next(&m.rng)};
    assert_ok(model_open(&m, &sim, &err), err);
    (void)model_run(&m, WALK_STEPS);
    uint64_t sites = vio_sim_write_count(m.world.disk);
    model_abandon(&m);
    model_fini(&m);
    return sites;
}

static void chain_one(uint64_t seed, uint64_t budget)
{
    model m;
    model_init(&m, seed);
    uint64_t count = budget < CHAIN_CUTS ? budget : CHAIN_CUTS;
    for (uint64_t i = 0; i < count; i++) {
        bool kill = vv_rng_one_in(&m.rng, 6);
        bool is_long = vv_rng_one_in(&m.rng, 12);
        uint64_t after = kill ? 0 : 1 + vv_rng_below(&m.rng, is_long ? 500 : 80);
        if (m.world.db != NULL) {
            vv_error err = {0};
            if (vv_rng_one_in(&m.rng, 4)) { /* go on in the recovered store first */
                (void)model_run(&m, 20);
                if (vv_rng_one_in(&m.rng, 2)) {
                    assert_ok(model_close(&m, &err), err);
                    m.synced = m.os = m.last; /* closed in good order: the log is synced */
                } else {
                    model_abandon(&m);
                    vio_sim_disk_kill(m.world.disk);
                    m.synced = m.os;
                }
                assert_ok(model_open(&m, &(vio_sim_options){.seed = i}, &err), err);
                model_verify(&m, true);
            }
            model_abandon(&m);
            vio_sim_disk_kill(m.world.disk);
        }
        one_crash(&m, after, (is_long ? 200 : 10) + (unsigned)vv_rng_below(&m.rng, 40), kill);
        if (i % 16 == 15) {
            vv_error err = {0};
            assert_ok(model_close(&m, &err), err);
            model_check_clean(&m);
            assert_ok(model_open(&m, &(vio_sim_options){.seed = i}, &err), err);
        }
    }
    end_of_store(&m);
}

static void law_holds_at_every_write(void **state)
{
    (void)state;
    uint64_t seed = vv_test_seed(0x5eed);
    uint64_t limit = vv_test_share("VV_CUTS", 100000) / parts / 4;
    seed += part;
    uint64_t sites = count_sites(seed);
    uint64_t step = sites > limit && limit > 0 ? sites / limit + 1 : 1;
    for (uint64_t n = 1; n <= sites; n += step) {
        print_message("\rwalk: VV_SEED=0x%llx cut %llu of %llu ", (unsigned long long)seed,
                      (unsigned long long)n, (unsigned long long)sites);
        walk_one(seed, n);
    }
    print_message("\n");
}

static void law_holds_over_many_lives(void **state)
{
    (void)state;
    uint64_t seed = vv_test_seed(0xc4a5) + part * (UINT64_C(1) << 32);
    uint64_t want = vv_test_share("VV_CUTS", 100000) / parts;
    double end = seconds() + (double)vv_test_count("VV_CRASH_SECONDS", 30);
    while (cuts + kills + recovery_cuts < want && seconds() < end) {
        print_message("\rchain: VV_SEED=0x%llx, %llu cuts ", (unsigned long long)seed,
                      (unsigned long long)(cuts + recovery_cuts));
        chain_one(seed, want - cuts - kills - recovery_cuts);
        seed++;
    }
    print_message("\n%llu power cuts, %llu during recovery, %llu kills, %llu operations\n",
                  (unsigned long long)cuts, (unsigned long long)recovery_cuts,
                  (unsigned long long)kills, (unsigned long long)operations);
}

int main(int argc, char **argv)
{
    if (argc == 3) {
        part = strtoull(argv[1], NULL, 10);
        parts = strtoull(argv[2], NULL, 10);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(law_holds_at_every_write),
        cmocka_unit_test(law_holds_over_many_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
