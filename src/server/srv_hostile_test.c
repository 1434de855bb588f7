/*
 * srv_hostile_test.c - raw frames that no client would send. Each probe is followed by a good call
 * on a new connection: the server must have kept its head, and its memory.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "server/srv_fixture.h"

#define RST NGHTTP2_RST_STREAM
#define END_HEADERS NGHTTP2_FLAG_END_HEADERS
#define END_STREAM NGHTTP2_FLAG_END_STREAM

static size_t rss_kib(void)
{
    env_process_stats st;
    env_process_stats_read(&st);
    return (size_t)(st.rss_bytes / 1024);
}

static void good_call(fixture *f)
{
    cli *c = cli_open(f->bound, 0);
    cli_stream *s = cli_unary(c, "/test.Echo/Unary", vv_slice_str("ok"), NULL);
    assert_true(s->closed);
    assert_int_equal(s->grpc_status, 0);
    cli_close(c);
}

static uint32_t goaway_code(vv_slice in)
{
    uint32_t stream;
    vv_slice p;
    size_t last = 0;
    while (raw_find_frame(in, NGHTTP2_GOAWAY, last, &stream, &p))
        last++;
    if (last == 0 || !raw_find_frame(in, NGHTTP2_GOAWAY, last - 1, &stream, &p) || p.len < 8)
        return UINT32_MAX;
    return (uint32_t)p.data[4] << 24 | (uint32_t)p.data[5] << 16 | (uint32_t)p.data[6] << 8 |
           p.data[7];
}

static bool has_reset(vv_slice in)
{
    uint32_t stream;
    vv_slice p;
    return raw_find_frame(in, RST, 0, &stream, &p);
}

/* Send everything, then read until the server closes or a while passed. True when it closed. */
static bool probe(fixture *f, const vv_buf *out, vv_buf *in, int ms)
{
    int fd = raw_connect(f->bound);
    (void)raw_write(fd, out->data, out->len); /* it may close before all is sent */
    bool closed = raw_read_all(fd, in, ms);
    (void)close(fd);
    return closed;
}

typedef struct bufs {
    vv_buf out, in;
} bufs;

static void bufs_init(bufs *b)
{
    vv_buf_init(&b->out, 64 * VV_MIB);
    vv_buf_init(&b->in, 64 * VV_MIB);
    raw_preface(&b->out);
}

static void bufs_fini(bufs *b)
{
    assert_int_equal(b->out.status, VV_OK);
    vv_buf_fini(&b->out);
    vv_buf_fini(&b->in);
}

static void test_floods_are_cut_off(void **state)
{
    (void)state;
    static const uint8_t zeros[64];
    const struct {
        const char *name;
        uint8_t type, flags;
        size_t len;
        unsigned count;
        uint32_t stream;
    } floods[] = {
        {"pings", NGHTTP2_PING, 0, 8, 20000, 0},
        {"settings", NGHTTP2_SETTINGS, 0, 0, 20000, 0},
        {"priorities", NGHTTP2_PRIORITY, 0, 5, 20000, 3},
        {"empty data", NGHTTP2_DATA, 0, 0, 20000, 1},
    };
    fixture f = {0};
    fixture_start(&f);
    for (size_t i = 0; i < ARRAY_LEN(floods); i++) {
        bufs b;
        bufs_init(&b);
        raw_headers(&b.out, 1, "/test.Echo/Never", END_HEADERS);
        for (unsigned n = 0; n < floods[i].count; n++)
            raw_frame(&b.out, floods[i].type, floods[i].flags, floods[i].stream, zeros,
                      floods[i].len);
        if (!probe(&f, &b.out, &b.in, 3000))
            fail_msg("%s: not cut off", floods[i].name);
        bufs_fini(&b);
        good_call(&f);
    }
    assert_true(fixture_stats(&f).protocol_errors > 0);
    fixture_stop(&f);
}

/* The same pings, slowly and with their answers read: still a flood once the allowance is used. */
static void test_patient_ping_flood(void **state)
{
    (void)state;
    fixture f = {0};
    fixture_start(&f);
    bufs b;
    bufs_init(&b);
    int fd = raw_connect(f.bound);
    assert_true(raw_write(fd, b.out.data, b.out.len));
    bool closed = false;
    for (int n = 0; n < 60 && !closed; n++) {
        vv_buf pings;
        vv_buf_init(&pings, VV_MIB);
        for (int k = 0; k < 50; k++)
            raw_frame(&pings, NGHTTP2_PING, 0, 0, "12345678", 8);
        closed = !raw_write(fd, pings.data, pings.len) || raw_read_all(fd, &b.in, 5);
        vv_buf_fini(&pings);
    }
    assert_true(closed);
    assert_int_equal(goaway_code(vv_buf_slice(&b.in)), NGHTTP2_ENHANCE_YOUR_CALM);
    (void)close(fd);
    bufs_fini(&b);
    good_call(&f);
    fixture_stop(&f);
}

static void test_rapid_reset(void **state)
{
    (void)state;
    fixture f = {0};
    fixture_start(&f);
    bufs b;
    bufs_init(&b);
    for (uint32_t n = 0; n < 1200; n++) {
        raw_headers(&b.out, 1 + 2 * n, "/test.Echo/Never", END_HEADERS);
        raw_frame(&b.out, RST, 0, 1 + 2 * n, "\0\0\0\x08", 4);
    }
    assert_true(probe(&f, &b.out, &b.in, 3000));
    assert_true(goaway_code(vv_buf_slice(&b.in)) != NGHTTP2_NO_ERROR);
    assert_true(WITHIN(1000, fixture_stats(&f).calls == 0));
    bufs_fini(&b);
    good_call(&f);
    fixture_stop(&f);
}

static void test_continuation_flood(void **state)
{
    (void)state;
    fixture f = {0};
    fixture_start(&f);
    bufs b;
    bufs_init(&b);
    raw_headers(&b.out, 1, "/test.Echo/Never", 0); /* and never END_HEADERS */
    for (int n = 0; n < 5000; n++)
        raw_frame(&b.out, NGHTTP2_CONTINUATION, 0, 1, "\0\1a\1b", 5);
    assert_true(probe(&f, &b.out, &b.in, 3000));
    bufs_fini(&b);
    good_call(&f);
    fixture_stop(&f);
}

static void test_headers_over_the_limit(void **state)
{
    (void)state;
    fixture f = {.opt.header_max = 4096};
    fixture_start(&f);
    cli *c = cli_open(f.bound, 0);
    static char value[3000];
    memset(value, 'v', sizeof value - 1);
    const char *const fits[] = {"x-a", value, NULL};
    const char *const over[] = {"x-a", value, "x-b", value, NULL};
    assert_int_equal(cli_unary(c, "/test.Echo/Unary", vv_slice_str("x"), fits)->grpc_status, 0);
    cli_stream *s = cli_unary(c, "/test.Echo/Unary", vv_slice_str("x"), over);
    assert_true(s->closed);
    assert_int_equal(s->http_status, 431);
    cli_close(c);
    good_call(&f);
    fixture_stop(&f);
}

static void test_frames_out_of_place(void **state)
{
    (void)state;
    const struct {
        const char *name;
        uint8_t type, flags;
        uint32_t stream;
        const char *payload;
        size_t len;
    } frames[] = {
        {"data on an idle stream", NGHTTP2_DATA, 0, 5, "x", 1},
        {"data on stream 0", NGHTTP2_DATA, 0, 0, "x", 1},
        {"headers on stream 0", NGHTTP2_HEADERS, END_HEADERS, 0, "\x82", 1},
        {"headers on an even stream", NGHTTP2_HEADERS, END_HEADERS, 2, "\x82", 1},
        {"hpack index far out", NGHTTP2_HEADERS, END_HEADERS, 3, "\xff\xff\xff\x07", 4},
        {"hpack string without end", NGHTTP2_HEADERS, END_HEADERS, 3, "\x40\x7f\xff\xff", 4},
        {"window update by zero", NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\0\0", 4},
        {"window update too short", NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\0", 3},
        {"window overflow by credit", NGHTTP2_WINDOW_UPDATE, 0, 0, "\x7f\xff\xff\xff", 4},
        {"ping of the wrong size", NGHTTP2_PING, 0, 0, "1234567", 7},
        {"settings of the wrong size", NGHTTP2_SETTINGS, 0, 0, "12345", 5},
        {"settings on a stream", NGHTTP2_SETTINGS, 0, 1, NULL, 0},
        {"settings: initial window too large", NGHTTP2_SETTINGS, 0, 0, "\0\4\xff\xff\xff\xff", 6},
        {"settings: frame size too small", NGHTTP2_SETTINGS, 0, 0, "\0\5\0\0\0\1", 6},
        {"continuation without headers", NGHTTP2_CONTINUATION, END_HEADERS, 1, "\x82", 1},
        {"push promise by a client", NGHTTP2_PUSH_PROMISE, END_HEADERS, 1, "\0\0\0\2\x82", 5},
        {"reset of an idle stream", NGHTTP2_RST_STREAM, 0, 9, "\0\0\0\x08", 4},
        {"padding longer than the frame", NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, 1, "\x20x", 2},
    };
    fixture f = {0};
    fixture_start(&f);
    for (size_t i = 0; i < ARRAY_LEN(frames); i++) {
        bufs b;
        bufs_init(&b);
        raw_frame(&b.out, frames[i].type, frames[i].flags, frames[i].stream, frames[i].payload,
                  frames[i].len);
        if (!probe(&f, &b.out, &b.in, 3000))
            fail_msg("%s: the connection stayed", frames[i].name);
        if (goaway_code(vv_buf_slice(&b.in)) == NGHTTP2_NO_ERROR)
            fail_msg("%s: no error was named", frames[i].name);
        bufs_fini(&b);
    }
    good_call(&f);
    fixture_stop(&f);
}

/* Headers that never end block everything behind them: after a while the connection goes. */
static void test_unfinished_headers_time_out(void **state)
{
    (void)state;
    fixture f = {.opt.body_timeout_ns = 200 * VV_NS_PER_MS};
    fixture_start(&f);
    bufs b;
    bufs_init(&b);
    raw_headers(&b.out, 1, "/test.Echo/Never", 0);
    assert_true(probe(&f, &b.out, &b.in, 3000));
    assert_true(WITHIN(1000, fixture_stats(&f).calls == 0));
    bufs_fini(&b);
    good_call(&f);
    fixture_stop(&f);
}

/* Without descriptors the server waits, and goes on when there are some again. */
static void test_descriptors_run_out(void **state)
{
    (void)state;
    fixture f = {0};
    fixture_start(&f);
    good_call(&f);
    struct rlimit before, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int fds[8];
    fds[0] = raw_connect(f.bound);
    assert_true(WITHIN(1000, fixture_stats(&f).connections == 1));
    int next = dup(fds[0]); /* the lowest free one */
    assert_true(next >= 0);
    (void)close(next);
    for (size_t i = 1; i < ARRAY_LEN(fds); i++) /* ours are open before the limit falls */
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    low = before;
    low.rlim_cur = (rlim_t)fds[7] + 1;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons(f.bound),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (size_t i = 1; i < ARRAY_LEN(fds); i++)
        assert_int_equal(connect(fds[i], (struct sockaddr *)&addr, sizeof addr), 0);
    (void)poll(NULL, 0, 300);
    assert_int_equal(fixture_stats(&f).connections, 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(WITHIN(2000, fixture_stats(&f).connections == ARRAY_LEN(fds)));
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        (void)close(fds[i]);
    good_call(&f);
    fixture_stop(&f);
}

static void test_frame_over_the_size(void **state)
{
    (void)state;
    fixture f = {0};
    fixture_start(&f);
    bufs b;
    bufs_init(&b);
    raw_headers(&b.out, 1, "/test.Echo/Stream", END_HEADERS);
    uint8_t head[9] = {0x10, 0, 1, NGHTTP2_DATA, 0, 0, 0, 0, 1}; /* 1 MiB and a byte */
    vv_buf_append(&b.out, head, sizeof head);
    assert_true(probe(&f, &b.out, &b.in, 3000));
    assert_int_equal(goaway_code(vv_buf_slice(&b.in)), NGHTTP2_FRAME_SIZE_ERROR);
    bufs_fini(&b);
    good_call(&f);
    fixture_stop(&f);
}

/* More data than any window allows, to a handler that keeps what it gets. */
static void test_window_overflow(void **state)
{
    (void)state;
    fixture f = {0};
    fixture_start(&f);
    static uint8_t data[1024 * 1024];
    bufs b;
    bufs_init(&b);
    raw_headers(&b.out, 1, "/test.Echo/Keep", END_HEADERS);
    for (size_t at = 0; at < sizeof data; at += 65536)
        memcpy(data + at, "\0\0\0\xff\xfb", 5); /* a message of 65531 bytes, to be kept */
    for (int n = 0; n < 8; n++)
        raw_frame(&b.out, NGHTTP2_DATA, 0, 1, data, sizeof data);
    /* Our settings hold once they are acknowledged. */
    int fd = raw_connect(f.bound);
    assert_true(raw_write(fd, b.out.data, 24 + 9));
    assert_false(raw_read_all(fd, &b.in, 50));
    vv_buf ack;
    vv_buf_init(&ack, 64);
    raw_frame(&ack, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, NULL, 0);
    assert_true(raw_write(fd, ack.data, ack.len));
    (void)raw_write(fd, b.out.data + 24 + 9, b.out.len - 24 - 9);
    (void)raw_read_all(fd, &b.in, 500);
    assert_true(f.echo.kept == 64 || f.echo.closed == 1);
    vv_buf_fini(&ack);
    (void)close(fd);
    assert_true(has_reset(vv_buf_slice(&b.in)) ||
                goaway_code(vv_buf_slice(&b.in)) == NGHTTP2_FLOW_CONTROL_ERROR);
    bufs_fini(&b);
    good_call(&f);
    fixture_stop(&f);
}

static void test_a_huge_message_costs_nothing(void **state)
{
    (void)state;
    fixture f = {.opt.message_max = 64 * 1024 * 1024};
    fixture_start(&f);
    good_call(&f);
    size_t before = rss_kib();
    cli *c = cli_open(f.bound, 0);
    cli_stream *s = cli_call(c, "/test.Echo/Unary", NULL);
    cli_send(c, s, BYTES(0, 0x11, 0xe1, 0xa3, 0x00), false); /* 300 MB */
    assert_true(cli_wait(c, s, 2000));
    assert_int_equal(s->grpc_status, 8);
    assert_true(!RSS_COUNTS || rss_kib() < before + 4096);
    /* announced and sent are different things: no memory is taken ahead of the bytes */
    for (int i = 0; i < 100; i++) {
        s = cli_call(c, "/test.Echo/Unary", NULL);
        cli_send(c, s, BYTES(0, 0x03, 0xff, 0xff, 0xff, 'x'), false); /* 64 MiB less a bit */
    }
    (void)cli_pump(c, 100);
    assert_true(!RSS_COUNTS || rss_kib() < before + 16 * 1024);
    cli_close(c);
    good_call(&f);
    fixture_stop(&f);
}

static void test_what_is_not_a_preface(void **state)
{
    (void)state;
    const struct {
        const char *bytes;
        const char *want; /* in the answer; NULL: closed without one */
    } cases[] = {
        {"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\nxxxxxxxxxxxxxxxxxxx", NULL},
        {"PRI / HTTP/1.1\r\nHost: h\r\n\r\n", NULL},
        {"PRX * HTTP/2.0\r\n\r\n", "505"},
        {"\x16\x03\x01\x02\x01\x01\xfc\x03\x03\n\n", "400"}, /* like TLS */
        {"\n\n", "400"},
    };
    fixture f = {0};
    fixture_start(&f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bufs b;
        bufs_init(&b);
        vv_buf_reset(&b.out);
        vv_buf_append_str(&b.out, cases[i].bytes);
        assert_true(probe(&f, &b.out, &b.in, 3000));
        if (cases[i].want != NULL)
            assert_non_null(memmem(b.in.data, b.in.len, cases[i].want, 3));
        bufs_fini(&b);
    }
    good_call(&f);
    fixture_stop(&f);
}

static void test_random_bytes(void **state)
{
    (void)state;
    fixture f = {0};
    fixture_start(&f);
    uint64_t x = vv_test_seed(0x686f7374696c65ULL);
    for (uint64_t n = vv_test_count("VV_HOSTILE_ROUNDS", 100); n > 0; n--) {
        bufs b;
        bufs_init(&b);
        raw_headers(&b.out, 1, "/test.Echo/Stream", END_HEADERS);
        size_t from = n % 2 == 0 ? 24 : 33; /* behind the preface, or inside a valid beginning */
        for (size_t i = 0; i < 20; i++) {
            x = x * 6364136223846793005ULL + 1442695040888963407ULL;
            b.out.data[from + (x >> 33) % (b.out.len - from)] = (uint8_t)(x >> 56);
        }
        int fd = raw_connect(f.bound);
        (void)raw_write(fd, b.out.data, b.out.len);
        (void)raw_read_all(fd, &b.in, 5);
        (void)close(fd);
        bufs_fini(&b);
    }
    good_call(&f);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_floods_are_cut_off),
        cmocka_unit_test(test_patient_ping_flood),
        cmocka_unit_test(test_rapid_reset),
        cmocka_unit_test(test_continuation_flood),
        cmocka_unit_test(test_headers_over_the_limit),
        cmocka_unit_test(test_frames_out_of_place),
        cmocka_unit_test(test_unfinished_headers_time_out),
        cmocka_unit_test(test_descriptors_run_out),
        cmocka_unit_test(test_frame_over_the_size),
        cmocka_unit_test(test_window_overflow),
        cmocka_unit_test(test_a_huge_message_costs_nothing),
        cmocka_unit_test(test_what_is_not_a_preface),
        cmocka_unit_test(test_random_bytes),
    };
    if (getenv("CMOCKA_TEST_FILTER") != NULL)
        cmocka_set_test_filter(getenv("CMOCKA_TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
