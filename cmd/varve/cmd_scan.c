/* cmd_scan.c - print keys and values in order, from one snapshot; messages by their offsets. */
#include "base/error.h"
#include "base/util.h"
#include "cmd_message.h"
#include "io/env.h"
#include "key_text.h"
#include "out.h"
#include "query_text.h"
#include "store.h"
#include "tier_store.h"

typedef struct args {
    const char *from;
    const char *to;
    const char *prefix;
    uint64_t limit;
    uint64_t version;
    const char *archive;
    const char *as_of;
    bool reverse;
    bool keys_only;
    bool count;
    bool hex;
    uint64_t partition;
    tier_args tier;
} args;

static const cmd_opt opts[] = {
    {"from", 0, CMD_TEXT, offsetof(args, from), "KEY",
     "the first key; of a stream an offset or a time; default the first of all"},
    {"to", 0, CMD_TEXT, offsetof(args, to), "KEY", "stop before this key"},
    {"prefix", 'p', CMD_TEXT, offsetof(args, prefix), "TEXT", "keys that begin so"},
    {"limit", 'n', CMD_COUNT, offsetof(args, limit), "N", "at most so many; 0, the default: all"},
    {"version", 0, CMD_COUNT, offsetof(args, version), "N", "as of this version; default newest"},
    {"archive", 0, CMD_TEXT, offsetof(args, archive), "NAME",
     "of a btree table: as of this archive"},
    {"as-of", 0, CMD_TEXT, offsetof(args, as_of), "TIME",
     "as of this time, within the table's retention of versions: RFC 3339, seconds, 90m (ago)"},
    {"reverse", 'r', CMD_FLAG, offsetof(args, reverse), NULL, "from the last key to the first"},
    {"keys-only", 'k', CMD_FLAG, offsetof(args, keys_only), NULL, "no values"},
    {"count", 'c', CMD_FLAG, offsetof(args, count), NULL, "print only how many there are"},
    {"hex", 'x', CMD_FLAG, offsetof(args, hex), NULL, "the keys given are hexadecimal"},
    {"partition", 0, CMD_COUNT, offsetof(args, partition), "N",
     "of a stream table: this one alone; default all"},
    TIER_OPTS(args, tier),
};

typedef struct printer {
    out_writer out;
    bool keys_only;
    bool count_only;
    uint64_t count;
} printer;

static int print_one(void *ctx, const store_kv *kv)
{
    printer *p = ctx;
    p->count++;
    if (!p->count_only)
        out_row(&p->out,
                (const out_cell[]){out_bytes(kv->key), out_int(kv->version), out_bytes(kv->value)});
    return 0;
}

static vv_status scan_messages(const cmd_ctx *ctx, const args *a, store *s,
                               const store_table_info *info, vv_error *err)
{
    const message_scan scan = {.from = a->from,
                               .to = a->to,
                               .one = cmd_given(ctx, "partition"),
                               .partition = (uint32_t)vv_min_u64(a->partition, UINT32_MAX),
                               .limit = a->limit,
                               .keys_only = a->keys_only,
                               .count = a->count};
    if (a->prefix != NULL || a->hex || a->reverse || a->archive != NULL || a->as_of != NULL ||
        a->version != 0)
        return vv_fail(err, VV_INVALID,
                       "--prefix, --hex, --reverse, --version, --as-of and --archive are of keys: "
                       "table '%s' holds messages, which come by partition and offset",
                       s->table);
    return message_scan_run(ctx, s, info, &scan, err);
}

static int scan(cmd_ctx *ctx, const args *a, int64_t as_of_ns, const store_range *range)
{
    static const char *const names[] = {"key", "version", "value"};
    vv_error err = {0};
    store *s = NULL;
    printer p = {.keys_only = a->keys_only, .count_only = a->count};
    store_table_info info;
    vv_status st = store_open(ctx, "default", STORE_READ, &s, &err);
    if (st == VV_OK && message_table(s, &info)) {
        st = scan_messages(ctx, a, s, &info, &err);
        store_close(s);
        return st == VV_OK ? CMD_OK : cmd_fail(ctx, st, &err);
    }
    if (st == VV_OK) {
        s->archive = a->archive;
        s->as_of_ns = as_of_ns;
        if (!a->count)
            out_init_names(&p.out, ctx->common.format, names, a->keys_only ? 2 : 3);
        st = s->ops->scan(s, range, print_one, &p, &err);
        if (!a->count)
            out_end(&p.out);
    }
    if (st == VV_OK && a->count) {
        out_writer o;
        out_init_names(&o, ctx->common.format, (const char *const[]){"count"}, 1);
        out_row(&o, (const out_cell[]){out_uint(p.count)});
        out_end(&o);
    }
    store_close(s);
    return st == VV_OK ? CMD_OK : cmd_fail(ctx, st, &err);
}

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    const args *a = opaque;
    const char *text[3] = {a->from, a->to, a->prefix};
    vv_buf key[3];
    int code = CMD_OK;
    int64_t as_of_ns = 0;
    (void)argv;
    if (tier_args_take(ctx, &a->tier) != CMD_OK)
        return CMD_USAGE;
    if (argc != 0)
        return cmd_usage(ctx, "it takes no arguments; use --prefix, --from and --to");
    if ((a->archive != NULL) + cmd_given(ctx, "version") + (a->as_of != NULL) > 1)
        return cmd_usage(ctx, "--archive, --version and --as-of exclude each other: each is one "
                              "state");
    if (a->as_of != NULL && !query_text_time(a->as_of, vv_clock_wall(vv_clock_real()), &as_of_ns))
        return cmd_usage(ctx, "--as-of: '%s' is no time (2026-07-01T12:00:00Z, seconds, 90m)",
                         a->as_of);
    if (a->prefix != NULL && (a->from != NULL || a->to != NULL))
        return cmd_usage(ctx, "--prefix excludes --from and --to");
    for (size_t i = 0; i < 3; i++) {
        vv_buf_init(&key[i], 2 * VV_KEY_MAX + 64);
        if (text[i] != NULL && !key_text_read(text[i], a->hex, &key[i]))
            code = cmd_usage(ctx, "'%s' is no key", text[i]);
    }
    const store_range range = {.begin = vv_buf_slice(&key[0]),
                               .end = vv_buf_slice(&key[1]),
                               .prefix = vv_buf_slice(&key[2]),
                               .reverse = a->reverse,
                               .keys_only = a->keys_only || a->count,
                               .limit = a->limit,
                               .version = (int64_t)a->version};
    if (code == CMD_OK)
        code = scan(ctx, a, as_of_ns, &range);
    for (size_t i = 0; i < 3; i++)
        vv_buf_fini(&key[i]);
    return code;
}

const cmd_command cmd_scan = {
    .name = "scan",
    .summary = "print keys and values in order, or messages",
    .synopsis = "",
    .details =
        "All of it comes from one snapshot. Bytes that are no text are printed as \\xNN (in\n"
        "JSON as {\"base64\": ...}); a table cuts long values, JSON and CSV do not. Of a stream\n"
        "table the messages, by partition and offset, each partition from --from, an offset or a\n"
        "time, to before --to.\n",
    .with = CMD_WITH_STORE | CMD_WITH_TABLE,
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .args_size = sizeof(args),
    .run = run,
};
