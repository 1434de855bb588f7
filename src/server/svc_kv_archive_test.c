/*
 * svc_kv_archive_test.c - Get, GetMany and Scan at an archive and at a time: what they give beside
 * what is there now, and what they refuse.
 */
#include "server/svc_kv.h"

#include <string.h>

#include "server/svc_suite.h"

#define STR(text) vv_slice_str(text)

static char *text_of(const char *text)
{
    return (char *)(uintptr_t)text;
}

static void admin_archive(svc_suite *s, const char *method, const char *name)
{
    Varve__V1__ArchiveRef ref = VARVE__V1__ARCHIVE_REF__INIT;
    ref.name = text_of(name);
    assert_ok(svc_suite_call(s, method, &ref), s->err);
}

static void create_table(svc_suite *s, const char *table, Varve__V1__Engine engine)
{
    SUITE_REF(ref, "t", table);
    Varve__V1__CreateTableRequest req = VARVE__V1__CREATE_TABLE_REQUEST__INIT;
    req.table = &ref;
    req.engine = engine;
    assert_ok(svc_suite_call(s, "Admin/CreateTable", &req), s->err);
}

/* Keys k000 ... with the value "then", an archive 'a' of that, and then other values, a key that is
 * gone and one that is new. */
#define KEYS 300u

static void begin(svc_suite *s)
{
    svc_suite_start(s, &(svc_suite_options){.durability = VV_DURABLE_OS});
    create_table(s, "x", VARVE__V1__ENGINE__ENGINE_BTREE);
    create_table(s, "flat", VARVE__V1__ENGINE__ENGINE_LSM);
    char key[16];
    for (unsigned i = 0; i < KEYS; i++) {
        (void)snprintf(key, sizeof key, "k%03u", i);
        assert_ok(svc_suite_put(s, "t", "x", STR(key), STR("then"), NULL), s->err);
    }
    admin_archive(s, "Admin/CreateArchive", "a");
    for (unsigned i = 0; i < KEYS; i++) {
        (void)snprintf(key, sizeof key, "k%03u", i);
        assert_ok(svc_suite_put(s, "t", "x", STR(key), STR("now"), NULL), s->err);
    }
    assert_ok(svc_suite_put(s, "t", "x", STR("new"), STR("now"), NULL), s->err);
    assert_ok(svc_suite_put(s, "t", "flat", STR("k000"), STR("now"), NULL), s->err);
}

/* What a read is asked for, beside its key. */
typedef struct moment {
    const char *table;
    const char *archive;
    int64_t version;
    int64_t as_of_ms;
} moment;

static vv_status get(svc_suite *s, const moment *at, const char *key)
{
    SUITE_REF(ref, "t", at->table);
    Varve__V1__GetRequest req = VARVE__V1__GET_REQUEST__INIT;
    req.table = &ref;
    req.key = svc_suite_bytes(STR(key));
    req.version = at->version;
    req.archive = text_of(at->archive);
    req.as_of_unix_ms = at->as_of_ms;
    return svc_suite_call(s, "Kv/Get", &req);
}

static vv_status get_many(svc_suite *s, const moment *at, const char *const *keys, size_t count,
                          uint32_t answer_bytes)
{
    ProtobufCBinaryData list[4];
    SUITE_REF(ref, "t", at->table);
    Varve__V1__GetManyRequest req = VARVE__V1__GET_MANY_REQUEST__INIT;
    assert_true(count <= ARRAY_LEN(list));
    for (size_t i = 0; i < count; i++)
        list[i] = svc_suite_bytes(STR(keys[i]));
    req.table = &ref;
    req.keys = list;
    req.n_keys = count;
    req.version = at->version;
    req.archive = text_of(at->archive);
    req.as_of_unix_ms = at->as_of_ms;
    req.answer_bytes = answer_bytes;
    return svc_suite_call(s, "Kv/GetMany", &req);
}

/* Open a scan and take its answers: *entries counts those whose value is `value`. The stream's end
 * is the result. */
static vv_status scan(svc_suite *s, const moment *at, bool reverse, const char *value,
                      size_t *entries)
{
    uint8_t bytes[256];
    vv_error err = {0};
    cli_stream *stream = NULL;
    vv_buf reply;
    SUITE_REF(ref, "t", at->table);
    Varve__V1__ScanRequest req = VARVE__V1__SCAN_REQUEST__INIT;
    req.table = &ref;
    req.version = at->version;
    req.archive = text_of(at->archive);
    req.as_of_unix_ms = at->as_of_ms;
    req.page_bytes = 1000;
    req.reverse = reverse;
    size_t len = protobuf_c_message_pack(&req.base, bytes);
    *entries = 0;
    vv_buf_init(&reply, 1u << 20);
    assert_ok(cli_stream_open(s->conn, "/varve.v1.Kv/Scan", SUITE_TIMEOUT_NS, &stream, &err), err);
    assert_ok(cli_stream_send(stream, vv_slice_of(bytes, len), &err), err);
    cli_stream_half_close(stream);
    vv_status st;
    while ((st = cli_stream_receive(stream, true, &reply, &s->err)) == VV_OK) {
        Varve__V1__ScanResponse *r = varve__v1__scan_response__unpack(NULL, reply.len, reply.data);
        assert_non_null(r);
        for (size_t i = 0; i < r->n_entries; i++)
            *entries += r->entries[i]->value.len == strlen(value) &&
                        memcmp(r->entries[i]->value.data, value, strlen(value)) == 0;
        varve__v1__scan_response__free_unpacked(r, NULL);
    }
    s->result = *cli_stream_result(stream);
    vv_buf_fini(&reply);
    cli_stream_close(stream);
    return st == VV_NOT_FOUND && s->result.code == 0 ? VV_OK : st;
}

static void expect_get(svc_suite *s, const moment *at, const char *key, const char *value)
{
    assert_ok(get(s, at, key), s->err);
    Varve__V1__GetResponse *r = svc_suite_reply(s, &varve__v1__get_response__descriptor);
    assert_int_equal(r->found, value != NULL);
    if (value != NULL) {
        assert_int_equal(r->value.len, strlen(value));
        assert_memory_equal(r->value.data, value, r->value.len);
        assert_true(r->version > 0);
    }
    varve__v1__get_response__free_unpacked(r, NULL);
}

static void test_reads_show_the_archive(void **state)
{
    (void)state;
    svc_suite s;
    const moment then = {.table = "x", .archive = "a"};
    const moment now = {.table = "x", .archive = ""};
    size_t entries = 0;
    begin(&s);
    expect_get(&s, &then, "k000", "then");
    expect_get(&s, &now, "k000", "now");
    expect_get(&s, &then, "new", NULL);
    expect_get(&s, &then, "k0000", NULL);
    expect_get(&s, &then, "zzz", NULL);
    const char *keys[] = {"k299", "new", "k000", "k299"};
    assert_ok(get_many(&s, &then, keys, 4, 0), s.err);
    Varve__V1__GetManyResponse *r = svc_suite_reply(&s, &varve__v1__get_many_response__descriptor);
    assert_int_equal(r->n_results, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(r->results[i]->found, i != 1);
        assert_int_equal(r->results[i]->value.len, i == 1 ? 0 : 4);
    }
    varve__v1__get_many_response__free_unpacked(r, NULL);
    assert_ok(get_many(&s, &then, keys, 4, 1), s.err); /* bounded as ever */
    r = svc_suite_reply(&s, &varve__v1__get_many_response__descriptor);
    assert_int_equal(r->n_results, 1);
    varve__v1__get_many_response__free_unpacked(r, NULL);
    for (int reverse = 0; reverse < 2; reverse++) {
        assert_ok(scan(&s, &then, reverse, "then", &entries), s.err);
        assert_int_equal(entries, KEYS);
        assert_ok(scan(&s, &now, reverse, "now", &entries), s.err);
        assert_int_equal(entries, KEYS + 1);
    }
    admin_archive(&s, "Admin/DropArchive", "a");
    assert_status(VV_NOT_FOUND, get(&s, &then, "k000"));
    svc_suite_stop(&s);
}

static void test_what_is_refused_is_named(void **state)
{
    (void)state;
    char long_name[65];
    const char *keys[] = {"k000"};
    svc_suite s;
    size_t entries = 0;
    memset(long_name, 'n', 64);
    long_name[64] = '\0';
    const struct {
        moment at;
        vv_status want;
        const char *words;
    } rows[] = {
        {{"x", "never", 0, 0}, VV_NOT_FOUND, "there is no archive 'never'"},
        {{"none", "a", 0, 0}, VV_NOT_FOUND, "none"},
        {{"flat", "a", 0, 0}, VV_UNSUPPORTED, "archives are of tables of 'btree'"},
        {{"x", "a", 1, 0}, VV_INVALID, "a version or an archive"},
        {{"x", "a", -1, 0}, VV_INVALID, "version is negative"},
        {{"x", "a", 0, 1}, VV_INVALID, "or a time"},
        {{"x", "", 1, 1}, VV_INVALID, "or a time"},
        {{"x", "", 0, -1}, VV_INVALID, "before 1970"},
        {{"x", "", 0, INT64_MAX}, VV_INVALID, "is no time"},
        {{"x", "", 0, INT64_MIN}, VV_INVALID, "is no time"},
        {{"x", "", 0, INT64_MAX / 1000000}, VV_INVALID, "in the future"},
        {{"x", "", 0, 1}, VV_UNSUPPORTED, "before what is kept"},
        {{"x", "a b", 0, 0}, VV_INVALID, "byte 0x20"},
        {{"x", long_name, 0, 0}, VV_INVALID, "1 to 63"},
    };
    begin(&s);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (int how = 0; how < 3; how++) {
            vv_status st = how == 0   ? get(&s, &rows[i].at, "k000")
                           : how == 1 ? get_many(&s, &rows[i].at, keys, 1, 0)
                                      : scan(&s, &rows[i].at, false, "", &entries);
            if (st != rows[i].want || strstr(s.result.message, rows[i].words) == NULL)
                fail_msg("row %zu, %d: %d, %s", i, how, (int)st, s.result.message);
        }
    const moment then = {.table = "x", .archive = "a"};
    assert_status(VV_INVALID, get(&s, &then, ""));
    svc_suite_stop(&s);
}

/* Between two states of a table that keeps versions: one read of each kind at the time between them
 * shows the first, and of a partitioned table a read of one key does. */
static void check_time(svc_suite *s, const char *table, uint32_t partitions)
{
    const char *keys[] = {"a", "new", "b"};
    vv_error err = {0};
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.version_retention_ns = 60 * VV_NS_PER_S;
    opt.partitions = partitions;
    assert_ok(vv_table_create(s->n.db, "t", table, &opt, NULL, &err), err);
    assert_ok(svc_suite_put(s, "t", table, STR("a"), STR("then"), NULL), s->err);
    assert_ok(svc_suite_put(s, "t", table, STR("b"), STR("then"), NULL), s->err);
    vv_clock_sleep(s->n.env.clock, 2 * VV_NS_PER_MS);
    moment then = {
        .table = table, .archive = "", .as_of_ms = vv_clock_wall(s->n.env.clock) / VV_NS_PER_MS};
    expect_get(s, &then, "a", "then");                 /* nothing came since */
    vv_clock_sleep(s->n.env.clock, 40 * VV_NS_PER_MS); /* times are kept 29 ms apart */
    for (char key[] = "ca"; key[1] <= 'z'; key[1]++)   /* of each shard */
        assert_ok(svc_suite_put(s, "t", table, STR(key), STR("now"), NULL), s->err);
    vv_clock_sleep(s->n.env.clock, 2 * VV_NS_PER_MS);
    then.as_of_ms = vv_clock_wall(s->n.env.clock) / VV_NS_PER_MS;
    vv_clock_sleep(s->n.env.clock, 2 * VV_NS_PER_MS);
    assert_ok(svc_suite_put(s, "t", table, STR("a"), STR("now"), NULL), s->err);
    assert_ok(svc_suite_put(s, "t", table, STR("b"), STR("now"), NULL), s->err);
    assert_ok(svc_suite_put(s, "t", table, STR("new"), STR("now"), NULL), s->err);
    const moment now = {.table = table, .archive = ""};
    expect_get(s, &now, "a", "now");
    expect_get(s, &then, "a", "then");
    expect_get(s, &then, "b", "then");
    expect_get(s, &then, "new", NULL);
    size_t entries = 0;
    if (partitions > 1) {
        assert_status(VV_UNSUPPORTED, get_many(s, &then, keys, 3, 0));
        assert_status(VV_UNSUPPORTED, scan(s, &then, false, "then", &entries));
        const moment one = {.table = table, .archive = "", .version = 1};
        assert_status(VV_UNSUPPORTED, get_many(s, &one, keys, 3, 0));
        assert_status(VV_UNSUPPORTED, scan(s, &one, false, "then", &entries));
        return;
    }
    assert_ok(get_many(s, &then, keys, 3, 0), s->err);
    Varve__V1__GetManyResponse *r = svc_suite_reply(s, &varve__v1__get_many_response__descriptor);
    assert_int_equal(r->n_results, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(r->results[i]->value.len, i == 1 ? 0 : 4);
    assert_true(r->version > 0);
    varve__v1__get_many_response__free_unpacked(r, NULL);
    assert_ok(scan(s, &then, false, "then", &entries), s->err);
    assert_int_equal(entries, 2);
}

static void test_reads_show_the_state_at_a_time(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, &(svc_suite_options){.durability = VV_DURABLE_OS, .shards = 3});
    check_time(&s, "whole", 1);
    check_time(&s, "spread", 3);
    svc_suite_stop(&s);
}

static void test_a_name_with_a_nul_is_none(void **state)
{
    (void)state;
    char out[SVC_KV_ARCHIVE_SIZE];
    vv_error err = {0};
    assert_status(VV_INVALID,
                  svc_kv_archive_name(vv_slice_of((const uint8_t *)"a\0b", 3), out, &err));
    assert_non_null(strstr(err.msg, "NUL"));
    assert_ok(svc_kv_archive_name(STR("a"), out, &err), err);
    assert_string_equal(out, "a");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_show_the_archive),
        cmocka_unit_test(test_what_is_refused_is_named),
        cmocka_unit_test(test_reads_show_the_state_at_a_time),
        cmocka_unit_test(test_a_name_with_a_nul_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
