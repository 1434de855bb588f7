/*
 * srv_conn.c - one connection: its socket, its protocol's bytes in and out, its limits in time.
 *
 *     OPEN --is_done and all written--> LINGER --peer's end, or a second--> DEAD
 *       |                                                                    ^
 *       +--error, timeout, protocol gives up---------------------------------+
 *
 * LINGER is there because closing a socket with unread input resets it, and a reset can overtake
 * the answer that explained why.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/point.h"
#include "server/srv_int.h"

#define FIRST_READ (16u * 1024u)
#define LINGER_BYTES (16u * 1024u * 1024u)

static const char http2_preface[] = "PRI ";

/* ---- plain sockets ---- */

static ssize_t plain_read(srv_conn *conn, void *to, size_t len)
{
    return recv(conn->fd, to, len, 0);
}

static ssize_t plain_write(srv_conn *conn, const void *from, size_t len)
{
    return send(conn->fd, from, len, MSG_NOSIGNAL);
}

static const srv_io plain_io = {plain_read, plain_write};

static bool would_block(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* ---- life ---- */

static void on_event(srv_loop *loop, srv_source *source, uint32_t events);
static void on_timer(srv_timer *timer);

void srv_conn_arm(srv_conn *conn, int64_t at_ns)
{
    if (conn->timer.place != 0 && conn->timer.at_ns <= at_ns)
        return;
    if (!srv_timer_set(&conn->loop->timers, &conn->timer, at_ns))
        srv_conn_kill(conn); /* a connection without limits in time is not to be had */
}

void srv_conn_open(srv_loop *loop, int fd, uint16_t port_index, bool loopback)
{
    srv *s = loop->server;
    srv_conn *conn = loop->draining ? NULL : vv_calloc(1, sizeof *conn);
    if (conn == NULL) {
        (void)close(fd);
        atomic_fetch_sub(&s->conn_count, 1);
        atomic_fetch_sub(&loop->conn_count, 1);
        return;
    }
    conn->source.on_event = on_event;
    conn->loop = loop;
    conn->server = s;
    conn->fd = fd;
    conn->port_index = port_index;
    conn->loopback = loopback;
    conn->io = &plain_io;
    conn->id = atomic_fetch_add(&s->next_conn_id, 1);
    atomic_init(&conn->refs, 1);
    atomic_fetch_add(&s->refs, 1);
    conn->timer.fn = on_timer;
    conn->opened_ns = conn->last_byte_ns = conn->last_use_ns = conn->last_output_ns = loop->now_ns;
    vv_buf_init(&conn->pending, SIZE_MAX / 2);
    conn->next = loop->conns;
    if (loop->conns != NULL)
        loop->conns->prev = conn;
    loop->conns = conn;
    srv_count(&loop->counters.connections_total, 1);

    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    conn->interest = EPOLLIN;
    if (!srv_loop_watch(loop, fd, &conn->source, EPOLLIN, false))
        srv_conn_kill(conn);
    srv_conn_arm(conn, conn->opened_ns + s->opt.handshake_timeout_ns);
}

void srv_conn_unref(srv_conn *conn)
{
    if (atomic_fetch_sub_explicit(&conn->refs, 1, memory_order_acq_rel) != 1)
        return;
    srv *s = conn->server;
    vv_free(conn);
    srv_unref(s);
}

void srv_conn_kill(srv_conn *conn)
{
    if (conn->state == SRV_CONN_DEAD)
        return;
    conn->state = SRV_CONN_DEAD;
    conn->dead_next = conn->loop->dead;
    conn->loop->dead = conn;
}

static void drop_pending(srv_conn *conn)
{
    vv_budget_release(conn->server->opt.budget, VV_BUDGET_NETWORK, conn->pending.cap);
    vv_buf_fini(&conn->pending);
    conn->pending_done = 0;
}

void srv_conn_reap(srv_conn *conn)
{
    srv_loop *loop = conn->loop;
    while (conn->calls != NULL)
        srv_call_detach(conn->calls);
    if (conn->proto != NULL)
        conn->proto->fini(conn);
    drop_pending(conn);
    srv_timer_cancel(&loop->timers, &conn->timer);
    (void)close(conn->fd);
    if (conn->prev != NULL)
        conn->prev->next = conn->next;
    else
        loop->conns = conn->next;
    if (conn->next != NULL)
        conn->next->prev = conn->prev;
    atomic_fetch_sub(&loop->conn_count, 1);
    atomic_fetch_sub(&conn->server->conn_count, 1);
    srv_conn_unref(conn);
}

void srv_conn_dirty(srv_conn *conn)
{
    if (conn->is_dirty)
        return;
    conn->is_dirty = true;
    conn->dirty_next = conn->loop->dirty;
    conn->loop->dirty = conn;
}

/* ---- memory and windows ---- */

void srv_conn_received(srv_conn *conn, size_t len)
{
    if (atomic_load_explicit(&conn->held, memory_order_acquire) < SRV_CONN_HELD_MAX)
        conn->proto->credit_conn(conn, len);
    else
        conn->withheld += len;
}

/* What it would send needs memory that is not there. Never while one of its messages needs no more
 * memory to become whole: then reading is what gives memory back. */
static bool is_starved(const srv_conn *conn)
{
    const vv_budget *budget = conn->server->opt.budget;
    if (conn->going > 0 || !vv_budget_is_short(budget, VV_BUDGET_NETWORK, 1))
        return false;
    return conn->partial + atomic_load_explicit(&conn->held, memory_order_relaxed) > SRV_PARK_HELD;
}

static void park(srv_conn *conn)
{
    if (!conn->parked)
        conn->parked_ns = conn->loop->now_ns;
    conn->parked = true;
    srv_conn_arm(conn, conn->loop->now_ns + SRV_PARK_RETRY_NS);
}

void srv_conn_unpark(srv_conn *conn)
{
    if (!conn->parked)
        return;
    conn->parked = false;
    for (srv_call *call = conn->calls; call != NULL; call = call->next)
        call->last_input_ns = conn->loop->now_ns; /* we kept it waiting, not the client */
    srv_conn_dirty(conn);
}

/* ---- bytes in ---- */

/* The first bytes tell the protocol. False: close. */
static bool sniff(srv_conn *conn, vv_slice in)
{
    size_t have = conn->sniffed_len;
    size_t n = vv_min_u64(sizeof conn->sniffed - have, in.len);
    memcpy(conn->sniffed + have, in.data, n);
    conn->sniffed_len = (uint8_t)(have + n);
    bool differs = memcmp(conn->sniffed, http2_preface, conn->sniffed_len) != 0;
    if (!differs && conn->sniffed_len < sizeof conn->sniffed)
        return true;
    if (!(differs ? http1_attach(conn) : http2_attach(conn)))
        return false;
    if (have > 0 && !conn->proto->input(conn, vv_slice_of(conn->sniffed, have)))
        return false;
    return conn->proto->input(conn, in);
}

static void linger_read(srv_conn *conn)
{
    ssize_t n;
    while ((n = conn->io->read(conn, conn->loop->in, SRV_READ_SIZE)) > 0) {
        conn->lingered += (size_t)n;
        if (conn->lingered > LINGER_BYTES)
            break;
    }
    if (n >= 0 || !would_block())
        srv_conn_kill(conn);
}

/* One read. True when there may be more at once. */
static bool read_once(srv_conn *conn, size_t max, size_t *total)
{
    srv_loop *loop = conn->loop;
    size_t want = conn->proto == NULL ? FIRST_READ : conn->proto->want_input(conn);
    want = vv_min_u64(want, max);
    if (want == 0 || conn->input_ended)
        return false;
    ssize_t n = conn->io->read(conn, loop->in, want);
    if (n < 0) {
        if (!would_block())
            srv_conn_kill(conn);
        return false;
    }
    if (n == 0) {
        conn->input_ended = true;
        if (conn->proto == NULL)
            srv_conn_kill(conn);
        else
            conn->proto->input_end(conn);
        return false;
    }
    conn->last_byte_ns = loop->now_ns;
    srv_count(&loop->counters.bytes_in, (uint64_t)n);
    vv_slice in = vv_slice_of(loop->in, (size_t)n);
    if (!(conn->proto == NULL ? sniff(conn, in) : conn->proto->input(conn, in)))
        srv_conn_kill(conn);
    *total += (size_t)n;
    return (size_t)n == want && *total < SRV_TURN_BYTES && conn->state == SRV_CONN_OPEN;
}

static void read_input(srv_conn *conn)
{
    size_t total = 0;
    do {
        if (is_starved(conn)) {
            park(conn);
            break;
        }
    } while (read_once(conn, SRV_READ_SIZE, &total));
    srv_conn_dirty(conn);
}

static void on_event(srv_loop *loop, srv_source *source, uint32_t events)
{
    (void)loop;
    srv_conn *conn = VV_CONTAINER_OF(source, srv_conn, source);
    if (conn->state == SRV_CONN_DEAD)
        return;
    if ((events & EPOLLIN) == 0 && (events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)) != 0) {
        srv_conn_kill(conn);
        return;
    }
    if ((events & EPOLLOUT) != 0) {
        conn->write_blocked = false;
        srv_conn_dirty(conn);
    }
    if ((events & EPOLLIN) != 0) {
        if (conn->state == SRV_CONN_LINGER)
            linger_read(conn);
        else
            read_input(conn);
    }
}

/* ---- bytes out ---- */

/* How many bytes the socket took; -1 when it is broken. */
static ssize_t write_some(srv_conn *conn, const uint8_t *data, size_t len)
{
    VV_POINT("server.before_write");
    ssize_t n = conn->io->write(conn, data, len);
    if (n < 0)
        return would_block() ? 0 : -1;
    VV_POINT("server.after_write");
    srv_count(&conn->loop->counters.bytes_out, (uint64_t)n);
    if (n > 0)
        conn->last_output_ns = conn->loop->now_ns;
    return n;
}

/* What the socket did not take last time. False when it is broken. */
static bool write_pending(srv_conn *conn)
{
    size_t left = conn->pending.len - conn->pending_done;
    ssize_t n = write_some(conn, conn->pending.data + conn->pending_done, left);
    if (n < 0)
        return false;
    conn->pending_done += (size_t)n;
    if ((size_t)n == left)
        drop_pending(conn);
    else
        conn->write_blocked = true;
    return true;
}

static bool keep_pending(srv_conn *conn, const uint8_t *data, size_t len)
{
    conn->pending.max = len;
    vv_buf_append(&conn->pending, data, len);
    vv_budget_take(conn->server->opt.budget, VV_BUDGET_NETWORK, conn->pending.cap);
    conn->write_blocked = true;
    return conn->pending.status == VV_OK;
}

/* False when the connection is lost. */
static bool write_output(srv_conn *conn)
{
    vv_buf *out = &conn->loop->out;
    size_t total = 0;
    if (conn->pending.len > 0 && !write_pending(conn))
        return false;
    while (!conn->write_blocked && conn->proto != NULL) {
        if (total >= SRV_TURN_BYTES) {
            srv_conn_dirty(conn); /* others first; the rest in the next turn */
            return true;
        }
        vv_buf_reset(out);
        if (!conn->proto->output(conn, out))
            return false;
        size_t len = out->len;
        ssize_t n = len == 0 ? 0 : write_some(conn, out->data, len);
        if (n < 0 || ((size_t)n < len && !keep_pending(conn, out->data + n, len - (size_t)n)))
            return false;
        total += len;
        if (len < SRV_WRITE_SIZE)
            break;
    }
    return true;
}

static void begin_linger(srv_conn *conn)
{
    conn->state = SRV_CONN_LINGER;
    conn->linger_end_ns =
        conn->loop->now_ns + (conn->loop->draining ? SRV_LINGER_NS / 4 : SRV_LINGER_NS);
    srv_conn_arm(conn, conn->linger_end_ns);
    (void)shutdown(conn->fd, SHUT_WR);
    if (conn->input_ended)
        srv_conn_kill(conn);
}

static uint32_t wanted_events(const srv_conn *conn)
{
    if (conn->state == SRV_CONN_LINGER)
        return EPOLLIN;
    uint32_t events = conn->write_blocked ? EPOLLOUT : 0;
    if (conn->parked && conn->proto != NULL && conn->proto->credit != NULL)
        events |= EPOLLRDHUP; /* HTTP/2 has no half-closed connections: its memory is free again */
    if (!conn->input_ended && !conn->parked &&
        !(conn->write_blocked &&
          atomic_load_explicit(&conn->queued, memory_order_relaxed) >= SRV_CONN_OUT_PAUSE) &&
        (conn->proto == NULL || conn->proto->want_input(conn) > 0))
        events |= EPOLLIN;
    return events;
}

void srv_conn_flush(srv_conn *conn)
{
    if (conn->state == SRV_CONN_OPEN && !conn->write_blocked && !write_output(conn))
        srv_conn_kill(conn);
    if (conn->state == SRV_CONN_OPEN && !conn->write_blocked && conn->proto != NULL &&
        conn->proto->is_done(conn))
        begin_linger(conn);
    if (conn->state == SRV_CONN_DEAD)
        return;
    uint32_t events = wanted_events(conn);
    if (events == conn->interest)
        return;
    conn->interest = events;
    if (!srv_loop_watch(conn->loop, conn->fd, &conn->source, events, true))
        srv_conn_kill(conn);
}

/* ---- limits in time ---- */

void srv_conn_begin_drain(srv_conn *conn)
{
    if (conn->state != SRV_CONN_OPEN || conn->drain_sent)
        return;
    if (conn->proto == NULL) {
        srv_conn_kill(conn);
        return;
    }
    conn->drain_sent = true;
    conn->drain_ns = conn->loop->now_ns + SRV_DRAIN_NOTICE_NS;
    conn->proto->drain(conn, false);
    srv_conn_arm(conn, conn->drain_ns);
}

/* The client owes us bytes of a request, and we do not hold it back. */
static bool awaits_input(const srv_call *call)
{
    if (call->request_ignored || call->request_ended || call->conn->parked || call->wait != NULL ||
        call->owed > 0)
        return false;
    if (call->is_http || call->method == NULL || call->method->kind == SRV_GRPC_UNARY)
        return true; /* without a method the headers are not whole yet */
    uint64_t released = atomic_load_explicit(&call->released, memory_order_relaxed);
    return !grpc_frame_is_clean(&call->frame) && released == call->delivered;
}

static void check_call(srv_call *call, int64_t now)
{
    const srv_options *opt = &call->conn->server->opt;
    srv_admit_check(call, now);
    bool late =
        !call->ended && awaits_input(call) && now - call->last_input_ns >= opt->body_timeout_ns;
    if (late && !call->is_http && call->method == NULL)
        srv_conn_kill(call->conn); /* half a header block: nothing else can come through */
    else if (call->out_bytes > 0 && now - call->last_output_ns >= opt->idle_timeout_ns)
        srv_call_abort(call, GRPC_CANCELLED, 408, "the client does not read its answers");
    else if (late)
        srv_call_abort(call, GRPC_DEADLINE_EXCEEDED, 408, "the rest of the request did not come");
}

static void check_calls(srv_conn *conn, int64_t now)
{
    int64_t idle = conn->server->opt.idle_timeout_ns;
    for (srv_call *call = conn->calls; call != NULL; call = call->next)
        check_call(call, now);
    if (conn->ping_sent && now - conn->ping_ns >= (int64_t)vv_min_u64(idle / 2, SRV_PING_WAIT_NS)) {
        srv_conn_kill(conn); /* nobody is there */
    } else if (!conn->ping_sent && now - conn->last_byte_ns >= idle / 2) {
        conn->ping_sent = true;
        conn->ping_ns = now;
        conn->proto->ping(conn);
    }
}

static void check_parked(srv_conn *conn, int64_t now)
{
    if (is_starved(conn)) {
        if (now - conn->parked_ns >= conn->server->opt.body_timeout_ns && conn->waiting == 0)
            srv_admit_give_up(conn); /* what it holds is better given to others */
        size_t total = 0;
        if (conn->state == SRV_CONN_OPEN && (atomic_load(&conn->queued) > 0 || conn->waiting > 0)) {
            (void)read_once(conn, SRV_PARK_READ, &total);
            srv_conn_dirty(conn);
        }
        return;
    }
    srv_conn_unpark(conn);
}

/* When the next check is due. */
static int64_t check_open(srv_conn *conn, int64_t now)
{
    const srv_options *opt = &conn->server->opt;
    if (!conn->proto_ready || conn->head_since_ns != 0) {
        int64_t since = conn->head_since_ns != 0 ? conn->head_since_ns : conn->opened_ns;
        if (now - since < opt->handshake_timeout_ns)
            return since + opt->handshake_timeout_ns;
        conn->proto_ready = true;
        conn->head_since_ns = 0;
        if (conn->proto == NULL)
            srv_conn_kill(conn);
        else
            conn->proto->head_timeout(conn);
    }
    if (conn->parked)
        check_parked(conn, now);
    if (conn->drain_sent && !conn->drain_final && now >= conn->drain_ns && conn->proto != NULL) {
        conn->drain_final = true;
        conn->proto->drain(conn, true);
    }
    if (conn->pending.len > 0 && now - conn->last_output_ns >= opt->idle_timeout_ns)
        srv_conn_kill(conn);
    if (conn->call_count > 0 && conn->proto != NULL) {
        check_calls(conn, now);
    } else if (!conn->drain_sent && now - conn->last_use_ns >= opt->idle_timeout_ns) {
        srv_conn_begin_drain(conn);
    }
    if (conn->parked || conn->waiting > 0)
        return now + SRV_PARK_RETRY_NS;
    if (conn->drain_sent && !conn->drain_final)
        return conn->drain_ns;
    if (conn->call_count > 0 || conn->pending.len > 0 || conn->drain_sent)
        return now + conn->server->check_period_ns;
    return conn->last_use_ns + opt->idle_timeout_ns;
}

static void on_timer(srv_timer *timer)
{
    srv_conn *conn = VV_CONTAINER_OF(timer, srv_conn, timer);
    int64_t now = conn->loop->now_ns;
    int64_t next = now;
    if (conn->state == SRV_CONN_OPEN)
        next = check_open(conn, now);
    else if (conn->state == SRV_CONN_LINGER && now >= conn->linger_end_ns)
        srv_conn_kill(conn);
    else
        next = conn->linger_end_ns;
    if (conn->state != SRV_CONN_DEAD)
        srv_conn_arm(conn, next > now ? next : now + VV_NS_PER_MS);
}
