/*
 * fuzz_manifest.c - a manifest's bytes: refused, or the state they add up to can be written down
 * again and read back the same.
 *
 *     byte 0    bit 0: make the sums right first, so that what lies behind them is reached
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/util.h"
#include "lsm/lsm_manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* Right sums and chain for the header and the records as far as their lengths lead. */
static void fix(uint8_t *p, size_t size)
{
    if (size < LSM_MANIFEST_HEAD)
        return;
    uint32_t chain = vv_crc32c(0, p, 60);
    vv_put_le32(p + 60, chain);
    for (size_t at = LSM_MANIFEST_HEAD; at + 24 < size;) {
        uint32_t len = vv_get_le32(p + at + 8);
        if (len > size - at - 24)
            return;
        vv_put_le32(p + at, 0x454d534c);
        vv_put_le32(p + at + 12, chain);
        chain = vv_crc32c(0, p + at + 8, 16 + len);
        vv_put_le32(p + at + 4, chain);
        at = vv_align_up(at + 24 + len, 8);
    }
}

static vv_status apply(void *ctx, const lsm_record *record, vv_error *err)
{
    lsm_state *state = ctx;
    if (record->id_limit > state->id_limit)
        state->id_limit = record->id_limit;
    return lsm_state_apply(state, &record->edit, err);
}

static bool same_meta(const lsm_meta *a, const lsm_meta *b)
{
    return a->id == b->id && a->level == b->level && a->group == b->group && a->size == b->size &&
           a->footer_sum == b->footer_sum && a->entries == b->entries && a->deletes == b->deletes &&
           a->ranges == b->ranges && a->raw_bytes == b->raw_bytes &&
           a->version_min == b->version_min && a->version_max == b->version_max &&
           a->table_count == b->table_count && a->born_ns == b->born_ns &&
           vv_slice_eq(a->lower, b->lower) && vv_slice_eq(a->upper, b->upper);
}

static bool same_object(const lsm_object *a, const lsm_object *b)
{
    return a->id == b->id && a->is_values == b->is_values && a->state == b->state &&
           a->size == b->size && a->time_ns == b->time_ns && a->crc == b->crc &&
           strcmp(a->name, b->name) == 0;
}

static void write_and_read_back(const lsm_state *state, const lsm_manifest_info *info)
{
    vv_buf out;
    vv_buf_init(&out, LSM_MANIFEST_MAX);
    lsm_edit whole = {.add = state->runs,
                      .add_count = state->count,
                      .objects = state->objects,
                      .object_count = state->object_count,
                      .checkpoint = state->checkpoint};
    uint32_t chain = lsm_manifest_put_header(&out, info->number, info->shard);
    (void)lsm_manifest_put_record(&out, LSM_RECORD_STATE, &whole, state->id_limit, chain, 0);
    must(out.status == VV_OK);
    lsm_state again = {0};
    lsm_manifest_info again_info;
    must(lsm_manifest_parse(vv_buf_slice(&out), &again_info, apply, &again, NULL) == VV_OK);
    must(again.count == state->count && again.checkpoint == state->checkpoint &&
         again.id_limit == state->id_limit && again_info.number == info->number);
    for (uint32_t i = 0; i < again.count; i++)
        must(same_meta(&again.runs[i], &state->runs[i]));
    must(again.object_count == state->object_count);
    for (uint32_t i = 0; i < again.object_count; i++)
        must(same_object(&again.objects[i], &state->objects[i]));
    lsm_state_fini(&again);
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
    lsm_state state = {0};
    lsm_manifest_info info;
    if (lsm_manifest_parse(vv_slice_of(p, size - 1), &info, apply, &state, NULL) == VV_OK)
        write_and_read_back(&state, &info);
    lsm_state_fini(&state);
    vv_free(p);
    return 0;
}
