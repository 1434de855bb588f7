/*
 * svc_stream.c - the methods of varve.v1.Stream but Read: each reads its request on the pool, where
 * it may wait, and answers; an append is read by a worker and answered by the commit thread.
 */
#include "server/svc_stream.h"
#include "server/svc_util.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "ingest/ingest.h"

#define REQUEST_MAX (64u * 1024)
#define ARENA_MAX (64u * 1024 * 1024)
#define PAGE_BYTES (256u * 1024) /* of positions */
#define KEPT_MAX (16u * 1024)
#define ANSWER_MAX (4u * 1024 * 1024)

typedef struct ask ask;
typedef vv_status answer_fn(ask *a, vv_buf *out, vv_error *err);

struct ask {
    ingest_task task; /* of an append */
    node *n;
    srv_call *call; /* referenced */
    srv_message msg;
    gate_kind kind;
    answer_fn *answer; /* NULL: an append */
    svc_messages what; /* of an append that was read */
    bool is_read;
    vv_table *table;
    vv_arena arena;
    bool is_far; /* on a thread that may wait for an object store */
    /* a PositionRequest */
    svc_table_ref ref;
    uint32_t partition;
    vv_slice name;
    vv_slice after;
    uint64_t offset;
    vv_stream_start start;
    uint32_t durability;
};

/* ---- one request ---- */

static void ask_destroy(ask *a)
{
    vv_table_close(a->table);
    srv_message_release(&a->msg);
    vv_arena_fini(&a->arena);
    srv_call_unref(a->call);
    vv_free(a);
}

static void refuse(ask *a, vv_status st, const vv_error *why)
{
    srv_call_finish(a->call, st, why->msg);
    ask_destroy(a);
}

static vv_status read_request(ask *a, vv_error *err)
{
    wire_reader r = wire_reader_of(a->msg.data);
    wire_field f = {0};
    bool ok = true;
    while (ok && wire_next(&r, &f) > 0) {
        if (f.number == 1)
            ok = svc_kv_take_table(&f, &a->ref);
        else if (f.number == 2)
            ok = svc_kv_take_u32(&f, &a->partition);
        else if (f.number == 3)
            ok = svc_kv_take_bytes(&f, &a->name);
        else if (f.number == 4)
            ok = svc_kv_take_uint(&f, &a->offset);
        else if (f.number == 5)
            ok = svc_stream_take_start(&f, &a->start);
        else if (f.number == 6)
            ok = svc_kv_take_u32(&f, &a->durability);
        else if (f.number == 7)
            ok = svc_kv_take_bytes(&f, &a->after);
    }
    return ok && r.fault == WIRE_GOOD ? VV_OK : svc_kv_fail_malformed("PositionRequest", err);
}

static vv_status reset(ask *a, vv_buf *out, vv_error *err);
static vv_status replay(ask *a, vv_buf *out, vv_error *err);
static vv_status commit(ask *a, vv_buf *out, vv_error *err);

/* What is of a time may have to be fetched from an object store, and dead letters, which take as
 * long as there are some. */
static bool is_of_far(const ask *a)
{
    return a->answer == replay || (a->answer == reset && (a->start.from == VV_STREAM_RECEIVED ||
                                                          a->start.from == VV_STREAM_EVENT));
}

static void run_ask(void *arg);

static void go_far(ask *a)
{
    static const vv_error busy = {.status = VV_BUSY, .msg = SVC_NO_THREAD};
    a->is_far = true;
    if (srv_pool_submit_far(a->n->pool, run_ask, a) != VV_OK)
        refuse(a, VV_BUSY, &busy);
}

static void end_ask(ask *a, vv_status st, vv_buf *out, const vv_error *err)
{
    if (a->kind == GATE_WRITE)
        node_note_write(a->n, st);
    if (st != VV_OK) {
        refuse(a, st, err);
        return;
    }
    srv_call_send(a->call, out);
    srv_call_finish(a->call, VV_OK, NULL);
    ask_destroy(a);
}

static void committed(void *ctx, vv_status st, const vv_error *err)
{
    ask *a = ctx;
    vv_buf out;
    vv_buf_init(&out, ANSWER_MAX);
    wire_put_uint(&out, 1, a->offset);
    end_ask(a, st, &out, err);
    vv_buf_fini(&out);
}

/* Answered when it is written. */
static vv_status commit(ask *a, vv_buf *out, vv_error *err)
{
    (void)out;
    svc_commit what = {.call = a->call,
                       .table = a->table,
                       .partition = a->partition,
                       .name = a->name,
                       .offset = a->offset,
                       .done = committed,
                       .ctx = a};
    vv_status st = svc_kv_durability(a->durability, &what.durability, err);
    return st == VV_OK ? svc_commit_begin(&what, err) : st;
}

static void run_ask(void *arg)
{
    ask *a = arg;
    vv_buf out;
    vv_error err = {0};
    vv_buf_init(&out, ANSWER_MAX);
    vv_status st = read_request(a, &err);
    if (st == VV_OK && !a->is_far && is_of_far(a)) {
        go_far(a);
        return;
    }
    if (st == VV_OK)
        st = svc_message_open(a->call, &a->ref, a->kind, false, &a->table, &err);
    answer_fn *const answer = a->answer;
    if (st == VV_OK)
        st = answer(a, &out, &err);
    if (st == VV_OK && answer == commit)
        return; /* the request may be gone */
    if (st == VV_OK && out.status != VV_OK)
        st = vv_fail(&err, VV_NO_MEMORY, "no memory for the answer");
    end_ask(a, st, &out, &err);
    vv_buf_fini(&out);
}

/* ---- appends ---- */

static void on_appended(void *ctx, vv_status st, const vv_stream_append_result *r,
                        const vv_error *err)
{
    ask *a = ctx;
    ingest_messages_leave(a->n->messages, &a->task);
    if (st != VV_OK) {
        refuse(a, st, err);
        return;
    }
    vv_buf out;
    vv_buf_init(&out, ANSWER_MAX);
    bool is_gone = r->first_offset == VV_STREAM_OFFSET_GONE;
    wire_put_uint(&out, 1, r->partition);
    wire_put_uint(&out, 2, is_gone ? 0 : r->first_offset);
    wire_put_uint(&out, 3, r->count);
    wire_put_int(&out, 4, r->receive_time_ns);
    wire_put_uint(&out, 5, r->duplicate);
    wire_put_uint(&out, 6, is_gone);
    wire_put_int(&out, 7, r->write.version);
    wire_put_uint(&out, 8, r->dead);
    srv_call_trailer(a->call, "varve-durability", ingest_durability_name(r->write.durability));
    srv_call_send(a->call, &out);
    srv_call_finish(a->call, VV_OK, NULL);
    vv_buf_fini(&out);
    ask_destroy(a);
}

static vv_status read_append(ask *a, vv_error *err)
{
    vv_message *messages = NULL;
    vv_arena_reset(&a->arena);
    a->what = (svc_messages){.options = VV_STREAM_APPEND_OPTIONS_INIT};
    vv_status st = svc_stream_read_append(a->msg.data, &a->arena, &a->what.table, &messages,
                                          &a->what.count, &a->what.options, err);
    a->what.messages = messages;
    a->is_read = st == VV_OK;
    return st;
}

/* What was read stays for the next try, as long as it is no more than was counted for it. */
static vv_status run_append(ingest_task *task, vv_error *err)
{
    ask *a = VV_CONTAINER_OF(task, ask, task);
    const uint64_t len = a->msg.data.len;
    vv_status st = a->is_read ? VV_OK : read_append(a, err);
    if (st == VV_OK)
        st = svc_message_append_now(a->call, &a->what, on_appended, a, err);
    if (st == VV_BUSY && a->arena.used > 2 * len + KEPT_MAX) {
        a->is_read = false;
        a->what.messages = NULL; /* how many there were is known still, to whoever tells of it */
        vv_arena_reset(&a->arena);
    }
    return st;
}

static void refuse_append(ingest_task *task, vv_status st, const vv_error *err)
{
    ask *a = VV_CONTAINER_OF(task, ask, task);
    if (st == VV_BUSY) /* the others were noted when it was run */
        svc_message_note_refused(a->call, &a->what, st, err);
    refuse(a, st, err);
}

/* Who sends to which table is told by the last fields of these numbers, as it is when the request
 * is read. What is malformed is refused then. */
static uint64_t order_of(const ask *a)
{
    wire_reader r = wire_reader_of(a->msg.data);
    wire_field f = {0};
    svc_table_ref table = {{0}, {0}};
    vv_slice producer = {NULL, 0};
    bool ok = true;
    while (ok && wire_next(&r, &f) > 0)
        if (f.number == 1)
            ok = svc_kv_take_table(&f, &table);
        else if (f.number == 4 && f.type == WIRE_BYTES)
            producer = f.bytes;
    return svc_message_order(a->call, &table, producer);
}

static void queue_append(ask *a)
{
    a->task.order = order_of(a);
    a->task.bytes = sizeof *a + a->msg.data.len;
    a->task.run = run_append;
    a->task.refuse = refuse_append;
    ingest_messages_submit(a->n->messages, &a->task);
}

/* ---- what is asked ---- */

static vv_status reset(ask *a, vv_buf *out, vv_error *err)
{
    uint64_t offset = 0;
    vv_status st =
        vv_stream_position_reset(a->table, a->partition, a->name, &a->start, &offset, err);
    wire_put_uint(out, 1, offset);
    return st;
}

static vv_status delete_position(ask *a, vv_buf *out, vv_error *err)
{
    (void)out;
    return vv_stream_position_delete(a->table, a->name, err);
}

static int put_position(void *ctx, const vv_stream_position *p)
{
    vv_buf *out = ctx;
    if (out->len >= PAGE_BYTES) {
        wire_put_uint(out, 2, true);
        return 1;
    }
    size_t mark = wire_begin(out, 1);
    wire_put_text(out, 1, vv_slice_str(p->name));
    wire_put_uint(out, 2, p->partition);
    wire_put_uint(out, 3, p->offset);
    wire_put_int(out, 4, p->committed_ns);
    wire_put_uint(out, 5, p->lag);
    wire_end(out, mark);
    return out->status != VV_OK;
}

static vv_status list_positions(ask *a, vv_buf *out, vv_error *err)
{
    const uint32_t partition = a->after.len > 0 ? a->partition : 0;
    return vv_stream_position_list_after(a->table, partition, a->after, put_position, out, err);
}

static int put_rule(void *ctx, const vv_stream_rule_stats *rule)
{
    vv_buf *out = ctx;
    size_t mark = wire_begin(out, 2);
    wire_put_text(out, 1, rule->name);
    wire_put_uint(out, 2, rule->required);
    wire_put_uint(out, 3, rule->found);
    wire_put_uint(out, 4, rule->absent);
    wire_put_uint(out, 5, rule->errors);
    wire_end(out, mark);
    return out->status != VV_OK;
}

static vv_status describe(ask *a, vv_buf *out, vv_error *err)
{
    uint64_t dead = 0;
    vv_table_info info;
    vv_status st = vv_table_identify(a->table, &info, err);
    for (uint32_t p = 0; st == VV_OK && p < info.partitions; p++) {
        vv_stream_stats s = {.size = sizeof s};
        st = vv_stream_stats_read(a->table, p, NULL, &s, err);
        size_t mark = wire_begin(out, 1);
        wire_put_uint(out, 1, p);
        wire_put_uint(out, 2, s.first_offset);
        wire_put_uint(out, 3, s.next_offset);
        wire_put_uint(out, 4, s.bytes);
        wire_put_int(out, 5, s.first_receive_ns);
        wire_put_int(out, 6, s.last_receive_ns);
        wire_put_uint(out, 7, s.producers);
        wire_put_uint(out, 8, s.positions);
        wire_end(out, mark);
        dead = s.dead_letters;
    }
    if (st == VV_OK)
        st = vv_stream_rules_read(a->table, put_rule, out, err);
    wire_put_uint(out, 3, dead);
    return st;
}

static bool client_is_there(void *ctx)
{
    return srv_call_is_open(ctx);
}

static vv_status replay(ask *a, vv_buf *out, vv_error *err)
{
    vv_durability durability = VV_DURABLE_DEFAULT;
    vv_stream_replay_result r = {0};
    vv_status st = svc_kv_durability(a->durability, &durability, err);
    if (st == VV_OK)
        st = vv_stream_replay_while(a->table, durability, client_is_there, a->call, &r, err);
    wire_put_uint(out, 1, r.replayed);
    wire_put_uint(out, 2, r.dead);
    return st;
}

static vv_status next_sequence(ask *a, vv_buf *out, vv_error *err)
{
    uint64_t sequence = 0;
    vv_status st = vv_stream_producer_next(a->table, a->partition, a->name, &sequence, err);
    wire_put_uint(out, 1, sequence);
    return st;
}

static vv_status trim(ask *a, vv_buf *out, vv_error *err)
{
    uint64_t removed = 0;
    vv_status st = vv_stream_trim(a->table, a->partition, a->offset, &removed, err);
    wire_put_uint(out, 1, removed);
    return st;
}

/* ---- methods ---- */

static void begin(srv_call *call, srv_message msg, gate_kind kind, answer_fn *answer)
{
    ask *a = vv_calloc(1, sizeof *a);
    if (a == NULL) {
        srv_message_release(&msg);
        srv_call_finish(call, VV_NO_MEMORY, "no memory for a request");
        return;
    }
    a->n = srv_call_ctx(call);
    a->call = call;
    a->msg = msg;
    a->kind = kind;
    a->answer = answer;
    vv_arena_init(&a->arena, ARENA_MAX);
    srv_call_ref(call);
    vv_error busy = {.msg = SVC_NO_THREAD};
    if (answer == NULL)
        queue_append(a);
    else if (srv_pool_submit_point(a->n->pool, run_ask, a) != VV_OK)
        refuse(a, VV_BUSY, &busy);
}

#define METHOD(name, gate, function)                                                               \
    static void name##_message(srv_call *call, srv_message msg)                                    \
    {                                                                                              \
        begin(call, msg, gate, function);                                                          \
    }

METHOD(append, GATE_WRITE, NULL)
METHOD(commit, GATE_WRITE, commit)
METHOD(reset, GATE_WRITE, reset)
METHOD(delete, GATE_WRITE, delete_position)
METHOD(list, GATE_READ, list_positions)
METHOD(describe, GATE_READ, describe)
METHOD(next, GATE_READ, next_sequence)
METHOD(trim, GATE_WRITE, trim)
METHOD(replay, GATE_WRITE, replay)

#define UNARY(name, function)                                                                      \
    {                                                                                              \
        .kind = SRV_GRPC_UNARY, .path = "/varve.v1.Stream/" name, .message_max = REQUEST_MAX,      \
        .message = function##_message                                                              \
    }

size_t svc_stream_methods(node *n, srv_method *out, size_t max)
{
    static const srv_method methods[] = {
        {.kind = SRV_GRPC_UNARY,
         .path = "/varve.v1.Stream/Append",
         .copies = 2, /* as messages, as an entry */
         .message = append_message},
        {.kind = SRV_GRPC_STREAM,
         .path = "/varve.v1.Stream/Read",
         .message_max = REQUEST_MAX,
         .message = svc_stream_read_message,
         .drained = svc_stream_read_drained,
         .closed = svc_stream_read_closed},
        UNARY("Commit", commit),
        UNARY("ResetPosition", reset),
        UNARY("DeletePosition", delete),
        UNARY("ListPositions", list),
        UNARY("DescribeStream", describe),
        UNARY("NextSequence", next),
        UNARY("Trim", trim),
        UNARY("Replay", replay),
    };
    return svc_add_methods(methods, ARRAY_LEN(methods), n, out, max);
}
