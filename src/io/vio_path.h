/*
 * vio_path.h - which paths a vio accepts; the same rule for every backend.
 */
#ifndef VARVE_IO_VIO_PATH_H
#define VARVE_IO_VIO_PATH_H

#include "io/vio.h"

/** VV_INVALID unless path is "a/b/c" with no empty, "." or ".." part and shorter than
 * VIO_PATH_MAX. A leading '/' is allowed: see vio.h. "" is allowed only as a directory. */
VV_MUST_CHECK vv_status vio_path_check(const char *path, bool is_dir, vv_error *err);

#endif
