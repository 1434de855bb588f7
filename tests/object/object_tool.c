/*
 * object_tool.c - one call of an object store from the command line, for the scripts of this
 * folder.
 *
 *   object_tool SETTINGS... suite PART_SIZE CREATE CREATE_UPLOAD   the suite of every backend
 *   object_tool SETTINGS... put NAME FILE [create]
 *   object_tool SETTINGS... get NAME [OFFSET LENGTH] | head NAME | list PREFIX | remove NAME
 *   object_tool SETTINGS... upload NAME FILE PART_SIZE [create]
 *   object_tool SETTINGS... walk NAME FILE PART_SIZE   every call, each allocation failing once
 *   object_tool SETTINGS... hammer COUNT SIZE      puts, as fast as one thread goes
 *
 * A setting is key=value of vv_object_options. Prints what came as one line of key=value, the
 * status first; the exit code is 0 whatever the status. "get" prints the bytes behind the line.
 */
#include "vv_test.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "object/objs_suite.h"

static vv_error err;
static vv_object_outcome oc;
static vv_object_options opt = VV_OBJECT_OPTIONS_INIT;
static vv_object_store *store;
static char **words;
static int word_count;

static bool set_number(const char *key, const char *value)
{
    const struct {
        const char *key;
        uint32_t *to;
    } numbers[] = {{"max_retries", &opt.max_retries},
                   {"initial_backoff_ms", &opt.initial_backoff_ms},
                   {"max_backoff_ms", &opt.max_backoff_ms},
                   {"budget_ms", &opt.budget_ms},
                   {"request_timeout_ms", &opt.request_timeout_ms},
                   {"connect_timeout_ms", &opt.connect_timeout_ms},
                   {"concurrency", &opt.concurrency},
                   {"breaker_failures", &opt.breaker_failures},
                   {"hedge_after_ms", &opt.hedge_after_ms}};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (strcmp(key, numbers[i].key) == 0) {
            *numbers[i].to = (uint32_t)strtoul(value, NULL, 10);
            return true;
        }
    return false;
}

static bool set(const char *key, const char *value)
{
    const struct {
        const char *key;
        const char **to;
    } strings[] = {{"backend", &opt.backend},
                   {"endpoint", &opt.endpoint},
                   {"bucket", &opt.bucket},
                   {"prefix", &opt.prefix},
                   {"region", &opt.region},
                   {"addressing", &opt.addressing},
                   {"access_key", &opt.access_key},
                   {"secret_key", &opt.secret_key},
                   {"session_token", &opt.session_token},
                   {"credentials_file", &opt.credentials_file},
                   {"profile", &opt.profile},
                   {"ca_file", &opt.ca_file},
                   {"sse", &opt.sse},
                   {"sse_key_id", &opt.sse_key_id},
                   {"params", &opt.params}};
    for (size_t i = 0; i < ARRAY_LEN(strings); i++)
        if (strcmp(key, strings[i].key) == 0) {
            *strings[i].to = value;
            return true;
        }
    if (strcmp(key, "tls_insecure") == 0)
        opt.tls_insecure = value[0] == '1';
    else if (strcmp(key, "conditional_put") == 0)
        opt.conditional_put = value[0] == '1';
    else
        return set_number(key, value);
    return true;
}

static void print_outcome(vv_status st, const vv_object_info *info)
{
    printf("%s fault=%s retryable=%d unknown=%d settled=%d http=%d attempts=%" PRIu32
           " code=%s request=%s",
           vv_status_name(st), vv_object_fault_name(oc.fault), oc.retryable, oc.unknown, oc.settled,
           oc.http, oc.attempts, oc.code, oc.request_id);
    if (st == VV_OK && info != NULL)
        printf(" size=%" PRIu64 " etag=%s mtime=%" PRId64 " crc=%s%08" PRIx32 " version=%s",
               info->size, info->etag, info->mtime_ns, info->has_crc ? "" : "none-", info->crc32c,
               info->version);
    if (st != VV_OK)
        printf(" error=%s", err.msg);
    printf("\n");
}

static uint8_t *read_file(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = NULL;
    *len = 0;
    if (f == NULL)
        return NULL;
    if (fseek(f, 0, SEEK_END) == 0) {
        *len = (size_t)ftell(f);
        rewind(f);
        data = vv_alloc(*len + 1);
        if (data != NULL && fread(data, 1, *len, f) != *len)
            *len = 0;
    }
    (void)fclose(f);
    return data;
}

static unsigned create_flag(int at)
{
    return word_count > at && strcmp(words[at], "create") == 0 ? VV_OBJECT_CREATE
                                                               : VV_OBJECT_REPLACE;
}

static void do_put(void)
{
    vv_object_info info = {0};
    size_t len;
    uint8_t *data = read_file(words[2], &len);
    vv_slice piece = vv_slice_of(data, len);
    vv_status st = vv_object_put(store, words[1], &piece, 1, create_flag(3), &info, &oc, &err);
    print_outcome(st, &info);
    vv_free(data);
}

static void do_get(void)
{
    vv_object_info info = {0};
    uint64_t offset = word_count > 3 ? strtoull(words[2], NULL, 10) : 0;
    size_t len = word_count > 3 ? strtoull(words[3], NULL, 10) : 256u * 1024 * 1024;
    size_t got = 0;
    uint8_t *data = vv_alloc(len + 1);
    vv_status st = vv_object_get(store, words[1], offset, data, len, &got, &info, &oc, &err);
    print_outcome(st, &info);
    if (st == VV_OK)
        (void)fwrite(data, 1, got, stdout);
    vv_free(data);
}

static bool print_name(void *ctx, const char *name, const vv_object_info *info)
{
    vv_buf_printf(ctx, "%s %" PRIu64 " %s\n", name, info->size, info->etag);
    return true;
}

static void do_upload(void)
{
    vv_object_info info = {0};
    vv_object_upload *u = NULL;
    size_t len;
    size_t part = strtoull(words[3], NULL, 10);
    uint8_t *data = read_file(words[2], &len);
    uint32_t number = 1;
    vv_status st = vv_object_upload_begin(store, words[1], create_flag(4), &u, &oc, &err);
    for (size_t at = 0; st == VV_OK && at < len; at += part) {
        vv_slice piece = vv_slice_of(data + at, len - at < part ? len - at : part);
        st = vv_object_upload_part(u, number++, &piece, 1, &oc, &err);
    }
    if (st == VV_OK)
        st = vv_object_upload_complete(u, &info, &oc, &err);
    print_outcome(st, &info);
    if (st != VV_OK && u != NULL && vv_object_upload_abort(u, NULL, NULL) != VV_OK)
        printf("abort failed\n");
    vv_free(data);
}

static int64_t now(void)
{
    return vv_clock_mono(vv_clock_real());
}

static void do_hammer(void)
{
    uint64_t count = strtoull(words[1], NULL, 10);
    size_t size = strtoull(words[2], NULL, 10);
    uint8_t *data = vv_calloc(1, size + 1);
    vv_object_stats stats = {.size = sizeof stats};
    vv_status st = VV_OK;
    int64_t start = now();
    for (uint64_t i = 0; st == VV_OK && i < count; i++) {
        char name[40];
        vv_slice piece = vv_slice_of(data, size);
        (void)snprintf(name, sizeof name, "hammer/%06" PRIu64, i);
        st = vv_object_put(store, name, &piece, 1, VV_OBJECT_REPLACE, NULL, &oc, &err);
    }
    double s = (double)(now() - start) / 1e9;
    vv_object_store_stats(store, &stats);
    print_outcome(st, NULL);
    printf("puts_per_s=%.0f bytes_per_s=%.0f p50_us=%" PRIu64 " p99_us=%" PRIu64 "\n",
           (double)count / s, (double)count * (double)size / s,
           stats.op[VV_OBJECT_OP_PUT].p50_ns / 1000, stats.op[VV_OBJECT_OP_PUT].p99_ns / 1000);
    vv_free(data);
}

/* Every call once. What fails must say that memory is short, or that a store cannot. */
static void live(const uint8_t *data, size_t len, size_t part)
{
    static uint8_t back[4096];
    size_t got;
    bool more;
    vv_buf names;
    vv_object_upload *u = NULL;
    vv_slice piece = vv_slice_of(data, len);
    vv_status st[8] = {VV_OK};
    vv_buf_init(&names, 1 << 20);
    st[0] = vv_object_put(store, words[1], &piece, 1, 0, NULL, &oc, &err);
    st[1] = vv_object_get(store, words[1], 10, back, 100, &got, NULL, &oc, &err);
    st[2] = vv_object_head(store, words[1], NULL, &oc, &err);
    st[3] = vv_object_list(store, "", NULL, 10, print_name, &names, &more, &oc, &err);
    st[4] = vv_object_upload_begin(store, words[1], 0, &u, &oc, &err);
    if (st[4] == VV_OK) {
        for (uint32_t i = 0; i * part < len && st[5] == VV_OK; i++) {
            size_t at = i * part;
            vv_slice one = vv_slice_of(data + at, len - at < part ? len - at : part);
            st[5] = vv_object_upload_part(u, i + 1, &one, 1, &oc, &err);
        }
        st[6] = st[5] == VV_OK ? vv_object_upload_complete(u, NULL, &oc, &err) : VV_NO_MEMORY;
        if (st[6] != VV_OK)
            st[6] = vv_object_upload_abort(u, &oc, &err);
    }
    st[7] = vv_object_remove(store, words[1], &oc, &err);
    vv_buf_fini(&names);
    for (size_t i = 0; i < ARRAY_LEN(st); i++)
        if (st[i] != VV_OK && st[i] != VV_NO_MEMORY && st[i] != VV_NOT_FOUND) {
            printf("call %zu: %s: %s\n", i, vv_status_name(st[i]), err.msg);
            exit(1);
        }
}

static void do_walk(void)
{
    size_t len;
    uint8_t *data = read_file(words[2], &len);
    int64_t n = 0;
    for (bool failed = true; failed; n++) {
        uint64_t before = vv_alloc_count();
        vv_alloc_fail_after(n, 0);
        vv_status st = vv_object_store_open(&opt, &store, &err);
        if (st == VV_OK)
            live(data, len, strtoull(words[3], NULL, 10));
        else if (st != VV_NO_MEMORY) {
            printf("open: %s: %s\n", vv_status_name(st), err.msg);
            exit(1);
        }
        vv_object_store_close(store);
        store = NULL;
        failed = (int64_t)(vv_alloc_count() - before) > n;
        vv_alloc_fail_after(-1, 0);
    }
    printf("OK allocations=%lld\n", (long long)n);
    vv_free(data);
}

static objs_suite_traits traits = {.keeps_crc = true, .threads = 4, .objects = 30};

static void the_suite(void **state)
{
    (void)state;
    objs_suite_run(store, &traits);
}

static int do_suite(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_suite)};
    traits.part_size = strtoull(words[1], NULL, 10);
    traits.create = words[2][0] == '1';
    traits.create_upload = words[3][0] == '1';
    return cmocka_run_group_tests(tests, NULL, NULL);
}

static int run(void)
{
    vv_object_info info = {0};
    const char *what = words[0];
    if (strcmp(what, "suite") == 0 && word_count == 4)
        return do_suite();
    if (strcmp(what, "put") == 0 && word_count >= 3)
        do_put();
    else if (strcmp(what, "get") == 0 && word_count >= 2)
        do_get();
    else if (strcmp(what, "upload") == 0 && word_count >= 4)
        do_upload();
    else if (strcmp(what, "hammer") == 0 && word_count == 3)
        do_hammer();
    else if (strcmp(what, "head") == 0 && word_count == 2)
        print_outcome(vv_object_head(store, words[1], &info, &oc, &err), &info);
    else if (strcmp(what, "remove") == 0 && word_count == 2)
        print_outcome(vv_object_remove(store, words[1], &oc, &err), NULL);
    else if (strcmp(what, "list") == 0 && word_count == 2) {
        bool more = false;
        vv_buf names;
        vv_buf_init(&names, 1 << 20);
        vv_status st =
            vv_object_list(store, words[1], NULL, 1000, print_name, &names, &more, &oc, &err);
        print_outcome(st, NULL);
        (void)fwrite(names.data, 1, names.len, stdout);
        vv_buf_fini(&names);
    } else {
        (void)fprintf(stderr, "object_tool: see the top of object_tool.c\n");
        return 2;
    }
    return 0;
}

int main(int argc, char **argv)
{
    int i = 1;
    for (; i < argc && strchr(argv[i], '=') != NULL; i++) {
        char *eq = strchr(argv[i], '=');
        *eq = '\0';
        if (!set(argv[i], eq + 1)) {
            (void)fprintf(stderr, "object_tool: no setting '%s'\n", argv[i]);
            return 2;
        }
    }
    if (i == argc) {
        (void)fprintf(stderr, "object_tool: see the top of object_tool.c\n");
        return 2;
    }
    words = argv + i;
    word_count = argc - i;
    if (strcmp(words[0], "walk") == 0 && word_count == 4) {
        do_walk();
        return 0;
    }
    vv_status st = vv_object_store_open(&opt, &store, &err);
    if (st != VV_OK) {
        print_outcome(st, NULL);
        return 0;
    }
    int rc = run();
    vv_object_store_close(store);
    return rc;
}
