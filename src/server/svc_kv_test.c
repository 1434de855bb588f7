#include "server/svc_kv.h"

#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "server/svc_suite.h"

#define STR(text) vv_slice_str(text)

static void expect_code(svc_suite *s, int code, const char *words)
{
    if (s->result.code != code)
        fail_msg("code %d instead of %d: %s", s->result.code, code, s->result.message);
    if (words != NULL && strstr(s->result.message, words) == NULL)
        fail_msg("'%s' is not in: %s", words, s->result.message);
}

/* ---- Put, Get, Delete ---- */

static void test_what_is_put_is_got(void **state)
{
    (void)state;
    static uint8_t key_max[VV_KEY_MAX];
    memset(key_max, 0xff, sizeof key_max);
    svc_suite s;
    svc_suite_start(&s, NULL);
    const struct {
        const char *name;
        vv_slice key, value;
    } rows[] = {
        {"text", STR("a"), STR("hello")},
        {"an empty value", STR("b"), vv_slice_of(NULL, 0)},
        {"every kind of byte", BYTES(0, 1, 0x7f, 0x80, 0xff), BYTES(0, 0xff, 0, 0xfe)},
        {"the longest key", vv_slice_of(key_max, sizeof key_max), STR("long")},
        {"over an older one", STR("a"), STR("world")},
    };
    int64_t last = 0;
    vv_buf got;
    vv_buf_init(&got, VV_VALUE_MAX);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t version = 0, read_version = 0;
        bool found = false;
        assert_ok(svc_suite_put(&s, "t", "x", rows[i].key, rows[i].value, &version), s.err);
        assert_string_equal(svc_suite_trailer(&s, "varve-durability"), "sync");
        if (version <= last)
            fail_msg("%s: version %lld after %lld", rows[i].name, (long long)version,
                     (long long)last);
        last = version;
        assert_ok(svc_suite_get(&s, "t", "x", rows[i].key, &found, &got, &read_version), s.err);
        if (!found || !vv_slice_eq(vv_buf_slice(&got), rows[i].value) || read_version != version)
            fail_msg("%s", rows[i].name);
    }
    assert_int_equal(vv_hist_count(&s.n.put_ns), ARRAY_LEN(rows));
    assert_int_equal(vv_hist_count(&s.n.get_ns), ARRAY_LEN(rows));
    vv_buf_fini(&got);
    svc_suite_stop(&s);
}

static void test_absent_keys_and_tables(void **state)
{
    (void)state;
    svc_suite s;
    vv_buf got;
    bool found = true;
    svc_suite_start(&s, NULL);
    vv_buf_init(&got, 64);
    assert_status(VV_NOT_FOUND, svc_suite_get(&s, "t", "nope", STR("k"), &found, &got, NULL));
    expect_code(&s, 5, "'nope'");
    assert_ok(svc_suite_put(&s, "", "", STR("k"), STR("v"), NULL), s.err);
    svc_suite_expect(&s, "default", "default", "k", "v");
    svc_suite_expect(&s, "default", "default", "other", NULL);
    assert_status(VV_NOT_FOUND,
                  svc_suite_get(&s, "default", "defaulf", STR("k"), &found, &got, NULL));
    expect_code(&s, 5, "did you mean 'default'");
    vv_buf_fini(&got);
    svc_suite_stop(&s);
}

static void test_a_first_put_creates_its_table_when_it_may(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, &(svc_suite_options){.no_auto_create = true});
    assert_status(VV_NOT_FOUND, svc_suite_put(&s, "t", "x", STR("k"), STR("v"), NULL));
    expect_code(&s, 5, "create it first");
    SUITE_REF(ref, "t", "x");
    Varve__V1__CreateTableRequest create = VARVE__V1__CREATE_TABLE_REQUEST__INIT;
    create.table = &ref;
    assert_ok(svc_suite_call(&s, "Admin/CreateTable", &create), s.err);
    assert_ok(svc_suite_put(&s, "t", "x", STR("k"), STR("v"), NULL), s.err);
    svc_suite_expect(&s, "t", "x", "k", "v");
    svc_suite_stop(&s);
}

static vv_status put_with(svc_suite *s, uint64_t ttl_ms, int durability)
{
    SUITE_REF(ref, "t", "x");
    Varve__V1__PutRequest req = VARVE__V1__PUT_REQUEST__INIT;
    req.table = &ref;
    req.key = svc_suite_bytes(STR("k"));
    req.value = svc_suite_bytes(STR("v"));
    req.ttl_ms = ttl_ms;
    req.durability = (Varve__V1__Durability)durability;
    return svc_suite_call(s, "Kv/Put", &req);
}

static void test_durability_is_what_was_asked(void **state)
{
    (void)state;
    static const char *const want[] = {"os", "sync", "os", "none"};
    svc_suite s;
    svc_suite_start(&s, &(svc_suite_options){.durability = VV_DURABLE_OS});
    for (int i = 0; i < 4; i++) {
        assert_ok(put_with(&s, 0, i), s.err);
        assert_string_equal(svc_suite_trailer(&s, "varve-durability"), want[i]);
    }
    assert_status(VV_INVALID, put_with(&s, 0, 4));
    expect_code(&s, 3, "durability 4");
    assert_status(VV_INVALID, put_with(&s, 0, -1));
    svc_suite_stop(&s);
}

static void test_a_key_expires(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    int64_t before_ms = vv_clock_wall(s.n.env.clock) / VV_NS_PER_MS;
    assert_ok(put_with(&s, 150, 0), s.err);
    int64_t after_ms = vv_clock_wall(s.n.env.clock) / VV_NS_PER_MS;
    SUITE_REF(ref, "t", "x");
    Varve__V1__GetRequest get = VARVE__V1__GET_REQUEST__INIT;
    get.table = &ref;
    get.key = svc_suite_bytes(STR("k"));
    assert_ok(svc_suite_call(&s, "Kv/Get", &get), s.err);
    Varve__V1__GetResponse *r = svc_suite_reply(&s, &varve__v1__get_response__descriptor);
    if (r->found) /* a slow machine may have slept over it */
        assert_in_range(r->expires_unix_ms, before_ms + 150, after_ms + 150);
    protobuf_c_message_free_unpacked(&r->base, NULL);
    vv_clock_sleep(s.n.env.clock, 160 * VV_NS_PER_MS);
    svc_suite_expect(&s, "t", "x", "k", NULL);
    assert_status(VV_INVALID, put_with(&s, UINT64_MAX, 0));
    expect_code(&s, 3, "ttl_ms");
    assert_status(VV_INVALID, put_with(&s, UINT64_C(1) << 60, 0));
    svc_suite_stop(&s);
}

static vv_status delete_range(svc_suite *s, const char *table, const char *key, const char *end)
{
    SUITE_REF(ref, "t", table);
    Varve__V1__DeleteRequest req = VARVE__V1__DELETE_REQUEST__INIT;
    req.table = &ref;
    req.key = svc_suite_bytes(STR(key));
    req.range_end = svc_suite_bytes(STR(end));
    return svc_suite_call(s, "Kv/Delete", &req);
}

static void test_delete(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    for (char c = 'a'; c <= 'f'; c++)
        assert_ok(svc_suite_put(&s, "t", "x", vv_slice_of(&c, 1), STR("v"), NULL), s.err);
    assert_ok(delete_range(&s, "x", "a", ""), s.err);
    assert_string_equal(svc_suite_trailer(&s, "varve-durability"), "sync");
    assert_ok(delete_range(&s, "x", "a", ""), s.err); /* again: it is not there, and that is fine */
    assert_ok(delete_range(&s, "x", "c", "e"), s.err);
    assert_ok(delete_range(&s, "x", "f", "e"), s.err); /* an empty range */
    svc_suite_expect(&s, "t", "x", "a", NULL);
    svc_suite_expect(&s, "t", "x", "b", "v");
    svc_suite_expect(&s, "t", "x", "c", NULL);
    svc_suite_expect(&s, "t", "x", "d", NULL);
    svc_suite_expect(&s, "t", "x", "e", "v");
    svc_suite_expect(&s, "t", "x", "f", "v");
    assert_ok(delete_range(&s, "x", "", "f"), s.err); /* from the first key */
    svc_suite_expect(&s, "t", "x", "b", NULL);
    svc_suite_expect(&s, "t", "x", "f", "v");
    assert_status(VV_INVALID, delete_range(&s, "x", "", ""));
    expect_code(&s, 3, "empty");
    assert_status(VV_NOT_FOUND, delete_range(&s, "typo", "a", ""));
    assert_status(VV_NOT_FOUND, delete_range(&s, "typo", "a", "")); /* nor did that create it */
    svc_suite_stop(&s);
}

static void test_old_versions(void **state)
{
    (void)state;
    svc_suite s;
    int64_t v1 = 0, v2 = 0;
    svc_suite_start(&s, NULL);
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.version_retention_ns = 60 * VV_NS_PER_S;
    assert_ok(vv_table_create(s.n.db, "t", "x", &opt, NULL, &s.err), s.err);
    assert_ok(svc_suite_put(&s, "t", "x", STR("k"), STR("one"), &v1), s.err);
    assert_ok(svc_suite_put(&s, "t", "x", STR("k"), STR("two"), &v2), s.err);
    SUITE_REF(ref, "t", "x");
    Varve__V1__GetRequest req = VARVE__V1__GET_REQUEST__INIT;
    req.table = &ref;
    req.key = svc_suite_bytes(STR("k"));
    req.version = v2 - 1;
    assert_ok(svc_suite_call(&s, "Kv/Get", &req), s.err);
    Varve__V1__GetResponse *r = svc_suite_reply(&s, &varve__v1__get_response__descriptor);
    assert_true(r->found);
    assert_int_equal(r->version, v1);
    assert_memory_equal(r->value.data, "one", 3);
    protobuf_c_message_free_unpacked(&r->base, NULL);
    req.version = v2 + 1000;
    assert_status(VV_INVALID, svc_suite_call(&s, "Kv/Get", &req));
    req.version = -1;
    assert_status(VV_INVALID, svc_suite_call(&s, "Kv/Get", &req));
    svc_suite_stop(&s);
}

/* ---- limits and refusals ---- */

static void test_limits_are_named(void **state)
{
    (void)state;
    static uint8_t key[VV_KEY_MAX + 1];
    char name[VV_NAME_MAX + 2];
    memset(name, 'n', sizeof name);
    name[VV_NAME_MAX + 1] = '\0';
    svc_suite s;
    svc_suite_start(&s, NULL);
    uint8_t *value = test_calloc(1, VV_VALUE_MAX + 1);
    assert_status(VV_INVALID, svc_suite_put(&s, "t", "x", STR(""), STR("v"), NULL));
    expect_code(&s, 3, "empty");
    assert_status(VV_INVALID,
                  svc_suite_put(&s, "t", "x", vv_slice_of(key, sizeof key), STR("v"), NULL));
    expect_code(&s, 3, "at most 1024");
    assert_status(VV_INVALID, svc_suite_put(&s, name, "x", STR("k"), STR("v"), NULL));
    expect_code(&s, 3, "at most 128");
    assert_status(VV_INVALID, svc_suite_put(&s, "t", "a/b", STR("k"), STR("v"), NULL));
    expect_code(&s, 3, "0x2f");
    assert_status(VV_INVALID, svc_suite_put(&s, "t", "x", STR("k"),
                                            vv_slice_of(value, VV_VALUE_MAX + 1), NULL));
    expect_code(&s, 3, "at most 15728640");
    assert_ok(svc_suite_put(&s, "t", "x", STR("k"), vv_slice_of(value, VV_VALUE_MAX), NULL), s.err);
    bool found = false;
    vv_buf got;
    vv_buf_init(&got, VV_VALUE_MAX);
    assert_ok(svc_suite_get(&s, "t", "x", STR("k"), &found, &got, NULL), s.err);
    assert_int_equal(got.len, VV_VALUE_MAX);
    assert_memory_equal(got.data, value, VV_VALUE_MAX);
    vv_buf_fini(&got);
    test_free(value);
    svc_suite_stop(&s);
}

static void test_a_record_table_takes_no_plain_writes(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = VV_TABLE_RECORD;
    assert_ok(vv_table_create(s.n.db, "t", "rec", &opt, NULL, &s.err), s.err);
    assert_status(VV_INVALID, svc_suite_put(&s, "t", "rec", STR("k"), STR("v"), NULL));
    expect_code(&s, 3, "'rec'");
    assert_status(VV_INVALID, delete_range(&s, "rec", "k", ""));
    assert_status(VV_INVALID, delete_range(&s, "rec", "a", "z"));
    svc_suite_expect(&s, "t", "rec", "k", NULL); /* a read is fine */
    svc_suite_stop(&s);
}

/* ---- bad bytes ---- */

/* A valid request of each method. */
typedef struct sample {
    const char *method;
    uint8_t bytes[256];
    size_t len;
} sample;

static void pack(sample *out, const char *method, const void *request)
{
    out->method = method;
    assert_true(protobuf_c_message_get_packed_size(request) <= sizeof out->bytes);
    out->len = protobuf_c_message_pack(request, out->bytes);
}

#define SAMPLES 8

static void make_samples(sample out[SAMPLES])
{
    SUITE_REF(ref, "t", "x");
    Varve__V1__PutRequest put = VARVE__V1__PUT_REQUEST__INIT;
    Varve__V1__GetRequest get = VARVE__V1__GET_REQUEST__INIT;
    Varve__V1__DeleteRequest del = VARVE__V1__DELETE_REQUEST__INIT;
    Varve__V1__CompareAndSwapRequest cas = VARVE__V1__COMPARE_AND_SWAP_REQUEST__INIT;
    Varve__V1__ScanRequest scan = VARVE__V1__SCAN_REQUEST__INIT;
    put.table = get.table = del.table = cas.table = scan.table = &ref;
    put.key = get.key = del.key = cas.key = svc_suite_bytes(STR("key"));
    put.value = cas.value = svc_suite_bytes(STR("value"));
    put.ttl_ms = cas.ttl_ms = 100000;
    del.range_end = svc_suite_bytes(STR("kez"));
    cas.expectation_case = VARVE__V1__COMPARE_AND_SWAP_REQUEST__EXPECTATION_EXPECTED;
    cas.expected = svc_suite_bytes(STR("value"));
    scan.prefix = svc_suite_bytes(STR("k"));
    scan.limit = 10;
    pack(&out[0], "Kv/Put", &put);
    pack(&out[1], "Kv/Get", &get);
    pack(&out[2], "Kv/Delete", &del);
    pack(&out[3], "Kv/CompareAndSwap", &cas);
    pack(&out[4], "Kv/Scan", &scan);
    Varve__V1__Operation__Put op_put = VARVE__V1__OPERATION__PUT__INIT;
    Varve__V1__Operation__Require op_require = VARVE__V1__OPERATION__REQUIRE__INIT;
    op_put.table = op_require.table = &ref;
    op_put.key = op_require.key = svc_suite_bytes(STR("key"));
    Varve__V1__Operation ops[2] = {VARVE__V1__OPERATION__INIT, VARVE__V1__OPERATION__INIT};
    ops[0].operation_case = VARVE__V1__OPERATION__OPERATION_PUT;
    ops[0].put = &op_put;
    ops[1].operation_case = VARVE__V1__OPERATION__OPERATION_REQUIRE;
    ops[1].require = &op_require;
    Varve__V1__Operation *list[2] = {&ops[0], &ops[1]};
    Varve__V1__BatchRequest batch = VARVE__V1__BATCH_REQUEST__INIT;
    batch.n_operations = 2;
    batch.operations = list;
    pack(&out[5], "Kv/Batch", &batch);
    Varve__V1__GetManyRequest many = VARVE__V1__GET_MANY_REQUEST__INIT;
    ProtobufCBinaryData keys[] = {get.key, svc_suite_bytes(STR("other"))};
    many.table = &ref;
    many.n_keys = ARRAY_LEN(keys);
    many.keys = keys;
    pack(&out[6], "Kv/GetMany", &many);
    Varve__V1__MergeRequest merge = VARVE__V1__MERGE_REQUEST__INIT;
    merge.table = &ref;
    merge.key = get.key;
    merge.operator_ = VARVE__V1__OPERATOR__OPERATOR_APPEND;
    merge.operand = svc_suite_bytes(STR("more"));
    pack(&out[7], "Kv/Merge", &merge);
}

/* Whatever comes, the answer is a status, and the server goes on. */
static bool is_answer(vv_status st)
{
    return st == VV_OK || st == VV_INVALID || st == VV_NOT_FOUND || st == VV_CONFLICT ||
           st == VV_UNSUPPORTED;
}

static void prop_a_cut_request_is_refused_or_shorter(void **state)
{
    (void)state;
    sample samples[SAMPLES];
    svc_suite s;
    svc_suite_start(&s, &(svc_suite_options){.durability = VV_DURABLE_NONE});
    make_samples(samples);
    assert_ok(svc_suite_put(&s, "t", "x", STR("key"), STR("value"), NULL), s.err);
    for (size_t i = 0; i < SAMPLES; i++) {
        for (size_t len = 0; len <= samples[i].len; len++) {
            vv_status st =
                svc_suite_call_raw(&s, samples[i].method, vv_slice_of(samples[i].bytes, len));
            if (!is_answer(st))
                fail_msg("%s cut to %zu bytes: %s: %s", samples[i].method, len, vv_status_name(st),
                         s.err.msg);
        }
    }
    svc_suite_stop(&s);
}

static void prop_random_bytes_never_hurt(void **state)
{
    (void)state;
    uint64_t seed = vv_test_seed(0x6b76);
    vv_rng rng;
    vv_rng_init(&rng, seed);
    sample samples[SAMPLES];
    svc_suite s;
    svc_suite_start(&s, &(svc_suite_options){.durability = VV_DURABLE_NONE});
    make_samples(samples);
    for (uint64_t n = vv_test_count("VV_KV_FLIPS", 4000); n > 0; n--) {
        sample bad = samples[vv_rng_below(&rng, SAMPLES)];
        for (uint64_t flips = 1 + vv_rng_below(&rng, 4); flips > 0; flips--)
            bad.bytes[vv_rng_below(&rng, bad.len)] = (uint8_t)vv_rng_next(&rng);
        vv_status st = svc_suite_call_raw(&s, bad.method, vv_slice_of(bad.bytes, bad.len));
        if (!is_answer(st))
            fail_msg("VV_SEED=0x%llx: %s: %s: %s", (unsigned long long)seed, bad.method,
                     vv_status_name(st), s.err.msg);
    }
    assert_ok(svc_suite_put(&s, "t", "x", STR("key"), STR("alive"), NULL), s.err);
    svc_suite_expect(&s, "t", "x", "key", "alive");
    svc_suite_stop(&s);
}

static void test_malformed_requests_are_named(void **state)
{
    (void)state;
    static const char *const names[SAMPLES][2] = {
        {"Kv/Put", "PutRequest"},         {"Kv/Get", "GetRequest"},
        {"Kv/Delete", "DeleteRequest"},   {"Kv/CompareAndSwap", "CompareAndSwapRequest"},
        {"Kv/Scan", "ScanRequest"},       {"Kv/Batch", "BatchRequest"},
        {"Kv/GetMany", "GetManyRequest"}, {"Kv/Merge", "MergeRequest"},
    };
    svc_suite s;
    svc_suite_start(&s, NULL);
    for (size_t i = 0; i < SAMPLES; i++) {
        /* A length past the end, a group, a key (field 2; of Batch: 1) as a number. */
        const vv_slice bad[] = {BYTES(0x12, 0x05, 'a'), BYTES(0x0b),
                                BYTES(i == 5 ? 0x08 : 0x10, 1)};
        for (size_t k = 0; k < ARRAY_LEN(bad); k++) {
            assert_status(VV_INVALID, svc_suite_call_raw(&s, names[i][0], bad[k]));
            expect_code(&s, 3, names[i][1]);
        }
    }
    svc_suite_stop(&s);
}

/* ---- many at once ---- */

#define IN_FLIGHT 64u
#define MANY 3000u

typedef struct many {
    svc_suite *s;
    unsigned sent, done, failed;
} many;

static void many_closed(void *ctx, cli_call *call, const cli_result *result)
{
    many *m = ctx;
    (void)call;
    m->done++;
    m->failed += result->code != 0;
}

static void send_one(many *m)
{
    char key[16];
    SUITE_REF(ref, "t", "x");
    Varve__V1__PutRequest req = VARVE__V1__PUT_REQUEST__INIT;
    cli_call *call;
    uint8_t bytes[64];
    (void)snprintf(key, sizeof key, "%05u", m->sent++);
    req.table = &ref;
    req.key = svc_suite_bytes(STR(key));
    req.value = req.key;
    size_t len = protobuf_c_message_pack(&req.base, bytes);
    const cli_handler handler = {.closed = many_closed, .ctx = m};
    assert_ok(cli_call_start(m->s->conn, "/varve.v1.Kv/Put", SUITE_TIMEOUT_NS, &handler, &call,
                             &m->s->err),
              m->s->err);
    assert_ok(cli_call_send(call, vv_slice_of(bytes, len), &m->s->err), m->s->err);
    cli_call_half_close(call);
}

static void run_many(bool no_recycling)
{
    svc_suite s;
    svc_suite_start(&s, &(svc_suite_options){.no_recycling = no_recycling});
    many m = {.s = &s};
    while (m.done < MANY) {
        while (m.sent < MANY && m.sent - m.done < IN_FLIGHT)
            send_one(&m);
        vv_status st = cli_step(s.conn, SUITE_TIMEOUT_NS, &s.err);
        assert_ok(st, s.err);
    }
    assert_int_equal(m.failed, 0);
    assert_int_equal(vv_hist_count(&s.n.put_ns), MANY);
    svc_suite_expect(&s, "t", "x", "00000", "00000");
    svc_suite_expect(&s, "t", "x", "02999", "02999");
    svc_suite_stop(&s);
}

static void test_many_puts_in_flight(void **state)
{
    (void)state;
    run_many(false);
    run_many(true);
}

/* ---- memory ---- */

/* Whichever allocation fails, of server or client, the next call finds a whole server. */
static void test_no_memory_at_any_site(void **state)
{
    (void)state;
    sample samples[SAMPLES];
    svc_suite s;
    make_samples(samples);
    for (size_t i = 0; i < SAMPLES; i++) {
        svc_suite_start(&s, &(svc_suite_options){.durability = VV_DURABLE_NONE});
        assert_ok(svc_suite_put(&s, "t", "x", STR("key"), STR("value"), NULL), s.err);
        unsigned clean = 0;
        for (int64_t n = 0; clean < 3 && n < 200; n++) {
            uint64_t before = vv_alloc_count();
            vv_alloc_fail_after(n, false);
            vv_status st = svc_suite_call_raw(&s, samples[i].method,
                                              vv_slice_of(samples[i].bytes, samples[i].len));
            clean = vv_alloc_count() - before <= (uint64_t)n ? clean + 1 : 0;
            vv_alloc_fail_after(-1, false);
            if (!is_answer(st) && st != VV_NO_MEMORY && st != VV_BUSY && st != VV_CLOSED &&
                st != VV_IO)
                fail_msg("%s, allocation %lld: %s", samples[i].method, (long long)n,
                         vv_status_name(st));
            if (svc_suite_put(&s, "t", "x", STR("key"), STR("value"), NULL) != VV_OK)
                fail_msg("%s, allocation %lld: the server is gone: %s", samples[i].method,
                         (long long)n, s.err.msg);
        }
        assert_true(clean >= 3);
        svc_suite_stop(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_put_is_got),
        cmocka_unit_test(test_absent_keys_and_tables),
        cmocka_unit_test(test_a_first_put_creates_its_table_when_it_may),
        cmocka_unit_test(test_durability_is_what_was_asked),
        cmocka_unit_test(test_a_key_expires),
        cmocka_unit_test(test_delete),
        cmocka_unit_test(test_old_versions),
        cmocka_unit_test(test_limits_are_named),
        cmocka_unit_test(test_a_record_table_takes_no_plain_writes),
        cmocka_unit_test(prop_a_cut_request_is_refused_or_shorter),
        cmocka_unit_test(prop_random_bytes_never_hurt),
        cmocka_unit_test(test_malformed_requests_are_named),
        cmocka_unit_test(test_many_puts_in_flight),
        cmocka_unit_test(test_no_memory_at_any_site),
    };
    return cmocka_run_group_tests_name("svc_kv", tests, NULL, NULL);
}
