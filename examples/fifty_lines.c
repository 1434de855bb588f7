/*
 * fifty_lines.c - readings of a sensor as records: atomic batches, retries that cannot write twice,
 * a snapshot, and a walk by time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <varve/varve.h>

static vv_error err;

static void must(vv_status status)
{
    if (status == VV_OK)
        return;
    fprintf(stderr, "%s: %s\n", vv_status_name(status), err.msg);
    exit(1);
}

/* A batch is atomic, and with a producer and a sequence number it can be sent again safely. */
static void write_reading(vv_db *db, vv_table *table, uint64_t sequence, const char *text)
{
    vv_batch *batch = vv_batch_create(db);
    char key[32];
    vv_record record = {.timestamp_ns = (int64_t)sequence * 1000000000, .body = vv_slice_str(text)};
    vv_write_result result;
    snprintf(key, sizeof key, "sensor-7/%06llu", (unsigned long long)sequence);
    must(vv_batch_producer(batch, vv_slice_str("sensor-7"), sequence, &err));
    must(vv_batch_put_record(batch, table, vv_slice_str(key), &record, &err));
    must(vv_write(db, batch, VV_DURABLE_SYNC, &result, &err));
    printf("%s: version %lld%s\n", key, (long long)result.version,
           result.duplicate ? ", was there already" : "");
    vv_batch_destroy(batch);
}

int main(int argc, char **argv)
{
    vv_db *db;
    vv_table *table;
    vv_snapshot *snapshot;
    vv_cursor *cursor;
    vv_record record;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    vv_cursor_options at = VV_CURSOR_OPTIONS_INIT;
    opt.kind = VV_TABLE_RECORD;
    opt.if_not_exists = true;
    must(vv_db_open(argc > 1 ? argv[1] : "fifty-lines-data", NULL, &db, &err));
    must(vv_table_create(db, "plant", "readings", &opt, &table, &err));
    write_reading(db, table, 1, "20.5");
    write_reading(db, table, 2, "20.7");
    write_reading(db, table, 2, "20.7"); /* the retry of a call whose answer was lost */
    must(vv_snapshot_create(db, &snapshot, &err));
    write_reading(db, table, 3, "21.0"); /* the snapshot does not see it */

    at.snapshot = snapshot;
    must(vv_cursor_open_by_time(table, &at, 0, INT64_MAX, &cursor, &err));
    must(vv_cursor_seek(cursor, vv_slice_str(""), &err));
    while (vv_cursor_valid(cursor)) {
        must(vv_record_parse(vv_cursor_value(cursor), &record, &err));
        printf("%lld s: %.*s\n", (long long)(record.timestamp_ns / 1000000000),
               (int)record.body.len, (const char *)record.body.data);
        must(vv_cursor_next(cursor, &err));
    }
    vv_cursor_close(cursor);
    vv_snapshot_release(snapshot);
    vv_table_close(table);
    must(vv_db_close(db, &err));
    return 0;
}
