/*
 * svc_push_test.c - figures as OTLP metrics: each kind of family, and texts that are none.
 */
#include "vv_test.h"

#include <string.h>

#include "codec/protowire.h"
#include "server/svc_push.h"

static vv_error err;

/* The content of the n-th field of that number; fails the test when there is none. */
static vv_slice field_of(vv_slice message, uint32_t number, unsigned n)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    while (wire_next(&r, &f) > 0)
        if (f.number == number && f.type == WIRE_BYTES && n-- == 0)
            return f.bytes;
    fail_msg("no field %u", number);
    return message;
}

static uint64_t value_of(vv_slice message, uint32_t number)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    while (wire_next(&r, &f) > 0)
        if (f.number == number)
            return f.value;
    return 0;
}

static unsigned count_of(vv_slice message, uint32_t number)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    unsigned n = 0;
    while (wire_next(&r, &f) > 0)
        n += f.number == number;
    assert_int_equal(r.fault, WIRE_GOOD);
    return n;
}

/* The n-th Metric of a request. */
static vv_slice metric_of(const vv_buf *request, unsigned n)
{
    vv_slice scope = field_of(field_of(vv_buf_slice(request), 1, 0), 2, 0);
    return field_of(scope, 2, n);
}

static void each_kind_of_family_is_told(void **state)
{
    (void)state;
    static const char text[] =
        "# HELP a_bytes What it has.\n# TYPE a_bytes gauge\na_bytes 7.5\n"
        "# HELP b_total b\n# TYPE b_total counter\n"
        "b_total{op=\"put\",why=\"a \\\"b\\\"\"} 1\nb_total{op=\"get\"} 2\n"
        "# HELP h_seconds h\n# TYPE h_seconds histogram\n"
        "h_seconds_bucket{le=\"0.1\"} 1\nh_seconds_bucket{le=\"1\"} 4\n"
        "h_seconds_bucket{le=\"+Inf\"} 6\nh_seconds_sum 5.5\nh_seconds_count 6\n"
        "# HELP s_seconds s\n# TYPE s_seconds summary\n"
        "s_seconds{op=\"put\",quantile=\"0.5\"} 0.1\n"
        "s_seconds{op=\"put\",quantile=\"0.99\"} 0.2\n"
        "s_seconds_sum{op=\"put\"} 3\ns_seconds_count{op=\"put\"} 9\n"
        "s_seconds{op=\"get\",quantile=\"0.5\"} 0.3\n"
        "s_seconds_sum{op=\"get\"} 4\ns_seconds_count{op=\"get\"} 10\n";
    vv_buf out;
    vv_buf_init(&out, 1 << 20);
    assert_ok(svc_push_encode(vv_slice_str(text), 5, 6, &out, &err), err);

    vv_slice m = metric_of(&out, 0);
    assert_true(vv_slice_eq(field_of(m, 1, 0), vv_slice_str("a_bytes")));
    assert_true(vv_slice_eq(field_of(m, 2, 0), vv_slice_str("What it has.")));
    vv_slice p = field_of(field_of(m, 5, 0), 1, 0);
    assert_true(wire_double(value_of(p, 4)) == 7.5);
    assert_int_equal(value_of(p, 3), 6);

    m = metric_of(&out, 1);
    vv_slice sum = field_of(m, 7, 0);
    assert_int_equal(count_of(sum, 1), 2);
    assert_int_equal(value_of(sum, 2), 2); /* cumulative */
    assert_int_equal(value_of(sum, 3), 1); /* monotonic */
    p = field_of(sum, 1, 0);
    assert_int_equal(value_of(p, 2), 5);
    assert_true(wire_double(value_of(p, 4)) == 1);
    vv_slice attribute = field_of(p, 7, 1);
    assert_true(vv_slice_eq(field_of(attribute, 1, 0), vv_slice_str("why")));
    assert_true(vv_slice_eq(field_of(field_of(attribute, 2, 0), 1, 0), vv_slice_str("a \"b\"")));

    m = metric_of(&out, 2);
    vv_slice h = field_of(m, 9, 0);
    assert_int_equal(value_of(h, 2), 2);
    p = field_of(h, 1, 0);
    assert_int_equal(value_of(p, 4), 6);
    assert_true(wire_double(value_of(p, 5)) == 5.5);
    vv_slice counts = field_of(p, 6, 0), bounds = field_of(p, 7, 0);
    assert_int_equal(counts.len, 24);
    assert_int_equal(bounds.len, 16);
    assert_int_equal(vv_get_le64(counts.data), 1);
    assert_int_equal(vv_get_le64(counts.data + 8), 3);
    assert_int_equal(vv_get_le64(counts.data + 16), 2);
    assert_true(wire_double(vv_get_le64(bounds.data + 8)) == 1);

    m = metric_of(&out, 3);
    vv_slice s = field_of(m, 11, 0);
    assert_int_equal(count_of(s, 1), 2);
    p = field_of(s, 1, 0);
    assert_int_equal(value_of(p, 4), 9);
    assert_int_equal(count_of(p, 6), 2);
    assert_int_equal(count_of(p, 7), 1); /* op; the quantile is no attribute */
    assert_int_equal(count_of(field_of(s, 1, 1), 6), 1);
    vv_buf_fini(&out);
}

static void what_is_no_such_text_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *want;
    } cases[] = {
        {"a 1\n", "line 1"},
        {"# HELP a a\n# TYPE a gauge\nb 1\n", "line 3"},
        {"# HELP a a\n# TYPE a guess\n", "line 2"},
        {"# HELP a a\n# TYPE b gauge\n", "line 2"},
        {"# HELP a a\n# TYPE a gauge\na\n", "line 3"},
        {"# HELP a a\n# TYPE a gauge\na x\n", "line 3"},
        {"# HELP a a\n# TYPE a gauge\na{b=\"c} 1\n", "line 3"},
        {"# HELP a a\n# TYPE a gauge\na{b=c} 1\n", "line 3"},
        {"# HELP a a\n# TYPE a gauge\na{b=\"c\" 1\n", "line 3"},
        {"# HELP a a\n# TYPE a histogram\nother_count 1\n", "line 3"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_buf out;
        vv_buf_init(&out, 1 << 20);
        vv_status st = svc_push_encode(vv_slice_str(cases[i].text), 1, 2, &out, &err);
        if (st != VV_INVALID || strstr(err.msg, cases[i].want) == NULL)
            fail_msg("'%s': %s", cases[i].text, err.msg);
        vv_buf_fini(&out);
    }
    vv_buf out;
    vv_buf_init(&out, 100); /* no room */
    assert_status(VV_NO_MEMORY, svc_push_encode(vv_slice_str(""), 1, 2, &out, &err));
    vv_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_of_family_is_told),
        cmocka_unit_test(what_is_no_such_text_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
