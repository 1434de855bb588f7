/*
 * struct_json_test.c - JSON text to Struct bytes and back.
 */
#include "query/struct_json.h"

#include <math.h>

#include "base/rng.h"
#include "google/protobuf/struct.pb-c.h"
#include "vv_test.h"

static void test_round_trip(void **state)
{
    (void)state;
    const struct {
        const char *in;
        const char *out; /* NULL: as it came */
    } cases[] = {
        {"{}", NULL},
        {"{\"a\":1,\"b\":[true,false,null,\"x\",{\"c\":-0.5}],\"\":{}}", NULL},
        {" { \"a\" : [ ] } ", "{\"a\":[]}"},
        {"{\"a\":1e3}", "{\"a\":1000}"},
        {"{\"a\":0.1}", NULL},
        {"{\"a\":12345678901234567890.0}", "{\"a\":1.2345678901234567e+19}"},
        {"{\"a\":1.152921504606847e18}", "{\"a\":1.152921504606847e+18}"},
        {"{\"a\":9007199254740994.0}", NULL},
        {"{\"a\":1.7976931348623157e308}", "{\"a\":1.7976931348623157e+308}"},
        {"{\"a\":5e-324}", "{\"a\":4.94065645841247e-324}"},
        {"{\"a\":[9007199254740992,-9007199254740992]}", NULL},
        {"{\"\\u0041\\n\\t\\\"\\\\\\/\":\"\\ud83d\\ude00\\u00e9\"}",
         "{\"A\\n\\t\\\"\\\\/\":\"\xf0\x9f\x98\x80\xc3\xa9\"}"},
        {"{\"a\":\"\\u0001\"}", NULL},
        {"{\"a\":1,\"a\":2}", "{\"a\":2}"},
    };
    vv_buf wire;
    vv_buf text;
    vv_buf_init(&wire, 1 << 20);
    vv_buf_init(&text, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_error err = {0};
        vv_buf_reset(&wire);
        vv_buf_reset(&text);
        assert_ok(json_read_struct(vv_slice_str(cases[i].in), NULL, &wire, &err), err);
        Google__Protobuf__Struct *oracle = google__protobuf__struct__unpack(
            NULL, wire.len, wire.len == 0 ? (uint8_t *)"" : wire.data);
        assert_non_null(oracle);
        google__protobuf__struct__free_unpacked(oracle, NULL);
        assert_int_equal(json_put_struct(&text, vv_buf_slice(&wire)), VV_OK);
        vv_buf_append_u8(&text, 0);
        assert_int_equal(text.status, VV_OK);
        assert_string_equal((char *)text.data, cases[i].out == NULL ? cases[i].in : cases[i].out);
    }
    vv_buf_fini(&wire);
    vv_buf_fini(&text);
}

static void test_refused(void **state)
{
    (void)state;
    const struct {
        const char *in;
        const char *cause;
    } cases[] = {
        {"", "column 1: expected '{'"},
        {"[1]", "column 1: expected '{'"},
        {"{", "column 2: expected a string"},
        {"{\"a\"}", "column 5: expected ':'"},
        {"{\"a\":}", "column 6: expected a value"},
        {"{\"a\":1", "column 7: expected ',' or '}'"},
        {"{\"a\":1,}", "column 8: expected a string"},
        {"{\"a\":01}", "column 6: expected a value"},
        {"{\"a\":1.}", "column 6: expected a value"},
        {"{\"a\":+1}", "column 6: expected a value"},
        {"{\"a\":9007199254740993}", "column 6: an integer beyond 2^53"},
        {"{\"a\":[1,-12345678901234567890]}", "column 9: an integer beyond 2^53"},
        {"{\"a\":1e999}", "column 6: a number that no double can hold"},
        {"{\"a\":nul}", "column 6: expected a value"},
        {"{\"a\":\"x}", "column 9: the text ends inside a string"},
        {"{\"a\":\"\\x\"}", "column 8: an unknown escape in a string"},
        {"{\"a\":\"\\ud800\"}", "a high surrogate without its low one"},
        {"{\"a\":\"\\udc00\"}", "a low surrogate without its high one"},
        {"{\"a\":\"\x01\"}", "column 7: a control character in a string"},
        {"{\"a\":\"\xc0\x80\"}", "column 7: a string with bytes that are not UTF-8"},
        {"{\"a\":1}x", "column 8: something follows the JSON value"},
        {"{\"a\":[1 2]}", "column 9: expected ',' or ']'"},
    };
    vv_buf wire;
    vv_buf_init(&wire, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_error err = {0};
        vv_buf_reset(&wire);
        assert_int_equal(json_read_struct(vv_slice_str(cases[i].in), NULL, &wire, &err),
                         VV_INVALID);
        if (strstr(err.msg, cases[i].cause) == NULL)
            fail_msg("%s: %s", cases[i].in, err.msg);
    }
    vv_buf_fini(&wire);
}

/* Digit for digit, wherever they stand, and nothing else becomes a string. */
static void test_big_integers_as_strings(void **state)
{
    (void)state;
    vv_error err = {0};
    uint64_t big = 0;
    vv_buf wire;
    vv_buf text;
    vv_buf_init(&wire, 1 << 20);
    vv_buf_init(&text, 1 << 20);
    assert_ok(
        json_read_struct_big(vv_slice_str("{\"a\":1234567890123456780,\"b\":[-9007199254740993,"
                                          "9007199254740992,1e300],\"c\":{\"d\":1.5}}"),
                             &wire, &big, &err),
        err);
    assert_int_equal(big, 2);
    assert_int_equal(json_put_struct(&text, vv_buf_slice(&wire)), VV_OK);
    vv_buf_append_u8(&text, 0);
    assert_string_equal((char *)text.data,
                        "{\"a\":\"1234567890123456780\",\"b\":[\"-9007199254740993\","
                        "9007199254740992,1e+300],\"c\":{\"d\":1.5}}");
    vv_buf_fini(&wire);
    vv_buf_fini(&text);
}

/* 64 levels pass, 65 do not, and 100,000 cost nothing. */
static void test_depth(void **state)
{
    (void)state;
    vv_buf text;
    vv_buf wire;
    vv_buf_init(&text, 1 << 20);
    vv_buf_init(&wire, 1 << 20);
    const unsigned depth[] = {64, 65, 100000};
    for (size_t i = 0; i < ARRAY_LEN(depth); i++) {
        vv_buf_reset(&text);
        vv_buf_reset(&wire);
        vv_buf_append_str(&text, "{\"a\":");
        for (unsigned d = 0; d < depth[i]; d++)
            vv_buf_append_u8(&text, '[');
        for (unsigned d = 0; d < depth[i]; d++)
            vv_buf_append_u8(&text, ']');
        vv_buf_append_u8(&text, '}');
        vv_status st = json_read_struct(vv_buf_slice(&text), NULL, &wire, NULL);
        assert_int_equal(st, depth[i] <= 64 ? VV_OK : VV_INVALID);
        if (st == VV_OK) {
            vv_buf_reset(&text);
            assert_int_equal(json_put_struct(&text, vv_buf_slice(&wire)), VV_OK);
        }
    }
    vv_buf_fini(&text);
    vv_buf_fini(&wire);
}

/* A number printed and read again is the same number; so is any decimal against strtod. */
static void prop_numbers_survive(void **state)
{
    (void)state;
    vv_rng rng;
    vv_buf text;
    vv_rng_init(&rng, vv_test_seed(0x10));
    vv_buf_init(&text, 1 << 10);
    for (uint64_t i = 0; i < vv_test_count("VV_ROUNDS", 200000); i++) {
        uint64_t bits = vv_rng_next(&rng);
        double v;
        double back;
        memcpy(&v, &bits, sizeof v);
        if (vv_rng_one_in(&rng, 2))
            v = (double)(int64_t)vv_rng_below(&rng, 1000000000) / 1000;
        else if (vv_rng_one_in(&rng, 2)) /* whole numbers on both sides of 2^53 */
            v = (double)(int64_t)(bits >> vv_rng_below(&rng, 16));
        if (isnan(v) || isinf(v))
            continue;
        vv_buf_reset(&text);
        json_put_number(&text, v);
        assert_true(json_read_number(vv_buf_slice(&text), &back));
        assert_true(v == back);
        assert_false(json_is_big_integer(vv_buf_slice(&text)));
        char decimal[64];
        snprintf(decimal, sizeof decimal, "%llu.%llu", (unsigned long long)(bits >> 50),
                 (unsigned long long)(bits & 0xffffffff));
        assert_true(json_read_number(vv_slice_str(decimal), &back));
        assert_true(strtod(decimal, NULL) == back);
    }
    vv_buf_fini(&text);
}

/* Any bytes: an answer, never a crash; what is accepted can be written again. */
static void prop_any_bytes_are_an_answer(void **state)
{
    (void)state;
    static const char alphabet[] = "{}[]\",:0123456789.-+eEtrufalsn \\\xc3\xa9";
    vv_rng rng;
    vv_buf wire;
    vv_buf text;
    vv_rng_init(&rng, vv_test_seed(0x11));
    vv_buf_init(&wire, 1 << 20);
    vv_buf_init(&text, 1 << 20);
    for (uint64_t i = 0; i < vv_test_count("VV_ROUNDS", 100000); i++) {
        uint8_t in[24] = "{\"a\":";
        size_t len = 5 + vv_rng_below(&rng, sizeof in - 5);
        for (size_t j = 5; j < len; j++)
            in[j] = (uint8_t)alphabet[vv_rng_below(&rng, sizeof alphabet - 1)];
        in[len - 1] = '}';
        vv_buf_reset(&wire);
        vv_buf_reset(&text);
        if (json_read_struct(vv_slice_of(in, len), NULL, &wire, NULL) == VV_OK)
            assert_int_equal(json_put_struct(&text, vv_buf_slice(&wire)), VV_OK);
    }
    vv_buf_fini(&wire);
    vv_buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_big_integers_as_strings),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(prop_numbers_survive),
        cmocka_unit_test(prop_any_bytes_are_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
