/*
 * svc_kv_scan_test.c - Kv.Scan: what comes, in which pages, of which moment, and how fast a slow
 * client lets it come.
 */
#include "server/svc_kv.h"

#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "server/svc_suite.h"

#define STR(text) vv_slice_str(text)

/* What a scan gave, as text: the keys with a space behind each. */
typedef struct seen {
    char keys[2048];
    size_t entries, pages, bytes, page_bytes_max, value_bytes;
    int64_t version;
    bool same_version;
    vv_status status;
} seen;

static void take_page(seen *o, vv_slice message)
{
    Varve__V1__ScanResponse *r = varve__v1__scan_response__unpack(NULL, message.len, message.data);
    assert_non_null(r);
    o->same_version = o->pages == 0 || (o->same_version && r->version == o->version);
    o->version = r->version;
    o->pages++;
    o->bytes += message.len;
    o->page_bytes_max = vv_max_u64(o->page_bytes_max, message.len);
    for (size_t i = 0; i < r->n_entries; i++) {
        const Varve__V1__KeyValue *kv = r->entries[i];
        size_t len = strlen(o->keys);
        if (len + kv->key.len + 2 < sizeof o->keys)
            (void)snprintf(o->keys + len, sizeof o->keys - len, "%.*s ", (int)kv->key.len,
                           (const char *)kv->key.data);
        o->entries++;
        o->value_bytes += kv->value.len;
        assert_true(kv->version > 0 && kv->version <= r->version);
    }
    varve__v1__scan_response__free_unpacked(r, NULL);
}

static cli_stream *open_scan(svc_suite *s, cli_conn *conn, const Varve__V1__ScanRequest *req)
{
    cli_stream *stream = NULL;
    uint8_t bytes[8192];
    assert_true(varve__v1__scan_request__get_packed_size(req) <= sizeof bytes);
    size_t len = varve__v1__scan_request__pack(req, bytes);
    assert_ok(cli_stream_open(conn, "/varve.v1.Kv/Scan", SUITE_TIMEOUT_NS, &stream, &s->err),
              s->err);
    assert_ok(cli_stream_send(stream, vv_slice_of(bytes, len), &s->err), s->err);
    cli_stream_half_close(stream);
    return stream;
}

static void drain(svc_suite *s, cli_stream *stream, seen *out)
{
    vv_buf page;
    vv_buf_init(&page, 64u << 20);
    while ((out->status = cli_stream_receive(stream, true, &page, &s->err)) == VV_OK)
        take_page(out, vv_buf_slice(&page));
    if (out->status == VV_NOT_FOUND)
        out->status = VV_OK; /* a clean end */
    vv_buf_fini(&page);
}

static void scan(svc_suite *s, const Varve__V1__ScanRequest *req, seen *out)
{
    *out = (seen){0};
    cli_stream *stream = open_scan(s, s->conn, req);
    drain(s, stream, out);
    s->result = *cli_stream_result(stream);
    cli_stream_close(stream);
}

static void put_text(svc_suite *s, const char *keys)
{
    char key[16];
    int used = 0;
    for (; sscanf(keys, "%15s%n", key, &used) == 1; keys += used)
        assert_ok(svc_suite_put(s, "t", "x", STR(key), STR(key), NULL), s->err);
}

/* ---- which keys ---- */

static void test_ranges(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, &(svc_suite_options){.durability = VV_DURABLE_OS});
    put_text(&s, "a aa ab b ba c d");
    SUITE_REF(ref, "t", "x");
    const struct {
        const char *name, *begin, *end, *prefix;
        bool reverse;
        uint64_t limit;
        const char *want;
    } rows[] = {
        {"all", "", "", "", false, 0, "a aa ab b ba c d "},
        {"all, backwards", "", "", "", true, 0, "d c ba b ab aa a "},
        {"from b", "b", "", "", false, 0, "b ba c d "},
        {"below b", "", "b", "", false, 0, "a aa ab "},
        {"a range", "aa", "c", "", false, 0, "aa ab b ba "},
        {"a range, backwards", "aa", "c", "", true, 0, "ba b ab aa "},
        {"bounds between keys", "a0", "bz", "", false, 0, "aa ab b ba "},
        {"a limit", "", "", "", false, 3, "a aa ab "},
        {"a limit from behind", "", "", "", true, 2, "d c "},
        {"a limit over what is there", "", "", "", false, 99, "a aa ab b ba c d "},
        {"a prefix", "", "", "a", false, 0, "a aa ab "},
        {"a prefix, backwards", "", "", "b", true, 1, "ba "},
        {"a prefix of nothing", "", "", "zz", false, 0, ""},
        {"an empty range", "c", "c", "", false, 0, ""},
        {"the wrong way round", "d", "a", "", true, 0, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        seen o;
        Varve__V1__ScanRequest req = VARVE__V1__SCAN_REQUEST__INIT;
        req.table = &ref;
        req.begin = svc_suite_bytes(STR(rows[i].begin));
        req.end = svc_suite_bytes(STR(rows[i].end));
        req.prefix = svc_suite_bytes(STR(rows[i].prefix));
        req.reverse = rows[i].reverse;
        req.limit = rows[i].limit;
        for (int keys_only = 0; keys_only <= 1; keys_only++) {
            req.keys_only = keys_only;
            scan(&s, &req, &o);
            assert_ok(o.status, s.err);
            if (strcmp(o.keys, rows[i].want) != 0)
                fail_msg("%s: '%s'", rows[i].name, o.keys);
            if ((o.value_bytes > 0) != (!keys_only && o.entries > 0))
                fail_msg("%s: %zu bytes of values", rows[i].name, o.value_bytes);
            assert_int_equal(o.pages, 1); /* an answer without entries still names its version */
            assert_true(o.version > 0);
        }
    }
    svc_suite_stop(&s);
}

static void test_prefixes_of_high_bytes(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, &(svc_suite_options){.durability = VV_DURABLE_OS});
    const vv_slice keys[] = {BYTES(0xfe), BYTES(0xfe, 0xff), BYTES(0xff), BYTES(0xff, 0xff),
                             BYTES(0xff, 0xff, 'a')};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        assert_ok(svc_suite_put(&s, "t", "x", keys[i], STR("v"), NULL), s.err);
    const struct {
        vv_slice prefix;
        size_t want;
    } rows[] = {{BYTES(0xfe), 2}, {BYTES(0xfe, 0xff), 1}, {BYTES(0xff), 3}, {BYTES(0xff, 0xff), 2}};
    SUITE_REF(ref, "t", "x");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        seen o;
        Varve__V1__ScanRequest req = VARVE__V1__SCAN_REQUEST__INIT;
        req.table = &ref;
        req.prefix = svc_suite_bytes(rows[i].prefix);
        scan(&s, &req, &o);
        assert_ok(o.status, s.err);
        assert_int_equal(o.entries, rows[i].want);
    }
    svc_suite_stop(&s);
}

static void test_refusals(void **state)
{
    (void)state;
    static uint8_t long_key[VV_KEY_MAX + 1];
    svc_suite s;
    seen o;
    svc_suite_start(&s, NULL);
    put_text(&s, "a");
    SUITE_REF(ref, "t", "x");
    SUITE_REF(typo, "t", "xx");
    Varve__V1__ScanRequest req = VARVE__V1__SCAN_REQUEST__INIT;
    req.table = &typo;
    scan(&s, &req, &o);
    assert_int_equal(s.result.code, 5);
    assert_non_null(strstr(s.result.message, "'xx'"));
    req.table = &ref;
    req.prefix = svc_suite_bytes(STR("a"));
    req.end = svc_suite_bytes(STR("b"));
    scan(&s, &req, &o);
    assert_int_equal(s.result.code, 3);
    req.end = svc_suite_bytes(STR(""));
    req.prefix = svc_suite_bytes(vv_slice_of(long_key, sizeof long_key));
    scan(&s, &req, &o);
    assert_int_equal(s.result.code, 3);
    assert_non_null(strstr(s.result.message, "at most 1024"));
    req.prefix = svc_suite_bytes(STR(""));
    req.version = -5;
    scan(&s, &req, &o);
    assert_int_equal(s.result.code, 3);
    req.version = INT64_MAX;
    scan(&s, &req, &o);
    assert_int_equal(s.result.code, 3);
    assert_int_equal(o.pages, 0);
    svc_suite_stop(&s);
}

static void test_a_request_is_needed(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    cli_stream *stream = NULL;
    vv_buf page;
    vv_buf_init(&page, 4096);
    assert_ok(cli_stream_open(s.conn, "/varve.v1.Kv/Scan", SUITE_TIMEOUT_NS, &stream, &s.err),
              s.err);
    cli_stream_half_close(stream);
    assert_status(VV_INVALID, cli_stream_receive(stream, true, &page, &s.err));
    cli_stream_close(stream);
    vv_buf_fini(&page);
    svc_suite_stop(&s);
}

/* ---- pages and snapshots ---- */

/* count values of size bytes under "00000", "00001", ... */
static void fill(svc_suite *s, const char *tenant, size_t count, size_t size)
{
    uint8_t *value = test_malloc(size);
    char key[16];
    vv_table *table = NULL;
    memset(value, 'v', size);
    assert_ok(vv_table_create(s->n.db, tenant, "x", NULL, &table, &s->err), s->err);
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(key, sizeof key, "%05zu", i);
        assert_ok(vv_put(table, STR(key), vv_slice_of(value, size), &s->err), s->err);
    }
    vv_table_close(table);
    test_free(value);
}

static void test_pages_are_bounded(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, &(svc_suite_options){.durability = VV_DURABLE_NONE});
    fill(&s, "t", 3000, 1000);
    SUITE_REF(ref, "t", "x");
    const struct {
        uint32_t asked;
        size_t bound;
    } rows[] = {{0, 256 << 10}, {10000, 10000}, {1, 1200}, {1 << 20, 1 << 20}, {4 << 20, 1 << 20}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        seen o;
        Varve__V1__ScanRequest req = VARVE__V1__SCAN_REQUEST__INIT;
        req.table = &ref;
        req.page_bytes = rows[i].asked;
        scan(&s, &req, &o);
        assert_ok(o.status, s.err);
        assert_int_equal(o.entries, 3000);
        assert_true(o.same_version);
        if (o.page_bytes_max > rows[i].bound + 16 || o.page_bytes_max < rows[i].bound * 3 / 4)
            fail_msg("%u bytes asked, pages of up to %zu", rows[i].asked, o.page_bytes_max);
    }
    svc_suite_stop(&s);
}

/* A value larger than a page has one of its own. */
static void test_a_large_value_is_a_page(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, &(svc_suite_options){.durability = VV_DURABLE_NONE});
    fill(&s, "t", 2, VV_VALUE_MAX);
    SUITE_REF(ref, "t", "x");
    seen o;
    Varve__V1__ScanRequest req = VARVE__V1__SCAN_REQUEST__INIT;
    req.table = &ref;
    scan(&s, &req, &o);
    assert_ok(o.status, s.err);
    assert_int_equal(o.entries, 2);
    assert_int_equal(o.pages, 2);
    assert_int_equal(o.value_bytes, 2 * VV_VALUE_MAX);
    svc_suite_stop(&s);
}

/* Writes while a scan is under way are not seen by it. */
static void test_all_pages_are_of_one_moment(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, &(svc_suite_options){.durability = VV_DURABLE_NONE});
    fill(&s, "t", 8000, 2000);
    SUITE_REF(ref, "t", "x");
    Varve__V1__ScanRequest req = VARVE__V1__SCAN_REQUEST__INIT;
    req.table = &ref;
    seen o = {0};
    vv_buf page;
    vv_buf_init(&page, 1u << 20);
    cli_stream *stream = open_scan(&s, s.conn, &req);
    assert_ok(cli_stream_receive(stream, true, &page, &s.err), s.err);
    take_page(&o, vv_buf_slice(&page));
    vv_table *table = NULL;
    assert_ok(vv_table_open(s.n.db, "t", "x", &table, &s.err), s.err);
    vv_batch *batch = vv_batch_create(s.n.db);
    assert_ok(vv_batch_delete_range(batch, table, STR("00100"), STR("07900"), &s.err), s.err);
    assert_ok(vv_batch_put(batch, table, STR("07999a"), STR("new"), 0, &s.err), s.err);
    assert_ok(vv_write(s.n.db, batch, VV_DURABLE_NONE, NULL, &s.err), s.err);
    vv_batch_destroy(batch);
    vv_table_close(table);
    drain(&s, stream, &o);
    assert_ok(o.status, s.err);
    assert_int_equal(o.entries, 8000);
    assert_true(o.same_version);
    cli_stream_close(stream);
    vv_buf_fini(&page);
    scan(&s, &req, &o);
    assert_int_equal(o.entries, 201);
    svc_suite_stop(&s);
}

static void test_an_old_version(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    int64_t version = 0;
    opt.version_retention_ns = 60 * VV_NS_PER_S;
    assert_ok(vv_table_create(s.n.db, "t", "x", &opt, NULL, &s.err), s.err);
    put_text(&s, "a b");
    assert_ok(svc_suite_put(&s, "t", "x", STR("c"), STR("1"), &version), s.err);
    put_text(&s, "d e");
    SUITE_REF(ref, "t", "x");
    seen o;
    Varve__V1__ScanRequest req = VARVE__V1__SCAN_REQUEST__INIT;
    req.table = &ref;
    req.version = version;
    scan(&s, &req, &o);
    assert_ok(o.status, s.err);
    assert_string_equal(o.keys, "a b c ");
    assert_int_equal(o.version, version);
    svc_suite_stop(&s);
}

/* ---- slow clients ---- */

static uint64_t queued_bytes(const svc_suite *s)
{
    return vv_budget_part_used(s->n.budget, VV_BUDGET_NETWORK);
}

/* With one thread in the pool: slow readers hold none, and little memory. */
static void test_slow_readers_hold_no_thread(void **state)
{
    (void)state;
    enum { SLOW = 4 };
    svc_suite s;
    cli_conn *conns[SLOW];
    cli_stream *streams[SLOW];
    svc_suite_start(&s, &(svc_suite_options){.durability = VV_DURABLE_NONE, .pool_threads = 1});
    fill(&s, "t", 600, 100000); /* 60 MB: over every window and socket buffer */
    SUITE_REF(ref, "t", "x");
    Varve__V1__ScanRequest req = VARVE__V1__SCAN_REQUEST__INIT;
    req.table = &ref;
    for (int i = 0; i < SLOW; i++) {
        vv_buf page;
        vv_buf_init(&page, 1u << 20);
        assert_ok(cli_open(s.address, NULL, &conns[i], &s.err), s.err);
        streams[i] = open_scan(&s, conns[i], &req);
        assert_ok(cli_stream_receive(streams[i], true, &page, &s.err), s.err);
        vv_buf_fini(&page);
    }
    vv_clock_sleep(s.n.env.clock, 100 * VV_NS_PER_MS);
    /* Others go on: a scan of another client, and a call on the pool. */
    seen o;
    req.limit = 10;
    scan(&s, &req, &o);
    assert_ok(o.status, s.err);
    assert_int_equal(o.entries, 10);
    Varve__V1__ListTablesRequest list = VARVE__V1__LIST_TABLES_REQUEST__INIT;
    assert_ok(svc_suite_call(&s, "Admin/ListTables", &list), s.err);
    if (queued_bytes(&s) > SLOW * 3 * SRV_OUTPUT_HIGH)
        fail_msg("%llu bytes are queued for %d slow readers", (unsigned long long)queued_bytes(&s),
                 SLOW);
    for (int i = 0; i < SLOW; i++) { /* one reads on to the end, the others leave in the middle */
        o = (seen){0};
        if (i == 1) {
            drain(&s, streams[i], &o);
            assert_ok(o.status, s.err);
            assert_true(o.entries > 590 && o.entries < 600); /* without the first page */
            assert_true(o.same_version);
        }
        cli_stream_close(streams[i]);
        cli_close(conns[i]);
    }
    assert_ok(svc_suite_put(&s, "t", "x", STR("k"), STR("v"), NULL), s.err);
    svc_suite_stop(&s);
}

/* Law: with one thread, long scans of fast clients take turns. */
static void test_long_scans_share_the_pool(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, &(svc_suite_options){.durability = VV_DURABLE_NONE, .pool_threads = 1});
    fill(&s, "t", 300, 100000);
    SUITE_REF(ref, "t", "x");
    Varve__V1__ScanRequest req = VARVE__V1__SCAN_REQUEST__INIT;
    req.table = &ref;
    seen a = {0}, b = {0};
    cli_stream *first = open_scan(&s, s.conn, &req);
    cli_stream *second = open_scan(&s, s.conn, &req);
    drain(&s, second, &b);
    drain(&s, first, &a);
    assert_int_equal(a.entries, 300);
    assert_int_equal(b.entries, 300);
    cli_stream_close(first);
    cli_stream_close(second);
    svc_suite_stop(&s);
}

/* ---- against a model ---- */

/* Law: a scan gives what a sorted array gives. Keys are two letters of four, so ranges often meet.
 */
static void random_key(vv_rng *rng, char out[3])
{
    size_t len = 1 + vv_rng_below(rng, 2);
    memset(out, 0, 3);
    for (size_t i = 0; i < len; i++)
        out[i] = "abcd"[vv_rng_below(rng, 4)];
}

static size_t slot_of(const char *key)
{
    return (size_t)(key[0] - 'a') * 5 + (key[1] == '\0' ? 0 : (size_t)(key[1] - 'a') + 1);
}

static void name_slot(size_t slot, char out[3])
{
    out[0] = (char)('a' + slot / 5);
    out[1] = (char)(slot % 5 == 0 ? 0 : 'a' + slot % 5 - 1);
    out[2] = '\0';
}

static void expect_like(const bool there[20], const Varve__V1__ScanRequest *req, const seen *o,
                        uint64_t seed)
{
    char want[256] = "";
    uint64_t left = req->limit == 0 ? UINT64_MAX : req->limit;
    for (size_t i = 0; i < 20 && left > 0; i++) {
        char key[3];
        size_t slot = req->reverse ? 19 - i : i;
        name_slot(slot, key);
        vv_slice k = STR(key);
        bool in =
            there[slot] && vv_slice_cmp(k, vv_slice_of(req->begin.data, req->begin.len)) >= 0 &&
            (req->end.len == 0 || vv_slice_cmp(k, vv_slice_of(req->end.data, req->end.len)) < 0) &&
            vv_slice_has_prefix(k, vv_slice_of(req->prefix.data, req->prefix.len));
        if (!in)
            continue;
        size_t len = strlen(want);
        (void)snprintf(want + len, sizeof want - len, "%s ", key);
        left--;
    }
    if (strcmp(want, o->keys) != 0)
        fail_msg("VV_SEED=0x%llx: '%s' instead of '%s'", (unsigned long long)seed, o->keys, want);
}

static void prop_a_scan_is_a_slice_of_a_sorted_array(void **state)
{
    (void)state;
    uint64_t seed = vv_test_seed(0x5ca9);
    vv_rng rng;
    bool there[20] = {0};
    svc_suite s;
    vv_rng_init(&rng, seed);
    svc_suite_start(&s, &(svc_suite_options){.durability = VV_DURABLE_NONE});
    put_text(&s, "a");
    there[0] = true;
    SUITE_REF(ref, "t", "x");
    for (uint64_t n = vv_test_count("VV_KV_SCANS", 1500); n > 0; n--) {
        char key[3], begin[3] = "", end[3] = "", prefix[3] = "";
        random_key(&rng, key);
        if (vv_rng_one_in(&rng, 2)) {
            put_text(&s, key);
            there[slot_of(key)] = true;
        } else {
            Varve__V1__DeleteRequest del = VARVE__V1__DELETE_REQUEST__INIT;
            del.table = &ref;
            del.key = svc_suite_bytes(STR(key));
            assert_ok(svc_suite_call(&s, "Kv/Delete", &del), s.err);
            there[slot_of(key)] = false;
        }
        if (vv_rng_one_in(&rng, 3)) {
            random_key(&rng, prefix);
        } else {
            if (!vv_rng_one_in(&rng, 4))
                random_key(&rng, begin);
            if (!vv_rng_one_in(&rng, 4))
                random_key(&rng, end);
        }
        seen o;
        Varve__V1__ScanRequest req = VARVE__V1__SCAN_REQUEST__INIT;
        req.table = &ref;
        req.begin = svc_suite_bytes(STR(begin));
        req.end = svc_suite_bytes(STR(end));
        req.prefix = svc_suite_bytes(STR(prefix));
        req.reverse = vv_rng_one_in(&rng, 2);
        req.limit = vv_rng_below(&rng, 8);
        req.page_bytes = (uint32_t)vv_rng_below(&rng, 100);
        scan(&s, &req, &o);
        assert_ok(o.status, s.err);
        expect_like(there, &req, &o, seed);
    }
    svc_suite_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_prefixes_of_high_bytes),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_a_request_is_needed),
        cmocka_unit_test(test_pages_are_bounded),
        cmocka_unit_test(test_a_large_value_is_a_page),
        cmocka_unit_test(test_all_pages_are_of_one_moment),
        cmocka_unit_test(test_an_old_version),
        cmocka_unit_test(test_slow_readers_hold_no_thread),
        cmocka_unit_test(test_long_scans_share_the_pool),
        cmocka_unit_test(prop_a_scan_is_a_slice_of_a_sorted_array),
    };
    return cmocka_run_group_tests_name("svc_kv_scan", tests, NULL, NULL);
}
