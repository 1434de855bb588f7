/*
 * db_stream.c - the state of a stream table in memory: read once, attached to the catalog's table.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_stream_int.h"

vv_status db_stream_check_kind(const vv_table *table, vv_error *err)
{
    if (table->cat->kind == VV_TABLE_STREAM)
        return VV_OK;
    return vv_fail(err, VV_INVALID, "table '%s' is not of kind stream", table->cat->name);
}

vv_status db_stream_check_part(const vv_table *table, uint32_t partition, vv_error *err)
{
    vv_status st = db_stream_check_kind(table, err);
    if (st == VV_OK)
        st = db_check_table(table, err);
    if (st == VV_OK && partition >= table->cat->partition_count)
        st = vv_fail(err, VV_INVALID, "table '%s' has %u partition%s, there is no number %u",
                     table->cat->name, table->cat->partition_count,
                     table->cat->partition_count == 1 ? "" : "s", partition);
    return st;
}

uint32_t vv_stream_partition_of(const vv_table *table, vv_slice key)
{
    uint32_t count = table->cat->partition_count;
    return count == 1 ? 0 : (uint32_t)(vv_hash64(key.data, key.len) % count);
}

static void destroy(cat_extra *extra)
{
    db_stream *s = (db_stream *)extra;
    for (uint32_t p = 0; p < s->partition_count; p++) {
        db_tier_forget_waiting(s->db, &s->part[p].tier);
        db_producers_fini(s->db, &s->part[p].producers);
    }
    db_stream_rules_drop(s->rules);
    vv_mutex_fini(&s->rules_lock);
    vv_free(s);
}

/* ---- producers, as they are in the table ---- */

/* The one under the cursor. */
static vv_status load_producer(db_stream *s, db_stream_part *part, const vv_cursor *c,
                               vv_error *err)
{
    vv_slice key = vv_cursor_key(c);
    vv_slice id = vv_slice_of(key.data + 1, key.len - 1);
    stream_producer at = {0};
    if (id.len == 0 || id.len > VV_STREAM_PRODUCER_MAX)
        return vv_fail(err, VV_CORRUPT, "the key of a producer has %zu bytes", key.len);
    vv_status st = stream_producer_decode(vv_cursor_value(c), &at, err);
    if (st != VV_OK)
        return st;
    db_producer *one = db_producers_add(s->db, &part->producers, id, vv_hash64(id.data, id.len));
    if (one == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for the producers of a stream");
    one->at = at;
    return VV_OK;
}

static int by_use(const void *a, const void *b)
{
    int64_t x = (*(db_producer *const *)a)->at.used_ns;
    int64_t y = (*(db_producer *const *)b)->at.used_ns;
    return (x > y) - (x < y);
}

/* They came by id. */
static vv_status order_by_use(db_producers *p, vv_error *err)
{
    size_t n = 0;
    if (p->count < 2)
        return VV_OK;
    db_producer **all = vv_alloc(p->count * sizeof(db_producer *));
    if (all == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for the producers of a stream");
    for (db_producer *one = p->newest; one != NULL; one = one->older)
        all[n++] = one;
    qsort(all, n, sizeof(db_producer *), by_use);
    for (size_t i = 0; i < n; i++)
        db_producers_touch(p, all[i]);
    vv_free(all);
    return VV_OK;
}

static vv_status load_producers(db_stream *s, db_stream_part *part, vv_table *table, vv_error *err)
{
    static const uint8_t kind = STREAM_KEY_PRODUCER;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    vv_cursor *c = NULL;
    opt.prefix = vv_slice_of(&kind, 1);
    vv_status st = vv_cursor_open(table, &opt, &c, err);
    if (st == VV_OK)
        st = vv_cursor_seek(c, vv_slice_of(NULL, 0), err);
    while (st == VV_OK && vv_cursor_valid(c)) {
        st = load_producer(s, part, c, err);
        if (st == VV_OK)
            st = vv_cursor_next(c, err);
    }
    vv_cursor_close(c);
    return st == VV_OK ? order_by_use(&part->producers, err) : st;
}

/* ---- the whole ---- */

static vv_status load_part(db_stream *s, const vv_table *table, uint32_t p, vv_error *err)
{
    db_stream_reader r;
    db_stream_part *part = &s->part[p];
    vv_status st = db_stream_reader_open(&r, table, p, NULL, NULL, err);
    if (st == VV_OK) {
        atomic_store_explicit(&part->next, r.next, memory_order_relaxed);
        part->bytes = r.sums.bytes_before;
        part->receive_ns = r.sums.receive_ns;
        part->event_max = r.sums.event_max;
        st = VV_BUG(146) ? VV_OK /* the bug: who sent what is forgotten with the process */
                         : load_producers(s, part, &r.part, err);
    }
    db_stream_reader_close(&r);
    return st;
}

static vv_status open_stream(const vv_table *table, db_stream **out, vv_error *err)
{
    uint32_t count = table->cat->partition_count;
    db_stream *s = vv_calloc(1, sizeof *s + count * sizeof s->part[0]);
    if (s == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a stream");
    s->extra.destroy = destroy;
    s->db = table->db;
    s->partition_count = count;
    vv_mutex_init(&s->rules_lock, VV_RANK_LEAF);
    db_stream_rules *rules = NULL;
    vv_status st = db_stream_rules_open(table->db, table->cat, &rules, err);
    s->rules = rules;
    for (uint32_t p = 0; st == VV_OK && p < count; p++)
        st = load_part(s, table, p, err);
    if (st != VV_OK) {
        destroy(&s->extra);
        return st;
    }
    *out = s;
    return VV_OK;
}

db_stream *db_stream_attached(const cat_table *cat)
{
    return (db_stream *)atomic_load_explicit(&((cat_table *)cat)->extra, memory_order_acquire);
}

vv_status db_stream_of(vv_table *table, db_stream **out, vv_error *err)
{
    vv_status st = db_stream_check_kind(table, err);
    if (st == VV_OK)
        st = db_check_table(table, err);
    if (st != VV_OK)
        return st;
    *out = db_stream_attached(table->cat);
    if (*out != NULL)
        return VV_OK;
    vv_mutex_lock(&table->db->series_lock);
    *out = db_stream_attached(table->cat);
    if (*out == NULL)
        st = open_stream(table, out, err);
    if (st == VV_OK)
        atomic_store_explicit(&table->cat->extra, &(*out)->extra, memory_order_release);
    vv_mutex_unlock(&table->db->series_lock);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "stream '%s'", table->cat->name);
}

vv_status vv_stream_producer_next(vv_table *table, uint32_t partition, vv_slice producer,
                                  uint64_t *sequence, vv_error *err)
{
    db_stream *s = NULL;
    vv_status st = db_stream_check_part(table, partition, err);
    if (st == VV_OK && (producer.len == 0 || producer.len > VV_STREAM_PRODUCER_MAX))
        st = vv_fail(err, VV_INVALID, "the id of a producer has %zu bytes: 1 to %u", producer.len,
                     VV_STREAM_PRODUCER_MAX);
    if (st == VV_OK)
        st = db_stream_of(table, &s, err);
    if (st != VV_OK)
        return st;
    assert(s != NULL);
    uint64_t hash = vv_hash64(producer.data, producer.len);
    int64_t now = vv_clock_wall(table->db->env->clock);
    vv_mutex_lock(&table->db->commit_lock);
    const db_producer *one = db_producers_find(&s->part[partition].producers, producer, hash);
    if (one == NULL || one->at.used_ns <= now - table->cat->producer_retention_ns)
        st = VV_NOT_FOUND;
    else
        *sequence = one->at.next;
    vv_mutex_unlock(&table->db->commit_lock);
    return st == VV_OK ? VV_OK : vv_fail(err, st, "the producer is not known");
}
