/*
 * memtable_thread_test.c - readers beside the writer: what was published before a read began must
 * be found by it, point by point, by seeks from both sides and by scans, while nodes split and hash
 * segments double around it. Run it under the thread sanitizer too.
 */
#include "vv_test.h"

#include "base/point.h"
#include "base/rng.h"
#include "engine/cursor.h"
#include "engine/memtable.h"
#include "io/env.h"

#define KEY_LEN 16u
#define READERS 3u

typedef struct arena_of_truth {
    engine_memtable *mt;
    uint64_t key_count;
    _Atomic uint64_t published; /* keys numbers below it are there, versions 1 .. it */
    _Atomic bool stop;
    _Atomic uint64_t wrong;
    _Atomic uint64_t reads;
    _Atomic uint32_t reader_seed;
    bool ascending;
} arena_of_truth;

/* The n-th key: the same for writer and readers, scattered over three tables. */
static vv_slice nth_key(const arena_of_truth *a, uint64_t n, uint8_t *buf)
{
    uint64_t x = a->ascending ? n : n * UINT64_C(0x9e3779b97f4a7c15);
    vv_put_be32(buf, a->ascending ? 1 : 1 + (uint32_t)(x >> 62) % 3);
    if (n % 2 == 0 || a->ascending) {
        (void)snprintf((char *)buf + 4, KEY_LEN, "%011llx",
                       (unsigned long long)(x & 0xfffffffffff));
        return vv_slice_of(buf, 4 + 11);
    }
    vv_put_be64(buf + 4, x);
    return vv_slice_of(buf, KEY_LEN - 4);
}

static void fail_read(arena_of_truth *a, const char *what, uint64_t n)
{
    if (atomic_fetch_add(&a->wrong, 1) < 5)
        print_error("%s: key %llu of %llu\n", what, (unsigned long long)n,
                    (unsigned long long)atomic_load(&a->published));
}

static void check_key(arena_of_truth *a, engine_source *src, uint64_t n, uint64_t published)
{
    uint8_t buf[KEY_LEN + 8];
    vv_slice key = nth_key(a, n, buf);
    int64_t snapshot = (int64_t)published;
    engine_item item;
    if (engine_memtable_get(a->mt, key, snapshot, &item) != VV_OK ||
        item.version != (int64_t)n + 1 || !vv_slice_eq(item.key, key))
        fail_read(a, "get", n);
    if (engine_source_seek(src, key, snapshot, NULL) != VV_OK || !src->valid ||
        !vv_slice_eq(src->item.key, key))
        fail_read(a, "seek", n);
    buf[key.len] = 0; /* the key's successor */
    vv_slice after = vv_slice_of(buf, key.len + 1);
    if (src->ops->seek_below_at(src, after, snapshot, NULL) != VV_OK || !src->valid ||
        !vv_slice_eq(src->item.key, key))
        fail_read(a, "seek below", n);
    if (src->valid && src->ops->next_key(src, snapshot, NULL) == VV_OK && src->valid &&
        vv_slice_cmp(src->item.key, key) <= 0)
        fail_read(a, "next", n);
}

static void check_scan(arena_of_truth *a, engine_source *src, uint64_t published, bool reverse)
{
    uint8_t last[KEY_LEN];
    size_t last_len = 0;
    uint64_t count = 0;
    int64_t snapshot = (int64_t)published;
    static const uint8_t none[1];
    vv_status st = reverse ? src->ops->seek_below_at(src, vv_slice_of(NULL, 0), snapshot, NULL)
                           : engine_source_seek(src, vv_slice_of(none, 0), snapshot, NULL);
    if (!reverse && src->valid && src->item.version > snapshot)
        st = src->ops->next_key(src, snapshot, NULL);
    while (st == VV_OK && src->valid) {
        int c = vv_slice_cmp(src->item.key, vv_slice_of(last, last_len));
        if (count > 0 && (reverse ? c >= 0 : c <= 0))
            fail_read(a, "order", count);
        last_len = src->item.key.len;
        memcpy(last, src->item.key.data, last_len);
        count++;
        st = reverse ? src->ops->prev_key(src, snapshot, NULL)
                     : src->ops->next_key(src, snapshot, NULL);
    }
    if (st != VV_OK || count != published)
        fail_read(a, reverse ? "scan backward" : "scan", count);
}

static void read_all_the_time(void *arg)
{
    arena_of_truth *a = arg;
    vv_rng rng;
    vv_rng_init(&rng, atomic_fetch_add(&a->reader_seed, 1));
    engine_source *src;
    if (engine_memtable_source(a->mt, &src, NULL) != VV_OK) {
        atomic_fetch_add(&a->wrong, 1);
        return;
    }
    for (uint64_t turn = 0; !atomic_load_explicit(&a->stop, memory_order_relaxed); turn++) {
        uint64_t published = atomic_load_explicit(&a->published, memory_order_acquire);
        if (published == 0)
            continue;
        if (turn % 4096 == 4095) {
            check_scan(a, src, published, vv_rng_one_in(&rng, 2));
        } else {
            /* What came last stands where nodes have just split. */
            uint64_t span = vv_rng_one_in(&rng, 2) && published > 100 ? 100 : published;
            check_key(a, src, published - 1 - vv_rng_below(&rng, span), published);
        }
        atomic_fetch_add_explicit(&a->reads, 1, memory_order_relaxed);
    }
    engine_source_close(src);
}

/* Give the CPU away in the middle of some splits. */
static void linger(void *ctx, const char *name)
{
    static unsigned count;
    (void)ctx;
    if (strncmp(name, "memtable.split", 14) == 0 && ++count % 16 == 0)
        vv_clock_sleep(vv_clock_real(), 1);
}

static void write_keys(arena_of_truth *a, vv_rng *rng)
{
    vv_error err;
    vv_buf buf;
    vv_buf_init(&buf, VV_MIB);
    for (uint64_t n = 0; n < a->key_count && atomic_load(&a->wrong) == 0;) {
        uint8_t key[KEY_LEN + 8];
        vv_buf_reset(&buf);
        size_t begin = engine_entry_begin(&buf);
        engine_op op = {.kind = ENGINE_PUT, .key = nth_key(a, n, key)};
        engine_entry_add(&buf, &op);
        engine_entry_finish(&buf, begin, 1);
        vv_slice payload = vv_buf_slice(&buf);
        assert_ok(engine_memtable_prepare(a->mt, payload.len, 1, &err), err);
        assert_ok(engine_memtable_apply(a->mt, (int64_t)++n, payload, &err), err);
        if (n % 8 == 0 || vv_rng_one_in(rng, 4))
            atomic_store_explicit(&a->published, n, memory_order_release);
    }
    atomic_store_explicit(&a->published, a->key_count, memory_order_release);
    vv_buf_fini(&buf);
}

static void run_readers_beside_writer(bool ascending)
{
    vv_error err;
    arena_of_truth a = {.key_count = vv_test_count("VV_THREAD_KEYS", 100000),
                        .ascending = ascending};
    assert_ok(engine_memtable_create(16 * VV_MIB, NULL, &a.mt, &err), err);
    const vv_threads *threads = vv_threads_real();
    vv_thread *readers[READERS];
#ifdef VV_TEST_HOOKS
    vv_point_set(linger, NULL);
#else
    (void)linger;
#endif
    for (size_t i = 0; i < READERS; i++)
        assert_ok(
            threads->create("reader", VV_THREAD_NORMAL, read_all_the_time, &a, &readers[i], &err),
            err);
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(3));
    write_keys(&a, &rng);
    atomic_store(&a.stop, true);
    for (size_t i = 0; i < READERS; i++)
        threads->join(readers[i]);
#ifdef VV_TEST_HOOKS
    vv_point_set(NULL, NULL);
#endif
    print_message("  %llu reads\n", (unsigned long long)atomic_load(&a.reads));
    assert_int_equal(atomic_load(&a.wrong), 0);
    engine_memtable_unref(a.mt);
}

static void prop_published_keys_are_found(void **state)
{
    (void)state;
    run_readers_beside_writer(false);
}

static void prop_published_ascending_keys_are_found(void **state)
{
    (void)state;
    run_readers_beside_writer(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_published_keys_are_found),
        cmocka_unit_test(prop_published_ascending_keys_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
