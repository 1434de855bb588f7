/*
 * archive_files.h - what of 'varve archive' makes files: a directory out of objects alone, messages
 * as Parquet. VV_UNSUPPORTED in a build without the engine.
 */
#ifndef VARVE_CMD_VARVE_ARCHIVE_FILES_H
#define VARVE_CMD_VARVE_ARCHIVE_FILES_H

#include "store.h"
#include "tier_store.h"

/* Messages of a partition. */
typedef struct archive_files_range {
    uint32_t partition;
    uint32_t partitions; /* of the table */
    uint64_t from;
    uint64_t to; /* exclusive */
} archive_files_range;

/** Each message of the range, whatever the store is. A nonzero return of each() ends the walk. */
VV_MUST_CHECK vv_status archive_walk(store *s, const archive_files_range *range,
                                     int (*each)(void *ctx, const vv_message *m), void *ctx,
                                     vv_error *err);

/** The directory --data out of the objects alone; what is passed over is told. */
VV_MUST_CHECK vv_status archive_files_attach(const cmd_ctx *ctx, const tier_args *tier,
                                             vv_error *err);

/** Messages into the file. One that was there stays as it was unless the new one is whole. */
VV_MUST_CHECK vv_status archive_files_parquet(store *s, const archive_files_range *range,
                                              const char *path, vv_error *err);

#endif
