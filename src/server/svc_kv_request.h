/*
 * svc_kv_request.h - the requests of varve.v1.Kv, read field by field where they lie.
 *
 * What a reader gives borrows from the message. It takes what protobuf takes: fields in any order,
 * the last of a singular one, unknown ones skipped, messages in pieces merged; numbers are cut to
 * their type. A known field of another wire type is malformed, as protobuf-c has it. Checked
 * against protobuf-c by fuzz/fuzz_kv.c.
 */
#ifndef VARVE_SERVER_SVC_KV_REQUEST_H
#define VARVE_SERVER_SVC_KV_REQUEST_H

#include "codec/protowire.h"

typedef struct svc_table_ref {
    vv_slice tenant; /* empty: "default" */
    vv_slice table;  /* likewise */
} svc_table_ref;

typedef struct svc_kv_put {
    svc_table_ref table;
    vv_slice key;
    vv_slice value;
    uint64_t ttl_ms;
    uint32_t durability;
} svc_kv_put;

typedef struct svc_kv_get {
    svc_table_ref table;
    vv_slice key;
    int64_t version;
    vv_slice archive; /* empty: none */
    int64_t as_of_ms;
} svc_kv_get;

typedef struct svc_kv_many {
    wire_reader rest; /* for svc_kv_next_key */
    svc_table_ref table;
    size_t key_count;
    int64_t version;
    uint32_t answer_bytes;
    vv_slice archive; /* empty: none */
    int64_t as_of_ms;
} svc_kv_many;

typedef struct svc_kv_merge {
    svc_table_ref table;
    vv_slice key;
    uint32_t op; /* vv_operator, not checked */
    vv_slice operand;
    uint64_t ttl_ms;
    uint32_t durability;
} svc_kv_merge;

typedef struct svc_kv_delete {
    svc_table_ref table;
    vv_slice key;
    vv_slice range_end;
    uint32_t durability;
} svc_kv_delete;

typedef enum svc_kv_expectation {
    SVC_KV_NONE = 0, /* the values are field numbers */
    SVC_KV_ABSENT = 3,
    SVC_KV_EXPECTED = 4,
} svc_kv_expectation;

typedef struct svc_kv_cas {
    svc_table_ref table;
    vv_slice key;
    svc_kv_expectation expectation;
    bool absent;       /* of SVC_KV_ABSENT */
    vv_slice expected; /* of SVC_KV_EXPECTED */
    vv_slice value;
    uint64_t ttl_ms;
    uint32_t durability;
} svc_kv_cas;

typedef struct svc_kv_scan {
    svc_table_ref table;
    vv_slice begin;
    vv_slice end;
    vv_slice prefix;
    bool is_reverse;
    bool keys_only;
    uint64_t limit;
    int64_t version;
    uint32_t page_bytes;
    vv_slice archive; /* empty: none */
    int64_t as_of_ms;
} svc_kv_scan;

typedef enum svc_kv_op_kind {
    SVC_KV_OP_NONE = 0, /* the values are field numbers */
    SVC_KV_OP_PUT = 1,
    SVC_KV_OP_DELETE = 2,
    SVC_KV_OP_DELETE_RANGE = 3,
    SVC_KV_OP_REQUIRE = 4,
    SVC_KV_OP_MERGE = 5,
} svc_kv_op_kind;

typedef struct svc_kv_op {
    svc_kv_op_kind kind;
    svc_table_ref table;
    vv_slice key;   /* begin of a range */
    vv_slice value; /* of a put; end of a range; operand of a merge */
    uint32_t op;    /* of a merge: vv_operator, not checked */
    uint64_t ttl_ms;
    int64_t version;
} svc_kv_op;

typedef struct svc_kv_batch {
    wire_reader rest; /* for svc_kv_next_op */
    uint32_t durability;
    vv_slice producer;
    uint64_t sequence;
} svc_kv_batch;

/* False: the bytes are no such message. */
bool svc_kv_read_table(vv_slice message, svc_table_ref *out);
bool svc_kv_read_put(vv_slice message, svc_kv_put *out);
bool svc_kv_read_get(vv_slice message, svc_kv_get *out);
/** All but the keys, which svc_kv_next_key gives. */
bool svc_kv_read_many(vv_slice message, svc_kv_many *out);
bool svc_kv_next_key(svc_kv_many *many, vv_slice *out);
bool svc_kv_read_merge(vv_slice message, svc_kv_merge *out);
bool svc_kv_read_delete(vv_slice message, svc_kv_delete *out);
bool svc_kv_read_cas(vv_slice message, svc_kv_cas *out);
bool svc_kv_read_scan(vv_slice message, svc_kv_scan *out);
/** All but the operations, whose bytes are not looked into yet. */
bool svc_kv_read_batch(vv_slice message, svc_kv_batch *out);
/** 1: *out is the next operation; 0: there are no more; -1: it is malformed. */
int svc_kv_next_op(svc_kv_batch *batch, svc_kv_op *out);

/* Pieces, for requests like these. False: another wire type. */
bool svc_kv_take_table(const wire_field *f, svc_table_ref *out);
bool svc_kv_take_bytes(const wire_field *f, vv_slice *out);
bool svc_kv_take_uint(const wire_field *f, uint64_t *out);
bool svc_kv_take_u32(const wire_field *f, uint32_t *out);
bool svc_kv_take_int(const wire_field *f, int64_t *out);
bool svc_kv_take_bool(const wire_field *f, bool *out);

#endif
