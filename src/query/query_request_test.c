/*
 * query_request_test.c - requests as wire bytes: read, refused, written.
 */
#include "base/rng.h"
#include "query/query_test_util.h"

static void test_round_trip(void **state)
{
    (void)state;
    vv_buf value;
    const query_filter filters[] = {
        {vv_slice_str("n"), vv_slice_str(">="), value_of("3", &value)},
        {vv_slice_str("_id"), vv_slice_str("="), vv_slice_str("\x1a\x01x")},
    };
    const query_order order[] = {{vv_slice_str("n"), true}, {vv_slice_str("_id"), false}};
    const vv_slice columns[] = {vv_slice_str("a"), vv_slice_str("b.c")};
    const query_ask in = {.tenant = vv_slice_str("acme"),
                          .table = vv_slice_str("sensors"),
                          .filters = filters,
                          .filter_count = 2,
                          .projection = columns,
                          .projection_count = 2,
                          .order = order,
                          .order_count = 2,
                          .limit = 7,
                          .offset = 3,
                          .has_start = true,
                          .has_end = true,
                          .start_ns = -1500000000,
                          .end_ns = 1782901800000000001,
                          .version = 99,
                          .page_bytes = 4096};
    vv_buf wire;
    vv_arena arena;
    query_ask out;
    vv_error err = {0};
    vv_buf_init(&wire, 1 << 16);
    vv_arena_init(&arena, 1 << 16);
    query_request_put(&wire, &in);
    assert_ok(query_request_parse(vv_buf_slice(&wire), &arena, &out, &err), err);
    assert_true(vv_slice_eq(out.tenant, in.tenant) && vv_slice_eq(out.table, in.table));
    assert_int_equal(out.filter_count, 2);
    assert_true(vv_slice_eq(out.filters[0].value, filters[0].value));
    assert_true(vv_slice_eq(out.filters[1].column, filters[1].column));
    assert_int_equal(out.order_count, 2);
    assert_true(out.order[0].descending && !out.order[1].descending);
    assert_int_equal(out.projection_count, 2);
    assert_true(out.limit == 7 && out.offset == 3);
    assert_true(out.has_start && out.start_ns == in.start_ns);
    assert_true(out.has_end && out.end_ns == in.end_ns);
    assert_true(out.version == 99 && out.page_bytes == 4096);
    vv_arena_fini(&arena);
    vv_buf_fini(&wire);
    vv_buf_fini(&value);
}

static void test_refused(void **state)
{
    (void)state;
    const struct {
        vv_slice in;
        const char *cause;
    } cases[] = {
        {BYTES(0xff), "no protobuf message"},
        {BYTES(0x0a, 5), "no protobuf message"},
        {BYTES(0x08, 1), "a field is malformed"},         /* tenant_id as varint */
        {BYTES(0x0a, 2, 0x08, 1), "tenant_id"},           /* its id as varint */
        {BYTES(0x12, 2, 0x10, 1), "schema"},              /* name as varint */
        {BYTES(0x1a, 2, 0x08, 1), "filters"},             /* column as varint */
        {BYTES(0x2a, 2, 0x12, 0), "order_by"},            /* descending as bytes */
        {BYTES(0x32, 0), "a field is malformed"},         /* limit as bytes */
        {BYTES(0x42, 2, 0x08, 1), "time_range"},          /* start as varint */
        {BYTES(0x42, 4, 0x0a, 2, 0x10, 0xff), "start"},   /* nanos cut short */
        {BYTES(0x4a, 3, 0x0a, 1, 'x'), "'x' is unknown"}, /* options */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_arena arena;
        query_ask out;
        vv_error err = {0};
        vv_arena_init(&arena, 1 << 16);
        assert_status(VV_INVALID, query_request_parse(cases[i].in, &arena, &out, &err));
        if (strstr(err.msg, cases[i].cause) == NULL)
            fail_msg("%s: %s", cases[i].cause, err.msg);
        vv_arena_fini(&arena);
    }
    vv_buf many;
    vv_arena arena;
    query_ask out;
    vv_error err = {0};
    vv_buf_init(&many, 1 << 16);
    vv_arena_init(&arena, 1 << 16);
    for (unsigned i = 0; i <= QUERY_FILTERS_MAX; i++)
        wire_put_bytes(&many, 3, (vv_slice){0});
    assert_status(VV_INVALID, query_request_parse(vv_buf_slice(&many), &arena, &out, &err));
    assert_non_null(strstr(err.msg, "65 filters, at most 64"));
    vv_arena_fini(&arena);
    vv_buf_fini(&many);
}

/* A Value nested 100,000 deep costs its bytes and no stack. */
static void test_deep_value(void **state)
{
    (void)state;
    vv_buf value;
    vv_buf wire;
    vv_arena arena;
    query_ask out;
    vv_error err = {0};
    vv_buf_init(&value, 8 << 20);
    vv_buf_init(&wire, 8 << 20);
    vv_arena_init(&arena, 1 << 16);
    for (int i = 0; i < 2000; i++) { /* inside out, each level a copy of the last */
        vv_buf outer;
        vv_buf_init(&outer, 8 << 20);
        size_t list = wire_begin(&outer, VALUE_LIST);
        wire_put_bytes(&outer, LIST_VALUES, vv_buf_slice(&value));
        wire_end(&outer, list);
        vv_buf_fini(&value);
        value = outer;
    }
    size_t filter = wire_begin(&wire, 3);
    wire_put_string(&wire, 1, vv_slice_str("a"));
    wire_put_string(&wire, 2, vv_slice_str("in"));
    wire_put_bytes(&wire, 3, vv_buf_slice(&value));
    wire_end(&wire, filter);
    assert_ok(query_request_parse(vv_buf_slice(&wire), &arena, &out, &err), err);
    assert_int_equal(out.filter_count, 1);
    fixture f;
    fixture_open(&f);
    query_env env = fixture_env(&f);
    query *q;
    assert_status(VV_INVALID, query_open(&out, &env, &q, &err));
    fixture_close(&f);
    vv_arena_fini(&arena);
    vv_buf_fini(&wire);
    vv_buf_fini(&value);
}

/* The row of a query as storage.DataRecord, read back field by field. */
static void test_row_bytes(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f);
    int64_t version = fixture_put(&f, "id", 1500000000, "{\"n\":1}", "k", "v");
    query_env env = fixture_env(&f);
    query_ask ask = {0};
    query *q;
    query_row row;
    vv_error err = {0};
    vv_buf out;
    vv_buf_init(&out, 1 << 16);
    assert_ok(query_open(&ask, &env, &q, &err), err);
    assert_ok(query_next(q, &row, &err), err);
    query_row_put(&out, vv_slice_str("t"), vv_slice_str("records"), &row);
    assert_int_equal(out.status, VV_OK);
    wire_reader r = wire_reader_of(vv_buf_slice(&out));
    wire_field g = {0};
    unsigned seen = 0;
    while (wire_next(&r, &g) > 0) {
        seen |= 1u << g.number;
        if (g.number == 2)
            assert_true(vv_slice_eq(g.bytes, row.body));
        if (g.number == 4)
            assert_true(vv_slice_eq(g.bytes, BYTES(0x08, 1, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01)));
        if (g.number == 5)
            assert_int_equal(g.value, version);
        if (g.number == 6)
            assert_true(vv_slice_eq(g.bytes, BYTES(0x0a, 1, 'k', 0x12, 1, 'v')));
    }
    assert_int_equal(seen, 0x7e);
    query_close(q);
    vv_buf_fini(&out);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_deep_value),
        cmocka_unit_test(test_row_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
