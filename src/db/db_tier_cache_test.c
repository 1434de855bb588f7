/*
 * db_tier_cache_test.c - pieces of objects that are kept: bounded, found again after a restart,
 * never another than was put, whatever happens to their files.
 */
#include "db/db_tier_test_bed.h"

typedef struct bed {
    vio_sim_disk *disk;
    vv_env env;
    vv_budget budget;
} bed;

static int setup_cache(void **state)
{
    vv_error err = {0};
    bed *b = calloc(1, sizeof *b);
    assert_non_null(b);
    b->disk = vio_sim_disk_create();
    assert_non_null(b->disk);
    assert_ok(vio_sim_open(b->disk, &(vio_sim_options){.seed = 1}, &b->env.io, &err), err);
    b->env.clock = vio_sim_clock(b->disk);
    vv_budget_init(&b->budget, 64u << 20);
    *state = b;
    return 0;
}

static int teardown_cache(void **state)
{
    bed *b = *state;
    assert_int_equal(vv_budget_used(&b->budget), 0);
    vio_destroy(b->env.io);
    vio_sim_disk_destroy(b->disk);
    free(b);
    return 0;
}

#define TC(f) cmocka_unit_test_setup_teardown(f, setup_cache, teardown_cache)

static db_tier_cache *open_cache(bed *b, uint64_t max, bool in_memory)
{
    vv_error err = {0};
    db_tier_cache *c = NULL;
    assert_ok(db_tier_cache_open(&b->env, &b->budget, max, in_memory, &c, &err), err);
    return c;
}

static db_tier_cache_figures figures(db_tier_cache *c)
{
    db_tier_cache_figures f;
    db_tier_cache_read(c, &f);
    return f;
}

/* The bytes of a piece are told by its key. */
static void fill(const db_tier_piece *p, uint8_t *out)
{
    for (uint32_t i = 0; i < p->len; i++)
        out[i] = (uint8_t)(p->object * 31 + p->at * 7 + i);
}

static void put_piece(db_tier_cache *c, uint64_t n, uint32_t len, bool once)
{
    static uint8_t bytes[20000];
    db_tier_piece p = {n, n * 3, len};
    fill(&p, bytes);
    db_tier_cache_put(c, &p, bytes, once);
}

static bool has_piece(db_tier_cache *c, uint64_t n, uint32_t len)
{
    static uint8_t got[20000];
    static uint8_t want[20000];
    db_tier_piece p = {n, n * 3, len};
    if (!db_tier_cache_get(c, &p, got))
        return false;
    fill(&p, want);
    if (memcmp(got, want, len) != 0)
        fail_msg("piece %d is another", (int)n);
    return true;
}

static void what_was_put_is_got(void **state)
{
    bed *b = *state;
    for (int in_memory = 0; in_memory < 2; in_memory++) {
        db_tier_cache *c = open_cache(b, 1u << 20, in_memory);
        for (uint64_t n = 1; n <= 100; n++)
            put_piece(c, n, (uint32_t)(n * 13), false);
        for (uint64_t n = 1; n <= 100; n++)
            assert_true(has_piece(c, n, (uint32_t)(n * 13)));
        assert_false(has_piece(c, 1, 14)); /* of another length */
        assert_false(has_piece(c, 101, 14));
        put_piece(c, 5, 5 * 13, false); /* again: nothing happens */
        assert_true(figures(c).hits == 100 && figures(c).misses == 2 && figures(c).damaged == 0);
        db_tier_piece p = {7, 21, 91};
        db_tier_cache_drop(c, &p);
        db_tier_cache_drop(c, &p);
        assert_false(has_piece(c, 7, 91));
        db_tier_cache_close(c);
    }
    assert_false(has_piece(NULL, 1, 1)); /* none is a cache without anything */
    put_piece(NULL, 1, 1, false);
}

static void it_is_found_again(void **state)
{
    bed *b = *state;
    db_tier_cache *c = open_cache(b, 1u << 20, false);
    for (uint64_t n = 1; n <= 20; n++)
        put_piece(c, n, 500, n % 2 == 0);
    uint64_t bytes = figures(c).bytes;
    db_tier_cache_close(c);
    c = open_cache(b, 1u << 20, false);
    assert_int_equal(figures(c).bytes, bytes);
    for (uint64_t n = 1; n <= 20; n++)
        assert_true(has_piece(c, n, 500));
    db_tier_cache_close(c);
    c = open_cache(b, 3 * 4096, false); /* a smaller one lets go */
    assert_true(figures(c).bytes <= 3 * 4096);
    db_tier_cache_close(c);
    c = open_cache(b, 1u << 20, false);
    assert_true(figures(c).bytes <= 3 * 4096);
    db_tier_cache_close(c);
}

static void count_file(void *ctx, const char *name)
{
    unsigned *count = ctx;
    (void)name;
    ++*count;
}

static void it_is_bounded(void **state)
{
    bed *b = *state;
    vv_error err = {0};
    db_tier_cache *c = open_cache(b, 20 * 4096, false);
    put_piece(c, 1, 4000, false);
    for (uint64_t n = 2; n <= 100; n++) {
        put_piece(c, n, 4000, false);
        assert_true(figures(c).bytes <= 20 * 4096);
        assert_true(has_piece(c, n, 4000));
        assert_true(has_piece(c, 1, 4000)); /* it is used, so it stays */
    }
    assert_false(has_piece(c, 2, 4000));
    unsigned count = 0;
    assert_ok(vio_list(b->env.io, DB_TIER_CACHE_DIR, count_file, &count, &err), err);
    assert_true(count == 20);
    db_tier_cache_close(c);
    c = open_cache(b, 4096, false); /* nothing larger than all of it */
    put_piece(c, 300, 9000, false);
    assert_false(has_piece(c, 300, 9000));
    db_tier_cache_close(c);
}

static void scans_leave_what_is_used(void **state)
{
    bed *b = *state;
    db_tier_cache *c = open_cache(b, 20 * 4096, false);
    for (uint64_t n = 1; n <= 10; n++)
        put_piece(c, n, 3000, false);
    for (uint64_t n = 100; n < 300; n++)
        put_piece(c, n, 3000, true);
    for (uint64_t n = 1; n <= 10; n++)
        assert_true(has_piece(c, n, 3000));
    db_tier_cache_close(c);
}

static void damage(void *ctx, const char *path, uint64_t size)
{
    bed *b = ctx;
    static unsigned n;
    if (strncmp(path, DB_TIER_CACHE_DIR, sizeof DB_TIER_CACHE_DIR - 1) == 0)
        assert_int_equal(vio_sim_flip_bit(b->disk, path, n++ * 37 % (size * 8)), VV_OK);
}

static void a_damaged_file_is_a_miss(void **state)
{
    bed *b = *state;
    db_tier_cache *c = open_cache(b, 1u << 20, false);
    for (uint64_t n = 1; n <= 60; n++)
        put_piece(c, n, 50, false);
    db_tier_cache_close(c);
    vio_sim_each_file(b->disk, damage, b);
    c = open_cache(b, 1u << 20, false);
    for (uint64_t n = 1; n <= 60; n++) {
        assert_false(has_piece(c, n, 50));
        put_piece(c, n, 50, false);
        assert_true(has_piece(c, n, 50));
    }
    assert_int_equal(figures(c).damaged, 60);
    db_tier_cache_close(c);
}

static void strangers_are_removed(void **state)
{
    bed *b = *state;
    vv_error err = {0};
    static const char *const names[] = {
        "x",
        "-",
        "--",
        "0-0-0",
        "0000000000000001-3-0",
        "0000000000000001-3-7-",
        "1-3-7",
        "0000000000000001-3-ffffffff",
        "0000000000000001-03-7",
    };
    db_tier_cache *c = open_cache(b, 1u << 20, false);
    db_tier_cache_close(c);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[100];
        vio_file *f = NULL;
        (void)snprintf(path, sizeof path, "%s/%s", DB_TIER_CACHE_DIR, names[i]);
        assert_ok(vio_open(b->env.io, path, VIO_WRITE | VIO_CREATE, &f, &err), err);
        vio_close(f);
    }
    c = open_cache(b, 1u << 20, false);
    assert_int_equal(figures(c).bytes, 0);
    db_tier_cache_close(c);
    unsigned count = 0;
    assert_ok(vio_list(b->env.io, DB_TIER_CACHE_DIR, count_file, &count, &err), err);
    assert_int_equal(count, 0);
}

/* Whatever fails, what is got is what was put; and later it is kept again. */
static void each_call_of_the_disk_may_fail(void **state)
{
    bed *b = *state;
    bool met = true;
    for (uint64_t n = 1; met; n++) {
        vv_error err = {0};
        db_tier_cache *c = NULL;
        vio_destroy(b->env.io);
        vio_sim_options sim = {.seed = n, .fault = VIO_SIM_EIO, .fault_at = n};
        assert_ok(vio_sim_open(b->disk, &sim, &b->env.io, &err), err);
        vv_status st = db_tier_cache_open(&b->env, &b->budget, 10 * 4096, false, &c, &err);
        for (uint64_t i = 1; st == VV_OK && i <= 20; i++) {
            put_piece(c, n * 100 + i, 1000, false);
            (void)has_piece(c, n * 100 + i, 1000);
            (void)has_piece(c, n * 100 + i / 2, 1000);
        }
        db_tier_cache_close(c);
        met = vio_sim_fault_sites(b->disk, VIO_SIM_EIO) >= n;
    }
    vio_sim_heal(b->disk);
    db_tier_cache *c = open_cache(b, 10 * 4096, false);
    put_piece(c, 1, 1000, false);
    assert_true(has_piece(c, 1, 1000));
    assert_true(figures(c).bytes <= 10 * 4096);
    db_tier_cache_close(c);
}

static void each_allocation_may_fail(void **state)
{
    bed *b = *state;
    bool met = true;
    for (int64_t n = 0; met; n++) {
        vv_error err = {0};
        db_tier_cache *c = NULL;
        uint64_t before = vv_alloc_count();
        vv_alloc_fail_after(n, 0);
        vv_status st = db_tier_cache_open(&b->env, &b->budget, 1u << 20, false, &c, &err);
        for (uint64_t i = 1; st == VV_OK && i <= 80; i++) {
            put_piece(c, i, 100, false);
            (void)has_piece(c, i, 100);
        }
        met = (int64_t)(vv_alloc_count() - before) > n;
        vv_alloc_fail_after(-1, 0);
        if (st != VV_OK)
            assert_int_equal(st, VV_NO_MEMORY);
        db_tier_cache_close(c);
    }
}

static void no_memory_in_the_budget_keeps_less(void **state)
{
    bed *b = *state;
    db_tier_cache *c = open_cache(b, 1u << 20, true);
    assert_true(vv_budget_reserve(&b->budget, VV_BUDGET_WORK, (64u << 20) - 8000));
    put_piece(c, 1, 5000, false);
    put_piece(c, 2, 5000, false);
    assert_true(has_piece(c, 1, 5000));
    assert_false(has_piece(c, 2, 5000));
    vv_budget_release(&b->budget, VV_BUDGET_WORK, (64u << 20) - 8000);
    db_tier_cache_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TC(what_was_put_is_got),
        TC(it_is_found_again),
        TC(it_is_bounded),
        TC(scans_leave_what_is_used),
        TC(a_damaged_file_is_a_miss),
        TC(strangers_are_removed),
        TC(each_call_of_the_disk_may_fail),
        TC(each_allocation_may_fail),
        TC(no_memory_in_the_budget_keeps_less),
    };
    engine_under_test = &lsm_ops;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
