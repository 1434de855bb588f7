/*
 * lsm_ranges.c - which range deletions a merge has to write down again.
 *
 * Readers cut the versions into stripes: all versions that the same readers see. Within a stripe
 * only the newest deletion over a key matters. So the ranges of a stripe become disjoint fragments,
 * each at its newest version, by one sweep over their borders with a heap of what is open:
 *
 *     version 9        [-------)                    [-------)
 *             7    [-------------)          ->   [--)       [-)
 *             5      [---)                        (gone)
 *
 * Ranges above the floor are each a stripe of their own: readers may still come in between.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "lsm/lsm_int.h"

typedef struct striped {
    engine_range range;
    int64_t stripe; /* the oldest reader that sees it; its own version above the floor */
} striped;

typedef struct sweep {
    const striped **open; /* heap: newest version first */
    size_t open_count;
    engine_range *out;
    size_t count;
} sweep;

static int by_stripe_and_start(const void *a, const void *b)
{
    const striped *x = a;
    const striped *y = b;
    if (x->stripe != y->stripe)
        return x->stripe < y->stripe ? -1 : 1;
    return vv_slice_cmp(x->range.start, y->range.start);
}

static int by_start(const void *a, const void *b)
{
    const engine_range *x = a;
    const engine_range *y = b;
    int c = vv_slice_cmp(x->start, y->start);
    return c != 0 ? c : (x->version < y->version) - (x->version > y->version);
}

/* A range over several tables has several floors: it keeps its version apart. */
bool lsm_range_spans_tables(const engine_range *r)
{
    if (r->start.len < ENGINE_TABLE_PREFIX || r->end.len < ENGINE_TABLE_PREFIX)
        return true;
    uint32_t table = engine_key_table(r->start);
    uint32_t end = engine_key_table(r->end);
    return end != table && !(end == table + 1 && r->end.len == ENGINE_TABLE_PREFIX);
}

static vv_status assign_stripe(engine_readers *readers, striped *s, vv_error *err)
{
    s->stripe = s->range.version;
    if (lsm_range_spans_tables(&s->range))
        return VV_OK;
    vv_status st = engine_readers_enter(readers, engine_key_table(s->range.start), err);
    if (st != VV_OK || s->range.version > readers->floor.version)
        return st;
    s->stripe = readers->floor.version;
    for (size_t i = readers->pin_count; i-- > 0;)
        if (readers->pins[i] >= s->range.version && readers->pins[i] < s->stripe)
            s->stripe = readers->pins[i];
    return VV_OK;
}

static void heap_push(sweep *w, const striped *s)
{
    size_t i = w->open_count++;
    while (i > 0 && w->open[(i - 1) / 2]->range.version < s->range.version) {
        w->open[i] = w->open[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->open[i] = s;
}

static void heap_pop(sweep *w)
{
    const striped *last = w->open[--w->open_count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < w->open_count; i = child) {
        if (child + 1 < w->open_count &&
            w->open[child + 1]->range.version > w->open[child]->range.version)
            child++;
        if (w->open[child]->range.version <= last->range.version)
            break;
        w->open[i] = w->open[child];
    }
    w->open[i] = last;
}

static void emit(sweep *w, vv_slice start, vv_slice end, int64_t version)
{
    if (vv_slice_cmp(start, end) >= 0)
        return;
    engine_range *last = w->count == 0 ? NULL : &w->out[w->count - 1];
    if (last != NULL && last->version == version && vv_slice_eq(last->end, start))
        last->end = end;
    else
        w->out[w->count++] = (engine_range){.start = start, .end = end, .version = version};
}

/* The ranges of one stripe, by start. `at` is where the top of the heap has been written up to. */
static void sweep_stripe(sweep *w, const striped *ranges, size_t count)
{
    vv_slice at = {0};
    w->open_count = 0;
    for (size_t i = 0; i < count || w->open_count > 0;) {
        if (w->open_count > 0 &&
            (i == count || vv_slice_cmp(w->open[0]->range.end, ranges[i].range.start) <= 0)) {
            /* The newest open range ends before another begins. */
            const engine_range *top = &w->open[0]->range;
            if (vv_slice_cmp(at, top->end) < 0) {
                emit(w, at, top->end, top->version);
                at = top->end;
            }
            heap_pop(w);
            continue;
        }
        const striped *next = &ranges[i++];
        if (w->open_count == 0)
            at = next->range.start;
        else if (next->range.version > w->open[0]->range.version) {
            emit(w, at, next->range.start, w->open[0]->range.version);
            at = next->range.start;
        }
        heap_push(w, next);
    }
}

vv_status lsm_ranges_reduce(engine_readers *readers, const engine_range *in, size_t count,
                            engine_range **out, size_t *out_count, vv_error *err)
{
    *out = NULL;
    *out_count = 0;
    if (count == 0)
        return VV_OK;
    striped *all = vv_calloc(count, sizeof *all);
    sweep w = {.open = vv_calloc(count, sizeof(striped *)),
               .out = vv_calloc(count, 2 * sizeof *w.out)};
    if (all == NULL || w.open == NULL || w.out == NULL) {
        vv_free(all);
        vv_free(w.open);
        vv_free(w.out);
        return vv_fail(err, VV_NO_MEMORY, "no memory for %zu range deletions", count);
    }
    vv_status st = VV_OK;
    for (size_t i = 0; st == VV_OK && i < count; i++) {
        all[i].range = in[i];
        st = assign_stripe(readers, &all[i], err);
    }
    if (st == VV_OK) {
        qsort(all, count, sizeof *all, by_stripe_and_start);
        for (size_t i = 0, from = 0; i < count; i++)
            if (i + 1 == count || all[i + 1].stripe != all[i].stripe) {
                sweep_stripe(&w, all + from, i + 1 - from);
                from = i + 1;
            }
        assert(w.count <= 2 * count);
        qsort(w.out, w.count, sizeof *w.out, by_start);
    }
    vv_free(all);
    vv_free(w.open);
    if (st != VV_OK) {
        vv_free(w.out);
        return st;
    }
    *out = w.out;
    *out_count = w.count;
    return VV_OK;
}
