#include "series/chunk.h"

#include <math.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "series/series_test_util.h"

typedef struct world {
    vv_rng rng;
    codec_scratch *codec;
    vv_buf out;
    series_columns columns;
    tu_samples in;
    tu_model model;
} world;

static int setup(void **ctx)
{
    world *w = calloc(1, sizeof *w);
    vv_rng_init(&w->rng, vv_test_seed(1));
    w->codec = codec_scratch_create();
    vv_buf_init(&w->out, 64u << 20);
    series_columns_init(&w->columns);
    *ctx = w;
    return 0;
}

static int teardown(void **ctx)
{
    world *w = *ctx;
    codec_scratch_destroy(w->codec);
    vv_buf_fini(&w->out);
    series_columns_fini(&w->columns);
    free(w);
    return 0;
}

static void encode(world *w, series_form form)
{
    vv_buf_reset(&w->out);
    series_chunk_encode(&w->in.s, form, w->codec, &w->out);
    assert_int_equal(w->out.status, VV_OK);
}

static void expect_back(world *w, const char *what)
{
    vv_error err;
    series_columns_clear(&w->columns);
    assert_ok(series_chunk_decode(vv_buf_slice(&w->out), &w->columns, &err), err);
    series_samples back = series_columns_view(&w->columns);
    w->model.count = 0;
    tu_model_add(&w->model, &w->in.s);
    tu_expect(&w->model, &back, what);
}

static void prop_a_chunk_decodes_to_what_it_was_made_of(void **ctx)
{
    world *w = *ctx;
    static const char *const name[] = {"raw", "open", "compact"};
    uint64_t rounds = vv_test_count("VV_CHUNKS", 1500);
    for (uint64_t r = 0; r < rounds; r++) {
        uint32_t n = 1 + (uint32_t)vv_rng_below(&w->rng, vv_rng_one_in(&w->rng, 4) ? 1024 : 40);
        series_type type = (series_type)(1 + vv_rng_below(&w->rng, 4));
        int64_t base = (int64_t)vv_rng_next(&w->rng) >> (1 + vv_rng_below(&w->rng, 60));
        tu_make(&w->in, &w->rng, type, n, true, base,
                UINT64_C(1) << (10 + vv_rng_below(&w->rng, 50)));
        for (series_form form = SERIES_RAW; form <= SERIES_COMPACT; form++) {
            series_head head;
            vv_error err;
            encode(w, form);
            assert_ok(series_chunk_head(vv_buf_slice(&w->out), &head, &err), err);
            assert_int_equal(head.count, n);
            assert_true(head.form == form || head.form == SERIES_RAW);
            assert_true(head.first_time == w->in.time[0]);
            assert_true(head.last_time == w->in.time[n - 1]);
            assert_true(w->out.len <= series_chunk_bound(&head));
            expect_back(w, name[form]);
        }
    }
}

static void test_the_ends_of_time(void **ctx)
{
    world *w = *ctx;
    w->in.s = (series_samples){.type = SERIES_I64, .count = 3, .time = w->in.time};
    w->in.s.value.any = &w->in.value;
    const int64_t times[] = {INT64_MIN, 0, INT64_MAX};
    memcpy(w->in.time, times, sizeof times);
    for (uint32_t i = 0; i < 3; i++)
        w->in.value.i64[i] = times[i];
    for (series_form form = SERIES_RAW; form <= SERIES_COMPACT; form++) {
        encode(w, form);
        expect_back(w, "the ends of time");
    }
}

/* docs/format/series.md has these bytes. */
static void test_bytes_of_small_chunks(void **ctx)
{
    world *w = *ctx;
    w->in.s = (series_samples){.type = SERIES_F64, .count = 1, .time = w->in.time};
    w->in.s.value.any = &w->in.value;
    w->in.time[0] = 1000;
    w->in.value.f64[0] = 1.5;
    static const uint8_t one[] = {0x01, 0x01, 0xe8, 3, 0, 0, 0, 0,    0,
                                  0,    0,    0,    0, 0, 0, 0, 0xf8, 0x3f};
    encode(w, SERIES_RAW);
    assert_int_equal(w->out.len, sizeof one + 4);
    assert_memory_equal(w->out.data, one, sizeof one);
    assert_int_equal(vv_get_le32(w->out.data + sizeof one), vv_crc32c(0, one, sizeof one));

    w->in.s.type = SERIES_BOOL;
    w->in.s.count = 3;
    w->in.s.quality = w->in.quality;
    for (uint32_t i = 0; i < 3; i++) {
        w->in.time[i] = -1 + (int64_t)i * 128;
        w->in.value.b[i] = i == 1;
        w->in.quality[i] = i == 2 ? SERIES_QUALITY_BAD : 0;
    }
    static const uint8_t three[] = {
        0x23, 0x03, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, /* bool, qualities; 3; -1 */
        0x80, 0x02,                                                 /* span 256 */
        0x7f, 0,    0,    0,    0,    0,    0,    0,                /* 127 */
        0,    1,    0,                                              /* values */
        0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0, 0x80,
    };
    encode(w, SERIES_RAW);
    assert_int_equal(w->out.len, sizeof three + 4);
    assert_memory_equal(w->out.data, three, sizeof three);
    expect_back(w, "three bools");
}

/* The summary's bytes, which no codec has a part in. */
static void test_bytes_of_a_summary(void **ctx)
{
    world *w = *ctx;
    w->in.s = (series_samples){.type = SERIES_F64, .count = 4, .time = w->in.time};
    w->in.s.value.any = &w->in.value;
    w->in.s.quality = w->in.quality;
    const double v[] = {99, 1, 3, 2};
    for (uint32_t i = 0; i < 4; i++) {
        w->in.time[i] = (int64_t)i * 10;
        w->in.value.f64[i] = v[i];
        w->in.quality[i] = i == 0 ? SERIES_QUALITY_BAD : 0;
    }
    static const uint8_t bytes[] = {
        0x31, 0x04, 0,    0,    0,    0,
        0,    0,    0,    0,    30, /* compact f64 with qualities; 4; 0; span 30 */
        0x06, 3,    10,   0,        /* decimal, not all good: 3; from 10; to the end */
        0,    2,    2,    0,    4,  /* no places: 1; + 1, + 0, + 2 */
        0x22, 0x40, 0x18, 0x40, 0x14,
    };
    encode(w, SERIES_COMPACT);
    assert_true(w->out.len > sizeof bytes);
    assert_memory_equal(w->out.data, bytes, sizeof bytes);
    series_summary s;
    bool decoded = true;
    assert_int_equal(series_chunk_summary(vv_buf_slice(&w->out), &s, &decoded, NULL), VV_OK);
    assert_false(decoded);
    assert_int_equal(s.count, 4);
    assert_int_equal(s.good, 3);
    assert_true(s.first_time == 10 && s.last_time == 30);
    assert_true(s.first == 1 && s.last == 2 && s.min == 1 && s.max == 3 && s.sum == 6);
    assert_true(s.sum_sq == 5 && !s.is_monotone);
}

static void set_values(world *w, const double *v, uint32_t n)
{
    w->in.s = (series_samples){.type = SERIES_F64, .count = n, .time = w->in.time};
    w->in.s.value.any = &w->in.value;
    for (uint32_t i = 0; i < n; i++) {
        w->in.time[i] = (int64_t)i * 10;
        w->in.value.f64[i] = v[i];
    }
}

/* Behind kind, count, first and span. */
static void expect_summary(world *w, const uint8_t *want, size_t len)
{
    encode(w, SERIES_COMPACT);
    assert_true(w->out.len > 11 + len);
    assert_memory_equal(w->out.data + 11, want, len);
}

static void test_bytes_of_a_summary_that_is_not_whole(void **ctx)
{
    world *w = *ctx;
    const double hundredths[] = {47.25, -0.5, 1};
    static const uint8_t decimal[] = {
        4,    2,    0xea, 0x49,    /* decimal, 2 places: 4,725 */
        0xa1, 0x48, 0xcd, 0x4a, 0, /* 100, -50 and 4,725, less that */
    };
    set_values(w, hundredths, 3);
    expect_summary(w, decimal, sizeof decimal);
    const double others[] = {0.5, -0.0, 0.5}; /* -0 is no decimal */
    static const uint8_t plain[] = {0, 0x22, 0x21, 0x22, 0x3f, 0xe0, 0x3f, 0xe0, 0x80, 0x3f, 0xe0};
    set_values(w, others, 3);
    expect_summary(w, plain, sizeof plain);
}

static bool same_double(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

static void prop_a_summary_reads_as_it_was_worked_out(void **ctx)
{
    world *w = *ctx;
    for (unsigned r = 0; r < 600; r++) {
        series_summary want;
        series_summary got;
        series_head head;
        vv_error err;
        uint32_t n = 1 + (uint32_t)vv_rng_below(&w->rng, 300);
        series_type type = (series_type)(1 + vv_rng_below(&w->rng, 4));
        tu_make(&w->in, &w->rng, type, n, true, -500, 100000);
        series_summarise(&w->in.s, &want);
        for (series_form form = SERIES_RAW; form <= SERIES_COMPACT; form++) {
            bool decoded = false;
            encode(w, form);
            assert_ok(series_chunk_summary(vv_buf_slice(&w->out), &got, &decoded, &err), err);
            assert_ok(series_chunk_head(vv_buf_slice(&w->out), &head, &err), err);
            assert_int_equal(decoded, head.form != SERIES_COMPACT);
            assert_int_equal(got.count, want.count);
            assert_int_equal(got.good, want.good);
            if (want.good == 0)
                continue;
            assert_true(got.first_time == want.first_time && got.last_time == want.last_time);
            if (type == SERIES_STRING)
                continue;
            assert_true(same_double(got.first, want.first) && same_double(got.last, want.last));
            assert_true(same_double(got.min, want.min) && same_double(got.max, want.max));
            assert_true(same_double(got.sum, want.sum) && same_double(got.sum_sq, want.sum_sq));
            assert_int_equal(got.is_monotone, want.is_monotone);
        }
    }
}

static void test_min_and_max_pass_nan_over(void **ctx)
{
    (void)ctx;
    const int64_t t[] = {1, 2, 3, 4, 5, 6};
    const double v[] = {NAN, 3, -INFINITY, NAN, 7, NAN};
    const double nan[] = {NAN, NAN};
    series_samples s = {.type = SERIES_F64, .count = 6, .time = t, .value = {.f64 = v}};
    series_summary sum;
    series_summarise(&s, &sum);
    assert_true(sum.min == -INFINITY && sum.max == 7);
    assert_true(isnan(sum.sum) && isnan(sum.first) && isnan(sum.last) && !sum.is_monotone);
    s = (series_samples){.type = SERIES_F64, .count = 2, .time = t, .value = {.f64 = nan}};
    series_summarise(&s, &sum);
    assert_true(isnan(sum.min) && isnan(sum.max) && sum.good == 2);
}

static void prop_one_flipped_bit_is_never_accepted(void **ctx)
{
    world *w = *ctx;
    for (unsigned r = 0; r < 40; r++) {
        uint32_t n = 1 + (uint32_t)vv_rng_below(&w->rng, 20);
        tu_make(&w->in, &w->rng, (series_type)(1 + r % 4), n, true, 0, 1000);
        encode(w, (series_form)(r % 3));
        for (size_t bit = 0; bit < w->out.len * 8; bit++) {
            w->out.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            series_columns_clear(&w->columns);
            assert_status(VV_CORRUPT,
                          series_chunk_decode(vv_buf_slice(&w->out), &w->columns, NULL));
            assert_int_equal(w->columns.count, 0);
            w->out.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        for (size_t len = 0; len < w->out.len; len++)
            assert_status(VV_CORRUPT,
                          series_chunk_decode(vv_slice_of(w->out.data, len), &w->columns, NULL));
    }
}

static void put_crc(uint8_t *p, size_t len)
{
    vv_put_le32(p + len, vv_crc32c(0, p, len));
}

static void test_hostile_chunks_with_a_good_sum(void **ctx)
{
    world *w = *ctx;
    const struct {
        const char *name;
        uint8_t bytes[48];
        size_t len;
    } cases[] = {
        {"type 0", {0x00, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}, 18},
        {"type 5", {0x05, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}, 18},
        {"form 3", {0x19, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}, 18},
        {"reserved bit", {0x41, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}, 18},
        {"no samples", {0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 10},
        {"1025 samples", {0x03, 0x81, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0x7f}, 13},
        {"a value too few", {0x01, 2, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8}, 19},
        {"a byte too many", {0x03, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1}, 12},
        {"a bool of 2", {0x03, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2}, 11},
        {"no span", {0x03, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1}, 13},
        {"past the end of time",
         {0x03, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 1, 1},
         13},
        {"times not rising",
         {0x03, 3, 5, 0, 0, 0, 0, 0, 0, 0, 9, 5, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1},
         22},
        {"a string past the end", {0x04, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 3, 'a', 'b'}, 14},
        {"less text than it says", {0x04, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 'a'}, 13},
        {"more text than it says", {0x04, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 'a'}, 13},
        {"a summary cut off", {0x11, 1, 0, 0, 0, 0, 0, 0, 0, 0}, 10},
        {"a flag of the future", {0x11, 1, 0, 0, 0, 0, 0, 0, 0, 0, 8}, 11},
        {"seven places", {0x11, 1, 0, 0, 0, 0, 0, 0, 0, 0, 4, 7, 2, 0, 0, 0, 0, 9, 9, 9}, 20},
        {"a decimal of 53 bits",
         {0x11, 1,    0,    0,    0,    0,    0,    0, 0, 0, 4, 0,
          0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 8, 0, 0, 0, 0},
         24},
        {"decimals and none is good",
         {0x11, 1, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0},
         18},
        {"decimals cut off", {0x11, 1, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 2, 0, 0}, 15},
        {"more good ones than samples", {0x11, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2}, 12},
        {"a number of 9 bytes",
         {0x11, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9},
         23},
        {"a column past the end", {0x09, 1, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0}, 12},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t bytes[64];
        memcpy(bytes, cases[i].bytes, cases[i].len);
        put_crc(bytes, cases[i].len);
        series_columns_clear(&w->columns);
        if (series_chunk_decode(vv_slice_of(bytes, cases[i].len + 4), &w->columns, NULL) !=
            VV_CORRUPT)
            fail_msg("%s", cases[i].name);
        assert_int_equal(w->columns.count, 0);
    }
}

static void test_another_type_is_refused(void **ctx)
{
    world *w = *ctx;
    tu_make(&w->in, &w->rng, SERIES_F64, 5, true, 0, 100);
    encode(w, SERIES_RAW);
    expect_back(w, "first");
    tu_make(&w->in, &w->rng, SERIES_I64, 5, true, 0, 100);
    encode(w, SERIES_RAW);
    assert_status(VV_INVALID, series_chunk_decode(vv_buf_slice(&w->out), &w->columns, NULL));
    assert_int_equal(w->columns.count, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(prop_a_chunk_decodes_to_what_it_was_made_of, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_ends_of_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bytes_of_small_chunks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bytes_of_a_summary_that_is_not_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bytes_of_a_summary, setup, teardown),
        cmocka_unit_test_setup_teardown(prop_a_summary_reads_as_it_was_worked_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_min_and_max_pass_nan_over, setup, teardown),
        cmocka_unit_test_setup_teardown(prop_one_flipped_bit_is_never_accepted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile_chunks_with_a_good_sum, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_type_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
