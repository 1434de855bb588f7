/*
 * db_series_rollup_test.c - rollups say what the samples say: under random writes, late ones,
 * deletions, restarts and where samples expire. The samples that a query without an aggregate gives
 * are what every window is compared with.
 */
#include "db/db_series_rollup_test_util.h"

#include "base/point.h"
#include "base/rng.h"
#include "db/db_capture.h"

/* ---- a random life ---- */

static void write_run(vv_table *t, vv_rng *rng, int64_t base, int64_t *front, bool whole)
{
    enum { MANY = 3000 };
    static int64_t time[MANY];
    static double value[MANY];
    static uint32_t quality[MANY];
    vv_error err = {0};
    unsigned h = (unsigned)vv_rng_below(rng, 2);
    bool is_late = vv_rng_below(rng, 3) == 0;
    size_t n = is_late ? 1 + vv_rng_below(rng, 20) : 200 + vv_rng_below(rng, MANY - 200);
    int64_t gap = (1 + (int64_t)vv_rng_below(rng, 12)) * SEC + (int64_t)vv_rng_below(rng, 3);
    int64_t at =
        is_late ? base + (int64_t)vv_rng_below(rng, (uint64_t)(front[h] - base) + 1) : front[h];
    for (size_t i = 0; i < n; i++) {
        time[i] = at + (int64_t)i * gap;
        value[i] = (double)vv_rng_below(rng, 1000) - 300;
        value[i] = whole ? value[i] : value[i] * 1.1 + 0x1p-20 * value[n - 1 - i];
        quality[i] = vv_rng_below(rng, 10) == 0 ? VV_QUALITY_BAD : 0;
    }
    assert_ok(append(t, "t", hosts[h], time, value, quality, n, NULL, &err), err);
    if (!is_late)
        front[h] = time[n - 1] + gap;
}

static void delete_range(vv_table *t, vv_rng *rng, int64_t base, const int64_t *front)
{
    vv_error err = {0};
    unsigned h = (unsigned)vv_rng_below(rng, 2);
    int64_t start = base + (int64_t)vv_rng_below(rng, (uint64_t)(front[h] - base) + 1);
    int64_t len = (int64_t)vv_rng_below(rng, vv_rng_below(rng, 3) == 0 ? 3 * DAY : 3 * HOUR);
    vv_matcher match = {VV_MATCH_EQ, S("host"), S(hosts[h])};
    if (vv_rng_below(rng, 4) == 0)
        start = start / DAY * DAY;
    assert_ok(vv_series_delete(t, &match, 1, start, start + len, NULL, &err), err);
}

static void check_some(vv_table *t, vv_rng *rng, int64_t base, const int64_t *front)
{
    static const int64_t steps[] = {0,    0,        MIN, 5 * MIN,  HOUR,
                                    HOUR, 6 * HOUR, DAY, 90 * SEC, 90 * MIN};
    unsigned h = (unsigned)vv_rng_below(rng, 2);
    int64_t step = steps[vv_rng_below(rng, ARRAY_LEN(steps))];
    int64_t range = front[h] - base + 2 * HOUR;
    int64_t start = base - HOUR + (int64_t)vv_rng_below(rng, (uint64_t)range);
    int64_t end = start + (int64_t)vv_rng_below(rng, (uint64_t)(base + range - start) + 1);
    if (vv_rng_below(rng, 2) == 0) {
        start = start / HOUR * HOUR;
        end = end / HOUR * HOUR;
    }
    if (end < start)
        end = start;
    int64_t offset = vv_rng_below(rng, 3) == 0 ? 7 * MIN : 0;
    check(t, hosts[h], start, end, step, offset, kinds[vv_rng_below(rng, ARRAY_LEN(kinds))]);
}

static void live(sim_world *w, uint64_t seed, int64_t retention, bool whole, int64_t base)
{
    vv_rng rng;
    vv_rng_init(&rng, seed);
    int64_t front[2] = {base, base};
    uint64_t days = 0;
    uint64_t repairs = 0;
    vv_table *t = rollup_table(w->db, retention, 0, 0);
    for (int step = 0; step < 160; step++) {
        unsigned what = (unsigned)vv_rng_below(&rng, 40);
        if (what < 26) {
            write_run(t, &rng, base, front, whole);
        } else if (what < 29) {
            delete_range(t, &rng, base, front);
        } else if (what == 29) {
            flush_all(w->db);
        } else if (what == 30) {
            vv_error err = {0};
            assert_ok(vv_compact(t, S(""), S(""), &err), err);
        } else if (what == 31) {
            days += stats_of(w->db).rollup_days;
            repairs += stats_of(w->db).rollup_repairs;
            vv_table_close(t);
            sim_reopen(w);
            t = rollup_table(w->db, retention, 0, 0);
        } else {
            vv_clock_sleep(w->env.clock, (int64_t)vv_rng_below(&rng, 12) * SEC);
            for (unsigned n = (unsigned)vv_rng_below(&rng, 80); n > 0; n--)
                step_once(w->db);
        }
        for (int i = 0; i < 3; i++)
            check_some(t, &rng, base, front);
    }
    (void)roll_all(w->db);
    for (size_t h = 0; h < 2; h++)
        for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
            check(t, hosts[h], base, front[h], HOUR, 0, kinds[i]);
    days += stats_of(w->db).rollup_days;
    repairs += stats_of(w->db).rollup_repairs;
    assert_true(days > 5);
    assert_true(repairs > 0);
    assert_int_equal(stats_of(w->db).rollup_failures, 0);
    vv_table_close(t);
}

static void prop_rollups_say_what_the_samples_say(void **state)
{
    sim_world *w = *state;
    live(w, vv_test_seed(21), 0, true, 5 * DAY + 3 * HOUR);
}

static void prop_they_do_before_1970_and_of_any_double(void **state)
{
    sim_world *w = *state;
    live(w, vv_test_seed(22), 0, false, -3 * DAY - 5);
}

static void prop_they_do_where_samples_expire_later(void **state)
{
    sim_world *w = *state;
    int64_t now = vv_clock_wall(w->env.clock);
    live(w, vv_test_seed(23), 1000 * DAY, true, now / DAY * DAY + 4 * HOUR);
}

/* ---- a life in which samples expire ---- */

#define LIFE_MINUTES (24u * 1440)

/* The value of each minute, whose sample lies anywhere in it; NAN: it has none. */
static double lived[2][LIFE_MINUTES];

static int64_t moment_of(int64_t base, int64_t minute)
{
    return base + minute * MIN +
           (int64_t)((uint64_t)minute * UINT64_C(0x9e3779b97f4a7c15) >> 32) * 13;
}

/* Some minutes in some order, with new values. */
static void live_minutes(vv_table *t, vv_rng *rng, int64_t base, unsigned h, int64_t from,
                         int64_t to, uint64_t of_ten)
{
    enum { MANY = 512 };
    int64_t time[MANY];
    double value[MANY];
    vv_error err = {0};
    size_t n = 0;
    for (int64_t minute = from; minute < to && n < MANY; minute++) {
        if (vv_rng_below(rng, 10) >= of_ten)
            continue;
        size_t k = vv_rng_below(rng, n + 1);
        time[n] = time[k];
        value[n++] = value[k];
        time[k] = moment_of(base, minute);
        value[k] = lived[h][minute] = (double)vv_rng_below(rng, 100000);
    }
    if (n > 0)
        assert_ok(append(t, "t", hosts[h], time, value, NULL, n, NULL, &err), err);
}

static void die_minutes(vv_table *t, vv_rng *rng, int64_t base, unsigned h, int64_t from)
{
    vv_error err = {0};
    vv_matcher m = {VV_MATCH_EQ, S("host"), S(hosts[h])};
    int64_t to = from + 1 + (int64_t)vv_rng_below(rng, 200);
    assert_ok(vv_series_delete(t, &m, 1, base + from * MIN, base + to * MIN, NULL, &err), err);
    for (int64_t i = from; i < to && i < LIFE_MINUTES; i++)
        lived[h][i] = NAN;
}

/* Windows of some minutes, from the first one to the last. */
static void check_life(vv_table *t, int64_t base, unsigned h, int64_t from, int64_t to,
                       int64_t minutes)
{
    static answer sums;
    vv_error err = {0};
    int64_t start = base + from * MIN;
    int64_t end = base + to * MIN;
    assert_ok(query(t, hosts[h], start, end, minutes * MIN, 0, VV_AGG_COUNT, false, &points, &err),
              err);
    assert_ok(query(t, hosts[h], start, end, minutes * MIN, 0, VV_AGG_SUM, false, &sums, &err),
              err);
    size_t n = 0;
    for (int64_t i = from; i < to; i += minutes) {
        double count = 0;
        double sum = 0;
        for (int64_t k = i; k < i + minutes && k < to; k++) {
            count += !isnan(lived[h][k]);
            sum += isnan(lived[h][k]) ? 0 : lived[h][k];
        }
        if (count == 0)
            continue;
        if (n >= points.count || points.time[n] != base + i * MIN || points.value[n] != count ||
            sums.value[n] != sum)
            fail_msg("host %u, minute %lld by %lld: %g samples at %lld instead of %g", h,
                     (long long)i, (long long)minutes, n < points.count ? points.value[n] : NAN,
                     n < points.count ? (long long)(points.time[n] - base) / MIN : -1, count);
        n++;
    }
    assert_int_equal(points.count, n);
}

/* Samples are kept for four days, minutes for eight, hours for ever: what is late, changed or
 * deleted while there are samples is in the rows that stay. */
static void prop_rows_that_outlive_their_samples_have_all_of_them(void **state)
{
    sim_world *w = *state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(24));
    int64_t base = vv_clock_wall(w->env.clock) / DAY * DAY + DAY;
    int64_t front = 0;
    for (size_t i = 0; i < 2 * (size_t)LIFE_MINUTES; i++)
        lived[i / LIFE_MINUTES][i % LIFE_MINUTES] = NAN;
    vv_table *t = rollup_table(w->db, 4 * DAY, 8 * DAY, INT64_MAX);
    for (int step = 0;; step++) {
        int64_t next = front + 60 * (1 + (int64_t)vv_rng_below(&rng, 8));
        if (next >= (int64_t)LIFE_MINUTES)
            break;
        vv_clock_sleep(w->env.clock, base + next * MIN - vv_clock_wall(w->env.clock));
        for (unsigned h = 0; h < 2; h++) {
            live_minutes(t, &rng, base, h, front, next, 9);
            int64_t late = next > 1440 ? next - 1440 : 0;
            late += (int64_t)vv_rng_below(&rng, (uint64_t)(next - late));
            live_minutes(t, &rng, base, h, late, late + 60 < next ? late + 60 : next, 5);
            if (vv_rng_below(&rng, 4) == 0)
                die_minutes(t, &rng, base, h, late);
        }
        front = next;
        unsigned what = (unsigned)vv_rng_below(&rng, 12);
        if (what == 0) {
            vv_error err = {0};
            assert_ok(vv_compact(t, S(""), S(""), &err), err);
        } else if (what == 1) {
            vv_table_close(t);
            sim_reopen(w);
            t = rollup_table(w->db, 4 * DAY, 8 * DAY, INT64_MAX);
        }
        if (what < 8 || step % 6 == 0)
            (void)roll_all(w->db);
        unsigned h = (unsigned)vv_rng_below(&rng, 2);
        check_life(t, base, h, 0, next, 60);
        check_life(t, base, h, next > 7 * 1440 ? next - 7 * 1440 : 0, next, 1);
    }
    assert_int_equal(stats_of(w->db).rollup_failures, 0);
    read_samples(t, hosts[0], INT64_MIN, INT64_MAX);
    assert_true(samples.count < 5 * 1440); /* the rest is in rows alone */
    vv_table_close(t);
}

/* ---- copies ---- */

static void a_copy_has_the_rows_and_the_marks(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    sim_end(w);
    w->disk = vio_sim_disk_create();
    assert_ok(sim_on(w, &(vio_sim_options){.seed = 1, .root = "store"}, &err), err);
    assert_ok(sim_open_db(w, &err), err);
    vv_table *t = rollup_table(w->db, 0, 0, 0);
    for (size_t h = 0; h < 2; h++)
        fill_days(t, hosts[h], 10 * DAY, 14 * DAY);
    (void)roll_all(w->db);
    assert_ok(vv_checkpoint(w->db, &err), err);
    for (size_t h = 0; h < 2; h++)
        append_one(t, hosts[h], 11 * DAY + 1, 1e6); /* in the log alone */
    assert_ok(db_checkpoint_at(w->db, "/copy", &err), err);
    append_one(t, "a", 12 * DAY + 1, 2e6); /* not in the copy */
    vv_table_close(t);
    assert_ok(vv_db_close(w->db, &err), err);
    sim_off(w);
    assert_ok(sim_on(w, &(vio_sim_options){.seed = 1, .root = "copy"}, &err), err);
    assert_ok(sim_open_db(w, &err), err);
    t = rollup_table(w->db, 0, 0, 0);
    for (int round = 0; round < 2; round++) {
        for (size_t h = 0; h < 2; h++) {
            check(t, hosts[h], 10 * DAY, 14 * DAY, HOUR, 0, VV_AGG_MAX);
            assert_true(points.count == 96 && points.value[24] == 1e6 && points.value[48] < 1e3);
        }
        assert_int_equal(roll_all(w->db), round == 0 ? 2 : 0);
    }
    assert_int_equal(stats_of(w->db).rollup_repairs, 2);
    vv_table_close(t);
}

/* ---- one by one ---- */

static void a_late_sample_marks_its_day_until_it_is_repaired(void **state)
{
    sim_world *w = *state;
    vv_table *t = rollup_table(w->db, 0, 0, 0);
    fill_days(t, "a", 10 * DAY, 13 * DAY);
    assert_int_equal(roll_all(w->db), 2); /* the third is not closed */
    assert_true(has_rows(t, 1, 10) && has_rows(t, 0, 11) && !has_rows(t, 1, 12));
    append_one(t, "a", 12 * DAY + 1, 5); /* behind, but nothing is rolled up there */
    assert_false(is_marked(t, 12));
    append_one(t, "a", 10 * DAY + 7 * HOUR + 1, 100000);
    assert_true(is_marked(t, 10));
    check_all(t, "a");
    assert_int_equal(roll_all(w->db), 1);
    assert_false(is_marked(t, 10));
    assert_int_equal(stats_of(w->db).rollup_repairs, 1);
    check_all(t, "a");
    /* Also where there was nothing before, and after a restart. */
    vv_table_close(t);
    sim_reopen(w);
    t = rollup_table(w->db, 0, 0, 0);
    append_one(t, "a", 3 * DAY, 7);
    assert_true(is_marked(t, 3));
    check_all(t, "a");
    assert_int_equal(roll_all(w->db), 1);
    assert_false(is_marked(t, 3));
    check_all(t, "a");
    vv_table_close(t);
}

static vv_table *late_table;

static void write_late(void *ctx, const char *name)
{
    if (strcmp(name, "rollup.before_commit") == 0 && *(int *)ctx > 0) {
        --*(int *)ctx;
        append_one(late_table, "a", 10 * DAY + 5 * HOUR + *(int *)ctx, 1e6);
    }
}

static void a_sample_between_reading_and_writing_is_not_lost(void **state)
{
    sim_world *w = *state;
    int left = 3;
    late_table = rollup_table(w->db, 0, 0, 0);
    fill_days(late_table, "a", 10 * DAY, 12 * DAY);
    vv_point_set(write_late, &left);
    for (int i = 0; i < 4; i++) /* a step that is too late tries again */
        (void)roll_all(w->db);
    vv_point_set(NULL, NULL);
    assert_int_equal(left, 0);
    assert_false(is_marked(late_table, 10));
    check_all(late_table, "a");
    vv_table_close(late_table);
}

static void deletions_take_their_rows_along(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = rollup_table(w->db, 0, 0, 0);
    vv_matcher m = {VV_MATCH_EQ, S("host"), S("a")};
    fill_days(t, "a", 10 * DAY, 16 * DAY);
    assert_int_equal(roll_all(w->db), 5);
    assert_ok(vv_series_delete(t, &m, 1, 10 * DAY + HOUR, 13 * DAY + 30 * SEC, NULL, &err), err);
    assert_true(has_rows(t, 1, 10) && is_marked(t, 10));
    assert_true(!has_rows(t, 1, 11) && !is_marked(t, 11) && !has_rows(t, 0, 12));
    assert_true(is_marked(t, 13));
    check_all(t, "a");
    assert_int_equal(roll_all(w->db), 2);
    check_all(t, "a");
    assert_ok(vv_series_drop(t, &m, 1, NULL, &err), err);
    assert_false(has_rows(t, 1, 10));
    fill_days(t, "a", 10 * DAY, 12 * DAY);
    (void)roll_all(w->db);
    check_all(t, "a");
    vv_table_close(t);
}

static size_t count_of(vv_table *t, int64_t start, int64_t end, int64_t step)
{
    vv_error err = {0};
    assert_ok(query(t, "a", start, end, step, 0, VV_AGG_COUNT, false, &points, &err), err);
    return points.count;
}

static void rows_stay_where_samples_have_expired(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    int64_t now = vv_clock_wall(w->env.clock);
    int64_t base = now / DAY * DAY;
    vv_table *t = rollup_table(w->db, 10 * DAY, 20 * DAY, INT64_MAX);
    fill_days(t, "a", base, base + 4 * DAY);
    assert_int_equal(roll_all(w->db), 3);
    /* Two days have expired but for half an hour. */
    vv_clock_sleep(w->env.clock, base + 12 * DAY - HOUR / 2 - now);
    read_samples(t, "a", INT64_MIN, INT64_MAX);
    assert_true(samples.time[0] > base + DAY && samples.time[0] < base + 2 * DAY);
    assert_int_equal(count_of(t, base, base + 4 * DAY, HOUR), 96);
    assert_int_equal(count_of(t, base, base + 4 * DAY, MIN), 4 * 1440);
    assert_true(count_of(t, base, base + 4 * DAY, 90 * SEC) <= 2 * 960 + 21);
    assert_int_equal(count_of(t, base, base + 4 * DAY, HOUR), 96);
    for (size_t i = 0; i < 96; i++)
        assert_true(points.value[i] == 360);
    /* A deletion there, and a late sample near the edge. */
    vv_matcher m = {VV_MATCH_EQ, S("host"), S("a")};
    assert_ok(vv_series_delete(t, &m, 1, base + 5 * HOUR, base + 7 * HOUR, NULL, &err), err);
    append_one(t, "a", base + 2 * DAY + HOUR + 1, 5);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(count_of(t, base, base + 4 * DAY, HOUR), 94);
        assert_true(points.value[0] == 360 && points.value[2 * 24 - 2 + 1] == 361);
        assert_int_equal(count_of(t, base, base + 4 * DAY, MIN), 4 * 1440 - 120);
        (void)roll_all(w->db);
        assert_int_equal(stats_of(w->db).rollup_repairs, 2);
    }
    /* Then the minutes go, and the hours stay. */
    vv_clock_sleep(w->env.clock, 100 * DAY);
    assert_int_equal(count_of(t, base, base + 4 * DAY, MIN), 0);
    assert_int_equal(count_of(t, base, base + 3 * DAY, HOUR), 70);
    vv_table_close(t);
}

static void short_retentions_do_not_wait_for_the_day(void **state)
{
    sim_world *w = *state;
    int64_t now = vv_clock_wall(w->env.clock);
    int64_t base = now / DAY * DAY;
    vv_table *t = rollup_table(w->db, 6 * HOUR, INT64_MAX, INT64_MAX);
    vv_clock_sleep(w->env.clock, base + DAY - now);
    for (int hour = 0; hour < 24; hour++) {
        fill_days(t, "a", base + DAY + hour * HOUR, base + DAY + (hour + 1) * HOUR);
        (void)roll_all(w->db);
        vv_clock_sleep(w->env.clock, HOUR);
    }
    assert_int_equal(count_of(t, base + DAY, base + 2 * DAY, HOUR), 24);
    for (size_t i = 0; i < 24; i++)
        assert_true(points.value[i] == 360);
    vv_table_close(t);
}

static void tables_without_rollups_have_none(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = NULL;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = VV_TABLE_SERIES;
    opt.future_ns = INT64_MAX;
    opt.no_rollups = true;
    opt.partitions = test_partitions;
    assert_ok(vv_table_create(w->db, "plant", "sensors", &opt, &t, &err), err);
    fill_days(t, "a", 0, 3 * DAY);
    assert_int_equal(roll_all(w->db), 0);
    assert_false(has_rows(t, 1, 0));
    check_all(t, "a");
    vv_table_close(t);
}

/* What could not work is told when the table is made. */
static void tables_that_could_not_work_are_refused(void **state)
{
    static const struct {
        const char *says; /* of what is wrong; NULL: nothing is */
        vv_table_options opt;
    } cases[] = {
        {NULL, {.kind = VV_TABLE_SERIES, .retention_ns = DAY, .out_of_order_ns = DAY}},
        {NULL, {.kind = VV_TABLE_SERIES, .rollup_retention_ns = {HOUR + 1, INT64_MAX}}},
        {"alone", {.kind = VV_TABLE_KV, .no_rollups = true}},
        {"alone", {.kind = VV_TABLE_RECORD, .rollup_retention_ns = {DAY, 0}}},
        {"alone", {.kind = VV_TABLE_KV, .retention_ns = DAY}},
        {"0 or more", {.kind = VV_TABLE_SERIES, .rollup_retention_ns = {0, -1}}},
        {"0 or more", {.kind = VV_TABLE_SERIES, .retention_ns = -1}},
        {"before they are late",
         {.kind = VV_TABLE_SERIES, .retention_ns = DAY, .out_of_order_ns = DAY + 1}},
        {"rollups of minutes cannot be kept",
         {.kind = VV_TABLE_SERIES, .no_rollups = true, .rollup_retention_ns = {DAY, 0}}},
        {"rollups of hours cannot be kept",
         {.kind = VV_TABLE_SERIES, .no_rollups = true, .rollup_retention_ns = {0, INT64_MAX}}},
        {"minutes would be gone before they are made",
         {.kind = VV_TABLE_SERIES, .rollup_retention_ns = {HOUR, 0}}},
        {"hours would be gone before they are made",
         {.kind = VV_TABLE_SERIES, .out_of_order_ns = DAY, .rollup_retention_ns = {0, DAY}}},
        {"9 partitions", {.kind = VV_TABLE_SERIES, .partitions = 9}},
    };
    sim_world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_error err = {0};
        vv_table_options opt = cases[i].opt;
        opt.size = sizeof opt;
        opt.version_retention_ns = -1;
        opt.if_not_exists = true;
        vv_status st = vv_table_create(w->db, "plant", "t", &opt, NULL, &err);
        bool is_right = cases[i].says == NULL
                            ? st == VV_OK
                            : st == VV_INVALID && strstr(err.msg, cases[i].says) != NULL;
        if (!is_right)
            fail_msg("case %zu: status %d: %s", i, (int)st, err.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TP(prop_rollups_say_what_the_samples_say),
        TP(prop_they_do_before_1970_and_of_any_double),
        TP(prop_they_do_where_samples_expire_later),
        TP(prop_rows_that_outlive_their_samples_have_all_of_them),
        TP(a_copy_has_the_rows_and_the_marks),
        TP(a_late_sample_marks_its_day_until_it_is_repaired),
        TP(a_sample_between_reading_and_writing_is_not_lost),
        TP(deletions_take_their_rows_along),
        TP(rows_stay_where_samples_have_expired),
        TP(short_retentions_do_not_wait_for_the_day),
        TP(tables_without_rollups_have_none),
        TP(tables_that_could_not_work_are_refused),
    };
    return run_rollups_on_each(tests, ARRAY_LEN(tests));
}
