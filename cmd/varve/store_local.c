/*
 * store_local.c - a directory as a store, through the public library.
 *
 * Reading commands open it read-only: the log is replayed into memory and nothing is written.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "io/env.h"
#include "store_local.h"
#include "tier_store.h"
#include "varve/bulk.h"
#include "varve/tier.h"

#define LOAD_BATCH_BYTES (1024u * 1024) /* of records that become one commit */
#define LOAD_BATCH_COUNT 1000u
#define ROW_MAX (64u * 1024 * 1024)
#define META_MAX (64u * 1024)

static void local_close(store *s)
{
    local *l = local_of(s);
    vv_error err;
    vv_batch_destroy(l->batch);
    vv_samples_destroy(l->samples);
    vv_table_close(l->table);
    vv_buf_fini(&l->meta);
    if (l->db != NULL && vv_db_close(l->db, &err) != VV_OK)
        (void)fprintf(stderr, "varve: closing the store: %s\n", err.msg);
    vv_object_store_close(l->objects);
    vv_free(l);
}

vv_status local_open_table(local *l, bool create, vv_table_kind kind, vv_error *err)
{
    if (l->table != NULL)
        return VV_OK;
    if (!create)
        return vv_table_open(l->db, l->base.tenant, l->base.table, &l->table, err);
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = kind;
    opt.if_not_exists = true;
    return vv_table_create(l->db, l->base.tenant, l->base.table, &opt, &l->table, err);
}

/* ---- keys and values ---- */

static int64_t expiry_of(uint64_t ttl_ms)
{
    if (ttl_ms == 0)
        return 0;
    int64_t ns;
    if (ttl_ms > INT64_MAX / 1000000 ||
        __builtin_add_overflow(vv_clock_wall(vv_clock_real()), (int64_t)ttl_ms * VV_NS_PER_MS, &ns))
        return INT64_MAX;
    return ns;
}

static vv_status write_one(local *l, vv_slice key, const vv_slice *value, vv_slice end,
                           const store_write *how, store_written *out, vv_error *err)
{
    vv_write_result result = {0};
    vv_durability durability = (vv_durability)how->durability;
    vv_status st = local_open_table(l, value != NULL, VV_TABLE_KV, err);
    if (st == VV_OK && value == NULL && end.len > 0) {
        st = vv_delete_range(l->table, key, end, durability, &result, err);
        *out = (store_written){result.version, (int)result.durability};
        return st;
    }
    vv_batch *batch = st == VV_OK ? vv_batch_create(l->db) : NULL;
    if (st == VV_OK && batch == NULL)
        st = vv_fail(err, VV_NO_MEMORY, "a batch");
    if (st == VV_OK && value != NULL && how->op != 0)
        st = vv_batch_merge(batch, l->table, key, (vv_operator)how->op, *value,
                            expiry_of(how->ttl_ms), err);
    else if (st == VV_OK && value != NULL)
        st = vv_batch_put(batch, l->table, key, *value, expiry_of(how->ttl_ms), err);
    else if (st == VV_OK)
        st = vv_batch_delete(batch, l->table, key, err);
    if (st == VV_OK)
        st = vv_write(l->db, batch, durability, &result, err);
    vv_batch_destroy(batch);
    *out = (store_written){result.version, (int)result.durability};
    return st;
}

static vv_status local_put(store *s, vv_slice key, vv_slice value, const store_write *how,
                           store_written *out, vv_error *err)
{
    return write_one(local_of(s), key, &value, (vv_slice){0}, how, out, err);
}

static vv_status local_del(store *s, vv_slice key, vv_slice end, const store_write *how,
                           store_written *out, vv_error *err)
{
    return write_one(local_of(s), key, NULL, end, how, out, err);
}

/* An archive is read through a cursor. */
static vv_status open_archive(local *l, vv_cursor **out, vv_error *err)
{
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.archive = l->base.archive;
    vv_status st = local_open_table(l, false, VV_TABLE_KV, err);
    return st == VV_OK ? vv_cursor_open(l->table, &opt, out, err) : st;
}

/* The cursor on the key. *out borrows it until it moves; version 0: the archive has no such key. */
static vv_status seek_archive(vv_cursor *c, vv_slice key, store_kv *out, vv_error *err)
{
    *out = (store_kv){.key = key};
    vv_status st = vv_cursor_seek(c, key, err);
    if (st == VV_OK && vv_cursor_valid(c) && vv_slice_eq(vv_cursor_key(c), key)) {
        out->value = vv_cursor_value(c);
        out->version = vv_cursor_version(c);
        out->expires_ms = vv_cursor_expires_ns(c) / VV_NS_PER_MS;
    }
    return st;
}

/* The one key of an archive. */
static vv_status get_archived(local *l, vv_slice key, vv_buf *out, store_kv *kv, vv_error *err)
{
    vv_cursor *c = NULL;
    vv_status st = open_archive(l, &c, err);
    if (st == VV_OK)
        st = seek_archive(c, key, kv, err);
    if (st == VV_OK && kv->version == 0)
        st = vv_fail(err, VV_NOT_FOUND, "the key is not in archive '%s'", l->base.archive);
    if (st == VV_OK) {
        vv_buf_append_slice(out, kv->value);
        kv->value = vv_buf_slice(out);
        if (out->status != VV_OK)
            st = vv_fail(err, out->status, "a value of this size");
    }
    vv_cursor_close(c);
    return st;
}

static vv_status local_get(store *s, vv_slice key, int64_t version, vv_buf *out, store_kv *kv,
                           vv_error *err)
{
    local *l = local_of(s);
    vv_value value;
    if (s->archive != NULL)
        return get_archived(l, key, out, kv, err);
    vv_read_options at = VV_READ_OPTIONS_INIT;
    at.as_of_version = version;
    at.as_of_time_ns = s->as_of_ns;
    vv_status st = local_open_table(l, false, VV_TABLE_KV, err);
    if (st == VV_OK)
        st = vv_get_with(l->table, &at, key, &value, err);
    if (st != VV_OK)
        return st;
    vv_buf_append_slice(out, value.data);
    *kv = (store_kv){.key = key,
                     .value = vv_buf_slice(out),
                     .version = value.version,
                     .expires_ms = value.expires_ns / VV_NS_PER_MS};
    vv_value_release(&value);
    return out->status == VV_OK ? VV_OK : vv_fail(err, out->status, "a value of this size");
}

/* Several keys of an archive. */
static vv_status get_each_archived(local *l, const vv_slice *keys, size_t count,
                                   void (*each)(void *ctx, const store_kv *kv), void *ctx,
                                   vv_error *err)
{
    vv_cursor *c = NULL;
    vv_status st = open_archive(l, &c, err);
    for (size_t i = 0; i < count && st == VV_OK; i++) {
        store_kv kv;
        st = seek_archive(c, keys[i], &kv, err);
        if (st == VV_OK)
            each(ctx, &kv);
    }
    vv_cursor_close(c);
    return st;
}

static void give_value(vv_slice key, vv_status st, vv_value *value,
                       void (*each)(void *ctx, const store_kv *kv), void *ctx)
{
    store_kv kv = {.key = key};
    if (st == VV_OK) {
        kv.value = value->data;
        kv.version = value->version;
        kv.expires_ms = value->expires_ns / VV_NS_PER_MS;
    }
    each(ctx, &kv);
    if (st == VV_OK)
        vv_value_release(value);
}

/* At a version of the caller's, one after the other. */
static vv_status get_each(local *l, const vv_slice *keys, size_t count, int64_t version,
                          void (*each)(void *ctx, const store_kv *kv), void *ctx, vv_error *err)
{
    for (size_t i = 0; i < count; i++) {
        vv_value value;
        vv_status st = vv_get_at(l->table, version, keys[i], &value, err);
        if (st != VV_OK && st != VV_NOT_FOUND)
            return st;
        give_value(keys[i], st, &value, each, ctx);
    }
    return VV_OK;
}

/* The table, and the version of a time when the command has one. */
static vv_status open_at(local *l, int64_t *version, vv_error *err)
{
    vv_status st = local_open_table(l, false, VV_TABLE_KV, err);
    return st == VV_OK && l->base.as_of_ns != 0
               ? vv_version_as_of(l->table, l->base.as_of_ns, version, err)
               : st;
}

static vv_status local_get_many(store *s, const vv_slice *keys, size_t count, int64_t version,
                                void (*each)(void *ctx, const store_kv *kv), void *ctx,
                                vv_error *err)
{
    local *l = local_of(s);
    if (s->archive != NULL)
        return get_each_archived(l, keys, count, each, ctx, err);
    vv_status st = open_at(l, &version, err);
    if (st != VV_OK || version != 0)
        return st == VV_OK ? get_each(l, keys, count, version, each, ctx, err) : st;
    vv_value *values = vv_calloc(count, sizeof *values + sizeof(vv_status));
    if (values == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %zu keys", count);
    vv_status *status = (vv_status *)(void *)(values + count);
    st = vv_multi_get(l->table, NULL, keys, count, values, status, err);
    for (size_t i = 0; i < count; i++) {
        if (st == VV_OK)
            give_value(keys[i], status[i], &values[i], each, ctx);
        else if (status[i] == VV_OK)
            vv_value_release(&values[i]);
    }
    vv_free(values);
    return st;
}

static vv_status local_scan(store *s, const store_range *range,
                            int (*each)(void *ctx, const store_kv *kv), void *ctx, vv_error *err)
{
    local *l = local_of(s);
    vv_cursor *c = NULL;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.version = range->version;
    opt.archive = s->archive;
    opt.lower = range->begin;
    opt.upper = range->end;
    opt.prefix = range->prefix;
    vv_status st = open_at(l, &opt.version, err);
    if (st == VV_OK)
        st = vv_cursor_open(l->table, &opt, &c, err);
    if (st == VV_OK)
        st = range->reverse ? vv_cursor_seek_below(c, (vv_slice){0}, err)
                            : vv_cursor_seek(c, (vv_slice){0}, err);
    for (uint64_t n = 0;
         st == VV_OK && vv_cursor_valid(c) && (range->limit == 0 || n < range->limit); n++) {
        store_kv kv = {.key = vv_cursor_key(c),
                       .version = vv_cursor_version(c),
                       .expires_ms = vv_cursor_expires_ns(c) / VV_NS_PER_MS};
        if (!range->keys_only)
            kv.value = vv_cursor_value(c);
        if (each(ctx, &kv) != 0)
            break;
        st = range->reverse ? vv_cursor_prev(c, err) : vv_cursor_next(c, err);
    }
    vv_cursor_close(c);
    return st;
}

/* ---- queries ---- */

static query_env env_of(local *l)
{
    return (query_env){.table = l->table,
                       .clock = vv_clock_real(),
                       .memory_limit = 256 * VV_MIB,
                       .deadline_ns = INT64_MAX};
}

static vv_status local_query(store *s, const query_ask *ask,
                             int (*each)(void *ctx, vv_slice record), void *ctx, query_stats *stats,
                             vv_error *err)
{
    local *l = local_of(s);
    query *q = NULL;
    query_row row;
    vv_buf record;
    vv_buf_init(&record, ROW_MAX);
    *stats = (query_stats){.index = ""};
    vv_status st = local_open_table(l, false, VV_TABLE_RECORD, err);
    if (st == VV_OK) {
        query_env env = env_of(l);
        st = query_open(ask, &env, &q, err);
    }
    while (st == VV_OK && (st = query_next(q, &row, err)) == VV_OK) {
        vv_buf_reset(&record);
        query_row_put(&record, vv_slice_str(s->tenant), vv_slice_str(s->table), &row);
        if (record.status != VV_OK)
            st = vv_fail(err, record.status, "a record of %zu bytes", row.body.len);
        else if (each(ctx, vv_buf_slice(&record)) != 0)
            break;
    }
    if (q != NULL)
        query_stats_read(q, stats);
    query_close(q);
    vv_buf_fini(&record);
    /* The end of the records, not a table that is not there. */
    return st == VV_NOT_FOUND && q != NULL ? VV_OK : st;
}

typedef struct aggregator {
    const query_ask *ask;
    int (*each)(void *ctx, const store_cell *cells, size_t count);
    void *ctx;
} aggregator;

static int take_group(void *ctx, const struct_value *values)
{
    const aggregator *a = ctx;
    store_cell cells[QUERY_GROUP_MAX + QUERY_AGGREGATES_MAX];
    char names[QUERY_AGGREGATES_MAX][128];
    size_t n = 0;
    for (; n < a->ask->group_count; n++)
        cells[n] = (store_cell){a->ask->group_by[n], values[n]};
    for (size_t i = 0; i < a->ask->aggregate_count; i++, n++)
        cells[n] = (store_cell){
            query_aggregate_name(&a->ask->aggregates[i], names[i], sizeof names[i]), values[n]};
    return a->each(a->ctx, cells, n);
}

static vv_status local_aggregate(store *s, const query_ask *ask,
                                 int (*each)(void *ctx, const store_cell *cells, size_t count),
                                 void *ctx, query_stats *stats, vv_error *err)
{
    local *l = local_of(s);
    aggregator a = {ask, each, ctx};
    vv_status st = local_open_table(l, false, VV_TABLE_RECORD, err);
    if (st != VV_OK)
        return st;
    query_env env = env_of(l);
    return query_aggregate_run(ask, &env, take_group, &a, stats, err);
}

static vv_status local_explain(store *s, const query_ask *ask, vv_buf *text, vv_error *err)
{
    local *l = local_of(s);
    query *q;
    query_plan_step steps[QUERY_PLAN_STEPS_MAX];
    vv_status st = local_open_table(l, false, VV_TABLE_RECORD, err);
    if (st != VV_OK)
        return st;
    query_env env = env_of(l);
    st = query_open(ask, &env, &q, err);
    if (st != VV_OK)
        return st;
    size_t count = query_explain(q, steps);
    for (size_t i = 0; i < count; i++)
        vv_buf_printf(text, "%*s%s: %s\n", (int)(2 * i), "", steps[i].node, steps[i].description);
    query_close(q);
    return VV_OK;
}

/* ---- administration ---- */

static void fill_info(const vv_table_info *from, store_table_info *out)
{
    *out = (store_table_info){
        .id = from->id,
        .shard = from->shard,
        .kind = (int)from->kind,
        .retention_ms = from->version_retention_ns / VV_NS_PER_MS,
        .created_ms = from->created_ns / VV_NS_PER_MS,
        .bytes = from->bytes_estimate,
        .compression = (int)from->compression,
        .value_threshold = from->value_threshold,
        .partitions = from->partitions,
        .series = {.keep_ns = from->retention_ns,
                   .late_ns = from->out_of_order_ns,
                   .future_ns = from->future_ns,
                   .keep_rollups_ns = {from->rollup_retention_ns[0], from->rollup_retention_ns[1]},
                   .no_rollups = from->no_rollups},
        .stream = {.keep_bytes = from->retention_bytes,
                   .message_max = from->message_size_max,
                   .producer_keep_ns = from->producer_retention_ns,
                   .producers_max = from->producers_max}};
    store_rules_text(from->keep_rules, from->keep_rule_count, out->rules);
    store_rule_text(from->archive, out->archive);
    (void)snprintf(out->extract, sizeof out->extract, "%s", from->extract_rules);
    (void)snprintf(out->tenant, sizeof out->tenant, "%s", from->tenant);
    (void)snprintf(out->name, sizeof out->name, "%s", from->name);
    (void)snprintf(out->engine, sizeof out->engine, "%s", from->engine);
}

static vv_status describe(vv_table *table, store_table_info *out, vv_error *err)
{
    vv_table_info info;
    vv_status st = vv_table_describe(table, &info, err);
    if (st == VV_OK)
        fill_info(&info, out);
    return st;
}

static vv_status local_table_create(store *s, const char *name, const store_table_spec *spec,
                                    store_table_info *out, vv_error *err)
{
    local *l = local_of(s);
    vv_table *table = NULL;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = (vv_table_kind)spec->kind;
    opt.if_not_exists = spec->if_not_exists;
    opt.version_retention_ns = spec->retention_ms < 0 ? -1 : spec->retention_ms * VV_NS_PER_MS;
    opt.compression = (vv_compression)spec->compression;
    opt.engine = (vv_engine_kind)spec->engine;
    opt.value_threshold = spec->value_threshold;
    opt.partitions = spec->partitions;
    opt.retention_ns = spec->series.keep_ns;
    opt.retention_bytes = spec->stream.keep_bytes;
    opt.message_size_max = spec->stream.message_max;
    opt.producer_retention_ns = spec->stream.producer_keep_ns;
    opt.producers_max = spec->stream.producers_max;
    opt.out_of_order_ns = spec->series.late_ns;
    opt.future_ns = spec->series.future_ns;
    opt.no_rollups = spec->series.no_rollups;
    memcpy(opt.rollup_retention_ns, spec->series.keep_rollups_ns, sizeof opt.rollup_retention_ns);
    opt.keep_rules = spec->rules;
    opt.keep_rule_count = spec->rule_count;
    opt.archive = spec->archive;
    opt.extract_rules = spec->extract;
    opt.extract_schema = spec->extract_schema;
    vv_status st = vv_table_create(l->db, s->tenant, name, &opt, &table, err);
    if (st == VV_OK)
        st = describe(table, out, err);
    vv_table_close(table);
    return st;
}

typedef struct lister {
    int (*each)(void *ctx, const store_table_info *info);
    void *ctx;
} lister;

static int list_one(void *ctx, const vv_table_info *info)
{
    const lister *l = ctx;
    store_table_info out;
    fill_info(info, &out);
    return l->each(l->ctx, &out);
}

static vv_status local_table_list(store *s, const char *tenant,
                                  int (*each)(void *ctx, const store_table_info *info), void *ctx,
                                  vv_error *err)
{
    lister l = {each, ctx};
    return vv_table_list(local_of(s)->db, tenant, list_one, &l, err);
}

static vv_status local_table_describe(store *s, const char *name, store_table_info *out,
                                      vv_error *err)
{
    vv_table *table = NULL;
    vv_status st = vv_table_open(local_of(s)->db, s->tenant, name, &table, err);
    if (st == VV_OK)
        st = describe(table, out, err);
    vv_table_close(table);
    return st;
}

static vv_status local_archive_create(store *s, const char *name, vv_error *err)
{
    return vv_archive_create(local_of(s)->db, name, err);
}

static vv_status local_archive_drop(store *s, const char *name, vv_error *err)
{
    return vv_archive_drop(local_of(s)->db, name, err);
}

typedef struct archive_lister {
    int (*each)(void *ctx, const store_archive_info *info);
    void *ctx;
} archive_lister;

static int list_archive(void *ctx, const vv_archive_info *from)
{
    const archive_lister *l = ctx;
    store_archive_info out = {.shard = from->shard,
                              .version = from->version,
                              .made_ms = from->time_ns / VV_NS_PER_MS,
                              .periodic = from->periodic};
    (void)snprintf(out.name, sizeof out.name, "%s", from->name);
    return l->each(l->ctx, &out);
}

static vv_status local_archive_list(store *s,
                                    int (*each)(void *ctx, const store_archive_info *info),
                                    void *ctx, vv_error *err)
{
    archive_lister l = {each, ctx};
    return vv_archive_list(local_of(s)->db, list_archive, &l, err);
}

static vv_status local_archive_restore(store *s, const char *name, uint64_t *changed, vv_error *err)
{
    vv_table *table = NULL;
    vv_status st = vv_table_open(local_of(s)->db, s->tenant, s->table, &table, err);
    if (st == VV_OK)
        st = vv_archive_restore(table, name, changed, err);
    vv_table_close(table);
    return st;
}

static vv_status local_table_drop(store *s, const char *name, vv_error *err)
{
    return vv_table_drop(local_of(s)->db, s->tenant, name, err);
}

static vv_status local_status(store *s, void (*text)(void *ctx, const char *name, vv_slice value),
                              void (*figure)(void *ctx, const char *name, double value), void *ctx,
                              vv_error *err)
{
    vv_stats v = {.size = sizeof v};
    (void)err;
    vv_stats_read(local_of(s)->db, &v);
    text(ctx, "version", vv_slice_str(vv_version()));
    figure(ctx, "tables", (double)v.tables);
    figure(ctx, "shards", v.shards);
    figure(ctx, "disk_bytes", (double)v.disk_bytes);
    figure(ctx, "log_retained_bytes", (double)v.log_retained_bytes);
    figure(ctx, "log_segments", (double)v.log_segments);
    figure(ctx, "memtable_bytes", (double)v.memtable_bytes);
    for (size_t i = 0; i < ARRAY_LEN(v.level_files); i++) {
        char name[40];
        if (v.level_files[i] == 0)
            continue;
        (void)snprintf(name, sizeof name, "level%zu_files", i);
        figure(ctx, name, (double)v.level_files[i]);
        (void)snprintf(name, sizeof name, "level%zu_bytes", i);
        figure(ctx, name, (double)v.level_bytes[i]);
    }
    figure(ctx, "index_bytes", (double)v.index_bytes);
    figure(ctx, "range_deletes", (double)v.range_deletes);
    figure(ctx, "value_files", (double)v.value_files);
    figure(ctx, "value_bytes", (double)v.value_bytes);
    figure(ctx, "value_garbage_bytes", (double)v.value_garbage_bytes);
    figure(ctx, "recovery_entries", (double)v.recovery_entries);
    figure(ctx, "recovery_seconds", (double)v.recovery_ns / 1e9);
    figure(ctx, "recovery_cut_bytes", (double)v.recovery_cut_bytes);
    return VV_OK;
}

static vv_status local_compact(store *s, vv_slice begin, vv_slice end, bool look,
                               store_compaction *out, vv_error *err)
{
    local *l = local_of(s);
    vv_compact_state state = {.size = sizeof state};
    vv_status st = local_open_table(l, false, VV_TABLE_KV, err);
    if (st == VV_OK && !look)
        st = vv_compact_begin(l->table, begin, end, err);
    if (st == VV_OK)
        st = vv_compact_look(l->table, begin, end, &state, err);
    *out = (store_compaction){state.is_pending, state.range_bytes, state.read_bytes};
    return st;
}

/* ---- loading ---- */

static vv_status local_load_begin(store *s, store_refused refused, void *ctx, int durability,
                                  vv_error *err)
{
    local *l = local_of(s);
    l->refused = refused;
    l->refused_ctx = ctx;
    l->progress = (store_progress){0};
    l->durability = (vv_durability)durability;
    vv_buf_init(&l->meta, META_MAX);
    l->batch = vv_batch_create(l->db);
    if (l->batch == NULL)
        return vv_fail(err, VV_NO_MEMORY, "a batch");
    return local_open_table(l, true, VV_TABLE_RECORD, err);
}

static vv_status commit(local *l, vv_error *err)
{
    vv_status st = VV_OK;
    vv_error why = {0};
    while (l->batched > 0) {
        st = vv_write(l->db, l->batch, l->durability, NULL, &why);
        if (st != VV_BUSY)
            break;
        vv_clock_sleep(vv_clock_real(), 5 * VV_NS_PER_MS);
    }
    if (st != VV_OK) { /* the batch is all or nothing: nothing from its first record on is there */
        vv_status told = l->refused(l->refused_ctx, l->batch_first, st, why.msg, err);
        if (told == VV_OK && err != NULL)
            *err = why;
        return st;
    }
    l->progress.acked += l->batched;
    l->batched = 0;
    vv_batch_clear(l->batch);
    return VV_OK;
}

static bool encode_meta(local *l, const store_record *record)
{
    vv_buf_reset(&l->meta);
    for (size_t i = 0; i < 2 * record->meta_count; i++) {
        vv_buf_append_varint(&l->meta, record->meta[i].len);
        vv_buf_append_slice(&l->meta, record->meta[i]);
    }
    return l->meta.status == VV_OK;
}

static vv_status local_load_record(store *s, const store_record *record, store_progress *at,
                                   vv_error *err)
{
    local *l = local_of(s);
    vv_error why = {0};
    if (!encode_meta(l, record))
        return vv_fail(err, VV_INVALID, "the metadata has over %u bytes", META_MAX);
    const vv_record r = {.timestamp_ns =
                             record->has_time ? record->time_ns : vv_clock_wall(vv_clock_real()),
                         .metadata = vv_buf_slice(&l->meta),
                         .metadata_count = (uint32_t)record->meta_count,
                         .body = record->body};
    l->progress.sent++;
    vv_status st = vv_batch_put_record(l->batch, l->table, record->id, &r, &why);
    if (st == VV_BUSY) { /* full: commit, and try again in an empty one */
        st = commit(l, err);
        if (st != VV_OK)
            return st;
        st = vv_batch_put_record(l->batch, l->table, record->id, &r, &why);
    }
    if (st == VV_OK) {
        l->batch_first = l->batched++ == 0 ? l->progress.sent : l->batch_first;
        if (l->batched >= LOAD_BATCH_COUNT || vv_batch_bytes(l->batch) >= LOAD_BATCH_BYTES)
            st = commit(l, err);
    } else if (st == VV_INVALID || st == VV_BUSY) {
        l->progress.failed++;
        st = l->refused(l->refused_ctx, l->progress.sent, VV_INVALID, why.msg, err);
    } else {
        l->progress.failed++;
        st = l->refused(l->refused_ctx, l->progress.sent, st, why.msg, err);
    }
    *at = l->progress;
    return st;
}

static vv_status local_load_end(store *s, store_progress *at, vv_error *err)
{
    local *l = local_of(s);
    vv_status st = commit(l, err);
    *at = l->progress;
    return st;
}

/* -------------------------------------------------------------------------------------------------
 */

/* The table that a failed load made goes again. */
static void drop_new_table(local *l)
{
    vv_error err = {0};
    vv_table_close(l->table);
    l->table = NULL;
    if (vv_table_drop(l->db, l->base.tenant, l->base.table, &err) != VV_OK)
        (void)fprintf(stderr, "varve: the new table '%s' stays, empty: %s\n", l->base.table,
                      err.msg);
}

static vv_status local_bulk(store *s, store_next_pair next, void *ctx, store_written *out,
                            vv_error *err)
{
    local *l = local_of(s);
    vv_bulk *load = NULL;
    vv_slice key;
    vv_slice value;
    vv_write_result result = {0};
    bool is_new = local_open_table(l, false, VV_TABLE_KV, NULL) == VV_NOT_FOUND;
    vv_status st = local_open_table(l, true, VV_TABLE_KV, err);
    if (st != VV_OK)
        return st;
    st = vv_bulk_begin(l->table, &load, err);
    bool is_begun = st == VV_OK;
    while (st == VV_OK && (st = next(ctx, &key, &value, err)) == VV_OK)
        st = vv_bulk_put(load, key, value, 0, err);
    if (st == VV_NOT_FOUND)
        st = vv_bulk_finish(load, &result, err);
    else if (is_begun)
        vv_bulk_abort(load);
    if (st != VV_OK && is_new)
        drop_new_table(l);
    *out = (store_written){result.version, (int)result.durability};
    return st;
}

static const store_ops local_ops = {
    .close = local_close,
    .put = local_put,
    .get = local_get,
    .get_many = local_get_many,
    .del = local_del,
    .scan = local_scan,
    .query = local_query,
    .aggregate = local_aggregate,
    .explain = local_explain,
    .status = local_status,
    .table_create = local_table_create,
    .table_list = local_table_list,
    .table_describe = local_table_describe,
    .table_drop = local_table_drop,
    .table_alter = local_table_alter,
    .compact = local_compact,
    .archive_create = local_archive_create,
    .archive_list = local_archive_list,
    .archive_drop = local_archive_drop,
    .archive_restore = local_archive_restore,
    .load_begin = local_load_begin,
    .load_record = local_load_record,
    .load_end = local_load_end,
    .bulk = local_bulk,
    .series = &local_series_ops,
    .stream = &local_stream_ops,
    .tier = &local_tier_ops,
};

/* A store that is not there is made only when use says so, and not in silence: the directory may be
 * mistyped. */
static vv_status open_db(const cmd_common *c, store_use use, local *l, vv_error *err)
{
    const char *dir = c->data;
    vv_options opt = VV_OPTIONS_INIT;
    opt.archive_log = c->archive_log;
    opt.read_only = use == STORE_READ;
    opt.create_if_missing = false;
    const bool archives = c->tier != NULL && c->tier->archives;
    vv_tier_options tier = {.size = sizeof tier, .stopped = !archives};
    vv_status st = c->tier == NULL ? VV_OK : tier_store_open(c->tier, &l->objects, err);
    if (st != VV_OK)
        return st;
    tier.objects = l->objects;
    if (archives)
        tier.rule = (vv_archive_rule){.local_ns = c->tier->local_ns};
    opt.tier = l->objects == NULL ? NULL : &tier;
    st = vv_db_open(dir, &opt, &l->db, err);
    if (st != VV_NOT_FOUND || use != STORE_CREATE)
        return st;
    opt.create_if_missing = true;
    st = vv_db_open(dir, &opt, &l->db, err);
    if (st == VV_OK)
        (void)fprintf(stderr, "varve: created a new store in %s\n", dir);
    return st;
}

vv_status store_open_local(const cmd_common *c, store_use use, store **out, vv_error *err)
{
    local *l = vv_calloc(1, sizeof *l);
    if (l == NULL)
        return vv_fail(err, VV_NO_MEMORY, "store %s", c->data);
    l->base.ops = &local_ops;
    vv_status st = open_db(c, use, l, err);
    if (st != VV_OK) {
        l->db = NULL;
        local_close(&l->base);
        return st;
    }
    *out = &l->base;
    return VV_OK;
}
