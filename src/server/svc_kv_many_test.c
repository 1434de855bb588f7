/*
 * svc_kv_many_test.c - Kv.GetMany and Kv.Merge: one version, bounded answers, what is refused.
 */
#include "server/svc_kv.h"

#include <string.h>

#include "base/alloc.h"
#include "server/svc_suite.h"

#define STR(text) vv_slice_str(text)
#define KEYS 10001u

typedef struct ask {
    char text[KEYS][16];
    ProtobufCBinaryData keys[KEYS];
} ask;

static ask many;

static vv_status get_many(svc_suite *s, size_t first, size_t count, int64_t version,
                          uint32_t answer_bytes)
{
    SUITE_REF(ref, "t", "x");
    Varve__V1__GetManyRequest req = VARVE__V1__GET_MANY_REQUEST__INIT;
    for (size_t i = 0; i < KEYS; i++) {
        (void)snprintf(many.text[i], sizeof many.text[i], "k%05zu", i);
        many.keys[i] = svc_suite_bytes(STR(many.text[i]));
    }
    req.table = &ref;
    req.keys = many.keys + first;
    req.n_keys = count;
    req.version = version;
    req.answer_bytes = answer_bytes;
    return svc_suite_call(s, "Kv/GetMany", &req);
}

static Varve__V1__GetManyResponse *reply_of(svc_suite *s)
{
    return svc_suite_reply(s, &varve__v1__get_many_response__descriptor);
}

static void give_back(Varve__V1__GetManyResponse *r)
{
    protobuf_c_message_free_unpacked(&r->base, NULL);
}

static void expect_words(svc_suite *s, int code, const char *words)
{
    if (s->result.code != code || strstr(s->result.message, words) == NULL)
        fail_msg("code %d: %s", s->result.code, s->result.message);
}

/* Key i has a value of i bytes; every fifth is never written. */
static void write_keys(svc_suite *s, unsigned count)
{
    static uint8_t bytes[4096];
    memset(bytes, 'v', sizeof bytes);
    for (unsigned i = 0; i < count; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%05u", i);
        if (i % 5 != 0)
            assert_ok(svc_suite_put(s, "t", "x", STR(key), vv_slice_of(bytes, i), NULL), s->err);
    }
}

static void test_many_keys_come_in_their_order(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, &(svc_suite_options){.durability = VV_DURABLE_OS});
    write_keys(&s, 700);
    assert_ok(get_many(&s, 0, 900, 0, 0), s.err);
    Varve__V1__GetManyResponse *r = reply_of(&s);
    assert_int_equal(r->n_results, 900);
    for (unsigned i = 0; i < 900; i++) {
        const Varve__V1__GetResponse *one = r->results[i];
        assert_int_equal(one->found, i < 700 && i % 5 != 0);
        assert_int_equal(one->value.len, one->found ? i : 0);
        assert_true(one->found ? one->version > 0 && one->version <= r->version
                               : one->version == 0);
    }
    give_back(r);
    /* The same version again, which a table of keys and values still has until something is
     * flushed. */
    assert_ok(get_many(&s, 3, 2, 0, 0), s.err);
    r = reply_of(&s);
    int64_t version = r->version;
    give_back(r);
    assert_ok(get_many(&s, 3, 2, version, 0), s.err);
    r = reply_of(&s);
    assert_true(r->version == version && r->n_results == 2 && r->results[1]->value.len == 4);
    give_back(r);
    svc_suite_stop(&s);
}

/* Asked for piece by piece, all of it comes, and no piece is larger than it may be. */
static void test_an_answer_is_bounded(void **state)
{
    (void)state;
    static const uint32_t bounds[] = {1, 100, 5000, 100000};
    svc_suite s;
    svc_suite_start(&s, &(svc_suite_options){.durability = VV_DURABLE_OS});
    write_keys(&s, 600);
    for (size_t b = 0; b < ARRAY_LEN(bounds); b++) {
        size_t at = b == 0 ? 580 : 0;
        while (at < 600) {
            assert_ok(get_many(&s, at, 600 - at, 0, bounds[b]), s.err);
            Varve__V1__GetManyResponse *r = reply_of(&s);
            assert_true(r->n_results > 0);
            assert_true(s.reply.len <= bounds[b] + 64 || r->n_results == 1);
            for (size_t i = 0; i < r->n_results; i++)
                assert_int_equal(r->results[i]->value.len, (at + i) % 5 == 0 ? 0 : at + i);
            at += r->n_results;
            give_back(r);
        }
        assert_int_equal(at, 600);
    }
    svc_suite_stop(&s);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    assert_status(VV_NOT_FOUND, get_many(&s, 0, 3, 0, 0));
    expect_words(&s, 5, "'x'");
    assert_ok(svc_suite_put(&s, "t", "x", STR("k"), STR("v"), NULL), s.err);
    assert_status(VV_INVALID, get_many(&s, 0, 0, 0, 0));
    expect_words(&s, 3, "0 keys");
    assert_status(VV_INVALID, get_many(&s, 0, KEYS, 0, 0));
    expect_words(&s, 3, "10000");
    assert_ok(get_many(&s, 0, KEYS - 1, 0, 0), s.err);
    assert_status(VV_INVALID, get_many(&s, 0, 1, -1, 0));
    assert_status(VV_INVALID, get_many(&s, 0, 1, INT64_MAX, 0));
    expect_words(&s, 3, "not written yet");
    assert_status(VV_INVALID, svc_suite_call_raw(&s, "Kv/GetMany", BYTES(0x12)));
    expect_words(&s, 3, "GetManyRequest");
    assert_ok(svc_suite_put(&s, "", "", STR("k"), STR("v"), NULL), s.err);
    static uint8_t big[VV_KEY_MAX + 8];
    big[0] = 0x12; /* field 2, a key one byte too long, before it two bytes of length */
    big[1] = 0x81;
    big[2] = 0x08;
    assert_status(VV_INVALID,
                  svc_suite_call_raw(&s, "Kv/GetMany", vv_slice_of(big, VV_KEY_MAX + 4)));
    assert_status(VV_INVALID, svc_suite_call_raw(&s, "Kv/GetMany", BYTES(0x12, 0)));
    svc_suite_stop(&s);
}

/* ---- Merge ---- */

static vv_status merge(svc_suite *s, const char *key, int op, vv_slice operand)
{
    SUITE_REF(ref, "t", "x");
    Varve__V1__MergeRequest req = VARVE__V1__MERGE_REQUEST__INIT;
    req.table = &ref;
    req.key = svc_suite_bytes(STR(key));
    req.operator_ = (Varve__V1__Operator)op;
    req.operand = svc_suite_bytes(operand);
    return svc_suite_call(s, "Kv/Merge", &req);
}

static void test_merges_change_values(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    assert_ok(merge(&s, "list", 3, STR("ab")), s.err); /* makes its table */
    assert_string_equal(svc_suite_trailer(&s, "varve-durability"), "sync");
    assert_ok(merge(&s, "list", 3, STR("cd")), s.err);
    Varve__V1__MergeResponse *r = svc_suite_reply(&s, &varve__v1__merge_response__descriptor);
    assert_true(r->version > 1);
    protobuf_c_message_free_unpacked(&r->base, NULL);
    svc_suite_expect(&s, "t", "x", "list", "abcd");
    assert_ok(merge(&s, "sum", 1, BYTES('a', 0, 0, 0, 0, 0, 0, 0)), s.err);
    assert_ok(merge(&s, "sum", 1, BYTES(2, 0, 0, 0, 0, 0, 0, 0)), s.err);
    assert_ok(merge(&s, "top", 2, BYTES(9, 0, 0, 0, 0, 0, 0, 0)), s.err);
    assert_ok(merge(&s, "top", 2, BYTES(7, 0, 0, 0, 0, 0, 0, 0)), s.err);
    vv_buf got;
    bool found = false;
    vv_buf_init(&got, 64);
    assert_ok(svc_suite_get(&s, "t", "x", STR("sum"), &found, &got, NULL), s.err);
    assert_true(found && vv_slice_eq(vv_buf_slice(&got), BYTES('c', 0, 0, 0, 0, 0, 0, 0)));
    assert_ok(svc_suite_get(&s, "t", "x", STR("top"), &found, &got, NULL), s.err);
    assert_true(found && vv_slice_eq(vv_buf_slice(&got), BYTES(9, 0, 0, 0, 0, 0, 0, 0)));
    vv_buf_fini(&got);
    assert_status(VV_INVALID, merge(&s, "sum", 0, STR("x")));
    expect_words(&s, 3, "operator 0");
    assert_status(VV_INVALID, merge(&s, "sum", 4, STR("x")));
    assert_status(VV_INVALID, merge(&s, "sum", 1, STR("x")));
    assert_status(VV_INVALID, merge(&s, "", 3, STR("x")));
    assert_status(VV_INVALID, svc_suite_call_raw(&s, "Kv/Merge", BYTES(0x12)));
    expect_words(&s, 3, "MergeRequest");
    svc_suite_stop(&s);
}

static void test_a_batch_merges(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    SUITE_REF(ref, "t", "x");
    Varve__V1__Operation__Put put = VARVE__V1__OPERATION__PUT__INIT;
    Varve__V1__Operation__Merge add = VARVE__V1__OPERATION__MERGE__INIT;
    Varve__V1__Operation ops[2] = {VARVE__V1__OPERATION__INIT, VARVE__V1__OPERATION__INIT};
    Varve__V1__Operation *list[2] = {&ops[0], &ops[1]};
    Varve__V1__BatchRequest req = VARVE__V1__BATCH_REQUEST__INIT;
    put.table = add.table = &ref;
    put.key = add.key = svc_suite_bytes(STR("list"));
    put.value = svc_suite_bytes(STR("a"));
    add.operator_ = VARVE__V1__OPERATOR__OPERATOR_APPEND;
    add.operand = svc_suite_bytes(STR("b"));
    ops[0].operation_case = VARVE__V1__OPERATION__OPERATION_PUT;
    ops[0].put = &put;
    ops[1].operation_case = VARVE__V1__OPERATION__OPERATION_MERGE;
    ops[1].merge = &add;
    req.operations = list;
    req.n_operations = 2;
    assert_ok(svc_suite_call(&s, "Kv/Batch", &req), s.err);
    svc_suite_expect(&s, "t", "x", "list", "ab");
    add.operator_ = (Varve__V1__Operator)7;
    assert_status(VV_INVALID, svc_suite_call(&s, "Kv/Batch", &req));
    expect_words(&s, 3, "operation 1");
    svc_suite_expect(&s, "t", "x", "list", "ab");
    svc_suite_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_keys_come_in_their_order),
        cmocka_unit_test(test_an_answer_is_bounded),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_merges_change_values),
        cmocka_unit_test(test_a_batch_merges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
