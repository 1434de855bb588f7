/*
 * evlog_test.c - the event log: no line is lost without being counted, a sink that fails holds up
 * nobody, and what repeats is told once.
 */
#include "vv_test.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "io/env.h"
#include "server/evlog_sink.h"

/* ---- a clock that stands ------------------------------------------------------------------- */

typedef struct fake_clock {
    vv_clock clock;
    int64_t now;
} fake_clock;

static int64_t fake_mono(vv_clock *clock)
{
    return ((fake_clock *)clock)->now;
}

static int64_t fake_wall(vv_clock *clock)
{
    return INT64_C(1700000000) * VV_NS_PER_S + ((fake_clock *)clock)->now;
}

static const vv_clock_ops fake_ops = {.mono_ns = fake_mono, .wall_ns = fake_wall};

/* ---- records as bytes ---------------------------------------------------------------------- */

static void prop_a_record_comes_back_as_it_was(void **state)
{
    (void)state;
    vv_rng rng;
    static uint8_t bytes[2 * EVLOG_PACKED_MAX];
    static char text[40][1200];
    vv_rng_init(&rng, vv_test_seed(3));
    for (unsigned round = 0; round < 5000; round++) {
        vv_kv kvs[40];
        size_t count = vv_rng_below(&rng, 40);
        for (size_t i = 0; i < 40; i++) {
            size_t len = vv_rng_one_in(&rng, 20) ? 1199 : vv_rng_below(&rng, 60);
            memset(text[i], (int)('a' + i % 26), len);
            text[i][len] = '\0';
        }
        for (size_t i = 0; i < count; i++) {
            switch (vv_rng_below(&rng, 4)) {
            case 0:
                kvs[i] = VV_KV_S("s", text[i]);
                break;
            case 1:
                kvs[i] = VV_KV_I("i", -(int64_t)i);
                break;
            case 2:
                kvs[i] = VV_KV_U("u", i);
                break;
            default:
                kvs[i] = VV_KV_F("f", (double)i / 2);
            }
        }
        const vv_log_record r = {.wall_ns = (int64_t)vv_rng_next(&rng),
                                 .level = (vv_log_level)vv_rng_below(&rng, 4),
                                 .module = "module",
                                 .msg = text[39],
                                 .kvs = kvs,
                                 .count = count};
        size_t room = vv_rng_below(&rng, sizeof bytes);
        memset(bytes, 0xee, sizeof bytes);
        size_t n = evlog_pack(&r, bytes, room);
        assert_true(n <= room && n <= EVLOG_PACKED_MAX);
        assert_int_equal(bytes[room], 0xee);
        if (n == 0) {
            assert_true(room < EVLOG_PACKED_MAX);
            continue;
        }
        evlog_unpacked u;
        assert_int_equal(evlog_unpack(bytes, &u), n);
        assert_int_equal(u.record.wall_ns, r.wall_ns);
        assert_int_equal(u.record.level, r.level);
        assert_string_equal(u.record.module, r.module);
        assert_int_equal(strlen(u.record.msg), vv_min_u64(strlen(r.msg), EVLOG_TEXT_MAX));
        assert_true(u.record.count <= count);
        for (size_t i = 0, k = 0; i < u.record.count; i++, k++) {
            while (k < count && strcmp(kvs[k].key, u.kv[i].key) != 0)
                k++; /* one that did not fit is left out */
            assert_true(k < count);
        }
    }
}

/* ---- a lane -------------------------------------------------------------------------------- */

#define SEEN_MAX 4096

typedef struct test_sink {
    evlog_sink sink;
    bool broken;
    bool flush_broken;
    uint64_t lose_at_flush;
    uint64_t held; /* put, not flushed */
    size_t count;
    char seen[SEEN_MAX][64];
    uint64_t missing; /* by the lines about it */
} test_sink;

static vv_status test_put(evlog_sink *sink, const vv_log_record *r, vv_error *err)
{
    test_sink *s = (test_sink *)sink;
    if (s->broken)
        return vv_fail(err, VV_IO, "it is broken");
    if (strcmp(r->msg, "poison") == 0)
        return vv_fail(err, VV_INVALID, "it is no line for me");
    if (strcmp(r->module, "log") == 0)
        s->missing += r->kvs[0].v.u;
    assert_true(s->count < SEEN_MAX);
    (void)snprintf(s->seen[s->count++], sizeof s->seen[0], "%s", r->msg);
    s->held++;
    return VV_OK;
}

static vv_status test_flush(evlog_sink *sink, uint64_t *lost, vv_error *err)
{
    test_sink *s = (test_sink *)sink;
    if (s->flush_broken)
        return vv_fail(err, VV_TIMEOUT, "it does not answer");
    *lost = s->lose_at_flush;
    s->lose_at_flush = 0;
    s->held = 0;
    return VV_OK;
}

static void test_destroy(evlog_sink *sink)
{
    (void)sink;
}

static const evlog_sink_ops test_ops = {
    .put = test_put, .flush = test_flush, .destroy = test_destroy};

typedef struct told {
    unsigned failures;
    unsigned recoveries;
} told;

static void note_told(void *ctx, const vv_log_record *r)
{
    told *t = ctx;
    t->failures += r->level == VV_LOG_ERROR;
    t->recoveries += r->level == VV_LOG_INFO;
}

static evlog_lane *open_lane(test_sink *s, fake_clock *clock, told *t)
{
    vv_error err;
    evlog_lane *lane = NULL;
    memset(s, 0, sizeof *s);
    s->sink.ops = &test_ops;
    *clock = (fake_clock){.clock.ops = &fake_ops, .now = 1};
    const evlog_lane_options opt = {.name = "test",
                                    .sink = &s->sink,
                                    .queue_bytes = 2 * EVLOG_PACKED_MAX,
                                    .clock = &clock->clock,
                                    .tell = note_told,
                                    .tell_ctx = t};
    assert_ok(evlog_lane_create(&opt, &lane, &err), err);
    return lane;
}

static void push(evlog_lane *lane, const char *msg)
{
    const vv_log_record r = {.level = VV_LOG_INFO, .module = "m", .msg = msg};
    evlog_lane_push(lane, &r);
}

static void a_sink_that_fails_gets_every_line_later(void **state)
{
    (void)state;
    static test_sink s;
    fake_clock clock;
    told t = {0};
    evlog_sink_stats stats;
    evlog_lane *lane = open_lane(&s, &clock, &t);
    push(lane, "1");
    assert_int_equal(evlog_lane_step(lane), INT64_MAX);
    assert_int_equal(s.count, 1);
    s.broken = true;
    push(lane, "2");
    int64_t pause = evlog_lane_step(lane);
    assert_true(pause > 0 && pause != INT64_MAX);
    push(lane, "3");
    assert_true(evlog_lane_step(lane) <= pause); /* not yet */
    clock.now += pause;
    int64_t longer = evlog_lane_step(lane);
    assert_true(longer > pause && longer != INT64_MAX);
    evlog_lane_stats(lane, &stats);
    assert_true(stats.is_failing);
    assert_string_equal(stats.error, "it is broken");
    s.broken = false;
    s.flush_broken = true; /* now the other half of it fails */
    clock.now += longer;
    longer = evlog_lane_step(lane);
    assert_true(longer != INT64_MAX);
    assert_int_equal(s.held, 1);
    s.flush_broken = false;
    clock.now += longer;
    assert_int_equal(evlog_lane_step(lane), INT64_MAX);
    assert_int_equal(s.count, 3);
    assert_string_equal(s.seen[1], "2");
    assert_string_equal(s.seen[2], "3");
    assert_int_equal(t.failures, 1);
    assert_int_equal(t.recoveries, 1);
    evlog_lane_stats(lane, &stats);
    assert_false(stats.is_failing);
    assert_int_equal(stats.lines, 3);
    assert_int_equal(stats.lost, 0);
    evlog_lane_stop(lane, 0);
    evlog_lane_destroy(lane);
}

static void what_does_not_fit_is_counted_where_it_is_missing(void **state)
{
    (void)state;
    static test_sink s;
    fake_clock clock;
    told t = {0};
    evlog_sink_stats stats;
    evlog_lane *lane = open_lane(&s, &clock, &t);
    s.broken = true;
    push(lane, "first");
    int64_t pause = evlog_lane_step(lane);
    for (unsigned i = 0; i < 2000; i++)
        push(lane, "more");
    evlog_lane_stats(lane, &stats);
    assert_true(stats.lost > 0 && stats.lost < 2000);
    assert_true(stats.queued_bytes <= EVLOG_PACKED_MAX);
    s.broken = false;
    clock.now += pause;
    assert_int_equal(evlog_lane_step(lane), INT64_MAX);
    assert_int_equal(s.missing, stats.lost);
    assert_string_equal(s.seen[0], "first");
    assert_int_equal(s.count, 1 + (2000 - stats.lost) + 1);
    assert_non_null(strstr(s.seen[s.count - 1], "lines are missing here"));
    push(lane, "after");
    assert_int_equal(evlog_lane_step(lane), INT64_MAX);
    assert_string_equal(s.seen[s.count - 1], "after");
    evlog_lane_stop(lane, 0);
    evlog_lane_destroy(lane);
}

static void a_line_that_is_never_taken_holds_up_nobody(void **state)
{
    (void)state;
    static test_sink s;
    fake_clock clock;
    told t = {0};
    evlog_sink_stats stats;
    evlog_lane *lane = open_lane(&s, &clock, &t);
    push(lane, "a");
    push(lane, "poison");
    push(lane, "b");
    s.lose_at_flush = 1; /* the collector rejects one */
    assert_int_equal(evlog_lane_step(lane), INT64_MAX);
    evlog_lane_stats(lane, &stats);
    assert_int_equal(stats.lines, 1);
    assert_int_equal(stats.lost, 2);
    assert_int_equal(t.failures, 0);
    push(lane, "c");
    assert_int_equal(evlog_lane_step(lane), INT64_MAX);
    assert_int_equal(s.missing, 2);
    evlog_lane_stop(lane, 0);
    evlog_lane_destroy(lane);
}

/* ---- the whole ----------------------------------------------------------------------------- */

typedef struct lines {
    vv_buf text;
} lines;

static void take_line(void *ctx, const char *line, size_t len)
{
    lines *l = ctx;
    vv_buf_append(&l->text, line, len);
}

static bool has_text(lines *l, const char *text)
{
    return memmem(l->text.data, l->text.len, text, strlen(text)) != NULL;
}

static void repeats_are_limited_and_told(void **state)
{
    (void)state;
    lines l;
    evlog *e = NULL;
    vv_error err;
    evlog_stats stats;
    fake_clock clock = {.clock.ops = &fake_ops, .now = 1};
    vv_buf_init(&l.text, 1 << 20);
    evlog_options opt = {.sinks = 1u << EVLOG_STDERR,
                         .level = VV_LOG_INFO,
                         .limit_lines = 2,
                         .limit_span_ns = VV_NS_PER_S,
                         .queue_bytes = 1 << 16,
                         .clock = &clock.clock,
                         .write = take_line,
                         .write_ctx = &l};
    assert_ok(vv_log_rules_parse("wal=debug", &opt.rules, &err), err);
    assert_ok(evlog_open(&opt, &e, &err), err);
    vv_log *log = evlog_log(e);
    assert_ptr_equal(evlog_of(log), e);
    for (unsigned i = 0; i < 7; i++)
        vv_log_to(log, VV_LOG_WARN, "db", "tried again", VV_KV_U("try", i));
    vv_log_to(log, VV_LOG_DEBUG, "wal", "detail", VV_KV_U("n", 1));
    vv_log_to(log, VV_LOG_DEBUG, "db", "silence", VV_KV_U("n", 1));
    assert_true(has_text(&l, "try=1") && !has_text(&l, "try=2"));
    assert_true(has_text(&l, "detail") && !has_text(&l, "silence"));
    assert_true(evlog_step(e) != INT64_MAX);
    assert_false(has_text(&l, "left out"));
    clock.now += VV_NS_PER_S;
    assert_int_equal(evlog_step(e), INT64_MAX);
    assert_true(has_text(&l, "level=warn module=db msg=\"lines of one message were left out\" "
                             "message=\"tried again\" lines=5"));
    vv_log_to(log, VV_LOG_WARN, "db", "tried again", VV_KV_U("try", 70));
    vv_log_to(log, VV_LOG_WARN, "db", "tried again", VV_KV_U("try", 71));
    vv_log_to(log, VV_LOG_WARN, "db", "tried again", VV_KV_U("try", 72));
    assert_true(has_text(&l, "try=71") && !has_text(&l, "try=72"));
    evlog_stats_read(e, &stats);
    assert_int_equal(stats.left_out, 6);
    evlog_close(e); /* tells of the last one */
    assert_true(has_text(&l, "message=\"tried again\" lines=1"));
    vv_buf_fini(&l.text);
}

static int bind_socket(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    (void)unlink(path);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    struct timeval limit = {.tv_sec = 20};
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    return fd;
}

static void expect_datagram(int fd, const char *text)
{
    char got[EVLOG_DATAGRAM_MAX + 1];
    ssize_t n = recv(fd, got, sizeof got - 1, 0);
    assert_true(n > 0);
    got[n] = '\0';
    if (strstr(got, text) == NULL)
        fail_msg("'%s' instead of '%s'", got, text);
}

/* Threads, sockets of this machine, services that come late and go. */
static void services_of_the_machine_get_datagrams(void **state)
{
    (void)state;
    lines l;
    char dir[] = "/tmp/varve-evlog-XXXXXX";
    char syslog[64], journal[64];
    evlog *e = NULL;
    vv_error err;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(syslog, sizeof syslog, "%s/log", dir);
    (void)snprintf(journal, sizeof journal, "%s/journal", dir);
    vv_buf_init(&l.text, 1 << 20);
    const evlog_options opt = {.sinks = 1u << EVLOG_SYSLOG | 1u << EVLOG_JOURNAL,
                               .level = VV_LOG_INFO,
                               .queue_bytes = 1 << 16,
                               .limit_lines = 100,
                               .limit_span_ns = VV_NS_PER_S,
                               .clock = vv_clock_real(),
                               .threads = vv_threads_real(),
                               .write = take_line,
                               .write_ctx = &l,
                               .syslog_socket = syslog,
                               .syslog_facility = 16,
                               .journal_socket = journal};
    int journal_fd = bind_socket(journal);
    assert_ok(evlog_open(&opt, &e, &err), err);
    vv_log *log = evlog_log(e);
    vv_log_to(log, VV_LOG_WARN, "db", "one", VV_KV_U("n", 7));
    expect_datagram(journal_fd, "MESSAGE=one\nPRIORITY=4\n");
    int syslog_fd = bind_socket(syslog); /* late */
    expect_datagram(syslog_fd, " db [varve@32473 n=\"7\"] one");
    (void)close(syslog_fd);
    vv_log_to(log, VV_LOG_ERROR, "db", "two", VV_KV_U("n", 8));
    expect_datagram(journal_fd, "MESSAGE=two\nPRIORITY=3\n");
    syslog_fd = bind_socket(syslog); /* anew, as after a restart of the service */
    expect_datagram(syslog_fd, "<131>1 ");
    vv_log_to(log, VV_LOG_INFO, "db", "three", VV_KV_U("n", 9));
    evlog_close(e); /* what is queued goes out */
    expect_datagram(syslog_fd, "three");
    expect_datagram(journal_fd, "MESSAGE=three\n");
    assert_true(has_text(&l, "a sink of the log fails"));
    assert_true(has_text(&l, "a sink of the log works again"));
    (void)close(syslog_fd);
    (void)close(journal_fd);
    (void)unlink(syslog);
    (void)unlink(journal);
    (void)rmdir(dir);
    vv_buf_fini(&l.text);
}

static void every_allocation_of_the_open_may_fail(void **state)
{
    (void)state;
    fake_clock clock = {.clock.ops = &fake_ops, .now = 1};
    const evlog_options opt = {.sinks = 1u << EVLOG_SYSLOG | 1u << EVLOG_JOURNAL | 1u << EVLOG_FILE,
                               .queue_bytes = 1 << 16,
                               .limit_lines = 1,
                               .limit_span_ns = 1,
                               .clock = &clock.clock,
                               .file = "/tmp/varve-evlog-never-written/log",
                               .file_size = 4096,
                               .file_count = 1,
                               .syslog_socket = "/tmp/varve-evlog-none/log",
                               .journal_socket = "/tmp/varve-evlog-none/journal"};
    vv_status st = VV_NO_MEMORY;
    for (int64_t n = 0; st != VV_OK; n++) {
        evlog *e = NULL;
        vv_error err = {0};
        vv_alloc_fail_after(n, 0);
        st = evlog_open(&opt, &e, &err);
        vv_alloc_fail_after(-1, 0);
        if (st != VV_OK)
            assert_status(VV_NO_MEMORY, st);
        evlog_close(e);
        assert_true(n < 1000);
    }
}

static void headers_are_taken_apart(void **state)
{
    (void)state;
    static char out[EVLOG_HEADERS_MAX][EVLOG_HEADER_MAX];
    static const struct {
        const char *text;
        size_t count;
        bool good;
    } cases[] = {
        {"", 0, true},
        {"Authorization=Bearer a=b, c", 0, false},
        {"Authorization=Bearer abc=,X-Tenant=7", 2, true},
        {"Authorization", 0, false},
        {"=x", 0, false},
        {"A b=x", 0, false},
        {"A=x\r\nB: y", 0, false},
        {"a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,i=1", 0, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t count = 0;
        vv_error err = {0};
        vv_status st = evlog_headers_parse(cases[i].text, out, &count, &err);
        if ((st == VV_OK) != cases[i].good || (st == VV_OK && count != cases[i].count) ||
            strstr(err.msg, "Bearer") != NULL)
            fail_msg("'%s': %s", cases[i].text, err.msg);
    }
    size_t count = 0;
    vv_error err;
    assert_ok(evlog_headers_parse("Authorization=Bearer abc=,X=7", out, &count, &err), err);
    assert_string_equal(out[0], "Authorization: Bearer abc=");
    assert_string_equal(out[1], "X: 7");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_a_record_comes_back_as_it_was),
        cmocka_unit_test(a_sink_that_fails_gets_every_line_later),
        cmocka_unit_test(what_does_not_fit_is_counted_where_it_is_missing),
        cmocka_unit_test(a_line_that_is_never_taken_holds_up_nobody),
        cmocka_unit_test(repeats_are_limited_and_told),
        cmocka_unit_test(services_of_the_machine_get_datagrams),
        cmocka_unit_test(every_allocation_of_the_open_may_fail),
        cmocka_unit_test(headers_are_taken_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
