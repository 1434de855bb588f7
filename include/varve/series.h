/*
 * series.h - tables of time series: samples (time, value, quality) of series named by labels.
 *
 * A series is a set of labels; its name is the label "__name__". It has one type of value, that of
 * its first sample. A sample's time is nanoseconds since 1970, of any sign; ranges of time are
 * half-open, [start, end). Samples come in any order. Of two samples of a series at one time the
 * one written later stays; to write the same again changes nothing, so retries are harmless. NaN
 * (with its payload), infinities and -0.0 are values and come back bit for bit.
 *
 * Quality is the 32-bit status of OPC UA: 0 is good; the two upper bits tell good (00), uncertain
 * (01) and bad (10). A bad sample is kept; reads show good ones unless they ask for all.
 *
 * Threads: every function may be called from any thread; a vv_samples and a cursor belong to one
 * thread at a time. Labels, matchers and options are borrowed for the call, unless it says more.
 */
#ifndef VARVE_SERIES_H
#define VARVE_SERIES_H

#include "varve/db.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Frozen: on disk. */
typedef enum vv_sample_type {
    VV_F64 = 1,
    VV_I64 = 2,
    VV_BOOL = 3,
    VV_STRING = 4,
} vv_sample_type;

/* A label with an empty value is the same as none. No name and no value holds a byte 0. */
typedef struct vv_label {
    vv_slice name;
    vv_slice value;
} vv_label;

#define VV_LABELS_MAX 128u        /* labels of a series */
#define VV_LABEL_BYTES_MAX 1000u  /* of one name and its value together */
#define VV_LABELS_BYTES_MAX 8192u /* of all of a series */
#define VV_SAMPLE_STRING_MAX (64u * 1024)

#define VV_QUALITY_GOOD 0u
#define VV_QUALITY_UNCERTAIN 0x40000000u
#define VV_QUALITY_BAD 0x80000000u
static inline int vv_quality_is_good(uint32_t quality)
{
    return (quality >> 30) == 0;
}

/* ---- writing ------------------------------------------------------------------------------ */

/* Samples on their way in. */
typedef struct vv_samples vv_samples;

#define VV_SAMPLES_MAX (8u * 1024 * 1024) /* vv_samples_bytes at most */

/** Gives it: vv_samples_destroy, before vv_table_close. NULL when memory is short. */
VV_API vv_samples *vv_samples_create(vv_table *table);
VV_API void vv_samples_destroy(vv_samples *samples); /* accepts NULL */
/** Forget the samples. Remembers the series, so that the next samples of them cost less. */
VV_API void vv_samples_clear(vv_samples *samples);
/**
 * What vv_series_append does with a series that has another type in the table: false, as at first,
 * fails; true leaves its samples out and counts them as refused. Stays over vv_samples_clear.
 */
VV_API void vv_samples_leave_out(vv_samples *samples, bool other_types);
VV_API size_t vv_samples_count(const vv_samples *samples);
VV_API size_t vv_samples_bytes(const vv_samples *samples);

/**
 * What is added from here on belongs to this series.
 *
 * @param labels  [count] in any order.
 * @return VV_INVALID: a name twice or empty, no label with a value, over a limit above, or another
 *         type than before in these samples; VV_NO_MEMORY.
 *
 * O(bytes of the labels); cheapest where they are sorted by name.
 */
VV_API VV_MUST_CHECK vv_status vv_samples_series(vv_samples *samples, const vv_label *labels,
                                                 size_t count, vv_sample_type type, vv_error *err);

/**
 * Add samples of the series, in any order. Copies.
 *
 * @param time_ns  [n]
 * @param value    [n]
 * @param quality  [n]; NULL: all good.
 * @return VV_INVALID: no series yet, one of another type, or a string over VV_SAMPLE_STRING_MAX;
 *         VV_BUSY when it would pass VV_SAMPLES_MAX: append, clear, and go on; VV_NO_MEMORY.
 *         Nothing is added on failure.
 */
VV_API VV_MUST_CHECK vv_status vv_samples_f64(vv_samples *samples, const int64_t *time_ns,
                                              const double *value, const uint32_t *quality,
                                              size_t n, vv_error *err);
VV_API VV_MUST_CHECK vv_status vv_samples_i64(vv_samples *samples, const int64_t *time_ns,
                                              const int64_t *value, const uint32_t *quality,
                                              size_t n, vv_error *err);
VV_API VV_MUST_CHECK vv_status vv_samples_bool(vv_samples *samples, const int64_t *time_ns,
                                               const bool *value, const uint32_t *quality, size_t n,
                                               vv_error *err);
VV_API VV_MUST_CHECK vv_status vv_samples_string(vv_samples *samples, const int64_t *time_ns,
                                                 const vv_slice *value, const uint32_t *quality,
                                                 size_t n, vv_error *err);

#define VV_SOURCE_MAX 200u /* bytes of the name of a source, and of an incarnation */

/**
 * In the same atomic entry: how far a source (a stream that can be read again) has been taken in.
 * Copies. Replaces what was set before. VV_INVALID: empty or over VV_SOURCE_MAX.
 */
VV_API VV_MUST_CHECK vv_status vv_samples_position(vv_samples *samples, vv_slice source,
                                                   vv_slice incarnation, uint64_t sequence,
                                                   vv_error *err);

typedef struct vv_source_position {
    uint8_t incarnation[VV_SOURCE_MAX];
    size_t incarnation_len;
    uint64_t sequence;
} vv_source_position;
/** The position of a source: the least of the table's shards, and sequence 0 where they differ in
 * the incarnation. VV_NOT_FOUND: on some of them none was written. */
VV_API VV_MUST_CHECK vv_status vv_series_position(vv_table *table, vv_slice source,
                                                  vv_source_position *out, vv_error *err);

typedef struct vv_append_result {
    vv_write_result write;
    uint64_t accepted; /* samples */
    uint64_t refused;  /* samples too far in the future, behind the retention, of too many series,
                          of another type: vv_samples_leave_out */
    uint64_t late;     /* of the accepted: older than the newest by more than out_of_order_ns */
    uint64_t series_created;
    char first_refusal[200]; /* a sentence about the first refused one; "" when there is none */
} vv_append_result;

/**
 * Write the samples. Single samples that the table's bounds refuse (future_ns, retention_ns) are
 * left out and counted; the rest is one atomic entry of a shard. Samples can be cleared and reused
 * afterwards.
 *
 * @param result  may be NULL; filled with VV_OK, and with VV_BUSY for too many series.
 * @return VV_INVALID names a series that has another type: nothing is written. VV_BUSY: new series
 *         would pass vv_options.series_max of the tenant: samples of existing series are written,
 *         durable as asked, those of new ones are counted as refused. VV_NO_MEMORY: likewise, where
 *         memory_limit has no room for new series; append again. Otherwise as vv_write; some
 *         shards of a partitioned table may have their entries then: append again.
 */
VV_API VV_MUST_CHECK vv_status vv_series_append(vv_samples *samples, vv_durability durability,
                                                vv_append_result *result, vv_error *err);

/** Called exactly once for each accepted vv_series_append_async, after its slowest shard, from the
 * commit thread; or from the caller's, where the queue had no room for all of its shards. result is
 * NULL when an entry was not written; then it may be with some shards: append again. */
typedef void (*vv_append_done)(void *ctx, vv_status status, const vv_append_result *result,
                               const vv_error *err);
/** As vv_series_append, without waiting; nothing of samples may be touched until done runs. done
 * does not run when the call itself fails. */
VV_API VV_MUST_CHECK vv_status vv_series_append_async(vv_samples *samples, vv_durability durability,
                                                      vv_append_done done, void *ctx,
                                                      vv_error *err);

/* ---- which series ------------------------------------------------------------------------- */

/* Frozen: on disk, in rules of tables. */
typedef enum vv_match {
    VV_MATCH_EQ,
    VV_MATCH_NE,
    VV_MATCH_RE, /* the whole value, as Prometheus does; base/re.h in the sources lists what */
    VV_MATCH_NRE,
    VV_MATCH_PREFIX,
} vv_match;

/* A label that a series has not counts as one with an empty value. */
typedef struct vv_matcher {
    vv_match op;
    vv_slice name;
    vv_slice value;
} vv_matcher;

#define VV_KEEP_RULES_MAX 16u

/**
 * How long samples of the series that fit a matcher are kept: vv_table_options.keep_rules. Of the
 * rules of a table the first that fits a series counts, and where none does, retention_ns of the
 * table. vv_table_alter replaces them. VV_INVALID for a matcher that is malformed, for rules of
 * more than 4,096 bytes and for a retention that is not above out_of_order_ns.
 */
typedef struct vv_keep_rule {
    vv_matcher match;
    int64_t retention_ns; /* 0: for ever */
} vv_keep_rule;

/** A series as lists show it. Valid during the call. */
typedef struct vv_series_info {
    uint64_t id;
    vv_sample_type type;
    const vv_label *labels; /* [label_count] by name */
    size_t label_count;
    int64_t created_ns; /* wall time */
} vv_series_info;

/**
 * The series that all matchers fit (none: every series), in the order of their labels. A nonzero
 * return of each() ends the walk. VV_INVALID for a matcher that is malformed; VV_BUSY when there
 * are more than series_max (0: a million).
 */
VV_API VV_MUST_CHECK vv_status vv_series_list(vv_table *table, const vv_matcher *matchers,
                                              size_t count, uint64_t series_max,
                                              int (*each)(void *ctx, const vv_series_info *info),
                                              void *ctx, vv_error *err);
/** Names of labels, and values of one, of those series; sorted, each once. */
VV_API VV_MUST_CHECK vv_status vv_series_label_names(vv_table *table, const vv_matcher *matchers,
                                                     size_t count,
                                                     int (*each)(void *ctx, vv_slice name),
                                                     void *ctx, vv_error *err);
VV_API VV_MUST_CHECK vv_status vv_series_label_values(vv_table *table, vv_slice name,
                                                      const vv_matcher *matchers, size_t count,
                                                      int (*each)(void *ctx, vv_slice value),
                                                      void *ctx, vv_error *err);

/** Series of the table, and of all tables of its tenant; the latter is what series_max bounds. */
VV_API VV_MUST_CHECK vv_status vv_series_count(vv_table *table, uint64_t *in_table,
                                               uint64_t *of_tenant, vv_error *err);

typedef struct vv_sample {
    int64_t time_ns;
    uint32_t quality;
    vv_sample_type type;
    double f64;      /* VV_F64 */
    int64_t i64;     /* VV_I64; VV_BOOL as 0 and 1 */
    vv_slice string; /* VV_STRING */
} vv_sample;

#define VV_SERIES_LATEST_SORTED_MAX 100000u

/** The newest sample of each of those series, whatever its quality, within the retention. From
 * memory where it is known there. In the order of labels; where more than
 * VV_SERIES_LATEST_SORTED_MAX series come into question, in the order in which they were made: then
 * one is held at a time, however many there are. */
VV_API VV_MUST_CHECK vv_status vv_series_latest(vv_table *table, const vv_matcher *matchers,
                                                size_t count,
                                                int (*each)(void *ctx, const vv_series_info *series,
                                                            const vv_sample *sample),
                                                void *ctx, vv_error *err);

/** Delete the samples of those series in [start, end), durable on return; the series stay. Not one
 * step for many series: after a failure some may be done, and doing it again is harmless. */
VV_API VV_MUST_CHECK vv_status vv_series_delete(vv_table *table, const vv_matcher *matchers,
                                                size_t count, int64_t start_ns, int64_t end_ns,
                                                uint64_t *series_touched, vv_error *err);
/** Delete those series, samples and labels, durable on return. At least one matcher must not fit
 * an empty value. Likewise. */
VV_API VV_MUST_CHECK vv_status vv_series_drop(vv_table *table, const vv_matcher *matchers,
                                              size_t count, uint64_t *dropped, vv_error *err);

/* ---- queries ------------------------------------------------------------------------------ */

typedef enum vv_aggregate {
    VV_AGG_NONE, /* the samples themselves */
    VV_AGG_COUNT,
    VV_AGG_SUM,
    VV_AGG_AVG,
    VV_AGG_MIN,
    VV_AGG_MAX,
    VV_AGG_FIRST,
    VV_AGG_LAST,
    VV_AGG_STDDEV, /* of the population */
    VV_AGG_RANGE,  /* max - min */
    VV_AGG_RATE,   /* increase by second, of a counter that may begin again at 0 */
    VV_AGG_INCREASE,
    VV_AGG_TIME_AVG_STEP,   /* weighted by time; each value holds until the next */
    VV_AGG_TIME_AVG_LINEAR, /* weighted by time; a straight line between values */
    VV_AGG_PERCENTILE,
    VV_AGG_PERCENT_GOOD,
} vv_aggregate;

typedef enum vv_fill {
    VV_FILL_NONE, /* windows without samples are not there */
    VV_FILL_NULL,
    VV_FILL_PREVIOUS, /* it and the next lean on samples next to the range too, but for groups */
    VV_FILL_LINEAR,
    VV_FILL_VALUE,
} vv_fill;

typedef enum vv_reduce {
    VV_REDUCE_NONE,
    VV_REDUCE_LTTB,    /* Steinarsson 2013: the points that keep the look of the curve */
    VV_REDUCE_MIN_MAX, /* the least and the largest of each stretch */
} vv_reduce;

typedef struct vv_series_query {
    size_t size;                /* set by VV_SERIES_QUERY_INIT */
    const vv_matcher *matchers; /* [matcher_count]; borrowed for vv_series_query_open */
    size_t matcher_count;
    int64_t start_ns;
    int64_t end_ns;
    int64_t step_ns;   /* of windows, aligned to 1970 plus offset_ns; 0 with an aggregate: the whole
                          range is one window */
    int64_t offset_ns; /* of the windows' grid */
    vv_aggregate aggregate;
    double percentile;        /* 0..100 */
    const vv_slice *group_by; /* [group_count] labels */
    size_t group_count;
    bool is_grouped;     /* one answer for each group of series; without labels: one for all */
    vv_aggregate across; /* series of a group: COUNT, SUM, AVG, MIN, MAX */
    vv_fill fill;
    double fill_value;
    int64_t max_gap_ns; /* PREVIOUS, LINEAR: farther apart is not filled; 0: no bound */
    vv_reduce reduce;
    uint32_t points;              /* of each series that reduce leaves; 1, 2: the ends alone */
    bool all_quality;             /* not the good ones alone */
    const vv_snapshot *snapshot;  /* NULL: now; else must outlive the cursor */
    uint64_t series_max;          /* more are refused, by name; 0: 100,000 */
    uint64_t samples_max;         /* samples or points of the whole answer; 0: 100 million */
    bool (*cancelled)(void *ctx); /* asked now and then, also within a series: true ends the query
                                     with VV_CLOSED. NULL: nobody is asked */
    void *cancelled_ctx;
} vv_series_query;

#ifndef __cplusplus
#define VV_SERIES_QUERY_INIT                                                                       \
    {                                                                                              \
        .size = sizeof(vv_series_query)                                                            \
    }
#else
#define VV_SERIES_QUERY_INIT vv_series_query_init()
static inline vv_series_query vv_series_query_init()
{
    vv_series_query q = {};
    q.size = sizeof q;
    return q;
}
#endif

#define VV_SERIES_BLOCK_MAX 8192u

/* A piece of the answer: samples or points of one series or group, times ascending. Series come in
 * the order of their labels. Valid until the next call on the cursor. */
typedef struct vv_series_block {
    const vv_label *labels; /* [label_count] by name; of a group those of group_by that it has */
    size_t label_count;
    uint64_t series_id;     /* 0: a group */
    vv_sample_type type;    /* of aggregates VV_F64 */
    size_t count;           /* up to VV_SERIES_BLOCK_MAX; strings of 1 MiB together, or one */
    const int64_t *time_ns; /* [count]; of windows their start */
    const double *f64;      /* by type: [count], else NULL */
    const int64_t *i64;     /* VV_I64; VV_BOOL as 0 and 1 */
    const vv_slice *string;
    const uint32_t *quality; /* NULL: all good */
    const uint8_t *is_null;  /* NULL: none; VV_FILL_NULL has such points */
    bool is_last_of_series;
} vv_series_block;

typedef struct vv_series_cursor vv_series_cursor;

/**
 * Begin a query. An empty range and unknown series are no failure: the answer is empty. Series
 * without a sample in the range have no block.
 *
 * @return VV_INVALID for what cannot be asked, such as an aggregate of strings; VV_BUSY naming
 *         series_max. Gives *out: vv_series_query_close.
 */
VV_API VV_MUST_CHECK vv_status vv_series_query_open(vv_table *table, const vv_series_query *query,
                                                    vv_series_cursor **out, vv_error *err);
/** The next block. VV_NOT_FOUND at the end; VV_BUSY naming samples_max; VV_CLOSED: cancelled. */
VV_API VV_MUST_CHECK vv_status vv_series_query_next(vv_series_cursor *cursor, vv_series_block *out,
                                                    vv_error *err);
VV_API void vv_series_query_close(vv_series_cursor *cursor); /* accepts NULL */

#ifdef __cplusplus
}
#endif

#endif
