/*
 * objs_bad_plugin.c - a backend of which something is wrong, as the environment says: what the test
 * of plug-ins loads.
 *
 *   VV_BAD_PLUGIN   null, abi, old_abi, size, or the name of an operation that is left out
 */
#include <stdlib.h>
#include <string.h>

#include "varve/plugin.h"

static vv_object_ops table;

static void leave_out(const char *what)
{
    const struct {
        const char *name;
        void *op; /* where it stands */
    } ops[] = {{"name", &table.name},
               {"open", &table.open},
               {"close", &table.close},
               {"limits", &table.limits},
               {"put", &table.put},
               {"get", &table.get},
               {"head", &table.head},
               {"list", &table.list},
               {"remove", &table.remove},
               {"upload_begin", &table.upload_begin},
               {"upload_part", &table.upload_part},
               {"upload_complete", &table.upload_complete},
               {"upload_abort", &table.upload_abort}};
    static const void *const any = &table; /* never called: the table is refused */
    static const void *const none = NULL;
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        memcpy(ops[i].op, strcmp(ops[i].name, what) == 0 ? &none : &any, sizeof any);
}

const vv_object_ops *vv_object_backend(void);

__attribute__((visibility("default"))) const vv_object_ops *vv_object_backend(void)
{
    const char *what = getenv("VV_BAD_PLUGIN");
    if (what == NULL || strcmp(what, "null") == 0)
        return NULL;
    leave_out(what);
    table.size = strcmp(what, "size") == 0 ? sizeof table - sizeof(void *) : sizeof table;
    table.abi = strcmp(what, "abi") == 0       ? VV_OBJECT_ABI + 1
                : strcmp(what, "old_abi") == 0 ? VV_OBJECT_ABI - 1
                                               : VV_OBJECT_ABI;
    return &table;
}
