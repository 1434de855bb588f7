/*
 * error.h - how a sentence about a failure starts and grows on its way up.
 *
 * vv_fail starts the sentence, vv_fail_sys adds errno, vv_wrap puts context in front. Each returns
 * the status it was given, so that `return vv_fail(err, VV_IO, ...)` reads as one thought, and each
 * accepts a NULL err. Libraries return, programs log.
 */
#ifndef VARVE_BASE_ERROR_H
#define VARVE_BASE_ERROR_H

#include "varve/status.h"

/** Fill err with status and a new sentence. Returns status. */
vv_status vv_fail(vv_error *err, vv_status status, const char *fmt, ...) VV_PRINTF(3, 4);

/** As vv_fail, with ": <text of sys>" at the end and err->sys set. sys is an errno value. */
vv_status vv_fail_sys(vv_error *err, vv_status status, int sys, const char *fmt, ...)
    VV_PRINTF(4, 5);

/** Put "<fmt>: " in front of the sentence already in err, keep err->sys. Returns status. */
vv_status vv_wrap(vv_error *err, vv_status status, const char *fmt, ...) VV_PRINTF(3, 4);

/** The status for an errno of a file operation: ENOSPC and EDQUOT are VV_NO_SPACE, ENOMEM is
 * VV_NO_MEMORY, ENOENT is VV_NOT_FOUND, everything else VV_IO. */
vv_status vv_status_of_errno(int sys);

/** The text of an errno value, thread safe, never NULL. */
const char *vv_errno_text(int sys, char *buf, size_t buf_len);

/** The gRPC status code of a vv_status: the one table of docs/STATUS.md. */
int vv_status_grpc(vv_status status);

/** The HTTP status code of a vv_status: the same table. */
int vv_status_http(vv_status status);

/** The vv_status a client gives a gRPC code it received; VV_IO for what no server of ours sends. */
vv_status vv_status_of_grpc(int code);

#endif
