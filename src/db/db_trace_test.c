/*
 * db_trace_test.c - the traces that a line names: those of its offsets, each once, so many.
 */
#include "db/db_trace.h"

#include <stdio.h>

#include "vv_test.h"

static db_traces traces;

static void note(uint32_t partition, uint64_t first, uint64_t next, const char *id)
{
    db_traces_note(&traces, 7, partition, first, next, id);
}

static void expect(uint32_t partition, uint64_t first, uint64_t next, const char *want)
{
    db_trace_list list = {.count = 0};
    char text[DB_TRACE_TEXT];
    char got[DB_TRACE_TEXT + 64] = "";
    vv_kv kvs[DB_TRACE_KVS];
    size_t len = 0;
    db_trace_list_range(&list, &traces, 7, partition, first, next);
    size_t n = db_trace_list_kvs(&list, text, kvs);
    for (size_t i = 0; i < n; i++)
        len +=
            (size_t)(kvs[i].type == VV_KV_STR
                         ? snprintf(got + len, sizeof got - len, "%s=%s ", kvs[i].key, kvs[i].v.str)
                         : snprintf(got + len, sizeof got - len, "%s=%llu ", kvs[i].key,
                                    (unsigned long long)kvs[i].v.u));
    assert_string_equal(got, want);
}

static void test_those_of_the_offsets(void **state)
{
    (void)state;
    traces = (db_traces){.hand = 0};
    note(0, 10, 12, "a");
    note(0, 12, 13, "b");
    note(1, 10, 12, "c");
    note(0, 13, 20, "a");
    expect(0, 0, 10, "");
    expect(0, 11, 12, "trace_id=a ");
    expect(0, 0, 100, "trace_id=a trace_ids=a,b ");
    expect(0, 12, 20, "trace_id=b trace_ids=b,a ");
    expect(1, 0, 100, "trace_id=c ");
    expect(2, 0, 100, "");
    db_traces_forget(&traces, 7, 0, 12); /* the log took none from there on */
    expect(0, 0, 100, "trace_id=a ");
}

static void test_lists_and_the_ring_are_bounded(void **state)
{
    (void)state;
    char id[8];
    traces = (db_traces){.hand = 0};
    for (uint64_t i = 0; i < DB_TRACES + 10; i++) {
        (void)snprintf(id, sizeof id, "%llu", (unsigned long long)i);
        note(0, i, i + 1, id);
    }
    expect(0, 0, 10, ""); /* newer ones took their places */
    expect(0, 5, 11, "trace_id=10 ");
    expect(0, 10, 20, "trace_id=10 trace_ids=10,11,12,13,14,15,16,17 trace_more=2 ");
}

/* Other attributes, other types and ids too long are none. */
static void test_attributes_of_messages(void **state)
{
    (void)state;
    db_trace_list list = {.count = 0};
    const vv_slice name = vv_slice_str("trace_id");
    const vv_attribute all[] = {
        {.name = vv_slice_str("other"), .type = VV_ATTRIBUTE_STRING, .bytes = vv_slice_str("x")},
        {.name = name, .type = VV_ATTRIBUTE_I64, .i64 = 5},
        {.name = name, .type = VV_ATTRIBUTE_STRING, .bytes = vv_slice_str("t1")},
        {.name = name,
         .type = VV_ATTRIBUTE_STRING,
         .bytes = vv_slice_str("0123456789012345678901234567890123456789")},
        {.name = name, .type = VV_ATTRIBUTE_STRING, .bytes = vv_slice_str("t1")}};
    const vv_message m = {.attributes = all, .attribute_count = sizeof all / sizeof all[0]};
    db_trace_list_message(&list, &m);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.id[0], "t1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_those_of_the_offsets),
        cmocka_unit_test(test_lists_and_the_ring_are_bounded),
        cmocka_unit_test(test_attributes_of_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
