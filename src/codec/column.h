/*
 * column.h - a column of up to 1,024 samples as bytes and back: times, numbers, bools, strings.
 *
 * A column names its own codec in its first byte, so that a writer chooses per column and a reader
 * needs nothing but the count. Bytes in docs/format/column.md. Every input comes back bit for bit:
 * NaN payloads, infinities, -0.0, denormals, the ends of int64. What is written depends on the
 * input and the effort alone, not on the machine or on what was written before.
 *
 * Encoders append to out and latch its status. Decoders take untrusted bytes: every length, width
 * and position is checked, and they take no memory but the strings' own bytes.
 */
#ifndef VARVE_CODEC_COLUMN_H
#define VARVE_CODEC_COLUMN_H

#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "varve/slice.h"
#include "varve/status.h"

#define CODEC_COLUMN_MAX 1024u /* values of one column */

typedef enum codec_column { /* on disk: frozen */
                            CODEC_COL_RAW = 0,
                            CODEC_COL_CONST = 1,
                            CODEC_COL_INT =
                                2, /* integer block: frame of reference, deltas, divisor, patches */
                            CODEC_COL_INT_SHORT = 3, /* varints, for few values */
                            CODEC_COL_GORILLA_TIME = 4,
                            CODEC_COL_GORILLA = 5,
                            CODEC_COL_CHIMP128 = 6,
                            CODEC_COL_DECIMAL = 7,
                            CODEC_COL_DICT = 8, /* of doubles */
                            CODEC_COL_ORDERED_INT = 9,
                            CODEC_COL_BITS = 10, /* bools */
                            CODEC_COL_STRINGS = 11,
                            CODEC_COL_STRING_DICT = 12,
                            CODEC_COL_COUNT
} codec_column;

typedef enum codec_effort {
    CODEC_FAST, /* what an append can afford: Gorilla and the short forms */
    CODEC_BEST, /* choose by size and by what reading costs */
} codec_effort;

/** What encoders work in; about 150 KiB, one thread at a time. */
typedef struct codec_scratch codec_scratch;

/** NULL when memory is short. Free with codec_scratch_destroy. */
codec_scratch *codec_scratch_create(void);
void codec_scratch_destroy(codec_scratch *s); /* accepts NULL */

/** Append v[0..n) as one column; n <= CODEC_COLUMN_MAX. Times in any order are accepted, rising
 * ones are what the forms are made for. */
void codec_time_encode(const int64_t *v, uint32_t n, codec_effort effort, codec_scratch *s,
                       vv_buf *out);
void codec_i64_encode(const int64_t *v, uint32_t n, codec_effort effort, codec_scratch *s,
                      vv_buf *out);
void codec_f64_encode(const double *v, uint32_t n, codec_effort effort, codec_scratch *s,
                      vv_buf *out);
/** v[i] is a bool: 0 or anything else. */
void codec_bool_encode(const uint8_t *v, uint32_t n, vv_buf *out);
/** Lengths below 4 GiB together. */
void codec_string_encode(const vv_slice *v, uint32_t n, codec_effort effort, codec_scratch *s,
                         vv_buf *out);

/** The n values of a column; in holds exactly one. VV_CORRUPT when it does not, or not with n
 * values. out may be partly written on failure. codec_i64_decode reads times as well. */
VV_MUST_CHECK vv_status codec_i64_decode(vv_slice in, uint32_t n, int64_t *out, vv_error *err);
VV_MUST_CHECK vv_status codec_f64_decode(vv_slice in, uint32_t n, double *out, vv_error *err);
/** out[i] is 0 or 1. */
VV_MUST_CHECK vv_status codec_bool_decode(vv_slice in, uint32_t n, uint8_t *out, vv_error *err);
/** The bytes are copied into the arena, at most in.len of them; out[i] borrows them from there.
 * VV_NO_MEMORY when the arena is full. */
VV_MUST_CHECK vv_status codec_string_decode(vv_slice in, uint32_t n, vv_arena *arena, vv_slice *out,
                                            vv_error *err);

/** One codec by name, for the benchmark, tests and tools. VV_UNSUPPORTED when it cannot hold the
 * values (nothing is appended then). */
VV_MUST_CHECK vv_status codec_i64_encode_as(codec_column kind, const int64_t *v, uint32_t n,
                                            codec_scratch *s, vv_buf *out);
VV_MUST_CHECK vv_status codec_f64_encode_as(codec_column kind, const double *v, uint32_t n,
                                            codec_scratch *s, vv_buf *out);

/** "gorilla"; "unknown" for a number that is none. */
const char *codec_column_name(unsigned kind);

#endif
