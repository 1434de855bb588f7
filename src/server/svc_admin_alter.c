/*
 * svc_admin_alter.c - AlterTableRequest: which fields of a table it names. Their values stand in a
 * CreateTableRequest, under the names that they have there.
 */
#include "server/svc_admin_alter.h"

#include "base/error.h"
#include "base/util.h"
#include "codec/protowire.h"
#include "server/svc_kv.h"

static const struct {
    const char *name;
    vv_table_change bit;
} fields[] = {
    {"version_retention_ms", VV_CHANGE_VERSION_RETENTION},
    {"series.retention_ns", VV_CHANGE_RETENTION},
    {"series.future_ns", VV_CHANGE_FUTURE},
    {"series.minutes_retention_ns", VV_CHANGE_ROLLUP_MINUTES},
    {"series.hours_retention_ns", VV_CHANGE_ROLLUP_HOURS},
    {"series.keep_rules", VV_CHANGE_KEEP_RULES},
    {"stream.retention_ns", VV_CHANGE_RETENTION},
    {"stream.retention_bytes", VV_CHANGE_RETENTION_BYTES},
    {"stream.message_size_max", VV_CHANGE_MESSAGE_SIZE},
    {"stream.producer_retention_ns", VV_CHANGE_PRODUCER_RETENTION},
    {"stream.producers_max", VV_CHANGE_PRODUCERS},
    {"stream.archive", VV_CHANGE_ARCHIVE},
    {"stream.extract_rules", VV_CHANGE_EXTRACT},
    {"kind", VV_CHANGE_KIND},
    {"engine", VV_CHANGE_ENGINE},
    {"partitions", VV_CHANGE_PARTITIONS},
    {"compression", VV_CHANGE_COMPRESSION},
    {"value_threshold", VV_CHANGE_VALUE_THRESHOLD},
    {"series.out_of_order_ns", VV_CHANGE_OUT_OF_ORDER},
    {"series.no_rollups", VV_CHANGE_NO_ROLLUPS},
};

static vv_status take_name(vv_slice name, vv_table_change *out, vv_error *err)
{
    const char *names[ARRAY_LEN(fields) + 1] = {NULL};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        names[i] = fields[i].name;
        if (vv_slice_eq(name, vv_slice_str(names[i]))) {
            *out |= fields[i].bit;
            return VV_OK;
        }
    }
    return vv_fail(err, VV_INVALID, "fields: '%.*s' is none of a table; did you mean '%s'?",
                   (int)vv_min_u64(name.len, 60), (const char *)name.data,
                   svc_nearest(name, names, NULL));
}

vv_status svc_admin_read_alter(vv_slice message, vv_slice *table, vv_table_change *changes,
                               vv_error *err)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    vv_status st = VV_OK;
    bool ok = true;
    *table = (vv_slice){0};
    *changes = 0;
    while (ok && st == VV_OK && wire_next(&r, &f) > 0) {
        if (f.number == 1) {
            ok = svc_kv_take_bytes(&f, table);
        } else if (f.number == 2) {
            vv_slice name = {0};
            ok = svc_kv_take_bytes(&f, &name);
            st = ok ? take_name(name, changes, err) : VV_OK;
        }
    }
    if (!ok || r.fault != WIRE_GOOD)
        return svc_kv_fail_malformed("AlterTableRequest", err);
    return st;
}
