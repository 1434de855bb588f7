/*
 * rocks_fold.c - merges in a flush: RocksDB gets values, so a chain of operands ends here.
 *
 *   newest   merge    a reader sees it: folded down to the next value, which is the put below
 *            merge    nobody sees it: its steps are in the one above, and it is let go
 *            merge    a pin sees it: folded down to the stored value
 *   oldest   put      stored, or none
 *
 * Why not RocksDB's own merge operators: they join the records of one key, and here each version is
 * a key of its own. And a flush looks at all versions of a key anyway.
 *
 * From the oldest to the newest, so that each chain ends at the value that was worked out before.
 *
 * A value that has expired may go only when no merge that is not flushed yet was committed before
 * it expired: that merge still builds on it. Merges still to come are committed after the time of
 * the floor (engine.h), and so find it expired.
 */
#include "base/error.h"
#include "rocks/rocks_int.h"

/* A chain that nobody looks into for so long becomes a value on the way: it has to fit in memory.
 */
#define CHAIN_MAX ENGINE_VALUE_MAX
#define STEP_BYTES 64u

void rocks_fold_init(rocks_fold *f)
{
    engine_fold_init(&f->chain);
    f->chain.is_compact = true; /* what it comes to is stored */
    vv_arena_init(&f->values, SIZE_MAX / 2);
    vv_buf_init(&f->value, ENGINE_VALUE_MAX);
}

void rocks_fold_fini(rocks_fold *f)
{
    engine_fold_fini(&f->chain);
    vv_arena_fini(&f->values);
    vv_buf_fini(&f->value);
}

int64_t rocks_first_merge_time(rocks_engine *e)
{
    int64_t first = INT64_MAX;
    rocks_view *view = rocks_view_acquire(e);
    for (uint32_t i = 0; i < view->mem_count; i++) {
        int64_t t = engine_memtable_merge_time(view->mem[i]);
        first = t < first ? t : first;
    }
    rocks_view_unref(view);
    return first;
}

static engine_item item_of(const rocks_event *v)
{
    return (engine_item){
        .value = v->value, .version = v->version, .expires_ns = v->expires_ns, .kind = v->kind};
}

/* The event at i, a merge, becomes the put it comes to. cover: the newest range deletion over it.
 */
static vv_status fold_from(rocks_fold *f, rocks_event *events, size_t count, size_t i,
                           int64_t cover, vv_error *err)
{
    engine_item item = item_of(&events[i]);
    vv_status st = engine_fold_begin(&f->chain, &item, err);
    for (size_t j = i + 1; st == VV_OK && j < count && !f->chain.is_done; j++) {
        if (events[j].version < cover)
            break; /* what lies beneath is deleted */
        item = item_of(&events[j]);
        st = engine_fold_push(&f->chain, &item, err);
    }
    vv_buf_reset(&f->value);
    if (st == VV_OK)
        st = engine_fold_value(&f->chain, &f->value, err);
    if (st != VV_OK)
        return st;
    events[i].value = vv_arena_dup(&f->values, vv_buf_slice(&f->value));
    events[i].kind = ENGINE_PUT;
    return events[i].value.data != NULL || f->value.len == 0
               ? VV_OK
               : vv_fail(err, VV_NO_MEMORY, "merge: no memory for a value");
}

/* A version that its own entry's merge stood on: both are of a memtable. */
static size_t drop_same_versions(rocks_event *events, size_t count)
{
    size_t kept = 1;
    for (size_t i = 1; i < count; i++)
        if (events[i].version != events[kept - 1].version)
            events[kept++] = events[i];
    return kept;
}

vv_status rocks_fold_key(rocks_fold *f, const engine_readers *readers,
                         const engine_rangedels *ranges, vv_slice key, rocks_event *events,
                         size_t *count, vv_error *err)
{
    vv_status st = VV_OK;
    size_t chain = 0; /* bytes of operands since the last value, about */
    for (size_t i = *count; st == VV_OK && i-- > 0;) {
        const rocks_event *v = &events[i];
        if (v->kind != ENGINE_MERGE)
            continue;
        int64_t newer = i == 0 ? -1 : events[i - 1].version;
        chain += v->value.len + STEP_BYTES;
        if (chain < CHAIN_MAX &&
            (newer == v->version || !engine_readers_need(readers, v->version, newer)))
            continue;
        int64_t cover = ranges == NULL ? -1 : engine_rangedels_cover(ranges, key, v->version);
        st = fold_from(f, events, *count, i, cover, err);
        chain = 0;
    }
    if (st == VV_OK && *count > 0)
        *count = drop_same_versions(events, *count);
    return st;
}
