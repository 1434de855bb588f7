/*
 * svc_kv_many.c - Kv.GetMany: many keys of one table at one version, in one answer.
 *
 * Runs on the pool: some of so many keys mostly lie in files. Each key is an operation for the
 * gate, and nothing is read before all of them were allowed. Keys are read in groups (vv_multi_get,
 * which asks the disk for all missing blocks of a group at once) until the answer has the bytes
 * that were asked for: so values are pinned for a group at a time, and the first group, when
 * nothing is known of their size, is small. What found no room is not in the answer; its client
 * asks again.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "db/db.h"
#include "server/svc_kv.h"

#define KEYS_MAX 10000u
#define BYTES_DEFAULT (2u * 1024u * 1024u)
#define BYTES_MAX (16u * 1024u * 1024u)
#define GROUP_MIN 16u
#define GROUP_MAX 256u

typedef struct many {
    srv_call *call;
    vv_table *table;
    vv_snapshot *snapshot; /* NULL when the request names a moment */
    vv_cursor *archive;    /* NULL: none */
    int64_t version;
    size_t bytes_max;
    size_t count;
    vv_slice *keys; /* owns the memory of both */
    gate_op *ops;
    vv_value values[GROUP_MAX];
    vv_status status[GROUP_MAX];
    vv_buf out;
} many;

/* ---- asking ---- */

static vv_status take_keys(many *m, svc_kv_many *req, vv_error *err)
{
    if (req->key_count == 0 || req->key_count > KEYS_MAX)
        return vv_fail(err, VV_INVALID, "%zu keys: 1 to %u are allowed", req->key_count, KEYS_MAX);
    m->keys = vv_alloc(req->key_count * (sizeof *m->keys + sizeof *m->ops));
    if (m->keys == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %zu keys", req->key_count);
    m->ops = (gate_op *)(void *)(m->keys + req->key_count);
    while (m->count < req->key_count && svc_kv_next_key(req, &m->keys[m->count])) {
        m->ops[m->count] = (gate_op){.kind = GATE_READ,
                                     .tenant = req->table.tenant,
                                     .table = req->table.table,
                                     .key_begin = m->keys[m->count]};
        m->count++;
    }
    return VV_OK;
}

/* The state of all keys: the request's, or that of a snapshot. */
static vv_status choose_moment(many *m, const svc_kv_moment *at, const gate_grant *grant,
                               vv_error *err)
{
    vv_status st = svc_kv_version_at(m->table, at, NULL, &m->version, err);
    if (st != VV_OK)
        return st;
    if (at->archive.len > 0)
        return svc_kv_open_archive(m->table, at->archive, &m->archive, err);
    if (m->version != 0)
        return db_check_has_version(m->table, err);
    st = vv_snapshot_create(gate_db(grant), &m->snapshot, err);
    if (st == VV_OK)
        m->version = vv_snapshot_version(m->snapshot, m->table);
    return st;
}

static vv_status open_many(many *m, vv_slice message, vv_error *err)
{
    svc_kv_many req;
    gate_grant grant;
    const node *n = srv_call_ctx(m->call);
    gate_identity who = svc_identity(m->call);
    if (!svc_kv_read_many(message, &req))
        return svc_kv_fail_malformed("GetManyRequest", err);
    svc_kv_moment at;
    m->bytes_max = req.answer_bytes == 0 ? BYTES_DEFAULT : vv_min_u64(req.answer_bytes, BYTES_MAX);
    vv_status st = svc_kv_moment_of(req.version, req.archive, req.as_of_ms, &at, err);
    if (st == VV_OK)
        st = take_keys(m, &req, err);
    if (st == VV_OK)
        st = gate_authorize(n->gate, &who, m->ops, m->count, &grant, err);
    if (st == VV_OK)
        st = gate_find_table(&grant, 0, VV_TABLE_KV, &m->table, err);
    return st == VV_OK ? choose_moment(m, &at, &grant, err) : st;
}

/* ---- reading ---- */

/* A version without a snapshot has no read of many: one after the other. */
static vv_status read_each(many *m, size_t first, size_t count, vv_error *err)
{
    vv_status st = VV_OK;
    for (size_t i = 0; i < count; i++) {
        m->status[i] = VV_NOT_FOUND;
        if (st == VV_OK || st == VV_NOT_FOUND)
            st = m->status[i] =
                vv_get_at(m->table, m->version, m->keys[first + i], &m->values[i], err);
    }
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static vv_status read_group(many *m, size_t first, size_t count, vv_error *err)
{
    if (m->snapshot == NULL)
        return read_each(m, first, count, err);
    return vv_multi_get(m->table, m->snapshot, m->keys + first, count, m->values, m->status, err);
}

/* False: there is no room for it behind others, or no memory, which m->out says. */
static bool put_result(many *m, const vv_value *value)
{
    size_t len = value == NULL ? 0 : value->data.len;
    if (m->out.len > 0 && m->out.len + len + SVC_KV_VALUE_HEAD_MAX > m->bytes_max)
        return false;
    if (vv_buf_reserve(&m->out, len + 2 * SVC_KV_VALUE_HEAD_MAX) == NULL)
        return false;
    size_t begin = wire_begin(&m->out, 1);
    if (value != NULL)
        svc_kv_put_value(&m->out, value);
    wire_end(&m->out, begin);
    return true;
}

/* What fits of a group. True: all of it. */
static bool put_group(many *m, size_t count)
{
    bool fits = true;
    for (size_t i = 0; i < count; i++) {
        fits = fits && put_result(m, m->status[i] == VV_OK ? &m->values[i] : NULL);
        if (m->status[i] == VV_OK)
            vv_value_release(&m->values[i]);
    }
    return fits;
}

static void release_group(many *m, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (m->status[i] == VV_OK)
            vv_value_release(&m->values[i]);
}

/* From an archive's cursor, one after the other: a value is gone when it moves. */
static vv_status read_archived(many *m, vv_error *err)
{
    bool fits = true;
    vv_status st = VV_OK;
    for (size_t i = 0; st == VV_OK && fits && i < m->count; i++) {
        bool found = false;
        vv_value value;
        st = svc_kv_seek_archive(m->archive, m->keys[i], &found, &value, err);
        fits = st == VV_OK && put_result(m, found ? &value : NULL);
    }
    return st;
}

static vv_status read_groups(many *m, vv_error *err)
{
    size_t group = GROUP_MIN;
    bool fits = true;
    for (size_t first = 0; fits && first < m->count;) {
        size_t count = vv_min_u64(group, m->count - first);
        vv_status st = read_group(m, first, count, err);
        if (st != VV_OK) {
            release_group(m, count);
            return st;
        }
        fits = put_group(m, count);
        first += count;
        if (m->out.len / first * group < m->bytes_max / 4) /* of values like those so far */
            group = vv_min_u64(2 * group, GROUP_MAX);
    }
    return VV_OK;
}

static vv_status read_many(many *m, vv_error *err)
{
    vv_status st = m->archive != NULL ? read_archived(m, err) : read_groups(m, err);
    if (st != VV_OK)
        return st;
    wire_put_varint(&m->out, 2, (uint64_t)m->version);
    return m->out.status == VV_OK ? VV_OK
                                  : vv_fail(err, VV_NO_MEMORY,
                                            "no memory for an answer of %zu "
                                            "bytes",
                                            m->out.len);
}

/* ---- the call ---- */

static void refuse(srv_call *call, vv_status st, const char *message)
{
    srv_call_finish(call, st, message);
}

static void fini(many *m)
{
    vv_buf_fini(&m->out);
    vv_cursor_close(m->archive);
    vv_snapshot_release(m->snapshot);
    vv_table_close(m->table);
    vv_free(m->keys);
    vv_free(m);
}

static bool answer_many(srv_call *call, vv_slice message, bool may_wait, int64_t begin_ns)
{
    (void)may_wait; /* always: it is on the pool */
    vv_error err = {0};
    many *m = vv_calloc(1, sizeof *m);
    if (m == NULL) {
        refuse(call, VV_NO_MEMORY, "no memory for a read of many keys");
        return true;
    }
    m->call = call;
    vv_buf_init(&m->out, BYTES_MAX + VV_VALUE_MAX);
    vv_status st = open_many(m, message, &err);
    if (st == VV_OK)
        st = read_many(m, &err);
    svc_read_count(call, begin_ns);
    if (st == VV_OK)
        srv_call_send(call, &m->out);
    srv_call_finish(call, st, st == VV_OK ? NULL : err.msg);
    fini(m);
    return true;
}

void svc_kv_many_message(srv_call *call, srv_message msg)
{
    static const svc_read_ops ops = {.answer = answer_many, .refuse = refuse};
    svc_read_on_pool(call, msg, &ops);
}
