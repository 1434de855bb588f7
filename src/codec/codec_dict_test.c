/*
 * codec_dict_test.c - round trips with and without a dictionary, what it gains, damage.
 */
#include "vv_test.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "codec/codec_dict.h"

#define SAMPLES 2000u

static size_t make_value(vv_rng *rng, char out[256])
{
    return (size_t)snprintf(out, 256,
                            "{\"sensor\":\"hall-%u.line-%u.temperature\",\"unit\":\"celsius\","
                            "\"value\":%u.%02u,\"quality\":\"good\",\"operator\":\"night shift\"}",
                            (unsigned)vv_rng_below(rng, 9), (unsigned)vv_rng_below(rng, 99),
                            (unsigned)vv_rng_below(rng, 200), (unsigned)vv_rng_below(rng, 100));
}

static codec_dict *train(vv_rng *rng)
{
    static char bytes[SAMPLES * 256];
    static size_t sizes[SAMPLES];
    static uint8_t out[CODEC_DICT_MAX];
    size_t at = 0;
    for (unsigned i = 0; i < SAMPLES; i++) {
        char value[256];
        sizes[i] = make_value(rng, value);
        memcpy(bytes + at, value, sizes[i]);
        at += sizes[i];
    }
    size_t len = 0;
    vv_error err;
    codec_dict *dict = NULL;
    assert_ok(codec_dict_train(vv_slice_of(bytes, at), sizes, SAMPLES, out, &len, &err), err);
    assert_ok(codec_dict_create(vv_slice_of(out, len), &dict, &err), err);
    return dict;
}

static void a_dictionary_makes_small_values_small(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(1));
    codec_dict *dict = train(&rng);
    codec_dict_ctx *ctx = NULL;
    vv_error err;
    assert_ok(codec_dict_ctx_create(&ctx, &err), err);
    size_t raw_sum = 0;
    size_t with_sum = 0;
    for (int i = 0; i < 200; i++) {
        char value[256];
        vv_slice raw = vv_slice_of(value, make_value(&rng, value));
        uint8_t out[512];
        uint8_t back[256];
        for (int with = 0; with < 2; with++) {
            size_t len = 0;
            const codec_dict *d = with ? dict : NULL;
            assert_ok(codec_dict_compress(ctx, d, raw, out, sizeof out, &len, &err), err);
            assert_ok(codec_dict_decompress(ctx, d, vv_slice_of(out, len), back, raw.len, &err),
                      err);
            assert_memory_equal(back, raw.data, raw.len);
            with_sum += with ? len : 0;
            /* Another length than it has is damage. */
            assert_status(VV_CORRUPT, codec_dict_decompress(ctx, d, vv_slice_of(out, len), back,
                                                            raw.len - 1, &err));
            assert_status(VV_CORRUPT, codec_dict_decompress(ctx, d, vv_slice_of(out, len - 1), back,
                                                            raw.len, &err));
        }
        size_t len = 0;
        assert_status(VV_NO_SPACE, codec_dict_compress(ctx, dict, raw, out, 4, &len, &err));
        raw_sum += raw.len;
    }
    assert_true(with_sum * 3 < raw_sum);
    codec_dict_ctx_destroy(ctx);
    codec_dict_destroy(dict);
}

static void too_few_samples_are_told(void **state)
{
    (void)state;
    uint8_t out[CODEC_DICT_MAX];
    size_t len = 0;
    const size_t sizes[] = {3, 3};
    assert_status(VV_NOT_FOUND,
                  codec_dict_train(vv_slice_str("abcabc"), sizes, 2, out, &len, NULL));
}

static void failed_allocations_are_told(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, 3);
    codec_dict *dict = train(&rng);
    char value[256];
    vv_slice raw = vv_slice_of(value, make_value(&rng, value));
    vv_status st = VV_NO_MEMORY;
    for (int n = 0; st != VV_OK && n < 50; n++) {
        codec_dict_ctx *ctx = NULL;
        uint8_t out[512];
        uint8_t back[256];
        size_t len = 0;
        vv_alloc_fail_after(n, 0);
        st = codec_dict_ctx_create(&ctx, NULL);
        if (st == VV_OK)
            st = codec_dict_compress(ctx, dict, raw, out, sizeof out, &len, NULL);
        if (st == VV_OK)
            st = codec_dict_decompress(ctx, dict, vv_slice_of(out, len), back, raw.len, NULL);
        vv_alloc_fail_after(-1, 0);
        assert_true(st == VV_OK || st == VV_NO_MEMORY);
        codec_dict_ctx_destroy(ctx);
    }
    assert_int_equal(st, VV_OK);
    codec_dict_destroy(dict);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dictionary_makes_small_values_small),
        cmocka_unit_test(too_few_samples_are_told),
        cmocka_unit_test(failed_allocations_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
