/*
 * srv.h - the server's transport: event loops, connections, and calls. One port serves HTTP/2 with
 * gRPC and HTTP/1.1: the first bytes of a connection tell which.
 *
 *   loop thread                                       any thread
 *     start(call)        headers are in               srv_call_send(call, message)
 *     message(call, m)   one whole message            srv_call_finish(call, status)
 *     half_close(call)   the client sends no more     srv_message_release(m)
 *     closed(call)       the last callback            srv_call_ref / srv_call_unref
 *
 * A call belongs to one loop. Actions from other threads are posted to it through a queue and an
 * eventfd; answers are flushed once per connection and loop turn. After closed() every action on
 * the call is a harmless no-op, so a commit that ends after the client left needs no special case.
 *
 * Flow control: a message's bytes are credited to the sender only when it is released. A handler
 * that cannot go on keeps the message, and the sender stops: nothing is dropped, nothing grows.
 */
#ifndef VARVE_SERVER_SRV_H
#define VARVE_SERVER_SRV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/budget.h"
#include "base/buf.h"
#include "base/hist.h"
#include "base/log.h"
#include "base/thread.h"
#include "varve/slice.h"
#include "varve/status.h"

typedef struct srv srv;
typedef struct srv_call srv_call;

/* One received message, decompressed, in memory of its own. */
typedef struct srv_message {
    vv_slice data;
    void *owner[2]; /* private */
} srv_message;

/** Give the bytes and their flow-control credit back. Exactly once per message; any thread. */
void srv_message_release(srv_message *msg);

typedef enum srv_method_kind {
    SRV_GRPC_UNARY,
    SRV_GRPC_STREAM, /* the server, the client or both send more than one message */
    SRV_HTTP,        /* message() comes once with the whole body, possibly empty */
} srv_method_kind;

typedef struct srv_method {
    srv_method_kind kind;
    const char *verb;     /* SRV_HTTP: "GET" ...; NULL for gRPC, which is POST */
    const char *path;     /* "/pkg.Service/Method", "/metrics", or a prefix ending in '*' */
    uint32_t ports;       /* bit set of srv_port indexes it is served on; 0: all */
    uint32_t message_max; /* bytes; 0: srv_options.message_max */
    uint8_t copies;       /* of a message that its handler may hold until it releases it: their
                             bytes are counted with the message, before it is received */
    void *ctx;            /* srv_call_ctx */
    /* All on the call's loop thread; any but message may be NULL. They must not block. */
    void (*start)(srv_call *call);
    void (*message)(srv_call *call, srv_message msg); /* takes msg */
    void (*half_close)(srv_call *call);
    void (*drained)(srv_call *call); /* queued output fell below half of SRV_OUTPUT_HIGH */
    void (*closed)(srv_call *call);  /* finished, cancelled, timed out or lost */
} srv_method;

#define SRV_OUTPUT_HIGH                                                                            \
    (1024u * 1024) /* bytes queued on a call above which a sender should stop                      \
                    */

typedef struct srv_port {
    const char *host; /* numeric address */
    uint16_t port;    /* 0: a free one */
    const char *key;  /* what it is set by: a refusal begins with it; may be NULL */
    bool is_reserved; /* by srv_port_reserve */
    int fd;           /* when reserved */
} srv_port;

/** Bind the address before the server is started, so that a busy one is told before anything is
 * made; nobody can connect yet. The caller's until srv_port_release, also after srv_start. */
VV_MUST_CHECK vv_status srv_port_reserve(srv_port *port, vv_error *err);
void srv_port_release(srv_port *port);

typedef struct srv_options {
    const vv_threads *threads;
    vv_clock *clock;
    vv_log *log;
    vv_budget *budget; /* received and queued bytes, under VV_BUDGET_NETWORK */
    const srv_port *ports;
    size_t port_count;
    const srv_method *methods; /* borrowed for the server's life */
    size_t method_count;
    bool loopback_names_only;     /* HTTP requests must name loopback in Host: a page whose name was
                                     rebound to it is refused */
    uint32_t loop_count;          /* default: 2 */
    uint32_t connections_max;     /* default 1000; over it a connection is closed at once */
    uint32_t streams_max;         /* per connection, default 1000 */
    uint32_t message_max;         /* default 64 MiB; refused at the prefix */
    uint32_t header_max;          /* bytes of a header list, default 16 KiB */
    int64_t idle_timeout_ns;      /* no byte and no call; default 5 min; keepalive ping at half */
    int64_t handshake_timeout_ns; /* from accept to the first whole request; default 10 s, or
                                     idle_timeout_ns when that is less */
    int64_t body_timeout_ns;      /* between bytes of an unfinished message; default 30 s */
    int64_t drain_timeout_ns;     /* of srv_stop; default 10 s */
    /* Told of each call that srv_call_finish ends with VV_CORRUPT; any thread; may be NULL. */
    void (*corrupt)(void *ctx, const char *message);
    void *corrupt_ctx;
} srv_options;

/** Bind, listen and start the loops. VV_IO names the address. Gives *out: srv_stop. */
VV_MUST_CHECK vv_status srv_start(const srv_options *opt, srv **out, vv_error *err);
/** The port that was bound, for port 0. */
uint16_t srv_port_bound(const srv *s, size_t port_index);
/** Stop accepting, send GOAWAY, let calls finish within drain_timeout_ns, close, join. */
void srv_stop(srv *s);

/* ---- a call, as its handler sees it ------------------------------------------------------ */

void *srv_call_ctx(const srv_call *call);           /* the method's */
void srv_call_set_user(srv_call *call, void *user); /* loop thread */
void *srv_call_user(const srv_call *call);
vv_slice srv_call_path(const srv_call *call);  /* percent-decoding is the handler's */
vv_slice srv_call_query(const srv_call *call); /* after '?', HTTP only */
/** True when the peer's address is of this machine's loopback network. */
bool srv_call_from_loopback(const srv_call *call);
/** A request header by lower-case name; len 0 when absent. Valid until closed(), and while the call
 * is referenced; so are path and query. */
vv_slice srv_call_header(const srv_call *call, const char *name);
int64_t srv_call_deadline_ns(const srv_call *call); /* monotonic; INT64_MAX: none */
bool srv_call_is_open(const srv_call *call);        /* any thread; false once closed */
uint32_t srv_call_loop(const srv_call *call);       /* index of its loop */
uint64_t srv_call_connection(const srv_call *call); /* an id, never reused */

/** Keep the call object (not the stream) until unref. Any thread. */
void srv_call_ref(srv_call *call);
void srv_call_unref(srv_call *call);

/** Queue one message, or a piece of an HTTP answer after srv_call_begin. Takes body's bytes (body
 * is empty afterwards). Any thread. */
void srv_call_send(srv_call *call, vv_buf *body);
/** Bytes queued and not yet given to the socket. Any thread. */
size_t srv_call_queued(const srv_call *call);
/** Add a trailing metadata pair, sent with the status. Copies. Before finish; any thread. */
void srv_call_trailer(srv_call *call, const char *name, const char *value);
/** End the call: gRPC status and message (may be NULL; copied, percent-encoded). Any thread. */
void srv_call_finish(srv_call *call, vv_status status, const char *message);
/** The same with a code of google.rpc.Code, for those no vv_status has (UNIMPLEMENTED 12, ...). */
void srv_call_finish_grpc(srv_call *call, int code, const char *message);
/** Answer an HTTP call. Takes body. extra_header may be NULL: up to four of "Name: value" with CRLF
 * between them. Any thread. */
void srv_call_reply(srv_call *call, int http_status, const char *content_type, vv_buf *body,
                    const char *extra_header);
/** Begin the answer of an HTTP call whose length is not known: what srv_call_send queues from here
 * on is its body, in pieces, and srv_call_finish its end. A failure by then cuts the answer off,
 * which the client can tell from its end. As srv_call_reply otherwise. Any thread. */
void srv_call_begin(srv_call *call, int http_status, const char *content_type,
                    const char *extra_header);
/** The body of every HTTP refusal: {"error":{"code","status","message"}}, code being gRPC's. status
 * NULL: the name of the first status with that code; message NULL: the status. */
void srv_error_body(vv_buf *out, int grpc_code, const char *status, const char *message);
/** Run fn(call) on the call's loop soon, also when it is closed by then. Any thread. */
void srv_call_post(srv_call *call, void (*fn)(srv_call *call, void *arg), void *arg);
/** Run fn(call) once after delay_ns, unless the call is closed by then. Loop thread. One timer a
 * call: setting it again moves it. */
void srv_call_after(srv_call *call, int64_t delay_ns, void (*fn)(srv_call *call, void *arg),
                    void *arg);

/* ---- a pool of threads for work that may block (reads from disk, queries) ------------------ */

typedef struct srv_pool srv_pool;
/** thread_count threads, one more for points alone, and a few for what waits for an object store.
 */
VV_MUST_CHECK vv_status srv_pool_create(const vv_threads *threads, uint32_t thread_count,
                                        uint32_t queue_max, srv_pool **out, vv_error *err);
/** VV_BUSY when queue_max jobs wait. */
VV_MUST_CHECK vv_status srv_pool_submit(srv_pool *pool, void (*fn)(void *arg), void *arg);
/** The same for work that is short whatever the tables hold: it never waits for the other kind. */
VV_MUST_CHECK vv_status srv_pool_submit_point(srv_pool *pool, void (*fn)(void *arg), void *arg);
/** The same for work that may have to wait for an object store: nothing of the other kinds waits
 * for it. */
VV_MUST_CHECK vv_status srv_pool_submit_far(srv_pool *pool, void (*fn)(void *arg), void *arg);
/** Runs what is queued, and what that submits to any lane, and joins. Accepts NULL. */
void srv_pool_destroy(srv_pool *pool);

typedef struct srv_stats {
    uint64_t connections; /* open now */
    uint64_t connections_total;
    uint64_t connections_refused;
    uint64_t calls; /* open now */
    uint64_t calls_total;
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t resets; /* calls cancelled by the client */
    uint64_t protocol_errors;
    uint64_t deadline_exceeded;
    uint64_t status[17];     /* finished gRPC calls by code */
    uint64_t http_status[6]; /* finished HTTP calls by class, [2] is 2xx */
} srv_stats;
void srv_stats_read(const srv *s, srv_stats *out);

#endif
