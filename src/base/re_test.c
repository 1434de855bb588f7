#include "vv_test.h"

#include <regex.h>
#include <string.h>

#include "base/alloc.h"
#include "base/re.h"
#include "base/rng.h"
#include "base/util.h"

static bool matches(const char *pattern, const char *text)
{
    vv_error err = {0};
    vv_regex *re = NULL;
    uint64_t steps = 1000000;
    bool is_match = false;
    assert_ok(vv_regex_create(vv_slice_str(pattern), &re, &err), err);
    assert_ok(vv_regex_match(re, vv_slice_str(text), &steps, &is_match, &err), err);
    vv_regex_destroy(re);
    return is_match;
}

static void all_of_the_text_has_to_match(void **state)
{
    (void)state;
    const struct {
        const char *pattern, *text;
        bool want;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"a", "ab", false},
        {"a.*", "ab", true},
        {"a|bc", "bc", true},
        {"a|bc", "ac", false},
        {"(a|b)c", "bc", true},
        {"a||b", "", true},
        {"a+b*", "aaab", true},
        {"a+b*", "b", false},
        {"a{2,3}", "a", false},
        {"a{2,3}", "aaa", true},
        {"a{2,3}", "aaaa", false},
        {"a{2,}", "aaaaa", true},
        {"a{,3}", "a{,3}", true},
        {"(ab){2}", "abab", true},
        {"[a-c]+", "abcabc", true},
        {"[^a-c]+", "xyz", true},
        {"[^a-c]+", "xaz", false},
        {"[]a]+", "]a", true},
        {"[a-]+", "a-", true},
        {"[\\d_]+", "12_3", true},
        {"[[:alpha:]]+", "abZ", true},
        {"[[:^alpha:]]+", "12", true},
        {"\\d+\\.\\w*", "12.ab_", true},
        {"\\D\\W\\S", "a-b", true},
        {"\\Qa.b*\\Ec", "a.b*c", true},
        {"\\x41\\x{e9}", "A\xc3\xa9", true},
        {".", "\xc3\xa9", true},
        {"..", "\xc3\xa9", false},
        {"[\xc3\xa0-\xc3\xaf]", "\xc3\xa9", true},
        {".", "\n", false},
        {"(?s).", "\n", true},
        {"(?i)AbC", "aBc", true},
        {"(?i:a)b", "AB", false},
        {"(?P<host>x)+", "xx", true},
        {"^a$", "a", true},
        {"a^b", "ab", false},
        {"(^|x)a", "xa", true},
        {"a*?b+?", "aab", true},
        {"\\/var\\/log", "/var/log", true},
        {".", "\xff", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (matches(cases[i].pattern, cases[i].text) != cases[i].want)
            fail_msg("'%s' on '%s' is not %d", cases[i].pattern, cases[i].text, cases[i].want);
}

static void what_is_not_understood_is_refused_by_name(void **state)
{
    (void)state;
    const char *const wrong[] = {"(",      ")",    "a)",    "[a",       "[b-a]",   "*a",
                                 "a|*",    "\\",   "\\b",   "\\1",      "\\pN",    "(?=a)",
                                 "a{2,1}", "\\x1", "(?P<a", "[[:no:]]", "a{1001}", "(?i"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        vv_error err = {0};
        vv_regex *re = NULL;
        if (vv_regex_create(vv_slice_str(wrong[i]), &re, &err) != VV_INVALID ||
            strstr(err.msg, "byte") == NULL)
            fail_msg("'%s' is not refused: %s", wrong[i], err.msg);
    }
}

static void a_bomb_takes_linear_time(void **state)
{
    (void)state;
    static char text[20001];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 2] = 'c';
    vv_error err = {0};
    vv_regex *re = NULL;
    bool is_match = true;
    uint64_t steps = 2000000;
    assert_ok(vv_regex_create(vv_slice_str("((a*)*)*|(a|a)*b"), &re, &err), err);
    assert_ok(vv_regex_match(re, vv_slice_str(text), &steps, &is_match, &err), err);
    assert_false(is_match);
    steps = 1000;
    assert_int_equal(vv_regex_match(re, vv_slice_str(text), &steps, &is_match, &err), VV_BUSY);
    vv_regex_destroy(re);
    const char *const huge[] = {
        "((a{1000}){1000}){1000}", "(((){1000}){1000}){1000}",
        ("(((((((((((((((((((((((((((((((a+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)"
         "+)+)+)+)+)+)+)+)+)+)+)+)+){999}")};
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(vv_regex_create(vv_slice_str(huge[i]), &re, &err), VV_INVALID);
    if (vv_regex_create(vv_slice_str(huge[2]), &re, &err) == VV_OK)
        vv_regex_destroy(re);
}

static void prefixes_are_what_every_match_begins_with(void **state)
{
    (void)state;
    const char *const cases[][2] = {{"abc", "abc"}, {"ab.*", "ab"},   {"a|b", ""},
                                    {"^ab?", "a"},  {"(ab)c", "abc"}, {"(?i)a", ""}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_error err = {0};
        vv_regex *re = NULL;
        uint8_t out[8];
        assert_ok(vv_regex_create(vv_slice_str(cases[i][0]), &re, &err), err);
        size_t len = vv_regex_prefix(re, out, sizeof out);
        vv_regex_destroy(re);
        if (!vv_slice_eq(vv_slice_of(out, len), vv_slice_str(cases[i][1])))
            fail_msg("'%s': '%.*s'", cases[i][0], (int)len, (const char *)out);
    }
}

/* Against the C library's own, on random expressions over a small alphabet. */
static void prop_agrees_with_posix(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(7));
    static const char *const parts[] = {"a", "b", "[ab]", "[^a]", ".", "(a|bb)", "(ab)", "c"};
    static const char *const repeats[] = {"", "", "*", "+", "?", "{1,2}", "{2}"};
    for (int i = 0; i < 2000; i++) {
        char pattern[128] = "";
        for (unsigned n = (unsigned)vv_rng_below(&rng, 5) + 1; n > 0; n--) {
            strcat(pattern, parts[vv_rng_below(&rng, ARRAY_LEN(parts))]);
            strcat(pattern, repeats[vv_rng_below(&rng, ARRAY_LEN(repeats))]);
            if (n > 1 && vv_rng_below(&rng, 6) == 0)
                strcat(pattern, "|");
        }
        char anchored[160];
        (void)snprintf(anchored, sizeof anchored, "^(%s)$", pattern);
        regex_t theirs;
        assert_int_equal(regcomp(&theirs, anchored, REG_EXTENDED | REG_NOSUB), 0);
        for (int k = 0; k < 20; k++) {
            char text[8] = "";
            size_t len = vv_rng_below(&rng, 7);
            for (size_t c = 0; c < len; c++)
                text[c] = (char)('a' + vv_rng_below(&rng, 3));
            text[len] = '\0';
            if (matches(pattern, text) != (regexec(&theirs, text, 0, NULL, 0) == 0))
                fail_msg("'%s' on '%s'", pattern, text);
        }
        regfree(&theirs);
    }
}

static void walk_every_allocation_may_fail(void **state)
{
    (void)state;
    for (int64_t n = 0;; n++) {
        vv_regex *re = NULL;
        vv_alloc_fail_after(n, 0);
        vv_status st = vv_regex_create(vv_slice_str("(a|b)*[c-e]{2,5}(?i)x"), &re, NULL);
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
        cmocka_unit_test(all_of_the_text_has_to_match),
        cmocka_unit_test(what_is_not_understood_is_refused_by_name),
        cmocka_unit_test(a_bomb_takes_linear_time),
        cmocka_unit_test(prefixes_are_what_every_match_begins_with),
        cmocka_unit_test(prop_agrees_with_posix),
        cmocka_unit_test(walk_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
