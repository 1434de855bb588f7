/*
 * svc_kv_batch_test.c - Kv.Batch and Kv.CompareAndSwap.
 */
#include "server/svc_kv.h"

#include <stdio.h>
#include <string.h>

#include "server/svc_suite.h"

#define STR(text) vv_slice_str(text)
#define OPS_MAX 16

static void expect_code(svc_suite *s, int code, const char *words)
{
    if (s->result.code != code)
        fail_msg("code %d instead of %d: %s", s->result.code, code, s->result.message);
    if (words != NULL && strstr(s->result.message, words) == NULL)
        fail_msg("'%s' is not in: %s", words, s->result.message);
}

/* ---- batches ---- */

/* A batch as a list of short lines. */
typedef struct op {
    char kind; /* 'p' put, 'd' delete, 'r' delete range, '=' require, '0' nothing */
    const char *tenant, *table, *key;
    const char *value; /* of a put; end of a range */
    int64_t version;   /* of a require */
} op;

typedef struct outcome {
    int64_t version;
    bool duplicate;
} outcome;

static void fill_op(const op *from, Varve__V1__Operation *out, Varve__V1__TableRef *ref,
                    void *message)
{
    Varve__V1__Operation__Put *put = message;
    Varve__V1__Operation__Delete *del = message;
    Varve__V1__Operation__DeleteRange *range = message;
    Varve__V1__Operation__Require *require = message;
    *out = (Varve__V1__Operation)VARVE__V1__OPERATION__INIT;
    *ref = (Varve__V1__TableRef)VARVE__V1__TABLE_REF__INIT;
    ref->tenant = (char *)(uintptr_t)from->tenant;
    ref->table = (char *)(uintptr_t)from->table;
    ProtobufCBinaryData key = svc_suite_bytes(STR(from->key));
    ProtobufCBinaryData value = svc_suite_bytes(STR(from->value));
    switch (from->kind) {
    case 'p':
        *put = (Varve__V1__Operation__Put)VARVE__V1__OPERATION__PUT__INIT;
        put->table = ref, put->key = key, put->value = value;
        out->operation_case = VARVE__V1__OPERATION__OPERATION_PUT;
        out->put = put;
        break;
    case 'd':
        *del = (Varve__V1__Operation__Delete)VARVE__V1__OPERATION__DELETE__INIT;
        del->table = ref, del->key = key;
        out->operation_case = VARVE__V1__OPERATION__OPERATION_DELETE;
        out->delete_ = del;
        break;
    case 'r':
        *range = (Varve__V1__Operation__DeleteRange)VARVE__V1__OPERATION__DELETE_RANGE__INIT;
        range->table = ref, range->begin = key, range->end = value;
        out->operation_case = VARVE__V1__OPERATION__OPERATION_DELETE_RANGE;
        out->delete_range = range;
        break;
    case '=':
        *require = (Varve__V1__Operation__Require)VARVE__V1__OPERATION__REQUIRE__INIT;
        require->table = ref, require->key = key, require->version = from->version;
        out->operation_case = VARVE__V1__OPERATION__OPERATION_REQUIRE;
        out->require = require;
        break;
    default:
        break;
    }
}

static vv_status batch_as(svc_suite *s, const char *producer, uint64_t sequence, const op *ops,
                          size_t count, outcome *out)
{
    union {
        Varve__V1__Operation__Put put;
        Varve__V1__Operation__DeleteRange range;
        Varve__V1__Operation__Require require;
    } inner[OPS_MAX];
    Varve__V1__Operation list[OPS_MAX];
    Varve__V1__Operation *pointers[OPS_MAX];
    Varve__V1__TableRef refs[OPS_MAX];
    Varve__V1__BatchRequest req = VARVE__V1__BATCH_REQUEST__INIT;
    for (size_t i = 0; i < count; i++) {
        fill_op(&ops[i], &list[i], &refs[i], &inner[i]);
        pointers[i] = &list[i];
    }
    req.n_operations = count;
    req.operations = pointers;
    req.producer = svc_suite_bytes(STR(producer));
    req.sequence = sequence;
    vv_status st = svc_suite_call(s, "Kv/Batch", &req);
    if (st == VV_OK) {
        Varve__V1__BatchResponse *r = svc_suite_reply(s, &varve__v1__batch_response__descriptor);
        if (out != NULL)
            *out = (outcome){r->version, r->duplicate};
        protobuf_c_message_free_unpacked(&r->base, NULL);
    }
    return st;
}

#define BATCH(s, out, ...)                                                                         \
    batch_as((s), "", 0, (const op[]){__VA_ARGS__}, ARRAY_LEN(((const op[]){__VA_ARGS__})), (out))

static void test_all_operations_apply_in_order(void **state)
{
    (void)state;
    svc_suite s;
    outcome o = {0};
    svc_suite_start(&s, NULL);
    assert_ok(BATCH(&s, &o, {'p', "t", "x", "a", "1", 0}, {'p', "t", "x", "b", "1", 0},
                    {'p', "t", "y", "a", "2", 0}, {'p', "t", "x", "c", "1", 0},
                    {'d', "t", "x", "b", "", 0}, {'p', "t", "x", "a", "3", 0}),
              s.err);
    assert_true(o.version > 0);
    assert_false(o.duplicate);
    assert_string_equal(svc_suite_trailer(&s, "varve-durability"), "sync");
    svc_suite_expect(&s, "t", "x", "a", "3");
    svc_suite_expect(&s, "t", "x", "b", NULL);
    svc_suite_expect(&s, "t", "x", "c", "1");
    svc_suite_expect(&s, "t", "y", "a", "2");
    assert_ok(BATCH(&s, &o, {'r', "t", "x", "b", "", 0}, {'p', "t", "x", "z", "9", 0}), s.err);
    svc_suite_expect(&s, "t", "x", "a", "3");
    svc_suite_expect(&s, "t", "x", "c", NULL);
    svc_suite_expect(&s, "t", "x", "z", "9");
    svc_suite_expect(&s, "t", "y", "a", "2");
    assert_ok(batch_as(&s, "", 0, NULL, 0, &o), s.err);
    assert_int_equal(o.version, 0);
    svc_suite_stop(&s);
}

static void test_a_condition_that_fails_writes_nothing(void **state)
{
    (void)state;
    svc_suite s;
    outcome o = {0};
    svc_suite_start(&s, NULL);
    assert_ok(BATCH(&s, &o, {'=', "t", "new", "k", "", 0}, {'p', "t", "new", "k", "1", 0}), s.err);
    assert_status(VV_CONFLICT,
                  BATCH(&s, NULL, {'p', "t", "new", "l", "2", 0}, {'=', "t", "new", "k", "", 0}));
    expect_code(&s, 10, NULL);
    svc_suite_expect(&s, "t", "new", "l", NULL);
    assert_ok(
        BATCH(&s, NULL, {'=', "t", "new", "k", "", o.version}, {'p', "t", "new", "k", "2", 0}),
        s.err);
    assert_status(VV_CONFLICT, BATCH(&s, NULL, {'=', "t", "new", "k", "", o.version},
                                     {'p', "t", "new", "k", "3", 0}));
    svc_suite_expect(&s, "t", "new", "k", "2");
    assert_status(VV_INVALID, BATCH(&s, NULL, {'=', "t", "new", "k", "", -1}));
    svc_suite_stop(&s);
}

static void test_a_bad_operation_refuses_the_batch(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    const struct {
        const char *name;
        op bad;
        int code;
        const char *words;
    } rows[] = {
        {"nothing in it", {'0', "t", "x", "", "", 0}, 3, "operation 1: it is empty"},
        {"an empty key", {'p', "t", "x", "", "v", 0}, 3, "operation 1"},
        {"another tenant", {'p', "u", "x", "k", "v", 0}, 3, "one tenant"},
        {"a bad name", {'p', "t", "x y", "k", "v", 0}, 3, "0x20"},
        {"an unknown table", {'d', "t", "nope", "k", "", 0}, 5, "'nope'"},
        {"a condition on an unknown table", {'=', "t", "nope", "k", "", 7}, 5, "'nope'"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        vv_status st = BATCH(&s, NULL, {'p', "t", "x", "good", "v", 0}, rows[i].bad);
        if (st == VV_OK)
            fail_msg("%s", rows[i].name);
        expect_code(&s, rows[i].code, rows[i].words);
    }
    assert_ok(svc_suite_put(&s, "t", "x", STR("other"), STR("v"), NULL), s.err);
    svc_suite_expect(&s, "t", "x", "good", NULL);
    svc_suite_stop(&s);
}

static void test_a_retry_of_a_producer_is_ignored(void **state)
{
    (void)state;
    svc_suite s;
    outcome first = {0}, again = {0};
    char longest[514];
    memset(longest, 'p', sizeof longest);
    longest[513] = '\0';
    svc_suite_start(&s, NULL);
    const op one[] = {{'p', "t", "x", "k", "1", 0}};
    const op two[] = {{'p', "t", "x", "k", "2", 0}};
    const op other[] = {{'p', "u", "x", "k", "3", 0}};
    assert_ok(batch_as(&s, "p", 5, one, 1, &first), s.err);
    assert_ok(batch_as(&s, "p", 5, two, 1, &again), s.err);
    assert_true(again.duplicate);
    assert_int_equal(again.version, first.version);
    svc_suite_expect(&s, "t", "x", "k", "1");
    /* Another tenant may choose the same name. */
    assert_ok(batch_as(&s, "p", 5, other, 1, &again), s.err);
    assert_false(again.duplicate);
    svc_suite_expect(&s, "u", "x", "k", "3");
    assert_ok(batch_as(&s, "p", 6, two, 1, &again), s.err);
    assert_false(again.duplicate);
    svc_suite_expect(&s, "t", "x", "k", "2");
    assert_status(VV_INVALID, batch_as(&s, "", 7, two, 1, NULL));
    expect_code(&s, 3, "producer");
    assert_status(VV_INVALID, batch_as(&s, longest, 7, two, 1, NULL));
    expect_code(&s, 3, "at most 512");
    svc_suite_stop(&s);
}

/* count puts of size bytes, as wire bytes. */
static void many_puts(vv_buf *out, size_t count, size_t size)
{
    uint8_t *value = test_calloc(1, size);
    char key[16];
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(key, sizeof key, "%08zu", i);
        size_t operation = wire_begin(out, 1);
        size_t put = wire_begin(out, 1);
        wire_put_bytes(out, 2, vv_slice_str(key));
        wire_put_bytes(out, 3, vv_slice_of(value, size));
        wire_end(out, put);
        wire_end(out, operation);
    }
    test_free(value);
    assert_int_equal(out->status, VV_OK);
}

static void test_large_batches(void **state)
{
    (void)state;
    svc_suite s;
    vv_buf req;
    svc_suite_start(&s, &(svc_suite_options){.durability = VV_DURABLE_OS});
    vv_buf_init(&req, 64u << 20);
    many_puts(&req, 20000, 100); /* over what the loop parses */
    assert_ok(svc_suite_call_raw(&s, "Kv/Batch", vv_buf_slice(&req)), s.err);
    bool found = false;
    vv_buf got;
    vv_buf_init(&got, 4096);
    assert_ok(svc_suite_get(&s, "", "", STR("00019999"), &found, &got, NULL), s.err);
    assert_true(found && got.len == 100);
    vv_buf_reset(&req);
    many_puts(&req, 17, 1u << 20);
    assert_status(VV_BUSY, svc_suite_call_raw(&s, "Kv/Batch", vv_buf_slice(&req)));
    expect_code(&s, 8, "16777216");
    assert_ok(svc_suite_get(&s, "", "", STR("00000000"), &found, &got, NULL), s.err);
    assert_int_equal(got.len, 100); /* nothing of it was written */
    vv_buf_fini(&req);
    vv_buf_fini(&got);
    svc_suite_stop(&s);
}

static void test_conditions_are_bounded(void **state)
{
    (void)state;
    svc_suite s;
    vv_buf req;
    svc_suite_start(&s, NULL);
    assert_ok(svc_suite_put(&s, "", "", STR("k"), STR("v"), NULL), s.err);
    vv_buf_init(&req, 1u << 20);
    for (int i = 0; i < 10001; i++) {
        size_t operation = wire_begin(&req, 1);
        size_t require = wire_begin(&req, 4);
        wire_put_bytes(&req, 2, vv_slice_str("absent"));
        wire_end(&req, require);
        wire_end(&req, operation);
    }
    assert_status(VV_INVALID, svc_suite_call_raw(&s, "Kv/Batch", vv_buf_slice(&req)));
    expect_code(&s, 3, "at most 10000 conditions");
    vv_buf_fini(&req);
    svc_suite_stop(&s);
}

/* The tables of a tenant lie on one shard, so a batch over them is always possible. */
static void test_a_batch_spans_the_tables_of_a_tenant(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, &(svc_suite_options){.shards = 4});
    for (int i = 0; i < 8; i++) {
        char tenant[8];
        (void)snprintf(tenant, sizeof tenant, "t%d", i);
        assert_ok(BATCH(&s, NULL, {'p', tenant, "a", "k", "1", 0}, {'p', tenant, "b", "k", "2", 0},
                        {'p', tenant, "", "k", "3", 0}, {'p', tenant, "default", "l", "4", 0}),
                  s.err);
        svc_suite_expect(&s, tenant, "a", "k", "1");
        svc_suite_expect(&s, tenant, "b", "k", "2");
        svc_suite_expect(&s, tenant, "default", "k", "3");
        svc_suite_expect(&s, tenant, "", "l", "4");
    }
    svc_suite_stop(&s);
}

/* A record table is checked for each operation, also after one on it was let through. */
static void test_kinds_are_checked(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = VV_TABLE_RECORD;
    assert_ok(vv_table_create(s.n.db, "t", "rec", &opt, NULL, &s.err), s.err);
    const op rows[] = {{'p', "t", "rec", "k", "v", 0},
                       {'d', "t", "rec", "k", "", 0},
                       {'r', "t", "rec", "", "", 0},
                       {'=', "t", "rec", "k", "", 0}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_status(VV_INVALID, BATCH(&s, NULL, rows[i]));
        expect_code(&s, 3, "'rec'");
        assert_status(VV_INVALID, BATCH(&s, NULL, rows[3], rows[i]));
    }
    svc_suite_stop(&s);
}

/* ---- compare and swap ---- */

typedef struct swap {
    bool swapped;
    int64_t version;
    bool current_found;
    char current[64];
} swap;

/* expected NULL: the key must be absent. */
static size_t pack_cas(uint8_t out[256], const char *table, const char *key, const char *expected,
                       const char *value)
{
    SUITE_REF(ref, "t", table);
    Varve__V1__CompareAndSwapRequest req = VARVE__V1__COMPARE_AND_SWAP_REQUEST__INIT;
    req.table = &ref;
    req.key = svc_suite_bytes(STR(key));
    req.value = svc_suite_bytes(STR(value));
    if (expected == NULL) {
        req.expectation_case = VARVE__V1__COMPARE_AND_SWAP_REQUEST__EXPECTATION_ABSENT;
        req.absent = true;
    } else {
        req.expectation_case = VARVE__V1__COMPARE_AND_SWAP_REQUEST__EXPECTATION_EXPECTED;
        req.expected = svc_suite_bytes(STR(expected));
    }
    assert_true(protobuf_c_message_get_packed_size(&req.base) <= 256);
    return protobuf_c_message_pack(&req.base, out);
}

static void read_swap(vv_slice reply, swap *out)
{
    Varve__V1__CompareAndSwapResponse *r = varve__v1__compare_and_swap_response__unpack(
        NULL, reply.len, reply.len == 0 ? (const uint8_t *)"" : reply.data);
    assert_non_null(r);
    assert_true(r->current.len < sizeof out->current);
    *out = (swap){.swapped = r->swapped, .version = r->version, .current_found = r->current_found};
    if (r->current.len > 0)
        memcpy(out->current, r->current.data, r->current.len);
    protobuf_c_message_free_unpacked(&r->base, NULL);
}

static vv_status cas(svc_suite *s, const char *table, const char *key, const char *expected,
                     const char *value, swap *out)
{
    uint8_t bytes[256];
    size_t len = pack_cas(bytes, table, key, expected, value);
    vv_status st = svc_suite_call_raw(s, "Kv/CompareAndSwap", vv_slice_of(bytes, len));
    if (st == VV_OK)
        read_swap(vv_buf_slice(&s->reply), out);
    return st;
}

static void test_compare_and_swap(void **state)
{
    (void)state;
    svc_suite s;
    swap o = {0};
    svc_suite_start(&s, NULL);
    assert_status(VV_NOT_FOUND, cas(&s, "x", "k", "one", "two", &o)); /* nothing to compare with */
    assert_ok(cas(&s, "x", "k", NULL, "one", &o), s.err);
    assert_true(o.swapped && o.version > 0);
    assert_string_equal(svc_suite_trailer(&s, "varve-durability"), "sync");
    int64_t version = o.version;
    assert_ok(cas(&s, "x", "k", NULL, "again", &o), s.err);
    assert_false(o.swapped);
    assert_true(o.current_found);
    assert_string_equal(o.current, "one");
    assert_int_equal(o.version, version);
    assert_ok(cas(&s, "x", "k", "two", "three", &o), s.err);
    assert_false(o.swapped);
    assert_string_equal(o.current, "one");
    assert_ok(cas(&s, "x", "k", "one", "two", &o), s.err);
    assert_true(o.swapped && o.version > version);
    svc_suite_expect(&s, "t", "x", "k", "two");
    assert_ok(cas(&s, "x", "other", "one", "two", &o), s.err);
    assert_false(o.swapped || o.current_found);
    assert_int_equal(o.version, 0);
    assert_ok(cas(&s, "x", "empty", NULL, "", &o), s.err);
    assert_ok(cas(&s, "x", "empty", "", "full", &o), s.err); /* an empty value is a value */
    assert_true(o.swapped);
    svc_suite_stop(&s);
}

static void test_compare_and_swap_refuses(void **state)
{
    (void)state;
    svc_suite s;
    swap o;
    svc_suite_start(&s, NULL);
    SUITE_REF(ref, "t", "x");
    Varve__V1__CompareAndSwapRequest req = VARVE__V1__COMPARE_AND_SWAP_REQUEST__INIT;
    req.table = &ref;
    req.key = svc_suite_bytes(STR("k"));
    assert_status(VV_INVALID, svc_suite_call(&s, "Kv/CompareAndSwap", &req));
    expect_code(&s, 3, "expectation");
    req.expectation_case = VARVE__V1__COMPARE_AND_SWAP_REQUEST__EXPECTATION_ABSENT;
    assert_status(VV_INVALID, svc_suite_call(&s, "Kv/CompareAndSwap", &req));
    expect_code(&s, 3, "absent to true");
    assert_ok(svc_suite_put(&s, "t", "x", STR("a"), STR("v"), NULL), s.err);
    assert_status(VV_INVALID, cas(&s, "x", "", NULL, "v", &o));
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = VV_TABLE_RECORD;
    assert_ok(vv_table_create(s.n.db, "t", "rec", &opt, NULL, &s.err), s.err);
    assert_status(VV_INVALID, cas(&s, "rec", "k", NULL, "v", &o));
    svc_suite_stop(&s);
}

/* Law: of many writers of one key, each success read what the one before it wrote. */
#define RACERS 24
#define ROUNDS 12

typedef struct racer {
    svc_suite *s;
    char expected[16];
    bool has_expected;
    unsigned wins;
    unsigned *open;
    unsigned *failed;
} racer;

static void race(racer *r);

static void race_message(void *ctx, cli_call *call, vv_slice message)
{
    racer *r = ctx;
    swap o;
    (void)call;
    read_swap(message, &o);
    r->wins += o.swapped;
    r->has_expected = true;
    if (!o.swapped)
        memcpy(r->expected, o.current, sizeof r->expected);
    else if (o.swapped)
        (void)snprintf(r->expected, sizeof r->expected, "%d", atoi(r->expected) + 1);
}

static void race_closed(void *ctx, cli_call *call, const cli_result *result)
{
    racer *r = ctx;
    (void)call;
    *r->failed += result->code != 0;
    if (result->code == 0 && r->wins < ROUNDS)
        race(r);
    else
        --*r->open;
}

static void race(racer *r)
{
    char next[16];
    uint8_t bytes[256];
    cli_call *call;
    const cli_handler handler = {.message = race_message, .closed = race_closed, .ctx = r};
    (void)snprintf(next, sizeof next, "%d", r->has_expected ? atoi(r->expected) + 1 : 1);
    size_t len = pack_cas(bytes, "x", "counter", r->has_expected ? r->expected : NULL, next);
    if (!r->has_expected)
        (void)snprintf(r->expected, sizeof r->expected, "0");
    assert_ok(cli_call_start(r->s->conn, "/varve.v1.Kv/CompareAndSwap", SUITE_TIMEOUT_NS, &handler,
                             &call, &r->s->err),
              r->s->err);
    assert_ok(cli_call_send(call, vv_slice_of(bytes, len), &r->s->err), r->s->err);
    cli_call_half_close(call);
}

static void prop_no_update_is_lost(void **state)
{
    (void)state;
    svc_suite s;
    racer racers[RACERS];
    unsigned open = RACERS, failed = 0, wins = 0;
    char want[16];
    svc_suite_start(&s, NULL);
    for (size_t i = 0; i < RACERS; i++) {
        racers[i] = (racer){.s = &s, .open = &open, .failed = &failed};
        race(&racers[i]);
    }
    while (open > 0)
        assert_ok(cli_step(s.conn, SUITE_TIMEOUT_NS, &s.err), s.err);
    for (size_t i = 0; i < RACERS; i++)
        wins += racers[i].wins;
    assert_int_equal(failed, 0);
    assert_int_equal(wins, RACERS * ROUNDS);
    (void)snprintf(want, sizeof want, "%u", wins);
    svc_suite_expect(&s, "t", "x", "counter", want);
    svc_suite_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_operations_apply_in_order),
        cmocka_unit_test(test_a_condition_that_fails_writes_nothing),
        cmocka_unit_test(test_a_bad_operation_refuses_the_batch),
        cmocka_unit_test(test_a_retry_of_a_producer_is_ignored),
        cmocka_unit_test(test_large_batches),
        cmocka_unit_test(test_conditions_are_bounded),
        cmocka_unit_test(test_a_batch_spans_the_tables_of_a_tenant),
        cmocka_unit_test(test_kinds_are_checked),
        cmocka_unit_test(test_compare_and_swap),
        cmocka_unit_test(test_compare_and_swap_refuses),
        cmocka_unit_test(prop_no_update_is_lost),
    };
    return cmocka_run_group_tests_name("svc_kv_batch", tests, NULL, NULL);
}
