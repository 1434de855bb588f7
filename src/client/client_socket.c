/*
 * client_socket.c - addresses and connecting, with backoff while nobody listens yet.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/util.h"
#include "client/client_int.h"

#define BACKOFF_FIRST_NS (20 * VV_NS_PER_MS)
#define BACKOFF_MAX_NS (1000 * VV_NS_PER_MS)

int64_t cli_now_ns(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * VV_NS_PER_S + ts.tv_nsec;
}

vv_status cli_parse_target(const char *address, cli_target *out, vv_error *err)
{
    *out = (cli_target){.port = "8080"};
    const char *host = address;
    const char *colon = strrchr(address, ':');
    size_t host_len = strlen(address);
    if (address[0] == '[') { /* [::1]:8080 */
        const char *close = strchr(address, ']');
        if (close == NULL)
            return vv_fail(err, VV_INVALID, "address '%s': no closing bracket", address);
        host = address + 1;
        host_len = (size_t)(close - host);
        colon = close[1] == ':' ? close + 1 : NULL;
        if (colon == NULL && close[1] != '\0')
            return vv_fail(err, VV_INVALID, "address '%s': expected [HOST]:PORT", address);
    } else if (colon != NULL) {
        host_len = (size_t)(colon - address);
    }
    if (host_len == 0 || host_len >= sizeof out->host)
        return vv_fail(err, VV_INVALID, "address '%s': expected HOST:PORT", address);
    memcpy(out->host, host, host_len);
    out->host[host_len] = '\0';
    if (colon != NULL) {
        size_t len = strlen(colon + 1);
        if (len == 0 || len > 5 || strspn(colon + 1, "0123456789") != len ||
            strtoul(colon + 1, NULL, 10) > 65535 || strtoul(colon + 1, NULL, 10) == 0)
            return vv_fail(err, VV_INVALID, "address '%s': '%s' is no port", address, colon + 1);
        memcpy(out->port, colon + 1, len + 1);
    }
    return VV_OK;
}

static int remaining_ms(int64_t deadline_ns)
{
    int64_t left = deadline_ns - cli_now_ns();
    if (left <= 0)
        return 0;
    int64_t ms = (left + VV_NS_PER_MS - 1) / VV_NS_PER_MS;
    return ms > 1000000 ? 1000000 : (int)ms;
}

int cli_poll(struct pollfd *p, int64_t deadline_ns)
{
    int n;
    do
        n = poll(p, 1, remaining_ms(deadline_ns));
    while (n < 0 && errno == EINTR);
    return n;
}

/* One attempt at one address; 0 and *out, or an errno. */
static int connect_once(const struct addrinfo *ai, int64_t deadline_ns, int *out)
{
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int sys = 0;
    if (connect(fd, ai->ai_addr, ai->ai_addrlen) != 0)
        sys = errno;
    if (sys == EINPROGRESS) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        socklen_t len = sizeof sys;
        int n = cli_poll(&p, deadline_ns);
        if (n <= 0)
            sys = ETIMEDOUT;
        else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &sys, &len) != 0)
            sys = errno;
    }
    if (sys != 0) {
        (void)close(fd);
        return sys;
    }
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    *out = fd;
    return 0;
}

vv_status cli_connect(const cli_target *target, int64_t deadline_ns, bool wait_for_listener,
                      int *out, vv_error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(target->host, target->port, &hints, &list);
    if (rc != 0)
        return vv_fail(err, VV_CLOSED, "connect %s:%s: %s", target->host, target->port,
                       gai_strerror(rc));
    int sys = ECONNREFUSED;
    for (int64_t wait = BACKOFF_FIRST_NS;;
         wait = wait * 2 < BACKOFF_MAX_NS ? wait * 2 : BACKOFF_MAX_NS) {
        for (const struct addrinfo *ai = list; ai != NULL; ai = ai->ai_next) {
            sys = connect_once(ai, deadline_ns, out);
            if (sys == 0) {
                freeaddrinfo(list);
                return VV_OK;
            }
        }
        if ((sys == ECONNREFUSED && !wait_for_listener) || cli_now_ns() + wait >= deadline_ns)
            break;
        struct timespec ts = {.tv_sec = wait / VV_NS_PER_S, .tv_nsec = wait % VV_NS_PER_S};
        (void)nanosleep(&ts, NULL);
    }
    freeaddrinfo(list);
    return vv_fail_sys(err, VV_CLOSED, sys, "connect %s:%s (is varved running there?)",
                       target->host, target->port);
}
