/* cmd_version.c - which varve this is. */
#include "out.h"

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    (void)opaque;
    (void)argv;
    if (argc != 0)
        return cmd_usage(ctx, "it takes no arguments");
    if (ctx->common.output == NULL) {
        (void)printf("varve %s\n", VV_VERSION);
        return CMD_OK;
    }
    out_writer o;
    out_init_names(&o, ctx->common.format, (const char *const[]){"version"}, 1);
    out_row(&o, (const out_cell[]){out_text(VV_VERSION)});
    out_end(&o);
    return CMD_OK;
}

const cmd_command cmd_version = {
    .name = "version",
    .summary = "print the version",
    .synopsis = "",
    .with = CMD_WITH_OUTPUT,
    .run = run,
};
