/*
 * query_filter_test.c - filters and the paths of columns: what holds, what is false, what is
 * refused.
 */
#include "query/query.h"
#include "query/query_test_util.h"

static const struct {
    const char *column, *op, *value, *want;
} filter_cases[] = {
    {"v", "=", "1", "r0"},
    {"v", "==", "1", "r0"},
    {"v", "eq", "1", "r0"},
    {"v", "EQ", "2", "r1"},
    {"v", "=", "\"1\"", "r2"},
    {"v", "=", "true", "r4"},
    {"v", "=", "false", ""},
    {"v", "=", "null", "r5"},
    {"v", "!=", "1", "r1 r9"},
    {"v", "ne", "\"1\"", "r3"},
    {"v", "!=", "true", ""},
    {"v", "!=", "false", "r4"},
    {"v", "!=", "null", "r0 r1 r2 r3 r4 r6 r7 r9"},
    {"v", "<", "2", "r0 r9"},
    {"v", "lt", "\"abc\"", "r2"},
    {"v", "<=", "2", "r0 r1 r9"},
    {"v", "le", "\"1\"", "r2"},
    {"v", ">", "1", "r1"},
    {"v", "gt", "\"1\"", "r3"},
    {"v", ">=", "1", "r0 r1"},
    {"v", "ge", "\"abc\"", "r3"},
    {"v", "in", "[1,\"abc\",true,null,7]", "r0 r3 r4 r5"},
    {"v", "in", "[]", ""},
    {"v", "contains", "\"b\"", "r3"},
    {"v", "contains", "\"\"", "r2 r3"},
    {"v", "contains", "\"x\"", "r6"},
    {"v", "contains", "1", "r6"},
    {"v", "contains", "null", "r6"},
    {"v", "contains", "true", "r6"},
    {"v", "contains", "false", ""},
    {"v.w", "=", "5", "r7"},
    {"v.w.z", "=", "5", ""},
    {"o.x.y", ">", "6", "r0"},
    {"o.x", "=", "8", "r1"},
    {"a\\.b", "=", "5", "r3"},
    {"a.b", "=", "5", ""},
    {"none", "=", "5", ""},
    {"none", "!=", "5", ""},
    {"none", "=", "null", ""},
    {"_id", "=", "\"r3\"", "r3"},
    {"_id", "!=", "\"r3\"", "r0 r1 r2 r4 r5 r6 r7 r8 r9"},
    {"_id", "<", "\"r2\"", "r0 r1"},
    {"_id", "<=", "\"r2\"", "r0 r1 r2"},
    {"_id", ">", "\"r7\"", "r8 r9"},
    {"_id", ">=", "\"r7\"", "r7 r8 r9"},
    {"_id", "in", "[\"r9\",\"nope\",\"r1\",\"\",5,null]", "r1 r9"},
    {"_id", "contains", "\"5\"", "r5"},
    {"_id", "=", "3", ""},
    {"_id", "<", "3", ""},
    {"_id", "<", "\"\"", ""},
    {"_timestamp", "=", "3", "r3"},
    {"_timestamp", "<", "2", "r0 r1"},
    {"_timestamp", "<=", "2", "r0 r1 r2"},
    {"_timestamp", ">", "7", "r8 r9"},
    {"_timestamp", ">=", "\"1970-01-01T00:00:08Z\"", "r8 r9"},
    {"_timestamp", "!=", "0", "r1 r2 r3 r4 r5 r6 r7 r8 r9"},
    {"_timestamp", "in", "[1,\"1970-01-01T00:00:02Z\",77]", "r1 r2"},
    {"_version", ">", "0", "r0 r1 r2 r3 r4 r5 r6 r7 r8 r9"},
    {"_version", "=", "\"x\"", ""},
    {"_metadata.site", "=", "\"north\"", "r0"},
    {"_metadata.site", ">", "\"n\"", "r0 r1"},
    {"_metadata.a.b", "contains", "\"o\"", "r2"},
    {"_metadata.none", "!=", "\"north\"", ""},
};

/* Every operator on every type, in both spellings. */
static void test_filters(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    put_types(&f);
    query_env env = fixture_env(&f);
    for (size_t i = 0; i < ARRAY_LEN(filter_cases); i++) {
        vv_buf value;
        char got[200];
        vv_error err = {0};
        query_filter filter = {vv_slice_str(filter_cases[i].column),
                               vv_slice_str(filter_cases[i].op),
                               value_of(filter_cases[i].value, &value)};
        query_ask ask = {.filters = &filter, .filter_count = 1};
        assert_ok(ask_ids(&ask, &env, got, sizeof got, NULL, &err), err);
        if (strcmp(got, filter_cases[i].want) != 0)
            fail_msg("%s %s %s: '%s' instead of '%s'", filter_cases[i].column, filter_cases[i].op,
                     filter_cases[i].value, got, filter_cases[i].want);
        vv_buf_fini(&value);
    }
    fixture_close(&f);
}

static const struct {
    const char *column, *op, *value, *cause;
} refused_filters[] = {
    {"v", "resembles", "1", "unknown operator 'resembles'"},
    {"v", "", "1", "unknown operator ''"},
    {"", "=", "1", "a column name is empty"},
    {"a..b", "=", "1", "a step of the path is empty"},
    {".a", "=", "1", "a step of the path is empty"},
    {"a\\", "=", "1", "ends with a backslash"},
    {"_metadata.", "=", "1", "needs a key"},
    {"_metadata", "=", "1", "no single column"},
    {"_timestmap", "=", "1", "did you mean '_timestamp'? A field is reached as '\\_timestmap'"},
    {"_ID", "=", "1", "did you mean '_id'?"},
    {"_metdata.site", "=", "\"x\"", "did you mean '_metadata'?"},
    {"_id.x", "=", "1", "did you mean '_id'?"},
    {"_", "=", "1", "are the record's own"},
    {"*", "=", "1", "no single column"},
    {"v", "=", "[1]", "only operator 'in' takes a list"},
    {"v", "=", "{}", "none takes a struct"},
    {"v", "in", "1", "needs a list"},
    {"v", "in", "[[1]]", "compares no lists"},
    {"v", "<", "true", "an order needs"},
    {"v", ">", "null", "an order needs"},
    {"v", "=", NULL, "no value is given"},
    {"_timestamp", "=", "\"yesterday\"", "the value is no time"},
    {"_timestamp", "=", "true", "the value is no time"},
    {"_timestamp", "in", "[\"x\"]", "the value is no time"},
    {"_timestamp", "contains", "\"1\"", "for strings and lists"},
    {"_timestamp", ">", "1e300", "the value is no time"},
};

static void test_refused_filters(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    query_env env = fixture_env(&f);
    for (size_t i = 0; i < ARRAY_LEN(refused_filters); i++) {
        vv_buf value = {0};
        char got[200];
        vv_error err = {0};
        query_filter filter = {
            vv_slice_str(refused_filters[i].column), vv_slice_str(refused_filters[i].op), {0}};
        if (refused_filters[i].value != NULL)
            filter.value = value_of(refused_filters[i].value, &value);
        query_ask ask = {.filters = &filter, .filter_count = 1};
        assert_status(VV_INVALID, ask_ids(&ask, &env, got, sizeof got, NULL, &err));
        if (strstr(err.msg, refused_filters[i].cause) == NULL)
            fail_msg("%s %s: %s", refused_filters[i].column, refused_filters[i].op, err.msg);
        vv_buf_fini(&value);
    }
    fixture_close(&f);
}

static void test_refused_questions(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    query_env env = fixture_env(&f);
    const query_filter filters[QUERY_FILTERS_MAX + 1] = {0};
    const query_order orders[QUERY_ORDER_MAX + 1] = {0};
    const query_order star = {vv_slice_str("*"), false};
    const query_ask bad[] = {
        {.limit = -1},
        {.offset = -1},
        {.version = -1},
        {.version = 1 << 30},
        {.has_start = true, .has_end = true, .start_ns = 2, .end_ns = 1},
        {.filters = filters, .filter_count = ARRAY_LEN(filters)},
        {.order = orders, .order_count = ARRAY_LEN(orders)},
        {.order = &star, .order_count = 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char got[200];
        vv_error err = {0};
        if (ask_ids(&bad[i], &env, got, sizeof got, NULL, &err) != VV_INVALID)
            fail_msg("bad question %zu is answered", i);
        assert_true(err.msg[0] != 0);
    }
    fixture_close(&f);
}

/* Which index is used, and that it saves reading. */
static void test_paths(void **state)
{
    (void)state;
    const struct {
        const char *column, *op, *value, *index;
        uint64_t scanned_max;
    } cases[] = {
        {"_id", "=", "\"r5\"", "primary", 1},
        {"_id", "in", "[\"r5\",\"r6\"]", "primary", 2},
        {"_id", ">=", "\"r8\"", "primary", 2},
        {"_id", "<", "\"r2\"", "primary", 2},
        {"_id", "<=", "\"r2\"", "primary", 3},
        {"_id", "=", "5", "primary", 0},
        {"_timestamp", ">", "7", "time", 2},
        {"_timestamp", "=", "7", "time", 1},
        {"v", "=", "1", "", 10},
        {"_timestamp", "!=", "7", "", 10},
    };
    fixture f;
    fixture_open(&f);
    put_types(&f);
    query_env env = fixture_env(&f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_buf value;
        char got[200];
        vv_error err = {0};
        query_stats stats;
        query_filter filter = {vv_slice_str(cases[i].column), vv_slice_str(cases[i].op),
                               value_of(cases[i].value, &value)};
        query_ask ask = {.filters = &filter, .filter_count = 1};
        assert_ok(ask_ids(&ask, &env, got, sizeof got, &stats, &err), err);
        assert_string_equal(stats.index, cases[i].index);
        assert_true(stats.scanned_rows <= cases[i].scanned_max);
        assert_int_equal(stats.scanned_rows, stats.filtered_rows + stats.matched_rows);
        vv_buf_fini(&value);
    }
    fixture_close(&f);
}

/* Beside a time range: keys by name come first, two key bounds beat one end of time. */
static void test_paths_beside_a_time_range(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    put_types(&f);
    query_env env = fixture_env(&f);
    query_ask range = {
        .has_start = true, .start_ns = 2 * VV_NS_PER_S, .has_end = true, .end_ns = 4 * VV_NS_PER_S};
    char got[200];
    vv_error err = {0};
    query_stats stats;
    assert_ok(ask_ids(&range, &env, got, sizeof got, &stats, &err), err);
    assert_string_equal(got, "r2 r3");
    assert_string_equal(stats.index, "time");
    assert_int_equal(stats.scanned_rows, 2);
    const struct {
        const char *op[2], *value[2], *index, *want;
        bool end;
    } both[] = {
        {{"in", NULL}, {"[\"r1\",\"r3\",\"r9\"]", NULL}, "primary", "r3", true},
        {{"in", NULL}, {"[\"r4\",\"r3\"]", NULL}, "primary", "r3", true},
        {{">=", "<"}, {"\"r1\"", "\"r4\""}, "primary", "r2 r3", false},
        {{">=", "<"}, {"\"r3\"", "\"r9\""}, "time", "r3", true},
        {{">", NULL}, {"\"r2\"", NULL}, "time", "r3", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        vv_buf value[2] = {0};
        query_filter filters[2];
        query_ask ask = range;
        ask.has_end = both[i].end;
        ask.filters = filters;
        for (; ask.filter_count < 2 && both[i].op[ask.filter_count] != NULL; ask.filter_count++)
            filters[ask.filter_count] =
                (query_filter){vv_slice_str("_id"), vv_slice_str(both[i].op[ask.filter_count]),
                               value_of(both[i].value[ask.filter_count], &value[ask.filter_count])};
        assert_ok(ask_ids(&ask, &env, got, sizeof got, &stats, &err), err);
        if (strcmp(stats.index, both[i].index) != 0 || strcmp(got, both[i].want) != 0)
            fail_msg("case %zu: '%s' by '%s'", i, got, stats.index);
        vv_buf_fini(&value[0]);
        vv_buf_fini(&value[1]);
    }
    /* A bound longer than any key still bounds. */
    char bound[2000];
    vv_buf value;
    memset(bound, 'q', sizeof bound);
    bound[0] = bound[sizeof bound - 2] = '"';
    bound[sizeof bound - 1] = 0;
    query_filter far = {vv_slice_str("_id"), vv_slice_str(">"), value_of(bound, &value)};
    const query_ask beyond = {.filters = &far, .filter_count = 1};
    assert_ok(ask_ids(&beyond, &env, got, sizeof got, &stats, &err), err);
    assert_int_equal(stats.matched_rows, 10);
    far.op = vv_slice_str("<");
    assert_ok(ask_ids(&beyond, &env, got, sizeof got, &stats, &err), err);
    assert_int_equal(stats.matched_rows, 0);
    vv_buf_fini(&value);
    fixture_close(&f);
}

/* ---- order, limit, offset against a naive model ---- */

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_refused_filters),
        cmocka_unit_test(test_refused_questions),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_paths_beside_a_time_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
