/*
 * srv_listen.c - listening sockets. The first loop accepts and hands each connection to the loop
 * that has fewest: with few connections, the kernel's own spreading (SO_REUSEPORT) is often
 * lopsided.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "server/srv_int.h"

#define BACKLOG 1024
#define ACCEPTS_PER_TURN 64
#define ACCEPT_PAUSE_NS (100 * VV_NS_PER_MS)

typedef union any_addr {
    struct sockaddr sa;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} any_addr;

/* A numeric address: no name is ever looked up. */
static socklen_t parse_address(const srv_port *port, any_addr *out)
{
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, port->host, &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(port->port);
        return sizeof out->v4;
    }
    if (inet_pton(AF_INET6, port->host, &out->v6.sin6_addr) == 1) {
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons(port->port);
        return sizeof out->v6;
    }
    return 0;
}

static bool is_loopback(const any_addr *a)
{
    if (a->sa.sa_family == AF_INET)
        return ntohl(a->v4.sin_addr.s_addr) >> 24 == 127;
    if (a->sa.sa_family != AF_INET6)
        return false;
    const uint8_t *b = a->v6.sin6_addr.s6_addr;
    return IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr) ||
           (IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr) && b[12] == 127);
}

static vv_status bind_port(const srv_port *port, int *out, vv_error *err)
{
    any_addr addr;
    const int on = 1;
    socklen_t len = parse_address(port, &addr);
    if (len == 0)
        return vv_fail(err, VV_INVALID, "%s is not a numeric address", port->host);
    int fd = socket(addr.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return vv_fail_sys(err, VV_IO, errno, "listen on %s:%u", port->host, port->port);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (addr.sa.sa_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, &addr.sa, len) != 0) {
        int sys = errno;
        (void)close(fd);
        return vv_fail_sys(err, VV_IO, sys, "listen on %s:%u", port->host, port->port);
    }
    *out = fd;
    return VV_OK;
}

static vv_status name_key(const srv_port *port, vv_status st, vv_error *err)
{
    if (st == VV_OK || port->key == NULL)
        return st;
    return vv_wrap(err, st, "%s: set it to a port that is free, or 0 for any", port->key);
}

vv_status srv_port_reserve(srv_port *port, vv_error *err)
{
    vv_status st = bind_port(port, &port->fd, err);
    port->is_reserved = st == VV_OK;
    return name_key(port, st, err);
}

void srv_port_release(srv_port *port)
{
    if (port->is_reserved)
        (void)close(port->fd);
    port->is_reserved = false;
}

vv_status srv_listener_open(srv_listener *l, const srv_port *port, vv_error *err)
{
    any_addr addr = {0};
    socklen_t len = sizeof addr;
    vv_status st = VV_OK;
    if (port->is_reserved)
        l->fd = fcntl(port->fd, F_DUPFD_CLOEXEC, 0); /* the caller keeps its own */
    else
        st = bind_port(port, &l->fd, err);
    if (st != VV_OK)
        return name_key(port, st, err);
    /* Two may hold the same address until one of them listens: SO_REUSEADDR allows it. */
    if (l->fd < 0 || listen(l->fd, BACKLOG) != 0 || getsockname(l->fd, &addr.sa, &len) != 0) {
        st = vv_fail_sys(err, VV_IO, errno, "listen on %s:%u", port->host, port->port);
        return name_key(port, st, err);
    }
    l->bound = ntohs(addr.sa.sa_family == AF_INET ? addr.v4.sin_port : addr.v6.sin6_port);
    return VV_OK;
}

void srv_listener_close(srv_listener *l)
{
    if (l->fd >= 0)
        (void)close(l->fd);
    l->fd = -1;
}

/* ---- accepting ---- */

/* A connection on its way to another loop. */
typedef struct handoff {
    srv_post post;
    int fd;
    uint16_t port_index;
    bool loopback;
} handoff;

static void take_over(srv_loop *loop, srv_post *post)
{
    handoff *h = VV_CONTAINER_OF(post, handoff, post);
    srv_conn_open(loop, h->fd, h->port_index, h->loopback);
    vv_free(h);
}

static srv_loop *emptiest(srv *s)
{
    srv_loop *best = &s->loops[0];
    for (uint32_t i = 1; i < s->opt.loop_count; i++)
        if (atomic_load_explicit(&s->loops[i].conn_count, memory_order_relaxed) <
            atomic_load_explicit(&best->conn_count, memory_order_relaxed))
            best = &s->loops[i];
    return best;
}

static void place(srv_listener *l, int fd, bool loopback)
{
    srv *s = l->server;
    srv_loop *loop = emptiest(s);
    atomic_fetch_add(&s->conn_count, 1);
    atomic_fetch_add(&loop->conn_count, 1);
    if (srv_loop_is_here(loop)) {
        srv_conn_open(loop, fd, l->index, loopback);
        return;
    }
    handoff *h = vv_alloc(sizeof *h);
    if (h != NULL) {
        *h = (handoff){{NULL, take_over}, fd, l->index, loopback};
        if (srv_loop_post(loop, &h->post))
            return;
    }
    vv_free(h);
    (void)close(fd);
    atomic_fetch_sub(&s->conn_count, 1);
    atomic_fetch_sub(&loop->conn_count, 1);
}

static void watch_all(srv_loop *loop, bool known, uint32_t events)
{
    srv *s = loop->server;
    for (size_t i = 0; i < s->opt.port_count; i++)
        if (s->listeners[i].fd >= 0 &&
            !srv_loop_watch(loop, s->listeners[i].fd, &s->listeners[i].source, events, known))
            vv_log_to(s->opt.log, VV_LOG_ERROR, "server", "cannot watch a listening socket",
                      VV_KV_I("errno", errno));
}

static void accept_again(srv_timer *timer)
{
    watch_all(VV_CONTAINER_OF(timer, srv_loop, accept_timer), true, EPOLLIN);
}

/* Descriptors or memory ran out. Looking again at once would only spin. */
static void pause_accepting(srv_loop *loop)
{
    vv_log_to(loop->server->opt.log, VV_LOG_WARN, "server", "cannot accept connections for now",
              VV_KV_I("errno", errno));
    loop->accept_timer.fn = accept_again;
    if (srv_timer_set(&loop->timers, &loop->accept_timer, loop->now_ns + ACCEPT_PAUSE_NS))
        watch_all(loop, true, 0);
}

static void on_accept(srv_loop *loop, srv_source *source, uint32_t events)
{
    (void)events;
    srv_listener *l = VV_CONTAINER_OF(source, srv_listener, source);
    srv *s = l->server;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        any_addr peer = {.v6.sin6_family = AF_UNSPEC};
        socklen_t len = sizeof peer;
        int fd = accept4(l->fd, &peer.sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            if (errno != EAGAIN && errno != EWOULDBLOCK)
                pause_accepting(loop);
            return;
        }
        if (atomic_load(&s->conn_count) >= s->opt.connections_max) {
            srv_count(&loop->counters.connections_refused, 1);
            (void)close(fd);
            continue;
        }
        place(l, fd, is_loopback(&peer));
    }
}

void srv_listeners_start(srv_loop *loop)
{
    if (loop->index != 0)
        return;
    for (size_t i = 0; i < loop->server->opt.port_count; i++)
        loop->server->listeners[i].source.on_event = on_accept;
    watch_all(loop, false, EPOLLIN);
}

void srv_listeners_stop(srv_loop *loop)
{
    if (loop->index != 0)
        return;
    srv_timer_cancel(&loop->timers, &loop->accept_timer);
    for (size_t i = 0; i < loop->server->opt.port_count; i++)
        srv_listener_close(&loop->server->listeners[i]);
}
