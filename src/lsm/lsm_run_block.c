/*
 * lsm_run_block.c - reading a block of a run: verify, decompress, verify, hand it to the cache.
 *
 * The sum of what is stored is checked before a codec sees it, and the structure before anybody
 * searches it. After that readers search without looking over their shoulder.
 */
#include "base/alloc.h"
#include "base/epoch.h"
#include "base/error.h"
#include "base/point.h"
#include "base/util.h"
#include "lsm/lsm_remote.h"
#include "lsm/lsm_run_format.h"

#include <inttypes.h>

/* with_sum: the sum of the raw form too. That of a compressed block's stored bytes makes it
 * needless: what they decompress to is a function of them. */
static vv_status verify_block(const lsm_run *run, uint32_t block, pgc_frame *frame, bool with_sum,
                              vv_error *err)
{
    const uint8_t *p = pgc_data(frame);
    uint32_t used = frame->len < LSM_BLOCK_HEAD ? 0 : lsm_block_used(p);
    if (used < LSM_BLOCK_HEAD || used > frame->len)
        return vv_fail(err, VV_CORRUPT, "%u bytes used of %u", used, frame->len);
    if (with_sum && !VV_BUG(9) && lsm_block_sum(p, used, run->meta.id, block) != vv_get_le64(p))
        return vv_fail(err, VV_CORRUPT, "its sum does not match its address and content");
    return lsm_block_check(p, frame->len, err);
}

/* The compressed bytes of a stored block and how many they give. */
static vv_status open_stored(const lsm_run *run, uint32_t block, const uint8_t *stored,
                             uint32_t len, vv_slice *packed, uint32_t *raw_len, vv_error *err)
{
    if ((run->features & LSM_FEATURE_STORED_SUM) == 0) {
        *raw_len = vv_get_le32(stored); /* stored is at least LSM_COMPRESSED_HEAD long */
        *packed = vv_slice_of(stored + LSM_COMPRESSED_HEAD, len - LSM_COMPRESSED_HEAD);
    } else {
        if (!VV_BUG(9) && lsm_stored_sum(stored, len, run->meta.id, block) != vv_get_le64(stored))
            return vv_fail(err, VV_CORRUPT, "its sum does not match its address and content");
        *raw_len = vv_get_le32(stored + 8);
        *packed = vv_slice_of(stored + LSM_STORED_HEAD, len - LSM_STORED_HEAD);
        uint32_t dict = vv_get_le32(stored + 12);
        if (dict !=
            (run->codec[block] == LSM_CODEC_DICTIONARY ? codec_block_dict_id(run->dict) : 0))
            return vv_fail(err, VV_CORRUPT, "it names dictionary %u, which is not the run's", dict);
    }
    if (*raw_len > LSM_BLOCK_RAW_MAX || *raw_len < LSM_BLOCK_HEAD)
        return vv_fail(err, VV_CORRUPT, "compressed block of %u raw bytes", *raw_len);
    return VV_OK;
}

static vv_status unpack_into(lsm_run *run, uint32_t block, vv_slice packed, pgc_frame *frame,
                             vv_error *err)
{
    uint8_t kind = run->codec[block];
    codec_block_ctx *ctx = NULL;
    vv_status st = VV_OK;
    if (kind != CODEC_LZ4)
        st = lsm_store_take_codec(run->store, &ctx, err);
    if (st == VV_OK)
        st = kind == LSM_CODEC_DICTIONARY
                 ? codec_block_dict_decompress(ctx, run->dict, packed, pgc_data(frame), frame->len,
                                               err)
                 : codec_block_decompress(ctx, kind, packed, pgc_data(frame), frame->len, err);
    lsm_store_give_codec(run->store, ctx);
    return st;
}

static vv_status unpack_block(lsm_run *run, uint32_t block, const uint8_t *stored, uint32_t len,
                              pgc_frame **out, vv_error *err)
{
    vv_slice packed = {0};
    uint32_t raw_len = 0;
    pgc_frame *frame = NULL;
    vv_status st = open_stored(run, block, stored, len, &packed, &raw_len, err);
    if (st == VV_OK)
        st = pgc_frame_create(run->store->cache, raw_len, &frame, err);
    if (st == VV_OK)
        st = unpack_into(run, block, packed, frame, err);
    if (st == VV_OK)
        st = verify_block(run, block, frame, (run->features & LSM_FEATURE_STORED_SUM) == 0, err);
    if (st != VV_OK) {
        if (frame != NULL)
            pgc_unpin(frame);
        return st;
    }
    *out = frame;
    return VV_OK;
}

static vv_status place_of(const lsm_run *run, uint32_t block, vv_status st, vv_error *err)
{
    char path[VIO_PATH_MAX];
    if (run->is_remote)
        return vv_wrap(err, st, "object '%s': block %u at offset %" PRIu64,
                       lsm_file_object(run->file)->name, block, lsm_run_block_offset(run, block));
    lsm_run_path(path, run->store->dir, run->meta.id);
    return vv_wrap(err, st, "run '%s': block %u at offset %" PRIu64, path, block,
                   lsm_run_block_offset(run, block));
}

vv_status lsm_run_decode_block(lsm_run *run, uint32_t block, const uint8_t *stored, pgc_frame **out,
                               vv_error *err)
{
    uint32_t len = lsm_run_block_stored(run, block);
    pgc_frame *frame = NULL;
    vv_status st;
    if (run->codec[block] != CODEC_NONE) {
        st = unpack_block(run, block, stored, len, &frame, err);
    } else {
        st = pgc_frame_create(run->store->cache, len, &frame, err);
        if (st == VV_OK) {
            memcpy(pgc_data(frame), stored, len);
            st = verify_block(run, block, frame, true, err);
        }
    }
    if (st != VV_OK) {
        if (run->codec[block] == CODEC_NONE && frame != NULL)
            pgc_unpin(frame);
        return place_of(run, block, st, err);
    }
    lsm_run_place_version(run, pgc_data(frame), run->meta.version_min);
    *out = frame;
    return VV_OK;
}

/* An uncompressed block goes from the file straight into its frame. */
static vv_status read_plain(lsm_run *run, uint32_t block, pgc_frame **out, vv_error *err)
{
    uint32_t len = lsm_run_block_stored(run, block);
    pgc_frame *frame = NULL;
    vv_status st = pgc_frame_create(run->store->cache, len, &frame, err);
    if (st == VV_OK)
        st = vio_pread_full(run->file, lsm_run_block_offset(run, block), pgc_data(frame), len, err);
    if (st == VV_OK)
        st = verify_block(run, block, frame, true, err);
    if (st != VV_OK) {
        if (frame != NULL)
            pgc_unpin(frame);
        return place_of(run, block, st, err);
    }
    *out = frame;
    return VV_OK;
}

vv_status lsm_run_read_block(lsm_run *run, uint32_t block, pgc_frame **out, vv_error *err)
{
    bool straight = run->codec[block] == CODEC_NONE && !run->store->direct && !run->is_remote;
    return straight ? read_plain(run, block, out, err) : lsm_fetch_now(run, block, out, err);
}

vv_status lsm_run_get_block(lsm_run *run, uint32_t block, pgc_frame **out, vv_error *err)
{
    pgc_counter *counter = pgc_my_counter(pgc_cache_counters(run->store->cache));
    vv_epoch_enter();
    pgc_frame *frame = pgc_lookup(run->pages, block);
    if (frame != NULL) {
        lsm_block_prefetch(pgc_data(frame));
        pgc_pin(frame);
    }
    vv_epoch_exit();
    if (frame != NULL) {
        pgc_count(&counter->hits);
        *out = frame;
        return VV_OK;
    }
    pgc_count(&counter->misses);
    vv_status st = lsm_run_read_block(run, block, &frame, err);
    if (st != VV_OK)
        return st;
    pgc_publish(run->pages, block, frame);
    *out = frame;
    return VV_OK;
}

uint64_t lsm_run_size_between(const lsm_run *run, vv_slice lower, vv_slice upper)
{
    if (run->block_count == 0 || !lsm_meta_overlaps(&run->meta, lower, upper))
        return 0;
    uint32_t first = lsm_fence_find(&run->fence, lower, INT64_MAX);
    uint32_t last = lsm_fence_find(&run->fence, upper, INT64_MAX);
    return lsm_run_block_offset(run, last) + lsm_run_block_stored(run, last) -
           lsm_run_block_offset(run, first);
}
