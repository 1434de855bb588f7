/*
 * slice.h - borrowed bytes: a pointer and a length, never owned, never NUL-terminated.
 */
#ifndef VARVE_SLICE_H
#define VARVE_SLICE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vv_slice {
    const uint8_t *data; /* may be NULL when len is 0 */
    size_t len;
} vv_slice;

static inline vv_slice vv_slice_of(const void *data, size_t len)
{
    vv_slice s;
    s.data = (const uint8_t *)data;
    s.len = len;
    return s;
}

static inline vv_slice vv_slice_str(const char *text)
{
    return vv_slice_of(text, text == NULL ? 0 : strlen(text));
}

/** Bytewise order, a prefix before its extensions: <0, 0 or >0. */
static inline int vv_slice_cmp(vv_slice a, vv_slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n == 0 ? 0 : memcmp(a.data, b.data, n);
    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

static inline int vv_slice_eq(vv_slice a, vv_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline int vv_slice_has_prefix(vv_slice s, vv_slice prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.data, prefix.data, prefix.len) == 0);
}

#ifdef __cplusplus
}
#endif

#endif
