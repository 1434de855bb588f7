/*
 * query_aggregate_test.c - count, sum, avg, min and max: by table, and against a naive model.
 */
#include "base/alloc.h"
#include "base/rng.h"
#include "query/query_test_util.h"

typedef struct answer {
    char text[4000];
    size_t columns;
} answer;

static int take(void *ctx, const struct_value *values)
{
    answer *a = ctx;
    vv_buf text;
    vv_buf_init(&text, 4000);
    for (size_t i = 0; i < a->columns; i++) {
        vv_buf_append_str(&text, i == 0 ? "" : ",");
        assert_int_equal(json_put_value(&text, &values[i]), VV_OK);
    }
    vv_buf_append_u8(&text, '|');
    vv_buf_append_u8(&text, 0);
    if (text.status == VV_OK) /* an allocation of ours may be the one that fails */
        strncat(a->text, (char *)text.data, sizeof a->text - strlen(a->text) - 1);
    vv_buf_fini(&text);
    return 0;
}

static vv_status run(const fixture *f, const query_ask *ask, answer *a, vv_error *err)
{
    query_env env = fixture_env(f);
    query_stats stats;
    *a = (answer){.columns = ask->group_count + ask->aggregate_count};
    return query_aggregate_run(ask, &env, take, a, &stats, err);
}

static void put_rows(fixture *f)
{
    fixture_put(f, "a", 1000000000, "{\"g\":\"x\",\"n\":1,\"s\":\"b\"}", NULL, NULL);
    fixture_put(f, "b", 2000000000, "{\"g\":\"x\",\"n\":2.5,\"s\":\"a\"}", NULL, NULL);
    fixture_put(f, "c", 3000000000, "{\"g\":\"y\",\"n\":\"no\",\"s\":\"c\"}", NULL, NULL);
    fixture_put(f, "d", 4000000000, "{\"g\":\"y\",\"n\":null}", NULL, NULL);
    fixture_put(f, "e", 5000000000, "{\"n\":10}", NULL, NULL);
    fixture_put(f, "f", 6000000000, "{\"g\":1}", NULL, NULL);
}

static void test_functions(void **state)
{
    (void)state;
    const struct {
        const char *function, *column, *group, *want;
    } cases[] = {
        {"count", "", NULL, "6|"},
        {"count", "*", NULL, "6|"},
        {"count", "n", NULL, "4|"},
        {"sum", "n", NULL, "13.5|"},
        {"avg", "n", NULL, "4.5|"},
        {"min", "n", NULL, "1|"},
        {"max", "n", NULL, "\"no\"|"}, /* strings sort above numbers */
        {"min", "s", NULL, "\"a\"|"},
        {"max", "s", NULL, "\"c\"|"},
        {"max", "_timestamp", NULL, "\"1970-01-01T00:00:06Z\"|"},
        {"min", "_id", NULL, "\"a\"|"},
        {"sum", "none", NULL, "null|"},
        {"avg", "none", NULL, "null|"},
        {"max", "none", NULL, "null|"},
        {"count", "none", NULL, "0|"},
        {"count", "", "g", "1,1|\"x\",2|\"y\",2|null,1|"},
        {"sum", "n", "g", "1,null|\"x\",3.5|\"y\",null|null,10|"},
        {"max", "s", "g", "1,null|\"x\",\"b\"|\"y\",\"c\"|null,null|"},
    };
    fixture f;
    fixture_open(&f);
    put_rows(&f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const query_aggregate agg = {
            vv_slice_str(cases[i].function), vv_slice_str(cases[i].column), {0}};
        const vv_slice group = vv_slice_str(cases[i].group);
        const query_ask ask = {.aggregates = &agg,
                               .aggregate_count = 1,
                               .group_by = &group,
                               .group_count = cases[i].group != NULL};
        answer a;
        vv_error err = {0};
        assert_ok(run(&f, &ask, &a, &err), err);
        if (strcmp(a.text, cases[i].want) != 0)
            fail_msg("%s(%s): %s instead of %s", cases[i].function, cases[i].column, a.text,
                     cases[i].want);
    }
    fixture_close(&f);
}

static void test_having_filters_and_time(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    put_rows(&f);
    vv_buf one;
    vv_buf four;
    const query_aggregate aggs[] = {
        {vv_slice_str("count"), {0}, vv_slice_str("rows")},
        {vv_slice_str("max"), vv_slice_str("_timestamp"), vv_slice_str("last")},
    };
    const vv_slice group = vv_slice_str("g");
    const query_filter having[] = {
        {vv_slice_str("rows"), vv_slice_str(">"), value_of("1", &one)},
        {vv_slice_str("last"), vv_slice_str(">="), value_of("\"1970-01-01T00:00:04Z\"", &four)},
    };
    query_ask ask = {.aggregates = aggs,
                     .aggregate_count = 2,
                     .group_by = &group,
                     .group_count = 1,
                     .having = having,
                     .having_count = 1};
    answer a;
    vv_error err = {0};
    assert_ok(run(&f, &ask, &a, &err), err);
    assert_string_equal(a.text,
                        "\"x\",2,\"1970-01-01T00:00:02Z\"|\"y\",2,\"1970-01-01T00:00:04Z\"|");
    ask.having_count = 2;
    assert_ok(run(&f, &ask, &a, &err), err);
    assert_string_equal(a.text, "\"y\",2,\"1970-01-01T00:00:04Z\"|");
    ask.having_count = 0;
    ask.has_end = true;
    ask.end_ns = 3000000000;
    assert_ok(run(&f, &ask, &a, &err), err);
    assert_string_equal(a.text, "\"x\",2,\"1970-01-01T00:00:02Z\"|");
    ask.group_count = 0; /* one answer, also over nothing */
    ask.end_ns = 0;
    assert_ok(run(&f, &ask, &a, &err), err);
    assert_string_equal(a.text, "0,null|");
    vv_buf_fini(&one);
    vv_buf_fini(&four);
    fixture_close(&f);
}

static void test_refused(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    const query_aggregate bad[] = {
        {vv_slice_str("median"), vv_slice_str("n"), {0}},
        {vv_slice_str("sum"), {0}, {0}},
        {vv_slice_str("sum"), vv_slice_str("a..b"), {0}},
    };
    answer a;
    vv_error err = {0};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const query_ask ask = {.aggregates = &bad[i], .aggregate_count = 1};
        assert_status(VV_INVALID, run(&f, &ask, &a, &err));
    }
    const query_ask none = {0};
    assert_status(VV_INVALID, run(&f, &none, &a, &err));
    vv_buf value;
    const query_aggregate count = {vv_slice_str("count"), {0}, {0}};
    const query_filter having = {vv_slice_str("other"), vv_slice_str("="), value_of("1", &value)};
    const query_ask ask = {
        .aggregates = &count, .aggregate_count = 1, .having = &having, .having_count = 1};
    assert_status(VV_INVALID, run(&f, &ask, &a, &err));
    assert_non_null(strstr(err.msg, "'other' is no aggregate's name"));
    vv_buf_fini(&value);
    fixture_close(&f);
}

/* Sums and counts of many groups against plain arrays; memory is given back, also when it ends. */
static void prop_groups_as_the_model(void **state)
{
    (void)state;
    vv_rng rng;
    fixture f;
    double sum[40] = {0};
    int count[40] = {0};
    vv_rng_init(&rng, vv_test_seed(0xa99));
    fixture_open(&f);
    for (int i = 0; i < 1000; i++) {
        char id[8];
        char json[64];
        int g = (int)vv_rng_below(&rng, 40);
        double n = (double)vv_rng_below(&rng, 1000) / 10;
        snprintf(id, sizeof id, "k%d", i);
        snprintf(json, sizeof json, "{\"g\":%d,\"n\":%.1f}", g, n);
        fixture_put(&f, id, i, json, NULL, NULL);
        sum[g] += n;
        count[g]++;
    }
    const query_aggregate aggs[] = {{vv_slice_str("count"), {0}, {0}},
                                    {vv_slice_str("sum"), vv_slice_str("n"), {0}}};
    const vv_slice group = vv_slice_str("g");
    const query_ask ask = {
        .aggregates = aggs, .aggregate_count = 2, .group_by = &group, .group_count = 1};
    answer a;
    vv_error err = {0};
    assert_ok(run(&f, &ask, &a, &err), err);
    char *line = strtok(a.text, "|");
    for (int g = 0; g < 40; g++) {
        if (count[g] == 0)
            continue;
        int got_g;
        int got_count;
        double got_sum;
        assert_non_null(line);
        assert_int_equal(sscanf(line, "%d,%d,%lf", &got_g, &got_count, &got_sum), 3);
        assert_int_equal(got_g, g);
        assert_int_equal(got_count, count[g]);
        assert_true(got_sum - sum[g] < 1e-6 && sum[g] - got_sum < 1e-6);
        line = strtok(NULL, "|");
    }
    vv_budget budget;
    vv_budget_init(&budget, 1 << 20);
    query_env env = fixture_env(&f);
    query_stats stats;
    env.budget = &budget;
    env.memory_limit = 2000;
    a = (answer){.columns = 3};
    assert_status(VV_BUSY, query_aggregate_run(&ask, &env, take, &a, &stats, &err));
    assert_non_null(strstr(err.msg, "query.memory_limit"));
    assert_int_equal(vv_budget_used(&budget), 0);
    env.memory_limit = 0;
    vv_status st = VV_NO_MEMORY;
    for (int64_t n = 0; st != VV_OK; n++) {
        a = (answer){.columns = 3};
        vv_alloc_fail_after(n, 0);
        st = query_aggregate_run(&ask, &env, take, &a, &stats, &err);
        vv_alloc_fail_after(-1, 0);
        assert_true(st == VV_OK || st == VV_NO_MEMORY);
        assert_int_equal(vv_budget_used(&budget), 0);
        assert_true(n < 1000);
    }
    fixture_close(&f);
}

/* A million times 0.1 would drift; compensated it does not. */
static void test_sums_do_not_drift(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    for (int i = 0; i < 1000; i++) {
        char id[8];
        snprintf(id, sizeof id, "k%d", i);
        fixture_put(&f, id, i,
                    i == 0     ? "{\"n\":1e16}"
                    : i == 999 ? "{\"n\":-1e16}"
                               : "{\"n\":1}",
                    NULL, NULL);
    }
    const query_aggregate sum = {vv_slice_str("sum"), vv_slice_str("n"), {0}};
    const query_ask ask = {.aggregates = &sum, .aggregate_count = 1};
    answer a;
    vv_error err = {0};
    assert_ok(run(&f, &ask, &a, &err), err);
    assert_string_equal(a.text, "998|");
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_functions),         cmocka_unit_test(test_having_filters_and_time),
        cmocka_unit_test(test_refused),           cmocka_unit_test(prop_groups_as_the_model),
        cmocka_unit_test(test_sums_do_not_drift),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
