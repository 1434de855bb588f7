/*
 * utf8.h - how long a UTF-8 sequence is, and whether it is one (Unicode 15, table 3-7).
 */
#ifndef VARVE_BASE_UTF8_H
#define VARVE_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "varve/slice.h"

/* Bytes of the well-formed sequence at p (p < end), or 0 when it is malformed: overlong forms,
 * surrogates and values over U+10FFFF are. */
static inline size_t utf8_length(const uint8_t *p, const uint8_t *end)
{
    uint8_t lead = *p;
    size_t n = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (n < 2)
        return n;
    if (lead > 0xf4 || (size_t)(end - p) < n)
        return 0;
    uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

/* Whether all of a text is well formed. */
static inline bool utf8_is_valid(vv_slice text)
{
    for (size_t i = 0, n; i < text.len; i += n)
        if ((n = utf8_length(text.data + i, text.data + text.len)) == 0)
            return false;
    return true;
}

/* Write the sequence of a code point (not a surrogate, at most U+10FFFF) at out: 1 to 4 bytes. */
static inline size_t utf8_put(uint8_t out[4], uint32_t c)
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xc0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xe0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (c & 0x3f));
    return 4;
}

#endif
