/*
 * query.h - the door: what is asked of a record table or of the messages of a stream table, and a
 * pull iterator of the answers.
 *
 *   query_request_parse(wire bytes) -> query_ask --+
 *                                                  +--> query_open -> query_next ... -> query_close
 *   query_env (table, snapshot, limits) -----------+
 *
 * The semantics of columns, operators, order and paging stand in docs/query.md. A query reads one
 * snapshot from its first record to its last. Everything an ask points to is borrowed until
 * query_close. A query belongs to one thread at a time; it may move between threads.
 */
#ifndef VARVE_QUERY_QUERY_H
#define VARVE_QUERY_QUERY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/budget.h"
#include "base/buf.h"
#include "base/clock.h"
#include "query/struct_view.h"
#include "varve/varve.h"

#define QUERY_FILTERS_MAX 64u
#define QUERY_ORDER_MAX 16u
#define QUERY_PROJECTION_MAX 256u
#define QUERY_GROUP_MAX 16u
#define QUERY_AGGREGATES_MAX 64u
#define QUERY_NO_LIMIT INT64_MAX

typedef struct query_filter {
    vv_slice column;
    vv_slice op;    /* "=", "eq", ... */
    vv_slice value; /* a serialized google.protobuf.Value */
} query_filter;

typedef struct query_order {
    vv_slice column;
    bool descending;
} query_order;

typedef struct query_aggregate {
    vv_slice function; /* count, sum, avg, min, max */
    vv_slice column;   /* may be empty for count: all records */
    vv_slice alias;    /* empty: function(column) */
} query_aggregate;

/* What is asked. Zero-filled it asks for every record of the table. */
typedef struct query_ask {
    vv_slice tenant;             /* empty: "default" */
    vv_slice table;              /* empty: "records" */
    const query_filter *filters; /* all must hold */
    size_t filter_count;
    const vv_slice *projection; /* columns; none: all */
    size_t projection_count;
    const query_order *order;
    size_t order_count;
    int64_t limit; /* 0: the caller's default; QUERY_NO_LIMIT: all */
    int64_t offset;
    bool has_start; /* timestamp >= start_ns */
    bool has_end;   /* timestamp < end_ns */
    int64_t start_ns;
    int64_t end_ns;
    int64_t version;                   /* read as of it; 0: now */
    int64_t page_bytes;                /* of a whole answer; 0: the caller's default */
    const query_aggregate *aggregates; /* of query_aggregate_run */
    size_t aggregate_count;
    const vv_slice *group_by;
    size_t group_count;
    const query_filter *having; /* columns are aliases and group_by columns */
    size_t having_count;
} query_ask;

/** Read a serialized storage.QueryRequest. Borrows bytes; lists are made in arena. VV_INVALID names
 * the field that is wrong. */
VV_MUST_CHECK vv_status query_request_parse(vv_slice bytes, vv_arena *arena, query_ask *out,
                                            vv_error *err);
/** The same for a storage.AggregateRequest. */
VV_MUST_CHECK vv_status query_aggregate_parse(vv_slice bytes, vv_arena *arena, query_ask *out,
                                              vv_error *err);

/** Append a serialized storage.QueryRequest that asks the same. Failures latch in out. */
void query_request_put(vv_buf *out, const query_ask *ask);
/** The same as a storage.AggregateRequest. */
void query_aggregate_put(vv_buf *out, const query_ask *ask);

/** How far a query may go, and when it must stop. */
typedef struct query_env {
    vv_table *table;              /* of kind VV_TABLE_RECORD or VV_TABLE_STREAM; borrowed */
    const vv_snapshot *snapshot;  /* NULL: one of its own, made by query_open */
    uint64_t memory_limit;        /* bytes order_by or group_by may hold; 0: 64 MiB */
    vv_budget *budget;            /* counts the same bytes; may be NULL */
    vv_clock *clock;              /* never NULL */
    int64_t deadline_ns;          /* monotonic; INT64_MAX: none */
    bool (*cancelled)(void *ctx); /* looked at now and then; may be NULL */
    void *ctx;
} query_env;

/* One record. Borrowed until the next call on the query. */
typedef struct query_row {
    vv_slice key;
    int64_t version;
    int64_t timestamp_ns;
    uint32_t schema_version;
    vv_slice metadata; /* encoded pairs, as vv_record; projected */
    vv_slice body;     /* a serialized Struct; projected */
} query_row;

typedef struct query_stats {
    uint64_t scanned_rows;  /* records looked at */
    uint64_t filtered_rows; /* of those, refused by a filter */
    uint64_t matched_rows;
    uint64_t returned_rows;
    uint64_t scanned_bytes; /* keys and values of the scanned */
    uint64_t memory_peak;   /* held for order_by or group_by */
    int64_t planning_ns;
    int64_t execution_ns; /* inside query_next */
    const char *index;    /* "time", "primary" or "": how records were found */
} query_stats;

typedef struct query query;

/**
 * Check the ask, choose how to find the records, open the cursor.
 *
 * @return VV_INVALID names the column, operator or value that is wrong, or a table that holds
 *         neither records nor messages; VV_UNSUPPORTED when ask->version is no longer kept, or is
 *         asked of messages. Gives *out: query_close.
 */
VV_MUST_CHECK vv_status query_open(const query_ask *ask, const query_env *env, query **out,
                                   vv_error *err);

/**
 * The next record, in the asked order. With order_by the first call scans everything.
 *
 * @return VV_NOT_FOUND at the end; VV_BUSY when order_by needs more than the memory limit;
 *         VV_TIMEOUT past the deadline; VV_CLOSED when cancelled.
 */
VV_MUST_CHECK vv_status query_next(query *q, query_row *out, vv_error *err);

/**
 * Let the thread of a long query do other things in between: after about this many bytes of records
 * (small ones count for more) query_next answers VV_NOT_FOUND and query_is_paused tells that it is
 * not the end. The next query_begin_turn goes on. Without it a query never pauses.
 */
void query_begin_turn(query *q, uint64_t bytes);
bool query_is_paused(const query *q);

/**
 * After VV_NOT_FOUND: whether limit, not the end of the data, ended the query. false is certain.
 * Without order_by it looks at up to 10,000 further records for one that matches, and answers true
 * when it found one or did not reach the end.
 */
VV_MUST_CHECK vv_status query_has_more(query *q, bool *out, vv_error *err);
void query_stats_read(const query *q, query_stats *out);
void query_close(query *q); /* accepts NULL */

/* One step of the plan, for people and for ExplainQuery. */
typedef struct query_plan_step {
    const char *node; /* "TimeIndexScan", "Filter", ... */
    char description[400];
} query_plan_step;

#define QUERY_PLAN_STEPS_MAX 8

/** The steps from the last (what gives the answer) to the first (what reads). Returns how many. */
size_t query_explain(const query *q, query_plan_step out[QUERY_PLAN_STEPS_MAX]);

/**
 * Run an aggregate: scan, group, compute. Calls each() for each group that having lets through, in
 * the order of the group values; a nonzero return ends it. Values: group_count of the group, then
 * aggregate_count. An aggregate over no value is null (count: 0).
 *
 * @return as query_next; VV_BUSY when groups need more than the memory limit.
 */
VV_MUST_CHECK vv_status query_aggregate_run(const query_ask *ask, const query_env *env,
                                            int (*each)(void *ctx, const struct_value *values),
                                            void *ctx, query_stats *stats, vv_error *err);

/** The name an aggregate answers under: its alias, or "avg(column)" in buf. */
vv_slice query_aggregate_name(const query_aggregate *a, char *buf, size_t buf_len);

/* ---- records as wire bytes ------------------------------------------------------------------ */

/** Turn a stored record into a row, projected: for reads that are no queries. columns as in
 * query_ask.projection; scratch is reset and holds what the projection makes. */
VV_MUST_CHECK vv_status query_row_read(vv_slice key, vv_slice stored, int64_t version,
                                       const vv_slice *columns, size_t column_count,
                                       vv_arena *arena, vv_buf *scratch, query_row *out,
                                       vv_error *err);

/** Append a storage.DataRecord (its fields only, no tag); data is copied as it is stored. */
void query_row_put(vv_buf *out, vv_slice tenant, vv_slice table, const query_row *row);

/** Append a storage.QueryStats. */
void query_stats_put(vv_buf *out, const query_stats *stats);

#endif
