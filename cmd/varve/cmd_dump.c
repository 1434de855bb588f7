/* cmd_dump.c - print a file of a store as text. */
#include "base/util.h"
#include "files.h"
#include "out.h"

typedef struct args {
    uint64_t limit;
} args;

static const cmd_opt opts[] = {
    {"limit", 'n', CMD_COUNT, offsetof(args, limit), "N", "at most so many lines; default all"},
};

typedef struct dumper {
    out_writer out;
    cmd_format format;
    uint64_t limit;
    uint64_t lines;
} dumper;

static void take_line(void *ctx, const char *text)
{
    dumper *d = ctx;
    if (d->limit > 0 && d->lines >= d->limit)
        return;
    d->lines++;
    if (d->format == CMD_TABLE)
        (void)printf("%s\n", text);
    else
        out_row(&d->out, (const out_cell[]){out_text(text)});
}

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    const args *a = opaque;
    if (argc == 0)
        return cmd_usage(ctx, "a FILE of a store is needed, or its directory");
    for (int i = 0; i < argc; i++) {
        vv_error err = {0};
        dumper d = {.format = ctx->common.format, .limit = a->limit};
        if (argc > 1 && d.format == CMD_TABLE)
            (void)printf("%s== %s ==\n", i > 0 ? "\n" : "", argv[i]);
        out_init_names(&d.out, d.format, (const char *const[]){"line"}, 1);
        vv_status st = files_dump(argv[i], take_line, &d, &err);
        if (d.format != CMD_TABLE)
            out_end(&d.out);
        if (st != VV_OK)
            return cmd_fail(ctx, st, &err);
    }
    return CMD_OK;
}

const cmd_command cmd_dump = {
    .name = "dump",
    .summary = "print a file of a store as text, or what is in its directory",
    .synopsis = "FILE...",
    .details =
        "Of a directory: the store and its tables. Of a file: VARVE, a segment or the ring of\n"
        "the log, a run, a value file, a manifest, an archive or data file of the btree\n"
        "engine, ENGINES, CURRENT, LOCK, IDENTITY of a shard in RocksDB; of a repository the\n"
        "manifest of a backup and the log of one. docs/format/ says what each line means.\n",
    .with = CMD_WITH_OUTPUT,
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .args_size = sizeof(args),
    .run = run,
};
