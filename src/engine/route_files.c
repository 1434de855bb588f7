/*
 * route_files.c - the files of all engines of a shard, and their list.
 *
 * An engine that comes while files are held is held as often as the others are, before it is let in
 * (route_open.c), so that a release has one meaning for all.
 */
#include "engine/route_int.h"

void route_hold_files(engine *e)
{
    route *r = route_of(e);
    vv_mutex_lock(&r->lock);
    r->holds++;
    for (uint32_t slots = route_live(r); slots != 0; slots &= slots - 1) {
        engine *eng = r->member[__builtin_ctz(slots)].eng;
        eng->ops->hold_files(eng);
    }
    vv_mutex_unlock(&r->lock);
}

void route_release_files(engine *e)
{
    route *r = route_of(e);
    vv_mutex_lock(&r->lock);
    assert(r->holds > 0);
    r->holds--;
    uint32_t held = route_live(r);
    vv_mutex_unlock(&r->lock);
    for (uint32_t slots = held; slots != 0; slots &= slots - 1) {
        engine *eng = r->member[__builtin_ctz(slots)].eng;
        eng->ops->release_files(eng);
    }
}

vv_status route_list_files(engine *e,
                           vv_status (*each)(void *ctx, const engine_file *file, vv_error *err),
                           void *ctx, int64_t *checkpoint, vv_error *err)
{
    route *r = route_of(e);
    vv_status st = VV_OK;
    uint32_t live = route_live(r);
    int64_t oldest = INT64_MAX;
    /* The home last: its CURRENT says what the directory is. */
    for (uint32_t s = ENGINE_ROUTE_SLOTS; st == VV_OK && s-- > 0;) {
        const route_member *m = &r->member[s];
        int64_t version = 0;
        if ((live >> s & 1) == 0)
            continue;
        if (s == 0 && live != ENGINE_ROUTE_HOME)
            st = route_tell_list(r, live, each, ctx, err);
        if (st == VV_OK)
            st = m->eng->ops->list_files(m->eng, each, ctx, &version, err);
        version = version > m->born ? version : m->born;
        oldest = version < oldest ? version : oldest;
    }
    if (st == VV_OK)
        *checkpoint = oldest;
    return st;
}
