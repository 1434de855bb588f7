/*
 * cmd_archive_tier.c - messages in an object store: what is there, what waits goes there, is it
 * whole, back into local files, out as JSON lines or CSV. Of a server or of a directory.
 */
#include "cmd_archive_tier.h"

#include <string.h>

#include "archive_files.h"
#include "base/error.h"
#include "base/time_text.h"
#include "base/util.h"
#include "message_out.h"

typedef struct job {
    cmd_ctx *ctx;
    const archive_args *a;
    store *s;
    out_writer out;
} job;

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
    char first[TIME_TEXT_MAX] = "";
    char last[TIME_TEXT_MAX] = "";
    if (o->state == VV_TIER_STORED) {
        time_text_format(o->receive_first_ns, first);
        time_text_format(o->receive_last_ns, last);
    }
    out_row(ctx, (const out_cell[]){out_uint(o->partition), out_uint(o->first), out_uint(o->next),
                                    out_text(state_name(o->state)), out_uint(o->bytes),
                                    out_uint(o->raw_bytes), out_text(codec_name(o->codec)),
                                    out_text(first), out_text(last), out_text(o->name)});
    return 0;
}

int archive_tier_list(const cmd_ctx *ctx, store *s)
{
    vv_error err = {0};
    out_writer out;
    out_init_names(&out, ctx->common.format, columns, ARRAY_LEN(columns));
    vv_status st = s->ops->tier->list(s, print_object, &out, &err);
    if (st == VV_OK)
        out_end(&out);
    return st == VV_OK ? CMD_OK : cmd_fail(ctx, st, &err);
}

/* ---- run, verify, restore ---- */

static vv_status run(job *j, vv_error *err)
{
    uint64_t messages = 0;
    uint64_t objects = 0;
    vv_status st = j->s->ops->tier->run(j->s, &messages, &objects, err);
    if (st == VV_OK || objects > 0)
        (void)printf("stored %llu messages in %llu objects\n", (unsigned long long)messages,
                     (unsigned long long)objects);
    return st;
}

static void print_finding(void *ctx, const char *text)
{
    (void)ctx;
    out_sentence(text);
}

static vv_status verify(job *j, vv_error *err)
{
    vv_status st = j->s->ops->tier->verify(j->s, j->a->whole, print_finding, j, err);
    if (st == VV_OK)
        (void)printf("every object is there%s\n", j->a->whole ? ", byte for byte" : "");
    return st;
}

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
        j->s->ops->tier->restore(j->s, partition_of(j), j->a->from, end_of(j), &restored, err);
    if (restored > 0 || st == VV_OK)
        (void)printf("restored %llu messages\n", (unsigned long long)restored);
    return st;
}

/* ---- export ---- */

typedef struct walker {
    uint64_t to;
    int (*each)(void *ctx, const vv_message *m);
    void *ctx;
} walker;

/* The first one that is kept may lie behind the range. */
static int take_message(void *ctx, const vv_message *m)
{
    const walker *w = ctx;
    return m->offset >= w->to || w->each(w->ctx, m) != 0;
}

vv_status archive_walk(store *s, const archive_files_range *range,
                       int (*each)(void *ctx, const vv_message *m), void *ctx, vv_error *err)
{
    walker w = {range->to, each, ctx};
    uint64_t end = 0;
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    opt.partition = range->partition;
    opt.start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = range->from};
    if (range->from >= range->to)
        return VV_OK;
    opt.messages_max = range->to == UINT64_MAX ? 0 : range->to - range->from;
    return s->ops->stream->read(s, &opt, false, take_message, &w, &end, err);
}

static int print_message(void *ctx, const vv_message *m)
{
    message_out_row(ctx, m);
    return 0;
}

static vv_status export_all(job *j, vv_error *err)
{
    store_table_info info;
    const bool one = cmd_given(j->ctx, "partition");
    vv_status st = j->s->ops->table_describe(j->s, j->s->table, &info, err);
    if (st != VV_OK)
        return st;
    archive_files_range range = {.partition = one ? partition_of(j) : 0,
                                 .partitions = info.partitions,
                                 .from = j->a->from,
                                 .to = end_of(j)};
    if (info.kind != VV_TABLE_STREAM)
        return vv_fail(err, VV_INVALID, "table '%s' is not of kind stream", j->s->table);
    if (range.partition >= info.partitions)
        return vv_fail(err, VV_INVALID, "table '%s' has no partition %u: 0 to %u", j->s->table,
                       range.partition, info.partitions - 1);
    if (j->a->parquet != NULL && !one && info.partitions > 1)
        return vv_fail(err, VV_INVALID,
                       "table '%s' has %u partitions, and --parquet takes one: say which with "
                       "--partition",
                       j->s->table, info.partitions);
    if (j->a->parquet != NULL)
        return archive_files_parquet(j->s, &range, j->a->parquet, err);
    message_out_begin(&j->out, j->ctx->common.output == NULL ? CMD_JSON : j->ctx->common.format);
    do
        st = archive_walk(j->s, &range, print_message, &j->out, err);
    while (st == VV_OK && !one && ++range.partition < range.partitions);
    out_end(&j->out);
    return st;
}

/* ---- the command ---- */

static vv_status do_verb(job *j, const char *verb, vv_error *err)
{
    if (strcmp(verb, "run") == 0)
        return run(j, err);
    if (strcmp(verb, "verify") == 0)
        return verify(j, err);
    return strcmp(verb, "restore") == 0 ? restore(j, err) : export_all(j, err);
}

static int check_options(const cmd_ctx *ctx, const archive_args *a, const char *verb)
{
    const bool attaches = strcmp(verb, "attach") == 0;
    if (attaches && ctx->common.data == NULL)
        return cmd_usage(ctx, "name the directory to make with --data");
    if (ctx->common.data == NULL && a->tier.backend != NULL)
        return cmd_usage(ctx, "--backend is of --data: a server has its own");
    if (ctx->common.data == NULL && cmd_given(ctx, "local"))
        return cmd_usage(ctx, "--local is of --data: a server's rule is its processing.local_age");
    if (ctx->common.data != NULL && a->tier.backend == NULL && strcmp(verb, "export") != 0)
        return cmd_usage(ctx, "archive %s needs the object store: --backend and --bucket", verb);
    return CMD_OK;
}

static bool parse_local(const char *text, int64_t *out_ns)
{
    const bool ok = strcmp(text, "now") == 0 || cmd_parse_duration(text, out_ns);
    if (ok && (strcmp(text, "now") == 0 || *out_ns == 0))
        *out_ns = -1;
    return ok;
}

int archive_tier_run(cmd_ctx *ctx, const archive_args *a, const char *verb)
{
    job j = {.ctx = ctx, .a = a};
    vv_error err = {0};
    tier_args tier = a->tier;
    const bool archives = strcmp(verb, "run") == 0;
    const bool writes = archives || strcmp(verb, "restore") == 0;
    int code = check_options(ctx, a, verb);
    if (code != CMD_OK)
        return code;
    tier.archives = archives;
    if (cmd_given(ctx, "local") && !parse_local(a->local, &tier.local_ns))
        return cmd_usage(ctx, "--local: '%s' is no time such as 10s, 200ms or 5m, nor now",
                         a->local);
    ctx->common.tier = &tier;
    vv_status st;
    if (strcmp(verb, "attach") == 0) {
        st = archive_files_attach(ctx, &a->tier, &err);
    } else {
        st = store_open(ctx, "messages", writes ? STORE_CHANGE : STORE_READ, &j.s, &err);
        if (st == VV_OK)
            st = do_verb(&j, verb, &err);
        store_close(j.s);
    }
    (void)fflush(stdout);
    ctx->common.tier = NULL;
    return st == VV_OK ? CMD_OK : cmd_fail(ctx, st, &err);
}
