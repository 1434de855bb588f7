/*
 * base64.c - see base64.h.
 */
#include "base/base64.h"

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

/* pad: behind the last digits, up to four; '\0': none. */
static void put(vv_buf *out, vv_slice bytes, const char *digits, char pad)
{
    const size_t over = bytes.len % 3;
    const size_t len =
        pad != '\0' || over == 0 ? (bytes.len + 2) / 3 * 4 : bytes.len / 3 * 4 + over + 1;
    uint8_t *to = len == 0 ? NULL : vv_buf_reserve(out, len);
    const uint8_t *end = to == NULL ? NULL : to + len;
    if (to == NULL)
        return;
    for (size_t i = 0; i < bytes.len; i += 3) {
        const uint8_t *p = bytes.data + i;
        const size_t left = bytes.len - i;
        const uint32_t v =
            (uint32_t)p[0] << 16 | (left > 1 ? (uint32_t)p[1] << 8 : 0) | (left > 2 ? p[2] : 0);
        for (size_t k = 0; k < 4 && to < end; k++)
            *to++ = (uint8_t)(k <= left ? digits[v >> (18 - 6 * k) & 63] : pad);
    }
    vv_buf_advance(out, len);
}

void vv_base64_put(vv_buf *out, vv_slice bytes)
{
    put(out, bytes, LETTERS "+/", '=');
}

void vv_base64url_put(vv_buf *out, vv_slice bytes)
{
    put(out, bytes, LETTERS "-_", '\0');
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
