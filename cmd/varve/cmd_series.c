/*
 * cmd_series.c - time series of a server or of a store: list, query, append, export, delete.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/time_text.h"
#include "base/util.h"
#include "cmd_series_int.h"

/* In the order of vv_aggregate, from VV_AGG_COUNT on. */
#define AGGREGATES                                                                                 \
    "count|sum|avg|min|max|first|last|stddev|range|rate|increase|time-avg-step|time-avg-linear|"   \
    "percentile|percent-good"
#define FILLS "null|previous|linear" /* likewise, from VV_FILL_NULL on */

static const cmd_opt opts[] = {
    {"match", 'm', CMD_LIST, offsetof(series_args, match), "MATCHER",
     "LABEL=VALUE, !=, =~ and !~ with a regular expression, ^= with a prefix; may be repeated"},
    {"from", 0, CMD_TEXT, offsetof(series_args, from), "TIME",
     "the first time, of query, export and delete; default the first of all"},
    {"to", 0, CMD_TEXT, offsetof(series_args, to), "TIME", "stop before this time"},
    {"agg", 'a', CMD_CHOICE, offsetof(series_args, agg), AGGREGATES,
     "of query: windows, not samples"},
    {"percentile", 0, CMD_TEXT, offsetof(series_args, percentile), "P",
     "of query --agg percentile, which needs it: 0 to 100"},
    {"step", 0, CMD_DURATION, offsetof(series_args, step_ns), "TIME",
     "of query --agg: how long a window is; default: one for all"},
    {"fill", 0, CMD_CHOICE, offsetof(series_args, fill), FILLS,
     "of query: windows without samples"},
    {"by", 0, CMD_LIST, offsetof(series_args, by), "LABEL",
     "of query: group by it; may be repeated"},
    {"across", 0, CMD_CHOICE, offsetof(series_args, across), "count|sum|avg|min|max",
     "of query: of the series of a group, all in one without --by"},
    {"points", 0, CMD_COUNT, offsetof(series_args, points), "N",
     "of query: of each series as many points as look like all (LTTB)"},
    {"all-quality", 0, CMD_FLAG, offsetof(series_args, all_quality), NULL,
     "of query: bad and uncertain samples too"},
    {"name", 0, CMD_TEXT, offsetof(series_args, name), "NAME",
     "of append: the series' name, where no column __name__ has it"},
    {"type", 0, CMD_CHOICE, offsetof(series_args, type), SERIES_TYPES,
     "of append: of the values, where no column " SERIES_TYPE_COLUMN " has it; default float64"},
    {"durability", 0, CMD_CHOICE, offsetof(series_args, durability), "sync|os|none",
     "of append: what must have happened before samples count; default sync"},
};

/* ---- what the options say ---- */

bool series_parse_matcher(const char *text, vv_matcher *out)
{
    static const struct {
        const char *sign;
        vv_match op;
    } signs[] = {{"!=", VV_MATCH_NE},
                 {"=~", VV_MATCH_RE},
                 {"!~", VV_MATCH_NRE},
                 {"^=", VV_MATCH_PREFIX},
                 {"=", VV_MATCH_EQ}};
    size_t name = strcspn(text, "!=^");
    for (size_t i = 0; name > 0 && i < ARRAY_LEN(signs); i++) {
        size_t len = strlen(signs[i].sign);
        if (strncmp(text + name, signs[i].sign, len) != 0)
            continue;
        *out = (vv_matcher){signs[i].op, vv_slice_of(text, name), vv_slice_str(text + name + len)};
        return true;
    }
    return false;
}

bool series_parse_time(vv_slice text, int64_t *out)
{
    return time_text_parse_loose(text, out) || time_text_parse_any(text, out);
}

bool series_parse_number(vv_slice text, double *out)
{
    char copy[64];
    char *end = copy;
    if (text.len == 0 || text.len >= sizeof copy)
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    *out = strtod(copy, &end);
    return *end == '\0';
}

int series_place_of(const char *word, const char *choice)
{
    int n = 0;
    size_t len = strlen(word);
    for (const char *p = choice; p != NULL; n++) {
        const char *bar = strchr(p, '|');
        if ((bar == NULL ? strlen(p) : (size_t)(bar - p)) == len && strncmp(p, word, len) == 0)
            return n;
        p = bar == NULL ? NULL : bar + 1;
    }
    return 0;
}

static int read_options(series_job *j)
{
    const series_args *a = j->args;
    j->from = INT64_MIN;
    j->to = INT64_MAX;
    j->type = VV_F64;
    j->match = (store_match){j->matchers, a->match.count};
    for (size_t i = 0; i < a->match.count; i++)
        if (!series_parse_matcher(a->match.item[i], &j->matchers[i]))
            return cmd_usage(j->ctx, "'%s' is no matcher: LABEL=VALUE", a->match.item[i]);
    if (a->from != NULL && !series_parse_time(vv_slice_str(a->from), &j->from))
        return cmd_usage(j->ctx, "'%s' is no time", a->from);
    if (a->to != NULL && !series_parse_time(vv_slice_str(a->to), &j->to))
        return cmd_usage(j->ctx, "'%s' is no time", a->to);
    if (a->percentile != NULL && !series_parse_number(vv_slice_str(a->percentile), &j->percentile))
        return cmd_usage(j->ctx, "'%s' is no percentile: 0 to 100", a->percentile);
    if (a->type != NULL)
        j->type = (vv_sample_type)(VV_F64 + series_place_of(a->type, SERIES_TYPES));
    return CMD_OK;
}

/* ---- printing ---- */

static void put_series(vv_buf *b, const vv_label *labels, size_t count)
{
    bool is_first = true;
    for (size_t i = 0; i < count; i++)
        if (vv_slice_eq(labels[i].name, vv_slice_str("__name__")))
            vv_buf_append_slice(b, labels[i].value);
    vv_buf_append_str(b, "{");
    for (size_t i = 0; i < count; i++) {
        if (vv_slice_eq(labels[i].name, vv_slice_str("__name__")))
            continue;
        vv_buf_append_str(b, is_first ? "" : ", ");
        vv_buf_append_slice(b, labels[i].name);
        vv_buf_append_str(b, "=");
        vv_buf_append_slice(b, labels[i].value);
        is_first = false;
    }
    vv_buf_append_str(b, "}");
}

/* An answer that failed has no end: its error stands alone where it had not begun. */
static vv_status end_rows(series_job *j, vv_status st)
{
    if (st == VV_OK)
        out_end(&j->out);
    return st;
}

static int print_series(void *ctx, const vv_series_info *info)
{
    series_job *j = ctx;
    vv_buf b;
    vv_buf_init(&b, 4 * VV_LABELS_BYTES_MAX);
    put_series(&b, info->labels, info->label_count);
    out_row(&j->out, (const out_cell[]){out_uint(info->id), out_bytes(vv_buf_slice(&b)),
                                        out_text(series_type_name(info->type))});
    vv_buf_fini(&b);
    return 0;
}

const char *series_type_name(vv_sample_type type)
{
    static const char *const names[] = {"", "float64", "int64", "bool", "string"};
    return (size_t)type < ARRAY_LEN(names) ? names[type] : "";
}

out_cell series_value_cell(const vv_sample *s)
{
    switch (s->type) {
    case VV_F64:
        return out_double(s->f64);
    case VV_I64:
        return out_int(s->i64);
    case VV_BOOL:
        return out_bool(s->i64 != 0);
    case VV_STRING:
        return out_bytes(s->string);
    }
    return (out_cell){.type = OUT_NULL};
}

bool series_sample_at(const vv_series_block *block, size_t at, vv_sample *out)
{
    *out = (vv_sample){.time_ns = block->time_ns[at], .type = block->type};
    if (block->f64 != NULL)
        out->f64 = block->f64[at];
    if (block->i64 != NULL)
        out->i64 = block->i64[at];
    if (block->string != NULL)
        out->string = block->string[at];
    if (block->quality != NULL)
        out->quality = block->quality[at];
    return block->is_null == NULL || !block->is_null[at];
}

static void print_sample(series_job *j, vv_slice series, const vv_sample *s, bool has_value)
{
    char time[TIME_TEXT_MAX];
    /* One window of all there is begins nowhere. */
    const bool has_time = j->args->agg == NULL || s->time_ns != INT64_MIN;
    time_text_format(s->time_ns, time);
    const out_cell none = {.type = OUT_NULL};
    const out_cell value = has_value ? series_value_cell(s) : none;
    out_row(&j->out, (const out_cell[]){out_bytes(series), has_time ? out_text(time) : none, value,
                                        out_uint(s->quality)});
}

static int print_latest(void *ctx, const vv_series_info *info, const vv_sample *sample)
{
    vv_buf b;
    vv_buf_init(&b, 4 * VV_LABELS_BYTES_MAX);
    put_series(&b, info->labels, info->label_count);
    print_sample(ctx, vv_buf_slice(&b), sample, true);
    vv_buf_fini(&b);
    return 0;
}

static int print_block(void *ctx, const vv_series_block *block)
{
    vv_buf b;
    vv_buf_init(&b, 4 * VV_LABELS_BYTES_MAX);
    put_series(&b, block->labels, block->label_count);
    for (size_t i = 0; i < block->count; i++) {
        vv_sample s;
        const bool has_value = series_sample_at(block, i, &s);
        print_sample(ctx, vv_buf_slice(&b), &s, has_value);
    }
    vv_buf_fini(&b);
    return ferror(stdout);
}

static int print_text(void *ctx, vv_slice text)
{
    series_job *j = ctx;
    out_row(&j->out, (const out_cell[]){out_bytes(text)});
    return 0;
}

/* ---- the verbs ---- */

static const char *const sample_columns[] = {"series", "time", "value", "quality"};

static vv_status list(series_job *j, vv_error *err)
{
    static const char *const columns[] = {"id", "series", "type"};
    out_init_names(&j->out, j->ctx->common.format, columns, ARRAY_LEN(columns));
    vv_status st = j->store->ops->series->list(j->store, j->match, print_series, j, err);
    return end_rows(j, st);
}

static vv_status latest(series_job *j, vv_error *err)
{
    out_init_names(&j->out, j->ctx->common.format, sample_columns, ARRAY_LEN(sample_columns));
    vv_status st = j->store->ops->series->latest(j->store, j->match, print_latest, j, err);
    return end_rows(j, st);
}

/* Names of labels, or the values of one. */
static vv_status labels(series_job *j, const char *name, vv_error *err)
{
    const char *const columns[] = {name == NULL ? "label" : "value"};
    const vv_slice asked = vv_slice_str(name == NULL ? "" : name);
    out_init_names(&j->out, j->ctx->common.format, columns, ARRAY_LEN(columns));
    vv_status st = j->store->ops->series->labels(j->store, asked, j->match, print_text, j, err);
    return end_rows(j, st);
}

static vv_aggregate aggregate_of(const char *word)
{
    return word == NULL ? VV_AGG_NONE
                        : (vv_aggregate)(VV_AGG_COUNT + series_place_of(word, AGGREGATES));
}

static vv_status run_query(series_job *j, vv_error *err)
{
    const series_args *a = j->args;
    vv_slice by[CMD_LIST_MAX];
    vv_series_query q = VV_SERIES_QUERY_INIT;
    q.matchers = j->match.items;
    q.matcher_count = j->match.count;
    q.start_ns = j->from;
    q.end_ns = j->to;
    q.step_ns = a->step_ns;
    q.aggregate = aggregate_of(a->agg);
    q.percentile = j->percentile;
    q.across = aggregate_of(a->across);
    q.is_grouped = a->across != NULL || a->by.count > 0;
    for (size_t i = 0; i < a->by.count; i++)
        by[i] = vv_slice_str(a->by.item[i]);
    q.group_by = by;
    q.group_count = a->by.count;
    if (a->fill != NULL)
        q.fill = (vv_fill)(VV_FILL_NULL + series_place_of(a->fill, FILLS));
    q.reduce = a->points != 0 ? VV_REDUCE_LTTB : VV_REDUCE_NONE;
    q.points = (uint32_t)vv_min_u64(a->points, UINT32_MAX);
    q.all_quality = a->all_quality;
    out_init_names(&j->out, j->ctx->common.format, sample_columns, ARRAY_LEN(sample_columns));
    vv_status st = j->store->ops->series->query(j->store, &q, print_block, j, err);
    return end_rows(j, st);
}

/* How many series were touched, as a sentence or, with --output, as a row. */
static void tell_count(series_job *j, const char *sentence, const char *column, uint64_t n)
{
    const char *const columns[] = {column};
    if (j->ctx->common.output == NULL) {
        (void)printf(sentence, (unsigned long long)n);
        return;
    }
    out_init_names(&j->out, j->ctx->common.format, columns, ARRAY_LEN(columns));
    out_row(&j->out, (const out_cell[]){out_uint(n)});
    out_end(&j->out);
}

static vv_status delete_range(series_job *j, vv_error *err)
{
    uint64_t n = 0;
    vv_status st = j->store->ops->series->delete_range(j->store, j->match, j->from, j->to, &n, err);
    if (st == VV_OK)
        tell_count(j, "deleted the samples of %llu series\n", "series", n);
    return st;
}

static vv_status drop(series_job *j, vv_error *err)
{
    uint64_t n = 0;
    vv_status st = j->store->ops->series->drop(j->store, j->match, &n, err);
    if (st == VV_OK)
        tell_count(j, "dropped %llu series\n", "series", n);
    return st;
}

/* Indexed by the verb. */
static const char *const words[] = {"list",   "query",  "latest", "labels", "export",
                                    "append", "delete", "drop",   NULL};
enum { LIST, QUERY, LATEST, LABELS, EXPORT, APPEND, DELETE, DROP };

static vv_status do_verb(series_job *j, size_t verb, int argc, char **argv, uint64_t *refused,
                         vv_error *err)
{
    switch (verb) {
    case LIST:
        return list(j, err);
    case QUERY:
        return run_query(j, err);
    case LATEST:
        return latest(j, err);
    case LABELS:
        return labels(j, argc > 1 ? argv[1] : NULL, err);
    case EXPORT:
        return series_export(j, err);
    case APPEND:
        return series_append(j, argv[1], refused, err);
    case DELETE:
        return delete_range(j, err);
    default:
        return drop(j, err);
    }
}

#define OF(verb) (1u << (verb))

/* False when an option says something that the verb does not ask: the sentence was printed. */
static bool check_options(const cmd_ctx *ctx, unsigned verb)
{
    static const struct {
        const char *name;
        unsigned verbs;
    } options[] = {
        {"match", ~OF(APPEND)},
        {"from", OF(QUERY) | OF(EXPORT) | OF(DELETE)},
        {"to", OF(QUERY) | OF(EXPORT) | OF(DELETE)},
        {"agg", OF(QUERY)},
        {"percentile", OF(QUERY)},
        {"step", OF(QUERY)},
        {"fill", OF(QUERY)},
        {"by", OF(QUERY)},
        {"across", OF(QUERY)},
        {"points", OF(QUERY)},
        {"all-quality", OF(QUERY)},
        {"name", OF(APPEND)},
        {"type", OF(APPEND)},
        {"durability", OF(APPEND)},
    };
    static_assert(ARRAY_LEN(options) == ARRAY_LEN(opts), "each option is of some verbs");
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if ((options[i].verbs & OF(verb)) == 0 && cmd_given(ctx, options[i].name)) {
            (void)cmd_usage(ctx, "--%s is nothing that 'series %s' asks for", options[i].name,
                            words[verb]);
            return false;
        }
    return true;
}

/* What a query's options need of each other. */
static int check_query(const cmd_ctx *ctx, const series_args *a)
{
    const bool is_percentile = a->agg != NULL && strcmp(a->agg, "percentile") == 0;
    if (is_percentile && a->percentile == NULL)
        return cmd_usage(ctx, "--agg percentile needs --percentile P, 0 to 100");
    if (!is_percentile && a->percentile != NULL)
        return cmd_usage(ctx, "--percentile is of --agg percentile");
    if (a->agg == NULL && (cmd_given(ctx, "step") || a->fill != NULL))
        return cmd_usage(ctx, "--%s is of windows: --agg says what of each",
                         a->fill != NULL ? "fill" : "step");
    return CMD_OK;
}

/* Whether the number of arguments fits the verb; CMD_OK, or the sentence was printed. */
static int check_arguments(const cmd_ctx *ctx, size_t verb, int argc)
{
    if (verb == APPEND)
        return argc == 2 ? CMD_OK : cmd_usage(ctx, "one FILE is needed; - is standard input");
    if (verb == LABELS)
        return argc <= 2 ? CMD_OK : cmd_usage(ctx, "series labels takes one NAME");
    return argc == 1 ? CMD_OK : cmd_usage(ctx, "series %s takes no arguments", words[verb]);
}

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    series_job j = {.ctx = ctx, .args = opaque};
    vv_error err = {0};
    uint64_t refused = 0;
    if (argc == 0)
        return cmd_usage(
            ctx, "one of list, query, latest, labels, export, append, delete and drop is needed");
    int verb = cmd_word_of(ctx, argv[0]);
    if (verb < 0)
        return CMD_USAGE;
    int code = check_arguments(ctx, (size_t)verb, argc);
    if (code == CMD_OK && !check_options(ctx, (unsigned)verb))
        code = CMD_USAGE;
    if (code == CMD_OK && verb == QUERY)
        code = check_query(ctx, j.args);
    if (code == CMD_OK && (verb == DELETE || verb == DROP) && j.args->match.count == 0)
        code = cmd_usage(ctx, "--match is needed");
    if (code == CMD_OK)
        code = read_options(&j);
    if (code != CMD_OK)
        return code;
    const store_use use = verb < APPEND ? STORE_READ : verb == APPEND ? STORE_CREATE : STORE_CHANGE;
    vv_status st = store_open(ctx, "sensors", use, &j.store, &err);
    if (st == VV_OK)
        st = do_verb(&j, (size_t)verb, argc, argv, &refused, &err);
    store_close(j.store);
    if (st != VV_OK)
        return cmd_fail(ctx, st, &err);
    return refused > 0 ? CMD_ERROR : CMD_OK;
}

const cmd_command cmd_series = {
    .name = "series",
    .summary = "list, query, append, export and delete time series",
    .synopsis = "list | query | latest | labels [NAME] | export | append FILE | delete | drop",
    .details =
        "A CSV file has a header with time and value, perhaps quality; all other columns are\n"
        "labels, an empty one is none. A time is a date, a number with s, ms, us or ns behind it,\n"
        "or a number whose digits tell: up to 11 are seconds since 1970, up to 14 milliseconds, "
        "up\n"
        "to 17 microseconds, more nanoseconds. export writes a column " SERIES_TYPE_COLUMN "\n"
        "where not all values are float64, and append reads it. The table is sensors unless\n"
        "--table names another, and append makes it when it is not there.\n",
    .with = CMD_WITH_STORE | CMD_WITH_TABLE,
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .args_size = sizeof(series_args),
    .words = words,
    .run = run,
};
