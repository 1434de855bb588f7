/*
 * store_local_series.c - a directory as a store of samples, through the public library.
 */
#include <string.h>

#include "base/error.h"
#include "store_local.h"

static vv_status open_series(local *l, bool create, vv_error *err)
{
    vv_status st = local_open_table(l, create, VV_TABLE_SERIES, err);
    if (st == VV_OK && vv_table_kind_of(l->table) != VV_TABLE_SERIES)
        st = vv_fail(err, VV_INVALID, "table '%s' holds no series", l->base.table);
    return st;
}

static vv_status series_list(store *s, store_match match,
                             int (*each)(void *ctx, const vv_series_info *series), void *ctx,
                             vv_error *err)
{
    local *l = local_of(s);
    vv_status st = open_series(l, false, err);
    return st == VV_OK ? vv_series_list(l->table, match.items, match.count, 0, each, ctx, err) : st;
}

static vv_status series_latest(store *s, store_match match,
                               int (*each)(void *ctx, const vv_series_info *series,
                                           const vv_sample *sample),
                               void *ctx, vv_error *err)
{
    local *l = local_of(s);
    vv_status st = open_series(l, false, err);
    return st == VV_OK ? vv_series_latest(l->table, match.items, match.count, each, ctx, err) : st;
}

static vv_status series_labels(store *s, vv_slice name, store_match match,
                               int (*each)(void *ctx, vv_slice text), void *ctx, vv_error *err)
{
    local *l = local_of(s);
    vv_status st = open_series(l, false, err);
    if (st != VV_OK)
        return st;
    if (name.len == 0)
        return vv_series_label_names(l->table, match.items, match.count, each, ctx, err);
    return vv_series_label_values(l->table, name, match.items, match.count, each, ctx, err);
}

static vv_status series_query(store *s, const vv_series_query *q,
                              int (*each)(void *ctx, const vv_series_block *block), void *ctx,
                              vv_error *err)
{
    local *l = local_of(s);
    vv_series_cursor *c = NULL;
    vv_series_block block;
    vv_status st = open_series(l, false, err);
    if (st == VV_OK)
        st = vv_series_query_open(l->table, q, &c, err);
    if (st != VV_OK)
        return st;
    while ((st = vv_series_query_next(c, &block, err)) == VV_OK)
        if (each(ctx, &block) != 0)
            break;
    vv_series_query_close(c);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static vv_status series_delete(store *s, store_match match, int64_t start_ns, int64_t end_ns,
                               uint64_t *count, vv_error *err)
{
    local *l = local_of(s);
    vv_status st = open_series(l, false, err);
    return st == VV_OK
               ? vv_series_delete(l->table, match.items, match.count, start_ns, end_ns, count, err)
               : st;
}

static vv_status series_drop(store *s, store_match match, uint64_t *count, vv_error *err)
{
    local *l = local_of(s);
    vv_status st = open_series(l, false, err);
    return st == VV_OK ? vv_series_drop(l->table, match.items, match.count, count, err) : st;
}

static vv_status open_samples(local *l, vv_error *err)
{
    if (l->samples != NULL)
        return VV_OK;
    vv_status st = open_series(l, true, err);
    if (st != VV_OK)
        return st;
    l->samples = vv_samples_create(l->table);
    if (l->samples == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for samples");
    vv_samples_leave_out(l->samples, true); /* as a server does */
    return VV_OK;
}

static vv_status series_add(store *s, const vv_label *labels, size_t label_count,
                            const vv_sample *sample, vv_error *err)
{
    local *l = local_of(s);
    const bool is_true = sample->i64 != 0;
    const uint32_t *quality = sample->quality == VV_QUALITY_GOOD ? NULL : &sample->quality;
    vv_status st = open_samples(l, err);
    if (st == VV_OK)
        st = vv_samples_series(l->samples, labels, label_count, sample->type, err);
    if (st != VV_OK)
        return st;
    switch (sample->type) {
    case VV_I64:
        return vv_samples_i64(l->samples, &sample->time_ns, &sample->i64, quality, 1, err);
    case VV_BOOL:
        return vv_samples_bool(l->samples, &sample->time_ns, &is_true, quality, 1, err);
    case VV_STRING:
        return vv_samples_string(l->samples, &sample->time_ns, &sample->string, quality, 1, err);
    case VV_F64:
    default:
        return vv_samples_f64(l->samples, &sample->time_ns, &sample->f64, quality, 1, err);
    }
}

static vv_status series_flush(store *s, int durability, store_appended *out, vv_error *err)
{
    local *l = local_of(s);
    vv_append_result r = {.accepted = 0};
    *out = (store_appended){0};
    if (l->samples == NULL)
        return VV_OK;
    vv_status st = vv_series_append(l->samples, (vv_durability)durability, &r, err);
    if (st == VV_BUSY && r.refused > 0)
        st = VV_OK; /* too many series: samples of the others are written */
    vv_samples_clear(l->samples);
    *out = (store_appended){.accepted = r.accepted,
                            .refused = r.refused,
                            .late = r.late,
                            .series_created = r.series_created};
    memcpy(out->first_refusal, r.first_refusal, sizeof out->first_refusal);
    return st;
}

const store_series_ops local_series_ops = {
    .list = series_list,
    .latest = series_latest,
    .labels = series_labels,
    .query = series_query,
    .delete_range = series_delete,
    .drop = series_drop,
    .add = series_add,
    .flush = series_flush,
};
