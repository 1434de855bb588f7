/*
 * svc_series_ingest.c - Series.IngestSamples, and the stream of the same requests.
 *
 * The messages of a stream are read one after the other, so that they are written in their order,
 * and many of them may wait for the disk at a time; answers go out in that order too.
 *
 *   first                     reading                 last
 *     done -> written -> written -> (being read) -> waiting -> waiting
 */
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/lock.h"
#include "codec/protowire.h"
#include "feeds/feed_columns.h"
#include "ingest/ingest.h"
#include "server/svc_series.h"
#include "server/svc_series_write.h"
#include "server/svc_util.h"

#define ANSWER_MAX 4096u
#define TURN_MESSAGES 32u /* read before others have the thread */

/* ---- one request ---- */

static uint64_t request_id_of(vv_slice message)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    uint64_t id = 0;
    while (wire_next(&r, &f) > 0)
        if (f.number == 5 && f.type == WIRE_VARINT)
            id = f.value;
    return id;
}

static vv_status open_columns(svc_series_write *w, vv_error *err)
{
    w->columns = vv_calloc(1, sizeof *w->columns);
    if (w->columns == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a request");
    vv_status st = feed_columns_open(w->msg.data, w->columns, err);
    if (st != VV_OK)
        return st;
    w->tenant = w->columns->tenant;
    w->table = w->columns->table;
    svc_series_names(w->n, &w->tenant, &w->table);
    w->durability = VV_DURABLE_SYNC;
    if (w->columns->durability.len > 0)
        st = ingest_durability_parse(w->columns->durability, &w->durability, err);
    return st;
}

static vv_status decode_columns(svc_series_write *w, feed_sink *sink, vv_error *err)
{
    return feed_columns_decode(w->columns, sink, &w->read, err);
}

static void put_answer(const svc_series_write *w, vv_buf *out)
{
    const char *first = "";
    const uint64_t refused = svc_series_refused(w, &first);
    wire_put_uint(out, 1, w->total.accepted);
    wire_put_uint(out, 2, refused);
    wire_put_uint(out, 3, w->total.late);
    wire_put_uint(out, 4, w->total.series_created);
    if (refused > 0)
        wire_put_text(out, 5, vv_slice_str(first));
    wire_put_int(out, 6, w->total.write.version);
}

/* Refused samples are told in the answer; so is that there are too many series, when samples of
 * the others went in. */
static bool is_answer(const svc_series_write *w)
{
    return w->status == VV_OK || (w->status == VV_BUSY && w->is_partial);
}

static void unary_settled(svc_series_write *w)
{
    vv_buf out;
    vv_buf_init(&out, ANSWER_MAX);
    if (is_answer(w)) {
        put_answer(w, &out);
        srv_call_trailer(w->call, "varve-durability",
                         ingest_durability_name(
                             w->total.accepted == 0 ? w->durability : w->total.write.durability));
        srv_call_send(w->call, &out);
        srv_call_finish(w->call, VV_OK, NULL);
    } else {
        srv_call_finish(w->call, w->status, w->err.msg);
    }
    vv_buf_fini(&out);
    svc_series_write_destroy(w);
}

void svc_series_ingest_message(srv_call *call, srv_message msg)
{
    static const svc_series_write_ops ops = {open_columns, decode_columns, unary_settled};
    svc_series_write *w = svc_series_write_create(call, msg, &ops);
    if (w == NULL)
        srv_call_finish(call, VV_NO_MEMORY, "no memory for a write");
    else
        svc_series_write_begin(w);
}

/* ---- a stream ---- */

typedef struct stream {
    node *n;
    srv_call *call; /* referenced */
    vv_mutex lock;  /* rank VV_RANK_LEAF: what follows */
    svc_series_write *first;
    svc_series_write *last;
    svc_series_write *waiting; /* the first that is not being read, and all behind it */
    bool is_reading;
    bool is_answering;
    bool half_closed;
    uint32_t refs; /* of the call, of each write, and of the thread that reads or answers */
} stream;

static void stream_ref_locked(stream *s) VV_REQUIRES(s->lock)
{
    s->refs++;
}

static void stream_unref(stream *s)
{
    vv_mutex_lock(&s->lock);
    bool is_last = --s->refs == 0;
    vv_mutex_unlock(&s->lock);
    if (!is_last)
        return;
    srv_call_unref(s->call);
    vv_mutex_fini(&s->lock);
    vv_free(s);
}

static void send_answer(const svc_series_write *w)
{
    vv_buf out;
    vv_buf_init(&out, ANSWER_MAX);
    if (is_answer(w))
        put_answer(w, &out);
    wire_put_uint(&out, 7, w->request_id);
    if (!is_answer(w)) {
        wire_put_int(&out, 8, vv_status_grpc(w->status));
        wire_put_text(&out, 9, vv_slice_str(w->err.msg));
    }
    srv_call_send(w->call, &out);
    vv_buf_fini(&out);
}

/* Send the answers that are due, in order; one thread at a time. */
static void answer(stream *s)
{
    bool is_over = false;
    vv_mutex_lock(&s->lock);
    if (s->is_answering) { /* who does sees what became due */
        vv_mutex_unlock(&s->lock);
        return;
    }
    s->is_answering = true;
    stream_ref_locked(s);
    while (s->first != NULL && s->first->is_done) {
        svc_series_write *w = s->first;
        s->first = w->next;
        if (s->first == NULL)
            s->last = NULL;
        vv_mutex_unlock(&s->lock);
        send_answer(w);
        svc_series_write_destroy(w);
        vv_mutex_lock(&s->lock);
        s->refs--; /* that of w; never the last */
    }
    s->is_answering = false;
    is_over = s->half_closed && s->first == NULL;
    vv_mutex_unlock(&s->lock);
    if (is_over)
        srv_call_finish(s->call, VV_OK, NULL);
    stream_unref(s);
}

static void stream_settled(svc_series_write *w)
{
    stream *s = w->stream;
    vv_mutex_lock(&s->lock);
    w->is_done = true;
    stream_ref_locked(s);
    vv_mutex_unlock(&s->lock);
    answer(s);
    stream_unref(s);
}

/* The next to be read; NULL when there is none, and nobody reads any more. */
static svc_series_write *next_to_read(stream *s)
{
    vv_mutex_lock(&s->lock);
    svc_series_write *w = s->waiting;
    if (w != NULL)
        s->waiting = w->next;
    s->is_reading = w != NULL;
    vv_mutex_unlock(&s->lock);
    return w;
}

static void refuse_waiting(stream *s)
{
    svc_series_write *w;
    while ((w = next_to_read(s)) != NULL) {
        w->status = vv_fail(&w->err, VV_BUSY, SVC_NO_THREAD);
        stream_settled(w);
    }
}

/* Owns a reference. */
static void read_messages(void *arg)
{
    stream *s = arg;
    for (unsigned i = 0; i < TURN_MESSAGES; i++) {
        svc_series_write *w = next_to_read(s);
        if (w == NULL) {
            stream_unref(s);
            return;
        }
        w->request_id = request_id_of(w->msg.data);
        svc_series_write_run(w);
    }
    if (srv_pool_submit_point(s->n->pool, read_messages, s) == VV_OK)
        return;
    refuse_waiting(s);
    stream_unref(s);
}

void svc_series_stream_start(srv_call *call)
{
    stream *s = vv_calloc(1, sizeof *s);
    if (s == NULL) {
        srv_call_finish(call, VV_NO_MEMORY, "no memory for a stream");
        return;
    }
    s->n = srv_call_ctx(call);
    s->call = call;
    s->refs = 1;
    srv_call_ref(call);
    vv_mutex_init(&s->lock, VV_RANK_LEAF);
    srv_call_set_user(call, s);
}

void svc_series_stream_message(srv_call *call, srv_message msg)
{
    static const svc_series_write_ops ops = {open_columns, decode_columns, stream_settled};
    stream *s = srv_call_user(call);
    if (s == NULL) { /* it was refused at its start */
        srv_message_release(&msg);
        return;
    }
    svc_series_write *w = svc_series_write_create(call, msg, &ops);
    if (w == NULL) {
        srv_call_finish(call, VV_NO_MEMORY, "no memory for a write");
        return;
    }
    w->stream = s;
    vv_mutex_lock(&s->lock);
    if (s->last != NULL)
        s->last->next = w;
    else
        s->first = w;
    s->last = w;
    if (s->waiting == NULL)
        s->waiting = w;
    bool begins = !s->is_reading;
    s->is_reading = true;
    stream_ref_locked(s);
    if (begins)
        stream_ref_locked(s);
    vv_mutex_unlock(&s->lock);
    if (!begins || srv_pool_submit_point(s->n->pool, read_messages, s) == VV_OK)
        return;
    refuse_waiting(s);
    stream_unref(s);
}

void svc_series_stream_half_close(srv_call *call)
{
    stream *s = srv_call_user(call);
    if (s == NULL)
        return;
    vv_mutex_lock(&s->lock);
    s->half_closed = true;
    vv_mutex_unlock(&s->lock);
    answer(s);
}

void svc_series_stream_closed(srv_call *call)
{
    stream *s = srv_call_user(call);
    srv_call_set_user(call, NULL);
    if (s != NULL)
        stream_unref(s);
}
