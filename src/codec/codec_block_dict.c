/*
 * codec_block_dict.c - training a dictionary, and zstd with one.
 *
 * Training is zstd's "fast cover" with fixed parameters: searching for the best ones costs many
 * times as much and gave no more than a tenth of a percent on records and on text. Its scratch
 * comes from malloc inside of zstd, not through vv_alloc; a failure there only means: no
 * dictionary.
 */
#include "codec/codec_block_dict.h"

#include <stdatomic.h>
#define ZDICT_STATIC_LINKING_ONLY
#include <zdict.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "codec/codec_int.h"

#define SEGMENTS 8u       /* stretches of the samples that make a dictionary */
#define FREQUENCY_LOG 16u /* 2^16 counters of eight-byte sequences */
#define ACCELERATION 4u
#define BLOCK_HINT 16384u /* raw bytes that the tables are sized for */

struct codec_block_dict {
    _Atomic uint32_t refs;
    uint32_t id;
    size_t len;
    const ZSTD_CDict *write; /* or NULL; in write_memory */
    const ZSTD_DDict *read;
    void *write_memory;
    void *read_memory;
    size_t memory; /* bytes of both */
    uint8_t bytes[];
};

vv_status codec_block_dict_train(const uint8_t *samples, const size_t *sizes, unsigned count,
                                 uint8_t *out, size_t cap, size_t *out_len)
{
    ZDICT_fastCover_params_t how = {.k = (unsigned)(cap / SEGMENTS),
                                    .d = 8,
                                    .f = FREQUENCY_LOG,
                                    .splitPoint = 1.0,
                                    .accel = ACCELERATION,
                                    .zParams = {.compressionLevel = CODEC_ZSTD_LEVEL}};
    size_t n = ZDICT_trainFromBuffer_fastCover(out, cap, samples, sizes, count, how);
    if (ZDICT_isError(n))
        return VV_NOT_FOUND;
    *out_len = n;
    return VV_OK;
}

/* Its tables, in memory of ours: zstd 1.5.4 dereferences NULL where its own allocation fails. */
static vv_status digest(codec_block_dict *dict, bool for_writing, vv_error *err)
{
    ZSTD_compressionParameters how = ZSTD_getCParams(CODEC_ZSTD_LEVEL, BLOCK_HINT, dict->len);
    size_t read_size = ZSTD_estimateDDictSize(dict->len, ZSTD_dlm_byRef);
    size_t write_size =
        for_writing ? ZSTD_estimateCDictSize_advanced(dict->len, how, ZSTD_dlm_byRef) : 0;
    dict->read_memory = vv_alloc(read_size);
    dict->write_memory = for_writing ? vv_alloc(write_size) : NULL;
    if (dict->read_memory == NULL || (for_writing && dict->write_memory == NULL))
        return vv_fail(err, VV_NO_MEMORY, "zstd: no memory for a dictionary");
    dict->memory = read_size + write_size;
    dict->read = ZSTD_initStaticDDict(dict->read_memory, read_size, dict->bytes, dict->len,
                                      ZSTD_dlm_byRef, ZSTD_dct_fullDict);
    if (for_writing)
        dict->write = ZSTD_initStaticCDict(dict->write_memory, write_size, dict->bytes, dict->len,
                                           ZSTD_dlm_byRef, ZSTD_dct_fullDict, how);
    if (dict->read == NULL || (for_writing && dict->write == NULL))
        return vv_fail(err, VV_CORRUPT, "zstd: %zu bytes are no dictionary", dict->len);
    return VV_OK;
}

vv_status codec_block_dict_create(vv_slice bytes, bool for_writing, codec_block_dict **out,
                                  vv_error *err)
{
    uint32_t id =
        bytes.len > CODEC_BLOCK_DICT_MAX ? 0 : ZSTD_getDictID_fromDict(bytes.data, bytes.len);
    if (id == 0)
        return vv_fail(err, VV_CORRUPT, "zstd: %zu bytes are no dictionary", bytes.len);
    codec_block_dict *dict = vv_alloc(sizeof *dict + bytes.len);
    if (dict == NULL)
        return vv_fail(err, VV_NO_MEMORY, "zstd: no memory for a dictionary");
    *dict = (codec_block_dict){.id = id, .len = bytes.len};
    atomic_init(&dict->refs, 1);
    memcpy(dict->bytes, bytes.data, bytes.len);
    vv_status st = digest(dict, for_writing, err);
    if (st != VV_OK) {
        codec_block_dict_unref(dict);
        return st;
    }
    *out = dict;
    return VV_OK;
}

void codec_block_dict_ref(codec_block_dict *dict)
{
    atomic_fetch_add_explicit(&dict->refs, 1, memory_order_relaxed);
}

void codec_block_dict_unref(codec_block_dict *dict)
{
    if (dict == NULL || atomic_fetch_sub_explicit(&dict->refs, 1, memory_order_acq_rel) > 1)
        return;
    vv_free(dict->write_memory);
    vv_free(dict->read_memory);
    vv_free(dict);
}

vv_slice codec_block_dict_bytes(const codec_block_dict *dict)
{
    return vv_slice_of(dict->bytes, dict->len);
}

uint32_t codec_block_dict_id(const codec_block_dict *dict)
{
    return dict->id;
}

size_t codec_block_dict_memory(const codec_block_dict *dict)
{
    return sizeof *dict + dict->len + dict->memory;
}

vv_status codec_block_dict_compress(codec_block_ctx *ctx, const codec_block_dict *dict,
                                    vv_slice raw, uint8_t *out, size_t cap, size_t *out_len,
                                    vv_error *err)
{
    assert(dict->write != NULL && raw.len <= CODEC_BLOCK_MAX);
    vv_status st = codec_zstd_prepare_write(ctx, err);
    if (st != VV_OK)
        return st;
    size_t n = ZSTD_compress_usingCDict(ctx->zstd_c, out, cap, raw.data, raw.len, dict->write);
    return codec_zstd_written(n, raw.len, out_len, err);
}

vv_status codec_block_dict_decompress(codec_block_ctx *ctx, const codec_block_dict *dict,
                                      vv_slice stored, uint8_t *out, size_t raw_len, vv_error *err)
{
    if (raw_len > CODEC_BLOCK_MAX || stored.len > CODEC_BLOCK_MAX)
        return vv_fail(err, VV_CORRUPT, "a block of %zu bytes from %zu: at most %u", raw_len,
                       stored.len, CODEC_BLOCK_MAX);
    if (ZSTD_getDictID_fromFrame(stored.data, stored.len) != dict->id)
        return vv_fail(err, VV_CORRUPT, "zstd: the bytes name another dictionary than %u",
                       dict->id);
    vv_status st = codec_zstd_prepare_read(ctx, err);
    if (st != VV_OK)
        return st;
    size_t n =
        ZSTD_decompress_usingDDict(ctx->zstd_d, out, raw_len, stored.data, stored.len, dict->read);
    return codec_zstd_read(n, stored.len, raw_len, err);
}
