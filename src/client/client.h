/*
 * client.h - a gRPC client over nghttp2: one connection, many calls, one thread.
 *
 * The core is event-driven: cli_call_start queues a call, cli_step moves bytes and runs callbacks.
 * The blocking forms (cli_unary, cli_stream_*) step until their answer is there. Every wait is
 * bounded by a deadline. A lost connection fails its calls with VV_CLOSED (what was in flight is
 * unknown, not failed) and the next call connects again, with exponential backoff inside the
 * connect timeout.
 *
 * Not thread safe: one connection belongs to one thread at a time.
 */
#ifndef VARVE_CLIENT_CLIENT_H
#define VARVE_CLIENT_CLIENT_H

#include <stdbool.h>

#include "base/buf.h"
#include "varve/slice.h"
#include "varve/status.h"

typedef struct cli_conn cli_conn;
typedef struct cli_call cli_call;

typedef struct cli_options {
    int64_t connect_timeout_ns; /* over all attempts; default 5 s */
    bool refusal_is_final; /* nobody listens: fail at once; false: try again until the timeout */
    int64_t keepalive_ns;  /* a ping after so long without a byte while calls are open, and the
                              connection is lost when none comes for as long again; default 20 s */
    size_t message_max;    /* bytes of a received message; default 64 MiB */
} cli_options;

#define CLI_TRAILERS_MAX 8

/* How a call ended. */
typedef struct cli_result {
    int code;         /* of google.rpc.Code; -1 when the connection was lost */
    vv_status status; /* the same as a vv_status */
    char message[400];
    struct {
        char name[48];
        char value[128];
    } trailers[CLI_TRAILERS_MAX]; /* custom metadata of headers and trailers, in order */
    size_t trailer_count;
} cli_result;

/** A connection to "HOST:PORT", "[V6]:PORT" or "HOST" (port 8080), not yet connected. opt may be
 * NULL. VV_INVALID when the address cannot be read. Gives *out: cli_close. */
VV_MUST_CHECK vv_status cli_open(const char *address, const cli_options *opt, cli_conn **out,
                                 vv_error *err);
/** Fails what is open with VV_CLOSED, without further callbacks. Accepts NULL. */
void cli_close(cli_conn *conn);
const char *cli_address(const cli_conn *conn);

/* ---- calls by event ----------------------------------------------------------------------- */

typedef struct cli_handler {
    /* One whole message; borrowed. May be NULL. */
    void (*message)(void *ctx, cli_call *call, vv_slice message);
    /* The last callback; the call is freed after it. */
    void (*closed)(void *ctx, cli_call *call, const cli_result *result);
    void *ctx;
} cli_handler;

/** Begin a call of "/pkg.Service/Method". timeout_ns 0: no deadline. The handler is copied.
 * VV_CLOSED when no connection could be made. *out is valid until closed(); cli_call_send works on
 * it at once. */
VV_MUST_CHECK vv_status cli_call_start(cli_conn *conn, const char *method, int64_t timeout_ns,
                                       const cli_handler *handler, cli_call **out, vv_error *err);
/** Queue one message. VV_NO_MEMORY. The bytes leave in cli_step. */
VV_MUST_CHECK vv_status cli_call_send(cli_call *call, vv_slice message, vv_error *err);
/** No more messages. */
void cli_call_half_close(cli_call *call);
/** Reset the stream; closed() comes with CANCELLED. */
void cli_call_cancel(cli_call *call);
/** Bytes queued and not yet taken by the peer's window. */
size_t cli_call_queued(const cli_call *call);

/** Move bytes for at most timeout_ns, at least once; returns early when anything happened.
 * VV_TIMEOUT when nothing did; VV_CLOSED after the connection was lost. */
VV_MUST_CHECK vv_status cli_step(cli_conn *conn, int64_t timeout_ns, vv_error *err);
/** Calls that are open. */
size_t cli_open_calls(const cli_conn *conn);

/* ---- blocking forms ----------------------------------------------------------------------- */

/** One request, one reply. reply is reset and filled. The status of the call is returned, with the
 * server's sentence in err; result may be NULL. */
VV_MUST_CHECK vv_status cli_unary(cli_conn *conn, const char *method, vv_slice request,
                                  int64_t timeout_ns, vv_buf *reply, cli_result *result,
                                  vv_error *err);

typedef struct cli_stream cli_stream;

/** A call with several messages in either direction. Gives *out: cli_stream_close. */
VV_MUST_CHECK vv_status cli_stream_open(cli_conn *conn, const char *method, int64_t timeout_ns,
                                        cli_stream **out, vv_error *err);
/** Send one message; waits while more than a MiB is queued. The call's own failure otherwise. */
VV_MUST_CHECK vv_status cli_stream_send(cli_stream *stream, vv_slice message, vv_error *err);
/** Say that no more comes. */
void cli_stream_half_close(cli_stream *stream);
/** The next message into out (reset first), waiting for it when wait is set. VV_NOT_FOUND at a
 * clean end, VV_TIMEOUT when none is there and wait is not set, otherwise the call's failure. */
VV_MUST_CHECK vv_status cli_stream_receive(cli_stream *stream, bool wait, vv_buf *out,
                                           vv_error *err);
/** The result, once cli_stream_receive said that the end came. */
const cli_result *cli_stream_result(const cli_stream *stream);
/** Cancels a call that is open. Accepts NULL. */
void cli_stream_close(cli_stream *stream);

/** GET path over HTTP/1.1 on a connection of its own. *http_status and the body, at most the
 * buffer's maximum. VV_CLOSED when nobody answers. */
VV_MUST_CHECK vv_status cli_http_get(const char *address, const char *path, int64_t timeout_ns,
                                     int *http_status, vv_buf *body, vv_error *err);

#endif
