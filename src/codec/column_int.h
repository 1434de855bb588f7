/*
 * column_int.h - shared inside codec/: the scratch, the reader, and the forms behind column.h.
 *
 * A form's put writes its payload (without the codec's byte) to memory of CODEC_STAGE bytes and
 * returns the byte behind it, or NULL when it cannot hold the values or would be longer than raw
 * ones. Its get reads the payload that is the whole of a codec_in.
 */
#ifndef VARVE_CODEC_COLUMN_INT_H
#define VARVE_CODEC_COLUMN_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/util.h"
#include "base/varint.h"
#include "codec/column.h"
#include "codec/column_kernel.h"

#define CODEC_STAGE (24u * 1024)    /* more than any form writes of CODEC_COLUMN_MAX values */
#define CODEC_CHIMP_KEYS (1u << 14) /* positions by the low bits of a value */

struct codec_scratch {
    _Alignas(64) uint64_t work[CODEC_COLUMN_MAX]; /* times in units; the block: divided values, */
    uint64_t trial[CODEC_COLUMN_MAX];             /* their differences, */
    uint64_t low[CODEC_COLUMN_MAX];               /* and those without what patches hold */
    uint64_t view[CODEC_COLUMN_MAX];              /* the integers of a form that has some inside */
    uint64_t miss[CODEC_COLUMN_MAX];              /* of the decimal form: 1 for no decimal */
    uint16_t number[CODEC_COLUMN_MAX];            /* of the dictionary: of each value */
    size_t size_to_beat;                          /* what a dictionary must be shorter than */
    uint8_t best[CODEC_STAGE];                    /* the column to be appended */
    uint8_t other[CODEC_STAGE];                   /* one that may become it */
    uint16_t chimp_index[CODEC_CHIMP_KEYS];
};

/* What is left of a column that is being read. */
typedef struct codec_in {
    const uint8_t *p;
    const uint8_t *end;
} codec_in;

static inline size_t codec_in_left(const codec_in *in)
{
    return (size_t)(in->end - in->p);
}

static inline bool codec_in_u8(codec_in *in, uint8_t *out)
{
    if (in->p == in->end)
        return false;
    *out = *in->p++;
    return true;
}

static inline bool codec_in_varint(codec_in *in, uint64_t *out)
{
    const uint8_t *p = vv_varint_get(in->p, in->end, out);
    if (p == NULL)
        return false;
    in->p = p;
    return true;
}

/* The next len bytes, as a reader of their own. */
static inline bool codec_in_part(codec_in *in, uint64_t len, codec_in *out)
{
    if (len > codec_in_left(in))
        return false;
    *out = (codec_in){in->p, in->p + len};
    in->p += len;
    return true;
}

static inline uint64_t codec_zigzag(uint64_t v)
{
    return v << 1 ^ (0 - (v >> 63));
}

static inline uint64_t codec_unzigzag(uint64_t u)
{
    return u >> 1 ^ (0 - (u & 1));
}

static inline bool codec_in_zigzag(codec_in *in, uint64_t *out)
{
    uint64_t u;
    if (!codec_in_varint(in, &u))
        return false;
    *out = codec_unzigzag(u);
    return true;
}

static inline uint8_t *codec_put_zigzag(uint8_t *p, uint64_t v)
{
    return p + vv_varint_put(p, codec_zigzag(v));
}

/* Integers and the bits of doubles are uint64_t: sums wrap, whatever the values. v may be s->view,
 * and no other array of the scratch. */
typedef uint8_t *(*codec_put_fn)(const uint64_t *v, uint32_t n, codec_scratch *s, uint8_t *p);
typedef vv_status (*codec_get_fn)(codec_in in, uint32_t n, uint64_t *out, vv_error *err);

uint8_t *codec_short_put(const uint64_t *v, uint32_t n, codec_scratch *s, uint8_t *p);
VV_MUST_CHECK vv_status codec_short_get(codec_in in, uint32_t n, uint64_t *out, vv_error *err);
uint8_t *codec_block_put(const uint64_t *v, uint32_t n, codec_scratch *s, uint8_t *p);
VV_MUST_CHECK vv_status codec_block_get(codec_in in, uint32_t n, uint64_t *out, vv_error *err);
uint8_t *codec_gorilla_time_put(const uint64_t *v, uint32_t n, codec_scratch *s, uint8_t *p);
VV_MUST_CHECK vv_status codec_gorilla_time_get(codec_in in, uint32_t n, uint64_t *out,
                                               vv_error *err);
uint8_t *codec_gorilla_put(const uint64_t *v, uint32_t n, codec_scratch *s, uint8_t *p);
VV_MUST_CHECK vv_status codec_gorilla_get(codec_in in, uint32_t n, uint64_t *out, vv_error *err);
uint8_t *codec_chimp_put(const uint64_t *v, uint32_t n, codec_scratch *s, uint8_t *p);
VV_MUST_CHECK vv_status codec_chimp_get(codec_in in, uint32_t n, uint64_t *out, vv_error *err);
uint8_t *codec_decimal_put(const uint64_t *v, uint32_t n, codec_scratch *s, uint8_t *p);
VV_MUST_CHECK vv_status codec_decimal_get(codec_in in, uint32_t n, uint64_t *out, vv_error *err);
uint8_t *codec_dict_put(const uint64_t *v, uint32_t n, codec_scratch *s, uint8_t *p);
VV_MUST_CHECK vv_status codec_dict_get(codec_in in, uint32_t n, uint64_t *out, vv_error *err);
uint8_t *codec_ordered_put(const uint64_t *v, uint32_t n, codec_scratch *s, uint8_t *p);
VV_MUST_CHECK vv_status codec_ordered_get(codec_in in, uint32_t n, uint64_t *out, vv_error *err);

/* A whole column of integers inside another: RAW, CONST, INT or INT_SHORT, with its codec's byte.
 * Never NULL. */
uint8_t *codec_inner_put(const uint64_t *v, uint32_t n, codec_scratch *s, uint8_t *p);
VV_MUST_CHECK vv_status codec_inner_get(codec_in in, uint32_t n, uint64_t *out, vv_error *err);

/* RAW and CONST of 8-byte values. */
VV_MUST_CHECK vv_status codec_raw_get(codec_in in, uint32_t n, uint64_t *out, vv_error *err);
VV_MUST_CHECK vv_status codec_const_get(codec_in in, uint32_t n, uint64_t *out, vv_error *err);

/* VV_CORRUPT about a column of this kind. */
vv_status codec_column_bad(vv_error *err, codec_column kind, const char *what);

#endif
