/*
 * http1_parse.h - HTTP/1.1 as a pure function over bytes (RFC 9112), strict on purpose.
 *
 * Two parsers that read one message differently are how requests are smuggled. So whatever the RFC
 * lets a recipient repair is refused here: both lengths, a repeated length, a bare CR or LF, folded
 * lines, space before a colon, odd transfer codings. What is accepted has one meaning.
 */
#ifndef VARVE_SERVER_HTTP1_PARSE_H
#define VARVE_SERVER_HTTP1_PARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "varve/slice.h"

#define HTTP1_HEADERS_MAX 64u
#define HTTP1_LINE_MAX 8192u /* of the request line, CRLF excluded */

typedef struct http1_header {
    vv_slice name;  /* as received: compare without case */
    vv_slice value; /* outer blanks removed */
} http1_header;

typedef struct http1_head {
    vv_slice verb;
    vv_slice path;  /* starts with '/' */
    vv_slice query; /* after '?', without it; empty when there is none */
    uint8_t minor;  /* 0 or 1 */
    bool keep_alive;
    bool chunked;
    bool expect_continue;
    uint64_t content_length; /* 0 when absent or chunked */
    uint32_t header_count;
    http1_header headers[HTTP1_HEADERS_MAX];
} http1_head;

typedef enum http1_result { HTTP1_MORE, HTTP1_DONE, HTTP1_BAD } http1_result;

/**
 * Find the end of a head that starts at in: the first empty line. *scan carries the place up to
 * which earlier calls looked (0 at first), so that bytes that trickle in are looked at once.
 * Returns the length with the empty line, or 0. A bare LF ends a line here, for the parser to
 * refuse.
 */
size_t http1_head_end(vv_slice in, size_t *scan);

/**
 * Parse one whole head, exactly in. *out borrows from in. On HTTP1_BAD *status is the answer: 400,
 * 414, 417, 431, 501 or 505.
 */
http1_result http1_parse_head(vv_slice in, http1_head *out, int *status);

/* ---- chunked bodies ---------------------------------------------------------------------- */

typedef enum http1_chunk_event {
    HTTP1_CHUNK_MORE,  /* the input is used up */
    HTTP1_CHUNK_PIECE, /* some bytes of the body, never zero */
    HTTP1_CHUNK_END,   /* the body and its trailers are over */
    HTTP1_CHUNK_BAD,
} http1_chunk_event;

/* A zero-filled one starts a body. */
typedef struct http1_chunks {
    uint64_t left;     /* bytes of this chunk still to come */
    uint32_t line_len; /* bytes of the current line: size, extensions or a trailer */
    uint32_t trailer_len;
    uint8_t digits;
    uint8_t state;
} http1_chunks;

http1_chunk_event http1_chunk_next(http1_chunks *c, vv_slice *in, vv_slice *piece);

#endif
