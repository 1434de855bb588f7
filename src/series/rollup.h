/*
 * rollup.h - what a series came to by minutes or by hours, a day of it at once; bytes in
 * docs/format/series-table.md.
 *
 * A row is the summary of the samples of one window, of the good ones where there are some. What is
 * joined of summaries says the same as the samples: counts, min, max, first and last exactly, sums
 * but for the order of additions (at most n * 2^-53 of the sum of the absolute values, n samples).
 */
#ifndef VARVE_SERIES_ROLLUP_H
#define VARVE_SERIES_ROLLUP_H

#include "series/chunk.h"

#define SERIES_TIERS 2u /* minutes, hours: frozen */
#define SERIES_DAY (INT64_C(86400) * 1000000000)
#define SERIES_DAY_ROWS 1440u /* of minutes */

/* Nanoseconds of a tier's windows. */
extern const int64_t series_tier_span[SERIES_TIERS];

/* Rows of a day, at the place of their window: count 0 where there is none. */
typedef struct series_day {
    unsigned tier;
    series_type type;
    int64_t begin; /* a multiple of SERIES_DAY */
    series_summary row[SERIES_DAY_ROWS];
} series_day;

static inline unsigned series_day_rows(unsigned tier)
{
    return (unsigned)(SERIES_DAY / series_tier_span[tier]);
}

/** No rows. */
void series_day_clear(series_day *d, unsigned tier, series_type type, int64_t begin);
/** Samples of the day, sorted. */
void series_day_add(series_day *d, const series_samples *in);
/** A chunk that lies in the day: its summary where it lies in one window, else its samples. */
VV_MUST_CHECK vv_status series_day_chunk(series_day *d, vv_slice chunk, const series_head *head,
                                         series_columns *work, vv_error *err);
/** The rows of a finer tier, of the same day, as those of this one. */
void series_day_join(series_day *d, const series_day *finer);
/** Samples in all rows, and rows. */
void series_day_count(const series_day *d, uint64_t *samples, uint32_t *rows);

/* Rows one after the other, as they are read. */
typedef struct series_rows {
    series_type type;
    bool is_raw; /* they were not kept: the samples tell as much */
    uint32_t count;
    int64_t slot[SERIES_DAY_ROWS]; /* number of the window in the day, ascending */
    series_summary row[SERIES_DAY_ROWS];
} series_rows;

/** Append the rows of a day. Latches out->status. s is not NULL. */
void series_day_encode(const series_day *d, codec_scratch *s, vv_buf *out);
/** Append the mark that they were not kept. */
void series_day_encode_raw(const series_day *d, vv_buf *out);
/** begin: of the day, from which the times are told. VV_CORRUPT. */
VV_MUST_CHECK vv_status series_rows_decode(vv_slice bytes, unsigned tier, int64_t begin,
                                           series_rows *out, vv_error *err);

/** Samples of two stretches become one; `next` lies behind. */
void series_summary_join(series_summary *s, const series_summary *next);

#endif
