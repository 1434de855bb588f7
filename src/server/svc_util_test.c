#include "server/svc_util.h"

#include <string.h>

#include "vv_test.h"

static void test_percent_decode(void **state)
{
    (void)state;
    const struct {
        const char *name, *in;
        vv_slice want;
        bool good;
    } rows[] = {
        {"nothing", "", vv_slice_of(NULL, 0), true},
        {"plain", "abc", vv_slice_str("abc"), true},
        {"a slash and a NUL", "a%2Fb%00c", BYTES('a', '/', 'b', 0, 'c'), true},
        {"either case of digits", "%aF%Fa", BYTES(0xaf, 0xfa), true},
        {"a plus is a plus", "a+b", vv_slice_str("a+b"), true},
        {"a percent of its own", "%25", vv_slice_str("%"), true},
        {"not decoded twice", "%2541", vv_slice_str("%41"), true},
        {"an end too early", "a%2", vv_slice_of(NULL, 0), false},
        {"a percent at the end", "a%", vv_slice_of(NULL, 0), false},
        {"no digits", "%zz", vv_slice_of(NULL, 0), false},
        {"a sign is no digit", "%+1", vv_slice_of(NULL, 0), false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        vv_buf out;
        vv_buf_init(&out, 64);
        bool good = svc_percent_decode(vv_slice_str(rows[i].in), &out);
        if (good != rows[i].good || (good && !vv_slice_eq(vv_buf_slice(&out), rows[i].want)))
            fail_msg("%s", rows[i].name);
        vv_buf_fini(&out);
    }
}

static void test_query_values(void **state)
{
    (void)state;
    const struct {
        const char *query, *want; /* of "ttl" */
    } rows[] = {
        {"", NULL},           {"ttl=5", "5"},     {"a=1&ttl=5", "5"}, {"ttl=5&a=1", "5"},
        {"ttl=", ""},         {"xttl=5", NULL},   {"ttlx=5", NULL},   {"ttl", NULL},
        {"ttl=1&ttl=2", "1"}, {"&&ttl=7&&", "7"}, {"a=ttl=5", NULL},  {"a=&ttl=x=y", "x=y"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        vv_slice got = svc_query_value(vv_slice_str(rows[i].query), "ttl");
        bool same = rows[i].want == NULL
                        ? got.data == NULL
                        : got.data != NULL && vv_slice_eq(got, vv_slice_str(rows[i].want));
        if (!same)
            fail_msg("'%s'", rows[i].query);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    const struct {
        const char *text;
        bool good;
        uint64_t want;
    } rows[] = {
        {"0", true, 0},
        {"0042", true, 42},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"99999999999999999999", false, 0},
        {"", false, 0},
        {"-1", false, 0},
        {"+1", false, 0},
        {" 1", false, 0},
        {"1x", false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t got = 0;
        bool good = svc_parse_uint(vv_slice_str(rows[i].text), &got);
        if (good != rows[i].good || got != rows[i].want)
            fail_msg("'%s'", rows[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_percent_decode),
        cmocka_unit_test(test_query_values),
        cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests_name("svc_util", tests, NULL, NULL);
}
