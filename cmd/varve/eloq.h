/*
 * eloq.h - EloqStore's files into tables of a directory: what import-eloqstore asks for.
 */
#ifndef VARVE_CMD_VARVE_ELOQ_H
#define VARVE_CMD_VARVE_ELOQ_H

#include <stdint.h>

#include "varve/status.h"

typedef struct eloq_progress {
    const char *partition;  /* the directory that is being read */
    uint64_t partitions;    /* done */
    uint64_t entries;       /* durable, of all partitions */
    uint64_t expired;       /* skipped */
    uint64_t dropped_bytes; /* of damaged last manifest records */
    uint64_t pages;         /* of the partition that is being read */
    uint64_t pages_read;
} eloq_progress;

typedef struct eloq_job {
    const char *dir;  /* a partition, or a store of partitions */
    const char *data; /* the store that is written */
    const char *tenant;
    const char *table; /* NULL: named as in EloqStore */
    const char *manifest;
    const char *branch;
    uint32_t page_size;
    uint32_t file_shift;
    uint32_t record_align;
    void (*progress)(void *ctx, const eloq_progress *at); /* after each durable batch */
    void *ctx;
} eloq_job;

/** *out is how far it came, also on failure. VV_UNSUPPORTED in a build without the engine. */
VV_MUST_CHECK vv_status eloq_load(const eloq_job *job, eloq_progress *out, vv_error *err);

#endif
