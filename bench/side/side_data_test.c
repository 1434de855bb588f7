/* The oracle of the side-by-side benchmark: a reader that is given a wrong answer must say so. */
#include <string.h>

#include "base/util.h"
#include "side_data.h"
#include "vv_test.h"

static side_data data;

static void perm_is_a_bijection(void **state)
{
    static const uint64_t sizes[] = {1, 2, 3, 1000, 4096, 5001};
    (void)state;
    for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
        static uint8_t seen[8192];
        side_perm p;
        side_perm_init(&p, sizes[s], 7 + s);
        memset(seen, 0, sizeof seen);
        for (uint64_t i = 0; i < sizes[s]; i++) {
            uint64_t at = side_perm_at(&p, i);
            assert_true(at < sizes[s]);
            assert_int_equal(seen[at], 0);
            seen[at] = 1;
            assert_int_equal(side_perm_index_of(&p, at), i);
        }
    }
}

static void keys_sort_as_their_numbers(void **state)
{
    char a[SIDE_KEY];
    char b[SIDE_KEY];
    (void)state;
    assert_int_equal(side_key_number(side_key(123456, false, a)), 123456);
    assert_int_equal(side_key_number(side_key(123456, true, a)), UINT64_MAX);
    assert_true(vv_slice_cmp(side_key(9, false, a), side_key(9, true, b)) < 0);
    assert_true(vv_slice_cmp(side_key(9, true, a), side_key(10, false, b)) < 0);
}

static void finish(side_pass *pass, uint64_t started, uint64_t done)
{
    atomic_store(&pass->started, started);
    atomic_store(&pass->done, done);
}

static const char *judge(const side_pass *pass, uint64_t n, uint64_t asked)
{
    static uint8_t value[SIDE_VALUE_MAX];
    side_before before;
    side_before_read(&data, &before);
    vv_slice v = pass == NULL ? vv_slice_of(NULL, 0) : side_value(&data, pass, n, value);
    return side_check(&data, &before, asked, pass == NULL ? NULL : &v, SIDE_WHOLE);
}

static void only_the_newest_answer_is_right(void **state)
{
    (void)state;
    side_data_init(&data, 1000, 100, 1);
    side_pass *fill = side_pass_begin(&data, SIDE_PASS_PUT, 1, false);
    finish(fill, 1000, 1000);
    assert_null(judge(fill, 5, 5));
    assert_non_null(judge(NULL, 0, 5)); /* lost */
    assert_non_null(judge(fill, 6, 5)); /* another key's */

    side_pass *over = side_pass_begin(&data, SIDE_PASS_PUT, 1, false);
    finish(over, 11, 10);
    uint64_t must = side_perm_at(&over->perm, 9);
    uint64_t may = side_perm_at(&over->perm, 10);
    uint64_t not_yet = side_perm_at(&over->perm, 11);
    assert_null(judge(over, must, must));
    assert_non_null(judge(fill, must, must)); /* old */
    assert_null(judge(over, may, may));
    assert_null(judge(fill, may, may));
    assert_null(judge(fill, not_yet, not_yet));
    assert_non_null(judge(over, not_yet, not_yet)); /* never written */

    finish(over, 1000, 1000);
    side_pass *ranges = side_pass_begin(&data, SIDE_PASS_DELETE, 100, false);
    finish(ranges, 1, 1);
    uint64_t gone = side_perm_at(&ranges->perm, 0) * 100 + 99;
    uint64_t kept = side_perm_at(&ranges->perm, 1) * 100;
    assert_null(judge(NULL, 0, gone));
    assert_non_null(judge(over, gone, gone)); /* back from the dead */
    assert_null(judge(over, kept, kept));
    assert_non_null(judge(NULL, 0, kept));
}

static void every_byte_counts(void **state)
{
    static const uint32_t sizes[] = {SIDE_VALUE_MIN, 25, 50, 100, 1024, 1025, 4096, SIDE_VALUE_MAX};
    static uint8_t value[SIDE_VALUE_MAX];
    (void)state;
    for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
        side_before before;
        side_data_init(&data, 1000, sizes[s], 2);
        side_pass *fill = side_pass_begin(&data, SIDE_PASS_PUT, 1, false);
        finish(fill, 1000, 1000);
        side_before_read(&data, &before);
        vv_slice v = side_value(&data, fill, 3, value);
        assert_null(side_check(&data, &before, 3, &v, SIDE_WHOLE));
        for (uint32_t i = 0; i < sizes[s]; i++) {
            value[i] ^= 0x10;
            if (side_check(&data, &before, 3, &v, SIDE_WHOLE) == NULL)
                fail_msg("size %u: a flip of byte %u was not seen", sizes[s], i);
            value[i] ^= 0x10;
        }
        v.len--;
        assert_non_null(side_check(&data, &before, 3, &v, SIDE_WHOLE));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(perm_is_a_bijection),
        cmocka_unit_test(keys_sort_as_their_numbers),
        cmocka_unit_test(only_the_newest_answer_is_right),
        cmocka_unit_test(every_byte_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
