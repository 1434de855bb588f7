/*
 * db_series_threads_test.c - one table of series, many threads. Run it under the thread sanitizer
 * too.
 *
 *   writers   append to the same new series, each its own times; some queue
 *   dropper   drops one series over and over
 *   readers   newest samples and queries: a writer's samples are a prefix of what it wrote
 */
#include "db/db_series_test_util.h"

#include <stdatomic.h>
#include <unistd.h>

#include "db/db_series_int.h"

#define WRITERS 4
#define ROUNDS 60
#define SERIES 40

static vv_table *table;
static atomic_int writing;
static atomic_int done_count;

static void note_append(void *ctx, vv_status st, const vv_append_result *r, const vv_error *err)
{
    (void)err;
    VV_CHECK(st == VV_OK);
    VV_CHECK(r->accepted == SERIES + 1);
    atomic_store((atomic_int *)ctx, 1);
    atomic_fetch_add(&done_count, 1);
}

static void fill(vv_samples *s, int writer, int round)
{
    vv_error err = {0};
    vv_samples_clear(s);
    for (int i = 0; i <= SERIES; i++) {
        char host[16];
        (void)snprintf(host, sizeof host, i == SERIES ? "gone" : "h%d", i);
        const int64_t time = (int64_t)round * WRITERS + writer;
        const double value = round;
        VV_CHECK(begin_series(s, "t", host, VV_F64, &err) == VV_OK);
        VV_CHECK(vv_samples_f64(s, &time, &value, NULL, 1, &err) == VV_OK);
    }
}

static void write_all(void *arg)
{
    int writer = (int)(intptr_t)arg;
    vv_error err = {0};
    vv_samples *s = vv_samples_create(table);
    VV_CHECK(s != NULL);
    for (int round = 0; s != NULL && round < ROUNDS; round++) {
        fill(s, writer, round);
        if (writer % 2 == 0) {
            VV_CHECK(vv_series_append(s, VV_DURABLE_OS, NULL, &err) == VV_OK);
            continue;
        }
        atomic_int answered = 0;
        VV_CHECK(vv_series_append_async(s, VV_DURABLE_OS, note_append, &answered, &err) == VV_OK);
        while (!atomic_load(&answered))
            (void)usleep(50);
    }
    vv_samples_destroy(s);
    atomic_fetch_sub(&writing, 1);
}

static void drop_all(void *arg)
{
    vv_error err = {0};
    vv_matcher m = {VV_MATCH_EQ, S("host"), S("gone")};
    (void)arg;
    while (atomic_load(&writing) > 0) {
        VV_CHECK(vv_series_drop(table, &m, 1, NULL, &err) == VV_OK);
        VV_CHECK(vv_series_delete(table, &m, 1, 0, 5, NULL, &err) == VV_OK);
        (void)usleep(300);
    }
}

static int look_at_newest(void *ctx, const vv_series_info *info, const vv_sample *sample)
{
    (void)info;
    VV_CHECK(sample->time_ns >= *(int64_t *)ctx);
    *(int64_t *)ctx = sample->time_ns;
    return 0;
}

static void read_all(void *arg)
{
    vv_error err = {0};
    answer *a = malloc(sizeof *a);
    int64_t newest = 0;
    vv_matcher m = {VV_MATCH_EQ, S("host"), S("h7")};
    (void)arg;
    while (atomic_load(&writing) > 0) {
        VV_CHECK(vv_series_latest(table, &m, 1, look_at_newest, &newest, &err) == VV_OK);
        vv_series_query q = VV_SERIES_QUERY_INIT;
        int next[WRITERS] = {0};
        q.matchers = &m;
        q.matcher_count = 1;
        q.end_ns = 1000000;
        VV_CHECK(ask(table, &q, a, &err) == VV_OK);
        for (size_t i = 0; i < a->count; i++) {
            int w = (int)(a->time[i] % WRITERS);
            VV_CHECK(a->value[i] == (double)next[w]);
            next[w]++;
        }
    }
    free(a);
}

static int count_one(void *ctx, const vv_series_info *info)
{
    (void)info;
    ++*(int *)ctx;
    return 0;
}

/* room: samples that a bucket takes; 0: as many as ever. */
static void run_threads(uint32_t room)
{
    db_series *series = NULL;
    char dir[] = "/tmp/varve-series-XXXXXX";
    vv_error err = {0};
    vv_db *db = NULL;
    assert_non_null(mkdtemp(dir));
    vv_options opt = VV_OPTIONS_INIT;
    opt.memory_limit = 32 << 20;
    opt.memtable_size = 256 << 10;
    opt.shard_count = test_partitions;
    assert_ok(vv_db_open(dir, &opt, &db, &err), err);
    table = any_time_table(db);
    assert_ok(db_series_of(table, &series, &err), err);
    if (room > 0)
        series->fill_max = room * SERIES_SAMPLE_WEIGHT;
    atomic_store(&done_count, 0);
    const vv_threads *threads = db->env->threads;
    vv_thread *thread[WRITERS + 3];
    atomic_store(&writing, WRITERS);
    for (int i = 0; i < WRITERS + 3; i++)
        assert_ok(threads->create("test", VV_THREAD_NORMAL,
                                  i < WRITERS    ? write_all
                                  : i == WRITERS ? drop_all
                                                 : read_all,
                                  (void *)(intptr_t)i, &thread[i], &err),
                  err);
    for (int i = 0; i < WRITERS + 3; i++)
        threads->join(thread[i]);
    assert_int_equal(vv_check_failures(), 0);
    assert_int_equal(atomic_load(&done_count), WRITERS / 2 * ROUNDS);
    answer *a = malloc(sizeof *a);
    int count = 0;
    uint64_t counted = 0;
    assert_ok(vv_series_list(table, NULL, 0, 0, count_one, &count, &err), err);
    assert_ok(vv_series_count(table, &counted, NULL, &err), err);
    assert_int_equal(count, counted);
    assert_true(count == SERIES || count == SERIES + 1);
    for (int i = 0; i < SERIES; i++) {
        char host[16];
        (void)snprintf(host, sizeof host, "h%d", i);
        ask_raw(table, NULL, host, 0, 1000000, a);
        assert_int_equal(a->count, WRITERS * ROUNDS);
    }
    free(a);
    vv_table_close(table);
    assert_ok(vv_db_close(db, &err), err);
    char command[64];
    (void)snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

static void threads_agree_on_series(void **state)
{
    (void)state;
    run_threads(0);
}

static void threads_agree_while_buckets_become_full(void **state)
{
    (void)state;
    run_threads(10);
}

static void threads_agree_over_partitions(void **state)
{
    (void)state;
    test_partitions = 3;
    run_threads(0);
    test_partitions = 1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_agree_on_series),
        cmocka_unit_test(threads_agree_while_buckets_become_full),
        cmocka_unit_test(threads_agree_over_partitions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
