/*
 * varint.h - LEB128: seven bits a byte, low group first, the high bit says that more follows.
 *
 * Decoders take (p, end) and return the next byte to read, or NULL when the bytes end early or the
 * value does not fit 64 bits; a non-minimal form is accepted, as protobuf does.
 */
#ifndef VARVE_BASE_VARINT_H
#define VARVE_BASE_VARINT_H

#include <stddef.h>
#include <stdint.h>

#define VV_VARINT_MAX 10 /* bytes of the longest 64-bit value */

/** Write v at p, which has VV_VARINT_MAX bytes of room; returns the bytes used. */
static inline size_t vv_varint_put(uint8_t *p, uint64_t v)
{
    size_t n = 0;
    while (v >= 0x80) {
        p[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    p[n++] = (uint8_t)v;
    return n;
}

/** Bytes that vv_varint_put would use. */
static inline size_t vv_varint_len(uint64_t v)
{
    return (size_t)(63 - __builtin_clzll(v | 1)) / 7 + 1;
}

static inline const uint8_t *vv_varint_get(const uint8_t *p, const uint8_t *end, uint64_t *out)
{
    if (p < end && *p < 0x80) { /* the common case: one byte */
        *out = *p;
        return p + 1;
    }
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70 && p < end; shift += 7) {
        uint64_t byte = *p++;
        if (shift == 63 && byte > 1)
            return NULL; /* more than 64 bits */
        v |= (byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = v;
            return p;
        }
    }
    return NULL;
}

/** As vv_varint_get, of the shortest form alone: the same value has one spelling. A p of NULL, of a
 * get that failed before, gives NULL. */
static inline const uint8_t *vv_varint_get_short(const uint8_t *p, const uint8_t *end,
                                                 uint64_t *out)
{
    const uint8_t *next = p == NULL ? NULL : vv_varint_get(p, end, out);
    return next != NULL && (size_t)(next - p) == vv_varint_len(*out) ? next : NULL;
}

#endif
