/*
 * db_series_limits_test.c - what the index and queries of series may take: labels that grow for
 * ever, many tables, long lists, long strings. Each bound is kept, and told by its name.
 */
#include "db/db_series_samples.h"
#include "db/db_series_test_util.h"

#include "base/util.h"

static int count_one(void *ctx, const vv_series_info *info)
{
    (void)info;
    ++*(unsigned *)ctx;
    return 0;
}

static int count_word(void *ctx, vv_slice word)
{
    (void)word;
    ++*(unsigned *)ctx;
    return 0;
}

/* ---- cardinality ---- */

#define OLD 50u

static void add_host(vv_samples *s, const char *host, int64_t time)
{
    const double value = (double)time;
    vv_error err = {0};
    assert_ok(begin_series(s, "t", host, VV_F64, &err), err);
    assert_ok(vv_samples_f64(s, &time, &value, NULL, 1, &err), err);
}

static void labels_that_grow_under_a_limit_stay_flat(void **state)
{
    enum { ROUNDS = 40, NEW = 300 };
    sim_world *w = *state;
    sim_close(w);
    w->opt.series_max = OLD;
    sim_start(w);
    vv_table *t = any_time_table(w->db);
    vv_samples *s = vv_samples_create(t);
    vv_error err = {0};
    vv_append_result r;
    char host[40];
    uint64_t held = 0;
    size_t labels = 0;
    uint32_t slots = 0;
    for (int round = 0; round < ROUNDS; round++) {
        vv_samples_clear(s);
        for (unsigned i = 0; i < OLD; i++) {
            (void)snprintf(host, sizeof host, "old%u", i);
            add_host(s, host, 1 + round);
        }
        for (int i = 0; i < NEW; i++) {
            (void)snprintf(host, sizeof host, "attack-%d-%d", round, i);
            add_host(s, host, 1 + round);
        }
        assert_int_equal(vv_series_append(s, VV_DURABLE_DEFAULT, &r, &err), VV_BUSY);
        assert_non_null(strstr(err.msg, "tenant 'plant' has 50 series"));
        assert_non_null(strstr(err.msg, "series_max (varved: series.max_per_tenant) is 50"));
        assert_int_equal(r.accepted, OLD);
        assert_int_equal(r.refused, NEW);
        assert_int_equal(r.series_created, round == 0 ? OLD : 0);
        if (round == ROUNDS / 4) {
            held = atomic_load(&w->db->series_cached);
            labels = s->labels.used;
            slots = s->slot_cap;
        }
    }
    assert_int_equal(atomic_load(&w->db->series_cached), held);
    assert_true(s->labels.used <= 2 * labels);
    assert_int_equal(s->slot_cap, slots);
    vv_samples_destroy(s);
    answer *a = malloc(sizeof *a);
    for (unsigned i = 0; i < OLD; i++) {
        (void)snprintf(host, sizeof host, "old%u", i);
        ask_raw(t, NULL, host, 0, 1000, a);
        assert_int_equal(a->count, ROUNDS);
    }
    unsigned n = 0;
    assert_ok(vv_series_label_values(t, S("host"), NULL, 0, count_word, &n, &err), err);
    assert_int_equal(n, OLD); /* nothing of the others is in the index */
    vv_table_close(t);
    free(a);
}

/* ---- memory of the index ---- */

static vv_table *numbered_table(vv_db *db, int i)
{
    char name[16];
    vv_error err = {0};
    vv_table *t = NULL;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = VV_TABLE_SERIES;
    opt.future_ns = INT64_MAX;
    opt.partitions = test_partitions;
    opt.if_not_exists = true;
    (void)snprintf(name, sizeof name, "tenant%d", i);
    assert_ok(vv_table_create(db, name, "sensors", &opt, &t, &err), err);
    return t;
}

static void many_tables_share_one_bound(void **state)
{
    enum { TABLES = 10, SERIES = 800 };
    sim_world *w = *state;
    uint64_t max = w->db->opt.memory_limit / 8;
    uint64_t slack = (uint64_t)SERIES * (sizeof(db_series_entry) + 100); /* of an append */
    vv_error err = {0};
    vv_table *t[TABLES];
    unsigned highest = 0;
    for (int i = 0; i < TABLES; i++) {
        t[i] = numbered_table(w->db, i);
        vv_samples *s = vv_samples_create(t[i]);
        for (int k = 0; k < SERIES; k++) {
            char host[16];
            (void)snprintf(host, sizeof host, "h%d", k);
            add_host(s, host, i);
        }
        assert_ok(vv_series_append(s, VV_DURABLE_DEFAULT, NULL, &err), err);
        vv_samples_destroy(s);
        uint64_t cached = atomic_load(&w->db->series_cached);
        assert_true(cached <= max + slack);
        highest += cached > max / 2;
    }
    assert_true(highest > 0);                          /* there was something to bound */
    for (int round = 0; round < 2 * TABLES; round++) { /* all of them are asked in turn */
        unsigned n = 0;
        vv_matcher m = {VV_MATCH_RE, S("host"), S("h.*")};
        vv_series_query q = VV_SERIES_QUERY_INIT;
        answer *a = malloc(sizeof *a);
        q.matchers = &m;
        q.matcher_count = 1;
        q.end_ns = 100;
        assert_ok(ask(t[round % TABLES], &q, a, &err), err);
        assert_int_equal(a->count, SERIES);
        assert_true(a->value[0] == (double)(round % TABLES));
        assert_ok(vv_series_list(t[round % TABLES], NULL, 0, 0, count_one, &n, &err), err);
        assert_int_equal(n, SERIES);
        assert_true(atomic_load(&w->db->series_cached) <= max + slack);
        free(a);
    }
    append_one(t[0], "one more", 1, 1);
    append_one(t[1], "one more", 1, 1);
    assert_true(vv_budget_part_used(&w->db->budget, VV_BUDGET_INDEX) >=
                atomic_load(&w->db->series_cached));
    for (int i = 0; i < TABLES; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "tenant%d", i);
        vv_table_close(t[i]);
        assert_ok(vv_table_drop(w->db, name, "sensors", &err), err);
    }
    assert_int_equal(atomic_load(&w->db->series_cached), 0);
    assert_int_equal(w->db->series_table_count, 0);
}

/* ---- memory of questions ---- */

static vv_status ask_kind(vv_table *t, int kind, const vv_matcher *m, vv_error *err)
{
    unsigned n = 0;
    vv_series_query q = VV_SERIES_QUERY_INIT;
    vv_series_cursor *c = NULL;
    vv_status st;
    switch (kind) {
    case 0:
        return vv_series_list(t, m, 1, 0, count_one, &n, err);
    case 1:
        return vv_series_label_values(t, S("host"), m, 1, count_word, &n, err);
    case 2:
        return vv_series_label_names(t, m, 1, count_word, &n, err);
    default:
        q.matchers = m;
        q.matcher_count = 1;
        q.end_ns = 100;
        st = vv_series_query_open(t, &q, &c, err);
        vv_series_query_close(c);
        return st;
    }
}

static void questions_over_memory_limit_are_refused(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    vv_samples *s = vv_samples_create(t);
    vv_error err = {0};
    for (int k = 0; k < 300; k++) {
        char host[16];
        (void)snprintf(host, sizeof host, "h%d", k);
        add_host(s, host, 1);
    }
    assert_ok(vv_series_append(s, VV_DURABLE_DEFAULT, NULL, &err), err);
    vv_samples_destroy(s);
    vv_matcher m = {VV_MATCH_RE, S("host"), S("h.*")};
    vv_budget *b = &w->db->budget;
    uint64_t taken = b->limit - vv_budget_used(b);
    uint64_t index = b->share[VV_BUDGET_INDEX];
    b->share[VV_BUDGET_INDEX] = 0;
    for (int kind = 0; kind < 4; kind++) {
        vv_budget_take(b, VV_BUDGET_NETWORK, taken);
        vv_status st = ask_kind(t, kind, &m, &err);
        vv_budget_release(b, VV_BUDGET_NETWORK, taken);
        assert_int_equal(st, VV_BUSY);
        assert_non_null(strstr(err.msg, "memory_limit"));
        assert_ok(ask_kind(t, kind, &m, &err), err);
        assert_int_equal(vv_budget_part_used(b, VV_BUDGET_QUERY), 0);
    }
    b->share[VV_BUDGET_INDEX] = index;
    vv_table_close(t);
}

/* ---- strings ---- */

#define TEXTS 800u

static void write_texts(vv_table *t, bool is_same)
{
    static char text[VV_SAMPLE_STRING_MAX];
    vv_error err = {0};
    vv_samples *s = vv_samples_create(t);
    for (unsigned i = 0; i < TEXTS; i++) {
        int64_t time = (int64_t)i * SEC;
        memset(text, is_same ? 'x' : 'a' + (int)(i % 26), sizeof text);
        vv_slice value = vv_slice_of(text, sizeof text);
        assert_ok(begin_series(s, is_same ? "same" : "other", "a", VV_STRING, &err), err);
        assert_ok(vv_samples_string(s, &time, &value, NULL, 1, &err), err);
        if (i % 50 != 49)
            continue;
        assert_ok(vv_series_append(s, VV_DURABLE_DEFAULT, NULL, &err), err);
        vv_samples_clear(s);
    }
    vv_samples_destroy(s);
}

/* 50 MiB of strings are given some MiB at a time, and what is held is counted. */
static void blocks_of_strings_are_bounded(void **state)
{
    sim_world *w = *state;
    sim_close(w);
    w->opt.memory_limit = 128u << 20;
    w->opt.memtable_size = 4u << 20;
    w->opt.log_ring_size = 0;
    w->opt.log_segment_size = 0;
    w->opt.log_limit = 0;
    sim_start(w);
    vv_table *t = any_time_table(w->db);
    vv_budget *b = &w->db->budget;
    write_texts(t, true);
    write_texts(t, false);
    flush_all(w->db);
    for (int k = 0; k < 2; k++) {
        vv_matcher m = {VV_MATCH_EQ, S("__name__"), S(k == 0 ? "same" : "other")};
        vv_series_query q = VV_SERIES_QUERY_INIT;
        vv_series_cursor *c = NULL;
        vv_series_block block;
        vv_error err = {0};
        size_t count = 0;
        uint64_t held = 0;
        q.matchers = &m;
        q.matcher_count = 1;
        q.end_ns = INT64_MAX;
        assert_ok(vv_series_query_open(t, &q, &c, &err), err);
        vv_status st;
        while ((st = vv_series_query_next(c, &block, &err)) == VV_OK) {
            for (size_t i = 0; i < block.count; i++, count++) {
                assert_int_equal(block.string[i].len, VV_SAMPLE_STRING_MAX);
                char want = (char)(k == 0 ? 'x' : 'a' + (int)(count % 26));
                assert_true(block.string[i].data[0] == want);
            }
            held = vv_max_u64(held, vv_budget_part_used(b, VV_BUDGET_QUERY));
        }
        assert_int_equal(st, VV_NOT_FOUND);
        assert_int_equal(count, TEXTS);
        if (held < 8 * 1024 || held > 20 * VV_MIB)
            fail_msg("%llu bytes held", (unsigned long long)held);
        vv_series_query_close(c);
        assert_int_equal(vv_budget_part_used(b, VV_BUDGET_QUERY), 0);
        /* Without memory it is refused, and goes on to be an answer later. */
        assert_ok(vv_series_query_open(t, &q, &c, &err), err);
        uint64_t taken = b->limit - vv_budget_used(b);
        vv_budget_take(b, VV_BUDGET_NETWORK, taken);
        assert_int_equal(vv_series_query_next(c, &block, &err), VV_BUSY);
        assert_non_null(strstr(err.msg, "memory_limit"));
        vv_budget_release(b, VV_BUDGET_NETWORK, taken);
        vv_series_query_close(c);
        assert_int_equal(vv_budget_part_used(b, VV_BUDGET_QUERY), 0);
    }
    vv_table_close(t);
}

/* ---- async, and not written ---- */

typedef struct told {
    unsigned times;
    vv_status st;
    bool has_result;
} told;

static void note_answer(void *ctx, vv_status st, const vv_append_result *r, const vv_error *err)
{
    told *t = ctx;
    t->times++;
    t->st = st;
    t->has_result = r != NULL;
    assert_true(st == VV_OK || err->msg[0] != '\0');
}

static void an_append_that_is_not_written_has_no_result(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    told t = {0};
    vv_table *table = series_table(w->db, 0, SEC); /* nothing of the future */
    vv_samples *s = vv_samples_create(table);
    const int64_t now = vv_clock_wall(w->db->env->clock);
    const int64_t times[2] = {now, now + 1000 * SEC};
    const double values[2] = {1, 2};
    for (int cut = 0; cut < 2; cut++) {
        vv_samples_clear(s);
        assert_ok(begin_series(s, "t", "a", VV_F64, &err), err);
        assert_ok(vv_samples_f64(s, times, values, NULL, 2, &err), err);
        if (cut)
            vio_sim_cut(w->disk);
        t = (told){0};
        assert_ok(vv_series_append_async(s, VV_DURABLE_SYNC, note_answer, &t, &err), err);
        assert_int_equal(t.times, 1);
        /* one sample is refused: of those that were written it is told, of the others nothing */
        assert_true(cut ? t.st == VV_IO && !t.has_result : t.has_result);
    }
    vv_samples_destroy(s);
    vv_table_close(table);
    db_abandon(w->db);
    sim_off(w);
    sim_start(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TP(labels_that_grow_under_a_limit_stay_flat),    TP(many_tables_share_one_bound),
        TP(questions_over_memory_limit_are_refused),     TP(blocks_of_strings_are_bounded),
        TP(an_append_that_is_not_written_has_no_result),
    };
    return run_on_each(tests, ARRAY_LEN(tests));
}
