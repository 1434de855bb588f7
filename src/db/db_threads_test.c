/*
 * db_threads_test.c - one store, many threads: what each must see whatever the others do. Run it
 * under the thread sanitizer too.
 *
 *   writers    own a pair of keys written in one batch: equal in every snapshot, never going back
 *   swappers   all increment one counter by compare-and-swap: no increment is lost
 *   async      queue batches; done runs once for each, in order
 *   loaders    bulk loads over the keys of all writers: each is whole in every snapshot
 *   readers    gets, snapshots, walks
 *   tables     two threads create, fill and drop tables, and ask for checkpoints and compactions
 */
#include "db/db_test_util.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "varve/bulk.h"

#define WRITERS 8
#define SWAPPERS 2
#define ASYNC 2
#define LOADERS 2
#define READERS 2
#define MAKERS 2
#define ASYNC_DEPTH 200
#define DONE_MAX 1000000

static vv_db *db;
static vv_table *kv;
static atomic_bool stop;
static atomic_uint_fast64_t swapped;
static atomic_uint_fast64_t answered;
static atomic_uint_fast64_t queued;
static atomic_uint_fast64_t commits;

static uint64_t read_number(const vv_snapshot *snap, const char *key)
{
    vv_value v;
    vv_error err = {0};
    vv_status st = vv_get(kv, snap, vv_slice_str(key), &v, &err);
    VV_CHECK(st == VV_OK || st == VV_NOT_FOUND);
    if (st != VV_OK)
        return 0;
    uint64_t n = vv_get_le64(v.data.data);
    vv_value_release(&v);
    return n;
}

static vv_slice number(uint64_t n, uint8_t out[200])
{
    memset(out, (int)n, 200);
    vv_put_le64(out, n);
    return vv_slice_of(out, 200);
}

/* First and last key of a load stand before and behind those of all writers, who keep memtables
 * full of its range. */
static void load_once(const char *first, const char *last, uint64_t n)
{
    enum { BETWEEN = 300 };
    uint8_t bytes[200];
    char key[16];
    vv_error err = {0};
    vv_bulk *load = NULL;
    vv_slice value = number(n, bytes);
    vv_status st = vv_bulk_begin(kv, &load, &err);
    VV_CHECK(st == VV_OK);
    if (st != VV_OK)
        return;
    st = vv_bulk_put(load, vv_slice_str(first), value, 0, &err);
    for (int i = 0; st == VV_OK && i < BETWEEN; i++) {
        (void)snprintf(key, sizeof key, "l%s%03d", first, i);
        st = vv_bulk_put(load, vv_slice_str(key), value, 0, &err);
    }
    if (st == VV_OK)
        st = vv_bulk_put(load, vv_slice_str(last), value, 0, &err);
    VV_CHECK(st == VV_OK);
    if (st != VV_OK || n % 5 == 4) {
        vv_bulk_abort(load);
        return;
    }
    vv_write_result result = {0};
    st = vv_bulk_finish(load, &result, &err);
    VV_CHECK(st == VV_OK && result.version > 0);
    VV_CHECK(st != VV_OK || read_number(NULL, last) == n);
    atomic_fetch_add(&commits, 1);
}

static void loader(void *arg)
{
    long id = (long)(intptr_t)arg;
    char first[16];
    char last[16];
    uint64_t before = 0;
    vv_error err = {0};
    (void)snprintf(first, sizeof first, "Load%ld", id);
    (void)snprintf(last, sizeof last, "~load%ld", id);
    for (uint64_t n = 1; !atomic_load(&stop); n++) {
        load_once(first, last, n);
        vv_snapshot *snap = NULL;
        VV_CHECK(vv_snapshot_create(db, &snap, &err) == VV_OK);
        uint64_t a = read_number(snap, first);
        VV_CHECK(a == read_number(snap, last));
        VV_CHECK(a >= before);
        before = a;
        vv_snapshot_release(snap);
    }
}

static void writer(void *arg)
{
    long id = (long)(intptr_t)arg;
    char a[16];
    char b[16];
    uint8_t bytes[200];
    vv_error err = {0};
    (void)snprintf(a, sizeof a, "a%ld", id);
    (void)snprintf(b, sizeof b, "z%ld", id);
    vv_batch *batch = vv_batch_create(db);
    for (uint64_t n = 1; !atomic_load(&stop); n++) {
        vv_batch_clear(batch);
        VV_CHECK(vv_batch_put(batch, kv, vv_slice_str(a), number(n, bytes), 0, &err) == VV_OK);
        VV_CHECK(vv_batch_put(batch, kv, vv_slice_str(b), number(n, bytes), 0, &err) == VV_OK);
        vv_durability d = (n + (uint64_t)id) % 4 == 0 ? VV_DURABLE_OS : VV_DURABLE_SYNC;
        VV_CHECK(vv_write(db, batch, d, NULL, &err) == VV_OK);
        VV_CHECK(read_number(NULL, a) == n); /* one reads one's own writes */
        atomic_fetch_add(&commits, 1);
    }
    vv_batch_destroy(batch);
}

static void swapper(void *arg)
{
    uint8_t old_bytes[200];
    uint8_t new_bytes[200];
    (void)arg;
    while (!atomic_load(&stop)) {
        uint64_t n = read_number(NULL, "counter");
        vv_error err = {0};
        vv_status st =
            vv_compare_and_swap(kv, vv_slice_str("counter"), n > 0, number(n, old_bytes),
                                number(n + 1, new_bytes), 0, VV_DURABLE_DEFAULT, NULL, &err);
        VV_CHECK(st == VV_OK || st == VV_CONFLICT);
        if (st == VV_OK)
            atomic_fetch_add(&swapped, 1);
    }
}

/* One queued batch; its done runs on the commit thread alone. */
typedef struct ticket {
    vv_batch *batch;
    int64_t *last_version; /* of the thread that queued it */
} ticket;

static void batch_done(void *ctx, vv_status status, const vv_write_result *result,
                       const vv_error *err)
{
    ticket *t = ctx;
    (void)err;
    VV_CHECK(status == VV_OK && result->version > *t->last_version);
    *t->last_version = result->version;
    vv_batch_destroy(t->batch);
    free(t);
    atomic_fetch_add(&answered, 1);
}

static void async_writer(void *arg)
{
    static int64_t last_version[ASYNC];
    long id = (long)(intptr_t)arg;
    char key[32];
    uint8_t bytes[200];
    for (uint64_t n = 1; !atomic_load(&stop); n++) {
        vv_error err = {0};
        ticket *t = malloc(sizeof *t);
        *t = (ticket){vv_batch_create(db), &last_version[id]};
        (void)snprintf(key, sizeof key, "q%ld/%" PRIu64, id, n % 500);
        VV_CHECK(vv_batch_put(t->batch, kv, vv_slice_str(key), number(n, bytes), 0, &err) == VV_OK);
        vv_status st;
        while ((st = vv_write_async(db, t->batch, n % 3 == 0 ? VV_DURABLE_NONE : VV_DURABLE_SYNC,
                                    batch_done, t, &err)) == VV_BUSY)
            (void)usleep(100);
        VV_CHECK(st == VV_OK);
        atomic_fetch_add(&queued, 1);
        while (atomic_load(&queued) - atomic_load(&answered) > ASYNC_DEPTH)
            (void)usleep(50);
    }
}

static void check_pairs(const vv_snapshot *snap, uint64_t seen[WRITERS])
{
    for (long id = 0; id < WRITERS; id++) {
        char a[16];
        char b[16];
        (void)snprintf(a, sizeof a, "a%ld", id);
        (void)snprintf(b, sizeof b, "z%ld", id);
        uint64_t n = read_number(snap, a);
        VV_CHECK(n == read_number(snap, b));
        VV_CHECK(n >= seen[id]);
        seen[id] = n;
    }
}

static void walk(const vv_snapshot *snap)
{
    vv_error err = {0};
    vv_cursor *c = NULL;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.snapshot = snap;
    VV_CHECK(vv_cursor_open(kv, &opt, &c, &err) == VV_OK);
    VV_CHECK(vv_cursor_seek(c, vv_slice_of(NULL, 0), &err) == VV_OK);
    uint8_t before[64] = {0};
    size_t before_len = 0;
    while (vv_cursor_valid(c)) {
        vv_slice key = vv_cursor_key(c);
        VV_CHECK(vv_slice_cmp(vv_slice_of(before, before_len), key) < 0);
        before_len = key.len;
        memcpy(before, key.data, key.len);
        VV_CHECK(vv_cursor_next(c, &err) == VV_OK);
    }
    vv_cursor_close(c);
}

static void reader(void *arg)
{
    uint64_t seen[WRITERS] = {0};
    (void)arg;
    for (unsigned n = 0; !atomic_load(&stop); n++) {
        vv_error err = {0};
        vv_snapshot *snap = NULL;
        VV_CHECK(vv_snapshot_create(db, &snap, &err) == VV_OK);
        check_pairs(snap, seen);
        if (n % 8 == 0)
            walk(n % 16 == 0 ? snap : NULL);
        vv_snapshot_release(snap);
    }
}

static void table_maker(void *arg)
{
    char name[16];
    (void)snprintf(name, sizeof name, "visit%d", (int)(intptr_t)arg);
    for (unsigned n = 0; !atomic_load(&stop); n++) {
        vv_error err = {0};
        vv_table *t = NULL;
        vv_table_options opt = VV_TABLE_OPTIONS_INIT;
        opt.kind = n % 2 == 0 ? VV_TABLE_RECORD : VV_TABLE_KV;
        VV_CHECK(vv_table_create(db, "brief", name, &opt, &t, &err) == VV_OK);
        if (opt.kind == VV_TABLE_KV)
            VV_CHECK(vv_put(t, vv_slice_str("k"), vv_slice_str("v"), &err) == VV_OK);
        if (n % 5 == 0)
            VV_CHECK(vv_checkpoint(db, &err) == VV_OK);
        if (n % 7 == 0)
            VV_CHECK(vv_compact(kv, vv_slice_of(NULL, 0), vv_slice_of(NULL, 0), &err) == VV_OK);
        VV_CHECK(vv_table_drop(db, "brief", name, &err) == VV_OK);
        vv_table_close(t);
        vv_stats s = {.size = sizeof s};
        vv_stats_read(db, &s);
        VV_CHECK(!s.failed);
    }
}

static void all_at_once(void **state)
{
    (void)state;
    char dir[] = "/tmp/varve-threads-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    vv_error err = {0};
    vv_options opt = VV_OPTIONS_INIT;
    opt.memory_limit = 32u << 20;
    opt.memtable_size = 128u << 10;
    opt.log_segment_size = 1u << 20;
    opt.log_ring_size = 256u << 10;
    opt.log_limit = 4u << 20;
    opt.background_threads = 2;
    opt.shard_count = 3;
    assert_ok(vv_db_open(dir, &opt, &db, &err), err);
    kv = make_table(db, "plant", "kv", VV_TABLE_KV);

    static const struct {
        void (*run)(void *arg);
        int count;
    } roles[] = {{writer, WRITERS}, {swapper, SWAPPERS}, {async_writer, ASYNC},
                 {loader, LOADERS}, {reader, READERS},   {table_maker, MAKERS}};
    vv_thread *thread[WRITERS + SWAPPERS + ASYNC + LOADERS + READERS + MAKERS];
    size_t started = 0;
    for (size_t r = 0; r < ARRAY_LEN(roles); r++)
        for (int i = 0; i < roles[r].count; i++)
            assert_ok(vv_threads_real()->create("test", VV_THREAD_NORMAL, roles[r].run,
                                                (void *)(intptr_t)i, &thread[started++], &err),
                      err);
    (void)usleep((unsigned)vv_test_count("VV_THREADS_MS", 2000) * 1000);
    atomic_store(&stop, true);
    for (size_t i = 0; i < started; i++)
        vv_threads_real()->join(thread[i]);
    while (atomic_load(&answered) < atomic_load(&queued))
        (void)usleep(1000);
    assert_int_equal(vv_check_failures(), 0);
    assert_int_equal(read_number(NULL, "counter"), atomic_load(&swapped));
    print_message(
        "%llu commits, %llu swaps, %llu queued\n", (unsigned long long)atomic_load(&commits),
        (unsigned long long)atomic_load(&swapped), (unsigned long long)atomic_load(&queued));
    vv_table_close(kv);
    assert_ok(vv_db_close(db, &err), err);
    assert_ok(vv_check(dir, NULL, NULL, &err), err);
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
