/*
 * fuzz_btree_manifest.c - a tree's manifest: refused, or the state it adds up to can be written
 * down again and read back the same.
 *
 *     byte 0    bit 0: make the sums right first, so that what lies behind them is reached
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/util.h"
#include "btree/btree_manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* Right sums and chain for the header and the records as far as their lengths lead. */
static void fix(uint8_t *p, size_t size)
{
    if (size < BTREE_MANIFEST_HEAD)
        return;
    uint32_t chain = vv_crc32c(0, p, 60);
    vv_put_le32(p + 60, chain);
    for (size_t at = BTREE_MANIFEST_HEAD; at + 24 < size;) {
        uint32_t len = vv_get_le32(p + at + 8);
        if (len > size - at - 24)
            return;
        memcpy(p + at, "BTRE", 4);
        vv_put_le32(p + at + 12, chain);
        chain = vv_crc32c(0, p + at + 8, 16 + len);
        vv_put_le32(p + at + 4, chain);
        at = vv_align_up(at + 24 + len, 8);
    }
}

static vv_status differ(void *ctx, uint32_t id, btree_place place)
{
    (void)ctx;
    (void)id;
    (void)place;
    return VV_CONFLICT;
}

static void write_and_read_back(const btree_state *s, const btree_manifest_info *info)
{
    vv_buf out;
    vv_buf_init(&out, BTREE_MANIFEST_MAX);
    uint32_t chain = btree_manifest_put_header(&out, info->number, info->shard);
    (void)btree_manifest_put_record(&out, BTREE_RECORD_STATE, NULL, s, chain, 0);
    must(out.status == VV_OK);
    btree_state again;
    btree_state_init(&again, NULL);
    btree_manifest_info again_info;
    must(btree_manifest_parse(vv_buf_slice(&out), &again_info, &again, NULL, NULL, NULL) == VV_OK);
    must(again_info.number == info->number && again_info.shard == info->shard);
    must(again.checkpoint == s->checkpoint && again.history_version == s->history_version);
    must(again.main.id == s->main.id && again.main.level == s->main.level);
    must(again.history.id == s->history.id && again.page_size == s->page_size);
    must(again.id_limit == s->id_limit && again.page_limit == s->page_limit);
    must(again.map.count == s->map.count);
    must(btree_map_diff(&s->map, &again.map, differ, NULL) == VV_OK);
    must(btree_archive_count(&again) == btree_archive_count(s));
    must(s->archives == NULL || memcmp(again.archives->bytes, s->archives->bytes,
                                       s->archives->count * sizeof(btree_archive_meta)) == 0);
    btree_state_fini(&again);
    vv_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    uint8_t *p = vv_alloc(size);
    must(p != NULL);
    memcpy(p, data + 1, size - 1);
    if (data[0] & 1)
        fix(p, size - 1);
    btree_state state;
    btree_state_init(&state, NULL);
    btree_manifest_info info;
    if (btree_manifest_parse(vv_slice_of(p, size - 1), &info, &state, NULL, NULL, NULL) == VV_OK)
        write_and_read_back(&state, &info);
    btree_state_fini(&state);
    vv_free(p);
    return 0;
}
