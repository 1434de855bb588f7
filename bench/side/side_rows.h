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

typedef struct side_group {
    const char *name;
    void (*run)(side_run *run);
    const char *what;
} side_group;

extern const side_group side_groups[];
extern const unsigned side_group_count;

#endif
