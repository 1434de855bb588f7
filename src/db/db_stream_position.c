/*
 * db_stream_position.c - named positions of consumers: committed, read, listed, reset, deleted.
 *
 * A position is a key of the partition. It is changed under the condition that it still is what was
 * read, so that of two consumers of one name neither takes back what the other committed.
 */
#include <string.h>

#include "base/error.h"
#include "base/point.h"
#include "db/db_stream_int.h"

#define TRIES_MAX 64u /* lost to others in a row */

vv_status db_stream_read_position(db_stream_reader *r, vv_slice name, stream_position *out,
                                  vv_error *err)
{
    uint8_t bytes[STREAM_NAMED_KEY_MAX];
    vv_slice key = vv_slice_of(bytes, stream_named_key(STREAM_KEY_POSITION, name, bytes));
    vv_status st = vv_cursor_seek(r->at, key, err);
    if (st != VV_OK)
        return st;
    if (!vv_cursor_valid(r->at) || !vv_slice_eq(vv_cursor_key(r->at), key))
        return vv_fail(err, VV_NOT_FOUND,
                       "there is no position '%.*s' in partition %u: commit or "
                       "reset it first",
                       (int)name.len, (const char *)name.data, r->partition);
    return stream_position_decode(vv_cursor_value(r->at), out, err);
}

/* The first position at or behind where the cursor stands; VV_NOT_FOUND at the end. */
static vv_status take_listed(db_stream_reader *r, vv_stream_position *out, vv_error *err)
{
    stream_position at = {0};
    if (!vv_cursor_valid(r->at))
        return VV_NOT_FOUND;
    vv_slice key = vv_cursor_key(r->at);
    if (key.len == 0 || key.data[0] != STREAM_KEY_POSITION)
        return VV_NOT_FOUND;
    vv_slice name = vv_slice_of(key.data + 1, key.len - 1);
    if (stream_position_check(name, NULL) != VV_OK)
        return vv_fail(err, VV_CORRUPT, "a position with a malformed name of %zu bytes", name.len);
    vv_status st = stream_position_decode(vv_cursor_value(r->at), &at, err);
    if (st != VV_OK)
        return st;
    *out = (vv_stream_position){.offset = at.offset,
                                .committed_ns = at.committed_ns,
                                .lag = at.offset < r->next ? r->next - at.offset : 0};
    memcpy(out->name, name.data, name.len);
    return VV_OK;
}

static vv_status seek_positions(db_stream_reader *r, vv_error *err)
{
    static const uint8_t kind = STREAM_KEY_POSITION;
    return vv_cursor_seek(r->at, vv_slice_of(&kind, 1), err);
}

vv_status db_stream_count_positions(db_stream_reader *r, uint64_t *out, vv_error *err)
{
    vv_stream_position one;
    *out = 0;
    vv_status st = seek_positions(r, err);
    while (st == VV_OK && (st = take_listed(r, &one, err)) == VV_OK) {
        ++*out;
        st = vv_cursor_next(r->at, err);
    }
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* Any writer can make positions, so they have a bound. */
static vv_status check_room(db_stream_reader *r, vv_error *err)
{
    uint64_t count = 0;
    vv_status st = db_stream_count_positions(r, &count, err);
    if (st != VV_OK || count < VV_STREAM_POSITIONS_MAX)
        return st;
    return vv_fail(err, VV_NO_SPACE,
                   "partition %u has %u positions already: delete those that nobody reads from",
                   r->partition, VV_STREAM_POSITIONS_MAX);
}

/* ---- changing ---------------------------------------------------------------------------------
 */

/* What a change begins with. */
typedef struct change {
    bool is_there;
    stream_position before;
    uint64_t next; /* offset behind the last message */
    uint8_t key[STREAM_NAMED_KEY_MAX];
    size_t key_len;
} change;

static vv_status look(db_stream_reader *r, vv_slice name, change *c, vv_error *err)
{
    *c = (change){.next = r->next};
    c->key_len = stream_named_key(STREAM_KEY_POSITION, name, c->key);
    vv_status st = db_stream_read_position(r, name, &c->before, err);
    c->is_there = st == VV_OK;
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* The same for one that is made if it is missing. */
static vv_status look_or_make(db_stream_reader *r, vv_slice name, change *c, vv_error *err)
{
    vv_status st = look(r, name, c, err);
    return st == VV_OK && !c->is_there ? check_room(r, err) : st;
}

/* The position becomes to, if it is still what it was. to NULL: deleted. */
static vv_status add_change(vv_batch *batch, vv_table *part, const change *c,
                            const stream_position *to, vv_error *err)
{
    uint8_t old[STREAM_POSITION_SIZE];
    uint8_t new[STREAM_POSITION_SIZE];
    txn_condition *cond = NULL;
    vv_slice key = vv_slice_of(c->key, c->key_len);
    stream_position_encode(&c->before, old);
    vv_status st = db_batch_bind(batch, part, err);
    if (st == VV_OK)
        st = db_batch_add_condition(
            batch, TXN_VALUE, part->cat->id, key,
            c->is_there ? vv_slice_of(old, sizeof old) : vv_slice_of(NULL, 0), &cond, err);
    if (st != VV_OK)
        return st;
    cond->present = c->is_there;
    if (to == NULL)
        return db_batch_add(batch, ENGINE_DELETE, part->cat->id, key, vv_slice_of(NULL, 0), 0, err);
    stream_position_encode(to, new);
    return db_batch_add(batch, ENGINE_PUT, part->cat->id, key, vv_slice_of(new, sizeof new), 0,
                        err);
}

static vv_status write_change(vv_table *part, const change *c, const stream_position *to,
                              vv_durability durability, vv_error *err)
{
    vv_batch batch;
    db_batch_init(&batch, part->db, NULL, 0);
    vv_status st = add_change(&batch, part, c, to, err);
    if (st == VV_OK)
        st = vv_write(part->db, &batch, durability, NULL, err);
    db_batch_fini(&batch);
    if (st == VV_CONFLICT) /* what it lost to may not be seen yet, and a new try looks at that */
        db_await_visible(part->db);
    return st;
}

/* Nothing changes, but what was committed before is to be as durable as is asked now. */
static vv_status write_nothing(vv_db *db, vv_durability durability, vv_error *err)
{
    vv_batch batch;
    db_batch_init(&batch, db, NULL, 0);
    vv_status st = vv_write(db, &batch, durability, NULL, err);
    db_batch_fini(&batch);
    return st;
}

static vv_status check_offset(const change *c, vv_slice name, uint64_t offset, vv_error *err)
{
    if (offset > c->next)
        return vv_fail(err, VV_INVALID, "offset %llu lies past the end, which is %llu",
                       (unsigned long long)offset, (unsigned long long)c->next);
    if (c->is_there && offset < c->before.offset && !VV_BUG(103)) /* the bug: a commit goes back */
        return vv_fail(err, VV_CONFLICT,
                       "position '%.*s' stands at %llu already: a commit of %llu comes late, or "
                       "another consumer has that name (to go back, reset it)",
                       (int)name.len, (const char *)name.data, (unsigned long long)c->before.offset,
                       (unsigned long long)offset);
    return VV_OK;
}

static vv_status check(const vv_table *table, uint32_t partition, vv_slice name, vv_error *err)
{
    vv_status st = db_stream_check_part(table, partition, err);
    return st == VV_OK ? stream_position_check(name, err) : st;
}

/* One try. *again: another was faster. */
static vv_status commit_once(const vv_table *table, uint32_t partition, vv_slice name,
                             uint64_t offset, vv_durability durability, bool *again, vv_error *err)
{
    db_stream_reader r;
    change c = {.next = 0};
    *again = false;
    vv_status st = db_stream_reader_open(&r, table, partition, NULL, NULL, err);
    if (st == VV_OK)
        st = look_or_make(&r, name, &c, err);
    if (st == VV_OK)
        st = check_offset(&c, name, offset, err);
    db_stream_reader_close(&r);
    if (st != VV_OK)
        return st;
    if (c.is_there && c.before.offset == offset)
        return write_nothing(table->db, durability, err);
    stream_position to = {offset, vv_clock_wall(table->db->env->clock)};
    VV_POINT("stream.before_commit");
    if (VV_BUG(143)) /* acknowledged before it is durable */
        durability = VV_DURABLE_NONE;
    st = write_change(&r.part, &c, &to, durability, err);
    VV_POINT("stream.after_commit");
    *again = st == VV_CONFLICT;
    return st;
}

vv_status vv_stream_commit(vv_table *table, uint32_t partition, vv_slice name, uint64_t offset,
                           vv_durability durability, vv_error *err)
{
    bool again = true;
    vv_status st = check(table, partition, name, err);
    for (unsigned i = 0; st == VV_OK && again; i++) {
        st = commit_once(table, partition, name, offset, durability, &again, err);
        if (again && i < TRIES_MAX)
            st = VV_OK;
    }
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "commit to stream '%s'", table->cat->name);
}

vv_status vv_batch_stream_commit(vv_batch *batch, vv_table *table, uint32_t partition,
                                 vv_slice name, uint64_t offset, vv_error *err)
{
    db_stream_reader r = {.at = NULL};
    change c = {.next = 0};
    vv_status st = check(table, partition, name, err);
    if (st == VV_OK)
        st = db_stream_reader_open(&r, table, partition, NULL, NULL, err);
    if (st == VV_OK)
        st = look_or_make(&r, name, &c, err);
    if (st == VV_OK)
        st = check_offset(&c, name, offset, err);
    db_stream_reader_close(&r);
    stream_position to = {offset, vv_clock_wall(table->db->env->clock)};
    if (st == VV_OK)
        st = add_change(batch, &r.part, &c, &to, err);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "commit to stream '%s'", table->cat->name);
}

static vv_status reset_once(const vv_table *table, uint32_t partition, vv_slice name,
                            const vv_stream_start *start, uint64_t *offset, vv_error *err)
{
    db_stream_reader r;
    change c = {.next = 0};
    uint64_t asked = 0;
    vv_status st = db_stream_reader_open(&r, table, partition, NULL, NULL, err);
    if (st == VV_OK)
        st = db_stream_resolve(&r, start, offset, &asked, err);
    if (st == VV_OK)
        st = look_or_make(&r, name, &c, err);
    db_stream_reader_close(&r);
    if (st != VV_OK)
        return st;
    stream_position to = {*offset, vv_clock_wall(table->db->env->clock)};
    return write_change(&r.part, &c, &to, VV_DURABLE_DEFAULT, err);
}

vv_status vv_stream_position_reset(vv_table *table, uint32_t partition, vv_slice name,
                                   const vv_stream_start *start, uint64_t *offset, vv_error *err)
{
    uint64_t at = 0;
    vv_status st = check(table, partition, name, err);
    if (st == VV_OK)
        st = VV_CONFLICT;
    for (unsigned i = 0; st == VV_CONFLICT && i < TRIES_MAX; i++)
        st = reset_once(table, partition, name, start, &at, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "reset a position of stream '%s'", table->cat->name);
    if (offset != NULL)
        *offset = at;
    return VV_OK;
}

static vv_status delete_once(const vv_table *table, uint32_t partition, vv_slice name,
                             vv_error *err)
{
    db_stream_reader r;
    change c = {.next = 0};
    vv_status st = db_stream_reader_open(&r, table, partition, NULL, NULL, err);
    if (st == VV_OK)
        st = look(&r, name, &c, err);
    db_stream_reader_close(&r);
    if (st == VV_OK && !c.is_there)
        return VV_NOT_FOUND;
    return st == VV_OK ? write_change(&r.part, &c, NULL, VV_DURABLE_DEFAULT, err) : st;
}

vv_status vv_stream_position_delete(vv_table *table, vv_slice name, vv_error *err)
{
    bool is_found = false;
    vv_status st = check(table, 0, name, err);
    for (uint32_t p = 0; st == VV_OK && p < table->cat->partition_count; p++) {
        st = VV_CONFLICT;
        for (unsigned i = 0; st == VV_CONFLICT && i < TRIES_MAX; i++)
            st = delete_once(table, p, name, err);
        is_found |= st == VV_OK;
        if (st == VV_NOT_FOUND)
            st = VV_OK;
    }
    if (st == VV_OK && !is_found)
        st = vv_fail(err, VV_NOT_FOUND, "there is no position '%.*s'", (int)name.len,
                     (const char *)name.data);
    return st == VV_OK ? VV_OK
                       : vv_wrap(err, st, "delete a position of stream '%s'", table->cat->name);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

vv_status vv_stream_position_get(vv_table *table, uint32_t partition, vv_slice name,
                                 vv_stream_position *out, vv_error *err)
{
    db_stream_reader r = {.at = NULL};
    stream_position at = {0};
    vv_status st = check(table, partition, name, err);
    if (st == VV_OK)
        st = db_stream_reader_open(&r, table, partition, NULL, NULL, err);
    if (st == VV_OK)
        st = db_stream_read_position(&r, name, &at, err);
    if (st == VV_OK)
        st = take_listed(&r, out, err);
    db_stream_reader_close(&r);
    if (st != VV_OK)
        return vv_wrap(err, st, "stream '%s'", table->cat->name);
    out->partition = partition;
    return VV_OK;
}

/* Behind a name; an empty one: all. */
static vv_status seek_behind(db_stream_reader *r, vv_slice name, vv_error *err)
{
    uint8_t bytes[STREAM_NAMED_KEY_MAX];
    if (name.len == 0)
        return seek_positions(r, err);
    const vv_slice key = vv_slice_of(bytes, stream_named_key(STREAM_KEY_POSITION, name, bytes));
    vv_status st = vv_cursor_seek(r->at, key, err);
    if (st == VV_OK && vv_cursor_valid(r->at) && vv_slice_eq(vv_cursor_key(r->at), key))
        st = vv_cursor_next(r->at, err);
    return st;
}

static vv_status list_part(const vv_table *table, uint32_t partition, vv_slice behind,
                           const vv_snapshot *snapshot,
                           int (*each)(void *ctx, const vv_stream_position *pos), void *ctx,
                           bool *end, vv_error *err)
{
    db_stream_reader r;
    vv_stream_position one;
    vv_status st = db_stream_reader_open(&r, table, partition, snapshot, NULL, err);
    if (st == VV_OK)
        st = seek_behind(&r, behind, err);
    while (st == VV_OK && !*end && (st = take_listed(&r, &one, err)) == VV_OK) {
        one.partition = partition;
        *end = each(ctx, &one) != 0;
        st = vv_cursor_next(r.at, err);
    }
    db_stream_reader_close(&r);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

vv_status vv_stream_position_list_after(vv_table *table, uint32_t partition, vv_slice name,
                                        int (*each)(void *ctx, const vv_stream_position *pos),
                                        void *ctx, vv_error *err)
{
    bool end = false;
    vv_snapshot *now = NULL;
    vv_status st = db_stream_check_part(table, partition, err);
    if (st == VV_OK && name.len > 0)
        st = stream_position_check(name, err);
    if (st == VV_OK)
        st = vv_snapshot_create(table->db, &now, err);
    for (uint32_t p = partition; st == VV_OK && !end && p < table->cat->partition_count; p++) {
        st = list_part(table, p, name, now, each, ctx, &end, err);
        name = vv_slice_of(NULL, 0);
    }
    vv_snapshot_release(now);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "positions of stream '%s'", table->cat->name);
}

vv_status vv_stream_position_list(vv_table *table,
                                  int (*each)(void *ctx, const vv_stream_position *pos), void *ctx,
                                  vv_error *err)
{
    return vv_stream_position_list_after(table, 0, vv_slice_of(NULL, 0), each, ctx, err);
}
