/*
 * re_find_test.c - the first match in a text, and the part of it that a group is.
 */
#include "vv_test.h"

#include <string.h>

#include "base/alloc.h"
#include "base/re.h"
#include "base/rng.h"
#include "base/util.h"

static bool find_in(const char *pattern, uint32_t group, const char *text, vv_slice *out)
{
    vv_error err = {0};
    vv_regex *re = NULL;
    uint64_t steps = 1000000;
    bool found = false;
    assert_ok(vv_regex_create_group(vv_slice_str(pattern), group, &re, &err), err);
    assert_ok(vv_regex_find(re, vv_slice_str(text), &steps, &found, out, &err), err);
    vv_regex_destroy(re);
    return found;
}

static void a_group_is_what_re2_says(void **state)
{
    (void)state;
    const struct {
        const char *pattern;
        uint32_t group;
        const char *text, *want; /* NULL: nothing is found */
    } cases[] = {
        {"^(\\w+):", 1, "WARN: disk", "WARN"},
        {"^(\\w+):", 1, " WARN: disk", NULL},
        {"b+", 0, "abbbc bb", "bbb"},
        {"b+?", 0, "abbbc", "b"},
        {"(?U)b+", 0, "abbbc", "b"},
        {"(?U)b+?", 0, "abbbc", "bbb"},
        {"a|ab", 0, "ab", "a"},
        {"ab|a", 0, "ab", "ab"},
        {"(a|ab)(c|bcd)", 1, "abcd", "a"},
        {"(a|ab)(c|bcd)", 2, "abcd", "bcd"},
        {"(a*)(a*)", 2, "aaa", ""},
        {"(a)|(b)", 2, "a", NULL},
        {"(a)|(b)", 2, "b", "b"},
        {"(?:x)(y)", 1, "xy", "y"},
        {"(?P<k>\\d+)-(?P<v>\\d+)", 2, "id 17-42.", "42"},
        {"(ab){2}", 1, "xababab", "ab"},
        {"x{1,3}?", 0, "xxx", "x"},
        {"x{1,2}", 0, "xxx", "xx"},
        {"$", 0, "abc", ""},
        {"", 0, "abc", ""},
        {"c$", 0, "cabc", "c"},
        {"\xc3\xa9(.)", 1, "caf\xc3\xa9\xc3\xa8!", "\xc3\xa8"},
        {"nothing", 0, "here", NULL},
        {"a", 0, "", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_slice got;
        bool found = find_in(cases[i].pattern, cases[i].group, cases[i].text, &got);
        if (found != (cases[i].want != NULL) ||
            (found && !vv_slice_eq(got, vv_slice_str(cases[i].want))))
            fail_msg("'%s' in '%s': %d '%.*s'", cases[i].pattern, cases[i].text, found,
                     (int)got.len, (const char *)got.data);
    }
}

static void a_group_that_is_not_there_is_refused(void **state)
{
    (void)state;
    vv_error err = {0};
    vv_regex *re = NULL;
    assert_status(VV_INVALID, vv_regex_create_group(vv_slice_str("(a)(?:b)"), 2, &re, &err));
    assert_non_null(strstr(err.msg, "fewer groups"));
    assert_status(VV_INVALID, vv_regex_create_group(vv_slice_str("a"), UINT32_MAX, &re, &err));
    assert_null(re);
}

static void a_bomb_ends_with_its_steps(void **state)
{
    (void)state;
    static char text[50001];
    memset(text, 'a', sizeof text - 1);
    vv_error err = {0};
    vv_regex *re = NULL;
    uint64_t steps = 100000;
    bool found;
    vv_slice out;
    assert_ok(vv_regex_create_group(vv_slice_str("((a*)*)*b"), 1, &re, &err), err);
    assert_status(VV_BUSY, vv_regex_find(re, vv_slice_str(text), &steps, &found, &out, &err));
    steps = 10000000; /* linear: some 20 a byte */
    assert_ok(vv_regex_find(re, vv_slice_str(text), &steps, &found, &out, &err), err);
    assert_false(found);
    vv_regex_destroy(re);
}

static bool matches_whole(vv_regex *re, vv_slice text)
{
    uint64_t steps = 1000000;
    bool is_match = false;
    assert_int_equal(vv_regex_match(re, text, &steps, &is_match, NULL), VV_OK);
    return is_match;
}

/* What is found is a match; none begins before it; and where none is found there is none. */
static void prop_finds_the_leftmost_match(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(11));
    static const char *const parts[] = {"a", "b", "[ab]", "[^a]", ".", "(a|bb)", "(ab)", "c"};
    static const char *const repeats[] = {"", "", "*", "+?", "?", "{1,2}", "*?"};
    for (int i = 0; i < 500; i++) {
        char pattern[128] = "";
        for (unsigned n = (unsigned)vv_rng_below(&rng, 4) + 1; n > 0; n--) {
            strcat(pattern, parts[vv_rng_below(&rng, ARRAY_LEN(parts))]);
            strcat(pattern, repeats[vv_rng_below(&rng, ARRAY_LEN(repeats))]);
            if (n > 1 && vv_rng_below(&rng, 6) == 0)
                strcat(pattern, "|");
        }
        vv_regex *whole = NULL;
        assert_int_equal(vv_regex_create(vv_slice_str(pattern), &whole, NULL), VV_OK);
        for (int k = 0; k < 20; k++) {
            char text[8] = "";
            size_t len = vv_rng_below(&rng, 7);
            for (size_t c = 0; c < len; c++)
                text[c] = (char)('a' + vv_rng_below(&rng, 3));
            vv_slice got;
            bool found = find_in(pattern, 0, text, &got);
            size_t begin = found ? (size_t)((const char *)got.data - text) : len + 1;
            if (found && got.data == NULL)
                begin = 0;
            for (size_t b = 0; b <= len && b < begin; b++)
                for (size_t e = b; e <= len; e++)
                    if (matches_whole(whole, vv_slice_of(text + b, e - b)))
                        fail_msg("'%s' in '%s': a match at %zu was passed by", pattern, text, b);
            if (found && !matches_whole(whole, got))
                fail_msg("'%s' in '%s': '%.*s' is no match", pattern, text, (int)got.len,
                         (const char *)got.data);
        }
        vv_regex_destroy(whole);
    }
}

static void walk_every_allocation_may_fail(void **state)
{
    (void)state;
    for (int64_t n = 0;; n++) {
        vv_regex *re = NULL;
        vv_alloc_fail_after(n, 0);
        vv_status st = vv_regex_create_group(vv_slice_str("(a|b)*[c-e]{2,5}"), 1, &re, NULL);
        vv_alloc_fail_after(-1, 0);
        vv_regex_destroy(re);
        if (st == VV_OK)
            return;
        assert_int_equal(st, VV_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group_is_what_re2_says),
        cmocka_unit_test(a_group_that_is_not_there_is_refused),
        cmocka_unit_test(a_bomb_ends_with_its_steps),
        cmocka_unit_test(prop_finds_the_leftmost_match),
        cmocka_unit_test(walk_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
