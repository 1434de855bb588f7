/*
 * db_series_test.c - tables of series, on each engine: what was written is what is read, whatever
 * the order, the flushes and the restarts.
 */
#include "db/db_series_test_util.h"

static void samples_come_back_in_time_order(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    answer *a = malloc(sizeof *a);
    const int64_t time[] = {50 * SEC, 10 * SEC, 30 * SEC, 20 * SEC, 40 * SEC};
    const double value[] = {5, 1, 3, 2, 4};
    vv_append_result r;
    vv_error err = {0};
    assert_ok(append(t, "t", "a", time, value, NULL, 5, &r, &err), err);
    assert_int_equal(r.accepted, 5);
    assert_int_equal(r.series_created, 1);
    assert_int_equal(r.refused, 0);
    for (int round = 0; round < 3; round++) {
        ask_raw(t, NULL, "a", 0, 100 * SEC, a);
        assert_int_equal(a->count, 5);
        assert_int_equal(a->series, 1);
        for (size_t i = 0; i < 5; i++) {
            assert_int_equal(a->time[i], (int64_t)(i + 1) * 10 * SEC);
            assert_true(a->value[i] == (double)(i + 1));
        }
        ask_raw(t, NULL, "a", 20 * SEC, 40 * SEC, a); /* half-open */
        assert_int_equal(a->count, 2);
        if (round == 0)
            flush_all(w->db);
        if (round == 1) {
            vv_table_close(t);
            sim_reopen(w);
            t = any_time_table(w->db);
        }
    }
    vv_table_close(t);
    free(a);
}

/* ---- the named faults of the historian that came before ---- */

static void fault_quality_is_kept(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    answer *a = malloc(sizeof *a);
    const int64_t time[] = {1, 2, 3, 4};
    const double value[] = {1, 2, 3, 4};
    const uint32_t quality[] = {0, VV_QUALITY_BAD, 0x40920000, 0x00960000};
    vv_error err = {0};
    assert_ok(append(t, "t", "a", time, value, quality, 4, NULL, &err), err);
    for (int round = 0; round < 2; round++) {
        ask_raw(t, NULL, "a", 0, 10, a);
        assert_int_equal(a->count, 4);
        assert_memory_equal(a->quality, quality, sizeof quality);
        vv_series_query q = VV_SERIES_QUERY_INIT;
        q.end_ns = 10;
        assert_ok(ask(t, &q, a, &err), err);
        assert_int_equal(a->count, 2); /* the good ones, with what they say */
        assert_int_equal(a->time[1], 4);
        assert_int_equal(a->quality[1], 0x00960000);
        flush_all(w->db);
    }
    vv_table_close(t);
    free(a);
}

static void fault_acknowledged_samples_survive_a_kill(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    answer *a = malloc(sizeof *a);
    vv_error err = {0};
    for (int i = 0; i < 999; i++)
        append_one(t, "a", i * SEC, i);
    vv_table_close(t);
    db_abandon(w->db);
    w->db = NULL;
    sim_off(w);
    assert_ok(sim_on(w, &(vio_sim_options){.seed = 1}, &err), err);
    assert_ok(sim_open_db(w, &err), err);
    t = any_time_table(w->db);
    ask_raw(t, NULL, "a", 0, 1000 * SEC, a);
    assert_int_equal(a->count, 999);
    for (size_t i = 0; i < a->count; i++)
        assert_true(a->time[i] == (int64_t)i * SEC && a->value[i] == (double)i);
    vv_table_close(t);
    free(a);
}

static void fault_a_block_that_begins_before_the_range(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    answer *a = malloc(sizeof *a);
    static int64_t time[600];
    static double value[600];
    for (int i = 0; i < 600; i++) {
        time[i] = i * SEC;
        value[i] = i;
    }
    vv_error err = {0};
    assert_ok(append(t, "t", "a", time, value, NULL, 600, NULL, &err), err);
    flush_all(w->db);
    for (int from = 1; from < 600; from += 37) {
        ask_raw(t, NULL, "a", from * SEC, (from + 3) * SEC, a);
        assert_int_equal(a->count, from + 3 <= 600 ? 3 : 600 - from);
        assert_int_equal(a->time[0], from * SEC);
    }
    vv_table_close(t);
    free(a);
}

static void fault_late_samples_are_in_their_place(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    answer *a = malloc(sizeof *a);
    vv_append_result r;
    vv_error err = {0};
    for (int i = 0; i < 50; i++)
        append_one(t, "a", (1000000 + i * 7 % 50) * SEC, i * 7 % 50);
    const int64_t long_ago = 900000 * SEC;
    const double value = -1;
    assert_ok(append(t, "t", "a", &long_ago, &value, NULL, 1, &r, &err), err);
    assert_int_equal(r.late, 1);
    for (int round = 0; round < 2; round++) {
        ask_raw(t, NULL, "a", 0, 2000000 * SEC, a);
        assert_int_equal(a->count, 51);
        assert_true(a->value[0] == -1);
        for (size_t i = 1; i < 51; i++)
            assert_true(a->value[i] == (double)(i - 1));
        flush_all(w->db);
    }
    vv_table_close(t);
    free(a);
}

static void fault_nothing_is_an_empty_answer(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    answer *a = malloc(sizeof *a);
    ask_raw(t, NULL, "nobody", 0, 100, a);
    assert_int_equal(a->count, 0);
    append_one(t, "a", 10, 1);
    ask_raw(t, NULL, "nobody", 0, 100, a);
    assert_int_equal(a->count, 0);
    ask_raw(t, NULL, "a", 11, 100, a);
    assert_int_equal(a->count, 0);
    ask_raw(t, NULL, "a", 10, 10, a);
    assert_int_equal(a->count, 0);
    ask_raw(t, NULL, "a", 100, 0, a);
    assert_int_equal(a->count, 0);
    assert_int_equal(a->series, 0);
    vv_table_close(t);
    free(a);
}

static void fault_negative_times(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    answer *a = malloc(sizeof *a);
    const int64_t time[] = {-1, -SEC,      -3600 * SEC,   -3600 * SEC - 1, 0,
                            1,  INT64_MIN, INT64_MIN + 1, INT64_MAX - 1,   -400000 * SEC};
    const double value[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    vv_error err = {0};
    assert_ok(append(t, "t", "a", time, value, NULL, 10, NULL, &err), err);
    for (int round = 0; round < 2; round++) {
        ask_raw(t, NULL, "a", INT64_MIN, INT64_MAX, a);
        assert_int_equal(a->count, 10);
        assert_int_equal(a->time[0], INT64_MIN);
        assert_int_equal(a->time[9], INT64_MAX - 1);
        for (size_t i = 1; i < 10; i++)
            assert_true(a->time[i - 1] < a->time[i]);
        ask_raw(t, NULL, "a", -3600 * SEC, 0, a);
        assert_int_equal(a->count, 3);
        flush_all(w->db);
    }
    vv_table_close(t);
    free(a);
}

static void fault_a_restart_loses_nothing(void **state)
{
    sim_world *w = *state;
    answer *a = malloc(sizeof *a);
    for (int round = 0; round < 5; round++) {
        vv_table *t = any_time_table(w->db);
        for (int i = 0; i < 20; i++)
            append_one(t, "a", (round * 20 + i) * SEC, round * 20 + i);
        if (round % 2 == 1)
            flush_all(w->db);
        vv_table_close(t);
        sim_reopen(w);
        t = any_time_table(w->db);
        ask_raw(t, NULL, "a", 0, 1000 * SEC, a);
        assert_int_equal(a->count, (round + 1) * 20);
        for (size_t i = 0; i < a->count; i++)
            assert_true(a->value[i] == (double)i);
        vv_table_close(t);
    }
    free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TP(samples_come_back_in_time_order),
        TP(fault_quality_is_kept),
        TP(fault_acknowledged_samples_survive_a_kill),
        TP(fault_a_block_that_begins_before_the_range),
        TP(fault_late_samples_are_in_their_place),
        TP(fault_nothing_is_an_empty_answer),
        TP(fault_negative_times),
        TP(fault_a_restart_loses_nothing),
    };
    return run_on_each(tests, ARRAY_LEN(tests));
}
