/*
 * db_series_roll.h - inside of the job that makes rollups: what its stages share.
 *
 *   db_series_roll.c     what comes next: queue, pass, steps of tables
 *   db_series_repair.c   marks: which day is made again
 *   db_series_rows.c     a day of a series: samples --> rows --> one entry of the log
 */
#ifndef VARVE_DB_DB_SERIES_ROLL_H
#define VARVE_DB_DB_SERIES_ROLL_H

#include "db/db_series_rollup.h"

#define DB_ROLL_MARKS_A_STEP 256u

/* What a step works in; one for all tables, counted as VV_BUDGET_WORK by who has it. */
struct db_rollup_work {
    series_day minutes;
    series_day hours;
    series_rows rows;
    series_columns columns;
    codec_scratch *codec;
    vv_buf out;
};

/* One step. */
typedef struct db_roll_job {
    vv_db *db;
    db_series *series;
    vv_table *table;
    vv_table part; /* of the series at hand: where its keys lie */
    struct db_rollup_work *work;
    vv_snapshot *at;
    int64_t now_ns;
} db_roll_job;

/* ---- db_series_roll.c ---- */

/* Read a snapshot of now from here on. */
VV_MUST_CHECK vv_status db_roll_read_now(db_roll_job *j, vv_error *err);
/* The series that appends have, with a reference; j->part is its partition. VV_NOT_FOUND. */
VV_MUST_CHECK vv_status db_roll_load(db_roll_job *j, uint64_t id, db_series_entry **out,
                                     vv_error *err);
/* A cursor over a kind of keys of the whole table, at the first one from `from` on. */
VV_MUST_CHECK vv_status db_roll_open_at(db_roll_job *j, const uint8_t *prefix, size_t prefix_len,
                                        const uint8_t *from, size_t len, vv_cursor **out,
                                        vv_error *err);

/* ---- db_series_repair.c ---- */

/* Make the rows of the next day whose repair is due. VV_NOT_FOUND: of none now. */
VV_MUST_CHECK vv_status db_roll_repair(db_roll_job *j, vv_error *err);

/* ---- db_series_rows.c ---- */

struct db_rollup_work *db_roll_work_create(void);
void db_roll_work_destroy(struct db_rollup_work *w); /* accepts NULL */
/* Make the rows of a day up to `end`. rolled: what W becomes; INT64_MIN: it stays. VV_CONFLICT: the
 * day was marked anew meanwhile. */
VV_MUST_CHECK vv_status db_roll_day(db_roll_job *j, const db_series_entry *e, int64_t begin,
                                    int64_t end, int64_t rolled, vv_error *err);

#endif
