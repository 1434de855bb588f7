/*
 * record.h - typed records: what a record table stores under a key. Bytes: docs/format/record.md.
 *
 *   u8 format (1) | u8 body format | varint schema id | varint schema version | i64 timestamp_ns |
 *   varint metadata count | metadata pairs (varint length, bytes) | body to the end
 *
 * Body format 0 is a serialized google.protobuf.Struct, kept as it came and parsed only when a
 * filter needs it. A record table also keeps an index by timestamp, written in the same batch.
 */
#ifndef VARVE_RECORD_H
#define VARVE_RECORD_H

#include "varve/db.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vv_record {
    uint32_t schema_id; /* 0: none */
    uint32_t schema_version;
    int64_t timestamp_ns; /* event time since 1970; negative is allowed */
    vv_slice metadata;    /* encoded pairs, walked with vv_record_metadata_next; may be empty */
    uint32_t metadata_count;
    uint8_t body_format; /* 0: raw protobuf Struct */
    vv_slice body;
} vv_record;

/** Append one metadata pair to an encoded list at *len of out (cap bytes); false when it is full.
 */
VV_API bool vv_record_metadata_add(uint8_t *out, size_t cap, size_t *len, vv_slice key,
                                   vv_slice value);
/** Walk: *rest starts as record->metadata. False at the end or on malformed bytes. */
VV_API bool vv_record_metadata_next(vv_slice *rest, vv_slice *key, vv_slice *value);

/** Add a put of a record and of its place in the time index. As vv_batch_put otherwise;
 * VV_INVALID when the table is not of kind VV_TABLE_RECORD. */
VV_API VV_MUST_CHECK vv_status vv_batch_put_record(vv_batch *batch, vv_table *table, vv_slice key,
                                                   const vv_record *record, vv_error *err);

/** Parse a stored value. Borrows it. VV_CORRUPT when it is none; VV_UNSUPPORTED for a newer format.
 */
VV_API VV_MUST_CHECK vv_status vv_record_parse(vv_slice stored, vv_record *out, vv_error *err);

/**
 * A cursor over a record table in order of (timestamp, key), for start_ns <= timestamp < end_ns.
 * Keys and values are those of the records. Only vv_cursor_seek with an empty key and
 * vv_cursor_next move it (and seek_below with an empty key, and prev, for newest first).
 * opt: snapshot and version are honoured, bounds and prefix must be empty.
 */
VV_API VV_MUST_CHECK vv_status vv_cursor_open_by_time(vv_table *table, const vv_cursor_options *opt,
                                                      int64_t start_ns, int64_t end_ns,
                                                      vv_cursor **out, vv_error *err);

#ifdef __cplusplus
}
#endif

#endif
