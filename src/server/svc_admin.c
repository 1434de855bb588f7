/*
 * svc_admin.c - varve.v1.Admin: its calls, the state of the node, copies and archives of it; tables
 * are in svc_admin_table.c, messages in an object store in svc_admin_tier.c. Every call runs on the
 * pool: a table is durable when CreateTable answers, and a checkpoint takes as long as it takes.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "server/svc_admin_int.h"
#include "server/svc_admin_tier.h"
#include "server/svc_backup.h"
#include "server/svc_ingest.h"
#include "server/svc_kv.h"
#include "server/svc_util.h"

#define REQUEST_MAX (96u * 1024u) /* rules and descriptors of a table fit */
#define ANSWER_MAX (64u * 1024u * 1024u)
#define FIGURES_MAX (256u * 1024u)

static void run_job(void *arg)
{
    admin_job *job = arg;
    vv_error err = {0};
    vv_buf out;
    vv_buf_init(&out, ANSWER_MAX);
    vv_status st = job->answer(job, &out, &err);
    if (st == VV_OK && out.status != VV_OK)
        st = vv_fail(&err, out.status, "no memory for the answer");
    if (st == VV_OK && !job->sends_itself)
        srv_call_send(job->call, &out);
    srv_call_finish(job->call, st, st == VV_OK ? NULL : err.msg);
    vv_buf_fini(&out);
    srv_message_release(&job->msg);
    srv_call_unref(job->call);
    vv_free(job);
}

static void start_job(srv_call *call, srv_message msg,
                      vv_status (*answer)(admin_job *job, vv_buf *out, vv_error *err),
                      bool sends_itself)
{
    node *n = srv_call_ctx(call);
    vv_status st = VV_NO_MEMORY;
    admin_job *job = vv_alloc(sizeof *job);
    if (job != NULL) {
        *job = (admin_job){n, call, msg, answer, sends_itself};
        srv_call_ref(call);
        st = srv_pool_submit(n->pool, run_job, job);
        if (st == VV_OK)
            return;
        srv_call_unref(call);
        vv_free(job);
    }
    srv_message_release(&msg);
    srv_call_finish(call, st, SVC_NO_THREAD);
}

vv_status svc_admin_authorize(const admin_job *job, const gate_op *op, gate_grant *out,
                              vv_error *err)
{
    gate_identity who = svc_identity(job->call);
    return gate_authorize(job->n->gate, &who, op, 1, out, err);
}

/* ---- the node ---- */

static void put_figure(vv_buf *out, const char *name, size_t name_len, const char *value)
{
    size_t mark = wire_begin(out, 5);
    wire_put_bytes(out, 1, vv_slice_of(name, name_len));
    wire_put_double_always(out, 2, strtod(value, NULL));
    wire_end(out, mark);
}

/* The samples of /metrics, one a line: "name{labels} value". Buckets of histograms stay out, their
 * counts and sums come. Names are the same because they are the same text. */
static void put_figures(vv_buf *out, char *text)
{
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        const char *space = strrchr(line, ' ');
        if (line[0] != '#' && space != NULL && strstr(line, "_bucket{") == NULL)
            put_figure(out, line, (size_t)(space - line), space + 1);
    }
}

static vv_status status(admin_job *job, vv_buf *out, vv_error *err)
{
    node *n = job->n;
    gate_op op = {.kind = GATE_STATUS};
    gate_grant grant;
    char why[NODE_WHY_MAX];
    vv_buf text;
    vv_status st = svc_admin_authorize(job, &op, &grant, err);
    if (st != VV_OK)
        return st;
    vv_buf_init(&text, FIGURES_MAX);
    svc_metrics_text(n, &text);
    vv_buf_append_u8(&text, 0);
    if (text.status != VV_OK) {
        st = vv_fail(err, text.status, "no memory for the figures");
    } else {
        int64_t up_ns = vv_clock_mono(n->env.clock) - n->started_mono_ns;
        wire_put_bytes(out, 1, vv_slice_str(vv_version()));
        wire_put_varint(out, 2, (uint64_t)(up_ns / VV_NS_PER_MS));
        wire_put_varint(out, 3, node_is_ready(n, why, sizeof why));
        wire_put_text(out, 4, vv_slice_str(why));
        put_figures(out, (char *)text.data);
    }
    vv_buf_fini(&text);
    return st;
}

static vv_status checkpoint(admin_job *job, vv_buf *out, vv_error *err)
{
    gate_op op = {.kind = GATE_ADMIN};
    gate_grant grant;
    (void)out; /* CheckpointResponse has no fields */
    vv_status st = svc_admin_authorize(job, &op, &grant, err);
    return st == VV_OK ? vv_checkpoint(gate_db(&grant), err) : st;
}

static vv_status create_backup(admin_job *job, vv_buf *out, vv_error *err)
{
    gate_op op = {.kind = GATE_ADMIN};
    gate_grant grant;
    vv_status st = svc_admin_authorize(job, &op, &grant, err);
    return st == VV_OK ? svc_backup_create(job->n, gate_db(&grant), job->msg.data, out, err) : st;
}

static vv_status stream_backup(admin_job *job, vv_buf *out, vv_error *err)
{
    (void)out; /* each message is sent at its time */
    gate_op op = {.kind = GATE_ADMIN};
    gate_grant grant;
    vv_status st = svc_admin_authorize(job, &op, &grant, err);
    return st == VV_OK ? svc_backup_stream(job->n, job->call, gate_db(&grant), job->msg.data, err)
                       : st;
}

static vv_status list_backups(admin_job *job, vv_buf *out, vv_error *err)
{
    gate_op op = {.kind = GATE_STATUS};
    gate_grant grant;
    vv_status st = svc_admin_authorize(job, &op, &grant, err);
    return st == VV_OK ? svc_backup_list(job->n, out, err) : st;
}

/* ---- archives ---- */

/* The string in a field of the message, "" without one; the store checks what is in it. */
static bool read_name(vv_slice message, uint32_t number, char out[SVC_KV_ARCHIVE_SIZE])
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    vv_slice name = {0};
    bool ok = true;
    while (ok && wire_next(&r, &f) > 0)
        if (f.number == number)
            ok = svc_kv_take_bytes(&f, &name);
    ok = ok && r.fault == WIRE_GOOD && name.len < SVC_KV_ARCHIVE_SIZE &&
         (name.len == 0 || memchr(name.data, 0, name.len) == NULL);
    if (!ok)
        return false;
    if (name.len > 0)
        memcpy(out, name.data, name.len);
    out[name.len] = '\0';
    return true;
}

static vv_status change_archive(const admin_job *job,
                                vv_status (*change)(vv_db *db, const char *name, vv_error *err),
                                vv_error *err)
{
    gate_op op = {.kind = GATE_ADMIN};
    gate_grant grant;
    char name[SVC_KV_ARCHIVE_SIZE];
    if (!read_name(job->msg.data, 1, name))
        return svc_kv_fail_malformed("ArchiveRef", err);
    vv_status st = svc_admin_authorize(job, &op, &grant, err);
    return st == VV_OK ? change(gate_db(&grant), name, err) : st;
}

static vv_status create_archive(admin_job *job, vv_buf *out, vv_error *err)
{
    (void)out; /* CreateArchiveResponse has no fields */
    return change_archive(job, vv_archive_create, err);
}

static vv_status drop_archive(admin_job *job, vv_buf *out, vv_error *err)
{
    (void)out; /* DropArchiveResponse has no fields */
    return change_archive(job, vv_archive_drop, err);
}

static int list_archive(void *ctx, const vv_archive_info *info)
{
    vv_buf *out = ctx;
    size_t mark = wire_begin(out, 1);
    wire_put_bytes(out, 1, vv_slice_str(info->name));
    wire_put_varint(out, 2, info->shard);
    wire_put_varint(out, 3, (uint64_t)info->version);
    wire_put_varint(out, 4, (uint64_t)(info->time_ns / VV_NS_PER_MS));
    wire_put_varint(out, 5, info->periodic);
    wire_end(out, mark);
    return out->status != VV_OK;
}

static vv_status list_archives(admin_job *job, vv_buf *out, vv_error *err)
{
    gate_op op = {.kind = GATE_ADMIN};
    gate_grant grant;
    vv_status st = svc_admin_authorize(job, &op, &grant, err);
    return st == VV_OK ? vv_archive_list(gate_db(&grant), list_archive, out, err) : st;
}

static vv_status restore_archive(admin_job *job, vv_buf *out, vv_error *err)
{
    svc_table_ref ref = {{0}, {0}};
    gate_grant grant;
    char name[SVC_KV_ARCHIVE_SIZE];
    vv_table *table = NULL;
    uint64_t changed = 0;
    wire_reader r = wire_reader_of(job->msg.data);
    wire_field f = {0};
    bool ok = read_name(job->msg.data, 2, name);
    while (ok && wire_next(&r, &f) > 0)
        if (f.number == 1)
            ok = svc_kv_take_table(&f, &ref);
    if (!ok || r.fault != WIRE_GOOD)
        return svc_kv_fail_malformed("RestoreArchiveRequest", err);
    gate_op op = {.kind = GATE_TABLE, .tenant = ref.tenant, .table = ref.table};
    vv_status st = svc_admin_authorize(job, &op, &grant, err);
    if (st == VV_OK)
        st = gate_find_table(&grant, 0, VV_TABLE_KV, &table, err);
    if (st == VV_OK)
        st = vv_archive_restore(table, name, &changed, err);
    vv_table_close(table);
    if (st == VV_OK)
        wire_put_varint(out, 1, changed);
    return st;
}

static vv_status list_tier_objects(admin_job *job, vv_buf *out, vv_error *err)
{
    gate_identity who = svc_identity(job->call);
    return svc_admin_list_tier(job->n, &who, job->msg.data, out, err);
}

/* ---- the table ---- */

#define ADMIN_CALL(handler)                                                                        \
    static void handler##_message(srv_call *call, srv_message msg)                                 \
    {                                                                                              \
        start_job(call, msg, handler, false);                                                      \
    }

ADMIN_CALL(svc_admin_create_table)
ADMIN_CALL(svc_admin_list_tables)
ADMIN_CALL(svc_admin_describe_table)
ADMIN_CALL(svc_admin_alter_table)
ADMIN_CALL(svc_admin_drop_table)
ADMIN_CALL(svc_admin_compact_table)
ADMIN_CALL(status)
ADMIN_CALL(checkpoint)
ADMIN_CALL(create_backup)
ADMIN_CALL(list_backups)
ADMIN_CALL(create_archive)
ADMIN_CALL(list_archives)
ADMIN_CALL(drop_archive)
ADMIN_CALL(restore_archive)
ADMIN_CALL(list_tier_objects)

static void stream_backup_message(srv_call *call, srv_message msg)
{
    if (srv_call_user(call) != NULL) {
        srv_message_release(&msg);
        srv_call_finish(call, VV_INVALID, "StreamBackup takes one request");
        return;
    }
    srv_call_set_user(call, srv_call_ctx(call)); /* that there was one */
    start_job(call, msg, stream_backup, true);
}

static void stream_backup_half_close(srv_call *call)
{
    if (srv_call_user(call) == NULL)
        srv_call_finish(call, VV_INVALID, "StreamBackup needs one request");
}

#define ADMIN_METHOD(name, served_on, on_message)                                                  \
    {                                                                                              \
        .kind = SRV_GRPC_UNARY, .path = "/varve.v1.Admin/" name, .message_max = REQUEST_MAX,       \
        .ports = (served_on), .message = (on_message)                                              \
    }
#define ALL_PORTS 0u

size_t svc_admin_methods(node *n, srv_method *out, size_t max)
{
    static const srv_method methods[] = {
        ADMIN_METHOD("CreateTable", SVC_INGEST_PORTS, svc_admin_create_table_message),
        ADMIN_METHOD("ListTables", ALL_PORTS, svc_admin_list_tables_message),
        ADMIN_METHOD("DescribeTable", ALL_PORTS, svc_admin_describe_table_message),
        ADMIN_METHOD("AlterTable", SVC_INGEST_PORTS, svc_admin_alter_table_message),
        ADMIN_METHOD("DropTable", SVC_INGEST_PORTS, svc_admin_drop_table_message),
        ADMIN_METHOD("CompactTable", SVC_INGEST_PORTS, svc_admin_compact_table_message),
        ADMIN_METHOD("Status", ALL_PORTS, status_message),
        ADMIN_METHOD("Checkpoint", SVC_INGEST_PORTS, checkpoint_message),
        ADMIN_METHOD("CreateBackup", SVC_INGEST_PORTS, create_backup_message),
        {.kind = SRV_GRPC_STREAM,
         .path = "/varve.v1.Admin/StreamBackup",
         .message_max = REQUEST_MAX,
         .ports = SVC_INGEST_PORTS,
         .message = stream_backup_message,
         .half_close = stream_backup_half_close},
        ADMIN_METHOD("ListBackups", ALL_PORTS, list_backups_message),
        ADMIN_METHOD("CreateArchive", SVC_INGEST_PORTS, create_archive_message),
        ADMIN_METHOD("ListArchives", ALL_PORTS, list_archives_message),
        ADMIN_METHOD("DropArchive", SVC_INGEST_PORTS, drop_archive_message),
        ADMIN_METHOD("RestoreArchive", SVC_INGEST_PORTS, restore_archive_message),
        ADMIN_METHOD("ListTierObjects", ALL_PORTS, list_tier_objects_message),
    };
    size_t count = svc_add_methods(methods, ARRAY_LEN(methods), n, out, max);
    return count + svc_admin_tier_methods(n, out + count, max - count);
}
