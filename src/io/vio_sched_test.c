/*
 * vio_sched_test.c - the ranking of transfers, on a clock that only the test moves.
 */
#include "vv_test.h"

#include "base/rng.h"
#include "io/env.h"
#include "io/vio_sched.h"

typedef struct hand_clock {
    vv_clock base;
    int64_t now;
} hand_clock;

static int64_t hand_now(vv_clock *clock)
{
    return VV_CONTAINER_OF(clock, hand_clock, base)->now;
}

static const vv_clock_ops hand_ops = {.mono_ns = hand_now, .wall_ns = hand_now};

static void start(vio_sched *s, hand_clock *clock)
{
    *clock = (hand_clock){.base = {&hand_ops}, .now = VV_NS_PER_S};
    vio_sched_init(s, &clock->base);
}

static unsigned take_all(vio_sched *s, vio_class cls)
{
    unsigned n = 0;
    while (n < 1000 && vio_sched_try(s, cls))
        n++;
    return n;
}

static void leave(vio_sched *s, vio_class cls, unsigned count)
{
    while (count-- > 0)
        vio_sched_leave(s, cls);
}

static void alone_a_class_has_its_whole_depth(void **state)
{
    (void)state;
    static const unsigned want[] = {64, 128, 8, 4};
    vio_sched s;
    hand_clock clock;
    start(&s, &clock);
    for (unsigned cls = 0; cls < VIO_CLASSES; cls++) {
        assert_int_equal(take_all(&s, (vio_class)cls), want[cls]);
        leave(&s, (vio_class)cls, want[cls]);
    }
    assert_true(vio_sched_try(NULL, VIO_CLASS_READ));
    vio_sched_leave(NULL, VIO_CLASS_READ);
    vio_sched_fini(&s);
}

static void a_higher_class_narrows_the_lower_ones(void **state)
{
    (void)state;
    vio_sched s;
    hand_clock clock;
    start(&s, &clock);
    assert_true(vio_sched_try(&s, VIO_CLASS_LOG));
    assert_int_equal(take_all(&s, VIO_CLASS_READ), 32);
    assert_int_equal(take_all(&s, VIO_CLASS_FLUSH), 1);
    assert_int_equal(take_all(&s, VIO_CLASS_COMPACTION), 1);
    assert_int_equal(take_all(&s, VIO_CLASS_LOG), 63); /* nothing narrows the log */
    clock.now += 250 * VV_NS_PER_US;
    assert_int_equal(take_all(&s, VIO_CLASS_FLUSH), 1);
    clock.now += VV_NS_PER_S;
    assert_int_equal(take_all(&s, VIO_CLASS_FLUSH), 0); /* two are in flight */
    assert_int_equal(take_all(&s, VIO_CLASS_COMPACTION), 0);
    leave(&s, VIO_CLASS_LOG, 64);
    leave(&s, VIO_CLASS_READ, 32);
    assert_int_equal(take_all(&s, VIO_CLASS_FLUSH), 6); /* nobody above it: its whole depth */
    leave(&s, VIO_CLASS_FLUSH, 8);
    leave(&s, VIO_CLASS_COMPACTION, 1);
    vio_sched_fini(&s);
}

static void a_lower_class_never_narrows_a_higher_one(void **state)
{
    (void)state;
    vio_sched s;
    hand_clock clock;
    start(&s, &clock);
    assert_int_equal(take_all(&s, VIO_CLASS_COMPACTION), 4);
    assert_int_equal(take_all(&s, VIO_CLASS_FLUSH), 8);
    assert_int_equal(take_all(&s, VIO_CLASS_READ), 128);
    assert_int_equal(take_all(&s, VIO_CLASS_LOG), 64);
    leave(&s, VIO_CLASS_COMPACTION, 4);
    leave(&s, VIO_CLASS_FLUSH, 8);
    leave(&s, VIO_CLASS_READ, 128);
    leave(&s, VIO_CLASS_LOG, 64);
    vio_sched_fini(&s);
}

/* For ten simulated seconds transfers of all classes come and go at random, the log never idle:
 * the depths hold, and no class waits longer than its gap and its own transfers make it. */
static void prop_no_class_starves_and_no_depth_is_passed(void **state)
{
    (void)state;
    static const unsigned busy[] = {64, 32, 2, 1};
    static const int64_t gap[] = {0, 0, 250 * VV_NS_PER_US, VV_NS_PER_MS};
    const int64_t step = 50 * VV_NS_PER_US;
    uint64_t seed = vv_test_seed(7);
    vv_rng rng;
    vio_sched s;
    hand_clock clock;
    vv_rng_init(&rng, seed);
    start(&s, &clock);
    unsigned active[VIO_CLASSES] = {1};
    unsigned begun[VIO_CLASSES] = {0};
    int64_t open_since[VIO_CLASSES] = {0}; /* since when a place in its own depth was free */
    assert_true(vio_sched_try(&s, VIO_CLASS_LOG));
    for (unsigned round = 0; round < 200000; round++) {
        unsigned cls = (unsigned)vv_rng_below(&rng, VIO_CLASSES);
        if (active[cls] > (cls == VIO_CLASS_LOG) && vv_rng_one_in(&rng, 2)) {
            vio_sched_leave(&s, (vio_class)cls);
            active[cls]--;
        } else if (vio_sched_try(&s, (vio_class)cls)) {
            active[cls]++;
            begun[cls]++;
            open_since[cls] = clock.now;
        } else if (active[cls] < busy[cls] && clock.now - open_since[cls] > gap[cls] + step) {
            fail_msg("class %u waits for %lld ns, VV_SEED=0x%llx", cls,
                     (long long)(clock.now - open_since[cls]), (unsigned long long)seed);
        }
        if (active[cls] > busy[cls])
            fail_msg("class %u has %u in flight", cls, active[cls]);
        clock.now += (int64_t)vv_rng_below(&rng, (uint64_t)step);
    }
    int64_t span = clock.now - VV_NS_PER_S;
    for (unsigned cls = VIO_CLASS_FLUSH; cls < VIO_CLASSES; cls++) {
        assert_true(begun[cls] > 0);
        assert_true((int64_t)begun[cls] <= span / gap[cls] + 1); /* the rate has a bound */
    }
    for (unsigned cls = 0; cls < VIO_CLASSES; cls++)
        leave(&s, (vio_class)cls, active[cls]);
    vio_sched_fini(&s);
}

/* ---- blocking ---- */

static void enter_and_leave(void *arg)
{
    for (unsigned i = 0; i < 200; i++) {
        vio_sched_enter(arg, VIO_CLASS_COMPACTION);
        vio_sched_leave(arg, VIO_CLASS_COMPACTION);
    }
}

static void a_blocked_class_goes_on_beside_a_busy_one(void **state)
{
    (void)state;
    vio_sched s;
    vv_error err;
    vv_thread *threads[3];
    vio_sched_init(&s, vv_clock_real());
    assert_true(vio_sched_try(&s, VIO_CLASS_LOG)); /* never leaves */
    for (unsigned i = 0; i < ARRAY_LEN(threads); i++)
        assert_ok(vv_threads_real()->create("sched", VV_THREAD_NORMAL, enter_and_leave, &s,
                                            &threads[i], &err),
                  err);
    for (unsigned i = 0; i < ARRAY_LEN(threads); i++)
        vv_threads_real()->join(threads[i]);
    vio_sched_leave(&s, VIO_CLASS_LOG);
    vio_sched_stats stats;
    vio_sched_read_stats(&s, &stats);
    assert_int_equal(stats.entered[VIO_CLASS_COMPACTION], 600);
    assert_true(stats.held_back[VIO_CLASS_COMPACTION] > 0);
    vio_sched_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_a_class_has_its_whole_depth),
        cmocka_unit_test(a_higher_class_narrows_the_lower_ones),
        cmocka_unit_test(a_lower_class_never_narrows_a_higher_one),
        cmocka_unit_test(prop_no_class_starves_and_no_depth_is_passed),
        cmocka_unit_test(a_blocked_class_goes_on_beside_a_busy_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
