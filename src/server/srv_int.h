/*
 * srv_int.h - what the files of the transport share. Everything not marked otherwise belongs to the
 * loop thread of its connection.
 *
 *   srv -- loops[] -- conns -- calls
 *
 *   any thread: srv_call_send ...  --item--> call.inbox --call--> loop.posts --eventfd--> loop
 *   loop turn:  sockets, posts, timers, then one flush of each dirty connection
 *
 * Who keeps what alive: a call holds its connection, a connection holds the server, each by a
 * count; so an action on a call is safe as long as the caller holds the call, even after srv_stop.
 *
 * A call's life: CREATED by the first header; open until its closed() callback; attached to its
 * connection until the stream is over; freed with its last reference. An aborted call (deadline,
 * bad input) is closed at once for its handler and stays attached until its status is written.
 */
#ifndef VARVE_SERVER_SRV_INT_H
#define VARVE_SERVER_SRV_INT_H

#include <stdatomic.h>
#include <sys/types.h>

#include "base/lock.h"
#include "base/util.h"
#include "server/grpc_frame.h"
#include "server/grpc_text.h"
#include "server/srv.h"
#include "server/srv_timer.h"

typedef struct srv_loop srv_loop;
typedef struct srv_conn srv_conn;
typedef struct srv_item srv_item;
typedef struct srv_block srv_block;
typedef struct srv_routes srv_routes;

#define SRV_READ_SIZE (256u * 1024u)   /* one read of a socket, into memory of the loop */
#define SRV_WRITE_SIZE (192u * 1024u)  /* output is collected up to this before a write */
#define SRV_TURN_BYTES (1024u * 1024u) /* one connection's share of a turn, each way */

/* HTTP/2 windows, and what a connection may hold unreleased before its window stops growing. */
#define SRV_STREAM_WINDOW (4u * 1024u * 1024u)
#define SRV_FIRST_WINDOW (64u * 1024u) /* of a stream until memory for its message is there */
#define SRV_CONN_WINDOW (64u * 1024u * 1024u)
#define SRV_CONN_HELD_MAX (32u * 1024u * 1024u)
#define SRV_FRAME_MAX (1024u * 1024u)
/* A message longer than this is credited while it arrives, for it may be longer than the window;
 * but not while its call keeps more than the second unreleased. */
#define SRV_LARGE_MESSAGE (1024u * 1024u)
#define SRV_LARGE_HELD_MAX (2u * 1024u * 1024u)
/* Unfinished messages of one connection above it (or twice the message limit) end their call. */
#define SRV_CONN_PARTIAL_MAX (128u * 1024u * 1024u)
/* With the memory budget used up, connections that hold more than this are not read. */
#define SRV_PARK_HELD (64u * 1024u)
#define SRV_PARK_RETRY_NS (5 * VV_NS_PER_MS)
#define SRV_PARK_READ 4096u /* each retry, so that window updates let output drain */
/* Output of a connection: above the first it is not read while its socket is full, at the second no
 * call begins, at the third a call that sends is cut off. */
#define SRV_CONN_OUT_PAUSE (8u * 1024u * 1024u)
#define SRV_CONN_OUT_REFUSE (32u * 1024u * 1024u)
#define SRV_CONN_OUT_MAX (64u * 1024u * 1024u)
/* A release wakes the loop once in each 512 KiB of its call: far below the window. */
#define SRV_CREDIT_STEP_SHIFT 19
#define SRV_LINGER_NS VV_NS_PER_S
#define SRV_DRAIN_NOTICE_NS (100 * VV_NS_PER_MS) /* between the two GOAWAYs: a round trip */
#define SRV_PING_WAIT_NS (20 * VV_NS_PER_S)

/* ---- work for a loop ----------------------------------------------------------------------- */

typedef struct srv_post srv_post;
struct srv_post {
    srv_post *next;
    void (*fn)(srv_loop *loop, srv_post *post);
};

/** Run post->fn on the loop's thread soon. Any thread. False when the loop has ended. */
bool srv_loop_post(srv_loop *loop, srv_post *post);
/** True on the loop's own thread. */
bool srv_loop_is_here(const srv_loop *loop);

/* What epoll points at. */
typedef struct srv_source srv_source;
struct srv_source {
    void (*on_event)(srv_loop *loop, srv_source *source, uint32_t events);
};

/* ---- counters: written by one loop thread, read by any -------------------------------------- */

typedef struct srv_counters {
    _Atomic uint64_t connections_total, connections_refused, calls_opened, calls_closed, bytes_in,
        bytes_out, resets, protocol_errors, deadline_exceeded, status[GRPC_CODE_MAX + 1],
        http_status[6];
} srv_counters;

static inline void srv_count(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, old + n, memory_order_relaxed);
}

/* ---- the server and its loops ---- */

typedef struct srv_listener {
    srv_source source;
    srv *server;
    int fd;
    uint16_t index;
    uint16_t bound;
} srv_listener;

struct srv_loop {
    srv *server;
    uint32_t index;
    int epoll_fd;
    srv_source wake_source;
    int wake_fd;
    vv_thread *thread;
    _Atomic(srv_post *) posts; /* any thread; newest first; a closed mark after the end */
    srv_post *ready_first;     /* posts of this very thread, oldest first */
    srv_post *ready_last;
    srv_timers timers;
    int64_t now_ns; /* of this turn */
    uint8_t *in;    /* SRV_READ_SIZE */
    vv_buf out;     /* output being collected */
    srv_conn *conns;
    _Atomic uint32_t conn_count; /* any thread reads */
    srv_conn *dirty;             /* to be flushed at the end of the turn */
    srv_conn *dead;              /* to be let go at the end of the turn */
    bool draining;
    bool ended;
    int64_t drain_end_ns;
    srv_post stop_post;
    int64_t date_s; /* the second that date_text shows */
    char date_text[32];
    srv_timer accept_timer; /* accepting again after descriptors ran out */
    srv_counters counters;
};

/* A message that waits for memory. Under admission.lock but for granted. */
typedef struct srv_wait {
    struct srv_wait *next, *prev;
    srv_call *call;
    size_t need;
    int64_t since_ns;
    _Atomic bool granted; /* off the queue, need is counted: its loop takes it from here */
} srv_wait;

/* srv_admit.c */
typedef struct srv_admission {
    vv_mutex lock;            /* rank VV_RANK_LEAF */
    srv_wait *first;          /* under lock */
    srv_wait *last;           /* under lock */
    _Atomic uint32_t waiting; /* length of the queue */
    _Atomic uint64_t paid;    /* bytes of messages that were let in, until they are released */
    _Atomic int64_t last_ns;  /* when one that waited was let in */
} srv_admission;

struct srv {
    srv_options opt; /* defaults filled in */
    srv_admission admission;
    srv_routes *routes;
    srv_listener *listeners;
    srv_loop *loops;
    _Atomic uint32_t refs; /* the owner's one and one of each connection */
    _Atomic uint64_t next_conn_id;
    _Atomic uint32_t conn_count;
    int64_t check_period_ns; /* how often a busy connection's limits are looked at */
};

void srv_unref(srv *s);

/* srv_loop.c */
VV_MUST_CHECK vv_status srv_loop_init(srv_loop *loop, srv *server, uint32_t index, vv_error *err);
void srv_loop_fini(srv_loop *loop);
void srv_loop_main(void *arg);
bool srv_loop_watch(srv_loop *loop, int fd, srv_source *source, uint32_t events, bool known);
/** "Date" of an HTTP/1.1 answer. */
const char *srv_loop_date(srv_loop *loop);

/* srv_listen.c */
VV_MUST_CHECK vv_status srv_listener_open(srv_listener *l, const srv_port *port, vv_error *err);
void srv_listener_close(srv_listener *l);
void srv_listeners_start(srv_loop *loop);
void srv_listeners_stop(srv_loop *loop);

/* ---- connections ----------------------------------------------------------------------------- */

/* How bytes reach the peer; TLS will be a second table. -1 with errno as read and write have it. */
typedef struct srv_io {
    ssize_t (*read)(srv_conn *conn, void *to, size_t len);
    ssize_t (*write)(srv_conn *conn, const void *from, size_t len);
} srv_io;

/* A protocol on a connection: http1.c and http2.c. */
typedef struct srv_proto {
    /* Takes all of in. False: close the connection at once. */
    bool (*input)(srv_conn *conn, vv_slice in);
    /* The peer sends no more. */
    void (*input_end)(srv_conn *conn);
    /* How much input is wanted now; 0: do not read. */
    size_t (*want_input)(const srv_conn *conn);
    /* Append output until out has SRV_WRITE_SIZE or there is no more. False: close at once. */
    bool (*output)(srv_conn *conn, vv_buf *out);
    /* The call has new output, or ended. */
    void (*call_ready)(srv_call *call);
    /* Give window bytes of a stream or of the connection back. NULL where there are no windows. */
    void (*credit)(srv_call *call, size_t bytes);
    void (*credit_conn)(srv_conn *conn, size_t bytes);
    /* Memory for a message is there: it may come as fast as it can. NULL where there are none. */
    void (*open_window)(srv_call *call);
    /* Cut the call off without another word: its output is stuck. */
    void (*reset)(srv_call *call);
    /* Take no new calls after this (final), or say that this will come (not final). */
    void (*drain)(srv_conn *conn, bool final);
    void (*ping)(srv_conn *conn);
    /* The head of a request took too long. */
    void (*head_timeout)(srv_conn *conn);
    /* Everything is said: close once the output is written. */
    bool (*is_done)(const srv_conn *conn);
    void (*fini)(srv_conn *conn);
} srv_proto;

/** Give the connection its protocol. False when memory is short. */
bool http1_attach(srv_conn *conn);
bool http2_attach(srv_conn *conn);

typedef enum srv_conn_state {
    SRV_CONN_OPEN,
    SRV_CONN_LINGER, /* our side is shut; the peer must read our last bytes before it is reset */
    SRV_CONN_DEAD,
} srv_conn_state;

struct srv_conn {
    srv_source source;
    srv_loop *loop;
    srv *server;
    srv_conn *next, *prev; /* of the loop */
    srv_conn *dirty_next, *dead_next;
    _Atomic uint32_t refs; /* the loop's one and one of each call */
    uint64_t id;
    int fd;
    uint16_t port_index;
    bool loopback;
    bool is_dirty;
    bool proto_ready; /* the peer has completed its first handshake or request head */
    bool input_ended;
    bool parked; /* not read: the memory budget is used up */
    bool drain_sent;
    bool drain_final;
    bool ping_sent;
    bool write_blocked; /* waiting for EPOLLOUT */
    uint8_t sniffed_len;
    uint8_t sniffed[4];
    srv_conn_state state;
    uint32_t interest; /* epoll events asked for */
    const srv_io *io;
    const srv_proto *proto; /* NULL until the first bytes told */
    void *proto_state;
    vv_buf pending; /* output the socket did not take, from pending_done on */
    size_t pending_done;
    srv_call *calls; /* attached ones */
    uint32_t call_count;
    uint32_t going;   /* calls with a message that needs no more memory to become whole */
    uint32_t waiting; /* calls with a message that waits for memory */
    size_t partial;   /* bytes of unfinished messages and of calls */
    size_t withheld;  /* window bytes of the connection kept back while held is high */
    size_t lingered;  /* bytes thrown away */
    srv_timer timer;  /* the next check */
    int64_t opened_ns;
    int64_t last_byte_ns;   /* received */
    int64_t last_use_ns;    /* a call began or ended */
    int64_t last_output_ns; /* written, or nothing to write */
    int64_t head_since_ns;  /* an unfinished request head began; 0: none */
    int64_t parked_ns;
    int64_t linger_end_ns;
    int64_t drain_ns;
    int64_t ping_ns;
    /* any thread */
    _Atomic size_t held;   /* bytes of whole messages that handlers keep */
    _Atomic size_t queued; /* bytes of output of all calls */
    _Atomic bool credit_posted;
    srv_post credit_post;
};

/* srv_conn.c */
void srv_conn_open(srv_loop *loop, int fd, uint16_t port_index, bool loopback);
void srv_conn_unref(srv_conn *conn);
/** Ask for a flush at the end of the turn. */
void srv_conn_dirty(srv_conn *conn);
void srv_conn_flush(srv_conn *conn);
/** Close at once. The object stays until the end of the turn. */
void srv_conn_kill(srv_conn *conn);
void srv_conn_reap(srv_conn *conn);
void srv_conn_begin_drain(srv_conn *conn);
/** Look again at the limits at at_ns or before. */
void srv_conn_arm(srv_conn *conn, int64_t at_ns);
/** len bytes of window were used: credit them now or when handlers have let go of more. */
void srv_conn_received(srv_conn *conn, size_t len);
/** Read it again. */
void srv_conn_unpark(srv_conn *conn);

/* ---- calls ---- */

typedef enum srv_item_kind {
    SRV_ITEM_SEND,
    SRV_ITEM_TRAILER, /* body is name, NUL, value */
    SRV_ITEM_FINISH,
    SRV_ITEM_REPLY,
    SRV_ITEM_BEGIN, /* a REPLY whose body comes as SENDs, until FINISH */
    SRV_ITEM_POST,
} srv_item_kind;

struct srv_item {
    srv_item *next;
    srv_item_kind kind;
    bool embedded; /* part of its call: not freed */
    bool at_once;  /* FINISH: drop what is queued */
    uint8_t prefix_len;
    uint8_t prefix[GRPC_PREFIX_LEN];
    int code;      /* FINISH: gRPC code */
    int http;      /* FINISH, REPLY, BEGIN: HTTP status */
    vv_buf body;   /* SEND, REPLY: the bytes; FINISH: the message */
    size_t charge; /* bytes counted in queued and in the budget */
    size_t done;   /* bytes of prefix and body already given to the connection */
    union {
        struct {
            char *type;  /* REPLY, BEGIN: content type */
            char *extra; /* likewise: more headers */
        };
        struct {
            void (*fn)(srv_call *call, void *arg); /* POST */
            void *arg;
        };
    };
};

/* Most requests' headers fit, and with them a call stays below the 1,032 bytes up to which malloc
 * keeps freed memory at hand. */
#define SRV_HEADERS_INLINE 224u

struct srv_call {
    srv_post post; /* first: the loop finds the call from it */
    _Atomic uint32_t refs;
    srv_conn *conn;        /* counted */
    srv_call *next, *prev; /* of the connection */
    const srv_method *method;
    void *user;
    int32_t stream_id;
    uint32_t message_max;
    bool attached;        /* to its connection */
    bool is_http;         /* not gRPC */
    bool verb_head;       /* answer without the body */
    bool started;         /* its handler knows it */
    bool request_ended;   /* the client sent all it will */
    bool request_ignored; /* further input is thrown away */
    bool ended;           /* a final status is set */
    bool is_streamed;     /* HTTP: the status is out before the end is known */
    bool response_begun;  /* headers are submitted */
    bool response_ended;  /* the end is submitted */
    bool header_overflow;
    bool counted; /* its status is in the counters */
    bool going;   /* the message being received waits for nothing but its sender */
    bool window_open;
    grpc_encoding encoding;
    uint8_t *headers; /* [u16 name_len][u16 value_len][name][value]... */
    uint32_t headers_len;
    uint32_t headers_cap;
    uint32_t headers_size;      /* as RFC 9113 counts it: 32 more for each field */
    vv_slice path, query, verb; /* in headers */
    /* the message being received */
    grpc_frame frame;
    srv_block *block;
    srv_wait *wait;     /* of this message, for memory */
    size_t paid;        /* counted for it when it was announced */
    size_t unspent;     /* of these, not in a block yet */
    srv_block *unary;   /* the whole message of a unary call, until the client ends */
    size_t wire;        /* bytes of the current message so far, its prefix included */
    size_t uncredited;  /* of these, not given back to the sender */
    uint64_t delivered; /* wire bytes of messages given to the handler */
    uint64_t credited;  /* what of returned was given back */
    size_t owed;        /* to be given back once output is taken */
    int64_t last_input_ns;
    int64_t deadline_ns;
    srv_timer deadline_timer;
    srv_timer after_timer; /* of srv_call_after */
    void (*after_fn)(srv_call *call, void *arg);
    void *after_arg;
    /* output, oldest first */
    srv_item *out_first, *out_last;
    size_t out_bytes;
    srv_item *trailers;
    int code;      /* the status */
    char *message; /* of it; NULL: none */
    int reply_status;
    size_t reply_len;
    char *reply_type, *reply_extra;
    int64_t last_output_ns; /* when output last moved, or was empty */
    /* any thread */
    _Atomic(srv_item *) inbox; /* newest first */
    _Atomic uint64_t released; /* wire bytes of messages released */
    _Atomic uint64_t returned; /* their credit */
    _Atomic bool held_back;    /* a large message waits for releases */
    _Atomic size_t queued;
    _Atomic bool scheduled; /* in the loop's posts */
    _Atomic bool was_high;  /* queued passed SRV_OUTPUT_HIGH: drained() is due */
    _Atomic bool open;
    _Atomic bool finishing; /* a final status was given by the handler */
    _Atomic bool first_used;
    _Atomic bool post_used;
    _Atomic bool begun;   /* HTTP: srv_call_begin */
    srv_item first_item;  /* the first message needs no memory of its own, */
    srv_item finish_item; /* nor does the end; */
    srv_item post_item;   /* for when there is none */
    uint8_t headers_inline[SRV_HEADERS_INLINE];
};

static_assert(sizeof(srv_call) <= 1032, "a call fits malloc's quick lists");

/* srv_call.c. srv_call_create and srv_call_header_add: loop thread. */
srv_call *srv_call_create(srv_conn *conn, int32_t stream_id);
bool srv_call_header_add(srv_call *call, vv_slice name, vv_slice value);
void srv_call_schedule(srv_call *call);
/** Take all items, oldest first. */
srv_item *srv_call_inbox(srv_call *call);
void srv_item_free(srv_call *call, srv_item *item);
void srv_items_free(srv_call *call, srv_item *item);
/** Run and free a SRV_ITEM_POST. */
void srv_item_post(srv_call *call, srv_item *item);

/* srv_answer.c: loop thread only. */
void srv_call_run(srv_loop *loop, srv_post *post);
/** Set the final status; queued output goes first. */
void srv_call_end(srv_call *call, int grpc_code, int http_status, const char *message);
/** The same at once: queued output and further input are dropped, the handler is told. */
void srv_call_abort(srv_call *call, int grpc_code, int http_status, const char *message);
/** The stream is over. The caller's pointer may be the last use. */
void srv_call_detach(srv_call *call);
/** Credit what may be credited. */
void srv_call_credit(srv_call *call);
/** Move n <= out_bytes bytes of output to to. */
void srv_call_out_take(srv_call *call, uint8_t *to, size_t n);

/* srv_block.c: received bytes, in memory that becomes the handler's message. */
struct srv_block {
    srv_call *call; /* counted, once delivered */
    size_t len;
    size_t cap;
    size_t wire;   /* bytes it took on the wire */
    size_t credit; /* of these, not yet given back to the sender */
    size_t charge; /* counted in the budget */
    size_t paid;   /* of the call's, handed on */
    uint8_t bytes[];
};

/** *block grows to hold more bytes in all, expecting at most expect. False when memory is short. */
bool srv_block_reserve(srv_call *call, srv_block **block, size_t more, size_t expect);
void srv_block_drop(srv_call *call, srv_block **block);
/** Hand *block to the handler. */
void srv_block_deliver(srv_call *call, srv_block **block);

/* srv_admit.c: memory for messages, first come first served. Loop thread, but for poll and settled.
 */
void srv_admission_init(srv_admission *a);
void srv_admission_fini(srv_admission *a);
/** A message of bytes is announced. False when memory is short even for waiting. */
bool srv_admit(srv_call *call, uint64_t bytes);
/** A block of the call's message grows by bytes. */
void srv_admit_charge(srv_call *call, size_t bytes);
/** Its turn may have come: go on. */
void srv_admit_resume(srv_call *call);
/** The message is whole, and block its handler's. */
void srv_admit_deliver(srv_call *call, srv_block *block);
/** The message will not come. */
void srv_admit_cancel(srv_call *call);
/** Give up when nobody was let in for too long. */
void srv_admit_check(srv_call *call, int64_t now_ns);
/** Refuse the unfinished requests of a connection. */
void srv_admit_give_up(srv_conn *conn);
/** A message that was paid for is released. Any thread. */
void srv_admit_settled(srv *s, size_t paid);
/** Let in those whose turn it is. Any thread. */
void srv_admit_poll(srv *s, int64_t now_ns);

/* srv_request.c: from bytes of either protocol to a handler's callbacks. */
void srv_request_begin(srv_call *call, bool http2);
void srv_request_data(srv_call *call, vv_slice data);
void srv_request_end(srv_call *call);

/* grpc.c: the gRPC half of it. */
void grpc_request_begin(srv_call *call);
void grpc_request_data(srv_call *call, vv_slice data);
void grpc_request_end(srv_call *call);

/* srv_route.c */
VV_MUST_CHECK vv_status srv_routes_create(const srv_method *methods, size_t count, srv_routes **out,
                                          vv_error *err);
void srv_routes_destroy(srv_routes *routes);
const srv_method *srv_route_grpc(const srv_routes *routes, vv_slice path, size_t port_index);
/** NULL with *allow empty: no such path. NULL with *allow: the path knows these verbs only. */
const srv_method *srv_route_http(const srv_routes *routes, vv_slice verb, vv_slice path,
                                 size_t port_index, vv_buf *allow);

/** Whether anything is served at the path on a port, by whatever verb. */
bool srv_routes_has(const srv_routes *routes, vv_slice path, size_t port_index);
/** Another port that serves the call's path; 0: none does. (srv_request.c) */
uint16_t srv_other_port(const srv_call *call);

/* http_text.c */
const char *http_reason(int status);
/** The gRPC code in the body of a refusal with this HTTP status. */
int http_grpc_code(int status);

#endif
