/*
 * feed_snappy.c - snappy blocks by the library, with the sizes looked at first.
 */
#include <inttypes.h>

#include <snappy-c.h>

#include "base/error.h"
#include "feeds/feed_remote.h"

/* Three bytes of a block make at most 64 bytes of content: a block that declares more than that is
 * not worth the memory it asks for. */
#define GROWTH_MAX 22u

vv_status feed_snappy_decode(vv_slice block, size_t size_max, vv_buf *out, vv_error *err)
{
    const char *bytes = (const char *)block.data;
    size_t size = 0;
    vv_buf_reset(out);
    if (block.len == 0 || snappy_uncompressed_length(bytes, block.len, &size) != SNAPPY_OK)
        return vv_fail(err, VV_INVALID, "the body is no snappy block: it declares no size");
    if (size > size_max)
        return vv_fail(err, VV_BUSY, "the snappy block declares %zu bytes, the limit is %zu", size,
                       size_max);
    if (size / GROWTH_MAX > block.len)
        return vv_fail(err, VV_INVALID,
                       "the body is no snappy block: %zu bytes cannot hold the %zu it declares",
                       block.len, size);
    uint8_t *to = vv_buf_reserve(out, size == 0 ? 1 : size);
    if (to == NULL)
        return vv_fail(err, out->status, "%zu bytes for a snappy block", size);
    if (snappy_uncompress(bytes, block.len, (char *)to, &size) != SNAPPY_OK)
        return vv_fail(err, VV_INVALID, "the body is no snappy block: its content is damaged");
    vv_buf_advance(out, size);
    return VV_OK;
}
