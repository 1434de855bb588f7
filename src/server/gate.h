/*
 * gate.h - the one gate: each request becomes a typed operation list, and one function authorizes it.
 *
 * Handlers cannot reach storage otherwise: a vv_table comes only out of a grant, for an operation
 * that the grant covers, and only the gate holds the store. The default is refuse. Today the one
 * identity is "anonymous on loopback", which may do everything; tokens and certificates give others.
 */
#ifndef VARVE_SERVER_GATE_H
#define VARVE_SERVER_GATE_H

#include "varve/varve.h"

typedef struct gate gate;

typedef enum gate_kind {
    GATE_READ,   /* keys in a range of one table */
    GATE_WRITE,  /* likewise */
    GATE_TABLE,  /* create, drop, describe one table */
    GATE_LIST,   /* names of tables of a tenant; an empty tenant is all tenants */
    GATE_STATUS, /* figures of the node */
    GATE_ADMIN,  /* checkpoint, drain */
    GATE_KINDS,
} gate_kind;

typedef struct gate_op {
    gate_kind kind;
    vv_slice tenant;    /* empty: "default" */
    vv_slice table;     /* empty: "default" */
    vv_slice key_begin; /* [begin, end); an empty end with a begin is that one key */
    vv_slice key_end;
} gate_op;

typedef struct gate_identity {
    bool loopback;      /* the connection came from this machine */
    vv_slice token;     /* the authorization header; empty: none */
} gate_identity;

typedef struct gate_options {
    vv_db *db;
    bool auto_create; /* a missing table is created on its first write */
} gate_options;

VV_MUST_CHECK vv_status gate_create(const gate_options *opt, gate **out, vv_error *err);
void gate_destroy(gate *g);

/* What was authorized. Lives on the caller's stack; ops are borrowed. */
typedef struct gate_grant {
    gate *gate;
    const gate_op *ops;
    size_t count;
} gate_grant;

/** VV_OK fills *out; otherwise VV_INVALID or VV_UNSUPPORTED names the refused operation, never
 * whether its table exists. */
VV_MUST_CHECK vv_status gate_authorize(gate *g, const gate_identity *who, const gate_op *ops,
                                       size_t count, gate_grant *out, vv_error *err);

/** The table of operation index. For GATE_WRITE it is created with kind when it is missing and
 * auto_create is on. VV_NOT_FOUND otherwise. Gives *out: vv_table_close. */
VV_MUST_CHECK vv_status gate_open_table(const gate_grant *grant, size_t index, vv_table_kind kind,
                                        vv_table **out, vv_error *err);

/** The store, for GATE_TABLE, GATE_LIST, GATE_STATUS and GATE_ADMIN operations and for snapshots and
 * writes of batches whose tables came out of the grant. */
vv_db *gate_db(const gate_grant *grant);

#endif
