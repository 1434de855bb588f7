/*
 * db_series_dirty_test.c - days that wait for their repair agree with a plain list of them, and are
 * due when they are at rest, when they are old, or when they are many.
 */
#include "vv_test.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "db/db_series_dirty.h"

#define QUIET DB_SERIES_DIRTY_QUIET_NS
#define AGE DB_SERIES_DIRTY_AGE_NS

static vv_budget budget;

static size_t due_count(db_series_dirty *d, int64_t now)
{
    db_series_dirty_day day;
    size_t n = 0;
    for (; db_series_dirty_next(d, now, &day); n++)
        db_series_dirty_done(d, &day);
    return n;
}

static void a_day_is_due_when_it_is_at_rest(void **state)
{
    (void)state;
    db_series_dirty d;
    db_series_dirty_init(&d, &budget);
    assert_int_equal(due_count(&d, INT64_MAX), 0);
    assert_true(db_series_dirty_note(&d, 7, -3, 1000));
    assert_int_equal(due_count(&d, 1000 + QUIET - 1), 0);
    assert_int_equal(d.look_ns, 1000 + QUIET);
    assert_true(db_series_dirty_note(&d, 7, -3, 2000));
    assert_int_equal(due_count(&d, 1000 + QUIET), 0);
    assert_true(db_series_dirty_found(&d, 7, -3, 3000)); /* a mark that is known: nothing new */
    assert_int_equal(db_series_dirty_since(&d, 9000), 1000);
    assert_int_equal(due_count(&d, 2000 + QUIET), 1);
    assert_int_equal(d.count, 0);
    assert_int_equal(db_series_dirty_since(&d, 9000), 9000);
    db_series_dirty_fini(&d);
}

static void a_steady_stream_is_due_once_in_an_age(void **state)
{
    (void)state;
    db_series_dirty d;
    size_t n = 0;
    db_series_dirty_init(&d, &budget);
    for (int64_t now = 0; now < 10 * AGE; now += QUIET / 4) {
        assert_true(db_series_dirty_note(&d, 1, 1, now));
        n += due_count(&d, now);
    }
    assert_in_range(n, 9, 10);
    db_series_dirty_fini(&d);
}

static void a_mark_during_the_repair_keeps_its_day(void **state)
{
    (void)state;
    db_series_dirty d;
    db_series_dirty_day day;
    db_series_dirty_init(&d, &budget);
    assert_true(db_series_dirty_note(&d, 1, 1, 0));
    assert_true(db_series_dirty_next(&d, QUIET, &day));
    assert_true(db_series_dirty_note(&d, 1, 1, QUIET + 5));
    db_series_dirty_done(&d, &day);
    assert_true(db_series_dirty_has(&d, 1, 1));
    assert_int_equal(db_series_dirty_since(&d, INT64_MAX), QUIET + 5);
    assert_int_equal(due_count(&d, 2 * QUIET + 5), 1);
    db_series_dirty_done(&d, &day); /* of one that is gone: nothing */
    db_series_dirty_fini(&d);
}

static void where_they_are_many_none_waits_for_its_age(void **state)
{
    (void)state;
    db_series_dirty d;
    db_series_dirty_init(&d, &budget);
    d.max = 8;
    for (int64_t now = 0; now <= 2 * QUIET; now += QUIET / 2)
        for (uint64_t id = 1; id <= 3; id++)
            assert_true(db_series_dirty_note(&d, id, 0, now));
    assert_int_equal(due_count(&d, 2 * QUIET), 0);
    assert_true(db_series_dirty_note(&d, 4, 0, 2 * QUIET));
    assert_int_equal(due_count(&d, 2 * QUIET), 1); /* then they are few again */
    for (uint64_t id = 10; id < 20; id++)
        assert_int_equal(db_series_dirty_note(&d, id, 0, 2 * QUIET), id < 15);
    assert_int_equal(d.count, 8);
    assert_true(db_series_dirty_note(&d, 10, 0, 3 * QUIET)); /* what is there has its place */
    db_series_dirty_fini(&d);
}

static void without_memory_a_day_finds_no_room(void **state)
{
    (void)state;
    db_series_dirty d;
    db_series_dirty_init(&d, &budget);
    vv_alloc_fail_after(0, 0);
    assert_false(db_series_dirty_note(&d, 1, 1, 0));
    vv_alloc_fail_after(-1, 0);
    for (uint64_t id = 1; id <= 32; id++)
        assert_true(db_series_dirty_note(&d, id, 1, 0));
    vv_alloc_fail_after(0, 0);
    assert_false(db_series_dirty_note(&d, 33, 1, 0));
    vv_alloc_fail_after(-1, 0);
    for (uint64_t id = 1; id <= 33; id++)
        assert_int_equal(db_series_dirty_has(&d, id, 1), id <= 32);
    db_series_dirty_fini(&d);
    assert_int_equal(vv_budget_used(&budget), 0);
}

/* ---- beside a plain list ---- */

#define IDS 12u
#define DAYS 12u

typedef struct listed {
    bool is_there;
    int64_t first;
    int64_t last;
} listed;

static bool is_due(const listed *l, int64_t now)
{
    return l->is_there && (now - l->last >= QUIET || now - l->first >= AGE);
}

static void prop_it_agrees_with_a_list(void **state)
{
    (void)state;
    static listed all[IDS][DAYS];
    db_series_dirty d;
    vv_rng rng;
    int64_t now = 0;
    size_t count = 0;
    vv_rng_init(&rng, vv_test_seed(71));
    db_series_dirty_init(&d, &budget);
    for (int step = 0; step < 20000; step++) {
        unsigned id = (unsigned)vv_rng_below(&rng, IDS);
        unsigned day = (unsigned)vv_rng_below(&rng, DAYS);
        listed *l = &all[id][day];
        now += (int64_t)vv_rng_below(&rng, (uint64_t)QUIET / 4);
        if (vv_rng_below(&rng, 3) > 0) {
            assert_true(db_series_dirty_note(&d, id + 1, (int64_t)day - 5, now));
            count += !l->is_there;
            *l = (listed){true, l->is_there ? l->first : now, now};
        } else {
            db_series_dirty_day got;
            if (db_series_dirty_next(&d, now, &got)) {
                l = &all[got.id - 1][got.day + 5];
                assert_true(is_due(l, now));
                db_series_dirty_done(&d, &got);
                l->is_there = false;
                count--;
            } else {
                for (size_t i = 0; i < (size_t)IDS * DAYS; i++)
                    assert_false(is_due(&all[i / DAYS][i % DAYS], now));
            }
        }
        l = &all[vv_rng_below(&rng, IDS)][day];
        assert_int_equal(db_series_dirty_has(&d, (uint64_t)(l - all[0]) / DAYS + 1,
                                             (int64_t)((uint64_t)(l - all[0]) % DAYS) - 5),
                         l->is_there);
        assert_int_equal(d.count, count);
    }
    db_series_dirty_fini(&d);
}

int main(void)
{
    vv_budget_init(&budget, 1 << 30);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_day_is_due_when_it_is_at_rest),
        cmocka_unit_test(a_steady_stream_is_due_once_in_an_age),
        cmocka_unit_test(a_mark_during_the_repair_keeps_its_day),
        cmocka_unit_test(where_they_are_many_none_waits_for_its_age),
        cmocka_unit_test(without_memory_a_day_finds_no_room),
        cmocka_unit_test(prop_it_agrees_with_a_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
