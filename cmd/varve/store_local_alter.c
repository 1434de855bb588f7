/*
 * store_local_alter.c - change what a table of a directory keeps.
 */
#include <string.h>

#include "base/util.h"
#include "store_local.h"

vv_status local_table_alter(store *s, const char *name, const store_table_spec *spec,
                            uint64_t changes, store_table_info *out, vv_error *err)
{
    vv_table_options to = VV_TABLE_OPTIONS_INIT;
    to.version_retention_ns = spec->retention_ms < 0 ? -1 : spec->retention_ms * VV_NS_PER_MS;
    to.retention_ns = spec->series.keep_ns;
    to.future_ns = spec->series.future_ns;
    memcpy(to.rollup_retention_ns, spec->series.keep_rollups_ns, sizeof to.rollup_retention_ns);
    to.keep_rules = spec->rules;
    to.keep_rule_count = spec->rule_count;
    to.retention_bytes = spec->stream.keep_bytes;
    to.message_size_max = spec->stream.message_max;
    to.producer_retention_ns = spec->stream.producer_keep_ns;
    to.producers_max = spec->stream.producers_max;
    to.archive = spec->archive;
    to.extract_rules = spec->extract;
    to.extract_schema = spec->extract_schema;
    vv_status st = vv_table_alter(local_of(s)->db, s->tenant, name, &to, changes, err);
    return st == VV_OK ? s->ops->table_describe(s, name, out, err) : st;
}
