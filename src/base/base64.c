/*
 * base64.c - see base64.h.
 */
#include "base/base64.h"

void vv_base64_put(vv_buf *out, vv_slice bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const size_t len = (bytes.len + 2) / 3 * 4;
    uint8_t *to = len == 0 ? NULL : vv_buf_reserve(out, len);
    if (to == NULL)
        return;
    for (size_t i = 0; i < bytes.len; i += 3) {
        const uint8_t *p = bytes.data + i;
        const size_t left = bytes.len - i;
        const uint32_t v =
            (uint32_t)p[0] << 16 | (left > 1 ? (uint32_t)p[1] << 8 : 0) | (left > 2 ? p[2] : 0);
        *to++ = (uint8_t)digits[v >> 18];
        *to++ = (uint8_t)digits[v >> 12 & 63];
        *to++ = left > 1 ? (uint8_t)digits[v >> 6 & 63] : '=';
        *to++ = left > 2 ? (uint8_t)digits[v & 63] : '=';
    }
    vv_buf_advance(out, len);
}

int vv_base64_digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    return c == '/' || c == '_' ? 63 : -1;
}
