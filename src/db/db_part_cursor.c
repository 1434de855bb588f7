/*
 * db_part_cursor.c - a cursor over a partitioned table: one cursor for each partition, all at one
 * position of the log, walked in the order of their keys (or of time).
 *
 *   forward    each stands at its first entry at or behind the current one; the least is current
 *   backward   each stands at its last entry at or before it; the greatest is current
 *   turning    the others take one step: what was the first one behind becomes the last one before
 *
 * No two partitions have the same key, so a step never has to look for equals. The partitions are
 * few (at most one a shard), so the least is found by looking at all.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "db/db_int.h"

struct db_part_cursor {
    vv_cursor base;
    vv_snapshot *own; /* NULL: the caller's, or a transaction's */
    uint32_t current; /* of part; count: the cursor stands nowhere */
    uint32_t count;
    bool is_forward;
    bool is_by_time;
    vv_cursor *part[]; /* [count] */
};

static vv_slice order_key(const db_part_cursor *c, uint32_t i)
{
    return c->is_by_time ? db_time_cursor_order(c->part[i]) : vv_cursor_key(c->part[i]);
}

/* The least of the valid ones, or the greatest. */
static void choose(db_part_cursor *c, bool forward)
{
    c->is_forward = forward;
    c->current = c->count;
    for (uint32_t i = 0; i < c->count; i++) {
        if (!vv_cursor_valid(c->part[i]))
            continue;
        if (c->current == c->count) {
            c->current = i;
            continue;
        }
        int order = vv_slice_cmp(order_key(c, i), order_key(c, c->current));
        assert(order != 0 || VV_BUG(91));
        if ((order < 0) == forward)
            c->current = i;
    }
}

static vv_status seek(vv_cursor *cursor, bool forward, vv_slice key, vv_error *err)
{
    db_part_cursor *c = cursor->by_part;
    vv_status st = VV_OK;
    c->current = c->count;
    for (uint32_t i = 0; st == VV_OK && i < c->count; i++)
        st = forward ? vv_cursor_seek(c->part[i], key, err)
                     : vv_cursor_seek_below(c->part[i], key, err);
    if (st == VV_OK)
        choose(c, forward);
    return st;
}

vv_status db_part_cursor_seek(vv_cursor *cursor, vv_slice key, vv_error *err)
{
    return seek(cursor, true, key, err);
}

vv_status db_part_cursor_seek_below(vv_cursor *cursor, vv_slice key, vv_error *err)
{
    return seek(cursor, false, key, err);
}

static vv_status step_part(vv_cursor *part, bool forward, vv_error *err)
{
    static const vv_slice end = {0};
    if (vv_cursor_valid(part))
        return forward ? vv_cursor_next(part, err) : vv_cursor_prev(part, err);
    /* It ran off the other end: that end is where it comes back. */
    return forward ? vv_cursor_seek(part, end, err) : vv_cursor_seek_below(part, end, err);
}

vv_status db_part_cursor_step(vv_cursor *cursor, bool forward, vv_error *err)
{
    db_part_cursor *c = cursor->by_part;
    vv_status st = VV_OK;
    assert(c->current < c->count);
    uint32_t at = c->current;
    bool turns = forward != c->is_forward && !VV_BUG(91);
    c->current = c->count; /* a failure leaves it nowhere */
    for (uint32_t i = 0; st == VV_OK && turns && i < c->count; i++)
        if (i != at)
            st = step_part(c->part[i], forward, err);
    if (st == VV_OK)
        st = step_part(c->part[at], forward, err);
    if (st == VV_OK)
        choose(c, forward);
    return st;
}

bool db_part_cursor_valid(const vv_cursor *cursor)
{
    const db_part_cursor *c = cursor->by_part;
    return c->current < c->count && vv_cursor_valid(c->part[c->current]);
}

const vv_cursor *db_part_cursor_at(const vv_cursor *cursor)
{
    const db_part_cursor *c = cursor->by_part;
    assert(c->current < c->count);
    return c->part[c->current];
}

uint64_t db_part_cursor_scanned(const vv_cursor *cursor)
{
    const db_part_cursor *c = cursor->by_part;
    uint64_t n = 0;
    for (uint32_t i = 0; i < c->count; i++)
        n += vv_cursor_scanned(c->part[i]);
    return n;
}

void db_part_cursor_close(vv_cursor *cursor)
{
    db_part_cursor *c = cursor->by_part;
    for (uint32_t i = 0; i < c->count; i++)
        vv_cursor_close(c->part[i]);
    vv_snapshot_release(c->own);
    cat_table_unref(c->base.table.cat);
    vv_free(c);
}

/* ---- opening --------------------------------------------------------------------------------- */

/* NULL: no memory. */
static db_part_cursor *create(vv_table *table, vv_error *err)
{
    db_part_cursor *c = vv_calloc(1, sizeof *c + table->partition_count * sizeof(vv_cursor *));
    if (c == NULL) {
        (void)vv_fail(err, VV_NO_MEMORY, "no memory for a cursor");
        return NULL;
    }
    c->base.table = *table;
    c->base.by_part = c;
    c->base.is_composed = true;
    c->count = c->current = table->partition_count;
    cat_table_ref(table->cat);
    return c;
}

static vv_status finish(db_part_cursor *c, vv_status st, vv_cursor **out)
{
    if (st == VV_OK)
        *out = &c->base;
    else
        db_part_cursor_close(&c->base);
    return st;
}

/* What the partitions are to be read at: a snapshot, also when none was asked for. */
static vv_status choose_state(db_part_cursor *c, vv_cursor_options *opt, vv_error *err)
{
    if (opt->version != 0)
        return db_check_has_version(&c->base.table, err);
    if (opt->snapshot != NULL || opt->archive != NULL)
        return VV_OK;
    vv_status st = vv_snapshot_create(c->base.table.db, &c->own, err);
    opt->snapshot = c->own;
    return st;
}

vv_status db_part_cursor_open(vv_table *table, const vv_cursor_options *opt, vv_cursor **out,
                              vv_error *err)
{
    vv_cursor_options at = *opt;
    vv_status st = VV_OK;
    db_part_cursor *c = create(table, err);
    if (c == NULL)
        return VV_NO_MEMORY;
    st = choose_state(c, &at, err);
    for (uint32_t p = 0; st == VV_OK && p < c->count; p++) {
        vv_table part = db_part_at(table, p);
        st = vv_cursor_open(&part, &at, &c->part[p], err);
    }
    return finish(c, st, out);
}

vv_status db_part_cursor_open_by_time(vv_table *table, const vv_cursor_options *opt,
                                      int64_t start_ns, int64_t end_ns, vv_cursor **out,
                                      vv_error *err)
{
    vv_cursor_options at = *opt;
    vv_status st = VV_OK;
    db_part_cursor *c = create(table, err);
    if (c == NULL)
        return VV_NO_MEMORY;
    c->is_by_time = true;
    st = choose_state(c, &at, err);
    for (uint32_t p = 0; st == VV_OK && p < c->count; p++) {
        vv_table part = db_part_at(table, p);
        st = vv_cursor_open_by_time(&part, &at, start_ns, end_ns, &c->part[p], err);
        if (st == VV_OK && c->own != NULL)
            db_time_cursor_set_newest(c->part[p]);
    }
    return finish(c, st, out);
}

vv_status db_part_cursor_open_txn(vv_txn *txn, vv_table *table, const vv_cursor_options *opt,
                                  vv_cursor **out, vv_error *err)
{
    vv_status st = VV_OK;
    db_part_cursor *c = create(table, err);
    if (c == NULL)
        return VV_NO_MEMORY;
    for (uint32_t p = 0; st == VV_OK && p < c->count; p++) {
        vv_table part = db_part_at(table, p);
        st = vv_txn_scan(txn, &part, opt, &c->part[p], err);
    }
    return finish(c, st, out);
}
