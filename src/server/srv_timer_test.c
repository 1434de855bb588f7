#include "server/srv_timer.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "vv_test.h"

typedef struct item {
    srv_timer timer;
    srv_timers *all;
    vv_rng *rng;
    int64_t now;   /* of the run that may fire it */
    int64_t wants; /* when it should fire; INT64_MAX: not armed */
    unsigned fired;
} item;

#define ITEMS 200

static item items[ITEMS];

/* Checks its own time, and sometimes meddles with others from inside. */
static void on_fire(srv_timer *timer)
{
    item *it = VV_CONTAINER_OF(timer, item, timer);
    assert_true(it->wants <= it->now);
    assert_int_equal(timer->place, 0);
    it->wants = INT64_MAX;
    it->fired++;
    item *other = &items[vv_rng_below(it->rng, ITEMS)];
    if (vv_rng_one_in(it->rng, 3)) {
        srv_timer_cancel(it->all, &other->timer);
        other->wants = INT64_MAX;
    } else if (vv_rng_one_in(it->rng, 3)) {
        other->wants = it->now + 1 + (int64_t)vv_rng_below(it->rng, 50);
        assert_true(srv_timer_set(it->all, &other->timer, other->wants));
    }
}

static int64_t earliest(void)
{
    int64_t min = INT64_MAX;
    for (size_t i = 0; i < ITEMS; i++)
        min = items[i].wants < min ? items[i].wants : min;
    return min;
}

/* Against the plain list of wishes: nothing fires early, late or twice. */
static void prop_timers_fire_in_time(void **state)
{
    (void)state;
    srv_timers all = {0};
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(0x74696d6572ULL));
    for (size_t i = 0; i < ITEMS; i++)
        items[i] = (item){.timer.fn = on_fire, .all = &all, .rng = &rng, .wants = INT64_MAX};
    int64_t now = 0;
    for (uint64_t n = vv_test_count("VV_TIMER_ROUNDS", 20000); n > 0; n--) {
        item *it = &items[vv_rng_below(&rng, ITEMS)];
        switch (vv_rng_below(&rng, 4)) {
        case 0:
        case 1:
            it->wants = now + 1 + (int64_t)vv_rng_below(&rng, 100);
            assert_true(srv_timer_set(&all, &it->timer, it->wants));
            break;
        case 2:
            srv_timer_cancel(&all, &it->timer);
            it->wants = INT64_MAX;
            break;
        default:
            now += (int64_t)vv_rng_below(&rng, 20);
            for (size_t i = 0; i < ITEMS; i++)
                items[i].now = now;
            srv_timers_run(&all, now);
            assert_true(earliest() > now);
            break;
        }
        assert_true(srv_timers_next(&all) == earliest());
    }
    unsigned fired = 0;
    for (size_t i = 0; i < ITEMS; i++)
        fired += items[i].fired;
    assert_true(fired > 100);
    srv_timers_fini(&all);
}

static void test_no_memory_leaves_the_others_armed(void **state)
{
    (void)state;
    srv_timers all = {0};
    static srv_timer t[20];
    for (size_t i = 0; i < 16; i++)
        assert_true(srv_timer_set(&all, &t[i], (int64_t)i));
    vv_alloc_fail_after(0, 0);
    assert_false(srv_timer_set(&all, &t[16], -5));
    assert_true(srv_timer_set(&all, &t[3], -1)); /* moving needs none */
    vv_alloc_fail_after(-1, 0);
    assert_int_equal(srv_timers_next(&all), -1);
    assert_int_equal(all.count, 16);
    srv_timers_fini(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_timers_fire_in_time),
        cmocka_unit_test(test_no_memory_leaves_the_others_armed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
