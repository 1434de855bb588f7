/*
 * svc_message.c - see svc_message.h.
 */
#include "server/svc_message.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "server/svc_event.h"
#include "server/svc_util.h"

/* An append on its way. */
typedef struct append {
    ingest_task task; /* where it is queued */
    bool is_queued;
    svc_messages what;
    svc_trace trace;
    node *n;
    srv_call *call; /* referenced */
    vv_table *table;
    svc_message_done *done;
    void *ctx;
} append;

/* The operation of a request, in *op, which the grant borrows. */
static vv_status authorize(srv_call *call, const svc_table_ref *ref, gate_kind kind, gate_op *op,
                           gate_grant *grant, vv_error *err)
{
    node *n = srv_call_ctx(call);
    gate_identity who = svc_identity(call);
    *op = (gate_op){.kind = kind,
                    .tenant = ref->tenant,
                    .table = ref->table.len > 0 ? ref->table : vv_slice_str(SVC_MESSAGE_TABLE),
                    .to_last = true};
    return gate_authorize(n->gate, &who, op, 1, grant, err);
}

vv_status svc_message_authorize(srv_call *call, const svc_table_ref *ref, gate_kind kind,
                                vv_error *err)
{
    gate_op op;
    gate_grant grant;
    return authorize(call, ref, kind, &op, &grant, err);
}

vv_status svc_message_open(srv_call *call, const svc_table_ref *ref, gate_kind kind, bool creates,
                           vv_table **out, vv_error *err)
{
    gate_op op;
    gate_grant grant;
    vv_table *table = NULL;
    assert(out != NULL);
    vv_status st = authorize(call, ref, kind, &op, &grant, err);
    if (st == VV_OK)
        st = creates ? gate_open_table(&grant, 0, VV_TABLE_STREAM, &table, err)
                     : gate_find_table(&grant, 0, VV_TABLE_STREAM, &table, err);
    if (st == VV_OK && vv_table_kind_of(table) != VV_TABLE_STREAM) {
        st = vv_fail(err, VV_INVALID, "table '%.*s' holds no messages", (int)op.table.len,
                     (const char *)op.table.data);
        vv_table_close(table);
        table = NULL;
    }
    *out = table;
    return st;
}

vv_status svc_message_limit(srv_call *call, const svc_table_ref *ref, uint64_t *out, vv_error *err)
{
    vv_table *table = NULL;
    vv_table_info info;
    *out = VV_STREAM_MESSAGE_MAX;
    vv_status st = svc_message_open(call, ref, GATE_WRITE, false, &table, err);
    if (st == VV_OK)
        st = vv_table_identify(table, &info, err);
    else if (st == VV_NOT_FOUND)
        return VV_OK;
    if (st == VV_OK)
        *out = info.message_size_max;
    vv_table_close(table);
    return st;
}

uint64_t svc_message_order(const srv_call *call, const svc_table_ref *table, vv_slice producer)
{
    const uint64_t connection = srv_call_connection(call);
    const uint64_t who = producer.len > 0 ? vv_hash64(producer.data, producer.len)
                                          : vv_hash64(&connection, sizeof connection);
    const vv_slice tenant = table->tenant.len > 0 ? table->tenant : vv_slice_str("default");
    const vv_slice name = table->table.len > 0 ? table->table : vv_slice_str(SVC_MESSAGE_TABLE);
    const uint64_t all[] = {vv_hash64(tenant.data, tenant.len), vv_hash64(name.data, name.len),
                            who};
    return vv_hash64(all, sizeof all);
}

static void append_destroy(append *a)
{
    vv_table_close(a->table);
    srv_call_unref(a->call);
    vv_free(a);
}

static void on_appended(void *ctx, vv_status st, const vv_stream_append_result *result,
                        const vv_error *err)
{
    append *a = ctx;
    if (a->is_queued)
        ingest_messages_leave(a->n->messages, &a->task);
    node_note_write(a->n, st);
    svc_event_appended(a->n, &a->trace, a->table, a->what.count, st, result, err);
    a->done(a->ctx, st, result, err);
    append_destroy(a);
}

/* It may be done when this returns VV_OK. */
static vv_status append_it(append *a, vv_error *err)
{
    return vv_stream_append_async(a->table, a->what.messages, a->what.count, &a->what.options,
                                  on_appended, a, err);
}

/* The append of a call, with its table. */
static vv_status make(srv_call *call, const svc_messages *what, svc_message_done *done, void *ctx,
                      append **out, vv_error *err)
{
    append *a = vv_calloc(1, sizeof *a);
    assert(out != NULL);
    if (a == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for an append");
    *a = (append){.n = srv_call_ctx(call), .call = call, .what = *what, .done = done, .ctx = ctx};
    srv_call_ref(call);
    (void)svc_trace_of_messages(call, what->messages, what->count, &a->trace);
    a->what.options.trace = vv_slice_str(a->trace.trace_id);
    vv_status st = svc_message_open(call, &what->table, GATE_WRITE, true, &a->table, err);
    if (st != VV_OK) {
        append_destroy(a);
        return st;
    }
    *out = a;
    return VV_OK;
}

void svc_message_note_refused(srv_call *call, const svc_messages *what, vv_status st,
                              const vv_error *err)
{
    node *n = srv_call_ctx(call);
    svc_trace trace;
    node_note_write(n, st);
    (void)svc_trace_of_messages(call, what->messages, what->count, &trace);
    svc_event_appended(n, &trace, NULL, what->count, st, NULL, err);
}

vv_status svc_message_append_now(srv_call *call, const svc_messages *what, svc_message_done *done,
                                 void *ctx, vv_error *err)
{
    append *a = NULL;
    vv_status st = make(call, what, done, ctx, &a, err);
    if (st == VV_OK) {
        assert(a != NULL);
        st = append_it(a, err);
        if (st != VV_OK)
            append_destroy(a);
    }
    if (st != VV_OK && st != VV_BUSY)
        svc_message_note_refused(call, what, st, err);
    return st;
}

static vv_status run_queued(ingest_task *task, vv_error *err)
{
    return append_it(VV_CONTAINER_OF(task, append, task), err);
}

static void refuse_queued(ingest_task *task, vv_status st, const vv_error *err)
{
    append *a = VV_CONTAINER_OF(task, append, task);
    node_note_write(a->n, st);
    svc_event_appended(a->n, &a->trace, a->table, a->what.count, st, NULL, err);
    a->done(a->ctx, st, NULL, err);
    append_destroy(a);
}

vv_status svc_message_append(srv_call *call, const svc_messages *what, svc_message_done *done,
                             void *ctx, vv_error *err)
{
    append *a = NULL;
    vv_status st = make(call, what, done, ctx, &a, err);
    if (st != VV_OK) {
        svc_message_note_refused(call, what, st, err);
        return st;
    }
    assert(a != NULL);
    a->is_queued = true;
    a->task = (ingest_task){.order = svc_message_order(call, &what->table, what->options.producer),
                            .bytes = sizeof *a,
                            .run = run_queued,
                            .refuse = refuse_queued};
    for (size_t i = 0; i < what->count; i++)
        a->task.bytes += sizeof *what->messages + what->messages[i].value.len;
    ingest_messages_submit(a->n->messages, &a->task);
    return VV_OK;
}
