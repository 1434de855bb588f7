/*
 * merge.c - every version of every key of several sources in one order: a binary heap.
 *
 * Unlike a cursor it hides nothing: what may go is the job's decision.
 */
#include "engine/merge.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"

/* True when a's item comes first. Equal ones cannot happen but by damage: the newer source wins. */
static bool before(const engine_merge *m, uint32_t a, uint32_t b)
{
    const engine_item *x = &m->heap[a]->item;
    const engine_item *y = &m->heap[b]->item;
    int c = vv_slice_cmp(x->key, y->key);
    if (c != 0)
        return c < 0;
    if (x->version != y->version)
        return x->version > y->version;
    return m->rank[a] < m->rank[b];
}

static void swap(engine_merge *m, uint32_t a, uint32_t b)
{
    engine_source *src = m->heap[a];
    uint32_t rank = m->rank[a];
    m->heap[a] = m->heap[b];
    m->rank[a] = m->rank[b];
    m->heap[b] = src;
    m->rank[b] = rank;
}

static void sift_down(engine_merge *m, uint32_t i)
{
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= m->count)
            return;
        if (child + 1 < m->count && before(m, child + 1, child))
            child++;
        if (!before(m, child, i))
            return;
        swap(m, i, child);
        i = child;
    }
}

vv_status engine_merge_init(engine_merge *m, engine_source **sources, uint32_t count, vv_error *err)
{
    *m = (engine_merge){0};
    m->heap = vv_calloc(count, sizeof(engine_source *));
    m->rank = vv_calloc(count, sizeof *m->rank);
    if (m->heap == NULL || m->rank == NULL) {
        for (uint32_t i = 0; i < count; i++)
            engine_source_close(sources[i]);
        return vv_fail(err, VV_NO_MEMORY, "merge: no memory for %u sources", count);
    }
    m->total = count;
    for (uint32_t i = 0; i < count; i++) {
        m->heap[i] = sources[i];
        m->rank[i] = i;
    }
    for (uint32_t i = 0; i < count; i++) {
        vv_status st = engine_source_seek(m->heap[i], vv_slice_str(""), INT64_MAX, err);
        if (st != VV_OK)
            return st;
    }
    /* The exhausted ones go behind the heap, where fini finds them. */
    m->count = count;
    for (uint32_t i = 0; i < m->count;) {
        if (m->heap[i]->valid)
            i++;
        else
            swap(m, i, --m->count);
    }
    for (uint32_t i = m->count / 2; i-- > 0;)
        sift_down(m, i);
    return VV_OK;
}

void engine_merge_fini(engine_merge *m)
{
    for (uint32_t i = 0; i < m->total; i++)
        engine_source_close(m->heap[i]);
    vv_free(m->heap);
    vv_free(m->rank);
    *m = (engine_merge){0};
}

vv_status engine_merge_next(engine_merge *m, vv_error *err)
{
    assert(m->count > 0);
    vv_status st = engine_source_next(m->heap[0], err);
    if (st != VV_OK)
        return st;
    if (!m->heap[0]->valid)
        swap(m, 0, --m->count);
    sift_down(m, 0);
    return VV_OK;
}
