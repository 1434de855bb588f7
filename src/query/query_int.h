/*
 * query_int.h - shared inside src/query: compiled columns and filters, the chosen path, the sorter.
 *
 * A row is a record of a record table, or a message of a stream table: what differs is which
 * columns there are (query_message.c) and how rows are found (query_message_scan.c).
 */
#ifndef VARVE_QUERY_QUERY_INT_H
#define VARVE_QUERY_QUERY_INT_H

#include "query/query.h"

typedef enum column_kind {
    COLUMN_ID,
    COLUMN_TIMESTAMP,
    COLUMN_VERSION,
    COLUMN_METADATA,     /* step[0] is the key */
    COLUMN_METADATA_ALL, /* only in a projection */
    COLUMN_ALL,          /* "*", only in a projection */
    COLUMN_FIELD,
    /* Of messages alone; what they were received is their COLUMN_TIMESTAMP. */
    COLUMN_PARTITION,
    COLUMN_OFFSET,
    COLUMN_EVENT,
    COLUMN_KEY,
    COLUMN_SIZE,
    COLUMN_CONTENT_TYPE,
    COLUMN_SOURCE,
    COLUMN_ATTRIBUTE, /* step[1] is its name */
} column_kind;

static inline bool column_is_time(column_kind kind)
{
    return kind == COLUMN_TIMESTAMP || kind == COLUMN_EVENT;
}

/* What the rows of a table are. */
typedef enum row_kind { ROWS_RECORDS, ROWS_MESSAGES } row_kind;

typedef struct plan_source {
    row_kind rows;
    uint32_t partitions;
} plan_source;

/** VV_INVALID: the table holds neither. */
VV_MUST_CHECK vv_status plan_source_of(vv_table *table, plan_source *out, vv_error *err);

typedef struct column {
    column_kind kind;
    uint32_t step_count;
    vv_slice text;  /* as asked */
    vv_slice *step; /* the keys of a path a.b.c, at most STRUCT_DEPTH_MAX; of messages also of what
                       has a kind of its own: where it stands in the body */
} column;

#define MESSAGE_ID_MAX 40u /* "PARTITION/OFFSET" */

/* A message under the cursor. Its body, what a record has as its own, is made when it is asked for.
 */
typedef struct message_view {
    vv_message m;
    char id[MESSAGE_ID_MAX];
    vv_buf body; /* a serialized Struct */
    bool is_made;
    vv_budget *budget; /* counts a large one while it is there; may be NULL */
    uint64_t held;
} message_view;

/* A record or message under the cursor. */
typedef struct row_view {
    vv_slice key;
    int64_t version;
    vv_record record;      /* of a message its times alone */
    message_view *message; /* NULL: a record */
} row_view;

/** Compile a column name; unescaped keys are made in arena. VV_INVALID says what is wrong. */
VV_MUST_CHECK vv_status column_parse(vv_slice text, row_kind rows, vv_arena *arena, column *out,
                                     vv_error *err);
/** Split at unescaped dots into steps, dropping the backslashes, in bytes of their own. */
VV_MUST_CHECK vv_status column_split(vv_slice text, vv_arena *arena, column *out, vv_error *err);
VV_MUST_CHECK vv_status column_refuse(vv_slice text, vv_error *err, const char *why);

/* ---- messages (query_message.c) ----------------------------------------------------------------
 */

/** As column_parse, of what does not begin with '_' and is no "*". */
VV_MUST_CHECK vv_status message_column_parse(vv_slice text, vv_arena *arena, column *out,
                                             vv_error *err);
/** As column_read, of the kinds that records have not, and of fields. */
bool message_column_read(const column *c, message_view *view, struct_value *out);
void message_view_init(message_view *view, vv_budget *budget);
/** A serialized Struct of all that a message is. Empty, and body.status says why, without memory.
 */
vv_slice message_body(message_view *view);
/** For another message; also at the end. The memory of a small body is kept. */
void message_body_drop(message_view *view);
/** The failure that body.status is. */
vv_status message_body_fail(const message_view *view, vv_error *err);
void message_view_fini(message_view *view); /* accepts one that is all zero */
/** "PARTITION/OFFSET". False: text is none. */
bool message_id_parse(vv_slice text, uint32_t *partition, uint64_t *offset);

/** Its value in a record; false when it is missing (or lies in malformed bytes). */
bool column_read(const column *c, const row_view *row, struct_value *out);

typedef enum filter_op {
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IN,
    OP_CONTAINS,
} filter_op;

typedef struct filter {
    column column;
    filter_op op;
    struct_value value;
    const struct_value *set; /* OP_IN: sorted, without repeats */
    size_t set_count;
    bool has_time; /* of an attribute, which may be a time: what value is as one */
    struct_value time;
} filter;

VV_MUST_CHECK vv_status filter_compile(const query_filter *spec, row_kind rows, vv_arena *arena,
                                       filter *out, vv_error *err);
/** value NULL: the column is missing. */
bool filter_holds(const filter *f, const struct_value *value);
const char *filter_op_text(filter_op op);
/** The literal as people write it, cut to len. */
void filter_value_text(const filter *f, char *out, size_t len);

/* What a projection keeps. all: everything. */
typedef struct projection {
    bool all;
    bool metadata_all;
    const struct_keep *fields; /* NULL: none */
    const struct_keep *metadata;
} projection;

VV_MUST_CHECK vv_status projection_compile(const vv_slice *columns, size_t count, row_kind rows,
                                           vv_arena *arena, projection *out, vv_error *err);
/** Fill row from a view; what is cut is built in scratch, which it resets. */
VV_MUST_CHECK vv_status projection_apply(const projection *p, const row_view *view, vv_buf *scratch,
                                         query_row *row, vv_error *err);

/* How the records are found. */
typedef enum path_kind {
    PATH_EMPTY, /* the filters exclude each other */
    PATH_KEYS,  /* a few keys by name */
    PATH_RANGE, /* a range of keys, or all of them */
    PATH_TIME,  /* the time index */
    PATH_MESSAGES,
} path_kind;

/* Which messages there can be among the answers, by where they stand. */
typedef struct message_range {
    uint32_t partition; /* the first */
    uint32_t partition_end;
    uint64_t first; /* offsets of each */
    uint64_t end;
    int64_t event_ns; /* none before has this event time or a later one; INT64_MIN: unknown */
} message_range;

typedef struct path {
    path_kind kind;
    bool narrowed; /* the path excludes records: an index is used */
    bool ordered;  /* records come in the asked order: no sort */
    bool reverse;
    vv_slice lower; /* PATH_RANGE: [lower, upper); empty upper: no end */
    vv_slice upper;
    int64_t start_ns; /* PATH_TIME, and a check on every other path: [start, end) */
    int64_t end_ns;
    const struct_value *keys; /* PATH_KEYS: ascending strings */
    size_t key_count;
    message_range messages; /* PATH_MESSAGES */
} path;

/* A compiled ask. */
typedef struct plan {
    filter *filters;
    size_t filter_count;
    column *order;
    bool *descending;
    size_t order_count;
    projection projection;
    path path;
    int64_t version;
    uint64_t limit; /* UINT64_MAX: none */
    uint64_t offset;
} plan;

VV_MUST_CHECK vv_status plan_make(const query_ask *ask, const plan_source *source, vv_arena *arena,
                                  plan *out, vv_error *err);
/** The path of a plan over messages, whose filters and order are compiled; where the order is not
 * that of the messages, what tells equal ones apart is added to it: there is room for two more. */
void message_path_choose(plan *p, const plan_source *source);

size_t plan_explain(const plan *p, query_plan_step out[QUERY_PLAN_STEPS_MAX]);

/* The sorter: keeps the first `keep` rows in order (UINT64_MAX: all of them). */
typedef struct sorter sorter;
VV_MUST_CHECK vv_status sorter_create(const plan *p, uint64_t memory_limit, vv_budget *budget,
                                      sorter **out, vv_error *err);
void sorter_destroy(sorter *s);
/** Take a matching record; copies it. VV_BUSY names the limit. */
VV_MUST_CHECK vv_status sorter_add(sorter *s, const row_view *view, const query_row *row,
                                   vv_error *err);
void sorter_finish(sorter *s);
/** The next row in order; false at the end. Borrowed until sorter_destroy. */
bool sorter_next(sorter *s, query_row *out);
uint64_t sorter_memory_peak(const sorter *s);

/* The scan below a query and below an aggregate: matching records, in the order of the path. */
typedef struct scan {
    const plan *plan;
    query_env env;
    vv_cursor *cursor;
    size_t key_index; /* PATH_KEYS: the next key to look up */
    bool started;
    bool ended;
    vv_snapshot *own;                 /* PATH_MESSAGES: where the caller has none */
    vv_stream_cursor *message_cursor; /* of the partition; NULL: it is to be opened */
    uint32_t partition;
    message_view message;
    uint32_t countdown; /* records until the clock is looked at again */
    uint64_t work;      /* done so far, about in bytes */
    uint64_t pause_at;  /* the work after which scan_next pauses */
    query_stats stats;
} scan;

VV_MUST_CHECK vv_status scan_open(scan *s, const plan *p, const query_env *env, vv_error *err);
/** VV_NOT_FOUND at the end, and where it pauses: then s->ended is false. *out is borrowed until the
 * next call. */
VV_MUST_CHECK vv_status scan_next(scan *s, row_view *out, vv_error *err);
/** As scan_next, but VV_NOT_FOUND also when stop records were scanned in all; then s->ended is
 * false. */
VV_MUST_CHECK vv_status scan_next_bounded(scan *s, uint64_t stop, row_view *out, vv_error *err);
void scan_close(scan *s);

/* Of PATH_MESSAGES (query_message_scan.c). */
VV_MUST_CHECK vv_status message_scan_open(scan *s, vv_error *err);
void message_scan_close(scan *s);
/** The next message of the path into *out, of about *size bytes. VV_NOT_FOUND at the end. */
VV_MUST_CHECK vv_status message_scan_step(scan *s, row_view *out, size_t *size, vv_error *err);

#endif
