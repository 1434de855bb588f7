/*
 * db_series_append.c - samples into one entry of the log.
 *
 *   resolve   the series of each slot: from the cache, else, under
 *             series_lock, from the index or new
 *   plan      their classes; count each series as in flight
 *   encode    each series' samples by bucket, where there is room, a set
 *             each, and what makes new series
 *   commit    as any batch
 *   finish    what is logged now, the newest samples; no longer in flight
 *
 * A new series is in the entries of all who write to it until one of them is logged: each repeats
 * the same keys, so their order does not matter. While it is in flight nobody drops it.
 */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/point.h"
#include "db/db_series_samples.h"
#include "engine/operand.h"

/* Times that the table takes now. */
typedef struct bounds {
    int64_t now;
    int64_t high;
} bounds;

static bounds bounds_now(const vv_table *table)
{
    bounds b = {.now = vv_clock_wall(table->db->env->clock)};
    if (__builtin_add_overflow(b.now, table->cat->future_ns, &b.high))
        b.high = INT64_MAX;
    return b;
}

static int64_t low_of(const bounds *b, const db_series_slot *slot)
{
    return db_series_oldest(slot->retention_ns, b->now);
}

/* ---- resolve ---- */

static vv_status check_type(vv_samples *s, db_series_slot *slot, vv_error *err)
{
    static const char *const names[] = {"", "float64", "int64", "bool", "string"};
    if (slot->entry == NULL || slot->entry->type == slot->type)
        return VV_OK;
    char text[120];
    if (s->leaves_out) {
        (void)snprintf(text, sizeof text, "the series is of type %s: it takes no %s",
                       names[slot->entry->type], names[slot->type]);
        slot->is_refused = true;
        db_series_refuse(s, slot->count, text, slot->canonical);
        return VV_OK;
    }
    db_series_canonical_text(slot->canonical, text, sizeof text);
    return vv_fail(err, VV_INVALID, "series %s is of type %s: it takes no %s", text,
                   names[slot->entry->type], names[slot->type]);
}

/* What the slot remembers or the cache has. */
static void find_cached(vv_samples *s, db_series_slot *slot) VV_REQUIRES(s->series->lock)
{
    db_series_entry *e = slot->entry;
    if (e != NULL && !e->is_cached) { /* it was dropped since */
        db_series_unref_locked(s->series, e);
        slot->entry = e = NULL;
    }
    if (e == NULL)
        slot->entry = e = db_series_find(s->series, slot->hash, slot->canonical);
    if (e != NULL)
        e->is_used = true;
}

/* Everything of a slot that the store decides, all under one lock. */
static void plan_slot(vv_samples *s, db_series_slot *slot, const bounds *b)
    VV_REQUIRES(s->series->lock)
{
    db_series_entry *e = slot->entry;
    int64_t low = low_of(b, slot);
    int64_t first = slot->first > low ? slot->first : low;
    int64_t last = slot->last < b->high ? slot->last : b->high;
    slot->place =
        (db_series_place){.own = slot->count * (uint64_t)SERIES_SAMPLE_WEIGHT + slot->text,
                          .newest_before = e->newest,
                          .places = e->places,
                          .placed_last = INT64_MIN};
    db_series_plan(e, slot->count, first, last);
    e->in_flight++;
    slot->is_in_flight = true;
    slot->logs_record = !e->is_logged;
    e->is_logged |= VV_BUG(88); /* before any entry with the record is written */
    uint32_t parts = atomic_load_explicit(&e->part_count, memory_order_relaxed);
    slot->logs_parts = ((UINT32_C(1) << parts) - 1) & ~e->logged_parts;
    slot->wants_newest = e->wants_newest;
    slot->is_placed = db_series_find_room_fast(s->series, e, &slot->place, first, last);
    e->flying += slot->place.own;
    db_series_rollup_plan(s->series, s->table.cat, slot, first);
}

static bool is_wanted(const db_series_slot *slot, const bounds *b)
{
    return !slot->is_refused && slot->last >= low_of(b, slot) && slot->first <= b->high;
}

/* All slots at once from the cache; false when one is not there or is being dropped. */
static bool resolve_cached(vv_samples *s, const bounds *b)
{
    bool all = true;
    vv_mutex_lock(&s->series->lock);
    for (uint32_t i = 0; i < s->used_count; i++) {
        db_series_slot *slot = &s->slot[s->used[i]];
        find_cached(s, slot);
        if (is_wanted(slot, b))
            all &=
                slot->entry != NULL && !slot->entry->is_dropping && slot->entry->type == slot->type;
    }
    for (uint32_t i = 0; all && i < s->used_count; i++)
        if (is_wanted(&s->slot[s->used[i]], b))
            plan_slot(s, &s->slot[s->used[i]], b);
    vv_mutex_unlock(&s->series->lock);
    return all;
}

static vv_status look_up_missing(vv_samples *s, const bounds *b, vv_error *err)
    VV_REQUIRES(s->table.db->series_lock)
{
    for (uint32_t i = 0; i < s->used_count; i++) {
        db_series_slot *slot = &s->slot[s->used[i]];
        vv_status st = VV_OK;
        if (slot->entry == NULL && is_wanted(slot, b))
            st = db_series_look_up(s->series, &s->table, slot->hash, slot->canonical, &slot->entry,
                                   err);
        if (st != VV_OK && st != VV_NOT_FOUND)
            return st;
        st = check_type(s, slot, err);
        if (st != VV_OK)
            return st;
    }
    return VV_OK;
}

static vv_status create(vv_samples *s, db_series_slot *slot, vv_error *err)
    VV_REQUIRES(s->table.db->series_lock)
{
    db_series *series = s->series;
    db_series_tally *y = &series->tally[db_series_partition(&s->table, slot->hash)];
    uint32_t turn = 0;
    int64_t keep_ns = db_series_keep_of(series, s->table.cat, slot->canonical, &turn);
    db_series_entry *e =
        db_series_entry_new(s->table.db, slot->canonical, slot->type, y->next_id, keep_ns);
    if (e == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a series");
    e->keep_turn = turn;
    e->created_ns = vv_clock_wall(s->table.db->env->clock);
    e->newest_known = true;
    e->latest = (db_series_latest){.is_known = slot->type != VV_STRING, .is_empty = true};
    vv_mutex_lock(&series->lock);
    slot->entry = db_series_cache(series, e);
    series->series_count++;
    series->unlogged++;
    y->count++;
    vv_mutex_unlock(&series->lock);
    db_series_cache_trim(s->table.db);
    y->next_id += series->partition_count;
    if (++series->uncounted >= series->count_every)
        atomic_store_explicit(&s->table.db->series_uncounted, true, memory_order_release);
    s->result.series_created++;
    return VV_OK;
}

/* A new series takes memory that is there for as long as it is written to. */
static bool has_memory(const vv_samples *s)
{
    return !vv_budget_is_short(&s->table.db->budget, VV_BUDGET_INDEX,
                               sizeof(db_series_entry) + VV_LABELS_BYTES_MAX);
}

static void refuse_new(vv_samples *s, db_series_slot *slot, uint64_t has, uint64_t max)
{
    slot->is_refused = true;
    db_series_refuse(s, slot->count,
                     has < max ? "no memory for a new series"
                               : "one series more than series_max of the tenant",
                     slot->canonical);
    if (has < max)
        (void)vv_fail(&s->refusal, VV_NO_MEMORY,
                      "memory_limit has no room for new series: those of others are written, retry "
                      "after a pause");
    else
        (void)vv_fail(&s->refusal, VV_BUSY,
                      "tenant '%s' has %llu series and series_max (varved: "
                      "series.max_per_tenant) is %llu: samples of new series are refused, those "
                      "of the others are written. Raise it, or drop series",
                      s->table.cat->tenant, (unsigned long long)has, (unsigned long long)max);
}

static vv_status create_missing(vv_samples *s, const bounds *b, vv_error *err)
    VV_REQUIRES(s->table.db->series_lock)
{
    uint64_t max = s->table.db->opt.series_max;
    uint64_t has = 0;
    bool is_counted = false;
    for (uint32_t i = 0; i < s->used_count; i++) {
        db_series_slot *slot = &s->slot[s->used[i]];
        if (slot->entry != NULL || !is_wanted(slot, b))
            continue;
        vv_status st = VV_OK;
        if (!is_counted)
            st = db_series_tenant_count(s->table.db, s->table.cat->tenant, &has, err);
        is_counted = true;
        if (st == VV_OK && has < max && has_memory(s)) {
            st = create(s, slot, err);
            has++;
        } else if (st == VV_OK) {
            refuse_new(s, slot, has, max);
        }
        if (st != VV_OK)
            return st;
    }
    return VV_OK;
}

static vv_status resolve(vv_samples *s, const bounds *b, vv_error *err)
{
    db_samples_refresh(s);
    if (resolve_cached(s, b))
        return VV_OK;
    vv_mutex_lock(&s->table.db->series_lock);
    vv_mutex_lock(&s->series->lock);
    for (uint32_t i = 0; i < s->used_count; i++)
        find_cached(s, &s->slot[s->used[i]]);
    vv_mutex_unlock(&s->series->lock);
    vv_status st = look_up_missing(s, b, err);
    if (st == VV_OK)
        st = create_missing(s, b, err);
    vv_mutex_lock(&s->series->lock);
    for (uint32_t i = 0; st == VV_OK && i < s->used_count; i++)
        if (is_wanted(&s->slot[s->used[i]], b))
            plan_slot(s, &s->slot[s->used[i]], b);
    vv_mutex_unlock(&s->series->lock);
    vv_mutex_unlock(&s->table.db->series_lock);
    return st;
}

/* ---- encode ---- */

static vv_status add(vv_samples *s, engine_kind kind, const uint8_t *key, size_t len,
                     vv_slice value, int64_t expires_ns, vv_error *err)
{
    return db_batch_add(&s->to->batch, kind, s->table.cat->id, vv_slice_of(key, len), value,
                        expires_ns, err);
}

static vv_status add_merge(vv_samples *s, const uint8_t *key, size_t len, engine_operator op,
                           vv_slice operand, int64_t expires_ns, vv_error *err)
{
    uint8_t head[6];
    vv_buf *b = &s->to->batch.scratch;
    vv_buf_reset(b);
    vv_buf_append(b, head, engine_step_head(op, operand.len, head));
    vv_buf_append_slice(b, operand);
    if (b->status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "no memory for samples");
    return add(s, ENGINE_MERGE, key, len, vv_buf_slice(b), expires_ns, err);
}

static vv_status add_record(vv_samples *s, const db_series_entry *e, vv_error *err)
{
    uint8_t key[DB_SERIES_KEY_MAX];
    uint8_t id[8];
    s->to->id_max = e->id > s->to->id_max ? e->id : s->to->id_max;
    vv_buf *b = &s->to->batch.scratch;
    vv_buf_reset(b);
    vv_buf_append_u8(b, 1);
    vv_buf_append_u8(b, (uint8_t)e->type);
    vv_buf_append_le64(b, (uint64_t)e->created_ns);
    vv_buf_append_slice(b, db_series_labels(e));
    if (b->status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a series");
    vv_status st = add(s, ENGINE_PUT, key, db_series_id_key(DB_SERIES_RECORD, e->id, key),
                       vv_buf_slice(b), 0, err);
    vv_put_be64(id, e->id);
    if (st == VV_OK)
        st = add(s, ENGINE_PUT, key, db_series_hash_key(db_series_labels(e), key),
                 vv_slice_of(id, 8), 0, err);
    vv_slice rest = db_series_labels(e);
    vv_label l;
    while (st == VV_OK && db_series_label_next(&rest, &l)) {
        size_t len = db_series_posting_prefix(l.name, &l.value, key);
        memcpy(key + len, id, 8);
        st = add(s, ENGINE_PUT, key, len + 8, vv_slice_of(NULL, 0), 0, err);
    }
    return st;
}

static vv_status add_parts(vv_samples *s, const db_series_slot *slot, vv_error *err)
{
    vv_status st = VV_OK;
    for (uint32_t left = slot->logs_parts; st == VV_OK && left != 0; left &= left - 1) {
        const db_series_part *part = &slot->entry->part[__builtin_ctz(left)];
        uint8_t key[17];
        uint8_t class = (uint8_t)part->class;
        size_t len = db_series_class_key(slot->entry->id, part->from, key);
        st = add(s, ENGINE_PUT, key, len, vv_slice_of(&class, 1), 0, err);
    }
    return st;
}

/* Sorted samples of one bucket. */
static vv_status add_bucket(vv_samples *s, const db_series_slot *slot, const series_samples *in,
                            unsigned class, int64_t bucket, vv_error *err)
{
    uint8_t key[DB_SERIES_DATA_KEY];
    vv_buf_reset(&s->operand);
    vv_status st = series_set_encode(in, SERIES_OPEN, &s->work, &s->operand, err);
    if (st != VV_OK)
        return st;
    size_t len = db_series_data_key(slot->entry->id, class, bucket, key);
    return add_merge(s, key, len, ENGINE_SAMPLES, vv_buf_slice(&s->operand),
                     db_series_expiry(class, bucket, slot->retention_ns), err);
}

/* Up to which index the samples from `from` on lie in one bucket of a class, within a part. */
static uint32_t cut_bucket(const db_series_entry *e, const series_samples *in, uint32_t from,
                           uint32_t part, unsigned class, int64_t *bucket)
{
    uint32_t parts = atomic_load_explicit(&e->part_count, memory_order_acquire);
    *bucket = db_series_bucket(class, in->time[from]);
    int64_t last = db_series_bucket_last(class, *bucket);
    int64_t part_last = db_series_part_last(e, parts, part);
    last = part_last < last ? part_last : last;
    if (in->time[in->count - 1] <= last) /* the usual case */
        return in->count;
    return series_samples_find(in, last + 1);
}

static void note_newest(db_series_slot *slot, const series_samples *in)
{
    uint32_t i = in->count - 1;
    slot->has_newest = true;
    slot->newest = (vv_sample){.time_ns = in->time[i],
                               .quality = in->quality == NULL ? 0 : in->quality[i],
                               .type = slot->type};
    if (slot->type == VV_F64)
        slot->newest.f64 = in->value.f64[i];
    else if (slot->type == VV_I64)
        slot->newest.i64 = in->value.i64[i];
    else if (slot->type == VV_BOOL)
        slot->newest.i64 = in->value.b[i];
}

/* Leave out what the table's bounds refuse. */
static void clip(vv_samples *s, const db_series_slot *slot, const bounds *b, series_samples *in)
{
    int64_t low = low_of(b, slot);
    uint32_t from = in->time[0] >= low ? 0 : series_samples_find(in, low);
    uint32_t to = in->count;
    if (in->time[to - 1] > b->high)
        to = b->high == INT64_MAX ? to : series_samples_find(in, b->high + 1);
    if (from > 0)
        db_series_refuse_old(s, from, slot, in->time[0]);
    if (to < in->count)
        db_series_refuse_future(s, in->count - to, slot, in->time[to]);
    *in = series_samples_part(in, from, to > from ? to - from : 0);
}

static void count_late(vv_samples *s, const db_series_slot *slot, const series_samples *in)
{
    int64_t edge;
    if (slot->place.newest_before == INT64_MIN ||
        __builtin_sub_overflow(slot->place.newest_before, s->table.cat->out_of_order_ns, &edge))
        return;
    if (in->time[0] < edge)
        s->result.late += series_samples_find(in, edge);
}

static uint64_t weight_of(const series_samples *in)
{
    uint64_t weight = (uint64_t)in->count * SERIES_SAMPLE_WEIGHT;
    for (uint32_t i = 0; in->type == SERIES_STRING && i < in->count; i++)
        weight += in->value.string[i].len;
    return weight;
}

/* The full buckets on the way to the last samples: each is told of once in an entry. */
typedef struct full_buckets {
    uint32_t count;
    unsigned class[DB_SERIES_LEVELS_MAX];
    int64_t bucket[DB_SERIES_LEVELS_MAX];
} full_buckets;

/* A bucket is full: say so, and where what it has no room for lies. */
static vv_status add_full(vv_samples *s, db_series_slot *slot, uint32_t part, unsigned class,
                          int64_t bucket, vv_error *err)
{
    db_series_entry *e = slot->entry;
    uint8_t key[DB_SERIES_DATA_KEY];
    unsigned finer = db_series_finer[class];
    size_t len = db_series_bucket_key(DB_SERIES_FULL, e->id, class, bucket, key);
    vv_status st = add(s, ENGINE_PUT, key, len, vv_slice_of(NULL, 0),
                       db_series_expiry(class, bucket, slot->retention_ns), err);
    vv_mutex_lock(&s->series->lock);
    bool is_logged = (e->logged_overflow >> finer & 1) != 0;
    vv_mutex_unlock(&s->series->lock);
    if (st != VV_OK || is_logged)
        return st;
    slot->logs_overflow |= UINT32_C(1) << finer;
    len = db_series_overflow_key(e->id, e->part[part].from, finer, key);
    return add(s, ENGINE_PUT, key, len, vv_slice_of(NULL, 0), 0, err);
}

/* The samples from *from on that go to one bucket: that of their part, or where it is full, a finer
 * one. *from moves on. */
static vv_status add_piece(vv_samples *s, db_series_slot *slot, const series_samples *in,
                           full_buckets *full, uint32_t *from, vv_error *err)
{
    db_series_entry *e = slot->entry;
    uint32_t parts = atomic_load_explicit(&e->part_count, memory_order_acquire);
    uint32_t part = db_series_part_of(e, parts, in->time[*from]);
    unsigned class = e->part[part].class;
    for (uint32_t level = 0;; level++) {
        int64_t bucket;
        bool is_full = false;
        uint32_t to = cut_bucket(e, in, *from, part, class, &bucket);
        series_samples piece = series_samples_part(in, *from, to - *from);
        vv_status st = VV_OK;
        if (!slot->is_placed)
            st = db_series_find_room(s->series, &s->table, e, &slot->place, class, bucket,
                                     piece.time[piece.count - 1], weight_of(&piece), &is_full, err);
        if (st == VV_OK && is_full && db_series_finer[class] == DB_SERIES_NO_CLASS) {
            db_series_refuse(s, piece.count, "over 12 MiB of its strings lie in one microsecond",
                             slot->canonical);
            s->result.accepted -= piece.count;
            slot->lost_newest |= to == in->count;
            *from = to;
            return VV_OK;
        }
        if (st == VV_OK && !is_full) {
            *from = to;
            return add_bucket(s, slot, &piece, class, bucket, err);
        }
        if (st == VV_OK && (level >= full->count || full->bucket[level] != bucket ||
                            full->class[level] != class)) {
            st = add_full(s, slot, part, class, bucket, err);
            full->class[level] = class;
            full->bucket[level] = bucket;
            full->count = level + 1;
        }
        if (st != VV_OK)
            return st;
        class = db_series_finer[class];
    }
}

/* All of them: what is late, day by day. No bucket that is written to spans several. */
static vv_status encode_days(vv_samples *s, db_series_slot *slot, const series_samples *in,
                             vv_error *err)
{
    full_buckets full = {.count = 0};
    vv_status st = VV_OK;
    uint32_t to;
    for (uint32_t from = 0; st == VV_OK && from < in->count; from = to) {
        bool is_repeat = false;
        to = in->count;
        if (in->time[from] < slot->rolled)
            st = db_series_rollup_mark(s, slot, in, from, &to, &is_repeat, err);
        series_samples part = series_samples_part(in, from, to - from);
        if (is_repeat) {
            s->repeated += part.count;
            continue;
        }
        note_newest(slot, &part);
        s->to->batch.user_bytes += part.count * UINT64_C(16);
        for (uint32_t at = 0; st == VV_OK && at < part.count;)
            st = add_piece(s, slot, &part, &full, &at, err);
    }
    return st;
}

static vv_status encode_slot(vv_samples *s, db_series_slot *slot, const bounds *b, vv_error *err)
{
    series_samples in = {.count = 0};
    vv_status st = db_samples_of(s, slot, &in, err);
    if (st != VV_OK)
        return st;
    s->result.accepted += slot->count - in.count; /* repeats of one time: the last stands for all */
    clip(s, slot, b, &in);
    s->result.accepted += in.count;
    slot->has_newest = false;
    if (in.count == 0)
        return VV_OK;
    count_late(s, slot, &in);
    s->to = &s->share[db_series_partition(&s->table, slot->hash)];
    if (slot->logs_record)
        st = add_record(s, slot->entry, err);
    if (st == VV_OK)
        st = add_parts(s, slot, err);
    return st == VV_OK ? encode_days(s, slot, &in, err) : st;
}

static vv_status add_position(vv_samples *s, vv_error *err)
{
    uint8_t key[1 + VV_SOURCE_MAX];
    uint8_t value[8 + VV_SOURCE_MAX];
    key[0] = DB_SERIES_POSITION;
    memcpy(key + 1, s->source.data, s->source.len);
    vv_put_le64(value, s->sequence);
    memcpy(value + 8, s->incarnation.data, s->incarnation.len);
    return add(s, ENGINE_PUT, key, 1 + s->source.len, vv_slice_of(value, 8 + s->incarnation.len), 0,
               err);
}

/* Ids up to the highest one here are given away. */
static vv_status add_counter(vv_samples *s, vv_error *err)
{
    static const uint8_t key = DB_SERIES_COUNTER;
    uint8_t next[8];
    if (s->to->id_max == 0)
        return VV_OK;
    vv_put_le64(next, s->to->id_max + s->table.partition_count);
    return add_merge(s, &key, 1, ENGINE_MAX, vv_slice_of(next, 8), 0, err);
}

static vv_status begin_shares(vv_samples *s, vv_error *err)
{
    vv_status st = VV_OK;
    for (uint32_t p = 0; st == VV_OK && p < s->table.partition_count; p++) {
        s->share[p].id_max = 0;
        st = db_batch_bind(&s->share[p].batch, &s->share[p].part, err);
    }
    return st;
}

/* The position is in the entry of every partition, also where it has no samples: so the least of
 * them is never far behind. */
static vv_status end_shares(vv_samples *s, vv_error *err)
{
    vv_status st = VV_OK;
    for (uint32_t p = 0; st == VV_OK && p < s->table.partition_count; p++) {
        s->to = &s->share[p];
        st = add_counter(s, err);
        if (st == VV_OK && s->source.data != NULL)
            st = add_position(s, err);
    }
    return st;
}

static vv_status encode(vv_samples *s, const bounds *b, vv_error *err)
{
    vv_status st = begin_shares(s, err);
    for (uint32_t i = 0; st == VV_OK && i < s->used_count; i++) {
        db_series_slot *slot = &s->slot[s->used[i]];
        if (slot->is_in_flight && !slot->is_refused)
            st = encode_slot(s, slot, b, err);
        else if (!slot->is_refused && slot->last < low_of(b, slot))
            db_series_refuse_old(s, slot->count, slot, slot->first);
        else if (!slot->is_refused)
            db_series_refuse_future(s, slot->count, slot, slot->first);
    }
    return st == VV_OK ? end_shares(s, err) : st;
}

/* ---- rare cases ---- */

/* The class of a series wants to change, from its newest sample on: find that. */
static void find_newest(vv_samples *s, db_series_slot *slot)
{
    db_series_reader r;
    db_series_entry *e = slot->entry;
    vv_status st = db_series_reader_open(&r, &s->table, NULL, NULL);
    if (st != VV_OK)
        return;
    series_columns_clear(&s->columns);
    st = db_series_reader_last(&r, e, INT64_MIN, INT64_MAX, &s->columns, NULL);
    vv_mutex_lock(&s->series->lock);
    if (st == VV_OK && s->columns.time[0] > e->newest)
        e->newest = s->columns.time[0];
    if (st == VV_OK || st == VV_NOT_FOUND)
        e->newest_known = true;
    e->wants_newest = false;
    vv_mutex_unlock(&s->series->lock);
    db_series_reader_close(&r);
}

/* ---- the whole ---- */

static vv_status prepare(vv_samples *s, vv_error *err)
{
    s->result = (vv_append_result){.accepted = 0};
    s->repeated = 0;
    s->refusal = (vv_error){.status = VV_OK};
    for (uint32_t p = 0; p < s->table.partition_count; p++) {
        vv_batch_clear(&s->share[p].batch);
        s->share[p].status = VV_OK;
    }
    for (uint32_t i = 0; i < s->used_count; i++) {
        db_series_slot *slot = &s->slot[s->used[i]];
        slot->is_in_flight = slot->is_refused = slot->has_newest = false;
        slot->is_placed = slot->lost_newest = slot->wants_newest = false;
        slot->logs_overflow = 0;
    }
    vv_status st = db_check_table(&s->table, err);
    if (st != VV_OK)
        return st;
    bounds b = bounds_now(&s->table);
    st = resolve(s, &b, err);
    return st == VV_OK ? encode(s, &b, err) : st;
}

static void finish_slot(vv_samples *s, db_series_slot *slot) VV_REQUIRES(s->series->lock)
{
    db_series_entry *e = slot->entry;
    const db_series_share *share = &s->share[db_series_partition(&s->table, slot->hash)];
    bool is_written = share->status == VV_OK;
    if (is_written && slot->has_newest) {
        uint64_t bits;
        s->series->unlogged -= slot->logs_record && !e->is_logged;
        e->is_logged |= slot->logs_record;
        e->logged_parts |= slot->logs_parts;
        if (slot->type == VV_F64)
            memcpy(&bits, &slot->newest.f64, sizeof bits);
        else
            bits = (uint64_t)slot->newest.i64;
        e->logged_overflow |= slot->logs_overflow;
        if (slot->lost_newest)
            db_series_latest_forget(e, share->batch.result.version);
        else
            db_series_latest_wrote(e, share->batch.result.version, slot->newest.time_ns, bits,
                                   slot->newest.quality);
    }
    db_series_rollup_done(s->series, slot, is_written);
    e->flying -= slot->place.own;
    if (--e->in_flight > 0)
        return;
    db_series_closed(e);
    if (e->is_dropping)
        vv_cond_broadcast(&s->series->idle);
}

/* Every partition's entry is written, or not: share.status. Returns the first failure. */
static vv_status finish(vv_samples *s, vv_error *err)
{
    const db_series_share *told = NULL;
    vv_status st = VV_OK;
    vv_mutex_lock(&s->series->lock);
    for (uint32_t i = 0; i < s->used_count; i++) {
        db_series_slot *slot = &s->slot[s->used[i]];
        if (slot->is_in_flight)
            finish_slot(s, slot);
        if (slot->entry != NULL)
            db_series_unwritten(s->series, slot->entry);
        slot->is_in_flight = false;
    }
    s->wants_forget = db_series_cache_is_over(s->table.db);
    vv_mutex_unlock(&s->series->lock);
    for (uint32_t p = s->table.partition_count; p-- > 0;) {
        const db_series_share *share = &s->share[p];
        if (told == NULL || share->batch.op_count > 0)
            told = share;
        if (share->status == VV_OK)
            continue;
        st = share->status;
        if (err != NULL)
            *err = share->error;
    }
    assert(told != NULL); /* a table has a partition */
    s->result.write = told->batch.result;
    if (st == VV_OK && s->repeated > 0)
        atomic_fetch_add_explicit(&s->table.db->counters.samples_repeated, s->repeated,
                                  memory_order_relaxed);
    return st;
}

/* Nothing is written. */
static vv_status give_up(vv_samples *s, vv_status why)
{
    for (uint32_t p = 0; p < s->table.partition_count; p++)
        s->share[p].status = why;
    (void)finish(s, NULL);
    return why;
}

/* The entries that are not empty; of an append without any, the first: it syncs. */
static uint32_t count_entries(const vv_samples *s, uint32_t *last)
{
    uint32_t n = 0;
    *last = 0;
    for (uint32_t p = 0; p < s->table.partition_count; p++) {
        if (s->share[p].batch.op_count == 0)
            continue;
        *last = p;
        n++;
    }
    return n == 0 ? 1 : n;
}

static bool has_entry(const vv_samples *s, uint32_t p, uint32_t last)
{
    return p == last || s->share[p].batch.op_count > 0;
}

/* One entry after the other. They are of one log, so what syncs the last syncs all. */
static void write_shares(vv_samples *s, vv_durability durability)
{
    uint32_t last;
    vv_status st = VV_OK;
    (void)count_entries(s, &last);
    for (uint32_t p = 0; p <= last; p++) {
        db_series_share *share = &s->share[p];
        if (!has_entry(s, p, last))
            continue;
        vv_durability how = p == last ? durability : VV_DURABLE_OS;
        share->error = (vv_error){.status = VV_OK};
        if (st == VV_OK)
            st = vv_write(s->table.db, &share->batch, how, NULL, &share->error);
        share->status = st;
        VV_POINT("db.after_share_of_append");
    }
}

vv_status vv_series_append(vv_samples *s, vv_durability durability, vv_append_result *result,
                           vv_error *err)
{
    vv_status st = prepare(s, err);
    if (st != VV_OK)
        return give_up(s, st);
    write_shares(s, durability);
    st = finish(s, err);
    for (uint32_t i = 0; st == VV_OK && i < s->used_count; i++)
        if (s->slot[s->used[i]].wants_newest)
            find_newest(s, &s->slot[s->used[i]]);
    if (st != VV_OK)
        return st;
    if (result != NULL)
        *result = s->result;
    if (s->refusal.status != VV_OK && err != NULL)
        *err = s->refusal;
    return s->refusal.status;
}

/* All entries are answered. */
static void answer(vv_samples *s)
{
    vv_error err = {.status = VV_OK};
    vv_status st = finish(s, &err);
    const bool is_written = st == VV_OK;
    if (is_written && s->refusal.status != VV_OK) {
        st = s->refusal.status;
        err = s->refusal;
    }
    s->done(s->done_ctx, st, is_written ? &s->result : NULL, &err);
}

static void written(void *ctx, vv_status status, const vv_write_result *result, const vv_error *err)
{
    db_series_share *share = ctx;
    vv_samples *s = share->samples;
    (void)result;
    share->status = status;
    if (status != VV_OK && err != NULL)
        share->error = *err;
    if (atomic_fetch_sub_explicit(&s->pending, 1, memory_order_acq_rel) == 1)
        answer(s);
}

vv_status vv_series_append_async(vv_samples *s, vv_durability durability, vv_append_done done,
                                 void *ctx, vv_error *err)
{
    uint32_t last;
    uint32_t queued = 0;
    vv_status st = prepare(s, err);
    if (st != VV_OK)
        return give_up(s, st);
    s->done = done;
    s->done_ctx = ctx;
    uint32_t count = count_entries(s, &last);
    atomic_store_explicit(&s->pending, count, memory_order_relaxed);
    for (uint32_t p = 0; queued < count; p++) {
        db_series_share *share = &s->share[p];
        if (!has_entry(s, p, last))
            continue;
        vv_error why = {.status = VV_OK};
        st = vv_write_async(s->table.db, &share->batch, durability, written, share, &why);
        if (st != VV_OK && queued == 0) { /* nothing is on its way */
            if (err != NULL)
                *err = why;
            return give_up(s, st);
        }
        queued++;
        if (st != VV_OK) /* others are: it is told with their answer */
            written(share, st, NULL, &why);
    }
    return VV_OK;
}
