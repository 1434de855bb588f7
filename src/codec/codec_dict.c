/*
 * codec_dict.c - a trained zstd dictionary and the contexts that use it.
 *
 * The digested forms are made once for each direction: digesting 16 KiB for every value would cost
 * more than the value. Training takes zstd's own memory, everything else ours.
 */
#include "codec/codec_dict.h"

#include <string.h>

#include <stdbool.h>

#define ZSTD_STATIC_LINKING_ONLY /* ZSTD_customMem, the door for its allocations */
#include <zdict.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/alloc.h"
#include "base/error.h"

#define LEVEL 3
#define SAMPLES_MIN 5u

struct codec_dict {
    ZSTD_CDict *compress;
    ZSTD_DDict *decompress;
};

struct codec_dict_ctx {
    ZSTD_CCtx *compress;
    ZSTD_DCtx *decompress;
};

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

vv_status codec_dict_train(vv_slice bytes, const size_t *sizes, unsigned count, uint8_t *out,
                           size_t *out_len, vv_error *err)
{
    if (count < SAMPLES_MIN)
        return vv_fail(err, VV_NOT_FOUND, "zstd: %u samples are too few for a dictionary", count);
    size_t n = ZDICT_trainFromBuffer(out, CODEC_DICT_MAX, bytes.data, sizes, count);
    if (ZDICT_isError(n))
        return vv_fail(err, VV_NOT_FOUND, "zstd: no dictionary of %u samples: %s", count,
                       ZDICT_getErrorName(n));
    *out_len = n;
    return VV_OK;
}

vv_status codec_dict_create(vv_slice bytes, codec_dict **out, vv_error *err)
{
    codec_dict *dict = vv_calloc(1, sizeof *dict);
    if (dict == NULL)
        return vv_fail(err, VV_NO_MEMORY, "zstd: no memory for a dictionary");
    dict->compress =
        ZSTD_createCDict_advanced(bytes.data, bytes.len, ZSTD_dlm_byCopy, ZSTD_dct_auto,
                                  ZSTD_getCParams(LEVEL, 0, bytes.len), zstd_memory);
    dict->decompress = ZSTD_createDDict_advanced(bytes.data, bytes.len, ZSTD_dlm_byCopy,
                                                 ZSTD_dct_auto, zstd_memory);
    if (dict->compress == NULL || dict->decompress == NULL) {
        codec_dict_destroy(dict);
        return vv_fail(err, VV_NO_MEMORY, "zstd: no memory for a dictionary, or it is none");
    }
    *out = dict;
    return VV_OK;
}

void codec_dict_destroy(codec_dict *dict)
{
    if (dict == NULL)
        return;
    (void)ZSTD_freeCDict(dict->compress);
    (void)ZSTD_freeDDict(dict->decompress);
    vv_free(dict);
}

vv_status codec_dict_ctx_create(codec_dict_ctx **out, vv_error *err)
{
    codec_dict_ctx *ctx = vv_calloc(1, sizeof *ctx);
    if (ctx == NULL)
        return vv_fail(err, VV_NO_MEMORY, "zstd: no memory for a context");
    *out = ctx;
    return VV_OK;
}

void codec_dict_ctx_destroy(codec_dict_ctx *ctx)
{
    if (ctx == NULL)
        return;
    (void)ZSTD_freeCCtx(ctx->compress);
    (void)ZSTD_freeDCtx(ctx->decompress);
    vv_free(ctx);
}

vv_status codec_dict_compress(codec_dict_ctx *ctx, const codec_dict *dict, vv_slice raw,
                              uint8_t *out, size_t cap, size_t *out_len, vv_error *err)
{
    if (ctx->compress == NULL)
        ctx->compress = ZSTD_createCCtx_advanced(zstd_memory);
    if (ctx->compress == NULL)
        return vv_fail(err, VV_NO_MEMORY, "zstd: no memory for a context");
    size_t n = dict != NULL ? ZSTD_compress_usingCDict(ctx->compress, out, cap, raw.data, raw.len,
                                                       dict->compress)
                            : ZSTD_compressCCtx(ctx->compress, out, cap, raw.data, raw.len, LEVEL);
    if (!ZSTD_isError(n)) {
        *out_len = n;
        return VV_OK;
    }
    ZSTD_ErrorCode code = ZSTD_getErrorCode(n);
    if (code == ZSTD_error_dstSize_tooSmall)
        return VV_NO_SPACE;
    return vv_fail(err, code == ZSTD_error_memory_allocation ? VV_NO_MEMORY : VV_INVALID,
                   "zstd: compress %zu bytes: %s", raw.len, ZSTD_getErrorName(n));
}

vv_status codec_dict_decompress(codec_dict_ctx *ctx, const codec_dict *dict, vv_slice stored,
                                uint8_t *out, size_t raw_len, vv_error *err)
{
    if (ctx->decompress == NULL)
        ctx->decompress = ZSTD_createDCtx_advanced(zstd_memory);
    if (ctx->decompress == NULL)
        return vv_fail(err, VV_NO_MEMORY, "zstd: no memory for a context");
    size_t n = dict != NULL
                   ? ZSTD_decompress_usingDDict(ctx->decompress, out, raw_len, stored.data,
                                                stored.len, dict->decompress)
                   : ZSTD_decompressDCtx(ctx->decompress, out, raw_len, stored.data, stored.len);
    if (ZSTD_isError(n)) {
        bool memory = ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation;
        return vv_fail(err, memory ? VV_NO_MEMORY : VV_CORRUPT, "zstd: %s", ZSTD_getErrorName(n));
    }
    if (n != raw_len)
        return vv_fail(err, VV_CORRUPT, "zstd: %zu bytes instead of %zu", n, raw_len);
    return VV_OK;
}
