/*
 * set.h - what a bucket of a series holds: erased ranges and chunks; docs/format/series.md.
 *
 * One form of bytes for an operand and for a value. As an operand it says: what is older loses the
 * erased ranges, then these samples lie on top. A *settled* set has no erased ranges, and its
 * chunks ascend without touching: what series_set_encode and a fold to a value make, and what
 * readers see.
 */
#ifndef VARVE_SERIES_SET_H
#define VARVE_SERIES_SET_H

#include "series/chunk.h"

#define SERIES_SAMPLE_WEIGHT 24u                           /* and the bytes of a string */
#define SERIES_SET_WEIGHT_MAX (UINT32_C(12) * 1024 * 1024) /* of a set: 512 Ki samples */
#define SERIES_SET_SAMPLES_MAX (SERIES_SET_WEIGHT_MAX / SERIES_SAMPLE_WEIGHT)
#define SERIES_TEXT_MAX (UINT32_C(1024) * 1024) /* bytes of one string */
#define SERIES_OPEN_MIN 32u                     /* below, an append is RAW */

/* What encoding works in. One thread at a time. */
typedef struct series_scratch {
    codec_scratch *codec; /* made when it is first needed */
    series_columns sorted;
    vv_buf chunks;
} series_scratch;

/** Allocates nothing. */
void series_scratch_init(series_scratch *s);
void series_scratch_fini(series_scratch *s);
/** NULL when memory is short. */
codec_scratch *series_scratch_codec(series_scratch *s);

/** Append a settled set of samples in any order; of one time the last in `in` stays. SERIES_OPEN is
 * what an append wants (short ones, bools and strings are RAW then). O(count) when sorted.
 * VV_INVALID: a string over SERIES_TEXT_MAX, or more than SERIES_SET_WEIGHT_MAX; VV_NO_MEMORY. */
VV_MUST_CHECK vv_status series_set_encode(const series_samples *in, series_form form,
                                          series_scratch *s, vv_buf *out, vv_error *err);
/** Append a set that erases [from, to) of what is older; from < to. Latches out->status. */
void series_set_erase(int64_t from, int64_t to, vv_buf *out);

/* A set being read, in the order of its bytes. Borrows them. */
typedef struct series_set {
    uint32_t erase_count;
    uint32_t chunk_count;
    const uint8_t *erases;
    const uint8_t *next;
    const uint8_t *end;
    uint32_t left;
} series_set;

/** VV_CORRUPT. */
VV_MUST_CHECK vv_status series_set_open(vv_slice bytes, series_set *out, vv_error *err);
series_range series_set_erased(const series_set *set, uint32_t i);
/** The next chunk and its head; VV_NOT_FOUND behind the last, VV_CORRUPT. */
VV_MUST_CHECK vv_status series_set_next(series_set *set, vv_slice *chunk, series_head *head,
                                        vv_error *err);

/** What the heads of a set say, without a look into its columns. */
typedef struct series_measure {
    uint32_t chunk_count;
    uint32_t sample_count; /* of all chunks: a fold may have fewer */
    uint64_t weight;
    bool is_settled;
} series_measure;

/** False when the bytes are no set, or one over SERIES_SET_WEIGHT_MAX. O(chunks). */
bool series_set_measure(vv_slice bytes, series_measure *out);
static inline bool series_set_is_valid(vv_slice bytes)
{
    series_measure m;
    return series_set_measure(bytes, &m);
}

/** Bytes that this set adds at most to a fold, whatever the form; 0 when it is none. */
uint64_t series_set_bound(vv_slice bytes);

/** Append the samples of a settled set in [from, to) to out; chunks outside are not decoded.
 * Strings may borrow the set. VV_CORRUPT (also when it is not settled), VV_NO_MEMORY, VV_INVALID.
 */
VV_MUST_CHECK vv_status series_set_decode(vv_slice bytes, int64_t from, int64_t to,
                                          series_columns *out, vv_error *err);

/* Inside a set under construction: see fold.c. */
void series_set_put(uint32_t chunk_count, const series_range *erased, uint32_t erase_count,
                    const vv_buf *chunks, vv_buf *out);
/** Append chunks of `in` (sorted) to chunks, each with its length in front; returns how many. */
uint32_t series_set_cut(const series_samples *in, series_form form, codec_scratch *s,
                        vv_buf *chunks);

#endif
