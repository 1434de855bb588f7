/*
 * mrecord.c - see mrecord.h. Why the search behind a broken record is bounded: each place may claim
 * a length of all that is left, and no crash leaves that many.
 */
#include "engine/mrecord.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/util.h"

size_t engine_mrecord_begin(vv_buf *out, uint32_t magic, uint32_t chain, uint64_t synced)
{
    size_t at = out->len;
    vv_buf_append_le32(out, magic);
    vv_buf_append_le32(out, 0);
    vv_buf_append_le32(out, 0);
    vv_buf_append_le32(out, chain);
    vv_buf_append_le64(out, synced);
    return at;
}

uint32_t engine_mrecord_end(vv_buf *out, size_t at)
{
    if (out->status != VV_OK)
        return 0;
    uint32_t len = (uint32_t)(out->len - at - ENGINE_MRECORD_HEAD);
    vv_put_le32(out->data + at + 8, len);
    uint32_t sum = vv_crc32c(0, out->data + at + 8, ENGINE_MRECORD_HEAD - 8 + len);
    vv_put_le32(out->data + at + 4, sum);
    while ((out->len - at) % 8 != 0 && out->status == VV_OK)
        vv_buf_append_u8(out, 0);
    return sum;
}

bool engine_mrecord_is_whole(vv_slice bytes, uint64_t at, uint32_t magic, uint64_t *work)
{
    if (bytes.len - at < ENGINE_MRECORD_HEAD + 1 || vv_get_le32(bytes.data + at) != magic)
        return false;
    uint64_t len = vv_get_le32(bytes.data + at + 8);
    if (len == 0 || len > bytes.len - at - ENGINE_MRECORD_HEAD)
        return false;
    *work += len;
    return vv_crc32c(0, bytes.data + at + 8, ENGINE_MRECORD_HEAD - 8 + len) ==
           vv_get_le32(bytes.data + at + 4);
}

bool engine_mrecord_is_damage(vv_slice bytes, uint64_t at, uint32_t magic, uint64_t work_max)
{
    uint64_t work = 0;
    for (uint64_t pos = at + 8; pos + ENGINE_MRECORD_HEAD < bytes.len; pos += 8) {
        if (engine_mrecord_is_whole(bytes, pos, magic, &work) &&
            vv_get_le64(bytes.data + pos + 16) > at)
            return true;
        if (work > work_max)
            return true; /* no crash leaves this behind */
    }
    return false;
}

vv_slice engine_mrecord_payload(vv_slice bytes, uint64_t at)
{
    return vv_slice_of(bytes.data + at + ENGINE_MRECORD_HEAD, vv_get_le32(bytes.data + at + 8));
}

uint64_t engine_mrecord_next(vv_slice bytes, uint64_t at)
{
    uint64_t len = vv_get_le32(bytes.data + at + 8);
    return vv_min_u64(vv_align_up(at + ENGINE_MRECORD_HEAD + len, 8), bytes.len);
}
