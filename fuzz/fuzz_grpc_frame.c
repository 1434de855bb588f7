/*
 * fuzz_grpc_frame.c - the prefix machine: the same events however the bytes are cut, what it
 * reports written out again is the input, and inflating never passes its limit. Also grpc-timeout.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "server/grpc_frame.h"
#include "server/grpc_inflate.h"
#include "server/grpc_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* Feed in steps of at most step bytes and write down what is reported, in the input's own form. */
static void echo(grpc_frame *f, vv_slice in, size_t step, vv_buf *out)
{
    uint64_t body = 0;
    while (!f->bad) {
        size_t n = in.len < step ? in.len : step;
        vv_slice part = vv_slice_of(in.data, n), piece;
        grpc_event e = grpc_frame_next(f, &part, &piece);
        in.data += n - part.len;
        in.len -= n - part.len;
        if (e == GRPC_HEAD) {
            uint8_t prefix[GRPC_PREFIX_LEN];
            grpc_prefix_write(prefix, f->length);
            prefix[0] = f->compressed;
            vv_buf_append(out, prefix, sizeof prefix);
            body = 0;
        } else if (e == GRPC_PIECE) {
            check(piece.len > 0);
            vv_buf_append_slice(out, piece);
            body += piece.len;
        } else if (e == GRPC_END) {
            check(body == f->length);
        } else if (e == GRPC_MORE && in.len == 0) {
            return;
        }
    }
}

static void check_timeout(vv_slice in)
{
    int64_t ns = -1;
    if (grpc_timeout_parse(in, &ns))
        check(in.len >= 2 && in.len <= 9 && ns >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vv_slice in = vv_slice_of(data, size);
    grpc_frame a = {0}, b = {0};
    vv_buf whole, split;
    vv_buf_init(&whole, 4 << 20);
    vv_buf_init(&split, 4 << 20);
    echo(&a, in, SIZE_MAX, &whole);
    echo(&b, in, 1, &split);
    check(vv_slice_eq(vv_buf_slice(&whole), vv_buf_slice(&split)));
    check(a.bad == b.bad && grpc_frame_is_clean(&a) == grpc_frame_is_clean(&b));
    check(whole.len <= size && (whole.len == 0 || memcmp(whole.data, data, whole.len) == 0));
    check_timeout(in);

    for (int e = GRPC_GZIP; e <= GRPC_DEFLATE; e++) {
        vv_buf out;
        vv_buf_init(&out, 65536);
        if (grpc_inflate((grpc_encoding)e, in, &out, NULL) == VV_OK)
            check(out.len <= 65536);
        vv_buf_fini(&out);
    }
    vv_buf_fini(&whole);
    vv_buf_fini(&split);
    return 0;
}
