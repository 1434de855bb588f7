/*
 * lsm_ranges_test.c - what a merge keeps of range deletions and versions against the definition: no
 * reader that may come can tell the difference.
 */
#include "base/alloc.h"
#include "base/rng.h"
#include "lsm/lsm_int.h"
#include "vv_test.h"

#define KEYS 24u
#define VERSIONS 40

static int64_t floor_now;

static engine_floor floor_of(void *ctx, uint32_t table)
{
    (void)ctx;
    (void)table;
    return (engine_floor){.version = floor_now};
}

static vv_slice letter(unsigned i)
{
    static const uint8_t keys[KEYS + 1][6] = {
#define K(c) {0, 0, 0, 1, c}
        K('a'), K('b'), K('c'), K('d'), K('e'), K('f'), K('g'), K('h'), K('i'),
        K('j'), K('k'), K('l'), K('m'), K('n'), K('o'), K('p'), K('q'), K('r'),
        K('s'), K('t'), K('u'), K('v'), K('w'), K('x'), K('y'),
#undef K
    };
    return vv_slice_of(keys[i], 5);
}

/* The newest range at or below snapshot that covers key. */
static int64_t cover(const engine_range *ranges, size_t count, vv_slice key, int64_t snapshot)
{
    int64_t best = -1;
    for (size_t i = 0; i < count; i++)
        if (ranges[i].version <= snapshot && ranges[i].version > best &&
            vv_slice_cmp(ranges[i].start, key) <= 0 && vv_slice_cmp(key, ranges[i].end) < 0)
            best = ranges[i].version;
    return best;
}

/* Which of the versions below a reader's snapshot does a range hide? Only that can be seen, and
 * only at versions where something may stand, so compare what a put at any version would suffer. */
static void expect_same_to(const engine_range *in, size_t in_count, const engine_range *out,
                           size_t out_count, const int64_t *pins, size_t pin_count,
                           int64_t snapshot)
{
    for (unsigned k = 0; k < KEYS; k++) {
        int64_t a = cover(in, in_count, letter(k), snapshot);
        int64_t b = cover(out, out_count, letter(k), snapshot);
        if (a == b)
            continue;
        fail_msg("snapshot %lld: key %u is covered at %lld instead of %lld (%zu pins, floor %lld)",
                 (long long)snapshot, k, (long long)b, (long long)a, pin_count,
                 (long long)floor_now);
        (void)pins;
    }
}

static void prop_no_reader_can_tell_reduced_ranges_apart(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(1));
    engine_pins pinned;
    engine_pins_init(&pinned);
    const engine_hooks hooks = {.floor = floor_of};
    _Atomic int64_t visible = 0;
    size_t before = 0;
    size_t after = 0;
    for (unsigned round = 0; round < 3000; round++) {
        vv_error err;
        engine_range in[60];
        size_t count = 1 + vv_rng_below(&rng, ARRAY_LEN(in));
        floor_now = (int64_t)vv_rng_below(&rng, VERSIONS);
        for (size_t i = 0; i < count; i++) {
            unsigned x = (unsigned)vv_rng_below(&rng, KEYS);
            unsigned y = x + 1 + (unsigned)vv_rng_below(&rng, KEYS - x);
            in[i] = (engine_range){letter(x), letter(y), 1 + (int64_t)vv_rng_below(&rng, VERSIONS)};
        }
        int64_t pins[4];
        size_t pin_count = vv_rng_below(&rng, 5);
        for (size_t i = 0; i < pin_count; i++) {
            pins[i] = (int64_t)vv_rng_below(&rng, VERSIONS);
            assert_ok(engine_pins_add(&pinned, pins[i], 0, &err), err);
        }
        engine_readers readers;
        engine_readers_init(&readers, &pinned, &hooks, &visible);
        engine_range *out = NULL;
        size_t out_count = 0;
        assert_ok(lsm_ranges_reduce(&readers, in, count, &out, &out_count, &err), err);
        for (size_t i = 1; i < out_count; i++)
            assert_true(vv_slice_cmp(out[i - 1].start, out[i].start) <= 0);
        for (size_t i = 0; i < pin_count; i++)
            expect_same_to(in, count, out, out_count, pins, pin_count, pins[i]);
        for (int64_t v = floor_now; v <= VERSIONS; v++)
            expect_same_to(in, count, out, out_count, pins, pin_count, v);
        before += count;
        after += out_count;
        vv_free(out);
        engine_readers_fini(&readers);
        for (size_t i = 0; i < pin_count; i++)
            engine_pins_remove(&pinned, pins[i], 0);
    }
    assert_true(after < before); /* it does reduce */
    engine_pins_fini(&pinned);
}

static void ranges_over_several_tables_are_told(void **state)
{
    (void)state;
    const struct {
        const char *start, *end;
        bool want;
    } cases[] = {
        {"\x01\x01\x01\x01"
         "a",
         "\x01\x01\x01\x01"
         "b",
         false},
        {"\x01\x01\x01\x01", "\x01\x01\x01\x02", false},
        {"\x01\x01\x01\x01",
         "\x01\x01\x01\x02"
         "a",
         true},
        {"\x01\x01\x01\x01", "\x01\x01\x01\x03", true},
        {"\x01", "\x02", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        engine_range r = {vv_slice_str(cases[i].start), vv_slice_str(cases[i].end), 1};
        assert_int_equal(lsm_range_spans_tables(&r), cases[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_no_reader_can_tell_reduced_ranges_apart),
        cmocka_unit_test(ranges_over_several_tables_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
