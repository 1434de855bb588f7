/*
 * arch_pack.c - a block of messages, compressed: at a level of zstd, with a dictionary or without,
 * or with lz4.
 *
 * codec/ compresses blocks of a few KiB at one level; an object's blocks are larger, written once,
 * and their level is a table's choice. They are read with codec/ alone.
 */
#include "archive/arch_int.h"

#define ZSTD_STATIC_LINKING_ONLY /* ZSTD_customMem, dictionaries in memory of ours */
#include <zstd.h>
#include <zstd_errors.h>

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"

#define LARGE (64u * 1024) /* bytes of a block with parameters of its own, at level 1 */
#define MATCH_MIN 6
#define HASH_LOG 12
#define BLOCK_HINT (192u * 1024) /* raw bytes that the tables of a dictionary are sized for */

struct arch_pack {
    vv_tier_codec codec;
    int level;
    codec_block_ctx *block; /* lz4 */
    ZSTD_CCtx *zstd;        /* or NULL until first used */
    const ZSTD_CDict *dict; /* in dict_memory; or NULL */
    void *dict_memory;
    uint8_t *bytes; /* of the dictionary */
    size_t bytes_len;
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

/* At level 1 zstd takes tables for a block of 256 KiB that do not fit the first cache, which on
 * blocks of messages costs a tenth of the time and gives nothing. ZSTD_compress2 takes what is set
 * here, the calls that are given a level do not. */
static vv_status prepare_zstd(arch_pack *p, vv_error *err)
{
    static const ZSTD_customMem memory = {zstd_alloc, zstd_free, NULL};
    p->zstd = ZSTD_createCCtx_advanced(memory);
    if (p->zstd == NULL)
        return vv_fail(err, VV_NO_MEMORY, "zstd: no memory for a context");
    if (ZSTD_isError(ZSTD_CCtx_setParameter(p->zstd, ZSTD_c_compressionLevel, p->level)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(p->zstd, ZSTD_c_minMatch, MATCH_MIN)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(p->zstd, ZSTD_c_hashLog, HASH_LOG)))
        return vv_fail(err, VV_INVALID, "zstd: level %d is refused", p->level);
    return VV_OK;
}

vv_status arch_pack_create(vv_tier_codec codec, int level, arch_pack **out, vv_error *err)
{
    assert(out != NULL);
    if (codec < VV_TIER_ZSTD || codec > VV_TIER_PLAIN)
        return vv_fail(err, VV_INVALID, "codec %d of an object is none: 1 zstd, 2 lz4, 3 plain",
                       (int)codec);
    if (level < 0 || level > ZSTD_maxCLevel())
        return vv_fail(err, VV_INVALID, "level %d of zstd: 1 to %d", level, ZSTD_maxCLevel());
    arch_pack *p = vv_calloc(1, sizeof *p);
    if (p == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory to compress with");
    p->codec = codec;
    p->level = level == 0 ? 1 : level;
    vv_status st = codec_block_ctx_create(&p->block, err);
    if (st == VV_OK && codec == VV_TIER_ZSTD)
        st = prepare_zstd(p, err);
    if (st != VV_OK) {
        arch_pack_destroy(p);
        return st;
    }
    *out = p;
    return VV_OK;
}

void arch_pack_destroy(arch_pack *p)
{
    if (p == NULL)
        return;
    codec_block_ctx_destroy(p->block);
    (void)ZSTD_freeCCtx(p->zstd);
    vv_free(p->dict_memory);
    vv_free(p->bytes);
    vv_free(p);
}

/* Its tables lie in memory of ours: zstd 1.5.4 dereferences NULL where its own allocation fails. */
vv_status arch_pack_dictionary(arch_pack *p, vv_slice bytes, vv_error *err)
{
    assert(p != NULL && p->codec == VV_TIER_ZSTD && p->dict == NULL);
    if (bytes.len > ARCH_DICTIONARY_MAX || ZSTD_getDictID_fromDict(bytes.data, bytes.len) == 0)
        return vv_fail(err, VV_INVALID, "%zu bytes are no dictionary of zstd of at most %u",
                       bytes.len, ARCH_DICTIONARY_MAX);
    ZSTD_compressionParameters how = ZSTD_getCParams(p->level, BLOCK_HINT, bytes.len);
    size_t size = ZSTD_estimateCDictSize_advanced(bytes.len, how, ZSTD_dlm_byRef);
    p->bytes = vv_alloc(bytes.len);
    p->dict_memory = vv_alloc(size);
    if (p->bytes == NULL || p->dict_memory == NULL) {
        vv_free(p->bytes);
        vv_free(p->dict_memory);
        p->bytes = NULL;
        p->dict_memory = NULL;
        return vv_fail(err, VV_NO_MEMORY, "zstd: no memory for a dictionary");
    }
    memcpy(p->bytes, bytes.data, bytes.len);
    p->bytes_len = bytes.len;
    p->dict = ZSTD_initStaticCDict(p->dict_memory, size, p->bytes, bytes.len, ZSTD_dlm_byRef,
                                   ZSTD_dct_fullDict, how);
    if (p->dict == NULL)
        return vv_fail(err, VV_INVALID, "zstd: %zu bytes are no dictionary", bytes.len);
    return VV_OK;
}

vv_slice arch_pack_dictionary_bytes(const arch_pack *p)
{
    return vv_slice_of(p->bytes, p->bytes_len);
}

/* Large blocks at level 1 have parameters of their own: see prepare_zstd. */
static size_t pack_alone(arch_pack *p, vv_slice raw, uint8_t *out, size_t cap)
{
    if (p->level > 1 || raw.len < LARGE)
        return ZSTD_compressCCtx(p->zstd, out, cap, raw.data, raw.len, p->level);
    return ZSTD_compress2(p->zstd, out, cap, raw.data, raw.len);
}

static vv_status pack_zstd(arch_pack *p, vv_slice raw, bool with_dictionary, uint8_t *out,
                           size_t *out_len, vv_error *err)
{
    size_t cap = raw.len - 1;
    size_t n = with_dictionary
                   ? ZSTD_compress_usingCDict(p->zstd, out, cap, raw.data, raw.len, p->dict)
                   : pack_alone(p, raw, out, cap);
    if (!ZSTD_isError(n)) {
        *out_len = n;
        return VV_OK;
    }
    if (ZSTD_getErrorCode(n) == ZSTD_error_dstSize_tooSmall)
        return VV_NO_SPACE;
    bool is_memory = ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation;
    return vv_fail(err, is_memory ? VV_NO_MEMORY : VV_INVALID, "zstd: %zu bytes: %s", raw.len,
                   ZSTD_getErrorName(n));
}

vv_status arch_pack_block(arch_pack *p, vv_slice raw, bool with_dictionary, vv_buf *out,
                          arch_stored *stored, vv_error *err)
{
    assert(raw.len > 1 && raw.len <= CODEC_BLOCK_MAX && (!with_dictionary || p->dict != NULL));
    vv_buf_reset(out);
    uint8_t *to = vv_buf_reserve(out, raw.len);
    if (to == NULL)
        return vv_fail(err, out->status, "no memory for a block of %zu bytes", raw.len);
    size_t len = 0;
    vv_status st = VV_NO_SPACE;
    if (p->codec == VV_TIER_ZSTD)
        st = pack_zstd(p, raw, with_dictionary, to, &len, err);
    else if (p->codec == VV_TIER_LZ4)
        st = codec_block_compress(p->block, CODEC_LZ4, raw, to, raw.len - 1, &len, err);
    *stored = p->codec == VV_TIER_LZ4 ? ARCH_STORED_LZ4
              : with_dictionary       ? ARCH_STORED_DICT
                                      : ARCH_STORED_ZSTD;
    if (st == VV_NO_SPACE) {
        memcpy(to, raw.data, raw.len);
        len = raw.len;
        *stored = ARCH_STORED_PLAIN;
        st = VV_OK;
    }
    if (st == VV_OK)
        vv_buf_advance(out, len);
    return st;
}
