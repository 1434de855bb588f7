/*
 * codec_block.c - lz4 and zstd behind one bounded call each way.
 *
 * Why contexts are kept: ZSTD_decompress without one costs 15 us a block instead of 1 to 4, and
 * lz4's state of 16 KiB does not belong on the stack of a reader. zstd takes its memory through
 * vv_alloc, so that a test can fail it like any other allocation.
 */
#include "codec/codec_block.h"

#include <lz4.h>
#include <zstd_errors.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "codec/codec_int.h"

static void *zstd_alloc(void *opaque, size_t size)
{
    (void)opaque;
    return vv_alloc(size);
}

static void zstd_free(void *opaque, void *ptr)
{
    (void)opaque;
    vv_free(ptr);
}

static const ZSTD_customMem zstd_memory = {zstd_alloc, zstd_free, NULL};

vv_status codec_block_ctx_create(codec_block_ctx **out, vv_error *err)
{
    codec_block_ctx *ctx = vv_calloc(1, sizeof *ctx);
    if (ctx == NULL)
        return vv_fail(err, VV_NO_MEMORY, "compression: no memory for a context");
    *out = ctx;
    return VV_OK;
}

void codec_block_ctx_destroy(codec_block_ctx *ctx)
{
    if (ctx == NULL)
        return;
    vv_free(ctx->lz4);
    (void)ZSTD_freeCCtx(ctx->zstd_c);
    (void)ZSTD_freeDCtx(ctx->zstd_d);
    vv_free(ctx);
}

const char *codec_kind_name(unsigned kind)
{
    static const char *const names[CODEC_KIND_COUNT] = {"none", "lz4", "zstd"};
    return kind < CODEC_KIND_COUNT ? names[kind] : "unknown";
}

bool codec_kind_is_known(unsigned kind)
{
    return kind < CODEC_KIND_COUNT;
}

static vv_status compress_lz4(codec_block_ctx *ctx, vv_slice raw, uint8_t *out, size_t cap,
                              size_t *out_len, vv_error *err)
{
    if (ctx->lz4 == NULL)
        ctx->lz4 = vv_alloc((size_t)LZ4_sizeofState());
    if (ctx->lz4 == NULL)
        return vv_fail(err, VV_NO_MEMORY, "lz4: no memory for its state");
    int room = (int)vv_min_u64(cap, INT32_MAX);
    int n = LZ4_compress_fast_extState(ctx->lz4, (const char *)raw.data, (char *)out, (int)raw.len,
                                       room, 1);
    if (n <= 0)
        return VV_NO_SPACE;
    *out_len = (size_t)n;
    return VV_OK;
}

vv_status codec_zstd_prepare_write(codec_block_ctx *ctx, vv_error *err)
{
    if (ctx->zstd_c == NULL)
        ctx->zstd_c = ZSTD_createCCtx_advanced(zstd_memory);
    return ctx->zstd_c != NULL ? VV_OK
                               : vv_fail(err, VV_NO_MEMORY, "zstd: no memory for a context");
}

vv_status codec_zstd_written(size_t n, size_t raw_len, size_t *out_len, vv_error *err)
{
    if (!ZSTD_isError(n)) {
        *out_len = n;
        return VV_OK;
    }
    ZSTD_ErrorCode code = ZSTD_getErrorCode(n);
    if (code == ZSTD_error_dstSize_tooSmall)
        return VV_NO_SPACE;
    return vv_fail(err, code == ZSTD_error_memory_allocation ? VV_NO_MEMORY : VV_INVALID,
                   "zstd: compress %zu bytes: %s", raw_len, ZSTD_getErrorName(n));
}

static vv_status compress_zstd(codec_block_ctx *ctx, vv_slice raw, uint8_t *out, size_t cap,
                               size_t *out_len, vv_error *err)
{
    vv_status st = codec_zstd_prepare_write(ctx, err);
    if (st != VV_OK)
        return st;
    size_t n = ZSTD_compressCCtx(ctx->zstd_c, out, cap, raw.data, raw.len, CODEC_ZSTD_LEVEL);
    return codec_zstd_written(n, raw.len, out_len, err);
}

vv_status codec_block_compress(codec_block_ctx *ctx, codec_kind kind, vv_slice raw, uint8_t *out,
                               size_t cap, size_t *out_len, vv_error *err)
{
    if (raw.len > CODEC_BLOCK_MAX)
        return vv_fail(err, VV_INVALID, "compress %zu bytes: a block has at most %u", raw.len,
                       CODEC_BLOCK_MAX);
    switch (kind) {
    case CODEC_LZ4:
        return compress_lz4(ctx, raw, out, cap, out_len, err);
    case CODEC_ZSTD:
        return compress_zstd(ctx, raw, out, cap, out_len, err);
    case CODEC_NONE:
        break;
    }
    if (raw.len > cap)
        return VV_NO_SPACE;
    if (raw.len > 0)
        memcpy(out, raw.data, raw.len);
    *out_len = raw.len;
    return VV_OK;
}

vv_status codec_zstd_prepare_read(codec_block_ctx *ctx, vv_error *err)
{
    if (ctx->zstd_d == NULL)
        ctx->zstd_d = ZSTD_createDCtx_advanced(zstd_memory);
    return ctx->zstd_d != NULL ? VV_OK
                               : vv_fail(err, VV_NO_MEMORY, "zstd: no memory for a context");
}

vv_status codec_zstd_read(size_t n, size_t stored_len, size_t raw_len, vv_error *err)
{
    if (ZSTD_isError(n)) {
        bool memory = ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation;
        return vv_fail(err, memory ? VV_NO_MEMORY : VV_CORRUPT, "zstd: %zu bytes: %s", stored_len,
                       ZSTD_getErrorName(n));
    }
    if (n != raw_len)
        return vv_fail(err, VV_CORRUPT, "zstd: %zu bytes instead of %zu", n, raw_len);
    return VV_OK;
}

static vv_status decompress_zstd(codec_block_ctx *ctx, vv_slice stored, uint8_t *out,
                                 size_t raw_len, vv_error *err)
{
    vv_status st = codec_zstd_prepare_read(ctx, err);
    if (st != VV_OK)
        return st;
    size_t n = ZSTD_decompressDCtx(ctx->zstd_d, out, raw_len, stored.data, stored.len);
    return codec_zstd_read(n, stored.len, raw_len, err);
}

vv_status codec_block_decompress(codec_block_ctx *ctx, unsigned kind, vv_slice stored, uint8_t *out,
                                 size_t raw_len, vv_error *err)
{
    if (raw_len > CODEC_BLOCK_MAX || stored.len > CODEC_BLOCK_MAX)
        return vv_fail(err, VV_CORRUPT, "a block of %zu bytes from %zu: at most %u", raw_len,
                       stored.len, CODEC_BLOCK_MAX);
    switch (kind) {
    case CODEC_NONE:
        if (stored.len != raw_len)
            return vv_fail(err, VV_CORRUPT, "%zu bytes instead of %zu", stored.len, raw_len);
        if (raw_len > 0)
            memcpy(out, stored.data, raw_len);
        return VV_OK;
    case CODEC_LZ4: {
        int n = LZ4_decompress_safe((const char *)stored.data, (char *)out, (int)stored.len,
                                    (int)raw_len);
        if (n < 0 || (size_t)n != raw_len)
            return vv_fail(err, VV_CORRUPT, "lz4: %zu bytes do not give %zu", stored.len, raw_len);
        return VV_OK;
    }
    case CODEC_ZSTD:
        assert(ctx != NULL);
        return decompress_zstd(ctx, stored, out, raw_len, err);
    default:
        return vv_fail(err, VV_UNSUPPORTED,
                       "codec %u is not known here: written by a newer version?", kind);
    }
}
