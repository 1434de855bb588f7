/*
 * log_test.c - levels of modules, and the limit of lines of one message: nothing is left out that
 * is not counted.
 */
#include "vv_test.h"

#include <string.h>

#include "base/log_limit.h"
#include "base/rng.h"

static void levels_of_modules_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *want; /* NULL: good */
        size_t count;
    } cases[] = {
        {"", NULL, 0},
        {" , ", NULL, 0},
        {"wal=debug", NULL, 1},
        {"wal=debug, object=warn,db=error", NULL, 3},
        {"wal", "'wal' is not module=level", 0},
        {"=debug", "is not module=level", 0},
        {"Wal=debug", "is not module=level", 0},
        {"wal=loud", "none of: error, warn, info, debug", 0},
        {"wal=", "none of: error", 0},
        {"wal=debug,wal=info", "'wal' stands a second time", 0},
        {"a_name_that_is_far_too_long_for_one=info", "is not module=level", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_log_rules rules;
        vv_error err = {0};
        vv_status st = vv_log_rules_parse(cases[i].text, &rules, &err);
        if (cases[i].want == NULL ? st != VV_OK || rules.count != cases[i].count
                                  : st != VV_INVALID || strstr(err.msg, cases[i].want) == NULL)
            fail_msg("'%s': %s", cases[i].text, err.msg);
    }
}

typedef struct seen {
    unsigned lines;
    char module[32];
} seen;

static void note(void *ctx, const vv_log_record *r)
{
    seen *s = ctx;
    s->lines++;
    (void)snprintf(s->module, sizeof s->module, "%s", r->module);
    assert_true(r->count == 0 || strcmp(r->kvs[0].key, "n") == 0);
}

static void a_module_has_a_level_of_its_own(void **state)
{
    (void)state;
    vv_log_rules rules;
    vv_error err;
    vv_log log;
    seen s = {0};
    assert_ok(vv_log_rules_parse("wal=debug,object=error", &rules, &err), err);
    vv_log_init_records(&log, VV_LOG_INFO, &rules, NULL, note, &s);
    vv_log_to(&log, VV_LOG_DEBUG, "wal", "written", VV_KV_U("n", 1));
    assert_int_equal(s.lines, 1);
    vv_log_to(&log, VV_LOG_DEBUG, "db", "written", VV_KV_U("n", 1));
    vv_log_to(&log, VV_LOG_WARN, "object", "slow", VV_KV_U("n", 1));
    assert_int_equal(s.lines, 1);
    vv_log_to(&log, VV_LOG_INFO, "db", "written", VV_KV_U("n", 1));
    vv_log_to(&log, VV_LOG_ERROR, "object", "gone", VV_KV_U("n", 1));
    assert_int_equal(s.lines, 3);
    assert_string_equal(s.module, "object");
    assert_false(vv_log_wants(NULL, VV_LOG_ERROR, "wal"));
    assert_true(vv_log_wants(&log, VV_LOG_DEBUG, "wal"));
    assert_false(vv_log_wants(&log, VV_LOG_DEBUG, "waltz"));
    vv_log_fini(&log);
}

static void a_message_that_repeats_is_told_once_more(void **state)
{
    (void)state;
    static vv_log_limit limit;
    vv_log_left_out out;
    const vv_log_record r = {.level = VV_LOG_WARN, .module = "db", .msg = "again"};
    const vv_log_record other = {.level = VV_LOG_WARN, .module = "db", .msg = "other"};
    vv_log_limit_init(&limit, 3, 1000);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(vv_log_limit_pass(&limit, &r, 100, &out), i < 3);
    assert_true(vv_log_limit_pass(&limit, &other, 100, &out));
    size_t at = 0;
    assert_false(vv_log_limit_sweep(&limit, 1099, false, &at, &out)); /* not over yet */
    at = 0;
    assert_true(vv_log_limit_sweep(&limit, 1100, false, &at, &out));
    assert_int_equal(out.count, 7);
    assert_string_equal(out.msg, "again");
    assert_string_equal(out.module, "db");
    assert_false(vv_log_limit_sweep(&limit, 1100, false, &at, &out));
    assert_int_equal(limit.left_out, 7);
    assert_int_equal(limit.untold, 0);
    /* The next line after the while tells too, when nobody swept. */
    for (unsigned i = 0; i < 5; i++)
        (void)vv_log_limit_pass(&limit, &r, 1200, &out);
    assert_true(vv_log_limit_pass(&limit, &r, 2200, &out));
    assert_int_equal(out.count, 2);
}

static void without_a_limit_everything_passes(void **state)
{
    (void)state;
    static vv_log_limit limit;
    vv_log_left_out out;
    const vv_log_record r = {.level = VV_LOG_WARN, .module = "db", .msg = "again"};
    vv_log_limit_init(&limit, 0, 1000);
    for (unsigned i = 0; i < 1000; i++)
        assert_true(vv_log_limit_pass(&limit, &r, 0, &out) && out.count == 0);
}

/* More messages than places, at random times: what passed and what was told to be left out is all
 * there was. */
static void prop_every_line_passes_or_is_counted(void **state)
{
    (void)state;
    static vv_log_limit limit;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(5));
    vv_log_limit_init(&limit, 2, 50);
    uint64_t passed = 0, told = 0, lines = 200000;
    int64_t now = 0;
    vv_log_left_out out;
    for (uint64_t i = 0; i < lines; i++) {
        char msg[32];
        (void)snprintf(msg, sizeof msg, "message %u", (unsigned)vv_rng_below(&rng, 1000));
        const vv_log_record r = {.level = VV_LOG_INFO, .module = "m", .msg = msg};
        now += (int64_t)vv_rng_below(&rng, 2);
        passed += vv_log_limit_pass(&limit, &r, now, &out);
        told += out.count;
        if (vv_rng_one_in(&rng, 1000))
            for (size_t at = 0; vv_log_limit_sweep(&limit, now, false, &at, &out);)
                told += out.count;
    }
    for (size_t at = 0; vv_log_limit_sweep(&limit, now, true, &at, &out);)
        told += out.count;
    assert_int_equal(passed + told, lines);
    assert_true(told > 0 && passed > 0);
    assert_int_equal(limit.untold, 0);
    assert_int_equal(limit.left_out, told);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_of_modules_are_read),
        cmocka_unit_test(a_module_has_a_level_of_its_own),
        cmocka_unit_test(a_message_that_repeats_is_told_once_more),
        cmocka_unit_test(without_a_limit_everything_passes),
        cmocka_unit_test(prop_every_line_passes_or_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
