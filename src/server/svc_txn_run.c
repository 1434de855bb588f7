/*
 * svc_txn_run.c - Txn.Run: compare, do one of two lists, commit, in one request.
 *
 *   pool: begin serializable --> compare --> then | otherwise --> commit thread --> answer
 *            ^                                                        |
 *            +---------------- a conflict, some times ----------------+
 *
 * What was compared and read is checked at the commit, so the outcome is that of one moment. A run
 * that writes nothing read one snapshot and needs no check.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "db/db.h"
#include "server/svc_txn.h"

#define RETRIES 16u
#define OPERATIONS_MAX 10000u

static vv_status compare_all(svc_txn_ctx *c, const Varve__V1__TxnRunRequest *req, bool *all,
                             vv_error *err)
{
    vv_status st = VV_OK;
    *all = true;
    for (size_t i = 0; st == VV_OK && *all && i < req->n_compare; i++) {
        st = svc_txn_compare(c, req->compare[i], all, err);
        if (st != VV_OK)
            (void)vv_wrap(err, st, "comparison %zu", i);
    }
    return st;
}

/* One operation; its answer is field `number` of a result. */
static vv_status do_one(svc_txn_ctx *c, const Varve__V1__TxnOperation *op, vv_buf *answer,
                        uint32_t *number, vv_error *err)
{
    switch (op->operation_case) {
    case VARVE__V1__TXN_OPERATION__OPERATION_PUT:
        *number = 1;
        return svc_txn_put(c, op->put, answer, err);
    case VARVE__V1__TXN_OPERATION__OPERATION_DELETE:
        *number = 1;
        return svc_txn_delete(c, op->delete_, answer, err);
    case VARVE__V1__TXN_OPERATION__OPERATION_GET:
        *number = 2;
        return svc_txn_get(c, op->get, answer, err);
    case VARVE__V1__TXN_OPERATION__OPERATION_SCAN:
        *number = 3;
        return svc_txn_scan(c, op->scan, answer, err);
    default:
        return vv_fail(err, VV_INVALID, "it is empty: put, delete, get or scan is needed");
    }
}

static vv_status do_all(svc_txn_ctx *c, Varve__V1__TxnOperation **ops, size_t count, vv_buf *out,
                        vv_error *err)
{
    vv_status st = VV_OK;
    vv_buf answer;
    vv_buf_init(&answer, out->max);
    for (size_t i = 0; st == VV_OK && i < count; i++) {
        uint32_t number = 0;
        vv_buf_reset(&answer);
        st = do_one(c, ops[i], &answer, &number, err);
        if (st == VV_OK) {
            size_t begin = wire_begin(out, 3);
            wire_put_bytes(out, number, vv_buf_slice(&answer));
            wire_end(out, begin);
            st = answer.status != VV_OK ? answer.status : out->status;
            if (st != VV_OK)
                (void)vv_fail(err, st, "the answer has no room: ask for less");
        }
        if (st != VV_OK)
            (void)vv_wrap(err, st, "operation %zu", i);
    }
    vv_buf_fini(&answer);
    return st;
}

/* A request outlives its tries, unpacked in the job's arena. */
static const Varve__V1__TxnRunRequest *request_of(const svc_txn_job *job)
{
    return job->request_of_run;
}

static void try_again(void *arg);

/* On the commit thread, mostly. */
static void on_committed(void *ctx, vv_status st, const vv_write_result *result,
                         const vv_error *err)
{
    svc_txn_job *job = ctx;
    vv_error why = {0};
    if (err != NULL)
        why = *err;
    if (st == VV_CONFLICT && job->tries < RETRIES && srv_call_is_open(job->call) &&
        srv_pool_submit(job->n->pool, try_again, job) == VV_OK)
        return;
    if (st == VV_OK) {
        wire_put_varint(&job->out, 2, (uint64_t)result->version);
        job->durability = result->durability;
        job->tells_durability = true;
    }
    svc_txn_answer(job, st, &why);
}

static vv_status try_once(svc_txn_job *job, bool *later, vv_error *err)
{
    const Varve__V1__TxnRunRequest *req = request_of(job);
    vv_txn_options opt = VV_TXN_OPTIONS_INIT;
    vv_txn *txn = NULL;
    bool all = false;
    opt.isolation = VV_ISOLATION_SERIALIZABLE;
    *job->own = (svc_txn_session){0};
    vv_buf_reset(&job->out);
    job->tries++;
    gate_identity who = svc_identity(job->call);
    gate_grant grant;
    gate_op op = {.kind = GATE_TXN};
    vv_status st = svc_kv_durability((uint32_t)req->durability, &opt.durability, err);
    if (st == VV_OK)
        st = gate_authorize(job->n->gate, &who, &op, 1, &grant, err);
    if (st == VV_OK)
        st = vv_txn_begin(gate_db(&grant), &opt, &txn, err);
    if (st != VV_OK)
        return st;
    svc_txn_ctx c = {.n = job->n, .call = job->call, .txn = txn, .session = job->own};
    st = compare_all(&c, req, &all, err);
    if (st == VV_OK) {
        wire_put_varint(&job->out, 1, all);
        st = all ? do_all(&c, req->then, req->n_then, &job->out, err)
                 : do_all(&c, req->otherwise, req->n_otherwise, &job->out, err);
    }
    if (st != VV_OK) {
        vv_txn_abort(txn);
        return st;
    }
    *later = true;
    st = db_txn_commit_async(txn, on_committed, job, err);
    if (st != VV_OK)
        *later = false;
    return st;
}

static void try_again(void *arg)
{
    svc_txn_job *job = arg;
    vv_error err = {0};
    bool later = false;
    db_await_visible(job->n->db);
    vv_status st = try_once(job, &later, &err);
    if (!later)
        svc_txn_answer(job, st, &err);
}

vv_status svc_txn_run(svc_txn_job *job, const ProtobufCMessage *message, bool *later, vv_error *err)
{
    job->request_of_run = (const Varve__V1__TxnRunRequest *)message;
    const Varve__V1__TxnRunRequest *req = request_of(job);
    if (req->n_compare > OPERATIONS_MAX || req->n_then > OPERATIONS_MAX ||
        req->n_otherwise > OPERATIONS_MAX)
        return vv_fail(err, VV_INVALID, "a run has at most %u comparisons and operations in a list",
                       OPERATIONS_MAX);
    job->own = vv_calloc(1, sizeof *job->own);
    if (job->own == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a transaction");
    return try_once(job, later, err);
}
