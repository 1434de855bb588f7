/*
 * http1_test.c - HTTP/1.1 over real loopback sockets.
 */
#include <stdio.h>
#include <sys/socket.h>

#include "server/srv_fixture.h"

/* Send text, read until the server closes, look for each of wants (NULL ends) in order. */
static void exchange(fixture *f, const char *text, size_t chunk, const char *const *wants)
{
    int fd = raw_connect(f->bound);
    vv_buf in;
    vv_buf_init(&in, 16 * VV_MIB);
    size_t len = strlen(text);
    for (size_t at = 0; at < len; at += chunk)
        (void)raw_write(fd, text + at, len - at < chunk ? len - at : chunk);
    (void)shutdown(fd, SHUT_WR);
    assert_true(raw_read_all(fd, &in, 5000));
    const uint8_t *from = in.data;
    for (; *wants != NULL; wants++) {
        size_t left = in.len - (size_t)(from - in.data);
        from = in.len == 0 ? NULL : memmem(from, left, *wants, strlen(*wants));
        if (from == NULL)
            fail_msg("no '%s' in the answer to '%s': %.*s", *wants, text, (int)in.len,
                     (const char *)in.data);
        from += strlen(*wants);
    }
    vv_buf_fini(&in);
    (void)close(fd);
}

#define WANT(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_requests(void **state)
{
    (void)state;
    const struct {
        const char *in;
        const char *want[5];
    } cases[] = {
        {"GET /hello HTTP/1.1\r\nHost: h\r\n\r\n",
         {"HTTP/1.1 200 OK\r\n", "Date: ", "Content-Length: 6\r\n", "X-Extra: yes\r\n",
          "\r\nhello\n"}},
        {"HEAD /hello HTTP/1.1\r\nHost: h\r\n\r\n",
         {"200 OK", "Content-Length: 6\r\n", "\r\n\r\n"}},
        {"GET /hello?a=b HTTP/1.1\r\nHost: h\r\n\r\n", {"200 OK"}},
        {"GET /hello HTTP/1.0\r\n\r\n", {"200 OK", "Connection: close\r\n", "hello\n"}},
        {"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", {"Connection: keep-alive\r\n"}},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n12345",
         {"200", "\r\n\r\n12345"}},
        {"POST /echo HTTP/1.1\r\nHost: h\r\n\r\n", {"200", "Content-Length: 0\r\n"}},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
         "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n",
         {"Content-Length: 7\r\n", "\r\n\r\nabcdefg"}},
        {"PUT /kv/a%20b/c HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx",
         {"201 Created", "\r\n\r\n/kv/a%20b/c"}},
        {"GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n",
         {"404 Not Found", "Content-Type: application/json\r\n",
          "{\"error\":{\"code\":5,\"status\":\"NOT_FOUND\",\"message\":\"nothing is served at this "
          "path\"}}\n"}},
        {"DELETE /kv/a HTTP/1.1\r\nHost: h\r\n\r\n", {"405 Method Not Allowed", "Allow: PUT\r\n"}},
        {"OPTIONS /hello HTTP/1.1\r\nHost: h\r\n\r\n", {"405", "Allow: GET\r\n"}},
        {"POST /test.Echo/Unary HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", {"415"}},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100001\r\n\r\n",
         {"413", "Connection: close\r\n"}},
        {"BAD\r\n\r\n",
         {"400", "Content-Type: application/json\r\n", "Connection: close\r\n",
          "{\"error\":{\"code\":3,\"status\":\"INVALID\",\"message\":\"Bad Request\"}}\n"}},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", {"400"}},
        {"GET / HTTP/3.0\r\nHost: h\r\n\r\n", {"505"}},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", {"501"}},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
         "0\r\n\r\nGET /hello HTTP/1.1\r\nHost: h\r\n\r\n",
         {"400"}},
    };
    fixture f = {.opt.message_max = 100000};
    fixture_start(&f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *want[6] = {0};
        memcpy(want, cases[i].want, sizeof cases[i].want);
        exchange(&f, cases[i].in, SIZE_MAX / 2, want);
        exchange(&f, cases[i].in, 1, want); /* and byte by byte */
    }
    srv_stats st = fixture_stats(&f);
    assert_true(st.http_status[2] > 0 && st.http_status[4] > 0 && st.http_status[5] > 0);
    fixture_stop(&f);
}

static void test_pipelining(void **state)
{
    (void)state;
    fixture f = {0};
    fixture_start(&f);
    vv_buf text;
    vv_buf_init(&text, VV_MIB);
    for (int i = 0; i < 300; i++)
        vv_buf_printf(&text,
                      "PUT /kv/%03d HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
                      "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                      "1\r\nz\r\n0\r\n\r\n",
                      i);
    vv_buf_append_u8(&text, 0);
    char names[300][16];
    const char *want[301] = {0};
    for (int i = 0; i < 300; i++) {
        (void)snprintf(names[i], sizeof names[i], "\r\n\r\n/kv/%03d", i);
        want[i] = names[i];
    }
    exchange(&f, (const char *)text.data, SIZE_MAX / 2, want);
    exchange(&f, (const char *)text.data, 777, want);
    assert_int_equal(f.echo.messages, 1200);
    vv_buf_fini(&text);
    fixture_stop(&f);
}

static void test_keep_alive_and_expect(void **state)
{
    (void)state;
    fixture f = {0};
    fixture_start(&f);
    int fd = raw_connect(f.bound);
    vv_buf in;
    vv_buf_init(&in, VV_MIB);
    const char *get = "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n";
    for (int i = 0; i < 5; i++) {
        vv_buf_reset(&in);
        assert_true(raw_write(fd, get, strlen(get)));
        assert_true(raw_read_until(fd, &in, "hello\n", 2000));
    }
    const char *post = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n"
                       "Expect: 100-continue\r\n\r\n";
    vv_buf_reset(&in);
    assert_true(raw_write(fd, post, strlen(post)));
    assert_true(raw_read_until(fd, &in, "HTTP/1.1 100 Continue\r\n\r\n", 2000));
    assert_true(raw_write(fd, "body", 4));
    assert_true(raw_read_until(fd, &in, "\r\n\r\nbody", 2000));
    assert_int_equal(memcmp(in.data + 25, "HTTP/1.1 200 OK", 15), 0); /* asked to go on once */
    assert_int_equal(fixture_stats(&f).connections_total, 1);
    const char *last = "GET /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    vv_buf_reset(&in);
    assert_true(raw_write(fd, last, strlen(last)));
    assert_true(raw_read_all(fd, &in, 2000));
    (void)close(fd);
    vv_buf_fini(&in);
    fixture_stop(&f);
}

/* Too large a body is refused before it is read, and the client sees why although it still sends.
 */
static void test_large_bodies(void **state)
{
    (void)state;
    fixture f = {.opt.message_max = 2000000};
    fixture_start(&f);
    const struct {
        const char *head;
        size_t body;
        const char *want;
    } cases[] = {
        {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\nConnection: close\r\n\r\n",
         2000000, "HTTP/1.1 200"},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 8000000\r\n\r\n", 8000000, "413"},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n7a1200\r\n", 8000000,
         "413"},
        {"POST /large HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 0,
         "Content-Length: 3000000"},
    };
    static uint8_t body[8000000];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int fd = raw_connect(f.bound);
        vv_buf in;
        vv_buf_init(&in, 16 * VV_MIB);
        assert_true(raw_write(fd, cases[i].head, strlen(cases[i].head)));
        /* What is too much is thrown away for a while: a reset might overtake the answer. */
        assert_true(raw_write(fd, body, cases[i].body));
        assert_true(raw_read_all(fd, &in, 5000));
        assert_int_equal(raw_read_errno, 0);
        if (in.len == 0 || memmem(in.data, in.len, cases[i].want, strlen(cases[i].want)) == NULL)
            fail_msg("%zu: no %s", i, cases[i].want);
        if (i == 3)
            assert_true(in.len > 3000000);
        (void)close(fd);
        vv_buf_fini(&in);
    }
    assert_true(vv_budget_part_used(&f.budget, VV_BUDGET_NETWORK) < 100000);
    fixture_stop(&f);
}

static void test_long_heads(void **state)
{
    (void)state;
    fixture f = {.opt.header_max = 16384};
    fixture_start(&f);
    static char text[40000];
    (void)snprintf(text, sizeof text, "GET /%08000d HTTP/1.1\r\nHost: h\r\n\r\n", 1);
    exchange(&f, text, SIZE_MAX / 2, WANT("404"));
    (void)snprintf(text, sizeof text, "GET /%09000d HTTP/1.1\r\nHost: h\r\n\r\n", 1);
    exchange(&f, text, SIZE_MAX / 2, WANT("414"));
    (void)snprintf(text, sizeof text, "GET /%030000d", 1); /* without any end */
    exchange(&f, text, SIZE_MAX / 2, WANT("414"));
    (void)snprintf(text, sizeof text, "GET /hello HTTP/1.1\r\nHost: h\r\nX: %017000d\r\n\r\n", 1);
    exchange(&f, text, SIZE_MAX / 2, WANT("431"));
    (void)snprintf(text, sizeof text, "GET /hello HTTP/1.1\r\nHost: h\r\nX: %015000d\r\n\r\n", 1);
    exchange(&f, text, 1000, WANT("200"));
    fixture_stop(&f);
}

static void test_slow_requests(void **state)
{
    (void)state;
    fixture f = {.opt = {.handshake_timeout_ns = 200 * VV_NS_PER_MS,
                         .body_timeout_ns = 200 * VV_NS_PER_MS,
                         .idle_timeout_ns = 500 * VV_NS_PER_MS}};
    fixture_start(&f);
    const char *const starts[] = {
        "GET /hel",
        "GET /hello HTTP/1.1\r\nHost: h\r\n\r\nGET /hel", /* the second one */
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf",
    };
    for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
        int fd = raw_connect(f.bound);
        vv_buf in;
        vv_buf_init(&in, VV_MIB);
        int64_t began = cli_now_ms();
        assert_true(raw_write(fd, starts[i], strlen(starts[i])));
        assert_true(raw_read_all(fd, &in, 3000));
        assert_true(cli_now_ms() - began < 2000);
        assert_non_null(memmem(in.data, in.len, "408", 3));
        (void)close(fd);
        vv_buf_fini(&in);
    }
    int fd = raw_connect(f.bound); /* keep-alive, then silence */
    vv_buf in;
    vv_buf_init(&in, VV_MIB);
    const char *get = "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_true(raw_write(fd, get, strlen(get)));
    assert_true(raw_read_all(fd, &in, 3000));
    assert_null(memmem(in.data, in.len, "408", 3));
    (void)close(fd);
    vv_buf_fini(&in);
    fixture_stop(&f);
}

static void test_stop_closes_keep_alive_connections(void **state)
{
    (void)state;
    fixture f = {0};
    fixture_start(&f);
    int fd = raw_connect(f.bound);
    vv_buf in;
    vv_buf_init(&in, VV_MIB);
    const char *get = "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_true(raw_write(fd, get, strlen(get)));
    assert_true(raw_read_until(fd, &in, "hello\n", 2000));
    int64_t began = cli_now_ms();
    fixture_stop(&f);
    assert_true(cli_now_ms() - began < 3000);
    assert_true(raw_read_all(fd, &in, 100));
    (void)close(fd);
    vv_buf_fini(&in);
}

/* Read until a HEADERS frame is there. */
static bool read_headers(int fd, vv_buf *in)
{
    uint32_t stream;
    vv_slice payload;
    for (int i = 0; i < 100; i++) {
        if (raw_find_frame(vv_buf_slice(in), NGHTTP2_HEADERS, 0, &stream, &payload))
            return true;
        if (raw_read_all(fd, in, 10))
            return false;
    }
    return false;
}

/* 1,000 idle connections of each kind cost little. */
static void test_idle_connections_are_small(void **state)
{
    (void)state;
    fixture f = {.opt.connections_max = 2000};
    fixture_start(&f);
    static int fds[1000];
    vv_buf in, hello;
    vv_buf_init(&in, VV_MIB);
    vv_buf_init(&hello, VV_MIB);
    raw_preface(&hello);
    raw_headers(&hello, 1, "/test.Echo/Unary", NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM);
    const char *get = "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n";
    env_process_stats before, after;
    env_process_stats_read(&before);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = raw_connect(f.bound);
        assert_true(i % 2 == 0 ? raw_write(fds[i], get, strlen(get))
                               : raw_write(fds[i], hello.data, hello.len));
        vv_buf_reset(&in);
        assert_true(i % 2 == 0 ? raw_read_until(fds[i], &in, "hello\n", 2000)
                               : read_headers(fds[i], &in));
    }
    assert_true(WITHIN(1000, fixture_stats(&f).calls == 0));
    assert_int_equal(fixture_stats(&f).connections, 1000);
    env_process_stats_read(&after);
    assert_true(!RSS_COUNTS || after.rss_bytes - before.rss_bytes < 40 * VV_MIB);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        (void)close(fds[i]);
    vv_buf_fini(&in);
    vv_buf_fini(&hello);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_pipelining),
        cmocka_unit_test(test_keep_alive_and_expect),
        cmocka_unit_test(test_large_bodies),
        cmocka_unit_test(test_long_heads),
        cmocka_unit_test(test_slow_requests),
        cmocka_unit_test(test_stop_closes_keep_alive_connections),
        cmocka_unit_test(test_idle_connections_are_small),
    };
    if (getenv("CMOCKA_TEST_FILTER") != NULL)
        cmocka_set_test_filter(getenv("CMOCKA_TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
