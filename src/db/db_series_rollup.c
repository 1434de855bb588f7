/*
 * db_series_rollup.c - what appends and deletions do for rollups: marks and claims.
 */
#include "db/db_series_rollup.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "db/db_series_samples.h"

#define SHORT_RETENTION (3 * SERIES_DAY) /* below, a day does not wait for its end */
#define NOTED_MAX 64u                    /* days of an append */
#define HOUR (INT64_C(3600) * 1000000000)
#define SIGN (UINT64_C(1) << 63)

size_t db_series_rows_key(unsigned tier, uint64_t id, int64_t day, uint8_t out[DB_SERIES_ROWS_KEY])
{
    out[0] = DB_SERIES_ROWS;
    out[1] = (uint8_t)tier;
    vv_put_be64(out + 2, id);
    vv_put_be64(out + 10, (uint64_t)day ^ SIGN);
    return DB_SERIES_ROWS_KEY;
}

size_t db_series_dirty_key(uint64_t id, int64_t day, uint8_t out[DB_SERIES_DIRTY_KEY])
{
    (void)db_series_id_key(DB_SERIES_DIRTY, id, out);
    vv_put_be64(out + 9, (uint64_t)day ^ SIGN);
    return DB_SERIES_DIRTY_KEY;
}

int64_t db_series_day(int64_t t)
{
    return db_series_bucket(DB_SERIES_DAY_CLASS, t);
}

int64_t db_series_round_down(int64_t t, int64_t step)
{
    int64_t into = t % step;
    into += into < 0 ? step : 0;
    return t >= INT64_MIN + into ? t - into : INT64_MIN;
}

int64_t db_series_round_up(int64_t t, int64_t step)
{
    int64_t into = t % step;
    into += into < 0 ? step : 0;
    if (into == 0)
        return t;
    return t <= INT64_MAX - (step - into) ? t + (step - into) : INT64_MAX;
}

vv_status db_series_rolled_get(vv_table *table, const vv_snapshot *at, uint64_t id, int64_t *out,
                               vv_error *err)
{
    uint8_t key[9];
    vv_value value = {0};
    *out = INT64_MIN;
    vv_status st = vv_get(table, at, vv_slice_of(key, db_series_id_key(DB_SERIES_ROLLED, id, key)),
                          &value, err);
    if (st != VV_OK)
        return st == VV_NOT_FOUND ? VV_OK : st;
    int64_t t = value.data.len == 8 ? (int64_t)vv_get_le64(value.data.data) : INT64_MAX;
    vv_value_release(&value);
    if (t < DB_SERIES_ROLL_MIN || t > DB_SERIES_ROLL_MAX)
        return vv_fail(err, VV_CORRUPT, "series %llu: how far it is rolled up is malformed",
                       (unsigned long long)id);
    *out = t;
    return VV_OK;
}

vv_status db_series_rolled_read(vv_table *table, const vv_snapshot *at, db_series_entry *e,
                                vv_error *err)
{
    int64_t t = INT64_MIN;
    assert(e != NULL);
    vv_status st = db_series_rolled_get(table, at, e->id, &t, err);
    atomic_store_explicit(&e->rolled, t, memory_order_relaxed);
    return st;
}

int64_t db_series_roll_bound(const cat_table *cat, int64_t keep_ns, int64_t newest, int64_t now_ns)
{
    int64_t unit = keep_ns > 0 && keep_ns < SHORT_RETENTION ? HOUR : SERIES_DAY;
    int64_t t;
    int64_t old;
    if (newest == INT64_MIN || __builtin_sub_overflow(newest, cat->out_of_order_ns, &t))
        t = INT64_MIN;
    /* Of a series that gets no samples any more the last go before they expire. */
    if (newest != INT64_MIN && now_ns != INT64_MIN && keep_ns > 0 &&
        !__builtin_sub_overflow(now_ns, keep_ns / 2, &old) && old > t)
        t = old;
    if (!cat_has_rollups(cat) || t < DB_SERIES_ROLL_MIN)
        return INT64_MIN;
    t = db_series_round_down(t, unit);
    return t < DB_SERIES_ROLL_MAX ? t : DB_SERIES_ROLL_MAX;
}

/* ---- appends ---- */

void db_series_roll_queue(db_series *s, db_series_entry *e)
{
    db_series_roll *r = &s->roll;
    if (!e->is_queued && r->count < DB_SERIES_QUEUE) {
        r->queue[(r->head + r->count++) % DB_SERIES_QUEUE] = e->id;
        e->is_queued = true;
    } else if (!e->is_queued) {
        r->wants_pass = true;
    }
    atomic_store_explicit(&s->db->rollup.wanted, true, memory_order_release);
}

void db_series_rollup_plan(db_series *s, const cat_table *cat, db_series_slot *slot, int64_t first)
{
    db_series_entry *e = slot->entry;
    slot->rolled = atomic_load_explicit(&e->rolled, memory_order_relaxed);
    slot->has_marks = false;
    slot->is_alone = e->in_flight == 1 || VV_BUG(94); /* what is in flight may change it */
    slot->turn = e->turn;
    e->planned[e->turn]++;
    if (!cat_has_rollups(cat))
        return;
    if (slot->rolled == INT64_MIN && e->roll_done == INT64_MIN && e->newest_known)
        e->roll_done = db_series_round_down(first, SERIES_DAY);
    int64_t bound = db_series_roll_bound(cat, e->retention_ns, e->newest, INT64_MIN);
    if (!e->is_queued && bound > slot->rolled && bound > e->roll_done)
        db_series_roll_queue(s, e);
}

static vv_status add_mark(vv_samples *s, db_series_slot *slot, int64_t day, vv_error *err)
{
    uint8_t key[DB_SERIES_DIRTY_KEY];
    size_t len = db_series_dirty_key(slot->entry->id, day, key);
    slot->mark_first = slot->has_marks ? slot->mark_first : day; /* they ascend */
    slot->mark_last = day;
    slot->has_marks = true;
    return db_batch_add(&s->to->batch, ENGINE_PUT, s->table.cat->id, vv_slice_of(key, len),
                        vv_slice_of(NULL, 0), 0, err);
}

/* Is the day told by its rows, so that a mark would change that? */
static bool is_clean(db_series *s, const db_series_slot *slot, int64_t day)
{
    vv_mutex_lock(&s->lock);
    bool is_dirty = db_series_dirty_has(&s->roll.dirty, slot->entry->id, day);
    vv_mutex_unlock(&s->lock);
    return !is_dirty;
}

vv_status db_series_rollup_mark(vv_samples *s, db_series_slot *slot, const series_samples *in,
                                uint32_t from, uint32_t *to, bool *is_repeat, vv_error *err)
{
    int64_t day = db_series_day(in->time[from]);
    int64_t last = db_series_bucket_last(DB_SERIES_DAY_CLASS, day);
    *to = last == INT64_MAX ? in->count : series_samples_find(in, last + 1);
    series_samples part = series_samples_part(in, from, *to - from);
    *is_repeat =
        slot->is_alone && is_clean(s->series, slot, day) && db_series_is_repeat(s, slot, &part);
    if (*is_repeat || VV_BUG(72)) /* the bug: rows of late samples' windows stay as they are */
        return VV_OK;
    return add_mark(s, slot, day, err);
}

/* What was marked is known by day, where it is not too many of them. */
static void note_marks(db_series *s, const db_series_slot *slot) VV_REQUIRES(s->lock)
{
    int64_t now = vv_clock_mono(s->db->env->clock);
    bool is_known = (uint64_t)slot->mark_last - (uint64_t)slot->mark_first < NOTED_MAX;
    for (int64_t day = slot->mark_first; is_known && day <= slot->mark_last; day++)
        is_known = db_series_dirty_note(&s->roll.dirty, slot->entry->id, day, now);
    s->roll.wants_walk |= !is_known;
}

void db_series_rollup_done(db_series *s, db_series_slot *slot, bool is_written)
{
    db_series_entry *e = slot->entry;
    e->planned[slot->turn]--;
    if (!is_written || !slot->has_marks)
        return;
    note_marks(s, slot);
    atomic_store_explicit(&s->db->rollup.wanted, true, memory_order_release);
}

/* ---- deletions ---- */

void db_series_erase_begin(db_series *s)
{
    vv_mutex_lock(&s->lock);
    s->roll.erasing++;
    while (s->roll.is_running)
        vv_cond_wait(&s->idle, &s->lock);
    vv_mutex_unlock(&s->lock);
}

void db_series_erase_end(db_series *s, bool has_marks)
{
    vv_mutex_lock(&s->lock);
    s->roll.erasing--;
    s->roll.wants_walk |= has_marks;
    vv_mutex_unlock(&s->lock);
    atomic_store_explicit(&s->db->rollup.wanted, true, memory_order_release);
}

static vv_status add(vv_batch *batch, engine_kind kind, const vv_table *table, const uint8_t *key,
                     size_t len, vv_slice value, int64_t expires_ns, vv_error *err)
{
    return db_batch_add(batch, kind, table->cat->id, vv_slice_of(key, len), value, expires_ns, err);
}

static vv_status add_range(vv_batch *batch, const vv_table *table, const uint8_t *from,
                           const uint8_t *to, size_t len, vv_error *err)
{
    uint8_t end[ENGINE_TABLE_PREFIX + DB_SERIES_ROWS_KEY];
    vv_put_be32(end, table->cat->id);
    memcpy(end + ENGINE_TABLE_PREFIX, to, len);
    return add(batch, ENGINE_RANGE_DELETE, table, from, len,
               vv_slice_of(end, ENGINE_TABLE_PREFIX + len), 0, err);
}

/* Room for taking rows apart. */
typedef struct edit {
    series_rows rows;
    series_day day;
    codec_scratch *codec;
    vv_buf out;
} edit;

static void edit_destroy(edit *x)
{
    if (x == NULL)
        return;
    codec_scratch_destroy(x->codec);
    vv_buf_fini(&x->out);
    vv_free(x);
}

static edit *edit_create(void)
{
    edit *x = vv_alloc(sizeof *x);
    if (x == NULL)
        return NULL;
    vv_buf_init(&x->out, VV_MIB);
    x->codec = codec_scratch_create();
    if (x->codec != NULL)
        return x;
    edit_destroy(x);
    return NULL;
}

/* Write the rows of a day without those of windows that the deletion touches. */
static vv_status rewrite(edit *x, vv_batch *batch, vv_table *table, const db_series_entry *e,
                         unsigned tier, int64_t day, int64_t first, int64_t last, vv_error *err)
{
    uint8_t key[DB_SERIES_ROWS_KEY];
    vv_value value = {0};
    int64_t begin = db_series_bucket_begin(DB_SERIES_DAY_CLASS, day);
    int64_t span = series_tier_span[tier];
    size_t len = db_series_rows_key(tier, e->id, day, key);
    vv_status st = vv_get(table, NULL, vv_slice_of(key, len), &value, err);
    if (st != VV_OK)
        return st == VV_NOT_FOUND ? VV_OK : st;
    int64_t expires_ns = value.expires_ns;
    st = series_rows_decode(value.data, tier, begin, &x->rows, err);
    vv_value_release(&value);
    if (st != VV_OK || x->rows.is_raw)
        return st;
    series_day_clear(&x->day, tier, x->rows.type, begin);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < x->rows.count; i++) {
        int64_t at = begin + x->rows.slot[i] * span;
        if (at > last || at + (span - 1) < first) {
            x->day.row[x->rows.slot[i]] = x->rows.row[i];
            kept++;
        }
    }
    vv_buf_reset(&x->out);
    series_day_encode(&x->day, x->codec, &x->out);
    if (x->out.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "no memory for rows of a rollup");
    return add(batch, kept > 0 ? ENGINE_PUT : ENGINE_DELETE, table, key, len,
               kept > 0 ? vv_buf_slice(&x->out) : vv_slice_of(NULL, 0), kept > 0 ? expires_ns : 0,
               err);
}

/* A day that the deletion touches in part. */
static vv_status erase_part(vv_batch *batch, vv_table *table, const db_series_entry *e, int64_t day,
                            int64_t first, int64_t last, vv_error *err)
{
    uint8_t key[DB_SERIES_DIRTY_KEY];
    int64_t oldest =
        db_series_sure_from(table->cat, e->retention_ns, vv_clock_wall(table->db->env->clock));
    size_t len = db_series_dirty_key(e->id, day, key);
    vv_status st = add(batch, ENGINE_PUT, table, key, len, vv_slice_of(NULL, 0), 0, err);
    if (st != VV_OK || db_series_bucket_begin(DB_SERIES_DAY_CLASS, day) >= oldest)
        return st;
    edit *x = edit_create(); /* samples have expired: these rows cannot be made again */
    if (x == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a deletion");
    for (unsigned tier = 0; st == VV_OK && tier < SERIES_TIERS; tier++)
        st = rewrite(x, batch, table, e, tier, day, first, last, err);
    edit_destroy(x);
    return st;
}

vv_status db_series_rollup_erase(vv_batch *batch, vv_table *table, const db_series_entry *e,
                                 int64_t first, int64_t last, vv_error *err)
{
    int64_t rolled = atomic_load_explicit(&e->rolled, memory_order_relaxed);
    first = first > DB_SERIES_ROLL_MIN ? first : DB_SERIES_ROLL_MIN;
    if (first >= rolled || last < first)
        return VV_OK;
    int64_t head = db_series_day(first);
    int64_t tail = db_series_day(last < rolled ? last : rolled - 1);
    bool head_whole = db_series_bucket_begin(DB_SERIES_DAY_CLASS, head) >= first &&
                      db_series_bucket_last(DB_SERIES_DAY_CLASS, head) <= last;
    bool tail_whole = db_series_bucket_begin(DB_SERIES_DAY_CLASS, tail) >= first &&
                      db_series_bucket_last(DB_SERIES_DAY_CLASS, tail) <= last;
    vv_status st = VV_OK;
    if (!head_whole)
        st = erase_part(batch, table, e, head, first, last, err);
    if (st == VV_OK && !tail_whole && tail != head)
        st = erase_part(batch, table, e, tail, first, last, err);
    int64_t from = head_whole ? head : head + 1;
    int64_t to = tail_whole ? tail + 1 : tail;
    for (unsigned tier = 0; st == VV_OK && from < to && tier < SERIES_TIERS; tier++) {
        uint8_t low[DB_SERIES_ROWS_KEY];
        uint8_t high[DB_SERIES_ROWS_KEY];
        (void)db_series_rows_key(tier, e->id, from, low);
        size_t len = db_series_rows_key(tier, e->id, to, high);
        st = add_range(batch, table, low, high, len, err);
    }
    return st;
}

vv_status db_series_rollup_drop(vv_batch *batch, vv_table *table, uint64_t id, vv_error *err)
{
    uint8_t from[DB_SERIES_ROWS_KEY];
    uint8_t to[DB_SERIES_ROWS_KEY];
    size_t len = db_series_id_key(DB_SERIES_ROLLED, id, from);
    vv_status st = add(batch, ENGINE_DELETE, table, from, len, vv_slice_of(NULL, 0), 0, err);
    (void)db_series_id_key(DB_SERIES_DIRTY, id, from);
    (void)db_series_id_key(DB_SERIES_DIRTY, id + 1, to);
    if (st == VV_OK)
        st = add_range(batch, table, from, to, len, err);
    for (unsigned tier = 0; st == VV_OK && tier < SERIES_TIERS; tier++) {
        (void)db_series_rows_key(tier, id, 0, from);
        (void)db_series_rows_key(tier, id + 1, 0, to);
        st = add_range(batch, table, from, to, 10, err);
    }
    return st;
}
