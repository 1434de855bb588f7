/*
 * srv_test.c - gRPC over real loopback sockets: what a well-behaved client sees.
 */
#include <zlib.h>

#include "server/grpc_frame.h"
#include "server/srv_fixture.h"

static void filled(uint8_t *to, size_t len)
{
    for (size_t i = 0; i < len; i++)
        to[i] = (uint8_t)(i * 31 + i / 251);
}

static void assert_echo(const cli_stream *s, vv_slice want)
{
    vv_slice got = {0};
    assert_true(s->closed);
    if (s->grpc_status != 0)
        fail_msg("status %d: %s", s->grpc_status, s->message);
    assert_true(grpc_message_at(&s->in, 0, &got));
    assert_true(vv_slice_eq(got, want));
}

static void test_unary(void **state)
{
    (void)state;
    static uint8_t large[10000000];
    static const size_t lens[] = {0, 1, 100, 16384, 70000, 300000, 5000000, sizeof large};
    fixture f = {0};
    fixture_start(&f);
    cli *c = cli_open(f.bound, 16 * 1024 * 1024);
    filled(large, sizeof large);
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        vv_slice m = vv_slice_of(large, lens[i]);
        assert_echo(cli_unary(c, "/test.Echo/Unary", m, NULL), m);
        assert_echo(cli_unary(c, "/test.Echo/Pool", m, NULL), m);
    }
    assert_string_equal(c->streams[0].type, "application/grpc");
    srv_stats st = fixture_stats(&f);
    assert_int_equal(st.status[0], 2 * ARRAY_LEN(lens));
    assert_true(WITHIN(1000, fixture_stats(&f).calls == 0));
    cli_close(c);
    fixture_stop(&f);
    assert_int_equal(f.echo.closed, 2 * ARRAY_LEN(lens));
}

static void test_many_calls_at_once(void **state)
{
    (void)state;
    fixture f = {0};
    fixture_start(&f);
    cli *c = cli_open(f.bound, 0);
    cli_stream *s[500];
    for (size_t i = 0; i < ARRAY_LEN(s); i++) {
        s[i] = cli_call(c, i % 2 == 0 ? "/test.Echo/Unary" : "/test.Echo/Pool", NULL);
        cli_message(c, s[i], vv_slice_of(&i, sizeof i), true);
    }
    for (size_t i = 0; i < ARRAY_LEN(s); i++) {
        assert_true(cli_wait(c, s[i], 10000));
        assert_echo(s[i], vv_slice_of(&i, sizeof i));
    }
    cli_close(c);
    fixture_stop(&f);
}

static void test_stream_keeps_order(void **state)
{
    (void)state;
    fixture f = {0};
    fixture_start(&f);
    cli *c = cli_open(f.bound, 0);
    cli_stream *s = cli_call(c, "/test.Echo/Stream", NULL);
    for (uint32_t i = 0; i < 3000; i++)
        cli_message(c, s, vv_slice_of(&i, sizeof i), i == 2999);
    assert_true(cli_wait(c, s, 10000));
    assert_int_equal(s->grpc_status, 0);
    for (uint32_t i = 0; i < 3000; i++) {
        vv_slice got = {0};
        assert_true(grpc_message_at(&s->in, i, &got));
        assert_true(vv_slice_eq(got, vv_slice_of(&i, sizeof i)));
    }
    assert_int_equal(f.echo.half_closed, 1);
    /* ping-pong: an answer comes before the next question */
    s = cli_call(c, "/test.Echo/Stream", NULL);
    for (uint32_t i = 1; i <= 50; i++) {
        cli_message(c, s, vv_slice_of(&i, sizeof i), false);
        assert_true(cli_wait_data(c, s, i * 9, 2000));
    }
    cli_send(c, s, vv_slice_of(NULL, 0), true);
    assert_true(cli_wait(c, s, 2000));
    assert_int_equal(s->grpc_status, 0);
    cli_close(c);
    fixture_stop(&f);
}

static void test_status_message_and_trailer(void **state)
{
    (void)state;
    fixture f = {0};
    fixture_start(&f);
    cli *c = cli_open(f.bound, 0);
    cli_stream *s = cli_unary(c, "/test.Echo/Fail", vv_slice_of(NULL, 0), NULL);
    assert_int_equal(s->grpc_status, 9);
    assert_string_equal(s->message, "not now: 100%25 of %C3%A9");
    assert_string_equal(s->trailer, "because");
    assert_int_equal(s->in.len, 0);
    cli_close(c);
    fixture_stop(&f);
}

static void test_refusals(void **state)
{
    (void)state;
    fixture f = {.opt.message_max = 1000};
    fixture_start(&f);
    cli *c = cli_open(f.bound, 0);
    const char *const snappy[] = {"grpc-encoding", "snappy", NULL};
    const char *const bad_timeout[] = {"grpc-timeout", "soon", NULL};
    vv_slice hi = vv_slice_str("hi");

    assert_int_equal(cli_unary(c, "/test.Echo/Nothing", hi, NULL)->grpc_status, 12);
    assert_int_equal(cli_unary(c, "/none", hi, NULL)->grpc_status, 12);
    assert_int_equal(cli_unary(c, "/test.Echo/Unary", hi, snappy)->grpc_status, 12);
    assert_int_equal(cli_unary(c, "/test.Echo/Unary", hi, bad_timeout)->grpc_status, 3);

    cli_stream *s = cli_call(c, "/test.Echo/Unary", NULL); /* two messages */
    cli_message(c, s, hi, false);
    cli_message(c, s, hi, true);
    assert_true(cli_wait(c, s, 2000));
    assert_int_equal(s->grpc_status, 12);

    s = cli_call(c, "/test.Echo/Unary", NULL); /* none */
    cli_send(c, s, vv_slice_of(NULL, 0), true);
    assert_true(cli_wait(c, s, 2000));
    assert_int_equal(s->grpc_status, 12);

    s = cli_call(c, "/test.Echo/Unary", NULL); /* cut short */
    cli_send(c, s, BYTES(0, 0, 0, 0, 9, 'x'), true);
    assert_true(cli_wait(c, s, 2000));
    assert_int_equal(s->grpc_status, 13);

    s = cli_call(c, "/test.Echo/Stream", NULL); /* compressed without an encoding */
    cli_send(c, s, BYTES(1, 0, 0, 0, 1, 'x'), true);
    assert_true(cli_wait(c, s, 2000));
    assert_int_equal(s->grpc_status, 13);

    s = cli_call(c, "/test.Echo/Unary", NULL); /* a flag nobody knows */
    cli_send(c, s, BYTES(5, 0, 0, 0, 1, 'x'), true);
    assert_true(cli_wait(c, s, 2000));
    assert_int_equal(s->grpc_status, 13);

    s = cli_request(c, "POST", "/test.Echo/Unary", "application/json");
    cli_message(c, s, hi, true);
    assert_true(cli_wait(c, s, 2000));
    assert_int_equal(s->http_status, 415);

    assert_int_equal(f.echo.messages, 0);
    assert_echo(cli_unary(c, "/test.Echo/Unary", hi, NULL),
                hi); /* and the connection still works */
    cli_close(c);
    fixture_stop(&f);
}

/* The limit is enforced at the prefix: nothing of the message is kept, and the call ends although
 * the client goes on sending. */
static void test_oversize_is_refused_at_the_prefix(void **state)
{
    (void)state;
    fixture f = {.opt.message_max = 1000};
    fixture_start(&f);
    cli *c = cli_open(f.bound, 0);
    const vv_slice prefixes[] = {BYTES(0, 0, 0, 0x03, 0xe9), BYTES(0, 0xff, 0xff, 0xff, 0xff)};
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        cli_stream *s = cli_call(c, "/test.Echo/Unary", NULL);
        cli_send(c, s, prefixes[i], false); /* and nothing behind it */
        assert_true(cli_wait(c, s, 2000));
        assert_int_equal(s->grpc_status, 8);
        assert_int_equal(s->error, NGHTTP2_NO_ERROR);
    }
    static uint8_t junk[3000000];
    cli_stream *s = cli_call(c, "/test.Echo/Stream", NULL);
    cli_send(c, s, prefixes[1], false);
    cli_send(c, s, vv_slice_of(junk, sizeof junk), false);
    assert_true(cli_wait(c, s, 2000));
    assert_int_equal(s->grpc_status, 8);
    uint8_t fits[1000] = {0};
    assert_echo(cli_unary(c, "/test.Echo/Unary", vv_slice_of(fits, sizeof fits), NULL),
                vv_slice_of(fits, sizeof fits));
    assert_true(vv_budget_part_used(&f.budget, VV_BUDGET_NETWORK) < 100000);
    cli_close(c);
    fixture_stop(&f);
}

static vv_slice compressed(int window_bits, size_t len, uint8_t *to, size_t max)
{
    z_stream z = {0};
    uint8_t *zeros = calloc(1, len + 1);
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, window_bits, 8, 0), Z_OK);
    z.next_in = zeros;
    z.avail_in = (uInt)len;
    z.next_out = to;
    z.avail_out = (uInt)max;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t made = max - z.avail_out;
    deflateEnd(&z);
    free(zeros);
    return vv_slice_of(to, made);
}

static cli_stream *send_compressed(cli *c, const char *encoding, vv_slice bytes)
{
    const char *const extra[] = {"grpc-encoding", encoding, NULL};
    uint8_t prefix[5];
    grpc_prefix_write(prefix, (uint32_t)bytes.len);
    prefix[0] = 1;
    cli_stream *s = cli_call(c, "/test.Echo/Unary", extra);
    cli_send(c, s, vv_slice_of(prefix, 5), false);
    cli_send(c, s, bytes, true);
    (void)cli_wait(c, s, 5000);
    return s;
}

static void test_compressed_messages(void **state)
{
    (void)state;
    static uint8_t zeros[100000], packed[1000000];
    fixture f = {.opt.message_max = 100000};
    fixture_start(&f);
    cli *c = cli_open(f.bound, 1000000);
    const struct {
        const char *encoding;
        int window_bits;
    } forms[] = {{"gzip", 31}, {"deflate", 15}};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        vv_slice in = compressed(forms[i].window_bits, sizeof zeros, packed, sizeof packed);
        assert_echo(send_compressed(c, forms[i].encoding, in), vv_slice_of(zeros, sizeof zeros));
        in = compressed(forms[i].window_bits, 0, packed, sizeof packed);
        assert_echo(send_compressed(c, forms[i].encoding, in), vv_slice_of(zeros, 0));
        /* bombs: one byte too many, and 60 MB out of 60 KB */
        in = compressed(forms[i].window_bits, sizeof zeros + 1, packed, sizeof packed);
        assert_int_equal(send_compressed(c, forms[i].encoding, in)->grpc_status, 8);
        in = compressed(forms[i].window_bits, 60000000, packed, sizeof packed);
        assert_int_equal(send_compressed(c, forms[i].encoding, in)->grpc_status, 8);
        in.len /= 2;
        packed[20] ^= 0xff;
        assert_int_equal(
            send_compressed(c, forms[i].encoding, vv_slice_of(packed, 50))->grpc_status, 13);
    }
    cli_close(c);
    fixture_stop(&f);
}

/* 8 MB out of some KB: eight times its size was counted when it came, so the rest needs room. */
static void test_what_inflates_needs_room(void **state)
{
    (void)state;
    static uint8_t packed[100000];
    enum { LEN = 8000000 };
    fixture f = {.opt.message_max = 2 * LEN};
    fixture_start(&f);
    f.budget.limit = LEN;
    cli *c = cli_open(f.bound, 4 * LEN);
    vv_slice in = compressed(31, LEN, packed, sizeof packed);
    assert_int_equal(send_compressed(c, "gzip", in)->grpc_status, 8);
    assert_int_equal(vv_budget_part_used(&f.budget, VV_BUDGET_NETWORK), 0);
    f.budget.limit = 8 * LEN;
    cli_stream *s = send_compressed(c, "gzip", in);
    assert_int_equal(s->grpc_status, 0);
    assert_int_equal(s->in.len, LEN + 5);
    cli_close(c);
    fixture_stop(&f);
}

static void test_deadline(void **state)
{
    (void)state;
    fixture f = {0};
    fixture_start(&f);
    cli *c = cli_open(f.bound, 0);
    const char *const soon[] = {"grpc-timeout", "100m", NULL};
    const char *const now[] = {"grpc-timeout", "0n", NULL};
    int64_t began = cli_now_ms();
    cli_stream *s = cli_call(c, "/test.Echo/Never", soon);
    cli_message(c, s, vv_slice_str("x"), false);
    assert_true(cli_wait(c, s, 2000));
    assert_int_equal(s->grpc_status, 4);
    assert_true(cli_now_ms() - began >= 99 && cli_now_ms() - began < 1000);
    s = cli_call(c, "/test.Echo/Never", now);
    assert_true(cli_wait(c, s, 2000));
    assert_int_equal(s->grpc_status, 4);
    const char *const late[] = {"grpc-timeout", "5S", NULL};
    assert_echo(cli_unary(c, "/test.Echo/Pool", vv_slice_str("x"), late), vv_slice_str("x"));
    assert_echo(cli_unary(c, "/test.Echo/Unary", vv_slice_str("x"), soon), vv_slice_str("x"));
    (void)cli_pump(c, 200); /* the timer of an answered call must not ring */
    assert_int_equal(fixture_stats(&f).deadline_exceeded, 2);
    assert_true(WITHIN(1000, f.echo.closed == 4));
    cli_close(c);
    fixture_stop(&f);
}

static void test_cancel(void **state)
{
    (void)state;
    fixture f = {0};
    fixture_start(&f);
    cli *c = cli_open(f.bound, 0);
    cli_stream *s = cli_call(c, "/test.Echo/Keep", NULL);
    cli_message(c, s, vv_slice_str("x"), false);
    (void)cli_pump(c, 50);
    assert_true(WITHIN(1000, f.echo.kept == 1));
    srv_call *call = f.echo.keeper;
    assert_true(srv_call_is_open(call));
    cli_reset(c, s);
    (void)cli_pump(c, 50);
    assert_true(WITHIN(1000, f.echo.closed == 1));
    assert_int_equal(f.echo.kept, 0);
    assert_false(srv_call_is_open(call));
    /* the handler may not know yet: all of this must be harmless */
    vv_buf body;
    vv_buf_init(&body, 100);
    vv_buf_append_str(&body, "late");
    srv_call_send(call, &body);
    srv_call_trailer(call, "a", "b");
    srv_call_finish(call, VV_OK, NULL);
    assert_int_equal(srv_call_queued(call), 0);
    assert_int_equal(fixture_stats(&f).resets, 1);
    assert_echo(cli_unary(c, "/test.Echo/Unary", vv_slice_str("y"), NULL), vv_slice_str("y"));
    cli_close(c);
    fixture_stop(&f);
}

/* A handler that keeps messages stops its sender: the window closes and opens again on release. */
static void test_back_pressure_on_the_sender(void **state)
{
    (void)state;
    static uint8_t piece[100000];
    fixture f = {0};
    fixture_start(&f);
    cli *c = cli_open(f.bound, 0);
    cli_stream *s = cli_call(c, "/test.Echo/Keep", NULL);
    const size_t count = 200; /* 20 MB through a 4 MiB window */
    for (size_t i = 0; i < count; i++)
        cli_message(c, s, vv_slice_of(piece, sizeof piece), i + 1 == count);
    (void)cli_pump(c, 300);
    uint64_t held = f.echo.kept;
    assert_true(held >= 35 && held <= 45);
    assert_true(vv_budget_part_used(&f.budget, VV_BUDGET_NETWORK) < 6000000);
    /* another call on the same connection goes on */
    assert_echo(cli_unary(c, "/test.Echo/Unary", vv_slice_str("y"), NULL), vv_slice_str("y"));
    cli_reset(c, s);
    (void)cli_pump(c, 50);
    assert_true(WITHIN(1000, f.echo.kept == 0));
    /* and when they are released, all of it comes through */
    s = cli_call(c, "/test.Echo/Stream", NULL);
    for (size_t i = 0; i < count; i++)
        cli_message(c, s, vv_slice_of(piece, sizeof piece), i + 1 == count);
    assert_true(cli_wait(c, s, 20000));
    assert_int_equal(s->grpc_status, 0);
    assert_int_equal(s->in.len, count * (sizeof piece + 5));
    cli_close(c);
    fixture_stop(&f);
}

/* Releases alone, by another thread, keep a stream going: small messages and large ones. */
static void test_releases_credit_the_sender(void **state)
{
    (void)state;
    static uint8_t piece[3000000];
    static const struct {
        size_t len, count;
    } runs[] = {{100, 100000}, {40000, 1000}, {3000000, 12}};
    fixture f = {0};
    fixture_start(&f);
    cli *c = cli_open(f.bound, 0);
    for (size_t r = 0; r < ARRAY_LEN(runs); r++) {
        cli_stream *s = cli_call(c, "/test.Echo/Sink", NULL);
        for (size_t i = 0; i < runs[r].count; i++)
            cli_message(c, s, vv_slice_of(piece, runs[r].len), i + 1 == runs[r].count);
        assert_true(cli_wait(c, s, 20000));
        assert_int_equal(s->grpc_status, 0);
        vv_buf_fini(&s->out);
    }
    cli_close(c);
    fixture_stop(&f);
}

/* Messages as large as the window are credited while they arrive, but one at a time. */
static void test_back_pressure_on_large_messages(void **state)
{
    (void)state;
    static uint8_t piece[3000000];
    fixture f = {0};
    fixture_start(&f);
    cli *c = cli_open(f.bound, 0);
    cli_stream *s = cli_call(c, "/test.Echo/Keep", NULL);
    for (size_t i = 0; i < 10; i++)
        cli_message(c, s, vv_slice_of(piece, sizeof piece), i == 9);
    (void)cli_pump(c, 500);
    assert_true(f.echo.kept >= 1 && f.echo.kept <= 3);
    assert_true(vv_budget_part_used(&f.budget, VV_BUDGET_NETWORK) < 14000000);
    srv_echo_let_go(&f.echo); /* from this thread, as often as it takes */
    for (int i = 0; i < 500 && !s->closed; i++) {
        (void)cli_pump(c, 10);
        srv_echo_let_go(&f.echo);
    }
    assert_true(s->closed);
    assert_int_equal(s->grpc_status, 0);
    cli_close(c);
    fixture_stop(&f);
}

/* A client that does not read: output stays bounded, drained() starts the handler again. */
static void test_slow_reader(void **state)
{
    (void)state;
    fixture f = {0};
    fixture_start(&f);
    cli *c = cli_open(f.bound, 1 << 20);
    c->no_consume = true; /* windows close after 1 MiB */
    cli_stream *s = cli_call(c, "/test.Echo/Flood", NULL);
    cli_message(c, s, vv_slice_str("go"), false);
    (void)cli_pump(c, 300);
    uint64_t queued = f.echo.flood_bytes;
    assert_true(queued >= (1 << 20) && queued < 4 * (1 << 20));
    assert_true(vv_budget_part_used(&f.budget, VV_BUDGET_NETWORK) < 3 * (1 << 20));
    c->no_consume = false;
    (void)nghttp2_session_consume(c->session, s->id, s->in.len);
    assert_true(cli_wait_data(c, s, 20 * VV_MIB, 10000));
    cli_reset(c, s);
    (void)cli_pump(c, 50);
    assert_true(WITHIN(1000, f.echo.closed == 1));

    /* one that does not even read its socket, against a handler that never pauses */
    c->no_read = true;
    s = cli_call(c, "/test.Echo/Reckless", NULL);
    cli_message(c, s, vv_slice_str("go"), false);
    (void)cli_pump(c, 1500);
    assert_true(vv_budget_part_used(&f.budget, VV_BUDGET_NETWORK) < 80 * VV_MIB);
    c->no_read = false;
    assert_true(cli_wait(c, s, 10000));
    assert_int_equal(s->grpc_status, 8);
    cli_close(c);
    fixture_stop(&f);
}

static void test_a_stream_of_acks_that_nobody_reads_stops_its_sender(void **state)
{
    (void)state;
    static uint8_t piece[2000];
    fixture f = {0};
    fixture_start(&f);
    cli *c = cli_open(f.bound, 65535);
    c->no_consume = true;
    cli_stream *s = cli_call(c, "/test.Echo/Stream", NULL);
    for (size_t i = 0; i < 20000; i++) /* 40 MB, echoed */
        cli_message(c, s, vv_slice_of(piece, sizeof piece), i == 19999);
    (void)cli_pump(c, 500);
    uint64_t seen = f.echo.bytes;
    (void)cli_pump(c, 200);
    assert_int_equal(f.echo.bytes, seen);
    assert_true(seen < 10000000);
    assert_true(vv_budget_part_used(&f.budget, VV_BUDGET_NETWORK) < 16 * VV_MIB);
    cli_close(c);
    fixture_stop(&f);
}

static void test_bytes_may_be_split_anywhere(void **state)
{
    (void)state;
    fixture f = {0};
    fixture_start(&f);
    uint8_t text[600];
    filled(text, sizeof text);
    for (size_t chunk = 1; chunk <= 17; chunk += 4) {
        cli *c = cli_open(f.bound, 0);
        c->chunk_max = chunk;
        cli_stream *s = cli_call(c, "/test.Echo/Stream", NULL);
        for (size_t len = 0; len <= sizeof text; len += 60)
            cli_message(c, s, vv_slice_of(text, len), len + 60 > sizeof text);
        assert_true(cli_wait(c, s, 10000));
        assert_int_equal(s->grpc_status, 0);
        for (size_t len = 0, i = 0; len <= sizeof text; len += 60, i++) {
            vv_slice got = {0};
            assert_true(grpc_message_at(&s->in, i, &got));
            assert_true(vv_slice_eq(got, vv_slice_of(text, len)));
        }
        cli_close(c);
    }
    fixture_stop(&f);
}

static void test_http_over_http2(void **state)
{
    (void)state;
    fixture f = {0};
    fixture_start(&f);
    cli *c = cli_open(f.bound, 4 << 20);
    cli_stream *s = cli_request(c, "GET", "/hello", NULL);
    assert_true(cli_wait(c, s, 2000));
    assert_int_equal(s->http_status, 200);
    assert_true(vv_slice_eq(vv_buf_slice(&s->in), vv_slice_str("hello\n")));
    s = cli_request(c, "HEAD", "/hello", NULL);
    assert_true(cli_wait(c, s, 2000));
    assert_int_equal(s->http_status, 200);
    assert_int_equal(s->in.len, 0);
    s = cli_request(c, "POST", "/large", NULL);
    cli_send(c, s, vv_slice_str("x"), true);
    assert_true(cli_wait(c, s, 5000));
    assert_int_equal(s->in.len, 3000000);
    s = cli_request(c, "GET", "/nothing", NULL);
    assert_true(cli_wait(c, s, 2000));
    assert_int_equal(s->http_status, 404);
    assert_string_equal(s->type, "application/json");
    assert_true(vv_slice_has_prefix(
        vv_buf_slice(&s->in),
        vv_slice_str("{\"error\":{\"code\":5,\"status\":\"NOT_FOUND\",\"message\":\"nothing")));
    s = cli_request(c, "GET", "/echo", NULL);
    assert_true(cli_wait(c, s, 2000));
    assert_int_equal(s->http_status, 405);
    cli_close(c);
    fixture_stop(&f);
}

/* ---- stopping and limits ---- */

static void *stop_in_background(void *arg)
{
    srv_stop(arg);
    return NULL;
}

static void test_stop_lets_calls_finish(void **state)
{
    (void)state;
    fixture f = {0};
    fixture_start(&f);
    cli *c = cli_open(f.bound, 0), *idle = cli_open(f.bound, 0);
    cli_stream *s = cli_call(c, "/test.Echo/Stream", NULL);
    cli_message(c, s, vv_slice_str("before"), false);
    assert_true(cli_wait_data(c, s, 11, 2000));

    pthread_t stopper;
    assert_int_equal(pthread_create(&stopper, NULL, stop_in_background, f.server), 0);
    (void)cli_pump(c, 200);
    assert_true(c->goaway);
    assert_int_equal(c->goaway_first, INT32_MAX); /* a notice first, so that nothing is refused */
    assert_int_equal(c->goaway_error, NGHTTP2_NO_ERROR);
    assert_true(cli_wait_eof(idle, 2000)); /* nothing to wait for there */
    assert_true(idle->goaway);
    cli_message(c, s, vv_slice_str("after"), true);
    assert_true(cli_wait(c, s, 2000));
    assert_int_equal(s->grpc_status, 0);
    assert_int_equal(s->in.len, 5 + 6 + 5 + 5);
    assert_true(cli_wait_eof(c, 2000));
    assert_int_equal(pthread_join(stopper, NULL), 0);
    srv_pool_destroy(f.echo.pool);
    assert_int_equal(vv_budget_part_used(&f.budget, VV_BUDGET_NETWORK), 0);
    cli_close(c);
    cli_close(idle);
}

static void test_stop_does_not_wait_for_ever(void **state)
{
    (void)state;
    fixture f = {.opt.drain_timeout_ns = 300 * VV_NS_PER_MS};
    fixture_start(&f);
    cli *c = cli_open(f.bound, 0);
    cli_stream *s = cli_call(c, "/test.Echo/Keep", NULL);
    cli_message(c, s, vv_slice_str("x"), false);
    (void)cli_pump(c, 100);
    srv_call *call = f.echo.keeper;
    int64_t began = cli_now_ms();
    srv_stop(f.server);
    assert_true(cli_now_ms() - began >= 290 && cli_now_ms() - began < 2000);
    assert_int_equal(f.echo.closed, 1);
    srv_call_finish(call, VV_OK, NULL); /* the server is gone; the call is still ours */
    srv_call_unref(call);
    srv_pool_destroy(f.echo.pool);
    assert_int_equal(vv_budget_part_used(&f.budget, VV_BUDGET_NETWORK), 0);
    cli_close(c);
}

static void note_posted(srv_call *call, void *arg)
{
    (void)call;
    _Atomic int *ran = arg;
    atomic_fetch_add(ran, 1);
}

static void test_posts_always_run(void **state)
{
    (void)state;
    _Atomic int ran = 0;
    fixture f = {0};
    fixture_start(&f);
    cli *c = cli_open(f.bound, 0);
    cli_stream *s = cli_call(c, "/test.Echo/Keep", NULL);
    (void)cli_pump(c, 50);
    assert_true(WITHIN(1000, f.echo.keeper != NULL));
    srv_call *call = f.echo.keeper;
    srv_call_post(call, note_posted, &ran);
    assert_true(WITHIN(1000, ran == 1));
    cli_reset(c, s);
    (void)cli_pump(c, 50);
    assert_true(WITHIN(1000, !srv_call_is_open(call)));
    srv_call_post(call, note_posted, &ran);
    assert_true(WITHIN(1000, ran == 2));
    srv_stop(f.server);
    srv_call_post(call, note_posted, &ran);
    assert_int_equal(ran, 3);
    srv_call_unref(call);
    srv_pool_destroy(f.echo.pool);
    cli_close(c);
}

static void test_connection_limit(void **state)
{
    (void)state;
    fixture f = {.opt.connections_max = 3};
    fixture_start(&f);
    cli *c[3];
    for (size_t i = 0; i < 3; i++) {
        c[i] = cli_open(f.bound, 0);
        assert_echo(cli_unary(c[i], "/test.Echo/Unary", vv_slice_str("y"), NULL),
                    vv_slice_str("y"));
    }
    int over = raw_connect(f.bound);
    vv_buf in;
    vv_buf_init(&in, VV_MIB);
    assert_true(raw_read_all(over, &in, 2000));
    assert_int_equal(in.len, 0);
    (void)close(over);
    assert_true(WITHIN(1000, fixture_stats(&f).connections_refused == 1));
    assert_int_equal(fixture_stats(&f).connections, 3);
    cli_close(c[0]);
    assert_true(WITHIN(1000, fixture_stats(&f).connections == 2));
    c[0] = cli_open(f.bound, 0);
    assert_echo(cli_unary(c[0], "/test.Echo/Unary", vv_slice_str("z"), NULL), vv_slice_str("z"));
    for (size_t i = 0; i < 3; i++)
        cli_close(c[i]);
    vv_buf_fini(&in);
    fixture_stop(&f);
}

static void test_stream_limit(void **state)
{
    (void)state;
    fixture f = {.opt.streams_max = 10};
    fixture_start(&f);
    cli *c = cli_open(f.bound, 0);
    cli_stream *s[15];
    for (size_t i = 0; i < ARRAY_LEN(s); i++) /* the client queues what is over the limit */
        s[i] = cli_call(c, "/test.Echo/Never", NULL);
    (void)cli_pump(c, 100);
    assert_int_equal(fixture_stats(&f).calls, 10);
    cli_close(c);
    fixture_stop(&f);
}

static void test_timeouts(void **state)
{
    (void)state;
    fixture f = {.opt = {.idle_timeout_ns = 400 * VV_NS_PER_MS,
                         .handshake_timeout_ns = 200 * VV_NS_PER_MS,
                         .body_timeout_ns = 200 * VV_NS_PER_MS}};
    fixture_start(&f);
    vv_buf in;
    vv_buf_init(&in, VV_MIB);
    /* nothing at all */
    int64_t began = cli_now_ms();
    int fd = raw_connect(f.bound);
    assert_true(raw_read_all(fd, &in, 2000));
    assert_true(cli_now_ms() - began < 1000);
    (void)close(fd);
    /* a message that never becomes whole */
    cli *c = cli_open(f.bound, 0);
    cli_stream *s = cli_call(c, "/test.Echo/Stream", NULL);
    cli_send(c, s, BYTES(0, 0, 0, 0, 9, 'x'), false);
    assert_true(cli_wait(c, s, 2000));
    assert_int_equal(s->grpc_status, 4);
    s = cli_call(c, "/test.Echo/Unary", NULL);
    cli_message(c, s, vv_slice_str("whole, but no end"), false);
    assert_true(cli_wait(c, s, 2000));
    assert_int_equal(s->grpc_status, 4);
    /* an open call keeps the connection; pings find out that the peer lives */
    s = cli_call(c, "/test.Echo/Stream", NULL);
    cli_message(c, s, vv_slice_str("x"), false);
    (void)cli_pump(c, 1200);
    assert_false(c->eof);
    assert_false(s->closed);
    /* a peer that does not answer pings is given up */
    c->no_read = true;
    assert_true(WITHIN(3000, f.echo.closed == 3));
    c->no_read = false;
    assert_true(cli_wait_eof(c, 2000));
    cli_close(c);
    /* no call and no byte */
    c = cli_open(f.bound, 0);
    assert_echo(cli_unary(c, "/test.Echo/Unary", vv_slice_str("y"), NULL), vv_slice_str("y"));
    assert_true(cli_wait_eof(c, 3000));
    assert_true(c->goaway);
    assert_int_equal(c->goaway_error, NGHTTP2_NO_ERROR);
    cli_close(c);
    vv_buf_fini(&in);
    fixture_stop(&f);
}

/* A connection that says nothing whole is no longer kept than one that rests. */
static void test_a_short_idle_timeout_holds_for_all(void **state)
{
    (void)state;
    fixture f = {.opt = {.idle_timeout_ns = 200 * VV_NS_PER_MS}};
    fixture_start(&f);
    static const char *const begun[] = {"", "P", "GET /he",
                                        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"};
    static const size_t len[] = {0, 1, 7, 33};
    for (size_t i = 0; i < ARRAY_LEN(begun); i++) {
        vv_buf in;
        vv_buf_init(&in, VV_MIB);
        int fd = raw_connect(f.bound);
        assert_true(raw_write(fd, begun[i], len[i]));
        if (!raw_read_all(fd, &in, 5000)) /* the default of the handshake is twice that */
            fail_msg("%zu is still open", i);
        (void)close(fd);
        vv_buf_fini(&in);
    }
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unary),
        cmocka_unit_test(test_many_calls_at_once),
        cmocka_unit_test(test_stream_keeps_order),
        cmocka_unit_test(test_status_message_and_trailer),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_oversize_is_refused_at_the_prefix),
        cmocka_unit_test(test_compressed_messages),
        cmocka_unit_test(test_what_inflates_needs_room),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_back_pressure_on_the_sender),
        cmocka_unit_test(test_back_pressure_on_large_messages),
        cmocka_unit_test(test_releases_credit_the_sender),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_a_stream_of_acks_that_nobody_reads_stops_its_sender),
        cmocka_unit_test(test_bytes_may_be_split_anywhere),
        cmocka_unit_test(test_http_over_http2),
        cmocka_unit_test(test_stop_lets_calls_finish),
        cmocka_unit_test(test_stop_does_not_wait_for_ever),
        cmocka_unit_test(test_posts_always_run),
        cmocka_unit_test(test_connection_limit),
        cmocka_unit_test(test_stream_limit),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_a_short_idle_timeout_holds_for_all),
    };
    if (getenv("CMOCKA_TEST_FILTER"))
        cmocka_set_test_filter(getenv("CMOCKA_TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
