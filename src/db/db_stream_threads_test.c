/*
 * db_stream_threads_test.c - one stream, many threads. Run it under the thread sanitizer too.
 *
 *   producers  each numbers its messages and sends some appends twice; half of them queue
 *   tails      follow from the beginning; see every offset once, and each producer in order
 *   consumer   commits positions; another of the same name loses now and then
 *   trimmer    trims behind the slowest tail; takes snapshots and figures
 *   changer    gives the table other rules; what they make of a message is right or not there
 */
#include "db/db_stream_test_util.h"

#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SENDERS 4
#define TAILS 3
#define APPENDS 150
#define EACH 3
#define TOTAL ((uint64_t)SENDERS * APPENDS * EACH)

static vv_db *db;
static vv_table *table;
static atomic_int sending;
static _Atomic uint64_t seen[TAILS];

static void make(vv_message *m, char text[EACH][32], int who, int n)
{
    for (int i = 0; i < EACH; i++) {
        (void)snprintf(text[i], 32, "%d %d", who, n * EACH + i);
        m[i] = (vv_message){.value = vv_slice_str(text[i])};
    }
}

typedef struct told {
    atomic_int left;
    _Atomic uint64_t offset;
    atomic_int duplicates;
} told;

static void note(void *ctx, vv_status st, const vv_stream_append_result *r, const vv_error *err)
{
    told *t = ctx;
    (void)err;
    VV_CHECK(st == VV_OK);
    if (st == VV_OK) {
        uint64_t none = UINT64_MAX;
        /* Both are told the same offset, whichever was first. */
        if (!atomic_compare_exchange_strong(&t->offset, &none, r->first_offset))
            VV_CHECK(none == r->first_offset || r->first_offset == VV_STREAM_OFFSET_GONE);
        atomic_fetch_add(&t->duplicates, r->duplicate);
    }
    atomic_fetch_sub(&t->left, 1);
}

static void send_queued(const vv_message *m, const vv_stream_append_options *opt, bool twice)
{
    vv_error err = {0};
    told t = {.left = twice ? 2 : 1, .offset = UINT64_MAX};
    for (int i = 0; i < (twice ? 2 : 1); i++)
        VV_CHECK(vv_stream_append_async(table, m, EACH, opt, note, &t, &err) == VV_OK);
    while (atomic_load(&t.left) > 0)
        (void)usleep(20);
    VV_CHECK(atomic_load(&t.duplicates) == (twice ? 1 : 0));
}

static void send_waiting(const vv_message *m, const vv_stream_append_options *opt, bool twice)
{
    vv_error err = {0};
    vv_stream_append_result r;
    VV_CHECK(vv_stream_append(table, m, EACH, opt, &r, &err) == VV_OK);
    VV_CHECK(!r.duplicate);
    uint64_t first = r.first_offset;
    if (!twice)
        return;
    VV_CHECK(vv_stream_append(table, m, EACH, opt, &r, &err) == VV_OK);
    VV_CHECK(r.duplicate);
    VV_CHECK(r.first_offset == first || r.first_offset == VV_STREAM_OFFSET_GONE);
}

static void send_all(void *arg)
{
    int who = (int)(intptr_t)arg;
    char text[EACH][32];
    char name[16];
    vv_message m[EACH];
    (void)snprintf(name, sizeof name, "sender-%d", who);
    for (int n = 0; n < APPENDS; n++) {
        vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
        opt.partition = 0;
        opt.producer = vv_slice_str(name);
        opt.sequence = (uint64_t)n * EACH;
        opt.durability = n % 8 == 0 ? VV_DURABLE_SYNC : VV_DURABLE_OS;
        make(m, text, who, n);
        if (who % 2 == 0)
            send_waiting(m, &opt, n % 5 == 0);
        else
            send_queued(m, &opt, n % 5 == 0);
    }
    atomic_fetch_sub(&sending, 1);
}

static void follow(void *arg)
{
    int tail_index = (int)(intptr_t)arg;
    int next[SENDERS] = {0};
    vv_error err = {0};
    vv_message m;
    vv_stream_tail *tail = NULL;
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    opt.messages_max = tail_index == 0 ? 7 : 0;
    VV_CHECK(vv_stream_tail_open(table, &opt, &tail, &err) == VV_OK);
    for (uint64_t at = 0; tail != NULL && at < TOTAL; at++) {
        vv_status st = vv_stream_tail_next(tail, 30 * VV_NS_PER_S, &m, &err);
        VV_CHECK(st == VV_OK);
        if (st != VV_OK)
            break;
        char text[32] = "";
        int who = 0;
        int number = 0;
        memcpy(text, m.value.data, m.value.len);
        VV_CHECK(sscanf(text, "%d %d", &who, &number) == 2);
        VV_CHECK(m.offset == at);
        VV_CHECK(number == next[who]);
        for (size_t i = 0; i < m.attribute_count; i++)
            VV_CHECK(m.attributes[i].type == VV_ATTRIBUTE_I64 &&
                     m.attributes[i].i64 == (m.attributes[i].name.data[0] == 'w' ? who : number));
        next[who] = number + 1;
        atomic_store(&seen[tail_index], at + 1);
    }
    atomic_store(&seen[tail_index], TOTAL);
    VV_CHECK(vv_stream_tail_skipped(tail) == 0);
    vv_stream_tail_close(tail);
}

static uint64_t least_seen(void)
{
    uint64_t least = TOTAL;
    for (int i = 0; i < TAILS; i++)
        least = vv_min_u64(least, atomic_load(&seen[i]));
    return least;
}

static void consume(void *arg)
{
    uint64_t last = 0;
    (void)arg;
    while (atomic_load(&sending) > 0) {
        vv_error err = {0};
        vv_stream_position p;
        uint64_t to = least_seen();
        vv_status st = vv_stream_commit(table, 0, S("c"), to, VV_DURABLE_OS, &err);
        VV_CHECK(st == VV_OK || st == VV_CONFLICT);
        VV_CHECK(vv_stream_position_get(table, 0, S("c"), &p, &err) == VV_OK);
        VV_CHECK(p.offset >= to && p.offset >= last);
        last = p.offset;
        (void)usleep(200);
    }
}

static void trim_behind(void *arg)
{
    (void)arg;
    while (atomic_load(&sending) > 0) {
        vv_error err = {0};
        vv_stream_stats a = {.size = sizeof a};
        vv_stream_stats b = {.size = sizeof b};
        vv_snapshot *at = NULL;
        VV_CHECK(vv_snapshot_create(db, &at, &err) == VV_OK);
        VV_CHECK(vv_stream_stats_read(table, 0, at, &a, &err) == VV_OK);
        VV_CHECK(vv_stream_trim(table, 0, least_seen() / 2, NULL, &err) == VV_OK);
        VV_CHECK(vv_stream_stats_read(table, 0, at, &b, &err) == VV_OK);
        VV_CHECK(a.first_offset == b.first_offset && a.next_offset == b.next_offset);
        vv_snapshot_release(at);
        (void)usleep(500);
    }
}

static void change_rules(void *arg)
{
    static const char *const turns[] = {"who = regex \"^[0-9]+\" int",
                                        "number = regex \"([0-9]+)$\" 1 int", NULL};
    vv_error err = {0};
    vv_table_options to = VV_TABLE_OPTIONS_INIT;
    (void)arg;
    for (size_t n = 0; atomic_load(&sending) > 0; n++) {
        to.extract_rules = turns[n % ARRAY_LEN(turns)];
        VV_CHECK(vv_table_alter(db, "plant", "events", &to, VV_CHANGE_EXTRACT, &err) == VV_OK);
        (void)usleep(500);
    }
}

static void threads_agree_on_a_stream(void **state)
{
    (void)state;
    char dir[] = "/tmp/varve-stream-XXXXXX";
    vv_error err = {0};
    assert_non_null(mkdtemp(dir));
    vv_options opt = VV_OPTIONS_INIT;
    opt.memory_limit = 32 << 20;
    opt.memtable_size = 256 << 10;
    assert_ok(vv_db_open(dir, &opt, &db, &err), err);
    table = stream_table(db);
    const vv_threads *threads = db->env->threads;
    enum { COUNT = SENDERS + TAILS + 4 };
    vv_thread *thread[COUNT];
    atomic_store(&sending, SENDERS);
    for (int i = 0; i < COUNT; i++) {
        int tail_index = i - SENDERS;
        assert_ok(threads->create("test", VV_THREAD_NORMAL,
                                  i < SENDERS           ? send_all
                                  : i < SENDERS + TAILS ? follow
                                  : i < COUNT - 2       ? consume
                                  : i < COUNT - 1       ? trim_behind
                                                        : change_rules,
                                  (void *)(intptr_t)(i < SENDERS ? i : tail_index), &thread[i],
                                  &err),
                  err);
    }
    for (int i = 0; i < COUNT; i++)
        threads->join(thread[i]);
    assert_int_equal(vv_check_failures(), 0);
    vv_stream_stats s = stats_of(table, 0);
    assert_int_equal(s.next_offset, TOTAL);
    assert_int_equal(s.producers, SENDERS);
    assert_int_equal(atomic_load(&db->shards[0].watch_count), 0);
    vv_table_close(table);
    assert_ok(vv_db_close(db, &err), err);
    assert_ok(vv_check(dir, print_finding, NULL, &err), err);
    char command[64];
    (void)snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

/* ---- a tail that is cancelled, and one whose table is dropped, while they wait ----------------
 */

static vv_stream_tail *waiting;
static atomic_int answer;

static void wait_for_ever(void *arg)
{
    vv_error err = {0};
    vv_message m;
    (void)arg;
    atomic_store(&answer, (int)vv_stream_tail_next(waiting, -1, &m, &err));
}

static void who_waits_is_woken(void **state)
{
    (void)state;
    char dir[] = "/tmp/varve-stream-XXXXXX";
    vv_error err = {0};
    assert_non_null(mkdtemp(dir));
    assert_ok(vv_db_open(dir, NULL, &db, &err), err);
    const vv_threads *threads = db->env->threads;
    for (int round = 0; round < 20; round++) {
        bool drops = round % 2 == 1;
        vv_thread *thread = NULL;
        table = stream_table(db);
        assert_ok(vv_stream_tail_open(table, NULL, &waiting, &err), err);
        atomic_store(&answer, -1);
        assert_ok(threads->create("test", VV_THREAD_NORMAL, wait_for_ever, NULL, &thread, &err),
                  err);
        while (round % 4 < 2 && atomic_load(&db->shards[0].watch_count) == 0)
            (void)usleep(50); /* it waits; else perhaps not yet */
        if (drops)
            assert_ok(vv_table_drop(db, "plant", "events", &err), err);
        else
            vv_stream_tail_cancel(waiting);
        threads->join(thread);
        assert_int_equal(atomic_load(&answer), drops ? VV_NOT_FOUND : VV_CLOSED);
        vv_stream_tail_close(waiting);
        vv_table_close(table);
    }
    assert_ok(vv_db_close(db, &err), err);
    char command[64];
    (void)snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

/* ---- who answers a repeat ----------------------------------------------------------------------
 */

#define REPEATS 200

typedef struct repeats {
    _Atomic int first; /* thread that answered the first of them, as a number */
    atomic_int answered;
    atomic_int by_first;
} repeats;

static void note_thread(void *ctx, vv_status st, const vv_stream_append_result *r,
                        const vv_error *err)
{
    repeats *all = ctx;
    const int self = (int)syscall(SYS_gettid);
    (void)err;
    VV_CHECK(st == VV_OK || st == VV_CLOSED);
    if (st == VV_OK && !r->duplicate)
        atomic_store(&all->first, self);
    else if (self == atomic_load(&all->first))
        atomic_fetch_add(&all->by_first, 1);
    VV_CHECK(st != VV_OK || r->first_offset == 0);
    atomic_fetch_add(&all->answered, 1);
}

/* The commit thread, on which all writes wait, looks nothing up; a close leaves none unanswered. */
static void repeats_are_answered_beside_the_commit_thread(void **state)
{
    (void)state;
    char dir[] = "/tmp/varve-stream-XXXXXX";
    vv_error err = {0};
    vv_message m = text_message("once");
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    repeats all = {.first = 0};
    assert_non_null(mkdtemp(dir));
    assert_ok(vv_db_open(dir, NULL, &db, &err), err);
    table = stream_table(db);
    opt.producer = S("p");
    opt.durability = VV_DURABLE_OS;
    for (int i = 0; i <= REPEATS; i++)
        assert_ok(vv_stream_append_async(table, &m, 1, &opt, note_thread, &all, &err), err);
    vv_table_close(table);
    assert_ok(vv_db_close(db, &err), err);
    assert_int_equal(atomic_load(&all.answered), REPEATS + 1);
    assert_int_equal(atomic_load(&all.by_first), 0);
    assert_int_equal(vv_check_failures(), 0);
    char command[64];
    (void)snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_agree_on_a_stream),
        cmocka_unit_test(who_waits_is_woken),
        cmocka_unit_test(repeats_are_answered_beside_the_commit_thread),
    };
    engine_under_test = &lsm_ops;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
