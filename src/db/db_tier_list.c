/*
 * db_tier_list.c - what is archived, and how the archiver does: lists and figures.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/util.h"
#include "db/db_stream_int.h"
#include "db/db_tier_read.h"

typedef struct walk {
    int (*each)(void *ctx, const vv_tier_object *object);
    void *ctx;
    uint32_t partition;
    uint64_t first;
    db_tier_place *place;
    bool ended;
} walk;

static void give_entry(walk *w, const arch_entry *e)
{
    const arch_summary *h = &e->holds;
    const vv_tier_object o = {.size = sizeof o,
                              .name = e->name,
                              .partition = w->partition,
                              .state = h->next <= w->first ? VV_TIER_DYING : VV_TIER_STORED,
                              .codec = e->codec,
                              .also = e->also,
                              .first = h->first,
                              .next = h->next,
                              .bytes = h->size,
                              .raw_bytes = h->raw_bytes,
                              .crc32c = h->crc32c,
                              .made_ns = e->made_ns,
                              .receive_first_ns = h->receive_first_ns,
                              .receive_last_ns = h->receive_last_ns};
    w->ended = w->each(w->ctx, &o) != 0;
}

static vv_status give(walk *w, const vv_cursor *at, vv_error *err)
{
    vv_slice value = vv_cursor_value(at);
    arch_entry entry;
    arch_intent intent;
    arch_dying dying;
    vv_tier_object o = {.size = sizeof o, .partition = w->partition};
    vv_status st;
    switch (vv_cursor_key(at).data[0]) {
    case ARCH_KEY_ENTRY:
        st = arch_entry_decode(value, &entry, err);
        if (st == VV_OK)
            give_entry(w, &entry);
        return st;
    case ARCH_KEY_INTENT:
        st = arch_intent_decode(value, &intent, err);
        o.state = VV_TIER_INTENT;
        o.name = intent.name;
        o.codec = intent.codec;
        o.also = intent.also;
        o.first = intent.first;
        o.next = intent.next;
        o.made_ns = intent.made_ns;
        break;
    case ARCH_KEY_DYING:
        st = arch_dying_decode(value, &dying, err);
        o.state = VV_TIER_DYING;
        o.name = dying.name;
        o.also = dying.also;
        break;
    default:
        return VV_OK;
    }
    if (st == VV_OK)
        w->ended = w->each(w->ctx, &o) != 0;
    return st;
}

/* The records of one kind, from where the place is. */
static vv_status walk_kind(walk *w, db_stream_reader *r, char kind, vv_error *err)
{
    uint8_t key[ARCH_KEY_SIZE];
    arch_key(kind, w->place->at, key);
    vv_status st = vv_cursor_seek(r->at, vv_slice_of(key, sizeof key), err);
    while (st == VV_OK && !w->ended && vv_cursor_valid(r->at) &&
           vv_cursor_key(r->at).data[0] == (uint8_t)kind) {
        vv_slice at = vv_cursor_key(r->at);
        if (at.len != ARCH_KEY_SIZE)
            return vv_fail(err, VV_CORRUPT, "the key of an object's record has %zu bytes", at.len);
        w->place->at = vv_get_be64(at.data + 1);
        st = give(w, r->at, err);
        if (st == VV_OK && !w->ended)
            st = vv_cursor_next(r->at, err);
        if (st == VV_OK && !w->ended)
            w->place->at++;
    }
    return st;
}

static vv_status walk_partition(walk *w, const vv_table *table, vv_error *err)
{
    static const char kinds[] = {ARCH_KEY_ENTRY, ARCH_KEY_INTENT, ARCH_KEY_DYING};
    db_stream_reader r;
    w->partition = w->place->partition;
    vv_status st = db_stream_reader_open(&r, table, w->partition, NULL, NULL, err);
    w->first = r.first;
    while (st == VV_OK && !w->ended && w->place->kind < ARRAY_LEN(kinds)) {
        st = walk_kind(w, &r, kinds[w->place->kind], err);
        if (st == VV_OK && !w->ended)
            *w->place = (db_tier_place){.partition = w->partition, .kind = w->place->kind + 1};
    }
    db_stream_reader_close(&r);
    return st;
}

vv_status db_tier_list_from(vv_table *table, db_tier_place *place,
                            int (*each)(void *ctx, const vv_tier_object *object), void *ctx,
                            vv_error *err)
{
    walk w = {.each = each, .ctx = ctx, .place = place};
    vv_status st = db_stream_check_part(table, 0, err);
    while (st == VV_OK && !w.ended && place->partition < table->cat->partition_count) {
        st = walk_partition(&w, table, err);
        if (st == VV_OK && !w.ended)
            *place = (db_tier_place){.partition = place->partition + 1};
    }
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "objects of stream '%s'", table->cat->name);
}

vv_status vv_tier_list(vv_table *table, int (*each)(void *ctx, const vv_tier_object *object),
                       void *ctx, vv_error *err)
{
    db_tier_place place = {.partition = 0};
    return db_tier_list_from(table, &place, each, ctx, err);
}

/* ---- figures ----------------------------------------------------------------------------------
 */

static uint64_t get(const _Atomic uint64_t *at)
{
    return atomic_load_explicit(at, memory_order_relaxed);
}

/* What waits, over all partitions that were looked at. */
static void add_waiting(vv_db *db, vv_tier_stats *out)
{
    cat_table **tables = NULL;
    size_t count = 0;
    if (cat_list(db->cat, NULL, &tables, &count, NULL) != VV_OK)
        return;
    for (size_t i = 0; i < count; i++) {
        db_stream *s = tables[i]->kind == VV_TABLE_STREAM ? db_stream_attached(tables[i]) : NULL;
        for (uint32_t p = 0; s != NULL && p < s->partition_count; p++) {
            const db_tier_part *part = &s->part[p].tier;
            int64_t oldest = atomic_load_explicit(&part->oldest_ns, memory_order_relaxed);
            out->waiting_messages += get(&part->waiting_messages);
            if (oldest != 0 && (out->oldest_waiting_ns == 0 || oldest < out->oldest_waiting_ns))
                out->oldest_waiting_ns = oldest;
        }
    }
    if (tables != NULL)
        cat_list_free(tables, count);
}

static void read_counters(db_tier *t, vv_tier_stats *out)
{
    const db_tier_counters *c = &t->counters;
    db_tier_cache_figures cache;
    out->uploading = atomic_load_explicit(&c->uploading, memory_order_relaxed);
    out->intents = get(&c->intents);
    out->stored = get(&c->stored);
    out->stored_messages = get(&c->stored_messages);
    out->stored_bytes = get(&c->stored_bytes);
    out->raw_bytes = get(&c->raw_bytes);
    out->failed = get(&c->failed);
    out->work_failed = get(&c->work_failed);
    out->merged = get(&c->merged);
    out->removed = get(&c->removed);
    out->removals_failed = get(&c->unremoved);
    out->conflicts = get(&c->conflicts);
    out->settled = get(&c->settled);
    db_tier_cache_read(t->cache, &cache);
    out->cache_hits = cache.hits;
    out->cache_misses = cache.misses;
    out->cache_bytes = cache.bytes;
    out->waiting_bytes = get(&t->waiting_bytes);
    vv_mutex_lock(&t->lock);
    out->consecutive_failures = t->health.failures_in_row;
    out->last_error_ns = t->health.last_error_ns;
    out->last_success_ns = t->health.last_success_ns;
    memcpy(out->last_error, t->health.last_error, sizeof out->last_error);
    out->last_work_error_ns = t->health.last_work_error_ns;
    memcpy(out->last_work_error, t->health.last_work_error, sizeof out->last_work_error);
    out->upload_p50_ns = vv_hist_percentile(&c->upload_ns, 0.5);
    out->upload_p99_ns = vv_hist_percentile(&c->upload_ns, 0.99);
    out->batch_age_p99_ns = vv_hist_percentile(&c->batch_age_ns, 0.99);
    vv_mutex_unlock(&t->lock);
}

void vv_tier_stats_read(vv_db *db, vv_tier_stats *out)
{
    vv_tier_stats all = {.size = out->size, .healthy = true};
    db_tier *t = db->tier;
    if (t != NULL && t->objects != NULL) {
        all.has_store = true;
        read_counters(t, &all);
        all.healthy = all.consecutive_failures < t->opt.failures_max;
        add_waiting(db, &all);
    }
    db_tier_runs_count(db, &all.remote_runs, &all.remote_run_bytes);
    memcpy(out, &all, out->size < sizeof all ? out->size : sizeof all);
}
