/*
 * chain.c - following the versions of one key through the parts of a view.
 */
#include "engine/chain.h"

#include "engine/rangedel.h"

void engine_chain_init(engine_chain *c, vv_slice key, const engine_read *read)
{
    *c = (engine_chain){.key = key, .read = read, .cover = -1};
    engine_fold_init(&c->fold);
}

void engine_chain_fini(engine_chain *c)
{
    engine_fold_fini(&c->fold);
}

void engine_chain_cover(engine_chain *c, const engine_rangedels *set)
{
    int64_t v = engine_rangedels_cover(set, c->key, c->read->version);
    c->cover = v > c->cover ? v : c->cover;
}

static vv_status push_apart(engine_chain *c, const engine_item *item, vv_error *err)
{
    vv_buf value;
    vv_buf_init(&value, ENGINE_VALUE_MAX + 64u);
    vv_status st = c->load(c->load_ctx, item->value, &value, err);
    if (st == VV_OK) {
        engine_item put = *item;
        put.kind = ENGINE_PUT;
        put.value = vv_buf_slice(&value);
        st = engine_fold_push(&c->fold, &put, err);
    }
    vv_buf_fini(&value);
    return st;
}

vv_status engine_chain_push(engine_chain *c, const engine_item *item, vv_error *err)
{
    assert(!c->ended);
    vv_status st = VV_OK;
    if (item->version < c->cover) {
        c->ended = true;
    } else if (c->begun && item->kind == ENGINE_APART) {
        st = push_apart(c, item, err);
        c->ended = true;
    } else if (c->begun) {
        st = engine_fold_push(&c->fold, item, err);
        c->ended = c->fold.is_done;
    } else if (item->kind == ENGINE_MERGE) {
        c->begun = true;
        st = engine_fold_begin(&c->fold, item, err);
    } else {
        c->ended = true;
    }
    return st;
}

vv_status engine_chain_take(engine_chain *c, engine_source *src, vv_error *err)
{
    vv_status st = engine_source_seek(src, c->key, c->read->version, err);
    while (st == VV_OK && !c->ended && src->valid && vv_slice_eq(src->item.key, c->key)) {
        st = engine_chain_push(c, &src->item, err);
        if (st == VV_OK && !c->ended)
            st = engine_source_next(src, err);
    }
    engine_source_close(src);
    return st;
}

vv_status engine_chain_value(engine_chain *c, vv_buf *out, int64_t *version, int64_t *expires_ns,
                             vv_error *err)
{
    vv_status st = c->begun ? engine_fold_value(&c->fold, out, err) : VV_NOT_FOUND;
    if (st == VV_OK) {
        *version = c->fold.version;
        *expires_ns = c->fold.expires_ns;
    }
    return st;
}
