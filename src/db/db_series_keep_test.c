/*
 * db_series_keep_test.c - rules of retention: each series keeps what its labels say, and no more,
 * over flushes, compactions, restarts and rollups; rules that cannot be are refused by name.
 */
#include "db/db_series_rollup_test_util.h"

#include "base/alloc.h"
#include "base/rng.h"

#define HOURS 2400u

/* Of each the first that fits counts; most series fit several. */
static const vv_keep_rule rules[] = {
    {{VV_MATCH_EQ, {(const uint8_t *)"host", 4}, {(const uint8_t *)"a", 1}}, 2 * DAY},
    {{VV_MATCH_RE, {(const uint8_t *)"host", 4}, {(const uint8_t *)"b[0-9]", 6}}, 5 * DAY},
    {{VV_MATCH_PREFIX, {(const uint8_t *)"host", 4}, {(const uint8_t *)"c", 1}}, 0},
    {{VV_MATCH_NE, {(const uint8_t *)"env", 3}, {NULL, 0}}, 3 * DAY}, /* of no series here */
    {{VV_MATCH_NRE, {(const uint8_t *)"host", 4}, {(const uint8_t *)"[d-z].*", 7}}, 20 * DAY},
};
static const struct {
    const char *host;
    int64_t keep_ns;
} kept[] = {{"a", 2 * DAY}, {"b1", 5 * DAY}, {"c2", 0}, {"d", 10 * DAY}, {"bb", 20 * DAY}};

#define KEPT ARRAY_LEN(kept)

typedef struct model {
    int64_t base; /* of hour 0 */
    bool is_there[KEPT][HOURS];
    double value[KEPT][HOURS];
} model;

static vv_status create_ruled(vv_db *db, const vv_keep_rule *rule, size_t count, vv_table **out,
                              vv_error *err)
{
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = VV_TABLE_SERIES;
    opt.retention_ns = 10 * DAY;
    opt.out_of_order_ns = HOUR;
    opt.future_ns = DAY;
    opt.partitions = test_partitions;
    opt.if_not_exists = true;
    opt.keep_rules = rule;
    opt.keep_rule_count = count;
    return vv_table_create(db, "plant", "sensors", &opt, out, err);
}

/* The rules given are gone when the table is used: it has its own. */
static vv_table *ruled_table(vv_db *db)
{
    vv_error err = {0};
    vv_table *t = NULL;
    vv_keep_rule *copy = malloc(sizeof rules);
    assert_non_null(copy);
    memcpy(copy, rules, sizeof rules);
    assert_ok(create_ruled(db, copy, ARRAY_LEN(rules), &t, &err), err);
    memset(copy, 0xff, sizeof rules);
    free(copy);
    return t;
}

static int64_t wall(const sim_world *w)
{
    return vv_clock_wall(w->env.clock);
}

static bool is_kept(size_t h, int64_t time, int64_t now)
{
    return kept[h].keep_ns == 0 || time >= now - kept[h].keep_ns;
}

/* Hours in a row of one host; some of them may be too old for it. */
static void write_hours(sim_world *w, vv_table *t, model *m, vv_rng *rng)
{
    int64_t time[48];
    double value[48];
    vv_error err = {0};
    vv_append_result r = {0};
    int64_t now = wall(w);
    int64_t last = (now - m->base) / HOUR;
    size_t h = vv_rng_below(rng, KEPT);
    int64_t hour = last - (int64_t)vv_rng_below(rng, vv_rng_below(rng, 2) == 0 ? 48 : 30 * 24);
    hour = hour < 0 ? 0 : hour;
    uint64_t n = 0;
    uint64_t refused = 0;
    for (; n < 1 + vv_rng_below(rng, 47) && hour <= last && hour < HOURS; n++, hour++) {
        time[n] = m->base + hour * HOUR;
        value[n] = (double)vv_rng_below(rng, 1000);
        if (is_kept(h, time[n], now)) {
            m->is_there[h][hour] = true;
            m->value[h][hour] = value[n];
        } else {
            refused++;
        }
    }
    assert_ok(append(t, "t", kept[h].host, time, value, NULL, n, &r, &err), err);
    assert_int_equal(r.refused, refused);
    assert_int_equal(r.accepted, n - refused);
    assert_true(refused == 0 || strstr(r.first_refusal, "older than the retention") != NULL);
}

static void delete_hours(sim_world *w, vv_table *t, model *m, vv_rng *rng)
{
    vv_error err = {0};
    int64_t last = (wall(w) - m->base) / HOUR;
    size_t h = vv_rng_below(rng, KEPT);
    int64_t from = (int64_t)vv_rng_below(rng, (uint64_t)last + 1);
    int64_t to = from + (int64_t)vv_rng_below(rng, 40);
    vv_matcher match = {VV_MATCH_EQ, S("host"), S(kept[h].host)};
    assert_ok(
        vv_series_delete(t, &match, 1, m->base + from * HOUR, m->base + to * HOUR, NULL, &err),
        err);
    for (int64_t i = from; i < to && i < HOURS; i++)
        m->is_there[h][i] = false;
}

typedef struct newest {
    const model *m;
    int64_t now;
    size_t count;
} newest;

static int64_t newest_hour(const model *m, size_t h, int64_t now)
{
    for (int64_t i = HOURS; i-- > 0;)
        if (m->is_there[h][i])
            return is_kept(h, m->base + i * HOUR, now) ? i : -1;
    return -1;
}

static int check_newest(void *ctx, const vv_series_info *info, const vv_sample *sample)
{
    newest *k = ctx;
    size_t h = 0;
    while (!vv_slice_eq(info->labels[1].value, S(kept[h].host)))
        h++;
    int64_t hour = newest_hour(k->m, h, k->now);
    assert_true(hour >= 0);
    assert_true(sample->time_ns == k->m->base + hour * HOUR);
    assert_true(sample->f64 == k->m->value[h][hour]);
    k->count++;
    return 0;
}

/* Raw samples of each, their number by one window, and that of all of them as a group. */
static void check_kept(sim_world *w, vv_table *t, const model *m)
{
    vv_error err = {0};
    int64_t now = wall(w);
    newest k = {.m = m, .now = now};
    size_t all = 0;
    size_t told = 0;
    for (size_t h = 0; h < KEPT; h++) {
        size_t n = 0;
        read_samples(t, kept[h].host, INT64_MIN, INT64_MAX);
        for (int64_t i = 0; i < HOURS; i++) {
            int64_t time = m->base + i * HOUR;
            if (!m->is_there[h][i] || !is_kept(h, time, now))
                continue;
            if (n >= samples.count || samples.time[n] != time || samples.value[n] != m->value[h][i])
                fail_msg("host %s: sample %zu of %zu is wrong", kept[h].host, n, samples.count);
            n++;
        }
        assert_int_equal(samples.count, n);
        assert_ok(
            query(t, kept[h].host, INT64_MIN, INT64_MAX, 0, 0, VV_AGG_COUNT, false, &points, &err),
            err);
        assert_int_equal(points.count, n > 0);
        assert_true(n == 0 || points.value[0] == (double)n);
        all += n;
        told += newest_hour(m, h, now) >= 0;
    }
    vv_series_query q = VV_SERIES_QUERY_INIT;
    q.start_ns = INT64_MIN;
    q.end_ns = INT64_MAX;
    q.aggregate = VV_AGG_COUNT;
    q.is_grouped = true;
    q.across = VV_AGG_SUM;
    assert_ok(ask(t, &q, &points, &err), err);
    assert_int_equal(points.count, all > 0);
    assert_true(all == 0 || points.value[0] == (double)all);
    assert_ok(vv_series_latest(t, NULL, 0, check_newest, &k, &err), err);
    assert_int_equal(k.count, told);
}

/* What a bucket says of when it goes is what the series' own retention makes of its last time. */
static void check_expiries(vv_table *t)
{
    static const uint8_t kind = DB_SERIES_DATA;
    vv_error err = {0};
    db_series *s = NULL;
    vv_cursor *c = NULL;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.prefix = vv_slice_of(&kind, 1);
    assert_ok(db_series_of(t, &s, &err), err);
    assert_ok(vv_cursor_open(t, &opt, &c, &err), err);
    assert_ok(vv_cursor_seek(c, vv_slice_of(NULL, 0), &err), err);
    while (vv_cursor_valid(c)) {
        db_series_entry *e = NULL;
        vv_value value = {0};
        vv_slice key = vv_cursor_key(c);
        assert_int_equal(key.len, DB_SERIES_DATA_KEY);
        assert_ok(db_series_load(s, t, NULL, vv_get_be64(key.data + 1), &e, &err), err);
        vv_slice host = db_series_label_find(db_series_labels(e), S("host"));
        size_t h = 0;
        while (!vv_slice_eq(host, S(kept[h].host)))
            h++;
        assert_true(e->retention_ns == kept[h].keep_ns);
        vv_table part = db_series_part_at(t, e->id);
        assert_ok(vv_get(&part, NULL, key, &value, &err), err);
        assert_true(value.expires_ns ==
                    db_series_expiry(key.data[9], db_time_decode(key.data + 10), kept[h].keep_ns));
        vv_value_release(&value);
        db_series_unref(s, e);
        assert_ok(vv_cursor_next(c, &err), err);
    }
    vv_cursor_close(c);
}

static void prop_each_series_keeps_what_its_labels_say(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(41));
    model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->base = db_series_round_down(wall(w), DAY) - 20 * DAY;
    vv_table *t = ruled_table(w->db);
    for (int step = 0; step < 500; step++) {
        unsigned what = (unsigned)vv_rng_below(&rng, 40);
        if (what < 24) {
            write_hours(w, t, m, &rng);
        } else if (what < 27) {
            delete_hours(w, t, m, &rng);
        } else if (what < 33) {
            if ((wall(w) - m->base) / HOUR < HOURS - 100)
                vv_clock_sleep(w->env.clock, (int64_t)vv_rng_below(&rng, 40 * HOUR));
        } else if (what < 35) {
            flush_all(w->db);
        } else if (what < 36) {
            assert_ok(vv_compact(t, S(""), S(""), &err), err);
        } else if (what < 38) {
            (void)roll_all(w->db);
        } else {
            vv_table_close(t);
            sim_reopen(w);
            assert_ok(vv_table_open(w->db, "plant", "sensors", &t, &err), err);
        }
        check_kept(w, t, m);
    }
    check_expiries(t);
    vv_table_close(t);
    free(m);
}

/* Far later nothing is left of what is not kept for ever, though nobody wrote since. */
static void what_has_expired_is_erased(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = ruled_table(w->db);
    int64_t now = wall(w);
    for (size_t h = 0; h < KEPT; h++)
        append_one(t, kept[h].host, now, 1);
    flush_all(w->db);
    vv_clock_sleep(w->env.clock, 40 * DAY);
    assert_ok(vv_compact(t, S(""), S(""), &err), err);
    static const uint8_t kind = DB_SERIES_DATA;
    size_t left = 0;
    vv_cursor *c = NULL;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.prefix = vv_slice_of(&kind, 1);
    assert_ok(vv_cursor_open(t, &opt, &c, &err), err);
    assert_ok(vv_cursor_seek(c, vv_slice_of(NULL, 0), &err), err);
    for (; vv_cursor_valid(c); left++)
        assert_ok(vv_cursor_next(c, &err), err);
    vv_cursor_close(c);
    assert_int_equal(left, 1);
    read_samples(t, "c2", INT64_MIN, INT64_MAX);
    assert_int_equal(samples.count, 1);
    vv_table_close(t);
}

static void a_table_tells_its_rules(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = ruled_table(w->db);
    for (int round = 0; round < 2; round++) {
        vv_table_info info;
        assert_ok(vv_table_describe(t, &info, &err), err);
        assert_int_equal(info.keep_rule_count, ARRAY_LEN(rules));
        for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
            assert_int_equal(info.keep_rules[i].match.op, rules[i].match.op);
            assert_true(vv_slice_eq(info.keep_rules[i].match.name, rules[i].match.name));
            assert_true(vv_slice_eq(info.keep_rules[i].match.value, rules[i].match.value));
            assert_true(info.keep_rules[i].retention_ns == rules[i].retention_ns);
        }
        vv_table_close(t);
        sim_reopen(w);
        assert_ok(vv_table_open(w->db, "plant", "sensors", &t, &err), err);
    }
    vv_table_close(t);
}

static vv_keep_rule rule_of(vv_match op, const char *name, const char *value, int64_t ns)
{
    return (vv_keep_rule){{op, S(name), S(value)}, ns};
}

static void rules_that_cannot_be_are_refused_by_name(void **state)
{
    sim_world *w = *state;
    char longest[1001];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    const struct {
        const char *says;
        vv_keep_rule rule;
        size_t count; /* of it, one after the other */
    } cases[] = {
        {"17 keep_rules: up to 16", rule_of(VV_MATCH_EQ, "env", "x", DAY), 17},
        {"label 'env': ", rule_of(VV_MATCH_RE, "env", "a(", DAY), 1},
        {"rule 1 of keep_rules", rule_of(VV_MATCH_NRE, "env", "[", DAY), 1},
        {"out_of_order_ns", rule_of(VV_MATCH_EQ, "env", "x", HOUR), 1},
        {"0 or more", rule_of(VV_MATCH_EQ, "env", "x", -1), 1},
        {"name of a label", rule_of(VV_MATCH_EQ, "", "x", DAY), 1},
        {"matcher 9", rule_of((vv_match)9, "env", "x", DAY), 1},
        {"1000 bytes", rule_of(VV_MATCH_EQ, "env", longest, DAY), 1},
        {"4096 are allowed", rule_of(VV_MATCH_EQ, "env", longest + 10, DAY), 5},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_error err = {0};
        vv_table *t = NULL;
        vv_keep_rule many[17];
        for (size_t k = 0; k < cases[i].count; k++)
            many[k] = cases[i].rule;
        vv_status st = create_ruled(w->db, many, cases[i].count, &t, &err);
        if (st != VV_INVALID || strstr(err.msg, cases[i].says) == NULL)
            fail_msg("case %zu: status %d: %s", i, (int)st, err.msg);
    }
    vv_error err = {0};
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.keep_rules = rules;
    opt.keep_rule_count = 1;
    assert_status(VV_INVALID, vv_table_create(w->db, "plant", "kv", &opt, NULL, &err));
    assert_non_null(strstr(err.msg, "series tables alone"));
    vv_table *t = NULL;
    assert_status(VV_INVALID, create_ruled(w->db, NULL, 1, &t, &err));
}

/* A program of before knows no rules: its options end before them. */
static void options_without_rules_have_none(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = NULL;
    vv_table_info info;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = VV_TABLE_SERIES;
    opt.keep_rules = (const vv_keep_rule *)&opt; /* not looked at */
    opt.keep_rule_count = 99;
    opt.size = offsetof(vv_table_options, keep_rules);
    assert_ok(vv_table_create(w->db, "plant", "sensors", &opt, &t, &err), err);
    assert_ok(vv_table_describe(t, &info, &err), err);
    assert_true(info.keep_rules == NULL && info.keep_rule_count == 0);
    vv_table_close(t);
}

static void walk_every_allocation_of_a_table_may_fail(void **state)
{
    sim_world *w = *state;
    unsigned failures = 0;
    bool failed = true;
    for (int64_t n = 0; failed && n < 500; n++) {
        vv_error err = {0};
        vv_table *t = NULL;
        const int64_t time = wall(w);
        const double value = 1;
        vv_alloc_fail_after(n, 0);
        vv_status st = create_ruled(w->db, rules, ARRAY_LEN(rules), &t, &err);
        if (st == VV_OK)
            st = append(t, "t", "b1", &time, &value, NULL, 1, NULL, &err);
        vv_alloc_fail_after(-1, 0);
        failed = st != VV_OK;
        failures += failed;
        vv_table_close(t);
        if (st == VV_IO) { /* the log failed: only a reopening goes on from there */
            db_abandon(w->db);
            sim_off(w);
            sim_start(w);
        } else if (failed) {
            assert_true(st == VV_NO_MEMORY || st == VV_BUSY);
            sim_reopen(w);
        }
        st = vv_table_drop(w->db, "plant", "sensors", &err);
        assert_true(st == VV_OK || st == VV_NOT_FOUND);
    }
    assert_true(failures > 10 && !failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TP(prop_each_series_keeps_what_its_labels_say),
        TP(what_has_expired_is_erased),
        TP(a_table_tells_its_rules),
        TP(rules_that_cannot_be_are_refused_by_name),
        TP(options_without_rules_have_none),
        TP(walk_every_allocation_of_a_table_may_fail),
    };
    return run_on_each(tests, ARRAY_LEN(tests));
}
