/*
 * ingest_walk.h - the hot ingest messages read in place: views into the bytes, nothing copied.
 *
 * The walker takes what protobuf-c takes of these messages, with its meaning: unknown fields are
 * skipped, a repeated singular field has its last value, repeated messages merge, the last member
 * of a oneof replaces those before it. It refuses more: a Value nested deeper than
 * INGEST_DEPTH_MAX, a string that is not UTF-8 (other readers of the record would choke on it), a
 * field number that no proto can declare. Where protobuf-c loses a number while it merges two
 * occurrences of one message, the walker keeps it, as the protobuf specification asks.
 *
 * Nothing recurses and nothing is allocated, except to put together a message that was sent in
 * pieces, which only takes memory from the arena given.
 */
#ifndef VARVE_INGEST_INGEST_WALK_H
#define VARVE_INGEST_INGEST_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "codec/protowire.h"
#include "varve/slice.h"
#include "varve/status.h"

#define INGEST_DEPTH_MAX 64u /* google.protobuf.Value inside Value */

/* Why bytes were refused. */
typedef enum ingest_fault {
    INGEST_GOOD = WIRE_GOOD,
    INGEST_MALFORMED = WIRE_MALFORMED, /* not such a message: protobuf-c refuses it too */
    INGEST_STRICT = WIRE_STRICT, /* a field number or wire type that only protobuf-c lets pass */
    INGEST_DEEP = WIRE_OWN,      /* Value nests too deep */
    INGEST_NOT_UTF8,
    INGEST_NO_ROOM, /* the arena could not hold the pieces */
} ingest_fault;

/** The status and the words of a fault; VV_OK for INGEST_GOOD. */
vv_status ingest_fault_fail(ingest_fault fault, vv_error *err);

/* storage.SchemaID. */
typedef struct ingest_schema {
    vv_slice tenant; /* tenant_id.id */
    vv_slice name;
    int32_t version;
} ingest_schema;

/* storage.DataRecord. Slices borrow the message. */
typedef struct ingest_view {
    vv_slice raw;    /* the whole DataRecord */
    vv_slice tenant; /* id.tenant_id.id */
    vv_slice entity; /* id.entity_id.id */
    ingest_schema schema;
    int32_t nanos;
    int64_t seconds;
    vv_slice body;           /* data, when it came in one piece */
    uint32_t body_pieces;    /* otherwise how many: ingest_walk_body joins them */
    uint32_t metadata_count; /* entries, repeats included */
    uint32_t metadata_bytes; /* of all of them on the wire */
    bool has_timestamp;
    ingest_fault content; /* INGEST_DEEP or INGEST_NOT_UTF8 of this record alone */
} ingest_view;

/**
 * Read one DataRecord. A record whose bytes are well-formed but whose content is refused (too deep,
 * not UTF-8) gives INGEST_GOOD with view->content set: it is the fault of one record, while the
 * others return a fault of the whole message.
 */
ingest_fault ingest_walk_record(vv_slice raw, ingest_view *out);

/** The data of a record in one piece. *out borrows the message or the arena. */
ingest_fault ingest_walk_body(const ingest_view *view, vv_arena *arena, vv_slice *out);

/** Walk the metadata of a record that ingest_walk_record accepted; *rest starts as view->raw. */
bool ingest_walk_metadata(vv_slice *rest, vv_slice *key, vv_slice *value);

/* What the map `options` of a request says; later entries win. */
typedef struct ingest_asked {
    vv_slice durability; /* "sync", "os", "none"; data is NULL when it is not there */
    vv_slice ack;        /* "record", "batch" */
    vv_slice producer;
    vv_slice sequence;
    vv_slice unknown; /* the first name that is none of these; data is NULL when all are known */
} ingest_asked;

/* IngestRecordRequest and IngestBatchRequest. */
typedef struct ingest_request {
    vv_slice raw;
    vv_slice record; /* of IngestRecordRequest */
    uint32_t record_count;
    bool transactional;
    ingest_asked asked;
} ingest_request;

ingest_fault ingest_walk_record_request(vv_slice raw, vv_arena *arena, ingest_request *out);
ingest_fault ingest_walk_batch_request(vv_slice raw, ingest_request *out);
/** Walk the records of a batch request that was accepted; *rest starts as request->raw. */
bool ingest_walk_next_record(vv_slice *rest, vv_slice *record);

/* IngestStreamRequest. */
typedef enum ingest_stream_kind {
    INGEST_STREAM_NOTHING, /* no member is set */
    INGEST_STREAM_INIT,
    INGEST_STREAM_RECORD,
    INGEST_STREAM_COMMIT,
} ingest_stream_kind;

typedef struct ingest_stream_request {
    ingest_stream_kind kind;
    ingest_view view;   /* INGEST_STREAM_RECORD */
    ingest_asked asked; /* INGEST_STREAM_INIT, and the two below */
    vv_slice tenant;
    ingest_schema schema;
    bool force_flush; /* INGEST_STREAM_COMMIT */
} ingest_stream_request;

ingest_fault ingest_walk_stream_request(vv_slice raw, ingest_stream_request *out);

/** Check a serialized Struct: form, depth, UTF-8. */
ingest_fault ingest_check_struct(vv_slice body);

bool ingest_is_utf8(vv_slice text);

#endif
