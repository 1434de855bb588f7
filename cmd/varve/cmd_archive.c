/* cmd_archive.c - create, list, drop and restore archives. */
#include <string.h>

#include "base/time_text.h"
#include "base/util.h"
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

static const char *const words[] = {"create", "list", "drop", "restore", NULL};
enum { CREATE, LIST, DROP, RESTORE };

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    (void)opaque;
    vv_error err = {0};
    store *s = NULL;
    if (argc == 0)
        return cmd_usage(ctx, "one of create, list, drop and restore is needed");
    int verb = cmd_word_of(ctx, argv[0]);
    if (verb < 0)
        return CMD_USAGE;
    if (argc != (verb == LIST ? 1 : 2))
        return cmd_usage(ctx, verb == LIST ? "archive list takes no name" : "one NAME is needed");
    if (verb == RESTORE && ctx->common.table == NULL)
        return cmd_usage(ctx, "archive restore needs --table: which table is to come back");
    vv_status st = store_open(ctx, "", verb == LIST ? STORE_READ : STORE_CHANGE, &s, &err);
    if (st != VV_OK)
        return cmd_fail(ctx, st, &err);
    int code = verb == LIST      ? list(ctx, s)
               : verb == RESTORE ? restore(ctx, s, argv[1])
                                 : change(ctx, s, verb == CREATE, argv[1]);
    store_close(s);
    return code;
}

const cmd_command cmd_archive = {
    .name = "archive",
    .summary = "keep states of btree tables under a name, and bring them back",
    .synopsis = "create NAME | list | drop NAME | restore NAME",
    .details =
        "An archive has every table of the engine btree as it was when it was made, and costs\n"
        "the space of what changed since. 'restore' writes what differs into --table; 'get' and\n"
        "'scan' read one with --archive. storage.archive_interval makes them by itself.\n",
    .with = CMD_WITH_STORE | CMD_WITH_TABLE,
    .words = words,
    .run = run,
};
