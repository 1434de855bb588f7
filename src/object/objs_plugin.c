/*
 * objs_plugin.c - a backend from a shared object: found, and of the form we know.
 */
#include "object/object_int.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/util.h"

static vv_status check(const char *path, const vv_object_ops *ops, vv_error *err)
{
    if (ops == NULL)
        return vv_fail(err, VV_UNSUPPORTED, "%s: %s() gave no table", path,
                       VV_OBJECT_BACKEND_SYMBOL);
    if (ops->abi != VV_OBJECT_ABI || ops->size < sizeof(vv_object_ops))
        return vv_fail(err, VV_UNSUPPORTED,
                       "%s: built for ABI %" PRIu32 " with a table of %zu bytes: build it with "
                       "this version's varve/plugin.h (ABI %u, %zu bytes)",
                       path, ops->abi, ops->size, VV_OBJECT_ABI, sizeof(vv_object_ops));
    if (ops->name == NULL || ops->open == NULL || ops->close == NULL || ops->limits == NULL ||
        ops->put == NULL || ops->get == NULL || ops->head == NULL || ops->list == NULL ||
        ops->remove == NULL || ops->upload_begin == NULL || ops->upload_part == NULL ||
        ops->upload_complete == NULL || ops->upload_abort == NULL)
        return vv_fail(err, VV_UNSUPPORTED, "%s: its table lacks an operation", path);
    return VV_OK;
}

vv_status objs_plugin_load(const char *path, const vv_object_ops **ops, void **library,
                           vv_error *err)
{
    /* A path alone, never a name that the loader would search for. */
    if (strchr(path, '/') == NULL)
        return vv_fail(err, VV_INVALID, "storage.backend '%s': give the path, as ./%s", path, path);
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (lib == NULL)
        return vv_fail(err, VV_NOT_FOUND, "storage.backend: %s", dlerror());
    void *symbol = dlsym(lib, VV_OBJECT_BACKEND_SYMBOL);
    if (symbol == NULL) {
        (void)dlclose(lib);
        return vv_fail(err, VV_UNSUPPORTED, "%s: defines no %s()", path, VV_OBJECT_BACKEND_SYMBOL);
    }
    vv_object_backend_fn fn;
    memcpy(&fn, &symbol, sizeof fn); /* ISO C has no cast from object to function pointers */
    const vv_object_ops *table = fn();
    vv_status st = check(path, table, err);
    if (st != VV_OK) {
        (void)dlclose(lib);
        return st;
    }
    *ops = table;
    *library = lib;
    return VV_OK;
}
