/*
 * db_series.c - the series of a table: from the cache, else read; the table's memory.
 *
 * What is not cached (db_series_cache.c) is read from the table: 'H' leads from labels to an id,
 * 'S' and 'C' tell the rest.
 *
 * A look-up that finds nothing in the cache goes on under series_lock: so two writers of a new
 * series agree on its id, and nobody finds one that is being dropped.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "db/db_series_rollup.h"

#define COUNT_EVERY 4096u                    /* series: as many are walked over at first use */
#define FILL_MAX (SERIES_SET_WEIGHT_MAX / 3) /* weight of a bucket: about 170,000 numbers */

/* ---- from the store ---- */

static vv_status malformed(uint64_t id, vv_error *err)
{
    return vv_fail(err, VV_CORRUPT, "the record of series %llu is malformed",
                   (unsigned long long)id);
}

vv_status db_series_parse_record(uint64_t id, vv_slice value, vv_sample_type *type,
                                 int64_t *created_ns, vv_slice *labels, vv_error *err)
{
    if (value.len > 0 && value.data[0] > 1)
        return vv_fail(err, VV_UNSUPPORTED, "series %llu: a newer varve wrote its record",
                       (unsigned long long)id);
    if (value.len <= DB_SERIES_RECORD_HEAD || value.data[0] != 1 || value.data[1] < VV_F64 ||
        value.data[1] > VV_STRING)
        return malformed(id, err);
    *labels = vv_slice_of(value.data + DB_SERIES_RECORD_HEAD, value.len - DB_SERIES_RECORD_HEAD);
    vv_slice rest = *labels;
    vv_label l;
    size_t count = 0;
    while (db_series_label_next(&rest, &l))
        count++;
    if (rest.len != 0 || labels->len > VV_LABELS_BYTES_MAX || count > VV_LABELS_MAX)
        return malformed(id, err);
    *type = (vv_sample_type)value.data[1];
    *created_ns = (int64_t)vv_get_le64(value.data + 2);
    return VV_OK;
}

/* An entry of its record; its parts are still to come. */
static vv_status parse_record(db_series *s, const cat_table *cat, uint64_t id, vv_slice value,
                              db_series_entry **out, vv_error *err)
{
    vv_sample_type type = VV_F64;
    int64_t created_ns = 0;
    vv_slice canonical = {0};
    vv_status st = db_series_parse_record(id, value, &type, &created_ns, &canonical, err);
    if (st != VV_OK)
        return st;
    uint32_t turn = 0;
    int64_t keep_ns = db_series_keep_of(s, cat, canonical, &turn);
    db_series_entry *e = db_series_entry_new(s->db, canonical, type, id, keep_ns);
    if (e == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a series");
    e->keep_turn = turn;
    e->created_ns = created_ns;
    e->is_logged = true;
    *out = e;
    return VV_OK;
}

static vv_status open_cursor(vv_table *table, const vv_snapshot *at, const uint8_t *prefix,
                             size_t len, vv_cursor **out, vv_error *err)
{
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.snapshot = at;
    opt.prefix = vv_slice_of(prefix, len);
    return vv_cursor_open(table, &opt, out, err);
}

/* The class that holds from a time on, of the entry the cursor stands at. */
static vv_status take_part(db_series_entry *e, const vv_cursor *c, vv_error *err)
{
    uint32_t n = atomic_load_explicit(&e->part_count, memory_order_relaxed);
    vv_slice key = vv_cursor_key(c);
    vv_slice value = vv_cursor_value(c);
    if (key.len == 18 && key.data[17] < DB_SERIES_CLASSES && n > 0) {
        e->logged_overflow |= UINT32_C(1) << key.data[17];
        atomic_store_explicit(&e->overflow, e->logged_overflow, memory_order_release);
        return VV_OK;
    }
    if (key.len != 17 || value.len != 1 || value.data[0] >= DB_SERIES_CLASSES ||
        n == DB_SERIES_PARTS_MAX)
        return malformed(e->id, err);
    e->part[n] = (db_series_part){.from = db_time_decode(key.data + 9), .class = value.data[0]};
    e->logged_parts |= UINT32_C(1) << n;
    atomic_store_explicit(&e->part_count, n + 1, memory_order_release);
    return n == 0 && e->part[0].from != INT64_MIN ? malformed(e->id, err) : VV_OK;
}

static vv_status read_parts(vv_table *table, const vv_snapshot *at, db_series_entry *e,
                            vv_error *err)
{
    uint8_t key[9];
    vv_cursor *c = NULL;
    assert(e != NULL);
    (void)db_series_id_key(DB_SERIES_CLASS, e->id, key);
    vv_status st = open_cursor(table, at, key, sizeof key, &c, err);
    if (st == VV_OK)
        st = vv_cursor_seek(c, vv_slice_of(NULL, 0), err);
    while (st == VV_OK && vv_cursor_valid(c)) {
        st = take_part(e, c, err);
        if (st == VV_OK)
            st = vv_cursor_next(c, err);
    }
    vv_cursor_close(c);
    if (st == VV_OK && atomic_load_explicit(&e->part_count, memory_order_relaxed) == 0)
        st = malformed(e->id, err);
    return st;
}

static vv_status read_record(db_series *s, vv_table *part, const vv_snapshot *at, uint64_t id,
                             db_series_entry **out, vv_error *err)
{
    uint8_t key[9];
    vv_value value = {0};
    (void)db_series_id_key(DB_SERIES_RECORD, id, key);
    vv_status st = vv_get(part, at, vv_slice_of(key, sizeof key), &value, err);
    if (st != VV_OK)
        return st;
    st = parse_record(s, part->cat, id, value.data, out, err);
    vv_value_release(&value);
    return st;
}

/* The record is read again: a drop between two reads took the rest of the series away. */
static bool is_gone(vv_table *part, uint64_t id)
{
    uint8_t key[9];
    vv_value value = {0};
    (void)db_series_id_key(DB_SERIES_RECORD, id, key);
    vv_status st = vv_get(part, NULL, vv_slice_of(key, sizeof key), &value, NULL);
    vv_value_release(&value);
    return st == VV_NOT_FOUND;
}

static vv_status read_entry(db_series *s, vv_table *whole, const vv_snapshot *at, uint64_t id,
                            db_series_entry **out, vv_error *err)
{
    vv_table part = db_series_part_at(whole, id);
    db_series_entry *e = NULL;
    vv_status st = read_record(s, &part, at, id, &e, err);
    if (st == VV_OK)
        st = read_parts(&part, at, e, err);
    if (st == VV_OK)
        st = db_series_rolled_read(&part, at, e, err);
    if (st == VV_OK) {
        *out = e;
        return st;
    }
    if (e != NULL)
        db_series_entry_free(part.db, e);
    return st == VV_CORRUPT && at == NULL && is_gone(&part, id) ? VV_NOT_FOUND : st;
}

vv_status db_series_load(db_series *s, vv_table *table, const vv_snapshot *at, uint64_t id,
                         db_series_entry **out, vv_error *err)
{
    db_series_entry *e = NULL;
    vv_mutex_lock(&s->lock);
    uint64_t drops = s->drops;
    uint64_t claims = s->roll.claims;
    db_series_entry *there = db_series_find_id(s, id);
    if (there != NULL) {
        there->refs++;
        there->is_used = true;
    }
    vv_mutex_unlock(&s->lock);
    *out = there;
    if (there != NULL)
        return VV_OK;
    vv_status st = read_entry(s, table, NULL, id, &e, err); /* as it is now it does for then, too */
    bool is_now = st != VV_NOT_FOUND;
    if (!is_now && at != NULL)
        st = read_entry(s, table, at, id, &e, err); /* it was dropped since */
    if (st != VV_OK)
        return st;
    vv_mutex_lock(&s->lock);
    bool is_true = s->drops == drops && s->roll.claims == claims && is_now &&
                   e->keep_turn == atomic_load_explicit(&s->keep_turn, memory_order_relaxed);
    db_series_entry *best = is_true ? db_series_cache(s, e) : e;
    if (best != e) {
        best->refs++;
        db_series_unref_locked(s, e);
    }
    vv_mutex_unlock(&s->lock);
    if (is_true)
        db_series_cache_trim(s->db);
    *out = best;
    return VV_OK;
}

vv_status db_series_look_up(db_series *s, vv_table *table, uint64_t hash, vv_slice canonical,
                            db_series_entry **out, vv_error *err)
{
    vv_mutex_lock(&s->lock);
    db_series_entry *e = db_series_find(s, hash, canonical);
    vv_mutex_unlock(&s->lock);
    *out = e;
    if (e != NULL)
        return VV_OK;
    uint8_t key[17];
    vv_value value = {0};
    (void)db_series_hash_key(canonical, key);
    vv_table part = db_series_part_at(table, hash);
    vv_status st = vv_get(&part, NULL, vv_slice_of(key, sizeof key), &value, err);
    if (st != VV_OK)
        return st;
    uint64_t id = value.data.len == 8 ? vv_get_be64(value.data.data) : 0;
    vv_value_release(&value);
    st = db_series_load(s, table, NULL, id, &e, err);
    if (st == VV_NOT_FOUND || (st == VV_OK && !vv_slice_eq(db_series_labels(e), canonical))) {
        db_series_unref(s, st == VV_OK ? e : NULL);
        return vv_fail(err, VV_CORRUPT, "the index of series leads to series %llu, which is %s",
                       (unsigned long long)id, st == VV_OK ? "another one" : "not there");
    }
    *out = e;
    return st;
}

/* ---- the table ---- */

static void destroy(cat_extra *extra)
{
    db_series *s = (db_series *)extra;
    db_series_cache_fini(s);
    db_series_dirty_fini(&s->roll.dirty);
    db_series_keep_close(s->keep_retired);
    db_series_keep_close(s->keep);
    vv_cond_fini(&s->idle);
    vv_mutex_fini(&s->lock);
    vv_free(s);
}

/* Under series_lock. */
static vv_status open_series(vv_table *table, db_series **out, vv_error *err)
{
    vv_db *db = table->db;
    uint32_t count = table->partition_count;
    db_series *s = vv_calloc(1, sizeof *s + count * sizeof s->tally[0]);
    if (s == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for the series of a table");
    *s = (db_series){.extra = {destroy},
                     .db = db,
                     .partition_count = count,
                     .fill_max = FILL_MAX,
                     .count_every = COUNT_EVERY};
    db_series_keep *keep = NULL;
    db_series_dirty_init(&s->roll.dirty, &db->budget);
    vv_mutex_init(&s->lock, VV_RANK_LEAF);
    vv_cond_init(&s->idle);
    vv_status st = db_series_cache_init(s, err);
    if (st == VV_OK)
        st = db_series_keep_open(table->cat, table->cat->keep, &keep, err);
    atomic_store_explicit(&s->keep, keep, memory_order_relaxed);
    if (st == VV_OK)
        st = db_series_count_open(s, table, err);
    if (st != VV_OK) {
        destroy(&s->extra);
        return st;
    }
    *out = s;
    return VV_OK;
}

db_series *db_series_attached(const cat_table *cat)
{
    return (db_series *)atomic_load_explicit(&((cat_table *)cat)->extra, memory_order_acquire);
}

static vv_status attach(vv_db *db, vv_table *table, db_series **out, vv_error *err)
    VV_REQUIRES(db->series_lock)
{
    *out = db_series_attached(table->cat);
    if (*out != NULL)
        return VV_OK;
    vv_status st = open_series(table, out, err);
    if (st != VV_OK)
        return st;
    atomic_store_explicit(&table->cat->extra, &(*out)->extra, memory_order_release);
    atomic_store_explicit(&db->rollup.wanted, true, memory_order_release);
    atomic_store_explicit(&db->series_uncounted, true, memory_order_release);
    return VV_OK;
}

vv_status db_series_of(vv_table *table, db_series **out, vv_error *err)
{
    if (table->cat->kind != VV_TABLE_SERIES)
        return vv_fail(err, VV_INVALID, "table '%s' is not of kind series", table->cat->name);
    vv_status st = db_check_table(table, err);
    *out = db_series_attached(table->cat);
    if (st != VV_OK || *out != NULL)
        return st;
    vv_mutex_lock(&table->db->series_lock);
    st = attach(table->db, table, out, err);
    vv_mutex_unlock(&table->db->series_lock);
    return st;
}

vv_status db_series_tenant_count(vv_db *db, const char *tenant, uint64_t *out, vv_error *err)
{
    cat_table **tables = NULL;
    size_t count = 0;
    *out = 0;
    vv_status st = cat_list(db->cat, tenant, &tables, &count, err);
    for (size_t i = 0; st == VV_OK && i < count; i++) {
        if (tables[i]->kind != VV_TABLE_SERIES)
            continue;
        vv_table table = db_table_of(db, tables[i]);
        db_series *s = NULL;
        st = attach(db, &table, &s, err);
        if (st == VV_NOT_FOUND) /* it is being dropped */
            st = VV_OK;
        if (s == NULL)
            continue;
        vv_mutex_lock(&s->lock);
        *out += s->series_count;
        vv_mutex_unlock(&s->lock);
    }
    if (tables != NULL)
        cat_list_free(tables, count);
    return st;
}

vv_status vv_series_count(vv_table *table, uint64_t *in_table, uint64_t *of_tenant, vv_error *err)
{
    db_series *s = NULL;
    uint64_t of_all = 0;
    vv_status st = db_series_of(table, &s, err);
    if (st != VV_OK)
        return st;
    assert(s != NULL);
    vv_mutex_lock(&table->db->series_lock);
    st = db_series_tenant_count(table->db, table->cat->tenant, &of_all, err);
    vv_mutex_lock(&s->lock);
    if (st == VV_OK && in_table != NULL)
        *in_table = s->series_count;
    vv_mutex_unlock(&s->lock);
    vv_mutex_unlock(&table->db->series_lock);
    if (st == VV_OK && of_tenant != NULL)
        *of_tenant = of_all;
    return st;
}

/* Of one partition. */
static vv_status read_position(vv_table *part, vv_slice key, vv_source_position *out, vv_error *err)
{
    vv_value value = {0};
    vv_status st = vv_get(part, NULL, key, &value, err);
    if (st != VV_OK)
        return st;
    vv_slice v = value.data;
    if (v.len < 8 || v.len - 8 > VV_SOURCE_MAX) {
        st = vv_fail(err, VV_CORRUPT, "the position of a source is malformed");
    } else {
        out->sequence = vv_get_le64(v.data);
        out->incarnation_len = v.len - 8;
        memcpy(out->incarnation, v.data + 8, v.len - 8);
    }
    vv_value_release(&value);
    return st;
}

/* The lesser of two. Of different incarnations nobody knows which came first: the beginning. */
static void take_least(vv_source_position *least, const vv_source_position *p)
{
    bool is_same = least->incarnation_len == p->incarnation_len &&
                   memcmp(least->incarnation, p->incarnation, p->incarnation_len) == 0;
    if (!is_same)
        least->sequence = 0;
    else if (p->sequence < least->sequence)
        least->sequence = p->sequence;
}

vv_status vv_series_position(vv_table *table, vv_slice source, vv_source_position *out,
                             vv_error *err)
{
    uint8_t key[1 + VV_SOURCE_MAX];
    db_series *s = NULL;
    vv_status st = db_series_of(table, &s, err);
    if (st == VV_OK && (source.len == 0 || source.len > VV_SOURCE_MAX))
        st = vv_fail(err, VV_INVALID, "the name of a source has 1 to %u bytes", VV_SOURCE_MAX);
    if (st != VV_OK)
        return st;
    key[0] = DB_SERIES_POSITION;
    memcpy(key + 1, source.data, source.len);
    vv_source_position least = {.sequence = 0};
    for (uint32_t p = 0; st == VV_OK && p < table->partition_count; p++) {
        vv_table part = db_part_at(table, p);
        vv_source_position here = {.sequence = 0};
        st = read_position(&part, vv_slice_of(key, 1 + source.len), &here, err);
        if (st == VV_OK && p == 0)
            least = here;
        else if (st == VV_OK)
            take_least(&least, &here);
    }
    if (st == VV_OK)
        *out = least;
    return st;
}
