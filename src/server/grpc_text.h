/*
 * grpc_text.h - the texts of gRPC over HTTP/2: timeouts, status messages, content types, encodings.
 */
#ifndef VARVE_SERVER_GRPC_TEXT_H
#define VARVE_SERVER_GRPC_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "varve/slice.h"

/* Codes of google.rpc.Code that the transport itself answers. */
enum {
    GRPC_OK = 0,
    GRPC_CANCELLED = 1,
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_NOT_FOUND = 5,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_CODE_MAX = 16,
};

/** grpc-timeout: one to eight digits and one of H M S m u n. *ns saturates at INT64_MAX. */
bool grpc_timeout_parse(vv_slice text, int64_t *ns);

/** Append message as grpc-message wants it: printable ASCII stays; %, a blank at
 * either end and the rest become %XX. */
void grpc_message_encode(vv_buf *out, const char *message);

/** True for application/grpc, alone or followed by '+' or ';'. */
bool grpc_content_type(vv_slice text);

typedef enum grpc_encoding {
    GRPC_IDENTITY,
    GRPC_GZIP,
    GRPC_DEFLATE, /* the zlib form, as HTTP has it */
    GRPC_ENCODING_UNKNOWN,
} grpc_encoding;

grpc_encoding grpc_encoding_parse(vv_slice text);

#define GRPC_ACCEPT_ENCODING "identity,gzip,deflate"

#endif
