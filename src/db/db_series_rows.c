/*
 * db_series_rows.c - the rows of a day of a series: made of its samples, written in one entry.
 *
 * The entry has the minutes and the hours, what W becomes, and the end of the day's mark, on the
 * condition that the mark is as it was when the samples were read.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "db/db_series_roll.h"

/* Samples a row, and samples a day: rows of fewer are not kept, see add_rows. */
#define RAW_BELOW 32u
#define DAY_MIN 2048u

void db_roll_work_destroy(struct db_rollup_work *w)
{
    if (w == NULL)
        return;
    series_columns_fini(&w->columns);
    codec_scratch_destroy(w->codec);
    vv_buf_fini(&w->out);
    vv_free(w);
}

struct db_rollup_work *db_roll_work_create(void)
{
    struct db_rollup_work *w = vv_alloc(sizeof *w);
    if (w == NULL)
        return NULL;
    series_columns_init(&w->columns);
    vv_buf_init(&w->out, VV_MIB);
    w->codec = codec_scratch_create();
    if (w->codec != NULL)
        return w;
    db_roll_work_destroy(w);
    return NULL;
}

static vv_status no_memory(vv_error *err)
{
    return vv_fail(err, VV_NO_MEMORY, "no memory for a rollup");
}

/* ---- rows of a day ---- */

static vv_status read_samples(db_roll_job *j, const db_series_entry *e, int64_t begin, int64_t end,
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
static vv_status keep_old(db_roll_job *j, const db_series_entry *e, series_day *d, int64_t oldest,
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

static vv_status make_rows(db_roll_job *j, const db_series_entry *e, int64_t begin, int64_t end,
                           vv_error *err)
{
    struct db_rollup_work *w = j->work;
    int64_t oldest = db_series_sure_from(j->table->cat, e->retention_ns, j->now_ns);
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

static vv_status add(db_roll_job *j, vv_batch *batch, engine_kind kind, const uint8_t *key,
                     size_t len, vv_slice value, int64_t expires_ns, vv_error *err)
{
    return db_batch_add(batch, kind, j->table->cat->id, vv_slice_of(key, len), value, expires_ns,
                        err);
}

/* Where samples are kept for ever, rows of few samples each, or of a day of few, are a second copy
 * that reads no faster: the mark that there are none takes their place. */
static vv_status add_rows(db_roll_job *j, vv_batch *batch, const db_series_entry *e,
                          const series_day *d, vv_error *err)
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
    if (e->retention_ns == 0 && (samples < DAY_MIN || samples < (uint64_t)RAW_BELOW * rows))
        series_day_encode_raw(d, &j->work->out);
    else
        series_day_encode(d, j->work->codec, &j->work->out);
    if (j->work->out.status != VV_OK)
        return no_memory(err);
    return add(j, batch, ENGINE_PUT, key, len, vv_buf_slice(&j->work->out),
               db_series_expiry(DB_SERIES_DAY_CLASS, day,
                                cat_rollup_retention_of(cat, d->tier, e->retention_ns)),
               err);
}

/* Take the day's mark away if it is as it was. *was_marked: it was there. */
static vv_status add_mark(db_roll_job *j, vv_batch *batch, const db_series_entry *e, int64_t day,
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

static vv_status fill_batch(db_roll_job *j, vv_batch *batch, const db_series_entry *e,
                            int64_t begin, int64_t rolled, bool *was_marked, vv_error *err)
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

static vv_status commit(db_roll_job *j, vv_batch *batch, vv_error *err)
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

vv_status db_roll_day(db_roll_job *j, const db_series_entry *e, int64_t begin, int64_t end,
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
