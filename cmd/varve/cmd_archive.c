/*
 * cmd_archive.c - create, list, drop and restore archives of btree tables; and, of stream tables,
 * what cmd_archive_tier.c does with messages in an object store.
 */
#include <string.h>

#include "base/time_text.h"
#include "base/util.h"
#include "cmd_archive_tier.h"
#include "out.h"
#include "store.h"

static const char *const columns[] = {"archive", "shard", "version", "made", "periodic"};

static int print_archive(void *ctx, const store_archive_info *a)
{
    char made[TIME_TEXT_MAX] = "";
    int64_t ns;
    if (!__builtin_mul_overflow(a->made_ms, VV_NS_PER_MS, &ns))
        time_text_format(ns, made);
    out_row(ctx, (const out_cell[]){out_text(a->name), out_uint(a->shard), out_int(a->version),
                                    out_text(made), out_text(a->periodic ? "yes" : "no")});
    return 0;
}

static int list(cmd_ctx *ctx, store *s)
{
    vv_error err = {0};
    out_writer o;
    out_init_names(&o, ctx->common.format, columns, ARRAY_LEN(columns));
    vv_status st = s->ops->archive_list(s, print_archive, &o, &err);
    if (st != VV_OK)
        return cmd_fail(ctx, st, &err);
    out_end(&o);
    return CMD_OK;
}

static int change(cmd_ctx *ctx, store *s, bool create, const char *name)
{
    vv_error err = {0};
    vv_status st =
        create ? s->ops->archive_create(s, name, &err) : s->ops->archive_drop(s, name, &err);
    if (st != VV_OK)
        return cmd_fail(ctx, st, &err);
    if (ctx->common.output == NULL)
        (void)printf("%s %s\n", create ? "created" : "dropped", name);
    return CMD_OK;
}

static int restore(cmd_ctx *ctx, store *s, const char *name)
{
    vv_error err = {0};
    uint64_t changed = 0;
    vv_status st = s->ops->archive_restore(s, name, &changed, &err);
    if (st != VV_OK)
        return cmd_fail(ctx, st, &err);
    if (ctx->common.output == NULL)
        (void)printf("restored %s from %s: %llu keys changed\n", s->table, name,
                     (unsigned long long)changed);
    return CMD_OK;
}

static const char *const words[] = {"create", "list",   "drop",   "restore", "run",
                                    "verify", "export", "attach", NULL};
enum { CREATE, LIST, DROP, RESTORE, RUN };

static const cmd_opt opts[] = {
    {"partition", 'p', CMD_COUNT, offsetof(archive_args, partition), "N",
     "of restore and export; default 0, of export all"},
    {"from", 'f', CMD_COUNT, offsetof(archive_args, from), "OFFSET",
     "of restore and export: the first message; default 0"},
    {"to", 0, CMD_COUNT, offsetof(archive_args, to), "OFFSET",
     "of restore and export: behind the last one; default all"},
    {"parquet", 0, CMD_TEXT, offsetof(archive_args, parquet), "FILE",
     "of export: one partition, as Parquet into this file"},
    {"whole", 0, CMD_FLAG, offsetof(archive_args, whole), NULL,
     "of verify: read every byte, not indexes alone"},
    {"local", 0, CMD_TEXT, offsetof(archive_args, local), "TIME|now",
     "of run with --data: archived messages stay here for so long; now: they leave at once; "
     "default 1h"},
    TIER_OPTS(archive_args, tier),
};

/* Archives, or the objects of --table where it is one of messages. */
static int list_either(cmd_ctx *ctx, store *s)
{
    vv_error err = {0};
    store_table_info info;
    if (ctx->common.table == NULL)
        return list(ctx, s);
    vv_status st = s->ops->table_describe(s, s->table, &info, &err);
    if (st != VV_OK)
        return cmd_fail(ctx, st, &err);
    return info.kind == VV_TABLE_STREAM ? archive_tier_list(ctx, s) : list(ctx, s);
}

static int run_btree(cmd_ctx *ctx, int verb, int argc, char **argv)
{
    vv_error err = {0};
    store *s = NULL;
    if (argc != (verb == LIST ? 1 : 2))
        return cmd_usage(ctx, verb == LIST ? "archive list takes no name" : "one NAME is needed");
    if (verb == RESTORE && ctx->common.table == NULL)
        return cmd_usage(ctx, "archive restore needs --table: which table is to come back");
    vv_status st = store_open(ctx, "", verb == LIST ? STORE_READ : STORE_CHANGE, &s, &err);
    if (st != VV_OK)
        return cmd_fail(ctx, st, &err);
    int code = verb == LIST      ? list_either(ctx, s)
               : verb == RESTORE ? restore(ctx, s, argv[1])
                                 : change(ctx, s, verb == CREATE, argv[1]);
    store_close(s);
    return code;
}

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    if (argc == 0)
        return cmd_usage(
            ctx, "one of create, list, drop, restore, run, verify, export and attach is needed");
    int verb = cmd_word_of(ctx, argv[0]);
    if (verb < 0)
        return CMD_USAGE;
    /* A restore that names no archive is of messages. */
    bool is_tier = verb >= RUN || (verb == RESTORE && argc == 1);
    if (!is_tier)
        return run_btree(ctx, verb, argc, argv);
    if (argc != 1)
        return cmd_usage(ctx, "archive %s of a stream table takes no name", argv[0]);
    return archive_tier_run(ctx, opaque, argv[0]);
}

const cmd_command cmd_archive = {
    .name = "archive",
    .summary = "states of btree tables under a name; messages in an object store",
    .synopsis = "create NAME | list | drop NAME | restore NAME | run | list | verify | restore | "
                "export | attach",
    .details = "Of btree tables, create NAME, list, drop NAME, restore NAME: an archive has\n"
               "every table of the engine btree as it was when it was made, and costs the space\n"
               "of what changed since. 'restore NAME' writes what differs into --table; 'get' and\n"
               "'scan' read one with --archive. storage.archive_interval makes them by itself.\n"
               "\n"
               "Of stream tables, messages in the object store of the server, or with --data in\n"
               "that of --backend and --bucket: 'run' archives what waits, whatever its size;\n"
               "'list --table NAME' shows the objects; 'verify' holds each against what the table\n"
               "knows of it, with --whole every byte; 'restore' brings the messages from --from\n"
               "to --to back into local files; 'export' prints messages, archived or not, as JSON\n"
               "lines, or with -o csv as CSV; 'attach' makes the directory --data out of the\n"
               "objects alone, to be read. Without --table the table is messages; list alone then\n"
               "shows archives of btree tables.\n",
    .with = CMD_WITH_STORE | CMD_WITH_TABLE,
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .args_size = sizeof(archive_args),
    .words = words,
    .run = run,
};
