/*
 * db_time_cursor.c - records in order of their timestamp, through the time index.
 *
 *   index cursor:  (timestamp, key) --> record of key at the same version
 *                                         its timestamp is that of the index key: show it
 *                                         another, or no record: a leftover, step over it
 *
 * An overwrite with another timestamp, or a delete, leaves its old index entry behind: finding it
 * at write time would cost a read for every put. Here it is seen anyway. Leftovers met by a cursor
 * at the newest version are removed when it closes, each on condition that its index entry is still
 * the one that was seen: a put of the same timestamp in between keeps it.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_int.h"

#define LEFTOVERS_MAX 256u /* removed by one cursor */
#define LEFTOVER_BYTES_MAX (64u * 1024)

struct db_time_cursor {
    engine_value value; /* the record shown; under valid */
    bool valid;
    bool pinned;         /* read.version is pinned for the look-ups */
    bool is_newest;      /* opened without a version: leftovers are leftovers now too */
    uint64_t looked;     /* records looked up */
    vv_batch *leftovers; /* removals to write at close; NULL: none met */
};

static vv_slice index_key(const vv_cursor *cursor)
{
    vv_slice key = engine_cursor_item(cursor->at)->key;
    return vv_slice_of(key.data + ENGINE_TABLE_PREFIX, key.len - ENGINE_TABLE_PREFIX);
}

static void release_value(db_time_cursor *t)
{
    if (t->valid)
        engine_value_release(&t->value);
    t->valid = false;
}

/* Remember a leftover. Best effort: what is not remembered is met again another time. */
static void note_leftover(vv_cursor *cursor, vv_slice key, int64_t version)
{
    db_time_cursor *t = cursor->by_time;
    vv_db *db = cursor->table.db;
    if (!t->is_newest || db->opt.read_only)
        return;
    if (t->leftovers == NULL)
        t->leftovers = vv_batch_create(db);
    vv_batch *b = t->leftovers;
    if (b == NULL || b->op_count >= LEFTOVERS_MAX || b->payload.len >= LEFTOVER_BYTES_MAX)
        return;
    txn_condition *cond = NULL;
    uint32_t id = cursor->table.cat->index_id;
    b->is_internal = true;
    if (db_batch_bind(b, &cursor->table, NULL) != VV_OK ||
        db_batch_add_condition(b, TXN_VERSION, id, key, vv_slice_of(NULL, 0), &cond, NULL) != VV_OK)
        return;
    cond->version = version;
    if (db_batch_add(b, ENGINE_DELETE, id, key, vv_slice_of(NULL, 0), 0, NULL) != VV_OK)
        b->cond_count--;
}

/* Look the record of the index entry up. VV_NOT_FOUND: a leftover. */
static vv_status look_up(vv_cursor *cursor, vv_error *err)
{
    db_time_cursor *t = cursor->by_time;
    vv_slice at = index_key(cursor);
    if (at.len <= DB_INDEX_TIME_SIZE || at.len > DB_INDEX_TIME_SIZE + VV_KEY_MAX)
        return vv_fail(err, VV_CORRUPT, "a time index key has %zu bytes", at.len);
    uint8_t key[ENGINE_KEY_MAX];
    size_t key_len = at.len - DB_INDEX_TIME_SIZE;
    vv_put_be32(key, cursor->table.cat->id);
    memcpy(key + ENGINE_TABLE_PREFIX, at.data + DB_INDEX_TIME_SIZE, key_len);
    engine *eng = cursor->table.shard->eng;
    t->looked++;
    vv_status st = cursor->table.db->ops->get(eng, vv_slice_of(key, ENGINE_TABLE_PREFIX + key_len),
                                              &cursor->read, &t->value, err);
    if (st != VV_OK)
        return st;
    vv_record record;
    st = vv_record_parse(t->value.data, &record, err);
    if (st == VV_OK && record.timestamp_ns != db_time_decode(at.data))
        st = VV_NOT_FOUND;
    if (st != VV_OK)
        engine_value_release(&t->value);
    return st;
}

/* From where the index cursor stands, the first entry in the direction that has its record. */
static vv_status settle(vv_cursor *cursor, bool forward, vv_error *err)
{
    db_time_cursor *t = cursor->by_time;
    while (engine_cursor_valid(cursor->at)) {
        vv_status st = look_up(cursor, err);
        t->valid = st == VV_OK;
        if (st != VV_NOT_FOUND)
            return st;
        note_leftover(cursor, index_key(cursor), engine_cursor_item(cursor->at)->version);
        st = forward ? engine_cursor_next(cursor->at, err) : engine_cursor_prev(cursor->at, err);
        if (st != VV_OK)
            return st;
    }
    return VV_OK;
}

vv_status db_time_cursor_seek(vv_cursor *cursor, vv_error *err)
{
    release_value(cursor->by_time);
    vv_status st = engine_cursor_seek(cursor->at, vv_slice_of(NULL, 0), err);
    return st == VV_OK ? settle(cursor, true, err) : st;
}

vv_status db_time_cursor_seek_last(vv_cursor *cursor, vv_error *err)
{
    release_value(cursor->by_time);
    vv_status st = engine_cursor_seek_below(cursor->at, vv_slice_of(NULL, 0), err);
    return st == VV_OK ? settle(cursor, false, err) : st;
}

vv_status db_time_cursor_step(vv_cursor *cursor, bool forward, vv_error *err)
{
    release_value(cursor->by_time);
    vv_status st =
        forward ? engine_cursor_next(cursor->at, err) : engine_cursor_prev(cursor->at, err);
    return st == VV_OK ? settle(cursor, forward, err) : st;
}

bool db_time_cursor_valid(const vv_cursor *cursor)
{
    return cursor->by_time->valid;
}

vv_slice db_time_cursor_key(const vv_cursor *cursor)
{
    vv_slice at = index_key(cursor);
    return vv_slice_of(at.data + DB_INDEX_TIME_SIZE, at.len - DB_INDEX_TIME_SIZE);
}

vv_slice db_time_cursor_order(const vv_cursor *cursor)
{
    return index_key(cursor);
}

void db_time_cursor_set_newest(vv_cursor *cursor)
{
    cursor->by_time->is_newest = true;
}

const engine_value *db_time_cursor_value(const vv_cursor *cursor)
{
    return &cursor->by_time->value;
}

uint64_t db_time_cursor_scanned(const vv_cursor *cursor)
{
    return cursor->by_time->looked;
}

static void removal_done(void *ctx, vv_status status, const vv_write_result *result,
                         const vv_error *err)
{
    vv_batch *batch = ctx;
    (void)result;
    (void)err;
    if (status == VV_OK)
        atomic_fetch_add_explicit(&batch->db->counters.stale_index_drops, batch->op_count,
                                  memory_order_relaxed);
    vv_batch_destroy(batch);
}

void db_time_cursor_close(vv_cursor *cursor)
{
    db_time_cursor *t = cursor->by_time;
    vv_db *db = cursor->table.db;
    release_value(t);
    if (t->pinned)
        db->ops->unpin(cursor->table.shard->eng, cursor->read.version, cursor->read.now_ns);
    vv_batch *b = t->leftovers;
    vv_free(t);
    if (b == NULL)
        return;
    if (b->op_count == 0 || vv_write_async(db, b, VV_DURABLE_NONE, removal_done, b, NULL) != VV_OK)
        vv_batch_destroy(b);
}

static vv_status check_options(const vv_table *table, const vv_cursor_options *opt, vv_error *err)
{
    if (table->cat->kind != VV_TABLE_RECORD)
        return vv_fail(err, VV_INVALID, "table '%s' has no time index: it is not of kind record",
                       table->cat->name);
    if (opt->lower.len + opt->upper.len + opt->prefix.len > 0)
        return vv_fail(err, VV_INVALID, "a cursor by time takes no key bounds and no prefix");
    if (opt->archive != NULL)
        return vv_fail(err, VV_UNSUPPORTED, "archives are read by key: open a cursor over keys");
    return VV_OK;
}

static vv_status open_index(vv_cursor *c, vv_table *table, const vv_cursor_options *opt,
                            int64_t start_ns, int64_t end_ns, vv_error *err)
{
    uint8_t lower[ENGINE_TABLE_PREFIX + DB_INDEX_TIME_SIZE];
    uint8_t upper[ENGINE_TABLE_PREFIX + DB_INDEX_TIME_SIZE];
    vv_put_be32(lower, table->cat->index_id);
    vv_put_be32(upper, table->cat->index_id);
    db_time_encode(start_ns, lower + ENGINE_TABLE_PREFIX);
    db_time_encode(end_ns, upper + ENGINE_TABLE_PREFIX);
    return db_cursor_begin(table, opt, vv_slice_of(lower, sizeof lower),
                           vv_slice_of(upper, sizeof upper), true, &c->by_time->pinned, &c->read,
                           &c->at, err);
}

vv_status vv_cursor_open_by_time(vv_table *table, const vv_cursor_options *opt, int64_t start_ns,
                                 int64_t end_ns, vv_cursor **out, vv_error *err)
{
    static const vv_cursor_options defaults = VV_CURSOR_OPTIONS_INIT;
    vv_cursor_options full = VV_CURSOR_OPTIONS_INIT;
    vv_status st = db_check_table(table, err);
    if (st == VV_OK)
        st = db_cursor_options_take(opt == NULL ? &defaults : opt, &full, err);
    if (st == VV_OK)
        st = check_options(table, &full, err);
    if (st != VV_OK)
        return st;
    if (table->partition_count > 1)
        return db_part_cursor_open_by_time(table, &full, start_ns, end_ns, out, err);
    vv_cursor *c = vv_calloc(1, sizeof *c);
    db_time_cursor *t = vv_calloc(1, sizeof *t);
    if (c == NULL || t == NULL) {
        vv_free(c);
        vv_free(t);
        return vv_fail(err, VV_NO_MEMORY, "no memory for a cursor");
    }
    c->by_time = t;
    t->is_newest = full.snapshot == NULL && full.version == 0;
    st = open_index(c, table, &full, start_ns, end_ns, err);
    if (st != VV_OK) {
        vv_free(t);
        vv_free(c);
        return vv_wrap(err, st, "cursor by time over table '%s'", table->cat->name);
    }
    c->table = *table;
    cat_table_ref(c->table.cat);
    *out = c;
    return VV_OK;
}
