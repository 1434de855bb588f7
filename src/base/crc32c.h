/*
 * crc32c.h - CRC-32C (Castagnoli, RFC 3720 appendix B.4): the checksum of log records and blocks.
 */
#ifndef VARVE_BASE_CRC32C_H
#define VARVE_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/** Extend crc over len bytes; start with 0. vv_crc32c(vv_crc32c(0, a), b) == vv_crc32c(0, ab).
 * Uses the SSE4.2 instruction, three lanes wide on long input, where the CPU has it. */
uint32_t vv_crc32c(uint32_t crc, const void *data, size_t len);

/** What len zero bytes make of the difference (exclusive or) of two sums: where bytes in the middle
 * change, the sum of the whole changes by vv_crc32c_zeros(crc of old ^ crc of new, bytes behind
 * them). O(log len). */
uint32_t vv_crc32c_zeros(uint32_t difference, size_t len);

/** The same in plain C with tables: the reference of the tests and the fallback. */
uint32_t vv_crc32c_portable(uint32_t crc, const void *data, size_t len);

#endif
