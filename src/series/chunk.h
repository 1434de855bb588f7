/*
 * chunk.h - up to 1,024 samples of one series as bytes; docs/format/series.md.
 *
 * Three forms: RAW is arrays, cheap to make and to read: small appends, and what a read folds.
 * OPEN is Gorilla: a long append. COMPACT is columns by the best codec with a summary in front,
 * from which a window that covers the chunk is answered: what flush and compaction make.
 */
#ifndef VARVE_SERIES_CHUNK_H
#define VARVE_SERIES_CHUNK_H

#include "base/buf.h"
#include "codec/column.h"
#include "series/samples.h"

#define SERIES_CHUNK_MAX CODEC_COLUMN_MAX /* samples */

typedef enum series_form { /* frozen */
                           SERIES_RAW = 0,
                           SERIES_OPEN = 1,
                           SERIES_COMPACT = 2,
} series_form;

/* What a chunk says about itself before its columns are looked at. */
typedef struct series_head {
    series_type type;
    series_form form;
    bool has_quality;
    uint32_t count;
    int64_t first_time;
    int64_t last_time;
    uint32_t text_len; /* strings: their bytes together */
} series_head;

/* About the samples whose quality is good; with good 0 the numbers mean nothing. */
typedef struct series_summary {
    series_type type;
    uint32_t count;
    uint32_t good;
    int64_t first_time; /* of a good sample */
    int64_t last_time;
    double first;
    double last;
    double min; /* of what is not NaN; NaN when nothing else is there */
    double max;
    double sum;
    double sum_sq;    /* of the differences to first */
    bool is_monotone; /* no value is below the one before it */
} series_summary;

/** Append in as one chunk: sorted, 1..SERIES_CHUNK_MAX samples. What no codec makes shorter than
 * series_chunk_bound becomes RAW whatever the form; s may be NULL for RAW. Latches out->status. */
void series_chunk_encode(const series_samples *in, series_form form, codec_scratch *s, vv_buf *out);
/** Bytes that any form of such a chunk takes at most. */
uint64_t series_chunk_bound(const series_head *head);

/** Read the head; nothing behind it is looked at but the lengths it implies. VV_CORRUPT. */
VV_MUST_CHECK vv_status series_chunk_head(vv_slice chunk, series_head *out, vv_error *err);
/** The summary, from the chunk's own if it has one, else worked out (*decoded is then true; may be
 * NULL). The checksum is compared. VV_CORRUPT, VV_NO_MEMORY. */
VV_MUST_CHECK vv_status series_chunk_summary(vv_slice chunk, series_summary *out, bool *decoded,
                                             vv_error *err);
/** Append its samples to out; strings of a RAW chunk borrow it. VV_CORRUPT, VV_NO_MEMORY;
 * VV_INVALID when out holds another type. On failure out has what it had. */
VV_MUST_CHECK vv_status series_chunk_decode(vv_slice chunk, series_columns *out, vv_error *err);

/** Sum up samples that are sorted. */
void series_summarise(const series_samples *in, series_summary *out);
/** The same without min, max, sum_sq and is_monotone, which stay 0: three times as fast. */
void series_sum_up(const series_samples *in, series_summary *out);

#endif
