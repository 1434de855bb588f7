#include "io/vio_path.h"

#include <string.h>

#include "base/error.h"

static bool part_is_good(const char *part, size_t len)
{
    if (len == 0 || (len == 1 && part[0] == '.') || (len == 2 && memcmp(part, "..", 2) == 0))
        return false;
    return true;
}

vv_status vio_path_check(const char *path, bool is_dir, vv_error *err)
{
    if (strnlen(path, VIO_PATH_MAX) == VIO_PATH_MAX)
        return vv_fail(err, VV_INVALID, "path '%.60s...' is longer than %d bytes", path,
                       VIO_PATH_MAX - 1);
    const char *part = path[0] == '/' ? path + 1 : path;
    if (*part == '\0') {
        if (is_dir)
            return VV_OK;
        return vv_fail(err, VV_INVALID, "path '%s' names no file", path);
    }
    for (;;) {
        size_t len = strcspn(part, "/");
        if (!part_is_good(part, len))
            return vv_fail(err, VV_INVALID, "path '%s' has an empty, '.' or '..' part", path);
        if (part[len] == '\0')
            return VV_OK;
        part += len + 1;
    }
}
