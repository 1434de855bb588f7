/*
 * svc_suite_http.c - one request, one connection, the answer as bytes.
 */
#include "server/svc_suite_http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int svc_suite_dial(const svc_suite *s)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(s->port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval limit = {.tv_sec = 30};
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    return fd;
}

void svc_suite_send(int fd, vv_slice bytes)
{
    while (bytes.len > 0) {
        ssize_t n = send(fd, bytes.data, bytes.len, MSG_NOSIGNAL);
        if (n <= 0)
            return; /* refused before the body was read: the answer tells */
        bytes = vv_slice_of(bytes.data + n, bytes.len - (size_t)n);
    }
}

void svc_suite_ask(svc_suite *s, const char *verb, const char *path, vv_slice body,
                   svc_suite_answer *out)
{
    int fd = svc_suite_dial(s);
    vv_buf head;
    vv_buf_init(&head, 65536);
    vv_buf_printf(&head, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", verb, path);
    if (body.data != NULL)
        vv_buf_printf(&head, "Content-Length: %zu\r\n", body.len);
    vv_buf_append_str(&head, "\r\n");
    svc_suite_send(fd, vv_buf_slice(&head));
    svc_suite_send(fd, body);
    vv_buf_fini(&head);
    *out = (svc_suite_answer){0};
    vv_buf_init(&out->all, 32u << 20);
    ssize_t n;
    do {
        uint8_t *to = vv_buf_reserve(&out->all, 65536);
        assert_non_null(to);
        n = svc_suite_recv(fd, to, 65536);
        if (n > 0)
            vv_buf_advance(&out->all, (size_t)n);
    } while (n > 0);
    int sys = n < 0 ? errno : 0;
    (void)close(fd);
    vv_buf_append_u8(&out->all, 0);
    const char *text = (const char *)out->all.data;
    const char *end = strstr(text, "\r\n\r\n");
    if (end == NULL)
        fail_msg("%s %s: no answer: %s after '%s'", verb, path, sys == 0 ? "end" : strerror(sys),
                 text);
    size_t len = (size_t)(end - text) + 4;
    assert_true(len < sizeof out->head);
    memcpy(out->head, text, len);
    assert_int_equal(sscanf(text, "HTTP/1.1 %d", &out->status), 1);
    out->body = vv_slice_of(text + len, out->all.len - 1 - len);
}

void svc_suite_done(svc_suite_answer *a)
{
    vv_buf_fini(&a->all);
}

void svc_suite_expect_http(svc_suite *s, const char *verb, const char *path, vv_slice body,
                           int status, const char *words)
{
    svc_suite_answer a;
    svc_suite_ask(s, verb, path, body, &a);
    if (a.status != status)
        fail_msg("%s %s: %d instead of %d: %s", verb, path, a.status, status, a.all.data);
    if (words != NULL && strstr((const char *)a.all.data, words) == NULL)
        fail_msg("%s %s: '%s' is not in: %s", verb, path, words, a.all.data);
    svc_suite_done(&a);
}
