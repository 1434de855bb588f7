/*
 * time_text_test.c - times as text, against the C library's calendar.
 */
#include "base/time_text.h"

#include "base/rng.h"
#include "vv_test.h"

static void test_parse(void **state)
{
    (void)state;
    const struct {
        const char *in;
        bool ok;
        int64_t want;
    } cases[] = {
        {"1970-01-01T00:00:00Z", true, 0},
        {"1970-01-01", true, 0},
        {"1970-01-01T00:00:00.5Z", true, 500000000},
        {"1969-12-31T23:59:59.999999999Z", true, -1},
        {"2026-07-01T12:30:00+02:00", true, 1782901800000000000},
        {"2026-07-01 12:30:00z", true, 1782909000000000000},
        {"2024-02-29T00:00:00Z", true, 1709164800000000000},
        {"1970-01-01T00:00:00.1234567899Z", true, 123456789},
        {"2262-04-11T23:47:16.854775807Z", true, INT64_MAX},
        {"1677-09-21T00:12:43.145224192Z", true, INT64_MIN},
        {"2262-04-11T23:47:16.854775808Z", false, 0},
        {"2023-02-29T00:00:00Z", false, 0},
        {"2026-13-01T00:00:00Z", false, 0},
        {"2026-00-01T00:00:00Z", false, 0},
        {"2026-01-01T24:00:00Z", false, 0},
        {"2026-01-01T00:00:00", false, 0},
        {"2026-01-01T00:00:00.Z", false, 0},
        {"2026-01-01T00:00Z", false, 0},
        {"2026-01-01T00:00:00Zx", false, 0},
        {"26-01-01T00:00:00Z", false, 0},
        {"", false, 0},
        {"now", false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t ns = 0;
        if (time_text_parse(vv_slice_str(cases[i].in), &ns) != cases[i].ok)
            fail_msg("'%s'", cases[i].in);
        if (cases[i].ok && ns != cases[i].want)
            fail_msg("'%s': %lld", cases[i].in, (long long)ns);
    }
}

static void test_loose(void **state)
{
    (void)state;
    const struct {
        const char *in;
        const char *want; /* NULL: refused */
    } cases[] = {
        {"2026-01-02 10:00:00", "2026-01-02T10:00:00Z"},
        {"2026-01-02T10:00:00", "2026-01-02T10:00:00Z"},
        {"2026-01-02 10:00", "2026-01-02T10:00:00Z"},
        {"2026-01-02", "2026-01-02T00:00:00Z"},
        {"2026/01/02 10:00:00", "2026-01-02T10:00:00Z"},
        {"2026-01-02 10:00:00.25", "2026-01-02T10:00:00.250Z"},
        {"2026-01-02 10:00:00,25", "2026-01-02T10:00:00.250Z"},
        {"2026-01-02 10:00:00 UTC", "2026-01-02T10:00:00Z"},
        {"2026-01-02 10:00:00+00", "2026-01-02T10:00:00Z"},
        {"2026-01-02 10:00:00 +0200", "2026-01-02T08:00:00Z"},
        {"2026-01-02 10:00:00-02:30", "2026-01-02T12:30:00Z"},
        {"2026-01-02T10:00:00Z", "2026-01-02T10:00:00Z"},
        {"2026-01-02 10:00:00 CET", NULL},
        {"2026-01-02 10:00:00+2", NULL},
        {"2026-01-02 10:00:00+02:", NULL},
        {"2026-01-02 10:00:00+02:60", NULL},
        {"2026-01/02 10:00:00", NULL},
        {"2026-02-30", NULL},
        {"2026-01-02 25:00:00", NULL},
        {"2026-01-02 10", NULL},
        {"2026-01-02 10:00:", NULL},
        {"2026-01-02 10:00:00.", NULL},
        {"01/02/2026", NULL},
        {"noon", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t ns = 0;
        int64_t want = 0;
        bool ok = time_text_parse_loose(vv_slice_str(cases[i].in), &ns);
        if (ok != (cases[i].want != NULL))
            fail_msg("'%s'", cases[i].in);
        if (ok && (!time_text_parse(vv_slice_str(cases[i].want), &want) || ns != want))
            fail_msg("'%s': %lld", cases[i].in, (long long)ns);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    int64_t ns;
    assert_true(time_text_parse_number(vv_slice_str("1719835200.25"), 1000000000, &ns));
    assert_int_equal(ns, 1719835200250000000);
    assert_true(time_text_parse_number(vv_slice_str("-1.5"), 1000000, &ns));
    assert_int_equal(ns, -1500000);
    assert_true(time_text_parse_number(vv_slice_str("9223372036854775807"), 1, &ns));
    assert_int_equal(ns, INT64_MAX);
    assert_false(time_text_parse_number(vv_slice_str("9223372036854775808"), 1, &ns));
    assert_false(time_text_parse_number(vv_slice_str("9223372037"), 1000000000, &ns));
    assert_false(time_text_parse_number(vv_slice_str(""), 1, &ns));
    assert_false(time_text_parse_number(vv_slice_str("-"), 1, &ns));
    assert_false(time_text_parse_number(vv_slice_str("1e3"), 1, &ns));
    assert_true(time_from_seconds(1.5, &ns));
    assert_int_equal(ns, 1500000000);
    assert_true(time_from_seconds(-0.25, &ns));
    assert_int_equal(ns, -250000000);
    assert_false(time_from_seconds(0.0 / 0.0, &ns));
    assert_false(time_from_seconds(1e300, &ns));
    assert_false(time_from_parts(0, 1000000000, &ns));
    assert_false(time_from_parts(0, -1, &ns));
    assert_true(time_from_parts(-1, 999999999, &ns));
    assert_int_equal(ns, -1);
}

/* A number alone is of the unit that its digits tell. */
static void test_any(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int64_t want;
    } cases[] = {{"1767323045", 1767323045 * INT64_C(1000000000)},
                 {"1767323045.5", 1767323045500 * INT64_C(1000000)},
                 {"-5", INT64_C(-5000000000)},
                 {"1767323045000", 1767323045 * INT64_C(1000000000)},
                 {"1767323045000000", 1767323045 * INT64_C(1000000000)},
                 {"1767323045000000007", INT64_C(1767323045000000007)},
                 {"7ns", 7},
                 {"7us", 7000},
                 {"7ms", 7000000},
                 {"7s", INT64_C(7000000000)},
                 {"1970-01-01T00:00:07Z", INT64_C(7000000000)}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t ns = 0;
        assert_true(time_text_parse_any(vv_slice_str(cases[i].text), &ns));
        assert_int_equal(ns, cases[i].want);
    }
    int64_t ns = 0;
    assert_false(time_text_parse_any(vv_slice_str("soon"), &ns));
    assert_false(time_text_parse_any(vv_slice_str("ms"), &ns));
    assert_false(time_text_parse_any(vv_slice_str(""), &ns));
}

static void prop_format_and_parse_agree(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(0x71));
    for (uint64_t i = 0; i < vv_test_count("VV_ROUNDS", 200000); i++) {
        static const int64_t unit[] = {1, 1000, 1000000, 1000000000};
        int64_t ns = (int64_t)vv_rng_next(&rng);
        ns -= ns % unit[vv_rng_below(&rng, 4)];
        char text[TIME_TEXT_MAX];
        int64_t back;
        time_text_format(ns, text);
        assert_true(time_text_parse(vv_slice_str(text), &back));
        assert_int_equal(ns, back);
        time_t seconds = (time_t)(ns / 1000000000 - (ns % 1000000000 < 0));
        struct tm tm;
        char want[TIME_TEXT_MAX];
        gmtime_r(&seconds, &tm);
        strftime(want, sizeof want, "%Y-%m-%dT%H:%M:%S", &tm);
        assert_memory_equal(text, want, strlen(want));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_loose),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_any),
        cmocka_unit_test(prop_format_and_parse_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
