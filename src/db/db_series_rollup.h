/*
 * db_series_rollup.h - rollups of a series: which there are, when they are true, who writes what.
 *
 *   times   ------------- rolled up -------------|W        |claim
 *   days    [rows][rows][none][rows, marked][rows]   raw    [   raw, appends write no marks
 *
 * Below W ('W') each day that has samples has rows of its minutes and hours ('R'), written by the
 * job a day at a time; a day without rows has no samples. What is written below the claim of a
 * series (db_series_entry.rolled, at W or above it) marks its days ('U') in the same entry of the
 * log, and a marked day is read from samples until the job has made its rows again. So rows are
 * true at every version at which their day has no mark.
 *
 * Why this holds while appends and the job run side by side:
 *   - the job raises the claim first, waits for the appends that were planned before (two counts,
 *     taken in turns), and reads a snapshot after that: what the snapshot does not have writes a
 *     mark;
 *   - it takes a mark away only on the condition that nobody wrote it anew since the snapshot;
 *   - rows, W and the removal of the mark are one entry: a crash has all or nothing of them;
 *   - deletions and steps of the job exclude each other. A deletion removes the rows of whole days
 *     and marks the days at its ends.
 *
 * Where samples have expired, rows of the tiers may stay for longer (rollup_retention_ns). They
 * cannot be made again, so making rows of a day again keeps those of windows that begin before.
 */
#ifndef VARVE_DB_DB_SERIES_ROLLUP_H
#define VARVE_DB_DB_SERIES_ROLLUP_H

#include "db/db_series_int.h"
#include "series/rollup.h"

#define DB_SERIES_DAY_CLASS 6u /* buckets of a day: their numbers are those of days */
#define DB_SERIES_ROWS_KEY 18u
#define DB_SERIES_DIRTY_KEY 17u
/* Days that lie wholly in the range of times. Others are not rolled up. */
#define DB_SERIES_ROLL_MIN (INT64_MIN / SERIES_DAY * SERIES_DAY)
#define DB_SERIES_ROLL_MAX (INT64_MAX / SERIES_DAY * SERIES_DAY)

typedef struct db_series_slot db_series_slot;

size_t db_series_rows_key(unsigned tier, uint64_t id, int64_t day, uint8_t out[DB_SERIES_ROWS_KEY]);
size_t db_series_dirty_key(uint64_t id, int64_t day, uint8_t out[DB_SERIES_DIRTY_KEY]);
int64_t db_series_day(int64_t t);
/* t, or the lowest multiple of step above it; the highest there is where none is. */
int64_t db_series_round_up(int64_t t, int64_t step);
/* t, or the highest multiple of step below it; the lowest there is where none is. */
int64_t db_series_round_down(int64_t t, int64_t step);

/* W of a series; INT64_MIN: nothing is rolled up. table: the partition that has the series. */
VV_MUST_CHECK vv_status db_series_rolled_get(vv_table *table, const vv_snapshot *at, uint64_t id,
                                             int64_t *out, vv_error *err);
/* The same into a new entry. */
VV_MUST_CHECK vv_status db_series_rolled_read(vv_table *table, const vv_snapshot *at,
                                              db_series_entry *e, vv_error *err);
/* Up to where a series may be rolled up whose newest sample is this, and whose samples are kept for
 * keep_ns. now_ns INT64_MIN: by the samples alone. */
int64_t db_series_roll_bound(const cat_table *cat, int64_t keep_ns, int64_t newest, int64_t now_ns);

/* ---- appends ---- */

/* Samples from `first` on are about to be written. */
void db_series_rollup_plan(db_series *s, const cat_table *cat, db_series_slot *slot, int64_t first)
    VV_REQUIRES(s->lock);
/* Of samples that begin below the claim, those of the first day: up to *to. They are to be written
 * and their day is marked, unless all of them are in the store as they are. */
VV_MUST_CHECK vv_status db_series_rollup_mark(vv_samples *s, db_series_slot *slot,
                                              const series_samples *in, uint32_t from, uint32_t *to,
                                              bool *is_repeat, vv_error *err);
void db_series_rollup_done(db_series *s, db_series_slot *slot, bool is_written)
    VV_REQUIRES(s->lock);
void db_series_roll_queue(db_series *s, db_series_entry *e) VV_REQUIRES(s->lock);

/* ---- deletions ---- */

/* Between the two no step of the job runs. */
void db_series_erase_begin(db_series *s);
void db_series_erase_end(db_series *s, bool has_marks);
/* What a deletion of [first, last] does to the rollups of a series of a partition. */
VV_MUST_CHECK vv_status db_series_rollup_erase(vv_batch *batch, vv_table *table,
                                               const db_series_entry *e, int64_t first,
                                               int64_t last, vv_error *err);
/* All of them. */
VV_MUST_CHECK vv_status db_series_rollup_drop(vv_batch *batch, vv_table *table, uint64_t id,
                                              vv_error *err);

#endif
