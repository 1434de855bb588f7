#include "codec/column.h"

#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/rng.h"
#include "codec/column_kernel.h"
#include "vv_test.h"

#define N CODEC_COLUMN_MAX
#define DAY_NS (INT64_C(86400) * VV_NS_PER_S)

static const uint32_t counts[] = {1,  2,   3,   4,   5,   15,   16,   17, 31,
                                  33, 100, 119, 120, 121, 1000, 1023, N};

static codec_scratch *make_scratch(void)
{
    codec_scratch *s = codec_scratch_create();
    assert_non_null(s);
    return s;
}

/* With every table of kernels that this machine has: the same bytes, and the values from each. */
static void encode_i64(unsigned form, const int64_t *v, uint32_t n, codec_scratch *s, vv_buf *out)
{
    vv_buf_reset(out);
    if (form < 2)
        codec_time_encode(v, n, (codec_effort)form, s, out);
    else if (form < 4)
        codec_i64_encode(v, n, (codec_effort)(form - 2), s, out);
    else if (codec_i64_encode_as((codec_column)(form - 4), v, n, s, out) != VV_OK)
        vv_buf_reset(out);
    assert_int_equal(out->status, VV_OK);
    if (form < 4)
        assert_true(out->len <= 1 + 8 * (size_t)n);
}

static void check_i64(const int64_t *v, uint32_t n, codec_scratch *s)
{
    vv_error err = {0};
    static int64_t back[N];
    vv_buf first;
    vv_buf out;
    vv_buf_init(&first, VV_MIB);
    vv_buf_init(&out, VV_MIB);
    for (unsigned form = 0; form < 4 + CODEC_COL_COUNT; form++)
        for (vv_cpu level = VV_CPU_BASELINE; level <= vv_cpu_best(); level++) {
            codec_kernels_set(level);
            encode_i64(form, v, n, s, level == VV_CPU_BASELINE ? &first : &out);
            if (level != VV_CPU_BASELINE)
                assert_true(vv_slice_eq(vv_buf_slice(&first), vv_buf_slice(&out)));
            if (first.len == 0)
                continue; /* a codec that cannot hold them */
            memset(back, 0xee, sizeof back);
            assert_ok(codec_i64_decode(vv_buf_slice(&first), n, back, &err), err);
            if (n > 0)
                assert_memory_equal(v, back, n * sizeof *v);
        }
    vv_buf_fini(&first);
    vv_buf_fini(&out);
}

static void encode_f64(unsigned form, const double *v, uint32_t n, codec_scratch *s, vv_buf *out)
{
    vv_buf_reset(out);
    if (form < 2)
        codec_f64_encode(v, n, (codec_effort)form, s, out);
    else if (codec_f64_encode_as((codec_column)(form - 2), v, n, s, out) != VV_OK)
        vv_buf_reset(out);
    assert_int_equal(out->status, VV_OK);
    if (form < 2)
        assert_true(out->len <= 1 + 8 * (size_t)n);
}

static void same_doubles(const double *v, const double *back, uint32_t n, unsigned form)
{
    for (uint32_t i = 0; i < n; i++)
        if (memcmp(&v[i], &back[i], sizeof *v) != 0)
            fail_msg("form %u, n %u: value %u is %a instead of %a", form, n, i, back[i], v[i]);
}

static void check_f64(const double *v, uint32_t n, codec_scratch *s)
{
    vv_error err = {0};
    static double back[N];
    vv_buf first;
    vv_buf out;
    vv_buf_init(&first, VV_MIB);
    vv_buf_init(&out, VV_MIB);
    for (unsigned form = 0; form < 2 + CODEC_COL_COUNT; form++)
        for (vv_cpu level = VV_CPU_BASELINE; level <= vv_cpu_best(); level++) {
            codec_kernels_set(level);
            encode_f64(form, v, n, s, level == VV_CPU_BASELINE ? &first : &out);
            if (level != VV_CPU_BASELINE)
                assert_true(vv_slice_eq(vv_buf_slice(&first), vv_buf_slice(&out)));
            if (first.len == 0)
                continue; /* a codec that cannot hold them */
            memset(back, 0xee, sizeof back);
            assert_ok(codec_f64_decode(vv_buf_slice(&first), n, back, &err), err);
            same_doubles(v, back, n, form);
        }
    vv_buf_fini(&first);
    vv_buf_fini(&out);
}

/* Integers of many shapes; shape 0 is any bits. */
static void make_ints(vv_rng *rng, unsigned shape, int64_t *v, uint32_t n)
{
    uint64_t x = vv_rng_next(rng);
    uint64_t step = vv_rng_below(rng, 100000) * (vv_rng_one_in(rng, 2) ? 1000000 : 1);
    for (uint32_t i = 0; i < n; i++) {
        switch (shape) {
        case 0:
            x = vv_rng_next(rng);
            break;
        case 1: /* regular */
            x += step;
            break;
        case 2: /* jitter in whole milliseconds */
            x = 1700000000000000000u + i * UINT64_C(1000000000) +
                vv_rng_below(rng, 40) * UINT64_C(1000000);
            break;
        case 3: /* small, with outliers */
            x = vv_rng_one_in(rng, 50) ? vv_rng_next(rng) : vv_rng_below(rng, 256);
            break;
        case 4: /* extremes */
            x = vv_rng_one_in(rng, 2) ? (uint64_t)INT64_MIN : (uint64_t)INT64_MAX;
            break;
        case 5: /* a multiple of something, falling, rising */
            x += (vv_rng_below(rng, 2000) - 1000) * 600;
            break;
        case 6: /* constant, once something else */
            x = i == n / 2 ? 7 : 5;
            break;
        case 7: /* accelerating */
            x += i * step;
            break;
        default: /* narrow at any width */
            x = vv_rng_next(rng) >> (shape % 64);
            break;
        }
        v[i] = (int64_t)x;
    }
}

static double special(vv_rng *rng)
{
    static const uint64_t bits[] = {
        0x7ff8000000000000, 0xfff8000000000000, 0x7ff0000000000001, 0x7fffffffffffffff,
        0xffffffffffffffff, 0x7ff0000000000000, 0xfff0000000000000, 0x8000000000000000,
        0x0000000000000000, 0x0000000000000001, 0x800fffffffffffff, 0x0010000000000000,
        0x7fefffffffffffff, 0xffefffffffffffff, 0x4340000000000000, 0xc340000000000001,
    };
    double d;
    memcpy(&d, &bits[vv_rng_below(rng, ARRAY_LEN(bits))], 8);
    return d;
}

static void make_doubles(vv_rng *rng, unsigned shape, double *v, uint32_t n)
{
    static const double scale[] = {1, 10, 100, 1000, 1e6, 1e9, 1e12, 1e15};
    double x = (double)vv_rng_below(rng, 100000);
    double by = scale[vv_rng_below(rng, ARRAY_LEN(scale))];
    for (uint32_t i = 0; i < n; i++) {
        uint64_t any = vv_rng_next(rng);
        switch (shape) {
        case 0:
            memcpy(&v[i], &any, 8);
            break;
        case 1: /* decimals, a walk */
            x += (double)((int64_t)vv_rng_below(rng, 201) - 100);
            v[i] = x / 100;
            break;
        case 2: /* decimals with what is none of them */
            v[i] = vv_rng_one_in(rng, 30) ? special(rng) : (double)(any % 10000) / 10;
            break;
        case 3:
            v[i] = special(rng);
            break;
        case 4: /* a full walk */
            x += (double)(int64_t)any / 1e18;
            v[i] = x;
            break;
        case 5: /* few distinct ones */
            v[i] = 1 / (double)(any % 50 + 3);
            break;
        case 6: /* means of three readings */
            v[i] = (double)(any % 300) / 3;
            break;
        case 7: /* up to fifteen digits, either sign */
            v[i] = (double)((int64_t)any >> 14) / by;
            break;
        case 8:
            v[i] = -0.0;
            break;
        default: /* large whole numbers */
            v[i] = (double)(int64_t)(any >> (shape % 16));
            break;
        }
    }
}

static void prop_integers_come_back(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(1));
    codec_scratch *s = make_scratch();
    static int64_t v[N];
    for (uint64_t round = vv_test_count("VV_COLUMNS", 1); round > 0; round--)
        for (unsigned shape = 0; shape < 72; shape++)
            for (unsigned c = 0; c < ARRAY_LEN(counts); c++) {
                make_ints(&rng, shape, v, counts[c]);
                check_i64(v, counts[c], s);
            }
    check_i64(v, 0, s);
    codec_scratch_destroy(s);
}

static void prop_doubles_come_back_bit_for_bit(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(2));
    codec_scratch *s = make_scratch();
    static double v[N];
    for (uint64_t round = vv_test_count("VV_COLUMNS", 1); round > 0; round--)
        for (unsigned shape = 0; shape < 25; shape++)
            for (unsigned c = 0; c < ARRAY_LEN(counts); c++) {
                make_doubles(&rng, shape, v, counts[c]);
                check_f64(v, counts[c], s);
            }
    check_f64(v, 0, s);
    codec_scratch_destroy(s);
}

/* Gorilla as the paper has it, from bytes that were worked out by hand. */
static void gorilla_is_the_baseline(void **state)
{
    (void)state;
    codec_scratch *s = make_scratch();
    vv_error err = {0};
    vv_buf out;
    vv_buf_init(&out, 4096);
    /* 12, 24: xor 0x0010000000000000, window lead 11, 1 bit: 11 01011 000001 1; 24 again: 0;
     * 12: the same window: 10 1 */
    const double v[] = {12, 24, 24, 12};
    double back[4];
    const vv_slice want = BYTES(CODEC_COL_GORILLA, 0, 0, 0, 0, 0, 0, 0x28, 0x40, 0xd6, 0x0d, 0x40);
    assert_ok(codec_f64_encode_as(CODEC_COL_GORILLA, v, 4, s, &out), err);
    assert_int_equal(out.len, want.len);
    assert_memory_equal(out.data, want.data, want.len);
    assert_ok(codec_f64_decode(want, 4, back, &err), err);
    assert_memory_equal(v, back, sizeof v);
    /* seconds 10, 20, 30, 41: unit 3, zigzag 20, dod 10: 10 0001010, dod 0: 0, dod 1: 10 0000001 */
    const int64_t t[] = {10 * VV_NS_PER_S, 20 * VV_NS_PER_S, 30 * VV_NS_PER_S, 41 * VV_NS_PER_S};
    int64_t tb[4];
    const vv_slice times = BYTES(CODEC_COL_GORILLA_TIME, 3, 20, 0x85, 0x20, 0x20);
    vv_buf_reset(&out);
    assert_ok(codec_i64_encode_as(CODEC_COL_GORILLA_TIME, t, 4, s, &out), err);
    assert_int_equal(out.len, times.len);
    assert_memory_equal(out.data, times.data, times.len);
    assert_ok(codec_i64_decode(times, 4, tb, &err), err);
    assert_memory_equal(t, tb, sizeof t);
    vv_buf_fini(&out);
    codec_scratch_destroy(s);
}

/* Steps whose second difference passes 32 bits: 25 days in milliseconds, in nanoseconds a second.
 */
static void gorilla_times_survive_gaps_of_weeks(void **state)
{
    (void)state;
    codec_scratch *s = make_scratch();
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(3));
    static int64_t v[N];
    const int64_t gap[] = {25 * DAY_NS, 25 * DAY_NS + 1, 400 * DAY_NS, INT64_MAX / 2, -25 * DAY_NS};
    for (unsigned g = 0; g < ARRAY_LEN(gap); g++)
        for (unsigned at = 1; at < 40; at += 13) {
            for (uint32_t i = 0; i < 40; i++)
                v[i] = (int64_t)i * VV_NS_PER_S + (i >= at ? gap[g] : 0) - 20 * VV_NS_PER_S;
            check_i64(v, 40, s);
        }
    for (uint32_t i = 0; i < N; i++) /* negative and unsorted, to the nanosecond */
        v[i] = (int64_t)vv_rng_below(&rng, 1u << 30) - (1 << 29) - 5 * DAY_NS;
    check_i64(v, N, s);
    const int64_t ends[] = {INT64_MIN, INT64_MAX, 0, -1, INT64_MIN, INT64_MIN, INT64_MAX, 1};
    check_i64(ends, ARRAY_LEN(ends), s);
    codec_scratch_destroy(s);
}

/* Every table divides as the machine does, with integers that the encoder would refuse told apart.
 */
static void prop_quotients_round_as_divisions(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(6));
    static uint64_t d[N], v[N];
    for (unsigned round = 0; round < 64; round++) {
        unsigned p = round % CODEC_DECIMALS;
        for (uint32_t i = 0; i < N; i++) {
            d[i] = (vv_rng_next(&rng) >> (13 + vv_rng_below(&rng, 50))) - (UINT64_C(1) << 40);
            if (vv_rng_one_in(&rng, 50)) /* near where it ends */
                d[i] = (uint64_t)(CODEC_DECIMAL_LIMIT - 1 - (int64_t)vv_rng_below(&rng, 9));
        }
        for (vv_cpu level = VV_CPU_BASELINE; level <= vv_cpu_best(); level++) {
            memcpy(v, d, sizeof v);
            assert_true(codec_kernels_of(level)->from_decimal(v, N, p));
            for (uint32_t i = 0; i < N; i++) {
                double want = (double)(int64_t)d[i] / codec_power_of_ten[p];
                assert_memory_equal(&want, &v[i], sizeof want);
            }
            v[round] = (uint64_t)CODEC_DECIMAL_LIMIT;
            assert_false(codec_kernels_of(level)->from_decimal(v, N, 0));
        }
    }
}

/* VARVE_CPU lowers the level, and nothing else does. */
static void the_environment_chooses_the_level(void **state)
{
    (void)state;
    const char *text = getenv("VARVE_CPU");
    vv_cpu want = vv_cpu_best();
    for (vv_cpu level = VV_CPU_BASELINE; text != NULL && level < want; level++)
        if (strcmp(text, vv_cpu_name(level)) == 0)
            want = level;
    assert_string_equal(vv_cpu_name(vv_cpu_level()), vv_cpu_name(want));
    assert_ptr_equal(codec_kernels_get(), codec_kernels_of(want)); /* runs first: nobody set one */
    assert_non_null(codec_kernels_of(VV_CPU_BASELINE));
}

static void bools_come_back(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(4));
    vv_error err = {0};
    static uint8_t v[N], back[N];
    vv_buf out;
    vv_buf_init(&out, 4096);
    for (unsigned shape = 0; shape < 3; shape++)
        for (uint32_t n = 0; n <= N; n += n < 40 ? 1 : 123) {
            for (uint32_t i = 0; i < n; i++)
                v[i] = (uint8_t)(shape == 2 ? vv_rng_one_in(&rng, 3) : (int)shape);
            vv_buf_reset(&out);
            codec_bool_encode(v, n, &out);
            assert_ok(codec_bool_decode(vv_buf_slice(&out), n, back, &err), err);
            if (n > 0)
                assert_memory_equal(v, back, n);
        }
    vv_buf_reset(&out);
    codec_bool_encode((const uint8_t[]){1, 0, 0, 1, 0, 0, 0, 0, 9}, 9, &out);
    const vv_slice want = BYTES(CODEC_COL_BITS, 0x09, 0x01);
    assert_int_equal(out.len, want.len);
    assert_memory_equal(out.data, want.data, want.len);
    assert_status(VV_CORRUPT, codec_bool_decode(BYTES(CODEC_COL_BITS, 0x09, 0x03), 9, back, NULL));
    assert_status(VV_CORRUPT, codec_bool_decode(BYTES(CODEC_COL_CONST, 2), 9, back, NULL));
    vv_buf_fini(&out);
}

static void strings_come_back(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(5));
    codec_scratch *s = make_scratch();
    vv_error err = {0};
    static char text[N][24];
    static vv_slice v[N], back[N];
    vv_buf out;
    vv_arena arena;
    vv_buf_init(&out, VV_MIB);
    vv_arena_init(&arena, VV_MIB);
    for (unsigned shape = 0; shape < 4; shape++)
        for (unsigned c = 0; c < ARRAY_LEN(counts); c++)
            for (unsigned effort = 0; effort < 2; effort++) {
                uint32_t n = counts[c];
                for (uint32_t i = 0; i < n; i++) {
                    uint64_t x = vv_rng_below(&rng, shape == 0 ? 3 : shape == 1 ? 100 : 1u << 30);
                    int len =
                        snprintf(text[i], sizeof text[i], "state %llu", (unsigned long long)x);
                    v[i] = vv_slice_of(text[i], shape == 3 && x % 2 ? 0 : (size_t)len);
                }
                vv_buf_reset(&out);
                vv_arena_reset(&arena);
                codec_string_encode(v, n, (codec_effort)effort, s, &out);
                assert_int_equal(out.status, VV_OK);
                assert_ok(codec_string_decode(vv_buf_slice(&out), n, &arena, back, &err), err);
                for (uint32_t i = 0; i < n; i++)
                    assert_true(vv_slice_eq(v[i], back[i]));
            }
    vv_buf_reset(&out);
    codec_string_encode(v, 0, CODEC_BEST, s, &out);
    assert_ok(codec_string_decode(vv_buf_slice(&out), 0, &arena, back, &err), err);
    vv_arena_fini(&arena);
    vv_buf_fini(&out);
    codec_scratch_destroy(s);
}

static void damage_is_refused(void **state)
{
    (void)state;
    int64_t i64[64];
    double f64[64];
    const struct {
        const char *name;
        vv_slice in;
        uint32_t n;
        bool is_double;
    } cases[] = {
        {"nothing", vv_slice_of(NULL, 0), 1, false},
        {"an unknown codec", BYTES(99, 1, 2, 3), 1, true},
        {"one byte too few", BYTES(CODEC_COL_RAW, 1, 2, 3, 4, 5, 6, 7), 1, false},
        {"one too many", BYTES(CODEC_COL_CONST, 1, 2, 3, 4, 5, 6, 7, 8, 9), 4, true},
        {"short: order 3", BYTES(CODEC_COL_INT_SHORT, 3, 0, 0), 2, false},
        {"short: divisor 1", BYTES(CODEC_COL_INT_SHORT, 4, 1, 0, 0), 2, false},
        {"short: a value is missing", BYTES(CODEC_COL_INT_SHORT, 0, 0, 0), 3, false},
        {"short: a byte behind", BYTES(CODEC_COL_INT_SHORT, 0, 0, 0, 0), 2, false},
        {"times: unit 4", BYTES(CODEC_COL_GORILLA_TIME, 4, 0), 1, false},
        {"times: a bit behind", BYTES(CODEC_COL_GORILLA_TIME, 0, 0, 0x01), 3, false},
        {"times: a byte behind", BYTES(CODEC_COL_GORILLA_TIME, 0, 0, 0, 0), 3, false},
        {"values: a window that is not there",
         BYTES(CODEC_COL_GORILLA, 0, 0, 0, 0, 0, 0, 0, 0, 0x80), 2, true},
        {"values: a window past 64 bits",
         BYTES(CODEC_COL_GORILLA, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0), 2,
         true},
        {"values: the end is missing", BYTES(CODEC_COL_GORILLA, 0, 0, 0, 0, 0, 0, 0, 0, 0xd6), 2,
         true},
        {"more than a column has", BYTES(CODEC_COL_CONST, 1, 2, 3, 4, 5, 6, 7, 8), N + 1, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_status st = cases[i].is_double ? codec_f64_decode(cases[i].in, cases[i].n, f64, NULL)
                                          : codec_i64_decode(cases[i].in, cases[i].n, i64, NULL);
        if (st != VV_CORRUPT)
            fail_msg("%s: %s", cases[i].name, vv_status_name(st));
    }
    assert_string_equal(codec_column_name(CODEC_COL_STRING_DICT), "string_dict");
    assert_string_equal(codec_column_name(200), "unknown");
}

static void every_failed_allocation_is_an_answer(void **state)
{
    (void)state;
    const vv_slice text[] = {BYTES('a', 'b'), BYTES('c')};
    for (int64_t n = 0;; n++) {
        vv_buf out;
        vv_arena arena;
        vv_slice back[2];
        vv_buf_init(&out, 4096);
        vv_arena_init(&arena, 4096);
        vv_alloc_fail_after(n, 0);
        codec_scratch *s = codec_scratch_create();
        vv_status st = s == NULL ? VV_NO_MEMORY : VV_OK;
        if (st == VV_OK) {
            codec_string_encode(text, 2, CODEC_BEST, s, &out);
            st = out.status;
        }
        if (st == VV_OK)
            st = codec_string_decode(vv_buf_slice(&out), 2, &arena, back, NULL);
        vv_alloc_fail_after(-1, 0);
        codec_scratch_destroy(s);
        vv_buf_fini(&out);
        vv_arena_fini(&arena);
        if (st == VV_OK)
            return; /* no allocation was left to fail */
        assert_int_equal(st, VV_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_chooses_the_level),
        cmocka_unit_test(prop_quotients_round_as_divisions),
        cmocka_unit_test(prop_integers_come_back),
        cmocka_unit_test(prop_doubles_come_back_bit_for_bit),
        cmocka_unit_test(gorilla_is_the_baseline),
        cmocka_unit_test(gorilla_times_survive_gaps_of_weeks),
        cmocka_unit_test(bools_come_back),
        cmocka_unit_test(strings_come_back),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(every_failed_allocation_is_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
