/*
 * db_table.c - table handles: a reference to what the catalog knows, and its shard.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_stream_int.h"
#include "db/db_tier_int.h"

/* Takes the reference cat, also on failure. */
static vv_status make_handle(vv_db *db, cat_table *cat, vv_table **out, vv_error *err)
{
    vv_table *table = vv_alloc(sizeof *table);
    if (table == NULL) {
        cat_table_unref(cat);
        return vv_fail(err, VV_NO_MEMORY, "no memory for a table handle");
    }
    *table = db_table_of(db, cat);
    *out = table;
    return VV_OK;
}

/* The engine of a table that is to be made. */
static vv_status choose_engine(vv_db *db, const char *tenant, const char *name,
                               const vv_table_options *opt, vv_engine_kind *out, vv_error *err)
{
    vv_table_options full = VV_TABLE_OPTIONS_INIT; /* an older header has fewer fields */
    memcpy(&full, opt, opt->size < sizeof full ? opt->size : sizeof full);
    cat_table *there = NULL;
    vv_status st = db_engine_check_kind(full.engine, err);
    if (st != VV_OK)
        return st;
    *out = full.engine != VV_ENGINE_DEFAULT ? full.engine : db->opt.engine;
    if (full.if_not_exists && cat_table_find(db->cat, tenant, name, &there, NULL) == VV_OK) {
        cat_table_unref(there); /* it stays as it is */
        return VV_OK;
    }
    st = db_engine_check_form(db, *out, &full, err);
    if (st == VV_OK && full.archive != NULL && full.archive->key != NULL)
        st = arch_template_check(full.archive->key, err);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "create table '%s'", name);
}

vv_status vv_table_create(vv_db *db, const char *tenant, const char *name,
                          const vv_table_options *opt, vv_table **out, vv_error *err)
{
    static const vv_table_options defaults = VV_TABLE_OPTIONS_INIT;
    cat_table *cat = NULL;
    vv_status st = db_check_writable(db, err);
    opt = opt == NULL ? &defaults : opt;
    vv_engine_kind kind = VV_ENGINE_DEFAULT;
    if (st == VV_OK)
        st = choose_engine(db, tenant, name, opt, &kind, err);
    if (st == VV_OK)
        st = db_stream_check_rules(name, opt, err);
    if (st == VV_OK)
        st = db_stream_check_letters(db, tenant, name, opt, err);
    if (st == VV_OK)
        st = cat_table_create(db->cat, tenant, name, opt, db_engine_slot(db, kind), &cat, err);
    if (st != VV_OK)
        return st;
    for (uint32_t p = 0; p < cat->partition_count; p++)
        db_marks_retune(db, &db->shards[cat_partition_shard(cat, p)]);
    if (out != NULL)
        return make_handle(db, cat, out, err);
    cat_table_unref(cat);
    return VV_OK;
}

vv_status vv_table_open(vv_db *db, const char *tenant, const char *name, vv_table **out,
                        vv_error *err)
{
    cat_table *cat = NULL;
    vv_status st = cat_table_find(db->cat, tenant, name, &cat, err);
    return st == VV_OK ? make_handle(db, cat, out, err) : st;
}

void vv_table_close(vv_table *table)
{
    if (table == NULL)
        return;
    cat_table_unref(table->cat);
    vv_free(table);
}

vv_status vv_table_drop(vv_db *db, const char *tenant, const char *name, vv_error *err)
{
    uint32_t id = 0;
    vv_status st = db_check_writable(db, err);
    if (st == VV_OK)
        st = db_tier_drop_begin(db, tenant, name, &id, err);
    if (st != VV_OK)
        return st;
    st = cat_table_drop(db->cat, tenant, name, err);
    db_tier_drop_end(db, id);
    if (st == VV_OK)
        for (uint32_t i = 0; i < db->shard_count; i++)
            db_marks_retune(db, &db->shards[i]);
    return st;
}

static void identify(const cat_table *cat, vv_table_info *out)
{
    const cat_keep *keep = cat->keep;
    const cat_archive *archive = cat->archive;
    const cat_extract *extract = cat->extract;
    *out = (vv_table_info){
        .id = cat->id,
        .shard = cat->shard,
        .kind = cat->kind,
        .version_retention_ns = cat->version_retention_ns,
        .created_ns = cat->created_ns,
        .compression = cat->compression,
        .value_threshold = cat->value_threshold,
        .partitions = cat->partition_count,
        .retention_ns = cat->retention_ns,
        .out_of_order_ns = cat->out_of_order_ns,
        .future_ns = cat->future_ns,
        .no_rollups = cat->no_rollups,
        .rollup_retention_ns = {cat_rollup_retention(cat, 0), cat_rollup_retention(cat, 1)},
        .retention_bytes = cat->retention_bytes,
        .message_size_max = cat->message_size_max,
        .producer_retention_ns = cat->producer_retention_ns,
        .producers_max = cat->producers_max,
        .keep_rules = keep == NULL ? NULL : keep->rule,
        .keep_rule_count = keep == NULL ? 0 : keep->count,
        .archive = archive == NULL ? NULL : &archive->rule,
        .extract_rules = extract == NULL ? "" : extract->rules,
        .extract_schema = extract == NULL ? vv_slice_of(NULL, 0) : extract->schema};
    (void)snprintf(out->tenant, sizeof out->tenant, "%s", cat->tenant);
    (void)snprintf(out->name, sizeof out->name, "%s", cat->name);
    (void)snprintf(out->engine, sizeof out->engine, "%s", cat->engine);
}

static void measure(vv_db *db, const cat_table *cat, vv_table_info *out)
{
    uint8_t lower[ENGINE_TABLE_PREFIX];
    uint8_t upper[ENGINE_TABLE_PREFIX];
    uint32_t last = cat->index_id != 0 ? cat->index_id : cat->id;
    vv_put_be32(lower, cat->id);
    vv_put_be32(upper, last + 1);
    for (uint32_t p = 0; p < cat->partition_count; p++)
        out->bytes_estimate += db->ops->approximate_size(
            db->shards[cat_partition_shard(cat, p)].eng, vv_slice_of(lower, sizeof lower),
            vv_slice_of(upper, sizeof upper));
}

vv_status vv_table_describe(vv_table *table, vv_table_info *out, vv_error *err)
{
    vv_status st = vv_table_identify(table, out, err);
    if (st == VV_OK)
        measure(table->db, table->cat, out);
    return st;
}

vv_status vv_table_identify(vv_table *table, vv_table_info *out, vv_error *err)
{
    vv_status st = db_check_table(table, err);
    if (st == VV_OK)
        identify(table->cat, out);
    return st;
}

vv_table_kind vv_table_kind_of(const vv_table *table)
{
    return table->cat->kind;
}

static vv_status list(vv_db *db, const char *tenant, bool sizes,
                      int (*each)(void *ctx, const vv_table_info *info), void *ctx, vv_error *err)
{
    cat_table **tables = NULL;
    size_t count = 0;
    vv_status st = cat_list(db->cat, tenant, &tables, &count, err);
    if (st != VV_OK)
        return st;
    vv_table_info info;
    for (size_t i = 0; i < count; i++) {
        identify(tables[i], &info);
        if (sizes)
            measure(db, tables[i], &info);
        if (each(ctx, &info) != 0)
            break;
    }
    cat_list_free(tables, count);
    return VV_OK;
}

vv_status vv_table_list(vv_db *db, const char *tenant,
                        int (*each)(void *ctx, const vv_table_info *info), void *ctx, vv_error *err)
{
    return list(db, tenant, true, each, ctx, err);
}

vv_status vv_table_list_names(vv_db *db, const char *tenant,
                              int (*each)(void *ctx, const vv_table_info *info), void *ctx,
                              vv_error *err)
{
    return list(db, tenant, false, each, ctx, err);
}
