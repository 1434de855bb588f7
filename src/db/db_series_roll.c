/*
 * db_series_roll.c - the job that makes rollups: in the background, a day of a series at a time.
 *
 *   queue   series whose newest sample closed a day     --> the next days, one a step
 *   pass    over all series: at first, and now and then --> the same, for what was not in memory
 *   marks   days that changed after they were rolled up --> their rows again
 *
 * A step holds no lock while it reads. It never waits for room in memory: when an entry finds none
 * the day is tried again later. A failure stays here: it is logged and counted, and samples answer
 * what rows do not.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "db/db_series_rollup.h"

#define LOOK_NS (60 * VV_NS_PER_S)
#define PASS_NS (6 * 3600 * VV_NS_PER_S)
#define IDS_A_STEP 64u
#define MARKS_A_STEP 256u
#define RAW_BELOW 32u /* samples a row: rows are not kept where that saves nothing, see encode */

struct db_rollup_work {
    series_day minutes;
    series_day hours;
    series_rows rows;
    series_columns columns;
    codec_scratch *codec;
    vv_buf out;
};

/* One step. */
typedef struct job {
    vv_db *db;
    db_series *series;
    vv_table *table;
    vv_table part; /* of the series at hand: where its keys lie */
    struct db_rollup_work *work;
    vv_snapshot *at;
    int64_t now_ns;
} job;

static void work_destroy(struct db_rollup_work *w)
{
    if (w == NULL)
        return;
    series_columns_fini(&w->columns);
    codec_scratch_destroy(w->codec);
    vv_buf_fini(&w->out);
    vv_free(w);
}

static struct db_rollup_work *work_create(void)
{
    struct db_rollup_work *w = vv_alloc(sizeof *w);
    if (w == NULL)
        return NULL;
    series_columns_init(&w->columns);
    vv_buf_init(&w->out, VV_MIB);
    w->codec = codec_scratch_create();
    if (w->codec != NULL)
        return w;
    work_destroy(w);
    return NULL;
}

void db_rollup_fini(vv_db *db)
{
    if (db->rollup.work != NULL)
        vv_budget_release(&db->budget, VV_BUDGET_WORK, sizeof *db->rollup.work);
    work_destroy(db->rollup.work);
    db->rollup.work = NULL;
}

static vv_status no_memory(vv_error *err)
{
    return vv_fail(err, VV_NO_MEMORY, "no memory for a rollup");
}

/* ---- rows of a day ---- */

static vv_status read_samples(job *j, const db_series_entry *e, int64_t begin, int64_t end,
                              vv_error *err)
{
    struct db_rollup_work *w = j->work;
    db_series_reader r;
    vv_status st = db_series_reader_open(&r, j->table, j->at, err);
    if (st != VV_OK)
        return st;
    series_day_clear(&w->minutes, 0, (series_type)e->type, begin);
    db_series_reader_begin(&r, e, begin, end - 1);
    for (;;) {
        db_series_piece piece;
        st = db_series_reader_next(&r, &piece, err);
        if (st != VV_OK)
            break;
        if (piece.head.type != (series_type)e->type) {
            st = vv_fail(err, VV_CORRUPT, "a series has samples of another type");
        } else if (piece.is_whole) {
            st = series_day_chunk(&w->minutes, piece.chunk, &piece.head, &w->columns, err);
        } else {
            series_columns_clear(&w->columns);
            st = db_series_reader_take(&r, &piece, &w->columns, err);
            series_samples v = series_columns_view(&w->columns);
            if (st == VV_OK)
                series_day_add(&w->minutes, &v);
        }
        if (st != VV_OK)
            break;
    }
    db_series_reader_close(&r);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* Samples below `oldest` may have expired: rows of windows that begin there stay as they were. */
static vv_status keep_old(job *j, const db_series_entry *e, series_day *d, int64_t oldest,
                          vv_error *err)
{
    uint8_t key[DB_SERIES_ROWS_KEY];
    vv_value value = {0};
    series_rows *rows = &j->work->rows;
    if (d->begin >= oldest)
        return VV_OK;
    size_t len = db_series_rows_key(d->tier, e->id, db_series_day(d->begin), key);
    vv_status st = vv_get(&j->part, j->at, vv_slice_of(key, len), &value, err);
    if (st != VV_OK)
        return st == VV_NOT_FOUND ? VV_OK : st;
    st = series_rows_decode(value.data, d->tier, d->begin, rows, err);
    vv_value_release(&value);
    if (st == VV_OK && rows->type != d->type)
        st = vv_fail(err, VV_CORRUPT, "a series has rows of another type");
    for (uint32_t i = 0; st == VV_OK && i < rows->count; i++)
        if (d->begin + rows->slot[i] * series_tier_span[d->tier] < oldest)
            d->row[rows->slot[i]] = rows->row[i];
    return st;
}

static vv_status make_rows(job *j, const db_series_entry *e, int64_t begin, int64_t end,
                           vv_error *err)
{
    struct db_rollup_work *w = j->work;
    int64_t oldest = db_series_oldest(j->table, j->now_ns);
    vv_status st = read_samples(j, e, begin, end, err);
    if (st == VV_OK)
        st = keep_old(j, e, &w->minutes, oldest, err);
    if (st != VV_OK)
        return st;
    series_day_clear(&w->hours, 1, (series_type)e->type, begin);
    series_day_join(&w->hours, &w->minutes);
    return keep_old(j, e, &w->hours, oldest, err);
}

/* ---- their entry ---- */

static vv_status add(job *j, vv_batch *batch, engine_kind kind, const uint8_t *key, size_t len,
                     vv_slice value, int64_t expires_ns, vv_error *err)
{
    return db_batch_add(batch, kind, j->table->cat->id, vv_slice_of(key, len), value, expires_ns,
                        err);
}

/* Where samples are kept for ever, rows of few samples each are a second copy that reads no faster:
 * the mark that there are none takes their place. */
static vv_status add_rows(job *j, vv_batch *batch, const db_series_entry *e, const series_day *d,
                          vv_error *err)
{
    uint8_t key[DB_SERIES_ROWS_KEY];
    uint64_t samples;
    uint32_t rows;
    const cat_table *cat = j->table->cat;
    int64_t day = db_series_day(d->begin);
    size_t len = db_series_rows_key(d->tier, e->id, day, key);
    series_day_count(d, &samples, &rows);
    if (rows == 0)
        return add(j, batch, ENGINE_DELETE, key, len, vv_slice_of(NULL, 0), 0, err);
    vv_buf_reset(&j->work->out);
    if (cat->retention_ns == 0 && samples < (uint64_t)RAW_BELOW * rows)
        series_day_encode_raw(d, &j->work->out);
    else
        series_day_encode(d, j->work->codec, &j->work->out);
    if (j->work->out.status != VV_OK)
        return no_memory(err);
    return add(j, batch, ENGINE_PUT, key, len, vv_buf_slice(&j->work->out),
               db_series_expiry(DB_SERIES_DAY_CLASS, day, cat_rollup_retention(cat, d->tier)), err);
}

/* Take the day's mark away if it is as it was. *was_marked: it was there. */
static vv_status add_mark(job *j, vv_batch *batch, const db_series_entry *e, int64_t day,
                          bool *was_marked, vv_error *err)
{
    uint8_t key[DB_SERIES_DIRTY_KEY];
    vv_value value = {0};
    txn_condition *cond = NULL;
    size_t len = db_series_dirty_key(e->id, day, key);
    vv_status st = vv_get(&j->part, j->at, vv_slice_of(key, len), &value, err);
    *was_marked = st == VV_OK;
    if (st != VV_OK)
        return st == VV_NOT_FOUND ? VV_OK : st;
    int64_t version = value.version;
    vv_value_release(&value);
    st = db_batch_add_condition(batch, TXN_VERSION, j->table->cat->id, vv_slice_of(key, len),
                                vv_slice_of(NULL, 0), &cond, err);
    if (st != VV_OK || cond == NULL)
        return st;
    cond->version = version;
    return add(j, batch, ENGINE_DELETE, key, len, vv_slice_of(NULL, 0), 0, err);
}

static vv_status fill_batch(job *j, vv_batch *batch, const db_series_entry *e, int64_t begin,
                            int64_t rolled, bool *was_marked, vv_error *err)
{
    uint8_t key[9];
    uint8_t time[8];
    vv_status st = db_batch_bind(batch, &j->part, err);
    if (st == VV_OK)
        st = add_rows(j, batch, e, &j->work->minutes, err);
    if (st == VV_OK)
        st = add_rows(j, batch, e, &j->work->hours, err);
    if (st == VV_OK)
        st = add_mark(j, batch, e, db_series_day(begin), was_marked, err);
    if (st != VV_OK || rolled == INT64_MIN)
        return st;
    vv_put_le64(time, (uint64_t)rolled);
    return add(j, batch, ENGINE_PUT, key, db_series_id_key(DB_SERIES_ROLLED, e->id, key),
               vv_slice_of(time, sizeof time), 0, err);
}

static vv_status commit(job *j, vv_batch *batch, vv_error *err)
{
    vv_status st = db_check_writable(j->db, err);
    if (st != VV_OK)
        return st;
    batch->is_internal = true;
    db_commit_begin(j->db, batch, VV_DURABLE_NONE);
    uint64_t room = db_background_room(j->db);
    st = db_append_once(j->db, batch, err);
    if (st == VV_BUSY && j->db->bg.worker_count > 0) {
        st =
            db_background_want_room(j->db, err); /* others make some: this may be the only worker */
        return st == VV_OK ? vv_fail(err, VV_BUSY, "no room in memory for rows of a rollup") : st;
    }
    if (st == VV_BUSY && db_background_make_room(j->db, batch->shard, room, 0, err) == VV_OK)
        st = db_append_once(j->db, batch, err);
    return st == VV_OK ? db_await(j->db, batch->need, err) : st;
}

/* Make the rows of a day up to `end`. rolled: what W becomes; INT64_MIN: it stays. */
static vv_status roll_day(job *j, const db_series_entry *e, int64_t begin, int64_t end,
                          int64_t rolled, vv_error *err)
{
    vv_batch batch;
    bool was_marked = false;
    vv_status st = make_rows(j, e, begin, end, err);
    if (st != VV_OK)
        return st;
    db_batch_init(&batch, j->db, NULL, 0);
    st = fill_batch(j, &batch, e, begin, rolled, &was_marked, err);
    VV_POINT("rollup.before_commit");
    if (st == VV_OK)
        st = commit(j, &batch, err);
    db_batch_fini(&batch);
    if (st != VV_OK)
        return st;
    atomic_fetch_add_explicit(&j->db->counters.rollup_days, 1, memory_order_relaxed);
    if (was_marked)
        atomic_fetch_add_explicit(&j->db->counters.rollup_repairs, 1, memory_order_relaxed);
    return VV_OK;
}

/* ---- what comes next of a series ---- */

static vv_status read_now(job *j, vv_error *err)
{
    vv_snapshot_release(j->at);
    j->at = NULL;
    j->now_ns = vv_clock_wall(j->db->env->clock);
    return vv_snapshot_create(j->db, &j->at, err);
}

static vv_status find_newest(job *j, db_series_entry *e, vv_error *err)
{
    db_series_reader r;
    series_columns *c = &j->work->columns;
    vv_status st = db_series_reader_open(&r, j->table, NULL, err);
    if (st != VV_OK)
        return st;
    series_columns_clear(c);
    st = db_series_reader_last(&r, e, INT64_MIN, INT64_MAX, c, err);
    db_series_reader_close(&r);
    if (st != VV_OK && st != VV_NOT_FOUND)
        return st;
    vv_mutex_lock(&j->series->lock);
    if (st == VV_OK && c->time[0] > e->newest)
        e->newest = c->time[0];
    e->newest_known = true;
    vv_mutex_unlock(&j->series->lock);
    return VV_OK;
}

/* Time of a sample from W on, below the bound; or close before it. VV_NOT_FOUND: there is none. */
static vv_status find_next(job *j, const db_series_entry *e, int64_t bound, int64_t *rolled,
                           int64_t *out, vv_error *err)
{
    db_series_reader r;
    db_series_piece piece;
    vv_status st = db_series_rolled_get(&j->part, j->at, e->id, rolled, err);
    int64_t from = *rolled > DB_SERIES_ROLL_MIN ? *rolled : DB_SERIES_ROLL_MIN;
    if (st != VV_OK || bound <= from)
        return st != VV_OK ? st : VV_NOT_FOUND;
    st = db_series_reader_open(&r, j->table, j->at, err);
    if (st != VV_OK)
        return st;
    db_series_reader_begin(&r, e, from, bound - 1);
    st = db_series_reader_next(&r, &piece, err);
    if (st == VV_OK)
        *out = piece.head.first_time > from ? piece.head.first_time : from;
    db_series_reader_close(&r);
    return st;
}

/* From now on appends mark what they write below the bound. False: some that were planned before
 * are still in flight. */
static bool claim(job *j, db_series_entry *e, int64_t bound)
{
    db_series *s = j->series;
    bool is_ready = false;
    vv_mutex_lock(&j->db->series_lock); /* nobody reads W into a new entry meanwhile */
    vv_mutex_lock(&s->lock);
    bool is_behind = atomic_load_explicit(&e->rolled, memory_order_relaxed) < bound;
    if (is_behind && e->planned[!e->turn] == 0) {
        atomic_store_explicit(&e->rolled, bound, memory_order_relaxed);
        e->turn = !e->turn;
        s->roll.claims++;
        is_behind = false;
    }
    is_ready = !is_behind && e->planned[!e->turn] == 0;
    vv_mutex_unlock(&s->lock);
    vv_mutex_unlock(&j->db->series_lock);
    return is_ready;
}

static void queue_again(job *j, db_series_entry *e)
{
    vv_mutex_lock(&j->series->lock);
    db_series_roll_queue(j->series, e);
    vv_mutex_unlock(&j->series->lock);
}

static vv_status advance_entry(job *j, db_series_entry *e, vv_error *err)
{
    int64_t rolled;
    int64_t next = 0;
    vv_status st = VV_OK;
    vv_mutex_lock(&j->series->lock);
    bool is_known = e->newest_known;
    vv_mutex_unlock(&j->series->lock);
    if (!is_known)
        st = find_newest(j, e, err);
    vv_mutex_lock(&j->series->lock);
    j->now_ns = vv_clock_wall(j->db->env->clock);
    int64_t bound = db_series_roll_bound(j->table->cat, e->newest, j->now_ns);
    bool is_done = bound <= e->roll_done;
    vv_mutex_unlock(&j->series->lock);
    if (st != VV_OK || is_done)
        return st != VV_OK ? st : VV_NOT_FOUND;
    st = read_now(j, err);
    if (st == VV_OK)
        st = find_next(j, e, bound, &rolled, &next, err);
    if (st == VV_OK && !claim(j, e, bound)) {
        queue_again(j, e);
        return VV_NOT_FOUND;
    }
    if (st == VV_OK) /* what was in flight until the claim stood is in this one */
        st = read_now(j, err);
    if (st == VV_OK)
        st = find_next(j, e, bound, &rolled, &next, err);
    if (st == VV_NOT_FOUND) {
        vv_mutex_lock(&j->series->lock);
        e->roll_done = bound;
        vv_mutex_unlock(&j->series->lock);
        return st;
    }
    if (st != VV_OK)
        return st;
    int64_t begin = db_series_round_down(next, SERIES_DAY);
    int64_t end = bound - begin > SERIES_DAY ? begin + SERIES_DAY : bound;
    st = roll_day(j, e, begin, end, end, err);
    if (st == VV_OK)
        queue_again(j, e);
    return st;
}

static vv_status load(job *j, uint64_t id, db_series_entry **out, vv_error *err)
{
    j->part = db_series_part_at(j->table, id);
    vv_mutex_lock(&j->db->series_lock); /* so that it is the one that appends have */
    vv_status st = db_series_load(j->series, j->table, NULL, id, out, err);
    vv_mutex_unlock(&j->db->series_lock);
    return st;
}

/* The next day of a series. VV_NOT_FOUND: there is none now. */
static vv_status advance(job *j, uint64_t id, vv_error *err)
{
    db_series_entry *e = NULL;
    vv_status st = load(j, id, &e, err);
    if (st != VV_OK)
        return st;
    st = advance_entry(j, e, err);
    if (st == VV_CONFLICT) { /* it was marked anew: once more */
        queue_again(j, e);
        st = VV_NOT_FOUND;
    }
    db_series_unref(j->series, e);
    return st;
}

/* ---- where work comes from ---- */

static bool pop(job *j, uint64_t *id)
{
    db_series *s = j->series;
    db_series_roll *r = &s->roll;
    vv_mutex_lock(&s->lock);
    bool found = r->count > 0;
    if (found) {
        *id = r->queue[r->head];
        r->head = (r->head + 1) % DB_SERIES_QUEUE;
        r->count--;
        db_series_entry *e = db_series_find_id(s, *id);
        if (e != NULL)
            e->is_queued = false;
    }
    vv_mutex_unlock(&s->lock);
    return found;
}

static vv_status step_queue(job *j, vv_error *err)
{
    uint64_t id = 0;
    vv_status st = VV_NOT_FOUND;
    vv_mutex_lock(&j->series->lock);
    uint32_t left = j->series->roll.count; /* what is queued again waits for the next step */
    vv_mutex_unlock(&j->series->lock);
    if (left > IDS_A_STEP)
        atomic_store_explicit(&j->db->rollup.wanted, true, memory_order_release);
    left = left < IDS_A_STEP ? left : IDS_A_STEP;
    for (; st == VV_NOT_FOUND && left > 0 && pop(j, &id); left--)
        st = advance(j, id, err);
    return st;
}

static vv_status open_at(job *j, const uint8_t *prefix, size_t prefix_len, const uint8_t *from,
                         size_t len, vv_cursor **out, vv_error *err)
{
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.prefix = vv_slice_of(prefix, prefix_len);
    vv_status st = vv_cursor_open(j->table, &opt, out, err);
    return st == VV_OK ? vv_cursor_seek(*out, vv_slice_of(from, len), err) : st;
}

/* The ids from pass_next on. */
static vv_status list_ids(job *j, uint64_t id[IDS_A_STEP], unsigned *count, vv_error *err)
{
    static const uint8_t kind = DB_SERIES_RECORD;
    uint8_t from[9];
    vv_cursor *c = NULL;
    *count = 0;
    size_t len = db_series_id_key(DB_SERIES_RECORD, j->series->roll.pass_next, from);
    vv_status st = open_at(j, &kind, 1, from, len, &c, err);
    while (st == VV_OK && vv_cursor_valid(c) && *count < IDS_A_STEP) {
        vv_slice key = vv_cursor_key(c);
        if (key.len == 9)
            id[(*count)++] = vv_get_be64(key.data + 1);
        st = vv_cursor_next(c, err);
    }
    vv_cursor_close(c);
    return st;
}

/* Look at some series of the pass that is under way, or that is due. */
static vv_status step_pass(job *j, vv_error *err)
{
    db_series_roll *r = &j->series->roll;
    uint64_t id[IDS_A_STEP];
    unsigned count = 0;
    vv_mutex_lock(&j->series->lock);
    if (r->wants_pass && !r->in_pass) {
        r->wants_pass = false;
        r->in_pass = true;
        r->pass_next = 0;
    }
    bool is_under_way = r->in_pass;
    vv_mutex_unlock(&j->series->lock);
    if (!is_under_way)
        return VV_NOT_FOUND;
    vv_status st = list_ids(j, id, &count, err);
    if (st == VV_OK && count == 0) {
        vv_mutex_lock(&j->series->lock);
        r->in_pass = false;
        vv_mutex_unlock(&j->series->lock);
        return VV_NOT_FOUND;
    }
    for (unsigned i = 0; st == VV_OK && i < count; i++) {
        r->pass_next = id[i] + 1; /* first: what fails does not stop the pass */
        vv_status one = advance(j, id[i], err);
        if (one != VV_NOT_FOUND)
            return one;
    }
    return st;
}

static vv_status repair(job *j, uint64_t id, int64_t day, vv_error *err)
{
    db_series_entry *e = NULL;
    int64_t rolled = INT64_MIN;
    int64_t begin = db_series_bucket_begin(DB_SERIES_DAY_CLASS, day);
    vv_status st = load(j, id, &e, err);
    if (st != VV_OK)
        return st;
    st = read_now(j, err);
    if (st == VV_OK)
        st = db_series_rolled_get(&j->part, j->at, id, &rolled, err);
    if (st == VV_OK && (begin >= rolled || begin < DB_SERIES_ROLL_MIN))
        st = VV_NOT_FOUND; /* it goes when the day is rolled up */
    if (st == VV_OK)
        st = roll_day(j, e, begin, rolled - begin > SERIES_DAY ? begin + SERIES_DAY : rolled,
                      INT64_MIN, err);
    if (st == VV_CONFLICT) {
        vv_mutex_lock(&j->series->lock);
        j->series->roll.has_marks = true;
        vv_mutex_unlock(&j->series->lock);
        atomic_store_explicit(&j->db->rollup.wanted, true, memory_order_release);
        st = VV_NOT_FOUND;
    }
    db_series_unref(j->series, e);
    return st;
}

/* The next mark of the walk over all. VV_NOT_FOUND at its end. */
static vv_status next_mark(job *j, uint64_t *id, int64_t *day, vv_error *err)
{
    static const uint8_t kind = DB_SERIES_DIRTY;
    db_series_roll *r = &j->series->roll;
    vv_cursor *c = NULL;
    vv_status st = open_at(j, &kind, 1, r->mark_next, sizeof r->mark_next, &c, err);
    if (st == VV_OK && !vv_cursor_valid(c))
        st = VV_NOT_FOUND;
    if (st == VV_OK) {
        vv_slice key = vv_cursor_key(c);
        if (key.len != DB_SERIES_DIRTY_KEY) {
            st = vv_fail(err, VV_CORRUPT, "a mark of a rollup is malformed");
        } else {
            *id = vv_get_be64(key.data + 1);
            *day = db_time_decode(key.data + 9);
            (void)db_series_dirty_key(*id, *day + 1, r->mark_next);
        }
    }
    vv_cursor_close(c);
    return st;
}

/* Make the rows of the next day with a mark anew. */
static vv_status step_marks(job *j, vv_error *err)
{
    db_series_roll *r = &j->series->roll;
    vv_mutex_lock(&j->series->lock);
    if (!r->in_marks && r->has_marks) {
        r->has_marks = false; /* before the walk: what comes meanwhile has another */
        r->in_marks = true;
        (void)db_series_dirty_key(0, INT64_MIN, r->mark_next);
    }
    vv_mutex_unlock(&j->series->lock);
    vv_status st = r->in_marks ? VV_OK : VV_NOT_FOUND;
    for (unsigned i = 0; st == VV_OK && i < MARKS_A_STEP; i++) {
        uint64_t id = 0;
        int64_t day = 0;
        st = next_mark(j, &id, &day, err);
        r->in_marks = st == VV_OK;
        vv_status one = st == VV_OK ? repair(j, id, day, err) : st;
        if (one != VV_NOT_FOUND)
            return one;
    }
    return st;
}

static vv_status step(job *j, vv_error *err)
{
    static vv_status (*const kinds[])(job *, vv_error *) = {step_queue, step_marks, step_pass};
    vv_status st = VV_NOT_FOUND;
    uint32_t turn = j->series->roll.turn++;
    for (uint32_t i = 0; st == VV_NOT_FOUND && i < ARRAY_LEN(kinds); i++)
        st = kinds[(turn + i) % ARRAY_LEN(kinds)](j, err);
    return st;
}

/* ---- tables ---- */

/* A pass is due at first, and then now and then. */
static void time_pass(job *j)
{
    db_series_roll *r = &j->series->roll;
    int64_t now = vv_clock_mono(j->db->env->clock);
    int64_t every = PASS_NS;
    if (r->pass_at_ns != 0 && now < r->pass_at_ns)
        return;
    if (j->table->cat->retention_ns > 0 && j->table->cat->retention_ns / 8 < every)
        every = j->table->cat->retention_ns / 8;
    r->wants_pass = true;
    r->has_marks |= r->pass_at_ns == 0;
    r->pass_at_ns = now + (every > LOOK_NS ? every : LOOK_NS);
}

static bool begin_step(job *j)
{
    db_series *s = j->series;
    vv_mutex_lock(&s->lock);
    bool may = s->roll.erasing == 0;
    s->roll.is_running = may;
    if (may)
        time_pass(j);
    vv_mutex_unlock(&s->lock);
    return may;
}

static void end_step(job *j)
{
    db_series *s = j->series;
    vv_mutex_lock(&s->lock);
    s->roll.is_running = false;
    vv_cond_broadcast(&s->idle);
    vv_mutex_unlock(&s->lock);
    vv_snapshot_release(j->at);
}

static void note_failure(job *j, vv_status st, const vv_error *why)
{
    if (st == VV_BUSY) /* it is no failure, and soon over */
        atomic_store_explicit(&j->db->rollup.wanted, true, memory_order_release);
    else
        atomic_fetch_add_explicit(&j->db->counters.rollup_failures, 1, memory_order_relaxed);
    vv_mutex_lock(&j->series->lock);
    j->series->roll.wants_pass = true;
    j->series->roll.has_marks = true;
    vv_mutex_unlock(&j->series->lock);
    if (st != VV_BUSY)
        vv_log_to(j->db->env->log, VV_LOG_WARN, "db", "rollup failed: it is tried again later",
                  VV_KV_S("table", j->table->cat->name), VV_KV_S("status", vv_status_name(st)),
                  VV_KV_S("error", why->msg));
}

static vv_status step_table(vv_db *db, cat_table *cat)
{
    vv_error why = {0};
    vv_table table = db_table_of(db, cat);
    job j = {.db = db, .series = db_series_attached(cat), .table = &table, .work = db->rollup.work};
    if (j.series == NULL || !cat_has_rollups(cat) ||
        atomic_load_explicit(&cat->is_dropping, memory_order_acquire))
        return VV_NOT_FOUND;
    if (!begin_step(&j)) { /* erase_end says when to look again */
        return VV_NOT_FOUND;
    }
    vv_status st = step(&j, &why);
    end_step(&j);
    if (st != VV_OK && st != VV_NOT_FOUND)
        note_failure(&j, st, &why);
    return st == VV_OK ? VV_OK : VV_NOT_FOUND;
}

static vv_status step_any(vv_db *db)
{
    cat_table **tables = NULL;
    size_t count = 0;
    vv_status st = VV_NOT_FOUND;
    if (cat_list(db->cat, NULL, &tables, &count, NULL) != VV_OK)
        return VV_NOT_FOUND;
    uint32_t first = db->rollup.next_table++;
    for (size_t i = 0; st == VV_NOT_FOUND && i < count; i++) {
        cat_table *cat = tables[(first + i) % count];
        if (cat->kind == VV_TABLE_SERIES)
            st = step_table(db, cat);
    }
    if (tables != NULL)
        cat_list_free(tables, count);
    return st;
}

static bool is_due(vv_db *db)
{
    db_rollup *r = &db->rollup;
    int64_t now = vv_clock_mono(db->env->clock);
    bool wanted = atomic_exchange_explicit(&r->wanted, false, memory_order_acquire);
    if (!wanted && (r->work == NULL || now < r->look_at_ns)) /* NULL: no table was used yet */
        return false;
    r->look_at_ns = now + LOOK_NS;
    if (r->work == NULL) {
        r->work = work_create();
        if (r->work != NULL)
            vv_budget_take(&db->budget, VV_BUDGET_WORK, sizeof *r->work);
    }
    return r->work != NULL;
}

vv_status db_rollup_step(vv_db *db)
{
    db_rollup *r = &db->rollup;
    vv_status st = VV_NOT_FOUND;
    if (atomic_exchange_explicit(&r->busy, true, memory_order_acquire))
        return st;
    if (db_check_writable(db, NULL) == VV_OK && is_due(db))
        st = step_any(db);
    if (st == VV_OK)
        atomic_store_explicit(&r->wanted, true, memory_order_release);
    atomic_store_explicit(&r->busy, false, memory_order_release);
    return st;
}
