/*
 * svc_limits_test.c - keys of no bytes, of one, of as many as may be and of one more, and values
 * likewise, in every request of Kv and Txn that takes them, on tables of each engine. What is too
 * much is refused by a sentence; what is just right comes back whole. Of HTTP: svc_http_kv_test; of
 * the library and each engine's files: db_limits_test.
 */
#include <string.h>

#include "codec/protowire.h"
#include "server/svc_suite.h"

#define REQUEST_MAX (VV_VALUE_MAX + 8192u)

static uint8_t longest[VV_KEY_MAX + 1];
static uint8_t *large; /* VV_VALUE_MAX + 1 bytes */

static int setup(void **state)
{
    (void)state;
    memset(longest, 'k', sizeof longest);
    large = malloc(VV_VALUE_MAX + 1u);
    for (size_t i = 0; large != NULL && i <= VV_VALUE_MAX; i++)
        large[i] = (uint8_t)(i * 2654435761u >> 13);
    return large == NULL;
}

static int teardown(void **state)
{
    (void)state;
    free(large);
    return 0;
}

/* ---- a request of each kind ---- */

typedef struct asked {
    const char *table;
    const char *txn;
    vv_slice key;
    vv_slice value;
} asked;

static void put_table(vv_buf *out, uint32_t field, const asked *a)
{
    size_t mark = wire_begin(out, field);
    wire_put_bytes(out, 1, vv_slice_str("t"));
    wire_put_bytes(out, 2, vv_slice_str(a->table));
    wire_end(out, mark);
}

static void put_head(vv_buf *out, const asked *a)
{
    put_table(out, 1, a);
    wire_put_bytes(out, 2, a->key);
}

static void fill_put(vv_buf *out, const asked *a)
{
    put_head(out, a);
    wire_put_bytes(out, 3, a->value);
}

static void fill_merge(vv_buf *out, const asked *a)
{
    put_head(out, a);
    wire_put_varint(out, 3, VV_APPEND);
    wire_put_bytes(out, 4, a->value);
}

static void fill_swap(vv_buf *out, const asked *a)
{
    put_head(out, a);
    wire_put_varint(out, 3, 1); /* absent */
    wire_put_bytes(out, 5, a->value);
}

static void fill_batch(vv_buf *out, const asked *a)
{
    size_t operation = wire_begin(out, 1);
    size_t put = wire_begin(out, 1);
    fill_put(out, a);
    wire_end(out, put);
    wire_end(out, operation);
}

static void put_txn_head(vv_buf *out, const asked *a)
{
    wire_put_bytes(out, 1, vv_slice_str(a->txn));
    put_table(out, 2, a);
    wire_put_bytes(out, 3, a->key);
}

static void fill_txn_put(vv_buf *out, const asked *a)
{
    put_txn_head(out, a);
    wire_put_bytes(out, 4, a->value);
}

static const struct kind {
    const char *method;
    void (*fill)(vv_buf *out, const asked *a);
    bool has_value;
} kinds[] = {
    {"Kv/Put", fill_put, true},
    {"Kv/Merge", fill_merge, true},
    {"Kv/CompareAndSwap", fill_swap, true},
    {"Kv/Batch", fill_batch, true},
    {"Kv/Get", put_head, false},
    {"Kv/GetMany", put_head, false},
    {"Kv/Delete", put_head, false},
    {"Txn/Put", fill_txn_put, true},
    {"Txn/Get", put_txn_head, false},
    {"Txn/Delete", put_txn_head, false},
};

static vv_status ask(svc_suite *s, const struct kind *kind, const asked *a)
{
    vv_buf request;
    vv_buf_init(&request, REQUEST_MAX);
    kind->fill(&request, a);
    assert_int_equal(request.status, VV_OK);
    vv_status st = svc_suite_call_raw(s, kind->method, vv_buf_slice(&request));
    vv_buf_fini(&request);
    return st;
}

static void expect(svc_suite *s, const struct kind *kind, const asked *a, const char *refusal)
{
    vv_status st = ask(s, kind, a);
    for (unsigned i = 0; st == VV_BUSY && i < 20; i++) { /* large ones come faster than flushes */
        assert_ok(vv_checkpoint(s->n.db, &s->err), s->err);
        st = ask(s, kind, a);
    }
    if (refusal == NULL ? st != VV_OK
                        : st != VV_INVALID || strstr(s->result.message, refusal) == NULL)
        fail_msg("%s on %s with a key of %zu bytes, a value of %zu: %d, %s", kind->method, a->table,
                 a->key.len, a->value.len, (int)st, s->result.message);
}

static void begin(svc_suite *s, char out[64])
{
    Varve__V1__TxnBeginRequest req = VARVE__V1__TXN_BEGIN_REQUEST__INIT;
    assert_ok(svc_suite_call(s, "Txn/Begin", &req), s->err);
    Varve__V1__TxnBeginResponse *r = svc_suite_reply(s, &varve__v1__txn_begin_response__descriptor);
    (void)snprintf(out, 64, "%s", r->txn);
    protobuf_c_message_free_unpacked(&r->base, NULL);
}

static void commit(svc_suite *s, char *txn)
{
    Varve__V1__TxnCommitRequest req = VARVE__V1__TXN_COMMIT_REQUEST__INIT;
    req.txn = txn;
    assert_ok(svc_suite_call(s, "Txn/Commit", &req), s->err);
}

static void expect_stored(svc_suite *s, const asked *a)
{
    bool found = false;
    vv_buf got;
    vv_buf_init(&got, VV_VALUE_MAX);
    assert_ok(svc_suite_get(s, "t", a->table, a->key, &found, &got, NULL), s->err);
    if (!found || !vv_slice_eq(vv_buf_slice(&got), a->value))
        fail_msg("a value of %zu bytes came back as %zu", a->value.len, got.len);
    vv_buf_fini(&got);
}

/* ---- the tests ---- */

static const struct {
    const char *table;
    vv_engine_kind engine;
} tables[] = {
    {"lsm", VV_ENGINE_LSM},
    {"btree", VV_ENGINE_BTREE},
#ifdef VV_HAS_ROCKSDB
    {"rocksdb", VV_ENGINE_ROCKSDB},
#endif
};

static void start(svc_suite *s)
{
    svc_suite_start(s, &(svc_suite_options){.durability = VV_DURABLE_OS});
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        vv_table_options how = VV_TABLE_OPTIONS_INIT;
        how.engine = tables[i].engine;
        assert_ok(vv_table_create(s->n.db, "t", tables[i].table, &how, NULL, &s->err), s->err);
    }
}

static void keys_have_one_to_so_many_bytes(void **state)
{
    (void)state;
    svc_suite s;
    char txn[64];
    const struct {
        size_t len;
        const char *refusal;
    } rows[] = {{0, "empty"}, {1, NULL}, {VV_KEY_MAX, NULL}, {VV_KEY_MAX + 1, "at most 1024"}};
    start(&s);
    for (size_t t = 0; t < ARRAY_LEN(tables); t++) {
        begin(&s, txn);
        for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
            for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const asked a = {tables[t].table, txn, vv_slice_of(longest, rows[i].len),
                                 vv_slice_str("v")};
                expect(&s, &kinds[k], &a, rows[i].refusal);
            }
        begin(&s, txn); /* the one before lost against the writes beside it */
        const asked last = {tables[t].table, txn, vv_slice_of(longest, VV_KEY_MAX),
                            vv_slice_str("in a transaction")};
        expect(&s, &kinds[7], &last, NULL);
        commit(&s, txn);
        expect_stored(&s, &last);
    }
    svc_suite_stop(&s);
}

static void values_have_none_to_so_many_bytes(void **state)
{
    (void)state;
    svc_suite s;
    const size_t sizes[] = {0, VV_VALUE_MAX, VV_VALUE_MAX + 1};
    start(&s);
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        if (!kinds[k].has_value)
            continue;
        const char *table = tables[k % ARRAY_LEN(tables)].table; /* each with some of them */
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            char txn[64];
            char key[32];
            (void)snprintf(key, sizeof key, "%zu-%zu", k, i);
            const asked a = {table, txn, vv_slice_str(key), vv_slice_of(large, sizes[i])};
            begin(&s, txn);
            expect(&s, &kinds[k], &a, sizes[i] > VV_VALUE_MAX ? "15728640" : NULL);
            commit(&s, txn);
            if (sizes[i] <= VV_VALUE_MAX)
                expect_stored(&s, &a);
        }
    }
    svc_suite_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_have_one_to_so_many_bytes),
        cmocka_unit_test(values_have_none_to_so_many_bytes),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
