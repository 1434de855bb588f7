/*
 * srv_echo_main.c - the echo services as a program, for h2load and for a look from outside:
 *
 *     srv_echo [port [loops]]       prints the port; ends at SIGTERM or SIGINT
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "io/env.h"
#include "server/srv_echo.h"

int main(int argc, char **argv)
{
    static srv_echo echo;
    srv_method methods[SRV_ECHO_METHODS];
    vv_error err = {0};
    sigset_t stop;
    (void)sigemptyset(&stop);
    (void)sigaddset(&stop, SIGTERM);
    (void)sigaddset(&stop, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &stop, NULL);

    const srv_port port = {.host = "127.0.0.1", .port = (uint16_t)(argc > 1 ? atoi(argv[1]) : 0)};
    srv_options opt = {
        .threads = vv_threads_real(),
        .clock = vv_clock_real(),
        .ports = &port,
        .port_count = 1,
        .methods = methods,
        .method_count = srv_echo_methods(&echo, methods),
        .loop_count = argc > 2 ? (uint32_t)atoi(argv[2]) : 1,
        .connections_max = 2000,
    };
    srv *s;
    if (srv_pool_create(opt.threads, 2, 4096, &echo.pool, &err) != VV_OK ||
        srv_start(&opt, &s, &err) != VV_OK) {
        (void)fprintf(stderr, "srv_echo: %s\n", err.msg);
        return 1;
    }
    (void)printf("%u\n", srv_port_bound(s, 0));
    (void)fflush(stdout);
    int sig;
    (void)sigwait(&stop, &sig);
    srv_stats st;
    srv_stats_read(s, &st);
    srv_stop(s);
    srv_pool_destroy(echo.pool);
    (void)printf("calls %llu, bytes in %llu, out %llu\n", (unsigned long long)st.calls_total,
                 (unsigned long long)st.bytes_in, (unsigned long long)st.bytes_out);
    return 0;
}
