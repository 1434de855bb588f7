/*
 * http2.c - one HTTP/2 connection, and the only file that knows nghttp2.
 *
 *   bytes in  -> nghttp2_session_mem_recv -> callbacks -> srv_request_*    -> handler
 *   bytes out <- nghttp2_session_mem_send <- data source <- output of a call <- handler
 *
 * Rules that keep it simple: handlers are called from inside nghttp2's callbacks, but nothing they
 * do reaches nghttp2 before the loop runs their call's items, outside of any callback. Windows are
 * ours: every received byte is credited exactly once, to its stream when its message is released,
 * to the connection at once unless handlers hold much. Data is copied once, from the message that
 * was queued into the buffer that is written (NO_COPY and send_data_callback).
 */
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "server/srv_int.h"

#define FRAME_HEAD 9u
#define OUT_FRAME_MAX (64u * 1024u) /* of our DATA frames, when the peer allows it */

/* Frames that move nothing forward (ping, settings, priority, empty data): a peer that sends only
 * those is cut off. Each DATA or HEADERS frame we send gives one back, for honest clients ping
 * while they measure bandwidth. */
#define IDLE_FRAMES_BURST 1000
#define IDLE_FRAMES_PER_S 100

typedef struct http2 {
    nghttp2_session *session;
    vv_buf *out; /* during output() */
    int64_t idle_frames;
    int64_t idle_frames_ns; /* when it was last refilled */
} http2;

static http2 *state_of(const srv_conn *conn)
{
    return conn->proto_state;
}

static srv_call *call_of(nghttp2_session *session, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(session, stream_id);
}

/* A failure that nghttp2 calls fatal (in effect: no memory) leaves its session unusable. */
static void must(srv_conn *conn, int rc)
{
    if (rc < 0 && nghttp2_is_fatal(rc))
        srv_conn_kill(conn);
}

/* ---- requests in ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    srv_conn *conn = user;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    srv_call *call = srv_call_create(conn, frame->hd.stream_id);
    if (call == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* resets the stream */
    (void)nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
    return 0;
}

/* Between the two transports; no handler asks for it. */
static bool is_ours(const uint8_t *name, size_t len)
{
    switch (len) {
    case 2:
        return memcmp(name, "te", 2) == 0;
    case 7:
        return memcmp(name, ":scheme", 7) == 0;
    case 20:
        return memcmp(name, "grpc-accept-encoding", 20) == 0;
    default:
        return false;
    }
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user)
{
    (void)flags;
    srv_conn *conn = user;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0; /* request trailers carry nothing we use */
    srv_call *call = call_of(session, frame->hd.stream_id);
    if (call == NULL || call->header_overflow)
        return 0;
    call->headers_size += (uint32_t)(name_len + value_len + 32);
    if (call->headers_size > conn->server->opt.header_max ||
        (!is_ours(name, name_len) &&
         !srv_call_header_add(call, vv_slice_of(name, name_len), vv_slice_of(value, value_len))))
        call->header_overflow = true;
    return 0;
}

static void refill_idle_frames(http2 *h, int64_t now_ns)
{
    int64_t more = (now_ns - h->idle_frames_ns) * IDLE_FRAMES_PER_S / VV_NS_PER_S;
    if (more <= 0)
        return;
    h->idle_frames_ns = now_ns;
    h->idle_frames += more;
    if (h->idle_frames > IDLE_FRAMES_BURST)
        h->idle_frames = IDLE_FRAMES_BURST;
}

static bool moves_nothing(const nghttp2_frame_hd *hd)
{
    switch (hd->type) {
    case NGHTTP2_DATA:
        return hd->length == 0 && (hd->flags & NGHTTP2_FLAG_END_STREAM) == 0;
    case NGHTTP2_PING:
    case NGHTTP2_SETTINGS:
        return (hd->flags & NGHTTP2_FLAG_ACK) == 0;
    case NGHTTP2_HEADERS:
    case NGHTTP2_CONTINUATION: /* nghttp2 has its own limit */
    case NGHTTP2_RST_STREAM:   /* likewise */
    case NGHTTP2_WINDOW_UPDATE:
    case NGHTTP2_GOAWAY:
        return false;
    default:
        return true;
    }
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user)
{
    srv_conn *conn = user;
    if (!moves_nothing(hd))
        return 0;
    http2 *h = state_of(conn);
    if (--h->idle_frames < 0)
        refill_idle_frames(h, conn->loop->now_ns);
    if (h->idle_frames < 0)
        must(conn, nghttp2_session_terminate_session(session, NGHTTP2_ENHANCE_YOUR_CALM));
    return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    srv_conn *conn = user;
    if (frame->hd.type == NGHTTP2_SETTINGS)
        conn->proto_ready = true;
    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0)
        conn->ping_sent = false;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    srv_call *call = call_of(session, frame->hd.stream_id);
    if (call == NULL)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        srv_request_begin(call, true);
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        srv_request_end(call);
    return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id,
                         const uint8_t *data, size_t len, void *user)
{
    (void)flags;
    srv_conn *conn = user;
    srv_conn_received(conn, len);
    srv_call *call = call_of(session, stream_id);
    if (call == NULL)
        must(conn, nghttp2_session_consume_stream(session, stream_id, len));
    else
        srv_request_data(call, vv_slice_of(data, len));
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error, void *user)
{
    srv_conn *conn = user;
    srv_call *call = call_of(session, stream_id);
    if (call == NULL)
        return 0;
    (void)nghttp2_session_set_stream_user_data(session, stream_id, NULL);
    if (error != NGHTTP2_NO_ERROR && !call->response_ended)
        srv_count(&conn->loop->counters.resets, 1);
    srv_call_detach(call);
    return 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error,
                            void *user)
{
    (void)session;
    (void)frame;
    (void)error;
    srv_conn *conn = user;
    srv_count(&conn->loop->counters.protocol_errors, 1);
    return 0;
}

static bool input(srv_conn *conn, vv_slice in)
{
    http2 *h = state_of(conn);
    ssize_t n = nghttp2_session_mem_recv(h->session, in.data, in.len);
    srv_conn_dirty(conn);
    if (n >= 0)
        return true;
    srv_count(&conn->loop->counters.protocol_errors, 1);
    return false; /* flooded, no preface, or no memory: the session is lost */
}

static void input_end(srv_conn *conn)
{
    /* HTTP/2 has no half-closed connections: nobody will read the answers. */
    srv_conn_kill(conn);
}

static size_t want_input(const srv_conn *conn)
{
    return nghttp2_session_want_read(state_of(conn)->session) != 0 ? SRV_READ_SIZE : 0;
}

/* ---- answers out ---- */

static nghttp2_nv pair(const char *name, const char *value, size_t value_len)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                        value_len, NGHTTP2_NV_FLAG_NONE};
}

/* Constants: nghttp2 need not copy them. */
static nghttp2_nv fixed_pair(const char *name, const char *value)
{
    nghttp2_nv nv = pair(name, value, strlen(value));
    nv.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE;
    return nv;
}

#define TRAILERS_MAX 32u

/* grpc-status, grpc-message and the handler's own pairs. text has room for the status. */
static size_t status_pairs(const srv_call *call, nghttp2_nv *nv, char text[2])
{
    size_t n = 0;
    text[0] = (char)('0' + call->code / 10);
    text[1] = (char)('0' + call->code % 10);
    nv[n++] = call->code < 10 ? pair("grpc-status", text + 1, 1) : pair("grpc-status", text, 2);
    if (call->message != NULL)
        nv[n++] = pair("grpc-message", call->message, strlen(call->message));
    for (const srv_item *t = call->trailers; t != NULL && n < TRAILERS_MAX; t = t->next) {
        const char *name = (const char *)t->body.data;
        size_t name_len = strlen(name);
        nv[n++] = pair(name, name + name_len + 1, t->body.len - name_len - 1);
    }
    return n;
}

static ssize_t read_output(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t len,
                           uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void)buf;
    (void)user;
    srv_call *call = source->ptr;
    size_t n = vv_min_u64(call->out_bytes, len);
    if (n == 0 && !call->ended)
        return NGHTTP2_ERR_DEFERRED;
    if (n > 0)
        *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n < call->out_bytes || !call->ended)
        return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (!call->is_http) {
        nghttp2_nv nv[TRAILERS_MAX];
        char text[2];
        size_t count = status_pairs(call, nv, text);
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (nghttp2_submit_trailer(session, stream_id, nv, count) != 0)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    call->response_ended = true;
    return (ssize_t)n;
}

static int send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                     size_t len, nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)frame; /* never padded: we set no padding callback */
    srv_conn *conn = user;
    vv_buf *out = state_of(conn)->out;
    uint8_t *to = vv_buf_reserve(out, FRAME_HEAD + len);
    if (to == NULL)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    memcpy(to, head, FRAME_HEAD);
    srv_call_out_take(source->ptr, to + FRAME_HEAD, len);
    vv_buf_advance(out, FRAME_HEAD + len);
    return out->len < SRV_WRITE_SIZE ? 0 : NGHTTP2_ERR_PAUSE;
}

static ssize_t frame_length(nghttp2_session *session, uint8_t frame_type, int32_t stream_id,
                            int32_t session_window, int32_t stream_window, uint32_t frame_max,
                            void *user)
{
    (void)session;
    (void)frame_type;
    (void)stream_id;
    (void)user;
    int64_t n = vv_min_u64(frame_max, OUT_FRAME_MAX);
    n = n < session_window ? n : session_window;
    return (ssize_t)(n < stream_window ? n : stream_window);
}

static bool submit_grpc(srv_call *call, nghttp2_session *session)
{
    nghttp2_nv nv[3 + TRAILERS_MAX];
    char text[2];
    size_t n = 0;
    nv[n++] = fixed_pair(":status", "200");
    nv[n++] = fixed_pair("content-type", "application/grpc");
    nv[n++] = fixed_pair("grpc-accept-encoding", GRPC_ACCEPT_ENCODING);
    if (call->ended && call->out_bytes == 0) { /* trailers only */
        n += status_pairs(call, nv + n, text);
        call->response_ended = true;
        return nghttp2_submit_response(session, call->stream_id, nv, n, NULL) == 0;
    }
    nghttp2_data_provider source = {.source.ptr = call, .read_callback = read_output};
    return nghttp2_submit_response(session, call->stream_id, nv, n, &source) == 0;
}

#define EXTRA_MAX 4u
#define EXTRA_NAME_MAX 64u

/* One line "Name: value" as HTTP/2 has it. False: it is none. */
static bool extra_pair(const char *line, size_t len, char name[EXTRA_NAME_MAX], nghttp2_nv *out)
{
    const char *colon = memchr(line, ':', len);
    size_t name_len = colon == NULL ? 0 : (size_t)(colon - line);
    if (name_len == 0 || name_len >= EXTRA_NAME_MAX)
        return false;
    for (size_t i = 0; i < name_len; i++)
        name[i] = (char)(line[i] >= 'A' && line[i] <= 'Z' ? line[i] + 32 : line[i]);
    name[name_len] = '\0';
    const char *end = line + len;
    const char *value = colon + 1;
    while (value < end && *value == ' ')
        value++;
    *out = pair(name, value, (size_t)(end - value));
    return true;
}

/* The handler's own headers. Returns how many. */
static size_t extra_pairs(const char *extra, char names[EXTRA_MAX][EXTRA_NAME_MAX], nghttp2_nv *out)
{
    size_t n = 0;
    while (extra != NULL && n < EXTRA_MAX) {
        const char *stop = strstr(extra, "\r\n");
        size_t len = stop == NULL ? strlen(extra) : (size_t)(stop - extra);
        if (extra_pair(extra, len, names[n], &out[n]))
            n++;
        extra = stop == NULL ? NULL : stop + 2;
    }
    return n;
}

static bool submit_http(srv_call *call, nghttp2_session *session)
{
    nghttp2_nv nv[3 + EXTRA_MAX];
    char status[8], length[24], names[EXTRA_MAX][EXTRA_NAME_MAX];
    size_t n = 0;
    (void)snprintf(status, sizeof status, "%d", call->reply_status);
    (void)snprintf(length, sizeof length, "%zu", call->reply_len);
    const bool is_open = call->is_streamed && !call->ended && !call->verb_head;
    nv[n++] = pair(":status", status, strlen(status));
    if (call->reply_status != 204 && call->reply_status != 304 && !call->is_streamed)
        nv[n++] = pair("content-length", length, strlen(length));
    if (call->reply_type != NULL)
        nv[n++] = pair("content-type", call->reply_type, strlen(call->reply_type));
    n += extra_pairs(call->reply_extra, names, &nv[n]);
    nghttp2_data_provider source = {.source.ptr = call, .read_callback = read_output};
    bool empty = call->out_bytes == 0 && !is_open;
    call->response_ended = empty;
    return nghttp2_submit_response(session, call->stream_id, nv, n, empty ? NULL : &source) == 0;
}

static void reset(srv_call *call)
{
    call->response_begun = call->response_ended = true;
    must(call->conn, nghttp2_submit_rst_stream(state_of(call->conn)->session, NGHTTP2_FLAG_NONE,
                                               call->stream_id, NGHTTP2_CANCEL));
    srv_conn_dirty(call->conn);
}

static void call_ready(srv_call *call)
{
    nghttp2_session *session = state_of(call->conn)->session;
    srv_conn_dirty(call->conn);
    if (call->response_begun) {
        must(call->conn, nghttp2_session_resume_data(session, call->stream_id));
        return; /* that it was not deferred is no failure */
    }
    if (call->is_http && !call->ended && !call->is_streamed)
        return;
    call->response_begun = true;
    if (!(call->is_http ? submit_http(call, session) : submit_grpc(call, session)))
        reset(call);
}

/* Our side of the stream is over. When the client's is not, tell it to stop: but only now, since
 * queued earlier the reset would overtake the trailers. */
static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    srv_conn *conn = user;
    uint8_t type = frame->hd.type;
    if (type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR)
        srv_count(&conn->loop->counters.protocol_errors, 1);
    if (type != NGHTTP2_HEADERS && type != NGHTTP2_DATA)
        return 0;
    http2 *h = state_of(conn);
    if (h->idle_frames < IDLE_FRAMES_BURST)
        h->idle_frames++;
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
        return 0;
    srv_call *call = call_of(session, frame->hd.stream_id);
    if (call != NULL && !call->request_ended)
        must(conn, nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                             NGHTTP2_NO_ERROR));
    return 0;
}

static bool output(srv_conn *conn, vv_buf *out)
{
    http2 *h = state_of(conn);
    h->out = out;
    while (out->len < SRV_WRITE_SIZE) {
        const uint8_t *bytes;
        ssize_t n = nghttp2_session_mem_send(h->session, &bytes);
        if (n < 0)
            return false;
        vv_buf_append(out, bytes, (size_t)n);
        if (out->status != VV_OK)
            return false;
        if (n == 0)
            break;
    }
    return true;
}

/* ---- the rest of the protocol's table ---- */

static void credit(srv_call *call, size_t bytes)
{
    must(call->conn,
         nghttp2_session_consume_stream(state_of(call->conn)->session, call->stream_id, bytes));
}

static void open_window(srv_call *call)
{
    bool fits = call->method->kind == SRV_GRPC_UNARY &&
                call->frame.length + GRPC_PREFIX_LEN <= SRV_FIRST_WINDOW;
    if (fits || call->window_open)
        return;
    call->window_open = true;
    must(call->conn,
         nghttp2_session_set_local_window_size(state_of(call->conn)->session, NGHTTP2_FLAG_NONE,
                                               call->stream_id, (int32_t)SRV_STREAM_WINDOW));
    srv_conn_dirty(call->conn);
}

static void credit_conn(srv_conn *conn, size_t bytes)
{
    must(conn, nghttp2_session_consume_connection(state_of(conn)->session, bytes));
}

static void drain(srv_conn *conn, bool final)
{
    nghttp2_session *session = state_of(conn)->session;
    if (final)
        must(conn, nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE,
                                         nghttp2_session_get_last_proc_stream_id(session),
                                         NGHTTP2_NO_ERROR, NULL, 0));
    else
        must(conn, nghttp2_submit_shutdown_notice(session));
    srv_conn_dirty(conn);
}

static void ping(srv_conn *conn)
{
    must(conn, nghttp2_submit_ping(state_of(conn)->session, NGHTTP2_FLAG_NONE, NULL));
    srv_conn_dirty(conn);
}

static void head_timeout(srv_conn *conn)
{
    srv_conn_kill(conn);
}

static bool is_done(const srv_conn *conn)
{
    nghttp2_session *session = state_of(conn)->session;
    return nghttp2_session_want_read(session) == 0 && nghttp2_session_want_write(session) == 0;
}

static void fini(srv_conn *conn)
{
    http2 *h = state_of(conn);
    nghttp2_session_del(h->session);
    vv_free(h);
    conn->proto_state = NULL;
}

static const srv_proto http2_proto = {
    .input = input,
    .input_end = input_end,
    .want_input = want_input,
    .output = output,
    .call_ready = call_ready,
    .credit = credit,
    .credit_conn = credit_conn,
    .open_window = open_window,
    .reset = reset,
    .drain = drain,
    .ping = ping,
    .head_timeout = head_timeout,
    .is_done = is_done,
    .fini = fini,
};

/* ---- beginning ---- */

static void *mem_malloc(size_t size, void *user)
{
    (void)user;
    return vv_alloc(size);
}

static void mem_free(void *ptr, void *user)
{
    (void)user;
    vv_free(ptr);
}

static void *mem_calloc(size_t count, size_t size, void *user)
{
    (void)user;
    return vv_calloc(count, size);
}

static void *mem_realloc(void *ptr, size_t size, void *user)
{
    (void)user;
    return vv_realloc(ptr, size);
}

static nghttp2_session_callbacks *make_callbacks(void)
{
    nghttp2_session_callbacks *cbs;
    if (nghttp2_session_callbacks_new(&cbs) != 0)
        return NULL;
    nghttp2_session_callbacks_set_on_begin_headers_callback(cbs, on_begin_headers);
    nghttp2_session_callbacks_set_on_begin_frame_callback(cbs, on_begin_frame);
    nghttp2_session_callbacks_set_on_header_callback(cbs, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cbs, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cbs, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(cbs, on_stream_close);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cbs, on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(cbs, on_frame_send);
    nghttp2_session_callbacks_set_send_data_callback(cbs, send_data);
    nghttp2_session_callbacks_set_data_source_read_length_callback(cbs, frame_length);
    return cbs;
}

static nghttp2_session *make_session(srv_conn *conn)
{
    nghttp2_session *session = NULL;
    nghttp2_option *option = NULL;
    nghttp2_mem mem = {NULL, mem_malloc, mem_free, mem_calloc, mem_realloc};
    nghttp2_session_callbacks *cbs = make_callbacks();
    if (cbs == NULL || nghttp2_option_new(&option) != 0)
        goto done;
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);

    if (nghttp2_session_server_new3(&session, cbs, conn, option, &mem) != 0)
        session = NULL;
done:
    nghttp2_option_del(option); /* both accept NULL and are copied by the session */
    nghttp2_session_callbacks_del(cbs);
    return session;
}

/* SETTINGS_NO_RFC7540_PRIORITIES stays unset: with it, nghttp2 1.52 frees an item twice when memory
 * runs out while a response is queued. */
static bool greet(nghttp2_session *session, const srv_options *opt)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, opt->streams_max},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, SRV_FIRST_WINDOW},
        {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, SRV_FRAME_MAX},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, opt->header_max},
    };
    return nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings)) ==
               0 &&
           nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, SRV_CONN_WINDOW) ==
               0;
}

bool http2_attach(srv_conn *conn)
{
    http2 *h = vv_calloc(1, sizeof *h);
    if (h == NULL)
        return false;
    h->idle_frames = IDLE_FRAMES_BURST;
    h->idle_frames_ns = conn->loop->now_ns;
    h->session = make_session(conn);
    if (h->session == NULL || !greet(h->session, &conn->server->opt)) {
        nghttp2_session_del(h->session);
        vv_free(h);
        return false;
    }
    conn->proto = &http2_proto;
    conn->proto_state = h;
    srv_conn_dirty(conn);
    return true;
}
