/*
 * db_series_cache.c - series in memory: found by their labels and by their ids, bounded over all
 * tables.
 *
 *     canonical labels --hash--> entry <--hash-- id        ring of all, a clock hand evicts
 *
 * An entry stays while somebody uses it, appends in flight among them: until one of those is
 * logged, the series is nowhere else, and when none is, there is no such series. Otherwise the
 * entries of all tables together take an eighth of memory_limit: above it, tables in turn that have
 * more than their part lose what was not used since the hand came by last.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/util.h"
#include "db/db_series_int.h"

#define BUCKETS_MIN 1024u
#define BUCKET_BYTES (2 * sizeof(db_series_entry *))
#define CACHE_PART 8u /* of memory_limit, for all series of all tables */
#define EVICT_LOOKS 64u

/* ---- entries ---- */

static size_t entry_bytes(const db_series_entry *e)
{
    return sizeof *e + e->canonical_len + 32;
}

/* Every entry counts, also those that are not cached, or not any more. */
db_series_entry *db_series_entry_new(vv_db *db, vv_slice canonical, vv_sample_type type,
                                     uint64_t id, int64_t retention_ns)
{
    db_series_entry *e = vv_alloc(sizeof *e + canonical.len);
    if (e == NULL)
        return NULL;
    *e = (db_series_entry){.id = id,
                           .hash = vv_hash64(canonical.data, canonical.len),
                           .retention_ns = retention_ns,
                           .type = type,
                           .canonical_len = (uint32_t)canonical.len,
                           .newest = INT64_MIN,
                           .rolled = INT64_MIN,
                           .roll_done = INT64_MIN,
                           .refs = 1};
    memcpy(e->canonical, canonical.data, canonical.len);
    vv_budget_take(&db->budget, VV_BUDGET_INDEX, entry_bytes(e));
    return e;
}

void db_series_entry_free(vv_db *db, db_series_entry *e)
{
    db_series_closed(e);
    vv_budget_release(&db->budget, VV_BUDGET_INDEX, entry_bytes(e));
    vv_free(e);
}

void db_series_unref_locked(db_series *s, db_series_entry *e)
{
    assert(e->refs > 0);
    if (--e->refs == 0)
        db_series_entry_free(s->db, e);
}

void db_series_unref(db_series *s, db_series_entry *e)
{
    if (e == NULL)
        return;
    vv_mutex_lock(&s->lock);
    db_series_unref_locked(s, e);
    vv_mutex_unlock(&s->lock);
}

static db_series_entry **hash_bucket(const db_series *s, uint64_t hash)
{
    return &s->by_hash[hash & (s->bucket_count - 1)];
}

static db_series_entry **id_bucket(const db_series *s, uint64_t id)
{
    return &s->by_id[(id * UINT64_C(0x9e3779b97f4a7c15)) >> 20 & (s->bucket_count - 1)];
}

db_series_entry *db_series_find(db_series *s, uint64_t hash, vv_slice canonical)
{
    db_series_entry *e = *hash_bucket(s, hash);
    while (e != NULL && (e->hash != hash || !vv_slice_eq(db_series_labels(e), canonical)))
        e = e->next_by_hash;
    if (e != NULL) {
        e->refs++;
        e->is_used = true;
    }
    return e;
}

db_series_entry *db_series_find_id(db_series *s, uint64_t id)
{
    db_series_entry *e = *id_bucket(s, id);
    while (e != NULL && e->id != id)
        e = e->next_by_id;
    return e;
}

void db_series_uncache(db_series *s, db_series_entry *e)
{
    db_series_entry **at = hash_bucket(s, e->hash);
    while (*at != e)
        at = &(*at)->next_by_hash;
    *at = e->next_by_hash;
    at = id_bucket(s, e->id);
    while (*at != e)
        at = &(*at)->next_by_id;
    *at = e->next_by_id;
    s->hand = s->hand == e ? e->newer : s->hand;
    if (e->newer == e)
        s->hand = NULL;
    e->newer->older = e->older;
    e->older->newer = e->newer;
    s->cached--;
    s->cache_bytes -= entry_bytes(e);
    atomic_fetch_sub_explicit(&s->db->series_cached, entry_bytes(e), memory_order_relaxed);
    e->is_cached = false;
    db_series_unref_locked(s, e);
}

/* Twice the buckets; the old ones do where there is no memory. */
static void grow(db_series *s)
{
    size_t count = s->bucket_count * 2;
    db_series_entry **by_hash = vv_calloc(count, sizeof(db_series_entry *));
    db_series_entry **by_id = vv_calloc(count, sizeof(db_series_entry *));
    if (by_hash == NULL || by_id == NULL) {
        vv_free(by_hash);
        vv_free(by_id);
        return;
    }
    vv_free(s->by_hash);
    vv_free(s->by_id);
    vv_budget_take(&s->db->budget, VV_BUDGET_INDEX, s->bucket_count * BUCKET_BYTES);
    s->by_hash = by_hash;
    s->by_id = by_id;
    s->bucket_count = count;
    db_series_entry *e = s->hand;
    for (size_t i = 0; i < s->cached; i++, e = e->newer) {
        db_series_entry **h = hash_bucket(s, e->hash);
        db_series_entry **d = id_bucket(s, e->id);
        e->next_by_hash = *h;
        *h = e;
        e->next_by_id = *d;
        *d = e;
    }
}

db_series_entry *db_series_cache(db_series *s, db_series_entry *e)
{
    db_series_entry *there = db_series_find_id(s, e->id);
    if (there != NULL)
        return there;
    if (s->cached >= s->bucket_count)
        grow(s);
    db_series_entry **h = hash_bucket(s, e->hash);
    db_series_entry **d = id_bucket(s, e->id);
    e->next_by_hash = *h;
    *h = e;
    e->next_by_id = *d;
    *d = e;
    if (s->hand == NULL) {
        s->hand = e->newer = e->older = e;
    } else { /* behind the hand: it comes by here last */
        e->newer = s->hand;
        e->older = s->hand->older;
        e->older->newer = e;
        s->hand->older = e;
    }
    e->refs++;
    e->is_cached = true;
    e->is_used = true;
    s->cached++;
    s->cache_bytes += entry_bytes(e);
    atomic_fetch_add_explicit(&s->db->series_cached, entry_bytes(e), memory_order_relaxed);
    return e;
}

/* ---- the bound ---- */

/* What series may take: their part, but where the limit is small no more than the share of indexes
 * and half of what nobody has a share of, which requests and queries live on. */
static uint64_t cache_max(const vv_db *db)
{
    return vv_min_u64(db->opt.memory_limit / CACHE_PART,
                      db->budget.share[VV_BUDGET_INDEX] + db_memory_free(&db->opt) / 2);
}

bool db_series_cache_is_over(vv_db *db)
{
    return atomic_load_explicit(&db->series_cached, memory_order_relaxed) > cache_max(db);
}

/* No append of it was logged, and none may be: there is no such series. */
static void forget_unwritten(db_series *s, db_series_entry *e) VV_REQUIRES(s->lock)
{
    s->series_count--;
    s->unlogged--;
    s->tally[e->id % s->partition_count].count--;
    db_series_uncache(s, e);
}

/* Drop what was not used since the hand came by last, until the bound is kept. Returns the looks
 * that are left. */
static size_t evict(db_series *s, size_t looks) VV_REQUIRES(s->lock)
{
    for (; looks > 0 && s->hand != NULL && db_series_cache_is_over(s->db); looks--) {
        db_series_entry *e = s->hand;
        s->hand = e->newer;
        bool is_idle = e->refs == 1 && !e->is_used;
        e->is_used = false;
        if (!is_idle)
            continue;
        if (e->is_logged)
            db_series_uncache(s, e);
        else
            forget_unwritten(s, e);
    }
    return looks;
}

void db_series_trim(db_series *s, size_t looks)
{
    (void)evict(s, looks);
}

void db_series_unwritten(db_series *s, db_series_entry *e)
{
    if (e->is_logged || !e->is_cached || e->in_flight > 0 || e->refs != 2)
        return;
    forget_unwritten(s, e);
}

/* One of several that are over has more than its part, so each turn finds some. */
void db_series_cache_trim(vv_db *db)
{
    if (!db_series_cache_is_over(db))
        return;
    size_t looks = EVICT_LOOKS;
    vv_mutex_lock(&db->series_tables_lock);
    uint64_t part = db->series_table_count == 0 ? 0 : cache_max(db) / db->series_table_count;
    for (uint32_t i = 0; i < db->series_table_count && looks > 0; i++) {
        db_series *s = db->series_tables;
        vv_mutex_lock(&s->lock);
        if (s->cache_bytes > part)
            looks = evict(s, looks);
        vv_mutex_unlock(&s->lock);
        db->series_tables = s->next_table;
    }
    vv_mutex_unlock(&db->series_tables_lock);
}

/* ---- of a table ---- */

vv_status db_series_cache_init(db_series *s, vv_error *err)
{
    vv_db *db = s->db;
    s->by_hash = vv_calloc(BUCKETS_MIN, sizeof(db_series_entry *));
    s->by_id = vv_calloc(BUCKETS_MIN, sizeof(db_series_entry *));
    if (s->by_hash == NULL || s->by_id == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for the series of a table");
    s->bucket_count = BUCKETS_MIN;
    vv_budget_take(&db->budget, VV_BUDGET_INDEX, sizeof *s + BUCKETS_MIN * BUCKET_BYTES);
    vv_mutex_lock(&db->series_tables_lock);
    if (db->series_tables == NULL) {
        db->series_tables = s->next_table = s->last_table = s;
    } else {
        s->next_table = db->series_tables;
        s->last_table = s->next_table->last_table;
        s->last_table->next_table = s;
        s->next_table->last_table = s;
    }
    db->series_table_count++;
    vv_mutex_unlock(&db->series_tables_lock);
    return VV_OK;
}

static void leave_tables(db_series *s)
{
    vv_db *db = s->db;
    vv_mutex_lock(&db->series_tables_lock);
    s->last_table->next_table = s->next_table;
    s->next_table->last_table = s->last_table;
    if (db->series_tables == s)
        db->series_tables = s->next_table == s ? NULL : s->next_table;
    db->series_table_count--;
    vv_mutex_unlock(&db->series_tables_lock);
}

void db_series_cache_fini(db_series *s)
{
    if (s->bucket_count > 0) {
        leave_tables(s);
        vv_mutex_lock(&s->lock);
        while (s->hand != NULL)
            db_series_uncache(s, s->hand);
        vv_mutex_unlock(&s->lock);
        vv_budget_release(&s->db->budget, VV_BUDGET_INDEX,
                          sizeof *s + s->bucket_count * BUCKET_BYTES);
    }
    vv_free(s->by_hash);
    vv_free(s->by_id);
}
