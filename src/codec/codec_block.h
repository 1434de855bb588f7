/*
 * codec_block.h - general compression of one block of bytes: none, lz4, zstd.
 *
 * The door of codec/ for blocks. A context keeps what the codecs want to reuse: a fresh zstd
 * context for each block costs more than the work itself. One thread at a time uses a context.
 *
 * Neither direction trusts its input: compression never writes past the capacity it was given, and
 * decompression of damaged bytes is VV_CORRUPT, with nothing written past the expected length.
 */
#ifndef VARVE_CODEC_CODEC_BLOCK_H
#define VARVE_CODEC_CODEC_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "varve/slice.h"
#include "varve/status.h"

/* Frozen: a byte in files. */
typedef enum codec_kind {
    CODEC_NONE = 0,
    CODEC_LZ4 = 1,
    CODEC_ZSTD = 2,
} codec_kind;

#define CODEC_KIND_COUNT 3
#define CODEC_BLOCK_MAX (UINT32_C(1) << 28) /* raw bytes of one block; lz4 takes an int */

typedef struct codec_block_ctx codec_block_ctx;

/** An empty context: working memory comes at the first use of each codec. Gives *out. */
VV_MUST_CHECK vv_status codec_block_ctx_create(codec_block_ctx **out, vv_error *err);
/** Accepts NULL. */
void codec_block_ctx_destroy(codec_block_ctx *ctx);

/** "none", "lz4", "zstd"; "unknown" for a value outside the enum. Never NULL. */
const char *codec_kind_name(unsigned kind);
/** True for a value this build can read. */
bool codec_kind_is_known(unsigned kind);

/**
 * Compress raw into out[0..cap). VV_NO_SPACE, without a sentence, when it does not fit: with
 * cap == raw.len - 1 that means "not worth it". VV_NO_MEMORY; VV_INVALID over CODEC_BLOCK_MAX.
 */
VV_MUST_CHECK vv_status codec_block_compress(codec_block_ctx *ctx, codec_kind kind, vv_slice raw,
                                             uint8_t *out, size_t cap, size_t *out_len,
                                             vv_error *err);

/**
 * Decompress stored to exactly raw_len bytes at out. VV_CORRUPT when the bytes are damaged or give
 * another length; VV_UNSUPPORTED for an unknown kind. ctx is used by zstd only and may be NULL for
 * the others, so that readers need none.
 */
VV_MUST_CHECK vv_status codec_block_decompress(codec_block_ctx *ctx, unsigned kind, vv_slice stored,
                                               uint8_t *out, size_t raw_len, vv_error *err);

#endif
