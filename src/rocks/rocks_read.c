/*
 * rocks_read.c - a point read and a cursor over the current view.
 *
 * A point read looks at the memtables from the newest to the oldest, then seeks the version in
 * RocksDB: the first record at or behind (key, version) is the answer or there is none. The value
 * stays where RocksDB has it; the iterator that stands on it is what the caller pins.
 *
 * A merge is found in a memtable alone: a flush stores what it comes to. It is worked out from the
 * memtables' versions and the stored one beneath them.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "engine/memstack.h"
#include "rocks/rocks_int.h"

/* What a value handed out holds. */
typedef struct held {
    rocks_view *view;
    rocksdb_iterator_t *it; /* NULL: the value is in a memtable of the view */
} held;

static void let_go(void *ptr)
{
    held *h = ptr;
    if (h->it != NULL)
        rocksdb_iter_destroy(h->it);
    rocks_view_unref(h->view);
    vv_free(h);
}

static vv_status look_in_rocksdb(held *h, vv_slice key, const engine_read *read, engine_item *item,
                                 vv_error *err)
{
    const rocks_look *look = h->view->look;
    if (look->db == NULL)
        return VV_NOT_FOUND;
    h->it = rocksdb_create_iterator(look->db, read->from_memory ? look->memory : look->point);
    rocks_iter_seek(h->it, key, read->version);
    if (!rocksdb_iter_valid(h->it)) {
        vv_status st = rocks_iter_status(h->it, err);
        return st == VV_OK ? VV_NOT_FOUND : st;
    }
    vv_status st = rocks_iter_item(h->it, item, err);
    if (st == VV_OK && !vv_slice_eq(item->key, key))
        st = VV_NOT_FOUND;
    return st;
}

static vv_status source_create(const rocks_look *look, const rocksdb_readoptions_t *how,
                               engine_source **out, vv_error *err);

/* ---- merges ---- */

static vv_status chain_memtable(engine_chain *c, engine_memtable *mem, vv_error *err)
{
    engine_source *src = NULL;
    engine_item item;
    engine_rangedels *set = engine_memtable_rangedels(mem);
    engine_chain_cover(c, set);
    engine_rangedels_unref(set);
    if (engine_memtable_get(mem, c->key, c->read->version, &item) != VV_OK)
        return VV_OK; /* a source would only find that out later */
    vv_status st = engine_memtable_source(mem, &src, err);
    return st == VV_OK ? engine_chain_take(c, src, err) : st;
}

static vv_status chain_stored(engine_chain *c, const rocks_look *look, vv_error *err)
{
    engine_source *src = NULL;
    if (look->db == NULL)
        return VV_OK;
    vv_status st =
        source_create(look, c->read->from_memory ? look->memory : look->point, &src, err);
    return st == VV_OK ? engine_chain_take(c, src, err) : st;
}

/* What the key comes to, whose newest version is a merge; appended to out. */
static vv_status look_for_merged(const rocks_view *view, vv_slice key, const engine_read *read,
                                 vv_buf *out, int64_t *version, int64_t *expires_ns, vv_error *err)
{
    engine_chain c;
    vv_status st = VV_OK;
    engine_chain_init(&c, key, read);
    for (uint32_t i = 0; st == VV_OK && !c.ended && i < view->mem_count; i++)
        st = chain_memtable(&c, view->mem[i], err);
    if (st == VV_OK && !c.ended && c.cover < 0)
        st = chain_stored(&c, view->look, err);
    if (st == VV_OK)
        st = engine_chain_value(&c, out, version, expires_ns, err);
    engine_chain_fini(&c);
    return st;
}

static vv_status give_merged(const rocks_view *view, vv_slice key, const engine_read *read,
                             engine_value *out, vv_error *err)
{
    vv_buf value;
    vv_buf_init(&value, ENGINE_VALUE_MAX);
    *out = (engine_value){0};
    vv_status st = look_for_merged(view, key, read, &value, &out->version, &out->expires_ns, err);
    if (st != VV_OK) {
        vv_buf_fini(&value);
        return st;
    }
    out->data = vv_buf_slice(&value);
    out->pin = value.data; /* the buffer's memory is the value's now */
    out->unpin = vv_free;
    return VV_OK;
}

static vv_status resolve(void *ctx, const engine_item *item, const engine_read *read, vv_buf *out,
                         vv_error *err)
{
    int64_t version = 0;
    int64_t expires_ns = 0;
    return look_for_merged(ctx, item->key, read, out, &version, &expires_ns, err);
}

/* ---- point reads ---- */

vv_status rocks_get(engine *base, vv_slice key, const engine_read *read, engine_value *out,
                    vv_error *err)
{
    rocks_engine *e = rocks_engine_of(base);
    held *h = vv_calloc(1, sizeof *h);
    if (h == NULL)
        return vv_fail(err, VV_NO_MEMORY, "get: no memory");
    h->view = rocks_view_acquire(e);
    engine_item item;
    int64_t cover = -1;
    bool in_memory = engine_memstack_get(h->view->mem, h->view->mem_count, key, read->version,
                                         &item, &cover) != NULL;
    vv_status st = in_memory ? VV_OK : VV_NOT_FOUND;
    if (st == VV_NOT_FOUND && cover < 0)
        st = look_in_rocksdb(h, key, read, &item, err);
    if (st == VV_OK && !engine_item_is_live(&item, cover, read))
        st = VV_NOT_FOUND;
    bool is_merge = st == VV_OK && item.kind == ENGINE_MERGE;
    if (is_merge)
        st = give_merged(h->view, key, read, out, err);
    if (st != VV_OK || is_merge) {
        let_go(h);
        return st;
    }
    *out = (engine_value){.data = item.value,
                          .version = item.version,
                          .expires_ns = item.expires_ns,
                          .pin = h,
                          .unpin = let_go};
    return VV_OK;
}

/* ---- RocksDB as an ordered source ---- */

typedef struct rocks_source {
    engine_source base;
    rocksdb_iterator_t *it;
} rocks_source;

static rocks_source *source_of(engine_source *src)
{
    return VV_CONTAINER_OF(src, rocks_source, base);
}

/* The checkpoint stands before every record: walking down ends there. */
static vv_status arrive(rocks_source *s, vv_error *err)
{
    s->base.valid = false;
    if (!rocksdb_iter_valid(s->it))
        return rocks_iter_status(s->it, err);
    if (rocks_iter_key(s->it).len == ROCKS_SUFFIX)
        return VV_OK;
    vv_status st = rocks_iter_item(s->it, &s->base.item, err);
    s->base.valid = st == VV_OK;
    return st;
}

static vv_status source_seek(engine_source *src, vv_slice key, int64_t version, vv_error *err)
{
    rocks_source *s = source_of(src);
    rocks_iter_seek(s->it, key, version);
    return arrive(s, err);
}

static vv_status source_seek_below(engine_source *src, vv_slice key, vv_error *err)
{
    rocks_source *s = source_of(src);
    uint8_t stored[ROCKS_KEY_MAX];
    if (key.data == NULL) {
        rocksdb_iter_seek_to_last(s->it);
    } else { /* no record has INT64_MAX: what is at or before it is below the key */
        size_t len = rocks_key_put(stored, key, INT64_MAX);
        rocksdb_iter_seek_for_prev(s->it, (const char *)stored, len);
    }
    return arrive(s, err);
}

static vv_status source_next(engine_source *src, vv_error *err)
{
    rocks_source *s = source_of(src);
    rocksdb_iter_next(s->it);
    return arrive(s, err);
}

static vv_status source_prev(engine_source *src, vv_error *err)
{
    rocks_source *s = source_of(src);
    rocksdb_iter_prev(s->it);
    return arrive(s, err);
}

static void source_close(engine_source *src)
{
    rocks_source *s = source_of(src);
    rocksdb_iter_destroy(s->it);
    vv_free(s);
}

static vv_status source_create(const rocks_look *look, const rocksdb_readoptions_t *how,
                               engine_source **out, vv_error *err)
{
    static const engine_source_ops ops = {.seek = source_seek,
                                          .seek_below = source_seek_below,
                                          .next = source_next,
                                          .prev = source_prev,
                                          .close = source_close};
    rocks_source *s = vv_calloc(1, sizeof *s);
    if (s == NULL)
        return vv_fail(err, VV_NO_MEMORY, "cursor: no memory");
    s->base.ops = &ops;
    s->it = rocksdb_create_iterator(look->db, how);
    *out = &s->base;
    return VV_OK;
}

/* ---- cursors ---- */

static vv_status make_sources(const rocks_view *view, engine_source **sources, size_t *count,
                              vv_error *err)
{
    vv_status st = VV_OK;
    size_t n = 0;
    for (uint32_t i = 0; st == VV_OK && i < view->mem_count; i++) {
        st = engine_memtable_source(view->mem[i], &sources[n], err);
        n += st == VV_OK;
    }
    if (st == VV_OK && view->look->db != NULL) {
        st = source_create(view->look, view->look->scan, &sources[n], err);
        n += st == VV_OK;
    }
    *count = n;
    return st;
}

vv_status rocks_cursor(engine *base, const engine_cursor_options *opt, engine_cursor **out,
                       vv_error *err)
{
    rocks_view *view = rocks_view_acquire(rocks_engine_of(base));
    engine_source **sources = vv_calloc((size_t)view->mem_count + 1, sizeof(engine_source *));
    size_t count = 0;
    vv_status st = sources == NULL ? vv_fail(err, VV_NO_MEMORY, "cursor: no memory")
                                   : make_sources(view, sources, &count, err);
    if (st == VV_OK) {
        engine_cursor_options with = *opt;
        with.resolver = (engine_resolver){resolve, view};
        st = engine_cursor_create(sources, count, &with, rocks_view_unref, view, out, err);
        count = 0; /* taken */
    }
    for (size_t i = 0; i < count; i++)
        engine_source_close(sources[i]);
    vv_free(sources);
    if (st != VV_OK)
        rocks_view_unref(view);
    return st;
}
