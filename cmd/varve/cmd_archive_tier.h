/*
 * cmd_archive_tier.h - the part of 'varve archive' that is about stream tables, whose messages lie
 * in an object store.
 */
#ifndef VARVE_CMD_VARVE_CMD_ARCHIVE_TIER_H
#define VARVE_CMD_VARVE_CMD_ARCHIVE_TIER_H

#include "tier_store.h"

typedef struct archive_args {
    tier_args tier;
    uint64_t partition;
    uint64_t from;
    uint64_t to;
    int64_t local_ns;
    const char *parquet;
    bool whole;
} archive_args;

/** Is the command's table of kind stream, in the directory of --data? */
VV_MUST_CHECK vv_status archive_tier_is_stream(const cmd_ctx *ctx, bool *out, vv_error *err);

/** One of list, run, verify, restore, export and attach. Returns the exit code. */
int archive_tier_run(cmd_ctx *ctx, const archive_args *a, const char *verb);

#endif
