/*
 * svc_kv_batch.c - Kv.Batch: operations on tables of one tenant, all or none, in one log entry.
 *
 * Operations are read, authorized and added one by one; nothing is written before the last one was.
 * A run of operations on one table opens it once, but each is authorized for its own keys.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "server/svc_kv.h"

#define ANSWER_MAX 64u
#define REQUIRES_MAX 10000u
#define PRODUCER_MAX 512u /* bytes; the tenant's name goes before it */

typedef enum op_kind { OP_NONE = 0, OP_PUT, OP_DELETE, OP_DELETE_RANGE, OP_REQUIRE } op_kind;

typedef struct operation {
    op_kind kind; /* the field number in Operation */
    svc_table_ref table;
    vv_slice key;   /* begin of a range */
    vv_slice value; /* of a put; end of a range */
    uint64_t ttl_ms;
    uint64_t version;
} operation;

/* Put, Delete, DeleteRange and Require differ only in their last fields. */
static bool read_inner(vv_slice message, operation *out)
{
    pb_reader r = pb_reader_of(message);
    pb_field f;
    while (pb_next(&r, &f)) {
        bool ok = true;
        if (f.number == 1)
            ok = f.wire == PB_BYTES && svc_kv_read_table(f.bytes, &out->table);
        else if (f.number == 2)
            ok = svc_kv_take_bytes(&f, &out->key);
        else if (f.number == 3 && (out->kind == OP_PUT || out->kind == OP_DELETE_RANGE))
            ok = svc_kv_take_bytes(&f, &out->value);
        else if (f.number == 3 && out->kind == OP_REQUIRE)
            ok = svc_kv_take_uint(&f, &out->version);
        else if (f.number == 4 && out->kind == OP_PUT)
            ok = svc_kv_take_uint(&f, &out->ttl_ms);
        if (!ok)
            return false;
    }
    return !r.bad;
}

/* A oneof: the last one counts, and the same one twice is merged. */
static bool read_operation(vv_slice message, operation *out)
{
    pb_reader r = pb_reader_of(message);
    pb_field f;
    *out = (operation){0};
    while (pb_next(&r, &f)) {
        if (f.number > OP_REQUIRE)
            continue;
        if (f.wire != PB_BYTES)
            return false;
        if ((uint32_t)out->kind != f.number)
            *out = (operation){.kind = (op_kind)f.number};
        if (!read_inner(f.bytes, out))
            return false;
    }
    return !r.bad;
}

/* What the operations of one batch share. */
typedef struct batch_fill {
    svc_kv_write *w;
    bool may_wait;
    vv_slice tenant; /* of the first operation */
    vv_slice name;   /* of table */
    vv_table *table; /* of the last operation */
    uint32_t requires;
    vv_slice producer;
    uint64_t sequence;
} batch_fill;

static vv_slice or_default(vv_slice name)
{
    return name.len > 0 ? name : vv_slice_str(GATE_NAME_DEFAULT);
}

static gate_op gate_op_of(const operation *op)
{
    gate_op g = {.kind = GATE_WRITE, /* a condition too: it decides what is written */
                 .tenant = op->table.tenant,
                 .table = op->table.table,
                 .key_begin = op->key};
    if (op->kind == OP_DELETE_RANGE) {
        g.key_end = op->value;
        g.to_last = op->value.len == 0;
    }
    return g;
}

/* Authorize, and have b->table be the operation's. */
static vv_status take_table(batch_fill *b, const operation *op, vv_error *err)
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
    bool creates = op->kind == OP_PUT || (op->kind == OP_REQUIRE && op->version == 0);
    return svc_kv_write_open(b->w, &g, creates, b->may_wait, &b->table, err);
}

static vv_status add(batch_fill *b, const operation *op, vv_error *err)
{
    vv_batch *batch = b->w->batch;
    int64_t expires_ns = 0;
    vv_status st = svc_kv_expiry(b->w->n, op->ttl_ms, &expires_ns, err);
    if (st != VV_OK)
        return st;
    switch (op->kind) {
    case OP_PUT:
        return vv_batch_put(batch, b->table, op->key, op->value, expires_ns, err);
    case OP_DELETE:
        return vv_batch_delete(batch, b->table, op->key, err);
    case OP_DELETE_RANGE:
        return vv_batch_delete_range(batch, b->table, op->key, op->value, err);
    case OP_REQUIRE:
        if (b->requires ++ == REQUIRES_MAX)
            return vv_fail(err, VV_INVALID, "a batch has at most %u conditions", REQUIRES_MAX);
        return vv_batch_require(batch, b->table, op->key, (int64_t)op->version, err);
    case OP_NONE:
        break;
    }
    return VV_OK;
}

static vv_status add_operation(batch_fill *b, vv_slice message, vv_error *err)
{
    operation op;
    if (!read_operation(message, &op))
        return vv_fail(err, VV_INVALID, "its bytes are not a varve.v1.Operation");
    if (op.kind == OP_NONE)
        return vv_fail(err, VV_INVALID,
                       "it is empty: put, delete, delete_range or require is needed");
    vv_slice tenant = or_default(op.table.tenant);
    if (b->tenant.len == 0)
        b->tenant = tenant;
    if (!vv_slice_eq(tenant, b->tenant))
        return vv_fail(err, VV_INVALID,
                       "it is on another tenant than the first: a batch is of one tenant");
    vv_status st = take_table(b, &op, err);
    return st == VV_OK ? add(b, &op, err) : st;
}

/* The positions of producers are one list for a shard, so the tenant goes into the name: no tenant
 * can hold up another's writes. A tenant's name has no NUL. */
static vv_status add_producer(batch_fill *b, vv_error *err)
{
    uint8_t name[VV_NAME_MAX + 1 + PRODUCER_MAX];
    vv_slice tenant = or_default(b->tenant);
    if (b->producer.len > PRODUCER_MAX)
        return vv_fail(err, VV_INVALID, "producer has %zu bytes, at most %u are allowed",
                       b->producer.len, PRODUCER_MAX);
    memcpy(name, tenant.data, tenant.len);
    name[tenant.len] = 0;
    memcpy(name + tenant.len + 1, b->producer.data, b->producer.len);
    return vv_batch_producer(b->w->batch, vv_slice_of(name, tenant.len + 1 + b->producer.len),
                             b->sequence, err);
}

static vv_status read_batch(batch_fill *b, vv_error *err)
{
    pb_reader r = pb_reader_of(b->w->msg.data);
    pb_field f;
    uint64_t durability = 0;
    size_t index = 0;
    vv_status st = VV_OK;
    while (st == VV_OK && pb_next(&r, &f)) {
        bool ok = true;
        if (f.number == 1) {
            ok = f.wire == PB_BYTES;
            if (ok)
                st = add_operation(b, f.bytes, err);
            if (st != VV_OK)
                return vv_wrap(err, st, "operation %zu", index);
            index++;
        } else if (f.number == 2) {
            ok = svc_kv_take_uint(&f, &durability);
        } else if (f.number == 3) {
            ok = svc_kv_take_bytes(&f, &b->producer);
        } else if (f.number == 4) {
            ok = svc_kv_take_uint(&f, &b->sequence);
        }
        if (!ok)
            return svc_kv_fail_malformed("BatchRequest", err);
    }
    if (r.bad)
        return svc_kv_fail_malformed("BatchRequest", err);
    return svc_kv_durability(durability, &b->w->durability, err);
}

static vv_status fill_batch(svc_kv_write *w, bool may_wait, vv_error *err)
{
    batch_fill b = {.w = w, .may_wait = may_wait};
    vv_status st = read_batch(&b, err);
    if (st == VV_OK && b.producer.len > 0)
        st = add_producer(&b, err);
    else if (st == VV_OK && b.sequence != 0)
        st = vv_fail(err, VV_INVALID, "sequence needs a producer with it");
    vv_table_close(b.table);
    return st;
}

static void answer(svc_kv_write *w, const vv_write_result *result)
{
    vv_buf out;
    vv_buf_init(&out, ANSWER_MAX);
    pb_put_varint(&out, 1, (uint64_t)result->version);
    if (result->duplicate)
        pb_put_varint(&out, 2, true);
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
