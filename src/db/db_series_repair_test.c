/*
 * db_series_repair_test.c - when rows are made again: late samples one by one and in streams,
 * floods of repeats, any order of arrival, times of a broken clock. What is asked meanwhile is
 * true.
 */
#include "db/db_series_rollup_test_util.h"

#include "base/rng.h"

/* ---- when repairs are made ---- */

/* Late samples of one day, a second apart; the answers are true all the while. */
static void a_stream_of_late_samples_is_repaired_once_in_an_age(void **state)
{
    sim_world *w = *state;
    vv_table *t = rollup_table(w->db, 0, 0, 0);
    int64_t ages = 3;
    fill_days(t, "a", 10 * DAY, 13 * DAY);
    assert_int_equal(roll_all(w->db), 2);
    for (int64_t i = 0; i < ages * DB_SERIES_DIRTY_AGE_NS / SEC; i++) {
        append_one(t, "a", 10 * DAY + i * 7 * SEC + 1, (double)i);
        vv_clock_sleep(w->env.clock, SEC);
        while (step_once(w->db))
            continue;
        if (i % 100 == 50)
            check(t, "a", 10 * DAY, 12 * DAY, HOUR, 0, VV_AGG_SUM);
    }
    assert_in_range(stats_of(w->db).rollup_repairs, ages - 1, ages);
    check_all(t, "a");
    (void)roll_all(w->db);
    assert_in_range(stats_of(w->db).rollup_repairs, ages, ages + 1);
    assert_false(is_marked(t, 10));
    check_all(t, "a");
    vv_table_close(t);
}

static size_t marks_of(vv_table *t, int64_t first, int64_t last)
{
    size_t n = 0;
    for (int64_t day = first; day <= last; day++)
        n += is_marked(t, day);
    return n;
}

/* More days are marked than there is room for in memory: the marks of the table tell. */
static void days_without_a_place_are_repaired_too(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    db_series *s = NULL;
    vv_table *t = rollup_table(w->db, 0, 0, 0);
    assert_ok(db_series_of(t, &s, &err), err);
    s->roll.dirty.max = 4;
    fill_days(t, "a", 10 * DAY, 22 * DAY);
    (void)roll_all(w->db);
    for (int64_t day = 10; day < 19; day++)
        append_one(t, "a", day * DAY + 1, (double)day);
    int64_t time[2] = {-900 * DAY, 20 * DAY + 1}; /* too far apart to name all between */
    double value[2] = {3, 4};
    assert_ok(append(t, "t", "a", time, value, NULL, 2, NULL, &err), err);
    assert_int_equal(marks_of(t, 10, 21), 10);
    check_all(t, "a");
    for (int i = 0; i < 40 && marks_of(t, 10, 21) + is_marked(t, -900) > 0; i++)
        (void)roll_all(w->db);
    assert_int_equal(marks_of(t, 10, 21) + is_marked(t, -900), 0);
    assert_int_equal(s->roll.dirty.count, 0);
    assert_int_equal(stats_of(w->db).rollup_repairs, 11);
    check_all(t, "a");
    vv_table_close(t);
}

static void marks_of_an_earlier_process_are_repaired(void **state)
{
    sim_world *w = *state;
    vv_table *t = rollup_table(w->db, 0, 0, 0);
    fill_days(t, "a", 10 * DAY, 14 * DAY);
    (void)roll_all(w->db);
    append_one(t, "a", 10 * DAY + 1, 1);
    append_one(t, "a", 12 * DAY + 1, 1);
    vv_table_close(t);
    sim_reopen(w);
    t = rollup_table(w->db, 0, 0, 0);
    assert_int_equal(marks_of(t, 10, 13), 2);
    check_all(t, "a");
    while (step_once(w->db))
        continue;
    assert_int_equal(stats_of(w->db).rollup_dirty, 2);
    vv_clock_sleep(w->env.clock, 3 * SEC);
    assert_in_range(stats_of(w->db).rollup_lag_ns, 3 * SEC, 4 * SEC);
    assert_int_equal(roll_all(w->db), 2);
    assert_int_equal(marks_of(t, 10, 13), 0);
    assert_int_equal(stats_of(w->db).rollup_dirty, 0);
    assert_int_equal(stats_of(w->db).rollup_lag_ns, 0);
    check_all(t, "a");
    vv_table_close(t);
}

/* ---- what comes again ---- */

/* Bytes and number of all that a table has. */
static void measure(vv_table *t, uint64_t *bytes, uint64_t *keys)
{
    vv_error err = {0};
    vv_cursor *c = NULL;
    *bytes = *keys = 0;
    assert_ok(vv_cursor_open(t, NULL, &c, &err), err);
    vv_status st = vv_cursor_seek(c, vv_slice_of(NULL, 0), &err);
    for (; st == VV_OK && vv_cursor_valid(c); st = vv_cursor_next(c, &err)) {
        *bytes += vv_cursor_key(c).len + vv_cursor_value(c).len;
        ++*keys;
    }
    assert_ok(st, err);
    vv_cursor_close(c);
}

static void a_flood_of_repeats_changes_nothing(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    uint64_t bytes[2];
    uint64_t keys[2];
    vv_table *t = rollup_table(w->db, 0, 0, 0);
    fill_days(t, "a", 10 * DAY, 13 * DAY);
    (void)roll_all(w->db);
    assert_ok(vv_compact(t, S(""), S(""), &err), err);
    measure(t, &bytes[0], &keys[0]);
    vv_stats before = stats_of(w->db);
    for (int i = 0; i < 20; i++)
        fill_days(t, "a", 10 * DAY, 12 * DAY);
    vv_stats after = stats_of(w->db);
    assert_int_equal(after.samples_repeated, 20 * 2 * 8640);
    assert_int_equal(after.user_bytes, before.user_bytes); /* nothing was written */
    assert_int_equal(marks_of(t, 10, 12), 0);
    /* Newer ones are written, and go when they are merged. */
    for (int i = 0; i < 2000; i++)
        append_one(t, "a", 12 * DAY + (i % 5) * 10 * SEC,
                   (double)((12 * DAY / SEC + i % 5 * 10) % 977));
    for (int i = 0; i < 20; i++)
        fill_days(t, "a", 12 * DAY, 13 * DAY);
    assert_int_equal(roll_all(w->db), 0);
    assert_ok(vv_compact(t, S(""), S(""), &err), err);
    measure(t, &bytes[1], &keys[1]);
    assert_int_equal(keys[0], keys[1]); /* no bucket more, none of another class */
    assert_in_range(bytes[1], bytes[0] / 2, bytes[0]);
    check_all(t, "a");
    vv_table_close(t);
}

static void what_differs_from_what_is_there_is_no_repeat(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    int64_t time[3] = {10 * DAY, 10 * DAY + 10 * SEC, 10 * DAY + 20 * SEC};
    double value[3];
    uint32_t bad[3] = {0, VV_QUALITY_BAD, 0};
    vv_table *t = rollup_table(w->db, 0, 0, 0);
    fill_days(t, "a", 10 * DAY, 12 * DAY);
    (void)roll_all(w->db);
    for (int i = 0; i < 3; i++)
        value[i] = (double)(time[i] / SEC % 977);
    assert_ok(append(t, "t", "a", time, value, NULL, 3, NULL, &err), err);
    assert_false(is_marked(t, 10));
    assert_ok(append(t, "t", "a", time, value, bad, 3, NULL, &err), err); /* another quality */
    assert_true(is_marked(t, 10));
    (void)roll_all(w->db);
    assert_ok(append(t, "t", "a", time, value, bad, 3, NULL, &err), err);
    assert_false(is_marked(t, 10));
    value[2] = -0.0;
    assert_ok(append(t, "t", "a", time, value, bad, 3, NULL, &err), err); /* another value */
    assert_true(is_marked(t, 10));
    (void)roll_all(w->db);
    value[2] = 0.0;
    assert_ok(append(t, "t", "a", time, value, bad, 3, NULL, &err), err); /* other bits */
    assert_true(is_marked(t, 10));
    (void)roll_all(w->db);
    time[2]++; /* another time */
    assert_ok(append(t, "t", "a", time, value, bad, 3, NULL, &err), err);
    assert_true(is_marked(t, 10));
    (void)roll_all(w->db);
    vv_matcher m = {VV_MATCH_EQ, S("host"), S("a")};
    assert_ok(vv_series_delete(t, &m, 1, time[1], time[1] + 1, NULL, &err), err);
    (void)roll_all(w->db);
    uint64_t repeats = stats_of(w->db).samples_repeated;
    assert_ok(append(t, "t", "a", time, value, bad, 3, NULL, &err), err); /* one is gone */
    assert_true(is_marked(t, 10));
    assert_int_equal(stats_of(w->db).samples_repeated, repeats);
    check_all(t, "a");
    vv_table_close(t);
}

/* ---- any order, any time ---- */

static void write_one_by_one(vv_table *t, const char *host, const int64_t *time, size_t n,
                             unsigned step_every)
{
    vv_error err = {0};
    enum { PIECE = 40 };
    for (size_t i = 0; i < n; i += PIECE) {
        double value[PIECE];
        size_t many = n - i < PIECE ? n - i : PIECE;
        for (size_t k = 0; k < many; k++)
            value[k] = (double)((uint64_t)time[i + k] / 1000 % 4096);
        assert_ok(append(t, "t", host, time + i, value, NULL, many, NULL, &err), err);
        if (step_every > 0 && i / PIECE % step_every == 0)
            (void)roll_all(t->db);
    }
}

/* Sorted to one host, shuffled to the other: the rows say the same, and what the samples say. */
static void prop_any_order_of_arrival_has_the_same_rows(void **state)
{
    enum { MANY = 4000 };
    static int64_t time[MANY];
    static answer other;
    sim_world *w = *state;
    vv_error err = {0};
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(41));
    vv_table *t = rollup_table(w->db, 0, 0, 0);
    for (size_t i = 0; i < MANY; i++)
        time[i] = -3 * DAY + (int64_t)i * 2 * MIN + (int64_t)vv_rng_below(&rng, (uint64_t)MIN);
    write_one_by_one(t, "a", time, MANY, 0);
    for (size_t i = MANY; i > 1; i--) {
        size_t k = vv_rng_below(&rng, i);
        int64_t swap = time[i - 1];
        time[i - 1] = time[k];
        time[k] = swap;
    }
    write_one_by_one(t, "b", time, MANY, 5);
    (void)roll_all(w->db);
    assert_true(stats_of(w->db).rollup_repairs > 0);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        for (int64_t step = MIN; step <= HOUR; step *= 60) {
            assert_ok(query(t, "a", -9 * DAY, 9 * DAY, step, 0, kinds[i], false, &points, &err),
                      err);
            assert_ok(query(t, "b", -9 * DAY, 9 * DAY, step, 0, kinds[i], false, &other, &err),
                      err);
            assert_int_equal(points.count, other.count);
            assert_memory_equal(points.time, other.time, points.count * sizeof *points.time);
            for (size_t k = 0; k < points.count; k++)
                assert_true(fabs(points.value[k] - other.value[k]) <=
                            (kinds[i] == VV_AGG_STDDEV ? 1e-6 : 0));
        }
    }
    check_all(t, "a");
    check_all(t, "b");
    vv_table_close(t);
}

/* One sample of a broken clock closes all days there are: what is right comes late from then on. */
static void a_sample_of_the_future_makes_repairs_and_not_many(void **state)
{
    sim_world *w = *state;
    vv_table *t = rollup_table(w->db, 0, 0, 0);
    fill_days(t, "a", 10 * DAY, 10 * DAY + 5 * HOUR);
    append_one(t, "a", 90000 * DAY, 1);
    (void)roll_all(w->db);
    for (int64_t at = 10 * DAY + 5 * HOUR; at < 10 * DAY + 8 * HOUR; at += 10 * SEC) {
        append_one(t, "a", at, 1);
        vv_clock_sleep(w->env.clock, SEC);
        while (step_once(w->db))
            continue;
    }
    assert_in_range(stats_of(w->db).rollup_repairs, 1, 4);
    check_all(t, "a");
    (void)roll_all(w->db);
    check_all(t, "a");
    vv_table_close(t);
}

static void the_first_and_the_last_times_there_are(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    const int64_t time[] = {
        INT64_MIN, INT64_MIN + 1, INT64_MIN + DAY,     INT64_MIN + 2 * DAY, -DAY - 1,     -1,
        0,         DAY,           INT64_MAX - 3 * DAY, INT64_MAX - DAY,     INT64_MAX - 1};
    vv_table *t = rollup_table(w->db, 0, 0, 0);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < ARRAY_LEN(time); i++) {
            size_t k = round % 2 == 0 ? ARRAY_LEN(time) - 1 - i : i;
            append_one(t, "a", time[k], (double)(k + 1));
            if (round == 2)
                append_one(t, "a", time[k], (double)(k + 2));
        }
        (void)roll_all(w->db);
        for (int64_t step = 0; step <= HOUR; step += HOUR) {
            double sum = 0;
            assert_ok(
                query(t, "a", INT64_MIN, INT64_MAX, step, 0, VV_AGG_SUM, false, &points, &err),
                err);
            for (size_t i = 0; i < points.count; i++)
                sum += points.value[i];
            size_t n = ARRAY_LEN(time);
            assert_true(sum == (double)(n * (n + 1) / 2 + (round == 2 ? n : 0)));
        }
    }
    assert_int_equal(stats_of(w->db).rollup_failures, 0);
    vv_table_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TP(a_stream_of_late_samples_is_repaired_once_in_an_age),
        TP(days_without_a_place_are_repaired_too),
        TP(marks_of_an_earlier_process_are_repaired),
        TP(a_flood_of_repeats_changes_nothing),
        TP(what_differs_from_what_is_there_is_no_repeat),
        TP(prop_any_order_of_arrival_has_the_same_rows),
        TP(a_sample_of_the_future_makes_repairs_and_not_many),
        TP(the_first_and_the_last_times_there_are),
    };
    return run_rollups_on_each(tests, ARRAY_LEN(tests));
}
