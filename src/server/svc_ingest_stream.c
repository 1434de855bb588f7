/*
 * svc_ingest_stream.c - IngestStream: records in, acknowledgements out, for as long as the client
 * likes.
 *
 *   loop thread                                   writer thread
 *     message --> pipeline (or held: see below)     settled: ack or error, in order
 *     half_close --> an END behind them             turn: one ack for the group (ack = batch)
 *     closed --> the producer closes                END settled: status and trailers
 *                                                   tick: StreamStats once a second
 *
 * A record's sequence number is its place among the records of the stream, from 1, counted as they
 * are settled. A client that sends and never reads its answers is stopped here: above
 * SRV_OUTPUT_HIGH bytes of answers queued, messages are held back unreleased, and flow control does
 * the rest.
 */
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "codec/protowire.h"
#include "server/svc_ingest.h"

#define ANSWER_MAX (64u * 1024)

typedef struct stream {
    node *n;
    srv_call *call; /* referenced */
    ingest_producer *producer;
    svc_ingest_who who;
    _Atomic uint64_t messages; /* received */
    _Atomic uint64_t bytes;

    /* The loop thread's: messages that wait for the client to read. */
    srv_message *held;
    size_t held_first, held_count, held_cap;
    bool half_closed; /* the END waits behind them */

    /* The writer thread's. */
    bool ack_batch;
    bool ended;
    uint64_t sequence; /* records settled */
    uint64_t controls; /* other messages settled */
    vv_durability durability;
    bool ack_due;
    uint64_t ack_sequence; /* of the last record that is durable */
    int64_t ack_version;
    vv_buf ack_id;
} stream;

/* ---- the writer's side ---- */

static vv_status stream_resolve(void *ctx, vv_slice tenant, vv_slice table, vv_table **out,
                                vv_error *err)
{
    stream *s = ctx;
    return svc_ingest_resolve(s->n, &s->who, tenant, table, out, err);
}

/* Send what was put into out, or end the stream when there was no room. */
static void send(stream *s, vv_buf *out)
{
    if (out->status == VV_OK) {
        srv_call_send(s->call, out);
    } else if (!s->ended) {
        s->ended = true;
        srv_call_finish(s->call, out->status, "no memory for an answer");
    }
    vv_buf_fini(out);
}

static void send_ack(stream *s, vv_slice id, int64_t version, uint64_t sequence)
{
    vv_buf out;
    vv_buf_init(&out, ANSWER_MAX);
    size_t mark = wire_begin(&out, 1);
    wire_put_bytes(&out, 1, id);
    wire_put_varint(&out, 2, (uint64_t)version);
    wire_put_varint(&out, 3, sequence);
    wire_end(&out, mark);
    send(s, &out);
}

static void send_due_ack(stream *s)
{
    if (!s->ack_due || s->ended)
        return;
    s->ack_due = false;
    send_ack(s, vv_buf_slice(&s->ack_id), s->ack_version, s->ack_sequence);
}

static void send_error(stream *s, const ingest_result *r)
{
    vv_buf out;
    vv_buf_init(&out, ANSWER_MAX);
    size_t mark = wire_begin(&out, 2);
    svc_ingest_put_status(&out, 1, r->status, r->message);
    wire_put_varint(&out, 2, s->sequence);
    wire_end(&out, mark);
    send(s, &out);
}

static void settle_record(stream *s, const ingest_item *item, const ingest_outcome *o)
{
    const ingest_result *r = ingest_item_result(item, 0);
    s->sequence++;
    if (r->status != VV_OK) {
        send_error(s, r);
        return;
    }
    if (s->durability == VV_DURABLE_DEFAULT || o->durability > s->durability)
        s->durability = o->durability;
    s->ack_sequence = s->sequence;
    if (!s->ack_batch) {
        send_ack(s, r->id, r->version, s->sequence);
        return;
    }
    s->ack_version = r->version;
    vv_buf_reset(&s->ack_id);
    vv_buf_append_slice(&s->ack_id, r->id);
    s->ack_due = true;
}

static void end(stream *s, vv_status status, const char *message)
{
    send_due_ack(s);
    if (s->ended)
        return;
    s->ended = true;
    if (status == VV_OK)
        srv_call_trailer(s->call, "varve-durability", svc_ingest_given(s->n, s->durability));
    srv_call_finish(s->call, status, message);
}

static void stream_settled(void *ctx, const ingest_item *item)
{
    stream *s = ctx;
    ingest_outcome o;
    ingest_item_outcome(item, &o);
    svc_ingest_note(s->n, item, &o);
    if (s->ended)
        return;
    if (o.status != VV_OK) {
        end(s, o.status, o.message);
        return;
    }
    s->controls += o.event != INGEST_EVENT_RECORDS;
    switch (o.event) {
    case INGEST_EVENT_RECORDS:
        settle_record(s, item, &o);
        break;
    case INGEST_EVENT_INIT:
        s->ack_batch = o.ack_batch;
        s->durability = o.durability;
        break;
    case INGEST_EVENT_COMMIT:
        s->ack_due |= s->ack_batch; /* an answer also when all was acknowledged before */
        send_due_ack(s);
        break;
    case INGEST_EVENT_END:
        end(s, VV_OK, NULL);
        break;
    }
}

static void stream_turn(void *ctx)
{
    send_due_ack(ctx);
}

static void stream_tick(void *ctx)
{
    stream *s = ctx;
    if (s->ended || srv_call_queued(s->call) > SRV_OUTPUT_HIGH)
        return;
    uint64_t messages = atomic_load_explicit(&s->messages, memory_order_relaxed);
    vv_buf out;
    vv_buf_init(&out, ANSWER_MAX);
    size_t mark = wire_begin(&out, 3);
    wire_put_varint(&out, 1, messages - vv_min_u64(messages, s->controls));
    wire_put_varint(&out, 2, s->sequence);
    wire_put_varint(&out, 3, atomic_load_explicit(&s->bytes, memory_order_relaxed));
    svc_ingest_put_time(&out, 4, vv_clock_wall(s->n->env.clock));
    wire_end(&out, mark);
    send(s, &out);
}

static void stream_free(void *ctx)
{
    stream *s = ctx;
    srv_call_unref(s->call);
    svc_ingest_who_fini(&s->who);
    vv_buf_fini(&s->ack_id);
    vv_free(s->held);
    vv_free(s);
}

static const ingest_producer_ops stream_ops = {.resolve = stream_resolve,
                                               .settled = stream_settled,
                                               .turn = stream_turn,
                                               .tick = stream_tick,
                                               .closed = stream_free};

/* ---- the loop's side ---- */

void svc_ingest_stream_start(srv_call *call)
{
    vv_error err;
    stream *s = vv_calloc(1, sizeof *s);
    if (s == NULL) {
        srv_call_finish(call, VV_NO_MEMORY, "no memory for a stream");
        return;
    }
    s->n = srv_call_ctx(call);
    s->call = call;
    srv_call_ref(call);
    vv_buf_init(&s->ack_id, VV_KEY_MAX);
    vv_status st = svc_ingest_who_init(&s->who, call, &err);
    if (st == VV_OK)
        st = svc_ingest_open(s->n, &s->who, &stream_ops, s, &s->producer, &err);
    if (st != VV_OK) {
        srv_call_finish(call, st, err.msg);
        stream_free(s);
        return;
    }
    srv_call_set_user(call, s);
}

static bool must_hold(const stream *s)
{
    return s->held_count > 0 || srv_call_queued(s->call) > SRV_OUTPUT_HIGH;
}

static vv_status hold(stream *s, const srv_message *msg, vv_error *err)
{
    if (s->held_first + s->held_count == s->held_cap) {
        if (s->held_first > 0) {
            memmove(s->held, s->held + s->held_first, s->held_count * sizeof *s->held);
            s->held_first = 0;
        } else {
            size_t cap = s->held_cap == 0 ? 64 : s->held_cap * 2;
            srv_message *more = vv_realloc(s->held, cap * sizeof *more);
            if (more == NULL)
                return vv_fail(err, VV_NO_MEMORY, "no memory to hold a message back");
            s->held = more;
            s->held_cap = cap;
        }
    }
    s->held[s->held_first + s->held_count++] = *msg;
    return VV_OK;
}

static void submit(stream *s, ingest_kind kind, const srv_message *msg)
{
    vv_error err;
    ingest_message message = {0};
    if (msg != NULL)
        message = svc_ingest_message(msg);
    vv_status st = ingest_submit(s->producer, kind, &message, &err);
    if (st != VV_OK)
        srv_call_finish(s->call, st, err.msg);
}

void svc_ingest_stream_message(srv_call *call, srv_message msg)
{
    stream *s = srv_call_user(call);
    vv_error err;
    if (s == NULL) { /* it was refused at its start */
        srv_message_release(&msg);
        return;
    }
    atomic_fetch_add_explicit(&s->messages, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->bytes, msg.data.len, memory_order_relaxed);
    if (!must_hold(s)) {
        submit(s, INGEST_STREAM, &msg);
        return;
    }
    vv_status st = hold(s, &msg, &err);
    if (st != VV_OK) {
        srv_message_release(&msg);
        srv_call_finish(call, st, err.msg);
    }
}

void svc_ingest_stream_half_close(srv_call *call)
{
    stream *s = srv_call_user(call);
    if (s == NULL)
        return;
    s->half_closed = true;
    if (s->held_count == 0)
        submit(s, INGEST_END, NULL);
}

void svc_ingest_stream_drained(srv_call *call)
{
    stream *s = srv_call_user(call);
    if (s == NULL || s->held_count == 0)
        return;
    while (s->held_count > 0 && srv_call_queued(call) <= SRV_OUTPUT_HIGH) {
        srv_message msg = s->held[s->held_first++];
        s->held_count--;
        submit(s, INGEST_STREAM, &msg);
    }
    if (s->held_count > 0)
        return;
    s->held_first = 0;
    if (s->half_closed)
        submit(s, INGEST_END, NULL);
}

void svc_ingest_stream_closed(srv_call *call)
{
    stream *s = srv_call_user(call);
    if (s == NULL)
        return;
    while (s->held_count > 0) {
        srv_message_release(&s->held[s->held_first++]);
        s->held_count--;
    }
    srv_call_set_user(call, NULL);
    ingest_producer_close(s->producer); /* s may be gone now */
}
