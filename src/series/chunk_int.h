/*
 * chunk_int.h - the layout of a chunk, for the files that write and read it.
 *
 *     kind u8     bits 0..2 type | bits 3..4 form | bit 5 has qualities | 0 0
 *     count       varint, 1..1024
 *     first       i64, the first time
 *     span        varint, last - first; only when count > 1
 *     summary     only COMPACT
 *     columns     by form
 *     crc32c      u32 over all before it
 */
#ifndef VARVE_SERIES_CHUNK_INT_H
#define VARVE_SERIES_CHUNK_INT_H

#include "series/chunk.h"

#define CHUNK_CRC 4u
#define CHUNK_HEAD_MAX (1u + 2u + 8u + VV_VARINT_MAX)
#define CHUNK_QUALITY_FLAG 0x20u
#define CHUNK_NUMBERS 6u /* first, last, min, max, sum, sum_sq */
#define CHUNK_SUMMARY_MAX (1u + 3u * VV_VARINT_MAX + CHUNK_NUMBERS / 2u + 8u * CHUNK_NUMBERS)

/* Where the summary begins and the columns end. */
typedef struct chunk_body {
    series_head head;
    const uint8_t *at;
    const uint8_t *end;
} chunk_body;

/** The head, and the text length of strings; body->at stands behind it. False: malformed. */
bool chunk_open(vv_slice chunk, chunk_body *body);

/** Bytes written at p, which has CHUNK_SUMMARY_MAX of room. */
size_t chunk_summary_put(uint8_t *p, const series_head *head, const series_summary *s);
/** The byte behind it, or NULL. Borrows head. */
const uint8_t *chunk_summary_get(const uint8_t *p, const uint8_t *end, const series_head *head,
                                 series_summary *out);

#endif
