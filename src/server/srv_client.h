/*
 * srv_client.h - the other side of the wire, for tests: an HTTP/2 client on nghttp2 and raw sockets
 * to send what no client would. One thread, blocking with a limit in time.
 */
#ifndef VARVE_SERVER_SRV_CLIENT_H
#define VARVE_SERVER_SRV_CLIENT_H

#include <nghttp2/nghttp2.h>
#include <stdbool.h>

#include "base/buf.h"
#include "varve/slice.h"

#define CLI_STREAMS 2048u

typedef struct cli_stream {
    int32_t id;
    bool used;
    bool closed;
    uint32_t error;     /* of RST_STREAM or 0 */
    int http_status;    /* :status */
    int grpc_status;    /* -1: none came */
    char message[256];  /* grpc-message */
    char trailer[64];   /* x-why */
    char durability[8]; /* varve-durability */
    char type[64];      /* content-type */
    vv_buf in;          /* DATA received */
    vv_buf out;         /* to be sent */
    size_t out_done;
    bool out_end; /* half-close after out */
} cli_stream;

typedef struct cli {
    int fd;
    nghttp2_session *session;
    bool eof;
    bool goaway;
    uint32_t goaway_error;
    int32_t goaway_first; /* the last stream that the first GOAWAY named */
    bool no_read;         /* leave what the server sends in the socket */
    bool no_consume;      /* never open windows again */
    size_t chunk_max;     /* split writes into pieces of at most this; 0: whole */
    cli_stream streams[CLI_STREAMS];
} cli;

/** Connect and exchange settings. window: the initial stream window, 0 for the default. */
cli *cli_open(uint16_t port, uint32_t window);
void cli_close(cli *c);

/** Begin a gRPC call. extra: pairs of names and values, ended by NULL; may be NULL. */
cli_stream *cli_call(cli *c, const char *path, const char *const *extra);
/** Begin another request. type may be NULL. */
cli_stream *cli_request(cli *c, const char *verb, const char *path, const char *type);
/** Queue raw bytes; end: half-close behind them. */
void cli_send(cli *c, cli_stream *s, vv_slice bytes, bool end);
/** Queue one gRPC message. */
void cli_message(cli *c, cli_stream *s, vv_slice message, bool end);
void cli_reset(cli *c, cli_stream *s);

/** Move bytes both ways for at most ms. False when the connection is over. */
bool cli_pump(cli *c, int ms);
/** Pump until the stream is closed or ms have passed; true when it is. */
bool cli_wait(cli *c, cli_stream *s, int ms);
/** Pump until n bytes of DATA came on the stream. */
bool cli_wait_data(cli *c, cli_stream *s, size_t n, int ms);
/** Pump until the server closed the connection. */
bool cli_wait_eof(cli *c, int ms);
/** Unary: call, one message, wait. */
cli_stream *cli_unary(cli *c, const char *path, vv_slice message, const char *const *extra);

/* ---- raw ------------------------------------------------------------------------------------- */

int raw_connect(uint16_t port);
/** False when the peer has closed. */
bool raw_write(int fd, const void *bytes, size_t len);
/** errno of the last read, 0 when it worked or met a clean end: tells a reset from a close. */
extern int raw_read_errno;
/** Read until the peer closes, or ms passed; true when it closed. */
bool raw_read_all(int fd, vv_buf *out, int ms);
/** Read until text was seen in what came; false when ms passed first. */
bool raw_read_until(int fd, vv_buf *out, const char *text, int ms);
/** The client preface and empty settings. */
void raw_preface(vv_buf *out);
void raw_frame(vv_buf *out, uint8_t type, uint8_t flags, uint32_t stream, const void *payload,
               size_t len);
/** A HEADERS frame of a gRPC request, in HPACK literals. */
void raw_headers(vv_buf *out, uint32_t stream, const char *path, uint8_t flags);
/** The n-th frame of this type in in; false when there are fewer. */
bool raw_find_frame(vv_slice in, uint8_t type, size_t n, uint32_t *stream, vv_slice *payload);

int64_t cli_now_ms(void);

#endif
