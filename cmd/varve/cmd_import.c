/*
 * cmd_import.c - load CSV files and JSON lines as records.
 *
 * Records go over one IngestStream, acknowledged per group commit (or, with --data, in batches of
 * one commit each). A bad line stops the load after everything before it is durable, and says file,
 * line and cause; --skip-bad reports it and goes on.
 */
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/util.h"
#include "import.h"
#include "io/env.h"
#include "out.h"
#include "query_text.h"

#define LINES_KEPT 65536u /* line numbers kept for records not yet answered */
#define REPORTS_MAX 20u   /* bad lines told one by one */
#define BAR_NS (200 * VV_NS_PER_MS)
#define PLAIN_NS (2 * VV_NS_PER_S)

typedef struct args {
    import_options map;
    const char *format;
    const char *delimiter;
    const char *columns;
    const char *durability;
    bool no_header;
    bool header;
    bool bulk;
    bool archive_log;
    bool skip_bad;
    bool quiet;
} args;

static const cmd_opt opts[] = {
    {"id", 'i', CMD_TEXT, offsetof(args, map.id), "COLUMN|TEMPLATE",
     "the entity id: a column, or text with {column}, {_path}, {_file}, {_line}; default the "
     "column id, else {_path}:{_line}; needed for a pipe without such a column"},
    {"timestamp", 0, CMD_TEXT, offsetof(args, map.timestamp), "COLUMN",
     "the time; default timestamp, time, ts, datetime or date when there is one, else the time of "
     "arrival"},
    {"no-timestamp", 0, CMD_FLAG, offsetof(args, map.no_timestamp), NULL,
     "the time of arrival, whatever the columns are called"},
    {"timestamp-unit", 0, CMD_CHOICE, offsetof(args, map.unit), "rfc3339|s|ms|us|ns",
     "default: told from the value"},
    {"set", 0, CMD_LIST, offsetof(args, map.set), "NAME=VALUE", "a field that every record gets"},
    {"meta", 0, CMD_LIST, offsetof(args, map.meta), "COLUMN,...", "columns that become metadata"},
    {"text", 0, CMD_LIST, offsetof(args, map.text), "COLUMN,...",
     "columns that stay text though they look like numbers"},
    {"keep", 0, CMD_FLAG, offsetof(args, map.keep), NULL,
     "the id and time columns become fields too; a JSON line keeps all its fields anyway"},
    {"format", 'f', CMD_CHOICE, offsetof(args, format), "csv|jsonl",
     "default: jsonl for .jsonl, .ndjson and .json, else csv"},
    {"delimiter", 0, CMD_TEXT, offsetof(args, delimiter), "CHAR", "default ','; 'tab' for a tab"},
    {"no-header", 0, CMD_FLAG, offsetof(args, no_header), NULL, "the first line is data"},
    {"header", 0, CMD_FLAG, offsetof(args, header), NULL,
     "the first line of each file names columns: the default, but not with --bulk"},
    {"columns", 0, CMD_TEXT, offsetof(args, columns), "NAME,...",
     "the columns of a file without a header, or other names for them"},
    {"durability", 0, CMD_CHOICE, offsetof(args, durability), "sync|os|none",
     "what must have happened before a record counts as done; default sync"},
    {"bulk", 0, CMD_FLAG, offsetof(args, bulk), NULL,
     "keys and values instead of records: CSV whose first two columns they are, sorted by the "
     "bytes "
     "of the key, into a kv table of a directory (--data); all of the files or nothing; the first "
     "line is data unless --header is given"},
    {"archive-log", 0, CMD_FLAG, offsetof(args, archive_log), NULL,
     "with --data: keep the log, and what --bulk loads, for the next backup, as a server with "
     "backup.archive_log does"},
    {"skip-bad", 0, CMD_FLAG, offsetof(args, skip_bad), NULL, "report bad lines and go on"},
    {"quiet", 'q', CMD_FLAG, offsetof(args, quiet), NULL,
     "no progress, and the number of durable records alone at the end"},
};

typedef struct load {
    cmd_ctx *ctx;
    const args *args;
    store *store;
    vv_clock *clock;
    int64_t begin_ns;
    int64_t shown_ns;
    int64_t every_ns; /* between progress lines; 0: none */
    bool bar;
    bool bar_shown;
    uint64_t size;       /* of all files; 0: not known */
    uint64_t done_bytes; /* of files that are through */
    store_progress at;
    bool unread;  /* a file that names no columns, or not those that are asked for */
    uint64_t bad; /* lines that are no record */
    uint64_t reported;
    uint64_t lines[LINES_KEPT]; /* of record sequence % LINES_KEPT */
    const char *paths[LINES_KEPT];
} load;

/* ---- progress ---- */

static void clear_bar(load *l)
{
    if (l->bar_shown)
        (void)fprintf(stderr, "\r\033[K");
    l->bar_shown = false;
}

static void show_bar(load *l, double part, double seconds, double rate)
{
    char bar[21];
    char eta[32] = "";
    for (int i = 0; i < 20; i++)
        bar[i] = part * 20 > i ? '#' : '.';
    bar[20] = 0;
    if (part > 0.001)
        (void)snprintf(eta, sizeof eta, "  ETA %.0f s", seconds / part - seconds);
    if (l->size > 0)
        (void)fprintf(stderr, "\r\033[K[%s] %3.0f %%  %" PRIu64 " records  %.0f/s%s", bar,
                      part * 100, l->at.acked, rate, eta);
    else
        (void)fprintf(stderr, "\r\033[K%" PRIu64 " records  %.0f/s", l->at.acked, rate);
    (void)fflush(stderr);
    l->bar_shown = true;
}

static void show_progress(load *l, const import_input *in)
{
    int64_t now = vv_clock_mono(l->clock);
    if (l->every_ns == 0 || now - l->shown_ns < l->every_ns)
        return;
    l->shown_ns = now;
    double seconds = (double)(now - l->begin_ns) / 1e9;
    double rate = (double)l->at.acked / seconds;
    uint64_t read = l->done_bytes + in->bytes_read - (in->buf.len - in->at);
    double part = l->size > 0 ? (double)read / (double)l->size : 0;
    part = part > 1 ? 1 : part;
    if (l->bar)
        show_bar(l, part, seconds, rate);
    else if (l->size > 0)
        (void)fprintf(stderr, "%s: %.0f %%, %" PRIu64 " records, %.0f/s\n", in->path, part * 100,
                      l->at.acked, rate);
    else
        (void)fprintf(stderr, "%s: %" PRIu64 " records, %.0f/s\n", in->path, l->at.acked, rate);
}

/* ---- faults ---- */

static void report(load *l, const char *text)
{
    l->reported++;
    if (l->reported > REPORTS_MAX)
        return;
    clear_bar(l);
    (void)fprintf(stderr, "varve import: %s\n", text);
    if (l->reported == REPORTS_MAX)
        (void)fprintf(stderr, "varve import: further bad records are only counted\n");
}

/* One record was refused. What is its own fault is told and the others go on; anything else, such
 * as a full disk, would meet the next ones too and leave holes: the load ends there. */
static vv_status refused(void *ctx, uint64_t sequence, vv_status st, const char *why, vv_error *err)
{
    load *l = ctx;
    char text[400];
    const char *end = st == VV_INVALID ? "" : "the import stopped here: ";
    if (sequence > 0 && l->at.sent < sequence + LINES_KEPT)
        (void)snprintf(text, sizeof text, "%s:%" PRIu64 ": %s%s", l->paths[sequence % LINES_KEPT],
                       l->lines[sequence % LINES_KEPT], end, why);
    else
        (void)snprintf(text, sizeof text, "record %" PRIu64 ": %s%s", sequence, end, why);
    if (st != VV_INVALID)
        return vv_fail(err, st, "%s", text);
    report(l, text);
    return VV_OK;
}

/* A line that is no record: VV_OK to go on. */
static vv_status bad_line(load *l, vv_status st, vv_error *err)
{
    if (st != VV_INVALID || !l->args->skip_bad)
        return st;
    l->bad++;
    report(l, err->msg);
    return VV_OK;
}

/* ---- one file ---- */

static vv_status send_record(load *l, const import_input *in, const store_record *record,
                             vv_error *err)
{
    uint64_t sequence = l->at.sent + 1;
    l->lines[sequence % LINES_KEPT] = in->line;
    l->paths[sequence % LINES_KEPT] = in->path;
    vv_status st = l->store->ops->load_record(l->store, record, &l->at, err);
    if (sequence % 256 == 0)
        show_progress(l, in);
    return st;
}

static vv_status at_line(const import_input *in, vv_status st, vv_error *err)
{
    return vv_wrap(err, st, "%s:%" PRIu64, in->path, in->line);
}

static char delimiter_of(const args *a)
{
    if (a->delimiter == NULL)
        return ',';
    return strcmp(a->delimiter, "tab") == 0 || strcmp(a->delimiter, "\\t") == 0 ? '\t'
                                                                                : a->delimiter[0];
}

/* The column names: of --columns, of the header, or 1, 2, 3. */
static vv_status read_columns(load *l, import_input *in, vv_slice *fields, size_t *count,
                              vv_error *err)
{
    const args *a = l->args;
    uint8_t *line;
    size_t len;
    *count = 0;
    if (!a->no_header) {
        vv_status st = import_next_line(in, true, &line, &len, err);
        if (st == VV_NOT_FOUND)
            return vv_fail(err, VV_INVALID, "%s: the file is empty: no header line", in->path);
        if (st == VV_OK)
            st = import_split(in, line, len, delimiter_of(a), fields, count, err);
        if (st != VV_OK)
            return st;
    }
    if (a->columns != NULL) {
        *count = 0;
        if (!query_text_split(a->columns, fields, IMPORT_COLUMNS_MAX, count))
            return vv_fail(err, VV_INVALID, "--columns: over %u names", IMPORT_COLUMNS_MAX);
    }
    if (*count == 0)
        return vv_fail(err, VV_INVALID, "%s: without a header --columns is needed", in->path);
    return VV_OK;
}

static vv_status field_count_fault(const import_input *in, size_t want, size_t got, bool last,
                                   vv_error *err)
{
    return vv_fail(err, VV_INVALID, "%s:%" PRIu64 ": %zu field%s where the header has %zu%s",
                   in->path, in->line, got, got == 1 ? "" : "s", want,
                   last ? ": the file is cut short" : "");
}

/* What was chosen for want of better is never chosen in silence. */
static void note_choices(load *l, const import_input *in, const import_map *map)
{
    if (l->args->quiet || map->untimed + map->big == 0)
        return;
    clear_bar(l);
    if (map->untimed > 0)
        (void)fprintf(stderr,
                      "varve import: %s: %" PRIu64 " record%s without a time column (timestamp, "
                      "time, date ...): the time of arrival was taken; --timestamp COLUMN names "
                      "one\n",
                      in->path, map->untimed, map->untimed == 1 ? "" : "s");
    if (map->big > 0)
        (void)fprintf(stderr,
                      "varve import: %s: %" PRIu64 " integer%s beyond 2^53 kept as text, because a "
                      "number would round; a condition compares them as text\n",
                      in->path, map->big, map->big == 1 ? "" : "s");
}

static vv_status load_csv(load *l, import_input *in, vv_slice *fields, vv_error *err)
{
    import_map map;
    size_t columns;
    vv_status st = read_columns(l, in, fields, &columns, err);
    if (st != VV_OK)
        return st;
    st = import_map_init(&map, &l->args->map, in, fields, columns, err);
    l->unread = st != VV_OK;
    while (st == VV_OK) {
        uint8_t *line;
        size_t len;
        size_t count;
        store_record record;
        st = import_next_line(in, true, &line, &len, err);
        if (st != VV_OK)
            break;
        st = import_split(in, line, len, delimiter_of(l->args), fields, &count, err);
        if (st == VV_OK && count != columns)
            st = field_count_fault(in, columns, count, in->ended && in->at == in->buf.len, err);
        if (st == VV_OK && (st = import_map_csv(&map, in, fields, &record, err)) != VV_OK)
            (void)at_line(in, st, err);
        st = st == VV_OK ? send_record(l, in, &record, err) : bad_line(l, st, err);
    }
    note_choices(l, in, &map);
    import_map_fini(&map);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static vv_status load_jsonl(load *l, import_input *in, vv_error *err)
{
    import_map map;
    vv_status st = import_map_init(&map, &l->args->map, in, NULL, 0, err);
    l->unread = st != VV_OK;
    while (st == VV_OK) {
        uint8_t *line;
        size_t len;
        store_record record;
        st = import_next_line(in, false, &line, &len, err);
        if (st != VV_OK)
            break;
        st = import_map_json(&map, in, vv_slice_of(line, len), &record, err);
        if (st != VV_OK)
            (void)at_line(in, st, err);
        st = st == VV_OK ? send_record(l, in, &record, err) : bad_line(l, st, err);
    }
    note_choices(l, in, &map);
    import_map_fini(&map);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static bool is_jsonl(const args *a, const char *path)
{
    const char *dot = strrchr(path, '.');
    if (a->format != NULL)
        return strcmp(a->format, "jsonl") == 0;
    return dot != NULL &&
           (strcmp(dot, ".jsonl") == 0 || strcmp(dot, ".ndjson") == 0 || strcmp(dot, ".json") == 0);
}

static vv_status load_file(load *l, const char *path, vv_error *err)
{
    import_input in;
    vv_slice *fields = vv_calloc(IMPORT_COLUMNS_MAX, sizeof *fields);
    vv_status st = import_input_open(&in, path, err);
    if (st == VV_OK && fields == NULL)
        st = vv_fail(err, VV_NO_MEMORY, "%s", path);
    if (st == VV_OK)
        st = is_jsonl(l->args, path) ? load_jsonl(l, &in, err) : load_csv(l, &in, fields, err);
    l->done_bytes += in.bytes_read;
    import_input_close(&in);
    vv_free(fields);
    return st;
}

/* ---- the command ---- */

/* Every file can be opened, before a store or a table is made for it; and how much there is. */
static vv_status measure(load *l, int argc, char **argv, vv_error *err)
{
    bool known = true;
    vv_status st = VV_OK;
    for (int i = 0; i < argc && st == VV_OK; i++) {
        import_input in;
        struct stat info;
        if (stat(argv[i], &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) {
            known = false; /* a pipe: it is opened once */
            continue;
        }
        st = import_input_open(&in, argv[i], err);
        known = known && st == VV_OK && in.size > 0; /* of standard input nobody knows it */
        l->size += in.size;
        if (in.file != stdin)
            import_input_close(&in);
    }
    l->size = known ? l->size : 0;
    return st;
}

static void print_summary(const load *l, double seconds, double rate)
{
    uint64_t refused_count = l->at.failed + l->bad;
    if (l->args->quiet) {
        (void)printf("%" PRIu64 "\n", l->at.acked);
        return;
    }
    (void)printf("imported %" PRIu64 " record%s into %s/%s in %.2f s (%.0f/s)", l->at.acked,
                 l->at.acked == 1 ? "" : "s", l->store->tenant, l->store->table, seconds, rate);
    if (refused_count > 0)
        (void)printf(", %" PRIu64 " refused", refused_count);
    (void)printf("\n");
}

static void summarize(load *l)
{
    double seconds = (double)(vv_clock_mono(l->clock) - l->begin_ns) / 1e9;
    double rate = seconds > 0 ? (double)l->at.acked / seconds : 0;
    if (l->bar && l->every_ns != 0 && l->size > 0) /* a short load has shown nothing yet */
        show_bar(l, (double)l->done_bytes / (double)l->size, seconds, rate);
    clear_bar(l);
    if (l->ctx->common.output == NULL) {
        print_summary(l, seconds, rate);
        return;
    }
    out_writer o;
    const char *const names[] = {"tenant", "table", "records", "refused", "seconds", "rate"};
    out_init_names(&o, l->ctx->common.format, names, ARRAY_LEN(names));
    out_row(&o, (const out_cell[]){out_text(l->store->tenant), out_text(l->store->table),
                                   out_uint(l->at.acked), out_uint(l->at.failed + l->bad),
                                   out_double(seconds), out_double(rate)});
    out_end(&o);
}

static int run_load(load *l, int argc, char **argv)
{
    vv_error err = {0};
    vv_error end_err = {0};
    int durability = 0;
    if (l->args->durability != NULL)
        (void)store_parse_durability(l->args->durability, &durability);
    vv_status st = l->store->ops->load_begin(l->store, refused, l, durability, &err);
    if (st != VV_OK)
        return cmd_fail(l->ctx, st, &err);
    for (int i = 0; i < argc && st == VV_OK; i++)
        st = load_file(l, argv[i], &err);
    /* Also after a bad line: what came before it is made durable and counted. */
    vv_status end = st == VV_OK || st == VV_INVALID
                        ? l->store->ops->load_end(l->store, &l->at, &end_err)
                        : VV_OK;
    if (st == VV_OK || l->at.sent + l->bad > 0)
        summarize(l);
    if (st != VV_OK && l->unread && l->at.sent + l->bad == 0)
        return cmd_usage(l->ctx, "%s", err.msg);
    if (st != VV_OK)
        return cmd_fail(l->ctx, st, &err);
    if (end != VV_OK)
        return cmd_fail(l->ctx, end, &end_err);
    return l->at.failed + l->bad > 0 ? CMD_ERROR : CMD_OK;
}

/* ---- keys and values, sorted, all or nothing ---- */

typedef struct pairs {
    load *load;
    int left; /* files not yet opened */
    char **next;
    bool is_open;
    bool in_header;
    import_input in;
    vv_slice *fields;
} pairs;

static void close_pairs(pairs *p)
{
    if (p->is_open)
        import_input_close(&p->in);
    p->is_open = false;
}

static vv_status open_pairs(pairs *p, vv_error *err)
{
    if (p->left == 0)
        return VV_NOT_FOUND;
    p->left--;
    vv_status st = import_input_open(&p->in, *p->next++, err);
    p->is_open = st == VV_OK;
    p->in_header = p->load->args->header;
    return st;
}

/* A line of the current file; VV_NOT_FOUND at its end. */
static vv_status read_pair(pairs *p, vv_slice *key, vv_slice *value, vv_error *err)
{
    uint8_t *line;
    size_t len;
    size_t count = 0;
    vv_status st = import_next_line(&p->in, true, &line, &len, err);
    if (st == VV_OK)
        st = import_split(&p->in, line, len, delimiter_of(p->load->args), p->fields, &count, err);
    if (st == VV_OK && count != 2)
        return vv_fail(err, VV_INVALID, "%s:%" PRIu64 ": %zu columns where key and value are two",
                       p->in.path, p->in.line, count);
    *key = p->fields[0];
    *value = p->fields[1];
    return st;
}

static vv_status next_pair(void *ctx, vv_slice *key, vv_slice *value, vv_error *err)
{
    pairs *p = ctx;
    for (;;) {
        vv_status st = p->is_open ? VV_OK : open_pairs(p, err);
        if (st == VV_OK)
            st = read_pair(p, key, value, err);
        if (st == VV_NOT_FOUND && p->is_open) {
            p->load->done_bytes += p->in.bytes_read;
            close_pairs(p);
            continue;
        }
        if (st != VV_OK || !p->in_header) {
            if (st == VV_OK && ++p->load->at.acked % 256 == 0)
                show_progress(p->load, &p->in);
            return st;
        }
        p->in_header = false;
    }
}

static int run_bulk(load *l, int argc, char **argv)
{
    vv_error err = {0};
    store_written written = {0};
    pairs p = {.load = l, .left = argc, .next = argv};
    p.fields = vv_calloc(IMPORT_COLUMNS_MAX, sizeof *p.fields);
    vv_status st = p.fields == NULL ? vv_fail(&err, VV_NO_MEMORY, "out of memory")
                                    : l->store->ops->bulk(l->store, next_pair, &p, &written, &err);
    /* The load names the keys, and here is where they stand. */
    if (st == VV_INVALID && p.is_open && strstr(err.msg, p.in.path) == NULL)
        (void)at_line(&p.in, st, &err);
    close_pairs(&p);
    vv_free(p.fields);
    if (st == VV_OK)
        summarize(l);
    else
        clear_bar(l);
    return st == VV_OK ? CMD_OK : cmd_fail(l->ctx, st, &err);
}

/* Options about records, which a load of pairs would have to ignore. */
static const char *const not_bulk[] = {"id",     "timestamp", "no-timestamp", "timestamp-unit",
                                       "set",    "meta",      "text",         "keep",
                                       "format", "columns",   "durability",   "skip-bad"};

static int check_options(const cmd_ctx *ctx, const args *a)
{
    if (a->delimiter != NULL && strlen(a->delimiter) != 1 && delimiter_of(a) != '\t')
        return cmd_usage(ctx, "--delimiter is one character");
    if (a->header && a->no_header)
        return cmd_usage(ctx, "--header and --no-header exclude each other");
    if (a->bulk && ctx->common.data == NULL)
        return cmd_usage(ctx, "--bulk writes files of a store and needs --data, with no server on "
                              "that directory");
    if (a->archive_log && ctx->common.data == NULL)
        return cmd_usage(ctx, "--archive-log is for a directory (--data); a server has "
                              "backup.archive_log");
    for (size_t i = 0; a->bulk && i < ARRAY_LEN(not_bulk); i++)
        if (cmd_given(ctx, not_bulk[i]))
            return cmd_usage(ctx,
                             "--bulk takes no --%s: it reads CSV of keys and values, all or "
                             "nothing",
                             not_bulk[i]);
    return CMD_OK;
}

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    const args *a = opaque;
    vv_error err = {0};
    if (argc == 0)
        return cmd_usage(ctx, "a FILE is needed; - is standard input");
    int bad = check_options(ctx, a);
    if (bad != CMD_OK)
        return bad;
    load *l = vv_calloc(1, sizeof *l);
    if (l == NULL)
        return cmd_fail(ctx, VV_NO_MEMORY, &(vv_error){.msg = "out of memory"});
    ctx->common.archive_log = a->archive_log;
    l->ctx = ctx;
    l->args = a;
    l->clock = vv_clock_real();
    l->begin_ns = l->shown_ns = vv_clock_mono(l->clock);
    l->bar = isatty(STDERR_FILENO) == 1;
    l->every_ns = a->quiet ? 0 : l->bar ? BAR_NS : PLAIN_NS;
    vv_status st = measure(l, argc, argv, &err);
    if (st == VV_OK)
        st = store_open(ctx, a->bulk ? "default" : "records", STORE_CREATE, &l->store, &err);
    int code = st != VV_OK ? cmd_fail(ctx, st, &err)
               : a->bulk   ? run_bulk(l, argc, argv)
                           : run_load(l, argc, argv);
    store_close(l->store);
    vv_free(l);
    return code;
}

const cmd_command cmd_import = {
    .name = "import",
    .summary = "load CSV files or JSON lines as records",
    .synopsis = "FILE...",
    .details =
        "Each line becomes a record; what is imported twice under the same id is stored once: a\n"
        "file that is imported again replaces its records. In CSV numbers, true and false become\n"
        "such values, empty cells are left out and everything else is text. A bad line stops the\n"
        "import with file, line and cause (exit code 1) after everything before it is durable. A\n"
        "record that the store refuses, for its size say, is told and the others go on; a refusal\n"
        "that is not the record's fault, a full disk say, stops the import at its line.\n"
        "A time is 2026-01-02T10:00:00Z, 2026-01-02 10:00:00 "
        "(UTC\n"
        "when no zone is given), 2026-01-02, 20260102 or a number.\n\n"
        "With --bulk the lines are keys and values in the order of the keys' bytes (LC_ALL=C "
        "sort),\n"
        "without a header unless --header is given; they go past the log into files and are "
        "visible all at once.\n\n"
        "  varve import --tenant home --schema sensors --id 'kitchen/{timestamp}' \\\n"
        "      --timestamp timestamp --timestamp-unit ms --set sensor=kitchen kitchen.csv\n",
    .with = CMD_WITH_STORE | CMD_WITH_TABLE,
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .args_size = sizeof(args),
    .run = run,
};
