/*
 * bytes.h - integers as bytes. Files are little-endian; keys that must sort are big-endian.
 *
 * memcpy and a builtin swap compile to one move on every machine we build for.
 */
#ifndef VARVE_BASE_BYTES_H
#define VARVE_BASE_BYTES_H

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "only little-endian machines are supported: add the swaps here"
#endif

#define VV_ENDIAN_PAIR(bits)                                                                       \
    static inline void vv_put_le##bits(uint8_t *p, uint##bits##_t v)                               \
    {                                                                                              \
        memcpy(p, &v, sizeof v);                                                                   \
    }                                                                                              \
    static inline uint##bits##_t vv_get_le##bits(const uint8_t *p)                                 \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        memcpy(&v, p, sizeof v);                                                                   \
        return v;                                                                                  \
    }                                                                                              \
    static inline void vv_put_be##bits(uint8_t *p, uint##bits##_t v)                               \
    {                                                                                              \
        v = __builtin_bswap##bits(v);                                                              \
        memcpy(p, &v, sizeof v);                                                                   \
    }                                                                                              \
    static inline uint##bits##_t vv_get_be##bits(const uint8_t *p)                                 \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        memcpy(&v, p, sizeof v);                                                                   \
        return __builtin_bswap##bits(v);                                                           \
    }

VV_ENDIAN_PAIR(16)
VV_ENDIAN_PAIR(32)
VV_ENDIAN_PAIR(64)

#endif
