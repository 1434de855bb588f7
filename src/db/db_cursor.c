/*
 * db_cursor.c - cursors over a table's keys: the engine's, clipped to the table and the bounds.
 *
 * A cursor without a snapshot takes the newest version and pins the structures that answer it, not
 * the version: it costs no bookkeeping in the engine, and what it holds goes with it.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/options.h"
#include "db/db_int.h"

/* Unpinned: what was opened is trusted only if no higher floor was given away meanwhile. */
static vv_status open_at(vv_table *table, int64_t version, engine_cursor_options *opt, bool pin,
                         engine_cursor **out, vv_status *floor_status, vv_error *err)
{
    vv_db *db = table->db;
    engine *eng = table->shard->eng;
    opt->read = (engine_read){.version = version, .now_ns = db_read_time(db)};
    *floor_status = VV_OK;
    vv_status st = VV_OK;
    if (pin)
        st = db->ops->pin(eng, version, opt->read.now_ns, err);
    if (st != VV_OK)
        return st;
    engine_cursor *c = NULL;
    st = db->ops->cursor(eng, opt, &c, err);
    if (st == VV_OK)
        st = *floor_status = db_check_floor(db, table->shard, table->cat->id, version, err);
    if (st != VV_OK) {
        engine_cursor_close(c);
        if (pin)
            db->ops->unpin(eng, version, opt->read.now_ns);
        return st;
    }
    *out = c;
    return VV_OK;
}

vv_status db_cursor_begin(vv_table *table, const vv_cursor_options *opt, vv_slice lower,
                          vv_slice upper, bool pin, bool *pinned, engine_read *read,
                          engine_cursor **out, vv_error *err)
{
    vv_db *db = table->db;
    engine *eng = table->shard->eng;
    engine_cursor_options at = {.lower = lower, .upper = upper};
    vv_status floor_status = VV_OK;
    vv_status st;
    *pinned = false;
    if (opt->snapshot != NULL) {
        assert(opt->snapshot->db == db);
        at.read = (engine_read){.version = opt->snapshot->version[table->shard->id],
                                .now_ns = opt->snapshot->time_ns};
        st = db->ops->cursor(eng, &at, out, err);
    } else if (opt->version != 0) {
        st = db_check_as_of(table, opt->version, err);
        if (st == VV_OK)
            st = open_at(table, opt->version, &at, pin, out, &floor_status, err);
        *pinned = pin && st == VV_OK;
    } else {
        do
            st = open_at(table, db->ops->visible(eng), &at, pin, out, &floor_status, err);
        while (floor_status != VV_OK);
        *pinned = pin && st == VV_OK;
    }
    if (st == VV_OK)
        *read = at.read;
    return st;
}

static size_t put_bound(uint8_t *out, uint32_t table_id, vv_slice key)
{
    vv_put_be32(out, table_id);
    if (key.len > 0)
        memcpy(out + ENGINE_TABLE_PREFIX, key.data, key.len);
    return ENGINE_TABLE_PREFIX + key.len;
}

/* The first key behind all that begin with prefix; the table's end when there is none in it. */
static size_t put_prefix_end(uint8_t *out, uint32_t table_id, vv_slice prefix)
{
    size_t len = prefix.len;
    while (len > 0 && prefix.data[len - 1] == 0xff)
        len--;
    if (len == 0)
        return put_bound(out, table_id + 1, vv_slice_of(NULL, 0));
    size_t total = put_bound(out, table_id, vv_slice_of(prefix.data, len));
    out[total - 1]++;
    return total;
}

vv_status db_bounds_make(const vv_table *table, const vv_cursor_options *opt, db_bounds *b,
                         vv_error *err)
{
    uint32_t id = table->cat->id;
    if (opt->lower.len > VV_KEY_MAX || opt->upper.len > VV_KEY_MAX || opt->prefix.len > VV_KEY_MAX)
        return vv_fail(err, VV_INVALID, "a bound is longer than %u bytes", VV_KEY_MAX);
    if (opt->prefix.len > 0) {
        if (opt->lower.len > 0 || opt->upper.len > 0)
            return vv_fail(err, VV_INVALID, "a cursor takes bounds or a prefix, not both");
        b->lower_len = put_bound(b->lower, id, opt->prefix);
        b->upper_len = put_prefix_end(b->upper, id, opt->prefix);
        return VV_OK;
    }
    b->lower_len = put_bound(b->lower, id, opt->lower);
    b->upper_len = opt->upper.len > 0 ? put_bound(b->upper, id, opt->upper)
                                      : put_bound(b->upper, id + 1, vv_slice_of(NULL, 0));
    return VV_OK;
}

vv_status db_cursor_options_take(const vv_cursor_options *opt, vv_cursor_options *out,
                                 vv_error *err)
{
    *out = (vv_cursor_options)VV_CURSOR_OPTIONS_INIT;
    return vv_options_take(out, sizeof *out, opt, offsetof(vv_cursor_options, lower),
                           "vv_cursor_options", err);
}

vv_status vv_cursor_open(vv_table *table, const vv_cursor_options *opt, vv_cursor **out,
                         vv_error *err)
{
    static const vv_cursor_options defaults = VV_CURSOR_OPTIONS_INIT;
    vv_cursor_options full = VV_CURSOR_OPTIONS_INIT;
    db_bounds b = {.lower_len = 0};
    bool pinned;
    if (opt == NULL)
        opt = &defaults;
    vv_status st = db_check_table(table, err);
    if (st == VV_OK)
        st = db_cursor_options_take(opt, &full, err);
    if (st == VV_OK && full.archive != NULL && (full.snapshot != NULL || full.version != 0))
        st = vv_fail(err, VV_INVALID, "a cursor reads an archive, a snapshot or a version");
    if (st == VV_OK)
        st = db_bounds_make(table, &full, &b, err);
    if (st != VV_OK)
        return st;
    if (table->partition_count > 1)
        return db_part_cursor_open(table, &full, out, err);
    vv_cursor *c = vv_calloc(1, sizeof *c);
    if (c == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a cursor");
    vv_slice lower = vv_slice_of(b.lower, b.lower_len);
    vv_slice upper = vv_slice_of(b.upper, b.upper_len);
    st = full.archive != NULL
             ? db_archive_cursor(table, full.archive, lower, upper, &c->read, &c->at, err)
             : db_cursor_begin(table, &full, lower, upper, false, &pinned, &c->read, &c->at, err);
    if (st != VV_OK) {
        vv_free(c);
        return vv_wrap(err, st, "cursor over table '%s'", table->cat->name);
    }
    c->table = *table;
    cat_table_ref(c->table.cat);
    *out = c;
    return VV_OK;
}

/* ---- cursors that are more than the engine's: of transactions, over partitions ---- */

static vv_status seek_composed(vv_cursor *cursor, vv_slice key, vv_error *err)
{
    return cursor->by_txn != NULL ? db_txn_cursor_seek(cursor, key, err)
                                  : db_part_cursor_seek(cursor, key, err);
}

static vv_status seek_below_composed(vv_cursor *cursor, vv_slice key, vv_error *err)
{
    return cursor->by_txn != NULL ? db_txn_cursor_seek_below(cursor, key, err)
                                  : db_part_cursor_seek_below(cursor, key, err);
}

static vv_status step_composed(vv_cursor *cursor, bool forward, vv_error *err)
{
    if (cursor->by_txn != NULL)
        return db_txn_cursor_step(cursor, forward, err);
    if (!db_part_cursor_valid(cursor))
        return vv_fail(err, VV_INVALID, "the cursor stands nowhere: seek first");
    return db_part_cursor_step(cursor, forward, err);
}

/* The one that stands at the entry. */
static const vv_cursor *standing(const vv_cursor *cursor)
{
    return VV_UNLIKELY(cursor->by_part != NULL) ? db_part_cursor_at(cursor) : cursor;
}

void vv_cursor_close(vv_cursor *cursor)
{
    if (cursor == NULL)
        return;
    if (cursor->by_part != NULL) {
        db_part_cursor_close(cursor);
        return;
    }
    if (cursor->by_txn != NULL) {
        db_txn_cursor_close(cursor);
        return;
    }
    engine_cursor_close(cursor->at);
    if (cursor->by_time != NULL)
        db_time_cursor_close(cursor);
    cat_table_unref(cursor->table.cat);
    vv_free(cursor);
}

static vv_status check_no_key(vv_slice key, vv_error *err)
{
    if (key.len == 0)
        return VV_OK;
    return vv_fail(err, VV_UNSUPPORTED,
                   "a cursor by time seeks only to its ends: pass an empty key");
}

static vv_status check_seek_key(vv_slice key, vv_error *err)
{
    if (key.len <= VV_KEY_MAX)
        return VV_OK;
    return vv_fail(err, VV_INVALID, "the key has %zu bytes, at most %u are allowed", key.len,
                   VV_KEY_MAX);
}

vv_status vv_cursor_seek(vv_cursor *cursor, vv_slice key, vv_error *err)
{
    if (VV_UNLIKELY(cursor->is_composed))
        return seek_composed(cursor, key, err);
    if (cursor->by_time != NULL) {
        vv_status st = check_no_key(key, err);
        return st == VV_OK ? db_time_cursor_seek(cursor, err) : st;
    }
    if (key.len == 0)
        return engine_cursor_seek(cursor->at, vv_slice_of(NULL, 0), err);
    vv_status st = check_seek_key(key, err);
    if (st != VV_OK)
        return st;
    uint8_t full[ENGINE_KEY_MAX];
    size_t len = put_bound(full, cursor->table.cat->id, key);
    return engine_cursor_seek(cursor->at, vv_slice_of(full, len), err);
}

vv_status vv_cursor_seek_below(vv_cursor *cursor, vv_slice key, vv_error *err)
{
    if (VV_UNLIKELY(cursor->is_composed))
        return seek_below_composed(cursor, key, err);
    if (cursor->by_time != NULL) {
        vv_status st = check_no_key(key, err);
        return st == VV_OK ? db_time_cursor_seek_last(cursor, err) : st;
    }
    if (key.len == 0)
        return engine_cursor_seek_below(cursor->at, vv_slice_of(NULL, 0), err);
    vv_status st = check_seek_key(key, err);
    if (st != VV_OK)
        return st;
    uint8_t full[ENGINE_KEY_MAX];
    size_t len = put_bound(full, cursor->table.cat->id, key);
    return engine_cursor_seek_below(cursor->at, vv_slice_of(full, len), err);
}

static vv_status check_valid(const vv_cursor *cursor, vv_error *err)
{
    if (VV_LIKELY(vv_cursor_valid(cursor)))
        return VV_OK;
    return vv_fail(err, VV_INVALID, "the cursor stands nowhere: seek first");
}

vv_status vv_cursor_next(vv_cursor *cursor, vv_error *err)
{
    if (VV_UNLIKELY(cursor->is_composed))
        return step_composed(cursor, true, err);
    vv_status st = check_valid(cursor, err);
    if (VV_UNLIKELY(st != VV_OK))
        return st;
    if (cursor->by_time != NULL)
        return db_time_cursor_step(cursor, true, err);
    return engine_cursor_next(cursor->at, err);
}

vv_status vv_cursor_prev(vv_cursor *cursor, vv_error *err)
{
    if (VV_UNLIKELY(cursor->is_composed))
        return step_composed(cursor, false, err);
    vv_status st = check_valid(cursor, err);
    if (VV_UNLIKELY(st != VV_OK))
        return st;
    if (cursor->by_time != NULL)
        return db_time_cursor_step(cursor, false, err);
    return engine_cursor_prev(cursor->at, err);
}

bool vv_cursor_valid(const vv_cursor *cursor)
{
    if (VV_UNLIKELY(cursor->is_composed))
        return cursor->by_txn != NULL ? db_txn_cursor_valid(cursor) : db_part_cursor_valid(cursor);
    return cursor->by_time != NULL ? db_time_cursor_valid(cursor) : engine_cursor_valid(cursor->at);
}

/* Of a cursor by key. */
static const engine_item *item_of(const vv_cursor *cursor)
{
    return VV_UNLIKELY(cursor->by_txn != NULL) ? db_txn_cursor_item(cursor)
                                               : engine_cursor_item(cursor->at);
}

vv_slice vv_cursor_key(const vv_cursor *cursor)
{
    cursor = standing(cursor);
    if (cursor->by_time != NULL)
        return db_time_cursor_key(cursor);
    vv_slice key = item_of(cursor)->key;
    return vv_slice_of(key.data + ENGINE_TABLE_PREFIX, key.len - ENGINE_TABLE_PREFIX);
}

vv_slice vv_cursor_value(const vv_cursor *cursor)
{
    cursor = standing(cursor);
    return cursor->by_time != NULL ? db_time_cursor_value(cursor)->data : item_of(cursor)->value;
}

int64_t vv_cursor_version(const vv_cursor *cursor)
{
    cursor = standing(cursor);
    return cursor->by_time != NULL ? db_time_cursor_value(cursor)->version
                                   : item_of(cursor)->version;
}

int64_t vv_cursor_expires_ns(const vv_cursor *cursor)
{
    cursor = standing(cursor);
    return cursor->by_time != NULL ? db_time_cursor_value(cursor)->expires_ns
                                   : item_of(cursor)->expires_ns;
}

uint64_t vv_cursor_scanned(const vv_cursor *cursor)
{
    if (VV_UNLIKELY(cursor->is_composed))
        return cursor->by_txn != NULL ? db_txn_cursor_scanned(cursor)
                                      : db_part_cursor_scanned(cursor);
    uint64_t n = engine_cursor_scanned(cursor->at);
    return cursor->by_time != NULL ? n + db_time_cursor_scanned(cursor) : n;
}
