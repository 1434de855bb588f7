/*
 * db_series_query.h - inside of a query: what its stages share.
 *
 *   series, in the order of labels --> samples in the range, chunk by chunk --> blocks   (raw)
 *                                              |
 *                                   windows: points --fill--> --reduce--> blocks
 *                                              |
 *                                  group: points of many series --> points of one
 */
#ifndef VARVE_DB_DB_SERIES_QUERY_H
#define VARVE_DB_DB_SERIES_QUERY_H

#include "db/db_series_int.h"
#include "series/points.h"
#include "series/rollup.h"

/* Cursors over rows and marks of one partition. */
typedef struct db_series_tier_at {
    vv_cursor *rows;
    vv_cursor *marks;
} db_series_tier_at;

struct vv_series_cursor {
    vv_table table; /* a reference of its own */
    db_series *series;
    vv_snapshot *own; /* NULL: the caller's is read */
    const vv_snapshot *at;
    vv_series_query q;   /* without what it borrows */
    vv_arena names;      /* of group_by */
    int64_t now_ns;      /* at the moment that is read */
    int64_t range_first; /* the range begins here, clipped to the longest retention */
    int64_t first;       /* of the series being read: both ends inside, first behind last: empty */
    int64_t last;
    bool is_empty;
    uint64_t samples_left;
    db_series_set set;
    size_t next;                  /* series to begin with */
    const db_series_entry *entry; /* the one being read; NULL: none */
    db_series_reader reader;
    db_series_piece piece; /* found and not yet taken */
    bool has_piece;
    bool has_given; /* a block of the series being read */
    series_columns columns;
    series_columns decoded; /* chunks that windows look into */
    int64_t *wide;          /* bools as int64 */
    vv_label labels[VV_LABELS_MAX];
    size_t label_count;
    series_points points; /* of the series or group being given */
    size_t given;         /* of them */
    bool has_null;        /* one of them is */
    series_points single; /* of a series of a group */
    bool has_points;
    uint32_t *quality; /* [points.count] of samples that are points; else not looked at */
    uint32_t quality_cap;
    bool has_quality; /* one of them is not good */
    uint64_t memory;  /* reserved of the budget */
    uint64_t chunks_decoded;
    uint64_t chunks_summed; /* that answered by their summaries */
    uint64_t held;          /* likewise: db_series_query_hold */
    uint32_t shown;         /* samples of columns that were given: texts are given in parts */
    bool has_ended;         /* nothing of the series lies behind columns */
    /* Of rollups: db_series_tier.c. */
    bool has_tier; /* rows of `tier` may answer */
    unsigned tier;
    int64_t tier_first;         /* of the series being read they are kept from here on */
    int64_t raw_first;          /* samples are */
    db_series_tier_at *tier_at; /* [partition_count]; NULL until a series needs it */
    vv_cursor *rows_at;         /* those of the series' partition */
    vv_cursor *marks_at;
    series_rows *rows;
    uint64_t days_read; /* from rows */
};

/* Count what the query is about to hold: its points, those of w (NULL: no windows) and a chunk
 * more. VV_BUSY where memory_limit has no room for them. */
VV_MUST_CHECK vv_status db_series_query_hold(vv_series_cursor *c, const series_window *w,
                                             vv_error *err);
/* Before each piece and each day of rows: VV_CLOSED when nobody wants the answer any more. */
VV_MUST_CHECK vv_status db_series_query_go_on(const vv_series_cursor *c, vv_error *err);
/* Leave out what is not good of columns from an index on. */
void db_series_keep_good(series_columns *c, uint32_t from);
/* Begin with a series: c->entry, and what of the range lies in its retention. */
void db_series_query_enter(vv_series_cursor *c, const db_series_entry *e);
/* Labels of an entry into c->labels. */
void db_series_query_labels(vv_series_cursor *c, vv_slice canonical);

/* ---- db_series_window.c ---- */

/* VV_INVALID for a query that asks for what cannot be. */
VV_MUST_CHECK vv_status db_series_window_check(const vv_series_query *q, vv_error *err);
/* The points of the next series or group that has some: in c->points, with its labels. VV_NOT_FOUND
 * behind the last. */
VV_MUST_CHECK vv_status db_series_window_next(vv_series_cursor *c, vv_error *err);
/* Samples from first to last, those that are kept, to the windows of c->entry. */
VV_MUST_CHECK vv_status db_series_read_raw(vv_series_cursor *c, series_window *w, int64_t first,
                                           int64_t last, vv_error *err);
/* Order the series so that those of a group are neighbours. */
void db_series_group_sort(vv_series_cursor *c);

/* ---- db_series_tier.c ---- */

/* Can rows answer the query, and which? */
void db_series_tier_choose(vv_series_cursor *c);
void db_series_tier_close(vv_series_cursor *c);
/* As db_series_read_raw of the whole range, by rows where there are some. */
VV_MUST_CHECK vv_status db_series_tier_read(vv_series_cursor *c, series_window *w, vv_error *err);

#endif
