/*
 * store_series.h - what `varve series` does to a store: the part of store.h that knows samples.
 *
 * Filled by a directory (store_local_series.c) and by a server (store_remote_series.c). Series,
 * samples and blocks are those of varve/series.h, valid during the call that gives them; a nonzero
 * return of each() ends the walk.
 */
#ifndef VARVE_CMD_VARVE_STORE_SERIES_H
#define VARVE_CMD_VARVE_STORE_SERIES_H

#include "varve/series.h"

struct store;

/* Of tables of series. */
typedef struct store_series_spec {
    int64_t keep_ns;
    int64_t late_ns;
    int64_t future_ns;
    int64_t keep_rollups_ns[2]; /* minutes, hours */
    bool no_rollups;
} store_series_spec;

/* Which series: all of them where there is no matcher. */
typedef struct store_match {
    const vv_matcher *items;
    size_t count;
} store_match;

/* What became of the samples that a flush wrote. */
typedef struct store_appended {
    uint64_t accepted;
    uint64_t refused;
    uint64_t late; /* of the accepted */
    uint64_t series_created;
    char first_refusal[200]; /* "": there was none */
} store_appended;

typedef struct store_series_ops {
    /* A server does not tell created_ns. */
    vv_status (*list)(struct store *s, store_match match,
                      int (*each)(void *ctx, const vv_series_info *series), void *ctx,
                      vv_error *err);
    vv_status (*latest)(struct store *s, store_match match,
                        int (*each)(void *ctx, const vv_series_info *series,
                                    const vv_sample *sample),
                        void *ctx, vv_error *err);
    /* Names of labels, or the values of the one that is named. */
    vv_status (*labels)(struct store *s, vv_slice name, store_match match,
                        int (*each)(void *ctx, vv_slice text), void *ctx, vv_error *err);
    vv_status (*query)(struct store *s, const vv_series_query *q,
                       int (*each)(void *ctx, const vv_series_block *block), void *ctx,
                       vv_error *err);
    /* Samples of [start, end), or whole series. *count: how many series were touched. */
    vv_status (*delete_range)(struct store *s, store_match match, int64_t start_ns, int64_t end_ns,
                              uint64_t *count, vv_error *err);
    vv_status (*drop)(struct store *s, store_match match, uint64_t *count, vv_error *err);
    /* Keep a sample for the next flush. VV_BUSY: there is no room, flush first; VV_INVALID: it can
     * never be written. A missing table is made. */
    vv_status (*add)(struct store *s, const vv_label *labels, size_t label_count,
                     const vv_sample *sample, vv_error *err);
    /* Write what was added and forget it, also on failure. What the table refuses is counted. */
    vv_status (*flush)(struct store *s, int durability, store_appended *out, vv_error *err);
} store_series_ops;

#endif
