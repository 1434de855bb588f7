/*
 * svc_json_test.c - the JSON mapping: what is read, what is refused and where, and that both
 * directions agree.
 */
#include "server/svc_json.h"

#include "query/struct_json.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "codec/protowire.h"
#include "google/protobuf/struct.pb-c.h"
#include "storage/ingestion.pb-c.h"
#include "storage/query.pb-c.h"
#include "varve/v1/admin.pb-c.h"
#include "varve/v1/kv.pb-c.h"
#include "vv_test.h"

static const ProtobufCMessageDescriptor *const value_desc = &google__protobuf__value__descriptor;
static const ProtobufCMessageDescriptor *const struct_desc = &google__protobuf__struct__descriptor;

/* JSON to wire and back: what a text means, in one canonical form. */
static vv_status canonical(const ProtobufCMessageDescriptor *desc, const char *text, char *out,
                           size_t out_len, vv_error *err)
{
    vv_buf wire, json;
    vv_buf_init(&wire, 1 << 20);
    vv_buf_init(&json, 1 << 20);
    vv_status st = svc_json_to_wire(desc, vv_slice_str(text), &wire, err);
    if (st == VV_OK)
        st = svc_json_from_wire(desc, vv_buf_slice(&wire), &json, err);
    if (st == VV_OK)
        (void)snprintf(out, out_len, "%.*s", (int)json.len, (const char *)json.data);
    vv_buf_fini(&wire);
    vv_buf_fini(&json);
    return st;
}

static void test_texts_and_their_canonical_form(void **state)
{
    (void)state;
    const struct {
        const char *name;
        const ProtobufCMessageDescriptor *desc;
        const char *in, *want;
    } cases[] = {
        {"empty object", &storage__data_record__descriptor, " { } ", "{}"},
        {"snake case", &storage__data_record__descriptor,
         "{\"id\":{\"tenant_id\":{\"id\":\"t\"},\"entity_id\":{\"id\":\"e\"}}}",
         "{\"id\":{\"tenantId\":{\"id\":\"t\"},\"entityId\":{\"id\":\"e\"}}}"},
        {"camel case", &storage__data_record__descriptor, "{\"id\":{\"tenantId\":{\"id\":\"t\"}}}",
         "{\"id\":{\"tenantId\":{\"id\":\"t\"}}}"},
        {"map", &storage__data_record__descriptor, "{\"metadata\":{\"a\":\"b\",\"\":\"c\"}}",
         "{\"metadata\":{\"a\":\"b\",\"\":\"c\"}}"},
        {"int64 as text and number", &storage__record_id__descriptor,
         "{\"version\":\"9223372036854775807\"}", "{\"version\":\"9223372036854775807\"}"},
        {"int64 number keeps its digits", &storage__record_id__descriptor,
         "{\"version\":-9223372036854775808}", "{\"version\":\"-9223372036854775808\"}"},
        {"whole number with a fraction", &storage__query_request__descriptor, "{\"limit\":1e2}",
         "{\"limit\":100}"},
        {"null is absent", &storage__query_request__descriptor, "{\"limit\":null,\"offset\":3}",
         "{\"offset\":3}"},
        {"enum by name and number", &varve__v1__put_request__descriptor,
         "{\"durability\":\"DURABILITY_OS\"}", "{\"durability\":\"DURABILITY_OS\"}"},
        {"enum number", &varve__v1__put_request__descriptor, "{\"durability\":2}",
         "{\"durability\":\"DURABILITY_OS\"}"},
        {"bytes", &varve__v1__put_request__descriptor, "{\"key\":\"AAEC_w==\",\"value\":\"_-8\"}",
         "{\"key\":\"AAEC/w==\",\"value\":\"/+8=\"}"},
        {"double in a map", &varve__v1__status_response__descriptor,
         "{\"figures\":{\"x\":0.1,\"n\":\"NaN\",\"i\":\"-Infinity\"}}",
         "{\"figures\":{\"x\":0.1,\"n\":\"NaN\",\"i\":\"-Infinity\"}}"},
        {"time", &storage__data_record__descriptor, "{\"timestamp\":\"2026-07-01T12:30:00.25Z\"}",
         "{\"timestamp\":\"2026-07-01T12:30:00.250Z\"}"},
        {"time with an offset", &storage__data_record__descriptor,
         "{\"timestamp\":\"1970-01-01t01:00:00+02:30\"}",
         "{\"timestamp\":\"1969-12-31T22:30:00Z\"}"},
        {"time of nanoseconds before 1970", &storage__data_record__descriptor,
         "{\"timestamp\":\"1969-12-31T23:59:59.000000001Z\"}",
         "{\"timestamp\":\"1969-12-31T23:59:59.000000001Z\"}"},
        {"struct", struct_desc,
         "{\"a\":1.5,\"b\":[true,null,\"x\",[],{}],\"c\":{\"d\":{\"e\":-0.0}}}",
         "{\"a\":1.5,\"b\":[true,null,\"x\",[],{}],\"c\":{\"d\":{\"e\":-0}}}"},
        {"escapes", value_desc, "\"\\u0041\\ud83d\\ude00\\n\\/\\u0000\\u00e9\"",
         "\"A\xf0\x9f\x98\x80\\n/\\u0000\xc3\xa9\""},
        {"value of null", value_desc, "null", "null"},
        {"filter with a null value", &storage__query_filter__descriptor,
         "{\"column\":\"a\",\"value\":null}", "{\"column\":\"a\",\"value\":null}"},
        {"bool and repeated strings", &storage__query_request__descriptor,
         "{\"projection\":[\"a\",\"b\"],\"orderBy\":[{\"column\":\"c\",\"descending\":true}]}",
         "{\"projection\":[\"a\",\"b\"],\"orderBy\":[{\"column\":\"c\",\"descending\":true}]}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char got[512];
        vv_error err = {0};
        if (canonical(cases[i].desc, cases[i].in, got, sizeof got, &err) != VV_OK)
            fail_msg("%s: %s", cases[i].name, err.msg);
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("%s: %s instead of %s", cases[i].name, got, cases[i].want);
    }
}

static void test_bad_texts_are_refused(void **state)
{
    (void)state;
    const struct {
        const char *name;
        const ProtobufCMessageDescriptor *desc;
        const char *in, *says;
    } cases[] = {
        {"nothing", &storage__data_record__descriptor, "", "needs an object"},
        {"an array", &storage__data_record__descriptor, "[]", "needs an object"},
        {"unknown field", &storage__data_record__descriptor, "{\"idd\":1}", "no field \"idd\""},
        {"a field that comes twice", &storage__query_request__descriptor,
         "{\"limit\":1,\"limit\":2}", "\"limit\" is given twice"},
        {"under its two names", &storage__query_request__descriptor,
         "{\"orderBy\":[],\"order_by\":[]}", "is given twice"},
        {"trailing text", &storage__data_record__descriptor, "{} x", "behind the end"},
        {"trailing comma", struct_desc, "{\"a\":1,}", "nothing behind"},
        {"missing comma", struct_desc, "{\"a\":1 \"b\":2}", "expected"},
        {"missing colon", struct_desc, "{\"a\" 1}", "':'"},
        {"unclosed object", struct_desc, "{\"a\":1", "expected"},
        {"unclosed string", struct_desc, "{\"a", "no end"},
        {"string ends in a backslash", struct_desc, "{\"a\\", "no end"},
        {"leading zero", value_desc, "01", "number is expected"},
        {"plus", value_desc, "+1", "number is expected"},
        {"bare point", value_desc, "1.", "number is expected"},
        {"word", value_desc, "nope", "number is expected"},
        {"integer that would be rounded", value_desc, "9007199254740993", "beyond 2^53"},
        {"huge number", value_desc, "1e999", "range of a double"},
        {"control character", value_desc, "\"a\nb\"", "control character"},
        {"not UTF-8", value_desc, "\"\xc3(\"", "not UTF-8"},
        {"overlong UTF-8", value_desc, "\"\xc0\x80\"", "not UTF-8"},
        {"lone surrogate", value_desc, "\"\\ud800x\"", "surrogate"},
        {"low surrogate first", value_desc, "\"\\udc00\\ud800\"", "surrogate"},
        {"short unicode escape", value_desc, "\"\\u12\"", "hexadecimal"},
        {"unknown escape", value_desc, "\"\\x41\"", "no such escape"},
        {"int32 out of range", &storage__query_request__descriptor, "{\"limit\":2147483648}",
         "out of range"},
        {"int64 out of range", &storage__record_id__descriptor,
         "{\"version\":\"9223372036854775808\"}", "out of range"},
        {"a fraction for an integer", &storage__query_request__descriptor, "{\"limit\":1.5}",
         "whole number"},
        {"unsigned below zero", &varve__v1__put_request__descriptor, "{\"ttlMs\":-1}",
         "out of range"},
        {"bad enum", &varve__v1__put_request__descriptor, "{\"durability\":\"FOO\"}",
         "no such value"},
        {"bad base64", &varve__v1__put_request__descriptor, "{\"key\":\"a*==\"}", "base64"},
        {"short base64", &varve__v1__put_request__descriptor, "{\"key\":\"abcde\"}", "base64"},
        {"bad time", &storage__data_record__descriptor, "{\"timestamp\":\"yesterday\"}",
         "RFC 3339"},
        {"30th of February", &storage__data_record__descriptor,
         "{\"timestamp\":\"2024-02-30T00:00:00Z\"}", "RFC 3339"},
        {"carriage return for a dash", &storage__data_record__descriptor,
         "{\"timestamp\":\"2024\\r02-03T00:00:00Z\"}", "RFC 3339"},
        {"string for a bool", &storage__ingest_batch_request__descriptor,
         "{\"transactional\":\"true\"}", "true or false"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char got[256];
        vv_error err = {0};
        if (canonical(cases[i].desc, cases[i].in, got, sizeof got, &err) != VV_INVALID)
            fail_msg("%s was accepted", cases[i].name);
        if (strstr(err.msg, cases[i].says) == NULL)
            fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].name, err.msg, cases[i].says);
    }
}

static void test_nesting_is_bounded_both_ways(void **state)
{
    (void)state;
    const size_t depth = 100000;
    char *text = malloc(2 * depth + 1);
    assert_non_null(text);
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    text[2 * depth] = '\0';
    vv_error err;
    char got[256];
    assert_status(VV_INVALID, canonical(value_desc, text, got, sizeof got, &err));
    assert_non_null(strstr(err.msg, "deeper than 64"));
    /* Exactly the bound is fine: 64 Values, the innermost an empty list. */
    text[depth + 64] = '\0';
    assert_ok(canonical(value_desc, text + depth - 64, got, sizeof got, &err), err);
    assert_string_equal(got, text + depth - 64);
    free(text);
}

static void test_wire_that_is_no_message(void **state)
{
    (void)state;
    const struct {
        const char *name;
        vv_slice in;
    } cases[] = {
        {"cut", BYTES(0x0a, 5, 'a')},
        {"wrong wire type", BYTES(0x08, 1)},
        {"time out of range", BYTES(0x22, 7, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)},
    };
    vv_buf out;
    vv_buf_init(&out, 1024);
    vv_buf_append_str(&out, "kept");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (svc_json_from_wire(&storage__data_record__descriptor, cases[i].in, &out, NULL) !=
            VV_INVALID)
            fail_msg("%s was accepted", cases[i].name);
        assert_int_equal(out.len, 4);
    }
    vv_buf_fini(&out);
}

static void random_text(vv_rng *rng, vv_buf *json, unsigned depth)
{
    unsigned members = (unsigned)vv_rng_below(rng, 4);
    switch (vv_rng_below(rng, depth == 0 ? 5 : 7)) {
    case 0:
        vv_buf_append_str(json, "null");
        break;
    case 1:
        vv_buf_append_str(json, vv_rng_one_in(rng, 2) ? "true" : "false");
        break;
    case 2:
        json_put_number(json, (double)(int64_t)vv_rng_below(rng, 1000) - 500);
        break;
    case 3: {
        double d;
        do {
            uint64_t bits = vv_rng_next(rng);
            memcpy(&d, &bits, sizeof d);
        } while (!isfinite(d));
        json_put_number(json, d);
        break;
    }
    case 4: {
        uint8_t bytes[12];
        size_t len = vv_rng_below(rng, sizeof bytes);
        for (size_t i = 0; i < len; i++)
            bytes[i] = (uint8_t)vv_rng_below(rng, 0x80);
        json_put_string(json, vv_slice_of(bytes, len));
        break;
    }
    case 5:
        vv_buf_append_u8(json, '[');
        for (unsigned i = 0; i < members; i++) {
            vv_buf_append_str(json, i == 0 ? "" : ",");
            random_text(rng, json, depth - 1);
        }
        vv_buf_append_u8(json, ']');
        break;
    default:
        vv_buf_append_u8(json, '{');
        for (unsigned i = 0; i < members; i++) {
            vv_buf_printf(json, "%s\"k%u\":", i == 0 ? "" : ",", i);
            random_text(rng, json, depth - 1);
        }
        vv_buf_append_u8(json, '}');
        break;
    }
}

/* What is written reads back as the same text, and protobuf-c accepts the bytes in between. */
static void prop_text_survives_the_wire(void **state)
{
    (void)state;
    uint64_t seed = vv_test_seed(0x15);
    vv_rng rng;
    vv_rng_init(&rng, seed);
    vv_buf json, wire, again;
    vv_buf_init(&json, 1 << 20);
    vv_buf_init(&wire, 1 << 20);
    vv_buf_init(&again, 1 << 20);
    for (unsigned round = 0; round < 3000; round++) {
        vv_error err;
        vv_buf_reset(&json);
        vv_buf_reset(&wire);
        vv_buf_reset(&again);
        random_text(&rng, &json, 6);
        assert_ok(svc_json_to_wire(value_desc, vv_buf_slice(&json), &wire, &err), err);
        ProtobufCMessage *m = protobuf_c_message_unpack(
            value_desc, NULL, wire.len, wire.data != NULL ? wire.data : BYTES(0).data);
        if (m == NULL)
            fail_msg("VV_SEED=0x%llx round %u: protobuf-c refuses the bytes",
                     (unsigned long long)seed, round);
        protobuf_c_message_free_unpacked(m, NULL);
        assert_ok(svc_json_from_wire(value_desc, vv_buf_slice(&wire), &again, &err), err);
        if (!vv_slice_eq(vv_buf_slice(&json), vv_buf_slice(&again)))
            fail_msg("VV_SEED=0x%llx round %u: %.*s became %.*s", (unsigned long long)seed, round,
                     (int)json.len, (const char *)json.data, (int)again.len,
                     (const char *)again.data);
    }
    vv_buf_fini(&json);
    vv_buf_fini(&wire);
    vv_buf_fini(&again);
}

/* Every prefix of a text is refused, and no allocation failure is taken for success. */
static void test_cuts_and_failed_allocations(void **state)
{
    (void)state;
    static const char text[] =
        "{\"record\":{\"id\":{\"entityId\":{\"id\":\"\\u00e9\"}},\"data\":{\"a\":[1,{\"b\":"
        "\"0123456789012345678901234567890123456789012345678901234567890123456789\"}]},"
        "\"timestamp\":\"2026-07-01T12:30:00Z\"},\"options\":{\"durability\":\"os\"}}";
    const ProtobufCMessageDescriptor *desc = &storage__ingest_record_request__descriptor;
    vv_buf wire;
    for (size_t len = 0; len + 1 < sizeof text; len++) {
        vv_buf_init(&wire, 1 << 16);
        assert_status(VV_INVALID, svc_json_to_wire(desc, vv_slice_of(text, len), &wire, NULL));
        vv_buf_fini(&wire);
    }
    for (int64_t n = 0;; n++) {
        vv_buf_init(&wire, 1 << 16);
        vv_alloc_fail_after(n, 0);
        vv_status st = svc_json_to_wire(desc, vv_slice_str(text), &wire, NULL);
        vv_alloc_fail_after(-1, 0);
        vv_buf_fini(&wire);
        if (st == VV_OK)
            break;
        assert_status(VV_NO_MEMORY, st);
        assert_true(n < 100);
    }
}

static void prop_times_survive_their_text(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(7));
    for (unsigned i = 0; i < 20000; i++) {
        int64_t seconds =
            (int64_t)vv_rng_below(&rng, UINT64_C(315537897600)) - INT64_C(62135596800);
        int32_t nanos = (int32_t)vv_rng_below(&rng, 1000000000);
        if (i % 3 == 0)
            nanos -= nanos % 1000000;
        char text[SVC_TIME_TEXT_MAX];
        int64_t s;
        int32_t n;
        assert_true(svc_time_format(seconds, nanos, text));
        assert_true(svc_time_parse(vv_slice_str(text), &s, &n));
        assert_int_equal(s, seconds);
        assert_int_equal(n, nanos);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts_and_their_canonical_form),
        cmocka_unit_test(test_bad_texts_are_refused),
        cmocka_unit_test(test_nesting_is_bounded_both_ways),
        cmocka_unit_test(test_wire_that_is_no_message),
        cmocka_unit_test(prop_text_survives_the_wire),
        cmocka_unit_test(test_cuts_and_failed_allocations),
        cmocka_unit_test(prop_times_survive_their_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
