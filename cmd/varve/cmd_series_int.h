/*
 * cmd_series_int.h - shared by the files of `varve series`: the command's arguments, and its verbs
 * that read or write CSV.
 */
#ifndef VARVE_CMD_VARVE_CMD_SERIES_INT_H
#define VARVE_CMD_VARVE_CMD_SERIES_INT_H

#include "out.h"
#include "store.h"

typedef struct series_args {
    cmd_list match;
    const char *from;
    const char *to;
    const char *agg;
    const char *across;
    const char *fill;
    const char *percentile;
    const char *name;
    const char *type;
    const char *durability;
    cmd_list by;
    int64_t step_ns;
    uint64_t points;
    bool all_quality;
} series_args;

typedef struct series_job {
    cmd_ctx *ctx;
    const series_args *args;
    store *store;
    vv_matcher matchers[CMD_LIST_MAX];
    store_match match;
    int64_t from;
    int64_t to;
    double percentile;
    vv_sample_type type; /* of append */
    out_writer out;
} series_job;

#define SERIES_TYPES "float64|int64|bool|string"
#define SERIES_TYPE_COLUMN "__value_type__" /* of CSV: one of them */

/** The place of a word among those of a choice "a|b|c", from 0. */
int series_place_of(const char *word, const char *choice);
/** LABEL=VALUE, or with another sign; out borrows the text. False: it is none. */
bool series_parse_matcher(const char *text, vv_matcher *out);
/** A date, or a number as time_text_parse_any reads it. */
bool series_parse_time(vv_slice text, int64_t *out);
bool series_parse_number(vv_slice text, double *out);
/** As SERIES_TYPES have it. */
const char *series_type_name(vv_sample_type type);
/** The value of a sample, of any type. */
out_cell series_value_cell(const vv_sample *s);
/** The sample at a place of a block; whether it has a value. */
bool series_sample_at(const vv_series_block *block, size_t at, vv_sample *out);

/* ---- series_csv.c ---- */

/** CSV in: `time` and `value`, perhaps `quality` and SERIES_TYPE_COLUMN, every other column a
 * label. Prints what became of it, also on failure. *refused: samples that the table did not take.
 */
VV_MUST_CHECK vv_status series_append(series_job *j, const char *path, uint64_t *refused,
                                      vv_error *err);
/** The samples of a range, of any quality, in the form that append reads. */
VV_MUST_CHECK vv_status series_export(series_job *j, vv_error *err);

#endif
