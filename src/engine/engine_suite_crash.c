/*
 * engine_suite_crash.c - the power fails at each state-changing call of a workload of flushes and
 * compactions, and during the recoveries from that; sectors tear, names and lengths get lost.
 *
 * Law: what is in the log above checkpoint() and what the files hold up to it give, together, the
 * state of every batch, whatever the moment of the cut; nothing in them was not made durable in the
 * log; no file is left that no manifest names; the check is clean.
 */
#include "engine/engine_suite_small.h"

/* Write, freeze, work, compact and reopen until the power fails or all is written. */
static vv_status workload(tw *w, int64_t from, int64_t upto, vv_error *err)
{
    vv_rng rng;
    vv_rng_init(&rng, w->seed + 77);
    vv_status st = w->ops->open(&w->opt, &w->e, err);
    if (st == VV_OK)
        st = tw_replay(w, from, err);
    while (st == VV_OK && w->version < upto) {
        st = tw_write(w, w->version + 1, err);
        uint64_t dice = vv_rng_below(&rng, 40);
        if (st == VV_OK && dice == 0)
            st = w->ops->freeze(w->e, err);
        if (st == VV_OK && dice == 1)
            st = w->ops->compact_range(w->e, vv_slice_str("\x01"), vv_slice_str("\xff"), err);
        if (st == VV_OK && dice < 20) {
            st = w->ops->work(w->e, err);
            st = st == VV_NOT_FOUND ? VV_OK : st;
        }
        if (st == VV_OK && dice == 39) {
            int64_t version = w->version;
            w->ops->close(w->e);
            w->e = NULL;
            st = w->ops->open(&w->opt, &w->e, err);
            if (st == VV_OK)
                st = tw_replay(w, version, err);
            w->version = version; /* the log has it */
        }
    }
    return st == VV_OK ? tw_work_all(w, err) : st;
}

typedef struct file_count {
    const tw_subject *subject;
    uint64_t data;
} file_count;

static void count_data(void *ctx, const char *name)
{
    file_count *count = ctx;
    count->data += count->subject->is_data(name);
    if (strstr(name, ".tmp") != NULL)
        fail_msg("a temporary file is left: %s", name);
}

static void expect_no_orphans(tw *w)
{
    vv_error err;
    engine_stats stats;
    file_count count = {.subject = w->subject};
    w->ops->stats(w->e, &stats);
    assert_ok(vio_list(w->env.io, w->opt.dir, count_data, &count, &err), err);
    assert_int_equal(count.data, w->subject->data_files(&stats));
}

static void print_finding(void *ctx, const char *text)
{
    (void)ctx;
    print_error("finding: %s\n", text);
}

/* The log lost everything that nobody asked to be durable, from a random place on. */
static int64_t log_end(const tw *w, uint64_t salt)
{
    vv_rng rng;
    vv_rng_init(&rng, w->seed ^ salt);
    if (w->version <= w->durable)
        return w->version;
    return w->durable + (int64_t)vv_rng_below(&rng, (uint64_t)(w->version - w->durable) + 1);
}

static void recover_and_verify(tw *w, uint64_t cut)
{
    vv_error err;
    int64_t checkpointed = w->checkpointed;
    int64_t upto = log_end(w, cut);
    char what[64];
    (void)snprintf(what, sizeof what, "cut at write %llu", (unsigned long long)cut);
    assert_ok(tw_power_on(w, &(vio_sim_options){.seed = w->seed}, &err), err);
    vv_status st = w->ops->open(&w->opt, &w->e, &err);
    if (st != VV_OK)
        fail_msg("seed %#llx: %s: reopen: %s", (unsigned long long)w->seed, what, err.msg);
    int64_t checkpoint = w->ops->checkpoint(w->e);
    if (checkpoint < checkpointed || checkpoint > w->durable)
        fail_msg("seed %#llx: %s: checkpoint %lld after %lld, %lld in the log",
                 (unsigned long long)w->seed, what, (long long)checkpoint, (long long)checkpointed,
                 (long long)w->durable);
    expect_no_orphans(w);
    assert_ok(tw_replay(w, upto, &err), err);
    (void)tw_verify(w, false, what);
    (void)tw_verify_scan(w, false, what);
    assert_ok(w->ops->check(w->e, print_finding, NULL, &err), err);
    /* Life goes on. */
    for (int i = 0; i < 5; i++)
        assert_ok(tw_write(w, w->version + 1, &err), err);
    assert_ok(w->ops->freeze(w->e, &err), err);
    assert_ok(tw_work_all(w, &err), err);
    (void)tw_verify(w, false, what);
    w->ops->close(w->e);
    w->e = NULL;
    tw_power_off(w);
}

/* One run with the power failing at write n; false when it came to its end without. */
static bool run_with_cut(const tw_subject *subject, uint64_t seed, uint64_t n, bool cut_recovery)
{
    vv_error err;
    tw w;
    tw_init(&w, subject, seed);
    assert_ok(tw_power_on(&w, &(vio_sim_options){.seed = seed, .cut_after_writes = n, .tear = true},
                          &err),
              err);
    vv_status st = workload(&w, 0, subject->crash_batches, &err);
    bool cut = vio_sim_is_off(w.disk);
    if (!cut && st != VV_OK)
        fail_msg("seed %#llx: %s", (unsigned long long)seed, err.msg);
    if (!cut) { /* the workload reaches what the test is about */
        engine_stats stats;
        w.ops->stats(w.e, &stats);
        if (w.checkpointed == 0 || !subject->has_compacted(&stats))
            fail_msg("seed %#llx: checkpoint %lld of %lld, %llu flushes: the workload is too short",
                     (unsigned long long)seed, (long long)w.checkpointed, (long long)w.version,
                     (unsigned long long)stats.flushes);
    }
    w.ops->close(w.e);
    w.e = NULL;
    tw_power_off(&w);
    vio_sim_disk_settle(w.disk);
    for (uint64_t m = 1; cut && cut_recovery && m <= 3; m++) { /* and during the recovery */
        assert_ok(tw_power_on(&w,
                              &(vio_sim_options){.seed = seed + m,
                                                 .cut_after_writes = 1 + (n * m) % 23,
                                                 .tear = true},
                              &err),
                  err);
        int64_t version = w.version;
        (void)!workload(&w, version, version, &err);
        w.version = version;
        w.ops->close(w.e);
        w.e = NULL;
        tw_power_off(&w);
        vio_sim_disk_settle(w.disk);
    }
    recover_and_verify(&w, n);
    tw_fini(&w);
    return cut;
}

static void prop_no_cut_loses_anything(void **state)
{
    const tw_subject *subject = *state;
    uint64_t seeds = vv_test_count("VV_CRASH_SEEDS", 6);
    uint64_t step = vv_test_count("VV_CRASH_STEP", 1);
    uint64_t seed = vv_test_seed(100);
    uint64_t cuts = 0;
    for (uint64_t s = 0; s < seeds; s++)
        for (uint64_t n = 1; run_with_cut(subject, seed + s, n, cuts % 4 == 0); n += step)
            cuts++;
    print_message("  %llu cuts\n", (unsigned long long)cuts);
}

/* SIGKILL: everything written survives, nothing more is written. */
static void prop_no_kill_loses_anything(void **state)
{
    const tw_subject *subject = *state;
    uint64_t seed = vv_test_seed(200);
    for (uint64_t n = 1;; n += 3 * vv_test_count("VV_CRASH_STEP", 1)) {
        vv_error err;
        tw w;
        tw_init(&w, subject, seed);
        assert_ok(tw_power_on(&w, &(vio_sim_options){.seed = seed, .cut_after_writes = n}, &err),
                  err);
        (void)!workload(&w, 0, subject->crash_batches, &err);
        bool cut = vio_sim_is_off(w.disk);
        w.ops->close(w.e);
        w.e = NULL;
        tw_power_off(&w);
        vio_sim_disk_kill(w.disk);
        recover_and_verify(&w, n);
        tw_fini(&w);
        if (!cut)
            return;
    }
}

static void the_same_seed_gives_the_same_events(void **state)
{
    const tw_subject *subject = *state;
    uint64_t hash[2];
    for (int i = 0; i < 2; i++) {
        vv_error err;
        tw w;
        tw_init(&w, subject, vv_test_seed(300));
        assert_ok(tw_power_on(&w, &(vio_sim_options){.seed = w.seed}, &err), err);
        assert_ok(workload(&w, 0, subject->crash_batches, &err), err);
        hash[i] = vio_sim_event_hash(w.disk);
        w.ops->close(w.e);
        tw_power_off(&w);
        tw_fini(&w);
    }
    assert_true(hash[0] == hash[1]);
}

int engine_suite_run_crash(const tw_subject *subject)
{
    void *state = (void *)(uintptr_t)subject;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(prop_no_cut_loses_anything, state),
        cmocka_unit_test_prestate(prop_no_kill_loses_anything, state),
        cmocka_unit_test_prestate(the_same_seed_gives_the_same_events, state),
    };
    print_message("engine_crash on %s\n", subject->name);
    return cmocka_run_group_tests_name("engine_crash", tests, NULL, NULL);
}
