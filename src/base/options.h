/*
 * options.h - an option struct of the API that was made by an older header, or by a newer one.
 *
 * Such a struct begins with its size. A program built against an older header leaves the newer
 * fields at their defaults; what a newer one has beyond ours cannot be known here.
 */
#ifndef VARVE_BASE_OPTIONS_H
#define VARVE_BASE_OPTIONS_H

#include <string.h>

#include "base/error.h"

/** Copy *from, whose first member is its size, over *to, which has the defaults in to_size bytes.
 * least is the size of the first form there was, type the name for the sentence of VV_INVALID. */
static inline vv_status vv_options_take(void *to, size_t to_size, const void *from, size_t least,
                                        const char *type, vv_error *err)
{
    size_t size;
    memcpy(&size, from, sizeof size);
    if (size < least)
        return vv_fail(err, VV_INVALID, "%s.size is %zu: begin with its ..._INIT", type, size);
    memcpy(to, from, size < to_size ? size : to_size);
    memcpy(to, &to_size, sizeof to_size);
    return VV_OK;
}

#endif
