/*
 * client_int.h - the connection and the call, shared by the files of this folder.
 */
#ifndef VARVE_CLIENT_CLIENT_INT_H
#define VARVE_CLIENT_CLIENT_INT_H

#include <poll.h>

#include <nghttp2/nghttp2.h>

#include "client/client.h"

#define CLI_HOST_MAX 256u

typedef struct cli_target {
    char host[CLI_HOST_MAX];
    char port[8];
} cli_target;

struct cli_call {
    cli_conn *conn;
    cli_call *next; /* open calls, newest first */
    cli_handler handler;
    int32_t stream_id;
    vv_buf out;       /* framed bytes to send */
    size_t out_at;    /* sent up to here */
    bool half_closed; /* nothing follows what is in out */
    bool deferred;    /* nghttp2 waits for nghttp2_session_resume_data */
    vv_buf in;        /* bytes of the message being received, prefix included */
    int64_t deadline_ns;
    bool have_status; /* grpc-status was seen */
    bool cancelled;
    bool timed_out;
    int http_status;
    cli_result result;
};

struct cli_conn {
    cli_options opt;
    char address[CLI_HOST_MAX + 16];
    cli_target target;
    int fd; /* -1: not connected */
    nghttp2_session *session;
    cli_call *calls;
    size_t call_count;
    vv_buf out;
    size_t out_at;
    int64_t last_byte_ns;
    bool pinged;
    bool draining; /* GOAWAY was seen: no new calls on this connection */
    bool progress; /* something happened in this step */
    vv_error lost; /* why the connection went */
    uint8_t *read_buf;
};

/** Read "host:port". */
vv_status cli_parse_target(const char *address, cli_target *out, vv_error *err);
/** poll of one descriptor until the deadline, again after a signal. */
int cli_poll(struct pollfd *p, int64_t deadline_ns);
/** A connected, non-blocking socket, trying again with backoff until deadline_ns; where nobody
 * listens only with wait_for_listener. */
vv_status cli_connect(const cli_target *target, int64_t deadline_ns, bool wait_for_listener,
                      int *out, vv_error *err);
int64_t cli_now_ns(void);

/** Make the HTTP/2 session of a fresh connection. */
vv_status cli_session_create(cli_conn *conn, vv_error *err);
/** Close the socket and fail every call with what is in conn->lost. */
void cli_conn_lose(cli_conn *conn, bool callbacks);
/** End one call: take it off the list, tell the handler, free it. */
void cli_call_end(cli_call *call, bool callback);

#endif
