/*
 * grpc_inflate.h - one compressed message to its bytes, never past a limit.
 *
 * The limit is the point: a few kilobytes can inflate to gigabytes. Output grows by doubling up to
 * the limit and is checked before it is kept.
 */
#ifndef VARVE_SERVER_GRPC_INFLATE_H
#define VARVE_SERVER_GRPC_INFLATE_H

#include "base/buf.h"
#include "server/grpc_text.h"
#include "varve/slice.h"
#include "varve/status.h"

/**
 * Append the inflated bytes of in to out, at most out->max in all. VV_INVALID when in is damaged,
 * cut short or followed by other bytes; VV_BUSY when the output would pass the limit.
 */
VV_MUST_CHECK vv_status grpc_inflate(grpc_encoding encoding, vv_slice in, vv_buf *out,
                                     vv_error *err);

#endif
