/* tier_store.c - open the object store of a command's options. */
#include "tier_store.h"
#include "base/error.h"

vv_status tier_store_open(const tier_args *a, vv_object_store **out, vv_error *err)
{
    vv_object_options opt = VV_OBJECT_OPTIONS_INIT;
    *out = NULL;
    if (a->backend == NULL && (a->bucket != NULL || a->prefix != NULL || a->endpoint != NULL))
        return vv_fail(err, VV_INVALID, "name the object store's kind with --backend");
    if (a->backend == NULL)
        return VV_OK;
    opt.backend = a->backend;
    opt.bucket = a->bucket;
    if (a->prefix == NULL)
        opt.prefix = "messages"; /* storage.prefix of varved */
    else if (a->prefix[0] != '\0')
        opt.prefix = a->prefix;
    opt.endpoint = a->endpoint;
    opt.region = a->region;
    return vv_object_store_open(&opt, out, err);
}
