/*
 * svc_engine.c - storage_engine.StorageEngine/ProcessMessage: one message at a time into the stream
 * table "messages".
 *
 *   Message     content: the value; id: the key; timestamp: the event time
 *   answered    when the message is synced, never before: success, "stored at offset N"
 *
 * An id makes a message known (svc_window.h): sent again with the same content it is not stored
 * twice and the answer is the first one's; with another content success is false and nothing
 * is stored. The window of a table is its newest SVC_WINDOW_IDS ids, learned from the table when it
 * is first asked for, at most LEARN_BYTES of it: by a job of the long lane, for which requests of
 * that table wait in the window, and no others.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/point.h"
#include "base/util.h"
#include "codec/protowire.h"
#include "server/svc_ingest.h"
#include "server/svc_message.h"
#include "server/svc_util.h"
#include "server/svc_window.h"

#define MESSAGE_MAX (16u * 1024 * 1024)
#define TENANT_HEADER "x-tenant"
#define SOURCE "storage_engine"
#define LEARN_BYTES (64u * 1024 * 1024)
#define WINDOWS_BYTES (64u * 1024 * 1024) /* at most, and a sixteenth of memory_limit */
#define SENTENCE_MAX 96u

typedef struct process {
    node *n;
    srv_call *call; /* referenced */
    srv_message msg;
    vv_slice id;
    vv_slice content;
    int64_t timestamp;
    uint32_t table_id;
    svc_window_id name;
    svc_waiter waiter;
    bool is_pending; /* in the window */
    vv_message message;
    svc_messages what;
} process;

/* Reads the newest messages of a table. */
typedef struct learner {
    node *n;
    vv_table *table;
    uint32_t table_id;
    uint32_t partitions;
    bool local; /* the object store did not answer: the rest goes without it */
} learner;

vv_status svc_engine_start(node *n, vv_error *err)
{
    const uint64_t limit = n->budget == NULL ? 0 : n->budget->limit;
    n->ids = svc_windows_create(n->budget,
                                limit == 0 ? WINDOWS_BYTES : vv_min_u64(limit / 16, WINDOWS_BYTES));
    return n->ids != NULL ? VV_OK : vv_fail(err, VV_NO_MEMORY, "no memory for ids of messages");
}

void svc_engine_stop(node *n)
{
    svc_windows_destroy(n->ids);
    n->ids = NULL;
}

static void process_destroy(process *p)
{
    srv_message_release(&p->msg);
    srv_call_unref(p->call);
    vv_free(p);
}

static void refuse(process *p, vv_status st, const vv_error *why)
{
    if (p->is_pending)
        svc_window_end(p->n->ids, p->table_id, p->name, false, 0);
    srv_call_finish(p->call, st, why->msg);
    process_destroy(p);
}

static void answer(process *p, bool success, const char *sentence)
{
    vv_buf out;
    vv_buf_init(&out, 1024);
    wire_put_uint(&out, 1, success);
    wire_put_text(&out, 2, vv_slice_str(sentence));
    srv_call_send(p->call, &out);
    srv_call_finish(p->call, VV_OK, NULL);
    vv_buf_fini(&out);
    process_destroy(p);
}

static void on_appended(void *ctx, vv_status st, const vv_stream_append_result *result,
                        const vv_error *err)
{
    process *p = ctx;
    char text[SENTENCE_MAX];
    if (st != VV_OK) {
        refuse(p, st, err);
        return;
    }
    if (result->count == 0) {
        if (p->is_pending)
            svc_window_end(p->n->ids, p->table_id, p->name, false, 0);
        answer(p, false, "refused by the rules of the table: it lies among the dead letters");
        return;
    }
    if (p->is_pending)
        svc_window_end(p->n->ids, p->table_id, p->name, true, result->first_offset);
    (void)snprintf(text, sizeof text, "stored at offset %" PRIu64, result->first_offset);
    answer(p, true, text);
}

/* ---- ids ---- */

/* Without the time: rules of the table may have made another one of it. */
static uint64_t content_hash(vv_slice content)
{
    return vv_hash64(content.data, content.len);
}

static vv_status learn_from(const learner *l, uint32_t partition, uint64_t offset, bool local,
                            vv_error *err)
{
    vv_stream_cursor *c = NULL;
    vv_message m;
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    opt.partition = partition;
    opt.local = local;
    opt.start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = offset};
    vv_status st = vv_stream_cursor_open(l->table, &opt, &c, err);
    while (st == VV_OK && (st = vv_stream_cursor_next(c, &m, err)) == VV_OK)
        if (m.key.len > 0 && vv_slice_eq(m.source, vv_slice_str(SOURCE)))
            svc_window_learn(l->n->ids, l->table_id, svc_window_id_of(m.key), content_hash(m.value),
                             m.offset);
    vv_stream_cursor_close(c);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* The newest messages of a partition, as many as its share of the window and of the bytes. Where
 * the object store does not give those that lie there alone, it goes without them: messages are
 * taken while the store is away, and a repeat of an older one is not known then. */
static vv_status learn_partition(learner *l, uint32_t partition, vv_error *err)
{
    vv_stream_stats s = {.size = sizeof s};
    vv_status st = vv_stream_stats_read(l->table, partition, NULL, &s, err);
    if (st != VV_OK || s.messages == 0)
        return st;
    uint64_t count = vv_min_u64(s.messages, SVC_WINDOW_IDS / l->partitions);
    const uint64_t each = s.bytes / s.messages + 1;
    count = vv_min_u64(count, LEARN_BYTES / l->partitions / each + 1);
    const uint64_t from = s.next_offset - count;
    if (from >= s.local_offset)
        return learn_from(l, partition, from, true, err);
    vv_error why = {0};
    st = l->local ? VV_BUSY : learn_from(l, partition, from, false, &why);
    if (st == VV_OK || st == VV_NO_MEMORY) {
        if (st != VV_OK && err != NULL)
            *err = why;
        return st;
    }
    l->local = true;
    vv_log_to(l->n->log, VV_LOG_WARN, "stream", "ids of archived messages are not known",
              VV_KV_U("table", l->table_id), VV_KV_U("partition", partition),
              VV_KV_U("first", from), VV_KV_U("next", s.local_offset), VV_KV_S("error", why.msg));
    st =
        vv_stream_stats_read(l->table, partition, NULL, &s, err); /* more may have left meanwhile */
    return st == VV_OK ? learn_from(l, partition, s.local_offset, true, err) : st;
}

static void run_process(void *arg);

/* Who waited is run again, or told why not. */
static void wake(node *n, uint32_t table_id, vv_status st, const vv_error *why)
{
    static const vv_error busy = {.msg = SVC_NO_THREAD};
    svc_waiter *next = NULL;
    for (svc_waiter *one = svc_window_learned(n->ids, table_id, st == VV_OK); one != NULL;
         one = next) {
        process *p = VV_CONTAINER_OF(one, process, waiter);
        next = one->next;
        if (st != VV_OK)
            refuse(p, st, why);
        else if (srv_pool_submit_point(n->pool, run_process, p) != VV_OK)
            refuse(p, VV_BUSY, &busy);
    }
}

static void run_learner(void *arg)
{
    learner *l = arg;
    vv_error err = {0};
    vv_status st = VV_OK;
    VV_POINT("engine.learn");
    for (uint32_t i = 0; st == VV_OK && i < l->partitions; i++)
        st = learn_partition(l, i, &err);
    wake(l->n, l->table_id, st, &err);
    vv_table_close(l->table);
    vv_free(l);
}

/* On the lane of what may wait for an object store. Takes the table. */
static void start_learning(node *n, vv_table *table, const vv_table_info *info)
{
    static const vv_error busy = {.msg = SVC_NO_THREAD};
    static const vv_error full = {.msg = "no memory to read the ids of a table's messages"};
    learner *l = vv_calloc(1, sizeof *l);
    if (l != NULL) {
        *l =
            (learner){.n = n, .table = table, .table_id = info->id, .partitions = info->partitions};
        if (srv_pool_submit_far(n->pool, run_learner, l) == VV_OK)
            return;
    }
    wake(n, info->id, l == NULL ? VV_NO_MEMORY : VV_BUSY, l == NULL ? &full : &busy);
    vv_table_close(table);
    vv_free(l);
}

/* Whether the message is known. With *state WAITS or LEARN p is not the caller's any more. */
static vv_status look_up(process *p, svc_window_state *state, uint64_t *offset, vv_error *err)
{
    node *n = p->n;
    vv_table *table = NULL;
    vv_table_info info = {0};
    vv_status st = svc_message_open(p->call, &p->what.table, GATE_WRITE, true, &table, err);
    if (st == VV_OK)
        st = vv_table_identify(table, &info, err);
    if (st == VV_OK) {
        p->table_id = info.id;
        p->name = svc_window_id_of(p->id);
        st = svc_window_begin(n->ids, info.id, p->name, content_hash(p->content), &p->waiter, state,
                              offset, err);
    }
    if (st == VV_OK && *state == SVC_WINDOW_LEARN) {
        start_learning(n, table, &info);
        return VV_OK;
    }
    if (st == VV_OK && *state == SVC_WINDOW_NEW)
        p->is_pending = true;
    vv_table_close(table);
    return st;
}

/* ---- requests ---- */

/* The unit by the size: 1e11 seconds lie in the year 5138, as many milliseconds in 1973. */
static bool time_of(int64_t timestamp, int64_t *out)
{
    static const int64_t bounds[] = {100000000000, 100000000000000, 100000000000000000};
    static const int64_t units[] = {VV_NS_PER_S, VV_NS_PER_MS, 1000, 1};
    const uint64_t size = timestamp < 0 ? 0 - (uint64_t)timestamp : (uint64_t)timestamp;
    size_t i = 0;
    while (i < ARRAY_LEN(bounds) && size >= (uint64_t)bounds[i])
        i++;
    return !__builtin_mul_overflow(timestamp, units[i], out);
}

static vv_status read_request(process *p, vv_error *err)
{
    wire_reader r = wire_reader_of(p->msg.data);
    wire_field f = {0};
    bool ok = true;
    while (ok && wire_next(&r, &f) > 0) {
        if (f.number == 1)
            ok = svc_kv_take_bytes(&f, &p->id);
        else if (f.number == 2)
            ok = svc_kv_take_bytes(&f, &p->content);
        else if (f.number == 3)
            ok = svc_kv_take_int(&f, &p->timestamp);
    }
    if (!ok || r.fault != WIRE_GOOD)
        return vv_fail(err, VV_INVALID, "the bytes are no storage_engine.Message");
    if (!utf8_is_valid(p->id) || !utf8_is_valid(p->content))
        return vv_fail(err, VV_INVALID, "id and content are text, in UTF-8");
    if (!time_of(p->timestamp, &p->message.event_time_ns))
        return vv_fail(err, VV_INVALID, "timestamp %" PRId64 " lies past the year 2262",
                       p->timestamp);
    p->message.key = p->id;
    p->message.value = p->content;
    p->message.source = vv_slice_str(SOURCE);
    return VV_OK;
}

/* True: the call is answered, or will be. */
static bool settle_known(process *p, svc_window_state state, uint64_t offset)
{
    char text[SENTENCE_MAX];
    switch (state) {
    case SVC_WINDOW_STORED:
        (void)snprintf(text, sizeof text, "stored at offset %" PRIu64 " before", offset);
        answer(p, true, text);
        return true;
    case SVC_WINDOW_OTHER:
        answer(p, false, "not stored: another message was sent with this id");
        return true;
    case SVC_WINDOW_PENDING: {
        const vv_error busy = {.msg = "a message with this id is being stored: retry after a "
                                      "pause"};
        refuse(p, VV_BUSY, &busy);
        return true;
    }
    case SVC_WINDOW_WAITS:
    case SVC_WINDOW_LEARN:
        return true; /* it is run again */
    case SVC_WINDOW_NEW:
    default:
        return false;
    }
}

static void run_process(void *arg)
{
    process *p = arg;
    vv_error err = {0};
    svc_window_state state = SVC_WINDOW_NEW;
    uint64_t offset = 0;
    p->what.table.tenant = srv_call_header(p->call, TENANT_HEADER);
    vv_status st = svc_message_authorize(p->call, &p->what.table, GATE_WRITE, &err);
    if (st == VV_OK)
        st = read_request(p, &err);
    if (st == VV_OK && p->id.len > 0)
        st = look_up(p, &state, &offset, &err);
    if (st == VV_OK && settle_known(p, state, offset))
        return;
    if (st == VV_OK)
        st = svc_message_append(p->call, &p->what, on_appended, p, &err);
    if (st != VV_OK)
        refuse(p, st, &err);
}

static void process_message(srv_call *call, srv_message msg)
{
    static const vv_error busy = {.msg = SVC_NO_THREAD};
    process *p = vv_calloc(1, sizeof *p);
    if (p == NULL) {
        srv_message_release(&msg);
        srv_call_finish(call, VV_NO_MEMORY, "no memory for a request");
        return;
    }
    p->n = srv_call_ctx(call);
    p->call = call;
    p->msg = msg;
    p->what = (svc_messages){
        .messages = &p->message, .count = 1, .options = VV_STREAM_APPEND_OPTIONS_INIT};
    p->what.options.durability = VV_DURABLE_SYNC;
    srv_call_ref(call);
    if (srv_pool_submit_point(p->n->pool, run_process, p) != VV_OK)
        refuse(p, VV_BUSY, &busy);
}

size_t svc_engine_methods(node *n, srv_method *out, size_t max)
{
    static const srv_method methods[] = {
        {.kind = SRV_GRPC_UNARY,
         .path = "/storage_engine.StorageEngine/ProcessMessage",
         .ports = SVC_INGEST_PORTS,
         .message_max = MESSAGE_MAX,
         .copies = 1, /* as an entry */
         .message = process_message},
    };
    return svc_add_methods(methods, ARRAY_LEN(methods), n, out, max);
}
