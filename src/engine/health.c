/*
 * health.c - see health.h.
 */
#include "engine/health.h"

#include "base/error.h"

void engine_health_init(engine_health *h)
{
    atomic_init(&h->status, VV_OK);
    vv_mutex_init(&h->lock, VV_RANK_LEAF);
    h->first = (vv_error){0};
}

void engine_health_fini(engine_health *h)
{
    vv_mutex_fini(&h->lock);
}

static vv_status read_first(engine_health *h, vv_error *out)
{
    vv_mutex_lock(&h->lock);
    *out = h->first;
    vv_mutex_unlock(&h->lock);
    return out->status;
}

vv_status engine_health_refuse(engine_health *h, vv_error *err)
{
    vv_error first;
    if (read_first(h, &first) == VV_NO_SPACE)
        return vv_fail(err, VV_NO_SPACE, "writes return when there is room: %s", first.msg);
    return vv_fail(err, VV_IO, "background work failed: %s", first.msg);
}

vv_status engine_health_latched(engine_health *h, vv_error *err)
{
    vv_status now = (vv_status)atomic_load_explicit(&h->status, memory_order_acquire);
    if (now == VV_OK || now == VV_NO_SPACE)
        return VV_OK;
    vv_error first;
    (void)!read_first(h, &first);
    if (err != NULL)
        *err = first;
    return now;
}

void engine_health_note(engine_health *h, vv_status st, bool is_idle, const vv_error *err)
{
    vv_status now = (vv_status)atomic_load_explicit(&h->status, memory_order_relaxed);
    if (now != VV_OK && now != VV_NO_SPACE)
        return;
    if (st == VV_NOT_FOUND && is_idle)
        st = VV_OK;
    if (st == now || st == VV_NOT_FOUND || st == VV_NO_MEMORY || st == VV_BUSY)
        return;
    if (st != VV_OK) {
        vv_mutex_lock(&h->lock);
        h->first = *err;
        h->first.status = st;
        vv_mutex_unlock(&h->lock);
    }
    atomic_store_explicit(&h->status, st, memory_order_release);
}
