/*
 * srv_fault_test.c - every allocation of the transport fails once. Whatever happens then, nobody
 * may be left waiting: each call is answered, reset, or its connection closed, and the next one
 * works.
 */
#include "base/alloc.h"
#include "server/grpc_frame.h"
#include "server/srv_fixture.h"

/* Allocations of the whole process fail, the client's buffers included: a stream may be garbled, so
 * only its end is judged. */
static void must_end(cli *c, cli_stream *s, const char *what, uint64_t n)
{
    (void)cli_wait(c, s, 3000);
    if (!s->closed && !c->eof)
        fail_msg("allocation %llu: %s: left waiting", (unsigned long long)n, what);
}

static void use_everything(fixture *f, uint64_t n)
{
    static uint8_t large[300000];
    static const uint8_t gzip_of_x[] = {1, 0, 0,    0, 21,   0x1f, 0x8b, 8,    0, 0, 0, 0, 0,
                                        0, 3, 0xab, 0, 0x83, 0x16, 0xdc, 0x8c, 1, 0, 0, 0};
    const char *const gzip[] = {"grpc-encoding", "gzip", NULL};
    const char *const timeout[] = {"grpc-timeout", "500m", NULL};
    cli *c = cli_open(f->bound, 1 << 20);
    const char *const paths[] = {"/test.Echo/Unary", "/test.Echo/Pool", "/test.Echo/Fail",
                                 "/test.Echo/None"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        cli_stream *s = cli_call(c, paths[i], timeout);
        cli_message(c, s, vv_slice_of(large, i == 0 ? sizeof large : 10), true);
        s->out_end = true;
        must_end(c, s, paths[i], n);
    }
    cli_stream *s = cli_call(c, "/test.Echo/Unary", gzip);
    cli_send(c, s, vv_slice_of(gzip_of_x, sizeof gzip_of_x), true);
    must_end(c, s, "gzip", n);
    s = cli_call(c, "/test.Echo/Stream", timeout);
    for (int i = 0; i < 5; i++)
        cli_message(c, s, vv_slice_of(large, 100), i == 4);
    must_end(c, s, "stream", n);
    s = cli_request(c, "POST", "/echo", "text/plain");
    cli_send(c, s, vv_slice_str("body"), true);
    must_end(c, s, "http", n);
    s = cli_request(c, "GET", "/nothing", NULL);
    must_end(c, s, "404", n);
    cli_close(c);

    int fd = raw_connect(f->bound);
    const char *text = "PUT /kv/x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
                       "DELETE /kv/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert_true(raw_write(fd, text, 30));
    (void)poll(NULL, 0, 2);
    (void)raw_write(fd, text + 30, strlen(text) - 30);
    uint8_t sink[4096];
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    ssize_t got = 1;
    while (got > 0) {
        if (poll(&pfd, 1, 3000) != 1)
            fail_msg("allocation %llu: http1: left waiting", (unsigned long long)n);
        got = read(fd, sink, sizeof sink);
    }
    (void)close(fd);
}

static void good_call(fixture *f)
{
    cli *c = cli_open(f->bound, 0);
    cli_stream *s = cli_unary(c, "/test.Echo/Unary", vv_slice_str("ok"), NULL);
    assert_true(s->closed);
    assert_int_equal(s->grpc_status, 0);
    cli_close(c);
}

static void walk_every_allocation_of_a_connection(void **state)
{
    (void)state;
    fixture f = {0};
    fixture_start(&f);
    good_call(&f);
    uint64_t before = vv_alloc_count();
    use_everything(&f, 0);
    uint64_t count = vv_alloc_count() - before;
    uint64_t step = vv_test_count("VV_FAULT_STEP", 1);
    for (uint64_t n = 0; n < count + 10; n += step) {
        vv_alloc_fail_after((int64_t)n, 0);
        use_everything(&f, n);
        vv_alloc_fail_after(-1, 0);
    }
    good_call(&f);
    assert_true(WITHIN(2000, fixture_stats(&f).connections == 0));
    assert_int_equal(fixture_stats(&f).calls, 0);
    fixture_stop(&f);
}

static void walk_every_allocation_of_the_start(void **state)
{
    (void)state;
    for (int64_t n = 0;; n++) {
        fixture f = {.port = {.host = "127.0.0.1"}};
        f.opt.threads = vv_threads_real();
        f.opt.clock = vv_clock_real();
        f.opt.ports = &f.port;
        f.opt.port_count = 1;
        f.opt.methods = f.methods;
        f.opt.method_count = srv_echo_methods(&f.echo, f.methods);
        vv_error err = {0};
        vv_alloc_fail_after(n, 0);
        vv_status st = srv_start(&f.opt, &f.server, &err);
        vv_alloc_fail_after(-1, 0);
        if (st == VV_OK) {
            f.bound = srv_port_bound(f.server, 0);
            good_call(&f);
            srv_stop(f.server);
            break;
        }
        assert_status(VV_NO_MEMORY, st);
        assert_true(err.msg[0] != '\0');
    }
}

static void test_bad_options_are_refused(void **state)
{
    (void)state;
    const struct {
        const char *host;
        vv_status want;
    } hosts[] = {{"localhost", VV_INVALID}, {"", VV_INVALID}, {"192.0.2.1", VV_IO}};
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        fixture f = {.port = {.host = hosts[i].host}};
        f.opt = (srv_options){.threads = vv_threads_real(),
                              .clock = vv_clock_real(),
                              .ports = &f.port,
                              .port_count = 1,
                              .methods = f.methods,
                              .method_count = srv_echo_methods(&f.echo, f.methods)};
        vv_error err = {0};
        assert_status(hosts[i].want, srv_start(&f.opt, &f.server, &err));
        assert_non_null(strstr(err.msg, hosts[i].host));
    }
    fixture f = {.port = {.host = "127.0.0.1"}};
    srv_method twice[2 * SRV_ECHO_METHODS];
    size_t count = srv_echo_methods(&f.echo, twice);
    count += srv_echo_methods(&f.echo, twice + count);
    f.opt = (srv_options){.threads = vv_threads_real(),
                          .clock = vv_clock_real(),
                          .ports = &f.port,
                          .port_count = 1,
                          .methods = twice,
                          .method_count = count};
    assert_status(VV_INVALID, srv_start(&f.opt, &f.server, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(walk_every_allocation_of_a_connection),
        cmocka_unit_test(walk_every_allocation_of_the_start),
        cmocka_unit_test(test_bad_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
