/*
 * cmd_get.c - print the value of a key, or the record of an id.
 *
 * What a record table stores under a key is the record's own encoding; a question for the id gives
 * it as fields. --raw asks for the stored bytes in either kind of table. The key of a message is
 * its offset.
 */
#include <inttypes.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/time_text.h"
#include "base/util.h"
#include "cmd_message.h"
#include "io/env.h"
#include "key_text.h"
#include "out.h"
#include "query/struct_view.h"
#include "query_text.h"
#include "record_json.h"
#include "store.h"
#include "tier_store.h"

#define RECORD_TEXT_MAX (256u * 1024 * 1024)
#define KEY_TEXT_ROOM (2 * VV_KEY_MAX + 64) /* of a key, and of one that is too long */

typedef struct args {
    uint64_t version;
    const char *archive;
    const char *as_of;
    bool hex;
    bool raw;
    bool number;
    uint64_t partition;
    tier_args tier;
} args;

static const cmd_opt opts[] = {
    {"version", 0, CMD_COUNT, offsetof(args, version), "N", "as of this version; default newest"},
    {"archive", 0, CMD_TEXT, offsetof(args, archive), "NAME",
     "of a btree table: as of this archive"},
    {"as-of", 0, CMD_TEXT, offsetof(args, as_of), "TIME",
     "as of this time, within the table's retention of versions: RFC 3339, seconds, 90m (ago)"},
    {"hex", 'x', CMD_FLAG, offsetof(args, hex), NULL, "KEY is hexadecimal"},
    {"number", 0, CMD_FLAG, offsetof(args, number), NULL,
     "a value of 8 bytes, what put --merge add makes, as a whole number"},
    {"raw", 'r', CMD_FLAG, offsetof(args, raw), NULL,
     "the stored bytes alone, no newline behind them"},
    {"partition", 0, CMD_COUNT, offsetof(args, partition), "N",
     "of a stream table, whose KEY is an offset: its partition; default 0"},
    TIER_OPTS(args, tier),
};

static out_cell value_cell(const args *a, vv_slice value)
{
    return a->number && value.len == 8 ? out_int((int64_t)vv_get_le64(value.data))
                                       : out_bytes(value);
}

/* Text goes to a terminal as it is, lines and tabs included. */
static bool is_text(vv_slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        uint8_t c = value.data[i];
        if (c == 0x7f || (c < 0x20 && c != '\n' && c != '\t' && c != '\r'))
            return false;
    }
    return out_is_utf8(value);
}

/* The value alone: byte for byte into a file or a pipe, escaped where bytes would be orders to a
 * terminal. */
static void print_value(const args *a, vv_slice value)
{
    vv_buf text;
    out_cell cell = value_cell(a, value);
    if (cell.type == OUT_INT && !a->raw) {
        (void)printf("%" PRId64 "\n", cell.i);
        return;
    }
    vv_buf_init(&text, 4 * (size_t)VV_VALUE_MAX + 64);
    if (!a->raw && isatty(STDOUT_FILENO) == 1 && !is_text(value)) {
        out_escape(&text, value);
        value = vv_buf_slice(&text);
    }
    (void)fwrite(value.data, 1, value.len, stdout);
    if (!a->raw)
        (void)fputc('\n', stdout);
    vv_buf_fini(&text);
}

static void print(const cmd_ctx *ctx, const args *a, const store_kv *kv)
{
    if (ctx->common.output == NULL || a->raw) {
        print_value(a, kv->value);
        return;
    }
    out_writer o;
    const char *const names[] = {"key", "version", "expires_ms", "value"};
    out_init_names(&o, ctx->common.format, names, ARRAY_LEN(names));
    out_cell expires = {.type = OUT_NULL};
    if (kv->expires_ms != 0)
        expires = out_int(kv->expires_ms);
    out_row(&o, (const out_cell[]){out_bytes(kv->key), out_int(kv->version), expires,
                                   value_cell(a, kv->value)});
    out_end(&o);
}

static void print_record(const cmd_ctx *ctx, const record_parts *r)
{
    char time[TIME_TEXT_MAX];
    vv_buf text;
    vv_buf data;
    vv_buf_init(&text, RECORD_TEXT_MAX);
    vv_buf_init(&data, RECORD_TEXT_MAX);
    if (ctx->common.output == NULL || ctx->common.format == CMD_JSON) {
        record_put_json(&text, r);
        vv_buf_append_u8(&text, '\n');
        (void)fwrite(text.data, 1, text.len, stdout);
    } else {
        out_writer o;
        const char *const names[] = {"id", "timestamp", "version", "metadata", "data"};
        out_init_names(&o, ctx->common.format, names, ARRAY_LEN(names));
        time_text_format(r->time_ns, time);
        record_put_meta_json(&text, r);
        record_put_data_json(&data, r);
        out_row(&o, (const out_cell[]){out_bytes(r->id),
                                       out_text(time),
                                       out_int(r->version),
                                       {.type = OUT_JSON, .bytes = vv_buf_slice(&text)},
                                       {.type = OUT_JSON, .bytes = vv_buf_slice(&data)}});
        out_end(&o);
    }
    vv_buf_fini(&text);
    vv_buf_fini(&data);
}

typedef struct finder {
    const cmd_ctx *ctx;
    uint64_t found;
} finder;

static int take_record(void *opaque, vv_slice record)
{
    finder *f = opaque;
    record_parts r;
    if (!record_parse(record, &r))
        return 0;
    f->found++;
    print_record(f->ctx, &r);
    return 1;
}

static vv_status get_record(const cmd_ctx *ctx, const args *a, store *s, vv_slice id, vv_error *err)
{
    finder f = {.ctx = ctx};
    query_stats stats;
    vv_buf value;
    vv_buf_init(&value, 4 * VV_KEY_MAX);
    const struct_value v = {.type = STRUCT_STRING, .bytes = id};
    struct_value_put(&value, 0, &v);
    const query_filter filter = {vv_slice_str("_id"), vv_slice_str("="), vv_buf_slice(&value)};
    const query_ask ask = {.tenant = vv_slice_str(s->tenant),
                           .table = vv_slice_str(s->table),
                           .filters = &filter,
                           .filter_count = 1,
                           .limit = 1,
                           .version = (int64_t)a->version};
    vv_status st = value.status == VV_OK ? s->ops->query(s, &ask, take_record, &f, &stats, err)
                                         : vv_fail(err, VV_NO_MEMORY, "no memory for the question");
    vv_buf_fini(&value);
    if (st == VV_OK && f.found == 0)
        return vv_fail(err, VV_NOT_FOUND, "the key is not in table '%s' of tenant '%s'", s->table,
                       s->tenant);
    return st;
}

static void print_message(const void *ctx, vv_slice value)
{
    print_value(ctx, value);
}

static vv_status get_messages(const cmd_ctx *ctx, const args *a, store *s, const vv_slice *keys,
                              size_t count, vv_error *err)
{
    const bool is_bare = count == 1 && (ctx->common.output == NULL || a->raw);
    if (a->archive != NULL || a->as_of != NULL || a->version != 0)
        return vv_fail(err, VV_INVALID,
                       "--version, --as-of and --archive are of keys: the messages of table '%s' "
                       "never change",
                       s->table);
    return message_get(ctx, s, (uint32_t)vv_min_u64(a->partition, UINT32_MAX), keys, count,
                       is_bare ? print_message : NULL, a, err);
}

static vv_status get(const cmd_ctx *ctx, const args *a, store *s, vv_slice key, vv_error *err)
{
    store_kv kv;
    store_table_info info = {.kind = 0};
    /* Who may not describe it, or a table that is not there: the read says so itself. */
    if (message_table(s, &info))
        return get_messages(ctx, a, s, &key, 1, err);
    bool is_record = !a->raw && a->archive == NULL && a->as_of == NULL && out_is_utf8(key) &&
                     info.kind == VV_TABLE_RECORD;
    if (is_record)
        return get_record(ctx, a, s, key, err);
    vv_buf value;
    vv_buf_init(&value, VV_VALUE_MAX + 64);
    vv_status st = s->ops->get(s, key, (int64_t)a->version, &value, &kv, err);
    if (st == VV_OK)
        print(ctx, a, &kv);
    vv_buf_fini(&value);
    return st;
}

/* ---- several keys ---- */

typedef struct printer {
    const args *args;
    out_writer out;
    uint64_t absent;
} printer;

static void print_each(void *opaque, const store_kv *kv)
{
    printer *p = opaque;
    if (kv->version == 0) {
        p->absent++;
        return;
    }
    out_cell expires = {.type = OUT_NULL};
    if (kv->expires_ms != 0)
        expires = out_int(kv->expires_ms);
    out_row(&p->out, (const out_cell[]){out_bytes(kv->key), out_int(kv->version), expires,
                                        value_cell(p->args, kv->value)});
}

static int get_many(const cmd_ctx *ctx, const args *a, int64_t as_of_ns, const vv_slice *keys,
                    size_t count)
{
    vv_error err = {0};
    store *s = NULL;
    printer p = {.args = a};
    const char *const names[] = {"key", "version", "expires_ms", "value"};
    store_table_info info;
    vv_status st = store_open(ctx, "default", STORE_READ, &s, &err);
    if (st == VV_OK && message_table(s, &info)) {
        st = get_messages(ctx, a, s, keys, count, &err);
    } else if (st == VV_OK) {
        out_init_names(&p.out, ctx->common.format, names, ARRAY_LEN(names));
        s->archive = a->archive;
        s->as_of_ns = as_of_ns;
        st = s->ops->get_many(s, keys, count, (int64_t)a->version, print_each, &p, &err);
        out_end(&p.out);
    }
    (void)fflush(stdout);
    if (st == VV_OK && p.absent > 0)
        st = vv_fail(&err, VV_NOT_FOUND, "%llu of %zu keys are not in table '%s' of tenant '%s'",
                     (unsigned long long)p.absent, count, s->table, s->tenant);
    store_close(s);
    return st == VV_OK ? CMD_OK : cmd_fail(ctx, st, &err);
}

/* All keys in one buffer, which has room for them from the start: slices of it stay. */
static int read_keys(cmd_ctx *ctx, const args *a, char **argv, size_t count, vv_buf *bytes,
                     vv_slice *keys)
{
    if (vv_buf_reserve(bytes, count * KEY_TEXT_ROOM) == NULL)
        return cmd_fail(ctx, VV_NO_MEMORY, &(vv_error){.msg = "no memory for so many keys"});
    for (size_t i = 0; i < count; i++) {
        size_t at = bytes->len;
        if (!key_text_read(argv[i], a->hex, bytes))
            return cmd_usage(ctx, "KEY '%s' is %s", argv[i],
                             a->hex ? "not hexadecimal" : "over 1024 bytes");
        keys[i] = vv_slice_of(bytes->data + at, bytes->len - at);
    }
    return CMD_OK;
}

static int run_many(cmd_ctx *ctx, const args *a, int64_t as_of_ns, int argc, char **argv)
{
    vv_buf bytes;
    size_t count = (size_t)argc;
    vv_slice *keys = vv_calloc(count, sizeof *keys);
    if (keys == NULL)
        return cmd_fail(ctx, VV_NO_MEMORY, &(vv_error){.msg = "no memory for so many keys"});
    vv_buf_init(&bytes, count * KEY_TEXT_ROOM);
    int code = read_keys(ctx, a, argv, count, &bytes, keys);
    if (code == CMD_OK)
        code = get_many(ctx, a, as_of_ns, keys, count);
    vv_free(keys);
    vv_buf_fini(&bytes);
    return code;
}

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    const args *a = opaque;
    vv_error err = {0};
    store *s = NULL;
    int64_t as_of_ns = 0;
    vv_buf key;
    if (argc == 0)
        return cmd_usage(ctx, "a KEY is needed");
    if (tier_args_take(ctx, &a->tier) != CMD_OK)
        return CMD_USAGE;
    if ((a->archive != NULL) + cmd_given(ctx, "version") + (a->as_of != NULL) > 1)
        return cmd_usage(ctx, "--archive, --version and --as-of exclude each other: each is one "
                              "state");
    if (a->as_of != NULL && !query_text_time(a->as_of, vv_clock_wall(vv_clock_real()), &as_of_ns))
        return cmd_usage(ctx, "--as-of: '%s' is no time (2026-07-01T12:00:00Z, seconds, 90m)",
                         a->as_of);
    if (argc > 1 && a->raw)
        return cmd_usage(ctx, "--raw prints one value: name one KEY");
    if (argc > 1)
        return run_many(ctx, a, as_of_ns, argc, argv);
    vv_buf_init(&key, KEY_TEXT_ROOM);
    int code = key_text_read(argv[0], a->hex, &key)
                   ? CMD_OK
                   : cmd_usage(ctx, "KEY is %s", a->hex ? "not hexadecimal" : "over 1024 bytes");
    if (code == CMD_OK) {
        vv_status st = store_open(ctx, "default", STORE_READ, &s, &err);
        if (st == VV_OK) {
            s->archive = a->archive;
            s->as_of_ns = as_of_ns;
            st = get(ctx, a, s, vv_buf_slice(&key), &err);
        }
        if (st != VV_OK)
            code = cmd_fail(ctx, st, &err);
        store_close(s);
    }
    vv_buf_fini(&key);
    return code;
}

const cmd_command cmd_get = {
    .name = "get",
    .summary = "print the value of a key, a record, or a message",
    .synopsis = "KEY...",
    .details =
        "Without -o the value is printed as it is, with a newline behind it, and the record of\n"
        "a record table as one JSON object: id, timestamp, version, metadata, data. On a\n"
        "terminal a value that is no text is printed as \\xNN. --raw gives the stored bytes of\n"
        "either. Several keys are read at one version and printed as\n"
        "rows of key, version, expires_ms and value; exit code 5 when one is not there.\n"
        "Of a stream table KEY is an offset of --partition, or PARTITION/OFFSET; messages in an\n"
        "object store are fetched from there, of --data from that of --backend and --bucket.\n",
    .with = CMD_WITH_STORE | CMD_WITH_TABLE,
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .args_size = sizeof(args),
    .run = run,
};
