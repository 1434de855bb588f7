/*
 * cmd_args.c - options: from the tables to getopt_long, to --help, and to typed values.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/nearest.h"
#include "base/time_text.h"
#include "base/util.h"
#include "client/client.h"
#include "cmd.h"

#define OPTIONS_MAX 64
#define DEFAULT_SERVER "127.0.0.1:8080"

static const struct {
    unsigned with;
    cmd_opt opt;
} common_options[] = {
    {CMD_WITH_SERVER,
     {"server", 's', CMD_TEXT, offsetof(cmd_common, server), "HOST:PORT",
      "the server; default $VARVE_SERVER or " DEFAULT_SERVER}},
    {CMD_WITH_DATA,
     {"data", 'd', CMD_TEXT, offsetof(cmd_common, data), "DIR",
      "open this store instead; no server may have it open"}},
    {CMD_WITH_TENANT,
     {"tenant", 't', CMD_TEXT, offsetof(cmd_common, tenant), "NAME", "default \"default\""}},
    {CMD_WITH_TABLE, {"table", 'T', CMD_TEXT, offsetof(cmd_common, table), "NAME", "the table"}},
    {CMD_WITH_TABLE,
     {"schema", 0, CMD_TEXT, offsetof(cmd_common, table), "NAME", "another name for --table"}},
    {CMD_WITH_OUTPUT,
     {"output", 'o', CMD_CHOICE, offsetof(cmd_common, output), "table|json|csv",
      "default table; json is one object a line"}},
    {CMD_WITH_SERVER,
     {"timeout", 0, CMD_DURATION, offsetof(cmd_common, timeout_ns), "TIME",
      "give up after this long; default 30s, long-running commands: never"}},
    {0, {"help", 'h', CMD_FLAG, offsetof(cmd_common, help), NULL, "this text"}},
};

const cmd_opt *cmd_option_at(const cmd_command *command, size_t index, bool *common)
{
    *common = index >= command->opt_count;
    if (!*common)
        return &command->opts[index];
    index -= command->opt_count;
    for (size_t i = 0; i < ARRAY_LEN(common_options); i++) {
        unsigned with = common_options[i].with;
        if ((with == 0 || (command->with & with) != 0) && index-- == 0)
            return &common_options[i].opt;
    }
    return NULL;
}

void cmd_help(const cmd_command *command, FILE *to)
{
    (void)fprintf(to, "usage: varve %s [options]%s%s\n\n%s.\n", command->name,
                  command->synopsis[0] == 0 ? "" : " ", command->synopsis, command->summary);
    if (command->details != NULL)
        (void)fprintf(to, "\n%s", command->details);
    (void)fputs("\noptions:\n", to);
    bool common;
    const cmd_opt *o;
    for (size_t i = 0; (o = cmd_option_at(command, i, &common)) != NULL; i++) {
        char letter[8] = "    ";
        if (o->letter != 0)
            (void)snprintf(letter, sizeof letter, "-%c, ", o->letter);
        int left = fprintf(to, "  %s--%s%s%s", letter, o->name, o->meta == NULL ? "" : " ",
                           o->meta == NULL ? "" : o->meta);
        if (left > 32)
            (void)fputc('\n', to);
        (void)fprintf(to, "%*s%s\n", left > 32 || left < 0 ? 33 : 33 - left, "", o->help);
    }
}

int cmd_usage(const cmd_ctx *ctx, const char *fmt, ...)
{
    va_list args;
    (void)fprintf(stderr, "varve %s: ", ctx->command->name);
    va_start(args, fmt);
    /* The analyser loses va_start where it follows callers into here. */
    (void)vfprintf(stderr, fmt, args); /* NOLINT(clang-analyzer-valist.Uninitialized) */
    va_end(args);
    (void)fprintf(stderr, "; see varve %s --help\n", ctx->command->name);
    return CMD_USAGE;
}

int cmd_word_of(const cmd_ctx *ctx, const char *word)
{
    char all[256] = "";
    const char *near = NULL;
    unsigned best = 3; /* farther is another word */
    const char *const *words = ctx->command->words;
    for (size_t i = 0; words[i] != NULL; i++) {
        unsigned d = vv_name_distance(vv_slice_str(word), vv_slice_str(words[i]), best);
        if (d == 0)
            return (int)i;
        near = d < best ? words[i] : near;
        best = d < best ? d : best;
        size_t len = strlen(all);
        const char *before = i == 0 ? "" : words[i + 1] == NULL ? " or " : ", ";
        (void)snprintf(all + len, sizeof all - len, "%s%s", before, words[i]);
    }
    if (near != NULL)
        (void)cmd_usage(ctx, "there is no '%s %s', did you mean '%s'? It is %s", ctx->command->name,
                        word, near, all);
    else
        (void)cmd_usage(ctx, "there is no '%s %s'; it is %s", ctx->command->name, word, all);
    return -1;
}

int cmd_fail(const cmd_ctx *ctx, vv_status st, const vv_error *err)
{
    (void)fflush(stdout);
    (void)fprintf(stderr, "varve %s: %s\n", ctx->command->name, err->msg);
    if (err->sys == 401 || err->sys == 403)
        return CMD_DENIED;
    switch (st) {
    case VV_OK:
        return CMD_OK;
    case VV_NOT_FOUND:
        return CMD_NOT_FOUND;
    case VV_CLOSED:
    case VV_TIMEOUT:
        return CMD_UNAVAILABLE;
    default:
        return CMD_ERROR;
    }
}

/* Whether the word is a common option whose value is the next word. */
static bool takes_next(const char *word)
{
    for (size_t i = 0; i < ARRAY_LEN(common_options); i++) {
        const cmd_opt *o = &common_options[i].opt;
        if (o->type != CMD_FLAG &&
            ((word[0] == '-' && word[1] == '-' && strcmp(word + 2, o->name) == 0) ||
             (o->letter != 0 && word[1] == o->letter && word[2] == 0)))
            return true;
    }
    return false;
}

int cmd_word_index(int argc, char **argv)
{
    int i = 1;
    while (i < argc && argv[i][0] == '-')
        i += takes_next(argv[i]) ? 2 : 1;
    return i < argc ? i : argc;
}

bool cmd_parse_count(const char *text, uint64_t *out)
{
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return *end == 0 && errno == 0;
}

bool cmd_parse_size(const char *text, uint64_t *out)
{
    static const char units[] = "KMGT";
    size_t len = strlen(text);
    char digits[24];
    uint64_t factor = 1;
    if (len > 0 && (text[len - 1] == 'B' || text[len - 1] == 'b'))
        len--; /* 64KB */
    if (len > 1 && text[len - 1] == 'i')
        len--; /* 64KiB */
    const char *unit = len == 0 ? NULL : strchr(units, text[len - 1] & ~0x20);
    if (unit != NULL && *unit != 0 && text[len - 1] > '9') {
        factor = UINT64_C(1) << (10 * (unit - units + 1));
        len--;
    }
    if (len == 0 || len >= sizeof digits)
        return false;
    memcpy(digits, text, len);
    digits[len] = 0;
    return cmd_parse_count(digits, out) && !__builtin_mul_overflow(*out, factor, out);
}

bool cmd_parse_duration(const char *text, int64_t *out_ns)
{
    static const struct {
        const char *unit;
        int64_t ns;
    } units[] = {
        {"ns", 1},
        {"us", VV_NS_PER_US},
        {"ms", VV_NS_PER_MS},
        {"s", VV_NS_PER_S},
        {"m", 60 * VV_NS_PER_S},
        {"h", 3600 * VV_NS_PER_S},
        {"d", 86400 * VV_NS_PER_S},
        {"", VV_NS_PER_S},
    };
    size_t digits = strspn(text, "0123456789.");
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        char *end;
        if (strcmp(text + digits, units[i].unit) != 0)
            continue;
        double ns = strtod(text, &end) * (double)units[i].ns;
        if (digits == 0 || end != text + digits || ns > 9e18)
            return false;
        *out_ns = (int64_t)ns;
        return true;
    }
    return false;
}

static bool is_choice(const char *choices, const char *text)
{
    size_t len = strlen(text);
    for (const char *at = choices; *at != 0;) {
        size_t n = strcspn(at, "|");
        if (n == len && memcmp(at, text, n) == 0)
            return true;
        at += n + (at[n] == '|');
    }
    return false;
}

/* Store one value; false with *why when the text is no such value. */
static bool set_value(const cmd_opt *o, void *base, const char *text, const char **why)
{
    void *at = (char *)base + o->offset;
    cmd_list *list = at;
    switch (o->type) {
    case CMD_FLAG:
        *(bool *)at = true;
        return true;
    case CMD_TEXT:
        *(const char **)at = text;
        return true;
    case CMD_CHOICE:
        *(const char **)at = text;
        *why = "is not one of";
        return is_choice(o->meta, text);
    case CMD_LIST:
        *why = "is one too many: at most 64 times";
        if (list->count == CMD_LIST_MAX)
            return false;
        list->item[list->count++] = text;
        return true;
    case CMD_COUNT:
        *why = "is no whole number";
        return cmd_parse_count(text, at);
    case CMD_SIZE:
        *why = "is no size such as 4096, 64K or 1M";
        return cmd_parse_size(text, at);
    case CMD_DURATION:
        *why = "is no time such as 10s, 200ms or 5m";
        return cmd_parse_duration(text, at);
    }
    return false;
}

/* The tables as getopt_long wants them. */
typedef struct parser {
    struct option longs[OPTIONS_MAX + 1];
    const cmd_opt *opts[OPTIONS_MAX];
    bool common[OPTIONS_MAX];
    char shorts[OPTIONS_MAX * 2 + 3];
    size_t count; /* of opts */
} parser;

#define LONG_BASE 1000 /* what getopt_long returns for option 0 */

static void parser_init(parser *p, const cmd_command *command)
{
    size_t n = 0;
    size_t letters = 0;
    bool common;
    const cmd_opt *o;
    *p = (parser){0};
    p->shorts[letters++] = '-'; /* operands come in their place, as option 1 */
    p->shorts[letters++] = ':';
    for (; (o = cmd_option_at(command, n, &common)) != NULL; n++) {
        assert(n < OPTIONS_MAX);
        static_assert(OPTIONS_MAX <= 64, "cmd_ctx.given has a bit for each");
        p->opts[n] = o;
        p->common[n] = common;
        p->longs[n] =
            (struct option){o->name, o->type == CMD_FLAG ? no_argument : required_argument, NULL,
                            LONG_BASE + (int)n};
        if (o->letter != 0) {
            p->shorts[letters++] = o->letter;
            if (o->type != CMD_FLAG)
                p->shorts[letters++] = ':';
        }
    }
    p->count = n;
}

/* What getopt_long answered as an index; p->count when it found no option. */
static size_t option_index(const parser *p, int c)
{
    if (c >= LONG_BASE)
        return (size_t)(c - LONG_BASE);
    for (size_t i = 0; i < p->count; i++)
        if (p->opts[i]->letter == c)
            return i;
    return p->count;
}

/* "-3" is no option but an operand: no letter is a digit. */
static bool is_negative(const char *word)
{
    size_t digits = strspn(word + 1, "0123456789");
    return word[0] == '-' && digits > 0 && word[1 + digits] == 0;
}

/* Operands are gathered in words, in their order. */
static int parse(cmd_ctx *ctx, void *args, int argc, char **argv, char **words, int *word_count)
{
    parser p;
    parser_init(&p, ctx->command);
    optind = 1;
    for (;;) {
        int at = optind; /* the word that is read, or read on */
        int c = getopt_long(argc, argv, p.shorts, p.longs, NULL);
        if (c == 1)
            words[(*word_count)++] = optarg;
        if (c == 1)
            continue;
        if (c == -1) {
            while (optind < argc)
                words[(*word_count)++] = argv[optind++];
            return CMD_OK;
        }
        if (c == ':')
            return cmd_usage(ctx, "option '%s' needs a value", argv[optind - 1]);
        size_t i = option_index(&p, c);
        if (i == p.count && is_negative(argv[at])) {
            words[(*word_count)++] = argv[at];
            while (optind == at) /* the digits that are left of it */
                (void)getopt_long(argc, argv, p.shorts, p.longs, NULL);
            continue;
        }
        if (i == p.count)
            return cmd_usage(ctx,
                             "there is no option '%s'; an argument that begins with '-' goes "
                             "behind --",
                             argv[at]);
        const char *why = "";
        ctx->given |= UINT64_C(1) << i;
        if (!set_value(p.opts[i], p.common[i] ? (void *)&ctx->common : args, optarg, &why))
            return cmd_usage(ctx, "--%s: '%s' %s%s%s", p.opts[i]->name, optarg, why,
                             p.opts[i]->type == CMD_CHOICE ? " " : "",
                             p.opts[i]->type == CMD_CHOICE ? p.opts[i]->meta : "");
    }
}

bool cmd_given(const cmd_ctx *ctx, const char *name)
{
    const cmd_opt *o;
    bool common;
    for (size_t i = 0; (o = cmd_option_at(ctx->command, i, &common)) != NULL; i++)
        if (strcmp(o->name, name) == 0)
            return (ctx->given >> i & 1) != 0;
    return false;
}

static int check_common(cmd_ctx *ctx, const char *server_asked)
{
    cmd_common *c = &ctx->common;
    if (c->data != NULL && server_asked != NULL)
        return cmd_usage(ctx, "--data and --server exclude each other");
    if (c->data == NULL && (ctx->command->with & CMD_WITH_SERVER) != 0) {
        vv_error err = {0};
        cli_conn *conn = NULL;
        if (cli_open(c->server, NULL, &conn, &err) == VV_INVALID) /* connects to nothing yet */
            return cmd_usage(ctx, "--server: %s", err.msg);
        cli_close(conn);
    }
    if (c->output != NULL)
        c->format = strcmp(c->output, "json") == 0  ? CMD_JSON
                    : strcmp(c->output, "csv") == 0 ? CMD_CSV
                                                    : CMD_TABLE;
    return CMD_OK;
}

int cmd_run(const cmd_command *command, int argc, char **argv)
{
    const char *env = getenv("VARVE_SERVER");
    cmd_ctx ctx = {.command = command, .common = {.tenant = "default"}};
    void *args = vv_calloc(1, command->args_size + 1);
    char **words = vv_calloc((size_t)argc + 1, sizeof *words);
    int word_count = 0;
    if (args == NULL || words == NULL) {
        (void)fprintf(stderr, "varve: out of memory\n");
        vv_free(args);
        vv_free(words);
        return CMD_ERROR;
    }
    int code = parse(&ctx, args, argc, argv, words, &word_count);
    if (code == CMD_OK && ctx.common.help) {
        cmd_help(command, stdout);
        vv_free(args);
        vv_free(words);
        return CMD_OK;
    }
    const char *asked = ctx.common.server;
    if (asked == NULL)
        ctx.common.server = env != NULL && env[0] != 0 ? env : DEFAULT_SERVER;
    if (code == CMD_OK)
        code = check_common(&ctx, asked);
    if (code == CMD_OK)
        code = command->run(&ctx, args, word_count, words);
    if (fflush(stdout) != 0 && code == CMD_OK) {
        (void)fprintf(stderr, "varve %s: standard output cannot be written\n", command->name);
        code = CMD_ERROR;
    }
    vv_free(args);
    vv_free(words);
    return code;
}
