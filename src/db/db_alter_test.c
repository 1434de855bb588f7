/*
 * db_alter_test.c - what a table keeps, changed while it is used: told, kept over a restart, crash
 * and failure, followed by what is in memory; never a promise of what is gone already.
 */
#include "db/db_series_rollup_test_util.h"

#include "base/alloc.h"
#include "varve/stream.h"
#include "varve/tier.h"

static vv_table_info told(vv_db *db, const char *name)
{
    vv_error err = {0};
    vv_table *t = NULL;
    vv_table_info info;
    assert_ok(vv_table_open(db, "plant", name, &t, &err), err);
    assert_ok(vv_table_identify(t, &info, &err), err);
    vv_table_close(t);
    return info;
}

static vv_status alter(vv_db *db, const char *name, const vv_table_options *to,
                       vv_table_change changes, vv_error *err)
{
    return vv_table_alter(db, "plant", name, to, changes, err);
}

static void make(vv_db *db, const char *name, vv_table_kind kind)
{
    vv_error err = {0};
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = kind;
    opt.partitions = test_partitions;
    assert_ok(vv_table_create(db, "plant", name, &opt, NULL, &err), err);
}

/* ---- what is told ---- */

static void expect_changed(vv_db *db)
{
    vv_table_info s = told(db, "series");
    assert_true(s.retention_ns == 30 * DAY && s.future_ns == HOUR);
    assert_true(s.rollup_retention_ns[0] == 90 * DAY && s.rollup_retention_ns[1] == 0);
    assert_true(s.keep_rule_count == 1 && s.keep_rules[0].retention_ns == 7 * DAY);
    assert_true(s.out_of_order_ns == HOUR); /* as it was made */
    vv_table_info m = told(db, "stream");
    assert_true(m.retention_ns == DAY && m.retention_bytes == 1000 && m.message_size_max == 2000);
    assert_true(m.producer_retention_ns == 2 * DAY && m.producers_max == 3);
    assert_string_equal(m.extract_rules, "a = const 1");
    assert_true(m.archive != NULL && m.archive->batch_messages == 70);
    assert_string_equal(m.archive->key, "{first}-{intent}");
    assert_true(told(db, "kv").version_retention_ns == HOUR);
    assert_true(told(db, "record").version_retention_ns == 0);
}

static void every_field_is_changed_and_stays(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    make(w->db, "series", VV_TABLE_SERIES);
    make(w->db, "stream", VV_TABLE_STREAM);
    make(w->db, "kv", VV_TABLE_KV);
    make(w->db, "record", VV_TABLE_RECORD);
    const vv_keep_rule rule = {{VV_MATCH_EQ, S("host"), S("a")}, 7 * DAY};
    vv_table_options to = VV_TABLE_OPTIONS_INIT;
    to.retention_ns = 30 * DAY;
    to.future_ns = HOUR;
    to.rollup_retention_ns[0] = 90 * DAY;
    to.rollup_retention_ns[1] = INT64_MAX;
    to.keep_rules = &rule;
    to.keep_rule_count = 1;
    assert_ok(alter(w->db, "series", &to,
                    VV_CHANGE_RETENTION | VV_CHANGE_FUTURE | VV_CHANGE_ROLLUP_MINUTES |
                        VV_CHANGE_ROLLUP_HOURS | VV_CHANGE_KEEP_RULES,
                    &err),
              err);
    to.retention_ns = DAY;
    to.retention_bytes = 1000;
    to.message_size_max = 2000;
    to.producer_retention_ns = 2 * DAY;
    to.producers_max = 3;
    to.extract_rules = "a = const 1";
    to.archive = &(vv_archive_rule){.batch_messages = 70, .key = "{first}-{intent}"};
    assert_ok(alter(w->db, "stream", &to,
                    VV_CHANGE_RETENTION | VV_CHANGE_RETENTION_BYTES | VV_CHANGE_MESSAGE_SIZE |
                        VV_CHANGE_PRODUCER_RETENTION | VV_CHANGE_PRODUCERS | VV_CHANGE_ARCHIVE |
                        VV_CHANGE_EXTRACT,
                    &err),
              err);
    to.version_retention_ns = HOUR;
    assert_ok(alter(w->db, "kv", &to, VV_CHANGE_VERSION_RETENTION, &err), err);
    to.version_retention_ns = 0;
    assert_ok(alter(w->db, "record", &to, VV_CHANGE_VERSION_RETENTION, &err), err);
    expect_changed(w->db);
    sim_reopen(w);
    expect_changed(w->db);
    /* Back to the defaults, field by field. */
    vv_table_options none = VV_TABLE_OPTIONS_INIT;
    assert_ok(alter(w->db, "series", &none, VV_CHANGE_KEEP_RULES, &err), err);
    assert_ok(alter(w->db, "record", &none, VV_CHANGE_VERSION_RETENTION, &err), err);
    assert_ok(alter(w->db, "stream", &none,
                    VV_CHANGE_RETENTION_BYTES | VV_CHANGE_PRODUCERS | VV_CHANGE_ARCHIVE, &err),
              err);
    assert_null(told(w->db, "stream").archive);
    assert_int_equal(told(w->db, "series").keep_rule_count, 0);
    assert_true(told(w->db, "series").retention_ns == 30 * DAY);
    assert_true(told(w->db, "record").version_retention_ns == HOUR);
    assert_int_equal(told(w->db, "stream").producers_max, 10000);
    assert_int_equal(told(w->db, "stream").message_size_max, 2000);
}

static void what_is_fixed_is_refused_by_name(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    make(w->db, "series", VV_TABLE_SERIES);
    make(w->db, "stream", VV_TABLE_STREAM);
    make(w->db, "kv", VV_TABLE_KV);
    const vv_keep_rule bad = {{VV_MATCH_RE, S("host"), S("(")}, DAY};
    vv_table_options to = VV_TABLE_OPTIONS_INIT;
    to.keep_rules = &bad;
    to.keep_rule_count = 1;
    to.retention_ns = 1;
    to.extract_rules = "a = const 1\nb = json";
    to.archive = &(vv_archive_rule){.key = "../{first}-{intent}"};
    const struct {
        const char *table;
        vv_table_change changes;
        const char *words;
    } cases[] = {
        {"kv", VV_CHANGE_KIND, "kind is fixed"},
        {"kv", VV_CHANGE_ENGINE, "engine is fixed"},
        {"kv", VV_CHANGE_PARTITIONS, "partitions is fixed"},
        {"kv", VV_CHANGE_COMPRESSION, "compression is fixed"},
        {"kv", VV_CHANGE_VALUE_THRESHOLD, "value_threshold is fixed"},
        {"series", VV_CHANGE_OUT_OF_ORDER, "out_of_order_ns is fixed"},
        {"series", VV_CHANGE_NO_ROLLUPS | VV_CHANGE_RETENTION, "no_rollups is fixed"},
        {"kv", VV_CHANGE_RETENTION, "retention_ns is nothing that a table of kind kv has"},
        {"kv", VV_CHANGE_PRODUCERS, "producers_max is nothing"},
        {"series", VV_CHANGE_VERSION_RETENTION, "version_retention_ns is nothing"},
        {"stream", VV_CHANGE_KEEP_RULES, "keep_rules is nothing"},
        {"series", VV_CHANGE_KEEP_RULES, "rule 1"},
        {"kv", VV_CHANGE_EXTRACT, "extract_rules is nothing"},
        {"stream", VV_CHANGE_EXTRACT, "extract_rules: line 2: rule 'b'"},
        {"stream", VV_CHANGE_ARCHIVE, "key template"},
        {"kv", 0, "nothing is to be changed"},
        {"kv", UINT64_C(1) << 63, "not known here"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_status(VV_INVALID, alter(w->db, cases[i].table, &to, cases[i].changes, &err));
        if (strstr(err.msg, cases[i].words) == NULL)
            fail_msg("'%s' is not in: %s", cases[i].words, err.msg);
    }
    assert_status(VV_NOT_FOUND, alter(w->db, "serie", &to, VV_CHANGE_RETENTION, &err));
    assert_non_null(strstr(err.msg, "did you mean 'series'"));
    to.size = 3;
    assert_status(VV_INVALID, alter(w->db, "kv", &to, VV_CHANGE_VERSION_RETENTION, &err));
    assert_true(told(w->db, "series").retention_ns == 0);
}

/* ---- series ---- */

static size_t count_of(vv_table *t, const char *host)
{
    static answer a;
    ask_raw(t, NULL, host, INT64_MIN, INT64_MAX, &a);
    return a.count;
}

/* Entries in memory, gathered samples and series that are read anew all keep by the new rules. */
static void rules_of_series_change_while_they_are_written(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_append_result r;
    vv_table *t = series_table(w->db, 30 * DAY, 0);
    const int64_t now = vv_clock_wall(w->env.clock);
    vv_samples *s = vv_samples_create(t);
    assert_non_null(s);
    const int64_t times[] = {now - 20 * DAY, now - 5 * DAY, now};
    const double values[] = {1, 2, 3};
    for (int i = 0; i < 2; i++) {
        assert_ok(begin_series(s, "t", i == 0 ? "a" : "b", VV_F64, &err), err);
        assert_ok(vv_samples_f64(s, times, values, NULL, 3, &err), err);
    }
    assert_ok(vv_series_append(s, VV_DURABLE_SYNC, &r, &err), err);
    assert_int_equal(r.accepted, 6);
    vv_samples_clear(s);
    vv_table_options to = VV_TABLE_OPTIONS_INIT;
    const vv_keep_rule rules[] = {{{VV_MATCH_RE, S("host"), S("[ax]")}, 2 * DAY}};
    to.keep_rules = rules;
    to.keep_rule_count = 1;
    assert_ok(alter(w->db, "sensors", &to, VV_CHANGE_KEEP_RULES, &err), err);
    assert_int_equal(count_of(t, "a"), 1);
    assert_int_equal(count_of(t, "b"), 3);
    for (int i = 0; i < 3; i++) { /* an old slot, and one that is new */
        assert_ok(begin_series(s, "t", i == 0 ? "a" : i == 1 ? "b" : "x", VV_F64, &err), err);
        assert_ok(vv_samples_f64(s, times, values, NULL, 3, &err), err);
    }
    assert_ok(vv_series_append(s, VV_DURABLE_SYNC, &r, &err), err);
    assert_int_equal(r.accepted, 1 + 3 + 1);
    vv_samples_clear(s);
    to.retention_ns = 10 * DAY; /* the rule stays */
    assert_ok(alter(w->db, "sensors", &to, VV_CHANGE_RETENTION, &err), err);
    assert_int_equal(count_of(t, "a"), 1);
    assert_int_equal(count_of(t, "b"), 2);
    assert_int_equal(count_of(t, "x"), 1);
    vv_samples_destroy(s);
    vv_table_close(t);
    sim_reopen(w);
    t = series_table(w->db, 0, 0);
    assert_int_equal(count_of(t, "a"), 1);
    assert_int_equal(count_of(t, "b"), 2);
    to.retention_ns = 0;
    to.keep_rule_count = 0;
    assert_ok(alter(w->db, "sensors", &to, VV_CHANGE_RETENTION | VV_CHANGE_KEEP_RULES, &err), err);
    append_one(t, "x", now - 300 * DAY, 4); /* is kept for ever now */
    assert_int_equal(count_of(t, "x"), 2);
    vv_table_close(t);
}

/* Rows of samples that may have expired by the retention before are not made again of what is left:
 * one late sample would take the place of a day's rows. */
static void rows_outlive_a_longer_retention(void **state)
{
    enum { MINUTES = 3 * 1440 };
    sim_world *w = *state;
    vv_error err = {0};
    static answer a;
    static int64_t times[MINUTES];
    static double values[MINUTES];
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    vv_table *t = NULL;
    opt.kind = VV_TABLE_SERIES;
    opt.retention_ns = 10 * DAY;
    opt.rollup_retention_ns[0] = opt.rollup_retention_ns[1] = 100 * DAY;
    opt.partitions = test_partitions;
    assert_ok(vv_table_create(w->db, "plant", "sensors", &opt, &t, &err), err);
    const int64_t first = vv_clock_wall(w->env.clock) / DAY * DAY - 3 * DAY;
    for (int i = 0; i < MINUTES; i++) {
        times[i] = first + i * 60 * SEC;
        values[i] = 1;
    }
    assert_ok(append(t, "t", "a", times, values, NULL, MINUTES, NULL, &err), err);
    vio_sim_advance(w->disk, 2 * DAY);
    append_one(t, "a", vv_clock_wall(w->env.clock), 1);
    assert_true(roll_all(w->db) >= 3);
    vio_sim_advance(w->disk, 20 * DAY); /* the samples are gone, the rows are not */
    append_one(t, "a", vv_clock_wall(w->env.clock), 1);
    flush_all(w->db);
    opt.retention_ns = 50 * DAY;
    assert_ok(alter(w->db, "sensors", &opt, VV_CHANGE_RETENTION, &err), err);
    append_one(t, "a", first + 5 * SEC, 7); /* late, and within the retention now */
    assert_true(roll_all(w->db) > 0);
    vv_series_query q = VV_SERIES_QUERY_INIT;
    q.start_ns = first;
    q.end_ns = first + DAY;
    q.step_ns = HOUR;
    q.aggregate = VV_AGG_COUNT;
    assert_ok(ask(t, &q, &a, &err), err);
    assert_int_equal(a.count, 24);
    assert_true(a.value[23] == 60);
    vv_table_close(t);
}

/* ---- versions ---- */

static vv_status read_as_of(vv_table *t, int64_t time_ns, char out[8], vv_error *err)
{
    vv_value v;
    vv_read_options opt = VV_READ_OPTIONS_INIT;
    opt.as_of_time_ns = time_ns;
    vv_status st = vv_get_with(t, &opt, S("k"), &v, err);
    if (st != VV_OK)
        return st;
    (void)snprintf(out, 8, "%.*s", (int)v.data.len, (const char *)v.data.data);
    vv_value_release(&v);
    return st;
}

static vv_table *versioned(vv_db *db)
{
    vv_error err = {0};
    vv_table *t = NULL;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.version_retention_ns = HOUR;
    opt.partitions = test_partitions;
    opt.if_not_exists = true;
    assert_ok(vv_table_create(db, "plant", "marked", &opt, &t, &err), err);
    return t;
}

/* Versions that were let go before are refused, not answered wrongly; those written since are kept.
 */
static void a_longer_retention_of_versions_promises_nothing_that_is_gone(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    char text[8];
    vv_table_options to = VV_TABLE_OPTIONS_INIT;
    make(w->db, "kv", VV_TABLE_KV);
    vv_table *t = NULL;
    assert_ok(vv_table_open(w->db, "plant", "kv", &t, &err), err);
    vv_table *marked = versioned(w->db); /* so there are marks */
    int64_t times[20];
    for (int i = 0; i < 20; i++) {
        (void)snprintf(text, sizeof text, "v%d", i);
        put(t, "k", text);
        vio_sim_advance(w->disk, 5 * SEC);
        put(marked, "k", text);
        vio_sim_advance(w->disk, 5 * SEC);
        times[i] = vv_clock_wall(w->env.clock);
        vio_sim_advance(w->disk, 10 * SEC);
        if (i == 9) {
            flush_all(w->db); /* nothing older than now is kept */
            assert_ok(vv_compact(t, vv_slice_of(NULL, 0), vv_slice_of(NULL, 0), &err), err);
            to.version_retention_ns = HOUR;
            assert_ok(alter(w->db, "kv", &to, VV_CHANGE_VERSION_RETENTION, &err), err);
        }
    }
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 9; i++)
            assert_status(VV_UNSUPPORTED, read_as_of(t, times[i], text, &err));
        for (int i = 11; i < 20; i++) {
            char want[8];
            (void)snprintf(want, sizeof want, "v%d", i);
            assert_ok(read_as_of(t, times[i], text, &err), err);
            assert_string_equal(text, want);
        }
        vv_table_close(t);
        flush_all(w->db);
        vv_table_close(marked);
        sim_reopen(w);
        assert_ok(vv_table_open(w->db, "plant", "kv", &t, &err), err);
        marked = versioned(w->db);
    }
    to.version_retention_ns = 0;
    assert_ok(alter(w->db, "kv", &to, VV_CHANGE_VERSION_RETENTION, &err), err);
    flush_all(w->db);
    put(t, "k", "last");
    flush_all(w->db);
    assert_ok(vv_compact(t, vv_slice_of(NULL, 0), vv_slice_of(NULL, 0), &err), err);
    assert_status(VV_UNSUPPORTED, read_as_of(t, times[12], text, &err));
    vv_table_close(marked);
    vv_table_close(t);
}

/* ---- streams ---- */

static void a_stream_keeps_less_at_once(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    uint64_t removed = 0;
    make(w->db, "events", VV_TABLE_STREAM);
    vv_table *t = NULL;
    assert_ok(vv_table_open(w->db, "plant", "events", &t, &err), err);
    const vv_message m = {.value = S("a message")};
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    opt.partition = 0;
    for (int i = 0; i < 10; i++) {
        assert_ok(vv_stream_append(t, &m, 1, &opt, NULL, &err), err);
        vio_sim_advance(w->disk, HOUR);
    }
    vv_table_options to = VV_TABLE_OPTIONS_INIT;
    to.message_size_max = 5;
    to.retention_ns = 5 * HOUR + HOUR / 2;
    assert_ok(alter(w->db, "events", &to, VV_CHANGE_RETENTION | VV_CHANGE_MESSAGE_SIZE, &err), err);
    assert_status(VV_INVALID, vv_stream_append(t, &m, 1, &opt, NULL, &err));
    while (db_step(w->db, &err) == VV_OK) {
    }
    vv_stream_stats stats = {.size = sizeof stats};
    assert_ok(vv_stream_stats_read(t, 0, NULL, &stats, &err), err);
    assert_int_equal(stats.first_offset, 5);
    assert_ok(vv_stream_retain(t, &removed, &err), err);
    assert_int_equal(removed, 0);
    vv_table_close(t);
}

/* ---- crash and failure ---- */

#define RULES_BEFORE "a = const 1"
#define RULES_AFTER "b = json $.x int"

/* A stream with rules gets other ones. */
static vv_status give_rules(sim_world *w, vv_error *err)
{
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    vv_table *t = NULL;
    const vv_message m = {.value = S("{\"x\":7}")};
    opt.kind = VV_TABLE_STREAM;
    opt.extract_rules = RULES_BEFORE;
    vv_status st = vv_table_create(w->db, "plant", "events", &opt, &t, err);
    if (st == VV_OK)
        st = vv_stream_append(t, &m, 1, NULL, NULL, err);
    opt.extract_rules = RULES_AFTER;
    if (st == VV_OK)
        st = alter(w->db, "events", &opt, VV_CHANGE_EXTRACT, err);
    if (st == VV_OK)
        st = vv_stream_append(t, &m, 1, NULL, NULL, err);
    vv_table_close(t);
    return st;
}

static void check_rules(sim_world *w, bool is_acked)
{
    vv_error err = {0};
    vv_table *t = NULL;
    vv_stream_cursor *c = NULL;
    vv_table_info info;
    vv_message m;
    vv_status st = vv_table_open(w->db, "plant", "events", &t, &err);
    assert_true(st == VV_OK || (st == VV_NOT_FOUND && !is_acked));
    if (st != VV_OK)
        return;
    assert_ok(vv_table_identify(t, &info, &err), err);
    bool is_new = strcmp(info.extract_rules, RULES_AFTER) == 0;
    assert_true(is_new || (strcmp(info.extract_rules, RULES_BEFORE) == 0 && !is_acked));
    assert_ok(vv_stream_append(t, &(vv_message){.value = S("{\"x\":7}")}, 1, NULL, NULL, &err),
              err);
    assert_ok(vv_stream_cursor_open(t, NULL, &c, &err), err);
    while ((st = vv_stream_cursor_next(c, &m, &err)) == VV_OK) {
        assert_int_equal(m.attribute_count, 1);
        bool is_by_new = vv_slice_eq(m.attributes[0].name, S("b"));
        assert_true(m.attributes[0].i64 == (is_by_new ? 7 : 1));
        assert_true(m.offset != 0 || !is_by_new || !is_acked);
    }
    assert_status(VV_NOT_FOUND, st);
    vv_stream_cursor_close(c);
    vv_table_close(t);
}

static vv_status workload(sim_world *w, vv_error *err)
{
    const vv_keep_rule rule = {{VV_MATCH_RE, S("host"), S("a.*")}, 7 * DAY};
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    vv_table *t = NULL;
    opt.kind = VV_TABLE_SERIES;
    opt.partitions = test_partitions;
    vv_status st = vv_table_create(w->db, "plant", "sensors", &opt, &t, err);
    if (st != VV_OK)
        return st;
    const int64_t now = vv_clock_wall(w->env.clock);
    st = append(t, "t", "a", &now, &(double){1}, NULL, 1, NULL, err);
    opt.retention_ns = 30 * DAY;
    opt.keep_rules = &rule;
    opt.keep_rule_count = 1;
    if (st == VV_OK)
        st = alter(w->db, "sensors", &opt, VV_CHANGE_RETENTION | VV_CHANGE_KEEP_RULES, err);
    vv_table_close(t);
    return st == VV_OK ? give_rules(w, err) : st;
}

/* All of it or nothing; all, where it was acknowledged. */
static void check_whole(sim_world *w, bool is_acked)
{
    vv_error err = {0};
    vv_table *t = NULL;
    vv_table_info info;
    vv_status st = vv_table_open(w->db, "plant", "sensors", &t, &err);
    assert_true(st == VV_OK || (st == VV_NOT_FOUND && !is_acked));
    if (st != VV_OK)
        return;
    assert_ok(vv_table_identify(t, &info, &err), err);
    bool is_new = info.retention_ns == 30 * DAY && info.keep_rule_count == 1;
    bool is_old = info.retention_ns == 0 && info.keep_rule_count == 0;
    assert_true(is_new || (is_old && !is_acked));
    assert_int_equal(count_of(t, "a"), is_acked || count_of(t, "a") > 0);
    vv_table_close(t);
    check_rules(w, is_acked);
}

static void close_anyhow(sim_world *w)
{
    if (w->db != NULL)
        db_abandon(w->db);
    w->db = NULL;
    sim_off(w);
}

static void power_fails_at_every_write(void **state)
{
    sim_world *w = *state;
    uint64_t seed = vv_test_seed(0xa17e);
    bool cut = true;
    sim_end(w);
    for (uint64_t n = 1; cut; n++) {
        vv_error err = {0};
        w->disk = vio_sim_disk_create();
        const vio_sim_options sim = {.seed = seed + n, .cut_after_writes = n, .tear = true};
        assert_ok(sim_on(w, &sim, &err), err);
        vv_status st = sim_open_db(w, &err);
        if (st == VV_OK)
            st = workload(w, &err);
        cut = vio_sim_is_off(w->disk);
        assert_true(cut || st == VV_OK);
        if (!cut)
            vio_sim_cut(w->disk);
        close_anyhow(w);
        sim_start(w);
        check_whole(w, st == VV_OK);
        sim_end(w);
    }
    sim_start(w);
}

static void every_allocation_fails_once(void **state)
{
    sim_world *w = *state;
    bool hit = true;
    sim_end(w);
    for (uint64_t n = 0; hit; n += vv_test_count("VV_ALLOC_STEP", 3)) {
        vv_error err = {0};
        sim_start(w);
        uint64_t from = vv_alloc_count();
        vv_alloc_fail_after((int64_t)n, 0);
        vv_status st = workload(w, &err);
        vv_alloc_fail_after(-1, 0);
        hit = vv_alloc_count() - from > n;
        if (!atomic_load(&w->db->failed))
            check_whole(w, st == VV_OK);
        close_anyhow(w);
        sim_start(w);
        check_whole(w, st == VV_OK);
        sim_end(w);
    }
    sim_start(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TP(every_field_is_changed_and_stays),
        TP(what_is_fixed_is_refused_by_name),
        TP(rules_of_series_change_while_they_are_written),
        TP(rows_outlive_a_longer_retention),
        TP(a_longer_retention_of_versions_promises_nothing_that_is_gone),
        TP(a_stream_keeps_less_at_once),
        TP(power_fails_at_every_write),
        TP(every_allocation_fails_once),
    };
    return run_on_each(tests, ARRAY_LEN(tests));
}
