/*
 * side_data.h - the keys and values of every row, and what a reader must find.
 *
 * Key number n is the 16 decimal digits of 2n, so an absent neighbour (2n + 1) exists everywhere.
 * A store's history is a list of passes. A pass visits every key (or every span of keys) once, in
 * an order that is a permutation with a cheap inverse: so from a key alone, at any time, follows
 * which pass wrote it last, without remembering anything per key. A value names its pass and is
 * derived from seed, key and pass, so a reader can prove every byte of what it got: wrong key, old
 * version, torn value, lost delete.
 */
#ifndef VARVE_BENCH_SIDE_DATA_H
#define VARVE_BENCH_SIDE_DATA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "varve/slice.h"

#define SIDE_KEY 16u
#define SIDE_VALUE_MIN 24u
#define SIDE_VALUE_MAX (64u * 1024)
#define SIDE_PASSES 64u

/* A permutation of [0, n): a Feistel network over the next power of four, walked until it falls
 * back into the range. */
typedef struct side_perm {
    uint64_t n;
    uint64_t key[4]; /* all zero: the identity */
    unsigned half_bits;
    bool is_identity;
} side_perm;

void side_perm_init(side_perm *p, uint64_t n, uint64_t seed); /* seed 0: the identity */
uint64_t side_perm_at(const side_perm *p, uint64_t index);
uint64_t side_perm_index_of(const side_perm *p, uint64_t value);

typedef enum side_pass_kind { SIDE_PASS_PUT, SIDE_PASS_DELETE } side_pass_kind;

typedef struct side_pass {
    side_perm perm;
    side_pass_kind kind;
    uint64_t span;            /* keys an index stands for */
    _Atomic uint64_t started; /* indexes below may have been written */
    _Atomic uint64_t done;    /* indexes below were acknowledged */
} side_pass;

typedef struct side_data {
    uint64_t seed;
    uint64_t keys;
    uint32_t value_size;
    _Atomic uint32_t pass_count;
    side_pass pass[SIDE_PASSES];
} side_data;

void side_data_init(side_data *d, uint64_t keys, uint32_t value_size, uint64_t seed);
/* The next pass; ordered: in the order of keys. Its index in d->pass is what values carry. */
side_pass *side_pass_begin(side_data *d, side_pass_kind kind, uint64_t span, bool ordered);

/* Write the key of n: SIDE_KEY bytes. absent: its neighbour that no pass writes. */
vv_slice side_key(uint64_t n, bool absent, char out[SIDE_KEY]);
/* The number of a key, UINT64_MAX when no pass writes it. */
uint64_t side_key_number(vv_slice key);
/* The value of a key in a pass, d->value_size bytes into out. */
vv_slice side_value(const side_data *d, const side_pass *pass, uint64_t n, uint8_t *out);

/* What was acknowledged before a read began. */
typedef struct side_before {
    uint64_t done[SIDE_PASSES];
    uint32_t pass_count;
} side_before;

void side_before_read(const side_data *d, side_before *out);

/* How much of a value is compared: WHOLE: each byte; ENDS: length, pass, tag, last word. */
typedef enum side_depth { SIDE_WHOLE, SIDE_ENDS } side_depth;

/* NULL when value (NULL: absent) is a right answer for key n to a read that began at before and has
 * ended; otherwise what is wrong. */
const char *side_check(const side_data *d, const side_before *before, uint64_t n,
                       const vv_slice *value, side_depth depth);

#endif
