/*
 * client_http.c - one GET over HTTP/1.1: enough for /metrics, /health and /ready of varved.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "client/client_int.h"

static vv_status wait_for(int fd, short events, int64_t deadline_ns, const char *address,
                          vv_error *err)
{
    struct pollfd p = {.fd = fd, .events = events};
    if (cli_poll(&p, deadline_ns) > 0)
        return VV_OK;
    return vv_fail(err, VV_TIMEOUT, "%s: no answer in time", address);
}

static vv_status send_all(int fd, const char *text, size_t len, int64_t deadline_ns,
                          const char *address, vv_error *err)
{
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n > 0) {
            text += n;
            len -= (size_t)n;
        } else if (errno != EAGAIN && errno != EINTR) {
            return vv_fail_sys(err, VV_CLOSED, errno, "%s: connection lost", address);
        } else {
            vv_status st = wait_for(fd, POLLOUT, deadline_ns, address, err);
            if (st != VV_OK)
                return st;
        }
    }
    return VV_OK;
}

/* With "Connection: close" the body ends with the connection. */
static vv_status receive_all(int fd, vv_buf *out, int64_t deadline_ns, const char *address,
                             vv_error *err)
{
    for (;;) {
        uint8_t *to = vv_buf_reserve(out, 16384);
        if (to == NULL)
            return vv_fail(err, out->status, "%s: the answer is over %zu bytes", address, out->max);
        ssize_t n = recv(fd, to, 16384, 0);
        if (n == 0)
            return VV_OK;
        if (n > 0) {
            vv_buf_advance(out, (size_t)n);
        } else if (errno != EAGAIN && errno != EINTR) {
            return vv_fail_sys(err, VV_CLOSED, errno, "%s: connection lost", address);
        } else {
            vv_status st = wait_for(fd, POLLIN, deadline_ns, address, err);
            if (st != VV_OK)
                return st;
        }
    }
}

/* The announced length of the body; false when none is. head ends with an empty line. */
static bool content_length(const char *head, size_t len, size_t *out)
{
    static const char name[] = "\r\ncontent-length:";
    for (size_t i = 0; i + sizeof name <= len; i++) {
        if (strncasecmp(head + i, name, sizeof name - 1) == 0) {
            *out = strtoul(head + i + sizeof name - 1, NULL, 10);
            return true;
        }
    }
    return false;
}

vv_status cli_http_get(const char *address, const char *path, int64_t timeout_ns, int *http_status,
                       vv_buf *body, vv_error *err)
{
    cli_target target;
    int fd = -1;
    int64_t deadline_ns = cli_now_ns() + timeout_ns;
    vv_status st = cli_parse_target(address, &target, err);
    if (st == VV_OK)
        st = cli_connect(&target, deadline_ns, true, &fd, err);
    if (st != VV_OK)
        return st;
    char request[1024];
    int len = snprintf(request, sizeof request,
                       "GET %s HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\n\r\n", path,
                       target.host, target.port);
    if (len < 0 || (size_t)len >= sizeof request)
        st = vv_fail(err, VV_INVALID, "path of %zu bytes", strlen(path));
    vv_buf_reset(body);
    if (st == VV_OK)
        st = send_all(fd, request, (size_t)len, deadline_ns, address, err);
    if (st == VV_OK)
        st = receive_all(fd, body, deadline_ns, address, err);
    (void)close(fd);
    if (st != VV_OK)
        return st;
    const uint8_t *end = body->len == 0 ? NULL : memmem(body->data, body->len, "\r\n\r\n", 4);
    if (end == NULL || body->len < 12 || memcmp(body->data, "HTTP/1.1 ", 9) != 0)
        return vv_fail(err, VV_IO, "%s: the answer is not HTTP/1.1", address);
    *http_status = atoi((const char *)body->data + 9);
    size_t head = (size_t)(end + 4 - body->data);
    size_t length;
    if (content_length((const char *)body->data, head, &length) && body->len - head < length)
        return vv_fail(err, VV_CLOSED, "%s: the connection ended %zu bytes into a body of %zu",
                       address, body->len - head, length);
    memmove(body->data, body->data + head, body->len - head);
    body->len -= head;
    return VV_OK;
}
