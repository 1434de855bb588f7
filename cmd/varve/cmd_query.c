/*
 * cmd_query.c - ask for records: conditions, order, projection, aggregates.
 *
 * As a table or CSV the columns are those of --select, otherwise the fields of the first thousand
 * records in the order they appear; as JSON each record is a line of its own shape.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/time_text.h"
#include "base/util.h"
#include "io/env.h"
#include "out.h"
#include "query/struct_json.h"
#include "query_text.h"
#include "record_json.h"
#include "store.h"
#include "tier_store.h"

#define ARENA_MAX (64u * 1024 * 1024)
#define WAITING_MAX (1024u * 1024 * 1024)
#define LIST_MAX CMD_LIST_MAX
#define PROBE_ROWS 1000000u /* looked at again for a column that no record may have */

typedef struct args {
    cmd_list where;
    cmd_list select;
    cmd_list order;
    cmd_list agg;
    cmd_list group;
    cmd_list having;
    const char *since;
    const char *until;
    uint64_t limit;
    uint64_t offset;
    uint64_t version;
    bool count;
    bool explain;
    bool stats;
    tier_args tier;
} args;

static const cmd_opt opts[] = {
    {"where", 'w', CMD_LIST, offsetof(args, where), "'COLUMN OP VALUE'",
     "a condition; repeated, all must hold"},
    {"select", 'S', CMD_LIST, offsetof(args, select), "COLUMN,...", "only these columns"},
    {"order-by", 'O', CMD_LIST, offsetof(args, order), "COLUMN,...",
     "-COLUMN or COLUMN:desc for descending"},
    {"limit", 'n', CMD_COUNT, offsetof(args, limit), "N",
     "at most so many records; 0, the default: all"},
    {"offset", 0, CMD_COUNT, offsetof(args, offset), "N", "leave out the first N"},
    {"since", 0, CMD_TEXT, offsetof(args, since), "TIME", "records from this time on"},
    {"until", 0, CMD_TEXT, offsetof(args, until), "TIME", "records before this time"},
    {"agg", 'A', CMD_LIST, offsetof(args, agg), "'FUNC(COLUMN) [as NAME]'",
     "count, sum, avg, min or max instead of records"},
    {"group-by", 'G', CMD_LIST, offsetof(args, group), "COLUMN,...", "one answer for each group"},
    {"having", 0, CMD_LIST, offsetof(args, having), "'NAME OP VALUE'", "a condition on groups"},
    {"count", 'c', CMD_FLAG, offsetof(args, count), NULL, "--agg count, also beside other --agg"},
    {"version", 0, CMD_COUNT, offsetof(args, version), "N", "as of this version; default newest"},
    {"explain", 0, CMD_FLAG, offsetof(args, explain), NULL,
     "how it would be found, not the records"},
    {"stats", 0, CMD_FLAG, offsetof(args, stats), NULL, "what it took, on standard error"},
    TIER_OPTS(args, tier),
};

/* The question, and what it points to. */
typedef struct question {
    vv_arena arena;
    query_ask ask;
    query_filter where[LIST_MAX];
    query_filter having[LIST_MAX];
    vv_slice select[QUERY_PROJECTION_MAX];
    vv_slice order_text[QUERY_ORDER_MAX];
    query_order order[QUERY_ORDER_MAX];
    query_aggregate agg[QUERY_AGGREGATES_MAX];
    vv_slice group[QUERY_GROUP_MAX];
} question;

static bool split_all(const cmd_list *from, vv_slice *list, size_t max, size_t *count)
{
    for (size_t i = 0; i < from->count; i++)
        if (!query_text_split(from->item[i], list, max, count))
            return false;
    return true;
}

static vv_status read_lists(const args *a, question *q, vv_error *err)
{
    vv_status st = VV_OK;
    for (size_t i = 0; i < a->where.count && st == VV_OK; i++)
        st = query_text_filter(a->where.item[i], &q->arena, &q->where[i], err);
    for (size_t i = 0; i < a->having.count && st == VV_OK; i++)
        st = query_text_filter(a->having.item[i], &q->arena, &q->having[i], err);
    for (size_t i = 0; i < a->agg.count && st == VV_OK; i++)
        st = query_text_aggregate(a->agg.item[i], &q->agg[i], err);
    q->ask.filter_count = a->where.count;
    q->ask.having_count = a->having.count;
    q->ask.aggregate_count = a->agg.count;
    if (st == VV_OK && a->count && a->agg.count == QUERY_AGGREGATES_MAX)
        return vv_fail(err, VV_INVALID, "--count is one --agg too many: at most %u",
                       QUERY_AGGREGATES_MAX);
    if (st == VV_OK && a->count)
        q->agg[q->ask.aggregate_count++] =
            (query_aggregate){.function = vv_slice_str("count"), .alias = vv_slice_str("count")};
    return st;
}

/* Groups have no order or limit of their own: what cannot be had is refused, not left out. */
static int check_aggregation(const cmd_ctx *ctx, const args *a, const query_ask *ask)
{
    const struct {
        const char *name;
        bool is_given;
    } of_records[] = {{"limit", a->limit > 0},
                      {"offset", a->offset > 0},
                      {"order-by", a->order.count > 0},
                      {"select", a->select.count > 0}};
    if (ask->aggregate_count == 0 && ask->group_count > 0)
        return cmd_usage(ctx, "--group-by needs --agg or --count");
    if (ask->aggregate_count == 0 && ask->having_count > 0)
        return cmd_usage(ctx, "--having needs --agg or --count");
    for (size_t i = 0; ask->aggregate_count > 0 && i < ARRAY_LEN(of_records); i++)
        if (of_records[i].is_given)
            return cmd_usage(ctx, "--%s is for records and not for --agg, --count and --group-by",
                             of_records[i].name);
    return CMD_OK;
}

static int read_question(cmd_ctx *ctx, const args *a, question *q)
{
    vv_error err = {0};
    int64_t now = vv_clock_wall(vv_clock_real());
    query_ask *ask = &q->ask;
    if (read_lists(a, q, &err) != VV_OK)
        return cmd_usage(ctx, "%s", err.msg);
    if (!split_all(&a->select, q->select, QUERY_PROJECTION_MAX, &ask->projection_count) ||
        !split_all(&a->order, q->order_text, QUERY_ORDER_MAX, &ask->order_count) ||
        !split_all(&a->group, q->group, QUERY_GROUP_MAX, &ask->group_count))
        return cmd_usage(ctx, "too many columns");
    for (size_t i = 0; i < ask->order_count; i++)
        q->order[i] = query_text_order(q->order_text[i]);
    ask->has_start = a->since != NULL;
    ask->has_end = a->until != NULL;
    if (a->since != NULL && !query_text_time(a->since, now, &ask->start_ns))
        return cmd_usage(ctx, "--since: '%s' is no time (2026-07-01T12:00:00Z, seconds, 90m)",
                         a->since);
    if (a->until != NULL && !query_text_time(a->until, now, &ask->end_ns))
        return cmd_usage(ctx, "--until: '%s' is no time (2026-07-01T12:00:00Z, seconds, 90m)",
                         a->until);
    if (a->limit > INT32_MAX || a->offset > INT32_MAX)
        return cmd_usage(ctx, "--limit and --offset are at most 2147483647");
    int code = check_aggregation(ctx, a, ask);
    if (code != CMD_OK)
        return code;
    ask->tenant = vv_slice_str(ctx->common.tenant);
    ask->table = vv_slice_str(ctx->common.table != NULL ? ctx->common.table : "records");
    ask->filters = q->where;
    ask->having = q->having;
    ask->projection = q->select;
    ask->order = q->order;
    ask->aggregates = q->agg;
    ask->group_by = q->group;
    ask->limit = a->limit == 0 ? QUERY_NO_LIMIT : (int64_t)a->limit;
    ask->offset = (int64_t)a->offset;
    ask->version = (int64_t)a->version;
    return CMD_OK;
}

/* ---- records ---- */

typedef struct printer {
    const question *q;
    cmd_format format;
    out_writer out;
    bool started;
    vv_slice column[OUT_COLUMNS_MAX];
    size_t column_count;
    vv_arena arena; /* column names */
    vv_buf waiting; /* records behind varint lengths, until the columns are known */
    uint64_t waiting_count;
    vv_buf text;
    vv_buf line;
    bool left_out;              /* a later record had a field that is no column */
    bool seen[OUT_COLUMNS_MAX]; /* a record had this column of --select */
    uint64_t records;
} printer;

static vv_slice time_slice(int64_t ns, char text[TIME_TEXT_MAX])
{
    time_text_format(ns, text);
    return vv_slice_str(text);
}

static void print_json(printer *p, const record_parts *r)
{
    vv_buf_reset(&p->line);
    record_put_json(&p->line, r);
    vv_buf_append_u8(&p->line, '\n');
    (void)fwrite(p->line.data, 1, p->line.len, stdout);
}

static bool is_column(const printer *p, vv_slice name)
{
    for (size_t i = 0; i < p->column_count; i++)
        if (vv_slice_eq(p->column[i], name))
            return true;
    return false;
}

static void add_column(printer *p, vv_slice name)
{
    if (p->column_count == OUT_COLUMNS_MAX || is_column(p, name))
        return;
    vv_slice copy = vv_arena_dup(&p->arena, name);
    if (copy.data != NULL)
        p->column[p->column_count++] = copy;
}

/* The cell of a field or nested field; JSON for what is no scalar. */
static out_cell field_cell(printer *p, vv_slice body, const vv_slice *path, size_t depth)
{
    struct_value v;
    if (depth == 0 || struct_find(body, path, depth, &v) != VV_OK)
        return (out_cell){.type = OUT_NULL};
    switch (v.type) {
    case STRUCT_NUMBER:
        return out_double(v.number);
    case STRUCT_STRING:
        return out_bytes(v.bytes);
    case STRUCT_BOOL:
        return out_bool(v.boolean);
    case STRUCT_LIST:
    case STRUCT_STRUCT: {
        size_t at = p->text.len;
        if (json_put_value(&p->text, &v) != VV_OK || p->text.status != VV_OK)
            return (out_cell){.type = OUT_NULL};
        return (out_cell){.type = OUT_JSON,
                          .bytes = {(const uint8_t *)(uintptr_t)at, p->text.len - at}};
    }
    default:
        return (out_cell){.type = OUT_NULL};
    }
}

static out_cell meta_cell(const record_parts *r, vv_slice key)
{
    vv_slice name;
    vv_slice value;
    out_cell cell = {.type = OUT_NULL};
    for (wire_reader w = wire_reader_of(r->raw); record_next_meta(&w, &name, &value);)
        if (vv_slice_eq(name, key))
            cell = out_bytes(value);
    return cell;
}

static out_cell column_cell(printer *p, const record_parts *r, vv_slice column,
                            char time_text[TIME_TEXT_MAX])
{
    vv_slice path[STRUCT_DEPTH_MAX];
    if (vv_slice_eq(column, vv_slice_str("_id")))
        return out_bytes(r->id);
    if (vv_slice_eq(column, vv_slice_str("_timestamp")))
        return (out_cell){.type = OUT_TEXT, .bytes = time_slice(r->time_ns, time_text)};
    if (vv_slice_eq(column, vv_slice_str("_version")))
        return out_int(r->version);
    if (vv_slice_has_prefix(column, vv_slice_str("_metadata.")))
        return meta_cell(r, vv_slice_of(column.data + 10, column.len - 10));
    if (vv_slice_eq(column, vv_slice_str("_metadata"))) {
        size_t at = p->text.len;
        record_put_meta_json(&p->text, r);
        return (out_cell){.type = OUT_JSON,
                          .bytes = {(const uint8_t *)(uintptr_t)at, p->text.len - at}};
    }
    /* Columns that were collected are field names as they stand; those of --select are paths. */
    if (p->q->ask.projection_count == 0)
        return field_cell(p, r->body, &column, 1);
    vv_arena arena;
    vv_arena_init(&arena, 1 << 16);
    size_t depth = query_text_path(column, &arena, path, STRUCT_DEPTH_MAX);
    out_cell cell = field_cell(p, r->body, path, depth);
    if (cell.type == OUT_NULL && vv_slice_has_prefix(column, vv_slice_str("attributes."))) {
        /* An attribute of a message, whose name may have dots. */
        path[0] = vv_slice_of(column.data, 10);
        path[1] = vv_slice_of(column.data + 11, column.len - 11);
        cell = field_cell(p, r->body, path, 2);
    }
    vv_arena_fini(&arena);
    return cell;
}

static bool has_column(printer *p, const record_parts *r, vv_slice column,
                       char time_text[TIME_TEXT_MAX])
{
    return column_cell(p, r, column, time_text).type != OUT_NULL;
}

/* A name that no record has is no fault, but it may be a slip: it is told. */
static void note_missing(vv_slice column)
{
    (void)fprintf(stderr, "varve query: no record had a column '%.*s', or only null in it\n",
                  (int)column.len, (const char *)column.data);
}

static void note_seen(printer *p, const record_parts *r)
{
    char time_text[TIME_TEXT_MAX];
    vv_buf_reset(&p->text);
    p->records++;
    for (size_t i = 0; i < p->q->ask.projection_count && i < OUT_COLUMNS_MAX; i++)
        if (!p->seen[i])
            p->seen[i] = vv_slice_eq(p->q->select[i], vv_slice_str("*")) ||
                         has_column(p, r, p->q->select[i], time_text);
}

static void print_row(printer *p, const record_parts *r)
{
    out_cell cells[OUT_COLUMNS_MAX];
    char time_text[TIME_TEXT_MAX];
    vv_buf_reset(&p->text);
    for (size_t i = 0; i < p->column_count; i++)
        cells[i] = column_cell(p, r, p->column[i], time_text);
    for (size_t i = 0; i < p->column_count; i++) /* the buffer may have moved: offsets until now */
        if (cells[i].type == OUT_JSON)
            cells[i].bytes.data = p->text.data + (uintptr_t)cells[i].bytes.data;
    out_row(&p->out, cells);
}

static void note_fields(printer *p, const record_parts *r, bool add)
{
    vv_slice key;
    vv_slice value;
    for (wire_reader w = wire_reader_of(r->body); struct_next_entry(&w, &key, &value) > 0;) {
        if (add)
            add_column(p, key);
        else if (!p->left_out && !is_column(p, key))
            p->left_out = true;
    }
}

/* The columns are known: print what waits. */
static void start(printer *p)
{
    p->started = true;
    out_init(&p->out, p->format, p->column, p->column_count);
    vv_slice rest = vv_buf_slice(&p->waiting);
    while (rest.data != NULL && rest.len > 0) {
        const uint8_t *end = rest.data + rest.len;
        uint64_t len = 0;
        record_parts r;
        const uint8_t *at = vv_varint_get(rest.data, end, &len);
        if (at == NULL || len > (size_t)(end - at))
            break; /* no memory to keep it */
        if (record_parse(vv_slice_of(at, (size_t)len), &r))
            print_row(p, &r);
        rest = vv_slice_of(at + len, (size_t)(end - at - (ptrdiff_t)len));
    }
    vv_buf_fini(&p->waiting);
}

static int take_record(void *ctx, vv_slice record)
{
    printer *p = ctx;
    record_parts r;
    if (!record_parse(record, &r))
        return 0;
    note_seen(p, &r);
    if (p->format == CMD_JSON) {
        print_json(p, &r);
        return 0;
    }
    if (p->started) {
        if (p->q->ask.projection_count == 0)
            note_fields(p, &r, false);
        print_row(p, &r);
        return 0;
    }
    if (p->q->ask.projection_count == 0)
        note_fields(p, &r, true);
    if (p->waiting.len + record.len + 10 > WAITING_MAX) { /* no room to wait for more columns */
        start(p);
        print_row(p, &r);
        return 0;
    }
    vv_buf_append_varint(&p->waiting, record.len);
    vv_buf_append_slice(&p->waiting, record);
    if (++p->waiting_count == OUT_LOOK_ROWS)
        start(p);
    return 0;
}

static void print_stats(const query_stats *s)
{
    (void)fprintf(stderr,
                  "%llu returned, %llu scanned, %llu filtered out, %llu bytes read, %.3f ms, "
                  "index: %s\n",
                  (unsigned long long)s->returned_rows, (unsigned long long)s->scanned_rows,
                  (unsigned long long)s->filtered_rows, (unsigned long long)s->scanned_bytes,
                  (double)s->execution_ns / 1e6, s->index[0] == 0 ? "none" : s->index);
}

static int stop_at_first(void *ctx, vv_slice record)
{
    (void)record;
    *(bool *)ctx = true;
    return 1;
}

/* Whether any record of the table, in the same range of time, has a value there. */
static void note_if_missing(store *s, const question *q, vv_slice column)
{
    static const uint8_t null[] = {VALUE_NULL << 3, 0};
    const query_filter there = {
        .column = column, .op = vv_slice_str("!="), .value = vv_slice_of(null, sizeof null)};
    query_ask ask = q->ask;
    query_stats cost;
    bool found = false;
    if (column.len == 0 || column.data[0] == '_' || column.data[0] == '*')
        return; /* what every record has, or metadata */
    ask.filters = &there;
    ask.filter_count = 1;
    ask.order_count = ask.projection_count = 0;
    ask.limit = 1;
    ask.offset = 0;
    if (s->ops->query(s, &ask, stop_at_first, &found, &cost, NULL) == VV_OK && !found)
        note_missing(column);
}

/* Looked for where the answer cost little. */
static bool is_cheap(const query_stats *stats)
{
    return stats->scanned_rows > 0 && stats->scanned_rows <= PROBE_ROWS;
}

/* Nothing was found: perhaps for want of the columns that were asked of. */
static void note_missing_conditions(store *s, const question *q, const query_stats *stats)
{
    for (size_t i = 0; i < q->ask.filter_count && is_cheap(stats); i++)
        note_if_missing(s, q, q->where[i].column);
}

static vv_status print_records(const cmd_ctx *ctx, store *s, const question *q, query_stats *stats,
                               vv_error *err)
{
    printer p = {.q = q, .format = ctx->common.format};
    vv_arena_init(&p.arena, ARENA_MAX);
    vv_buf_init(&p.waiting, WAITING_MAX);
    vv_buf_init(&p.text, ARENA_MAX);
    vv_buf_init(&p.line, WAITING_MAX);
    if (q->ask.projection_count == 0) {
        add_column(&p, vv_slice_str("_id"));
        add_column(&p, vv_slice_str("_timestamp"));
    }
    for (size_t i = 0; i < q->ask.projection_count; i++)
        add_column(&p, q->ask.projection[i]);
    vv_status st = s->ops->query(s, &q->ask, take_record, &p, stats, err);
    if (p.format != CMD_JSON && (st == VV_OK || p.waiting_count > 0)) {
        if (!p.started)
            start(&p);
        out_end(&p.out);
    }
    if (p.left_out)
        (void)fprintf(stderr, "varve query: later records have fields that are no columns here; "
                              "name them with --select or use -o json\n");
    for (size_t i = 0; i < q->ask.projection_count && st == VV_OK && p.records > 0; i++)
        if (i < OUT_COLUMNS_MAX && !p.seen[i])
            note_missing(q->select[i]);
    if (st == VV_OK && p.records == 0)
        note_missing_conditions(s, q, stats);
    vv_arena_fini(&p.arena);
    vv_buf_fini(&p.waiting);
    vv_buf_fini(&p.text);
    vv_buf_fini(&p.line);
    return st;
}

/* ---- aggregates ---- */

typedef struct group_printer {
    out_writer out;
    cmd_format format;
    bool started;
    bool seen[OUT_COLUMNS_MAX]; /* some group has a value here */
} group_printer;

static int take_group(void *ctx, const store_cell *cells, size_t count)
{
    group_printer *g = ctx;
    vv_slice names[OUT_COLUMNS_MAX];
    out_cell row[OUT_COLUMNS_MAX];
    char times[OUT_COLUMNS_MAX][TIME_TEXT_MAX];
    for (size_t i = 0; i < count && i < OUT_COLUMNS_MAX; i++) {
        const struct_value *v = &cells[i].value;
        names[i] = cells[i].name;
        row[i] = v->type == STRUCT_NUMBER   ? out_double(v->number)
                 : v->type == STRUCT_STRING ? out_bytes(v->bytes)
                 : v->type == STRUCT_BOOL   ? out_bool(v->boolean)
                                            : (out_cell){.type = OUT_NULL};
        g->seen[i] |= v->type != STRUCT_NULL && (v->type != STRUCT_NUMBER || v->number != 0);
        if (v->type == STRUCT_TIME)
            row[i] = (out_cell){.type = OUT_TEXT, .bytes = time_slice(v->time_ns, times[i])};
    }
    if (!g->started)
        out_init(&g->out, g->format, names, count);
    g->started = true;
    out_row(&g->out, row);
    return 0;
}

/* Columns that gave nothing, or zero, in every group. */
static void note_missing_groups(store *s, const question *q, const group_printer *g,
                                const query_stats *stats)
{
    if (!is_cheap(stats))
        return;
    for (size_t i = 0; i < q->ask.filter_count; i++)
        if (stats->filtered_rows == stats->scanned_rows)
            note_if_missing(s, q, q->where[i].column);
    for (size_t i = 0; i < q->ask.group_count; i++)
        if (!g->seen[i])
            note_if_missing(s, q, q->group[i]);
    for (size_t i = 0; i < q->ask.aggregate_count; i++)
        if (!g->seen[q->ask.group_count + i])
            note_if_missing(s, q, q->agg[i].column);
}

static vv_status print_groups(const cmd_ctx *ctx, store *s, const question *q, query_stats *stats,
                              vv_error *err)
{
    group_printer g = {.format = ctx->common.format};
    vv_status st = s->ops->aggregate(s, &q->ask, take_group, &g, stats, err);
    if (g.started)
        out_end(&g.out);
    (void)fflush(stdout);
    if (st == VV_OK)
        note_missing_groups(s, q, &g, stats);
    return st;
}

static vv_status print_plan(store *s, const question *q, vv_error *err)
{
    vv_buf text;
    vv_buf_init(&text, 1 << 20);
    vv_status st = s->ops->explain(s, &q->ask, &text, err);
    if (st == VV_OK)
        (void)fwrite(text.data, 1, text.len, stdout);
    vv_buf_fini(&text);
    return st;
}

static int answer(cmd_ctx *ctx, const args *a, const question *q)
{
    vv_error err = {0};
    store *s = NULL;
    query_stats stats = {.index = ""};
    vv_status st = store_open(ctx, "records", STORE_READ, &s, &err);
    if (st == VV_OK && a->explain)
        st = print_plan(s, q, &err);
    else if (st == VV_OK && q->ask.aggregate_count > 0)
        st = print_groups(ctx, s, q, &stats, &err);
    else if (st == VV_OK)
        st = print_records(ctx, s, q, &stats, &err);
    (void)fflush(stdout);
    if (st == VV_OK && a->stats && !a->explain)
        print_stats(&stats);
    store_close(s);
    return st == VV_OK ? CMD_OK : cmd_fail(ctx, st, &err);
}

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    const args *a = opaque;
    if (tier_args_take(ctx, &a->tier) != CMD_OK)
        return CMD_USAGE;
    if (argc != 0)
        return cmd_usage(ctx, "'%s': conditions are given with --where", argv[0]);
    question *q = vv_calloc(1, sizeof *q);
    if (q == NULL)
        return cmd_fail(ctx, VV_NO_MEMORY, &(vv_error){.msg = "out of memory"});
    vv_arena_init(&q->arena, ARENA_MAX);
    int code = read_question(ctx, opaque, q);
    if (code == CMD_OK)
        code = answer(ctx, opaque, q);
    vv_arena_fini(&q->arena);
    vv_free(q);
    return code;
}

const cmd_command cmd_query = {
    .name = "query",
    .summary = "ask for records, or messages",
    .synopsis = "",
    .details =
        "Columns are the fields of a record, a.b for nested ones, _id, _timestamp, _version and\n"
        "_metadata.KEY; of a message partition, offset, received, event, key, size, content_type,\n"
        "source, attributes.NAME, value, and value.NAME where it is JSON. Operators: = != < <= >\n"
        ">= in contains. A value is JSON where it reads as such, otherwise text:\n\n"
        "  varve query --where 'value > 24' --where 'site in north,south' --order-by -value -n 5\n"
        "  varve query --since 90m --select _timestamp,value -o csv\n"
        "  varve query --agg 'avg(value) as mean' --agg count --group-by site --having 'mean > "
        "5'\n",
    .with = CMD_WITH_STORE | CMD_WITH_TABLE,
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .args_size = sizeof(args),
    .run = run,
};
