/*
 * codec_int.h - shared inside codec/: the context and the ways zstd's answers become ours.
 */
#ifndef VARVE_CODEC_CODEC_INT_H
#define VARVE_CODEC_CODEC_INT_H

#define ZSTD_STATIC_LINKING_ONLY /* ZSTD_customMem, the door for its allocations */
#include <zstd.h>

#include "codec/codec_block.h"

#define CODEC_ZSTD_LEVEL 1

struct codec_block_ctx {
    void *lz4;         /* LZ4_sizeofState() bytes, or NULL until first used */
    ZSTD_CCtx *zstd_c; /* likewise */
    ZSTD_DCtx *zstd_d;
};

/* VV_NO_MEMORY unless the context has what one direction of zstd needs. */
VV_MUST_CHECK vv_status codec_zstd_prepare_write(codec_block_ctx *ctx, vv_error *err);
VV_MUST_CHECK vv_status codec_zstd_prepare_read(codec_block_ctx *ctx, vv_error *err);

/* What a compression of raw_len bytes gave: n is zstd's answer. */
VV_MUST_CHECK vv_status codec_zstd_written(size_t n, size_t raw_len, size_t *out_len,
                                           vv_error *err);
/* The same of a decompression of stored_len bytes to raw_len. */
VV_MUST_CHECK vv_status codec_zstd_read(size_t n, size_t stored_len, size_t raw_len, vv_error *err);

#endif
