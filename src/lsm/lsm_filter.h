/*
 * lsm_filter.h - "is this key perhaps in the run?": a blocked Bloom filter, eight bits in one
 * 64-byte line a key, so that a question costs one memory access (Putze, Sanders, Singler,
 * "Cache-, hash- and space-efficient Bloom filters", 2007; the shape of Impala and RocksDB).
 *
 *     line = hi32(h) * lines >> 32        bit of word i = (lo32(h) * C[i] mod 2^32) >> 26
 *
 * h is the XXH3-64 of the key with its table prefix. A bit goes into each of the line's 8 words.
 * Wrong "yes" at 10 bits a key: about 1 %; wrong "no": never.
 */
#ifndef VARVE_LSM_LSM_FILTER_H
#define VARVE_LSM_LSM_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LSM_FILTER_LINE 64u
#define LSM_FILTER_BITS 10u       /* a key, in large runs */
#define LSM_FILTER_BITS_YOUNG 16u /* a key, in runs of level 0: small, and asked most often */

/** Lines for count keys; at least one. */
uint32_t lsm_filter_lines(uint64_t count, unsigned bits_per_key);

/** Set the bits of one key. lines is zeroed before the first. */
void lsm_filter_add(uint8_t *lines, uint32_t line_count, uint64_t hash);

static inline const uint8_t *lsm_filter_line(const uint8_t *lines, uint32_t line_count,
                                             uint64_t hash)
{
    return lines + LSM_FILTER_LINE * ((hash >> 32) * line_count >> 32);
}

/** False: the key is not there. line comes from lsm_filter_line, prefetched by then. */
bool lsm_filter_test(const uint8_t *line, uint64_t hash);

#endif
