#include "server/grpc_inflate.h"

#include <zlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"

#define STEP_MIN 4096u
#define STEP_MAX (256u * 1024u)

static voidpf zalloc(voidpf opaque, uInt items, uInt size)
{
    (void)opaque;
    return vv_calloc(items, size);
}

static void zfree(voidpf opaque, voidpf ptr)
{
    (void)opaque;
    vv_free(ptr);
}

/* Room for the next step, no more than the limit allows; at the limit one byte of scratch tells a
 * message that just fits from one that is too long. */
static vv_status inflate_all(z_stream *z, vv_buf *out, vv_error *err)
{
    uint8_t scratch = 0;
    size_t step = STEP_MIN;
    for (;;) {
        size_t room = out->max - out->len < step ? out->max - out->len : step;
        uint8_t *to = room == 0 ? &scratch : vv_buf_reserve(out, room);
        if (to == NULL)
            return vv_fail(err, VV_NO_MEMORY, "inflate: no memory for %zu bytes", room);
        z->next_out = to;
        z->avail_out = room == 0 ? 1 : (uInt)room;
        int rc = inflate(z, Z_NO_FLUSH);
        size_t made = (size_t)(z->next_out - to);
        if (room == 0 && made > 0)
            return vv_fail(err, VV_BUSY, "the message inflates to more than %zu bytes", out->max);
        if (room > 0)
            vv_buf_advance(out, made);
        if (rc == Z_STREAM_END)
            return VV_OK;
        if (rc == Z_MEM_ERROR)
            return vv_fail(err, VV_NO_MEMORY, "inflate: no memory");
        if (rc != Z_OK || (made == 0 && z->avail_in == 0))
            return vv_fail(err, VV_INVALID, "the compressed message is damaged or cut short");
        if (step < STEP_MAX)
            step *= 2;
    }
}

vv_status grpc_inflate(grpc_encoding encoding, vv_slice in, vv_buf *out, vv_error *err)
{
    z_stream z = {.zalloc = zalloc, .zfree = zfree};
    int window_bits = encoding == GRPC_GZIP ? 15 + 16 : 15;
    if (in.len > UINT32_MAX)
        return vv_fail(err, VV_INVALID, "inflate: %zu bytes are too many", in.len);
    if (inflateInit2(&z, window_bits) != Z_OK)
        return vv_fail(err, VV_NO_MEMORY, "inflate: no memory");
    z.next_in = (Bytef *)(uintptr_t)in.data;
    z.avail_in = (uInt)in.len;
    vv_status st = inflate_all(&z, out, err);
    if (st == VV_OK && z.avail_in > 0)
        st = vv_fail(err, VV_INVALID, "bytes follow the compressed message");
    (void)inflateEnd(&z);
    return st;
}
