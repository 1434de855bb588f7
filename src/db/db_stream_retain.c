/*
 * db_stream_retain.c - messages that go: trimmed by hand, or past what the table keeps.
 *
 * One entry deletes a range of blocks and writes where the partition begins now, under the
 * condition that it began where it was read to: two trims at once do not move it back. The head
 * also keeps the sums of what is gone, so a partition without a message still knows its next
 * offset.
 *
 * The background looks at every stream that has a retention once a minute, or eight times in the
 * retention where that is shorter, by halving: it reads some twenty blocks of each.
 */
#include <string.h>

#include "base/error.h"
#include "base/point.h"
#include "db/db_stream_int.h"

#define LOOK_MAX_NS (60 * VV_NS_PER_S)
#define LOOK_MIN_NS VV_NS_PER_S
#define TRIES_MAX 64u

/* ---- one partition ----------------------------------------------------------------------------
 */

/* The head that says `offset`, and where the blocks end that hold nothing any more. */
static vv_status make_head(db_stream_reader *r, uint64_t offset, stream_head *head, uint64_t *begin,
                           vv_error *err)
{
    arch_entry e;
    *begin = offset;
    *head = (stream_head){offset, r->sums.bytes_before, r->sums.receive_ns, r->sums.event_max};
    if (offset == r->next)
        return VV_OK;
    if (offset < r->local) { /* of the object that holds it; no block goes */
        vv_status found = db_tier_entry_of(r, offset, &e, err);
        if (found == VV_OK)
            *head = (stream_head){offset, e.bytes_before, e.holds.receive_first_ns,
                                  e.holds.event_max_ns};
        return found == VV_NOT_FOUND ? VV_CORRUPT : found;
    }
    vv_status st = db_stream_load(r, offset, err);
    *begin = r->begin;
    *head = (stream_head){offset, r->block.place.bytes_before, r->block.place.receive_ns,
                          r->block.place.event_max};
    return st;
}

vv_status db_stream_add_condition(vv_batch *batch, uint32_t id, uint8_t kind, bool is_there,
                                  const stream_head *head, vv_error *err)
{
    uint8_t old[STREAM_HEAD_SIZE];
    txn_condition *cond = NULL;
    stream_head_encode(head, old);
    vv_status st = db_batch_add_condition(
        batch, TXN_VALUE, id, vv_slice_of(&kind, 1),
        is_there ? vv_slice_of(old, sizeof old) : vv_slice_of(NULL, 0), &cond, err);
    if (cond != NULL)
        cond->present = is_there;
    return st;
}

/* The blocks that hold nothing any more, up to the one at begin, and where blocks began. */
static vv_status add_blocks(vv_batch *batch, db_stream_reader *r, uint64_t begin, vv_error *err)
{
    static const uint8_t kind = STREAM_KEY_LOCAL;
    uint8_t lower[STREAM_BLOCK_KEY];
    uint8_t upper[ENGINE_TABLE_PREFIX + STREAM_BLOCK_KEY];
    uint32_t id = r->part.cat->id;
    vv_status st = VV_OK;
    uint64_t from = r->local;
    if (r->local < r->next) {
        st = db_stream_load(r, r->local, err);
        from = r->begin;
    }
    stream_block_key(from, lower);
    vv_put_be32(upper, id);
    stream_block_key(begin, upper + ENGINE_TABLE_PREFIX);
    if (st == VV_OK && from < begin)
        st = db_batch_add(batch, ENGINE_RANGE_DELETE, id, vv_slice_of(lower, sizeof lower),
                          vv_slice_of(upper, sizeof upper), 0, err);
    if (st == VV_OK && r->has_local)
        st = db_batch_add(batch, ENGINE_DELETE, id, vv_slice_of(&kind, 1), vv_slice_of(NULL, 0), 0,
                          err);
    return st;
}

static vv_status add_trim(vv_batch *batch, db_stream_reader *r, uint64_t offset, vv_error *err)
{
    static const uint8_t kind = STREAM_KEY_HEAD;
    uint8_t new[STREAM_HEAD_SIZE];
    stream_head head;
    uint64_t begin = 0;
    uint32_t id = r->part.cat->id;
    vv_status st = make_head(r, offset, &head, &begin, err);
    if (st == VV_OK)
        st = db_batch_bind(batch, &r->part, err);
    if (st == VV_OK)
        st = db_stream_add_condition(batch, id, kind, r->has_head, &r->head, err);
    if (st == VV_OK)
        st = db_stream_add_condition(batch, id, STREAM_KEY_LOCAL, r->has_local, &r->stored_local,
                                     err);
    if (st == VV_OK && offset >= r->local)
        st = add_blocks(batch, r, begin, err);
    if (st != VV_OK)
        return st;
    stream_head_encode(&head, new);
    return db_batch_add(batch, ENGINE_PUT, id, vv_slice_of(&kind, 1), vv_slice_of(new, sizeof new),
                        0, err);
}

/* Everything below offset goes. The reader is closed meanwhile. */
static vv_status trim(db_stream_reader *r, uint64_t offset, uint64_t *removed, vv_error *err)
{
    vv_batch batch;
    vv_db *db = r->part.db;
    if (offset <= r->first)
        return VV_OK;
    db_batch_init(&batch, db, NULL, 0);
    vv_status st = add_trim(&batch, r, offset, err);
    db_stream_reader_close(r);
    if (st == VV_OK)
        st = vv_write(db, &batch, VV_DURABLE_SYNC, NULL, err);
    db_batch_fini(&batch);
    VV_POINT("stream.after_trim");
    if (st == VV_CONFLICT) /* what it lost to may not be seen yet, and a new try looks at that */
        db_await_visible(db);
    if (st == VV_OK)
        *removed += offset - r->first;
    return st;
}

vv_status vv_stream_trim(vv_table *table, uint32_t partition, uint64_t offset, uint64_t *removed,
                         vv_error *err)
{
    uint64_t count = 0;
    vv_status st = db_stream_check_part(table, partition, err);
    if (st == VV_OK)
        st = VV_CONFLICT;
    for (unsigned i = 0; st == VV_CONFLICT && i < TRIES_MAX; i++) {
        db_stream_reader r;
        st = db_stream_reader_open(&r, table, partition, NULL, NULL, err);
        if (st == VV_OK)
            st = trim(&r, offset < r.next ? offset : r.next, &count, err);
        db_stream_reader_close(&r);
    }
    if (st != VV_OK)
        return vv_wrap(err, st, "trim stream '%s'", table->cat->name);
    if (removed != NULL)
        *removed = count;
    return VV_OK;
}

/* ---- retention --------------------------------------------------------------------------------
 */

/* Without the loaded block, would less be left than is to be kept? */
static bool is_needed(const db_stream_reader *r, int64_t keep)
{
    uint64_t left = r->sums.bytes_before - r->block.place.bytes_before;
    return left - vv_min_u64(left, r->block_len) < (uint64_t)keep;
}

static bool is_young(const db_stream_reader *r, int64_t time_ns)
{
    return r->block.place.receive_ns >= time_ns;
}

/* From where on the partition is kept. What lies in objects alone is told by their entries. */
static vv_status find_kept(db_stream_reader *r, int64_t now_ns, uint64_t *out, vv_error *err)
{
    const cat_table *cat = r->part.cat;
    uint64_t at = 0;
    int64_t oldest;
    bool all = false;
    vv_status st = db_tier_find_kept(r, now_ns, out, &all, err);
    if (st != VV_OK || !all) /* of what lies in objects, some is kept: all that follows too */
        return st;
    uint64_t bytes = r->sums.bytes_before - r->local_head.bytes_before;
    if (cat->retention_bytes != 0 && bytes > cat->retention_bytes) {
        st = db_stream_search(r, is_needed, (int64_t)vv_min_u64(cat->retention_bytes, INT64_MAX),
                              &at, err);
        *out = at > *out ? at : *out;
    }
    if (st != VV_OK || cat->retention_ns == 0 ||
        __builtin_sub_overflow(now_ns, cat->retention_ns, &oldest))
        return st;
    st = db_stream_search(r, is_young, oldest, &at, err);
    at += VV_BUG(104) && at < r->next; /* the first that is to be kept goes, too */
    *out = at > *out ? at : *out;
    return st;
}

static vv_status retain_part(const vv_table *table, uint32_t partition, uint64_t *removed,
                             vv_error *err)
{
    db_stream_reader r;
    uint64_t at = 0;
    vv_status st = db_stream_reader_open(&r, table, partition, NULL, NULL, err);
    if (st == VV_OK)
        st = find_kept(&r, vv_clock_wall(table->db->env->clock), &at, err);
    if (st == VV_OK)
        st = trim(&r, at, removed, err);
    db_stream_reader_close(&r);
    return st == VV_CONFLICT ? VV_OK : st; /* somebody else trims it */
}

static void forget_producers(vv_db *db, const cat_table *cat)
{
    db_stream *s = db_stream_attached(cat);
    int64_t before = vv_clock_wall(db->env->clock) - cat->producer_retention_ns;
    for (uint32_t p = 0; s != NULL && p < s->partition_count; p++) {
        vv_mutex_lock(&db->commit_lock);
        db_producers_age(db, &s->part[p].producers, before);
        vv_mutex_unlock(&db->commit_lock);
    }
}

static vv_status retain(const vv_table *table, uint64_t *removed, vv_error *err)
{
    const cat_table *cat = table->cat;
    vv_status st = VV_OK;
    forget_producers(table->db, cat);
    if (cat->retention_ns == 0 && cat->retention_bytes == 0)
        return VV_OK;
    for (uint32_t p = 0; st == VV_OK && p < cat->partition_count; p++)
        st = retain_part(table, p, removed, err);
    return st;
}

vv_status vv_stream_retain(vv_table *table, uint64_t *removed, vv_error *err)
{
    uint64_t count = 0;
    vv_status st = db_stream_check_part(table, 0, err);
    if (st == VV_OK)
        st = db_check_writable(table->db, err);
    if (st == VV_OK)
        st = retain(table, &count, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "retention of stream '%s'", table->cat->name);
    if (removed != NULL)
        *removed = count;
    return VV_OK;
}

/* ---- in the background ------------------------------------------------------------------------
 */

/* How long until a table is to be looked at again. */
static int64_t pause_of(const cat_table *cat)
{
    int64_t least = cat->producer_retention_ns;
    if (cat->retention_ns != 0 && cat->retention_ns < least)
        least = cat->retention_ns;
    least /= 8;
    return least > LOOK_MAX_NS ? LOOK_MAX_NS : least < LOOK_MIN_NS ? LOOK_MIN_NS : least;
}

static void note_failure(vv_db *db, const cat_table *cat, vv_status st, const vv_error *why)
{
    if (st == VV_BUSY || st == VV_NOT_FOUND) /* no room just now; or dropped meanwhile */
        return;
    vv_log_to(db->env->log, VV_LOG_WARN, "db", "retention failed: it is tried again later",
              VV_KV_S("table", cat->name), VV_KV_S("status", vv_status_name(st)),
              VV_KV_S("error", why->msg));
}

/* Look at all; returns the messages that went. */
static uint64_t look(vv_db *db)
{
    cat_table **tables = NULL;
    size_t count = 0;
    uint64_t removed = 0;
    int64_t pause = LOOK_MAX_NS;
    if (cat_list(db->cat, NULL, &tables, &count, NULL) != VV_OK)
        count = 0;
    for (size_t i = 0; i < count; i++) {
        vv_error why = {0};
        if (tables[i]->kind != VV_TABLE_STREAM ||
            atomic_load_explicit(&tables[i]->is_dropping, memory_order_acquire))
            continue;
        vv_table table = db_table_of(db, tables[i]);
        vv_status st = retain(&table, &removed, &why);
        if (st != VV_OK)
            note_failure(db, tables[i], st, &why);
        if (pause_of(tables[i]) < pause)
            pause = pause_of(tables[i]);
    }
    if (tables != NULL)
        cat_list_free(tables, count);
    atomic_store_explicit(&db->retain_look_ns, vv_clock_mono(db->env->clock) + pause,
                          memory_order_relaxed);
    return removed;
}

vv_status db_stream_step(vv_db *db)
{
    uint64_t removed = 0;
    if (vv_clock_mono(db->env->clock) <
        atomic_load_explicit(&db->retain_look_ns, memory_order_relaxed))
        return VV_NOT_FOUND;
    if (atomic_exchange_explicit(&db->retain_busy, true, memory_order_acquire))
        return VV_NOT_FOUND;
    if (db_check_writable(db, NULL) == VV_OK)
        removed = look(db);
    atomic_store_explicit(&db->retain_busy, false, memory_order_release);
    return removed > 0 ? VV_OK : VV_NOT_FOUND;
}
