#include "engine/memtable.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/lock.h"
#include "base/point.h"
#include "base/util.h"

typedef struct record {
    engine_item item;
    uint8_t bytes[];
} record;

struct engine_memtable {
    _Atomic uint32_t refs;
    vv_mutex lock;
    record **rows;
    size_t count;
    size_t cap;
    engine_range *ranges;
    size_t range_count;
    size_t range_cap;
    engine_rangedels *set;
    record **keep; /* replaced records and range bytes */
    size_t keep_count;
    size_t keep_cap;
    uint64_t size;
    uint64_t bytes;
    vv_budget *budget;
    int64_t min_version;
    int64_t max_version;
};

vv_status engine_memtable_create(uint64_t size, vv_budget *budget, engine_memtable **out,
                                 vv_error *err)
{
    engine_memtable *mt = vv_calloc(1, sizeof *mt);
    if (mt == NULL)
        return vv_fail(err, VV_NO_MEMORY, "memtable");
    atomic_store(&mt->refs, 1);
    vv_mutex_init(&mt->lock, VV_RANK_LEAF);
    mt->size = size;
    mt->budget = budget;
    *out = mt;
    return VV_OK;
}

void engine_memtable_ref(engine_memtable *mt)
{
    atomic_fetch_add(&mt->refs, 1);
}

void engine_memtable_unref(engine_memtable *mt)
{
    if (mt == NULL || atomic_fetch_sub(&mt->refs, 1) != 1)
        return;
    vv_budget_release(mt->budget, VV_BUDGET_MEMTABLE, mt->bytes);
    for (size_t i = 0; i < mt->count; i++)
        vv_free(mt->rows[i]);
    for (size_t i = 0; i < mt->keep_count; i++)
        vv_free(mt->keep[i]);
    engine_rangedels_unref(mt->set);
    vv_free(mt->rows);
    vv_free(mt->keep);
    vv_free(mt->ranges);
    vv_mutex_fini(&mt->lock);
    vv_free(mt);
}

static vv_status grow(void *array, size_t *cap, size_t need, size_t elem)
{
    void **p = array;
    if (need <= *cap)
        return VV_OK;
    size_t to = need * 2;
    void *more = vv_realloc(*p, to * elem);
    if (more == NULL)
        return VV_NO_MEMORY;
    *p = more;
    *cap = to;
    return VV_OK;
}

vv_status engine_memtable_prepare(engine_memtable *mt, size_t payload_len, uint32_t op_count,
                                  vv_error *err)
{
    (void)payload_len;
    vv_mutex_lock(&mt->lock);
    vv_status st = grow(&mt->rows, &mt->cap, mt->count + op_count, sizeof *mt->rows);
    if (st == VV_OK)
        st =
            grow(&mt->keep, &mt->keep_cap, mt->keep_count + 2 * (size_t)op_count, sizeof *mt->keep);
    if (st == VV_OK)
        st = grow(&mt->ranges, &mt->range_cap, mt->range_count + op_count, sizeof *mt->ranges);
    vv_mutex_unlock(&mt->lock);
    return st == VV_OK ? VV_OK : vv_fail(err, st, "memtable: no memory");
}

/* First row at or after (key, version). */
static size_t find(const engine_memtable *mt, vv_slice key, int64_t version)
{
    size_t lo = 0;
    size_t hi = mt->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = vv_slice_cmp(mt->rows[mid]->item.key, key);
        if (c < 0 || (c == 0 && mt->rows[mid]->item.version > version))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void put(engine_memtable *mt, int64_t version, const engine_op *op)
{
    record *r = vv_alloc(sizeof *r + op->key.len + op->value.len);
    if (r == NULL)
        abort();
    memcpy(r->bytes, op->key.data, op->key.len);
    if (op->value.len > 0)
        memcpy(r->bytes + op->key.len, op->value.data, op->value.len);
    r->item = (engine_item){.key = vv_slice_of(r->bytes, op->key.len),
                            .value = vv_slice_of(r->bytes + op->key.len, op->value.len),
                            .version = version,
                            .expires_ns = op->expires_ns,
                            .kind = op->kind};
    mt->bytes += sizeof *r + op->key.len + op->value.len;
    vv_budget_take(mt->budget, VV_BUDGET_MEMTABLE, sizeof *r + op->key.len + op->value.len);
    if (op->kind == ENGINE_RANGE_DELETE) {
        mt->keep[mt->keep_count++] = r;
        mt->ranges[mt->range_count++] = (engine_range){r->item.key, r->item.value, version};
        for (size_t i = find(mt, r->item.key, INT64_MAX);
             i < mt->count && vv_slice_cmp(mt->rows[i]->item.key, r->item.value) < 0; i++)
            if (mt->rows[i]->item.version == version) {
                mt->rows[i]->item.kind = ENGINE_DELETE;
                mt->rows[i]->item.value.len = 0;
                mt->rows[i]->item.expires_ns = 0;
            }
        engine_rangedels *set;
        if (engine_rangedels_build(mt->ranges, mt->range_count, &set, NULL) != VV_OK)
            abort();
        engine_rangedels_unref(mt->set);
        mt->set = set;
        return;
    }
    size_t at = find(mt, r->item.key, version);
    if (at < mt->count && mt->rows[at]->item.version == version &&
        vv_slice_eq(mt->rows[at]->item.key, r->item.key)) {
        mt->keep[mt->keep_count++] = mt->rows[at];
        mt->rows[at] = r;
        return;
    }
    memmove(mt->rows + at + 1, mt->rows + at, (mt->count - at) * sizeof *mt->rows);
    mt->rows[at] = r;
    mt->count++;
}

vv_status engine_memtable_apply(engine_memtable *mt, int64_t version, vv_slice payload,
                                vv_error *err)
{
    engine_entry_iter it;
    engine_op op;
    vv_status st = engine_entry_open(payload, &it, err);
    if (st != VV_OK)
        return st;
    engine_entry_iter check = it;
    while ((st = engine_entry_next(&check, &op, err)) == VV_OK)
        continue;
    if (st != VV_NOT_FOUND)
        return st;
    st = engine_memtable_prepare(mt, payload.len, it.left, err);
    if (st != VV_OK)
        return st;
    vv_mutex_lock(&mt->lock);
    while (engine_entry_next(&it, &op, err) == VV_OK)
        put(mt, VV_BUG(14) && it.left > 0 ? version - 1 : version, &op);
    if (mt->min_version == 0)
        mt->min_version = version;
    mt->max_version = version;
    vv_mutex_unlock(&mt->lock);
    return VV_OK;
}

vv_status engine_memtable_get(const engine_memtable *cmt, vv_slice key, int64_t snapshot,
                              engine_item *item)
{
    engine_memtable *mt = (engine_memtable *)(uintptr_t)cmt;
    vv_status st = VV_NOT_FOUND;
    vv_mutex_lock(&mt->lock);
    size_t at = find(mt, key, snapshot);
    if (at < mt->count && vv_slice_eq(mt->rows[at]->item.key, key)) {
        *item = mt->rows[at]->item;
        st = VV_OK;
    }
    vv_mutex_unlock(&mt->lock);
    return st;
}

int64_t engine_memtable_last_version(const engine_memtable *mt, vv_slice key)
{
    engine_item item;
    int64_t last = -1;
    if (engine_memtable_get(mt, key, INT64_MAX, &item) == VV_OK)
        last = item.version;
    int64_t cover = engine_rangedels_cover(mt->set, key, INT64_MAX);
    return cover > last ? cover : last;
}

engine_rangedels *engine_memtable_rangedels(const engine_memtable *cmt)
{
    engine_memtable *mt = (engine_memtable *)(uintptr_t)cmt;
    vv_mutex_lock(&mt->lock);
    engine_rangedels *set = mt->set;
    if (set != NULL)
        engine_rangedels_ref(set);
    vv_mutex_unlock(&mt->lock);
    return set;
}

typedef struct source {
    engine_source base;
    engine_memtable *mt;
} source;

static void stand(source *s, size_t at)
{
    s->base.valid = at < s->mt->count;
    if (s->base.valid)
        s->base.item = s->mt->rows[at]->item;
}

static vv_status source_seek(engine_source *src, vv_slice key, int64_t version, vv_error *err)
{
    source *s = VV_CONTAINER_OF(src, source, base);
    (void)err;
    vv_mutex_lock(&s->mt->lock);
    stand(s, find(s->mt, key, version));
    vv_mutex_unlock(&s->mt->lock);
    return VV_OK;
}

static vv_status source_seek_below(engine_source *src, vv_slice key, vv_error *err)
{
    source *s = VV_CONTAINER_OF(src, source, base);
    (void)err;
    vv_mutex_lock(&s->mt->lock);
    stand(s, (key.len == 0 ? s->mt->count : find(s->mt, key, INT64_MAX)) - 1);
    vv_mutex_unlock(&s->mt->lock);
    return VV_OK;
}

static vv_status source_step(engine_source *src, int by)
{
    source *s = VV_CONTAINER_OF(src, source, base);
    vv_mutex_lock(&s->mt->lock);
    stand(s, find(s->mt, src->item.key, src->item.version) + (size_t)by);
    vv_mutex_unlock(&s->mt->lock);
    return VV_OK;
}

static vv_status source_next(engine_source *src, vv_error *err)
{
    (void)err;
    return source_step(src, 1);
}

static vv_status source_prev(engine_source *src, vv_error *err)
{
    (void)err;
    return source_step(src, -1);
}

static void source_close(engine_source *src)
{
    source *s = VV_CONTAINER_OF(src, source, base);
    engine_rangedels_unref((engine_rangedels *)(uintptr_t)src->rangedels);
    engine_memtable_unref(s->mt);
    vv_free(s);
}

vv_status engine_memtable_source(engine_memtable *mt, engine_source **out, vv_error *err)
{
    static const engine_source_ops ops = {.seek = source_seek,
                                          .seek_below = source_seek_below,
                                          .next = source_next,
                                          .prev = source_prev,
                                          .close = source_close};
    source *s = vv_alloc(sizeof *s);
    if (s == NULL)
        return vv_fail(err, VV_NO_MEMORY, "memtable source");
    *s = (source){.base = {.ops = &ops}, .mt = mt};
    engine_memtable_ref(mt);
    s->base.rangedels = engine_memtable_rangedels(mt);
    *out = &s->base;
    return VV_OK;
}

int64_t engine_memtable_min_version(const engine_memtable *mt)
{
    return mt->min_version;
}
int64_t engine_memtable_max_version(const engine_memtable *mt)
{
    return mt->max_version;
}
uint64_t engine_memtable_bytes(const engine_memtable *mt)
{
    return mt->bytes;
}
uint64_t engine_memtable_items(const engine_memtable *mt)
{
    return mt->count;
}
bool engine_memtable_is_full(const engine_memtable *mt)
{
    return mt->bytes >= mt->size;
}
