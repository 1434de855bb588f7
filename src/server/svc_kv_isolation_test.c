/*
 * svc_kv_isolation_test.c - two tenants with the same table names, the same keys and random traffic
 * at once. Every value carries its writer's name; neither may ever see a byte of the other.
 */
#include "server/svc_kv.h"

#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "server/svc_suite.h"

#define TENANTS 2u
#define IN_FLIGHT 24u
#define VALUE_MAX 400u

typedef struct tenant {
    svc_suite *s;
    cli_conn *conn;
    char name[8];
    uint8_t mark; /* every byte of its keys' tails and values */
    vv_rng rng;
    unsigned open, started, answered, values;
    uint64_t seed;
} tenant;

/* Any byte string from the server: only this tenant's mark may be in it. */
static void expect_own(const tenant *t, ProtobufCBinaryData bytes, size_t skip)
{
    for (size_t i = skip; i < bytes.len; i++)
        if (bytes.data[i] != t->mark)
            fail_msg("VV_SEED=0x%llx: tenant %s sees byte 0x%02x", (unsigned long long)t->seed,
                     t->name, bytes.data[i]);
}

typedef enum method { PUT, GET, CAS, BATCH, DELETE, SCAN, LIST, METHODS } method;

typedef struct request {
    tenant *t;
    method method;
    vv_buf bytes;
} request;

static void check_scan(tenant *t, vv_slice message)
{
    Varve__V1__ScanResponse *r = varve__v1__scan_response__unpack(NULL, message.len, message.data);
    assert_non_null(r);
    for (size_t i = 0; i < r->n_entries; i++) {
        expect_own(t, r->entries[i]->value, 0);
        t->values++;
    }
    varve__v1__scan_response__free_unpacked(r, NULL);
}

static void check_get(tenant *t, vv_slice message)
{
    Varve__V1__GetResponse *r = varve__v1__get_response__unpack(
        NULL, message.len, message.len == 0 ? (const uint8_t *)"" : message.data);
    assert_non_null(r);
    expect_own(t, r->value, 0);
    t->values += r->found;
    varve__v1__get_response__free_unpacked(r, NULL);
}

static void check_cas(tenant *t, vv_slice message)
{
    Varve__V1__CompareAndSwapResponse *r = varve__v1__compare_and_swap_response__unpack(
        NULL, message.len, message.len == 0 ? (const uint8_t *)"" : message.data);
    assert_non_null(r);
    expect_own(t, r->current, 0);
    t->values += r->current_found;
    varve__v1__compare_and_swap_response__free_unpacked(r, NULL);
}

static void check_list(const tenant *t, vv_slice message)
{
    Varve__V1__ListTablesResponse *r = varve__v1__list_tables_response__unpack(
        NULL, message.len, message.len == 0 ? (const uint8_t *)"" : message.data);
    assert_non_null(r);
    for (size_t i = 0; i < r->n_tables; i++)
        assert_string_equal(r->tables[i]->table->tenant, t->name);
    varve__v1__list_tables_response__free_unpacked(r, NULL);
}

static void on_message(void *ctx, cli_call *call, vv_slice message)
{
    request *r = ctx;
    (void)call;
    if (r->method == SCAN)
        check_scan(r->t, message);
    else if (r->method == GET)
        check_get(r->t, message);
    else if (r->method == CAS)
        check_cas(r->t, message);
    else if (r->method == LIST)
        check_list(r->t, message);
}

static void on_closed(void *ctx, cli_call *call, const cli_result *result)
{
    request *r = ctx;
    (void)call;
    /* A table is not there before its first put. */
    if (result->code != 0 && result->code != 5)
        fail_msg("VV_SEED=0x%llx: code %d: %s", (unsigned long long)r->t->seed, result->code,
                 result->message);
    if (strstr(result->message, r->t->name[0] == 'a' ? "'bee'" : "'ant'") != NULL)
        fail_msg("%s reads: %s", r->t->name, result->message);
    r->t->open--;
    r->t->answered++;
    vv_buf_fini(&r->bytes);
    test_free(r);
}

/* ---- random requests ---- */

static void put_ref(request *r, uint32_t number)
{
    size_t mark = wire_begin(&r->bytes, number);
    wire_put_bytes(&r->bytes, 1, vv_slice_str(r->t->name));
    wire_put_bytes(&r->bytes, 2, vv_slice_str(vv_rng_one_in(&r->t->rng, 2) ? "x" : "y"));
    wire_end(&r->bytes, mark);
}

static void put_key(request *r, uint32_t number)
{
    char key[8];
    (void)snprintf(key, sizeof key, "k%02u", (unsigned)vv_rng_below(&r->t->rng, 40));
    wire_put_bytes(&r->bytes, number, vv_slice_str(key));
}

static void put_value(request *r, uint32_t number)
{
    uint8_t value[VALUE_MAX];
    size_t len = vv_rng_below(&r->t->rng, sizeof value);
    memset(value, r->t->mark, len);
    wire_put_bytes(&r->bytes, number, vv_slice_of(value, len));
}

static void put_operation(request *r)
{
    size_t operation = wire_begin(&r->bytes, 1);
    size_t put = wire_begin(&r->bytes, 1);
    put_ref(r, 1);
    put_key(r, 2);
    put_value(r, 3);
    wire_end(&r->bytes, put);
    wire_end(&r->bytes, operation);
}

static void write_request(request *r)
{
    switch (r->method) {
    case BATCH:
        for (uint64_t n = vv_rng_below(&r->t->rng, 5); n > 0; n--)
            put_operation(r);
        wire_put_bytes(&r->bytes, 3, vv_slice_str("same producer"));
        wire_put_varint(&r->bytes, 4, 1 + vv_rng_below(&r->t->rng, 1000));
        return;
    case LIST:
        wire_put_bytes(&r->bytes, 1, vv_slice_str(r->t->name));
        return;
    case SCAN:
        put_ref(r, 1);
        if (vv_rng_one_in(&r->t->rng, 2))
            put_key(r, 2);
        wire_put_varint(&r->bytes, 9, vv_rng_below(&r->t->rng, 2000));
        return;
    default:
        put_ref(r, 1);
        put_key(r, 2);
    }
    if (r->method == PUT)
        put_value(r, 3);
    if (r->method == CAS) {
        if (vv_rng_one_in(&r->t->rng, 2))
            wire_put_varint(&r->bytes, 3, 1);
        else
            put_value(r, 4);
        put_value(r, 5);
    }
}

static void start_one(tenant *t)
{
    static const char *const paths[METHODS] = {
        "/varve.v1.Kv/Put",          "/varve.v1.Kv/Get",    "/varve.v1.Kv/CompareAndSwap",
        "/varve.v1.Kv/Batch",        "/varve.v1.Kv/Delete", "/varve.v1.Kv/Scan",
        "/varve.v1.Admin/ListTables"};
    request *r = test_calloc(1, sizeof *r);
    cli_call *call;
    const cli_handler handler = {.message = on_message, .closed = on_closed, .ctx = r};
    r->t = t;
    r->method = (method)vv_rng_below(&t->rng, METHODS);
    vv_buf_init(&r->bytes, 1u << 20);
    write_request(r);
    t->open++;
    t->started++;
    assert_ok(
        cli_call_start(t->conn, paths[r->method], SUITE_TIMEOUT_NS, &handler, &call, &t->s->err),
        t->s->err);
    assert_ok(cli_call_send(call, vv_buf_slice(&r->bytes), &t->s->err), t->s->err);
    cli_call_half_close(call);
}

static void prop_tenants_never_see_each_other(void **state)
{
    (void)state;
    uint64_t seed = vv_test_seed(0x150);
    unsigned count = (unsigned)vv_test_count("VV_KV_ISOLATION", 4000);
    svc_suite s;
    tenant tenants[TENANTS];
    svc_suite_start(&s, &(svc_suite_options){.durability = VV_DURABLE_NONE, .shards = 2});
    for (unsigned i = 0; i < TENANTS; i++) {
        tenants[i] = (tenant){.s = &s, .mark = i == 0 ? 0xaa : 0xbb, .seed = seed};
        (void)snprintf(tenants[i].name, sizeof tenants[i].name, "%s", i == 0 ? "ant" : "bee");
        vv_rng_init(&tenants[i].rng, seed + i);
        assert_ok(cli_open(s.address, NULL, &tenants[i].conn, &s.err), s.err);
    }
    bool busy = true;
    while (busy) {
        busy = false;
        for (unsigned i = 0; i < TENANTS; i++) {
            tenant *t = &tenants[i];
            while (t->open < IN_FLIGHT && t->started < count)
                start_one(t);
            if (t->open > 0) {
                vv_status st = cli_step(t->conn, VV_NS_PER_MS, &s.err);
                assert_true(st == VV_OK || st == VV_TIMEOUT);
            }
            busy |= t->open > 0 || t->started < count;
        }
    }
    for (unsigned i = 0; i < TENANTS; i++) {
        assert_int_equal(tenants[i].answered, count);
        assert_true(tenants[i].values > count / 10); /* it did see something */
        cli_close(tenants[i].conn);
    }
    svc_suite_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_tenants_never_see_each_other),
    };
    return cmocka_run_group_tests_name("svc_kv_isolation", tests, NULL, NULL);
}
