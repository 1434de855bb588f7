/* cmd_status.c - how a server, or a store, is doing. */
#include <math.h>
#include <string.h>

#include "base/util.h"
#include "out.h"
#include "store.h"

typedef struct args {
    const char *match;
    bool all;
} args;

static const cmd_opt opts[] = {
    {"all", 'a', CMD_FLAG, offsetof(args, all), NULL, "every figure, also those that are zero"},
    {"match", 'm', CMD_TEXT, offsetof(args, match), "TEXT", "figures whose name contains TEXT"},
};

typedef struct printer {
    out_writer out;
    const args *args;
} printer;

static void print_text(void *ctx, const char *name, vv_slice value)
{
    printer *p = ctx;
    if (p->args->match == NULL || strstr(name, p->args->match) != NULL)
        out_row(&p->out, (const out_cell[]){out_text(name), out_bytes(value)});
}

static void print_figure(void *ctx, const char *name, double value)
{
    printer *p = ctx;
    char text[40];
    if (p->args->match != NULL ? strstr(name, p->args->match) == NULL : value == 0 && !p->args->all)
        return;
    out_cell cell = out_double(value);
    if (p->out.format == CMD_TABLE && value >= 1024 && strstr(name, "bytes") != NULL) {
        out_size_text((uint64_t)value, text, sizeof text);
        cell = out_text(text);
    } else if (p->out.format == CMD_TABLE && value != floor(value)) {
        (void)snprintf(text, sizeof text, "%.6g", value);
        cell = out_text(text);
    }
    out_row(&p->out, (const out_cell[]){out_text(name), cell});
}

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    const args *a = opaque;
    vv_error err = {0};
    store *s = NULL;
    printer p = {.args = a};
    (void)argv;
    if (argc != 0)
        return cmd_usage(ctx, "it takes no arguments");
    vv_status st = store_open(ctx, "default", STORE_READ, &s, &err);
    if (st == VV_OK) {
        out_init_names(&p.out, ctx->common.format, (const char *const[]){"name", "value"}, 2);
        st = s->ops->status(s, print_text, print_figure, &p, &err);
        if (st == VV_OK)
            out_end(&p.out);
    }
    store_close(s);
    return st == VV_OK ? CMD_OK : cmd_fail(ctx, st, &err);
}

const cmd_command cmd_status = {
    .name = "status",
    .summary = "how a server or a store is doing",
    .synopsis = "",
    .details =
        "The figures are those of /metrics. Without --all those that are zero are left out.\n",
    .with = CMD_WITH_SERVER | CMD_WITH_DATA | CMD_WITH_OUTPUT,
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .args_size = sizeof(args),
    .run = run,
};
