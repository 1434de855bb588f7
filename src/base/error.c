#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"

/* One row a status, in the order of the enum. gRPC codes are those of google.rpc.Code. */
static const struct {
    const char *name;
    int grpc;
    int http;
} status_rows[] = {
    [VV_OK] = {"OK", 0, 200},
    [VV_NOT_FOUND] = {"NOT_FOUND", 5, 404},
    [VV_INVALID] = {"INVALID", 3, 400},
    [VV_CONFLICT] = {"CONFLICT", 10, 409},
    [VV_BUSY] = {"BUSY", 8, 429},
    [VV_NO_MEMORY] = {"NO_MEMORY", 8, 507},
    [VV_NO_SPACE] = {"NO_SPACE", 8, 507},
    [VV_TIMEOUT] = {"TIMEOUT", 4, 504},
    [VV_UNSUPPORTED] = {"UNSUPPORTED", 12, 501},
    [VV_CLOSED] = {"CLOSED", 14, 503},
    [VV_IO] = {"IO", 13, 500},
    [VV_CORRUPT] = {"CORRUPT", 15, 500},
};
static_assert(ARRAY_LEN(status_rows) == VV_STATUS_COUNT, "every status has a row");

const char *vv_status_name(vv_status status)
{
    return (size_t)status < ARRAY_LEN(status_rows) ? status_rows[status].name : "UNKNOWN";
}

int vv_status_grpc(vv_status status)
{
    return (size_t)status < ARRAY_LEN(status_rows) ? status_rows[status].grpc : 2;
}

int vv_status_http(vv_status status)
{
    return (size_t)status < ARRAY_LEN(status_rows) ? status_rows[status].http : 500;
}

vv_status vv_status_of_grpc(int code)
{
    for (size_t i = 0; i < ARRAY_LEN(status_rows); i++)
        if (status_rows[i].grpc == code)
            return (vv_status)i;
    return VV_IO;
}

const char *vv_errno_text(int sys, char *buf, size_t buf_len)
{
    return strerror_r(sys, buf, buf_len); /* the GNU form: may return a constant */
}

vv_status vv_status_of_errno(int sys)
{
    switch (sys) {
    case ENOSPC:
    case EDQUOT:
        return VV_NO_SPACE;
    case ENOMEM:
        return VV_NO_MEMORY;
    case ENOENT:
        return VV_NOT_FOUND;
    default:
        return VV_IO;
    }
}

static void fill(vv_error *err, vv_status status, int sys, const char *fmt, va_list ap)
    __attribute__((format(printf, 4, 0)));

static void fill(vv_error *err, vv_status status, int sys, const char *fmt, va_list ap)
{
    err->status = status;
    err->sys = sys;
    (void)vsnprintf(err->msg, sizeof err->msg, fmt, ap); /* a long sentence is cut, not refused */
}

vv_status vv_fail(vv_error *err, vv_status status, const char *fmt, ...)
{
    if (err != NULL) {
        va_list ap;
        va_start(ap, fmt);
        fill(err, status, 0, fmt, ap);
        va_end(ap);
    }
    return status;
}

vv_status vv_fail_sys(vv_error *err, vv_status status, int sys, const char *fmt, ...)
{
    if (err != NULL) {
        va_list ap;
        va_start(ap, fmt);
        fill(err, status, sys, fmt, ap);
        va_end(ap);
        char text[96];
        size_t used = strlen(err->msg);
        (void)snprintf(err->msg + used, sizeof err->msg - used, ": %s",
                       vv_errno_text(sys, text, sizeof text));
    }
    return status;
}

vv_status vv_wrap(vv_error *err, vv_status status, const char *fmt, ...)
{
    if (err != NULL) {
        char front[sizeof err->msg];
        va_list ap;
        va_start(ap, fmt);
        (void)vsnprintf(front, sizeof front, fmt, ap);
        va_end(ap);
        char old[sizeof err->msg];
        memcpy(old, err->msg, sizeof old);
        size_t used = strlen(front);
        memcpy(err->msg, front, used);
        (void)snprintf(err->msg + used, sizeof err->msg - used, ": %s", old);
        err->status = status;
    }
    return status;
}
