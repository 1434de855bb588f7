/*
 * db_series_repair.c - marks of the table, and the days that are made again because of them.
 *
 *   'U' keys --walk, after a start or where one was lost--> days that wait --due--> rows anew
 *   appends  --as they are written-----------------------^
 */
#include "base/error.h"
#include "db/db_series_roll.h"

static bool has_mark(db_roll_job *j, uint64_t id, int64_t day, vv_status *st, vv_error *err)
{
    uint8_t key[DB_SERIES_DIRTY_KEY];
    vv_value value = {0};
    size_t len = db_series_dirty_key(id, day, key);
    *st = vv_get(&j->part, j->at, vv_slice_of(key, len), &value, err);
    vv_value_release(&value);
    return *st == VV_OK;
}

/* VV_NOT_FOUND: there is nothing to repair. VV_CONFLICT: it was marked anew meanwhile. */
static vv_status repair(db_roll_job *j, const db_series_dirty_day *w, vv_error *err)
{
    db_series_entry *e = NULL;
    int64_t rolled = INT64_MIN;
    int64_t begin = db_series_bucket_begin(DB_SERIES_DAY_CLASS, w->day);
    vv_status st = db_roll_load(j, w->id, &e, err);
    if (st != VV_OK)
        return st;
    st = db_roll_read_now(j, err);
    if (st == VV_OK && has_mark(j, w->id, w->day, &st, err))
        st = db_series_rolled_get(&j->part, j->at, w->id, &rolled, err);
    if (st == VV_OK && (begin >= rolled || begin < DB_SERIES_ROLL_MIN))
        st = VV_NOT_FOUND; /* it goes when the day is rolled up */
    if (st == VV_OK)
        st = db_roll_day(j, e, begin, rolled - begin > SERIES_DAY ? begin + SERIES_DAY : rolled,
                         INT64_MIN, err);
    db_series_unref(j->series, e);
    return st;
}

/* The day that a mark is of. */
static vv_status mark_at(const vv_cursor *c, db_series_dirty_day *out, vv_error *err)
{
    vv_slice key = vv_cursor_key(c);
    if (key.len != DB_SERIES_DIRTY_KEY || vv_get_be64(key.data + 1) == 0)
        return vv_fail(err, VV_CORRUPT, "a mark of a rollup is malformed");
    out->id = vv_get_be64(key.data + 1);
    out->day = db_time_decode(key.data + 9);
    return VV_OK;
}

/* Some more marks of the walk over those of the table, while there is room for them. */
static vv_status walk_marks(db_roll_job *j, vv_error *err)
{
    static const uint8_t kind = DB_SERIES_DIRTY;
    db_series_roll *r = &j->series->roll;
    db_series_dirty_day mark = {.id = 0};
    vv_cursor *c = NULL;
    bool has_room = true;
    unsigned n = 0;
    vv_status st = db_roll_open_at(j, &kind, 1, r->mark_next, sizeof r->mark_next, &c, err);
    while (st == VV_OK && has_room && n < DB_ROLL_MARKS_A_STEP && vv_cursor_valid(c)) {
        st = mark_at(c, &mark, err);
        if (st != VV_OK)
            break;
        vv_mutex_lock(&j->series->lock);
        has_room =
            db_series_dirty_found(&r->dirty, mark.id, mark.day, vv_clock_mono(j->db->env->clock));
        vv_mutex_unlock(&j->series->lock);
        if (has_room) {
            (void)db_series_dirty_key(mark.id, mark.day + 1, r->mark_next);
            st = vv_cursor_next(c, err);
            n++;
        }
    }
    if (st == VV_OK && has_room && n < DB_ROLL_MARKS_A_STEP)
        r->in_walk = false;
    else if (n == DB_ROLL_MARKS_A_STEP)
        atomic_store_explicit(&j->db->rollup.wanted, true, memory_order_release);
    vv_cursor_close(c);
    return st;
}

/* Is there something to walk over, and room for what it finds? */
static bool wants_walk(db_roll_job *j)
{
    db_series_roll *r = &j->series->roll;
    vv_mutex_lock(&j->series->lock);
    if (!r->in_walk && r->wants_walk) {
        r->wants_walk = false; /* before the walk: what comes meanwhile has another */
        r->in_walk = true;
        (void)db_series_dirty_key(0, INT64_MIN, r->mark_next);
    }
    bool wants = r->in_walk && !db_series_dirty_is_many(&r->dirty);
    vv_mutex_unlock(&j->series->lock);
    return wants;
}

/* A day whose repair is due. When there is none: the job looks when there will be. */
static bool next_due(db_roll_job *j, db_series_dirty_day *out)
{
    db_series_dirty *d = &j->series->roll.dirty;
    db_rollup *r = &j->db->rollup;
    vv_mutex_lock(&j->series->lock);
    bool found = db_series_dirty_next(d, vv_clock_mono(j->db->env->clock), out);
    if (!found && d->count > 0 && d->look_ns < r->look_at_ns)
        r->look_at_ns = d->look_ns;
    vv_mutex_unlock(&j->series->lock);
    return found;
}

/* Make the rows of the next day whose repair is due. */
vv_status db_roll_repair(db_roll_job *j, vv_error *err)
{
    db_series_dirty_day day;
    vv_status st = wants_walk(j) ? walk_marks(j, err) : VV_OK;
    for (unsigned i = 0; st == VV_OK && i < DB_ROLL_MARKS_A_STEP; i++) {
        if (!next_due(j, &day))
            return VV_NOT_FOUND;
        vv_status one = repair(j, &day, err);
        if (one == VV_OK || one == VV_NOT_FOUND) {
            vv_mutex_lock(&j->series->lock);
            db_series_dirty_done(&j->series->roll.dirty, &day);
            vv_mutex_unlock(&j->series->lock);
        }
        if (one != VV_NOT_FOUND && one != VV_CONFLICT)
            return one;
    }
    atomic_store_explicit(&j->db->rollup.wanted, true, memory_order_release);
    return st == VV_OK ? VV_NOT_FOUND : st;
}
