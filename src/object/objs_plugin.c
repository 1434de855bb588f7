/*
 * objs_plugin.c - a backend from a shared object: found, and of the form we know.
 */
#include "object/object_int.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/util.h"

/* The first operation that a table has to have and has not; NULL: it has all. */
static const char *missing(const vv_object_ops *ops)
{
    const struct {
        const char *name;
        bool is_there;
    } all[] = {{"name", ops->name != NULL},
               {"open", ops->open != NULL},
               {"close", ops->close != NULL},
               {"limits", ops->limits != NULL},
               {"put", ops->put != NULL},
               {"get", ops->get != NULL},
               {"head", ops->head != NULL},
               {"list", ops->list != NULL},
               {"remove", ops->remove != NULL},
               {"upload_begin", ops->upload_begin != NULL},
               {"upload_part", ops->upload_part != NULL},
               {"upload_complete", ops->upload_complete != NULL},
               {"upload_abort", ops->upload_abort != NULL}};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (!all[i].is_there)
            return all[i].name;
    return NULL;
}

static vv_status check(const char *path, const vv_object_ops *ops, vv_error *err)
{
    if (ops == NULL)
        return vv_fail(err, VV_UNSUPPORTED,
                       "%s: %s() gave no table: it has to return its vv_object_ops", path,
                       VV_OBJECT_BACKEND_SYMBOL);
    if (ops->abi != VV_OBJECT_ABI || ops->size < sizeof(vv_object_ops))
        return vv_fail(err, VV_UNSUPPORTED,
                       "%s: built for ABI %" PRIu32 " with a table of %zu bytes: build it with "
                       "this version's varve/plugin.h (ABI %u, %zu bytes)",
                       path, ops->abi, ops->size, VV_OBJECT_ABI, sizeof(vv_object_ops));
    const char *lacks = missing(ops);
    if (lacks != NULL)
        return vv_fail(err, VV_UNSUPPORTED,
                       "%s: its table lacks '%s': only 'cancel' may be left out", path, lacks);
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
        return vv_fail(err, VV_UNSUPPORTED,
                       "%s: defines no %s(): it is no backend for objects (varve/plugin.h)", path,
                       VV_OBJECT_BACKEND_SYMBOL);
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
