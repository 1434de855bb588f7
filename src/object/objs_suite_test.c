/*
 * objs_suite_test.c - the suite on the backends that need no network, and names that are refused.
 */
#include "vv_test.h"

#include "object/objs_suite.h"

#include <string.h>

#include "base/crc32c.h"
#include "base/rng.h"
#include "io/vio_sim.h"
#include "object/object_int.h"

static vv_error err;
static vv_object_outcome oc;

static const objs_suite_traits traits = {.create = true,
                                         .create_upload = true,
                                         .keeps_crc = true,
                                         .part_size = 70000,
                                         .threads = 4,
                                         .objects = 60};

static void run_public(const vv_object_options *opt, const objs_suite_traits *t)
{
    vv_object_store *s = NULL;
    assert_ok(vv_object_store_open(opt, &s, &err), err);
    objs_suite_run(s, t);
    vv_object_store_close(s);
}

static void in_memory(void **state)
{
    (void)state;
    vv_object_options opt = VV_OBJECT_OPTIONS_INIT;
    opt.backend = "memory";
    run_public(&opt, &traits);
    opt.prefix = "some/where";
    run_public(&opt, &traits);
}

static void in_memory_without_conditions(void **state)
{
    (void)state;
    vv_env env = {.clock = vv_clock_real(), .threads = vv_threads_real(), .seed = 3};
    vv_object_options opt = VV_OBJECT_OPTIONS_INIT;
    objs_suite_traits t = traits;
    objs_bucket *b = objs_bucket_create();
    vv_object_store *s = NULL;
    objs_bucket_set(b, &(objs_memory_options){.seed = 1, .no_conditional_put = true});
    t.create = false;
    assert_ok(objs_open_bucket(&env, b, &opt, &s, &err), err);
    objs_suite_run(s, &t);
    vv_object_store_close(s);
    assert_int_equal(objs_bucket_objects(b), 0);
    assert_int_equal(objs_bucket_uploads(b), 0);
    objs_bucket_destroy(b);
}

/* Whatever passes by itself is retried away: the caller sees none of it. */
static void in_memory_on_a_bad_day(void **state)
{
    (void)state;
    vv_env env = {.clock = vv_clock_real(), .threads = vv_threads_real(), .seed = 4};
    vv_object_options opt = VV_OBJECT_OPTIONS_INIT;
    objs_bucket *b = objs_bucket_create();
    vv_object_store *s = NULL;
    objs_memory_options faults = {.seed = vv_test_seed(0xbad)};
    faults.per_mille[OBJS_MEMORY_ERROR] = 40;
    faults.per_mille[OBJS_MEMORY_THROTTLE] = 40;
    faults.per_mille[OBJS_MEMORY_TIMEOUT] = 40;
    faults.per_mille[OBJS_MEMORY_TIMEOUT_AFTER] = 40;
    faults.per_mille[OBJS_MEMORY_ERROR_AFTER] = 40;
    objs_bucket_set(b, &faults);
    opt.initial_backoff_ms = 1;
    opt.max_backoff_ms = 1;
    opt.max_retries = 30;
    opt.breaker_failures = 0;
    assert_ok(objs_open_bucket(&env, b, &opt, &s, &err), err);
    objs_suite_run(s, &traits);
    vv_object_store_close(s);
    assert_int_equal(objs_bucket_objects(b), 0);
    objs_bucket_destroy(b);
}

static void in_a_directory(void **state)
{
    (void)state;
    char dir[] = "/tmp/objs-suite-XXXXXX";
    char command[64];
    assert_non_null(mkdtemp(dir));
    vv_object_options opt = VV_OBJECT_OPTIONS_INIT;
    opt.backend = "file";
    opt.bucket = dir;
    opt.max_retries = 50; /* threads that store at once wait for each other */
    run_public(&opt, &traits);
    objs_suite_traits t = traits;
    t.objects = 4;
    t.threads = 0;
    opt.prefix = "deep/prefix/";
    run_public(&opt, &t);
    (void)snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

static void on_the_simulated_disk(void **state)
{
    (void)state;
    vio_sim_disk *disk = vio_sim_disk_create();
    vio_sim_options sim = {.seed = 8};
    vv_env env = {.clock = vio_sim_clock(disk), .seed = 8};
    objs_suite_traits t = traits;
    vv_object_store *s = NULL;
    vv_object_options opt = VV_OBJECT_OPTIONS_INIT;
    opt.backend = "file";
    t.threads = 0;
    assert_ok(vio_sim_open(disk, &sim, &env.io, &err), err);
    assert_ok(objs_open(&env, &opt, &s, &err), err);
    objs_suite_run(s, &t);
    vv_object_store_close(s);
    vio_destroy(env.io);
    vio_sim_disk_destroy(disk);
}

/* ---- what is refused ------------------------------------------------------------------------ */

static void names_cannot_leave(void **state)
{
    (void)state;
    static char long_name[VV_OBJECT_NAME_MAX + 2];
    static char long_part[VV_OBJECT_PART_NAME_MAX + 2];
    memset(long_name, 'a', sizeof long_name - 1);
    for (size_t i = 50; i < sizeof long_name - 1; i += 50)
        long_name[i] = '/';
    long_name[sizeof long_name - 2] = 'a';
    memset(long_part, 'a', sizeof long_part - 1);
    const char *const bad[] = {"",     "/a",     "a/",   "a//b",    "../a",   "a/../b", "a/./b",
                               ".hid", "a/.hid", "a b",  "a%2e%2e", "a\\b",   "a\nb",   "a?b",
                               "a#",   "a\x80",  "a\"b", long_name, long_part};
    const char *const good[] = {"a", "a/b", "a..b", "2024-01-02/tenant=x/a_b.c+d,e@f:g~h!i-", "-"};
    vv_object_store *s = NULL;
    vv_object_options opt = VV_OBJECT_OPTIONS_INIT;
    vv_slice piece = vv_slice_str("x");
    opt.backend = "memory";
    assert_ok(vv_object_store_open(&opt, &s, &err), err);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (vv_object_name_check(bad[i], &err) != VV_INVALID)
            fail_msg("'%s' is taken for a name", bad[i]);
        assert_true(strlen(err.msg) > 10);
        assert_status(VV_INVALID, vv_object_put(s, bad[i], &piece, 1, 0, NULL, &oc, &err));
        assert_status(VV_INVALID, vv_object_remove(s, bad[i], &oc, &err));
    }
    assert_status(VV_INVALID, vv_object_name_check(NULL, &err));
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_ok(vv_object_name_check(good[i], &err), err);
    long_name[VV_OBJECT_NAME_MAX] = '\0';
    assert_ok(vv_object_name_check(long_name, &err), err);
    long_part[VV_OBJECT_PART_NAME_MAX] = '\0';
    assert_ok(vv_object_name_check(long_part, &err), err);
    vv_object_store_close(s);
}

static void options_are_checked(void **state)
{
    (void)state;
    const vv_object_options base = VV_OBJECT_OPTIONS_INIT;
    vv_object_options cases[14];
    static const vv_status want[ARRAY_LEN(cases)] = {
        VV_INVALID, VV_NOT_FOUND, VV_INVALID,   VV_INVALID,     VV_INVALID, VV_INVALID, VV_INVALID,
        VV_INVALID, VV_INVALID,   VV_NOT_FOUND, VV_UNSUPPORTED, VV_INVALID, VV_INVALID, VV_INVALID};
    static const char *const word[ARRAY_LEN(cases)] = {"storage.backend",
                                                       "'floppy'",
                                                       "storage.bucket",
                                                       "max_backoff_ms",
                                                       "concurrency",
                                                       "budget_ms",
                                                       "prefix",
                                                       "prefix",
                                                       "give the path",
                                                       "no-such",
                                                       "vv_object_backend",
                                                       "params",
                                                       "params",
                                                       "size"};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cases[i] = base;
        cases[i].backend = "memory";
    }
    cases[0].backend = NULL;
    cases[1].backend = "floppy";
    cases[2].backend = "file";
    cases[3].max_backoff_ms = 1;
    cases[4].concurrency = 0;
    cases[5].budget_ms = 0;
    cases[6].prefix = "../up";
    cases[7].prefix =
        "long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long";
    cases[8].backend = "libm.so";
    cases[9].backend = "/no-such/backend.so";
    cases[10].backend = "/lib/x86_64-linux-gnu/libm.so";
    cases[11].params = "error=2,oops=3";
    cases[12].params = "error=x";
    cases[13].size = 8;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_object_store *s = NULL;
        vv_status st = vv_object_store_open(&cases[i], &s, &err);
        if (i == 10 && st == VV_NOT_FOUND)
            continue; /* the library lies elsewhere here, or is a linker script */
        if (st != want[i] || strstr(err.msg, word[i]) == NULL)
            fail_msg("case %zu: %s: %s", i, vv_status_name(st), err.msg);
        assert_null(s);
    }
    assert_status(VV_INVALID, vv_object_store_open(NULL, NULL, &err));
}

/* A plug-in of another version, or that is not whole, is never called: its table says what it is.
 */
static void plugins_that_cannot_be_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        const char *says;
    } cases[] = {{"null", "gave no table"},
                 {"abi", "build it with this version's varve/plugin.h"},
                 {"old_abi", "build it with this version's varve/plugin.h"},
                 {"size", "build it with this version's varve/plugin.h"},
                 {"name", "'name'"},
                 {"open", "'open'"},
                 {"close", "'close'"},
                 {"limits", "'limits'"},
                 {"put", "'put'"},
                 {"get", "'get'"},
                 {"head", "'head'"},
                 {"list", "'list'"},
                 {"remove", "'remove'"},
                 {"upload_begin", "'upload_begin'"},
                 {"upload_part", "'upload_part'"},
                 {"upload_complete", "'upload_complete'"},
                 {"upload_abort", "'upload_abort'"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_object_store *s = NULL;
        vv_object_options opt = VV_OBJECT_OPTIONS_INIT;
        opt.backend = VV_BAD_PLUGIN_PATH;
        assert_int_equal(setenv("VV_BAD_PLUGIN", cases[i].what, 1), 0);
        vv_status st = vv_object_store_open(&opt, &s, &err);
        if (st != VV_UNSUPPORTED || strstr(err.msg, cases[i].says) == NULL ||
            strstr(err.msg, "objs_bad_plugin.so") == NULL)
            fail_msg("%s: %s: %s", cases[i].what, vv_status_name(st), err.msg);
        assert_null(s);
    }
}

static void prop_sums_join(void **state)
{
    (void)state;
    uint8_t bytes[3000];
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(0xc4c));
    vv_rng_bytes(&rng, bytes, sizeof bytes);
    for (int i = 0; i < 300; i++) {
        size_t n = (size_t)vv_rng_below(&rng, sizeof bytes + 1);
        size_t cut = (size_t)vv_rng_below(&rng, n + 1);
        uint32_t whole = vv_crc32c(0, bytes, n);
        uint32_t joined =
            objs_crc32c_join(vv_crc32c(0, bytes, cut), vv_crc32c(0, bytes + cut, n - cut), n - cut);
        assert_int_equal(whole, joined);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_memory),
        cmocka_unit_test(in_memory_without_conditions),
        cmocka_unit_test(in_memory_on_a_bad_day),
        cmocka_unit_test(in_a_directory),
        cmocka_unit_test(on_the_simulated_disk),
        cmocka_unit_test(names_cannot_leave),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(plugins_that_cannot_be_are_refused_by_name),
        cmocka_unit_test(prop_sums_join),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
