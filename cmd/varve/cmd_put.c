/* cmd_put.c - store a value under a key, or change the one that is there. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "key_text.h"
#include "store.h"

#define VALUE_READ_MAX (VV_VALUE_MAX + 131072u)

typedef struct args {
    const char *file;
    int64_t ttl_ns;
    const char *durability;
    const char *merge;
    bool hex;
    bool quiet;
} args;

static const cmd_opt opts[] = {
    {"file", 'f', CMD_TEXT, offsetof(args, file), "FILE", "take the value from FILE; - is stdin"},
    {"ttl", 0, CMD_DURATION, offsetof(args, ttl_ns), "TIME",
     "the key is gone after this long; 0, the default: it stays"},
    {"durability", 0, CMD_CHOICE, offsetof(args, durability), "sync|os|none",
     "what must have happened before it is done; default sync"},
    {"merge", 'm', CMD_CHOICE, offsetof(args, merge), "add|max|append",
     "change the value by VALUE instead: a number to add, or to compare with; bytes to append. A "
     "number takes the place of what is none, which has other than 8 bytes"},
    {"hex", 'x', CMD_FLAG, offsetof(args, hex), NULL, "KEY and VALUE are hexadecimal"},
    {"quiet", 'q', CMD_FLAG, offsetof(args, quiet), NULL, "print nothing"},
};

static int read_value(cmd_ctx *ctx, const args *a, int argc, char **argv, vv_buf *value)
{
    vv_error err = {0};
    if (argc != (a->file == NULL ? 2 : 1))
        return cmd_usage(ctx, a->file == NULL
                                  ? "KEY and VALUE are needed; what begins with '-' goes behind --"
                                  : "KEY is needed, and no VALUE beside --file");
    if (a->file == NULL && !a->hex && argv[1][0] == '-' && argv[1][1] == 0)
        return cmd_usage(ctx,
                         "VALUE '-': to read standard input say --file - (its bytes may be '-')");
    if (a->file == NULL)
        return key_text_read(argv[1], a->hex, value)
                   ? CMD_OK
                   : cmd_usage(ctx, "VALUE '%s' is not hexadecimal", argv[1]);
    vv_status st = key_text_read_file(a->file, value, &err);
    return st == VV_OK ? CMD_OK : cmd_fail(ctx, st, &err);
}

/* Indexed by vv_operator. */
static const char *const operators[] = {NULL, "add", "max", "append"};

static int operator_of(const char *name)
{
    for (size_t i = 1; name != NULL && i < ARRAY_LEN(operators); i++)
        if (strcmp(name, operators[i]) == 0)
            return (int)i;
    return 0;
}

/* What adds or compares is a number on the command line, and eight bytes in the store. */
static bool encode_operand(const args *a, int op, vv_buf *value)
{
    char text[32];
    char *end = NULL;
    if ((op != VV_ADD && op != VV_MAX) || a->hex)
        return true;
    if (value->len == 0 || value->len >= sizeof text)
        return false;
    memcpy(text, value->data, value->len);
    text[value->len] = 0;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno != 0 || end != text + value->len)
        return false;
    vv_buf_reset(value);
    vv_buf_append_le64(value, (uint64_t)number);
    return true;
}

static int put(cmd_ctx *ctx, const args *a, vv_slice key, vv_slice value)
{
    vv_error err = {0};
    store *s = NULL;
    store_written written = {0};
    store_write how = {.ttl_ms = (uint64_t)((a->ttl_ns + VV_NS_PER_MS - 1) / VV_NS_PER_MS)};
    how.op = operator_of(a->merge);
    if (a->durability != NULL)
        (void)store_parse_durability(a->durability, &how.durability);
    vv_status st = store_open(ctx, "default", STORE_CREATE, &s, &err);
    if (st == VV_OK)
        st = s->ops->put(s, key, value, &how, &written, &err);
    store_close(s);
    if (st != VV_OK)
        return cmd_fail(ctx, st, &err);
    if (!a->quiet)
        cmd_tell_written(ctx, key, &written);
    return CMD_OK;
}

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    const args *a = opaque;
    vv_buf key;
    vv_buf value;
    vv_buf_init(&key, 2 * VV_KEY_MAX + 64);
    vv_buf_init(&value, VALUE_READ_MAX);
    int code = read_value(ctx, a, argc, argv, &value);
    if (code == CMD_OK && !key_text_read(argv[0], a->hex, &key))
        code = cmd_usage(ctx, "KEY is %s", a->hex ? "not hexadecimal" : "over 1024 bytes");
    if (code == CMD_OK && !encode_operand(a, operator_of(a->merge), &value))
        code = cmd_usage(ctx, "--merge %s needs a whole number", a->merge);
    if (code == CMD_OK)
        code = put(ctx, a, vv_buf_slice(&key), vv_buf_slice(&value));
    vv_buf_fini(&key);
    vv_buf_fini(&value);
    return code;
}

const cmd_command cmd_put = {
    .name = "put",
    .summary = "store a value under a key",
    .synopsis = "KEY VALUE | KEY --file FILE",
    .details =
        "With --merge the value that is there is changed without being read: a counter by add,\n"
        "a high-water mark by max, a list by append. A number is 8 bytes in the store: add and "
        "max\n"
        "on a value of any other length, as a text, put VALUE in its place.\n",
    .with = CMD_WITH_STORE | CMD_WITH_TABLE,
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .args_size = sizeof(args),
    .run = run,
};
