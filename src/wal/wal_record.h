/*
 * wal_record.h - the bytes of batches and records; see wal_record.c for the drawing.
 */
#ifndef VARVE_WAL_RECORD_H
#define VARVE_WAL_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "varve/slice.h"
#include "varve/status.h"
#include "wal/wal.h"

#define WAL_BATCH_HEADER 32u
#define WAL_RECORD_HEADER 40u
#define WAL_FILLER_MIN 40u

typedef struct wal_batch {
    uint32_t crc;
    uint32_t length;   /* of the whole batch, this header included */
    uint64_t position; /* of its first byte in the log */
    uint32_t prev_crc; /* crc of the batch before it; 0 for the first of a log */
    uint32_t count;    /* of records; 0: filler */
    uint64_t synced;   /* everything below was durable when this batch was made */
} wal_batch;

/** The seed of every batch checksum of a log: bytes of another log never check. */
uint32_t wal_seed(uint64_t log_id);

/** The length of the batch these records make. VV_INVALID names the first record we refuse. */
VV_MUST_CHECK vv_status wal_batch_measure(const wal_record *recs, size_t count, size_t *len,
                                          vv_error *err);

void wal_record_put(uint8_t out[WAL_RECORD_HEADER], const wal_record *rec);

/** The checksum of the record headers alone: the part that needs no lock. */
uint32_t wal_directory_crc(uint32_t seed, const wal_record *recs, size_t count);

/** Fill out with header and epoch of filler of this length; the rest of it is zero. Returns its
 * checksum. */
uint32_t wal_filler_put(uint8_t out[WAL_FILLER_MIN], const wal_batch *filler, uint32_t seed,
                        uint64_t epoch);

/** The epoch of filler whose bytes were checked. */
uint64_t wal_filler_epoch(const uint8_t *p);

/** Fill out with the header; directory_crc as above. Returns the batch's checksum. */
uint32_t wal_batch_put(uint8_t out[WAL_BATCH_HEADER], const wal_batch *batch,
                       uint32_t directory_crc);

/** Read the fields; checks nothing. */
void wal_batch_get(const uint8_t in[WAL_BATCH_HEADER], wal_batch *out);

/** Bytes of header and directory (of filler: its epoch), or 0 when count and length contradict each
 * other. */
size_t wal_batch_front(const wal_batch *batch);

/** True when the checksum of the wal_batch_front bytes at p fits. */
bool wal_batch_front_fits(const uint8_t *p, const wal_batch *batch, uint32_t seed);

/**
 * Check a whole batch of batch->length bytes: checksums, lengths, zeros. VV_CORRUPT with the
 * reason; VV_UNSUPPORTED for a record kind or flag this build does not know, when the checksum says
 * that it was written so.
 */
VV_MUST_CHECK vv_status wal_batch_check(const uint8_t *p, const wal_batch *batch, uint32_t seed,
                                        vv_error *err);

/** Record i of a checked batch; *at is the offset of its payload: 0 before the first call, then
 * carried from call to call. The payload borrows p. */
void wal_batch_record(const uint8_t *p, const wal_batch *batch, uint32_t i, size_t *at,
                      wal_record *out);

/** "ENTRY" .. "CHECKPOINT"; "UNKNOWN". */
const char *wal_kind_name(wal_kind kind);

/** Bytes of filler that bring a log of this end to a block boundary: 0, or 40 to 4135. */
uint32_t wal_filler(uint64_t end);

#endif
