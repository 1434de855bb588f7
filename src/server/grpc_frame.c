#include "server/grpc_frame.h"

#include <string.h>

#include "base/bytes.h"

static void take(vv_slice *in, size_t n)
{
    in->data += n;
    in->len -= n;
}

grpc_event grpc_frame_next(grpc_frame *f, vv_slice *in, vv_slice *piece)
{
    if (f->bad)
        return GRPC_BAD;
    if (f->in_body && f->left == 0) {
        f->in_body = false;
        f->prefix_have = 0;
        return GRPC_END;
    }
    if (in->len == 0)
        return GRPC_MORE;
    if (f->in_body) {
        size_t n = in->len < f->left ? in->len : f->left;
        *piece = vv_slice_of(in->data, n);
        take(in, n);
        f->left -= (uint32_t)n;
        return GRPC_PIECE;
    }
    size_t want = GRPC_PREFIX_LEN - f->prefix_have;
    size_t n = in->len < want ? in->len : want;
    memcpy(f->prefix + f->prefix_have, in->data, n);
    f->prefix_have = (uint8_t)(f->prefix_have + n);
    take(in, n);
    if (f->prefix[0] > 1) {
        f->bad = true;
        return GRPC_BAD;
    }
    if (f->prefix_have < GRPC_PREFIX_LEN)
        return GRPC_MORE;
    f->compressed = f->prefix[0] == 1;
    f->length = f->left = vv_get_be32(f->prefix + 1);
    f->in_body = true;
    return GRPC_HEAD;
}

void grpc_prefix_write(uint8_t out[GRPC_PREFIX_LEN], uint32_t length)
{
    out[0] = 0;
    vv_put_be32(out + 1, length);
}
