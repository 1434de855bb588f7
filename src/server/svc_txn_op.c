/*
 * svc_txn_op.c - the operations of a transaction: each authorized for its own keys, on a table of
 * the transaction's tenant. All of it runs on the pool, where it may wait.
 */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/util.h"
#include "server/svc_txn.h"

#define PAGE_DEFAULT (256u * 1024u)
#define PAGE_MAX (1024u * 1024u)
#define ENTRY_HEAD_MAX 64u

/* ---- tables ---- */

static vv_slice bytes_of(ProtobufCBinaryData b)
{
    return vv_slice_of(b.data, b.len);
}

static const char *or_default(const char *name)
{
    return name == NULL || name[0] == '\0' ? GATE_NAME_DEFAULT : name;
}

/* The operation of a request; names default, keys are the caller's to add. */
static gate_op op_of(gate_kind kind, const Varve__V1__TableRef *ref)
{
    return (gate_op){.kind = kind,
                     .tenant = vv_slice_str(ref == NULL ? "" : ref->tenant),
                     .table = vv_slice_str(ref == NULL ? "" : ref->table)};
}

static vv_status check_tenant(svc_txn_session *s, const Varve__V1__TableRef *ref, vv_error *err)
{
    const char *tenant = or_default(ref == NULL ? NULL : ref->tenant);
    if (s->tenant[0] == '\0')
        (void)snprintf(s->tenant, sizeof s->tenant, "%s", tenant);
    if (strcmp(s->tenant, tenant) == 0)
        return VV_OK;
    return vv_fail(err, VV_INVALID,
                   "it is on another tenant than the first: a transaction is of one tenant");
}

static vv_status note_written(svc_txn_session *s, const char *table, vv_error *err)
{
    for (uint32_t i = s->written_count; i-- > 0;)
        if (strcmp(s->written[i], table) == 0)
            return VV_OK;
    if (s->written_count == SVC_TXN_TABLES_MAX)
        return vv_fail(err, VV_INVALID, "a transaction writes to at most %u tables",
                       SVC_TXN_TABLES_MAX);
    (void)snprintf(s->written[s->written_count++], VV_NAME_MAX + 1, "%s", table);
    return VV_OK;
}

/* Authorize, and open the table; a put creates a missing one where the gate allows. */
static vv_status open_table(svc_txn_ctx *c, const gate_op *op, const Varve__V1__TableRef *ref,
                            bool creates, gate_grant *grant, vv_table **out, vv_error *err)
{
    gate_identity who = svc_identity(c->call);
    vv_status st = gate_authorize(c->n->gate, &who, op, 1, grant, err);
    if (st == VV_OK)
        st = check_tenant(c->session, ref, err);
    if (st == VV_OK && op->kind == GATE_WRITE)
        st = note_written(c->session, or_default(ref == NULL ? NULL : ref->table), err);
    if (st != VV_OK)
        return st;
    return creates ? gate_open_table(grant, 0, VV_TABLE_KV, out, err)
                   : gate_find_table(grant, 0, VV_TABLE_KV, out, err);
}

vv_status svc_txn_authorize_commit(svc_txn_ctx *c, vv_error *err)
{
    const svc_txn_session *s = c->session;
    gate_identity who = svc_identity(c->call);
    vv_status st = VV_OK;
    for (uint32_t i = 0; st == VV_OK && i < s->written_count; i++) {
        gate_grant grant;
        gate_op op = {.kind = GATE_WRITE,
                      .tenant = vv_slice_str(s->tenant),
                      .table = vv_slice_str(s->written[i])};
        st = gate_authorize(c->n->gate, &who, &op, 1, &grant, err);
    }
    return st;
}

/* ---- reads ---- */

/* *found: vv_value_release. creates: an absent table is made, as by a write, so that the absence of
 * the key is something the commit can check. */
static vv_status read_key(svc_txn_ctx *c, const Varve__V1__TableRef *ref, vv_slice key,
                          bool creates, bool *found, vv_value *value, vv_error *err)
{
    gate_grant grant;
    vv_table *table = NULL;
    gate_op op = op_of(GATE_READ, ref);
    op.key_begin = key;
    *found = false;
    vv_status st = open_table(c, &op, ref, false, &grant, &table, err);
    if (st == VV_NOT_FOUND && creates) {
        op.kind = GATE_WRITE;
        st = open_table(c, &op, ref, true, &grant, &table, err);
    }
    if (st != VV_OK)
        return st;
    st = vv_txn_get(c->txn, table, key, value, err);
    vv_table_close(table);
    *found = st == VV_OK;
    return st == VV_NOT_FOUND ? VV_OK : st;
}

vv_status svc_txn_get(svc_txn_ctx *c, const Varve__V1__TxnGetRequest *req, vv_buf *out,
                      vv_error *err)
{
    bool found;
    vv_value value = {0};
    vv_status st = read_key(c, req->table, bytes_of(req->key), false, &found, &value, err);
    if (!found)
        return st;
    wire_put_varint(out, 1, true);
    wire_put_bytes(out, 2, value.data);
    wire_put_varint(out, 3, (uint64_t)value.version);
    if (value.expires_ns != 0)
        wire_put_varint(out, 4, (uint64_t)(value.expires_ns / VV_NS_PER_MS));
    vv_value_release(&value);
    return VV_OK;
}

/* The first key behind all that begin with prefix; empty when there is none. */
static vv_slice prefix_end(vv_slice prefix, uint8_t end[VV_KEY_MAX])
{
    size_t len = prefix.len;
    memcpy(end, prefix.data, len);
    while (len > 0 && end[len - 1] == 0xff)
        len--;
    if (len > 0)
        end[len - 1]++;
    return vv_slice_of(end, len);
}

/* The page's cursor, standing on its first entry; NULL when the range is empty. */
static vv_status open_page(svc_txn_ctx *c, const Varve__V1__TxnScanRequest *req, vv_cursor **out,
                           vv_error *err)
{
    uint8_t end[VV_KEY_MAX];
    gate_grant grant;
    vv_table *table = NULL;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    gate_op op = op_of(GATE_READ, req->table);
    op.key_begin = bytes_of(req->begin);
    op.key_end = bytes_of(req->end);
    if (req->prefix.len > 0 && (req->begin.len > 0 || req->end.len > 0))
        return vv_fail(err, VV_INVALID, "prefix stands instead of begin and end: leave out either");
    if (req->prefix.len > VV_KEY_MAX)
        return vv_fail(err, VV_INVALID, "the prefix has %zu bytes, at most %u are allowed",
                       req->prefix.len, VV_KEY_MAX);
    if (req->prefix.len > 0) {
        op.key_begin = bytes_of(req->prefix);
        op.key_end = prefix_end(op.key_begin, end);
    }
    op.to_last = op.key_end.len == 0;
    vv_status st = open_table(c, &op, req->table, false, &grant, &table, err);
    if (st != VV_OK)
        return st;
    if (gate_range(&grant, 0, &opt.lower, &opt.upper)) {
        st = vv_txn_scan(c->txn, table, &opt, out, err);
        if (st == VV_OK)
            st = req->reverse ? vv_cursor_seek_below(*out, vv_slice_of(NULL, 0), err)
                              : vv_cursor_seek(*out, vv_slice_of(NULL, 0), err);
    }
    vv_table_close(table);
    return st;
}

static void put_entry(const vv_cursor *at, bool keys_only, vv_buf *out)
{
    size_t begin = wire_begin(out, 1);
    int64_t expires_ns = vv_cursor_expires_ns(at);
    wire_put_bytes(out, 1, vv_cursor_key(at));
    if (!keys_only)
        wire_put_bytes(out, 2, vv_cursor_value(at));
    wire_put_varint(out, 3, (uint64_t)vv_cursor_version(at));
    if (expires_ns != 0)
        wire_put_varint(out, 4, (uint64_t)(expires_ns / VV_NS_PER_MS));
    wire_end(out, begin);
}

/* Where the next page goes on: at the entry the cursor stands on, which did not fit. */
static void put_rest(const vv_cursor *at, bool reverse, vv_slice last, vv_buf *out)
{
    wire_put_varint(out, 2, true);
    if (reverse)
        wire_put_bytes(out, 4, last);
    else
        wire_put_bytes(out, 3, vv_cursor_key(at));
}

static vv_status fill_page(vv_cursor *at, const Varve__V1__TxnScanRequest *req, vv_buf *out,
                           vv_error *err)
{
    uint8_t last[VV_KEY_MAX];
    size_t last_len = 0;
    size_t page = req->page_bytes == 0 ? PAGE_DEFAULT : vv_min_u64(req->page_bytes, PAGE_MAX);
    uint64_t left = req->limit == 0 ? UINT64_MAX : req->limit;
    size_t begin = out->len;
    vv_status st = VV_OK;
    while (st == VV_OK && vv_cursor_valid(at)) {
        vv_slice key = vv_cursor_key(at);
        size_t size = key.len + ENTRY_HEAD_MAX + (req->keys_only ? 0 : vv_cursor_value(at).len);
        if (left == 0 || (out->len > begin && out->len - begin + size > page)) {
            put_rest(at, req->reverse, vv_slice_of(last, last_len), out);
            break;
        }
        put_entry(at, req->keys_only, out);
        memcpy(last, key.data, key.len);
        last_len = key.len;
        left--;
        st = req->reverse ? vv_cursor_prev(at, err) : vv_cursor_next(at, err);
    }
    return st;
}

vv_status svc_txn_scan(svc_txn_ctx *c, const Varve__V1__TxnScanRequest *req, vv_buf *out,
                       vv_error *err)
{
    vv_cursor *at = NULL;
    vv_status st = open_page(c, req, &at, err);
    if (st == VV_OK && at != NULL)
        st = fill_page(at, req, out, err);
    vv_cursor_close(at);
    return st;
}

/* ---- writes ---- */

static void put_written(const svc_txn_ctx *c, vv_buf *out)
{
    wire_put_varint(out, 1, vv_txn_count(c->txn));
    wire_put_varint(out, 2, vv_txn_memory(c->txn));
}

vv_status svc_txn_put(svc_txn_ctx *c, const Varve__V1__TxnPutRequest *req, vv_buf *out,
                      vv_error *err)
{
    gate_grant grant;
    vv_table *table = NULL;
    int64_t expires_ns = 0;
    gate_op op = op_of(GATE_WRITE, req->table);
    op.key_begin = bytes_of(req->key);
    vv_status st = svc_kv_expiry(c->n, req->ttl_ms, &expires_ns, err);
    if (st == VV_OK)
        st = open_table(c, &op, req->table, true, &grant, &table, err);
    if (st == VV_OK)
        st = vv_txn_put(c->txn, table, bytes_of(req->key), bytes_of(req->value), expires_ns, err);
    vv_table_close(table);
    if (st == VV_OK)
        put_written(c, out);
    return st;
}

vv_status svc_txn_delete(svc_txn_ctx *c, const Varve__V1__TxnDeleteRequest *req, vv_buf *out,
                         vv_error *err)
{
    gate_grant grant;
    vv_table *table = NULL;
    bool is_range = req->to_last || req->range_end.len > 0;
    gate_op op = op_of(GATE_WRITE, req->table);
    op.key_begin = bytes_of(req->key);
    op.key_end = bytes_of(req->range_end);
    op.to_last = req->to_last;
    vv_status st = open_table(c, &op, req->table, false, &grant, &table, err);
    if (st == VV_OK)
        st = is_range ? vv_txn_delete_range(c->txn, table, op.key_begin, op.key_end, err)
                      : vv_txn_delete(c->txn, table, op.key_begin, err);
    vv_table_close(table);
    if (st == VV_OK)
        put_written(c, out);
    return st;
}

/* ---- comparisons ---- */

/* <0, 0, >0: what is stored to what is given. */
static int order(const Varve__V1__TxnCompare *req, bool found, const vv_value *value)
{
    int64_t version = found ? value->version : 0;
    if (req->target_case == VARVE__V1__TXN_COMPARE__TARGET_VERSION)
        return (version > req->version) - (version < req->version);
    if (req->target_case == VARVE__V1__TXN_COMPARE__TARGET_VALUE)
        return vv_slice_cmp(found ? value->data : vv_slice_of(NULL, 0), bytes_of(req->value));
    return (int)found - (req->exists != 0);
}

vv_status svc_txn_compare(svc_txn_ctx *c, const Varve__V1__TxnCompare *req, bool *holds,
                          vv_error *err)
{
    bool found;
    vv_value value = {0};
    bool is_order = req->relation == VARVE__V1__TXN_COMPARE__RELATION__LESS ||
                    req->relation == VARVE__V1__TXN_COMPARE__RELATION__GREATER;
    if (req->target_case == VARVE__V1__TXN_COMPARE__TARGET__NOT_SET)
        return vv_fail(err, VV_INVALID, "it has no target: set version, value or exists");
    if ((unsigned)req->relation > VARVE__V1__TXN_COMPARE__RELATION__GREATER ||
        (is_order && req->target_case == VARVE__V1__TXN_COMPARE__TARGET_EXISTS))
        return vv_fail(err, VV_INVALID, "relation %d is none of this target", (int)req->relation);
    vv_status st = read_key(c, req->table, bytes_of(req->key), true, &found, &value, err);
    if (st != VV_OK)
        return st;
    int o = order(req, found, &value);
    *holds = req->relation == VARVE__V1__TXN_COMPARE__RELATION__EQUAL       ? o == 0
             : req->relation == VARVE__V1__TXN_COMPARE__RELATION__NOT_EQUAL ? o != 0
             : req->relation == VARVE__V1__TXN_COMPARE__RELATION__LESS      ? o < 0
                                                                            : o > 0;
    if (found)
        vv_value_release(&value);
    return VV_OK;
}
