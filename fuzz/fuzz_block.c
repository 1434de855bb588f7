/*
 * fuzz_block.c - a block of a run and its compression: arbitrary bytes are refused, or every entry
 * of them can be read, found again, and laid out again to a block with the same entries.
 *
 *     byte 0    bits 0-1: the codec the rest is compressed with (0: it is the block itself)
 *               bits 2-7: raw length in units of 64 bytes for a compressed one
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "codec/codec_block.h"
#include "lsm/lsm_block.h"
#include "page/pgc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static bool same_item(const engine_item *a, const engine_item *b)
{
    return vv_slice_eq(a->key, b->key) && vv_slice_eq(a->value, b->value) &&
           a->version == b->version && a->kind == b->kind && a->expires_ns == b->expires_ns;
}

/* The entries laid out by our own builder: the same entries again. */
static void build_again(const uint8_t *p)
{
    lsm_block_builder b;
    vv_buf out;
    lsm_block_builder_init(&b);
    vv_buf_init(&out, LSM_BLOCK_RAW_MAX + 1024);
    uint8_t key[LSM_KEY_BUF];
    lsm_block_load_prefix(p, key);
    unsigned n = lsm_block_count(p);
    engine_item item;
    size_t predicted = 0;
    for (unsigned i = 0; i < n; i++) {
        lsm_block_item(p, i, key, &item);
        predicted = lsm_block_builder_size_with(&b, &item);
        must(lsm_block_builder_add(&b, &item, false, NULL) == VV_OK);
    }
    bool wide = n == 1 && predicted > LSM_BLOCK_PLAIN_MAX;
    if (!wide && predicted > LSM_BLOCK_PLAIN_MAX)
        goto done; /* keys that were stored shorter than our layout would */
    must(lsm_block_builder_finish(&b, wide, 1, 2, &out, NULL) == VV_OK);
    must(vv_buf_reserve(&out, PGC_PAD) != NULL);
    must(lsm_block_check(out.data, out.len, NULL) == VV_OK);
    must(lsm_block_count(out.data) == n);
    uint8_t again_key[LSM_KEY_BUF];
    lsm_block_load_prefix(out.data, again_key);
    for (unsigned i = 0; i < n; i++) {
        engine_item again;
        lsm_block_item(p, i, key, &item);
        lsm_block_item(out.data, i, again_key, &again);
        must(same_item(&item, &again));
    }
done:
    lsm_block_builder_fini(&b);
    vv_buf_fini(&out);
}

/* Searches of a block whose entries may be in any order: any answer, but one within the block. */
static void search(const uint8_t *p)
{
    uint8_t key[LSM_KEY_BUF];
    lsm_block_load_prefix(p, key);
    unsigned n = lsm_block_count(p);
    for (unsigned i = 0; i < n; i++) {
        engine_item item;
        engine_item got;
        lsm_block_item(p, i, key, &item);
        must(item.key.len <= ENGINE_KEY_MAX);
        must(lsm_block_seek(p, item.key, item.version) <= n);
        if (lsm_block_get(p, item.key, item.version, &got))
            must(got.version <= item.version);
    }
}

static void try_block(const uint8_t *bytes, size_t size)
{
    uint8_t *p = vv_alloc_aligned(64, size + PGC_PAD); /* as in a frame */
    must(p != NULL);
    memcpy(p, bytes, size);
    memset(p + size, 0, PGC_PAD);
    if (lsm_block_check(p, size, NULL) == VV_OK) {
        search(p);
        build_again(p);
    }
    vv_free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    unsigned kind = data[0] & 3;
    size_t raw_len = (size_t)(data[0] >> 2) * 64;
    data++;
    size--;
    if (kind == CODEC_NONE) {
        try_block(data, size);
        return 0;
    }
    codec_block_ctx *ctx = NULL;
    must(codec_block_ctx_create(&ctx, NULL) == VV_OK);
    uint8_t *raw = vv_alloc(raw_len);
    must(raw != NULL);
    if (codec_block_decompress(ctx, kind, vv_slice_of(data, size), raw, raw_len, NULL) == VV_OK)
        try_block(raw, raw_len);
    vv_free(raw);
    codec_block_ctx_destroy(ctx);
    return 0;
}
