/*
 * db_series_match.h - matchers, and the ids of the series that they let through.
 *
 *   matchers --postings--> ids, and which matchers the postings have decided
 *                           '--labels of each, for the matchers that are left--> series
 */
#ifndef VARVE_DB_DB_SERIES_MATCH_H
#define VARVE_DB_DB_SERIES_MATCH_H

#include "base/arena.h"
#include "base/re.h"
#include "db/db_series_ids.h"
#include "db/db_series_int.h"

/* ---- db_series_postings.c: a walk over the postings of a label, by value, then by id ---- */

typedef struct db_postings {
    vv_cursor *at;
    size_t head; /* bytes of key before the value */
    size_t value_len;
    uint64_t id;
    bool is_new;                    /* the first of its value */
    uint8_t key[DB_SERIES_KEY_MAX]; /* up to the id */
} db_postings;

static inline vv_slice db_postings_value(const db_postings *p)
{
    return vv_slice_of(p->key + p->head, p->value_len);
}

/* Begin at the first posting whose value has this prefix (or, is_whole, is it) and stay among them.
 * VV_NOT_FOUND: there is none. Closed with the end of the walk in any case. */
VV_MUST_CHECK vv_status db_postings_open(db_postings *p, vv_table *table, const vv_snapshot *at,
                                         vv_slice name, vv_slice prefix, bool is_whole,
                                         vv_error *err);
void db_postings_close(db_postings *p);
/* The next posting; the first one of the next value. VV_NOT_FOUND behind the last. */
VV_MUST_CHECK vv_status db_postings_next(db_postings *p, vv_error *err);
VV_MUST_CHECK vv_status db_postings_skip(db_postings *p, vv_error *err);
/* The names of labels that there are, in order. A nonzero return of each ends the walk. */
VV_MUST_CHECK vv_status db_postings_names(vv_table *table, int (*each)(void *ctx, vv_slice name),
                                          void *ctx, vv_error *err);

/* ---- db_series_match.c ---- */

typedef struct db_match {
    vv_matcher m;
    vv_regex *regex;   /* NULL where it has none */
    uint8_t *literals; /* the expression is a choice of these; NULL where it is not */
    size_t literal_count;
    bool fits_empty; /* a series without the label fits */
    bool is_done;    /* every id of the selection fits it */
} db_match;

typedef struct db_selection {
    vv_table *table;
    const vv_snapshot *at;
    db_match *match; /* [count] */
    size_t count;
    uint64_t steps; /* of regular expressions that are left */
    db_ids ids;
} db_selection;

/* Borrows the matchers. VV_INVALID says what is wrong with one. Ends with db_selection_fini in any
 * case. */
VV_MUST_CHECK vv_status db_selection_init(db_selection *sel, vv_table *table, const vv_snapshot *at,
                                          const vv_matcher *matchers, size_t count, vv_error *err);
void db_selection_fini(db_selection *sel);
/* The ids that come into question. */
VV_MUST_CHECK vv_status db_selection_find(db_selection *sel, vv_error *err);
bool db_selection_is_done(const db_selection *sel);
/* Do the labels of one of them fit what is not done? */
VV_MUST_CHECK vv_status db_selection_fits(db_selection *sel, vv_slice canonical, bool *out,
                                          vv_error *err);

/* ---- db_series_literals.c ---- */

/* The texts that an expression is a choice of, none of them empty, each with a zero behind it: into
 * out, [pattern.len + 1]. Returns their number; 0: it is something else. */
size_t db_match_literals(vv_slice pattern, uint8_t *out);

/* ---- db_series_listing.c: series by name, without what a query or an append needs of them ---- */

typedef struct db_listed {
    uint64_t id;
    int64_t created_ns;
    const uint8_t *text; /* [len] name 0 value 0 of each label: in the order of labels by bytes */
    uint32_t len;
    vv_sample_type type;
} db_listed;

typedef struct db_listing {
    vv_budget *budget;
    vv_arena texts;
    db_listed *series; /* [count] in the order of their labels */
    size_t count;
    size_t cap;
    uint64_t bytes; /* counted */
} db_listing;

/* Empty. */
void db_listing_init(db_listing *list, const vv_table *table);
/* The series of what was found that fit. VV_BUSY: they are more than max, or pass memory_limit.
 * Ends with db_listing_fini in any case. */
VV_MUST_CHECK vv_status db_listing_make(db_listing *list, db_series *s, db_selection *sel,
                                        uint64_t max, vv_error *err);
void db_listing_fini(db_listing *list);
/* Labels into out; info borrows both. */
void db_listed_info(const db_listed *one, vv_label out[VV_LABELS_MAX], vv_series_info *info);

/* The record of a series: its labels replace what is in *canonical. VV_NOT_FOUND: it was dropped.
 * out has no text. */
VV_MUST_CHECK vv_status db_series_read_labels(db_series *s, vv_table *table, uint64_t id,
                                              vv_buf *canonical, db_listed *out, vv_error *err);

#endif
