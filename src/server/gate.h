/*
 * gate.h - the one gate: each request becomes a typed operation list, and one function authorizes
 * it.
 *
 * Handlers cannot reach storage otherwise: a vv_table comes only out of a grant, for an operation
 * that the grant covers, and only the gate holds the store. The default is refuse.
 *
 * Who may do what:
 *
 *   identity                              may do
 *   a connection from this machine        everything; an authorization header is not looked at
 *   another machine                       nothing, unless server.allow_anonymous says everything
 *   another machine, with a credential    the same: this server has no credentials to compare it
 *                                         with, and the refusal says so
 */
#ifndef VARVE_SERVER_GATE_H
#define VARVE_SERVER_GATE_H

#include "varve/varve.h"

#define GATE_NAME_DEFAULT "default" /* of a tenant or table that a request leaves empty */

typedef struct gate gate;

typedef enum gate_kind {
    GATE_READ,   /* keys in a range of one table */
    GATE_WRITE,  /* likewise */
    GATE_TABLE,  /* create, drop, describe one table */
    GATE_LIST,   /* names of tables of a tenant; an empty tenant is all tenants */
    GATE_STATUS, /* figures of the node */
    GATE_ADMIN,  /* checkpoint, drain */
    GATE_TXN,    /* begin and end transactions; what they touch is authorized by itself */
    GATE_KINDS,
} gate_kind;

typedef struct gate_op {
    gate_kind kind;
    vv_slice tenant;    /* empty: "default" */
    vv_slice table;     /* empty: "default" */
    vv_slice key_begin; /* [begin, end); an empty end with a begin is that one key */
    vv_slice key_end;
    bool to_last; /* key_end is empty and means past the last key */
} gate_op;

typedef struct gate_identity {
    bool loopback;  /* the connection came from this machine */
    vv_slice token; /* the authorization header; empty: none */
} gate_identity;

typedef struct gate_options {
    vv_db *db;
    bool auto_create;     /* a missing table is created on its first write */
    bool allow_anonymous; /* connections from other machines may do everything */
} gate_options;

VV_MUST_CHECK vv_status gate_create(const gate_options *opt, gate **out, vv_error *err);
void gate_destroy(gate *g); /* accepts NULL */

/* What was authorized. Lives on the caller's stack; ops are borrowed, and what they borrow. */
typedef struct gate_grant {
    gate *gate;
    const gate_op *ops;
    size_t count;
} gate_grant;

/** VV_OK fills *out; otherwise VV_INVALID or VV_UNSUPPORTED names the refused operation, never
 * whether its table exists. No I/O, no locks, no memory. */
VV_MUST_CHECK vv_status gate_authorize(gate *g, const gate_identity *who, const gate_op *ops,
                                       size_t count, gate_grant *out, vv_error *err);

/** The table of operation index, for keys of kind. For GATE_WRITE it is created with kind when it
 * is missing and auto_create is on, which waits for the disk. VV_NOT_FOUND otherwise. A table of
 * the other kind can be read, as bytes, and not be written: VV_INVALID. Gives *out: vv_table_close.
 */
VV_MUST_CHECK vv_status gate_open_table(const gate_grant *grant, size_t index, vv_table_kind kind,
                                        vv_table **out, vv_error *err);
/** The same without creating anything: never waits. */
VV_MUST_CHECK vv_status gate_find_table(const gate_grant *grant, size_t index, vv_table_kind kind,
                                        vv_table **out, vv_error *err);
/** Whether gate_open_table would create a table that gate_find_table did not find. */
bool gate_may_create(const gate_grant *grant, size_t index);

/** Create, alter, or drop, the table of operation index, a GATE_TABLE. As vv_table_create,
 * vv_table_alter and vv_table_drop. */
VV_MUST_CHECK vv_status gate_create_table(const gate_grant *grant, size_t index,
                                          const vv_table_options *opt, vv_table **out,
                                          vv_error *err);
VV_MUST_CHECK vv_status gate_alter_table(const gate_grant *grant, size_t index,
                                         const vv_table_options *to, vv_table_change changes,
                                         vv_error *err);
VV_MUST_CHECK vv_status gate_drop_table(const gate_grant *grant, size_t index, vv_error *err);

/** The key range that operation index covers, as a cursor takes it: [*begin, *end), an empty *end
 * for no bound. False when no key lies in it. A single key has no such range: do not ask. */
bool gate_range(const gate_grant *grant, size_t index, vv_slice *begin, vv_slice *end);

/** The store, for GATE_LIST, GATE_STATUS, GATE_ADMIN and GATE_TXN operations and for snapshots and
 * writes of batches whose tables came out of the grant. */
vv_db *gate_db(const gate_grant *grant);

#endif
