/*
 * store_local.h - what the files of a store that is a directory share.
 */
#ifndef VARVE_CMD_VARVE_STORE_LOCAL_H
#define VARVE_CMD_VARVE_STORE_LOCAL_H

#include "store.h"
#include "varve/series.h"

typedef struct local {
    store base;
    vv_object_store *objects; /* NULL: none */
    vv_db *db;
    vv_table *table; /* the command's, once it was needed */
    vv_batch *batch;
    vv_samples *samples; /* on their way in */
    uint64_t batched;
    uint64_t batch_first; /* sequence of the first record in it */
    vv_durability durability;
    store_refused refused;
    void *refused_ctx;
    store_progress progress;
    vv_buf meta;
} local;

static inline local *local_of(store *s)
{
    return (local *)(void *)s;
}

/** The command's table into l->table; with create one of the kind is made where none is. */
vv_status local_open_table(local *l, bool create, vv_table_kind kind, vv_error *err);

/* store_local_alter.c */
vv_status local_table_alter(store *s, const char *name, const store_table_spec *spec,
                            uint64_t changes, store_table_info *out, vv_error *err);

/* store_local_series.c */
extern const store_series_ops local_series_ops;
/* store_local_stream.c */
extern const store_stream_ops local_stream_ops;
/** As local_open_table without create; VV_INVALID: it is of another kind. */
vv_status local_open_stream(local *l, vv_error *err);

/* store_local_tier.c */
extern const store_tier_ops local_tier_ops;

#endif
