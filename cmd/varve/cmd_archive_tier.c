/*
 * cmd_archive_tier.c - messages in an object store: what is there, what waits goes there, is it
 * whole, back into a directory, out as JSON lines or CSV; and a directory out of the objects alone.
 */
#include "cmd_archive_tier.h"

#include <errno.h>
#include <string.h>

#include "archive/archive.h"
#include "base/error.h"
#include "base/time_text.h"
#include "base/util.h"
#include "db/db.h"
#include "io/env.h"
#include "message_out.h"
#include "varve/stream.h"
#include "varve/tier.h"

typedef struct job {
    cmd_ctx *ctx;
    const archive_args *a;
    vv_object_store *objects;
    vv_db *db;
    vv_table *table;
    out_writer out;
    uint64_t count;
} job;

/* archives: by the rules of its tables; else nothing is, meanwhile. */
static vv_status open_table(job *j, bool writes, bool archives, vv_error *err)
{
    const cmd_common *c = &j->ctx->common;
    vv_options opt = VV_OPTIONS_INIT;
    vv_tier_options tier = {.size = sizeof tier, .objects = j->objects, .rule = {.off = !archives}};
    if (archives && cmd_given(j->ctx, "local"))
        tier.rule.local_ns = j->a->local_ns == 0 ? -1 : j->a->local_ns;
    opt.create_if_missing = false;
    opt.read_only = !writes;
    opt.tier = j->objects == NULL ? NULL : &tier;
    vv_status st = vv_db_open(c->data, &opt, &j->db, err);
    if (st == VV_OK)
        st = vv_table_open(j->db, c->tenant, c->table == NULL ? "messages" : c->table, &j->table,
                           err);
    return st;
}

static vv_status end_job(job *j, vv_status st, vv_error *err)
{
    vv_table_close(j->table);
    if (j->db != NULL && vv_db_close(j->db, st == VV_OK ? err : NULL) != VV_OK && st == VV_OK)
        st = err->status;
    vv_object_store_close(j->objects);
    return st;
}

vv_status archive_tier_is_stream(const cmd_ctx *ctx, bool *out, vv_error *err)
{
    cmd_ctx copy = *ctx;
    job j = {.ctx = &copy};
    vv_status st = open_table(&j, false, false, err);
    *out = st == VV_OK && vv_table_kind_of(j.table) == VV_TABLE_STREAM;
    return end_job(&j, st, err);
}

/* ---- list ---- */

static const char *const columns[] = {"partition", "first", "next",     "state",         "bytes",
                                      "raw_bytes", "codec", "received", "last_received", "object"};

static const char *state_name(vv_tier_state state)
{
    return state == VV_TIER_INTENT ? "intent" : state == VV_TIER_STORED ? "stored" : "dying";
}

static const char *codec_name(vv_tier_codec codec)
{
    return codec == VV_TIER_ZSTD ? "zstd" : codec == VV_TIER_LZ4 ? "lz4" : "plain";
}

static int print_object(void *ctx, const vv_tier_object *o)
{
    job *j = ctx;
    char first[TIME_TEXT_MAX] = "";
    char last[TIME_TEXT_MAX] = "";
    if (o->state == VV_TIER_STORED) {
        time_text_format(o->receive_first_ns, first);
        time_text_format(o->receive_last_ns, last);
    }
    out_row(&j->out,
            (const out_cell[]){out_uint(o->partition), out_uint(o->first), out_uint(o->next),
                               out_text(state_name(o->state)), out_uint(o->bytes),
                               out_uint(o->raw_bytes), out_text(codec_name(o->codec)),
                               out_text(first), out_text(last), out_text(o->name)});
    return 0;
}

static vv_status list(job *j, vv_error *err)
{
    out_init_names(&j->out, j->ctx->common.format, columns, ARRAY_LEN(columns));
    vv_status st = vv_tier_list(j->table, print_object, j, err);
    out_end(&j->out);
    return st;
}

static vv_status run(job *j, vv_error *err)
{
    vv_tier_stats s = {.size = sizeof s};
    vv_status st = vv_tier_run(j->db, j->table, err);
    vv_tier_stats_read(j->db, &s);
    (void)printf("stored %llu messages in %llu objects\n", (unsigned long long)s.stored_messages,
                 (unsigned long long)s.stored);
    return st;
}

/* ---- verify ---- */

static void print_finding(void *ctx, const char *text)
{
    job *j = ctx;
    j->count++;
    (void)printf("%s\n", text);
}

static vv_status verify(job *j, vv_error *err)
{
    vv_status st = vv_tier_verify(j->table, j->a->whole, print_finding, j, err);
    if (st == VV_OK)
        (void)printf("every object is there%s\n", j->a->whole ? ", byte for byte" : "");
    return st;
}

/* ---- restore, export ---- */

static uint32_t partition_of(const job *j)
{
    return (uint32_t)vv_min_u64(j->a->partition, UINT32_MAX);
}

static uint64_t end_of(const job *j)
{
    return cmd_given(j->ctx, "to") ? j->a->to : UINT64_MAX;
}

static vv_status restore(job *j, vv_error *err)
{
    uint64_t restored = 0;
    vv_status st =
        vv_tier_restore(j->table, partition_of(j), j->a->from, end_of(j), &restored, err);
    if (restored > 0 || st == VV_OK)
        (void)printf("restored %llu messages\n", (unsigned long long)restored);
    return st;
}

/* Messages of a partition, one after another, to each(). */
static vv_status walk(job *j, uint32_t partition,
                      vv_status (*each)(void *ctx, const vv_message *m, vv_error *err), void *ctx,
                      vv_error *err)
{
    vv_stream_cursor *c = NULL;
    vv_message m;
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    opt.partition = partition;
    opt.start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = j->a->from};
    vv_status st = vv_stream_cursor_open(j->table, &opt, &c, err);
    while (st == VV_OK && (st = vv_stream_cursor_next(c, &m, err)) == VV_OK && m.offset < end_of(j))
        st = each(ctx, &m, err);
    vv_stream_cursor_close(c);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static vv_status print_message(void *ctx, const vv_message *m, vv_error *err)
{
    (void)err;
    message_out_row(ctx, m);
    return VV_OK;
}

/* ---- as Parquet ---- */

static vv_status write_bytes(void *ctx, const void *bytes, size_t len, vv_error *err)
{
    if (fwrite(bytes, 1, len, ctx) == len)
        return VV_OK;
    return vv_fail_sys(err, VV_IO, errno, "write the Parquet file");
}

static vv_status add_message(void *ctx, const vv_message *m, vv_error *err)
{
    return arch_form_add(ctx, m, err);
}

static vv_status write_parquet(job *j, const vv_table_info *info, FILE *file, vv_error *err)
{
    arch_form *form = NULL;
    uint64_t size = 0;
    arch_identity who = {.partition = partition_of(j), .partition_count = info->partitions};
    memcpy(who.tenant, info->tenant, sizeof who.tenant);
    memcpy(who.table, info->name, sizeof who.table);
    vv_status st = arch_form_open(VV_TIER_PARQUET, &who, 0,
                                  (arch_sink){.write = write_bytes, .ctx = file}, &form, err);
    if (st == VV_OK)
        st = walk(j, partition_of(j), add_message, form, err);
    if (st == VV_OK)
        st = arch_form_finish(form, &size, err);
    arch_form_close(form);
    return st;
}

static vv_status export_parquet(job *j, const vv_table_info *info, vv_error *err)
{
    FILE *file = fopen(j->a->parquet, "wbe");
    if (file == NULL)
        return vv_fail_sys(err, vv_status_of_errno(errno), errno, "'%s'", j->a->parquet);
    vv_status st = write_parquet(j, info, file, err);
    if (fclose(file) != 0 && st == VV_OK)
        st = vv_fail_sys(err, VV_IO, errno, "write '%s'", j->a->parquet);
    if (st != VV_OK)
        (void)remove(j->a->parquet);
    return st;
}

static vv_status export_all(job *j, vv_error *err)
{
    vv_table_info info;
    vv_status st = vv_table_identify(j->table, &info, err);
    bool one = cmd_given(j->ctx, "partition");
    if (st != VV_OK)
        return st;
    if (j->a->parquet != NULL)
        return export_parquet(j, &info, err);
    message_out_begin(&j->out, j->ctx->common.output == NULL ? CMD_JSON : j->ctx->common.format);
    for (uint32_t p = one ? partition_of(j) : 0; st == VV_OK && p < info.partitions; p++) {
        st = walk(j, p, print_message, &j->out, err);
        if (one)
            break;
    }
    out_end(&j->out);
    return st;
}

/* ---- attach ---- */

static void note_finding(void *ctx, const char *text)
{
    (void)ctx;
    (void)fprintf(stderr, "varve archive: %s\n", text);
}

static vv_status attach(job *j, vv_error *err)
{
    vv_env env = {.seed = 0};
    vv_status st = env_posix_init(&env, j->ctx->common.data, NULL, err);
    if (st == VV_OK)
        st = db_tier_attach(&env, j->objects, note_finding, NULL, err);
    vio_destroy(env.io);
    if (st == VV_OK)
        (void)printf("attached %s: read it with --data %s and the same --backend\n",
                     vv_object_store_name(j->objects), j->ctx->common.data);
    return st;
}

/* ---- the command ---- */

static vv_status do_verb(job *j, const char *verb, vv_error *err)
{
    if (vv_table_kind_of(j->table) != VV_TABLE_STREAM)
        return vv_fail(err, VV_INVALID, "the table is not of kind stream");
    if (strcmp(verb, "list") == 0)
        return list(j, err);
    if (strcmp(verb, "run") == 0)
        return run(j, err);
    if (strcmp(verb, "verify") == 0)
        return verify(j, err);
    return strcmp(verb, "restore") == 0 ? restore(j, err) : export_all(j, err);
}

int archive_tier_run(cmd_ctx *ctx, const archive_args *a, const char *verb)
{
    job j = {.ctx = ctx, .a = a};
    vv_error err = {0};
    bool attaches = strcmp(verb, "attach") == 0;
    bool needs = strcmp(verb, "list") != 0;
    bool writes = strcmp(verb, "restore") == 0 || strcmp(verb, "run") == 0;
    if (ctx->common.data == NULL)
        return cmd_usage(ctx, attaches ? "name the directory to make with --data"
                                       : "name a store that no server has open with --data");
    if (needs && a->tier.backend == NULL)
        return cmd_usage(ctx, "archive %s needs the object store: --backend and --bucket", verb);
    vv_status st = tier_store_open(&a->tier, &j.objects, &err);
    if (st == VV_OK && attaches)
        st = attach(&j, &err);
    else if (st == VV_OK)
        st = open_table(&j, writes, strcmp(verb, "run") == 0, &err);
    if (st == VV_OK && !attaches)
        st = do_verb(&j, verb, &err);
    st = end_job(&j, st, &err);
    return st == VV_OK ? CMD_OK : cmd_fail(ctx, st, &err);
}
