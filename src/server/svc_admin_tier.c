/*
 * svc_admin_tier.c - varve.v1.Admin of messages in the object store: archive, list, verify,
 * restore.
 *
 * All but the list may take hours, so they go in turns: some pieces of work (an upload, an object
 * looked at, an entry of the log), then to the end of the pool's queue. Between pieces a call that
 * is gone ends. One of them runs on a node at a time, so the pool keeps its other threads.
 *
 *   message --> turn: pieces --> turn: pieces --> ... --> answer
 *                 |   ^                |
 *         output queue high: parked    the call is gone: over
 *                 +-- drained() -------+
 */
#include "server/svc_admin_tier.h"

#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/util.h"
#include "db/db.h"
#include "server/svc_ingest.h"
#include "server/svc_kv.h"
#include "server/svc_message.h"
#include "server/svc_turn.h"
#include "server/svc_util.h"
#include "varve/tier.h"

#define REQUEST_MAX 4096u
#define ANSWER_MAX 4096u
#define PAGE_OBJECTS 10000u
#define PAGE_BYTES (16u * 1024 * 1024)
#define TOKEN_SIZE 16u
#define TURN_NS (50 * VV_NS_PER_MS)

typedef struct tier_call tier_call;

typedef struct tier_verb {
    const char *request; /* its message's name */
    bool (*take)(tier_call *c, const wire_field *f);
    void (*begin)(tier_call *c); /* may be NULL */
    /* A piece. VV_NOT_FOUND: nothing is left. */
    vv_status (*step)(tier_call *c, vv_error *err);
    vv_status (*end)(tier_call *c, vv_buf *out, vv_error *err);
} tier_verb;

struct tier_call {
    node *n;
    srv_call *call; /* referenced */
    srv_message msg;
    const tier_verb *verb;
    svc_table_ref ref;
    vv_table *table; /* NULL until the first turn */
    bool is_only;    /* it is the node's long call */
    bool whole;
    uint32_t partition;
    db_tier_range range;
    db_tier_place place;
    uint64_t objects; /* looked at, or stored before */
    uint64_t messages;
    uint64_t found;
    vv_status failed; /* of one partition: the others go on */
    vv_error failure;
    svc_turn turn;
    _Atomic int refs; /* of the call, of a turn */
};

static void unref(tier_call *c)
{
    if (atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    if (c->is_only)
        atomic_store(&c->n->tier_call, 0);
    vv_table_close(c->table);
    srv_message_release(&c->msg);
    srv_call_unref(c->call);
    vv_free(c);
}

/* ---- turns ---- */

static void run_turn(void *arg);

/* Another turn, which owns a reference. False when the pool has no room. */
static bool submit(tier_call *c)
{
    atomic_fetch_add(&c->refs, 1);
    if (srv_pool_submit_far(c->n->pool, run_turn, c) == VV_OK)
        return true;
    atomic_fetch_sub(&c->refs, 1);
    return false;
}

static vv_status open_table(tier_call *c, vv_error *err)
{
    int none = 0;
    gate_identity who = svc_identity(c->call);
    gate_grant grant;
    wire_reader r = wire_reader_of(c->msg.data);
    wire_field f = {0};
    bool ok = true;
    while (ok && wire_next(&r, &f) > 0)
        ok = f.number == 1 ? svc_kv_take_table(&f, &c->ref) : c->verb->take(c, &f);
    if (!ok || r.fault != WIRE_GOOD)
        return svc_kv_fail_malformed(c->verb->request, err);
    if (c->ref.table.len == 0)
        c->ref.table = vv_slice_str(SVC_MESSAGE_TABLE);
    const gate_op op = {.kind = GATE_TABLE, .tenant = c->ref.tenant, .table = c->ref.table};
    vv_status st = gate_authorize(c->n->gate, &who, &op, 1, &grant, err);
    if (st == VV_OK)
        st = gate_find_table(&grant, 0, VV_TABLE_STREAM, &c->table, err);
    if (st != VV_OK)
        return st;
    c->is_only = atomic_compare_exchange_strong(&c->n->tier_call, &none, 1);
    if (!c->is_only)
        return vv_fail(err, VV_BUSY,
                       "another run, verification or restore of messages is under way on this "
                       "node: retry when it is done");
    if (c->verb->begin != NULL)
        c->verb->begin(c);
    return VV_OK;
}

static void finish(tier_call *c, vv_status st, vv_error *err)
{
    vv_buf out;
    vv_buf_init(&out, ANSWER_MAX);
    if (st == VV_NOT_FOUND && c->is_only) { /* nothing is left; else the table is not there */
        st = c->verb->end(c, &out, err);
        if (st == VV_OK && out.status != VV_OK)
            st = vv_fail(err, out.status, "no memory for the answer");
        if (out.status == VV_OK)
            srv_call_send(c->call, &out);
    }
    vv_buf_fini(&out);
    svc_turn_end(&c->turn);
    if (c->is_only) { /* who has the answer may ask for the next */
        c->is_only = false;
        atomic_store(&c->n->tier_call, 0);
    }
    srv_call_finish(c->call, st, st == VV_OK ? NULL : err->msg);
}

/* Pieces until the turn is over. *goes_on: another turn is begun or will be. */
static vv_status work(tier_call *c, bool *goes_on, vv_error *err)
{
    const int64_t until = vv_clock_mono(c->n->env.clock) + TURN_NS;
    vv_status st = VV_OK;
    while (st == VV_OK && srv_call_is_open(c->call)) {
        st = c->verb->step(c, err);
        if (st == VV_OK && svc_turn_park(&c->turn, c->call))
            *goes_on = true;
        else if (st == VV_OK && vv_clock_mono(c->n->env.clock) >= until)
            *goes_on = submit(c); /* where there is no room, on */
        if (*goes_on)
            return VV_OK;
    }
    return st;
}

/* Owns a reference. */
static void run_turn(void *arg)
{
    tier_call *c = arg;
    vv_error err = {0};
    bool goes_on = false;
    vv_status st = VV_OK;
    if (c->table == NULL)
        st = open_table(c, &err);
    if (st == VV_OK)
        st = work(c, &goes_on, &err);
    if (!goes_on)
        finish(c, st, &err);
    unref(c);
}

static void begin(srv_call *call, srv_message msg, const tier_verb *verb)
{
    tier_call *c = srv_call_user(call) == NULL ? vv_calloc(1, sizeof *c) : NULL;
    if (c == NULL) {
        const bool is_second = srv_call_user(call) != NULL;
        srv_message_release(&msg);
        srv_call_finish(call, is_second ? VV_INVALID : VV_NO_MEMORY,
                        is_second ? "one request is enough" : "no memory for a request");
        return;
    }
    c->n = srv_call_ctx(call);
    c->call = call;
    c->msg = msg;
    c->verb = verb;
    atomic_store(&c->refs, 1);
    srv_call_ref(call);
    srv_call_set_user(call, c);
    if (!submit(c))
        srv_call_finish(call, VV_BUSY, "too many requests wait for a thread: retry after a pause");
}

static void tier_half_close(srv_call *call)
{
    if (srv_call_user(call) == NULL)
        srv_call_finish(call, VV_INVALID, "one request is needed");
}

static void tier_drained(srv_call *call)
{
    tier_call *c = srv_call_user(call);
    if (c == NULL || !svc_turn_wake(&c->turn) || submit(c))
        return;
    svc_turn_end(&c->turn);
    srv_call_finish(call, VV_BUSY, "too many requests wait for a thread: retry after a pause");
}

static void tier_closed(srv_call *call)
{
    tier_call *c = srv_call_user(call);
    srv_call_set_user(call, NULL);
    if (c != NULL)
        unref(c);
}

/* ---- run ---- */

static bool take_nothing(tier_call *c, const wire_field *f)
{
    (void)c;
    (void)f;
    return true;
}

static void count_stored(const tier_call *c, uint64_t *messages, uint64_t *objects)
{
    vv_tier_stats stats = {.size = sizeof stats};
    vv_tier_stats_read(c->n->db, &stats);
    *messages = stats.stored_messages;
    *objects = stats.stored;
}

static void run_begin(tier_call *c)
{
    count_stored(c, &c->messages, &c->objects);
}

/* The first failure is told when all was tried. */
static vv_status run_step(tier_call *c, vv_error *err)
{
    vv_error why = {0};
    vv_status st = db_tier_run_piece(c->table, &c->place, &why);
    if (st == VV_OK || st == VV_NOT_FOUND)
        return st;
    if (c->failed == VV_OK) {
        c->failed = st;
        c->failure = why;
    }
    if (c->place.partition != UINT32_MAX)
        return VV_OK;
    *err = why;
    return st;
}

static vv_status run_end(tier_call *c, vv_buf *out, vv_error *err)
{
    uint64_t messages = 0;
    uint64_t objects = 0;
    count_stored(c, &messages, &objects);
    wire_put_uint(out, 1, messages - c->messages);
    wire_put_uint(out, 2, objects - c->objects);
    if (c->failed != VV_OK)
        *err = c->failure;
    return c->failed;
}

static void run_message(srv_call *call, srv_message msg)
{
    static const tier_verb verb = {"RunTierRequest", take_nothing, run_begin, run_step, run_end};
    begin(call, msg, &verb);
}

/* ---- verify ---- */

static bool verify_take(tier_call *c, const wire_field *f)
{
    return f->number != 2 || svc_kv_take_bool(f, &c->whole);
}

static void tell(const tier_call *c, const char *finding)
{
    vv_buf out;
    vv_buf_init(&out, ANSWER_MAX);
    wire_put_text(&out, 1, vv_slice_str(finding));
    wire_put_uint(&out, 2, c->objects);
    if (out.status == VV_OK) /* else it is in the count alone */
        srv_call_send(c->call, &out);
    vv_buf_fini(&out);
}

static void verify_finding(void *ctx, const char *text)
{
    tell(ctx, text);
}

static vv_status verify_step(tier_call *c, vv_error *err)
{
    const uint32_t partition = c->place.partition;
    vv_status st =
        db_tier_verify_one(c->table, c->whole, &c->place, verify_finding, c, &c->found, err);
    if (st == VV_OK && c->place.partition == partition && ++c->objects % 1000 == 0)
        tell(c, "");
    return st;
}

static vv_status verify_end(tier_call *c, vv_buf *out, vv_error *err)
{
    vv_slice table = c->ref.table;
    wire_put_uint(out, 2, c->objects);
    if (c->found == 0)
        return VV_OK;
    return vv_fail(err, VV_CORRUPT,
                   "verify stream '%.*s': findings: %llu: objects are missing or not as the table "
                   "has them: put back from a copy what is named, then verify again",
                   (int)table.len, (const char *)table.data, (unsigned long long)c->found);
}

static void verify_message(srv_call *call, srv_message msg)
{
    static const tier_verb verb = {"VerifyTierRequest", verify_take, NULL, verify_step, verify_end};
    begin(call, msg, &verb);
}

/* ---- restore ---- */

static bool restore_take(tier_call *c, const wire_field *f)
{
    switch (f->number) {
    case 2:
        return svc_kv_take_u32(f, &c->partition);
    case 3:
        return svc_kv_take_uint(f, &c->range.first);
    case 4:
        return svc_kv_take_uint(f, &c->range.next);
    default:
        return true;
    }
}

static void restore_begin(tier_call *c)
{
    c->range.at = c->range.first;
    if (c->range.next == 0)
        c->range.next = UINT64_MAX;
}

static vv_status restore_step(tier_call *c, vv_error *err)
{
    return db_tier_restore_piece(c->table, c->partition, &c->range, err);
}

static vv_status restore_end(tier_call *c, vv_buf *out, vv_error *err)
{
    (void)err;
    wire_put_uint(out, 1, c->range.restored);
    return VV_OK;
}

static void restore_message(srv_call *call, srv_message msg)
{
    static const tier_verb verb = {"RestoreTierRequest", restore_take, restore_begin, restore_step,
                                   restore_end};
    begin(call, msg, &verb);
}

/* ---- list ---- */

typedef struct list_request {
    svc_table_ref ref;
    uint32_t page_size;
    vv_slice token;
} list_request;

static bool read_list(vv_slice message, list_request *out)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    bool ok = true;
    *out = (list_request){.page_size = 0};
    while (ok && wire_next(&r, &f) > 0) {
        if (f.number == 1)
            ok = svc_kv_take_table(&f, &out->ref);
        else if (f.number == 2)
            ok = svc_kv_take_u32(&f, &out->page_size);
        else if (f.number == 3)
            ok = svc_kv_take_bytes(&f, &out->token);
    }
    if (out->ref.table.len == 0)
        out->ref.table = vv_slice_str(SVC_MESSAGE_TABLE);
    if (out->page_size == 0 || out->page_size > PAGE_OBJECTS)
        out->page_size = PAGE_OBJECTS;
    return ok && r.fault == WIRE_GOOD && (out->token.len == 0 || out->token.len == TOKEN_SIZE);
}

typedef struct page {
    vv_buf *out;
    uint32_t left;
    bool is_cut;
} page;

static int put_object(void *ctx, const vv_tier_object *o)
{
    page *p = ctx;
    p->is_cut = p->left == 0 || p->out->len > PAGE_BYTES;
    if (p->is_cut)
        return 1;
    p->left--;
    size_t mark = wire_begin(p->out, 1);
    wire_put_text(p->out, 1, vv_slice_str(o->name));
    wire_put_uint(p->out, 2, o->partition);
    wire_put_uint(p->out, 3, (uint64_t)o->state);
    wire_put_uint(p->out, 4, (uint64_t)o->codec);
    wire_put_uint(p->out, 5, (uint64_t)o->also);
    wire_put_uint(p->out, 6, o->first);
    wire_put_uint(p->out, 7, o->next);
    wire_put_uint(p->out, 8, o->bytes);
    wire_put_uint(p->out, 9, o->raw_bytes);
    if (o->crc32c != 0)
        wire_put_fixed32(p->out, 10, o->crc32c);
    wire_put_int(p->out, 11, o->made_ns);
    wire_put_int(p->out, 12, o->receive_first_ns);
    wire_put_int(p->out, 13, o->receive_last_ns);
    wire_end(p->out, mark);
    return p->out->status != VV_OK;
}

static db_tier_place place_of(vv_slice token)
{
    db_tier_place place = {.partition = 0};
    if (token.len == TOKEN_SIZE)
        place = (db_tier_place){vv_get_be32(token.data), vv_get_be32(token.data + 4),
                                vv_get_be64(token.data + 8)};
    return place;
}

vv_status svc_admin_list_tier(const node *n, const gate_identity *who, vv_slice request,
                              vv_buf *out, vv_error *err)
{
    list_request req;
    gate_grant grant;
    vv_table *table = NULL;
    uint8_t token[TOKEN_SIZE];
    if (!read_list(request, &req))
        return svc_kv_fail_malformed("ListTierObjectsRequest", err);
    const gate_op op = {.kind = GATE_TABLE, .tenant = req.ref.tenant, .table = req.ref.table};
    db_tier_place place = place_of(req.token);
    page p = {.out = out, .left = req.page_size};
    vv_status st = gate_authorize(n->gate, who, &op, 1, &grant, err);
    if (st == VV_OK)
        st = gate_find_table(&grant, 0, VV_TABLE_STREAM, &table, err);
    if (st == VV_OK)
        st = db_tier_list_from(table, &place, put_object, &p, err);
    vv_table_close(table);
    if (st == VV_OK && p.is_cut) {
        vv_put_be32(token, place.partition);
        vv_put_be32(token + 4, place.kind);
        vv_put_be64(token + 8, place.at);
        wire_put_bytes(out, 2, vv_slice_of(token, sizeof token));
    }
    return st;
}

/* ---- the table ---- */

#define TIER_METHOD(what, name, served_on, on_message)                                             \
    {                                                                                              \
        .kind = (what), .path = "/varve.v1.Admin/" name, .message_max = REQUEST_MAX,               \
        .ports = (served_on), .message = (on_message), .half_close = tier_half_close,              \
        .drained = tier_drained, .closed = tier_closed                                             \
    }

size_t svc_admin_tier_methods(node *n, srv_method *out, size_t max)
{
    static const srv_method methods[] = {
        TIER_METHOD(SRV_GRPC_UNARY, "RunTier", SVC_INGEST_PORTS, run_message),
        TIER_METHOD(SRV_GRPC_STREAM, "VerifyTier", 0, verify_message),
        TIER_METHOD(SRV_GRPC_UNARY, "RestoreTier", SVC_INGEST_PORTS, restore_message),
    };
    return svc_add_methods(methods, ARRAY_LEN(methods), n, out, max);
}
