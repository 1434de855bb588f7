/*
 * db_series_rollup_test_util.h - what the tests of rollups share: tables, the job by hand, and
 * windows worked out the plain way of the samples that a query without an aggregate gives.
 */
#ifndef VARVE_DB_DB_SERIES_ROLLUP_TEST_UTIL_H
#define VARVE_DB_DB_SERIES_ROLLUP_TEST_UTIL_H

#include "db/db_series_test_util.h"

#include <math.h>

#include "db/db_series_rollup.h"
#include "series/window.h"

#define MIN (60 * SEC)
#define HOUR (60 * MIN)
#define DAY (24 * HOUR)

#define SAMPLES_MAX 400000u

static const char *const hosts[] = {"a", "b"}; /* the series of most tests */

/* What there is of a host in a range, of every quality. */
static struct {
    size_t count;
    int64_t time[SAMPLES_MAX];
    double value[SAMPLES_MAX];
    uint32_t quality[SAMPLES_MAX];
} samples;
static answer points;

static inline void read_samples(vv_table *t, const char *host, int64_t start, int64_t end)
{
    vv_error err = {0};
    vv_matcher m = {VV_MATCH_EQ, S("host"), S(host)};
    vv_series_query q = VV_SERIES_QUERY_INIT;
    vv_series_cursor *c = NULL;
    vv_series_block b;
    q.matchers = &m;
    q.matcher_count = 1;
    q.start_ns = start;
    q.end_ns = end;
    q.all_quality = true;
    samples.count = 0;
    vv_status st = vv_series_query_open(t, &q, &c, &err);
    while (st == VV_OK && (st = vv_series_query_next(c, &b, &err)) == VV_OK) {
        assert_true(samples.count + b.count <= SAMPLES_MAX);
        memcpy(samples.time + samples.count, b.time_ns, b.count * sizeof *b.time_ns);
        memcpy(samples.value + samples.count, b.f64, b.count * sizeof *b.f64);
        for (size_t i = 0; i < b.count; i++)
            samples.quality[samples.count + i] = b.quality == NULL ? 0 : b.quality[i];
        samples.count += b.count;
    }
    assert_int_equal(st, VV_NOT_FOUND);
    vv_series_query_close(c);
}

static inline vv_table *rollup_table(vv_db *db, int64_t retention_ns, int64_t minutes_ns,
                                     int64_t hours_ns)
{
    vv_error err = {0};
    vv_table *table = NULL;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = VV_TABLE_SERIES;
    opt.retention_ns = retention_ns;
    opt.future_ns = INT64_MAX;
    opt.out_of_order_ns = MIN;
    opt.rollup_retention_ns[0] = minutes_ns;
    opt.rollup_retention_ns[1] = hours_ns;
    opt.partitions = test_partitions;
    opt.if_not_exists = true;
    assert_ok(vv_table_create(db, "plant", "sensors", &opt, &table, &err), err);
    return table;
}

static inline vv_stats stats_of(vv_db *db)
{
    vv_stats s = {.size = sizeof s};
    vv_stats_read(db, &s);
    return s;
}

static inline bool step_once(vv_db *db)
{
    return db_step(db, NULL) == VV_OK;
}

/* All that the job finds to do, repairs too: no day waits any more. */
static inline uint64_t roll_all(vv_db *db)
{
    uint64_t before = stats_of(db).rollup_days;
    vv_clock_sleep(db->env->clock, DB_SERIES_DIRTY_QUIET_NS);
    while (step_once(db)) /* marks of a restart or a deletion are found first */
        continue;
    vv_clock_sleep(db->env->clock, DB_SERIES_DIRTY_QUIET_NS);
    while (step_once(db))
        continue;
    return stats_of(db).rollup_days - before;
}

static inline vv_status query(vv_table *t, const char *host, int64_t start, int64_t end,
                              int64_t step, int64_t offset, vv_aggregate aggregate, bool all,
                              answer *a, vv_error *err)
{
    vv_matcher m = {VV_MATCH_EQ, S("host"), S(host)};
    vv_series_query q = VV_SERIES_QUERY_INIT;
    q.matchers = &m;
    q.matcher_count = 1;
    q.start_ns = start;
    q.end_ns = end;
    q.step_ns = step;
    q.offset_ns = offset;
    q.aggregate = aggregate;
    q.all_quality = all;
    return ask(t, &q, a, err);
}

/* ---- windows worked out the plain way ---- */

typedef struct plain {
    size_t good, count;
    double sum, min, max, first, last, mean, m2, absolute;
} plain;

static inline void take(plain *p, double v, uint32_t quality)
{
    p->count++;
    if (!vv_quality_is_good(quality))
        return;
    p->min = p->good == 0 || v < p->min ? v : p->min;
    p->max = p->good == 0 || v > p->max ? v : p->max;
    p->first = p->good == 0 ? v : p->first;
    p->last = v;
    p->sum += v;
    p->absolute += fabs(v);
    p->good++;
    double d = v - p->mean;
    p->mean += d / (double)p->good;
    p->m2 += d * (v - p->mean);
}

static inline double value_of(const plain *p, vv_aggregate aggregate)
{
    double n = (double)p->good;
    switch (aggregate) {
    case VV_AGG_COUNT:
        return n;
    case VV_AGG_SUM:
        return p->sum;
    case VV_AGG_AVG:
        return p->sum / n;
    case VV_AGG_MIN:
        return p->min;
    case VV_AGG_MAX:
        return p->max;
    case VV_AGG_FIRST:
        return p->first;
    case VV_AGG_LAST:
        return p->last;
    case VV_AGG_STDDEV:
        return sqrt(p->m2 / n);
    case VV_AGG_RANGE:
        return p->max - p->min;
    default:
        return 100.0 * n / (double)p->count;
    }
}

static inline bool is_near(const plain *p, vv_aggregate aggregate, double got)
{
    double want = value_of(p, aggregate);
    double slack = 0;
    if (aggregate == VV_AGG_SUM || aggregate == VV_AGG_AVG)
        slack = (double)p->good * 0x1p-52 * p->absolute; /* two sums of n, each within half */
    if (aggregate == VV_AGG_STDDEV)
        slack = 1e-7 * (1 + p->absolute);
    return fabs(got - want) <= slack;
}

static const vv_aggregate kinds[] = {VV_AGG_COUNT, VV_AGG_SUM,         VV_AGG_AVG,  VV_AGG_MIN,
                                     VV_AGG_MAX,   VV_AGG_FIRST,       VV_AGG_LAST, VV_AGG_STDDEV,
                                     VV_AGG_RANGE, VV_AGG_PERCENT_GOOD};

/* The answer to a query of windows against the samples of its range. */
static inline void check(vv_table *t, const char *host, int64_t start, int64_t end, int64_t step,
                         int64_t offset, vv_aggregate aggregate)
{
    vv_error err = {0};
    read_samples(t, host, start, end);
    assert_ok(query(t, host, start, end, step, offset, aggregate, false, &points, &err), err);
    size_t n = 0;
    for (size_t i = 0; i < samples.count;) {
        plain p = {.count = 0};
        int64_t begin = start;
        int64_t stop = end;
        if (step > 0)
            series_window_of(samples.time[i], step, offset, &begin, &stop);
        for (; i < samples.count && samples.time[i] < stop; i++)
            take(&p, samples.value[i], samples.quality[i]);
        if (p.good == 0 && aggregate != VV_AGG_PERCENT_GOOD)
            continue;
        if (n >= points.count || points.time[n] != begin ||
            !is_near(&p, aggregate, points.value[n]))
            fail_msg("aggregate %d of %lld..%lld by %lld + %lld: window %lld is %.17g at %lld "
                     "instead of %.17g",
                     (int)aggregate, (long long)start, (long long)end, (long long)step,
                     (long long)offset, (long long)begin, n < points.count ? points.value[n] : NAN,
                     n < points.count ? (long long)points.time[n] : -1, value_of(&p, aggregate));
        n++;
    }
    assert_int_equal(points.count, n);
}

static inline void check_all(vv_table *t, const char *host)
{
    static const int64_t steps[] = {MIN, HOUR, DAY};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        for (size_t k = 0; k < ARRAY_LEN(steps); k++)
            check(t, host, -100 * DAY, 100000 * DAY, steps[k], 0, kinds[i]);
}

/* ---- what is in a table ---- */

/* A sample each ten seconds. */
static inline void fill_days(vv_table *t, const char *host, int64_t from, int64_t to)
{
    enum { MANY = 8640 };
    static int64_t time[MANY];
    static double value[MANY];
    vv_error err = {0};
    while (from < to) {
        size_t n = 0;
        for (; n < MANY && from < to; n++, from += 10 * SEC) {
            time[n] = from;
            value[n] = (double)(from / SEC % 977);
        }
        assert_ok(append(t, "t", host, time, value, NULL, n, NULL, &err), err);
    }
}

static inline bool has_key(vv_table *part, const uint8_t *key, size_t len)
{
    vv_error err = {0};
    vv_value v = {0};
    vv_status st = vv_get(part, NULL, vv_slice_of(key, len), &v, &err);
    vv_value_release(&v);
    assert_true(st == VV_OK || st == VV_NOT_FOUND);
    return st == VV_OK;
}

/* The only series of a table, or the last one that was. */
static inline uint64_t only_id(vv_table *t)
{
    static uint64_t last;
    uint8_t key[9];
    for (uint64_t id = 1; id <= 2 * (uint64_t)t->partition_count; id++) {
        vv_table part = db_series_part_at(t, id);
        if (has_key(&part, key, db_series_id_key(DB_SERIES_RECORD, id, key)))
            last = id;
    }
    return last;
}

static inline bool is_marked(vv_table *t, int64_t day)
{
    uint8_t key[DB_SERIES_DIRTY_KEY];
    uint64_t id = only_id(t);
    vv_table part = db_series_part_at(t, id);
    return has_key(&part, key, db_series_dirty_key(id, day, key));
}

static inline bool has_rows(vv_table *t, unsigned tier, int64_t day)
{
    uint8_t key[DB_SERIES_ROWS_KEY];
    uint64_t id = only_id(t);
    vv_table part = db_series_part_at(t, id);
    return has_key(&part, key, db_series_rows_key(tier, id, day, key));
}

/* Both engines, one partition and four: main's answer. */
static inline int run_rollups_on_each(const struct CMUnitTest *tests, size_t count)
{
    static const char *const names[] = {"lsm", "btree", "lsm, 4 partitions", "btree, 4 partitions"};
    int failed = 0;
    for (unsigned i = 0; i < 4; i++) {
        engine_under_test = i % 2 == 0 ? &lsm_ops : &btree_ops;
        test_partitions = i < 2 ? 1 : 4;
        failed += _cmocka_run_group_tests(names[i], tests, count, NULL, NULL);
    }
    return failed;
}

#endif
