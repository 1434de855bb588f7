/* cmd_del.c - delete a key, or every key of a range. */
#include "base/util.h"
#include "key_text.h"
#include "store.h"

typedef struct args {
    const char *to;
    const char *durability;
    bool hex;
    bool quiet;
} args;

static const cmd_opt opts[] = {
    {"to", 0, CMD_TEXT, offsetof(args, to), "KEY", "delete every key from KEY to before this one"},
    {"durability", 0, CMD_CHOICE, offsetof(args, durability), "sync|os|none",
     "what must have happened before it is done; default sync"},
    {"hex", 'x', CMD_FLAG, offsetof(args, hex), NULL, "keys are hexadecimal"},
    {"quiet", 'q', CMD_FLAG, offsetof(args, quiet), NULL, "print nothing"},
};

static int del(cmd_ctx *ctx, const args *a, store *s, vv_slice key, vv_slice end)
{
    vv_error err = {0};
    store_written written = {0};
    store_write how = {0};
    if (a->durability != NULL)
        (void)store_parse_durability(a->durability, &how.durability);
    vv_status st = s->ops->del(s, key, end, &how, &written, &err);
    if (st != VV_OK)
        return cmd_fail(ctx, st, &err);
    if (!a->quiet)
        cmd_tell_written(ctx, key, &written);
    return CMD_OK;
}

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    const args *a = opaque;
    vv_error err = {0};
    store *s = NULL;
    vv_buf key;
    vv_buf end;
    if (argc != 1)
        return cmd_usage(ctx, "one KEY is needed");
    vv_buf_init(&key, 2 * VV_KEY_MAX + 64);
    vv_buf_init(&end, 2 * VV_KEY_MAX + 64);
    int code = CMD_OK;
    if (!key_text_read(argv[0], a->hex, &key) ||
        (a->to != NULL && !key_text_read(a->to, a->hex, &end)))
        code = cmd_usage(ctx, "a key is %s", a->hex ? "not hexadecimal" : "over 1024 bytes");
    if (code == CMD_OK && a->to != NULL &&
        vv_slice_cmp(vv_buf_slice(&key), vv_buf_slice(&end)) >= 0)
        code = cmd_usage(ctx, "--to must lie behind KEY");
    if (code == CMD_OK) {
        vv_status st = store_open(ctx, "default", STORE_CHANGE, &s, &err);
        code = st == VV_OK ? del(ctx, a, s, vv_buf_slice(&key), vv_buf_slice(&end))
                           : cmd_fail(ctx, st, &err);
        store_close(s);
    }
    vv_buf_fini(&key);
    vv_buf_fini(&end);
    return code;
}

const cmd_command cmd_del = {
    .name = "del",
    .summary = "delete a key, or every key of a range",
    .synopsis = "KEY [--to KEY]",
    .details = "Deleting a key that is not there succeeds.\n",
    .with = CMD_WITH_STORE | CMD_WITH_TABLE,
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .args_size = sizeof(args),
    .run = run,
};
