/*
 * query_scan_test.c - a query in turns gives what it gives in one go, and each turn is bounded.
 */
#include "query/query_test_util.h"

#define RECORDS 500
#define GOT_MAX 8000

/* The ids of an answer taken in turns of so many bytes. */
static unsigned ids_in_turns(const query_ask *ask, const query_env *env, uint64_t bytes,
                             char out[GOT_MAX], query_stats *stats)
{
    query *q = NULL;
    query_row row;
    vv_error err = {0};
    vv_status st;
    size_t at = 0;
    unsigned turns = 0;
    uint64_t work = 0;
    out[0] = 0;
    assert_ok(query_open(ask, env, &q, &err), err);
    do {
        query_begin_turn(q, bytes);
        while ((st = query_next(q, &row, &err)) == VV_OK)
            at += (size_t)snprintf(out + at, GOT_MAX - at, "%s%.*s", at == 0 ? "" : " ",
                                   (int)row.key.len, (const char *)row.key.data);
        assert_status(VV_NOT_FOUND, st);
        query_stats_read(q, stats);
        /* A turn ends with the record that fills it. */
        assert_true(stats->scanned_bytes - work <= bytes + 200);
        work = stats->scanned_bytes;
        turns++;
    } while (query_is_paused(q));
    assert_status(VV_NOT_FOUND, query_next(q, &row, &err)); /* the end stays the end */
    assert_false(query_is_paused(q));
    query_close(q);
    return turns;
}

static void test_turns_change_no_answer(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    for (int i = 0; i < RECORDS; i++) {
        char id[8];
        char json[80];
        snprintf(id, sizeof id, "k%03d", i);
        snprintf(json, sizeof json, "{\"n\":%d,\"s\":\"%040d\"}", i * 7919 % RECORDS, i);
        fixture_put(&f, id, i, json, NULL, NULL);
    }
    query_env env = fixture_env(&f);
    vv_buf small;
    vv_buf keys;
    const query_filter few = {vv_slice_str("n"), vv_slice_str("<"), value_of("30", &small)};
    const query_filter named = {vv_slice_str("_id"), vv_slice_str("in"),
                                value_of("[\"a\",\"b\",\"c\",\"d\",\"k007\",\"x\",\"\"]", &keys)};
    const query_order by_n = {vv_slice_str("n"), true};
    const struct {
        const char *name;
        query_ask ask;
        unsigned turns_min;
    } cases[] = {
        {"everything", {.limit = 0}, 40},
        {"few of many", {.filters = &few, .filter_count = 1}, 40},
        {"sorted", {.filters = &few, .filter_count = 1, .order = &by_n, .order_count = 1}, 40},
        {"a limit", {.limit = 3, .offset = 100}, 8},
        {"names, most of them of no record", {.filters = &named, .filter_count = 1}, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char want[GOT_MAX];
        char got[GOT_MAX];
        vv_error err = {0};
        query_stats whole;
        query_stats parts;
        assert_ok(ask_ids(&cases[i].ask, &env, want, sizeof want, &whole, &err), err);
        unsigned turns = ids_in_turns(&cases[i].ask, &env, 2048, got, &parts);
        if (strcmp(want, got) != 0 || turns < cases[i].turns_min)
            fail_msg("%s: %u turns gave '%s' instead of '%s'", cases[i].name, turns, got, want);
        assert_int_equal(whole.scanned_rows, parts.scanned_rows);
        assert_int_equal(whole.matched_rows, parts.matched_rows);
    }
    vv_buf_fini(&keys);
    vv_buf_fini(&small);
    fixture_close(&f);
}

/* Names that no record has are work too: the deadline is looked at among them. */
static void test_absent_names_meet_the_deadline(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    fixture_put(&f, "a", 1, "{}", NULL, NULL);
    vv_buf json;
    vv_buf value;
    vv_buf_init(&json, 1 << 20);
    for (int i = 0; i < 1000; i++)
        vv_buf_printf(&json, "%s\"x%d\"", i == 0 ? "[" : ",", i);
    vv_buf_append(&json, "]", 2);
    const query_filter named = {vv_slice_str("_id"), vv_slice_str("in"),
                                value_of((const char *)json.data, &value)};
    const query_ask ask = {.filters = &named, .filter_count = 1};
    query_env env = fixture_env(&f);
    char got[64];
    vv_error err = {0};
    env.deadline_ns = 0;
    assert_status(VV_TIMEOUT, ask_ids(&ask, &env, got, sizeof got, NULL, &err));
    vv_buf_fini(&json);
    vv_buf_fini(&value);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turns_change_no_answer),
        cmocka_unit_test(test_absent_names_meet_the_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
