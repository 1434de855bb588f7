/*
 * series_csv.c - samples out of CSV and into it: `varve series append` and `export`, each other's
 * reverse.
 *
 *     time,value,quality,__name__,host
 *     2026-01-02T10:00:00Z,21.5,0,temp,oven-3
 *
 * Every column but the first three is a label, and a label with an empty value is none. Where not
 * all series are of float64, a column of their types stands behind them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/time_text.h"
#include "base/util.h"
#include "cmd_series_int.h"
#include "import.h"

#define APPEND_AT 50000u /* samples of one entry */
#define NAME "__name__"

enum { TIME, VALUE, QUALITY, TYPE, FIXED };

static const char *const fixed[] = {"time", "value", "quality", SERIES_TYPE_COLUMN};

/* ---- append ---- */

typedef struct loader {
    series_job *job;
    vv_slice column[IMPORT_COLUMNS_MAX];
    size_t count;
    char *header;     /* holds the names */
    size_t at[FIXED]; /* of the columns that are no labels; SIZE_MAX: not there */
    size_t waiting;
    const import_input *in;
    uint64_t first_line; /* of what waits */
    store_appended total;
} loader;

static vv_status flush(loader *l, vv_error *err)
{
    store_appended r;
    int durability = 0;
    store *s = l->job->store;
    if (l->job->args->durability != NULL)
        (void)store_parse_durability(l->job->args->durability, &durability);
    vv_status st = s->ops->series->flush(s, durability, &r, err);
    l->total.accepted += r.accepted;
    l->total.refused += r.refused;
    l->total.late += r.late;
    l->total.series_created += r.series_created;
    l->waiting = 0;
    if (r.first_refusal[0] != '\0')
        (void)fprintf(stderr, "varve series: %s, lines %llu to %llu: %llu refused, the first: %s\n",
                      l->in->name, (unsigned long long)l->first_line,
                      (unsigned long long)l->in->line, (unsigned long long)r.refused,
                      r.first_refusal);
    return st;
}

static bool is_twice(const loader *l, size_t column)
{
    for (size_t i = 0; i < column; i++)
        if (vv_slice_eq(l->column[i], l->column[column]))
            return true;
    return false;
}

static vv_status check_column(const loader *l, size_t i, vv_error *err)
{
    const vv_slice name = l->column[i];
    if (name.len == 0)
        return vv_fail(err, VV_INVALID, "column %zu of the header has no name", i + 1);
    if (is_twice(l, i))
        return vv_fail(err, VV_INVALID, "the header has column '%.*s' twice", (int)name.len,
                       (const char *)name.data);
    if (l->job->args->type != NULL && vv_slice_eq(name, vv_slice_str(SERIES_TYPE_COLUMN)))
        return vv_fail(err, VV_INVALID,
                       "the header has column " SERIES_TYPE_COLUMN ": leave --type away");
    if (l->job->args->name != NULL && vv_slice_eq(name, vv_slice_str(NAME)))
        return vv_fail(err, VV_INVALID, "the header has column " NAME ": leave --name away");
    return VV_OK;
}

static vv_status read_header(loader *l, const import_input *in, const uint8_t *line, size_t len,
                             vv_error *err)
{
    bool is_named = l->job->args->name != NULL;
    l->header = strndup((const char *)line, len);
    if (l->header == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory");
    vv_status st = import_split(in, (uint8_t *)l->header, len, ',', l->column, &l->count, err);
    for (size_t i = 0; st == VV_OK && i < l->count; i++) {
        st = check_column(l, i, err);
        is_named |= vv_slice_eq(l->column[i], vv_slice_str(NAME));
        for (size_t k = 0; k < FIXED; k++)
            if (vv_slice_eq(l->column[i], vv_slice_str(fixed[k])))
                l->at[k] = i;
    }
    if (st == VV_OK && (l->at[TIME] == SIZE_MAX || l->at[VALUE] == SIZE_MAX))
        st = vv_fail(err, VV_INVALID, "the header needs the columns time and value");
    if (st == VV_OK && !is_named)
        st =
            vv_fail(err, VV_INVALID, "series need a name: give one with --name, or a column " NAME);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "%s", in->name);
}

static bool read_int(vv_slice text, int64_t *out)
{
    char copy[32];
    char *end = copy;
    if (text.len == 0 || text.len >= sizeof copy)
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    errno = 0;
    *out = strtoll(copy, &end, 10);
    return *end == '\0' && errno == 0;
}

static bool read_bool(vv_slice text, int64_t *out)
{
    const bool is_true =
        vv_slice_eq(text, vv_slice_str("true")) || vv_slice_eq(text, vv_slice_str("1"));
    *out = is_true;
    return is_true || vv_slice_eq(text, vv_slice_str("false")) ||
           vv_slice_eq(text, vv_slice_str("0"));
}

static bool read_value(vv_slice text, vv_sample *out)
{
    switch (out->type) {
    case VV_I64:
        return read_int(text, &out->i64);
    case VV_BOOL:
        return read_bool(text, &out->i64);
    case VV_STRING:
        out->string = text;
        return true;
    case VV_F64:
    default:
        return series_parse_number(text, &out->f64);
    }
}

static bool read_type(vv_slice text, vv_sample_type *out)
{
    for (vv_sample_type t = VV_F64; t <= VV_STRING; t++) {
        *out = t;
        if (vv_slice_eq(text, vv_slice_str(series_type_name(t))))
            return true;
    }
    return false;
}

static bool read_quality(vv_slice text, uint32_t *out)
{
    int64_t v = 0;
    if (!read_int(text, &v) || v < 0 || v > UINT32_MAX)
        return false;
    *out = (uint32_t)v;
    return true;
}

/* Which of them a line has wrong; FIXED: none. */
static int read_sample(const loader *l, const vv_slice *field, vv_sample *out)
{
    *out = (vv_sample){.type = l->job->type};
    if (!series_parse_time(field[l->at[TIME]], &out->time_ns))
        return TIME;
    if (l->at[TYPE] != SIZE_MAX && !read_type(field[l->at[TYPE]], &out->type))
        return TYPE;
    if (!read_value(field[l->at[VALUE]], out))
        return VALUE;
    if (l->at[QUALITY] != SIZE_MAX && !read_quality(field[l->at[QUALITY]], &out->quality))
        return QUALITY;
    return FIXED;
}

static bool is_label(const loader *l, size_t column)
{
    for (size_t k = 0; k < FIXED; k++)
        if (l->at[k] == column)
            return false;
    return true;
}

static vv_status read_labels(const loader *l, const vv_slice *field, vv_label out[VV_LABELS_MAX],
                             size_t *count, vv_error *err)
{
    bool is_named = l->job->args->name != NULL;
    *count = 0;
    if (is_named)
        out[(*count)++] = (vv_label){vv_slice_str(NAME), vv_slice_str(l->job->args->name)};
    for (size_t i = 0; i < l->count; i++) {
        if (field[i].len == 0 || !is_label(l, i))
            continue;
        if (*count == VV_LABELS_MAX)
            return vv_fail(err, VV_INVALID, "over %u labels", VV_LABELS_MAX);
        out[(*count)++] = (vv_label){l->column[i], field[i]};
        is_named |= vv_slice_eq(l->column[i], vv_slice_str(NAME));
    }
    return is_named ? VV_OK : vv_fail(err, VV_INVALID, "the series has no name");
}

static vv_status add_line(loader *l, const vv_slice *field, size_t count, vv_error *err)
{
    vv_label labels[VV_LABELS_MAX];
    vv_sample sample;
    size_t n = 0;
    store *s = l->job->store;
    if (count != l->count)
        return vv_fail(err, VV_INVALID, "%zu columns instead of %zu", count, l->count);
    const int wrong = read_sample(l, field, &sample);
    if (wrong != FIXED) {
        static const char *const names[] = {"time", "value", "quality", "type"};
        const vv_slice text = field[l->at[wrong]];
        return vv_fail(err, VV_INVALID, "'%.*s' is no %s%s%s", (int)vv_min_u64(text.len, 40),
                       (const char *)text.data, names[wrong], wrong == VALUE ? " of type " : "",
                       wrong == VALUE ? series_type_name(sample.type) : "");
    }
    vv_status st = read_labels(l, field, labels, &n, err);
    if (st == VV_OK)
        st = s->ops->series->add(s, labels, n, &sample, err);
    if (st == VV_BUSY) { /* no room */
        st = flush(l, err);
        if (st == VV_OK)
            st = s->ops->series->add(s, labels, n, &sample, err);
    }
    l->first_line = l->waiting == 0 ? l->in->line : l->first_line;
    if (st == VV_OK && ++l->waiting >= APPEND_AT)
        st = flush(l, err);
    return st;
}

static vv_status load(loader *l, import_input *in, vv_error *err)
{
    static vv_slice fields[IMPORT_COLUMNS_MAX];
    uint8_t *line = NULL;
    size_t len = 0;
    size_t count = 0;
    vv_error why = {0};
    vv_status st = import_next_line(in, true, &line, &len, err);
    if (st == VV_NOT_FOUND)
        return vv_fail(err, VV_INVALID, "%s is empty: a header is needed", in->name);
    if (st == VV_OK)
        st = read_header(l, in, line, len, err);
    if (st != VV_OK)
        return st;
    while (st == VV_OK && (st = import_next_line(in, true, &line, &len, &why)) == VV_OK) {
        st = import_split(in, line, len, ',', fields, &count, &why);
        if (st != VV_OK)
            break;
        st = add_line(l, fields, count, &why);
        if (st != VV_OK)
            (void)vv_wrap(&why, st, "%s:%llu", in->name, (unsigned long long)in->line);
    }
    /* What stands before a bad line is written. */
    const bool is_bad_line = st == VV_INVALID;
    if (st == VV_NOT_FOUND || is_bad_line)
        st = flush(l, err);
    else if (err != NULL)
        *err = why;
    if (st == VV_OK && is_bad_line) {
        if (err != NULL)
            *err = why;
        st = VV_INVALID;
    }
    return st;
}

static void tell(series_job *j, const store_appended *r)
{
    static const char *const columns[] = {"appended", "refused", "late", "new_series"};
    out_init_names(&j->out, j->ctx->common.format, columns, ARRAY_LEN(columns));
    out_row(&j->out, (const out_cell[]){out_uint(r->accepted), out_uint(r->refused),
                                        out_uint(r->late), out_uint(r->series_created)});
    out_end(&j->out);
    (void)fflush(stdout);
}

vv_status series_append(series_job *j, const char *path, uint64_t *refused, vv_error *err)
{
    import_input in;
    vv_status st = import_input_open(&in, path, err);
    if (st != VV_OK)
        return st;
    loader *l = vv_calloc(1, sizeof *l);
    if (l == NULL) {
        import_input_close(&in);
        return vv_fail(err, VV_NO_MEMORY, "no memory");
    }
    *l = (loader){.job = j, .in = &in, .at = {SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX}};
    st = load(l, &in, err);
    import_input_close(&in);
    if (l->count > 0)
        tell(j, &l->total);
    *refused = l->total.refused;
    free(l->header);
    vv_free(l);
    return st;
}

/* ---- export ---- */

typedef struct exporter {
    series_job *job;
    vv_arena arena;
    vv_slice column[OUT_COLUMNS_MAX];
    size_t count;
    size_t fixed; /* of them that are no labels: without TYPE where all series are of float64 */
    vv_status status;
    vv_error why;
} exporter;

static int see_type(void *ctx, const vv_series_info *series)
{
    exporter *e = ctx;
    e->fixed = series->type == VV_F64 ? e->fixed : FIXED;
    return e->fixed == FIXED;
}

static int add_column(void *ctx, vv_slice name)
{
    exporter *e = ctx;
    for (size_t k = 0; k < FIXED; k++)
        if (vv_slice_eq(name, vv_slice_str(fixed[k])))
            e->status = vv_fail(&e->why, VV_UNSUPPORTED,
                                "a label is called '%s', as a column is: ask with 'series query'",
                                fixed[k]);
    if (e->status == VV_OK && e->count == OUT_COLUMNS_MAX)
        e->status = vv_fail(&e->why, VV_UNSUPPORTED,
                            "the series have over %d labels: pick some of them with --match",
                            OUT_COLUMNS_MAX - (int)e->fixed);
    if (e->status != VV_OK)
        return 1;
    e->column[e->count] = vv_arena_dup(&e->arena, name);
    if (e->column[e->count++].data == NULL)
        e->status = vv_fail(&e->why, VV_NO_MEMORY, "no memory");
    return e->status != VV_OK;
}

/* The labels of a series as cells of its rows; both are sorted by name. */
static bool label_cells(const exporter *e, const vv_series_block *b, out_cell *cell)
{
    size_t at = 0;
    for (size_t i = e->fixed; i < e->count; i++) {
        cell[i] = out_text("");
        if (at < b->label_count && vv_slice_eq(b->labels[at].name, e->column[i]))
            cell[i] = out_bytes(b->labels[at++].value);
    }
    return at == b->label_count;
}

static int export_block(void *ctx, const vv_series_block *b)
{
    exporter *e = ctx;
    out_cell cell[OUT_COLUMNS_MAX];
    char time[TIME_TEXT_MAX];
    if (!label_cells(e, b, cell) || (b->type != VV_F64 && e->fixed < FIXED)) {
        e->status = vv_fail(&e->why, VV_CONFLICT,
                            "a series with another label or type came into being "
                            "meanwhile: export again");
        return 1;
    }
    if (e->fixed == FIXED)
        cell[TYPE] = out_text(series_type_name(b->type));
    for (size_t i = 0; i < b->count; i++) {
        vv_sample s;
        (void)series_sample_at(b, i, &s); /* nothing is filled in */
        time_text_format(s.time_ns, time);
        cell[TIME] = out_text(time);
        cell[VALUE] = series_value_cell(&s);
        cell[QUALITY] = out_uint(s.quality);
        out_row(&e->job->out, cell);
    }
    return ferror(stdout);
}

vv_status series_export(series_job *j, vv_error *err)
{
    store *s = j->store;
    vv_series_query q = VV_SERIES_QUERY_INIT;
    exporter *e = vv_calloc(1, sizeof *e);
    if (e == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory");
    e->job = j;
    vv_arena_init(&e->arena, 1u << 20);
    e->fixed = FIXED - 1;
    q.matchers = j->match.items;
    q.matcher_count = j->match.count;
    q.start_ns = j->from;
    q.end_ns = j->to;
    q.all_quality = true;
    q.samples_max = UINT64_MAX;
    vv_status st = s->ops->series->list(s, j->match, see_type, e, err);
    while (e->count < e->fixed) {
        e->column[e->count] = vv_slice_str(fixed[e->count]);
        e->count++;
    }
    if (st == VV_OK)
        st = s->ops->series->labels(s, (vv_slice){0}, j->match, add_column, e, err);
    if (st == VV_OK && e->status == VV_OK) {
        out_init(&j->out, j->ctx->common.output == NULL ? CMD_CSV : j->ctx->common.format,
                 e->column, e->count);
        st = s->ops->series->query(s, &q, export_block, e, err);
    }
    if (st == VV_OK && e->status != VV_OK) {
        st = e->status;
        if (err != NULL)
            *err = e->why;
    }
    if (st == VV_OK)
        out_end(&j->out);
    vv_arena_fini(&e->arena);
    vv_free(e);
    return st;
}
