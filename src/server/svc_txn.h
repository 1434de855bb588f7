/*
 * svc_txn.h - what the files of varve.v1.Txn share: open transactions, and a request on its way.
 *
 *   loop: message --> job on the pool: acquire the session, authorize, do it, give it back, answer
 *                                       |
 *                      Commit, Run: vv_txn commits on the commit thread, which answers
 *
 * A session is used by one request at a time; whoever has acquired it may touch its transaction.
 * gRPC and HTTP differ only in how a request is read and an answer is written.
 */
#ifndef VARVE_SERVER_SVC_TXN_H
#define VARVE_SERVER_SVC_TXN_H

#include "base/arena.h"
#include "codec/protowire.h"
#include "server/node.h"
#include "server/svc_kv.h"
#include "varve/v1/txn.pb-c.h"

#define SVC_TXN_TABLES_MAX 16u /* that one transaction may write to over the network */

/* ---- svc_txn_session.c ---- */

typedef struct svc_txn_session svc_txn_session;

struct svc_txn_session {
    vv_txn *txn;
    bool from_loopback; /* who began it; another may not use it */
    uint64_t token_hash;
    uint64_t connection;
    int64_t idle_ns;
    char tenant[VV_NAME_MAX + 1]; /* of the first table; empty: none yet */
    char written[SVC_TXN_TABLES_MAX][VV_NAME_MAX + 1];
    uint32_t written_count;
};

/** Room for one more of this connection: VV_BUSY names the limit. Gives an acquired session without
 * a transaction yet, and its name. */
VV_MUST_CHECK vv_status svc_txn_session_create(node *n, srv_call *call, int64_t idle_ns,
                                               svc_txn_session **out, vv_buf *name, vv_error *err);
/** The session of a name. VV_NOT_FOUND when it is over or never was, or another began it; VV_BUSY
 * while another request uses it. */
VV_MUST_CHECK vv_status svc_txn_session_acquire(node *n, const srv_call *call, const char *name,
                                                svc_txn_session **out, vv_error *err);
/** Give it back; its idle time begins anew. */
void svc_txn_session_release(node *n, svc_txn_session *s);
/** It is over; its transaction has ended or is aborted here. Acquired. */
void svc_txn_session_end(node *n, svc_txn_session *s);
/** A job of the pool, or an answer of the commit thread, begins and ends: svc_txn_stop waits.
 * False: the node stops. */
bool svc_txn_enter(node *n);
void svc_txn_leave(node *n);

/* ---- svc_txn_op.c ---- */

/* What the operations of one request share. */
typedef struct svc_txn_ctx {
    node *n;
    srv_call *call;
    vv_txn *txn;
    svc_txn_session *session; /* tenant and tables */
} svc_txn_ctx;

/* Each appends its answer's bytes to out. */
vv_status svc_txn_get(svc_txn_ctx *c, const Varve__V1__TxnGetRequest *req, vv_buf *out,
                      vv_error *err);
vv_status svc_txn_put(svc_txn_ctx *c, const Varve__V1__TxnPutRequest *req, vv_buf *out,
                      vv_error *err);
vv_status svc_txn_delete(svc_txn_ctx *c, const Varve__V1__TxnDeleteRequest *req, vv_buf *out,
                         vv_error *err);
vv_status svc_txn_scan(svc_txn_ctx *c, const Varve__V1__TxnScanRequest *req, vv_buf *out,
                       vv_error *err);
/** Does the comparison hold? */
vv_status svc_txn_compare(svc_txn_ctx *c, const Varve__V1__TxnCompare *req, bool *holds,
                          vv_error *err);
/** Whoever commits must be allowed to write every table that the transaction wrote to. */
vv_status svc_txn_authorize_commit(svc_txn_ctx *c, vv_error *err);

/* ---- svc_txn_unpack.c ---- */

/* Memory of one unpacked request. It does not move once initialised. */
typedef struct svc_txn_unpacked {
    vv_arena arena;
    ProtobufCAllocator allocator;
    bool refused; /* the arena had no room */
} svc_txn_unpacked;

/** Allocates nothing. */
void svc_txn_unpacked_init(svc_txn_unpacked *u);
void svc_txn_unpacked_fini(svc_txn_unpacked *u);
/** *out lives as long as u. VV_INVALID: the bytes are no such message; VV_BUSY: it would take more
 * memory than a request may. Copies, so bytes may go afterwards. */
VV_MUST_CHECK vv_status svc_txn_unpack(svc_txn_unpacked *u, const ProtobufCMessageDescriptor *desc,
                                       vv_slice bytes, ProtobufCMessage **out, vv_error *err);

/* ---- svc_txn.c ---- */

typedef struct svc_txn_job svc_txn_job;

typedef struct svc_txn_method {
    const char *name; /* of the service and, lower-case, of the path */
    const ProtobufCMessageDescriptor *request;
    const ProtobufCMessageDescriptor *response;
    uint32_t message_max; /* 0: the server's */
    /* On the pool. VV_OK and *later: it answers itself, by svc_txn_answer. */
    vv_status (*run)(svc_txn_job *job, const ProtobufCMessage *req, bool *later, vv_error *err);
} svc_txn_method;

struct svc_txn_job {
    node *n;
    srv_call *call; /* referenced */
    const svc_txn_method *method;
    bool is_http;
    bool has_msg;
    srv_message msg;
    svc_txn_unpacked arena;                         /* the request */
    vv_buf out;                                     /* the answer's bytes */
    svc_txn_session *session;                       /* of a commit on its way */
    svc_txn_session *own;                           /* of Run: one of its own, on no list */
    const Varve__V1__TxnRunRequest *request_of_run; /* in the arena */
    vv_durability durability;                       /* given */
    bool tells_durability;
    uint32_t tries;
};

/** Answer and end the job. Any thread. */
void svc_txn_answer(svc_txn_job *job, vv_status st, const vv_error *err);

/* ---- svc_txn_run.c ---- */

vv_status svc_txn_run(svc_txn_job *job, const ProtobufCMessage *req, bool *later, vv_error *err);

#endif
