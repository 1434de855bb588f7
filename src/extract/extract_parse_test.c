/*
 * extract_parse_test.c - the text of rules: what is taken, and what is refused by which words.
 */
#include "extract_test_util.h"

static void rules_are_one_a_line(void **state)
{
    (void)state;
    bed b = bed_of("# devices\n"
                   "\n"
                   "device = json $.meta.device string required # who\r\n"
                   "  t\t=  json   $.t   float\n"
                   "at = json $.ts time -> event\n"
                   "kind = kv kind\n"
                   "level = regex \"^(\\w+):\" 1\n"
                   "say = const \"a \\\"b\\\" # c\"\n"
                   "site = const ham",
                   S(""));
    assert_int_equal(extract_rule_count(b.program), 7);
    assert_true(extract_has_required(b.program));
    extract_counts c;
    extract_counts_read(b.program, 0, &c);
    assert_true(vv_slice_eq(c.name, S("device")) && c.is_required);
    assert_true(extract_program_size(b.program) > 0);
    bed_end(&b);
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    const struct {
        const char *rules, *words;
    } cases[] = {
        {"x", "'=' is missing"},
        {"x json $.a", "'=' is expected"},
        {"1x = json $.a", "a letter, then"},
        {"_x = json $.a", "a letter, then"},
        {"x = jason $.a", "'json' is"},
        {"x = something $.a", "json, protobuf, kv, regex, const and field are"},
        {"x = json", "what it looks for is missing"},
        {"x = json a.b", "begins with $"},
        {"x = json $a", "'.' or '[' is expected"},
        {"x = json $..a", "a name is empty"},
        {"x = json $.a[", "an index"},
        {"x = json $[1x]", "an index"},
        {"x = json $[99999999999]", "an index"},
        {"x = json $['a'", "bracket is not closed"},
        {"x = json $.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a", "more than 16 steps"},
        {"x = json $.a flaot", "'float' is"},
        {"x = json $.a wrong", "string, bytes, int"},
        {"x = json $.a -> key", "only '-> event'"},
        {"x = json $.a ->", "what '->' points to is missing"},
        {"x = json $.a string -> event", "an event time is of type time"},
        {"entity = json $.a int", "an entity is of type string"},
        {"entity = const \"a:b:c\"", "no entity"},
        {"x = regex \"(\" 1", "not closed"},
        {"x = regex \"(a)\" 2", "fewer groups"},
        {"x = regex \"(a)\" 1001", "from 0 to 1000"},
        {"x = regex \"a{1000}{1000}\"", "regular expression"},
        {"x = const abc int", "no int"},
        {"x = field size", "value_size, key_size, hash"},
        {"x = field hsh", "'hash' is"},
        {"x = protobuf acme.Order", "path of a field is missing"},
        {"x = protobuf acme.Order id", "need descriptors"},
        {"x = kv \"\"", "a key is empty"},
        {"x = const \"a", "a quote is not closed"},
        {"x = json $.a\nx = json $.b", "line 2: there are two rules 'x'"},
        {"ok = json $.a\n\nbad = json $.a a b c d e f g h i j", "line 3: a rule has at most"},
        {"\xff = json $.a", "UTF-8"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_error err = {0};
        extract_program *p = NULL;
        if (extract_compile(S(cases[i].rules), S(""), &p, &err) != VV_INVALID ||
            strstr(err.msg, cases[i].words) == NULL)
            fail_msg("'%s': '%s' instead of '%s'", cases[i].rules, err.msg, cases[i].words);
        assert_null(p);
    }
}

static void bounds_are_told_by_name(void **state)
{
    (void)state;
    vv_error err = {0};
    extract_program *p = NULL;
    static char text[VV_EXTRACT_TEXT_MAX + 2];
    size_t at = 0;
    for (unsigned i = 0; i <= VV_EXTRACT_RULES_MAX; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "r%u = json $.f%u[%u]\n", i, i, i);
    assert_status(VV_INVALID, extract_compile(S(text), S(""), &p, &err));
    assert_non_null(strstr(err.msg, "at most 64 rules"));
    memset(text, '#', sizeof text - 1);
    assert_status(VV_INVALID, extract_compile(S(text), S(""), &p, &err));
    assert_non_null(strstr(err.msg, "16384 are allowed"));
    static uint8_t schema[VV_EXTRACT_SCHEMA_MAX + 1];
    assert_status(VV_INVALID,
                  extract_compile(S("x = kv x"), vv_slice_of(schema, sizeof schema), &p, &err));
    assert_non_null(strstr(err.msg, "descriptors of"));
    assert_null(p);
}

static void walk_every_allocation_may_fail(void **state)
{
    (void)state;
    for (int64_t n = 0;; n++) {
        extract_program *p = NULL;
        extract_runner *r = NULL;
        vv_alloc_fail_after(n, 0);
        vv_status st = extract_compile(
            S("a = json $.x[3].y string\nb = regex \"(a|b)+\" 1\nc = const \"x\"\nd = kv k"), S(""),
            &p, NULL);
        if (st == VV_OK)
            st = extract_runner_create(p, &r, NULL);
        vv_alloc_fail_after(-1, 0);
        extract_runner_destroy(r);
        extract_program_destroy(p);
        if (st == VV_OK)
            return;
        assert_int_equal(st, VV_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_are_one_a_line),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(bounds_are_told_by_name),
        cmocka_unit_test(walk_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
