/*
 * config_tier_test.c - the keys of the object store, of its retries, of processing, of metrics and
 * of the event log: every wrong value is refused with its key, and what is right gets where it
 * shall.
 */
#include "vv_test.h"

#include <string.h>

#include "server/config.h"
#include "server/config_int.h"
#include "server/evlog.h"

static vv_error err;

/* Set what is separated by spaces, then check; a refusal of either. */
static vv_status try(const char *assignments)
{
    static config c;
    char text[1024];
    config_init(&c);
    (void)snprintf(text, sizeof text, "%s", assignments);
    vv_status st = VV_OK;
    for (char *save, *one = strtok_r(text, " ", &save); one != NULL && st == VV_OK;
         one = strtok_r(NULL, " ", &save))
        st = config_set(&c, one, &err);
    return st == VV_OK ? config_check(&c, &err) : st;
}

static void wrong_values_are_refused_with_their_key(void **state)
{
    (void)state;
    static const struct {
        const char *set;
        const char *key;  /* the refusal begins with it, behind "--set: " */
        const char *also; /* and has this */
    } cases[] = {
        {"storage.backend=tape", "storage.backend", "none of: file, memory, s3, gcs"},
        {"storage.backend=mine.so", "storage.backend", "whole path"},
        {"storage.backend=s3", "storage.bucket", "needs it"},
        {"storage.backend=gcs", "storage.bucket", "needs it"},
        {"storage.backend=file", "storage.bucket", "a directory"},
        {"storage.backend=file storage.data_directory=d storage.bucket=d", "storage.bucket",
         "lies in storage.data_directory"},
        {"storage.backend=file storage.data_directory=./d/ storage.bucket=d//b/", "storage.bucket",
         "lies in storage.data_directory"},
        {"storage.backend=file storage.data_directory=/no-d storage.bucket=/no-d/x/y",
         "storage.bucket", "lies in storage.data_directory"},
        {"storage.bucket=b", "storage.bucket", "storage.backend is not"},
        {"storage.endpoint=http://x", "storage.endpoint", "storage.backend is not"},
        {"storage.access_key=k storage.secret_key=s", "storage.access_key",
         "storage.backend is not"},
        {"storage.backend=s3 storage.bucket=b storage.endpoint=x:9000", "storage.endpoint",
         "https://host[:port]"},
        {"storage.backend=s3 storage.bucket=b storage.endpoint=ftp://x", "storage.endpoint",
         "https://host[:port]"},
        {"storage.backend=s3 storage.bucket=b storage.endpoint=http://", "storage.endpoint",
         "https://host[:port]"},
        {"storage.backend=s3 storage.bucket=b storage.prefix=a/../b", "storage.prefix",
         "begins with '.'"},
        {"storage.backend=s3 storage.bucket=b storage.prefix=/a", "storage.prefix",
         "a part is empty"},
        {"storage.backend=s3 storage.bucket=b storage.prefix=a//b", "storage.prefix",
         "a part is empty"},
        {"storage.backend=s3 storage.bucket=b storage.prefix=a%b", "storage.prefix", "0x25"},
        {"storage.backend=s3 storage.bucket=b storage.prefix="
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "storage.prefix", "over 80 bytes"},
        {"storage.backend=s3 storage.bucket=b storage.addressing=both", "storage.addressing",
         "none of"},
        {"storage.backend=s3 storage.bucket=b storage.access_key=k", "storage.access_key",
         "need each other"},
        {"storage.backend=s3 storage.bucket=b storage.secret_key=hush", "storage.access_key",
         "need each other"},
        {"storage.backend=s3 storage.bucket=b storage.session_token=hush", "storage.session_token",
         "goes with"},
        {"storage.backend=s3 storage.bucket=b storage.credentials_file=/nowhere/at/all",
         "storage.credentials_file", "No such file"},
        {"storage.backend=s3 storage.bucket=b storage.ca_file=/nowhere/at/all", "storage.ca_file",
         "No such file"},
        {"storage.backend=s3 storage.bucket=b storage.sse=DES", "storage.sse", "AES256, aws:kms"},
        {"storage.backend=s3 storage.bucket=b storage.sse=AES256 storage.sse_key_id=k",
         "storage.sse_key_id", "aws:kms"},
        {"storage.conditional_put=maybe", "storage.conditional_put", "true or false"},
        {"storage.concurrency=0", "storage.concurrency", "outside 1..1024"},
        {"storage.request_timeout_ms=0", "storage.request_timeout_ms", "milliseconds"},
        {"storage.tier_cache_size=5", "storage.tier_cache_size", "outside 1MB..1024GB"},
        {"processing.batch_size=0", "processing.batch_size", "outside 1..1000000000"},
        {"processing.batch_size=-1", "processing.batch_size", "not a whole number"},
        {"processing.batch_size=many", "processing.batch_size", "not a whole number"},
        {"processing.batch_timeout_ms=0", "processing.batch_timeout_ms", "outside 1..86400000"},
        {"processing.batch_timeout_ms=soon", "processing.batch_timeout_ms",
         "a number of milliseconds"},
        {"processing.batch_bytes=1", "processing.batch_bytes", "outside 64KB..64GB"},
        {"processing.codec=rar", "processing.codec", "none of"},
        {"processing.also=xml", "processing.also", "none of"},
        {"storage.backend=memory processing.key={first}", "processing.key", "intent"},
        {"storage.backend=memory processing.key=../{first}{intent}", "processing.key", ""},
        {"processing.uploads=0", "processing.uploads", "outside 1..64"},
        {"processing.failures_max=0", "processing.failures_max", "outside 1.."},
        {"processing.local_age=old", "processing.local_age", "a duration"},
        {"retry.max_retries=0", "retry.max_retries", "outside 1..1000"},
        {"retry.initial_backoff_ms=0", "retry.initial_backoff_ms", "outside 1..3600000"},
        {"retry.initial_backoff_ms=2000", "retry.max_backoff_ms",
         "1000 ms is less than retry.initial_backoff_ms, 2000 ms"},
        {"retry.max_backoff_ms=99", "retry.max_backoff_ms", "99 ms is less than"},
        {"metrics.enabled=on", "metrics.enabled", "true or false"},
        {"metrics.push_interval_ms=1", "metrics.push_interval_ms", "outside 100.."},
        {"metrics.push_endpoint=localhost:4318", "metrics.push_endpoint", "v1/metrics"},
        {"log.levels=wal", "log.levels", "module=level"},
        {"log.levels=wal=loud", "log.levels", "error, warn, info, debug"},
        {"log.sinks=", "log.sinks", "stderr, file, syslog, journal, otlp"},
        {"log.sinks=stderr,paper", "log.sinks", "'paper' is none of"},
        {"log.sinks=file", "log.file", "no path"},
        {"log.sinks=file log.file=/tmp/", "log.file", "directory"},
        {"log.sinks=syslog log.syslog_socket=log", "log.syslog_socket", "absolute"},
        {"log.sinks=journal log.journal_socket=", "log.journal_socket", "absolute"},
        {"log.sinks=otlp log.otlp_endpoint=localhost", "log.otlp_endpoint", "v1/logs"},
        {"log.otlp_headers=hush", "log.otlp_headers", "Name=value"},
        {"log.file_size=10", "log.file_size", "outside 4KB.."},
        {"log.file_count=0", "log.file_count", "outside 1..1000"},
        {"log.queue_size=1", "log.queue_size", "outside 64KB.."},
        {"log.syslog_facility=kern", "log.syslog_facility", "none of"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        err = (vv_error){0};
        vv_status st = try(cases[i].set);
        const char *at = err.msg;
        if (strncmp(at, "--set: ", 7) == 0)
            at += 7;
        size_t len = strlen(cases[i].key);
        if (st != VV_INVALID || strncmp(at, cases[i].key, len) != 0 || at[len] != ':' ||
            strstr(at, cases[i].also) == NULL || strstr(at, "hush") != NULL)
            fail_msg("%s: '%s'", cases[i].set, err.msg);
    }
}

static void right_values_pass(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "storage.backend=memory",
        "storage.backend=file storage.bucket=/tmp/objects storage.prefix=",
        "storage.backend=/lib/mine.so",
        "storage.backend=./mine.so",
        "storage.backend=s3 storage.bucket=b storage.endpoint=http://127.0.0.1:9000 "
        "storage.prefix=plant/7/ storage.access_key=k storage.secret_key=s storage.session_token=t "
        "storage.sse=aws:kms storage.sse_key_id=k storage.addressing=path",
        "storage.backend=gcs storage.bucket=b",
        "retry.initial_backoff_ms=1000",
        "retry.initial_backoff_ms=1s retry.max_backoff_ms=2s",
        "processing.batch_size=100 processing.batch_timeout_ms=5s processing.local_age=0s",
        "log.sinks=stderr,file,syslog,journal,otlp log.file=/tmp/varved.log "
        "log.levels=wal=debug,object=warn",
        "log.sinks=otlp log.otlp_endpoint=https://logs.example.org/v1/logs "
        "log.otlp_headers=Authorization=Bearer,X-Tenant=7",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (try(cases[i]) != VV_OK)
            fail_msg("%s: %s", cases[i], err.msg);
}

/* In a file, with line and column. */
static void a_file_names_line_key_and_unit(void **state)
{
    (void)state;
    static config c;
    config_init(&c);
    assert_status(VV_INVALID, config_load_yaml(&c, "f.yaml",
                                               vv_slice_str("storage:\n  backend: s3\nretry:\n"
                                                            "  max_retries: 3\n"
                                                            "  max_backoff_ms: 10m10s\n"),
                                               &err));
    assert_non_null(strstr(err.msg, "f.yaml:5:19: retry.max_backoff_ms: '10m10s' is not a number "
                                    "of milliseconds"));
    assert_status(
        VV_INVALID,
        config_load_yaml(&c, "f.yaml", vv_slice_str("retry:\n  max_backoff_ms: 2h\n"), &err));
    assert_non_null(strstr(err.msg, "2h is outside 1..3600000 (milliseconds"));
    assert_status(
        VV_INVALID,
        config_load_yaml(&c, "f.yaml", vv_slice_str("server:\n  idle_timeout: 1ms\n"), &err));
    assert_non_null(strstr(err.msg, "1ms is outside 1s..24h"));
}

/* A refusal goes to logs: a password in an address is not repeated there. */
static void a_password_in_an_address_is_in_no_refusal(void **state)
{
    (void)state;
    static const char *const sets[] = {
        "storage.backend=s3 storage.bucket=b storage.endpoint=http://me:hidden@host:9000",
        "storage.backend=s3 storage.bucket=b storage.endpoint=me:hidden@host:9000",
        "metrics.push_endpoint=https://me:hidden@host/v1/metrics",
        "log.sinks=otlp log.otlp_endpoint=https://me:hidden@host/v1/logs",
    };
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        if (try(sets[i]) != VV_INVALID)
            fail_msg("case %zu was taken", i);
        if (strstr(err.msg, "hidden") != NULL || strchr(err.msg, '@') == NULL)
            fail_msg("case %zu: %s", i, err.msg);
    }
}

static void the_defaults_are_those_that_were_named(void **state)
{
    (void)state;
    static config c;
    vv_object_options o;
    vv_tier_options t;
    config_init(&c);
    config_object_options(&c, &o);
    config_tier_options(&c, &t);
    assert_false(config_has_tier(&c));
    assert_string_equal(o.prefix, "messages");
    assert_string_equal(o.region, "us-west-2");
    assert_int_equal(o.max_retries, 3);
    assert_int_equal(o.initial_backoff_ms, 100);
    assert_int_equal(o.max_backoff_ms, 1000);
    assert_int_equal(t.rule.batch_age_ns, 5000 * VV_NS_PER_MS);
    assert_true(c.metrics_enabled);
    assert_int_equal(c.metrics_push_interval_ms, 10000);
}

/* What was set is what the object store and the tier are told, all of it. */
static void every_key_gets_there(void **state)
{
    (void)state;
    static config c;
    vv_object_options o;
    vv_tier_options t;
    static const char *const sets[] = {"storage.backend=s3",
                                       "storage.endpoint=http://e",
                                       "storage.bucket=b",
                                       "storage.prefix=p",
                                       "storage.region=r",
                                       "storage.addressing=virtual",
                                       "storage.access_key=ak",
                                       "storage.secret_key=sk",
                                       "storage.session_token=st",
                                       "storage.credentials_file=cf",
                                       "storage.profile=pr",
                                       "storage.ca_file=ca",
                                       "storage.tls_insecure=true",
                                       "storage.sse=AES256",
                                       "storage.sse_key_id=id",
                                       "storage.conditional_put=false",
                                       "storage.backend_params=seed=1",
                                       "storage.request_timeout_ms=11",
                                       "storage.connect_timeout_ms=12",
                                       "storage.concurrency=13",
                                       "storage.breaker_failures=14",
                                       "storage.breaker_open_ms=15",
                                       "storage.hedge_after_ms=16",
                                       "storage.tier_cache_size=17MB",
                                       "storage.tier_run_age=18s",
                                       "storage.tier_run_local_size=19MB",
                                       "processing.batch_size=20",
                                       "processing.batch_timeout_ms=21",
                                       "processing.batch_bytes=22MB",
                                       "processing.codec=lz4",
                                       "processing.also=parquet",
                                       "processing.key={first}{intent}",
                                       "processing.local_age=23s",
                                       "processing.local_size=24MB",
                                       "processing.waiting_size=32MB",
                                       "processing.uploads=25",
                                       "processing.failures_max=26",
                                       "processing.grace=27s",
                                       "processing.backup_keep=672h",
                                       "retry.max_retries=28",
                                       "retry.initial_backoff_ms=29",
                                       "retry.max_backoff_ms=30",
                                       "retry.budget_ms=31"};
    config_init(&c);
    for (size_t i = 0; i < ARRAY_LEN(sets); i++)
        assert_ok(config_set(&c, sets[i], &err), err);
    config_object_options(&c, &o);
    config_tier_options(&c, &t);
    const char *texts[] = {o.backend,       o.endpoint,         o.bucket,     o.prefix,
                           o.region,        o.addressing,       o.access_key, o.secret_key,
                           o.session_token, o.credentials_file, o.profile,    o.ca_file,
                           o.sse,           o.sse_key_id,       o.params,     t.rule.key};
    const char *want[] = {
        "s3", "http://e", "b",  "p",  "r",      "virtual", "ak",     "sk",
        "st", "cf",       "pr", "ca", "AES256", "id",      "seed=1", "{first}{intent}"};
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        assert_string_equal(texts[i], want[i]);
    assert_true(o.tls_insecure && !o.conditional_put);
    const uint64_t numbers[] = {o.request_timeout_ms,
                                o.connect_timeout_ms,
                                o.concurrency,
                                o.breaker_failures,
                                o.breaker_open_ms,
                                o.hedge_after_ms,
                                t.cache_bytes / VV_MIB,
                                (uint64_t)(t.run_age_ns / VV_NS_PER_S),
                                t.run_local_bytes / VV_MIB,
                                t.rule.batch_messages,
                                (uint64_t)(t.rule.batch_age_ns / VV_NS_PER_MS),
                                t.rule.batch_bytes / VV_MIB};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        assert_int_equal(numbers[i], 11 + i);
    assert_int_equal(t.rule.codec, VV_TIER_LZ4);
    assert_int_equal(t.rule.also, VV_TIER_PARQUET);
    assert_int_equal(t.rule.local_ns, 23 * VV_NS_PER_S);
    assert_int_equal(t.rule.local_bytes, 24 * VV_MIB);
    assert_int_equal(t.waiting_max, 32 * VV_MIB);
    assert_int_equal(t.uploads, 25);
    assert_int_equal(t.failures_max, 26);
    assert_int_equal(t.grace_ns, 27 * VV_NS_PER_S);
    assert_int_equal(t.backup_keep_ns, 28 * 86400 * VV_NS_PER_S);
    assert_int_equal(o.max_retries, 28);
    assert_int_equal(o.initial_backoff_ms, 29);
    assert_int_equal(o.max_backoff_ms, 30);
    assert_int_equal(o.budget_ms, 31);
    assert_ok(config_set(&c, "processing.local_age=0s", &err), err);
    config_tier_options(&c, &t);
    assert_int_equal(t.rule.local_ns, -1);
}

static void secrets_are_not_printed(void **state)
{
    (void)state;
    static config c;
    vv_buf out;
    config_init(&c);
    assert_ok(config_set(&c, "storage.secret_key=hush", &err), err);
    assert_ok(config_set(&c, "storage.access_key=hush", &err), err);
    assert_ok(config_set(&c, "storage.session_token=hush", &err), err);
    assert_ok(config_set(&c, "log.otlp_headers=A=hush", &err), err);
    vv_buf_init(&out, 1 << 20);
    config_print(&c, &out);
    vv_buf_append_u8(&out, 0);
    assert_null(strstr((const char *)out.data, "hush"));
    assert_non_null(strstr((const char *)out.data, "# secret_key is set, and not shown"));
    config_init(&c);
    assert_ok(config_load_yaml(&c, "printed", vv_slice_of(out.data, out.len - 1), &err), err);
    vv_buf_fini(&out);
}

static void plain_names_of_the_environment_count(void **state)
{
    (void)state;
    static config c;
    char *env[] = {"SERVER_PORT=7000",       "SERVER_HOST=::1",           "STORAGE_BUCKET=plain",
                   "STORAGE_PREFIX=deep/er", "VARVE_STORAGE_BUCKET=ours", NULL};
    config_init(&c);
    assert_ok(config_load_env(&c, env, &err), err);
    assert_int_equal(c.server_port, 7000);
    assert_string_equal(c.server_host, "::1");
    assert_string_equal(c.storage_bucket, "ours"); /* the name with our prefix goes over it */
    assert_string_equal(c.storage_prefix, "deep/er");
    char *store[] = {"STORAGE_BACKEND=file", "STORAGE_BUCKET=/no-d-b", NULL};
    assert_ok(config_set(&c, "storage.data_directory=/no-d", &err), err);
    assert_ok(config_load_env(&c, store, &err), err);
    assert_string_equal(c.storage_backend, "file");
    assert_ok(config_check_tier(&c, &err), err); /* beside it, with a name that begins alike */
    assert_ok(config_set(&c, "processing.local_age=0", &err), err);
    assert_int_equal(c.processing_local_age_ns, 0);
    assert_ok(config_set(&c, "storage.tier_run_age=0", &err), err);
    assert_status(VV_INVALID, config_set(&c, "processing.grace=0", &err));
    assert_non_null(strstr(err.msg, "outside"));
    char *foreign[] = {"SERVER_PORT=tcp://10.0.0.1:80", "STORAGE_PREFIX=", "SERVER_PORTS=1",
                       "STORAGE_BUCKET_X=1", NULL};
    config_init(&c);
    assert_ok(config_load_env(&c, foreign, &err), err);
    assert_int_equal(c.server_port, 8080);
    assert_string_equal(c.storage_prefix, "messages");
    char *bad[] = {"SERVER_PORT=eighty", NULL};
    assert_status(VV_INVALID, config_load_env(&c, bad, &err));
    assert_non_null(strstr(err.msg, "environment: SERVER_PORT: server.port: 'eighty'"));
}

static void the_log_gets_its_options(void **state)
{
    (void)state;
    static config c;
    evlog_options opt;
    config_init(&c);
    assert_ok(config_set(&c, "log.sinks=stderr, otlp", &err), err);
    assert_ok(config_set(&c, "log.levels=wal=debug", &err), err);
    assert_ok(config_set(&c, "log.format=json", &err), err);
    assert_ok(config_log_options(&c, &opt, &err), err);
    assert_int_equal(opt.sinks, 1u << EVLOG_STDERR | 1u << EVLOG_OTLP);
    assert_int_equal(opt.rules.count, 1);
    assert_int_equal(opt.form, VV_LOG_JSON);
    assert_int_equal(opt.limit_lines, 100);
    assert_int_equal(opt.limit_span_ns, 10 * VV_NS_PER_S);
    assert_int_equal(opt.syslog_facility, 3);
    assert_int_equal(opt.file_size, 64 * VV_MIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_values_are_refused_with_their_key),
        cmocka_unit_test(right_values_pass),
        cmocka_unit_test(a_file_names_line_key_and_unit),
        cmocka_unit_test(a_password_in_an_address_is_in_no_refusal),
        cmocka_unit_test(the_defaults_are_those_that_were_named),
        cmocka_unit_test(every_key_gets_there),
        cmocka_unit_test(secrets_are_not_printed),
        cmocka_unit_test(plain_names_of_the_environment_count),
        cmocka_unit_test(the_log_gets_its_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
