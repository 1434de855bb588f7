/*
 * svc_engine_test.c - StorageEngine over a whole node: a message is stored when it is answered and
 * once by its id, and who asks for a table that is being learned holds up nobody else. The windows
 * of ids alone, beside it.
 */
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/point.h"
#include "codec/protowire.h"
#include "server/svc_suite.h"
#include "server/svc_window.h"
#include "varve/stream.h"

static uint64_t count_messages(svc_suite *s, const char *tenant, const char *table)
{
    vv_table *t = NULL;
    vv_stream_stats stats = {.size = sizeof stats};
    if (vv_table_open(s->n.db, tenant, table, &t, &s->err) == VV_NOT_FOUND)
        return 0;
    assert_ok(vv_stream_stats_read(t, 0, NULL, &stats, &s->err), s->err);
    vv_table_close(t);
    return stats.messages;
}

#define PROCESS "/storage_engine.StorageEngine/ProcessMessage"

typedef struct processed {
    bool success;
    char message[128];
} processed;

static vv_status process(svc_suite *s, const char *id, const char *content, int64_t timestamp,
                         processed *out)
{
    vv_buf b;
    vv_buf_init(&b, 65536);
    wire_put_string(&b, 1, vv_slice_str(id));
    wire_put_string(&b, 2, vv_slice_str(content));
    wire_put_int(&b, 3, timestamp);
    vv_status st = cli_unary(s->conn, PROCESS, vv_buf_slice(&b), SUITE_TIMEOUT_NS, &s->reply,
                             &s->result, &s->err);
    vv_buf_fini(&b);
    *out = (processed){.success = false};
    wire_reader r = wire_reader_of(vv_buf_slice(&s->reply));
    wire_field f = {0};
    while (st == VV_OK && wire_next(&r, &f) > 0) {
        if (f.number == 1)
            out->success = f.value != 0;
        else if (f.number == 2)
            (void)snprintf(out->message, sizeof out->message, "%.*s", (int)f.bytes.len,
                           (const char *)f.bytes.data);
    }
    return st;
}

static void expect_processed(svc_suite *s, const char *id, const char *content, bool success,
                             const char *message)
{
    processed p;
    assert_ok(process(s, id, content, 0, &p), s->err);
    if (p.success != success || strcmp(p.message, message) != 0)
        fail_msg("%s: %d %s instead of %d %s", id, p.success, p.message, success, message);
}

static void test_a_message_is_known_by_its_id(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    expect_processed(&s, "a", "one", true, "stored at offset 0");
    expect_processed(&s, "b", "two", true, "stored at offset 1");
    expect_processed(&s, "a", "one", true, "stored at offset 0 before");
    expect_processed(&s, "a", "other", false, "not stored: another message was sent with this id");
    expect_processed(&s, "", "none", true, "stored at offset 2");
    expect_processed(&s, "", "none", true, "stored at offset 3");
    assert_int_equal(count_messages(&s, "default", "messages"), 4);
    svc_engine_stop(&s.n); /* as a restart: it learns from the table */
    assert_ok(svc_engine_start(&s.n, &s.err), s.err);
    expect_processed(&s, "b", "two", true, "stored at offset 1 before");
    expect_processed(&s, "b", "three", false, "not stored: another message was sent with this id");
    expect_processed(&s, "c", "three", true, "stored at offset 4");
    svc_suite_stop(&s);
}

/* Rules that make the event time leave a message known by its id, after a restart too. */
static void test_ids_of_a_table_with_rules(void **state)
{
    (void)state;
    svc_suite s;
    processed p;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    svc_suite_start(&s, NULL);
    opt.kind = VV_TABLE_STREAM;
    opt.extract_rules = "at = json $.ts time -> event";
    assert_ok(vv_table_create(s.n.db, "default", "messages", &opt, NULL, &s.err), s.err);
    for (int i = 0; i < 3; i++) {
        assert_ok(process(&s, "a", "{\"ts\":5}", 1700000000, &p), s.err);
        assert_string_equal(p.message, i == 0 ? "stored at offset 0" : "stored at offset 0 before");
        svc_engine_stop(&s.n);
        assert_ok(svc_engine_start(&s.n, &s.err), s.err);
    }
    svc_suite_stop(&s);
}

/* What the table refuses does not make its id known. */
static void test_a_refused_message_may_come_again(void **state)
{
    (void)state;
    svc_suite s;
    processed p;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    svc_suite_start(&s, NULL);
    opt.kind = VV_TABLE_STREAM;
    opt.message_size_max = 64;
    assert_ok(vv_table_create(s.n.db, "default", "messages", &opt, NULL, &s.err), s.err);
    char text[200] = {0};
    memset(text, 'x', sizeof text - 1);
    for (int i = 0; i < 2; i++) {
        assert_status(VV_INVALID, process(&s, "a", text, 0, &p));
        assert_int_equal(count_messages(&s, "default", "messages"), 0);
    }
    expect_processed(&s, "a", "short", true, "stored at offset 0");
    assert_status(VV_INVALID, process(&s, "t", "x", INT64_C(99999999999999999), &p));
    svc_suite_stop(&s);
}

static void test_the_unit_of_a_timestamp(void **state)
{
    (void)state;
    static const struct {
        int64_t timestamp;
        int64_t ns;
    } cases[] = {{0, 0},
                 {1700000000, INT64_C(1700000000000000000)},
                 {1700000000123, INT64_C(1700000000123000000)},
                 {1700000000123456, INT64_C(1700000000123456000)},
                 {1700000000123456789, INT64_C(1700000000123456789)},
                 {-1000, INT64_C(-1000000000000)}};
    svc_suite s;
    processed p;
    vv_table *t = NULL;
    vv_stream_cursor *c = NULL;
    vv_message m;
    svc_suite_start(&s, NULL);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_ok(process(&s, "", "x", cases[i].timestamp, &p), s.err);
    assert_ok(vv_table_open(s.n.db, "default", "messages", &t, &s.err), s.err);
    assert_ok(vv_stream_cursor_open(t, NULL, &c, &s.err), s.err);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_ok(vv_stream_cursor_next(c, &m, &s.err), s.err);
        assert_int_equal(m.event_time_ns, cases[i].ns);
    }
    vv_stream_cursor_close(c);
    vv_table_close(t);
    svc_suite_stop(&s);
}

/* ---- while a table is learned ---- */

static _Atomic int learning; /* learners that stand at the point */
static _Atomic bool goes_on;

static void stop_learners(void *ctx, const char *name)
{
    (void)ctx;
    if (strcmp(name, "engine.learn") != 0)
        return;
    atomic_fetch_add(&learning, 1);
    while (!atomic_load(&goes_on))
        (void)usleep(1000);
}

#define SENDERS 3

typedef struct sender {
    svc_suite *suite;
    vv_thread *thread;
    vv_status status;
    processed answer;
} sender;

static void send_known(void *arg)
{
    sender *r = arg;
    svc_suite mine = {0}; /* of the suite only its address: the node is in use */
    memcpy(mine.address, r->suite->address, sizeof mine.address);
    vv_buf_init(&mine.reply, 1u << 20);
    if (cli_open(mine.address, NULL, &mine.conn, &mine.err) != VV_OK)
        abort();
    r->status = process(&mine, "a", "one", 0, &r->answer);
    cli_close(mine.conn);
    vv_buf_fini(&mine.reply);
}

/* One thread for points and one for all else: those who wait for a table take none of them. */
static void test_learning_holds_up_nobody_else(void **state)
{
    (void)state;
#ifndef VV_TEST_HOOKS
    skip();
#endif
    svc_suite s;
    sender senders[SENDERS];
    vv_buf value;
    bool found = false;
    svc_suite_start(&s, &(svc_suite_options){.pool_threads = 1});
    vv_buf_init(&value, 4096);
    expect_processed(&s, "a", "one", true, "stored at offset 0");
    svc_engine_stop(&s.n); /* as a restart */
    assert_ok(svc_engine_start(&s.n, &s.err), s.err);
    atomic_store(&learning, 0);
    atomic_store(&goes_on, false);
    vv_point_set(stop_learners, NULL);
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (sender){.suite = &s};
        assert_ok(s.n.env.threads->create("sender", VV_THREAD_NORMAL, send_known, &senders[i],
                                          &senders[i].thread, &s.err),
                  s.err);
    }
    while (atomic_load(&learning) == 0)
        (void)usleep(1000);
    (void)usleep(20000); /* most often the others wait by now */
    expect_processed(&s, "", "no id", true, "stored at offset 1");
    assert_ok(svc_suite_put(&s, "t", "kv", vv_slice_str("k"), vv_slice_str("v"), NULL), s.err);
    assert_ok(svc_suite_get(&s, "t", "kv", vv_slice_str("k"), &found, &value, NULL), s.err);
    atomic_store(&goes_on, true);
    for (int i = 0; i < SENDERS; i++) {
        s.n.env.threads->join(senders[i].thread);
        assert_int_equal(senders[i].status, VV_OK);
        assert_string_equal(senders[i].answer.message, "stored at offset 0 before");
    }
    vv_point_set(NULL, NULL);
    assert_int_equal(atomic_load(&learning), 1); /* once for all of them */
    vv_buf_fini(&value);
    svc_suite_stop(&s);
}

/* ---- windows ---- */

static svc_window_id id_of(uint64_t number)
{
    return svc_window_id_of(vv_slice_of((const uint8_t *)&number, sizeof number));
}

static svc_window_state begin(svc_windows *w, uint32_t table, uint64_t number, uint64_t content,
                              uint64_t *offset)
{
    vv_error err = {0};
    static svc_waiter waiter;
    svc_window_state state = SVC_WINDOW_NEW;
    assert_ok(svc_window_begin(w, table, id_of(number), content, &waiter, &state, offset, &err),
              err);
    return state;
}

/* A table that is known. */
static void open_window(svc_windows *w, uint32_t table)
{
    uint64_t offset = 0;
    assert_int_equal(begin(w, table, 0, 0, &offset), SVC_WINDOW_LEARN);
    assert_non_null(svc_window_learned(w, table, true));
}

/* The newest ids are known, and no others, whatever ended without being stored. */
static void test_a_window_is_bounded(void **state)
{
    (void)state;
    enum { ALL = 3 * SVC_WINDOW_IDS };
    uint64_t offset = 0;
    svc_windows *w = svc_windows_create(NULL, 0);
    assert_non_null(w);
    open_window(w, 7);
    for (uint64_t i = 0; i < ALL; i++) {
        assert_int_equal(begin(w, 7, i, 1, &offset), SVC_WINDOW_NEW);
        assert_int_equal(begin(w, 7, i, 1, &offset), SVC_WINDOW_PENDING);
        svc_window_end(w, 7, id_of(i), i % 3 != 0, i);
    }
    for (uint64_t i = ALL - SVC_WINDOW_IDS; i < ALL; i++) {
        if (i % 3 == 0)
            continue;
        assert_int_equal(begin(w, 7, i, 1, &offset), SVC_WINDOW_STORED);
        assert_int_equal(offset, i);
        assert_int_equal(begin(w, 7, i, 2, &offset), SVC_WINDOW_OTHER);
    }
    for (uint64_t i = 1; i < 1000; i++) {
        assert_int_equal(begin(w, 7, i, 1, &offset), SVC_WINDOW_NEW);
        svc_window_end(w, 7, id_of(i), false, 0);
    }
    assert_int_equal(svc_window_capacity(w, 7), SVC_WINDOW_IDS);
    svc_windows_destroy(w);
}

/* What is learned of one table, and what comes into it, leaves the others as they are. */
static void test_tables_do_not_displace_each_other(void **state)
{
    (void)state;
    uint64_t offset = 0;
    svc_windows *w = svc_windows_create(NULL, 64u << 20);
    assert_non_null(w);
    open_window(w, 1);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(begin(w, 1, i, 1, &offset), SVC_WINDOW_NEW);
        svc_window_end(w, 1, id_of(i), true, i);
    }
    assert_int_equal(begin(w, 2, 0, 0, &offset), SVC_WINDOW_LEARN);
    for (uint64_t i = 0; i < SVC_WINDOW_IDS; i++)
        svc_window_learn(w, 2, id_of(i), 1, 1000000 + i);
    assert_non_null(svc_window_learned(w, 2, true));
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(begin(w, 1, i, 1, &offset), SVC_WINDOW_STORED);
        assert_int_equal(offset, i);
    }
    for (uint64_t i = 0; i < SVC_WINDOW_IDS; i++) {
        assert_int_equal(begin(w, 2, i, 1, &offset), SVC_WINDOW_STORED);
        assert_int_equal(offset, 1000000 + i);
    }
    svc_windows_destroy(w);
}

/* More tables than there is room for: the large ones become smaller, and none of those in use goes
 * before they are at their least. What is counted is what there is. */
static void test_many_tables_share_the_room(void **state)
{
    (void)state;
    enum { TABLES = 200 };
    uint64_t offset = 0;
    vv_budget budget;
    vv_budget_init(&budget, 16u << 20);
    svc_windows *w = svc_windows_create(&budget, 8u << 20);
    assert_non_null(w);
    for (uint32_t t = 0; t < TABLES; t++) {
        const uint64_t ids = t < 2 ? SVC_WINDOW_IDS : 300;
        open_window(w, t);
        for (uint64_t i = 0; i < ids; i++) {
            assert_int_equal(begin(w, t, i, 1, &offset), SVC_WINDOW_NEW);
            svc_window_end(w, t, id_of(i), true, i);
        }
        assert_true(vv_budget_used(&budget) <= 8u << 20);
    }
    for (uint32_t t = 0; t < TABLES; t++) {
        const uint64_t ids = t < 2 ? SVC_WINDOW_IDS : 300;
        assert_true(svc_window_capacity(w, t) >= (t < 2 ? SVC_WINDOW_IDS_MIN : 300));
        for (uint64_t i = ids - 300; i < ids; i++)
            assert_int_equal(begin(w, t, i, 1, &offset), SVC_WINDOW_STORED);
    }
    assert_true(svc_window_capacity(w, 0) < SVC_WINDOW_IDS);
    /* And where all are small the one goes that nobody used for longest, but for those in use. */
    assert_int_equal(begin(w, 0, SVC_WINDOW_IDS, 1, &offset), SVC_WINDOW_NEW);
    for (uint32_t t = TABLES; t < 5 * TABLES; t++)
        open_window(w, t);
    assert_true(svc_window_capacity(w, 0) >= SVC_WINDOW_IDS_MIN);
    assert_int_equal(svc_window_capacity(w, 1), 0);
    assert_true(svc_window_capacity(w, 5 * TABLES - 1) > 0);
    assert_true(vv_budget_used(&budget) <= 8u << 20);
    svc_window_end(w, 0, id_of(SVC_WINDOW_IDS), true, 5);
    assert_int_equal(begin(w, 0, SVC_WINDOW_IDS, 1, &offset), SVC_WINDOW_STORED);
    svc_windows_destroy(w);
}

/* Those that come while a table is learned wait in their order, as many as may; a failure leaves
 * nothing behind. */
static void test_who_waits_for_a_table(void **state)
{
    (void)state;
    static svc_waiter waiters[SVC_WINDOW_WAITERS + 1];
    vv_error err = {0};
    uint64_t offset = 0;
    svc_windows *w = svc_windows_create(NULL, 0);
    assert_non_null(w);
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i <= SVC_WINDOW_WAITERS; i++) {
            svc_window_state state_of = SVC_WINDOW_NEW;
            vv_status st =
                svc_window_begin(w, 3, id_of(i), 1, &waiters[i], &state_of, &offset, &err);
            assert_int_equal(st, i < SVC_WINDOW_WAITERS ? VV_OK : VV_BUSY);
            if (st == VV_OK)
                assert_int_equal(state_of, i == 0 ? SVC_WINDOW_LEARN : SVC_WINDOW_WAITS);
        }
        assert_non_null(strstr(err.msg, "requests wait: retry after a pause"));
        svc_window_learn(w, 3, id_of(5), 9, 50);
        svc_window_learn(w, 3, id_of(5), 1, 55); /* the newest message of an id counts */
        svc_waiter *one = svc_window_learned(w, 3, round == 1);
        for (uint32_t i = 0; i < SVC_WINDOW_WAITERS; i++, one = one->next)
            assert_true(one == &waiters[i]);
        assert_null(one);
    }
    assert_int_equal(begin(w, 3, 5, 1, &offset), SVC_WINDOW_STORED);
    assert_int_equal(offset, 55);
    assert_int_equal(begin(w, 3, 6, 1, &offset), SVC_WINDOW_NEW);
    svc_window_end(w, 3, id_of(6), false, 0);
    svc_windows_destroy(w);
}

/* Memory or room that fails: a request is refused, or a window stays as large as it is. */
static void test_windows_without_memory(void **state)
{
    (void)state;
    svc_waiter waiter;
    svc_window_state state_of = SVC_WINDOW_NEW;
    vv_error err = {0};
    uint64_t offset = 0;
    vv_budget budget;
    vv_budget_init(&budget, 1u << 20);
    svc_windows *w = svc_windows_create(&budget, 0);
    assert_non_null(w);
    for (int64_t n = 0; n < 3; n++) {
        vv_alloc_fail_after(n, 1);
        vv_status st = svc_window_begin(w, 3, id_of(1), 1, &waiter, &state_of, &offset, &err);
        vv_alloc_fail_after(-1, 0);
        assert_int_equal(st, VV_NO_MEMORY);
        assert_int_equal(vv_budget_used(&budget), 0);
    }
    open_window(w, 3);
    for (uint64_t i = 0; i < SVC_WINDOW_IDS; i++) {
        vv_alloc_fail_after((int64_t)(i % 2), 1);
        assert_int_equal(begin(w, 3, i, 1, &offset), SVC_WINDOW_NEW);
        vv_alloc_fail_after(-1, 0);
        svc_window_end(w, 3, id_of(i), true, i);
        assert_int_equal(begin(w, 3, i, 1, &offset), SVC_WINDOW_STORED);
    }
    assert_int_equal(svc_window_capacity(w, 3), 256);
    for (uint64_t i = 0; i < SVC_WINDOW_IDS; i++) {
        (void)begin(w, 3, i, 1, &offset);
        svc_window_end(w, 3, id_of(i), true, i);
    }
    assert_true(svc_window_capacity(w, 3) > 256 && vv_budget_used(&budget) <= 1u << 20);
    vv_budget_take(&budget, VV_BUDGET_QUERY, 1u << 20);
    assert_status(VV_BUSY, svc_window_begin(w, 4, id_of(1), 1, &waiter, &state_of, &offset, &err));
    vv_budget_release(&budget, VV_BUDGET_QUERY, 1u << 20);
    svc_windows_destroy(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_message_is_known_by_its_id),
        cmocka_unit_test(test_ids_of_a_table_with_rules),
        cmocka_unit_test(test_a_refused_message_may_come_again),
        cmocka_unit_test(test_the_unit_of_a_timestamp),
        cmocka_unit_test(test_learning_holds_up_nobody_else),
        cmocka_unit_test(test_a_window_is_bounded),
        cmocka_unit_test(test_tables_do_not_displace_each_other),
        cmocka_unit_test(test_many_tables_share_the_room),
        cmocka_unit_test(test_who_waits_for_a_table),
        cmocka_unit_test(test_windows_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
