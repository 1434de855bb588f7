/*
 * svc_admin_table.c - varve.v1.Admin: tables made, changed, described, dropped, compacted; their
 * options as protobuf.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "server/svc_admin_alter.h"
#include "server/svc_admin_int.h"
#include "server/svc_admin_rule.h"
#include "server/svc_kv.h"
#include "server/svc_series_ask.h"
#include "server/svc_util.h"

static void put_keep_rule(vv_buf *out, const vv_keep_rule *rule)
{
    size_t mark = wire_begin(out, 7);
    size_t inner = wire_begin(out, 1);
    wire_put_string(out, 1, rule->match.name);
    wire_put_uint(out, 2, (uint64_t)rule->match.op);
    wire_put_string(out, 3, rule->match.value);
    wire_end(out, inner);
    wire_put_int(out, 2, rule->retention_ns);
    wire_end(out, mark);
}

static void put_series_options(vv_buf *out, const vv_table_info *info)
{
    size_t mark = wire_begin(out, 12);
    wire_put_int(out, 1, info->retention_ns);
    wire_put_int(out, 2, info->out_of_order_ns);
    wire_put_int(out, 3, info->future_ns);
    wire_put_uint(out, 4, info->no_rollups);
    wire_put_int(out, 5, info->rollup_retention_ns[0]);
    wire_put_int(out, 6, info->rollup_retention_ns[1]);
    for (size_t i = 0; i < info->keep_rule_count; i++)
        put_keep_rule(out, &info->keep_rules[i]);
    wire_end(out, mark);
}

static void put_stream_options(vv_buf *out, const vv_table_info *info)
{
    size_t mark = wire_begin(out, 13);
    wire_put_int(out, 1, info->retention_ns);
    wire_put_int(out, 2, info->producer_retention_ns);
    wire_put_uint(out, 3, info->retention_bytes);
    wire_put_uint(out, 4, info->message_size_max);
    wire_put_uint(out, 5, info->producers_max);
    svc_admin_rule_put(out, 6, info->archive);
    wire_put_text(out, 8, vv_slice_str(info->extract_rules));
    wire_end(out, mark);
}

static void put_info(vv_buf *out, const vv_table_info *info)
{
    size_t mark = wire_begin(out, 1);
    wire_put_bytes(out, 1, vv_slice_str(info->tenant));
    wire_put_bytes(out, 2, vv_slice_str(info->name));
    wire_end(out, mark);
    wire_put_varint(out, 2, (uint64_t)info->kind);
    wire_put_bytes(out, 3, vv_slice_str(info->engine));
    wire_put_varint(out, 4, info->id);
    wire_put_varint(out, 5, info->shard);
    wire_put_varint(out, 6, (uint64_t)(info->version_retention_ns / VV_NS_PER_MS));
    wire_put_varint(out, 7, (uint64_t)(info->created_ns / VV_NS_PER_MS));
    wire_put_varint(out, 8, info->bytes_estimate);
    wire_put_varint(out, 9, (uint64_t)info->compression);
    wire_put_varint(out, 10, info->value_threshold);
    wire_put_varint(out, 11, info->partitions);
    if (info->kind == VV_TABLE_SERIES)
        put_series_options(out, info);
    if (info->kind == VV_TABLE_STREAM)
        put_stream_options(out, info);
}

static vv_status describe(vv_table *table, vv_buf *out, vv_error *err)
{
    vv_table_info info;
    vv_status st = vv_table_describe(table, &info, err);
    if (st == VV_OK)
        put_info(out, &info);
    vv_table_close(table);
    return st;
}

typedef struct series_options {
    bool is_given;
    int64_t span[6]; /* by field; of 4, no_rollups, nothing */
    bool no_rollups;
    vv_keep_rule rule[VV_KEEP_RULES_MAX]; /* borrowed of the message */
    size_t rule_count;                    /* that came */
} series_options;

/* Fields of SeriesOptions that are spans of time, by number less 1. */
static const char *const span_names[6] = {
    "retention_ns", "out_of_order_ns",      "future_ns",
    NULL,           "minutes_retention_ns", "hours_retention_ns"};

static bool read_keep_rule(vv_slice bytes, vv_keep_rule *out)
{
    wire_reader r = wire_reader_of(bytes);
    wire_field f = {0};
    bool ok = true;
    *out = (vv_keep_rule){.match = {.op = VV_MATCH_EQ}};
    while (ok && wire_next(&r, &f) > 0) {
        if (f.number == 1)
            ok = f.type == WIRE_BYTES && svc_series_read_matcher(f.bytes, &out->match);
        else if (f.number == 2)
            ok = svc_kv_take_int(&f, &out->retention_ns);
    }
    return ok && r.fault == WIRE_GOOD;
}

/* The store refuses more than it takes. */
static bool take_keep_rule(const wire_field *f, series_options *out)
{
    size_t at = out->rule_count++;
    return f->type == WIRE_BYTES &&
           (at >= ARRAY_LEN(out->rule) || read_keep_rule(f->bytes, &out->rule[at]));
}

static bool read_series_options(const wire_field *field, series_options *out)
{
    wire_reader r = wire_reader_of(field->bytes);
    wire_field f = {0};
    bool ok = field->type == WIRE_BYTES;
    out->is_given = true;
    while (ok && wire_next(&r, &f) > 0) {
        if (f.number == 4)
            ok = svc_kv_take_bool(&f, &out->no_rollups);
        else if (f.number == 7)
            ok = take_keep_rule(&f, out);
        else if (f.number <= ARRAY_LEN(out->span))
            ok = svc_kv_take_int(&f, &out->span[f.number - 1]);
    }
    return ok && r.fault == WIRE_GOOD;
}

static vv_status take_series_options(const series_options *from, vv_table_options *out,
                                     vv_error *err)
{
    if (from->is_given && out->kind != VV_TABLE_SERIES)
        return vv_fail(err, VV_INVALID, "series: the options are of tables of kind 3 (series)");
    for (size_t i = 0; i < ARRAY_LEN(from->span); i++)
        if (from->span[i] < 0)
            return vv_fail(err, VV_INVALID, "series.%s %lld: 0 or more is allowed", span_names[i],
                           (long long)from->span[i]);
    out->retention_ns = from->span[0];
    out->out_of_order_ns = from->span[1];
    out->future_ns = from->span[2];
    out->no_rollups = from->no_rollups;
    out->rollup_retention_ns[0] = from->span[4];
    out->rollup_retention_ns[1] = from->span[5];
    out->keep_rules = from->rule;
    out->keep_rule_count = from->rule_count;
    return VV_OK;
}

typedef struct stream_options {
    bool is_given;
    int64_t retention_ns;
    int64_t producer_retention_ns;
    uint64_t retention_bytes;
    uint64_t message_size_max;
    uint32_t producers_max;
    svc_admin_rule archive;
    vv_slice extract_rules; /* borrowed of the message, like the next */
    vv_slice extract_schema;
} stream_options;

static bool read_stream_options(const wire_field *field, stream_options *out)
{
    wire_reader r = wire_reader_of(field->bytes);
    wire_field f = {0};
    bool ok = field->type == WIRE_BYTES;
    out->is_given = true;
    while (ok && wire_next(&r, &f) > 0) {
        if (f.number == 1)
            ok = svc_kv_take_int(&f, &out->retention_ns);
        else if (f.number == 2)
            ok = svc_kv_take_int(&f, &out->producer_retention_ns);
        else if (f.number == 3)
            ok = svc_kv_take_uint(&f, &out->retention_bytes);
        else if (f.number == 4)
            ok = svc_kv_take_uint(&f, &out->message_size_max);
        else if (f.number == 5)
            ok = svc_kv_take_u32(&f, &out->producers_max);
        else if (f.number == 6)
            ok = svc_admin_rule_read(&f, &out->archive);
        else if (f.number == 8)
            ok = svc_kv_take_bytes(&f, &out->extract_rules);
        else if (f.number == 9)
            ok = svc_kv_take_bytes(&f, &out->extract_schema);
    }
    return ok && r.fault == WIRE_GOOD;
}

/* The store looks at their values. */
static vv_status take_stream_options(const stream_options *from, vv_table_options *out,
                                     vv_error *err)
{
    if (!from->is_given)
        return VV_OK;
    if (out->kind != VV_TABLE_STREAM)
        return vv_fail(err, VV_INVALID, "stream: the options are of tables of kind 4 (stream)");
    out->retention_ns = from->retention_ns;
    out->producer_retention_ns = from->producer_retention_ns;
    out->retention_bytes = from->retention_bytes;
    out->message_size_max = from->message_size_max;
    out->producers_max = from->producers_max;
    if (from->archive.is_given)
        out->archive = &from->archive.rule;
    if (from->extract_rules.len > 0 &&
        memchr(from->extract_rules.data, '\0', from->extract_rules.len) != NULL)
        return vv_fail(err, VV_INVALID, "stream.extract_rules: a NUL byte is no text");
    out->extract_schema = from->extract_schema;
    return VV_OK;
}

typedef struct create_request {
    svc_table_ref table;
    uint32_t kind;
    int64_t retention_ms;
    bool retention_is_set;
    bool if_not_exists;
    uint32_t compression;
    uint32_t engine;
    uint64_t value_threshold;
    uint32_t partitions;
    series_options series;
    stream_options stream;
} create_request;

static bool read_create(vv_slice message, create_request *out)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    bool ok = true;
    *out = (create_request){0};
    while (ok && wire_next(&r, &f) > 0) {
        if (f.number == 1)
            ok = svc_kv_take_table(&f, &out->table);
        else if (f.number == 2)
            ok = svc_kv_take_u32(&f, &out->kind);
        else if (f.number == 3)
            ok = svc_kv_take_int(&f, &out->retention_ms);
        else if (f.number == 4)
            ok = svc_kv_take_bool(&f, &out->retention_is_set);
        else if (f.number == 5)
            ok = svc_kv_take_bool(&f, &out->if_not_exists);
        else if (f.number == 6)
            ok = svc_kv_take_u32(&f, &out->compression);
        else if (f.number == 7)
            ok = svc_kv_take_u32(&f, &out->engine);
        else if (f.number == 8)
            ok = svc_kv_take_uint(&f, &out->value_threshold);
        else if (f.number == 9)
            ok = svc_kv_take_u32(&f, &out->partitions);
        else if (f.number == 10)
            ok = read_series_options(&f, &out->series);
        else if (f.number == 11)
            ok = read_stream_options(&f, &out->stream);
    }
    return ok && r.fault == WIRE_GOOD;
}

static vv_status table_options(const create_request *req, vv_table_options *out, vv_error *err)
{
    int64_t ms = req->retention_ms;
    *out = (vv_table_options)VV_TABLE_OPTIONS_INIT;
    if (req->kind > VV_TABLE_STREAM)
        return vv_fail(err, VV_INVALID,
                       "kind %u is none: 1 (kv), 2 (record), 3 (series) and 4 (stream) are allowed",
                       req->kind);
    if (req->kind != 0)
        out->kind = (vv_table_kind)req->kind;
    if (req->compression > VV_COMPRESSION_ZSTD)
        return vv_fail(err, VV_INVALID,
                       "compression %u is none: 1 (none), 2 (lz4) and 3 (zstd) are allowed",
                       req->compression);
    out->compression = (vv_compression)req->compression;
    if (req->engine > VV_ENGINE_ROCKSDB)
        return vv_fail(err, VV_INVALID,
                       "engine %u is none: 1 (lsm), 2 (btree) and 3 (rocksdb) are allowed",
                       req->engine);
    out->engine = (vv_engine_kind)req->engine;
    out->value_threshold = req->value_threshold;
    out->partitions = req->partitions;
    if (ms > INT64_MAX / VV_NS_PER_MS)
        return vv_fail(err, VV_INVALID, "version_retention_ms %lld is over %lld", (long long)ms,
                       (long long)(INT64_MAX / VV_NS_PER_MS));
    if (req->retention_is_set && ms >= 0)
        out->version_retention_ns = ms * VV_NS_PER_MS;
    out->if_not_exists = req->if_not_exists;
    vv_status st = take_series_options(&req->series, out, err);
    return st == VV_OK ? take_stream_options(&req->stream, out, err) : st;
}

/* The rules of a request as a text, in *out: vv_free. */
static vv_status take_rules(const create_request *req, char **out, vv_table_options *opt,
                            vv_error *err)
{
    *out = NULL;
    if (req->stream.extract_rules.len == 0)
        return VV_OK;
    *out = vv_slice_strdup(req->stream.extract_rules);
    opt->extract_rules = *out;
    return *out != NULL ? VV_OK : vv_fail(err, VV_NO_MEMORY, "no memory for the rules of a table");
}

vv_status svc_admin_create_table(admin_job *job, vv_buf *out, vv_error *err)
{
    create_request req;
    vv_table_options opt;
    gate_grant grant;
    vv_table *table = NULL;
    if (!read_create(job->msg.data, &req))
        return svc_kv_fail_malformed("CreateTableRequest", err);
    vv_status st = table_options(&req, &opt, err);
    gate_op op = {.kind = GATE_TABLE, .tenant = req.table.tenant, .table = req.table.table};
    if (st == VV_OK)
        st = svc_admin_authorize(job, &op, &grant, err);
    char *rules = NULL;
    if (st == VV_OK)
        st = take_rules(&req, &rules, &opt, err);
    if (st == VV_OK)
        st = gate_create_table(&grant, 0, &opt, &table, err);
    vv_free(rules);
    return st == VV_OK ? describe(table, out, err) : st;
}

/* Which kind a table is: it says which options there are. */
static vv_status kind_of(const gate_grant *grant, uint32_t *out, vv_error *err)
{
    vv_table *table = NULL;
    vv_status st = gate_find_table(grant, 0, VV_TABLE_KV, &table, err);
    if (st != VV_OK)
        return st;
    *out = (uint32_t)vv_table_kind_of(table);
    vv_table_close(table);
    return VV_OK;
}

vv_status svc_admin_alter_table(admin_job *job, vv_buf *out, vv_error *err)
{
    create_request req = {.kind = 0};
    vv_slice to = {0};
    vv_table_change changes = 0;
    vv_table_options opt;
    gate_grant grant;
    vv_table *table = NULL;
    vv_status st = svc_admin_read_alter(job->msg.data, &to, &changes, err);
    if (st == VV_OK && !read_create(to, &req))
        st = svc_kv_fail_malformed("AlterTableRequest", err);
    gate_op op = {.kind = GATE_TABLE, .tenant = req.table.tenant, .table = req.table.table};
    if (st == VV_OK)
        st = svc_admin_authorize(job, &op, &grant, err);
    if (st == VV_OK)
        st = kind_of(&grant, &req.kind, err);
    if (st == VV_OK)
        st = table_options(&req, &opt, err);
    char *rules = NULL;
    if (st == VV_OK)
        st = take_rules(&req, &rules, &opt, err);
    if (st == VV_OK)
        st = gate_alter_table(&grant, 0, &opt, changes, err);
    vv_free(rules);
    if (st == VV_OK)
        st = gate_find_table(&grant, 0, VV_TABLE_KV, &table, err);
    return st == VV_OK ? describe(table, out, err) : st;
}

/* The grant for the table that the message, a TableRef, names. op is borrowed by it. */
static vv_status manage(const admin_job *job, gate_op *op, gate_grant *out, vv_error *err)
{
    svc_table_ref ref = {{0}, {0}};
    if (!svc_kv_read_table(job->msg.data, &ref))
        return svc_kv_fail_malformed("TableRef", err);
    *op = (gate_op){.kind = GATE_TABLE, .tenant = ref.tenant, .table = ref.table};
    return svc_admin_authorize(job, op, out, err);
}

vv_status svc_admin_describe_table(admin_job *job, vv_buf *out, vv_error *err)
{
    gate_op op;
    gate_grant grant;
    vv_table *table = NULL;
    vv_status st = manage(job, &op, &grant, err);
    if (st == VV_OK)
        st = gate_find_table(&grant, 0, VV_TABLE_KV, &table, err);
    return st == VV_OK ? describe(table, out, err) : st;
}

vv_status svc_admin_drop_table(admin_job *job, vv_buf *out, vv_error *err)
{
    gate_op op;
    gate_grant grant;
    (void)out; /* DropTableResponse has no fields */
    vv_status st = manage(job, &op, &grant, err);
    return st == VV_OK ? gate_drop_table(&grant, 0, err) : st;
}

static int list_one(void *ctx, const vv_table_info *info)
{
    vv_buf *out = ctx;
    size_t mark = wire_begin(out, 1);
    put_info(out, info);
    wire_end(out, mark);
    return out->status != VV_OK;
}

vv_status svc_admin_list_tables(admin_job *job, vv_buf *out, vv_error *err)
{
    gate_op op = {.kind = GATE_LIST};
    gate_grant grant;
    char tenant[VV_NAME_MAX + 1];
    wire_reader r = wire_reader_of(job->msg.data);
    wire_field f = {0};
    while (wire_next(&r, &f) > 0)
        if (f.number == 1 && !svc_kv_take_bytes(&f, &op.tenant))
            return svc_kv_fail_malformed("ListTablesRequest", err);
    if (r.fault != WIRE_GOOD)
        return svc_kv_fail_malformed("ListTablesRequest", err);
    vv_status st = svc_admin_authorize(job, &op, &grant, err);
    if (st != VV_OK)
        return st;
    if (op.tenant.len > 0) /* the gate knows that it fits */
        memcpy(tenant, op.tenant.data, op.tenant.len);
    tenant[op.tenant.len] = '\0';
    return vv_table_list(gate_db(&grant), op.tenant.len > 0 ? tenant : NULL, list_one, out, err);
}

/* Begin a compaction, or look how far it is. */
vv_status svc_admin_compact_table(admin_job *job, vv_buf *out, vv_error *err)
{
    svc_table_ref ref = {{0}, {0}};
    vv_slice begin = {0};
    vv_slice end = {0};
    bool look = false;
    bool ok = true;
    wire_reader r = wire_reader_of(job->msg.data);
    wire_field f = {0};
    while (ok && wire_next(&r, &f) > 0) {
        if (f.number == 1)
            ok = svc_kv_take_table(&f, &ref);
        else if (f.number == 2)
            ok = svc_kv_take_bytes(&f, &begin);
        else if (f.number == 3)
            ok = svc_kv_take_bytes(&f, &end);
        else if (f.number == 4)
            ok = svc_kv_take_bool(&f, &look);
    }
    if (!ok || r.fault != WIRE_GOOD)
        return svc_kv_fail_malformed("CompactTableRequest", err);
    const gate_op op = {.kind = GATE_TABLE, .tenant = ref.tenant, .table = ref.table};
    gate_grant grant;
    vv_table *table = NULL;
    vv_compact_state state = {.size = sizeof state};
    vv_status st = svc_admin_authorize(job, &op, &grant, err);
    if (st == VV_OK)
        st = gate_find_table(&grant, 0, VV_TABLE_KV, &table, err);
    if (st != VV_OK)
        return st;
    if (!look)
        st = vv_compact_begin(table, begin, end, err);
    if (st == VV_OK)
        st = vv_compact_look(table, begin, end, &state, err);
    vv_table_close(table);
    wire_put_varint(out, 1, state.is_pending);
    wire_put_varint(out, 2, state.range_bytes);
    wire_put_varint(out, 3, state.read_bytes);
    return st;
}
