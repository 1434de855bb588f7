/*
 * svc_admin_int.h - shared inside varve.v1.Admin: a call on the pool, and the calls about tables.
 */
#ifndef VARVE_SERVER_SVC_ADMIN_INT_H
#define VARVE_SERVER_SVC_ADMIN_INT_H

#include "server/node.h"

typedef struct admin_job {
    node *n;
    srv_call *call; /* referenced */
    srv_message msg;
    vv_status (*answer)(struct admin_job *job, vv_buf *out, vv_error *err);
    bool sends_itself; /* answer() does: there is nothing in out */
} admin_job;

/** What the gate says of the caller and this one operation, which the grant borrows. */
VV_MUST_CHECK vv_status svc_admin_authorize(const admin_job *job, const gate_op *op,
                                            gate_grant *out, vv_error *err);

/* svc_admin_table.c: the answers, each a message of admin.proto appended to out. */
VV_MUST_CHECK vv_status svc_admin_create_table(admin_job *job, vv_buf *out, vv_error *err);
VV_MUST_CHECK vv_status svc_admin_list_tables(admin_job *job, vv_buf *out, vv_error *err);
VV_MUST_CHECK vv_status svc_admin_describe_table(admin_job *job, vv_buf *out, vv_error *err);
VV_MUST_CHECK vv_status svc_admin_alter_table(admin_job *job, vv_buf *out, vv_error *err);
VV_MUST_CHECK vv_status svc_admin_drop_table(admin_job *job, vv_buf *out, vv_error *err);
VV_MUST_CHECK vv_status svc_admin_compact_table(admin_job *job, vv_buf *out, vv_error *err);

#endif
