/*
 * column_bits.h - streams of bits, most significant first, as Gorilla and Chimp write them.
 *
 * The writer keeps 64 bits and stores whole words; its memory has 8 bytes to spare behind the last
 * bit. The reader gives zeros behind the end, so that a loop of a known count needs one check when
 * it is done: codec_bits_ended.
 */
#ifndef VARVE_CODEC_COLUMN_BITS_H
#define VARVE_CODEC_COLUMN_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/util.h"

typedef struct codec_bit_writer {
    uint8_t *p;
    uint64_t word; /* bits so far, from the top */
    unsigned used; /* of word, below 64 */
} codec_bit_writer;

/* The low count bits of bits, 1 to 64; those above are zero. */
static inline void codec_bits_put(codec_bit_writer *w, uint64_t bits, unsigned count)
{
    assert(count > 0);
    assert(count <= 64);
    assert(w->used < 64);
    unsigned room = 64 - w->used;
    if (count < room) {
        w->word |= bits << (room - count);
        w->used += count;
        return;
    }
    unsigned spill = count - room;
    vv_put_be64(w->p, w->word | bits >> spill);
    w->p += 8;
    w->word = spill == 0 ? 0 : bits << (64 - spill);
    w->used = spill;
}

/* Zeros up to a whole byte; returns the byte behind the stream. */
static inline uint8_t *codec_bits_finish(codec_bit_writer *w)
{
    vv_put_be64(w->p, w->word);
    return w->p + (w->used + 7) / 8;
}

typedef struct codec_bit_reader {
    const uint8_t *data;
    size_t len;
    size_t pos; /* in bits; may pass the end */
} codec_bit_reader;

static inline uint64_t codec_bits_tail(const codec_bit_reader *r, size_t at)
{
    uint64_t word = 0;
    for (unsigned i = 0; i < 8; i++)
        word = word << 8 | (at + i < r->len ? r->data[at + i] : 0);
    return word;
}

/* The next bits from the top, 57 of them for certain. */
static inline uint64_t codec_bits_peek(const codec_bit_reader *r)
{
    size_t at = r->pos >> 3;
    uint64_t word =
        VV_LIKELY(at + 8 <= r->len) ? vv_get_be64(r->data + at) : codec_bits_tail(r, at);
    return word << (r->pos & 7);
}

/* The next count bits, 1 to 64. */
static inline uint64_t codec_bits_get(codec_bit_reader *r, unsigned count)
{
    uint64_t high = 0;
    if (VV_UNLIKELY(count > 57)) {
        high = codec_bits_peek(r) >> 32;
        r->pos += 32;
        count -= 32;
    }
    uint64_t low = codec_bits_peek(r) >> (64 - count);
    r->pos += count;
    return high << count | low;
}

/* Whether the stream ended where its bytes do: in the last byte, with zeros behind it. */
static inline bool codec_bits_ended(const codec_bit_reader *r)
{
    if (r->pos > r->len * 8 || r->len * 8 - r->pos > 7)
        return false;
    unsigned rest = (unsigned)(r->len * 8 - r->pos);
    return rest == 0 || (r->data[r->len - 1] & ((1u << rest) - 1)) == 0;
}

#endif
