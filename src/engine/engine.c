/*
 * engine.c - what an engine need not do itself.
 */
#include "engine/engine.h"

static vv_status get_each(engine *e, const vv_slice *keys, size_t count, const engine_read *read,
                          engine_value *out, vv_status *status, vv_error *err)
{
    vv_status first = VV_OK;
    for (size_t i = 0; i < count; i++) {
        vv_error *why = first == VV_OK ? err : NULL;
        status[i] = e->ops->get(e, keys[i], read, &out[i], why);
        if (first == VV_OK && status[i] != VV_OK && status[i] != VV_NOT_FOUND)
            first = status[i];
    }
    return first;
}

vv_status engine_multi_get(engine *e, const vv_slice *keys, size_t count, const engine_read *read,
                           engine_value *out, vv_status *status, vv_error *err)
{
    return e->ops->multi_get == NULL ? get_each(e, keys, count, read, out, status, err)
                                     : e->ops->multi_get(e, keys, count, read, out, status, err);
}
