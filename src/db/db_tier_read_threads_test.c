/*
 * db_tier_read_threads_test.c - one stream that is appended to, archived, merged and read at once,
 * by many threads that share one cache. Run it under the thread sanitizer too.
 *
 *   producer  appends
 *   archiver  the store's own threads, and one that calls vv_tier_run
 *   readers   from the first message to the last, again and again: every offset, every byte
 *   points    one message somewhere
 *   keeper    restores, verifies, lists, asks for figures
 */
#include "db/db_stream_test_util.h"

#include <stdatomic.h>
#include <unistd.h>

#include "base/rng.h"
#include "object/object.h"

#define TOTAL UINT64_C(6000)
#define EACH 20u
#define READERS 2

static vv_db *db;
static vv_table *table;
static atomic_bool is_over;
static _Atomic uint64_t appended;

static size_t text_of(uint64_t n, char out[64])
{
    return (size_t)snprintf(out, 64, "message %llu %llx", (unsigned long long)n,
                            (unsigned long long)(n * UINT64_C(0x9e3779b97f4a7c15)));
}

static bool is_message(const vv_message *m, uint64_t n)
{
    char text[64];
    size_t len = text_of(n, text);
    return m->offset == n && vv_slice_eq(m->value, vv_slice_of(text, len));
}

static void produce(void *arg)
{
    (void)arg;
    for (uint64_t n = 0; n < TOTAL; n += EACH) {
        char text[EACH][64];
        vv_message m[EACH];
        vv_error err = {0};
        vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
        opt.partition = 0;
        opt.durability = VV_DURABLE_OS;
        for (unsigned i = 0; i < EACH; i++)
            m[i] = (vv_message){.value = vv_slice_of(text[i], text_of(n + i, text[i]))};
        VV_CHECK(vv_stream_append(table, m, EACH, &opt, NULL, &err) == VV_OK);
        atomic_store(&appended, n + EACH);
        (void)usleep(100);
    }
    (void)usleep(100000);
    atomic_store(&is_over, true);
}

static void archive(void *arg)
{
    (void)arg;
    while (!atomic_load(&is_over)) {
        vv_error err = {0};
        VV_CHECK(vv_tier_run(db, table, &err) == VV_OK);
        (void)usleep(3000);
    }
}

static vv_stream_cursor *cursor_at(uint64_t offset)
{
    vv_error err = {0};
    vv_stream_cursor *c = NULL;
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    opt.start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = offset};
    VV_CHECK(vv_stream_cursor_open(table, &opt, &c, &err) == VV_OK);
    return c;
}

static void read_all(void *arg)
{
    (void)arg;
    for (bool last = false; !last;) {
        vv_error err = {0};
        vv_message m;
        vv_status st = VV_OK;
        uint64_t n = 0;
        last = atomic_load(&is_over);
        uint64_t least = atomic_load(&appended);
        vv_stream_cursor *c = cursor_at(0);
        while (c != NULL && (st = vv_stream_cursor_next(c, &m, &err)) == VV_OK) {
            VV_CHECK(is_message(&m, n));
            n++;
        }
        VV_CHECK(st == VV_NOT_FOUND && n >= least);
        if (st != VV_NOT_FOUND)
            (void)fprintf(stderr, "offset %d: %s\n", (int)n, err.msg);
        vv_stream_cursor_close(c);
    }
}

static void read_points(void *arg)
{
    vv_rng rng;
    (void)arg;
    vv_rng_init(&rng, vv_test_seed(9));
    while (!atomic_load(&is_over)) {
        vv_error err = {0};
        vv_message m;
        uint64_t most = atomic_load(&appended);
        if (most == 0)
            continue;
        uint64_t n = vv_rng_below(&rng, most);
        vv_stream_cursor *c = cursor_at(n);
        VV_CHECK(c != NULL && vv_stream_cursor_next(c, &m, &err) == VV_OK && is_message(&m, n));
        vv_stream_cursor_close(c);
    }
}

static int count_object(void *ctx, const vv_tier_object *o)
{
    unsigned *count = ctx;
    *count += o->state == VV_TIER_STORED;
    return 0;
}

static void keep(void *arg)
{
    (void)arg;
    while (!atomic_load(&is_over)) {
        vv_error err = {0};
        unsigned count = 0;
        uint64_t most = atomic_load(&appended);
        vv_tier_stats s = {.size = sizeof s};
        vv_tier_stats_read(db, &s);
        VV_CHECK(vv_tier_list(table, count_object, &count, &err) == VV_OK);
        VV_CHECK(vv_tier_verify(table, count % 2 == 0, print_finding, NULL, &err) == VV_OK);
        VV_CHECK(vv_tier_restore(table, 0, most / 3, most / 3 + 50, NULL, &err) == VV_OK);
        (void)usleep(2000);
    }
}

/* A store out of the objects alone, which several threads look at: all is there. */
static void attach(vv_object_store *objects)
{
    char dir[] = "/tmp/varve-tier-XXXXXX";
    char command[64];
    vv_error err = {0};
    vv_tier_options tier = {.size = sizeof tier, .objects = objects};
    vv_options opt = VV_OPTIONS_INIT;
    opt.tier = &tier;
    opt.read_only = true;
    opt.create_if_missing = false;
    assert_non_null(mkdtemp(dir));
    assert_ok(vv_tier_attach(dir, objects, print_finding, NULL, &err), err);
    assert_ok(vv_db_open(dir, &opt, &db, &err), err);
    assert_ok(vv_table_open(db, "plant", "events", &table, &err), err);
    read_all(NULL);
    assert_int_equal(vv_check_failures(), 0);
    vv_table_close(table);
    assert_ok(vv_db_close(db, &err), err);
    (void)snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

static void threads_agree_on_what_is_archived(void **state)
{
    (void)state;
    char dir[] = "/tmp/varve-tier-XXXXXX";
    vv_error err = {0};
    vv_object_store *objects = NULL;
    vv_object_options how = VV_OBJECT_OPTIONS_INIT;
    how.backend = "memory";
    how.params = "seed=3,error=20,timeout=10,partial=10,timeout_after=5";
    how.initial_backoff_ms = 1;
    how.max_backoff_ms = 2;
    how.max_retries = 10;
    how.breaker_failures = 0;
    assert_ok(vv_object_store_open(&how, &objects, &err), err);
    assert_non_null(mkdtemp(dir));
    vv_tier_options tier = {.size = sizeof tier,
                            .objects = objects,
                            .cache_bytes = 256 << 10,
                            .rule = {.batch_messages = 300, .local_ns = -1}};
    vv_options opt = VV_OPTIONS_INIT;
    opt.memory_limit = 64 << 20;
    opt.memtable_size = 256 << 10;
    opt.tier = &tier;
    assert_ok(vv_db_open(dir, &opt, &db, &err), err);
    table = stream_table(db);
    const vv_threads *threads = db->env->threads;
    void (*const work[])(void *) = {produce, archive, read_points, keep, read_all, read_all};
    vv_thread *thread[ARRAY_LEN(work)];
    for (size_t i = 0; i < ARRAY_LEN(work); i++)
        assert_ok(threads->create("test", VV_THREAD_NORMAL, work[i], NULL, &thread[i], &err), err);
    for (size_t i = 0; i < ARRAY_LEN(work); i++)
        threads->join(thread[i]);
    assert_int_equal(vv_check_failures(), 0);
    assert_ok(vv_tier_run(db, table, &err), err);
    read_all(NULL);
    for (int i = 0; i < 2; i++) { /* the second time from the cache */
        vv_message m;
        vv_stream_cursor *c = cursor_at(10);
        assert_ok(vv_stream_cursor_next(c, &m, &err), err);
        assert_true(is_message(&m, 10));
        vv_stream_cursor_close(c);
    }
    assert_int_equal(vv_check_failures(), 0);
    vv_tier_stats s = {.size = sizeof s};
    vv_tier_stats_read(db, &s);
    assert_true(s.stored_messages >= TOTAL && s.cache_hits > 0);
    assert_true(s.cache_bytes <= 256 << 10);
    vv_table_close(table);
    assert_ok(vv_db_close(db, &err), err);
    assert_ok(vv_check(dir, print_finding, NULL, &err), err);
    attach(objects);
    vv_object_store_close(objects);
    char command[64];
    (void)snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(threads_agree_on_what_is_archived)};
    engine_under_test = &lsm_ops;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
