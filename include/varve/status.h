/*
 * status.h - what a call answers: a small status, and a sentence about what went wrong.
 *
 * A status exists because a caller acts differently on it; everything else is words in vv_error.
 * The values are ABI: new ones are added at the end, none is ever renumbered.
 */
#ifndef VARVE_STATUS_H
#define VARVE_STATUS_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define VV_API __attribute__((visibility("default")))
#define VV_MUST_CHECK __attribute__((warn_unused_result))
#define VV_PRINTF(fmt_index, first_index) __attribute__((format(printf, fmt_index, first_index)))
#else
#define VV_API
#define VV_MUST_CHECK
#define VV_PRINTF(fmt_index, first_index)
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum vv_status {
    VV_OK = 0,
    VV_NOT_FOUND,   /* the key, table or object is absent; often an answer, not a fault */
    VV_INVALID,     /* the caller passed a value we can prove wrong */
    VV_CONFLICT,    /* lost a write-write race or a condition failed: read again and retry */
    VV_BUSY,        /* a bounded resource is full: back off and retry */
    VV_NO_MEMORY,   /* an allocation failed */
    VV_NO_SPACE,    /* the disk or a quota is full */
    VV_TIMEOUT,     /* the deadline passed before the answer was known */
    VV_UNSUPPORTED, /* asked for something this build or this table cannot do */
    VV_CLOSED,      /* the object is closed or shutting down */
    VV_IO,          /* the OS or the network refused; vv_error.sys says how */
    VV_CORRUPT,     /* stored bytes failed a checksum or a structural check */
} vv_status;

#define VV_STATUS_COUNT 12

typedef struct vv_error {
    vv_status status;
    int sys;       /* errno or HTTP status behind it, 0 if none */
    char msg[240]; /* cause, place and, where there is one, the next step; always NUL-terminated */
} vv_error;

/** The name of a status, "NOT_FOUND"; "UNKNOWN" for a value outside the enum. Never NULL. */
VV_API const char *vv_status_name(vv_status status);

#ifdef __cplusplus
}
#endif

#endif
