/*
 * db_series_test_util.h - series tables in tests: short ways to write and to look.
 */
#ifndef VARVE_DB_DB_SERIES_TEST_UTIL_H
#define VARVE_DB_DB_SERIES_TEST_UTIL_H

#include "db/db_partition_test_bed.h"

static inline vv_table *series_table(vv_db *db, int64_t retention_ns, int64_t future_ns)
{
    vv_error err = {0};
    vv_table *table = NULL;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = VV_TABLE_SERIES;
    opt.retention_ns = retention_ns;
    opt.future_ns = future_ns;
    opt.partitions = test_partitions;
    opt.if_not_exists = true;
    assert_ok(vv_table_create(db, "plant", "sensors", &opt, &table, &err), err);
    return table;
}

/* A table that takes every time there is. */
static inline vv_table *any_time_table(vv_db *db)
{
    return series_table(db, 0, INT64_MAX);
}

static inline vv_status begin_series(vv_samples *s, const char *name, const char *host,
                                     vv_sample_type type, vv_error *err)
{
    vv_label labels[2] = {{S("__name__"), S(name)}, {S("host"), S(host)}};
    return vv_samples_series(s, labels, 2, type, err);
}

/* Samples of name{host} at once, durable. */
static inline vv_status append(vv_table *table, const char *name, const char *host,
                               const int64_t *time, const double *value, const uint32_t *quality,
                               size_t n, vv_append_result *result, vv_error *err)
{
    vv_samples *s = vv_samples_create(table);
    if (s == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory");
    vv_status st = begin_series(s, name, host, VV_F64, err);
    if (st == VV_OK)
        st = vv_samples_f64(s, time, value, quality, n, err);
    if (st == VV_OK)
        st = vv_series_append(s, VV_DURABLE_DEFAULT, result, err);
    vv_samples_destroy(s);
    return st;
}

static inline void append_one(vv_table *table, const char *host, int64_t time, double value)
{
    vv_error err = {0};
    assert_ok(append(table, "t", host, &time, &value, NULL, 1, NULL, &err), err);
}

/* What a query gave, all series one after the other. */
typedef struct answer {
    size_t count;
    size_t series;
    int64_t time[20000];
    double value[20000];
    uint32_t quality[20000];
    char first_host[32];
} answer;

static inline vv_status ask(vv_table *table, const vv_series_query *q, answer *a, vv_error *err)
{
    vv_series_cursor *c = NULL;
    vv_series_block b;
    a->count = 0;
    a->series = 0;
    a->first_host[0] = '\0';
    vv_status st = vv_series_query_open(table, q, &c, err);
    while (st == VV_OK && (st = vv_series_query_next(c, &b, err)) == VV_OK) {
        for (size_t i = 0; i < b.count && a->count < 20000; i++, a->count++) {
            a->time[a->count] = b.time_ns[i];
            a->value[a->count] = b.f64 != NULL ? b.f64[i] : b.i64 != NULL ? (double)b.i64[i] : 0;
            a->quality[a->count] = b.quality == NULL ? 0 : b.quality[i];
        }
        for (size_t i = 0; a->series == 0 && i < b.label_count; i++)
            if (vv_slice_eq(b.labels[i].name, S("host")))
                (void)snprintf(a->first_host, sizeof a->first_host, "%.*s",
                               (int)b.labels[i].value.len, (const char *)b.labels[i].value.data);
        a->series += b.is_last_of_series;
    }
    vv_series_query_close(c);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* Raw samples of every quality of one host. */
static inline void ask_raw(vv_table *table, const vv_snapshot *at, const char *host, int64_t start,
                           int64_t end, answer *a)
{
    vv_error err = {0};
    vv_matcher m = {VV_MATCH_EQ, S("host"), S(host)};
    vv_series_query q = VV_SERIES_QUERY_INIT;
    q.matchers = &m;
    q.matcher_count = 1;
    q.start_ns = start;
    q.end_ns = end;
    q.all_quality = true;
    q.snapshot = at;
    assert_ok(ask(table, &q, a, &err), err);
}

#endif
