/*
 * fuzz_http1.c - the HTTP/1.1 parser: no crash, an accepted head written out again is read the
 * same, and a body's framing means the same however it is cut.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "server/http1_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void write_head(const http1_head *h, vv_buf *out)
{
    vv_buf_append_slice(out, h->verb);
    vv_buf_append_str(out, " ");
    vv_buf_append_slice(out, h->path);
    if (h->query.data != NULL) {
        vv_buf_append_str(out, "?");
        vv_buf_append_slice(out, h->query);
    }
    vv_buf_printf(out, " HTTP/1.%u\r\n", h->minor);
    for (uint32_t i = 0; i < h->header_count; i++) {
        vv_buf_append_slice(out, h->headers[i].name);
        vv_buf_append_str(out, ":");
        vv_buf_append_slice(out, h->headers[i].value);
        vv_buf_append_str(out, "\r\n");
    }
    vv_buf_append_str(out, "\r\n");
}

static void check_head(vv_slice in)
{
    http1_head a, b;
    int status = 0;
    if (http1_parse_head(in, &a, &status) == HTTP1_BAD) {
        check(status >= 400 && status <= 505);
        return;
    }
    check(!(a.chunked && a.content_length > 0));
    check(a.path.len > 0 && a.path.data[0] == '/');
    vv_buf text;
    vv_buf_init(&text, 4 << 20);
    write_head(&a, &text);
    check(text.status == VV_OK);
    size_t scan = 0;
    check(http1_head_end(vv_buf_slice(&text), &scan) == text.len);
    check(http1_parse_head(vv_buf_slice(&text), &b, &status) == HTTP1_DONE);
    check(vv_slice_eq(a.verb, b.verb) && vv_slice_eq(a.path, b.path));
    check(vv_slice_eq(a.query, b.query) && a.minor == b.minor && a.chunked == b.chunked);
    check(a.content_length == b.content_length && a.header_count == b.header_count);
    check(a.keep_alive == b.keep_alive && a.expect_continue == b.expect_continue);
    for (uint32_t i = 0; i < a.header_count; i++)
        check(vv_slice_eq(a.headers[i].name, b.headers[i].name) &&
              vv_slice_eq(a.headers[i].value, b.headers[i].value));
    vv_buf_fini(&text);
}

/* The body, then how it ended; input in steps of at most step bytes. */
static size_t run_chunks(vv_slice in, size_t step, vv_buf *body)
{
    http1_chunks c = {0};
    size_t used = 0;
    for (;;) {
        size_t n = in.len - used < step ? in.len - used : step;
        vv_slice part = vv_slice_of(in.data + used, n), piece;
        http1_chunk_event e = http1_chunk_next(&c, &part, &piece);
        used += n - part.len;
        if (e == HTTP1_CHUNK_PIECE)
            vv_buf_append_slice(body, piece);
        else if (e != HTTP1_CHUNK_MORE || used == in.len)
            return used * 4 + (size_t)e;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vv_slice in = vv_slice_of(data, size);
    size_t scan = 0;
    size_t end = http1_head_end(in, &scan);
    check(end <= size);
    check_head(vv_slice_of(data, end > 0 ? end : size));

    vv_slice body = vv_slice_of(data + end, size - end);
    vv_buf whole, split;
    vv_buf_init(&whole, 4 << 20);
    vv_buf_init(&split, 4 << 20);
    check(run_chunks(body, SIZE_MAX, &whole) == run_chunks(body, 1, &split));
    check(vv_slice_eq(vv_buf_slice(&whole), vv_buf_slice(&split)));
    vv_buf_fini(&whole);
    vv_buf_fini(&split);
    return 0;
}
