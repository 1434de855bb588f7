/*
 * codec_dict.h - zstd for small values that resemble each other: one trained dictionary for many.
 *
 * A dictionary is trained from samples once and never changes; it may be used by any number of
 * threads at a time. A context keeps zstd's working memory; one thread at a time uses one. Both
 * work without a dictionary too (NULL).
 */
#ifndef VARVE_CODEC_CODEC_DICT_H
#define VARVE_CODEC_CODEC_DICT_H

#include <stdint.h>

#include "varve/slice.h"
#include "varve/status.h"

#define CODEC_DICT_MAX ((size_t)16 * 1024) /* bytes of a trained dictionary */

typedef struct codec_dict codec_dict;
typedef struct codec_dict_ctx codec_dict_ctx;

/**
 * Train from count samples, one behind the other in bytes; the dictionary goes to out, which has
 * CODEC_DICT_MAX bytes. VV_NOT_FOUND: the samples are too few or too much alike to learn from.
 */
VV_MUST_CHECK vv_status codec_dict_train(vv_slice bytes, const size_t *sizes, unsigned count,
                                         uint8_t *out, size_t *out_len, vv_error *err);

/** Copies bytes. Gives *out: codec_dict_destroy. */
VV_MUST_CHECK vv_status codec_dict_create(vv_slice bytes, codec_dict **out, vv_error *err);
/** Accepts NULL. */
void codec_dict_destroy(codec_dict *dict);

/** Gives *out: codec_dict_ctx_destroy. */
VV_MUST_CHECK vv_status codec_dict_ctx_create(codec_dict_ctx **out, vv_error *err);
/** Accepts NULL. */
void codec_dict_ctx_destroy(codec_dict_ctx *ctx);

/** One zstd frame into out[0..cap). VV_NO_SPACE, without a sentence, when it does not fit. */
VV_MUST_CHECK vv_status codec_dict_compress(codec_dict_ctx *ctx, const codec_dict *dict,
                                            vv_slice raw, uint8_t *out, size_t cap, size_t *out_len,
                                            vv_error *err);
/** To exactly raw_len bytes. VV_CORRUPT when the bytes are damaged or give another length. */
VV_MUST_CHECK vv_status codec_dict_decompress(codec_dict_ctx *ctx, const codec_dict *dict,
                                              vv_slice stored, uint8_t *out, size_t raw_len,
                                              vv_error *err);

#endif
