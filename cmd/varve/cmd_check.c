/* cmd_check.c - verify every byte of a closed store, what lies in an object store included. */
#include "base/util.h"
#include "files.h"
#include "out.h"

typedef struct args {
    bool quiet;
    bool quick;
    tier_args tier;
} args;

static const cmd_opt opts[] = {
    {"quiet", 'q', CMD_FLAG, offsetof(args, quiet), NULL, "only the exit code"},
    {"quick", 0, CMD_FLAG, offsetof(args, quick), NULL,
     "of what is in the object store sizes, sums and indexes, not every byte"},
    TIER_OPTS(args, tier),
};

typedef struct findings {
    out_writer out;
    bool quiet;
    uint64_t count;
} findings;

static void take_finding(void *ctx, const char *text)
{
    findings *f = ctx;
    f->count++;
    if (f->quiet)
        return;
    if (f->out.format == CMD_TABLE) /* a column of sentences would need no header and no width */
        out_sentence(text);
    else
        out_row(&f->out, (const out_cell[]){out_text(text)});
}

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    const args *a = opaque;
    vv_error err = {0};
    findings f = {.quiet = a->quiet};
    const char *dir = ctx->common.data != NULL ? ctx->common.data : argc == 1 ? argv[0] : NULL;
    if (dir == NULL || (ctx->common.data != NULL && argc > 0))
        return cmd_usage(ctx, "a data directory is needed: --data DIR");
    out_init_names(&f.out, ctx->common.format, (const char *const[]){"finding"}, 1);
    vv_status st = files_check(dir, &a->tier, !a->quick, take_finding, &f, &err);
    if (f.out.format != CMD_TABLE && !a->quiet)
        out_end(&f.out);
    if (st == VV_OK) {
        if (!a->quiet && ctx->common.output == NULL)
            (void)printf("%s: no damage found\n", dir);
        return CMD_OK;
    }
    if (a->quiet && st == VV_CORRUPT)
        return CMD_ERROR;
    (void)cmd_fail(ctx, st, &err);
    return st == VV_NOT_FOUND ? CMD_NOT_FOUND : CMD_ERROR;
}

const cmd_command cmd_check = {
    .name = "check",
    .summary = "verify every byte of a closed store",
    .synopsis = "[DIR]",
    .details =
        "Reads every log segment, run and manifest, verifies all checksums and the structure,\n"
        "and writes nothing. Exit code 0: sound. 1: damaged, with one sentence for each\n"
        "place. 5: no store is there. What a crash left and the next open removes (an\n"
        "unfinished log tail, files that no manifest names) is told too and is no damage. No\n"
        "server may have the store open. With the object store of --backend and --bucket also\n"
        "what lies there: runs and messages, each object there, of its size, sum and content.\n",
    .with = CMD_WITH_DATA | CMD_WITH_OUTPUT,
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .args_size = sizeof(args),
    .run = run,
};
