/*
 * svc_kv_cas.c - Kv.CompareAndSwap without a thread that waits.
 *
 *   loop: read the visible value -- differs --> answer: not swapped, current
 *           | (on the pool when it is in a file)
 *           | is as expected
 *         put, provided the key is still at the version that was read
 *           | commit thread
 *         written --> answer: swapped         somebody was faster --> begin anew, on the loop
 *
 * What was read is durable, so a "not swapped" never rests on a write that may yet be lost. What
 * the put is judged against includes writes that are on their way, so no update is lost either.
 */
#include "base/error.h"
#include "base/util.h"
#include "server/svc_kv.h"

#define RETRIES 64u
#define ANSWER_HEAD_MAX 64u

/* The answer of a comparison that failed; value NULL: the key is absent. */
static void answer_current(svc_kv_write *w, const vv_value *value)
{
    vv_buf out;
    size_t len = ANSWER_HEAD_MAX + (value == NULL ? 0 : value->data.len);
    vv_buf_init(&out, len);
    w->is_settled = true;
    if (value != NULL && vv_buf_reserve(&out, len) != NULL) {
        wire_put_varint(&out, 2, (uint64_t)value->version);
        wire_put_varint(&out, 3, true);
        wire_put_bytes(&out, 4, value->data);
    }
    if (out.status == VV_OK)
        srv_call_send(w->call, &out);
    srv_call_finish(w->call, out.status,
                    out.status == VV_OK ? NULL : "no memory for the current value");
    vv_buf_fini(&out);
}

/* Compare; on a match *version is what the put requires (0: absent), else the call is settled. */
static vv_status compare(svc_kv_write *w, const svc_kv_cas *req, vv_table *table, bool may_wait,
                         int64_t *version, vv_error *err)
{
    vv_value value = {0};
    vv_status st = svc_read_value(table, 0, req->key, may_wait, &value, &w->would_wait, err);
    if (st != VV_OK && st != VV_NOT_FOUND)
        return st;
    bool found = st == VV_OK;
    *version = found ? value.version : 0;
    bool match = found
                     ? req->expectation == SVC_KV_EXPECTED && vv_slice_eq(value.data, req->expected)
                     : req->absent;
    if (!match)
        answer_current(w, found ? &value : NULL);
    if (found)
        vv_value_release(&value);
    return VV_OK;
}

static vv_status fill_cas(svc_kv_write *w, bool may_wait, vv_error *err)
{
    svc_kv_cas req;
    int64_t expires_ns = 0;
    int64_t version = 0;
    vv_table *table = NULL;
    if (!svc_kv_read_cas(w->msg.data, &req))
        return svc_kv_fail_malformed("CompareAndSwapRequest", err);
    if (!req.absent && req.expectation != SVC_KV_EXPECTED)
        return vv_fail(err, VV_INVALID, "expectation: set absent to true, or expected");
    vv_status st = svc_kv_durability(req.durability, &w->durability, err);
    if (st == VV_OK)
        st = svc_kv_expiry(w->n, req.ttl_ms, &expires_ns, err);
    gate_op op = {.kind = GATE_WRITE,
                  .tenant = req.table.tenant,
                  .table = req.table.table,
                  .key_begin = req.key};
    if (st == VV_OK)
        st = svc_kv_write_open(w, &op, req.absent, may_wait, &table, err);
    if (st != VV_OK)
        return st;
    /* The put comes first: a bad key or value is told before anything is compared. */
    st = vv_batch_put(w->batch, table, req.key, req.value, expires_ns, err);
    if (st == VV_OK)
        st = compare(w, &req, table, may_wait, &version, err);
    if (st == VV_OK && !w->is_settled)
        st = vv_batch_require(w->batch, table, req.key, version, err);
    vv_table_close(table);
    return st;
}

static void answer_swapped(svc_kv_write *w, const vv_write_result *result)
{
    vv_buf out;
    vv_buf_init(&out, ANSWER_HEAD_MAX);
    wire_put_varint(&out, 1, true);
    wire_put_varint(&out, 2, (uint64_t)result->version);
    svc_kv_answer(w->call, result->durability, &out);
}

static void refuse(srv_call *call, vv_status st, const char *message)
{
    if (st == VV_CONFLICT)
        message = "the key changed each time it was compared: retry after a pause";
    srv_call_finish(call, st, message);
}

void svc_kv_cas_message(srv_call *call, srv_message msg)
{
    static const svc_kv_write_ops ops = {.fill = fill_cas,
                                         .answer = answer_swapped,
                                         .refuse = refuse,
                                         .retries = RETRIES,
                                         .keeps_message = true};
    svc_kv_write_begin(call, msg, &ops);
}
