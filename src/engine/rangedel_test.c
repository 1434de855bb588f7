#include "vv_test.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "engine/rangedel.h"

#define RANGES_MAX 200u

static vv_slice number_key(uint8_t *buf, uint64_t n)
{
    vv_put_be16(buf, (uint16_t)n);
    return vv_slice_of(buf, n % 3 == 0 ? 2 : 1); /* also keys that are prefixes of others */
}

static int64_t cover_by_looking_at_all(const engine_range *ranges, size_t count, vv_slice key,
                                       int64_t snapshot)
{
    int64_t best = -1;
    for (size_t i = 0; i < count; i++)
        if (ranges[i].version <= snapshot && ranges[i].version > best &&
            vv_slice_cmp(ranges[i].start, key) <= 0 && vv_slice_cmp(key, ranges[i].end) < 0)
            best = ranges[i].version;
    return best;
}

static void expect_sorted(const engine_rangedels *set)
{
    for (size_t i = 1; i < engine_rangedels_count(set); i++) {
        const engine_range *a = engine_rangedels_at(set, i - 1);
        const engine_range *b = engine_rangedels_at(set, i);
        int c = vv_slice_cmp(a->start, b->start);
        assert_true(c < 0 || (c == 0 && a->version >= b->version));
    }
}

static void prop_cover_is_what_looking_at_all_says(void **state)
{
    (void)state;
    static uint8_t bytes[RANGES_MAX][2][2];
    engine_range ranges[RANGES_MAX];
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(6));
    for (int round = 0; round < 300; round++) {
        size_t count = vv_rng_below(&rng, RANGES_MAX);
        uint64_t shape = vv_rng_below(&rng, 4);
        for (size_t i = 0; i < count; i++) {
            uint64_t a = vv_rng_below(&rng, 65536);
            uint64_t b = vv_rng_below(&rng, 65536);
            if (shape == 0) { /* nested: one start */
                a = 100;
            } else if (shape == 1) { /* one behind the other */
                a = i * 300;
                b = a + 300;
            } else if (shape == 2) { /* short ones */
                b = a + vv_rng_below(&rng, 500);
            }
            ranges[i].start = number_key(bytes[i][0], a);
            ranges[i].end = number_key(bytes[i][1], b);
            ranges[i].version = (int64_t)vv_rng_below(&rng, 100);
        }
        engine_rangedels *set;
        vv_error err;
        assert_ok(engine_rangedels_build(ranges, count, &set, &err), err);
        assert_int_equal(engine_rangedels_count(set), count);
        expect_sorted(set);
        for (int i = 0; i < 300; i++) {
            uint8_t buf[2];
            vv_slice key = number_key(buf, vv_rng_below(&rng, 65536));
            int64_t snapshot = (int64_t)vv_rng_below(&rng, 110) - 5;
            assert_int_equal(engine_rangedels_cover(set, key, snapshot),
                             cover_by_looking_at_all(ranges, count, key, snapshot));
        }
        engine_rangedels_unref(set);
    }
}

static void no_set_covers_nothing(void **state)
{
    (void)state;
    engine_rangedels *set = (engine_rangedels *)(uintptr_t)8;
    vv_error err;
    assert_ok(engine_rangedels_build(NULL, 0, &set, &err), err);
    assert_null(set);
    assert_int_equal(engine_rangedels_count(NULL), 0);
    assert_int_equal(engine_rangedels_cover(NULL, vv_slice_str("a"), 5), -1);
    engine_rangedels_unref(NULL);
}

static void a_set_copies_and_counts_references(void **state)
{
    (void)state;
    char start[] = "aaaa";
    char end[] = "bbbb";
    engine_range range = {vv_slice_str(start), vv_slice_str(end), 7};
    engine_rangedels *set;
    vv_error err;
    assert_ok(engine_rangedels_build(&range, 1, &set, &err), err);
    memset(start, 'z', 4);
    memset(end, 'z', 4);
    engine_rangedels_ref(set);
    engine_rangedels_unref(set);
    assert_int_equal(engine_rangedels_cover(set, vv_slice_str("aaaa"), 7), 7);
    assert_int_equal(engine_rangedels_cover(set, vv_slice_str("abc"), 6), -1);
    assert_int_equal(engine_rangedels_cover(set, vv_slice_str("bbbb"), 9), -1);
    engine_rangedels_unref(set);
}

static void building_survives_a_failed_allocation(void **state)
{
    (void)state;
    engine_range range = {vv_slice_str("a"), vv_slice_str("b"), 1};
    engine_rangedels *set = NULL;
    vv_error err;
    vv_alloc_fail_after(0, 0);
    vv_status st = engine_rangedels_build(&range, 1, &set, &err);
    vv_alloc_fail_after(-1, 0);
    if (vv_alloc_count() > 0)
        assert_int_equal(st, VV_NO_MEMORY);
    engine_rangedels_unref(set);
}

/* A queue that trims its head makes ranges that all begin at the same key: a look-up must not take
 * longer the more of them there are. */
static void nested_ranges_are_cheap(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    uint8_t(*ends)[8] = calloc(COUNT, sizeof *ends);
    engine_range *ranges = calloc(COUNT, sizeof *ranges);
    assert_non_null(ends);
    assert_non_null(ranges);
    for (uint64_t i = 0; i < COUNT; i++) {
        vv_put_be64(ends[i], i + 1);
        ranges[i] = (engine_range){vv_slice_str(""), vv_slice_of(ends[i], 8), (int64_t)i};
    }
    engine_rangedels *set;
    vv_error err;
    assert_ok(engine_rangedels_build(ranges, COUNT, &set, &err), err);
    vv_rng rng;
    vv_rng_init(&rng, 1);
    for (int i = 0; i < 100000; i++) { /* seconds, if each looked at all of them */
        uint64_t n = vv_rng_below(&rng, COUNT);
        int64_t snapshot = (int64_t)vv_rng_below(&rng, COUNT);
        uint8_t key[8];
        vv_put_be64(key, n);
        assert_int_equal(engine_rangedels_cover(set, vv_slice_of(key, 8), snapshot),
                         snapshot >= (int64_t)n ? snapshot : -1);
    }
    engine_rangedels_unref(set);
    free(ranges);
    free(ends);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_cover_is_what_looking_at_all_says),
        cmocka_unit_test(no_set_covers_nothing),
        cmocka_unit_test(a_set_copies_and_counts_references),
        cmocka_unit_test(building_survives_a_failed_allocation),
        cmocka_unit_test(nested_ranges_are_cheap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
