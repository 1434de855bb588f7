/*
 * db_series_rollup_threads_test.c - rollups beside what changes the samples. Run it under the
 * thread sanitizer too.
 *
 *   writers   append to the same few series, day after day, and now and then something late
 *   deleter   takes stretches away
 *   readers   of one snapshot, windows by rollups and the samples themselves count the same
 *   the job   runs in the store's background threads, and in another one
 */
#include "db/db_series_test_util.h"

#include <stdatomic.h>
#include <unistd.h>

#include "base/rng.h"
#include "db/db_series_int.h"

#define WRITERS 3
#define ROUNDS 90 /* few enough for an answer to hold them */
#define HOUR (3600 * SEC)
#define A_ROUND (4 * HOUR)
#define MANY 120

static vv_table *table;
static atomic_int writing;

static const char *const hosts[] = {"a", "b"};

static void write_all(void *arg)
{
    int writer = (int)(intptr_t)arg;
    vv_error err = {0};
    vv_rng rng;
    vv_rng_init(&rng, 7 + (uint64_t)writer);
    for (int round = 0; round < ROUNDS; round++) {
        int64_t time[MANY];
        double value[MANY];
        int at = vv_rng_below(&rng, 4) == 0 ? (int)vv_rng_below(&rng, (uint64_t)round + 1) : round;
        for (int i = 0; i < MANY; i++) {
            time[i] = at * A_ROUND + i * (A_ROUND / MANY) + writer;
            value[i] = i;
        }
        vv_status st =
            append(table, "t", hosts[vv_rng_below(&rng, 2)], time, value, NULL, MANY, NULL, &err);
        VV_CHECK(st == VV_OK || st == VV_BUSY);
    }
    atomic_fetch_sub(&writing, 1);
}

static void delete_some(void *arg)
{
    vv_error err = {0};
    vv_rng rng;
    vv_rng_init(&rng, 99);
    (void)arg;
    while (atomic_load(&writing) > 0) {
        vv_matcher m = {VV_MATCH_EQ, S("host"), S(hosts[vv_rng_below(&rng, 2)])};
        int64_t start = (int64_t)vv_rng_below(&rng, ROUNDS) * A_ROUND + HOUR / 3;
        int64_t len = (int64_t)vv_rng_below(&rng, 60) * HOUR;
        vv_status st = vv_series_delete(table, &m, 1, start, start + len, NULL, &err);
        VV_CHECK(st == VV_OK || st == VV_BUSY);
        (void)usleep(20000);
    }
}

static void compare(answer *a, const char *host)
{
    vv_error err = {0};
    vv_snapshot *at = NULL;
    vv_matcher m = {VV_MATCH_EQ, S("host"), S(host)};
    vv_series_query q = VV_SERIES_QUERY_INIT;
    VV_CHECK(vv_snapshot_create(table->db, &at, &err) == VV_OK);
    q.matchers = &m;
    q.matcher_count = 1;
    q.end_ns = ROUNDS * A_ROUND;
    q.snapshot = at;
    double sum = 0;
    VV_CHECK(ask(table, &q, a, &err) == VV_OK);
    size_t count = a->count;
    for (size_t i = 0; i < count && i < ARRAY_LEN(a->value); i++)
        sum += a->value[i];
    q.step_ns = HOUR;
    q.aggregate = VV_AGG_COUNT;
    double counted = 0;
    VV_CHECK(ask(table, &q, a, &err) == VV_OK);
    for (size_t i = 0; i < a->count; i++)
        counted += a->value[i];
    q.step_ns = 0;
    q.aggregate = VV_AGG_SUM;
    VV_CHECK(ask(table, &q, a, &err) == VV_OK);
    VV_CHECK(counted == (double)count);
    VV_CHECK(count == 0 || a->value[0] == sum);
    vv_snapshot_release(at);
}

static void read_all(void *arg)
{
    answer *a = malloc(sizeof *a);
    while (atomic_load(&writing) > 0)
        compare(a, hosts[(intptr_t)arg & 1]);
    free(a);
}

static void roll(void *arg)
{
    (void)arg;
    while (atomic_load(&writing) > 0)
        if (db_rollup_step(table->db) != VV_OK)
            (void)usleep(500);
}

static void rollups_are_true_beside_appends_and_deletions(void **state)
{
    (void)state;
    enum { THREADS = WRITERS + 4 };
    char dir[] = "/tmp/varve-rollup-XXXXXX";
    vv_error err = {0};
    vv_db *db = NULL;
    assert_non_null(mkdtemp(dir));
    vv_options opt = VV_OPTIONS_INIT;
    opt.memory_limit = 32 << 20;
    opt.memtable_size = 256 << 10;
    opt.durability = VV_DURABLE_OS;
    opt.shard_count = test_partitions;
    assert_ok(vv_db_open(dir, &opt, &db, &err), err);
    table = any_time_table(db);
    db_series *series = NULL;
    assert_ok(db_series_of(table, &series, &err), err);
    vv_mutex_lock(&series->lock); /* the store's own threads may be at it */
    series->roll.dirty.quiet_ns = 2 * VV_NS_PER_MS;
    series->roll.dirty.age_ns = 20 * VV_NS_PER_MS;
    vv_mutex_unlock(&series->lock);
    const vv_threads *threads = db->env->threads;
    vv_thread *thread[THREADS];
    static void (*const others[])(void *) = {delete_some, read_all, read_all, roll};
    atomic_store(&writing, WRITERS);
    for (int i = 0; i < THREADS; i++)
        assert_ok(threads->create("test", VV_THREAD_NORMAL,
                                  i < WRITERS ? write_all : others[i - WRITERS],
                                  (void *)(intptr_t)i, &thread[i], &err),
                  err);
    for (int i = 0; i < THREADS; i++)
        threads->join(thread[i]);
    vv_stats stats = {.size = sizeof stats};
    double another = 1e6; /* what is there already would be no change */
    /* The writers may have ended before any day was rolled up. From then on a sample of the first
     * day is late, and the day is repaired. */
    do {
        append_one(table, "a", 1, another++);
        for (int i = 0; i < 20; i++)
            if (db_rollup_step(db) != VV_OK)
                (void)usleep(500);
        vv_stats_read(db, &stats);
    } while (stats.rollup_repairs == 0);
    answer *a = malloc(sizeof *a);
    compare(a, "a");
    compare(a, "b");
    free(a);
    assert_int_equal(vv_check_failures(), 0);
    assert_int_equal(stats.rollup_failures, 0);
    vv_table_close(table);
    assert_ok(vv_db_close(db, &err), err);
    char command[64];
    (void)snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

/* ---- what is in flight ---- */

typedef struct waiting {
    vv_mutex lock;
    vv_cond done;
    unsigned left;
} waiting;

static void answered(void *ctx, vv_status st, const vv_append_result *result, const vv_error *err)
{
    waiting *w = ctx;
    (void)result;
    (void)err;
    VV_CHECK(st == VV_OK);
    vv_mutex_lock(&w->lock);
    w->left--;
    vv_cond_broadcast(&w->done);
    vv_mutex_unlock(&w->lock);
}

static vv_samples *sample_of(int64_t time, double value)
{
    vv_error err = {0};
    vv_samples *s = vv_samples_create(table);
    assert_non_null(s);
    assert_ok(begin_series(s, "t", "a", VV_F64, &err), err);
    assert_ok(vv_samples_f64(s, &time, &value, NULL, 1, &err), err);
    return s;
}

/* A late sample changes, and behind it comes what was there before: that is no repeat. */
static void a_repeat_behind_a_change_in_flight_is_written(void **state)
{
    enum { DAYS = 60 };
    static answer a;
    char dir[] = "/tmp/varve-rollup-XXXXXX";
    vv_error err = {0};
    vv_db *db = NULL;
    (void)state;
    assert_non_null(mkdtemp(dir));
    vv_options opt = VV_OPTIONS_INIT;
    opt.shard_count = test_partitions;
    opt.durability = VV_DURABLE_OS;
    assert_ok(vv_db_open(dir, &opt, &db, &err), err);
    table = any_time_table(db);
    for (int64_t day = 0; day <= DAYS; day++)
        append_one(table, "a", day * 24 * HOUR, 1);
    vv_stats stats = {.size = sizeof stats};
    while (stats.rollup_days < DAYS - 2) {
        (void)db_rollup_step(db);
        vv_stats_read(db, &stats);
    }
    for (int64_t day = 0; day < DAYS - 2; day++) {
        waiting w = {.left = 2};
        vv_mutex_init(&w.lock, VV_RANK_LEAF);
        vv_cond_init(&w.done);
        vv_samples *change = sample_of(day * 24 * HOUR, 2);
        vv_samples *back = sample_of(day * 24 * HOUR, 1);
        assert_ok(vv_series_append_async(change, VV_DURABLE_SYNC, answered, &w, &err), err);
        assert_ok(vv_series_append_async(back, VV_DURABLE_SYNC, answered, &w, &err), err);
        vv_mutex_lock(&w.lock);
        while (w.left > 0)
            vv_cond_wait(&w.done, &w.lock);
        vv_mutex_unlock(&w.lock);
        vv_samples_destroy(change);
        vv_samples_destroy(back);
        vv_cond_fini(&w.done);
        vv_mutex_fini(&w.lock);
    }
    ask_raw(table, NULL, "a", 0, DAYS * 24 * HOUR, &a);
    assert_int_equal(a.count, DAYS);
    for (size_t i = 0; i < a.count; i++)
        assert_true(a.value[i] == 1);
    vv_table_close(table);
    assert_ok(vv_db_close(db, &err), err);
    char command[64];
    (void)snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rollups_are_true_beside_appends_and_deletions),
        cmocka_unit_test(a_repeat_behind_a_change_in_flight_is_written)};
    int failed = cmocka_run_group_tests_name("1 partition", tests, NULL, NULL);
    test_partitions = 4;
    return failed + cmocka_run_group_tests_name("4 partitions", tests, NULL, NULL);
}
