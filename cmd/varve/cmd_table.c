/* cmd_table.c - create, list, describe, alter and drop tables. */
#include <string.h>

#include "base/error.h"
#include "base/time_text.h"
#include "base/util.h"
#include "cmd_series_int.h"
#include "key_text.h"
#include "store.h"

#define READ_AT_ONCE 65536u /* room that reading a file wants */

typedef struct args {
    const char *kind;
    int64_t retention_ns;
    const char *compression;
    const char *engine;
    uint64_t value_threshold;
    uint64_t partitions;
    int64_t keep_ns;
    uint64_t keep_bytes;
    uint64_t message_max;
    int64_t producer_keep_ns;
    uint64_t producers_max;
    int64_t late_ns;
    int64_t future_ns;
    int64_t keep_minutes_ns;
    int64_t keep_hours_ns;
    cmd_list keep_where;
    bool no_keep_where;
    const char *archive;
    const char *extract;
    const char *extract_schema;
    bool no_extract;
    bool no_rollups;
    bool no_retention;
    bool if_not_exists;
    bool all_tenants;
} args;

static const cmd_opt opts[] = {
    {"kind", 'k', CMD_CHOICE, offsetof(args, kind), "kv|record|series|stream",
     "of create; default kv"},
    {"retention", 0, CMD_DURATION, offsetof(args, retention_ns), "TIME",
     "kv and record: how long old versions can be read; default 0 for kv, 1h for record"},
    {"no-retention", 0, CMD_FLAG, offsetof(args, no_retention), NULL,
     "record: keep no old versions"},
    {"compression", 0, CMD_CHOICE, offsetof(args, compression), "auto|none|lz4|zstd",
     "of create: of the table's files; default auto: lz4 on levels 0 and 1, zstd below"},
    {"engine", 'e', CMD_CHOICE, offsetof(args, engine), "auto|lsm|btree|rocksdb",
     "of create: lsm for writes, btree for reads of one page; default auto: the store's"},
    {"value-threshold", 0, CMD_SIZE, offsetof(args, value_threshold), "SIZE",
     "of create: values of this size and more lie in files of their own; default 256 KiB"},
    {"partitions", 0, CMD_COUNT, offsetof(args, partitions), "N",
     "of create: shards that the keys are spread over; default 1: the tenant's alone"},
    {"keep", 0, CMD_DURATION, offsetof(args, keep_ns), "TIME",
     "series and stream: how old samples and messages get; default, and 0: as old as they may"},
    {"keep-where", 0, CMD_LIST, offsetof(args, keep_where), "MATCHER:TIME",
     "series: the same of series that fit, as LABEL=VALUE:7d; the first counts; 0: for ever; may "
     "be "
     "repeated; alter puts these in the place of all that were"},
    {"no-keep-where", 0, CMD_FLAG, offsetof(args, no_keep_where), NULL,
     "of alter, series: --keep is of all of them again"},
    {"keep-size", 0, CMD_SIZE, offsetof(args, keep_bytes), "SIZE",
     "stream: bytes of messages that each partition keeps; default, and 0: all"},
    {"message-max", 0, CMD_SIZE, offsetof(args, message_max), "SIZE",
     "stream: bytes of a message; default 12M"},
    {"keep-producers", 0, CMD_DURATION, offsetof(args, producer_keep_ns), "TIME",
     "stream: a producer silent for so long is forgotten; default 1d"},
    {"producers", 0, CMD_COUNT, offsetof(args, producers_max), "N",
     "stream: producers that each partition remembers; default 10000"},
    {"archive", 0, CMD_TEXT, offsetof(args, archive), "RULE",
     "stream: how it goes to the node's object store, as 'size=64M,age=5m,local=1h'; 'off': not at "
     "all; default: as the node's rule says"},
    {"late", 0, CMD_DURATION, offsetof(args, late_ns), "TIME",
     "of create, series: samples behind the newest by more count as late; default 1h"},
    {"future", 0, CMD_DURATION, offsetof(args, future_ns), "TIME",
     "series: samples ahead of now by more are refused; default 1d"},
    {"keep-minutes", 0, CMD_DURATION, offsetof(args, keep_minutes_ns), "TIME",
     "series: how old rollups of minutes get; default, and 0: as samples"},
    {"keep-hours", 0, CMD_DURATION, offsetof(args, keep_hours_ns), "TIME",
     "series: likewise those of hours"},
    {"no-rollups", 0, CMD_FLAG, offsetof(args, no_rollups), NULL,
     "of create, series: aggregates are worked out of samples alone"},
    {"extract", 0, CMD_TEXT, offsetof(args, extract), "FILE",
     "stream: rules, one a line, that make attributes of messages; alter: of those from then on"},
    {"extract-schema", 0, CMD_TEXT, offsetof(args, extract_schema), "FILE",
     "stream: descriptors for rules of protobuf, as protoc --descriptor_set_out writes"},
    {"no-extract", 0, CMD_FLAG, offsetof(args, no_extract), NULL, "of alter, stream: no rules"},
    {"if-not-exists", 0, CMD_FLAG, offsetof(args, if_not_exists), NULL,
     "of create: an existing table is no error"},
    {"all", 'a', CMD_FLAG, offsetof(args, all_tenants), NULL, "of list: the tables of all tenants"},
};

static const char *const columns[] = {"tenant",
                                      "table",
                                      "kind",
                                      "engine",
                                      "id",
                                      "shard",
                                      "retention_ms",
                                      "created",
                                      "bytes",
                                      "compression",
                                      "value_threshold",
                                      "partitions",
                                      "keep_ms",
                                      "late_ms",
                                      "future_ms",
                                      "rollups",
                                      "keep_minutes_ms",
                                      "keep_hours_ms",
                                      "keep_where",
                                      "keep_bytes",
                                      "message_max",
                                      "keep_producers_ms",
                                      "producers",
                                      "archive",
                                      "extract"};

/* Those of series and streams alone; nothing in tables of other kinds. */
#define OWN_COLUMNS 13

static void own_cells(const store_table_info *t, out_cell out[OWN_COLUMNS])
{
    enum { KEEP, SERIES_FIRST, STREAM_FIRST = SERIES_FIRST + 6 };
    const store_series_spec *s = &t->series;
    const store_stream_spec *m = &t->stream;
    const out_cell cells[OWN_COLUMNS] = {[KEEP] = out_int(s->keep_ns / VV_NS_PER_MS),
                                         out_int(s->late_ns / VV_NS_PER_MS),
                                         out_int(s->future_ns / VV_NS_PER_MS),
                                         out_bool(!s->no_rollups),
                                         out_int(s->keep_rollups_ns[0] / VV_NS_PER_MS),
                                         out_int(s->keep_rollups_ns[1] / VV_NS_PER_MS),
                                         out_text(t->rules),
                                         out_uint(m->keep_bytes),
                                         out_uint(m->message_max),
                                         out_int(m->producer_keep_ns / VV_NS_PER_MS),
                                         out_uint(m->producers_max),
                                         out_text(t->archive),
                                         out_text(t->extract)};
    for (size_t i = 0; i < OWN_COLUMNS; i++) {
        const bool is_there = t->kind == VV_TABLE_SERIES   ? i < STREAM_FIRST
                              : t->kind == VV_TABLE_STREAM ? i == KEEP || i >= STREAM_FIRST
                                                           : false;
        out[i] = is_there ? cells[i] : (out_cell){.type = OUT_NULL};
    }
}

/* Indexed by vv_compression. */
static const char *const compressions[] = {"auto", "none", "lz4", "zstd"};

/* Indexed by vv_engine_kind. */
static const char *const engines[] = {"auto", "lsm", "btree", "rocksdb"};

static const char *name_of_compression(int c)
{
    return c >= 0 && (size_t)c < ARRAY_LEN(compressions) ? compressions[c] : "unknown";
}

static int print_table(void *ctx, const store_table_info *t)
{
    char created[TIME_TEXT_MAX] = "";
    char kind[16];
    int64_t ns;
    if (!__builtin_mul_overflow(t->created_ms, VV_NS_PER_MS, &ns))
        time_text_format(ns, created);
    (void)snprintf(kind, sizeof kind, "%s",
                   t->kind == VV_TABLE_KV       ? "kv"
                   : t->kind == VV_TABLE_RECORD ? "record"
                   : t->kind == VV_TABLE_SERIES ? "series"
                   : t->kind == VV_TABLE_STREAM ? "stream"
                                                : "unknown");
    const out_cell cells[] = {out_text(t->tenant),
                              out_text(t->name),
                              out_text(kind),
                              out_text(t->engine),
                              out_uint(t->id),
                              out_uint(t->shard),
                              out_int(t->retention_ms),
                              out_text(created),
                              out_uint(t->bytes),
                              out_text(name_of_compression(t->compression)),
                              out_uint(t->value_threshold),
                              out_uint(t->partitions)};
    out_cell row[ARRAY_LEN(columns)];
    static_assert(ARRAY_LEN(cells) + OWN_COLUMNS == ARRAY_LEN(columns), "a cell for each");
    memcpy(row, cells, sizeof cells);
    own_cells(t, row + ARRAY_LEN(cells));
    out_row(ctx, row);
    return 0;
}

static int print_one(const cmd_ctx *ctx, vv_status st, const store_table_info *info,
                     const vv_error *err)
{
    if (st != VV_OK)
        return cmd_fail(ctx, st, err);
    out_writer o;
    out_init_names(&o, ctx->common.format, columns, ARRAY_LEN(columns));
    (void)print_table(&o, info);
    out_end(&o);
    return CMD_OK;
}

/* MATCHER:TIME. The value of the label may hold colons, so the last one counts. */
static bool parse_rule(const char *text, vv_keep_rule *out)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || !series_parse_matcher(text, &out->match))
        return false;
    const char *value = (const char *)out->match.value.data;
    if (value > colon || !cmd_parse_duration(colon + 1, &out->retention_ns))
        return false;
    out->match.value.len = (size_t)(colon - value);
    return true;
}

/* The files of --extract and --extract-schema, in text and schema. */
static vv_status read_rules(const args *a, vv_buf *text, vv_buf *schema, store_table_spec *spec,
                            vv_error *err)
{
    vv_status st = VV_OK;
    if (a->extract != NULL)
        st = key_text_read_file(a->extract, text, err);
    if (st == VV_OK && text->len > 0 && memchr(text->data, '\0', text->len) != NULL)
        st = vv_fail(err, VV_INVALID, "%s: a NUL byte is no text", a->extract);
    vv_buf_append_u8(text, 0);
    if (st == VV_OK && text->status != VV_OK)
        st = vv_fail(err, VV_INVALID, "no memory for rules");
    if (st == VV_OK && a->extract_schema != NULL)
        st = key_text_read_file(a->extract_schema, schema, err);
    spec->extract = (const char *)text->data;
    spec->extract_schema = vv_buf_slice(schema);
    return st;
}

/* What the options say of a table, but for its kind; CMD_OK, or the sentence was printed. rules and
 * archive are borrowed by *out. */
static int read_spec(cmd_ctx *ctx, const args *a, vv_keep_rule rules[CMD_LIST_MAX],
                     vv_archive_rule *archive, store_table_spec *out)
{
    for (size_t i = 0; i < a->keep_where.count; i++)
        if (!parse_rule(a->keep_where.item[i], &rules[i]))
            return cmd_usage(ctx, "'%s' is no rule: LABEL=VALUE:TIME", a->keep_where.item[i]);
    if (a->archive != NULL && !store_rule_parse(a->archive, archive))
        return cmd_usage(ctx,
                         "'%s' does not say how to archive: off, codec=, also=, size=, count=, "
                         "age=, local=, local-size= and key=, with commas between",
                         a->archive);
    int64_t retention_ms = a->retention_ns / VV_NS_PER_MS;
    *out = (store_table_spec){
        .series = {.keep_ns = a->keep_ns,
                   .late_ns = a->late_ns,
                   .future_ns = a->future_ns,
                   .keep_rollups_ns = {a->keep_minutes_ns, a->keep_hours_ns},
                   .no_rollups = a->no_rollups},
        .stream = {.keep_bytes = a->keep_bytes,
                   .message_max = a->message_max,
                   .producer_keep_ns = a->producer_keep_ns,
                   .producers_max = (uint32_t)vv_min_u64(a->producers_max, UINT32_MAX)},
        .retention_ms = a->no_retention               ? 0
                        : cmd_given(ctx, "retention") ? retention_ms
                                                      : -1,
        .rules = rules,
        .archive = a->archive != NULL ? archive : NULL,
        .rule_count = a->keep_where.count,
        .value_threshold = a->value_threshold,
        .partitions = (uint32_t)vv_min_u64(a->partitions, UINT32_MAX),
        .if_not_exists = a->if_not_exists};
    return CMD_OK;
}

static vv_table_kind kind_of(const args *a)
{
    static const char *const kinds[] = {"kv", "record", "series", "stream"};
    for (size_t i = 0; a->kind != NULL && i < ARRAY_LEN(kinds); i++)
        if (strcmp(a->kind, kinds[i]) == 0)
            return (vv_table_kind)(VV_TABLE_KV + i);
    return VV_TABLE_KV;
}

static int create(cmd_ctx *ctx, const args *a, store *s, const char *name)
{
    vv_keep_rule rules[CMD_LIST_MAX];
    vv_archive_rule archive;
    vv_error err = {0};
    store_table_info info;
    store_table_spec spec;
    int code = read_spec(ctx, a, rules, &archive, &spec);
    if (code != CMD_OK)
        return code;
    spec.kind = (int)kind_of(a);
    for (size_t i = 0; a->compression != NULL && i < ARRAY_LEN(compressions); i++)
        if (strcmp(a->compression, compressions[i]) == 0)
            spec.compression = (int)i;
    for (size_t i = 0; a->engine != NULL && i < ARRAY_LEN(engines); i++)
        if (strcmp(a->engine, engines[i]) == 0)
            spec.engine = (int)i;
    vv_buf text, schema;
    vv_buf_init(&text, VV_EXTRACT_TEXT_MAX + READ_AT_ONCE);
    vv_buf_init(&schema, VV_EXTRACT_SCHEMA_MAX + READ_AT_ONCE);
    vv_status st = read_rules(a, &text, &schema, &spec, &err);
    if (st == VV_OK)
        st = s->ops->table_create(s, name, &spec, &info, &err);
    vv_buf_fini(&text);
    vv_buf_fini(&schema);
    return print_one(ctx, st, &info, &err);
}

/* What of a table each option changes; 0: it is fixed when a table is made. */
static const struct {
    const char *option;
    uint64_t change;
} changes[] = {
    {"retention", VV_CHANGE_VERSION_RETENTION},
    {"no-retention", VV_CHANGE_VERSION_RETENTION},
    {"keep", VV_CHANGE_RETENTION},
    {"keep-where", VV_CHANGE_KEEP_RULES},
    {"no-keep-where", VV_CHANGE_KEEP_RULES},
    {"keep-minutes", VV_CHANGE_ROLLUP_MINUTES},
    {"keep-hours", VV_CHANGE_ROLLUP_HOURS},
    {"future", VV_CHANGE_FUTURE},
    {"keep-size", VV_CHANGE_RETENTION_BYTES},
    {"message-max", VV_CHANGE_MESSAGE_SIZE},
    {"keep-producers", VV_CHANGE_PRODUCER_RETENTION},
    {"producers", VV_CHANGE_PRODUCERS},
    {"archive", VV_CHANGE_ARCHIVE},
    {"kind", 0},
    {"engine", 0},
    {"compression", 0},
    {"value-threshold", 0},
    {"partitions", 0},
    {"late", 0},
    {"no-rollups", 0},
    {"extract", VV_CHANGE_EXTRACT},
    {"extract-schema", VV_CHANGE_EXTRACT},
    {"no-extract", VV_CHANGE_EXTRACT},
};

/* CMD_OK, or the sentence was printed. */
static int read_changes(const cmd_ctx *ctx, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        if (!cmd_given(ctx, changes[i].option))
            continue;
        if (changes[i].change == 0)
            return cmd_usage(ctx, "--%s is fixed when a table is made", changes[i].option);
        *out |= changes[i].change;
    }
    return *out != 0 ? CMD_OK
                     : cmd_usage(ctx, "nothing is to be changed: --keep, --retention, ...");
}

static int alter(cmd_ctx *ctx, const args *a, store *s, const char *name)
{
    vv_keep_rule rules[CMD_LIST_MAX];
    vv_archive_rule archive;
    vv_error err = {0};
    uint64_t change = 0;
    store_table_info info;
    store_table_spec spec;
    int code = read_changes(ctx, &change);
    if (code == CMD_OK)
        code = read_spec(ctx, a, rules, &archive, &spec);
    if (code != CMD_OK)
        return code;
    vv_buf text, schema;
    vv_buf_init(&text, VV_EXTRACT_TEXT_MAX + READ_AT_ONCE);
    vv_buf_init(&schema, VV_EXTRACT_SCHEMA_MAX + READ_AT_ONCE);
    vv_status st = read_rules(a, &text, &schema, &spec, &err);
    if (st == VV_OK)
        st = s->ops->table_alter(s, name, &spec, change, &info, &err);
    vv_buf_fini(&text);
    vv_buf_fini(&schema);
    return print_one(ctx, st, &info, &err);
}

typedef struct lister {
    out_writer out;
    const char *tenant; /* NULL: all */
    uint64_t others;    /* tables of other tenants */
} lister;

static int list_one(void *ctx, const store_table_info *t)
{
    lister *l = ctx;
    if (l->tenant == NULL || strcmp(l->tenant, t->tenant) == 0)
        return print_table(&l->out, t);
    l->others++;
    return 0;
}

static int list(cmd_ctx *ctx, const args *a, store *s)
{
    vv_error err = {0};
    lister l = {.tenant = a->all_tenants ? NULL : ctx->common.tenant};
    out_init_names(&l.out, ctx->common.format, columns, ARRAY_LEN(columns));
    vv_status st = s->ops->table_list(s, NULL, list_one, &l, &err);
    if (st == VV_OK)
        out_end(&l.out);
    (void)fflush(stdout);
    if (l.others > 0)
        (void)fprintf(stderr, "varve table: %llu more of other tenants: --all lists them\n",
                      (unsigned long long)l.others);
    return st == VV_OK ? CMD_OK : cmd_fail(ctx, st, &err);
}

static int describe(cmd_ctx *ctx, store *s, const char *name)
{
    vv_error err = {0};
    store_table_info info;
    vv_status st = s->ops->table_describe(s, name, &info, &err);
    return print_one(ctx, st, &info, &err);
}

static int drop(cmd_ctx *ctx, store *s, const char *name)
{
    vv_error err = {0};
    vv_status st = s->ops->table_drop(s, name, &err);
    if (st != VV_OK)
        return cmd_fail(ctx, st, &err);
    if (ctx->common.output == NULL)
        (void)printf("dropped %s\n", name);
    return CMD_OK;
}

/* Which kinds of tables have an option: bits. */
static const struct {
    const char *option;
    unsigned kinds;
    const char *whose;
} owners[] = {
    {"retention", 1u << VV_TABLE_KV | 1u << VV_TABLE_RECORD,
     "old versions, which kv and record tables have: --keep is how old samples and messages get"},
    {"no-retention", 1u << VV_TABLE_KV | 1u << VV_TABLE_RECORD, "kv and record tables"},
    {"keep", 1u << VV_TABLE_SERIES | 1u << VV_TABLE_STREAM,
     "series and streams: --kind series or --kind stream is needed"},
    {"late", 1u << VV_TABLE_SERIES, "series: --kind series is needed"},
    {"future", 1u << VV_TABLE_SERIES, "series: --kind series is needed"},
    {"keep-minutes", 1u << VV_TABLE_SERIES, "series: --kind series is needed"},
    {"keep-hours", 1u << VV_TABLE_SERIES, "series: --kind series is needed"},
    {"keep-where", 1u << VV_TABLE_SERIES, "series: --kind series is needed"},
    {"no-rollups", 1u << VV_TABLE_SERIES, "series: --kind series is needed"},
    {"keep-size", 1u << VV_TABLE_STREAM, "streams: --kind stream is needed"},
    {"message-max", 1u << VV_TABLE_STREAM, "streams: --kind stream is needed"},
    {"keep-producers", 1u << VV_TABLE_STREAM, "streams: --kind stream is needed"},
    {"producers", 1u << VV_TABLE_STREAM, "streams: --kind stream is needed"},
    {"archive", 1u << VV_TABLE_STREAM, "streams: --kind stream is needed"},
    {"extract", 1u << VV_TABLE_STREAM, "streams: --kind stream is needed"},
    {"no-keep-where", 0, "alter: a new table has no rules"},
    {"no-extract", 0, "alter: a new table has no rules"},
};

/* False when a new table was to have an option of another kind: the sentence was printed. */
static bool check_kind(const cmd_ctx *ctx, const args *a)
{
    const unsigned kind = 1u << kind_of(a);
    for (size_t i = 0; i < ARRAY_LEN(owners); i++)
        if ((owners[i].kinds & kind) == 0 && cmd_given(ctx, owners[i].option)) {
            (void)cmd_usage(ctx, "--%s is of %s", owners[i].option, owners[i].whose);
            return false;
        }
    return true;
}

static const char *const words[] = {"create", "list", "describe", "alter", "drop", NULL};
enum { CREATE, LIST, DESCRIBE, ALTER, DROP };

static int do_verb(cmd_ctx *ctx, const args *a, store *s, int verb, const char *name)
{
    switch (verb) {
    case CREATE:
        return create(ctx, a, s, name);
    case LIST:
        return list(ctx, a, s);
    case DESCRIBE:
        return describe(ctx, s, name);
    case ALTER:
        return alter(ctx, a, s, name);
    default:
        return drop(ctx, s, name);
    }
}

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    const args *a = opaque;
    vv_error err = {0};
    store *s = NULL;
    if (argc == 0)
        return cmd_usage(ctx, "one of create, list, describe, alter and drop is needed");
    int verb = cmd_word_of(ctx, argv[0]);
    if (verb < 0)
        return CMD_USAGE;
    if (argc != (verb == LIST ? 1 : 2))
        return cmd_usage(ctx,
                         verb == LIST ? "table list takes no name" : "one table NAME is needed");
    if (a->no_retention && cmd_given(ctx, "retention"))
        return cmd_usage(ctx, "--retention and --no-retention exclude each other");
    if (a->extract == NULL && a->extract_schema != NULL)
        return cmd_usage(ctx, "--extract-schema is for the rules of --extract");
    if (a->no_extract && a->extract != NULL)
        return cmd_usage(ctx, "--extract and --no-extract exclude each other");
    if (a->no_keep_where && a->keep_where.count > 0)
        return cmd_usage(ctx, "--keep-where and --no-keep-where exclude each other");
    if (verb == CREATE && !check_kind(ctx, a))
        return CMD_USAGE;
    vv_status st = store_open(ctx, "",
                              verb == CREATE                  ? STORE_CREATE
                              : verb == DROP || verb == ALTER ? STORE_CHANGE
                                                              : STORE_READ,
                              &s, &err);
    if (st != VV_OK)
        return cmd_fail(ctx, st, &err);
    int code = do_verb(ctx, a, s, verb, argc > 1 ? argv[1] : NULL);
    store_close(s);
    return code;
}

const cmd_command cmd_table = {
    .name = "table",
    .summary = "create, list, describe, alter and drop tables",
    .synopsis = "create NAME | list | describe NAME | alter NAME | drop NAME",
    .details =
        "A kv table maps bytes to bytes; a record table holds records with fields, indexed by\n"
        "their time; a series table holds samples of time series, a stream table messages.\n"
        "Dropping a table drops its data. alter changes what a table keeps: --retention, --keep "
        "and\n"
        "those like it, --future, --message-max, --producers, --archive, --extract; the rest is "
        "fixed\n"
        "when a table is made. What was written before goes no later than was said then.\n",
    .with = CMD_WITH_STORE,
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .args_size = sizeof(args),
    .words = words,
    .run = run,
};
