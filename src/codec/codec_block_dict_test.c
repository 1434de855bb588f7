#include "codec/codec_block_dict.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "vv_test.h"

#define BLOCK 4096u
#define COUNT 64u
#define DICT 4096u

typedef struct bed {
    uint8_t samples[COUNT * BLOCK];
    size_t sizes[COUNT];
    uint8_t dict[DICT];
    size_t dict_len;
} bed;

/* Records as a program would write them: the same words, other numbers. */
static void fill_block(vv_rng *rng, uint8_t *p)
{
    size_t at = 0;
    while (at < BLOCK) {
        char line[160];
        int n = snprintf(
            line, sizeof line,
            "{\"device\":\"sensor-%04llu\",\"temperature\":%llu.%02llu,"
            "\"state\":\"running\",\"firmware\":\"v1.%llu\"}",
            (unsigned long long)vv_rng_below(rng, 5000), (unsigned long long)vv_rng_below(rng, 40),
            (unsigned long long)vv_rng_below(rng, 100), (unsigned long long)vv_rng_below(rng, 9));
        size_t len = (size_t)n < BLOCK - at ? (size_t)n : BLOCK - at;
        memcpy(p + at, line, len);
        at += len;
    }
}

static void train(bed *b, uint64_t seed)
{
    vv_rng rng;
    vv_rng_init(&rng, seed);
    for (unsigned i = 0; i < COUNT; i++) {
        fill_block(&rng, b->samples + (size_t)i * BLOCK);
        b->sizes[i] = BLOCK;
    }
    assert_int_equal(
        codec_block_dict_train(b->samples, b->sizes, COUNT, b->dict, DICT, &b->dict_len), VV_OK);
    assert_true(b->dict_len > 256 && b->dict_len <= DICT);
}

static void prop_decode_of_encode_is_the_input_and_smaller_than_without(void **state)
{
    (void)state;
    static bed b;
    vv_error err;
    train(&b, vv_test_seed(1));
    codec_block_ctx *ctx = NULL;
    codec_block_dict *writer = NULL;
    codec_block_dict *reader = NULL;
    assert_ok(codec_block_ctx_create(&ctx, &err), err);
    assert_ok(codec_block_dict_create(vv_slice_of(b.dict, b.dict_len), true, &writer, &err), err);
    assert_ok(codec_block_dict_create(codec_block_dict_bytes(writer), false, &reader, &err), err);
    assert_int_equal(codec_block_dict_id(writer), codec_block_dict_id(reader));
    assert_true(codec_block_dict_memory(writer) > codec_block_dict_memory(reader));
    vv_rng rng;
    vv_rng_init(&rng, 77);
    size_t with = 0;
    size_t without = 0;
    for (unsigned round = 0; round < 50; round++) {
        uint8_t raw[BLOCK], packed[2 * BLOCK], back[BLOCK];
        size_t n = 0;
        fill_block(&rng, raw);
        size_t len = round == 0 ? 0 : BLOCK - round;
        assert_ok(codec_block_compress(ctx, CODEC_ZSTD, vv_slice_of(raw, len), packed,
                                       sizeof packed, &n, &err),
                  err);
        without += n;
        assert_ok(codec_block_dict_compress(ctx, writer, vv_slice_of(raw, len), packed,
                                            sizeof packed, &n, &err),
                  err);
        with += n;
        assert_ok(codec_block_dict_decompress(ctx, reader, vv_slice_of(packed, n), back, len, &err),
                  err);
        assert_memory_equal(raw, back, len);
        if (len > 0)
            assert_status(VV_CORRUPT,
                          codec_block_dict_decompress(ctx, reader, vv_slice_of(packed, n), back,
                                                      len - 1, NULL));
        assert_status(VV_NO_SPACE, codec_block_dict_compress(ctx, writer, vv_slice_of(raw, len),
                                                             packed, 8, &n, NULL));
    }
    assert_true(with < without * 9 / 10);
    codec_block_dict_unref(writer);
    codec_block_dict_unref(reader);
    codec_block_ctx_destroy(ctx);
}

static void another_dictionary_is_refused(void **state)
{
    (void)state;
    static bed b;
    vv_error err;
    codec_block_ctx *ctx = NULL;
    codec_block_dict *one = NULL;
    codec_block_dict *two = NULL;
    assert_ok(codec_block_ctx_create(&ctx, &err), err);
    train(&b, 1);
    assert_ok(codec_block_dict_create(vv_slice_of(b.dict, b.dict_len), true, &one, &err), err);
    train(&b, 2);
    assert_ok(codec_block_dict_create(vv_slice_of(b.dict, b.dict_len), true, &two, &err), err);
    assert_true(codec_block_dict_id(one) != codec_block_dict_id(two));
    uint8_t packed[2 * BLOCK], back[BLOCK];
    size_t n = 0;
    assert_ok(codec_block_dict_compress(ctx, one, vv_slice_of(b.samples, BLOCK), packed,
                                        sizeof packed, &n, &err),
              err);
    assert_status(VV_CORRUPT,
                  codec_block_dict_decompress(ctx, two, vv_slice_of(packed, n), back, BLOCK, &err));
    assert_non_null(strstr(err.msg, "another dictionary"));
    assert_ok(codec_block_compress(ctx, CODEC_ZSTD, vv_slice_of(b.samples, BLOCK), packed,
                                   sizeof packed, &n, &err),
              err);
    assert_status(VV_CORRUPT,
                  codec_block_dict_decompress(ctx, one, vv_slice_of(packed, n), back, BLOCK, &err));
    codec_block_dict_unref(one);
    codec_block_dict_unref(two);
    codec_block_ctx_destroy(ctx);
}

static void bytes_that_are_no_dictionary_are_refused(void **state)
{
    (void)state;
    static bed b;
    train(&b, 3);
    codec_block_dict *dict = NULL;
    assert_status(VV_CORRUPT, codec_block_dict_create(BYTES(1, 2, 3), false, &dict, NULL));
    assert_status(VV_CORRUPT, codec_block_dict_create((vv_slice){0}, false, &dict, NULL));
    for (size_t cut = 0; cut < 64 && cut < b.dict_len; cut++)
        if (codec_block_dict_create(vv_slice_of(b.dict, cut), true, &dict, NULL) == VV_OK)
            codec_block_dict_unref(dict);
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(4));
    for (unsigned round = 0; round < 500; round++) { /* damage never crashes */
        uint8_t bytes[DICT];
        memcpy(bytes, b.dict, b.dict_len);
        bytes[vv_rng_below(&rng, 300)] ^= (uint8_t)(1u << vv_rng_below(&rng, 8));
        vv_status st = codec_block_dict_create(vv_slice_of(bytes, b.dict_len), true, &dict, NULL);
        if (st == VV_OK)
            codec_block_dict_unref(dict);
        else
            assert_int_equal(st, VV_CORRUPT);
    }
}

static void samples_without_anything_in_common_give_none(void **state)
{
    (void)state;
    uint8_t sample[40] = {0}, out[DICT];
    size_t sizes[2] = {20, 20};
    size_t len = 0;
    assert_status(VV_NOT_FOUND, codec_block_dict_train(sample, sizes, 2, out, sizeof out, &len));
    assert_status(VV_NOT_FOUND, codec_block_dict_train(sample, sizes, 0, out, sizeof out, &len));
}

static void every_failed_allocation_is_an_answer(void **state)
{
    (void)state;
    static bed b;
    train(&b, 5);
    for (int64_t n = 0;; n++) {
        vv_alloc_fail_after(n, 0);
        codec_block_ctx *ctx = NULL;
        codec_block_dict *dict = NULL;
        uint8_t packed[2 * BLOCK], back[BLOCK];
        size_t len = 0;
        vv_status st = codec_block_ctx_create(&ctx, NULL);
        if (st == VV_OK)
            st = codec_block_dict_create(vv_slice_of(b.dict, b.dict_len), true, &dict, NULL);
        if (st == VV_OK)
            st = codec_block_dict_compress(ctx, dict, vv_slice_of(b.samples, BLOCK), packed,
                                           sizeof packed, &len, NULL);
        if (st == VV_OK)
            st =
                codec_block_dict_decompress(ctx, dict, vv_slice_of(packed, len), back, BLOCK, NULL);
        vv_alloc_fail_after(-1, 0);
        codec_block_dict_unref(dict);
        codec_block_ctx_destroy(ctx);
        if (st == VV_OK)
            return;
        assert_int_equal(st, VV_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_decode_of_encode_is_the_input_and_smaller_than_without),
        cmocka_unit_test(another_dictionary_is_refused),
        cmocka_unit_test(bytes_that_are_no_dictionary_are_refused),
        cmocka_unit_test(samples_without_anything_in_common_give_none),
        cmocka_unit_test(every_failed_allocation_is_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
