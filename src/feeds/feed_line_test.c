/*
 * feed_line_test.c - the line protocol by its rules: escapes, types, times, and what is refused.
 */
#include "feeds/feed_line.h"

#include <math.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "feeds/feed_number.h"
#include "feeds/feed_test_sink.h"
#include "vv_test.h"

static feed_result decode(const char *text, int64_t unit_ns, feed_test_sink *t)
{
    feed_line *d = feed_line_create();
    vv_error err;
    feed_result r;
    assert_non_null(d);
    feed_line_options options = {.unit_ns = unit_ns, .now_ns = 77};
    assert_ok(feed_line_decode(d, vv_slice_str(text), &options, &t->sink, &r, &err), err);
    feed_line_destroy(d);
    return r;
}

static void test_good_lines(void **state)
{
    (void)state;
    const struct {
        const char *name, *in, *want;
    } cases[] = {
        {"plain", "cpu,host=a usage=1.5 10", "cpu_usage{host=a} f64 10 1.5 0\n"},
        {"no tags, no time", "cpu usage=1", "cpu_usage{} f64 77 1 0\n"},
        {"types", "m f=-1e3,i=-5i,u=7u,t=t,n=FALSE,s=\"x y\" 1",
         "m_f{} f64 1 -1000 0\nm_i{} i64 1 -5 0\nm_u{} i64 1 7 0\nm_t{} bool 1 true 0\n"
         "m_n{} bool 1 false 0\nm_s{} string 1 x y 0\n"},
        {"escapes in measurement", "a\\,b\\ c\\=d f=1 1", "a,b c\\=d_f{} f64 1 1 0\n"},
        {"escapes in tags", "m,a\\=b\\ c=d\\,e\\=f g=1 1", "m_g{a=b c=d,e=f} f64 1 1 0\n"},
        {"escapes in a field key", "m a\\=b\\,c\\ d=1 1", "m_a=b,c d{} f64 1 1 0\n"},
        {"a backslash that escapes nothing", "m\\x,t=\\y\\\\ f=1 1",
         "m\\x_f{t=\\y\\\\} f64 1 1 0\n"},
        {"strings", "m s=\"a \\\"b\\\" \\\\ \\n,=\" 1", "m_s{} string 1 a \"b\" \\ \\n,= 0\n"},
        {"a string over lines", "m s=\"a\nb\" 1\nn f=2 2",
         "m_s{} string 1 a\nb 0\nn_f{} f64 2 2 0\n"},
        {"an empty string", "m s=\"\" 1", "m_s{} string 1  0\n"},
        {"comments, blank lines, blanks", "# no\n\n  \t m   f=1    5   \r\n#", "m_f{} f64 5 1 0\n"},
        {"line ends of Windows", "m f=1 5\r\nm f=2\r\n\r\n", "m_f{} f64 5 1 0\nm_f{} f64 77 2 0\n"},
        {"before 1970", "m f=1 -5", "m_f{} f64 -5 1 0\n"},
        {"negative zero, small and long",
         "m a=-0.0,b=4.9e-324,c=0.1000000000000000055511151231257827021181583404541015625 1",
         "m_a{} f64 1 -0 0\nm_b{} f64 1 4.9406564584124654e-324 0\n"
         "m_c{} f64 1 0.10000000000000001 0\n"},
        {"UTF-8", "m,ort=K\xc3\xb6ln f=1 1", "m_f{ort=K\xc3\xb6ln} f64 1 1 0\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        feed_test_sink *t = feed_test_sink_create();
        feed_result r = decode(cases[i].in, 1, t);
        if (r.refused != 0 || strcmp(feed_test_text(t), cases[i].want) != 0)
            fail_msg("%s: %s\n%s", cases[i].name, r.first_refusal, feed_test_text(t));
        feed_test_sink_destroy(t);
    }
}

static void test_bad_lines(void **state)
{
    (void)state;
    const struct {
        const char *in, *want;
    } cases[] = {
        {"cpu", "missing fields"},
        {"cpu ", "missing field key"},
        {"cpu,a usage=1", "missing tag value"},
        {"cpu,a= usage=1", "missing tag value"},
        {"cpu,=b usage=1", "missing tag key"},
        {"cpu,a=b=c usage=1", "equals sign"},
        {"cpu,a=b,a=c usage=1", "twice"},
        {"cpu,__name__=b usage=1", "__name__"},
        {",a=b usage=1", "missing measurement"},
        {"cpu usage", "missing field value"},
        {"cpu usage=", "missing field value"},
        {"cpu usage=1,", "missing field key"},
        {"cpu usage=1 x", "timestamp"},
        {"cpu usage=1 1 2", "behind the timestamp"},
        {"cpu usage=1 9223372036854775808", "timestamp"},
        {"cpu usage=nan", "no number"},
        {"cpu usage=1e999", "no number"},
        {"cpu usage=1.2.3", "no number"},
        {"cpu usage=.", "no number"},
        {"cpu usage=1e", "no number"},
        {"cpu usage=TrUe", "no number"},
        {"cpu usage=9223372036854775808i", "64 bits"},
        {"cpu usage=1.5i", "64 bits"},
        {"cpu usage=-1u", "unsigned"},
        {"cpu usage=18446744073709551615u", "unsigned"},
        {"cpu usage=\"open", "no end"},
        {"cpu usage=\"a\"b", "timestamp"},
        {"c\xffpu usage=1", "UTF-8"},
        {"cpu,h=\\\xc3 usage=1", "UTF-8"},
        {"cpu us\xc3 ge=1", "UTF-8"},
        {"cpu s=\"\xe2\x82\"", "UTF-8"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        feed_test_sink *t = feed_test_sink_create();
        char body[256], want[64];
        (void)snprintf(body, sizeof body, "ok f=1 1\n\n%s\nok f=2 2\n", cases[i].in);
        feed_result r = decode(body, 1, t);
        (void)snprintf(want, sizeof want, "line 3: ");
        if (r.refused != 1 || strncmp(r.first_refusal, want, 8) != 0 ||
            strstr(r.first_refusal, cases[i].want) == NULL ||
            strcmp(feed_test_text(t), "ok_f{} f64 1 1 0\nok_f{} f64 2 2 0\n") != 0)
            fail_msg("%s: %s\n%s", cases[i].in, r.first_refusal, feed_test_text(t));
        feed_test_sink_destroy(t);
    }
}

static void test_precision(void **state)
{
    (void)state;
    const struct {
        const char *name;
        int64_t unit;
    } cases[] = {{"", 1},           {"ns", 1},          {"n", 1},
                 {"us", 1000},      {"u", 1000},        {"ms", 1000000},
                 {"s", 1000000000}, {"m", 60000000000}, {"h", 3600000000000}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t unit = 0;
        assert_true(feed_line_precision(vv_slice_str(cases[i].name), &unit));
        assert_int_equal(unit, cases[i].unit);
    }
    int64_t unit = 0;
    assert_false(feed_line_precision(vv_slice_str("d"), &unit));
    feed_test_sink *t = feed_test_sink_create();
    feed_result r = decode("m f=1 1719835200\nm f=2 9223372037\nm f=3", 1000000000, t);
    assert_int_equal(r.refused, 1);
    assert_int_equal(r.samples, 2);
    assert_string_equal(feed_test_text(t), "m_f{} f64 1719835200000000000 1 0\nm_f{} f64 77 3 0\n");
    feed_test_sink_destroy(t);
}

/* A field of another type than its series is refused alone, its line counted once. */
static void test_refusals_of_the_sink(void **state)
{
    (void)state;
    feed_test_sink *t = feed_test_sink_create();
    t->refuse = "m_bad";
    feed_result r = decode("m bad=1,good=2,bad2=3 1\nm good=3 2\nm bad=1 3", 1, t);
    assert_int_equal(r.refused, 2);
    assert_int_equal(r.samples, 2);
    assert_string_equal(r.first_refusal, "line 1: the series is of another type");
    assert_string_equal(feed_test_text(t), "m_good{} f64 1 2 0\nm_good{} f64 2 3 0\n");
    feed_test_sink_destroy(t);
}

static void test_a_failing_sink_ends_the_walk(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        feed_test_sink *t = feed_test_sink_create();
        feed_line *d = feed_line_create();
        feed_result r;
        t->fail_after = n;
        vv_status st = feed_line_decode(d, vv_slice_str("m a=1,b=2 1\nx\nm a=2 2\n"),
                                        &(feed_line_options){.unit_ns = 1}, &t->sink, &r, NULL);
        feed_line_destroy(d);
        feed_test_sink_destroy(t);
        if (st == VV_OK) {
            assert_int_equal(n, 7);
            break;
        }
        assert_int_equal(st, VV_NO_MEMORY);
    }
    vv_alloc_fail_after(0, 1);
    assert_null(feed_line_create());
    vv_alloc_fail_after(-1, 0);
    feed_line_destroy(NULL);
}

static void test_limits(void **state)
{
    (void)state;
    feed_test_sink *t = feed_test_sink_create();
    vv_buf b;
    vv_buf_init(&b, 1 << 20);
    vv_buf_append_str(&b, "m");
    for (int i = 0; i < 128; i++)
        vv_buf_printf(&b, ",t%d=v", i);
    vv_buf_append_str(&b, " f=1 1\n");
    for (int i = 0; i < 5000; i++)
        vv_buf_append_str(&b, "n");
    vv_buf_append_str(&b, " f=1 1\nm ");
    for (int i = 0; i < 1025; i++)
        vv_buf_printf(&b, "%sf%d=1", i == 0 ? "" : ",", i);
    vv_buf_append_str(&b, " 1\nm s=\"\\\\");
    for (int i = 0; i < 300000; i++)
        vv_buf_append_str(&b, "s");
    vv_buf_append_str(&b, "\" 1\nm f=4 4");
    vv_buf_append_u8(&b, 0);
    assert_int_equal(b.status, VV_OK);
    feed_result r = decode((const char *)b.data, 1, t);
    assert_int_equal(r.refused, 4);
    assert_string_equal(r.first_refusal, "line 1: more than 127 tags");
    vv_buf_fini(&b);
    feed_test_sink_destroy(t);
}

/* Any double printed is read as itself, and any decimal as strtod reads it. */
static void prop_numbers_are_exact(void **state)
{
    (void)state;
    vv_rng rng;
    uint64_t seed = vv_test_seed(0x5eed);
    vv_rng_init(&rng, seed);
    static const char *const forms[] = {"%.17g", "%.15g", "%.3f", "%.0e", "%.6g", "%.25e"};
    for (uint64_t i = 0; i < vv_test_count("VV_NUMBERS", 200000); i++) {
        uint64_t bits = vv_rng_next(&rng);
        double v;
        if (vv_rng_one_in(&rng, 2)) {
            v = (double)(int64_t)bits / (double)(UINT64_C(1) << vv_rng_below(&rng, 60));
        } else {
            memcpy(&v, &bits, sizeof v);
        }
        char text[512];
        (void)snprintf(text, sizeof text, forms[i % ARRAY_LEN(forms)], v);
        double back = 0;
        bool good = feed_parse_double(vv_slice_str(text), &back);
        if (good != (bool)isfinite(strtod(text, NULL)))
            fail_msg("VV_SEED=%#" PRIx64 ": %s is %d", seed, text, good);
        if (good && back != strtod(text, NULL))
            fail_msg("VV_SEED=%#" PRIx64 ": %s is %.17g", seed, text, back);
        int64_t n = 0;
        (void)snprintf(text, sizeof text, "%" PRId64, (int64_t)bits);
        assert_true(feed_parse_int(vv_slice_str(text), &n));
        assert_int_equal(n, (int64_t)bits);
    }
}

static void test_integers(void **state)
{
    (void)state;
    const struct {
        const char *in;
        bool good;
        int64_t want;
    } cases[] = {{"0", true, 0},
                 {"-0", true, 0},
                 {"+7", true, 7},
                 {"00000000000000000000000000012", true, 12},
                 {"9223372036854775807", true, INT64_MAX},
                 {"-9223372036854775808", true, INT64_MIN},
                 {"9223372036854775808", false, 0},
                 {"-9223372036854775809", false, 0},
                 {"99999999999999999999", false, 0},
                 {"", false, 0},
                 {"-", false, 0},
                 {"1 ", false, 0},
                 {"0x1", false, 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t v = 0;
        if (feed_parse_int(vv_slice_str(cases[i].in), &v) != cases[i].good || v != cases[i].want)
            fail_msg("%s", cases[i].in);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_lines),
        cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_precision),
        cmocka_unit_test(test_refusals_of_the_sink),
        cmocka_unit_test(test_a_failing_sink_ends_the_walk),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(prop_numbers_are_exact),
        cmocka_unit_test(test_integers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
