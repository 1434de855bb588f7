/*
 * samples.h - samples of one series in memory, as columns: time, value, quality.
 *
 * Times are nanoseconds since 1970, of any sign. Quality is a 32-bit OPC UA status whose top two
 * bits say good (00), uncertain (01) or bad (10). Values are kept bit for bit: NaN of any payload,
 * infinities and -0.0 are values.
 */
#ifndef VARVE_SERIES_SAMPLES_H
#define VARVE_SERIES_SAMPLES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "varve/slice.h"
#include "varve/status.h"

typedef enum series_type { /* frozen */
                           SERIES_F64 = 1,
                           SERIES_I64 = 2,
                           SERIES_BOOL = 3,
                           SERIES_STRING = 4,
} series_type;

#define SERIES_QUALITY_GOOD UINT32_C(0)
#define SERIES_QUALITY_BAD UINT32_C(0x80000000)

static inline bool series_quality_is_good(uint32_t quality)
{
    return quality >> 30 == 0;
}

/* Borrowed columns. */
typedef struct series_samples {
    series_type type;
    uint32_t count;
    const int64_t *time;
    union {
        const double *f64;
        const int64_t *i64;
        const uint8_t *b; /* 0 or 1 */
        const vv_slice *string;
        const void *any;
    } value;
    const uint32_t *quality; /* NULL: all good */
} series_samples;

/* A range [from, to) of times. */
typedef struct series_range {
    int64_t from;
    int64_t to;
} series_range;

/** Bytes of one value in its column; 0 for what is no type. */
size_t series_value_size(series_type type);
/** in[from..from+count). */
series_samples series_samples_part(const series_samples *in, uint32_t from, uint32_t count);
/** Number i as a double; 0 for strings. */
double series_samples_number(const series_samples *in, uint32_t i);
/** Every time above the one before it. */
bool series_samples_is_sorted(const series_samples *in);
/** First index whose time is at or above t; the times are sorted. */
uint32_t series_samples_find(const series_samples *in, int64_t t);

/* Owned columns that grow. Strings are borrowed from where they came from, or lie in `text`. One
 * thread at a time. */
typedef struct series_columns {
    series_type type; /* 0: not yet known */
    uint32_t count;
    uint32_t cap;
    bool has_quality; /* else all are good and quality is not filled */
    int64_t *time;
    void *value;
    uint32_t *quality;
    vv_arena text;
    void *work; /* of the sort */
    size_t work_size;
} series_columns;

/** Allocates nothing. */
void series_columns_init(series_columns *c);
void series_columns_fini(series_columns *c);
/** No samples, no type; the memory is kept. */
void series_columns_clear(series_columns *c);
/** Room for more samples of this type. VV_INVALID when it holds another type. */
VV_MUST_CHECK vv_status series_columns_reserve(series_columns *c, series_type type, uint32_t more,
                                               vv_error *err);
/** Strings are borrowed. in may not be of c itself. */
VV_MUST_CHECK vv_status series_columns_append(series_columns *c, const series_samples *in,
                                              vv_error *err);
/** Fill in the quality of what was appended without one: from now on there is a column. */
void series_columns_need_quality(series_columns *c);
/** What it holds; valid until it changes. */
series_samples series_columns_view(const series_columns *c);
/** By time; of samples with one time the last stays. O(count) when they are sorted, and close to it
 * when they are sorted in few runs. VV_NO_MEMORY: as before. */
VV_MUST_CHECK vv_status series_columns_sort(series_columns *c, vv_error *err);
/** Take out the samples of [first..count) whose time lies in one of the ranges (sorted, apart). */
void series_columns_erase(series_columns *c, uint32_t first, const series_range *range,
                          uint32_t range_count);
/** Take out the first n. */
void series_columns_drop(series_columns *c, uint32_t n);

#endif
