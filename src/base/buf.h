/*
 * buf.h - vv_buf, growable bytes that someone owns, with a maximum set at init.
 *
 * A failed append latches: later appends are no-ops and vv_buf_status says what happened, so a
 * long encoder checks once at its end. After vv_buf_reset the latch is clear.
 */
#ifndef VARVE_BASE_BUF_H
#define VARVE_BASE_BUF_H

#include <stdint.h>

#include "varve/slice.h"
#include "varve/status.h"

typedef struct vv_buf {
    uint8_t *data;
    size_t len;
    size_t cap;
    size_t max;       /* appends past it fail with VV_BUSY */
    vv_status status; /* latched: VV_OK, VV_NO_MEMORY or VV_BUSY */
} vv_buf;

/** An empty buffer that may grow to max bytes. Allocates nothing. */
static inline void vv_buf_init(vv_buf *b, size_t max)
{
    *b = (vv_buf){.max = max};
}

/** Frees the bytes; the buffer is as after init. */
void vv_buf_fini(vv_buf *b);

/** Forget the content, keep the memory. */
static inline void vv_buf_reset(vv_buf *b)
{
    b->len = 0;
    b->status = VV_OK;
}

static inline vv_slice vv_buf_slice(const vv_buf *b)
{
    return vv_slice_of(b->data, b->len);
}

/** Room for more bytes behind len, or NULL with the status latched. len does not move. */
uint8_t *vv_buf_reserve(vv_buf *b, size_t more);

/** len += n, after the caller filled n bytes of what vv_buf_reserve gave. */
static inline void vv_buf_advance(vv_buf *b, size_t n)
{
    b->len += n;
}

void vv_buf_append(vv_buf *b, const void *data, size_t len);
void vv_buf_append_slice(vv_buf *b, vv_slice s);
void vv_buf_append_str(vv_buf *b, const char *text);
void vv_buf_append_u8(vv_buf *b, uint8_t v);
void vv_buf_append_le32(vv_buf *b, uint32_t v);
void vv_buf_append_le64(vv_buf *b, uint64_t v);
/** LEB128, at most ten bytes. */
void vv_buf_append_varint(vv_buf *b, uint64_t v);
/** printf into the buffer; no NUL is kept behind it. */
void vv_buf_printf(vv_buf *b, const char *fmt, ...) VV_PRINTF(2, 3);

#endif
