/*
 * svc_kv.c - varve.v1.Kv: its methods, the parts of their requests, Get, and the plain writes.
 *
 * Requests are read field by field where they lie: no message is unpacked, and a Put copies its
 * value once, into the log entry it becomes. A Get is answered on the loop that received it while
 * memory has what it needs (svc_read.h).
 *
 * A write creates its missing table while ingest.auto_create is on; a delete never does.
 */
#include "server/svc_kv.h"

#include "base/error.h"
#include "base/util.h"
#include "db/db.h"

#define SMALL_REQUEST_MAX (64u * 1024u) /* of a request without a value */
#define PUT_ANSWER_MAX 64u

/* ---- what requests ask for ---- */

vv_status svc_kv_fail_malformed(const char *request, vv_error *err)
{
    return vv_fail(err, VV_INVALID, "the bytes are not a varve.v1.%s", request);
}

vv_status svc_kv_durability(uint32_t value, vv_durability *out, vv_error *err)
{
    if (value > VV_DURABLE_NONE)
        return vv_fail(err, VV_INVALID,
                       "durability %u is none: 0 (the server's), 1 (sync), 2 (os) and 3 (none) are "
                       "allowed",
                       value);
    *out = (vv_durability)value;
    return VV_OK;
}

vv_status svc_kv_expiry(node *n, uint64_t ttl_ms, int64_t *out, vv_error *err)
{
    *out = 0;
    if (ttl_ms == 0)
        return VV_OK;
    int64_t now = vv_clock_wall(n->env.clock);
    if (ttl_ms > (uint64_t)((INT64_MAX - now) / VV_NS_PER_MS))
        return vv_fail(err, VV_INVALID, "ttl_ms %llu ends after the year 2262: leave it out",
                       (unsigned long long)ttl_ms);
    *out = now + (int64_t)ttl_ms * VV_NS_PER_MS;
    return VV_OK;
}

/* ---- Put, Merge and Delete ---- */

static void refuse_grpc(srv_call *call, vv_status st, const char *message)
{
    srv_call_finish(call, st, message);
}

/* PutResponse, MergeResponse and DeleteResponse are the same. */
static void answer_version(svc_kv_write *w, const vv_write_result *result)
{
    vv_buf out;
    vv_buf_init(&out, PUT_ANSWER_MAX);
    wire_put_varint(&out, 1, (uint64_t)result->version);
    svc_kv_answer(w->call, result->durability, &out);
}

static vv_status fill_put(svc_kv_write *w, bool may_wait, vv_error *err)
{
    svc_kv_put req;
    int64_t expires_ns = 0;
    vv_table *table = NULL;
    if (!svc_kv_read_put(w->msg.data, &req))
        return svc_kv_fail_malformed("PutRequest", err);
    vv_status st = svc_kv_durability(req.durability, &w->durability, err);
    if (st == VV_OK)
        st = svc_kv_expiry(w->n, req.ttl_ms, &expires_ns, err);
    gate_op op = {.kind = GATE_WRITE,
                  .tenant = req.table.tenant,
                  .table = req.table.table,
                  .key_begin = req.key};
    if (st == VV_OK)
        st = svc_kv_write_open(w, &op, true, may_wait, &table, err);
    if (st == VV_OK)
        st = vv_batch_put(w->batch, table, req.key, req.value, expires_ns, err);
    vv_table_close(table);
    return st;
}

static vv_status fill_delete(svc_kv_write *w, bool may_wait, vv_error *err)
{
    svc_kv_delete req;
    vv_table *table = NULL;
    if (!svc_kv_read_delete(w->msg.data, &req))
        return svc_kv_fail_malformed("DeleteRequest", err);
    vv_status st = svc_kv_durability(req.durability, &w->durability, err);
    gate_op op = {.kind = GATE_WRITE,
                  .tenant = req.table.tenant,
                  .table = req.table.table,
                  .key_begin = req.key,
                  .key_end = req.range_end};
    if (st == VV_OK)
        st = svc_kv_write_open(w, &op, false, may_wait, &table, err);
    bool is_range = req.range_end.len > 0;
    w->would_wait = st == VV_OK && is_range && !may_wait && db_partition_count(table) > 1;
    if (w->would_wait)
        st = VV_BUSY; /* on the pool, where it may write to one partition after the other */
    if (st == VV_OK)
        st = is_range ? db_delete_range_spread(w->batch, table, req.key, req.range_end,
                                               w->durability, err)
                      : vv_batch_delete(w->batch, table, req.key, err);
    vv_table_close(table);
    return st;
}

vv_status svc_kv_add_merge(vv_batch *batch, vv_table *table, vv_slice key, uint32_t op,
                           vv_slice operand, int64_t expires_ns, vv_error *err)
{
    if (op < VV_ADD || op > VV_APPEND)
        return vv_fail(err, VV_INVALID,
                       "operator %u is none: 1 (add), 2 (max) and 3 (append) are allowed", op);
    return vv_batch_merge(batch, table, key, (vv_operator)op, operand, expires_ns, err);
}

static vv_status fill_merge(svc_kv_write *w, bool may_wait, vv_error *err)
{
    svc_kv_merge req;
    int64_t expires_ns = 0;
    vv_table *table = NULL;
    if (!svc_kv_read_merge(w->msg.data, &req))
        return svc_kv_fail_malformed("MergeRequest", err);
    vv_status st = svc_kv_durability(req.durability, &w->durability, err);
    if (st == VV_OK)
        st = svc_kv_expiry(w->n, req.ttl_ms, &expires_ns, err);
    gate_op op = {.kind = GATE_WRITE,
                  .tenant = req.table.tenant,
                  .table = req.table.table,
                  .key_begin = req.key};
    if (st == VV_OK)
        st = svc_kv_write_open(w, &op, true, may_wait, &table, err);
    if (st == VV_OK)
        st = svc_kv_add_merge(w->batch, table, req.key, req.op, req.operand, expires_ns, err);
    vv_table_close(table);
    return st;
}

static void put_message(srv_call *call, srv_message msg)
{
    static const svc_kv_write_ops ops = {
        .fill = fill_put, .answer = answer_version, .refuse = refuse_grpc, .is_put = true};
    svc_kv_write_begin(call, msg, &ops);
}

static void delete_message(srv_call *call, srv_message msg)
{
    static const svc_kv_write_ops ops = {
        .fill = fill_delete, .answer = answer_version, .refuse = refuse_grpc};
    svc_kv_write_begin(call, msg, &ops);
}

static void merge_message(srv_call *call, srv_message msg)
{
    static const svc_kv_write_ops ops = {
        .fill = fill_merge, .answer = answer_version, .refuse = refuse_grpc};
    svc_kv_write_begin(call, msg, &ops);
}

/* ---- Get ---- */

static vv_status read_archive(vv_table *table, vv_slice archive, vv_slice key, svc_kv_found *out,
                              vv_error *err)
{
    vv_status st = svc_kv_open_archive(table, archive, &out->cursor, err);
    if (st == VV_OK)
        st = svc_kv_seek_archive(out->cursor, key, &out->found, &out->value, err);
    if (!out->found)
        svc_kv_found_release(out);
    return st;
}

vv_status svc_kv_read_value(srv_call *call, const gate_op *op, const svc_kv_moment *at,
                            bool may_wait, svc_kv_found *out, vv_error *err)
{
    const node *n = srv_call_ctx(call);
    gate_identity who = svc_identity(call);
    gate_grant grant;
    vv_table *table = NULL;
    vv_status st = svc_kv_check_moment(at, err);
    if (st == VV_OK)
        st = gate_authorize(n->gate, &who, op, 1, &grant, err);
    if (st == VV_OK)
        st = gate_find_table(&grant, 0, VV_TABLE_KV, &table, err);
    if (st != VV_OK)
        return st;
    if (at->archive.len > 0 && !may_wait) {
        out->would_wait = true;
        st = vv_fail(err, VV_BUSY, "an archive is in files");
    } else if (at->archive.len > 0) {
        st = read_archive(table, at->archive, op->key_begin, out, err);
    } else {
        int64_t version = 0;
        st = svc_kv_version_at(table, at, &op->key_begin, &version, err);
        if (st == VV_OK)
            st = svc_read_value(table, version, op->key_begin, may_wait, &out->value,
                                &out->would_wait, err);
        out->found = st == VV_OK;
        st = st == VV_NOT_FOUND ? VV_OK : st;
    }
    vv_table_close(table);
    return st;
}

void svc_kv_found_release(svc_kv_found *found)
{
    if (found->found)
        vv_value_release(&found->value);
    vv_cursor_close(found->cursor);
    found->found = false;
    found->cursor = NULL;
}

void svc_kv_put_value(vv_buf *out, const vv_value *value)
{
    wire_put_varint(out, 1, true);
    wire_put_bytes(out, 2, value->data);
    wire_put_varint(out, 3, (uint64_t)value->version);
    if (value->expires_ns != 0)
        wire_put_varint(out, 4, (uint64_t)(value->expires_ns / VV_NS_PER_MS));
}

static vv_status fill_get(srv_call *call, vv_slice message, bool may_wait, svc_kv_found *found,
                          vv_buf *out, vv_error *err)
{
    svc_kv_get req;
    if (!svc_kv_read_get(message, &req))
        return svc_kv_fail_malformed("GetRequest", err);
    gate_op op = {.kind = GATE_READ,
                  .tenant = req.table.tenant,
                  .table = req.table.table,
                  .key_begin = req.key};
    svc_kv_moment at;
    vv_status st = svc_kv_moment_of(req.version, req.archive, req.as_of_ms, &at, err);
    if (st == VV_OK)
        st = svc_kv_read_value(call, &op, &at, may_wait, found, err);
    if (!found->found)
        return st;
    size_t len = found->value.data.len;
    vv_buf_init(out, len + PUT_ANSWER_MAX);
    if (vv_buf_reserve(out, len + PUT_ANSWER_MAX) == NULL)
        st = vv_fail(err, VV_NO_MEMORY, "no memory for a value of %zu bytes", len);
    else
        svc_kv_put_value(out, &found->value);
    svc_kv_found_release(found);
    return st;
}

static bool answer_get(srv_call *call, vv_slice message, bool may_wait, int64_t begin_ns)
{
    svc_kv_found found = {0};
    vv_error err = {0};
    vv_buf out;
    vv_buf_init(&out, PUT_ANSWER_MAX);
    vv_status st = fill_get(call, message, may_wait, &found, &out, &err);
    if (found.would_wait)
        return false; /* out is empty */
    svc_read_count(call, begin_ns);
    if (st == VV_OK)
        srv_call_send(call, &out);
    srv_call_finish(call, st, st == VV_OK ? NULL : err.msg);
    vv_buf_fini(&out);
    return true;
}

static void get_message(srv_call *call, srv_message msg)
{
    static const svc_read_ops ops = {.answer = answer_get, .refuse = refuse_grpc};
    svc_read_begin(call, msg, &ops);
}

/* ---- the table ---- */

#define KV_METHOD(name, limit, on_message)                                                         \
    {                                                                                              \
        .kind = SRV_GRPC_UNARY, .path = "/varve.v1.Kv/" name, .message_max = (limit),              \
        .message = (on_message)                                                                    \
    }

size_t svc_kv_methods(node *n, srv_method *out, size_t max)
{
    static const srv_method methods[] = {
        KV_METHOD("Put", 0, put_message),
        KV_METHOD("Get", SMALL_REQUEST_MAX, get_message),
        KV_METHOD("GetMany", SVC_KV_MANY_REQUEST_MAX, svc_kv_many_message),
        KV_METHOD("Merge", 0, merge_message),
        KV_METHOD("Delete", SMALL_REQUEST_MAX, delete_message),
        KV_METHOD("CompareAndSwap", 0, svc_kv_cas_message),
        KV_METHOD("Batch", 0, svc_kv_batch_message),
        {.kind = SRV_GRPC_STREAM,
         .path = "/varve.v1.Kv/Scan",
         .message_max = SMALL_REQUEST_MAX,
         .message = svc_kv_scan_message,
         .half_close = svc_kv_scan_half_close,
         .drained = svc_kv_scan_drained,
         .closed = svc_kv_scan_closed},
    };
    return svc_add_methods(methods, ARRAY_LEN(methods), n, out, max);
}
