/*
 * cmd_compact.c - compact a range of a table, in a directory or on a server, and show how far it
 * is.
 *
 * The work is the background's: this begins it and looks at it. A server goes on with it also when
 * nobody looks any more.
 */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/util.h"
#include "io/env.h"
#include "key_text.h"
#include "out.h"
#include "store.h"

#define LOOK_NS (100 * VV_NS_PER_MS)
#define PLAIN_NS (2 * VV_NS_PER_S)
#define BOUND_MAX (2u * VV_KEY_MAX + 16u)
#define BAR_WIDTH 20

typedef struct args {
    const char *from;
    const char *to;
    bool hex;
    bool no_wait;
    bool quiet;
} args;

static const cmd_opt opts[] = {
    {"from", 0, CMD_TEXT, offsetof(args, from), "KEY", "the first key; default the table's first"},
    {"to", 0, CMD_TEXT, offsetof(args, to), "KEY", "before this key; default to the table's last"},
    {"hex", 'x', CMD_FLAG, offsetof(args, hex), NULL, "the keys are hexadecimal"},
    {"no-wait", 0, CMD_FLAG, offsetof(args, no_wait), NULL,
     "return when a server has begun; it goes on by itself"},
    {"quiet", 'q', CMD_FLAG, offsetof(args, quiet), NULL, "no progress"},
};

typedef struct watch {
    bool bar;
    bool is_shown;
    int64_t begin_ns;
    int64_t shown_ns;
    uint64_t total; /* bytes of the range at the beginning */
    uint64_t from;  /* read by compactions then */
} watch;

static void show(watch *w, const store_compaction *at)
{
    int64_t now = vv_clock_mono(vv_clock_real());
    if (now - w->shown_ns < (w->bar ? LOOK_NS : PLAIN_NS))
        return;
    w->shown_ns = now;
    double read = (double)(at->read_bytes - w->from);
    double part = w->total == 0 ? 0 : read / (double)w->total;
    part = part > 0.99 ? 0.99 : part; /* levels may be read more than once */
    double seconds = (double)(now - w->begin_ns) / 1e9;
    char bar[BAR_WIDTH + 1];
    for (int i = 0; i < BAR_WIDTH; i++)
        bar[i] = part * BAR_WIDTH > i ? '#' : '.';
    bar[BAR_WIDTH] = 0;
    if (!w->bar) {
        (void)fprintf(stderr, "%.0f %%, %.1f MiB read\n", part * 100, read / (double)VV_MIB);
        return;
    }
    (void)fprintf(stderr, "\r\033[K[%s] %3.0f %%  %.1f MiB  %.1f MiB/s", bar, part * 100,
                  read / (double)VV_MIB, seconds > 0 ? read / seconds / (double)VV_MIB : 0);
    (void)fflush(stderr);
    w->is_shown = true;
}

static void summarize(const cmd_ctx *ctx, const store *s, const watch *w,
                      const store_compaction *at)
{
    double seconds = (double)(vv_clock_mono(vv_clock_real()) - w->begin_ns) / 1e9;
    uint64_t read = at->read_bytes - w->from;
    if (ctx->common.output == NULL) {
        (void)printf("%s %s/%s in %.2f s: %.1f MiB read, %.1f MiB left\n",
                     at->is_pending ? "compacting" : "compacted", s->tenant, s->table, seconds,
                     (double)read / (double)VV_MIB, (double)at->range_bytes / (double)VV_MIB);
        return;
    }
    out_writer o;
    const char *const names[] = {"tenant",     "table",       "pending",
                                 "read_bytes", "range_bytes", "seconds"};
    out_init_names(&o, ctx->common.format, names, ARRAY_LEN(names));
    out_row(&o,
            (const out_cell[]){out_text(s->tenant), out_text(s->table), out_uint(at->is_pending),
                               out_uint(read), out_uint(at->range_bytes), out_double(seconds)});
    out_end(&o);
}

static int compact(cmd_ctx *ctx, const args *a, store *s, vv_slice from, vv_slice to)
{
    vv_error err = {0};
    store_compaction at = {0};
    watch w = {.bar = isatty(STDERR_FILENO) == 1};
    w.begin_ns = w.shown_ns = vv_clock_mono(vv_clock_real());
    vv_status st = s->ops->compact(s, from, to, true, &at, &err);
    w.total = at.range_bytes;
    w.from = at.read_bytes;
    if (st == VV_OK)
        st = s->ops->compact(s, from, to, false, &at, &err);
    while (st == VV_OK && at.is_pending && !a->no_wait) {
        if (!a->quiet)
            show(&w, &at);
        vv_clock_sleep(vv_clock_real(), LOOK_NS / 2);
        st = s->ops->compact(s, from, to, true, &at, &err);
    }
    if (w.is_shown)
        (void)fprintf(stderr, "\r\033[K");
    if (st != VV_OK)
        return cmd_fail(ctx, st, &err);
    if (!a->quiet || ctx->common.output != NULL)
        summarize(ctx, s, &w, &at);
    return CMD_OK;
}

/* TENANT/TABLE, or TABLE, into the common options. */
static bool name_table(cmd_ctx *ctx, const char *text, char tenant[VV_NAME_MAX + 1])
{
    const char *slash = strchr(text, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - text);
    if (len > VV_NAME_MAX || (slash != NULL && len == 0))
        return false;
    if (slash != NULL) {
        memcpy(tenant, text, len);
        tenant[len] = 0;
        ctx->common.tenant = tenant;
    }
    ctx->common.table = slash == NULL ? text : slash + 1;
    return true;
}

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    const args *a = opaque;
    vv_error err = {0};
    store *s = NULL;
    char tenant[VV_NAME_MAX + 1];
    vv_buf from;
    vv_buf to;
    if (argc != 1 || !name_table(ctx, argv[0], tenant))
        return cmd_usage(ctx, "one TABLE or TENANT/TABLE is needed");
    if (a->no_wait && ctx->common.data != NULL)
        return cmd_usage(ctx, "--no-wait needs a server: nobody goes on with a directory");
    vv_buf_init(&from, BOUND_MAX);
    vv_buf_init(&to, BOUND_MAX);
    int code = CMD_OK;
    if ((a->from != NULL && !key_text_read(a->from, a->hex, &from)) ||
        (a->to != NULL && !key_text_read(a->to, a->hex, &to)))
        code = cmd_usage(ctx, "--from and --to: that is no hexadecimal");
    if (code == CMD_OK && a->to != NULL &&
        vv_slice_cmp(vv_buf_slice(&from), vv_buf_slice(&to)) >= 0)
        code = cmd_usage(ctx, "--to must lie behind --from");
    vv_status st = code == CMD_OK ? store_open(ctx, "default", STORE_CHANGE, &s, &err) : VV_OK;
    if (st != VV_OK)
        code = cmd_fail(ctx, st, &err);
    else if (code == CMD_OK)
        code = compact(ctx, a, s, vv_buf_slice(&from), vv_buf_slice(&to));
    store_close(s);
    vv_buf_fini(&from);
    vv_buf_fini(&to);
    return code;
}

const cmd_command cmd_compact = {
    .name = "compact",
    .summary = "rewrite a range of a table into its last level",
    .synopsis = "[TENANT/]TABLE",
    .details = "What was overwritten, deleted or has expired, and nobody can read any more, goes; "
               "the rest\n"
               "becomes as few files as it can. A server compacts beside its other work.\n",
    .with = CMD_WITH_SERVER | CMD_WITH_DATA | CMD_WITH_TENANT | CMD_WITH_OUTPUT,
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .args_size = sizeof(args),
    .run = run,
};
