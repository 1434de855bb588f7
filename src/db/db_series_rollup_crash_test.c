/*
 * db_series_rollup_crash_test.c - rollups say what the samples say after a power cut at each write
 * of a small life, and while each read, write and allocation of the job fails; what was
 * acknowledged is there, and writing it again changes nothing.
 */
#include "db/db_series_rollup_test_util.h"

#include "base/alloc.h"

#define ROUNDS 12
#define OF_ROUND 49 /* moments of a round: 48 in a row, and a late one */

/* What is acknowledged of each host. What was under way at the end may be there or not. */
static struct known {
    bool is_there[2][ROUNDS * OF_ROUND];
    double value[2][ROUNDS * OF_ROUND];
    int64_t open_first; /* what is under way changes these times at most */
    int64_t open_last;
} known;

static int64_t moment(int i)
{
    int n = i / OF_ROUND;
    int k = i % OF_ROUND;
    return k < 48 ? n * 12 * HOUR + k * MIN / 2 : n * 6 * HOUR + 20 * MIN + 1;
}

static void know_nothing(void)
{
    known = (struct known){.open_first = INT64_MAX, .open_last = INT64_MIN};
}

static void begin_change(int64_t first, int64_t last)
{
    known.open_first = first;
    known.open_last = last;
}

static void end_change(void)
{
    begin_change(INT64_MAX, INT64_MIN);
}

/* Moments of a round, from k on, of both hosts. */
static vv_status write_moments(vv_table *t, int n, int k, int count, vv_error *err)
{
    int64_t time[OF_ROUND];
    double value[OF_ROUND];
    vv_status st = VV_OK;
    for (int i = 0; i < count; i++) {
        time[i] = moment(n * OF_ROUND + k + i);
        value[i] = n + k + i;
    }
    for (size_t h = 0; st == VV_OK && h < 2; h++) {
        begin_change(time[0], time[count - 1]);
        st = append(t, "t", hosts[h], time, value, NULL, (size_t)count, NULL, err);
        for (int i = 0; st == VV_OK && i < count; i++) {
            known.is_there[h][n * OF_ROUND + k + i] = true;
            known.value[h][n * OF_ROUND + k + i] = value[i];
        }
        if (st == VV_OK)
            end_change();
    }
    return st;
}

static vv_status delete_hour(vv_table *t, int64_t from, vv_error *err)
{
    vv_matcher m = {VV_MATCH_EQ, S("host"), S("a")};
    begin_change(from, from + HOUR - 1);
    vv_status st = vv_series_delete(t, &m, 1, from, from + HOUR, NULL, err);
    for (int i = 0; st == VV_OK && i < ROUNDS * OF_ROUND; i++)
        known.is_there[0][i] &= moment(i) < from || moment(i) >= from + HOUR;
    if (st == VV_OK)
        end_change();
    return st;
}

static void check_known(vv_table *t)
{
    for (size_t h = 0; h < 2; h++) {
        read_samples(t, hosts[h], -DAY, 100 * DAY);
        for (int i = 0; i < ROUNDS * OF_ROUND; i++) {
            int64_t at = moment(i);
            size_t k = 0;
            if (at >= known.open_first && at <= known.open_last)
                continue;
            while (k < samples.count && samples.time[k] < at)
                k++;
            bool is_there = k < samples.count && samples.time[k] == at;
            if (is_there != known.is_there[h][i] ||
                (is_there && samples.value[k] != known.value[h][i]))
                fail_msg("host %s: moment %d was acknowledged and is not so", hosts[h], i);
        }
    }
}

static vv_status work_a_little(vv_db *db, vv_error *err)
{
    vv_table *t = NULL;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = VV_TABLE_SERIES;
    opt.future_ns = INT64_MAX;
    opt.retention_ns = 50000 * DAY; /* kept for ever, so few samples would get no rows */
    opt.out_of_order_ns = MIN;
    const vv_keep_rule rule = {{VV_MATCH_RE, S("host"), S("[b-d]")}, 40000 * DAY};
    opt.keep_rules = &rule;
    opt.keep_rule_count = 1;
    opt.partitions = test_partitions;
    opt.if_not_exists = true;
    vv_status st = vv_table_create(db, "plant", "sensors", &opt, &t, err);
    for (int n = 0; st == VV_OK && n < ROUNDS; n++) {
        st = write_moments(t, n, 0, 48, err);
        if (st == VV_OK)
            st = write_moments(t, n, 48, 1, err); /* a late one */
        if (n % 4 == 3)
            vv_clock_sleep(db->env->clock, DB_SERIES_DIRTY_QUIET_NS);
        for (int i = 0; st == VV_OK && i < n % 4; i++)
            step_once(db);
        if (st == VV_OK && n % 5 == 4)
            st = delete_hour(t, n * 6 * HOUR, err);
        if (st == VV_OK && n % 7 == 6)
            st = vv_checkpoint(db, err);
    }
    if (st == VV_OK)
        (void)roll_all(db);
    vv_table_close(t);
    return st;
}

static void check_after(vv_db *db)
{
    vv_error err = {0};
    vv_table *t = NULL;
    vv_status st = vv_table_open(db, "plant", "sensors", &t, &err);
    if (st == VV_NOT_FOUND)
        return;
    assert_ok(st, err);
    for (int round = 0; round < 2; round++) {
        check_known(t);
        for (size_t h = 0; h < 2; h++) {
            check(t, hosts[h], -DAY, 100 * DAY, MIN, 0, VV_AGG_COUNT);
            check(t, hosts[h], -DAY, 100 * DAY, HOUR, 0, VV_AGG_SUM);
            check(t, hosts[h], -DAY, 100 * DAY, DAY, 0, VV_AGG_LAST);
        }
        (void)roll_all(db);
    }
    assert_ok(work_a_little(db, &err), err); /* much of it is there already */
    check_known(t);
    for (size_t h = 0; h < 2; h++)
        check(t, hosts[h], -DAY, 100 * DAY, HOUR, 0, VV_AGG_SUM);
    vv_table_close(t);
}

static void prop_a_power_cut_leaves_rows_that_are_true(void **state)
{
    sim_world *w = *state;
    uint64_t seed = vv_test_seed(31);
    bool cut = true;
    sim_end(w);
    for (uint64_t at = 1; cut; at += vv_test_count("VV_CRASH_STEP", 1)) {
        vv_error err = {0};
        know_nothing();
        w->disk = vio_sim_disk_create();
        vio_sim_options sim = {.seed = seed + at, .cut_after_writes = at, .tear = true};
        assert_ok(sim_on(w, &sim, &err), err);
        vv_status st = sim_open_db(w, &err);
        if (st == VV_OK)
            st = work_a_little(w->db, &err);
        cut = st != VV_OK;
        db_abandon(w->db);
        sim_off(w);
        assert_ok(sim_on(w, &(vio_sim_options){.seed = seed}, &err), err);
        assert_ok(sim_open_db(w, &err), err);
        check_after(w->db);
        sim_end(w);
    }
}

static void walk_every_io_of_the_job_may_fail(void **state)
{
    sim_world *w = *state;
    know_nothing();
    for (uint64_t n = 1; n < 60; n += 2) {
        vv_error err = {0};
        sim_reopen(w);
        assert_ok(work_a_little(w->db, &err), err);
        sim_reopen_failing(w, n);
        vv_table *t = rollup_table(w->db, 0, 0, 0);
        int64_t time = 3 * HOUR + (int64_t)n;
        double value = 4;
        (void)append(t, "t", "a", &time, &value, NULL, 1, NULL, &err);
        (void)roll_all(w->db);
        vv_table_close(t);
        vio_sim_heal(w->disk);
        db_abandon(w->db);
        sim_off(w);
        sim_start(w);
        check_after(w->db);
    }
}

static void walk_every_allocation_may_fail(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    unsigned failures = 0;
    assert_ok(work_a_little(w->db, &err), err);
    vv_table *t = rollup_table(w->db, 0, 0, 0);
    (void)roll_all(w->db);
    for (int64_t n = 0; n < 150; n++) {
        append_one(t, "a", 5 * HOUR + n, (double)n);
        uint64_t before = stats_of(w->db).rollup_failures;
        vv_alloc_fail_after(n, 0);
        (void)roll_all(w->db);
        vv_status st = query(t, "a", 0, 10 * DAY, HOUR, 0, VV_AGG_SUM, false, &points, &err);
        vv_alloc_fail_after(-1, 0);
        assert_true(st == VV_OK || st == VV_NO_MEMORY);
        failures += stats_of(w->db).rollup_failures > before;
        check(t, "a", 0, 10 * DAY, HOUR, 0, VV_AGG_SUM);
    }
    assert_true(failures > 10);
    (void)roll_all(w->db);
    append_one(t, "a", 5 * HOUR, 1);
    assert_true(roll_all(w->db) > 0);
    check_all(t, "a");
    vv_table_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TP(prop_a_power_cut_leaves_rows_that_are_true),
        TP(walk_every_io_of_the_job_may_fail),
        TP(walk_every_allocation_may_fail),
    };
    return run_rollups_on_each(tests, ARRAY_LEN(tests));
}
