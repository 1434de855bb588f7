/*
 * route_cursor.c - a cursor over the tables of several engines: a merge whose sources are cursors.
 *
 * Each engine's cursor shows one version of a key, at the snapshot, deletions and expiry done with;
 * as a source it has just that version. No key is in two engines.
 */
#include "engine/route_int.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"

typedef struct shown {
    engine_source base;
    engine_cursor *at;
} shown;

static shown *shown_of(engine_source *src)
{
    return VV_CONTAINER_OF(src, shown, base);
}

static vv_status show(shown *s, vv_status st)
{
    s->base.valid = st == VV_OK && engine_cursor_valid(s->at);
    if (s->base.valid) {
        s->base.item = *engine_cursor_item(s->at);
        s->base.item.kind = ENGINE_PUT;
    }
    return st;
}

static vv_status shown_next(engine_source *src, vv_error *err)
{
    return show(shown_of(src), engine_cursor_next(shown_of(src)->at, err));
}

static vv_status shown_seek(engine_source *src, vv_slice key, int64_t version, vv_error *err)
{
    vv_status st = show(shown_of(src), engine_cursor_seek(shown_of(src)->at, key, err));
    if (st == VV_OK && src->valid && src->item.version > version && vv_slice_eq(src->item.key, key))
        st = shown_next(src, err);
    return st;
}

static vv_status shown_seek_below(engine_source *src, vv_slice key, vv_error *err)
{
    return show(shown_of(src), engine_cursor_seek_below(shown_of(src)->at, key, err));
}

static vv_status shown_prev(engine_source *src, vv_error *err)
{
    return show(shown_of(src), engine_cursor_prev(shown_of(src)->at, err));
}

/* The snapshot is the cursor's own, so versions need no look. */
static vv_status shown_next_key(engine_source *src, int64_t version, vv_error *err)
{
    (void)version;
    return shown_next(src, err);
}

static vv_status shown_prev_key(engine_source *src, int64_t version, vv_error *err)
{
    (void)version;
    return shown_prev(src, err);
}

static vv_status shown_seek_below_at(engine_source *src, vv_slice key, int64_t version,
                                     vv_error *err)
{
    (void)version;
    return shown_seek_below(src, key, err);
}

static void shown_close(engine_source *src)
{
    engine_cursor_close(shown_of(src)->at);
    vv_free(shown_of(src));
}

static const engine_source_ops shown_ops = {
    .seek = shown_seek,
    .seek_below = shown_seek_below,
    .next = shown_next,
    .prev = shown_prev,
    .close = shown_close,
    .next_key = shown_next_key,
    .prev_key = shown_prev_key,
    .seek_below_at = shown_seek_below_at,
};

static vv_status open_source(engine *eng, const engine_cursor_options *opt, engine_source **out,
                             vv_error *err)
{
    shown *s = vv_calloc(1, sizeof *s);
    if (s == NULL)
        return vv_fail(err, VV_NO_MEMORY, "cursor: no memory");
    s->base.ops = &shown_ops;
    vv_status st = eng->ops->cursor(eng, opt, &s->at, err);
    if (st != VV_OK) {
        vv_free(s);
        return st;
    }
    *out = &s->base;
    return VV_OK;
}

vv_status route_cursor_over(route *r, uint32_t slots, const engine_cursor_options *opt,
                            engine_cursor **out, vv_error *err)
{
    engine_source *sources[ENGINE_ROUTE_SLOTS] = {NULL};
    size_t count = 0;
    vv_status st = VV_OK;
    for (; st == VV_OK && slots != 0; slots &= slots - 1) {
        st = open_source(r->member[__builtin_ctz(slots)].eng, opt, &sources[count], err);
        count += st == VV_OK;
    }
    if (st == VV_OK)
        return engine_cursor_create(sources, count, opt, NULL, NULL, out, err);
    while (count > 0)
        engine_source_close(sources[--count]);
    return st;
}
