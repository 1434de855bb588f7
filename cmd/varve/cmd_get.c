/* cmd_get.c - print the value of a key. */
#include "base/util.h"
#include "key_text.h"
#include "out.h"
#include "store.h"

typedef struct args {
    uint64_t version;
    bool hex;
    bool raw;
} args;

static const cmd_opt opts[] = {
    {"version", 0, CMD_COUNT, offsetof(args, version), "N", "as of this version; default newest"},
    {"hex", 'x', CMD_FLAG, offsetof(args, hex), NULL, "KEY is hexadecimal"},
    {"raw", 'r', CMD_FLAG, offsetof(args, raw), NULL, "the bytes alone, no newline behind them"},
};

static void print(const cmd_ctx *ctx, const args *a, const store_kv *kv)
{
    if (ctx->common.output == NULL || a->raw) {
        (void)fwrite(kv->value.data, 1, kv->value.len, stdout);
        if (!a->raw)
            (void)fputc('\n', stdout);
        return;
    }
    out_writer o;
    const char *const names[] = {"key", "version", "expires_ms", "value"};
    out_init_names(&o, ctx->common.format, names, ARRAY_LEN(names));
    out_cell expires = {.type = OUT_NULL};
    if (kv->expires_ms != 0)
        expires = out_int(kv->expires_ms);
    out_row(&o, (const out_cell[]){out_bytes(kv->key), out_int(kv->version), expires,
                                   out_bytes(kv->value)});
    out_end(&o);
}

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    const args *a = opaque;
    vv_error err = {0};
    store *s = NULL;
    store_kv kv;
    vv_buf key;
    vv_buf value;
    if (argc != 1)
        return cmd_usage(ctx, "one KEY is needed");
    vv_buf_init(&key, 2 * VV_KEY_MAX + 64);
    vv_buf_init(&value, VV_VALUE_MAX + 64);
    int code = key_text_read(argv[0], a->hex, &key)
                   ? CMD_OK
                   : cmd_usage(ctx, "KEY is %s", a->hex ? "not hexadecimal" : "over 1024 bytes");
    if (code == CMD_OK) {
        vv_status st = store_open(ctx, "default", false, &s, &err);
        if (st == VV_OK)
            st = s->ops->get(s, vv_buf_slice(&key), (int64_t)a->version, &value, &kv, &err);
        if (st == VV_OK)
            print(ctx, a, &kv);
        else
            code = cmd_fail(ctx, st, &err);
        store_close(s);
    }
    vv_buf_fini(&key);
    vv_buf_fini(&value);
    return code;
}

const cmd_command cmd_get = {
    .name = "get",
    .summary = "print the value of a key",
    .synopsis = "KEY",
    .details = "Without -o the value is printed as it is, with a newline behind it.\n",
    .with = CMD_WITH_STORE | CMD_WITH_TABLE,
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .args_size = sizeof(args),
    .run = run,
};
