/*
 * engine_suite_fault.c - one fault at each site of a workload, kind by kind, and each allocation
 * failing in turn.
 *
 * Law: nothing crashes; every answer given is right, at worst there is none; after the fault is
 * gone, a reopen (for a full disk: nothing but more work) brings the whole state back.
 */
#include "engine/engine_suite_small.h"

#include "base/alloc.h"

/* Everything a store does, going on after errors as a server would. Returns errors met. */
static unsigned stubborn_workload(tw *w)
{
    vv_rng rng;
    vv_rng_init(&rng, w->seed + 5);
    vv_error err;
    unsigned errors = 0;
    if (w->ops->open(&w->opt, &w->e, &err) != VV_OK)
        return 1;
    for (unsigned i = 0; i < w->subject->fault_batches; i++) {
        vv_status st = tw_write(w, w->version + 1, &err);
        errors += st != VV_OK;
        if (vv_rng_one_in(&rng, 12))
            errors += w->ops->freeze(w->e, &err) != VV_OK;
        if (vv_rng_one_in(&rng, 2)) {
            st = w->ops->work(w->e, &err);
            errors += st != VV_OK && st != VV_NOT_FOUND;
        }
        if (i % 20 == 0)
            errors += tw_verify(w, true, "during the fault");
        if (i % 33 == 0)
            errors += !tw_verify_scan(w, true, "during the fault");
    }
    errors += tw_work_all(w, &err) != VV_OK;
    errors += w->ops->check(w->e, NULL, NULL, &err) != VV_OK;
    return errors;
}

static void expect_whole(tw *w, const char *what)
{
    vv_error err;
    (void)tw_verify(w, false, what);
    (void)tw_verify_scan(w, false, what);
    vv_status st = w->ops->check(w->e, NULL, NULL, &err);
    if (st != VV_OK)
        fail_msg("%s: check: %s", what, err.msg);
}

/* Close, switch off as after SIGKILL (or as after a power cut) and on again, open, replay. False
 * when the store cannot be opened: only damage may do that. */
static bool reopen(tw *w, bool cut, const char *what, bool damaged)
{
    vv_error err;
    w->ops->close(w->e);
    w->e = NULL;
    tw_power_off(w);
    if (cut)
        vio_sim_disk_settle(w->disk);
    else
        vio_sim_disk_kill(w->disk);
    assert_ok(tw_power_on(w, &(vio_sim_options){.seed = w->seed}, &err), err);
    vv_status st = w->ops->open(&w->opt, &w->e, &err);
    if (st == VV_OK)
        st = tw_replay(w, w->version, &err);
    if (st != VV_OK && (!damaged || (st != VV_CORRUPT && st != VV_IO)))
        fail_msg("%s: reopen: %s: %s", what, vv_status_name(st), err.msg);
    return st == VV_OK;
}

/* Walk the sites of one kind of fault. Returns how many runs met an error. */
static void walk(const tw_subject *subject, vio_sim_fault fault, const char *name, bool damages,
                 bool cut)
{
    bool hit = true; /* the last run reached the site */
    unsigned with_errors = 0;
    uint64_t step = vv_test_count("VV_FAULT_STEP", 1);
    uint64_t n = 1;
    for (; hit; n += step) {
        char what[64];
        (void)snprintf(what, sizeof what, "%s at site %llu", name, (unsigned long long)n);
        vv_error err;
        tw w;
        tw_init(&w, subject, vv_test_seed(400));
        assert_ok(tw_power_on(&w, &(vio_sim_options){.seed = w.seed, .fault = fault, .fault_at = n},
                              &err),
                  err);
        unsigned errors = stubborn_workload(&w);
        hit = vio_sim_fault_sites(w.disk, fault) >= n;
        with_errors += errors > 0;
        vio_sim_heal(w.disk);
        if (reopen(&w, cut, what, damages)) {
            if (damages) { /* what is read is right; some may not be readable */
                (void)tw_verify(&w, true, what);
                (void)tw_verify_scan(&w, true, what);
            } else {
                expect_whole(&w, what);
            }
        }
        w.ops->close(w.e);
        tw_power_off(&w);
        tw_fini(&w);
    }
    print_message("  %s: %llu sites, errors met in %u\n", name, (unsigned long long)n - 1,
                  with_errors);
    assert_true(n > subject->sites_min);
}

static void one_io_error_anywhere(void **state)
{
    walk(*state, VIO_SIM_EIO, "EIO", false, false);
}

static void io_errors_from_anywhere_on(void **state)
{
    walk(*state, VIO_SIM_EIO_STICKY, "EIO for good", false, true);
}

static void a_sync_that_lies_anywhere(void **state)
{
    walk(*state, VIO_SIM_SYNC_LIES, "a lying sync", false, true);
}

static void a_short_transfer_anywhere_is_nothing(void **state)
{
    walk(*state, VIO_SIM_SHORT, "a short transfer", false, false);
}

static void a_flipped_bit_read_anywhere(void **state)
{
    walk(*state, VIO_SIM_FLIP, "a flipped bit", true, false);
}

static void a_stale_read_anywhere(void **state)
{
    walk(*state, VIO_SIM_STALE, "a stale read", true, false);
}

static void a_misdirected_write_anywhere(void **state)
{
    walk(*state, VIO_SIM_MISDIRECT, "a misdirected write", true, false);
}

/* The disk is full from some call on; then there is room again, and no reopen is needed. */
static void a_full_disk_heals_without_a_reopen(void **state)
{
    const tw_subject *subject = *state;
    bool hit = true;
    unsigned refused = 0;
    uint64_t n = 1;
    for (; hit; n++) {
        char what[64];
        (void)snprintf(what, sizeof what, "full disk at site %llu", (unsigned long long)n);
        vv_error err;
        tw w;
        tw_init(&w, subject, vv_test_seed(500));
        assert_ok(
            tw_power_on(&w,
                        &(vio_sim_options){.seed = w.seed, .fault = VIO_SIM_ENOSPC, .fault_at = n},
                        &err),
            err);
        unsigned errors = stubborn_workload(&w);
        hit = vio_sim_fault_sites(w.disk, VIO_SIM_ENOSPC) >= n;
        refused += errors > 0;
        if (w.e == NULL) { /* not even opened */
            vio_sim_heal(w.disk);
            assert_ok(w.ops->open(&w.opt, &w.e, &err), err);
        } else {
            expect_whole(&w, what); /* reads go on */
            vio_sim_heal(w.disk);
        }
        assert_ok(tw_work_all(&w, &err), err);
        for (int i = 0; i < 40; i++)
            assert_ok(tw_write(&w, w.version + 1, &err), err);
        assert_ok(w.ops->freeze(w.e, &err), err);
        assert_ok(tw_work_all(&w, &err), err);
        engine_stats stats;
        w.ops->stats(w.e, &stats);
        assert_false(stats.failed);
        assert_int_equal(stats.checkpoint, w.version);
        expect_whole(&w, what);
        assert_true(reopen(&w, true, what, false));
        expect_whole(&w, what);
        w.ops->close(w.e);
        tw_power_off(&w);
        tw_fini(&w);
    }
    print_message("  %llu sites, errors met in %u\n", (unsigned long long)n - 1, refused);
    assert_true(refused > 20);
}

static void one_failed_allocation_anywhere(void **state)
{
    const tw_subject *subject = *state;
    uint64_t fails = 0;
    uint64_t step = vv_test_count("VV_ALLOC_STEP", 7);
    for (int64_t n = 0;; n += (int64_t)step) {
        char what[64];
        (void)snprintf(what, sizeof what, "allocation %lld", (long long)n);
        vv_error err;
        tw w;
        tw_init(&w, subject, vv_test_seed(600));
        assert_ok(tw_power_on(&w, &(vio_sim_options){.seed = w.seed}, &err), err);
        uint64_t before = vv_alloc_count();
        vv_alloc_fail_after(n, 0);
        unsigned errors = stubborn_workload(&w);
        vv_alloc_fail_after(-1, 0);
        uint64_t asked = vv_alloc_count() - before;
        fails += errors > 0;
        if (w.e == NULL)
            assert_ok(w.ops->open(&w.opt, &w.e, &err), err);
        assert_ok(tw_work_all(&w, &err), err);
        expect_whole(&w, what);
        assert_true(reopen(&w, true, what, false));
        expect_whole(&w, what);
        w.ops->close(w.e);
        tw_power_off(&w);
        tw_fini(&w);
        if ((uint64_t)n > asked)
            break;
    }
    print_message("  errors met in %llu\n", (unsigned long long)fails);
}

int engine_suite_run_fault(const tw_subject *subject)
{
    void *state = (void *)(uintptr_t)subject;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(one_io_error_anywhere, state),
        cmocka_unit_test_prestate(io_errors_from_anywhere_on, state),
        cmocka_unit_test_prestate(a_sync_that_lies_anywhere, state),
        cmocka_unit_test_prestate(a_short_transfer_anywhere_is_nothing, state),
        cmocka_unit_test_prestate(a_flipped_bit_read_anywhere, state),
        cmocka_unit_test_prestate(a_stale_read_anywhere, state),
        cmocka_unit_test_prestate(a_misdirected_write_anywhere, state),
        cmocka_unit_test_prestate(a_full_disk_heals_without_a_reopen, state),
        cmocka_unit_test_prestate(one_failed_allocation_anywhere, state),
    };
    print_message("engine_fault on %s\n", subject->name);
    return cmocka_run_group_tests_name("engine_fault", tests, NULL, NULL);
}
