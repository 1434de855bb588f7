/*
 * store_remote_admin.c - a server as a store: its tables, archives, state and compaction.
 *
 * Field numbers are those of proto/varve/v1/admin.proto.
 */
#include "base/error.h"
#include "store_remote.h"

static store_series_spec read_series(vv_slice m)
{
    return (store_series_spec){
        .keep_ns = (int64_t)varint_of(m, 1),
        .late_ns = (int64_t)varint_of(m, 2),
        .future_ns = (int64_t)varint_of(m, 3),
        .no_rollups = varint_of(m, 4) != 0,
        .keep_rollups_ns = {(int64_t)varint_of(m, 5), (int64_t)varint_of(m, 6)}};
}

/* The rules that a SeriesOptions tells; more than there can be are left out. */
static void read_rules(vv_slice m, char out[STORE_RULES_TEXT])
{
    vv_keep_rule rules[VV_KEEP_RULES_MAX];
    size_t count = 0;
    wire_reader at = wire_reader_of(m);
    wire_field f = {0};
    while (count < VV_KEEP_RULES_MAX && wire_next(&at, &f) > 0) {
        if (f.number != 7 || f.type != WIRE_BYTES)
            continue;
        vv_slice match = bytes_of(f.bytes, 1);
        rules[count++] =
            (vv_keep_rule){{(vv_match)varint_of(match, 2), bytes_of(match, 1), bytes_of(match, 3)},
                           (int64_t)varint_of(f.bytes, 2)};
    }
    store_rules_text(rules, count, out);
}

static void put_rule(remote *r, const vv_keep_rule *rule)
{
    size_t mark = wire_begin(&r->request, 7);
    size_t inner = wire_begin(&r->request, 1);
    wire_put_string(&r->request, 1, rule->match.name);
    wire_put_uint(&r->request, 2, (uint64_t)rule->match.op);
    wire_put_string(&r->request, 3, rule->match.value);
    wire_end(&r->request, inner);
    wire_put_int(&r->request, 2, rule->retention_ns);
    wire_end(&r->request, mark);
}

static void put_series(remote *r, const store_table_spec *table)
{
    const store_series_spec *spec = &table->series;
    size_t mark = wire_begin(&r->request, 10);
    wire_put_int(&r->request, 1, spec->keep_ns);
    wire_put_int(&r->request, 2, spec->late_ns);
    wire_put_int(&r->request, 3, spec->future_ns);
    wire_put_uint(&r->request, 4, spec->no_rollups);
    wire_put_int(&r->request, 5, spec->keep_rollups_ns[0]);
    wire_put_int(&r->request, 6, spec->keep_rollups_ns[1]);
    for (size_t i = 0; i < table->rule_count; i++)
        put_rule(r, &table->rules[i]);
    wire_end(&r->request, mark);
}

static void put_archive(remote *r, const vv_archive_rule *rule)
{
    size_t mark = wire_begin(&r->request, 6);
    wire_put_uint(&r->request, 1, rule->off);
    wire_put_uint(&r->request, 2, (uint64_t)rule->codec);
    wire_put_uint(&r->request, 3, (uint64_t)rule->also);
    wire_put_uint(&r->request, 4, rule->batch_bytes);
    wire_put_uint(&r->request, 5, rule->batch_messages);
    wire_put_int(&r->request, 6, rule->batch_age_ns);
    wire_put_int(&r->request, 7, rule->local_ns);
    wire_put_uint(&r->request, 8, rule->local_bytes);
    if (rule->key != NULL)
        wire_put_string(&r->request, 9, vv_slice_str(rule->key));
    wire_put_uint(&r->request, 10, rule->said);
    wire_end(&r->request, mark);
}

/* What an ArchiveOptions tells. */
static void read_archive(vv_slice m, char out[STORE_RULE_TEXT])
{
    char key[STORE_RULE_TEXT];
    vv_slice name = bytes_of(m, 9);
    vv_archive_rule rule = {.off = varint_of(m, 1) != 0,
                            .said = (uint32_t)varint_of(m, 10),
                            .codec = (vv_tier_codec)(varint_of(m, 2) & 0xff),
                            .also = (vv_tier_form)(varint_of(m, 3) & 0xff),
                            .batch_bytes = varint_of(m, 4),
                            .batch_messages = varint_of(m, 5),
                            .batch_age_ns = (int64_t)varint_of(m, 6),
                            .local_ns = (int64_t)varint_of(m, 7),
                            .local_bytes = varint_of(m, 8)};
    copy_text(key, sizeof key, name);
    rule.key = name.len > 0 ? key : NULL;
    store_rule_text(&rule, out);
}

static void put_stream(remote *r, const store_table_spec *spec)
{
    size_t mark = wire_begin(&r->request, 11);
    wire_put_int(&r->request, 1, spec->series.keep_ns);
    wire_put_int(&r->request, 2, spec->stream.producer_keep_ns);
    wire_put_uint(&r->request, 3, spec->stream.keep_bytes);
    wire_put_uint(&r->request, 4, spec->stream.message_max);
    wire_put_uint(&r->request, 5, spec->stream.producers_max);
    if (spec->archive != NULL)
        put_archive(r, spec->archive);
    wire_put_string(&r->request, 8, vv_slice_str(spec->extract));
    wire_put_string(&r->request, 9, spec->extract_schema);
    wire_end(&r->request, mark);
}

static void read_table(vv_slice m, store_table_info *out)
{
    vv_slice ref = bytes_of(m, 1);
    *out = (store_table_info){.kind = (int)varint_of(m, 2),
                              .id = (uint32_t)varint_of(m, 4),
                              .shard = (uint32_t)varint_of(m, 5),
                              .retention_ms = (int64_t)varint_of(m, 6),
                              .created_ms = (int64_t)varint_of(m, 7),
                              .bytes = varint_of(m, 8),
                              .compression = (int)varint_of(m, 9),
                              .value_threshold = varint_of(m, 10),
                              .partitions = (uint32_t)varint_of(m, 11),
                              .series = read_series(bytes_of(m, 12))};
    copy_text(out->tenant, sizeof out->tenant, bytes_of(ref, 1));
    copy_text(out->name, sizeof out->name, bytes_of(ref, 2));
    copy_text(out->engine, sizeof out->engine, bytes_of(m, 3));
    read_rules(bytes_of(m, 12), out->rules);
    if (out->kind == VV_TABLE_STREAM) {
        vv_slice stream = bytes_of(m, 13);
        out->series.keep_ns = (int64_t)varint_of(stream, 1);
        out->stream = (store_stream_spec){.keep_bytes = varint_of(stream, 3),
                                          .message_max = varint_of(stream, 4),
                                          .producer_keep_ns = (int64_t)varint_of(stream, 2),
                                          .producers_max = (uint32_t)varint_of(stream, 5)};
    }
    read_archive(bytes_of(bytes_of(m, 13), 6), out->archive);
    copy_text(out->extract, sizeof out->extract, bytes_of(bytes_of(m, 13), 8));
}

/* The fields of a CreateTableRequest. */
static void put_table(store *s, const char *name, const store_table_spec *spec)
{
    remote *r = remote_of(s);
    put_ref(r, 1, s->tenant, name);
    wire_put_uint(&r->request, 2, (uint64_t)spec->kind);
    wire_put_int(&r->request, 3, spec->retention_ms < 0 ? 0 : spec->retention_ms);
    wire_put_uint(&r->request, 4, spec->retention_ms >= 0);
    wire_put_uint(&r->request, 5, spec->if_not_exists);
    wire_put_uint(&r->request, 6, (uint64_t)spec->compression);
    wire_put_uint(&r->request, 7, (uint64_t)spec->engine);
    wire_put_uint(&r->request, 8, spec->value_threshold);
    wire_put_uint(&r->request, 9, spec->partitions);
    if (spec->kind == VV_TABLE_SERIES)
        put_series(r, spec);
    if (spec->kind == VV_TABLE_STREAM)
        put_stream(r, spec);
}

vv_status remote_table_create(store *s, const char *name, const store_table_spec *spec,
                              store_table_info *out, vv_error *err)
{
    remote *r = remote_of(s);
    vv_buf_reset(&r->request);
    put_table(s, name, spec);
    vv_status st = remote_unary(r, "/varve.v1.Admin/CreateTable", err);
    if (st == VV_OK)
        read_table(vv_buf_slice(&r->reply), out);
    return st;
}

/* Names of what can be changed, by the place of its bit; of retention, that of series. */
static const char *const field_names[] = {"version_retention_ms",
                                          "series.retention_ns",
                                          "series.keep_rules",
                                          "series.minutes_retention_ns",
                                          "series.hours_retention_ns",
                                          "series.future_ns",
                                          "stream.retention_bytes",
                                          "stream.message_size_max",
                                          "stream.producer_retention_ns",
                                          "stream.producers_max",
                                          "stream.archive",
                                          "stream.extract_rules"};

vv_status remote_table_alter(store *s, const char *name, const store_table_spec *spec,
                             uint64_t changes, store_table_info *out, vv_error *err)
{
    store_table_spec to = *spec;
    vv_status st = s->ops->table_describe(s, name, out, err);
    if (st != VV_OK)
        return st;
    to.kind = out->kind; /* it says which options are sent */
    remote *r = remote_of(s);
    vv_buf_reset(&r->request);
    size_t mark = wire_begin(&r->request, 1);
    put_table(s, name, &to);
    wire_end(&r->request, mark);
    for (size_t i = 0; i < ARRAY_LEN(field_names); i++) {
        const bool is_retention =
            UINT64_C(1) << i == VV_CHANGE_RETENTION && to.kind == VV_TABLE_STREAM;
        if ((changes >> i & 1) != 0)
            wire_put_string(&r->request, 2,
                            vv_slice_str(is_retention ? "stream.retention_ns" : field_names[i]));
    }
    st = remote_unary(r, "/varve.v1.Admin/AlterTable", err);
    if (st == VV_OK)
        read_table(vv_buf_slice(&r->reply), out);
    return st;
}

vv_status remote_table_list(store *s, const char *tenant,
                            int (*each)(void *ctx, const store_table_info *info), void *ctx,
                            vv_error *err)
{
    remote *r = remote_of(s);
    vv_buf_reset(&r->request);
    wire_put_string(&r->request, 1, vv_slice_str(tenant == NULL ? "" : tenant));
    vv_status st = remote_unary(r, "/varve.v1.Admin/ListTables", err);
    if (st != VV_OK)
        return st;
    wire_reader at = wire_reader_of(vv_buf_slice(&r->reply));
    wire_field f = {0};
    while (wire_next(&at, &f) > 0) {
        store_table_info info;
        if (f.number != 1 || f.type != WIRE_BYTES)
            continue;
        read_table(f.bytes, &info);
        if (each(ctx, &info) != 0)
            break;
    }
    return VV_OK;
}

vv_status remote_table_describe(store *s, const char *name, store_table_info *out, vv_error *err)
{
    remote *r = remote_of(s);
    vv_buf_reset(&r->request);
    wire_put_string(&r->request, 1, vv_slice_str(s->tenant));
    wire_put_string(&r->request, 2, vv_slice_str(name));
    vv_status st = remote_unary(r, "/varve.v1.Admin/DescribeTable", err);
    if (st == VV_OK)
        read_table(vv_buf_slice(&r->reply), out);
    return st;
}

static vv_status archive_call(store *s, const char *path, const char *name, vv_error *err)
{
    remote *r = remote_of(s);
    vv_buf_reset(&r->request);
    wire_put_string(&r->request, 1, vv_slice_str(name));
    return remote_unary(r, path, err);
}

vv_status remote_archive_create(store *s, const char *name, vv_error *err)
{
    return archive_call(s, "/varve.v1.Admin/CreateArchive", name, err);
}

vv_status remote_archive_drop(store *s, const char *name, vv_error *err)
{
    return archive_call(s, "/varve.v1.Admin/DropArchive", name, err);
}

vv_status remote_archive_list(store *s, int (*each)(void *ctx, const store_archive_info *info),
                              void *ctx, vv_error *err)
{
    remote *r = remote_of(s);
    vv_buf_reset(&r->request);
    vv_status st = remote_unary(r, "/varve.v1.Admin/ListArchives", err);
    if (st != VV_OK)
        return st;
    wire_reader at = wire_reader_of(vv_buf_slice(&r->reply));
    wire_field f = {0};
    while (wire_next(&at, &f) > 0) {
        if (f.number != 1 || f.type != WIRE_BYTES)
            continue;
        store_archive_info info = {.shard = (uint32_t)varint_of(f.bytes, 2),
                                   .version = (int64_t)varint_of(f.bytes, 3),
                                   .made_ms = (int64_t)varint_of(f.bytes, 4),
                                   .periodic = varint_of(f.bytes, 5) != 0};
        copy_text(info.name, sizeof info.name, bytes_of(f.bytes, 1));
        if (each(ctx, &info) != 0)
            break;
    }
    return VV_OK;
}

vv_status remote_archive_restore(store *s, const char *name, uint64_t *changed, vv_error *err)
{
    remote *r = remote_of(s);
    vv_buf_reset(&r->request);
    put_ref(r, 1, s->tenant, s->table);
    wire_put_string(&r->request, 2, vv_slice_str(name));
    vv_status st = remote_unary(r, "/varve.v1.Admin/RestoreArchive", err);
    if (st == VV_OK)
        *changed = varint_of(vv_buf_slice(&r->reply), 1);
    return st;
}

vv_status remote_table_drop(store *s, const char *name, vv_error *err)
{
    remote *r = remote_of(s);
    vv_buf_reset(&r->request);
    wire_put_string(&r->request, 1, vv_slice_str(s->tenant));
    wire_put_string(&r->request, 2, vv_slice_str(name));
    return remote_unary(r, "/varve.v1.Admin/DropTable", err);
}

vv_status remote_status(store *s, void (*text)(void *ctx, const char *name, vv_slice value),
                        void (*figure)(void *ctx, const char *name, double value), void *ctx,
                        vv_error *err)
{
    remote *r = remote_of(s);
    vv_buf_reset(&r->request);
    vv_status st = remote_unary(r, "/varve.v1.Admin/Status", err);
    if (st != VV_OK)
        return st;
    vv_slice reply = vv_buf_slice(&r->reply);
    vv_slice reason = bytes_of(reply, 4);
    text(ctx, "server", vv_slice_str(cli_address(r->conn)));
    text(ctx, "version", bytes_of(reply, 1));
    text(ctx, "ready", varint_of(reply, 3) != 0 ? vv_slice_str("yes") : reason);
    figure(ctx, "uptime_seconds", (double)varint_of(reply, 2) / 1000);
    wire_reader at = wire_reader_of(reply);
    wire_field f = {0};
    while (wire_next(&at, &f) > 0) {
        char name[128];
        double value = 0;
        if (f.number != 5 || f.type != WIRE_BYTES)
            continue;
        copy_text(name, sizeof name, bytes_of(f.bytes, 1));
        wire_reader pair = wire_reader_of(f.bytes);
        wire_field g = {0};
        while (wire_next(&pair, &g) > 0)
            if (g.number == 2 && g.type == WIRE_FIXED64)
                value = wire_double(g.value);
        figure(ctx, name, value);
    }
    return VV_OK;
}

vv_status remote_compact(store *s, vv_slice begin, vv_slice end, bool look, store_compaction *out,
                         vv_error *err)
{
    remote *r = remote_of(s);
    vv_buf_reset(&r->request);
    put_ref(r, 1, s->tenant, s->table);
    wire_put_bytes(&r->request, 2, begin);
    wire_put_bytes(&r->request, 3, end);
    wire_put_varint(&r->request, 4, look);
    vv_status st = remote_unary(r, "/varve.v1.Admin/CompactTable", err);
    vv_slice reply = vv_buf_slice(&r->reply);
    if (st == VV_OK)
        *out =
            (store_compaction){varint_of(reply, 1) != 0, varint_of(reply, 2), varint_of(reply, 3)};
    return st;
}
