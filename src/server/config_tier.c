/*
 * config_tier.c - what the keys of the object store must be together, and what they say to it. What
 * only the store can tell is found when it is opened (svc_tier_check) and asked.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive/archive.h"
#include "base/error.h"
#include "base/util.h"
#include "server/config.h"
#include "server/config_int.h"

#define WHOLE_PATH_MAX (PATH_MAX + CONFIG_TEXT_MAX)

static bool is_empty(const char *text)
{
    return text[0] == '\0';
}

static bool is(const char *text, const char *word)
{
    return strcmp(text, word) == 0;
}

bool config_has_tier(const config *c)
{
    return !is_empty(c->storage_backend);
}

static bool is_shared_object(const char *path)
{
    size_t len = strlen(path);
    return len > 3 && is(path + len - 3, ".so");
}

static bool is_remote(const config *c)
{
    return is(c->storage_backend, "s3") || is(c->storage_backend, "gcs");
}

/* A path from the root, with links followed as far as it is there. */
static void whole_path(const char *path, char out[WHOLE_PATH_MAX])
{
    char head[CONFIG_TEXT_MAX];
    char real[PATH_MAX] = "";
    size_t len = strnlen(path, sizeof head - 1);
    memcpy(head, path, len);
    head[len] = '\0';
    while (realpath(len == 0 ? "." : head, real) == NULL && len > 0) {
        while (len > 0 && head[len - 1] == '/')
            len--;
        while (len > 0 && head[len - 1] != '/')
            len--;
        head[len] = '\0';
    }
    (void)snprintf(out, WHOLE_PATH_MAX, "%s/%s", is(real, "/") ? "" : real, path + len);
    for (len = strlen(out); len > 0 && out[len - 1] == '/'; len--)
        out[len - 1] = '\0';
}

/* Objects among the files of the store would be taken for damage, and go when those go. */
static vv_status check_apart(const config *c, vv_error *err)
{
    char bucket[WHOLE_PATH_MAX];
    char data[WHOLE_PATH_MAX];
    whole_path(c->storage_bucket, bucket);
    whole_path(c->storage_data_directory, data);
    const size_t len = strlen(data);
    if (strncmp(bucket, data, len) != 0 || (bucket[len] != '/' && bucket[len] != '\0'))
        return VV_OK;
    return vv_fail(
        err, VV_INVALID,
        "storage.bucket: '%.100s' lies in storage.data_directory: name a directory beside "
        "it, best on another disk",
        c->storage_bucket);
}

static vv_status check_backend(const config *c, vv_error *err)
{
    const char *b = c->storage_backend;
    bool is_file = is(b, "file");
    if (is_shared_object(b)) {
        if (strchr(b, '/') == NULL)
            return vv_fail(err, VV_INVALID,
                           "storage.backend: '%.100s' is looked for nowhere: give its whole path",
                           b);
        return VV_OK;
    }
    if (!is_file && !is(b, "memory") && !is_remote(c))
        return vv_fail(err, VV_INVALID,
                       "storage.backend: '%.60s' is none of: file, memory, s3, gcs, or a path that "
                       "ends in .so",
                       b);
    if ((is_file || is_remote(c)) && is_empty(c->storage_bucket))
        return vv_fail(err, VV_INVALID, "storage.bucket: storage.backend %s needs it: %s", b,
                       is_file ? "a directory" : "the name of a bucket that is there");
    return is_file ? check_apart(c, err) : VV_OK;
}

/* Without an object store nobody looks at these: who sets one means to have it. */
static vv_status check_absent(const config *c, vv_error *err)
{
    const struct {
        const char *key;
        const char *value;
    } keys[] = {{"storage.bucket", c->storage_bucket},
                {"storage.endpoint", c->storage_endpoint},
                {"storage.access_key", c->storage_access_key},
                {"storage.credentials_file", c->storage_credentials_file},
                {"storage.sse", c->storage_sse}};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (!is_empty(keys[i].value))
            return vv_fail(err, VV_INVALID,
                           "%s: it is set and storage.backend is not (VARVE_STORAGE_BACKEND or "
                           "STORAGE_BACKEND in the environment): say file, memory, s3, gcs, or a "
                           "path that ends in .so",
                           keys[i].key);
    return VV_OK;
}

bool config_is_url(const char *text)
{
    size_t scheme = strncmp(text, "http://", 7) == 0    ? 7
                    : strncmp(text, "https://", 8) == 0 ? 8
                                                        : 0;
    const size_t host = strcspn(text + scheme, "/?#");
    return scheme != 0 && host > 0 && strpbrk(text, " \t\r\n") == NULL &&
           memchr(text + scheme, '@', host) == NULL; /* a password would be in logs */
}

const char *config_url_shown(const char *text)
{
    return strchr(text, '@') == NULL ? text : "what holds a '@', and perhaps a password,";
}

static vv_status check_key(const config *c, vv_error *err)
{
    if (is_empty(c->processing_key))
        return VV_OK;
    vv_status st = arch_template_check(c->processing_key, err);
    return st == VV_OK ? st : vv_wrap(err, VV_INVALID, "processing.key");
}

static vv_status check_place(const config *c, vv_error *err)
{
    if (is_remote(c) && !is_empty(c->storage_endpoint) && !config_is_url(c->storage_endpoint))
        return vv_fail(
            err, VV_INVALID,
            "storage.endpoint: '%.100s' is not https://host[:port] or http://host[:port]",
            config_url_shown(c->storage_endpoint));
    char prefix[VV_OBJECT_PREFIX_MAX + 1];
    size_t len = strlen(c->storage_prefix);
    if (len > VV_OBJECT_PREFIX_MAX)
        return vv_fail(err, VV_INVALID, "storage.prefix: over %u bytes", VV_OBJECT_PREFIX_MAX);
    if (len == 0)
        return VV_OK;
    memcpy(prefix, c->storage_prefix, len + 1);
    if (len > 1 && prefix[len - 1] == '/')
        prefix[len - 1] = '\0';
    vv_status st = vv_object_name_check(prefix, err);
    return st == VV_OK ? st : vv_wrap(err, VV_INVALID, "storage.prefix");
}

static vv_status check_file(const char *key, const char *path, vv_error *err)
{
    if (is_empty(path) || access(path, R_OK) == 0)
        return VV_OK;
    return vv_fail_sys(err, VV_INVALID, errno, "%s: %.120s", key, path);
}

/* What is secret is not repeated. */
static vv_status check_identity(const config *c, vv_error *err)
{
    vv_status st = check_file("storage.credentials_file", c->storage_credentials_file, err);
    if (st == VV_OK)
        st = check_file("storage.ca_file", c->storage_ca_file, err);
    if (st != VV_OK)
        return st;
    if (is_empty(c->storage_access_key) != is_empty(c->storage_secret_key))
        return vv_fail(err, VV_INVALID,
                       "storage.access_key: it and storage.secret_key need each other");
    if (!is_empty(c->storage_session_token) && is_empty(c->storage_access_key))
        return vv_fail(err, VV_INVALID, "storage.session_token: it goes with storage.access_key");
    if (!is_empty(c->storage_sse) && !is(c->storage_sse, "AES256") &&
        !is(c->storage_sse, "aws:kms"))
        return vv_fail(err, VV_INVALID, "storage.sse: '%.60s' is none of: AES256, aws:kms",
                       c->storage_sse);
    if (!is_empty(c->storage_sse_key_id) && !is(c->storage_sse, "aws:kms"))
        return vv_fail(err, VV_INVALID, "storage.sse_key_id: it goes with storage.sse aws:kms");
    return VV_OK;
}

vv_status config_check_tier(const config *c, vv_error *err)
{
    if (c->retry_max_backoff_ms < c->retry_initial_backoff_ms)
        return vv_fail(err, VV_INVALID,
                       "retry.max_backoff_ms: %" PRIu64
                       " ms is less than retry.initial_backoff_ms, %" PRIu64 " ms",
                       c->retry_max_backoff_ms, c->retry_initial_backoff_ms);
    if (!is_empty(c->metrics_push_endpoint) && !config_is_url(c->metrics_push_endpoint))
        return vv_fail(err, VV_INVALID,
                       "metrics.push_endpoint: '%.100s' is not such as "
                       "http://127.0.0.1:4318/v1/metrics",
                       config_url_shown(c->metrics_push_endpoint));
    if (!config_has_tier(c))
        return check_absent(c, err);
    vv_status st = check_backend(c, err);
    if (st == VV_OK)
        st = check_place(c, err);
    if (st == VV_OK)
        st = check_key(c, err);
    return st == VV_OK ? check_identity(c, err) : st;
}

/* NULL for what was left out. */
static const char *given(const char *text)
{
    return is_empty(text) ? NULL : text;
}

void config_object_options(const config *c, vv_object_options *out)
{
    static const char *const addressing[] = {
        [CONFIG_ADDRESS_AUTO] = "auto",
        [CONFIG_ADDRESS_PATH] = "path",
        [CONFIG_ADDRESS_VIRTUAL] = "virtual",
    };
    vv_object_options o = VV_OBJECT_OPTIONS_INIT;
    o.backend = given(c->storage_backend);
    o.endpoint = given(c->storage_endpoint);
    o.bucket = given(c->storage_bucket);
    o.prefix = given(c->storage_prefix);
    o.region = given(c->storage_region);
    o.addressing = addressing[c->storage_addressing];
    o.access_key = given(c->storage_access_key);
    o.secret_key = given(c->storage_secret_key);
    o.session_token = given(c->storage_session_token);
    o.credentials_file = given(c->storage_credentials_file);
    o.profile = given(c->storage_profile);
    o.ca_file = given(c->storage_ca_file);
    o.tls_insecure = c->storage_tls_insecure;
    o.sse = given(c->storage_sse);
    o.sse_key_id = given(c->storage_sse_key_id);
    o.conditional_put = c->storage_conditional_put;
    o.params = given(c->storage_backend_params);
    o.max_retries = (uint32_t)c->retry_max_retries;
    o.initial_backoff_ms = (uint32_t)c->retry_initial_backoff_ms;
    o.max_backoff_ms = (uint32_t)c->retry_max_backoff_ms;
    o.budget_ms = (uint32_t)c->retry_budget_ms;
    o.request_timeout_ms = (uint32_t)c->storage_request_timeout_ms;
    o.connect_timeout_ms = (uint32_t)c->storage_connect_timeout_ms;
    o.concurrency = (uint32_t)c->storage_concurrency;
    o.breaker_failures = (uint32_t)c->storage_breaker_failures;
    o.breaker_open_ms = (uint32_t)c->storage_breaker_open_ms;
    o.hedge_after_ms = (uint32_t)c->storage_hedge_after_ms;
    *out = o;
}

void config_tier_options(const config *c, vv_tier_options *out)
{
    *out = (vv_tier_options){
        .size = sizeof *out,
        .rule = {.codec = (vv_tier_codec)c->processing_codec,
                 .also = (vv_tier_form)c->processing_also,
                 .batch_bytes = c->processing_batch_bytes,
                 .batch_messages = c->processing_batch_size,
                 .batch_age_ns = (int64_t)c->processing_batch_timeout_ms * VV_NS_PER_MS,
                 .local_ns = c->processing_local_age_ns == 0 ? -1 : c->processing_local_age_ns,
                 .local_bytes = c->processing_local_size,
                 .key = given(c->processing_key)},
        .waiting_max = c->processing_waiting_size,
        .uploads = (uint32_t)c->processing_uploads,
        .cache_bytes = c->storage_tier_cache_size,
        .grace_ns = c->processing_grace_ns,
        .backup_keep_ns = c->processing_backup_keep_ns,
        .failures_max = (uint32_t)c->processing_failures_max,
        .run_age_ns = c->storage_tier_run_age_ns,
        .run_local_bytes = c->storage_tier_run_local_size};
}
