/*
 * svc_http_stream_test.c - streams over HTTP: what is appended is read again as it was, who follows
 * sees what comes and holds no thread, and a parameter that is not understood is refused.
 */
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "object/object.h"
#include "server/svc_http_stream.h"
#include "server/svc_json_scan.h"
#include "server/svc_suite_http.h"
#include "varve/stream.h"
#include "varve/tier.h"

#define S "/api/v1/stream/"

static void expect(svc_suite *s, const char *verb, const char *path, const char *body, int status,
                   const char *words)
{
    vv_slice bytes = {0};
    if (body != NULL)
        bytes = vv_slice_str(body);
    svc_suite_expect_http(s, verb, path, bytes, status, words);
}

/* The body of a GET without its chunks. */
static void get(svc_suite *s, const char *path, vv_buf *out)
{
    svc_suite_answer a;
    svc_suite_ask(s, "GET", path, (vv_slice){0}, &a);
    if (a.status != 200)
        fail_msg("%s: %s", path, a.all.data);
    vv_buf_reset(out);
    const char *at = (const char *)a.body.data;
    if (strstr(a.head, "chunked") == NULL) {
        vv_buf_append_slice(out, a.body);
    } else {
        for (size_t n; (n = strtoull(at, NULL, 16)) > 0;) {
            at = strstr(at, "\r\n") + 2;
            vv_buf_append(out, at, n);
            at += n + 2;
        }
    }
    vv_buf_append_u8(out, 0);
    svc_suite_done(&a);
}

static void test_messages_go_in_and_come_out(void **state)
{
    (void)state;
    svc_suite s;
    vv_buf out;
    svc_suite_start(&s, NULL);
    vv_buf_init(&out, 1 << 20);
    expect(&s, "POST", S "append",
           "{\"key\":\"k\",\"value\":\"one \\u00e9\\n\",\"source\":\"line 1\","
           "\"event\":\"2026-07-01T12:30:00.5Z\",\"attributes\":{\"n\":-5,\"f\":1.0,\"b\":true,"
           "\"t\":{\"time\":\"2026-07-01T12:30:00Z\"},\"raw\":{\"base64\":\"AAH/\"},\"s\":\"x\","
           "\"inf\":{\"f64\":\"Infinity\"}}}\n"
           "{\"value\":{\"a\" : [1, 2]}}\n",
           200,
           "{\"partition\":0,\"count\":2,\"dead\":0,\"duplicate\":false,\"first_offset\":0,"
           "\"received\":");
    expect(&s, "POST", S "append", "[{\"value_base64\":\"/wA=\"},{\"value\":\"\"}]", 200,
           "\"first_offset\":2");
    expect(&s, "POST", S "append", "{\"messages\":[{\"value\":\"five\"}]}", 200,
           "\"first_offset\":4");
    get(&s, S "read", &out);
    const char *text = (const char *)out.data;
    assert_non_null(strstr(
        text,
        "\"event\":\"2026-07-01T12:30:00.500Z\",\"key\":\"k\",\"value\":\"one \xc3\xa9\\n\","
        "\"source\":\"line 1\",\"attributes\":{\"n\":-5,\"f\":1.0,\"b\":true,\"t\":{\"time\":"
        "\"2026-07-01T12:30:00Z\"},\"raw\":{\"base64\":\"AAH/\"},\"s\":\"x\",\"inf\":{\"f64\":"
        "\"Infinity\"}}}\n"));
    assert_non_null(strstr(text, "\"value\":\"{\\\"a\\\" : [1, 2]}\","
                                 "\"content_type\":\"application/json\"}\n"));
    assert_non_null(strstr(text, "\"value_base64\":\"/wA=\"}\n"));
    assert_non_null(strstr(text, "\"offset\":4,"));
    /* What was read can be appended again. */
    vv_buf again;
    vv_buf_init(&again, 1 << 20);
    svc_suite_expect_http(&s, "POST", S "append?table=copy", vv_slice_str(text), 200,
                          "\"count\":5");
    get(&s, S "read?table=copy", &again);
    const char *a = text;
    const char *b = (const char *)again.data;
    for (int i = 0; i < 5; i++) {
        a = strchr(strstr(a, "\"received\":"), 'Z'); /* but for the time */
        b = strchr(strstr(b, "\"received\":"), 'Z');
        const size_t len = strcspn(a, "\n");
        if (strncmp(a, b, len + 1) != 0)
            fail_msg("%.*s is not %.*s", (int)len, a, (int)len, b);
        a += len;
        b += len;
    }
    vv_buf_fini(&again);
    vv_buf_fini(&out);
    svc_suite_stop(&s);
}

static void test_lines_of_text(void **state)
{
    (void)state;
    svc_suite s;
    vv_buf out;
    svc_suite_start(&s, NULL);
    vv_buf_init(&out, 1 << 20);
    expect(&s, "POST",
           S "append?producer=p&sequence=0&durability=os HTTP/1.1\r\nContent-Type: text/plain"
             "\r\nX-Rest:",
           "one\r\ntwo\n{three", 200, "Varve-Durability: os");
    expect(&s, "POST",
           S "append?producer=p&sequence=0 HTTP/1.1\r\nContent-Type: text/plain\r\nX-Rest:",
           "one\r\ntwo\n{three", 200,
           "\"count\":3,\"dead\":0,\"duplicate\":true,\"first_offset\":0}");
    expect(&s, "POST",
           S "append?producer=p&sequence=9 HTTP/1.1\r\nContent-Type: text/plain\r\nX-Rest:", "x",
           409, "leaves a gap");
    get(&s, S "read?from=1&limit=1", &out);
    assert_non_null(strstr((const char *)out.data, "\"value\":\"two\"}\n"));
    assert_null(strstr((const char *)out.data, "three"));
    vv_buf_fini(&out);
    svc_suite_stop(&s);
}

static void append_text(svc_suite *s, const char *text)
{
    char body[64];
    (void)snprintf(body, sizeof body, "{\"value\":\"%s\"}", text);
    expect(s, "POST", S "append", body, 200, NULL);
}

/* Read from a socket until words are there. */
static void read_until(int fd, vv_buf *out, const char *words)
{
    for (;;) {
        vv_buf_append_u8(out, 0);
        out->len--;
        if (out->len > 0 && strstr((const char *)out->data, words) != NULL)
            return;
        uint8_t *to = vv_buf_reserve(out, 4096);
        assert_non_null(to);
        ssize_t n = svc_suite_recv(fd, to, 4096);
        if (n <= 0)
            fail_msg("'%s' did not come: %.*s", words, (int)out->len, (const char *)out->data);
        vv_buf_advance(out, (size_t)n);
    }
}

/* More clients follow than the pool has threads. */
static void test_who_follows_holds_no_thread(void **state)
{
    (void)state;
    enum { CLIENTS = 8 };
    svc_suite s;
    int fd[CLIENTS];
    vv_buf out[CLIENTS];
    svc_suite_start(&s, &(svc_suite_options){.pool_threads = 1});
    append_text(&s, "before");
    for (int i = 0; i < CLIENTS; i++) {
        static const char jsonl[] = "GET " S "tail?from=0 HTTP/1.1\r\nHost: x\r\n\r\n";
        static const char sse[] = "GET " S "tail?from=0&format=sse HTTP/1.1\r\nHost: x\r\n\r\n";
        vv_buf_init(&out[i], 1 << 20);
        fd[i] = svc_suite_dial(&s);
        svc_suite_send(fd[i], i % 2 == 0 ? vv_slice_str(jsonl) : vv_slice_str(sse));
        read_until(fd[i], &out[i], "\"value\":\"before\"}\n");
    }
    append_text(&s, "after");
    for (int i = 0; i < CLIENTS; i++) {
        read_until(fd[i], &out[i], "\"value\":\"after\"}\n");
        if (i % 2 != 0) {
            read_until(fd[i], &out[i], "text/event-stream");
            read_until(fd[i], &out[i], "id: 1\ndata: {\"offset\":1,");
        }
        (void)close(fd[i]);
        vv_buf_fini(&out[i]);
    }
    svc_suite_stop(&s);
}

/* It ends by itself, in a clean end, whether something came or not. */
static void test_a_tail_ends(void **state)
{
    (void)state;
    svc_suite s;
    vv_buf out;
    svc_suite_start(&s, NULL);
    vv_buf_init(&out, 1 << 20);
    append_text(&s, "one");
    append_text(&s, "two");
    get(&s, S "tail?timeout=50ms", &out);
    assert_string_equal((const char *)out.data, "");
    get(&s, S "tail?timeout=50ms&from=earliest", &out);
    assert_non_null(strstr((const char *)out.data, "\"value\":\"two\"}\n"));
    get(&s, S "tail?timeout=1h&from=0&limit=2", &out);
    assert_non_null(strstr((const char *)out.data, "\"value\":\"two\"}\n"));
    get(&s, S "tail?timeout=1ms&limit=2 HTTP/1.1\r\nLast-Event-ID: 0\r\nX-Rest:", &out);
    assert_null(strstr((const char *)out.data, "\"value\":\"one\""));
    assert_non_null(strstr((const char *)out.data, "\"value\":\"two\""));
    vv_buf_fini(&out);
    svc_suite_stop(&s);
}

/* ---- what waits for what ---- */

typedef struct holder {
    _Atomic bool opens;
    _Atomic int left;
} holder;

static void hold(void *arg)
{
    holder *h = arg;
    while (!atomic_load(&h->opens))
        (void)usleep(200);
    atomic_fetch_sub(&h->left, 1);
}

/* Bodies are read by the workers of messages, in the order of arrival, whatever the pool does. */
static void test_an_append_needs_no_thread_of_the_pool(void **state)
{
    (void)state;
    enum { THREADS = 2 };
    svc_suite s;
    holder h = {.left = THREADS};
    svc_suite_start(&s, &(svc_suite_options){.pool_threads = 1});
    append_text(&s, "first"); /* makes the table */
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(srv_pool_submit_point(s.n.pool, hold, &h), VV_OK);
    for (int i = 0; i < 10; i++)
        append_text(&s, "x");
    assert_int_equal(atomic_load(&h.left), THREADS);
    atomic_store(&h.opens, true);
    svc_suite_stop(&s);
}

/* Who reads what lies in objects alone waits for the object store; who reads fresh messages does
 * not wait for him. */
static void test_who_waits_for_objects_holds_nobody_back(void **state)
{
    (void)state;
    static const char cold[] = "GET " S "read?from=0&limit=1 HTTP/1.1\r\nHost: x\r\n\r\n";
    svc_suite s;
    vv_env env = {.clock = vv_clock_real(), .threads = vv_threads_real()};
    objs_bucket *bucket = objs_bucket_create();
    vv_object_options objects_opt = VV_OBJECT_OPTIONS_INIT;
    vv_tier_options tier = {.size = sizeof tier, .rule = {.local_ns = -1}};
    vv_error err = {0};
    vv_table *table = NULL;
    vv_buf out;
    char byte = 0;
    objects_opt.max_retries = 100000; /* as long as the outage lasts */
    objects_opt.initial_backoff_ms = 2;
    objects_opt.max_backoff_ms = 20;
    objects_opt.breaker_failures = 0;
    assert_ok(objs_open_bucket(&env, bucket, &objects_opt, &tier.objects, &err), err);
    svc_suite_start(&s, &(svc_suite_options){.pool_threads = 1, .tier = &tier});
    append_text(&s, "old");
    assert_ok(vv_table_open(s.n.db, GATE_NAME_DEFAULT, "messages", &table, &err), err);
    assert_ok(vv_tier_run(s.n.db, table, &err), err);
    vv_table_close(table);
    objs_bucket_set(bucket, &(objs_memory_options){.outage = true});
    append_text(&s, "fresh");
    int fd = svc_suite_dial(&s);
    svc_suite_send(fd, vv_slice_str(cold));
    while (objs_bucket_requests(bucket) == 0)
        (void)usleep(200);
    expect(&s, "GET", S "read?from=1&limit=1", NULL, 200, "\"value\":\"fresh\"}");
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
    objs_bucket_set(bucket, &(objs_memory_options){.outage = false});
    vv_buf_init(&out, 1 << 16);
    read_until(fd, &out, "\"value\":\"old\"}");
    vv_buf_fini(&out);
    (void)close(fd);
    svc_suite_stop(&s);
    vv_object_store_close(tier.objects);
    objs_bucket_destroy(bucket);
}

static void test_positions_and_status(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    for (int i = 0; i < 5; i++)
        append_text(&s, "x");
    expect(&s, "POST", S "positions?name=c&offset=3&durability=sync", "", 200, "{\"offset\":3}");
    expect(&s, "POST", S "positions?name=c&offset=2", "", 409, "stands at 3 already");
    expect(&s, "POST", S "positions?name=c", "", 400, "offset=... is needed");
    expect(&s, "POST", S "positions?offset=1", "", 400, "name=... is needed");
    expect(&s, "GET", S "positions", NULL, 200,
           "{\"positions\":[{\"name\":\"c\",\"partition\":0,\"offset\":3,\"lag\":2,\"committed\":");
    expect(&s, "GET", S "positions?name=c", NULL, 200, "\"offset\":3");
    expect(&s, "GET", S "positions?name=d", NULL, 404, "there is no position 'd'");
    expect(&s, "GET", S "read?from=%40c&limit=1", NULL, 200, "\"offset\":3");
    expect(&s, "POST", S "positions/reset?name=c&from=earliest", "", 200, "{\"offset\":0}");
    expect(&s, "POST", S "positions/reset?name=c", "", 400, "from=... is needed");
    expect(&s, "DELETE", S "positions?name=c", NULL, 200, "{}");
    expect(&s, "DELETE", S "positions?name=c", NULL, 404, NULL);
    expect(
        &s, "GET", S "status", NULL, 200,
        "{\"partitions\":[{\"partition\":0,\"first_offset\":0,\"next_offset\":5,\"messages\":5,");
    svc_suite_stop(&s);
}

static void test_positions_come_in_pages(void **state)
{
    (void)state;
    enum { COUNT = 2500 };
    svc_suite s;
    vv_table *table = NULL;
    vv_buf out;
    char name[128];
    svc_suite_start(&s, NULL);
    vv_buf_init(&out, 1 << 20);
    append_text(&s, "x");
    assert_ok(vv_table_open(s.n.db, GATE_NAME_DEFAULT, "messages", &table, &s.err), s.err);
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(name, sizeof name, "%0100d", i);
        assert_ok(vv_stream_commit(table, 0, vv_slice_str(name), 0, VV_DURABLE_OS, &s.err), s.err);
    }
    vv_table_close(table);
    int count = 0;
    char path[256] = S "positions";
    for (bool more = true; more;) {
        get(&s, path, &out);
        const char *at = (const char *)out.data;
        more = strstr(at, "],\"more\":true}") != NULL;
        assert_true(out.len < 300u << 10);
        for (; (at = strstr(at, "{\"name\":\"")) != NULL; count++) {
            at += strlen("{\"name\":\"");
            assert_int_equal(atoi(at + 90), count);
            (void)snprintf(path, sizeof path, S "positions?partition=0&after=%.100s", at);
        }
    }
    assert_int_equal(count, COUNT);
    vv_buf_fini(&out);
    svc_suite_stop(&s);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *verb, *path, *body;
        int status;
        const char *words;
    } rows[] = {
        {"GET", "read?tabel=x", NULL, 400, "did you mean table=...?"},
        {"GET", "read?limit=1&limit=2", NULL, 400, "limit is given twice"},
        {"GET", "read?limit=", NULL, 400, "it has no value"},
        {"GET", "read?limit=-1", NULL, 400, "limit: '-1' is no number"},
        {"GET", "read?from=soon", NULL, 400, "from: 'soon' is no offset"},
        {"GET", "read?timeout=1s", NULL, 400, "no such parameter"},
        {"GET", "read?format=xml", NULL, 400, "format: 'xml' is neither"},
        {"GET", "read?table=%zz", NULL, 400, "two digits"},
        {"GET", "read?partition=4294967296", NULL, 400, "partition: "},
        {"GET", "read?partition=7", NULL, 400, "there is no number 7"},
        {"GET", "read?from=%40nobody", NULL, 404, "nobody"},
        {"GET", "tail?timeout=2h", NULL, 400, "no duration up to 1h"},
        {"GET", "tail?timeout=0", NULL, 400, "no duration up to 1h"},
        {"GET", "status?table=none", NULL, 404, NULL},
        {"POST", "append", "", 400, "the body has no message"},
        {"POST", "append", "{\"valeu\":1}", 400, "there is no member \\\"valeu\\\""},
        {"POST", "append", "{\"value\":1", 400, "JSON at byte"},
        {"POST", "append", "7", 400, "message 0: it is a JSON object"},
        {"POST", "append", "{\"key\":7}", 400, "key is a string"},
        {"POST", "append", "{\"event\":\"now\"}", 400, "event is a time"},
        {"POST", "append", "{\"value_base64\":\"a\"}", 400, "is base64"},
        {"POST", "append", "{\"attributes\":{\"a\":[1]}}", 400, "an attribute is a string"},
        {"POST", "append", "{\"attributes\":{\"a\":{\"b\":1}}}", 400, "base64, time or f64"},
        {"POST", "append", "{\"attributes\":{\"a\":9223372036854775808}}", 400, "int64"},
        {"POST", "append", "{\"attributes\":{\"a\":1,\"a\":2}}", 400, "there twice"},
        {"POST", "append?durability=maybe", "{}", 400, "maybe"},
        {"POST", "append?from=1", "{}", 400, "no such parameter"},
        {"POST", "append?producer=p", "{}", 400, "sequence: a producer has to give it"},
        {"POST", "append?sequence=7", "{}", 400, "producer: a sequence is of one"},
    };
    svc_suite s;
    svc_suite_start(&s, NULL);
    append_text(&s, "x");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char path[128];
        (void)snprintf(path, sizeof path, S "%s", rows[i].path);
        expect(&s, rows[i].verb, path, rows[i].body, rows[i].status, rows[i].words);
    }
    expect(&s, "GET", S "status", NULL, 200, "\"messages\":1,");
    svc_suite_stop(&s);
}

/* ---- the scanner ---- */

static void test_json_is_scanned(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        vv_status want;
        svc_scan_kind kind;
    } cases[] = {
        {"", VV_NOT_FOUND, 0},
        {"  \n", VV_NOT_FOUND, 0},
        {"null", VV_OK, SVC_SCAN_NULL},
        {" -0 ", VV_OK, SVC_SCAN_INTEGER},
        {"1.5e-3", VV_OK, SVC_SCAN_NUMBER},
        {"\"a\\u20ac\\ud83d\\ude00\"", VV_OK, SVC_SCAN_STRING},
        {"{\"a\":[1,{}], \"b\" : null}", VV_OK, SVC_SCAN_OBJECT},
        {"[]", VV_OK, SVC_SCAN_ARRAY},
        {"01", VV_INVALID, 0},
        {"1.", VV_INVALID, 0},
        {"1e", VV_INVALID, 0},
        {"-", VV_INVALID, 0},
        {"nul", VV_INVALID, 0},
        {"\"a", VV_INVALID, 0},
        {"\"\\x\"", VV_INVALID, 0},
        {"\"\\u12\"", VV_INVALID, 0},
        {"\"\\ud800\"", VV_INVALID, 0},
        {"\"\\udc00\"", VV_INVALID, 0},
        {"\"\xff\"", VV_INVALID, 0},
        {"\"\n\"", VV_INVALID, 0},
        {"{\"a\"}", VV_INVALID, 0},
        {"{\"a\":1,}", VV_INVALID, 0},
        {"{1:2}", VV_INVALID, 0},
        {"[1,]", VV_INVALID, 0},
        {"[1 2]", VV_INVALID, 0},
        {"[", VV_INVALID, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        svc_scan scan = svc_scan_of(vv_slice_str(cases[i].text));
        svc_scan_value v = {.kind = SVC_SCAN_NULL};
        if (svc_scan_next(&scan, &v, NULL) != cases[i].want || v.kind != cases[i].kind)
            fail_msg("%s", cases[i].text);
    }
    char deep[2 * SVC_SCAN_DEPTH_MAX + 3];
    memset(deep, '[', sizeof deep);
    svc_scan scan = svc_scan_of(vv_slice_of(deep, sizeof deep));
    svc_scan_value v;
    assert_status(VV_INVALID, svc_scan_next(&scan, &v, NULL));
    vv_arena arena;
    vv_arena_init(&arena, 4096);
    scan = svc_scan_of(vv_slice_str("\"a\\\"\\u20ac\\ud83d\\ude00\\n\""));
    assert_status(VV_OK, svc_scan_next(&scan, &v, NULL));
    assert_true(
        vv_slice_eq(svc_scan_text(&v, &arena), vv_slice_str("a\"\xe2\x82\xac\xf0\x9f\x98\x80\n")));
    vv_arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_go_in_and_come_out),
        cmocka_unit_test(test_lines_of_text),
        cmocka_unit_test(test_who_follows_holds_no_thread),
        cmocka_unit_test(test_a_tail_ends),
        cmocka_unit_test(test_an_append_needs_no_thread_of_the_pool),
        cmocka_unit_test(test_who_waits_for_objects_holds_nobody_back),
        cmocka_unit_test(test_positions_and_status),
        cmocka_unit_test(test_positions_come_in_pages),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_json_is_scanned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
