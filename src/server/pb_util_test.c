#include "server/pb_util.h"

#include "google/protobuf/struct.pb-c.h"
#include "storage/common.pb-c.h"
#include "vv_test.h"

#include "base/rng.h"

#define VALUE (&google__protobuf__value__descriptor)

/* A Value that holds a list that holds a Value ... levels deep, as bytes. */
static void nested_lists(vv_buf *out, unsigned levels)
{
    vv_buf inner;
    vv_buf_init(&inner, 16 * VV_MIB);
    pb_put_varint(out, 4, 1); /* bool_value */
    for (unsigned i = 1; i < levels; i++) {
        vv_buf_reset(&inner);
        size_t list = pb_begin(&inner, 6); /* list_value */
        pb_put_bytes(&inner, 1, vv_buf_slice(out));
        pb_end(&inner, list);
        vv_buf_reset(out);
        vv_buf_append_slice(out, vv_buf_slice(&inner));
    }
    vv_buf_fini(&inner);
}

static void test_nesting_is_bounded_before_unpacking(void **state)
{
    (void)state;
    const struct {
        unsigned levels;
        vv_status want;
    } cases[] = {{1, VV_OK},       {2, VV_OK},         {63, VV_OK},        {64, VV_OK},
                 {65, VV_INVALID}, {1000, VV_INVALID}, {20000, VV_INVALID}};
    pb_arena arena;
    pb_arena_init(&arena, VV_MIB);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_buf buf;
        vv_buf_init(&buf, 16 * VV_MIB);
        nested_lists(&buf, cases[i].levels);
        assert_int_equal(buf.status, VV_OK);
        ProtobufCMessage *out;
        pb_arena_reset(&arena);
        vv_status st = pb_unpack(VALUE, vv_buf_slice(&buf), &arena, &out, NULL);
        if (st != cases[i].want)
            fail_msg("%u levels: %s", cases[i].levels, vv_status_name(st));
        vv_buf_fini(&buf);
    }
    pb_arena_fini(&arena);
}

static void test_the_arena_caps_what_a_message_unpacks_to(void **state)
{
    (void)state;
    vv_buf buf;
    vv_buf_init(&buf, VV_MIB);
    for (int i = 0; i < 2000; i++)
        pb_put_bytes(&buf, 1, vv_slice_of(NULL, 0)); /* 2000 empty values: 4 KB on the wire */
    pb_arena arena;
    pb_arena_init(&arena, 16 * VV_KIB);
    ProtobufCMessage *out;
    vv_error err = {0};
    assert_status(VV_BUSY, pb_unpack(&google__protobuf__list_value__descriptor, vv_buf_slice(&buf),
                                     &arena, &out, &err));
    pb_arena_fini(&arena);
    pb_arena_init(&arena, VV_MIB);
    assert_ok(pb_unpack(&google__protobuf__list_value__descriptor, vv_buf_slice(&buf), &arena, &out,
                        &err),
              err);
    assert_int_equal(((Google__Protobuf__ListValue *)out)->n_values, 2000);
    pb_arena_fini(&arena);
    vv_buf_fini(&buf);
}

static void test_malformed_bytes_are_invalid(void **state)
{
    (void)state;
    const struct {
        const char *name;
        vv_slice in;
    } cases[] = {
        {"field number zero", BYTES(0x00, 0x01)},
        {"group start", BYTES(0x0b)},
        {"length past the end", BYTES(0x1a, 0x05, 'a')},
        {"endless varint", BYTES(0x20, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)},
        {"cut double", BYTES(0x11, 1, 2, 3)},
        {"bad bytes inside a nested message", BYTES(0x32, 0x01, 0xff)},
    };
    pb_arena arena;
    pb_arena_init(&arena, VV_MIB);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ProtobufCMessage *out;
        if (pb_unpack(VALUE, cases[i].in, &arena, &out, NULL) != VV_INVALID)
            fail_msg("%s", cases[i].name);
    }
    ProtobufCMessage *out;
    vv_error err = {0};
    assert_ok(pb_unpack(VALUE, vv_slice_of(NULL, 0), &arena, &out, &err), err);
    pb_arena_fini(&arena);
}

static void test_the_writer_agrees_with_protobuf_c(void **state)
{
    (void)state;
    static const size_t lens[] = {0, 1, 120, 127, 128, 129, 16383, 16384, 16385, 100000};
    static uint8_t filler[100000];
    memset(filler, 'x', sizeof filler);
    pb_arena arena;
    pb_arena_init(&arena, 4 * VV_MIB);
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        vv_buf buf, packed;
        vv_buf_init(&buf, VV_MIB);
        vv_buf_init(&packed, VV_MIB);
        size_t id = pb_begin(&buf, 1);
        size_t tenant = pb_begin(&buf, 1);
        pb_put_bytes(&buf, 1, vv_slice_of(filler, lens[i]));
        pb_end(&buf, tenant);
        pb_put_varint(&buf, 3, 42);
        pb_end(&buf, id);
        pb_put_varint(&buf, 5, (uint64_t)-7);
        assert_int_equal(buf.status, VV_OK);

        ProtobufCMessage *out;
        vv_error err = {0};
        pb_arena_reset(&arena);
        assert_ok(
            pb_unpack(&storage__data_record__descriptor, vv_buf_slice(&buf), &arena, &out, &err),
            err);
        const Storage__DataRecord *r = (const void *)out;
        assert_int_equal(strlen(r->id->tenant_id->id), lens[i]);
        assert_int_equal(r->id->version, 42);
        assert_int_equal(r->version, -7);
        if (lens[i] > 0) { /* protobuf-c leaves default values out */
            pb_pack(&packed, out);
            assert_true(vv_slice_eq(vv_buf_slice(&packed), vv_buf_slice(&buf)));
        }
        vv_buf_fini(&buf);
        vv_buf_fini(&packed);
    }
    pb_arena_fini(&arena);
}

static void prop_any_bytes_are_accepted_or_refused(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(0x70625f7574696cULL));
    pb_arena arena;
    pb_arena_init(&arena, VV_MIB);
    for (uint64_t n = vv_test_count("VV_PB_ROUNDS", 20000); n > 0; n--) {
        uint8_t bytes[64];
        size_t len = (size_t)vv_rng_below(&rng, sizeof bytes);
        vv_rng_bytes(&rng, bytes, len);
        for (size_t i = 0; i < len; i++) /* mostly plausible tags */
            if (vv_rng_one_in(&rng, 2))
                bytes[i] &= 0x3f;
        ProtobufCMessage *out;
        vv_status st = pb_unpack(&storage__data_record__descriptor, vv_slice_of(bytes, len), &arena,
                                 &out, NULL);
        assert_true(st == VV_OK || st == VV_INVALID || st == VV_BUSY);
        pb_arena_reset(&arena);
    }
    pb_arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nesting_is_bounded_before_unpacking),
        cmocka_unit_test(test_the_arena_caps_what_a_message_unpacks_to),
        cmocka_unit_test(test_malformed_bytes_are_invalid),
        cmocka_unit_test(test_the_writer_agrees_with_protobuf_c),
        cmocka_unit_test(prop_any_bytes_are_accepted_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
