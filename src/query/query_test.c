/*
 * query_test.c - order, limit and offset against a naive model, projection, limits, snapshots.
 */
#include "query/query.h"

#include <math.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "query/query_test_util.h"

#define MODEL_MAX 60

typedef struct model_row {
    char id[8];
    int64_t ts;
    int n; /* field "n": below 10 a number, 10 a string, 11 missing, 12 null */
    int s; /* field "s": a letter, or 0 for missing */
} model_row;

typedef struct model_order {
    const char *column;
    bool descending;
} model_order;

/* A number for each value of a column, in order; missing and null last. */
static double model_key(const model_row *r, const char *column)
{
    if (strcmp(column, "_id") == 0)
        return atof(r->id + 1);
    if (strcmp(column, "_timestamp") == 0)
        return (double)r->ts;
    if (strcmp(column, "n") == 0)
        return r->n <= 10 ? (double)r->n : (double)NAN;
    return r->s != 0 ? (double)r->s : (double)NAN;
}

static int model_compare(const model_row *a, const model_row *b, const model_order *order,
                         size_t count)
{
    for (size_t i = 0; i < count; i++) {
        double x = model_key(a, order[i].column);
        double y = model_key(b, order[i].column);
        if (isnan(x) || isnan(y)) {
            if (isnan(x) != isnan(y))
                return isnan(x) ? 1 : -1;
            continue;
        }
        if (x != y)
            return (x < y) == order[i].descending ? 1 : -1;
    }
    int c = strcmp(a->id, b->id);
    return count > 0 && order[count - 1].descending ? -c : c;
}

static void put_model(fixture *f, const model_row *r)
{
    char json[80];
    char n[16] = "\"n\":null";
    char s[16] = "";
    if (r->n < 10)
        snprintf(n, sizeof n, "\"n\":%d", r->n);
    else if (r->n == 10)
        snprintf(n, sizeof n, "\"n\":\"z\"");
    else if (r->n == 11)
        snprintf(n, sizeof n, "\"m\":0");
    if (r->s != 0)
        snprintf(s, sizeof s, ",\"s\":\"%c\"", r->s);
    snprintf(json, sizeof json, "{%s%s}", n, s);
    fixture_put(f, r->id, r->ts, json, NULL, NULL);
}

static void check_question(const fixture *f, const model_row *rows, size_t count, vv_rng *rng)
{
    static const char *const columns[] = {"_id", "_timestamp", "n", "s"};
    model_order order[3];
    query_order asked[3];
    size_t order_count = vv_rng_below(rng, 4);
    for (size_t i = 0; i < order_count; i++) {
        order[i] = (model_order){columns[vv_rng_below(rng, 4)], vv_rng_below(rng, 2)};
        asked[i] = (query_order){vv_slice_str(order[i].column), order[i].descending};
    }
    int64_t floor_ns = (int64_t)vv_rng_below(rng, 30);
    query_ask ask = {
        .order = asked,
        .order_count = order_count,
        .limit = (int64_t)vv_rng_below(rng, 3) == 0 ? QUERY_NO_LIMIT
                                                    : 1 + (int64_t)vv_rng_below(rng, 70),
        .offset = (int64_t)vv_rng_below(rng, 3) == 0 ? (int64_t)vv_rng_below(rng, 20) : 0,
        .has_start = vv_rng_below(rng, 2),
        .start_ns = floor_ns};
    model_row sorted[MODEL_MAX] = {0};
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        if (!ask.has_start || rows[i].ts >= floor_ns)
            sorted[n++] = rows[i];
    /* Without an order_by records come by time or by key, as the path gives them. */
    model_order by_path[1] = {{ask.has_start ? "_timestamp" : "_id", false}};
    const model_order *by = order_count == 0 ? by_path : order;
    size_t by_count = order_count == 0 ? 1 : order_count;
    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j > 0 && model_compare(&sorted[j - 1], &sorted[j], by, by_count) > 0;
             j--) {
            model_row t = sorted[j];
            sorted[j] = sorted[j - 1];
            sorted[j - 1] = t;
        }
    char want[MODEL_MAX * 8] = "";
    size_t at = 0;
    size_t begin = (size_t)ask.offset < n ? (size_t)ask.offset : n;
    size_t end = ask.limit < (int64_t)(n - begin) ? begin + (size_t)ask.limit : n;
    for (size_t i = begin; i < end; i++)
        at +=
            (size_t)snprintf(want + at, sizeof want - at, "%s%s", at == 0 ? "" : " ", sorted[i].id);

    query_env env = fixture_env(f);
    char got[MODEL_MAX * 8];
    vv_error err = {0};
    assert_ok(ask_ids(&ask, &env, got, sizeof got, NULL, &err), err);
    if (strcmp(got, want) != 0)
        fail_msg("order of %zu, limit %lld, offset %lld:\n got '%s'\nwant '%s'", order_count,
                 (long long)ask.limit, (long long)ask.offset, got, want);
}

static void prop_order_limit_offset_as_the_model(void **state)
{
    (void)state;
    uint64_t seed = vv_test_seed(0x0def);
    vv_rng rng;
    vv_rng_init(&rng, seed);
    for (uint64_t round = 0; round < vv_test_count("VV_ROUNDS", 15); round++) {
        fixture f;
        model_row rows[MODEL_MAX];
        size_t count = vv_rng_below(&rng, MODEL_MAX);
        fixture_open(&f);
        for (size_t i = 0; i < count; i++) {
            rows[i] =
                (model_row){.ts = (int64_t)vv_rng_below(&rng, 30),
                            .n = (int)vv_rng_below(&rng, 13),
                            .s = vv_rng_one_in(&rng, 4) ? 0 : (int)('a' + vv_rng_below(&rng, 5))};
            snprintf(rows[i].id, sizeof rows[i].id, "k%03zu", i);
            put_model(&f, &rows[i]);
        }
        for (int i = 0; i < 100; i++)
            check_question(&f, rows, count, &rng);
        fixture_close(&f);
    }
}

/* ---- the rest ---- */

static void test_has_more_and_counts(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    put_types(&f);
    query_env env = fixture_env(&f);
    const query_order by_v = {vv_slice_str("v"), false};
    const struct {
        int64_t limit, offset;
        bool sorted, more;
        uint64_t returned;
    } cases[] = {
        {9, 0, false, true, 9},   {10, 0, false, false, 10}, {11, 0, false, false, 10},
        {9, 1, false, false, 9},  {8, 1, false, true, 8},    {9, 0, true, true, 9},
        {10, 0, true, false, 10}, {9, 1, true, false, 9},    {1, 20, true, false, 0},
        {1, 20, false, false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        query_ask ask = {.limit = cases[i].limit,
                         .offset = cases[i].offset,
                         .order = &by_v,
                         .order_count = cases[i].sorted};
        vv_error err = {0};
        query *q;
        query_row row;
        query_stats stats;
        bool more;
        assert_ok(query_open(&ask, &env, &q, &err), err);
        while (query_next(q, &row, &err) == VV_OK) {
        }
        assert_ok(query_has_more(q, &more, &err), err);
        query_stats_read(q, &stats);
        if (more != cases[i].more || stats.returned_rows != cases[i].returned)
            fail_msg("case %zu: more %d, returned %llu", i, more,
                     (unsigned long long)stats.returned_rows);
        if (!more)
            assert_int_equal(stats.matched_rows, 10);
        query_close(q);
    }
    fixture_close(&f);
}

/* Where metadata repeats a key, the last counts. */
static void test_repeated_metadata(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    uint8_t meta[64];
    size_t len = 0;
    const char *const pairs[][2] = {{"k", "first"}, {"other", "x"}, {"k", "last"}};
    for (size_t i = 0; i < 3; i++)
        assert_true(vv_record_metadata_add(meta, sizeof meta, &len, vv_slice_str(pairs[i][0]),
                                           vv_slice_str(pairs[i][1])));
    const vv_record r = {.metadata = vv_slice_of(meta, len), .metadata_count = 3};
    vv_error err = {0};
    vv_batch *batch = vv_batch_create(f.db);
    assert_ok(vv_batch_put_record(batch, f.table, vv_slice_str("a"), &r, &err), err);
    assert_ok(vv_write(f.db, batch, VV_DURABLE_DEFAULT, NULL, &err), err);
    vv_batch_destroy(batch);
    query_env env = fixture_env(&f);
    for (int last = 0; last < 2; last++) {
        vv_buf value;
        char got[16];
        const query_filter filter = {vv_slice_str("_metadata.k"), vv_slice_str("="),
                                     value_of(last ? "\"last\"" : "\"first\"", &value)};
        const query_ask ask = {.filters = &filter, .filter_count = 1};
        assert_ok(ask_ids(&ask, &env, got, sizeof got, NULL, &err), err);
        assert_string_equal(got, last ? "a" : "");
        vv_buf_fini(&value);
    }
    fixture_close(&f);
}

static void test_projection(void **state)
{
    (void)state;
    const struct {
        const char *column[3];
        const char *want;
        bool metadata;
    } cases[] = {
        {{"v"}, "{\"v\":1}", false},
        {{"o.x.y"}, "{\"o\":{\"x\":{\"y\":7}}}", false},
        {{"o.x", "v", "none"}, "{\"v\":1,\"o\":{\"x\":{\"y\":7}}}", false},
        {{"_id"}, "{}", false},
        {{"_metadata.site"}, "{}", true},
        {{"_metadata"}, "{}", true},
        {{"v", "*"}, "{\"v\":1,\"o\":{\"x\":{\"y\":7}}}", true},
    };
    fixture f;
    fixture_open(&f);
    put_types(&f);
    query_env env = fixture_env(&f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_slice columns[3];
        query_ask ask = {.projection = columns, .limit = 1};
        for (; ask.projection_count < 3 && cases[i].column[ask.projection_count] != NULL;
             ask.projection_count++)
            columns[ask.projection_count] = vv_slice_str(cases[i].column[ask.projection_count]);
        query *q;
        query_row row;
        vv_error err = {0};
        vv_buf text;
        vv_buf_init(&text, 1 << 16);
        assert_ok(query_open(&ask, &env, &q, &err), err);
        assert_ok(query_next(q, &row, &err), err);
        assert_int_equal(json_put_struct(&text, row.body), VV_OK);
        vv_buf_append_u8(&text, 0);
        assert_string_equal((char *)text.data, cases[i].want);
        assert_int_equal(row.metadata.len > 0, cases[i].metadata);
        vv_buf_fini(&text);
        query_close(q);
    }
    fixture_close(&f);
}

static void test_order_by_keeps_its_memory_limit(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    char json[1200];
    memset(json, 'x', sizeof json);
    memcpy(json, "{\"v\":\"", 6);
    memcpy(json + 1000, "\"}", 3);
    for (int i = 0; i < 100; i++) {
        char id[8];
        snprintf(id, sizeof id, "k%02d", i);
        fixture_put(&f, id, i, json, NULL, NULL);
    }
    vv_budget budget;
    vv_budget_init(&budget, 1 << 20);
    query_env env = fixture_env(&f);
    env.budget = &budget;
    env.memory_limit = 50000;
    const query_order by_v = {vv_slice_str("v"), false};
    query_ask ask = {.order = &by_v, .order_count = 1};
    char got[1000];
    vv_error err = {0};
    assert_status(VV_BUSY, ask_ids(&ask, &env, got, sizeof got, NULL, &err));
    assert_non_null(strstr(err.msg, "query.memory_limit (50000 bytes)"));
    assert_int_equal(vv_budget_used(&budget), 0);
    ask.limit = 5; /* the top needs little, however many records there are */
    query_stats stats;
    assert_ok(ask_ids(&ask, &env, got, sizeof got, &stats, &err), err);
    assert_string_equal(got, "k00 k01 k02 k03 k04");
    assert_true(stats.memory_peak > 0 && stats.memory_peak < 50000);
    assert_int_equal(vv_budget_used(&budget), 0);
    /* Also when every record takes the place of an earlier one. */
    const query_order newest = {vv_slice_str("_version"), true};
    ask.order = &newest;
    assert_ok(ask_ids(&ask, &env, got, sizeof got, &stats, &err), err);
    assert_string_equal(got, "k99 k98 k97 k96 k95");
    assert_true(stats.memory_peak < 50000);
    const vv_slice id = vv_slice_str("_id"); /* a projection makes room too */
    ask.limit = 0;
    ask.projection = &id;
    ask.projection_count = 1;
    assert_ok(ask_ids(&ask, &env, got, sizeof got, NULL, &err), err);
    budget.limit = 100; /* the node's own limit */
    assert_status(VV_BUSY, ask_ids(&ask, &env, got, sizeof got, NULL, &err));
    assert_int_equal(vv_budget_used(&budget), 0);
    fixture_close(&f);
}

static bool always(void *ctx)
{
    (void)ctx;
    return true;
}

static void test_deadline_and_cancel(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    for (int i = 0; i < 600; i++) {
        char id[8];
        snprintf(id, sizeof id, "k%03d", i);
        fixture_put(&f, id, i, "{}", NULL, NULL);
    }
    query_env env = fixture_env(&f);
    query_ask ask = {0};
    char got[8000];
    vv_error err = {0};
    env.deadline_ns = 0;
    assert_status(VV_TIMEOUT, ask_ids(&ask, &env, got, sizeof got, NULL, &err));
    env.deadline_ns = INT64_MAX;
    env.cancelled = always;
    assert_status(VV_CLOSED, ask_ids(&ask, &env, got, sizeof got, NULL, &err));
    /* The failure stays. */
    query *q;
    query_row row;
    assert_ok(query_open(&ask, &env, &q, &err), err);
    vv_status st;
    while ((st = query_next(q, &row, &err)) == VV_OK) {
    }
    assert_int_equal(st, VV_CLOSED);
    assert_status(VV_CLOSED, query_next(q, &row, &err));
    query_close(q);
    fixture_close(&f);
}

/* A query sees one snapshot, and with a version the past. */
static void test_snapshot_and_version(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    int64_t first = fixture_put(&f, "a", 1, "{\"n\":1}", NULL, NULL);
    query_env env = fixture_env(&f);
    query_ask ask = {0};
    vv_error err = {0};
    query *q;
    query_row row;
    assert_ok(query_open(&ask, &env, &q, &err), err);
    fixture_put(&f, "b", 2, "{\"n\":2}", NULL, NULL);
    assert_ok(query_next(q, &row, &err), err);
    assert_int_equal(row.version, first);
    assert_int_equal(query_next(q, &row, &err), VV_NOT_FOUND);
    query_close(q);
    char got[64];
    ask.version = first;
    assert_ok(ask_ids(&ask, &env, got, sizeof got, NULL, &err), err);
    assert_string_equal(got, "a");
    ask.version = 0;
    assert_ok(ask_ids(&ask, &env, got, sizeof got, NULL, &err), err);
    assert_string_equal(got, "a b");
    fixture_close(&f);
}

/* A name that no record has is legal and missing everywhere; one of the record's own, misspelled,
 * is refused wherever a column stands; a field called so is reached by escape. */
static void test_unknown_columns(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    fixture_put(&f, "a", 1, "{\"n\":2,\"_own\":7}", NULL, NULL);
    fixture_put(&f, "b", 2, "{\"n\":1}", NULL, NULL);
    query_env env = fixture_env(&f);
    vv_buf value;
    const vv_slice nobody = vv_slice_str("nobody");
    const vv_slice slip = vv_slice_str("_versoin");
    const query_filter not_equal = {nobody, vv_slice_str("!="), value_of("5", &value)};
    const query_filter escaped = {vv_slice_str("\\_own"), vv_slice_str(">"), not_equal.value};
    const query_order by_nobody[] = {{nobody, true}, {vv_slice_str("n"), false}};
    const query_order by_slip = {slip, false};
    const struct {
        query_ask ask;
        vv_status status;
        const char *want;
    } cases[] = {
        {{.filters = &not_equal, .filter_count = 1}, VV_OK, ""},
        {{.filters = &escaped, .filter_count = 1}, VV_OK, "a"},
        {{.projection = &nobody, .projection_count = 1}, VV_OK, "a b"},
        {{.order = by_nobody, .order_count = 2}, VV_OK, "b a"},
        {{.projection = &slip, .projection_count = 1}, VV_INVALID, "did you mean '_version'"},
        {{.order = &by_slip, .order_count = 1}, VV_INVALID, "did you mean '_version'"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char got[64];
        vv_error err = {0};
        assert_status(cases[i].status, ask_ids(&cases[i].ask, &env, got, sizeof got, NULL, &err));
        if (cases[i].status == VV_OK ? strcmp(got, cases[i].want) != 0
                                     : strstr(err.msg, cases[i].want) == NULL)
            fail_msg("case %zu: '%s' %s", i, got, err.msg);
    }
    vv_buf_fini(&value);
    fixture_close(&f);
}

/* Every allocation of a query may fail: a clean error, and everything given back. */
static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    put_types(&f);
    vv_budget budget;
    vv_budget_init(&budget, 1 << 20);
    query_env env = fixture_env(&f);
    env.budget = &budget;
    vv_buf value;
    const query_order by_v = {vv_slice_str("v"), false};
    const vv_slice columns[2] = {vv_slice_str("v"), vv_slice_str("_metadata.site")};
    const query_filter filter = {vv_slice_str("_id"), vv_slice_str(">"), value_of("\"r\"", &value)};
    const query_ask ask = {.filters = &filter,
                           .filter_count = 1,
                           .order = &by_v,
                           .order_count = 1,
                           .projection = columns,
                           .projection_count = 2,
                           .limit = 5};
    vv_status st = VV_NO_MEMORY;
    for (int64_t n = 0; st != VV_OK; n++) {
        char got[200];
        vv_error err = {0};
        vv_alloc_fail_after(n, 0);
        st = ask_ids(&ask, &env, got, sizeof got, NULL, &err);
        vv_alloc_fail_after(-1, 0);
        assert_true(st == VV_OK || st == VV_NO_MEMORY);
        assert_int_equal(vv_budget_used(&budget), 0);
        assert_true(n < 1000);
    }
    vv_buf_fini(&value);
    fixture_close(&f);
}

static void test_explain(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    query_env env = fixture_env(&f);
    vv_buf value;
    const query_order by_v = {vv_slice_str("v"), true};
    const query_filter filter = {vv_slice_str("n"), vv_slice_str(">"), value_of("3", &value)};
    const query_ask ask = {.filters = &filter,
                           .filter_count = 1,
                           .order = &by_v,
                           .order_count = 1,
                           .limit = 5,
                           .has_start = true,
                           .start_ns = 0};
    query *q;
    vv_error err = {0};
    query_plan_step steps[QUERY_PLAN_STEPS_MAX];
    assert_ok(query_open(&ask, &env, &q, &err), err);
    assert_int_equal(query_explain(q, steps), 4);
    assert_string_equal(steps[0].node, "Limit");
    assert_string_equal(steps[1].description, "by v descending, keeping 5");
    assert_string_equal(steps[2].description, "n > 3");
    assert_string_equal(steps[3].node, "TimeIndexScan");
    query_close(q);
    vv_buf_fini(&value);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_order_limit_offset_as_the_model),
        cmocka_unit_test(test_has_more_and_counts),
        cmocka_unit_test(test_repeated_metadata),
        cmocka_unit_test(test_projection),
        cmocka_unit_test(test_order_by_keeps_its_memory_limit),
        cmocka_unit_test(test_deadline_and_cancel),
        cmocka_unit_test(test_snapshot_and_version),
        cmocka_unit_test(test_unknown_columns),
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_explain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
