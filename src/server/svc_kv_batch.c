/*
 * svc_kv_batch.c - Kv.Batch: operations on tables of one tenant, all or none, in one log entry.
 *
 * Operations are read, authorized and added one by one; nothing is written before the last one was.
 * A run of operations on one table opens it once, but each is authorized for its own keys.
 */
#include "base/error.h"
#include "base/util.h"
#include "server/svc_kv.h"

#define ANSWER_MAX 64u
#define REQUIRES_MAX 10000u
#define PRODUCER_MAX 512u /* bytes; the tenant's name goes before it */

/* What the operations of one batch share. */
typedef struct batch_fill {
    svc_kv_write *w;
    bool may_wait;
    vv_slice tenant; /* of the first operation */
    vv_slice name;   /* of table */
    vv_table *table; /* of the last operation */
    uint32_t requires;
} batch_fill;

static vv_slice or_default(vv_slice name)
{
    return name.len > 0 ? name : vv_slice_str(GATE_NAME_DEFAULT);
}

static gate_op gate_op_of(const svc_kv_op *op)
{
    gate_op g = {.kind = GATE_WRITE, /* a condition too: it decides what is written */
                 .tenant = op->table.tenant,
                 .table = op->table.table,
                 .key_begin = op->key};
    if (op->kind == SVC_KV_OP_DELETE_RANGE) {
        g.key_end = op->value;
        g.to_last = op->value.len == 0;
    }
    return g;
}

/* Authorize, and have b->table be the operation's. */
static vv_status take_table(batch_fill *b, const svc_kv_op *op, vv_error *err)
{
    gate_op g = gate_op_of(op);
    vv_slice name = or_default(op->table.table);
    if (b->table != NULL && vv_slice_eq(name, b->name)) {
        gate_identity who = svc_identity(b->w->call);
        gate_grant grant;
        return gate_authorize(b->w->n->gate, &who, &g, 1, &grant, err);
    }
    vv_table_close(b->table);
    b->table = NULL;
    b->name = name;
    bool creates = op->kind == SVC_KV_OP_PUT || op->kind == SVC_KV_OP_MERGE ||
                   (op->kind == SVC_KV_OP_REQUIRE && op->version == 0);
    return svc_kv_write_open(b->w, &g, creates, b->may_wait, &b->table, err);
}

static vv_status add(batch_fill *b, const svc_kv_op *op, vv_error *err)
{
    vv_batch *batch = b->w->batch;
    int64_t expires_ns = 0;
    vv_status st = svc_kv_expiry(b->w->n, op->ttl_ms, &expires_ns, err);
    if (st != VV_OK)
        return st;
    switch (op->kind) {
    case SVC_KV_OP_PUT:
        return vv_batch_put(batch, b->table, op->key, op->value, expires_ns, err);
    case SVC_KV_OP_DELETE:
        return vv_batch_delete(batch, b->table, op->key, err);
    case SVC_KV_OP_DELETE_RANGE:
        return vv_batch_delete_range(batch, b->table, op->key, op->value, err);
    case SVC_KV_OP_REQUIRE:
        if (b->requires ++ == REQUIRES_MAX)
            return vv_fail(err, VV_INVALID, "a batch has at most %u conditions", REQUIRES_MAX);
        return vv_batch_require(batch, b->table, op->key, op->version, err);
    case SVC_KV_OP_MERGE:
        return svc_kv_add_merge(batch, b->table, op->key, op->op, op->value, expires_ns, err);
    case SVC_KV_OP_NONE:
        break;
    }
    return VV_OK;
}

static vv_status add_operation(batch_fill *b, const svc_kv_op *op, vv_error *err)
{
    if (op->kind == SVC_KV_OP_NONE)
        return vv_fail(err, VV_INVALID,
                       "it is empty: put, delete, delete_range, merge or require is needed");
    vv_slice tenant = or_default(op->table.tenant);
    if (b->tenant.len == 0)
        b->tenant = tenant;
    if (!vv_slice_eq(tenant, b->tenant))
        return vv_fail(err, VV_INVALID,
                       "it is on another tenant than the first: a batch is of one tenant");
    vv_status st = take_table(b, op, err);
    return st == VV_OK ? add(b, op, err) : st;
}

static vv_status add_operations(batch_fill *b, svc_kv_batch *req, vv_error *err)
{
    svc_kv_op op;
    vv_status st = VV_OK;
    int more;
    for (size_t index = 0; st == VV_OK && (more = svc_kv_next_op(req, &op)) != 0; index++) {
        st = more > 0 ? add_operation(b, &op, err)
                      : vv_fail(err, VV_INVALID, "its bytes are not a varve.v1.Operation");
        if (st != VV_OK)
            st = vv_wrap(err, st, "operation %zu", index);
    }
    return st;
}

/* The positions of producers are one list for a shard, so the tenant goes into the name: no tenant
 * can hold up another's writes. A tenant's name has no NUL. */
static vv_status add_producer(const batch_fill *b, const svc_kv_batch *req, vv_error *err)
{
    uint8_t name[VV_NAME_MAX + 1 + PRODUCER_MAX];
    vv_slice tenant = or_default(b->tenant);
    if (req->producer.len > PRODUCER_MAX)
        return vv_fail(err, VV_INVALID, "producer has %zu bytes, at most %u are allowed",
                       req->producer.len, PRODUCER_MAX);
    memcpy(name, tenant.data, tenant.len);
    name[tenant.len] = 0;
    memcpy(name + tenant.len + 1, req->producer.data, req->producer.len);
    return vv_batch_producer(b->w->batch, vv_slice_of(name, tenant.len + 1 + req->producer.len),
                             req->sequence, err);
}

static vv_status fill_batch(svc_kv_write *w, bool may_wait, vv_error *err)
{
    batch_fill b = {.w = w, .may_wait = may_wait};
    svc_kv_batch req;
    if (!svc_kv_read_batch(w->msg.data, &req))
        return svc_kv_fail_malformed("BatchRequest", err);
    vv_status st = svc_kv_durability(req.durability, &w->durability, err);
    if (st == VV_OK && req.producer.len == 0 && req.sequence != 0)
        st = vv_fail(err, VV_INVALID, "sequence needs a producer with it");
    if (st == VV_OK)
        st = add_operations(&b, &req, err);
    if (st == VV_OK && req.producer.len > 0)
        st = add_producer(&b, &req, err);
    vv_table_close(b.table);
    return st;
}

static void answer(svc_kv_write *w, const vv_write_result *result)
{
    vv_buf out;
    vv_buf_init(&out, ANSWER_MAX);
    wire_put_varint(&out, 1, (uint64_t)result->version);
    if (result->duplicate)
        wire_put_varint(&out, 2, true);
    svc_kv_answer(w->call, result->durability, &out);
}

static void refuse(srv_call *call, vv_status st, const char *message)
{
    srv_call_finish(call, st, message);
}

void svc_kv_batch_message(srv_call *call, srv_message msg)
{
    static const svc_kv_write_ops ops = {.fill = fill_batch, .answer = answer, .refuse = refuse};
    svc_kv_write_begin(call, msg, &ops);
}
