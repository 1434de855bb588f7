/*
 * lsm_pace_test.c - the laws of the curve, and a store whose writer, flush and compaction share a
 * clock that only moves by what each of them costs.
 */
#include "lsm/lsm_pace.h"

#include "base/rng.h"
#include "io/vio_sim.h"
#include "lsm/lsm.h"
#include "vv_test.h"

#define STEP 0.001

static void prop_the_curve_rises_from_nothing_without_a_jump(void **state)
{
    (void)state;
    double last = 0;
    assert_true(lsm_pace_curve(-5) <= 0 && lsm_pace_curve(0) <= 0);
    for (int i = 1; i <= 2000; i++) {
        double x = i * STEP;
        double y = lsm_pace_curve(x);
        assert_true(y >= last && y <= LSM_PACE_STEEPEST);
        assert_true(x < 0.001 || y > 0);
        /* No step is larger than the slope where the curve ends lets it be. */
        assert_true(y - last <
                    2.5 * (LSM_PACE_STEEPEST / 2 + 1) * (LSM_PACE_STEEPEST / 2 + 1) * STEP);
        last = y;
    }
    assert_true(lsm_pace_curve(0.5) > 0.999 && lsm_pace_curve(0.5) < 1.001);
    assert_true(lsm_pace_curve(1) >= LSM_PACE_STEEPEST && lsm_pace_curve(2) >= LSM_PACE_STEEPEST);
}

static lsm_pace_at stand(double memtables, double sets, double debt)
{
    return (lsm_pace_at){.memtables = memtables,
                         .memtables_max = 3,
                         .sets = sets,
                         .sets_max = 4,
                         .debt = debt,
                         .flush_ps = 1000,
                         .compact_ps = 10000};
}

static double delay(double memtables, double sets, double debt)
{
    lsm_pace_at at = stand(memtables, sets, debt);
    return lsm_pace_delay(&at);
}

/* More of anything never makes a writer faster, a little more never much slower. */
static void prop_the_delay_is_monotone_and_continuous(void **state)
{
    (void)state;
    uint64_t seed = vv_test_seed(1);
    vv_rng rng;
    vv_rng_init(&rng, seed);
    for (unsigned i = 0; i < 20000; i++) {
        double m = (double)vv_rng_below(&rng, 3000) / 1000;
        double s = (double)vv_rng_below(&rng, 36);
        double d = (double)vv_rng_below(&rng, 70000) / 1000;
        double here = delay(m, s, d);
        double most = LSM_PACE_STEEPEST * 11000;
        if (here < 0 || here > most || delay(m + STEP, s, d) < here || delay(m, s + 1, d) < here ||
            delay(m, s, d + STEP) < here ||
            delay(m + STEP / 100, s, d + STEP / 100) - here > most / 1000)
            fail_msg("seed %#llx: at %f memtables, %f sets, debt %f", (unsigned long long)seed, m,
                     s, d);
    }
}

static void prop_no_delay_before_the_start(void **state)
{
    (void)state;
    for (double m = 0; m <= 1.75; m += 0.01)
        for (double s = 0; s + m <= 9; s++)
            for (double d = 0; d <= 8; d++)
                assert_true(delay(m, s, d) <= 0);
    assert_true(delay(1.8, 0, 0) > 0 && delay(1.75, 8, 0) > 0 && delay(0, 0, 8.1) > 0);
}

/* A flushed memtable is no farther on the way than a frozen one. */
static void prop_a_flush_never_slows_writers(void **state)
{
    (void)state;
    for (double frozen = 0; frozen < 2; frozen++)
        for (double s = 0; s < 32; s++)
            for (double used = 0; used <= 1; used += 0.1) {
                assert_true(delay(frozen + used, s + 1, 0) <=
                            delay(frozen + 1 + used, s, 0) + 1e-6);
            }
}

static void compaction_works_all_the_time_before_writers_are_slowed(void **state)
{
    (void)state;
    double last = 0;
    for (double s = 0; s <= 20; s++) {
        lsm_pace_at at = stand(1, s, 0);
        double duty = lsm_pace_duty(&at);
        assert_true(duty >= last && duty <= 1 && duty >= LSM_PACE_DUTY_MIN);
        assert_true(s > 4 || duty <= LSM_PACE_DUTY_MIN);
        assert_true(lsm_pace_delay(&at) <= 0 || duty >= 1);
        last = duty;
    }
    for (double d = 0; d <= 20; d += 0.5) {
        lsm_pace_at at = stand(1, 0, d);
        assert_true(lsm_pace_delay(&at) <= 0 || lsm_pace_duty(&at) >= 1);
    }
}

/* ---- a store on a clock of costs ---- */

typedef struct world {
    vv_clock clock;
    int64_t now_ns;
    int64_t slept_ns; /* by whoever has the turn */
    vio_sim_disk *disk;
    vv_env env;
    engine_options opt;
    engine *e;
    int64_t version;
    vv_buf buf;
    vv_rng rng;
} world;

/* What a turn of each costs. */
typedef struct costs {
    int64_t write_ns;
    int64_t flush_ns;
    int64_t compact_ns;
} costs;

typedef struct outcome {
    uint64_t busy;   /* writes that found no room */
    int64_t longest; /* gap after one write */
    uint64_t sets_max;
    uint64_t slowed;
    int64_t took_ns;
} outcome;

static int64_t clock_now(vv_clock *clock)
{
    const world *w = VV_CONTAINER_OF(clock, world, clock);
    return w->now_ns + w->slept_ns;
}

static void clock_sleep(vv_clock *clock, int64_t ns)
{
    VV_CONTAINER_OF(clock, world, clock)->slept_ns += ns;
}

static const vv_clock_ops clock_ops = {clock_now, clock_now, clock_sleep};

static void start(world *w, uint64_t budget)
{
    vv_error err;
    *w = (world){.clock.ops = &clock_ops, .now_ns = VV_NS_PER_S, .disk = vio_sim_disk_create()};
    assert_non_null(w->disk);
    vv_buf_init(&w->buf, 1 << 20);
    vv_rng_init(&w->rng, 7);
    assert_ok(vio_sim_open(w->disk, &(vio_sim_options){.seed = 1}, &w->env.io, &err), err);
    w->env.clock = &w->clock;
    w->opt = (engine_options){.env = &w->env,
                              .dir = "shard-0",
                              .memtable_size = 64 << 10,
                              .memtable_count = 4,
                              .cache_size = 1 << 20,
                              .target_file_size = 256 << 10,
                              .compaction_budget = budget};
    assert_ok(lsm_ops.open(&w->opt, &w->e, &err), err);
}

static void stop(world *w)
{
    lsm_ops.close(w->e);
    vio_destroy(w->env.io);
    vio_sim_disk_destroy(w->disk);
    vv_buf_fini(&w->buf);
}

/* Overwrite some keys of two thousand. VV_BUSY: there was no room. */
static vv_status write_some(world *w)
{
    char value[200];
    char key[16];
    vv_error err;
    memset(value, 'v', sizeof value);
    vv_buf_reset(&w->buf);
    size_t at = engine_entry_begin(&w->buf);
    for (unsigned i = 0; i < 10; i++) {
        (void)snprintf(key, sizeof key, "key-%04u", (unsigned)vv_rng_below(&w->rng, 2000));
        engine_entry_add_key(&w->buf, ENGINE_PUT, 1, vv_slice_str(key),
                             vv_slice_of(value, sizeof value), 0);
    }
    engine_entry_finish(&w->buf, at, 10);
    vv_status st = lsm_ops.prepare(w->e, w->buf.len, 10, &err);
    if (st != VV_OK)
        return st;
    assert_ok(lsm_ops.apply(w->e, ++w->version, 0, vv_buf_slice(&w->buf), &err), err);
    lsm_ops.publish(w->e, w->version);
    return VV_OK;
}

/* A turn of background work; when the thread is free again. */
static int64_t work_turn(world *w, engine_work kind, int64_t cost_ns)
{
    vv_error err;
    w->slept_ns = 0;
    vv_status st = lsm_ops.work_on(w->e, kind, &err);
    if (st != VV_OK && st != VV_NOT_FOUND)
        fail_msg("work: %s", err.msg);
    int64_t free_ns = w->now_ns + w->slept_ns + (st == VV_OK ? cost_ns : cost_ns / 4);
    w->slept_ns = 0;
    return free_ns;
}

/* Overwrite count batches as fast as the store lets; whoever is free first has the turn. */
static outcome overwrite(world *w, const costs *c, unsigned count, bool heed)
{
    outcome out = {0};
    int64_t begin_ns = w->now_ns;
    int64_t writer = begin_ns;
    int64_t flusher = begin_ns;
    int64_t compactor = begin_ns;
    for (unsigned done = 0; done < count;) {
        if (writer <= flusher && writer <= compactor) {
            w->now_ns = writer;
            bool room = write_some(w) == VV_OK;
            int64_t gap = heed ? lsm_ops.throttle_ns(w->e, w->buf.len) : 0;
            engine_stats stats;
            lsm_ops.stats(w->e, &stats);
            if (heed) /* what is published is what is asked for */
                assert_true((uint64_t)gap <= w->buf.len * (stats.write_delay_ps + 1) / 1000 &&
                            (uint64_t)gap + 1 >= w->buf.len * stats.write_delay_ps / 1000);
            out.sets_max = vv_max_u64(out.sets_max, stats.level_runs[0]);
            out.slowed += gap > c->write_ns;
            out.busy += !room;
            out.longest = gap > out.longest ? gap : out.longest;
            done += room;
            writer += gap > c->write_ns ? gap : c->write_ns;
        } else if (flusher <= compactor) {
            w->now_ns = flusher;
            flusher = work_turn(w, ENGINE_WORK_FLUSH, c->flush_ns);
        } else {
            w->now_ns = compactor;
            compactor = work_turn(w, ENGINE_WORK_REST, c->compact_ns);
        }
    }
    out.took_ns = w->now_ns - begin_ns;
    return out;
}

static void settle(world *w)
{
    vv_error err;
    vv_status st;
    while ((st = lsm_ops.work(w->e, &err)) == VV_OK)
        w->now_ns += VV_NS_PER_MS;
    assert_int_equal(st, VV_NOT_FOUND);
}

/* A turn is about 16 KiB. In turn: writers as fast as memory, flushes slow; compaction slow; both.
 */
static const costs slow_ones[] = {
    {2000, 400000, 20000},
    {2000, 100000, 400000},
    {2000, 200000, 1000000},
};

static void prop_sustained_overwrite_never_meets_a_hard_stall(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(slow_ones); i++) {
        const costs *c = &slow_ones[i];
        world w;
        start(&w, 0);
        outcome paced = overwrite(&w, c, 2500, true);
        if (paced.busy > 0)
            fail_msg("costs %zu: %llu writes found no room", i, (unsigned long long)paced.busy);
        assert_true(paced.slowed > 100 && paced.sets_max < 32);
        /* Of a batch of 2 KiB, not of a memtable. */
        assert_true(paced.longest < 8 * (c->flush_ns + c->compact_ns));
        settle(&w);
        assert_int_equal(lsm_ops.throttle_ns(w.e, 1000), 0);
        stop(&w);
        start(&w, 0); /* the control: whoever does not heed the delay is stopped */
        outcome wild = overwrite(&w, c, 2500, false);
        assert_true(wild.busy > 100);
        stop(&w);
    }
}

/* Compaction keeps to its budget, and the writers come down to what it takes. */
static void a_budget_holds_compaction_and_slows_writers(void **state)
{
    (void)state;
    const costs fast = {2000, 20000, 20000};
    const uint64_t budget = 4 * VV_MIB;
    world free;
    world held;
    start(&free, 0);
    start(&held, budget);
    outcome at_ease = overwrite(&free, &fast, 2500, true);
    outcome slowed = overwrite(&held, &fast, 2500, true);
    engine_stats stats;
    lsm_ops.stats(held.e, &stats);
    double seconds = (double)slowed.took_ns / 1e9;
    assert_true(stats.compaction_read_bytes > 0);
    assert_true((double)stats.compaction_read_bytes < 1.3 * (double)budget * (seconds + 0.2));
    assert_true(slowed.took_ns > 2 * at_ease.took_ns);
    assert_int_equal(slowed.busy, 0);
    assert_true(stats.write_delay_ps > 0 && stats.compaction_debt > 0);
    stop(&free);
    stop(&held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_the_curve_rises_from_nothing_without_a_jump),
        cmocka_unit_test(prop_the_delay_is_monotone_and_continuous),
        cmocka_unit_test(prop_no_delay_before_the_start),
        cmocka_unit_test(prop_a_flush_never_slows_writers),
        cmocka_unit_test(compaction_works_all_the_time_before_writers_are_slowed),
        cmocka_unit_test(prop_sustained_overwrite_never_meets_a_hard_stall),
        cmocka_unit_test(a_budget_holds_compaction_and_slows_writers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
