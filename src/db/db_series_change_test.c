/*
 * db_series_change_test.c - tables of series, on each engine: bounds, limits, deletions, retention,
 * newest samples, windows.
 */
#include "base/alloc.h"
#include "db/db_series_int.h"
#include "db/db_series_test_util.h"

#include "io/vio_sim.h"

static int count_series(void *ctx, const vv_series_info *info)
{
    (void)info;
    ++*(size_t *)ctx;
    return 0;
}

static size_t listed(vv_table *t, const vv_matcher *m, size_t n)
{
    vv_error err = {0};
    size_t count = 0;
    assert_ok(vv_series_list(t, m, n, 0, count_series, &count, &err), err);
    return count;
}

static vv_matcher by_host(const char *host)
{
    return (vv_matcher){VV_MATCH_EQ, S("host"), S(host)};
}

static void matchers_pick_series(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    static const char *const hosts[] = {"alpha", "alps", "beta", "b.ta"};
    for (int i = 0; i < 4; i++)
        append_one(t, hosts[i], 1, i);
    const struct {
        vv_match op;
        const char *name, *value;
        size_t want;
    } cases[] = {
        {VV_MATCH_EQ, "host", "alpha", 1}, {VV_MATCH_EQ, "host", "alp", 0},
        {VV_MATCH_NE, "host", "alpha", 3}, {VV_MATCH_PREFIX, "host", "al", 2},
        {VV_MATCH_PREFIX, "host", "", 4},  {VV_MATCH_RE, "host", "al.*", 2},
        {VV_MATCH_RE, "host", "b.ta", 2},  {VV_MATCH_RE, "host", "b\\.ta", 1},
        {VV_MATCH_NRE, "host", "al.*", 2}, {VV_MATCH_EQ, "rack", "", 4},
        {VV_MATCH_NE, "rack", "", 0},      {VV_MATCH_RE, "rack", ".*", 4},
        {VV_MATCH_EQ, "__name__", "t", 4}, {VV_MATCH_RE, "host", "alpha|beta", 2},
    };
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            vv_matcher m[2] = {{cases[i].op, S(cases[i].name), S(cases[i].value)},
                               {VV_MATCH_EQ, S("__name__"), S("t")}};
            if (listed(t, m, 1) != cases[i].want || listed(t, m, 2) != cases[i].want)
                fail_msg("matcher %zu: %zu", i, listed(t, m, 1));
        }
        vv_table_close(t);
        sim_reopen(w);
        t = any_time_table(w->db);
    }
    vv_error err = {0};
    size_t n = 0;
    vv_matcher wrong = {VV_MATCH_RE, S("host"), S("(")};
    assert_int_equal(vv_series_list(t, &wrong, 1, 0, count_series, &n, &err), VV_INVALID);
    wrong = (vv_matcher){VV_MATCH_EQ, S(""), S("x")};
    assert_int_equal(vv_series_list(t, &wrong, 1, 0, count_series, &n, &err), VV_INVALID);
    assert_int_equal(vv_series_list(t, NULL, 0, 3, count_series, &n, &err), VV_BUSY);
    vv_table_close(t);
}

static void a_regular_expression_bomb_is_bounded(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    char host[900];
    memset(host, 'a', sizeof host);
    host[sizeof host - 1] = '\0';
    for (int i = 0; i < 20; i++) {
        host[0] = (char)('a' + i);
        append_one(t, host, 1, i);
    }
    vv_error err = {0};
    size_t n = 0;
    vv_matcher bomb = {VV_MATCH_RE, S("host"), S("((a|b|c)*)*((a|aa)+)+z{0,900}y")};
    vv_status st = vv_series_list(t, &bomb, 1, 0, count_series, &n, &err);
    assert_true(st == VV_OK || st == VV_BUSY);
    assert_int_equal(n, 0);
    vv_table_close(t);
}

static void labels_are_checked(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    vv_samples *s = vv_samples_create(t);
    vv_error err = {0};
    const double v = 1;
    const int64_t at = 1;
    static char big[1001];
    memset(big, 'x', sizeof big);
    assert_int_equal(vv_samples_f64(s, &at, &v, NULL, 1, &err), VV_INVALID);
    vv_label twice[] = {{S("a"), S("1")}, {S("b"), S("1")}, {S("a"), S("2")}};
    assert_int_equal(vv_samples_series(s, twice, 3, VV_F64, &err), VV_INVALID);
    vv_label none[] = {{S("a"), S("")}};
    assert_int_equal(vv_samples_series(s, none, 1, VV_F64, &err), VV_INVALID);
    vv_label zero[] = {{S("a"), vv_slice_of("x\0y", 3)}};
    assert_int_equal(vv_samples_series(s, zero, 1, VV_F64, &err), VV_INVALID);
    vv_label large[] = {{S("a"), vv_slice_of(big, sizeof big)}};
    assert_int_equal(vv_samples_series(s, large, 1, VV_F64, &err), VV_INVALID);
    assert_int_equal(vv_samples_series(s, twice, 1, (vv_sample_type)9, &err), VV_INVALID);
    /* In whatever order, an empty one or not: one series. */
    vv_label one[] = {{S("b"), S("2")}, {S("a"), S("1")}, {S("c"), S("")}};
    vv_label two[] = {{S("a"), S("1")}, {S("b"), S("2")}};
    assert_ok(vv_samples_series(s, one, 3, VV_F64, &err), err);
    assert_ok(vv_samples_f64(s, &at, &v, NULL, 1, &err), err);
    assert_ok(vv_samples_series(s, two, 2, VV_F64, &err), err);
    assert_ok(vv_samples_f64(s, &at, &v, NULL, 1, &err), err);
    assert_int_equal(vv_samples_series(s, two, 2, VV_I64, &err), VV_INVALID);
    assert_ok(vv_series_append(s, VV_DURABLE_DEFAULT, NULL, &err), err);
    assert_int_equal(listed(t, NULL, 0), 1);
    vv_samples_clear(s);
    assert_ok(vv_samples_series(s, two, 2, VV_I64, &err), err);
    assert_ok(vv_samples_i64(s, &at, &at, NULL, 1, &err), err);
    assert_int_equal(vv_series_append(s, VV_DURABLE_DEFAULT, NULL, &err), VV_INVALID);
    assert_non_null(strstr(err.msg, "b=2"));
    vv_samples_destroy(s);
    assert_int_equal(vv_put(t, S("S"), S("x"), &err), VV_INVALID);
    assert_int_equal(vv_delete(t, S("S"), &err), VV_INVALID);
    vv_table_close(t);
}

static void every_type_comes_back(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    vv_error err = {0};
    vv_samples *s = vv_samples_create(t);
    const int64_t time[] = {2, 1, 3};
    const int64_t ints[] = {INT64_MIN, INT64_MAX, 0};
    const bool bools[] = {true, false, true};
    const vv_slice strings[] = {S("two"), S(""), S("drei")};
    assert_ok(begin_series(s, "i", "a", VV_I64, &err), err);
    assert_ok(vv_samples_i64(s, time, ints, NULL, 3, &err), err);
    assert_ok(begin_series(s, "b", "a", VV_BOOL, &err), err);
    assert_ok(vv_samples_bool(s, time, bools, NULL, 3, &err), err);
    assert_ok(begin_series(s, "s", "a", VV_STRING, &err), err);
    assert_ok(vv_samples_string(s, time, strings, NULL, 3, &err), err);
    assert_ok(vv_series_append(s, VV_DURABLE_DEFAULT, NULL, &err), err);
    vv_samples_destroy(s);
    for (int round = 0; round < 2; round++) {
        vv_series_query q = VV_SERIES_QUERY_INIT;
        vv_series_cursor *c = NULL;
        vv_series_block b;
        q.end_ns = 10;
        assert_ok(vv_series_query_open(t, &q, &c, &err), err);
        assert_ok(vv_series_query_next(c, &b, &err), err); /* b, i, s: by name */
        assert_int_equal(b.type, VV_BOOL);
        assert_true(b.count == 3 && !b.i64[0] && b.i64[1] && b.i64[2]);
        assert_ok(vv_series_query_next(c, &b, &err), err);
        assert_true(b.count == 3 && b.i64[0] == INT64_MAX && b.i64[1] == INT64_MIN);
        assert_ok(vv_series_query_next(c, &b, &err), err);
        assert_true(b.type == VV_STRING && b.count == 3 && b.is_last_of_series);
        assert_true(b.string[0].len == 0 && vv_slice_eq(b.string[2], S("drei")));
        assert_int_equal(vv_series_query_next(c, &b, &err), VV_NOT_FOUND);
        vv_series_query_close(c);
        flush_all(w->db);
    }
    vv_table_close(t);
}

static void the_bounds_refuse_single_samples(void **state)
{
    sim_world *w = *state;
    vv_table *t = series_table(w->db, 1000 * SEC, 10 * SEC);
    answer *a = malloc(sizeof *a);
    vv_error err = {0};
    vv_append_result r;
    int64_t now = vv_clock_wall(w->env.clock);
    const int64_t time[] = {now + 11 * SEC, now + 9 * SEC, now, now - 999 * SEC, now - 1001 * SEC};
    const double v[] = {1, 2, 3, 4, 5};
    assert_ok(append(t, "t", "a", time, v, NULL, 5, &r, &err), err);
    assert_int_equal(r.accepted, 3);
    assert_int_equal(r.refused, 2);
    assert_true(r.first_refusal[0] != '\0');
    ask_raw(t, NULL, "a", INT64_MIN, INT64_MAX, a);
    assert_int_equal(a->count, 3);
    /* All of it refused is no series. */
    assert_ok(append(t, "t", "new", time, v, NULL, 1, &r, &err), err);
    assert_int_equal(r.accepted, 0);
    assert_int_equal(listed(t, NULL, 0), 1);
    vv_table_close(t);
    free(a);
}

static void the_retention_is_exact(void **state)
{
    sim_world *w = *state;
    vv_table *t = series_table(w->db, 7200 * SEC, 0);
    answer *a = malloc(sizeof *a);
    int64_t now = vv_clock_wall(w->env.clock);
    for (int i = 0; i < 100; i++)
        append_one(t, "a", now - i * 60 * SEC, i);
    flush_all(w->db);
    for (int hours = 0; hours < 5; hours++) {
        ask_raw(t, NULL, "a", INT64_MIN, INT64_MAX, a);
        int64_t at = vv_clock_wall(w->env.clock);
        size_t want = 0;
        for (int i = 0; i < 100; i++)
            want += now - i * 60 * SEC >= at - 7200 * SEC;
        assert_int_equal(a->count, want);
        vv_clock_sleep(w->env.clock, 1800 * SEC);
    }
    size_t n = 0;
    vv_error err = {0};
    vv_clock_sleep(w->env.clock, 86400 * SEC);
    assert_ok(vv_compact(t, S(""), S(""), &err), err);
    ask_raw(t, NULL, "a", INT64_MIN, INT64_MAX, a);
    assert_int_equal(a->count, 0);
    (void)n;
    vv_table_close(t);
    free(a);
}

static void series_max_is_told_by_name(void **state)
{
    sim_world *w = *state;
    sim_close(w);
    w->opt.series_max = 10;
    sim_start(w);
    vv_table *t = any_time_table(w->db);
    vv_error err = {0};
    vv_append_result r;
    for (int round = 0; round < 2; round++) {
        vv_samples *s = vv_samples_create(t);
        const double v = round;
        const int64_t at = round + 1;
        for (int i = 0; i < 30; i++) {
            char host[16];
            (void)snprintf(host, sizeof host, "h%d", i);
            assert_ok(begin_series(s, "t", host, VV_F64, &err), err);
            assert_ok(vv_samples_f64(s, &at, &v, NULL, 1, &err), err);
        }
        assert_int_equal(vv_series_append(s, VV_DURABLE_DEFAULT, &r, &err), VV_BUSY);
        assert_non_null(strstr(err.msg, "series_max"));
        assert_non_null(strstr(err.msg, "plant"));
        assert_int_equal(r.accepted, 10); /* those that are there go on */
        assert_int_equal(r.refused, 20);
        assert_int_equal(r.series_created, round == 0 ? 10 : 0);
        vv_samples_destroy(s);
        vv_table_close(t);
        sim_reopen(w);
        t = any_time_table(w->db);
    }
    assert_int_equal(listed(t, NULL, 0), 10);
    /* Another table of the tenant shares the limit; another tenant does not. */
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    vv_table *other = NULL;
    opt.kind = VV_TABLE_SERIES;
    opt.future_ns = INT64_MAX;
    assert_ok(vv_table_create(w->db, "plant", "more", &opt, &other, &err), err);
    const double v = 1;
    const int64_t at = 1;
    assert_int_equal(append(other, "t", "a", &at, &v, NULL, 1, &r, &err), VV_BUSY);
    vv_table_close(other);
    assert_ok(vv_table_create(w->db, "lab", "more", &opt, &other, &err), err);
    assert_ok(append(other, "t", "a", &at, &v, NULL, 1, &r, &err), err);
    vv_table_close(other);
    /* What is dropped makes room. */
    vv_matcher m = by_host("h3");
    uint64_t dropped = 0;
    assert_ok(vv_series_drop(t, &m, 1, &dropped, &err), err);
    assert_int_equal(dropped, 1);
    append_one(t, "h77", 5, 5);
    vv_table_close(t);
}

static int count_one(void *ctx, const vv_series_info *info)
{
    (void)info;
    ++*(uint64_t *)ctx;
    return 0;
}

/* An append that fails leaves no series behind, neither in the count nor in memory. */
static void a_series_that_was_not_written_is_none(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    vv_error err = {0};
    uint64_t failures = 0;
    uint64_t written = 0;
    uint64_t counted = 0;
    uint64_t listed = 0;
    append_one(t, "a", 1, 1);
    uint64_t before = vv_budget_part_used(&w->db->budget, VV_BUDGET_INDEX);
    for (int64_t n = 0; n < 120; n++) {
        char host[16];
        const double value = 1;
        (void)snprintf(host, sizeof host, "n%d", (int)n);
        vv_alloc_fail_after(n % 40, 0);
        vv_status st = append(t, "t", host, &n, &value, NULL, 1, NULL, &err);
        vv_alloc_fail_after(-1, 0);
        if (st == VV_IO) { /* the log failed: only a reopening goes on from there */
            vv_table_close(t);
            db_abandon(w->db);
            sim_off(w);
            sim_start(w);
            t = any_time_table(w->db);
            before = vv_budget_part_used(&w->db->budget, VV_BUDGET_INDEX);
            assert_ok(vv_series_count(t, &written, NULL, &err), err); /* that one may be there */
            written--;
        }
        assert_true(st == VV_OK || st == VV_NO_MEMORY || st == VV_BUSY || st == VV_IO);
        written += st == VV_OK;
        failures += st != VV_OK;
        assert_ok(vv_series_count(t, &counted, NULL, &err), err);
        assert_int_equal(counted, 1 + written);
    }
    assert_ok(vv_series_list(t, NULL, 0, 0, count_one, &listed, &err), err);
    assert_int_equal(listed, counted);
    assert_true(failures > 10);
    uint64_t more = vv_budget_part_used(&w->db->budget, VV_BUDGET_INDEX) - before;
    assert_true(more < (written + 1) * 2 * sizeof(db_series_entry));
    vv_table_close(t);
}

/* Where there is no memory for new series the others go on, and later new ones, too. */
static void new_series_wait_for_memory(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    vv_error err = {0};
    vv_append_result r;
    const int64_t time = 5;
    const double value = 1;
    append_one(t, "a", 1, 1);
    vv_budget *budget = &w->db->budget;
    const uint64_t limit = budget->limit;
    const uint64_t share = budget->share[VV_BUDGET_INDEX];
    budget->share[VV_BUDGET_INDEX] = 0;
    budget->limit = vv_budget_used(budget) + vv_budget_kept_from(budget, VV_BUDGET_MEMTABLE);
    vv_samples *s = vv_samples_create(t);
    assert_ok(begin_series(s, "t", "new", VV_F64, &err), err);
    assert_ok(vv_samples_f64(s, &time, &value, NULL, 1, &err), err);
    assert_ok(begin_series(s, "t", "a", VV_F64, &err), err);
    assert_ok(vv_samples_f64(s, &time, &value, NULL, 1, &err), err);
    assert_int_equal(vv_series_append(s, VV_DURABLE_DEFAULT, &r, &err), VV_NO_MEMORY);
    assert_non_null(strstr(err.msg, "memory_limit"));
    assert_int_equal(r.accepted, 1);
    assert_int_equal(r.refused, 1);
    budget->limit = limit;
    budget->share[VV_BUDGET_INDEX] = share;
    assert_ok(vv_series_append(s, VV_DURABLE_DEFAULT, &r, &err), err);
    assert_int_equal(r.accepted, 2);
    assert_int_equal(r.series_created, 1);
    vv_samples_destroy(s);
    vv_table_close(t);
}

static void deletions_take_effect_at_once(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    answer *a = malloc(sizeof *a);
    vv_error err = {0};
    for (int i = 0; i < 1000; i++)
        append_one(t, i % 2 == 0 ? "a" : "b", i * 100 * SEC, i);
    vv_snapshot *before = NULL;
    assert_ok(vv_snapshot_create(w->db, &before, &err), err);
    vv_matcher m = by_host("a");
    uint64_t touched = 0;
    assert_ok(vv_series_delete(t, &m, 1, 10000 * SEC, 90000 * SEC, &touched, &err), err);
    assert_int_equal(touched, 1);
    append_one(t, "a", 50000 * SEC, -1);
    for (int round = 0; round < 3; round++) {
        ask_raw(t, NULL, "a", 0, INT64_MAX, a);
        assert_int_equal(a->count, 50 + 50 + 1);
        assert_true(a->value[50] == -1);
        ask_raw(t, NULL, "b", 0, INT64_MAX, a);
        assert_int_equal(a->count, 500);
        if (round == 0) {
            ask_raw(t, before, "a", 0, INT64_MAX, a);
            assert_int_equal(a->count, 500);
            vv_snapshot_release(before);
            flush_all(w->db);
        } else if (round == 1) {
            vv_table_close(t);
            sim_reopen(w);
            t = any_time_table(w->db);
        }
    }
    /* A series goes with its labels, and comes back as a new one. */
    assert_ok(vv_series_drop(t, &m, 1, &touched, &err), err);
    assert_int_equal(listed(t, NULL, 0), 1);
    ask_raw(t, NULL, "a", 0, INT64_MAX, a);
    assert_int_equal(a->count, 0);
    append_one(t, "a", 7, 7);
    ask_raw(t, NULL, "a", 0, INT64_MAX, a);
    assert_int_equal(a->count, 1);
    assert_int_equal(vv_series_drop(t, NULL, 0, &touched, &err), VV_INVALID);
    vv_table_close(t);
    free(a);
}

typedef struct newest {
    size_t count;
    int64_t time;
    double value;
    uint32_t quality;
} newest;

static int note_newest(void *ctx, const vv_series_info *info, const vv_sample *sample)
{
    newest *n = ctx;
    (void)info;
    n->count++;
    n->time = sample->time_ns;
    n->value = sample->f64;
    n->quality = sample->quality;
    return 0;
}

static newest newest_of(vv_table *t, const char *host)
{
    vv_error err = {0};
    newest n = {.count = 0};
    vv_matcher m = by_host(host);
    assert_ok(vv_series_latest(t, &m, 1, note_newest, &n, &err), err);
    return n;
}

static void the_newest_sample_is_known(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    vv_error err = {0};
    assert_int_equal(newest_of(t, "a").count, 0);
    append_one(t, "a", 100, 1);
    append_one(t, "a", 50, 2); /* late */
    assert_true(newest_of(t, "a").value == 1);
    append_one(t, "a", 100, 3); /* the same time: the later write */
    assert_true(newest_of(t, "a").value == 3);
    for (int round = 0; round < 2; round++) {
        vv_table_close(t);
        sim_reopen(w);
        t = any_time_table(w->db);
        assert_true(newest_of(t, "a").value == 3);
        append_one(t, "a", 99, 9);
        assert_true(newest_of(t, "a").value == 3);
        flush_all(w->db);
    }
    vv_matcher m = by_host("a");
    assert_ok(vv_series_delete(t, &m, 1, 99, 101, NULL, &err), err);
    assert_true(newest_of(t, "a").value == 2);
    assert_ok(vv_series_delete(t, &m, 1, INT64_MIN, INT64_MAX, NULL, &err), err);
    assert_int_equal(newest_of(t, "a").count, 0);
    append_one(t, "a", 10, 4);
    assert_true(newest_of(t, "a").value == 4);
    vv_table_close(t);
}

/* Writers know the series of a table: they would go on with some that are not there any more. */
static void an_archive_is_not_put_in_place_of_series(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    vv_error err = {0};
    append_one(t, "a", 1, 1);
    assert_int_equal(vv_archive_restore(t, "any", NULL, &err), VV_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "backup"));
    vv_table_close(t);
}

static void windows_of_series_and_groups(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    answer *a = malloc(sizeof *a);
    vv_error err = {0};
    for (int i = 0; i < 600; i++) {
        append_one(t, "a", i * SEC, i);
        if (i % 2 == 0)
            append_one(t, "b", i * SEC, -i);
    }
    for (int round = 0; round < 2; round++) {
        vv_matcher m = by_host("a");
        vv_series_query q = VV_SERIES_QUERY_INIT;
        q.end_ns = 600 * SEC;
        q.step_ns = 60 * SEC;
        q.aggregate = VV_AGG_MAX;
        q.matchers = &m;
        q.matcher_count = 1;
        assert_ok(ask(t, &q, a, &err), err);
        assert_int_equal(a->count, 10);
        assert_true(a->time[3] == 180 * SEC && a->value[3] == 239);
        q.matcher_count = 0;
        q.aggregate = VV_AGG_COUNT;
        q.is_grouped = true;
        q.across = VV_AGG_SUM;
        assert_ok(ask(t, &q, a, &err), err);
        assert_int_equal(a->count, 10);
        assert_int_equal(a->series, 1);
        assert_true(a->value[0] == 90);
        const vv_slice host = S("host");
        q.group_by = &host;
        q.group_count = 1;
        assert_ok(ask(t, &q, a, &err), err);
        assert_int_equal(a->series, 2);
        assert_int_equal(a->count, 20);
        assert_true(a->value[0] == 60 && a->value[10] == 30);
        assert_string_equal(a->first_host, "a");
        /* Fill and reduce. */
        q = (vv_series_query)VV_SERIES_QUERY_INIT;
        q.matchers = &m;
        q.matcher_count = 1;
        q.start_ns = 570 * SEC;
        q.end_ns = 660 * SEC;
        q.step_ns = 10 * SEC;
        q.aggregate = VV_AGG_LAST;
        q.fill = VV_FILL_PREVIOUS;
        q.max_gap_ns = 30 * SEC;
        assert_ok(ask(t, &q, a, &err), err);
        assert_int_equal(a->count, 6);
        assert_true(a->value[5] == 599);
        q = (vv_series_query)VV_SERIES_QUERY_INIT;
        q.matchers = &m;
        q.matcher_count = 1;
        q.end_ns = 600 * SEC;
        q.reduce = VV_REDUCE_LTTB;
        q.points = 50;
        assert_ok(ask(t, &q, a, &err), err);
        assert_int_equal(a->count, 50);
        assert_true(a->time[0] == 0 && a->time[49] == 599 * SEC);
        q.reduce = VV_REDUCE_NONE;
        q.aggregate = VV_AGG_AVG; /* no step: one window */
        assert_ok(ask(t, &q, a, &err), err);
        assert_true(a->count == 1 && a->value[0] == 299.5);
        q.samples_max = 3;
        q.aggregate = VV_AGG_NONE;
        assert_int_equal(ask(t, &q, a, &err), VV_BUSY);
        assert_non_null(strstr(err.msg, "samples_max"));
        q.is_grouped = true;
        assert_int_equal(ask(t, &q, a, &err), VV_INVALID);
        flush_all(w->db);
    }
    vv_table_close(t);
    free(a);
}

static void repeats_change_nothing(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    answer *a = malloc(sizeof *a);
    static int64_t time[2000];
    static double value[2000];
    vv_error err = {0};
    for (int i = 0; i < 2000; i++) {
        time[i] = i % 100;
        value[i] = i;
    }
    for (int round = 0; round < 300; round++)
        assert_ok(append(t, "t", "a", time, value, NULL, 2000, NULL, &err), err);
    ask_raw(t, NULL, "a", 0, INT64_MAX, a);
    assert_int_equal(a->count, 100);
    for (size_t i = 0; i < 100; i++)
        assert_true(a->value[i] == (double)(1900 + i));
    vv_table_close(t);
    free(a);
}

static void a_position_is_in_the_entry(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    vv_error err = {0};
    vv_source_position p;
    assert_int_equal(vv_series_position(t, S("nats"), &p, &err), VV_NOT_FOUND);
    vv_samples *s = vv_samples_create(t);
    assert_ok(vv_samples_position(s, S("nats"), S("one"), 41, &err), err);
    assert_ok(vv_series_append(s, VV_DURABLE_DEFAULT, NULL, &err), err);
    vv_samples_clear(s);
    assert_ok(vv_series_append(s, VV_DURABLE_DEFAULT, NULL, &err), err);
    vv_samples_destroy(s);
    vv_table_close(t);
    sim_reopen(w);
    t = any_time_table(w->db);
    assert_ok(vv_series_position(t, S("nats"), &p, &err), err);
    assert_int_equal(p.sequence, 41);
    assert_true(p.incarnation_len == 3 && memcmp(p.incarnation, "one", 3) == 0);
    vv_table_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TP(matchers_pick_series),
        TP(a_regular_expression_bomb_is_bounded),
        TP(labels_are_checked),
        TP(every_type_comes_back),
        TP(the_bounds_refuse_single_samples),
        TP(the_retention_is_exact),
        TP(series_max_is_told_by_name),
        TP(a_series_that_was_not_written_is_none),
        TP(new_series_wait_for_memory),
        TP(deletions_take_effect_at_once),
        TP(the_newest_sample_is_known),
        TP(an_archive_is_not_put_in_place_of_series),
        TP(windows_of_series_and_groups),
        TP(repeats_change_nothing),
        TP(a_position_is_in_the_entry),
    };
    return run_on_each(tests, ARRAY_LEN(tests));
}
