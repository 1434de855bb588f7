/*
 * side_rows.h - the rows: what is done to an engine, timed and checked.
 */
#ifndef VARVE_BENCH_SIDE_ROWS_H
#define VARVE_BENCH_SIDE_ROWS_H

#include "base/hist.h"
#include "side.h"
#include "side_data.h"
#include "side_meter.h"

typedef struct side_run {
    side_setup setup;
    const char *suffix; /* of row names: " 4K" */
    double row_s;       /* a row of reads or of synced commits */
    double cap_s;       /* a row of writes ends here, done or not */
    side_data data;
    side_db *db;
    vv_hist hist;
    _Atomic uint64_t checked; /* answers compared with what they had to be */
} side_run;

/* What one thread does in a row. */
typedef struct side_worker {
    side_run *run;
    side_pass *pass;
    unsigned index;
    unsigned items; /* of a seek */
    bool held;      /* a seek may keep its view */
    bool absent;    /* gets of keys that were never written */
    int64_t until_ns;
    _Atomic bool *stop; /* may be NULL */
    uint64_t ops;
    vv_hist hist;
} side_worker;

#define SIDE_SETTLE_LIMIT_S 120.0

/* The next pass over the keys; ends the program when there are too many. */
side_pass *side_begin_pass(side_run *run, side_pass_kind kind, uint64_t span, bool ordered);
/* One thread works through w->pass up to index limit, `batch` indexes a commit, until time is up.
 */
void side_write_all(side_worker *w, uint64_t batch, uint64_t limit);
/* whole: the rows after this one need all of the pass, however long it takes. */
void side_write_row(side_run *run, const char *name, side_pass *pass, uint64_t batch,
                    uint64_t limit, bool whole);
void side_sync_row(side_run *run, const char *name, unsigned threads);

/* The work of a thread of side_read_row; arg is a side_worker. */
void side_get_worker(void *arg);
void side_seek_worker(void *arg);
void side_read_row(side_run *run, const char *name, unsigned threads, side_worker like,
                   void (*fn)(void *arg));
/* Scans of the whole store until the time is over. Lengths and ends of values are checked within
 * the time, every byte in a scan before it. */
void side_scan_row(side_run *run, const char *name);
/* Two rows: "readwhilewriting" and its "+writer". */
void side_beside_row(side_run *run);
/* The whole store against what it must hold; the number of its keys. */
uint64_t side_scan_all(side_run *run, side_depth depth);
void side_warm(side_run *run);
/* What making keys and values, checking them and taking the time costs with no engine at all. */
void side_cost_row(side_run *run);

typedef struct side_group {
    const char *name;
    void (*run)(side_run *run);
    const char *what;
} side_group;

/* side_groups.c */
extern const side_group side_groups[];
extern const unsigned side_group_count;

#endif
