/*
 * codec_block_dict.h - zstd with a dictionary trained from samples.
 *
 * Blocks of a few KiB repeat what their neighbours hold; a dictionary says it once for all of them.
 * It is trained where blocks are written, kept beside them, and named in each compressed block by
 * its id, so that another dictionary is refused instead of giving other bytes.
 */
#ifndef VARVE_CODEC_CODEC_BLOCK_DICT_H
#define VARVE_CODEC_CODEC_BLOCK_DICT_H

#include "codec/codec_block.h"

#define CODEC_BLOCK_DICT_MAX (UINT32_C(1) << 20) /* bytes of a dictionary */

typedef struct codec_block_dict codec_block_dict;

/**
 * Train a dictionary of at most cap bytes from count samples that lie one behind the other.
 * VV_NOT_FOUND, without a sentence, when they give none: too few or nothing in common.
 */
VV_MUST_CHECK vv_status codec_block_dict_train(const uint8_t *samples, const size_t *sizes,
                                               unsigned count, uint8_t *out, size_t cap,
                                               size_t *out_len);

/**
 * From trained bytes (copied). VV_CORRUPT when they are no dictionary, VV_NO_MEMORY. for_writing:
 * prepared for compression too. Gives *out with one reference.
 */
VV_MUST_CHECK vv_status codec_block_dict_create(vv_slice bytes, bool for_writing,
                                                codec_block_dict **out, vv_error *err);
void codec_block_dict_ref(codec_block_dict *dict);
/** Accepts NULL. Any thread. */
void codec_block_dict_unref(codec_block_dict *dict);

vv_slice codec_block_dict_bytes(const codec_block_dict *dict);
uint32_t codec_block_dict_id(const codec_block_dict *dict); /* never 0 */
size_t codec_block_dict_memory(const codec_block_dict *dict);

/** As codec_block_compress, with zstd and a dictionary made for writing. */
VV_MUST_CHECK vv_status codec_block_dict_compress(codec_block_ctx *ctx,
                                                  const codec_block_dict *dict, vv_slice raw,
                                                  uint8_t *out, size_t cap, size_t *out_len,
                                                  vv_error *err);
/** As codec_block_decompress. VV_CORRUPT also when the bytes name another dictionary. */
VV_MUST_CHECK vv_status codec_block_dict_decompress(codec_block_ctx *ctx,
                                                    const codec_block_dict *dict, vv_slice stored,
                                                    uint8_t *out, size_t raw_len, vv_error *err);

#endif
