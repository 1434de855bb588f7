/*
 * lsm_value_writer.c - one value file from values in any order.
 *
 * Like a run it goes through one aligned buffer to an O_DIRECT file. A value that does not fit the
 * buffer goes through it piece by piece.
 */
#include <inttypes.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/point.h"
#include "base/util.h"
#include "lsm/lsm_value_int.h"

struct lsm_value_writer {
    lsm_store *store;
    uint64_t id;
    vio_file *file;
    uint8_t *out; /* out_size bytes, aligned; out_len of them filled */
    size_t out_size;
    size_t out_len;
    uint64_t written;
    vv_buf record; /* head and value, to be summed in one go */
};

uint64_t lsm_value_writer_size(const lsm_value_writer *w)
{
    return w->written + w->out_len;
}

static vv_status flush_out(lsm_value_writer *w, vv_error *err)
{
    vv_status st = vio_pwrite(w->file, w->written, w->out, w->out_len, err);
    if (st == VV_OK)
        w->written += w->out_len;
    w->out_len = 0;
    return st;
}

static vv_status emit(lsm_value_writer *w, const uint8_t *p, size_t len, vv_error *err)
{
    while (len > 0) {
        size_t n = (size_t)vv_min_u64(len, w->out_size - w->out_len);
        memcpy(w->out + w->out_len, p, n);
        w->out_len += n;
        p += n;
        len -= n;
        if (w->out_len == w->out_size) {
            vv_status st = flush_out(w, err);
            if (st != VV_OK)
                return st;
        }
    }
    return VV_OK;
}

static vv_status put_header(lsm_value_writer *w, vv_error *err)
{
    uint8_t p[LSM_VALUE_START] = {0};
    memcpy(p, (const uint8_t[8]){'V', 'A', 'R', 'V', 'E', 'V', 'A', 'L'}, 8);
    vv_put_le32(p + 8, LSM_VALUE_FORMAT);
    vv_put_le64(p + 48, w->id);
    vv_put_le32(p + 56, w->store->shard);
    vv_put_le64(p + VALUE_SUM_AT, lsm_value_header_sum(p, w->id));
    return emit(w, p, sizeof p, err);
}

vv_status lsm_value_writer_open(lsm_store *s, uint64_t id, size_t buffer_size,
                                lsm_value_writer **out, vv_error *err)
{
    char path[VIO_PATH_MAX];
    lsm_value_path(path, s->dir, id);
    lsm_value_writer *w = vv_calloc(1, sizeof *w);
    if (w == NULL)
        return vv_fail(err, VV_NO_MEMORY, "value file %" PRIu64 ": no memory", id);
    w->store = s;
    w->id = id;
    w->out_size = vv_align_up(buffer_size, VV_BLOCK);
    vv_buf_init(&w->record, ENGINE_VALUE_MAX + 2 * LSM_VALUE_HEAD);
    w->out = vv_alloc_aligned(VV_BLOCK, w->out_size);
    vv_status st = VV_OK;
    if (w->out == NULL)
        st = vv_fail(err, VV_NO_MEMORY, "value file %" PRIu64 ": no memory for its buffer", id);
    else
        vv_budget_take(s->budget, VV_BUDGET_WORK, w->out_size);
    if (st == VV_OK)
        st = vio_open(s->env->io, path, VIO_READ | VIO_WRITE | VIO_CREATE | VIO_EXCL | VIO_DIRECT,
                      &w->file, err);
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
    vio_close(w->file);
    if (w->out != NULL)
        vv_budget_release(w->store->budget, VV_BUDGET_WORK, w->out_size);
    vv_free(w->out);
    vv_buf_fini(&w->record);
    vv_free(w);
}

/* Head, value and padding at p; the sum needs them together. */
static void lay_out(const lsm_value_writer *w, vv_slice value, uint64_t offset, uint8_t *p,
                    size_t size)
{
    vv_put_le32(p + 8, (uint32_t)value.len);
    vv_put_le32(p + 12, 0);
    memcpy(p + LSM_VALUE_HEAD, value.data, value.len);
    memset(p + LSM_VALUE_HEAD + value.len, 0, size - LSM_VALUE_HEAD - value.len);
    vv_put_le64(p, lsm_value_sum(p, LSM_VALUE_HEAD + value.len, w->id, offset));
}

vv_status lsm_value_writer_put(lsm_value_writer *w, vv_slice value, uint8_t ref[LSM_VALUE_REF],
                               vv_error *err)
{
    uint64_t offset = lsm_value_writer_size(w);
    size_t size = (size_t)lsm_value_size((uint32_t)value.len);
    vv_put_le64(ref, w->id);
    vv_put_le64(ref + 8, offset);
    vv_put_le32(ref + 16, (uint32_t)value.len);
    if (size < w->out_size - w->out_len) { /* nearly always: no copy but the one */
        lay_out(w, value, offset, w->out + w->out_len, size);
        w->out_len += size;
        return VV_OK;
    }
    vv_buf_reset(&w->record);
    uint8_t *p = vv_buf_reserve(&w->record, size);
    if (p == NULL)
        return vv_fail(err, VV_NO_MEMORY, "value file %" PRIu64 ": no memory for %zu bytes", w->id,
                       size);
    lay_out(w, value, offset, p, size);
    return emit(w, p, size, err);
}

vv_status lsm_value_writer_finish(lsm_value_writer *w, vv_error *err)
{
    vv_status st = VV_OK;
    if (w->out_len > 0) { /* the last piece is a whole number of device blocks; zeros at its end */
        size_t len = vv_align_up(w->out_len, VV_BLOCK);
        memset(w->out + w->out_len, 0, len - w->out_len);
        w->out_len = len;
        st = flush_out(w, err);
    }
    VV_POINT("lsm.value.written");
    if (st == VV_OK && !VV_BUG(63))
        st = vio_sync(w->file, err);
    VV_POINT("lsm.value.synced");
    return st;
}
