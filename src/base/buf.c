#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/util.h"
#include "base/varint.h"

void vv_buf_fini(vv_buf *b)
{
    vv_free(b->data);
    *b = (vv_buf){.max = b->max};
}

uint8_t *vv_buf_reserve(vv_buf *b, size_t more)
{
    if (b->status != VV_OK)
        return NULL;
    if (more <= b->cap - b->len && b->data != NULL)
        return b->data + b->len;
    if (more > b->max || b->len > b->max - more) {
        b->status = VV_BUSY;
        return NULL;
    }
    size_t cap = b->cap == 0 ? 64 : b->cap;
    while (cap < b->len + more)
        cap *= 2;
    if (cap > b->max)
        cap = b->max;
    uint8_t *data = vv_realloc(b->data, cap);
    if (data == NULL) {
        b->status = VV_NO_MEMORY;
        return NULL;
    }
    b->data = data;
    b->cap = cap;
    return data + b->len;
}

void vv_buf_append(vv_buf *b, const void *data, size_t len)
{
    if (len == 0)
        return;
    uint8_t *to = vv_buf_reserve(b, len);
    if (to == NULL)
        return;
    memcpy(to, data, len);
    b->len += len;
}

void vv_buf_append_slice(vv_buf *b, vv_slice s)
{
    vv_buf_append(b, s.data, s.len);
}

void vv_buf_append_str(vv_buf *b, const char *text)
{
    vv_buf_append(b, text, strlen(text));
}

void vv_buf_append_u8(vv_buf *b, uint8_t v)
{
    vv_buf_append(b, &v, 1);
}

void vv_buf_append_le32(vv_buf *b, uint32_t v)
{
    uint8_t bytes[4];
    vv_put_le32(bytes, v);
    vv_buf_append(b, bytes, sizeof bytes);
}

void vv_buf_append_le64(vv_buf *b, uint64_t v)
{
    uint8_t bytes[8];
    vv_put_le64(bytes, v);
    vv_buf_append(b, bytes, sizeof bytes);
}

void vv_buf_append_varint(vv_buf *b, uint64_t v)
{
    uint8_t *to = vv_buf_reserve(b, VV_VARINT_MAX);
    if (to != NULL)
        b->len += vv_varint_put(to, v);
}

void vv_buf_printf(vv_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int need = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (need < 0)
        return;
    uint8_t *to = vv_buf_reserve(b, (size_t)need + 1);
    if (to == NULL)
        return;
    va_start(ap, fmt);
    (void)vsnprintf((char *)to, (size_t)need + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)need;
}
