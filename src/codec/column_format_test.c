/*
 * column_format_test.c - docs/format/column.md in bytes: columns that were worked out by hand, and
 * what a reader refuses.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "codec/column.h"
#include "codec/column_kernel.h"
#include "vv_test.h"

#define Z8 0, 0, 0, 0, 0, 0, 0, 0
#define Z12 Z8, 0, 0, 0, 0
#define TWELVE 0, 0, 0, 0, 0, 0, 0x28, 0x40 /* 12.0 */
#define I64(...)                                                                                   \
    (const uint64_t *)(const int64_t[]){__VA_ARGS__},                                              \
        sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)

enum { ENCODES, DECODES }; /* whether our writer writes just these bytes, too */

typedef struct vector {
    const char *name;
    vv_slice bytes;
    const uint64_t *value;
    uint32_t n;
    int only;
    bool doubles;
} vector;

static const uint64_t tenths[] = {0x3fb999999999999a, 0x3fd3333333333333, 0x3fc999999999999a,
                                  0x7ff8000000000000};
static const uint64_t one_two_one[] = {0x3ff0000000000000, 0x4000000000000000, 0x3ff0000000000000};
static const uint64_t zeros[] = {0, 0x8000000000000000};
static const uint64_t dozens[] = {0x4028000000000000, 0x4038000000000000, 0x4028000000000000,
                                  0x4028000000000000};
static const uint64_t denormals[] = {0, 1, 3};
static const uint64_t wide[32] = {[0] = 0x1ffffffff, [16] = 0x123456789};

static void check_with(const vector *c, codec_scratch *s, vv_buf *out)
{
    uint64_t back[64];
    vv_error err = {0};
    vv_status st = c->doubles ? codec_f64_decode(c->bytes, c->n, (double *)(void *)back, &err)
                              : codec_i64_decode(c->bytes, c->n, (int64_t *)back, &err);
    if (st != VV_OK)
        fail_msg("%s: %s", c->name, err.msg);
    if (memcmp(back, c->value, c->n * sizeof *back) != 0)
        fail_msg("%s: other values", c->name);
    if (c->only == DECODES)
        return;
    vv_buf_reset(out);
    codec_column kind = c->bytes.data[0];
    st = c->doubles
             ? codec_f64_encode_as(kind, (const double *)(const void *)c->value, c->n, s, out)
             : codec_i64_encode_as(kind, (const int64_t *)c->value, c->n, s, out);
    if (st != VV_OK || !vv_slice_eq(vv_buf_slice(out), c->bytes)) {
        for (size_t i = 0; i < out->len; i++)
            print_message("%02x ", out->data[i]);
        fail_msg("%s: other bytes", c->name);
    }
}

static void numbers_have_the_bytes_of_the_page(void **state)
{
    (void)state;
    const vector cases[] = {
        {"raw", BYTES(0, 1, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
         I64(1, -1), ENCODES, false},
        {"const", BYTES(1, TWELVE), dozens, 1, ENCODES, true},
        {"short, with a divisor", BYTES(3, 4, 5, 0x14, 4, 0x0a), I64(10, 20, 35), ENCODES, false},
        {"short, deltas", BYTES(3, 1, 0, 2, 6, 10), I64(0, 1, 4, 9), DECODES, false},
        {"short, second deltas", BYTES(3, 2, 0, 2, 4, 4), I64(0, 1, 4, 9), DECODES, false},
        {"FOR", BYTES(2, 0, 3, 0xc8, 1, 0, 7, 3, 1, Z12), I64(100, 107, 103, 101), ENCODES, false},
        {"FOR with a divisor", BYTES(2, 4, 3, 0, 0x1e, 0, 2, 1, 4, Z12), I64(0, 60, 30, 120),
         ENCODES, false},
        {"regular", BYTES(2, 1, 0, 0x14, 0x14), I64(10, 20, 30), ENCODES, false},
        {"DELTA", BYTES(2, 1, 3, 0, 6, 0, 3, 0, 4, Z12), I64(0, 1, 4, 9), ENCODES, false},
        {"DELTA2", BYTES(2, 2, 3, 0, 2, 0, 0, 4, 4, Z12), I64(0, 1, 4, 9), DECODES, false},
        {"DELTA2 with a divisor", BYTES(2, 6, 3, 1, 7, 2, 0, 0, 4, 4, Z12), I64(-1, 6, 27, 62),
         DECODES, false},
        {"a patch",
         BYTES(2, 8, 1, 0, 1, 3, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 5, 0, 0, 0, 8),
         I64(0, 1, 0, 1, 0, 1 << 20, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1), ENCODES, false},
        {"a value in two words",
         BYTES(2, 0, 33, 0, 0xff, 0xff, 0xff, 0xff, 0x13, 0xcf, 0x8a, 0x46, Z8, Z8, Z8, Z8, Z8, Z8,
               Z8, Z8, Z8, Z8, Z8, Z8, Z8, Z8, Z8, 2, Z12, 0, 0, 0),
         wide, 32, DECODES, false},
        {"times", BYTES(4, 3, 20, 0x85, 0x20, 0x20),
         I64(10000000000, 20000000000, 30000000000, 41000000000), ENCODES, false},
        {"gorilla", BYTES(5, TWELVE, 0xd6, 0x0c), dozens, 2, ENCODES, true},
        {"chimp, values before", BYTES(6, TWELVE, 0x40, 0x11, 5, 0, 0x44, 0x10, 0), dozens, 4,
         ENCODES, true},
        {"chimp, leads", BYTES(6, Z8, 0xf8, 0, 0, 0, 0, 0x0c, 0, 0, 0, 0, 4), denormals, 3, ENCODES,
         true},
        {"decimals and a NaN", BYTES(7, 1, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f, 3, 0, 2, 4, 2, 2),
         tenths, 4, ENCODES, true},
        {"a dictionary",
         BYTES(8, 2, 0x11, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0x40, 3, 0, 0, 2,
               0),
         one_two_one, 3, ENCODES, true},
        {"both zeros in their order", BYTES(9, 3, 0, 0, 1), zeros, 2, ENCODES, true},
    };
    codec_scratch *s = codec_scratch_create();
    assert_non_null(s);
    vv_buf out;
    vv_buf_init(&out, 4096);
    for (vv_cpu level = VV_CPU_BASELINE; level <= vv_cpu_best(); level++) {
        codec_kernels_set(level);
        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
            check_with(&cases[i], s, &out);
    }
    vv_buf_fini(&out);
    codec_scratch_destroy(s);
}

static void strings_have_the_bytes_of_the_page(void **state)
{
    (void)state;
    const vv_slice letters[] = {BYTES('a', 'b'), BYTES('c')};
    const vv_slice states[] = {BYTES('u', 'p'), BYTES('u', 'p'), BYTES('d', 'o', 'w', 'n'),
                               BYTES('u', 'p')};
    const struct {
        vv_slice bytes;
        const vv_slice *value;
        uint32_t n;
        codec_effort effort;
    } cases[] = {
        {BYTES(11, 4, 3, 0, 4, 1, 'a', 'b', 'c'), letters, 2, CODEC_FAST},
        {BYTES(12, 2, 12, 5, 3, 4, 2, 4, 2, 'u', 'p', 'd', 'o', 'w', 'n', 3, 0, 0, 0, 2, 0), states,
         4, CODEC_BEST},
        {BYTES(11), NULL, 0, CODEC_BEST},
    };
    codec_scratch *s = codec_scratch_create();
    assert_non_null(s);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_buf out;
        vv_arena arena;
        vv_error err = {0};
        vv_slice back[4];
        vv_buf_init(&out, 4096);
        vv_arena_init(&arena, 4096);
        codec_string_encode(cases[i].value, cases[i].n, cases[i].effort, s, &out);
        assert_int_equal(out.len, cases[i].bytes.len);
        assert_memory_equal(out.data, cases[i].bytes.data, out.len);
        assert_ok(codec_string_decode(cases[i].bytes, cases[i].n, &arena, back, &err), err);
        for (uint32_t k = 0; k < cases[i].n; k++)
            assert_true(vv_slice_eq(back[k], cases[i].value[k]));
        vv_arena_fini(&arena);
        vv_buf_fini(&out);
    }
    codec_scratch_destroy(s);
}

static void integer_columns_refuse(void **state)
{
    (void)state;
    const struct {
        const char *name;
        vv_slice in;
        uint32_t n;
    } cases[] = {
        {"an empty column for none", vv_slice_of(NULL, 0), 0},
        {"a codec of doubles", BYTES(5, TWELVE), 1},
        {"flags that nobody has", BYTES(2, 16, 0, 0), 1},
        {"transform 3", BYTES(2, 3, 0, 0, 0), 1},
        {"width 65", BYTES(2, 0, 65, 0), 1},
        {"no origin", BYTES(2, 0, 0), 1},
        {"an origin that does not end", BYTES(2, 0, 0, 0x80), 1},
        {"divisor 1", BYTES(2, 4, 0, 0, 1), 1},
        {"divisor 0", BYTES(2, 4, 0, 0, 0), 1},
        {"no base", BYTES(2, 1, 0, 0), 1},
        {"packed bytes too few", BYTES(2, 0, 1, 0, Z12, 0, 0, 0), 1},
        {"packed bytes too many", BYTES(2, 0, 1, 0, Z12, 0, 0, 0, 0, 0), 1},
        {"width 0 with bytes", BYTES(2, 0, 0, 0, 0), 1},
        {"no patches, but the bit", BYTES(2, 8, 0, 0, 0, 1), 1},
        {"more patches than values", BYTES(2, 8, 0, 0, 2, 1, 0, 0, 1, 0, 1, 1), 1},
        {"patches of no bytes", BYTES(2, 8, 0, 0, 1, 0, 0, 0), 1},
        {"patches of nine bytes", BYTES(2, 8, 0, 0, 1, 9, 0, 0, Z8, 0), 1},
        {"a patch behind the values", BYTES(2, 8, 0, 0, 1, 1, 4, 0, 1), 4},
        {"two patches of one value", BYTES(2, 8, 0, 0, 2, 1, 1, 0, 1, 0, 1, 1), 4},
        {"patches that fall", BYTES(2, 8, 0, 0, 2, 1, 2, 0, 1, 0, 1, 1), 4},
        {"a patch on 64 bits",
         BYTES(2, 8, 64, 0, 1, 1, Z8, Z8, Z8, Z8, Z8, Z8, Z8, Z8, Z8, Z8, Z8, Z8, Z8, Z8, Z8, Z8, 0,
               0, 1),
         1},
        {"a block of none", BYTES(2, 0, 0, 0), 0},
        {"varints of none", BYTES(3, 0, 0), 0},
        {"times of none", BYTES(4, 0, 0), 0},
    };
    int64_t out[16];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (codec_i64_decode(cases[i].in, cases[i].n, out, NULL) != VV_CORRUPT)
            fail_msg("%s", cases[i].name);
}

static void double_columns_refuse(void **state)
{
    (void)state;
    const struct {
        const char *name;
        vv_slice in;
        uint32_t n;
    } cases[] = {
        {"a codec of integers", BYTES(2, 0, 0, 0), 1},
        {"decimal: exponent 16", BYTES(7, 16, 0, 3, 0, 0), 1},
        {"decimal: more exceptions than values", BYTES(7, 0, 2, 0, 0, 0, 0, Z8, Z8, 3, 0, 0), 1},
        {"decimal: exceptions that are not there", BYTES(7, 0, 1, 0, 0, 0), 1},
        {"decimal: a count past 64 bits",
         BYTES(7, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), 1},
        {"decimal: an exception behind the values", BYTES(7, 0, 1, 1, 0, Z8, 3, 0, 0), 1},
        {"decimal: exceptions that fall", BYTES(7, 0, 2, 1, 0, 0, 0, Z8, Z8, 3, 0, 0, 0), 2},
        {"decimal: 2^51", BYTES(7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0), 1},
        {"decimal: less than -2^51",
         BYTES(7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf7, 0xff), 1},
        {"decimal: INT64_MIN", BYTES(7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80), 1},
        {"decimal: no integers", BYTES(7, 0, 0), 1},
        {"decimal: in a decimal", BYTES(7, 0, 0, 7, 0, 0, 3, 0, 0), 1},
        {"dictionary: none", BYTES(8, 0, 0, 3, 0, 0), 1},
        {"dictionary: more than values", BYTES(8, 2, 4, 3, 0, 0, 2, 3, 0, 0), 1},
        {"dictionary: a size past the end", BYTES(8, 1, 9, 3, 0, 0, 3, 0, 0), 1},
        {"dictionary: a number too large", BYTES(8, 1, 3, 3, 0, 0, 3, 0, 2), 1},
        {"dictionary: a negative number", BYTES(8, 1, 3, 3, 0, 0, 3, 0, 1), 1},
        {"chimp: a distance before the first", BYTES(6, Z8, 0x00, 0x80), 2},
        {"chimp: no bits", BYTES(6, Z8, 0x40, 0x00, 0x00), 2},
        {"chimp: a window past 64 bits", BYTES(6, Z8, 0x40, 0x1f, 0xc0, Z8), 2},
        {"chimp: a lead that is not there", BYTES(6, Z8, 0x80, Z8), 2},
        {"chimp: a byte behind", BYTES(6, TWELVE, 0, 0, 0), 2},
        {"chimp: none", BYTES(6, Z8), 0},
    };
    double out[16];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (codec_f64_decode(cases[i].in, cases[i].n, out, NULL) != VV_CORRUPT)
            fail_msg("%s", cases[i].name);
}

static void string_columns_refuse(void **state)
{
    (void)state;
    const struct {
        const char *name;
        vv_slice in;
        uint32_t n;
    } cases[] = {
        {"nothing", vv_slice_of(NULL, 0), 0},
        {"a byte behind none", BYTES(11, 0), 0},
        {"a codec of numbers", BYTES(3, 0, 0), 1},
        {"a size past the end", BYTES(11, 9, 3, 0, 2, 'a'), 1},
        {"a length past the end", BYTES(11, 3, 3, 0, 4, 'a'), 1},
        {"a negative length", BYTES(11, 3, 3, 0, 1, 'a'), 1},
        {"a byte behind the last", BYTES(11, 3, 3, 0, 2, 'a', 'b'), 1},
        {"dictionary: none", BYTES(12, 0, 4, 3, 3, 0, 2, 'a', 3, 0, 0), 1},
        {"dictionary: more than strings", BYTES(12, 2, 5, 3, 3, 0, 0, 0, 3, 0, 0), 1},
        {"dictionary: a number too large", BYTES(12, 1, 5, 3, 3, 0, 2, 'a', 3, 0, 2), 1},
    };
    vv_slice out[16];
    vv_arena arena;
    vv_arena_init(&arena, 4096);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (codec_string_decode(cases[i].in, cases[i].n, &arena, out, NULL) != VV_CORRUPT)
            fail_msg("%s", cases[i].name);
    vv_arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_have_the_bytes_of_the_page),
        cmocka_unit_test(strings_have_the_bytes_of_the_page),
        cmocka_unit_test(integer_columns_refuse),
        cmocka_unit_test(double_columns_refuse),
        cmocka_unit_test(string_columns_refuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
