#include "codec/codec_block.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "vv_test.h"

#define LEN_MAX 70000u

static codec_block_ctx *make_ctx(void)
{
    vv_error err;
    codec_block_ctx *ctx = NULL;
    assert_ok(codec_block_ctx_create(&ctx, &err), err);
    return ctx;
}

/* Half noise, half repeats: compressible, but not trivially. */
static size_t make_raw(vv_rng *rng, uint8_t *raw)
{
    size_t len = (size_t)vv_rng_below(rng, LEN_MAX);
    vv_rng_bytes(rng, raw, len);
    for (size_t i = 0; i < len; i++)
        if ((i / 50) % 2 == 0)
            raw[i] = 'x';
    return len;
}

static void prop_decode_of_encode_is_the_input(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(1));
    codec_block_ctx *ctx = make_ctx();
    static uint8_t raw[LEN_MAX], packed[LEN_MAX + 1024], back[LEN_MAX];
    for (unsigned round = 0; round < 100; round++) {
        size_t len = make_raw(&rng, raw);
        for (unsigned kind = 0; kind < CODEC_KIND_COUNT; kind++) {
            vv_error err;
            size_t n = 0;
            assert_ok(codec_block_compress(ctx, (codec_kind)kind, vv_slice_of(raw, len), packed,
                                           sizeof packed, &n, &err),
                      err);
            if (kind != CODEC_NONE && len > 1000)
                assert_true(n < len);
            assert_ok(codec_block_decompress(ctx, kind, vv_slice_of(packed, n), back, len, &err),
                      err);
            assert_memory_equal(raw, back, len);
            if (len > 0) /* another length than the true one is refused */
                assert_status(VV_CORRUPT, codec_block_decompress(ctx, kind, vv_slice_of(packed, n),
                                                                 back, len - 1, NULL));
        }
    }
    codec_block_ctx_destroy(ctx);
}

static void output_is_bounded(void **state)
{
    (void)state;
    codec_block_ctx *ctx = make_ctx();
    vv_rng rng;
    vv_rng_init(&rng, 2);
    uint8_t raw[4096], out[4096];
    vv_rng_bytes(&rng, raw, sizeof raw); /* noise does not shrink */
    for (unsigned kind = 0; kind < CODEC_KIND_COUNT; kind++) {
        size_t n = 0;
        memset(out, 0xee, sizeof out);
        assert_status(VV_NO_SPACE,
                      codec_block_compress(ctx, (codec_kind)kind, vv_slice_of(raw, sizeof raw), out,
                                           sizeof out - 16, &n, NULL));
        for (size_t i = sizeof out - 16; i < sizeof out; i++)
            assert_int_equal(out[i], 0xee);
    }
    codec_block_ctx_destroy(ctx);
}

static void prop_damaged_bytes_never_overrun(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(3));
    codec_block_ctx *ctx = make_ctx();
    static uint8_t raw[LEN_MAX], packed[LEN_MAX + 1024], back[LEN_MAX + 64];
    for (unsigned round = 0; round < 2000; round++) {
        size_t len = make_raw(&rng, raw) % 3000;
        unsigned kind = 1 + (unsigned)vv_rng_below(&rng, 2);
        size_t n = 0;
        vv_error err;
        assert_ok(codec_block_compress(ctx, (codec_kind)kind, vv_slice_of(raw, len), packed,
                                       sizeof packed, &n, &err),
                  err);
        for (unsigned flips = 0; flips < 3; flips++)
            packed[vv_rng_below(&rng, n)] ^= (uint8_t)(1u << vv_rng_below(&rng, 8));
        memset(back + len, 0xee, 64);
        (void)!codec_block_decompress(ctx, kind, vv_slice_of(packed, n), back, len, NULL);
        for (size_t i = 0; i < 64; i++)
            assert_int_equal(back[len + i], 0xee);
    }
    codec_block_ctx_destroy(ctx);
}

static void unknown_kind_is_refused(void **state)
{
    (void)state;
    uint8_t out[4];
    assert_status(VV_UNSUPPORTED,
                  codec_block_decompress(NULL, 3, BYTES(1, 2, 3), out, sizeof out, NULL));
    assert_false(codec_kind_is_known(3));
    assert_string_equal(codec_kind_name(99), "unknown");
    assert_string_equal(codec_kind_name(CODEC_LZ4), "lz4");
}

static void every_failed_allocation_is_an_answer(void **state)
{
    (void)state;
    uint8_t raw[500] = {0}, out[2000], back[500];
    for (int64_t n = 0;; n++) {
        vv_alloc_fail_after(n, 0);
        codec_block_ctx *ctx = NULL;
        vv_status st = codec_block_ctx_create(&ctx, NULL);
        for (unsigned kind = 1; st == VV_OK && kind < CODEC_KIND_COUNT; kind++) {
            size_t len = 0;
            st = codec_block_compress(ctx, (codec_kind)kind, vv_slice_of(raw, sizeof raw), out,
                                      sizeof out, &len, NULL);
            if (st == VV_OK)
                st = codec_block_decompress(ctx, kind, vv_slice_of(out, len), back, sizeof back,
                                            NULL);
        }
        vv_alloc_fail_after(-1, 0);
        codec_block_ctx_destroy(ctx);
        if (st == VV_OK)
            return; /* no allocation was left to fail */
        assert_int_equal(st, VV_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_decode_of_encode_is_the_input),
        cmocka_unit_test(output_is_bounded),
        cmocka_unit_test(prop_damaged_bytes_never_overrun),
        cmocka_unit_test(unknown_kind_is_refused),
        cmocka_unit_test(every_failed_allocation_is_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
