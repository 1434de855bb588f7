/*
 * query_row.c - rows and figures as wire bytes: storage.DataRecord, storage.QueryStats.
 */
#include "query/query_int.h"

vv_status query_row_read(vv_slice key, vv_slice stored, int64_t version, const vv_slice *columns,
                         size_t column_count, vv_arena *arena, vv_buf *scratch, query_row *out,
                         vv_error *err)
{
    row_view view = {.key = key, .version = version};
    projection p;
    vv_status st = vv_record_parse(stored, &view.record, err);
    if (st == VV_OK)
        st = projection_compile(columns, column_count, ROWS_RECORDS, arena, &p, err);
    if (st == VV_OK)
        st = projection_apply(&p, &view, scratch, out, err);
    return st;
}

/* TenantID and EntityID have one shape: string id = 1. */
static void put_id(vv_buf *out, uint32_t number, vv_slice id)
{
    size_t begin = wire_begin(out, number);
    wire_put_text(out, 1, id);
    wire_end(out, begin);
}

void query_row_put(vv_buf *out, vv_slice tenant, vv_slice table, const query_row *row)
{
    size_t begin = wire_begin(out, 1); /* RecordID id */
    put_id(out, 1, tenant);
    put_id(out, 2, row->key);
    wire_put_int(out, 3, row->version);
    wire_end(out, begin);
    wire_put_bytes(out, 2, row->body); /* Struct data */
    begin = wire_begin(out, 3);        /* SchemaID schema */
    put_id(out, 1, tenant);
    wire_put_string(out, 2, table);
    wire_put_uint(out, 3, row->schema_version);
    wire_end(out, begin);
    wire_put_time(out, 4, row->timestamp_ns);
    wire_put_int(out, 5, row->version);
    vv_slice rest = row->metadata;
    vv_slice key;
    vv_slice value;
    while (vv_record_metadata_next(&rest, &key, &value)) {
        begin = wire_begin(out, 6);
        wire_put_text(out, 1, key);
        wire_put_text(out, 2, value);
        wire_end(out, begin);
    }
}

void query_stats_put(vv_buf *out, const query_stats *stats)
{
    wire_put_uint(out, 1, stats->scanned_rows);
    wire_put_uint(out, 2, stats->filtered_rows);
    wire_put_uint(out, 3, stats->returned_rows);
    wire_put_uint(out, 4, stats->scanned_bytes);
    wire_put_double(out, 5, (double)stats->execution_ns / 1e6);
    wire_put_double(out, 6, (double)stats->planning_ns / 1e6);
    wire_put_uint(out, 8, 1); /* partitions: a table lies on one shard */
    wire_put_uint(out, 9, stats->index[0] != 0);
    wire_put_string(out, 10, vv_slice_str(stats->index));
}
