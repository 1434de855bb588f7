/*
 * cmd_archive_tier.h - the part of 'varve archive' that is about stream tables, whose messages lie
 * in an object store.
 */
#ifndef VARVE_CMD_VARVE_CMD_ARCHIVE_TIER_H
#define VARVE_CMD_VARVE_CMD_ARCHIVE_TIER_H

#include "store.h"
#include "tier_store.h"

typedef struct archive_args {
    tier_args tier;
    uint64_t partition;
    uint64_t from;
    uint64_t to;
    const char *local; /* a time, or now */
    const char *parquet;
    bool whole;
} archive_args;

/** The objects of the store's table. Returns the exit code. */
int archive_tier_list(const cmd_ctx *ctx, store *s);

/** One of run, verify, restore, export and attach. Returns the exit code. */
int archive_tier_run(cmd_ctx *ctx, const archive_args *a, const char *verb);

#endif
