/* cmd_table.c - create, list, describe and drop tables. */
#include <string.h>

#include "base/util.h"
#include "cmd_series_int.h"
#include "query/time_text.h"
#include "store.h"

typedef struct args {
    const char *kind;
    int64_t retention_ns;
    const char *compression;
    const char *engine;
    uint64_t value_threshold;
    uint64_t partitions;
    int64_t keep_ns;
    uint64_t keep_bytes;
    int64_t late_ns;
    int64_t future_ns;
    int64_t keep_minutes_ns;
    int64_t keep_hours_ns;
    cmd_list keep_where;
    const char *archive;
    bool no_rollups;
    bool no_retention;
    bool if_not_exists;
    bool all_tenants;
} args;

static const cmd_opt opts[] = {
    {"kind", 'k', CMD_CHOICE, offsetof(args, kind), "kv|record|series|stream",
     "of create; default kv"},
    {"retention", 0, CMD_DURATION, offsetof(args, retention_ns), "TIME",
     "of create: how long old versions can be read; default 0 for kv, 1h for record"},
    {"no-retention", 0, CMD_FLAG, offsetof(args, no_retention), NULL,
     "of create: keep no old versions of records"},
    {"compression", 0, CMD_CHOICE, offsetof(args, compression), "auto|none|lz4|zstd",
     "of create: of the table's files; default auto: lz4 on levels 0 and 1, zstd below"},
    {"engine", 'e', CMD_CHOICE, offsetof(args, engine), "auto|lsm|btree|rocksdb",
     "of create: lsm for writes, btree for reads of one page; default auto: the store's"},
    {"value-threshold", 0, CMD_SIZE, offsetof(args, value_threshold), "SIZE",
     "of create: values of this size and more lie in files of their own; default 256 KiB"},
    {"partitions", 0, CMD_COUNT, offsetof(args, partitions), "N",
     "of create: shards that the keys are spread over; default 1: the tenant's alone"},
    {"keep", 0, CMD_DURATION, offsetof(args, keep_ns), "TIME",
     "of create, series and stream: how old samples and messages get; default: as old as they may"},
    {"keep-where", 0, CMD_LIST, offsetof(args, keep_where), "MATCHER:TIME",
     "of create, series: the same of series that fit, as LABEL=VALUE:7d; the first counts; 0: for "
     "ever; may be repeated"},
    {"keep-size", 0, CMD_SIZE, offsetof(args, keep_bytes), "SIZE",
     "of create, stream: bytes of messages that each partition keeps; default: all"},
    {"archive", 0, CMD_TEXT, offsetof(args, archive), "RULE",
     "of create, stream: how it goes to the node's object store, as 'size=64M,age=5m,local=1h'; "
     "'off': not at all; default: as the node's rule says"},
    {"late", 0, CMD_DURATION, offsetof(args, late_ns), "TIME",
     "of create, series: samples behind the newest by more count as late; default 1h"},
    {"future", 0, CMD_DURATION, offsetof(args, future_ns), "TIME",
     "of create, series: samples ahead of now by more are refused; default 1d"},
    {"keep-minutes", 0, CMD_DURATION, offsetof(args, keep_minutes_ns), "TIME",
     "of create, series: how old rollups of minutes get; default: as samples"},
    {"keep-hours", 0, CMD_DURATION, offsetof(args, keep_hours_ns), "TIME",
     "of create, series: likewise those of hours"},
    {"no-rollups", 0, CMD_FLAG, offsetof(args, no_rollups), NULL,
     "of create, series: aggregates are worked out of samples alone"},
    {"if-not-exists", 0, CMD_FLAG, offsetof(args, if_not_exists), NULL,
     "of create: an existing table is no error"},
    {"all", 'a', CMD_FLAG, offsetof(args, all_tenants), NULL, "of list: the tables of all tenants"},
};

static const char *const columns[] = {
    "tenant",          "table",           "kind",          "engine",     "id",
    "shard",           "retention_ms",    "created",       "bytes",      "compression",
    "value_threshold", "partitions",      "keep_ms",       "late_ms",    "future_ms",
    "rollups",         "keep_minutes_ms", "keep_hours_ms", "keep_where", "archive"};

/* Those of series alone; nothing in tables of other kinds. */
#define SERIES_COLUMNS 7

static void series_cells(const store_table_info *t, out_cell out[SERIES_COLUMNS])
{
    const store_series_spec *s = &t->series;
    const bool is_series = t->kind == VV_TABLE_SERIES;
    const out_cell cells[SERIES_COLUMNS] = {out_int(s->keep_ns / VV_NS_PER_MS),
                                            out_int(s->late_ns / VV_NS_PER_MS),
                                            out_int(s->future_ns / VV_NS_PER_MS),
                                            out_bool(!s->no_rollups),
                                            out_int(s->keep_rollups_ns[0] / VV_NS_PER_MS),
                                            out_int(s->keep_rollups_ns[1] / VV_NS_PER_MS),
                                            out_text(t->rules)};
    for (size_t i = 0; i < SERIES_COLUMNS; i++)
        out[i] = is_series ? cells[i] : (out_cell){.type = OUT_NULL};
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
    out_cell series[SERIES_COLUMNS];
    series_cells(t, series);
    out_row(ctx, (const out_cell[]){out_text(t->tenant),
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
                                    out_uint(t->partitions),
                                    series[0],
                                    series[1],
                                    series[2],
                                    series[3],
                                    series[4],
                                    series[5],
                                    series[6],
                                    t->kind == VV_TABLE_STREAM ? out_text(t->archive)
                                                               : (out_cell){.type = OUT_NULL}});
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

static int create(cmd_ctx *ctx, const args *a, store *s, const char *name)
{
    vv_keep_rule rules[CMD_LIST_MAX];
    for (size_t i = 0; i < a->keep_where.count; i++)
        if (!parse_rule(a->keep_where.item[i], &rules[i]))
            return cmd_usage(ctx, "'%s' is no rule: LABEL=VALUE:TIME", a->keep_where.item[i]);
    vv_archive_rule archive;
    if (a->archive != NULL && !store_rule_parse(a->archive, &archive))
        return cmd_usage(ctx,
                         "'%s' does not say how to archive: off, codec=, also=, size=, count=, "
                         "age=, local=, local-size= and key=, with commas between",
                         a->archive);
    vv_error err = {0};
    store_table_info info;
    int64_t retention_ms = a->retention_ns / VV_NS_PER_MS;
    vv_table_kind kind = VV_TABLE_KV;
    if (a->kind != NULL && strcmp(a->kind, "record") == 0)
        kind = VV_TABLE_RECORD;
    else if (a->kind != NULL && strcmp(a->kind, "series") == 0)
        kind = VV_TABLE_SERIES;
    else if (a->kind != NULL && strcmp(a->kind, "stream") == 0)
        kind = VV_TABLE_STREAM;
    store_table_spec spec = {.kind = (int)kind,
                             .series = {.keep_ns = a->keep_ns,
                                        .late_ns = a->late_ns,
                                        .future_ns = a->future_ns,
                                        .keep_rollups_ns = {a->keep_minutes_ns, a->keep_hours_ns},
                                        .no_rollups = a->no_rollups},
                             .retention_ms = a->no_retention               ? 0
                                             : cmd_given(ctx, "retention") ? retention_ms
                                                                           : -1,
                             .keep_bytes = a->keep_bytes,
                             .archive = a->archive != NULL ? &archive : NULL,
                             .rules = rules,
                             .rule_count = a->keep_where.count,
                             .value_threshold = a->value_threshold,
                             .partitions = (uint32_t)vv_min_u64(a->partitions, UINT32_MAX),
                             .if_not_exists = a->if_not_exists};
    for (size_t i = 0; a->compression != NULL && i < ARRAY_LEN(compressions); i++)
        if (strcmp(a->compression, compressions[i]) == 0)
            spec.compression = (int)i;
    for (size_t i = 0; a->engine != NULL && i < ARRAY_LEN(engines); i++)
        if (strcmp(a->engine, engines[i]) == 0)
            spec.engine = (int)i;
    vv_status st = s->ops->table_create(s, name, &spec, &info, &err);
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

/* False when a table of another kind was to have an option of series or of streams: the sentence
 * was printed. */
static bool check_series_options(const cmd_ctx *ctx, const args *a)
{
    static const char *const names[] = {"late",       "future",     "keep-minutes", "keep-hours",
                                        "no-rollups", "keep-where", "keep"};
    bool is_stream = a->kind != NULL && strcmp(a->kind, "stream") == 0;
    if (!is_stream && (cmd_given(ctx, "keep-size") || a->archive != NULL)) {
        (void)cmd_usage(ctx, "--%s is of streams: --kind stream is needed",
                        a->archive != NULL ? "archive" : "keep-size");
        return false;
    }
    if (a->kind != NULL && strcmp(a->kind, "series") == 0)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(names) - is_stream; i++) /* streams have the last one, too */
        if (cmd_given(ctx, names[i])) {
            (void)cmd_usage(ctx, "--%s is of series: --kind series is needed", names[i]);
            return false;
        }
    return true;
}

static const char *const words[] = {"create", "list", "describe", "drop", NULL};

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    const args *a = opaque;
    vv_error err = {0};
    store *s = NULL;
    size_t verb = 0;
    if (argc == 0)
        return cmd_usage(ctx, "one of create, list, describe and drop is needed");
    while (words[verb] != NULL && strcmp(words[verb], argv[0]) != 0)
        verb++;
    if (words[verb] == NULL)
        return cmd_usage(ctx, "there is no 'table %s'; it is create, list, describe or drop",
                         argv[0]);
    if (argc != (verb == 1 ? 1 : 2))
        return cmd_usage(ctx, verb == 1 ? "table list takes no name" : "one table NAME is needed");
    if (a->no_retention && cmd_given(ctx, "retention"))
        return cmd_usage(ctx, "--retention and --no-retention exclude each other");
    if (verb == 0 && !check_series_options(ctx, a))
        return CMD_USAGE;
    vv_status st = store_open(ctx, "",
                              verb == 0   ? STORE_CREATE
                              : verb == 3 ? STORE_CHANGE
                                          : STORE_READ,
                              &s, &err);
    if (st != VV_OK)
        return cmd_fail(ctx, st, &err);
    int code = verb == 0   ? create(ctx, a, s, argv[1])
               : verb == 1 ? list(ctx, a, s)
               : verb == 2 ? describe(ctx, s, argv[1])
                           : drop(ctx, s, argv[1]);
    store_close(s);
    return code;
}

const cmd_command cmd_table = {
    .name = "table",
    .summary = "create, list, describe and drop tables",
    .synopsis = "create NAME | list | describe NAME | drop NAME",
    .details =
        "A kv table maps bytes to bytes; a record table holds records with fields, indexed by\n"
        "their time; a series table holds samples of time series, a stream table messages. "
        "Dropping a table drops its "
        "data.\n",
    .with = CMD_WITH_STORE,
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .args_size = sizeof(args),
    .words = words,
    .run = run,
};
