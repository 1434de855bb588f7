/*
 * db_series_model_test.c - laws of tables of series: they agree with a naive list under random
 * writes, deletions, flushes and restarts; after a crash every acknowledged sample is there and an
 * unacknowledged entry is whole or absent; an I/O or an allocation that fails loses nothing.
 */
#include "db/db_series_test_util.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "db/db_series_int.h"

#define HOSTS 4u
#define TIMES 3000u

typedef struct model {
    bool is_there[HOSTS][TIMES];
    double value[HOSTS][TIMES];
} model;

static const char *const hosts[HOSTS] = {"a", "b", "c", "d"};

static bool is_dense;

/* Four days; each has a slow part, and more and more dense ones. They ascend. */
static int64_t dense_time_of(size_t i)
{
    static const int64_t gaps[] = {100 * SEC, SEC / 10, SEC / 1000, 700, 1};
    return (int64_t)(i / 750) * 86400 * SEC + (int64_t)(i % 750 / 150) * 15000 * SEC +
           (int64_t)(i % 150) * gaps[i % 750 / 150];
}

/* Times are spread over many buckets, and dense in some. */
static int64_t time_of(size_t i)
{
    if (is_dense)
        return dense_time_of(i);
    return ((int64_t)i - 1000) * (i % 3 == 0 ? 977 * SEC : 977 * SEC + 1);
}

static size_t index_below(int64_t t)
{
    size_t i = 0;
    while (i < TIMES && time_of(i) < t)
        i++;
    return i;
}

static void check_host(vv_table *t, const model *m, unsigned h, size_t from, size_t to, answer *a)
{
    ask_raw(t, NULL, hosts[h], time_of(from), to == TIMES ? INT64_MAX : time_of(to), a);
    size_t n = 0;
    for (size_t i = from; i < to; i++) {
        if (!m->is_there[h][i])
            continue;
        if (n >= a->count || a->time[n] != time_of(i) || a->value[n] != m->value[h][i])
            fail_msg("host %u: sample %zu of %zu is wrong", h, n, a->count);
        n++;
    }
    assert_int_equal(a->count, n);
}

static void write_some(vv_table *t, model *m, vv_rng *rng, unsigned max)
{
    vv_error err = {0};
    vv_samples *s = vv_samples_create(t);
    assert_non_null(s);
    for (unsigned n = 1 + (unsigned)vv_rng_below(rng, max); n > 0; n--) {
        unsigned h = (unsigned)vv_rng_below(rng, HOSTS);
        size_t from = vv_rng_below(rng, TIMES);
        size_t count = 1 + vv_rng_below(rng, vv_rng_below(rng, 8) == 0 ? 200 : 5);
        assert_ok(begin_series(s, "t", hosts[h], VV_F64, &err), err);
        for (size_t i = from; i < from + count && i < TIMES; i++) {
            int64_t time = time_of(i);
            double value = (double)vv_rng_below(rng, 1000);
            assert_ok(vv_samples_f64(s, &time, &value, NULL, 1, &err), err);
            m->is_there[h][i] = true;
            m->value[h][i] = value;
        }
    }
    assert_ok(vv_series_append(s, VV_DURABLE_DEFAULT, NULL, &err), err);
    vv_samples_destroy(s);
}

static void delete_some(vv_table *t, model *m, vv_rng *rng)
{
    vv_error err = {0};
    unsigned h = (unsigned)vv_rng_below(rng, HOSTS);
    size_t from = vv_rng_below(rng, TIMES);
    size_t to = from + vv_rng_below(rng, 300);
    int64_t start = time_of(from) + (int64_t)vv_rng_below(rng, 3) - 1;
    int64_t end = to >= TIMES ? INT64_MAX : time_of(to);
    vv_matcher match = {VV_MATCH_EQ, S("host"), S(hosts[h])};
    assert_ok(vv_series_delete(t, &match, 1, start, end, NULL, &err), err);
    for (size_t i = index_below(start); i < TIMES && time_of(i) < end; i++)
        m->is_there[h][i] = false;
}

/* A bucket takes this many samples; 0: as many as ever. */
static vv_table *open_table(sim_world *w, uint32_t room)
{
    vv_error err = {0};
    db_series *s = NULL;
    vv_table *t = any_time_table(w->db);
    assert_ok(db_series_of(t, &s, &err), err);
    if (room > 0)
        s->fill_max = room * SERIES_SAMPLE_WEIGHT;
    return t;
}

/* By the first series. */
static unsigned classes_used(vv_table *t)
{
    vv_error err = {0};
    db_series *s = NULL;
    db_series_entry *e = NULL;
    assert_ok(db_series_of(t, &s, &err), err);
    assert_ok(db_series_load(s, t, NULL, 1, &e, &err), err);
    unsigned n = 1 + (unsigned)__builtin_popcount(e->overflow);
    db_series_unref(s, e);
    return n;
}

/* The newest sample of each host is that of the list. */
static int check_newest(void *ctx, const vv_series_info *info, const vv_sample *sample)
{
    const model *m = ctx;
    unsigned h = 0;
    while (!vv_slice_eq(info->labels[1].value, S(hosts[h])))
        h++;
    size_t i = TIMES;
    while (i > 0 && !m->is_there[h][i - 1])
        i--;
    assert_true(i > 0);
    assert_true(sample->time_ns == time_of(i - 1));
    assert_true(sample->f64 == m->value[h][i - 1]);
    return 0;
}

static void agree_with_a_list(sim_world *w, uint32_t room)
{
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(11));
    model *m = calloc(1, sizeof *m);
    answer *a = malloc(sizeof *a);
    vv_table *t = open_table(w, room);
    for (int step = 0; step < 400; step++) {
        unsigned what = (unsigned)vv_rng_below(&rng, 40);
        if (what < 30) {
            write_some(t, m, &rng, 6);
        } else if (what < 36) {
            delete_some(t, m, &rng);
        } else if (what == 36) {
            flush_all(w->db);
        } else if (what == 37) {
            vv_error err = {0};
            assert_ok(vv_compact(t, S(""), S(""), &err), err);
        } else if (what == 38) {
            vv_table_close(t);
            sim_reopen(w);
            t = open_table(w, room);
        } else {
            vv_error err = {0};
            assert_ok(vv_series_latest(t, NULL, 0, check_newest, m, &err), err);
        }
        size_t from = vv_rng_below(&rng, TIMES);
        size_t to = from + vv_rng_below(&rng, TIMES - from + 1);
        check_host(t, m, (unsigned)vv_rng_below(&rng, HOSTS), from, to, a);
    }
    for (unsigned h = 0; h < HOSTS; h++)
        check_host(t, m, h, 0, TIMES, a);
    if (room > 0)
        assert_true(classes_used(t) > 2);
    vv_table_close(t);
    free(a);
    free(m);
}

static void prop_agrees_with_a_list(void **state)
{
    is_dense = false;
    agree_with_a_list(*state, 0);
}

/* Buckets become full all the time, down to those of a microsecond. */
static void prop_full_buckets_lose_nothing(void **state)
{
    is_dense = true;
    agree_with_a_list(*state, 8);
    is_dense = false;
}

static void prop_a_reader_joins_full_buckets_of_a_slow_series(void **state)
{
    is_dense = false;
    agree_with_a_list(*state, 4);
}

/* Two days of a slow series are filled up by turns, each with more than one bucket may ever hold;
 * then a part is written again, and a part deleted. */
static void a_dense_backfill_loses_nothing(void **state)
{
    enum { STEP = 20000, STEPS = 30, DAYS = 2 };
    sim_world *w = *state;
    vv_error err = {0};
    int64_t *time = malloc(STEP * sizeof *time);
    double *value = malloc(STEP * sizeof *value);
    answer *a = malloc(sizeof *a);
    const int64_t slow[] = {0, 40000 * SEC, 90000 * SEC};
    const double zeros[] = {0, 0, 0};
    static_assert((uint64_t)STEP * STEPS > SERIES_SET_SAMPLES_MAX, "more than a bucket holds");
    vv_table *t = any_time_table(w->db);
    assert_ok(append(t, "t", "a", slow, zeros, NULL, 3, NULL, &err), err);
    for (int step = 0; step <= STEPS; step++) {
        for (int day = 0; day < DAYS; day++) {
            vv_append_result r;
            for (int64_t i = 0; i < STEP; i++) {
                int64_t n = (int64_t)(step % STEPS) * STEP + i; /* the first step comes twice */
                time[i] = 1 + (int64_t)day * 86400 * SEC + n * (SEC / 8);
                value[i] = (double)(n + (step == STEPS));
            }
            assert_ok(append(t, "t", "a", time, value, NULL, STEP, &r, &err), err);
            assert_int_equal(r.accepted, STEP);
            assert_int_equal(r.refused, 0);
        }
        if (step == STEPS / 2)
            flush_all(w->db);
    }
    vv_table_close(t);
    sim_reopen(w);
    t = any_time_table(w->db);
    vv_matcher m = {VV_MATCH_EQ, S("host"), S("a")};
    assert_ok(vv_series_delete(t, &m, 1, 5000 * SEC, 6000 * SEC, NULL, &err), err);
    vv_series_query q = VV_SERIES_QUERY_INIT;
    q.matchers = &m;
    q.matcher_count = 1;
    q.end_ns = 10 * 86400 * SEC;
    for (int pass = 0; pass < 2; pass++) {
        q.aggregate = VV_AGG_COUNT;
        assert_ok(ask(t, &q, a, &err), err);
        assert_int_equal((int64_t)a->value[0], 3 + STEP * STEPS * DAYS - 8000);
        q.aggregate = VV_AGG_SUM;
        assert_ok(ask(t, &q, a, &err), err);
        double n = (double)STEP * STEPS;
        assert_true(a->value[0] == n * (n - 1) + 2.0 * STEP - (40000.0 + 47999) * 4000);
        assert_ok(vv_compact(t, S(""), S(""), &err), err);
    }
    vv_table_close(t);
    free(time);
    free(value);
    free(a);
}

/* ---- crashes ---- */

#define ENTRIES 24u

/* Entry n has sample n of two hosts: both or none are there. */
static vv_status write_entry(vv_table *t, unsigned n, vv_error *err)
{
    vv_samples *s = vv_samples_create(t);
    if (s == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory");
    vv_status st = VV_OK;
    for (unsigned h = 0; st == VV_OK && h < 2; h++) {
        char host[16];
        const int64_t time = (int64_t)n * 5000 * SEC;
        const double value = n;
        (void)snprintf(host, sizeof host, "%c%u", 'a' + (int)h, n % 5);
        st = begin_series(s, "t", host, VV_F64, err);
        if (st == VV_OK)
            st = vv_samples_f64(s, &time, &value, NULL, 1, err);
    }
    if (st == VV_OK)
        st = vv_samples_position(s, S("src"), S("1"), n + 1, err);
    if (st == VV_OK)
        st = vv_series_append(s, VV_DURABLE_SYNC, NULL, err);
    vv_samples_destroy(s);
    return st;
}

/* Between the entries of two partitions: so the cut may come there, too. */
static void sync_between(void *ctx, const char *name)
{
    vv_db *db = ctx;
    vv_batch *b = strcmp(name, "db.after_share_of_append") == 0 ? vv_batch_create(db) : NULL;
    if (b != NULL)
        (void)!vv_write(db, b, VV_DURABLE_SYNC, NULL, NULL);
    vv_batch_destroy(b);
}

/* Between the samples there are: nothing goes, but an entry is written. */
static vv_status look_and_delete_nothing(vv_table *t, unsigned n, vv_error *err)
{
    static answer a;
    vv_matcher m = {VV_MATCH_RE, S("host"), S("[ab].")};
    vv_series_query q = VV_SERIES_QUERY_INIT;
    int64_t time = (int64_t)n * 5000 * SEC;
    q.matchers = &m;
    q.matcher_count = 1;
    q.end_ns = INT64_MAX;
    vv_status st = vv_series_delete(t, &m, 1, time + 1, time + 2, NULL, err);
    if (st == VV_OK)
        st = ask(t, &q, &a, err);
    if (st == VV_OK)
        assert_true(a.count >= (size_t)2 * (n + 1)); /* more where work is done again */
    return st;
}

static vv_status work(vv_db *db, bool *acked, vv_error *err)
{
    vv_table *t = NULL;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = VV_TABLE_SERIES;
    opt.future_ns = INT64_MAX;
    const vv_keep_rule rule = {{VV_MATCH_PREFIX, S("host"), S("b")}, INT64_MAX};
    opt.keep_rules = &rule; /* so long that nothing goes */
    opt.keep_rule_count = 1;
    opt.partitions = test_partitions;
    opt.if_not_exists = true;
    vv_status st = vv_table_create(db, "plant", "sensors", &opt, &t, err);
    for (unsigned n = 0; st == VV_OK && n < ENTRIES; n++) {
        st = write_entry(t, n, err);
        acked[n] |= st == VV_OK;
        if (st == VV_OK && n % 7 == 6)
            st = vv_checkpoint(db, err);
        if (st == VV_OK && n % 4 == 3)
            st = look_and_delete_nothing(t, n, err);
    }
    vv_table_close(t);
    return st;
}

static bool has_sample(vv_table *t, unsigned n, unsigned h, answer *a)
{
    char host[16];
    (void)snprintf(host, sizeof host, "%c%u", 'a' + (int)h, n % 5);
    ask_raw(t, NULL, host, (int64_t)n * 5000 * SEC, (int64_t)n * 5000 * SEC + 1, a);
    return a->count == 1 && a->value[0] == (double)n;
}

static int count_all(void *ctx, const vv_series_info *info)
{
    (void)info;
    ++*(size_t *)ctx;
    return 0;
}

/* torn counts entries that some partitions have and others have not. */
static void check_after(vv_db *db, const bool *acked, answer *a, unsigned *torn)
{
    vv_error err = {0};
    vv_table *t = NULL;
    vv_status st = vv_table_open(db, "plant", "sensors", &t, &err);
    if (st == VV_NOT_FOUND) {
        assert_false(acked[0]);
        return;
    }
    assert_ok(st, err);
    uint64_t last = 0;
    for (unsigned n = 0; n < ENTRIES; n++) {
        bool there = has_sample(t, n, 0, a);
        if (acked[n] && !there)
            fail_msg("acknowledged sample %u is lost", n);
        if (test_partitions == 1 && there != has_sample(t, n, 1, a))
            fail_msg("entry %u is there in part", n);
        last = there || has_sample(t, n, 1, a) ? n + 1 : last;
    }
    vv_source_position p = {.sequence = 0};
    st = vv_series_position(t, S("src"), &p, &err);
    assert_true(st == VV_OK || st == VV_NOT_FOUND);
    if (test_partitions == 1)
        assert_int_equal(p.sequence, last);
    for (unsigned n = 0; n < ENTRIES; n++) { /* up to the least position all of it is there */
        bool is_before = n < p.sequence;
        assert_true(is_before || !acked[n]);
        assert_true(!is_before || (has_sample(t, n, 0, a) && has_sample(t, n, 1, a)));
    }
    *torn += last > p.sequence;
    /* The index has each series once, and writing goes on. */
    size_t listed = 0;
    uint64_t counted = 0;
    assert_ok(vv_series_list(t, NULL, 0, 0, count_all, &listed, &err), err);
    assert_ok(vv_series_count(t, &counted, NULL, &err), err);
    assert_int_equal(listed, counted);
    assert_true(test_partitions > 1 || listed == (last < 5 ? 2 * last : 10));
    for (unsigned n = (unsigned)p.sequence; n < ENTRIES; n++)
        assert_ok(write_entry(t, n, &err), err);
    for (unsigned n = 0; n < ENTRIES; n++)
        assert_true(has_sample(t, n, 0, a) && has_sample(t, n, 1, a));
    listed = 0;
    assert_ok(vv_series_list(t, NULL, 0, 0, count_all, &listed, &err), err);
    assert_int_equal(listed, 10);
    vv_table_close(t);
}

static void prop_a_power_cut_keeps_what_was_acknowledged(void **state)
{
    sim_world *w = *state;
    answer *a = malloc(sizeof *a);
    uint64_t seed = vv_test_seed(5);
    unsigned torn = 0;
    bool cut = true;
    sim_end(w);
    for (uint64_t at = 1; cut; at++) {
        bool acked[ENTRIES] = {false};
        vv_error err = {0};
        w->disk = vio_sim_disk_create();
        vio_sim_options sim = {.seed = seed + at, .cut_after_writes = at, .tear = true};
        assert_ok(sim_on(w, &sim, &err), err);
        vv_status st = sim_open_db(w, &err);
        vv_point_set(sync_between, w->db);
        if (st == VV_OK)
            st = work(w->db, acked, &err);
        vv_point_set(NULL, NULL);
        cut = st != VV_OK;
        db_abandon(w->db);
        sim_off(w);
        assert_ok(sim_on(w, &(vio_sim_options){.seed = seed}, &err), err);
        assert_ok(sim_open_db(w, &err), err);
        check_after(w->db, acked, a, &torn);
        sim_end(w);
    }
#ifdef VV_TEST_HOOKS
    assert_true((torn > 0) == (test_partitions > 1));
#else
    assert_true(torn == 0 || test_partitions > 1);
#endif
    free(a);
}

/* Each call of the disk that can fail does so once, in the whole life of a store. */
static uint64_t fail_at(sim_world *w, vio_sim_fault kind, uint64_t at, answer *a)
{
    bool acked[ENTRIES] = {false};
    unsigned torn = 0;
    vv_error err = {0};
    w->disk = vio_sim_disk_create();
    vio_sim_options sim = {.seed = 3, .fault = kind, .fault_at = at};
    assert_ok(sim_on(w, &sim, &err), err);
    vv_status st = sim_open_db(w, &err);
    if (st == VV_OK)
        st = work(w->db, acked, &err);
    uint64_t sites = vio_sim_fault_sites(w->disk, kind);
    if (st != VV_OK && kind == VIO_SIM_ENOSPC && w->db != NULL && !atomic_load(&w->db->failed)) {
        vio_sim_heal(w->disk); /* a full disk refuses, and goes on when there is room */
        assert_ok(work(w->db, acked, &err), err);
    }
    assert_true(st == VV_OK || sites >= at);
    db_abandon(w->db);
    sim_off(w);
    vio_sim_disk_kill(w->disk);
    assert_ok(sim_on(w, &(vio_sim_options){.seed = 3}, &err), err);
    assert_ok(sim_open_db(w, &err), err);
    check_after(w->db, acked, a, &torn);
    sim_end(w);
    return sites;
}

static void walk_every_io_may_fail(void **state)
{
    static const vio_sim_fault kinds[] = {VIO_SIM_EIO, VIO_SIM_EIO_STICKY, VIO_SIM_ENOSPC,
                                          VIO_SIM_SHORT};
    sim_world *w = *state;
    answer *a = malloc(sizeof *a);
    sim_end(w);
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (uint64_t at = 1; at <= fail_at(w, kinds[k], at, a); at++)
            continue;
    free(a);
}

/* The log failed: only a reopening goes on from there. */
static vv_table *begin_again(sim_world *w, vv_table *t)
{
    vv_table_close(t);
    db_abandon(w->db);
    sim_off(w);
    sim_start(w);
    return any_time_table(w->db);
}

static void walk_every_allocation_may_fail(void **state)
{
    sim_world *w = *state;
    answer *a = malloc(sizeof *a);
    vv_table *t = any_time_table(w->db);
    unsigned failures = 0;
    for (int64_t n = 0; n < 400; n++) {
        vv_error err = {0};
        unsigned entry = (unsigned)(n % ENTRIES);
        vv_alloc_fail_after(n, 0);
        vv_status st = write_entry(t, entry, &err);
        vv_alloc_fail_after(-1, 0);
        if (st != VV_OK) {
            assert_true(st == VV_NO_MEMORY || st == VV_BUSY || st == VV_IO);
            failures++;
            if (st == VV_IO)
                t = begin_again(w, t);
            assert_ok(write_entry(t, entry, &err), err);
        }
        assert_true(has_sample(t, entry, 0, a) && has_sample(t, entry, 1, a));
        /* A series that was new in an append that failed is new in the next one. */
        char host[16];
        const int64_t time = n;
        const double value = 1;
        (void)snprintf(host, sizeof host, "new%d", (int)n);
        vv_alloc_fail_after(n % 60, 0);
        st = append(t, "t", host, &time, &value, NULL, 1, NULL, &err);
        vv_alloc_fail_after(-1, 0);
        if (st == VV_IO)
            t = begin_again(w, t);
        if (st != VV_OK)
            append_one(t, host, time, value);
        ask_raw(t, NULL, host, 0, INT64_MAX, a);
        assert_int_equal(a->count, 1);
        vv_matcher m = {VV_MATCH_RE, S("host"), S("a.*")};
        vv_series_query q = VV_SERIES_QUERY_INIT;
        q.matchers = &m;
        q.matcher_count = 1;
        q.end_ns = INT64_MAX;
        vv_alloc_fail_after(n, 0);
        st = ask(t, &q, a, &err);
        vv_alloc_fail_after(-1, 0);
        assert_true(st == VV_OK || st == VV_NO_MEMORY);
        failures += st != VV_OK;
    }
    assert_true(failures > 10);
    vv_table_close(t);
    free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TP(prop_agrees_with_a_list),
        TP(prop_full_buckets_lose_nothing),
        TP(prop_a_reader_joins_full_buckets_of_a_slow_series),
        TP(a_dense_backfill_loses_nothing),
        TP(prop_a_power_cut_keeps_what_was_acknowledged),
        TP(walk_every_allocation_may_fail),
        TP(walk_every_io_may_fail),
    };
    engine_under_test = &lsm_ops;
    int failed = cmocka_run_group_tests_name("lsm", tests, NULL, NULL);
    test_partitions = 2;
    failed += cmocka_run_group_tests_name("lsm, 2 partitions", tests, NULL, NULL);
    test_partitions = 1;
    engine_under_test = &btree_ops;
    failed += cmocka_run_group_tests_name("btree", tests, NULL, NULL);
    return failed;
}
