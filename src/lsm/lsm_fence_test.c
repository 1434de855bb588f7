#include "lsm/lsm_fence.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/rng.h"
#include "lsm/lsm_filter.h"
#include "vv_test.h"

#define SEPARATORS 9000u /* three levels of nodes */

typedef struct separator {
    uint8_t key[80];
    size_t len;
    int64_t version;
} separator;

static vv_slice key_of(const separator *s)
{
    return vv_slice_of(s->key, s->len);
}

static int by_order(const void *a, const void *b)
{
    const separator *x = a;
    const separator *y = b;
    int c = vv_slice_cmp(key_of(x), key_of(y));
    return c != 0 ? c : (x->version < y->version) - (x->version > y->version);
}

/* Random bytes, decimal digits behind a long shared prefix, or few letters: ties everywhere. */
static void make_separator(vv_rng *rng, unsigned style, separator *s)
{
    if (style == 0) {
        s->len = vv_rng_below(rng, 12);
        vv_rng_bytes(rng, s->key, s->len);
    } else if (style == 1) {
        s->len = (size_t)snprintf((char *)s->key, sizeof s->key,
                                  "a/quite/long/prefix/that/all/keys/share/with/no/end/%08u",
                                  (unsigned)vv_rng_below(rng, 100000));
    } else {
        s->len = vv_rng_below(rng, 20);
        for (size_t i = 0; i < s->len; i++)
            s->key[i] = (uint8_t)(vv_rng_below(rng, 2) * 255);
    }
    s->version = vv_rng_one_in(rng, 8) ? (int64_t)vv_rng_below(rng, 50) : INT64_MAX;
}

static uint32_t want_part(const separator *all, uint32_t count, vv_slice key, int64_t version)
{
    uint32_t i = 0;
    while (i + 1 < count) {
        int c = vv_slice_cmp(key_of(&all[i + 1]), key);
        if (c > 0 || (c == 0 && all[i + 1].version < version))
            break;
        i++;
    }
    return i;
}

static void prop_find_agrees_with_a_walk(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(1));
    separator *all = malloc(SEPARATORS * sizeof *all);
    for (unsigned round = 0; round < 24; round++) {
        unsigned style = round % 3;
        uint32_t want = round < 3 ? SEPARATORS : 1 + (uint32_t)vv_rng_below(&rng, 300);
        for (uint32_t i = 0; i < want; i++)
            make_separator(&rng, style, &all[i]);
        qsort(all, want, sizeof *all, by_order);
        uint32_t count = 0;
        for (uint32_t i = 0; i < want; i++)
            if (count == 0 || by_order(&all[count - 1], &all[i]) != 0)
                all[count++] = all[i];
        lsm_fence_builder b;
        lsm_fence_builder_init(&b);
        for (uint32_t i = 0; i < count; i++)
            lsm_fence_builder_add(&b, key_of(&all[i]), all[i].version);
        vv_error err;
        lsm_fence f;
        assert_ok(lsm_fence_build(&b, &f, &err), err);
        lsm_fence_builder_fini(&b);
        for (unsigned probe = 0; probe < 400; probe++) {
            separator s;
            if (probe % 2 == 0)
                s = all[vv_rng_below(&rng, count)];
            else
                make_separator(&rng, (unsigned)vv_rng_below(&rng, 3), &s);
            if (probe % 4 == 0)
                s.version = (int64_t)vv_rng_below(&rng, 50);
            assert_int_equal(want_part(all, count, key_of(&s), s.version),
                             lsm_fence_find(&f, key_of(&s), s.version));
        }
        lsm_fence_fini(&f);
    }
    free(all);
}

static void the_shortest_separator_parts_two_keys(void **state)
{
    (void)state;
    const struct {
        const char *last, *first;
        size_t want;
    } cases[] = {
        {"a", "b", 1}, {"abc", "abd", 3}, {"abc", "abcd", 4}, {"ab", "b", 1}, {"", "x", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(cases[i].want, lsm_fence_shortest(vv_slice_str(cases[i].last),
                                                           vv_slice_str(cases[i].first)));
}

static void a_fence_reports_short_memory(void **state)
{
    (void)state;
    for (int64_t n = 0;; n++) {
        lsm_fence_builder b;
        lsm_fence_builder_init(&b);
        lsm_fence f = {0};
        vv_alloc_fail_after(n, 0);
        for (uint8_t i = 0; i < 100; i++)
            lsm_fence_builder_add(&b, vv_slice_of(&i, 1), i == 50 ? 5 : INT64_MAX);
        vv_status st = lsm_fence_build(&b, &f, NULL);
        vv_alloc_fail_after(-1, 0);
        lsm_fence_builder_fini(&b);
        lsm_fence_fini(&f);
        if (st == VV_OK)
            return;
        assert_int_equal(st, VV_NO_MEMORY);
    }
}

static void a_filter_knows_its_keys_and_few_others(void **state)
{
    (void)state;
    const uint64_t keys = 20000;
    const struct {
        unsigned bits;
        double max;
    } cases[] = {{LSM_FILTER_BITS, 0.015}, {LSM_FILTER_BITS_YOUNG, 0.002}};
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        uint32_t lines = lsm_filter_lines(keys, cases[c].bits);
        uint8_t *p = vv_calloc(lines, LSM_FILTER_LINE);
        for (uint64_t i = 0; i < keys; i++)
            lsm_filter_add(p, lines, vv_hash64(&i, sizeof i));
        for (uint64_t i = 0; i < keys; i++) {
            uint64_t h = vv_hash64(&i, sizeof i);
            assert_true(lsm_filter_test(lsm_filter_line(p, lines, h), h));
        }
        uint64_t wrong = 0;
        for (uint64_t i = keys; i < 6 * keys; i++) {
            uint64_t h = vv_hash64(&i, sizeof i);
            wrong += lsm_filter_test(lsm_filter_line(p, lines, h), h);
        }
        assert_true((double)wrong / (5 * (double)keys) < cases[c].max);
        vv_free(p);
    }
    assert_int_equal(lsm_filter_lines(0, 10), 1);
}

/* The multipliers are frozen. */
static void golden_bits_of_a_filter(void **state)
{
    (void)state;
    static const uint8_t want[][2] = {{4, 32}, {12, 64}, {23, 32}, {29, 64},
                                      {33, 2}, {44, 1},  {51, 2},  {62, 1}}; /* byte, its value */
    uint8_t line[LSM_FILTER_LINE] = {0};
    lsm_filter_add(line, 1, UINT64_C(0x0123456789abcdef));
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_int_equal(line[want[i][0]], want[i][1]);
        line[want[i][0]] = 0;
    }
    for (size_t i = 0; i < sizeof line; i++)
        assert_int_equal(line[i], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_find_agrees_with_a_walk),
        cmocka_unit_test(the_shortest_separator_parts_two_keys),
        cmocka_unit_test(a_fence_reports_short_memory),
        cmocka_unit_test(a_filter_knows_its_keys_and_few_others),
        cmocka_unit_test(golden_bits_of_a_filter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
