/*
 * db_series_query_test.c - whole queries beside the plain way to work them out: any aggregate,
 * group, fill, quality and type, over samples that came in any order, were written twice, deleted,
 * flushed and compacted; and what a query may hold and give at once.
 */
#include "base/rng.h"
#include "db/db_series_test_util.h"
#include "series/series_model.h"

#define HOSTS 6u
#define TIMES 400u
#define STEP_NS (10 * SEC)
#define ZONES 3u

/* What was written, host by host; a time without a sample has `there` false. */
typedef struct model {
    struct {
        vv_sample_type type;
        bool there[TIMES];
        double value[TIMES];
        uint32_t quality[TIMES];
    } host[HOSTS];
} model;

/* Negative times among them; no two the same distance apart. */
static int64_t time_of(size_t i)
{
    return ((int64_t)i - 100) * STEP_NS + (int64_t)(i * 7919 % 3) * SEC;
}

static void host_name(unsigned h, char out[8])
{
    (void)snprintf(out, 8, "h%u", h);
}

static void begin_host(vv_samples *s, unsigned h, vv_sample_type type)
{
    char host[8];
    char zone[8];
    vv_error err = {0};
    host_name(h, host);
    (void)snprintf(zone, sizeof zone, "z%u", h % ZONES);
    vv_label labels[] = {{S("__name__"), S("t")}, {S("host"), S(host)}, {S("zone"), S(zone)}};
    assert_ok(vv_samples_series(s, labels, 3, type, &err), err);
}

static void add_sample(vv_samples *s, const model *m, unsigned h, size_t i)
{
    vv_error err = {0};
    const int64_t time = time_of(i);
    const double f64 = m->host[h].value[i];
    const int64_t i64 = isnan(f64) ? 0 : (int64_t)f64;
    const bool b = f64 != 0;
    const uint32_t quality = m->host[h].quality[i];
    vv_status st = m->host[h].type == VV_F64   ? vv_samples_f64(s, &time, &f64, &quality, 1, &err)
                   : m->host[h].type == VV_I64 ? vv_samples_i64(s, &time, &i64, &quality, 1, &err)
                                               : vv_samples_bool(s, &time, &b, &quality, 1, &err);
    assert_ok(st, err);
}

static double any_value(vv_rng *rng, vv_sample_type type)
{
    if (type == VV_BOOL)
        return (double)vv_rng_below(rng, 2);
    if (type == VV_F64 && vv_rng_one_in(rng, 60))
        return NAN;
    double v = (double)vv_rng_below(rng, 2000) - 700;
    return type == VV_F64 ? v / 8 : v;
}

/* Samples here and there, some of them again. */
static void write_some(vv_table *t, model *m, vv_rng *rng)
{
    vv_error err = {0};
    vv_samples *s = vv_samples_create(t);
    assert_non_null(s);
    for (unsigned h = 0; h < HOSTS; h++) {
        begin_host(s, h, m->host[h].type);
        for (size_t k = 0; k < TIMES / 8; k++) {
            size_t i = vv_rng_below(rng, TIMES);
            m->host[h].there[i] = true;
            m->host[h].value[i] = any_value(rng, m->host[h].type);
            m->host[h].quality[i] = vv_rng_one_in(rng, 6) ? (uint32_t)vv_rng_next(rng) : 0;
            add_sample(s, m, h, i);
        }
    }
    assert_ok(vv_series_append(s, VV_DURABLE_DEFAULT, NULL, &err), err);
    vv_samples_destroy(s);
}

static void delete_some(vv_table *t, model *m, vv_rng *rng)
{
    char host[8];
    vv_error err = {0};
    unsigned h = (unsigned)vv_rng_below(rng, HOSTS);
    size_t from = vv_rng_below(rng, TIMES - 20);
    host_name(h, host);
    const vv_matcher which = {VV_MATCH_EQ, S("host"), S(host)};
    assert_ok(vv_series_delete(t, &which, 1, time_of(from), time_of(from + 15), NULL, &err), err);
    for (size_t i = from; i < from + 15; i++)
        m->host[h].there[i] = false;
}

/* ---- the answer of the model ---- */

typedef struct column {
    series_samples s;
    int64_t time[TIMES];
    union {
        double f64[TIMES];
        int64_t i64[TIMES];
        uint8_t b[TIMES];
    } value;
    uint32_t quality[TIMES];
} column;

static void column_of(const model *m, unsigned h, column *out)
{
    uint32_t n = 0;
    for (size_t i = 0; i < TIMES; i++) {
        if (!m->host[h].there[i])
            continue;
        out->time[n] = time_of(i);
        out->quality[n] = m->host[h].quality[i];
        if (m->host[h].type == VV_F64)
            out->value.f64[n] = m->host[h].value[i];
        else if (m->host[h].type == VV_I64)
            out->value.i64[n] = (int64_t)m->host[h].value[i];
        else
            out->value.b[n] = m->host[h].value[i] != 0;
        n++;
    }
    out->s = (series_samples){.type = (series_type)m->host[h].type,
                              .count = n,
                              .time = out->time,
                              .quality = out->quality};
    out->s.value.any = &out->value;
}

static series_edge edge_of(const series_samples *s, bool all_quality, int64_t start, int64_t end,
                           bool before)
{
    series_edge e = {.is_there = false};
    for (uint32_t i = 0; i < s->count; i++) {
        if (!all_quality && !model_is_good(s, i))
            continue;
        if (before ? s->time[i] < start : !e.is_there && s->time[i] >= end)
            e = (series_edge){true, s->time[i], model_number(s, i)};
    }
    return e;
}

static void fill_as_asked(const vv_series_query *q, const series_samples *alone,
                          const model_points *in, model_points *out)
{
    series_fill_options o = {.fill = (series_fill)q->fill,
                             .value = q->fill_value,
                             .max_gap = q->max_gap_ns,
                             .start = q->start_ns,
                             .end = q->end_ns,
                             .step = q->step_ns,
                             .offset = q->offset_ns};
    if (alone != NULL) {
        o.before = edge_of(alone, q->all_quality, q->start_ns, q->end_ns, true);
        o.behind = edge_of(alone, q->all_quality, q->start_ns, q->end_ns, false);
    }
    if (q->fill == VV_FILL_NONE || in->count == 0)
        *out = *in;
    else
        model_fill(in, &o, out);
}

static void append_points(model_points *all, const model_points *more)
{
    for (uint32_t i = 0; i < more->count; i++)
        model_put(all, more->time[i], more->value[i], more->is_null[i]);
}

/* All series or groups, one behind the other. */
static void answer_of_model(const model *m, const vv_series_query *q, model_points *out)
{
    static column c[HOSTS];
    static model_points windows[HOSTS], group[HOSTS], joined, filled;
    series_window_options o = {.aggregate = (series_aggregate)q->aggregate,
                               .percentile = q->percentile,
                               .start = q->start_ns,
                               .end = q->end_ns,
                               .step = q->step_ns,
                               .offset = q->offset_ns,
                               .all_quality = q->all_quality};
    out->count = 0;
    for (unsigned h = 0; h < HOSTS; h++) {
        column_of(m, h, &c[h]);
        model_windows(&c[h].s, &o, &windows[h]);
        if (q->is_grouped)
            continue;
        fill_as_asked(q, &c[h].s, &windows[h], &filled);
        append_points(out, &filled);
    }
    unsigned groups = !q->is_grouped ? 0 : q->group_count > 0 ? ZONES : 1;
    for (unsigned g = 0; g < groups; g++) {
        unsigned n = 0;
        for (unsigned h = 0; h < HOSTS; h++)
            if (groups == 1 || h % ZONES == g)
                group[n++] = windows[h];
        model_across(group, n, (series_aggregate)q->across, &joined);
        fill_as_asked(q, NULL, &joined, &filled);
        append_points(out, &filled);
    }
}

/* ---- beside the store's ---- */

static void collect(vv_table *t, const vv_series_query *q, model_points *out)
{
    vv_series_cursor *c = NULL;
    vv_series_block b;
    vv_error err = {0};
    vv_status st;
    out->count = 0;
    assert_ok(vv_series_query_open(t, q, &c, &err), err);
    while ((st = vv_series_query_next(c, &b, &err)) == VV_OK)
        for (size_t i = 0; i < b.count; i++)
            model_put(out, b.time_ns[i], b.f64[i], b.is_null != NULL && b.is_null[i] != 0);
    assert_int_equal(st, VV_NOT_FOUND);
    vv_series_query_close(c);
}

static vv_series_query any_query(vv_rng *rng, const vv_slice *zone)
{
    vv_series_query q = VV_SERIES_QUERY_INIT;
    q.aggregate = (vv_aggregate)(VV_AGG_COUNT + vv_rng_below(rng, VV_AGG_PERCENT_GOOD));
    q.percentile = (double)vv_rng_below(rng, 101);
    q.start_ns = time_of(vv_rng_below(rng, TIMES)) - (int64_t)vv_rng_below(rng, 20) * SEC;
    q.end_ns = q.start_ns + 1 + (int64_t)vv_rng_below(rng, TIMES * STEP_NS);
    q.all_quality = vv_rng_one_in(rng, 2);
    if (!vv_rng_one_in(rng, 6)) {
        q.step_ns = STEP_NS / 2 + (int64_t)vv_rng_below(rng, 40 * STEP_NS);
        q.offset_ns = (int64_t)vv_rng_below(rng, 100 * SEC) - 50 * SEC;
        q.fill = (vv_fill)vv_rng_below(rng, VV_FILL_VALUE + 1);
        q.fill_value = -1;
        q.max_gap_ns = vv_rng_one_in(rng, 2) ? 0 : (int64_t)vv_rng_below(rng, 100 * STEP_NS);
    }
    if (vv_rng_one_in(rng, 2)) {
        q.is_grouped = true;
        q.across = (vv_aggregate)(VV_AGG_COUNT + vv_rng_below(rng, VV_AGG_MAX));
        q.group_by = zone;
        q.group_count = vv_rng_below(rng, 2);
    }
    return q;
}

static void expect_same(const vv_series_query *q, const model_points *got, const model_points *want)
{
    double share = q->aggregate == VV_AGG_STDDEV ? 1e-6 : 1e-9;
    for (uint32_t i = 0; i < want->count; i++)
        if (i == got->count || got->time[i] != want->time[i] ||
            got->is_null[i] != want->is_null[i] ||
            (!want->is_null[i] && !model_is_close(got->value[i], want->value[i], share)))
            fail_msg("VV_SEED=%#llx: aggregate %d across %d fill %d of [%lld, %lld) by %lld: point "
                     "%u at %lld is %.17g, not %.17g at %lld",
                     (unsigned long long)vv_test_seed(21), (int)q->aggregate, (int)q->across,
                     (int)q->fill, (long long)q->start_ns, (long long)q->end_ns,
                     (long long)q->step_ns, i, (long long)(i < got->count ? got->time[i] : -1),
                     i < got->count ? got->value[i] : -1, want->value[i], (long long)want->time[i]);
    assert_int_equal(got->count, want->count);
}

/* A reduction is that of the points without it, series by series; here of one series or group. */
static void expect_reduced(vv_table *t, const vv_series_query *whole, const model_points *all)
{
    static model_points got;
    static uint32_t pick[MODEL_POINTS_MAX];
    vv_series_query q = *whole;
    for (q.reduce = VV_REDUCE_LTTB; q.reduce <= VV_REDUCE_MIN_MAX; q.reduce++) {
        q.points = 5;
        uint32_t n = q.reduce == VV_REDUCE_LTTB
                         ? series_pick_lttb(all->time, all->value, all->count, q.points, pick)
                         : series_pick_min_max(all->time, all->value, all->count, q.points, pick);
        collect(t, &q, &got);
        assert_int_equal(got.count, n);
        for (uint32_t i = 0; i < n; i++)
            assert_int_equal(got.time[i], all->time[pick[i]]);
    }
}

static void prop_queries_are_what_one_would_work_out_by_hand(void **state)
{
    sim_world *w = *state;
    static model m;
    static model_points got, want;
    const vv_slice zone = S("zone");
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(21));
    vv_table *t = any_time_table(w->db);
    m = (model){0};
    for (unsigned h = 0; h < HOSTS; h++)
        m.host[h].type = (vv_sample_type)(VV_F64 + h / 2);
    uint64_t rounds = vv_test_count("VV_QUERIES", 24);
    for (uint64_t r = 0; r < rounds; r++) {
        vv_error err = {0};
        write_some(t, &m, &rng);
        if (r % 3 == 2)
            delete_some(t, &m, &rng);
        if (r % 4 == 1)
            flush_all(w->db);
        if (r % 8 == 5)
            assert_ok(vv_compact(t, S(""), S(""), &err), err);
        for (unsigned k = 0; k < 40; k++) {
            vv_series_query q = any_query(&rng, &zone);
            collect(t, &q, &got);
            answer_of_model(&m, &q, &want);
            expect_same(&q, &got, &want);
            if (q.is_grouped && q.group_count == 0 && q.fill != VV_FILL_NULL)
                expect_reduced(t, &q, &got);
        }
    }
    vv_table_close(t);
}

/* ---- what a query holds, and gives at once ---- */

#define TEXTS 1500u
#define TEXT_LEN 6000u

static void write_texts(vv_table *t, char *text)
{
    vv_error err = {0};
    vv_samples *s = vv_samples_create(t);
    assert_ok(begin_series(s, "t", "a", VV_STRING, &err), err);
    for (int64_t i = 0; i < TEXTS; i++) {
        (void)snprintf(text, TEXT_LEN, "%05d", (int)i);
        text[5] = 'x';
        const vv_slice value = vv_slice_of(text, TEXT_LEN);
        const int64_t time = i * SEC;
        vv_status st = vv_samples_string(s, &time, &value, NULL, 1, &err);
        if (st == VV_BUSY || i % 100 == 99) {
            assert_ok(vv_series_append(s, VV_DURABLE_DEFAULT, NULL, &err), err);
            vv_samples_clear(s);
            assert_ok(begin_series(s, "t", "a", VV_STRING, &err), err);
            if (st == VV_BUSY)
                st = vv_samples_string(s, &time, &value, NULL, 1, &err);
        }
        assert_ok(st, err);
    }
    vv_samples_destroy(s);
}

/* A block is bounded in bytes too: what is made of it on the way out is one message. */
static void texts_come_in_blocks_that_are_not_long(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    char *text = malloc(TEXT_LEN);
    w->db->budget.limit = 64 * VV_MIB; /* a chunk of them is decoded as a whole */
    memset(text, 'x', TEXT_LEN);
    write_texts(t, text);
    for (int round = 0; round < 2; round++) {
        vv_series_query q = VV_SERIES_QUERY_INIT;
        vv_series_cursor *c = NULL;
        vv_series_block b = {.count = 0};
        vv_error err = {0};
        vv_status st;
        size_t count = 0;
        q.end_ns = INT64_MAX;
        assert_ok(vv_series_query_open(t, &q, &c, &err), err);
        while ((st = vv_series_query_next(c, &b, &err)) == VV_OK) {
            size_t bytes = 0;
            for (size_t i = 0; i < b.count; i++, count++) {
                assert_int_equal(b.time_ns[i], (int64_t)count * SEC);
                assert_int_equal(b.string[i].len, TEXT_LEN);
                assert_int_equal(strtol((const char *)b.string[i].data, NULL, 10), count);
                bytes += b.string[i].len;
            }
            assert_true(bytes <= VV_MIB);
            assert_int_equal(b.is_last_of_series, count == TEXTS);
        }
        assert_int_equal(st, VV_NOT_FOUND);
        assert_int_equal(count, TEXTS);
        vv_series_query_close(c);
        flush_all(w->db);
    }
    vv_table_close(t);
    free(text);
}

/* What a query gathers is counted before it is taken, and refused by name where there is no room;
 * nothing of it stays behind. */
static void what_a_query_gathers_is_counted(void **state)
{
    enum { N = 20000, PARTS = 10 };
    static int64_t time[N];
    static double value[N];
    sim_world *w = *state;
    vv_error err = {0};
    answer *a = malloc(sizeof *a);
    vv_table *t = any_time_table(w->db);
    for (int64_t p = 0; p < PARTS; p++) {
        for (int64_t i = 0; i < N; i++) {
            time[i] = (p * N + i) * SEC;
            value[i] = (double)(i % 977);
        }
        assert_ok(append(t, "t", "a", time, value, NULL, N, NULL, &err), err);
    }
    flush_all(w->db);
    vv_budget *budget = &w->db->budget;
    const uint64_t limit = budget->limit;
    vv_series_query lttb = VV_SERIES_QUERY_INIT;
    lttb.end_ns = INT64_MAX;
    lttb.reduce = VV_REDUCE_LTTB;
    lttb.points = 100;
    vv_series_query middle = VV_SERIES_QUERY_INIT;
    middle.end_ns = INT64_MAX;
    middle.aggregate = VV_AGG_PERCENTILE;
    middle.percentile = 50;
    const vv_series_query asked[] = {lttb, middle};
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        uint64_t before = vv_budget_part_used(budget, VV_BUDGET_QUERY);
        assert_ok(ask(t, &asked[i], a, &err), err);
        assert_int_equal(a->count, i == 0 ? 100 : 1);
        budget->limit = vv_budget_used(budget) + vv_budget_kept_from(budget, VV_BUDGET_QUERY) +
                        VV_MIB; /* the points of N x PARTS are more */
        assert_int_equal(ask(t, &asked[i], a, &err), VV_BUSY);
        assert_non_null(strstr(err.msg, "memory_limit"));
        budget->limit = limit;
        assert_int_equal(vv_budget_part_used(budget, VV_BUDGET_QUERY), before);
    }
    vv_table_close(t);
    free(a);
}

/* ---- a query that nobody wants any more ---- */

static bool gone_after(void *ctx)
{
    int *left = ctx;
    return (*left)-- <= 0;
}

/* Within one series, whatever the question: the count of asking is of its pieces. */
static void a_query_is_cancelled_within_a_series(void **state)
{
    enum { MANY = 40000 };
    sim_world *w = *state;
    vv_error err = {0};
    static answer a;
    static int64_t time[MANY];
    static double value[MANY];
    vv_table *t = any_time_table(w->db);
    for (int i = 0; i < MANY; i++) {
        time[i] = i * SEC;
        value[i] = i % 10;
    }
    assert_ok(append(t, "t", "a", time, value, NULL, MANY, NULL, &err), err);
    flush_all(w->db);
    static const struct {
        vv_aggregate aggregate;
        int64_t step_ns;
        vv_reduce reduce;
        bool is_grouped;
    } cases[] = {{VV_AGG_NONE, 0, VV_REDUCE_NONE, false},
                 {VV_AGG_NONE, 0, VV_REDUCE_LTTB, false},
                 {VV_AGG_AVG, 0, VV_REDUCE_NONE, false},
                 {VV_AGG_RATE, 60 * SEC, VV_REDUCE_NONE, false},
                 {VV_AGG_MAX, 60 * SEC, VV_REDUCE_NONE, true}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (int after = 0; after < 4; after++) {
            int left = after;
            vv_series_query q = VV_SERIES_QUERY_INIT;
            q.end_ns = MANY * SEC;
            q.aggregate = cases[i].aggregate;
            q.step_ns = cases[i].step_ns;
            q.reduce = cases[i].reduce;
            q.points = 10;
            q.is_grouped = cases[i].is_grouped;
            q.across = cases[i].is_grouped ? VV_AGG_SUM : VV_AGG_NONE;
            q.cancelled = gone_after;
            q.cancelled_ctx = &left;
            vv_status st = ask(t, &q, &a, &err);
            if (st != VV_CLOSED || strstr(err.msg, "cancelled") == NULL)
                fail_msg("case %zu after %d: %s", i, after, vv_status_name(st));
            left = INT_MAX;
            assert_ok(ask(t, &q, &a, &err), err);
            assert_true(INT_MAX - left > 4 && a.count > 0);
        }
    }
    vv_table_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TP(a_query_is_cancelled_within_a_series),
        TP(prop_queries_are_what_one_would_work_out_by_hand),
        TP(texts_come_in_blocks_that_are_not_long),
        TP(what_a_query_gathers_is_counted),
    };
    return run_on_each(tests, ARRAY_LEN(tests));
}
