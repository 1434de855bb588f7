/*
 * lsm_job_value.c - large values in a flush or compaction.
 *
 * A value at or above the table's threshold goes into a value file of the job when it is first
 * written, mostly by the flush; from then on only its reference moves. A value is moved on into a
 * new file when most of its old one is garbage, and back into the run when the threshold has risen
 * above it.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "lsm/lsm_job_int.h"

#define FILES_A_VALUE_FILE 4u /* its size, in target_file_size */
#define VALUE_BUFFER (1 * VV_MIB)

static vv_status open_values(lsm_job *job, vv_error *err)
{
    lsm_engine *e = job->e;
    if (job->value_count == job->value_cap) {
        uint32_t cap = job->value_cap == 0 ? 4 : job->value_cap * 2;
        uint64_t *ids = vv_realloc(job->value_ids, cap * sizeof *ids);
        if (ids == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for %u value files", cap);
        job->value_ids = ids;
        job->value_cap = cap;
    }
    uint64_t id = 0;
    vv_status st = lsm_manifest_new_id(&e->manifest, &id, err);
    if (st != VV_OK)
        return st;
    job->value_ids[job->value_count++] = id; /* also what could only be begun is removed */
    size_t buffer = (size_t)vv_min_u64(VALUE_BUFFER, e->opt.work_size / 4);
    vio_class cls = job->output == 0 ? VIO_CLASS_FLUSH : VIO_CLASS_COMPACTION;
    return lsm_value_writer_open(&e->store, id, cls, buffer, &job->values, err);
}

static vv_status put_apart(lsm_job *job, engine_item *item, uint8_t ref[LSM_VALUE_REF],
                           vv_error *err)
{
    uint64_t limit = job->e->opt.target_file_size * FILES_A_VALUE_FILE;
    vv_status st = VV_OK;
    if (job->values != NULL && lsm_value_writer_size(job->values) >= limit)
        st = lsm_job_finish_values(job, err);
    if (st == VV_OK && job->values == NULL)
        st = open_values(job, err);
    if (st == VV_OK)
        st = lsm_value_writer_put(job->values, item->value, ref, err);
    if (st != VV_OK)
        return st;
    job->written_bytes += lsm_value_size((uint32_t)item->value.len);
    item->kind = ENGINE_APART;
    item->value = vv_slice_of(ref, LSM_VALUE_REF);
    return VV_OK;
}

vv_status lsm_job_place_value(lsm_job *job, engine_item *item, uint8_t ref[LSM_VALUE_REF],
                              vv_error *err)
{
    if (item->kind == ENGINE_PUT && item->value.len >= job->form.value_threshold)
        return put_apart(job, item, ref, err);
    if (item->kind != ENGINE_APART)
        return VV_OK;
    lsm_value_ref old = lsm_value_ref_of(item->value);
    bool inside = old.len < job->form.value_threshold;
    if (!inside && !lsm_value_is_garbage(&job->e->store, old.file))
        return VV_OK;
    vv_buf_reset(&job->value);
    vv_status st = lsm_value_load(&job->e->store, item->value, &job->value, err);
    if (st != VV_OK)
        return st;
    job->read_bytes += old.len;
    item->kind = ENGINE_PUT;
    item->value = vv_buf_slice(&job->value);
    return inside ? VV_OK : put_apart(job, item, ref, err);
}

vv_status lsm_job_finish_values(lsm_job *job, vv_error *err)
{
    if (job->values == NULL)
        return VV_OK;
    vv_status st = lsm_value_writer_finish(job->values, err);
    lsm_value_writer_close(job->values);
    job->values = NULL;
    return st;
}

void lsm_job_close_values(lsm_job *job, bool discard)
{
    lsm_value_writer_close(job->values);
    job->values = NULL;
    for (uint32_t i = 0; discard && i < job->value_count; i++)
        lsm_value_discard(&job->e->store, job->value_ids[i]);
    vv_free(job->value_ids);
    job->value_ids = NULL;
    job->value_count = 0;
}
