/*
 * srv_admit_test.c - more is sent than memory holds: everybody has their turn, nobody is reset.
 *
 * Nothing in here frees memory by cutting a sender off, unless the test is about that.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "server/srv_fixture.h"

#define SENDERS 8u
#define BODY 1000000u
#define LIMIT 2500000u /* two of them */
/* What may be counted beyond the limit: a first window or one read for each that waits. */
#define SLACK (SENDERS * 300000u)

static uint8_t zeros[BODY];

static uint64_t used(const fixture *f)
{
    return vv_budget_used(&f->budget);
}

/* Pump all until each stream is closed. Returns the most that was counted meanwhile. */
static uint64_t pump_all(const fixture *f, cli **c, cli_stream **s, size_t count)
{
    uint64_t most = 0;
    int64_t end = cli_now_ms() + 20000;
    for (size_t open = count; open > 0 && cli_now_ms() < end;) {
        open = 0;
        for (size_t i = 0; i < count; i++) {
            (void)cli_pump(c[i], 1);
            open += !s[i]->closed;
            most = vv_max_u64(most, used(f));
        }
    }
    return most;
}

/* Fail drops its message and says 9: whoever reads 9 was received as a whole. */
static void assert_all_received(cli_stream **s, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!s[i]->closed || s[i]->grpc_status != 9)
            fail_msg("sender %zu: closed %d, error %u, status %d: %s", i, s[i]->closed, s[i]->error,
                     s[i]->grpc_status, s[i]->message);
}

static void test_many_large_messages_each_on_a_connection(void **state)
{
    (void)state;
    fixture f = {0};
    cli *c[SENDERS];
    cli_stream *s[SENDERS];
    vv_budget_init(&f.budget, LIMIT);
    fixture_start(&f);
    for (size_t i = 0; i < SENDERS; i++) {
        c[i] = cli_open(f.bound, 0);
        s[i] = cli_call(c[i], "/test.Echo/Fail", NULL);
        cli_message(c[i], s[i], vv_slice_of(zeros, BODY), true);
    }
    assert_true(pump_all(&f, c, s, SENDERS) < LIMIT + SLACK);
    assert_all_received(s, SENDERS);
    for (size_t i = 0; i < SENDERS; i++)
        cli_close(c[i]);
    fixture_stop(&f);
}

static void test_many_large_messages_on_one_connection(void **state)
{
    (void)state;
    fixture f = {0};
    cli *c[SENDERS];
    cli_stream *s[SENDERS];
    vv_budget_init(&f.budget, LIMIT);
    fixture_start(&f);
    c[0] = cli_open(f.bound, 0);
    for (size_t i = 0; i < SENDERS; i++) {
        c[i] = c[0];
        s[i] = cli_call(c[0], "/test.Echo/Fail", NULL);
        cli_message(c[0], s[i], vv_slice_of(zeros, BODY), true);
    }
    assert_true(pump_all(&f, c, s, SENDERS) < LIMIT + SLACK);
    assert_all_received(s, SENDERS);
    cli_close(c[0]);
    fixture_stop(&f);
}

/* One message larger than everything is let in when it is alone. */
static void test_one_message_always_goes(void **state)
{
    (void)state;
    fixture f = {0};
    vv_budget_init(&f.budget, BODY / 4);
    fixture_start(&f);
    cli *c = cli_open(f.bound, 0);
    for (int i = 0; i < 3; i++) {
        cli_stream *s = cli_unary(c, "/test.Echo/Fail", vv_slice_of(zeros, BODY), NULL);
        assert_int_equal(s->grpc_status, 9);
    }
    cli_close(c);
    fixture_stop(&f);
}

/* ---- HTTP/1.1 ---- */

typedef struct post {
    int fd;
    char head[160];
    size_t head_len;
    size_t sent;  /* of head and body */
    size_t total; /* likewise */
    vv_buf in;
    bool closed;
} post;

static void post_begin(post *p, uint16_t port, size_t announced)
{
    *p = (post){.fd = raw_connect(port)};
    vv_buf_init(&p->in, 8 * VV_MIB);
    (void)fcntl(p->fd, F_SETFL, fcntl(p->fd, F_GETFL) | O_NONBLOCK);
    p->head_len = (size_t)snprintf(
        p->head, sizeof p->head,
        "POST /large HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
        announced);
    p->total = p->head_len + announced;
}

/* Move bytes both ways, without waiting; at most upto of the whole request in all. */
static void post_move(post *p, size_t upto)
{
    uint8_t bytes[65536];
    upto = vv_min_u64(upto, p->total);
    while (!p->closed && p->sent < upto) {
        bool in_head = p->sent < p->head_len;
        const void *from = in_head ? p->head + p->sent : (const char *)zeros;
        size_t left = in_head ? p->head_len - p->sent : vv_min_u64(upto - p->sent, BODY);
        ssize_t n = send(p->fd, from, left, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        p->sent += (size_t)n;
    }
    for (ssize_t n; !p->closed && (n = recv(p->fd, bytes, sizeof bytes, 0)) != -1;) {
        vv_buf_append(&p->in, bytes, (size_t)n);
        p->closed = n == 0;
    }
    if (!p->closed && errno != EAGAIN)
        fail_msg("reset: errno %d after %zu of %zu bytes", errno, p->sent, p->total);
}

static bool post_got(const post *p, const char *text)
{
    return p->in.len > 0 && memmem(p->in.data, p->in.len, text, strlen(text)) != NULL;
}

static void post_end(post *p)
{
    (void)close(p->fd);
    vv_buf_fini(&p->in);
}

static void test_many_large_bodies(void **state)
{
    (void)state;
    fixture f = {0};
    post p[SENDERS];
    size_t open = SENDERS;
    vv_budget_init(&f.budget, LIMIT);
    fixture_start(&f);
    for (size_t i = 0; i < SENDERS; i++)
        post_begin(&p[i], f.bound, BODY);
    for (int64_t end = cli_now_ms() + 20000; open > 0 && cli_now_ms() < end;) {
        open = 0;
        for (size_t i = 0; i < SENDERS; i++) {
            post_move(&p[i], SIZE_MAX);
            open += !p[i].closed;
        }
        (void)poll(NULL, 0, 1);
    }
    for (size_t i = 0; i < SENDERS; i++) {
        assert_true(post_got(&p[i], "HTTP/1.1 200"));
        post_end(&p[i]);
    }
    fixture_stop(&f);
}

/* ---- the queue ------------------------------------------------------------------------------- */

/* The first sends a byte now and then and so keeps what was counted for it; the second is told. */
static void test_who_waits_in_vain_is_told(void **state)
{
    (void)state;
    fixture f = {.opt.body_timeout_ns = 300 * VV_NS_PER_MS};
    post first, second;
    vv_budget_init(&f.budget, BODY + 200000);
    fixture_start(&f);
    post_begin(&first, f.bound, BODY);
    post_move(&first, first.head_len + 1);
    assert_true(WITHIN(5000, used(&f) >= BODY));
    post_begin(&second, f.bound, BODY);
    cli *c = cli_open(f.bound, 0);
    cli_stream *s = cli_call(c, "/test.Echo/Unary", NULL);
    cli_message(c, s, vv_slice_of(zeros, BODY), true);
    for (int i = 2; i < 1000 && !(second.closed && s->closed); i++) {
        post_move(&first, first.head_len + (size_t)i);
        post_move(&second, SIZE_MAX);
        (void)cli_pump(c, 20);
    }
    assert_true(post_got(&second, "HTTP/1.1 507"));
    assert_true(post_got(&second, "storage.memory_limit"));
    assert_int_equal(s->grpc_status, 8);
    assert_int_equal(s->error, NGHTTP2_NO_ERROR);
    assert_false(first.closed);
    post_end(&first);
    post_end(&second);
    cli_close(c);
    fixture_stop(&f);
}

/* Whoever leaves takes their place along; small requests need none. */
static void test_who_leaves_holds_nobody_up(void **state)
{
    (void)state;
    fixture f = {0};
    post first;
    vv_budget_init(&f.budget, BODY + 200000);
    fixture_start(&f);
    post_begin(&first, f.bound, BODY);
    post_move(&first, first.head_len + 1);
    assert_true(WITHIN(5000, used(&f) >= BODY));
    cli *a = cli_open(f.bound, 0), *b = cli_open(f.bound, 0), *d = cli_open(f.bound, 0);
    cli_stream *sa = cli_call(a, "/test.Echo/Fail", NULL);
    cli_message(a, sa, vv_slice_of(zeros, BODY), true);
    (void)cli_pump(a, 50);
    cli_stream *sb = cli_call(b, "/test.Echo/Fail", NULL);
    cli_message(b, sb, vv_slice_of(zeros, BODY), true);
    (void)cli_pump(b, 50);
    cli_stream *sd = cli_call(d, "/test.Echo/Fail", NULL);
    cli_message(d, sd, vv_slice_of(zeros, BODY), true);
    (void)cli_pump(d, 50);
    assert_false(sa->closed || sb->closed || sd->closed);
    cli *small = cli_open(f.bound, 0);
    assert_int_equal(cli_unary(small, "/test.Echo/Unary", vv_slice_str("x"), NULL)->grpc_status, 0);
    cli_close(small);
    cli_reset(a, sa); /* a stream that waits, */
    (void)cli_pump(a, 50);
    cli_close(b); /* and a connection */
    assert_false(sd->closed);
    for (int i = 0; i < 2000 && !first.closed; i++) {
        post_move(&first, SIZE_MAX);
        (void)poll(NULL, 0, 1);
    }
    assert_true(post_got(&first, "HTTP/1.1 200"));
    assert_true(cli_wait(d, sd, 10000));
    assert_int_equal(sd->grpc_status, 9);
    post_end(&first);
    cli_close(a);
    cli_close(d);
    fixture_stop(&f);
    assert_int_equal(f.echo.messages, 3);
}

/* Messages that handlers keep are what is short: the connection that holds much is not read, and
 * goes on when the other is done and lets go. */
static void test_memory_limit_holds_senders_back(void **state)
{
    (void)state;
    static uint8_t piece[50000];
    fixture f = {0};
    vv_budget_init(&f.budget, 2000000);
    fixture_start(&f);
    cli *a = cli_open(f.bound, 0), *b = cli_open(f.bound, 0);
    cli_stream *sa = cli_call(a, "/test.Echo/Keep", NULL);
    cli_stream *sb = cli_call(b, "/test.Echo/Keep", NULL);
    for (int i = 0; i < 30; i++) { /* 1.5 MB each, the limit is 2 */
        cli_message(a, sa, vv_slice_of(piece, sizeof piece), false);
        cli_message(b, sb, vv_slice_of(piece, sizeof piece), i == 29);
    }
    for (int i = 0; i < 500 && f.echo.kept < 30; i++) /* a takes 1.5 MB, b what is left */
        (void)cli_pump(a, 10);
    for (int i = 0; i < 500 && f.echo.kept < 38; i++)
        (void)cli_pump(b, 10);
    (void)cli_pump(b, 200);
    assert_true(used(&f) < 2700000);
    assert_true(f.echo.kept < 52);
    assert_false(sb->closed);
    cli *small = cli_open(f.bound, 0);
    assert_int_equal(cli_unary(small, "/test.Echo/Unary", vv_slice_str("x"), NULL)->grpc_status, 0);
    cli_close(small);
    cli_send(a, sa, vv_slice_of(NULL, 0), true); /* a's last word, which its handler waits for */
    assert_true(cli_wait(a, sa, 5000));
    assert_int_equal(sa->grpc_status, 0);
    assert_true(cli_wait(b, sb, 5000));
    assert_int_equal(sb->grpc_status, 0);
    cli_close(a);
    cli_close(b);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_large_messages_each_on_a_connection),
        cmocka_unit_test(test_many_large_messages_on_one_connection),
        cmocka_unit_test(test_one_message_always_goes),
        cmocka_unit_test(test_many_large_bodies),
        cmocka_unit_test(test_who_waits_in_vain_is_told),
        cmocka_unit_test(test_who_leaves_holds_nobody_up),
        cmocka_unit_test(test_memory_limit_holds_senders_back),
    };
    if (getenv("CMOCKA_TEST_FILTER") != NULL)
        cmocka_set_test_filter(getenv("CMOCKA_TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
