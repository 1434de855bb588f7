/*
 * lsm_value_writer.c - one value file from values in any order.
 *
 * Like a run it goes to an O_DIRECT file in pieces, several in flight (lsm_output.h).
 */
#include <inttypes.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/point.h"
#include "base/util.h"
#include "lsm/lsm_output.h"
#include "lsm/lsm_value_int.h"

struct lsm_value_writer {
    lsm_store *store;
    uint64_t id;
    lsm_output output;
    uint64_t counted; /* bytes that the budget knows */
    vv_buf record;    /* head and value, to be summed in one go */
};

uint64_t lsm_value_writer_size(const lsm_value_writer *w)
{
    return lsm_output_position(&w->output);
}

static vv_status put_header(lsm_value_writer *w, vv_error *err)
{
    uint8_t p[LSM_VALUE_START] = {0};
    memcpy(p, (const uint8_t[8]){'V', 'A', 'R', 'V', 'E', 'V', 'A', 'L'}, 8);
    vv_put_le32(p + 8, LSM_VALUE_FORMAT);
    vv_put_le64(p + 48, w->id);
    vv_put_le32(p + 56, w->store->shard);
    vv_put_le64(p + VALUE_SUM_AT, lsm_value_header_sum(p, w->id));
    return lsm_output_put(&w->output, p, sizeof p, err);
}

vv_status lsm_value_writer_open(lsm_store *s, uint64_t id, vio_class cls, size_t buffer_size,
                                lsm_value_writer **out, vv_error *err)
{
    char path[VIO_PATH_MAX];
    lsm_value_path(path, s->dir, id);
    lsm_value_writer *w = vv_calloc(1, sizeof *w);
    if (w == NULL)
        return vv_fail(err, VV_NO_MEMORY, "value file %" PRIu64 ": no memory", id);
    w->store = s;
    w->id = id;
    vv_buf_init(&w->record, ENGINE_VALUE_MAX + 2 * LSM_VALUE_HEAD);
    vv_status st = lsm_output_init(&w->output, s->env->io, cls, buffer_size, err);
    if (st == VV_OK) {
        w->counted = lsm_output_memory(&w->output);
        vv_budget_take(s->budget, VV_BUDGET_WORK, w->counted);
        st = vio_open(s->env->io, path, VIO_READ | VIO_WRITE | VIO_CREATE | VIO_EXCL | VIO_DIRECT,
                      &w->output.file, err);
    }
    if (st == VV_OK)
        st = put_header(w, err);
    if (st != VV_OK) {
        lsm_value_writer_close(w);
        return st;
    }
    *out = w;
    return VV_OK;
}

void lsm_value_writer_close(lsm_value_writer *w)
{
    if (w == NULL)
        return;
    vv_budget_release(w->store->budget, VV_BUDGET_WORK, w->counted);
    lsm_output_fini(&w->output);
    vv_buf_fini(&w->record);
    vv_free(w);
}

vv_status lsm_value_writer_put(lsm_value_writer *w, vv_slice value, uint8_t ref[LSM_VALUE_REF],
                               vv_error *err)
{
    uint64_t offset = lsm_value_writer_size(w);
    size_t size = (size_t)lsm_value_size((uint32_t)value.len);
    vv_buf_reset(&w->record);
    uint8_t *p = vv_buf_reserve(&w->record, size);
    if (p == NULL)
        return vv_fail(err, VV_NO_MEMORY, "value file %" PRIu64 ": no memory for %zu bytes", w->id,
                       size);
    vv_put_le32(p + 8, (uint32_t)value.len);
    vv_put_le32(p + 12, 0);
    memcpy(p + LSM_VALUE_HEAD, value.data, value.len);
    memset(p + LSM_VALUE_HEAD + value.len, 0, size - LSM_VALUE_HEAD - value.len);
    vv_put_le64(p, lsm_value_sum(p, LSM_VALUE_HEAD + value.len, w->id, offset));
    vv_put_le64(ref, w->id);
    vv_put_le64(ref + 8, offset);
    vv_put_le32(ref + 16, (uint32_t)value.len);
    return lsm_output_put(&w->output, p, size, err);
}

vv_status lsm_value_writer_settle(lsm_value_writer *w, vv_error *err)
{
    return lsm_output_settle(&w->output, err);
}

vv_status lsm_value_writer_finish(lsm_value_writer *w, vv_error *err)
{
    uint64_t at = lsm_value_writer_size(w);
    vv_status st = lsm_output_put(&w->output, NULL, (size_t)(vv_align_up(at, VV_BLOCK) - at), err);
    if (st == VV_OK)
        st = lsm_output_end(&w->output, err);
    VV_POINT("lsm.value.written");
    if (st == VV_OK && !VV_BUG(63))
        st = vio_sync(w->output.file, err);
    VV_POINT("lsm.value.synced");
    return st;
}
