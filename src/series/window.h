/*
 * window.h - aggregates of one series by windows of time.
 *
 * Samples come in the order of time, whole chunks or columns; points go out, one for each window
 * that has something to say. Windows are half-open, [start, end), and begin at multiples of step
 * from the epoch plus offset, also before 1970. A window that covers a chunk takes its summary.
 *
 * Of quality: bad and uncertain samples are passed over unless all_quality says otherwise; percent
 * good counts all. NaN is a value: sums, averages and deviations become NaN, min, max and
 * percentile pass it over unless there is nothing else.
 *
 * What lies before `start` and behind `end` may be given, too: the last sample before and the first
 * behind are what increase, rate and the averages over time lean on at the edges.
 */
#ifndef VARVE_SERIES_WINDOW_H
#define VARVE_SERIES_WINDOW_H

#include "series/chunk.h"

typedef enum series_aggregate { /* in the order of the public enum */
                                SERIES_AGG_NONE,
                                SERIES_AGG_COUNT,
                                SERIES_AGG_SUM,
                                SERIES_AGG_AVG,
                                SERIES_AGG_MIN,
                                SERIES_AGG_MAX,
                                SERIES_AGG_FIRST,
                                SERIES_AGG_LAST,
                                SERIES_AGG_STDDEV,   /* of the whole population; about the mean,
                                                        stable */
                                SERIES_AGG_RANGE,    /* max - min */
                                SERIES_AGG_RATE,     /* increase a second; no point for a lone first
                                                        sample */
                                SERIES_AGG_INCREASE, /* of a counter, from the sample before the
                                                        window on; a fall is a reset */
                                SERIES_AGG_TIME_AVG_STEP,   /* each value holds until the next */
                                SERIES_AGG_TIME_AVG_LINEAR, /* straight lines between values */
                                SERIES_AGG_PERCENTILE, /* exact, with a straight line between ranks
                                                        */
                                SERIES_AGG_PERCENT_GOOD, /* of all samples, 0..100 */
} series_aggregate;

typedef struct series_window_options {
    series_aggregate aggregate;
    double percentile;  /* 0..100 */
    int64_t start, end; /* [start, end) */
    int64_t step;       /* 0: one window from start to end */
    int64_t offset;
    bool all_quality;
    bool without_summaries; /* decode every chunk */
} series_window_options;

/* Points in the order of time. */
typedef struct series_points {
    uint32_t count;
    uint32_t cap;
    int64_t *time; /* where the window begins by its grid: the first may lie before start */
    double *value;
    uint8_t *is_null; /* value means nothing */
} series_points;

void series_points_init(series_points *p);
void series_points_fini(series_points *p);
static inline void series_points_clear(series_points *p)
{
    p->count = 0;
}
VV_MUST_CHECK vv_status series_points_add(series_points *p, int64_t time, double value,
                                          bool is_null, vv_error *err);

/* The samples of the window so far. */
typedef struct series_tally {
    uint64_t count;
    uint64_t good;     /* that count */
    int64_t from_time; /* where increase and the averages over time begin */
    int64_t last_time;
    double first, last, min, max, sum;
    double mean, m2; /* of the squared distances from the mean */
    double increase;
    double area;    /* value times ns */
    double covered; /* ns that the area stands over */
} series_tally;

typedef struct series_window_stats {
    uint64_t chunks_summed;
    uint64_t chunks_decoded;
    uint64_t samples; /* that were looked at one by one */
} series_window_stats;

typedef struct series_window {
    series_window_options opt;
    series_points *out; /* borrowed */
    bool is_open;
    int64_t begin, end; /* of the window being filled, by the grid, cut at the ends of int64 */
    series_tally tally;
    bool has_previous; /* the last sample that counts, in whatever window */
    int64_t previous_time;
    double previous;
    double *value; /* of the percentile */
    uint32_t value_count;
    uint32_t value_cap;
    series_columns columns;
    series_window_stats stats;
} series_window;

/** Can this aggregate be asked of this type? Strings are counted alone. */
bool series_aggregate_takes(series_aggregate aggregate, series_type type);
/** VV_INVALID: no such aggregate, a percentile outside 0..100, a step below 0, end before start. */
VV_MUST_CHECK vv_status series_window_check(const series_window_options *opt, vv_error *err);

/** Points are appended to out, borrowed until fini. The options were checked. */
void series_window_init(series_window *w, const series_window_options *opt, series_points *out);
void series_window_fini(series_window *w);
/** Begin with another series; the points stay. */
void series_window_restart(series_window *w);
/** The next samples, sorted and behind all that came before. VV_NO_MEMORY, VV_INVALID. */
VV_MUST_CHECK vv_status series_window_add(series_window *w, const series_samples *in,
                                          vv_error *err);
/** The next chunk: by its summary where that is all one window needs, else decoded. */
VV_MUST_CHECK vv_status series_window_chunk(series_window *w, vv_slice chunk, vv_error *err);
/** A summary of samples that all lie in one window, as a rollup has it: where
 * series_window_takes_summary says so. */
VV_MUST_CHECK vv_status series_window_summary(series_window *w, const series_summary *s,
                                              vv_error *err);
/** Would a summary of samples with these times do? */
bool series_window_takes_summary(const series_window *w, int64_t first_time, int64_t last_time);
/** The chunks of a settled set, in turn; those that end before `from` are passed over. */
VV_MUST_CHECK vv_status series_window_set(series_window *w, vv_slice set, int64_t from,
                                          vv_error *err);
/** The last window. */
VV_MUST_CHECK vv_status series_window_finish(series_window *w, vv_error *err);

/** Where the window that t lies in begins, and its end; cut at the ends of int64. */
void series_window_of(int64_t t, int64_t step, int64_t offset, int64_t *begin, int64_t *end);

#endif
