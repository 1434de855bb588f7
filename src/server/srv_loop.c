/*
 * srv_loop.c - one event loop: wait, sockets, posts, timers, one flush for each connection that has
 * something to say, and only then what died is let go.
 *
 * Posts come from any thread over a stack that is pushed with one compare-and-swap and taken whole
 * by the loop; whoever pushes on an empty stack also wakes the loop through its eventfd.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "server/srv_int.h"

#define EVENTS_MAX 128
#define OUT_MAX (4u * 1024u * 1024u) /* far above what one output() makes */
#define READY_ROUNDS 8

static _Thread_local srv_loop *this_loop;
static srv_post closed_mark; /* on top of posts: the loop has ended */

/* ---- posts ---- */

bool srv_loop_is_here(const srv_loop *loop)
{
    return this_loop == loop;
}

static void wake(srv_loop *loop)
{
    const uint64_t one = 1;
    ssize_t n = write(loop->wake_fd, &one, sizeof one);
    (void)n; /* a full counter wakes as well */
}

bool srv_loop_post(srv_loop *loop, srv_post *post)
{
    if (this_loop == loop && !loop->ended) {
        post->next = NULL;
        if (loop->ready_last != NULL)
            loop->ready_last->next = post;
        else
            loop->ready_first = post;
        loop->ready_last = post;
        return true;
    }
    srv_post *head = atomic_load_explicit(&loop->posts, memory_order_acquire);
    do {
        if (head == &closed_mark)
            return false;
        post->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&loop->posts, &head, post, memory_order_release,
                                                    memory_order_acquire));
    if (head == NULL)
        wake(loop);
    return true;
}

/* Others' posts behind our own, oldest first. */
static void gather_posts(srv_loop *loop, srv_post *leave)
{
    srv_post *newest = atomic_exchange_explicit(&loop->posts, leave, memory_order_acquire);
    srv_post *oldest = NULL, *last = newest;
    while (newest != NULL) {
        srv_post *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    if (oldest == NULL)
        return;
    if (loop->ready_last != NULL)
        loop->ready_last->next = oldest;
    else
        loop->ready_first = oldest;
    loop->ready_last = last;
}

static void run_ready(srv_loop *loop)
{
    srv_post *post = loop->ready_first;
    loop->ready_first = loop->ready_last = NULL;
    while (post != NULL) {
        srv_post *next = post->next; /* post may be queued again, or freed */
        post->fn(loop, post);
        post = next;
    }
}

static void flush_dirty(srv_loop *loop)
{
    srv_conn *conn = loop->dirty;
    loop->dirty = NULL;
    while (conn != NULL) {
        srv_conn *next = conn->dirty_next;
        conn->is_dirty = false;
        srv_conn_flush(conn);
        conn = next;
    }
}

/* Dead connections on the dirty list are passed over by flush; after it none is on any list. */
static void reap_dead(srv_loop *loop)
{
    while (loop->dead != NULL) {
        srv_conn *conn = loop->dead;
        loop->dead = conn->dead_next;
        if (conn->is_dirty) { /* made dirty after the flush: take it off that list */
            srv_conn **at = &loop->dirty;
            while (*at != NULL && *at != conn)
                at = &(*at)->dirty_next;
            if (*at != NULL)
                *at = conn->dirty_next;
            conn->is_dirty = false;
        }
        srv_conn_reap(conn);
    }
}

/* ---- epoll ---- */

bool srv_loop_watch(srv_loop *loop, int fd, srv_source *source, uint32_t events, bool known)
{
    struct epoll_event ev = {.events = events, .data.ptr = source};
    return epoll_ctl(loop->epoll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev) == 0;
}

static void on_wake(srv_loop *loop, srv_source *source, uint32_t events)
{
    (void)source;
    (void)events;
    uint64_t count;
    ssize_t n = read(loop->wake_fd, &count, sizeof count);
    (void)n;
}

static int wait_ms(const srv_loop *loop)
{
    if (loop->ready_first != NULL || loop->dirty != NULL || loop->dead != NULL)
        return 0;
    int64_t at = srv_timers_next(&loop->timers);
    if (loop->draining && loop->drain_end_ns < at)
        at = loop->drain_end_ns;
    if (at == INT64_MAX)
        return -1;
    int64_t left = at - vv_clock_mono(loop->server->opt.clock);
    if (left <= 0)
        return 0;
    int64_t ms = left / VV_NS_PER_MS + 1;
    return ms < 60000 ? (int)ms : 60000;
}

const char *srv_loop_date(srv_loop *loop)
{
    int64_t now_s = vv_clock_wall(loop->server->opt.clock) / VV_NS_PER_S;
    if (now_s != loop->date_s || loop->date_text[0] == '\0') {
        static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
        static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
        time_t t = (time_t)now_s;
        struct tm tm = {0};
        (void)gmtime_r(&t, &tm);
        (void)snprintf(loop->date_text, sizeof loop->date_text,
                       "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday % 7], tm.tm_mday,
                       months[tm.tm_mon % 12], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
        loop->date_s = now_s;
    }
    return loop->date_text;
}

/* ---- the loop ---- */

static void begin_stop(srv_loop *loop, srv_post *post)
{
    (void)post;
    loop->draining = true;
    loop->drain_end_ns = loop->now_ns + loop->server->opt.drain_timeout_ns;
    srv_listeners_stop(loop);
    for (srv_conn *conn = loop->conns; conn != NULL; conn = conn->next)
        srv_conn_begin_drain(conn);
}

static void turn(srv_loop *loop)
{
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(loop->epoll_fd, events, EVENTS_MAX, wait_ms(loop));
    loop->now_ns = vv_clock_mono(loop->server->opt.clock);
    for (int i = 0; i < n; i++) {
        srv_source *source = events[i].data.ptr;
        source->on_event(loop, source, events[i].events);
    }
    srv_timers_run(&loop->timers, loop->now_ns);
    gather_posts(loop, NULL);
    for (int round = 0; round < READY_ROUNDS; round++) {
        run_ready(loop);
        flush_dirty(loop);
        if (loop->ready_first == NULL)
            break;
    }
    reap_dead(loop);
}

/* Nothing comes after this: run what was posted until then. */
static void close_posts(srv_loop *loop)
{
    gather_posts(loop, &closed_mark);
    while (loop->ready_first != NULL) {
        run_ready(loop);
        reap_dead(loop);
    }
    loop->ended = true;
}

void srv_loop_main(void *arg)
{
    srv_loop *loop = arg;
    this_loop = loop;
    loop->now_ns = vv_clock_mono(loop->server->opt.clock);
    srv_listeners_start(loop);
    while (!loop->draining || loop->conns != NULL) {
        turn(loop);
        if (loop->draining && loop->now_ns >= loop->drain_end_ns) {
            for (srv_conn *conn = loop->conns; conn != NULL; conn = conn->next)
                srv_conn_kill(conn);
            reap_dead(loop);
        }
    }
    close_posts(loop);
    this_loop = NULL;
}

vv_status srv_loop_init(srv_loop *loop, srv *server, uint32_t index, vv_error *err)
{
    loop->server = server;
    loop->index = index;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->epoll_fd < 0 || loop->wake_fd < 0)
        return vv_fail_sys(err, VV_IO, errno, "event loop %u", index);
    loop->in = vv_alloc(SRV_READ_SIZE);
    vv_buf_init(&loop->out, OUT_MAX);
    if (loop->in == NULL || vv_buf_reserve(&loop->out, SRV_WRITE_SIZE * 2) == NULL)
        return vv_fail(err, VV_NO_MEMORY, "event loop %u", index);
    loop->wake_source.on_event = on_wake;
    loop->stop_post.fn = begin_stop;
    if (!srv_loop_watch(loop, loop->wake_fd, &loop->wake_source, EPOLLIN, false))
        return vv_fail_sys(err, VV_IO, errno, "event loop %u", index);
    return VV_OK;
}

void srv_loop_fini(srv_loop *loop)
{
    if (loop->epoll_fd >= 0)
        (void)close(loop->epoll_fd);
    if (loop->wake_fd >= 0)
        (void)close(loop->wake_fd);
    vv_free(loop->in);
    vv_buf_fini(&loop->out);
    srv_timers_fini(&loop->timers);
}
