/*
 * cmd_series.c - time series of a store that no server has open: list, query, append, delete.
 *
 * CSV in has a header: `time` and `value`, perhaps `quality`; every other column is a label.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/util.h"
#include "import.h"
#include "out.h"
#include "query/time_text.h"
#include "varve/series.h"

#define APPEND_AT 50000u /* samples of one entry */

typedef struct args {
    cmd_list match;
    const char *from;
    const char *to;
    const char *agg;
    const char *across;
    const char *fill;
    const char *name;
    cmd_list by;
    int64_t step_ns;
    uint64_t points;
    bool all_quality;
} args;

#define AGGREGATES                                                                                 \
    "count|sum|avg|min|max|first|last|stddev|range|rate|increase|time-avg-step|time-avg-linear|"   \
    "percent-good"

static const cmd_opt opts[] = {
    {"match", 'm', CMD_LIST, offsetof(args, match), "MATCHER",
     "LABEL=VALUE, !=, =~ and !~ with a regular expression, ^= with a prefix; may be repeated"},
    {"from", 0, CMD_TEXT, offsetof(args, from), "TIME", "the first time; default the first of all"},
    {"to", 0, CMD_TEXT, offsetof(args, to), "TIME", "stop before this time"},
    {"agg", 'a', CMD_CHOICE, offsetof(args, agg), AGGREGATES, "of query: windows, not samples"},
    {"step", 0, CMD_DURATION, offsetof(args, step_ns), "TIME",
     "of query: how long a window is; default: one for all"},
    {"fill", 0, CMD_CHOICE, offsetof(args, fill), "null|previous|linear",
     "of query: windows without samples"},
    {"by", 0, CMD_LIST, offsetof(args, by), "LABEL", "of query: group by it; may be repeated"},
    {"across", 0, CMD_CHOICE, offsetof(args, across), "count|sum|avg|min|max",
     "of query: of the series of a group, all in one without --by"},
    {"points", 0, CMD_COUNT, offsetof(args, points), "N",
     "of query: of each series as many points as look like all (LTTB)"},
    {"all-quality", 0, CMD_FLAG, offsetof(args, all_quality), NULL,
     "of query: bad and uncertain samples too"},
    {"name", 0, CMD_TEXT, offsetof(args, name), "NAME",
     "of append: the series' name, where no column __name__ has it"},
};

/* ---- what the options say ---- */

static bool parse_matcher(const char *text, vv_matcher *out)
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

static bool parse_time(vv_slice text, int64_t *out)
{
    return time_text_parse_loose(text, out) || time_text_parse_number(text, 1, out);
}

typedef struct job {
    cmd_ctx *ctx;
    const args *a;
    vv_db *db;
    vv_table *table;
    vv_matcher match[CMD_LIST_MAX];
    int64_t from;
    int64_t to;
    out_writer out;
} job;

static int read_options(job *j)
{
    const args *a = j->a;
    j->from = INT64_MIN;
    j->to = INT64_MAX;
    for (size_t i = 0; i < a->match.count; i++)
        if (!parse_matcher(a->match.item[i], &j->match[i]))
            return cmd_usage(j->ctx, "'%s' is no matcher: LABEL=VALUE", a->match.item[i]);
    if (a->from != NULL && !parse_time(vv_slice_str(a->from), &j->from))
        return cmd_usage(j->ctx, "'%s' is no time", a->from);
    if (a->to != NULL && !parse_time(vv_slice_str(a->to), &j->to))
        return cmd_usage(j->ctx, "'%s' is no time", a->to);
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

static int print_series(void *ctx, const vv_series_info *info)
{
    static const char *const types[] = {"", "float64", "int64", "bool", "string"};
    job *j = ctx;
    vv_buf b;
    vv_buf_init(&b, 4 * VV_LABELS_BYTES_MAX);
    put_series(&b, info->labels, info->label_count);
    out_row(&j->out, (const out_cell[]){out_uint(info->id), out_bytes(vv_buf_slice(&b)),
                                        out_text(types[info->type])});
    vv_buf_fini(&b);
    return 0;
}

static out_cell value_cell(const vv_sample *s)
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

static void print_sample(job *j, vv_slice series, int64_t time_ns, out_cell value, uint32_t quality)
{
    char time[TIME_TEXT_MAX];
    time_text_format(time_ns, time);
    out_row(&j->out,
            (const out_cell[]){out_bytes(series), out_text(time), value, out_uint(quality)});
}

static int print_latest(void *ctx, const vv_series_info *info, const vv_sample *sample)
{
    vv_buf b;
    vv_buf_init(&b, 4 * VV_LABELS_BYTES_MAX);
    put_series(&b, info->labels, info->label_count);
    print_sample(ctx, vv_buf_slice(&b), sample->time_ns, value_cell(sample), sample->quality);
    vv_buf_fini(&b);
    return 0;
}

static void print_block(job *j, const vv_series_block *block)
{
    vv_buf b;
    vv_buf_init(&b, 4 * VV_LABELS_BYTES_MAX);
    put_series(&b, block->labels, block->label_count);
    for (size_t i = 0; i < block->count; i++) {
        vv_sample s = {.type = block->type};
        s.f64 = block->f64 != NULL ? block->f64[i] : 0;
        s.i64 = block->i64 != NULL ? block->i64[i] : 0;
        s.string = block->string != NULL ? block->string[i] : vv_slice_of(NULL, 0);
        out_cell cell = {.type = OUT_NULL};
        if (block->is_null == NULL || !block->is_null[i])
            cell = value_cell(&s);
        print_sample(j, vv_buf_slice(&b), block->time_ns[i], cell,
                     block->quality == NULL ? 0 : block->quality[i]);
    }
    vv_buf_fini(&b);
}

/* ---- the verbs ---- */

static const char *const sample_columns[] = {"series", "time", "value", "quality"};

static vv_status list(job *j, vv_error *err)
{
    static const char *const columns[] = {"id", "series", "type"};
    out_init_names(&j->out, j->ctx->common.format, columns, ARRAY_LEN(columns));
    vv_status st = vv_series_list(j->table, j->match, j->a->match.count, 0, print_series, j, err);
    out_end(&j->out);
    return st;
}

static vv_status latest(job *j, vv_error *err)
{
    out_init_names(&j->out, j->ctx->common.format, sample_columns, ARRAY_LEN(sample_columns));
    vv_status st = vv_series_latest(j->table, j->match, j->a->match.count, print_latest, j, err);
    out_end(&j->out);
    return st;
}

/* The place of a word among those of a choice, from 0. */
static int place_of(const char *word, const char *choice)
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

static vv_aggregate aggregate_of(const char *word)
{
    if (word == NULL)
        return VV_AGG_NONE;
    if (strcmp(word, "percent-good") == 0)
        return VV_AGG_PERCENT_GOOD;
    return (vv_aggregate)(VV_AGG_COUNT + place_of(word, AGGREGATES));
}

static vv_status run_query(job *j, vv_error *err)
{
    const args *a = j->a;
    vv_slice by[CMD_LIST_MAX];
    vv_series_query q = VV_SERIES_QUERY_INIT;
    vv_series_cursor *c = NULL;
    vv_series_block block;
    q.matchers = j->match;
    q.matcher_count = a->match.count;
    q.start_ns = j->from;
    q.end_ns = j->to;
    q.step_ns = a->step_ns;
    q.aggregate = aggregate_of(a->agg);
    q.across = aggregate_of(a->across);
    q.is_grouped = a->across != NULL || a->by.count > 0;
    for (size_t i = 0; i < a->by.count; i++)
        by[i] = vv_slice_str(a->by.item[i]);
    q.group_by = by;
    q.group_count = a->by.count;
    if (a->fill != NULL)
        q.fill = (vv_fill)(VV_FILL_NULL + place_of(a->fill, "null|previous|linear"));
    q.reduce = a->points != 0 ? VV_REDUCE_LTTB : VV_REDUCE_NONE;
    q.points = (uint32_t)vv_min_u64(a->points, UINT32_MAX);
    q.all_quality = a->all_quality;
    vv_status st = vv_series_query_open(j->table, &q, &c, err);
    if (st != VV_OK)
        return st;
    out_init_names(&j->out, j->ctx->common.format, sample_columns, ARRAY_LEN(sample_columns));
    while ((st = vv_series_query_next(c, &block, err)) == VV_OK)
        print_block(j, &block);
    out_end(&j->out);
    vv_series_query_close(c);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* ---- append ---- */

typedef struct loader {
    job *job;
    vv_samples *samples;
    vv_slice column[VV_LABELS_MAX + 3];
    char *header;
    size_t count;
    size_t time;
    size_t value;
    size_t quality; /* SIZE_MAX: there is none */
    uint64_t accepted;
    uint64_t refused;
} loader;

static vv_status flush(loader *l, vv_error *err)
{
    vv_append_result r = {.accepted = 0};
    vv_status st = vv_series_append(l->samples, VV_DURABLE_DEFAULT, &r, err);
    l->accepted += r.accepted;
    l->refused += r.refused;
    if (r.first_refusal[0] != '\0')
        (void)fprintf(stderr, "varve series: %s\n", r.first_refusal);
    vv_samples_clear(l->samples);
    return st;
}

static vv_status read_header(loader *l, const import_input *in, const uint8_t *line, size_t len,
                             vv_error *err)
{
    size_t count = 0;
    static vv_slice fields[IMPORT_COLUMNS_MAX];
    l->header = strndup((const char *)line, len);
    l->time = l->value = l->quality = SIZE_MAX;
    if (l->header == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory");
    vv_status st = import_split(in, (uint8_t *)l->header, len, ',', fields, &count, err);
    if (st == VV_OK && count > ARRAY_LEN(l->column))
        st = vv_fail(err, VV_INVALID, "%zu columns: a series has %u labels at most", count,
                     VV_LABELS_MAX);
    for (size_t i = 0; st == VV_OK && i < count; i++) {
        l->column[i] = fields[i];
        l->time = vv_slice_eq(fields[i], vv_slice_str("time")) ? i : l->time;
        l->value = vv_slice_eq(fields[i], vv_slice_str("value")) ? i : l->value;
        l->quality = vv_slice_eq(fields[i], vv_slice_str("quality")) ? i : l->quality;
    }
    l->count = count;
    if (st == VV_OK && (l->time == SIZE_MAX || l->value == SIZE_MAX))
        st = vv_fail(err, VV_INVALID, "the header needs the columns time and value");
    return st;
}

static bool parse_number(vv_slice text, double *out)
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

static vv_status add_line(loader *l, const import_input *in, const vv_slice *field, size_t count,
                          vv_error *err)
{
    vv_label label[VV_LABELS_MAX + 4];
    size_t n = 0;
    int64_t time = 0;
    double value = 0;
    double quality = 0;
    if (count != l->count || !parse_time(field[l->time], &time) ||
        !parse_number(field[l->value], &value) ||
        (l->quality != SIZE_MAX &&
         (!parse_number(field[l->quality], &quality) || quality < 0 || quality > UINT32_MAX)))
        return vv_fail(err, VV_INVALID, "%s:%llu: no time, value or quality, or other columns",
                       in->name, (unsigned long long)in->line);
    if (l->job->a->name != NULL)
        label[n++] = (vv_label){vv_slice_str("__name__"), vv_slice_str(l->job->a->name)};
    for (size_t i = 0; i < count; i++)
        if (i != l->time && i != l->value && i != l->quality)
            label[n++] = (vv_label){l->column[i], field[i]};
    uint32_t q = (uint32_t)quality;
    vv_status st = vv_samples_series(l->samples, label, n, VV_F64, err);
    if (st == VV_OK)
        st = vv_samples_f64(l->samples, &time, &value, &q, 1, err);
    if (st == VV_OK && vv_samples_count(l->samples) >= APPEND_AT)
        st = flush(l, err);
    return st == VV_OK ? st : vv_wrap(err, st, "%s:%llu", in->name, (unsigned long long)in->line);
}

static vv_status load(loader *l, import_input *in, vv_error *err)
{
    static vv_slice fields[IMPORT_COLUMNS_MAX];
    uint8_t *line = NULL;
    size_t len = 0;
    size_t count = 0;
    vv_status st = import_next_line(in, true, &line, &len, err);
    if (st == VV_OK)
        st = read_header(l, in, line, len, err);
    while (st == VV_OK) {
        st = import_next_line(in, true, &line, &len, err);
        if (st == VV_OK)
            st = import_split(in, line, len, ',', fields, &count, err);
        if (st == VV_OK)
            st = add_line(l, in, fields, count, err);
    }
    return st == VV_NOT_FOUND ? flush(l, err) : st;
}

static vv_status append(job *j, const char *path, vv_error *err)
{
    import_input in;
    loader l = {.job = j};
    vv_status st = import_input_open(&in, path, err);
    if (st != VV_OK)
        return st;
    l.samples = vv_samples_create(j->table);
    st = l.samples == NULL ? vv_fail(err, VV_NO_MEMORY, "no samples for this table")
                           : load(&l, &in, err);
    import_input_close(&in);
    vv_samples_destroy(l.samples);
    free(l.header);
    (void)printf("appended %llu samples, refused %llu\n", (unsigned long long)l.accepted,
                 (unsigned long long)l.refused);
    return st;
}

static vv_status delete_range(job *j, vv_error *err)
{
    uint64_t n = 0;
    vv_status st = vv_series_delete(j->table, j->match, j->a->match.count, j->from, j->to, &n, err);
    if (st == VV_OK)
        (void)printf("deleted the samples of %llu series\n", (unsigned long long)n);
    return st;
}

static vv_status drop(job *j, vv_error *err)
{
    uint64_t n = 0;
    vv_status st = vv_series_drop(j->table, j->match, j->a->match.count, &n, err);
    if (st == VV_OK)
        (void)printf("dropped %llu series\n", (unsigned long long)n);
    return st;
}

/* Indexed as the run below does. */
static const char *const words[] = {"list", "query", "latest", "append", "delete", "drop", NULL};
enum { LIST, QUERY, LATEST, APPEND, DELETE, DROP };

static vv_status open_table(job *j, bool writes, vv_error *err)
{
    const cmd_common *c = &j->ctx->common;
    vv_options opt = VV_OPTIONS_INIT;
    opt.create_if_missing = false;
    opt.read_only = !writes;
    vv_status st = vv_db_open(c->data, &opt, &j->db, err);
    if (st == VV_OK)
        st = vv_table_open(j->db, c->tenant, c->table == NULL ? "sensors" : c->table, &j->table,
                           err);
    if (st == VV_OK && vv_table_kind_of(j->table) != VV_TABLE_SERIES)
        st = vv_fail(err, VV_INVALID, "the table is not of kind series");
    return st;
}

static vv_status do_verb(job *j, size_t verb, char **argv, vv_error *err)
{
    switch (verb) {
    case LIST:
        return list(j, err);
    case QUERY:
        return run_query(j, err);
    case LATEST:
        return latest(j, err);
    case APPEND:
        return append(j, argv[1], err);
    case DELETE:
        return delete_range(j, err);
    default:
        return drop(j, err);
    }
}

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    job j = {.ctx = ctx, .a = opaque};
    vv_error err = {0};
    size_t verb = 0;
    if (argc == 0)
        return cmd_usage(ctx, "one of list, query, latest, append, delete and drop is needed");
    while (words[verb] != NULL && strcmp(words[verb], argv[0]) != 0)
        verb++;
    if (words[verb] == NULL)
        return cmd_usage(ctx, "there is no 'series %s'", argv[0]);
    if (argc != (verb == APPEND ? 2 : 1))
        return cmd_usage(ctx,
                         verb == APPEND ? "one FILE is needed; - is standard input"
                                        : "series %s takes no arguments",
                         words[verb]);
    if (ctx->common.data == NULL)
        return cmd_usage(ctx, "name a store that no server has open with --data");
    if ((verb == DELETE || verb == DROP) && j.a->match.count == 0)
        return cmd_usage(ctx, "--match is needed");
    int code = read_options(&j);
    if (code != CMD_OK)
        return code;
    vv_status st = open_table(&j, verb >= APPEND, &err);
    if (st == VV_OK)
        st = do_verb(&j, verb, argv, &err);
    vv_table_close(j.table);
    if (j.db != NULL && vv_db_close(j.db, st == VV_OK ? &err : NULL) != VV_OK && st == VV_OK)
        st = err.status;
    return st == VV_OK ? CMD_OK : cmd_fail(ctx, st, &err);
}

const cmd_command cmd_series = {
    .name = "series",
    .summary = "list, query, append and delete time series of a store",
    .synopsis = "list | query | latest | append FILE | delete | drop",
    .details =
        "A CSV file has a header with time and value, perhaps quality; all other columns are\n"
        "labels, an empty one is none. Times are dates or nanoseconds since 1970. The table is\n"
        "sensors unless --table names another; varve table create --kind series makes one.\n",
    .with = CMD_WITH_DATA | CMD_WITH_TENANT | CMD_WITH_TABLE | CMD_WITH_OUTPUT,
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .args_size = sizeof(args),
    .words = words,
    .run = run,
};
