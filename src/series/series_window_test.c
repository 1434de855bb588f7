#include "series/window.h"

#include <math.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "series/points.h"
#include "series/series_model.h"
#include "series/series_test_util.h"

typedef struct world {
    vv_rng rng;
    series_scratch scratch;
    series_fold *fold;
    vv_buf out;
    series_points points;
    series_points more;
    series_columns columns;
    tu_samples in;
} world;

static int setup(void **ctx)
{
    world *w = calloc(1, sizeof *w);
    vv_rng_init(&w->rng, vv_test_seed(1));
    series_scratch_init(&w->scratch);
    series_points_init(&w->points);
    series_points_init(&w->more);
    series_columns_init(&w->columns);
    vv_buf_init(&w->out, 64u << 20);
    *ctx = w;
    return 0;
}

static int teardown(void **ctx)
{
    world *w = *ctx;
    series_scratch_fini(&w->scratch);
    series_points_fini(&w->points);
    series_points_fini(&w->more);
    series_columns_fini(&w->columns);
    vv_buf_fini(&w->out);
    free(w);
    return 0;
}

/* ---- windows ---- */

static void expect_model(world *w, const series_window_options *o)
{
    static model_points want;
    /* A deviation of large numbers is a difference of larger ones. */
    double share = o->aggregate == SERIES_AGG_STDDEV ? 1e-6 : 1e-9;
    model_windows(&w->in.s, o, &want);
    for (uint32_t i = 0; i < want.count; i++)
        if (i == w->points.count || w->points.time[i] != want.time[i] ||
            !model_is_close(w->points.value[i], want.value[i], share))
            fail_msg("VV_SEED=%#llx: aggregate %d of type %d at %lld: %.17g at %lld, not %.17g",
                     (unsigned long long)vv_test_seed(1), (int)o->aggregate, (int)w->in.s.type,
                     (long long)want.time[i], i < w->points.count ? w->points.value[i] : -1,
                     (long long)(i < w->points.count ? w->points.time[i] : -1), want.value[i]);
    assert_int_equal(w->points.count, want.count);
}

/* The samples cut into chunks of any size and form, as a bucket would hold them. */
static void feed_chunks(world *w, series_window *win, series_form form)
{
    vv_error err;
    for (uint32_t at = 0; at < w->in.s.count;) {
        uint32_t left = w->in.s.count - at;
        uint32_t n = 1 + (uint32_t)vv_rng_below(&w->rng, left < 300 ? left : 300);
        series_samples part = series_samples_part(&w->in.s, at, n);
        vv_buf_reset(&w->out);
        series_chunk_encode(&part, form, series_scratch_codec(&w->scratch), &w->out);
        assert_int_equal(w->out.status, VV_OK);
        assert_ok(series_window_chunk(win, vv_buf_slice(&w->out), &err), err);
        at += n;
    }
}

static void make_values(world *w, unsigned style)
{
    double v = 0;
    for (uint32_t i = 0; i < w->in.s.count; i++) {
        double before = v;
        v = (double)vv_rng_below(&w->rng, 100000) / 100;
        if (style == 1)
            v = before + (double)vv_rng_below(&w->rng, 5);
        if (style == 2)
            v = 1e9 + (double)vv_rng_below(&w->rng, 100) / 8;
        if (style == 1 && vv_rng_one_in(&w->rng, 100))
            v = 0; /* a counter's reset */
        if (w->in.s.type == SERIES_F64)
            w->in.value.f64[i] = style == 3 && vv_rng_one_in(&w->rng, 10) ? NAN : v;
        else if (w->in.s.type == SERIES_I64)
            w->in.value.i64[i] = (int64_t)v - (style == 3 ? 500 : 0);
        else
            w->in.value.b[i] = (uint64_t)v % 2;
    }
}

static void prop_windows_are_what_one_would_work_out_by_hand(void **ctx)
{
    world *w = *ctx;
    vv_error err;
    uint64_t rounds = vv_test_count("VV_WINDOWS", 400);
    for (uint64_t r = 0; r < rounds; r++) {
        uint32_t n = (uint32_t)vv_rng_below(&w->rng, vv_rng_one_in(&w->rng, 5) ? 1500 : 60);
        tu_make(&w->in, &w->rng, (series_type)(SERIES_F64 + r % 3), n, true, -5000, 10000);
        make_values(w, (unsigned)vv_rng_below(&w->rng, 4));
        int64_t start = -6000 + (int64_t)vv_rng_below(&w->rng, 8000);
        series_window_options o = {
            .percentile = (double)vv_rng_below(&w->rng, 101),
            .start = start,
            .end = start + 1 + (int64_t)vv_rng_below(&w->rng, 9000),
            .step = vv_rng_one_in(&w->rng, 6) ? 0 : 200 + (int64_t)vv_rng_below(&w->rng, 4000),
            .offset = (int64_t)vv_rng_below(&w->rng, 10000) - 5000,
            .all_quality = vv_rng_one_in(&w->rng, 2),
        };
        for (o.aggregate = SERIES_AGG_COUNT; o.aggregate <= SERIES_AGG_PERCENT_GOOD; o.aggregate++)
            for (unsigned way = 0; way < 4; way++) {
                series_window win;
                o.without_summaries = way == 0;
                assert_ok(series_window_check(&o, &err), err);
                series_points_clear(&w->points);
                series_window_init(&win, &o, &w->points);
                if (way == 3)
                    assert_ok(series_window_add(&win, &w->in.s, &err), err);
                else
                    feed_chunks(w, &win, way == 2 ? SERIES_RAW : SERIES_COMPACT);
                assert_ok(series_window_finish(&win, &err), err);
                series_window_fini(&win);
                expect_model(w, &o);
            }
    }
}

static void begin(world *w, uint32_t n)
{
    w->in.s = (series_samples){.type = SERIES_F64, .count = n, .time = w->in.time};
    w->in.s.value.any = &w->in.value;
}

/* A sample a second from `from` s on, value = its number. */
static void fill(world *w, int64_t from, uint32_t n)
{
    begin(w, n);
    for (uint32_t i = 0; i < n; i++) {
        w->in.time[i] = (from + i) * VV_NS_PER_S;
        w->in.value.f64[i] = i;
    }
}

static void run(world *w, const series_window_options *o, series_form form,
                series_window_stats *stats)
{
    vv_error err;
    series_window win;
    series_points_clear(&w->points);
    series_window_init(&win, o, &w->points);
    vv_buf_reset(&w->out);
    assert_ok(series_set_encode(&w->in.s, form, &w->scratch, &w->out, &err), err);
    assert_ok(series_window_set(&win, vv_buf_slice(&w->out), INT64_MIN, &err), err);
    assert_ok(series_window_finish(&win, &err), err);
    if (stats != NULL)
        *stats = win.stats;
    series_window_fini(&win);
}

static void test_covered_chunks_are_not_decoded(void **ctx)
{
    world *w = *ctx;
    series_window_stats stats;
    fill(w, 0, 4096);
    series_window_options o = {.aggregate = SERIES_AGG_SUM, .start = 0, .end = 4096 * VV_NS_PER_S};
    run(w, &o, SERIES_COMPACT, &stats);
    assert_int_equal(stats.chunks_summed, 4);
    assert_int_equal(stats.chunks_decoded, 0);
    assert_true(w->points.count == 1 && w->points.value[0] == 4095.0 * 4096 / 2);
    o.start = VV_NS_PER_S; /* it cuts the first chunk */
    run(w, &o, SERIES_COMPACT, &stats);
    assert_int_equal(stats.chunks_summed, 3);
    assert_int_equal(stats.chunks_decoded, 1);
    o.step = 1500 * VV_NS_PER_S; /* and where a window ends inside of one */
    run(w, &o, SERIES_COMPACT, &stats);
    assert_int_equal(stats.chunks_decoded, 3);
    o = (series_window_options){
        .aggregate = SERIES_AGG_INCREASE, .start = 0, .end = 4096 * VV_NS_PER_S};
    run(w, &o, SERIES_COMPACT, &stats);
    assert_int_equal(stats.chunks_summed, 4); /* it never falls */
    assert_true(w->points.value[0] == 4095);
}

static void test_windows_before_1970(void **ctx)
{
    world *w = *ctx;
    fill(w, -10, 20); /* -10 s .. 9 s */
    series_window_options o = {.aggregate = SERIES_AGG_COUNT,
                               .start = -10 * VV_NS_PER_S,
                               .end = 10 * VV_NS_PER_S,
                               .step = 6 * VV_NS_PER_S};
    run(w, &o, SERIES_OPEN, NULL);
    const int64_t at[] = {-12, -6, 0, 6};
    const double count[] = {4, 6, 6, 4};
    assert_int_equal(w->points.count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_true(w->points.time[i] == at[i] * VV_NS_PER_S);
        assert_true(w->points.value[i] == count[i]);
    }
}

static void test_where_a_window_begins_and_ends(void **ctx)
{
    (void)ctx;
    const struct {
        int64_t t, step, offset, begin, end;
    } cases[] = {
        {0, 10, 0, 0, 10},
        {9, 10, 0, 0, 10},
        {10, 10, 0, 10, 20},
        {-1, 10, 0, -10, 0},
        {-10, 10, 0, -10, 0},
        {5, 10, 7, -3, 7},
        {7, 10, 7, 7, 17},
        {5, 10, -3, -3, 7},
        {5, 10, 127, -3, 7},
        {INT64_MIN, 10, 0, INT64_MIN, INT64_MIN + 8},
        {INT64_MAX, 10, 0, INT64_MAX - 7, INT64_MAX},
        {INT64_MAX, INT64_MAX, INT64_MIN, INT64_MAX - 1, INT64_MAX},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t begins = 0;
        int64_t ends = 0;
        series_window_of(cases[i].t, cases[i].step, cases[i].offset, &begins, &ends);
        if (begins != cases[i].begin || ends != cases[i].end)
            fail_msg("case %zu: [%lld, %lld)", i, (long long)begins, (long long)ends);
    }
}

static void test_deviation_of_large_numbers(void **ctx)
{
    world *w = *ctx;
    begin(w, 3000);
    for (uint32_t i = 0; i < 3000; i++) {
        w->in.time[i] = i;
        w->in.value.f64[i] = 1e12 + (i % 2);
    }
    series_window_options o = {.aggregate = SERIES_AGG_STDDEV, .start = 0, .end = 3000};
    run(w, &o, SERIES_COMPACT, NULL);
    assert_true(fabs(w->points.value[0] - 0.5) < 1e-3);
    run(w, &o, SERIES_OPEN, NULL);
    assert_true(fabs(w->points.value[0] - 0.5) < 1e-3);
}

static void test_strings_are_counted_alone(void **ctx)
{
    world *w = *ctx;
    vv_error err;
    series_window win;
    tu_make(&w->in, &w->rng, SERIES_STRING, 50, true, 0, 1000);
    series_window_options o = {.aggregate = SERIES_AGG_SUM, .start = 0, .end = 1000};
    series_window_init(&win, &o, &w->points);
    assert_status(VV_INVALID, series_window_add(&win, &w->in.s, &err));
    series_window_fini(&win);
    w->in.s.quality = NULL;
    o = (series_window_options){.aggregate = SERIES_AGG_COUNT, .start = 0, .end = INT64_MAX};
    run(w, &o, SERIES_COMPACT, NULL);
    assert_true(w->points.value[0] == 50);
}

static void test_questions_that_make_no_sense(void **ctx)
{
    (void)ctx;
    const series_window_options bad[] = {
        {.aggregate = SERIES_AGG_NONE},
        {.aggregate = SERIES_AGG_PERCENT_GOOD + 1},
        {.aggregate = SERIES_AGG_PERCENTILE, .percentile = 101},
        {.aggregate = SERIES_AGG_PERCENTILE, .percentile = NAN},
        {.aggregate = SERIES_AGG_SUM, .step = -1},
        {.aggregate = SERIES_AGG_SUM, .start = 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_status(VV_INVALID, series_window_check(&bad[i], NULL));
}

static void test_samples_out_of_order_are_refused(void **ctx)
{
    world *w = *ctx;
    series_window win;
    fill(w, 5, 3);
    series_window_options o = {.aggregate = SERIES_AGG_SUM, .start = 0, .end = INT64_MAX};
    series_window_init(&win, &o, &w->points);
    assert_int_equal(series_window_add(&win, &w->in.s, NULL), VV_OK);
    assert_status(VV_INVALID, series_window_add(&win, &w->in.s, NULL));
    series_window_fini(&win);
}

/* ---- points ---- */

static void put_points(series_points *p, const double *v, size_t n)
{
    series_points_clear(p);
    for (size_t i = 0; i < n; i++)
        if (v[i] >= 0) /* below 0: no point */
            assert_int_equal(series_points_add(p, (int64_t)i * 10, v[i], false, NULL), VV_OK);
}

/* -1: no point, -2: a null */
static void expect_points(const series_points *p, const double *v, size_t n, const char *what)
{
    uint32_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (v[i] == -1)
            continue;
        if (at == p->count || p->time[at] != (int64_t)i * 10 || p->is_null[at] != (v[i] == -2) ||
            (v[i] >= 0 && p->value[at] != v[i]))
            fail_msg("%s: point %zu", what, i);
        at++;
    }
    if (at != p->count)
        fail_msg("%s: %u points", what, p->count);
}

static void test_fills(void **ctx)
{
    world *w = *ctx;
    const double in[8] = {-1, 10, -1, -1, -1, 50, -1, -1};
    const series_edge before = {.is_there = true, .time = -10, .value = 6};
    const series_edge behind = {.is_there = true, .time = 80, .value = 80};
    const struct {
        const char *name;
        series_fill_options o;
        double want[8];
    } cases[] = {
        {"none", {.fill = SERIES_FILL_NONE}, {-1, 10, -1, -1, -1, 50, -1, -1}},
        {"null", {.fill = SERIES_FILL_NULL}, {-2, 10, -2, -2, -2, 50, -2, -2}},
        {"value", {.fill = SERIES_FILL_VALUE, .value = 7}, {7, 10, 7, 7, 7, 50, 7, 7}},
        {"previous", {.fill = SERIES_FILL_PREVIOUS}, {-1, 10, 10, 10, 10, 50, 50, 50}},
        {"previous, an edge",
         {.fill = SERIES_FILL_PREVIOUS, .before = before},
         {6, 10, 10, 10, 10, 50, 50, 50}},
        {"previous, a gap",
         {.fill = SERIES_FILL_PREVIOUS, .max_gap = 20},
         {-1, 10, 10, 10, -1, 50, 50, 50}},
        {"linear", {.fill = SERIES_FILL_LINEAR}, {-1, 10, 20, 30, 40, 50, -1, -1}},
        {"linear, edges",
         {.fill = SERIES_FILL_LINEAR, .before = before, .behind = behind},
         {8, 10, 20, 30, 40, 50, 60, 70}},
        {"linear, a gap",
         {.fill = SERIES_FILL_LINEAR, .max_gap = 30, .behind = behind},
         {-1, 10, -1, -1, -1, 50, 60, 70}},
    };
    put_points(&w->points, in, 8);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_error err;
        series_fill_options o = cases[i].o;
        o.start = 3;
        o.end = 80;
        o.step = 10;
        o.points_max = 100;
        series_points_clear(&w->more);
        assert_ok(series_fill_points(&w->points, &o, &w->more, &err), err);
        expect_points(&w->more, cases[i].want, 8, cases[i].name);
    }
    series_fill_options o = {.fill = SERIES_FILL_NULL,
                             .start = INT64_MIN,
                             .end = INT64_MAX,
                             .step = 1,
                             .points_max = 1000};
    vv_error err;
    assert_status(VV_INVALID, series_fill_points(&w->points, &o, &w->more, &err));
    assert_non_null(strstr(err.msg, "1000"));
}

static void points_of_model(const model_points *in, series_points *out)
{
    series_points_clear(out);
    for (uint32_t i = 0; i < in->count; i++)
        assert_int_equal(series_points_add(out, in->time[i], in->value[i], in->is_null[i], NULL),
                         VV_OK);
}

static void expect_points_of_model(const series_points *p, const model_points *want,
                                   const char *what)
{
    for (uint32_t i = 0; i < want->count; i++)
        if (i == p->count || p->time[i] != want->time[i] ||
            (p->is_null[i] != 0) != want->is_null[i] ||
            (!want->is_null[i] && !model_is_close(p->value[i], want->value[i], 1e-12)))
            fail_msg("VV_SEED=%#llx: %s: point %u at %lld", (unsigned long long)vv_test_seed(1),
                     what, i, (long long)want->time[i]);
    if (p->count != want->count)
        fail_msg("%s: %u points, not %u", what, p->count, want->count);
}

/* Points on the grid of the options, with gaps and nulls. */
static void make_points(world *w, const series_fill_options *o, model_points *out)
{
    out->count = 0;
    for (int64_t t = model_floor(o->start, o->step, o->offset); t < o->end; t += o->step)
        if (vv_rng_one_in(&w->rng, 3))
            model_put(out, t, (double)vv_rng_below(&w->rng, 1000), vv_rng_one_in(&w->rng, 9));
}

static void prop_fills_and_groups_are_what_one_would_work_out_by_hand(void **ctx)
{
    world *w = *ctx;
    static model_points in[5];
    static model_points want;
    uint64_t rounds = vv_test_count("VV_WINDOWS", 400);
    for (uint64_t r = 0; r < rounds; r++) {
        vv_error err;
        series_fill_options o = {.value = 0.5,
                                 .start = (int64_t)vv_rng_below(&w->rng, 2000) - 1000,
                                 .step = 1 + (int64_t)vv_rng_below(&w->rng, 50),
                                 .offset = (int64_t)vv_rng_below(&w->rng, 200) - 100,
                                 .points_max = 1000};
        o.end = o.start + 1 + (int64_t)vv_rng_below(&w->rng, 300) * o.step / 4;
        o.max_gap = vv_rng_one_in(&w->rng, 2) ? 0 : (int64_t)vv_rng_below(&w->rng, 400);
        for (unsigned i = 0; i < ARRAY_LEN(in); i++)
            make_points(w, &o, &in[i]);
        o.before = (series_edge){.is_there = vv_rng_one_in(&w->rng, 2),
                                 .time = o.start - 1 - (int64_t)vv_rng_below(&w->rng, 30)};
        o.behind = (series_edge){.is_there = vv_rng_one_in(&w->rng, 2), .time = o.end, .value = 3};
        for (o.fill = SERIES_FILL_NONE; o.fill <= SERIES_FILL_VALUE; o.fill++) {
            points_of_model(&in[0], &w->points);
            series_points_clear(&w->more);
            assert_ok(series_fill_points(&w->points, &o, &w->more, &err), err);
            model_fill(&in[0], &o, &want);
            expect_points_of_model(&w->more, &want, "fill");
        }
        for (series_aggregate g = SERIES_AGG_COUNT; g <= SERIES_AGG_MAX; g++) {
            series_across across;
            series_across_init(&across, g);
            for (unsigned i = 0; i < ARRAY_LEN(in); i++) {
                points_of_model(&in[i], &w->points);
                assert_ok(series_across_add(&across, &w->points, &err), err);
            }
            series_points_clear(&w->more);
            assert_ok(series_across_finish(&across, &w->more, &err), err);
            series_across_fini(&across);
            model_across(in, ARRAY_LEN(in), g, &want);
            expect_points_of_model(&w->more, &want, "across");
        }
    }
}

static void test_across_series(void **ctx)
{
    world *w = *ctx;
    const double a[5] = {1, 2, -1, 4, -1};
    const double b[5] = {-1, 20, 30, 40, -1};
    const double c[5] = {-1, 5, -1, -1, 9};
    const double want[][5] = {{1, 3, 1, 2, 1},
                              {1, 27, 30, 44, 9},
                              {1, 9, 30, 22, 9},
                              {1, 2, 30, 4, 9},
                              {1, 20, 30, 40, 9}};
    vv_error err;
    for (series_aggregate g = SERIES_AGG_COUNT; g <= SERIES_AGG_MAX; g++) {
        series_across across;
        series_across_init(&across, g);
        put_points(&w->points, a, 5);
        assert_ok(series_across_add(&across, &w->points, &err), err);
        put_points(&w->points, b, 5);
        assert_int_equal(series_points_add(&w->points, 40, 0, true, NULL), VV_OK);
        assert_ok(series_across_add(&across, &w->points, &err), err);
        put_points(&w->points, c, 5);
        assert_ok(series_across_add(&across, &w->points, &err), err);
        series_points_clear(&w->more);
        assert_ok(series_across_finish(&across, &w->more, &err), err);
        expect_points(&w->more, want[g - SERIES_AGG_COUNT], 5, "across");
        series_across_fini(&across);
    }
    assert_false(series_across_takes(SERIES_AGG_STDDEV));
}

static void prop_picked_points_keep_the_ends_and_the_budget(void **ctx)
{
    world *w = *ctx;
    static uint32_t out[TU_MAX];
    for (unsigned r = 0; r < 500; r++) {
        uint32_t n = 1 + (uint32_t)vv_rng_below(&w->rng, 1000);
        uint32_t budget = (uint32_t)vv_rng_below(&w->rng, 200);
        tu_make(&w->in, &w->rng, SERIES_F64, n, true, INT64_MIN / 2, INT64_MAX);
        for (unsigned kind = 0; kind < 2; kind++) {
            uint32_t got = kind == 0
                               ? series_pick_lttb(w->in.time, w->in.value.f64, n, budget, out)
                               : series_pick_min_max(w->in.time, w->in.value.f64, n, budget, out);
            assert_true(got <= budget || n <= budget);
            if (kind == 0)
                assert_int_equal(got, n < budget ? n : budget);
            for (uint32_t i = 1; i < got; i++)
                assert_true(out[i] > out[i - 1] && out[i] < n);
            if (got >= 2)
                assert_true(out[0] == 0 && out[got - 1] == n - 1);
        }
    }
}

/* Whole values at whole times: every area is exact enough to tell the largest. */
static void prop_picks_are_those_of_the_paper(void **ctx)
{
    world *w = *ctx;
    static uint32_t out[TU_MAX];
    static uint32_t want[TU_MAX];
    for (unsigned r = 0; r < 500; r++) {
        uint32_t n = 3 + (uint32_t)vv_rng_below(&w->rng, 2000);
        uint32_t budget = 3 + (uint32_t)vv_rng_below(&w->rng, n < 300 ? n : 300);
        tu_make(&w->in, &w->rng, SERIES_F64, n, true, -1000000, 100000000);
        for (uint32_t i = 0; i < n; i++)
            w->in.value.f64[i] = (double)vv_rng_below(&w->rng, 1000) - 500;
        uint32_t got = series_pick_lttb(w->in.time, w->in.value.f64, n, budget, out);
        if (n > budget)
            model_expect_lttb(w->in.time, w->in.value.f64, n, budget, out);
        assert_int_equal(got, n < budget ? n : budget);
        got = series_pick_min_max(w->in.time, w->in.value.f64, n, budget, out);
        if (n <= budget || budget < 4)
            continue;
        assert_int_equal(got, model_min_max(w->in.value.f64, n, budget, want));
        assert_memory_equal(out, want, got * sizeof *out);
    }
}

static void test_picks_find_the_peak(void **ctx)
{
    world *w = *ctx;
    static uint32_t out[100];
    fill(w, 0, 1000);
    for (uint32_t i = 0; i < 1000; i++)
        w->in.value.f64[i] = i % 7 == 0 ? NAN : 1;
    w->in.value.f64[500] = 100;
    for (unsigned kind = 0; kind < 2; kind++) {
        uint32_t n = kind == 0 ? series_pick_lttb(w->in.time, w->in.value.f64, 1000, 20, out)
                               : series_pick_min_max(w->in.time, w->in.value.f64, 1000, 20, out);
        bool found = false;
        for (uint32_t i = 0; i < n; i++) {
            found |= out[i] == 500;
            assert_true(out[i] == 0 || !isnan(w->in.value.f64[out[i]]));
        }
        assert_true(found);
    }
}

static void test_every_allocation_may_fail(void **ctx)
{
    world *w = *ctx;
    bool failed = true;
    fill(w, 0, 3000);
    vv_buf_reset(&w->out);
    vv_error err;
    assert_ok(series_set_encode(&w->in.s, SERIES_OPEN, &w->scratch, &w->out, &err), err);
    for (unsigned n = 0; failed; n++) {
        series_points out;
        series_points filled;
        series_window win;
        series_across across;
        series_points_init(&out);
        series_points_init(&filled);
        series_across_init(&across, SERIES_AGG_SUM);
        const series_window_options o = {.aggregate = SERIES_AGG_PERCENTILE,
                                         .start = 0,
                                         .end = INT64_MAX,
                                         .step = 10 * VV_NS_PER_S};
        const series_fill_options f = {.fill = SERIES_FILL_NULL,
                                       .end = 5000 * VV_NS_PER_S,
                                       .step = 5 * VV_NS_PER_S,
                                       .points_max = 10000};
        vv_alloc_fail_after(n, 0);
        series_window_init(&win, &o, &out);
        vv_status st = series_window_set(&win, vv_buf_slice(&w->out), INT64_MIN, NULL);
        if (st == VV_OK)
            st = series_window_finish(&win, NULL);
        if (st == VV_OK)
            st = series_fill_points(&out, &f, &filled, NULL);
        if (st == VV_OK)
            st = series_across_add(&across, &out, NULL);
        if (st == VV_OK)
            st = series_across_add(&across, &filled, NULL);
        vv_alloc_fail_after(-1, 0);
        failed = st != VV_OK;
        if (failed)
            assert_int_equal(st, VV_NO_MEMORY);
        series_window_fini(&win);
        series_points_fini(&out);
        series_points_fini(&filled);
        series_across_fini(&across);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(prop_windows_are_what_one_would_work_out_by_hand),
        T(test_covered_chunks_are_not_decoded),
        T(test_windows_before_1970),
        T(test_where_a_window_begins_and_ends),
        T(test_deviation_of_large_numbers),
        T(test_strings_are_counted_alone),
        T(test_questions_that_make_no_sense),
        T(test_samples_out_of_order_are_refused),
        T(test_fills),
        T(prop_fills_and_groups_are_what_one_would_work_out_by_hand),
        T(test_across_series),
        T(prop_picked_points_keep_the_ends_and_the_budget),
        T(prop_picks_are_those_of_the_paper),
        T(test_picks_find_the_peak),
        T(test_every_allocation_may_fail),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
