/*
 * client_test.c - the client against a server that answers, hangs, fails, drains, lies and leaves.
 *
 * The server is nghttp2 on a thread; what it does with a call is said by the call's path.
 */
#include "client/client.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/util.h"
#include "vv_test.h"

/* ---- the server ---- */

typedef struct stream {
    int32_t id;
    char path[32];
    vv_buf in;
    vv_buf out;
    size_t out_at;
    struct stream *next;
} stream;

typedef struct peer {
    int listener;
    uint16_t port;
    pthread_t thread;
    _Atomic int stop;
    _Atomic int accepted;
    int fd;
    bool hang_up;
    stream *streams;
} peer;

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    peer *p = user;
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    stream *s = calloc(1, sizeof *s);
    s->id = frame->hd.stream_id;
    vv_buf_init(&s->in, 1 << 28);
    vv_buf_init(&s->out, 1 << 28);
    s->next = p->streams;
    p->streams = s;
    return nghttp2_session_set_stream_user_data(session, s->id, s);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user)
{
    stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    (void)flags;
    (void)user;
    if (s != NULL && name_len == 5 && memcmp(name, ":path", 5) == 0)
        snprintf(s->path, sizeof s->path, "%.*s", (int)value_len, (const char *)value);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *user)
{
    stream *s = nghttp2_session_get_stream_user_data(session, id);
    (void)flags;
    (void)user;
    if (s != NULL)
        vv_buf_append(&s->in, data, len);
    return 0;
}

#define NV(n, v)                                                                                   \
    {                                                                                              \
        (uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), strlen(n), strlen(v), 0              \
    }

static ssize_t give_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len,
                         uint32_t *flags, nghttp2_data_source *source, void *user)
{
    stream *s = source->ptr;
    size_t n = s->out.len - s->out_at;
    (void)user;
    n = n < len ? n : len;
    if (n > 0)
        memcpy(buf, s->out.data + s->out_at, n);
    s->out_at += n;
    if (s->out_at == s->out.len) {
        bool fail = strcmp(s->path, "/Fail") == 0;
        const nghttp2_nv trailers[] = {NV("grpc-status", fail ? "9" : "0"),
                                       NV("grpc-message", fail ? "not%20now%0a%25" : ""),
                                       NV("varve-note", "kept")};
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        (void)nghttp2_submit_trailer(session, id, trailers, ARRAY_LEN(trailers));
    }
    return (ssize_t)n;
}

static void put_message(vv_buf *out, uint8_t flag, size_t announced, const void *data, size_t len)
{
    uint8_t prefix[5] = {flag};
    vv_put_be32(prefix + 1, (uint32_t)announced);
    vv_buf_append(out, prefix, sizeof prefix);
    vv_buf_append(out, data, len);
}

static void answer(nghttp2_session *session, peer *p, stream *s)
{
    const nghttp2_nv head[] = {NV(":status", "200"), NV("content-type", "application/grpc")};
    const nghttp2_nv bare[] = {NV(":status", "502")};
    const nghttp2_data_provider body = {.source.ptr = s, .read_callback = give_body};
    if (strcmp(s->path, "/Hang") == 0)
        return;
    if (strcmp(s->path, "/HangUp") == 0) {
        p->hang_up = true;
        return;
    }
    if (strcmp(s->path, "/Reset") == 0) {
        (void)nghttp2_submit_rst_stream(session, 0, s->id, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    if (strcmp(s->path, "/Proxy") == 0) {
        (void)nghttp2_submit_response(session, s->id, bare, 1, NULL);
        return;
    }
    if (strcmp(s->path, "/Echo") == 0 || strcmp(s->path, "/Drain") == 0)
        vv_buf_append_slice(&s->out, vv_buf_slice(&s->in));
    if (strcmp(s->path, "/Flag") == 0)
        put_message(&s->out, 1, 3, "abc", 3);
    if (strcmp(s->path, "/Huge") == 0)
        put_message(&s->out, 0, 0xf0000000, "abc", 3);
    if (strcmp(s->path, "/Drain") == 0)
        (void)nghttp2_submit_goaway(session, 0, s->id, NGHTTP2_NO_ERROR, NULL, 0);
    (void)nghttp2_submit_response(session, s->id, head, ARRAY_LEN(head), &body);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (s != NULL && end && (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS))
        answer(session, user, s);
    return 0;
}

static void serve(peer *p)
{
    static uint8_t buf[1 << 16];
    nghttp2_session_callbacks *cbs = NULL;
    nghttp2_session *session = NULL;
    (void)nghttp2_session_callbacks_new(&cbs);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cbs, on_begin);
    nghttp2_session_callbacks_set_on_header_callback(cbs, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cbs, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cbs, on_frame);
    (void)nghttp2_session_server_new(&session, cbs, p);
    nghttp2_session_callbacks_del(cbs);
    (void)nghttp2_submit_settings(session, 0, NULL, 0);
    p->hang_up = false;
    while (atomic_load(&p->stop) == 0 && !p->hang_up) {
        const uint8_t *data;
        ssize_t n;
        while ((n = nghttp2_session_mem_send(session, &data)) > 0)
            for (ssize_t at = 0; at < n;) {
                ssize_t sent = send(p->fd, data + at, (size_t)(n - at), MSG_NOSIGNAL);
                if (sent <= 0)
                    goto gone;
                at += sent;
            }
        struct pollfd fd = {.fd = p->fd, .events = POLLIN};
        if (poll(&fd, 1, 20) == 0)
            continue;
        n = recv(p->fd, buf, sizeof buf, 0);
        if (n <= 0 || nghttp2_session_mem_recv(session, buf, (size_t)n) < 0)
            break;
    }
gone:
    nghttp2_session_del(session);
    while (p->streams != NULL) {
        stream *s = p->streams;
        p->streams = s->next;
        vv_buf_fini(&s->in);
        vv_buf_fini(&s->out);
        free(s);
    }
    close(p->fd);
}

static void *run_peer(void *arg)
{
    peer *p = arg;
    while (atomic_load(&p->stop) == 0) {
        struct pollfd fd = {.fd = p->listener, .events = POLLIN};
        if (poll(&fd, 1, 20) <= 0)
            continue;
        p->fd = accept(p->listener, NULL, NULL);
        if (p->fd < 0)
            continue;
        int one = 1; /* or window updates wait for delayed acknowledgements */
        (void)setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        atomic_fetch_add(&p->accepted, 1);
        serve(p);
    }
    return NULL;
}

static uint16_t listen_any(int *out)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    *out = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(*out, (struct sockaddr *)&addr, sizeof addr), 0);
    assert_int_equal(listen(*out, 16), 0);
    assert_int_equal(getsockname(*out, (struct sockaddr *)&addr, &len), 0);
    return ntohs(addr.sin_port);
}

static void peer_start(peer *p)
{
    *p = (peer){.fd = -1};
    p->port = listen_any(&p->listener);
    assert_int_equal(pthread_create(&p->thread, NULL, run_peer, p), 0);
}

static void peer_stop(peer *p)
{
    atomic_store(&p->stop, 1);
    (void)pthread_join(p->thread, NULL);
    close(p->listener);
}

static cli_conn *connect_to(uint16_t port, const cli_options *opt)
{
    char address[32];
    cli_conn *conn;
    vv_error err = {0};
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    assert_ok(cli_open(address, opt, &conn, &err), err);
    return conn;
}

static int64_t now_ms(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- the tests ---- */

static void test_addresses(void **state)
{
    (void)state;
    const struct {
        const char *in, *out; /* NULL: refused */
    } cases[] = {
        {"localhost:80", "localhost:80"},
        {"localhost", "localhost:8080"},
        {"[::1]:9", "[::1]:9"},
        {"[::1]", "[::1]:8080"},
        {"10.0.0.1:1", "10.0.0.1:1"},
        {"", NULL},
        {":80", NULL},
        {"host:", NULL},
        {"host:port", NULL},
        {"[::1", NULL},
        {"[::1]x", NULL},
        {"host:123456", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cli_conn *conn = NULL;
        vv_error err = {0};
        vv_status st = cli_open(cases[i].in, NULL, &conn, &err);
        if ((st == VV_OK) != (cases[i].out != NULL))
            fail_msg("'%s': %s", cases[i].in, err.msg);
        if (st == VV_OK)
            assert_string_equal(cli_address(conn), cases[i].out);
        cli_close(conn);
    }
}

static void test_unary(void **state)
{
    (void)state;
    peer p;
    peer_start(&p);
    cli_conn *conn = connect_to(p.port, NULL);
    const size_t sizes[] = {0, 1, 16384, 65535, 10 << 20};
    uint8_t *bytes = malloc(10 << 20);
    memset(bytes, 'x', 10 << 20);
    vv_buf reply;
    vv_buf_init(&reply, 64 << 20);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        vv_error err = {0};
        cli_result result;
        vv_slice request = vv_slice_of(bytes, sizes[i]);
        assert_ok(cli_unary(conn, "/Echo", request, 20 * VV_NS_PER_S, &reply, &result, &err), err);
        assert_true(vv_slice_eq(vv_buf_slice(&reply), request));
        assert_int_equal(result.code, 0);
        assert_string_equal(result.trailers[0].name, "varve-note");
        assert_string_equal(result.trailers[0].value, "kept");
    }
    assert_int_equal(atomic_load(&p.accepted), 1); /* one connection for all */
    assert_int_equal(cli_open_calls(conn), 0);
    free(bytes);
    vv_buf_fini(&reply);
    cli_close(conn);
    peer_stop(&p);
}

static void test_failures_have_their_words(void **state)
{
    (void)state;
    const struct {
        const char *path;
        int code;
        vv_status status; /* of the call */
        const char *words;
    } cases[] = {
        {"/Fail", 9, VV_IO, "not now"},           {"/Empty", 0, VV_IO, "without a message"},
        {"/Reset", 2, VV_IO, "no grpc-status"},   {"/Proxy", 2, VV_IO, "HTTP 502"},
        {"/Flag", 13, VV_IO, "malformed"},        {"/Huge", 13, VV_IO, "over"},
        {"/HangUp", -1, VV_CLOSED, "connection"},
    };
    peer p;
    peer_start(&p);
    cli_conn *conn = connect_to(p.port, NULL);
    vv_buf reply;
    vv_buf_init(&reply, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_error err = {0};
        cli_result result = {0};
        vv_status st = cli_unary(conn, cases[i].path, vv_slice_str("q"), 20 * VV_NS_PER_S, &reply,
                                 &result, &err);
        if (st == VV_OK || result.code != cases[i].code || strstr(err.msg, cases[i].words) == NULL)
            fail_msg("%s: %s, code %d: %s", cases[i].path, vv_status_name(st), result.code,
                     err.msg);
        if (cases[i].status == VV_CLOSED)
            assert_int_equal(st, VV_CLOSED);
        /* The connection, or a new one, goes on. */
        assert_ok(
            cli_unary(conn, "/Echo", vv_slice_str("after"), 20 * VV_NS_PER_S, &reply, NULL, &err),
            err);
    }
    vv_buf_fini(&reply);
    cli_close(conn);
    peer_stop(&p);
}

static void test_deadline(void **state)
{
    (void)state;
    peer p;
    peer_start(&p);
    cli_conn *conn = connect_to(p.port, NULL);
    vv_buf reply;
    vv_error err = {0};
    cli_result result;
    vv_buf_init(&reply, 1 << 20);
    int64_t begin = now_ms();
    assert_status(VV_TIMEOUT, cli_unary(conn, "/Hang", vv_slice_str("q"), 100 * VV_NS_PER_MS,
                                        &reply, &result, &err));
    assert_true(now_ms() - begin >= 99 && now_ms() - begin < 5000);
    assert_int_equal(result.code, 4);
    assert_ok(cli_unary(conn, "/Echo", vv_slice_str("q"), 20 * VV_NS_PER_S, &reply, NULL, &err),
              err);
    assert_int_equal(atomic_load(&p.accepted), 1);
    vv_buf_fini(&reply);
    cli_close(conn);
    peer_stop(&p);
}

/* GOAWAY: what is open finishes, the next call goes over a new connection. */
static void test_a_draining_server(void **state)
{
    (void)state;
    peer p;
    peer_start(&p);
    cli_conn *conn = connect_to(p.port, NULL);
    vv_buf reply;
    vv_error err = {0};
    vv_buf_init(&reply, 1 << 20);
    for (int i = 1; i <= 3; i++) {
        assert_ok(
            cli_unary(conn, "/Drain", vv_slice_str("q"), 20 * VV_NS_PER_S, &reply, NULL, &err),
            err);
        assert_true(vv_slice_eq(vv_buf_slice(&reply), vv_slice_str("q")));
        assert_int_equal(atomic_load(&p.accepted), i);
    }
    vv_buf_fini(&reply);
    cli_close(conn);
    peer_stop(&p);
}

static void test_streams(void **state)
{
    (void)state;
    peer p;
    peer_start(&p);
    cli_conn *conn = connect_to(p.port, NULL);
    vv_buf message;
    vv_error err = {0};
    cli_stream *s;
    vv_buf_init(&message, 1 << 20);
    assert_ok(cli_stream_open(conn, "/Echo", 0, &s, &err), err);
    assert_status(VV_TIMEOUT, cli_stream_receive(s, false, &message, &err));
    for (int i = 0; i < 5000; i++) {
        char text[600];
        memset(text, 'm', sizeof text);
        snprintf(text, sizeof text, "message %d", i);
        assert_ok(cli_stream_send(s, vv_slice_of(text, sizeof text), &err), err);
    }
    cli_stream_half_close(s);
    for (int i = 0; i < 5000; i++) {
        char text[32];
        assert_ok(cli_stream_receive(s, true, &message, &err), err);
        snprintf(text, sizeof text, "message %d", i);
        assert_int_equal(message.len, 600);
        assert_string_equal((char *)message.data, text);
    }
    assert_status(VV_NOT_FOUND, cli_stream_receive(s, true, &message, &err));
    assert_int_equal(cli_stream_result(s)->code, 0);
    cli_stream_close(s);
    assert_ok(cli_stream_open(conn, "/Hang", 0, &s, &err), err); /* left open: cancelled */
    assert_ok(cli_stream_send(s, vv_slice_str("q"), &err), err);
    cli_stream_close(s);
    assert_int_equal(cli_open_calls(conn), 0);
    assert_ok(cli_stream_open(conn, "/Fail", 0, &s, &err), err);
    cli_stream_half_close(s);
    assert_true(cli_stream_receive(s, true, &message, &err) != VV_OK);
    assert_int_equal(cli_stream_result(s)->code, 9);
    cli_stream_close(s);
    vv_buf_fini(&message);
    cli_close(conn);
    peer_stop(&p);
}

static void test_nobody_there(void **state)
{
    (void)state;
    int fd;
    uint16_t port = listen_any(&fd);
    close(fd); /* now nobody listens there */
    const cli_options opt = {.connect_timeout_ns = 200 * VV_NS_PER_MS};
    cli_conn *conn = connect_to(port, &opt);
    vv_buf reply;
    vv_error err = {0};
    vv_buf_init(&reply, 1 << 20);
    int64_t begin = now_ms();
    assert_status(VV_CLOSED,
                  cli_unary(conn, "/Echo", vv_slice_str("q"), VV_NS_PER_S, &reply, NULL, &err));
    assert_true(now_ms() - begin < 3000);
    assert_non_null(strstr(err.msg, "is varved running there?"));
    vv_buf_fini(&reply);
    cli_close(conn);
}

/* A peer that accepts and never says a word is given up after two keepalive periods. */
static void test_a_silent_peer(void **state)
{
    (void)state;
    int fd;
    uint16_t port = listen_any(&fd);
    const cli_options opt = {.keepalive_ns = 100 * VV_NS_PER_MS};
    cli_conn *conn = connect_to(port, &opt);
    vv_buf reply;
    vv_error err = {0};
    vv_buf_init(&reply, 1 << 20);
    int64_t begin = now_ms();
    assert_status(VV_CLOSED, cli_unary(conn, "/Echo", vv_slice_str("q"), 0, &reply, NULL, &err));
    assert_true(now_ms() - begin < 5000);
    assert_non_null(strstr(err.msg, "keepalive"));
    vv_buf_fini(&reply);
    cli_close(conn);
    close(fd);
}

/* One canned answer to whatever comes. */
typedef struct canned {
    int listener;
    const char *answer;
} canned;

static void *run_canned(void *arg)
{
    const canned *c = arg;
    char buf[4096];
    int fd = accept(c->listener, NULL, NULL);
    if (fd < 0)
        return NULL;
    (void)recv(fd, buf, sizeof buf, 0);
    (void)send(fd, c->answer, strlen(c->answer), MSG_NOSIGNAL);
    close(fd);
    return NULL;
}

static void test_peers_that_speak_something_else(void **state)
{
    (void)state;
    const struct {
        const char *answer;
        int http; /* status of cli_http_get; 0: it fails */
        const char *body;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello"},
        {"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", 503, ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", 0, NULL},
        {"SSH-2.0-OpenSSH_9.2\r\n", 0, NULL},
        {"\x01\x02\x03", 0, NULL},
        {"", 0, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (int grpc = 0; grpc < 2; grpc++) {
            canned c = {.answer = cases[i].answer};
            pthread_t thread;
            char address[32];
            vv_buf out;
            vv_error err = {0};
            int status = 0;
            uint16_t port = listen_any(&c.listener);
            snprintf(address, sizeof address, "127.0.0.1:%u", port);
            vv_buf_init(&out, 1 << 16);
            assert_int_equal(pthread_create(&thread, NULL, run_canned, &c), 0);
            if (grpc) {
                cli_conn *conn = connect_to(port, NULL);
                assert_status(VV_CLOSED, cli_unary(conn, "/Echo", vv_slice_str("q"),
                                                   5 * VV_NS_PER_S, &out, NULL, &err));
                cli_close(conn);
            } else {
                vv_status st =
                    cli_http_get(address, "/health", 5 * VV_NS_PER_S, &status, &out, &err);
                if ((st == VV_OK) != (cases[i].http != 0) ||
                    (st == VV_OK && status != cases[i].http))
                    fail_msg("%s: %s, %d", cases[i].answer, err.msg, status);
                if (st == VV_OK)
                    assert_true(vv_slice_eq(vv_buf_slice(&out), vv_slice_str(cases[i].body)));
            }
            (void)pthread_join(thread, NULL);
            close(c.listener);
            vv_buf_fini(&out);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_unary),
        cmocka_unit_test(test_failures_have_their_words),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_a_draining_server),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_a_silent_peer),
        cmocka_unit_test(test_peers_that_speak_something_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
