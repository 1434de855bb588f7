#include "series/fold.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "series/series_test_util.h"

#define SETS 40u

typedef struct world {
    vv_rng rng;
    series_scratch scratch;
    series_fold *fold;
    series_columns columns;
    vv_buf out;
    vv_buf set[SETS]; /* the oldest first */
    uint32_t set_count;
    tu_samples in;
    tu_model model;
} world;

static int setup(void **ctx)
{
    world *w = calloc(1, sizeof *w);
    vv_rng_init(&w->rng, vv_test_seed(1));
    series_scratch_init(&w->scratch);
    series_columns_init(&w->columns);
    w->fold = series_fold_create();
    vv_buf_init(&w->out, 64u << 20);
    for (unsigned i = 0; i < SETS; i++)
        vv_buf_init(&w->set[i], 64u << 20);
    *ctx = w;
    return 0;
}

static int teardown(void **ctx)
{
    world *w = *ctx;
    series_scratch_fini(&w->scratch);
    series_columns_fini(&w->columns);
    series_fold_destroy(w->fold);
    vv_buf_fini(&w->out);
    for (unsigned i = 0; i < SETS; i++)
        vv_buf_fini(&w->set[i]);
    free(w);
    return 0;
}

static void add_set(world *w, series_form form)
{
    vv_error err;
    vv_buf *to = &w->set[w->set_count++];
    vv_buf_reset(to);
    assert_ok(series_set_encode(&w->in.s, form, &w->scratch, to, &err), err);
    assert_true(series_set_is_valid(vv_buf_slice(to)));
    tu_model_add(&w->model, &w->in.s);
}

static void add_erase(world *w, int64_t from, int64_t to)
{
    vv_buf *set = &w->set[w->set_count++];
    vv_buf_reset(set);
    series_set_erase(from, to, set);
    tu_model_erase(&w->model, from, to);
}

static series_form any_form(world *w)
{
    return (series_form)vv_rng_below(&w->rng, 3);
}

static series_form read_or_file(world *w)
{
    return vv_rng_one_in(&w->rng, 2) ? SERIES_RAW : SERIES_COMPACT;
}

/* Sets from..to become one operand in the place of `from`. */
static void join(world *w, uint32_t from, uint32_t to)
{
    vv_error err;
    series_fold_reset(w->fold);
    for (uint32_t i = to; i-- > from;)
        assert_ok(series_fold_push(w->fold, vv_buf_slice(&w->set[i]), &err), err);
    vv_buf_reset(&w->out);
    assert_ok(series_fold_operand(w->fold, read_or_file(w), &w->out, &err), err);
    assert_true(series_set_is_valid(vv_buf_slice(&w->out)));
    vv_buf first = w->set[from];
    w->set[from] = w->out;
    w->out = first;
    for (uint32_t i = to; i < w->set_count; i++) {
        vv_buf swap = w->set[from + 1 + i - to];
        w->set[from + 1 + i - to] = w->set[i];
        w->set[i] = swap;
    }
    w->set_count -= to - from - 1;
}

static void expect_fold(world *w, series_form form, const char *what)
{
    vv_error err;
    series_measure m;
    series_fold_reset(w->fold);
    for (uint32_t i = w->set_count; i-- > 0;)
        assert_ok(series_fold_push(w->fold, vv_buf_slice(&w->set[i]), &err), err);
    vv_buf_reset(&w->out);
    assert_ok(series_fold_value(w->fold, form, &w->out, &err), err);
    assert_true(series_set_measure(vv_buf_slice(&w->out), &m));
    assert_true(m.is_settled);
    assert_int_equal(m.sample_count, w->model.count);
    series_columns_clear(&w->columns);
    assert_ok(series_set_decode(vv_buf_slice(&w->out), INT64_MIN, INT64_MAX, &w->columns, &err),
              err);
    series_samples got = series_columns_view(&w->columns);
    tu_expect(&w->model, &got, what);
}

static void prop_any_split_and_any_order_of_folds_give_the_last_write(void **ctx)
{
    world *w = *ctx;
    uint64_t rounds = vv_test_count("VV_FOLDS", 1200);
    for (uint64_t r = 0; r < rounds; r++) {
        series_type type = (series_type)(1 + vv_rng_below(&w->rng, 4));
        bool appends = vv_rng_one_in(&w->rng, 3);
        uint32_t sets = 1 + (uint32_t)vv_rng_below(&w->rng, 12);
        uint64_t span = 1 + vv_rng_below(&w->rng, vv_rng_one_in(&w->rng, 2) ? 60 : 100000);
        int64_t base = -(int64_t)(span / 2);
        w->set_count = 0;
        w->model.count = 0;
        for (uint32_t i = 0; i < sets; i++) {
            if (vv_rng_one_in(&w->rng, 6)) {
                int64_t from = base + (int64_t)vv_rng_below(&w->rng, span);
                add_erase(w, from, from + 1 + (int64_t)vv_rng_below(&w->rng, span));
                continue;
            }
            uint32_t n = (uint32_t)vv_rng_below(&w->rng, vv_rng_one_in(&w->rng, 8) ? 1400 : 30);
            bool sorted = appends || vv_rng_one_in(&w->rng, 2);
            tu_make(&w->in, &w->rng, type, n, sorted, base + (appends ? (int64_t)(i * span) : 0),
                    span);
            add_set(w, any_form(w));
        }
        while (w->set_count > 1 && !vv_rng_one_in(&w->rng, 3)) {
            uint32_t from = (uint32_t)vv_rng_below(&w->rng, w->set_count - 1);
            uint32_t most = w->set_count - from;
            join(w, from, from + 2 + (uint32_t)vv_rng_below(&w->rng, most - 1));
        }
        expect_fold(w, read_or_file(w), appends ? "appends" : "any order");
    }
}

static void prop_any_order_of_one_append_is_its_last_write(void **ctx)
{
    world *w = *ctx;
    for (unsigned r = 0; r < 200; r++) {
        w->set_count = 0;
        w->model.count = 0;
        tu_make(&w->in, &w->rng, (series_type)(1 + r % 4), (uint32_t)vv_rng_below(&w->rng, 3000),
                false, -1000, 1 + vv_rng_below(&w->rng, 4000));
        add_set(w, any_form(w));
        expect_fold(w, any_form(w) == SERIES_RAW ? SERIES_RAW : SERIES_COMPACT, "one append");
    }
}

/* n samples at from, from + 1, ... with this value. */
static void fill(world *w, int64_t from, uint32_t n, double value)
{
    w->in.s = (series_samples){.type = SERIES_F64, .count = n, .time = w->in.time};
    w->in.s.value.any = &w->in.value;
    for (uint32_t i = 0; i < n; i++) {
        w->in.time[i] = from + i;
        w->in.value.f64[i] = value;
    }
}

static void begin(world *w)
{
    w->set_count = 0;
    w->model.count = 0;
}

static void test_an_erased_range_takes_what_is_older_and_leaves_what_is_newer(void **ctx)
{
    world *w = *ctx;
    begin(w);
    fill(w, 0, 100, 1);
    add_set(w, SERIES_OPEN);
    add_erase(w, 10, 20);
    fill(w, 15, 2, 2);
    add_set(w, SERIES_OPEN);
    assert_int_equal(w->model.count, 92);
    expect_fold(w, SERIES_COMPACT, "put, erase, put");
    join(w, 1, 3); /* the newer two first */
    series_set set;
    assert_int_equal(series_set_open(vv_buf_slice(&w->set[1]), &set, NULL), VV_OK);
    assert_int_equal(set.erase_count, 1);
    expect_fold(w, SERIES_COMPACT, "erase and put joined");
    begin(w);
    fill(w, 0, 100, 1);
    add_set(w, SERIES_OPEN);
    add_erase(w, 10, 20);
    join(w, 0, 2); /* the older two first */
    fill(w, 15, 2, 2);
    add_set(w, SERIES_OPEN);
    expect_fold(w, SERIES_RAW, "put and erase joined");
}

static void test_erased_ranges_that_touch_are_one(void **ctx)
{
    world *w = *ctx;
    begin(w);
    const int64_t at[][2] = {{10, 20}, {40, 50}, {20, 30}, {5, 12}, {29, 41}, {60, 61}};
    for (size_t i = 0; i < ARRAY_LEN(at); i++)
        add_erase(w, at[i][0], at[i][1]);
    join(w, 0, w->set_count);
    series_set set;
    assert_int_equal(series_set_open(vv_buf_slice(&w->set[0]), &set, NULL), VV_OK);
    assert_int_equal(set.erase_count, 2);
    assert_true(series_set_erased(&set, 0).from == 5 && series_set_erased(&set, 0).to == 50);
    assert_true(series_set_erased(&set, 1).from == 60 && series_set_erased(&set, 1).to == 61);
}

static void test_a_full_erase_leaves_an_empty_value(void **ctx)
{
    world *w = *ctx;
    begin(w);
    fill(w, 0, 100, 1);
    add_set(w, SERIES_OPEN);
    add_erase(w, INT64_MIN, INT64_MAX);
    expect_fold(w, SERIES_COMPACT, "all erased");
    assert_int_equal(w->out.len, 3);
}

static void test_late_points_come_back_sorted(void **ctx)
{
    world *w = *ctx;
    begin(w);
    fill(w, 1000, 500, 1);
    add_set(w, SERIES_OPEN);
    fill(w, 900, 3, 2); /* before all */
    add_set(w, SERIES_OPEN);
    fill(w, 1200, 3, 3); /* in the midst, over what was there */
    add_set(w, SERIES_OPEN);
    expect_fold(w, SERIES_RAW, "late points");
    expect_fold(w, SERIES_COMPACT, "late points");
}

static void test_quality_is_kept(void **ctx)
{
    world *w = *ctx;
    begin(w);
    fill(w, 0, 10, 1);
    add_set(w, SERIES_OPEN);
    fill(w, 10, 10, 1);
    w->in.s.quality = w->in.quality;
    for (uint32_t i = 0; i < 10; i++)
        w->in.quality[i] = 0x80000000u + i;
    add_set(w, SERIES_OPEN);
    fill(w, 20, 10, 1);
    w->in.s.quality = NULL;
    add_set(w, SERIES_OPEN);
    for (series_form form = SERIES_RAW; form <= SERIES_COMPACT; form += 2)
        expect_fold(w, form, "qualities");
    assert_true(w->columns.has_quality && w->columns.quality[12] == 0x80000002u);
}

static void test_a_chunk_that_begins_before_the_range_is_read(void **ctx)
{
    world *w = *ctx;
    vv_error err;
    begin(w);
    fill(w, 0, 1000, 1);
    add_set(w, SERIES_COMPACT);
    fill(w, 2000, 1000, 2);
    add_set(w, SERIES_COMPACT);
    expect_fold(w, SERIES_COMPACT, "two chunks");
    const struct {
        int64_t from, to, first;
        uint32_t count;
    } cases[] = {{500, 510, 500, 10},   {999, 2001, 999, 2}, {-5, 1, 0, 1},    {1000, 2000, 0, 0},
                 {2999, 9999, 2999, 1}, {3000, 9999, 0, 0},  {500, 500, 0, 0}, {600, 500, 0, 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        series_columns_clear(&w->columns);
        assert_ok(
            series_set_decode(vv_buf_slice(&w->out), cases[i].from, cases[i].to, &w->columns, &err),
            err);
        assert_int_equal(w->columns.count, cases[i].count);
        if (cases[i].count > 0)
            assert_true(w->columns.time[0] == cases[i].first);
    }
}

static void test_what_nothing_touches_is_passed_on(void **ctx)
{
    world *w = *ctx;
    begin(w);
    for (unsigned i = 0; i < 3; i++) {
        fill(w, (int64_t)i * 1024, 1024, i);
        add_set(w, SERIES_COMPACT);
    }
    fill(w, 3 * 1024, 10, 9);
    add_set(w, SERIES_OPEN);
    series_fold_stats before = series_fold_get_stats(w->fold);
    expect_fold(w, SERIES_COMPACT, "an append to sealed chunks");
    series_fold_stats after = series_fold_get_stats(w->fold);
    assert_int_equal(after.chunks_passed - before.chunks_passed, 3);
    assert_int_equal(after.chunks_decoded - before.chunks_decoded, 1);
}

static void test_small_neighbours_are_joined(void **ctx)
{
    world *w = *ctx;
    series_measure m;
    begin(w);
    for (unsigned i = 0; i < SETS; i++) {
        fill(w, (int64_t)i * 100, 100, i);
        add_set(w, SERIES_OPEN);
    }
    expect_fold(w, SERIES_COMPACT, "appends in a row");
    assert_true(series_set_measure(vv_buf_slice(&w->out), &m));
    assert_int_equal(m.chunk_count, 4); /* 4000 samples: 1024 x 3 and 928 */
}

/* Lengths of the chunks that were written, as text. */
static void expect_lengths(world *w, series_form form, const char *want)
{
    char text[64] = "";
    size_t at = 0;
    series_set set;
    vv_slice chunk;
    series_head head;
    expect_fold(w, form, want);
    assert_int_equal(series_set_open(vv_buf_slice(&w->out), &set, NULL), VV_OK);
    while (series_set_next(&set, &chunk, &head, NULL) == VV_OK)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%u", at == 0 ? "" : " ", head.count);
    assert_string_equal(text, want);
}

/* A file has few chunks, none of which is made anew for nothing; a reader decodes no long one. */
static void test_neighbours_that_fit_are_one_chunk_in_a_file(void **ctx)
{
    world *w = *ctx;
    static const uint32_t counts[] = {600, 400, 700, 300, 900, 600, 20};
    int64_t at = 0;
    begin(w);
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        fill(w, at, counts[i], (double)i);
        add_set(w, SERIES_COMPACT);
        at += counts[i];
    }
    expect_lengths(w, SERIES_COMPACT, "1000 1000 900 620");
    series_fold_stats before = series_fold_get_stats(w->fold);
    expect_lengths(w, SERIES_RAW, "600 400 700 300 900 600 20");
    series_fold_stats after = series_fold_get_stats(w->fold);
    assert_int_equal(after.chunks_decoded, before.chunks_decoded);
}

static void test_of_two_types_the_newer_stays(void **ctx)
{
    world *w = *ctx;
    begin(w);
    fill(w, 0, 10, 1);
    add_set(w, SERIES_OPEN);
    w->model.count = 0;
    fill(w, 5, 10, 1);
    w->in.s.type = SERIES_I64;
    add_set(w, SERIES_OPEN);
    expect_fold(w, SERIES_RAW, "two types");
}

/* More than a set may hold: the first in time stay, in bounded memory. */
static void test_the_limit_of_a_set(void **ctx)
{
    world *w = *ctx;
    vv_error err;
    series_measure m;
    vv_buf set;
    vv_buf_init(&set, 64u << 20);
    series_fold_reset(w->fold);
    vv_buf *sets = calloc(400, sizeof *sets);
    for (unsigned i = 400; i-- > 0;) { /* the newest first, each between the others' samples */
        vv_buf_init(&sets[i], 1u << 20);
        w->in.s = (series_samples){.type = SERIES_F64, .count = TU_MAX, .time = w->in.time};
        w->in.s.value.any = &w->in.value;
        for (uint32_t k = 0; k < TU_MAX; k++) {
            w->in.time[k] = (int64_t)k * 400 + i;
            w->in.value.f64[k] = i;
        }
        assert_ok(series_set_encode(&w->in.s, SERIES_OPEN, &w->scratch, &sets[i], &err), err);
        assert_ok(series_fold_push(w->fold, vv_buf_slice(&sets[i]), &err), err);
    }
    assert_ok(series_fold_value(w->fold, SERIES_COMPACT, &set, &err), err);
    assert_true(series_set_measure(vv_buf_slice(&set), &m));
    assert_true(m.is_settled && m.weight <= SERIES_SET_WEIGHT_MAX);
    assert_true(m.sample_count > SERIES_SET_SAMPLES_MAX - 2048);
    assert_true(series_fold_get_stats(w->fold).samples_cut > 0);
    series_columns_clear(&w->columns);
    assert_ok(series_set_decode(vv_buf_slice(&set), 0, 1000, &w->columns, &err), err);
    assert_int_equal(w->columns.count, 1000);
    for (unsigned i = 0; i < 400; i++)
        vv_buf_fini(&sets[i]);
    free(sets);
    vv_buf_fini(&set);
}

static void test_what_one_append_may_not_bring(void **ctx)
{
    world *w = *ctx;
    static char big[SERIES_TEXT_MAX + 1];
    fill(w, 0, 1, 0);
    w->in.s.type = SERIES_STRING;
    w->in.value.string[0] = vv_slice_of(big, sizeof big);
    vv_buf_reset(&w->out);
    assert_status(VV_INVALID, series_set_encode(&w->in.s, SERIES_OPEN, &w->scratch, &w->out, NULL));
    begin(w);
    for (uint32_t i = 0; i < 11; i++) {
        w->in.time[i] = i;
        w->in.value.string[i] = vv_slice_of(big, SERIES_TEXT_MAX);
    }
    w->in.s.count = 11;
    add_set(w, SERIES_OPEN); /* a chunk for each */
    expect_fold(w, SERIES_COMPACT, "long strings");
    for (uint32_t i = 11; i < 13; i++) {
        w->in.time[i] = i;
        w->in.value.string[i] = vv_slice_of(big, SERIES_TEXT_MAX);
    }
    w->in.s.count = 13;
    vv_buf_reset(&w->out);
    assert_status(VV_INVALID, series_set_encode(&w->in.s, SERIES_OPEN, &w->scratch, &w->out, NULL));
}

static void test_bytes_of_sets(void **ctx)
{
    world *w = *ctx;
    static const uint8_t erase[] = {1, 1, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                    5, 0, 0,    0,    0,    0,    0,    0,    0};
    begin(w);
    add_erase(w, -2, 5);
    assert_int_equal(w->set[0].len, sizeof erase);
    assert_memory_equal(w->set[0].data, erase, sizeof erase);
    static const uint8_t one[] = {1, 0, 1, 22, 0x01, 0x01, 0xe8, 3, 0, 0, 0, 0, 0, 0};
    fill(w, 1000, 1, 1.5);
    add_set(w, SERIES_OPEN);
    assert_int_equal(w->set[1].len, 26);
    assert_memory_equal(w->set[1].data, one, sizeof one);
    static const uint8_t empty[] = {1, 0, 0};
    fill(w, 0, 0, 0);
    add_set(w, SERIES_OPEN);
    assert_int_equal(w->set[2].len, 3);
    assert_memory_equal(w->set[2].data, empty, 3);
}

static void test_hostile_sets(void **ctx)
{
    world *w = *ctx;
    const struct {
        const char *name;
        vv_slice bytes;
    } cases[] = {
        {"nothing", vv_slice_of(NULL, 0)},
        {"too short", BYTES(1, 0)},
        {"format 2", BYTES(2, 0, 0)},
        {"more erased ranges than bytes", BYTES(1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0)},
        {"an empty range", BYTES(1, 1, 5, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0)},
        {"a range turned round", BYTES(1, 1, 5, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0)},
        {"more chunks than bytes", BYTES(1, 0, 9, 1, 1)},
        {"a chunk past the end", BYTES(1, 0, 1, 200, 1)},
        {"bytes behind", BYTES(1, 0, 0, 0)},
        {"no head", BYTES(1, 0, 1, 3, 1, 1, 1)},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (series_set_is_valid(cases[i].bytes))
            fail_msg("%s", cases[i].name);
        series_fold_reset(w->fold);
        assert_status(VV_CORRUPT, series_fold_push(w->fold, cases[i].bytes, NULL));
    }
    assert_true(series_set_is_valid(BYTES(1, 0, 0)));
}

static void test_an_unsettled_set_is_no_value(void **ctx)
{
    world *w = *ctx;
    begin(w);
    add_erase(w, 0, 5);
    assert_status(VV_CORRUPT, series_set_decode(vv_buf_slice(&w->set[0]), 0, 9, &w->columns, NULL));
}

static void test_every_allocation_may_fail(void **ctx)
{
    world *w = *ctx;
    vv_error err;
    for (unsigned n = 0, failed = 1; failed; n++) {
        begin(w);
        fill(w, 0, 1400, 1);
        add_set(w, SERIES_OPEN);
        add_erase(w, 100, 200);
        fill(w, 50, 600, 2);
        add_set(w, SERIES_OPEN);
        vv_buf out;
        vv_buf_init(&out, 1u << 20);
        failed = 0;
        vv_alloc_fail_after(n, 0);
        series_fold *f = series_fold_create();
        vv_status st = f == NULL ? VV_NO_MEMORY : VV_OK;
        for (uint32_t i = w->set_count; st == VV_OK && i-- > 0;)
            st = series_fold_push(f, vv_buf_slice(&w->set[i]), &err);
        if (st == VV_OK)
            st = series_fold_value(f, SERIES_COMPACT, &out, &err);
        vv_alloc_fail_after(-1, 0);
        if (st != VV_OK) {
            assert_int_equal(st, VV_NO_MEMORY);
            failed = 1;
        }
        series_fold_destroy(f);
        vv_buf_fini(&out);
    }
    for (unsigned n = 0, failed = 1; failed; n++) {
        series_scratch scratch;
        vv_buf out;
        series_scratch_init(&scratch);
        vv_buf_init(&out, 1u << 20);
        tu_make(&w->in, &w->rng, SERIES_F64, 3000, false, 0, 100000);
        vv_alloc_fail_after(n, 0);
        vv_status st = series_set_encode(&w->in.s, SERIES_OPEN, &scratch, &out, &err);
        vv_alloc_fail_after(-1, 0);
        failed = st != VV_OK;
        if (failed)
            assert_int_equal(st, VV_NO_MEMORY);
        series_scratch_fini(&scratch);
        vv_buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(prop_any_split_and_any_order_of_folds_give_the_last_write),
        T(prop_any_order_of_one_append_is_its_last_write),
        T(test_an_erased_range_takes_what_is_older_and_leaves_what_is_newer),
        T(test_erased_ranges_that_touch_are_one),
        T(test_a_full_erase_leaves_an_empty_value),
        T(test_late_points_come_back_sorted),
        T(test_quality_is_kept),
        T(test_a_chunk_that_begins_before_the_range_is_read),
        T(test_what_nothing_touches_is_passed_on),
        T(test_small_neighbours_are_joined),
        T(test_neighbours_that_fit_are_one_chunk_in_a_file),
        T(test_of_two_types_the_newer_stays),
        T(test_the_limit_of_a_set),
        T(test_what_one_append_may_not_bring),
        T(test_bytes_of_sets),
        T(test_hostile_sets),
        T(test_an_unsettled_set_is_no_value),
        T(test_every_allocation_may_fail),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
