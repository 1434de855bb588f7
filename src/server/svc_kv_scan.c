/*
 * svc_kv_scan.c - Kv.Scan: a range of keys in pages bounded in bytes, all of one snapshot.
 *
 * A turn runs on the pool until the output queue is high; then it parks, holding no thread, and the
 * loop's drained() starts the next turn. A turn that has sent its share goes to the end of the
 * pool's queue, so that one long scan with a fast client leaves room for others. The cursor and its
 * snapshot stay open between turns.
 * Who may touch the cursor is in svc_turn.h.
 */
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "server/svc_kv.h"
#include "server/svc_turn.h"

#define PAGE_DEFAULT (256u * 1024u)
#define PAGE_MAX (1024u * 1024u)
#define ENTRY_HEAD_MAX 64u /* tags, lengths, version and expiry of an entry */
#define ANSWER_MAX (PAGE_MAX + VV_VALUE_MAX + VV_KEY_MAX + 2 * ENTRY_HEAD_MAX)
#define TURN_BYTES (4u * 1024u * 1024u)

typedef struct scan {
    node *n;
    srv_call *call; /* referenced */
    srv_message msg;
    bool has_msg; /* until the cursor is open */
    bool is_reverse;
    bool keys_only;
    size_t page_bytes;
    uint64_t left; /* entries still wanted */
    int64_t version;
    vv_table *table;
    vv_snapshot *snapshot; /* NULL when the request names a moment */
    vv_cursor *cursor;     /* NULL before the first turn */
    _Atomic int refs;
    svc_turn turn;
} scan;

static vv_status read_scan(vv_slice message, svc_kv_scan *out, svc_kv_moment *at, vv_error *err)
{
    if (!svc_kv_read_scan(message, out))
        return svc_kv_fail_malformed("ScanRequest", err);
    if (out->prefix.len > 0 && out->begin.len + out->end.len > 0)
        return vv_fail(err, VV_INVALID, "prefix stands instead of begin and end: leave out either");
    return svc_kv_moment_of(out->version, out->archive, out->as_of_ms, at, err);
}

/* ---- opening ---- */

/* The operation of a request. end holds what follows the prefix. */
static gate_op op_of(const svc_kv_scan *req, uint8_t end[VV_KEY_MAX])
{
    gate_op op = {.kind = GATE_READ,
                  .tenant = req->table.tenant,
                  .table = req->table.table,
                  .key_begin = req->begin,
                  .key_end = req->end};
    if (req->prefix.len > 0 && req->prefix.len <= VV_KEY_MAX) {
        size_t len = req->prefix.len;
        memcpy(end, req->prefix.data, len);
        while (len > 0 && end[len - 1] == 0xff)
            len--;
        if (len > 0)
            end[len - 1]++;
        op.key_end = vv_slice_of(end, len);
    }
    if (req->prefix.len > 0)
        op.key_begin = req->prefix;
    op.to_last = op.key_end.len == 0;
    return op;
}

/* Position a cursor on [begin, end); an empty range leaves none, and is done. */
static vv_status open_cursor(scan *s, const gate_grant *grant, vv_slice archive, vv_error *err)
{
    char name[SVC_KV_ARCHIVE_SIZE];
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    bool some = gate_range(grant, 0, &opt.lower, &opt.upper);
    vv_status st = svc_kv_archive_name(archive, name, err);
    if (st != VV_OK)
        return st;
    if (archive.len > 0) {
        opt.archive = name;
    } else if (s->version == 0) {
        st = vv_snapshot_create(gate_db(grant), &s->snapshot, err);
        if (st != VV_OK)
            return st;
        opt.snapshot = s->snapshot;
        s->version = vv_snapshot_version(s->snapshot, s->table);
    } else {
        opt.version = s->version;
    }
    if (!some) {
        s->left = 0;
        opt.lower = opt.upper = vv_slice_of(NULL, 0);
    }
    st = vv_cursor_open(s->table, &opt, &s->cursor, err);
    if (st != VV_OK || !some)
        return st;
    return s->is_reverse ? vv_cursor_seek_below(s->cursor, vv_slice_of(NULL, 0), err)
                         : vv_cursor_seek(s->cursor, vv_slice_of(NULL, 0), err);
}

static vv_status open_scan(scan *s, vv_error *err)
{
    svc_kv_scan req;
    svc_kv_moment at;
    uint8_t end[VV_KEY_MAX];
    gate_grant grant;
    gate_identity who = svc_identity(s->call);
    vv_status st = read_scan(s->msg.data, &req, &at, err);
    if (st != VV_OK)
        return st;
    gate_op op = op_of(&req, end);
    s->is_reverse = req.is_reverse;
    s->keys_only = req.keys_only;
    s->left = req.limit == 0 ? UINT64_MAX : req.limit;
    s->page_bytes = req.page_bytes == 0 ? PAGE_DEFAULT : vv_min_u64(req.page_bytes, PAGE_MAX);
    st = gate_authorize(s->n->gate, &who, &op, 1, &grant, err);
    if (st == VV_OK)
        st = gate_find_table(&grant, 0, VV_TABLE_KV, &s->table, err);
    if (st == VV_OK)
        st = svc_kv_version_at(s->table, &at, NULL, &s->version, err);
    if (st == VV_OK)
        st = open_cursor(s, &grant, req.archive, err);
    srv_message_release(&s->msg);
    s->has_msg = false;
    return st;
}

/* ---- pages ---- */

static void put_entry(const scan *s, vv_slice key, vv_slice value, vv_buf *out)
{
    size_t begin = wire_begin(out, 1);
    int64_t expires_ns = vv_cursor_expires_ns(s->cursor);
    wire_put_bytes(out, 1, key);
    if (!s->keys_only)
        wire_put_bytes(out, 2, value);
    wire_put_varint(out, 3, (uint64_t)vv_cursor_version(s->cursor));
    if (expires_ns != 0)
        wire_put_varint(out, 4, (uint64_t)(expires_ns / VV_NS_PER_MS));
    wire_end(out, begin);
}

/* Entries up to the page's size; the first goes in whatever its size. *over: there are no more. */
static vv_status fill_page(scan *s, vv_buf *out, bool *over, vv_error *err)
{
    vv_status st = VV_OK;
    while (st == VV_OK && s->left > 0 && vv_cursor_valid(s->cursor)) {
        vv_slice key = vv_cursor_key(s->cursor);
        vv_slice value = s->keys_only ? vv_slice_of(NULL, 0) : vv_cursor_value(s->cursor);
        size_t size = key.len + value.len + ENTRY_HEAD_MAX;
        if (out->len > 0 && out->len + size > s->page_bytes)
            return VV_OK;
        if (vv_buf_reserve(out, size + ENTRY_HEAD_MAX) == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for a page of %zu bytes", size);
        put_entry(s, key, value, out);
        s->left--;
        st = s->is_reverse ? vv_cursor_prev(s->cursor, err) : vv_cursor_next(s->cursor, err);
    }
    *over = st == VV_OK;
    return st;
}

static vv_status send_page(scan *s, size_t *sent, bool *over, vv_error *err)
{
    vv_buf out;
    vv_buf_init(&out, ANSWER_MAX);
    vv_status st = fill_page(s, &out, over, err);
    wire_put_varint(&out, 2, (uint64_t)s->version);
    if (st == VV_OK) {
        *sent += out.len;
        srv_call_send(s->call, &out);
    }
    vv_buf_fini(&out);
    return st;
}

/* ---- turns ---- */

static void scan_unref(scan *s)
{
    if (s == NULL || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    vv_cursor_close(s->cursor);
    vv_snapshot_release(s->snapshot);
    vv_table_close(s->table);
    if (s->has_msg)
        srv_message_release(&s->msg);
    srv_call_unref(s->call);
    vv_free(s);
}

static void finish(scan *s, vv_status st, const vv_error *err)
{
    srv_call_finish(s->call, st, st == VV_OK ? NULL : err->msg);
    svc_turn_end(&s->turn);
}

static void turn(void *arg);

/* Begin another turn, which owns a reference. False when the pool has no room. */
static bool submit(scan *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    if (srv_pool_submit(s->n->pool, turn, s) == VV_OK)
        return true;
    scan_unref(s);
    return false;
}

static void turn(void *arg)
{
    scan *s = arg;
    vv_error err = {0};
    vv_status st = VV_OK;
    size_t sent = 0;
    bool over = false;
    bool handed_on = false; /* to the next turn, which may run already */
    if (s->cursor == NULL)
        st = open_scan(s, &err);
    while (st == VV_OK && !over && !handed_on && srv_call_is_open(s->call)) {
        st = send_page(s, &sent, &over, &err);
        if (st != VV_OK || over)
            break;
        handed_on = svc_turn_park(&s->turn, s->call);
        if (!handed_on && sent >= TURN_BYTES) {
            handed_on = submit(s);
            sent = 0;
        }
    }
    if (!handed_on)
        finish(s, st, &err);
    scan_unref(s);
}

static void begin_turn(scan *s)
{
    vv_error err;
    if (submit(s))
        return;
    vv_status st = vv_fail(&err, VV_BUSY, "too many scans wait for a thread: retry after a pause");
    finish(s, st, &err);
}

void svc_kv_scan_message(srv_call *call, srv_message msg)
{
    scan *s = srv_call_user(call) == NULL ? vv_calloc(1, sizeof *s) : NULL;
    if (s == NULL) {
        bool second = srv_call_user(call) != NULL;
        srv_message_release(&msg);
        srv_call_finish(call, second ? VV_INVALID : VV_NO_MEMORY,
                        second ? "Scan takes one request" : "no memory for a scan");
        return;
    }
    s->n = srv_call_ctx(call);
    s->call = call;
    srv_call_ref(call);
    s->msg = msg;
    s->has_msg = true;
    atomic_init(&s->refs, 1);
    atomic_init(&s->turn, SVC_TURN_RUNNING);
    srv_call_set_user(call, s);
    begin_turn(s);
}

void svc_kv_scan_half_close(srv_call *call)
{
    if (srv_call_user(call) == NULL)
        srv_call_finish(call, VV_INVALID, "Scan needs one request");
}

void svc_kv_scan_drained(srv_call *call)
{
    scan *s = srv_call_user(call);
    if (s != NULL && svc_turn_wake(&s->turn))
        begin_turn(s);
}

void svc_kv_scan_closed(srv_call *call)
{
    scan *s = srv_call_user(call);
    srv_call_set_user(call, NULL);
    scan_unref(s);
}
