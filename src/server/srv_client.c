#include "server/srv_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/util.h"
#include "server/grpc_frame.h"

#define BYTES_MAX (256u * 1024u * 1024u)

int64_t cli_now_ms(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / VV_NS_PER_MS;
}

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    (void)fprintf(stderr, "test client: %s: %s\n", what, strerror(errno));
    abort();
}

/* ---- raw ---- */

int raw_connect(uint16_t port)
{
    const int on = 1;
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0, "socket");
    must(connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0, "connect");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

/* A signal (a ring of the store under test sends some) is no answer. */
static int poll_one(struct pollfd *p, int ms)
{
    int n;
    do
        n = poll(p, 1, ms);
    while (n < 0 && errno == EINTR);
    return n;
}

bool raw_write(int fd, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    while (len > 0) {
        struct pollfd pfd = {.fd = fd, .events = POLLOUT};
        if (poll_one(&pfd, 10000) <= 0)
            return false;
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n < 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

int raw_read_errno;

/* 1: bytes came, 0: closed, -1: ms passed. */
static int read_some(int fd, vv_buf *out, int ms)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    if (poll_one(&pfd, ms < 0 ? 0 : ms) <= 0)
        return -1;
    uint8_t *to = vv_buf_reserve(out, 65536);
    must(to != NULL, "read buffer");
    ssize_t n;
    do
        n = recv(fd, to, 65536, 0);
    while (n < 0 && errno == EINTR);
    raw_read_errno = n < 0 ? errno : 0;
    if (n <= 0)
        return 0;
    vv_buf_advance(out, (size_t)n);
    return 1;
}

bool raw_read_all(int fd, vv_buf *out, int ms)
{
    int64_t end = cli_now_ms() + ms;
    for (;;) {
        int got = read_some(fd, out, (int)(end - cli_now_ms()));
        if (got <= 0)
            return got == 0;
    }
}

bool raw_read_until(int fd, vv_buf *out, const char *text, int ms)
{
    int64_t end = cli_now_ms() + ms;
    for (;;) {
        if (out->len > 0 && memmem(out->data, out->len, text, strlen(text)) != NULL)
            return true;
        if (read_some(fd, out, (int)(end - cli_now_ms())) <= 0)
            return out->len > 0 && memmem(out->data, out->len, text, strlen(text)) != NULL;
    }
}

void raw_frame(vv_buf *out, uint8_t type, uint8_t flags, uint32_t stream, const void *payload,
               size_t len)
{
    uint8_t head[9] = {(uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len, type, flags};
    vv_put_be32(head + 5, stream);
    vv_buf_append(out, head, sizeof head);
    vv_buf_append(out, payload, len);
}

void raw_preface(vv_buf *out)
{
    vv_buf_append_str(out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    raw_frame(out, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
}

static void literal(vv_buf *out, const char *name, const char *value)
{
    must(strlen(name) < 127 && strlen(value) < 127, "short literals only");
    vv_buf_append_u8(out, 0x00);
    vv_buf_append_u8(out, (uint8_t)strlen(name));
    vv_buf_append_str(out, name);
    vv_buf_append_u8(out, (uint8_t)strlen(value));
    vv_buf_append_str(out, value);
}

void raw_headers(vv_buf *out, uint32_t stream, const char *path, uint8_t flags)
{
    vv_buf block;
    vv_buf_init(&block, 4096);
    literal(&block, ":method", "POST");
    literal(&block, ":scheme", "http");
    literal(&block, ":path", path);
    literal(&block, ":authority", "t");
    literal(&block, "te", "trailers");
    literal(&block, "content-type", "application/grpc");
    raw_frame(out, NGHTTP2_HEADERS, flags, stream, block.data, block.len);
    vv_buf_fini(&block);
}

bool raw_find_frame(vv_slice in, uint8_t type, size_t n, uint32_t *stream, vv_slice *payload)
{
    while (in.len >= 9) {
        size_t len = (size_t)in.data[0] << 16 | (size_t)in.data[1] << 8 | in.data[2];
        if (in.len < 9 + len)
            return false;
        if (in.data[3] == type && n-- == 0) {
            *stream = vv_get_be32(in.data + 5);
            *payload = vv_slice_of(in.data + 9, len);
            return true;
        }
        in.data += 9 + len;
        in.len -= 9 + len;
    }
    return false;
}

/* ---- nghttp2 ---- */

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user)
{
    (void)flags;
    (void)user;
    cli_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (s == NULL)
        return 0;
    const struct {
        const char *name;
        char *to;
        size_t size;
    } texts[] = {
        {"grpc-message", s->message, sizeof s->message},
        {"x-why", s->trailer, sizeof s->trailer},
        {"varve-durability", s->durability, sizeof s->durability},
        {"content-type", s->type, sizeof s->type},
    };
    char text[16];
    vv_slice n = vv_slice_of(name, name_len);
    (void)snprintf(text, sizeof text, "%.*s", (int)value_len, (const char *)value);
    if (vv_slice_eq(n, vv_slice_str(":status")))
        s->http_status = atoi(text);
    else if (vv_slice_eq(n, vv_slice_str("grpc-status")))
        s->grpc_status = atoi(text);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (vv_slice_eq(n, vv_slice_str(texts[i].name)))
            (void)snprintf(texts[i].to, texts[i].size, "%.*s", (int)value_len, (const char *)value);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *user)
{
    (void)flags;
    cli *c = user;
    cli_stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (s != NULL)
        vv_buf_append(&s->in, data, len);
    if (!c->no_consume)
        (void)nghttp2_session_consume(session, id, len);
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *user)
{
    (void)user;
    cli_stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (s != NULL) {
        s->closed = true;
        s->error = error;
    }
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)session;
    cli *c = user;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        if (!c->goaway)
            c->goaway_first = frame->goaway.last_stream_id;
        c->goaway = true;
        c->goaway_error = frame->goaway.error_code;
    }
    return 0;
}

static ssize_t read_out(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len,
                        uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)id;
    (void)user;
    cli_stream *s = source->ptr;
    size_t n = vv_min_u64(s->out.len - s->out_done, len);
    if (n > 0)
        memcpy(buf, s->out.data + s->out_done, n);
    s->out_done += n;
    if (s->out_done == s->out.len && s->out_end)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    else if (n == 0)
        return NGHTTP2_ERR_DEFERRED;
    return (ssize_t)n;
}

cli *cli_open(uint16_t port, uint32_t window)
{
    cli *c = vv_calloc(1, sizeof *c);
    if (c == NULL)
        c = vv_calloc(1, sizeof *c); /* a fault walk lets one allocation fail, not two */
    must(c != NULL, "memory");
    c->fd = raw_connect(port);
    must(fcntl(c->fd, F_SETFL, O_NONBLOCK) == 0, "nonblocking");
    nghttp2_session_callbacks *cbs = NULL;
    nghttp2_option *option = NULL;
    must(nghttp2_session_callbacks_new(&cbs) == 0 && nghttp2_option_new(&option) == 0, "session");
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_session_callbacks_set_on_header_callback(cbs, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cbs, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cbs, on_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cbs, on_frame);
    must(nghttp2_session_client_new2(&c->session, cbs, c, option) == 0, "session");
    nghttp2_session_callbacks_del(cbs);
    nghttp2_option_del(option);
    nghttp2_settings_entry iv[] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window > 0 ? window : 65535}};
    must(nghttp2_submit_settings(c->session, 0, iv, 1) == 0, "settings");
    if (window > 65535)
        (void)nghttp2_session_set_local_window_size(c->session, 0, 0, (int32_t)window);
    (void)cli_pump(c, 20);
    return c;
}

void cli_close(cli *c)
{
    for (size_t i = 0; i < CLI_STREAMS; i++) {
        vv_buf_fini(&c->streams[i].in);
        vv_buf_fini(&c->streams[i].out);
    }
    nghttp2_session_del(c->session);
    (void)close(c->fd);
    vv_free(c);
}

static cli_stream *new_stream(cli *c)
{
    for (size_t i = 0; i < CLI_STREAMS; i++)
        if (!c->streams[i].used) {
            cli_stream *s = &c->streams[i];
            *s = (cli_stream){.used = true, .grpc_status = -1};
            vv_buf_init(&s->in, BYTES_MAX);
            vv_buf_init(&s->out, BYTES_MAX);
            return s;
        }
    must(false, "too many streams");
    return NULL;
}

static nghttp2_nv nv(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                        strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static cli_stream *submit(cli *c, nghttp2_nv *nvs, size_t count, bool body)
{
    cli_stream *s = new_stream(c);
    nghttp2_data_provider source = {.source.ptr = s, .read_callback = read_out};
    s->id = nghttp2_submit_request(c->session, NULL, nvs, count, body ? &source : NULL, s);
    must(s->id > 0, "submit");
    return s;
}

cli_stream *cli_call(cli *c, const char *path, const char *const *extra)
{
    nghttp2_nv nvs[64] = {nv(":method", "POST"), nv(":scheme", "http"),
                          nv(":path", path),     nv(":authority", "test"),
                          nv("te", "trailers"),  nv("content-type", "application/grpc")};
    size_t n = 6;
    for (; extra != NULL && extra[0] != NULL && n < ARRAY_LEN(nvs); extra += 2)
        nvs[n++] = nv(extra[0], extra[1]);
    return submit(c, nvs, n, true);
}

cli_stream *cli_request(cli *c, const char *verb, const char *path, const char *type)
{
    nghttp2_nv nvs[8] = {nv(":method", verb), nv(":scheme", "http"), nv(":path", path),
                         nv(":authority", "test")};
    size_t n = 4;
    if (type != NULL)
        nvs[n++] = nv("content-type", type);
    bool body = strcmp(verb, "GET") != 0 && strcmp(verb, "HEAD") != 0;
    return submit(c, nvs, n, body);
}

void cli_send(cli *c, cli_stream *s, vv_slice bytes, bool end)
{
    vv_buf_append_slice(&s->out, bytes);
    s->out_end = end;
    (void)nghttp2_session_resume_data(c->session, s->id);
}

void cli_message(cli *c, cli_stream *s, vv_slice message, bool end)
{
    uint8_t prefix[GRPC_PREFIX_LEN];
    grpc_prefix_write(prefix, (uint32_t)message.len);
    cli_send(c, s, vv_slice_of(prefix, sizeof prefix), false);
    cli_send(c, s, message, end);
}

void cli_reset(cli *c, cli_stream *s)
{
    (void)nghttp2_submit_rst_stream(c->session, 0, s->id, NGHTTP2_CANCEL);
}

/* Write what the session has. False when the connection is broken. */
static bool push(cli *c)
{
    for (;;) {
        const uint8_t *bytes;
        ssize_t n = nghttp2_session_mem_send(c->session, &bytes);
        if (n <= 0)
            return n == 0;
        while (n > 0) {
            size_t part = c->chunk_max > 0 ? vv_min_u64((uint64_t)n, c->chunk_max) : (size_t)n;
            if (!raw_write(c->fd, bytes, part))
                return false;
            bytes += part;
            n -= (ssize_t)part;
        }
    }
}

/* Read what is there. False at the end. */
static bool pull(cli *c, int ms)
{
    static uint8_t buf[256 * 1024];
    struct pollfd pfd = {.fd = c->fd, .events = POLLIN};
    if (poll_one(&pfd, ms) <= 0)
        return true;
    ssize_t n = recv(c->fd, buf, sizeof buf, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0)
        return false;
    return nghttp2_session_mem_recv(c->session, buf, (size_t)n) >= 0;
}

static bool step(cli *c, int ms)
{
    if (c->eof)
        return false;
    bool alive = push(c);
    if (c->no_read) {
        (void)poll(NULL, 0, ms);
    } else {
        bool open = pull(c, alive ? ms : 0);
        alive = alive && open && push(c);
    }
    c->eof = !alive;
    return alive;
}

bool cli_pump(cli *c, int ms)
{
    int64_t end = cli_now_ms() + ms;
    do {
        if (!step(c, (int)vv_min_u64((uint64_t)ms, 10)))
            return false;
    } while (cli_now_ms() < end);
    return true;
}

bool cli_wait(cli *c, cli_stream *s, int ms)
{
    int64_t end = cli_now_ms() + ms;
    while (!s->closed && cli_now_ms() < end && step(c, 10))
        ;
    return s->closed;
}

bool cli_wait_data(cli *c, cli_stream *s, size_t n, int ms)
{
    int64_t end = cli_now_ms() + ms;
    while (s->in.len < n && !s->closed && cli_now_ms() < end && step(c, 10))
        ;
    return s->in.len >= n;
}

bool cli_wait_eof(cli *c, int ms)
{
    int64_t end = cli_now_ms() + ms;
    while (cli_now_ms() < end && step(c, 10))
        ;
    return c->eof;
}

cli_stream *cli_unary(cli *c, const char *path, vv_slice message, const char *const *extra)
{
    cli_stream *s = cli_call(c, path, extra);
    cli_message(c, s, message, true);
    (void)cli_wait(c, s, 10000);
    return s;
}
