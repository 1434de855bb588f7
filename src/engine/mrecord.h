/*
 * mrecord.h - a record of a manifest: how it is sealed, and how a torn one is told from damage.
 *
 *     0        4        8       12       16        24          24+len, then zeros to 8
 *     +--------+--------+-------+--------+---------+-----------+
 *     | magic  | crc32c | len   | chain  | synced  | payload   |   little-endian
 *     +--------+--------+-------+--------+---------+-----------+
 *                       |<------- covered by crc32c ---------->|
 *
 * chain is the sum of the record before; synced the bytes that were known to be durable when it was
 * written. A broken record is the end of the manifest, unless something behind it was written
 * knowing that it was durable: then it is damage.
 */
#ifndef VARVE_ENGINE_MRECORD_H
#define VARVE_ENGINE_MRECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "varve/slice.h"

#define ENGINE_MRECORD_HEAD 24u

/** Begin a record at the end of out; the payload is appended behind it. @return where it stands. */
size_t engine_mrecord_begin(vv_buf *out, uint32_t magic, uint32_t chain, uint64_t synced);
/** Seal what stands from at on. @return its sum; 0 when out found no memory. */
uint32_t engine_mrecord_end(vv_buf *out, size_t at);
/** True when a record stands whole at `at`, whatever its chain says. Adds the bytes it summed. */
bool engine_mrecord_is_whole(vv_slice bytes, uint64_t at, uint32_t magic, uint64_t *work);
/** Is the broken record at `at` damage? work_max: bytes to sum behind it; more is damage, too. */
bool engine_mrecord_is_damage(vv_slice bytes, uint64_t at, uint32_t magic, uint64_t work_max);
/** The payload of a whole record. */
vv_slice engine_mrecord_payload(vv_slice bytes, uint64_t at);
/** Where the record behind it begins. */
uint64_t engine_mrecord_next(vv_slice bytes, uint64_t at);

#endif
