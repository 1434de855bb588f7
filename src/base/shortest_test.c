/*
 * shortest_test.c - digits of doubles against the C library.
 */
#include "base/shortest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "vv_test.h"

/* The same by printf and strtod. */
static void reference(double value, vv_digits *out)
{
    char text[40];
    for (int n = 15; n <= 17; n++) {
        (void)snprintf(text, sizeof text, "%.*e", n - 1, fabs(value));
        if (strtod(text, NULL) == fabs(value))
            break;
    }
    const char *at = text;
    out->count = 0;
    for (; *at != 'e'; at++)
        if (*at != '.')
            out->digit[out->count++] = *at;
    while (out->count > 1 && out->digit[out->count - 1] == '0')
        out->count--;
    out->exponent = atoi(at + 1);
}

static void check(double value)
{
    vv_digits got;
    vv_digits want;
    bool is_there = vv_shortest(value, &got);
    if (is_there != (fabs(value) >= 1e-4 && fabs(value) < 1e15))
        fail_msg("%.17g: %s", value, is_there ? "digits outside the range" : "no digits");
    if (!is_there)
        return;
    reference(value, &want);
    char text[VV_DIGITS_TEXT + 1];
    size_t len = vv_digits_text(&got, value < 0, text);
    assert_true(len <= VV_DIGITS_TEXT);
    text[len] = 0;
    if (strchr(text, 'e') != NULL || strtod(text, NULL) != value)
        fail_msg("%.17g became %s", value, text);
    if (got.count != want.count || got.exponent != want.exponent ||
        memcmp(got.digit, want.digit, want.count) != 0)
        fail_msg("%.17g: %.*se%d instead of %.*se%d", value, (int)got.count, got.digit,
                 got.exponent, (int)want.count, want.digit, want.exponent);
}

static void test_edges(void **state)
{
    (void)state;
    const double values[] = {0.0,
                             -0.0,
                             INFINITY,
                             NAN,
                             5e-324,
                             1.7976931348623157e308,
                             1e-4,
                             0.00099999999999999991,
                             999999999999999.9,
                             999999999999999.0,
                             1e15,
                             0.1,
                             0.3,
                             -0.5,
                             1.0 / 3,
                             100,
                             123456789012345.6,
                             9.999999999999999,
                             9.9999999999999982,
                             0.30000000000000004};
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        check(values[i]);
    for (double ten = 1e-6; ten < 1e17; ten *= 10) {
        check(ten);
        check(nextafter(ten, 0));
        check(nextafter(ten, INFINITY));
    }
    for (int e = -16; e < 54; e++) { /* the next lower double is nearer than the next higher */
        check(ldexp(1, e));
        check(nextafter(ldexp(1, e), 0));
        check(nextafter(ldexp(1, e), INFINITY));
    }
}

static void prop_digits_are_those_of_the_library(void **state)
{
    (void)state;
    uint64_t seed = vv_test_seed(0x5d);
    vv_rng rng;
    vv_rng_init(&rng, seed);
    for (int i = 0; i < 60000; i++) {
        double v;
        uint64_t bits = vv_rng_next(&rng);
        switch (vv_rng_below(&rng, 4)) {
        case 0: /* any digits, a little outside the range too */
            v = ldexp(1 + (double)(bits >> 12) * 0x1p-52, (int)vv_rng_below(&rng, 70) - 16);
            break;
        case 1: /* averages */
            v = (double)vv_rng_below(&rng, 1000000007) / (double)(1 + vv_rng_below(&rng, 360));
            break;
        case 2: /* decimals */
            v = (double)(bits >> (12 + vv_rng_below(&rng, 40))) /
                pow(10, (double)vv_rng_below(&rng, 16));
            break;
        default:
            v = (double)(int64_t)bits;
            break;
        }
        check(vv_rng_one_in(&rng, 2) ? v : -v);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edges),
        cmocka_unit_test(prop_digits_are_those_of_the_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
