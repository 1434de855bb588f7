/*
 * svc_http_stream_append.c - POST /api/v1/stream/append: the messages of a body, all of them or
 * none, in one partition.
 *
 *   Content-Type   text/plain: each line is a value; anything else is read as JSON or JSON lines
 *   parameters     tenant, table, partition, producer, sequence, durability
 *   answer {"partition":0,"count":2,"dead":0,"duplicate":false,"first_offset":7,"received":"..."}
 *
 * The body is queued as it came and read by a worker in the place that it has there, so requests of
 * a producer, or of a connection without one, are appended in the order in which they came.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/time_text.h"
#include "base/util.h"
#include "ingest/ingest.h"
#include "server/svc_http_stream.h"
#include "server/svc_util.h"

#define ARENA_MAX (64u * 1024 * 1024)
#define ANSWER_MAX 1024u

typedef struct append {
    ingest_task task;
    node *n;
    srv_call *call; /* referenced */
    srv_message msg;
    vv_arena arena;
    uint64_t charge; /* of arena */
    svc_messages what;
    bool is_read; /* what is: it stays for another try */
} append;

static void append_destroy(append *a)
{
    srv_message_release(&a->msg);
    vv_arena_fini(&a->arena);
    vv_budget_release(a->n->budget, VV_BUDGET_NETWORK, a->charge);
    srv_call_unref(a->call);
    vv_free(a);
}

static void refuse(append *a, vv_status st, const char *message)
{
    svc_reply_error(a->call, st, message);
    append_destroy(a);
}

static void on_appended(void *ctx, vv_status st, const vv_stream_append_result *r,
                        const vv_error *err)
{
    append *a = ctx;
    char head[64];
    char time[TIME_TEXT_MAX];
    vv_buf out;
    ingest_messages_leave(a->n->messages, &a->task);
    if (st != VV_OK) {
        refuse(a, st, err->msg);
        return;
    }
    vv_buf_init(&out, ANSWER_MAX);
    vv_buf_printf(&out, "{\"partition\":%u,\"count\":%zu,\"dead\":%zu,\"duplicate\":%s",
                  r->partition, r->count, r->dead, r->duplicate ? "true" : "false");
    if (r->first_offset != VV_STREAM_OFFSET_GONE)
        vv_buf_printf(&out, ",\"first_offset\":%" PRIu64, r->first_offset);
    if (!r->duplicate) {
        time_text_format(r->receive_time_ns, time);
        vv_buf_printf(&out, ",\"received\":\"%s\"", time);
    }
    vv_buf_append_str(&out, "}\n");
    (void)snprintf(head, sizeof head, "Varve-Durability: %s",
                   ingest_durability_name(r->write.durability));
    srv_call_reply(a->call, 200, "application/json", &out, head);
    vv_buf_fini(&out);
    append_destroy(a);
}

/* Many small messages are more in memory than in their body, which is counted by itself. */
static vv_status charge_arena(append *a, vv_error *err)
{
    if (!vv_budget_reserve(a->n->budget, VV_BUDGET_NETWORK, a->arena.used))
        return vv_fail(err, VV_BUSY,
                       "storage.memory_limit is used up: retry after a pause, or send less at a "
                       "time");
    a->charge = a->arena.used;
    return VV_OK;
}

/* Who leaves the sequence out would send 0 each time, and lose all but the first as repeats. */
static vv_status check_producer(const srv_call *call, const svc_stream_query *q, vv_error *err)
{
    const bool counts = svc_query_value(srv_call_query(call), "sequence").data != NULL;
    if (q->producer.len > 0 && !counts)
        return vv_fail(err, VV_INVALID,
                       "sequence: a producer has to give it: the number of the first message, "
                       "counted from 0 in each partition; or leave out producer");
    if (q->producer.len == 0 && counts)
        return vv_fail(err, VV_INVALID,
                       "producer: a sequence is of one: name it, or leave out sequence");
    return VV_OK;
}

static vv_status read_request(append *a, vv_error *err)
{
    static const char *const names[] = {"tenant",   "table",      "partition", "producer",
                                        "sequence", "durability", NULL};
    svc_stream_query q;
    vv_message *messages = NULL;
    const bool is_text =
        vv_slice_has_prefix(srv_call_header(a->call, "content-type"), vv_slice_str("text/plain"));
    a->what.messages = NULL; /* of a try before: the arena has them no more */
    a->what.count = 0;
    vv_status st = svc_stream_query_read(a->call, names, &a->arena, &q, err);
    if (st == VV_OK)
        st = check_producer(a->call, &q, err);
    if (st == VV_OK)
        st = svc_message_authorize(a->call, &q.table, GATE_WRITE, err);
    if (st == VV_OK)
        st = svc_stream_read_body(a->msg.data, is_text, &a->arena, &messages, &a->what.count, err);
    if (st == VV_OK)
        st = charge_arena(a, err);
    a->what.table = q.table;
    a->what.messages = messages;
    a->what.options.producer = q.producer;
    a->what.options.sequence = q.sequence;
    a->what.options.durability = q.durability;
    if (q.has_partition)
        a->what.options.partition = q.partition;
    return st;
}

static vv_status run_append(ingest_task *task, vv_error *err)
{
    append *a = VV_CONTAINER_OF(task, append, task);
    vv_status st = VV_OK;
    if (!a->is_read) {
        vv_arena_reset(&a->arena);
        st = read_request(a, err);
        a->is_read = st == VV_OK;
    }
    return st == VV_OK ? svc_message_append_now(a->call, &a->what, on_appended, a, err) : st;
}

static void refuse_append(ingest_task *task, vv_status st, const vv_error *err)
{
    append *a = VV_CONTAINER_OF(task, append, task);
    if (st == VV_BUSY) /* the others were noted when it was run */
        svc_message_note_refused(a->call, &a->what, st, err);
    refuse(a, st, err->msg);
}

/* Who sends to which table, as it is when the request is read; names of tables need no decoding. */
static uint64_t order_of(const srv_call *call)
{
    vv_buf id;
    const svc_table_ref table = {svc_query_value(srv_call_query(call), "tenant"),
                                 svc_query_value(srv_call_query(call), "table")};
    const vv_slice raw = svc_query_value(srv_call_query(call), "producer");
    vv_buf_init(&id, raw.len + 1);
    const bool ok = raw.len > 0 && svc_percent_decode(raw, &id) && id.status == VV_OK;
    const uint64_t order = svc_message_order(call, &table, ok ? vv_buf_slice(&id) : raw);
    vv_buf_fini(&id);
    return order;
}

void svc_http_stream_append_message(srv_call *call, srv_message msg)
{
    append *a = vv_calloc(1, sizeof *a);
    if (a == NULL) {
        srv_message_release(&msg);
        svc_reply_error(call, VV_NO_MEMORY, "no memory for a request");
        return;
    }
    a->n = srv_call_ctx(call);
    a->call = call;
    a->msg = msg;
    a->what.options = (vv_stream_append_options)VV_STREAM_APPEND_OPTIONS_INIT;
    vv_arena_init(&a->arena, ARENA_MAX);
    srv_call_ref(call);
    a->task = (ingest_task){.order = order_of(call),
                            .bytes = sizeof *a + msg.data.len,
                            .run = run_append,
                            .refuse = refuse_append};
    ingest_messages_submit(a->n->messages, &a->task);
}
