/*
 * svc_http_kv_test.c - the HTTP form of Kv, as text over a socket.
 */
#include "server/svc_kv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/time_text.h"
#include "server/svc_suite_http.h"

#define STR(text) vv_slice_str(text)

static const vv_slice no_body;

/* ---- */

static void test_a_value_goes_in_and_out(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_answer a;
    svc_suite_start(&s, NULL);
    svc_suite_ask(&s, "PUT", "/api/v1/kv/t/x/k", BYTES('v', 0, 0xff, '\n'), &a);
    assert_int_equal(a.status, 204);
    assert_non_null(strstr(a.head, "Varve-Version: "));
    assert_non_null(strstr(a.head, "Varve-Durability: sync"));
    assert_null(strstr(a.head, "Content-Length"));
    assert_int_equal(a.body.len, 0);
    svc_suite_done(&a);
    svc_suite_ask(&s, "GET", "/api/v1/kv/t/x/k", no_body, &a);
    assert_int_equal(a.status, 200);
    assert_true(vv_slice_eq(a.body, BYTES('v', 0, 0xff, '\n')));
    assert_non_null(strstr(a.head, "Content-Type: application/octet-stream"));
    assert_non_null(strstr(a.head, "Varve-Version: "));
    assert_null(strstr(a.head, "Varve-Expires"));
    svc_suite_done(&a);
    svc_suite_ask(&s, "HEAD", "/api/v1/kv/t/x/k", no_body, &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.body.len, 0);
    assert_non_null(strstr(a.head, "Content-Length: 4"));
    svc_suite_done(&a);
    svc_suite_expect_http(&s, "DELETE", "/api/v1/kv/t/x/k", no_body, 204, "Varve-Durability: sync");
    svc_suite_expect_http(&s, "GET", "/api/v1/kv/t/x/k", no_body, 404, "\"status\":\"NOT_FOUND\"");
    svc_suite_expect_http(&s, "DELETE", "/api/v1/kv/t/x/k", no_body, 204, NULL);
    assert_int_equal(vv_hist_count(&s.n.put_ns), 1);
    assert_int_equal(vv_hist_count(&s.n.get_ns), 3);
    svc_suite_stop(&s);
}

/* Keys over HTTP are those of gRPC. */
static void test_keys_are_percent_decoded(void **state)
{
    (void)state;
    const struct {
        const char *path;
        vv_slice key;
    } rows[] = {
        {"a%2Fb", STR("a/b")},
        {"%00", BYTES(0)},
        {"a%00%ff", BYTES('a', 0, 0xff)},
        {"caf%C3%A9", STR("caf\xc3\xa9")},
        {"a/b/c", STR("a/b/c")},
        {"a+b", STR("a+b")},
        {"%3Fq", STR("?q")},
        {"100%25", STR("100%")},
    };
    svc_suite s;
    vv_buf got;
    svc_suite_start(&s, &(svc_suite_options){.durability = VV_DURABLE_OS});
    vv_buf_init(&got, 64);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char path[64], value[16];
        bool found = false;
        (void)snprintf(path, sizeof path, "/api/v1/kv/t/x/%s", rows[i].path);
        (void)snprintf(value, sizeof value, "%zu", i);
        svc_suite_expect_http(&s, "PUT", path, STR(value), 204, NULL);
        svc_suite_expect_http(&s, "GET", path, no_body, 200, value);
        assert_ok(svc_suite_get(&s, "t", "x", rows[i].key, &found, &got, NULL), s.err);
        if (!found || !vv_slice_eq(vv_buf_slice(&got), STR(value)))
            fail_msg("%s", rows[i].path);
    }
    svc_suite_expect_http(&s, "GET", "/api/v1/kv/%74/%78/a%2fb", no_body, 200, "0"); /* names too */
    vv_buf_fini(&got);
    svc_suite_stop(&s);
}

static void test_parameters(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_answer a;
    svc_suite_start(&s, NULL);
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.version_retention_ns = 60 * VV_NS_PER_S;
    assert_ok(vv_table_create(s.n.db, "t", "x", &opt, NULL, &s.err), s.err);
    svc_suite_expect_http(&s, "PUT", "/api/v1/kv/t/x/k?durability=os", STR("one"), 204,
                          "Varve-Durability: os");
    svc_suite_expect_http(&s, "PUT", "/api/v1/kv/t/x/l?durability=none", STR("l"), 204,
                          "Varve-Durability: none");
    svc_suite_expect_http(&s, "DELETE", "/api/v1/kv/t/x/l?durability=os", no_body, 204,
                          "Varve-Durability: os");
    svc_suite_ask(&s, "GET", "/api/v1/kv/t/x/k", no_body, &a);
    long long version = atoll(strstr(a.head, "Varve-Version: ") + strlen("Varve-Version: "));
    assert_true(version > 0);
    svc_suite_done(&a);
    vv_clock_sleep(s.n.env.clock, 40 * VV_NS_PER_MS); /* times are kept 29 ms apart */
    svc_suite_expect_http(&s, "PUT", "/api/v1/kv/t/x/later", STR("l"), 204, NULL);
    vv_clock_sleep(s.n.env.clock, 2 * VV_NS_PER_MS);
    int64_t then_ms = vv_clock_wall(s.n.env.clock) / VV_NS_PER_MS;
    vv_clock_sleep(s.n.env.clock, 2 * VV_NS_PER_MS);
    svc_suite_expect_http(&s, "PUT", "/api/v1/kv/t/x/k?ttl_ms=600000&durability=os", STR("two"),
                          204, NULL);
    svc_suite_expect_http(&s, "GET", "/api/v1/kv/t/x/k", no_body, 200, "Varve-Expires: ");
    char path[64];
    (void)snprintf(path, sizeof path, "/api/v1/kv/t/x/k?version=%lld", version);
    svc_suite_expect_http(&s, "GET", path, no_body, 200, "one");
    char text[TIME_TEXT_MAX];
    time_text_format(then_ms * VV_NS_PER_MS, text);
    (void)snprintf(path, sizeof path, "/api/v1/kv/t/x/k?as_of=%lld", (long long)then_ms);
    svc_suite_expect_http(&s, "GET", path, no_body, 200, "one");
    (void)snprintf(path, sizeof path, "/api/v1/kv/t/x/k?as_of=%s", text);
    svc_suite_expect_http(&s, "GET", path, no_body, 200, "one");
    svc_suite_expect_http(&s, "GET", "/api/v1/kv/t/x/k?as_of=1", no_body, 501, "what is kept");
    svc_suite_expect_http(&s, "GET", "/api/v1/kv/t/x/k?as_of=1&version=1", no_body, 400, "a time");
    static const char *const none[] = {"soon",          "0", "%2", "-1", "99999999999999999999",
                                       "18446744073709"};
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        (void)snprintf(path, sizeof path, "/api/v1/kv/t/x/k?as_of=%s", none[i]);
        svc_suite_expect_http(&s, "GET", path, no_body, 400, "no time");
    }
    svc_suite_expect_http(&s, "PUT", "/api/v1/kv/t/x/m?ttl_ms=30&durability=os", STR("m"), 204,
                          NULL);
    vv_clock_sleep(s.n.env.clock, 40 * VV_NS_PER_MS);
    svc_suite_expect_http(&s, "GET", "/api/v1/kv/t/x/m", no_body, 404, NULL);
    svc_suite_stop(&s);
}

static void test_an_archive_is_read(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.engine = VV_ENGINE_BTREE;
    assert_ok(vv_table_create(s.n.db, "t", "x", &opt, NULL, &s.err), s.err);
    svc_suite_expect_http(&s, "PUT", "/api/v1/kv/t/x/k", STR("then"), 204, NULL);
    assert_ok(vv_archive_create(s.n.db, "a+b", &s.err), s.err);
    svc_suite_expect_http(&s, "PUT", "/api/v1/kv/t/x/k", STR("now"), 204, NULL);
    svc_suite_expect_http(&s, "PUT", "/api/v1/kv/t/x/new", STR("now"), 204, NULL);
    svc_suite_expect_http(&s, "PUT", "/api/v1/kv/t/flat/k", STR("now"), 204, NULL);
    svc_suite_expect_http(&s, "GET", "/api/v1/kv/t/x/k", no_body, 200, "now");
    svc_suite_expect_http(&s, "GET", "/api/v1/kv/t/x/k?archive=a%2Bb", no_body, 200, "then");
    svc_suite_expect_http(&s, "GET", "/api/v1/kv/t/x/new?archive=a%2Bb", no_body, 404,
                          "key is not");
    svc_suite_expect_http(&s, "GET", "/api/v1/kv/t/x/k?archive=never", no_body, 404,
                          "no archive 'never'");
    svc_suite_expect_http(&s, "GET", "/api/v1/kv/t/x/k?archive=a%2Bb&version=1", no_body, 400,
                          "or an archive");
    svc_suite_expect_http(&s, "GET", "/api/v1/kv/t/x/k?archive=%2", no_body, 400, "hexadecimal");
    svc_suite_expect_http(&s, "GET", "/api/v1/kv/t/x/k?archive=a%00b", no_body, 400, "NUL");
    svc_suite_expect_http(&s, "GET", "/api/v1/kv/t/x/k?archive=", no_body, 400, "archive");
    svc_suite_expect_http(&s, "GET", "/api/v1/kv/t/flat/k?archive=a%2Bb", no_body, 501,
                          "of 'btree'");
    svc_suite_stop(&s);
}

static void test_refusals(void **state)
{
    (void)state;
    char long_key[1200] = "/api/v1/kv/t/x/";
    memset(long_key + strlen(long_key), 'k', 1025);
    svc_suite s;
    svc_suite_start(&s, NULL);
    uint8_t *large = test_calloc(1, VV_VALUE_MAX + 1);
    assert_ok(svc_suite_put(&s, "t", "x", STR("k"), STR("v"), NULL), s.err);
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = VV_TABLE_RECORD;
    assert_ok(vv_table_create(s.n.db, "t", "rec", &opt, NULL, &s.err), s.err);
    const struct {
        const char *verb, *path;
        vv_slice body;
        int status;
        const char *words;
    } rows[] = {
        {"GET", "/api/v1/kv/t/x", no_body, 400, "{tenant}/{table}/{key}"},
        {"GET", "/api/v1/kv/", no_body, 400, "\"code\":3"},
        {"GET", "/api/v1/kv//x/k", no_body, 400, NULL},
        {"GET", "/api/v1/kv/t/x/", no_body, 400, "empty"},
        {"GET", "/api/v1/kv/t/x/%2", no_body, 400, "hexadecimal"},
        {"GET", "/api/v1/kv/t/x/k?version=abc", no_body, 400, "version"},
        {"GET", "/api/v1/kv/t/x/k?version=-1", no_body, 400, "version"},
        {"GET", "/api/v1/kv/t/x/k?version=99999999999999", no_body, 400, "not written yet"},
        {"GET", "/api/v1/kv/t/nope/k", no_body, 404, "'nope'"},
        {"GET", "/api/v1/kv/t/a%20b/k", no_body, 400, "0x20"},
        {"GET", long_key, no_body, 400, "at most 1024"},
        {"PUT", long_key, STR("v"), 400, "at most 1024"},
        {"PUT", "/api/v1/kv/t/x/k?ttl_ms=soon", STR("v"), 400, "ttl_ms"},
        {"PUT", "/api/v1/kv/t/x/k?ttl_ms=18446744073709551615", STR("v"), 400, "ttl_ms"},
        {"PUT", "/api/v1/kv/t/x/k?durability=maybe", STR("v"), 400, "durability"},
        {"PUT", "/api/v1/kv/t/rec/k", STR("v"), 400, "'rec'"},
        {"PUT", "/api/v1/kv/t/x/k", vv_slice_of(large, VV_VALUE_MAX + 1), 413,
         "limit of 15728640 bytes"},
        {"DELETE", "/api/v1/kv/t/nope/k", no_body, 404, "'nope'"},
        {"DELETE", "/api/v1/kv/t/x/k?durability=x", no_body, 400, "durability"},
        {"POST", "/api/v1/kv/t/x/k", STR("v"), 405, "Allow: "},
        {"PUT", "/api/v1/kv/t/x/k?ttl=5s", STR("v"), 400, "ttl: there is no such parameter"},
        {"PUT", "/api/v1/kv/t/x/k?tttl=5", STR("v"), 400, "did you mean ttl_ms"},
        {"PUT", "/api/v1/kv/t/x/k?durability=os&durabilty=os", STR("v"), 400, "durability=..."},
        {"PUT", "/api/v1/kv/t/x/k?ttl_ms", STR("v"), 400, "ttl_ms: it has no value"},
        {"PUT", "/api/v1/kv/t/x/k?durability=", STR("v"), 400, "durability: it has no value"},
        {"PUT", "/api/v1/kv/t/x/k?durability=os&durability=os", STR("v"), 400, "given twice"},
        {"PUT", "/api/v1/kv/t/x/k?ttl_ms=1&durability=os&ttl_ms=2", STR("v"), 400,
         "ttl_ms is given twice"},
        {"GET", "/api/v1/kv/t/x/k?version=9223372036854775808", no_body, 400,
         "over the largest there can be"},
        {"GET", "/api/v1/kv/t/x/k?ttl_ms=5", no_body, 400, "did you mean as_of"},
        {"DELETE", "/api/v1/kv/t/x/k?ttl_ms=5", no_body, 400, "did you mean durability"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        svc_suite_expect_http(&s, rows[i].verb, rows[i].path, rows[i].body, rows[i].status,
                              rows[i].words);
    svc_suite_expect_http(&s, "PUT", "/api/v1/kv/t/x/k", vv_slice_of(large, VV_VALUE_MAX), 204,
                          NULL);
    long_key[strlen(long_key) - 1] = '\0'; /* the longest there may be */
    svc_suite_expect_http(&s, "PUT", long_key, STR("last"), 204, NULL);
    svc_suite_expect_http(&s, "GET", long_key, no_body, 200, "last");
    svc_suite_expect_http(&s, "PUT", long_key, STR(""), 204, NULL); /* no bytes are a value */
    svc_suite_expect_http(&s, "GET", long_key, no_body, 200, "Content-Length: 0");
    svc_suite_expect_http(&s, "DELETE", long_key, no_body, 204, NULL);
    svc_suite_expect_http(&s, "GET", long_key, no_body, 404, NULL);
    long_key[strlen(long_key) - 1] = '\0'; /* as long as a key may be, and nothing in it */
    svc_suite_expect_http(&s, "PUT", long_key, STR(""), 204, NULL);
    svc_suite_expect_http(&s, "GET", long_key, no_body, 200, "Content-Length: 0\r\n");
    test_free(large);
    svc_suite_stop(&s);
}

/* Each path is followed by a header, for svc_suite_ask() writes it behind the version of the
 * protocol. */
#define WITH(header) " HTTP/1.1\r\n" header "\r\nX-Rest:"

static void test_conditions(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_answer a;
    char path[160];
    svc_suite_start(&s, NULL);
    const char *key = "/api/v1/kv/t/x/k";
    svc_suite_expect_http(&s, "PUT", "/api/v1/kv/t/x/k" WITH("If-None-Match: *"), STR("one"), 204,
                          NULL);
    svc_suite_expect_http(&s, "PUT", "/api/v1/kv/t/x/k" WITH("If-None-Match: *"), STR("two"), 412,
                          "\"code\":9");
    svc_suite_ask(&s, "GET", key, no_body, &a);
    long long version = atoll(strstr(a.head, "Varve-Version: ") + strlen("Varve-Version: "));
    assert_true(vv_slice_eq(a.body, STR("one")));
    svc_suite_done(&a);
    (void)snprintf(path, sizeof path, "%s" WITH("If-Match: %lld"), key, version + 1);
    svc_suite_expect_http(&s, "PUT", path, STR("three"), 412, NULL);
    svc_suite_expect_http(&s, "DELETE", path, no_body, 412, NULL);
    (void)snprintf(path, sizeof path, "%s" WITH("If-Match: \"%lld\""), key, version);
    svc_suite_expect_http(&s, "PUT", path, STR("four"), 204, NULL);
    svc_suite_expect_http(&s, "PUT", path, STR("five"), 412, NULL);
    svc_suite_expect_http(&s, "GET", key, no_body, 200, "four");
    svc_suite_ask(&s, "GET", key, no_body, &a);
    version = atoll(strstr(a.head, "Varve-Version: ") + strlen("Varve-Version: "));
    svc_suite_done(&a);
    (void)snprintf(path, sizeof path, "%s" WITH("If-Match: %lld"), key, version);
    svc_suite_expect_http(&s, "DELETE", path, no_body, 204, NULL);
    svc_suite_expect_http(&s, "GET", key, no_body, 404, NULL);
    svc_suite_expect_http(&s, "PUT", "/api/v1/kv/t/x/k" WITH("If-Match: soon"), STR("v"), 400,
                          "If-Match");
    svc_suite_expect_http(&s, "PUT", "/api/v1/kv/t/x/k" WITH("If-Match: *"), STR("v"), 501,
                          "If-Match");
    svc_suite_expect_http(&s, "PUT", "/api/v1/kv/t/x/k" WITH("If-None-Match: 7"), STR("v"), 501,
                          "If-None-Match");
    svc_suite_stop(&s);
}

static void test_a_missing_table(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, &(svc_suite_options){.no_auto_create = true});
    svc_suite_expect_http(&s, "PUT", "/api/v1/kv/t/x/k", STR("v"), 404, "create it first");
    svc_suite_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_value_goes_in_and_out),
        cmocka_unit_test(test_keys_are_percent_decoded),
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_an_archive_is_read),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_a_missing_table),
    };
    return cmocka_run_group_tests_name("svc_http_kv", tests, NULL, NULL);
}
