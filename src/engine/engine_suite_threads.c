/*
 * engine_suite_threads.c - one writer, two readers and one background thread on real files, for the
 * thread sanitizer and for what only threads can break.
 *
 * Each batch writes the same number under both keys of a pair, so a reader that sees half a batch,
 * or versions of two snapshots, finds a pair apart.
 */
#include "vv_test.h"

#include <stdatomic.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/lock.h"
#include "base/rng.h"
#include "engine/engine_suite.h"
#include "io/env.h"

#define PAIRS 500u
#define READERS 2u

typedef struct shared {
    const engine_ops *ops;
    vv_env env;
    engine *e;
    vv_mutex lock; /* choosing a snapshot and asking for the floor: neither in between the other */
    _Atomic bool stop;
    _Atomic uint64_t wrong;
    _Atomic uint64_t reads;
    _Atomic uint64_t failures;
    char why[240];
} shared;

typedef struct reader {
    shared *s;
    uint64_t seed;
} reader;

static vv_slice pair_key(uint8_t buf[16], unsigned pair, unsigned half)
{
    vv_put_be32(buf, 1);
    int n = snprintf((char *)buf + 4, 12, "%u/%05u", half, pair);
    return vv_slice_of(buf, 4 + (size_t)n);
}

static engine_floor floor_of(void *ctx, uint32_t table)
{
    shared *s = ctx;
    (void)table;
    vv_mutex_lock(&s->lock);
    engine_floor floor = {.version = s->ops->visible(s->e)};
    vv_mutex_unlock(&s->lock);
    return floor;
}

static void fail_in(shared *s, const vv_error *err)
{
    if (atomic_fetch_add(&s->failures, 1) == 0)
        memcpy(s->why, err->msg, sizeof s->why);
}

static uint64_t number_of(vv_slice value)
{
    return value.len < 8 ? UINT64_MAX : vv_get_le64(value.data);
}

static uint64_t get_number(shared *s, vv_slice key, const engine_read *read)
{
    vv_error err;
    engine_value value;
    vv_status st = s->ops->get(s->e, key, read, &value, &err);
    if (st == VV_NOT_FOUND)
        return 0;
    if (st != VV_OK) {
        fail_in(s, &err);
        return 0;
    }
    uint64_t number = number_of(value.data);
    if (value.version > read->version)
        atomic_fetch_add(&s->wrong, 1);
    engine_value_release(&value);
    return number;
}

/* Both halves of the table at one snapshot, by one cursor each way. */
static void scan_pairs(shared *s, const engine_read *read, bool reverse)
{
    static const uint8_t low[] = {0, 0, 0, 1};
    static const uint8_t high[] = {0, 0, 0, 2};
    uint64_t numbers[2][PAIRS] = {{0}};
    vv_error err;
    engine_cursor *c = NULL;
    engine_cursor_options opt = {
        .read = *read, .lower = vv_slice_of(low, 4), .upper = vv_slice_of(high, 4)};
    vv_status st = s->ops->cursor(s->e, &opt, &c, &err);
    if (st == VV_OK)
        st = reverse ? engine_cursor_seek_below(c, (vv_slice){0}, &err)
                     : engine_cursor_seek(c, (vv_slice){0}, &err);
    while (st == VV_OK && engine_cursor_valid(c)) {
        const engine_item *item = engine_cursor_item(c);
        unsigned half = item->key.data[4] == '1';
        unsigned pair =
            (unsigned)strtoul((const char[]){(char)item->key.data[6], (char)item->key.data[7],
                                             (char)item->key.data[8], (char)item->key.data[9],
                                             (char)item->key.data[10], 0},
                              NULL, 10);
        numbers[half][pair % PAIRS] = number_of(item->value);
        st = reverse ? engine_cursor_prev(c, &err) : engine_cursor_next(c, &err);
    }
    engine_cursor_close(c);
    if (st != VV_OK)
        fail_in(s, &err);
    else if (memcmp(numbers[0], numbers[1], sizeof numbers[0]) != 0)
        atomic_fetch_add(&s->wrong, 1);
}

static void reader_main(void *arg)
{
    reader *r = arg;
    shared *s = r->s;
    vv_rng rng;
    vv_rng_init(&rng, r->seed);
    while (!atomic_load(&s->stop)) {
        vv_error err;
        vv_mutex_lock(&s->lock);
        engine_read read = {.version = s->ops->visible(s->e)};
        vv_status st = s->ops->pin(s->e, read.version, 0, &err);
        vv_mutex_unlock(&s->lock);
        if (st != VV_OK) {
            fail_in(s, &err);
            return;
        }
        for (unsigned i = 0; i < 200; i++) {
            uint8_t a[16];
            uint8_t b[16];
            unsigned pair = (unsigned)vv_rng_below(&rng, PAIRS);
            uint64_t x = get_number(s, pair_key(a, pair, 0), &read);
            uint64_t y = get_number(s, pair_key(b, pair, 1), &read);
            if (x != y)
                atomic_fetch_add(&s->wrong, 1);
        }
        scan_pairs(s, &read, vv_rng_one_in(&rng, 2));
        s->ops->unpin(s->e, read.version, 0);
        atomic_fetch_add(&s->reads, 1);
    }
}

static void background_main(void *arg)
{
    shared *s = arg;
    while (!atomic_load(&s->stop)) {
        vv_error err;
        vv_status st = s->ops->work(s->e, &err);
        if (st == VV_NOT_FOUND)
            vv_clock_sleep(s->env.clock, 50 * VV_NS_PER_US);
        else if (st != VV_OK)
            fail_in(s, &err);
    }
}

static void add_pair(vv_buf *buf, engine_kind kind, unsigned pair, const uint8_t *value, size_t len)
{
    for (unsigned half = 0; half < 2; half++) {
        uint8_t key[16];
        engine_entry_add(buf, &(engine_op){.kind = kind,
                                           .key = pair_key(key, pair, half),
                                           .value = vv_slice_of(value, len)});
    }
}

/* What the test is about has happened: how long that takes is the machine's affair. */
static bool has_seen_all(shared *s)
{
    engine_stats stats;
    s->ops->stats(s->e, &stats);
    return atomic_load(&s->reads) > 0 && stats.flushes > 0 && stats.compactions > 0;
}

static void writer_run(shared *s, int64_t deadline)
{
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(3));
    vv_buf buf;
    vv_buf_init(&buf, 1 << 20);
    uint8_t value[300] = {0};
    vv_error err;
    int64_t version = 0;
    while (atomic_load(&s->failures) == 0 &&
           (vv_clock_mono(s->env.clock) < deadline || !has_seen_all(s))) {
        vv_buf_reset(&buf);
        size_t at = engine_entry_begin(&buf);
        uint32_t count = 1 + (uint32_t)vv_rng_below(&rng, 10);
        for (uint32_t i = 0; i < count; i++) {
            unsigned pair = (unsigned)vv_rng_below(&rng, PAIRS);
            vv_put_le64(value, (uint64_t)version + 1);
            bool del = vv_rng_one_in(&rng, 8);
            add_pair(&buf, del ? ENGINE_DELETE : ENGINE_PUT, pair, value,
                     del ? 0 : 8 + vv_rng_below(&rng, sizeof value - 8));
        }
        engine_entry_finish(&buf, at, 2 * count);
        vv_status st;
        while ((st = s->ops->prepare(s->e, buf.len, 2 * count, &err)) == VV_BUSY)
            vv_clock_sleep(s->env.clock, 20 * VV_NS_PER_US);
        if (st == VV_OK)
            st = s->ops->apply(s->e, ++version, 0, vv_buf_slice(&buf), &err);
        if (st != VV_OK) {
            fail_in(s, &err);
            break;
        }
        s->ops->publish(s->e, version);
        if (vv_rng_one_in(&rng, 3000))
            (void)!s->ops->compact_range(s->e, vv_slice_str("\x01"), vv_slice_str("\xff"), NULL);
        if (vv_rng_one_in(&rng, 500))
            (void)!s->ops->freeze(s->e, NULL);
    }
    vv_buf_fini(&buf);
}

static const char *folder; /* whose files remove_file removes */

static void remove_file(void *ctx, const char *name)
{
    shared *s = ctx;
    char path[VIO_PATH_MAX];
    const char *above = folder;
    (void)snprintf(path, sizeof path, "%s/%s", above, name);
    if (vio_remove(s->env.io, path, NULL) == VV_OK)
        return;
    folder = path; /* a directory with something in it */
    (void)!vio_list(s->env.io, path, remove_file, s, NULL);
    (void)!vio_remove(s->env.io, path, NULL);
    folder = above;
}

static void prop_readers_see_whole_batches_of_one_snapshot(void **state)
{
    shared *s = *state;
    char dir[64] = "/dev/shm/engine-threads-XXXXXX";
    if (mkdtemp(dir) == NULL) {
        (void)snprintf(dir, sizeof dir, "/tmp/engine-threads-XXXXXX");
        assert_non_null(mkdtemp(dir));
    }
    vv_error err;
    vv_mutex_init(&s->lock, VV_RANK_DB);
    assert_ok(env_posix_init(&s->env, dir, NULL, &err), err);
    engine_options opt = {.env = &s->env,
                          .dir = "shard-0",
                          .memtable_size = 64 * VV_KIB,
                          .cache_size = 128 * VV_KIB,
                          .target_file_size = 32 * VV_KIB,
                          .block_size = 1024,
                          .compress = true,
                          .hooks = {.ctx = s, .floor = floor_of}};
    assert_ok(s->ops->open(&opt, &s->e, &err), err);
    vv_thread *threads[READERS + 1];
    reader readers[READERS];
    for (unsigned i = 0; i < READERS; i++) {
        readers[i] = (reader){s, vv_test_seed(4) + i};
        assert_ok(s->env.threads->create("reader", VV_THREAD_NORMAL, reader_main, &readers[i],
                                         &threads[i], &err),
                  err);
    }
    assert_ok(s->env.threads->create("background", VV_THREAD_NORMAL, background_main, s,
                                     &threads[READERS], &err),
              err);
    int64_t ms = (int64_t)vv_test_count("VV_THREADS_MS", 1500);
    writer_run(s, vv_clock_mono(s->env.clock) + ms * VV_NS_PER_MS);
    atomic_store(&s->stop, true);
    for (unsigned i = 0; i <= READERS; i++)
        s->env.threads->join(threads[i]);
    if (atomic_load(&s->failures) > 0)
        fail_msg("%s", s->why);
    assert_int_equal(atomic_load(&s->wrong), 0);
    engine_stats stats;
    s->ops->stats(s->e, &stats);
    assert_ok(s->ops->check(s->e, NULL, NULL, &err), err);
    print_message("  %lld batches, %llu snapshots read, %llu flushes, %llu compactions\n",
                  (long long)s->ops->visible(s->e), (unsigned long long)atomic_load(&s->reads),
                  (unsigned long long)stats.flushes, (unsigned long long)stats.compactions);
    assert_true(atomic_load(&s->reads) > 0 && stats.flushes > 0 && stats.compactions > 0);
    s->ops->close(s->e);
    folder = "shard-0";
    (void)!vio_list(s->env.io, folder, remove_file, s, NULL);
    (void)!vio_remove(s->env.io, "shard-0", NULL);
    vio_destroy(s->env.io);
    (void)rmdir(dir);
}

int engine_suite_run_threads(const engine_ops *ops)
{
    static shared s;
    s = (shared){.ops = ops};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(prop_readers_see_whole_batches_of_one_snapshot, &s),
    };
    return cmocka_run_group_tests_name("engine_threads", tests, NULL, NULL);
}
