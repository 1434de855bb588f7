/*
 * srv_fixture.h - a running echo server for one test, and what the tests look at.
 */
#ifndef VARVE_SERVER_SRV_FIXTURE_H
#define VARVE_SERVER_SRV_FIXTURE_H

#include <poll.h>
#include <unistd.h>

#include "io/env.h"
#include "server/srv_client.h"
#include "server/srv_echo.h"
#include "vv_test.h"

typedef struct fixture {
    srv_echo echo;
    srv_method methods[SRV_ECHO_METHODS];
    srv_port port;
    vv_budget budget;
    srv_options opt;
    srv *server;
    uint16_t bound;
} fixture;

/* Zero-filled, then optionally opt changed, then started. */
static inline void fixture_start(fixture *f)
{
    vv_error err = {0};
    f->port = (srv_port){.host = "127.0.0.1"};
    f->opt.threads = vv_threads_real();
    f->opt.clock = vv_clock_real();
    f->opt.budget = &f->budget;
    f->opt.ports = &f->port;
    f->opt.port_count = 1;
    f->opt.methods = f->methods;
    f->opt.method_count = srv_echo_methods(&f->echo, f->methods);
    if (f->opt.loop_count == 0)
        f->opt.loop_count = 2;
    assert_ok(srv_pool_create(f->opt.threads, 1, 4096, &f->echo.pool, &err), err);
    assert_ok(srv_start(&f->opt, &f->server, &err), err);
    f->bound = srv_port_bound(f->server, 0);
}

/* Everything that was received or queued must be given back. */
static inline void fixture_stop(fixture *f)
{
    srv_stop(f->server);
    srv_pool_destroy(f->echo.pool);
    srv_call *keeper = atomic_exchange(&f->echo.keeper, NULL);
    if (keeper != NULL)
        srv_call_unref(keeper);
    assert_int_equal(vv_budget_part_used(&f->budget, VV_BUDGET_NETWORK), 0);
}

static inline srv_stats fixture_stats(fixture *f)
{
    srv_stats st;
    srv_stats_read(f->server, &st);
    return st;
}

/* Resident bytes mean something only without a sanitizer's shadow. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RSS_COUNTS false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define RSS_COUNTS false
#endif
#endif
#ifndef RSS_COUNTS
#define RSS_COUNTS true
#endif

/* True once cond holds, or false after ms. */
#define WITHIN(ms, cond)                                                                           \
    ({                                                                                             \
        int64_t within_end_ = cli_now_ms() + (ms);                                                 \
        while (!(cond) && cli_now_ms() < within_end_)                                              \
            (void)poll(NULL, 0, 2);                                                                \
        (cond);                                                                                    \
    })

/* The n-th gRPC message in in; false when it is not whole. */
static inline bool grpc_message_at(const vv_buf *in, size_t n, vv_slice *out)
{
    size_t at = 0;
    while (in->len - at >= 5) {
        size_t len = (size_t)in->data[at + 1] << 24 | (size_t)in->data[at + 2] << 16 |
                     (size_t)in->data[at + 3] << 8 | in->data[at + 4];
        if (in->len - at - 5 < len)
            return false;
        if (n-- == 0) {
            *out = vv_slice_of(in->data + at + 5, len);
            return true;
        }
        at += 5 + len;
    }
    return false;
}

#endif
