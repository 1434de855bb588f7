/*
 * bench_series_index.c - the index of series at scale: what opening costs, and what questions about
 * names and values of labels do.
 *
 *     bench_series_index DIR [series, 1000000] [tenants, 1]
 *
 * It backs the figures of docs/series.md, "At scale". A store in DIR (made when it is not there)
 * gets so many series of a sample each in tables of so many tenants, six labels a series; it is
 * closed and opened twice, and asked: the first time of a question reads, the second finds what
 * memory kept. One JSON line.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "varve/series.h"

#define APPEND 5000u
#define TENANTS_MAX 1000u
#define START_NS (INT64_C(1767323045) * 1000000000)
#define S(text) vv_slice_str(text)

static void must(vv_status st, const char *what, const vv_error *err)
{
    if (st == VV_OK)
        return;
    (void)fprintf(stderr, "bench_series_index: %s: %s\n", what, err->msg);
    exit(1);
}

static double now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Resident memory now; 0 where the system does not tell. */
static double rss_mib(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f != NULL && fscanf(f, "%*u %lu", &pages) != 1)
        pages = 0;
    if (f != NULL)
        (void)fclose(f);
    return (double)pages / 256;
}

static vv_db *open_store(const char *dir, uint64_t series)
{
    vv_options opt = VV_OPTIONS_INIT;
    vv_error err = {0};
    vv_db *db = NULL;
    opt.series_max = series + 1;
    must(vv_db_open(dir, &opt, &db, &err), "open", &err);
    return db;
}

static vv_table *open_table(vv_db *db, unsigned tenant)
{
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    vv_error err = {0};
    vv_table *t = NULL;
    char name[32];
    opt.kind = VV_TABLE_SERIES;
    opt.if_not_exists = true;
    opt.future_ns = INT64_MAX;
    (void)snprintf(name, sizeof name, "tenant%u", tenant);
    must(vv_table_create(db, name, "metrics", &opt, &t, &err), "table", &err);
    return t;
}

/* Series n: a metric of ten of host n / 10. */
static void add_series(vv_samples *s, uint64_t n)
{
    static const char *const regions[] = {"ap-northeast-1", "ap-southeast-1", "eu-central-1",
                                          "eu-west-1",      "sa-east-1",      "us-east-1",
                                          "us-west-1",      "us-west-2"};
    char metric[32];
    char host[32];
    char rack[16];
    char service[16];
    uint64_t h = n / 10;
    int64_t time = START_NS + (int64_t)(n % 1000);
    double value = (double)n;
    vv_error err = {0};
    (void)snprintf(metric, sizeof metric, "cpu_usage_%" PRIu64, n % 10);
    (void)snprintf(host, sizeof host, "host_%07" PRIu64, h);
    (void)snprintf(rack, sizeof rack, "%" PRIu64, h % 100);
    (void)snprintf(service, sizeof service, "svc-%" PRIu64, h % 20);
    vv_label labels[] = {
        {S("__name__"), S(metric)},       {S("arch"), S(h % 3 == 0 ? "x86" : "arm64")},
        {S("hostname"), S(host)},         {S("rack"), S(rack)},
        {S("region"), S(regions[h % 8])}, {S("service"), S(service)},
    };
    must(vv_samples_series(s, labels, 6, VV_F64, &err), "series", &err);
    must(vv_samples_f64(s, &time, &value, NULL, 1, &err), "sample", &err);
}

static void fill(vv_table *t, uint64_t series)
{
    vv_samples *s = vv_samples_create(t);
    vv_error err = {0};
    if (s == NULL)
        must(vv_series_count(t, NULL, NULL, &err), "samples", &err);
    for (uint64_t n = 0; n < series; n++) {
        add_series(s, n);
        if ((n + 1) % APPEND != 0 && n + 1 < series)
            continue;
        must(vv_series_append(s, VV_DURABLE_OS, NULL, &err), "append", &err);
        vv_samples_clear(s);
    }
    vv_samples_destroy(s);
}

static int count_word(void *ctx, vv_slice word)
{
    (void)word;
    ++*(uint64_t *)ctx;
    return 0;
}

static int count_series(void *ctx, const vv_series_info *info)
{
    (void)info;
    ++*(uint64_t *)ctx;
    return 0;
}

static int count_latest(void *ctx, const vv_series_info *info, const vv_sample *sample)
{
    (void)info;
    (void)sample;
    ++*(uint64_t *)ctx;
    return 0;
}

typedef enum kind { NAMES, VALUES, LIST, LATEST } kind;

typedef struct question {
    const char *name;
    kind kind;
    const char *label; /* VALUES */
    size_t count;
    vv_matcher m[2];
} question;

static uint64_t ask(vv_table *t, const question *q)
{
    vv_error err = {0};
    uint64_t n = 0;
    vv_status st = VV_OK;
    switch (q->kind) {
    case NAMES:
        st = vv_series_label_names(t, q->m, q->count, count_word, &n, &err);
        break;
    case VALUES:
        st = vv_series_label_values(t, S(q->label), q->m, q->count, count_word, &n, &err);
        break;
    case LIST:
        st = vv_series_list(t, q->m, q->count, 0, count_series, &n, &err);
        break;
    case LATEST:
        st = vv_series_latest(t, q->m, q->count, count_latest, &n, &err);
        break;
    }
    must(st, q->name, &err);
    return n;
}

static void ask_all(vv_table *t)
{
    const question questions[] = {
        {"names", NAMES, NULL, 0, {{0}}},
        {"names_of_metric", NAMES, NULL, 1, {{VV_MATCH_EQ, S("__name__"), S("cpu_usage_3")}}},
        {"values_region", VALUES, "region", 0, {{0}}},
        {"values_region_of_metric",
         VALUES,
         "region",
         1,
         {{VV_MATCH_EQ, S("__name__"), S("cpu_usage_3")}}},
        {"values_host", VALUES, "hostname", 0, {{0}}},
        {"values_host_of_rack_not_x86",
         VALUES,
         "hostname",
         2,
         {{VV_MATCH_EQ, S("rack"), S("17")}, {VV_MATCH_NE, S("arch"), S("x86")}}},
        {"values_metric_of_host",
         VALUES,
         "__name__",
         1,
         {{VV_MATCH_EQ, S("hostname"), S("host_0000421")}}},
        {"list_metric_host_re",
         LIST,
         NULL,
         2,
         {{VV_MATCH_EQ, S("__name__"), S("cpu_usage_3")},
          {VV_MATCH_RE, S("hostname"), S("host_00004.1")}}},
        {"latest_of_host", LATEST, NULL, 1, {{VV_MATCH_EQ, S("hostname"), S("host_0000421")}}},
        {"latest_of_all", LATEST, NULL, 0, {{0}}},
    };
    for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++) {
        double began = now_ms();
        uint64_t n = ask(t, &questions[i]);
        double first = now_ms() - began;
        began = now_ms();
        (void)ask(t, &questions[i]);
        printf(", \"%s\": {\"n\": %" PRIu64 ", \"first_ms\": %.2f, \"again_ms\": %.2f}",
               questions[i].name, n, first, now_ms() - began);
    }
}

/* Open the store; the first use of each table. */
static vv_db *open_and_count(const char *dir, uint64_t series, unsigned tenants, const char *name)
{
    double rss = rss_mib();
    double began = now_ms();
    vv_db *db = open_store(dir, series);
    double opened = now_ms();
    double rss_opened = rss_mib();
    uint64_t sum = 0;
    for (unsigned i = 0; i < tenants; i++) {
        vv_error err = {0};
        uint64_t in_table = 0;
        vv_table *t = open_table(db, i);
        must(vv_series_count(t, &in_table, NULL, &err), "count", &err);
        sum += in_table;
        vv_table_close(t);
    }
    double used = now_ms();
    printf(", \"%s\": {\"series\": %" PRIu64 ", \"open_ms\": %.1f, \"first_use_ms\": %.2f, "
           "\"open_rss_mib\": %.1f, \"first_use_rss_mib\": %.1f}",
           name, sum, opened - began, used - opened, rss_opened - rss, rss_mib() - rss_opened);
    return db;
}

int main(int argc, char **argv)
{
    uint64_t series = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    unsigned tenants = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 1;
    vv_error err = {0};
    if (argc < 2 || series == 0 || tenants == 0 || tenants > TENANTS_MAX) {
        (void)fprintf(stderr, "usage: bench_series_index DIR [series] [tenants]\n");
        return 2;
    }
    double began = now_ms();
    vv_db *db = open_store(argv[1], series);
    for (unsigned i = 0; i < tenants; i++) {
        vv_table *t = open_table(db, i);
        uint64_t has = 0;
        must(vv_series_count(t, &has, NULL, &err), "count", &err);
        if (has == 0)
            fill(t, series / tenants);
        vv_table_close(t);
    }
    must(vv_checkpoint(db, &err), "checkpoint", &err);
    printf("{\"bench\": \"series_index\", \"version\": \"%s\", \"series\": %" PRIu64
           ", \"tenants\": %u, \"fill_s\": %.1f",
           vv_version(), series, tenants, (now_ms() - began) / 1e3);
    must(vv_db_close(db, &err), "close", &err);
    db = open_and_count(argv[1], series, tenants, "opened");
    must(vv_db_close(db, &err), "close", &err);
    db = open_and_count(argv[1], series, tenants, "opened_again");
    vv_table *t = open_table(db, 0);
    ask_all(t);
    vv_stats stats = {.size = sizeof stats};
    vv_stats_read(db, &stats);
    printf(", \"rss_mib\": %.1f, \"memory_used_mib\": %.1f}\n", rss_mib(),
           (double)stats.memory_used / 1048576);
    vv_table_close(t);
    must(vv_db_close(db, &err), "close", &err);
    return 0;
}
